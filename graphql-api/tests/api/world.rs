//! A small nation to ask.

use std::sync::Arc;
use std::time::Duration;

use graphql_api::{Options, Service};
use ontology::{Ontology, Pack, Source, Value};
use serde_json::{Map, Value as Json, json};
use twin_core::memory::MemoryStore;
use twin_core::space::Shape;
use twin_core::{Commit, Operation, Principal, Put, Reading, Readings, Settings, Twin, TwinId};

pub(crate) const MODEL: &str = r#"[
  {"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Thing;1", "@type": "Interface",
   "description": "Anything.",
   "contents": [
     {"@type": "Property", "name": "name", "schema": "string", "description": "What people call it."},
     {"@type": "Property", "name": "synthetic", "schema": "boolean", "description": "Whether it was made up."}]},
  {"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Area;1", "@type": "Interface",
   "extends": "dtmi:test:Thing;1", "description": "A part of the territory.",
   "contents": [
     {"@type": "Property", "name": "population", "schema": "integer"},
     {"@type": "Relationship", "name": "partOf", "target": "dtmi:test:Area;1", "maxMultiplicity": 1}]},
  {"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Village;1", "@type": "Interface",
   "extends": "dtmi:test:Area;1", "contents": []},
  {"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Clinic;1", "@type": "Interface",
   "extends": "dtmi:test:Thing;1", "description": "Where the sick go.",
   "contents": [
     {"@type": "Property", "name": "beds", "schema": "integer", "description": "Beds"},
     {"@type": "Property", "name": "rating", "schema": "double"},
     {"@type": "Property", "name": "budget", "schema": "long"},
     {"@type": "Property", "name": "opened", "schema": "date"},
     {"@type": "Property", "name": "tags", "schema": {"@type": "Array", "elementSchema": "string"}},
     {"@type": "Property", "name": "level", "schema": {"@type": "Enum", "valueSchema": "string",
       "enumValues": [{"name": "low", "enumValue": "LOW"}, {"name": "high", "enumValue": "HIGH"}]}},
     {"@type": "Property", "name": "address", "schema": {"@type": "Object", "fields": [
       {"name": "street", "schema": "string"}, {"name": "number", "schema": "integer"}]}},
     {"@type": "Relationship", "name": "locatedIn", "target": "dtmi:test:Village;1", "maxMultiplicity": 1},
     {"@type": "Relationship", "name": "serves", "target": "dtmi:test:Area;1",
      "properties": [{"@type": "Property", "name": "share", "schema": "double"}]}]},
  {"@context": ["dtmi:dtdl:context;3", "dtmi:dtdl:extension:quantitativeTypes;1"],
   "@id": "dtmi:test:Station;1", "@type": "Interface", "extends": "dtmi:test:Thing;1",
   "contents": [
     {"@type": ["Telemetry", "Temperature"], "name": "heat", "schema": "double", "unit": "degreeCelsius"},
     {"@type": "Telemetry", "name": "visits", "schema": "long"},
     {"@type": "Relationship", "name": "near", "maxMultiplicity": 1}]}
]"#;

pub(crate) fn ontology() -> Arc<Ontology> {
    let pack = Arc::new(Pack::named("test"));
    let models: Vec<Json> = serde_json::from_str(MODEL).unwrap();
    let sources: Vec<_> = models
        .iter()
        .enumerate()
        .map(|(i, model)| Source {
            pack: Arc::clone(&pack),
            file: format!("{i}.json"),
            text: model.to_string(),
        })
        .collect();
    let (ontology, _) = Ontology::compile(&sources).unwrap_or_else(|p| panic!("{p}"));
    Arc::new(ontology)
}

pub(crate) struct World {
    pub(crate) twin: Twin,
    pub(crate) service: Service,
    pub(crate) store: MemoryStore,
}

/// Times of tests are small numbers.
fn any_age() -> Settings {
    Settings {
        max_behind: Duration::MAX,
        ..Settings::default()
    }
}

