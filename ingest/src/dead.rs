//! Dead letters: messages that were understood as messages and refused as readings.
//!
//! # Invariants
//! - A refused message is acknowledged only after [`DeadLetters::keep`] answered.
//! - The ring holds at most its letters and bytes; what it lets go of is counted.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::counters::Reason;

/// Most letters that [`DeadLetterRing`] holds by default.
pub const MAX_DEAD_LETTERS: usize = 10_000;
/// Most payload bytes that [`DeadLetterRing`] holds by default.
pub const MAX_DEAD_LETTER_BYTES: usize = 16 << 20;

/// A refused message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// When it arrived, microseconds since 1970.
    pub at: i64,
    /// Client id of the connection it came by.
    pub client: Arc<str>,
    /// Topic it was published to.
    pub topic: Arc<str>,
    /// The payload as it came.
    pub payload: Bytes,
    /// Why it was refused.
    pub reason: Reason,
    /// What exactly was wrong and how to mend it.
    pub detail: String,
}

/// Why a dead letter could not be kept; its message is then not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the dead letter could not be kept: {0}")]
pub struct KeepError(pub String);

/// Keeps dead letters.
pub trait DeadLetters: Send + Sync + Debug + 'static {
    /// Keeps a letter; when this answers `Ok`, its message may be acknowledged.
    fn keep(&self, letter: DeadLetter) -> BoxFuture<'_, Result<(), KeepError>>;
}

/// The newest dead letters, in memory.
#[derive(Debug)]
pub struct DeadLetterRing {
    max_letters: usize,
    max_bytes: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    letters: VecDeque<DeadLetter>,
    bytes: usize,
    let_go: u64,
}

impl Default for DeadLetterRing {
    fn default() -> Self {
        Self::new(MAX_DEAD_LETTERS, MAX_DEAD_LETTER_BYTES)
    }
}

impl DeadLetterRing {
    /// A ring of at most so many letters and bytes.
    pub fn new(max_letters: usize, max_bytes: usize) -> Self {
        Self {
            max_letters,
            max_bytes,
            held: Mutex::default(),
        }
    }

    /// The letters held, oldest first.
    pub fn letters(&self) -> Vec<DeadLetter> {
        self.lock().letters.iter().cloned().collect()
    }

    /// How many letters made room for newer ones.
    pub fn let_go(&self) -> u64 {
        self.lock().let_go
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        // Every step below leaves the ring whole, so a panicked holder spoiled nothing.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a letter weighs beside its fixed parts.
fn weight(letter: &DeadLetter) -> usize {
    letter.payload.len() + letter.topic.len() + letter.client.len() + letter.detail.len()
}

impl DeadLetters for DeadLetterRing {
    fn keep(&self, letter: DeadLetter) -> BoxFuture<'_, Result<(), KeepError>> {
        let mut held = self.lock();
        held.bytes += weight(&letter);
        held.letters.push_back(letter);
        while held.letters.len() > self.max_letters || held.bytes > self.max_bytes {
            let Some(oldest) = held.letters.pop_front() else {
                break;
            };
            held.bytes -= weight(&oldest);
            held.let_go += 1;
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(payload: &'static [u8]) -> DeadLetter {
        DeadLetter {
            at: 0,
            client: "".into(),
            topic: "".into(),
            payload: Bytes::from_static(payload),
            reason: Reason::MalformedJson,
            detail: String::new(),
        }
    }

    #[tokio::test]
    async fn the_ring_holds_the_newest_within_both_limits() {
        let ring = DeadLetterRing::new(3, 10);
        for payload in [&b"1"[..], b"22", b"333", b"4444"] {
            ring.keep(letter(payload)).await.unwrap();
        }
        let held: Vec<_> = ring.letters().iter().map(|l| l.payload.len()).collect();
        assert_eq!(held, [2, 3, 4]);
        ring.keep(letter(b"55555")).await.unwrap();
        let held: Vec<_> = ring.letters().iter().map(|l| l.payload.len()).collect();
        assert_eq!(held, [4, 5]);
        assert_eq!(ring.let_go(), 3);
    }
}
