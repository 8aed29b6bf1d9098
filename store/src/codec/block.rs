//! Blocks of sealed history: rows of one telemetry of one class, of one or many series.
//!
//! A block names its series once, as runs, and holds everything else as columns of numbers that
//! [pco](https://docs.rs/pco) packs. Three kinds of rows stand in blocks: readings as they arrived
//! ([`SealedReading`]), readings for good ([`LastingReading`]), and buckets of time ([`Bucket`]).
//!
//! # Invariants
//! - Runs are in the order of their series; within a run rows are in the order of their times.
//! - All values of a block are of one kind, so one column holds them.
//! - A block holds at most [`BLOCK_ROWS`] rows, so decoding allocates within a known bound.

use std::sync::Arc;

use ontology::Value;
use pco::standalone::{simple_compress, simple_decompress_into};
use pco::{ChunkConfig, data_types::Number};
use serde_json::Value as Json;
use twin_core::history::Bucket;

use super::bytes::{Reader, Writer};
use super::{CodecError, value};

/// Most rows of a block. Larger ones pack no better and make one series slower to read.
pub const BLOCK_ROWS: usize = 4096;
/// A block with so many rows takes no further series: columns of one series pack better than those of
/// several (1.1 bytes a reading against 1.5 for a minute's readings), and whoever asks for a day of one
/// does not unpack its neighbours.
pub const SERIES_ROWS: usize = 1024;
/// A block takes no further row once the values that are no numbers hold so many bytes.
pub const BLOCK_VALUE_BYTES: usize = 1 << 20;

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;

/// A telemetry of a twin, in one of the twin's lives. In the order of history.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesName {
    /// Class of the twin.
    pub class: Arc<str>,
    /// The telemetry.
    pub telemetry: Arc<str>,
    /// The twin.
    pub twin: Arc<str>,
    /// Offset where this life began, 0 for the first: a twin may be deleted and made again.
    pub life: u64,
}

/// A reading with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedReading {
    /// When it was measured, microseconds since 1970.
    pub ts: i64,
    /// When it arrived, microseconds since 1970.
    pub arrived: i64,
    /// Its offset.
    pub offset: u64,
    /// The value.
    pub value: Value,
}

/// A reading as it is kept for good: how late it came to the second, and no offset.
#[derive(Debug, Clone, PartialEq)]
pub struct LastingReading {
    /// When it was measured, microseconds since 1970.
    pub ts: i64,
    /// Whole seconds from its time to its arrival; negative where a clock was ahead.
    pub late: i64,
    /// The value.
    pub value: Value,
}

impl From<SealedReading> for LastingReading {
    fn from(reading: SealedReading) -> Self {
        Self {
            ts: reading.ts,
            late: reading
                .arrived
                .saturating_sub(reading.ts)
                .div_euclid(SECOND),
            value: reading.value,
        }
    }
}

impl LastingReading {
    /// When it arrived, microseconds since 1970, to the second.
    pub fn arrived(&self) -> i64 {
        self.ts.saturating_add(self.late.saturating_mul(SECOND))
    }
}

/// What stands in a block.
pub trait Row: Sized {
    /// First byte of a block of such rows.
    const FORMAT: u8;
    /// The row's time, microseconds since 1970.
    fn ts(&self) -> i64;
    /// Only rows of one kind share a block.
    fn kind(&self) -> u8 {
        0
    }
    /// Bytes of what is no number.
    fn weight(&self) -> usize {
        0
    }
    #[doc(hidden)]
    fn write(rows: &[Self], to: &mut Columns);
    #[doc(hidden)]
    fn read(from: &mut ColumnReader<'_, '_>) -> Result<Vec<Self>, CodecError>;
}

/// Rows of one telemetry.
#[derive(Debug, Clone, PartialEq)]
pub struct Block<R> {
    /// Series in order, and how many rows each has.
    pub runs: Vec<(SeriesName, usize)>,
    /// The rows of the first series, then those of the second, and so on.
    pub rows: Vec<R>,
}

impl<R> Default for Block<R> {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            rows: Vec::new(),
        }
    }
}

