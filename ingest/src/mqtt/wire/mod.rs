//! One connection's protocol state: bytes in, packets out, both versions behind one face.
//!
//! Does no I/O and keeps no time: the connection's task moves the bytes and fires the timer.
//!
//! # Invariants
//! - Every event of the protocol core is handled: what it wants sent is appended to `out`, what it
//!   wants closed sets `closing`, an error in what was received closes.
//! - After `closing` is set nothing more is taken from the peer.
//! - Nothing is acknowledged here on its own: the PUBREC that the core would send for a repeated
//!   publish is held back until the first one is answered.

mod connack;
mod delivery;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mqtt_protocol_core::mqtt;
use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind, role};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait as _, Packet, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{
    DisconnectReasonCode, MqttError, PubackReasonCode, PubcompReasonCode, PubrecReasonCode,
    SubackReasonCode, SubackReturnCode, UnsubackReasonCode,
};

use self::connack::without_zero_aliases;
pub(crate) use self::connack::{ConnectRefusal, Terms};
use super::flow::Ack;
use super::incoming::{Incoming, incoming};
use crate::counters::Closed;
use crate::limits::Limits;
use crate::socket::Outgoing;

/// Topic aliases that a version 5 client may use, and most that are used towards one.
const TOPIC_ALIASES: u16 = 16;
/// Longest fixed header of a packet.
const MAX_HEADER_BYTES: usize = 5;
/// First byte of a CONNECT.
const CONNECT: u8 = 0x10;

/// How a filter was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granted {
    Qos(Qos),
    Denied,
    Invalid,
    Quota,
}

pub(crate) struct Wire {
    core: mqtt::Connection<role::Server>,
    /// Bytes that wait to be written.
    pub(crate) out: Outgoing,
    /// Why the connection ends, once it does.
    pub(crate) closing: Option<Closed>,
    /// One and a half keep-alive times; `None` where the client asked for none.
    pub(crate) silence: Option<Duration>,
    /// `QoS` 2 publishes of the peer that are not answered.
    unanswered: BTreeSet<u16>,
    /// Topics that an alias stands for towards the peer, the first one for alias 1.
    aliases: Vec<Arc<str>>,
    max_aliases: u16,
    max_packet_bytes: usize,
    /// Whether the first packet began as a CONNECT does.
    begun: bool,
    /// The CONNECT as far as it came; the core gets it whole, see [`without_zero_aliases`].
    connect: Vec<u8>,
    error: Option<MqttError>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

impl Wire {
    pub(crate) fn new(limits: &Limits) -> Self {
        let options = ConnectionOptions::new()
            .maximum_packet_size_recv(limits.max_packet_bytes)
            .receive_maximum(limits.receive_maximum);
        Self {
            core: mqtt::Connection::with_options(Version::Undetermined, options),
            out: Outgoing::default(),
            closing: None,
            silence: None,
            unanswered: BTreeSet::new(),
            max_packet_bytes: limits.max_packet_bytes as usize,
            aliases: Vec::new(),
            max_aliases: 0,
            begun: false,
            connect: Vec::new(),
            error: None,
        }
    }

    pub(crate) fn is_v5(&self) -> bool {
        self.core.get_protocol_version() == Version::V5_0
    }

    /// Takes bytes until a packet is complete; answers it.
    pub(crate) fn feed(&mut self, bytes: &mut Cursor<&[u8]>) -> Option<Incoming> {
        if !self.begun {
            // Another protocol at this port should not wait for the rest of a packet it never sends.
            if bytes
                .remaining_slice()
                .first()
                .is_some_and(|first| *first != CONNECT)
            {
                self.closing = Some(Closed::Protocol);
                return None;
            }
            self.begun = true;
        }
        let events = if self.core.get_protocol_version() == Version::Undetermined {
            self.first(bytes)
        } else {
            self.core.recv(bytes)
        };
        let packet = self.act(events, Closed::Protocol);
        if let Some(error) = self.error.take() {
            let closed = match error {
                MqttError::PacketTooLarge => Closed::PacketTooLarge,
                _ => Closed::Protocol,
            };
            // Some errors come without a request to close; nothing after them can be understood.
            self.closing = Some(closed);
            return None;
        }
        let packet = packet?;
        let incoming = incoming(packet);
        if let Some(Incoming::Publish(publish)) = &incoming
            && let Ack::Pubrec(packet_id) = Ack::new(publish.qos, publish.packet_id)
        {
            self.unanswered.insert(packet_id);
        }
        if incoming.is_none() {
            self.disconnect(Closed::Protocol);
        }
        incoming
    }

