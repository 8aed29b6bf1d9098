//! Solids come in as CityJSON and go out as binary glTF, which the Khronos validator looks at.
//!
//! # Invariants
//! - A town that is written here needs no source data; real cities are tried where there are some.
//! - What a model encloses is compared with what the source says of it, never with the model's maker.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stop the test; a figure that the log of a test run keeps"
)]

use std::{fs, time::Duration};

use serde_json::{Value, json};
use tests::{Checks, Foreign, Start, Twin, data, import_file, node, total};

const BUILDINGS: &str = "cityjson-buildings";
const REFUSED: Option<i32> = Some(3);
/// How long the validator may take.
const LOOKED_AT_WITHIN: Duration = Duration::from_mins(5);

/// Two blocks of 10 by 20 m and 6 m on a building without geometry, and a shed that is only an outline.
fn town() -> Value {
    let corners = |x: i64, y: i64| {
        [0, 6_000].map(|z| {
            [(0, 0), (10_000, 0), (10_000, 20_000), (0, 20_000)]
                .map(|(dx, dy)| json!([x + dx, y + dy, z]))
        })
    };
    let block = |first: usize| {
        let faces = [
            [0, 3, 2, 1],
            [4, 5, 6, 7],
            [0, 1, 5, 4],
            [1, 2, 6, 5],
            [2, 3, 7, 6],
            [3, 0, 4, 7],
        ];
        let faces = faces.map(|face| json!([face.map(|corner| corner + first)]));
        json!([{"type": "Solid", "lod": "1", "boundaries": [faces]}])
    };
    let vertices: Vec<Value> = [corners(0, 0), corners(10_000, 0)].concat().concat();
    json!({
        "type": "CityJSON", "version": "2.0",
        "transform": {"scale": [0.001, 0.001, 0.001], "translate": [85_000.0, 446_000.0, -1.0]},
        "metadata": {"referenceSystem": "https://www.opengis.net/def/crs/EPSG/0/7415"},
        "vertices": vertices,
        "CityObjects": {
            "b": {"type": "Building", "attributes": {"name": "Two blocks"}, "children": ["p.1", "p.2"]},
            "p.1": {"type": "BuildingPart", "parents": ["b"], "geometry": block(0)},
            "p.2": {"type": "BuildingPart", "parents": ["b"], "geometry": block(8)},
            "shed": {"type": "Building", "geometry": [{"type": "MultiSurface", "lod": "0", "boundaries": [[[0, 1, 2, 3]]]}]},
        },
    })
}

/// What the validator and a measure say of the models of these twins.
#[track_caller]
fn models(twin: &Twin, ids: &[String]) -> Vec<Value> {
    let mut command = node("models.mjs");
    command.args(
        ids.iter()
            .map(|id| format!("http://{}/models/{id}.glb", twin.http())),
    );
    let done = Foreign::start(&mut command).finished(LOOKED_AT_WITHIN);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let lines = done.out.lines().map(serde_json::from_str);
    let models: Vec<Value> = lines.map(Result::unwrap).collect();
    assert_eq!(models.len(), ids.len());
    for (id, model) in ids.iter().zip(&models) {
        assert_eq!(
            (&model["errors"], &model["warnings"]),
            (&json!(0), &json!(0)),
            "{id}: {model}"
        );
        assert_eq!(model["extras"]["id"], **id);
    }
    models
}

#[track_caller]
fn near(found: &Value, expected: f64, share: f64) {
    let found = found.as_f64().unwrap();
    assert!(
        (found / expected - 1.0).abs() <= share,
        "{found}, not {expected}"
    );
}

