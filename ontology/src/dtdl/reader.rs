//! Interfaces, and what all elements have in common, from JSON to declarations.
//!
//! # Invariants
//! - Reading goes on after a problem, so one run finds them all; what was faulty is left out.
//! - Recursion is bounded by the JSON parser's own nesting limit.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use jsonc_parser::ast::{Object, ObjectProp, Value as Ast};
use jsonc_parser::common::Ranged as _;

use super::context::{self, Dialect, MAX_DESCRIPTION_CHARS, Vocabulary};
use super::dtmi::{self, MAX_DTMI_CHARS, MAX_INTERFACE_DTMI_CHARS};
use super::literals::{is_language_tag, one_or_many, plain};
use super::{Declarations, Display, Interface, SchemaDecl, SharedSchema, units};
use crate::Pack;
use crate::diagnostics::{Origin, Placed, Problems, did_you_mean};

/// Keys that every element may have.
const COMMON_KEYS: &[&str] = &[
    "@id",
    "@type",
    "@context",
    "comment",
    "description",
    "displayName",
];
/// All material types, none of which is a co-type.
const MATERIAL_TYPES: &[&str] = &[
    "Interface",
    "Property",
    "Telemetry",
    "Relationship",
    "Component",
    "Command",
    "CommandRequest",
    "CommandResponse",
    "CommandPayload",
    "Array",
    "Enum",
    "EnumValue",
    "Map",
    "MapKey",
    "MapValue",
    "Object",
    "Field",
];
const INTERFACE_KEYS: &[&str] = &["contents", "extends", "schemas"];

/// Reads one document.
pub(crate) struct Reader<'r> {
    pack: &'r Arc<Pack>,
    origin: &'r Origin,
    pub(super) into: &'r mut Declarations,
    problems: &'r mut Problems,
}

/// A JSON object read as a DTDL element.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) object: &'a Object<'a>,
    pub(super) dialect: Dialect,
}

/// The `@type` of an element.
pub(super) struct Types {
    /// The one material type, where the element names one.
    pub(super) material: Option<&'static str>,
    pub(super) semantic: Option<&'static units::Semantic>,
}

pub(super) fn span_of(value: &Ast<'_>) -> Range<usize> {
    let range = value.range();
    range.start..range.end
}

fn key_span(property: &ObjectProp<'_>) -> Range<usize> {
    let range = property.name.range();
    range.start..range.end
}

impl<'a> Element<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Ast<'a>> {
        self.object
            .properties
            .iter()
            .find(|p| p.name.as_str() == key)
            .map(|p| &p.value)
    }

    /// Where to point for something missing: the opening brace.
    pub(super) fn head(&self) -> Range<usize> {
        self.object.range.start..self.object.range.start + 1
    }
}

impl<'r> Reader<'r> {
    pub(super) fn new(
        pack: &'r Arc<Pack>,
        origin: &'r Origin,
        into: &'r mut Declarations,
        problems: &'r mut Problems,
    ) -> Self {
        Self {
            pack,
            origin,
            into,
            problems,
        }
    }

    pub(super) fn error(
        &mut self,
        span: Range<usize>,
        reason: impl Into<String>,
        help: Option<String>,
    ) {
        self.problems.error(self.origin, span, reason, help);
    }

    pub(super) fn warning(
        &mut self,
        span: Range<usize>,
        reason: impl Into<String>,
        help: Option<String>,
    ) {
        self.problems.warning(self.origin, span, reason, help);
    }

    pub(super) fn document(&mut self, root: &Ast<'_>) {
        match root {
            Ast::Object(object) => self.root_interface(object),
            Ast::Array(array) => {
                for item in &array.elements {
                    match item {
                        Ast::Object(object) => self.root_interface(object),
                        other => {
                            self.error(span_of(other), "a document holds interfaces only", None);
                        }
                    }
                }
            }
            other => self.error(
                span_of(other),
                "a document is an interface or a list of them",
                None,
            ),
        }
    }

    fn root_interface(&mut self, object: &Object<'_>) {
        let head = object.range.start..object.range.start + 1;
        if object.get("@context").is_none() {
            let help = "add \"@context\": \"dtmi:dtdl:context;4\"";
            self.error(head, "`@context` is missing", Some(help.to_owned()));
            return;
        }
        if let Some(element) = self.open(object, None) {
            self.interface(element);
        }
    }

