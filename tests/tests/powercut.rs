//! A twin whose power is cut while devices and apps write to it loses nothing that it acknowledged
//! and keeps no half; with the engine's sync switched off the same test finds losses.
//!
//! # Invariants
//! - Moments, sites and what a cut leaves are drawn from a printed seed: `TWIN_SEED` repeats the
//!   plan, `TWIN_CUTS` says how many cuts, `TWIN_SYNC=off` is the counter-check.
//! - The twin runs on `tests::Disk` from the folder's first byte on.
#![expect(
    clippy::print_stdout,
    reason = "a test outside its functions too tells what it does"
)]

use std::{env, time::Duration};

use tests::{
    Book, Cut, Disk, Fault, Held, Random, Site, Start, Trouble, Twin, is_sound, number,
    register_stations_by, until,
};

/// Stations, each with a connection of its own.
const STATIONS: usize = 2;
/// A cut comes after so many acknowledged commits of its round, and up to so many seconds.
const COMMITS: (f64, f64) = (1.0, 60.0);
const AFTER_SECS: (f64, f64) = (0.0, 0.03);
/// So long after the start, where a cut strikes while the twin starts, seconds.
const EARLY_SECS: (f64, f64) = (0.0, 0.8);
/// Cuts of one folder: its history grows with each, and so does the time of a start.
const CUTS_PER_FOLDER: u64 = 20;
/// A round writes what it should within this time, on a busy machine too.
const ROUND_WITHIN: Duration = Duration::from_mins(2);
/// Calls before which the power may be cut: each stands between two steps whose order matters.
const SITES: [(&str, &str); 10] = [
    ("write", "log of writes"),
    ("sync", "log of writes"),
    ("open", "log of writes"),
    ("unlink", "log of writes"),
    ("write", "table"),
    ("sync", "table"),
    ("write", "manifest"),
    ("sync", "manifest"),
    ("rename", "temporary"),
    ("sync", "folder"),
];
/// At most so many bits has the number of calls of a site that pass before.
const PASS_BITS: u64 = 6;

/// When the power is cut.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after the start.
    Early(Duration),
    /// So long after so many commits.
    Late(usize, Duration),
    /// Before a call, or after so many commits if it does not come before.
    Call(Fault, usize),
}

impl Moment {
    fn late(random: &mut Random) -> Self {
        let commits = random.between(COMMITS.0, COMMITS.1) as usize;
        let secs = random.between(AFTER_SECS.0, AFTER_SECS.1);
        Self::Late(commits, Duration::from_secs_f64(secs))
    }

    fn drawn(random: &mut Random) -> Self {
        match random.below(10) {
            0 | 1 => {
                let secs = random.between(EARLY_SECS.0, EARLY_SECS.1);
                Self::Early(Duration::from_secs_f64(secs))
            }
            2..6 => Self::late(random),
            _ => {
                let (operation, kind) = SITES[random.below(SITES.len() as u64) as usize];
                // Few mostly, because rare calls do not come often.
                let bits = random.below(PASS_BITS);
                let fault = Fault {
                    site: Site::named(operation, kind),
                    pass: random.below(1 << bits),
                    times: 1,
                    trouble: Trouble::Kill,
                };
                let commits = random.between(COMMITS.0, COMMITS.1) as usize;
                Self::Call(fault, commits)
            }
        }
    }
}

fn start(disk: &Disk, synced: bool) -> Start {
    // History is tended all the time, so that cuts fall into that too.
    let start = Start::serve()
        .env("TWIN_STORE__WRITE_BUFFER_MIB", "1")
        .env("TWIN_HISTORY__TEND_SECS", "1");
    // What is tested is the default.
    let start = if synced {
        start
    } else {
        start.env("TWIN_STORE__SYNC", "never")
    };
    disk.under(start)
}

/// A twin that comes up, or is killed by a call that was chosen.
fn up_or_killed(start: Start) -> Option<Twin> {
    match start.tried() {
        Ok(twin) => Some(twin),
        Err(end) => {
            assert_eq!(end.code, None, "it ended by itself:\n{}", end.text);
            None
        }
    }
}

