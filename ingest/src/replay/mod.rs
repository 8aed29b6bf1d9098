//! Devices that are not there: real readings and synthetic load, published by a real MQTT client.
//!
//! # Invariants
//! - What is reported as acknowledged was acknowledged by the server over TCP.
//! - At most `in_flight` publishes of one connection wait for their acknowledgement.

mod client;
mod histogram;
mod kigali;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use twin_core::TwinId;

use client::Client;
pub use histogram::Histogram;
pub use kigali::{Air, KIGALI_STATION, Skipped, SourceError, read_air};

/// Where to publish, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server.
    pub addr: SocketAddr,
    /// The realm in the topic.
    pub realm: Arc<str>,
    /// MQTT 5, else 3.1.1.
    pub v5: bool,
    /// `QoS` 1, else 0.
    pub at_least_once: bool,
    /// Most publishes that wait for their acknowledgement.
    pub in_flight: u16,
}

/// Synthetic load.
#[derive(Debug, Clone)]
pub struct Load {
    /// Connections, each a client of its own.
    pub connections: usize,
    /// Publishes of each connection.
    pub publishes: u64,
    /// Readings in each publish; more than one make a pack.
    pub pack: usize,
    /// Registered devices, taken in turn.
    pub devices: Vec<TwinId>,
    /// A telemetry of theirs that takes numbers.
    pub telemetry: String,
    /// Time of the first reading, microseconds since 1970.
    pub start: i64,
    /// Between two publishes of a connection; `None`: as soon as there is room for one.
    pub every: Option<Duration>,
}

/// What became of a replay.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Publishes sent.
    pub sent: u64,
    /// Readings in them.
    pub readings: u64,
    /// Publishes acknowledged; at `QoS` 0 none are.
    pub acknowledged: u64,
    /// Publishes that the server said it could not take (MQTT 5).
    pub failed: u64,
    /// From when all were connected to the last acknowledgement.
    pub elapsed: Duration,
    /// From a publish to its acknowledgement, microseconds.
    pub latency: Histogram,
}

impl Report {
    fn join(&mut self, other: &Self) {
        self.sent += other.sent;
        self.readings += other.readings;
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latency.join(&other.latency);
    }
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Nobody listens there.
    #[error("{addr} is not reachable: {error}; is the twin running, and this its MQTT address?")]
    Unreachable {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The server refused the CONNECT.
    #[error("the server refused the connection: {0}")]
    Refused(String),
    /// The server closed the connection.
    #[error("the server closed the connection after {acknowledged} of {sent} publishes were acknowledged{}", why(.reason.as_deref()))]
    Closed {
        /// Publishes sent.
        sent: u64,
        /// Publishes acknowledged.
        acknowledged: u64,
        /// What the server said.
        reason: Option<String>,
    },
    /// The server says nothing.
    #[error("the server answered nothing for {0:?}")]
    Silent(Duration),
    /// What the server sent, or what was to be sent, is not MQTT.
    #[error("MQTT: {0}")]
    Protocol(String),
    /// The readings cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A task of the load died.
    #[error("a connection's task failed: {0}")]
    Task(String),
}

fn why(reason: Option<&str>) -> String {
    reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default()
}

/// Publishes readings of air quality for a station, in order of time.
///
/// `speed` is how many times faster than they were measured; `None` is as fast as they are
/// acknowledged. Cancelled, it waits for what is in flight and reports.
pub async fn replay(
    target: &Target,
    station: &TwinId,
    readings: impl Iterator<Item = Result<Air, SourceError>>,
    speed: Option<f64>,
    cancel: &CancellationToken,
) -> Result<Report, ReplayError> {
    let topic = topic(target, station);
    let mut client = Client::connect(target, &format!("replay-{station}")).await?;
    let begun = Instant::now();
    let mut first = None;
    for air in readings {
        let Air { ts, pm25 } = air?;
        if let Some(speed) = speed {
            let since = (ts - *first.get_or_insert(ts)) as f64 / 1e6 / speed;
            // A file out of order, or a speed of nothing, waits not at all rather than for ever.
            let due = begun + Duration::try_from_secs_f64(since.max(0.0)).unwrap_or_default();
            tokio::select! {
                waited = client.wait_until(due) => waited?,
                () = cancel.cancelled() => break,
            }
        } else if cancel.is_cancelled() {
            break;
        }
        let payload = format!(
            r#"{{"schema_version":1,"ts":{},"values":{{"pm25":{pm25}}}}}"#,
            seconds(ts)
        );
        client.publish(&topic, payload.as_bytes(), 1).await?;
    }
    client.finish().await
}

/// Publishes synthetic readings over many connections at once, from when all of them are there.
pub async fn load(target: &Target, load: &Load) -> Result<Report, ReplayError> {
    if load.devices.is_empty() {
        return Err(ReplayError::Protocol(
            "a load needs at least one device".to_owned(),
        ));
    }
    let load = Arc::new(load.clone());
    let task = |error: tokio::task::JoinError| ReplayError::Task(error.to_string());
    let mut connecting = tokio::task::JoinSet::new();
    for connection in 0..load.connections {
        let target = target.clone();
        connecting.spawn(async move {
            let client = Client::connect(&target, &format!("load-{connection}")).await;
            client.map(|client| (connection, client))
        });
    }
    let mut clients = Vec::with_capacity(load.connections);
    while let Some(connected) = connecting.join_next().await {
        clients.push(connected.map_err(task)??);
    }
    let mut publishing = tokio::task::JoinSet::new();
    // What connecting costs is another question, and in a short load it would be most of the answer.
    let begun = Instant::now();
    for (connection, mut client) in clients {
        client.begin(begun);
        let topic = topic(target, &load.devices[connection % load.devices.len()]);
        let load = Arc::clone(&load);
        publishing.spawn(async move { load_one(client, &topic, &load, connection).await });
    }
    let mut report = Report::default();
    while let Some(ended) = publishing.join_next().await {
        report.join(&ended.map_err(task)??);
    }
    Ok(report)
}

async fn load_one(
    mut client: Client,
    topic: &str,
    load: &Load,
    connection: usize,
) -> Result<Report, ReplayError> {
    let mut payload = String::new();
    // Connections take turns, so that a paced load is even.
    let phase = |every: Duration| every.mul_f64(connection as f64 / load.connections as f64);
    let mut due = load.every.map(|every| Instant::now() + phase(every));
    for publish in 0..load.publishes {
        if let (Some(due), Some(every)) = (&mut due, load.every) {
            client.wait_until(*due).await?;
            *due += every;
        }
        payload.clear();
        for i in 0..load.pack {
            // Every reading of every connection has a time of its own.
            let turn = publish * load.pack as u64 + i as u64;
            let ts = load
                .start
                .saturating_add_unsigned(turn * load.connections as u64 + connection as u64);
            let value = (turn % 1_000) as f64 / 10.0;
            payload.push(if i == 0 { '[' } else { ',' });
            let message = format!(
                r#"{{"ts":{},"values":{{"{}":{value}}}}}"#,
                seconds(ts),
                load.telemetry
            );
            payload.push_str(&message);
        }
        payload.push(']');
        let body = if load.pack == 1 {
            payload.trim_matches(['[', ']'])
        } else {
            &payload
        };
        client
            .publish(topic, body.as_bytes(), load.pack as u64)
            .await?;
    }
    client.finish().await
}

fn topic(target: &Target, device: &TwinId) -> String {
    format!("twin/{}/{device}/telemetry", target.realm)
}

/// Microseconds as decimal seconds, exactly.
fn seconds(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests;
