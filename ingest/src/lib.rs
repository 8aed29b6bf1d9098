//! Devices into readings: the MQTT server, payload codecs, dead letters, and a replay of real
//! readings by a real MQTT client.
//!
//! The way of a message: socket → [`mqtt`] (protocol, topic rules) → [`payload`] (JSON into
//! readings) → [`Recorder`] (the twin, which answers when they are durable) → acknowledgement.
//! What is refused on that way becomes a dead letter.
//!
//! # Invariants
//! - Acknowledged means recorded durably, passed on, or kept as a dead letter; never merely received.
//! - Every message ends in exactly one counter of [`Counters`].
//! - Every queue and buffer has its limit in [`Limits`] or a named constant.

#![forbid(unsafe_code)]

mod counters;
mod desired;
mod limits;
mod mqtt;
mod payload;
mod recorder;
pub mod replay;
mod retry;
mod socket;
#[cfg(test)]
mod testing;
mod time;
mod twin;

pub use counters::{Closed, Counters, Reason};
pub use desired::Tell;
pub use limits::{Config, Limits, PayloadLimits};
pub use mqtt::{BindError, Door, Pem, Publisher, RuleError, Server, Tls, TlsError};
pub use recorder::{DeviceKind, Known, Recorder};
pub use retry::Retry;
pub use socket::Stream;
pub use twin::{NoDevices, TwinRecorder};
