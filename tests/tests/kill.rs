//! A twin that is killed while it loads the nation comes back whole.
//!
//! # Invariants
//! - The moments are drawn from a printed seed; `TWIN_SEED` repeats them.
//! - A twin that ends by itself after a kill fails the test: it must have come up again.

use std::time::Duration;

use serde_json::json;
use tests::{Random, Start, data, number};

/// A kill comes this long after the start at the latest; loading takes longer.
const LATEST_SECS: f64 = 12.0;
/// Kills that hit during one load; the rest of `TWIN_KILLS` belongs to other crash tests.
const KILLS_MAX: u64 = 40;

#[test]
fn killed_while_loading_it_comes_back_whole() {
    let Some(data) = data() else {
        println!("skipped: TWIN_DATA names no source data, and the small facts load at once");
        return;
    };
    let seed = number("TWIN_SEED", u64::from(std::process::id()));
    let kills = (number("TWIN_KILLS", 20) / 4).clamp(1, KILLS_MAX);
    println!("TWIN_SEED={seed} repeats these {kills} kills");
    let mut random = Random::new(seed);

    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    for _ in 0..kills {
        let mut twin = Start::demo().data(&data).dir(&dir).started();
        twin.runs_for(Duration::from_secs_f64(random.between(0.1, LATEST_SECS)));
        twin.kill9();
    }

    let twin = Start::demo().data(&data).dir(&dir).ready();
    let query = "{ provinces { totalCount } districts { totalCount } sectors { totalCount }
                   cells { totalCount } villages { totalCount } }";
    let answer = twin.graphql(query, json!({}));
    let found: Vec<_> = ["provinces", "districts", "sectors", "cells", "villages"]
        .iter()
        .map(|list| answer.data()[list]["totalCount"].as_u64())
        .collect();
    assert_eq!(found, [5, 30, 416, 2_148, 14_814].map(Some));
    let counted = twin.surql("SELECT VALUE count() FROM Village GROUP ALL");
    assert!(counted.to_string().contains("14814"), "{counted}");
}
