//! Loading in bulk, the memory that it leaves behind, and starting again with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use store::peer::Peer;

use super::measure::{WRITERS, resident_bytes, spread};
use super::stage::{self, Stage, THINGS};
use super::synthetic::{self, BATCH, Recipe, WHOLE};
use super::{Bench, figure};
use crate::failure::Failure;
use crate::nation::Nation;

/// Twins whose memory is measured.
const REMEMBERED: u64 = 200_000;
/// Things that writers find when nothing else needs more.
const FEW_THINGS: u64 = 1_000;
/// The allocator gives pages back a little later than they are freed.
const SETTLE: Duration = Duration::from_millis(500);

/// Memory of a live twin's twins, without a store, so that its caches do not count. `None` where
/// it is not asked for.
pub(crate) async fn memory(bench: &Bench) -> Result<Option<f64>, Failure> {
    if !bench.wants(&figure::MEMORY) {
        return Ok(None);
    }
    let before = resident_bytes()?;
    let twin = stage::unstored(bench).await?;
    let recipe = Recipe {
        point: false,
        ..WHOLE
    };
    synthetic::load(&twin, REMEMBERED, recipe).await?;
    twin.close().await;
    tokio::time::sleep(SETTLE).await;
    let grown = resident_bytes()?.saturating_sub(before);
    // Seen once more, so that nothing of it could have been freed before it was counted.
    let found = twin.view().len() as u64;
    Ok(Some(grown as f64 / found as f64))
}

/// Fills both sides.
pub(crate) async fn load(bench: &Bench, stage: &Stage, memory: Option<f64>) -> Result<(), Failure> {
    let needed = [
        &figure::BULK,
        &figure::MEMORY,
        &figure::RESTART,
        &figure::BY_ID,
        &figure::PAGE,
        &figure::PAGE_HTTP,
        &figure::RADIUS,
        &figure::RADIUS_GRAPHQL,
        &figure::NEAREST,
        &figure::NEAREST_GRAPHQL,
    ];
    let things = if bench.wants_any(&needed) {
        THINGS
    } else {
        FEW_THINGS
    };
    let begun = Instant::now();
    let changes = synthetic::load(&stage.nation.twin, things, WHOLE).await?;
    let ours = changes as f64 / begun.elapsed().as_secs_f64();
    let (peer, ontology) = (&stage.peer, &stage.nation.ontology);
    let before = resident_bytes()?;
    let begun = Instant::now();
    let rows = load_peer(peer, ontology, things).await?;
    let alone = rows as f64 / begun.elapsed().as_secs_f64();
    let grown = resident_bytes()?.saturating_sub(before);
    if rows != changes {
        return Err(Failure::failed(format!(
            "SurrealDB alone was given {rows} rows and the twin {changes}"
        )));
    }
    let data = format!(
        "{things} twins of 8 properties and a point, {} relationships; {BATCH} twins with theirs a \
         commit, 3 waiting; SurrealDB: INSERTs of {BATCH} rows, {WRITERS} at a time; one run",
        rows - things,
    );
    bench.show(&figure::BULK, &data, &[ours], &[alone]);
    if let Some(memory) = memory {
        let store = &bench.config.store;
        let data = format!(
            "{REMEMBERED} twins of 8 properties and 3 relationships, no geometry, growth of the \
             resident set; SurrealDB grew by {} MiB over {things} of them, its limit is {} MiB",
            grown >> 20,
            store.block_cache_mib + store.write_buffers * store.write_buffer_mib,
        );
        bench.show(&figure::MEMORY, &data, &[memory], &[]);
    }
    Ok(())
}

async fn load_peer(
    peer: &Arc<Peer>,
    ontology: &Arc<ontology::Ontology>,
    things: u64,
) -> Result<u64, Failure> {
    let rows = Arc::new(AtomicU64::new(0));
    // Relationships are enforced, so twins come first.
    for links in [false, true] {
        let jobs = (0..things).step_by(BATCH as usize).map(|first| {
            let (peer, ontology) = (Arc::clone(peer), Arc::clone(ontology));
            let (last, rows) = (things.min(first + BATCH), Arc::clone(&rows));
            async move {
                let (mut twins, mut edges) = (Vec::new(), Vec::new());
                for number in first..last {
                    let (twin, related) = synthetic::thing(number, WHOLE)?.states(&ontology)?;
                    twins.push(twin);
                    edges.extend(related);
                }
                if links {
                    for part in edges.chunks(BATCH as usize) {
                        peer.relate(part).await?;
                    }
                    rows.fetch_add(edges.len() as u64, Relaxed);
                } else {
                    peer.insert(&twins).await?;
                    rows.fetch_add(twins.len() as u64, Relaxed);
                }
                Ok(())
            }
        });
        spread(jobs).await?;
    }
    Ok(rows.load(Relaxed))
}

/// Closes both sides and opens them again, until they can be asked.
pub(crate) async fn restart(bench: &Bench, mut stage: Stage) -> Result<Stage, Failure> {
    if !bench.wants(&figure::RESTART) {
        return Ok(stage);
    }
    let (mut ours, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let Stage { nation, peer } = stage;
        let (twin, again) = reopen(bench, nation, &peer, "alone").await?;
        ours.push(twin.seconds / THINGS as f64);
        alone.push(again.seconds / THINGS as f64);
        stage = Stage {
            nation: twin.side,
            peer: again.side,
        };
    }
    let loaded = stage.nation.twin.loaded();
    let data = format!(
        "{} twins and {} relationships, per twin (the target: 1 M in 10 s); SurrealDB: open and \
         SELECT count() of every table, which reads nothing into memory",
        loaded.twins, loaded.relationships
    );
    bench.show(&figure::RESTART, &data, &ours, &alone);
    Ok(stage)
}

/// A side opened again, and how long that took.
pub(crate) struct Opened<T> {
    pub(crate) side: T,
    pub(crate) seconds: f64,
}

/// Closes both sides, and opens each until it can be asked.
pub(crate) async fn reopen(
    bench: &Bench,
    nation: Nation,
    peer: &Peer,
    name: &str,
) -> Result<(Opened<Nation>, Opened<Arc<Peer>>), Failure> {
    let (config, before) = (nation.config.clone(), nation.twin.view().len());
    nation.close().await?;
    peer.close().await?;
    let begun = Instant::now();
    let nation = Nation::open(config).await?;
    let found = nation.twin.view().len();
    let seconds = begun.elapsed().as_secs_f64();
    if found != before {
        return Err(Failure::failed(format!(
            "{before} twins were closed and {found} opened"
        )));
    }
    let begun = Instant::now();
    let peer = stage::peer(bench, name, &nation).await?;
    let rows = peer.count().await?;
    let again = begun.elapsed().as_secs_f64();
    if rows < found as u64 {
        return Err(Failure::failed(format!(
            "SurrealDB alone has {rows} rows of {found}"
        )));
    }
    let nation = Opened {
        side: nation,
        seconds,
    };
    let peer = Opened {
        side: peer,
        seconds: again,
    };
    Ok((nation, peer))
}
