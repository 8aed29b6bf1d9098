//! Writing segments, which nobody sees before their heads.

use std::sync::Arc;

use surrealdb::types::{Array, Bytes, Object, RecordId, Value};
use twin_core::store::StoreError;

use super::heads::{Head, Place, SPLIT};
use crate::codec::{self, Block, Entry, Row, SeriesName};
use crate::database::variables;
use crate::surreal::SurrealStore;

/// Bytes of blocks that are written in one transaction.
const WRITE_BYTES: usize = 1 << 20;
/// Blocks that are written in one transaction: few, since a row that a killed process left is
/// replaced at a cost that grows with them.
const WRITE_BLOCKS: usize = 64;
/// A segment takes no further block once the names in its index have so many bytes: an index is a
/// row.
const INDEX_BYTES: usize = 2 << 20;

/// Where segments are written.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) store: &'a SurrealStore,
    pub(super) lane: &'a str,
    pub(super) epoch: u64,
    /// The present day, counted from 1970-01-01.
    pub(super) today: i64,
}

impl<'a> Target<'a> {
    /// A segment of a class that has tables of its own, else of the empty name.
    pub(super) fn segment(self, place: Place, class: &Arc<str>, next: u64) -> SegmentWriter<'a> {
        SegmentWriter {
            to: self,
            head: self.head(place, class, next),
            entries: Vec::new(),
            index_bytes: 0,
            waiting: Vec::new(),
            bytes: 0,
            done: Vec::new(),
        }
    }

    fn head(self, place: Place, class: &Arc<str>, next: u64) -> Head {
        let table = |number| place.level.table(place.day, self.today, class, number);
        Head {
            place,
            table: self.store.history.table_with_room(table),
            class: Arc::clone(class),
            next,
            blocks: 0,
            rows: 0,
            from: i64::MAX,
            to: i64::MIN,
        }
    }
}

/// Writes the blocks of a segment as they come; nobody sees them before their head.
pub(super) struct SegmentWriter<'a> {
    to: Target<'a>,
    head: Head,
    entries: Vec<Entry>,
    index_bytes: usize,
    waiting: Vec<Value>,
    bytes: usize,
    /// Segments that are full, with their indexes.
    done: Vec<(Head, Vec<u8>)>,
}

impl<'a> SegmentWriter<'a> {
    pub(super) fn lane(&self) -> &'a str {
        self.to.lane
    }

    pub(super) async fn push(&mut self, packed: PackedBlock) -> Result<(), StoreError> {
        let most = self.to.store.history.segment_blocks.max(1);
        if self.head.blocks >= most || self.index_bytes >= INDEX_BYTES {
            self.end().await?;
        }
        let PackedBlock { entry, bytes } = packed;
        let key = self.head.place.key(self.to.lane, Some(self.head.blocks));
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
        self.index_bytes += entry.first.twin.len() + entry.last.twin.len();
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
        // What was begun before and not ended may have left blocks under these names.
        let text = format!(
            "DEFINE TABLE IF NOT EXISTS `{table}` SCHEMALESS PERMISSIONS NONE; \
             INSERT INTO `{table}` $rows ON DUPLICATE KEY UPDATE data = $input.data RETURN NONE;"
        );
        let rows = std::mem::take(&mut self.waiting);
        self.to.store.history.filled(table, rows.len() as u64);
        self.bytes = 0;
        let vars = variables([("rows", Value::Array(Array::from(rows)))]);
        let Target {
            store, lane, epoch, ..
        } = self.to;
        store.fenced(lane, epoch, &text, vars).await
    }

    /// Ends the segment so far; what comes is of a further one.
    async fn end(&mut self) -> Result<(), StoreError> {
        self.flush().await?;
        let place = Place {
            tier: self.head.place.tier + SPLIT,
            ..self.head.place
        };
        let next = self.to.head(place, &self.head.class, self.head.next);
        let head = std::mem::replace(&mut self.head, next);
        let index = codec::encode_index(&std::mem::take(&mut self.entries));
        self.index_bytes = 0;
        if head.blocks > 0 {
            self.done.push((head, index));
        }
        Ok(())
    }

    /// The heads of what was written, and their indexes; none if nothing was.
    pub(super) async fn finish(mut self) -> Result<Vec<(Head, Vec<u8>)>, StoreError> {
        self.end().await?;
        Ok(self.done)
    }
}

/// A segment that is filled row by row.
pub(super) struct Filling<'a, R> {
    filler: codec::Filler<R>,
    writer: SegmentWriter<'a>,
}

impl<'a, R: Row> Filling<'a, R> {
    pub(super) fn new(writer: SegmentWriter<'a>) -> Self {
        Self {
            filler: codec::Filler::default(),
            writer,
        }
    }

    pub(super) async fn push(&mut self, series: &SeriesName, row: R) -> Result<(), StoreError> {
        let full = self.filler.push(series, row);
        match full.as_ref().and_then(PackedBlock::of) {
            Some(packed) => self.writer.push(packed).await,
            None => Ok(()),
        }
    }

    /// The heads of what was written, and their indexes; none if nothing was.
    pub(super) async fn finish(mut self) -> Result<Vec<(Head, Vec<u8>)>, StoreError> {
        if let Some(packed) = self.filler.finish().as_ref().and_then(PackedBlock::of) {
            self.writer.push(packed).await?;
        }
        self.writer.finish().await
    }
}

/// A block that is ready to be written.
pub(super) struct PackedBlock {
    entry: Entry,
    bytes: Vec<u8>,
}

impl PackedBlock {
    /// `None` if the block is empty.
    pub(super) fn of<R: Row>(block: &Block<R>) -> Option<Self> {
        Some(Self {
            entry: Entry::of(block)?,
            bytes: block.encode()?,
        })
    }
}
