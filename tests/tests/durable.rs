//! A twin that is killed while devices and apps write to it loses nothing that it acknowledged,
//! keeps no half, and does nothing twice.
//!
//! # Invariants
//! - The moments are drawn from a printed seed; `TWIN_SEED` repeats the plan, `TWIN_KILLS` says how
//!   many kills.
//! - What was sent but not acknowledged may be there or not: once at most, and whole.
//! - The write buffers are so small that the engine flushes under every round; flushes are counted.
#![expect(
    clippy::unwrap_used,
    reason = "a test outside its functions too fails by panicking"
)]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    Foreign, Random, Start, Twin, ask, micros, number, publisher, register_stations, station,
    strings, until,
};

/// Stations, each with a connection of its own.
const STATIONS: usize = 4;
/// Apps that commit at the same time.
const APPS: usize = 2;
/// Publishes of one station that wait for their acknowledgement.
const WINDOW: usize = 100;
/// Lines of one run of `mosquitto_pub`: packet ids do not come round within it.
const LINES_MAX: u64 = 60_000;
/// Bytes of a property that makes a commit heavy, so that write buffers fill.
const HEAVY_BYTES: usize = 32 << 10;
/// A kill comes after so many acknowledged commits of its round, and up to so many seconds.
const COMMITS: (f64, f64) = (1.0, 110.0);
const AFTER_SECS: (f64, f64) = (0.0, 0.03);
/// One kill in so many strikes while the twin starts, so long after the start, seconds.
const EARLY: u64 = 5;
const EARLY_SECS: (f64, f64) = (0.0, 0.8);
/// Kills of one folder: its history grows with each, and so does the time of a start.
const KILLS_PER_FOLDER: u64 = 20;
/// A round writes what it should within this time, on a busy machine too.
const ROUND_WITHIN: Duration = Duration::from_mins(2);
/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(2);
/// Time of reading 0, seconds since 1970: a midnight.
const BASE_SECS: u64 = 1_704_067_200;
const BASE_DAY: &str = "2024-01-01";
/// Of so many of the newest readings the history is looked at after each kill.
const RECENT: u64 = 500;
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
struct Publishing {
    client: Foreign,
    feeding: JoinHandle<u64>,
    listening: JoinHandle<Vec<u64>>,
}

