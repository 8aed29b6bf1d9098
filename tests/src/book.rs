//! What devices and apps wrote to a twin and were answered, and whether the twin still has it.
//!
//! # Invariants
//! - Reading `n` of a station has the value `n`, so what is missing or never sent is plain to see.
//! - What was sent but not acknowledged may be there or not: once at most, and whole.
//! - What was refused with certainty is not there.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};

use crate::{Finished, Foreign, Start, Twin, ask, micros, publisher, station, strings};

/// Apps that commit at the same time.
const APPS: usize = 2;
/// Publishes of one station that wait for their acknowledgement.
const WINDOW: usize = 100;
/// Lines of one run of `mosquitto_pub`: packet ids do not come round within it.
const LINES_MAX: u64 = 60_000;
/// Bytes of a property that makes a commit heavy, so that write buffers fill.
const HEAVY_BYTES: usize = 32 << 10;
/// Time of reading 0, seconds since 1970: a midnight.
const BASE_SECS: u64 = 1_704_067_200;
const BASE_DAY: &str = "2024-01-01";
/// Of so many of the newest readings the history is looked at after each kill.
const RECENT: u64 = 500;
/// Why nothing here is awaited in vain.
const UNDERSTOOD: &str = "the twin answers as asked, and threads of a test end well";
/// Changes of one commit: two institutions and what relates them.
const CHANGES: u64 = 3;

/// What one station sent, over all rounds: reading `n` has the value `n`, a millisecond after the
/// one before.
#[derive(Debug)]
struct Station {
    id: String,
    /// Readings `1..=sent` may have been sent.
    sent: u64,
    acknowledged: BTreeSet<u64>,
}

/// `mosquitto_pub` that publishes for a station.
#[derive(Debug)]
struct Publishing {
    client: Foreign,
    feeding: JoinHandle<u64>,
    listening: JoinHandle<(Vec<u64>, Option<String>)>,
}

impl Station {
    fn publish(&self, mqtt: &str, version: &str, counter: Arc<AtomicUsize>) -> Publishing {
        let topic = format!("twin/rw/{}/telemetry", self.id);
        let args = ["-d", "-l", "-q", "1", "-V", version, "-t", &topic];
        let mut client = Foreign::start(&mut publisher(mqtt, &args));
        let (mut input, output) = (client.input(), client.output());
        let first = self.sent + 1;
        let (permit, permits) = mpsc::sync_channel(WINDOW);
        for _ in 0..WINDOW {
            permit.send(()).expect(UNDERSTOOD);
        }
        let feeding = thread::spawn(move || {
            let mut next = first;
            while permits.recv().is_ok() && next - first < LINES_MAX {
                let (secs, millis) = (BASE_SECS + next / 1_000, next % 1_000);
                let line =
                    format!("{{\"ts\":{secs}.{millis:03},\"values\":{{\"pm25\":{next}}}}}\n");
                next += 1;
                if input.write_all(line.as_bytes()).is_err() {
                    break;
                }
            }
            next - 1
        });
        let listening = thread::spawn(move || {
            // `Client (null) received PUBACK (Mid: 7, RC:0)`; packet ids count the lines.
            let answered = |line: &str| -> Option<(u64, bool)> {
                let (_, rest) = line.split_once("received PUBACK (Mid: ")?;
                let (id, rest) = rest.split_once(", RC:")?;
                Some((id.parse().ok()?, rest.starts_with("0)")))
            };
            let (mut heard, mut refused) = (Vec::new(), None);
            for line in output.lines().map_while(Result::ok) {
                let Some((id, well)) = answered(&line) else {
                    continue;
                };
                if well {
                    heard.push(first + id - 1);
                    counter.fetch_add(1, Ordering::Relaxed);
                } else {
                    refused.get_or_insert(line);
                }
                // The feeder may have ended.
                let _ended = permit.send(());
            }
            (heard, refused)
        });
        Publishing {
            client,
            feeding,
            listening,
        }
    }

    /// Ends its client; what the client was told of a refused reading, if any was.
    fn end(&mut self, mut publishing: Publishing) -> Option<String> {
        publishing.client.kill();
        let (heard, refused) = publishing.listening.join().expect(UNDERSTOOD);
        self.acknowledged.extend(heard);
        self.sent = publishing.feeding.join().expect(UNDERSTOOD);
        refused
    }

