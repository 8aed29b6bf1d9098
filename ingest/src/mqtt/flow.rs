//! What was sent to a subscriber with `QoS` 1 or 2 and is not at its end.
//!
//! # Invariants
//! - A packet id stands here once, from its first PUBLISH until PUBACK or PUBCOMP.
//! - The order is that of the first sending, so a resumed session is sent the same order again.

use mqtt_protocol_core::mqtt::packet::Qos;

use super::outbox::Message;

/// Where a message stands.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    /// Sent, and neither PUBACK nor PUBREC has come.
    Published(Message),
    /// PUBREC has come, PUBREL is sent, PUBCOMP has not come.
    Released,
}

#[derive(Debug)]
struct Flight {
    packet_id: u16,
    stage: Stage,
    /// Whether it was sent over the connection of now.
    sent: bool,
}

/// The messages of one session that are under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    flights: Vec<Flight>,
}

impl Flights {
    pub(crate) fn len(&self) -> usize {
        self.flights.len()
    }

    /// Takes note of a message that was sent.
    pub(crate) fn begin(&mut self, packet_id: u16, message: Message) {
        self.flights.push(Flight {
            packet_id,
            stage: Stage::Published(message),
            sent: true,
        });
    }

    fn find(&self, packet_id: u16) -> Option<usize> {
        self.flights
            .iter()
            .position(|flight| flight.packet_id == packet_id)
    }

    /// The end of a message, by PUBACK, PUBCOMP or a PUBREC that refuses; answers the message if it
    /// still stood here.
    pub(crate) fn end(&mut self, packet_id: u16) -> Option<Message> {
        let flight = self.flights.remove(self.find(packet_id)?);
        match flight.stage {
            Stage::Published(message) => Some(message),
            Stage::Released => None,
        }
    }

    /// PUBREC came: the message itself is not needed any more, and answered.
    pub(crate) fn release(&mut self, packet_id: u16) -> Option<Message> {
        let at = self.find(packet_id)?;
        match std::mem::replace(&mut self.flights[at].stage, Stage::Released) {
            Stage::Published(message) => Some(message),
            Stage::Released => None,
        }
    }

    /// The session goes on over another connection: everything has to be sent again.
    pub(crate) fn interrupted(&mut self) {
        for flight in &mut self.flights {
            flight.sent = false;
        }
    }

    /// The next that has to be sent again.
    pub(crate) fn unsent(&self) -> Option<(u16, Stage)> {
        let flight = self.flights.iter().find(|flight| !flight.sent)?;
        Some((flight.packet_id, flight.stage.clone()))
    }

    /// Takes note that it was sent again.
    pub(crate) fn resent(&mut self, packet_id: u16) {
        if let Some(at) = self.find(packet_id) {
            self.flights[at].sent = true;
        }
    }
}

/// How a publish of a client is answered when it has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    /// `QoS` 0: not at all.
    None,
    /// `QoS` 1, by PUBACK.
    Puback(u16),
    /// `QoS` 2, by PUBREC.
    Pubrec(u16),
}

impl Ack {
    pub(crate) fn new(qos: Qos, packet_id: Option<u16>) -> Self {
        match (qos, packet_id) {
            (Qos::AtLeastOnce, Some(id)) => Self::Puback(id),
            (Qos::ExactlyOnce, Some(id)) => Self::Pubrec(id),
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outbox::tests::message;
    use super::*;

    #[test]
    fn what_is_not_at_its_end_is_sent_again_in_order() {
        let mut flights = Flights::default();
        for packet_id in [7, 3, 5] {
            flights.begin(packet_id, message("a"));
        }
        assert!(flights.unsent().is_none());
        assert!(flights.release(3).is_some() && flights.release(3).is_none());
        assert!(flights.end(7).is_some() && flights.end(7).is_none());
        flights.interrupted();
        let mut again = Vec::new();
        while let Some((packet_id, stage)) = flights.unsent() {
            again.push((packet_id, matches!(stage, Stage::Released)));
            flights.resent(packet_id);
        }
        assert_eq!(again, [(3, true), (5, false)]);
        assert!(flights.end(3).is_none());
        assert_eq!(flights.len(), 1);
    }
}
