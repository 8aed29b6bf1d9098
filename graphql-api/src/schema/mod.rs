//! The GraphQL schema, generated from the ontology: what may be asked, with the model's own words.
//!
//! # Invariants
//! - The same ontology gives the same SDL, byte for byte.
//! - No two types share a name: a clash is an error that names both.
//! - Nothing here answers anything. The frame validates and introspects; answers are made by
//!   `exec`, which never lets the frame resolve a field.

mod changes;
mod graph;
mod inputs;
mod letters;
mod search;
mod values;
mod writes;

pub(crate) use inputs::{OWN_CONDITIONS, is_ordered};
pub(crate) use values::object_name;

use std::collections::BTreeMap;

use async_graphql::Value;
use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputValue, Interface, InterfaceField, Object,
    Scalar, Schema, SchemaBuilder, Type, TypeRef,
};
use ontology::{Class, Property, Telemetry};

use crate::api::{Api, TwinType};
use crate::exec::Aggregate;
use crate::frame::FrameExtension;
use crate::limits::{DEFAULT_PAGE, MAX_NESTING, MAX_PAGE};

/// Why no schema can be made of an ontology.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Two things of the model want the same type name.
    #[error(
        "the API type `{name}` would be made both of {first} and of {second}: rename one in its model"
    )]
    Clash {
        /// The name.
        name: String,
        /// What has it.
        first: String,
        /// What wants it too.
        second: String,
    },
    /// The frame refused the schema.
    #[error("the schema is not valid GraphQL: {0}")]
    Invalid(String),
}

/// The schema of an ontology.
pub(crate) fn build(api: &Api) -> Result<Schema, SchemaError> {
    let mut types = Types {
        builder: Some(Schema::build(
            "Query",
            Some("Mutation"),
            Some("Subscription"),
        )),
        made: BTreeMap::new(),
    };
    scalars(&mut types)?;
    inputs::shared(&mut types)?;
    twin_types(&mut types)?;
    graph::declare(&mut types)?;
    letters::declare(&mut types)?;
    search::declare(&mut types)?;
    writes::shared(&mut types)?;
    for class in api.ontology.classes() {
        class_types(&mut types, api, class)?;
        inputs::of_class(&mut types, api, class)?;
        writes::of_class(&mut types, api, class)?;
    }
    types.add("the API", query(api))?;
    types.add("the API", writes::mutation(api))?;
    changes::declare(&mut types)?;
    let builder = types.builder.take();
    let finished = builder.map(|builder| {
        builder
            .extension(FrameExtension)
            .limit_recursive_depth(2 * MAX_NESTING)
            .finish()
    });
    match finished {
        Some(Ok(schema)) => Ok(schema),
        Some(Err(error)) => Err(SchemaError::Invalid(error.to_string())),
        None => Err(SchemaError::Invalid("the builder is gone".to_owned())),
    }
}

/// The types made so far.
struct Types {
    /// Taken and put back by each registration, because the builder moves.
    builder: Option<SchemaBuilder>,
    /// What each type was made of, by name.
    made: BTreeMap<String, String>,
}

impl Types {
    fn has(&self, name: &str) -> bool {
        self.made.contains_key(name)
    }

    fn add(&mut self, of: &str, ty: impl Into<Type>) -> Result<(), SchemaError> {
        let ty = ty.into();
        let name = name_of(&ty).to_owned();
        if let Some(first) = self.made.get(&name) {
            let (first, second) = (first.clone(), of.to_owned());
            return Err(SchemaError::Clash {
                name,
                first,
                second,
            });
        }
        self.made.insert(name, of.to_owned());
        self.builder = self.builder.take().map(|builder| builder.register(ty));
        Ok(())
    }
}

fn name_of(ty: &Type) -> &str {
    match ty {
        Type::Scalar(ty) => ty.type_name(),
        Type::Object(ty) => ty.type_name(),
        Type::InputObject(ty) => ty.type_name(),
        Type::Enum(ty) => ty.type_name(),
        Type::Interface(ty) => ty.type_name(),
        Type::Union(ty) => ty.type_name(),
        Type::Subscription(ty) => ty.type_name(),
        Type::Upload => TypeRef::UPLOAD,
    }
}

