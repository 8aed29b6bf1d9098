//! The members that each class declares itself, with their schemas and targets linked.
//!
//! # Invariants
//! - A schema that others refer to is linked once and shared, so documents that name a schema many
//!   times cost no more than naming it once.
//! - Schemas are trees: one that refers to itself is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::diagnostics::{Origin, Placed, Problems, did_you_mean};
use crate::dtdl::{Content, ContentKind, Declarations, Interface, SchemaDecl, SchemaKind};
use crate::model::{ClassId, Property, Relationship, RelationshipId, Telemetry};
use crate::naming;
use crate::schema::{EnumSchema, Field, Schema};

/// A member of a class.
#[derive(Debug, Clone)]
pub(crate) enum Member {
    Property(Property),
    Telemetry(Telemetry),
    Relationship(Relationship),
}

impl Member {
    fn name(&self) -> &Arc<str> {
        match self {
            Self::Property(property) => &property.name,
            Self::Telemetry(telemetry) => &telemetry.name,
            Self::Relationship(relationship) => &relationship.name,
        }
    }

    pub(crate) fn declared_by(&self) -> ClassId {
        match self {
            Self::Property(property) => property.declared_by,
            Self::Telemetry(telemetry) => telemetry.declared_by,
            Self::Relationship(relationship) => relationship.declared_by,
        }
    }
}

impl Content {
    /// Whether it becomes a property: a component does, as an object.
    pub(crate) fn is_property(&self) -> bool {
        matches!(
            self.kind,
            ContentKind::Property { .. } | ContentKind::Component { .. }
        )
    }
}

/// Links members; see [`Members::link`].
pub(crate) struct Members<'d> {
    pub(crate) problems: &'d mut Problems,
    pub(crate) declared: &'d Declarations,
    pub(crate) named: &'d [(Arc<str>, &'d Interface)],
    pub(crate) by_dtmi: &'d BTreeMap<&'d str, ClassId>,
    pub(crate) parents: &'d [Vec<ClassId>],
}

/// A linked schema, how many levels of arrays, maps and objects it has, and whether one is an array.
#[derive(Debug, Clone)]
struct Linked {
    schema: Schema,
    levels: usize,
    holds_array: bool,
}

/// What is known of a shared schema.
enum Shared {
    /// Being linked right now: meeting it again is a circle.
    Open,
    Done(Option<Linked>),
}

/// Schemas linked so far.
#[derive(Default)]
struct Cache {
    shared: BTreeMap<Arc<str>, Shared>,
    components: BTreeMap<ClassId, Option<Schema>>,
    /// Names of enumerations in use; they share the API's type names with classes.
    enum_names: BTreeMap<Arc<str>, Arc<EnumSchema>>,
}

/// Levels a schema may nest while being linked, whatever its version allows.
const MAX_LINK_DEPTH: usize = 64;

