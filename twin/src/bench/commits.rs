//! Commits of structure: a new twin with a relationship each, by one writer and by many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Bench;
use super::figure::{self, Figure};
use super::measure::{Done, loops};
use super::stage::{Stage, THINGS};
use super::synthetic;
use crate::failure::Failure;

const WRITERS: usize = 16;

/// A figure and how it is read off what was done.
type Reading = (&'static Figure, fn(&Done) -> f64);

/// Numbers of things that no side has yet.
static NEXT: AtomicU64 = AtomicU64::new(THINGS);

/// One writer, and sixteen.
pub(crate) async fn all(bench: &Bench, stage: &Stage) -> Result<(), Failure> {
    let data = "a new twin of 8 properties and a point with a relationship; SurrealDB: BEGIN; INSERT; \
                INSERT RELATION; COMMIT, each writer its own transaction, no change log";
    let one: [Reading; 2] = [
        (&figure::COMMIT_ONE_P50, |done| done.quantile(0.5)),
        (&figure::COMMIT_ONE_P99, |done| done.quantile(0.99)),
    ];
    side_by_side(bench, stage, 1, data, &one).await?;
    let many: [Reading; 3] = [
        (&figure::COMMIT_MANY_RATE, Done::rate),
        (&figure::COMMIT_MANY_P50, |done| done.quantile(0.5)),
        (&figure::COMMIT_MANY_P99, |done| done.quantile(0.99)),
    ];
    side_by_side(bench, stage, WRITERS, data, &many).await
}

async fn side_by_side(
    bench: &Bench,
    stage: &Stage,
    writers: usize,
    data: &str,
    figures: &[Reading],
) -> Result<(), Failure> {
    if !figures.iter().any(|(figure, _)| bench.wants(figure)) {
        return Ok(());
    }
    let (mut ours, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        ours.push(commits(bench, stage, writers).await?);
        alone.push(commits_alone(bench, stage, writers).await?);
    }
    for (figure, of) in figures {
        let figures = |runs: &[Done]| runs.iter().map(of).collect::<Vec<_>>();
        bench.show(figure, data, &figures(&ours), &figures(&alone));
    }
    Ok(())
}

async fn commits(bench: &Bench, stage: &Stage, writers: usize) -> Result<Done, Failure> {
    let twin = stage.nation.twin.clone();
    let work = move |_, _| {
        let twin = twin.clone();
        async move {
            let thing = synthetic::newcomer(NEXT.fetch_add(1, Relaxed))?;
            let commit = synthetic::commit(thing.operations().collect());
            let receipt = twin.commit(commit).await;
            receipt
                .map(drop)
                .map_err(|refusal| Failure::failed(refusal.to_string()))
        }
    };
    loops(writers, bench.run_for, work).await
}

async fn commits_alone(bench: &Bench, stage: &Stage, writers: usize) -> Result<Done, Failure> {
    let (peer, ontology) = (Arc::clone(&stage.peer), Arc::clone(&stage.nation.ontology));
    let work = move |_, _| {
        let (peer, ontology) = (Arc::clone(&peer), Arc::clone(&ontology));
        async move {
            let thing = synthetic::newcomer(NEXT.fetch_add(1, Relaxed))?;
            let (twin, edges) = thing.states(&ontology)?;
            Ok(peer.create(&twin, &edges).await?)
        }
    };
    loops(writers, bench.run_for, work).await
}