impl Station {
    fn publish(&self, mqtt: &str, version: &str) -> Publishing {
        let topic = format!("twin/rw/{}/telemetry", self.id);
        let args = ["-d", "-l", "-q", "1", "-V", version, "-t", &topic];
        let mut client = Foreign::start(&mut publisher(mqtt, &args));
        let (mut input, output) = (client.input(), client.output());
        let first = self.sent + 1;
        let (permit, permits) = mpsc::sync_channel(WINDOW);
        for _ in 0..WINDOW {
            permit.send(()).unwrap();
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
            let acknowledged = |line: &str| -> Option<u64> {
                let (_, rest) = line.split_once("received PUBACK (Mid: ")?;
                let (id, rest) = rest.split_once(", RC:")?;
                assert!(rest.starts_with("0)"), "a reading was refused: {line}");
                id.parse().ok()
            };
            let lines = output.lines().map_while(Result::ok);
            let mut heard = Vec::new();
            for id in lines.filter_map(|line| acknowledged(&line)) {
                heard.push(first + id - 1);
                // The feeder may have ended.
                let _ended = permit.send(());
            }
            heard
        });
        Publishing {
            client,
            feeding,
            listening,
        }
    }

    fn end(&mut self, mut publishing: Publishing) {
        publishing.client.kill();
        self.acknowledged
            .extend(publishing.listening.join().unwrap());
        self.sent = publishing.feeding.join().unwrap();
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
            micros(reading["ts"].as_str().unwrap()),
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
        let history = answer.data()["twin"]["pm25"]["history"].as_array().unwrap();
        let values: Vec<u64> = history
            .iter()
            .map(|reading| {
                let value = reading["value"].as_f64().unwrap() as u64;
                assert_eq!(
                    micros(reading["ts"].as_str().unwrap()),
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

    /// Checks its readings in the history, each a line of an export.
    fn check_history(&self, lines: &[Value]) {
        let Self {
            id,
            sent,
            acknowledged,
        } = self;
        let mut found = BTreeSet::new();
        for line in lines.iter().filter(|line| line["twin"] == **id) {
            let value = line["value"].as_f64().unwrap() as u64;
            assert!((1..=*sent).contains(&value), "never sent: {line}");
            assert_eq!(
                micros(line["ts"].as_str().unwrap()),
                time_of(value),
                "{line}"
            );
            assert!(found.insert(value), "twice: {line}");
        }
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "{id} acknowledged and lost {lost:?}");
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

/// One commit: institution `{name}:b` is part of `{name}:a`, both new.
#[derive(Debug, Clone)]
struct Commit {
    name: String,
    /// The position of its receipt, where one came.
    receipt: Option<String>,
}

impl Commit {
    fn ids(&self) -> [String; 2] {
        [format!("{}:a", self.name), format!("{}:b", self.name)]
    }

    /// Sends it under its own key; an error where no answer came.
    fn send(&self, http: &str) -> Result<String, String> {
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
        let answer = ask(http, query, &variables)?;
        Ok(answer.data()["commit"]["position"]
            .as_str()
            .unwrap()
            .to_owned())
    }
}

/// An app that commits again and again until the twin is gone; the last one is in doubt.
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
            let receipt = Commit {
                name: name.clone(),
                receipt: None,
            }
            .send(&http);
            let gone = receipt.is_err();
            commits.push(Commit {
                name,
                receipt: receipt.ok(),
            });
            if gone {
                return commits;
            }
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// What there must be.
struct Book {
    stations: Vec<Station>,
    /// Commits whose outcome is known by now: they are there.
    done: Vec<Commit>,
    /// Commits of the round that was killed last.
    fresh: Vec<Commit>,
    /// Changes that were made beside them.
    changes: u64,
}

impl Book {
    fn new(stations: usize) -> Self {
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
        }
    }

    /// Lets stations and apps write until the twin is killed, so long after so many commits.
    fn write_until_killed(&mut self, twin: &mut Twin, round: u64, commits: usize, after: Duration) {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let versions = ["mqttv311", "mqttv5"].into_iter().cycle();
        let publishing: Vec<Publishing> = self
            .stations
            .iter()
            .zip(versions)
            .map(|(station, version)| station.publish(twin.mqtt(), version))
            .collect();
        let apps: Vec<_> = (0..APPS)
            .map(|app| {
                committing(
                    twin.http().to_owned(),
                    round,
                    app,
                    Arc::clone(&acknowledged),
                )
            })
            .collect();
        until("enough is committed", ROUND_WITHIN, || {
            assert!(twin.running(), "it ended by itself:\n{}", twin.log());
            (acknowledged.load(Ordering::Relaxed) >= commits).then_some(())
        });
        wait(twin, after);
        twin.kill9();
        for (station, publishing) in self.stations.iter_mut().zip(publishing) {
            station.end(publishing);
        }
        self.fresh
            .extend(apps.into_iter().flat_map(|app| app.join().unwrap()));
    }

    /// Checks a twin that has come up again, and settles what was in doubt.
    fn check(&mut self, twin: &Twin) {
        let query =
            "{ airQualityStations(first: 100) { edges { node { id pm25 { value ts } } } } }";
        let answer = twin.graphql(query, json!({}));
        let edges = answer.data()["airQualityStations"]["edges"]
            .as_array()
            .unwrap();
        assert_eq!(edges.len(), self.stations.len());
        for station in &self.stations {
            let edge = edges.iter().find(|edge| edge["node"]["id"] == *station.id);
            station.check(&edge.unwrap()["node"]);
            station.check_recent(twin);
        }
        let acknowledged: BTreeSet<String> = (self.fresh.iter())
            .filter(|commit| commit.receipt.is_some())
            .map(|commit| commit.name.clone())
            .collect();
        let whole = whole(twin, &self.fresh);
        let lost: Vec<_> = acknowledged.difference(&whole).collect();
        assert!(lost.is_empty(), "acknowledged and gone: {lost:?}");
        for (number, commit) in std::mem::take(&mut self.fresh).into_iter().enumerate() {
            // One acknowledged commit of a round stands for the others.
            let settled = if number == 0 || commit.receipt.is_none() {
                self.settle(twin, commit)
            } else {
                commit
            };
            self.done.push(settled);
        }
    }

    /// Sends a commit again under its key, before and after its twin was changed: it has one effect.
    fn settle(&mut self, twin: &Twin, mut commit: Commit) -> Commit {
        let receipt = commit.send(twin.http()).unwrap();
        if let Some(before) = &commit.receipt {
            assert_eq!(*before, receipt, "{} has another receipt", commit.name);
        }
        let [id, _] = commit.ids();
        let query =
            "mutation($operations: [Operation!]!) { commit(operations: $operations) { position } }";
        let patch =
            json!([{ "patch": { "class": "Institution", "id": id, "set": { "name": "later" } } }]);
        twin.graphql(query, json!({ "operations": patch })).data();
        self.changes += 1;
        assert_eq!(
            commit.send(twin.http()).unwrap(),
            receipt,
            "{}",
            commit.name
        );
        let query = "query($id: ID!) { twin(id: $id) { label } }";
        let answer = twin.graphql(query, json!({ "id": id }));
        assert_eq!(
            answer.data()["twin"]["label"],
            "later",
            "{} was done again",
            commit.name
        );
        commit.receipt = Some(receipt);
        commit
    }
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

/// Waits for a moment at which the twin must still run.
fn wait(twin: &mut Twin, after: Duration) {
    let moment = Instant::now() + after;
    while twin.running() && Instant::now() < moment {
        thread::sleep(TICK);
    }
    assert!(twin.running(), "it ended by itself:\n{}", twin.log());
}

/// Tables that the engine flushed from its write buffers since it was started last, by its own log.
fn flushes(dir: &Path) -> usize {
    let log = fs::read_to_string(dir.join("LOG")).unwrap_or_default();
    let jobs = |event: &str| -> BTreeSet<u64> {
        log.lines()
            .filter_map(|line| line.split_once("EVENT_LOG_v1 "))
            .filter_map(|(_, json)| serde_json::from_str::<Value>(json).ok())
            .filter(|said| said["event"] == event)
            .filter_map(|said| said["job"].as_u64())
            .collect()
    };
    // A table that is made at start from the log of writes belongs to no flush.
    jobs("flush_started")
        .intersection(&jobs("table_file_creation"))
        .count()
}

fn start(dir: &Path) -> Start {
    Start::serve()
        .dir(dir)
        .env("TWIN_STORE__WRITE_BUFFER_MIB", "1")
        .env("TWIN_STORE__LOG", "info")
        // So that kills come while readings are sealed and segments merged, too.
        .env("TWIN_HISTORY__TEND_SECS", "1")
}

/// What a number of kills of one folder came to.
#[derive(Debug, Default)]
struct Sums {
    kills: u64,
    flushes: u64,
    acknowledged: usize,
    readings: usize,
    commits: usize,
}

/// Kills the twin of a fresh folder so many times, then holds all of it against the book.
fn kill_and_check(random: &mut Random, kills: u64, sums: &mut Sums) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, STATIONS);
    let mut book = Book::new(STATIONS);
    for round in 0..kills {
        let early = random.bits().is_multiple_of(EARLY);
        let commits = random.between(COMMITS.0, COMMITS.1) as usize;
        let (low, high) = if early { EARLY_SECS } else { AFTER_SECS };
        let after = Duration::from_secs_f64(random.between(low, high));
        if early {
            let mut twin = start(&dir).started();
            wait(&mut twin, after);
            twin.kill9();
        } else {
            let mut twin = start(&dir).ready();
            book.check(&twin);
            book.write_until_killed(&mut twin, round, commits, after);
        }
        sums.flushes += flushes(&dir) as u64;
    }
    let mut twin = start(&dir).ready();
    book.check(&twin);
    let commits = book.done.len();
    let counted = twin
        .surql("SELECT count() FROM Institution GROUP ALL; SELECT count() FROM partOf GROUP ALL");
    assert_eq!(
        counted,
        json!([[{ "count": 2 * commits }], [{ "count": commits }]])
    );
    twin.interrupt();

    let verified = Start::bare("verify").arg("--json").dir(&dir).finished();
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let report: Value = serde_json::from_str(&verified.out).unwrap();
    assert_eq!(
        report["changes"],
        CHANGES * commits as u64 + book.changes,
        "{report}"
    );
    assert_eq!(report["twins"], 2 * commits + STATIONS, "{report}");

    let exported = Start::bare("export").arg("readings").dir(&dir).finished();
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    let lines: Vec<Value> = exported
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(report["readings"], lines.len(), "{report}");
    for station in &book.stations {
        station.check_history(&lines);
        sums.acknowledged += station.acknowledged.len();
    }
    sums.kills += kills;
    sums.readings += lines.len();
    sums.commits += commits;
}

#[test]
fn killed_while_devices_and_apps_write_it_keeps_what_it_acknowledged() {
    let seed = number("TWIN_SEED", u64::from(std::process::id()));
    let kills = number("TWIN_KILLS", 20);
    println!("TWIN_SEED={seed} repeats these {kills} kills");
    let mut random = Random::new(seed);
    let mut sums = Sums::default();
    while sums.kills < kills {
        let some = (kills - sums.kills).min(KILLS_PER_FOLDER);
        kill_and_check(&mut random, some, &mut sums);
        println!("{sums:?}");
    }
    assert!(sums.acknowledged > 0 && sums.commits > 0);
    assert!(
        sums.flushes >= kills,
        "write buffers were flushed under {} kills only",
        sums.flushes
    );
}
