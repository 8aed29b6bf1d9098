//! Records of the change log: structural changes with their before-images.
//!
//! An update holds the state before it whole and of the state after it what differs.

use std::sync::Arc;

use ontology::{Class, Ontology, Property, Value};
use twin_core::space::Shape;
use twin_core::{Change, EdgeState, Event, Group, Principal, TwinId, TwinState, Values};

use super::bytes::{NameReader, NameWriter, Reader, Writer};
use super::{CodecError, Header, MAX_RECORD_BYTES, Packed, value};
use crate::shape;

/// First byte of a record of changes.
pub(super) const FORMAT: u8 = 0x11;

const CREATED: u8 = 0;
const UPDATED: u8 = 1;
const DELETED: u8 = 2;
const RELATED: u8 = 3;
const RERELATED: u8 = 4;
const UNRELATED: u8 = 5;

const NO_GEOMETRY: u8 = 0;
const GEOMETRY: u8 = 1;
const SAME_GEOMETRY: u8 = 2;

/// Changes of one group as they were kept.
#[derive(Debug)]
pub struct ChangeRecord {
    /// Whose and where.
    pub header: Header,
    /// The changes.
    pub changes: Vec<Change>,
}

/// Packs a group's changes, in as few records as their sizes allow.
pub fn encode_changes(group: &Group, ontology: &Ontology) -> Vec<Packed> {
    let mut records = Vec::new();
    let mut changes = group.changes.as_slice();
    let mut first = group.first;
    while !changes.is_empty() {
        let mut bytes = 0;
        let fits = changes.iter().take_while(|change| {
            bytes += bound(change);
            bytes <= MAX_RECORD_BYTES
        });
        let count = fits.count().max(1);
        let (now, later) = changes.split_at(count);
        let header = Header {
            group_first: group.first,
            group_next: group.next,
            first,
            count: count as u64,
            epoch: group.epoch,
            at: group.at,
        };
        records.push(Packed {
            first,
            bytes: encode(&header, now, ontology),
        });
        first = header.next();
        changes = later;
    }
    records
}

fn encode<'a>(header: &Header, changes: &'a [Change], ontology: &'a Ontology) -> Vec<u8> {
    let mut packer = Packer {
        ontology,
        names: NameWriter::default(),
        to: Writer::default(),
    };
    header.write(FORMAT, &mut packer.to);
    for change in changes {
        packer.change(change);
    }
    packer.to.seal()
}

/// Upper bound of the bytes of one change, apart from names it shares with others.
fn bound(change: &Change) -> usize {
    /// Names, numbers and tags of a change.
    const FIXED: usize = 512;
    /// A property's name where it is first met, and its tag.
    const NAME: usize = 80;
    let values = |values: &Values| -> usize {
        values
            .iter()
            .flatten()
            .map(|value| NAME + value::bound(value))
            .sum()
    };
    let twin = |state: &TwinState| {
        values(&state.values) + state.geometry.as_ref().map_or(0, |s| shape::wkb_bound(s))
    };
    FIXED
        + match &change.event {
            Event::Created(state) | Event::Deleted(state) => twin(state),
            Event::Updated { before, after } => twin(before) + twin(after),
            Event::Related(edge) | Event::Unrelated(edge) => values(&edge.values),
            Event::Rerelated { before, after } => values(&before.values) + values(&after.values),
        }
}

struct Packer<'a> {
    ontology: &'a Ontology,
    names: NameWriter<'a>,
    to: Writer,
}

impl<'a> Packer<'a> {
    fn name(&mut self, name: &'a str) {
        self.names.write(name, &mut self.to);
    }

    fn change(&mut self, change: &'a Change) {
        self.name(change.principal.as_str());
        match &change.event {
            Event::Created(state) => {
                self.to.byte(CREATED);
                self.twin(state);
            }
            Event::Updated { before, after } => {
                self.to.byte(UPDATED);
                self.twin(before);
                let class = self.ontology.class(after.class);
                self.differences(&class.properties, &before.values, &after.values);
                self.geometry(before.geometry.as_ref(), after.geometry.as_ref());
                self.to.unsigned(after.revision);
            }
            Event::Deleted(state) => {
                self.to.byte(DELETED);
                self.twin(state);
            }
            Event::Related(edge) => {
                self.to.byte(RELATED);
                self.edge(edge);
            }
            Event::Rerelated { before, after } => {
                self.to.byte(RERELATED);
                self.edge(before);
                let kind = self.ontology.relationship(after.relationship);
                self.differences(&kind.properties, &before.values, &after.values);
            }
            Event::Unrelated(edge) => {
                self.to.byte(UNRELATED);
                self.edge(edge);
            }
        }
    }

