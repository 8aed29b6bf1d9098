//! What a client's packet asks for, the same for both versions.

use std::time::Duration;

use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::IntoPayload as _;
use mqtt_protocol_core::mqtt::packet::{Packet, Property, Qos, SubEntry, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;

use super::will::Will;

/// A packet that the connection has to act upon.
#[derive(Debug)]
pub(crate) enum Incoming {
    Connect(Connect),
    Publish(Publish),
    Subscribe {
        packet_id: u16,
        entries: Vec<SubEntry>,
        identifier: Option<u32>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    /// The peer has a message of ours and needs nothing more of it: PUBACK, PUBCOMP, or a PUBREC
    /// that refuses.
    Ended(u16),
    /// PUBREC: the peer has a `QoS` 2 message of ours and waits for PUBREL.
    Received(u16),
    /// PUBREL: the peer knows that we have its `QoS` 2 message.
    Released(u16),
    Ping,
    Disconnect {
        with_will: bool,
        /// The session's life from now on, seconds.
        expiry: Option<u32>,
    },
}

/// What a CONNECT asked for.
#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    pub(crate) will: Option<Will>,
    /// Seconds between signs of life; 0 for none.
    pub(crate) keep_alive: u16,
    /// How long the session shall be kept after the connection, seconds.
    pub(crate) expiry: u32,
    /// Topic aliases that the peer takes.
    pub(crate) aliases: u16,
    /// Whether it wants to authenticate by a method of version 5.
    pub(crate) authenticates: bool,
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

macro_rules! will {
    ($packet:expr, $props:expr, $delay:expr) => {
        $packet.will_topic().map(|topic| Will {
            publish: Publish {
                packet_id: None,
                qos: $packet.will_qos(),
                retain: $packet.will_retain(),
                topic: topic.to_owned(),
                payload: $packet.will_payload().unwrap_or_default().into_payload(),
                props: $props,
            },
            delay: Duration::from_secs(u64::from($delay)),
        })
    };
}

/// The first of these properties that is one of a kind.
fn property<T>(props: &[Property], pick: impl Fn(&Property) -> Option<T>) -> Option<T> {
    props.iter().find_map(pick)
}

fn expiry(props: &[Property]) -> Option<u32> {
    property(props, |p| match p {
        Property::SessionExpiryInterval(seconds) => Some(seconds.val()),
        _ => None,
    })
}

fn connect_v3(packet: &v3_1_1::Connect) -> Connect {
    Connect {
        client_id: packet.client_id().to_owned(),
        clean: packet.clean_session(),
        will: will!(packet, Vec::new(), 0_u32),
        keep_alive: packet.keep_alive(),
        expiry: if packet.clean_session() { 0 } else { u32::MAX },
        aliases: 0,
        authenticates: false,
    }
}

fn connect_v5(packet: &v5_0::Connect) -> Connect {
    let props = packet.props();
    let delay = property(packet.will_props(), |p| match p {
        Property::WillDelayInterval(seconds) => Some(seconds.val()),
        _ => None,
    });
    Connect {
        client_id: packet.client_id().to_owned(),
        clean: packet.clean_start(),
        will: will!(packet, forwarded(packet.will_props()), delay.unwrap_or(0)),
        keep_alive: packet.keep_alive(),
        expiry: expiry(props).unwrap_or(0),
        aliases: property(props, |p| match p {
            Property::TopicAliasMaximum(count) => Some(count.val()),
            _ => None,
        })
        .unwrap_or(0),
        authenticates: props
            .iter()
            .any(|p| matches!(p, Property::AuthenticationMethod(_))),
    }
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
        Packet::V3_1_1Puback(p) => Some(Incoming::Ended(p.packet_id())),
        Packet::V5_0Puback(p) => Some(Incoming::Ended(p.packet_id())),
        Packet::V3_1_1Pubrec(p) => Some(Incoming::Received(p.packet_id())),
        Packet::V5_0Pubrec(p) => Some(match p.reason_code() {
            Some(code) if code.is_failure() => Incoming::Ended(p.packet_id()),
            _ => Incoming::Received(p.packet_id()),
        }),
        Packet::V3_1_1Pubrel(p) => Some(Incoming::Released(p.packet_id())),
        Packet::V5_0Pubrel(p) => Some(Incoming::Released(p.packet_id())),
        Packet::V3_1_1Pubcomp(p) => Some(Incoming::Ended(p.packet_id())),
        Packet::V5_0Pubcomp(p) => Some(Incoming::Ended(p.packet_id())),
        Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => Some(Incoming::Ping),
        Packet::V3_1_1Connect(p) => Some(Incoming::Connect(connect_v3(&p))),
        Packet::V5_0Connect(p) => Some(Incoming::Connect(connect_v5(&p))),
        Packet::V3_1_1Subscribe(p) => Some(Incoming::Subscribe {
            packet_id: p.packet_id(),
            entries: p.entries().clone(),
            identifier: None,
        }),
        Packet::V5_0Subscribe(p) => Some(Incoming::Subscribe {
            packet_id: p.packet_id(),
            entries: p.entries().clone(),
            identifier: property(p.props(), |p| match p {
                Property::SubscriptionIdentifier(identifier) => Some(identifier.val()),
                _ => None,
            }),
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
        Packet::V3_1_1Disconnect(_) => Some(Incoming::Disconnect {
            with_will: false,
            expiry: None,
        }),
        Packet::V5_0Disconnect(p) => Some(Incoming::Disconnect {
            with_will: p.reason_code() == Some(DisconnectReasonCode::DisconnectWithWillMessage),
            expiry: p.props().as_ref().and_then(|props| expiry(props)),
        }),
        _ => None,
    }
}
