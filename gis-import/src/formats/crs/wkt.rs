//! WKT 1 into a PROJ string.
//!
//! # Invariants
//! - Nothing is dropped silently: a projection, a parameter or a meridian that is not known is an error.
//! - A text is at most [`MAX_WKT_BYTES`] and nests at most [`MAX_NESTING`] deep.
//!
//! Read by hand: the crate that does it takes a datum without TOWGS84 as WGS 84, and leaves out the
//! prime meridian and parameters it has no name for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{HOW_TO_GIVE, definition};

/// Most bytes of WKT.
const MAX_WKT_BYTES: usize = 64 << 10;
/// Most levels of brackets.
const MAX_NESTING: usize = 16;

/// What a text of WKT says.
pub(super) struct System {
    pub(super) name: String,
    pub(super) proj: String,
    /// Radians of the unit of angles, 1 for degrees.
    pub(super) radians: f64,
    /// Metres of the unit of heights.
    pub(super) height: f64,
}

/// Geographic systems that programs of Esri write without saying how they lie to WGS 84, by name
/// without `GCS_`, with the code whose definition says it.
const KNOWN_DATUMS: [(&str, u32); 16] = [
    ("ADINDAN", 4201),
    ("AMERSFOORT", 4289),
    ("ARC_1950", 4209),
    ("ARC_1960", 4210),
    ("BELGE_1972", 4313),
    ("CAPE", 4222),
    ("CH1903", 4149),
    ("CH1903+", 4150),
    ("DEUTSCHES_HAUPTDREIECKSNETZ", 4314),
    ("EUROPEAN_1950", 4230),
    ("MGI", 4312),
    ("MONTE_MARIO", 4265),
    ("MINNA", 4263),
    ("OSGB_1936", 4277),
    ("PULKOVO_1942", 4284),
    ("TOKYO", 4301),
];

/// Whether an ellipsoid is that of GRS 80 or WGS 84, whose datums lie within a metre or two.
pub(super) fn is_modern(a: f64, rf: f64) -> bool {
    (a - 6_378_137.0).abs() < 0.01 && (298.257_22..298.257_23).contains(&rf)
}

pub(super) fn read(text: &str) -> Result<System, String> {
    let root = parse(text).map_err(|reason| {
        format!("the text of the coordinate system is not WKT 1: {reason}; {HOW_TO_GIVE}")
    })?;
    system(&root).map_err(|reason| {
        format!(
            "the coordinate system {} {reason}; {HOW_TO_GIVE}",
            root.title()
        )
    })
}

fn system(root: &Node<'_>) -> Result<System, String> {
    let (flat, height) = if root.is("COMPD_CS") {
        let flat = root.children().find(|n| n.is("PROJCS") || n.is("GEOGCS"));
        let up = root.child("VERT_CS").and_then(|node| node.child("UNIT"));
        let height = up.and_then(|unit| unit.number(0)).unwrap_or(1.0);
        (flat.ok_or("has no horizontal part")?, height)
    } else {
        (root, 1.0)
    };
    if !(height.is_finite() && height > 0.0) {
        return Err("has a unit of heights that is none".to_owned());
    }
    let geographic = match &*flat.name {
        "GEOGCS" => flat,
        "PROJCS" => flat.child("GEOGCS").ok_or("says no GEOGCS")?,
        "GEOGCRS" | "GEODCRS" | "PROJCRS" | "COMPOUNDCRS" | "BOUNDCRS" => {
            return Err("is written in WKT 2, and only WKT 1 is read".to_owned());
        }
        other => return Err(format!("is a {other}, which has no place on Earth")),
    };
    let unit = geographic.child("UNIT").and_then(|unit| unit.number(0));
    let unit = unit.unwrap_or(1_f64.to_radians());
    if !(unit.is_finite() && unit > 0.0) {
        return Err("has a unit of angles that is none".to_owned());
    }
    // Written by hand, a degree has many values of which all mean one.
    let radians = if (unit / 1_f64.to_radians() - 1.0).abs() < 1e-6 {
        1.0
    } else {
        unit
    };
    let degrees = if radians == 1.0 {
        1.0
    } else {
        radians.to_degrees()
    };
    let system = |proj: String| System {
        name: flat.title().to_owned(),
        proj,
        radians,
        height,
    };
    if let Some(known) = flat.code().and_then(definition) {
        return Ok(system(known.to_owned()));
    }
    let mut proj = if std::ptr::eq(flat, geographic) {
        "+proj=longlat".to_owned()
    } else {
        projected(flat, degrees)?
    };
    datum(geographic, &mut proj)?;
    let meridian = geographic
        .child("PRIMEM")
        .and_then(|node| node.number(0))
        .unwrap_or(0.0);
    if meridian != 0.0 {
        write!(proj, " +pm={}", meridian * degrees).ok();
    }
    axes(flat, &mut proj)?;
    proj.push_str(" +no_defs");
    Ok(system(proj))
}

