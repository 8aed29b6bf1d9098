//! Apps follow what happens: graphql-ws and curl, clients that nobody here wrote, hear every change
//! once, in order, over crashes and restarts of the twin.
//!
//! # Invariants
//! - Nothing is filtered, so positions are consecutive: a loss or a repeat shows in them.
//! - What was heard in pieces is what a subscriber from the first position hears.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test outside its functions too fails by panicking"
)]

use std::{
    io::BufRead as _,
    process::Command,
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};
use tests::{Foreign, Start, Twin, ask, clock, node, publisher, register_stations, station};

/// An event is heard within this time, on a busy machine too.
const SOON: Duration = Duration::from_mins(1);
/// Events that are heard before the twin is killed under its writers.
const BEFORE_KILL: usize = 200;
/// Readings of one call of the publisher.
const READINGS: usize = 300;
/// Lines that wait for the test to read them.
const LINES_AHEAD: usize = 10_000;

const CHANGES: &str = "subscription($after: String) { changes(after: $after) {
    position kind at principal id class
    before { id label revision } after { id label revision }
    relationship { name source target }
    reading { telemetry value ts } } }";

/// A subscription of graphql-ws.
struct Subscriber {
    _client: Foreign,
    lines: Receiver<Value>,
}

impl Subscriber {
    #[track_caller]
    fn new(twin: &Twin, after: &str) -> Self {
        let mut command = node("subscribe.mjs");
        command.arg(format!("ws://{}/graphql/ws", twin.http()));
        command
            .arg(CHANGES)
            .arg(json!({ "after": after }).to_string());
        let mut client = Foreign::start(&mut command);
        let lines = lines_of(&mut client);
        Self {
            _client: client,
            lines,
        }
    }

    /// The next event; none once the subscription or the connection ended.
    #[track_caller]
    fn next(&self) -> Option<Value> {
        loop {
            let line = self
                .lines
                .recv_timeout(SOON)
                .unwrap_or_else(|why| panic!("nothing more was heard: {why}"));
            if let Some(answer) = line.get("next") {
                assert!(answer.get("errors").is_none(), "{answer}");
                return Some(answer["data"]["changes"].clone());
            }
            if line.get("closed").is_some() || line.get("complete").is_some() {
                return None;
            }
            assert!(line.get("connected").is_some(), "unexpected: {line}");
        }
    }

    /// Events up to the one at this position.
    #[track_caller]
    fn heard_until(&self, position: &str, heard: &mut Vec<Value>) {
        while heard
            .last()
            .is_none_or(|event| event["position"] != *position)
        {
            let event = self.next();
            heard.push(event.unwrap_or_else(|| panic!("it ended before {position}")));
        }
    }

    /// What was still on its way when the twin ended.
    #[track_caller]
    fn heard_to_the_end(&self, heard: &mut Vec<Value>) {
        while let Some(event) = self.next() {
            heard.push(event);
        }
    }
}

/// Lines of JSON that a program writes, as they come.
fn lines_of(client: &mut Foreign) -> Receiver<Value> {
    let output = client.output();
    let (send, lines) = mpsc::sync_channel(LINES_AHEAD);
    thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        for line in lines.filter(|line| !line.is_empty()) {
            let said = serde_json::from_str(&line);
            let said = said.unwrap_or_else(|_| json!({ "said": line }));
            if send.send(said).is_err() {
                return;
            }
        }
    });
    lines
}

/// `curl` that reads `/log`.
fn log_reader(twin: &Twin, query: &str) -> Foreign {
    let url = format!("http://{}/log?{query}", twin.http());
    Foreign::start(Command::new("curl").args(["-sS", "-N", "--fail-with-body", &url]))
}

fn position(twin: &Twin) -> String {
    twin.graphql("{ position }", json!({})).position()
}

fn offset(event: &Value) -> u64 {
    let position = event["position"].as_str().unwrap();
    position.strip_prefix("main:").unwrap().parse().unwrap()
}

fn last(heard: &[Value]) -> &str {
    heard.last().unwrap()["position"].as_str().unwrap()
}

