//! A small ontology, and twins, relationships and groups of it.

use std::sync::Arc;

use geo_types::{LineString, Point, Polygon};
use ontology::{Ontology, Pack, Source, Value};
use store::{Settings, SurrealStore};
use twin_core::space::Shape;
use twin_core::store::{Loaded, Store};
use twin_core::{
    Change, EdgeState, EdgeWrite, Event, Group, KeptReceipt, Principal, Recorded, RowWrite, TwinId,
    TwinState, Values,
};

const AREA: &str = r#"{
  "@context": "dtmi:dtdl:context;4", "@id": "dtmi:t:Area;1", "@type": "Interface",
  "displayName": "Area", "description": "An area.",
  "contents": [
    {"@type": "Property", "name": "name", "description": "Its name.", "schema": "string"},
    {"@type": "Relationship", "name": "partOf", "description": "The larger area.",
     "target": "dtmi:t:Area;1", "maxMultiplicity": 1}
  ]}"#;

const VILLAGE: &str = r#"{
  "@context": "dtmi:dtdl:context;4", "@id": "dtmi:t:Village;1", "@type": "Interface",
  "displayName": "Village", "description": "A village.", "extends": "dtmi:t:Area;1",
  "contents": [
    {"@type": "Property", "name": "population", "description": "People.", "schema": "integer"}
  ]}"#;

const FACILITY: &str = r#"{
  "@context": "dtmi:dtdl:context;4", "@id": "dtmi:t:HealthFacility;1", "@type": "Interface",
  "displayName": "Health facility", "description": "Where people get care.",
  "contents": [
    {"@type": "Property", "name": "name", "description": "Its name.", "schema": "string"},
    {"@type": "Property", "name": "beds", "description": "Beds.", "schema": "integer"},
    {"@type": "Property", "name": "budget", "description": "In francs.", "schema": "long"},
    {"@type": "Property", "name": "height", "description": "Metres.", "schema": "double"},
    {"@type": "Property", "name": "open", "description": "Whether it is.", "schema": "boolean"},
    {"@type": "Property", "name": "opened", "description": "The day.", "schema": "date"},
    {"@type": "Property", "name": "checked", "description": "When.", "schema": "dateTime"},
    {"@type": "Property", "name": "opensAt", "description": "In the morning.", "schema": "time"},
    {"@type": "Property", "name": "round", "description": "How long.", "schema": "duration"},
    {"@type": "Property", "name": "telephone", "description": "A number.", "schema": "string"},
    {"@type": "Property", "name": "entrance", "description": "Where.", "schema": "point"},
    {"@type": "Property", "name": "tier", "description": "Level of care.", "schema":
      {"@type": "Enum", "valueSchema": "string", "enumValues": [
        {"name": "post", "enumValue": "post"}, {"name": "hospital", "enumValue": "hospital"}]}},
    {"@type": "Property", "name": "tags", "description": "Words.",
     "schema": {"@type": "Array", "elementSchema": "string"}},
    {"@type": "Property", "name": "scores", "description": "By name.", "schema": {"@type": "Map",
      "mapKey": {"name": "what", "schema": "string"},
      "mapValue": {"name": "score", "schema": "double"}}},
    {"@type": "Property", "name": "contact", "description": "Whom to ask.", "schema":
      {"@type": "Object", "fields": [
        {"name": "desk", "schema": "string"}, {"name": "since", "schema": "date"}]}},
    {"@type": "Telemetry", "name": "pm25", "description": "Dust.", "schema": "double"},
    {"@type": "Telemetry", "name": "status", "description": "A word.", "schema": "string"},
    {"@type": "Relationship", "name": "locatedIn", "description": "Its village.",
     "target": "dtmi:t:Area;1", "maxMultiplicity": 1,
     "properties": [
       {"@type": "Property", "name": "since", "description": "The day.", "schema": "date"}]},
    {"@type": "Relationship", "name": "serves", "description": "Whoever it serves."}
  ]}"#;

const PACK: &str = "name = \"test\"\npersonal = [\"HealthFacility.telephone\"]\n";

/// The ontology of the tests; `without` leaves lines out of the facility's model.
pub(crate) fn ontology_without(without: &[&str]) -> Arc<Ontology> {
    let pack = Arc::new(Pack::parse("pack.toml", PACK).unwrap());
    let facility: Vec<&str> = FACILITY
        .lines()
        .filter(|line| !without.iter().any(|w| line.contains(w)))
        .collect();
    let texts = [
        ("area", AREA.to_owned()),
        ("village", VILLAGE.to_owned()),
        ("facility", facility.join("\n")),
    ];
    let sources = texts.map(|(name, text)| Source {
        pack: Arc::clone(&pack),
        file: format!("{name}.json"),
        text,
    });
    Arc::new(
        Ontology::compile(&sources)
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .0,
    )
}

