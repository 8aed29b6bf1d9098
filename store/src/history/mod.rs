//! History: readings out of the journal, sealed into segments by series, settled by day, kept as
//! long as retention says.
//!
//! ```text
//! journal ──seal──► recent segments ──merge──► larger ones ──settle──► days: readings, hours, minutes
//!  (by arrival)      (by series, of one day of arrival)                 (by series, of one day)
//! ```
//!
//! A segment is a run of blocks in one table and a row that names it, its head: what no head names
//! is not there. Tables are dropped whole, because to delete a row costs SurrealDB milliseconds.
//!
//! # Invariants
//! - Everything below `sealed` stands in exactly one recent segment, or was settled from one.
//! - Within a segment blocks are in the order of their series, and readings in that of their times,
//!   one for each; of several segments the later one counts.
//! - Heads change in one transaction, after the blocks they name are durable and before those they no
//!   longer name are dropped; one step at a time, each from what the one before left. The watermark
//!   counts them, so that the loss of one is noticed.
//! - Only a process that holds the lane writes here: every transaction looks at the epoch of the
//!   watermark first, and one that names or drops changes the watermark, so that whoever claims the
//!   lane meets it.
//! - Recent segments come and are merged by [`Store::tend`], of days of arrival that are not over;
//!   all else is [`Store::settle`]'s. The two run beside each other.
//!
//! [`Store::tend`]: twin_core::store::Store::tend
//! [`Store::settle`]: twin_core::store::Store::settle

mod check;
mod compact;
mod heads;
mod latest;
mod merge;
mod query;
mod retire;
mod seal;
mod settle;
mod shrink;
mod tail;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use surrealdb::types::{Array, RecordId, RecordIdKey, Value, Variables};
use twin_core::history::{Bucket, DAY_US, Settle, Tend, Tended};
use twin_core::store::StoreError;

use self::heads::{Head, LaneHistory, Place};
use crate::codec::{self, Block, Entry, Row};
use crate::database::{damaged, failure, int, is_conflict, variables};
use crate::load::integer;
use crate::surreal::SurrealStore;
use crate::tables::{LANE, SEGMENT, WATERMARK};

/// Times a transaction that met another one is tried again.
const MAX_CONFLICTS: usize = 8;
/// Entries of indexes that are kept in memory; all are forgotten when there are more.
const MAX_ENTRIES: usize = 500_000;
/// Rows of sums that are kept in memory, some 50 bytes each; all are forgotten when there are more.
const MAX_SUMS: usize = 1_000_000;

/// How long readings are kept, in days. Tables cover months (hours: years) and are dropped whole, so
/// what is in them may stay that much longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Readings as they came, of classes that are not named; `None` keeps them.
    pub readings: Option<u32>,
    /// The same by class, by name.
    pub classes: BTreeMap<String, Option<u32>>,
    /// Sums of hours and minutes; `None` keeps them.
    pub sums: Option<u32>,
}

impl Retention {
    /// Days that readings of a class are kept.
    fn of(&self, class: &str) -> Option<u32> {
        self.classes.get(class).copied().unwrap_or(self.readings)
    }

    /// Whether a class has tables of its own.
    fn has_own(&self, class: &str) -> bool {
        self.classes.contains_key(class)
    }
}

/// The day of a time, counted from 1970-01-01.
fn day_of(ts: i64) -> i64 {
    ts.div_euclid(DAY_US)
}

/// What changes of a lane's history, at once.
#[derive(Debug, Default)]
struct Step {
    add: Vec<(Head, Vec<u8>)>,
    remove: Vec<Place>,
    sealed: Option<u64>,
    /// Offset up to which the newest readings are kept, and by which epoch.
    kept: Option<(u64, u64)>,
}

/// The index of a segment, and which one it is of.
type Indexes = HashMap<(Arc<str>, Place), Arc<Vec<Entry>>>;

/// A block of sums, and which one it is.
type SumBlocks = HashMap<(Arc<str>, Place, u64), Arc<Block<Bucket>>>;

