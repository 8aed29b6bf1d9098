//! The twin against a nation in plain maps: whatever happens, in whatever order, over restarts,
//! retention and tending, both say the same.
//!
//! # Invariants
//! - Steps are drawn from a printed seed: `TWIN_SEED` repeats them, `TWIN_STEPS` says how many.
//! - A failure is repeated with fewer steps as long as it fails, and the steps that are left are
//!   printed.

mod compare;
mod nation;
mod request;
mod step;
mod structure;
mod told;
mod world;

use std::collections::BTreeMap;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use self::step::{Step, steps};
use self::world::{Kind, World};

/// Steps where nothing else is said.
const STEPS: usize = 2_000;
/// A failure after more steps than these is not made smaller: each try takes as long.
const SHRUNK: usize = 20_000;
/// Tries to do so.
const TRIES: usize = 60;

fn number(name: &str, otherwise: u64) -> u64 {
    let said = env::var(name).ok().and_then(|text| text.parse().ok());
    said.unwrap_or(otherwise)
}

/// In short runs everything is looked at often.
fn check_every(count: usize) -> u32 {
    if count > SHRUNK { 1_500 } else { 150 }
}

/// Takes steps and then a look at the end; or how many went well, and why the next did not.
fn take<T>(
    kind: Kind,
    steps: impl Iterator<Item = Step>,
    look: impl AsyncFnOnce(&mut World) -> T,
) -> Result<T, (usize, String)> {
    const SAY_EVERY: usize = 50_000;
    let taken = AtomicUsize::new(0);
    let run = async {
        let mut world = World::new(kind).await;
        for step in steps {
            world.step(step).await;
            let taken = taken.fetch_add(1, Ordering::Relaxed) + 1;
            if taken.is_multiple_of(SAY_EVERY) {
                println!("{taken} steps, at {}", world.twin().view().position());
            }
        }
        world.end().await;
        let looked = look(&mut world).await;
        world.close().await;
        looked
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run)));
    runtime.shutdown_timeout(Duration::from_secs(5));
    ran.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        (taken.load(Ordering::Relaxed), text.unwrap_or_default())
    })
}

/// Leaves steps out as long as what is left still fails; `fails` says how many went well before.
fn shrunk(mut steps: Vec<Step>, mut fails: impl FnMut(&[Step]) -> Option<usize>) -> Vec<Step> {
    let mut tries = 0;
    let mut part = steps.len() / 2;
    while part > 0 {
        let mut from = 0;
        while from < steps.len() && tries < TRIES {
            tries += 1;
            let mut fewer = steps.clone();
            fewer.drain(from..(from + part).min(steps.len()));
            match fails(&fewer) {
                Some(at) => {
                    fewer.truncate(at + 1);
                    steps = fewer;
                }
                None => from += part,
            }
        }
        part /= 2;
    }
    steps
}

fn holds(kind: Kind) {
    let seed = number("TWIN_SEED", u64::from(std::process::id()));
    let count = number("TWIN_STEPS", STEPS as u64) as usize;
    println!("TWIN_SEED={seed} TWIN_STEPS={count} repeats these steps");
    let all = || steps(seed, count, check_every(count));
    if let Err((at, why)) = take(kind, all(), async |_| ()) {
        println!("after {at} steps of TWIN_SEED={seed}: {why}");
        let begun: Vec<Step> = all().take(at + 1).collect();
        let last = begun.last().cloned();
        if at < SHRUNK {
            let left = shrunk(begun, |fewer| {
                let fewer = fewer.iter().cloned();
                take(kind, fewer, async |_| ()).err().map(|(at, _)| at)
            });
            println!("{} steps fail, too: {left:#?}", left.len());
        }
        panic!("TWIN_SEED={seed} TWIN_STEPS={count}, after {at} steps, at {last:?}: {why}");
    }
}

#[test]
fn on_surrealdb_it_does_what_a_plain_nation_does() {
    holds(Kind::Surreal);
}

#[test]
fn in_memory_it_does_what_a_plain_nation_does() {
    holds(Kind::Memory);
}

#[test]
fn steps_that_do_not_matter_are_left_out_of_a_failure() {
    let steps: Vec<Step> = steps(1, 2_000, 20).collect();
    let tends = |steps: &[Step]| steps.iter().position(|step| matches!(step, Step::Tend));
    // It fails where something is verified after something was tended.
    let fails = |steps: &[Step]| {
        let tended = tends(steps)?;
        let verifies = |step: &Step| matches!(step, Step::Verify);
        Some(tended + steps[tended..].iter().position(verifies)?)
    };
    assert!(fails(&steps).is_some());
    let left = shrunk(steps, fails);
    assert!(
        left.len() < 6 && matches!(left[..], [Step::Tend, .., Step::Verify]),
        "{left:?}"
    );
}

/// The records of every table after some steps.
fn records(seed: u64) -> BTreeMap<String, String> {
    const SOME: usize = 600;
    let some = || steps(seed, SOME, check_every(SOME));
    take(Kind::Surreal, some(), async |world| world.records().await).unwrap()
}

#[test]
fn the_same_steps_write_the_same_bytes() {
    let seed = number("TWIN_SEED", u64::from(std::process::id()));
    println!("TWIN_SEED={seed} repeats these steps");
    let [first, second] = [records(seed), records(seed)];
    // Bytes, not their number, and of more than the empty tables of classes.
    assert!(first.values().any(|records| records.contains("Bytes(")));
    let tables = |records: &BTreeMap<String, String>| records.keys().cloned().collect::<Vec<_>>();
    assert_eq!(tables(&first), tables(&second));
    for (table, records) in &first {
        assert_eq!(records, &second[table], "{table}");
    }
}
