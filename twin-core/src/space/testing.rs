//! Geometry for tests: random valid shapes, and properties checked against brute force and
//! against other algorithms.

use super::locate::{Side, Step};
use super::metric::{Spot, geodesic};
use super::points::Points;
use super::shape::MAX_VERTICES;
use super::{
    Bounds, Look, Point, Position, Region, RegionError, Relation, Shape, ShapeError, Solid,
    SpaceIndex, Surface, cells,
};
use geo::{CoordinatePosition, Intersects};
use geo_types::{
    Coord, Geometry, GeometryCollection, LineString, MultiLineString, MultiPoint, MultiPolygon,
    Polygon,
};
use h3o::{CellIndex, Resolution};
use proptest::prelude::*;
use serde_json::json;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

fn point(lon: f64, lat: f64) -> Point {
    Point::new(lon, lat).unwrap()
}

fn shape(value: &serde_json::Value) -> Shape {
    Shape::from_geojson(value).unwrap()
}

fn polygon(rings: &serde_json::Value) -> Result<Shape, ShapeError> {
    Shape::from_geojson(&json!({"type": "Polygon", "coordinates": rings}))
}

fn square(west: f64, south: f64, size: f64) -> serde_json::Value {
    let (e, n) = (west + size, south + size);
    json!([[west, south], [e, south], [e, n], [west, n], [west, south]])
}

/// Where random shapes are: a small country, both sides of 180 degrees, both poles.
fn places() -> impl Strategy<Value = (f64, f64)> {
    prop_oneof![
        Just((30.0, -2.0)),
        Just((179.0, 10.0)),
        Just((-179.0, 10.0)),
        Just((20.0, 88.9)),
        Just((-100.0, -88.9)),
    ]
}

/// Coordinates within a degree of a place, often on a coarse grid so that things touch.
fn near((lon, lat): (f64, f64)) -> impl Strategy<Value = Coord<f64>> {
    let grid = (-8_i32..=8, -8_i32..=8).prop_map(|(x, y)| (f64::from(x) / 8.0, f64::from(y) / 8.0));
    prop_oneof![grid, (-1.0..1.0, -1.0..1.0)].prop_map(move |(x, y)| Coord {
        x: lon + x,
        y: (lat + y).clamp(-90.0, 90.0),
    })
}

/// A ring around a centre, star-shaped and hence simple.
fn star(centre: Coord<f64>, radius: f64, spokes: &[f64]) -> LineString<f64> {
    let n = spokes.len() as f64;
    let coords = spokes.iter().enumerate().map(|(i, spoke)| {
        let angle = std::f64::consts::TAU * i as f64 / n;
        let r = radius * spoke;
        Coord {
            x: (centre.x + r * angle.cos()).clamp(-180.0, 180.0),
            y: (centre.y + r * angle.sin()).clamp(-90.0, 90.0),
        }
    });
    let mut line = LineString::new(coords.collect());
    line.close();
    line
}

/// A star with, sometimes, a star-shaped hole around the same centre.
fn area(place: (f64, f64), spokes: usize) -> impl Strategy<Value = Polygon<f64>> {
    let outer = prop::collection::vec(0.5..1.0_f64, 3..spokes);
    let inner = prop::option::of(prop::collection::vec(0.2..1.0_f64, 3..8));
    (near(place), 0.01..0.9_f64, outer, inner).prop_map(|(centre, radius, outer, inner)| {
        // A triangle's sides come as near as a quarter of its radius to the centre.
        let holes = inner.map(|inner| star(centre, radius * 0.1, &inner));
        Polygon::new(star(centre, radius, &outer), holes.into_iter().collect())
    })
}

fn any_shape(place: (f64, f64)) -> impl Strategy<Value = Shape> {
    let leads = |line: &LineString<f64>| line.0.windows(2).any(|w| w[0] != w[1]);
    let line = move || {
        let line = prop::collection::vec(near(place), 2..12).prop_map(LineString::new);
        line.prop_filter("the line leads nowhere", leads)
    };
    let geometry = prop_oneof![
        4 => near(place).prop_map(|c| Geometry::Point(c.into())),
        1 => prop::collection::vec(near(place), 1..5)
            .prop_map(|cs| Geometry::MultiPoint(MultiPoint(cs.into_iter().map(Into::into).collect()))),
        2 => line().prop_map(Geometry::LineString),
        1 => prop::collection::vec(line(), 1..3)
            .prop_map(|lines| Geometry::MultiLineString(MultiLineString(lines))),
        4 => area(place, 40).prop_map(Geometry::Polygon),
        1 => prop::collection::vec(area(place, 12), 1..3)
            .prop_map(|areas| Geometry::MultiPolygon(MultiPolygon(areas))),
        1 => (area(place, 8), near(place)).prop_map(|(area, c)| {
            let members = vec![Geometry::Polygon(area), Geometry::Point(c.into())];
            Geometry::GeometryCollection(GeometryCollection(members))
        }),
    ];
    // Stars that the poles or 180 degrees flatten, and overlapping parts, are not shapes.
    geometry.prop_filter_map("valid", |geometry| Shape::from_geo(geometry).ok())
}

/// The rings of an area at a height.
fn level(area: &Polygon<f64>, height: f64) -> Vec<Vec<Position>> {
    let rings = std::iter::once(area.exterior()).chain(area.interiors());
    let raised = |ring: &LineString<f64>| ring.0.iter().map(|c| [c.x, c.y, height]).collect();
    rings.map(raised).collect()
}

/// An area between two heights: floor, roof and a wall for each edge.
fn prism(area: &Polygon<f64>, low: f64, high: f64) -> Vec<(Surface, Vec<Vec<Position>>)> {
    let mut faces = vec![
        (Surface::Roof, level(area, high)),
        (Surface::Ground, level(area, low)),
    ];
    for (below, above) in level(area, low).iter().zip(&level(area, high)) {
        for (b, a) in below.windows(2).zip(above.windows(2)) {
            faces.push((Surface::Wall, vec![vec![b[0], b[1], a[1], a[0]]]));
        }
    }
    faces
}

