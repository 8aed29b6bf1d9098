//! One client: a task that moves bytes between its socket, the protocol state and the twin.
//!
//! # Invariants
//! - A publish is acknowledged after its batch answered, in the order of publishing.
//! - Reading stops while as much waits for the twin as may ([`Intake`]), so TCP slows the peer.
//! - What was read is brought to its end even when the peer is gone: a `QoS` 0 publish followed by a
//!   close is recorded.
//! - Reading also stops while more than [`OUT_BYTES`] wait to be written.
//! - An idle connection holds no read buffer.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::packet::{Qos, SubEntry};
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use twin_core::TwinId;

use super::batch::Answer;
use super::broker::{Message, Outbox};
use super::incoming::{Connect, Incoming, Publish, Will};
use super::intake::Intake;
use super::server::{Seat, Shared};
use super::speaker::Speaker;
use super::topic::{Wish, valid_topic};
use super::wire::{ConnectRefusal, Granted, Wire};
use crate::counters::{Closed, Fate};
use crate::recorder::Known;
use crate::socket::{Moved, Stream, transfer};
use crate::time::now_micros;

/// Bytes that may wait to be written before reading and delivering stop.
const OUT_BYTES: usize = 256 << 10;
/// A timer that nothing is waiting for.
const FAR: Duration = Duration::from_hours(24);

/// What a connected client has.
#[derive(Debug)]
struct Session {
    seat: Seat,
    client: Arc<str>,
    will: Option<Will>,
    filters: Vec<String>,
}

pub(crate) struct Connection<S> {
    stream: S,
    speaker: Speaker,
    shared: Arc<Shared>,
    wire: Wire,
    session: Option<Session>,
    outbox: Option<(Arc<Outbox>, mpsc::Receiver<Message>)>,
    intake: Intake,
    /// Bytes that were read and not taken yet, because too much was waiting.
    unread: Vec<u8>,
    /// Cancelled when the server stops, or another connection takes the client id over.
    stop: CancellationToken,
    /// The peer sends nothing more.
    ended: bool,
    /// Nothing more is read; what waits is answered, then the connection closes for this reason.
    draining: Option<Closed>,
    opened: Instant,
    heard: Instant,
    wrote: Instant,
}

impl<S: Stream> Connection<S> {
    pub(crate) fn new(stream: S, speaker: Speaker, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let wire = Wire::new(&shared.config.limits);
        let stop = shared.shutdown.child_token();
        let intake = Intake::new(Arc::clone(&shared), speaker.clone());
        Self {
            stream,
            speaker,
            shared,
            wire,
            session: None,
            outbox: None,
            intake,
            unread: Vec::new(),
            stop,
            ended: false,
            draining: None,
            opened: now,
            heard: now,
            wrote: now,
        }
    }

    /// Serves the client until the connection ends, and what it sent has ended too.
    pub(crate) async fn serve(mut self) -> Closed {
        let sleep = tokio::time::sleep_until(self.opened + FAR);
        // One wait for the connection's whole life: a new one each time would contend for the
        // token that all connections share.
        let stopped = self.stop.clone().cancelled_owned();
        tokio::pin!(sleep, stopped);
        while self.wire.closing.is_none() {
            self.step(sleep.as_mut(), stopped.as_mut()).await;
        }
        let closed = self.wire.closing.unwrap_or(Closed::Gone);
        self.leave(closed);
        self.finish().await;
        closed
    }

