//! Plain publish and subscribe: who gets a message, and what is retained.
//!
//! # Invariants
//! - A session gets a message once, whatever number of its filters match, at the highest `QoS` that
//!   one of them was granted, and never above the `QoS` it was published with; once more for each
//!   group whose turn falls on it.
//! - A full queue drops the new message and counts it; a publisher never waits for a subscriber.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::mpsc;
use tokio::time::Instant;
use twin_core::TwinId;

use super::outbox::{Due, Message, Outbox, Room, lower};
use super::retained::Retained;
use super::tree::{Node, Subscriber};
use crate::counters::Counters;
use crate::limits::Limits;

/// The subscriptions and retained messages of one server.
#[derive(Debug)]
pub(crate) struct Broker {
    root: RwLock<Node>,
    retained: Mutex<Retained>,
    room: Arc<Room>,
    next: AtomicU64,
    outbound_messages: usize,
    outbound_bytes: usize,
    counters: Arc<Counters>,
}

impl Broker {
    pub(crate) fn new(limits: &Limits, counters: Arc<Counters>) -> Self {
        Self {
            root: RwLock::default(),
            retained: Mutex::new(Retained::new(limits.max_retained, limits.retained_bytes)),
            room: Room::new(limits.total_outbound_bytes),
            next: AtomicU64::new(0),
            outbound_messages: limits.outbound_messages,
            outbound_bytes: limits.outbound_bytes,
            counters,
        }
    }

    /// A number that no other session of this server has.
    pub(crate) fn session_number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// A queue for a session.
    pub(crate) fn outbox(&self, session: u64) -> (Arc<Outbox>, mpsc::Receiver<Message>) {
        let room = Arc::clone(&self.room);
        Outbox::new(session, self.outbound_messages, self.outbound_bytes, room)
    }

    /// Subscribes a session, or changes how it is subscribed; whether it was not yet. The filter is
    /// a valid one.
    pub(crate) fn subscribe(
        &self,
        filter: &str,
        group: Option<&str>,
        subscriber: Subscriber,
    ) -> bool {
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        root.add(filter, group, subscriber)
    }

    /// Ends a subscription; whether there was one.
    pub(crate) fn unsubscribe(&self, filter: &str, group: Option<&str>, session: u64) -> bool {
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        root.remove(filter, group, session)
    }

    /// Queues the retained messages of a filter for a subscriber.
    pub(crate) fn send_retained(&self, filter: &str, subscriber: &Subscriber) {
        let retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        for message in retained.find(filter, Instant::now()) {
            self.send_kept(message, subscriber);
        }
    }

    /// Queues a message for a subscriber as one that was there before.
    fn send_kept(&self, message: &Message, subscriber: &Subscriber) {
        self.offer(
            subscriber,
            Message {
                qos: lower(message.qos, subscriber.qos),
                retain: true,
                subscriptions: subscriber.identifier.into_iter().collect(),
                ..message.clone()
            },
        );
    }

    /// Retains a message for those who subscribe later; one with an empty payload removes.
    pub(crate) fn retain(&self, message: &Message) {
        let mut retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        if !retained.retain(message.clone(), Instant::now()) {
            self.counters.count_not_retained();
        }
        self.counters.set_retained(retained.len());
    }

    /// Queues a message for everyone who listens; how many do. RETAIN says how it was published.
    pub(crate) fn publish(&self, from: Option<u64>, message: &Message) -> usize {
        let root = self.root.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = root.find(&message.topic);
        found
            .subscribers
            .retain(|subscriber| !(subscriber.no_local && from == Some(subscriber.outbox.session)));
        // The highest QoS of each session comes first.
        found
            .subscribers
            .sort_unstable_by_key(|s| (s.outbox.session, std::cmp::Reverse(s.qos as u8)));
        let sessions = found
            .subscribers
            .chunk_by(|a, b| a.outbox.session == b.outbox.session);
        let mut count = 0;
        for session in sessions {
            count += 1;
            let message = Message {
                qos: lower(message.qos, session[0].qos),
                retain: message.retain && session.iter().any(|s| s.as_published),
                subscriptions: session.iter().filter_map(|s| s.identifier).collect(),
                ..message.clone()
            };
            self.offer(session[0], message);
        }
        for group in found.groups {
            count += 1;
            let taken = group.in_turn().any(|member| {
                member.outbox.offer(Message {
                    qos: lower(message.qos, member.qos),
                    retain: message.retain && member.as_published,
                    subscriptions: member.identifier.into_iter().collect(),
                    ..message.clone()
                })
            });
            if !taken {
                self.counters.count_dropped();
            }
        }
        count
    }

