//! `GET /log`: everything that happened after a position, in order, a line each, for replicas and
//! exporters.
//!
//! # Invariants
//! - Every change after the position is told exactly once, in order, with its position.
//! - The body ends well only where all was told that was asked for, or after a last line GAP or
//!   RESET. Else it breaks off, and its reader goes on after the last position that it has.
//! - A reader holds itself back, never a writer, and is served from the store when it fell behind:
//!   beside what a follower holds ([`CATCH_UP_BYTES`](twin_core::CATCH_UP_BYTES)) and the group at
//!   hand there are two chunks of lines ([`MAX_LOG_CHUNK_BYTES`]).

mod line;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{sleep, timeout};
use twin_core::{FollowEnd, Follower, Group, Position};

use crate::api::ChangeKind;
use crate::changes::events;
use crate::exec::write_json;
use crate::limits::{LOG_KEEP_ALIVE, MAX_LOG_CHUNK_BYTES, SEND_PATIENCE};
use crate::service::{Service, closes};

/// A piece of the body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Whole lines.
    Lines(Bytes),
    /// All was told. Without it the body breaks off.
    End,
}

/// One reader.
#[derive(Debug)]
pub(crate) struct Log {
    follower: Follower,
    lane: Arc<str>,
    /// Offset before which it ends; without one it goes on.
    until: Option<u64>,
    /// The group at hand, and the offset in it that comes next.
    group: Option<(Arc<Group>, u64)>,
    mouth: Mouth,
    /// Its place among the readers.
    _place: OwnedSemaphorePermit,
}

/// What hands pieces over.
#[derive(Debug)]
struct Mouth {
    service: Service,
    pieces: mpsc::Sender<Piece>,
    closing: watch::Receiver<bool>,
    patience: Patience,
}

/// How long a reader is waited for, and may wait.
#[derive(Clone, Copy, Debug)]
struct Patience {
    keep_alive: Duration,
    send: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            keep_alive: LOG_KEEP_ALIVE,
            send: SEND_PATIENCE,
        }
    }
}

impl Log {
    /// Starts to tell what happened after a position, up to now or without end. What cannot be
    /// followed from the first is said at once.
    pub(crate) async fn start(
        service: Service,
        after: &Position,
        finite: bool,
        place: OwnedSemaphorePermit,
    ) -> Result<mpsc::Receiver<Piece>, FollowEnd> {
        Self::start_with(service, after, finite, place, Patience::default()).await
    }

    async fn start_with(
        service: Service,
        after: &Position,
        finite: bool,
        place: OwnedSemaphorePermit,
        patience: Patience,
    ) -> Result<mpsc::Receiver<Piece>, FollowEnd> {
        let twin = &service.inner.twin;
        let mut follower = twin.follow(after)?;
        let lane = Arc::clone(follower.lane());
        let (from, now) = (follower.offset(), twin.view().position().offset(&lane));
        let group = if from < now {
            Some((follower.next().await?, from))
        } else {
            None
        };
        // One chunk waits here and one is being sent.
        let (pieces, receiver) = mpsc::channel(1);
        let log = Self {
            mouth: Mouth {
                closing: service.inner.closing.subscribe(),
                service,
                pieces,
                patience,
            },
            follower,
            lane,
            until: finite.then_some(now),
            group,
            _place: place,
        };
        tokio::spawn(log.run());
        Ok(receiver)
    }

    async fn run(mut self) {
        while self.step().await.is_continue() {}
    }

    /// Tells what is at hand, or waits for more.
    async fn step(&mut self) -> ControlFlow<()> {
        let until = self.until.unwrap_or(u64::MAX);
        if let Some((group, from)) = self.group.take() {
            return self.tell(group, from, until).await;
        }
        let from = self.follower.offset();
        if from >= until {
            self.mouth.send(Piece::End).await?;
            return ControlFlow::Break(());
        }
        match self.next().await? {
            Ok(group) => {
                let from = from.max(group.first);
                self.group = Some((group, from));
                ControlFlow::Continue(())
            }
            Err(end) => self.end(from, &end).await,
        }
    }

    /// Waits for the next group, with a blank line now and then.
    async fn next(&mut self) -> ControlFlow<(), Result<Arc<Group>, FollowEnd>> {
        let Self {
            follower, mouth, ..
        } = self;
        // A blank line must not cost a reader that catches up its place, or what it has read.
        let mut next = pin!(follower.next());
        loop {
            tokio::select! {
                biased;
                () = closes(&mut mouth.closing) => return ControlFlow::Break(()),
                () = mouth.pieces.closed() => return ControlFlow::Break(()),
                next = &mut next => return ControlFlow::Continue(next),
                () = sleep(mouth.patience.keep_alive) => {
                    mouth.send(Piece::Lines(Bytes::from_static(b"\n"))).await?;
                }
            }
        }
    }

    /// Tells a group from an offset on; what is too much for one chunk comes next time.
    async fn tell(&mut self, group: Arc<Group>, from: u64, until: u64) -> ControlFlow<()> {
        let (mut out, mut lines, end) = (Vec::new(), 0, group.next.min(until));
        let mut next = end;
        let ontology = &self.mouth.service.inner.api.ontology;
        for event in events(&group, from..end) {
            line::write(&mut out, ontology, &event);
            lines += 1;
            if out.len() >= MAX_LOG_CHUNK_BYTES {
                next = event.next;
                break;
            }
        }
        if next < end {
            self.group = Some((group, next));
        }
        self.mouth.send(Piece::Lines(out.into())).await?;
        self.mouth.service.inner.metrics.log_lines(lines);
        ControlFlow::Continue(())
    }

    /// Says in a last line why no more comes, where the reader has to begin anew; else breaks off.
    async fn end(&mut self, from: u64, end: &FollowEnd) -> ControlFlow<()> {
        let kind = match end {
            FollowEnd::Gap { .. } => ChangeKind::Gap,
            FollowEnd::Reset { .. } => ChangeKind::Reset,
            other => {
                tracing::warn!(end = %other, "a reader of /log was cut");
                return ControlFlow::Break(());
            }
        };
        let mut out = Vec::new();
        let last = serde_json::json!({
            "position": Position::of(&self.lane, from).to_string(),
            "kind": kind.as_str(),
            "message": end.to_string(),
        });
        write_json(&mut out, &last);
        out.push(b'\n');
        self.mouth.send(Piece::Lines(out.into())).await?;
        self.mouth.send(Piece::End).await?;
        ControlFlow::Break(())
    }
}

impl Mouth {
    /// Hands a piece over, unless the reader is gone or does not read.
    async fn send(&mut self, piece: Piece) -> ControlFlow<()> {
        let sent = tokio::select! {
            biased;
            () = closes(&mut self.closing) => return ControlFlow::Break(()),
            sent = timeout(self.patience.send, self.pieces.send(piece)) => sent,
        };
        match sent {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_gone)) => ControlFlow::Break(()),
            Err(_elapsed) => {
                self.service.inner.metrics.log_reader_ended();
                tracing::warn!(
                    seconds = self.patience.send.as_secs(),
                    "a reader of /log took nothing for so long (SEND_PATIENCE) and was ended"
                );
                ControlFlow::Break(())
            }
        }
    }
}
