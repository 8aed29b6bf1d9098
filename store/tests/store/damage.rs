//! What is wrong is found and located: damaged records, lost rows, another ontology, a folder in
//! use.

use std::path::Path;
use std::sync::Arc;

use ontology::{Ontology, Value};
use serde_json::json;
use store::{EngineError, OpenError, Repaired, Settings, SurrealStore};
use surrealdb::Surreal;
use surrealdb::engine::local::{Db, RocksDb};
use twin_core::Event;
use twin_core::store::{Kept, Loaded, Series, Store as _, StoreError};

use crate::model::{self, add, edge, group, open, record, twin};

fn url(folder: &Path) -> String {
    format!("rocksdb://{}", folder.display())
}

/// A store on disk with two groups, closed again.
async fn written(folder: &Path, ontology: &Arc<Ontology>) {
    let store = open(&url(folder), ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let mut first = group(epoch, 0);
    let village = twin(
        ontology,
        "Village",
        "rw:village:1",
        json!({"name": "Kinyinya"}),
        None,
        1,
    );
    let facility = twin(
        ontology,
        "HealthFacility",
        "rw:facility:1",
        json!({"beds": 3}),
        None,
        3,
    );
    let located = edge(ontology, "locatedIn", &facility, &village);
    add(&mut first, Event::Created(village));
    add(&mut first, Event::Created(facility));
    add(&mut first, Event::Related(located));
    store.commit(&first).await.unwrap();
    let mut second = group(epoch, first.next);
    record(
        &mut second,
        ontology,
        "rw:facility:1",
        "pm25",
        7,
        Value::Double(2.0),
    );
    store.commit(&second).await.unwrap();
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}

/// Runs SurrealQL on the folder with SurrealDB's own SDK, as another program might.
pub(crate) async fn tamper(folder: &Path, text: &str) {
    let db: Surreal<Db> = Surreal::new::<RocksDb>(folder.to_str().unwrap())
        .await
        .unwrap();
    db.use_ns("twin").use_db("rw").await.unwrap();
    db.query(text).await.unwrap().check().unwrap();
    drop(db);
}

/// Opens a folder that the SDK closes behind our back, once it has.
pub(crate) async fn reopen(folder: &Path, ontology: &Arc<Ontology>) -> SurrealStore {
    for _ in 0..200 {
        match SurrealStore::open(
            &url(folder),
            "rw",
            Arc::clone(ontology),
            Settings::default(),
        )
        .await
        {
            Ok(store) => return store,
            Err(OpenError::Engine(EngineError::InUse { .. })) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("still in use");
}

async fn load_error(store: &SurrealStore) -> String {
    let mut sink = |_: Loaded| Ok(());
    match store.load(0, &mut sink).await {
        Err(StoreError::Damaged(what)) => what,
        other => panic!("{other:?}"),
    }
}

/// Tampers with a store and gives back what verifying it finds.
async fn findings_after(text: &str) -> Vec<String> {
    let ontology = model::ontology();
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &ontology).await;
    tamper(folder.path(), text).await;
    let store = reopen(folder.path(), &ontology).await;
    let report = store.verify().await.unwrap();
    store.close().await.unwrap();
    report
        .findings
        .into_iter()
        .map(|finding| finding.what)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_of_a_change_are_located() {
    let found = findings_after("UPDATE _change SET data = <bytes>'abcdef'").await;
    assert!(
        found
            .iter()
            .any(|f| f.contains("_change:['main', 0]") && f.contains("checksum")),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_found_by_loading_reading_and_following() {
    let ontology = model::ontology();
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &ontology).await;
    tamper(folder.path(), "UPDATE _journal SET data = <bytes>'abcdef'").await;
    let store = reopen(folder.path(), &ontology).await;
    let at = "_journal:['main', 3]";
    let error = load_error(&store).await;
    assert!(error.contains(at), "{error}");
    let twin = model::id("rw:facility:1");
    let series = Series {
        twin: &twin,
        telemetry: "pm25",
        ts: 0..10,
        before: 100,
        limit: 10,
    };
    let error = store.readings(&series).await.unwrap_err().to_string();
    assert!(error.contains(at), "{error}");
    let error = store.groups("main", 3, 1).await.unwrap_err().to_string();
    assert!(error.contains(at), "{error}");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_foreign_rows_are_found() {
    let found = findings_after("DELETE Village").await;
    assert!(
        found.iter().any(|f| f.contains("rw:village:1")),
        "{found:?}"
    );
    let found = findings_after("CREATE Village:ghost SET revision = 'main:0'").await;
    assert!(
        found
            .iter()
            .any(|f| f.contains("ghost") && f.contains("no change")),
        "{found:?}"
    );
    let found = findings_after("UPDATE HealthFacility SET revision = 'main:77'").await;
    assert!(found.iter().any(|f| f.contains("main:77")), "{found:?}");
    let found = findings_after("DELETE _journal").await;
    assert!(
        found
            .iter()
            .any(|f| f.contains("ends at 3") && f.contains("says 4")),
        "{found:?}"
    );
    let found = findings_after("DELETE locatedIn").await;
    assert!(found.iter().any(|f| f.contains("locatedIn")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_holds_something_else_is_found() {
    let found = findings_after("UPDATE HealthFacility SET beds = 4").await;
    assert!(
        found
            .iter()
            .any(|f| f.contains("rw:facility:1") && f.contains("something else")),
        "{found:?}"
    );
}

/// What a store holds, in an order of its own: tables are read at the same time.
async fn told(store: &SurrealStore) -> String {
    let mut held = model::held(store).await;
    held.twins.sort_by(|a, b| a.id.cmp(&b.id));
    format!("{held:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_set_right_from_the_change_log() {
    let ontology = model::ontology();
    for (text, twins, relationships, removed) in [
        // With a village its relationship goes.
        ("DELETE Village", 1, 1, 0),
        ("UPDATE HealthFacility SET beds = 4", 1, 0, 0),
        ("UPDATE HealthFacility SET revision = 'main:0'", 1, 0, 0),
        ("DELETE locatedIn", 0, 1, 0),
        // It cannot be read, so it is written anew, and what it touches.
        ("UPDATE HealthFacility SET revision = 'later'", 1, 1, 1),
        ("CREATE Village:ghost SET revision = 'main:0'", 0, 0, 1),
        ("CREATE Village:7 SET revision = 'main:0'", 0, 0, 1),
        (
            "DELETE HealthFacility; CREATE Village:`rw:facility:1` SET revision = 'main:3'",
            1,
            1,
            1,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), &ontology).await;
        let store = open(&url(folder.path()), &ontology).await;
        let before = told(&store).await;
        store.close().await.unwrap();
        tamper(folder.path(), text).await;
        let store = reopen(folder.path(), &ontology).await;
        let report = store.verify().await.unwrap();
        assert!(!report.is_sound(), "{text}");
        let repaired = store.repair(&report).await.unwrap();
        let expected = Repaired {
            twins,
            relationships,
            removed,
        };
        assert_eq!(repaired, expected, "{text}: {:?}", report.findings);
        let report = store.verify().await.unwrap();
        assert!(report.is_sound(), "{text}: {:?}", report.findings);
        assert_eq!(told(&store).await, before, "{text}");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_not_set_right_from_a_log_that_is_not_whole() {
    let ontology = model::ontology();
    for text in [
        "UPDATE _change SET data = <bytes>'abcdef'",
        "DELETE _change",
        "DELETE _journal",
    ] {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), &ontology).await;
        tamper(folder.path(), &format!("{text}; DELETE Village")).await;
        let store = reopen(folder.path(), &ontology).await;
        let report = store.verify().await.unwrap();
        let refused = store.repair(&report).await.unwrap_err().to_string();
        assert!(refused.contains("backup"), "{refused}");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ontology_no_longer_has_is_named() {
    let ontology = model::ontology();
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &ontology).await;
    let later = model::ontology_without(&["\"beds\""]);
    let store = reopen(folder.path(), &later).await;
    let error = load_error(&store).await;
    assert!(
        error.contains("HealthFacility:⟨rw:facility:1⟩") && error.contains("`beds`"),
        "{error}"
    );
    store.close().await.unwrap();
    tamper(
        folder.path(),
        "DEFINE TABLE Ghost SCHEMALESS; CREATE Ghost:a",
    )
    .await;
    let store = reopen(folder.path(), &ontology).await;
    let error = load_error(&store).await;
    assert!(
        error.contains("Ghost") && error.contains("ontology"),
        "{error}"
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_telemetry_that_left_the_ontology_costs_its_readings_and_no_more() {
    let ontology = model::ontology();
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &ontology).await;
    let later = model::ontology_without(&["\"pm25\""]);
    let store = reopen(folder.path(), &later).await;
    let held = model::held(&store).await;
    assert_eq!(
        (held.twins.len(), held.readings.len(), held.foreign),
        (2, 0, 1)
    );
    let report = store.verify().await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.readings, report.foreign_readings), (1, 1));
    let followed = store.groups("main", 3, 1).await.unwrap();
    let Kept::Foreign { what } = followed else {
        panic!("{followed:?}")
    };
    assert!(what.contains("HealthFacility.pm25"), "{what}");
    store.close().await.unwrap();
    // With the telemetry back, everything is.
    let store = reopen(folder.path(), &ontology).await;
    assert_eq!(model::held(&store).await.readings.len(), 1);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_use_is_refused_with_its_reason() {
    let ontology = model::ontology();
    let folder = tempfile::tempdir().unwrap();
    let store = open(&url(folder.path()), &ontology).await;
    let again = SurrealStore::open(&url(folder.path()), "rw", ontology, Settings::default()).await;
    assert!(
        matches!(again, Err(OpenError::Engine(EngineError::InUse { .. }))),
        "{again:?}"
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let ontology = model::ontology();
    let open = async |url: &str, realm: &str| {
        SurrealStore::open(url, realm, Arc::clone(&ontology), Settings::default())
            .await
            .unwrap_err()
    };
    assert!(matches!(
        open("postgres://x", "rw").await,
        OpenError::Url { .. }
    ));
    assert!(matches!(
        open("rocksdb://", "rw").await,
        OpenError::Url { .. }
    ));
    assert!(matches!(
        open("mem://", "RW").await,
        OpenError::Realm { .. }
    ));
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = open(&url(file.path()), "rw").await;
    assert!(
        matches!(error, OpenError::Engine(EngineError::Folder { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn a_name_that_the_store_needs_is_refused() {
    let pack = Arc::new(ontology::Pack::named("test"));
    let text = r#"{"@context": "dtmi:dtdl:context;4", "@id": "dtmi:t:Thing;1", "@type": "Interface",
        "description": "A thing.", "contents": [
        {"@type": "Property", "name": "cell", "description": "Of a prison.", "schema": "string"}]}"#;
    let source = ontology::Source {
        pack,
        file: "thing.json".into(),
        text: text.into(),
    };
    // The ontology may already refuse it, or give it another name.
    let Ok((ontology, _)) = Ontology::compile(&[source]) else {
        return;
    };
    let class = ontology.class_named("Thing").unwrap();
    let reserved = class.property("cell").is_some();
    let opened = SurrealStore::open("mem://", "rw", Arc::new(ontology), Settings::default()).await;
    assert_eq!(
        reserved,
        matches!(opened, Err(OpenError::Name { .. })),
        "{opened:?}"
    );
}
