//! What the server allows, by name, and the configuration it is bound with.
//!
//! # Invariants
//! - Every queue, buffer and wait of this room has its limit here, and the error that meets it names it.
//! - `max_payload_bytes < max_packet_bytes`: what is merely too large becomes a dead letter; only what
//!   is beyond the packet limit costs the connection.

use std::sync::Arc;
use std::time::Duration;

use twin_core::{MAX_AHEAD, MAX_BEHIND};

use crate::mqtt::Tls;

/// Limits of the MQTT server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at once; more are refused at their CONNECT (5: reason 0x97), far more closed
    /// at the door; both are counted.
    pub max_connections: usize,
    /// Most new connections a second; more are refused at their CONNECT (5: reason 0x9F).
    pub max_connections_per_sec: u32,
    /// Most publishes of one connection a second; more end it (5: reason 0x96).
    pub max_messages_per_sec: u32,
    /// Longest keep alive of a version 5 client, seconds: one that asks for more, or for none, is
    /// told this one. 0 leaves it to the clients.
    pub max_keep_alive: u16,
    /// Longest time a session is kept after its connection.
    pub max_session_expiry: Duration,
    /// Most sessions that are kept so; one more ends with its connection and is counted.
    pub max_sessions: usize,
    /// Most TLS handshakes at once; more are closed at the door and counted.
    pub max_handshakes: usize,
    /// Longest time of a TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest time from accepting a connection to its CONNECT.
    pub connect_timeout: Duration,
    /// Longest time a peer may take nothing of what waits for it.
    pub write_timeout: Duration,
    /// Longest time a shutdown waits for what is in flight.
    pub drain_timeout: Duration,
    /// Largest packet; a larger one ends the connection (5: reason 0x95).
    pub max_packet_bytes: u32,
    /// Largest payload; a larger one becomes a dead letter.
    pub max_payload_bytes: usize,
    /// Longest topic or topic filter.
    pub max_topic_bytes: usize,
    /// Longest client id.
    pub max_client_id_bytes: usize,
    /// Most publishes of one connection that wait for their commit; reading stops there.
    pub receive_maximum: u16,
    /// Most payload bytes of one connection that wait for their commit; reading stops there.
    pub receive_bytes: usize,
    /// Most payload bytes of all connections that wait for their commit.
    pub total_receive_bytes: usize,
    /// Most subscriptions of one connection.
    pub max_subscriptions: usize,
    /// Most messages that wait for one subscriber; more are dropped and counted.
    pub outbound_messages: usize,
    /// Most bytes that wait for one subscriber; more are dropped and counted.
    pub outbound_bytes: usize,
    /// Most bytes that wait for all subscribers together; more are dropped and counted.
    pub total_outbound_bytes: usize,
    /// Most retained messages; one more is handed on, not retained, and counted.
    pub max_retained: usize,
    /// Most bytes of retained messages; beyond it the same.
    pub retained_bytes: usize,
    /// Most `QoS` 1 and 2 messages sent to one subscriber and not at their end.
    pub outbound_in_flight: u16,
    /// Limits of one payload.
    pub payload: PayloadLimits,
}

/// Limits of one JSON payload.
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of errors and configuration"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Deepest nesting of lists and objects.
    pub max_depth: usize,
    /// Most members of one message.
    pub max_values: usize,
    /// Most messages of one pack.
    pub max_messages: usize,
    /// Furthest that the time of a reading may be ahead of the server's clock; beyond it the reading
    /// would stay the latest until that time has come.
    pub max_ahead: Duration,
    /// Furthest that it may lie behind it.
    pub max_behind: Duration,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self {
            max_depth: 16,
            max_values: 256,
            max_messages: 1_000,
            max_ahead: MAX_AHEAD,
            max_behind: MAX_BEHIND,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            max_connections_per_sec: 10_000,
            max_messages_per_sec: 100_000,
            max_keep_alive: 0,
            max_session_expiry: Duration::from_hours(24),
            max_sessions: 20_000,
            max_handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            max_packet_bytes: 1 << 20,
            max_payload_bytes: 256 << 10,
            max_topic_bytes: 512,
            max_client_id_bytes: 128,
            receive_maximum: 1_024,
            receive_bytes: 4 << 20,
            total_receive_bytes: 256 << 20,
            max_subscriptions: 64,
            outbound_messages: 1_024,
            outbound_bytes: 4 << 20,
            total_outbound_bytes: 256 << 20,
            max_retained: 10_000,
            retained_bytes: 64 << 20,
            outbound_in_flight: 64,
            payload: PayloadLimits::default(),
        }
    }
}

/// How the server is bound.
#[derive(Debug, Clone)]
pub struct Config {
    /// The realm in `twin/{realm}/{device}/telemetry`.
    pub realm: Arc<str>,
    /// Namespaces opened for plain publish and subscribe, each a topic filter: `demo/#` opens `demo`
    /// and everything below it. The twin's own tree and `$` topics stay closed.
    pub open: Vec<String>,
    /// A listener for TLS beside the plain one.
    pub tls: Option<Tls>,
    /// The limits.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            realm: "rw".into(),
            open: Vec::new(),
            tls: None,
            limits: Limits::default(),
        }
    }
}