    /// Takes bytes of the first packet; hands it to the core once it is whole, or too large or
    /// malformed to become so.
    fn first(&mut self, bytes: &mut Cursor<&[u8]>) -> Vec<Event> {
        let before = self.connect.len();
        self.connect.extend_from_slice(bytes.remaining_slice());
        let length = packet_length(&self.connect);
        if let Some(length) = length
            && length <= self.max_packet_bytes
        {
            if self.connect.len() < length {
                bytes.set_position(bytes.position() + (self.connect.len() - before) as u64);
                return Vec::new();
            }
            bytes.set_position(bytes.position() + (length - before) as u64);
            self.connect.truncate(length);
        } else {
            bytes.set_position(bytes.position() + (self.connect.len() - before) as u64);
        }
        if length.is_none() && self.connect.len() < MAX_HEADER_BYTES {
            return Vec::new();
        }
        let connect = std::mem::take(&mut self.connect);
        let connect = without_zero_aliases(&connect).unwrap_or(connect);
        self.core.recv(&mut Cursor::new(&connect))
    }

    fn act(&mut self, events: Vec<Event>, closed: Closed) -> Option<Packet> {
        let mut received = None;
        for event in events {
            match event {
                Event::NotifyPacketReceived(packet) => received = Some(packet),
                Event::RequestSendPacket { packet, .. } if self.is_early(&packet) => {}
                Event::RequestSendPacket { packet, .. } => {
                    self.out
                        .bytes
                        .extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::RequestTimerReset {
                    kind: TimerKind::PingreqRecv,
                    duration_ms,
                } => {
                    self.silence = Some(Duration::from_millis(duration_ms));
                }
                Event::RequestTimerCancel(TimerKind::PingreqRecv) => self.silence = None,
                // The other timers are a client's; packet ids are asked for one at a time.
                Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_)
                | Event::NotifyPacketIdReleased(_) => {}
                Event::NotifyError(error) => self.error = Some(error),
                Event::RequestClose => {
                    self.closing.get_or_insert(closed);
                }
            }
        }
        received
    }

    /// Whether a packet says that a publish is received before it is.
    fn is_early(&self, packet: &Packet) -> bool {
        match packet {
            Packet::V3_1_1Pubrec(pubrec) => self.unanswered.contains(&pubrec.packet_id()),
            Packet::V5_0Pubrec(pubrec) => self.unanswered.contains(&pubrec.packet_id()),
            _ => false,
        }
    }

    fn send(&mut self, packet: Option<Packet>, closed: Closed) {
        let Some(packet) = packet else {
            // A packet of ours that does not build would be our bug; the peer learns by the close.
            tracing::error!("an MQTT packet could not be built");
            self.closing.get_or_insert(closed);
            return;
        };
        let events = self.core.send(packet);
        self.act(events, closed);
        if let Some(error) = self.error.take() {
            tracing::debug!(?error, "a packet was not sent");
        }
    }

