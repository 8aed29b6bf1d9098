//! What may be followed: the root Subscription and the types of its events.

use async_graphql::Value;
use async_graphql::dynamic::{
    Enum, EnumItem, Object, Subscription, SubscriptionField, SubscriptionFieldFuture, TypeRef,
};
use futures_util::stream;

use super::inputs::input;
use super::{SchemaError, Types, field};
use crate::api::ChangeKind;

/// The root of subscriptions and the types of its events.
pub(super) fn declare(types: &mut Types) -> Result<(), SchemaError> {
    let of = "the API";
    let text = || TypeRef::named(TypeRef::STRING);
    let required = || TypeRef::named_nn(TypeRef::STRING);
    let kinds = ChangeKind::ALL.into_iter().fold(
        Enum::new("ChangeKind").description("What happened."),
        |kinds, kind| kinds.item(EnumItem::new(kind.as_str()).description(kind.about())),
    );
    types.add(of, kinds)?;
    let change = Object::new("Change")
        .description("One change. `before` and `after` are the twin as it stood at this change.")
        .field(field("position", required()).description(
            "Right after this change: subscribe with it as `after` to go on without loss.",
        ))
        .field(field("kind", TypeRef::named_nn("ChangeKind")).description("What happened."))
        .field(
            field("at", TypeRef::named("DateTime"))
                .description("When it arrived; null for GAP and RESET."),
        )
        .field(field("principal", text()).description("Who did it; null for GAP and RESET."))
        .field(
            field("id", TypeRef::named(TypeRef::ID))
                .description("The twin; of a relationship its source. Null for GAP and RESET."),
        )
        .field(field("class", text()).description("Name of that twin's class."))
        .field(field("before", TypeRef::named("Twin")).description(
            "The twin as it stood; null for what is new and for relationships and readings. Its \
             relationships and readings are not here: ask `twin(id:)`.",
        ))
        .field(field("after", TypeRef::named("Twin")).description(
            "The twin as it stands; null for what is gone and for relationships and readings.",
        ))
        .field(
            field("relationship", TypeRef::named("ChangedRelationship"))
                .description("For RELATED, RERELATED and UNRELATED."),
        )
        .field(field("reading", TypeRef::named("RecordedReading")).description("For READING."));
    types.add(of, change)?;
    types.add(
        of,
        Object::new("ChangedRelationship")
            .description("A relationship that changed.")
            .field(field("name", required()).description("Its name."))
            .field(field("source", TypeRef::named_nn(TypeRef::ID)).description("Where it starts."))
            .field(field("target", TypeRef::named_nn(TypeRef::ID)).description("Where it ends."))
            .field(
                field("properties", TypeRef::named("JSON")).description(
                    "Its properties as they stand; null where it has none or is gone.",
                ),
            )
            .field(
                field("before", TypeRef::named("JSON"))
                    .description("Its properties as they stood; null where it had none or is new."),
            ),
    )?;
    types.add(
        of,
        Object::new("RecordedReading")
            .description("A measurement that arrived.")
            .field(field("telemetry", required()).description("Name of the telemetry."))
            .field(field("value", TypeRef::named_nn("JSON")).description("What was measured."))
            .field(
                field("unit", text()).description("Unit of the value, where the model gives one."),
            )
            .field(field("ts", TypeRef::named_nn("DateTime")).description("When it was measured."))
            .field(field("arrived", TypeRef::named_nn("DateTime")).description("When it arrived.")),
    )?;
    let changes = SubscriptionField::new("changes", TypeRef::named_nn("Change"), |_| {
        // The frame must never resolve it: `changes` of this room does.
        SubscriptionFieldFuture::new(async { Ok(stream::empty::<async_graphql::Result<Value>>()) })
    })
    .description(
        "Every change in order, each exactly once: structure and readings. A relationship's change \
         is its source's. GAP and RESET end it.",
    )
    .argument(input(
        "class",
        text(),
        "Only twins of this class, subclasses included.",
    ))
    .argument(input(
        "ids",
        TypeRef::named_nn_list(TypeRef::ID),
        "Only these twins.",
    ))
    .argument(input(
        "after",
        text(),
        "A position: everything after it, then what happens. Without it, what happens from now on.",
    ));
    let root = Subscription::new("Subscription")
        .description("Over the protocol graphql-transport-ws at /graphql/ws.")
        .field(changes);
    types.add(of, root)
}
