//! What the twin promises its callers, over a store in memory that fails on command.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod clock;
mod keeper;
mod lives;
mod order;
mod path;
mod world;
