//! SurrealQL of users: it sees typed rows and their relationships, and cannot change anything.

use std::sync::Arc;
use std::time::Duration;

use ontology::Ontology;
use serde_json::{Map, Value as Json, json};
use store::{Limits, QueryError, SurrealStore};
use twin_core::Event;
use twin_core::store::Store as _;

use crate::model::{self, add, edge, group, open, twin};

async fn seeded(ontology: &Arc<Ontology>) -> SurrealStore {
    let store = open("mem://", ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let mut first = group(epoch, 0);
    let village = twin(
        ontology,
        "Village",
        "rw:village:1",
        json!({"name": "Kinyinya"}),
        Some(model::disc(30.0, -2.0, 12)),
        0,
    );
    let facility = twin(
        ontology,
        "HealthFacility",
        "rw:facility:1",
        model::everything(),
        Some(model::point(30.06, -1.95)),
        1,
    );
    let located = edge(ontology, "locatedIn", &facility, &village);
    add(&mut first, Event::Created(village));
    add(&mut first, Event::Created(facility));
    add(&mut first, Event::Related(located));
    store.commit(&first).await.unwrap();
    store
}

async fn ask(store: &SurrealStore, text: &str) -> Result<Json, QueryError> {
    let mut answers = store.query(text, &Map::new(), Limits::default()).await?;
    Ok(answers.pop().unwrap_or_default())
}

#[tokio::test]
async fn a_relationship_is_followed_from_a_record() {
    let store = seeded(&model::ontology()).await;
    let text = "SELECT VALUE ->locatedIn->Village FROM HealthFacility:⟨rw:facility:1⟩";
    assert_eq!(
        ask(&store, text).await.unwrap(),
        json!([["Village:⟨rw:village:1⟩"]])
    );
    let text = "SELECT VALUE <-locatedIn<-HealthFacility.name FROM Village:⟨rw:village:1⟩";
    assert_eq!(
        ask(&store, text).await.unwrap(),
        json!([["Kacyiru \u{1f3e5} 'District' `Hospital`"]])
    );
}

#[tokio::test]
async fn rows_are_typed() {
    let store = seeded(&model::ontology()).await;
    let text = "SELECT VALUE [type::of(beds), type::of(checked), type::of(geometry), \
        type::of(shape), type::of(scores), opened, telephone, revision, id, budget, height] FROM HealthFacility";
    let row = ask(&store, text).await.unwrap();
    let row = &row[0];
    assert_eq!(row[0], "int");
    assert_eq!(row[1], "datetime");
    assert!(row[2].as_str().unwrap().starts_with("geometry"), "{row}");
    assert_eq!(row[3], "bytes");
    assert_eq!(row[4], "object");
    assert_eq!(row[5], "1998-02-28");
    assert_eq!(row[6], json!({"key": "none", "value": "+250 788 000 000"}));
    assert_eq!(row[7], "main:1");
    assert_eq!(row[8], "HealthFacility:⟨rw:facility:1⟩");
    assert_eq!(row[9], 9_007_199_254_740_993_i64);
    assert_eq!(row[10], -0.1);
}

#[tokio::test]
async fn geometry_and_cells_can_be_asked_for() {
    let store = seeded(&model::ontology()).await;
    let text = "SELECT VALUE name FROM Village WHERE geometry CONTAINS (30.06, -1.95)";
    assert_eq!(ask(&store, text).await.unwrap(), json!(["Kinyinya"]));
    let text = "LET $cell = (SELECT VALUE cell FROM ONLY HealthFacility:⟨rw:facility:1⟩); \
        SELECT VALUE id FROM HealthFacility WHERE cell = $cell";
    assert_eq!(
        ask(&store, text).await.unwrap(),
        json!(["HealthFacility:⟨rw:facility:1⟩"])
    );
    let geometry = ask(&store, "SELECT VALUE geometry FROM HealthFacility")
        .await
        .unwrap();
    assert_eq!(
        geometry,
        json!([{"type": "Point", "coordinates": [30.06, -1.95]}])
    );
}

#[tokio::test]
async fn variables_are_bound_values() {
    let store = seeded(&model::ontology()).await;
    let vars = json!({"least": 100, "name": "x'; DELETE Village; --"});
    let text = "SELECT VALUE beds FROM HealthFacility WHERE beds > $least; RETURN $name";
    let answers = store
        .query(text, vars.as_object().unwrap(), Limits::default())
        .await
        .unwrap();
    assert_eq!(answers, [json!([120]), json!("x'; DELETE Village; --")]);
}

/// Ways to write, some of them hidden.
const WRITES: &[&str] = &[
    "CREATE Village:a SET revision = 'x'",
    "UPDATE Village SET name = 'x'",
    "UPSERT Village:a SET name = 'x'",
    "DELETE Village",
    "INSERT INTO Village { id: 'a' }",
    "RELATE HealthFacility:⟨rw:facility:1⟩->serves->Village:⟨rw:village:1⟩",
    "DEFINE TABLE t",
    "DEFINE FIELD f ON Village TYPE string",
    "DEFINE USER u ON ROOT PASSWORD 'x' ROLES OWNER",
    "DEFINE FUNCTION fn::f() { DELETE Village }",
    "DEFINE EVENT e ON Village THEN { DELETE Village }",
    "REMOVE TABLE Village",
    "REMOVE DATABASE rw",
    "ALTER TABLE Village SCHEMALESS",
    "ALTER SYSTEM COMPACT",
    "REBUILD INDEX cell ON Village",
    "BEGIN; DELETE Village; COMMIT",
    "USE DB other; SELECT * FROM x",
    "LIVE SELECT * FROM Village",
    "KILL u'00000000-0000-0000-0000-000000000000'",
    "OPTION IMPORT",
    "SELECT (DELETE Village) FROM HealthFacility",
    "SELECT * FROM (CREATE Village:a)",
    "SELECT * FROM Village WHERE (DELETE Village) != []",
    "SELECT * FROM Village LIMIT (CREATE ONLY Village:a SET n = 1).n",
    "RETURN { LET $x = (DELETE Village); RETURN $x }",
    "LET $x = (UPDATE Village SET name = 'x')",
    "LET $f = || { DELETE Village }; RETURN $f()",
    "RETURN [1].map(|$x| { DELETE Village; RETURN $x })",
    "FOR $x IN [1] { DELETE Village }",
    "IF true { DELETE Village }",
    "RETURN fn::f()",
    "SELECT ->locatedIn->(Village WHERE (DELETE Village)) FROM HealthFacility",
    "RETURN (SELECT VALUE id FROM Village).map(|$id| (DELETE $id))",
    "EXPLAIN ANALYZE DELETE Village",
    "RETURN sequence::nextval('s')",
];

#[tokio::test]
async fn nothing_can_be_written() {
    let store = seeded(&model::ontology()).await;
    let state = "SELECT * FROM Village, HealthFacility, locatedIn, serves, _lane; INFO FOR DB";
    let before = store
        .query(state, &Map::new(), Limits::default())
        .await
        .unwrap();
    for write in WRITES {
        let answer = ask(&store, write).await;
        assert!(answer.is_err(), "`{write}` was answered: {answer:?}");
        let after = store
            .query(state, &Map::new(), Limits::default())
            .await
            .unwrap();
        assert_eq!(after, before, "`{write}` changed something");
    }
}

#[tokio::test]
async fn a_query_is_bounded_in_rows_bytes_time_and_text() {
    let store = seeded(&model::ontology()).await;
    let none = Map::new();
    let rows = Limits {
        rows: 10,
        ..Limits::default()
    };
    let error = store
        .query(
            "SELECT VALUE x FROM array::range(0, 11).map(|$x| {x: $x})",
            &none,
            rows,
        )
        .await
        .unwrap_err();
    assert!(
        matches!(error, QueryError::TooLarge { limit: 10, .. }),
        "{error:?}"
    );
    let bytes = Limits {
        bytes: 1_000,
        ..Limits::default()
    };
    let error = store
        .query("RETURN string::repeat('x', 2000)", &none, bytes)
        .await
        .unwrap_err();
    assert!(
        matches!(error, QueryError::TooLarge { limit: 1_000, .. }),
        "{error:?}"
    );
    let time = Limits {
        timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let error = store
        .query("FOR $i IN 0..1000000000 { LET $x = $i }", &none, time)
        .await
        .unwrap_err();
    assert_eq!(error, QueryError::TimedOut(time.timeout));
    let error = ask(&store, &" ".repeat(store::MAX_QUERY_BYTES + 1))
        .await
        .unwrap_err();
    assert!(matches!(error, QueryError::TooLarge { .. }), "{error:?}");
    assert!(matches!(
        ask(&store, "SELEKT 1").await,
        Err(QueryError::Syntax(_))
    ));
    assert!(matches!(
        ask(&store, "SELECT * FROM nowhere").await,
        Err(QueryError::Failed(_))
    ));
    // Nobody holds a place any more.
    assert_eq!(ask(&store, "RETURN 1").await.unwrap(), json!(1));
}
