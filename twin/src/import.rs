//! `twin import`, and importing one set with a progress bar.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use gis_import::formats::Crs;
use gis_import::{Folders, LISTED_IN_TEXT, Mapping, Progress, Report};
use indicatif::ProgressBar;
use ontology::Ontology;

use crate::config::Config;
use crate::failure::Failure;
use crate::nation::Nation;
use crate::output;

const DONE_WITH_REFUSALS: u8 = 3;

/// What is said of files beside the mappings.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given<'g> {
    /// The file to read in place of those that the mappings name.
    pub(crate) file: Option<&'g Path>,
    /// The coordinate system, instead of what files and mappings say.
    pub(crate) crs: Option<&'g str>,
}

/// `twin import`.
pub(crate) async fn run(
    config: Config,
    sets: &[String],
    given: Given<'_>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let nation = Nation::open(config).await?;
    let done = all(&nation, sets, given, json).await;
    nation.close().await?;
    done.map(exit_code)
}

/// How the command ends where something was refused, or nothing.
pub(crate) fn exit_code(refused: bool) -> ExitCode {
    if refused {
        ExitCode::from(DONE_WITH_REFUSALS)
    } else {
        ExitCode::SUCCESS
    }
}

async fn all(
    nation: &Nation,
    sets: &[String],
    given: Given<'_>,
    json: bool,
) -> Result<bool, Failure> {
    let mut refused = false;
    for mapping in mappings(&nation.config, &nation.ontology, sets, given)? {
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

/// All mappings, read before the first is imported, with what is said of their files.
pub(crate) fn mappings(
    config: &Config,
    ontology: &Ontology,
    sets: &[String],
    given: Given<'_>,
) -> Result<Vec<Arc<Mapping>>, Failure> {
    let read = |set: &String| mapping(config, ontology, set, given);
    sets.iter().map(read).collect()
}

/// The mapping of a name in seeds/mappings, or of a path.
pub(crate) fn mapping(
    config: &Config,
    ontology: &Ontology,
    set: &str,
    Given { file, crs }: Given<'_>,
) -> Result<Arc<Mapping>, Failure> {
    let folder = config.twin.seeds.join("mappings");
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
    let mapping =
        Mapping::load(&path, ontology).map_err(|problems| Failure::diagnostic(2, problems))?;
    let mapping = match crs {
        None => mapping,
        Some(crs) => match Crs::parse(crs) {
            Ok(_) => mapping.in_crs(crs),
            Err(reason) => return Err(Failure::usage(format!("--crs: {reason}"))),
        },
    };
    match file {
        None if mapping.needs_file() => Err(Failure::usage(format!(
            "the set {set} is read from a file that is named to it: add --file PATH"
        ))),
        None => Ok(Arc::new(mapping)),
        Some(file) => mapping.reading(file).map(Arc::new).ok_or_else(|| {
            let file = file.display();
            Failure::usage(format!("the path {file} is not UTF-8: rename the file"))
        }),
    }
}

/// Where the files of sets are looked for.
pub(crate) fn folders(config: &Config) -> Folders {
    Folders {
        data: config.data(),
        seeds: config.twin.seeds.clone(),
    }
}

/// Imports one set with a progress bar.
pub(crate) async fn set(nation: &Nation, mapping: Arc<Mapping>) -> Result<Report, Failure> {
    let bar = output::progress(&mapping.set);
    let folders = folders(&nation.config);
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
    if report.refused.count.max(report.warnings.count) > LISTED_IN_TEXT as u64 {
        output::note("  `twin import --json` lists them");
    }
}
