//! The MQTT server, versions 3.1.1 and 5, in this process.

mod batch;
mod broker;
mod connection;
mod flow;
#[cfg(test)]
mod harness;
mod incoming;
mod intake;
mod outbox;
mod rate;
mod retained;
mod server;
mod session;
mod speaker;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_sessions;
mod tls;
mod topic;
mod tree;
mod will;
mod wire;

pub(crate) use intake::known_device;
pub use server::{BindError, Door, Publisher, Server};
pub use tls::{Pem, Tls, TlsError};
pub use topic::RuleError;
pub(crate) use topic::{Rules, Target};