/// A field of an output type. The frame must never resolve one: `exec` answers.
fn field(name: &str, ty: TypeRef) -> Field {
    Field::new(name, ty, |_| {
        FieldFuture::new(async { Ok(FieldValue::NONE) })
    })
}

fn scalars(types: &mut Types) -> Result<(), SchemaError> {
    let text = |value: &Value| matches!(value, Value::String(_));
    let whole = |value: &Value| match value {
        Value::String(text) => text.parse::<i64>().is_ok(),
        Value::Number(number) => number.is_i64() || number.is_u64(),
        _ => false,
    };
    let of = "the API";
    types.add(
        of,
        Scalar::new("BigInt")
            .description(
                "A 64-bit integer as text, such as \"9007199254740993\"; a number is taken too.",
            )
            .validator(whole),
    )?;
    types.add(of, Scalar::new("DateTime").description("An instant, RFC 3339 in UTC with at most six decimals, such as 2026-01-31T08:30:00Z.").validator(text))?;
    types.add(
        of,
        Scalar::new("Date")
            .description("A day, such as 2026-01-31.")
            .validator(text),
    )?;
    types.add(
        of,
        Scalar::new("Time")
            .description("A wall-clock time, such as 08:30:00.")
            .validator(text),
    )?;
    types.add(
        of,
        Scalar::new("Duration")
            .description("An ISO 8601 duration, such as PT30M.")
            .validator(text),
    )?;
    types.add(
        of,
        Scalar::new("Geometry")
            .description("A GeoJSON geometry in WGS 84 longitude and latitude, heights in metres."),
    )?;
    types.add(of, Scalar::new("JSON").description("Any JSON value."))
}

const TWIN: &str = "A thing of the nation: its structure, where it is and what it is related to. \
    Data may be synthetic; where a class has the property `synthetic`, it says so of each twin.";

/// The fields that every twin has of its own: name, type, description.
fn own_fields() -> [(&'static str, TypeRef, &'static str); 6] {
    [
        (
            "id",
            TypeRef::named_nn(TypeRef::ID),
            "Chosen by the twin's source; unique in the nation.",
        ),
        (
            "class",
            TypeRef::named_nn(TypeRef::STRING),
            "Name of the twin's class.",
        ),
        (
            "label",
            TypeRef::named(TypeRef::STRING),
            "What people call it.",
        ),
        (
            "revision",
            TypeRef::named_nn(TypeRef::STRING),
            "Changes with each structural change of the twin; compare for equality only.",
        ),
        (
            "geometry",
            TypeRef::named("Geometry"),
            "Where it is; a reading of its location moves it.",
        ),
        (
            "related",
            TypeRef::named_nn("RelatedConnection"),
            "Twins it is related to, by id.",
        ),
    ]
}

fn related_arguments() -> Vec<InputValue> {
    let mut arguments = vec![
        InputValue::new("relationship", TypeRef::named(TypeRef::STRING))
            .description("Only relationships of this name."),
        InputValue::new("direction", TypeRef::named("Direction"))
            .default_value(Value::Enum(async_graphql::Name::new("OUT")))
            .description("OUT: from this twin; IN: to this twin."),
        InputValue::new("class", TypeRef::named(TypeRef::STRING))
            .description("Only twins of this class, subclasses included."),
    ];
    arguments.extend(page_arguments());
    arguments
}

fn page_arguments() -> [InputValue; 2] {
    [
        InputValue::new("first", TypeRef::named(TypeRef::INT))
            .default_value(Value::from(DEFAULT_PAGE))
            .description(format!("How many at most; {MAX_PAGE} is the largest.")),
        InputValue::new("after", TypeRef::named(TypeRef::STRING))
            .description("Go on after this cursor."),
    ]
}

