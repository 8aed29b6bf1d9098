//! What may be written: the root Mutation, its inputs and what it answers with.

use async_graphql::Value;
use async_graphql::dynamic::{InputObject, InputValue, Object, TypeRef};
use ontology::{Class, Schema};

use super::inputs::input;
use super::values::{enum_name, object_name};
use super::{SchemaError, Types, field};
use crate::api::{Api, Shown, shown};

const EXPECT: &str = "Refuse unless the twin's `revision` is this, or it is \"absent\".";
const KEY: &str = "The same request under the same key gets the same receipt for 24 hours; another \
    request under it is a CONFLICT.";

/// Inputs and answers of mutations that do not depend on the ontology.
pub(super) fn shared(types: &mut Types) -> Result<(), SchemaError> {
    let of = "the API";
    let text = || TypeRef::named(TypeRef::STRING);
    let required = || TypeRef::named_nn(TypeRef::STRING);
    let id = || TypeRef::named_nn(TypeRef::ID);
    let put = InputObject::new("PutInput")
        .description("What to set of a twin; what is not named stays as it is.")
        .field(input("class", required(), "Name of its class."))
        .field(input("id", id(), "Its id."))
        .field(input(
            "set",
            TypeRef::named("JSON"),
            "Properties by name; null clears one.",
        ))
        .field(input(
            "geometry",
            TypeRef::named("Geometry"),
            "Where it is; null clears it.",
        ))
        .field(input("expect", text(), EXPECT));
    let delete = InputObject::new("DeleteInput")
        .description("A twin to remove.")
        .field(input("id", id(), "Its id."))
        .field(input("expect", text(), EXPECT))
        .field(detach());
    let relate = relate_arguments().into_iter().fold(
        InputObject::new("RelateInput").description("Two twins to relate."),
        InputObject::field,
    );
    let unrelate = unrelate_arguments().into_iter().fold(
        InputObject::new("UnrelateInput").description("A relationship to remove."),
        InputObject::field,
    );
    let operation = [
        ("upsert", "PutInput", "Creates the twin, or changes it."),
        ("patch", "PutInput", "Changes a twin that must exist."),
        ("delete", "DeleteInput", "Removes a twin."),
        ("relate", "RelateInput", "Relates two twins."),
        ("unrelate", "UnrelateInput", "Removes a relationship."),
    ];
    let operation = operation.into_iter().fold(
        InputObject::new("Operation")
            .description("One step of a commit: exactly one of these.")
            .oneof(),
        |object, (name, ty, about)| object.field(input(name, TypeRef::named(ty), about)),
    );
    let reading = InputObject::new("ReadingInput")
        .description("One measurement of a twin.")
        .field(input("twin", id(), "The twin."))
        .field(input("telemetry", required(), "Name of the telemetry."))
        .field(input(
            "ts",
            TypeRef::named("DateTime"),
            "When it was measured; without it, when it arrives.",
        ))
        .field(input(
            "value",
            TypeRef::named_nn("JSON"),
            "What was measured, as the model's schema says and in the model's unit.",
        ));
    for object in [put, delete, relate, unrelate, operation, reading] {
        types.add(of, object)?;
    }
    types.add(
        of,
        Object::new("Receipt")
            .description("What was done is durable, and visible to every query from now on.")
            .field(
                field("position", required())
                    .description("The instant at which it has happened; give it as `Twin-After`."),
            )
            .field(
                field("changes", TypeRef::named_nn(TypeRef::INT))
                    .description("Changes it made; 0 where everything already was so."),
            )
            .field(
                field("repeated", TypeRef::named_nn(TypeRef::BOOLEAN)).description(
                    "Whether this is the answer to an earlier request of the same key.",
                ),
            ),
    )
}

fn detach() -> InputValue {
    input(
        "detach",
        TypeRef::named(TypeRef::BOOLEAN),
        "Remove its relationships too; else they refuse the removal.",
    )
    .default_value(Value::Boolean(false))
}

/// Source, relationship and target.
fn edge_arguments() -> Vec<InputValue> {
    vec![
        input("source", TypeRef::named_nn(TypeRef::ID), "Where it starts."),
        input(
            "relationship",
            TypeRef::named_nn(TypeRef::STRING),
            "Its name.",
        ),
        input("target", TypeRef::named_nn(TypeRef::ID), "Where it ends."),
    ]
}

fn relate_arguments() -> Vec<InputValue> {
    let mut arguments = edge_arguments();
    arguments.extend([
        input(
            "properties",
            TypeRef::named("JSON"),
            "Properties of the relationship by name; null clears one, what is not named stays.",
        ),
        input(
            "expect",
            TypeRef::named(TypeRef::STRING),
            "Refuse unless the source's `revision` is this.",
        ),
        input(
            "replace",
            TypeRef::named(TypeRef::BOOLEAN),
            "Where the source has as many targets as the model allows: instead of them.",
        )
        .default_value(Value::Boolean(false)),
    ]);
    arguments
}

fn unrelate_arguments() -> Vec<InputValue> {
    let mut arguments = edge_arguments();
    arguments.push(input(
        "expect",
        TypeRef::named(TypeRef::STRING),
        "Refuse unless the source's `revision` is this.",
    ));
    arguments
}

