//! SurrealQL of users: they may look, and only look.
//!
//! Three walls, each enough on its own: the statements are parsed and admitted only if nothing in
//! them can write; they run in a session whose role may only view; and what the parser calls
//! read-only runs in a transaction that cannot write.
//!
//! # Invariants
//! - A query is bounded in text, time, rows and bytes, and in how many run at once.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value as Json;
use surrealdb::types::{Value, Variables};

use crate::database::{As, Row};
use crate::surreal::SurrealStore;
use crate::values::{json_to_stored, stored_to_json};

/// Longest text of a query.
pub const MAX_QUERY_BYTES: usize = 64 << 10;
/// Most queries of users at once.
pub const MAX_QUERIES: usize = 8;

/// How much one query may ask.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest it may run.
    pub timeout: Duration,
    /// Most rows, over all its statements.
    pub rows: usize,
    /// Most bytes of its answer, roughly as JSON.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            rows: 100_000,
            bytes: 64 << 20,
        }
    }
}

/// Why a query was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It is no SurrealQL.
    #[error("{0}")]
    Syntax(String),
    /// It might write.
    #[error(
        "statement {statement} could change something: only SELECT, RETURN, LET, INFO FOR and \
         the like are answered here; changes go through the API"
    )]
    NotReadOnly {
        /// Its number, from 1.
        statement: usize,
    },
    /// It asks for too much.
    #[error("{what}: more than the limit of {limit}; ask for less, or page by id")]
    TooLarge {
        /// What is too much.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// It takes too long.
    #[error("not answered within {} s; name ids or use an index", .0.as_secs_f64())]
    TimedOut(Duration),
    /// Too many others run.
    #[error("{MAX_QUERIES} queries run already (MAX_QUERIES): try again later")]
    Busy,
    /// SurrealDB could not answer it.
    #[error("{0}")]
    Failed(String),
}

impl SurrealStore {
    /// Answers SurrealQL that only reads: one JSON value for each statement. Record ids stand as
    /// `Table:⟨id⟩`, geometry as GeoJSON.
    pub async fn query(
        &self,
        text: &str,
        vars: &serde_json::Map<String, Json>,
        limits: Limits,
    ) -> Result<Vec<Json>, QueryError> {
        if text.len() > MAX_QUERY_BYTES {
            let what = "the query's text";
            return Err(QueryError::TooLarge {
                what,
                limit: MAX_QUERY_BYTES,
            });
        }
        admit(text)?;
        let _turn = Turn::take(&self.querying)?;
        let mut bound = Variables::new();
        for (name, value) in vars {
            bound.insert(name.as_str(), json_to_stored(value));
        }
        let mut answer = Answer {
            limits,
            rows: 0,
            bytes: 0,
            over: None,
            statements: Vec::new(),
        };
        let mut take = |row: Row| answer.take(row.statement, row.value, row.of_many);
        let running = self.database.stream(As::Reader, text, bound, &mut take);
        let ended = tokio::time::timeout(limits.timeout, running).await;
        match ended {
            Err(_elapsed) => Err(QueryError::TimedOut(limits.timeout)),
            Ok(Err(error)) => Err(QueryError::Failed(error.to_string())),
            Ok(Ok(())) => match answer.over {
                Some(over) => Err(over),
                None => Ok(answer
                    .statements
                    .into_iter()
                    .map(Option::unwrap_or_default)
                    .collect()),
            },
        }
    }
}

/// Admits statements that cannot write, by what their parsed form says.
fn admit(text: &str) -> Result<(), QueryError> {
    match engine::first_write(text).map_err(QueryError::Syntax)? {
        Some(place) => Err(QueryError::NotReadOnly {
            statement: place + 1,
        }),
        None => Ok(()),
    }
}

/// One of the places of running queries, given back when it is dropped.
struct Turn<'a>(&'a AtomicUsize);

impl<'a> Turn<'a> {
    fn take(running: &'a AtomicUsize) -> Result<Self, QueryError> {
        let turn = Self(running);
        if running.fetch_add(1, Ordering::AcqRel) < MAX_QUERIES {
            Ok(turn)
        } else {
            Err(QueryError::Busy)
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Answer {
    limits: Limits,
    rows: usize,
    bytes: usize,
    over: Option<QueryError>,
    statements: Vec<Option<Json>>,
}

impl Answer {
    fn take(&mut self, statement: usize, value: Value, of_many: bool) -> ControlFlow<()> {
        let json = stored_to_json(value);
        self.rows += 1;
        self.bytes += weight(&json);
        if self.rows > self.limits.rows {
            let (what, limit) = ("rows of the answer", self.limits.rows);
            self.over = Some(QueryError::TooLarge { what, limit });
            return ControlFlow::Break(());
        }
        if self.bytes > self.limits.bytes {
            let (what, limit) = ("bytes of the answer", self.limits.bytes);
            self.over = Some(QueryError::TooLarge { what, limit });
            return ControlFlow::Break(());
        }
        while self.statements.len() <= statement {
            self.statements.push(None);
        }
        match &mut self.statements[statement] {
            Some(Json::Array(rows)) if of_many => rows.push(json),
            slot if of_many => *slot = Some(Json::Array(vec![json])),
            slot => *slot = Some(json),
        }
        ControlFlow::Continue(())
    }
}

/// Roughly the bytes of a JSON text.
fn weight(json: &Json) -> usize {
    const SMALL: usize = 8;
    match json {
        Json::String(text) => SMALL + text.len(),
        Json::Array(items) => SMALL + items.iter().map(weight).sum::<usize>(),
        Json::Object(members) => {
            SMALL
                + members
                    .iter()
                    .map(|(name, json)| name.len() + weight(json))
                    .sum::<usize>()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => SMALL,
    }
}
