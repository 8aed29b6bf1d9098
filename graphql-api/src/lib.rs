//! The service face: GraphQL over one live twin, its console, a start page, metrics and health.
//!
//! ```text
//! POST /graphql ─► guard ─► frame (parse, validate) ─► exec ─► query: one View ─► JSON bytes
//! /bulk ─────────► guard ─► lines ─► commits ─► a result for each line
//! /log ──────────► guard ─► follow, line by line
//! /tiles ────────► guard ─► layer, tile ─► one View ─► a vector tile
//! /models ───────► guard ─► one twin's solid ─► binary glTF
//! /graphql/ws ───►                                      ├───► mutation: commit, record
//!                                                       └───► subscription: follow, event by event
//! ```
//!
//! # Invariants
//! - Knows the twin and the ontology; no database, no MQTT and no file format.
//! - Every limit is a constant of [`limits`], and the error of who passes it names it.
//! - Only requests whose Host and Origin are loopback are answered.

#![forbid(unsafe_code)]

mod api;
mod bulk;
mod changes;
mod error;
mod exec;
mod frame;
mod http;
pub mod limits;
mod log;
mod mend;
mod metrics;
mod models;
mod schema;
mod service;
#[cfg(test)]
mod testing;
mod tiles;

pub use error::Code;
pub use http::{router, router_with};
pub use metrics::{Figure, Values};
pub use schema::SchemaError;
pub use service::{FiguresFn, Options, RetryFn, Service, SurqlFn};
