//! What one connection published and waits for the twin, in order.
//!
//! # Invariants
//! - A message that is taken in is counted, and gets exactly one [`Answer`], in order of publishing.
//! - At most `receive_maximum` messages and about `receive_bytes` of payload of one connection wait,
//!   and about `total_receive_bytes` of all: each may go over by the packet that reached it.
//! - A connection that is full has something waiting, so an answer will wake it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use mqtt_protocol_core::mqtt::packet::Property;
use tokio::time::Instant;
use twin_core::TwinId;

use super::batch::{Answer, BATCH_READINGS, Batch, Letter};
use super::flow::Ack;
use super::incoming::Publish;
use super::outbox::Message;
use super::server::Shared;
use super::speaker::Speaker;
use super::topic::Target;
use crate::counters::{Fate, Reason};
use crate::payload::{Refused, decode};
use crate::recorder::{DeviceKind, Known, Recorder};
use crate::time::Arrivals;

pub(crate) struct Intake {
    shared: Arc<Shared>,
    speaker: Speaker,
    /// Client id of the connection, for dead letters.
    client: Arc<str>,
    /// Number of the connection, so that it need not hear itself.
    session: u64,
    /// Answers to come, in the order in which they will be given.
    pub(crate) pending: FuturesOrdered<BoxFuture<'static, Vec<Answer>>>,
    batch: Option<Batch>,
    waiting: usize,
    waiting_bytes: usize,
    arrivals: Arrivals,
}

impl Intake {
    pub(crate) fn new(shared: Arc<Shared>, speaker: Speaker) -> Self {
        Self {
            shared,
            speaker,
            client: "".into(),
            session: 0,
            pending: FuturesOrdered::new(),
            batch: None,
            waiting: 0,
            waiting_bytes: 0,
            arrivals: Arrivals::new(),
        }
    }

    /// Says whose messages these are.
    pub(crate) fn begin(&mut self, client: Arc<str>, session: u64) {
        self.client = client;
        self.session = session;
    }

    /// Whether nothing more may be taken in before something is answered.
    pub(crate) fn is_full(&self) -> bool {
        let limits = &self.shared.config.limits;
        self.waiting >= usize::from(limits.receive_maximum)
            || self.waiting_bytes >= limits.receive_bytes
            || (self.waiting > 0
                && self.shared.waiting_bytes.load(Relaxed) >= limits.total_receive_bytes)
    }

    /// Takes note of answers that came.
    pub(crate) fn ended(&mut self, answers: &[Answer]) {
        for answer in answers {
            self.forget(1, answer.bytes);
            self.shared.counters.count_fate(answer.fate);
        }
    }

    fn forget(&mut self, messages: usize, bytes: usize) {
        self.waiting -= messages;
        self.waiting_bytes -= bytes;
        self.shared.waiting_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Sends a publish where its topic says; from here on it is counted and will be answered.
    pub(crate) fn route(&mut self, publish: Publish, now: i64) {
        let Publish {
            packet_id,
            qos,
            retain,
            topic,
            payload,
            props,
        } = publish;
        let ack = Ack::new(qos, packet_id);
        let shared = Arc::clone(&self.shared);
        let limits = &shared.config.limits;
        shared.counters.count_message(payload.len());
        self.waiting += 1;
        self.waiting_bytes += payload.len();
        shared.waiting_bytes.fetch_add(payload.len(), Relaxed);
        let client = Arc::clone(&self.client);
        // A time of its own for each message: taken in again, what has none gets this.
        let at = self.arrivals.next(now);
        let letter = |topic: &str| Letter {
            ack,
            at,
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
        let target = shared.rules.publish(&topic);
        let foreign = match target {
            Target::Telemetry(device) => self.foreign(device),
            _ => None,
        };
        let refused = if let Some(foreign) = foreign {
            // Whatever else is wrong with it: taken in again it would be in another's name.
            foreign
        } else if payload.len() > limits.max_payload_bytes {
            let detail = format!(
                "{} bytes, more than {} (max_payload_bytes)",
                payload.len(),
                limits.max_payload_bytes
            );
            Refused::new(Reason::TooLarge, detail)
        } else {
            match target {
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
                        qos,
                        retain,
                        expires: expiry(&props),
                        props: props.into_iter().filter(|p| !is_expiry(p)).collect(),
                        subscriptions: Vec::new(),
                    };
                    if retain {
                        shared.broker.retain(&message);
                    }
                    shared.broker.publish(Some(self.session), &message);
                    let answer = Answer {
                        ack,
                        bytes: payload.len(),
                        fate: Fate::Relayed,
                    };
                    self.send();
                    self.pending
                        .push_back(Box::pin(std::future::ready(vec![answer])));
                    return;
                }
                Target::Denied(why) => Refused::new(Reason::ForeignTopic, why),
            }
        };
        self.bury(letter(&topic), refused);
    }

