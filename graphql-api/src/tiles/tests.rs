//! Tiles against other ways to know what must be on them: geo's boolean operations, plain sums over
//! all twins, and a reader of tiles that knows nothing of the writer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use geo::{Area as _, BooleanOps as _, Contains as _, Validation as _};
use geo_types::{Coord, LineString, MultiLineString, MultiPolygon, Polygon, Rect};
use ontology::{Ontology, Pack, Source as Text, Value};
use proptest::prelude::*;
use serde_json::json;
use twin_core::memory::MemoryStore;
use twin_core::space::{Point, Resolution, Shape};
use twin_core::{
    Commit, Operation, Principal, Put, Reading, Readings, Settings, Twin, TwinId, View,
};

use super::clip::{Square, Wide};
use super::decode::{self, Drawn as Read, Feature};
use super::grid::{BUFFER, EXTENT, Grid, Spot, Tile};
use super::layer::{Asked, Layer};
use super::{draw, feature_id, layers, style, tile_json};
use crate::api::Api;
use crate::error::Code;
use crate::limits::MAX_TILE_POINTS;
use crate::mend::{self, At, Ring};
use crate::tiles::Theme;

const MODEL: &str = r#"[
  {"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Place;1", "@type": "Interface",
   "contents": [
     {"@type": "Property", "name": "name", "schema": "string"},
     {"@type": "Property", "name": "big", "schema": "long"},
     {"@type": "Property", "name": "opened", "schema": "date"},
     {"@type": "Property", "name": "tags", "schema": {"@type": "Array", "elementSchema": "string"}},
     {"@type": "Property", "name": "secret", "schema": "string"}]},
  {"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Building;1", "@type": "Interface",
   "extends": "dtmi:test:Place;1", "contents": [
     {"@type": "Property", "name": "height", "schema": "double"}]},
  {"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Station;1", "@type": "Interface",
   "extends": "dtmi:test:Place;1", "contents": [
     {"@type": "Telemetry", "name": "heat", "schema": "double"}]}
]"#;

/// Where test twins stand.
const HOME: (f64, f64) = (30.06, -1.94);
/// South-west corner of two degrees that lie on one tile of zoom 7.
const FIELD: (f64, f64) = (31.2, -2.4);

struct World {
    twin: Twin,
    api: Api,
}

fn ontology() -> Arc<Ontology> {
    let pack = "name = \"test\"\npersonal = [\"Place.secret\"]";
    let pack = Arc::new(Pack::parse("pack.toml", pack).unwrap_or_else(|p| panic!("{p}")));
    let models: Vec<serde_json::Value> = serde_json::from_str(MODEL).unwrap();
    let text = |(number, model): (usize, &serde_json::Value)| Text {
        pack: Arc::clone(&pack),
        file: format!("{number}.json"),
        text: model.to_string(),
    };
    let sources: Vec<_> = models.iter().enumerate().map(text).collect();
    let (ontology, _) = Ontology::compile(&sources).unwrap_or_else(|p| panic!("{p}"));
    Arc::new(ontology)
}

impl World {
    async fn new() -> Self {
        let ontology = ontology();
        let store = MemoryStore::new(Arc::clone(&ontology));
        let settings = Settings {
            max_behind: std::time::Duration::MAX,
            ..Settings::default()
        };
        let twin = Twin::open(Arc::new(store), Arc::clone(&ontology), settings);
        Self {
            twin: twin.await.unwrap(),
            api: Api::new(ontology),
        }
    }

    async fn put(&self, class: &str, shapes: impl IntoIterator<Item = (String, Shape)>) {
        let put = |(id, shape): (String, Shape)| {
            Operation::Upsert(Put {
                id: TwinId::new(&id).unwrap(),
                class: class.into(),
                set: vec![("name".into(), Some(Value::Text(format!("the {id}").into())))],
                geometry: Some(Some(Arc::new(shape))),
                expect: None,
            })
        };
        let operations: Vec<Operation> = shapes.into_iter().map(put).collect();
        for operations in operations.chunks(500) {
            self.commit(operations.to_vec()).await;
        }
    }

    async fn commit(&self, operations: Vec<Operation>) {
        let commit = Commit {
            principal: Principal::system("test"),
            idempotency: None,
            operations,
        };
        self.twin.commit(commit).await.unwrap();
    }

    fn view(&self) -> View {
        self.twin.view()
    }

    fn features(&self, layer: &str, tile: Tile) -> Vec<Feature> {
        self.asked(layer, tile, &Asked::default())
    }