/// One commit: a new institution, part of the one before.
fn commit(http: &str, name: &str, before: Option<&str>) -> Result<(), String> {
    let mut operations = vec![json!({ "upsert": {
        "class": "Institution", "id": name, "set": { "name": name } } })];
    if let Some(before) = before {
        operations.push(json!({ "relate": {
            "source": name, "relationship": "partOf", "target": before } }));
        operations.push(json!({ "patch": {
            "class": "Institution", "id": before, "set": { "name": format!("before {name}") } } }));
    }
    let query =
        "mutation($operations: [Operation!]!) { commit(operations: $operations) { position } }";
    ask(http, query, &json!({ "operations": operations }))?.data();
    Ok(())
}

/// Commits so many times, or until the twin is gone.
fn committing(twin: &Twin, round: usize, times: usize) -> JoinHandle<()> {
    let http = twin.http().to_owned();
    thread::spawn(move || {
        let mut before: Option<String> = None;
        for number in 0..times {
            let name = format!("follow:{round}:{number}");
            if commit(&http, &name, before.as_deref()).is_err() {
                return;
            }
            before = Some(name);
        }
    })
}

/// Publishes readings of the station with the number of the round.
#[track_caller]
fn publishing(twin: &Twin, round: usize) -> Foreign {
    let topic = format!("twin/rw/{}/telemetry", station(round));
    let args = ["-l", "-q", "1", "-t", &topic];
    let mut client = Foreign::start(&mut publisher(twin.mqtt(), &args));
    let mut input = client.input();
    let first = clock() / 1_000_000 - READINGS as i64;
    let lines: Vec<String> = (0..READINGS)
        .map(|number| (first + number as i64, number))
        .map(|(ts, number)| format!("{{\"ts\":{ts},\"pm25\":{number}}}\n"))
        .collect();
    thread::spawn(move || {
        // A killed twin ends its client, which then reads no more.
        drop(std::io::Write::write_all(
            &mut input,
            lines.concat().as_bytes(),
        ));
    });
    client
}

#[test]
fn a_subscriber_hears_every_change_once_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, 3);
    let start = || Start::serve().dir(&dir).ready();

    // All is well: what happens is heard while it happens.
    let mut twin = start();
    let first = position(&twin);
    let mut heard = Vec::new();
    let subscriber = Subscriber::new(&twin, &first);
    let app = committing(&twin, 0, 50);
    let published = publishing(&twin, 0).finished(SOON);
    assert_eq!(published.code, Some(0), "{published:?}");
    app.join().unwrap();
    subscriber.heard_until(&position(&twin), &mut heard);

    // The twin is killed while it is written to.
    let app = committing(&twin, 1, usize::MAX);
    let mut device = publishing(&twin, 1);
    for _ in 0..BEFORE_KILL {
        heard.push(subscriber.next().unwrap());
    }
    twin.kill9();
    device.kill();
    app.join().unwrap();
    subscriber.heard_to_the_end(&mut heard);

    // It comes up again, perhaps with more than was heard, and is stopped in order.
    let mut twin = start();
    let subscriber = Subscriber::new(&twin, last(&heard));
    let published = publishing(&twin, 2).finished(SOON);
    assert_eq!(published.code, Some(0), "{published:?}");
    subscriber.heard_until(&position(&twin), &mut heard);
    committing(&twin, 2, 20).join().unwrap();
    twin.interrupt();
    subscriber.heard_to_the_end(&mut heard);

    // And once more, with a subscriber beside it that hears all from the beginning.
    let twin = start();
    let subscriber = Subscriber::new(&twin, last(&heard));
    committing(&twin, 3, 20).join().unwrap();
    let end = position(&twin);
    subscriber.heard_until(&end, &mut heard);
    let mut all = Vec::new();
    Subscriber::new(&twin, "main:0").heard_until(&end, &mut all);

    let offsets: Vec<u64> = all.iter().map(offset).collect();
    let whole: Vec<u64> = (1..=all.len() as u64).collect();
    assert_eq!(
        offsets, whole,
        "from the first position on, nothing is left out"
    );
    let from = first
        .strip_prefix("main:")
        .unwrap()
        .parse::<usize>()
        .unwrap();
    assert_eq!(heard.len(), all.len() - from);
    for (heard, all) in heard.iter().zip(&all[from..]) {
        assert_eq!(heard, all);
    }
    let of = |kind: &str| all.iter().filter(|event| event["kind"] == kind).count();
    assert!(of("READING") >= 2 * READINGS, "{}", of("READING"));
    assert_eq!(
        of("CREATED") + of("UPDATED") + of("RELATED") + of("READING"),
        all.len()
    );
    println!("{} changes heard in 4 pieces", heard.len());
}

