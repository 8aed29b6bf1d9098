//! Any bytes as the geometry of a GeoPackage, and as the text of a value: features or an error, and no panic.
#![no_main]

use gis_import::formats::{Format, Options};
use gis_import_fuzz::read;
use libfuzzer_sys::fuzz_target;
use rusqlite::{Connection, params};

fuzz_target!(init: gis_import_fuzz::init(), |bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gpkg");
    let database = Connection::open(&path).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA application_id = 1196444487;
             CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT, srs_id INTEGER PRIMARY KEY, organization TEXT,
                 organization_coordsys_id INTEGER, definition TEXT);
             INSERT INTO gpkg_spatial_ref_sys VALUES ('WGS 84', 4326, 'EPSG', 4326, '');
             CREATE TABLE gpkg_contents (table_name TEXT PRIMARY KEY, data_type TEXT, srs_id INTEGER);
             CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT, geometry_type_name TEXT,
                 srs_id INTEGER, z INTEGER, m INTEGER);
             INSERT INTO gpkg_contents VALUES ('places', 'features', 4326);
             INSERT INTO gpkg_geometry_columns VALUES ('places', 'geom', 'GEOMETRY', 4326, 0, 0);
             CREATE TABLE places (fid INTEGER PRIMARY KEY, geom BLOB, name TEXT);",
        )
        .unwrap();
    let place = "INSERT INTO places VALUES (1, ?1, CAST(?1 AS TEXT))";
    database.execute(place, params![bytes]).unwrap();
    drop(database);
    read(&path, Format::GeoPackage, &Options::default());
});
