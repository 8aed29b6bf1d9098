//! The log: tables of packed changes and of packed readings, one after another, and what each
//! covers.
//!
//! A table is begun when the one before is large or old enough, and dropped whole when retention
//! has passed it: dropping a table costs a tenth of deleting its rows.
//!
//! # Invariants
//! - A table begins with a group and holds every group up to the beginning of the next table.
//! - The tables stand in the lane's row, oldest first; the last one is written. Only a process that
//!   holds the lane changes them, and only under [`Log::lock`].
//! - What retention drops was sealed before, as far as it is readings.

use std::fmt;
use std::time::Duration;

use surrealdb::types::{Array, Object, RecordId, Value, Variables};
use tokio::sync::{Mutex, MutexGuard};
use twin_core::history::Tend;
use twin_core::store::StoreError;

use crate::database::{damaged, int, variables};
use crate::surreal::SurrealStore;
use crate::tables::{CHANGE, JOURNAL, LANE};

/// A log that is kept within a limit is cut into about so many tables.
const TABLES: u32 = 16;
/// Largest table of a log that is kept within a limit, bytes.
const MAX_TABLE_BYTES: u64 = 256 << 20;

/// What of a log is kept. Both limits hold at once; without any, everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Most bytes, about.
    pub bytes: Option<u64>,
    /// Longest time since it was written, about.
    pub time: Option<Duration>,
}

impl Keep {
    /// Whether a table is large or old enough to begin another after it.
    fn ends(&self, table: &LogTable, now: i64) -> bool {
        let bytes = self
            .bytes
            .map(|b| (b / u64::from(TABLES)).clamp(1, MAX_TABLE_BYTES));
        let time = self.time.map(|time| micros(time / TABLES));
        bytes.is_some_and(|most| table.bytes >= most)
            || time.is_some_and(|most| now.saturating_sub(table.opened) >= most)
    }

    /// How many of the oldest tables may go, if those that begin their successor after `free` must
    /// stay. Time is what has surely passed, as far as that is known.
    fn passed(&self, tables: &[LogTable], free: u64, passed: Option<i64>) -> usize {
        let mut bytes: u64 = tables.iter().map(|table| table.bytes).sum();
        let mut count = 0;
        for pair in tables.windows(2) {
            let [table, next] = pair else { break };
            let large = self.bytes.is_some_and(|most| bytes > most);
            let old = matches!((self.time, passed), (Some(most), Some(passed))
                if passed.saturating_sub(next.opened) > micros(most));
            if next.first > free || !(large || old) {
                break;
            }
            bytes -= table.bytes;
            count += 1;
        }
        count
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// One of the two logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Structural changes.
    Change,
    /// Readings.
    Journal,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base())
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Change, Self::Journal];

    /// Name of the first table; those after it have it in front.
    fn base(self) -> &'static str {
        match self {
            Self::Change => CHANGE,
            Self::Journal => JOURNAL,
        }
    }

    /// Name of the table of a lane that begins at an offset.
    pub(crate) fn table(self, lane: &str, first: u64) -> String {
        match (self.base(), first) {
            (base, 0) => base.to_owned(),
            (base, first) => format!("{base}_{lane}_{first}"),
        }
    }

    /// Whether a table's name is one of this log's, in any lane.
    pub(crate) fn owns(self, table: &str) -> bool {
        let rest = table.strip_prefix(self.base());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    }
}

/// A table of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogTable {
    /// First offset that it may hold.
    pub(crate) first: u64,
    /// When its first group arrived, microseconds since 1970.
    pub(crate) opened: i64,
    /// Bytes of its records.
    pub(crate) bytes: u64,
}

/// The tables of a lane, oldest first; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) change: Vec<LogTable>,
    pub(crate) journal: Vec<LogTable>,
}

impl Default for Tables {
    fn default() -> Self {
        let first = LogTable {
            first: 0,
            opened: 0,
            bytes: 0,
        };
        Self {
            change: vec![first],
            journal: vec![first],
        }
    }
}

