//! A map of everything that has a place, as a style of MapLibre
//! (<https://maplibre.org/maplibre-style-spec>, version 8).
//!
//! # Invariants
//! - Every twin that is on the map is drawn from one source: that of its topmost class that has
//!   twins of its own on the map.
//! - Areas lie under lines, lines under points; of areas those of which there are fewer lie lower,
//!   as they are larger.
//! - Nothing is loaded from elsewhere. Names would need glyphs, which nobody serves here, so there
//!   are no texts on the map.

use ontology::{Class, ClassId};
use serde_json::{Map, Value as Json, json};
use twin_core::space::Bounds;
use twin_core::{Located, View};

use super::WHOLE_FROM;
use super::offer::{DEEPEST, address, located, zoom_of};
use crate::api::Api;

/// Areas of one class that a picture of all of them can show; of more, the picture begins closer.
const LEGIBLE: f64 = 60.0;
/// Degrees of the colour circle from one class to the next: the golden angle, by which neighbours
/// differ most.
const HUE_STEP: f64 = 137.508;
/// Metres that something stands up of which no height is known.
const UNKNOWN_HEIGHT: f64 = 3.0;

/// What the map is drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    Light,
    Dark,
}

impl Theme {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "light" => Some(Self::Light),
            "dark" => Some(Self::Dark),
            _ => None,
        }
    }

    fn ground(self) -> &'static str {
        match self {
            Self::Light => "#f6f5f2",
            Self::Dark => "#15181c",
        }
    }

    fn halo(self) -> &'static str {
        match self {
            Self::Light => "#ffffff",
            Self::Dark => "#0b0d0f",
        }
    }

    fn colour(self, class: ClassId) -> String {
        let hue = f64::from(class.0) * HUE_STEP % 360.0;
        match self {
            Self::Light => format!("hsl({hue:.0}, 62%, 40%)"),
            Self::Dark => format!("hsl({hue:.0}, 62%, 64%)"),
        }
    }
}

/// A class that is drawn.
struct Shown<'a> {
    class: &'a Class,
    located: Located,
    bounds: Bounds,
    tall: bool,
}

impl Shown<'_> {
    /// The zoom from which there are not too many areas in a picture.
    fn first_zoom(&self) -> f64 {
        let closer = (self.located.shapes as f64 / LEGIBLE).max(1.0).log2() / 2.0;
        (zoom_of(&self.bounds) + closer.floor()).min(f64::from(DEEPEST))
    }

    fn layer(&self, part: &str, kind: &str, filter: &Json, paint: &Json) -> Json {
        let name = &self.class.name;
        json!({
            "id": format!("{name} {part}"),
            "type": kind,
            "source": name,
            "source-layer": name,
            "filter": filter,
            "paint": paint,
        })
    }
}

/// The style.
pub(crate) fn style(api: &Api, view: &View, theme: Theme, base: &str) -> Json {
    let has_own = |class: ClassId| view.located(class) != Located::default();
    let classes = api.ontology.classes().iter();
    let topmost = classes.filter(|class| {
        has_own(class.id) && !class.ancestors.iter().any(|ancestor| has_own(*ancestor))
    });
    let shown = topmost.filter_map(|class| {
        let height = |id: ClassId| api.class(id).property("height").is_some();
        Some(Shown {
            class,
            located: located(api, view, class.id),
            bounds: view.bounds(class.id)?,
            tall: api.ontology.with_descendants(class.id).any(height),
        })
    });
    let mut shown: Vec<Shown<'_>> = shown.collect();
    shown.sort_by_key(|shown| (shown.located.shapes, shown.class.id));
    let mut sources = Map::new();
    let background = json!({
        "id": "background", "type": "background", "paint": {"background-color": theme.ground()}
    });
    let mut layers = vec![background];
    for Shown { class, .. } in &shown {
        let source = json!({"type": "vector", "url": address(base, class)});
        sources.insert(class.name.to_string(), source);
    }
    let with_shapes = || shown.iter().filter(|shown| shown.located.shapes > 0);
    let with_points = || shown.iter().filter(|shown| shown.located.points > 0);
    layers.extend(with_shapes().flat_map(|shown| areas(shown, theme)));
    layers.extend(with_points().map(|shown| cells(shown, theme)));
    layers.extend(with_shapes().map(|shown| lines(shown, theme)));
    layers.extend(
        with_shapes()
            .filter(|shown| shown.tall)
            .map(|shown| solids(shown, theme)),
    );
    layers.extend(shown.iter().map(|shown| points(shown, theme)));
    let mut style = json!({
        "version": 8,
        "name": match theme { Theme::Light => "Light", Theme::Dark => "Dark" },
        "metadata": {"twin:texts": "none: there are no glyphs to draw names with"},
        "sources": sources,
        "layers": layers,
    });
    if let Some(all) = shown.iter().map(|shown| shown.bounds).reduce(Bounds::join) {
        style["center"] = json!([
            f64::midpoint(all.west, all.east),
            f64::midpoint(all.south, all.north)
        ]);
        style["zoom"] = zoom_of(&all).into();
    }
    style
}

