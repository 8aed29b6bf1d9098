//! Following: every group from a position on, in order, without loss.
//!
//! A follower that keeps up is served from memory; one that fell behind reads the store until it
//! has caught up. It never holds the committer back.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::change::Group;
use crate::store::{Kept, Store, StoreError};

/// Bytes of groups a follower reads from the store at once.
pub const CATCH_UP_BYTES: usize = 4 << 20;

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
    /// The twin closed.
    #[error("the twin closed")]
    Closed,
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Receives groups in order. Made by [`Twin::follow`](crate::Twin::follow).
#[derive(Debug)]
pub struct Follower {
    live: broadcast::Receiver<Arc<Group>>,
    store: Arc<dyn Store>,
    lane: Arc<str>,
    next: u64,
    /// Read from the store and not handed out yet; bounded by [`CATCH_UP_BYTES`].
    read: VecDeque<Arc<Group>>,
    /// A live group that is ahead of what was handed out.
    ahead: Option<Arc<Group>>,
}

impl Follower {
    pub(crate) fn new(
        live: broadcast::Receiver<Arc<Group>>,
        store: Arc<dyn Store>,
        lane: Arc<str>,
        from: u64,
    ) -> Self {
        Self {
            live,
            store,
            lane,
            next: from,
            read: VecDeque::new(),
            ahead: None,
        }
    }

    /// The offset that comes next.
    pub fn offset(&self) -> u64 {
        self.next
    }

    /// The next group that holds something at or after the follower's offset.
    ///
    /// The first one may begin before the position asked for: skip what is below the offset that
    /// [`Follower::offset`] gave before the call.
    pub async fn next(&mut self) -> Result<Arc<Group>, FollowEnd> {
        loop {
            if let Some(group) = self.read.pop_front() {
                if let Some(group) = self.hand_out(group) {
                    return Ok(group);
                }
                continue;
            }
            let group = match self.ahead.take() {
                Some(group) => group,
                None => match self.live.try_recv() {
                    Ok(group) => group,
                    Err(broadcast::error::TryRecvError::Lagged(_)) => continue,
                    Err(broadcast::error::TryRecvError::Closed) => return Err(FollowEnd::Closed),
                    Err(broadcast::error::TryRecvError::Empty) => {
                        // Subscribed before this read, so nothing falls between the two.
                        if self.catch_up().await? {
                            continue;
                        }
                        match self.live.recv().await {
                            Ok(group) => group,
                            Err(broadcast::error::RecvError::Lagged(_)) => continue,
                            Err(broadcast::error::RecvError::Closed) => {
                                return Err(FollowEnd::Closed);
                            }
                        }
                    }
                },
            };
            if group.next <= self.next {
                continue;
            }
            if group.first > self.next {
                let from = self.next;
                self.ahead = Some(group);
                if !self.catch_up().await? {
                    let reason = format!("offset {from} of lane {} is missing", self.lane);
                    return Err(StoreError::Damaged(reason).into());
                }
                continue;
            }
            if let Some(group) = self.hand_out(group) {
                return Ok(group);
            }
        }
    }

    fn hand_out(&mut self, group: Arc<Group>) -> Option<Arc<Group>> {
        if group.next <= self.next {
            return None;
        }
        self.next = group.next;
        Some(group)
    }

    /// Reads what the store holds from the next offset on; answers whether there was anything.
    async fn catch_up(&mut self) -> Result<bool, FollowEnd> {
        match self
            .store
            .groups(&self.lane, self.next, CATCH_UP_BYTES)
            .await?
        {
            Kept::Gap { oldest } => Err(FollowEnd::Gap { oldest }),
            Kept::Groups(groups) => {
                self.read = groups.into_iter().map(Arc::new).collect();
                Ok(!self.read.is_empty())
            }
        }
    }
}
