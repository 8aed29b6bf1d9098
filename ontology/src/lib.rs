//! DTDL models compiled into one ontology: what exists, what values it takes, what may relate to
//! what.
//!
//! A pack is a folder with a `pack.toml` and DTDL documents (version 2, 3 or 4). All packs are
//! compiled together by [`Ontology::compile`] or [`Ontology::load_dir`]: every problem is found at
//! once, each with its file, place, reason and a way to mend it ([`Problems`]).
//! [`Schema::parse`] is the one door through which foreign JSON becomes a typed [`Value`].
//!
//! # Invariants
//! - An [`Ontology`] exists only if its packs had no error; warnings travel beside it.
//! - No network, no storage; the only I/O is [`Ontology::load_dir`] reading packs.
//! - No input panics: models and values are anyone's data.

#![forbid(unsafe_code)]

mod compile;
mod diagnostics;
mod dtdl;
mod members;
mod model;
mod naming;
mod pack;
mod parse;
mod schema;
mod value;

pub use diagnostics::{Problem, Problems, Severity, closest};
pub use model::{
    Class, ClassId, Ontology, Property, Relationship, RelationshipId, RelationshipKind, Telemetry,
};
pub use pack::{Pack, Source};
pub use schema::{EnumSchema, EnumValue, Field, GeometryKind, Misfit, Schema, Value};
pub use value::exact_duration;
