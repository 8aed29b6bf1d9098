//! One client: a task that moves bytes between its socket, the protocol state and the twin.
//!
//! # Invariants
//! - A publish is acknowledged after its batch answered, in the order of publishing.
//! - At most `receive_maximum` publishes and about `receive_bytes` of payload wait for the twin
//!   (one socket read may go over it by one packet); reading stops there, so TCP slows the peer.
//! - What was read is brought to its end even when the peer is gone: a QoS 0 publish followed by a
//!   close is recorded.
//! - Reading also stops while more than [`OUT_BYTES`] wait to be written.
//! - An idle connection holds no read buffer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::packet::{Qos, SubEntry};
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use twin_core::TwinId;

use super::batch::{Answer, BATCH_READINGS, Batch, Letter};
use super::broker::{Message, Outbox};
use super::server::{Seat, Shared};
use super::topic::{Target, Wish, valid_topic};
use super::wire::{Connect, ConnectRefusal, Granted, Incoming, Publish, Will, Wire};
use crate::counters::{Closed, Fate, Reason};
use crate::payload::{Refused, decode};
use crate::recorder::Known;
use crate::time::{Arrivals, now_micros};

/// Bytes taken from a socket at once.
const READ_BYTES: usize = 32 << 10;
/// Bytes that may wait to be written before reading and delivering stop.
const OUT_BYTES: usize = 256 << 10;
/// A timer that nothing is waiting for.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// What a connected client has.
#[derive(Debug)]
struct Session {
    seat: Seat,
    client: Arc<str>,
    will: Option<Will>,
    filters: Vec<String>,
}

