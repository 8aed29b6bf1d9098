//! `twin verify`: do tables, changes, journal and the live twin of a folder agree?

use std::process::ExitCode;

use serde_json::json;

use crate::config::Config;
use crate::failure::Failure;
use crate::nation::Nation;
use crate::output;

/// Findings shown to a person.
const SHOWN: usize = 20;

/// `twin verify`.
pub(crate) async fn run(config: Config, as_json: bool) -> Result<ExitCode, Failure> {
    let nation = Nation::open(config).await?;
    let stored = nation.store.verify().await;
    let view = nation.twin.view();
    nation.close().await?;
    let report = stored?;
    let relationships: usize = view
        .ontology()
        .relationships()
        .iter()
        .map(|kind| view.count_relationships(kind.id))
        .sum();
    let mut findings: Vec<String> = report
        .findings
        .iter()
        .map(|finding| finding.what.clone())
        .collect();
    for (what, stored, live) in [
        ("twins", report.twins, view.len() as u64),
        ("relationships", report.relationships, relationships as u64),
    ] {
        if stored != live {
            findings.push(format!("{stored} {what} are stored and {live} are live"));
        }
    }
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
                "findings": findings,
                "furtherFindings": report.further_findings,
            })
            .to_string(),
        );
    } else {
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