/// Axes that run east and north need no word, in either order: files have the eastward one first.
fn axes(flat: &Node<'_>, proj: &mut String) -> Result<(), String> {
    let toward = |axis: &Node<'_>| match axis.parts.get(1) {
        Some(Part::Word(word)) => word.to_ascii_uppercase(),
        _ => String::new(),
    };
    let axes: Vec<String> = flat
        .children()
        .filter(|node| node.is("AXIS"))
        .map(toward)
        .collect();
    let axes: Vec<&str> = axes.iter().map(String::as_str).collect();
    match axes[..] {
        ["WEST", "SOUTH", ..] | ["SOUTH", "WEST", ..] => proj.push_str(" +axis=wsu"),
        _ if axes.iter().any(|axis| matches!(*axis, "WEST" | "SOUTH")) => {
            return Err(format!("has axes toward {}", axes.join(" and ")));
        }
        _ => {}
    }
    Ok(())
}

/// Ellipsoid and the way to WGS 84.
fn datum(geographic: &Node<'_>, proj: &mut String) -> Result<(), String> {
    let datum = geographic.child("DATUM").ok_or("says no DATUM")?;
    let spheroid = datum.child("SPHEROID").ok_or("says no SPHEROID")?;
    let (Some(a), Some(rf)) = (spheroid.number(0), spheroid.number(1)) else {
        return Err("has a SPHEROID without its two numbers".to_owned());
    };
    write!(proj, " +a={a}").ok();
    if rf == 0.0 {
        write!(proj, " +b={a}").ok();
    } else {
        write!(proj, " +rf={rf}").ok();
    }
    if let Some(shift) = datum.child("TOWGS84") {
        let numbers: Vec<String> = shift.numbers().map(|n| n.to_string()).collect();
        if numbers.len() != 3 && numbers.len() != 7 {
            return Err("has a TOWGS84 that is not of 3 or 7 numbers".to_owned());
        }
        write!(proj, " +towgs84={}", numbers.join(",")).ok();
        return Ok(());
    }
    if is_modern(a, rf) {
        proj.push_str(" +towgs84=0,0,0");
        return Ok(());
    }
    let name = geographic.title().to_ascii_uppercase().replace(' ', "_");
    let name = name.strip_prefix("GCS_").unwrap_or(&name);
    let known = KNOWN_DATUMS.iter().find(|(known, _)| *known == name);
    let known = known.map(|(_, code)| *code).or_else(|| geographic.code());
    let shift = known.and_then(definition).and_then(|known| {
        known
            .split_whitespace()
            .find(|part| part.starts_with("+towgs84="))
    });
    match shift {
        Some(shift) => {
            write!(proj, " {shift}").ok();
            Ok(())
        }
        None => Err(
            "does not say how its datum lies to WGS 84 (TOWGS84), so that positions may be wrong by hundreds of metres"
                .to_owned(),
        ),
    }
}

/// Parameters by name, taken out as they are used: what is left over was not understood.
struct Parameters {
    left: BTreeMap<String, f64>,
    degrees: f64,
    metres: f64,
}

impl Parameters {
    fn take(&mut self, names: &[&str]) -> Option<f64> {
        names.iter().find_map(|name| self.left.remove(*name))
    }

    fn angle(&mut self, out: &mut String, key: &str, names: &[&str]) {
        let degrees = self.degrees;
        if let Some(value) = self.take(names) {
            write!(out, " +{key}={}", value * degrees).ok();
        }
    }

    fn scale(&mut self, out: &mut String) {
        if let Some(value) = self.take(&["scale_factor"]) {
            write!(out, " +k_0={value} +k={value}").ok();
        }
    }
}

const LAT_0: [&str; 3] = [
    "latitude_of_origin",
    "latitude_of_center",
    "central_parallel",
];
const LON_0: [&str; 3] = [
    "central_meridian",
    "longitude_of_center",
    "longitude_of_origin",
];
const LAT_1: [&str; 1] = ["standard_parallel_1"];
const LAT_2: [&str; 1] = ["standard_parallel_2"];

