//! Lives of twins that ended: what was measured of a twin that was deleted is not of one that was made
//! again under its id.
//!
//! # Invariants
//! - A life that ended is known here before the commit that ended it is answered.
//! - Where some are not held in memory none are, and each question asks the table.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use surrealdb::types::{Array, Object, RecordId, RecordIdKey, Value};
use twin_core::store::{Loaded, Sink, StoreError};
use twin_core::{Group, TwinId};

use crate::database::{damaged, int, variables};
use crate::load::integer;
use crate::surreal::SurrealStore;
use crate::tables::ENDED;

/// Most ended lives that are held in memory, some 100 bytes each.
const MAX_LIVES: usize = 200_000;

/// Twins that are asked for together.
const LIVES_AT_ONCE: usize = 1_000;

/// Offsets below which readings of a twin are of an earlier life, by lane and twin.
type Ends = HashMap<Arc<str>, HashMap<TwinId, u64>>;

/// What this process knows of ended lives.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    /// `None`: not read yet, or too many.
    known: RwLock<Option<Ends>>,
}

impl Lives {
    /// The offset of a twin, if all are known; 0 where it had no earlier life.
    fn end(&self, lane: &str, twin: &TwinId) -> Option<u64> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let ends = known.as_ref()?.get(lane);
        Some(ends.and_then(|ends| ends.get(twin).copied()).unwrap_or(0))
    }

    fn know(&self, ends: Option<Ends>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = ends;
    }

    /// Takes in what a durable group ended.
    pub(crate) fn ended(&self, group: &Group) {
        if group.deleted().next().is_none() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let Some(ends) = known.as_mut() else {
            return;
        };
        let of_lane = ends.entry(Arc::clone(&group.lane)).or_default();
        for twin in group.deleted() {
            of_lane.insert(twin.clone(), group.first_reading());
        }
        if count(ends) > MAX_LIVES {
            *known = None;
        }
    }
}

fn count(ends: &Ends) -> usize {
    ends.values().map(HashMap::len).sum()
}

impl SurrealStore {
    /// Hands over the lives that ended on some lanes, and holds them.
    pub(crate) async fn load_lives(
        &self,
        lanes: &[Arc<str>],
        sink: &mut Sink<'_>,
    ) -> Result<(), StoreError> {
        let mut ends = Some(Ends::new());
        self.rows("*", ENDED, |row| {
            let (lane, twin, offset) = read_ended(&row)?;
            let Some(lane) = lanes.iter().find(|known| ***known == *lane) else {
                return Ok(());
            };
            if let Some(known) = &mut ends {
                let of_lane = known.entry(Arc::clone(lane)).or_default();
                of_lane.insert(twin.clone(), offset);
                if count(known) > MAX_LIVES {
                    ends = None;
                }
            }
            sink(Loaded::Ended { twin, offset })
        })
        .await?;
        self.lives.know(ends);
        Ok(())
    }

    /// Offset below which readings of a twin are of an earlier life; 0 where it had none.
    pub(crate) async fn born(&self, lane: &str, twin: &TwinId) -> Result<u64, StoreError> {
        if let Some(end) = self.lives.end(lane, twin) {
            return Ok(end);
        }
        let id = RecordId::new(ENDED, ended_key(lane, twin));
        let vars = variables([("id", Value::RecordId(id))]);
        let mut answers = self.database.run("SELECT * FROM ONLY $id", vars).await?;
        match answers.pop() {
            Some(Value::Object(row)) => read_ended(&row).map(|(_, _, offset)| offset),
            _ => Ok(0),
        }
    }

    /// Where the present lives of some twins began; those without an earlier life are left out.
    pub(crate) async fn births(
        &self,
        lane: &str,
        twins: &BTreeSet<&Arc<str>>,
    ) -> Result<HashMap<Arc<str>, u64>, StoreError> {
        let twins = twins.iter().filter_map(|twin| TwinId::new(twin).ok());
        let twins: Vec<TwinId> = twins.collect();
        let mut births = HashMap::new();
        for twins in twins.chunks(LIVES_AT_ONCE) {
            let mut unknown = Vec::new();
            for twin in twins {
                match self.lives.end(lane, twin) {
                    None => {
                        let id = RecordId::new(ENDED, ended_key(lane, twin));
                        unknown.push(Value::RecordId(id));
                    }
                    Some(0) => {}
                    Some(offset) => drop(births.insert(twin.as_str().into(), offset)),
                }
            }
            if unknown.is_empty() {
                continue;
            }
            let ids = variables([("ids", Value::Array(Array::from(unknown)))]);
            let found = self.database.run("SELECT * FROM $ids", ids).await?;
            let Some(Value::Array(rows)) = found.last() else {
                continue;
            };
            for row in rows {
                if let Value::Object(row) = row {
                    let (_, twin, offset) = read_ended(row)?;
                    births.insert(twin.as_str().into(), offset);
                }
            }
        }
        Ok(births)
    }
}

/// The key of a twin in the table of ended lives: `[lane, twin]`.
fn ended_key(lane: &str, twin: &TwinId) -> RecordIdKey {
    RecordIdKey::Array(Array::from(vec![
        Value::String(lane.to_owned()),
        Value::String(twin.as_str().to_owned()),
    ]))
}

fn read_ended(row: &Object) -> Result<(&str, TwinId, u64), StoreError> {
    let wrong = || damaged(ENDED, "a row whose id is not [lane, twin]");
    let Some(Value::RecordId(RecordId {
        key: RecordIdKey::Array(key),
        ..
    })) = row.get("id")
    else {
        return Err(wrong());
    };
    let [Value::String(lane), Value::String(twin)] = &key[..] else {
        return Err(wrong());
    };
    let twin = TwinId::new(twin).map_err(|error| damaged(ENDED, error))?;
    let offset = integer(ENDED, row, "offset")?.cast_unsigned();
    Ok((lane, twin, offset))
}

/// The rows of the lives that a group ends.
pub(crate) fn ended_rows(group: &Group) -> Vec<(RecordId, Value)> {
    let twins: BTreeSet<&TwinId> = group.deleted().collect();
    let rows = twins.into_iter().map(|twin| {
        let id = RecordId::new(ENDED, ended_key(&group.lane, twin));
        let mut row = Object::new();
        row.insert("id", Value::RecordId(id.clone()));
        row.insert("offset", int(group.first_reading()));
        (id, Value::Object(row))
    });
    rows.collect()
}
