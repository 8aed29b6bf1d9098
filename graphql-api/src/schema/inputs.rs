//! Input types: conditions, orders, regions and points.

use async_graphql::Value;
use async_graphql::dynamic::{Enum, EnumItem, InputObject, InputValue, TypeRef};
use ontology::{Class, Schema};

use super::values::enum_name;
use super::{SchemaError, Types};
use crate::api::{Api, Shown, shown};

/// Names that a `where` input has of its own; a property of such a name has no condition.
pub(crate) const OWN_CONDITIONS: [&str; 3] = ["id", "or", "not"];

/// Input types that do not depend on the ontology.
pub(super) fn shared(types: &mut Types) -> Result<(), SchemaError> {
    let of = "the API";
    for scalar in [
        "Int", "Float", "BigInt", "Date", "DateTime", "Time", "Duration",
    ] {
        types.add(of, ordered(&format!("{scalar}Filter"), scalar))?;
    }
    for (name, scalar) in [("StringFilter", "String"), ("IDFilter", "ID")] {
        let filter = ordered(name, scalar)
            .field(operand(
                "startsWith",
                "String",
                "Begins with this text; case counts.",
            ))
            .field(operand(
                "contains",
                "String",
                "Holds this text; case counts.",
            ));
        types.add(of, filter)?;
    }
    types.add(of, equal("BooleanFilter", "Boolean"))?;
    types.add(
        of,
        present("ListFilter", "Conditions on a list; all must hold.").field(operand(
            "contains",
            "JSON",
            "Holds this value.",
        )),
    )?;
    types.add(of, present("PresenceFilter", "Whether there is a value."))?;
    types.add(
        of,
        Enum::new("OrderDirection")
            .description("Absent values come last either way.")
            .item(EnumItem::new("ASC").description("Smallest first."))
            .item(EnumItem::new("DESC").description("Largest first.")),
    )?;
    types.add(
        of,
        Enum::new("SpaceRelation")
            .description("How a twin lies to a region; a boundary counts as inside.")
            .item(EnumItem::new("INTERSECTS").description("They have a point in common."))
            .item(EnumItem::new("WITHIN").description("The whole twin is inside.")),
    )?;
    types.add(
        of,
        InputObject::new("PointInput")
            .description("WGS 84, degrees.")
            .field(input(
                "lon",
                TypeRef::named_nn(TypeRef::FLOAT),
                "Longitude, -180 to 180.",
            ))
            .field(input(
                "lat",
                TypeRef::named_nn(TypeRef::FLOAT),
                "Latitude, -90 to 90.",
            )),
    )?;
    types.add(
        of,
        InputObject::new("RadiusInput")
            .description("Everything at most so far from a point.")
            .field(input(
                "center",
                TypeRef::named_nn("PointInput"),
                "The point.",
            ))
            .field(input(
                "metres",
                TypeRef::named_nn(TypeRef::FLOAT),
                "Geodesic metres.",
            )),
    )?;
    types.add(
        of,
        InputObject::new("Space")
            .description("A region: exactly one of box, radius, polygon, cells, inside.")
            .field(input(
                "box",
                TypeRef::named_nn_list(TypeRef::FLOAT),
                "[west, south, east, north] in degrees.",
            ))
            .field(input("radius", TypeRef::named("RadiusInput"), "A circle."))
            .field(input(
                "polygon",
                TypeRef::named("Geometry"),
                "A GeoJSON Polygon or MultiPolygon.",
            ))
            .field(input(
                "cells",
                TypeRef::named_nn_list(TypeRef::STRING),
                "H3 cells, hexadecimal.",
            ))
            .field(input(
                "inside",
                TypeRef::named(TypeRef::ID),
                "The area of this twin.",
            ))
            .field(
                input(
                    "relation",
                    TypeRef::named("SpaceRelation"),
                    "How a twin must lie to it.",
                )
                .default_value(Value::Enum(async_graphql::Name::new("INTERSECTS"))),
            ),
    )?;
    types.add(
        of,
        InputObject::new("TwinWhere")
            .description("Conditions on twins of any class; all must hold.")
            .field(input("id", TypeRef::named("IDFilter"), "By id."))
            .field(input(
                "or",
                TypeRef::named_nn_list("TwinWhere"),
                "At least one of these holds.",
            ))
            .field(input(
                "not",
                TypeRef::named("TwinWhere"),
                "This does not hold.",
            )),
    )
}

