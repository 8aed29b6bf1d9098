//! The committer: the one writer of a lane.
//!
//! It gathers what waits, applies it to a copy of the live twin (which checks what only order can
//! decide), makes the group durable in one transaction, publishes the copy and answers everyone.
//! While one transaction syncs, the next group gathers in the queue.
//!
//! # Invariants
//! - Nobody hears yes before the store synced and the new state is published.
//! - A refused member leaves no trace; its neighbours in the group are not refused with it.
//! - After an engine failure nothing is written any more; reading goes on.

mod apply;
mod group;
mod trial;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

pub use self::apply::{MAX_CHANGE_BYTES, MAX_CHANGES, MAX_DETACHED, MAX_REMOVALS};
use self::group::Draft;
pub use self::trial::Trial;
use crate::change::{DeadLetter, Group, KeptReceipt};
use crate::commit::{Idempotency, Receipt, Refusal};
use crate::door::{ReadStep, Step};
use crate::follow::Recent;
use crate::id::{Position, Principal};
use crate::live::Live;
use crate::store::{Store, StoreError};

/// Most requests that wait for the committer.
pub const QUEUE_REQUESTS: usize = 16_384;
/// Most estimated bytes that wait for the committer, in units of [`PERMIT_BYTES`].
pub const QUEUE_BYTES: usize = 256 << 20;
/// Bytes of one permit of the queue.
pub const PERMIT_BYTES: usize = 1 << 10;
/// A group takes no further request once it holds so many steps and readings.
pub const GROUP_ITEMS: usize = 10_000;
/// Items that a delete counts as: SurrealDB walks its whole catalogue for every row it deletes, so
/// each costs milliseconds.
pub const DELETE_ITEMS: usize = 20;
/// A group takes no further request once it holds so many estimated bytes.
pub const GROUP_BYTES: usize = 16 << 20;
/// Most idempotency receipts kept. While so many are young, further keys are refused: to forget one
/// early would break the promise that goes with it.
pub const MAX_RECEIPTS: usize = 1_000_000;
/// How long an idempotency receipt is kept, microseconds.
pub const RECEIPT_LIFE_US: i64 = 24 * 3_600 * 1_000_000;

/// What waits for the committer.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) principal: Principal,
    pub(crate) work: Work,
    pub(crate) bytes: usize,
    pub(crate) answer: oneshot::Sender<Result<Receipt, Refusal>>,
    /// Room in the queue, given back when the request is answered.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// When the position of a receipt was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// By an earlier group, which was asked the same.
    Before,
    /// By the group it is in, also where another member asked the same.
    WithGroup,
}

/// Structure or readings.
#[derive(Debug)]
pub(crate) enum Work {
    Commit {
        steps: Vec<Step>,
        idempotency: Option<Idempotency>,
    },
    Record(Vec<ReadStep>),
    Bury(Box<DeadLetter>),
}

impl Work {
    fn items(&self) -> usize {
        match self {
            Self::Commit { steps, .. } => {
                let removes =
                    |step: &&Step| matches!(step, Step::Delete { .. } | Step::Unrelate { .. });
                steps.len() + steps.iter().filter(removes).count() * (DELETE_ITEMS - 1)
            }
            Self::Record(readings) => readings.len(),
            Self::Bury(_) => 1,
        }
    }
}

/// What everyone may read of the committer's work.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) live: ArcSwap<Live>,
    /// The published offset, for those who wait for one.
    pub(crate) offset: watch::Sender<u64>,
    /// The newest groups, for followers.
    pub(crate) recent: Recent,
    /// Followers that read the store now.
    pub(crate) catching_up: Semaphore,
    /// Why the committer stopped writing, once it has.
    pub(crate) stopped: watch::Sender<Option<Arc<str>>>,
    pub(crate) counters: Counters,
}

/// What the committer counted since it started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Transactions made durable.
    pub groups: AtomicU64,
    /// Structural changes made durable.
    pub changes: AtomicU64,
    /// Readings made durable.
    pub readings: AtomicU64,
    /// Readings that repeated the time of the newest one and replaced it.
    pub duplicates: AtomicU64,
    /// Dead letters made durable.
    pub dead_letters: AtomicU64,
    /// Requests refused.
    pub refused: AtomicU64,
}

pub(crate) struct Committer {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) epoch: u64,
    pub(crate) queue: mpsc::Receiver<Request>,
    pub(crate) receipts: Receipts,
    pub(crate) clock: fn() -> i64,
}

impl Committer {
    /// Runs until every sender of the queue is gone and all that waited is answered.
    pub(crate) async fn run(mut self) {
        let _end = End(Arc::clone(&self.shared));
        while let Some(first) = self.queue.recv().await {
            let (mut items, mut bytes) = (first.work.items(), first.bytes);
            let mut requests = vec![first];
            while items < GROUP_ITEMS && bytes < GROUP_BYTES {
                let Ok(request) = self.queue.try_recv() else {
                    break;
                };
                items += request.work.items();
                bytes += request.bytes;
                requests.push(request);
            }
            self.commit(requests).await;
        }
    }

