//! Models of solids that are written here, read back and measured.

use proptest::prelude::*;
use serde_json::Value;
use twin_core::space::{Position, Solid, Surface};

use super::cut::{Cut, cut};
use super::draw;
use super::frame::Frame;
use crate::mend;

/// What a model holds, read without the writer's help.
struct Model {
    json: Value,
    bin: Vec<u8>,
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn read(glb: &[u8]) -> Model {
    assert_eq!(&glb[..4], b"glTF");
    assert_eq!((number(glb, 4), number(glb, 8) as usize), (2, glb.len()));
    let length = number(glb, 12) as usize;
    assert_eq!(&glb[16..20], b"JSON");
    let json = serde_json::from_slice(&glb[20..20 + length]).unwrap();
    let rest = &glb[20 + length..];
    assert_eq!(
        (number(rest, 0) as usize, &rest[4..8]),
        (rest.len() - 8, &b"BIN\0"[..])
    );
    Model {
        json,
        bin: rest[8..].to_vec(),
    }
}

impl Model {
    /// The bytes of an accessor.
    fn bytes(&self, accessor: &Value) -> &[u8] {
        let accessor = &self.json["accessors"][accessor.as_u64().unwrap() as usize];
        let view = &self.json["bufferViews"][accessor["bufferView"].as_u64().unwrap() as usize];
        let [start, length] =
            ["byteOffset", "byteLength"].map(|key| view[key].as_u64().unwrap() as usize);
        assert_eq!(start % 4, 0);
        &self.bin[start..start + length]
    }

    fn vectors(&self, accessor: &Value) -> Vec<[f64; 3]> {
        let floats = self
            .bytes(accessor)
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        let floats: Vec<f64> = floats.map(f64::from).collect();
        floats.chunks(3).map(|v| [v[0], v[1], v[2]]).collect()
    }

    /// The triangles of a kind of surface, each with the normal of its first corner.
    fn triangles(&self, surface: &str) -> Vec<([[f64; 3]; 3], [f64; 3])> {
        let primitives = self.json["meshes"][0]["primitives"].as_array().unwrap();
        let Some(primitive) = primitives
            .iter()
            .find(|p| p["extras"]["surface"] == surface)
        else {
            return Vec::new();
        };
        let positions = self.vectors(&primitive["attributes"]["POSITION"]);
        let normals = self.vectors(&primitive["attributes"]["NORMAL"]);
        assert_eq!(positions.len(), normals.len());
        let indices = self.bytes(&primitive["indices"]).chunks(4);
        let indices: Vec<usize> = indices.map(|b| number(b, 0) as usize).collect();
        indices
            .chunks(3)
            .map(|t| ([0, 1, 2].map(|k| positions[t[k]]), normals[t[0]]))
            .collect()
    }
}

fn cross([a, b, c]: [[f64; 3]; 3]) -> [f64; 3] {
    let u = [0, 1, 2].map(|k| b[k] - a[k]);
    let v = [0, 1, 2].map(|k| c[k] - a[k]);
    [
        u[1] * v[2] - u[2] * v[1],
        u[2] * v[0] - u[0] * v[2],
        u[0] * v[1] - u[1] * v[0],
    ]
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|k| a[k] * b[k]).sum()
}

/// A house of 0.0002 by 0.0001 degrees, 10 m high with a saddle roof, with a court in it where asked.
fn house(court: bool) -> Vec<(Surface, Vec<Vec<Position>>)> {
    let (w, e, s, n) = (4.37, 4.3702, 52.01, 52.0101);
    let m = f64::midpoint(s, n);
    let mut ground = vec![vec![[w, s, 1.0], [w, n, 1.0], [e, n, 1.0], [e, s, 1.0]]];
    if court {
        let (a, b, c, d) = (4.37005, 4.37015, 52.01003, 52.01007);
        ground.push(vec![[a, c, 1.0], [b, c, 1.0], [b, d, 1.0], [a, d, 1.0]]);
    }
    vec![
        (Surface::Ground, ground),
        (
            Surface::Wall,
            vec![vec![[w, s, 1.0], [e, s, 1.0], [e, s, 8.0], [w, s, 8.0]]],
        ),
        (
            Surface::Wall,
            vec![vec![[e, n, 1.0], [w, n, 1.0], [w, n, 8.0], [e, n, 8.0]]],
        ),
        (
            Surface::Wall,
            vec![vec![
                [e, s, 1.0],
                [e, n, 1.0],
                [e, n, 8.0],
                [e, m, 11.0],
                [e, s, 8.0],
            ]],
        ),
        (
            Surface::Wall,
            vec![vec![
                [w, n, 1.0],
                [w, s, 1.0],
                [w, s, 8.0],
                [w, m, 11.0],
                [w, n, 8.0],
            ]],
        ),
        (
            Surface::Roof,
            vec![vec![[w, s, 8.0], [e, s, 8.0], [e, m, 11.0], [w, m, 11.0]]],
        ),
        (
            Surface::Roof,
            vec![vec![[w, m, 11.0], [e, m, 11.0], [e, n, 8.0], [w, n, 8.0]]],
        ),
    ]
}