fn projected(flat: &Node<'_>, degrees: f64) -> Result<String, String> {
    let method = flat.child("PROJECTION").ok_or("says no PROJECTION")?;
    let method = method.title().to_ascii_lowercase().replace(' ', "_");
    let metres = flat
        .child("UNIT")
        .and_then(|unit| unit.number(0))
        .ok_or("says no UNIT")?;
    if !(metres.is_finite() && metres > 0.0) {
        return Err("has a UNIT that is none".to_owned());
    }
    let mut left = BTreeMap::new();
    for node in flat.children().filter(|node| node.is("PARAMETER")) {
        let name = node.title().to_ascii_lowercase().replace(' ', "_");
        let value = node.number(0).ok_or("has a PARAMETER without a number")?;
        left.insert(name, value);
    }
    let mut given = Parameters {
        left,
        degrees,
        metres,
    };
    let mut out = String::new();
    match &*method {
        "transverse_mercator" | "gauss_kruger" => {
            out.push_str("+proj=tmerc");
            given.angle(&mut out, "lat_0", &LAT_0);
            given.scale(&mut out);
        }
        "lambert_conformal_conic"
        | "lambert_conformal_conic_1sp"
        | "lambert_conformal_conic_2sp" => {
            out.push_str("+proj=lcc");
            if given.left.contains_key("standard_parallel_1") {
                given.angle(&mut out, "lat_1", &LAT_1);
                given.angle(&mut out, "lat_2", &LAT_2);
            } else if let Some(lat) = given.left.get("latitude_of_origin") {
                write!(out, " +lat_1={}", lat * degrees).ok();
            }
            given.angle(&mut out, "lat_0", &LAT_0);
            given.scale(&mut out);
        }
        "albers" | "albers_conic_equal_area" => {
            out.push_str("+proj=aea");
            given.angle(&mut out, "lat_1", &LAT_1);
            given.angle(&mut out, "lat_2", &LAT_2);
            given.angle(&mut out, "lat_0", &LAT_0);
        }
        "lambert_azimuthal_equal_area" => {
            out.push_str("+proj=laea");
            given.angle(&mut out, "lat_0", &LAT_0);
        }
        "mercator" | "mercator_1sp" | "mercator_2sp" => {
            out.push_str("+proj=merc");
            given.angle(&mut out, "lat_ts", &LAT_1);
            // The origin of a Mercator is the equator; some programs say so.
            if given.left.get("latitude_of_origin") == Some(&0.0) {
                given.left.remove("latitude_of_origin");
            }
            given.scale(&mut out);
        }
        "mercator_auxiliary_sphere" => {
            out.push_str("+proj=webmerc");
            for name in ["auxiliary_sphere_type", "standard_parallel_1"] {
                if given.left.get(name) == Some(&0.0) {
                    given.left.remove(name);
                }
            }
        }
        "oblique_stereographic" | "double_stereographic" => {
            out.push_str("+proj=sterea");
            given.angle(&mut out, "lat_0", &LAT_0);
            given.scale(&mut out);
        }
        "polar_stereographic" | "stereographic_north_pole" | "stereographic_south_pole" => {
            let parallel = given.take(&["standard_parallel_1", "latitude_of_origin"]);
            let parallel = parallel.ok_or("says no latitude")? * degrees;
            let pole = if parallel < 0.0 { -90 } else { 90 };
            write!(out, "+proj=stere +lat_0={pole} +lat_ts={parallel}").ok();
            given.scale(&mut out);
        }
        "swiss_oblique_cylindrical" => {
            out.push_str("+proj=somerc");
            given.angle(&mut out, "lat_0", &LAT_0);
            given.scale(&mut out);
        }
        "hotine_oblique_mercator_azimuth_center" if swiss(&given.left) => {
            out.push_str("+proj=somerc");
            given.take(&["azimuth"]);
            given.take(&["rectified_grid_angle"]);
            given.angle(&mut out, "lat_0", &LAT_0);
            given.scale(&mut out);
        }
        "equidistant_cylindrical" | "equirectangular" | "plate_carree" => {
            out.push_str("+proj=eqc");
            given.angle(&mut out, "lat_ts", &LAT_1);
            given.angle(&mut out, "lat_0", &LAT_0);
        }
        "cylindrical_equal_area" => {
            out.push_str("+proj=cea");
            given.angle(&mut out, "lat_ts", &LAT_1);
        }
        other => {
            return Err(format!(
                "uses the projection {other}, which is not known here"
            ));
        }
    }
    given.angle(&mut out, "lon_0", &LON_0);
    for (key, name) in [("x_0", "false_easting"), ("y_0", "false_northing")] {
        if let Some(value) = given.take(&[name]) {
            write!(out, " +{key}={}", value * given.metres).ok();
        }
    }
    if let Some((name, value)) = given.left.first_key_value() {
        return Err(format!(
            "gives its projection {method} a {name} of {value}, which is not known here"
        ));
    }
    write!(out, " +to_meter={metres}").ok();
    Ok(out)
}

