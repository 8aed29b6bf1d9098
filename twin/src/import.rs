//! `twin import`, and importing one set with a progress bar.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use gis_import::{Folders, Mapping, Progress, Report};
use indicatif::ProgressBar;

use crate::config::Config;
use crate::failure::Failure;
use crate::nation::Nation;
use crate::output;

/// Refusals and warnings shown of one set; all are in the JSON report, as far as it lists them.
const SHOWN: usize = 20;
const DONE_WITH_REFUSALS: u8 = 3;

/// `twin import`.
pub(crate) async fn run(config: Config, sets: &[String], json: bool) -> Result<ExitCode, Failure> {
    let nation = Nation::open(config).await?;
    let done = all(&nation, sets, json).await;
    nation.close().await?;
    let refused = done?;
    Ok(if refused {
        ExitCode::from(DONE_WITH_REFUSALS)
    } else {
        ExitCode::SUCCESS
    })
}

async fn all(nation: &Nation, sets: &[String], json: bool) -> Result<bool, Failure> {
    // All mappings are read before the first is imported.
    let mappings: Vec<_> = sets
        .iter()
        .map(|set| mapping(nation, set))
        .collect::<Result<_, _>>()?;
    let mut refused = false;
    for mapping in mappings {
        let report = set(nation, mapping).await?;
        refused |= report.refused.count > 0;
        if json {
            output::line(&report.to_json().to_string());
        } else {
            show(&report);
        }
    }
    Ok(refused)
}

/// The mapping of a name in seeds/mappings, or of a path.
pub(crate) fn mapping(nation: &Nation, set: &str) -> Result<Arc<Mapping>, Failure> {
    let folder = nation.config.twin.seeds.join("mappings");
    let named = Path::new(set).extension().is_some_and(|e| e == "toml");
    let path = if named {
        PathBuf::from(set)
    } else {
        folder.join(format!("{set}.toml"))
    };
    if !path.is_file() {
        let mut known: Vec<String> = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned))
            .collect();
        known.sort();
        let near = ontology::closest(set, known.iter().map(String::as_str));
        let hint = near.map_or_else(
            || format!("; there are: {}", known.join(", ")),
            |near| format!("; did you mean `{near}`?"),
        );
        return Err(Failure::usage(format!(
            "there is no mapping {}{hint}",
            path.display()
        )));
    }
    Mapping::load(&path, &nation.ontology)
        .map(Arc::new)
        .map_err(|problems| Failure::diagnostic(2, problems))
}

/// Imports one set with a progress bar.
pub(crate) async fn set(nation: &Nation, mapping: Arc<Mapping>) -> Result<Report, Failure> {
    let bar = output::progress(&mapping.set);
    let folders = Folders {
        data: nation.data(),
        seeds: nation.config.twin.seeds.clone(),
    };
    let advance = advance(bar.clone());
    let imported = gis_import::import(&nation.twin, mapping, &folders, advance).await;
    bar.finish_and_clear();
    imported.map_err(|failure| Failure::diagnostic(1, failure))
}

/// Moves a bar on.
pub(crate) fn advance(bar: ProgressBar) -> impl FnMut(Progress) + Send {
    move |progress: Progress| {
        if let Some(expected) = progress.expected {
            output::expect(&bar, expected);
        }
        bar.set_position(progress.read);
        if progress.refused > 0 {
            bar.set_message(format!("{} refused", progress.refused));
        }
    }
}

/// Shows a report to a person.
pub(crate) fn show(report: &Report) {
    output::note(&report.to_string());
    for (what, notes) in [("refused", &report.refused), ("warning", &report.warnings)] {
        for note in notes.listed.iter().take(SHOWN) {
            let twin = note
                .twin
                .as_deref()
                .map(|twin| format!(" {twin}"))
                .unwrap_or_default();
            output::note(&format!("  {what}: {}{twin}: {}", note.place, note.reason));
        }
        let more = notes.count.saturating_sub(SHOWN as u64);
        if more > 0 {
            output::note(&format!(
                "  and {more} more; `twin import --json` lists them"
            ));
        }
    }
}
