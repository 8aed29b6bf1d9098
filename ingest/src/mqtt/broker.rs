//! Who listens where: a tree of topic filters with a bounded queue behind each subscriber.
//!
//! # Invariants
//! - A session gets a message once, whatever number of its filters match, at the highest `QoS` that
//!   one of them was granted, and never above the `QoS` it was published with.
//! - A full queue drops the new message and counts it; a publisher never waits for a subscriber.
//! - Wildcards do not match topics that begin with `$`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::Property;
use tokio::sync::mpsc;

use crate::counters::Counters;

/// A message on its way to a subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
    /// `QoS` 1, else 0.
    pub(crate) at_least_once: bool,
    /// What a version 5 publisher said about it.
    pub(crate) props: Arc<[Property]>,
}

/// The queue of one subscriber.
#[derive(Debug)]
pub(crate) struct Outbox {
    session: u64,
    sender: mpsc::Sender<Message>,
    bytes: AtomicUsize,
    max_bytes: usize,
}

impl Outbox {
    pub(crate) fn new(
        session: u64,
        max_messages: usize,
        max_bytes: usize,
    ) -> (Arc<Self>, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(max_messages);
        (
            Arc::new(Self {
                session,
                sender,
                bytes: AtomicUsize::new(0),
                max_bytes,
            }),
            receiver,
        )
    }

    /// Queues a message; false where there is no room for it.
    fn offer(&self, message: Message) -> bool {
        let size = message.payload.len();
        if self.bytes.fetch_add(size, Relaxed) + size <= self.max_bytes
            && self.sender.try_send(message).is_ok()
        {
            return true;
        }
        self.bytes.fetch_sub(size, Relaxed);
        false
    }

    /// Gives the room of a message back that was taken from the queue.
    pub(crate) fn taken(&self, message: &Message) {
        self.bytes.fetch_sub(message.payload.len(), Relaxed);
    }
}

#[derive(Debug, Clone)]
struct Subscriber {
    outbox: Arc<Outbox>,
    at_least_once: bool,
    no_local: bool,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    subscribers: Vec<Subscriber>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.subscribers.is_empty()
    }

    /// Removes a session's subscription; whether there was one.
    fn remove(&mut self, levels: &mut std::str::Split<'_, char>, session: u64) -> bool {
        let Some(level) = levels.next() else {
            let before = self.subscribers.len();
            self.subscribers
                .retain(|subscriber| subscriber.outbox.session != session);
            return self.subscribers.len() < before;
        };
        let Some(child) = self.children.get_mut(level) else {
            return false;
        };
        let removed = child.remove(levels, session);
        if child.is_empty() {
            self.children.remove(level);
        }
        removed
    }

    fn gather<'n>(&'n self, levels: &[&str], wildcards: bool, found: &mut Vec<&'n Subscriber>) {
        if wildcards && let Some(rest) = self.children.get("#") {
            found.extend(&rest.subscribers);
        }
        let Some((level, below)) = levels.split_first() else {
            found.extend(&self.subscribers);
            return;
        };
        if let Some(child) = self.children.get(*level) {
            child.gather(below, true, found);
        }
        if wildcards && let Some(child) = self.children.get("+") {
            child.gather(below, true, found);
        }
    }
}

/// The subscriptions of one server.
#[derive(Debug)]
pub(crate) struct Broker {
    root: RwLock<Node>,
    counters: Arc<Counters>,
}