    /// Enters an object: its own `@context` applies from here down.
    pub(super) fn open<'a>(
        &mut self,
        object: &'a Object<'a>,
        outer: Option<Dialect>,
    ) -> Option<Element<'a>> {
        let mut seen = BTreeSet::new();
        for property in &object.properties {
            if !seen.insert(property.name.as_str()) {
                let reason = format!("`{}` is given twice", property.name.as_str());
                self.error(key_span(property), reason, None);
            }
        }
        let dialect = match object.get("@context") {
            Some(property) => context::read(&property.value, outer, self)?,
            None => outer?,
        };
        Some(Element { object, dialect })
    }

    /// Refuses keys that the element cannot have. DTDL v2 lets a model carry names of its own, so
    /// there an unknown key is a warning.
    pub(super) fn check_keys(&mut self, element: Element<'_>, keys: &[&str]) {
        for property in &element.object.properties {
            let key = property.name.as_str();
            if COMMON_KEYS.contains(&key) || keys.contains(&key) {
                continue;
            }
            let help = did_you_mean(key, COMMON_KEYS.iter().chain(keys).copied())
                .or_else(|| Some(format!("the keys here are {}", keys.join(", "))));
            let reason = format!("`{key}` is not known here");
            if element.dialect.version == 2 {
                self.warning(
                    key_span(property),
                    format!("{reason}; it has no effect"),
                    help,
                );
            } else if !element.dialect.lenient || key.starts_with('@') {
                self.error(key_span(property), reason, help);
            }
        }
        self.check_common(element);
    }

    fn check_common(&mut self, element: Element<'_>) {
        if let Some(value) = element.get("comment") {
            self.bounded_string("comment", value, MAX_DESCRIPTION_CHARS);
        }
        if let Some(value) = element.get("@id")
            && let Some(id) = self.string("@id", value)
        {
            let span = span_of(value);
            if let Some(fault) = dtmi::fault(id, element.dialect.version, MAX_DTMI_CHARS) {
                self.error(span, format!("`{id}` is no DTMI: {fault}"), None);
            } else if dtmi::is_reserved(id) {
                let help = "choose a prefix of your own";
                self.error(
                    span,
                    format!("`{id}` has a prefix that belongs to DTDL"),
                    Some(help.to_owned()),
                );
            } else {
                let place = (Arc::clone(&self.origin.file), span.clone());
                if let Some((file, at)) = self.into.ids.insert(id.into(), place) {
                    let reason = format!("`{id}` is defined a second time");
                    let help = format!("the other definition is in {file}, byte {}", at.start);
                    self.error(span, reason, Some(help));
                }
            }
        }
    }

    /// Keeps a schema that has an `@id` for those who refer to it.
    pub(super) fn share(&mut self, id: &str, dialect: Dialect, decl: SchemaDecl) {
        let origin = self.origin.clone();
        self.into.schemas.insert(
            id.into(),
            SharedSchema {
                origin,
                dialect,
                decl,
            },
        );
    }

    pub(super) fn string<'a>(&mut self, key: &str, value: &'a Ast<'a>) -> Option<&'a str> {
        // JSON-LD keywords take no wrapped form.
        let literal = if key.starts_with('@') {
            value
        } else {
            plain(value)
        };
        if let Ast::StringLit(text) = literal {
            return Some(&text.value);
        }
        self.error(span_of(value), format!("`{key}` is a string"), None);
        None
    }

    fn bounded_string<'a>(
        &mut self,
        key: &str,
        value: &'a Ast<'a>,
        max_chars: usize,
    ) -> Option<&'a str> {
        let text = self.string(key, value)?;
        if text.chars().count() > max_chars {
            self.error(
                span_of(value),
                format!("`{key}` is longer than {max_chars} characters"),
                None,
            );
            return None;
        }
        Some(text)
    }

    /// A string or a map of strings by language; English is preferred, else the first.
    fn localized(&mut self, key: &str, value: &Ast<'_>, max_chars: usize) -> Option<Arc<str>> {
        let mut texts: Vec<(&str, Range<usize>, &Ast<'_>)> = Vec::new();
        match value {
            Ast::Object(map) if map.get("@value").is_none() => {
                texts.extend(
                    map.properties
                        .iter()
                        .map(|p| (p.name.as_str(), key_span(p), &p.value)),
                );
            }
            set => {
                for text in one_or_many(set) {
                    let tag = text
                        .as_object()
                        .and_then(|object| object.get_string("@language"));
                    texts.push((tag.map_or("en", |tag| &*tag.value), span_of(text), text));
                }
            }
        }
        let mut best: Option<(u8, Arc<str>)> = None;
        for (language, span, text) in texts {
            if !is_language_tag(language) {
                let reason = format!("`{language}` is not a language tag like `en` or `rw-RW`");
                self.error(span, reason, None);
                continue;
            }
            let Some(text) = self.bounded_string(key, text, max_chars) else {
                continue;
            };
            let rank = match language {
                "en" => 0,
                other if other.starts_with("en-") => 1,
                _ => 2,
            };
            if best.as_ref().is_none_or(|(other, _)| rank < *other) {
                best = Some((rank, text.into()));
            }
        }
        best.map(|(_, text)| text)
    }

    pub(super) fn display(&mut self, element: Element<'_>) -> Display {
        let label_chars = element.dialect.limits().label_chars;
        let label = element
            .get("displayName")
            .and_then(|v| self.localized("displayName", v, label_chars));
        let description = element
            .get("description")
            .and_then(|v| self.localized("description", v, MAX_DESCRIPTION_CHARS));
        Display { label, description }
    }

    /// The element's `name`, which is required.
    pub(super) fn name(&mut self, element: Element<'_>) -> Option<Placed> {
        let Some(value) = element.get("name") else {
            self.error(element.head(), "`name` is missing", None);
            return None;
        };
        let name = self.bounded_string("name", value, element.dialect.limits().name_chars)?;
        if !dtmi::is_segment(name) {
            let help = "letters, digits and underscores; a letter first, no underscore last";
            self.error(
                span_of(value),
                format!("`{name}` is not a name"),
                Some(help.to_owned()),
            );
            return None;
        }
        Some(Placed {
            text: name.into(),
            span: span_of(value),
        })
    }

    /// A DTMI that names something else.
    pub(super) fn reference(
        &mut self,
        key: &str,
        value: &Ast<'_>,
        dialect: Dialect,
    ) -> Option<Placed> {
        let text = self.string(key, value)?;
        if let Some(fault) = dtmi::fault(text, dialect.version, MAX_DTMI_CHARS) {
            self.error(
                span_of(value),
                format!("`{text}` is no DTMI: {fault}"),
                None,
            );
            return None;
        }
        Some(Placed {
            text: text.into(),
            span: span_of(value),
        })
    }

    /// Reads `@type`: at most one material type out of `allowed`, and co-types.
    pub(super) fn types(
        &mut self,
        element: Element<'_>,
        allowed: &'static [&'static str],
    ) -> Types {
        let mut types = Types {
            material: None,
            semantic: None,
        };
        let Some(value) = element.get("@type") else {
            return types;
        };
        let items: Vec<&Ast<'_>> = match value {
            Ast::Array(array) => array.elements.iter().collect(),
            one => vec![one],
        };
        if items.is_empty() {
            self.error(span_of(value), "`@type` names no type", None);
        }
        for item in items {
            let Some(name) = self.string("@type", item) else {
                continue;
            };
            let span = span_of(item);
            let class = format!(";{}", element.dialect.version);
            let term = name
                .strip_prefix("dtmi:dtdl:class:")
                .and_then(|class_name| class_name.strip_suffix(&*class))
                .unwrap_or(name);
            if let Some(material) = allowed.iter().find(|material| **material == term) {
                if types
                    .material
                    .replace(material)
                    .is_some_and(|other| other != *material)
                {
                    self.error(
                        span,
                        "an element has one type of DTDL; the others are semantic types",
                        None,
                    );
                }
            } else if let Some(semantic) = units::semantic(name, element.dialect.vocabulary) {
                if types
                    .semantic
                    .replace(semantic)
                    .is_some_and(|other| other.name != semantic.name)
                {
                    self.error(span, "an element has one semantic type with a unit", None);
                }
            } else {
                self.unknown_type(name, span, element.dialect, allowed);
            }
        }
        types
    }

    fn unknown_type(
        &mut self,
        name: &str,
        span: Range<usize>,
        dialect: Dialect,
        allowed: &'static [&'static str],
    ) {
        if MATERIAL_TYPES.contains(&name) {
            let help = format!("expected {}", allowed.join(", "));
            self.error(span, format!("`{name}` cannot stand here"), Some(help));
            return;
        }
        let needs_context = units::semantic(name, Vocabulary::Quantitative3).is_some()
            && dialect.vocabulary == Vocabulary::None;
        let help = if needs_context {
            let number = if dialect.version == 3 { 1 } else { 2 };
            Some(format!(
                "add \"dtmi:dtdl:extension:quantitativeTypes;{number}\" to `@context`"
            ))
        } else {
            let known = allowed
                .iter()
                .copied()
                .chain(units::semantic_names(dialect.vocabulary));
            did_you_mean(name, known)
        };
        if dialect.version == 2 {
            self.warning(
                span,
                format!("type `{name}` is not known; it has no effect"),
                help,
            );
        } else if !dialect.lenient {
            self.error(span, format!("type `{name}` is not known"), help);
        }
    }

    fn interface(&mut self, element: Element<'_>) -> Option<Placed> {
        let types = self.types(element, &["Interface"]);
        if types.material.is_none() {
            let help = "add \"@type\": \"Interface\"";
            self.error(
                element.head(),
                "this is not an interface",
                Some(help.to_owned()),
            );
            return None;
        }
        self.check_keys(element, INTERFACE_KEYS);
        let dialect = element.dialect;
        let range = element.object.range;
        let limit = dialect.limits().interface_bytes;
        if range.end - range.start > limit {
            self.error(
                element.head(),
                format!("the interface is larger than {limit} bytes"),
                None,
            );
        }
        let text = self.display(element);
        let contents = match element.get("contents") {
            Some(value) => self.contents(value, dialect),
            None => Vec::new(),
        };
        if let Some(value) = element.get("schemas") {
            self.shared_schemas(value, dialect);
        }
        let extends = element
            .get("extends")
            .map(|value| self.extends(value, dialect))
            .unwrap_or_default();
        let Some(value) = element.get("@id") else {
            let help = "give it an identifier like \"dtmi:rw:health:HealthFacility;1\"";
            self.error(element.head(), "`@id` is missing", Some(help.to_owned()));
            return None;
        };
        let id = self.string("@id", value)?;
        if dtmi::fault(id, dialect.version, MAX_DTMI_CHARS).is_some() || dtmi::is_reserved(id) {
            return None;
        }
        if id.len() > MAX_INTERFACE_DTMI_CHARS {
            let reason =
                format!("an interface's `@id` has at most {MAX_INTERFACE_DTMI_CHARS} characters");
            self.error(span_of(value), reason, None);
            return None;
        }
        let id = Placed {
            text: id.into(),
            span: span_of(value),
        };
        self.into.interfaces.push(Interface {
            pack: Arc::clone(self.pack),
            origin: self.origin.clone(),
            dialect,
            id: id.clone(),
            text,
            extends,
            contents,
        });
        Some(id)
    }

    /// An interface named or given in place.
    pub(super) fn interface_reference(
        &mut self,
        key: &str,
        value: &Ast<'_>,
        dialect: Dialect,
    ) -> Option<Placed> {
        match value {
            Ast::Object(object) => {
                let element = self.open(object, Some(dialect))?;
                let id = self.interface(element)?;
                Some(id)
            }
            other => self.reference(key, other, dialect),
        }
    }

    fn extends(&mut self, value: &Ast<'_>, dialect: Dialect) -> Vec<Placed> {
        let items = one_or_many(value);
        let limit = dialect.limits().extends;
        if items.len() > limit {
            self.error(
                span_of(value),
                format!("an interface extends at most {limit} others"),
                None,
            );
        }
        items
            .into_iter()
            .filter_map(|item| self.interface_reference("extends", item, dialect))
            .collect()
    }
}