    fn asked(&self, layer: &str, tile: Tile, asked: &Asked) -> Vec<Feature> {
        let name = layer;
        let layer = Layer::compile(&self.api, layer, asked).unwrap();
        let drawn = draw(&self.api, &self.view(), &layer, tile).unwrap();
        let Some((found, features)) = decode::layer(&drawn.bytes) else {
            assert_eq!(drawn.features, 0);
            return Vec::new();
        };
        assert_eq!(found, name);
        assert_eq!(features.len() as u64, drawn.features);
        features.iter().for_each(assert_valid);
        features
    }
}

/// Checks a feature's areas by geo's validation.
fn assert_valid(feature: &Feature) {
    if let Read::Areas(polygons) = &feature.drawn {
        let polygons = as_geo(polygons);
        assert!(polygons.is_valid(), "{:?}", polygons.validation_errors());
    }
}

fn ring(ring: &[At]) -> LineString<f64> {
    let coords = ring.iter().map(|[x, y]| Coord {
        x: f64::from(*x),
        y: f64::from(*y),
    });
    let mut line: LineString<f64> = coords.collect();
    line.close();
    line
}

fn as_geo(polygons: &[mend::Polygon]) -> MultiPolygon<f64> {
    let polygon = |rings: &mend::Polygon| {
        let holes = rings[1..].iter().map(|hole| ring(hole)).collect();
        Polygon::new(ring(&rings[0]), holes)
    };
    MultiPolygon(polygons.iter().map(polygon).collect())
}

fn square_of(square: Square) -> MultiPolygon<f64> {
    let corner = |v: i64| Coord {
        x: v as f64,
        y: v as f64,
    };
    let rect: Rect<f64> = Rect::new(corner(square.low), corner(square.high));
    MultiPolygon(vec![rect.to_polygon()])
}

/// The tile that holds a place.
fn tile_at(z: u8, lon: f64, lat: f64) -> Tile {
    let world = Grid::new(Tile { z, x: 0, y: 0 });
    let at = world
        .spot(lon, lat)
        .map(|v| (v / EXTENT as f64).floor() as u32);
    Tile::new(z, at[0], at[1]).unwrap()
}

/// The tile and those around it.
fn around(tile: Tile) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for dx in [-1, 0, 1] {
        for dy in [-1, 0, 1] {
            let x = tile.x.checked_add_signed(dx);
            let y = tile.y.checked_add_signed(dy);
            tiles.extend(x.zip(y).and_then(|(x, y)| Tile::new(tile.z, x, y)));
        }
    }
    tiles
}

fn polygon(rings: &serde_json::Value) -> Shape {
    Shape::from_geojson(&json!({"type": "Polygon", "coordinates": rings})).unwrap()
}

fn boxed(lon: f64, lat: f64, width: f64, height: f64) -> Shape {
    let (e, n) = (lon + width, lat + height);
    polygon(&json!([[
        [lon, lat],
        [e, lat],
        [e, n],
        [lon, n],
        [lon, lat]
    ]]))
}

/// Rings in any state: star-shaped ones, and walks that cross and repeat themselves.
fn rings(size: i32) -> impl Strategy<Value = Vec<Ring>> {
    let walk = prop::collection::vec((0..size, 0..size).prop_map(|(x, y)| [x, y]), 3..16);
    prop::collection::vec(walk, 1..4)
}

/// A star around a centre, wherever that is.
fn star() -> impl Strategy<Value = Vec<Wide>> {
    let spokes = prop::collection::vec(0.1..1.0_f64, 3..40);
    let centre = (-2_000.0..6_000.0_f64, -2_000.0..6_000.0_f64);
    (centre, 10.0..6_000.0_f64, spokes).prop_map(|((x, y), radius, spokes)| {
        let count = spokes.len() as f64;
        let corner = |(place, spoke): (usize, &f64)| {
            let angle = std::f64::consts::TAU * place as f64 / count;
            let r = radius * spoke;
            [
                (x + r * angle.cos()).round() as i64,
                (y + r * angle.sin()).round() as i64,
            ]
        };
        spokes.iter().enumerate().map(corner).collect()
    })
}

fn inside(rings: &[Ring], x: f64, y: f64) -> bool {
    let edges = rings.iter().flat_map(|ring| {
        let next = ring.iter().cycle().skip(1);
        ring.iter().zip(next)
    });
    let crossed = edges.filter(|(a, b)| {
        let ([ax, ay], [bx, by]) = (a.map(f64::from), b.map(f64::from));
        (ay > y) != (by > y) && ax + (y - ay) / (by - ay) * (bx - ax) > x
    });
    crossed.count() % 2 == 1
}