    /// Answers a publish as done.
    pub(crate) fn acknowledge(&mut self, ack: Ack) {
        let packet = match ack {
            Ack::None => return,
            Ack::Puback(packet_id) if self.is_v5() => {
                let puback = v5_0::Puback::builder().packet_id(packet_id).build();
                puback.ok().map(Packet::from)
            }
            Ack::Puback(packet_id) => {
                let puback = v3_1_1::Puback::builder().packet_id(packet_id).build();
                puback.ok().map(Packet::from)
            }
            Ack::Pubrec(packet_id) => {
                self.unanswered.remove(&packet_id);
                if self.is_v5() {
                    let pubrec = v5_0::Pubrec::builder().packet_id(packet_id).build();
                    pubrec.ok().map(Packet::from)
                } else {
                    let pubrec = v3_1_1::Pubrec::builder().packet_id(packet_id).build();
                    pubrec.ok().map(Packet::from)
                }
            }
        };
        self.send(packet, Closed::Protocol);
    }

    /// Says that a publish failed: by its reason code in version 5, by closing in 3.1.1.
    pub(crate) fn fail(&mut self, ack: Ack) {
        if !self.is_v5() {
            if ack != Ack::None {
                self.closing.get_or_insert(Closed::CommitFailed);
            }
            return;
        }
        let packet = match ack {
            Ack::None => return,
            Ack::Puback(packet_id) => v5_0::Puback::builder()
                .packet_id(packet_id)
                .reason_code(PubackReasonCode::UnspecifiedError)
                .build()
                .ok()
                .map(Packet::from),
            Ack::Pubrec(packet_id) => {
                self.unanswered.remove(&packet_id);
                v5_0::Pubrec::builder()
                    .packet_id(packet_id)
                    .reason_code(PubrecReasonCode::UnspecifiedError)
                    .build()
                    .ok()
                    .map(Packet::from)
            }
        };
        self.send(packet, Closed::CommitFailed);
    }

    /// Answers PUBREL. `known` says whether that publish had been received.
    pub(crate) fn complete(&mut self, packet_id: u16, known: bool) {
        let packet = if self.is_v5() {
            let pubcomp = v5_0::Pubcomp::builder().packet_id(packet_id);
            let pubcomp = if known {
                pubcomp
            } else {
                pubcomp.reason_code(PubcompReasonCode::PacketIdentifierNotFound)
            };
            pubcomp.build().ok().map(Packet::from)
        } else {
            let pubcomp = v3_1_1::Pubcomp::builder().packet_id(packet_id).build();
            pubcomp.ok().map(Packet::from)
        };
        self.send(packet, Closed::Protocol);
    }

    pub(crate) fn pong(&mut self) {
        let packet = if self.is_v5() {
            v5_0::Pingresp::builder().build().ok().map(Packet::from)
        } else {
            v3_1_1::Pingresp::builder().build().ok().map(Packet::from)
        };
        self.send(packet, Closed::Protocol);
    }

    pub(crate) fn subscribed(&mut self, packet_id: u16, granted: &[Granted]) {
        let packet = if self.is_v5() {
            let codes = granted.iter().map(|granted| match granted {
                Granted::Qos(Qos::AtMostOnce) => SubackReasonCode::GrantedQos0,
                Granted::Qos(Qos::AtLeastOnce) => SubackReasonCode::GrantedQos1,
                Granted::Qos(Qos::ExactlyOnce) => SubackReasonCode::GrantedQos2,
                Granted::Denied => SubackReasonCode::NotAuthorized,
                Granted::Invalid => SubackReasonCode::TopicFilterInvalid,
                Granted::Quota => SubackReasonCode::QuotaExceeded,
            });
            let suback = v5_0::Suback::builder()
                .packet_id(packet_id)
                .reason_codes(codes.collect())
                .build();
            suback.ok().map(Packet::from)
        } else {
            let codes = granted.iter().map(|granted| match granted {
                Granted::Qos(Qos::AtMostOnce) => SubackReturnCode::SuccessMaximumQos0,
                Granted::Qos(Qos::AtLeastOnce) => SubackReturnCode::SuccessMaximumQos1,
                Granted::Qos(Qos::ExactlyOnce) => SubackReturnCode::SuccessMaximumQos2,
                Granted::Denied | Granted::Invalid | Granted::Quota => SubackReturnCode::Failure,
            });
            let suback = v3_1_1::Suback::builder()
                .packet_id(packet_id)
                .return_codes(codes.collect())
                .build();
            suback.ok().map(Packet::from)
        };
        self.send(packet, Closed::Protocol);
    }

