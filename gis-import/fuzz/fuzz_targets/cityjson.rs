//! Any bytes as CityJSON, as a document and by lines: features or an error, and no panic.
#![no_main]

use gis_import::formats::{Format, Options};
use gis_import_fuzz::read_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: gis_import_fuzz::init(), |bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        crs: Some("EPSG:7415".into()),
        ..Options::default()
    };
    for name in ["a.city.json", "a.city.jsonl"] {
        read_bytes(&dir.path().join(name), bytes, Format::CityJson, &options);
    }
});
