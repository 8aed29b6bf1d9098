//! Any bytes as well-known binary: a shape that is read back as it was written, or an error, and no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twin_core::space::Shape;

fuzz_target!(init: gis_import_fuzz::init(), |bytes: &[u8]| {
    drop(Shape::from_stored_wkb(bytes));
    if let Ok(shape) = Shape::from_wkb(bytes) {
        assert_eq!(Shape::from_stored_wkb(&shape.to_wkb()).unwrap(), shape);
    }
});