    pub(crate) fn unsubscribed(&mut self, packet_id: u16, existed: &[bool]) {
        let packet = if self.is_v5() {
            let codes = existed.iter().map(|existed| match existed {
                true => UnsubackReasonCode::Success,
                false => UnsubackReasonCode::NoSubscriptionExisted,
            });
            let unsuback = v5_0::Unsuback::builder()
                .packet_id(packet_id)
                .reason_codes(codes.collect())
                .build();
            unsuback.ok().map(Packet::from)
        } else {
            v3_1_1::Unsuback::builder()
                .packet_id(packet_id)
                .build()
                .ok()
                .map(Packet::from)
        };
        self.send(packet, Closed::Protocol);
    }

    /// Ends the connection from this side, with a DISCONNECT where the version has one.
    pub(crate) fn disconnect(&mut self, closed: Closed) {
        if self.is_v5() {
            let code = match closed {
                Closed::TakenOver => DisconnectReasonCode::SessionTakenOver,
                Closed::Shutdown => DisconnectReasonCode::ServerShuttingDown,
                Closed::KeepAlive => DisconnectReasonCode::KeepAliveTimeout,
                Closed::PacketTooLarge => DisconnectReasonCode::PacketTooLarge,
                Closed::TooFast => DisconnectReasonCode::MessageRateTooHigh,
                _ => DisconnectReasonCode::ProtocolError,
            };
            self.disconnect_with(closed, code);
        }
        self.closing = Some(closed);
    }

    /// Like [`Self::disconnect`], with a reason code of its own for version 5.
    pub(crate) fn disconnect_with(&mut self, closed: Closed, code: DisconnectReasonCode) {
        if self.is_v5() {
            let disconnect = v5_0::Disconnect::builder().reason_code(code).build();
            self.send(disconnect.ok().map(Packet::from), closed);
        }
        self.closing = Some(closed);
    }

    /// Nothing was heard for too long.
    pub(crate) fn silent(&mut self) {
        let events = self.core.notify_timer_fired(TimerKind::PingreqRecv);
        self.act(events, Closed::KeepAlive);
        self.error = None;
        self.closing = Some(Closed::KeepAlive);
    }

    /// The socket is gone.
    pub(crate) fn closed(&mut self) {
        let events = self.core.notify_closed();
        self.act(events, Closed::Gone);
        self.error = None;
    }
}

/// How long the packet is that these bytes begin, header included; `None` where that is not there yet,
/// or malformed.
fn packet_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(MAX_HEADER_BYTES - 1).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(2 + index + length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONNECTS: [&[u8]; 2] = [
        &[
            0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'a',
        ],
        &[
            0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 1, b'a',
        ],
    ];

    const TERMS: Terms<'static> = Terms {
        session_present: false,
        assigned: None,
        expiry: None,
        keep_alive: None,
        aliases: 0,
        retains: false,
    };

    proptest! {
        #[test]
        fn random_bytes_never_panic(
            connect in prop::option::of(0..2_usize),
            chunks in prop::collection::vec(
                (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        ) {
            let limits = Limits::default();
            let mut wire = Wire::new(&limits);
            if let Some(version) = connect {
                wire.feed(&mut Cursor::new(CONNECTS[version]));
                wire.accept(&TERMS, &limits);
                prop_assert_eq!(wire.closing, None);
            }
            for (first, body) in chunks {
                // A right length lets the parsers behind the framing see the noise.
                let mut bytes = vec![first, body.len() as u8];
                bytes.extend(body);
                let mut cursor = Cursor::new(&bytes[..]);
                while wire.closing.is_none() && (cursor.position() as usize) < bytes.len() {
                    wire.feed(&mut cursor);
                }
            }
            wire.disconnect(Closed::Shutdown);
            wire.closed();
        }
    }
}