/// Distance to the nearest edge.
fn nearest(rings: &[Ring], x: f64, y: f64) -> f64 {
    let mut least = f64::INFINITY;
    for ring in rings {
        for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            let ([ax, ay], [bx, by]) = (a.map(f64::from), b.map(f64::from));
            let (dx, dy) = (bx - ax, by - ay);
            let length = dx * dx + dy * dy;
            let share = if length > 0.0 {
                (((x - ax) * dx + (y - ay) * dy) / length).clamp(0.0, 1.0)
            } else {
                0.0
            };
            least = least.min((x - ax - share * dx).hypot(y - ay - share * dy));
        }
    }
    least
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mended_rings_are_valid_and_cover_the_same(
        rings in prop_oneof![rings(6), rings(40), rings(400)],
        probes in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 30),
    ) {
        let polygons = mend::polygons(rings.clone()).expect("it settles");
        let geometry = as_geo(&polygons);
        prop_assert!(geometry.is_valid(), "{:?}", geometry.validation_errors());
        for rings in &polygons {
            prop_assert!(mend::area(&rings[0]) > 0);
            prop_assert!(rings[1..].iter().all(|hole| mend::area(hole) < 0));
        }
        let mended: Vec<Ring> = polygons.into_iter().flatten().collect();
        let size = rings.iter().flatten().flatten().max().copied().unwrap_or(0);
        for (x, y) in probes {
            let (x, y) = (x * f64::from(size), y * f64::from(size));
            if nearest(&rings, x, y) > 2.0 {
                prop_assert_eq!(inside(&mended, x, y), inside(&rings, x, y), "at {} {}", x, y);
            }
        }
        // Mended again, nothing changes but where rings begin.
        let again = mend::polygons(mended.clone()).unwrap();
        let area = |rings: &[Ring]| rings.iter().map(|ring| mend::area(ring)).sum::<i64>();
        let again: Vec<Ring> = again.into_iter().flatten().collect();
        prop_assert_eq!(area(&again), area(&mended));
    }

    #[test]
    fn a_clipped_area_is_its_part_in_the_square(outer in star(), hole in prop::option::of(star())) {
        let square = Square { low: -BUFFER, high: EXTENT + BUFFER };
        let open = |ring: &[Wide]| -> Ring {
            ring.iter().map(|at| at.map(|v| v as i32)).collect()
        };
        // The even-odd rule makes any two stars an area with whatever holes they have.
        let rings: Vec<Vec<Wide>> = std::iter::once(outer).chain(hole).collect();
        let whole = mend::polygons(rings.iter().map(|ring| open(ring)).collect()).unwrap();
        let cut = mend::polygons(rings.iter().map(|ring| square.ring(ring)).collect()).unwrap();
        let cut = as_geo(&cut);
        prop_assert!(cut.is_valid(), "{:?}", cut.validation_errors());
        let expected = as_geo(&whole).intersection(&square_of(square));
        // Crossings with the square and with each other are rounded.
        let slack = 1.0 + 8.0 * rings.iter().map(Vec::len).sum::<usize>() as f64
            * ((square.high - square.low) as f64) / 10.0;
        let (found, wanted) = (cut.unsigned_area(), expected.unsigned_area());
        prop_assert!((found - wanted).abs() <= slack, "{} of {}", found, wanted);
    }

    #[test]
    fn a_clipped_line_is_its_part_in_the_square(
        line in prop::collection::vec((-3_000.0..7_000.0_f64, -3_000.0..7_000.0_f64), 2..20),
    ) {
        let line: Vec<Spot> = line.into_iter().map(|(x, y)| [x, y]).collect();
        let square = Square { low: -BUFFER, high: EXTENT + BUFFER };
        let mut pieces = Vec::new();
        square.line(&line, &mut pieces);
        let length = |line: &[Spot]| -> f64 {
            line.windows(2).map(|p| (p[1][0] - p[0][0]).hypot(p[1][1] - p[0][1])).sum()
        };
        let found: f64 = pieces.iter().map(|piece| length(piece)).sum();
        let coords = line.iter().map(|[x, y]| Coord { x: *x, y: *y });
        let whole = MultiLineString(vec![coords.collect()]);
        let expected = square_of(square).clip(&whole, false);
        let expected: f64 = expected.iter().map(|line| {
            length(&line.0.iter().map(|c| [c.x, c.y]).collect::<Vec<_>>())
        }).sum();
        prop_assert!((found - expected).abs() < 0.5, "{} of {}", found, expected);
        for piece in &pieces {
            for [x, y] in piece {
                let range = square.low as f64..=square.high as f64;
                prop_assert!(range.contains(x) && range.contains(y));
            }
        }
        // Pieces are apart: none goes on where another ended, unless outside lies between.
        for pair in pieces.windows(2) {
            let end = pair[0].last().unwrap();
            let edges = [square.low as f64, square.high as f64];
            let on_edge = |v: &f64| edges.iter().any(|edge| (v - edge).abs() < 1e-6);
            prop_assert!(end.iter().any(on_edge));
        }
    }
}

