//! Types of values: enumerations and objects that the model's schemas declare.

use async_graphql::dynamic::{Enum, EnumItem, Object, TypeRef};
use ontology::{EnumSchema, Schema, Value};

use super::{SchemaError, Types, field};
use crate::api::{Shown, capitalised, shown};

/// The nullable type of a member's values.
pub(super) fn type_ref(owner: &str, member: &str, schema: &Schema) -> TypeRef {
    match shown(schema) {
        Shown::Scalar(name) => TypeRef::named(name),
        Shown::Enum(one_of) => TypeRef::named(enum_name(owner, member, &one_of)),
        Shown::Object => TypeRef::named(object_name(owner, member)),
        Shown::List(_) => match schema {
            Schema::Array(element) => TypeRef::List(Box::new(TypeRef::NonNull(Box::new(
                type_ref(owner, member, element),
            )))),
            _ => TypeRef::named("JSON"),
        },
    }
}

/// The name of an enumeration: the model's, else made of the member that it is for.
pub(super) fn enum_name(owner: &str, member: &str, one_of: &EnumSchema) -> String {
    match &one_of.name {
        Some(name) if crate::api::is_name(name) => capitalised(name),
        _ => object_name(owner, member),
    }
}

/// The name of the type of an object value, made of the member that it is for.
pub(crate) fn object_name(owner: &str, member: &str) -> String {
    format!("{owner}{}", capitalised(member))
}

/// Makes the types that a member's values need. Members are inherited, so a type may be there
/// already; one of the same name from another schema is a clash.
pub(super) fn declare(
    types: &mut Types,
    owner: &str,
    member: &str,
    schema: &Schema,
) -> Result<(), SchemaError> {
    match (shown(schema), schema) {
        (Shown::Enum(one_of), _) => {
            let name = enum_name(owner, member, &one_of);
            let origin = format!("an enumeration of {}", values_of(&one_of));
            if types.made.get(&name) == Some(&origin) {
                return Ok(());
            }
            let mut kind = Enum::new(name);
            for value in &one_of.values {
                if let Value::Text(text) = &value.value {
                    let item = EnumItem::new(&**text);
                    kind = kind.item(if value.description.is_empty() {
                        item
                    } else {
                        item.description(&*value.description)
                    });
                }
            }
            types.add(&origin, kind)
        }
        (Shown::Object, Schema::Object(fields)) => {
            let name = object_name(owner, member);
            let origin = format!("the value of {owner}.{member}");
            if types.made.get(&name) == Some(&origin) {
                return Ok(());
            }
            let mut object = Object::new(&*name);
            for part in fields.iter() {
                declare(types, &name, &part.name, &part.schema)?;
                let shown = field(&part.name, type_ref(&name, &part.name, &part.schema));
                object = object.field(if part.description.is_empty() {
                    shown
                } else {
                    shown.description(&*part.description)
                });
            }
            types.add(&origin, object)
        }
        (Shown::List(_), Schema::Array(element)) => declare(types, owner, member, element),
        _ => Ok(()),
    }
}

fn values_of(one_of: &EnumSchema) -> String {
    let values = one_of.values.iter().filter_map(|value| match &value.value {
        Value::Text(text) => Some(&**text),
        _ => None,
    });
    values.collect::<Vec<_>>().join(", ")
}