    fn twin(&mut self, state: &'a TwinState) {
        let class = self.ontology.class(state.class);
        self.name(state.id.as_str());
        self.name(&class.name);
        self.values(&class.properties, &state.values);
        self.geometry(None, state.geometry.as_ref());
        self.to.unsigned(state.revision);
    }

    fn edge(&mut self, edge: &'a EdgeState) {
        let kind = self.ontology.relationship(edge.relationship);
        self.name(&kind.name);
        self.name(edge.source.as_str());
        self.name(&self.ontology.class(edge.source_class).name);
        self.name(edge.target.as_str());
        self.name(&self.ontology.class(edge.target_class).name);
        self.values(&kind.properties, &edge.values);
    }

    fn values(&mut self, properties: &'a [Property], values: &'a Values) {
        self.to.unsigned(values.iter().flatten().count() as u64);
        for (property, value) in properties.iter().zip(values.iter()) {
            if let Some(value) = value {
                self.name(&property.name);
                self.value(property, value);
            }
        }
    }

    fn value(&mut self, property: &Property, value: &Value) {
        if property.personal {
            value::write_personal(value, &mut self.to);
        } else {
            value::write(value, &mut self.to);
        }
    }

    /// Values of `after` that are not those of `before`.
    fn differences(&mut self, properties: &'a [Property], before: &'a Values, after: &'a Values) {
        let columns = properties.iter().zip(before.iter().zip(after.iter()));
        let differing = columns.filter(|(_, (before, after))| before != after);
        self.to.unsigned(differing.clone().count() as u64);
        for (property, (_, value)) in differing {
            self.name(&property.name);
            self.to.byte(u8::from(value.is_some()));
            if let Some(value) = value {
                self.value(property, value);
            }
        }
    }

    fn geometry(&mut self, before: Option<&Arc<Shape>>, after: Option<&Arc<Shape>>) {
        match (before, after) {
            (_, None) => self.to.byte(NO_GEOMETRY),
            (Some(before), Some(after)) if Arc::ptr_eq(before, after) => {
                self.to.byte(SAME_GEOMETRY);
            }
            (_, Some(after)) => {
                self.to.byte(GEOMETRY);
                self.to.bytes(&shape::wkb(after));
            }
        }
    }
}

/// Unpacks a record of changes against today's ontology.
///
/// Values of properties that the ontology no longer has are left out.
pub fn decode_changes(bytes: &[u8], ontology: &Ontology) -> Result<ChangeRecord, CodecError> {
    let mut from = Reader::open(bytes)?;
    let header = Header::read(FORMAT, &mut from)?;
    let mut unpacker = Unpacker {
        ontology,
        names: NameReader::default(),
        from,
    };
    let mut changes = Vec::new();
    for offset in header.first..header.next() {
        changes.push(unpacker.change(offset)?);
    }
    unpacker.from.finish()?;
    Ok(ChangeRecord { header, changes })
}

struct Unpacker<'a> {
    ontology: &'a Ontology,
    names: NameReader,
    from: Reader<'a>,
}

impl<'a> Unpacker<'a> {
    fn name(&mut self) -> Result<Arc<str>, CodecError> {
        self.names.read(&mut self.from)
    }

    fn id(&mut self) -> Result<TwinId, CodecError> {
        let name = self.name()?;
        TwinId::new(&name)
            .ok()
            .ok_or_else(|| self.from.wrong("a text that is no twin id"))
    }

