//! SIGHUP: what may change while the twin runs is read again from its configuration.
//!
//! # Invariants
//! - A configuration that cannot be used changes nothing.
//! - What was changed and does not take effect is named, each time, until a restart.

use std::path::PathBuf;
use std::sync::Arc;

use ontology::Ontology;
use serde_json::Value;
use store::SurrealStore;
use tokio::signal::unix::Signal;
use twin_core::Twin;

use crate::config::Config;
use crate::failure::Failure;
use crate::nation::{self, Nation};
use crate::output;

/// Keys of `[history]` that need a restart all the same.
const FIXED_HISTORY: [&str; 1] = ["tend_secs"];

/// Where the configuration came from, and what of it is in effect; flags aside.
#[derive(Debug)]
pub(crate) struct Source {
    file: Option<PathBuf>,
    config: Config,
}

/// What a configuration changes.
#[derive(Debug, Default, PartialEq)]
struct Changes {
    /// Keys with the value before and after.
    taken: Vec<String>,
    /// Keys that need a restart.
    left: Vec<String>,
}

impl Source {
    /// Reads the configuration for the first time.
    pub(crate) fn load(file: Option<PathBuf>) -> Result<Self, Failure> {
        let config = Config::load(file.as_deref())?;
        Ok(Self { file, config })
    }

    /// The configuration without flags.
    pub(crate) fn config(&self) -> Config {
        self.config.clone()
    }

    /// Reads it again; what may be changed is in effect from then on.
    fn again(&mut self, ontology: &Ontology) -> Result<Changes, Failure> {
        let config = Config::load(self.file.as_deref())?;
        config.check()?;
        nation::check_classes(&config, ontology)?;
        let changes = changes(&self.config, &config)?;
        let tend_secs = self.config.history.tend_secs;
        self.config.log = config.log;
        self.config.history = config.history;
        self.config.history.tend_secs = tend_secs;
        Ok(changes)
    }
}

/// What of a nation may change while it runs.
pub(crate) struct Reload {
    source: Source,
    ontology: Arc<Ontology>,
    store: Arc<SurrealStore>,
    twin: Twin,
}

impl Reload {
    pub(crate) fn new(source: Source, nation: &Nation) -> Self {
        Self {
            source,
            ontology: Arc::clone(&nation.ontology),
            store: Arc::clone(&nation.store),
            twin: nation.twin.clone(),
        }
    }

    /// Reads the configuration again whenever it is asked to, and drops what is no longer kept.
    pub(crate) async fn run(mut self, mut asked: Signal) {
        while asked.recv().await.is_some() {
            match self.source.again(&self.ontology) {
                Ok(changes) => {
                    let settings = nation::settings(&self.source.config);
                    self.store.keep(settings.change, settings.journal);
                    self.store.retain(settings.retention);
                    output::note(&changes.told());
                    if let Err(error) = self.twin.tend().await {
                        tracing::warn!(%error, "history could not be tended; it is tried again");
                    }
                }
                Err(failure) => {
                    output::note("the configuration was not taken, and the one before goes on:");
                    output::problem(&failure);
                }
            }
        }
    }
}

impl Changes {
    fn told(&self) -> String {
        let Self { taken, left } = self;
        let mut told = match taken.as_slice() {
            [] => "configuration read again: nothing changed that may change now".to_owned(),
            taken => format!("configuration read again: {}", taken.join(", ")),
        };
        if !left.is_empty() {
            told.push_str("; only a restart brings ");
            told.push_str(&left.join(", "));
        }
        told
    }
}

/// Every key that differs.
fn changes(before: &Config, after: &Config) -> Result<Changes, Failure> {
    let read = |config: &Config| {
        serde_json::to_value(config)
            .map_err(|error| Failure::usage(format!("configuration: {error}")))
    };
    let (before, after) = (read(before)?, read(after)?);
    let mut changes = Changes::default();
    for (section, keys) in after.as_object().into_iter().flatten() {
        for (key, value) in keys.as_object().into_iter().flatten() {
            let old = &before[section][key];
            if old == value {
                continue;
            }
            let may = match section.as_str() {
                "log" => true,
                "history" => !FIXED_HISTORY.contains(&key.as_str()),
                _ => false,
            };
            if may {
                changes.taken.push(taken(section, key, old, value));
            } else {
                changes.left.push(format!("{section}.{key}"));
            }
        }
    }
    Ok(changes)
}

fn taken(section: &str, key: &str, old: &Value, new: &Value) -> String {
    format!("{section}.{key} was {old} and is {new}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_differs_is_named_and_only_retention_is_taken() {
        let before = Config::default();
        let mut after = before.clone();
        assert_eq!(changes(&before, &after).unwrap(), Changes::default());
        after.log.readings_mib = 100;
        after.history.classes.insert("Device".to_owned(), 30);
        after.history.tend_secs = 1;
        after.mqtt.max_sessions = 5;
        let told = changes(&before, &after).unwrap().told();
        assert_eq!(
            told,
            "configuration read again: history.classes was {} and is {\"Device\":30}, \
             log.readings_mib was 4096 and is 100; only a restart brings mqtt.max_sessions, \
             history.tend_secs"
        );
    }
}
