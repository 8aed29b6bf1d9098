//! `@context`: which DTDL a document speaks and which vocabulary of units.
//!
//! # Invariants
//! - The DTDL context comes first in a list; an extension fits its DTDL version.
//! - An extension that is known but without effect here makes the dialect `lenient`: names it may
//!   bring are accepted, and the warning at its context says that they do nothing.

use jsonc_parser::ast::Value as Ast;
use jsonc_parser::common::Ranged as _;

use super::reader::{Reader, span_of};
use crate::diagnostics::did_you_mean;

/// Units and semantic types that a document may use; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Vocabulary {
    /// None: DTDL v3 and v4 without the `QuantitativeTypes` extension.
    None,
    /// What DTDL v2 has built in.
    Version2,
    /// `QuantitativeTypes` 1 (DTDL v3) and 2 (DTDL v4), which hold the same names.
    Quantitative1,
    /// `QuantitativeTypes` 3 (DTDL v4).
    Quantitative3,
}

/// The language of an element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// DTDL version, 2 to 4.
    pub(crate) version: u8,
    pub(crate) vocabulary: Vocabulary,
    /// Whether an extension without effect here may have brought unknown names.
    pub(crate) lenient: bool,
}

/// Numbers that bound a model, by DTDL version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) name_chars: usize,
    pub(crate) label_chars: usize,
    /// Interfaces that one interface may extend directly.
    pub(crate) extends: usize,
    /// Longest chain of `extends`.
    pub(crate) extends_depth: usize,
    /// Elements directly in an interface's contents or a relationship's properties.
    pub(crate) contents: usize,
    pub(crate) fields: usize,
    pub(crate) enum_values: usize,
    /// Levels of arrays, maps and objects inside one schema.
    pub(crate) schema_depth: usize,
    pub(crate) max_multiplicity: u32,
    /// Bytes of one interface's text.
    pub(crate) interface_bytes: usize,
}

const LIMITS_V2: Limits = Limits {
    name_chars: 64,
    label_chars: 64,
    extends: 2,
    extends_depth: 10,
    contents: 300,
    fields: 30,
    enum_values: 100,
    schema_depth: 5,
    max_multiplicity: 500,
    interface_bytes: 1 << 20,
};

const LIMITS_V3: Limits = Limits {
    name_chars: 512,
    label_chars: 512,
    extends: 1024,
    contents: 100_000,
    fields: 100_000,
    enum_values: 100_000,
    max_multiplicity: i32::MAX as u32,
    ..LIMITS_V2
};

const LIMITS_V4: Limits = Limits {
    extends_depth: 12,
    schema_depth: 8,
    ..LIMITS_V3
};

/// Characters of a description or comment, in every version.
pub(super) const MAX_DESCRIPTION_CHARS: usize = 512;

impl Dialect {
    pub(crate) fn limits(self) -> Limits {
        match self.version {
            2 => LIMITS_V2,
            3 => LIMITS_V3,
            _ => LIMITS_V4,
        }
    }
}

const CORE: &[(&str, u8)] = &[
    ("dtmi:dtdl:context;2", 2),
    ("dtmi:dtdl:context;3", 3),
    ("dtmi:dtdl:context;4", 4),
];

const QUANTITATIVE: &[(&str, u8, Vocabulary)] = &[
    (
        "dtmi:dtdl:extension:quantitativeTypes;1",
        3,
        Vocabulary::Quantitative1,
    ),
    (
        "dtmi:dtdl:extension:quantitativeTypes;2",
        4,
        Vocabulary::Quantitative1,
    ),
    (
        "dtmi:dtdl:extension:quantitativeTypes;3",
        4,
        Vocabulary::Quantitative3,
    ),
];

