//! Schemas, from JSON to declarations.
//!
//! # Invariants
//! - A schema that this reader cannot carry exactly is refused, never approximated; the one
//!   exception is `decimal`, which becomes a double.

use std::collections::BTreeSet;
use std::sync::Arc;

use jsonc_parser::ast::Value as Ast;

use super::contents::with_unit;
use super::context::Dialect;
use super::literals::{number, one_or_many, plain};
use super::reader::{Element, Reader, Types, span_of};
use super::{FieldDecl, SchemaDecl, SchemaKind, dtmi};
use crate::diagnostics::did_you_mean;
use crate::naming;
use crate::schema::{EnumSchema, EnumValue, GeometryKind, Schema, Value};

const COMPLEX_TYPES: &[&str] = &["Array", "Enum", "Map", "Object"];
/// Prefixes under which the language's own schemas also have a DTMI.
const STANDARD_PREFIXES: &[&str] = &[
    "dtmi:dtdl:instance:Schema:",
    "dtmi:standard:schema:geospatial:",
];
const INTEGER: Schema = Schema::Integer {
    min: i32::MIN as i64,
    max: i32::MAX as i64,
};

/// Schemas with a name of their own: name, first DTDL version, meaning; `None` where values of it
/// cannot be carried yet.
const NAMED: &[(&str, u8, Option<Schema>)] = &[
    ("boolean", 2, Some(Schema::Boolean)),
    ("date", 2, Some(Schema::Date)),
    ("dateTime", 2, Some(Schema::DateTime)),
    ("double", 2, Some(Schema::Double)),
    ("duration", 2, Some(Schema::Duration)),
    ("float", 2, Some(Schema::Double)),
    ("integer", 2, Some(INTEGER)),
    ("long", 2, Some(Schema::Long)),
    ("string", 2, Some(Schema::String)),
    ("time", 2, Some(Schema::Time)),
    ("point", 2, Some(Schema::Geometry(GeometryKind::Point))),
    (
        "multiPoint",
        2,
        Some(Schema::Geometry(GeometryKind::MultiPoint)),
    ),
    (
        "lineString",
        2,
        Some(Schema::Geometry(GeometryKind::LineString)),
    ),
    (
        "multiLineString",
        2,
        Some(Schema::Geometry(GeometryKind::MultiLineString)),
    ),
    ("polygon", 2, Some(Schema::Geometry(GeometryKind::Polygon))),
    (
        "multiPolygon",
        2,
        Some(Schema::Geometry(GeometryKind::MultiPolygon)),
    ),
    (
        "byte",
        4,
        Some(Schema::Integer {
            min: i8::MIN as i64,
            max: i8::MAX as i64,
        }),
    ),
    (
        "short",
        4,
        Some(Schema::Integer {
            min: i16::MIN as i64,
            max: i16::MAX as i64,
        }),
    ),
    (
        "unsignedByte",
        4,
        Some(Schema::Integer {
            min: 0,
            max: u8::MAX as i64,
        }),
    ),
    (
        "unsignedShort",
        4,
        Some(Schema::Integer {
            min: 0,
            max: u16::MAX as i64,
        }),
    ),
    ("decimal", 4, Some(Schema::Double)),
    ("bytes", 4, None),
    ("scaledDecimal", 4, None),
    ("unsignedInteger", 4, None),
    ("unsignedLong", 4, None),
    ("uuid", 4, None),
];

impl SchemaDecl {
    /// Whether a unit can belong to its values.
    pub(super) fn is_numeric(&self) -> bool {
        matches!(
            self.kind,
            SchemaKind::Ready(Schema::Integer { .. } | Schema::Long | Schema::Double)
        )
    }
}