pub(super) fn input(name: &str, ty: TypeRef, about: &str) -> InputValue {
    InputValue::new(name, ty).description(about)
}

fn operand(name: &str, scalar: &str, about: &str) -> InputValue {
    input(name, TypeRef::named(scalar), about)
}

fn present(name: &str, about: &str) -> InputObject {
    InputObject::new(name).description(about).field(operand(
        "isNull",
        "Boolean",
        "Whether there is no value.",
    ))
}

fn equal(name: &str, scalar: &str) -> InputObject {
    present(name, "Conditions on one value; all must hold. An absent value only fits `ne` and `isNull: true`.")
        .field(operand("eq", scalar, "Is this."))
        .field(operand("ne", scalar, "Is not this."))
        .field(input("in", TypeRef::named_nn_list(scalar), "Is one of these."))
}

fn ordered(name: &str, scalar: &str) -> InputObject {
    equal(name, scalar)
        .field(operand("gt", scalar, "Is greater."))
        .field(operand("gte", scalar, "Is greater or this."))
        .field(operand("lt", scalar, "Is less."))
        .field(operand("lte", scalar, "Is less or this."))
        .field(input(
            "between",
            TypeRef::named_nn_list(scalar),
            "Is at least the first and at most the second of two.",
        ))
}

/// `…Where` and `…Order` of a class.
pub(super) fn of_class(types: &mut Types, api: &Api, class: &Class) -> Result<(), SchemaError> {
    let of = format!("class {}", class.name);
    let name = format!("{}Where", class.name);
    let mut conditions = InputObject::new(&*name)
        .description(format!(
            "Conditions on twins of class {}; all must hold.",
            class.name
        ))
        .field(input("id", TypeRef::named("IDFilter"), "By id."))
        .field(input(
            "or",
            TypeRef::named_nn_list(&*name),
            "At least one of these holds.",
        ))
        .field(input("not", TypeRef::named(&*name), "This does not hold."));
    let mut order = InputObject::new(format!("{}Order", class.name))
        .description("One property and a direction.")
        .field(input("id", TypeRef::named("OrderDirection"), "By id."))
        .oneof();
    for property in &class.properties {
        if OWN_CONDITIONS.contains(&&*property.name) {
            continue;
        }
        let owner = &api.class(property.declared_by).name;
        let filter = filter(types, &of, owner, &property.name, &property.schema)?;
        conditions = conditions.field(input(
            &property.name,
            TypeRef::named(filter),
            &property.label,
        ));
        if is_ordered(&property.schema) {
            order = order.field(input(
                &property.name,
                TypeRef::named("OrderDirection"),
                &property.label,
            ));
        }
    }
    for relationship in &class.relationships {
        if OWN_CONDITIONS.contains(&&*relationship.name) {
            continue;
        }
        let target = relationship
            .target
            .map_or("Twin", |target| &api.class(target).name);
        let about = format!("{}: some related twin fits.", relationship.label);
        let ty = TypeRef::named(format!("{target}Where"));
        conditions = conditions.field(input(&relationship.name, ty, &about));
    }
    types.add(&of, conditions)?;
    types.add(&of, order)
}

/// Whether lists can be sorted by values of a schema.
pub(crate) fn is_ordered(schema: &Schema) -> bool {
    matches!(shown(schema), Shown::Scalar(name) if !matches!(name, "JSON" | "Geometry"))
        || matches!(shown(schema), Shown::Enum(_))
}

/// The name of the filter of a schema's values; that of an enumeration is made where it is missing.
fn filter(
    types: &mut Types,
    of: &str,
    owner: &str,
    member: &str,
    schema: &Schema,
) -> Result<String, SchemaError> {
    Ok(match shown(schema) {
        Shown::Scalar("JSON" | "Geometry") | Shown::Object => "PresenceFilter".to_owned(),
        Shown::Scalar(scalar) => format!("{scalar}Filter"),
        Shown::List(_) => "ListFilter".to_owned(),
        Shown::Enum(one_of) => {
            let kind = enum_name(owner, member, &one_of);
            let name = format!("{kind}Filter");
            if !types.has(&name) {
                types.add(of, equal(&name, &kind))?;
            }
            name
        }
    })
}
