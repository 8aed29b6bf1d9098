//! Cities of OpenStreetMap: imported from their extracts, asked, compared with what osmium makes of them.
//!
//! # Invariants
//! - A town that is written here needs no source data; real extracts are tried where there are some.
//! - Every object of a file is a twin, or passed over by every rule, or in the report with its reason.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stop the test; a figure that the log of a test run keeps"
)]

use std::fs;

use serde_json::{Value, json};
use tests::{Checks, Start, agrees, data, import_file, oracle, total};

const SETS: [&str; 5] = [
    "osm-buildings",
    "osm-building-parts",
    "osm-roads",
    "osm-land",
    "osm-places",
];
const REFUSED: Option<i32> = Some(3);

/// A house with a hole, half a house beyond the edge, streets, a shop in the house and a pond.
const TOWN: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<osm version="0.6">
 <node id="1" lon="30.000" lat="-1.000"/><node id="2" lon="30.003" lat="-1.000"/>
 <node id="3" lon="30.003" lat="-1.003"/><node id="4" lon="30.000" lat="-1.003"/>
 <node id="5" lon="30.001" lat="-1.001"/><node id="6" lon="30.002" lat="-1.001"/>
 <node id="7" lon="30.002" lat="-1.002"/><node id="8" lon="30.001" lat="-1.002"/>
 <node id="9" lon="30.004" lat="-1.000"><tag k="highway" v="bus_stop"/><tag k="name" v="Market"/></node>
 <node id="10" lon="30.005" lat="-1.001"><tag k="shop" v="bakery"/><tag k="name" v="Caf&#233; &amp; bread"/></node>
 <way id="1"><nd ref="1"/><nd ref="2"/><nd ref="3"/></way>
 <way id="2"><nd ref="1"/><nd ref="4"/><nd ref="3"/></way>
 <way id="3"><nd ref="5"/><nd ref="6"/><nd ref="7"/><nd ref="8"/><nd ref="5"/>
  <tag k="natural" v="water"/><tag k="name" v="Pond"/></way>
 <way id="4"><nd ref="1"/><nd ref="2"/><nd ref="99"/><nd ref="1"/><tag k="building" v="yes"/></way>
 <way id="5"><nd ref="1"/><nd ref="9"/><nd ref="10"/><tag k="highway" v="residential"/>
  <tag k="maxspeed" v="30 mph"/><tag k="oneway" v="-1"/><tag k="lanes" v="2"/></way>
 <way id="6"><nd ref="9"/><nd ref="98"/><tag k="highway" v="path"/></way>
 <way id="7"><nd ref="9"/><nd ref="10"/><nd ref="98"/><tag k="highway" v="motorway_link"/>
  <tag k="maxspeed" v="RO:urban"/></way>
 <way id="8"><nd ref="5"/><nd ref="6"/><nd ref="7"/><nd ref="8"/><nd ref="5"/>
  <tag k="building:part" v="yes"/><tag k="height" v="39'"/></way>
 <relation id="1"><member type="way" ref="1" role="outer"/><member type="way" ref="2" role="inner"/>
  <member type="way" ref="3" role="outer"/>
  <tag k="type" v="multipolygon"/><tag k="building" v="school"/><tag k="amenity" v="school"/>
  <tag k="building:levels" v="4"/><tag k="roof:levels" v="1"/><tag k="height" v="tall"/></relation>
</osm>
"#;

fn count(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_default()
}

/// Nothing that was read is not counted. Of one feature several twins may be made, never none.
#[track_caller]
fn adds_up(report: &Value) {
    let refused: u64 = report["refused"]["count"].as_u64().unwrap();
    let made: u64 = ["created", "updated", "unchanged"]
        .map(|key| count(report, key))
        .iter()
        .sum();
    let told = count(report, "skipped") + refused + made;
    assert!(told >= count(report, "read"), "{report}");
}

