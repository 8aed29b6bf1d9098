//! Aggregates of a time, beside what a walk over every reading gives.

use std::collections::{BTreeMap, BTreeSet};

use graphql_api::limits::{MAX_AGGREGATE_SERIES, MAX_AGGREGATE_WINDOWS, MAX_GROUPS};
use ontology::Value;
use serde_json::{Value as Json, json};
use twin_core::{Operation, Principal, Reading, Readings};

use crate::world::{World, id, put};

const DAY: i64 = 86_400;
const STATIONS: usize = 7;
/// Seconds since 1970 that cut the first and the last day.
const FROM: i64 = 10_000;
const TO: i64 = 200_000;
const TIME: &str = "from: \"1970-01-01T02:46:40Z\", to: \"1970-01-03T07:33:20Z\"";

/// One reading: eighths, so that sums are exact in any order.
#[derive(Clone, Copy)]
struct Sample {
    station: usize,
    telemetry: &'static str,
    seconds: i64,
    value: f64,
}

/// What stations measure in three days, in no order: some nothing on a day, one nothing at all.
fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for station in 0..STATIONS - 1 {
        let odd = station as i64;
        for i in 0..40 {
            let seconds = (i * 7_919 + odd * 3_571) % (3 * DAY);
            if (seconds / DAY + odd) % 4 != 0 {
                let value = ((seconds * 31 + odd * 17) % 1_000) as f64 / 8.0 - 50.0;
                let telemetry = "heat";
                samples.push(Sample {
                    station,
                    telemetry,
                    seconds,
                    value,
                });
            }
        }
        for i in 0..5 * (odd % 3) {
            let seconds = (i * 50_021 + odd * 11) % (3 * DAY);
            let (telemetry, value) = ("visits", (i + odd) as f64);
            samples.push(Sample {
                station,
                telemetry,
                seconds,
                value,
            });
        }
    }
    samples
}

fn station(number: usize) -> String {
    format!("t:{number:04}")
}

/// Villages of stations, the last of which are outside of both.
fn village(station: usize) -> Json {
    [json!("v:1"), json!("v:2"), Json::Null][station % 3].clone()
}

async fn add_stations(world: &World, count: usize) {
    let operation = |number: usize| {
        let lon = [29.5, 30.5, 35.0][number % 3];
        let point = json!({"type": "Point", "coordinates": [lon, -2]});
        Operation::Upsert(put(&station(number), "Station", json!({}), Some(point)))
    };
    world.commit((0..count).map(operation).collect()).await;
}

async fn record(world: &World, samples: &[Sample]) {
    let readings = samples.iter().map(|sample| Reading {
        twin: id(&station(sample.station)),
        telemetry: sample.telemetry.into(),
        ts: Some(sample.seconds * 1_000_000),
        value: match sample.telemetry {
            "visits" => Value::Int(sample.value as i64),
            _ => Value::Double(sample.value),
        },
    });
    let readings = Readings {
        principal: Principal::system("test"),
        readings: readings.collect(),
    };
    world.twin.record(readings).await.unwrap();
}

async fn stations() -> World {
    let world = World::small().await;
    add_stations(&world, STATIONS).await;
    record(&world, &samples()).await;
    world
}

async fn ask(world: &World, arguments: &str) -> Json {
    let query = format!(
        "{{ aggregate(class: \"Station\", {arguments}) {{ group {{ value twin {{ id }} }} values }} }}"
    );
    world.data(&query).await["aggregate"].clone()
}

const MEASURES: &str = "measures: [{count: true}, {readings: \"heat\"}, {min: \"heat\"}, \
    {max: \"heat\"}, {sum: \"heat\"}, {mean: \"heat\"}, {readings: \"visits\"}, {sum: \"visits\"}]";

