//! Many checks against one running twin, each reported by name.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs named checks and fails at the end with the names of all that failed, because starting a
/// nation for each would cost more than the checks do.
#[derive(Debug, Default)]
pub struct Checks {
    failed: Vec<&'static str>,
    run: usize,
}

impl Checks {
    /// No check so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs one; `behaviour` is a sentence.
    pub fn check(&mut self, behaviour: &'static str, check: impl FnOnce()) {
        self.run += 1;
        if catch_unwind(AssertUnwindSafe(check)).is_ok() {
            eprintln!("ok: {behaviour}");
        } else {
            eprintln!("FAILED: {behaviour}");
            self.failed.push(behaviour);
        }
    }

    /// Fails when any check did.
    pub fn finish(self) {
        assert!(
            self.failed.is_empty(),
            "{} of {} checks failed:\n  {}",
            self.failed.len(),
            self.run,
            self.failed.join("\n  ")
        );
    }
}