impl<R: Row> Block<R> {
    /// Packs a block; `None` if it is empty.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let (first, _) = self.runs.first()?;
        let mut to = Writer::default();
        to.byte(R::FORMAT);
        to.text(&first.class);
        to.text(&first.telemetry);
        to.unsigned(self.rows.len() as u64);
        to.unsigned(self.runs.len() as u64);
        let mut before: &str = "";
        for (series, count) in &self.runs {
            // Ids of neighbours share their beginnings.
            let same = shared_prefix(before, &series.twin);
            to.unsigned(same as u64);
            to.bytes(&series.twin.as_bytes()[same..]);
            to.unsigned(series.life);
            to.unsigned(*count as u64);
            before = &series.twin;
        }
        let mut columns = Columns { to };
        R::write(&self.rows, &mut columns);
        Some(columns.to.seal())
    }

    /// Unpacks a block.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut from = Reader::open(bytes)?;
        let found = from.byte()?;
        if found != R::FORMAT {
            return Err(CodecError::Format {
                found,
                known: R::FORMAT,
            });
        }
        let class: Arc<str> = from.text()?.into();
        let telemetry: Arc<str> = from.text()?.into();
        let rows = from.unsigned()?;
        let count = usize::try_from(rows).unwrap_or(usize::MAX);
        if count == 0 || count > BLOCK_ROWS {
            return Err(from.wrong("no rows, or more than a block holds"));
        }
        let mut runs = Vec::new();
        let mut counted = 0;
        let mut twin = Vec::new();
        for _ in 0..from.count()? {
            let same = usize::try_from(from.unsigned()?).unwrap_or(usize::MAX);
            if same > twin.len() {
                return Err(from.wrong("an id that repeats more than the one before has"));
            }
            twin.truncate(same);
            twin.extend_from_slice(from.bytes()?);
            let Ok(id) = std::str::from_utf8(&twin) else {
                return Err(from.wrong("a text that is not UTF-8"));
            };
            let series = SeriesName {
                class: Arc::clone(&class),
                telemetry: Arc::clone(&telemetry),
                twin: id.into(),
                life: from.unsigned()?,
            };
            let length = usize::try_from(from.unsigned()?).unwrap_or(usize::MAX);
            if length == 0 || length > count - counted {
                return Err(from.wrong("runs that are not as long as the rows"));
            }
            counted += length;
            runs.push((series, length));
        }
        if counted != count {
            return Err(from.wrong("runs that are not as long as the rows"));
        }
        let rows = R::read(&mut ColumnReader {
            from: &mut from,
            count,
        })?;
        from.finish()?;
        Ok(Self { runs, rows })
    }

    /// The rows of one series, in order of time.
    pub fn of(&self, twin: &str, life: u64) -> &[R] {
        let mut start = 0;
        for (series, count) in &self.runs {
            if *series.twin == *twin && series.life == life {
                return &self.rows[start..start + count];
            }
            start += count;
        }
        &[]
    }

    /// Runs with their rows, in order.
    pub fn series(&self) -> impl Iterator<Item = (&SeriesName, &[R])> {
        let mut start = 0;
        self.runs.iter().map(move |(series, count)| {
            let rows = &self.rows[start..start + count];
            start += count;
            (series, rows)
        })
    }
}

