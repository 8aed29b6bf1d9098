//! Names of things: twins, positions, principals, lanes.
//!
//! # Invariants
//! - A [`TwinId`] matches `^[A-Za-z0-9][A-Za-z0-9._~:-]{0,127}$`.
//! - A [`Position`] holds each lane once, sorted by lane; one lane's offsets only grow.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Most bytes of a twin id.
pub const MAX_ID_BYTES: usize = 128;
/// Most lanes a position names.
pub const MAX_LANES: usize = 64;

/// A twin's id: opaque, unique in its realm, chosen by its source.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TwinId(Arc<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a twin id.
    #[error(
        "`{0}` is not a twin id: it must start with a letter or digit and hold at most \
         {MAX_ID_BYTES} of A-Z a-z 0-9 . _ ~ : -"
    )]
    TwinId(String),
    /// Not a position.
    #[error("`{0}` is not a position: expected `lane:offset`, several separated by commas")]
    Position(String),
    /// Not a principal.
    #[error("`{0}` is not a principal: expected user:, app:, device:, edge: or system: and a name")]
    Principal(String),
}

impl TwinId {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let bytes = text.as_bytes();
        let first = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        let rest = bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b':' | b'-'));
        if first && rest && bytes.len() <= MAX_ID_BYTES {
            Ok(Self(text.into()))
        } else {
            Err(NameError::TwinId(
                text.chars().take(MAX_ID_BYTES + 1).collect(),
            ))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TwinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TwinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

impl FromStr for TwinId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl Borrow<str> for TwinId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A place in the order of changes: an offset for each lane. Opaque to clients.
///
/// A lane that a position does not name stands at its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position(Vec<(Arc<str>, u64)>);

impl Position {
    /// The position of one lane: everything below `offset` has happened.
    pub fn of(lane: &Arc<str>, offset: u64) -> Self {
        Self(vec![(Arc::clone(lane), offset)])
    }

    /// The offset of a lane; 0 for one that is not named.
    pub fn offset(&self, lane: &str) -> u64 {
        self.0
            .iter()
            .find(|(name, _)| **name == *lane)
            .map_or(0, |(_, offset)| *offset)
    }

    /// The lanes and their offsets, sorted by lane.
    pub fn lanes(&self) -> &[(Arc<str>, u64)] {
        &self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (lane, offset)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{lane}:{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::Position(text.chars().take(80).collect());
        let mut lanes = Vec::new();
        for part in text.split(',') {
            let (lane, offset) = part.rsplit_once(':').ok_or_else(wrong)?;
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if lane.is_empty() || !lane.bytes().all(plain) || lanes.len() == MAX_LANES {
                return Err(wrong());
            }
            // A leading sign would parse as a number but is not what we print.
            if !offset.bytes().all(|b| b.is_ascii_digit()) {
                return Err(wrong());
            }
            let Ok(offset) = offset.parse() else {
                return Err(wrong());
            };
            lanes.push((Arc::from(lane), offset));
        }
        lanes.sort();
        if lanes.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(wrong());
        }
        Ok(Self(lanes))
    }
}

/// Who does something: `user:`, `app:`, `device:`, `edge:` or `system:` and a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let known = ["user", "app", "device", "edge", "system"];
        match text.split_once(':') {
            Some((kind, name)) if known.contains(&kind) && TwinId::new(name).is_ok() => {
                Ok(Self(text.into()))
            }
            _ => Err(NameError::Principal(text.chars().take(160).collect())),
        }
    }

    /// The principal of a device twin.
    pub fn device(id: &TwinId) -> Self {
        Self(format!("device:{id}").into())
    }

    /// A part of the twin itself, such as `system:import`; `name` is a constant of ours.
    pub fn system(name: &'static str) -> Self {
        Self(format!("system:{name}").into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_contract() {
        for good in [
            "a",
            "rw:village:11010101",
            "A.b_c~d:e-f",
            &"x".repeat(MAX_ID_BYTES),
        ] {
            assert!(TwinId::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":a",
            "-a",
            "a b",
            "é",
            "a/b",
            "a\n",
            &"x".repeat(MAX_ID_BYTES + 1),
        ] {
            assert!(TwinId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn positions_print_as_they_parse() {
        for text in ["main:0", "main:48213", "edge-7:90,main:48213"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        let swapped: Position = "main:48213,edge-7:90".parse().unwrap();
        assert_eq!(swapped.offset("edge-7"), 90);
        assert_eq!(swapped.offset("other"), 0);
        for bad in [
            "",
            "main",
            "main:",
            ":1",
            "main:+1",
            "main:-1",
            "main:1,main:2",
            "M:1",
            "main:1,",
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_principal_names_its_kind() {
        assert!(Principal::new("user:ada").is_ok());
        assert!(Principal::new("ada").is_err());
        assert!(Principal::new("root:ada").is_err());
        assert!(Principal::new("user:").is_err());
    }
}
