//! The same work as the twin's, by SurrealDB alone: what `twin bench` sets its figures beside.
//!
//! # Invariants
//! - The engine is opened as [`SurrealStore`](crate::SurrealStore) opens it, and every table is
//!   defined as there: same fields, types, index of cells and enforced relations.
//! - Nothing of ours helps: no live twin, no gathering of writers, no change log; a call is one
//!   request of plain SurrealQL, and a write is synced before it returns.
//! - What SurrealDB would not need is not asked of it: rows are written without their WKB.

use std::collections::BTreeMap;
use std::path::Path;

use ontology::{ClassId, Ontology, RelationshipId};
use serde_json::Value as Json;
use std::sync::Arc;
use surrealdb::types::{Array, Geometry, Number, Object, RecordId, RecordIdKey, Value, Variables};
use twin_core::space::Point;
use twin_core::store::StoreError;
use twin_core::{EdgeState, TwinId, TwinState};

use crate::database::{Database, OpenError, Settings, damaged, variables};
use crate::values::stored_to_json;
use crate::{rows, tables};

/// The realm of the database.
const REALM: &str = "alone";
/// Table of readings; the underscore keeps it apart from classes.
const READING: &str = "_reading";
/// Revisions are a field of every row; here nothing reads them.
const LANE: &str = "alone";

/// One reading of a device.
#[derive(Debug, Clone)]
pub struct PeerReading<'a> {
    /// The device's id.
    pub device: &'a str,
    /// Name of the telemetry.
    pub telemetry: &'a str,
    /// Microseconds since 1970.
    pub ts: i64,
    /// The value.
    pub value: f64,
}

/// SurrealDB with the ontology's tables, and nothing else.
#[derive(Debug)]
pub struct Peer {
    database: Database,
    ontology: Arc<Ontology>,
    lane: Arc<str>,
}

impl Peer {
    /// Opens SurrealDB in a folder.
    pub async fn open(
        folder: &Path,
        ontology: Arc<Ontology>,
        settings: &Settings,
    ) -> Result<Self, OpenError> {
        let url = format!("rocksdb://{}", folder.display());
        let definitions = format!(
            "{}DEFINE TABLE OVERWRITE `{READING}` SCHEMALESS PERMISSIONS NONE;",
            tables::definitions(&ontology)?
        );
        let database = Database::open(&url, REALM, settings).await?;
        if let Err(error) = tables::define(&database, &definitions).await {
            // What matters is why it could not be opened.
            drop(database.close().await);
            return Err(OpenError::Tables(error));
        }
        let lane = LANE.into();
        Ok(Self {
            database,
            ontology,
            lane,
        })
    }

