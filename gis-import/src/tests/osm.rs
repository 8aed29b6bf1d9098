//! Extracts of OpenStreetMap through the mappings that are shipped.

use std::collections::BTreeMap;

use super::*;
use crate::mapping::MappingError;

/// Tags of an object.
type Tags = &'static [(&'static str, &'static str)];

/// Tags, and two values that follow from them.
type Way<'a> = (Tags, Option<&'a str>, Option<&'a str>);

const SETS: [&str; 5] = [
    "osm-buildings",
    "osm-building-parts",
    "osm-roads",
    "osm-land",
    "osm-places",
];

fn reading(set: &str, ontology: &Ontology, file: &Path) -> Arc<Mapping> {
    let mapping = shipped(set, ontology);
    Arc::new(Mapping::clone(&mapping).reading(file).unwrap())
}

fn nowhere() -> Folders {
    Folders {
        data: None,
        seeds: seeds(),
    }
}

async fn all(twin: &Twin, file: &Path) -> BTreeMap<&'static str, Report> {
    let mut reports = BTreeMap::new();
    for set in SETS {
        let mapping = reading(set, twin.view().ontology(), file);
        reports.insert(set, run(twin, &mapping, &nowhere()).await);
    }
    reports
}

/// A closed way of these tags around a square of its own, as XML.
fn square_of(way: usize, tags: &[(&str, &str)]) -> String {
    let (lon, id) = (way as f64 / 100.0, way * 10);
    let mut text = String::new();
    for (corner, (x, y)) in [(0.0, 0.0), (0.001, 0.0), (0.001, 0.001), (0.0, 0.001)]
        .iter()
        .enumerate()
    {
        writeln!(
            text,
            "<node id=\"{}\" lon=\"{}\" lat=\"{y}\"/>",
            id + corner,
            lon + x
        )
        .unwrap();
    }
    writeln!(text, "<way id=\"{way}\">").unwrap();
    for corner in [0, 1, 2, 3, 0] {
        writeln!(text, "<nd ref=\"{}\"/>", id + corner).unwrap();
    }
    for (key, value) in tags {
        let value = value.replace('"', "&quot;");
        writeln!(text, "<tag k=\"{key}\" v=\"{value}\"/>").unwrap();
    }
    text.push_str("</way>\n");
    text
}

/// Imports a set of ways with these tags, numbered from 1.
async fn with(set: &str, ways: &[&[(&str, &str)]]) -> (Twin, Report) {
    let twin = twin().await;
    let numbered = ways.iter().enumerate();
    let objects: String = numbered.map(|(n, tags)| square_of(n + 1, tags)).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.osm");
    std::fs::write(&file, format!("<osm>{objects}</osm>")).unwrap();
    let mapping = reading(set, twin.view().ontology(), &file);
    let report = run(&twin, &mapping, &nowhere()).await;
    (twin, report)
}