impl Tables {
    pub(crate) fn of(&self, kind: Kind) -> &[LogTable] {
        match kind {
            Kind::Change => &self.change,
            Kind::Journal => &self.journal,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut Vec<LogTable> {
        match kind {
            Kind::Change => &mut self.change,
            Kind::Journal => &mut self.journal,
        }
    }

    /// Offset below which groups are no longer whole.
    pub(crate) fn floor(&self) -> u64 {
        let first = |kind| self.of(kind).first().map_or(0, |table| table.first);
        first(Kind::Change).max(first(Kind::Journal))
    }

    /// Tables that may hold records which begin within `from..to`, oldest first.
    pub(crate) fn between(&self, kind: Kind, from: u64, to: u64) -> Vec<u64> {
        let tables = self.of(kind);
        let before = tables.partition_point(|table| table.first <= from);
        let tables = tables[before.saturating_sub(1)..].iter();
        let within = tables.take_while(|table| table.first < to);
        within.map(|table| table.first).collect()
    }

    /// Reads them from a lane's row.
    pub(crate) fn read(lane: &str, row: &Object) -> Result<Self, StoreError> {
        let mut tables = Self::default();
        for kind in Kind::ALL {
            let Some(Value::Array(rows)) = row.get(kind.base()) else {
                continue; // None was begun after the first one.
            };
            let read: Option<Vec<LogTable>> = rows.iter().map(read_table).collect();
            match read {
                Some(read) if !read.is_empty() => *tables.of_mut(kind) = read,
                _ => {
                    let what = format!("the tables of {kind} of lane `{lane}` read {rows:?}");
                    return Err(damaged(LANE, what));
                }
            }
        }
        Ok(tables)
    }

    /// The same as values of a lane's row.
    pub(crate) fn values(&self, kind: Kind) -> Value {
        let rows = self.of(kind).iter().map(|table| {
            Value::Array(Array::from(vec![
                int(table.first),
                Value::Number(table.opened.into()),
                int(table.bytes),
            ]))
        });
        Value::Array(Array::from(rows.collect::<Vec<_>>()))
    }

    /// Takes bytes of a group in; answers the tables that begin with it.
    pub(crate) fn grow(
        &mut self,
        keep: &[Keep; 2],
        first: u64,
        at: i64,
        bytes: [u64; 2],
    ) -> Vec<Kind> {
        let mut begun = Vec::new();
        for ((kind, keep), bytes) in Kind::ALL.into_iter().zip(keep).zip(bytes) {
            if bytes == 0 {
                continue;
            }
            let tables = self.of_mut(kind);
            if let Some(table) = tables.last_mut() {
                if table.bytes == 0 && table.opened == 0 {
                    table.opened = at;
                }
                if !keep.ends(table, at) || table.first == first {
                    table.bytes += bytes;
                    continue;
                }
            }
            tables.push(LogTable {
                first,
                opened: at,
                bytes,
            });
            begun.push(kind);
        }
        begun
    }
}

fn read_table(value: &Value) -> Option<LogTable> {
    let Value::Array(numbers) = value else {
        return None;
    };
    let number = |value: &Value| match value {
        Value::Number(number) => number.to_int(),
        _ => None,
    };
    let [first, opened, bytes] = &numbers[..] else {
        return None;
    };
    Some(LogTable {
        first: u64::try_from(number(first)?).ok()?,
        opened: number(opened)?,
        bytes: u64::try_from(number(bytes)?).ok()?,
    })
}

/// What there is of a log, and what of it is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogState {
    /// Offset from which on it is there.
    pub first: u64,
    /// Bytes of its records.
    pub bytes: u64,
    /// What is kept.
    pub keep: Keep,
}

/// The log of the lane that this process writes.
#[derive(Debug, Default)]
pub(crate) struct Log {
    tables: Mutex<Tables>,
    /// First offset and bytes of changes and of readings, for those who may not wait for the tables.
    seen: std::sync::Mutex<[(u64, u64); 2]>,
    /// What is kept of changes and of readings.
    keep: std::sync::Mutex<[Keep; 2]>,
}

impl Log {
    pub(crate) fn new(change: Keep, journal: Keep) -> Self {
        Self {
            tables: Mutex::default(),
            seen: std::sync::Mutex::default(),
            keep: std::sync::Mutex::new([change, journal]),
        }
    }

