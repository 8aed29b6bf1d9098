//! Extracts as people have them: in both encodings, clipped, cut, damaged and made up to harm.

mod areas;
mod encode;
mod real;

use std::path::PathBuf;

use proptest::prelude::*;
use twin_core::space::Shape;

use self::encode::{Object, node, pbf, relation, way, xml};
use super::*;
use crate::formats::{Format, RawGeometry, Reader};

struct Written {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn write(name: &str, bytes: &[u8]) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Written { _dir: dir, path }
}

fn open(path: &Path) -> Result<Reader, FileError> {
    let wanted = Wanted {
        geometry: true,
        ..Wanted::default()
    };
    Reader::open(path, Format::Osm, &wanted)
}

/// Every feature, or why the file cannot be read.
fn read(bytes: &[u8]) -> Result<Vec<Feature>, FileError> {
    let file = write("a.osm", bytes);
    let mut reader = open(&file.path)?;
    let expected = reader.expected();
    let mut features = Vec::new();
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Feature(feature) => features.push(feature),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reader.next_item(), Ok(None), "the end is final");
    assert_eq!(expected, Some(features.len() as u64));
    Ok(features)
}

#[track_caller]
fn fails(bytes: &[u8], reason: &str) {
    let error = read(bytes).map_or_else(|error| error, |read| panic!("{} read", read.len()));
    let text = error.to_string();
    assert!(text.contains(reason), "{text}");
    assert!(!error.help.is_empty(), "{text}");
}

fn id(feature: &Feature) -> String {
    format!("{}/{}", feature.values["$type"], feature.values["$id"])
}

#[track_caller]
fn of<'f>(features: &'f [Feature], wanted: &str) -> &'f Feature {
    let found = features.iter().find(|feature| id(feature) == wanted);
    found.unwrap_or_else(|| panic!("no {wanted}"))
}

/// The kind of a geometry and how many positions it has, or why there is none.
fn outline(feature: &Feature) -> String {
    match feature.geometry.as_ref().unwrap() {
        RawGeometry::Wkb(wkb) => {
            let shape = Shape::from_wkb(wkb).unwrap_or_else(|error| panic!("{error}"));
            format!("{} {}", shape.type_name(), shape.vertices())
        }
        RawGeometry::Part { wkb, kind, reason } => {
            let shape = Shape::from_wkb(wkb).unwrap_or_else(|error| panic!("{error}"));
            format!(
                "{} {}, {kind}: {reason}",
                shape.type_name(),
                shape.vertices()
            )
        }
        RawGeometry::Lacking { kind, reason } => format!("{kind}: {reason}"),
        RawGeometry::GeoJson(text) => panic!("{text}"),
    }
}

/// A small town: nodes 1 to 16 on a grid of 4 by 4, and what stands on them.
fn town() -> Vec<Object> {
    let mut objects: Vec<Object> = (0..16).map(|n| node(n + 1, (n % 4, n / 4), &[])).collect();
    objects[5].tags.push(("amenity", "bench"));
    objects.extend([
        node(
            20,
            (9, 9),
            &[("amenity", "cafe"), ("name", "Caf\u{e9} <&> \"1\"")],
        ),
        way(
            1,
            &[1, 2, 6, 5, 1],
            &[("building", "yes"), ("height", "12,5")],
        ),
        way(2, &[1, 4, 16], &[("highway", "residential")]),
        way(3, &[1, 2, 6, 5, 1], &[("highway", "service")]),
        way(4, &[1, 4, 16, 13, 1], &[]),
        way(5, &[6, 7, 11, 10, 6], &[]),
        way(6, &[1, 4], &[]),
        way(7, &[16, 4], &[]),
        way(8, &[16, 13, 1], &[]),
        // In a clipped extract: nodes and ways beyond its edge.
        way(9, &[1, 2, 99, 3, 4], &[("highway", "path")]),
        way(10, &[98, 1, 99], &[("highway", "path")]),
        way(11, &[1, 2, 99, 5, 1], &[("building", "yes")]),
        way(12, &[1, 2, 6], &[("building", "yes")]),
        way(13, &[1, 1], &[("highway", "path")]),
        relation(
            1,
            &[(4, "outer"), (5, "inner")],
            &[("type", "multipolygon"), ("landuse", "forest")],
        ),
        // Roles are wrong, and the outer ring is in pieces that go different ways.
        relation(
            2,
            &[(5, "outer"), (6, "inner"), (8, ""), (7, "")],
            &[("type", "boundary")],
        ),
        relation(
            3,
            &[(6, "outer"), (8, "outer")],
            &[("type", "multipolygon"), ("natural", "water")],
        ),
        relation(
            4,
            &[(6, "outer"), (77, "outer")],
            &[("type", "multipolygon")],
        ),
        relation(
            5,
            &[(4, "outer"), (77, "inner")],
            &[("type", "multipolygon"), ("landuse", "grass")],
        ),
        relation(
            6,
            &[(77, "outer"), (5, "inner")],
            &[("type", "multipolygon")],
        ),
        relation(7, &[(4, "")], &[("type", "site"), ("building", "yes")]),
        relation(8, &[], &[("type", "multipolygon")]),
    ]);
    objects
}

