//! A twin opened from its folder: ontology, store, live state; and closed again in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ontology::{ClassId, Ontology};
use store::{EngineError, OpenError, SurrealStore};
use twin_core::Twin;

use crate::config::{Config, EngineLog, Sync};
use crate::failure::Failure;
use crate::output;

/// Everything a command works with.
pub(crate) struct Nation {
    pub(crate) config: Config,
    pub(crate) ontology: Arc<Ontology>,
    pub(crate) store: Arc<SurrealStore>,
    pub(crate) twin: Twin,
}

/// The ontology of the packs in a seeds folder.
pub(crate) fn ontology(seeds: &Path) -> Result<Arc<Ontology>, Failure> {
    let packs = seeds.join("ontology");
    if !packs.is_dir() {
        return Err(Failure::usage(format!(
            "there are no ontology packs in {}: run this in the repository's folder, or name its \
             seeds folder with --seeds",
            packs.display()
        )));
    }
    let (ontology, warnings) =
        Ontology::load_dir(&packs).map_err(|problems| Failure::diagnostic(2, problems))?;
    if !warnings.is_empty() {
        output::note(&format!("{:?}", miette::Report::new(warnings)));
    }
    Ok(Arc::new(ontology))
}

/// How the engine uses memory and disk.
pub(crate) fn settings(config: &Config) -> store::Settings {
    store::Settings {
        block_cache_bytes: (config.store.block_cache_mib as usize) << 20,
        write_buffer_bytes: (config.store.write_buffer_mib as usize) << 20,
        write_buffers: config.store.write_buffers as usize,
        log: match config.store.log {
            EngineLog::Error => store::EngineLog::Error,
            EngineLog::Warn => store::EngineLog::Warn,
            EngineLog::Info => store::EngineLog::Info,
        },
        sync: match config.store.sync {
            Sync::Every => store::Sync::EveryCommit,
            Sync::Never => store::Sync::Never,
        },
        change: keep(config.log.changes_mib, config.log.changes_days),
        journal: keep(config.log.readings_mib, config.log.readings_days),
        retention: store::Retention {
            readings: limit(config.history.readings_days),
            classes: (config.history.classes.iter())
                .map(|(class, days)| (class.clone(), limit(*days)))
                .collect(),
            sums: limit(config.history.sums_days),
        },
        ..store::Settings::default()
    }
}

/// Nought sets no limit.
fn limit(number: u32) -> Option<u32> {
    (number > 0).then_some(number)
}

fn keep(mib: u32, days: u32) -> store::Keep {
    store::Keep {
        bytes: limit(mib).map(|mib| u64::from(mib) << 20),
        time: limit(days).map(|days| Duration::from_secs(u64::from(days) * 24 * 3600)),
    }
}

/// Refuses classes that the ontology does not have.
pub(crate) fn check_classes(config: &Config, ontology: &Ontology) -> Result<(), Failure> {
    for class in config.history.classes.keys() {
        class_named(ontology, class, "configuration: history.classes")?;
    }
    Ok(())
}

/// The class that something names.
pub(crate) fn class_named(ontology: &Ontology, name: &str, what: &str) -> Result<ClassId, Failure> {
    ontology
        .class_named(name)
        .map(|class| class.id)
        .ok_or_else(|| {
            let names = ontology.classes().iter().map(|class| &*class.name);
            let close = ontology::closest(name, names);
            let close = close.map(|close| format!("; did you mean `{close}`?"));
            Failure::usage(format!(
                "{what} names `{name}`, which is no class of the ontology{}",
                close.unwrap_or_default()
            ))
        })
}

/// Opens the durable store alone.
pub(crate) async fn store(
    config: &Config,
    ontology: &Arc<Ontology>,
) -> Result<Arc<SurrealStore>, Failure> {
    check_classes(config, ontology)?;
    let dir = &config.twin.dir;
    let dir = std::path::absolute(dir)
        .map_err(|error| Failure::usage(format!("folder {}: {error}", dir.display())))?;
    if config.store.sync == Sync::Never {
        output::note(
            "WARNING: store.sync is \"never\": what is acknowledged is not durable, and a power cut \
             loses it. Only for measurements and tests.",
        );
    }
    let url = format!("rocksdb://{}", dir.display());
    let (realm, ontology) = (&config.twin.realm, Arc::clone(ontology));
    let opened = SurrealStore::open(&url, realm, ontology, settings(config)).await;
    Ok(Arc::new(opened.map_err(|error| match error {
        OpenError::Engine(EngineError::Folder { .. }) => Failure::usage(error.to_string()),
        other => Failure::failed(other.to_string()),
    })?))
}

impl Nation {
    /// Opens the twin of the configured folder.
    pub(crate) async fn open(config: Config) -> Result<Self, Failure> {
        let ontology = ontology(&config.twin.seeds)?;
        let store = store(&config, &ontology).await?;
        Self::over(config, ontology, store).await
    }

    /// Opens the twin of a store.
    pub(crate) async fn over(
        config: Config,
        ontology: Arc<Ontology>,
        store: Arc<SurrealStore>,
    ) -> Result<Self, Failure> {
        let settings = twin_core::Settings {
            max_ahead: Duration::from_secs(u64::from(config.twin.max_ahead_secs)),
            max_behind: config.twin.max_behind(),
            tend_every: Some(Duration::from_secs(config.history.tend_secs.max(1).into())),
            ..twin_core::Settings::default()
        };
        let shared: Arc<dyn twin_core::store::Store> = Arc::clone(&store) as _;
        let twin = match Twin::open(shared, Arc::clone(&ontology), settings).await {
            Ok(twin) => twin,
            Err(error) => {
                // What matters is why it could not be opened.
                drop(store.close().await);
                return Err(error.into());
            }
        };
        Ok(Self {
            config,
            ontology,
            store,
            twin,
        })
    }

    /// Answers what waits, then closes the files.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.twin.close().await;
        Ok(self.store.close().await?)
    }
}
