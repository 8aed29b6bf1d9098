//! Filtered traversals, paths and aggregates, as the API answers them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ontology::Value;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use twin_core::space::Resolution;
use twin_core::{Operation, Reading, Readings, View};

use crate::world::{World, area, clinic, id, put, relate};

#[tokio::test]
async fn each_step_of_a_traversal_keeps_what_fits() {
    let world = World::small().await;
    for (steps, found) in [
        ("{relationship: \"serves\"}", vec!["p:1", "v:1", "v:2"]),
        // What the relationship leads to, as the model says.
        (
            "{relationship: \"serves\", where: {population: {gt: 200}}}",
            vec!["p:1", "v:2"],
        ),
        (
            "{relationship: \"serves\", class: \"Village\", where: {population: {gt: 200}}}",
            vec!["v:2"],
        ),
        (
            "{relationship: \"serves\", where: {not: {id: {eq: \"p:1\"}}}}, \
             {relationship: \"locatedIn\", direction: IN, where: {beds: {lt: 40}}}",
            vec!["c:1"],
        ),
        (
            "{relationship: \"serves\", where: {population: {gt: 200}}}, \
             {relationship: \"locatedIn\", direction: IN, where: {}}",
            vec!["c:2"],
        ),
        (
            "{relationship: \"serves\", where: {partOf: {name: {eq: \"North\"}}}}",
            vec!["v:1", "v:2"],
        ),
    ] {
        let found_now = world
            .ids(&format!("traverse(from: [\"c:1\"], steps: [{steps}])"))
            .await;
        assert_eq!(found_now, found, "{steps}");
    }
    for (step, code, part) in [
        (
            "{relationship: \"serves\", where: {populatio: {gt: 1}}}",
            "UNKNOWN_NAME",
            "did you mean `population`",
        ),
        (
            "{relationship: \"serves\", class: \"Villag\"}",
            "UNKNOWN_NAME",
            "Village",
        ),
        (
            "{relationship: \"serves\", where: {population: {gt: \"x\"}}}",
            "INVALID_INPUT",
            "where.population.gt",
        ),
        // Nothing is known of what `near` leads to.
        (
            "{relationship: \"near\", where: {beds: {gt: 1}}}",
            "UNKNOWN_NAME",
            "TwinWhere",
        ),
    ] {
        let query = format!("{{ traverse(from: [\"c:1\"], steps: [{step}]) {{ totalCount }} }}");
        let (got, message) = world.error(&query).await;
        assert_eq!(got, code, "{step}: {message}");
        assert!(message.contains(part), "{step}: {message}");
    }
}

#[tokio::test]
async fn a_path_has_its_twins_and_relationships_in_order() {
    let world = World::small().await;
    let data = world
        .data(
            r#"{ path(from: "c:2", to: "s:1", over: ["locatedIn", "serves", "near"]) {
                 __typename total twins { id ... on Clinic { beds } }
                 relationships { __typename name source target weight properties } } }"#,
        )
        .await;
    let link = |name, source, target, properties: Json| {
        json!({"__typename": "PathRelationship", "name": name, "source": source, "target": target,
            "weight": 1.0, "properties": properties})
    };
    assert_eq!(
        data["path"],
        json!({"__typename": "Path", "total": 3.0,
            "twins": [{"id": "c:2", "beds": 40}, {"id": "v:2"}, {"id": "c:1", "beds": 12}, {"id": "s:1"}],
            "relationships": [
                link("locatedIn", "c:2", "v:2", Json::Null),
                link("serves", "c:1", "v:2", json!({"share": 0.5})),
                link("near", "s:1", "c:1", Json::Null)]})
    );
    // One way only, there is none; the other way, by weight.
    let one_way = "path(from: \"c:2\", to: \"s:1\", over: [\"serves\", \"locatedIn\"], direction: OUT) { total }";
    assert_eq!(
        world.data(&format!("{{ {one_way} }}")).await,
        json!({"path": null})
    );
    let weighed = "path(from: \"v:1\", to: \"v:2\", over: \"serves\", weight: \"share\") { total }";
    assert_eq!(
        world.data(&format!("{{ {weighed} }}")).await,
        json!({"path": {"total": 1.0}})
    );
}