/// A property of every way's twin.
fn each(view: &View, prefix: &str, property: &str, count: usize) -> Vec<Option<String>> {
    let text = |value: Value| match value {
        Value::Double(number) => format!("{}", (number * 1e6).round() / 1e6),
        Value::Int(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Text(text) => text.to_string(),
        other => format!("{other:?}"),
    };
    let ids = (1..=count).map(|way| format!("{prefix}:way:{way}"));
    ids.map(|id| value(view, &id, property).map(text)).collect()
}

#[tokio::test]
async fn heights_are_what_people_write_or_counted_from_storeys() {
    const B: (&str, &str) = ("building", "yes");
    let ways: [(Tags, Option<&str>, Option<&str>); 12] = [
        (&[B, ("height", "12")], Some("12"), Some("tag")),
        (&[B, ("height", "12 m")], Some("12"), Some("tag")),
        (&[B, ("height", "39'")], Some("11.8872"), Some("tag")),
        (&[B, ("height", "39 ft")], Some("11.8872"), Some("tag")),
        (&[B, ("height", "39'6\"")], Some("12.0396"), Some("tag")),
        (&[B, ("height", "5.5m")], Some("5.5"), Some("tag")),
        (&[B, ("height", "12,5")], Some("12.5"), Some("tag")),
        (
            &[B, ("height", "low"), ("building:levels", "2")],
            Some("6"),
            Some("levels"),
        ),
        (
            &[B, ("building:levels", "2.5")],
            Some("7.5"),
            Some("levels"),
        ),
        (
            &[B, ("building:levels", "2"), ("roof:levels", "1")],
            Some("9"),
            Some("levels"),
        ),
        (&[B, ("height", "99999")], None, None),
        (&[B], None, None),
    ];
    let tags: Vec<_> = ways.iter().map(|(tags, ..)| *tags).collect();
    let (twin, report) = with("osm-buildings", &tags).await;
    assert_eq!((report.created, report.refused.count), (12, 0), "{report}");
    let view = twin.view();
    let wanted = |pick: fn(&Way<'_>) -> Option<String>| ways.iter().map(pick).collect::<Vec<_>>();
    let heights = each(&view, "osm", "height", 12);
    assert_eq!(heights, wanted(|way| way.1.map(str::to_owned)));
    let sources = each(&view, "osm", "heightSource", 12);
    assert_eq!(sources, wanted(|way| way.2.map(str::to_owned)));
    assert_eq!(report.warnings.count, 2, "{report}");
    assert_eq!(
        report.warnings.listed[0].reason,
        "height not from `height`: expected a finite number, found `low`"
    );
}

#[tokio::test]
async fn speeds_and_directions_are_what_people_write() {
    const R: (&str, &str) = ("highway", "residential");
    let ways: [(Tags, Option<&str>, &str); 12] = [
        (&[R, ("maxspeed", "50")], Some("50"), "both"),
        (
            &[R, ("maxspeed", "30 mph"), ("oneway", "yes")],
            Some("48.28032"),
            "forward",
        ),
        (
            &[R, ("maxspeed", "walk"), ("oneway", "no")],
            Some("7"),
            "both",
        ),
        (
            &[R, ("maxspeed", "RO:urban"), ("oneway", "-1")],
            None,
            "backward",
        ),
        (&[R, ("maxspeed", "none"), ("oneway", "1")], None, "forward"),
        (
            &[R, ("maxspeed", "30 km/h"), ("oneway", "true")],
            Some("30"),
            "forward",
        ),
        (
            &[R, ("maxspeed", "90;30"), ("oneway", "reversible")],
            None,
            "reversible",
        ),
        (&[R, ("junction", "roundabout")], None, "forward"),
        (&[("highway", "motorway")], None, "forward"),
        (&[("highway", "motorway"), ("oneway", "no")], None, "both"),
        (&[R, ("oneway", "perhaps")], None, "both"),
        (&[("highway", "primary_link")], None, "both"),
    ];
    let tags: Vec<_> = ways.iter().map(|(tags, ..)| *tags).collect();
    let (twin, report) = with("osm-roads", &tags).await;
    assert_eq!((report.created, report.refused.count), (12, 0), "{report}");
    let view = twin.view();
    let speeds = each(&view, "osm", "maxSpeed", 12);
    let wanted: Vec<_> = ways.iter().map(|way| way.1.map(str::to_owned)).collect();
    assert_eq!(speeds, wanted);
    let directions = each(&view, "osm", "oneWay", 12);
    let wanted: Vec<_> = ways.iter().map(|way| Some(way.2.to_owned())).collect();
    assert_eq!(directions, wanted);
    // RO:urban, 90;30 and perhaps.
    assert_eq!(report.warnings.count, 3, "{report}");
    let links = each(&view, "osm", "link", 12);
    assert_eq!(
        links
            .iter()
            .filter(|link| link.as_deref() == Some("true"))
            .count(),
        1
    );
}

#[tokio::test]
async fn an_object_that_is_several_things_is_several_twins() {
    let tags: &[(&str, &str)] = &[
        ("building", "yes"),
        ("building:part", "yes"),
        ("amenity", "school"),
        ("landuse", "education"),
        ("highway", "corridor"),
    ];
    let twin = twin().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.osm");
    std::fs::write(&file, format!("<osm>{}</osm>", square_of(1, tags))).unwrap();
    let reports = all(&twin, &file).await;
    for (set, report) in &reports {
        assert_eq!(report.refused.count, 0, "{set}: {report}");
    }
    let view = twin.view();
    for (class, number) in [
        ("Building", 1),
        ("BuildingPart", 0),
        ("Road", 0),
        ("LandUse", 1),
        ("PointOfInterest", 1),
    ] {
        assert_eq!(count(&view, class), number, "{class}");
    }
}

#[test]
fn a_set_without_a_file_of_its_own_reads_the_one_that_is_named() {
    let mapping = shipped("osm-roads", &ontology());
    assert!(mapping.needs_file() && mapping.find(&nowhere()).is_none());
    let named = reading("osm-roads", &ontology(), Path::new("any/where.xyz"));
    assert!(!named.needs_file());
    let folders = nowhere();
    let candidates = named.candidates(&folders);
    let candidates: Vec<_> = candidates.map(|(path, file)| (path, file.format)).collect();
    assert_eq!(
        candidates,
        [(PathBuf::from("any/where.xyz"), crate::formats::Format::Osm)]
    );
    let parse = |file: &str| -> Result<Mapping, MappingError> {
        let head = "title = \"t\"\nsource = \"s\"\nlicence = \"l\"\nattribution = \"a\"\n";
        let rule = "[[twin]]\nclass = \"Road\"\nid = \"a:{c}\"\n";
        Mapping::parse(
            "test.toml",
            &format!("{head}[[file]]\n{file}\n{rule}"),
            &ontology(),
        )
    };
    for (file, reason) in [
        ("in = \"given\"", "needs `format`"),
        ("in = \"given\"\nformat = \"osmm\"", "no format `osmm`"),
        (
            "in = \"given\"\nformat = \"osm\"\nname = \"x.osm\"",
            "has no name yet",
        ),
    ] {
        let error = parse(file).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// What the mappings make of extracts: buildings, their parts, those of both that are refused, and those
/// that say they are none, in sum what the list of the files says; and roads.
const CITIES: [(&str, [u64; 4], u64); 8] = [
    ("andorra.osm.pbf", [292, 0, 2, 0], 1_615),
    ("liechtenstein-2015-07-27.osm.pbf", [8_994, 0, 3, 1], 4_660),
    ("monaco-latest.osm.pbf", [1_207, 13, 0, 0], 2_379),
    ("helsinki.osm.pbf", [446, 126, 60, 0], 2_590),
    ("nyc_greenwich_village.osm.pbf", [1_525, 43, 0, 0], 95),
    ("singapore_bayfront.osm.pbf", [31, 40, 0, 0], 334),
    ("north-bayreuth.osm.pbf", [4_267, 0, 0, 0], 2_056),
    ("berlin_siegessaeule.osm.gz", [5, 118, 0, 0], 146),
];

#[tokio::test]
async fn real_extracts_become_cities_and_come_again_without_a_change() {
    let Some(data) = data() else { return };
    for (city, buildings, roads) in CITIES {
        let twin = twin().await;
        let file = data.join("world/osm").join(city);
        let reports = all(&twin, &file).await;
        for (set, report) in &reports {
            println!("{city} {set}: {report}");
            assert!(
                report.skipped + report.refused.count + report.twins() >= report.read,
                "{city} {set}: {report}"
            );
        }
        let of = |set: &str, class: &str| reports[set].classes.get(class).map_or(0, |c| c.created);
        let refused = |set: &str| reports[set].refused.count;
        let parts = "osm-building-parts";
        assert_eq!(
            [
                of("osm-buildings", "Building"),
                of(parts, "BuildingPart"),
                refused("osm-buildings") + refused(parts),
            ],
            buildings[..3],
            "{city}"
        );
        assert_eq!(of("osm-roads", "Road"), roads, "{city}");
        let position = twin.view().position();
        let again = all(&twin, &file).await;
        for (set, report) in &again {
            assert_eq!(report.changes, 0, "{city} {set}: {report}");
            assert_eq!(report.refused, reports[set].refused, "{city} {set}");
        }
        assert_eq!(twin.view().position(), position);
    }
}
