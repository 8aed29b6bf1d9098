//! Questions about the graph as a whole: traversals, shortest paths and aggregates.

use async_graphql::Value;
use async_graphql::dynamic::{Field, InputObject, Object, TypeRef};

use super::inputs::input;
use super::{SchemaError, Types, field, page_arguments};
use crate::limits::{
    MAX_AGGREGATE_SERIES, MAX_AGGREGATE_WINDOWS, MAX_GROUP_KEYS, MAX_GROUPS, MAX_MEASURES,
    MAX_PATH_TWINS,
};

const SUBCLASSES: &str = "Name of a class; its subclasses are included.";
const WHERE: &str = "Conditions, shaped as the class's `Where` input.";

/// What these questions take and answer with.
pub(super) fn declare(types: &mut Types) -> Result<(), SchemaError> {
    let of = "the API";
    let text = || TypeRef::named(TypeRef::STRING);
    let step = InputObject::new("Step")
        .description("One hop of a traversal.")
        .field(input(
            "relationship",
            TypeRef::named_nn(TypeRef::STRING),
            "Name of the relationship.",
        ))
        .field(
            input(
                "direction",
                TypeRef::named("Direction"),
                "Which way to follow it.",
            )
            .default_value(Value::Enum(async_graphql::Name::new("OUT"))),
        )
        .field(input(
            "class",
            text(),
            "Keep only twins of this class, subclasses included.",
        ))
        .field(input(
            "where",
            TypeRef::named("JSON"),
            "Keep only twins that fit, before the next step: shaped as the `Where` input of `class`, \
             else of the class that the model says is reached.",
        ));
    let group = InputObject::new("Group")
        .description("What twins are grouped by: exactly one of these.")
        .field(input(
            "class",
            TypeRef::named(TypeRef::BOOLEAN),
            "true: by the name of their own class.",
        ))
        .field(input(
            "property",
            text(),
            "By the value of a property: a truth value, a whole number, a text, a date or one of an \
             enumeration.",
        ))
        .field(input(
            "area",
            text(),
            "By the twin of this class whose shape holds where they are, its boundary included; where \
             several do, by that of the lowest id. Where a line or an area is, is a point of it: one \
             inside an area, and always the same.",
        ))
        .field(input(
            "cell",
            TypeRef::named(TypeRef::INT),
            "By the H3 cell of this resolution, 0 to 15, that holds where they are; of a line or an \
             area as for `area`.",
        ))
        .field(input(
            "every",
            TypeRef::named("Duration"),
            &format!(
                "By windows of this length, counted from 1970-01-01T00:00:00Z, in which they measured \
                 something; needs `from` and `to`. At most once, and {MAX_AGGREGATE_WINDOWS} windows.",
            ),
        ));
    let measure = InputObject::new("Measure")
        .description(
            "What is asked of the twins of a group: exactly one of these. A name is that of a numeric \
             property, or of a telemetry, whose newest value counts; twins without a value do not. With \
             `from` and `to` it is that of a telemetry, and every reading of that time counts.",
        )
        .field(input(
            "count",
            TypeRef::named(TypeRef::BOOLEAN),
            "true: how many twins; with `from` and `to`, how many that measured something.",
        ))
        .field(input(
            "readings",
            text(),
            "How many readings of this telemetry there are; needs `from` and `to`.",
        ))
        .field(input("sum", text(), "The sum of the values."))
        .field(input("min", text(), "The smallest value."))
        .field(input("max", text(), "The largest value."))
        .field(input("mean", text(), "The mean of the values."));
    for object in [step, group, measure] {
        types.add(of, object)?;
    }
    types.add(of, path_type())?;
    types.add(
        of,
        Object::new("PathRelationship")
            .description("A relationship of a path.")
            .field(field("name", TypeRef::named_nn(TypeRef::STRING)).description("Its name."))
            .field(
                field("source", TypeRef::named_nn(TypeRef::ID))
                    .description("Id of the twin where it starts, whichever way it is taken."),
            )
            .field(
                field("target", TypeRef::named_nn(TypeRef::ID))
                    .description("Id of the twin where it ends."),
            )
            .field(
                field("weight", TypeRef::named_nn(TypeRef::FLOAT))
                    .description("What it adds to the total."),
            )
            .field(
                field("properties", TypeRef::named("JSON"))
                    .description("Properties of the relationship itself; null if it has none."),
            ),
    )?;
    types.add(
        of,
        Object::new("AggregateRow")
            .description("A group of twins and what was measured of it.")
            .field(
                field("group", TypeRef::named_nn_list_nn("GroupKey"))
                    .description("One for each entry of `by`, in that order."),
            )
            .field(field("values", TypeRef::named_list_nn("JSON")).description(
                "One for each entry of `measures`, in that order; null where no twin has a value. \
                     A sum, min or max of a BigInt property is a text, as there; with `from` and \
                     `to` it is a double.",
            )),
    )?;
    types.add(
        of,
        Object::new("GroupKey")
            .description("What the twins of a group have in common.")
            .field(field("value", TypeRef::named("JSON")).description(
                "Name of the class, value of the property, id of the area, cell, or beginning of the \
                 window; null for twins that have none.",
            ))
            .field(
                field("twin", TypeRef::named("Twin"))
                    .description("The area, where twins are grouped by area."),
            ),
    )
}