#[tokio::test]
async fn a_path_that_cannot_be_asked_for_is_null_with_the_reason() {
    let world = World::small().await;
    let mut edge = relate("c:3", "serves", "v:1");
    if let Operation::Relate { set, .. } = &mut edge {
        *set = vec![("share".into(), Some(Value::Double(-1.0)))];
    }
    world.commit(vec![edge]).await;
    for (arguments, code, part) in [
        (
            "from: \"x\", to: \"c:1\", over: \"serves\"",
            "NOT_FOUND",
            "`from`",
        ),
        (
            "from: \"c:1\", to: \"x\", over: \"serves\"",
            "NOT_FOUND",
            "`to`",
        ),
        (
            "from: \"c:1\", to: \"c:2\", over: []",
            "INVALID_INPUT",
            "`over`",
        ),
        (
            "from: \"c:1\", to: \"c:2\", over: \"serve\"",
            "UNKNOWN_NAME",
            "did you mean `serves`",
        ),
        (
            "from: \"c:1\", to: \"c:2\", over: \"serves\", weight: \"shares\"",
            "UNKNOWN_NAME",
            "did you mean `share`",
        ),
        (
            "from: \"c:1\", to: \"c:2\", over: [\"serves\", \"near\"], weight: \"share\"",
            "UNKNOWN_NAME",
            "relationship near",
        ),
        (
            "from: \"c:1\", to: \"c:2\", over: \"serves\", weight: \"share\"",
            "INVALID_INPUT",
            "weight -1",
        ),
    ] {
        let query = format!("{{ path({arguments}) {{ total }} position }}");
        let answer = world.ask(&query).await;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], code, "{answer:#}");
        assert!(
            error["message"].as_str().unwrap().contains(part),
            "{answer:#}"
        );
        assert_eq!(error["path"], json!(["path"]));
        assert_eq!(answer["data"]["path"], Json::Null);
        assert!(answer["data"]["position"].is_string());
    }
    let many = vec!["\"serves\""; 33].join(",");
    let query = format!("{{ path(from: \"c:1\", to: \"c:2\", over: [{many}]) {{ total }} }}");
    let (code, message) = world.error(&query).await;
    assert_eq!(code, "TOO_COSTLY");
    assert!(message.contains("MAX_PATH_RELATIONSHIPS"), "{message}");
}

async fn aggregate(world: &World, arguments: &str) -> Vec<(Vec<Json>, Vec<Json>)> {
    let query = format!("{{ aggregate({arguments}) {{ group {{ value }} values }} }}");
    let data = world.data(&query).await;
    let rows = data["aggregate"].as_array().unwrap();
    let list = |json: &Json| json.as_array().unwrap().clone();
    let row = |row: &Json| {
        let group = list(&row["group"])
            .into_iter()
            .map(|key| key["value"].clone());
        (group.collect(), list(&row["values"]))
    };
    rows.iter().map(row).collect()
}

