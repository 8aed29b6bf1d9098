//! Any bytes as a vector tile, twice side by side in an `MBTiles` database, so that its features are joined too:
//! features or an error, and no panic.
#![no_main]

use gis_import::formats::{Format, Options};
use gis_import_fuzz::read;
use libfuzzer_sys::fuzz_target;
use rusqlite::{Connection, params};

fuzz_target!(init: gis_import_fuzz::init(), |bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mbtiles");
    let database = Connection::open(&path).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
             CREATE TABLE metadata (name TEXT, value TEXT);
             INSERT INTO metadata VALUES ('format', 'pbf');
             CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB);",
        )
        .unwrap();
    for column in [0, 1] {
        let tile = "INSERT INTO tiles VALUES (1, ?1, 0, ?2)";
        database.execute(tile, params![column, bytes]).unwrap();
    }
    drop(database);
    let options = Options {
        join: vec!["id".into()],
        ..Options::default()
    };
    for options in [Options::default(), options] {
        read(&path, Format::MbTiles, &options);
    }
});