    fn class(&mut self) -> Result<&'a Class, CodecError> {
        let name = self.name()?;
        self.ontology
            .class_named(&name)
            .ok_or_else(|| CodecError::Unknown {
                what: "class",
                name: name.to_string(),
            })
    }

    fn change(&mut self, offset: u64) -> Result<Change, CodecError> {
        let name = self.name()?;
        let principal = Principal::new(&name);
        let principal = principal
            .ok()
            .ok_or_else(|| self.from.wrong("no principal"))?;
        let event = match self.from.byte()? {
            CREATED => Event::Created(self.twin()?),
            UPDATED => {
                let before = self.twin()?;
                let class = self.ontology.class(before.class);
                let values = self.differences(&class.properties, &before.values)?;
                let geometry = self.geometry(before.geometry.as_ref())?;
                let revision = self.from.unsigned()?;
                let after = TwinState {
                    values,
                    geometry,
                    revision,
                    ..before.clone()
                };
                Event::Updated { before, after }
            }
            DELETED => Event::Deleted(self.twin()?),
            RELATED => Event::Related(self.edge()?),
            RERELATED => {
                let before = self.edge()?;
                let kind = self.ontology.relationship(before.relationship);
                let values = self.differences(&kind.properties, &before.values)?;
                Event::Rerelated {
                    after: EdgeState {
                        values,
                        ..before.clone()
                    },
                    before,
                }
            }
            UNRELATED => Event::Unrelated(self.edge()?),
            _ => return Err(self.from.wrong("a kind of change that does not exist")),
        };
        Ok(Change {
            offset,
            principal,
            event,
        })
    }

    fn twin(&mut self) -> Result<TwinState, CodecError> {
        let id = self.id()?;
        let class = self.class()?;
        let values = self.values(&class.properties)?;
        let geometry = self.geometry(None)?;
        let revision = self.from.unsigned()?;
        Ok(TwinState {
            id,
            class: class.id,
            values,
            geometry,
            revision,
        })
    }

    fn edge(&mut self) -> Result<EdgeState, CodecError> {
        let name = self.name()?;
        let kind = self
            .ontology
            .relationship_named(&name)
            .ok_or_else(|| CodecError::Unknown {
                what: "relationship",
                name: name.to_string(),
            })?;
        let (source, source_class) = (self.id()?, self.class()?.id);
        let (target, target_class) = (self.id()?, self.class()?.id);
        let values = self.values(&kind.properties)?;
        let relationship = kind.id;
        Ok(EdgeState {
            relationship,
            source,
            source_class,
            target,
            target_class,
            values,
        })
    }

    fn values(&mut self, properties: &[Property]) -> Result<Values, CodecError> {
        let mut values = vec![None; properties.len()];
        for _ in 0..self.from.count()? {
            let column = column(properties, &self.name()?);
            let value = value::read(&mut self.from)?;
            if let Some(column) = column {
                values[column] = Some(value);
            }
        }
        Ok(values.into())
    }

    fn differences(
        &mut self,
        properties: &[Property],
        before: &Values,
    ) -> Result<Values, CodecError> {
        let mut values = before.to_vec();
        for _ in 0..self.from.count()? {
            let column = column(properties, &self.name()?);
            let value = match self.from.byte()? {
                0 => None,
                1 => Some(value::read(&mut self.from)?),
                _ => return Err(self.from.wrong("neither a value nor its absence")),
            };
            if let Some(column) = column {
                values[column] = value;
            }
        }
        Ok(values.into())
    }

    fn geometry(&mut self, before: Option<&Arc<Shape>>) -> Result<Option<Arc<Shape>>, CodecError> {
        match (self.from.byte()?, before) {
            (NO_GEOMETRY, _) => Ok(None),
            (SAME_GEOMETRY, Some(before)) => Ok(Some(Arc::clone(before))),
            (GEOMETRY, _) => {
                let bytes = self.from.bytes()?;
                let shape = shape::from_wkb(bytes);
                Ok(Some(
                    shape
                        .ok()
                        .ok_or_else(|| self.from.wrong("bytes that are no WKB"))?,
                ))
            }
            _ => Err(self.from.wrong("neither a geometry nor its absence")),
        }
    }
}

/// Column of a property; properties are sorted by name.
fn column(properties: &[Property], name: &str) -> Option<usize> {
    properties
        .binary_search_by(|property| (*property.name).cmp(name))
        .ok()
}