/// `…Input` of a class.
pub(super) fn of_class(types: &mut Types, api: &Api, class: &Class) -> Result<(), SchemaError> {
    let of = format!("what may be set of class {}", class.name);
    let mut object = InputObject::new(format!("{}Input", class.name))
        .description(format!(
            "What to set of a twin of class {}: null clears a property, what is not named stays.",
            class.name
        ))
        .field(input("id", TypeRef::named_nn(TypeRef::ID), "Its id."))
        .field(input(
            "geometry",
            TypeRef::named("Geometry"),
            "Where it is; null clears it.",
        ));
    for property in &class.properties {
        let owner = &api.class(property.declared_by).name;
        let ty = input_type(types, owner, &property.name, &property.schema)?;
        object = object.field(input(&property.name, ty, &property.label));
    }
    types.add(&of, object)
}

/// The nullable input type of a member's values; that of an object is made where it is missing.
fn input_type(
    types: &mut Types,
    owner: &str,
    member: &str,
    schema: &Schema,
) -> Result<TypeRef, SchemaError> {
    Ok(match (shown(schema), schema) {
        (Shown::Scalar(name), _) => TypeRef::named(name),
        (Shown::Enum(one_of), _) => TypeRef::named(enum_name(owner, member, &one_of)),
        (Shown::List(_), Schema::Array(element)) => TypeRef::List(Box::new(TypeRef::NonNull(
            Box::new(input_type(types, owner, member, element)?),
        ))),
        (Shown::Object, Schema::Object(fields)) => {
            let inner = object_name(owner, member);
            let name = format!("{inner}Input");
            let origin = format!("the input of {owner}.{member}");
            if types.made.get(&name) != Some(&origin) {
                let mut object = InputObject::new(&*name);
                for part in fields.iter() {
                    let ty = input_type(types, &inner, &part.name, &part.schema)?;
                    let part_input = InputValue::new(&*part.name, ty);
                    object = object.field(if part.description.is_empty() {
                        part_input
                    } else {
                        part_input.description(&*part.description)
                    });
                }
                types.add(&origin, object)?;
            }
            TypeRef::named(name)
        }
        (Shown::List(_) | Shown::Object, _) => TypeRef::named("JSON"),
    })
}

/// The root of mutations.
pub(super) fn mutation(api: &Api) -> Object {
    let receipt = |name: &str, about: &str| {
        field(name, TypeRef::named_nn("Receipt")).description(about.to_owned())
    };
    let key = || input("idempotencyKey", TypeRef::named(TypeRef::STRING), KEY);
    let expect = || input("expect", TypeRef::named(TypeRef::STRING), EXPECT);
    let commit = receipt("commit", "Does all of these in order, or none.")
        .argument(input(
            "operations",
            TypeRef::named_nn_list_nn("Operation"),
            "What to do.",
        ))
        .argument(key())
        .argument(input(
            "dryRun",
            TypeRef::named(TypeRef::BOOLEAN),
            "Check everything against this instant and change nothing.",
        ));
    let delete = receipt(
        "deleteTwin",
        "Removes a twin; refused while relationships touch it, unless `detach`.",
    )
    .argument(input(
        "id",
        TypeRef::named_nn(TypeRef::ID),
        "The twin's id.",
    ))
    .argument(expect())
    .argument(detach())
    .argument(key());
    let relate = relate_arguments().into_iter().fold(
        receipt(
            "relate",
            "Relates two twins; relating again changes the relationship's properties.",
        ),
        async_graphql::dynamic::Field::argument,
    );
    let unrelate = unrelate_arguments().into_iter().fold(
        receipt("unrelate", "Removes a relationship."),
        async_graphql::dynamic::Field::argument,
    );
    let record = receipt("record", "Records readings, all or none.").argument(input(
        "readings",
        TypeRef::named_nn_list_nn("ReadingInput"),
        "The readings, in order of arrival.",
    ));
    let mut mutation = Object::new("Mutation").description(
        "Each field is a commit of its own, done one after another; the first that is refused \
         ends the request, and those before it stay done: `data` is null then, and their \
         receipts stand in the error's `extensions.done`.",
    );
    let retry = receipt(
        "retryDeadLetter",
        "Takes a dead letter in again, for example after its device was registered. Readings without \
         a time of their own get that of their first arrival, so doing it again changes nothing; the \
         dead letter stays until newer ones take its place.",
    )
    .argument(input("id", TypeRef::named_nn(TypeRef::ID), "Its id."));
    let (relate, unrelate) = (relate.argument(key()), unrelate.argument(key()));
    for field in [commit, delete, relate, unrelate, record, retry] {
        mutation = mutation.field(field);
    }
    for class in api.ontology.classes() {
        let about = format!(
            "Creates a twin of class {}, or changes what is named.",
            class.name
        );
        let upsert = receipt(&format!("upsert{}", class.name), &about)
            .argument(input(
                "input",
                TypeRef::named_nn(format!("{}Input", class.name)),
                "What to set.",
            ))
            .argument(expect())
            .argument(key());
        mutation = mutation.field(upsert);
    }
    mutation
}
