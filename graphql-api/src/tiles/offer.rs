//! What tiles there are, in TileJSON 3.0 (<https://github.com/mapbox/tilejson-spec/tree/master/3.0.0>).

use ontology::{Class, ClassId};
use serde_json::{Map, Value as Json, json};
use twin_core::space::Bounds;
use twin_core::{Located, View};

use super::CELL_KEYS;
use super::grid::EDGE_LAT;
use super::layer::{Asked, Layer};
use crate::api::Api;

/// The zoom whose tiles clients enlarge beyond: a unit is 15 cm there.
pub(super) const DEEPEST: u8 = 16;

/// How many twins of a class and its subclasses are on the map.
pub(super) fn located(api: &Api, view: &View, class: ClassId) -> Located {
    let classes = api.ontology.with_descendants(class);
    classes.fold(Located::default(), |sum, class| {
        let more = view.located(class);
        Located {
            points: sum.points + more.points,
            shapes: sum.shapes + more.shapes,
        }
    })
}

/// The part of a box that is on the map, as TileJSON writes it.
fn on_map(bounds: &Bounds) -> [f64; 4] {
    let lat = |lat: f64| lat.clamp(-EDGE_LAT, EDGE_LAT);
    [
        bounds.west,
        lat(bounds.south),
        bounds.east,
        lat(bounds.north),
    ]
}

/// The zoom at which a box is about as large as a tile.
pub(super) fn zoom_of(bounds: &Bounds) -> f64 {
    let across = bounds.width().max(bounds.height());
    (360.0 / across.max(1e-9))
        .log2()
        .floor()
        .clamp(0.0, f64::from(DEEPEST))
}

/// The address of a layer's TileJSON.
pub(super) fn address(base: &str, class: &Class) -> String {
    format!("{base}/tiles/{}.json", class.name)
}

/// A layer in TileJSON.
pub(crate) fn tile_json(
    api: &Api,
    view: &View,
    layer: &Layer,
    asked: &Asked,
    base: &str,
    attribution: &str,
) -> Json {
    let class = api.class(layer.class);
    let kinds = layer
        .attributes
        .iter()
        .map(|attribute| (attribute.name.clone(), attribute.kind));
    let mut fields: Map<String, Json> = kinds.map(|(name, kind)| (name, kind.into())).collect();
    if located(api, view, layer.class).points > 0 {
        for (name, kind) in CELL_KEYS.into_iter().zip(["String", "Number", "Number"]) {
            if name != "mean" || layer.value.is_some() {
                fields.entry(name).or_insert_with(|| kind.into());
            }
        }
    }
    let mut json = json!({
        "tilejson": "3.0.0",
        "name": class.name,
        "description": class.description,
        "scheme": "xyz",
        "tiles": [format!("{base}/tiles/{}/{{z}}/{{x}}/{{y}}.mvt{}", class.name, asked.query())],
        "minzoom": 0,
        "maxzoom": DEEPEST,
        "vector_layers": [{
            "id": class.name,
            "description": class.description,
            "minzoom": 0,
            "maxzoom": DEEPEST,
            "fields": fields,
        }],
    });
    if let Some(bounds) = view.bounds(layer.class) {
        let [west, south, east, north] = on_map(&bounds);
        json["bounds"] = json!([west, south, east, north]);
        let (lon, lat) = (f64::midpoint(west, east), f64::midpoint(south, north));
        json["center"] = json!([lon, lat, zoom_of(&bounds)]);
    }
    if !attribution.is_empty() {
        json["attribution"] = attribution.into();
    }
    json
}

/// Every class of which twins are on the map.
pub(crate) fn layers(api: &Api, view: &View, base: &str) -> Json {
    let layers = api.ontology.classes().iter().filter_map(|class| {
        let found = located(api, view, class.id);
        let any = found.points + found.shapes > 0;
        any.then(|| {
            json!({
                "layer": class.name,
                "label": class.label,
                "description": class.description,
                "points": found.points,
                "shapes": found.shapes,
                "url": address(base, class),
            })
        })
    });
    json!({ "layers": layers.collect::<Json>() })
}
