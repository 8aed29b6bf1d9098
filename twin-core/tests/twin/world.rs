//! A small nation to test with.

use std::sync::Arc;
use std::time::Duration;

use ontology::{Ontology, Pack, Source, Value};
use twin_core::memory::MemoryStore;
use twin_core::space::Shape;
use twin_core::{
    Commit, Expect, Operation, Principal, Put, Reading, Readings, Receipt, Refusal, Settings, Twin,
    TwinId,
};

const MODEL: &str = r#"[
  {"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Area;1", "@type": "Interface",
   "contents": [
     {"@type": "Property", "name": "name", "schema": "string"},
     {"@type": "Property", "name": "population", "schema": "integer"},
     {"@type": "Relationship", "name": "partOf", "target": "dtmi:test:Area;1",
      "maxMultiplicity": 1}]},
  {"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Village;1", "@type": "Interface",
   "extends": "dtmi:test:Area;1", "contents": []},
  {"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Station;1", "@type": "Interface",
   "contents": [
     {"@type": "Property", "name": "model", "schema": "string"},
     {"@type": "Telemetry", "name": "pm25", "schema": "double"},
     {"@type": "Telemetry", "name": "location", "schema": "point"},
     {"@type": "Relationship", "name": "monitors", "properties": [
       {"@type": "Property", "name": "since", "schema": "integer"}]},
     {"@type": "Relationship", "name": "feeds", "properties": [
       {"@type": "Property", "name": "metres", "schema": "double"}]}]}
]"#;

pub(crate) fn ontology() -> Arc<Ontology> {
    let pack = Arc::new(Pack::named("test"));
    let models: Vec<serde_json::Value> = serde_json::from_str(MODEL).unwrap();
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
    pub(crate) store: MemoryStore,
    pub(crate) ontology: Arc<Ontology>,
    pub(crate) twin: Twin,
}

impl World {
    pub(crate) async fn new() -> Self {
        let ontology = ontology();
        let store = MemoryStore::new(Arc::clone(&ontology));
        let twin = open(&store, &ontology).await;
        Self {
            store,
            ontology,
            twin,
        }
    }

    /// Closes the twin and opens another on the same store, as a restart does.
    pub(crate) async fn restart(&mut self) {
        self.twin.close().await;
        self.twin = open(&self.store, &self.ontology).await;
    }

    pub(crate) async fn commit(&self, operations: Vec<Operation>) -> Result<Receipt, Refusal> {
        self.twin.commit(commit(operations)).await
    }

    pub(crate) async fn read(&self, station: &str, ts: i64, pm25: f64) -> Result<Receipt, Refusal> {
        let reading = Reading {
            twin: id(station),
            telemetry: "pm25".into(),
            ts: Some(ts),
            value: Value::Double(pm25),
        };
        let principal = Principal::device(&id(station));
        self.twin
            .record(Readings {
                principal,
                readings: vec![reading],
            })
            .await
    }
}

async fn open(store: &MemoryStore, ontology: &Arc<Ontology>) -> Twin {
    let store = Arc::new(store.clone());
    // Times of tests are small numbers.
    let settings = Settings {
        max_behind: Duration::MAX,
        ..Settings::default()
    };
    let twin = Twin::open(store, Arc::clone(ontology), settings);
    twin.await.unwrap()
}

pub(crate) fn commit(operations: Vec<Operation>) -> Commit {
    Commit {
        principal: Principal::new("user:test").unwrap(),
        idempotency: None,
        operations,
    }
}

pub(crate) fn id(text: &str) -> TwinId {
    TwinId::new(text).unwrap()
}

pub(crate) fn put(id_: &str, class: &str, set: &[(&str, Value)]) -> Put {
    Put {
        id: id(id_),
        class: class.into(),
        set: set
            .iter()
            .map(|(name, value)| ((*name).into(), Some(value.clone())))
            .collect(),
        geometry: None,
        expect: None,
    }
}

pub(crate) fn area(id: &str, population: i64) -> Operation {
    Operation::Upsert(put(id, "Area", &[("population", Value::Int(population))]))
}

pub(crate) fn station(id: &str, lon: f64, lat: f64) -> Operation {
    let point = serde_json::json!({"type": "Point", "coordinates": [lon, lat]});
    let shape = Arc::new(Shape::from_geojson(&point).unwrap());
    Operation::Upsert(Put {
        geometry: Some(Some(shape)),
        ..put(id, "Station", &[])
    })
}

pub(crate) fn relate(source: &str, name: &str, target: &str) -> Operation {
    Operation::Relate {
        source: id(source),
        name: name.into(),
        target: id(target),
        set: vec![],
        expect: None,
        replace: false,
    }
}

pub(crate) fn unrelate(source: &str, name: &str, target: &str) -> Operation {
    Operation::Unrelate {
        source: id(source),
        name: name.into(),
        target: id(target),
        expect: None,
    }
}

pub(crate) fn delete(twin: &str, detach: bool) -> Operation {
    Operation::Delete {
        id: id(twin),
        expect: None,
        detach,
    }
}

pub(crate) fn expecting(operation: Operation, expect: Expect) -> Operation {
    match operation {
        Operation::Upsert(put) => Operation::Upsert(Put {
            expect: Some(expect),
            ..put
        }),
        other => panic!("only upserts here, not {other:?}"),
    }
}
