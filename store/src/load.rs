//! Reading everything that is live back at start, in pages.
//!
//! # Invariants
//! - Twins come before relationships, and those before receipts and readings; rows of one table
//!   come in the order of their ids, readings in the order of their offsets.
//! - A page is bounded in rows and in bytes of geometry; nothing is held after it was handed over.
//! - A row that the ontology cannot explain ends the loading with an error that names the row.

use std::ops::{Bound, ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use surrealdb::types::{Array, Object, RecordId, RecordIdKey, Value, Variables};
use twin_core::store::{Loaded, Sink, StoreError};
use twin_core::{Idempotency, KeptReceipt, Principal, RECEIPT_LIFE_US};

use crate::codec::{self, MAX_RECORD_BYTES};
use crate::commit::{LaneRow, read_lane};
use crate::database::{damaged, offset_key, variables};
use crate::log::{Kind, Tables};
use crate::rows::{read_edge, read_twin};
use crate::surreal::SurrealStore;
use crate::tables::{JOURNAL, LANE, RECEIPT};

/// Rows of one page. Each page is a transaction of its own, so that none is long.
const PAGE_ROWS: usize = 20_000;
/// Tables that are read at once; each holds a few batches of rows in memory.
const READERS: usize = 3;
/// Largest packed record that is put together from its parts.
const MAX_PACKED_BYTES: usize = 64 * MAX_RECORD_BYTES;
/// Everything of a twin's row except its planar geometry, which the shape says better.
pub(crate) const TWIN_ROW: &str = "* OMIT geometry, cell";

impl SurrealStore {
    pub(crate) async fn load_all(&self, now: i64, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        self.refuse_strangers().await?;
        // The engine reads each table on a task of its own; several keep all cores busy. Within a
        // table the order stays, so what is loaded is the same every time.
        let shared = Mutex::new(&mut *sink);
        let give = |loaded| {
            let mut sink = shared.lock().unwrap_or_else(PoisonError::into_inner);
            sink(loaded)
        };
        let twins = self.ontology.classes().iter().map(|class| {
            self.rows(TWIN_ROW, &class.name, |row| {
                give(Loaded::Twin(read_twin(&self.ontology, class, row)?.0))
            })
        });
        all_of(twins.collect()).await?;
        let edges = self.ontology.relationships().iter().map(|kind| {
            self.rows("*", &kind.name, |row| {
                give(Loaded::Edge(read_edge(&self.ontology, kind, row)?))
            })
        });
        all_of(edges.collect()).await?;
        let lanes = self.lanes().await?;
        for (lane, _) in &lanes {
            self.receipts(lane, now, sink).await?;
        }
        let named: Vec<_> = lanes.iter().map(|(lane, _)| Arc::clone(lane)).collect();
        self.load_lives(&named, sink).await?;
        for (lane, row) in lanes {
            let ontology = Arc::clone(&self.ontology);
            let kept = self.load_latest(&lane, sink).await?;
            let span = kept..row.lane.next;
            self.packed(Kind::Journal, &lane, &row.tables, span, |offset, bytes| {
                let place = || format!("{JOURNAL}:['{lane}', {offset}]");
                let record = codec::decode_readings(bytes, &ontology)
                    .map_err(|error| damaged(&place(), error))?;
                let (arrived, first) = (record.header.at, record.header.first);
                let mut foreign = 0;
                for (reading, offset) in record.readings.into_iter().zip(first..) {
                    let Some(reading) = reading else {
                        foreign += 1;
                        continue;
                    };
                    sink(Loaded::Reading {
                        reading,
                        arrived,
                        offset,
                    })?;
                }
                if foreign > 0 {
                    sink(Loaded::Foreign { readings: foreign })?;
                }
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Hands over every row of a table, in the order of ids.
    pub(crate) async fn rows<F>(
        &self,
        fields: &str,
        table: &str,
        mut each: F,
    ) -> Result<(), StoreError>
    where
        F: FnMut(Object) -> Result<(), StoreError> + Send,
    {
        let mut after: Bound<RecordIdKey> = Bound::Unbounded;
        loop {
            let mut count = 0;
            let mut last = None;
            let bounds = (after, Bound::Unbounded);
            self.database
                .page(fields, table, bounds, |row| {
                    count += 1;
                    if count == PAGE_ROWS
                        && let Some(Value::RecordId(id)) = row.get("id")
                    {
                        last = Some(id.key.clone());
                    }
                    each(row)?;
                    let full = last.is_some();
                    Ok(if full {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    })
                })
                .await?;
            match last {
                Some(last) => after = Bound::Excluded(last),
                None => return Ok(()),
            }
        }
    }

    /// Refuses to go on where a table holds rows that no class or relationship explains.
    async fn refuse_strangers(&self) -> Result<(), StoreError> {
        let mut answers = self.database.run("INFO FOR DB", Variables::new()).await?;
        let Some(Value::Object(mut info)) = answers.pop() else {
            return Ok(());
        };
        let Some(Value::Object(tables)) = info.remove("tables") else {
            return Ok(());
        };
        for table in tables.keys() {
            let known = table.starts_with('_')
                || self.ontology.class_named(table).is_some()
                || self.ontology.relationship_named(table).is_some();
            if known {
                continue;
            }
            let mut rows = 0;
            let bounds = (Bound::Unbounded, Bound::Unbounded);
            self.database
                .page("id", table, bounds, |_| {
                    rows += 1;
                    Ok(ControlFlow::Break(()))
                })
                .await?;
            if rows > 0 {
                return Err(damaged(
                    table,
                    "twins or relationships of it are stored, but the ontology no longer has it: \
                     add it back to its pack, or delete them under the old ontology first",
                ));
            }
        }
        Ok(())
    }

    async fn receipts(&self, lane: &str, now: i64, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        let first = now.saturating_sub(RECEIPT_LIFE_US);
        let young = (
            Bound::Included(receipt_bound(lane, first)),
            Bound::Excluded(receipt_bound(lane, i64::MAX)),
        );
        self.database
            .page("*", RECEIPT, young, |row| {
                sink(Loaded::Receipt(read_receipt(&row)?))?;
                Ok(ControlFlow::Continue(()))
            })
            .await
    }

    /// All lanes and their rows.
    pub(crate) async fn lanes(&self) -> Result<Vec<(Arc<str>, LaneRow)>, StoreError> {
        let mut lanes = Vec::new();
        self.rows("*", LANE, |row| {
            let Some(Value::RecordId(RecordId {
                key: RecordIdKey::String(lane),
                ..
            })) = row.get("id")
            else {
                return Err(damaged(LANE, "a row whose id is no text"));
            };
            lanes.push((Arc::from(lane.as_str()), read_lane(lane, &row)?));
            Ok(())
        })
        .await?;
        Ok(lanes)
    }

    /// A lane's row, if it was ever claimed.
    pub(crate) async fn lane(&self, lane: &str) -> Result<Option<LaneRow>, StoreError> {
        let vars = variables([("lane", Value::RecordId(RecordId::new(LANE, lane)))]);
        let mut answers = self.database.run("SELECT * FROM ONLY $lane", vars).await?;
        match answers.pop() {
            Some(Value::Object(row)) => read_lane(lane, &row).map(Some),
            _ => Ok(None),
        }
    }

    /// Hands over the packed records of a lane's log that begin within `from..to`, in order, each
    /// put together from its parts, until the receiver has enough.
    pub(crate) async fn packed<F>(
        &self,
        kind: Kind,
        lane: &str,
        tables: &Tables,
        Range { start, end }: Range<u64>,
        mut each: F,
    ) -> Result<(), StoreError>
    where
        F: FnMut(u64, &[u8]) -> Result<ControlFlow<()>, StoreError> + Send,
    {
        let mut ended = false;
        for first in tables.between(kind, start, end) {
            let table = kind.table(lane, first);
            self.packed_in(&table, lane, start..end, |offset, bytes| {
                let flow = each(offset, bytes)?;
                ended = flow.is_break();
                Ok(flow)
            })
            .await?;
            if ended {
                break;
            }
        }
        Ok(())
    }

    /// The same of one table.
    async fn packed_in<F>(
        &self,
        table: &str,
        lane: &str,
        Range { start, end }: Range<u64>,
        mut each: F,
    ) -> Result<(), StoreError>
    where
        F: FnMut(u64, &[u8]) -> Result<ControlFlow<()>, StoreError> + Send,
    {
        let mut assembly: Option<(u64, Vec<u8>)> = None;
        let mut ended = false;
        let bounds = (
            Bound::Included(offset_key(lane, &[start])),
            Bound::Excluded(offset_key(lane, &[end])),
        );
        self.database
            .page("id, data", table, bounds, |row| {
                let (offset, part, data) = read_part(table, row)?;
                match &mut assembly {
                    Some((first, bytes)) if *first == offset && part > 0 => {
                        if bytes.len() + data.len() > MAX_PACKED_BYTES {
                            let place = format!("{table}:['{lane}', {offset}]");
                            return Err(damaged(&place, "its parts are more than a record holds"));
                        }
                        bytes.extend_from_slice(&data);
                        return Ok(ControlFlow::Continue(()));
                    }
                    _ => {}
                }
                let before = assembly.replace((offset, data));
                let flow = match before {
                    Some((first, bytes)) => each(first, &bytes)?,
                    None => ControlFlow::Continue(()),
                };
                ended = flow.is_break();
                Ok(flow)
            })
            .await?;
        match assembly {
            Some((first, bytes)) if !ended => each(first, &bytes).map(drop),
            _ => Ok(()),
        }
    }
}

/// Runs readers of tables, [`READERS`] at a time, until all are done or one fails.
async fn all_of(
    readers: Vec<impl Future<Output = Result<(), StoreError>>>,
) -> Result<(), StoreError> {
    let mut running = stream::iter(readers).buffer_unordered(READERS);
    while running.try_next().await?.is_some() {}
    Ok(())
}

/// Where receipts of a lane begin that arrived at a time: their ids are `[lane, at, …]`.
pub(crate) fn receipt_bound(lane: &str, at: i64) -> RecordIdKey {
    RecordIdKey::Array(Array::from(vec![
        Value::String(lane.to_owned()),
        Value::Number(at.into()),
    ]))
}

/// A row of a packed table: offset, part and bytes.
pub(crate) fn read_part(table: &str, mut row: Object) -> Result<(u64, u64, Vec<u8>), StoreError> {
    let Some(Value::RecordId(id)) = row.remove("id") else {
        return Err(damaged(table, "a row without an id"));
    };
    let place = || crate::values::record_id_text(&id);
    let RecordIdKey::Array(key) = &id.key else {
        return Err(damaged(&place(), "its id is not [lane, offset, part]"));
    };
    let number = |value: &Value| match value {
        Value::Number(number) => number.to_int().and_then(|n| u64::try_from(n).ok()),
        _ => None,
    };
    let [_, offset, part] = &key[..] else {
        return Err(damaged(&place(), "its id is not [lane, offset, part]"));
    };
    let (Some(offset), Some(part)) = (number(offset), number(part)) else {
        return Err(damaged(&place(), "its id is not [lane, offset, part]"));
    };
    match row.remove("data") {
        Some(Value::Bytes(data)) => Ok((offset, part, data.to_vec())),
        _ => Err(damaged(&place(), "its data is missing")),
    }
}

pub(crate) fn integer(table: &str, row: &Object, field: &str) -> Result<i64, StoreError> {
    match row.get(field) {
        Some(Value::Number(number)) => number.to_int(),
        _ => None,
    }
    .ok_or_else(|| damaged(table, format!("a row whose `{field}` is no integer")))
}

fn read_receipt(row: &Object) -> Result<KeptReceipt, StoreError> {
    let text = |field: &str| match row.get(field) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(damaged(
            RECEIPT,
            format!("a row whose `{field}` is no text"),
        )),
    };
    let principal = Principal::new(text("principal")?).map_err(|error| damaged(RECEIPT, error))?;
    Ok(KeptReceipt {
        principal,
        idempotency: Idempotency {
            key: text("key")?.as_str().into(),
            hash: integer(RECEIPT, row, "hash")?.cast_unsigned(),
        },
        offset: integer(RECEIPT, row, "offset")?.cast_unsigned(),
        changes: integer(RECEIPT, row, "changes")?.cast_unsigned(),
        at: integer(RECEIPT, row, "at")?,
    })
}
