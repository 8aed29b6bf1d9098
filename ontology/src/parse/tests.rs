//! What the door lets in, and what it says to the rest.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::EnumValue;

const BYTE: Schema = Schema::Integer { min: 0, max: 255 };

fn words(values: &[&str]) -> Schema {
    let value = |text: &&str| EnumValue {
        name: (*text).into(),
        value: Value::Text((*text).into()),
        description: "".into(),
    };
    Schema::Enum(Arc::new(EnumSchema {
        name: None,
        values: values.iter().map(value).collect(),
    }))
}

fn object(fields: &[(&str, Schema)]) -> Schema {
    let field = |(name, schema): &(&str, Schema)| Field {
        name: (*name).into(),
        description: "".into(),
        schema: schema.clone(),
    };
    Schema::Object(Arc::new(fields.iter().map(field).collect()))
}

fn refused(schema: &Schema, json: &Json) -> Misfit {
    match schema.parse(json) {
        Ok(value) => panic!("{json} became {value:?}"),
        Err(misfit) => misfit,
    }
}

#[test]
fn integers_are_integral_numbers_in_range() {
    assert_eq!(BYTE.parse(&json!(0)), Ok(Value::Int(0)));
    assert_eq!(BYTE.parse(&json!(255.0)), Ok(Value::Int(255)));
    for wrong in [
        json!(-1),
        json!(256),
        json!(1.5),
        json!("1"),
        json!(true),
        json!(1e300),
        json!(null),
    ] {
        refused(&BYTE, &wrong);
    }
    let reason = refused(&BYTE, &json!(256)).to_string();
    assert_eq!(reason, ".: expected an integer from 0 to 255, found 256");
}

#[test]
fn a_long_also_takes_its_text_form() {
    for json in [json!(i64::MIN), json!("-9223372036854775808")] {
        assert_eq!(Schema::Long.parse(&json), Ok(Value::Int(i64::MIN)));
    }
    for wrong in [
        json!(u64::MAX),
        json!("9223372036854775808"),
        json!("1.0"),
        json!(""),
        json!(" 1"),
    ] {
        refused(&Schema::Long, &wrong);
    }
}

#[test]
fn time_has_one_form_for_each_kind() {
    let parsed = |schema: Schema, text: &str| schema.parse(&json!(text)).map(|v| v.to_json());
    assert_eq!(
        Schema::Date.parse(&json!("1969-12-31")),
        Ok(Value::Date(-1))
    );
    assert_eq!(
        Schema::Date.parse(&json!("2000-03-01")),
        Ok(Value::Date(11_017))
    );
    assert_eq!(
        Schema::DateTime.parse(&json!("2025-01-31T08:30:00.000001+02:00")),
        Ok(Value::DateTime(1_738_305_000_000_001)),
    );
    assert_eq!(
        parsed(Schema::DateTime, "2025-01-31T08:30:00+02:00"),
        Ok(json!("2025-01-31T06:30:00Z"))
    );
    assert_eq!(
        parsed(Schema::DateTime, "2025-01-31T06:30:00.120Z"),
        Ok(json!("2025-01-31T06:30:00.12Z")),
    );
    assert_eq!(
        Schema::Time.parse(&json!("00:00:01.5")),
        Ok(Value::Time(1_500_000))
    );
    assert_eq!(parsed(Schema::Time, "08:30:00"), Ok(json!("08:30:00")));
    assert_eq!(parsed(Schema::Duration, "PT90M"), Ok(json!("PT90M")));
    for (schema, wrong) in [
        (Schema::Date, "2025-02-29"),
        (Schema::Date, "31.01.2025"),
        (Schema::Date, "2025-01-31T00:00:00Z"),
        (Schema::DateTime, "2025-01-31T08:30:00"),
        (Schema::DateTime, "2025-01-31"),
        (Schema::Time, "25:00:00"),
        (Schema::Time, "08:30:00Z"),
        (Schema::Duration, "2h 30m"),
        (Schema::Duration, "90"),
    ] {
        refused(&schema, &json!(wrong));
    }
}

