//! Packages of every kind of geometry, real ones, and hostile ones.

use std::fmt::Write as _;
use std::path::PathBuf;

use proptest::prelude::*;
use rusqlite::Connection;
use twin_core::space::Shape;

use super::super::tests::{data, drain, read_all, shape, wanted};
use super::super::{Format, Reader};
use super::*;

/// A GeoPackage with one layer `places`, written by these statements after its tables.
fn package(statements: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gpkg");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA application_id = 0x47504b47;
            CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT, srs_id INTEGER PRIMARY KEY, organization TEXT,
                organization_coordsys_id INTEGER, definition TEXT);
            INSERT INTO gpkg_spatial_ref_sys VALUES ('none', -1, 'NONE', -1, 'undefined'),
                ('none', 0, 'NONE', 0, 'undefined'), ('WGS 84', 4326, 'EPSG', 4326, ''),
                ('UTM 36S', 32736, 'epsg', 32736, ''), ('Mars', 7, 'IAU', 49900, 'WKT2 of Mars');
            CREATE TABLE gpkg_contents (table_name TEXT PRIMARY KEY, data_type TEXT, srs_id INTEGER);
            CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT, geometry_type_name TEXT,
                srs_id INTEGER, z INTEGER, m INTEGER);
            INSERT INTO gpkg_contents VALUES ('places', 'features', 4326);
            INSERT INTO gpkg_geometry_columns VALUES ('places', 'geom', 'GEOMETRY', 4326, 0, 0);
            CREATE TABLE places (fid INTEGER PRIMARY KEY, geom BLOB, name TEXT, open BOOLEAN, beds INTEGER);",
        )
        .unwrap();
    connection.execute_batch(statements).unwrap();
    (dir, path)
}

/// A point as a GeoPackage has it, as a literal of SQL.
fn point(x: f64, y: f64, srs: i32) -> String {
    let mut bytes = vec![b'G', b'P', 0, 1];
    bytes.extend(srs.to_le_bytes());
    bytes.extend([1, 1, 0, 0, 0]);
    bytes.extend(x.to_le_bytes());
    bytes.extend(y.to_le_bytes());
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    let mut out = "x'".to_owned();
    for byte in bytes {
        write!(out, "{byte:02x}").unwrap();
    }
    out + "'"
}

fn layer(name: &str) -> Options {
    Options {
        layer: Some(name.into()),
        ..Options::default()
    }
}

#[test]
fn rows_are_read_with_their_types_and_their_key() {
    let (_dir, path) = package(&format!(
        "INSERT INTO places VALUES (-5, {}, 'A', 1, 12), (7, NULL, '', 0, NULL), (9, {}, 'C', NULL, 3)",
        point(30.0, -2.0, 4326),
        point(31.0, -1.0, 0),
    ));
    let (features, refused, remarks, error) = read_all(&path, &Options::default(), &[]);
    assert_eq!(
        (refused.len(), remarks.len(), error),
        (0, 0, None),
        "{refused:?} {remarks:?}"
    );
    let values = |at: usize| features[at].values.clone();
    assert_eq!(values(0)["$id"], Cell::Int(-5));
    assert_eq!(values(0)["open"], Cell::Bool(true));
    assert_eq!(values(1)["name"], Cell::Null);
    assert_eq!(values(1)["open"], Cell::Bool(false));
    assert_eq!(values(2)["beds"], Cell::Int(3));
    assert_eq!(features[1].geometry, None);
    let at = shape(&features[2]).is_point().unwrap();
    assert_eq!((at.lon, at.lat), (31.0, -1.0));
    let (features, ..) = read_all(&path, &Options::default(), &["beds"]);
    assert_eq!(
        features[0].values.len(),
        2,
        "only wanted columns are read, and the key"
    );
}