fn path_type() -> Object {
    Object::new("Path")
        .description("A shortest path.")
        .field(
            field("twins", TypeRef::named_nn_list_nn("Twin"))
                .description("The twins in order, both ends included."),
        )
        .field(
            field(
                "relationships",
                TypeRef::named_nn_list_nn("PathRelationship"),
            )
            .description("The relationships between them, one less."),
        )
        .field(
            field("total", TypeRef::named_nn(TypeRef::FLOAT))
                .description("Sum of the weights; how many relationships where none is named."),
        )
}

/// The fields of the query root.
pub(super) fn fields() -> [Field; 3] {
    let traverse = field("traverse", TypeRef::named_nn("TwinConnection"))
        .description("The twins at the end of a path of steps, each once, by id.")
        .argument(input(
            "from",
            TypeRef::named_nn_list_nn(TypeRef::ID),
            "Where to start.",
        ))
        .argument(input(
            "steps",
            TypeRef::named_nn_list_nn("Step"),
            "One hop each.",
        ));
    let traverse = page_arguments().into_iter().fold(traverse, Field::argument);
    let path = field("path", TypeRef::named("Path"))
        .description(format!(
            "The shortest path between two twins; null if there is none. Of several it has the \
             fewest relationships, and then, seen from its end, comes from the lowest ids. It holds at \
             most {MAX_PATH_TWINS} twins."
        ))
        .argument(input(
            "from",
            TypeRef::named_nn(TypeRef::ID),
            "Where it starts.",
        ))
        .argument(input("to", TypeRef::named_nn(TypeRef::ID), "Where it ends."))
        .argument(input(
            "over",
            TypeRef::named_nn_list_nn(TypeRef::STRING),
            "Names of the relationships that it may take.",
        ))
        .argument(input(
            "weight",
            TypeRef::named(TypeRef::STRING),
            "A numeric property that each of them has, 0 or more, such as a length; one without a value \
             is not taken. Without it each relationship counts 1.",
        ))
        .argument(input(
            "direction",
            TypeRef::named("Direction"),
            "Take relationships only this way; without it both ways.",
        ));
    let aggregate = field("aggregate", TypeRef::named_nn_list_nn("AggregateRow"))
        .description(format!(
            "Groups of twins and what is measured of each, sorted by group, absent values last; one \
             row of all where `by` names nothing. At most {MAX_GROUPS} groups."
        ))
        .argument(input(
            "class",
            TypeRef::named_nn(TypeRef::STRING),
            SUBCLASSES,
        ))
        .argument(input("where", TypeRef::named("JSON"), WHERE))
        .argument(input(
            "space",
            TypeRef::named("Space"),
            "Only twins in this region.",
        ))
        .argument(input(
            "by",
            TypeRef::named_nn_list("Group"),
            &format!("What to group by, {MAX_GROUP_KEYS} at most."),
        ))
        .argument(input(
            "measures",
            TypeRef::named_nn_list_nn("Measure"),
            &format!("What to measure, {MAX_MEASURES} at most."),
        ))
        .argument(input(
            "from",
            TypeRef::named("DateTime"),
            &format!(
                "With `to`: readings that were measured then or later, instead of the newest; of at \
                 most {MAX_AGGREGATE_SERIES} telemetries of twins.",
            ),
        ))
        .argument(input(
            "to",
            TypeRef::named("DateTime"),
            "With `from`: readings that were measured before.",
        ));
    [traverse, path, aggregate]
}