pub(crate) fn ontology() -> Arc<Ontology> {
    ontology_without(&[])
}

pub(crate) fn id(text: &str) -> TwinId {
    TwinId::new(text).unwrap()
}

pub(crate) fn point(lon: f64, lat: f64) -> Arc<Shape> {
    Arc::new(Shape::from_geo(Point::new(lon, lat).into()).unwrap())
}

/// A ring of so many vertices around a place.
pub(crate) fn disc(lon: f64, lat: f64, vertices: u32) -> Arc<Shape> {
    let corner = |i: u32| {
        let angle = f64::from(i) / f64::from(vertices) * std::f64::consts::TAU;
        (lon + 0.5 * angle.cos(), lat + 0.5 * angle.sin())
    };
    let ring: LineString<f64> = (0..vertices).map(corner).collect();
    Arc::new(Shape::from_geo(Polygon::new(ring, Vec::new()).into()).unwrap())
}

/// Values of a class by JSON.
#[expect(clippy::needless_pass_by_value, reason = "reads well at the call")]
pub(crate) fn values(ontology: &Ontology, class: &str, set: serde_json::Value) -> Values {
    let class = ontology.class_named(class).unwrap();
    let set = set.as_object().unwrap().clone();
    for name in set.keys() {
        assert!(class.property(name).is_some(), "{name}");
    }
    let values = class.properties.iter();
    values
        .map(|p| set.get(&*p.name).map(|json| p.schema.parse(json).unwrap()))
        .collect()
}

pub(crate) fn twin(
    ontology: &Ontology,
    class: &str,
    name: &str,
    set: serde_json::Value,
    geometry: Option<Arc<Shape>>,
    revision: u64,
) -> TwinState {
    TwinState {
        id: id(name),
        class: ontology.class_named(class).unwrap().id,
        values: values(ontology, class, set),
        geometry,
        revision,
    }
}

/// Every kind of value.
pub(crate) fn everything() -> serde_json::Value {
    serde_json::json!({
        "name": "Kacyiru \u{1f3e5} 'District' `Hospital`", "beds": 120,
        "budget": 9_007_199_254_740_993_i64, "height": -0.1, "open": true,
        "opened": "1998-02-28", "checked": "2025-01-31T08:30:00.123456Z", "opensAt": "08:30:00",
        "round": "PT30M", "telephone": "+250 788 000 000", "tier": "hospital",
        "tags": ["a", "", "ü"], "scores": {"care": 4.5, "beds": 1.0},
        "contact": {"desk": "front", "since": "2001-01-01"},
        "entrance": {"type": "Point", "coordinates": [30.06, -1.944_444_444_444_444_7]}
    })
}

pub(crate) fn edge(
    ontology: &Ontology,
    name: &str,
    source: &TwinState,
    target: &TwinState,
) -> EdgeState {
    let kind = ontology.relationship_named(name).unwrap();
    EdgeState {
        relationship: kind.id,
        source: source.id.clone(),
        source_class: source.class,
        target: target.id.clone(),
        target_class: target.class,
        values: kind.properties.iter().map(|_| None).collect(),
    }
}

pub(crate) fn with_since(edge: &EdgeState, days: Option<i32>) -> EdgeState {
    let values = edge.values.iter().map(|_| days.map(Value::Date)).collect();
    EdgeState {
        values,
        ..edge.clone()
    }
}

pub(crate) fn ada() -> Principal {
    Principal::new("user:ada").unwrap()
}

/// An empty group of lane `main` that begins at an offset.
pub(crate) fn group(epoch: u64, first: u64) -> Group {
    Group {
        lane: "main".into(),
        epoch,
        first,
        next: first,
        at: twin_core::now_us(),
        rows: Vec::new(),
        edges: Vec::new(),
        changes: Vec::new(),
        readings: Vec::new(),
        recorders: Vec::new(),
        receipts: Vec::new(),
        dead_letters: Vec::new(),
    }
}

