//! What a client has beyond its connection, who holds it, and for how long it is kept.
//!
//! # Invariants
//! - A session is held by one connection, or kept until a time; a newer connection has it only after
//!   the older one gave it back, with all that it published at its end.
//! - A client id belongs to whom it speaks for: another speaker's same id is another session.
//! - At most `max_sessions` are kept between connections; one more ends at once and is counted.
//! - A session that ends is subscribed to nothing.
//! - Sessions live in memory: they end with the server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mqtt_protocol_core::mqtt::packet::Qos;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::flow::Flights;
use super::outbox::{Due, Message, Outbox};
use super::speaker::Speaker;
use super::topic::split_share;
use super::tree::Subscriber;
use super::will::Will;
use crate::counters::Counters;

/// How a client wants to be subscribed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) as_published: bool,
    pub(crate) identifier: Option<u32>,
}

/// What goes to a client next.
#[derive(Debug)]
pub(crate) enum Next {
    Message(Message),
    Desired(Due),
}

/// What a client has for as long as its session lasts.
#[derive(Debug)]
pub(crate) struct Session {
    /// Unique among the sessions of a server.
    pub(crate) number: u64,
    broker: Arc<Broker>,
    filters: BTreeSet<String>,
    mailbox: Option<(Arc<Outbox>, mpsc::Receiver<Message>)>,
    /// What was sent to the client and is not at its end.
    pub(crate) flights: Flights,
    /// Packet ids of `QoS` 2 publishes of the client that were answered by PUBREC and wait for PUBREL.
    pub(crate) received: BTreeSet<u16>,
}

impl Session {
    fn new(broker: &Arc<Broker>) -> Self {
        Self {
            number: broker.session_number(),
            broker: Arc::clone(broker),
            filters: BTreeSet::new(),
            mailbox: None,
            flights: Flights::default(),
            received: BTreeSet::new(),
        }
    }

    /// How many filters it is subscribed to.
    pub(crate) fn subscriptions(&self) -> usize {
        self.filters.len()
    }

    pub(crate) fn is_subscribed(&self, filter: &str) -> bool {
        self.filters.contains(filter)
    }

    /// Subscribes to a valid filter, or changes how it is subscribed.
    pub(crate) fn subscribe(&mut self, filter: &str, wanted: Wanted) -> Option<Subscriber> {
        let (group, own) = split_share(filter)?;
        let Self {
            broker,
            number,
            mailbox,
            ..
        } = self;
        let (outbox, _) = mailbox.get_or_insert_with(|| broker.outbox(*number));
        let subscriber = Subscriber {
            outbox: Arc::clone(outbox),
            qos: wanted.qos,
            no_local: wanted.no_local,
            as_published: wanted.as_published,
            identifier: wanted.identifier,
        };
        self.broker.subscribe(own, group, subscriber.clone());
        self.filters.insert(filter.to_owned());
        Some(subscriber)
    }

    /// Ends a subscription; whether there was one.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> bool {
        self.filters.remove(filter)
            && split_share(filter)
                .is_some_and(|(group, own)| self.broker.unsubscribe(own, group, self.number))
    }

    /// What goes to the client next; waits for ever where it is subscribed to nothing.
    pub(crate) async fn next(&mut self) -> Option<Next> {
        let Some((outbox, queue)) = &mut self.mailbox else {
            return std::future::pending().await;
        };
        loop {
            if let Some(due) = outbox.take_due() {
                return Some(Next::Desired(due));
            }
            tokio::select! {
                message = queue.recv() => return message.map(Next::Message),
                () = outbox.woken() => {}
            }
        }
    }

    /// Takes room for a message that is sent now.
    pub(crate) fn hold(&self, message: &Message) {
        if let Some((outbox, _)) = &self.mailbox {
            outbox.hold(message);
        }
    }

    /// Gives the room of a message back that has come to its end.
    pub(crate) fn done(&self, message: &Message) {
        if let Some((outbox, _)) = &self.mailbox {
            outbox.done(message);
        }
    }

    fn set_away(&mut self, away: bool) {
        if let Some((outbox, _)) = &self.mailbox {
            outbox.set_away(away);
        }
        if !away {
            self.flights.interrupted();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for filter in &self.filters {
            if let Some((group, own)) = split_share(filter) {
                self.broker.unsubscribe(own, group, self.number);
            }
        }
    }
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) speaker: Speaker,
    pub(crate) client: Arc<str>,
}

