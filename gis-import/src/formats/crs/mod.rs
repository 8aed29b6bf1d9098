//! Coordinate reference systems into WGS 84 longitude and latitude.
//!
//! # Invariants
//! - What leaves is longitude and latitude of WGS 84 in degrees, or an error: a position that the
//!   system cannot mean is never guessed.
//! - A datum whose shift to WGS 84 is not known is refused, never taken as none.
//! - The first number of a position counts eastward and the second northward, as files of geographic
//!   programs have them, whatever order the register of EPSG gives to the axes.
//! - Heights pass as they are, in metres: there are no vertical transformations.
//!
//! How exact: against PROJ 9.5 without grids the positions agree to 1 mm for UTM, LV95, Lambert-93 and
//! Web Mercator, to 1 cm for RD New. PROJ itself rates such shifts of older national datums at about
//! 1 m, because a correction grid is left out; datums on the ellipsoids of GRS 80 and WGS 84 (ETRS89,
//! NAD83, ITRF) are taken as WGS 84, as is usual, which is good to 1 or 2 m.

mod wkt;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr as _;

use proj4rs::Proj;

/// WGS 84 as longitude and latitude, its three-dimensional form and what stands for it on the web.
const WGS84_CODES: [u32; 2] = [4326, 4979];
/// Codes by which programs called Web Mercator before EPSG had one.
const WEB_MERCATOR_ALIASES: [u32; 4] = [900_913, 102_100, 102_113, 3785];
const WEB_MERCATOR: u16 = 3857;
/// How far a position may be from itself after the way to WGS 84 and back, in units of the system.
const MAX_ROUND_TRIP: f64 = 0.02;
/// The same in radians, for systems in degrees: less than a centimetre.
const MAX_ROUND_TRIP_RADIANS: f64 = 1e-9;
/// How far beyond the end of the Earth a position may be by rounding, in degrees: a tenth of a millimetre.
const ROUNDING: f64 = 1e-9;
/// Below this a false easting says nothing about what positions look like.
const FAR_FROM_ORIGIN: f64 = 10_000.0;

/// How to give a system where a file does not.
pub(crate) const HOW_TO_GIVE: &str = "say it: --crs EPSG:… where it is imported, or crs = \"EPSG:…\" in [[file]] of the mapping; or transform the file with ogr2ogr -t_srs OGC:CRS84";

/// A coordinate reference system.
#[derive(Clone)]
pub struct Crs {
    /// What it is called, for messages.
    name: String,
    /// `None` for longitude and latitude of WGS 84: nothing is to be done.
    way: Option<Box<Way>>,
    /// Metres of one unit of height.
    height: f64,
}

#[derive(Clone)]
struct Way {
    from: Proj,
    to: Proj,
    /// Whether positions are angles, and how many radians one of their units has.
    angle: Option<f64>,
    /// Whether degrees would be far outside.
    far: bool,
}

