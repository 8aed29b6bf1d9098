//! How classes of the ontology appear in the API: one place for names of types, shared by the
//! schema and by the executor.
//!
//! # Invariants
//! - A twin's type is an object type of its class's name; it also answers to `Twin`, to `Any…` of
//!   its class where others extend it, and to `Any…` of every ancestor.
//! - Lists and targets of a class that others extend are `Any…`, of any other class the object type.

use std::collections::HashMap;
use std::sync::Arc;

use ontology::{Class, ClassId, EnumSchema, Ontology, RelationshipKind, Schema, Value};
use twin_core::Direction;

/// A type of the API that stands for twins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TwinType {
    /// The interface of all twins.
    Twin,
    /// The interface of a class and its subclasses.
    Any(ClassId),
    /// The object type of exactly one class.
    Object(ClassId),
}

/// Names of the API over one ontology.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) ontology: Arc<Ontology>,
    by_plural: HashMap<Arc<str>, ClassId>,
    /// Column of the property that labels a twin, by class.
    labels: Vec<Option<usize>>,
}

impl Api {
    pub(crate) fn new(ontology: Arc<Ontology>) -> Self {
        let classes = ontology.classes();
        let by_plural = classes
            .iter()
            .map(|c| (Arc::clone(&c.plural), c.id))
            .collect();
        let labels = classes.iter().map(label_column).collect();
        Self {
            ontology,
            by_plural,
            labels,
        }
    }

    pub(crate) fn class(&self, id: ClassId) -> &Class {
        self.ontology.class(id)
    }

    /// The class whose list field has this name.
    pub(crate) fn listed(&self, field: &str) -> Option<ClassId> {
        self.by_plural.get(field).copied()
    }

    /// Column of the property that labels twins of a class.
    pub(crate) fn label(&self, class: ClassId) -> Option<usize> {
        self.labels[class.0 as usize]
    }

    /// The type of twins of a class, subclasses included.
    pub(crate) fn twins_of(&self, class: ClassId) -> TwinType {
        if self.class(class).descendants.is_empty() {
            TwinType::Object(class)
        } else {
            TwinType::Any(class)
        }
    }

    /// The type of a relationship's target.
    pub(crate) fn target(&self, target: Option<ClassId>) -> TwinType {
        target.map_or(TwinType::Twin, |class| self.twins_of(class))
    }

    pub(crate) fn type_name(&self, ty: TwinType) -> String {
        match ty {
            TwinType::Twin => "Twin".to_owned(),
            TwinType::Any(class) => format!("Any{}", self.class(class).name),
            TwinType::Object(class) => self.class(class).name.to_string(),
        }
    }

    /// The type of a name, if it stands for twins.
    pub(crate) fn typed(&self, name: &str) -> Option<TwinType> {
        if name == "Twin" {
            return Some(TwinType::Twin);
        }
        if let Some(class) = self.ontology.class_named(name) {
            return Some(TwinType::Object(class.id));
        }
        let class = self.ontology.class_named(name.strip_prefix("Any")?)?;
        Some(TwinType::Any(class.id))
    }

    /// Whether a fragment on a type applies to twins of a class.
    pub(crate) fn applies(&self, type_name: &str, class: ClassId) -> bool {
        match self.typed(type_name) {
            Some(TwinType::Twin) => true,
            Some(TwinType::Any(ancestor)) => self.ontology.is_a(class, ancestor),
            Some(TwinType::Object(exact)) => class == exact,
            None => false,
        }
    }

    /// The class a caller names, or a fault with a suggestion.
    pub(crate) fn class_named(&self, name: &str) -> Result<&Class, crate::error::Fault> {
        self.ontology.class_named(name).ok_or_else(|| {
            let known = self.ontology.classes().iter().map(|class| &*class.name);
            crate::error::Fault::unknown("class", name, known)
        })
    }

    /// The relationship a caller names, or a fault with a suggestion.
    pub(crate) fn relationship_named(
        &self,
        name: &str,
    ) -> Result<&RelationshipKind, crate::error::Fault> {
        self.ontology.relationship_named(name).ok_or_else(|| {
            let known = self.ontology.relationships().iter().map(|kind| &*kind.name);
            crate::error::Fault::unknown("relationship", name, known)
        })
    }