fn shared_prefix(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Fills blocks in the order of history.
#[derive(Debug)]
pub struct Filler<R> {
    block: Block<R>,
    kind: u8,
    weight: usize,
}

impl<R> Default for Filler<R> {
    fn default() -> Self {
        Self {
            block: Block::default(),
            kind: 0,
            weight: 0,
        }
    }
}

impl<R: Row> Filler<R> {
    /// Takes the next row; the block before, if this row begins another.
    pub fn push(&mut self, series: &SeriesName, row: R) -> Option<Block<R>> {
        let rows = self.block.rows.len();
        let same = self.block.runs.last().is_none_or(|(last, _)| {
            let telemetry = last.class == series.class && last.telemetry == series.telemetry;
            telemetry && (rows < SERIES_ROWS || last == series)
        });
        let fits = same
            && rows < BLOCK_ROWS
            && self.weight < BLOCK_VALUE_BYTES
            && (self.block.rows.is_empty() || self.kind == row.kind());
        let full = if fits { None } else { self.finish() };
        self.kind = row.kind();
        self.weight += row.weight();
        self.block.rows.push(row);
        match self.block.runs.last_mut() {
            Some((last, count)) if last == series => *count += 1,
            _ => self.block.runs.push((series.clone(), 1)),
        }
        full
    }

    /// The block so far, if there is something in it.
    pub fn finish(&mut self) -> Option<Block<R>> {
        self.weight = 0;
        let block = std::mem::take(&mut self.block);
        (!block.rows.is_empty()).then_some(block)
    }
}

/// Writes columns.
#[derive(Debug)]
pub struct Columns {
    to: Writer,
}

impl Columns {
    fn numbers<T: Number>(&mut self, numbers: &[T]) {
        // Errors are of configurations and of writing to what can fail; neither is here.
        let packed = simple_compress(numbers, &ChunkConfig::default()).unwrap_or_default();
        self.to.bytes(&packed);
    }

    fn values<'a>(&mut self, kind: u8, values: impl Iterator<Item = &'a Value> + Clone) {
        self.to.byte(kind);
        match kind {
            INTEGERS => {
                let column = values.map(|value| match value {
                    Value::Int(value) => *value,
                    _ => 0,
                });
                self.numbers(&column.collect::<Vec<i64>>());
            }
            DOUBLES => {
                let column = values.map(|value| match value {
                    Value::Double(value) => *value,
                    _ => 0.0,
                });
                self.numbers(&column.collect::<Vec<f64>>());
            }
            POINTS => {
                let points: Vec<_> = values.filter_map(point_of).collect();
                let of = |i: usize| points.iter().map(move |p| p[i]).collect::<Vec<f64>>();
                self.numbers(&of(0));
                self.numbers(&of(1));
            }
            _ => self.distinct(values),
        }
    }

    /// Each different value once, and where it stands.
    fn distinct<'a>(&mut self, values: impl Iterator<Item = &'a Value> + Clone) {
        let known: std::collections::BTreeSet<&Value> = values.clone().collect();
        let known: Vec<&Value> = known.into_iter().collect();
        self.to.unsigned(known.len() as u64);
        for value in &known {
            value::write(value, &mut self.to);
        }
        let indices = values.map(|value| known.partition_point(|known| *known < value) as u32);
        self.numbers(&indices.collect::<Vec<u32>>());
    }
}

/// Reads columns.
#[derive(Debug)]
pub struct ColumnReader<'a, 'b> {
    from: &'a mut Reader<'b>,
    count: usize,
}

impl ColumnReader<'_, '_> {
    fn numbers<T: Number + Default>(&mut self) -> Result<Vec<T>, CodecError> {
        let packed = self.from.bytes()?;
        let mut numbers = vec![T::default(); self.count];
        match simple_decompress_into(packed, &mut numbers) {
            Ok(progress) if progress.n_processed == self.count && progress.finished => Ok(numbers),
            _ => Err(self.from.wrong("a column of numbers that does not unpack")),
        }
    }

    fn values(&mut self) -> Result<Vec<Value>, CodecError> {
        match self.from.byte()? {
            INTEGERS => Ok(self.numbers::<i64>()?.into_iter().map(Value::Int).collect()),
            DOUBLES => Ok(self
                .numbers::<f64>()?
                .into_iter()
                .map(Value::Double)
                .collect()),
            POINTS => {
                let (lon, lat) = (self.numbers::<f64>()?, self.numbers::<f64>()?);
                Ok(lon.into_iter().zip(lat).map(|(x, y)| point(x, y)).collect())
            }
            DISTINCT => {
                let mut known = Vec::new();
                for _ in 0..self.from.count()? {
                    known.push(value::read(self.from)?);
                }
                let indices = self.numbers::<u32>()?;
                let values = indices.into_iter().map(|index| {
                    let value = known.get(index as usize).cloned();
                    value.ok_or_else(|| self.from.wrong("a value that the block does not hold"))
                });
                values.collect()
            }
            _ => Err(self.from.wrong("a kind of column that does not exist")),
        }
    }
}

