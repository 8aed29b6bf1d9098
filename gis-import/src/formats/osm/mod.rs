//! OpenStreetMap: nodes, ways and relations as features, from PBF or XML.
//!
//! A feature is an object with at least one tag. Its columns are its tags, and `$type` (`node`,
//! `way` or `relation`) and `$id`, its number. A node is a point; a way is a line, or an area where it is closed
//! and its tags say so; a relation is an area where it is a multipolygon or boundary. An object
//! whose geometry the file does not give whole says what it lacks: a rule that wants it refuses the
//! feature or warns, another one does not mind.
//!
//! # Invariants
//! - The file is read three times: for relations, for positions and ways of areas, for features. So
//!   it may be in any order, and a file that is damaged anywhere gives no feature at all.
//! - Memory is bounded by the limits of `index`, and by one blob or one object beside that.
//! - Which objects an area is made of follows from the tags; roles are not trusted.

mod area;
mod element;
mod index;
mod pbf;
mod rings;
mod shape;
#[cfg(test)]
mod tests;
mod wire;
mod xml;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::input::Input;
use super::{Cell, Feature, FileError, Item, Place, Wanted};
use element::{Element, Keep};
use index::Index;

pub use element::MAX_MEMBERS;
pub use index::{MAX_AREA_WAY_NODES, MAX_AREA_WAYS, MAX_NODES};
pub use pbf::{MAX_BLOB_BYTES, MAX_BLOCK_OBJECTS};
pub use rings::MAX_RINGS;

/// An extract being read.
#[derive(Debug)]
pub struct OsmReader {
    path: PathBuf,
    source: Source,
    index: Index,
    geometry: bool,
    count: u64,
    done: bool,
}

#[derive(Debug)]
enum Source {
    Pbf(Box<pbf::Pbf>),
    Xml(Box<xml::Xml>),
}

impl Source {
    fn open(path: &Path, keep: Keep) -> Result<Self, FileError> {
        let mut input = Input::open(path)?;
        let start = match input.fill_buf() {
            Ok(start) => start,
            Err(error) => return Err(input.failure(&error)),
        };
        let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
        if text.trim_ascii_start().starts_with(b"<") {
            return Ok(Self::Xml(Box::new(xml::Xml::new(input, keep))));
        }
        if pbf::may_be(start) {
            return Ok(Self::Pbf(Box::new(pbf::Pbf::new(input, keep))));
        }
        Err(pbf::unknown(path, start))
    }

    fn element(&mut self) -> Result<Option<Element>, FileError> {
        match self {
            Self::Pbf(pbf) => pbf.element(),
            Self::Xml(xml) => xml.element(),
        }
    }

    /// Calls `take` for every object of a file.
    fn pass(
        path: &Path,
        keep: Keep,
        mut take: impl FnMut(&Element) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let mut source = Self::open(path, keep)?;
        while let Some(element) = guarded(path, || source.element())? {
            take(&element)?;
        }
        Ok(())
    }
}

/// What libraries do with hostile bytes is not ours to know: a panic is an error of the file.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, FileError>) -> Result<T, FileError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let reason = "its bytes make no sense to the reader";
        Err(FileError::new(path, "", reason, "fetch the file again"))
    })
}

impl OsmReader {
    pub(super) fn open(path: &Path, wanted: &Wanted) -> Result<Self, FileError> {
        let mut index = Index::default();
        Source::pass(path, Keep::Relations, |element| {
            index.relation(element, path)
        })?;
        index.relations_end();
        Source::pass(path, Keep::All, |element| index.element(element, path))?;
        index.end();
        Ok(Self {
            path: path.to_owned(),
            source: Source::open(path, Keep::All)?,
            index,
            geometry: wanted.geometry,
            count: 0,
            done: false,
        })
    }

    pub(super) fn expected(&self) -> u64 {
        self.index.tagged()
    }

    pub(super) fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        while !self.done {
            let read = guarded(&self.path, || self.source.element());
            self.done = !matches!(read, Ok(Some(_)));
            match read? {
                Some(element) if element.tags.is_empty() => {}
                Some(element) => return Ok(Some(Item::Feature(self.feature(element)))),
                None => {}
            }
        }
        Ok(None)
    }

    fn feature(&mut self, element: Element) -> Feature {
        self.count += 1;
        let geometry = self
            .geometry
            .then(|| shape::geometry(&element, &self.index));
        let mut values = BTreeMap::new();
        values.insert(Arc::from("$type"), Cell::Text(element.kind().word().into()));
        values.insert(Arc::from("$id"), Cell::Int(element.id));
        let place = Place {
            feature: self.count,
            line: element.line,
        };
        for (key, value) in element.tags {
            // A tag cannot pass for what the reader says.
            if !key.starts_with('$') {
                values.insert(key, Cell::Text(value));
            }
        }
        Feature {
            place,
            values,
            geometry,
        }
    }
}