    /// The one class that a relationship leads to in a direction, as far as the model names one.
    pub(crate) fn reached(&self, kind: &RelationshipKind, direction: Direction) -> Option<ClassId> {
        let sources = kind.sources.iter().copied();
        let ends: Vec<ClassId> = match direction {
            Direction::In => sources.collect(),
            Direction::Out => {
                let target = |source| self.class(source).relationship_by_id(kind.id)?.target;
                sources.map(target).collect::<Option<_>>()?
            }
        };
        let above = |class: &ClassId| ends.iter().all(|end| self.ontology.is_a(*end, *class));
        ends.iter().copied().find(above)
    }
}

/// A twin is called by its own label, else by its name.
fn label_column(class: &Class) -> Option<usize> {
    ["label_", "name"].iter().find_map(|name| {
        class
            .property_index(name)
            .filter(|i| class.properties[*i].schema == Schema::String)
    })
}

/// How a schema's values look in the API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shown {
    /// A scalar of this name.
    Scalar(&'static str),
    /// A GraphQL enumeration.
    Enum(Arc<EnumSchema>),
    /// An object type.
    Object,
    /// A list.
    List(Box<Shown>),
}

/// How values of a schema look in the API.
pub(crate) fn shown(schema: &Schema) -> Shown {
    Shown::Scalar(match schema {
        Schema::Boolean => "Boolean",
        Schema::Integer { min, max } if fits_int(*min) && fits_int(*max) => "Int",
        Schema::Integer { .. } | Schema::Long => "BigInt",
        Schema::Double => "Float",
        Schema::String => "String",
        Schema::Date => "Date",
        Schema::DateTime => "DateTime",
        Schema::Time => "Time",
        Schema::Duration => "Duration",
        Schema::Map(_) => "JSON",
        Schema::Geometry(_) => "Geometry",
        Schema::Enum(one_of) => return shown_enum(one_of),
        Schema::Object(fields) if fields.iter().any(|field| !is_name(&field.name)) => "JSON",
        Schema::Object(fields) if fields.is_empty() => "JSON",
        Schema::Object(_) => return Shown::Object,
        Schema::Array(element) => return Shown::List(Box::new(shown(element))),
    })
}

/// An enumeration is one in GraphQL if its data are GraphQL names; else its data are shown as is.
fn shown_enum(one_of: &Arc<EnumSchema>) -> Shown {
    let name = |value: &Value| matches!(value, Value::Text(text) if is_enum_value(text));
    if one_of.values.is_empty() {
        return Shown::Scalar("String");
    }
    if one_of.values.iter().all(|value| name(&value.value)) {
        return Shown::Enum(Arc::clone(one_of));
    }
    let number = |value: &Value| matches!(value, Value::Int(n) if fits_int(*n));
    if one_of.values.iter().all(|value| number(&value.value)) {
        Shown::Scalar("Int")
    } else if one_of
        .values
        .iter()
        .all(|value| matches!(value.value, Value::Int(_)))
    {
        Shown::Scalar("BigInt")
    } else {
        Shown::Scalar("String")
    }
}

fn fits_int(value: i64) -> bool {
    i32::try_from(value).is_ok()
}

/// Whether the text is a GraphQL name that is not kept for introspection.
pub(crate) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !text.starts_with("__")
}

fn is_enum_value(text: &str) -> bool {
    is_name(text) && !matches!(text, "true" | "false" | "null")
}

/// `address` as `Address`, for names of types made from names of members.
pub(crate) fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// What a change of the twin did, as the API says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Created,
    Updated,
    Deleted,
    Related,
    Rerelated,
    Unrelated,
    Reading,
    Gap,
    Reset,
}

impl ChangeKind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Created,
        Self::Updated,
        Self::Deleted,
        Self::Related,
        Self::Rerelated,
        Self::Unrelated,
        Self::Reading,
        Self::Gap,
        Self::Reset,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Updated => "UPDATED",
            Self::Deleted => "DELETED",
            Self::Related => "RELATED",
            Self::Rerelated => "RERELATED",
            Self::Unrelated => "UNRELATED",
            Self::Reading => "READING",
            Self::Gap => "GAP",
            Self::Reset => "RESET",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Created => "A twin came to be.",
            Self::Updated => "Properties or geometry of a twin changed.",
            Self::Deleted => "A twin is gone.",
            Self::Related => "A relationship came to be.",
            Self::Rerelated => "Properties of a relationship changed.",
            Self::Unrelated => "A relationship is gone.",
            Self::Reading => "A measurement arrived.",
            Self::Gap => {
                "The last event: what came after the position is no longer kept. Query again and \
                 subscribe after that answer's position."
            }
            Self::Reset => {
                "The last event: the schema or a policy changed since. Query again and subscribe \
                 after that answer's position."
            }
        }
    }
}