impl Reader<'_> {
    pub(super) fn required_schema(
        &mut self,
        element: Element<'_>,
        key: &str,
    ) -> Option<SchemaDecl> {
        let Some(value) = element.get(key) else {
            self.error(element.head(), format!("`{key}` is missing"), None);
            return None;
        };
        self.schema(key, value, element.dialect)
    }

    fn schema(&mut self, key: &str, value: &Ast<'_>, dialect: Dialect) -> Option<SchemaDecl> {
        match value {
            Ast::Object(object) => {
                let element = self.open(object, Some(dialect))?;
                self.complex_schema(element)
            }
            other => {
                let name = self.string(key, other)?;
                self.named_schema(name, other, dialect)
            }
        }
    }

    fn named_schema(
        &mut self,
        name: &str,
        value: &Ast<'_>,
        dialect: Dialect,
    ) -> Option<SchemaDecl> {
        let span = span_of(value);
        let standard = STANDARD_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix));
        let short = if standard {
            dtmi::last_segment(name)
        } else {
            name
        };
        let known = NAMED
            .iter()
            .find(|(known, since, _)| *known == short && *since <= dialect.version);
        match known {
            Some((_, _, Some(schema))) => {
                return Some(SchemaDecl {
                    span,
                    kind: SchemaKind::Ready(schema.clone()),
                });
            }
            Some((_, _, None)) => {
                let help = "use integer, long, double or string";
                self.error(
                    span,
                    format!("schema `{short}` is not supported yet"),
                    Some(help.to_owned()),
                );
                return None;
            }
            None => {}
        }
        if name.starts_with("dtmi:") {
            let placed = self.reference("schema", value, dialect)?;
            return Some(SchemaDecl {
                span,
                kind: SchemaKind::Reference(placed.text),
            });
        }
        let names = NAMED
            .iter()
            .filter(|(_, since, _)| *since <= dialect.version)
            .map(|(name, ..)| *name);
        let help = match NAMED.iter().find(|(known, ..)| *known == name) {
            Some((_, since, _)) => Some(format!("it exists from DTDL v{since} on")),
            None => did_you_mean(name, names).or_else(|| {
                Some("name a primitive schema, a schema's DTMI, or describe one".to_owned())
            }),
        };
        self.error(
            span,
            format!("schema `{name}` is not known in DTDL v{}", dialect.version),
            help,
        );
        None
    }

    fn complex_schema(&mut self, element: Element<'_>) -> Option<SchemaDecl> {
        let types = self.types(element, COMPLEX_TYPES);
        let Some(material) = types.material else {
            let help = format!("`@type` is one of {}", COMPLEX_TYPES.join(", "));
            self.error(element.head(), "the schema's type is missing", Some(help));
            return None;
        };
        let kind = match material {
            "Array" => {
                self.check_keys(element, &["elementSchema"]);
                SchemaKind::Array(Box::new(self.required_schema(element, "elementSchema")?))
            }
            "Enum" => self.enum_schema(element)?,
            "Map" => self.map_schema(element)?,
            _ => self.object_schema(element),
        };
        self.display(element);
        let range = element.object.range;
        let schema = SchemaDecl {
            span: range.start..range.end,
            kind,
        };
        if let Some(Ast::StringLit(id)) = element.get("@id") {
            self.share(&id.value, element.dialect, schema.clone());
        }
        Some(schema)
    }

    /// The `schemas` of an interface: they stand under their `@id` for others to use.
    pub(super) fn shared_schemas(&mut self, value: &Ast<'_>, dialect: Dialect) {
        for item in one_or_many(value) {
            let Ast::Object(object) = item else {
                self.error(span_of(item), "an element of `schemas` is an object", None);
                continue;
            };
            let Some(element) = self.open(object, Some(dialect)) else {
                continue;
            };
            if element.get("@id").is_none() {
                self.error(element.head(), "a shared schema needs an `@id`", None);
            }
            self.complex_schema(element);
        }
    }

    /// The objects under a plural key, at most `limit`.
    fn parts<'a>(&mut self, element: Element<'a>, key: &str, limit: usize) -> Vec<Element<'a>> {
        let Some(value) = element.get(key) else {
            return Vec::new();
        };
        let items = one_or_many(value);
        if items.len() > limit {
            self.error(
                span_of(value),
                format!("`{key}` has more than {limit} elements"),
                None,
            );
        }
        let mut parts = Vec::new();
        for item in items {
            match item {
                Ast::Object(object) => parts.extend(self.open(object, Some(element.dialect))),
                other => self.error(
                    span_of(other),
                    format!("an element of `{key}` is an object"),
                    None,
                ),
            }
        }
        if parts.is_empty() && element.dialect.version == 2 {
            self.error(span_of(value), format!("`{key}` is empty"), None);
        }
        parts
    }

    /// An element whose type goes without saying.
    fn implied(&mut self, element: Element<'_>, material: &'static [&'static str]) -> Types {
        let types = self.types(element, material);
        if let Some(value) = element.get("@type")
            && types.material.is_none()
        {
            self.error(
                span_of(value),
                format!("`@type` must include {}", material.join(" or ")),
                None,
            );
        }
        types
    }

    fn enum_schema(&mut self, element: Element<'_>) -> Option<SchemaKind> {
        self.check_keys(element, &["enumValues", "valueSchema"]);
        let Some(schema_value) = element.get("valueSchema") else {
            self.error(
                element.head(),
                "`valueSchema` is missing: integer or string",
                None,
            );
            return None;
        };
        let is_text = match self.string("valueSchema", schema_value)? {
            "string" => true,
            "integer" => false,
            other => {
                let help = did_you_mean(other, ["integer", "string"]);
                self.error(
                    span_of(schema_value),
                    "`valueSchema` is integer or string",
                    help,
                );
                return None;
            }
        };
        if element.get("enumValues").is_none() && element.dialect.version == 2 {
            self.error(element.head(), "`enumValues` is missing", None);
        }
        let mut values: Vec<EnumValue> = Vec::new();
        for part in self.parts(element, "enumValues", element.dialect.limits().enum_values) {
            self.implied(part, &["EnumValue"]);
            self.check_keys(part, &["name", "enumValue"]);
            let text = self.display(part);
            let name = self.name(part);
            let Some(literal) = part.get("enumValue") else {
                self.error(part.head(), "`enumValue` is missing", None);
                continue;
            };
            let value = match plain(literal) {
                Ast::StringLit(text) if is_text => Some(Value::Text((&*text.value).into())),
                Ast::NumberLit(_) if !is_text => number(literal)
                    .filter(|n| i32::try_from(*n).is_ok())
                    .map(Value::Int),
                _ => None,
            };
            let Some(value) = value else {
                let expected = if is_text {
                    "a string"
                } else {
                    "a 32-bit integer"
                };
                self.error(
                    span_of(literal),
                    format!("`enumValue` is {expected} here"),
                    None,
                );
                continue;
            };
            let Some(name) = name else { continue };
            if values.iter().any(|other| other.name == name.text) {
                self.error(
                    name.span,
                    format!("enum value `{}` is named twice", name.text),
                    None,
                );
                continue;
            }
            if values.iter().any(|other| other.value == value) {
                self.error(span_of(literal), "two names have this same value", None);
                continue;
            }
            let description = text.description.unwrap_or_default();
            values.push(EnumValue {
                name: name.text,
                value,
                description,
            });
        }
        let name = match element.get("@id") {
            Some(Ast::StringLit(id)) => {
                Some(naming::pascal_case(dtmi::last_segment(&id.value)).into())
            }
            _ => None,
        };
        Some(SchemaKind::Enum(EnumSchema { name, values }))
    }

    fn map_schema(&mut self, element: Element<'_>) -> Option<SchemaKind> {
        self.check_keys(element, &["mapKey", "mapValue"]);
        let key = self.map_part(element, "mapKey", &["MapKey"]);
        if let Some(key) = key
            && !matches!(key.kind, SchemaKind::Ready(Schema::String))
        {
            self.error(key.span, "the schema of `mapKey` is string", None);
        }
        let value = self.map_part(element, "mapValue", &["MapValue"])?;
        Some(SchemaKind::Map(Box::new(value)))
    }

    fn map_part(
        &mut self,
        element: Element<'_>,
        key: &str,
        material: &'static [&'static str],
    ) -> Option<SchemaDecl> {
        match element.get(key) {
            Some(Ast::Object(object)) => {
                let part = self.open(object, Some(element.dialect))?;
                let types = self.implied(part, material);
                self.check_keys(part, &with_unit(&["name", "schema"], &types));
                self.name(part);
                self.display(part);
                let schema = self.required_schema(part, "schema");
                self.unit(part, &types, schema.as_ref());
                schema
            }
            Some(other) => {
                self.error(
                    span_of(other),
                    format!("`{key}` is an object with name and schema"),
                    None,
                );
                None
            }
            None => {
                self.error(element.head(), format!("`{key}` is missing"), None);
                None
            }
        }
    }

    fn object_schema(&mut self, element: Element<'_>) -> SchemaKind {
        self.check_keys(element, &["fields"]);
        if element.get("fields").is_none() && element.dialect.version == 2 {
            self.error(element.head(), "`fields` is missing", None);
        }
        let mut fields: Vec<FieldDecl> = Vec::new();
        let mut seen = BTreeSet::new();
        for part in self.parts(element, "fields", element.dialect.limits().fields) {
            let types = self.implied(part, &["Field"]);
            self.check_keys(part, &with_unit(&["name", "schema"], &types));
            let text = self.display(part);
            let name = self.name(part);
            let schema = self.required_schema(part, "schema");
            self.unit(part, &types, schema.as_ref());
            let (Some(name), Some(schema)) = (name, schema) else {
                continue;
            };
            if !seen.insert(Arc::clone(&name.text)) {
                self.error(
                    name.span,
                    format!("field `{}` is declared twice", name.text),
                    None,
                );
                continue;
            }
            let description = text.description.unwrap_or_default();
            fields.push(FieldDecl {
                name: name.text,
                description,
                schema,
            });
        }
        SchemaKind::Object(fields)
    }
}