/// Types that do not depend on the ontology.
fn twin_types(types: &mut Types) -> Result<(), SchemaError> {
    let of = "the API";
    types.add(of, own_interface(Interface::new("Twin").description(TWIN)))?;
    types.add(
        of,
        Enum::new("Direction")
            .description("Which way a relationship is followed.")
            .item(EnumItem::new("OUT").description("From source to target."))
            .item(EnumItem::new("IN").description("From target to source.")),
    )?;
    let page = [
        (
            "hasNextPage",
            TypeRef::named_nn(TypeRef::BOOLEAN),
            "Whether there are more after this page.",
        ),
        (
            "hasPreviousPage",
            TypeRef::named_nn(TypeRef::BOOLEAN),
            "Whether this page was asked for after another.",
        ),
        (
            "startCursor",
            TypeRef::named(TypeRef::STRING),
            "Cursor of the first edge.",
        ),
        (
            "endCursor",
            TypeRef::named(TypeRef::STRING),
            "Cursor of the last edge; give it as `after`.",
        ),
    ];
    let page = page.into_iter().fold(
        Object::new("PageInfo").description("Where a page stands in its list."),
        |object, (name, ty, about)| object.field(field(name, ty).description(about)),
    );
    types.add(of, page)?;
    connection(types, "Twin", "Twin")?;
    let edge = edge_type("Related", "Twin")
        .field(
            field("relationship", TypeRef::named_nn(TypeRef::STRING))
                .description("Name of the relationship."),
        )
        .field(
            field("direction", TypeRef::named_nn("Direction"))
                .description("Which way it was followed."),
        )
        .field(
            field("properties", TypeRef::named("JSON"))
                .description("Properties of the relationship itself; null if it has none."),
        );
    types.add(of, edge)?;
    types.add(of, connection_type("Related"))?;
    types.add(
        of,
        Object::new("Near")
            .description("A twin and how far it is.")
            .field(field("twin", TypeRef::named_nn("Twin")).description("The twin."))
            .field(
                field("metres", TypeRef::named_nn(TypeRef::FLOAT))
                    .description("Geodesic metres from the point to the nearest part of the twin."),
            ),
    )?;
    types.add(
        of,
        Object::new("Reading")
            .description("The newest measurement of a twin.")
            .field(
                field("value", TypeRef::named_nn("JSON"))
                    .description("What was measured, as the model's schema says."),
            )
            .field(
                field("unit", TypeRef::named(TypeRef::STRING))
                    .description("Unit of the value, where the model gives one."),
            )
            .field(field("ts", TypeRef::named_nn("DateTime")).description("When it was measured."))
            .field(field("arrived", TypeRef::named_nn("DateTime")).description("When it arrived."))
            .field(
                field("history", TypeRef::named_nn_list_nn("PastReading"))
                    .description("Earlier readings as they came, oldest first.")
                    .argument(inputs::input(
                        "from",
                        TypeRef::named_nn("DateTime"),
                        "Only what was measured then or later.",
                    ))
                    .argument(inputs::input(
                        "to",
                        TypeRef::named("DateTime"),
                        "Only what was measured before.",
                    ))
                    .argument(
                        inputs::input(
                            "first",
                            TypeRef::named(TypeRef::INT),
                            &format!("How many at most; {MAX_PAGE} is the largest."),
                        )
                        .default_value(Value::from(MAX_PAGE)),
                    )
                    .argument(inputs::input(
                        "every",
                        TypeRef::named("Duration"),
                        "Sums readings up by windows of this length, aligned to 1970-01-01T00:00Z, \
                         instead of giving each; windows without a reading are left out.",
                    ))
                    .argument(inputs::input(
                        "aggregate",
                        TypeRef::named("HistoryAggregate"),
                        "What becomes of the readings of a window; the mean if nothing is said.",
                    )),
            ),
    )?;
    let aggregates = Aggregate::ALL.into_iter();
    types.add(
        of,
        aggregates.fold(
            Enum::new("HistoryAggregate")
                .description("What becomes of the readings of a window of time."),
            |list, (name, _, about)| list.item(EnumItem::new(name).description(about)),
        ),
    )?;
    types.add(
        of,
        Object::new("PastReading")
            .description("An earlier measurement of a twin, or what became of those of a window.")
            .field(field("value", TypeRef::named_nn("JSON")).description(
                "What was measured, as the model's schema says, or what `aggregate` says.",
            ))
            .field(
                field("unit", TypeRef::named(TypeRef::STRING))
                    .description("Unit of the value, where the model gives one."),
            )
            .field(
                field("ts", TypeRef::named_nn("DateTime"))
                    .description("When it was measured, or where the window begins."),
            )
            .field(field("arrived", TypeRef::named("DateTime")).description(
                "When it arrived, of readings from before today to the second; null for a window.",
            )),
    )
}

