//! A client as a member: how it joins with its session, subscribes, and takes its leave.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mqtt_protocol_core::mqtt::packet::{RetainHandling, SubEntry};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;
use twin_core::TwinId;

use super::super::incoming::Connect;
use super::super::outbox::Due;
use super::super::rate::Rate;
use super::super::session::{Hold, Joined, Key, Session, Taken, Wanted};
use super::super::speaker::Speaker;
use super::super::topic::{Wish, split_share, valid_topic};
use super::super::will::Will;
use super::super::wire::{ConnectRefusal, Granted, Terms};
use super::Connection;
use crate::counters::Closed;
use crate::recorder::Known;
use crate::socket::Stream;
use crate::time::now_micros;

/// What a connected client has.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) session: Session,
    pub(super) hold: Hold,
    pub(super) will: Option<Will>,
    /// How long the session is kept after the connection, seconds.
    pub(super) expiry: u32,
    pub(super) rate: Rate,
}

/// A CONNECT that waits until an older connection gave its session back.
pub(super) struct Joining {
    connect: Connect,
    key: Key,
    left: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S: Stream> Connection<S> {
    /// The client takes its leave.
    pub(super) fn goodbye(&mut self, with_will: bool, expiry: Option<u32>) {
        let max = self.shared.config.limits.max_session_expiry;
        if let Some(member) = &mut self.member {
            if !with_will {
                member.will = None;
            }
            match expiry {
                // A session that was to end with its connection cannot be kept after all.
                Some(expiry) if expiry > 0 && member.expiry == 0 => {
                    self.wire.disconnect(Closed::Protocol);
                    return;
                }
                Some(expiry) => member.expiry = bounded_expiry(expiry, max),
                None => {}
            }
        }
        self.wire.closing = Some(Closed::Disconnect);
    }

    pub(super) fn connect(&mut self, connect: Connect) {
        let limits = &self.shared.config.limits;
        let will = connect.will.as_ref();
        if will.is_some_and(|will| !valid_topic(&will.publish.topic)) {
            self.wire.closing = Some(Closed::Protocol);
            return;
        }
        let nameless = connect.client_id.is_empty() && !connect.clean && !self.wire.is_v5();
        let stranger = match &self.speaker {
            Speaker::Local => false,
            Speaker::Device(id) => !matches!(self.shared.recorder.known(id), Known::Device(_)),
        };
        let refusal = if let Some(refusal) = self.unwelcome {
            Some(refusal)
        } else if stranger {
            Some(ConnectRefusal::NotAuthorized)
        } else if connect.authenticates {
            Some(ConnectRefusal::Method)
        } else if connect.client_id.len() > limits.max_client_id_bytes || nameless {
            Some(ConnectRefusal::ClientId)
        } else if will.is_some_and(|will| will.publish.retain) && !self.shared.rules.opens() {
            Some(ConnectRefusal::WillRetain)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.wire.refuse(refusal);
            return;
        }
        let client = match &*connect.client_id {
            "" => self.shared.sessions.client_id(&self.speaker),
            client => client.into(),
        };
        let key = Key {
            speaker: self.speaker.clone(),
            client,
        };
        self.join_as(connect, key);
    }

    /// The connection that was waited for is gone.
    pub(super) fn join(&mut self) {
        if let Some(Joining { connect, key, .. }) = self.joining.take() {
            self.join_as(connect, key);
        }
    }

    fn join_as(&mut self, connect: Connect, key: Key) {
        let shared = Arc::clone(&self.shared);
        let limits = &shared.config.limits;
        let now = Instant::now();
        let taken = shared.sessions.take(&key, connect.clean, &self.stop, now);
        let Joined {
            hold,
            session,
            present,
            will: left,
        } = match taken {
            Taken::Now(joined) => *joined,
            Taken::After(left) => {
                let left = Box::pin(left.cancelled_owned());
                self.joining = Some(Joining { connect, key, left });
                return;
            }
        };
        let expiry = bounded_expiry(connect.expiry, limits.max_session_expiry);
        let max = limits.max_keep_alive;
        let too_long = connect.keep_alive == 0 || connect.keep_alive > max;
        self.wire.restore(&session.received);
        let terms = Terms {
            session_present: present,
            assigned: connect.client_id.is_empty().then_some(&**hold.client()),
            expiry: (expiry != connect.expiry).then_some(expiry),
            keep_alive: (max > 0 && too_long).then_some(max),
            aliases: connect.aliases,
            retains: shared.rules.opens(),
        };
        self.wire.accept(&terms, limits);
        shared.counters.count_connected();
        self.intake.begin(Arc::clone(hold.client()), session.number);
        if let Some(will) = left {
            self.intake.route(will.publish, now_micros());
            self.intake.send();
        }
        self.member = Some(Member {
            session,
            hold,
            will: connect.will,
            expiry,
            rate: Rate::new(limits.max_messages_per_sec),
        });
    }

    pub(super) fn subscribe(&mut self, entry: &SubEntry, identifier: Option<u32>) -> Granted {
        let Some(Member { session, .. }) = &mut self.member else {
            return Granted::Denied;
        };
        let (shared, limits) = (&self.shared, &self.shared.config.limits);
        let (filter, wants) = (entry.topic_filter(), entry.sub_opts());
        if filter.len() > limits.max_topic_bytes {
            return Granted::Invalid;
        }
        let wish = shared.rules.subscribe(filter);
        let mut desired = None;
        match wish {
            Wish::Open => {}
            Wish::Desired(device) | Wish::Command(device) => {
                let Ok(id) = TwinId::new(device) else {
                    return Granted::Denied;
                };
                let known = || matches!(shared.recorder.known(&id), Known::Device(_));
                if !self.speaker.is(&id) || !known() {
                    return Granted::Denied;
                }
                desired = matches!(wish, Wish::Desired(_)).then_some(id);
            }
            Wish::Denied => return Granted::Denied,
            Wish::Invalid => return Granted::Invalid,
        }
        let new = !session.is_subscribed(filter);
        if new && session.subscriptions() >= limits.max_subscriptions {
            return Granted::Quota;
        }
        let wanted = Wanted {
            qos: wants.qos(),
            no_local: wants.nl(),
            as_published: wants.rap(),
            identifier,
        };
        let Some(subscriber) = session.subscribe(filter, wanted) else {
            return Granted::Invalid;
        };
        let retained = match wants.rh() {
            RetainHandling::SendRetained => true,
            RetainHandling::SendRetainedIfNotExists => new,
            RetainHandling::DoNotSendRetained => false,
        };
        match (desired, split_share(filter)) {
            // After it was subscribed, so that no change falls between.
            (Some(id), _) if retained && shared.recorder.desired(&id).is_some() => {
                subscriber.outbox.tell(Due {
                    device: id,
                    qos: subscriber.qos,
                    retain: true,
                    identifier: subscriber.identifier,
                });
            }
            (None, Some((None, filter))) if retained => {
                shared.broker.send_retained(filter, &subscriber);
            }
            _ => {}
        }
        Granted::Qos(wants.qos())
    }

    /// Gives up what the client had, or gives it back to be kept; its will is published, or left
    /// for later.
    pub(super) fn leave(&mut self, closed: Closed) {
        let Some(member) = self.member.take() else {
            return;
        };
        let Member {
            session,
            hold,
            will,
            expiry,
            ..
        } = member;
        // Sessions end with the server.
        let expiry = if closed == Closed::Shutdown {
            0
        } else {
            expiry
        };
        let life = Duration::from_secs(u64::from(expiry));
        let (now, later) = match will {
            Some(will) if will.delay.is_zero() || life.is_zero() => (Some(will), None),
            will => (None, will.map(|will| (will.delay.min(life), will))),
        };
        let now = match expiry {
            0 => now,
            _ => hold.keep(session, life, later).or(now),
        };
        if let Some(will) = now {
            tracing::debug!(reason = closed.name(), "publishing the will");
            self.intake.route(will.publish, now_micros());
            self.intake.send();
        }
    }
}

fn bounded_expiry(asked: u32, max: Duration) -> u32 {
    asked.min(u32::try_from(max.as_secs()).unwrap_or(u32::MAX))
}

/// Ready when the older connection that a CONNECT waits for is gone.
pub(super) async fn gave_back(joining: &mut Option<Joining>) {
    match joining {
        Some(joining) => joining.left.as_mut().await,
        None => std::future::pending().await,
    }
}
