//! The relationships of one name, both ways.
//!
//! One ordered map by (source, target) and one ordered set by (target, source): the neighbours of
//! a twin are a range, whether it has two or a million, and a change copies a path of small pages.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use ontology::ClassId;

use super::TwinRef;
use crate::change::Values;

const LEAST: TwinRef = TwinRef {
    class: ClassId(0),
    row: 0,
};
const MOST: TwinRef = TwinRef {
    class: ClassId(u32::MAX),
    row: u32::MAX,
};

/// Adjacency of one relationship name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edges {
    out: OrdMap<(TwinRef, TwinRef), Values>,
    into: OrdSet<(TwinRef, TwinRef)>,
}

impl Edges {
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn get(&self, source: TwinRef, target: TwinRef) -> Option<&Values> {
        self.out.get(&(source, target))
    }

    /// Targets of a source, by (class, row).
    pub(crate) fn targets(&self, source: TwinRef) -> impl Iterator<Item = TwinRef> + '_ {
        self.out
            .range((source, LEAST)..=(source, MOST))
            .map(|((_, target), _)| *target)
    }

    /// Sources of a target, by (class, row).
    pub(crate) fn sources(&self, target: TwinRef) -> impl Iterator<Item = TwinRef> + '_ {
        self.into
            .range((target, LEAST)..=(target, MOST))
            .map(|(_, source)| *source)
    }

    pub(crate) fn insert(&mut self, source: TwinRef, target: TwinRef, values: Values) {
        let values = if values.is_empty() {
            Self::no_values()
        } else {
            values
        };
        self.out.insert((source, target), values);
        self.into.insert((target, source));
    }

    pub(crate) fn remove(&mut self, source: TwinRef, target: TwinRef) {
        self.out.remove(&(source, target));
        self.into.remove(&(target, source));
    }

    /// The empty property list, which takes no memory of its own.
    pub(crate) fn no_values() -> Values {
        Arc::default()
    }
}
