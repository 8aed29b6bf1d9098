//! The live twin: everything that happens to the nation is a change with a place in one order,
//! made durable by a [`Store`] before anyone hears yes; memory is what those changes say; every
//! reader sees one instant of it.
//!
//! ```text
//! commit / record ─► door (names, model) ─► committer (order) ─► Store (one transaction)
//!                                                   │
//!                                                   ├─► Live ─► View: queries
//!                                                   └─► Follower: subscriptions
//! ```
//!
//! Knows no database, no HTTP, no MQTT and no file format.

#![forbid(unsafe_code)]

mod change;
mod commit;
mod committer;
mod door;
mod follow;
mod graph;
pub mod history;
mod id;
mod keeper;
mod live;
pub mod memory;
mod path;
pub mod space;
pub mod store;
mod twin;
mod view;

pub use change::{
    Change, DeadLetter, EdgeState, EdgeWrite, Event, Group, KeptReceipt, MAX_DEAD_LETTERS,
    MAX_LETTER_BYTES, Recorded, RowWrite, TwinState, Values,
};
pub use commit::{
    Commit, Expect, Idempotency, MAX_COMMIT_BYTES, MAX_OPERATIONS, MAX_READINGS, Operation, Put,
    Reading, Readings, Receipt, Refusal,
};
pub use committer::{
    Counters, DELETE_ITEMS, GROUP_BYTES, GROUP_ITEMS, MAX_CHANGE_BYTES, MAX_CHANGES, MAX_DETACHED,
    MAX_RECEIPTS, MAX_REMOVALS, PERMIT_BYTES, QUEUE_BYTES, QUEUE_REQUESTS, RECEIPT_LIFE_US, Trial,
};
pub use follow::{
    CATCH_UP_BYTES, CATCH_UP_READERS, FollowEnd, Follower, RECENT_BYTES, RECENT_GROUPS,
};
pub use graph::{MAX_VISITED, Step, TooMany, traverse};
pub use id::{MAX_ID_BYTES, MAX_LANES, NameError, Position, Principal, TwinId};
pub use keeper::{BELIEVED_AFTER, KeeperCounters, LATEST_PAGE_ROWS, TEND_EVERY, TEND_READINGS};
pub use live::{Latest, TwinRef, ValueRef};
pub use path::{Link, Path, PathError, Way, shortest_path};
pub use twin::{
    HISTORY_READERS, LoadReport, MAX_AHEAD, MAX_BEHIND, Settings, Twin, now_us, steady_now,
};
pub use view::{Direction, Located, TwinPage, View};