#[test]
fn many_rows_come_in_order_and_once() {
    let one = point(30.0, -2.0, 4326);
    let (_dir, path) = package(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         INSERT INTO places SELECT i * 3, {one}, 'n' || i, 0, i FROM n"
    ));
    let (features, ..) = read_all(&path, &Options::default(), &["beds"]);
    let beds: Vec<_> = features
        .iter()
        .map(|feature| feature.values["beds"].clone())
        .collect();
    assert_eq!(beds, (1..=2000).map(Cell::Int).collect::<Vec<_>>());
    assert_eq!(features[1999].place.feature, 2000);
}

#[test]
fn another_system_becomes_longitude_and_latitude() {
    let (_dir, path) = package(&format!(
        "UPDATE gpkg_geometry_columns SET srs_id = 32736;
         INSERT INTO places VALUES (1, {}, 'A', 1, 1), (2, {}, 'B', 1, 1), (3, {}, 'C', 1, 1)",
        point(233_923.013, 9_747_541.918, 32736),
        point(30.0, -2.0, 32736),
        point(30.0, -2.0, 4326),
    ));
    let (features, refused, ..) = read_all(&path, &Options::default(), &[]);
    let at = shape(&features[0]).is_point().unwrap();
    assert!((at.lon - 30.607_646_015_9).abs() < 1e-8 && (at.lat + 2.282_053_274_7).abs() < 1e-8);
    assert!(refused[0].contains("looks like degrees"), "{refused:?}");
    assert!(
        refused[1].contains("the system 4326, that of its layer is 32736"),
        "{refused:?}"
    );
}

#[test]
fn a_system_that_is_not_known_says_how_to_give_it() {
    for (srs, reason) in [
        (-1, "is undefined"),
        (0, "is undefined"),
        (7, "IAU:49900"),
        (99, "is undefined"),
    ] {
        let (_dir, path) = package(&format!(
            "UPDATE gpkg_geometry_columns SET srs_id = {srs}; INSERT INTO places VALUES (1, {}, 'A', 1, 1)",
            point(30.0, -2.0, 0)
        ));
        let error = read_all(&path, &Options::default(), &[])
            .3
            .unwrap()
            .to_string();
        assert!(
            error.contains(reason) && error.contains("crs = "),
            "{error}"
        );
        let options = Options {
            crs: Some("EPSG:4326".into()),
            ..Options::default()
        };
        let (features, _, remarks, error) = read_all(&path, &options, &[]);
        assert_eq!((features.len(), error), (1, None));
        assert_eq!(remarks.len(), usize::from(srs == 7), "{remarks:?}");
    }
}

#[test]
fn geometry_that_cannot_be_read_refuses_its_feature_alone() {
    let envelope = |kind: u8, bytes: usize| {
        let mut blob = vec![b'G', b'P', 0, 1 | kind << 1];
        blob.extend(4326_i32.to_le_bytes());
        blob.resize(8 + bytes, 0);
        blob.extend([1, 1, 0, 0, 0]);
        blob.extend(30_f64.to_le_bytes());
        blob.extend((-2_f64).to_le_bytes());
        blob
    };
    let mut extended = envelope(0, 0);
    extended[3] |= 0x20;
    extended.splice(8..8, *b"XYZW");
    let mut empty = envelope(0, 0);
    empty[3] |= 0x10;
    let mut version = envelope(0, 0);
    version[2] = 3;
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (envelope(1, 32), ""),
        (envelope(2, 48), ""),
        (envelope(3, 48), ""),
        (envelope(4, 64), ""),
        (envelope(5, 0), "an envelope of kind 5"),
        (extended, "extended type XYZW"),
        (empty, "-"),
        (version, "version 3"),
        (b"GP".to_vec(), "does not begin"),
        (envelope(4, 20), "ends inside its envelope"),
        (envelope(0, 0)[..20].to_vec(), "ends early"),
    ];
    let mut statements = String::new();
    for (number, (blob, _)) in rows.iter().enumerate() {
        let blob = hex(blob);
        write!(
            statements,
            "INSERT INTO places (fid, geom) VALUES ({number}, {blob});"
        )
        .unwrap();
    }
    statements += "INSERT INTO places (fid, geom) VALUES (100, 'text'), (101, x'')";
    let (_dir, path) = package(&statements);
    let (features, refused, ..) = read_all(&path, &Options::default(), &[]);
    let reasons: Vec<&str> = rows
        .iter()
        .map(|row| row.1)
        .filter(|reason| reason.len() > 1)
        .collect();
    for (told, reason) in refused.iter().zip(&reasons) {
        assert!(told.contains(reason), "{told}: {reason}");
    }
    assert_eq!(
        (features.len(), refused.len()),
        (5, reasons.len() + 2),
        "{refused:?}"
    );
    assert_eq!(
        features
            .iter()
            .filter(|feature| feature.geometry.is_none())
            .count(),
        1
    );
}