/// Extensions of the language that are accepted without effect, with their DTDL version.
const WITHOUT_EFFECT: &[(&str, u8)] = &[
    ("dtmi:iotcentral:context;2", 2),
    ("dtmi:dtdl:extension:annotation;1", 3),
    ("dtmi:dtdl:extension:historization;1", 3),
    ("dtmi:dtdl:extension:mqtt;1", 3),
    ("dtmi:dtdl:extension:overriding;1", 3),
    ("dtmi:dtdl:extension:annotation;2", 4),
    ("dtmi:dtdl:extension:historization;2", 4),
    ("dtmi:dtdl:extension:mqtt;2", 4),
    ("dtmi:dtdl:extension:mqtt;3", 4),
    ("dtmi:dtdl:extension:overriding;2", 4),
    ("dtmi:dtdl:extension:requirement;1", 4),
];

/// The dialect that a `@context` value sets, or `None` where it cannot be told.
pub(super) fn read(
    value: &Ast<'_>,
    inherited: Option<Dialect>,
    reader: &mut Reader<'_>,
) -> Option<Dialect> {
    let entries: Vec<&Ast<'_>> = match value {
        Ast::Array(array) => array.elements.iter().collect(),
        one => vec![one],
    };
    let mut dialect = inherited;
    for (i, entry) in entries.iter().enumerate() {
        let span = span_of(entry);
        let Ast::StringLit(specifier) = entry else {
            reader.error(
                span,
                "a context is named by a string; local terms are not allowed in DTDL",
                None,
            );
            continue;
        };
        let specifier = &*specifier.value;
        if let Some((_, version)) = CORE.iter().find(|(name, _)| *name == specifier) {
            if i > 0 {
                reader.error(span, "the DTDL context comes first in `@context`", None);
            }
            let vocabulary = if *version == 2 {
                Vocabulary::Version2
            } else {
                Vocabulary::None
            };
            dialect = Some(Dialect {
                version: *version,
                vocabulary,
                lenient: false,
            });
            continue;
        }
        let Some(current) = &mut dialect else {
            let help =
                did_you_mean(specifier, CORE.iter().map(|(name, _)| *name)).unwrap_or_else(|| {
                    "start `@context` with \"dtmi:dtdl:context;4\" (or ;3 or ;2)".to_owned()
                });
            reader.error(
                span,
                format!("`{specifier}` is not a DTDL context"),
                Some(help),
            );
            return None;
        };
        extension(specifier, span, current, reader);
    }
    if dialect.is_none() {
        let help = "name the language: \"@context\": \"dtmi:dtdl:context;4\"";
        let range = value.range();
        reader.error(
            range.start..range.end,
            "`@context` names no DTDL version",
            Some(help.to_owned()),
        );
    }
    dialect
}

fn extension(
    specifier: &str,
    span: std::ops::Range<usize>,
    dialect: &mut Dialect,
    reader: &mut Reader<'_>,
) {
    let version = dialect.version;
    if let Some((_, of, vocabulary)) = QUANTITATIVE.iter().find(|(name, ..)| *name == specifier) {
        if *of == version {
            dialect.vocabulary = *vocabulary;
        } else {
            reader.error(
                span,
                format!("`{specifier}` is for DTDL v{of}, this is v{version}"),
                None,
            );
        }
        return;
    }
    if let Some((_, of)) = WITHOUT_EFFECT.iter().find(|(name, _)| *name == specifier) {
        if *of == version {
            dialect.lenient = true;
            reader.warning(
                span,
                format!("extension `{specifier}` is read but has no effect yet"),
                None,
            );
        } else {
            reader.error(
                span,
                format!("`{specifier}` is for DTDL v{of}, this is v{version}"),
                None,
            );
        }
        return;
    }
    if version == 2 {
        dialect.lenient = true;
        reader.warning(
            span,
            format!("extension `{specifier}` is not known; what it brings has no effect"),
            None,
        );
        return;
    }
    let known = QUANTITATIVE
        .iter()
        .map(|(name, ..)| *name)
        .chain(WITHOUT_EFFECT.iter().map(|(name, _)| *name));
    let help = did_you_mean(specifier, known);
    reader.error(
        span,
        format!("`{specifier}` is not an extension of DTDL v{version}"),
        help,
    );
}