#[tokio::test]
async fn every_point_is_on_one_tile_of_a_zoom_with_its_values() {
    let world = World::new().await;
    let mut random = 7_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 11) as f64 / (1_u64 << 53) as f64
    };
    let points: Vec<(String, Shape)> = (0..300)
        .map(|i| {
            let point = Point::new(HOME.0 + next() * 0.2, HOME.1 + next() * 0.2).unwrap();
            (format!("s:{i}"), Shape::from(point))
        })
        .collect();
    world.put("Station", points.clone()).await;
    for z in [9, 12, 14, 17] {
        let mut tiles = BTreeSet::new();
        for (_, shape) in &points {
            let point = shape.is_point().unwrap();
            let tile = tile_at(z, point.lon, point.lat);
            for tile in around(tile) {
                tiles.insert((tile.x, tile.y));
            }
        }
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for (x, y) in tiles {
            for feature in world.features("Place", Tile { z, x, y }) {
                let id = feature.text("id").to_owned();
                assert_eq!(feature.id, feature_id(&id));
                assert!(feature.id < 1 << 53);
                assert_eq!(feature.text("class"), "Station");
                assert_eq!(feature.text("label"), format!("the {id}"));
                let Read::Points(at) = &feature.drawn else {
                    panic!("no point")
                };
                assert_eq!(at.len(), 1);
                *seen.entry(id).or_default() += 1;
            }
        }
        assert_eq!(seen.len(), points.len(), "zoom {z}");
        assert!(seen.values().all(|times| *times == 1), "zoom {z}");
    }
}

#[tokio::test]
async fn what_stands_up_is_whole_on_one_tile_and_flat_areas_go_on() {
    let world = World::new().await;
    let tile = tile_at(14, HOME.0, HOME.1);
    let bounds = Grid::new(tile).bounds(0.0);
    let (wide, high) = (bounds.east - bounds.west, bounds.north - bounds.south);
    // A field of small boxes over the tile and beyond; many lie across its edges, some exactly so.
    let mut boxes = Vec::new();
    for i in 0..40 {
        for j in 0..40 {
            let lon = bounds.west + wide * (f64::from(i) - 4.5) / 32.0;
            let lat = bounds.south + high * (f64::from(j) - 4.5) / 32.0;
            boxes.push((
                format!("b:{i}:{j}"),
                boxed(lon, lat, wide / 32.0, high / 40.0),
            ));
        }
    }
    world.put("Building", boxes.clone()).await;
    let flat = boxes
        .iter()
        .map(|(id, shape)| (format!("flat:{id}"), shape.clone()));
    world.put("Place", flat).await;
    let mut seen: BTreeMap<String, Vec<Feature>> = BTreeMap::new();
    for tile in around(tile) {
        for feature in world.features("Place", tile) {
            seen.entry(feature.text("id").to_owned())
                .or_default()
                .push(feature);
        }
    }
    assert_eq!(seen.len(), 2 * boxes.len());
    let (mut cut, mut across) = (0, 0);
    for (id, features) in &seen {
        if id.starts_with("flat:") {
            cut += usize::from(features.len() > 1);
            continue;
        }
        assert_eq!(features.len(), 1, "{id}");
        let [polygon] = features[0].polygons() else {
            panic!("{id} is one polygon")
        };
        // Whole: a 32nd of a tile wide, rounded.
        let xs = || polygon[0].iter().map(|at| at[0]);
        let width = xs().max().unwrap() - xs().min().unwrap();
        assert!((127..=129).contains(&width), "{id}: {width}");
        across += usize::from(xs().min().unwrap() < 0 || xs().max().unwrap() > 4096);
    }
    assert!(cut > 100 && across > 30, "{cut} {across}");
    // Who asks for that gets them cut, as flat areas are.
    let asked = Asked {
        cut: true,
        ..Asked::default()
    };
    let mut parts: BTreeMap<String, usize> = BTreeMap::new();
    for tile in around(tile) {
        for feature in world.asked("Building", tile, &asked) {
            *parts.entry(feature.text("id").to_owned()).or_default() += 1;
        }
    }
    for (id, parts) in &parts {
        assert_eq!(*parts, seen[&format!("flat:{id}")].len(), "{id}");
    }
    assert_eq!(parts.len(), boxes.len());
    // Deeper, where they are larger than a quarter of a tile, they are cut like all areas.
    let deep = tile_at(18, HOME.0, HOME.1);
    let features = world.features("Building", deep);
    for feature in &features {
        for at in feature.polygons().iter().flatten().flatten() {
            assert!(at.iter().all(|v| (-64..=4160).contains(v)), "{at:?}");
        }
    }
}

