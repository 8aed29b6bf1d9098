//! `twin export`: what a folder holds, as lines for other programs.

use std::fmt::Write as _;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use ontology::{ClassId, Schema, Value};
use serde_json::{Value as Json, json};
use twin_core::store::{Kept, Store as _, StoreError};
use twin_core::{Position, TwinRef, View};

use crate::config::Config;
use crate::failure::Failure;
use crate::nation::{self, Nation};
use crate::output;

/// Bytes of the log that are read at once.
const READ_BYTES: usize = 4 << 20;
/// Readings of one series that are read at once.
const READ_READINGS: usize = 50_000;
/// Bytes of lines after which they are written.
const WRITE_BYTES: usize = 1 << 20;

/// What is written, and which part of it.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// What to write to standard output
    #[arg(value_enum)]
    what: What,
    /// Only what was measured at this time or later, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<i64>,
    /// Only what was measured before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<i64>,
    /// Only twins of this class, subclasses included
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Instead what became durable after this position, in that order, as far as the log goes back;
    /// a reading that was repeated stands there again
    #[arg(long, value_name = "POSITION", conflicts_with_all = ["from", "to", "class"])]
    after: Option<Position>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Every reading that is kept, a JSON object a line, by class, twin, telemetry and time; of twins
    /// that are gone there are none
    Readings,
}

/// `twin export`.
pub(crate) async fn run(config: Config, args: ExportArgs) -> Result<ExitCode, Failure> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from >= to
    {
        return Err(Failure::usage(
            "--from is not before --to: there is no time between them",
        ));
    }
    let nation = Nation::open(config).await?;
    let What::Readings = args.what;
    let written = match &args.after {
        Some(after) => log(&nation, after).await,
        None => history(&nation, &args).await,
    };
    nation.close().await?;
    written.map(|()| ExitCode::SUCCESS)
}

/// Lines that are written when there are many.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, line: &Json) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "{line}");
    }

    /// Writes them; false where nobody reads any more.
    fn write(&mut self) -> Result<bool, Failure> {
        let read_on = output::lines(&self.0)?;
        self.0.clear();
        Ok(read_on)
    }
}

/// Readings of history, series by series.
async fn history(nation: &Nation, args: &ExportArgs) -> Result<(), Failure> {
    let view = nation.twin.view();
    let ontology = &nation.ontology;
    let wanted = match &args.class {
        Some(name) => Some(nation::class_named(ontology, name, "--class")?),
        None => None,
    };
    let ts = args.from.unwrap_or(i64::MIN)..args.to.unwrap_or(i64::MAX);
    let mut lines = Lines::default();
    for class in ontology.classes() {
        let asked = wanted.is_none_or(|wanted| ontology.is_a(class.id, wanted));
        if !asked || class.telemetry.is_empty() {
            continue;
        }
        for twin in of_class(&view, class.id) {
            for telemetry in &class.telemetry {
                let series = Series {
                    twin,
                    telemetry: &telemetry.name,
                    ts: ts.clone(),
                };
                if !one_series(nation, &view, series, &mut lines).await? {
                    return Ok(());
                }
            }
        }
    }
    lines.write().map(drop)
}

/// Twins of exactly this class, by id.
fn of_class(view: &View, class: ClassId) -> impl Iterator<Item = TwinRef> {
    view.scan(class, None)
        .filter(move |twin| view.class_id(*twin) == class)
}

/// What a twin measured of one kind, in a time.
struct Series<'a> {
    twin: TwinRef,
    telemetry: &'a str,
    ts: Range<i64>,
}

/// Writes one series, oldest first; false where nobody reads any more.
async fn one_series(
    nation: &Nation,
    view: &View,
    series: Series<'_>,
    lines: &mut Lines,
) -> Result<bool, Failure> {
    let Series {
        twin,
        telemetry,
        mut ts,
    } = series;
    loop {
        let page = nation
            .twin
            .history(view, twin, telemetry, ts.clone(), READ_READINGS)
            .await;
        let page = match page {
            Ok(page) => page,
            // Every reading that is kept, so it begins where they are.
            Err(StoreError::Coarse { since, .. }) => {
                let from = since.filter(|since| ts.start < *since && *since < ts.end);
                output::note(&format!(
                    "{} {telemetry}: readings were dropped by retention{}",
                    view.id(twin),
                    from.map_or_else(String::new, |from| format!(
                        ", these begin at {}",
                        instant(from)
                    ))
                ));
                let Some(from) = from else {
                    return Ok(true);
                };
                ts.start = from;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for reading in &page {
            lines.add(&json!({
                "twin": view.id(twin).as_str(),
                "class": &*view.class(twin).name,
                "telemetry": telemetry,
                "ts": instant(reading.ts),
                "value": reading.value.to_json(),
                "arrived": instant(reading.arrived),
            }));
            if lines.0.len() >= WRITE_BYTES && !lines.write()? {
                return Ok(false);
            }
        }
        match page.last() {
            Some(last) if page.len() == READ_READINGS => ts.start = last.ts.saturating_add(1),
            _ => return Ok(true),
        }
    }
}

/// Readings of the log, in its order.
async fn log(nation: &Nation, after: &Position) -> Result<(), Failure> {
    let mut lines = Lines::default();
    let position = nation.twin.view().position();
    let ahead = |(lane, offset): &(Arc<str>, u64)| *offset > position.offset(lane);
    if after.lanes().iter().any(ahead) {
        return Err(Failure::usage(format!(
            "--after {after} is ahead of this twin, which stands at {position}"
        )));
    }
    for (lane, end) in position.lanes() {
        let begin = after.offset(lane);
        let mut from = begin;
        while from < *end {
            let groups = match nation.store.groups(lane, from, READ_BYTES).await? {
                Kept::Groups(groups) => groups,
                Kept::Gap { oldest } => {
                    return Err(Failure::failed(format!(
                        "{lane}:{from} is no longer in the log: export with --after {lane}:{oldest}, \
                         or all of history without --after"
                    )));
                }
                Kept::Foreign { what } => return Err(StoreError::Foreign(what).into()),
            };
            let Some(last) = groups.last() else { break };
            from = last.next;
            for group in &groups {
                for (reading, offset) in group.readings.iter().zip(group.first_reading()..) {
                    if offset < begin {
                        continue;
                    }
                    let class = nation.ontology.class(reading.class);
                    let telemetry = class.telemetry.get(reading.telemetry as usize);
                    lines.add(&json!({
                        // Right after it, as everywhere: following from there goes on with the next.
                        "position": format!("{lane}:{}", offset + 1),
                        "twin": reading.twin.as_str(),
                        "class": &*class.name,
                        "telemetry": telemetry.map(|telemetry| &*telemetry.name),
                        "ts": instant(reading.ts),
                        "value": reading.value.to_json(),
                        "arrived": instant(group.at),
                    }));
                }
            }
            if !lines.write()? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A time as RFC 3339 text.
fn instant(micros: i64) -> Json {
    Value::DateTime(micros).to_json()
}

/// Microseconds since 1970 of such a text.
fn time(text: &str) -> Result<i64, String> {
    match Schema::DateTime.parse_text(text) {
        Ok(Value::DateTime(micros)) => Ok(micros),
        Ok(_) => Err("it is no time".to_owned()),
        Err(misfit) => Err(misfit.to_string()),
    }
}
