//! One client: a task that moves bytes between its socket, the protocol state and the twin.
//!
//! # Invariants
//! - A publish is acknowledged after its batch answered, in the order of publishing.
//! - Reading stops while as much waits for the twin as may ([`Intake`]), so TCP slows the peer.
//! - What was read is brought to its end even when the peer is gone: a `QoS` 0 publish followed by a
//!   close is recorded. Only then is the session given back.
//! - Reading also stops while more than [`OUT_BYTES`] wait to be written.
//! - An idle connection holds no read buffer.

mod delivery;
mod member;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::delivery::next;
use self::member::{Joining, Member, gave_back};
use super::batch::Answer;
use super::flow::Ack;
use super::incoming::{Incoming, Publish};
use super::intake::Intake;
use super::server::Shared;
use super::speaker::Speaker;
use super::topic::valid_topic;
use super::wire::{ConnectRefusal, Wire};
use crate::counters::{Closed, Fate};
use crate::socket::{Moved, Stream, read_some, transfer};
use crate::time::now_micros;

/// Bytes that may wait to be written before reading and delivering stop.
const OUT_BYTES: usize = 256 << 10;
/// Longest time that a peer is listened to after it was told why it has to go.
const LINGER: Duration = Duration::from_secs(1);
/// A timer that nothing is waiting for.
const FAR: Duration = Duration::from_hours(24);

pub(crate) struct Connection<S> {
    stream: S,
    speaker: Speaker,
    shared: Arc<Shared>,
    wire: Wire,
    /// Why the client is not let in, if it is not.
    unwelcome: Option<ConnectRefusal>,
    joining: Option<Joining>,
    member: Option<Member>,
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
    pub(crate) fn new(
        stream: S,
        speaker: Speaker,
        unwelcome: Option<ConnectRefusal>,
        shared: Arc<Shared>,
    ) -> Self {
        let now = Instant::now();
        let wire = Wire::new(&shared.config.limits);
        let stop = shared.shutdown.child_token();
        let intake = Intake::new(Arc::clone(&shared), speaker.clone());
        Self {
            stream,
            speaker,
            shared,
            wire,
            unwelcome,
            joining: None,
            member: None,
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
        self.settle().await;
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
        self.send_again();
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
        let delivers = self.may_deliver();
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
            Some(next) = next(&mut self.member), if delivers => self.deliver(next),
            () = gave_back(&mut self.joining), if self.draining.is_none() => self.join(),
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
        self.joining.is_some() || self.intake.is_full() || self.wire.out.bytes.len() >= OUT_BYTES
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
            if self.member.is_some() {
                self.wire.disconnect(closed);
            }
            self.wire.closing = Some(closed);
        }
    }

    /// When the next of the waits is over.
    fn due(&self) -> Instant {
        let limits = &self.shared.config.limits;
        let heard = match (&self.member, self.wire.silence) {
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
        } else if self.member.is_none() {
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
                identifier,
            } => {
                let granted: Vec<_> = entries
                    .iter()
                    .map(|entry| self.subscribe(entry, identifier))
                    .collect();
                self.wire.subscribed(packet_id, &granted);
            }
            Incoming::Unsubscribe { packet_id, filters } => {
                let mut existed = Vec::with_capacity(filters.len());
                if let Some(member) = &mut self.member {
                    existed.extend(filters.iter().map(|f| member.session.unsubscribe(f)));
                }
                self.wire.unsubscribed(packet_id, &existed);
            }
            Incoming::Ended(packet_id) => {
                if let Some(Member { session, .. }) = &mut self.member
                    && let Some(message) = session.flights.end(packet_id)
                {
                    session.done(&message);
                }
            }
            Incoming::Received(packet_id) => {
                if let Some(Member { session, .. }) = &mut self.member {
                    if let Some(message) = session.flights.release(packet_id) {
                        session.done(&message);
                    }
                    self.wire.release(packet_id);
                }
            }
            Incoming::Released(packet_id) => {
                let received = self
                    .member
                    .as_mut()
                    .map(|member| &mut member.session.received);
                let known = received.is_some_and(|received| received.remove(&packet_id));
                self.wire.complete(packet_id, known);
            }
            Incoming::Ping => self.wire.pong(),
            Incoming::Disconnect { with_will, expiry } => self.goodbye(with_will, expiry),
        }
    }

    fn publish(&mut self, publish: Publish, now: i64) {
        let retains = self.shared.rules.opens() || !self.wire.is_v5();
        let rate = self.member.as_mut().map(|member| &mut member.rate);
        if publish.retain && !retains {
            self.wire
                .disconnect_with(Closed::NotOffered, DisconnectReasonCode::RetainNotSupported);
        } else if !valid_topic(&publish.topic) {
            self.wire
                .disconnect_with(Closed::Protocol, DisconnectReasonCode::TopicNameInvalid);
        } else if rate.is_some_and(|rate| !rate.take(now)) {
            self.wire.disconnect(Closed::TooFast);
        } else {
            self.intake.route(publish, now);
        }
    }

    /// Answers what has ended: acknowledges, or says that it failed.
    fn answer(&mut self, answers: &[Answer]) {
        self.intake.ended(answers);
        for Answer { ack, fate, .. } in answers {
            let failed = *fate == Fate::Failed;
            if let (Ack::Pubrec(packet_id), false, Some(member)) = (*ack, failed, &mut self.member)
            {
                member.session.received.insert(packet_id);
            }
            // After a close nothing is acknowledged: the peer has to send it again.
            if self.wire.closing.is_some() {
                continue;
            }
            if failed {
                self.wire.fail(*ack);
            } else {
                self.wire.acknowledge(*ack);
            }
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

    /// Waits for what was read: whoever has the session next must know how that ended.
    async fn settle(&mut self) {
        self.write();
        while let Some(answers) = self.intake.pending.next().await {
            self.answer(&answers);
            self.write();
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
        } else if self.wire.is_v5() && self.wire.closing.is_some_and(Closed::is_told) {
            // Closing at once would discard why, where the peer still sends.
            let linger = async {
                while read_some(&mut self.stream, &mut self.unread)
                    .await
                    .is_ok_and(|n| n > 0)
                {
                    self.unread.clear();
                }
            };
            if tokio::time::timeout(LINGER, linger).await.is_err() {
                tracing::trace!("the peer did not close");
            }
        }
        self.wire.closed();
    }
}
