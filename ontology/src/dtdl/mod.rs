//! DTDL documents read into declarations: what each interface says, not yet linked to others.
//!
//! # Invariants
//! - A declaration keeps the place of every name it refers to, so linking can point at it.
//! - What the language allows and this reader does not understand is a problem, never silence.

mod contents;
mod context;
mod dtmi;
mod literals;
mod reader;
mod schemas;
mod units;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub(crate) use context::Dialect;
pub(crate) use dtmi::{last_segment, path};

use crate::Pack;
use crate::diagnostics::{Origin, Placed, Problems};
use crate::schema::{EnumSchema, Schema};

/// Everything that a set of documents declares.
#[derive(Debug, Default)]
pub(crate) struct Declarations {
    pub(crate) interfaces: Vec<Interface>,
    /// Schemas with an `@id`, which others may refer to.
    pub(crate) schemas: BTreeMap<Arc<str>, SharedSchema>,
    /// Every `@id`, with the place that defines it.
    ids: BTreeMap<Arc<str>, (Arc<str>, Range<usize>)>,
}

/// One interface.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) pack: Arc<Pack>,
    pub(crate) origin: Origin,
    pub(crate) dialect: Dialect,
    pub(crate) id: Placed,
    pub(crate) text: Display,
    pub(crate) extends: Vec<Placed>,
    pub(crate) contents: Vec<Content>,
}

/// What people read about an element.
#[derive(Debug, Clone, Default)]
pub(crate) struct Display {
    pub(crate) label: Option<Arc<str>>,
    pub(crate) description: Option<Arc<str>>,
}

/// One element of an interface's contents, or of a relationship's properties.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) name: Placed,
    pub(crate) text: Display,
    pub(crate) kind: ContentKind,
}

#[derive(Debug)]
pub(crate) enum ContentKind {
    Property {
        schema: SchemaDecl,
        unit: Option<Arc<str>>,
        writable: bool,
    },
    Telemetry {
        schema: SchemaDecl,
        unit: Option<Arc<str>>,
    },
    Relationship {
        target: Option<Placed>,
        max: Option<u32>,
        properties: Vec<Content>,
    },
    Component {
        interface: Placed,
    },
    Command,
}

/// A schema that has an `@id`, with the document it stands in.
#[derive(Debug)]
pub(crate) struct SharedSchema {
    pub(crate) origin: Origin,
    pub(crate) dialect: Dialect,
    pub(crate) decl: SchemaDecl,
}

/// A schema as declared: whole, or waiting for others it names.
#[derive(Debug, Clone)]
pub(crate) struct SchemaDecl {
    pub(crate) span: Range<usize>,
    pub(crate) kind: SchemaKind,
}

#[derive(Debug, Clone)]
pub(crate) enum SchemaKind {
    Ready(Schema),
    Reference(Arc<str>),
    Enum(EnumSchema),
    Object(Vec<FieldDecl>),
    Array(Box<SchemaDecl>),
    Map(Box<SchemaDecl>),
}

#[derive(Debug, Clone)]
pub(crate) struct FieldDecl {
    pub(crate) name: Arc<str>,
    pub(crate) description: Arc<str>,
    pub(crate) schema: SchemaDecl,
}

/// Reads one document; its declarations are added to `into`.
pub(crate) fn read_document(
    pack: &Arc<Pack>,
    origin: &Origin,
    into: &mut Declarations,
    problems: &mut Problems,
) {
    let options = jsonc_parser::ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    match jsonc_parser::parse_to_ast(
        &origin.text,
        &jsonc_parser::CollectOptions::default(),
        &options,
    ) {
        Ok(result) => match result.value {
            Some(root) => reader::Reader::new(pack, origin, into, problems).document(&root),
            None => problems.error(origin, 0..0, "the file holds no JSON value", None),
        },
        Err(error) => {
            let range = error.range();
            let reason = format!("not valid JSON: {}", error.kind());
            problems.error(origin, range.start..range.end, reason, None);
        }
    }
}
