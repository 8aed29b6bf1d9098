//! A twin whose disk fails or is full refuses what it cannot keep, goes on answering, and has all
//! that it acknowledged after its restart.
//!
//! # Invariants
//! - A fault is a site (a call on a kind of file), `EIO` or `ENOSPC`, once or from then on, while the
//!   twin starts or while it is written to. `TWIN_FAULTS=all` walks over every site that a round
//!   calls, else a few are drawn from a printed seed (`TWIN_SEED`).
//! - Half of the cases end in a power cut, half in a kill.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test outside its functions too fails by panicking and tells what it does"
)]

use std::{collections::BTreeMap, env, time::Duration};

use serde_json::json;
use tests::{
    Book, Disk, Fault, NoReceipt, Random, Site, Start, Trouble, Twin, number, register_stations_by,
    until,
};

/// Stations, each with a connection of its own.
const STATIONS: usize = 2;
/// Commits of a round: enough that write buffers are flushed.
const COMMITS: usize = 40;
/// Commits after a fault that changed nothing.
const MORE: usize = 5;
/// A round writes what it should within this time, on a busy machine too.
const ROUND_WITHIN: Duration = Duration::from_mins(2);
/// Cases of one folder: its history grows with each.
const CASES_PER_FOLDER: usize = 24;
/// Cases drawn in a short run, beside those that are always tried.
const DRAWN: usize = 2;

/// A fault and when it strikes.
#[derive(Debug, Clone, Copy)]
struct Case {
    fault: Fault,
    starting: bool,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = if self.starting { "starting" } else { "loaded" };
        write!(f, "{phase}: {}", self.fault)
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    /// The call did not come.
    NotReached,
    /// It failed, and the twin went on.
    Borne,
    /// Commits waited longer than a request may, and went on, or were refused, once the disk was well.
    Late,
    /// The twin refused to start, with a reason.
    NotStarted,
    /// The twin stopped writing, with a reason.
    Stopped,
}

fn start(disk: &Disk) -> Start {
    // History is tended all the time, so that its writes fail too.
    let start = Start::serve().env("TWIN_STORE__WRITE_BUFFER_MIB", "1");
    disk.under(start.env("TWIN_HISTORY__TEND_SECS", "1"))
}

/// Whether a text says what the disk did, wherever its lines were broken.
fn names(text: &str, trouble: Trouble) -> bool {
    let words = match trouble {
        Trouble::Io => "input/outputerror",
        Trouble::NoSpace => "nospaceleft",
        Trouble::Kill => "killed",
    };
    let letters = |letter: &char| !letter.is_whitespace() && *letter != '│';
    let text: String = text.chars().filter(letters).collect();
    text.to_lowercase().contains(words)
}

/// Lets a fault strike while the twin starts.
fn strike_start(disk: &Disk, book: &mut Book, fault: &Fault, name: &str) -> Came {
    disk.arm(fault);
    match start(disk).tried() {
        Err(refusal) => {
            assert!(disk.failed() > 0, "it did not start: {}", refusal.text);
            assert_eq!(refusal.code, Some(1), "{}", refusal.text);
            assert!(names(&refusal.text, fault.trouble), "{}", refusal.text);
            Came::NotStarted
        }
        Ok(twin) => {
            let answer = book.commit(&twin, name.to_owned());
            match (answer, disk.failed()) {
                (Ok(_), 0) => Came::NotReached,
                (Ok(_), _) => Came::Borne,
                (Err(NoReceipt::Late(_)), 1..) => late(disk, book, &twin, name),
                (Err(NoReceipt::Unknown(_) | NoReceipt::Refused(_)), 1..) => {
                    stopped(disk, book, &twin, fault, name);
                    Came::Stopped
                }
                (Err(why), failed) => panic!("{failed} calls failed: {why:?}"),
            }
        }
    }
}

