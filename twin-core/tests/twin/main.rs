//! What the twin promises its callers, over a store in memory that fails on command.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod model;
mod order;
mod world;