    /// Checks the latest reading that the twin shows.
    fn check(&self, shown: &Value) {
        let Self {
            id,
            sent,
            acknowledged,
        } = self;
        let Some(newest) = acknowledged.last() else {
            return;
        };
        let reading = &shown["pm25"];
        let value = reading["value"].as_f64().unwrap_or_default() as u64;
        assert!(
            (*newest..=*sent).contains(&value),
            "{id} acknowledged {newest} and was sent {sent}, and shows {reading}"
        );
        assert_eq!(
            micros(reading["ts"].as_str().expect(UNDERSTOOD)),
            time_of(value),
            "{id}: {reading}"
        );
    }

    /// Checks the history of its newest readings, as the API tells it.
    fn check_recent(&self, twin: &Twin) {
        let Some(newest) = self.acknowledged.last() else {
            return;
        };
        let first = newest.saturating_sub(RECENT);
        let query = "query($id: ID!, $from: DateTime!) { twin(id: $id) { ... on AirQualityStation {
                       pm25 { history(from: $from) { value ts } } } } }";
        let answer = twin.graphql(query, json!({ "id": self.id, "from": text_of(first) }));
        let history = answer.data()["twin"]["pm25"]["history"]
            .as_array()
            .expect(UNDERSTOOD);
        let values: Vec<u64> = history
            .iter()
            .map(|reading| {
                let value = reading["value"].as_f64().expect(UNDERSTOOD) as u64;
                assert_eq!(
                    micros(reading["ts"].as_str().expect(UNDERSTOOD)),
                    time_of(value),
                    "{reading}"
                );
                value
            })
            .collect();
        assert!(values.is_sorted_by(|a, b| a < b), "{}: {values:?}", self.id);
        assert!(
            values.last().is_none_or(|last| *last <= self.sent),
            "{}: never sent",
            self.id
        );
        let lost: Vec<_> = self
            .acknowledged
            .range(first..)
            .filter(|value| values.binary_search(value).is_err())
            .collect();
        assert!(
            lost.is_empty(),
            "{} acknowledged and lost {lost:?}",
            self.id
        );
    }

    /// Checks its readings in the history, each a line of an export; those that were acknowledged
    /// and are not there.
    fn lost(&self, lines: &[Value]) -> Vec<u64> {
        let Self {
            id,
            sent,
            acknowledged,
        } = self;
        let mut found = BTreeSet::new();
        for line in lines.iter().filter(|line| line["twin"] == **id) {
            let value = line["value"].as_f64().expect(UNDERSTOOD) as u64;
            assert!((1..=*sent).contains(&value), "never sent: {line}");
            assert_eq!(
                micros(line["ts"].as_str().expect(UNDERSTOOD)),
                time_of(value),
                "{line}"
            );
            assert!(found.insert(value), "twice: {line}");
        }
        acknowledged.difference(&found).copied().collect()
    }
}

fn time_of(reading: u64) -> i64 {
    (BASE_SECS * 1_000_000 + reading * 1_000) as i64
}

fn text_of(reading: u64) -> String {
    let (secs, millis) = (reading / 1_000, reading % 1_000);
    let (hours, minutes) = (secs / 3_600, secs / 60 % 60);
    format!(
        "{BASE_DAY}T{hours:02}:{minutes:02}:{:02}.{millis:03}Z",
        secs % 60
    )
}

/// Why a commit has no receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoReceipt {
    /// No answer came.
    Silence(String),
    /// It took so long that the twin answered without waiting for it.
    Late(String),
    /// The twin itself does not know whether it is durable.
    Unknown(String),
    /// It was not done.
    Refused(String),
}

/// One commit: institution `{name}:b` is part of `{name}:a`, both new.
#[derive(Debug, Clone)]
struct Commit {
    name: String,
    /// The position of its receipt, where one came.
    answer: Result<String, NoReceipt>,
}

impl Commit {
    fn ids(&self) -> [String; 2] {
        [format!("{}:a", self.name), format!("{}:b", self.name)]
    }

    /// Sends one under its own key.
    fn sent(http: &str, name: String) -> Self {
        let unsent = Err(NoReceipt::Silence("not sent".to_owned()));
        let mut commit = Self {
            name,
            answer: unsent,
        };
        commit.answer = commit.send(http);
        commit
    }

