//! JSON of the API as typed values of the model.

use std::borrow::Cow;

use ontology::{Misfit, Schema, Value};
use serde_json::Value as Json;

use crate::api::{Shown, shown};

/// The typed value of what a client sent.
pub(crate) fn typed(schema: &Schema, json: &Json) -> Result<Value, Misfit> {
    schema.parse(&plain(schema, json))
}

/// A value as the API shows those of its schema: wide integers are texts.
pub(crate) fn untyped(schema: &Schema, value: &Value) -> Json {
    match (shown(schema), schema, value) {
        (Shown::Scalar("BigInt"), _, Value::Int(number)) => number.to_string().into(),
        (Shown::List(_), Schema::Array(element), Value::List(items)) => {
            items.iter().map(|item| untyped(element, item)).collect()
        }
        (Shown::Object, Schema::Object(fields), Value::Object(values)) => {
            let members = fields.iter().filter_map(|field| {
                let value = values.get(&field.name)?;
                Some((field.name.to_string(), untyped(&field.schema, value)))
            });
            Json::Object(members.collect())
        }
        _ => value.to_json(),
    }
}

/// The model's form of a value: wide integers are texts in the API (`BigInt`) and numbers there.
fn plain<'j>(schema: &Schema, json: &'j Json) -> Cow<'j, Json> {
    match (schema, json) {
        (_, Json::String(text)) if shown(schema) == Shown::Scalar("BigInt") => text
            .parse::<i64>()
            .map_or(Cow::Borrowed(json), |number| Cow::Owned(number.into())),
        (Schema::Array(element), Json::Array(items)) if holds_wide(element) => {
            let items = items.iter().map(|item| plain(element, item).into_owned());
            Cow::Owned(items.collect())
        }
        (Schema::Map(value), Json::Object(members)) if holds_wide(value) => {
            let members = members
                .iter()
                .map(|(key, member)| (key.clone(), plain(value, member).into_owned()));
            Cow::Owned(Json::Object(members.collect()))
        }
        (Schema::Object(fields), Json::Object(members)) if holds_wide(schema) => {
            let members = members.iter().map(|(key, member)| {
                let field = fields.iter().find(|field| *field.name == **key);
                let member = field.map_or(Cow::Borrowed(member), |f| plain(&f.schema, member));
                (key.clone(), member.into_owned())
            });
            Cow::Owned(Json::Object(members.collect()))
        }
        _ => Cow::Borrowed(json),
    }
}

/// Whether values of a schema hold integers that are texts in the API.
fn holds_wide(schema: &Schema) -> bool {
    match schema {
        Schema::Array(inner) | Schema::Map(inner) => holds_wide(inner),
        Schema::Object(fields) => fields.iter().any(|field| holds_wide(&field.schema)),
        _ => shown(schema) == Shown::Scalar("BigInt"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn wide_integers_are_shown_as_texts_wherever_they_have_a_type() {
        let field = |name: &str, schema| ontology::Field {
            name: name.into(),
            description: "".into(),
            schema,
        };
        let schema = Schema::Object(Arc::new(vec![
            field("long", Schema::Long),
            field("list", Schema::Array(Arc::new(Schema::Long))),
            field("map", Schema::Map(Arc::new(Schema::Long))),
            field("narrow", Schema::Integer { min: 0, max: 9 }),
        ]));
        let given = json!({"long": 1, "list": [2], "map": {"a": 3}, "narrow": 4});
        let value = schema.parse(&given).unwrap();
        assert_eq!(
            untyped(&schema, &value),
            json!({"long": "1", "list": ["2"], "map": {"a": 3}, "narrow": 4})
        );
        assert_eq!(typed(&schema, &untyped(&schema, &value)).unwrap(), value);
    }

    #[test]
    fn wide_integers_are_taken_as_texts_wherever_they_stand() {
        let wide = Schema::Integer {
            min: 0,
            max: i64::from(u32::MAX),
        };
        assert_eq!(
            typed(&wide, &json!("4000000000")).unwrap(),
            Value::Int(4_000_000_000)
        );
        assert!(typed(&wide, &json!("5000000000")).is_err());
        assert!(typed(&wide, &json!("many")).is_err());
        let list = Schema::Array(Arc::new(Schema::Map(Arc::new(wide))));
        let value = typed(&list, &json!([{"a": "7", "b": 8}])).unwrap();
        assert_eq!(value.to_json(), json!([{"a": 7, "b": 8}]));
        // A narrow integer is a number, as its type in the API says.
        let narrow = Schema::Integer { min: 0, max: 255 };
        assert!(typed(&narrow, &json!("7")).is_err());
    }
}