impl fmt::Debug for Crs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crs")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Crs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Crs {
    /// Longitude and latitude of WGS 84.
    pub(crate) fn wgs84() -> Self {
        Self {
            name: "WGS 84".to_owned(),
            way: None,
            height: 1.0,
        }
    }

    /// Reads a system as people and files write it: `EPSG:2056`, `urn:ogc:def:crs:EPSG::2056`,
    /// `OGC:CRS84`, a PROJ string or WKT 1.
    ///
    /// # Errors
    /// What is not understood, and how to give it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with('+') {
            return Self::from_proj(text, text, 1.0);
        }
        if text.contains(['[', '(']) {
            return Self::from_wkt(text);
        }
        let upper = text.to_ascii_uppercase();
        if upper.ends_with("CRS84") || upper == "WGS84" || upper == "WGS 84" {
            return Ok(Self::wgs84());
        }
        let code = upper.rsplit([':', '/']).next().unwrap_or_default();
        match code.parse() {
            Ok(code) if upper.contains("EPSG") => Self::from_epsg(code),
            _ => Err(format!(
                "`{}` names no coordinate system; {HOW_TO_GIVE}",
                short(text)
            )),
        }
    }

    /// The system of a code in the register of EPSG.
    pub(crate) fn from_epsg(code: u32) -> Result<Self, String> {
        if WGS84_CODES.contains(&code) {
            return Ok(Self::wgs84());
        }
        let name = format!("EPSG:{code}");
        match definition(code) {
            Some(definition) => Self::from_proj(&name, definition, 1.0),
            None => Err(format!(
                "{name} is not a coordinate system that is known here; {HOW_TO_GIVE}, or give a PROJ string, crs = \"+proj=…\""
            )),
        }
    }

    /// The system of WKT 1, as it stands in `.prj` files.
    pub(crate) fn from_wkt(text: &str) -> Result<Self, String> {
        let wkt::System {
            name,
            proj,
            radians,
            height,
        } = wkt::read(text)?;
        let mut crs = Self::from_proj(&name, &proj, radians)?;
        crs.height *= height;
        Ok(crs)
    }

    fn from_proj(name: &str, text: &str, radians: f64) -> Result<Self, String> {
        let refuse = |reason: String| {
            Err(format!(
                "the coordinate system {} {reason}; {HOW_TO_GIVE}",
                short(name)
            ))
        };
        let text = match shifted(text) {
            Ok(text) => text,
            Err(reason) => return refuse(reason),
        };
        let from = match guarded(|| Proj::from_proj_string(&text)) {
            Ok(from) => from,
            Err(reason) => return refuse(format!("cannot be used: {reason}")),
        };
        let to = match guarded(|| Proj::from_proj_string("+proj=longlat +datum=WGS84 +no_defs")) {
            Ok(to) => to,
            Err(reason) => return refuse(format!("cannot be used: {reason}")),
        };
        if from.is_geocent() {
            return refuse(
                "is geocentric, which no geometry of longitude and latitude is".to_owned(),
            );
        }
        if from.is_latlong() && from.from_greenwich() != 0.0 {
            return refuse("counts degrees from another meridian than Greenwich".to_owned());
        }
        if !from.has_inverse() {
            return refuse("has no way back to longitude and latitude".to_owned());
        }
        let per_unit = if radians == 1.0 {
            1_f64.to_radians()
        } else {
            radians
        };
        if from.is_latlong() && radians == 1.0 && is_wgs84(&text) {
            return Ok(Self {
                name: name.to_owned(),
                way: None,
                height: from.vto_meter(),
            });
        }
        let offset = |key| number(&text, key).unwrap_or(0.0).abs() > FAR_FROM_ORIGIN;
        let far = text.contains("+proj=utm") || offset("+x_0") || offset("+y_0");
        Ok(Self {
            name: name.to_owned(),
            height: from.vto_meter(),
            way: Some(Box::new(Way {
                angle: from.is_latlong().then_some(per_unit),
                far: far && !from.is_latlong(),
                from,
                to,
            })),
        })
    }

    /// Whether positions are longitude and latitude of WGS 84 already.
    pub(crate) fn is_wgs84(&self) -> bool {
        self.way.is_none()
    }

    /// A height in metres.
    pub(crate) fn metres(&self, height: f64) -> f64 {
        height * self.height
    }

    /// A position in degrees of longitude and latitude.
    ///
    /// # Errors
    /// The system has no such position.
    pub(crate) fn degrees(&self, x: f64, y: f64) -> Result<(f64, f64), String> {
        let there = match &self.way {
            None => within(x, y).ok_or_else(|| "is no position".to_owned()),
            Some(way) => way.degrees(x, y),
        };
        there.map_err(|reason| format!("[{x}, {y}] {reason} in the coordinate system {self}"))
    }
}

/// A position on Earth; what is beyond its end by rounding is on it.
fn within(lon: f64, lat: f64) -> Option<(f64, f64)> {
    let tidy = |value: f64, end: f64| {
        // Written so that NaN is refused.
        (value.abs() <= end + ROUNDING).then(|| value.clamp(-end, end))
    };
    Some((tidy(lon, 180.0)?, tidy(lat, 90.0)?))
}

impl Crs {
    /// The text of a `GeoJSON` geometry in WGS 84. What is no position stays as it is, for whoever checks
    /// the geometry.
    ///
    /// # Errors
    /// The system has no such position.
    pub(crate) fn geojson(&self, text: &str) -> Result<Box<str>, String> {
        let Ok(mut value) = serde_json::from_str(text) else {
            return Ok(text.into());
        };
        self.members(&mut value)?;
        Ok(value.to_string().into())
    }

    fn members(&self, geometry: &mut serde_json::Value) -> Result<(), String> {
        if let Some(coordinates) = geometry.get_mut("coordinates") {
            self.coordinates(coordinates)?;
        }
        let members = geometry.get_mut("geometries");
        for member in members
            .and_then(serde_json::Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            self.members(member)?;
        }
        Ok(())
    }