/// A session between two connections.
#[derive(Debug)]
struct Kept {
    session: Session,
    until: Instant,
    /// To be published at this time, unless the client comes back before.
    will: Option<(Instant, Will)>,
}

#[derive(Debug)]
enum Seat {
    Held {
        /// Tells the holder to go.
        stop: CancellationToken,
        /// Says that it is gone.
        left: CancellationToken,
    },
    Kept(Box<Kept>),
}

/// The sessions of one server.
#[derive(Debug)]
pub(crate) struct Sessions {
    seats: Mutex<BTreeMap<Key, Seat>>,
    broker: Arc<Broker>,
    counters: Arc<Counters>,
    max_kept: u64,
}

/// What came of asking for a session.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is the caller's.
    Now(Box<Joined>),
    /// Another connection has it and was told to go: ask again when this is cancelled.
    After(CancellationToken),
}

/// A session that a connection has from now on.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) hold: Hold,
    pub(crate) session: Session,
    /// Whether it is one that was kept.
    pub(crate) present: bool,
    /// A will that is to be published now, of a session that ended by this or of this one.
    pub(crate) will: Option<Will>,
}

/// A connection's hold on its session; the session ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    sessions: Arc<Sessions>,
    key: Key,
    left: CancellationToken,
    gave_back: bool,
}

impl Sessions {
    pub(crate) fn new(broker: Arc<Broker>, counters: Arc<Counters>, max_kept: usize) -> Arc<Self> {
        Arc::new(Self {
            seats: Mutex::default(),
            broker,
            counters,
            max_kept: max_kept as u64,
        })
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<Key, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client id for a client that brought none.
    pub(crate) fn client_id(&self, speaker: &Speaker) -> Arc<str> {
        let mut client = format!("auto-{}", self.broker.session_number());
        let seats = self.seats();
        loop {
            let key = Key {
                speaker: speaker.clone(),
                client: client.as_str().into(),
            };
            if !seats.contains_key(&key) {
                return key.client;
            }
            client.push('+');
        }
    }

    /// Takes the session of a client, or begins one; whoever holds it is told to go. `clean` ends
    /// what was kept.
    pub(crate) fn take(
        self: &Arc<Self>,
        key: &Key,
        clean: bool,
        stop: &CancellationToken,
        now: Instant,
    ) -> Taken {
        let mut seats = self.seats();
        if let Some(Seat::Held { stop, left }) = seats.get(key) {
            stop.cancel();
            return Taken::After(left.clone());
        }
        let left = CancellationToken::new();
        let held = Seat::Held {
            stop: stop.clone(),
            left: left.clone(),
        };
        let kept = match seats.insert(key.clone(), held) {
            Some(Seat::Kept(kept)) => {
                self.counters.session_taken();
                Some(*kept)
            }
            _ => None,
        };
        drop(seats);
        let hold = Hold {
            sessions: Arc::clone(self),
            key: key.clone(),
            left,
            gave_back: false,
        };
        let joined = match kept {
            Some(kept) if !clean && now < kept.until => {
                let Kept {
                    mut session, will, ..
                } = kept;
                session.set_away(false);
                // A will whose time has come was not published only because nobody looked yet.
                let will = will.filter(|(due, _)| *due <= now);
                Joined {
                    hold,
                    session,
                    present: true,
                    will: will.map(|(_, will)| will),
                }
            }
            kept => Joined {
                hold,
                session: Session::new(&self.broker),
                present: false,
                will: kept.and_then(|kept| kept.will).map(|(_, will)| will),
            },
        };
        Taken::Now(Box::new(joined))
    }

    /// Ends the sessions whose time is over; the wills that are to be published now.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<(Key, Will)> {
        let mut ended = Vec::new();
        let mut wills = Vec::new();
        let mut seats = self.seats();
        for (key, seat) in &mut *seats {
            let Seat::Kept(kept) = seat else { continue };
            let over = kept.until <= now;
            if over {
                ended.push(key.clone());
            }
            if kept
                .will
                .as_ref()
                .is_some_and(|(due, _)| over || *due <= now)
            {
                wills.extend(kept.will.take().map(|(_, will)| (key.clone(), will)));
            }
        }
        let ended: Vec<_> = ended.iter().filter_map(|key| seats.remove(key)).collect();
        drop(seats);
        for _ in &ended {
            self.counters.session_taken();
        }
        wills
    }