impl Broker {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self {
            root: RwLock::default(),
            counters,
        }
    }

    /// Subscribes a session, or changes how it is subscribed. The filter is a valid one.
    pub(crate) fn subscribe(
        &self,
        filter: &str,
        outbox: &Arc<Outbox>,
        at_least_once: bool,
        no_local: bool,
    ) {
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        let mut node = &mut *root;
        for level in filter.split('/') {
            node = node.children.entry(level.into()).or_default();
        }
        node.subscribers
            .retain(|subscriber| subscriber.outbox.session != outbox.session);
        node.subscribers.push(Subscriber {
            outbox: Arc::clone(outbox),
            at_least_once,
            no_local,
        });
    }

    /// Ends a subscription; whether there was one.
    pub(crate) fn unsubscribe(&self, filter: &str, session: u64) -> bool {
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        root.remove(&mut filter.split('/'), session)
    }

    /// Queues a message for everyone who listens; how many do.
    pub(crate) fn publish(&self, from: Option<u64>, message: &Message) -> usize {
        let levels: Vec<&str> = message.topic.split('/').collect();
        let root = self.root.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        root.gather(&levels, !message.topic.starts_with('$'), &mut found);
        found
            .retain(|subscriber| !(subscriber.no_local && from == Some(subscriber.outbox.session)));
        // The highest QoS of each session comes first and stays.
        found.sort_unstable_by_key(|s| (s.outbox.session, !s.at_least_once));
        found.dedup_by_key(|subscriber| subscriber.outbox.session);
        for subscriber in &found {
            let at_least_once = message.at_least_once && subscriber.at_least_once;
            if !subscriber.outbox.offer(Message {
                at_least_once,
                ..message.clone()
            }) {
                self.counters.count_dropped();
            }
        }
        found.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(topic: &str) -> Message {
        Message {
            topic: topic.into(),
            payload: Bytes::from_static(b"12345"),
            at_least_once: true,
            props: Arc::default(),
        }
    }

    fn broker() -> Broker {
        Broker::new(Arc::default())
    }

    #[test]
    fn overlapping_filters_give_one_message_at_the_highest_qos() {
        let broker = broker();
        let (outbox, mut queue) = Outbox::new(1, 9, 99);
        broker.subscribe("a/#", &outbox, false, false);
        broker.subscribe("a/+", &outbox, true, false);
        assert_eq!(broker.publish(None, &message("a/b")), 1);
        assert!(queue.try_recv().unwrap().at_least_once);
        assert!(queue.try_recv().is_err());
        assert!(broker.unsubscribe("a/+", 1));
        assert!(!broker.unsubscribe("a/+", 1));
        broker.publish(None, &message("a/b"));
        assert!(!queue.try_recv().unwrap().at_least_once);
        assert!(broker.unsubscribe("a/#", 1));
        assert!(
            broker.root.read().unwrap().is_empty(),
            "no node stays behind"
        );
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let broker = broker();
        let (few, mut queue) = Outbox::new(1, 2, 99);
        let (small, _small_queue) = Outbox::new(2, 99, 12);
        broker.subscribe("a", &few, false, false);
        broker.subscribe("a", &small, false, false);
        for _ in 0..3 {
            broker.publish(None, &message("a"));
        }
        assert_eq!(broker.counters.dropped(), 2);
        let taken = queue.try_recv().unwrap();
        few.taken(&taken);
        assert_eq!(few.bytes.load(Relaxed), 5);
    }

    #[test]
    fn no_local_keeps_a_message_from_its_publisher() {
        let broker = broker();
        let (outbox, _queue) = Outbox::new(7, 9, 99);
        broker.subscribe("a", &outbox, false, true);
        assert_eq!(broker.publish(Some(7), &message("a")), 0);
        assert_eq!(broker.publish(Some(8), &message("a")), 1);
    }

    /// Matching as the standard words it, level by level.
    fn matches(filter: &str, topic: &str) -> bool {
        if topic.starts_with('$') && filter.starts_with(['+', '#']) {
            return false;
        }
        let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
        loop {
            match (filter.next(), topic.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }

    proptest! {
        #[test]
        fn the_tree_agrees_with_the_standard_s_words(
            filters in prop::collection::vec("([ab+]|\\$)?(/[ab+]?){0,3}(/#)?", 1..8),
            topic in "([ab]|\\$)?(/[ab]?){0,3}",
        ) {
            let broker = broker();
            let mut queues = Vec::new();
            for (i, filter) in filters.iter().enumerate() {
                let (outbox, queue) = Outbox::new(i as u64, 4, 99);
                broker.subscribe(filter, &outbox, true, false);
                queues.push(queue);
            }
            broker.publish(None, &message(&topic));
            for (filter, queue) in filters.iter().zip(&mut queues) {
                prop_assert_eq!(queue.try_recv().is_ok(), matches(filter, &topic), "{} {}", filter, topic);
            }
        }
    }
}