#[test]
fn an_enumeration_lists_its_values_and_suggests_one() {
    let schema = words(&["public", "private"]);
    assert_eq!(
        schema.parse(&json!("public")),
        Ok(Value::Text("public".into()))
    );
    let misfit = refused(&schema, &json!("Public"));
    assert_eq!(misfit.suggestion.as_deref(), Some("public"));
    assert!(
        misfit.reason.contains("\"public\", \"private\""),
        "{misfit}"
    );
    assert_eq!(refused(&schema, &json!("zzz")).suggestion, None);
}

#[test]
fn objects_refuse_unknown_fields_and_say_where() {
    let inner = object(&[("depth", BYTE)]);
    let schema = object(&[("pump", Schema::Array(Arc::new(inner)))]);
    let misfit = refused(&schema, &json!({"pump": [{"depth": 3}, {"dept": 3}]}));
    assert_eq!(misfit.path, ".pump[1].dept");
    assert_eq!(misfit.suggestion.as_deref(), Some("depth"));
    let misfit = refused(&schema, &json!({"pump": [{"depth": 300}]}));
    assert_eq!(misfit.path, ".pump[0].depth");
    assert!(schema.parse(&json!({})).is_ok(), "a field may be absent");
}

#[test]
fn geometries_have_the_right_type_shape_and_range() {
    let point = Schema::Geometry(GeometryKind::Point);
    let polygon = Schema::Geometry(GeometryKind::Polygon);
    for fits in [json!([30.06, -1.94]), json!([-180, 90, 1567.5])] {
        assert!(
            point
                .parse(&json!({"type": "Point", "coordinates": fits}))
                .is_ok()
        );
    }
    let closed = json!([[[0, 0], [1, 0], [1, 1], [0, 0]]]);
    assert!(
        polygon
            .parse(&json!({"type": "Polygon", "coordinates": closed}))
            .is_ok()
    );
    for (schema, wrong, path) in [
        (
            &point,
            json!({"type": "Point", "coordinates": [181, 0]}),
            ".coordinates[0]",
        ),
        (
            &point,
            json!({"type": "Point", "coordinates": [0, -91]}),
            ".coordinates[1]",
        ),
        (
            &point,
            json!({"type": "Point", "coordinates": [1]}),
            ".coordinates",
        ),
        (
            &point,
            json!({"type": "Point", "coordinates": ["1", "2"]}),
            ".coordinates",
        ),
        (
            &point,
            json!({"type": "point", "coordinates": [1, 2]}),
            ".type",
        ),
        (&point, json!({"type": "Point"}), ".coordinates"),
        (
            &point,
            json!({"type": "Point", "coordinates": [1, 2], "crs": 1}),
            ".crs",
        ),
        (
            &polygon,
            json!({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}),
            ".coordinates[0]",
        ),
        (
            &polygon,
            json!({"type": "Polygon", "coordinates": []}),
            ".coordinates",
        ),
    ] {
        assert_eq!(refused(schema, &wrong).path, path, "{wrong}");
    }
}