const INTEGERS: u8 = 0;
const DOUBLES: u8 = 1;
const POINTS: u8 = 2;
const DISTINCT: u8 = 3;

fn kind_of(value: &Value) -> u8 {
    match value {
        Value::Int(_) => INTEGERS,
        Value::Double(_) => DOUBLES,
        Value::Geometry(_) if point_of(value).is_some() => POINTS,
        _ => DISTINCT,
    }
}

fn weight_of(value: &Value) -> usize {
    match kind_of(value) {
        DISTINCT => value::bound(value),
        _ => 0,
    }
}

/// The coordinates of a point that [`point`] would give back as it is.
fn point_of(value: &Value) -> Option<[f64; 2]> {
    let Value::Geometry(json) = value else {
        return None;
    };
    let members = json.as_object().filter(|members| members.len() == 2)?;
    let kind = members.get("type")?.as_str()?;
    let [lon, lat] = members.get("coordinates")?.as_array()?.as_slice() else {
        return None;
    };
    let double = |json: &Json| json.is_f64().then(|| json.as_f64()).flatten();
    (kind == "Point").then_some([double(lon)?, double(lat)?])
}

fn point(lon: f64, lat: f64) -> Value {
    Value::Geometry(Arc::new(
        serde_json::json!({"type": "Point", "coordinates": [lon, lat]}),
    ))
}

impl Row for SealedReading {
    const FORMAT: u8 = 0x31;

    fn ts(&self) -> i64 {
        self.ts
    }

    fn kind(&self) -> u8 {
        kind_of(&self.value)
    }

    fn weight(&self) -> usize {
        weight_of(&self.value)
    }

    fn write(rows: &[Self], to: &mut Columns) {
        let column = |of: fn(&Self) -> i64| rows.iter().map(of).collect::<Vec<_>>();
        to.numbers(&column(|row| row.ts));
        to.numbers(&column(|row| row.arrived));
        to.numbers(&column(|row| row.offset.cast_signed()));
        let kind = rows.first().map_or(DISTINCT, Row::kind);
        to.values(kind, rows.iter().map(|row| &row.value));
    }

    fn read(from: &mut ColumnReader<'_, '_>) -> Result<Vec<Self>, CodecError> {
        let (ts, arrived, offset) = (
            from.numbers::<i64>()?,
            from.numbers::<i64>()?,
            from.numbers::<i64>()?,
        );
        let rows = from
            .values()?
            .into_iter()
            .enumerate()
            .map(|(i, value)| Self {
                ts: ts[i],
                arrived: arrived[i],
                offset: offset[i].cast_unsigned(),
                value,
            });
        Ok(rows.collect())
    }
}

impl Row for LastingReading {
    const FORMAT: u8 = 0x32;

    fn ts(&self) -> i64 {
        self.ts
    }

    fn kind(&self) -> u8 {
        kind_of(&self.value)
    }

    fn weight(&self) -> usize {
        weight_of(&self.value)
    }

    fn write(rows: &[Self], to: &mut Columns) {
        let column = |of: fn(&Self) -> i64| rows.iter().map(of).collect::<Vec<_>>();
        to.numbers(&column(|row| row.ts));
        to.numbers(&column(|row| row.late));
        let kind = rows.first().map_or(DISTINCT, Row::kind);
        to.values(kind, rows.iter().map(|row| &row.value));
    }

    fn read(from: &mut ColumnReader<'_, '_>) -> Result<Vec<Self>, CodecError> {
        let (ts, late) = (from.numbers::<i64>()?, from.numbers::<i64>()?);
        let values = from.values()?.into_iter();
        let rows = values
            .zip(ts.into_iter().zip(late))
            .map(|(value, (ts, late))| Self { ts, late, value });
        Ok(rows.collect())
    }
}

impl Row for Bucket {
    const FORMAT: u8 = 0x33;

    fn ts(&self) -> i64 {
        self.start
    }

