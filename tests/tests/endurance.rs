//! A day of devices, apps and followers in less: memory stays flat, nothing is lost, and every follower
//! hears what it asked for exactly once, in order.
//!
//! # Invariants
//! - A device publishes a reading for each simulated minute, and the next one only once the last was
//!   acknowledged; so what was sent is what was acknowledged.
//! - Times of readings are those of the last day, run through 24 times as fast and ending now: a clock
//!   that runs faster than the twin's own would be refused as ahead of it.
//! - `TWIN_MINUTES` says how long; without it a few seconds prove that the test works.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test outside its functions too fails by panicking and tells what it does"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    Device, Start, Subscription, Twin, ask, clock, number, register_stations, rows, station, until,
};

/// A simulated minute takes so long: a day goes by in an hour.
const MINUTE: Duration = Duration::from_millis(2_500);
/// Simulated seconds a second.
const FASTER: i64 = 24;
/// Devices reconnect after so many readings, each at another time.
const RECONNECT_READINGS: u64 = 97;
/// One follower in so many reconnects after so many events, and goes on where it was.
const RECONNECT_FOLLOWERS: usize = 5;
const RECONNECT_EVENTS: u64 = 500;
/// Between two commits of the app, and between two questions.
const COMMIT_EVERY: Duration = Duration::from_millis(250);
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Looks at the memory between two small imports.
const IMPORT_EVERY: usize = 2;
/// Twins of one import.
const IMPORTED: usize = 200;
/// Ids that the app writes to.
const INSTITUTIONS: u64 = 500;
/// The value of a device's last reading.
const LAST: f64 = -1.0;
/// Between two looks at the memory.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Runs at least so long are judged by their memory; in shorter ones caches are still filling.
const JUDGED_MINUTES: u64 = 30;
/// How often the twin seals readings: what is not sealed yet costs every question about history.
const TEND: Duration = Duration::from_mins(1);
/// The name that the app writes last.
const END: &str = "the end";

const CHANGES: &str = "subscription($class: String, $ids: [ID!], $after: String) {
    changes(class: $class, ids: $ids, after: $after) {
        position kind id class reading { telemetry value } after { label } } }";

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Load {
    devices: usize,
    followers: usize,
    /// Threads that publish, each for its devices in turn.
    publishers: usize,
    time: Duration,
}

/// What a follower asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Everything,
    Stations,
    Some(Vec<usize>),
    Institutions,
}

impl Asked {
    fn of(follower: usize, load: Load) -> Self {
        let fifth = load.followers / 5;
        match follower {
            0 => Self::Everything,
            1 | 2 => Self::Stations,
            _ if follower < fifth => Self::Institutions,
            // Ten devices each, spread over all of them.
            _ => Self::Some(
                (0..10)
                    .map(|n| (follower * 7 + n * 31) % load.devices)
                    .collect(),
            ),
        }
    }

    fn variables(&self, after: &str) -> Value {
        match self {
            Self::Everything => json!({ "after": after }),
            Self::Stations => json!({ "class": "AirQualityStation", "after": after }),
            Self::Institutions => json!({ "class": "Institution", "after": after }),
            Self::Some(devices) => {
                let ids: Vec<_> = devices.iter().map(|device| station(*device)).collect();
                json!({ "ids": ids, "after": after })
            }
        }
    }

    /// How many of its devices, and whether structure, will say that they are at their end.
    fn ends(&self, load: Load) -> usize {
        match self {
            Self::Everything => load.devices + 1,
            Self::Stations => load.devices,
            Self::Institutions => 1,
            Self::Some(devices) => {
                let different: std::collections::BTreeSet<_> = devices.iter().collect();
                different.len()
            }
        }
    }
}

/// What all threads know.
struct Shared {
    http: String,
    mqtt: String,
    load: Load,
    begin: Instant,
    /// When each device sent its last few readings, microseconds since the beginning.
    sent: Vec<[AtomicU64; 4]>,
    acknowledged: AtomicU64,
    heard: AtomicU64,
    reconnected: AtomicU64,
    commits: AtomicU64,
    /// Devices have sent all they will.
    published: AtomicBool,
    puback: Mutex<Vec<u32>>,
    hearing: Mutex<Vec<u32>>,
    /// Furthest that a publisher was behind its time, microseconds.
    behind: AtomicU64,
}