    // Nesting is bounded by the parser's own limit.
    fn coordinates(&self, value: &mut serde_json::Value) -> Result<(), String> {
        let Some(items) = value.as_array_mut() else {
            return Ok(());
        };
        let numbers: Vec<f64> = items.iter().filter_map(serde_json::Value::as_f64).collect();
        if numbers.len() != items.len() || numbers.is_empty() {
            return items.iter_mut().try_for_each(|item| self.coordinates(item));
        }
        if let [x, y, rest @ ..] = &numbers[..] {
            let (lon, lat) = self.degrees(*x, *y)?;
            let rest = rest.iter().map(|height| self.metres(*height));
            *value = [lon, lat].into_iter().chain(rest).collect();
        }
        Ok(())
    }
}

impl Way {
    fn degrees(&self, x: f64, y: f64) -> Result<(f64, f64), String> {
        if !(x.is_finite() && y.is_finite()) {
            return Err("is no position".to_owned());
        }
        if self.far && x.abs() <= 180.0 && y.abs() <= 90.0 {
            return Err("looks like degrees, which are no position".to_owned());
        }
        let unit = self.angle.unwrap_or(1.0);
        let start = (x * unit, y * unit, 0.0);
        if self.angle.is_some()
            && (start.0.abs() > std::f64::consts::TAU
                || start.1.abs() > std::f64::consts::FRAC_PI_2)
        {
            return Err("is no position".to_owned());
        }
        let there = step(&self.from, &self.to, start)?;
        let back = step(&self.to, &self.from, there)?;
        let allowed = match self.angle {
            Some(_) => MAX_ROUND_TRIP_RADIANS,
            None => MAX_ROUND_TRIP,
        };
        // Written so that NaN is refused.
        let near = |a: f64, b: f64| (a - b).abs() <= allowed;
        let (lon, lat) = (there.0.to_degrees(), there.1.to_degrees());
        if near(back.0, start.0)
            && near(back.1, start.1)
            && let Some(there) = within(lon, lat)
        {
            return Ok(there);
        }
        Err("is outside of what can be mapped".to_owned())
    }
}

fn step(from: &Proj, to: &Proj, at: (f64, f64, f64)) -> Result<(f64, f64, f64), String> {
    guarded(|| {
        let mut at = at;
        proj4rs::transform::transform(from, to, &mut at).map(|()| at)
    })
    .map_err(|reason| format!("is outside of what can be mapped ({reason})"))
}

/// Runs the library where a panic of its cannot pass.
fn guarded<T>(work: impl FnOnce() -> Result<T, proj4rs::errors::Error>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("its parameters make no sense".to_owned()),
    }
}

/// The PROJ string of a code.
fn definition(code: u32) -> Option<&'static str> {
    let code = if WEB_MERCATOR_ALIASES.contains(&code) {
        WEB_MERCATOR
    } else {
        u16::try_from(code).ok()?
    };
    crs_definitions::from_code(code).map(|known| known.proj4)
}

/// A PROJ string that says how its datum lies to WGS 84, or why nobody knows.
fn shifted(text: &str) -> Result<String, String> {
    let says = |key: &str| text.split_whitespace().any(|part| part.starts_with(key));
    if says("+nadgrids=") && !says("+nadgrids=@null") || says("+datum=NAD27") {
        return Err("needs a grid file for the shift of its datum to WGS 84".to_owned());
    }
    if says("+towgs84=") || says("+datum=") || says("+nadgrids=") {
        return Ok(text.to_owned());
    }
    if modern(text) {
        return Ok(format!("{text} +towgs84=0,0,0"));
    }
    Err("does not say how its datum lies to WGS 84 (+towgs84), so that positions may be wrong by hundreds of metres".to_owned())
}

/// Whether longitude and latitude of a PROJ string count as those of WGS 84.
fn is_wgs84(text: &str) -> bool {
    let says = |key: &str| text.split_whitespace().any(|part| part == key);
    let shift = text
        .split_whitespace()
        .find_map(|part| part.strip_prefix("+towgs84="));
    let still = shift.is_some_and(|shift| shift.split(',').all(|n| n.parse() == Ok(0.0)));
    let plain = !text.contains("+axis=") && !says("+geoc");
    plain && (says("+datum=WGS84") || says("+datum=NAD83") || still && modern(text))
}

/// Whether the ellipsoid of a PROJ string is that of GRS 80 or WGS 84.
fn modern(text: &str) -> bool {
    let says = |key: &str| text.split_whitespace().any(|part| part == key);
    let number = |key: &str| number(text, key).unwrap_or_default();
    says("+ellps=WGS84") || says("+ellps=GRS80") || wkt::is_modern(number("+a"), number("+rf"))
}

/// The number that a PROJ string gives to a key.
fn number(text: &str, key: &str) -> Option<f64> {
    let value = |part: &str| f64::from_str(part.strip_prefix(key)?.strip_prefix('=')?).ok();
    text.split_whitespace().find_map(value)
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