/// Adds a change and what it does to rows.
pub(crate) fn add(group: &mut Group, event: Event) {
    match &event {
        Event::Created(state) => group.rows.push(RowWrite::Insert(state.clone())),
        Event::Updated { before, after } => group.rows.push(RowWrite::Update {
            state: after.clone(),
            geometry: match (&before.geometry, &after.geometry) {
                (None, None) => false,
                (Some(a), Some(b)) => !Arc::ptr_eq(a, b),
                _ => true,
            },
        }),
        Event::Deleted(state) => {
            group.rows.push(RowWrite::Delete {
                class: state.class,
                id: state.id.clone(),
            });
        }
        Event::Related(edge) => group.edges.push(EdgeWrite::Insert(edge.clone())),
        Event::Rerelated { after, .. } => group.edges.push(EdgeWrite::Update(after.clone())),
        Event::Unrelated(edge) => group.edges.push(EdgeWrite::Delete(edge.clone())),
    }
    group.changes.push(Change {
        offset: group.next,
        principal: ada(),
        event,
    });
    group.next += 1;
}

pub(crate) fn record(
    group: &mut Group,
    ontology: &Ontology,
    twin: &str,
    telemetry: &str,
    ts: i64,
    value: Value,
) {
    let class = ontology.class_named("HealthFacility").unwrap();
    let telemetry = class.telemetry_index(telemetry).unwrap() as u32;
    group.readings.push(Recorded {
        twin: id(twin),
        class: class.id,
        telemetry,
        ts,
        value,
    });
    match group.recorders.last_mut() {
        Some((_, run)) => *run += 1,
        None => group.recorders.push((ada(), 1)),
    }
    group.next += 1;
}

pub(crate) async fn open(url: &str, ontology: &Arc<Ontology>) -> SurrealStore {
    SurrealStore::open(url, "rw", Arc::clone(ontology), Settings::default())
        .await
        .unwrap()
}

/// What a store holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) twins: Vec<TwinState>,
    pub(crate) edges: Vec<EdgeState>,
    pub(crate) receipts: Vec<KeptReceipt>,
    pub(crate) readings: Vec<(Recorded, u64)>,
    pub(crate) ended: Vec<(TwinId, u64)>,
    pub(crate) foreign: u64,
}

pub(crate) async fn held(store: &SurrealStore) -> Held {
    held_by(store, 0).await
}

/// What it reads back at a time, by which receipts may have expired.
pub(crate) async fn held_by(store: &SurrealStore, now: i64) -> Held {
    let mut held = Held::default();
    let mut sink = |loaded| {
        match loaded {
            Loaded::Twin(twin) => {
                assert!(held.edges.is_empty(), "twins come first");
                held.twins.push(twin);
            }
            Loaded::Edge(edge) => held.edges.push(edge),
            Loaded::Receipt(receipt) => held.receipts.push(receipt),
            Loaded::Reading {
                reading, offset, ..
            } => held.readings.push((reading, offset)),
            Loaded::Ended { twin, offset } => {
                assert!(held.readings.is_empty(), "ended lives come before readings");
                held.ended.push((twin, offset));
            }
            Loaded::Foreign { readings } => held.foreign += readings,
        }
        Ok(())
    };
    store.load(now, &mut sink).await.unwrap();
    held
}

pub(crate) fn same_twin(a: &TwinState, b: &TwinState) -> bool {
    a.same_as(b) && a.revision == b.revision
}

pub(crate) fn same_edge(a: &EdgeState, b: &EdgeState) -> bool {
    a.relationship == b.relationship
        && (&a.source, a.source_class) == (&b.source, b.source_class)
        && (&a.target, a.target_class) == (&b.target, b.target_class)
        && a.values == b.values
}

pub(crate) fn same_event(a: &Event, b: &Event) -> bool {
    match (a, b) {
        (Event::Created(a), Event::Created(b)) | (Event::Deleted(a), Event::Deleted(b)) => {
            same_twin(a, b)
        }
        (
            Event::Updated {
                before: a,
                after: x,
            },
            Event::Updated {
                before: b,
                after: y,
            },
        ) => same_twin(a, b) && same_twin(x, y),
        (Event::Related(a), Event::Related(b)) | (Event::Unrelated(a), Event::Unrelated(b)) => {
            same_edge(a, b)
        }
        (
            Event::Rerelated {
                before: a,
                after: x,
            },
            Event::Rerelated {
                before: b,
                after: y,
            },
        ) => same_edge(a, b) && same_edge(x, y),
        _ => false,
    }
}

pub(crate) fn same_reading(a: &Recorded, b: &Recorded) -> bool {
    (&a.twin, a.class, a.telemetry, a.ts, &a.value)
        == (&b.twin, b.class, b.telemetry, b.ts, &b.value)
}