#[tokio::test]
async fn neighbours_share_their_border_at_every_zoom() {
    let world = World::new().await;
    // Two areas with a ragged border between them.
    let border: Vec<[f64; 2]> = (0..400)
        .map(|i| {
            let t = f64::from(i) / 399.0;
            let wave = (t * 211.0).sin() * 0.004 + (t * 37.0).cos() * 0.01;
            [HOME.0 + wave, HOME.1 - 0.2 + 0.4 * t]
        })
        .collect();
    let side = |far: f64, name: &str, turn: bool| {
        let mut ring = border.clone();
        ring.push([HOME.0 + far, HOME.1 + 0.2]);
        ring.push([HOME.0 + far, HOME.1 - 0.2]);
        ring.push(border[0]);
        if turn {
            ring.reverse();
        }
        (name.to_owned(), polygon(&json!([ring])))
    };
    world
        .put(
            "Place",
            [side(-0.3, "west", false), side(0.3, "east", true)],
        )
        .await;
    for z in 5..=15 {
        let tile = tile_at(z, HOME.0, HOME.1);
        let features = world.features("Place", tile);
        assert_eq!(features.len(), 2, "zoom {z}");
        let areas: Vec<MultiPolygon<f64>> = features
            .iter()
            .map(|feature| as_geo(feature.polygons()))
            .collect();
        // Within the slack of geo's own rounding.
        let overlap = areas[0].intersection(&areas[1]).unsigned_area();
        assert!(overlap < 0.5, "zoom {z}: {overlap}");
        // No gap either: together they are the box around them, to the last half of a unit.
        let rings: Vec<Ring> = features
            .iter()
            .flat_map(|feature| feature.polygons().iter().flatten().cloned())
            .collect();
        let span = |axis: usize| {
            let along = || rings.iter().flatten().map(|at| i64::from(at[axis]));
            along().max().unwrap() - along().min().unwrap()
        };
        let twice: i64 = rings.iter().map(|ring| mend::area(ring)).sum();
        assert_eq!(twice, 2 * span(0) * span(1), "zoom {z}");
    }
}

#[tokio::test]
async fn an_area_is_the_same_on_its_tiles_as_by_itself() {
    let world = World::new().await;
    let ring: Vec<[f64; 2]> = (0..=60)
        .map(|i| {
            let angle = f64::from(i % 60) / 60.0 * std::f64::consts::TAU;
            let r = 0.05 + 0.03 * (angle * 7.0).sin();
            [HOME.0 + r * angle.cos(), HOME.1 + r * angle.sin()]
        })
        .collect();
    let hole: Vec<[f64; 2]> = (0..=20)
        .map(|i| {
            let angle = f64::from(i % 20) / 20.0 * std::f64::consts::TAU;
            [HOME.0 + 0.01 * angle.cos(), HOME.1 + 0.012 * angle.sin()]
        })
        .collect();
    world
        .put("Place", [("a".to_owned(), polygon(&json!([ring, hole])))])
        .await;
    for z in [10, 13, 14] {
        let world_grid = Grid::new(Tile { z, x: 0, y: 0 });
        let spots = |ring: &[[f64; 2]]| -> LineString<f64> {
            let at = |c: &[f64; 2]| world_grid.spot(c[0], c[1]);
            ring.iter().map(at).map(|[x, y]| Coord { x, y }).collect()
        };
        let expected = Polygon::new(spots(&ring), vec![spots(&hole)]).unsigned_area();
        let mut area = 0.0;
        let middle = tile_at(z, HOME.0, HOME.1);
        for x in middle.x - 6..=middle.x + 6 {
            for y in middle.y - 6..=middle.y + 6 {
                let exact = square_of(Square {
                    low: 0,
                    high: EXTENT,
                });
                for feature in world.features("Place", Tile { z, x, y }) {
                    area += as_geo(feature.polygons())
                        .intersection(&exact)
                        .unsigned_area();
                }
            }
        }
        assert!(
            (area / expected - 1.0).abs() < 0.003,
            "zoom {z}: {area} of {expected}"
        );
    }
}