#[test]
fn a_solid_goes_in_as_cityjson_and_out_as_gltf() {
    let folder = tempfile::tempdir().unwrap();
    let (file, dir) = (
        folder.path().join("town.city.json"),
        folder.path().join("twin"),
    );
    fs::write(&file, town().to_string()).unwrap();
    let (done, reports) = import_file(&[BUILDINGS], &file, &dir, &[]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(reports[0]["created"], 4, "{}", reports[0]);
    let mut checks = Checks::new();
    let twin = Start::serve().dir(&dir).ready();
    checks.check(
        "parts belong to their building, which has their outline",
        || {
            let query = r#"{
          building: twin(id: "city:b") { label geometry ... on Building { height heightSource } }
          part: twin(id: "city:p.1") { geometry ... on BuildingPart { height partOf { id } } }
        }"#;
            let answer = twin.graphql(query, json!({}));
            let data = answer.data();
            let building = &data["building"];
            assert_eq!(building["label"], "Two blocks");
            assert_eq!(
                (&building["height"], &building["heightSource"]),
                (&json!(6.0), &json!("model"))
            );
            assert_eq!(
                building["geometry"]["type"], "Polygon",
                "GeoJSON is the footprint"
            );
            assert_eq!(data["part"]["partOf"]["id"], "city:b");
            assert_eq!(data["part"]["geometry"]["coordinates"][0][0][2], -1.0);
        },
    );
    checks.check(
        "the validator finds nothing wrong, and metres are metres",
        || {
            let found = models(&twin, &["city:p.1".to_owned(), "city:p.2".to_owned()]);
            for model in &found {
                println!("{model}");
                near(&model["volume"], 10.0 * 20.0 * 6.0, 2e-3);
                for (surface, triangles, area) in
                    [("ground", 2, 200.0), ("roof", 2, 200.0), ("wall", 8, 360.0)]
                {
                    let surface = &model["surfaces"][surface];
                    assert_eq!(surface["triangles"], triangles);
                    near(&surface["area"], area, 2e-3);
                }
                assert_eq!(model["extras"]["class"], "BuildingPart");
                assert_eq!(model["extras"]["origin"]["height"], -1.0);
                near(&model["most"][1], 6.0, 1e-3);
                near(&model["most"][2], 10.0, 2e-2);
            }
            let lon = |model: &Value| model["extras"]["origin"]["lon"].as_f64().unwrap();
            // 10 m further east, at 52 degrees north.
            assert!((lon(&found[1]) - lon(&found[0]) - 10.0 / 68_670.0).abs() < 1e-6);
        },
    );
    checks.check("a model is kept until its twin changes", || {
        let path = "/models/city:p.1.glb";
        let first = twin.fetch(path, &[]);
        assert_eq!(first.header("content-type"), "model/gltf-binary");
        assert_eq!(first.header("cache-control"), "no-cache");
        let tag = first.header("etag").to_owned();
        let same = twin.fetch(path, &[("if-none-match", &tag)]);
        assert_eq!((same.status, same.bytes.len()), (304, 0));
        let change = "mutation { upsertBuildingPart(input: {id: \"city:p.1\", partType: \"block\"}) { changes } }";
        twin.graphql(change, json!({})).data();
        let other = twin.fetch(path, &[("if-none-match", &tag)]);
        assert_eq!(other.status, 200);
        assert_eq!(other.bytes, first.bytes, "its solid is the same");
    });
    checks.check("a twin without a solid, or none, is told", || {
        for (id, part) in [
            ("shed", "the Building `city:shed` has no solid"),
            ("none", "there is no twin `city:none`"),
        ] {
            let fetched = twin.fetch(&format!("/models/city:{id}.glb"), &[]);
            let (code, message) = fetched.error();
            assert_eq!((fetched.status, &*code), (404, "NOT_FOUND"), "{message}");
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(twin.fetch("/models/city:p.1.obj", &[]).status, 404);
    });
    drop(twin);
    checks.check(
        "a start from the store and another import lose nothing",
        || {
            let twin = Start::serve().dir(&dir).ready();
            models(&twin, &["city:p.1".to_owned()]);
            let position = twin.position().to_owned();
            drop(twin);
            let verify = Start::bare("verify").dir(&dir).finished();
            assert_eq!(verify.code, Some(0), "{}{}", verify.out, verify.err);
            let (again, reports) = import_file(&[BUILDINGS], &file, &dir, &[]);
            // The kind of block, which the file does not know, is what the import takes back.
            assert_eq!(
                (again.code, &reports[0]["changes"]),
                (Some(0), &json!(1)),
                "{}",
                reports[0]
            );
            let (_, reports) = import_file(&[BUILDINGS], &file, &dir, &[]);
            assert_eq!(reports[0]["changes"], 0, "{}", reports[0]);
            assert_ne!(Start::serve().dir(&dir).ready().position(), position);
        },
    );
    checks.finish();
}

#[test]
fn a_file_without_its_coordinate_system_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (file, dir) = (
        folder.path().join("town.city.json"),
        folder.path().join("twin"),
    );
    let mut town = town();
    town["metadata"] = json!({});
    fs::write(&file, town.to_string()).unwrap();
    let (done, _) = import_file(&[BUILDINGS], &file, &dir, &[]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(done.err.contains("--crs EPSG:"), "{}", done.err);
    let (done, _) = import_file(&[BUILDINGS], &file, &dir, &["--crs", "EPSG:none"]);
    assert_eq!(done.code, Some(2), "{}", done.err);
    let (done, reports) = import_file(&[BUILDINGS], &file, &dir, &["--crs", "EPSG:7415"]);
    assert_eq!(
        (done.code, &reports[0]["created"]),
        (Some(0), &json!(4)),
        "{}",
        done.err
    );
}

#[test]
fn real_cities_are_imported_whole_and_their_models_are_valid() {
    let Some(data) = data() else {
        println!(
            "skipped: TWIN_DATA names no source data; a town that is written here covers the rest"
        );
        return;
    };
    let world = data.join("world/cityjson");
    let mut checks = Checks::new();
    let folder = tempfile::tempdir().unwrap();
    checks.check("the 3D BAG says the volume of its buildings", || {
        let dir = folder.path().join("bag");
        let (done, reports) =
            import_file(&[BUILDINGS], &world.join("3dbag_b2.city.json"), &dir, &[]);
        assert_eq!(
            (done.code, &reports[0]["created"]),
            (Some(0), &json!(4)),
            "{}",
            done.err
        );
        // As CityJSONSeq the same is there.
        let (done, reports) =
            import_file(&[BUILDINGS], &world.join("3dbag_b2.city.jsonl"), &dir, &[]);
        assert_eq!(
            (done.code, &reports[0]["unchanged"]),
            (Some(0), &json!(4)),
            "{} {}",
            done.err,
            reports[0]
        );
        let twin = Start::serve().dir(&dir).ready();
        // b3_volume_lod22 of the source.
        for (number, volume) in [
            ("0503100000028341", 991.359_558),
            ("0503100000031927", 1_358.019_287),
        ] {
            let found = models(&twin, &[format!("city:NL.IMBAG.Pand.{number}-0")]);
            println!("{}", found[0]);
            near(&found[0]["volume"], volume, 2e-3);
        }
    });
    for (city, sets, buildings) in [
        (
            "delft.city.json.gz",
            &[BUILDINGS, "cityjson-roads", "cityjson-land"][..],
            160,
        ),
        (
            "rotterdam_delfshaven_3-20.city.json.gz",
            &[BUILDINGS][..],
            853,
        ),
    ] {
        let dir = folder.path().join(city);
        let (done, reports) = import_file(sets, &world.join(city), &dir, &[]);
        assert!([Some(0), REFUSED].contains(&done.code), "{}", done.err);
        for report in &reports {
            println!("{city}: {report}");
        }
        let twin = Start::serve().dir(&dir).ready();
        checks.check("every building is there", || {
            assert_eq!(total(&twin, "buildings"), buildings, "{city}");
        });
        checks.check("models of a city are valid", || {
            let query = "{ buildings(first: 40) { edges { node { id height } } } }";
            let answer = twin.graphql(query, json!({}));
            let edges = answer.data()["buildings"]["edges"]
                .as_array()
                .unwrap()
                .clone();
            let ids: Vec<String> = edges
                .iter()
                .map(|edge| edge["node"]["id"].as_str().unwrap().to_owned())
                .collect();
            for (edge, model) in edges.iter().zip(models(&twin, &ids)) {
                let height = edge["node"]["height"].as_f64().unwrap();
                near(&model["most"][1], height, 1e-3);
                assert!(model["surfaces"].get("wall").is_some(), "{model}");
            }
        });
        let position = twin.position().to_owned();
        drop(twin);
        checks.check("a city that comes again changes nothing", || {
            for report in import_file(sets, &world.join(city), &dir, &[]).1 {
                assert_eq!(report["changes"], 0, "{report}");
            }
            assert_eq!(Start::serve().dir(&dir).ready().position(), position);
        });
    }
    checks.check("broken files say what is wrong and import nothing", || {
        let dir = folder.path().join("broken");
        for (file, part) in [
            ("invalid_json.city.json", "line 3, column"),
            ("with-errors.city.json", "line 1934, column"),
            ("unclosedbracket.city.jsonl", "line 1, column 313"),
            ("notransform.city.jsonl", "no transform"),
        ] {
            let (done, reports) = import_file(
                &[BUILDINGS],
                &data.join("world/broken").join(file),
                &dir,
                &[],
            );
            assert_eq!((done.code, reports.len()), (Some(1), 0), "{}", done.err);
            // As one line: the message is broken where the terminal ends.
            let told = done.err.replace('│', "");
            let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(told.contains(part) && told.contains(file), "{told}");
        }
        let twin = Start::serve().dir(&dir).ready();
        assert_eq!(total(&twin, "buildings"), 0);
    });
    checks.finish();
}
