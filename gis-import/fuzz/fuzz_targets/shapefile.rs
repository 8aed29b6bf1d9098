//! Any bytes as the parts of a shapefile: features or an error, and no panic.
//!
//! What comes is cut in three by its first four bytes: shapes, their index and their table.
#![no_main]

use std::fs;

use gis_import::formats::{Format, Options};
use gis_import_fuzz::read_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: gis_import_fuzz::init(), |bytes: &[u8]| {
    let Some((cuts, bytes)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let cut = |at: usize, bytes: &[u8]| {
        let length = usize::from(u16::from_le_bytes([cuts[at], cuts[at + 1]]));
        length.min(bytes.len())
    };
    let (shapes, rest) = bytes.split_at(cut(0, bytes));
    let (index, table) = rest.split_at(cut(2, rest));
    let dir = tempfile::tempdir().unwrap();
    for (name, part) in [("a.shx", index), ("a.dbf", table)] {
        if !part.is_empty() {
            fs::write(dir.path().join(name), part).unwrap();
        }
    }
    let options = Options {
        crs: Some("EPSG:4326".into()),
        ..Options::default()
    };
    read_bytes(
        &dir.path().join("a.shp"),
        shapes,
        Format::Shapefile,
        &options,
    );
});