fn own_interface(interface: Interface) -> Interface {
    own_fields()
        .into_iter()
        .fold(interface, |interface, (name, ty, about)| {
            let mut field = InterfaceField::new(name, ty).description(about);
            if name == "related" {
                field = related_arguments()
                    .into_iter()
                    .fold(field, InterfaceField::argument);
            }
            interface.field(field)
        })
}

/// The edge and connection types of a type of twins.
fn connection(types: &mut Types, prefix: &str, node: &str) -> Result<(), SchemaError> {
    types.add(node, edge_type(prefix, node))?;
    types.add(node, connection_type(prefix))
}

fn edge_type(prefix: &str, node: &str) -> Object {
    Object::new(format!("{prefix}Edge"))
        .description("One of a list.")
        .field(
            field("cursor", TypeRef::named_nn(TypeRef::STRING))
                .description("Give it as `after` to go on from here."),
        )
        .field(field("node", TypeRef::named_nn(node)).description("The twin."))
}

fn connection_type(prefix: &str) -> Object {
    Object::new(format!("{prefix}Connection"))
        .description("A page of a list.")
        .field(
            field("totalCount", TypeRef::named_nn(TypeRef::INT))
                .description("How many the whole list holds; counted only if asked for."),
        )
        .field(
            field("edges", TypeRef::named_nn_list_nn(format!("{prefix}Edge")))
                .description("This page."),
        )
        .field(
            field("pageInfo", TypeRef::named_nn("PageInfo")).description("Where this page stands."),
        )
}

fn class_types(types: &mut Types, api: &Api, class: &Class) -> Result<(), SchemaError> {
    let of = format!("class {} of pack {}", class.name, class.pack);
    for property in &class.properties {
        let owner = &api.class(property.declared_by).name;
        values::declare(types, owner, &property.name, &property.schema)?;
    }
    let mut interfaces = vec!["Twin".to_owned()];
    interfaces.extend(
        class
            .ancestors
            .iter()
            .map(|id| api.type_name(TwinType::Any(*id))),
    );
    let about = about_class(class);
    if class.descendants.is_empty() {
        connection(types, &class.name, &class.name)?;
    } else {
        let name = api.type_name(TwinType::Any(class.id));
        let text = format!("A {} or one of its kinds. {about}", class.label);
        let mut interface = own_interface(Interface::new(&*name).description(text));
        for parent in &interfaces {
            interface = interface.implement(parent);
        }
        for member in members(api, class) {
            let Member {
                name,
                ty,
                about,
                arguments,
            } = member;
            let field = InterfaceField::new(name, ty).description(about);
            interface =
                interface.field(arguments.into_iter().fold(field, InterfaceField::argument));
        }
        types.add(&of, interface)?;
        interfaces.push(name.clone());
        connection(types, &name, &name)?;
    }
    let mut object = Object::new(&*class.name).description(about);
    for interface in interfaces {
        object = object.implement(interface);
    }
    for (name, ty, about) in own_fields() {
        let mut own = field(name, ty).description(about);
        if name == "related" {
            own = related_arguments().into_iter().fold(own, Field::argument);
        }
        object = object.field(own);
    }
    for member in members(api, class) {
        let Member {
            name,
            ty,
            about,
            arguments,
        } = member;
        let member = field(&name, ty).description(about);
        object = object.field(arguments.into_iter().fold(member, Field::argument));
    }
    types.add(&of, object)
}

fn about_class(class: &Class) -> String {
    let mut about = if class.description.is_empty() {
        class.label.to_string()
    } else {
        class.description.to_string()
    };
    if class.property("synthetic").is_some() {
        about.push_str(" Data may be synthetic: ask for `synthetic`.");
    }
    about
}

/// A field that the model gives a class.
struct Member {
    name: String,
    ty: TypeRef,
    about: String,
    arguments: Vec<InputValue>,
}

