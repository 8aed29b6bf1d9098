//! The contents of an interface, from JSON to declarations: properties, telemetry, relationships,
//! components and commands.
//!
//! # Invariants
//! - An element that is returned has a name, a type and everything its type needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use jsonc_parser::ast::Value as Ast;

use super::context::Dialect;
use super::literals::{number, one_or_many, plain};
use super::reader::{Element, Reader, Types, span_of};
use super::{Content, ContentKind, SchemaDecl, units};
use crate::diagnostics::did_you_mean;

/// Material types that may stand in `contents`.
const CONTENT_TYPES: &[&str] = &[
    "Property",
    "Telemetry",
    "Relationship",
    "Component",
    "Command",
];
const PROPERTY_KEYS: &[&str] = &["name", "schema", "writable"];
const TELEMETRY_KEYS: &[&str] = &["name", "schema"];
const RELATIONSHIP_KEYS: &[&str] = &[
    "name",
    "target",
    "minMultiplicity",
    "maxMultiplicity",
    "properties",
    "writable",
];
const COMPONENT_KEYS: &[&str] = &["name", "schema"];
const COMMAND_KINDS: &[&str] = &["synchronous", "asynchronous"];
const COMMAND_KEYS: &[&str] = &["name", "request", "response", "commandType"];

impl Reader<'_> {
    pub(super) fn contents(&mut self, value: &Ast<'_>, dialect: Dialect) -> Vec<Content> {
        let items = one_or_many(value);
        let limit = dialect.limits().contents;
        if items.len() > limit {
            self.error(
                span_of(value),
                format!("`contents` has more than {limit} elements"),
                None,
            );
        }
        let mut contents = Vec::new();
        for item in items {
            let Ast::Object(object) = item else {
                self.error(span_of(item), "an element of `contents` is an object", None);
                continue;
            };
            if let Some(element) = self.open(object, Some(dialect))
                && let Some(content) = self.content(element)
            {
                contents.push(content);
            }
        }
        self.check_unique(&contents);
        contents
    }

    fn check_unique(&mut self, contents: &[Content]) {
        let mut seen = BTreeSet::new();
        for content in contents {
            if !seen.insert(&content.name.text) {
                let reason = format!("`{}` is declared twice here", content.name.text);
                self.error(content.name.span.clone(), reason, None);
            }
        }
    }

    fn content(&mut self, element: Element<'_>) -> Option<Content> {
        let types = self.types(element, CONTENT_TYPES);
        let Some(material) = types.material else {
            let help = format!("`@type` is one of {}", CONTENT_TYPES.join(", "));
            self.error(element.head(), "the element's type is missing", Some(help));
            return None;
        };
        match material {
            "Property" => self.property(element, &types, PROPERTY_KEYS),
            "Telemetry" => self.property(element, &types, TELEMETRY_KEYS),
            "Relationship" => self.relationship(element, &types),
            "Component" => self.component(element, &types),
            _ => self.command(element, &types),
        }
    }

    /// A property or telemetry: `keys` tells which.
    fn property(
        &mut self,
        element: Element<'_>,
        types: &Types,
        keys: &'static [&'static str],
    ) -> Option<Content> {
        self.check_keys(element, &with_unit(keys, types));
        let writable = self.writable(element);
        let name = self.name(element);
        let text = self.display(element);
        let schema = self.required_schema(element, "schema");
        let unit = self.unit(element, types, schema.as_ref());
        let (name, schema) = (name?, schema?);
        let kind = if types.material == Some("Property") {
            ContentKind::Property {
                schema,
                unit,
                writable,
            }
        } else {
            ContentKind::Telemetry { schema, unit }
        };
        Some(Content { name, text, kind })
    }

    /// Whether it says that it may be set; it does not unless it says so.
    fn writable(&mut self, element: Element<'_>) -> bool {
        let Some(value) = element.get("writable") else {
            return false;
        };
        let literal = plain(value).as_boolean_lit().map(|literal| literal.value);
        if literal.is_none() {
            self.error(span_of(value), "`writable` is true or false", None);
        }
        literal.unwrap_or(false)
    }

    /// The unit of a semantic type, which must be one that measures it.
    pub(super) fn unit(
        &mut self,
        element: Element<'_>,
        types: &Types,
        schema: Option<&SchemaDecl>,
    ) -> Option<Arc<str>> {
        let semantic = types.semantic?;
        if let Some(schema) = schema
            && !schema.is_numeric()
        {
            let reason = format!("semantic type `{}` needs a numeric schema", semantic.name);
            self.error(schema.span.clone(), reason, None);
        }
        let Some(value) = element.get("unit") else {
            let units: Vec<_> =
                units::units_of(semantic.unit_type, element.dialect.vocabulary).collect();
            let reason = format!("semantic type `{}` needs a `unit`", semantic.name);
            self.error(
                element.head(),
                reason,
                Some(format!("one of {}", units.join(", "))),
            );
            return None;
        };
        let name = self.string("unit", value)?;
        let mut units = units::units_of(semantic.unit_type, element.dialect.vocabulary);
        if units.any(|unit| unit == name) {
            return Some(name.into());
        }
        let units: Vec<_> =
            units::units_of(semantic.unit_type, element.dialect.vocabulary).collect();
        let help = did_you_mean(name, units.iter().copied())
            .unwrap_or_else(|| format!("one of {}", units.join(", ")));
        self.error(
            span_of(value),
            format!("`{name}` is not a unit of `{}`", semantic.name),
            Some(help),
        );
        None
    }

    fn no_semantics(&mut self, element: Element<'_>, types: &Types) {
        if let (Some(semantic), Some(value)) = (types.semantic, element.get("@type")) {
            let reason = format!(
                "`{}` describes a property or telemetry, not this",
                semantic.name
            );
            self.error(span_of(value), reason, None);
        }
    }

    fn relationship(&mut self, element: Element<'_>, types: &Types) -> Option<Content> {
        self.check_keys(element, RELATIONSHIP_KEYS);
        self.no_semantics(element, types);
        self.writable(element);
        let name = self.name(element);
        let text = self.display(element);
        let dialect = element.dialect;
        if let Some(value) = element.get("minMultiplicity")
            && number(value) != Some(0)
        {
            self.error(
                span_of(value),
                "`minMultiplicity` is 0 in DTDL v2 to v4",
                None,
            );
        }
        let mut max = None;
        if let Some(value) = element.get("maxMultiplicity") {
            let limit = dialect.limits().max_multiplicity;
            max = number(value)
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| (1..=limit).contains(n));
            if max.is_none() {
                self.error(
                    span_of(value),
                    format!("`maxMultiplicity` is an integer from 1 to {limit}"),
                    None,
                );
            }
        }
        let target = element
            .get("target")
            .and_then(|value| self.reference("target", value, dialect));
        let properties = match element.get("properties") {
            Some(value) => self.relationship_properties(value, dialect),
            None => Vec::new(),
        };
        Some(Content {
            name: name?,
            text,
            kind: ContentKind::Relationship {
                target,
                max,
                properties,
            },
        })
    }

    fn relationship_properties(&mut self, value: &Ast<'_>, dialect: Dialect) -> Vec<Content> {
        let items = one_or_many(value);
        let limit = dialect.limits().contents;
        if items.len() > limit {
            self.error(
                span_of(value),
                format!("`properties` has more than {limit} elements"),
                None,
            );
        }
        let mut properties = Vec::new();
        for item in items {
            let Ast::Object(object) = item else {
                self.error(
                    span_of(item),
                    "a property of a relationship is an object",
                    None,
                );
                continue;
            };
            let Some(element) = self.open(object, Some(dialect)) else {
                continue;
            };
            let types = self.types(element, &["Property"]);
            if types.material.is_none() {
                let help = "add \"@type\": \"Property\"";
                self.error(
                    element.head(),
                    "this is not a property",
                    Some(help.to_owned()),
                );
            } else if let Some(property) = self.property(element, &types, PROPERTY_KEYS) {
                properties.push(property);
            }
        }
        self.check_unique(&properties);
        properties
    }

    fn component(&mut self, element: Element<'_>, types: &Types) -> Option<Content> {
        self.check_keys(element, COMPONENT_KEYS);
        self.no_semantics(element, types);
        let name = self.name(element);
        let text = self.display(element);
        let Some(value) = element.get("schema") else {
            self.error(
                element.head(),
                "`schema` is missing: the interface of the component",
                None,
            );
            return None;
        };
        let interface = self.interface_reference("schema", value, element.dialect)?;
        Some(Content {
            name: name?,
            text,
            kind: ContentKind::Component { interface },
        })
    }

    fn command(&mut self, element: Element<'_>, types: &Types) -> Option<Content> {
        self.check_keys(element, COMMAND_KEYS);
        self.no_semantics(element, types);
        let name = self.name(element);
        let text = self.display(element);
        for (key, material) in [
            ("request", &["CommandRequest", "CommandPayload"]),
            ("response", &["CommandResponse", "CommandPayload"]),
        ] {
            if let Some(value) = element.get(key) {
                self.payload(key, value, element.dialect, material);
            }
        }
        if let Some(value) = element.get("commandType")
            && let Some(kind) = self.string("commandType", value)
            && !COMMAND_KINDS.contains(&kind)
        {
            let help = did_you_mean(kind, COMMAND_KINDS.iter().copied());
            self.error(
                span_of(value),
                "`commandType` is synchronous or asynchronous",
                help,
            );
        }
        let name = name?;
        let reason = format!(
            "command `{}` cannot be called yet; it is left out",
            name.text
        );
        self.warning(name.span.clone(), reason, None);
        Some(Content {
            name,
            text,
            kind: ContentKind::Command,
        })
    }

    fn payload(
        &mut self,
        key: &str,
        value: &Ast<'_>,
        dialect: Dialect,
        material: &'static [&'static str],
    ) {
        let Ast::Object(object) = value else {
            self.error(span_of(value), format!("`{key}` is an object"), None);
            return;
        };
        let Some(element) = self.open(object, Some(dialect)) else {
            return;
        };
        let types = self.types(element, material);
        let keys: &[&str] = if dialect.version >= 4 {
            &["name", "schema", "nullable"]
        } else {
            &["name", "schema"]
        };
        self.check_keys(element, &with_unit(keys, &types));
        self.name(element);
        self.display(element);
        let schema = self.required_schema(element, "schema");
        self.unit(element, &types, schema.as_ref());
    }
}

/// Keys of an element that has a unit when it has a semantic type.
pub(super) fn with_unit(keys: &[&'static str], types: &Types) -> Vec<&'static str> {
    let unit = types.semantic.map(|_| "unit");
    keys.iter().copied().chain(unit).collect()
}