    /// Commits requests as one group, or, if the store refuses it, as smaller ones.
    async fn commit(&mut self, requests: Vec<Request>) {
        let mut waiting = VecDeque::from([requests]);
        while let Some(requests) = waiting.pop_front() {
            if let Some(reason) = self.stopped() {
                for request in requests {
                    self.refuse(request, Refusal::Unavailable(reason.to_string()));
                }
                continue;
            }
            let base = self.shared.live.load_full();
            let at = (self.clock)();
            let mut draft = Draft::new(Arc::clone(&base), self.epoch, at);
            let mut members = Vec::with_capacity(requests.len());
            let mut requests = VecDeque::from(requests);
            while let Some(request) = requests.pop_front() {
                if draft.is_full()
                    || matches!(&request.work, Work::Commit { steps, .. }
                        if draft.must_end_before(steps))
                {
                    requests.push_front(request);
                    break;
                }
                match self.take(&mut draft, &request) {
                    Ok((receipt, settled)) => members.push((request, receipt, settled)),
                    Err(refusal) => self.refuse(request, refusal),
                }
            }
            if !requests.is_empty() {
                waiting.push_front(requests.into());
            }
            let (live, group, duplicates) = draft.finish();
            if group.next == group.first
                && group.receipts.is_empty()
                && group.dead_letters.is_empty()
            {
                // Nothing to write: everything already was so.
                self.answer(members);
                continue;
            }
            debug_assert!(group.validate(), "the group's offsets have a gap");
            match self.store.commit(&group).await {
                Ok(()) => {
                    self.publish(live, group, duplicates);
                    self.answer(members);
                }
                Err(StoreError::Refused(reason)) if members.len() == 1 => {
                    for (request, ..) in members {
                        self.refuse(request, Refusal::Violation(reason.clone()));
                    }
                }
                Err(StoreError::Refused(_)) => {
                    // One of them is the culprit: halve until it stands alone, order kept.
                    let mut first: Vec<_> =
                        members.into_iter().map(|(request, ..)| request).collect();
                    let second = first.split_off(first.len() / 2);
                    waiting.push_front(second);
                    waiting.push_front(first);
                }
                Err(error) => {
                    tracing::error!(%error, "the store failed; the twin reads on but writes no more");
                    let reason = format!("{error}; restart the twin once its disk is well");
                    self.shared.stopped.send_replace(Some(reason.into()));
                    for (request, ..) in members {
                        self.refuse(request, Refusal::OutcomeUnknown(error.to_string()));
                    }
                }
            }
        }
    }

    fn stopped(&self) -> Option<Arc<str>> {
        self.shared.stopped.borrow().clone()
    }

    /// Applies one request to the draft; its receipt holds once the group is durable, and its
    /// position is the group's unless it was settled before.
    fn take(
        &mut self,
        draft: &mut Draft,
        request: &Request,
    ) -> Result<(Receipt, Settled), Refusal> {
        let idempotency = match &request.work {
            Work::Commit { idempotency, .. } => idempotency.as_ref(),
            Work::Record(_) | Work::Bury(_) => None,
        };
        let known = |asked| {
            let earlier = self.receipts.get(&request.principal, asked, draft.at);
            let here = || draft.receipt(&request.principal, asked);
            (earlier.map(|kept| (kept, Settled::Before)))
                .or_else(|| here().map(|kept| (kept, Settled::WithGroup)))
        };
        if let Some(asked) = idempotency
            && let Some((kept, settled)) = known(asked)
        {
            if kept.idempotency.hash != asked.hash {
                return Err(Refusal::Conflict(format!(
                    "the idempotency key `{}` was used for another request: choose a new key",
                    asked.key
                )));
            }
            let position = Position::of(draft.lane(), kept.offset);
            let receipt = Receipt {
                position,
                changes: kept.changes,
                repeated: true,
            };
            return Ok((receipt, settled));
        }
        if idempotency.is_some() {
            self.receipts.room(draft.receipts(), draft.at)?;
        }
        let changes = match &request.work {
            Work::Commit { steps, .. } => draft.commit(&request.principal, steps)?,
            Work::Record(readings) => draft.record(&request.principal, readings)?,
            Work::Bury(letter) => {
                draft.bury(DeadLetter::clone(letter));
                0
            }
        };
        if let Some(idempotency) = idempotency {
            draft.keep(&request.principal, idempotency, changes);
        }
        let receipt = Receipt {
            position: draft.position(),
            changes,
            repeated: false,
        };
        Ok((receipt, Settled::WithGroup))
    }

