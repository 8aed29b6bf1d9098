//! Maps are drawn from the twin as it is now: tiles through the door that a map uses, read by
//! programs that nobody here wrote.
//!
//! # Invariants
//! - What is on a tile is checked against the API, never against the tile's maker.
#![expect(
    clippy::unwrap_used,
    reason = "a test outside its functions too fails by panicking"
)]

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Checks, Start, Twin, agrees, data, node, oracle};

/// How long a peer may take to read its tiles.
const READ_WITHIN: Duration = Duration::from_mins(10);
/// A district hospital in the middle of the capital, as the test makes it.
const HERE: (f64, f64) = (30.06, -1.95);
const ID: &str = "test:hospital:1";
const ZOOM: u32 = 14;

/// Number of the tile that holds [`HERE`] at a zoom.
fn here(zoom: u32) -> (u32, u32) {
    let across = f64::from(1_u32 << zoom);
    let sin = HERE.1.to_radians().sin();
    let south = 0.5 - ((1.0 + sin) / (1.0 - sin)).ln() / (4.0 * std::f64::consts::PI);
    let x = (HERE.0 / 360.0 + 0.5) * across;
    (x as u32, (south * across) as u32)
}

fn path(layer: &str, query: &str) -> String {
    let (x, y) = here(ZOOM);
    format!("/tiles/{layer}/{ZOOM}/{x}/{y}.mvt{query}")
}

/// The layers of tiles, as the library of browsers reads them.
#[track_caller]
fn read(twin: &Twin, paths: &[String]) -> Vec<Value> {
    let mut command = node("tiles.mjs");
    command.args(
        paths
            .iter()
            .map(|path| format!("http://{}{path}", twin.http())),
    );
    let done = tests::Foreign::start(&mut command).finished(READ_WITHIN);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let lines = done.out.lines();
    lines
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["layers"].clone())
        .collect()
}

#[track_caller]
fn put(twin: &Twin, beds: u32) {
    let query = "mutation($input: HospitalInput!) { upsertHospital(input: $input) { position } }";
    let input = json!({
        "id": ID, "name": "Hospital of a test", "beds": beds,
        "geometry": {"type": "Point", "coordinates": [HERE.0, HERE.1]},
    });
    twin.graphql(query, json!({ "input": input })).data();
}

fn fresh(checks: &mut Checks, twin: &Twin) {
    checks.check("the next request after a commit shows it", || {
        put(twin, 7);
        let first = twin.fetch(&path("HealthFacility", "?attrs=beds,class"), &[]);
        assert_eq!(first.status, 200);
        assert_eq!(
            first.header("content-type"),
            "application/vnd.mapbox-vector-tile"
        );
        assert_eq!(first.header("cache-control"), "no-cache");
        assert_eq!(first.header("twin-tile-dropped"), "0");
        let tag = first.header("etag").to_owned();
        let unchanged = twin.fetch(
            &path("HealthFacility", "?attrs=beds,class"),
            &[("if-none-match", &tag)],
        );
        assert_eq!((unchanged.status, unchanged.bytes.len()), (304, 0));
        assert_eq!(unchanged.header("etag"), tag);
        put(twin, 8);
        let second = twin.fetch(
            &path("HealthFacility", "?attrs=beds,class"),
            &[("if-none-match", &tag)],
        );
        assert_eq!(second.status, 200);
        assert_ne!(second.bytes, first.bytes);
        assert_ne!(second.header("etag"), tag);
    });
    checks.check("another class's change leaves a tile as it was", || {
        let path = path("District", "");
        let tag = twin.fetch(&path, &[]).header("etag").to_owned();
        put(twin, 9);
        assert_eq!(twin.fetch(&path, &[("if-none-match", &tag)]).status, 304);
    });
    checks.check("the library of browsers reads the same", || {
        let found = read(
            twin,
            &[path("HealthFacility", ""), path("Hospital", "?attrs=beds")],
        );
        for (layers, name) in found.iter().zip(["HealthFacility", "Hospital"]) {
            let layer = &layers[name];
            assert_eq!(
                (&layer["extent"], &layer["version"]),
                (&json!(4096), &json!(2))
            );
            let ids = layer["ids"].as_array().unwrap();
            assert!(ids.contains(&json!(ID)), "{layers}");
        }
    });
}

