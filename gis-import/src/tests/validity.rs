//! What other people's suites say is valid, and what ours says.
//!
//! The cases of JTS, whose verdicts GEOS shares. They are moved into the range of longitude and latitude by
//! a power of two, which changes no sign of exact arithmetic. What cannot be compared, by rule:
//! - What is empty, or has an empty part, is valid there. Ours refuses it as empty, since it has no place.
//! - A ring by itself is a type there; here it is only the outline of a polygon, and is asked as that.

use std::io::Read as _;
use std::path::Path;

use geo_types::{Coord, Geometry, LineString, Point, Polygon};
use twin_core::space::{Shape, ShapeError};

use super::data;

struct Case {
    text: String,
    valid: bool,
}

/// The cases of a file of JTS: `<a>` holds a geometry, `<op>` what is true of it.
fn cases(path: &Path) -> Vec<Case> {
    let bytes = std::fs::read(path).unwrap();
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    let mut cases = Vec::new();
    for case in text.split("<case>").skip(1) {
        let between = |from: &str, to: &str| {
            let after = case.split_once(from)?.1;
            Some(after.split_once(to)?.0.trim().to_owned())
        };
        let geometry = between("<a>", "</a>").unwrap();
        for op in case.split("<op ").skip(1) {
            let (head, rest) = op.split_once('>').unwrap();
            assert!(head.contains("\"isValid\""), "{head}");
            let verdict = rest.split_once("</op>").unwrap().0.trim();
            cases.push(Case {
                text: geometry.clone(),
                valid: verdict.parse().unwrap(),
            });
        }
    }
    cases
}

/// Well-known text, as far as the cases use it.
struct Text<'t> {
    rest: &'t str,
}

impl<'t> Text<'t> {
    fn word(&mut self) -> &'t str {
        self.rest = self.rest.trim_start();
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn take(&mut self, one: char) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(one);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn list<T>(&mut self, mut member: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut members = Vec::new();
        if !self.take('(') {
            assert_eq!(self.word().to_ascii_uppercase(), "EMPTY", "{}", self.rest);
            return members;
        }
        loop {
            members.push(member(self));
            if self.take(')') {
                return members;
            }
            assert!(self.take(','), "{}", self.rest);
        }
    }

    fn coord(&mut self) -> Coord<f64> {
        let mut number = || self.word().parse::<f64>().unwrap();
        let (x, y) = (number(), number());
        Coord { x, y }
    }

    fn line(&mut self) -> LineString<f64> {
        LineString::new(self.list(Self::coord))
    }

    fn polygon(&mut self) -> Polygon<f64> {
        let mut rings = self.list(Self::line);
        if rings.is_empty() {
            return Polygon::new(LineString::new(Vec::new()), Vec::new());
        }
        let outer = rings.remove(0);
        Polygon::new(outer, rings)
    }

    fn point(&mut self) -> Point<f64> {
        let bracket = self.take('(');
        let point = Point(self.coord());
        assert!(!bracket || self.take(')'));
        point
    }

    fn geometry(&mut self) -> Geometry<f64> {
        match &*self.word().to_ascii_uppercase() {
            "POINT" => match self.list(Self::coord).first() {
                Some(at) => Geometry::Point(Point(*at)),
                None => Geometry::MultiPoint(Vec::<Point<f64>>::new().into()),
            },
            "LINESTRING" => Geometry::LineString(self.line()),
            "LINEARRING" => Geometry::Polygon(Polygon::new(self.line(), Vec::new())),
            "POLYGON" => Geometry::Polygon(self.polygon()),
            "MULTIPOINT" => Geometry::MultiPoint(self.list(Self::point).into()),
            "MULTILINESTRING" => {
                Geometry::MultiLineString(geo_types::MultiLineString(self.list(Self::line)))
            }
            "MULTIPOLYGON" => {
                Geometry::MultiPolygon(geo_types::MultiPolygon(self.list(Self::polygon)))
            }
            "GEOMETRYCOLLECTION" => Geometry::GeometryCollection(geo_types::GeometryCollection(
                self.list(Self::geometry),
            )),
            other => panic!("{other}"),
        }
    }
}