/// What `MEASURES` give of readings that belong together.
fn measured(samples: &[Sample]) -> Json {
    let of = |telemetry: &str| -> Vec<f64> {
        let of = samples.iter().filter(|s| s.telemetry == telemetry);
        of.map(|s| s.value).collect()
    };
    let (heat, visits) = (of("heat"), of("visits"));
    let some = |of: &[f64], value: f64| {
        if of.is_empty() {
            Json::Null
        } else {
            json!(value)
        }
    };
    let twins: BTreeSet<usize> = samples.iter().map(|s| s.station).collect();
    let sum: f64 = heat.iter().sum();
    json!([
        twins.len(),
        heat.len(),
        some(&heat, heat.iter().copied().fold(f64::INFINITY, f64::min)),
        some(
            &heat,
            heat.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        ),
        some(&heat, sum),
        some(&heat, sum / heat.len() as f64),
        visits.len(),
        some(&visits, visits.iter().sum()),
    ])
}

/// Rows of the readings of the time, by their keys.
fn expected(key: &dyn Fn(&Sample) -> Vec<Json>) -> Json {
    // Absent values come last.
    let order = |key: &[Json]| json!(key).to_string().replace("null", "~");
    let mut groups: BTreeMap<String, (Vec<Json>, Vec<Sample>)> = BTreeMap::new();
    for sample in samples() {
        if (FROM..TO).contains(&sample.seconds) {
            let key = key(&sample);
            let group = groups.entry(order(&key)).or_insert((key, Vec::new()));
            group.1.push(sample);
        }
    }
    let rows = groups.into_values().map(|(key, samples)| {
        let part = |value: Json| {
            let is_area = value.as_str().is_some_and(|value| value.starts_with("v:"));
            let twin = if is_area {
                json!({"id": value})
            } else {
                Json::Null
            };
            json!({"value": value, "twin": twin})
        };
        let group: Vec<Json> = key.into_iter().map(part).collect();
        json!({"group": group, "values": measured(&samples)})
    });
    Json::Array(rows.collect())
}

#[tokio::test]
async fn an_aggregate_of_a_time_is_what_every_reading_says() {
    let world = stations().await;
    let day = |seconds: i64| json!(format!("1970-01-0{}T00:00:00Z", seconds / DAY + 1));
    let hours = |seconds: i64| {
        let (day, hour) = (seconds / DAY + 1, seconds % DAY / 21_600 * 6);
        json!(format!("1970-01-0{day}T{hour:02}:00:00Z"))
    };
    let check = async |by: &str, key: &dyn Fn(&Sample) -> Vec<Json>| {
        let found = ask(&world, &format!("{by} {TIME}, {MEASURES}")).await;
        assert_eq!(found, expected(key), "{by}");
    };
    check("by: [{area: \"Village\"}, {every: \"P1D\"}],", &|s| {
        vec![village(s.station), day(s.seconds)]
    })
    .await;
    check("by: [{every: \"PT6H\"}, {area: \"Village\"}],", &|s| {
        vec![hours(s.seconds), village(s.station)]
    })
    .await;
    check("by: [{every: \"P1D\"}],", &|s| vec![day(s.seconds)]).await;
    check("by: [{class: true}],", &|_| vec![json!("Station")]).await;
    // Without a window all of the time is one, with every twin in it once.
    check("", &|_| vec![]).await;
}

#[tokio::test]
async fn an_aggregate_of_a_time_takes_conditions_and_variables() {
    let world = stations().await;
    let query = "query Q($from: DateTime!, $to: DateTime!, $every: Duration!) { aggregate( \
        class: \"Station\", where: {id: {eq: \"t:0001\"}}, from: $from, to: $to, \
        by: [{every: $every}], measures: [{readings: \"heat\"}]) { group { value } values } }";
    let variables = json!({"from": "1970-01-01T00:00:00Z", "to": "1970-01-04T00:00:00Z",
        "every": "P7D"});
    let answer = world.ask_with(query, variables).await;
    let count = samples()
        .iter()
        .filter(|s| s.station == 1 && s.telemetry == "heat")
        .count();
    // Weeks begin on a Thursday, as 1970 did.
    assert_eq!(
        answer["data"]["aggregate"],
        json!([{"group": [{"value": "1970-01-01T00:00:00Z"}], "values": [count]}])
    );
}

