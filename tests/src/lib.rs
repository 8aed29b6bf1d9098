//! The harness of the end-to-end tests: starts the built `twin` as a user does, and speaks to it
//! through its doors only.
//!
//! # Invariants
//! - A test knows nothing of our crates: it reads the ready line, HTTP answers and exit codes.
//! - Nothing waits for a fixed time; everything that waits has a deadline and says what it waited
//!   for.
//! - No process outlives its test, and a failing test shows the end of the twin's log.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a harness fails by panicking, reports on stderr and shows what oracles say"
)]

mod book;
mod checks;
mod disk;
mod door;
mod foreign;
mod imported;
mod light;
mod process;
mod random;
mod time;

pub use book::{Book, Held, NoReceipt, Writing, is_sound};
pub use checks::Checks;
pub use disk::{Cut, Disk, Fault, Site, Trouble};
pub use door::{Answer, Fetched, Rows, ask, rows, strings};
pub use foreign::{Finished, Foreign, agrees, node, oracle, publisher, subscriber, until};
pub use imported::{counted, import, import_file, kinds, says, total, unchanged};
pub use light::{Device, Subscription};
pub use process::{
    Refusal, Start, Twin, data, register_stations, register_stations_by, root, station,
};
pub use random::{Random, number};
pub use time::{clock, micros};