#[test]
fn text_cells_are_read_by_their_schema() {
    assert_eq!(BYTE.parse_text("12"), Ok(Value::Int(12)));
    assert_eq!(BYTE.parse_text(" 12 "), Ok(Value::Int(12)));
    assert_eq!(Schema::Double.parse_text("3.5"), Ok(Value::Double(3.5)));
    assert_eq!(Schema::Boolean.parse_text("true"), Ok(Value::Bool(true)));
    assert_eq!(
        Schema::String.parse_text("12"),
        Ok(Value::Text("12".into()))
    );
    assert_eq!(Schema::Date.parse_text("1970-01-02"), Ok(Value::Date(1)));
    let list = Schema::Array(Arc::new(BYTE));
    assert_eq!(
        list.parse_text("[1]"),
        Ok(Value::List(Arc::new(vec![Value::Int(1)])))
    );
    for (schema, wrong) in [
        (BYTE, "twelve"),
        (BYTE, ""),
        (Schema::Double, "NaN"),
        (Schema::Boolean, "1"),
        (list, "["),
    ] {
        assert!(schema.parse_text(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn values_nest_only_so_deep() {
    let mut schema = Schema::Boolean;
    let mut json = json!(true);
    for _ in 1..MAX_VALUE_DEPTH {
        schema = Schema::Array(Arc::new(schema));
        json = json!([json]);
    }
    assert!(schema.parse(&json).is_ok());
    refused(&Schema::Array(Arc::new(schema)), &json!([json]));
}

/// A schema and JSON that fits it.
fn fitting() -> impl Strategy<Value = (Schema, Json)> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|b| (Schema::Boolean, json!(b))),
        any::<u8>().prop_map(|n| (BYTE, json!(n))),
        any::<i64>().prop_map(|n| (Schema::Long, json!(n))),
        prop::num::f64::NORMAL.prop_map(|x| (Schema::Double, json!(x))),
        Just((Schema::Double, json!(-0.0))),
        ".{0,8}".prop_map(|s| (Schema::String, json!(s))),
        (-100_000_i32..100_000).prop_map(|d| (Schema::Date, Value::Date(d).to_json())),
        (-4_000_000_000_000_000_i64..4_000_000_000_000_000)
            .prop_map(|t| (Schema::DateTime, Value::DateTime(t).to_json())),
        (0..86_400_000_000_i64).prop_map(|t| (Schema::Time, Value::Time(t).to_json())),
        (0..400_i64, 0..100_i64, 0..1_000_000_u32)
            .prop_map(|(d, m, f)| (Schema::Duration, json!(format!("P{d}DT{m}M1.{f:06}S")))),
        prop::sample::select(vec!["a", "b"]).prop_map(|s| (words(&["a", "b"]), json!(s))),
        (-180.0..=180.0, -90.0..=90.0).prop_map(|(x, y): (f64, f64)| {
            let json = json!({"type": "Point", "coordinates": [x, y]});
            (Schema::Geometry(GeometryKind::Point), json)
        }),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|(s, j)| (Schema::Array(Arc::new(s)), json!([j, j]))),
            inner
                .clone()
                .prop_map(|(s, j)| (Schema::Map(Arc::new(s)), json!({"k": j, "l": j}))),
            (inner.clone(), inner).prop_map(|((s, j), (t, k))| {
                (object(&[("x", s), ("y", t)]), json!({"y": k, "x": j}))
            }),
        ]
    })
}

/// Any JSON at all.
fn anything() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        prop_oneof![
            "[PT0-9:.DHMSZ+-]{0,12}",
            "2025-01-[0-9]{2}T[0-9:]{8}Z",
            ".{0,6}"
        ]
        .prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("type|coordinates|x|y|.", inner, 0..4)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_parsed_value_written_and_parsed_again_is_the_same((schema, json) in fitting()) {
        let value = schema.parse(&json).unwrap();
        prop_assert_eq!(schema.parse(&value.to_json()), Ok(value.clone()));
    }

    #[test]
    fn foreign_json_is_parsed_or_refused_but_never_panics((schema, _) in fitting(), json in anything()) {
        if let Ok(value) = schema.parse(&json) {
            prop_assert_eq!(schema.parse(&value.to_json()), Ok(value));
        }
    }

    #[test]
    fn order_equality_and_hash_of_values_agree((_, a) in fitting(), (schema, b) in fitting()) {
        use std::hash::{BuildHasher as _, RandomState};
        let hasher = RandomState::new();
        let values: Vec<Value> = [a, b].iter().filter_map(|json| schema.parse(json).ok()).collect();
        for x in &values {
            for y in &values {
                prop_assert_eq!(x == y, x.cmp(y).is_eq());
                prop_assert_eq!(x.cmp(y), y.cmp(x).reverse());
                if x == y {
                    prop_assert_eq!(hasher.hash_one(x), hasher.hash_one(y));
                }
            }
        }
    }
}