    /// Ends every kept session; all their wills.
    pub(crate) fn end(&self) -> Vec<(Key, Will)> {
        self.sweep(Instant::now() + Duration::from_secs(u64::from(u32::MAX)))
    }
}

impl Hold {
    pub(crate) fn client(&self) -> &Arc<str> {
        &self.key.client
    }

    /// Gives the session back, to be kept for a time, with a will for a time within it.
    pub(crate) fn keep(
        mut self,
        mut session: Session,
        life: Duration,
        will: Option<(Duration, Will)>,
    ) -> Option<Will> {
        let counters = &self.sessions.counters;
        if counters.sessions() >= self.sessions.max_kept {
            counters.count_session_dropped();
            return will.map(|(_, will)| will);
        }
        session.set_away(true);
        let now = Instant::now();
        let kept = Kept {
            session,
            until: now + life,
            will: will.map(|(delay, will)| (now + delay, will)),
        };
        counters.session_kept();
        let key = self.key.clone();
        self.sessions
            .seats()
            .insert(key, Seat::Kept(Box::new(kept)));
        self.gave_back = true;
        None
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.gave_back {
            self.sessions.seats().remove(&self.key);
        }
        self.left.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::super::outbox::tests::message;
    use super::*;
    use crate::limits::Limits;

    const LIFE: Duration = Duration::from_secs(5);

    fn sessions(max: usize) -> Arc<Sessions> {
        let counters = Arc::<Counters>::default();
        let broker = Arc::new(Broker::new(&Limits::default(), Arc::clone(&counters)));
        Sessions::new(broker, counters, max)
    }

    fn key(client: &str) -> Key {
        Key {
            speaker: Speaker::Local,
            client: client.into(),
        }
    }

    #[track_caller]
    fn take(sessions: &Arc<Sessions>, client: &str, clean: bool) -> (Hold, Session, bool, bool) {
        take_at(sessions, client, clean, Instant::now())
    }

    #[track_caller]
    fn take_at(
        sessions: &Arc<Sessions>,
        client: &str,
        clean: bool,
        now: Instant,
    ) -> (Hold, Session, bool, bool) {
        let stop = CancellationToken::new();
        match sessions.take(&key(client), clean, &stop, now) {
            Taken::Now(joined) => {
                let Joined {
                    hold,
                    session,
                    present,
                    will,
                } = *joined;
                (hold, session, present, will.is_some())
            }
            Taken::After(_) => panic!("`{client}` is held"),
        }
    }

    fn subscribed(session: &mut Session) {
        let wanted = Wanted {
            qos: Qos::AtLeastOnce,
            no_local: false,
            as_published: false,
            identifier: None,
        };
        assert!(session.subscribe("$share/g/a", wanted).is_some());
        assert!(session.subscribe("a", wanted).is_some());
    }

    #[tokio::test]
    async fn a_kept_session_goes_on_hearing_until_its_time_is_over() {
        let sessions = sessions(9);
        let (hold, mut session, present, _) = take(&sessions, "a", false);
        assert!(!present);
        subscribed(&mut session);
        assert!(hold.keep(session, LIFE, None).is_none());
        assert_eq!(sessions.broker.publish(None, &message("a")), 2);
        let (hold, mut session, present, _) = take(&sessions, "a", false);
        assert!(present);
        assert!(matches!(session.next().await, Some(Next::Message(_))));
        assert!(hold.keep(session, LIFE, None).is_none());
        assert_eq!(sessions.counters.sessions(), 1);

        let (_hold, session, present, _) = take_at(&sessions, "a", false, Instant::now() + LIFE);
        assert!(!present);
        assert_eq!(session.subscriptions(), 0);
        assert_eq!(sessions.counters.sessions(), 0);
        assert_eq!(sessions.broker.publish(None, &message("a")), 0);
    }

    #[test]
    fn a_newer_connection_waits_until_the_older_gave_back() {
        let sessions = sessions(9);
        let stop = CancellationToken::new();
        let first = sessions.take(&key("a"), false, &stop, Instant::now());
        let Taken::Now(first) = first else { panic!() };
        let Joined { hold, session, .. } = *first;
        let again = sessions.take(&key("a"), false, &CancellationToken::new(), Instant::now());
        let Taken::After(left) = again else { panic!() };
        assert!(stop.is_cancelled() && !left.is_cancelled());
        assert!(hold.keep(session, LIFE, None).is_none());
        assert!(left.is_cancelled());
        let (_hold, _session, present, _) = take(&sessions, "a", false);
        assert!(present);
    }

    #[test]
    fn the_same_client_id_of_another_speaker_is_another_session() {
        let sessions = sessions(9);
        let (_hold, ..) = take(&sessions, "a", false);
        let other = Key {
            speaker: Speaker::Device(twin_core::TwinId::new("d:1").unwrap()),
            ..key("a")
        };
        let stop = CancellationToken::new();
        let taken = sessions.take(&other, false, &stop, Instant::now());
        assert!(matches!(taken, Taken::Now(_)));
    }

    #[test]
    fn a_will_waits_and_is_given_out_once() {
        let now = Instant::now();
        let (soon, half) = (Duration::from_secs(2), Duration::from_secs(1));
        let keep = |sessions: &Arc<Sessions>| {
            let (hold, session, ..) = take(sessions, "a", false);
            assert!(
                hold.keep(session, LIFE, Some((soon, Will::of_test())))
                    .is_none()
            );
        };
        let sessions = sessions(9);
        keep(&sessions);
        assert!(sessions.sweep(now + half).is_empty());
        assert_eq!(sessions.sweep(now + soon * 2).len(), 1);
        assert!(sessions.sweep(now + soon * 2).is_empty());

        keep(&sessions);
        let (hold, session, present, will) = take(&sessions, "a", false);
        assert!(present && !will, "whoever comes back in time leaves none");
        assert!(
            hold.keep(session, LIFE, Some((soon, Will::of_test())))
                .is_none()
        );
        let (_, _, present, will) = take(&sessions, "a", true);
        assert!(!present && will, "a session that ends leaves its will");

        keep(&sessions);
        assert_eq!(sessions.end().len(), 1);
        assert_eq!(sessions.counters.sessions(), 0);
    }

    #[test]
    fn one_more_than_may_be_kept_ends_at_once() {
        let sessions = sessions(1);
        for (client, kept) in [("a", true), ("b", false)] {
            let (hold, session, ..) = take(&sessions, client, false);
            let will = hold.keep(session, LIFE, Some((LIFE, Will::of_test())));
            assert_eq!(will.is_none(), kept);
        }
        assert_eq!(sessions.counters.sessions_dropped(), 1);
        let (_, _, present, _) = take(&sessions, "b", false);
        assert!(!present);
    }
}