/// What this process knows of history.
#[derive(Debug, Default)]
pub(crate) struct History {
    lanes: RwLock<HashMap<Arc<str>, Arc<LaneHistory>>>,
    /// All lanes there were when this process claimed one; empty before that.
    names: RwLock<Arc<[Arc<str>]>>,
    /// Held while what a lane is made of is changed, or read back.
    changing: tokio::sync::Mutex<()>,
    /// Held while recent segments are written and named, and while their tables are dropped.
    recent: tokio::sync::Mutex<()>,
    /// The journal's end of each lane, where it was asked about.
    tails: tokio::sync::Mutex<HashMap<Arc<str>, tail::Tail>>,
    shrinking: shrink::Shrinking,
    /// Blocks that stand in each table, at least.
    filled: Mutex<HashMap<Arc<str>, u64>>,
    indexes: Mutex<(usize, Indexes)>,
    sums: Mutex<(usize, SumBlocks)>,
    retention: RwLock<Retention>,
    /// Blocks of a segment, and of a table, after which another is begun.
    segment_blocks: u64,
}

impl History {
    pub(crate) fn new(retention: Retention, segment_blocks: u64) -> Self {
        Self {
            segment_blocks,
            retention: RwLock::new(retention),
            ..Self::default()
        }
    }

    fn retention(&self) -> Retention {
        let retention = self.retention.read();
        retention.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn known(&self, lane: &str) -> Option<Arc<LaneHistory>> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        lanes.get(lane).cloned()
    }

    fn names(&self) -> Arc<[Arc<str>]> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&names)
    }

    fn forget(&self, lane: &str) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        lanes.remove(lane);
    }

    fn publish(&self, lane: &str, history: Arc<LaneHistory>) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        lanes.insert(lane.into(), history);
    }

    /// The first of the tables of a kind that takes further blocks.
    fn table_with_room(&self, table: impl Fn(u64) -> String) -> Arc<str> {
        let filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = 0;
        loop {
            let table = table(number);
            let blocks = filled.get(&*table).copied().unwrap_or(0);
            if blocks < self.segment_blocks.max(1) {
                return table.into();
            }
            number += 1;
        }
    }

    /// Tables that this process knows of: one and those that were begun after it.
    fn tables_from(&self, first: &str) -> Vec<Arc<str>> {
        let filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let further = |table: &str| {
            let number = table.strip_prefix(first).and_then(|n| n.strip_prefix('_'));
            table == first || number.is_some_and(|n| n.parse::<u64>().is_ok())
        };
        let mut tables: Vec<_> = filled.keys().filter(|t| further(t)).cloned().collect();
        tables.sort_unstable();
        tables
    }

    fn filled(&self, table: &Arc<str>, blocks: u64) {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        *filled.entry(Arc::clone(table)).or_default() += blocks;
    }

    fn index(&self, key: &(Arc<str>, Place)) -> Option<Arc<Vec<Entry>>> {
        let indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        indexes.1.get(key).cloned()
    }

    fn sums(&self, key: &(Arc<str>, Place, u64)) -> Option<Arc<Block<Bucket>>> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.1.get(key).cloned()
    }

    fn remember_sums(&self, key: (Arc<str>, Place, u64), block: &Arc<Block<Bucket>>) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.0 += block.rows.len();
        if sums.0 > MAX_SUMS {
            sums.1.clear();
            sums.0 = block.rows.len();
        }
        sums.1.insert(key, Arc::clone(block));
    }

    fn remember(&self, key: (Arc<str>, Place), index: &Arc<Vec<Entry>>) {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        indexes.0 += index.len();
        if indexes.0 > MAX_ENTRIES {
            indexes.1.clear();
            indexes.0 = index.len();
        }
        indexes.1.insert(key, Arc::clone(index));
    }
}

/// Publishes what a step left, or forgets the lane where that is not known.
struct Unsure<'a> {
    history: &'a History,
    lane: &'a str,
    after: Option<Arc<LaneHistory>>,
}

impl Drop for Unsure<'_> {
    fn drop(&mut self) {
        match self.after.take() {
            Some(after) => self.history.publish(self.lane, after),
            None => self.history.forget(self.lane),
        }
    }
}

impl SurrealStore {
    /// How long readings are kept from now on.
    pub fn retain(&self, retention: Retention) {
        let mut held = self
            .history
            .retention
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *held = retention;
    }