    fn write(rows: &[Self], to: &mut Columns) {
        to.numbers(&rows.iter().map(|row| row.start).collect::<Vec<_>>());
        let count = |row: &Self| row.count.cast_signed();
        to.numbers(&rows.iter().map(count).collect::<Vec<_>>());
        let column = |of: fn(&Self) -> f64| rows.iter().map(of).collect::<Vec<_>>();
        to.numbers(&column(|row| row.min));
        to.numbers(&column(|row| row.max));
        to.numbers(&column(|row| row.sum));
        to.numbers(&column(|row| row.last));
    }

    fn read(from: &mut ColumnReader<'_, '_>) -> Result<Vec<Self>, CodecError> {
        let start = from.numbers::<i64>()?;
        let count = from.numbers::<i64>()?;
        let (min, max) = (from.numbers::<f64>()?, from.numbers::<f64>()?);
        let (sum, last) = (from.numbers::<f64>()?, from.numbers::<f64>()?);
        let rows = (0..start.len()).map(|i| Self {
            start: start[i],
            count: count[i].cast_unsigned(),
            min: min[i],
            max: max[i],
            sum: sum[i],
            last: last[i],
        });
        Ok(rows.collect())
    }
}

/// Where in a segment the rows of which series stand: an entry a block, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The first series of the block.
    pub first: SeriesName,
    /// The last one.
    pub last: SeriesName,
    /// Earliest time of a row, microseconds since 1970.
    pub from: i64,
    /// Latest time.
    pub to: i64,
    /// Rows of the block.
    pub rows: u64,
}

impl Entry {
    /// The entry of a block that has rows.
    pub fn of<R: Row>(block: &Block<R>) -> Option<Self> {
        let times = || block.rows.iter().map(Row::ts);
        Some(Self {
            first: block.runs.first()?.0.clone(),
            last: block.runs.last()?.0.clone(),
            from: times().min()?,
            to: times().max()?,
            rows: block.rows.len() as u64,
        })
    }

    /// Whether the block may hold rows of a twin's telemetry, of any class and life.
    pub fn may_hold(&self, twin: &str, telemetry: &str) -> bool {
        *self.first.telemetry == *telemetry && *self.first.twin <= *twin && *twin <= *self.last.twin
    }
}

/// First byte of an index of blocks.
const INDEX: u8 = 0x34;

/// Packs the index of a segment's blocks.
pub fn encode_index(entries: &[Entry]) -> Vec<u8> {
    let mut to = Writer::default();
    let mut names = super::bytes::NameWriter::default();
    to.byte(INDEX);
    to.unsigned(entries.len() as u64);
    for entry in entries {
        names.write(&entry.first.class, &mut to);
        names.write(&entry.first.telemetry, &mut to);
        for end in [&entry.first, &entry.last] {
            names.write(&end.twin, &mut to);
            to.unsigned(end.life);
        }
        to.signed(entry.from);
        to.unsigned(entry.to.wrapping_sub(entry.from).cast_unsigned());
        to.unsigned(entry.rows);
    }
    to.seal()
}

/// Unpacks the index of a segment's blocks.
pub fn decode_index(bytes: &[u8]) -> Result<Vec<Entry>, CodecError> {
    let mut from = Reader::open(bytes)?;
    let mut names = super::bytes::NameReader::default();
    let found = from.byte()?;
    if found != INDEX {
        return Err(CodecError::Format {
            found,
            known: INDEX,
        });
    }
    let mut entries = Vec::new();
    for _ in 0..from.count()? {
        let (class, telemetry) = (names.read(&mut from)?, names.read(&mut from)?);
        let mut series = || {
            Ok(SeriesName {
                class: Arc::clone(&class),
                telemetry: Arc::clone(&telemetry),
                twin: names.read(&mut from)?,
                life: from.unsigned()?,
            })
        };
        let (first, last) = (series()?, series()?);
        let begin = from.signed()?;
        entries.push(Entry {
            first,
            last,
            from: begin,
            to: begin.wrapping_add(from.unsigned()?.cast_signed()),
            rows: from.unsigned()?,
        });
    }
    from.finish()?;
    Ok(entries)
}
