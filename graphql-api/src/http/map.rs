//! The map at `GET /map`: the nation drawn from its vector tiles, served by us so that it works offline.
//!
//! The page is built from `graphql-api/map` by its `build.mjs`; without that folder a page says how to
//! get it, and everything else works. What it knows of the nation's classes it reads from
//! `/map/model.json`, which is the page's own and may change with it: apps ask GraphQL.
//!
//! # Invariants
//! - No page, script or style names another server, and the content policy lets none be asked.
//! - The model is made of one instant, and its position is where a subscription goes on from.

use std::path::Path;

use axum::extract::{Path as Named, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use ontology::{Class, Property, Relationship, Schema, Telemetry};
use serde_json::{Map, Value as Json, json};
use twin_core::View;
use twin_core::space::Bounds;

use super::page::{CSS, JAVASCRIPT, built, escaped};
use crate::api::{Shown, shown};
use crate::service::Service;

/// Files of the built map that may be asked for, and their kinds. The page names them with what is in
/// them, so a browser may keep them.
const ASSETS: [(&str, &str); 3] = [
    ("map.js", JAVASCRIPT),
    ("worker.mjs", JAVASCRIPT),
    ("map.css", CSS),
];
const PAGE: &str = "index.html";

/// Twins of a class that are looked at to say what it looks like on a map, at most.
const SAMPLE: usize = 2_000;

/// The map's page.
pub(super) async fn page(State(service): State<Service>) -> Response {
    let folder = service.inner.options.map.as_deref();
    if let Some(folder) = folder
        && let Ok(page) = tokio::fs::read_to_string(folder.join(PAGE)).await
    {
        return Html(page).into_response();
    }
    Html(without_assets(folder)).into_response()
}

fn without_assets(folder: Option<&Path>) -> String {
    let place = folder.map_or_else(
        || "no folder for it is configured".to_owned(),
        |folder| {
            format!(
                "<code>{}</code> lacks it",
                escaped(&folder.display().to_string())
            )
        },
    );
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Map of the nation</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <style>:root {{ color-scheme: light dark }} body {{ font: 16px/1.5 system-ui; max-width: 42rem; margin: 3rem auto; padding: 0 1rem }}</style>\
         <h1>Map of the nation</h1>\
         <p>The built map is not here: {place}. It is built once, from sources and npm packages:</p>\
         <pre>cd graphql-api/map &amp;&amp; npm ci &amp;&amp; node build.mjs dist</pre>\
         <p>Then start the twin with <code>TWIN_MAP=graphql-api/map/dist</code>. <code>make demo</code> does both. \
         What the map shows can be asked without it:</p>\
         <p><a href=\"/graphql\">Query console</a> · <a href=\"/\">Start page</a></p></html>"
    )
}

/// One of the map's files.
pub(super) async fn asset(State(service): State<Service>, Named(name): Named<String>) -> Response {
    let known = ASSETS.iter().find(|(known, _)| *known == name);
    let (Some((file, kind)), Some(folder)) = (known, &service.inner.options.map) else {
        return (StatusCode::NOT_FOUND, "the map has no such file\n").into_response();
    };
    built(folder, file, kind, "build the map again").await
}