#[test]
fn a_layer_is_named_or_the_only_one() {
    let (_dir, path) = package(
        "INSERT INTO gpkg_contents VALUES ('roads', 'features', 4326), ('pictures', 'tiles', 4326),
            ('prices', 'attributes', 0);
         CREATE TABLE prices (id INTEGER PRIMARY KEY, price REAL); INSERT INTO prices VALUES (1, 2.5);
         CREATE VIEW roads AS SELECT 1 AS x;",
    );
    let told = |options: &Options| read_all(&path, options, &[]).3.unwrap().to_string();
    assert!(told(&Options::default()).contains("`places`, `prices`, `roads`"));
    assert!(told(&layer("place")).contains("did you mean `places`?"));
    assert!(told(&layer("pictures")).contains("no layer `pictures`"));
    assert!(told(&layer("roads")).contains("has no key"));
    assert!(told(&layer("prices")).contains("attributes and no geometry"));
    let opened = Reader::open_with(
        &path,
        Format::GeoPackage,
        &layer("PRICES"),
        &wanted(&["price"], false),
    );
    let (items, error) = drain(opened.unwrap());
    assert_eq!((items.len(), error), (1, None));
    let error = Reader::open_with(
        &path,
        Format::GeoPackage,
        &layer("places"),
        &wanted(&["nam"], true),
    )
    .unwrap_err();
    assert!(error.reason.contains("did you mean `name`?"), "{error}");
}

#[test]
fn nothing_is_written_beside_the_file() {
    let (dir, path) = package("INSERT INTO places (fid) VALUES (1)");
    let before = std::fs::read(&path).unwrap();
    let opened = Reader::open(&path, Format::GeoPackage, &wanted(&[], true)).unwrap();
    let names = || std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names(), 1);
    drain(opened);
    assert_eq!((names(), std::fs::read(&path).unwrap()), (1, before));
    std::fs::write(dir.path().join("a.gpkg-wal"), b"changes").unwrap();
    let error = Reader::open(&path, Format::GeoPackage, &wanted(&[], true)).unwrap_err();
    assert!(error.reason.contains("-wal"), "{error}");
}