impl World {
    /// A service over an empty twin.
    pub(crate) async fn empty() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        Self::open(MemoryStore::new(ontology()), options).await
    }

    /// A service over what a store holds.
    pub(crate) async fn over(store: MemoryStore) -> Self {
        Self::open(store, Options::default()).await
    }

    async fn open(store: MemoryStore, options: Options) -> Self {
        let ontology = ontology();
        let twin = Twin::open(Arc::new(store.clone()), ontology, any_age())
            .await
            .unwrap();
        let service = Service::new(twin.clone(), options).unwrap();
        Self {
            twin,
            service,
            store,
        }
    }

    /// A province with two villages side by side, three clinics and a station.
    pub(crate) async fn small() -> Self {
        let world = Self::empty().await;
        world.fill().await;
        world
    }

    pub(crate) async fn fill(&self) {
        let mut operations = vec![
            area("p:1", "Area", "North", 900, [29.0, -3.0, 31.0, -1.0]),
            area("v:1", "Village", "Kivu", 100, [29.0, -3.0, 30.0, -1.0]),
            area("v:2", "Village", "Gatare", 250, [30.0, -3.0, 31.0, -1.0]),
            clinic(
                "c:1",
                json!({"name": "Kigali A", "beds": 12, "rating": 4.5, "level": "HIGH",
                "budget": "9007199254740993", "opened": "2001-02-03", "tags": ["night", "lab"],
                "address": {"street": "KN 4 Ave", "number": 8}}),
                29.5,
                -2.0,
            ),
            clinic(
                "c:2",
                json!({"name": "Kibuye \"B\"", "beds": 40, "level": "LOW"}),
                30.5,
                -2.0,
            ),
            clinic(
                "c:3",
                json!({"name": "Musanze", "synthetic": true}),
                30.6,
                -2.1,
            ),
            Operation::Upsert(put("s:1", "Station", json!({"name": "Roof"}), None)),
        ];
        for (source, name, target) in [
            ("v:1", "partOf", "p:1"),
            ("v:2", "partOf", "p:1"),
            ("c:1", "locatedIn", "v:1"),
            ("c:2", "locatedIn", "v:2"),
            ("c:1", "serves", "p:1"),
            ("c:1", "serves", "v:1"),
            ("c:1", "serves", "v:2"),
            ("s:1", "near", "c:1"),
        ] {
            operations.push(relate(source, name, target));
        }
        self.commit(operations).await;
        let reading = Reading {
            twin: id("s:1"),
            telemetry: "heat".into(),
            ts: Some(1_700_000_000_125_000),
            value: Value::Double(21.5),
        };
        let readings = Readings {
            principal: Principal::system("test"),
            readings: vec![reading],
        };
        self.twin.record(readings).await.unwrap();
    }

    pub(crate) async fn commit(&self, operations: Vec<Operation>) {
        let principal = Principal::system("test");
        self.twin
            .commit(Commit {
                principal,
                idempotency: None,
                operations,
            })
            .await
            .unwrap();
    }

    /// The whole answer.
    pub(crate) async fn ask(&self, query: &str) -> Json {
        self.ask_with(query, json!({})).await
    }

    pub(crate) async fn ask_with(&self, query: &str, variables: Json) -> Json {
        serde_json::from_str(&self.text_with(query, variables).await).unwrap()
    }

    /// The answer's own text, for the order of keys.
    pub(crate) async fn text_with(&self, query: &str, variables: Json) -> String {
        let variables = match variables {
            Json::Object(variables) => variables,
            _ => Map::new(),
        };
        String::from_utf8(self.service.query(query, variables).await).unwrap()
    }

    /// The data of an answer without errors.
    pub(crate) async fn data(&self, query: &str) -> Json {
        let answer = self.ask(query).await;
        assert!(answer.get("errors").is_none(), "{query}\n{answer:#}");
        answer["data"].clone()
    }

    /// Ids on a page of a list.
    pub(crate) async fn ids(&self, list: &str) -> Vec<String> {
        let data = self
            .data(&format!(
                "{{ list: {list} {{ edges {{ node {{ id }} }} }} }}"
            ))
            .await;
        let edges = data["list"]["edges"].as_array().unwrap();
        edges
            .iter()
            .map(|edge| edge["node"]["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Code and message of the first error.
    pub(crate) async fn error(&self, query: &str) -> (String, String) {
        let answer = self.ask(query).await;
        let error = &answer["errors"][0];
        assert!(error.is_object(), "no error: {query}\n{answer:#}");
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        (text(&error["extensions"]["code"]), text(&error["message"]))
    }
}

pub(crate) fn id(text: &str) -> TwinId {
    TwinId::new(text).unwrap()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers write `json!` in place"
)]
pub(crate) fn put(twin: &str, class: &str, set: Json, geometry: Option<Json>) -> Put {
    let ontology = ontology();
    let model = ontology.class_named(class).unwrap();
    let value = |(name, json): (&String, &Json)| {
        let schema = &model.property(name).unwrap().schema;
        (name.as_str().into(), Some(schema.parse(json).unwrap()))
    };
    let shape = geometry.map(|json| Some(Arc::new(Shape::from_geojson(&json).unwrap())));
    Put {
        id: id(twin),
        class: class.into(),
        set: set.as_object().unwrap().iter().map(value).collect(),
        geometry: shape,
        expect: None,
    }
}

pub(crate) fn area(twin: &str, class: &str, name: &str, people: i64, box_: [f64; 4]) -> Operation {
    let [w, s, e, n] = box_;
    let ring = json!([[[w, s], [e, s], [e, n], [w, n], [w, s]]]);
    let shape = json!({"type": "Polygon", "coordinates": ring});
    Operation::Upsert(put(
        twin,
        class,
        json!({"name": name, "population": people}),
        Some(shape),
    ))
}

pub(crate) fn clinic(twin: &str, set: Json, lon: f64, lat: f64) -> Operation {
    let shape = json!({"type": "Point", "coordinates": [lon, lat]});
    Operation::Upsert(put(twin, "Clinic", set, Some(shape)))
}

pub(crate) fn relate(source: &str, name: &str, target: &str) -> Operation {
    let set = match name {
        "serves" => vec![("share".into(), Some(Value::Double(0.5)))],
        _ => vec![],
    };
    Operation::Relate {
        source: id(source),
        name: name.into(),
        target: id(target),
        set,
        expect: None,
        replace: false,
    }
}
