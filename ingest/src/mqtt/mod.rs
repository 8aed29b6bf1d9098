//! The MQTT server, versions 3.1.1 and 5, `QoS` 0 and 1, in this process.

mod batch;
mod broker;
mod connection;
#[cfg(test)]
mod harness;
mod incoming;
mod intake;
mod server;
mod speaker;
#[cfg(test)]
mod tests;
mod tls;
mod topic;
mod wire;

pub use server::{BindError, Door, Publisher, Server};
pub use tls::{Pem, Tls, TlsError};
pub use topic::RuleError;