#[test]
fn a_reader_of_the_log_reads_every_line_once_over_kills_of_both() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, 3);
    let start = || Start::serve().dir(&dir).ready();
    let mut read = Vec::new();
    let next = |lines: &Receiver<Value>| {
        let line = lines.recv_timeout(SOON);
        line.unwrap_or_else(|why| panic!("nothing more was read: {why}"))
    };

    // The reader is killed while it reads.
    let mut twin = start();
    let mut reader = log_reader(&twin, "");
    let lines = lines_of(&mut reader);
    let app = committing(&twin, 0, 50);
    let published = publishing(&twin, 0).finished(SOON);
    assert_eq!(published.code, Some(0), "{published:?}");
    for _ in 0..BEFORE_KILL {
        read.push(next(&lines));
    }
    reader.kill();
    app.join().unwrap();

    // Another goes on, until the twin is killed under its writers.
    let mut reader = log_reader(&twin, &format!("after={}", last(&read)));
    let lines = lines_of(&mut reader);
    let app = committing(&twin, 1, usize::MAX);
    let mut device = publishing(&twin, 1);
    for _ in 0..2 * BEFORE_KILL {
        read.push(next(&lines));
    }
    twin.kill9();
    device.kill();
    app.join().unwrap();
    // A line that was cut by the kill is no JSON, and none of these.
    let whole = lines.iter().filter(|line| line.get("position").is_some());
    read.extend(whole);
    let cut = reader.finished(SOON);
    assert_ne!(cut.code, Some(0), "a log that was cut does not end well");

    // And on, until the twin is stopped in order.
    let mut twin = start();
    let mut reader = log_reader(&twin, &format!("after={}", last(&read)));
    let lines = lines_of(&mut reader);
    let published = publishing(&twin, 2).finished(SOON);
    assert_eq!(published.code, Some(0), "{published:?}");
    let end = position(&twin);
    while read.last().is_none_or(|line| line["position"] != *end) {
        read.push(next(&lines));
    }
    twin.interrupt();
    assert!(lines.iter().next().is_none());
    assert_ne!(reader.finished(SOON).code, Some(0));

    let twin = start();
    let all = log_reader(&twin, "until=now").finished(SOON);
    assert_eq!(all.code, Some(0), "{}", all.err);
    let all: Vec<Value> = all
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let offsets: Vec<u64> = all.iter().map(offset).collect();
    let whole: Vec<u64> = (1..=all.len() as u64).collect();
    assert_eq!(offsets, whole, "nothing is left out");
    assert_eq!(last(&all), end);
    assert_eq!(read.len(), all.len());
    for (read, all) in read.iter().zip(&all) {
        assert_eq!(read, all);
    }
    // It says what the API says.
    let mut heard = Vec::new();
    Subscriber::new(&twin, "main:0").heard_until(&end, &mut heard);
    assert_eq!(heard.len(), all.len());
    for (line, event) in all.iter().zip(&heard) {
        for part in ["position", "kind", "at", "principal", "id", "class"] {
            assert_eq!(line[part], event[part], "{part} of {line}");
        }
        for part in ["before", "after", "relationship", "reading"] {
            let Some(members) = event[part].as_object() else {
                assert!(line.get(part).is_none(), "{line}");
                continue;
            };
            for (name, value) in members.iter().filter(|(name, _)| *name != "label") {
                let told = &line[part][name];
                // JavaScript writes 0.0 as 0.
                let same = told == value || told.is_number() && told.as_f64() == value.as_f64();
                assert!(same, "{part}.{name} is {value} in the API: {line}");
            }
        }
    }
}
