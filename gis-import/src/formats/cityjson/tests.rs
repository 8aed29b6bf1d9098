//! City objects that are written here.

mod files;
mod real;

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use twin_core::space::{Shape, Surface};

use super::super::tests::{drain, sort, wanted};
use super::super::{Cell, Feature, Format, RawGeometry, Reader};
use super::geometry::UNUSABLE;
use super::*;

/// Metres of one step of the documents here.
const STEP: f64 = 0.001;

/// The corners of a block, in metres from a corner of the document, as whole numbers of steps.
fn corners([x, y, z]: [f64; 3], [wide, deep, high]: [f64; 3]) -> Vec<Value> {
    let at = |(a, b, c): (f64, f64, f64)| {
        json!(
            [x + wide * a, y + deep * b, z + high * c].map(|metres| (metres / STEP).round() as i64)
        )
    };
    [
        (0.0, 0.0, 0.0),
        (1.0, 0.0, 0.0),
        (1.0, 1.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, 1.0),
        (1.0, 0.0, 1.0),
        (1.0, 1.0, 1.0),
        (0.0, 1.0, 1.0),
    ]
    .map(at)
    .to_vec()
}

/// The faces of a block whose corners stand from this number on: floor, roof, four walls.
fn block(first: usize) -> Value {
    let (floor, roof) = ([0, 3, 2, 1], [4, 5, 6, 7]);
    let walls = (0..4).map(|wall| {
        let next = (wall + 1) % 4;
        [wall, next, next + 4, wall + 4]
    });
    let faces = [floor, roof].into_iter().chain(walls);
    let faces: Vec<Value> = faces
        .map(|face| json!([face.map(|corner| corner + first)]))
        .collect();
    json!([faces])
}

fn semantics() -> Value {
    json!({
        "surfaces": [{"type": "GroundSurface"}, {"type": "RoofSurface"}, {"type": "WallSurface"}],
        "values": [[0, 1, 2, 2, 2, null]],
    })
}

fn solid(first: usize, lod: &str) -> Value {
    json!({"type": "Solid", "lod": lod, "boundaries": block(first)})
}

/// A document around a place in Delft.
fn document(objects: &Value, vertices: &[Value]) -> Value {
    json!({
        "type": "CityJSON", "version": "2.0",
        "transform": {"scale": [STEP, STEP, STEP], "translate": [85_000.0, 446_000.0, 0.0]},
        "metadata": {"referenceSystem": "https://www.opengis.net/def/crs/EPSG/0/7415"},
        "CityObjects": objects, "vertices": vertices,
    })
}

/// A block of 10 by 20 m, 6 m high, from 2 m below the zero of heights.
fn house(geometry: &Value) -> Value {
    let object = json!({"type": "Building", "attributes": {"name": "House"}, "geometry": geometry});
    document(
        &json!({"a": object}),
        &corners([0.0, 0.0, -2.0], [10.0, 20.0, 6.0]),
    )
}

struct Said {
    features: Vec<Feature>,
    refused: Vec<String>,
    remarks: Vec<String>,
    error: Option<FileError>,
}

fn read_file(path: &Path, options: &Options) -> Said {
    let opened = Reader::open_with(path, Format::CityJson, options, &wanted(&[], true));
    let (items, error) = match opened {
        Ok(reader) => drain(reader),
        Err(error) => (Vec::new(), Some(error)),
    };
    let (features, refused, remarks) = sort(items);
    Said {
        features,
        refused,
        remarks,
        error,
    }
}

fn read_text(name: &str, text: &[u8], options: &Options) -> Said {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    read_file(&path, options)
}

#[track_caller]
fn read(document: &Value) -> Vec<Feature> {
    let said = read_text(
        "a.city.json",
        document.to_string().as_bytes(),
        &Options::default(),
    );
    assert_eq!(said.error, None);
    assert!(said.refused.is_empty(), "{:?}", said.refused);
    said.features
}

fn only(document: &Value) -> Feature {
    let mut features = read(document);
    assert_eq!(features.len(), 1);
    features.remove(0)
}