#[tokio::test]
async fn an_aggregate_of_a_time_without_readings_has_a_row_only_where_all_is_one() {
    let world = stations().await;
    let time = "from: \"1999-01-01T00:00:00Z\", to: \"1999-01-02T00:00:00Z\"";
    assert_eq!(
        ask(&world, &format!("{time}, {MEASURES}")).await,
        json!([{"group": [], "values": [0, 0, null, null, null, null, 0, null]}])
    );
    for by in ["{every: \"PT1H\"}", "{area: \"Village\"}"] {
        let found = ask(&world, &format!("by: [{by}], {time}, {MEASURES}")).await;
        assert_eq!(found, json!([]), "{by}");
    }
}

#[tokio::test]
async fn an_aggregate_of_a_time_that_cannot_be_asked_for_says_why() {
    let world = World::small().await;
    let time = "from: \"2026-01-01T00:00:00Z\", to: \"2026-02-01T00:00:00Z\"";
    let heat = "measures: [{mean: \"heat\"}]";
    let early = "2026-01-01T00:00:00Z";
    let cases = [
        (
            format!("by: [{{every: \"P1D\"}}], {heat}"),
            "`from` and `to`",
        ),
        (
            "measures: [{readings: \"heat\"}]".to_owned(),
            "`from` and `to`",
        ),
        (format!("from: \"{early}\", {heat}"), "`from` and `to`"),
        (format!("to: \"{early}\", {heat}"), "`from` and `to`"),
        (
            format!("from: \"{early}\", to: \"{early}\", {heat}"),
            "not before",
        ),
        (
            format!("from: \"{early}\", to: \"2025-01-01T00:00:00Z\", {heat}"),
            "not before",
        ),
        (
            format!("from: \"{early}\", to: \"tomorrow\", {heat}"),
            "`to` is",
        ),
        (format!("{time}, measures: []"), "names a telemetry"),
        (
            format!("{time}, measures: [{{count: true}}]"),
            "names a telemetry",
        ),
        (
            format!("by: [{{every: \"P1D\"}}, {{every: \"PT1H\"}}], {time}, {heat}"),
            "more than once",
        ),
        (
            format!("by: [{{every: \"P1M\"}}], {time}, {heat}"),
            "ISO 8601",
        ),
        (
            format!("by: [{{every: \"PT0.5S\"}}], {time}, {heat}"),
            "ISO 8601",
        ),
        (
            format!("by: [{{every: \"-P1D\"}}], {time}, {heat}"),
            "ISO 8601",
        ),
        (
            format!("{time}, measures: [{{readings: \"name\"}}]"),
            "not a number",
        ),
        (
            format!("{time}, measures: [{{readings: true}}]"),
            "measures.0.readings",
        ),
    ];
    for (arguments, part) in cases {
        let query = format!("{{ aggregate(class: \"Station\", {arguments}) {{ values }} }}");
        let (refused, message) = world.error(&query).await;
        assert_eq!(refused, "INVALID_INPUT", "{arguments}: {message}");
        assert!(message.contains(part), "{arguments}: {message}");
    }
    let (refused, message) = world
        .error(&format!(
            "{{ aggregate(class: \"Area\", {time}, measures: [{{sum: \"population\"}}]) {{ values }} }}"
        ))
        .await;
    assert_eq!(refused, "INVALID_INPUT");
    assert!(message.contains("only telemetry"), "{message}");
}