impl Shared {
    fn micros(&self) -> u64 {
        self.begin.elapsed().as_micros() as u64
    }
}

/// Publishes for some devices until the time is over; how many readings of each were acknowledged,
/// the last one included.
fn publish(shared: &Shared, publisher: usize) -> Vec<(usize, u64)> {
    let load = shared.load;
    let mine: Vec<usize> = (publisher..load.devices).step_by(load.publishers).collect();
    let connect = |device: usize| Device::connect(&shared.mqtt, &station(device)).unwrap();
    let mut devices: Vec<_> = mine.iter().map(|device| connect(*device)).collect();
    let begin = clock() - load.time.as_micros() as i64 * FASTER;
    let mut counts = vec![0_u64; mine.len()];
    let mut latencies = Vec::new();
    let mut send = |connection: &mut Device, device: usize, number: u64, value: f64| {
        let at = shared.begin.elapsed();
        let ts = (begin + at.as_micros() as i64 * FASTER) as f64 / 1e6;
        let payload = format!("{{\"ts\": {ts:.6}, \"values\": {{\"pm25\": {value:.1}}}}}");
        let sent = shared.micros();
        shared.sent[device][number as usize % 4].store(sent, Ordering::Relaxed);
        connection.publish(&payload).unwrap();
        latencies.push((shared.micros() - sent) as u32);
        shared.acknowledged.fetch_add(1, Ordering::Relaxed);
    };
    let mut minute = 0;
    'time: loop {
        for ((connection, device), count) in devices.iter_mut().zip(&mine).zip(&mut counts) {
            // Devices of one minute are spread over it.
            let due = MINUTE * minute + MINUTE * *device as u32 / load.devices as u32;
            if due > load.time {
                break 'time;
            }
            thread::sleep(due.saturating_sub(shared.begin.elapsed()));
            let behind = shared.begin.elapsed().saturating_sub(due);
            shared
                .behind
                .fetch_max(behind.as_micros() as u64, Ordering::Relaxed);
            if (*count + *device as u64 + 1).is_multiple_of(RECONNECT_READINGS) {
                *connection = connect(*device);
                shared.reconnected.fetch_add(1, Ordering::Relaxed);
            }
            send(connection, *device, *count, *count as f64);
            *count += 1;
        }
        minute += 1;
    }
    let ends = devices.iter_mut().zip(&mine).zip(counts);
    let counts = ends.map(|((connection, device), count)| {
        send(connection, *device, count, LAST);
        (*device, count + 1)
    });
    let counts = counts.collect();
    shared.puback.lock().unwrap().extend(latencies);
    counts
}

/// What a follower heard: readings by device, and changes of institutions.
#[derive(Debug, Default)]
struct Heard {
    readings: BTreeMap<usize, u64>,
    changes: u64,
}

