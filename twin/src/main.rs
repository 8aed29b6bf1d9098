//! `twin`: the digital twin of a nation in one binary.
//!
//! Wires the rooms together: configuration, the durable store, the live twin, the services in
//! front of it, and the commands of CONTRACT's command line.
//!
//! # Invariants
//! - Answers go to stdout, everything else (progress, logs, problems) to stderr.
//! - Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 done with refusals,
//!   4 not reachable.

mod bench;
mod cities;
mod config;
mod demo;
mod dry_run;
mod export;
mod failure;
mod figures;
mod import;
mod letters;
mod mqtt;
mod nation;
mod output;
mod query;
mod reload;
mod replay;
mod serve;
mod verify;
mod websocket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::failure::Failure;
use crate::reload::Source;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The digital twin of a nation: a live, durable graph with space and time.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    /// Configuration file [default: ./twin.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print for programs: JSON on stdout
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Import a small but real nation and serve it
    Demo {
        /// A city of seeds/cities.toml to import as well; may be given several times
        #[arg(long = "city", value_name = "NAME")]
        cities: Vec<String>,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Serve the twin of a folder
    Serve {
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Import data sets through their mappings
    Import {
        /// Names of mappings in seeds/mappings, or paths of mapping files
        #[arg(required = true, value_name = "MAPPING")]
        sets: Vec<String>,
        /// File to read in place of those that the mappings name
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
        /// Coordinate system of the files, such as EPSG:7415, instead of what they say or do not say
        #[arg(long, value_name = "CRS")]
        crs: Option<String>,
        /// Say what would change and write nothing; with --json one line for each difference, then
        /// the report
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Ask the twin of a folder, or a running one with --url
    Query {
        /// A GraphQL query, or SurrealQL with --surql; `-` reads standard input
        text: String,
        /// The text is SurrealQL (it can only read)
        #[arg(long)]
        surql: bool,
        /// Ask a running twin at its address instead, such as 127.0.0.1:8080
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Measure, each figure beside the same work by SurrealDB alone
    Bench {
        #[command(flatten)]
        what: bench::What,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Write what the twin of a folder holds as lines of JSON
    Export {
        #[command(flatten)]
        what: export::ExportArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Publish real readings to a running twin over MQTT
    Replay {
        #[command(flatten)]
        replay: replay::ReplayArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List, show or take in again messages of devices that were refused
    DeadLetters {
        #[command(flatten)]
        letters: letters::LettersArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Check that tables, changes and readings of a folder agree
    Verify {
        /// Set rows right from the change log, where it is whole; back the folder up first
        #[arg(long)]
        repair: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// Where the twin and its data are.
#[derive(Debug, Args)]
struct PlaceArgs {
    /// Folder of the durable store [default: .twin]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Folder of source data [default: ./data]
    #[arg(long, value_name = "DIR", env = "TWIN_DATA")]
    data: Option<PathBuf>,
    /// Folder of ontology packs and mappings [default: ./seeds]
    #[arg(long, value_name = "DIR")]
    seeds: Option<PathBuf>,
}

/// Where the services listen.
#[derive(Debug, Args)]
struct ServiceArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Address of the HTTP service; port 0 takes any free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Address of the MQTT service; port 0 takes any free one [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDRESS")]
    mqtt: Option<SocketAddr>,
    /// Folder of the GraphiQL console's files
    #[arg(long, value_name = "DIR", env = "TWIN_ASSETS")]
    assets: Option<PathBuf>,
    /// Folder of the built map
    #[arg(long, value_name = "DIR", env = "TWIN_MAP")]
    map: Option<PathBuf>,
}

impl PlaceArgs {
    fn over(self, config: &mut Config) {
        let twin = &mut config.twin;
        twin.dir = self.dir.unwrap_or(std::mem::take(&mut twin.dir));
        twin.data = self.data.unwrap_or(std::mem::take(&mut twin.data));
        twin.seeds = self.seeds.unwrap_or(std::mem::take(&mut twin.seeds));
    }
}

impl ServiceArgs {
    fn over(self, config: &mut Config) {
        self.place.over(config);
        config.http.listen = self.http.unwrap_or(config.http.listen);
        config.mqtt.listen = self.mqtt.unwrap_or(config.mqtt.listen);
        config.http.assets = self
            .assets
            .unwrap_or(std::mem::take(&mut config.http.assets));
        config.http.map = self.map.unwrap_or(std::mem::take(&mut config.http.map));
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    output::start_log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Failure::failed(format!(
            "the runtime cannot start: {error}"
        ))),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            output::problem(&failure);
            failure.code()
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let source = Source::load(cli.config)?;
    let mut config = source.config();
    match cli.command {
        Command::Demo { cities, service } => {
            service.over(&mut config);
            config.check()?;
            demo::run(config, source, &cities, cli.json).await
        }
        Command::Serve { service } => {
            service.over(&mut config);
            config.check()?;
            serve::run(config, source, cli.json).await
        }
        Command::Import {
            sets,
            file,
            crs,
            dry_run,
            place,
        } => {
            place.over(&mut config);
            config.check()?;
            let given = import::Given {
                file: file.as_deref(),
                crs: crs.as_deref(),
            };
            if dry_run {
                dry_run::run(config, &sets, given, cli.json).await
            } else {
                import::run(config, &sets, given, cli.json).await
            }
        }
        Command::Query {
            text,
            surql,
            url,
            place,
        } => {
            place.over(&mut config);
            config.check()?;
            query::run(config, &text, surql, url.as_deref()).await
        }
        Command::Bench { what, place } => {
            place.over(&mut config);
            config.check()?;
            bench::run(config, &what, cli.json).await
        }
        Command::Export { what, place } => {
            place.over(&mut config);
            config.check()?;
            export::run(config, what).await
        }
        Command::Replay { replay, place } => {
            place.over(&mut config);
            config.check()?;
            replay::run(config, replay, cli.json).await
        }
        Command::DeadLetters { letters, place } => {
            place.over(&mut config);
            config.check()?;
            letters::run(config, letters, cli.json).await
        }
        Command::Verify { repair, place } => {
            place.over(&mut config);
            config.check()?;
            verify::run(config, repair, cli.json).await
        }
    }
}