#[test]
fn a_house_is_whole_and_looks_outward() {
    let solid = Solid::new(house(false)).unwrap();
    let glb = draw("bag:1", "Building", &solid).unwrap();
    assert_eq!(
        glb,
        draw("bag:1", "Building", &solid).unwrap(),
        "the same solid gives the same bytes"
    );
    let model = read(&glb);
    let extras = &model.json["nodes"][0]["extras"];
    assert_eq!(
        (&extras["id"], &extras["class"]),
        (&"bag:1".into(), &"Building".into())
    );
    assert_eq!(extras["origin"]["height"], 1.0);
    assert!((extras["origin"]["lon"].as_f64().unwrap() - 4.3701).abs() < 1e-12);
    assert_eq!(
        model.json["materials"].as_array().unwrap().len(),
        3,
        "no other surface is there"
    );
    let mut volume = 0.0;
    for surface in Surface::ALL {
        for (triangle, normal) in model.triangles(surface.name()) {
            let area = cross(triangle);
            let length = dot(area, area).sqrt();
            assert!((dot(normal, normal).sqrt() - 1.0).abs() < 1e-6);
            assert!(
                dot(area, normal) / length > 0.9999,
                "a triangle looks as its face does"
            );
            volume += dot(triangle[0], area) / 6.0;
            match surface {
                Surface::Ground => assert!(normal[1] < -0.999),
                Surface::Roof => assert!(normal[1] > 0.5),
                _ => assert!(normal[1].abs() < 1e-3),
            }
        }
    }
    // 13.73 m by 11.13 m at this latitude; 7 m of walls and half of 3 m of roof.
    let expected = 13.733 * 11.127 * 8.5;
    assert!((volume - expected).abs() < 1.0, "{volume} {expected}");
    // x is east, y is up, z is south. Beside its middle the ground is some micrometres lower.
    let walls = model.triangles("wall");
    let south = walls.iter().filter(|(_, normal)| normal[2] > 0.99);
    assert!(south.clone().count() == 2);
    for (triangle, _) in south {
        assert!(
            triangle
                .iter()
                .all(|[_, up, south]| (-0.01..=7.01).contains(up) && *south > 5.5)
        );
    }
}

#[test]
fn a_court_stays_open() {
    let area = |court| {
        let model = read(&draw("b", "B", &Solid::new(house(court)).unwrap()).unwrap());
        let ground = model.triangles("ground");
        ground
            .iter()
            .map(|(t, _)| dot(cross(*t), cross(*t)).sqrt() / 2.0)
            .sum::<f64>()
    };
    let (whole, open) = (area(false), area(true));
    assert!((open / whole - 0.8).abs() < 1e-3, "{open} of {whole}");
}

#[test]
fn what_has_no_area_is_left_out_or_told() {
    let thin = (
        Surface::Wall,
        vec![vec![[4.0, 52.0, 0.0], [4.0, 52.0, 3.0], [4.0, 52.0, 6.0]]],
    );
    let fault = draw("b:1", "B", &Solid::new([thin.clone()]).unwrap()).unwrap_err();
    assert!(fault.message.contains("`b:1`"), "{fault}");
    let mut faces = house(false);
    faces.push(thin);
    let model = read(&draw("b", "B", &Solid::new(faces).unwrap()).unwrap());
    assert_eq!(model.triangles("wall").len(), 2 + 2 + 3 + 3);
}

#[test]
fn what_is_too_much_names_its_limit() {
    let ring = |corners: usize| -> Vec<Position> {
        let angle = |k: usize| std::f64::consts::TAU * k as f64 / corners as f64;
        (0..corners)
            .map(|k| {
                [
                    4.0 + 0.01 * angle(k).cos(),
                    52.0 + 0.01 * angle(k).sin(),
                    0.0,
                ]
            })
            .collect()
    };
    let many = crate::limits::MAX_MODEL_FACE_CORNERS + 1;
    let fault = draw(
        "b",
        "B",
        &Solid::new([(Surface::Roof, vec![ring(many)])]).unwrap(),
    )
    .unwrap_err();
    assert!(fault.message.contains("MAX_MODEL_FACE_CORNERS"), "{fault}");
    let faces =
        (0..=crate::limits::MAX_MODEL_CORNERS / 4_096).map(|_| (Surface::Roof, vec![ring(4_096)]));
    let fault = draw("b", "B", &Solid::new(faces).unwrap()).unwrap_err();
    assert!(fault.message.contains("MAX_MODEL_CORNERS"), "{fault}");
    let high = vec![[4.0, 52.0, 0.0], [4.1, 52.0, 0.0], [4.1, 52.0, 1e300]];
    let solid = Solid::new([(Surface::Wall, vec![high])]).unwrap();
    let fault = draw("b", "B", &solid).unwrap_err();
    assert!(fault.message.contains("MAX_MODEL_METRES"), "{fault}");
}