/// Whether an oblique Mercator is the one of Switzerland.
fn swiss(given: &BTreeMap<String, f64>) -> bool {
    let right = |name: &str| {
        given
            .get(name)
            .is_none_or(|angle| (angle - 90.0).abs() < 1e-9)
    };
    given.contains_key("azimuth") && right("azimuth") && right("rectified_grid_angle")
}

/// `NAME["title", 1, CHILD[…]]`
#[derive(Debug)]
struct Node<'t> {
    /// In capitals.
    name: String,
    parts: Vec<Part<'t>>,
}

#[derive(Debug)]
enum Part<'t> {
    Text(&'t str),
    Number(f64),
    Word(&'t str),
    Node(Node<'t>),
}

impl<'t> Node<'t> {
    fn is(&self, name: &str) -> bool {
        self.name == name
    }

    fn children(&self) -> impl Iterator<Item = &Node<'t>> {
        self.parts.iter().filter_map(|part| match part {
            Part::Node(node) => Some(node),
            _ => None,
        })
    }

    fn child(&self, name: &str) -> Option<&Node<'t>> {
        self.children().find(|node| node.is(name))
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        self.parts.iter().filter_map(|part| match part {
            Part::Number(number) => Some(*number),
            _ => None,
        })
    }

    fn number(&self, index: usize) -> Option<f64> {
        self.numbers().nth(index)
    }

    fn title(&self) -> &'t str {
        let text = self.parts.iter().find_map(|part| match part {
            Part::Text(text) => Some(*text),
            _ => None,
        });
        text.unwrap_or("without a name")
    }

    /// The code that EPSG gives it.
    fn code(&self) -> Option<u32> {
        let authority = self.child("AUTHORITY")?;
        let mut texts = authority.parts.iter();
        match (texts.next()?, texts.next()?) {
            (Part::Text(register), Part::Text(code)) if register.eq_ignore_ascii_case("EPSG") => {
                code.trim().parse().ok()
            }
            (Part::Text(register), Part::Number(code))
                if register.eq_ignore_ascii_case("EPSG") && code.fract() == 0.0 =>
            {
                Some(*code as u32)
            }
            _ => None,
        }
    }
}

fn parse(text: &str) -> Result<Node<'_>, String> {
    if text.len() > MAX_WKT_BYTES {
        return Err(format!(
            "it has more than the limit of {MAX_WKT_BYTES} bytes"
        ));
    }
    let mut parser = Parser {
        rest: text.trim_start_matches('\u{feff}').trim(),
    };
    let word = parser.word();
    if word.is_empty() {
        return Err("it begins with no name".to_owned());
    }
    let root = parser.node(word, 0)?;
    match parser.rest.trim_matches(['\0', ' ', '\n', '\r', '\t']) {
        "" => Ok(root),
        _ => Err("something follows its end".to_owned()),
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn take(&mut self, one: char) -> bool {
        match self.rest.trim_start().strip_prefix(one) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn split(&mut self, at: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at_checked(at).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn word(&mut self) -> &'t str {
        self.rest = self.rest.trim_start();
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "_+-.".contains(c)));
        self.split(end.unwrap_or(self.rest.len()))
    }

    /// A node whose name was read.
    fn node(&mut self, name: &str, depth: usize) -> Result<Node<'t>, String> {
        if depth >= MAX_NESTING {
            return Err(format!("it nests deeper than {MAX_NESTING} levels"));
        }
        let close = if self.take('[') {
            ']'
        } else if self.take('(') {
            ')'
        } else {
            return Err(format!("no bracket follows {name}"));
        };
        let mut parts = Vec::new();
        loop {
            parts.push(self.part(depth)?);
            if self.take(close) {
                return Ok(Node {
                    name: name.to_ascii_uppercase(),
                    parts,
                });
            }
            if !self.take(',') {
                return Err(format!("{name} is not closed"));
            }
        }
    }

    fn part(&mut self, depth: usize) -> Result<Part<'t>, String> {
        if self.take('"') {
            let end = self.rest.find('"').ok_or("a quote is not closed")?;
            let text = self.split(end);
            self.take('"');
            return Ok(Part::Text(text));
        }
        let word = self.word();
        if word.is_empty() {
            return Err("a value is missing".to_owned());
        }
        if let Ok(number) = word.parse::<f64>()
            && number.is_finite()
            && !word.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            return Ok(Part::Number(number));
        }
        match self.rest.trim_start().chars().next() {
            Some('[' | '(') => self.node(word, depth + 1).map(Part::Node),
            _ => Ok(Part::Word(word)),
        }
    }
}
