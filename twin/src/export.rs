//! `twin export`: what a folder holds, as lines for other programs.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;
use twin_core::Position;
use twin_core::store::{Kept, Store as _, StoreError};

use crate::config::Config;
use crate::failure::Failure;
use crate::nation::Nation;
use crate::output;

/// Bytes of the log that are read at once.
const READ_BYTES: usize = 4 << 20;

/// What is written and from where on.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// What to write to standard output
    #[arg(value_enum)]
    what: What,
    /// Leave out what happened before this position [default: write all]
    #[arg(long, value_name = "POSITION")]
    after: Option<Position>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Every reading, a JSON object a line, in the order in which they became durable; one that was
    /// repeated stands there again
    Readings,
}

/// `twin export`.
pub(crate) async fn run(config: Config, args: ExportArgs) -> Result<ExitCode, Failure> {
    let nation = Nation::open(config).await?;
    let What::Readings = args.what;
    let written = readings(&nation, args.after.as_ref()).await;
    nation.close().await?;
    written.map(|()| ExitCode::SUCCESS)
}

async fn readings(nation: &Nation, after: Option<&Position>) -> Result<(), Failure> {
    let mut text = String::new();
    for (lane, end) in nation.twin.view().position().lanes() {
        let begin = after.map_or(0, |after| after.offset(lane));
        let mut from = begin;
        while from < *end {
            let groups = match nation.store.groups(lane, from, READ_BYTES).await? {
                Kept::Groups(groups) => groups,
                Kept::Gap { oldest } => {
                    return Err(Failure::failed(format!(
                        "{lane}:{from} is no longer kept: export with --after {lane}:{oldest}"
                    )));
                }
                Kept::Foreign { what } => return Err(StoreError::Foreign(what).into()),
            };
            let Some(last) = groups.last() else { break };
            from = last.next;
            text.clear();
            for group in &groups {
                for (reading, offset) in group.readings.iter().zip(group.first_reading()..) {
                    if offset < begin {
                        continue;
                    }
                    let class = nation.ontology.class(reading.class);
                    let telemetry = class.telemetry.get(reading.telemetry as usize);
                    let line = json!({
                        // Right after it, as everywhere: following from there goes on with the next.
                        "position": format!("{lane}:{}", offset + 1),
                        "twin": reading.twin.as_str(),
                        "telemetry": telemetry.map(|telemetry| &*telemetry.name),
                        "ts": instant(reading.ts),
                        "value": reading.value.to_json(),
                        "arrived": instant(group.at),
                    });
                    // Writing to a String cannot fail.
                    let _infallible = writeln!(text, "{line}");
                }
            }
            if !output::lines(&text)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A time as RFC 3339 text.
fn instant(micros: i64) -> serde_json::Value {
    ontology::Value::DateTime(micros).to_json()
}
