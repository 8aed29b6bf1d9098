//! `twin verify`: do tables, changes, journal and the live twin of a folder agree?

use std::process::ExitCode;
use std::sync::Arc;

use ontology::Ontology;
use serde_json::json;
use store::{Repaired, Report, SurrealStore};
use twin_core::store::StoreError;

use crate::config::Config;
use crate::failure::Failure;
use crate::nation::{self, Nation};
use crate::output;

/// Findings shown to a person.
const SHOWN: usize = 20;

/// `twin verify`, with `--repair` if rows are to be set right.
pub(crate) async fn run(config: Config, repair: bool, as_json: bool) -> Result<ExitCode, Failure> {
    let ontology = nation::ontology(&config.twin.seeds)?;
    let store = nation::store(&config, &ontology).await?;
    match examine(&store, repair).await {
        Ok((report, repaired)) => tell(config, ontology, store, &report, repaired, as_json).await,
        Err(error) => {
            // What matters is why it could not be examined.
            drop(store.close().await);
            Err(error.into())
        }
    }
}

/// What is found, after it was set right if it should be.
async fn examine(
    store: &SurrealStore,
    repair: bool,
) -> Result<(Report, Option<Repaired>), StoreError> {
    let report = store.verify().await?;
    if !repair || report.is_sound() {
        return Ok((report, repair.then(Repaired::default)));
    }
    let repaired = store.repair(&report).await?;
    Ok((store.verify().await?, Some(repaired)))
}

/// Findings of a report, and those of the live twin, where it can be made of what is stored.
async fn findings(
    config: Config,
    ontology: Arc<Ontology>,
    store: Arc<SurrealStore>,
    report: &Report,
) -> Result<Vec<String>, Failure> {
    let mut findings: Vec<String> = report
        .findings
        .iter()
        .map(|finding| finding.what.clone())
        .collect();
    if !report.is_sound() {
        store.close().await?;
        return Ok(findings);
    }
    let nation = Nation::over(config, ontology, store).await?;
    let view = nation.twin.view();
    nation.close().await?;
    let relationships: usize = view
        .ontology()
        .relationships()
        .iter()
        .map(|kind| view.count_relationships(kind.id))
        .sum();
    for (what, stored, live) in [
        ("twins", report.twins, view.len() as u64),
        ("relationships", report.relationships, relationships as u64),
    ] {
        if stored != live {
            findings.push(format!("{stored} {what} are stored and {live} are live"));
        }
    }
    Ok(findings)
}

async fn tell(
    config: Config,
    ontology: Arc<Ontology>,
    store: Arc<SurrealStore>,
    report: &Report,
    repaired: Option<Repaired>,
    as_json: bool,
) -> Result<ExitCode, Failure> {
    let findings = findings(config, ontology, store, report).await?;
    if as_json {
        output::line(
            &json!({
                "sound": findings.is_empty(),
                "twins": report.twins,
                "relationships": report.relationships,
                "changes": report.changes,
                "readings": report.readings,
                "sealedReadings": report.sealed_readings,
                "foreignReadings": report.foreign_readings,
                "foreignChanges": report.foreign_changes,
                "repaired": repaired.map(|repaired| json!({
                    "twins": repaired.twins,
                    "relationships": repaired.relationships,
                    "removed": repaired.removed,
                })),
                "findings": findings,
                "furtherFindings": report.further_findings,
            })
            .to_string(),
        );
    } else {
        if let Some(repaired) = repaired {
            output::line(&format!(
                "set right from the change log: {} twins, {} relationships; removed: {} rows",
                repaired.twins, repaired.relationships, repaired.removed
            ));
        }
        output::line(&format!(
            "{} twins, {} relationships, {} changes, {} readings in the log and {} sealed: {}",
            report.twins,
            report.relationships,
            report.changes,
            report.readings,
            report.sealed_readings,
            if findings.is_empty() {
                "sound"
            } else {
                "NOT SOUND"
            },
        ));
        if report.foreign_readings + report.foreign_changes > 0 {
            output::line(&format!(
                "{} readings and {} records of changes are of classes or telemetry that the ontology \
                 no longer has",
                report.foreign_readings, report.foreign_changes
            ));
        }
        findings
            .iter()
            .take(SHOWN)
            .for_each(|finding| output::line(finding));
        let more = findings.len().saturating_sub(SHOWN) as u64 + report.further_findings;
        if more > 0 {
            output::line(&format!("and {more} more; --json lists them"));
        }
    }
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