/// Listens until everything it follows has said that it is at its end.
fn follow(shared: &Shared, follower: usize, asked: &Asked, after: &str) -> Heard {
    let open =
        |after: &str| Subscription::open(&shared.http, CHANGES, &asked.variables(after)).unwrap();
    let offset = |position: &str| {
        position
            .strip_prefix("main:")
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let mut position = after.to_owned();
    let mut subscription = open(&position);
    let mut heard = Heard::default();
    let mut latencies = Vec::new();
    let mut ends = asked.ends(shared.load);
    let mut events = 0_u64;
    while ends > 0 {
        let data = subscription.heard();
        let data = data.unwrap_or_else(|why| panic!("follower {follower}, {asked:?}: {why}"));
        let now = shared.micros();
        let event = &data["changes"];
        let here = event["position"].as_str().unwrap();
        assert!(offset(here) > offset(&position), "{event} after {position}");
        here.clone_into(&mut position);
        events += 1;
        shared.heard.fetch_add(1, Ordering::Relaxed);
        if event["kind"] == "READING" {
            let id = event["id"].as_str().unwrap();
            let device: usize = id.rsplit(':').next().unwrap().parse().unwrap();
            let value = event["reading"]["value"].as_f64().unwrap();
            let next = heard.readings.entry(device).or_default();
            if value == LAST {
                ends -= 1;
            } else {
                assert!(value == *next as f64, "{event}, not reading {next}");
            }
            let sent = shared.sent[device][*next as usize % 4].load(Ordering::Relaxed);
            latencies.push(now.saturating_sub(sent) as u32);
            *next += 1;
        } else if event["class"] == "Institution" {
            heard.changes += 1;
            ends -= usize::from(event["after"]["label"] == END);
        }
        if follower.is_multiple_of(RECONNECT_FOLLOWERS) && events.is_multiple_of(RECONNECT_EVENTS) {
            subscription = open(&position);
            shared.reconnected.fetch_add(1, Ordering::Relaxed);
        }
    }
    shared.hearing.lock().unwrap().extend(latencies);
    heard
}

/// Commits until devices have sent all they will, and once more.
fn commit(shared: &Shared) {
    let mutation = "mutation($operations: [Operation!]!, $key: String) {
        commit(operations: $operations, idempotencyKey: $key) { changes } }";
    let mut number = 0;
    let mut done = false;
    while !done {
        done = shared.published.load(Ordering::Acquire);
        let name = if done {
            END.to_owned()
        } else {
            format!("name {number}")
        };
        let id = format!("endurance:{}", number % INSTITUTIONS);
        let put = json!({ "class": "Institution", "id": id, "set": { "name": name } });
        let variables = json!({ "operations": [{ "upsert": put }], "key": format!("k{number}") });
        let answer = ask(&shared.http, mutation, &variables).unwrap();
        assert_eq!(answer.data()["commit"]["changes"], 1);
        shared.commits.fetch_add(1, Ordering::Relaxed);
        number += 1;
        thread::sleep(COMMIT_EVERY);
    }
}

/// Imports a small file through the door for them.
fn import(twin: &Twin, round: usize) {
    let lines: Vec<String> = (0..IMPORTED)
        .map(|number| {
            let set = json!({ "name": format!("post {number} of {round}") });
            let id = format!("endurance:post:{number}");
            json!({ "upsert": { "class": "HealthPost", "id": id, "set": set } }).to_string()
        })
        .collect();
    let (status, results) = twin.post("/bulk", "application/x-ndjson", &lines.join("\n"));
    assert_eq!(status, 200, "{results}");
}

/// Asks until devices have sent all they will.
fn question(shared: &Shared) {
    let mut round = 0_usize;
    while !shared.published.load(Ordering::Acquire) {
        let device = station(round * 13 % shared.load.devices);
        for (query, variables) in [
            (
                "query($id: ID!) { twin(id: $id) { ... on AirQualityStation { pm25 { value ts
                   history(from: \"2020-01-01T00:00:00Z\", every: \"PT1H\") { ts value } } } } }",
                json!({ "id": device }),
            ),
            (
                "{ airQualityStations(first: 50) { totalCount edges { node { id pm25 { value } } } } }",
                json!({}),
            ),
            (
                "{ institutions(first: 50, where: { name: { startsWith: \"name 1\" } }) { totalCount
                   edges { node { id name } } } }",
                json!({}),
            ),
        ] {
            ask(&shared.http, query, &variables).unwrap().data();
        }
        round += 1;
        thread::sleep(ASK_EVERY);
    }
}