#[test]
fn a_town_is_imported_once_and_says_what_lies_beyond_its_edge() {
    let folder = tempfile::tempdir().unwrap();
    let (file, dir) = (folder.path().join("town.osm"), folder.path().join("twin"));
    fs::write(&file, TOWN).unwrap();
    let (done, reports) = import_file(&SETS, &file, &dir, &[]);
    assert_eq!(done.code, REFUSED, "{}", done.err);
    reports.iter().for_each(adds_up);
    let mut checks = Checks::new();
    checks.check("what lies beyond the edge is told by reason", || {
        let [buildings, _, roads, ..] = &reports[..] else {
            panic!("{reports:?}");
        };
        let missing = "nodes that the file lacks";
        assert_eq!(buildings["refused"]["by_kind"][missing], 1, "{buildings}");
        assert_eq!(buildings["refused"]["listed"][0]["twin"], "osm:way:4");
        assert_eq!(roads["refused"]["by_kind"][missing], 1, "{roads}");
        assert_eq!(roads["warnings"]["by_kind"][missing], 1, "{roads}");
    });
    let twin = Start::serve().dir(&dir).ready();
    checks.check("every kind of twin is there", || {
        for (list, number) in [
            ("buildings", 1),
            ("buildingParts", 1),
            ("roads", 2),
            ("transportStops", 1),
            ("waterBodies", 1),
            ("pointsOfInterest", 2),
        ] {
            assert_eq!(total(&twin, list), number, "{list}");
        }
    });
    checks.check("properties are read from what people write", || {
        let query = r#"{
          school: twin(id: "osm:relation:1") { ... on Building { height heightSource levels use buildingType } }
          part: twin(id: "osm:way:8") { ... on BuildingPart { height heightSource partOf { id } } }
          road: twin(id: "osm:way:5") { ... on Road { roadClass maxSpeed oneWay lanes link source licence } }
          link: twin(id: "osm:way:7") { geometry ... on Road { roadClass maxSpeed oneWay link } }
          shop: twin(id: "osm:poi:node:10") { label ... on PointOfInterest { category kind } }
          inside: containing(point: {lon: 30.0005, lat: -1.0005}, class: "Building") { id }
          hole: containing(point: {lon: 30.0015, lat: -1.0015}, class: "Building") { id }
        }"#;
        let answer = twin.graphql(query, json!({}));
        let data = answer.data();
        assert_eq!(
            data["school"],
            json!({"height": 15.0, "heightSource": "levels", "levels": 4.0, "use": "education", "buildingType": "school"})
        );
        assert_eq!(data["part"]["heightSource"], "tag");
        let height = data["part"]["height"].as_f64().unwrap();
        assert!((height - 39.0 * 0.3048).abs() < 1e-9, "{height}");
        let speed = data["road"]["maxSpeed"].as_f64().unwrap();
        assert!((speed - 48.28032).abs() < 1e-9, "{speed}");
        assert_eq!(data["road"]["oneWay"], "backward");
        assert_eq!(data["road"]["licence"], "ODbL-1.0");
        assert_eq!(data["link"]["roadClass"], "motorway");
        assert_eq!(data["link"]["oneWay"], "forward");
        assert_eq!(data["link"]["link"], true);
        assert_eq!(data["link"]["maxSpeed"], Value::Null);
        assert_eq!(data["link"]["geometry"]["type"], "LineString");
        assert_eq!(data["shop"], json!({"label": "Caf\u{e9} & bread", "category": "shop", "kind": "bakery"}));
        assert_eq!(data["inside"], json!([{"id": "osm:relation:1"}]));
        assert_eq!(data["hole"], json!([]));
    });
    let position = twin.position().to_owned();
    drop(twin);
    checks.check("the same file again changes nothing", || {
        let (again, reports) = import_file(&SETS, &file, &dir, &[]);
        assert_eq!(again.code, REFUSED, "{}", again.err);
        for report in &reports {
            assert_eq!(report["changes"], 0, "{report}");
        }
        let twin = Start::serve().dir(&dir).ready();
        assert_eq!(twin.position(), position);
    });
    checks.finish();
}

#[test]
fn a_file_that_is_not_named_or_not_there_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    let unnamed = Start::bare("import").arg("osm-roads").dir(&dir).finished();
    assert_eq!(unnamed.code, Some(2), "{}", unnamed.err);
    assert!(unnamed.err.contains("--file PATH"), "{}", unnamed.err);
    let missing = folder.path().join("none.osm.pbf");
    let (done, _) = import_file(&SETS, &missing, &dir, &[]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(done.err.contains("none.osm.pbf"), "{}", done.err);
    let city = Start::bare("demo")
        .arg("--city")
        .arg("monako")
        .dir(&dir)
        .finished();
    assert_eq!(city.code, Some(2), "{}", city.err);
    assert!(city.err.contains("did you mean `monaco`?"), "{}", city.err);
}

#[test]
fn a_real_city_is_what_osmium_makes_of_it() {
    let Some(data) = data() else {
        println!(
            "skipped: TWIN_DATA names no source data; a town that is written here covers the rest"
        );
        return;
    };
    let mut checks = Checks::new();
    for (file, buildings) in [
        ("monaco-latest.osm.pbf", 1_100),
        ("helsinki.osm.pbf", 350),
        ("berlin_siegessaeule.osm.gz", 100),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (file, dir) = (
            data.join("world/osm").join(file),
            folder.path().join("twin"),
        );
        let (done, reports) = import_file(&SETS, &file, &dir, &[]);
        assert!([Some(0), REFUSED].contains(&done.code), "{}", done.err);
        for report in &reports {
            println!(
                "{} of {} in {} ms",
                report["set"],
                file.display(),
                report["elapsed_ms"]
            );
            adds_up(report);
        }
        let twin = Start::serve().dir(&dir).ready();
        checks.check("a city has its buildings", || {
            let found = total(&twin, "buildings") + total(&twin, "buildingParts");
            assert!(found > buildings, "{}: {found}", file.display());
        });
        checks.check("osmium makes the same areas of the file", || {
            agrees(
                oracle("osm_check.py")
                    .arg("--file")
                    .arg(&file)
                    .arg("--url")
                    .arg(format!("http://{}/graphql", twin.http())),
            );
        });
        let position = twin.position().to_owned();
        drop(twin);
        checks.check("a city that comes again changes nothing", || {
            let (_, again) = import_file(&SETS, &file, &dir, &[]);
            for report in &again {
                assert_eq!(report["changes"], 0, "{report}");
            }
            let twin = Start::serve().dir(&dir).ready();
            assert_eq!(twin.position(), position);
        });
    }
    checks.check("a file that is cut off imports nothing", || {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("twin");
        let file = data.join("world/broken/monaco_truncated_at_200000.osm.pbf");
        let (done, reports) = import_file(&SETS, &file, &dir, &[]);
        assert_eq!(done.code, Some(1), "{}", done.err);
        assert!(
            done.err.contains("cut off") && reports.is_empty(),
            "{}",
            done.err
        );
        let twin = Start::serve().dir(&dir).ready();
        assert_eq!(total(&twin, "buildings"), 0);
    });
    checks.finish();
}
