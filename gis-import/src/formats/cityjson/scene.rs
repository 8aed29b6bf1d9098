//! Objects that share their vertices: a document, or one line of `CityJSONSeq`.

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::wire::{Document, Kind, MAX_NUMBER, Object, Vertex};
use crate::formats::MAX_FEATURE_BYTES;
use crate::formats::json_scan::line_ends;

/// Most bytes of children that are read for their parents, of one document or line.
pub const MAX_CHILD_BYTES: usize = 1 << 30;
/// The type of what has children that are no parts of it.
pub(super) const GROUP: &str = "CityObjectGroup";

/// What a document or a line holds.
#[derive(Debug, Default)]
pub(super) struct Scene {
    pub(super) text: Vec<u8>,
    /// Ids, and where in the text the objects are.
    objects: Vec<(Arc<str>, Range<usize>)>,
    by_id: HashMap<Arc<str>, usize>,
    pub(super) vertices: Vec<Vertex>,
    next: usize,
    /// The line of the next object, and up to where lines were counted.
    line: u64,
    counted: usize,
    /// Bytes of children that were read for their parents.
    spent: Cell<usize>,
    /// Ids of groups, once somebody asks.
    groups: OnceCell<BTreeSet<Arc<str>>>,
}

/// The next object of a scene.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) id: Arc<str>,
    /// Where in the text it is.
    pub(super) at: Range<usize>,
    pub(super) line: u64,
}

impl Scene {
    /// What stands in a text that begins at this line. The text itself is left to the caller.
    pub(super) fn of(text: &[u8], document: Document<'_>, line: u64) -> Result<Self, String> {
        let vertices = document.vertices.unwrap_or_default().0;
        let too_large = |number: &&i64| number.unsigned_abs() > MAX_NUMBER as u64;
        if let Some(number) = vertices.iter().flatten().find(too_large) {
            return Err(format!(
                "a vertex has the number {number}, and {MAX_NUMBER} is the greatest"
            ));
        }
        let start = text.as_ptr().addr();
        let within = |object: &RawValue| {
            // Both lie in the same text.
            let from = object.get().as_ptr().addr() - start;
            from..from + object.get().len()
        };
        let objects = document.objects.unwrap_or_default().0.into_iter();
        let objects: Vec<(Arc<str>, Range<usize>)> = objects
            .map(|(id, object)| (Arc::from(&*id), within(object)))
            .collect();
        let numbered = objects.iter().enumerate();
        let by_id = numbered
            .map(|(number, (id, _))| (Arc::clone(id), number))
            .collect();
        Ok(Self {
            objects,
            by_id,
            vertices,
            line,
            ..Self::default()
        })
    }

    pub(super) fn count(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn next_object(&mut self) -> Option<Next> {
        let (id, at) = self.objects.get(self.next)?.clone();
        self.next += 1;
        // Objects come in the order of the text, so no line is counted twice.
        let begin = at.start.max(self.counted);
        self.line += line_ends(&self.text[self.counted..begin]);
        self.counted = begin;
        Some(Next {
            id,
            at,
            line: self.line,
        })
    }

    pub(super) fn object(&self, at: &Range<usize>) -> Result<Object<'_>, String> {
        if at.len() > MAX_FEATURE_BYTES {
            return Err(format!(
                "it is more than MAX_FEATURE_BYTES = {MAX_FEATURE_BYTES} bytes"
            ));
        }
        serde_json::from_slice(&self.text[at.clone()])
            .map_err(|error| format!("it is no city object: {error}"))
    }

    /// Where a child is; `None` where it is not there.
    pub(super) fn child(&self, id: &str) -> Option<&Range<usize>> {
        self.by_id.get(id).map(|number| &self.objects[*number].1)
    }

    /// Whether a child may be read for its parent.
    pub(super) fn spend(&self, child: &Range<usize>) -> Result<(), String> {
        self.spent.set(self.spent.get().saturating_add(child.len()));
        if self.spent.get() > MAX_CHILD_BYTES {
            return Err(format!(
                "its parts were not looked at: more than MAX_CHILD_BYTES = {MAX_CHILD_BYTES}"
            ));
        }
        Ok(())
    }

    /// Whether an object is a group, of which others are members and no parts.
    pub(super) fn is_group(&self, id: &str) -> bool {
        let is = |(_, at): &&(Arc<str>, Range<usize>)| {
            let read = serde_json::from_slice::<Kind<'_>>(&self.text[at.clone()]);
            read.is_ok_and(|object| object.kind.as_deref() == Some(GROUP))
        };
        let groups = || {
            let groups = self.objects.iter().filter(is);
            groups.map(|(id, _)| Arc::clone(id)).collect()
        };
        self.groups.get_or_init(groups).contains(id)
    }
}