    async fn step(
        &mut self,
        mut sleep: Pin<&mut Sleep>,
        stopped: Pin<&mut WaitForCancellationFutureOwned>,
    ) {
        self.take_unread();
        self.write();
        self.end_of_drain();
        if self.wire.closing.is_some() {
            return;
        }
        let due = self.due();
        // The timer may stand earlier than needed: then it fires once and is set again.
        if due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
        let reads = self.may_read();
        let delivers = self.draining.is_none()
            && self.wire.out.bytes.len() < OUT_BYTES
            && self
                .wire
                .vacancy(self.shared.config.limits.outbound_in_flight);
        let into = reads.then_some(&mut self.unread);
        tokio::select! {
            moved = transfer(&mut self.stream, into, &mut self.wire.out) => match moved {
                Moved::Read(Ok(0) | Err(_)) => self.ended = true,
                Moved::Read(Ok(_)) => self.heard = Instant::now(),
                Moved::Wrote(Ok(())) => self.wrote = Instant::now(),
                Moved::Wrote(Err(_)) => self.wire.closing = Some(Closed::Gone),
            },
            Some(answers) = self.intake.pending.next(), if !self.intake.pending.is_empty() => {
                self.answer(&answers);
            }
            Some(message) = next_message(&mut self.outbox), if delivers => self.deliver(&message),
            () = sleep.as_mut() => {
                self.fire();
                let due = self.due();
                sleep.as_mut().reset(due);
            }
            () = stopped, if self.draining.is_none() => {
                let shutdown = self.shared.shutdown.is_cancelled();
                self.draining = Some(if shutdown { Closed::Shutdown } else { Closed::TakenOver });
            }
        }
    }

    fn paused(&self) -> bool {
        self.intake.is_full() || self.wire.out.bytes.len() >= OUT_BYTES
    }

    fn may_read(&self) -> bool {
        self.draining.is_none() && !self.ended && self.unread.is_empty() && !self.paused()
    }

    /// Closes once a drain is over: everything answered, or nobody there to hear it.
    fn end_of_drain(&mut self) {
        if self.ended && self.unread.is_empty() && self.draining.is_none() {
            self.wire.closing.get_or_insert(Closed::Gone);
        }
        if let Some(closed) = self.draining
            && self.intake.pending.is_empty()
            && self.wire.closing.is_none()
        {
            if self.session.is_some() {
                self.wire.disconnect(closed);
            }
            self.wire.closing = Some(closed);
        }
    }

    /// When the next of the waits is over.
    fn due(&self) -> Instant {
        let limits = &self.shared.config.limits;
        let heard = match (&self.session, self.wire.silence) {
            (None, _) => Some(self.opened + limits.connect_timeout),
            (Some(_), Some(silence)) => Some(self.heard + silence),
            (Some(_), None) => None,
        };
        let wrote = (!self.wire.out.is_empty()).then_some(self.wrote + limits.write_timeout);
        let far = || Instant::now() + FAR;
        heard.into_iter().chain(wrote).min().unwrap_or_else(far)
    }

    fn fire(&mut self) {
        let limits = &self.shared.config.limits;
        let now = Instant::now();
        if !self.wire.out.is_empty() && now >= self.wrote + limits.write_timeout {
            self.wire.closing = Some(Closed::WriteStalled);
        } else if self.session.is_none() {
            if now >= self.opened + limits.connect_timeout {
                self.wire.closing = Some(Closed::ConnectTimeout);
            }
        } else if let Some(silence) = self.wire.silence
            && now >= self.heard + silence
        {
            if self.may_read() {
                self.wire.silent();
            } else {
                // It is we who do not listen, so the silence is not the peer's.
                self.heard = now;
            }
        }
    }

    fn take_unread(&mut self) {
        if self.unread.is_empty() || self.draining.is_some() || self.paused() {
            return;
        }
        let bytes = std::mem::take(&mut self.unread);
        let taken = self.take(&bytes);
        if taken < bytes.len() {
            self.unread = bytes;
            self.unread.drain(..taken);
        }
    }

