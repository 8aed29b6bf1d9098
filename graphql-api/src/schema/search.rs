//! Finding twins by name: the field and what it answers with.

use async_graphql::Value;
use async_graphql::dynamic::{Enum, EnumItem, Field, Object, TypeRef};

use super::inputs::input;
use super::{SchemaError, Types};
use crate::exec::{DEFAULT_FOUND, Matched};
use crate::limits::MAX_PAGE;

/// What a search answers with.
pub(super) fn declare(types: &mut Types) -> Result<(), SchemaError> {
    let of = "the API";
    let kinds = Matched::ALL.into_iter().fold(
        Enum::new("Matched").description("How a twin matches a text, best first."),
        |kinds, (_, name, about)| kinds.item(EnumItem::new(name).description(about)),
    );
    types.add(of, kinds)?;
    types.add(
        of,
        Object::new("Found")
            .description("A twin that a text finds.")
            .field(super::field("twin", TypeRef::named_nn("Twin")).description("The twin."))
            .field(
                super::field("matched", TypeRef::named_nn("Matched"))
                    .description("How it matches."),
            ),
    )
}

/// The field of the query root.
pub(super) fn field() -> Field {
    super::field("search", TypeRef::named_nn_list_nn("Found"))
        .description(
            "Twins whose label or id has a text in it, whatever its case and the marks on its \
             letters: best match first; of equal ones the area with the largest box around it, then \
             those of the class of which there are fewest, then by label, then by id.",
        )
        .argument(input(
            "text",
            TypeRef::named_nn(TypeRef::STRING),
            "What to look for.",
        ))
        .argument(input(
            "class",
            TypeRef::named(TypeRef::STRING),
            "Only twins of this class, subclasses included.",
        ))
        .argument(
            input(
                "first",
                TypeRef::named(TypeRef::INT),
                &format!("How many at most; {MAX_PAGE} is the largest."),
            )
            .default_value(Value::from(DEFAULT_FOUND)),
        )
}
