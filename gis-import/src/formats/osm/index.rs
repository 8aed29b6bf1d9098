//! What has to be known of a whole file before its first object can be given: where nodes are, and
//! the ways that areas are made of.
//!
//! # Invariants
//! - Memory: 16 bytes a node, at most [`MAX_NODES`]; of ways only those that an area has for a member,
//!   at most [`MAX_AREA_WAYS`] with [`MAX_AREA_WAY_NODES`] nodes together.
//! - Everything is sorted by id, so the order of the file does not matter. Of an id that stands twice
//!   the later one counts.

use std::path::Path;

use super::element::{At, Body, Element, Kind, Member};
use crate::formats::FileError;

/// Most nodes of a file: a gibibyte of positions.
pub const MAX_NODES: usize = 1 << 26;
/// Most ways of a file that areas are made of.
pub const MAX_AREA_WAYS: usize = 1 << 22;
/// Most nodes of those ways together.
pub const MAX_AREA_WAY_NODES: usize = 1 << 25;

/// Types of relations whose ways enclose an area.
const AREA_TYPES: [&str; 2] = ["multipolygon", "boundary"];
/// Keys that say nothing about what a relation stands for.
const SILENT_KEYS: [&str; 7] = [
    "attribution",
    "created_by",
    "fixme",
    "note",
    "source",
    "type",
    "url",
];

/// Whether a relation's ways enclose an area.
pub(super) fn is_area(relation: &Element) -> bool {
    AREA_TYPES.contains(&relation.tag("type"))
}

/// A relation without tags of its own, as areas were drawn until about 2016: what it is stands
/// on its only outer way.
fn silent_outer(relation: &Element, members: &[Member]) -> Option<i64> {
    let told = |key: &str| !SILENT_KEYS.contains(&key);
    if relation.tags.iter().any(|(key, _)| told(key)) {
        return None;
    }
    let mut outer = ways(members).filter(|member| !member.inner);
    match (outer.next(), outer.next()) {
        (Some(only), None) => Some(only.id),
        _ => None,
    }
}

/// The members that may bound an area.
fn ways(members: &[Member]) -> impl Iterator<Item = &Member> {
    members.iter().filter(|member| member.kind == Kind::Way)
}

#[derive(Debug, Default)]
pub(super) struct Index {
    nodes: Vec<(i64, At)>,
    /// Ids of ways that areas have for members; sorted once all relations are known.
    wanted: Vec<i64>,
    /// Those of them that the file has, and where their nodes stand in `refs`.
    ways: Vec<(i64, usize, usize)>,
    refs: Vec<i64>,
    /// The members of an area by the way that says what it is.
    silent: Vec<(i64, Vec<Member>)>,
    silent_members: usize,
    /// Objects with tags.
    tagged: u64,
}

/// A limit that a file goes beyond.
pub(super) fn too_many(path: &Path, what: &str, name: &str, limit: usize) -> FileError {
    FileError::new(
        path,
        "",
        format!("it has more {what} than {name} = {limit}"),
        "cut it into smaller extracts, for example with `osmium extract`",
    )
}

impl Index {
    /// Takes what the first pass gives, relations.
    pub(super) fn relation(&mut self, relation: &Element, path: &Path) -> Result<(), FileError> {
        let Body::Relation(members) = &relation.body else {
            return Ok(());
        };
        if !is_area(relation) {
            return Ok(());
        }
        self.wanted.extend(ways(members).map(|member| member.id));
        if self.wanted.len() > MAX_AREA_WAYS {
            // The same ways bound many areas.
            self.wanted.sort_unstable();
            self.wanted.dedup();
        }
        if self.wanted.len() > MAX_AREA_WAYS {
            return Err(too_many(
                path,
                "ways of areas",
                "MAX_AREA_WAYS",
                MAX_AREA_WAYS,
            ));
        }
        if let Some(outer) = silent_outer(relation, members) {
            let members: Vec<Member> = ways(members).cloned().collect();
            self.silent_members += members.len();
            if self.silent_members > MAX_AREA_WAYS {
                return Err(too_many(
                    path,
                    "ways of areas",
                    "MAX_AREA_WAYS",
                    MAX_AREA_WAYS,
                ));
            }
            self.silent.push((outer, members));
        }
        Ok(())
    }

    /// Ends the first pass.
    pub(super) fn relations_end(&mut self) {
        self.wanted.sort_unstable();
        self.wanted.dedup();
        self.silent.sort_by_key(|(way, _)| *way);
        // Of two areas nobody could say which one the way stands for.
        let repeated: Vec<i64> = self
            .silent
            .windows(2)
            .filter(|pair| pair[0].0 == pair[1].0)
            .map(|pair| pair[0].0)
            .collect();
        self.silent
            .retain(|(way, _)| repeated.binary_search(way).is_err());
    }

    /// Takes what the second pass gives, everything.
    pub(super) fn element(&mut self, element: &Element, path: &Path) -> Result<(), FileError> {
        self.tagged += u64::from(!element.tags.is_empty());
        match &element.body {
            Body::Node(Some(at)) => {
                if self.nodes.len() >= MAX_NODES {
                    return Err(too_many(path, "nodes", "MAX_NODES", MAX_NODES));
                }
                self.nodes.push((element.id, *at));
            }
            Body::Way(refs) if self.wanted.binary_search(&element.id).is_ok() => {
                if self.refs.len() + refs.len() > MAX_AREA_WAY_NODES {
                    let name = "MAX_AREA_WAY_NODES";
                    return Err(too_many(
                        path,
                        "nodes of ways of areas",
                        name,
                        MAX_AREA_WAY_NODES,
                    ));
                }
                let start = self.refs.len();
                self.refs.extend_from_slice(refs);
                self.ways.push((element.id, start, self.refs.len()));
            }
            Body::Node(None) | Body::Way(_) | Body::Relation(_) => {}
        }
        Ok(())
    }

    /// Ends the second pass.
    pub(super) fn end(&mut self) {
        // Files are sorted nearly always, and a stable sort would take half as much memory again.
        if !self.nodes.is_sorted_by_key(|(id, _)| *id) {
            self.nodes.sort_by_key(|(id, _)| *id);
        }
        self.ways.sort_by_key(|(id, _, _)| *id);
        self.wanted = Vec::new();
    }

    /// How many objects with tags there are.
    pub(super) fn tagged(&self) -> u64 {
        self.tagged
    }

    /// Where a node is.
    pub(super) fn at(&self, node: i64) -> Option<At> {
        let end = self.nodes.partition_point(|(id, _)| *id <= node);
        let (id, at) = self.nodes.get(end.checked_sub(1)?)?;
        (*id == node).then_some(*at)
    }

    /// The nodes of a way that an area is made of.
    pub(super) fn way(&self, way: i64) -> Option<&[i64]> {
        let end = self.ways.partition_point(|(id, _, _)| *id <= way);
        let (id, from, to) = self.ways.get(end.checked_sub(1)?)?;
        (*id == way).then(|| self.refs.get(*from..*to))?
    }

    /// The members of the area that a way says what it is.
    pub(super) fn silent(&self, way: i64) -> Option<&[Member]> {
        let place = self.silent.binary_search_by_key(&way, |(id, _)| *id).ok()?;
        self.silent.get(place).map(|(_, members)| &**members)
    }
}
