//! Any bytes as an extract of OpenStreetMap, PBF or XML: features or an error, and no panic.
#![no_main]

use std::io::Write as _;

use gis_import::formats::{Format, Reader, Wanted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let wanted = Wanted {
        geometry: true,
        ..Wanted::default()
    };
    if let Ok(mut reader) = Reader::open(file.path(), Format::Osm, &wanted) {
        while let Ok(Some(_)) = reader.next_item() {}
    }
});