    /// Tells everyone who listens for the desired state of a device that it may be another.
    pub(crate) fn tell_desired(&self, topic: &str, device: &TwinId) {
        let root = self.root.read().unwrap_or_else(PoisonError::into_inner);
        for subscriber in root.find(topic).subscribers {
            subscriber.outbox.tell(Due {
                device: device.clone(),
                qos: subscriber.qos,
                retain: subscriber.as_published,
                identifier: subscriber.identifier,
            });
        }
    }

    fn offer(&self, subscriber: &Subscriber, message: Message) {
        if !subscriber.outbox.offer(message) {
            self.counters.count_dropped();
        }
    }
}

#[cfg(test)]
mod tests {
    use mqtt_protocol_core::mqtt::packet::Qos;

    use super::super::outbox::tests::message;
    use super::*;

    fn broker() -> Broker {
        Broker::new(&Limits::default(), Arc::default())
    }

    fn listen(
        broker: &Broker,
        session: u64,
        filter: &str,
        change: impl FnOnce(&mut Subscriber),
    ) -> mpsc::Receiver<Message> {
        let (outbox, queue) = broker.outbox(session);
        let mut subscriber = Subscriber {
            outbox,
            qos: Qos::ExactlyOnce,
            no_local: false,
            as_published: false,
            identifier: None,
        };
        change(&mut subscriber);
        broker.subscribe(filter, None, subscriber);
        queue
    }

    #[test]
    fn overlapping_filters_give_one_message_with_all_that_was_asked() {
        let broker = broker();
        let (outbox, mut queue) = broker.outbox(1);
        for (filter, qos, identifier) in [("a/#", Qos::AtMostOnce, 5), ("a/+", Qos::AtLeastOnce, 6)]
        {
            let subscriber = Subscriber {
                outbox: Arc::clone(&outbox),
                qos,
                no_local: false,
                as_published: qos == Qos::AtMostOnce,
                identifier: Some(identifier),
            };
            assert!(broker.subscribe(filter, None, subscriber));
        }
        let mut published = message("a/b");
        published.retain = true;
        published.qos = Qos::ExactlyOnce;
        assert_eq!(broker.publish(None, &published), 1);
        let mut got = queue.try_recv().unwrap();
        got.subscriptions.sort_unstable();
        assert_eq!((got.qos, got.retain), (Qos::AtLeastOnce, true));
        assert_eq!(got.subscriptions, [5, 6]);
        assert!(queue.try_recv().is_err());
        assert!(broker.unsubscribe("a/+", None, 1));
        broker.publish(None, &published);
        assert_eq!(queue.try_recv().unwrap().qos, Qos::AtMostOnce);
    }

    #[test]
    fn no_local_keeps_a_message_from_its_publisher() {
        let broker = broker();
        let _queue = listen(&broker, 7, "a", |subscriber| subscriber.no_local = true);
        assert_eq!(broker.publish(Some(7), &message("a")), 0);
        assert_eq!(broker.publish(Some(8), &message("a")), 1);
    }

    #[test]
    fn retain_is_handed_on_only_where_it_was_asked_for() {
        let broker = broker();
        let mut plain = listen(&broker, 1, "a", |_| {});
        let mut asked = listen(&broker, 2, "a", |subscriber| subscriber.as_published = true);
        let mut published = message("a");
        published.retain = true;
        broker.publish(None, &published);
        broker.retain(&published);
        assert!(!plain.try_recv().unwrap().retain);
        assert!(asked.try_recv().unwrap().retain);
        let (outbox, mut late) = broker.outbox(3);
        let subscriber = Subscriber {
            outbox,
            qos: Qos::AtMostOnce,
            no_local: false,
            as_published: false,
            identifier: Some(9),
        };
        broker.send_retained("+", &subscriber);
        let got = late.try_recv().unwrap();
        assert_eq!(
            (got.qos, got.retain, got.subscriptions),
            (Qos::AtMostOnce, true, vec![9])
        );
        assert_eq!(broker.counters.retained(), 1);
    }

    #[test]
    fn a_group_s_message_goes_to_one_and_past_a_full_queue() {
        let counters = Arc::<Counters>::default();
        let limits = Limits {
            outbound_messages: 1,
            ..Limits::default()
        };
        let broker = Broker::new(&limits, Arc::clone(&counters));
        let mut queues = Vec::new();
        for session in [1, 2] {
            let (outbox, queue) = broker.outbox(session);
            let subscriber = Subscriber {
                outbox,
                qos: Qos::AtLeastOnce,
                no_local: false,
                as_published: false,
                identifier: None,
            };
            broker.subscribe("a", Some("g"), subscriber);
            queues.push(queue);
        }
        for _ in 0..3 {
            assert_eq!(broker.publish(None, &message("a")), 1);
        }
        assert!(queues.iter_mut().all(|queue| queue.try_recv().is_ok()));
        assert_eq!(counters.dropped(), 1);
    }
}