    /// Takes a lane's history over, and drops tables that no head names.
    pub(crate) async fn claim_history(&self, lane: &str, epoch: u64) -> Result<(), StoreError> {
        // Whoever claimed the lane since must not find its epoch lowered.
        let text = "BEGIN;\
             LET $held = UPDATE $lane SET history = $epoch \
             WHERE epoch = $epoch RETURN VALUE true;\
             IF $held != [true] { THROW 'fenced' };\
             UPSERT $mark SET epoch = $epoch, sealed = sealed ?? 0, kept = kept ?? 0 RETURN NONE;\
             COMMIT";
        let vars = variables([
            ("lane", Value::RecordId(RecordId::new(LANE, lane))),
            ("mark", Value::RecordId(RecordId::new(WATERMARK, lane))),
            ("epoch", int(epoch)),
        ]);
        self.attempt_fenced(lane, text, vars).await?;
        let mut named: Vec<String> = Vec::new();
        let mut lost = 0;
        let lanes = self.lanes().await?;
        {
            let names = &self.history.names;
            let mut names = names.write().unwrap_or_else(PoisonError::into_inner);
            *names = lanes.iter().map(|(lane, _)| Arc::clone(lane)).collect();
        }
        for (known, _) in lanes {
            let _alone = self.history.changing.lock().await;
            let history = self.load_history(&known).await?;
            for head in history.heads.values() {
                self.history.filled(&head.table, head.blocks);
            }
            named.extend(history.heads.values().map(|head| head.table.to_string()));
            named.extend(history.latest.map(|epoch| latest::table(&known, epoch)));
            lost += history.lost;
            self.history.publish(&known, Arc::new(history));
        }
        if lost > 0 {
            tracing::error!(
                lost,
                "segments of history are no longer named, so tables that nobody names are kept: \
                 run `twin verify`"
            );
            return Ok(());
        }
        self.drop_forgotten_history(lane, epoch, &named).await
    }

    pub(crate) async fn tend_lane(&self, tend: Tend<'_>) -> Result<Tended, StoreError> {
        let mut tended = Tended::default();
        self.keep_latest(&tend).await?;
        self.seal(&tend, &mut tended).await?;
        // What stands in the way of merging must not let the log grow.
        let merged = self.merge_all(&tend, &mut tended).await;
        let history = self.lane_history(tend.lane).await?;
        let free = history.sealed.min(history.kept);
        tended.dropped += self.trim(&tend, free).await?;
        let row = self.lane(tend.lane).await?;
        tended.floor = row.map_or(0, |row| row.tables.floor());
        merged.map(|()| tended)
    }

    pub(crate) async fn settle_lane(&self, settle: Settle<'_>) -> Result<Tended, StoreError> {
        let mut tended = Tended::default();
        // What stands in the way of settling must not let history grow.
        let settled = self.settle_days(&settle, &mut tended).await;
        let retired = self.retire(&settle, &mut tended).await;
        self.shrink().await;
        settled.and(retired).map(|()| tended)
    }

    /// The lanes whose readings make up a series.
    async fn lane_names(&self) -> Result<Arc<[Arc<str>]>, StoreError> {
        let names = self.history.names();
        if !names.is_empty() {
            return Ok(names);
        }
        let lanes = self.lanes().await?;
        Ok(lanes.into_iter().map(|(lane, _)| lane).collect())
    }

    async fn lane_history(&self, lane: &str) -> Result<Arc<LaneHistory>, StoreError> {
        if let Some(known) = self.history.known(lane) {
            return Ok(known);
        }
        let _alone = self.history.changing.lock().await;
        self.present_history(lane).await
    }

    /// The same for whoever holds [`History::changing`].
    async fn present_history(&self, lane: &str) -> Result<Arc<LaneHistory>, StoreError> {
        if let Some(known) = self.history.known(lane) {
            return Ok(known);
        }
        let history = Arc::new(self.load_history(lane).await?);
        self.history.publish(lane, Arc::clone(&history));
        Ok(history)
    }

    async fn load_history(&self, lane: &str) -> Result<LaneHistory, StoreError> {
        let mut history = LaneHistory::default();
        let mut parts = 0;
        let mark = Value::RecordId(RecordId::new(WATERMARK, lane));
        let mark = self
            .database
            .run("SELECT * FROM ONLY $mark", variables([("mark", mark)]))
            .await?;
        if let Some(Value::Object(row)) = mark.last() {
            let number = |field| integer(WATERMARK, row, field).map(i64::cast_unsigned);
            history.sealed = number("sealed")?;
            history.kept = number("kept")?;
            let has = |field| row.get(field).is_some_and(|value| *value != Value::None);
            if has("latest") {
                history.latest = Some(number("latest")?);
            }
            if has("parts") {
                parts = number("parts")?;
            }
        }
        self.rows("* OMIT index", SEGMENT, |row| {
            let Some(Value::RecordId(RecordId {
                key: RecordIdKey::Array(key),
                ..
            })) = row.get("id")
            else {
                return Err(damaged(SEGMENT, "a row whose id is no list"));
            };
            if matches!(key.first(), Some(Value::String(of)) if *of == lane) {
                let head = Head::read(&row)?;
                history.heads.insert(head.place, Arc::new(head));
            }
            Ok(())
        })
        .await?;
        history.lost = parts.saturating_sub(history.heads.len() as u64);
        Ok(history)
    }