#[test]
fn a_hostile_database_is_an_error_and_not_the_end() {
    // A table whose check of rows never ends would only be met by writing; a view of layers is met.
    let (_dir, path) = package(
        "DROP TABLE gpkg_contents;
         CREATE VIEW gpkg_contents AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
            SELECT 'places' AS table_name, 'features' AS data_type FROM n WHERE i < 0;",
    );
    let error = read_all(&path, &Options::default(), &[]).3.unwrap();
    assert!(error.reason.contains("operations"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes, reason) in [
        (
            "a.gpkg",
            &b"not a database"[..],
            "does not begin as an SQLite",
        ),
        (
            "b.gpkg",
            &b"SQLite format 3\0 and then rubbish"[..],
            "cannot be",
        ),
        ("c.gpkg", &b""[..], "does not begin as an SQLite"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = read_all(&path, &Options::default(), &[]).3.unwrap();
        assert!(error.reason.contains(reason), "{name}: {error}");
    }
    let path = dir.path().join("d e%f?.gpkg");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE x (y)")
        .unwrap();
    let error = read_all(&path, &Options::default(), &[]).3.unwrap();
    assert!(error.reason.contains("no GeoPackage"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_damage_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let (_dir, path) = package(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
             INSERT INTO places SELECT i * 3, {}, 'n' || i, 0, i FROM n",
            point(30.0, -2.0, 4326)
        ));
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, with) in changes {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        std::fs::write(&path, bytes).unwrap();
        read_all(&path, &Options::default(), &[]);
    }
}

#[test]
fn the_real_packages_are_read_whole() {
    let Some(data) = data() else { return };
    let east = data.join("rwanda/wasac_institutions_east.gpkg");
    for (name, count, without, invalid) in [
        ("School", 1186, 0, 0),
        ("School_point", 1186, 0, 0),
        ("Health_Facility", 459, 0, 1),
        ("Health_Facility_point", 459, 0, 0),
        ("Office", 606, 1, 0),
        ("Office_point", 606, 1, 0),
        ("ECD", 1466, 0, 0),
        ("ECD_point", 1466, 0, 0),
    ] {
        let (features, refused, _, error) = read_all(&east, &layer(name), &["facility_name"]);
        assert_eq!(
            (features.len(), refused.len(), error),
            (count, 0, None),
            "{name}"
        );
        let none = features
            .iter()
            .filter(|feature| feature.geometry.is_none())
            .count();
        let bad = features
            .iter()
            .filter(|feature| matches!(&feature.geometry, Some(RawGeometry::Wkb(bytes)) if Shape::from_wkb(bytes).is_err()))
            .count();
        assert_eq!((none, bad), (without, invalid), "{name}");
    }
    let formats = data.join("world/formats");
    let test = formats.join("gpkg_test.gpkg");
    let (mut layers, mut rows) = (0, 0);
    for base in ["pt", "ln", "pg", "mpg", "mln", "mpt", "gc", "geo"] {
        for kind in ["2d", "2dm", "3dz", "3dzm"] {
            let name = format!("{base}{kind}");
            let (features, refused, remarks, error) = read_all(&test, &layer(&name), &[]);
            assert_eq!((refused.len(), error), (0, None), "{name}: {refused:?}");
            layers += 1;
            rows += features.len();
            let told = remarks.iter().any(|remark| remark.contains("measures"));
            assert_eq!(told, kind.ends_with('m'), "{name}: {remarks:?}");
            for feature in features.iter().filter(|feature| feature.geometry.is_some()) {
                let Some(RawGeometry::Wkb(bytes)) = &feature.geometry else {
                    continue;
                };
                if let Ok(shape) = Shape::from_wkb(bytes) {
                    assert_eq!(shape.heights().is_some(), kind.starts_with("3d"), "{name}");
                } else {
                    println!(
                        "{name}: {:?}",
                        Shape::from_wkb(bytes).unwrap_err().to_string()
                    );
                }
            }
        }
    }
    let (features, ..) = read_all(&test, &layer("test_pk"), &[]);
    // 28 layers with 4 rows and 5 with 5.
    assert_eq!((layers + 1, rows + features.len()), (33, 28 * 4 + 5 * 5));
    let (features, ..) = read_all(
        &formats.join("geopackage_points.gpkg"),
        &Options::default(),
        &[],
    );
    assert_eq!(features.len(), 86);
    let (features, _, remarks, _) =
        read_all(&formats.join("line_zm.gpkg"), &Options::default(), &[]);
    assert_eq!(shape(&features[0]).heights(), Some(&[0.0, 0.0][..]));
    assert!(remarks[0].contains("measures"), "{remarks:?}");
    let (features, refused, ..) =
        read_all(&formats.join("curvepolygon.gpkg"), &Options::default(), &[]);
    assert_eq!((features.len(), refused.len()), (0, 1));
    assert!(
        refused[0].contains("CurvePolygon") && refused[0].contains("straight"),
        "{refused:?}"
    );
    let (features, ..) = read_all(
        &formats.join("test_gpkg_nulls.gpkg"),
        &Options::default(),
        &["col_bool", "col_float64"],
    );
    assert_eq!(features.len(), 4);
    assert_eq!(features[0].values["col_bool"], Cell::Bool(true));
    assert_eq!(
        (
            &features[3].values["col_bool"],
            &features[3].values["col_float64"]
        ),
        (&Cell::Null, &Cell::Null)
    );
}
