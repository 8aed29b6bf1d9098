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
//! - Heads change in one transaction that is fenced by the writer's epoch, after the blocks they name
//!   are durable and before those they no longer name are dropped.
//! - Only a process that holds the lane writes here, and only from [`Store::tend`].
//!
//! [`Store::tend`]: twin_core::store::Store::tend

mod check;
mod latest;
mod merge;
mod query;
mod seal;
mod settle;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use surrealdb::types::{Array, Bytes, Object, RecordId, RecordIdKey, Value};
use twin_core::history::{DAY_US, Tend, Tended};
use twin_core::store::StoreError;

use crate::codec::{self, Block, Entry, Row};
use crate::engine::{damaged, failure, int, variables};
use crate::load::integer;
use crate::surreal::SurrealStore;
use crate::tables::{SEGMENT, WATERMARK};

/// Bytes of blocks that are written in one transaction.
const WRITE_BYTES: usize = 1 << 20;
/// Blocks that are written in one transaction: few, since a row that a killed process left is
/// replaced at a cost that grows with them.
const WRITE_BLOCKS: usize = 64;
/// Entries of indexes that are kept in memory; all are forgotten when there are more.
const MAX_ENTRIES: usize = 500_000;
/// Tables of history of one kind cover at most so many months back; what is older shares one.
const MONTHS: i64 = 120;

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

fn expired(day: i64, today: i64, keep: Option<u32>) -> bool {
    keep.is_some_and(|days| day < today.saturating_sub(i64::from(days)))
}

/// The day of a time, counted from 1970-01-01.
fn day_of(ts: i64) -> i64 {
    ts.div_euclid(DAY_US)
}

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Level {
    /// Readings of one day of arrival, with arrival and offset.
    Recent,
    /// Readings of one day.
    Day,
    /// Sums of minutes of one day.
    Minutes,
    /// Sums of hours of one day.
    Hours,
}

impl Level {
    const ALL: [Self; 4] = [Self::Recent, Self::Day, Self::Minutes, Self::Hours];

    fn name(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Day => "day",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
        }
    }

    /// The table of a day, for readings of a class that has its own.
    fn table(self, day: i64, today: i64, class: &str) -> String {
        let date = |day: i64| {
            let days = i32::try_from(day).unwrap_or_default();
            ontology::Value::Date(days).to_json()
        };
        let date = date(day);
        let date = date.as_str().unwrap_or_default().replace('-', "_");
        let month = date.get(..7).unwrap_or("old");
        let year = date.get(..4).unwrap_or("old");
        let ancient = day < today - MONTHS * 31;
        let span = match self {
            Self::Recent => &date,
            _ if ancient => "old",
            Self::Day | Self::Minutes => month,
            Self::Hours => year,
        };
        match class {
            "" => format!("_{}_{span}", self.name()),
            class => format!("_{}_{span}_{class}", self.name()),
        }
    }
}

/// Which segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    level: Level,
    /// Day of arrival of a recent one, else the day of its readings; counted from 1970-01-01.
    day: i64,
    /// Offset of the first reading that was sealed into it, raised above the parts of days that were
    /// settled before: later parts count, also where a clock was set back.
    part: u64,
    /// How often it was merged; for segments of a day, which of several tables.
    tier: u64,
}

impl Place {
    fn key(self, lane: &str, block: Option<u64>) -> RecordIdKey {
        let mut key = vec![Value::String(lane.to_owned())];
        if block.is_none() {
            key.push(Value::String(self.level.name().to_owned()));
        }
        key.push(Value::Number(self.day.into()));
        key.push(int(self.part));
        key.push(int(self.tier));
        key.extend(block.map(int));
        RecordIdKey::Array(Array::from(key))
    }
}

/// What is known of a segment without reading it.
#[derive(Debug, Clone, PartialEq)]
struct Head {
    place: Place,
    table: Arc<str>,
    /// Class whose readings stand in it, if the class has tables of its own.
    class: Arc<str>,
    /// First offset after those that were sealed into it.
    next: u64,
    blocks: u64,
    rows: u64,
    /// Times of the first and the last row, microseconds since 1970.
    from: i64,
    to: i64,
}

