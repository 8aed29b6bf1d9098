//! The message that a client leaves for the case that it goes without saying so.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::incoming::Publish;
use super::intake::Intake;
use super::server::Shared;
use super::session::Key;
use crate::time::now_micros;

/// A message to publish when a connection ends without DISCONNECT.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) publish: Publish,
    /// How long after that, unless the client comes back.
    pub(crate) delay: Duration,
}

impl Will {
    /// Publishes it for a client that is gone, by the rules of any publish of its.
    pub(crate) async fn leave(self, key: Key, shared: Arc<Shared>) {
        let session = shared.broker.session_number();
        let mut intake = Intake::new(shared, key.speaker);
        intake.begin(key.client, session);
        intake.route(self.publish, now_micros());
        intake.send();
        while let Some(answers) = intake.pending.next().await {
            intake.ended(&answers);
        }
    }

    #[cfg(test)]
    pub(crate) fn of_test() -> Self {
        use mqtt_protocol_core::mqtt::ArcPayload;
        use mqtt_protocol_core::mqtt::packet::Qos;

        Self {
            publish: Publish {
                packet_id: None,
                qos: Qos::AtMostOnce,
                retain: false,
                topic: "a".to_owned(),
                payload: ArcPayload::default(),
                props: Vec::new(),
            },
            delay: Duration::ZERO,
        }
    }
}
