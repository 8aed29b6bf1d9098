//! What callers hand in: structural commits and readings, and what they get back.
//!
//! Names are still texts here; the door (`door.rs`) resolves them against the ontology once, and
//! the committer checks what only order can decide.

use std::sync::Arc;

use ontology::Value;

use crate::id::{NameError, Position, Principal, TwinId};
use crate::space::Shape;

/// Most operations of one commit.
pub const MAX_OPERATIONS: usize = 10_000;
/// Most estimated bytes of one commit, geometry included.
pub const MAX_COMMIT_BYTES: usize = 64 << 20;
/// Most readings of one call to `record`.
pub const MAX_READINGS: usize = 100_000;

/// An atomic structural change.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Who does it.
    pub principal: Principal,
    /// Repeating a commit under the same key within 24 hours answers with the first receipt.
    pub idempotency: Option<Idempotency>,
    /// Applied in order; all or none.
    pub operations: Vec<Operation>,
}

/// A caller's key for one request, and the hash of that request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Chosen by the caller; unique per principal.
    pub key: Arc<str>,
    /// Hash of the request's meaning: another request under the same key is a conflict.
    pub hash: u64,
}

/// One step of a commit.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Creates the twin, or sets what is named and leaves the rest.
    Upsert(Put),
    /// Like an upsert, of a twin that must exist.
    Patch(Put),
    /// Removes a twin.
    Delete {
        /// The twin.
        id: TwinId,
        /// Refuse unless the twin stands so.
        expect: Option<Expect>,
        /// Remove its relationships too, each as a change of its own; else they refuse the delete.
        detach: bool,
    },
    /// Relates two twins, or changes the properties of their relationship.
    Relate {
        /// The source twin.
        source: TwinId,
        /// Name of the relationship.
        name: Arc<str>,
        /// The target twin.
        target: TwinId,
        /// Properties to set by name; `None` clears.
        set: Vec<(Arc<str>, Option<Value>)>,
        /// Refuse unless the source stands so.
        expect: Option<Expect>,
        /// If the source has as many targets as the model allows, replace them.
        replace: bool,
    },
    /// Removes a relationship.
    Unrelate {
        /// The source twin.
        source: TwinId,
        /// Name of the relationship.
        name: Arc<str>,
        /// The target twin.
        target: TwinId,
        /// Refuse unless the source stands so.
        expect: Option<Expect>,
    },
}

/// What an upsert or patch sets.
#[derive(Debug, Clone)]
pub struct Put {
    /// The twin.
    pub id: TwinId,
    /// Name of its class.
    pub class: Arc<str>,
    /// Properties to set by name; `None` clears.
    pub set: Vec<(Arc<str>, Option<Value>)>,
    /// `None` leaves the geometry, `Some(None)` clears it.
    pub geometry: Option<Option<Arc<Shape>>>,
    /// Refuse unless the twin stands so.
    pub expect: Option<Expect>,
}

/// What the caller believes of a twin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// It does not exist.
    Absent,
    /// Its revision is this one.
    Revision(Position),
}

/// The answer to what was done: durable and visible before the caller has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Everything the caller did has happened at this position.
    pub position: Position,
    /// Changes it made; 0 where everything already was so.
    pub changes: u64,
    /// Whether this is the answer to an earlier request of the same idempotency key.
    pub repeated: bool,
}

/// Telemetry of one twin: one instant, one value.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The twin.
    pub twin: TwinId,
    /// Name of the telemetry.
    pub telemetry: Arc<str>,
    /// Microseconds since 1970; `None` is time of arrival.
    pub ts: Option<i64>,
    /// The value.
    pub value: Value,
}

/// Readings recorded together; answered together.
#[derive(Debug, Clone)]
pub struct Readings {
    /// Who does it.
    pub principal: Principal,
    /// The readings, in order of arrival.
    pub readings: Vec<Reading>,
}

/// Why a commit or readings were refused. Nothing of a refused commit has happened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A name that the ontology does not have.
    #[error("{what} `{name}` is not known{}", hint(.suggestion.as_deref()))]
    UnknownName {
        /// What kind of name: `class`, `property of Village`, …
        what: String,
        /// The name given.
        name: String,
        /// A close name.
        suggestion: Option<String>,
    },
    /// Something that does not fit the model, or is not well formed.
    #[error("{at}: {reason}")]
    Invalid {
        /// Where: operation and field.
        at: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A rule of the model that this commit would break.
    #[error("{0}")]
    Violation(String),
    /// A twin that has to exist and does not.
    #[error("there is no twin `{0}`")]
    NotFound(TwinId),
    /// The state is not what the caller expected.
    #[error("{0}")]
    Conflict(String),
    /// More than a limit allows.
    #[error("{what}: {given} is more than the limit of {limit} ({name})")]
    Limited {
        /// What is limited.
        what: &'static str,
        /// How much was given.
        given: usize,
        /// How much is allowed.
        limit: usize,
        /// The limit's name.
        name: &'static str,
    },
    /// One of several operations or readings was refused, and all with it.
    #[error("{what}[{index}]: {refusal}")]
    One {
        /// `operations` or `readings`.
        what: &'static str,
        /// Its place among them, from 0.
        index: usize,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// The store cannot take it now.
    #[error("the twin does not write: {0}")]
    Unavailable(String),
    /// The store failed while it was written: it may or may not be durable.
    #[error("the outcome is unknown: {0}; read before you repeat it")]
    OutcomeUnknown(String),
}

impl Refusal {
    /// Why, without the place of the one that was refused.
    pub fn reason(&self) -> &Self {
        match self {
            Self::One { refusal, .. } => refusal.reason(),
            reason => reason,
        }
    }

    /// Says which of several was refused; what is refused as a whole has no place.
    pub(crate) fn of(self, what: &'static str, index: usize, count: usize) -> Self {
        match self {
            whole @ (Self::Limited { .. } | Self::Unavailable(_) | Self::OutcomeUnknown(_)) => {
                whole
            }
            alone if count < 2 => alone,
            one => Self::One {
                what,
                index,
                refusal: Box::new(one),
            },
        }
    }
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::Invalid {
            at: "name".to_owned(),
            reason: error.to_string(),
        }
    }
}
