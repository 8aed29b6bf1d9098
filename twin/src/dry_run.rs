//! `twin import --dry-run`: what an import would change, without changing it.
//!
//! # Invariants
//! - Nothing is imported and the twin's position stays. A folder that holds no twin is compared with
//!   as an empty one, and is not made.
//! - Sets are tried one after another: each finds what those before it would have made.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use gis_import::{Difference, Mapping, Report};
use twin_core::Trial;

use crate::config::Config;
use crate::failure::Failure;
use crate::import::Given;
use crate::nation::{self, Nation};
use crate::{import, output};

/// Differences of one class shown to a person.
const SHOWN_PER_CLASS: usize = 5;

/// `twin import --dry-run`.
pub(crate) async fn run(
    config: Config,
    sets: &[String],
    given: Given<'_>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let done = if holds_nothing(&config.twin.dir) {
        let ontology = nation::ontology(&config.twin.seeds)?;
        let mappings = import::mappings(&config, &ontology, sets, given)?;
        let mut trial = Trial::empty(Arc::clone(&ontology));
        all(&mut trial, &config, mappings, json).await
    } else {
        let nation = Nation::open(config).await?;
        let mut trial = nation.twin.trial();
        let done = match import::mappings(&nation.config, &nation.ontology, sets, given) {
            Ok(mappings) => all(&mut trial, &nation.config, mappings, json).await,
            Err(failure) => Err(failure),
        };
        nation.close().await?;
        done
    };
    done.map(import::exit_code)
}

fn holds_nothing(dir: &Path) -> bool {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        // Any other reason is told by whoever opens it.
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

async fn all(
    trial: &mut Trial,
    config: &Config,
    mappings: Vec<Arc<Mapping>>,
    json: bool,
) -> Result<bool, Failure> {
    let folders = import::folders(config);
    let mut refused = false;
    for mapping in mappings {
        let bar = output::progress(&mapping.set);
        let advance = import::advance(bar.clone());
        let mut shown = Shown::default();
        let tell = |difference: &Difference| {
            if json {
                output::line(&difference.to_json().to_string());
            } else {
                shown.add(difference);
            }
        };
        let tried = gis_import::dry_run(trial, mapping, &folders, advance, tell).await;
        bar.finish_and_clear();
        let report = tried.map_err(|failure| Failure::diagnostic(1, failure))?;
        refused |= report.refused.count > 0;
        if json {
            output::line(&report.to_json().to_string());
        } else {
            shown.print(&report);
        }
    }
    Ok(refused)
}

/// The first differences of each class, and how many there are.
#[derive(Default)]
struct Shown(BTreeMap<Arc<str>, (u64, Vec<String>)>);

impl Shown {
    fn add(&mut self, difference: &Difference) {
        let (count, first) = self.0.entry(Arc::clone(difference.class())).or_default();
        *count += 1;
        if first.len() < SHOWN_PER_CLASS {
            first.push(difference.to_string());
        }
    }

    fn print(&self, report: &Report) {
        output::line(&report.to_string());
        for (class, (count, first)) in &self.0 {
            let made = report.classes.get(class).copied().unwrap_or_default();
            output::line(&format!(
                "  {class}: {} created, {} updated, {} unchanged; {count} differences",
                made.created, made.updated, made.unchanged
            ));
            for difference in first {
                output::line(&format!("    {difference}"));
            }
            let more = count.saturating_sub(SHOWN_PER_CLASS as u64);
            if more > 0 {
                output::line(&format!("    and {more} more; --json lists them"));
            }
        }
    }
}