/// Features drawn as one of these, cells apart.
fn drawn_as(kinds: [&str; 2]) -> Json {
    json!([
        "all",
        ["!", ["has", "cell"]],
        ["match", ["geometry-type"], kinds, true, false]
    ])
}

fn by_zoom(stops: [(f64, f64); 3]) -> Json {
    let stops = stops
        .into_iter()
        .flat_map(|(zoom, value)| [Json::from(zoom), value.into()]);
    let head = [
        json!("interpolate"),
        json!(["exponential", 1.5]),
        json!(["zoom"]),
    ];
    head.into_iter().chain(stops).collect()
}

/// Fill and outline.
fn areas(shown: &Shown<'_>, theme: Theme) -> [Json; 2] {
    let colour = theme.colour(shown.class.id);
    let filter = drawn_as(["Polygon", "MultiPolygon"]);
    let opacity = if shown.tall { 0.5 } else { 0.08 };
    let paint = json!({"fill-color": colour, "fill-opacity": opacity});
    let mut fill = shown.layer("fill", "fill", &filter, &paint);
    let paint = json!({
        "line-color": colour,
        "line-opacity": 0.8,
        "line-width": by_zoom([(5.0, 0.4), (12.0, 1.2), (18.0, 3.0)]),
    });
    let mut outline = shown.layer("outline", "line", &filter, &paint);
    for layer in [&mut fill, &mut outline] {
        layer["minzoom"] = shown.first_zoom().into();
        if shown.tall {
            // Solids take over, and something is there before.
            let before = f64::from(WHOLE_FROM - 1);
            layer["minzoom"] = shown.first_zoom().min(before).into();
            layer["maxzoom"] = WHOLE_FROM.into();
        }
    }
    [fill, outline]
}

fn lines(shown: &Shown<'_>, theme: Theme) -> Json {
    let paint = json!({
        "line-color": theme.colour(shown.class.id),
        "line-width": by_zoom([(5.0, 0.5), (12.0, 1.5), (18.0, 6.0)]),
    });
    let mut layer = shown.layer(
        "lines",
        "line",
        &drawn_as(["LineString", "MultiLineString"]),
        &paint,
    );
    layer["layout"] = json!({"line-cap": "round", "line-join": "round"});
    layer
}

fn points(shown: &Shown<'_>, theme: Theme) -> Json {
    let paint = json!({
        "circle-color": theme.colour(shown.class.id),
        "circle-radius": by_zoom([(5.0, 1.5), (12.0, 4.0), (18.0, 8.0)]),
        "circle-stroke-color": theme.halo(),
        "circle-stroke-width": by_zoom([(5.0, 0.0), (12.0, 1.0), (18.0, 1.5)]),
    });
    shown.layer(
        "points",
        "circle",
        &drawn_as(["Point", "MultiPoint"]),
        &paint,
    )
}

/// Points that are too many, by cell: the more, the denser.
fn cells(shown: &Shown<'_>, theme: Theme) -> Json {
    let dense = json!([
        "interpolate",
        ["linear"],
        ["log10", ["get", "count"]],
        0,
        0.08,
        5,
        0.85
    ]);
    let paint = json!({"fill-color": theme.colour(shown.class.id), "fill-opacity": dense});
    shown.layer("cells", "fill", &json!(["has", "cell"]), &paint)
}

/// What stands up, as high as it is.
fn solids(shown: &Shown<'_>, theme: Theme) -> Json {
    let paint = json!({
        "fill-extrusion-color": theme.colour(shown.class.id),
        "fill-extrusion-opacity": 0.9,
        "fill-extrusion-height": ["coalesce", ["get", "height"], UNKNOWN_HEIGHT],
        "fill-extrusion-base": ["coalesce", ["get", "minHeight"], 0],
    });
    let filter = drawn_as(["Polygon", "MultiPolygon"]);
    let mut layer = shown.layer("solids", "fill-extrusion", &filter, &paint);
    layer["minzoom"] = WHOLE_FROM.into();
    layer
}
