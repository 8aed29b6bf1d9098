//! What goes to a subscriber, and again where a connection broke.

use tokio::time::Instant;

use super::super::flow::Stage;
use super::super::session::Next;
use super::member::Member;
use super::{Connection, OUT_BYTES};
use crate::socket::Stream;

impl<S: Stream> Connection<S> {
    pub(super) fn may_deliver(&self) -> bool {
        let in_flight = match &self.member {
            Some(member) => member.session.flights.len(),
            None => return false,
        };
        self.draining.is_none()
            && self.wire.out.bytes.len() < OUT_BYTES
            && in_flight < usize::from(self.shared.config.limits.outbound_in_flight)
            && self.wire.vacancy()
    }

    pub(super) fn deliver(&mut self, next: Next) {
        let Some(Member { session, .. }) = &mut self.member else {
            return;
        };
        let message = match next {
            Next::Message(message) => message,
            Next::Desired(due) => {
                // As it stands now: whatever changes after this makes it due again.
                let state = self.shared.recorder.desired(&due.device);
                let message = due.message(&self.shared.config.realm, state.unwrap_or_default());
                session.hold(&message);
                message
            }
        };
        let counters = &self.shared.counters;
        if message.expired(Instant::now()) {
            session.done(&message);
            counters.count_expired();
            return;
        }
        match self.wire.deliver(&message, None) {
            Ok(Some(packet_id)) => {
                session.flights.begin(packet_id, message);
                counters.count_delivered();
            }
            Ok(None) => {
                session.done(&message);
                counters.count_delivered();
            }
            Err(_) => {
                session.done(&message);
                counters.count_dropped();
            }
        }
    }

    /// Sends again what an older connection of this session did not bring to its end, as far as the
    /// peer's receive maximum allows.
    pub(super) fn send_again(&mut self) {
        let Some(Member { session, .. }) = &mut self.member else {
            return;
        };
        while self.wire.closing.is_none()
            && self.wire.out.bytes.len() < OUT_BYTES
            && let Some((packet_id, stage)) = session.flights.unsent()
        {
            match stage {
                Stage::Released => {
                    self.wire.release(packet_id);
                    session.flights.resent(packet_id);
                }
                Stage::Published(_) if !self.wire.vacancy() => return,
                Stage::Published(message) => {
                    if self.wire.deliver(&message, Some(packet_id)).is_ok() {
                        session.flights.resent(packet_id);
                    } else {
                        session.flights.end(packet_id);
                        session.done(&message);
                        self.shared.counters.count_dropped();
                    }
                }
            }
        }
    }
}

pub(super) async fn next(member: &mut Option<Member>) -> Option<Next> {
    match member {
        Some(member) => member.session.next().await,
        None => std::future::pending().await,
    }
}
