//! How a CONNECT is answered.

use std::collections::BTreeSet;

use mqtt_protocol_core::mqtt::packet::{self, Packet, Property, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, ConnectReturnCode, MqttError};

use super::{TOPIC_ALIASES, Wire};
use crate::counters::Closed;
use crate::limits::Limits;

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectRefusal {
    ClientId,
    WillRetain,
    Method,
    NotAuthorized,
    TooMany,
    TooFast,
}

/// What a CONNECT is granted.
#[derive(Debug)]
pub(crate) struct Terms<'t> {
    /// Whether a session that was kept goes on.
    pub(crate) session_present: bool,
    /// The client id, where the client brought none.
    pub(crate) assigned: Option<&'t str>,
    /// The session's life, seconds, where it is not what was asked for.
    pub(crate) expiry: Option<u32>,
    /// Keep alive, seconds, where it is not what was asked for.
    pub(crate) keep_alive: Option<u16>,
    /// Topic aliases that the client takes.
    pub(crate) aliases: u16,
    /// Whether messages are retained anywhere.
    pub(crate) retains: bool,
}

impl Wire {
    /// Accepts the CONNECT: what is not offered is said here.
    pub(crate) fn accept(&mut self, terms: &Terms<'_>, limits: &Limits) {
        self.max_aliases = terms.aliases.min(TOPIC_ALIASES);
        let packet = if self.is_v5() {
            accepting_props(terms, limits)
                .and_then(|props| {
                    v5_0::Connack::builder()
                        .session_present(terms.session_present)
                        .reason_code(ConnectReasonCode::Success)
                        .props(props)
                        .build()
                })
                .ok()
                .map(Packet::from)
        } else {
            connack_v3(ConnectReturnCode::Accepted, terms.session_present)
        };
        self.send(packet, Closed::Protocol);
    }

    /// Refuses the CONNECT and closes.
    pub(crate) fn refuse(&mut self, refusal: ConnectRefusal) {
        let (v5, v3, closed) = match refusal {
            ConnectRefusal::ClientId => (
                ConnectReasonCode::ClientIdentifierNotValid,
                ConnectReturnCode::IdentifierRejected,
                Closed::ConnectRefused,
            ),
            ConnectRefusal::WillRetain => (
                ConnectReasonCode::RetainNotSupported,
                ConnectReturnCode::NotAuthorized,
                Closed::ConnectRefused,
            ),
            ConnectRefusal::Method => (
                ConnectReasonCode::BadAuthenticationMethod,
                ConnectReturnCode::NotAuthorized,
                Closed::ConnectRefused,
            ),
            ConnectRefusal::NotAuthorized => (
                ConnectReasonCode::NotAuthorized,
                ConnectReturnCode::NotAuthorized,
                Closed::ConnectRefused,
            ),
            ConnectRefusal::TooMany => (
                ConnectReasonCode::QuotaExceeded,
                ConnectReturnCode::ServerUnavailable,
                Closed::TooMany,
            ),
            ConnectRefusal::TooFast => (
                ConnectReasonCode::ConnectionRateExceeded,
                ConnectReturnCode::ServerUnavailable,
                Closed::TooFast,
            ),
        };
        let packet = if self.is_v5() {
            let connack = v5_0::Connack::builder()
                .session_present(false)
                .reason_code(v5)
                .build();
            connack.ok().map(Packet::from)
        } else {
            connack_v3(v3, false)
        };
        self.send(packet, closed);
        self.closing = Some(closed);
    }

    /// Takes over which `QoS` 2 publishes of the peer were answered and wait for PUBREL.
    pub(crate) fn restore(&mut self, received: &BTreeSet<u16>) {
        self.core
            .restore_qos2_publish_handled(received.iter().copied().collect());
    }
}

fn connack_v3(code: ConnectReturnCode, session_present: bool) -> Option<Packet> {
    let connack = v3_1_1::Connack::builder()
        .session_present(session_present)
        .return_code(code)
        .build();
    connack.ok().map(Packet::from)
}

fn accepting_props(terms: &Terms<'_>, limits: &Limits) -> Result<Vec<Property>, MqttError> {
    let mut props = vec![
        packet::ReceiveMaximum::new(limits.receive_maximum)?.into(),
        packet::TopicAliasMaximum::new(TOPIC_ALIASES)?.into(),
    ];
    if !terms.retains {
        props.push(packet::RetainAvailable::new(0)?.into());
    }
    if let Some(seconds) = terms.expiry {
        props.push(packet::SessionExpiryInterval::new(seconds)?.into());
    }
    if let Some(seconds) = terms.keep_alive {
        props.push(packet::ServerKeepAlive::new(seconds)?.into());
    }
    if let Some(assigned) = terms.assigned {
        props.push(packet::AssignedClientIdentifier::new(assigned)?.into());
    }
    Ok(props)
}

/// A CONNECT of version 5 without its topic alias maximum, where that is 0: it says the same, and the
/// core takes it without panicking. `None` where nothing is to be changed.
pub(super) fn without_zero_aliases(connect: &[u8]) -> Option<Vec<u8>> {
    let is_zero = |p: &Property| matches!(p, Property::TopicAliasMaximum(max) if max.val() == 0);
    let header = connect.iter().skip(1).position(|byte| byte & 0x80 == 0)? + 2;
    // Name, version.
    if connect.get(header..header + 7) != Some(&b"\0\x04MQTT\x05"[..]) {
        return None;
    }
    let (packet, _) = v5_0::Connect::parse(connect.get(header..)?).ok()?;
    if !packet.props().iter().any(is_zero) {
        return None;
    }
    let props: Vec<Property> = packet
        .props()
        .iter()
        .filter(|p| !is_zero(p))
        .cloned()
        .collect();
    let mut same = v5_0::Connect::builder()
        .clean_start(packet.clean_start())
        .keep_alive(packet.keep_alive())
        .props(props)
        .client_id(packet.client_id())
        .ok()?;
    if let Some(topic) = packet.will_topic() {
        let payload = packet.will_payload().unwrap_or_default();
        let (qos, retain) = (packet.will_qos(), packet.will_retain());
        let will_props = packet.will_props().clone();
        same = same
            .will_message(topic, payload.to_vec(), qos, retain)
            .ok()?;
        same = same.will_props(will_props);
    }
    if let Some(name) = packet.user_name() {
        same = same.user_name(name).ok()?;
    }
    if let Some(password) = packet.password() {
        same = same.password(password.to_vec()).ok()?;
    }
    Some(same.build().ok()?.to_continuous_buffer())
}