/// Lets a fault strike while the twin is written to.
fn strike_load(disk: &Disk, book: &mut Book, fault: &Fault, round: u64, name: &str) -> Came {
    let mut twin = start(disk).ready();
    book.check(&twin);
    disk.arm(fault);
    let writing = book.start(&twin, round);
    let mut enough = COMMITS;
    let mut struck = false;
    let ended = until("it stops, or goes on", ROUND_WITHIN, || {
        assert!(twin.running(), "it ended by itself:\n{}", twin.log());
        if disk.failed() > 0 && !struck {
            struck = true;
            enough = writing.commits() + MORE;
        }
        // Before the question whether it stopped, which ends the apps too.
        let over = writing.over();
        let stopped = twin.get("/readyz").0 == 503;
        let goes_on = writing.commits() >= enough;
        (stopped || goes_on || over).then_some((stopped, goes_on))
    });
    let came = match ended {
        (true, _) => {
            stopped(disk, book, &twin, fault, name);
            Came::Stopped
        }
        (false, false) => late(disk, book, &twin, name),
        (false, true) if struck => Came::Borne,
        (false, true) => Came::NotReached,
    };
    twin.kill9();
    book.end(writing);
    came
}

/// Reads go on, whatever the disk does.
fn reads(twin: &Twin) {
    let query = "{ airQualityStations { totalCount } }";
    let answer = twin.graphql(query, json!({}));
    assert_eq!(answer.data()["airQualityStations"]["totalCount"], STATIONS);
}

/// Checks a twin whose commits wait: it answers, and decides once the disk is well.
fn late(disk: &Disk, book: &mut Book, twin: &Twin, name: &str) -> Came {
    reads(twin);
    disk.heal();
    let mut tries = 0;
    until("it writes or refuses", ROUND_WITHIN, || {
        tries += 1;
        match book.commit(twin, format!("{name}-late{tries}")) {
            Err(NoReceipt::Late(_)) => None,
            Err(NoReceipt::Silence(why)) => panic!("{why}"),
            Ok(_) | Err(NoReceipt::Unknown(_) | NoReceipt::Refused(_)) => Some(Came::Late),
        }
    })
}

/// Checks a twin that stopped writing: it says why and what to do, answers, and refuses for good.
fn stopped(disk: &Disk, book: &mut Book, twin: &Twin, fault: &Fault, name: &str) {
    let says = || {
        let (status, text) = twin.get("/readyz");
        assert_eq!(status, 503, "{text}");
        // Where the engine waits without end for its disk, all that can be said is that it does.
        let said = names(&text, fault.trouble) || text.contains("did not answer");
        assert!(said, "{fault}: {text}");
        assert!(text.contains("restart"), "{text}");
    };
    let mut refuses = |name: String| {
        let answer = book.commit(twin, name);
        assert!(
            matches!(&answer, Err(NoReceipt::Refused(why)) if why.contains("restart")),
            "{answer:?}"
        );
    };
    says();
    reads(twin);
    refuses(format!("{name}-stopped"));
    disk.heal();
    says();
    reads(twin);
    refuses(format!("{name}-healed"));
}

/// Tries cases on one folder, each from where the one before left it.
fn try_cases(random: &mut Random, cases: &[Case], came: &mut BTreeMap<Came, u64>) {
    let mut disk = Disk::new(random.bits());
    register_stations_by(|start| disk.under(start), STATIONS);
    let mut book = Book::new(STATIONS);
    for (round, case) in (0..).zip(cases) {
        let name = format!("case{round}");
        println!("{case}");
        let outcome = if case.starting {
            strike_start(&disk, &mut book, &case.fault, &name)
        } else {
            strike_load(&disk, &mut book, &case.fault, round, &name)
        };
        disk.heal();
        println!("{outcome:?}");
        *came.entry(outcome).or_default() += 1;
        if random.below(2) == 0 {
            disk.cut();
        }
    }
    let mut twin = start(&disk).ready();
    book.check(&twin);
    // With a disk that is well again it writes again.
    assert!(book.commit(&twin, "last".to_owned()).is_ok());
    book.check(&twin);
    twin.interrupt();
    book.check_all(&disk.dir());
}