#[tokio::test]
async fn too_many_points_are_counted_by_cell() {
    let world = World::new().await;
    let many = MAX_TILE_POINTS + 500;
    let mut random = 3_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 11) as f64 / (1_u64 << 53) as f64
    };
    let points: Vec<Point> = (0..many)
        .map(|_| Point::new(FIELD.0 + next() * 2.0, FIELD.1 + next() * 2.0).unwrap())
        .collect();
    let named = points.iter().enumerate();
    world
        .put(
            "Station",
            named.map(|(i, p)| (format!("s:{i}"), Shape::from(*p))),
        )
        .await;
    let reading = |i: usize| Reading {
        twin: TwinId::new(&format!("s:{i}")).unwrap(),
        telemetry: "heat".into(),
        ts: Some(1_000_000 + i as i64),
        value: Value::Double(i as f64),
    };
    let readings = Readings {
        principal: Principal::system("test"),
        readings: (0..200).map(reading).collect(),
    };
    world.twin.record(readings).await.unwrap();
    let z = 7;
    let resolution = super::cells::resolution(z);
    assert_eq!(resolution, Resolution::Five);
    let mut expected: BTreeMap<String, (u64, Vec<f64>)> = BTreeMap::new();
    for (i, point) in points.iter().enumerate() {
        let cell = expected
            .entry(point.cell(resolution).to_string())
            .or_default();
        cell.0 += 1;
        if i < 200 {
            cell.1.push(i as f64);
        }
    }
    let asked = Asked {
        value: Some("heat".to_owned()),
        ..Asked::default()
    };
    let mut seen = BTreeSet::new();
    for tile in around(tile_at(z, FIELD.0 + 1.0, FIELD.1 + 1.0)) {
        for feature in world.asked("Station", tile, &asked) {
            let Some(cell) = feature.tags.get("cell") else {
                continue;
            };
            let cell = cell.as_str().unwrap().to_owned();
            let (count, values) = &expected[&cell];
            assert_eq!(feature.tags["count"], json!(count), "{cell}");
            match feature.tags.get("mean") {
                None => assert!(values.is_empty()),
                Some(mean) => {
                    let sum: f64 = values.iter().sum();
                    let off = mean.as_f64().unwrap() - sum / values.len() as f64;
                    assert!(off.abs() < 1e-9);
                }
            }
            assert_eq!(feature.polygons().len(), 1);
            seen.insert(cell);
        }
    }
    assert!(seen.len() > 50, "{} cells", seen.len());
    // Without a value whole pages are counted at once; the counts are the same.
    let tile = tile_at(z, FIELD.0 + 1.0, FIELD.1 + 1.0);
    for feature in world.features("Station", tile) {
        let (count, _) = &expected[feature.text("cell")];
        assert_eq!(feature.tags["count"], json!(count));
        assert!(!feature.tags.contains_key("mean"));
    }
    // Deeper, they are points again.
    let deep = tile_at(12, points[0].lon, points[0].lat);
    assert!(
        world
            .features("Station", deep)
            .iter()
            .all(|f| f.tags.contains_key("id"))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn outlines_never_say_another_cell_than_h3(
        lon in -179.0..177.0_f64, lat in -84.0..82.0_f64, z in 0_u8..14, seed in any::<u64>(),
    ) {
        let mut random = seed | 1;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 11) as f64 / (1_u64 << 53) as f64
        };
        // Points over some cells of the zoom's resolution.
        let reach = (360.0 / f64::from(1_u32 << z)).min(2.0);
        let points: Vec<Point> = (0..4_000)
            .map(|_| Point::new(lon + next() * reach, lat + next() * reach).unwrap())
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let counted = runtime.block_on(async {
            let world = World::new().await;
            let named = points.iter().enumerate();
            world.put("Station", named.map(|(i, p)| (format!("s:{i}"), Shape::from(*p)))).await;
            let layer = Layer::compile(&world.api, "Station", &Asked::default()).unwrap();
            let clock = crate::exec::Clock::start();
            let grid = Grid::new(tile_at(z, lon + reach / 2.0, lat + reach / 2.0));
            super::cells::count(&world.view(), &layer, &grid, &clock)
        });
        let resolution = super::cells::resolution(z);
        let mut expected = BTreeMap::new();
        for point in &points {
            *expected.entry(point.cell(resolution)).or_insert(0_u64) += 1;
        }
        let grid = Grid::new(tile_at(z, lon + reach / 2.0, lat + reach / 2.0));
        let bounds = grid.bounds(BUFFER as f64);
        for (cell, count) in expected {
            // Those that reach into the tile are whole.
            let corners = super::cells::corners(cell);
            let meets = corners.iter().any(|[lon, lat]| {
                Point::new(*lon, *lat).is_ok_and(|p| bounds.contains(p))
            });
            if meets {
                prop_assert_eq!(counted.get(&cell).map(|tally| tally.count), Some(count));
            }
        }
    }
}

