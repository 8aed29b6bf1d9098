//! Writing: a lane is claimed, and each group is one transaction.
//!
//! # Invariants
//! - A group is one transaction, and its first statement is the fence: the lane's row must still
//!   have the writer's epoch and the group's first offset.
//! - What exists is changed by UPDATE and what is new by INSERT: UPSERT of rows that exist costs
//!   more with every row of the transaction.
//! - Relationships go before the twins they touch and come after them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::Ordering;
use std::time::Duration;

use ontology::{ClassId, RelationshipId};
use surrealdb::types::{Array, Bytes, Object, RecordId, RecordIdKey, Value, Variables};
use twin_core::store::{Lane, StoreError};
use twin_core::{EdgeWrite, Group, MAX_DEAD_LETTERS, RECEIPT_LIFE_US, RowWrite};

use crate::codec::{self, MAX_RECORD_BYTES, Packed};
use crate::database::{damaged, failure, int, is_conflict, offset_key, unanswered, variables};
use crate::lives::ended_rows;
use crate::load::{integer, receipt_bound};
use crate::log::{Kind, Tables};
use crate::rows;
use crate::surreal::SurrealStore;
use crate::tables::{CHANGE, DEAD_LETTER, ENDED, JOURNAL, LANE, RECEIPT};
use crate::values::to_stored;

/// What a transaction throws when its writer no longer holds the lane.
const FENCED: &str = "fenced";
/// Times a transaction that met another one is tried again. The committer is alone, so only the
/// engine's own maintenance can be in its way.
const MAX_CONFLICTS: usize = 8;
/// A commit that takes longer has an unknown outcome: writing stops, so that nobody waits without end.
const COMMIT_WITHIN: Duration = Duration::from_mins(1);
/// Everyone waits while expired receipts are deleted, so that is given up after so long.
const FORGET_WITHIN: Duration = Duration::from_secs(5);
/// After so many new receipts, at most twice as many expired ones are deleted: few, because each
/// delete costs the engine milliseconds.
const RECEIPTS_AT_ONCE: usize = 50;

impl SurrealStore {
    pub(crate) async fn claim_lane(&self, lane: &str) -> Result<Lane, StoreError> {
        self.count_letters().await?;
        let text = "UPSERT ONLY $lane SET epoch = (epoch ?? 0) + 1, next = next ?? 0 RETURN AFTER";
        let vars = variables([("lane", Value::RecordId(RecordId::new(LANE, lane)))]);
        let mut answers = self.database.run(text, vars).await?;
        let row = match answers.pop() {
            Some(Value::Object(row)) => read_lane(lane, &row)?,
            other => {
                return Err(damaged(
                    LANE,
                    format!("the row of lane `{lane}` reads {other:?}"),
                ));
            }
        };
        self.log.put(&mut *self.log.lock().await, row.tables);
        self.claim_history(lane, row.lane.epoch).await?;
        self.drop_forgotten_logs(lane, row.lane.epoch).await?;
        Ok(row.lane)
    }