impl Members<'_> {
    /// The members of every class by name, in the order of class ids.
    pub(crate) fn link(
        mut self,
        personal: &BTreeSet<(ClassId, Arc<str>)>,
    ) -> Vec<BTreeMap<Arc<str>, Member>> {
        let mut cache = Cache::default();
        let (named, declared) = (self.named, self.declared);
        for (id, shared) in &declared.schemas {
            let span = shared.decl.span.clone();
            let linked =
                self.referred(id, span.clone(), &shared.origin, MAX_LINK_DEPTH, &mut cache);
            let limit = shared.dialect.limits().schema_depth;
            if let Some(linked) = linked
                && linked.levels > limit
            {
                let reason = format!(
                    "the schema nests {} levels, {limit} are allowed",
                    linked.levels
                );
                self.problems.error(&shared.origin, span, reason, None);
            }
        }
        named
            .iter()
            .enumerate()
            .map(|(i, (_, interface))| {
                let class = ClassId(i as u32);
                interface
                    .contents
                    .iter()
                    .filter_map(|content| {
                        let is_personal =
                            personal.contains(&(class, Arc::clone(&content.name.text)));
                        let member =
                            self.member(class, interface, content, is_personal, &mut cache)?;
                        Some((Arc::clone(member.name()), member))
                    })
                    .collect()
            })
            .collect()
    }

    fn member(
        &mut self,
        class: ClassId,
        interface: &Interface,
        content: &Content,
        personal: bool,
        cache: &mut Cache,
    ) -> Option<Member> {
        let name: Arc<str> = naming::member(&content.name.text).into();
        let label = content
            .text
            .label
            .clone()
            .unwrap_or_else(|| Arc::clone(&content.name.text));
        let description = content.text.description.clone().unwrap_or_default();
        match &content.kind {
            ContentKind::Property {
                schema,
                unit,
                writable,
            } => {
                let linked = self.within_limits(schema, interface, cache)?;
                if interface.dialect.version == 2 && linked.holds_array {
                    let reason = "in DTDL v2 a property cannot be an array";
                    let help = "use DTDL v3 or v4, or a map";
                    let span = schema.span.clone();
                    self.problems
                        .error(&interface.origin, span, reason, Some(help.to_owned()));
                }
                let schema = linked.schema;
                let unit = unit.clone();
                Some(Member::Property(Property {
                    name,
                    label,
                    description,
                    schema,
                    unit,
                    personal,
                    writable: *writable,
                    declared_by: class,
                }))
            }
            ContentKind::Telemetry { schema, unit } => {
                let schema = self.schema(schema, interface, cache)?;
                let unit = unit.clone();
                Some(Member::Telemetry(Telemetry {
                    name,
                    label,
                    description,
                    schema,
                    unit,
                    declared_by: class,
                }))
            }
            ContentKind::Relationship {
                target,
                max,
                properties,
            } => {
                let target = target
                    .as_ref()
                    .and_then(|target| self.target(target, interface));
                let properties = self.relation_properties(class, interface, properties, cache);
                let name = self.table_name(name, &content.name, interface);
                let id = RelationshipId(0);
                Some(Member::Relationship(Relationship {
                    id,
                    name,
                    label,
                    description,
                    target,
                    max: *max,
                    properties,
                    declared_by: class,
                }))
            }
            ContentKind::Component { interface: part } => {
                let schema = self.component(part, &content.name, interface, cache)?;
                Some(Member::Property(Property {
                    name,
                    label,
                    description,
                    schema,
                    unit: None,
                    personal,
                    writable: false,
                    declared_by: class,
                }))
            }
            ContentKind::Command => None,
        }
    }

    /// Classes and relationships are tables of one database, so a relationship that has a class's
    /// name gets `_` appended.
    fn table_name(&mut self, name: Arc<str>, placed: &Placed, interface: &Interface) -> Arc<str> {
        if self
            .named
            .binary_search_by(|(class, _)| class.cmp(&name))
            .is_err()
        {
            return name;
        }
        let reason = format!("relationship `{name}` has the name of a class; it becomes `{name}_`");
        let help = "start the relationship's name in lower case";
        let span = placed.span.clone();
        self.problems
            .warning(&interface.origin, span, reason, Some(help.to_owned()));
        format!("{name}_").into()
    }

    fn target(&mut self, target: &Placed, interface: &Interface) -> Option<ClassId> {
        let found = self.by_dtmi.get(&*target.text).copied();
        if found.is_none() {
            let help = did_you_mean(&target.text, self.by_dtmi.keys().copied())
                .or_else(|| Some("load the pack that defines it, too".to_owned()));
            let reason = format!(
                "target `{}` is not defined in any loaded pack; any class is accepted",
                target.text
            );
            self.problems
                .warning(&interface.origin, target.span.clone(), reason, help);
        }
        found
    }

    fn relation_properties(
        &mut self,
        class: ClassId,
        interface: &Interface,
        contents: &[Content],
        cache: &mut Cache,
    ) -> Vec<Property> {
        let mut properties: Vec<Property> = contents
            .iter()
            .filter_map(|content| {
                let ContentKind::Property {
                    schema,
                    unit,
                    writable,
                } = &content.kind
                else {
                    return None;
                };
                Some(Property {
                    name: naming::relation_field(&content.name.text).into(),
                    label: content
                        .text
                        .label
                        .clone()
                        .unwrap_or_else(|| Arc::clone(&content.name.text)),
                    description: content.text.description.clone().unwrap_or_default(),
                    schema: self.schema(schema, interface, cache)?,
                    unit: unit.clone(),
                    personal: false,
                    writable: *writable,
                    declared_by: class,
                })
            })
            .collect();
        properties.sort_by(|a, b| a.name.cmp(&b.name));
        properties
    }

    fn schema(
        &mut self,
        decl: &SchemaDecl,
        interface: &Interface,
        cache: &mut Cache,
    ) -> Option<Schema> {
        self.within_limits(decl, interface, cache)
            .map(|linked| linked.schema)
    }

    fn within_limits(
        &mut self,
        decl: &SchemaDecl,
        interface: &Interface,
        cache: &mut Cache,
    ) -> Option<Linked> {
        let linked = self.linked(decl, &interface.origin, MAX_LINK_DEPTH, cache)?;
        let limit = interface.dialect.limits().schema_depth;
        if linked.levels > limit {
            let reason = format!(
                "the schema nests {} levels, {limit} are allowed",
                linked.levels
            );
            self.problems
                .error(&interface.origin, decl.span.clone(), reason, None);
        }
        Some(linked)
    }

    fn linked(
        &mut self,
        decl: &SchemaDecl,
        origin: &Origin,
        depth: usize,
        cache: &mut Cache,
    ) -> Option<Linked> {
        let Some(depth) = depth.checked_sub(1) else {
            let reason = format!("the schema nests deeper than {MAX_LINK_DEPTH} levels");
            self.problems.error(origin, decl.span.clone(), reason, None);
            return None;
        };
        match &decl.kind {
            SchemaKind::Ready(schema) => Some(Linked {
                schema: schema.clone(),
                levels: 0,
                holds_array: false,
            }),
            SchemaKind::Reference(id) => self.referred(id, decl.span.clone(), origin, depth, cache),
            SchemaKind::Enum(one_of) => {
                let schema = Schema::Enum(self.enumeration(one_of, cache));
                Some(Linked {
                    schema,
                    levels: 0,
                    holds_array: false,
                })
            }
            SchemaKind::Object(fields) => {
                let (mut levels, mut holds_array) = (0, false);
                let mut linked_fields = Vec::with_capacity(fields.len());
                for field in fields {
                    let linked = self.linked(&field.schema, origin, depth, cache)?;
                    levels = levels.max(linked.levels);
                    holds_array |= linked.holds_array;
                    linked_fields.push(Field {
                        name: Arc::clone(&field.name),
                        description: Arc::clone(&field.description),
                        schema: linked.schema,
                    });
                }
                let schema = Schema::Object(Arc::new(linked_fields));
                Some(Linked {
                    schema,
                    levels: levels + 1,
                    holds_array,
                })
            }
            SchemaKind::Array(element) => {
                let inner = self.linked(element, origin, depth, cache)?;
                let schema = Schema::Array(Arc::new(inner.schema));
                Some(Linked {
                    schema,
                    levels: inner.levels + 1,
                    holds_array: true,
                })
            }
            SchemaKind::Map(value) => {
                let inner = self.linked(value, origin, depth, cache)?;
                let schema = Schema::Map(Arc::new(inner.schema));
                Some(Linked {
                    schema,
                    levels: inner.levels + 1,
                    holds_array: inner.holds_array,
                })
            }
        }
    }

    fn referred(
        &mut self,
        id: &Arc<str>,
        span: Range<usize>,
        origin: &Origin,
        depth: usize,
        cache: &mut Cache,
    ) -> Option<Linked> {
        match cache.shared.get(id) {
            Some(Shared::Done(linked)) => return linked.clone(),
            Some(Shared::Open) => {
                let reason = format!("schema `{id}` refers to itself, which is not supported yet");
                self.problems.error(origin, span, reason, None);
                return None;
            }
            None => {}
        }
        let declared = self.declared;
        let Some(shared) = declared.schemas.get(id) else {
            let reason = if self.by_dtmi.contains_key(&**id) {
                format!("`{id}` is an interface, not a schema")
            } else {
                format!("schema `{id}` is not defined in any loaded pack")
            };
            let help = did_you_mean(id, declared.schemas.keys().map(|id| &**id));
            self.problems.error(origin, span, reason, help);
            return None;
        };
        cache.shared.insert(Arc::clone(id), Shared::Open);
        let linked = self.linked(&shared.decl, &shared.origin, depth, cache);
        cache
            .shared
            .insert(Arc::clone(id), Shared::Done(linked.clone()));
        linked
    }

    /// An enumeration whose name another type has goes without one.
    fn enumeration(&mut self, one_of: &EnumSchema, cache: &mut Cache) -> Arc<EnumSchema> {
        if let Some(name) = &one_of.name {
            if let Some(known) = cache.enum_names.get(name)
                && **known == *one_of
            {
                return Arc::clone(known);
            }
            let is_class = self
                .named
                .binary_search_by(|(class, _)| class.cmp(name))
                .is_ok();
            if !cache.enum_names.contains_key(name) && !is_class && !naming::is_reserved_class(name)
            {
                let shared = Arc::new(one_of.clone());
                cache
                    .enum_names
                    .insert(Arc::clone(name), Arc::clone(&shared));
                return shared;
            }
        }
        Arc::new(EnumSchema {
            name: None,
            values: one_of.values.clone(),
        })
    }

    /// A component as an object of its interface's properties, own and inherited.
    fn component(
        &mut self,
        part: &Placed,
        name: &Placed,
        holder: &Interface,
        cache: &mut Cache,
    ) -> Option<Schema> {
        let Some(class) = self.by_dtmi.get(&*part.text).copied() else {
            let help = did_you_mean(&part.text, self.by_dtmi.keys().copied())
                .or_else(|| Some("load the pack that defines it, too".to_owned()));
            let reason = format!("`{}` is not defined in any loaded pack", part.text);
            self.problems
                .error(&holder.origin, part.span.clone(), reason, help);
            return None;
        };
        if let Some(known) = cache.components.get(&class) {
            return known.clone();
        }
        let mut fields = BTreeMap::new();
        let mut left_out = Vec::new();
        let named = self.named;
        for at in self.with_ancestors(class) {
            let (_, interface) = &named[at.0 as usize];
            for content in &interface.contents {
                match &content.kind {
                    ContentKind::Property { schema, .. } => {
                        if let Some(schema) = self.schema(schema, interface, cache) {
                            let description = content.text.description.clone().unwrap_or_default();
                            let name = Arc::clone(&content.name.text);
                            fields.insert(
                                Arc::clone(&name),
                                Field {
                                    name,
                                    description,
                                    schema,
                                },
                            );
                        }
                    }
                    ContentKind::Component { .. } => {
                        let reason = format!(
                            "component `{}` has a component itself (`{}`), which DTDL v2 to v4 do not allow",
                            name.text, content.name.text,
                        );
                        self.problems
                            .error(&holder.origin, part.span.clone(), reason, None);
                    }
                    ContentKind::Telemetry { .. } | ContentKind::Relationship { .. } => {
                        left_out.push(&*content.name.text);
                    }
                    ContentKind::Command => {}
                }
            }
        }
        if !left_out.is_empty() {
            let reason = format!(
                "component `{}` carries properties only for now; left out: {}",
                name.text,
                left_out.join(", "),
            );
            self.problems
                .warning(&holder.origin, part.span.clone(), reason, None);
        }
        let schema = if fields.is_empty() {
            let reason = format!(
                "component `{}` has no properties; it is left out",
                name.text
            );
            self.problems
                .warning(&holder.origin, part.span.clone(), reason, None);
            None
        } else {
            Some(Schema::Object(Arc::new(fields.into_values().collect())))
        };
        cache.components.insert(class, schema.clone());
        schema
    }

    fn with_ancestors(&self, class: ClassId) -> BTreeSet<ClassId> {
        let mut found = BTreeSet::from([class]);
        let mut next = vec![class];
        while let Some(class) = next.pop() {
            for parent in &self.parents[class.0 as usize] {
                if found.insert(*parent) {
                    next.push(*parent);
                }
            }
        }
        found
    }
}