#[tokio::test]
async fn twins_are_counted_and_measured_by_what_they_have_in_common() {
    let world = World::small().await;
    let all = "measures: [{count: true}, {sum: \"beds\"}, {min: \"beds\"}, {max: \"beds\"}, \
        {mean: \"beds\"}, {sum: \"rating\"}, {max: \"budget\"}]";
    assert_eq!(
        aggregate(&world, &format!("class: \"Clinic\", {all}")).await,
        [(
            vec![],
            vec![
                json!(3),
                json!(52),
                json!(12),
                json!(40),
                json!(26.0),
                json!(4.5),
                json!("9007199254740993")
            ]
        )]
    );
    let rows = [
        (
            "[{property: \"level\"}]",
            json!([["HIGH"], ["LOW"], [null]]),
        ),
        ("[{property: \"synthetic\"}]", json!([[true], [null]])),
        (
            "[{property: \"budget\"}]",
            json!([["9007199254740993"], [null]]),
        ),
        ("[{class: true}]", json!([["Clinic"]])),
        ("[{area: \"Village\"}]", json!([["v:1"], ["v:2"]])),
        ("[{area: \"Station\"}]", json!([[null]])),
        (
            "[{area: \"Village\"}, {property: \"level\"}]",
            json!([["v:1", "HIGH"], ["v:2", "LOW"], ["v:2", null]]),
        ),
    ];
    for (by, groups) in rows {
        let arguments = format!("class: \"Clinic\", by: {by}, measures: [{{count: true}}]");
        let rows = aggregate(&world, &arguments).await;
        let found: Vec<_> = rows.into_iter().map(|(group, _)| group).collect();
        assert_eq!(json!(found), groups, "{by}");
    }
    // The newest reading; where nothing fits, one row of nothing, and of no group none.
    let heat = "class: \"Station\", measures: [{mean: \"heat\"}, {count: true}]";
    assert_eq!(
        aggregate(&world, heat).await,
        [(vec![], vec![json!(21.5), json!(1)])]
    );
    let none =
        "class: \"Clinic\", where: {beds: {gt: 99}}, measures: [{count: true}, {sum: \"beds\"}]";
    assert_eq!(
        aggregate(&world, none).await,
        [(vec![], vec![json!(0), Json::Null])]
    );
    let none = format!("{none}, by: [{{class: true}}]");
    assert_eq!(aggregate(&world, &none).await, []);
    // An area's twin can be asked about, and a region narrows.
    let data = world
        .data(
            r#"{ aggregate(class: "Thing", space: {box: [30, -3, 31, -1], relation: WITHIN},
                   by: [{class: true}, {area: "Area"}], measures: [{count: true}]) {
                 __typename group { __typename value twin { id ... on Village { name } } } values } }"#,
        )
        .await;
    let key =
        |value: Json, twin: Json| json!({"__typename": "GroupKey", "value": value, "twin": twin});
    let row = |class: &str, count: u64| {
        json!({"__typename": "AggregateRow", "values": [count],
            "group": [key(json!(class), Json::Null), key(json!("p:1"), json!({"id": "p:1"}))]})
    };
    assert_eq!(
        data["aggregate"],
        json!([row("Clinic", 2), row("Village", 1)])
    );
}

#[tokio::test]
async fn an_aggregate_that_cannot_be_asked_for_says_where_and_why() {
    let world = World::small().await;
    let count = "measures: [{count: true}]";
    for (arguments, code, part) in [
        (
            "class: \"Clinik\", measures: []".to_owned(),
            "UNKNOWN_NAME",
            "Clinic",
        ),
        (
            "class: \"Clinic\", measures: [{count: true}, {sum: \"bedz\"}]".to_owned(),
            "UNKNOWN_NAME",
            "`measures[1].sum`",
        ),
        (
            "class: \"Clinic\", measures: [{sum: \"name\"}]".to_owned(),
            "INVALID_INPUT",
            "not a number",
        ),
        (
            "class: \"Clinic\", measures: [{sum: \"beds\", count: true}]".to_owned(),
            "INVALID_INPUT",
            "exactly one of",
        ),
        (
            "class: \"Clinic\", measures: [{count: false}]".to_owned(),
            "INVALID_INPUT",
            "true",
        ),
        (
            format!("class: \"Clinic\", {count}, by: [{{}}]"),
            "INVALID_INPUT",
            "`by[0]`",
        ),
        (
            format!("class: \"Clinic\", {count}, by: [{{property: \"levl\"}}]"),
            "UNKNOWN_NAME",
            "did you mean `level`",
        ),
        (
            format!("class: \"Clinic\", {count}, by: [{{property: \"rating\"}}]"),
            "INVALID_INPUT",
            "whole numbers",
        ),
        (
            format!("class: \"Clinic\", {count}, by: [{{area: \"Vilage\"}}]"),
            "UNKNOWN_NAME",
            "Village",
        ),
        (
            format!("class: \"Clinic\", {count}, by: [{{cell: 16}}]"),
            "INVALID_INPUT",
            "0 to 15",
        ),
        (
            format!("class: \"Clinic\", {count}, where: {{bedz: {{gt: 1}}}}"),
            "UNKNOWN_NAME",
            "beds",
        ),
        (
            format!(
                "class: \"Clinic\", {count}, by: [{}]",
                "{class: true},".repeat(5)
            ),
            "TOO_COSTLY",
            "MAX_GROUP_KEYS",
        ),
        (
            format!(
                "class: \"Clinic\", measures: [{}]",
                "{count: true},".repeat(17)
            ),
            "TOO_COSTLY",
            "MAX_MEASURES",
        ),
    ] {
        let (got, message) = world
            .error(&format!("{{ aggregate({arguments}) {{ values }} }}"))
            .await;
        assert_eq!(got, code, "{arguments}: {message}");
        assert!(message.contains(part), "{arguments}: {message}");
    }
}

