//! The worst hour: more than a twin can do, a follower that never reads, a disk that changed what was
//! written. Nothing that was acknowledged is lost, memory is bounded, and what is wrong is named.
#![expect(
    clippy::unwrap_used,
    reason = "a test outside its functions too fails by panicking"
)]

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;
use tests::{Device, Start, Subscription, Twin, ask, register_stations, station, until};

/// What is asked is answered within this time, on a busy machine too.
const SOON: Duration = Duration::from_mins(1);
/// When the first reading was measured, seconds since 1970.
const BASE_SECS: u64 = 1_700_000_000;
/// Devices of the overload, each of which sends so much without waiting for any answer.
const DEVICES: usize = 48;
const MESSAGES: u64 = 2_000;
/// What may come to wait beside what the twin holds anyway: buffers, not what was sent.
const ROOM_KIB: u64 = 300 << 10;
/// Packs of readings that are sent past a follower that does not read, and readings of each.
const PACKS: u64 = 80;
const PACK: u64 = 500;

fn payload(number: u64) -> String {
    format!(
        "{{\"ts\": {}, \"values\": {{\"pm25\": {number}}}}}",
        BASE_SECS + number
    )
}

/// Readings in the history of a station, by its days.
fn kept(twin: &Twin, device: usize) -> u64 {
    let query = "query($id: ID!) { twin(id: $id) { ... on AirQualityStation { pm25 {
        history(from: \"2023-01-01T00:00:00Z\", every: \"P1D\", aggregate: COUNT) { value } } } } }";
    let answer = twin.graphql(query, json!({ "id": station(device) }));
    let days = answer.data()["twin"]["pm25"]["history"].as_array().unwrap();
    days.iter()
        .map(|day| day["value"].as_f64().unwrap() as u64)
        .sum()
}

/// Sends as fast as the connection takes it, while acknowledgements are read beside it; the last
/// packet id that was acknowledged, of those sent in their order.
fn flood(mut device: Device, messages: u64, acknowledged: &AtomicU64) -> u64 {
    let mut reader = device.other_half().unwrap();
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut last = 0;
            while last < messages {
                let Ok(id) = reader.acknowledged() else { break };
                assert_eq!(u64::from(id), last + 1, "acknowledgements come in order");
                last += 1;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            last
        });
        for number in 0..messages {
            if device.send(&payload(number)).is_err() {
                break; // It was ended; what was acknowledged counts.
            }
        }
        reading.join().unwrap()
    })
}

#[test]
fn more_than_it_can_do_is_held_back_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, DEVICES);
    let start = Start::serve().dir(&dir);
    let mut twin = start.env("TWIN_STORE__WRITE_BUFFER_MIB", "2").ready();
    let before = twin.resident_kib();
    let acknowledged = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let (most, commits) = thread::scope(|scope| {
        let floods: Vec<_> = (0..DEVICES)
            .map(|device| {
                let device = Device::connect(twin.mqtt(), &station(device)).unwrap();
                let acknowledged = &acknowledged;
                scope.spawn(move || flood(device, MESSAGES, acknowledged))
            })
            .collect();
        // Apps are answered meanwhile, and told so where they are not.
        let (http, over) = (twin.http().to_owned(), &over);
        let app = scope.spawn(move || {
            let mutation = "mutation($id: ID!) { upsertInstitution(input: { id: $id, name: $id }) {
                changes } }";
            let mut done = 0;
            while !over.load(Ordering::Relaxed) {
                let id = format!("worst:{done}");
                let answer = ask(&http, mutation, &json!({ "id": id })).unwrap();
                if answer.body.get("errors").is_some() {
                    let (code, message) = answer.error();
                    assert!(
                        ["LIMITED", "TIMEOUT", "UNAVAILABLE"].contains(&code),
                        "{message}"
                    );
                } else {
                    done += 1;
                }
            }
            done
        });
        let mut most = 0;
        until("every message is acknowledged", SOON * 5, || {
            assert!(twin.running(), "{}", twin.log());
            most = most.max(twin.resident_kib());
            let waiting = twin.metric("twin_queue_requests");
            assert!(
                waiting <= twin.metric("twin_queue_requests_limit"),
                "{waiting}"
            );
            floods
                .iter()
                .all(thread::ScopedJoinHandle::is_finished)
                .then_some(())
        });
        over.store(true, Ordering::Relaxed);
        for flood in floods {
            assert_eq!(flood.join().unwrap(), MESSAGES);
        }
        (most, app.join().unwrap())
    });
    println!("{before} KiB before, {most} KiB at most; {commits} commits meanwhile");
    assert!(most < before + ROOM_KIB, "{most} KiB after {before} KiB");
    assert!(commits > 0);
    assert_eq!(acknowledged.into_inner(), DEVICES as u64 * MESSAGES);
    for device in 0..DEVICES {
        assert_eq!(kept(&twin, device), MESSAGES, "{}", station(device));
    }
    // It has recovered: nothing waits, and the next is answered.
    assert_eq!(twin.metric("twin_queue_requests"), 0);
    let mut device = Device::connect(twin.mqtt(), &station(0)).unwrap();
    device.publish(&payload(MESSAGES)).unwrap();
    assert_eq!(kept(&twin, 0), MESSAGES + 1);
    twin.interrupt();
}