impl Head {
    fn row(&self, lane: &str, index: Vec<u8>) -> Value {
        let mut row = Object::new();
        let id = RecordId::new(SEGMENT, self.place.key(lane, None));
        row.insert("id", Value::RecordId(id));
        row.insert("table", self.table.to_string());
        row.insert("class", self.class.to_string());
        row.insert("next", int(self.next));
        row.insert("blocks", int(self.blocks));
        row.insert("rows", int(self.rows));
        row.insert("from", self.from);
        row.insert("to", self.to);
        row.insert("index", Value::Bytes(Bytes::from(index)));
        Value::Object(row)
    }

    fn read(row: &Object) -> Result<Self, StoreError> {
        let wrong = |what: &str| damaged(SEGMENT, format!("a row whose {what}"));
        let Some(Value::RecordId(RecordId {
            key: RecordIdKey::Array(key),
            ..
        })) = row.get("id")
        else {
            return Err(wrong("id is no list"));
        };
        let number = |value: &Value| match value {
            Value::Number(number) => number.to_int(),
            _ => None,
        };
        let [_, Value::String(level), day, part, tier] = &key[..] else {
            return Err(wrong("id is not [lane, level, day, part, tier]"));
        };
        let level = Level::ALL.into_iter().find(|known| known.name() == *level);
        let (Some(level), Some(day), Some(part), Some(tier)) =
            (level, number(day), number(part), number(tier))
        else {
            return Err(wrong("id is not [lane, level, day, part, tier]"));
        };
        let text = |field: &str| match row.get(field) {
            Some(Value::String(text)) => Ok(Arc::from(text.as_str())),
            _ => Err(wrong(&format!("`{field}` is no text"))),
        };
        let unsigned = |field| integer(SEGMENT, row, field).map(i64::cast_unsigned);
        Ok(Self {
            place: Place {
                level,
                day,
                part: part.cast_unsigned(),
                tier: tier.cast_unsigned(),
            },
            table: text("table")?,
            class: text("class")?,
            next: unsigned("next")?,
            blocks: unsigned("blocks")?,
            rows: unsigned("rows")?,
            from: integer(SEGMENT, row, "from")?,
            to: integer(SEGMENT, row, "to")?,
        })
    }
}

/// What a lane's history is made of.
#[derive(Debug, Clone, Default)]
struct LaneHistory {
    /// Everything below this offset was sealed.
    sealed: u64,
    /// The newest readings were kept up to this offset, by the writer of an epoch.
    kept: u64,
    latest: Option<u64>,
    heads: BTreeMap<Place, Arc<Head>>,
}

impl LaneHistory {
    fn of(&self, level: Level) -> impl Iterator<Item = &Arc<Head>> {
        let at = |day| Place {
            level,
            day,
            part: 0,
            tier: 0,
        };
        let first = Bound::Included(at(i64::MIN));
        self.heads
            .range((first, Bound::Unbounded))
            .map(|(_, head)| head)
            .take_while(move |head| head.place.level == level)
    }

    /// A part above those of all days so far.
    fn next_part(&self) -> u64 {
        let lasting = self.heads.values();
        let lasting = lasting.filter(|head| head.place.level != Level::Recent);
        lasting.map(|head| head.place.part + 1).max().unwrap_or(0)
    }

