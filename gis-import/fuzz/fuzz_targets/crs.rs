//! Any text as a coordinate system (a code, a definition of PROJ or well-known text): one that leads back to
//! where it came from, or an error, and no panic.
#![no_main]

use gis_import::formats::Crs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: gis_import_fuzz::init(), |text: &str| {
    drop(Crs::parse(text));
});