const OUTLINES: [(&str, &str); 18] = [
    ("node/6", "Point 1"),
    ("node/20", "Point 1"),
    ("way/1", "Polygon 5"),
    ("way/2", "LineString 3"),
    ("way/3", "LineString 5"),
    (
        "way/9",
        "MultiLineString 4, nodes that the file lacks: without 1 of its 5 nodes, which are not in the \
         file: node 99",
    ),
    (
        "way/10",
        "nodes that the file lacks: 2 of its 3 nodes are not in the file: node 98, 99",
    ),
    (
        "way/11",
        "nodes that the file lacks: 1 of its 5 nodes are not in the file: node 99",
    ),
    ("way/12", "LineString 3"),
    (
        "way/13",
        "a way of fewer than two positions: its 2 nodes are at fewer than two positions",
    ),
    ("relation/1", "Polygon 10"),
    ("relation/2", "Polygon 10"),
    (
        "relation/3",
        "a ring that is not closed: its ring is not closed: open ends are [0.3, 0] of way 6, [0.3, 0.3] of \
         way 8; close it at the source",
    ),
    (
        "relation/4",
        "ways that the file lacks: its ring is not closed: open ends are [0, 0] of way 6, [0.3, 0] of way 6; \
         1 of its 2 ways are not in the file (way 77)",
    ),
    (
        "relation/5",
        "Polygon 5, ways that the file lacks: only the rings that are whole: 1 of its 2 ways are not in \
         the file (way 77)",
    ),
    (
        "relation/6",
        "ways that the file lacks: nothing is around the hole of way 5; 1 of its 2 ways are not in the \
         file (way 77)",
    ),
    (
        "relation/7",
        "a relation without a shape of its own: a relation of the type `site` has no shape of its own, as \
         a multipolygon or boundary has",
    ),
    (
        "relation/8",
        "ways that enclose nothing: none of its members is a way",
    ),
];

#[test]
fn what_is_whole_becomes_a_shape_and_what_lacks_something_says_what() {
    for bytes in [xml(&town()), pbf(&town())] {
        let features = read(&bytes).unwrap();
        assert_eq!(features.len(), OUTLINES.len());
        for (feature, (wanted, said)) in features.iter().zip(OUTLINES) {
            assert_eq!(id(feature), wanted);
            assert_eq!(outline(feature), said, "{wanted}");
        }
        let cafe = of(&features, "node/20");
        assert_eq!(
            cafe.values["name"],
            Cell::Text("Caf\u{e9} <&> \"1\"".into())
        );
        assert_eq!(
            of(&features, "way/1").values["height"],
            Cell::Text("12,5".into())
        );
    }
}

#[test]
fn both_encodings_and_any_order_give_the_same() {
    let without_places = |bytes: &[u8]| {
        let mut features = read(bytes).unwrap();
        for feature in &mut features {
            feature.place = Place {
                feature: 0,
                line: None,
            };
        }
        features.sort_by_key(id);
        features
    };
    let plain = without_places(&pbf(&town()));
    let mut backwards = town();
    backwards.reverse();
    assert_eq!(without_places(&xml(&town())), plain);
    assert_eq!(without_places(&xml(&backwards)), plain);
    assert_eq!(without_places(&pbf(&backwards)), plain);
    assert_eq!(without_places(&encode::pbf_plain(&town())), plain);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &xml(&town())).unwrap();
    assert_eq!(without_places(&gzip.finish().unwrap()), plain);
}

#[test]
fn objects_in_xml_have_a_line() {
    let features = read(&xml(&town())).unwrap();
    let text = String::from_utf8(xml(&town())).unwrap();
    let line = features.last().unwrap().place.line.unwrap() as usize;
    assert!(
        text.lines()
            .nth(line - 1)
            .unwrap()
            .contains("<relation id=\"8\"")
    );
}