#[track_caller]
fn wkb(feature: &Feature) -> (&[u8], Option<(&'static str, &str)>) {
    match &feature.geometry {
        Some(RawGeometry::Wkb(wkb)) => (wkb, None),
        Some(RawGeometry::Part { wkb, kind, reason }) => (wkb, Some((*kind, reason))),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn shape(feature: &Feature) -> Shape {
    Shape::from_wkb(wkb(feature).0).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn lacking(feature: &Feature) -> &str {
    match &feature.geometry {
        Some(RawGeometry::Lacking { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn number(feature: &Feature, column: &str) -> Option<f64> {
    match feature.values.get(column) {
        None => None,
        Some(Cell::Float(number)) => Some(*number),
        other => panic!("{other:?}"),
    }
}

fn text<'f>(feature: &'f Feature, column: &str) -> &'f str {
    match feature.values.get(column) {
        None => "",
        Some(Cell::Text(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// How many faces a shape's solid has of each kind of surface.
fn faces(shape: &Shape) -> [usize; 4] {
    Surface::ALL.map(|surface| shape.solid().map_or(0, |solid| solid.of(surface).len()))
}

#[track_caller]
fn covers(shape: &Shape, square_metres: f64) {
    let area = shape.area_m2();
    assert!(
        (area / square_metres - 1.0).abs() < 1e-3,
        "{area} m², not {square_metres}"
    );
}

#[test]
fn a_building_is_its_footprint_the_solid_on_it_and_its_attributes() {
    let mut geometry = solid(0, "2.2");
    geometry["semantics"] = semantics();
    let mut town = house(&json!([geometry]));
    town["CityObjects"]["a"]["attributes"]["$type"] = json!("Bridge");
    let feature = only(&town);
    for (column, expected) in [
        ("$id", "a"),
        ("$type", "Building"),
        ("$lod", "2.2"),
        ("$geometry", "Solid"),
        ("$from", "own"),
        ("name", "House"),
    ] {
        assert_eq!(text(&feature, column), expected, "{column}");
    }
    assert_eq!(number(&feature, "$ground"), Some(-2.0));
    assert_eq!(number(&feature, "$height"), Some(6.0));
    let shape = shape(&feature);
    assert_eq!((shape.type_name(), shape.vertices()), ("Polygon", 5));
    assert!(
        shape
            .heights()
            .unwrap()
            .iter()
            .all(|height| *height == -2.0)
    );
    covers(&shape, 200.0);
    // A face without a mark is of no kind.
    assert_eq!(faces(&shape), [1, 3, 1, 1]);
    let bounds = shape.bounds();
    assert!((4.35..4.37).contains(&bounds.west) && (51.99..52.01).contains(&bounds.south));
    assert_eq!(wkb(&feature).1, None);
}

#[test]
fn faces_of_a_solid_that_nobody_named_are_named_by_where_they_look() {
    let feature = only(&house(&json!([solid(0, "1")])));
    assert_eq!(faces(&shape(&feature)), [1, 4, 1, 0]);
    // Of surfaces nobody knows which side is out.
    let surfaces = json!([{"type": "MultiSurface", "lod": "1", "boundaries": block(0)[0]}]);
    let shape = shape(&only(&house(&surfaces)));
    assert_eq!(faces(&shape), [0, 0, 0, 6]);
    covers(&shape, 200.0);
}

#[test]
fn a_cavity_is_a_part_of_the_solid() {
    let mut town = house(&json!([]));
    let inner = corners([2.0, 2.0, 0.0], [2.0, 2.0, 2.0]);
    town["vertices"].as_array_mut().unwrap().extend(inner);
    // An inner shell looks into the cavity.
    let mut shell = block(8)[0].clone();
    for face in shell.as_array_mut().unwrap() {
        face[0].as_array_mut().unwrap().reverse();
    }
    town["CityObjects"]["a"]["geometry"] =
        json!([{"type": "Solid", "lod": "2", "boundaries": [block(0)[0], shell]}]);
    let feature = only(&town);
    assert_eq!(faces(&shape(&feature)), [1, 4, 1, 6]);
    assert_eq!(wkb(&feature).1, None, "both shells are closed");
    let twice = json!([{"type": "MultiSolid", "lod": "2", "boundaries": [block(0), block(8)]}]);
    town["CityObjects"]["a"]["geometry"] = twice;
    assert_eq!(faces(&shape(&only(&town))), [2, 8, 2, 0]);
}

#[test]
fn a_court_is_a_hole_and_triangles_become_one_outline() {
    let square = |x: i64, y: i64, size: i64| {
        [[x, y], [x + size, y], [x + size, y + size], [x, y + size]].map(|[x, y]| json!([x, y, 0]))
    };
    let vertices = [square(0, 0, 10_000), square(4_000, 4_000, 2_000)].concat();
    let surface = |boundaries: Value| {
        let geometry = json!([{"type": "MultiSurface", "lod": "1", "boundaries": boundaries}]);
        let object = json!({"r": {"type": "Road", "geometry": geometry}});
        shape(&only(&document(&object, &vertices)))
    };
    // Whatever way round its ring runs, the hole stays open.
    for hole in [json!([4, 5, 6, 7]), json!([7, 6, 5, 4])] {
        let court = surface(json!([[[0, 1, 2, 3], hole]]));
        covers(&court, 96.0);
        assert_eq!((court.type_name(), court.vertices()), ("Polygon", 10));
        assert!(court.solid().is_none(), "what is flat is no solid");
    }
    // Triangles that look up and down, together the whole square.
    let whole = surface(json!([[[0, 1, 2]], [[0, 3, 2]], [[4, 5, 6]]]));
    covers(&whole, 100.0);
    assert_eq!((whole.type_name(), whole.vertices()), ("Polygon", 5));
    // Two that meet in a corner only.
    let vertices = [square(0, 0, 1_000), square(1_000, 1_000, 1_000)].concat();
    let geometry =
        json!([{"type": "MultiSurface", "boundaries": [[[0, 1, 2, 3]], [[4, 5, 6, 7]]]}]);
    let object = json!({"r": {"type": "Road", "geometry": geometry}});
    let two = shape(&only(&document(&object, &vertices)));
    assert_eq!(two.type_name(), "MultiPolygon");
    covers(&two, 2.0);
}

#[test]
fn a_building_of_parts_has_their_outline_and_is_their_parent() {
    let mut vertices = corners([0.0, 0.0, 0.0], [10.0, 10.0, 5.0]);
    vertices.extend(corners([10.0, 0.0, 1.0], [10.0, 10.0, 8.0]));
    let mut objects = json!({
        "b": {"type": "Building", "children": ["p", "q", "gone"]},
        "p": {"type": "BuildingPart", "parents": ["g", "b"], "geometry": [solid(0, "2")]},
        "q": {"type": "BuildingPart", "parents": ["b"], "geometry": [solid(8, "2")]},
        "g": {"type": "CityObjectGroup", "children": ["p", "q"]},
    });
    let features = read(&document(&objects, &vertices));
    let (_, told) = wkb(&features[0]);
    assert_eq!(
        told,
        Some((
            "a part that is not there",
            "1 of its children are not there, the first is `gone`"
        ))
    );
    let building = shape(&features[0]);
    assert_eq!(building.type_name(), "Polygon");
    covers(&building, 200.0);
    assert!(building.solid().is_none(), "its parts have their own");
    assert_eq!(text(&features[0], "$from"), "parts");
    assert_eq!(number(&features[0], "$height"), Some(9.0));
    assert_eq!(text(&features[1], "$parent"), "b");
    assert_eq!(shape(&features[2]).heights().unwrap()[0], 1.0);
    assert_eq!(features[3].geometry, None, "a group is nowhere of its own");
    // An outline on the ground of its own stays, and the parts say how high it all is.
    let outline = json!([{"type": "MultiSurface", "lod": "0", "boundaries": [[[0, 1, 2, 3]]]}]);
    objects["b"]["geometry"] = outline;
    let features = read(&document(&objects, &vertices));
    covers(&shape(&features[0]), 100.0);
    assert_eq!(text(&features[0], "$from"), "own");
    assert_eq!(number(&features[0], "$height"), Some(9.0));
}

#[test]
fn the_finest_geometry_that_can_be_used_is_taken_and_the_others_are_told() {
    let mut broken = solid(0, "3");
    broken["boundaries"][0][0][0][0] = json!(99);
    let flat = json!({"type": "MultiSurface", "lod": "0", "boundaries": [[[0, 1, 2, 3]]]});
    let feature = only(&house(&json!([
        flat,
        broken,
        solid(0, "1.3"),
        solid(0, "1.3")
    ])));
    assert_eq!(text(&feature, "$lod"), "1.3");
    assert_eq!(faces(&shape(&feature)), [1, 4, 1, 0]);
    let (_, told) = wkb(&feature);
    let (kind, reason) = told.unwrap();
    assert_eq!(kind, UNUSABLE);
    assert!(
        reason.contains("geometry 2 (LoD 3): it names vertex 99, and there are 8"),
        "{reason}"
    );
    assert!(
        reason.contains("geometry 4 (LoD 1.3): its level of detail is that"),
        "{reason}"
    );
    for (geometry, part) in [
        (
            json!({"type": "Cube"}),
            "type `Cube`, which CityJSON does not have",
        ),
        (json!({"type": "Solid"}), "has no boundaries"),
        (
            json!({"type": "Solid", "boundaries": [[[0, 1, 2]]]}),
            "boundaries that are none of a Solid",
        ),
        (
            json!({"type": "Solid", "boundaries": []}),
            "has nothing in it",
        ),
        (
            json!({"type": "MultiSurface", "boundaries": [[[0, 1, 5, 4]]]}),
            "covers nothing, seen from above",
        ),
        (
            json!({"type": "MultiSurface", "boundaries": [[[0, 0, 1]]]}),
            "has nothing in it",
        ),
        (
            json!({"type": "MultiLineString", "boundaries": [[3, 3]]}),
            "in one place",
        ),
        (
            json!({"type": "GeometryInstance", "template": 0, "boundaries": [0]}),
            "there are 0",
        ),
        (json!({"type": 7}), "is no geometry"),
    ] {
        let feature = only(&house(&json!([geometry])));
        let reason = lacking(&feature);
        assert!(reason.contains(part), "{geometry}: {reason}");
    }
}

#[test]
fn what_is_wrong_with_faces_is_told_beside_them() {
    for (face, expected) in [
        (
            0,
            (
                "a solid without a floor",
                "4 of its 12 edges, all at its lowest height, have faces on one side only",
            ),
        ),
        (
            1,
            (
                "a solid that is not closed",
                "4 of its 12 edges have faces on one side only",
            ),
        ),
    ] {
        let mut open = solid(0, "2");
        open["boundaries"][0].as_array_mut().unwrap().remove(face);
        let feature = only(&house(&json!([open])));
        let (_, told) = wkb(&feature);
        assert_eq!(told, Some(expected));
        // Whatever is missing, the other faces say what is covered.
        covers(&shape(&feature), 200.0);
    }
    let mut thin = solid(0, "2");
    thin["boundaries"][0]
        .as_array_mut()
        .unwrap()
        .push(json!([[0, 1, 1, 0]]));
    let feature = only(&house(&json!([thin])));
    let (_, told) = wkb(&feature);
    assert_eq!(
        told,
        Some((
            "faces without an area",
            "1 of its 7 faces enclose nothing and are left out"
        ))
    );
    let mut unfit = solid(0, "2");
    unfit["semantics"] = json!({"surfaces": [], "values": [[0]]});
    let feature = only(&house(&json!([unfit])));
    let (_, told) = wkb(&feature);
    let (kind, reason) = told.unwrap();
    assert_eq!(kind, "semantics that do not fit");
    assert!(reason.contains("of 1 faces, and it has 6"), "{reason}");
    assert_eq!(
        faces(&shape(&feature)),
        [1, 4, 1, 0],
        "they are named by where they look"
    );
    unfit["semantics"] =
        json!({"surfaces": [{"type": "RoofSurface"}], "values": [[0, 0, 0, 0, 0, 1]]});
    let feature = only(&house(&json!([unfit])));
    let (_, told) = wkb(&feature);
    assert!(
        told.unwrap()
            .1
            .contains("a surface that they do not describe"),
        "{told:?}"
    );
    unfit["semantics"] = json!([7]);
    let feature = only(&house(&json!([unfit])));
    let (_, told) = wkb(&feature);
    assert!(
        told.unwrap().1.contains("its semantics are none"),
        "{told:?}"
    );
}

#[test]
fn a_null_in_semantics_stands_for_all_faces_below_it() {
    let mut town = house(&json!([]));
    let other = corners([20.0, 0.0, -2.0], [10.0, 20.0, 6.0]);
    town["vertices"].as_array_mut().unwrap().extend(other);
    let marked = [0, 1, 2, 2, 2, 2];
    for (values, expected) in [
        (json!([[marked], null]), Ok([1, 4, 1, 6])),
        (json!([null, [marked]]), Ok([1, 4, 1, 6])),
        (json!([null, [null]]), Ok([0, 0, 0, 12])),
        (json!([[marked], []]), Err([2, 8, 2, 0])),
        (json!([[marked]]), Err([2, 8, 2, 0])),
    ] {
        let mut semantics = semantics();
        semantics["values"] = values.clone();
        town["CityObjects"]["a"]["geometry"] = json!([{
            "type": "MultiSolid", "lod": "2", "boundaries": [block(0), block(8)],
            "semantics": semantics,
        }]);
        let feature = only(&town);
        let found = faces(&shape(&feature));
        let found = wkb(&feature).1.map_or(Ok(found), |_| Err(found));
        assert_eq!(found, expected, "{values}");
    }
}

#[test]
fn of_geometries_as_fine_a_closed_solid_is_taken() {
    let surfaces = json!({"type": "MultiSurface", "lod": "2", "boundaries": block(0)[0]});
    let walls = json!({"type": "MultiSurface", "lod": "3", "boundaries": [[[0, 1, 5, 4]]]});
    let feature = only(&house(&json!([surfaces, solid(0, "2"), walls])));
    assert_eq!(
        (text(&feature, "$geometry"), text(&feature, "$lod")),
        ("Solid", "2")
    );
    let (_, told) = wkb(&feature);
    assert!(
        told.unwrap()
            .1
            .starts_with("geometry 3 (LoD 3): it covers nothing"),
        "{told:?}"
    );
}

#[test]
fn points_and_lines_are_what_they_are() {
    let geometry = json!([{"type": "MultiPoint", "boundaries": [0, 6]}]);
    let shape_of = |geometry: &Value| shape(&only(&house(geometry)));
    let points = shape_of(&geometry);
    assert_eq!(
        (points.type_name(), points.heights()),
        ("MultiPoint", Some(&[-2.0, 4.0][..]))
    );
    let lines = shape_of(&json!([{"type": "MultiLineString", "boundaries": [[0, 1, 2], [4, 6]]}]));
    assert_eq!(
        (lines.type_name(), lines.vertices()),
        ("MultiLineString", 5)
    );
    let length = lines.length_m();
    assert!((length - 30.0 - 500_f64.sqrt()).abs() < 0.05, "{length}");
}

/// A tree as a template: a block of 1 by 2 m, 3 m high.
fn grove(matrix: [f64; 16]) -> Value {
    let tree: Vec<[f64; 3]> = corners([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])
        .iter()
        .map(|corner| [0, 1, 2].map(|axis| corner[axis].as_f64().unwrap() * STEP))
        .collect();
    let at = json!({"type": "GeometryInstance", "template": 0, "boundaries": [0], "transformationMatrix": matrix});
    let mut town = document(
        &json!({"t": {"type": "SolitaryVegetationObject", "geometry": [at]}}),
        &[json!([5_000, 5_000, 1_000])],
    );
    town["geometry-templates"] = json!({"templates": [solid(0, "2")], "vertices-templates": tree});
    town
}

#[test]
fn a_template_stands_turned_and_grown_where_its_object_is() {
    let same = [
        1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0,
    ];
    let feature = only(&grove(same));
    assert_eq!(
        (text(&feature, "$geometry"), text(&feature, "$lod")),
        ("Solid", "2")
    );
    assert_eq!(
        (number(&feature, "$ground"), number(&feature, "$height")),
        (Some(1.0), Some(3.0))
    );
    let straight = shape(&feature);
    covers(&straight, 2.0);
    assert_eq!(faces(&straight), [1, 4, 1, 0]);
    // A quarter turn, twice as high, 10 m up.
    let turned = [
        0.0, -1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 10.0, 0.0, 0.0, 0.0, 1.0,
    ];
    let feature = only(&grove(turned));
    assert_eq!(
        (number(&feature, "$ground"), number(&feature, "$height")),
        (Some(11.0), Some(6.0))
    );
    let turned = shape(&feature);
    covers(&turned, 2.0);
    // North of the map is a degree off the pole there, so boxes are some centimetres wider.
    let wide = |shape: &Shape| shape.bounds().east - shape.bounds().west;
    assert!((wide(&turned) / wide(&straight) - 2.0).abs() < 0.1);
    assert!((turned.bounds().east - straight.bounds().west).abs() < 1e-6);
    let feature = only(&grove([f64::MAX; 16]));
    assert!(
        lacking(&feature).contains("turned out of"),
        "{}",
        lacking(&feature)
    );
    let mut town = grove(same);
    town["geometry-templates"]["templates"][0]["type"] = json!("Cube");
    let feature = only(&town);
    assert!(lacking(&feature).contains("template 0, which cannot be used"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn damaged_files_are_read_or_refused_and_never_panic(
        lines in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..5_u8), 1..6),
    ) {
        let mut town = grove([1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        let mut house = solid(1, "2");
        house["semantics"] = semantics();
        town["CityObjects"]["b"] = json!({"type": "Building", "children": ["p", "p"]});
        town["CityObjects"]["p"] = json!({"type": "BuildingPart", "parents": ["b"], "geometry": [house, solid(1, "1")]});
        let more = corners([0.0; 3], [5.0, 6.0, 7.0]);
        town["vertices"].as_array_mut().unwrap().extend(more);
        let mut text = if lines {
            let feature = json!({"type": "CityJSONFeature", "CityObjects": town["CityObjects"], "vertices": town["vertices"]});
            (town["CityObjects"], town["vertices"]) = (json!({}), json!([]));
            format!("{town}\n{feature}\n")
        } else {
            town.to_string()
        }.into_bytes();
        for (at, byte, what) in changes {
            let at = at.index(text.len());
            match what {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                2 => { text.remove(at); }
                // What a list of numbers survives.
                3 => text[at] = b"0123456789,[]-."[byte as usize % 15],
                _ => if text[at].is_ascii_digit() { text[at] = b'0' + byte % 10 },
            }
        }
        let name = if lines { "a.city.jsonl" } else { "a.city.json" };
        for feature in read_text(name, &text, &Options::default()).features {
            if let Some(RawGeometry::Wkb(wkb) | RawGeometry::Part { wkb, .. }) = &feature.geometry {
                // A shape may be invalid, as any source's; its bytes may not.
                if let Err(error) = Shape::from_wkb(wkb) {
                    prop_assert!(!error.to_string().contains("well-known binary"), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_footprint_covers_what_its_faces_cover(
        squares in prop::collection::vec((0..8_i64, 0..8_i64, 1..5_i64, any::<bool>()), 1..8),
    ) {
        // Squares on a grid of metres: which cells they cover can be counted.
        let mut vertices = Vec::new();
        let mut boundaries = Vec::new();
        let mut cells = std::collections::BTreeSet::new();
        for (x, y, size, turned) in squares {
            let first = vertices.len();
            for (dx, dy) in [(0, 0), (size, 0), (size, size), (0, size)] {
                vertices.push(json!([(x + dx) * 1000, (y + dy) * 1000, 0]));
            }
            let mut ring = [first, first + 1, first + 2, first + 3];
            if turned { ring.reverse(); }
            boundaries.push(json!([ring]));
            for (dx, dy) in (0..size).flat_map(|dx| (0..size).map(move |dy| (dx, dy))) {
                cells.insert((x + dx, y + dy));
            }
        }
        let geometry = json!([{"type": "MultiSurface", "boundaries": boundaries}]);
        let town = document(&json!({"r": {"type": "Road", "geometry": geometry}}), &vertices);
        let area = shape(&only(&town)).area_m2();
        prop_assert!((area / cells.len() as f64 - 1.0).abs() < 1e-3, "{} of {}", area, cells.len());
    }
}