/// Every site that a start and a round call, and how often.
fn sites() -> [BTreeMap<Site, u64>; 2] {
    let disk = Disk::new(0);
    register_stations_by(|start| disk.under(start), STATIONS);
    let before = disk.calls();
    let since = |now: BTreeMap<Site, u64>, before: &BTreeMap<Site, u64>| {
        now.into_iter()
            .map(|(site, calls)| (site, calls - before.get(&site).unwrap_or(&0)))
            .filter(|(_, calls)| *calls > 0)
            .collect::<BTreeMap<_, _>>()
    };
    let mut twin = start(&disk).ready();
    let started = disk.calls();
    let mut book = Book::new(STATIONS);
    let writing = book.start(&twin, 0);
    until("a round is written", ROUND_WITHIN, || {
        (writing.commits() >= COMMITS).then_some(())
    });
    let loaded = disk.calls();
    twin.kill9();
    book.end(writing);
    let loaded = since(loaded, &started);
    [since(started, &before), loaded]
}

/// The first call of each site, the last, and one between, under each trouble, once and for long.
fn all_cases(random: &mut Random) -> Vec<Case> {
    let mut cases = Vec::new();
    for (starting, sites) in [true, false].into_iter().zip(sites()) {
        for (site, calls) in sites {
            let mut passes = vec![0, random.below(calls), calls - 1];
            passes.dedup();
            // Under load calls differ from round to round; the last may not come.
            passes.truncate(if starting { 3 } else { 2 });
            for (index, pass) in passes.into_iter().enumerate() {
                let troubles = [(Trouble::Io, 1), (Trouble::NoSpace, u64::MAX)];
                let others = [(Trouble::Io, u64::MAX), (Trouble::NoSpace, 1)];
                let chosen = if index == 0 {
                    [troubles, others].concat()
                } else {
                    troubles.to_vec()
                };
                cases.extend(chosen.into_iter().map(|(trouble, times)| Case {
                    fault: Fault {
                        site,
                        pass,
                        times,
                        trouble,
                    },
                    starting,
                }));
            }
        }
    }
    cases
}

/// Those that matter most, and some that are drawn.
fn some_cases(random: &mut Random) -> Vec<Case> {
    let case = |starting, (operation, kind), trouble, times, pass| Case {
        fault: Fault {
            site: Site::named(operation, kind),
            pass,
            times,
            trouble,
        },
        starting,
    };
    let mut cases = vec![
        case(false, ("sync", "log of writes"), Trouble::Io, 1, 3),
        case(
            false,
            ("write", "log of writes"),
            Trouble::NoSpace,
            u64::MAX,
            3,
        ),
        case(true, ("sync", "manifest"), Trouble::Io, 1, 0),
    ];
    let sites = [
        ("write", "table"),
        ("sync", "table"),
        ("write", "manifest"),
        ("sync", "manifest"),
        ("open", "log of writes"),
        ("sync", "folder"),
        ("write", "blob"),
        ("rename", "temporary"),
        ("write", "LOG"),
    ];
    for _ in 0..DRAWN {
        let site = sites[random.below(sites.len() as u64) as usize];
        let trouble = [Trouble::Io, Trouble::NoSpace][random.below(2) as usize];
        let times = [1, u64::MAX][random.below(2) as usize];
        cases.push(case(random.below(2) == 0, site, trouble, times, 0));
    }
    cases
}

#[test]
fn on_a_failing_disk_nothing_acknowledged_is_lost() {
    let seed = number("TWIN_SEED", u64::from(std::process::id()));
    let all = env::var("TWIN_FAULTS").is_ok_and(|which| which == "all");
    println!("TWIN_SEED={seed} repeats the plan of these faults");
    let mut random = Random::new(seed);
    let cases = if all {
        all_cases(&mut random)
    } else {
        some_cases(&mut random)
    };
    let mut came = BTreeMap::new();
    for some in cases.chunks(CASES_PER_FOLDER) {
        try_cases(&mut random, some, &mut came);
        println!("{came:?} of {}", cases.len());
    }
    assert!(
        came.contains_key(&Came::Stopped),
        "nothing failed: {came:?}"
    );
}