    /// Why this client may not speak for a device, if it may not.
    fn foreign(&self, device: &str) -> Option<Refused> {
        let id = TwinId::new(device).ok()?;
        if self.speaker.is(&id) {
            return None;
        }
        let detail = format!("the certificate names another device than `{id}`");
        Some(Refused::new(Reason::ForeignDevice, detail))
    }

    /// Adds the readings of a payload to the batch of its device.
    fn telemetry(&mut self, device: &str, payload: &[u8], now: i64) -> Result<(), Refused> {
        let (id, kind) = known_device(&*self.shared.recorder, device)?;
        let fits = self
            .batch
            .as_ref()
            .is_some_and(|batch| batch.device == id && batch.readings.len() < BATCH_READINGS);
        if !fits {
            self.send();
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
        self.send();
        let messages = letter
            .payload
            .as_slice()
            .iter()
            .filter(|byte| **byte == b'{');
        let most = self.shared.config.limits.payload.max_messages;
        let messages = messages.take(most).count();
        self.arrivals.skip(messages as i64);
        let shared = Arc::clone(&self.shared);
        self.pending.push_back(Box::pin(async move {
            vec![letter.bury(&shared, refused).await]
        }));
    }

    /// Sends what was gathered on its way to the twin.
    pub(crate) fn send(&mut self) {
        if let Some(batch) = self.batch.take()
            && !batch.letters.is_empty()
        {
            self.pending
                .push_back(Box::pin(batch.record(Arc::clone(&self.shared))));
        }
    }
}

fn is_expiry(property: &Property) -> bool {
    matches!(property, Property::MessageExpiryInterval(_))
}

/// When a message that says how long it is of use no longer is.
fn expiry(props: &[Property]) -> Option<Instant> {
    let seconds = props.iter().find_map(|property| match property {
        Property::MessageExpiryInterval(seconds) => Some(seconds.val()),
        _ => None,
    })?;
    Instant::now().checked_add(Duration::from_secs(u64::from(seconds)))
}

/// The device that a topic names, and what it may send.
pub(crate) fn known_device(
    recorder: &dyn Recorder,
    device: &str,
) -> Result<(TwinId, Arc<DeviceKind>), Refused> {
    let unknown = |detail: String| Refused::new(Reason::UnknownDevice, detail);
    let id = TwinId::new(device).map_err(|error| unknown(error.to_string()))?;
    match recorder.known(&id) {
        Known::Device(kind) => Ok((id, kind)),
        Known::NoDevice(class) => Err(unknown(format!("`{id}` is a {class}, which is no Device"))),
        Known::Nothing => Err(unknown(format!(
            "there is no twin `{id}`: register the device first"
        ))),
    }
}

impl Drop for Intake {
    /// A connection that is cut leaves its messages without an answer; their room is given back.
    fn drop(&mut self) {
        for _ in 0..self.waiting {
            self.shared.counters.count_fate(Fate::Failed);
        }
        self.forget(self.waiting, self.waiting_bytes);
    }
}