/// A solid on its footprint, with some faces that nobody said the kind of.
fn any_solid(place: (f64, f64)) -> impl Strategy<Value = Shape> {
    let kinds = prop::collection::vec(0_usize..8, 12);
    (area(place, 12), -400.0..4_000.0_f64, 0.5..500.0_f64, kinds).prop_filter_map(
        "valid",
        |(area, low, height, kinds)| {
            let mut faces = prism(&area, low, low + height);
            for ((surface, _), kind) in faces.iter_mut().zip(kinds) {
                *surface = Surface::ALL.get(kind).copied().unwrap_or(*surface);
            }
            let footprint = Shape::from_geo(area.into()).ok()?;
            Some(footprint.with_solid(Solid::new(faces).unwrap()).unwrap())
        },
    )
}

fn any_region(place: (f64, f64)) -> impl Strategy<Value = Region> {
    let cells = (near(place), 2_u8..7, 0_u32..3).prop_map(|(c, resolution, k)| {
        let resolution = Resolution::try_from(resolution).unwrap();
        let mut cells: Vec<CellIndex> = cells::cell_at(c.into(), resolution).grid_disk(k);
        // A gap in the middle of the larger ones.
        if k == 2 {
            cells.remove(0);
        }
        Region::cells(cells).unwrap()
    });
    prop_oneof![
        (near(place), near(place)).prop_filter_map("in range", |(a, b)| {
            Region::bbox(a.x.min(b.x), a.y.min(b.y), a.x.max(b.x), a.y.max(b.y)).ok()
        }),
        (
            near(place),
            prop_oneof![Just(0.0), 1.0..300_000.0_f64, Just(2e7)]
        )
            .prop_filter_map("in range", |(c, metres)| Region::radius(
                Point::new(c.x, c.y).ok()?,
                metres
            )
            .ok()),
        area(place, 40).prop_filter_map("valid", |area| {
            Region::polygon(Arc::new(Shape::from_geo(area.into()).ok()?)).ok()
        }),
        cells,
    ]
}

fn relation() -> impl Strategy<Value = Relation> {
    prop_oneof![Just(Relation::Intersects), Just(Relation::Within)]
}

fn indexed(shapes: &[Shape]) -> SpaceIndex<usize> {
    let mut index = SpaceIndex::new();
    for (key, shape) in shapes.iter().enumerate() {
        index.insert(key, shape);
    }
    index
}

/// Drops what is farther than the `k`-th.
fn keep_nearest(sorted: &mut Vec<(usize, f64)>, k: usize) {
    match k.checked_sub(1).map(|last| sorted.get(last).copied()) {
        None => sorted.clear(),
        Some(None) => {}
        Some(Some((_, farthest))) => sorted.retain(|(_, metres)| *metres <= farthest),
    }
}

/// Points enough for pages under pages; some of them are at one place.
fn crowd() -> impl Strategy<Value = (Vec<Point>, Point, Region)> {
    places().prop_flat_map(|place| {
        let points = prop::collection::vec(near(place).prop_map(Point::from), 1..1_500);
        let centre = near(place).prop_map(Point::from);
        (points, centre, any_region(place))
    })
}

