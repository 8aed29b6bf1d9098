//! Any bytes as an extract of OpenStreetMap, PBF or XML: features or an error, and no panic.
#![no_main]

use gis_import::formats::{Format, Options};
use gis_import_fuzz::read_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: gis_import_fuzz::init(), |bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    read_bytes(
        &dir.path().join("a.osm"),
        bytes,
        Format::Osm,
        &Options::default(),
    );
});
