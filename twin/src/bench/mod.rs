//! `twin bench`: each figure with its data, and beside it the same work by SurrealDB alone; the year
//! of readings beside `VictoriaMetrics`.
//!
//! # Invariants
//! - Both sides run one after the other in every run, on folders side by side. SurrealDB runs in this
//!   process, with the engine settings of the configuration and a sync of every commit.
//! - What is made up is the same in every run: seeds are constants.
//! - Nothing is asserted about time; what is answered is checked, so that no side is fast by
//!   being wrong.
//! - The folders are removed when the command ends, however it ends.

mod bulk;
mod commits;
mod figure;
mod folder;
mod measure;
mod points;
mod queries;
mod readings;
mod rwanda;
mod search;
mod stage;
mod synthetic;
mod tiles;
mod web;
mod year;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::figure::{Beside, Figure, Output};
use self::folder::Folder;
use self::stage::Stage;
use crate::config::Config;
use crate::failure::Failure;
use crate::output;
use crate::serve::Stop;

/// What is measured, and for how long.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// Time that one measurement takes on each side, all its runs together
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Runs of each measurement; the median is printed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Only figures whose name holds this word; `year` takes minutes to hours and runs only by name
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Send the loads of `readings`, `ahead` and `packs` to this MQTT broker instead, and measure no more
    #[arg(long, value_name = "ADDRESS")]
    broker: Option<SocketAddr>,
    #[command(flatten)]
    year: year::Size,
}

impl What {
    /// Whether the year is asked for, which then runs alone.
    fn is_year(&self) -> bool {
        let only = self.only.as_ref();
        only.is_some_and(|word| word.starts_with(year::WORD))
    }
}

/// What every measurement needs to know.
pub(crate) struct Bench {
    config: Config,
    folder: Folder,
    runs: u32,
    /// Of one run of one side.
    run_for: Duration,
    only: Option<String>,
    output: Output,
}

impl Bench {
    /// Whether a figure is asked for.
    fn wants(&self, figure: &Figure) -> bool {
        self.only
            .as_ref()
            .is_none_or(|word| figure.name.contains(word.as_str()))
    }

    fn wants_any(&self, figures: &[&Figure]) -> bool {
        figures.iter().any(|figure| self.wants(figure))
    }

    /// Prints a figure, if it is asked for.
    fn show(&self, figure: &Figure, data: &str, ours: &[f64], alone: &[f64]) {
        if self.wants(figure) {
            self.output.row(figure, data, ours, alone);
        }
    }
}

/// `twin bench`.
pub(crate) async fn run(config: Config, what: &What, json: bool) -> Result<ExitCode, Failure> {
    let mut runs = figure::ALL
        .iter()
        .filter(|figure| what.is_year() == figure.name.starts_with(year::WORD));
    if let Some(word) = &what.only
        && !runs.any(|figure| figure.name.contains(word.as_str()))
    {
        let names: Vec<_> = figure::ALL.iter().map(|figure| figure.name).collect();
        return Err(Failure::usage(format!(
            "no figure's name holds `{word}`; there are: {}",
            names.join(", ")
        )));
    }
    let stop = Stop::on_signal()?;
    let folder = Folder::beside(&config.twin.dir)?;
    let bench = Bench {
        config,
        folder,
        runs: what.runs,
        run_for: Duration::from_secs(what.seconds.into()) / what.runs,
        only: what.only.clone(),
        output: Output {
            json,
            beside: if what.is_year() {
                Beside::Victoria
            } else {
                Beside::Surreal
            },
        },
    };
    bench.output.head(&bench.config, bench.runs, what.seconds);
    let measured = async {
        if let Some(broker) = what.broker {
            readings::elsewhere(&bench, broker).await
        } else if what.is_year() {
            year::all(&bench, what.year).await
        } else {
            measure(&bench).await
        }
    };
    tokio::select! {
        measured = measured => measured.map(|()| ExitCode::SUCCESS),
        () = stop.wait() => {
            output::note("interrupted; not everything was measured");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn measure(bench: &Bench) -> Result<(), Failure> {
    // Memory first: later, freed pages would be used again and growth would look smaller.
    let memory = bulk::memory(bench).await?;
    points::million(bench).await?;
    search::million(bench).await?;
    tiles::all(bench).await?;
    if bench.wants_any(&Stage::FIGURES) {
        let mut stage = Stage::open(bench).await?;
        bulk::load(bench, &stage, memory).await?;
        stage = bulk::restart(bench, stage).await?;
        queries::all(bench, &stage).await?;
        points::both(bench, &stage).await?;
        commits::all(bench, &stage).await?;
        readings::all(bench, &stage).await?;
        stage.close().await?;
    }
    rwanda::all(bench).await
}
