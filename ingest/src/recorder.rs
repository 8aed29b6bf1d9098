//! The seam to the twin: what a device may send, where its readings become durable, and what it is
//! told.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ontology::Telemetry;
use twin_core::{DeadLetter, Readings, Receipt, Refusal, TwinId};

use crate::desired::Tell;

/// What devices of one class may send.
#[derive(Debug)]
pub struct DeviceKind {
    /// Name of the class.
    pub class: Arc<str>,
    /// Its telemetry, sorted by name.
    pub telemetry: Vec<Telemetry>,
}

impl DeviceKind {
    /// A telemetry by name.
    pub fn telemetry(&self, name: &str) -> Option<&Telemetry> {
        let found = self
            .telemetry
            .binary_search_by(|telemetry| (*telemetry.name).cmp(name));
        found.ok().map(|index| &self.telemetry[index])
    }
}

/// What is known of the name in a topic.
#[derive(Debug, Clone)]
pub enum Known {
    /// A registered device.
    Device(Arc<DeviceKind>),
    /// A twin that is no device; the name of its class.
    NoDevice(Arc<str>),
    /// No twin.
    Nothing,
}

/// Takes readings of registered devices.
pub trait Recorder: Send + Sync + 'static {
    /// What a twin is, now.
    fn known(&self, id: &TwinId) -> Known;

    /// Records readings: durable and visible when this answers `Ok`. A refusal other than
    /// `Unavailable` and `OutcomeUnknown` means that nothing of them happened.
    fn record(&self, readings: Readings) -> BoxFuture<'static, Result<Receipt, Refusal>>;

    /// What a device shall be like, as the payload of its topic `desired`; `None` where there is no
    /// such device.
    fn desired(&self, id: &TwinId) -> Option<Bytes>;

    /// Tells the devices whose desired state may be another, from this call on, until the twin
    /// stops.
    fn watch_desired(&self, tell: Tell) -> BoxFuture<'static, ()>;

    /// Keeps a refused message: when this answers `Ok` it may be acknowledged.
    fn bury(&self, letter: DeadLetter) -> BoxFuture<'static, Result<(), Refusal>>;
}
