//! Who listens where: a tree of topic filters, with the groups that share a subscription.
//!
//! # Invariants
//! - A session has one subscription for each filter, and one for each group and filter.
//! - Wildcards at the first level match neither topics that begin with `$` nor the twin's own.
//! - A node that nobody listens at does not stay.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use mqtt_protocol_core::mqtt::packet::Qos;

use super::outbox::Outbox;
use super::topic::is_plain;

/// One subscription.
#[derive(Debug, Clone)]
pub(crate) struct Subscriber {
    pub(crate) outbox: Arc<Outbox>,
    /// The highest that was granted.
    pub(crate) qos: Qos,
    /// Not what the session publishes itself.
    pub(crate) no_local: bool,
    /// RETAIN is handed on as it was published.
    pub(crate) as_published: bool,
    /// What the subscriber calls it.
    pub(crate) identifier: Option<u32>,
}

/// Sessions that share a subscription: each message goes to one of them.
#[derive(Debug)]
pub(crate) struct Group {
    name: Box<str>,
    members: Vec<Subscriber>,
    turn: AtomicUsize,
}

impl Group {
    /// The members in the order in which they should be asked to take a message: those who are
    /// there before those who are away.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = &Subscriber> {
        let count = self.members.len();
        let first = self.turn.fetch_add(1, Relaxed) % count.max(1);
        let order = move |away| {
            let members = (0..count).map(move |step| &self.members[(first + step) % count]);
            members.filter(move |member| member.outbox.is_away() == away)
        };
        order(false).chain(order(true))
    }
}

/// What a topic is for.
#[derive(Debug, Default)]
pub(crate) struct Found<'n> {
    pub(crate) subscribers: Vec<&'n Subscriber>,
    pub(crate) groups: Vec<&'n Group>,
}

/// A level of the tree.
#[derive(Debug, Default)]
pub(crate) struct Node {
    children: HashMap<Box<str>, Node>,
    subscribers: Vec<Subscriber>,
    groups: Vec<Group>,
}

impl Node {
    pub(crate) fn is_empty(&self) -> bool {
        self.children.is_empty() && self.subscribers.is_empty() && self.groups.is_empty()
    }

    /// Adds a subscription to a valid filter, or changes it; whether it is a new one.
    pub(crate) fn add(
        &mut self,
        filter: &str,
        group: Option<&str>,
        subscriber: Subscriber,
    ) -> bool {
        let mut node = self;
        for level in filter.split('/') {
            node = node.children.entry(level.into()).or_default();
        }
        let members = match group {
            None => &mut node.subscribers,
            Some(name) => {
                let known = node.groups.iter().position(|group| *group.name == *name);
                let at = known.unwrap_or_else(|| {
                    node.groups.push(Group {
                        name: name.into(),
                        members: Vec::new(),
                        turn: AtomicUsize::new(0),
                    });
                    node.groups.len() - 1
                });
                &mut node.groups[at].members
            }
        };
        let before = members.len();
        members.retain(|member| member.outbox.session != subscriber.outbox.session);
        let new = members.len() == before;
        members.push(subscriber);
        new
    }

    /// Removes a session's subscription; whether there was one.
    pub(crate) fn remove(&mut self, filter: &str, group: Option<&str>, session: u64) -> bool {
        self.remove_below(&mut filter.split('/'), group, session)
    }

    fn remove_below(
        &mut self,
        levels: &mut std::str::Split<'_, char>,
        group: Option<&str>,
        session: u64,
    ) -> bool {
        let Some(level) = levels.next() else {
            let Some(name) = group else {
                return leave(&mut self.subscribers, session);
            };
            let mut removed = false;
            for group in &mut self.groups {
                removed |= *group.name == *name && leave(&mut group.members, session);
            }
            self.groups.retain(|group| !group.members.is_empty());
            return removed;
        };
        let Some(child) = self.children.get_mut(level) else {
            return false;
        };
        let removed = child.remove_below(levels, group, session);
        if child.is_empty() {
            self.children.remove(level);
        }
        removed
    }

