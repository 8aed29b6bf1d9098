//! What happened: the ordered changes that the store keeps and followers receive.
//!
//! # Invariants
//! - Offsets of one lane are consecutive: each structural change takes one, each reading takes one.
//! - A [`Group`] covers `first..next` without a gap: its changes first, then its readings.
//! - A group is one transaction of the store: all of it is durable or none of it.

use std::sync::Arc;

use bytes::Bytes;
use ontology::{ClassId, RelationshipId, Value};

use crate::commit::Idempotency;
use crate::id::{Principal, TwinId};
use crate::space::Shape;

/// Most bytes of a dead letter's payload that are kept.
pub const MAX_LETTER_BYTES: usize = 64 << 10;
/// Most dead letters that are kept; the oldest make room for newer ones.
pub const MAX_DEAD_LETTERS: u64 = 10_000;

/// Values by column of a class (or of a relationship), `None` where absent.
pub type Values = Arc<[Option<Value>]>;

/// A twin as it stood.
#[derive(Debug, Clone)]
pub struct TwinState {
    /// Its id.
    pub id: TwinId,
    /// Its class.
    pub class: ClassId,
    /// Its properties, by column of the class.
    pub values: Values,
    /// Its geometry.
    pub geometry: Option<Arc<Shape>>,
    /// Position right after its last structural change (its offset + 1) in the lane.
    pub revision: u64,
}

impl TwinState {
    /// Whether everything but the revision is the same.
    pub fn same_as(&self, other: &Self) -> bool {
        let Self {
            id,
            class,
            values,
            geometry,
            revision: _,
        } = self;
        *id == other.id
            && *class == other.class
            && *values == other.values
            && match (geometry, &other.geometry) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
                _ => false,
            }
    }
}

/// A relationship as it stood.
#[derive(Debug, Clone)]
pub struct EdgeState {
    /// Its name.
    pub relationship: RelationshipId,
    /// Where it starts.
    pub source: TwinId,
    /// Class of the source.
    pub source_class: ClassId,
    /// Where it ends.
    pub target: TwinId,
    /// Class of the target.
    pub target_class: ClassId,
    /// Its properties, by column of the relationship.
    pub values: Values,
}

/// One structural change.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its place in the lane.
    pub offset: u64,
    /// Who did it.
    pub principal: Principal,
    /// What it did.
    pub event: Event,
}

impl Change {
    /// About how much room it takes, in bytes. A geometry that did not change counts once.
    pub(crate) fn bytes(&self) -> usize {
        const CHANGE_BYTES: usize = 320;
        let twin = |state: &TwinState| values_bytes(&state.values) + shape_bytes(state);
        CHANGE_BYTES
            + match &self.event {
                Event::Created(state) | Event::Deleted(state) => twin(state),
                Event::Updated { before, after } => {
                    let same = match (&before.geometry, &after.geometry) {
                        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                        _ => false,
                    };
                    let after_shape = if same { 0 } else { shape_bytes(after) };
                    twin(before) + values_bytes(&after.values) + after_shape
                }
                Event::Related(edge) | Event::Unrelated(edge) => values_bytes(&edge.values),
                Event::Rerelated { before, after } => {
                    values_bytes(&before.values) + values_bytes(&after.values)
                }
            }
    }
}

fn shape_bytes(state: &TwinState) -> usize {
    /// Two coordinates, and as much again of what a prepared shape keeps beside them.
    const VERTEX_BYTES: usize = 32;
    let shape = state.geometry.as_ref();
    shape.map_or(0, |shape| shape.stored_vertices() * VERTEX_BYTES)
}

fn values_bytes(values: &[Option<Value>]) -> usize {
    values.iter().flatten().map(value_bytes).sum()
}

/// Estimated bytes of a value beside what it points to.
pub(crate) const VALUE_BYTES: usize = 24;

/// About how much room a value takes.
pub(crate) fn value_bytes(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::Text(text) | Value::Duration(text) => text.len(),
            Value::List(items) => items.iter().map(value_bytes).sum(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| name.len() + value_bytes(value))
                .sum(),
            Value::Geometry(json) => json.to_string().len(),
            _ => 0,
        }
}

/// What a structural change did.
#[derive(Debug, Clone)]
pub enum Event {
    /// A twin came to be.
    Created(TwinState),
    /// A twin's properties or geometry changed.
    Updated {
        /// As it stood.
        before: TwinState,
        /// As it stands.
        after: TwinState,
    },
    /// A twin is gone.
    Deleted(TwinState),
    /// A relationship came to be.
    Related(EdgeState),
    /// A relationship's properties changed.
    Rerelated {
        /// As it stood.
        before: EdgeState,
        /// As it stands.
        after: EdgeState,
    },
    /// A relationship is gone.
    Unrelated(EdgeState),
}