/// Starts a twin, checks it, lets it be written to, and kills it at the moment; whether it was
/// killed by a chosen call.
fn round(disk: &Disk, synced: bool, book: &mut Book, round: u64, moment: Moment) -> bool {
    let commits = match moment {
        Moment::Early(after) => {
            let mut twin = start(disk, synced).started();
            twin.runs_for(after);
            twin.kill9();
            return false;
        }
        Moment::Late(commits, _) | Moment::Call(_, commits) => commits,
    };
    let mut called = false;
    // A call of the start as well as one under load: what passes at the start counts.
    if let Moment::Call(fault, _) = &moment {
        disk.arm(fault);
    }
    if let Some(mut twin) = up_or_killed(start(disk, synced)) {
        // What a twin that is about to be killed answers is judged after the cut.
        if !matches!(moment, Moment::Call(..)) {
            book.check(&twin);
        }
        let writing = book.start(&twin, round);
        until("enough is committed", ROUND_WITHIN, || {
            let killed = !twin.running();
            assert!(
                !killed || matches!(moment, Moment::Call(..)) && disk.failed() > 0,
                "it ended by itself:\n{}",
                twin.log()
            );
            called |= killed;
            (killed || writing.has(commits)).then_some(())
        });
        if let Moment::Late(_, after) = moment {
            twin.runs_for(after);
        }
        twin.kill9();
        book.end(writing);
        book.check_unrefused();
    } else {
        called = true;
    }
    disk.heal();
    called
}

#[derive(Debug, Default)]
struct Sums {
    called: u64,
    cut: Cut,
    held: Held,
    /// Folders that no longer agreed with themselves.
    broken: u64,
}

/// Cuts the power of a fresh folder so many times, then holds all of it against the book.
fn cut_and_check(random: &mut Random, cuts: u64, sums: &mut Sums) {
    let mut disk = Disk::new(random.bits());
    register_stations_by(|start| disk.under(start), STATIONS);
    // What an import said to be done is durable, its folder too.
    sums.cut.add(disk.cut());
    let mut book = Book::new(STATIONS);
    for number in 0..cuts {
        // The first strikes under load, so that a short run proves something too.
        let moment = if number == 0 {
            Moment::late(random)
        } else {
            Moment::drawn(random)
        };
        println!("cut {number}: {moment:?}");
        sums.called += u64::from(round(&disk, true, &mut book, number, moment));
        sums.cut.add(disk.cut());
    }
    let mut twin = start(&disk, true).ready();
    book.check(&twin);
    twin.interrupt();
    let held = book.check_all(&disk.dir());
    sums.held.readings += held.readings;
    sums.held.acknowledged += held.acknowledged;
    sums.held.commits += held.commits;
}

/// Cuts the power of a folder that is not synced, once, and counts what is gone.
fn cut_and_count(random: &mut Random, sums: &mut Sums) {
    let mut disk = Disk::new(random.bits());
    register_stations_by(|start| disk.under(start), STATIONS);
    sums.cut.add(disk.cut());
    let mut book = Book::new(STATIONS);
    let commits = random.between(COMMITS.0, COMMITS.1) as usize;
    let moment = Moment::Late(commits, Duration::ZERO);
    round(&disk, false, &mut book, 0, moment);
    sums.cut.add(disk.cut());
    // Without sync a later write may outlive an earlier one: a folder with a hole has lost, too.
    if !is_sound(&disk.dir()) {
        sums.broken += 1;
        return;
    }
    let held = book.losses(disk.under(Start::serve()).ready());
    sums.held.readings += held.readings;
    sums.held.acknowledged += held.acknowledged;
    sums.held.lost_readings += held.lost_readings;
    sums.held.commits += held.commits;
    sums.held.lost_commits += held.lost_commits;
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let seed = number("TWIN_SEED", u64::from(std::process::id()));
    let cuts = number("TWIN_CUTS", 3);
    let off = env::var("TWIN_SYNC").is_ok_and(|sync| sync == "off");
    println!("TWIN_SEED={seed} repeats the plan of these {cuts} cuts");
    let mut random = Random::new(seed);
    let mut sums = Sums::default();
    if off {
        for _ in 0..cuts {
            cut_and_count(&mut random, &mut sums);
        }
        println!("without sync: {sums:?}");
        assert!(
            sums.held.lost_readings > 0 && sums.held.lost_commits > 0,
            "without sync nothing was lost: the cuts prove nothing"
        );
        return;
    }
    let mut left = cuts;
    while left > 0 {
        let some = left.min(CUTS_PER_FOLDER);
        cut_and_check(&mut random, some, &mut sums);
        left -= some;
        println!("{left} cuts to go: {sums:?}");
    }
    assert!(sums.held.acknowledged > 0 && sums.held.commits > 0);
}

#[test]
fn without_sync_a_power_cut_takes_what_was_acknowledged() {
    let mut random = Random::new(number("TWIN_SEED", u64::from(std::process::id())));
    let mut sums = Sums::default();
    // One cut in four leaves everything, where the file system had written all by itself.
    for _ in 0..8 {
        cut_and_count(&mut random, &mut sums);
        if sums.held.lost_commits > 0 || sums.broken > 0 {
            return;
        }
    }
    panic!("nothing was lost: the cuts prove nothing: {sums:?}");
}