    /// Everyone who listens to a topic.
    pub(crate) fn find(&self, topic: &str) -> Found<'_> {
        let levels: Vec<&str> = topic.split('/').collect();
        let mut found = Found::default();
        self.gather(&levels, is_plain(topic), &mut found);
        found
    }

    fn gather<'n>(&'n self, levels: &[&str], wildcards: bool, found: &mut Found<'n>) {
        if wildcards && let Some(rest) = self.children.get("#") {
            found.subscribers.extend(&rest.subscribers);
            found.groups.extend(&rest.groups);
        }
        let Some((level, below)) = levels.split_first() else {
            found.subscribers.extend(&self.subscribers);
            found.groups.extend(&self.groups);
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

fn leave(members: &mut Vec<Subscriber>, session: u64) -> bool {
    let before = members.len();
    members.retain(|member| member.outbox.session != session);
    members.len() < before
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::outbox::Room;
    use super::super::topic::matches;
    use super::*;

    fn subscriber(session: u64) -> Subscriber {
        let (outbox, _queue) = Outbox::new(session, 1, 1, Room::new(1));
        Subscriber {
            outbox,
            qos: Qos::AtMostOnce,
            no_local: false,
            as_published: false,
            identifier: None,
        }
    }

    #[test]
    fn a_subscription_is_changed_and_removed_once() {
        let mut root = Node::default();
        for group in [None, Some("g")] {
            assert!(root.add("a/#", group, subscriber(1)));
            assert!(!root.add("a/#", group, subscriber(1)));
            assert!(root.add("a/#", group, subscriber(2)));
            assert!(root.remove("a/#", group, 1));
            assert!(!root.remove("a/#", group, 1));
            assert!(root.remove("a/#", group, 2));
            assert!(root.is_empty(), "no node stays behind");
        }
    }

    #[test]
    fn a_group_takes_turns_and_prefers_who_is_there() {
        let mut root = Node::default();
        let members = [1, 2, 3].map(subscriber);
        for member in &members {
            root.add("a", Some("g"), member.clone());
        }
        members[1].outbox.set_away(true);
        let found = root.find("a");
        let order = || {
            found.groups[0]
                .in_turn()
                .map(|member| member.outbox.session)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(), [1, 3, 2]);
        assert_eq!(order(), [3, 1, 2]);
    }

    #[test]
    fn a_wildcard_does_not_reach_what_is_not_opened() {
        let mut root = Node::default();
        for (session, filter) in (1..).zip(["#", "+/#", "+/rw/d:1/desired", "twin/rw/d:1/desired"])
        {
            root.add(filter, None, subscriber(session));
        }
        let found = |topic| root.find(topic).subscribers.len();
        assert_eq!(found("twin/rw/d:1/desired"), 1);
        assert_eq!(found("$SYS/x"), 0);
        assert_eq!(found("other/rw/d:1/desired"), 3);
    }

    proptest! {
        #[test]
        fn the_tree_agrees_with_the_standard_s_words(
            filters in prop::collection::vec("([ab+]|\\$)?(/[ab+]?){0,3}(/#)?", 1..8),
            topic in "([ab]|\\$)?(/[ab]?){0,3}",
            shared in any::<bool>(),
        ) {
            let mut root = Node::default();
            let group = shared.then_some("g");
            for (session, filter) in filters.iter().enumerate() {
                root.add(filter, group, subscriber(session as u64));
            }
            let found = root.find(&topic);
            let mut sessions: Vec<u64> = found
                .subscribers
                .iter()
                .copied()
                .chain(found.groups.iter().flat_map(|group| &group.members))
                .map(|subscriber| subscriber.outbox.session)
                .collect();
            sessions.sort_unstable();
            let expected: Vec<u64> = (0..)
                .zip(&filters)
                .filter_map(|(session, filter)| matches(filter, &topic).then_some(session))
                .collect();
            prop_assert_eq!(sessions, expected);
        }
    }
}
