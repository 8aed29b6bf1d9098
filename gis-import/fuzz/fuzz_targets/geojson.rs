//! Any bytes as GeoJSON, as a collection and by lines: features or an error, and no panic.
#![no_main]

use gis_import::formats::{Format, Options};
use gis_import_fuzz::read_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: gis_import_fuzz::init(), |bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.geojson");
    for format in [Format::GeoJson, Format::GeoJsonLines] {
        read_bytes(&path, bytes, format, &Options::default());
    }
});
