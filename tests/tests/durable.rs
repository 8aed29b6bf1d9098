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

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use serde_json::Value;
use tests::{Book, Random, Start, Twin, number, register_stations, until};

/// Stations, each with a connection of its own.
const STATIONS: usize = 4;
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

/// Lets stations and apps write until the twin is killed, so long after so many commits.
fn write_until_killed(
    book: &mut Book,
    twin: &mut Twin,
    round: u64,
    commits: usize,
    after: Duration,
) {
    let writing = book.start(twin, round);
    until("enough is committed", ROUND_WITHIN, || {
        assert!(twin.running(), "it ended by itself:\n{}", twin.log());
        writing.has(commits).then_some(())
    });
    twin.runs_for(after);
    twin.kill9();
    book.end(writing);
    book.check_unrefused();
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
    acknowledged: u64,
    readings: u64,
    commits: u64,
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
            twin.runs_for(after);
            twin.kill9();
        } else {
            let mut twin = start(&dir).ready();
            book.check(&twin);
            write_until_killed(&mut book, &mut twin, round, commits, after);
        }
        sums.flushes += flushes(&dir) as u64;
    }
    let mut twin = start(&dir).ready();
    book.check(&twin);
    twin.interrupt();
    let held = book.check_all(&dir);
    sums.kills += kills;
    sums.acknowledged += held.acknowledged;
    sums.readings += held.readings;
    sums.commits += held.commits;
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
