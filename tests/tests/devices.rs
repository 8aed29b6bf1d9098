//! Devices are heard: what `mosquitto_pub`, a client that nobody here wrote, publishes is seen.
//!
//! # Invariants
//! - What was acknowledged is looked for once, at once: it must be there.
//! - Every message ends in a reading or in a dead letter, and in a counter of `/metrics`; the sums are
//!   checked.
#![expect(
    clippy::unwrap_used,
    reason = "a test outside its functions too fails by panicking"
)]

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    Checks, Finished, Foreign, Start, Twin, micros, publisher, register_stations, station, until,
};

/// A publish is answered within this time, on a busy machine too.
const SOON: Duration = Duration::from_mins(1);
/// Lines of one `mosquitto_pub -l`.
const LINES: usize = 500;
/// When the first line was measured.
const BASE_SECS: usize = 1_700_000_000;
/// Versions of MQTT, as `mosquitto_pub -V` names them.
const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

/// Dead letters, the newest first.
const LETTERS: &str = "SELECT number, reason, detail, topic, size, payload FROM _dead_letter \
                       ORDER BY number DESC";

fn topic(id: &str) -> String {
    format!("twin/rw/{id}/telemetry")
}

fn reading(secs: usize, value: f64) -> String {
    format!(r#"{{"schema_version": 1, "ts": {secs}.25, "values": {{"pm25": {value}}}}}"#)
}

/// Publishes and waits until the client has what it wanted.
#[track_caller]
fn publish(
    twin: &Twin,
    version: &str,
    qos: u8,
    topic: &str,
    more: &[&str],
    lines: &str,
) -> Finished {
    let qos = qos.to_string();
    let args = [&["-V", version, "-q", &qos, "-t", topic], more].concat();
    Foreign::start(&mut publisher(twin.mqtt(), &args)).fed(lines, SOON)
}

/// The latest PM2.5 of a station: value and time.
#[track_caller]
fn latest(twin: &Twin, id: &str) -> Option<(f64, i64)> {
    let query =
        "query($id: ID!) { twin(id: $id) { ... on AirQualityStation { pm25 { value ts } } } }";
    let answer = twin.graphql(query, json!({ "id": id }));
    let pm25 = &answer.data()["twin"]["pm25"];
    Some((pm25["value"].as_f64()?, micros(pm25["ts"].as_str()?)))
}

/// The time of [`reading`], microseconds since 1970.
const fn measured(secs: usize) -> i64 {
    secs as i64 * 1_000_000 + 250_000
}

/// One station for each way to publish.
fn ways() -> impl Iterator<Item = (usize, &'static str, u8, bool)> {
    let ways = VERSIONS.into_iter().flat_map(|version| {
        [0, 1, 2]
            .into_iter()
            .flat_map(move |qos| [false, true].map(|many| (version, qos, many)))
    });
    ways.enumerate()
        .map(|(number, (version, qos, many))| (number, version, qos, many))
}

/// Number of the station that only refused messages name.
const QUIET: usize = 12;

fn readings(checks: &mut Checks, twin: &Twin) {
    checks.check("each way to publish is heard, with value and time", || {
        for (number, version, qos, many) in ways() {
            let id = station(number);
            let value = |line: usize| 10.5 + line as f64;
            let (last, published) = if many {
                let lines: String = (0..LINES)
                    .map(|line| reading(BASE_SECS + line, value(line)) + "\n")
                    .collect();
                (
                    LINES - 1,
                    publish(twin, version, qos, &topic(&id), &["-l"], &lines),
                )
            } else {
                let message = reading(BASE_SECS, value(0));
                (
                    0,
                    publish(twin, version, qos, &topic(&id), &["-m", &message], ""),
                )
            };
            let way = format!("{version}, QoS {qos}, many: {many}");
            assert_eq!(published.code, Some(0), "{way}: {published:?}");
            let expected = (value(last), measured(BASE_SECS + last));
            if qos == 0 {
                // Nobody says when it has arrived.
                until(&way, SOON, || {
                    latest(twin, &id).filter(|latest| *latest == expected)
                });
            } else {
                assert_eq!(latest(twin, &id), Some(expected), "{way}");
            }
        }
    });
    checks.check("every one of them is counted", || {
        let all: usize = ways()
            .map(|(_, _, _, many)| if many { LINES } else { 1 })
            .sum();
        let all = all as u64;
        assert_eq!(twin.metric("twin_readings_total"), all);
        assert_eq!(twin.metric("twin_mqtt_readings_total"), all);
        assert_eq!(twin.metric("twin_mqtt_messages_total"), all);
        assert_eq!(twin.metric("twin_readings_duplicate_total"), 0);
    });
    checks.check("the history is what was published, in order", || {
        let (number, ..) = ways().find(|(_, _, _, many)| *many).unwrap();
        let query = "query($id: ID!) { twin(id: $id) { ... on AirQualityStation {
                       pm25 { history(from: \"2023-01-01T00:00:00Z\") { value ts } } } } }";
        let answer = twin.graphql(query, json!({ "id": station(number) }));
        let history = answer.data()["twin"]["pm25"]["history"].as_array().unwrap();
        assert_eq!(history.len(), LINES);
        for (line, reading) in history.iter().enumerate() {
            assert_eq!(reading["value"], 10.5 + line as f64);
            assert_eq!(
                micros(reading["ts"].as_str().unwrap()),
                measured(BASE_SECS + line)
            );
        }
    });
    checks.check("the same reading again replaces it and is counted", || {
        let (_, version, qos, _) = ways().last().unwrap();
        let id = station(0);
        let message = reading(BASE_SECS, 99.0);
        publish(twin, version, qos, &topic(&id), &["-m", &message], "");
        assert_eq!(latest(twin, &id), Some((99.0, measured(BASE_SECS))));
        assert_eq!(twin.metric("twin_readings_duplicate_total"), 1);
    });
}

fn refusals(checks: &mut Checks, twin: &Twin) {
    let quiet = topic(&station(QUIET));
    let good = reading(BASE_SECS, 1.0);
    // Beyond the largest payload, within the largest packet.
    let large = format!(
        r#"{{"values": {{"pm25": 1}}, "ts": "{}"}}"#,
        "0".repeat(300 << 10)
    );
    let future = reading(4_000_000_000, 1.0);
    let cases = [
        ("unknown_device", topic("test:station:none"), &*good),
        ("unknown_device", topic("not an id"), &good),
        ("foreign_topic", "factory/line/1".to_owned(), &good),
        (
            "foreign_topic",
            "twin/ke/test:station:8/telemetry".to_owned(),
            &good,
        ),
        ("malformed_json", quiet.clone(), r#"{"values": {"pm25": 1"#),
        ("malformed_json", quiet.clone(), "pm25=31.4"),
        ("wrong_shape", quiet.clone(), r#"{"values": [1]}"#),
        (
            "wrong_type",
            quiet.clone(),
            r#"{"values": {"pm25": "much"}}"#,
        ),
        ("unknown_name", quiet.clone(), r#"{"values": {"pm2.5": 1}}"#),
        (
            "wrong_time",
            quiet.clone(),
            r#"{"ts": 1732180000125, "values": {"pm25": 1}}"#,
        ),
        ("future_time", quiet.clone(), &future),
        (
            "past_time",
            quiet.clone(),
            r#"{"ts": 86400, "values": {"pm25": 1}}"#,
        ),
        ("too_large", quiet, &large),
    ];
    let refused = "what is refused is acknowledged, kept with its reason and counted by it";
    checks.check(refused, || {
        for version in VERSIONS {
            for (reason, topic, payload) in &cases {
                let counter = format!("twin_mqtt_refused_total{{reason=\"{reason}\"}}");
                let before = twin.metric(&counter);
                let published = publish(twin, version, 1, topic, &["-s"], payload);
                let case = format!("{version}, {reason}, {topic}");
                assert_eq!(published.code, Some(0), "{case}: {published:?}");
                assert_eq!(twin.metric(&counter), before + 1, "{case}");
                let letters = twin.surql(&format!("{LETTERS} LIMIT 1"));
                let letter = &letters[0][0];
                assert_eq!(letter["reason"], *reason, "{case}: {letter}");
                assert_eq!(letter["topic"], *topic, "{case}: {letter}");
                assert_eq!(letter["size"], payload.len(), "{case}");
                let kept = letter["payload"].as_str().unwrap();
                assert!(
                    !kept.is_empty() && payload.starts_with(kept),
                    "{case}: {letter}"
                );
                assert!(
                    !letter["detail"].as_str().unwrap().is_empty(),
                    "{case}: {letter}"
                );
            }
        }
    });
    checks.check("and leaves nothing in the twin", || {
        assert_eq!(latest(twin, &station(QUIET)), None);
        let sum = |names: &[&str]| -> u64 { names.iter().map(|name| twin.metric(name)).sum() };
        assert_eq!(
            twin.metric("twin_mqtt_messages_total"),
            sum(&["twin_mqtt_accepted_total"]) + (VERSIONS.len() * cases.len()) as u64
        );
    });
}

/// A station that is not registered speaks; once it is, what it said is taken in.
#[test]
fn a_dead_letter_is_taken_in_again_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, 1);
    let mut twin = Start::serve().dir(&dir).ready();
    let late = station(1);
    let message = reading(BASE_SECS, 12.5);
    publish(&twin, "mqttv5", 1, &topic(&late), &["-m", &message], "");
    let address = twin.http().to_owned();
    let letters = |args: &[&str]| {
        let start = Start::bare("dead-letters").arg("--url").arg(&address);
        let done = args.iter().fold(start, Start::arg).finished();
        (done.code, done.out, done.err)
    };
    let (code, listed, _) = letters(&["list", "--reason", "unknown_device"]);
    assert_eq!(code, Some(0), "{listed}");
    assert!(listed.contains(&topic(&late)), "{listed}");
    let (_, shown, _) = letters(&["show", "0"]);
    assert!(shown.contains(&message), "{shown}");
    let (code, _, why) = letters(&["retry", "0"]);
    assert_eq!(code, Some(3), "{why}");
    assert!(why.contains("register the device"), "{why}");
    let register = "mutation($id: ID!) { upsertAirQualityStation(input: {id: $id}) { changes } }";
    twin.graphql(register, json!({ "id": late })).data();
    let (code, taken, why) = letters(&["retry", "0"]);
    assert_eq!(code, Some(0), "{why}");
    assert!(taken.contains("taken in at main:"), "{taken}");
    assert_eq!(latest(&twin, &late), Some((12.5, measured(BASE_SECS))));
    let (code, _, why) = letters(&["show", "0", "9999"]);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("9999: it is not kept"), "{why}");
    assert_eq!(letters(&["list", "0"]).0, Some(2));
    assert_eq!(letters(&["retry"]).0, Some(2));
    // The same of the folder, once nobody holds it.
    twin.interrupt();
    let done = Start::bare("dead-letters").arg("show").arg("0").dir(&dir);
    let shown = done.finished();
    assert!(shown.out.contains(&message), "{}{}", shown.out, shown.err);
}

#[test]
fn what_mosquitto_publishes_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, QUIET + 1);
    let mut twin = Start::serve().dir(&dir).ready();
    let mut checks = Checks::new();
    readings(&mut checks, &twin);
    refusals(&mut checks, &twin);
    let total = twin.metric("twin_readings_total") as usize;
    let letters = twin.surql(LETTERS);
    twin.kill9();
    checks.check("dead letters outlive a crash", || {
        let again = Start::serve().dir(&dir).ready();
        assert_eq!(again.surql(LETTERS), letters);
        assert!(
            letters[0]
                .as_array()
                .is_some_and(|letters| letters.len() > 10)
        );
    });
    checks.check("every reading is in the log, once, as it was sent", || {
        let exported = Start::bare("export")
            .arg("readings")
            .arg("--after")
            .arg("main:0")
            .dir(&dir)
            .finished();
        assert_eq!(exported.code, Some(0), "{}", exported.err);
        let lines: Vec<Value> = exported
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), total);
        for (number, _, _, many) in ways().filter(|(number, ..)| *number > 0) {
            let id = station(number);
            let values: Vec<f64> = lines
                .iter()
                .filter(|line| line["twin"] == *id)
                .filter_map(|line| line["value"].as_f64())
                .collect();
            let expected: Vec<f64> = (0..if many { LINES } else { 1 })
                .map(|line| 10.5 + line as f64)
                .collect();
            assert_eq!(values, expected, "{id}");
        }
        let repeated: Vec<&Value> = lines
            .iter()
            .filter(|line| line["twin"] == *station(0))
            .collect();
        assert_eq!(repeated.len(), 2, "{repeated:?}");
    });
    checks.finish();
}