fn refusals(checks: &mut Checks, twin: &Twin) {
    checks.check("what is wrong with an address is said by name", || {
        let (x, y) = here(ZOOM);
        for (path, status, code, part) in [
            (
                path("HealthFacilitty", ""),
                404,
                "UNKNOWN_NAME",
                "did you mean `HealthFacility`",
            ),
            (
                path("Hospital", "?attrs=bedz"),
                404,
                "UNKNOWN_NAME",
                "did you mean `beds`",
            ),
            (
                path("Hospital", "?branch=b"),
                400,
                "INVALID_INPUT",
                "not offered yet",
            ),
            (
                path("Hospital", "?limit=1"),
                404,
                "UNKNOWN_NAME",
                "argument `limit`",
            ),
            (
                path("Person", "?attrs=birthYear"),
                403,
                "FORBIDDEN",
                "person",
            ),
            (
                format!("/tiles/Hospital/23/{x}/{y}.mvt"),
                400,
                "INVALID_INPUT",
                "MAX_TILE_ZOOM",
            ),
            (
                format!("/tiles/Hospital/2/4/{y}.mvt"),
                400,
                "INVALID_INPUT",
                "from 0 to 3",
            ),
            (
                "/style.json?theme=drak".to_owned(),
                404,
                "UNKNOWN_NAME",
                "did you mean `dark`",
            ),
        ] {
            let fetched = twin.fetch(&path, &[]);
            let (found, message) = fetched.error();
            assert_eq!(
                (fetched.status, &*found),
                (status, code),
                "{path}: {message}"
            );
            assert!(message.contains(part), "{path}: {message}");
        }
        let (x, y) = here(ZOOM);
        let other = format!("/tiles/Hospital/{ZOOM}/{x}/{y}.png");
        assert_eq!(twin.fetch(&other, &[]).status, 404);
        let foreign = twin.fetch(&path("Hospital", ""), &[("origin", "https://example.com")]);
        assert_eq!(foreign.status, 403);
    });
}

fn offers(checks: &mut Checks, twin: &Twin) {
    checks.check("a style leads to TileJSON, and that to tiles", || {
        let json = |path: &str| -> Value {
            let fetched = twin.fetch(path, &[]);
            assert_eq!(fetched.status, 200, "{path}");
            serde_json::from_slice(&fetched.bytes).unwrap()
        };
        let style = json("/style.json?theme=dark");
        let own = format!("http://{}", twin.http());
        for (name, source) in style["sources"].as_object().unwrap() {
            let url = source["url"].as_str().unwrap();
            let said = json(url.strip_prefix(&own).unwrap());
            assert_eq!(said["name"], name.as_str());
            let tile = said["tiles"][0].as_str().unwrap();
            let tile = tile
                .replace("{z}", "0")
                .replace("{x}", "0")
                .replace("{y}", "0");
            assert_eq!(
                twin.fetch(tile.strip_prefix(&own).unwrap(), &[]).status,
                200
            );
        }
    });
    checks.check("tiles are counted", || {
        assert!(twin.metric("twin_tile_requests_total{code=\"OK\"}") > 0);
        assert!(twin.metric("twin_tile_requests_total{code=\"UNKNOWN_NAME\"}") > 0);
        assert!(twin.metric("twin_tile_seconds_count") > 0);
    });
}

#[test]
fn a_map_is_drawn_from_the_twin_as_it_is_now() {
    let twin = Start::demo().ready();
    let mut checks = Checks::new();
    fresh(&mut checks, &twin);
    refusals(&mut checks, &twin);
    offers(&mut checks, &twin);
    checks.finish();
}

#[test]
fn mapbox_vector_tile_and_shapely_agree_with_the_api() {
    let Some(data) = data() else {
        println!("skipped: TWIN_DATA names no source data to draw");
        return;
    };
    let twin = Start::demo().data(&data).ready();
    let url = format!("http://{}", twin.http());
    agrees(oracle("tiles_check.py").arg("--url").arg(url));
    // Tiles of every zoom over the capital, to the last feature.
    let paths = ["Village", "District", "WaterPoint", "HealthFacility"];
    let paths = paths.iter().flat_map(|layer| {
        (0..=16).map(move |zoom| {
            let (x, y) = here(zoom);
            format!("/tiles/{layer}/{zoom}/{x}/{y}.mvt")
        })
    });
    let found = read(&twin, &paths.collect::<Vec<_>>());
    assert_eq!(found.len(), 4 * 17);
}