    /// Sends it under its own key.
    fn send(&self, http: &str) -> Result<String, NoReceipt> {
        let [a, b] = self.ids();
        let heavy = "x".repeat(HEAVY_BYTES);
        let upsert = |id: &str| {
            json!({ "upsert": { "class": "Institution", "id": id, "set": {
                "name": self.name, "website": heavy } } })
        };
        let relate = json!({ "relate": { "source": b, "relationship": "partOf", "target": a } });
        let query = "mutation($operations: [Operation!]!, $key: String) {
            commit(operations: $operations, idempotencyKey: $key) { position } }";
        let operations = [upsert(&a), upsert(&b), relate];
        let variables = json!({ "operations": operations, "key": self.name });
        let answer = ask(http, query, &variables).map_err(NoReceipt::Silence)?;
        if answer.body.get("errors").is_some() {
            let (code, message) = answer.error();
            let message = message.to_owned();
            return Err(match code {
                "TIMEOUT" => NoReceipt::Late(message),
                "UNAVAILABLE" if message.contains("outcome is unknown") => {
                    NoReceipt::Unknown(message)
                }
                "UNAVAILABLE" => NoReceipt::Refused(message),
                _ => panic!("{}", answer.body),
            });
        }
        let position = &answer.data()["commit"]["position"];
        Ok(position.as_str().expect(UNDERSTOOD).to_owned())
    }
}