#[tokio::test]
async fn a_tile_is_the_same_for_the_same_twins_and_says_when_they_change() {
    let (one, other) = (World::new().await, World::new().await);
    let boxes: Vec<(String, Shape)> = (0..50)
        .map(|i| {
            let lon = HOME.0 + f64::from(i % 7) * 0.001;
            (
                format!("b:{i}"),
                boxed(lon, HOME.1 + f64::from(i / 7) * 0.001, 0.0004, 0.0004),
            )
        })
        .collect();
    one.put("Building", boxes.clone()).await;
    // In another order, and with others that are gone again.
    other
        .put(
            "Station",
            [("gone".to_owned(), boxed(HOME.0, HOME.1, 0.1, 0.1))],
        )
        .await;
    for (id, shape) in boxes.into_iter().rev() {
        other.put("Building", [(id, shape)]).await;
    }
    other
        .commit(vec![Operation::Delete {
            id: TwinId::new("gone").unwrap(),
            expect: None,
            detach: false,
        }])
        .await;
    let tile = tile_at(15, HOME.0, HOME.1);
    let drawn = |world: &World| {
        let layer = Layer::compile(&world.api, "Place", &Asked::default()).unwrap();
        draw(&world.api, &world.view(), &layer, tile).unwrap()
    };
    assert_eq!(drawn(&one), drawn(&other));
    let class = |name: &str| one.api.ontology.class_named(name).unwrap().id;
    let before = one.view().changed(class("Building"));
    let station = (
        "s".to_owned(),
        Shape::from(Point::new(HOME.0, HOME.1).unwrap()),
    );
    one.put("Station", [station]).await;
    assert_eq!(one.view().changed(class("Building")), before);
    assert_ne!(one.view().changed(class("Place")), before);
    assert_eq!(one.view().changed(class("Place")), one.view().position());
}

#[tokio::test]
async fn values_are_as_they_are_asked_and_nothing_personal_is_told() {
    let world = World::new().await;
    let point = Shape::from(Point::new(HOME.0, HOME.1).unwrap());
    world.put("Station", [("s".to_owned(), point)]).await;
    let set = |name: &str, value: Value| (name.into(), Some(value));
    world
        .commit(vec![Operation::Upsert(Put {
            id: TwinId::new("s").unwrap(),
            class: "Station".into(),
            set: vec![
                set("big", Value::Int(i64::MAX)),
                set("opened", Value::Date(0)),
                set("secret", Value::Text("hush".into())),
            ],
            geometry: None,
            expect: None,
        })])
        .await;
    let reading = Reading {
        twin: TwinId::new("s").unwrap(),
        telemetry: "heat".into(),
        ts: Some(1_700_000_000_125_000),
        value: Value::Double(-21.5),
    };
    let readings = Readings {
        principal: Principal::system("test"),
        readings: vec![reading],
    };
    world.twin.record(readings).await.unwrap();
    let tile = tile_at(14, HOME.0, HOME.1);
    let [feature] = &world.features("Station", tile)[..] else {
        panic!("one feature")
    };
    let expected = json!({
        "id": "s", "class": "Station", "label": "the s", "name": "the s",
        "big": i64::MAX.to_string(), "opened": "1970-01-01",
        "heat": -21.5, "heat_ts": 1_700_000_000_125_u64,
    });
    assert_eq!(serde_json::to_value(&feature.tags).unwrap(), expected);
    let asked = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        let asked = Asked::read(&pairs.collect::<Vec<_>>())?;
        Layer::compile(&world.api, "Place", &asked).map(|_| asked)
    };
    // A value of a subclass may be asked of the whole.
    let few = asked(&[("attrs", "heat")]).unwrap();
    let [feature] = &world.asked("Place", tile, &few)[..] else {
        panic!("one feature")
    };
    let keys: Vec<&str> = feature.tags.keys().map(String::as_str).collect();
    assert_eq!(keys, ["heat", "heat_ts", "id"]);
    assert_eq!(few.query(), "?attrs=heat");
    for (pairs, code, part) in [
        (&[("attrs", "secret")][..], Code::Forbidden, "person"),
        (
            &[("attrs", "heet")],
            Code::UnknownName,
            "did you mean `heat`",
        ),
        (&[("attrs", "tags")], Code::InvalidInput, "tiles carry"),
        (&[("value", "name")], Code::InvalidInput, "not a number"),
        (&[("branch", "b")], Code::InvalidInput, "not offered yet"),
        (&[("at", "now")], Code::InvalidInput, "not offered yet"),
        (&[("atrs", "a")], Code::UnknownName, "did you mean `attrs`"),
        (
            &[("attrs", "a"), ("attrs", "b")],
            Code::InvalidInput,
            "twice",
        ),
    ] {
        let fault = asked(pairs).unwrap_err();
        assert_eq!(fault.code, code, "{pairs:?}");
        assert!(fault.message.contains(part), "{pairs:?}: {}", fault.message);
    }
}

