//! Whom a connection speaks for.

use twin_core::TwinId;

/// Whom a connection speaks for; a client id belongs to one of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Speaker {
    /// Programs of this machine, without authentication: any registered device.
    Local,
    /// The device that a certificate named, and no other.
    Device(TwinId),
}

impl Speaker {
    /// Whether it may publish as this device, and hear what is sent to it.
    pub(crate) fn is(&self, device: &TwinId) -> bool {
        match self {
            Self::Local => true,
            Self::Device(own) => own == device,
        }
    }
}