pub(crate) struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
    wire: Wire,
    session: Option<Session>,
    outbox: Option<(Arc<Outbox>, mpsc::Receiver<Message>)>,
    pending: FuturesOrdered<BoxFuture<'static, Vec<Answer>>>,
    waiting: usize,
    waiting_bytes: usize,
    batch: Option<Batch>,
    /// Bytes that were read and not taken yet, because too much was waiting.
    unread: Vec<u8>,
    arrivals: Arrivals,
    /// The peer sends nothing more.
    ended: bool,
    /// Nothing more is read; what waits is answered, then the connection closes for this reason.
    draining: Option<Closed>,
    opened: Instant,
    heard: Instant,
    wrote: Instant,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let wire = Wire::new(&shared.config.limits);
        Self {
            stream,
            shared,
            wire,
            session: None,
            outbox: None,
            pending: FuturesOrdered::new(),
            waiting: 0,
            waiting_bytes: 0,
            batch: None,
            unread: Vec::new(),
            arrivals: Arrivals::new(),
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
        tokio::pin!(sleep);
        while self.wire.closing.is_none() {
            self.step(sleep.as_mut()).await;
        }
        let closed = self.wire.closing.unwrap_or(Closed::Gone);
        self.leave(closed);
        self.finish().await;
        closed
    }

    async fn step(&mut self, mut sleep: std::pin::Pin<&mut Sleep>) {
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
        let writes = !self.wire.out.is_empty();
        let delivers = self.draining.is_none()
            && self.wire.out.len() < OUT_BYTES
            && self
                .wire
                .vacancy(self.shared.config.limits.outbound_in_flight);
        let shutdown = self.shared.shutdown.clone();
        let taken_over = self
            .session
            .as_ref()
            .map(|session| session.seat.taken_over.clone());
        tokio::select! {
            ready = self.stream.readable(), if reads => match ready {
                Ok(()) => self.read(),
                Err(_) => self.wire.closing = Some(Closed::Gone),
            },
            ready = self.stream.writable(), if writes => {
                if ready.is_err() {
                    self.wire.closing = Some(Closed::Gone);
                }
            }
            Some(answers) = self.pending.next(), if !self.pending.is_empty() => {
                self.answer(&answers);
            }
            Some(message) = next_message(&mut self.outbox), if delivers => self.deliver(&message),
            () = sleep.as_mut() => {
                self.fire();
                let due = self.due();
                sleep.as_mut().reset(due);
            }
            () = shutdown.cancelled(), if self.draining.is_none() => {
                self.draining = Some(Closed::Shutdown);
            }
            () = cancelled(taken_over), if self.draining.is_none() => {
                self.draining = Some(Closed::TakenOver);
            }
        }
    }

    fn paused(&self) -> bool {
        let limits = &self.shared.config.limits;
        self.waiting >= usize::from(limits.receive_maximum)
            || self.waiting_bytes >= limits.receive_bytes
            || self.wire.out.len() >= OUT_BYTES
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
            && self.pending.is_empty()
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

    fn read(&mut self) {
        let mut buffer = [0_u8; READ_BYTES];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(read) => {
                self.heard = Instant::now();
                let bytes = &buffer[..read];
                let taken = self.take(bytes);
                self.unread.extend_from_slice(&bytes[taken..]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.ended = true,
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
        self.send_batch();
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
        let (client, seat) = self.shared.seats.take(&client_id);
        self.wire.accept(assigned.then_some(&*client), limits);
        self.shared.counters.count_connected();
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
                let known = TwinId::new(device).map(|id| shared.recorder.known(&id));
                if !matches!(known, Ok(Known::Device(_))) {
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
            self.route(publish, now);
        }
    }

    /// Sends a publish where its topic says; from here on it is counted and will be answered.
    fn route(&mut self, publish: Publish, now: i64) {
        let Publish {
            packet_id,
            qos,
            topic,
            payload,
            props,
            ..
        } = publish;
        let shared = Arc::clone(&self.shared);
        let limits = &shared.config.limits;
        shared.counters.count_message(payload.len());
        self.waiting += 1;
        self.waiting_bytes += payload.len();
        let client = self
            .session
            .as_ref()
            .map_or_else(|| "".into(), |s| Arc::clone(&s.client));
        let letter = |topic: &str| Letter {
            packet_id,
            at: now,
            client,
            topic: topic.into(),
            payload: payload.clone(),
        };
        if topic.len() > limits.max_topic_bytes {
            let detail = format!(
                "{} bytes, more than {} (max_topic_bytes)",
                topic.len(),
                limits.max_topic_bytes
            );
            let kept: String = topic.chars().take(limits.max_topic_bytes).collect();
            return self.bury(letter(&kept), Refused::new(Reason::TopicTooLong, detail));
        }
        let refused = if payload.len() > limits.max_payload_bytes {
            let detail = format!(
                "{} bytes, more than {} (max_payload_bytes)",
                payload.len(),
                limits.max_payload_bytes
            );
            Refused::new(Reason::TooLarge, detail)
        } else {
            match shared.rules.publish(&topic) {
                Target::Telemetry(device) => {
                    match self.telemetry(device, payload.as_slice(), now) {
                        Ok(()) => {
                            let letter = letter(&topic);
                            return self.add(letter);
                        }
                        Err(refused) => refused,
                    }
                }
                Target::Open => {
                    let message = Message {
                        topic: topic.into(),
                        payload: Bytes::copy_from_slice(payload.as_slice()),
                        at_least_once: qos != Qos::AtMostOnce,
                        props: props.into(),
                    };
                    let from = self.session.as_ref().map(|session| session.seat.number);
                    shared.broker.publish(from, &message);
                    let answer = Answer {
                        packet_id,
                        bytes: payload.len(),
                        fate: Fate::Relayed,
                    };
                    self.send_batch();
                    self.pending
                        .push_back(Box::pin(std::future::ready(vec![answer])));
                    return;
                }
                Target::Denied(why) => Refused::new(Reason::ForeignTopic, why),
            }
        };
        self.bury(letter(&topic), refused);
    }

    /// Adds the readings of a payload to the batch of its device.
    fn telemetry(&mut self, device: &str, payload: &[u8], now: i64) -> Result<(), Refused> {
        let unknown = |detail: String| Refused::new(Reason::UnknownDevice, detail);
        let id = TwinId::new(device).map_err(|error| unknown(error.to_string()))?;
        let kind = match self.shared.recorder.known(&id) {
            Known::Device(kind) => kind,
            Known::NoDevice(class) => {
                return Err(unknown(format!("`{id}` is a {class}, which is no Device")));
            }
            Known::Nothing => {
                return Err(unknown(format!(
                    "there is no twin `{id}`: register the device first"
                )));
            }
        };
        let fits = self
            .batch
            .as_ref()
            .is_some_and(|batch| batch.device == id && batch.readings.len() < BATCH_READINGS);
        if !fits {
            self.send_batch();
        }
        let batch = self.batch.get_or_insert_with(|| Batch::new(id.clone()));
        let limits = &self.shared.config.limits.payload;
        decode(
            payload,
            &id,
            &kind,
            limits,
            &mut self.arrivals,
            now,
            &mut batch.readings,
        )
    }

    fn add(&mut self, letter: Letter) {
        if let Some(batch) = &mut self.batch {
            let end = batch.readings.len();
            batch.letters.push((letter, end));
        }
    }

    fn bury(&mut self, letter: Letter, refused: Refused) {
        self.send_batch();
        let shared = Arc::clone(&self.shared);
        self.pending.push_back(Box::pin(async move {
            vec![letter.bury(&shared, refused).await]
        }));
    }

    fn send_batch(&mut self) {
        if let Some(batch) = self.batch.take()
            && !batch.letters.is_empty()
        {
            self.pending
                .push_back(Box::pin(batch.record(Arc::clone(&self.shared))));
        }
    }

    fn answer(&mut self, answers: &[Answer]) {
        for answer in answers {
            self.waiting -= 1;
            self.waiting_bytes -= answer.bytes;
            self.shared.counters.count_fate(answer.fate);
            // After a close nothing is acknowledged: the peer has to send it again.
            let Some(packet_id) = answer.packet_id else {
                continue;
            };
            if self.wire.closing.is_some() {
                continue;
            }
            match answer.fate {
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
        while !self.wire.out.is_empty() {
            match self.stream.try_write(&self.wire.out) {
                Ok(wrote) => {
                    self.wire.out.drain(..wrote);
                    self.wrote = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.wire.out.clear();
                    self.wire.closing.get_or_insert(Closed::Gone);
                }
            }
        }
        // The wait for the peer begins when something waits.
        self.wrote = Instant::now();
        if self.wire.out.capacity() > READ_BYTES {
            self.wire.out = Vec::new();
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
            self.route(will.publish, now);
            self.send_batch();
        }
    }

    /// Writes what is left to say, and brings what was read to its end.
    async fn finish(&mut self) {
        let limit = self.wrote + self.shared.config.limits.write_timeout;
        while !self.wire.out.is_empty() || !self.pending.is_empty() {
            self.write();
            let writes = !self.wire.out.is_empty();
            tokio::select! {
                ready = self.stream.writable(), if writes => {
                    if ready.is_err() {
                        self.wire.out.clear();
                    }
                }
                () = tokio::time::sleep_until(limit), if writes => self.wire.out.clear(),
                Some(answers) = self.pending.next(), if !self.pending.is_empty() => {
                    self.answer(&answers);
                }
                else => {}
            }
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

async fn cancelled(token: Option<tokio_util::sync::CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}
