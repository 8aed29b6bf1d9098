//! Archives of tiles: small ones of every kind of feature, the real ones, and damaged ones.

use std::io::Write as _;

use proptest::prelude::*;
use rusqlite::Connection;

use super::super::tests::{data, read_all, shape};
use super::mvt::writing::{Drawn as Made, tile};
use super::*;

const LAYERS: &str = r#"{"vector_layers":[{"id":"pipes","fields":{"id":"Number","kind":"String"}},{"id":"roads","fields":{}}]}"#;

fn pipe(id: i64, parts: Vec<Vec<(i32, i32)>>) -> Made {
    Made {
        kind: Kind::Line,
        values: vec![("id", Cell::Int(id)), ("kind", Cell::Text("PVC".into()))],
        parts,
    }
}

/// Two tiles side by side at zoom 3, with a pipe over both, one in each and one seen in a buffer alone.
fn two_tiles() -> Vec<((u32, u32), Vec<u8>)> {
    let west = [
        pipe(1, vec![vec![(4000, 100), (4096, 102), (4176, 104)]]),
        pipe(2, vec![vec![(10, 10), (20, 20)]]),
        pipe(4, vec![vec![(4100, 500), (4150, 500)]]),
    ];
    let east = [
        pipe(1, vec![vec![(-80, 100), (0, 103), (50, 104)]]),
        pipe(
            3,
            vec![vec![(100, 10), (200, 20)], vec![(300, 30), (400, 40)]],
        ),
    ];
    vec![
        ((4, 4), tile("pipes", 4096, &west)),
        ((5, 4), tile("pipes", 4096, &east)),
        ((5, 5), tile("other", 4096, &[])),
    ]
}

fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn archive() -> (tempfile::TempDir, PathBuf) {
    written(
        "a.pmtiles",
        &pmtiles::writing::archive(3, LAYERS, &two_tiles()),
    )
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn database(tiles: &[((u32, u32), Vec<u8>)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mbtiles");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE metadata (name TEXT, value TEXT);
             CREATE TABLE map (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_id INTEGER);
             CREATE TABLE images (tile_id INTEGER, tile_data BLOB);
             CREATE VIEW tiles AS SELECT zoom_level, tile_column, tile_row, tile_data
                FROM map JOIN images USING (tile_id);
             INSERT INTO metadata VALUES ('format', 'pbf'), ('name', 'test');",
        )
        .unwrap();
    connection
        .execute("INSERT INTO metadata VALUES ('json', ?1)", [LAYERS])
        .unwrap();
    for (number, ((x, y), bytes)) in tiles.iter().enumerate() {
        let number = number as i64;
        connection
            .execute(
                "INSERT INTO map VALUES (3, ?1, ?2, ?3)",
                [i64::from(*x), 7 - i64::from(*y), number],
            )
            .unwrap();
        connection
            .execute(
                "INSERT INTO images VALUES (?1, ?2)",
                rusqlite::params![number, gz(bytes)],
            )
            .unwrap();
    }
    drop(connection);
    (dir, path)
}

fn options(layer: &str, join: &[&str]) -> Options {
    Options {
        layer: Some(layer.into()),
        join: join.iter().map(|name| Arc::from(*name)).collect(),
        ..Options::default()
    }
}

#[test]
fn pieces_of_a_feature_are_joined_by_their_column() {
    let (_a, packed) = archive();
    let (_b, stored) = database(&two_tiles());
    for path in [packed, stored] {
        let (features, refused, remarks, error) =
            read_all(&path, &options("pipes", &["id"]), &["id", "kind"]);
        assert_eq!((remarks.len(), error), (0, None), "{remarks:?}");
        let mut ids: Vec<String> = features
            .iter()
            .map(|f| f.values["id"].to_string())
            .collect();
        ids.sort();
        assert_eq!(ids, ["1", "2", "3"]);
        assert!(
            refused.len() == 1 && refused[0].contains("only in the buffers"),
            "{refused:?}"
        );
        let of = |id: &str| {
            features
                .iter()
                .find(|f| f.values["id"].to_string() == id)
                .unwrap()
        };
        let one = shape(of("1"));
        assert_eq!((one.type_name(), one.vertices()), ("LineString", 3));
        assert_eq!(
            (shape(of("3")).type_name(), shape(of("2")).vertices()),
            ("MultiLineString", 2)
        );
        // Column 4 of 8, 4,000 of 4,096 steps: 45 degrees a tile.
        let west = (4.0 + 4000.0 / 4096.0) * 45.0 - 180.0;
        assert!((one.bounds().west - west).abs() < 1e-12);
    }
}

#[test]
fn without_a_column_pieces_that_meet_belong_together() {
    let (_dir, path) = archive();
    let (features, refused, ..) = read_all(&path, &options("pipes", &[]), &[]);
    // The two parts of pipe 3 meet nowhere.
    assert_eq!((features.len(), refused.len()), (4, 1), "{refused:?}");
}

#[test]
fn what_has_become_another_shape_is_refused_where_one_is_said() {
    let mut tiles = two_tiles();
    let dot = Made {
        kind: Kind::Point,
        values: vec![("id", Cell::Int(9))],
        parts: vec![vec![(7, 7)]],
    };
    let remnant = Made {
        kind: Kind::Point,
        values: vec![("id", Cell::Int(2)), ("kind", Cell::Text("PVC".into()))],
        parts: vec![vec![(10, 10)]],
    };
    let line = pipe(2, vec![vec![(10, 10), (20, 20)]]);
    tiles[0].1 = tile("pipes", 4096, &[dot, remnant, line]);
    let (_dir, path) = written("a.pmtiles", &pmtiles::writing::archive(3, LAYERS, &tiles));
    let mut said = options("pipes", &["id"]);
    let (features, ..) = read_all(&path, &said, &["id"]);
    let kind = |id: &str| {
        let found = features.iter().find(|f| f.values["id"].to_string() == id);
        found.map(|feature| shape(feature).type_name())
    };
    assert_eq!((kind("9"), kind("2")), (Some("Point"), Some("LineString")));
    said.shape = Some(Kind::Line);
    let (features, refused, ..) = read_all(&path, &said, &["id"]);
    assert!(features.iter().all(|f| f.values["id"] != Cell::Int(9)));
    assert!(
        refused
            .iter()
            .any(|reason| reason.contains("keep only a point of what should be a line")),
        "{refused:?}"
    );
}

#[test]
fn what_does_not_fit_the_archive_says_why() {
    let (_dir, path) = archive();
    let told = |options: &Options, columns: &[&str]| {
        let error = read_all(&path, options, columns).3.unwrap();
        assert!(!error.help.is_empty(), "{error}");
        error.to_string()
    };
    assert!(told(&Options::default(), &[]).contains("`pipes`, `roads`"));
    assert!(told(&options("pipe", &[]), &[]).contains("did you mean `pipes`?"));
    assert!(told(&options("pipes", &["ident"]), &[]).contains("no column `ident`"));
    assert!(told(&options("pipes", &[]), &["kid"]).contains("did you mean `id`?"));
    let zoom = Options {
        zoom: Some(9),
        ..options("pipes", &[])
    };
    assert!(told(&zoom, &[]).contains("its zooms are 3 to 3"));
    for (bytes, reason) in [
        (&b""[..], "too short"),
        (&[0; 200][..], "does not begin with PMTiles"),
    ] {
        let (_dir, path) = written("a.pmtiles", bytes);
        let error = read_all(&path, &options("pipes", &[]), &[]).3.unwrap();
        assert!(error.reason.contains(reason), "{error}");
    }
    let whole = pmtiles::writing::archive(3, LAYERS, &two_tiles());
    for (at, with, reason) in [
        (7, 2, "version 2"),
        (97, 4, "directories are compressed"),
        (98, 3, "tiles are compressed"),
        (99, 2, "PNG images"),
        (101, 90, "cannot be"),
        (8 + 7, 255, "past the end"),
    ] {
        let mut bytes = whole.clone();
        bytes[at] = with;
        let (_dir, path) = written("a.pmtiles", &bytes);
        let error = read_all(&path, &options("pipes", &["id"]), &[]).3.unwrap();
        assert!(error.to_string().contains(reason), "{error}");
    }
    // A tile that is damaged ends the file, with its place.
    let mut tiles = two_tiles();
    tiles[1].1.truncate(30);
    let (_dir, path) = written("a.pmtiles", &pmtiles::writing::archive(3, LAYERS, &tiles));
    let error = read_all(&path, &options("pipes", &["id"]), &[]).3.unwrap();
    assert!(error.at.contains("column 5 and row 4"), "{error}");
}

#[test]
fn a_feature_without_its_column_is_refused_alone() {
    let mut tiles = two_tiles();
    let nameless = |x: i32| Made {
        kind: Kind::Line,
        values: vec![("kind", Cell::Text("PVC".into()))],
        parts: vec![vec![(x, 7), (x + 9, 7)]],
    };
    tiles[0].1 = tile(
        "pipes",
        4096,
        &[
            nameless(7),
            nameless(70),
            pipe(2, vec![vec![(1, 1), (2, 2)]]),
        ],
    );
    let (_dir, path) = written("a.pmtiles", &pmtiles::writing::archive(3, LAYERS, &tiles));
    let (features, refused, ..) = read_all(&path, &options("pipes", &["id"]), &["id"]);
    assert_eq!(
        refused
            .iter()
            .filter(|reason| reason.contains("has no id"))
            .count(),
        2,
        "{refused:?}"
    );
    assert!(
        features
            .iter()
            .any(|feature| feature.values["id"] == Cell::Int(2))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_damage_makes_an_archive_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = pmtiles::writing::archive(3, LAYERS, &two_tiles());
        for (at, with) in changes {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        let (_dir, path) = written("a.pmtiles", &bytes);
        read_all(&path, &options("pipes", &["id"]), &[]);
    }

    #[test]
    fn no_damage_makes_a_database_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let (_dir, path) = database(&two_tiles());
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, with) in changes {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        std::fs::write(&path, bytes).unwrap();
        read_all(&path, &options("pipes", &["id"]), &[]);
    }
}

/// Of each feature its attributes as one text, and its length in metres.
fn known(features: &[Feature], key: &str) -> BTreeMap<String, (String, f64)> {
    features
        .iter()
        .map(|feature| {
            let values: Vec<String> = feature
                .values
                .iter()
                .filter(|(_, cell)| !cell.to_string().is_empty())
                .map(|(name, cell)| {
                    format!("{}={cell}", if &**name == "wss_id" { "id" } else { name })
                })
                .collect();
            let mut values = values;
            values.sort();
            let metres = shape(feature).length_m();
            (feature.values[key].to_string(), (values.join(" "), metres))
        })
        .collect()
}

#[test]
fn the_water_of_rwanda_is_what_was_decoded_from_it() {
    let Some(data) = data() else { return };
    let archive = data.join("rwanda/wasac_rural_water_z14.pmtiles");
    for (layer, key, count, lost, shape, columns) in [
        (
            "pipeline",
            "pipe_id",
            85_090,
            39,
            Kind::Line,
            &[
                "pipe_id",
                "material",
                "pipe_size",
                "pressure",
                "construction_year",
                "input_date",
                "rehabilitation_year",
            ][..],
        ),
        (
            "connection",
            "connection_id",
            63_529,
            0,
            Kind::Point,
            &[
                "connection_id",
                "connection_type",
                "status",
                "no_user",
                "elevation",
            ],
        ),
        (
            "chamber",
            "chamber_id",
            17_698,
            0,
            Kind::Point,
            &[
                "chamber_id",
                "chamber_type",
                "status",
                "material",
                "elevation",
            ],
        ),
        (
            "reservoir",
            "reservoir_id",
            6_695,
            0,
            Kind::Point,
            &["reservoir_id", "capacity", "status"],
        ),
        (
            "watersource",
            "watersource_id",
            3_118,
            0,
            Kind::Point,
            &["watersource_id", "source_type", "status"],
        ),
        (
            "pumping_station",
            "pumpingstation_id",
            205,
            0,
            Kind::Point,
            &["pumpingstation_id", "status"],
        ),
    ] {
        let parquet = data.join(format!("rwanda/wasac_{layer}.parquet"));
        let begun = std::time::Instant::now();
        let mut tiles = columns.to_vec();
        tiles.push("id");
        let said = Options {
            shape: Some(shape),
            ..options(layer, &[key])
        };
        let (features, refused, remarks, error) = read_all(&archive, &said, &tiles);
        println!(
            "{layer}: {} features, {} refused, {remarks:?}, {:?}",
            features.len(),
            refused.len(),
            begun.elapsed()
        );
        assert_eq!(error, None);
        assert_eq!(
            (features.len(), refused.len()),
            (count, lost),
            "{layer}: {:?}",
            refused.first()
        );
        let mut decoded = columns.to_vec();
        decoded.push("wss_id");
        let (theirs, ..) = read_all(&parquet, &Options::default(), &decoded);
        let (ours, theirs) = (known(&features, key), known(&theirs, key));
        let differ: Vec<_> = theirs
            .iter()
            .filter(|(id, (values, _))| ours.get(*id).map(|(ours, _)| ours) != Some(values))
            .take(3)
            .map(|(id, theirs)| (id, theirs, ours.get(id)))
            .collect();
        assert!(differ.is_empty(), "{layer}: {differ:?}");
        let total =
            |all: &BTreeMap<String, (String, f64)>| all.values().map(|(_, m)| m).sum::<f64>();
        let (ours, theirs) = (total(&ours), total(&theirs));
        println!("{layer}: {ours:.0} m, decoded {theirs:.0} m");
        assert!(
            (ours - theirs).abs() <= theirs * 0.001,
            "{layer}: {ours} {theirs}"
        );
    }
    // Areas: each scheme once, and all valid.
    let (features, refused, remarks, error) =
        read_all(&archive, &options("wss", &["wss_id"]), &["wss_id"]);
    println!("wss: {} features, {refused:?}, {remarks:?}", features.len());
    assert_eq!((features.len() + refused.len(), error), (1_130, None));
    for feature in &features {
        shape(feature);
    }
}
