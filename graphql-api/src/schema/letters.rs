//! Dead letters: refused messages, to be looked at and taken in again.

use async_graphql::Value;
use async_graphql::dynamic::{Field, Object, TypeRef};

use super::inputs::input;
use super::{SchemaError, Types, field};
use crate::limits::{DEFAULT_PAGE, MAX_LETTERS_PAGE};

pub(super) fn declare(types: &mut Types) -> Result<(), SchemaError> {
    let of = "the API";
    let text = || TypeRef::named_nn(TypeRef::STRING);
    let parts = [
        (
            "id",
            TypeRef::named_nn(TypeRef::ID),
            "Later ones have higher ones.",
        ),
        ("at", TypeRef::named_nn("DateTime"), "When it arrived."),
        ("client", text(), "Id of the client that sent it."),
        ("topic", text(), "The topic it was published to."),
        (
            "reason",
            text(),
            "Why it was refused, as `/metrics` names it.",
        ),
        (
            "detail",
            text(),
            "What exactly was wrong, and how to mend it.",
        ),
        (
            "size",
            TypeRef::named_nn(TypeRef::INT),
            "Bytes of its payload; of a longer one than `payload` has, the rest was not kept.",
        ),
        (
            "payload",
            TypeRef::named(TypeRef::STRING),
            "The payload as text; null where it is none.",
        ),
        (
            "payloadBase64",
            text(),
            "The payload in base64 for URLs (RFC 4648, section 5), without padding.",
        ),
    ];
    let letter = parts.into_iter().fold(
        Object::new("DeadLetter")
            .description("A message of a device that was refused, and kept with the reason."),
        |object, (name, ty, about)| object.field(field(name, ty).description(about)),
    );
    types.add(of, letter)?;
    types.add(
        of,
        Object::new("DeadLetterEdge")
            .description("One of a list.")
            .field(field("cursor", text()).description("Give it as `after` to go on from here."))
            .field(field("node", TypeRef::named_nn("DeadLetter")).description("The dead letter.")),
    )?;
    types.add(
        of,
        Object::new("DeadLetterConnection")
            .description("A page of dead letters.")
            .field(
                field("edges", TypeRef::named_nn_list_nn("DeadLetterEdge"))
                    .description("This page."),
            )
            .field(
                field("pageInfo", TypeRef::named_nn("PageInfo"))
                    .description("Where this page stands."),
            ),
    )
}

/// The fields of the query root.
pub(super) fn fields() -> [Field; 2] {
    [
        field("deadLetters", TypeRef::named_nn("DeadLetterConnection"))
            .description("Refused messages that are kept, newest first.")
            .argument(input(
                "reason",
                TypeRef::named(TypeRef::STRING),
                "Only those refused for this reason.",
            ))
            .argument(
                input(
                    "first",
                    TypeRef::named(TypeRef::INT),
                    &format!("How many at most; {MAX_LETTERS_PAGE} is the largest."),
                )
                .default_value(Value::from(DEFAULT_PAGE)),
            )
            .argument(input(
                "after",
                TypeRef::named(TypeRef::STRING),
                "Go on after this cursor.",
            )),
        field("deadLetter", TypeRef::named("DeadLetter"))
            .description("The dead letter of an id; null if it is not kept any more.")
            .argument(input("id", TypeRef::named_nn(TypeRef::ID), "Its id.")),
    ]
}