/// An app that commits again and again until one has no receipt.
fn committing(
    http: String,
    round: u64,
    app: usize,
    acknowledged: Arc<AtomicUsize>,
) -> JoinHandle<Vec<Commit>> {
    thread::spawn(move || {
        let mut commits = Vec::new();
        loop {
            let name = format!("round{round}-app{app}-{}", commits.len());
            let commit = Commit::sent(&http, name);
            let last = commit.answer.is_err();
            commits.push(commit);
            if last {
                return commits;
            }
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Stations and apps that write.
#[derive(Debug)]
pub struct Writing {
    publishing: Vec<Publishing>,
    apps: Vec<JoinHandle<Vec<Commit>>>,
    commits: Arc<AtomicUsize>,
    readings: Arc<AtomicUsize>,
}

impl Writing {
    /// Commits that were acknowledged so far.
    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }

    /// Whether so many commits were acknowledged, and a reading.
    pub fn has(&self, commits: usize) -> bool {
        self.commits() >= commits && self.readings.load(Ordering::Relaxed) > 0
    }

    /// Whether every app has met a commit without a receipt, and ended.
    pub fn over(&self) -> bool {
        self.apps.iter().all(JoinHandle::is_finished)
    }
}

/// What a twin holds, and what it should hold and does not.
#[derive(Debug, Default, Clone, Copy)]
pub struct Held {
    /// Readings that it holds.
    pub readings: u64,
    /// Readings that it acknowledged.
    pub acknowledged: u64,
    /// Of these, those that are gone.
    pub lost_readings: u64,
    /// Commits whose outcome was known.
    pub commits: u64,
    /// Of those that it acknowledged, those that are gone.
    pub lost_commits: u64,
}

/// What there must be.
#[derive(Debug)]
pub struct Book {
    stations: Vec<Station>,
    /// Commits whose outcome is known by now: they are there.
    done: Vec<Commit>,
    /// Commits since the last check.
    fresh: Vec<Commit>,
    /// Changes that were made beside them.
    changes: u64,
    /// What a client was told of a refused reading, of the newest one.
    pub refused: Option<String>,
}

impl Book {
    /// A book of so many stations, registered and silent so far.
    pub fn new(stations: usize) -> Self {
        let new = |number| Station {
            id: station(number),
            sent: 0,
            acknowledged: BTreeSet::new(),
        };
        Self {
            stations: (0..stations).map(new).collect(),
            done: Vec::new(),
            fresh: Vec::new(),
            changes: stations as u64,
            refused: None,
        }
    }

    /// Lets stations and apps write, until [`Book::end`]; rounds of one book have different numbers.
    pub fn start(&self, twin: &Twin, round: u64) -> Writing {
        let [commits, readings] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let versions = ["mqttv311", "mqttv5"].into_iter().cycle();
        let publishing = self.stations.iter().zip(versions);
        let publishing = publishing
            .map(|(station, version)| station.publish(twin.mqtt(), version, Arc::clone(&readings)));
        let publishing = publishing.collect();
        let app = |app| {
            let counter = Arc::clone(&commits);
            committing(twin.http().to_owned(), round, app, counter)
        };
        Writing {
            publishing,
            apps: (0..APPS).map(app).collect(),
            commits,
            readings,
        }
    }

    /// Enters what was written, to a twin that takes no more.
    pub fn end(&mut self, writing: Writing) {
        for (station, publishing) in self.stations.iter_mut().zip(writing.publishing) {
            self.refused = station.end(publishing).or(self.refused.take());
        }
        let apps = writing.apps.into_iter();
        self.fresh
            .extend(apps.flat_map(|app| app.join().expect(UNDERSTOOD)));
    }

    /// Sends one more commit, and enters what was answered.
    pub fn commit(&mut self, twin: &Twin, name: String) -> Result<String, NoReceipt> {
        let commit = Commit::sent(twin.http(), name);
        let answer = commit.answer.clone();
        self.fresh.push(commit);
        answer
    }

    /// Checks that every commit since the last check has a receipt or no answer at all.
    #[track_caller]
    pub fn check_unrefused(&self) {
        let well = |commit: &Commit| matches!(commit.answer, Ok(_) | Err(NoReceipt::Silence(_)));
        let refused: Vec<_> = self.fresh.iter().filter(|commit| !well(commit)).collect();
        assert!(refused.is_empty(), "refused: {refused:?}");
        assert_eq!(self.refused, None, "a reading was refused");
    }

    /// Checks a twin that has come up again, and settles what was in doubt.
    #[track_caller]
    pub fn check(&mut self, twin: &Twin) {
        let query =
            "{ airQualityStations(first: 100) { edges { node { id pm25 { value ts } } } } }";
        let answer = twin.graphql(query, json!({}));
        let edges = answer.data()["airQualityStations"]["edges"]
            .as_array()
            .expect(UNDERSTOOD);
        assert_eq!(edges.len(), self.stations.len());
        for station in &self.stations {
            let edge = edges.iter().find(|edge| edge["node"]["id"] == *station.id);
            station.check(&edge.expect(UNDERSTOOD)["node"]);
            station.check_recent(twin);
        }
        let lost = self.lost_commits(twin);
        assert!(lost.is_empty(), "acknowledged and gone: {lost:?}");
        for (number, commit) in std::mem::take(&mut self.fresh).into_iter().enumerate() {
            // One acknowledged commit of a round stands for the others.
            let settled = if number == 0 || commit.answer.is_err() {
                self.settle(twin, commit)
            } else {
                commit
            };
            self.done.push(settled);
        }
    }

    /// Names of fresh commits that were acknowledged and are gone; those that were refused must be.
    #[track_caller]
    fn lost_commits(&self, twin: &Twin) -> Vec<String> {
        let whole = whole(twin, &self.fresh);
        let named = |kind: fn(&Commit) -> bool| -> BTreeSet<String> {
            let some = self.fresh.iter().filter(|commit| kind(commit));
            some.map(|commit| commit.name.clone()).collect()
        };
        let refused = named(|commit| matches!(commit.answer, Err(NoReceipt::Refused(_))));
        let phantoms: Vec<_> = refused.intersection(&whole).collect();
        assert!(phantoms.is_empty(), "refused and there: {phantoms:?}");
        let acknowledged = named(|commit| commit.answer.is_ok());
        acknowledged.difference(&whole).cloned().collect()
    }

    /// Sends a commit again under its key, before and after its twin was changed: it has one effect.
    fn settle(&mut self, twin: &Twin, mut commit: Commit) -> Commit {
        let receipt = commit.send(twin.http());
        if let before @ Ok(_) = &commit.answer {
            assert_eq!(*before, receipt, "{} has another receipt", commit.name);
        }
        assert!(receipt.is_ok(), "{}: {receipt:?}", commit.name);
        let [id, _] = commit.ids();
        let query =
            "mutation($operations: [Operation!]!) { commit(operations: $operations) { position } }";
        let patch =
            json!([{ "patch": { "class": "Institution", "id": id, "set": { "name": "later" } } }]);
        twin.graphql(query, json!({ "operations": patch })).data();
        self.changes += 1;
        assert_eq!(commit.send(twin.http()), receipt, "{}", commit.name);
        let query = "query($id: ID!) { twin(id: $id) { label } }";
        let answer = twin.graphql(query, json!({ "id": id }));
        assert_eq!(
            answer.data()["twin"]["label"],
            "later",
            "{} was done again",
            commit.name
        );
        commit.answer = receipt;
        commit
    }

    /// Holds all of a folder against the book, once every commit was checked: rows, changes and
    /// readings, as `verify` and `export` tell them, of a twin that does not run.
    #[track_caller]
    pub fn check_all(&self, dir: &Path) -> Held {
        let (report, held) = self.hold(dir);
        let commits = self.done.len() as u64;
        let changes = CHANGES * commits + self.changes;
        assert_eq!(report["changes"], changes, "{report}");
        let twins = 2 * commits + self.stations.len() as u64;
        assert_eq!(report["twins"], twins, "{report}");
        assert_eq!(report["relationships"], commits, "{report}");
        assert_eq!(held.lost_readings, 0, "{held:?}");
        held
    }

    /// Counts what a folder lost, by a twin that runs on it and is ended; there must be no halves.
    #[track_caller]
    pub fn losses(&self, mut twin: Twin) -> Held {
        let lost = self.lost_commits(&twin).len() as u64;
        twin.interrupt();
        let (_, held) = self.hold(twin.dir());
        Held {
            lost_commits: lost,
            commits: held.commits + self.fresh.len() as u64,
            ..held
        }
    }

    fn hold(&self, dir: &Path) -> (Value, Held) {
        let verified = verified(dir);
        assert_eq!(verified.code, Some(0), "{verified:?}");
        let report: Value = serde_json::from_str(&verified.out).expect(UNDERSTOOD);
        let exported = Start::bare("export")
            .arg("readings")
            .arg("--after")
            .arg("main:0")
            .dir(dir)
            .finished();
        assert_eq!(exported.code, Some(0), "{}", exported.err);
        let lines = exported.out.lines();
        let lines: Vec<Value> = lines
            .map(|line| serde_json::from_str(line).expect(UNDERSTOOD))
            .collect();
        assert_eq!(report["readings"], lines.len(), "{report}");
        let mut held = Held {
            readings: lines.len() as u64,
            commits: self.done.len() as u64,
            ..Held::default()
        };
        for station in &self.stations {
            held.acknowledged += station.acknowledged.len() as u64;
            held.lost_readings += station.lost(&lines).len() as u64;
        }
        (report, held)
    }
}

/// Whether what a folder holds agrees with itself, by `verify`.
pub fn is_sound(dir: &Path) -> bool {
    verified(dir).code == Some(0)
}

fn verified(dir: &Path) -> Finished {
    Start::bare("verify").arg("--json").dir(dir).finished()
}

/// Names of those commits that are there, whole, for the API and for SurrealQL alike.
fn whole(twin: &Twin, commits: &[Commit]) -> BTreeSet<String> {
    let query = "query($id: ID!) { twin(id: $id) { related(relationship: \"partOf\") {
                   edges { node { id } } } } }";
    let mut whole = BTreeSet::new();
    for commit in commits {
        let [a, b] = commit.ids();
        let there = |id: &str| {
            let answer = twin.graphql(query, json!({ "id": id }));
            let twin = &answer.data()["twin"];
            (!twin.is_null()).then(|| twin["related"].to_string().contains(a.as_str()))
        };
        let api = (there(&a), there(&b));
        assert!(
            matches!(api, (None, None) | (Some(false), Some(true))),
            "half of {}: {api:?}",
            commit.name
        );
        let rows = twin.surql(&format!(
            "SELECT VALUE id FROM [Institution:⟨{a}⟩, Institution:⟨{b}⟩];
             SELECT VALUE ->partOf->Institution FROM Institution:⟨{b}⟩"
        ));
        let said = strings(&rows)
            .iter()
            .filter(|text| text.contains(&commit.name))
            .count();
        assert_eq!(
            said,
            if api.0.is_some() { 2 } else { 0 },
            "{}: {rows}",
            commit.name
        );
        assert_eq!(
            rows[1].to_string().contains(&a),
            api.0.is_some(),
            "{}: {rows}",
            commit.name
        );
        if api.0.is_some() {
            whole.insert(commit.name.clone());
        }
    }
    whole
}
