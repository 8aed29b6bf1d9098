//! How a message goes to the subscriber at the other end.

use std::sync::Arc;

use mqtt_protocol_core::mqtt::packet::{self, Packet, Qos, v3_1_1, v5_0};
use tokio::time::Instant;

use super::super::outbox::Message;
use super::Wire;
use crate::counters::Closed;

/// Why a message to a subscriber was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotSent;

impl Wire {
    /// Answers PUBREC of a message of ours, or says again that it is known.
    pub(crate) fn release(&mut self, packet_id: u16) {
        // After a connection that broke, the core does not know the id yet; otherwise it does.
        let known = self.core.register_packet_id(packet_id);
        tracing::trace!(packet_id, ?known, "releasing");
        let packet = if self.is_v5() {
            let pubrel = v5_0::Pubrel::builder().packet_id(packet_id).build();
            pubrel.ok().map(Packet::from)
        } else {
            let pubrel = v3_1_1::Pubrel::builder().packet_id(packet_id).build();
            pubrel.ok().map(Packet::from)
        };
        self.send(packet, Closed::Protocol);
    }

    /// Whether the peer's receive maximum leaves room for another message now.
    pub(crate) fn vacancy(&self) -> bool {
        let theirs = self.core.get_receive_maximum_vacancy_for_send();
        theirs.is_none_or(|vacancy| vacancy > 0)
    }

    /// Sends a message to the subscriber at the other end; its packet id, if it has one. `again` is
    /// the id that it was sent with over a connection that broke.
    pub(crate) fn deliver(
        &mut self,
        message: &Message,
        again: Option<u16>,
    ) -> Result<Option<u16>, NotSent> {
        let packet_id = match (message.qos, again) {
            (Qos::AtMostOnce, _) => None,
            (_, Some(packet_id)) => {
                let registered = self.core.register_packet_id(packet_id);
                registered.map_err(|_taken| NotSent)?;
                Some(packet_id)
            }
            (_, None) => {
                let acquired = self.core.acquire_packet_id();
                Some(acquired.map_err(|_none_free| NotSent)?)
            }
        };
        // What is sent again may be read by a peer that has forgotten the aliases.
        let alias = if again.is_none() {
            self.alias(&message.topic)
        } else {
            Alias::None
        };
        let packet = if self.is_v5() {
            publish_v5(message, packet_id, again.is_some(), alias)
        } else {
            publish_v3(message, packet_id, again.is_some())
        };
        let events = packet.map(|packet| self.core.send(packet));
        let built = events.is_some();
        self.act(events.unwrap_or_default(), Closed::Protocol);
        if self.error.take().is_some() || !built {
            if let Some(packet_id) = packet_id {
                let events = self.core.release_packet_id(packet_id);
                self.act(events, Closed::Protocol);
            }
            return Err(NotSent);
        }
        if let Alias::New(_) = alias {
            self.aliases.push(Arc::clone(&message.topic));
        }
        Ok(packet_id)
    }

    /// What may stand for a topic.
    fn alias(&self, topic: &str) -> Alias {
        let number = |index: usize| u16::try_from(index + 1).ok();
        let known = self.aliases.iter().position(|known| **known == *topic);
        if let Some(number) = known.and_then(number) {
            return Alias::Known(number);
        }
        match number(self.aliases.len()) {
            Some(new) if new <= self.max_aliases => Alias::New(new),
            _ => Alias::None,
        }
    }
}

/// What may stand for a topic towards a peer.
#[derive(Debug, Clone, Copy)]
enum Alias {
    None,
    /// The peer learns it with this message.
    New(u16),
    /// The peer knows it.
    Known(u16),
}

fn publish_v3(message: &Message, packet_id: Option<u16>, again: bool) -> Option<Packet> {
    let publish = v3_1_1::Publish::builder()
        .topic_name(&*message.topic)
        .ok()?
        .qos(message.qos)
        .retain(message.retain)
        .dup(again)
        .payload(&message.payload[..])
        .packet_id(packet_id)
        .build();
    publish.ok().map(Packet::from)
}

fn publish_v5(
    message: &Message,
    packet_id: Option<u16>,
    again: bool,
    alias: Alias,
) -> Option<Packet> {
    let mut props = message.props.to_vec();
    if let Some(expires) = message.expires {
        let left = expires.saturating_duration_since(Instant::now());
        // Rounded up, since 0 would say that it is of no use any more.
        let left = u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX);
        props.push(packet::MessageExpiryInterval::new(left).ok()?.into());
    }
    for identifier in &message.subscriptions {
        let identifier = packet::SubscriptionIdentifier::new(*identifier);
        props.push(identifier.ok()?.into());
    }
    let topic = match alias {
        Alias::Known(_) => "",
        _ => &*message.topic,
    };
    if let Alias::Known(number) | Alias::New(number) = alias {
        props.push(packet::TopicAlias::new(number).ok()?.into());
    }
    let publish = v5_0::Publish::builder()
        .topic_name(topic)
        .ok()?
        .qos(message.qos)
        .retain(message.retain)
        .dup(again)
        .payload(&message.payload[..])
        .packet_id(packet_id)
        .props(props)
        .build();
    publish.ok().map(Packet::from)
}
