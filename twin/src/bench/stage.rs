//! The two sides with the same made-up things: a twin on its store, and SurrealDB alone.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use store::peer::Peer;
use twin_core::store::{Kept, KeptLetter, Lane, PastReading, Series, Sink, Store, StoreError};
use twin_core::{Group, Twin};

use super::figure::{self, Figure};
use super::{Bench, synthetic};
use crate::config::Config;
use crate::failure::Failure;
use crate::nation::{self, Nation};

/// Things of the stage.
pub(crate) const THINGS: u64 = 50_000;

/// Both sides. The files are removed with the bench's folder.
pub(crate) struct Stage {
    pub(crate) nation: Nation,
    pub(crate) peer: Arc<Peer>,
}

impl Stage {
    /// What is measured on it.
    pub(crate) const FIGURES: [&'static Figure; 21] = [
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
        &figure::COMMIT_ONE_P50,
        &figure::COMMIT_ONE_P99,
        &figure::COMMIT_MANY_RATE,
        &figure::COMMIT_MANY_P50,
        &figure::COMMIT_MANY_P99,
        &figure::READINGS,
        &figure::READINGS_P99,
        &figure::AHEAD,
        &figure::AHEAD_P99,
        &figure::PACKS,
        &figure::PACKS_P99,
    ];

    /// Opens both sides, empty the first time.
    pub(crate) async fn open(bench: &Bench) -> Result<Self, Failure> {
        let nation = Nation::open(config(bench)?).await?;
        let peer = peer(bench, "alone", &nation).await?;
        Ok(Self { nation, peer })
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.nation.close().await?;
        Ok(self.peer.close().await?)
    }
}

/// The configuration of a twin of made-up things in the bench's folder.
pub(crate) fn config(bench: &Bench) -> Result<Config, Failure> {
    let mut config = bench.config.clone();
    config.twin.dir = bench.folder.join("twin");
    config.twin.seeds = bench.folder.join("seeds");
    synthetic::write_models(&config.twin.seeds)?;
    Ok(config)
}

/// SurrealDB alone, with the tables and the settings of a nation.
pub(crate) async fn peer(bench: &Bench, name: &str, nation: &Nation) -> Result<Arc<Peer>, Failure> {
    let settings = nation::settings(&bench.config);
    let ontology = Arc::clone(&nation.ontology);
    open_peer(&bench.folder.join(name), ontology, &settings).await
}

async fn open_peer(
    folder: &Path,
    ontology: Arc<ontology::Ontology>,
    settings: &store::Settings,
) -> Result<Arc<Peer>, Failure> {
    let opened = Peer::open(folder, ontology, settings).await;
    Ok(Arc::new(
        opened.map_err(|error| Failure::failed(error.to_string()))?,
    ))
}

/// A twin of made-up things that keeps nothing: what it takes is the live twin's memory alone.
pub(crate) async fn unstored(bench: &Bench) -> Result<Twin, Failure> {
    let config = config(bench)?;
    let ontology = nation::ontology(&config.twin.seeds)?;
    Ok(Twin::open(Arc::new(Nowhere), ontology, twin_core::Settings::default()).await?)
}

/// A store that keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl Store for Nowhere {
    fn claim<'a>(&'a self, _lane: &'a str) -> BoxFuture<'a, Result<Lane, StoreError>> {
        Box::pin(async { Ok(Lane { epoch: 1, next: 0 }) })
    }

    fn commit<'a>(&'a self, _group: &'a Group) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn load<'a>(
        &'a self,
        _now: i64,
        _sink: &'a mut Sink<'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn groups<'a>(
        &'a self,
        _lane: &'a str,
        _from: u64,
        _max_bytes: usize,
    ) -> BoxFuture<'a, Result<Kept, StoreError>> {
        Box::pin(async { Ok(Kept::Groups(Vec::new())) })
    }

    fn readings<'a>(
        &'a self,
        _series: &'a Series<'a>,
    ) -> BoxFuture<'a, Result<Vec<PastReading>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn dead_letters<'a>(
        &'a self,
        _lane: &'a str,
        _before: u64,
        _limit: usize,
    ) -> BoxFuture<'a, Result<Vec<KeptLetter>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