/// The geometry, made so small that it fits the Earth.
fn small(text: &str) -> Geometry<f64> {
    let largest = text
        .split(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c))
        .filter_map(|number| number.parse::<f64>().ok())
        .fold(1.0_f64, |most, number| most.max(number.abs()));
    let scale = 64.0 / 2_f64.powi(largest.log2().ceil() as i32);
    let mut geometry = Text { rest: text }.geometry();
    map(&mut geometry, &|c: &mut Coord<f64>| {
        c.x *= scale;
        c.y *= scale;
    });
    geometry
}

fn map(geometry: &mut Geometry<f64>, change: &impl Fn(&mut Coord<f64>)) {
    let line = |line: &mut LineString<f64>| line.0.iter_mut().for_each(change);
    let polygon = |polygon: &mut Polygon<f64>| {
        polygon.exterior_mut(|ring| line(ring));
        polygon.interiors_mut(|rings| rings.iter_mut().for_each(line));
    };
    match geometry {
        Geometry::Point(point) => change(&mut point.0),
        Geometry::MultiPoint(points) => points.0.iter_mut().for_each(|point| change(&mut point.0)),
        Geometry::LineString(one) => line(one),
        Geometry::MultiLineString(lines) => lines.0.iter_mut().for_each(line),
        Geometry::Polygon(one) => polygon(one),
        Geometry::MultiPolygon(polygons) => polygons.0.iter_mut().for_each(polygon),
        Geometry::GeometryCollection(members) => {
            members.0.iter_mut().for_each(|member| map(member, change));
        }
        _ => {}
    }
}

#[test]
fn the_suites_of_jts_and_ours_agree() {
    let Some(data) = data() else { return };
    let (mut asked, mut empty, mut wrong) = (0, 0, Vec::new());
    for (file, count) in [
        ("jts_TestValid.xml", 87),
        ("jts_TestValid2.xml.gz", 752),
        ("jts_TestInvalidA.xml", 75),
    ] {
        let cases = cases(&data.join("world/broken").join(file));
        assert_eq!(cases.len(), count, "{file}");
        for Case { text, valid } in cases {
            let ours = Shape::from_geo(small(&text));
            if text.to_ascii_uppercase().contains("EMPTY") {
                empty += 1;
                if !matches!(ours, Err(ShapeError::Empty { .. })) {
                    wrong.push(format!("{file}: {text}: not refused as empty"));
                }
                continue;
            }
            asked += 1;
            if ours.is_ok() != valid {
                let said = ours.map_or_else(|error| error.to_string(), |_| "valid".to_owned());
                wrong.push(format!(
                    "{file}: {text} should be valid: {valid}; ours: {said}"
                ));
            }
        }
    }
    println!("{asked} cases compared, {empty} of empty geometry");
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_geos_repairs_is_refused_and_what_comes_of_it_is_not() {
    let Some(data) = data() else { return };
    let text = std::fs::read_to_string(data.join("world/broken/geos_makevalid.xml")).unwrap();
    let mut asked = 0;
    for case in text.split("<case>").skip(1) {
        let repaired = case
            .split_once("<op")
            .and_then(|(_, op)| op.split_once('>'));
        let Some(repaired) = repaired.and_then(|(_, op)| op.split_once("</op>")) else {
            continue;
        };
        let repaired = repaired.0.trim();
        let given = case
            .split_once("<a>")
            .unwrap()
            .1
            .split_once("</a>")
            .unwrap()
            .0;
        if [given, repaired]
            .iter()
            .any(|text| text.to_ascii_uppercase().contains("EMPTY"))
        {
            continue;
        }
        let already = case.contains("already_valid");
        assert_eq!(Shape::from_geo(small(given)).is_ok(), already, "{given}");
        if let Err(error) = Shape::from_geo(small(repaired)) {
            panic!("{repaired}: {error}");
        }
        asked += 1;
    }
    assert!(asked > 5, "{asked}");
}