    /// The tables, for whoever changes them in the store too.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().await
    }

    /// Puts other tables in the place of those that are held.
    pub(crate) fn put(&self, held: &mut Tables, tables: Tables) {
        let seen = Kind::ALL.map(|kind| {
            let tables = tables.of(kind);
            let first = tables.first().map_or(0, |table| table.first);
            (first, tables.iter().map(|table| table.bytes).sum())
        });
        *held = tables;
        *self
            .seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = seen;
    }

    /// What is kept of changes and of readings.
    pub(crate) fn keep(&self) -> [Keep; 2] {
        *self
            .keep
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn set_keep(&self, change: Keep, journal: Keep) {
        let mut keep = self
            .keep
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *keep = [change, journal];
    }
}

impl SurrealStore {
    /// What is kept of the change log and of the journal, from the next group on.
    pub fn keep(&self, change: Keep, journal: Keep) {
        self.log.set_keep(change, journal);
    }

    /// The change log and the journal, as they stand.
    pub fn logs(&self) -> [LogState; 2] {
        let seen = *self
            .log
            .seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let [change, journal] = self.log.keep();
        let state = |(first, bytes), keep| LogState { first, bytes, keep };
        [state(seen[0], change), state(seen[1], journal)]
    }

    /// Drops tables that retention has passed. Readings at and above `sealed` stay. How many went.
    pub(crate) async fn trim(&self, tend: &Tend<'_>, sealed: u64) -> Result<u64, StoreError> {
        let Tend { lane, epoch, .. } = *tend;
        let keep = self.log.keep();
        let mut gone = Vec::new();
        {
            let mut tables = self.log.lock().await;
            let mut left = tables.clone();
            for ((kind, keep), free) in Kind::ALL.into_iter().zip(keep).zip([u64::MAX, sealed]) {
                let passed = keep.passed(left.of(kind), free, tend.passed);
                let dropped = left.of_mut(kind).drain(..passed);
                gone.extend(dropped.map(|table| kind.table(lane, table.first)));
            }
            if gone.is_empty() {
                return Ok(0);
            }
            let vars = variables([
                ("lane", Value::RecordId(RecordId::new(LANE, lane))),
                ("epoch", int(epoch)),
                ("change", left.values(Kind::Change)),
                ("journal", left.values(Kind::Journal)),
            ]);
            let text = format!(
                "UPDATE $lane SET {CHANGE} = $change, {JOURNAL} = $journal \
                 WHERE epoch = $epoch RETURN VALUE true"
            );
            let answers = self.database.run(&text, vars).await?;
            if !matches!(answers.last(), Some(Value::Array(held)) if held.len() == 1) {
                return Err(StoreError::Fenced { lane: lane.into() });
            }
            self.log.put(&mut tables, left);
        }
        for table in &gone {
            self.drop_table(lane, epoch, table).await?;
        }
        Ok(gone.len() as u64)
    }

    /// The store's own tables.
    pub(crate) async fn own_tables(&self) -> Result<Vec<String>, StoreError> {
        let mut answers = self.database.run("INFO FOR DB", Variables::new()).await?;
        let Some(Value::Object(mut info)) = answers.pop() else {
            return Ok(Vec::new());
        };
        let Some(Value::Object(tables)) = info.remove("tables") else {
            return Ok(Vec::new());
        };
        let own = tables.keys().filter(|table| table.starts_with('_'));
        Ok(own.cloned().collect())
    }

    /// Drops tables of the log that no lane names: a process ended between forgetting and dropping.
    pub(crate) async fn drop_forgotten_logs(
        &self,
        lane: &str,
        epoch: u64,
    ) -> Result<(), StoreError> {
        let mut known = Vec::new();
        for (known_lane, row) in self.lanes().await? {
            for kind in Kind::ALL {
                let tables = row.tables.of(kind).iter();
                known.extend(tables.map(|table| kind.table(&known_lane, table.first)));
            }
        }
        for table in self.own_tables().await? {
            let log = Kind::ALL.iter().any(|kind| kind.owns(&table));
            if log && !known.contains(&table) {
                self.drop_table(lane, epoch, &table).await?;
            }
        }
        Ok(())
    }
}