#[test]
fn a_device_that_is_faster_than_it_may_be_is_ended_and_counted() {
    const ALLOWED: u64 = 50;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, 1);
    let start = Start::serve().dir(&dir);
    let allowed = ALLOWED.to_string();
    let twin = start
        .env("TWIN_MQTT__MAX_MESSAGES_PER_SEC", &allowed)
        .ready();
    let mut device = Device::connect(twin.mqtt(), &station(0)).unwrap();
    let acknowledged = ALLOWED / 5;
    for number in 0..acknowledged {
        device.publish(&payload(number)).unwrap();
    }
    // Far more than is allowed, until the connection takes no more.
    let refused =
        (acknowledged..MESSAGES * 100).find(|number| device.send(&payload(*number)).is_err());
    assert!(refused.is_some());
    let ended = "twin_mqtt_closed_total{reason=\"too_fast\"}";
    until("it is counted", SOON, || {
        (twin.metric(ended) == 1).then_some(())
    });
    assert!(kept(&twin, 0) >= acknowledged);
    let mut device = Device::connect(twin.mqtt(), &station(0)).unwrap();
    device.publish(&payload(0)).unwrap();
}

#[test]
fn a_follower_that_never_reads_costs_writers_nothing() {
    const READINGS: &str = "subscription($after: String) { changes(after: $after) {
        position kind id reading { telemetry value ts } } }";
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, 1);
    let twin = Start::serve().dir(&dir).ready();
    let before = twin.resident_kib();
    let follow = || {
        let after = json!({ "after": twin.position() });
        Subscription::open(twin.http(), READINGS, &after).unwrap()
    };
    let (silent, mut reading) = (follow(), follow());
    let followed = || twin.metric("twin_subscriptions");
    until("both are counted", SOON, || (followed() == 2).then_some(()));
    let mut device = Device::connect(twin.mqtt(), &station(0)).unwrap();
    for pack in 0..PACKS {
        let readings: Vec<_> = (pack * PACK..(pack + 1) * PACK).map(payload).collect();
        device
            .publish(&format!("[{}]", readings.join(",")))
            .unwrap();
    }
    assert_eq!(kept(&twin, 0), PACKS * PACK);
    // Who reads hears all of it, who does not is held back where it stands.
    for number in 0..PACKS * PACK {
        let event = reading.heard().unwrap();
        assert_eq!(
            event["changes"]["reading"]["value"], number as f64,
            "{event}"
        );
    }
    let after = twin.resident_kib();
    assert!(after < before + ROOM_KIB, "{after} KiB after {before} KiB");
    assert_eq!(followed(), 2);
    drop(silent);
    until("it is gone", SOON, || (followed() == 1).then_some(()));
}

/// The largest table of the storage engine.
fn largest_table(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|ending| ending == "sst"));
    tables
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap()
}

#[test]
fn a_disk_that_changed_what_was_written_is_found_and_named() {
    const STATIONS: usize = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, STATIONS);
    let verify = || Start::bare("verify").arg("--json").dir(&dir).finished();
    // What was in the log of writes is in tables once the folder was opened again.
    let sound = verify();
    assert_eq!(sound.code, Some(0), "{sound:?}");
    let table = largest_table(&dir);
    let mut file = fs::OpenOptions::new().write(true).open(&table).unwrap();
    let length = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(length / 3)).unwrap();
    file.write_all(&[0xa5; 64]).unwrap();
    drop(file);
    let found = verify();
    assert_eq!(found.code, Some(1), "{found:?}");
    let name = table.file_name().unwrap().to_str().unwrap();
    let said = format!("{}{}", found.out, found.err);
    assert!(
        said.contains(name) && said.to_lowercase().contains("checksum"),
        "{said}"
    );
    // Nothing is served from it.
    let refused = Start::serve().dir(&dir).refused();
    assert_eq!(refused.code, Some(1), "{}", refused.text);
    assert!(refused.text.contains(name), "{}", refused.text);
}