/// Readings in the history of each station.
fn history(twin: &Twin, devices: usize) -> BTreeMap<String, u64> {
    let query = "query($after: String) { airQualityStations(first: 100, after: $after) {
        pageInfo { hasNextPage endCursor } edges { node { id pm25 {
            history(from: \"2020-01-01T00:00:00Z\", every: \"P1D\", aggregate: COUNT) { value } } } } } }";
    let mut counts = BTreeMap::new();
    let mut after = None;
    loop {
        let answer = twin.graphql(query, json!({ "after": after }));
        let page = rows(&answer.data()["airQualityStations"]);
        for node in page.nodes {
            let days = node["pm25"]["history"].as_array().unwrap();
            let count = days
                .iter()
                .map(|day| day["value"].as_f64().unwrap() as u64)
                .sum();
            counts.insert(node["id"].as_str().unwrap().to_owned(), count);
        }
        after = page.next;
        if after.is_none() {
            assert_eq!(counts.len(), devices);
            return counts;
        }
    }
}

/// The value below which so many of a hundred are, milliseconds.
fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len() - 1);
    f64::from(sorted[at]) / 1_000.0
}

/// The middle of what was seen in the twelfth of the time that begins at a second. Buffers of writes fill and are
/// emptied, so single looks differ by a tenth.
fn median(sizes: &[(u64, u64)], from: f64) -> u64 {
    let (first, last) = (sizes[0].0 as f64, sizes[sizes.len() - 1].0 as f64);
    let until = from + (last - first) / 12.0;
    let seen = sizes
        .iter()
        .filter(|(second, _)| (from..=until).contains(&(*second as f64)));
    let mut seen: Vec<u64> = seen.map(|(_, size)| *size).collect();
    seen.sort_unstable();
    seen.get(seen.len() / 2).copied().unwrap_or(sizes[0].1)
}

/// Imports now and then, and looks at the memory until the time is over; resident KiB by second.
fn watch(shared: &Shared, twin: &Twin) -> Vec<(u64, u64)> {
    let every = LOOK_EVERY.min(shared.load.time / 6);
    let mut sizes = Vec::new();
    println!(
        "{:>8} {:>12} {:>12} {:>12}",
        "second", "resident", "acknowledged", "heard"
    );
    loop {
        let at = shared.begin.elapsed();
        let resident = twin.resident_kib();
        sizes.push((at.as_secs(), resident));
        let said = [&shared.acknowledged, &shared.heard].map(|n| n.load(Ordering::Relaxed));
        println!(
            "{:>8} {:>8} MiB {:>12} {:>12}",
            at.as_secs(),
            resident >> 10,
            said[0],
            said[1]
        );
        if at >= shared.load.time {
            return sizes;
        }
        if sizes.len().is_multiple_of(IMPORT_EVERY) {
            import(twin, sizes.len());
        }
        thread::sleep(every.min(shared.load.time.saturating_sub(at)));
    }
}

#[test]
fn a_day_of_load_loses_nothing_and_leaves_memory_flat() {
    let minutes = number("TWIN_MINUTES", 0);
    let load = match minutes {
        0 => Load {
            devices: 100,
            followers: 20,
            publishers: 5,
            time: Duration::from_secs(6),
        },
        minutes => Load {
            devices: 1_000,
            followers: 100,
            publishers: 50,
            time: Duration::from_mins(minutes),
        },
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, load.devices);
    let start = Start::serve().dir(&dir);
    let tend = TEND.as_secs().to_string();
    // Caches that are full within minutes: what fills a larger one for hours looks like what grows
    // without end.
    let mut twin = start
        .env("TWIN_HISTORY__TEND_SECS", &tend)
        .env("TWIN_STORE__BLOCK_CACHE_MIB", "32")
        .env("TWIN_STORE__WRITE_BUFFER_MIB", "16")
        .env("TWIN_STORE__WRITE_BUFFERS", "2")
        .ready();
    let first = twin.graphql("{ position }", json!({})).position();
    let shared = Arc::new(Shared {
        http: twin.http().to_owned(),
        mqtt: twin.mqtt().to_owned(),
        load,
        begin: Instant::now(),
        sent: (0..load.devices).map(|_| Default::default()).collect(),
        acknowledged: AtomicU64::new(0),
        heard: AtomicU64::new(0),
        reconnected: AtomicU64::new(0),
        commits: AtomicU64::new(0),
        published: AtomicBool::new(false),
        puback: Mutex::default(),
        hearing: Mutex::default(),
        behind: AtomicU64::new(0),
    });
    let asked: Vec<_> = (0..load.followers)
        .map(|follower| Asked::of(follower, load))
        .collect();
    let (counts, heard, sizes) = thread::scope(|scope| {
        let followers: Vec<_> = asked
            .iter()
            .enumerate()
            .map(|(follower, asked)| {
                let (shared, first) = (&shared, &first);
                scope.spawn(move || follow(shared, follower, asked, first))
            })
            .collect();
        let publishers: Vec<_> = (0..load.publishers)
            .map(|publisher| {
                let shared = &shared;
                scope.spawn(move || publish(shared, publisher))
            })
            .collect();
        let app = scope.spawn(|| commit(&shared));
        let asker = scope.spawn(|| question(&shared));
        let sizes = watch(&shared, &twin);
        let counts: BTreeMap<usize, u64> = publishers
            .into_iter()
            .flat_map(|publisher| publisher.join().unwrap())
            .collect();
        shared.published.store(true, Ordering::Release);
        app.join().unwrap();
        asker.join().unwrap();
        let heard: Vec<Heard> = followers.into_iter().map(|f| f.join().unwrap()).collect();
        (counts, heard, sizes)
    });

    // Nothing acknowledged is missing, in the history and at any follower.
    let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
    assert_eq!(counts.values().sum::<u64>(), acknowledged);
    assert_eq!(twin.metric("twin_readings_total"), acknowledged);
    if minutes > 0 {
        until("all is sealed", TEND * 5, || {
            (twin.metric("twin_history_sealed_total") >= acknowledged).then_some(())
        });
    }
    let expected: BTreeMap<_, _> = counts
        .iter()
        .map(|(device, n)| (station(*device), *n))
        .collect();
    assert_eq!(history(&twin, load.devices), expected);
    let commits = shared.commits.load(Ordering::Relaxed);
    for (asked, heard) in asked.iter().zip(&heard) {
        let readings: BTreeMap<usize, u64> = match asked {
            Asked::Everything | Asked::Stations => counts.clone(),
            Asked::Some(devices) => devices
                .iter()
                .map(|device| (*device, counts[device]))
                .collect(),
            Asked::Institutions => BTreeMap::new(),
        };
        assert_eq!(heard.readings, readings, "{asked:?}");
        if matches!(asked, Asked::Everything | Asked::Institutions) {
            assert_eq!(heard.changes, commits, "{asked:?}");
        }
    }

    let mut latencies =
        [&shared.puback, &shared.hearing].map(|all| std::mem::take(&mut *all.lock().unwrap()));
    for all in &mut latencies {
        all.sort_unstable();
    }
    let [puback, hearing] = latencies;
    // After ten minutes of sixty, and at the end.
    let [early, end] =
        [3.0, 22.0].map(|part| median(&sizes, part / 24.0 * load.time.as_secs_f64()));
    let growth = (end as f64 / early as f64 - 1.0) * 100.0;
    println!("{load:?}");
    println!("readings acknowledged    {acknowledged}");
    println!("commits                  {commits}");
    println!(
        "events heard             {}",
        shared.heard.load(Ordering::Relaxed)
    );
    println!(
        "reconnected              {}",
        shared.reconnected.load(Ordering::Relaxed)
    );
    println!("lost, repeated, out of order  0");
    let [p50, p99] = [50, 99].map(|percent| percentile(&puback, percent));
    println!("PUBACK                   p50 {p50:.1} ms, p99 {p99:.1} ms");
    let [p50, p99] = [50, 99].map(|percent| percentile(&hearing, percent));
    println!("reading to subscriber    p50 {p50:.1} ms, p99 {p99:.1} ms");
    let behind = shared.behind.load(Ordering::Relaxed) / 1_000;
    println!("load behind its time     {behind} ms at most");
    println!(
        "resident, medians        {} MiB after a sixth, {} MiB at the end: {growth:+.1} %",
        early >> 10,
        end >> 10
    );
    if minutes >= JUDGED_MINUTES {
        assert!(growth.abs() <= 10.0, "memory is not flat: {sizes:?}");
    }
    assert!(acknowledged > 0 && hearing.len() as u64 > acknowledged);
    twin.interrupt();
}