#[tokio::test]
async fn more_groups_than_an_answer_holds_are_refused() {
    let world = World::empty().await;
    for part in 0..3 {
        let operation = |i| {
            let id = format!("x:{part}:{i}");
            let name = json!({"name": format!("{part} {i}")});
            Operation::Upsert(put(&id, "Station", name, None))
        };
        world.commit((0..7_000).map(operation).collect()).await;
    }
    let query = "{ aggregate(class: \"Station\", by: [{property: \"name\"}], measures: [{count: true}]) { values } }";
    let (code, message) = world.error(query).await;
    assert_eq!(code, "TOO_COSTLY");
    assert!(message.contains("MAX_GROUPS"), "{message}");
    // What is asked of each area counts as often as there can be areas.
    let query = "{ aggregate(class: \"Station\", by: [{property: \"name\"}], measures: []) { group { twin { \
        related(first: 100) { edges { node { id } } } } } } }";
    let (code, message) = world.error(query).await;
    assert_eq!(code, "TOO_COSTLY");
    assert!(message.contains("MAX_NODES"), "{message}");
}

/// A clinic: where (in halves of a degree from 28, -4, if anywhere), beds, quarters of rating, level.
type Made = (
    Option<(u8, u8)>,
    Option<i64>,
    Option<i64>,
    Option<bool>,
    bool,
);

fn made() -> impl Strategy<Value = Vec<Made>> {
    let one = (
        prop::option::weighted(0.9, (0..9_u8, 0..9_u8)),
        prop::option::of(-5..50_i64),
        prop::option::of(-20..20_i64),
        prop::option::of(any::<bool>()),
        any::<bool>(),
    );
    prop::collection::vec(one, 0..30)
}

async fn scattered(clinics: &[Made]) -> World {
    let world = World::empty().await;
    // They touch and overlap, and the lowest id is not the first to come.
    let mut operations = vec![
        area("a:3", "Village", "West", 1, [28.5, -3.5, 30.0, -1.0]),
        area("a:1", "Village", "East", 1, [30.0, -3.5, 31.5, -1.0]),
        area("a:2", "Village", "Middle", 1, [29.5, -2.5, 30.5, -1.5]),
    ];
    for (i, (place, beds, rating, level, outline)) in clinics.iter().enumerate() {
        let mut set = json!({});
        if let Some(beds) = beds {
            set["beds"] = json!(beds);
        }
        if let Some(rating) = rating {
            set["rating"] = json!(*rating as f64 / 4.0);
        }
        if let Some(high) = level {
            set["level"] = json!(if *high { "HIGH" } else { "LOW" });
        }
        // Ids that sort in another order than they come.
        let id = format!("c:{:02}", (i * 7 + 3) % 31);
        operations.push(match place {
            None => Operation::Upsert(put(&id, "Clinic", set, None)),
            Some((x, y)) => {
                let (x, y) = (28.0 + f64::from(*x) / 2.0, -4.0 + f64::from(*y) / 2.0);
                if *outline {
                    let ring = json!([[[x, y], [x + 0.7, y], [x, y + 0.7], [x, y]]]);
                    let shape = json!({"type": "Polygon", "coordinates": ring});
                    Operation::Upsert(put(&id, "Clinic", set, Some(shape)))
                } else {
                    clinic(&id, set, x, y)
                }
            }
        });
    }
    world.commit(operations).await;
    world
}

/// What one twin's group is called, by asking everything of everyone.
fn named(view: &View, twin: twin_core::TwinRef, by: &str) -> Json {
    let point = view.shape(twin).map(|shape| shape.representative());
    match by {
        "level" => view
            .value_named(twin, "level")
            .map_or(Json::Null, |value| value.to_json()),
        "area" => {
            let village = view.ontology().class_named("Village").unwrap().id;
            let holds = |area: &twin_core::TwinRef| {
                point.is_some_and(|point| view.shape(*area).unwrap().contains(point))
            };
            let mut areas: Vec<_> = view.scan(village, None).filter(holds).collect();
            view.sort_by_id(&mut areas);
            areas
                .first()
                .map_or(Json::Null, |area| json!(view.id(*area).as_str()))
        }
        _ => point.map_or(Json::Null, |point| {
            json!(point.cell(Resolution::Three).to_string())
        }),
    }
}

