//! `twin replay`: real readings, published by a real MQTT client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use ingest::replay::{KIGALI_STATION, Report, Target, read_air, replay};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use twin_core::TwinId;

use crate::config::Config;
use crate::failure::Failure;
use crate::output;
use crate::serve::Stop;

/// The hourly readings of Kigali in a data folder.
const KIGALI_FILE: &str = "rwanda/air_kigali_pm25_hourly.csv.gz";

/// What is replayed, where to and how.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Address of the MQTT service [default: the configured one]
    #[arg(long, value_name = "ADDRESS")]
    mqtt: Option<SocketAddr>,
    /// The file of hourly readings [default: that of Kigali in the data folder]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The station that measured
    #[arg(long, default_value = KIGALI_STATION)]
    station: TwinId,
    /// How many times faster than they were measured [default: as fast as acknowledged]
    #[arg(long, value_parser = speed)]
    speed: Option<f64>,
    /// Quality of service: 0, or 1 with an acknowledgement
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Version of MQTT
    #[arg(long, value_enum, default_value = "5")]
    version: Version,
    /// Most publishes that wait for their acknowledgement
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5")]
    V5,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("give a number above 0, such as 3600 for an hour in a second".to_owned()),
    }
}

/// `twin replay`.
pub(crate) async fn run(
    config: Config,
    args: ReplayArgs,
    as_json: bool,
) -> Result<ExitCode, Failure> {
    let target = Target {
        addr: args.mqtt.unwrap_or(config.mqtt.listen),
        realm: config.twin.realm.as_str().into(),
        v5: matches!(args.version, Version::V5),
        at_least_once: args.qos == 1,
        in_flight: args.in_flight,
    };
    let file = args
        .file
        .unwrap_or_else(|| config.twin.data.join(KIGALI_FILE));
    let failed = |error: &dyn std::error::Error| Failure::failed(error.to_string());
    let (readings, skipped) = read_air(&file).map_err(|error| failed(&error))?;
    let cancel = CancellationToken::new();
    let stop = Stop::on_signal()?;
    let waiting = {
        let cancel = cancel.clone();
        tokio::spawn(async move {
            stop.wait().await;
            cancel.cancel();
        })
    };
    let report = replay(&target, &args.station, readings, args.speed, &cancel).await;
    waiting.abort();
    let report = report.map_err(|error| match error {
        ingest::replay::ReplayError::Unreachable { .. } => Failure::unreachable(error.to_string()),
        other => failed(&other),
    })?;
    show(&report, skipped.count(), as_json);
    Ok(ExitCode::SUCCESS)
}

fn show(report: &Report, skipped: u64, as_json: bool) {
    let Report {
        sent,
        readings,
        acknowledged,
        failed,
        elapsed,
        latency,
    } = report;
    let (p50, p99) = (latency.quantile(0.5), latency.quantile(0.99));
    if as_json {
        output::line(
            &json!({
                "sent": sent, "readings": readings, "acknowledged": acknowledged,
                "failed": failed, "rowsSkipped": skipped, "seconds": elapsed.as_secs_f64(),
                "acknowledgedAfterUs": {"p50": p50, "p99": p99},
            })
            .to_string(),
        );
    } else {
        output::line(&format!(
            "{sent} sent, {acknowledged} acknowledged, {failed} failed in {:.1} s; {skipped} rows \
             of the file hold no valid measurement; acknowledged after {:.1} ms (median), {:.1} ms \
             (99 %)",
            elapsed.as_secs_f64(),
            p50 as f64 / 1e3,
            p99 as f64 / 1e3,
        ));
    }
}
