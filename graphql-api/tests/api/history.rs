use graphql_api::limits::MAX_SERIES;
use ontology::Value;
use serde_json::{Value as Json, json};
use twin_core::{Operation, Principal, Reading, Readings};

use crate::world::{World, id, put};

const SECOND: i64 = 1_000_000;

async fn record(world: &World, twin: &str, readings: &[(i64, f64)]) {
    let readings = readings.iter().map(|(seconds, value)| Reading {
        twin: id(twin),
        telemetry: "heat".into(),
        ts: Some(seconds * SECOND),
        value: Value::Double(*value),
    });
    world
        .twin
        .record(Readings {
            principal: Principal::system("test"),
            readings: readings.collect(),
        })
        .await
        .unwrap();
}

async fn history(world: &World, arguments: &str) -> Json {
    let query = format!(
        "{{ twin(id: \"s:1\") {{ ... on Station {{ heat {{ history({arguments}) {{ __typename ts value unit arrived }} }} }} }} }}"
    );
    world.data(&query).await["twin"]["heat"]["history"].clone()
}

#[tokio::test]
async fn history_is_what_was_measured_in_a_time_oldest_first() {
    let world = World::small().await;
    record(&world, "s:1", &[(30, 3.0), (10, 1.0), (20, 2.0)]).await;
    record(&world, "s:1", &[(20, 2.5), (40, 4.0)]).await;
    let some = history(
        &world,
        "from: \"1970-01-01T00:00:10Z\", to: \"1970-01-01T00:00:40Z\"",
    )
    .await;
    let values: Vec<_> = some
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["value"])
        .collect();
    // Its end is not in it, and of two of one time the later one counts.
    assert_eq!(values, [1.0, 2.5, 3.0]);
    assert_eq!(some[0]["ts"], "1970-01-01T00:00:10Z");
    assert_eq!(some[0]["unit"], "degreeCelsius");
    assert_eq!(some[0]["__typename"], "PastReading");
    assert!(some[0]["arrived"].as_str().unwrap().starts_with("20"));
    let all = history(&world, "from: \"1970-01-01T00:00:00Z\"").await;
    assert_eq!(all.as_array().unwrap().len(), 5);
    let two = history(&world, "from: \"1970-01-01T00:00:20Z\", first: 2").await;
    let values: Vec<_> = two
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["value"])
        .collect();
    assert_eq!(values, [2.5, 3.0]);
    let none = history(&world, "from: \"2100-01-01T00:00:00Z\"").await;
    assert_eq!(none, json!([]));
}

#[tokio::test]
async fn history_that_cannot_be_answered_is_refused() {
    let world = World::small().await;
    let ask = |arguments: &str| {
        format!(
            "{{ stations {{ edges {{ node {{ heat {{ history({arguments}) {{ value }} }} }} }} }} }}"
        )
    };
    for (arguments, code) in [
        ("from: \"yesterday\"", "INVALID_INPUT"),
        (
            "from: \"2026-01-01T00:00:00Z\", every: \"P1M\"",
            "INVALID_INPUT",
        ),
        (
            "from: \"2026-01-01T00:00:00Z\", every: \"PT0.1S\"",
            "INVALID_INPUT",
        ),
        (
            "from: \"2026-01-01T00:00:00Z\", aggregate: MAX",
            "INVALID_INPUT",
        ),
        ("from: \"2026-01-01T00:00:00Z\", first: 1001", "TOO_COSTLY"),
        ("to: \"2026-01-01T00:00:00Z\"", "INVALID_INPUT"),
    ] {
        assert_eq!(world.error(&ask(arguments)).await.0, code, "{arguments}");
    }
    let wide = ask("from: \"2026-01-01T00:00:00Z\"").replace("stations", "stations(first: 201)");
    let (code, message) = world.error(&wide).await;
    assert_eq!(code, "TOO_COSTLY");
    assert!(message.contains("MAX_NODES"), "{message}");
    let mut operations = Vec::new();
    for i in 0..=MAX_SERIES {
        operations.push(Operation::Upsert(put(
            &format!("t:{i:04}"),
            "Station",
            json!({}),
            None,
        )));
    }
    world.commit(operations).await;
    for i in 0..=MAX_SERIES {
        record(&world, &format!("t:{i:04}"), &[(1, 1.0)]).await;
    }
    let many =
        ask("from: \"1970-01-01T00:00:00Z\", first: 1").replace("stations", "stations(first: 500)");
    let (code, message) = world.error(&many).await;
    assert_eq!(code, "TOO_COSTLY");
    assert!(message.contains("MAX_SERIES"), "{message}");
    let variables = json!({"from": "1970-01-01T00:00:01Z"});
    let query = "query Q($from: DateTime!) { twin(id: \"t:0001\") { ... on Station { heat { history(from: $from) { value } } } } }";
    let answer = world.ask_with(query, variables).await;
    assert_eq!(
        answer["data"]["twin"]["heat"]["history"],
        json!([{"value": 1.0}])
    );
}

#[tokio::test]
async fn history_is_summed_up_by_windows() {
    let world = World::small().await;
    let readings = [(10, 4.0), (50, 1.0), (59, 7.0), (60, 2.0), (200, 5.0)];
    record(&world, "s:1", &readings).await;
    let from = "from: \"1970-01-01T00:00:00Z\", to: \"1970-01-02T00:00:00Z\", every: \"PT1M\"";
    for (aggregate, values) in [
        ("", vec![4.0, 2.0, 5.0]),
        (", aggregate: MEAN", vec![4.0, 2.0, 5.0]),
        (", aggregate: MIN", vec![1.0, 2.0, 5.0]),
        (", aggregate: MAX", vec![7.0, 2.0, 5.0]),
        (", aggregate: SUM", vec![12.0, 2.0, 5.0]),
        (", aggregate: LAST", vec![7.0, 2.0, 5.0]),
        (", aggregate: EXTREMES", vec![1.0, 7.0, 2.0, 5.0]),
    ] {
        let found = history(&world, &format!("{from}{aggregate}")).await;
        let found: Vec<_> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|p| &p["value"])
            .collect();
        assert_eq!(found, values, "{aggregate}");
    }
    let counts = history(&world, &format!("{from}, aggregate: COUNT, first: 2")).await;
    assert_eq!(
        counts,
        json!([
            {"__typename": "PastReading", "ts": "1970-01-01T00:00:00Z", "value": 3, "unit": null, "arrived": null},
            {"__typename": "PastReading", "ts": "1970-01-01T00:01:00Z", "value": 1, "unit": null, "arrived": null},
        ])
    );
}