#[tokio::test]
async fn what_cannot_be_seen_is_counted_and_nothing_is_a_tile_of_no_bytes() {
    let world = World::new().await;
    let far = Tile::new(10, 0, 0).unwrap();
    assert_eq!(world.features("Place", far), []);
    world
        .put(
            "Building",
            [("b".to_owned(), boxed(HOME.0, HOME.1, 0.001, 0.001))],
        )
        .await;
    let layer = Layer::compile(&world.api, "Place", &Asked::default()).unwrap();
    let draw = |z| {
        draw(
            &world.api,
            &world.view(),
            &layer,
            tile_at(z, HOME.0, HOME.1),
        )
        .unwrap()
    };
    assert_eq!((draw(14).features, draw(14).dropped), (1, 0));
    let tiny = draw(9);
    assert_eq!((tiny.bytes.len(), tiny.features, tiny.dropped), (0, 0, 1));
}

#[tokio::test]
async fn layers_and_styles_name_what_is_on_the_map() {
    let world = World::new().await;
    let (api, base) = (&world.api, "http://localhost:1");
    assert_eq!(layers(api, &world.view(), base), json!({"layers": []}));
    world
        .put("Building", [("b".to_owned(), boxed(30.0, -2.0, 0.5, 0.25))])
        .await;
    let point = Shape::from(Point::new(31.0, -2.0).unwrap());
    world.put("Station", [("s".to_owned(), point)]).await;
    let view = world.view();
    let listed = layers(api, &view, base);
    let names = |list: &serde_json::Value, key: &str| -> Vec<String> {
        let items = list.as_array().unwrap().iter();
        items
            .map(|item| item[key].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&listed["layers"], "layer"),
        ["Building", "Place", "Station"]
    );
    let asked = Asked::default();
    let layer = Layer::compile(api, "Place", &asked).unwrap();
    let said = tile_json(api, &view, &layer, &asked, base, "somebody");
    assert_eq!(said["tilejson"], "3.0.0");
    assert_eq!(
        said["tiles"],
        json!(["http://localhost:1/tiles/Place/{z}/{x}/{y}.mvt"])
    );
    assert_eq!(said["bounds"], json!([30.0, -2.0, 31.0, -1.75]));
    assert_eq!(said["attribution"], "somebody");
    let fields = &said["vector_layers"][0]["fields"];
    assert_eq!(fields["big"], "Number");
    assert_eq!(fields["count"], "Number");
    assert!(fields.get("secret").is_none() && fields.get("tags").is_none());
    for theme in [Theme::Light, Theme::Dark] {
        let style = style(api, &view, theme, base);
        assert_eq!(style["version"], 8);
        // Each twin from one source: `Place` has none of its own.
        let sources: BTreeSet<&str> = style["sources"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let sources: Vec<&str> = sources.into_iter().collect();
        assert_eq!(sources, ["Building", "Station"]);
        let ids: BTreeSet<String> = names(&style["layers"], "id").into_iter().collect();
        assert_eq!(ids.len(), style["layers"].as_array().unwrap().len());
        assert!(ids.contains("Building solids") && ids.contains("Station points"));
        let kinds = names(&style["layers"], "type");
        assert!(!kinds.contains(&"symbol".to_owned()), "there are no glyphs");
    }
}

#[test]
fn the_contents_of_a_polygon_are_where_its_rings_say() {
    // A square with a hole that touches it in a corner and another inside, and an island in that.
    let square = |low: i32, high: i32| vec![[low, low], [high, low], [high, high], [low, high]];
    let rings = vec![
        square(0, 100),
        square(0, 10),
        square(30, 60),
        square(40, 50),
    ];
    let polygons = mend::polygons(rings).unwrap();
    let geometry = as_geo(&polygons);
    assert!(geometry.is_valid(), "{:?}", geometry.validation_errors());
    for (x, y, expected) in [
        (5.0, 5.0, false),
        (20.0, 20.0, true),
        (35.0, 35.0, false),
        (45.0, 45.0, true),
    ] {
        assert_eq!(
            geometry.contains(&geo_types::Point::new(x, y)),
            expected,
            "{x}"
        );
    }
}