    /// Forgets expired receipts as new ones come, so that there is never much to forget at once.
    ///
    /// The group is durable: what fails here is said, and tried again later.
    async fn forget_in_turn(&self, group: &Group) {
        let new = group.receipts.len();
        let due = self.receipts_since.fetch_add(new, Ordering::Relaxed) + new;
        if due < RECEIPTS_AT_ONCE {
            return;
        }
        self.receipts_since.store(0, Ordering::Relaxed);
        let forgetting = self.forget_some_receipts(&group.lane, group.at);
        match tokio::time::timeout(FORGET_WITHIN, forgetting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "expired receipts could not be deleted"),
            Err(_) => tracing::warn!("deleting expired receipts takes too long, and is left"),
        }
    }

    /// Deletes the oldest receipts that have expired by `now`, which is the twin's time.
    async fn forget_some_receipts(&self, lane: &str, now: i64) -> Result<(), StoreError> {
        let mut old = Vec::new();
        let young = now.saturating_sub(RECEIPT_LIFE_US);
        let bounds = (
            Bound::Included(receipt_bound(lane, i64::MIN)),
            Bound::Excluded(receipt_bound(lane, young)),
        );
        self.database
            .page("id", RECEIPT, bounds, |mut row| {
                old.extend(row.remove("id"));
                let full = old.len() == 2 * RECEIPTS_AT_ONCE;
                Ok(if full {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })
            .await?;
        if !old.is_empty() {
            let vars = variables([("old", Value::Array(Array::from(old)))]);
            self.database.run("DELETE $old RETURN NONE", vars).await?;
        }
        Ok(())
    }

    pub(crate) async fn commit_group(&self, group: &Group) -> Result<(), StoreError> {
        debug_assert!(
            group.validate(),
            "the committer made a group that does not add up"
        );
        match tokio::time::timeout(COMMIT_WITHIN, self.write(group)).await {
            Ok(written) => written?,
            Err(_) => return Err(StoreError::Engine(unanswered(COMMIT_WITHIN))),
        }
        self.lives.ended(group);
        let letters = group.dead_letters.len() as u64;
        self.next_letter.fetch_add(letters, Ordering::Relaxed);
        self.forget_in_turn(group).await;
        Ok(())
    }

    async fn write(&self, group: &Group) -> Result<(), StoreError> {
        // Held through the transaction: the lane's row names the tables.
        let mut log = self.log.lock().await;
        for _ in 0..MAX_CONFLICTS {
            let (text, vars, tables) = self.transaction(group, &log)?;
            match self.database.attempt(&text, vars).await {
                Ok(_) => {
                    self.log.put(&mut log, tables);
                    return Ok(());
                }
                Err(error) if is_conflict(&error) => tokio::task::yield_now().await,
                Err(error) if error.is_thrown() && error.message().contains(FENCED) => {
                    return Err(StoreError::Fenced {
                        lane: group.lane.to_string(),
                    });
                }
                Err(error) => return Err(failure(&error)),
            }
        }
        // Nothing of it is durable, but the data is not at fault: whoever asked must not give up.
        Err(StoreError::Engine(format!(
            "met other transactions {MAX_CONFLICTS} times in a row"
        )))
    }

    /// The statements of a group, and what they are bound to.
    fn transaction(
        &self,
        group: &Group,
        log: &Tables,
    ) -> Result<(String, Variables, Tables), StoreError> {
        let ontology = &*self.ontology;
        let changes = codec::encode_changes(group, ontology);
        let readings = codec::encode_readings(group, ontology);
        let mut tables = log.clone();
        let bytes = [&changes, &readings];
        let bytes = bytes.map(|records| records.iter().map(|r| r.bytes.len() as u64).sum());
        let begun = tables.grow(&self.log.keep(), group.first, group.at, bytes);
        let mut transaction = Transaction::fenced(group, &tables);
        for kind in begun {
            let table = kind.table(&group.lane, group.first);
            transaction.say(format_args!(
                "DEFINE TABLE IF NOT EXISTS `{table}` SCHEMALESS PERMISSIONS NONE;"
            ));
        }

        let mut gone = Vec::new();
        let mut related: BTreeMap<RelationshipId, Vec<Value>> = BTreeMap::new();
        let mut changed = Vec::new();
        for edge in &group.edges {
            match edge {
                EdgeWrite::Delete(edge) => {
                    gone.push(Value::RecordId(rows::edge_id(ontology, edge)));
                }
                EdgeWrite::Insert(edge) => {
                    let row = rows::new_edge(ontology, edge);
                    related.entry(edge.relationship).or_default().push(row);
                }
                EdgeWrite::Update(edge) => changed.push(rows::changed_edge(ontology, edge)),
            }
        }
        let mut created: BTreeMap<ClassId, Vec<Value>> = BTreeMap::new();
        let mut twins_gone = Vec::new();
        for row in &group.rows {
            match row {
                RowWrite::Insert(state) => {
                    let row = rows::new_twin(ontology, &group.lane, state)?;
                    created.entry(state.class).or_default().push(row);
                }
                RowWrite::Update { state, geometry } => {
                    let row = rows::changed_twin(ontology, &group.lane, state, *geometry)?;
                    changed.push(row);
                }
                RowWrite::Delete { class, id } => {
                    twins_gone.push(Value::RecordId(rows::twin_id(ontology, *class, id)));
                }
            }
        }
        transaction.delete(gone);
        transaction.delete(twins_gone);
        for (class, rows) in created {
            transaction.insert("INSERT INTO", &ontology.class(class).name, rows);
        }
        transaction.update(changed);
        for (relationship, rows) in related {
            let name = &ontology.relationship(relationship).name;
            transaction.insert("INSERT RELATION INTO", name, rows);
        }
        for (kind, records) in [(Kind::Change, changes), (Kind::Journal, readings)] {
            let last = tables.of(kind).last().map_or(0, |table| table.first);
            let table = kind.table(&group.lane, last);
            let rows = packed_rows(&group.lane, &table, records);
            transaction.insert("INSERT INTO", &table, rows);
        }
        transaction.insert("INSERT INTO", RECEIPT, receipt_rows(group));
        transaction.replace(ENDED, ended_rows(group));
        let (letters, replaced) = self.letter_rows(group);
        transaction.insert("INSERT INTO", DEAD_LETTER, letters);
        transaction.update(replaced);
        let (text, vars) = transaction.finish();
        Ok((text, vars, tables))
    }

    /// Rows of dead letters: those for places that are free, and those that replace the oldest, as
    /// updates, because UPSERT and DELETE cost three to thirty times as much.
    fn letter_rows(&self, group: &Group) -> (Vec<Value>, Vec<Value>) {
        let first = self.next_letter.load(Ordering::Relaxed);
        let letters = group.dead_letters.iter().zip(first..);
        // Of more letters than places only the last of each place remains.
        let skipped = group
            .dead_letters
            .len()
            .saturating_sub(MAX_DEAD_LETTERS as usize);
        let (mut new, mut replaced) = (Vec::new(), Vec::new());
        for (letter, number) in letters.skip(skipped) {
            let place = offset_key(&group.lane, &[number % MAX_DEAD_LETTERS]);
            let id = Value::RecordId(RecordId::new(DEAD_LETTER, place));
            let payload = std::str::from_utf8(&letter.payload).map_or_else(
                |_| Value::Bytes(Bytes::from(letter.payload.to_vec())),
                |text| Value::String(text.to_owned()),
            );
            let mut row = Object::new();
            row.insert("number", int(number));
            row.insert("at", to_stored(&ontology::Value::DateTime(letter.at)));
            row.insert("client", letter.client.to_string());
            row.insert("topic", letter.topic.to_string());
            row.insert("reason", letter.reason.to_string());
            row.insert("detail", letter.detail.clone());
            row.insert("size", int(letter.size));
            row.insert("payload", payload);
            // A place is filled by the first letter for it and never emptied.
            if first >= MAX_DEAD_LETTERS || number % MAX_DEAD_LETTERS < first {
                let mut change = Object::new();
                change.insert("id", id);
                change.insert("set", Value::Object(row));
                replaced.push(Value::Object(change));
            } else {
                row.insert("id", id);
                new.push(Value::Object(row));
            }
        }
        (new, replaced)
    }

    /// The number after the newest dead letter's.
    async fn count_letters(&self) -> Result<(), StoreError> {
        let mut next = 0;
        self.rows("id, number", DEAD_LETTER, |row| {
            let number = integer(DEAD_LETTER, &row, "number")?.cast_unsigned();
            next = next.max(number + 1);
            Ok(())
        })
        .await?;
        self.next_letter.store(next, Ordering::Relaxed);
        Ok(())
    }
}

/// A lane's row.
#[derive(Debug, Clone)]
pub(crate) struct LaneRow {
    pub(crate) lane: Lane,
    pub(crate) tables: Tables,
}

pub(crate) fn read_lane(lane: &str, row: &Object) -> Result<LaneRow, StoreError> {
    let number = |field: &str| match row.get(field) {
        Some(Value::Number(number)) => number.to_int().and_then(|n| u64::try_from(n).ok()),
        _ => None,
    };
    match (number("epoch"), number("next")) {
        (Some(epoch), Some(next)) => Ok(LaneRow {
            lane: Lane { epoch, next },
            tables: Tables::read(lane, row)?,
        }),
        _ => Err(damaged(
            LANE,
            format!("the row of lane `{lane}` reads {row:?}"),
        )),
    }
}

/// Packed records as rows; one that is too large stands in several, in order of its parts.
fn packed_rows(lane: &str, table: &str, records: Vec<Packed>) -> Vec<Value> {
    let mut rows = Vec::with_capacity(records.len());
    for Packed { first, bytes } in records {
        let bytes = Bytes::from(bytes);
        let mut start = 0;
        let mut part = 0;
        while start < bytes.len() {
            let end = bytes.len().min(start + MAX_RECORD_BYTES);
            let mut row = Object::new();
            let key = offset_key(lane, &[first, part]);
            row.insert("id", Value::RecordId(RecordId::new(table, key)));
            row.insert("data", Value::Bytes(Bytes::from(bytes.slice(start..end))));
            rows.push(Value::Object(row));
            (start, part) = (end, part + 1);
        }
    }
    rows
}

fn receipt_rows(group: &Group) -> Vec<Value> {
    let receipts = group.receipts.iter().zip(0_u64..);
    let rows = receipts.map(|(receipt, index)| {
        let mut row = Object::new();
        // Its place, not its key: a key may come again after a day, and a new row must not meet
        // the old one. By time first, so that old ones are one range.
        let key = vec![
            Value::String(group.lane.to_string()),
            Value::Number(group.at.into()),
            int(group.next),
            int(index),
        ];
        let id = RecordId::new(RECEIPT, RecordIdKey::Array(Array::from(key)));
        row.insert("id", Value::RecordId(id));
        row.insert("principal", receipt.principal.as_str().to_owned());
        row.insert("key", receipt.idempotency.key.to_string());
        row.insert("hash", receipt.idempotency.hash.cast_signed());
        row.insert("offset", int(receipt.offset));
        row.insert("changes", int(receipt.changes));
        row.insert("at", receipt.at);
        Value::Object(row)
    });
    rows.collect()
}

/// Where the readings of deleted twins end, each twin once.
/// A transaction as it grows: its text holds names of tables and variables only.
struct Transaction {
    text: String,
    vars: Variables,
    bound: usize,
}

impl Transaction {
    fn fenced(group: &Group, tables: &Tables) -> Self {
        let vars = variables([
            ("change", tables.values(Kind::Change)),
            ("journal", tables.values(Kind::Journal)),
            ("lane", Value::RecordId(RecordId::new(LANE, &*group.lane))),
            ("epoch", int(group.epoch)),
            ("first", int(group.first)),
            ("next", int(group.next)),
        ]);
        let text = format!(
            "BEGIN;\
             LET $held = UPDATE $lane SET next = $next, \
             {CHANGE} = $change, {JOURNAL} = $journal WHERE epoch = $epoch AND next = $first RETURN VALUE true;\
             IF $held != [true] {{ THROW '{FENCED}' }};"
        );
        Self {
            text,
            vars,
            bound: 0,
        }
    }

    fn bind(&mut self, values: Vec<Value>) -> String {
        let name = format!("v{}", self.bound);
        self.bound += 1;
        self.vars.insert(&*name, Value::Array(Array::from(values)));
        name
    }

    fn delete(&mut self, ids: Vec<Value>) {
        if !ids.is_empty() {
            let name = self.bind(ids);
            self.say(format_args!("DELETE ${name} RETURN NONE;"));
        }
    }

    /// Puts rows in the place of those of the same ids, which may not be there.
    fn replace(&mut self, table: &str, rows: Vec<(RecordId, Value)>) {
        let (ids, rows) = rows.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        self.delete(ids.into_iter().map(Value::RecordId).collect());
        self.insert("INSERT INTO", table, rows);
    }

    fn insert(&mut self, verb: &str, table: &str, rows: Vec<Value>) {
        if !rows.is_empty() {
            let name = self.bind(rows);
            self.say(format_args!("{verb} `{table}` ${name} RETURN NONE;"));
        }
    }

    fn update(&mut self, changes: Vec<Value>) {
        if !changes.is_empty() {
            let name = self.bind(changes);
            self.say(format_args!(
                "FOR $change IN ${name} {{ UPDATE $change.id MERGE $change.set RETURN NONE }};"
            ));
        }
    }

    fn say(&mut self, statement: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _infallible = self.text.write_fmt(statement);
    }

    fn finish(mut self) -> (String, Variables) {
        self.text.push_str("COMMIT");
        (self.text, self.vars)
    }
}
