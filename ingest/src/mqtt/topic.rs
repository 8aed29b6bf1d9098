//! Which topics mean what, and who may listen where: everything is denied that is not named here.
//!
//! # Invariants
//! - A publish goes to a device's telemetry, to an opened namespace, or nowhere.
//! - A filter that is allowed matches only topics that may be listened to: wildcards stand only
//!   below an opened namespace, and for the name of a command.
//! - The twin's own tree, `$` topics and the empty prefix can not be opened.

use std::sync::Arc;

/// First level of the twin's own topics.
const TWIN: &str = "twin";

/// Where a publish goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'t> {
    /// Readings of a device.
    Telemetry(&'t str),
    /// An opened namespace.
    Open,
    /// Nowhere, and why.
    Denied(&'static str),
}

/// What a subscription asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish<'t> {
    /// What is sent to this device.
    Device(&'t str),
    /// Something within an opened namespace.
    Open,
    /// Something that is not offered.
    Denied,
    /// Not a topic filter.
    Invalid,
    /// A shared subscription.
    Shared,
}

/// Why a namespace can not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A realm that is none.
    #[error("`{0}` is not a realm: expected a lower-case letter, then at most 31 of a-z 0-9 -")]
    Realm(String),
    /// A namespace that is none, or one of ours.
    #[error("the namespace `{0}` cannot be opened: {1}")]
    Namespace(String, &'static str),
}

/// The topic rules of one server.
#[derive(Debug)]
pub(crate) struct Rules {
    realm: Arc<str>,
    open: Vec<String>,
}

impl Rules {
    pub(crate) fn new(realm: &Arc<str>, open: &[String]) -> Result<Self, RuleError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let starts = realm.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if !starts || realm.len() > 32 || !realm.bytes().all(plain) {
            return Err(RuleError::Realm(realm.to_string()));
        }
        for namespace in open {
            let wrong = |why| Err(RuleError::Namespace(namespace.clone(), why));
            let first = namespace.split('/').next().unwrap_or_default();
            if namespace.contains(['+', '#', '\0']) {
                return wrong("name whole levels without + and #, everything below them is opened");
            }
            if namespace.split('/').any(str::is_empty) {
                return wrong("a level is empty");
            }
            if first == TWIN {
                return wrong("topics below `twin` are the twin's own");
            }
            if first.starts_with('$') {
                return wrong("topics that begin with $ belong to the server");
            }
        }
        Ok(Self {
            realm: Arc::clone(realm),
            open: open.to_vec(),
        })
    }

    /// Where a publish to this topic goes.
    pub(crate) fn publish<'t>(&self, topic: &'t str) -> Target<'t> {
        let mut levels = topic.split('/');
        if levels.next() == Some(TWIN) {
            let (realm, device, rest) = (levels.next(), levels.next(), levels.next());
            return match (realm, device, rest, levels.next()) {
                (Some(realm), ..) if *realm != *self.realm => {
                    Target::Denied("another realm is not served here")
                }
                (_, Some(device), Some("telemetry"), None) => Target::Telemetry(device),
                _ => Target::Denied("a device publishes to twin/{realm}/{device}/telemetry"),
            };
        }
        if self.opened(topic) {
            Target::Open
        } else {
            Target::Denied("no opened namespace holds this topic")
        }
    }

    /// What a topic filter asks for.
    pub(crate) fn subscribe<'t>(&self, filter: &'t str) -> Wish<'t> {
        if !valid_filter(filter) {
            return Wish::Invalid;
        }
        if filter.starts_with("$share/") {
            return Wish::Shared;
        }
        let mut levels = filter.split('/');
        if levels.next() == Some(TWIN) {
            let realm = levels.next();
            let device = levels.next();
            let rest = (levels.next(), levels.next(), levels.next());
            return match (realm, device, rest) {
                (
                    Some(realm),
                    Some(device),
                    (Some("desired"), None, None) | (Some("command"), Some(_), None),
                ) if *realm == *self.realm && !filter.ends_with('#') => Wish::Device(device),
                _ => Wish::Denied,
            };
        }
        // A wildcard within the namespace's own levels differs from them, so it is not opened;
        // `demo/#` also matches `demo`, which is open as well.
        if self.opened(filter) {
            Wish::Open
        } else {
            Wish::Denied
        }
    }

    fn opened(&self, topic: &str) -> bool {
        self.open.iter().any(|namespace| {
            topic
                .strip_prefix(namespace.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// Whether a topic may be published to at all: wildcards and NUL may not stand in a topic name.
pub(crate) fn valid_topic(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0'])
}

fn valid_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let whole = level.len() == 1 || !level.contains(['+', '#']);
        if !whole || (level == "#" && levels.peek().is_some()) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::new(&"rw".into(), &["demo".into(), "lab/a".into()]).unwrap()
    }

    #[test]
    fn only_telemetry_of_the_realm_and_opened_namespaces_are_published_to() {
        let rules = rules();
        assert_eq!(
            rules.publish("twin/rw/d:1/telemetry"),
            Target::Telemetry("d:1")
        );
        for open in ["demo", "demo/a/b", "lab/a", "lab/a/b"] {
            assert_eq!(rules.publish(open), Target::Open, "{open}");
        }
        for denied in [
            "twin/ke/d:1/telemetry",
            "twin/rw/d:1/telemetry/x",
            "twin/rw/d:1/desired",
            "twin/rw/telemetry",
            "twin",
            "demos",
            "lab",
            "lab/b",
            "/demo",
            "$SYS/x",
            "other",
        ] {
            assert!(
                matches!(rules.publish(denied), Target::Denied(_)),
                "{denied}"
            );
        }
    }

    #[test]
    fn a_filter_matches_nothing_beyond_what_is_allowed() {
        let rules = rules();
        for (filter, wish) in [
            ("twin/rw/d:1/desired", Wish::Device("d:1")),
            ("twin/rw/d:1/command/+", Wish::Device("d:1")),
            ("twin/rw/d:1/command/reboot", Wish::Device("d:1")),
            ("demo/#", Wish::Open),
            ("demo/+/x", Wish::Open),
            ("demo", Wish::Open),
            ("lab/a/#", Wish::Open),
            ("#", Wish::Denied),
            ("+/rw/d:1/desired", Wish::Denied),
            ("twin/#", Wish::Denied),
            ("twin/+/d:1/desired", Wish::Denied),
            ("twin/ke/d:1/desired", Wish::Denied),
            ("twin/rw/d:1/command/#", Wish::Denied),
            ("twin/rw/d:1/command", Wish::Denied),
            ("twin/rw/d:1/telemetry", Wish::Denied),
            ("twin/rw/d:1/command/x/response", Wish::Denied),
            ("lab/#", Wish::Denied),
            ("lab/+", Wish::Denied),
            ("$SYS/#", Wish::Denied),
            ("$share/g/demo/#", Wish::Shared),
            ("demo/#/x", Wish::Invalid),
            ("demo/a+", Wish::Invalid),
            ("demo/a#", Wish::Invalid),
            ("", Wish::Invalid),
        ] {
            assert_eq!(rules.subscribe(filter), wish, "{filter}");
        }
        // The device's name is looked up, and a wildcard is no twin id.
        assert_eq!(rules.subscribe("twin/rw/+/desired"), Wish::Device("+"));
        assert!(twin_core::TwinId::new("+").is_err());
    }

    #[test]
    fn the_twin_s_own_tree_cannot_be_opened() {
        for namespace in ["", "twin", "twin/rw", "$SYS", "a/#", "+", "a//b", "a/"] {
            assert!(
                Rules::new(&"rw".into(), &[namespace.to_owned()]).is_err(),
                "{namespace}"
            );
        }
        for realm in ["", "RW", "1a", "a/b", &"a".repeat(33)] {
            assert!(Rules::new(&Arc::from(realm), &[]).is_err(), "{realm}");
        }
    }
}
