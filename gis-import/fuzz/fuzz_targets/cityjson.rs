//! Any bytes as CityJSON, as a document and by lines: features or an error, and no panic.
#![no_main]

use gis_import::formats::{Format, Options, Reader, Wanted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let wanted = Wanted {
        geometry: true,
        ..Wanted::default()
    };
    let options = Options {
        crs: Some("EPSG:7415".into()),
        ..Options::default()
    };
    for name in ["a.city.json", "a.city.jsonl"] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        if let Ok(mut reader) = Reader::open_with(&path, Format::CityJson, &options, &wanted) {
            while let Ok(Some(_)) = reader.next_item() {}
        }
    }
});
