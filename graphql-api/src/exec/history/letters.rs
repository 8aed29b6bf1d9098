//! Dead letters, asked of the store while an answer is written.

use tokio::time::timeout;
use twin_core::store::KeptLetter;

use super::History;
use crate::error::{Code, Fault};
use crate::exec::letters::LettersPlan;
use crate::exec::page::Clock;

/// Dead letters that are read from the store at once, each with a payload.
const WINDOW: usize = 50;

impl History {
    /// A page of dead letters, newest first, and whether there are more.
    pub(crate) fn letters(
        &self,
        plan: &LettersPlan<'_>,
        clock: &Clock,
    ) -> Result<(Vec<KeptLetter>, bool), Fault> {
        let mut before = plan.before.unwrap_or(u64::MAX);
        let mut page = Vec::new();
        loop {
            let found = self.letters_before(before, WINDOW, clock)?;
            let Some(oldest) = found.last() else {
                return Ok((page, false));
            };
            before = oldest.number;
            for kept in found {
                let fits = |reason: &String| **reason == *kept.letter.reason;
                if !plan.reason.as_ref().is_none_or(fits) {
                    continue;
                }
                if page.len() == plan.first {
                    return Ok((page, true));
                }
                page.push(kept);
            }
        }
    }

    /// The dead letter of a number, if it is still kept.
    pub(crate) fn letter(&self, number: u64, clock: &Clock) -> Result<Option<KeptLetter>, Fault> {
        let mut found = self.letters_before(number.saturating_add(1), 1, clock)?;
        Ok(found.pop().filter(|kept| kept.number == number))
    }

    fn letters_before(
        &self,
        before: u64,
        limit: usize,
        clock: &Clock,
    ) -> Result<Vec<KeptLetter>, Fault> {
        let letters = self.twin.dead_letters(before, limit);
        let left = clock.left();
        // Made inside the runtime, which owns the timer.
        match self
            .runtime
            .block_on(async { timeout(left, letters).await })
        {
            Ok(Ok(letters)) => Ok(letters),
            Ok(Err(error)) => Err(Fault::new(
                Code::Unavailable,
                format!("dead letters cannot be read: {error}"),
            )),
            Err(_elapsed) => {
                clock.look();
                clock.check().map(|()| Vec::new())
            }
        }
    }
}
