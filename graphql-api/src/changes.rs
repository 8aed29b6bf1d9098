//! One subscription: changes followed in the twin, each written as the client asked for it.
//!
//! # Invariants
//! - Every change after the position asked for is told once, in order, or the end is told: GAP
//!   where the store no longer has what came next, RESET where that is of another ontology.
//! - Nothing is read ahead of a client but the group at hand and what a follower holds
//!   ([`CATCH_UP_BYTES`](twin_core::CATCH_UP_BYTES)); of that group at most
//!   [`MAX_EVENTS_AHEAD`] events or [`MAX_EVENT_BYTES_AHEAD`] bytes are written before they are
//!   asked for.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use twin_core::{self as core, FollowEnd, Follower, Group, Position};

use crate::api::ChangeKind;
use crate::error::{Code, Fault};
use crate::exec::{self, Event, Subject, Watch};
use crate::limits::{MAX_EVENT_BYTES_AHEAD, MAX_EVENTS_AHEAD};
use crate::service::{Prepared, Service};

/// A subscription under way.
#[derive(Debug)]
pub(crate) struct Changes {
    service: Service,
    prepared: Arc<Prepared>,
    watch: Watch,
    follower: Follower,
    /// The group at hand, and the offset in it that comes next.
    group: Option<(Arc<Group>, u64)>,
    /// Events that were written and not asked for yet.
    written: VecDeque<Vec<u8>>,
    ended: bool,
    /// Its place among the subscriptions.
    _place: OwnedSemaphorePermit,
}

impl Changes {
    /// Everything that `watch` admits from a position on.
    pub(crate) fn new(
        service: Service,
        prepared: Arc<Prepared>,
        watch: Watch,
        from: &Position,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Fault> {
        let follower = service.inner.twin.follow(from).map_err(|end| match end {
            FollowEnd::Ahead { .. } => Fault::invalid(format!("`after`: {end}")),
            other => unreadable(&other),
        })?;
        Ok(Self {
            follower,
            service,
            prepared,
            watch,
            group: None,
            written: VecDeque::new(),
            ended: false,
            _place: place,
        })
    }

    /// The next event as the body of an answer; `None` once there will be no more.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<u8>, Fault>> {
        loop {
            if let Some(event) = self.written.pop_front() {
                self.service.inner.metrics.event();
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            if let Some((group, from)) = self.group.take() {
                if let Err(fault) = self.write(&group, from) {
                    self.ended = true;
                    return Some(Err(fault));
                }
                continue;
            }
            let from = self.follower.offset();
            match self.follower.next().await {
                Ok(group) => {
                    let from = from.max(group.first);
                    self.group = Some((group, from));
                }
                Err(end) => {
                    self.ended = true;
                    let kind = match &end {
                        FollowEnd::Gap { .. } => ChangeKind::Gap,
                        FollowEnd::Reset { .. } => ChangeKind::Reset,
                        other => return Some(Err(unreadable(other))),
                    };
                    // Where it stood: subscribing there again ends in the same way.
                    let here = self.service.inner.twin.view().position();
                    let Some((lane, _)) = here.lanes().first() else {
                        return None; // A view stands in its lane.
                    };
                    let last = Event {
                        lane,
                        next: from,
                        kind,
                        origin: None,
                        subject: Subject::None,
                    };
                    match self.body(&[last]) {
                        Ok(bodies) => self.written.extend(bodies),
                        Err(fault) => return Some(Err(fault)),
                    }
                }
            }
        }
    }

    /// Writes what is watched of a group from an offset on, as far as may be written ahead.
    fn write(&mut self, group: &Arc<Group>, from: u64) -> Result<(), Fault> {
        let ontology = Arc::clone(&self.service.inner.api.ontology);
        let mut watched = Vec::new();
        let mut next = group.next;
        for event in events(group, from..group.next) {
            let here = event.next;
            let twin = event.subject.twin();
            if twin.is_some_and(|(id, class)| self.watch.admits(&ontology, id, class)) {
                watched.push(event);
                if watched.len() >= MAX_EVENTS_AHEAD {
                    next = here;
                    break;
                }
            }
        }
        let bodies = self.body(&watched)?;
        // What was not written for its size comes next time.
        if let Some(unwritten) = watched.get(bodies.len()) {
            next = unwritten.next - 1;
        }
        self.written.extend(bodies);
        if next < group.next {
            self.group = Some((Arc::clone(group), next));
        }
        Ok(())
    }

    /// The bodies of events, of at least one where there is one, and no more than may be written
    /// ahead.
    fn body(&self, events: &[Event<'_>]) -> Result<Vec<Vec<u8>>, Fault> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let inner = &self.service.inner;
        let (document, operation, variables) = self.prepared.parts()?;
        let view = inner.twin.view();
        let write = exec::events(&inner.api, &view, document, operation, variables, events);
        let mut bodies = Vec::new();
        let mut bytes = 0;
        for body in write? {
            bytes += body.len();
            bodies.push(body);
            if bytes > MAX_EVENT_BYTES_AHEAD {
                break;
            }
        }
        Ok(bodies)
    }
}

fn unreadable(end: &FollowEnd) -> Fault {
    tracing::warn!(%end, "a subscription ended");
    Fault::new(
        Code::Unavailable,
        format!(
            "changes cannot be followed: {end}; subscribe again after the position of the last event"
        ),
    )
}

/// What happened at these offsets of a group, in order.
pub(crate) fn events(group: &Group, offsets: Range<u64>) -> impl Iterator<Item = Event<'_>> {
    let recorders = Recorders::of(group);
    offsets.filter_map(move |offset| event(group, &recorders, offset))
}

/// Who recorded each reading of a group.
struct Recorders<'a>(Vec<(u64, &'a core::Principal)>);