    /// Runs statements in one transaction while the writer's epoch holds the lane's history.
    ///
    /// What writes only blocks need not change the watermark: of two writers of one block the engine
    /// lets only the first commit, and a later one finds the epoch raised.
    async fn fenced(
        &self,
        lane: &str,
        epoch: u64,
        text: &str,
        mut vars: Variables,
    ) -> Result<(), StoreError> {
        let text = format!(
            "BEGIN; LET $held = SELECT VALUE epoch FROM ONLY $mark; \
             IF $held != $epoch {{ THROW 'fenced' }}; {text} COMMIT"
        );
        let mark = Value::RecordId(RecordId::new(WATERMARK, lane));
        vars.insert("mark", mark);
        vars.insert("epoch", int(epoch));
        self.attempt_fenced(lane, &text, vars).await
    }

    async fn attempt_fenced(
        &self,
        lane: &str,
        text: &str,
        vars: Variables,
    ) -> Result<(), StoreError> {
        for _ in 0..MAX_CONFLICTS {
            match self.database.attempt(text, vars.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if is_conflict(&error) => tokio::task::yield_now().await,
                Err(error) if error.is_thrown() => {
                    return Err(StoreError::Fenced { lane: lane.into() });
                }
                Err(error) => return Err(failure(&error)),
            }
        }
        Err(StoreError::Engine(format!(
            "a transaction on the history of lane `{lane}` met others {MAX_CONFLICTS} times"
        )))
    }

    /// Changes what a lane's history is made of, while the writer's epoch holds it.
    async fn step(&self, lane: &str, epoch: u64, step: Step) -> Result<(), StoreError> {
        let _alone = self.history.changing.lock().await;
        let before = self.present_history(lane).await?;
        let mut after = LaneHistory::clone(&before);
        for place in &step.remove {
            if after.heads.remove(place).is_none() {
                return Err(StoreError::Refused(format!(
                    "a segment of lane `{lane}` that was worked on is gone: {place:?}"
                )));
            }
        }
        after.sealed = step.sealed.unwrap_or(after.sealed);
        if let Some((kept, latest)) = step.kept {
            (after.kept, after.latest) = (kept, Some(latest));
        }
        let gone = step.remove.iter();
        let gone = gone.map(|place| Value::RecordId(RecordId::new(SEGMENT, place.key(lane, None))));
        let gone: Vec<Value> = gone.collect();
        let mut rows = Vec::with_capacity(step.add.len());
        for (head, index) in step.add {
            rows.push(head.row(lane, index));
            after.heads.insert(head.place, Arc::new(head));
        }
        let mut text = "UPDATE $mark SET sealed = $sealed, kept = $kept, latest = $latest, \
             parts = $parts, steps = (steps ?? 0) + 1 RETURN NONE;"
            .to_owned();
        if !gone.is_empty() {
            text.push_str("DELETE $gone RETURN NONE;");
        }
        if !rows.is_empty() {
            text.extend(["INSERT INTO `", SEGMENT, "` $rows RETURN NONE;"]);
        }
        let vars = variables([
            ("sealed", int(after.sealed)),
            ("kept", int(after.kept)),
            ("latest", after.latest.map_or(Value::None, int)),
            ("parts", int(after.heads.len() as u64 + after.lost)),
            ("gone", Value::Array(Array::from(gone))),
            ("rows", Value::Array(Array::from(rows))),
        ]);
        // Until it is known that it was done, it may be durable or not: the next one starts from
        // what is stored.
        let mut unsure = Unsure {
            history: &self.history,
            lane,
            after: None,
        };
        self.fenced(lane, epoch, &text, vars).await?;
        // What was sealed needs no room any more; where somebody reads it, the next question does this.
        if step.sealed.is_some()
            && let Ok(mut tails) = self.history.tails.try_lock()
        {
            tails.remove(lane);
        }
        unsure.after = Some(Arc::new(after));
        Ok(())
    }