fn world() -> impl Strategy<Value = (Vec<Shape>, Region, Coord<f64>)> {
    (places(), places()).prop_flat_map(|(first, second)| {
        let shapes = (
            prop::collection::vec(any_shape(first), 0..25),
            prop::collection::vec(any_shape(second), 0..60),
        );
        let shapes = shapes.prop_map(|(mut a, b)| {
            a.extend(b);
            a
        });
        (shapes, any_region(first), near(first))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_search_finds_what_a_test_of_every_shape_finds(
        (shapes, region, _) in world(), relation in relation(),
    ) {
        let index = indexed(&shapes);
        let expected: Vec<usize> =
            (0..shapes.len()).filter(|&k| region.matches(&shapes[k], relation)).collect();
        prop_assert_eq!(index.search(&region, relation, |k| &shapes[k]), expected);
    }

    #[test]
    fn the_shapes_that_hold_a_point_are_found((shapes, _, c) in world()) {
        let index = indexed(&shapes);
        for at in shapes.iter().map(Shape::first).chain([c]).filter(|c| c.x.abs() <= 180.0) {
            let p = Point::from(at);
            let expected: Vec<usize> =
                (0..shapes.len()).filter(|&k| shapes[k].contains(p)).collect();
            prop_assert_eq!(index.containing(p, |k| &shapes[k]), expected);
        }
    }

    #[test]
    fn shapes_near_a_box_are_all_that_meet_it_down_to_the_size_that_is_asked(
        (shapes, _, _) in world(), pick in any::<prop::sample::Index>(), most in 0_usize..40,
    ) {
        prop_assume!(!shapes.is_empty());
        let index = indexed(&shapes);
        let bounds = pick.get(&shapes).bounds();
        let region = Region::bbox(bounds.west, bounds.south, bounds.east, bounds.north).unwrap();
        let (found, all) = index.shapes_near(&bounds, Resolution::Fifteen, usize::MAX);
        prop_assert!(all && found.is_sorted() && found.windows(2).all(|pair| pair[0] != pair[1]));
        prop_assert!(found.iter().all(|&k| shapes[k].is_point().is_none()));
        let meet: Vec<usize> = (0..shapes.len()).filter(|&k| {
            shapes[k].is_point().is_none() && region.matches(&shapes[k], Relation::Intersects)
        }).collect();
        prop_assert!(meet.iter().all(|k| found.contains(k)));
        let (few, whole) = index.shapes_near(&bounds, Resolution::Fifteen, most);
        prop_assert!(few.len() <= most && few.iter().all(|k| found.contains(k)));
        prop_assert!(!whole || few == found);
        prop_assert!(found.len() <= most || !whole);
        for finest in Resolution::range(Resolution::Zero, Resolution::Fifteen) {
            let (large, _) = index.shapes_near(&bounds, finest, usize::MAX);
            prop_assert!(large.iter().all(|k| found.contains(k)));
            let widest = super::widest_below(finest);
            for k in meet.iter().filter(|k| !large.contains(k)) {
                // Of several parts each is small, which their common box does not show.
                if let Geometry::Polygon(_) | Geometry::LineString(_) = shapes[*k].geometry() {
                    let b = shapes[*k].bounds();
                    let shrink = b.south.abs().max(b.north.abs()).to_radians().cos();
                    prop_assert!((b.north - b.south).to_radians() <= widest);
                    prop_assert!((b.east - b.west).to_radians() * shrink <= widest);
                }
            }
        }
    }

    #[test]
    fn a_search_that_is_told_to_end_tests_no_further_shape(
        (shapes, region, c) in world(), relation in relation(), most in 0..4_usize,
    ) {
        let index = indexed(&shapes);
        let asked = Cell::new(0);
        let tested = Cell::new(0);
        let go_on = || asked.replace(asked.get() + 1) < most;
        let shape_of = |k: usize| {
            tested.set(tested.get() + 1);
            &shapes[k]
        };
        let found = index.search_while(&region, relation, shape_of, go_on);
        prop_assert!(tested.get() <= most);
        prop_assert!(found.iter().all(|&k| region.matches(&shapes[k], relation)));
        asked.set(0);
        tested.set(0);
        if c.x.abs() <= 180.0 {
            index.containing_while(Point::from(c), shape_of, go_on);
            prop_assert!(tested.get() <= most);
        }
    }

    #[test]
    fn the_nearest_come_in_the_order_of_distance_and_key(
        (shapes, _, c) in world(), k in 0_usize..12, odd in any::<bool>(),
    ) {
        prop_assume!(c.x.abs() <= 180.0);
        let p = Point::from(c);
        let mut expected: Vec<(usize, f64)> = shapes.iter().map(|s| s.distance(p)).enumerate()
            .filter(|(key, _)| !odd || key % 2 == 1).collect();
        expected.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        keep_nearest(&mut expected, k);
        let found = indexed(&shapes).nearest(p, k, |key| !odd || key % 2 == 1, |k| &shapes[k]);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn taking_out_what_was_put_in_leaves_the_rest_and_a_clone_as_they_were(
        (shapes, region, _) in world(),
    ) {
        let whole = indexed(&shapes);
        let mut rest = whole.clone();
        for (key, shape) in shapes.iter().enumerate().filter(|(key, _)| key % 3 != 0) {
            rest.remove(key, shape);
            rest.remove(key, shape);
        }
        let all: Vec<usize> = (0..shapes.len())
            .filter(|&k| region.matches(&shapes[k], Relation::Intersects)).collect();
        prop_assert_eq!(whole.search(&region, Relation::Intersects, |k| &shapes[k]), all.clone());
        let left: Vec<usize> = all.into_iter().filter(|key| key % 3 == 0).collect();
        prop_assert_eq!(rest.search(&region, Relation::Intersects, |k| &shapes[k]), left);
        prop_assert_eq!(rest.len(), shapes.len().div_ceil(3));
        for key in (0..shapes.len()).step_by(3) {
            rest.remove(key, &shapes[key]);
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(rest.cover_sizes(), [0; 16]);
    }

    #[test]
    fn where_a_point_lies_agrees_with_another_algorithm(
        area in area((30.0, -2.0), 200), points in prop::collection::vec(near((30.0, -2.0)), 20),
    ) {
        let Ok(shape) = Shape::from_geo(area.clone().into()) else { return Ok(()) };
        let vertices = area.exterior().0.clone();
        for c in points.into_iter().chain(vertices) {
            let other = area.coordinate_position(&c);
            let side = match Step::here(c).locate(&shape) {
                Side::Inside => geo::coordinate_position::CoordPos::Inside,
                Side::Boundary => geo::coordinate_position::CoordPos::OnBoundary,
                Side::Outside => geo::coordinate_position::CoordPos::Outside,
            };
            prop_assert_eq!(side, other);
        }
    }

    #[test]
    fn whether_shapes_meet_or_hold_each_other_agrees_with_another_algorithm(
        a in area((30.0, -2.0), 30), b in any_shape((30.0, -2.0)),
    ) {
        use geo::Relate;
        // geo calls parts of collections that touch what they are not; it is not asked.
        prop_assume!(!matches!(b.geometry(), Geometry::GeometryCollection(_)));
        let Ok(shape) = Shape::from_geo(a.clone().into()) else { return Ok(()) };
        let matrix = a.relate(b.geometry());
        let region = Region::polygon(Arc::new(shape)).unwrap();
        prop_assert_eq!(region.matches(&b, Relation::Intersects), a.intersects(b.geometry()));
        prop_assert_eq!(region.matches(&b, Relation::Within), matrix.is_covers());
    }

    #[test]
    fn no_point_of_a_shape_is_nearer_than_its_distance(
        shape in any_shape((30.0, -2.0)), from in near((30.0, -2.0)),
    ) {
        let p = Point::from(from);
        let metres = shape.distance(p);
        if shape.contains(p) {
            prop_assert!(metres.abs() < f64::MIN_POSITIVE);
            return Ok(());
        }
        let mut least = f64::INFINITY;
        let all: ControlFlow<()> = shape.each(&mut |tree| {
            for i in 0..tree.path.edges() {
                let (a, b) = tree.path.edge(i);
                for step in 0..=64 {
                    let t = f64::from(step) / 64.0;
                    let at = Point { lon: a.x + (b.x - a.x) * t, lat: a.y + (b.y - a.y) * t };
                    least = least.min(geodesic(p, at));
                }
            }
            ControlFlow::Continue(())
        });
        prop_assert!(all.is_continue());
        prop_assert!(metres <= least + 1e-6, "{metres} m, but a point is {least} m away");
        // Samples are at most a 64th of an edge of some 2 degrees apart.
        prop_assert!(least - metres < 4_000.0);
    }

    #[test]
    fn the_geodesic_lies_between_its_bounds(
        (a, b) in ((-180.0..180.0, -90.0..90.0), (-180.0..180.0, -90.0..90.0)), near in 0.0..1.0_f64,
    ) {
        let p = point(a.0, a.1);
        let q = point(a.0 + (b.0 - a.0) * near.powi(8), a.1 + (b.1 - a.1) * near.powi(8));
        let (lower, upper) = Spot::new(p).range(&Spot::new(q));
        let metres = geodesic(p, q);
        prop_assert!(lower <= metres && metres <= upper, "{lower} <= {metres} <= {upper}");
    }

    #[test]
    fn a_cell_owns_only_what_its_reach_and_the_home_of_a_ball_say(
        lon in -180.0..180.0_f64, z in -1.0..1.0_f64, turn in 0.0..std::f64::consts::TAU,
        way in 0.0..1.0_f64, size in 1e-7..0.2_f64,
    ) {
        let p = point(lon, z.asin().to_degrees());
        let finest = cells::cell_at(p, cells::FINEST);
        for resolution in Resolution::range(Resolution::Zero, cells::FINEST) {
            let above = cells::centre(finest.parent(resolution).unwrap());
            // A micrometre-sized cell's angle is at the limit of what f64 resolves.
            prop_assert!(Spot::new(p).angle(&above) <= cells::reach(resolution) + 1e-12);
        }
        let lat = p.lat + size.to_degrees() * way * turn.sin();
        let wide = size.to_degrees() * way * turn.cos() / p.lat.to_radians().cos();
        let lon = p.lon + wide;
        prop_assume!(lat.abs() <= 90.0 && lon.abs() <= 180.0);
        let q = point(lon, lat);
        prop_assume!(Spot::new(p).angle(&Spot::new(q)) <= size);
        let home = cells::home(&Spot::new(p), size);
        let owner = cells::cell_at(q, cells::FINEST).parent(home[0].resolution()).unwrap();
        prop_assert!(home.contains(&owner));
    }

    #[test]
    fn a_shape_survives_both_formats(shape in any_shape((30.0, -2.0)), high in any::<bool>()) {
        let heights = high.then(|| (0..shape.vertices()).map(|i| i as f64 / 7.0).collect());
        let shape = Shape::with_heights(shape.geometry().clone(), heights).unwrap();
        prop_assert_eq!(&Shape::from_wkb(&shape.to_wkb()).unwrap(), &shape);
        prop_assert_eq!(&Shape::from_stored_wkb(&shape.to_wkb()).unwrap(), &shape);
        prop_assert_eq!(&Shape::from_geojson(&shape.to_geojson()).unwrap(), &shape);
        let mut text = Vec::new();
        shape.write_geojson(&mut text);
        prop_assert_eq!(std::str::from_utf8(&text).unwrap(), shape.to_geojson().to_string());
    }

    #[test]
    fn a_solid_survives_its_bytes_beside_its_footprint(shape in any_solid((30.0, -2.0))) {
        let bytes = shape.to_wkb();
        for read in [Shape::from_wkb(&bytes).unwrap(), Shape::from_stored_wkb(&bytes).unwrap()] {
            prop_assert_eq!(&read, &shape);
            prop_assert_eq!(&read.clone(), &shape);
            prop_assert_eq!(read.to_wkb(), &bytes[..], "the same shape has the same bytes");
        }
        let footprint = Shape::with_heights(
            shape.geometry().clone(), shape.heights().map(Into::into)).unwrap();
        prop_assert_ne!(&footprint, &shape, "a solid that was lost is noticed");
        prop_assert_eq!(footprint.to_geojson(), shape.to_geojson());
        prop_assert_eq!(Shape::from_geo(shape.geometry().clone()).unwrap(), shape.flat());
        let solid = shape.solid().unwrap();
        let kinds: Vec<Surface> = solid.faces().map(|face| face.surface).collect();
        prop_assert!(kinds.is_sorted());
        let rings: usize = solid.faces().map(|face| face.rings().count()).sum();
        let corners: usize = solid.faces().flat_map(|face| face.rings()).map(<[u32]>::len).sum();
        prop_assert_eq!(shape.stored_vertices(), shape.vertices() + rings + corners);
        // Walls, floor and roof of a prism share their corners.
        prop_assert_eq!(solid.positions().len() * 3, corners);
    }

    #[test]
    fn an_area_is_refused_exactly_where_another_algorithm_refuses_it(
        coords in prop::collection::vec((0_u8..5, 0_u8..5), 3..8),
    ) {
        use geo::Validation;
        let ring: Vec<Coord<f64>> =
            coords.iter().map(|&(x, y)| Coord { x: x.into(), y: y.into() }).collect();
        let mut line = LineString::new(ring);
        line.close();
        // Repeated points are allowed here as in other systems; geo's check is not asked.
        prop_assume!(line.0.windows(2).all(|pair| pair[0] != pair[1]));
        let area = Polygon::new(line, Vec::new());
        // A ring that only goes there and back is refused here; geo lets some pass.
        prop_assume!(geo::Area::unsigned_area(&area) > 0.0);
        prop_assert_eq!(Shape::from_geo(area.clone().into()).is_ok(), area.is_valid(), "{:?}", area);
    }

    #[test]
    fn random_bytes_are_refused_or_read_but_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u8..17, count in 0_u8..6,
    ) {
        let mut framed = vec![1, kind, 0, 0, 0, count, 0, 0, 0];
        framed.extend_from_slice(&bytes);
        // Behind a footprint, where surfaces stand.
        let mut surfaces = tower().to_wkb();
        surfaces.truncate(TOWER_SURFACES_AT);
        surfaces.extend_from_slice(&[1, 247, 3, 0, 0, count, 0, 0, 0]);
        surfaces.extend_from_slice(&bytes);
        for bytes in [&bytes, &framed, &surfaces] {
            if let Ok(shape) = Shape::from_wkb(bytes) {
                prop_assert_eq!(Shape::from_wkb(&shape.to_wkb()).unwrap(), shape);
            }
        }
    }
}

/// A square tower.
fn tower() -> Shape {
    let base = shape(&json!({"type": "Polygon", "coordinates": [square(30.0, -2.0, 0.5)]}));
    let Geometry::Polygon(area) = base.geometry() else {
        panic!("{base:?}")
    };
    let faces = prism(area, 1_500.0, 1_520.0);
    base.flat().with_solid(Solid::new(faces).unwrap()).unwrap()
}

/// Bytes of a tower's head and footprint: a polygon of one ring of five positions.
const TOWER_SURFACES_AT: usize = 9 + 9 + 4 + 5 * 24;

#[test]
fn a_damaged_or_truncated_solid_never_panics() {
    let whole = tower().to_wkb();
    for at in 0..whole.len() {
        assert!(Shape::from_wkb(&whole[..at]).is_err());
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(read) = Shape::from_wkb(&damaged) {
                assert_eq!(Shape::from_wkb(&read.to_wkb()).unwrap(), read);
            }
        }
    }
}

#[test]
fn a_solid_that_is_none_is_refused_with_the_reason() {
    let told = |faces: Vec<(Surface, Vec<Vec<Position>>)>| match Solid::new(faces) {
        Ok(solid) => panic!("{solid:?}"),
        Err(error) => error.to_string(),
    };
    let triangle = vec![[30.0, -2.0, 1.0], [30.1, -2.0, 1.0], [30.0, -1.9, 1.0]];
    let with = |change: &dyn Fn(&mut Vec<Position>)| {
        let mut ring = triangle.clone();
        change(&mut ring);
        vec![(Surface::Wall, vec![ring])]
    };
    assert!(told(Vec::new()).contains("has no face"));
    assert!(told(vec![(Surface::Roof, Vec::new())]).contains("without a ring"));
    assert!(told(with(&|ring| ring.truncate(2))).contains("fewer than three positions"));
    assert!(told(with(&|ring| ring[1] = ring[0])).contains("fewer than three positions"));
    assert!(told(with(&|ring| ring[2][2] = f64::INFINITY)).contains("no finite number"));
    assert!(told(with(&|ring| ring[0][0] = 181.0)).contains("not a WGS 84 position"));
    let solid = Solid::new(with(&|_| {})).unwrap();
    let line = shape(&json!({"type": "LineString", "coordinates": [[30.0, -2.0], [30.1, -2.0]]}));
    let error = line.with_solid(solid.clone()).unwrap_err().to_string();
    assert!(error.contains("stands on a LineString"), "{error}");
    // What others write without heights, or in another order.
    let mut flat = tower().to_wkb();
    // The type of the first face, below a surface's head.
    flat[TOWER_SURFACES_AT + 10..TOWER_SURFACES_AT + 12].copy_from_slice(&[3, 0]);
    let error = Shape::from_wkb(&flat).unwrap_err().to_string();
    assert!(error.contains("some have none"), "{error}");
    // The second surface, behind the only face of the first.
    let mut mixed = tower().to_wkb();
    mixed[TOWER_SURFACES_AT + 9 + 9 + 4 + 5 * 24 + 1] = 235;
    let error = Shape::from_wkb(&mixed).unwrap_err().to_string();
    assert!(error.contains("wall surfaces should be"), "{error}");
    let mut alone = vec![1, 247, 3, 0, 0, 0, 0, 0, 0];
    let error = Shape::from_wkb(&alone).unwrap_err().to_string();
    assert!(error.contains("behind the footprint"), "{error}");
    alone.splice(0..0, [1, 7, 0, 0, 0, 1, 0, 0, 0]);
    assert!(Shape::from_wkb(&alone).is_err());
}

#[test]
fn faces_count_among_the_vertices_of_a_shape() {
    let base = tower().flat();
    let ring = |n: usize| -> Vec<Position> {
        (0..n).map(|i| [30.0 + i as f64 / 1e7, -2.0, 0.0]).collect()
    };
    let faces = |n: usize| Solid::new([(Surface::Other, vec![ring(n)])]).unwrap();
    let most = MAX_VERTICES - base.vertices() - 1;
    assert!(base.clone().with_solid(faces(most)).is_ok());
    let error = base.clone().with_solid(faces(most + 1)).unwrap_err();
    assert!(error.to_string().contains("1000000 vertices"), "{error}");
    let mut bytes = base.with_solid(faces(most)).unwrap().to_wkb();
    assert!(Shape::from_wkb(&bytes).is_ok());
    // A second face of a triangle is one too many for whoever reads them.
    let count = bytes.len() - (9 + 4 + 24 * (most + 1)) - 4;
    bytes[count] = 2;
    bytes.extend_from_slice(&[1, 235, 3, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0]);
    bytes.extend_from_slice(&[0; 96]);
    let error = Shape::from_wkb(&bytes).unwrap_err().to_string();
    assert!(error.contains("1000000 vertices"), "{error}");
}

#[test]
fn a_shape_without_a_solid_pays_a_pointer_for_it() {
    let tower = tower();
    let flat = tower.flat();
    assert!(flat.solid().is_none() && flat.heights().is_none());
    assert_eq!(size_of::<Option<Box<Solid>>>(), size_of::<usize>());
    assert!(size_of::<Shape>() <= 160, "{}", size_of::<Shape>());
}

#[test]
fn a_damaged_or_truncated_wkb_never_panics() {
    let whole = shape(&json!({"type": "GeometryCollection", "geometries": [
        {"type": "Polygon", "coordinates": [square(0.0, 0.0, 4.0), square(1.0, 1.0, 1.0)]},
        {"type": "MultiPoint", "coordinates": [[1.0, 2.0], [3.0, 4.0]]},
        {"type": "MultiLineString", "coordinates": [[[1.0, 2.0], [3.0, 4.0]]]},
    ]}))
    .to_wkb();
    for at in 0..whole.len() {
        assert!(Shape::from_wkb(&whole[..at]).is_err());
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(shape) = Shape::from_wkb(&damaged) {
                assert!(!shape.bounds().west.is_nan());
            }
        }
    }
}

#[test]
fn what_is_wrong_with_an_area_is_said_with_ring_and_place() {
    let check = |rings: serde_json::Value, expected: &str| {
        let error = polygon(&rings).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} does not say {expected}");
    };
    check(
        json!([[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]),
        "ring 0 meets itself",
    );
    check(
        json!([[[0, 0], [4, 0], [2, 0], [2, 2], [0, 0]]]),
        "ring 0 meets itself",
    );
    check(json!([[[0, 0], [1, 0], [1, 1], [0, 1]]]), "is not closed");
    check(json!([[[0, 0], [1, 0], [0, 0]]]), "needs at least 4");
    check(
        json!([[[0, 0], [0, 0], [0, 0], [0, 0]]]),
        "needs at least 4",
    );
    check(json!([]), "is empty");
    check(
        json!([[[0, 0], [190, 0], [1, 1], [0, 0]]]),
        "coordinate [190, 0]",
    );
    check(
        json!([[[0, 0], [1, "x"], [1, 1], [0, 0]]]),
        "not a number at coordinates[0][1]",
    );
    check(
        json!([square(0.0, 0.0, 4.0), square(3.0, 1.0, 2.0)]),
        "ring 0 and ring 1 cross",
    );
    check(
        json!([square(0.0, 0.0, 4.0), square(0.0, 1.0, 2.0)]),
        "share a stretch",
    );
    check(
        json!([square(0.0, 0.0, 4.0), square(8.0, 8.0, 2.0)]),
        "the hole lies outside",
    );
    check(
        json!([
            square(0.0, 0.0, 9.0),
            square(1.0, 1.0, 5.0),
            square(2.0, 2.0, 1.0)
        ]),
        "ring 1 and ring 2 are holes that overlap",
    );
    // Two holes that touch each other and the outer ring leave no way between the halves.
    check(
        json!([
            square(0.0, 0.0, 4.0),
            [[0, 2], [1, 1], [2, 2], [1, 3], [0, 2]],
            [[2, 2], [3, 1], [4, 2], [3, 3], [2, 2]]
        ]),
        "cut the inside in two",
    );
    let parts = json!({"type": "MultiPolygon", "coordinates":
        [[square(0.0, 0.0, 4.0)], [square(1.0, 1.0, 1.0)]]});
    let error = Shape::from_geojson(&parts).unwrap_err().to_string();
    assert!(
        error.contains("ring 0 of polygon 1 are polygons that overlap"),
        "{error}"
    );
}

#[test]
fn areas_may_touch_in_points_and_lie_in_holes() {
    let hole_touches = json!([
        square(0.0, 0.0, 4.0),
        [[0, 2], [1, 1], [2, 2], [1, 3], [0, 2]]
    ]);
    assert!(polygon(&hole_touches).is_ok());
    let repeated = json!([[[0, 0], [2, 0], [2, 0], [2, 2], [0, 2], [0, 0], [0, 0]]]);
    assert!(polygon(&repeated).is_ok());
    let island = json!({"type": "MultiPolygon", "coordinates":
        [[square(0.0, 0.0, 9.0), square(1.0, 1.0, 5.0)], [square(2.0, 2.0, 1.0)],
         [square(9.0, 9.0, 1.0)]]});
    assert!(Shape::from_geojson(&island).is_ok());
}

#[test]
fn a_boundary_counts_as_inside() {
    let area = polygon(&json!([square(0.0, 0.0, 4.0), square(1.0, 1.0, 2.0)])).unwrap();
    for (lon, lat, inside) in [
        (0.0, 0.0, true),
        (2.0, 0.0, true),
        (1.0, 2.0, true),
        (3.0, 3.0, true),
        (0.5, 0.5, true),
        (2.0, 2.0, false),
        (4.000_000_000_1, 2.0, false),
    ] {
        assert_eq!(area.contains(point(lon, lat)), inside, "[{lon}, {lat}]");
    }
}

#[test]
fn an_area_that_fills_a_hole_or_spans_it_is_not_within() {
    let ring = polygon(&json!([square(0.0, 0.0, 4.0), square(1.0, 1.0, 2.0)])).unwrap();
    let region = Region::polygon(Arc::new(ring)).unwrap();
    let check = |rings: serde_json::Value, relation, expected| {
        assert_eq!(
            region.matches(&polygon(&rings).unwrap(), relation),
            expected,
            "{rings}"
        );
    };
    check(json!([square(1.0, 1.0, 2.0)]), Relation::Within, false);
    check(json!([square(1.0, 1.0, 2.0)]), Relation::Intersects, true);
    check(
        json!([square(1.25, 1.25, 1.0)]),
        Relation::Intersects,
        false,
    );
    check(json!([square(0.5, 0.5, 3.0)]), Relation::Within, false);
    check(json!([square(0.0, 0.0, 4.0)]), Relation::Within, false);
    check(json!([square(0.0, 0.0, 1.0)]), Relation::Within, true);
    check(
        json!([square(0.0, 0.0, 4.0), square(1.0, 1.0, 2.0)]),
        Relation::Within,
        true,
    );
}

#[test]
fn a_radius_reaches_over_the_antimeridian_and_the_poles() {
    let near = |centre: Point, metres, p: Point| {
        let region = Region::radius(centre, metres).unwrap();
        region.matches(&Shape::from(p), Relation::Intersects)
    };
    assert!(near(point(179.99, 0.0), 3_000.0, point(-179.99, 0.0)));
    assert!(!near(point(179.99, 0.0), 2_000.0, point(-179.99, 0.0)));
    assert!(near(point(0.0, 89.99), 3_000.0, point(180.0, 89.99)));
    let line =
        shape(&json!({"type": "LineString", "coordinates": [[-180.0, -1.0], [-180.0, 1.0]]}));
    assert!(line.distance(point(180.0, 0.5)) < 1e-6);
}

#[test]
fn an_edge_along_a_parallel_is_left_on_the_side_of_the_pole() {
    // The farthest point of this edge from a point beyond the pole is its middle, not its ends.
    let edge = shape(&json!({"type": "LineString", "coordinates": [[-90.0, 80.0], [90.0, 80.0]]}));
    let centre = point(180.0, 80.0);
    let middle = geodesic(centre, point(0.0, 80.0));
    let within = |metres| {
        Region::radius(centre, metres)
            .unwrap()
            .matches(&edge, Relation::Within)
    };
    assert!(within(middle + 1.0));
    assert!(!within(middle - 1.0));
}

#[test]
fn an_edge_of_the_whole_parallel_around_a_pole_is_measured_in_bounded_time() {
    let cap = shape(&json!({"type": "LineString", "coordinates": [[-180.0, 80.0], [180.0, 80.0]]}));
    let metres = geodesic(point(0.0, 90.0), point(0.0, 80.0));
    assert!((cap.distance(point(0.0, 90.0)) - metres).abs() < 1e-2);
    let pole =
        shape(&json!({"type": "LineString", "coordinates": [[-180.0, 90.0], [180.0, 90.0]]}));
    assert!(pole.distance(point(0.0, 90.0)) < 1e-6);
}

#[test]
fn a_line_that_leads_nowhere_is_refused_unless_it_is_stored() {
    let here = json!([[30.0, -2.0], [30.0, -2.0]]);
    for value in [
        json!({"type": "LineString", "coordinates": here}),
        json!({"type": "MultiLineString", "coordinates": [[[0.0, 0.0], [1.0, 1.0]], here]}),
        json!({"type": "GeometryCollection", "geometries": [{"type": "LineString", "coordinates": here}]}),
    ] {
        let error = Shape::from_geojson(&value).unwrap_err();
        assert!(
            matches!(error, ShapeError::TooFewPoints { found: 1, .. }),
            "{error}"
        );
    }
    let mut stored = vec![1, 2, 0, 0, 0, 2, 0, 0, 0];
    for number in [30.0_f64, -2.0, 30.0, -2.0] {
        stored.extend(number.to_le_bytes());
    }
    assert!(Shape::from_wkb(&stored).is_err());
    assert_eq!(Shape::from_stored_wkb(&stored).unwrap().vertices(), 2);
}

#[test]
fn areas_and_lengths_are_geodesic() {
    let cell = polygon(&json!([square(30.0, -2.0, 1.0)])).unwrap();
    // One degree squared near the equator, on the ellipsoid.
    assert!(
        (cell.area_m2() - 1.2302e10).abs() < 1e8,
        "{}",
        cell.area_m2()
    );
    // Whatever way the rings run.
    let (outer, hole) = (square(30.0, -2.0, 1.0), square(30.2, -1.8, 0.5));
    let turned = |ring: &serde_json::Value| {
        let ring = ring.as_array().unwrap();
        serde_json::Value::Array(ring.iter().rev().cloned().collect())
    };
    let wanted = cell.area_m2() - polygon(&json!([hole])).unwrap().area_m2();
    for rings in [
        json!([outer, hole]),
        json!([turned(&outer), hole]),
        json!([outer, turned(&hole)]),
        json!([turned(&outer), turned(&hole)]),
    ] {
        let area = polygon(&rings).unwrap().area_m2();
        assert!((area / wanted - 1.0).abs() < 1e-9, "{rings}: {area}");
    }
    let line = shape(&json!({"type": "LineString", "coordinates": [[0.0, 0.0], [1.0, 0.0]]}));
    assert!((line.length_m() - 111_319.491).abs() < 1e-2);
    assert!(line.area_m2().abs() < f64::MIN_POSITIVE);
}

#[test]
fn regions_that_mean_nothing_are_refused_with_a_reason() {
    let centre = point(0.0, 0.0);
    assert!(matches!(
        Region::bbox(1.0, 0.0, 0.0, 1.0),
        Err(RegionError::Box { .. })
    ));
    assert!(matches!(
        Region::bbox(0.0, 0.0, f64::NAN, 1.0),
        Err(RegionError::Position(_))
    ));
    assert!(matches!(
        Region::radius(centre, -1.0),
        Err(RegionError::Radius { .. })
    ));
    assert!(matches!(
        Region::radius(centre, f64::NAN),
        Err(RegionError::Radius { .. })
    ));
    assert!(matches!(
        Region::cells(Vec::new()),
        Err(RegionError::Cells { .. })
    ));
    let mixed = [Resolution::Two, Resolution::Three]
        .map(CellIndex::first)
        .to_vec();
    assert!(matches!(
        Region::cells(mixed),
        Err(RegionError::MixedCells { .. })
    ));
    let refused = Region::polygon(Arc::new(Shape::from(centre)));
    assert!(matches!(
        refused,
        Err(RegionError::NotAnArea { found: "Point" })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_walk_over_points_meets_those_that_it_does_not_pass_by(
        (points, centre, _) in crowd(), size in 0.0..1.5_f64,
    ) {
        let mut index = SpaceIndex::new();
        for (key, point) in points.iter().enumerate() {
            index.insert(key, &Shape::from(*point));
        }
        let bounds = Bounds {
            west: centre.lon - size,
            south: centre.lat - size,
            east: centre.lon + size,
            north: centre.lat + size,
        };
        let mut found = Vec::new();
        let flow = index.walk_points(&mut found, &|_, others| {
            if bounds.covers(others) {
                Look::Whole
            } else if bounds.overlaps(others) {
                Look::Into
            } else {
                Look::Past
            }
        }, &|found: &mut Vec<usize>, page| {
            assert_eq!(page.len(), page.entries().count());
            let wanted = page.entries().filter(|(_, point)| page.whole || bounds.contains(*point));
            found.extend(wanted.map(|(key, _)| key));
            ControlFlow::Continue(())
        });
        prop_assert!(flow.is_continue());
        found.sort_unstable();
        let expected: Vec<usize> =
            (0..points.len()).filter(|&key| bounds.contains(points[key])).collect();
        prop_assert_eq!(found, expected);
        let mut pages = 0;
        let cut = index.walk_points(&mut pages, &|_, _| Look::Whole, &|pages, _| {
            *pages += 1;
            ControlFlow::Break(())
        });
        prop_assert!(cut.is_break() && pages == 1);
        let all = index.bounds_of_points().unwrap();
        prop_assert!(points.iter().all(|point| all.contains(*point)));
    }

    #[test]
    fn a_radius_is_exact_at_just_below_and_just_above_the_distance_of_a_point(
        (points, centre, _) in crowd(), pick in any::<prop::sample::Index>(),
    ) {
        let shapes: Vec<Shape> = points.iter().map(|p| Shape::from(*p)).collect();
        let metres: Vec<f64> = points.iter().map(|p| geodesic(centre, *p)).collect();
        let index = indexed(&shapes);
        let at = *pick.get(&metres);
        for limit in [at, at.next_down().max(0.0), at.next_up(), at + 1e-6, (at - 1e-6).max(0.0)] {
            let region = Region::radius(centre, limit).unwrap();
            let expected: Vec<usize> =
                (0..shapes.len()).filter(|&k| metres[k] <= limit).collect();
            let found = index.search(&region, Relation::Within, |k| &shapes[k]);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn pages_of_points_answer_as_a_test_of_every_point_while_points_come_and_go(
        (points, centre, region) in crowd(),
        step in 1_usize..9,
        k in 0_usize..40,
    ) {
        let shapes: Vec<Shape> = points.iter().map(|p| Shape::from(*p)).collect();
        let mut pages = Points::default();
        let mut index = indexed(&shapes);
        let whole = index.clone();
        for (key, point) in points.iter().enumerate() {
            pages.insert(key, *point);
            pages.insert(key, *point);
        }
        pages.validate();
        let all = pages.clone();
        for key in (0..points.len()).filter(|key| key % step != 0) {
            pages.remove(key, points[key]);
            pages.remove(key, points[key]);
            index.remove(key, &shapes[key]);
        }
        pages.validate();
        all.validate();
        prop_assert_eq!(pages.len(), points.len().div_ceil(step));
        for (index, step) in [(&whole, 1), (&index, step)] {
            let there = || (0..shapes.len()).step_by(step);
            let expected: Vec<usize> =
                there().filter(|&k| region.matches(&shapes[k], Relation::Intersects)).collect();
            let found = index.search(&region, Relation::Intersects, |k| &shapes[k]);
            prop_assert_eq!(found, expected);
            let mut expected: Vec<(usize, f64)> =
                there().map(|k| (k, geodesic(centre, points[k]))).collect();
            expected.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            keep_nearest(&mut expected, k);
            let found = index.nearest(centre, k, |_| true, |k| &shapes[k]);
            prop_assert_eq!(found, expected);
            let expected: Vec<usize> = there().filter(|&k| points[k] == points[0]).collect();
            prop_assert_eq!(index.containing(points[0], |k| &shapes[k]), expected);
        }
        for key in (0..points.len()).step_by(step) {
            pages.remove(key, points[key]);
        }
        pages.validate();
        prop_assert_eq!(pages.len(), 0);
    }
}

#[test]
fn a_change_of_one_point_copies_one_page_of_each_level() {
    let mut points = Points::default();
    let at = |i: u32| {
        point(
            29.0 + f64::from(i % 100) / 50.0,
            -2.0 + f64::from(i / 100) / 50.0,
        )
    };
    for i in 0..10_000 {
        points.insert(i, at(i));
    }
    // 10,000 points are two levels above the pages; a split or a merger may add one node.
    let before = points.clone();
    points.insert(10_000, at(4_321));
    assert!((1..=4).contains(&points.own_nodes(&before)));
    let before = points.clone();
    points.remove(10_000, at(4_321));
    assert!((1..=4).contains(&points.own_nodes(&before)));
}

#[test]
fn an_empty_index_answers_nothing() {
    let index: SpaceIndex<u32> = SpaceIndex::new();
    let none: BTreeMap<u32, Shape> = BTreeMap::new();
    let p = point(0.0, 0.0);
    let region = Region::radius(p, 1e6).unwrap();
    assert!(
        index
            .search(&region, Relation::Intersects, |k| &none[&k])
            .is_empty()
    );
    assert!(index.containing(p, |k| &none[&k]).is_empty());
    assert!(index.nearest(p, 3, |_| true, |k| &none[&k]).is_empty());
}
