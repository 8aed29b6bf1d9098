//! Following: every group from a position on, in order, without loss.
//!
//! # Invariants
//! - A follower that keeps up is served from [`Recent`], in memory; one that fell behind reads the
//!   store until it has caught up. It never holds the committer back.
//! - Nothing is handed out that was not published: after an engine failure the store may show rows
//!   that nobody was promised.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::change::Group;
use crate::committer::Shared;
use crate::id::Position;
use crate::store::{Kept, Store, StoreError};

/// Estimated bytes of groups that a follower holds of what it read from the store, one group aside.
pub const CATCH_UP_BYTES: usize = 1 << 20;
/// Followers that read the store at the same time; the others wait.
pub const CATCH_UP_READERS: usize = 4;
/// Most groups that are kept in memory for followers.
pub const RECENT_GROUPS: usize = 1_024;
/// Most estimated bytes of groups that are kept in memory for followers, the newest group aside.
pub const RECENT_BYTES: usize = 64 << 20;

/// Why following ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FollowEnd {
    /// Retention has passed the position: query again and follow from that answer's position.
    #[error("changes before offset {oldest} are no longer kept: query again and follow from there")]
    Gap {
        /// Oldest offset that can be followed from.
        oldest: u64,
    },
    /// What follows is of another ontology: query again and follow from that answer's position.
    #[error("the ontology changed since ({what}): query again and follow from there")]
    Reset {
        /// What it no longer has.
        what: String,
    },
    /// The position has not been reached: it is of another twin, or of one that lost its store.
    #[error("{position} is ahead of this twin, which stands at {stands}")]
    Ahead {
        /// The position asked for.
        position: Position,
        /// Where the twin stands.
        stands: Position,
    },
    /// The twin does not write any more, so nothing will follow.
    #[error("the twin does not write any more: {0}")]
    Stopped(Arc<str>),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The newest groups, for those who keep up.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    groups: VecDeque<(Arc<Group>, usize)>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn push(&self, group: Arc<Group>) {
        let size = group.bytes();
        let mut held = self.lock();
        held.bytes += size;
        held.groups.push_back((group, size));
        while held.groups.len() > RECENT_GROUPS
            || (held.bytes > RECENT_BYTES && held.groups.len() > 1)
        {
            let Some((_, size)) = held.groups.pop_front() else {
                break;
            };
            held.bytes -= size;
        }
    }

    /// The group that holds an offset.
    fn holding(&self, offset: u64) -> Option<Arc<Group>> {
        let held = self.lock();
        let index = held
            .groups
            .partition_point(|(group, _)| group.next <= offset);
        let (group, _) = held.groups.get(index)?;
        (group.first <= offset).then(|| Arc::clone(group))
    }

    /// Every step under the lock leaves it whole.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receives groups in order. Made by [`Twin::follow`](crate::Twin::follow).
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    lane: Arc<str>,
    published: watch::Receiver<u64>,
    stopped: watch::Receiver<Option<Arc<str>>>,
    next: u64,
    /// Read from the store and not handed out yet; bounded by [`CATCH_UP_BYTES`].
    read: VecDeque<Group>,
}

impl Follower {
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Arc<dyn Store>,
        lane: Arc<str>,
        from: u64,
    ) -> Self {
        Self {
            published: shared.offset.subscribe(),
            stopped: shared.stopped.subscribe(),
            shared,
            store,
            lane,
            next: from,
            read: VecDeque::new(),
        }
    }

    /// Name of the lane that is followed.
    pub fn lane(&self) -> &Arc<str> {
        &self.lane
    }

    /// The offset that comes next.
    pub fn offset(&self) -> u64 {
        self.next
    }

    /// The next group that holds something at or after the follower's offset.
    ///
    /// The first one may begin before the position asked for: skip what is below the offset that
    /// [`Follower::offset`] gave before the call. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Arc<Group>, FollowEnd> {
        loop {
            if let Some(group) = self.read.pop_front() {
                self.next = group.next;
                return Ok(Arc::new(group));
            }
            // Read before the offset: what was published before the end is still handed out.
            let stopped = self.stopped.borrow().clone();
            let published = *self.published.borrow_and_update();
            if self.next < published {
                match self.shared.recent.holding(self.next) {
                    Some(group) => {
                        self.next = group.next;
                        return Ok(group);
                    }
                    None => self.catch_up(published).await?,
                }
                continue;
            }
            if let Some(reason) = stopped {
                return Err(FollowEnd::Stopped(reason));
            }
            // Both senders live in `shared`, so neither wait can fail.
            tokio::select! {
                _ = self.published.changed() => {}
                _ = self.stopped.changed() => {}
            }
        }
    }

    /// Reads what the store holds from the next offset on, as far as it was published.
    async fn catch_up(&mut self, published: u64) -> Result<(), FollowEnd> {
        // An error says that the semaphore was closed, which nobody does.
        let _reading = self.shared.catching_up.acquire().await.ok();
        let kept = self.store.groups(&self.lane, self.next, CATCH_UP_BYTES);
        match kept.await? {
            Kept::Gap { oldest } => Err(FollowEnd::Gap { oldest }),
            Kept::Foreign { what } => Err(FollowEnd::Reset { what }),
            Kept::Groups(groups) => {
                // Unpacked they are larger than they were read; what is too much is read again.
                let mut held = 0;
                let groups = groups.into_iter().take_while(|group| {
                    let fits = held < CATCH_UP_BYTES && group.next <= published;
                    held += group.bytes();
                    fits
                });
                self.read = groups.collect();
                if self.read.is_empty() {
                    let reason = format!("offset {} of lane {} is missing", self.next, self.lane);
                    return Err(StoreError::Damaged(reason).into());
                }
                Ok(())
            }
        }
    }
}