    /// Segments of a level whose days lie within `first..=last`, earlier days and parts first.
    fn days(&self, level: Level, first: i64, last: i64) -> impl Iterator<Item = &Arc<Head>> {
        let from = Place {
            level,
            day: first,
            part: 0,
            tier: 0,
        };
        self.heads
            .range(from..)
            .map(|(_, head)| head)
            .take_while(move |head| head.place.level == level && head.place.day <= last)
    }
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

/// What this process knows of history.
#[derive(Debug, Default)]
pub(crate) struct History {
    lanes: RwLock<HashMap<Arc<str>, Arc<LaneHistory>>>,
    indexes: Mutex<(usize, Indexes)>,
    retention: RwLock<Retention>,
}

impl History {
    pub(crate) fn new(retention: Retention) -> Self {
        Self {
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

    /// Whether a head of any lane names a table.
    fn names(&self, table: &str) -> bool {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let mut heads = lanes.values().flat_map(|lane| lane.heads.values());
        heads.any(|head| *head.table == *table)
    }

    fn forget(&self, lane: &str) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        lanes.remove(lane);
    }

    fn publish(&self, lane: &str, history: Arc<LaneHistory>) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        lanes.insert(lane.into(), history);
    }

    fn index(&self, key: &(Arc<str>, Place)) -> Option<Arc<Vec<Entry>>> {
        let indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        indexes.1.get(key).cloned()
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

    /// Takes a lane's history over, and drops tables that no head names: a process ended between
    /// writing them and naming them, or between forgetting and dropping them.
    pub(crate) async fn claim_history(&self, lane: &str, epoch: u64) -> Result<(), StoreError> {
        let text = "UPSERT $mark SET epoch = $epoch, sealed = sealed ?? 0, kept = kept ?? 0 \
                    RETURN NONE";
        let vars = variables([
            ("mark", Value::RecordId(RecordId::new(WATERMARK, lane))),
            ("epoch", int(epoch)),
        ]);
        self.engine.run(text, vars).await?;
        let mut named: Vec<String> = Vec::new();
        for (known, _) in self.lanes().await? {
            let history = self.load_history(&known).await?;
            named.extend(history.heads.values().map(|head| head.table.to_string()));
            named.extend(history.latest.map(|epoch| latest::table(&known, epoch)));
            self.history.publish(&known, Arc::new(history));
        }
        for table in self.own_tables().await? {
            let level = |level: &Level| table.starts_with(&format!("_{}_", level.name()));
            let ours = Level::ALL.iter().any(level) || latest::owns(&table);
            if ours && !named.contains(&table) {
                self.drop_table(&table).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn tend_lane(&self, tend: Tend<'_>) -> Result<Tended, StoreError> {
        let tended = self.tend_through(&tend).await;
        if tended.is_err() {
            // A step may be durable that nobody was told of: the next time starts from what is stored.
            self.history.forget(tend.lane);
        }
        tended
    }

    async fn tend_through(&self, tend: &Tend<'_>) -> Result<Tended, StoreError> {
        let mut tended = Tended::default();
        let today = day_of(tend.now);
        self.keep_latest(tend).await?;
        self.seal(tend, &mut tended).await?;
        // What stands in the way of one of these must not let the log grow.
        let merged = self.merge_all(tend, &mut tended).await;
        let settled = self.settle(tend, today, &mut tended).await;
        let retired = self.retire(tend, today, &mut tended).await;
        let history = self.lane_history(tend.lane).await?;
        let free = history.sealed.min(history.kept);
        tended.dropped += self.trim(tend.lane, tend.epoch, free, tend.now).await?;
        let row = self.lane(tend.lane).await?;
        tended.floor = row.map_or(0, |row| row.tables.floor());
        merged.and(settled).and(retired).map(|()| tended)
    }

    async fn lane_history(&self, lane: &str) -> Result<Arc<LaneHistory>, StoreError> {
        if let Some(known) = self.history.known(lane) {
            return Ok(known);
        }
        let history = Arc::new(self.load_history(lane).await?);
        self.history.publish(lane, Arc::clone(&history));
        Ok(history)
    }

    async fn load_history(&self, lane: &str) -> Result<LaneHistory, StoreError> {
        let mut history = LaneHistory::default();
        let mark = Value::RecordId(RecordId::new(WATERMARK, lane));
        let mark = self
            .engine
            .run("SELECT * FROM ONLY $mark", variables([("mark", mark)]))
            .await?;
        if let Some(Value::Object(row)) = mark.last() {
            let number = |field| integer(WATERMARK, row, field).map(i64::cast_unsigned);
            history.sealed = number("sealed")?;
            history.kept = number("kept")?;
            if row
                .get("latest")
                .is_some_and(|latest| *latest != Value::None)
            {
                history.latest = Some(number("latest")?);
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
        Ok(history)
    }

    /// Changes what a lane's history is made of, while the writer's epoch holds it.
    async fn step(&self, lane: &str, epoch: u64, step: Step) -> Result<(), StoreError> {
        let before = self.lane_history(lane).await?;
        let mut after = LaneHistory::clone(&before);
        for place in &step.remove {
            after.heads.remove(place);
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
        let mut text = "BEGIN;\
             LET $held = UPDATE $mark SET sealed = $sealed, kept = $kept, latest = $latest \
             WHERE epoch = $epoch RETURN VALUE true;\
             IF $held != [true] { THROW 'fenced' };"
            .to_owned();
        if !gone.is_empty() {
            text.push_str("DELETE $gone RETURN NONE;");
        }
        if !rows.is_empty() {
            text.extend(["INSERT INTO `", SEGMENT, "` $rows RETURN NONE;"]);
        }
        text.push_str("COMMIT");
        let vars = variables([
            ("mark", Value::RecordId(RecordId::new(WATERMARK, lane))),
            ("epoch", int(epoch)),
            ("sealed", int(after.sealed)),
            ("kept", int(after.kept)),
            ("latest", after.latest.map_or(Value::None, int)),
            ("gone", Value::Array(Array::from(gone))),
            ("rows", Value::Array(Array::from(rows))),
        ]);
        match self.engine.attempt(&text, vars).await {
            Ok(_) => {
                self.history.publish(lane, Arc::new(after));
                Ok(())
            }
            Err(error) if error.is_thrown() => Err(StoreError::Fenced { lane: lane.into() }),
            Err(error) => Err(failure(&error)),
        }
    }

    /// The index of a segment's blocks.
    async fn index(&self, lane: &str, head: &Head) -> Result<Arc<Vec<Entry>>, StoreError> {
        let key = (Arc::from(lane), head.place);
        if let Some(known) = self.history.index(&key) {
            return Ok(known);
        }
        let id = RecordId::new(SEGMENT, head.place.key(lane, None));
        let vars = variables([("id", Value::RecordId(id))]);
        let found = self.engine.run("SELECT VALUE index FROM $id", vars).await?;
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
        let ids = numbers.iter().map(|number| {
            let key = head.place.key(lane, Some(*number));
            Value::RecordId(RecordId::new(&*head.table, key))
        });
        let ids = Value::Array(Array::from(ids.collect::<Vec<_>>()));
        let found = self
            .engine
            .run("SELECT VALUE data FROM $ids", variables([("ids", ids)]))
            .await?;
        let place = |number: u64| {
            let Place {
                day, part, tier, ..
            } = head.place;
            format!("{}:['{lane}', {day}, {part}, {tier}, {number}]", head.table)
        };
        let Some(Value::Array(found)) = found.last() else {
            return Err(damaged(&head.table, "it cannot be read"));
        };
        if found.len() != numbers.len() {
            let first = numbers.first().copied().unwrap_or(0);
            return Err(damaged(
                &place(first),
                "it, or one of those after it, is missing",
            ));
        }
        let blocks = numbers
            .iter()
            .zip(found.iter())
            .map(|(number, data)| match data {
                Value::Bytes(bytes) => {
                    Block::decode(bytes).map_err(|error| damaged(&place(*number), error))
                }
                _ => Err(damaged(&place(*number), "its data is missing")),
            });
        blocks.collect()
    }

    /// Drops tables that the remaining heads do not name.
    async fn drop_unnamed(&self, tables: &[Arc<str>]) -> Result<u64, StoreError> {
        let mut dropped = 0;
        for table in tables {
            if !self.history.names(table) {
                self.drop_table(table).await?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// Forgets segments whose retention has passed, and drops their tables.
    async fn retire(
        &self,
        tend: &Tend<'_>,
        today: i64,
        tended: &mut Tended,
    ) -> Result<(), StoreError> {
        let retention = self.history.retention();
        let history = self.lane_history(tend.lane).await?;
        let mut whole: BTreeMap<Arc<str>, (bool, Vec<Place>)> = BTreeMap::new();
        for head in history.heads.values() {
            let keep = match head.place.level {
                Level::Recent => continue,
                Level::Day => retention.of(&head.class),
                Level::Minutes | Level::Hours => retention.sums,
            };
            let table = whole.entry(Arc::clone(&head.table));
            let (all, places) = table.or_insert((true, Vec::new()));
            *all &= expired(head.place.day, today, keep);
            places.push(head.place);
        }
        let (mut tables, mut remove) = (Vec::new(), Vec::new());
        for (table, (all, places)) in whole {
            if all {
                tables.push(table);
                remove.extend(places);
            }
        }
        if remove.is_empty() {
            return Ok(());
        }
        let step = Step {
            remove,
            ..Step::default()
        };
        self.step(tend.lane, tend.epoch, step).await?;
        tended.dropped += self.drop_unnamed(&tables).await?;
        Ok(())
    }
}

/// Writes the blocks of a segment as they come; nobody sees them before their head.
struct SegmentWriter<'a> {
    store: &'a SurrealStore,
    lane: &'a str,
    head: Head,
    entries: Vec<Entry>,
    waiting: Vec<Value>,
    bytes: usize,
}

impl<'a> SegmentWriter<'a> {
    fn new(
        store: &'a SurrealStore,
        lane: &'a str,
        place: Place,
        table: &str,
        class: &Arc<str>,
        next: u64,
    ) -> Self {
        let head = Head {
            place,
            table: table.into(),
            class: Arc::clone(class),
            next,
            blocks: 0,
            rows: 0,
            from: i64::MAX,
            to: i64::MIN,
        };
        Self {
            store,
            lane,
            head,
            entries: Vec::new(),
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    async fn push(&mut self, packed: PackedBlock) -> Result<(), StoreError> {
        let PackedBlock { entry, bytes } = packed;
        let key = self.head.place.key(self.lane, Some(self.head.blocks));
        let mut row = Object::new();
        let id = RecordId::new(&*self.head.table, key);
        row.insert("id", Value::RecordId(id));
        self.bytes += bytes.len();
        row.insert("data", Value::Bytes(Bytes::from(bytes)));
        self.waiting.push(Value::Object(row));
        self.head.blocks += 1;
        self.head.rows += entry.rows;
        self.head.from = self.head.from.min(entry.from);
        self.head.to = self.head.to.max(entry.to);
        self.entries.push(entry);
        if self.bytes >= WRITE_BYTES || self.waiting.len() >= WRITE_BLOCKS {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let table = &self.head.table;
        // A process that was killed may have left blocks under these names.
        let text = format!(
            "DEFINE TABLE IF NOT EXISTS `{table}` SCHEMALESS PERMISSIONS NONE; \
             INSERT INTO `{table}` $rows ON DUPLICATE KEY UPDATE data = $input.data RETURN NONE"
        );
        let rows = Value::Array(Array::from(std::mem::take(&mut self.waiting)));
        self.bytes = 0;
        self.store
            .engine
            .run(&text, variables([("rows", rows)]))
            .await
            .map(drop)
    }

    /// The head of what was written, and its index; `None` if nothing was.
    async fn finish(mut self) -> Result<Option<(Head, Vec<u8>)>, StoreError> {
        self.flush().await?;
        let index = codec::encode_index(&self.entries);
        Ok((self.head.blocks > 0).then_some((self.head, index)))
    }
}

/// A block that is ready to be written.
struct PackedBlock {
    entry: Entry,
    bytes: Vec<u8>,
}

impl PackedBlock {
    /// `None` if the block is empty.
    fn of<R: Row>(block: &Block<R>) -> Option<Self> {
        Some(Self {
            entry: Entry::of(block)?,
            bytes: block.encode()?,
        })
    }
}