    /// Drops a table that no segment stands in, while the writer's epoch holds the lane; whether it did.
    pub(crate) async fn drop_table(
        &self,
        lane: &str,
        epoch: u64,
        table: &str,
    ) -> Result<bool, StoreError> {
        let _alone = self.history.changing.lock().await;
        // What is known of a lane may have been forgotten since it was asked: then it is read again.
        for known in &*self.lane_names().await? {
            let history = self.present_history(known).await?;
            if history.heads.values().any(|head| *head.table == *table) {
                return Ok(false);
            }
        }
        // Names of lanes and numbers only; a backtick in a lane's name would end the name.
        let name = table.replace('`', "");
        let text = format!(
            "UPDATE $mark SET steps = (steps ?? 0) + 1 RETURN NONE; REMOVE TABLE IF EXISTS `{name}`;"
        );
        self.fenced(lane, epoch, &text, variables([])).await?;
        {
            let mut filled = (self.history.filled.lock()).unwrap_or_else(PoisonError::into_inner);
            filled.remove(table);
        }
        self.history.shrinking.dropped(name);
        Ok(true)
    }

    /// The index of a segment's blocks.
    async fn index(&self, lane: &str, head: &Head) -> Result<Arc<Vec<Entry>>, StoreError> {
        let key = (Arc::from(lane), head.place);
        if let Some(known) = self.history.index(&key) {
            return Ok(known);
        }
        let id = RecordId::new(SEGMENT, head.place.key(lane, None));
        let vars = variables([("id", Value::RecordId(id))]);
        let found = self
            .database
            .run("SELECT VALUE index FROM $id", vars)
            .await?;
        let place = || format!("{SEGMENT} of {}", head.table);
        let bytes = match found.last() {
            Some(Value::Array(found)) => match found.first() {
                Some(Value::Bytes(bytes)) => bytes.to_vec(),
                _ => return Err(damaged(&place(), "it has no index")),
            },
            _ => return Err(damaged(&place(), "it has no index")),
        };
        let entries = codec::decode_index(&bytes).map_err(|error| damaged(&place(), error))?;
        if entries.len() as u64 != head.blocks {
            return Err(damaged(
                &place(),
                "its index names another number of blocks",
            ));
        }
        let entries = Arc::new(entries);
        self.history.remember(key, &entries);
        Ok(entries)
    }

    /// Some blocks of a segment, in the order asked for.
    async fn blocks<R: Row>(
        &self,
        lane: &str,
        head: &Head,
        numbers: &[u64],
    ) -> Result<Vec<Block<R>>, StoreError> {
        let blocks: Vec<_> = numbers.iter().map(|number| (head, *number)).collect();
        self.blocks_of(lane, &blocks).await
    }

    /// Some blocks of some segments, each by its number, in the order asked for.
    async fn blocks_of<R: Row>(
        &self,
        lane: &str,
        wanted: &[(&Head, u64)],
    ) -> Result<Vec<Block<R>>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let ids = wanted.iter().map(|(head, number)| {
            let key = head.place.key(lane, Some(*number));
            Value::RecordId(RecordId::new(&*head.table, key))
        });
        let ids = Value::Array(Array::from(ids.collect::<Vec<_>>()));
        let found = self
            .database
            .run("SELECT VALUE data FROM $ids", variables([("ids", ids)]))
            .await?;
        let place = |(head, number): &(&Head, u64)| {
            let Place {
                day, part, tier, ..
            } = head.place;
            format!("{}:['{lane}', {day}, {part}, {tier}, {number}]", head.table)
        };
        let first = || wanted.first().map(place).unwrap_or_default();
        let Some(Value::Array(found)) = found.last() else {
            return Err(damaged(&first(), "it cannot be read"));
        };
        if found.len() != wanted.len() {
            return Err(damaged(
                &first(),
                "it, or one of those after it, is missing",
            ));
        }
        let blocks = wanted
            .iter()
            .zip(found.iter())
            .map(|(of, data)| match data {
                Value::Bytes(bytes) => {
                    Block::decode(bytes).map_err(|error| damaged(&place(of), error))
                }
                _ => Err(damaged(&place(of), "its data is missing")),
            });
        blocks.collect()
    }
}