#[test]
fn an_area_of_the_old_kind_takes_its_holes_to_the_way_that_names_it() {
    let mut objects = town();
    let outer = objects
        .iter_mut()
        .find(|object| object.is("way", 4))
        .unwrap();
    outer.tags.push(("landuse", "meadow"));
    let members = [(4, "outer"), (5, "inner")];
    objects.push(relation(
        9,
        &members,
        &[("type", "multipolygon"), ("source", "x")],
    ));
    let features = read(&pbf(&objects)).unwrap();
    assert_eq!(outline(of(&features, "way/4")), "Polygon 10");
    objects.push(relation(
        10,
        &[(5, "inner"), (4, "outer")],
        &[("type", "multipolygon")],
    ));
    let features = read(&pbf(&objects)).unwrap();
    assert_eq!(outline(of(&features, "way/4")), "Polygon 5", "of two, none");
    let last = objects.len();
    objects[last - 2].members = vec![(4, "outer"), (77, "inner")];
    objects.pop();
    let said = outline(of(&read(&pbf(&objects)).unwrap(), "way/4"));
    assert_eq!(
        said,
        "Polygon 5, ways that the file lacks: without its holes: only the rings that are whole: 1 of \
         its 2 ways are not in the file (way 77)"
    );
}

#[test]
fn a_file_cut_anywhere_gives_nothing() {
    let whole = xml(&town());
    for cut in 0..whole.len() - 1 {
        let error = read(&whole[..cut]).expect_err("it was read");
        assert!(!error.help.is_empty(), "cut at {cut}: {error}");
    }
    let whole = pbf(&town());
    // What ends between two blobs cannot be told from a whole file.
    let blobs = encode::blob_ends(&whole);
    for cut in (0..whole.len()).filter(|cut| !blobs.contains(cut)) {
        let error = read(&whole[..cut]).expect_err("it was read");
        assert!(!error.help.is_empty(), "cut at {cut}: {error}");
    }
}

#[test]
fn what_is_no_extract_says_what_it_is() {
    fails(b"", "empty");
    fails(b"BZh91AY&SY", "bzip2");
    fails(b"\xff\xe0\x04o5m2", "o5m");
    fails(b"PAR1", "neither as OSM PBF nor as XML");
    fails(
        b"<osmChange version=\"0.6\"><create/></osmChange>",
        "the root is <osmChange>",
    );
    fails(b"<?xml version='1.0'?>", "no <osm>");
    fails(b"<osm><node id='x'/></osm>", "no id");
    fails(b"<osm><node lon='1'/></osm>", "<node> has no `id`");
    fails(b"<osm>\n<way id='1'>\n<nd/></way></osm>", "line 3");
    fails(
        b"<osm><way id='1'><tag k='a'/></way></osm>",
        "lacks `k` or `v`",
    );
    fails(
        b"<osm><relation id='1'><member type='x' ref='1'/></relation></osm>",
        "a member is a `x`",
    );
    fails(
        b"<osm><node id='1' lon='0' lat='0' visible='false'/></osm>",
        "node 1 is deleted",
    );
    fails(b"<osm></way></osm>", "not XML");
    fails(b"<osm></osm><osm/>", "follows </osm>");
    fails(
        b"<osm><node id='1'><tag k='a' v='&own;'/></node></osm>",
        "attribute `v`",
    );
    fails(
        b"<osm><node id='1'><tag k='a' v='\xe9'/></node></osm>",
        "attribute `v`",
    );
    assert_eq!(read(b"<osm/>").unwrap(), []);
    let nested = b"<osm><note>a<b><c/></b></note><node id='-1' lon='181' lat='0'><x><tag k='no' v='no'/></x>\
                   <tag k='a' v='b'/></node></osm>";
    let features = read(nested).unwrap();
    assert_eq!(features[0].values.len(), 3);
    assert!(outline(&features[0]).starts_with("a node without a position"));
}

#[test]
fn a_blob_that_contradicts_itself_is_refused() {
    for (blob, reason) in encode::hostile() {
        fails(&blob, reason);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Damage may go unseen where it makes another file that could be; it must be told or make
    /// features, and take nothing down.
    #[test]
    fn no_damage_makes_a_reader_panic(
        plain in any::<bool>(), text in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut bytes = match (text, plain) {
            (true, _) => xml(&town()),
            (false, true) => encode::pbf_plain(&town()),
            (false, false) => pbf(&town()),
        };
        for (at, byte, what) in changes {
            let at = at.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(features) = read(&bytes) {
            for feature in &features {
                if let Some(RawGeometry::Wkb(wkb) | RawGeometry::Part { wkb, .. }) = &feature.geometry {
                    // A shape may be invalid, as any source's; its bytes may not.
                    if let Err(error) = Shape::from_wkb(wkb) {
                        prop_assert!(!error.to_string().contains("well-known binary"), "{error}");
                    }
                }
            }
        }
    }
}