/// A group's keys and its twins.
type Group = (Vec<Json>, Vec<twin_core::TwinRef>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn an_aggregate_is_what_asking_every_twin_says(
        clinics in made(),
        by in prop::sample::subsequence(vec!["level", "area", "cell"], 0..=3),
        least in prop::option::of(0..20_i64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = scattered(&clinics).await;
            let view = world.twin.view();
            let mut arguments = "class: \"Clinic\", measures: [{count: true}, {sum: \"beds\"}, \
                {min: \"rating\"}, {max: \"beds\"}, {mean: \"beds\"}, {sum: \"rating\"}], by: ["
                .to_owned();
            for by in &by {
                arguments.push_str(match *by {
                    "level" => "{property: \"level\"}",
                    "area" => "{area: \"Village\"}",
                    _ => "{cell: 3}",
                });
            }
            arguments.push(']');
            if let Some(least) = least {
                write!(arguments, ", where: {{beds: {{gte: {least}}}}}").unwrap();
            }
            let found = aggregate(&world, &arguments).await;

            let clinic = view.ontology().class_named("Clinic").unwrap().id;
            let number = |twin, name: &str| match view.value_named(twin, name) {
                Some(Value::Int(number)) => Some(number as f64),
                Some(Value::Double(number)) => Some(number),
                _ => None,
            };
            let mut groups = BTreeMap::<Vec<(bool, String)>, Group>::new();
            if by.is_empty() {
                groups.insert(vec![], (vec![], vec![]));
            }
            for twin in view.scan(clinic, None) {
                if least.is_some_and(|least| number(twin, "beds").is_none_or(|beds| beds < least as f64)) {
                    continue;
                }
                let key: Vec<_> = by.iter().map(|by| named(&view, twin, by)).collect();
                let order = key.iter().map(|key| (key.is_null(), key.to_string())).collect();
                groups.entry(order).or_insert((key, vec![])).1.push(twin);
            }
            let expected = groups.into_values().map(|(key, twins)| {
                let values = |name| twins.iter().filter_map(|twin| number(*twin, name)).collect::<Vec<f64>>();
                let (beds, rating) = (values("beds"), values("rating"));
                let some = |of: &Vec<f64>, value: Json| if of.is_empty() { Json::Null } else { value };
                let sum = |of: &Vec<f64>| of.iter().sum::<f64>();
                let values = vec![
                    json!(twins.len()),
                    some(&beds, json!(sum(&beds) as i64)),
                    some(&rating, json!(rating.iter().copied().fold(f64::INFINITY, f64::min))),
                    some(&beds, json!(beds.iter().copied().fold(f64::NEG_INFINITY, f64::max) as i64)),
                    some(&beds, json!(sum(&beds) / beds.len() as f64)),
                    some(&rating, json!(sum(&rating))),
                ];
                (key, values)
            });
            prop_assert_eq!(found, expected.collect::<Vec<_>>());
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn the_same_readings_in_another_order_have_the_same_sum() {
    let readings = [0.1, 1e16, -1e16, 0.2, 0.3];
    let mut sums = Vec::new();
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]] {
        let world = World::empty().await;
        // Made in one order and then in the other, so that their rows differ.
        for i in order {
            let station = put(&format!("s:{i}"), "Station", json!({}), None);
            world.commit(vec![Operation::Upsert(station)]).await;
        }
        for i in order {
            let reading = Reading {
                twin: id(&format!("s:{i}")),
                telemetry: "heat".into(),
                ts: Some(1),
                value: Value::Double(readings[i]),
            };
            let principal = twin_core::Principal::system("test");
            let readings = vec![reading];
            let readings = Readings {
                principal,
                readings,
            };
            world.twin.record(readings).await.unwrap();
        }
        let rows = aggregate(&world, "class: \"Station\", measures: [{sum: \"heat\"}]").await;
        sums.push(rows[0].1[0].as_f64().unwrap());
    }
    assert_eq!(sums[0].to_bits(), sums[1].to_bits());
    assert!((sums[0] - 0.6).abs() < 1e-9, "{}", sums[0]);
}
