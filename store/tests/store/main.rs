//! The store on SurrealDB, and its packed records: one binary, since each takes long to link.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say what they do"
)]

mod block;
mod codec;
mod damage;
mod history;
mod model;
mod plain;
mod query;
mod round_trip;
mod speed;
