//! Which topics mean what, and who may listen where: everything is denied that is not named here.
//!
//! # Invariants
//! - A publish goes to a device's telemetry, to an opened namespace, or nowhere.
//! - Only what an opened filter matches is published there, and a wildcard at the first level
//!   matches neither the twin's own tree nor `$` topics: so a filter that may match something opened
//!   matches nothing else, however wide it is.
//! - The twin's own tree and `$` topics can not be opened.

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
    /// What this device shall be like.
    Desired(&'t str),
    /// Commands to this device.
    Command(&'t str),
    /// Something that may be in an opened namespace.
    Open,
    /// Something that is not offered.
    Denied,
    /// Not a topic filter.
    Invalid,
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
            if !valid_filter(namespace) {
                return wrong("expected a topic filter such as sandbox/#");
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
        let Some((group, filter)) = split_share(filter) else {
            return Wish::Invalid;
        };
        let mut levels = filter.split('/');
        if levels.next() == Some(TWIN) {
            let realm = levels.next();
            let device = levels.next();
            let rest = (levels.next(), levels.next(), levels.next());
            let ours = realm == Some(&*self.realm) && !filter.ends_with('#') && group.is_none();
            return match (device, rest) {
                (Some(device), (Some("desired"), None, None)) if ours => Wish::Desired(device),
                (Some(device), (Some("command"), Some(_), None)) if ours => Wish::Command(device),
                _ => Wish::Denied,
            };
        }
        if !filter.starts_with('$') && self.open.iter().any(|open| may_meet(open, filter)) {
            Wish::Open
        } else {
            Wish::Denied
        }
    }

    fn opened(&self, topic: &str) -> bool {
        self.open.iter().any(|open| matches(open, topic))
    }

    /// Whether any namespace is opened.
    pub(crate) fn opens(&self) -> bool {
        !self.open.is_empty()
    }
}

/// Whether wildcards at the first level match a topic.
pub(crate) fn is_plain(topic: &str) -> bool {
    let first = topic.split('/').next().unwrap_or_default();
    first != TWIN && !first.starts_with('$')
}

/// Whether a valid filter matches a topic.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    if !is_plain(topic) && filter.starts_with(['+', '#']) {
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

/// Whether some topic could match both of two valid filters.
fn may_meet(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

/// The group of a shared subscription, if it is one, and its own filter; `None` where there is no
/// group or no filter.
pub(crate) fn split_share(filter: &str) -> Option<(Option<&str>, &str)> {
    let Some(shared) = filter.strip_prefix("$share/") else {
        return Some((None, filter));
    };
    let (group, own) = shared.split_once('/')?;
    let named = !group.is_empty() && !group.contains(['+', '#']);
    (named && !own.is_empty()).then_some((Some(group), own))
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
    use proptest::prelude::*;

    use super::*;

    fn rules() -> Rules {
        Rules::new(&"rw".into(), &["demo/#".into(), "lab/a/#".into()]).unwrap()
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
            ("twin/rw/d:1/desired", Wish::Desired("d:1")),
            ("twin/rw/d:1/command/+", Wish::Command("d:1")),
            ("twin/rw/d:1/command/reboot", Wish::Command("d:1")),
            ("twin/rw/d:1/command/desired", Wish::Command("d:1")),
            ("demo/#", Wish::Open),
            ("demo/+/x", Wish::Open),
            ("demo", Wish::Open),
            ("lab/a/#", Wish::Open),
            ("#", Wish::Open),
            ("+/+", Wish::Open),
            ("lab/#", Wish::Open),
            ("lab/+", Wish::Open),
            ("lab", Wish::Denied),
            ("+", Wish::Open),
            ("other/#", Wish::Denied),
            ("+/b", Wish::Open),
            ("lab/b/#", Wish::Denied),
            ("twin/#", Wish::Denied),
            ("twin/+/d:1/desired", Wish::Denied),
            ("twin/ke/d:1/desired", Wish::Denied),
            ("twin/rw/d:1/command/#", Wish::Denied),
            ("twin/rw/d:1/command", Wish::Denied),
            ("twin/rw/d:1/telemetry", Wish::Denied),
            ("twin/rw/d:1/command/x/response", Wish::Denied),
            ("$SYS/#", Wish::Denied),
            ("$share/g/demo/#", Wish::Open),
            ("$share/g/other", Wish::Denied),
            ("$share/g/twin/rw/d:1/desired", Wish::Denied),
            ("$share/g/$SYS/x", Wish::Denied),
            ("$share/g", Wish::Invalid),
            ("$share//demo/#", Wish::Invalid),
            ("$share/g/", Wish::Invalid),
            ("demo/#/x", Wish::Invalid),
            ("demo/a+", Wish::Invalid),
            ("demo/a#", Wish::Invalid),
            ("", Wish::Invalid),
        ] {
            assert_eq!(rules.subscribe(filter), wish, "{filter}");
        }
        // The device's name is looked up, and a wildcard is no twin id.
        assert_eq!(rules.subscribe("twin/rw/+/desired"), Wish::Desired("+"));
        assert!(twin_core::TwinId::new("+").is_err());
    }

    #[test]
    fn what_is_opened_by_a_wildcard_holds_nothing_of_ours() {
        let rules = Rules::new(&"rw".into(), &["#".into()]).unwrap();
        for open in ["a", "/a", "a//b", "twins/rw"] {
            assert_eq!(rules.publish(open), Target::Open, "{open}");
        }
        for denied in [
            "twin",
            "twin/rw/d:1/desired",
            "twin/ke/d:1/telemetry",
            "$SYS/x",
        ] {
            assert!(
                matches!(rules.publish(denied), Target::Denied(_)),
                "{denied}"
            );
        }
        assert_eq!(rules.subscribe("twin/#"), Wish::Denied);
    }

    proptest! {
        #[test]
        fn filters_that_match_one_topic_may_meet(
            filters in prop::collection::vec("([ab+])?(/[ab+]?){0,3}(/#)?", 2),
            topic in "[ab]?(/[ab]?){0,3}",
        ) {
            if matches(&filters[0], &topic) && matches(&filters[1], &topic) {
                prop_assert!(may_meet(&filters[0], &filters[1]));
            }
        }

        #[test]
        fn any_text_is_a_filter_or_not(text in ".{0,20}") {
            let rules = Rules::new(&"rw".into(), &["#".into()]).unwrap();
            let wish = rules.subscribe(&text);
            prop_assert_eq!(
                wish == Wish::Invalid,
                !valid_filter(&text) || split_share(&text).is_none()
            );
        }
    }

    #[test]
    fn the_twin_s_own_tree_cannot_be_opened() {
        for namespace in [
            "",
            "twin",
            "twin/rw",
            "twin/#",
            "$SYS",
            "$share/g/a",
            "a+",
            "a/#/b",
        ] {
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
