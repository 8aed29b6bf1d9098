//! Retained messages: the last one of each topic, for those who subscribe later.
//!
//! # Invariants
//! - At most `max_messages` of together `max_bytes`; a message that finds no room replaces nothing,
//!   and the one that was retained before for its topic is gone, since it is outdated.
//! - An empty payload removes; an expired message is never given out.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use tokio::time::Instant;

use super::outbox::Message;
use super::topic::matches;

/// The retained messages of one server.
#[derive(Debug)]
pub(crate) struct Retained {
    by_topic: BTreeMap<Arc<str>, Message>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

impl Retained {
    pub(crate) fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            by_topic: BTreeMap::new(),
            bytes: 0,
            max_messages,
            max_bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_topic.len()
    }

    /// Retains a message; false where there is no room for it.
    pub(crate) fn retain(&mut self, message: Message, now: Instant) -> bool {
        self.remove(&message.topic);
        if message.payload.is_empty() || message.expired(now) {
            return true;
        }
        let fits = |retained: &Self| {
            retained.by_topic.len() < retained.max_messages
                && retained.bytes + message.size() <= retained.max_bytes
        };
        if !fits(self) {
            self.forget_expired(now);
            if !fits(self) {
                return false;
            }
        }
        self.bytes += message.size();
        self.by_topic.insert(Arc::clone(&message.topic), message);
        true
    }

    fn remove(&mut self, topic: &str) {
        if let Some(before) = self.by_topic.remove(topic) {
            self.bytes -= before.size();
        }
    }

    fn forget_expired(&mut self, now: Instant) {
        let bytes = &mut self.bytes;
        self.by_topic.retain(|_, message| {
            let expired = message.expired(now);
            *bytes -= if expired { message.size() } else { 0 };
            !expired
        });
    }

    /// The retained messages of a valid filter, in order of topic.
    pub(crate) fn find(&self, filter: &str, now: Instant) -> impl Iterator<Item = &Message> {
        // Only topics that begin as the filter does before its first wildcard can match.
        let wildcard = filter.find(['+', '#']).unwrap_or(filter.len());
        let fixed = filter.get(..wildcard).unwrap_or_default();
        // `a/#` also matches `a`.
        let begins = fixed.strip_suffix('/').unwrap_or(fixed).to_owned();
        let from = (Bound::Included(begins.as_str()), Bound::Unbounded);
        let from = self.by_topic.range::<str, _>(from);
        from.take_while(move |(topic, _)| topic.starts_with(&*begins))
            .filter(move |(topic, message)| !message.expired(now) && matches(filter, topic))
            .map(|(_, message)| message)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::outbox::tests::message;
    use super::*;

    #[test]
    fn the_last_one_stays_until_it_is_emptied() {
        let now = Instant::now();
        let mut retained = Retained::new(9, 9_999);
        let mut second = message("a");
        second.payload = Bytes::from_static(b"2");
        assert!(retained.retain(message("a"), now) && retained.retain(second, now));
        let found: Vec<_> = retained.find("#", now).map(|m| m.payload.clone()).collect();
        assert_eq!(found, [Bytes::from_static(b"2")]);
        let mut empty = message("a");
        empty.payload = Bytes::new();
        assert!(retained.retain(empty, now));
        assert_eq!((retained.len(), retained.bytes), (0, 0));
    }

    #[test]
    fn both_limits_refuse_and_expired_ones_make_room() {
        let now = Instant::now();
        let mut few = Retained::new(1, 9_999);
        assert!(few.retain(message("a"), now) && !few.retain(message("b"), now));
        let mut small = Retained::new(9, message("a").size());
        let mut short = message("a");
        short.expires = Some(now + Duration::from_secs(1));
        assert!(small.retain(short, now) && !small.retain(message("b"), now));
        let later = now + Duration::from_secs(1);
        assert_eq!(small.find("#", later).count(), 0);
        assert!(small.retain(message("b"), later));
        assert_eq!(small.len(), 1);
    }

    proptest! {
        #[test]
        fn a_filter_finds_what_it_matches(
            topics in prop::collection::btree_set("[ab](/[ab]?){0,3}", 0..12),
            filter in "([ab+]|\\$)?(/[ab+]?){0,3}(/#)?",
        ) {
            let now = Instant::now();
            let mut retained = Retained::new(99, 99_999);
            for topic in &topics {
                prop_assert!(retained.retain(message(topic), now));
            }
            let found: Vec<&str> = retained.find(&filter, now).map(|m| &*m.topic).collect();
            let expected: Vec<&String> = topics.iter().filter(|topic| matches(&filter, topic)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