    /// Takes packets from the bytes until they end or too much waits; how many bytes it took.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let now = now_micros();
        let mut cursor = Cursor::new(bytes);
        while (cursor.position() as usize) < bytes.len()
            && self.wire.closing.is_none()
            && !self.paused()
        {
            if let Some(incoming) = self.wire.feed(&mut cursor) {
                self.handle(incoming, now);
            }
        }
        self.intake.send();
        cursor.position() as usize
    }

    fn handle(&mut self, incoming: Incoming, now: i64) {
        match incoming {
            Incoming::Connect(connect) => self.connect(connect),
            Incoming::Publish(publish) => self.publish(publish, now),
            Incoming::Subscribe {
                packet_id,
                entries,
                identified,
            } => {
                if identified {
                    let code = DisconnectReasonCode::SubscriptionIdentifiersNotSupported;
                    self.wire.disconnect_with(Closed::NotOffered, code);
                    return;
                }
                let granted: Vec<_> = entries.iter().map(|entry| self.subscribe(entry)).collect();
                self.wire.subscribed(packet_id, &granted);
            }
            Incoming::Unsubscribe { packet_id, filters } => {
                let existed: Vec<_> = filters
                    .iter()
                    .map(|filter| self.unsubscribe(filter))
                    .collect();
                self.wire.unsubscribed(packet_id, &existed);
            }
            Incoming::Acknowledged => {}
            Incoming::Ping => self.wire.pong(),
            Incoming::Disconnect { with_will } => {
                if let Some(session) = &mut self.session
                    && !with_will
                {
                    session.will = None;
                }
                self.wire.closing = Some(Closed::Disconnect);
            }
        }
    }

    fn connect(&mut self, connect: Connect) {
        let Connect {
            client_id,
            clean,
            will,
        } = connect;
        let limits = &self.shared.config.limits;
        if will
            .as_ref()
            .is_some_and(|will| !valid_topic(&will.publish.topic))
        {
            self.wire.closing = Some(Closed::Protocol);
            return;
        }
        let refusal = if client_id.len() > limits.max_client_id_bytes
            || (client_id.is_empty() && !clean && !self.wire.is_v5())
        {
            Some(ConnectRefusal::ClientId)
        } else if will
            .as_ref()
            .is_some_and(|will| will.publish.qos == Qos::ExactlyOnce)
        {
            Some(ConnectRefusal::WillQos)
        } else if will.as_ref().is_some_and(|will| will.retain) {
            Some(ConnectRefusal::WillRetain)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.wire.refuse(refusal);
            return;
        }
        let assigned = client_id.is_empty();
        let (client, seat) = self.shared.seats.take(&client_id, &self.stop);
        self.wire.accept(assigned.then_some(&*client), limits);
        self.shared.counters.count_connected();
        self.intake.begin(Arc::clone(&client), seat.number);
        self.session = Some(Session {
            seat,
            client,
            will,
            filters: Vec::new(),
        });
    }

    fn subscribe(&mut self, entry: &SubEntry) -> Granted {
        let Self {
            shared,
            speaker,
            session,
            outbox,
            ..
        } = self;
        let Some(session) = session else {
            return Granted::Denied;
        };
        let limits = &shared.config.limits;
        let filter = entry.topic_filter();
        if filter.len() > limits.max_topic_bytes {
            return Granted::Invalid;
        }
        match shared.rules.subscribe(filter) {
            Wish::Open => {}
            Wish::Device(device) => {
                let Ok(id) = TwinId::new(device) else {
                    return Granted::Denied;
                };
                let known = || matches!(shared.recorder.known(&id), Known::Device(_));
                if !speaker.is(&id) || !known() {
                    return Granted::Denied;
                }
            }
            Wish::Denied => return Granted::Denied,
            Wish::Invalid => return Granted::Invalid,
            Wish::Shared => return Granted::Shared,
        }
        if !session.filters.iter().any(|known| known == filter) {
            if session.filters.len() >= limits.max_subscriptions {
                return Granted::Quota;
            }
            session.filters.push(filter.to_owned());
        }
        let at_least_once = entry.sub_opts().qos() != Qos::AtMostOnce;
        let (outbox, _) = outbox.get_or_insert_with(|| {
            Outbox::new(
                session.seat.number,
                limits.outbound_messages,
                limits.outbound_bytes,
            )
        });
        shared
            .broker
            .subscribe(filter, outbox, at_least_once, entry.sub_opts().nl());
        if at_least_once {
            Granted::Qos1
        } else {
            Granted::Qos0
        }
    }

    fn unsubscribe(&mut self, filter: &str) -> bool {
        let Some(session) = &mut self.session else {
            return false;
        };
        session.filters.retain(|known| known != filter);
        self.shared.broker.unsubscribe(filter, session.seat.number)
    }

    fn publish(&mut self, publish: Publish, now: i64) {
        if publish.qos == Qos::ExactlyOnce {
            self.wire
                .disconnect_with(Closed::NotOffered, DisconnectReasonCode::QosNotSupported);
        } else if publish.retain && self.wire.is_v5() {
            self.wire
                .disconnect_with(Closed::NotOffered, DisconnectReasonCode::RetainNotSupported);
        } else if !valid_topic(&publish.topic) {
            self.wire
                .disconnect_with(Closed::Protocol, DisconnectReasonCode::TopicNameInvalid);
        } else {
            self.intake.route(publish, now);
        }
    }

    /// Answers what has ended: acknowledges, or says that it failed.
    fn answer(&mut self, answers: &[Answer]) {
        self.intake.ended(answers);
        for Answer {
            packet_id, fate, ..
        } in answers
        {
            // After a close nothing is acknowledged: the peer has to send it again.
            let Some(packet_id) = *packet_id else {
                continue;
            };
            if self.wire.closing.is_some() {
                continue;
            }
            match fate {
                Fate::Failed => self.wire.fail(packet_id),
                Fate::Accepted { .. } | Fate::Relayed | Fate::Dead(_) => {
                    self.wire.acknowledge(packet_id);
                }
            }
        }
    }

    fn deliver(&mut self, message: &Message) {
        match self.wire.deliver(message) {
            Ok(()) => self.shared.counters.count_delivered(),
            Err(_) => self.shared.counters.count_dropped(),
        }
    }

    fn write(&mut self) {
        let Ok(moved) = self.wire.out.write_now(&mut self.stream) else {
            self.wire.out.clear();
            self.wire.closing.get_or_insert(Closed::Gone);
            return;
        };
        // The wait for the peer begins when something waits.
        if moved || self.wire.out.is_empty() {
            self.wrote = Instant::now();
        }
    }

    /// Gives up what the client had: its subscriptions, its seat; its will is published.
    fn leave(&mut self, closed: Closed) {
        let Some(session) = self.session.take() else {
            return;
        };
        for filter in &session.filters {
            self.shared.broker.unsubscribe(filter, session.seat.number);
        }
        self.outbox = None;
        if let Some(will) = session.will {
            tracing::debug!(client = %session.client, reason = closed.name(), "publishing the will");
            let now = now_micros();
            self.intake.route(will.publish, now);
            self.intake.send();
        }
    }

    /// Writes what is left to say, and brings what was read to its end.
    async fn finish(&mut self) {
        let limit = self.wrote + self.shared.config.limits.write_timeout;
        while !self.wire.out.is_empty() || !self.intake.pending.is_empty() {
            self.write();
            let writes = !self.wire.out.is_empty();
            tokio::select! {
                moved = transfer(&mut self.stream, None, &mut self.wire.out), if writes => {
                    if let Moved::Wrote(Err(_)) = moved {
                        self.wire.out.clear();
                    }
                }
                () = tokio::time::sleep_until(limit), if writes => self.wire.out.clear(),
                Some(answers) = self.intake.pending.next(), if !self.intake.pending.is_empty() => {
                    self.answer(&answers);
                }
                else => {}
            }
        }
        // TLS and WebSocket say goodbye too; a peer that is gone does not hear it.
        let goodbye = tokio::time::timeout_at(limit, self.stream.shutdown()).await;
        if !matches!(goodbye, Ok(Ok(()))) {
            tracing::trace!("the stream did not end in order");
        }
        self.wire.closed();
    }
}

async fn next_message(
    outbox: &mut Option<(Arc<Outbox>, mpsc::Receiver<Message>)>,
) -> Option<Message> {
    match outbox {
        Some((outbox, queue)) => {
            let message = queue.recv().await?;
            outbox.taken(&message);
            Some(message)
        }
        None => std::future::pending().await,
    }
}