/// What the page knows of the nation: its classes in the model's words, and where their twins are.
pub(super) async fn model(State(service): State<Service>) -> Response {
    let view = service.inner.twin.view();
    let attribution = service.inner.options.attribution.clone();
    // Some thousand twins a class are looked at, so not on the network's threads.
    let model = tokio::task::spawn_blocking(move || describe(&view, &attribution)).await;
    match model {
        Ok(model) => axum::Json(model).into_response(),
        Err(error) => {
            tracing::error!(%error, "the map's model could not be made");
            let message = "the model could not be made; the log says more\n";
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}

/// What twins of one class look like on a map.
#[derive(Debug, Default)]
struct Look {
    count: usize,
    seen: usize,
    areas: usize,
    points: usize,
    lines: usize,
    /// Sum of the boxes around those that were seen.
    square_degrees: f64,
    around: Option<Bounds>,
}

impl Look {
    fn of(view: &View, class: &Class) -> Self {
        let mut look = Self {
            count: view.of_class(class.id).count(),
            ..Self::default()
        };
        // Every so many, as those that came one after another may all be of one place.
        let step = look.count.div_ceil(SAMPLE).max(1);
        for twin in view.of_class(class.id).step_by(step) {
            look.seen += 1;
            let Some(shape) = view.shape(twin) else {
                continue;
            };
            let around = shape.bounds();
            look.square_degrees += square_degrees(around);
            look.around = Some(look.around.map_or(around, |all| all.join(around)));
            if shape.is_area() {
                look.areas += 1;
            } else if shape.type_name().ends_with("Point") {
                look.points += 1;
            } else {
                look.lines += 1;
            }
        }
        look
    }

    fn geometry(&self) -> Option<&'static str> {
        let kinds = [
            (self.areas, "area"),
            (self.lines, "line"),
            (self.points, "point"),
        ];
        let most = kinds.into_iter().max_by_key(|(count, _)| *count)?;
        (most.0 > 0).then_some(most.1)
    }
}

fn square_degrees(around: Bounds) -> f64 {
    around.width() * around.height()
}

fn describe(view: &View, attribution: &[String]) -> Json {
    let classes = view.ontology().classes();
    let looks: Vec<_> = classes.iter().map(|class| Look::of(view, class)).collect();
    // A nation is where its areas are: a point may be wrong, or abroad.
    let areas = |look: &&Look| look.geometry() == Some("area");
    let any = looks.iter().any(|look| areas(&look));
    let around = looks.iter().filter(|look| !any || areas(look));
    let around = around.filter_map(|look| look.around).reduce(Bounds::join);
    let nation = around.map_or(0.0, square_degrees);
    let mut described: Vec<_> = classes.iter().zip(&looks).collect();
    described.sort_by_key(|(class, _)| (&class.pack, &class.name));
    let described = described
        .into_iter()
        .map(|(class, look)| class_json(class, look, nation));
    json!({
        "position": view.position().to_string(),
        "bounds": around.map(|all| [all.west, all.south, all.east, all.north]),
        "attribution": attribution,
        "classes": described.collect::<Json>(),
    })
}

fn class_json(class: &Class, look: &Look, nation: f64) -> Json {
    let whole = look.count as f64 / look.seen.max(1) as f64;
    let cover = if nation > 0.0 {
        look.square_degrees * whole / nation
    } else {
        0.0
    };
    let property = |property: &Property| {
        let Property {
            name,
            label,
            description,
            schema,
            unit,
            personal,
            ..
        } = property;
        let mut said = member(name, label, description, schema, unit.as_deref());
        if *personal {
            // No tile carries it, so the page does not offer to colour by it.
            said["personal"] = true.into();
        }
        said
    };
    let telemetry = |telemetry: &Telemetry| {
        let Telemetry {
            name,
            label,
            description,
            schema,
            unit,
            ..
        } = telemetry;
        member(name, label, description, schema, unit.as_deref())
    };
    let relationship = |relationship: &Relationship| {
        let Relationship {
            name,
            label,
            description,
            ..
        } = relationship;
        json!({"name": &**name, "label": &**label, "description": &**description})
    };
    json!({
        "name": &*class.name,
        "label": &*class.label,
        "description": &*class.description,
        "plural": &*class.plural,
        "pack": &*class.pack,
        "count": look.count,
        "geometry": look.geometry(),
        "cover": cover,
        "properties": class.properties.iter().map(property).collect::<Json>(),
        "telemetry": class.telemetry.iter().map(telemetry).collect::<Json>(),
        "relationships": class.relationships.iter().map(relationship).collect::<Json>(),
    })
}

/// A property, a telemetry or a field of an object.
fn member(name: &str, label: &str, description: &str, schema: &Schema, unit: Option<&str>) -> Json {
    let mut said = Map::new();
    let mut set = |key: &str, value: Json| said.insert(key.to_owned(), value);
    set("name", name.into());
    set("label", label.into());
    set("description", description.into());
    set("kind", kind(schema).into());
    if let Some(unit) = unit {
        set("unit", unit.into());
    }
    if let Schema::Enum(one_of) = schema {
        let choices = one_of
            .values
            .iter()
            .map(|choice| json!({"value": choice.value.to_json(), "label": &*choice.name}));
        set("choices", choices.collect());
    }
    if let (Schema::Object(fields), "object") = (schema, kind(schema)) {
        let fields = fields.iter().map(|field| {
            member(
                &field.name,
                &field.name,
                &field.description,
                &field.schema,
                None,
            )
        });
        set("fields", fields.collect());
    }
    Json::Object(said)
}

/// How the page treats values of a schema, as the API shows them.
fn kind(schema: &Schema) -> &'static str {
    match (shown(schema), schema) {
        (Shown::Object, _) => "object",
        (Shown::List(_), _) => "list",
        (Shown::Enum(_), _) | (_, Schema::Enum(_)) => "choice",
        (_, Schema::Boolean) => "truth",
        (_, Schema::Integer { .. } | Schema::Long) => "integer",
        (_, Schema::Double) => "number",
        (_, Schema::String) => "text",
        (_, Schema::Date | Schema::DateTime | Schema::Time | Schema::Duration) => "time",
        _ => "json",
    }
}