impl<'a> Recorders<'a> {
    fn of(group: &'a Group) -> Self {
        let mut end = 0;
        let ends = group.recorders.iter().map(|(principal, count)| {
            end += u64::from(*count);
            (end, principal)
        });
        Self(ends.collect())
    }

    fn get(&self, reading: u64) -> Option<&'a core::Principal> {
        let run = self.0.partition_point(|(end, _)| *end <= reading);
        self.0.get(run).map(|(_, principal)| *principal)
    }
}

/// What happened at an offset of a group.
fn event<'a>(group: &'a Group, recorders: &Recorders<'a>, offset: u64) -> Option<Event<'a>> {
    let place = usize::try_from(offset - group.first).ok()?;
    let (lane, next) = (&group.lane, offset + 1);
    if let Some(change) = group.changes.get(place) {
        let (kind, subject) = subject(&change.event);
        return Some(Event {
            lane,
            next,
            kind,
            origin: Some((group.at, &change.principal)),
            subject,
        });
    }
    let place = place - group.changes.len();
    let reading = group.readings.get(place)?;
    Some(Event {
        lane,
        next,
        kind: ChangeKind::Reading,
        origin: Some((group.at, recorders.get(place as u64)?)),
        subject: Subject::Reading(reading),
    })
}

fn subject(event: &core::Event) -> (ChangeKind, Subject<'_>) {
    let twin = |before, after| Subject::Twin { before, after };
    let edge = |before, after| Subject::Relationship { before, after };
    match event {
        core::Event::Created(after) => (ChangeKind::Created, twin(None, Some(after))),
        core::Event::Updated { before, after } => {
            (ChangeKind::Updated, twin(Some(before), Some(after)))
        }
        core::Event::Deleted(before) => (ChangeKind::Deleted, twin(Some(before), None)),
        core::Event::Related(after) => (ChangeKind::Related, edge(None, Some(after))),
        core::Event::Rerelated { before, after } => {
            (ChangeKind::Rerelated, edge(Some(before), Some(after)))
        }
        core::Event::Unrelated(before) => (ChangeKind::Unrelated, edge(Some(before), None)),
    }
}
