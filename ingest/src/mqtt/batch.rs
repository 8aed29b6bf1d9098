//! What one socket read brought, on its way through the twin: recorded together, each message with
//! its own fate.
//!
//! # Invariants
//! - A batch is of one device, so it has one principal.
//! - Every message of a batch gets exactly one [`Answer`], in the order they came.
//! - A message that the twin refuses is a dead letter; its neighbours are recorded without it.
//! - Accepted means that the twin answered `Ok`; a dead letter that it was kept.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_protocol_core::mqtt::ArcPayload;
use twin_core::{DeadLetter, MAX_LETTER_BYTES, Principal, Reading, Readings, Refusal, TwinId};

use super::flow::Ack;
use super::server::Shared;
use crate::counters::{Fate, Reason};
use crate::payload::Refused;

/// Most readings of one call to the twin; a single pack may hold more.
pub(crate) const BATCH_READINGS: usize = 10_000;

/// The end of one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) ack: Ack,
    /// Payload bytes that no longer wait.
    pub(crate) bytes: usize,
    pub(crate) fate: Fate,
}

/// A message as it came, for the case that it ends as a dead letter.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) ack: Ack,
    pub(crate) at: i64,
    pub(crate) client: Arc<str>,
    pub(crate) topic: Arc<str>,
    pub(crate) payload: ArcPayload,
}

impl Letter {
    fn answer(&self, fate: Fate) -> Answer {
        Answer {
            ack: self.ack,
            bytes: self.payload.len(),
            fate,
        }
    }

    /// Keeps the message as a dead letter and answers for it.
    pub(crate) async fn bury(self, shared: &Shared, refused: Refused) -> Answer {
        let Refused { reason, detail } = refused;
        tracing::debug!(topic = %self.topic, reason = reason.name(), detail, "dead letter");
        let payload = self.payload.as_slice();
        let kept = &payload[..payload.len().min(MAX_LETTER_BYTES)];
        let letter = DeadLetter {
            at: self.at,
            client: Arc::clone(&self.client),
            topic: Arc::clone(&self.topic),
            payload: Bytes::copy_from_slice(kept),
            size: payload.len() as u64,
            reason: reason.name().into(),
            detail,
        };
        match shared.recorder.bury(letter).await {
            Ok(()) => self.answer(Fate::Dead(reason)),
            Err(error) => {
                tracing::warn!(topic = %self.topic, %error, "not acknowledged");
                self.answer(Fate::Failed)
            }
        }
    }
}

/// Messages of one device that are recorded together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) device: TwinId,
    pub(crate) readings: Vec<Reading>,
    /// Each message and where its readings end.
    pub(crate) letters: Vec<(Letter, usize)>,
}

impl Batch {
    pub(crate) fn new(device: TwinId) -> Self {
        Self {
            device,
            readings: Vec::new(),
            letters: Vec::new(),
        }
    }

    /// Records the batch and answers for each of its messages.
    pub(crate) async fn record(self, shared: Arc<Shared>) -> Vec<Answer> {
        let Self {
            device,
            readings,
            letters,
        } = self;
        let principal = Principal::device(&device);
        // Only several messages may have to be told apart afterwards.
        let again = if letters.len() > 1 {
            readings.clone()
        } else {
            Vec::new()
        };
        let recorded = shared
            .recorder
            .record(Readings {
                principal: principal.clone(),
                readings,
            })
            .await;
        let mut answers = Vec::with_capacity(letters.len());
        match recorded {
            Ok(_) => {
                let mut start = 0;
                for (letter, end) in letters {
                    let readings = (end - start) as u64;
                    start = end;
                    answers.push(letter.answer(Fate::Accepted { readings }));
                }
            }
            Err(refusal) if outcome_is_open(&refusal) => {
                tracing::warn!(%device, %refusal, messages = letters.len(), "not acknowledged");
                answers.extend(
                    letters
                        .iter()
                        .map(|(letter, _)| letter.answer(Fate::Failed)),
                );
            }
            Err(refusal) if letters.len() == 1 => {
                for (letter, _) in letters {
                    answers.push(letter.bury(&shared, refused(&refusal)).await);
                }
            }
            Err(_) => {
                let mut again = again.into_iter();
                let mut start = 0;
                for (letter, end) in letters {
                    let readings: Vec<_> = again.by_ref().take(end - start).collect();
                    start = end;
                    answers.push(record_alone(&shared, &principal, letter, readings).await);
                }
            }
        }
        answers
    }
}

async fn record_alone(
    shared: &Shared,
    principal: &Principal,
    letter: Letter,
    readings: Vec<Reading>,
) -> Answer {
    let given = readings.len();
    match shared
        .recorder
        .record(Readings {
            principal: principal.clone(),
            readings,
        })
        .await
    {
        Ok(_) => letter.answer(Fate::Accepted {
            readings: given as u64,
        }),
        Err(refusal) if outcome_is_open(&refusal) => {
            tracing::warn!(%principal, %refusal, "not acknowledged");
            letter.answer(Fate::Failed)
        }
        Err(refusal) => letter.bury(shared, refused(&refusal)).await,
    }
}

/// Whether the readings may be durable, or could be soon: then nothing may be said about them.
///
/// A refusal that this code does not know is treated so, since it is never wrong not to acknowledge.
fn outcome_is_open(refusal: &Refusal) -> bool {
    !matches!(
        refusal.reason(),
        Refusal::UnknownName { .. }
            | Refusal::Invalid { .. }
            | Refusal::Violation(_)
            | Refusal::NotFound(_)
            | Refusal::Conflict(_)
            | Refusal::Limited { .. }
    )
}

fn refused(refusal: &Refusal) -> Refused {
    let reason = match refusal.reason() {
        Refusal::UnknownName { .. } => Reason::UnknownName,
        Refusal::Invalid { .. } => Reason::WrongType,
        Refusal::NotFound(_) => Reason::UnknownDevice,
        Refusal::Limited { .. } => Reason::TooMany,
        _ => Reason::Refused,
    };
    Refused::new(reason, refusal.to_string())
}