/// One reading as it is kept: names resolved, time known.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The twin.
    pub twin: TwinId,
    /// Its class.
    pub class: ClassId,
    /// Index of the telemetry in the class.
    pub telemetry: u32,
    /// Microseconds since 1970.
    pub ts: i64,
    /// The value.
    pub value: Value,
}

/// What is done to one row by a group, however many changes led there.
#[derive(Debug, Clone)]
pub enum RowWrite {
    /// The twin is new.
    Insert(TwinState),
    /// The twin exists and has this state now.
    Update {
        /// The state.
        state: TwinState,
        /// Whether the geometry is another than the stored one.
        geometry: bool,
    },
    /// The twin is gone; its relationships went before it.
    Delete {
        /// Its class.
        class: ClassId,
        /// Its id.
        id: TwinId,
    },
}

/// What is done to one relationship by a group.
#[derive(Debug, Clone)]
pub enum EdgeWrite {
    /// It is new.
    Insert(EdgeState),
    /// It has other properties.
    Update(EdgeState),
    /// It is gone.
    Delete(EdgeState),
}

/// An answer kept for repeats of the same idempotency key.
#[derive(Debug, Clone)]
pub struct KeptReceipt {
    /// Who asked.
    pub principal: Principal,
    /// Key and hash of the request.
    pub idempotency: Idempotency,
    /// Offset that its receipt spoke of.
    pub offset: u64,
    /// How many changes it made.
    pub changes: u64,
    /// When, in microseconds since 1970.
    pub at: i64,
}

/// A message that was refused as readings, kept with its reason.
///
/// It takes no offset: it says nothing about the nation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// When it arrived, microseconds since 1970.
    pub at: i64,
    /// Client that sent it.
    pub client: Arc<str>,
    /// Topic it was published to.
    pub topic: Arc<str>,
    /// The payload as it came, at most its first [`MAX_LETTER_BYTES`].
    pub payload: Bytes,
    /// Bytes of the payload as it came.
    pub size: u64,
    /// Name of the reason, in `snake_case`.
    pub reason: Arc<str>,
    /// What exactly was wrong and how to mend it.
    pub detail: String,
}

/// One transaction of the committer.
#[derive(Debug, Clone)]
pub struct Group {
    /// Name of the lane.
    pub lane: Arc<str>,
    /// The writer's epoch; another one in the store means that this writer was fenced out.
    pub epoch: u64,
    /// First offset of the group.
    pub first: u64,
    /// First offset after it.
    pub next: u64,
    /// Time of arrival, microseconds since 1970.
    pub at: i64,
    /// Final state of each row it touches, by id.
    pub rows: Vec<RowWrite>,
    /// Final state of each relationship it touches.
    pub edges: Vec<EdgeWrite>,
    /// The changes in order, `first..first + changes.len()`.
    pub changes: Vec<Change>,
    /// The readings in order, from there to `next`.
    pub readings: Vec<Recorded>,
    /// Who recorded the readings: runs of readings by one principal, in order.
    pub recorders: Vec<(Principal, u32)>,
    /// Receipts to keep.
    pub receipts: Vec<KeptReceipt>,
    /// Messages that were refused.
    pub dead_letters: Vec<DeadLetter>,
}

impl Group {
    /// Offset of the group's first reading.
    pub fn first_reading(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// Twins that were deleted, even if they were made again. A reading of theirs below
    /// [`Group::first_reading`] is of a life that ended.
    pub fn deleted(&self) -> impl Iterator<Item = &TwinId> {
        self.changes
            .iter()
            .filter_map(|change| match &change.event {
                Event::Deleted(state) => Some(&state.id),
                _ => None,
            })
    }

    /// About how much room its changes and readings take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        const READING_BYTES: usize = 96;
        let changes: usize = self.changes.iter().map(Change::bytes).sum();
        let readings = self.readings.iter();
        let readings = readings.map(|reading| READING_BYTES + value_bytes(&reading.value));
        changes + readings.sum::<usize>()
    }

    /// What followers need of it: what happened, not how it was written.
    pub(crate) fn told(self) -> Self {
        Self {
            rows: Vec::new(),
            edges: Vec::new(),
            receipts: Vec::new(),
            dead_letters: Vec::new(),
            ..self
        }
    }

    /// Checks the relations between the fields.
    pub fn validate(&self) -> bool {
        let Self {
            first,
            next,
            changes,
            readings,
            recorders,
            ..
        } = self;
        *next == first + (changes.len() + readings.len()) as u64
            && changes
                .iter()
                .zip(*first..)
                .all(|(change, offset)| change.offset == offset)
            && recorders.iter().map(|(_, n)| *n as usize).sum::<usize>() == readings.len()
    }
}
