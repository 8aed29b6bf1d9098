//! The disk of dropped tables. Their rows are gone at once, and their files only when the engine rewrites them,
//! which it does of its own accord within a day, and here as soon as may be.
//!
//! # Invariants
//! - At most one part in [`SHARE`] of all time is spent so. However little a table held, the engine rewrites what lies
//!   beside it too: a year of readings in half an hour, whose tables come and go by the second, took twice as long as
//!   without.
//! - What waits is bounded by [`MAX_WAITING`].

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::database::variables;
use crate::surreal::SurrealStore;

/// One part of so many of the time goes into having files rewritten.
const SHARE: u32 = 10;
/// Most tables that wait; the oldest are forgotten, as the engine has rewritten most of their files by then.
const MAX_WAITING: usize = 64;

/// Dropped tables whose files are still there.
#[derive(Debug, Default)]
pub(super) struct Shrinking {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    tables: VecDeque<String>,
    /// When the next may be taken; at once if `None`.
    rests_until: Option<Instant>,
}

impl Shrinking {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a table whose rows are gone; its name needs no escaping.
    pub(super) fn dropped(&self, table: String) {
        let mut waiting = self.waiting();
        if waiting.tables.len() == MAX_WAITING {
            waiting.tables.pop_front();
        }
        waiting.tables.push_back(table);
    }

    /// The table that was dropped last, unless it is time to rest.
    fn next(&self, now: Instant) -> Option<String> {
        let mut waiting = self.waiting();
        let rests = waiting.rests_until.is_some_and(|until| now < until);
        if rests {
            None
        } else {
            waiting.tables.pop_back()
        }
    }

    /// Rests after what took so long.
    fn rest(&self, now: Instant, took: Duration) {
        self.waiting().rests_until = Some(now + took * (SHARE - 1));
    }
}

impl SurrealStore {
    /// Has the engine rewrite the files of dropped tables, as long as it is time for that.
    pub(super) async fn shrink(&self) {
        let shrinking = &self.history.shrinking;
        while let Some(table) = shrinking.next(Instant::now()) {
            let begun = Instant::now();
            // A table must be defined for that. One that was made again is in use: then this fails, at once or where
            // it meets who makes it, and removes nothing.
            let text = format!(
                "BEGIN; DEFINE TABLE `{table}` SCHEMALESS PERMISSIONS NONE; ALTER TABLE `{table}` COMPACT; \
                 REMOVE TABLE `{table}`; COMMIT"
            );
            let done = self.database.attempt(&text, variables([])).await;
            shrinking.rest(Instant::now(), begun.elapsed());
            if let Err(error) = done {
                tracing::debug!(%error, table, "the disk of a dropped table comes back later");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_rewritten_a_tenth_of_the_time_and_the_newest_first() {
        let shrinking = Shrinking::default();
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        for number in 0..=MAX_WAITING {
            shrinking.dropped(number.to_string());
        }
        assert_eq!(shrinking.next(begun), Some(MAX_WAITING.to_string()));
        shrinking.rest(after(2), Duration::from_secs(2));
        assert_eq!(shrinking.next(after(19)), None);
        let mut left = 0;
        while let Some(table) = shrinking.next(after(20)) {
            assert_ne!(table, "0", "the oldest is forgotten");
            left += 1;
        }
        assert_eq!(left, MAX_WAITING - 1);
    }
}
