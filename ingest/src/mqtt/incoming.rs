//! What a client's packet asks for, the same for both versions.

use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::IntoPayload as _;
use mqtt_protocol_core::mqtt::packet::{Packet, Property, Qos, SubEntry};
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;

/// A packet that the connection has to act upon.
#[derive(Debug)]
pub(crate) enum Incoming {
    Connect(Connect),
    Publish(Publish),
    Subscribe {
        packet_id: u16,
        entries: Vec<SubEntry>,
        identified: bool,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    /// The peer acknowledged a message of ours.
    Acknowledged,
    Ping,
    Disconnect {
        with_will: bool,
    },
}

/// What a CONNECT asked for.
#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    pub(crate) will: Option<Will>,
}

/// A message to publish when the connection ends without DISCONNECT.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) publish: Publish,
    pub(crate) retain: bool,
}

/// A publish of the peer.
#[derive(Debug)]
pub(crate) struct Publish {
    /// Absent for `QoS` 0.
    pub(crate) packet_id: Option<u16>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    pub(crate) payload: ArcPayload,
    /// What a version 5 publisher said about it and subscribers should hear.
    pub(crate) props: Vec<Property>,
}

/// What of a publish's properties belongs to the message rather than to the connection.
fn forwarded(props: &[Property]) -> Vec<Property> {
    let belongs = |property: &&Property| {
        matches!(
            property,
            Property::PayloadFormatIndicator(_)
                | Property::MessageExpiryInterval(_)
                | Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::UserProperty(_)
        )
    };
    props.iter().filter(belongs).cloned().collect()
}

macro_rules! connect {
    ($packet:expr, $clean:expr, $props:expr) => {{
        let will = $packet.will_topic().map(|topic| Will {
            publish: Publish {
                packet_id: None,
                qos: $packet.will_qos(),
                retain: false,
                topic: topic.to_owned(),
                payload: $packet.will_payload().unwrap_or_default().into_payload(),
                props: $props,
            },
            retain: $packet.will_retain(),
        });
        Some(Incoming::Connect(Connect {
            client_id: $packet.client_id().to_owned(),
            clean: $clean,
            will,
        }))
    }};
}

macro_rules! publish {
    ($packet:expr, $props:expr) => {
        Some(Incoming::Publish(Publish {
            packet_id: $packet.packet_id(),
            qos: $packet.qos(),
            retain: $packet.retain(),
            topic: $packet.topic_name().to_owned(),
            payload: $packet.payload().clone(),
            props: $props,
        }))
    };
}

/// What a packet asks of us; `None` for one that a client has no reason to send here.
pub(crate) fn incoming(packet: Packet) -> Option<Incoming> {
    match packet {
        Packet::V3_1_1Publish(p) => publish!(p, Vec::new()),
        Packet::V5_0Publish(p) => publish!(p, forwarded(p.props())),
        Packet::V3_1_1Puback(_) | Packet::V5_0Puback(_) => Some(Incoming::Acknowledged),
        Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => Some(Incoming::Ping),
        Packet::V3_1_1Connect(p) => connect!(p, p.clean_session(), Vec::new()),
        Packet::V5_0Connect(p) => connect!(p, p.clean_start(), forwarded(p.will_props())),
        Packet::V3_1_1Subscribe(p) => Some(Incoming::Subscribe {
            packet_id: p.packet_id(),
            entries: p.entries().clone(),
            identified: false,
        }),
        Packet::V5_0Subscribe(p) => Some(Incoming::Subscribe {
            packet_id: p.packet_id(),
            entries: p.entries().clone(),
            identified: p
                .props()
                .iter()
                .any(|p| matches!(p, Property::SubscriptionIdentifier(_))),
        }),
        Packet::V3_1_1Unsubscribe(p) => Some(Incoming::Unsubscribe {
            packet_id: p.packet_id(),
            filters: p
                .entries()
                .iter()
                .map(|filter| filter.as_str().to_owned())
                .collect(),
        }),
        Packet::V5_0Unsubscribe(p) => Some(Incoming::Unsubscribe {
            packet_id: p.packet_id(),
            filters: p
                .entries()
                .iter()
                .map(|filter| filter.as_str().to_owned())
                .collect(),
        }),
        Packet::V3_1_1Disconnect(_) => Some(Incoming::Disconnect { with_will: false }),
        Packet::V5_0Disconnect(p) => Some(Incoming::Disconnect {
            with_will: p.reason_code() == Some(DisconnectReasonCode::DisconnectWithWillMessage),
        }),
        _ => None,
    }
}