#[test]
fn metres_are_those_of_the_ellipsoid() {
    // A thousandth of a degree each way at 52 degrees north: 68.68 m by 111.27 m.
    let frame = Frame::around(&[[4.0, 52.0, -2.0], [4.001, 52.001, 10.0]]);
    let [[w, s, low], [e, n, high]] =
        [[4.0, 52.0, -2.0], [4.001, 52.001, 10.0]].map(|at| frame.local(at));
    assert!((e - w - 68.68).abs() < 0.02, "{}", e - w);
    assert!((n - s - 111.27).abs() < 0.02, "{}", n - s);
    assert!((high - low - 12.0).abs() < 0.001, "{}", high - low);
    assert!(low.abs() < 0.001);
}

/// A star around a centre in a plane that may stand any way.
fn star(spokes: &[f64], scale: f64) -> Vec<[f64; 2]> {
    let n = spokes.len() as f64;
    let angle = |k: usize| std::f64::consts::TAU * k as f64 / n;
    let corner = |(k, r): (usize, &f64)| [scale * r * angle(k).cos(), scale * r * angle(k).sin()];
    spokes.iter().enumerate().map(corner).collect()
}

fn flat_area(ring: &[[f64; 2]]) -> f64 {
    let next = ring.iter().cycle().skip(1);
    ring.iter()
        .zip(next)
        .map(|(a, b)| a[0] * b[1] - b[0] * a[1])
        .sum::<f64>()
        / 2.0
}

proptest! {
    #[test]
    fn triangles_cover_what_their_face_covers(
        outer in prop::collection::vec(0.4..1.0_f64, 3..60),
        holes in prop::collection::vec(prop::collection::vec(0.2..1.0_f64, 3..12), 0..4),
        turned in any::<bool>(), tilt in (-3.2..3.2_f64, -3.2..3.2_f64), size in 0.5..500.0_f64,
    ) {
        let outer = star(&outer, size);
        // Holes side by side near the centre, which every star of these spokes holds.
        let holes: Vec<Vec<[f64; 2]>> = holes.iter().enumerate().map(|(k, hole)| {
            let angle = std::f64::consts::TAU * k as f64 / 4.0;
            let mut hole: Vec<[f64; 2]> = star(hole, size * 0.03).into_iter()
                .map(|[x, y]| [x + 0.07 * size * angle.cos(), y + 0.07 * size * angle.sin()]).collect();
            if turned { hole.reverse(); }
            hole
        }).collect();
        let expected = flat_area(&outer) - holes.iter().map(|h| flat_area(h).abs()).sum::<f64>();
        let (a, b) = (tilt.0.sin_cos(), tilt.1.sin_cos());
        let raised = |ring: &Vec<[f64; 2]>| -> Vec<[f64; 3]> {
            ring.iter().map(|[x, y]| {
                let (y, z) = (y * a.1, y * a.0);
                [x * b.1 - z * b.0 + 30.0, y - 20.0, x * b.0 + z * b.1 + 5.0]
            }).collect()
        };
        let rings: Vec<Vec<[f64; 3]>> = std::iter::once(&outer).chain(&holes).map(raised).collect();
        // A triangle's sides come near its centre, where the holes are.
        prop_assume!(outer.len() > 5 || holes.is_empty());
        let Cut { normal, places: corners, triangles } = cut(&rings).unwrap();
        prop_assert_eq!(&corners, &rings.concat());
        let mut area = 0.0;
        for triangle in triangles {
            let double = cross(triangle.map(|k| corners[k as usize]));
            prop_assert!(dot(double, normal) > 0.0);
            area += dot(double, normal) / 2.0;
        }
        prop_assert!((area - expected).abs() <= 1e-9 * expected.max(1.0), "{} {}", area, expected);
    }

    #[test]
    fn a_face_whose_rings_cross_is_what_an_odd_number_of_them_goes_around(
        rings in prop::collection::vec(prop::collection::vec((0_u8..6, 0_u8..6), 3..24), 1..4),
    ) {
        let raised = |(x, y): &(u8, u8)| [f64::from(*x), f64::from(*y), 3.0];
        let rings: Vec<Vec<[f64; 3]>> =
            rings.iter().map(|ring| ring.iter().map(raised).collect()).collect();
        if let Some(Cut { normal, places, triangles }) = cut(&rings) {
            let mut covered = 0.0;
            for triangle in triangles {
                let double = cross(triangle.map(|k| places[k as usize]));
                // A step wide, its area is lost in rounding.
                prop_assert!(dot(double, normal) > -1e-9);
                covered += dot(double, normal) / 2.0;
            }
            let rings: Vec<mend::Ring> = rings
                .iter()
                .map(|ring| ring.iter().map(|at| [at[0] as i32 * 1_000, at[1] as i32 * 1_000]).collect())
                .collect();
            let polygons = mend::polygons(rings).unwrap();
            let expected = polygons.iter().flatten().map(|ring| mend::area(ring)).sum::<i64>();
            let expected = expected as f64 / 2e6;
            prop_assert!((covered - expected).abs() < 0.01, "{} {}", covered, expected);
        }
    }
}