    fn publish(&mut self, live: Live, group: Group, duplicates: u64) {
        let counters = &self.shared.counters;
        counters.groups.fetch_add(1, Ordering::Relaxed);
        counters
            .changes
            .fetch_add(group.changes.len() as u64, Ordering::Relaxed);
        counters
            .readings
            .fetch_add(group.readings.len() as u64, Ordering::Relaxed);
        counters.duplicates.fetch_add(duplicates, Ordering::Relaxed);
        counters
            .dead_letters
            .fetch_add(group.dead_letters.len() as u64, Ordering::Relaxed);
        for receipt in &group.receipts {
            self.receipts.insert(receipt.clone());
        }
        let offset = live.offset;
        // In this order: whoever hears of the offset finds the group, and a view that holds it.
        if group.next > group.first {
            self.shared.recent.push(Arc::new(group.told()));
        }
        self.shared.live.store(Arc::new(live));
        self.shared.offset.send_replace(offset);
    }

    /// The final position is the group's: readings are numbered after the changes.
    fn answer(&self, members: Vec<(Request, Receipt, Settled)>) {
        let live = self.shared.live.load();
        for (request, mut receipt, settled) in members {
            if settled == Settled::WithGroup {
                receipt.position = Position::of(&live.lane, live.offset);
            }
            // An error says that the caller went away; what it asked is done all the same.
            drop(request.answer.send(Ok(receipt)));
        }
    }

    fn refuse(&self, request: Request, refusal: Refusal) {
        self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        drop(request.answer.send(Err(refusal)));
    }
}

/// Says that nobody writes any more, however the committer ended: a panic must not look like health.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() {
            "the committer failed; restart the twin"
        } else {
            "it is closed"
        };
        self.0.stopped.send_if_modified(|stopped| {
            let ended = stopped.is_none();
            stopped.get_or_insert_with(|| reason.into());
            ended
        });
    }
}

/// Receipts of idempotency keys, bounded by age and in number.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    by_key: HashMap<(Principal, Arc<str>), KeptReceipt>,
    /// Oldest first, also where a clock was set back.
    by_age: BTreeSet<(i64, Principal, Arc<str>)>,
}

impl Receipts {
    /// Whether one more receipt may be kept beside so many that wait.
    fn room(&mut self, waiting: usize, now: i64) -> Result<(), Refusal> {
        self.forget_expired(now);
        let given = self.by_age.len() + waiting;
        if given < MAX_RECEIPTS {
            return Ok(());
        }
        Err(Refusal::Limited {
            what: "idempotency keys of the last 24 hours",
            given: given + 1,
            limit: MAX_RECEIPTS,
            name: "MAX_RECEIPTS",
        })
    }

    fn forget_expired(&mut self, now: i64) {
        while let Some((at, ..)) = self.by_age.first() {
            if now.saturating_sub(*at) <= RECEIPT_LIFE_US {
                break;
            }
            if let Some((at, principal, key)) = self.by_age.pop_first() {
                let key = (principal, key);
                // A later receipt may have taken the key of an expired one.
                if self.by_key.get(&key).is_some_and(|kept| kept.at == at) {
                    self.by_key.remove(&key);
                }
            }
        }
    }

    pub(crate) fn insert(&mut self, receipt: KeptReceipt) {
        let key = (
            receipt.principal.clone(),
            Arc::clone(&receipt.idempotency.key),
        );
        self.by_age
            .insert((receipt.at, key.0.clone(), Arc::clone(&key.1)));
        self.by_key.insert(key, receipt);
    }

    fn get(&self, principal: &Principal, asked: &Idempotency, now: i64) -> Option<&KeptReceipt> {
        self.by_key
            .get(&(principal.clone(), Arc::clone(&asked.key)))
            .filter(|kept| now - kept.at <= RECEIPT_LIFE_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(key: &str, at: i64) -> KeptReceipt {
        KeptReceipt {
            principal: Principal::system("test"),
            idempotency: Idempotency {
                key: key.into(),
                hash: 1,
            },
            offset: 1,
            changes: 1,
            at,
        }
    }

    #[test]
    fn a_young_receipt_is_never_forgotten_for_a_new_one() {
        let mut receipts = Receipts::default();
        receipts.insert(receipt("a", 0));
        assert!(receipts.room(MAX_RECEIPTS - 2, 1).is_ok());
        let full = receipts.room(MAX_RECEIPTS - 1, RECEIPT_LIFE_US);
        assert!(matches!(full, Err(Refusal::Limited { .. })), "{full:?}");
        let asked = receipt("a", 0);
        let kept = receipts.get(&asked.principal, &asked.idempotency, RECEIPT_LIFE_US);
        assert!(kept.is_some());
        // One of a clock that was ahead keeps no other from going.
        receipts.insert(receipt("ahead", 300 * RECEIPT_LIFE_US));
        receipts.insert(receipt("b", 1));
        receipts.forget_expired(RECEIPT_LIFE_US + 2);
        assert_eq!(receipts.by_key.len(), 1);
        receipts.forget_expired(302 * RECEIPT_LIFE_US);
        receipts.insert(receipt("a", 0));
        // A day later it makes room.
        assert!(receipts.room(MAX_RECEIPTS - 1, RECEIPT_LIFE_US + 1).is_ok());
        assert!(receipts.by_key.is_empty());
    }
}