    /// Closes the files.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.database.close().await
    }

    /// Writes one reading.
    pub async fn record(&self, reading: &PeerReading<'_>) -> Result<(), StoreError> {
        let vars = variables([
            ("id", reading_id(reading)),
            ("value", Value::Number(Number::Float(reading.value))),
        ]);
        let text = "CREATE $id SET value = $value RETURN NONE";
        self.database.run(text, vars).await.map(drop)
    }

    /// Writes a pack of readings in one transaction.
    pub async fn record_pack(&self, readings: &[PeerReading<'_>]) -> Result<(), StoreError> {
        let rows = readings.iter().map(|reading| {
            let mut row = Object::new();
            row.insert("id", reading_id(reading));
            row.insert("value", Value::Number(Number::Float(reading.value)));
            Value::Object(row)
        });
        let vars = variables([("rows", list(rows))]);
        let text = format!("INSERT INTO `{READING}` $rows RETURN NONE");
        self.database.run(&text, vars).await.map(drop)
    }

    /// Creates a twin and its relationships in one transaction.
    pub async fn create(&self, twin: &TwinState, edges: &[EdgeState]) -> Result<(), StoreError> {
        self.transaction(std::slice::from_ref(twin), edges).await
    }

    /// Inserts twins of any classes in one transaction.
    pub async fn insert(&self, twins: &[TwinState]) -> Result<(), StoreError> {
        self.transaction(twins, &[]).await
    }

    /// Inserts relationships of any names in one transaction.
    pub async fn relate(&self, edges: &[EdgeState]) -> Result<(), StoreError> {
        self.transaction(&[], edges).await
    }

    async fn transaction(
        &self,
        twins: &[TwinState],
        edges: &[EdgeState],
    ) -> Result<(), StoreError> {
        let mut text = "BEGIN;".to_owned();
        let mut vars = Variables::new();
        let mut by_class: BTreeMap<ClassId, Vec<Value>> = BTreeMap::new();
        for twin in twins {
            let row = self.row(twin)?;
            by_class.entry(twin.class).or_default().push(row);
        }
        for (class, rows) in by_class {
            let table = &self.ontology.class(class).name;
            let name = format!("c{}", class.0);
            text += "INSERT INTO `";
            text += table;
            text += "` $";
            text += &name;
            text += " RETURN NONE;";
            vars.insert(name, list(rows));
        }
        let mut by_name: BTreeMap<RelationshipId, Vec<Value>> = BTreeMap::new();
        for edge in edges {
            let row = rows::new_edge(&self.ontology, edge);
            by_name.entry(edge.relationship).or_default().push(row);
        }
        for (relationship, rows) in by_name {
            let table = &self.ontology.relationship(relationship).name;
            let name = format!("r{}", relationship.0);
            text += "INSERT RELATION INTO `";
            text += table;
            text += "` $";
            text += &name;
            text += " RETURN NONE;";
            vars.insert(name, list(rows));
        }
        text.push_str("COMMIT");
        self.database.run(&text, vars).await.map(drop)
    }

    fn row(&self, twin: &TwinState) -> Result<Value, StoreError> {
        let mut row = rows::new_twin(&self.ontology, &self.lane, twin)?;
        if let Value::Object(row) = &mut row {
            row.remove("shape");
        }
        Ok(row)
    }

    /// The row of an id; whether there is one.
    pub async fn by_id(&self, class: ClassId, id: &TwinId) -> Result<bool, StoreError> {
        let id = rows::twin_id(&self.ontology, class, id);
        let vars = variables([("id", Value::RecordId(id))]);
        let text = "SELECT * OMIT geometry FROM ONLY $id";
        let answer = self.database.run(text, vars).await?;
        Ok(matches!(answer.last(), Some(Value::Object(_))))
    }

    /// Ids of a class's rows at most so many metres from a point.
    pub async fn within(
        &self,
        class: ClassId,
        point: Point,
        metres: f64,
    ) -> Result<Vec<String>, StoreError> {
        let vars = variables([
            ("point", place(point)),
            ("metres", Value::Number(Number::Float(metres))),
        ]);
        let where_ = "WHERE geo::distance(geometry, $point) <= $metres";
        let text = format!("SELECT VALUE id FROM {} {where_}", self.table(class));
        self.ids(&text, vars).await
    }

    /// Ids of a class's rows nearest to a point.
    pub async fn nearest(
        &self,
        class: ClassId,
        point: Point,
        k: usize,
    ) -> Result<Vec<String>, StoreError> {
        let vars = variables([("point", place(point))]);
        let distance = "geo::distance(geometry, $point) AS metres";
        let text = format!(
            "SELECT VALUE id FROM (SELECT id, {distance} FROM {} ORDER BY metres LIMIT {k})",
            self.table(class)
        );
        self.ids(&text, vars).await
    }

    /// Ids of a class's rows whose geometry holds a point.
    pub async fn containing(
        &self,
        class: ClassId,
        point: Point,
    ) -> Result<Vec<String>, StoreError> {
        let vars = variables([("point", place(point))]);
        let where_ = "WHERE geometry CONTAINS $point";
        let text = format!("SELECT VALUE id FROM {} {where_}", self.table(class));
        self.ids(&text, vars).await
    }

    /// The first rows of a class with some of their fields, as JSON.
    pub async fn page(
        &self,
        class: ClassId,
        fields: &[&str],
        rows: usize,
    ) -> Result<Vec<u8>, StoreError> {
        let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
        let text = format!(
            "SELECT {} FROM {} LIMIT {rows}",
            fields.join(","),
            self.table(class)
        );
        let mut answer = self.database.run(&text, Variables::new()).await?;
        let json = answer.pop().map_or(Json::Null, stored_to_json);
        Ok(json.to_string().into_bytes())
    }

    /// Rows of all classes and relationships.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let classes = self.ontology.classes().iter().map(|class| &class.name);
        let relationships = self.ontology.relationships().iter().map(|kind| &kind.name);
        let mut text = String::new();
        for table in classes.chain(relationships) {
            text += "SELECT count() FROM `";
            text += table;
            text += "` GROUP ALL;";
        }
        let answers = self.database.run(&text, Variables::new()).await?;
        let mut rows = 0;
        for answer in answers {
            let Value::Array(groups) = answer else {
                return Err(damaged("count", "an answer that is no list"));
            };
            for group in groups {
                if let Value::Object(group) = group
                    && let Some(Value::Number(count)) = group.get("count")
                {
                    rows += count
                        .to_int()
                        .and_then(|n| u64::try_from(n).ok())
                        .unwrap_or(0);
                }
            }
        }
        Ok(rows)
    }

    fn table(&self, class: ClassId) -> String {
        let tables = self.ontology.with_descendants(class);
        let names = tables.map(|class| format!("`{}`", self.ontology.class(class).name));
        names.collect::<Vec<_>>().join(",")
    }

    async fn ids(&self, text: &str, vars: Variables) -> Result<Vec<String>, StoreError> {
        let mut answer = self.database.run(text, vars).await?;
        let Some(Value::Array(ids)) = answer.pop() else {
            return Err(damaged("ids", "an answer that is no list"));
        };
        let ids = ids.into_iter().filter_map(|id| match id {
            Value::RecordId(RecordId {
                key: RecordIdKey::String(key),
                ..
            }) => Some(key),
            _ => None,
        });
        Ok(ids.collect())
    }
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(Array::from(values.into_iter().collect::<Vec<_>>()))
}

fn place(point: Point) -> Value {
    Value::Geometry(Geometry::Point(geo_types::Point::new(point.lon, point.lat)))
}

/// The key decides what is the same reading, as it does for the twin.
fn reading_id(reading: &PeerReading<'_>) -> Value {
    let key = vec![
        Value::String(reading.device.to_owned()),
        Value::String(reading.telemetry.to_owned()),
        Value::Number(reading.ts.into()),
    ];
    let key = RecordIdKey::Array(Array::from(key));
    Value::RecordId(RecordId::new(READING, key))
}