fn members(api: &Api, class: &Class) -> Vec<Member> {
    let mut members = Vec::new();
    for property in &class.properties {
        let Property {
            name,
            label,
            description,
            schema,
            unit,
            personal,
            writable: _,
            declared_by,
        } = property;
        let ty = values::type_ref(&api.class(*declared_by).name, name, schema);
        let mut about = described(label, description, unit.as_deref());
        if *personal {
            about.push_str(" Says something about a person.");
        }
        members.push(Member {
            name: name.to_string(),
            ty,
            about,
            arguments: Vec::new(),
        });
    }
    for telemetry in &class.telemetry {
        let Telemetry {
            name,
            label,
            description,
            unit,
            schema: _,
            declared_by: _,
        } = telemetry;
        let about = format!(
            "{} The newest reading.",
            described(label, description, unit.as_deref())
        );
        let ty = TypeRef::named("Reading");
        members.push(Member {
            name: name.to_string(),
            ty,
            about,
            arguments: Vec::new(),
        });
    }
    for relationship in &class.relationships {
        let target = api.type_name(api.target(relationship.target));
        let about = described(&relationship.label, &relationship.description, None);
        let (ty, arguments) = if relationship.max == Some(1) {
            (TypeRef::named(target), Vec::new())
        } else {
            (
                TypeRef::named_nn(format!("{target}Connection")),
                page_arguments().into(),
            )
        };
        members.push(Member {
            name: relationship.name.to_string(),
            ty,
            about,
            arguments,
        });
    }
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

fn described(label: &str, description: &str, unit: Option<&str>) -> String {
    let mut about = if description.is_empty() {
        label.to_owned()
    } else {
        description.to_owned()
    };
    if !about.ends_with(['.', '!', '?']) {
        about.push('.');
    }
    if let Some(unit) = unit {
        about.push_str(" Unit: ");
        about.push_str(unit);
        about.push('.');
    }
    about
}

fn query(api: &Api) -> Object {
    let argument =
        |name: &str, ty: TypeRef, about: &str| InputValue::new(name, ty).description(about);
    let subclasses = "Name of a class; its subclasses are included.";
    let mut query = Object::new("Query")
        .description("Every answer speaks of one instant; `extensions.position` names it.");
    query = query.field(
        field("twin", TypeRef::named("Twin"))
            .description("The twin of an id; null if there is none.")
            .argument(argument(
                "id",
                TypeRef::named_nn(TypeRef::ID),
                "The twin's id.",
            )),
    );
    let nearest = field("nearest", TypeRef::named_nn_list_nn("Near"))
        .description(
            "The twins of a class nearest to a point, nearest first; ties go to the lowest id.",
        )
        .argument(argument(
            "class",
            TypeRef::named_nn(TypeRef::STRING),
            subclasses,
        ))
        .argument(argument(
            "to",
            TypeRef::named_nn("PointInput"),
            "The point.",
        ))
        .argument(
            argument("k", TypeRef::named(TypeRef::INT), "How many at most.")
                .default_value(Value::from(10)),
        )
        .argument(argument(
            "where",
            TypeRef::named("JSON"),
            "Conditions, shaped as the class's `Where` input.",
        ));
    let containing = field("containing", TypeRef::named_nn_list_nn("Twin"))
        .description("Twins whose shape holds the point, its boundary included, by id.")
        .argument(argument(
            "point",
            TypeRef::named_nn("PointInput"),
            "The point.",
        ))
        .argument(argument(
            "class",
            TypeRef::named(TypeRef::STRING),
            subclasses,
        ));
    let position = field("position", TypeRef::named_nn(TypeRef::STRING)).description(
        "The instant that this answer speaks of; give it back as header `Twin-After`.",
    );
    let more = graph::fields().into_iter().chain(letters::fields());
    let more = more.chain([search::field()]);
    for field in [nearest, containing, position].into_iter().chain(more) {
        query = query.field(field);
    }
    for class in api.ontology.classes() {
        let ty = api.type_name(api.twins_of(class.id));
        let more = if class.descendants.is_empty() {
            ""
        } else {
            " Subclasses are included."
        };
        let list = field(&class.plural, TypeRef::named_nn(format!("{ty}Connection")))
            .description(format!("{}{more}", about_class(class)))
            .argument(argument(
                "where",
                TypeRef::named(format!("{}Where", class.name)),
                "Conditions; all must hold.",
            ))
            .argument(argument(
                "space",
                TypeRef::named("Space"),
                "Only twins in this region.",
            ))
            .argument(argument(
                "orderBy",
                TypeRef::named_nn_list(format!("{}Order", class.name)),
                "Sort by these; ties and the default are by id, absent values come last.",
            ));
        query = query.field(page_arguments().into_iter().fold(list, Field::argument));
    }
    query
}