#[tokio::test]
async fn an_aggregate_of_a_time_has_so_many_windows() {
    let world = stations().await;
    let ask = |to: usize, half: &str| {
        let (minutes, seconds) = (to / 60, to % 60);
        format!(
            "{{ aggregate(class: \"Station\", from: \"1970-01-01T00:00:00{half}Z\", \
             to: \"1970-01-01T00:{minutes:02}:{seconds:02}{half}Z\", by: [{{every: \"PT1S\"}}], \
             measures: [{{readings: \"heat\"}}]) {{ group {{ value twin {{ id }} }} values }} }}"
        )
    };
    world.data(&ask(MAX_AGGREGATE_WINDOWS, "")).await;
    // Cut windows at both ends make one more.
    for (to, half) in [
        (MAX_AGGREGATE_WINDOWS + 1, ""),
        (MAX_AGGREGATE_WINDOWS, ".5"),
    ] {
        let (code, message) = world.error(&ask(to, half)).await;
        assert_eq!(code, "TOO_COSTLY", "{message}");
        assert!(message.contains("MAX_AGGREGATE_WINDOWS"), "{message}");
        assert!(message.contains("1001 windows"), "{message}");
    }
    // What is asked of each group counts as often as there can be windows.
    let related = "twin { related(first: 500) { edges { node { id } } } }";
    let deep = ask(MAX_AGGREGATE_WINDOWS, "").replace("twin { id }", related);
    let (code, message) = world.error(&deep).await;
    assert_eq!(code, "TOO_COSTLY");
    assert!(message.contains("MAX_NODES"), "{message}");
    world.data(&deep.replace("PT1S", "PT1H")).await;
}

#[tokio::test]
async fn aggregates_of_an_answer_read_so_many_series() {
    let world = World::small().await;
    let sample = |station: usize| Sample {
        station,
        telemetry: "heat",
        seconds: 1,
        value: 1.0,
    };
    // `s:1` of the small world has one, too.
    let full = MAX_AGGREGATE_SERIES - 1;
    add_stations(&world, full + 1).await;
    record(&world, &(0..full).map(sample).collect::<Vec<_>>()).await;
    let readings = "aggregate(class: \"Station\", from: \"1970-01-01T00:00:00Z\", \
        to: \"1970-01-01T00:01:00Z\", measures: [{readings: \"heat\"}]) { values }";
    // One that measured nothing is no series.
    let data = world.data(&format!("{{ {readings} }}")).await;
    assert_eq!(data, json!({"aggregate": [{"values": [full]}]}));
    let refused = async |query: String| {
        let (code, message) = world.error(&query).await;
        assert_eq!(code, "TOO_COSTLY", "{query}");
        assert!(message.contains("MAX_AGGREGATE_SERIES"), "{message}");
    };
    refused(format!("{{ one: {readings} two: {readings} }}")).await;
    record(&world, &[sample(full)]).await;
    refused(format!("{{ {readings} }}")).await;
}

#[tokio::test]
async fn windows_count_among_the_groups_of_an_aggregate() {
    let world = World::small().await;
    let stations = MAX_GROUPS / MAX_AGGREGATE_WINDOWS + 1;
    let named = |number: usize| {
        let name = json!({"name": number.to_string()});
        Operation::Upsert(put(&station(number), "Station", name, None))
    };
    world.commit((0..stations).map(named).collect()).await;
    let samples = (0..stations * MAX_AGGREGATE_WINDOWS).map(|place| Sample {
        station: place / MAX_AGGREGATE_WINDOWS,
        telemetry: "heat",
        seconds: (place % MAX_AGGREGATE_WINDOWS) as i64,
        value: 1.0,
    });
    record(&world, &samples.collect::<Vec<_>>()).await;
    let query = "{ aggregate(class: \"Station\", from: \"1970-01-01T00:00:00Z\", \
        to: \"1970-01-01T00:16:40Z\", by: [{property: \"name\"}, {every: \"PT1S\"}], \
        measures: [{readings: \"heat\"}]) { values } }";
    let (code, message) = world.error(query).await;
    assert_eq!(code, "TOO_COSTLY");
    assert!(message.contains("MAX_GROUPS"), "{message}");
    let longer = world.data(&query.replace("PT1S", "PT2S")).await;
    let rows = vec![json!({"values": [2]}); stations * MAX_AGGREGATE_WINDOWS / 2];
    assert_eq!(longer, json!({"aggregate": rows}));
}
