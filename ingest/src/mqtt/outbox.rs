//! Messages on their way to one subscriber, and the room they take.
//!
//! # Invariants
//! - What waits for one subscriber is bounded in messages and bytes, and in bytes for all of them
//!   together; a message counts from [`Outbox::offer`] until [`Outbox::done`], so also while it is
//!   sent and not acknowledged.
//! - A message that finds no room is dropped and counted by the caller; a publisher never waits.
//! - That a device's desired state is due is never dropped: it is a mark for each device that is
//!   subscribed to, and the state is the one that stands when it is sent.
//! - For a subscriber that is away only `QoS` 1 and 2 are kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::{Property, Qos};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use twin_core::TwinId;

/// What a message takes beside its payload and topic, about, bytes.
const MESSAGE_BYTES: usize = 128;

/// A message on its way to a subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    /// What the RETAIN flag says to the subscriber.
    pub(crate) retain: bool,
    /// What a version 5 publisher said about it, without its expiry.
    pub(crate) props: Arc<[Property]>,
    /// When it is of no use any more.
    pub(crate) expires: Option<Instant>,
    /// Identifiers of the subscriptions that it is for.
    pub(crate) subscriptions: Vec<u32>,
}

impl Message {
    /// The bytes that it counts as.
    pub(crate) fn size(&self) -> usize {
        MESSAGE_BYTES + self.topic.len() + self.payload.len()
    }

    pub(crate) fn expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Who is told the desired state of which device, as soon as may be.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    pub(crate) device: TwinId,
    /// As it was granted.
    pub(crate) qos: Qos,
    /// What the RETAIN flag says.
    pub(crate) retain: bool,
    pub(crate) identifier: Option<u32>,
}

/// The topic of a device's desired state.
pub(crate) fn desired_topic(realm: &str, device: &TwinId) -> String {
    format!("twin/{realm}/{device}/desired")
}

impl Due {
    /// The state that the device shall have; an empty one says that there is none any more.
    pub(crate) fn message(self, realm: &str, state: Bytes) -> Message {
        Message {
            topic: desired_topic(realm, &self.device).into(),
            payload: state,
            qos: self.qos,
            retain: self.retain,
            props: Arc::default(),
            expires: None,
            subscriptions: self.identifier.into_iter().collect(),
        }
    }
}

/// The lower of two qualities of service.
pub(crate) fn lower(a: Qos, b: Qos) -> Qos {
    if (a as u8) < (b as u8) { a } else { b }
}

/// Bytes that may wait for all subscribers together.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: AtomicUsize,
    max_bytes: usize,
}

impl Room {
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            max_bytes,
        })
    }
}

/// The queue of one subscriber, from the side that fills it.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// The session that it is for.
    pub(crate) session: u64,
    sender: mpsc::Sender<Message>,
    away: AtomicBool,
    bytes: AtomicUsize,
    max_bytes: usize,
    room: Arc<Room>,
    due: Mutex<BTreeMap<TwinId, Due>>,
    woken: Notify,
}

impl Outbox {
    pub(crate) fn new(
        session: u64,
        max_messages: usize,
        max_bytes: usize,
        room: Arc<Room>,
    ) -> (Arc<Self>, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(max_messages);
        let outbox = Self {
            session,
            sender,
            away: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            max_bytes,
            room,
            due: Mutex::default(),
            woken: Notify::new(),
        };
        (Arc::new(outbox), receiver)
    }

    /// Says whether the subscriber is connected.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Relaxed);
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Relaxed)
    }

    /// Queues a message; false where there is no room for it.
    pub(crate) fn offer(&self, message: Message) -> bool {
        if message.qos == Qos::AtMostOnce && self.is_away() {
            return false;
        }
        let size = message.size();
        let own = self.bytes.fetch_add(size, Relaxed) + size;
        let all = self.room.bytes.fetch_add(size, Relaxed) + size;
        if own <= self.max_bytes
            && all <= self.room.max_bytes
            && self.sender.try_send(message).is_ok()
        {
            return true;
        }
        self.give_back(size);
        false
    }

    /// Says that a desired state is to be told; several times for one device is once.
    pub(crate) fn tell(&self, mut due: Due) {
        if due.qos == Qos::AtMostOnce && self.is_away() {
            return;
        }
        let mut waiting = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waiting.get(&due.device);
        due.retain |= before.is_some_and(|before| before.retain);
        waiting.insert(due.device.clone(), due);
        self.woken.notify_one();
    }

    /// The next desired state that is to be told.
    pub(crate) fn take_due(&self) -> Option<Due> {
        let mut waiting = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_first().map(|(_, due)| due)
    }

    /// Waits until something may be due.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Takes room for a message that is sent now, whether there is any or not.
    pub(crate) fn hold(&self, message: &Message) {
        let size = message.size();
        self.bytes.fetch_add(size, Relaxed);
        self.room.bytes.fetch_add(size, Relaxed);
    }

    /// Gives the room of a message back that has reached its subscriber, or never will.
    pub(crate) fn done(&self, message: &Message) {
        self.give_back(message.size());
    }

    fn give_back(&self, size: usize) {
        self.bytes.fetch_sub(size, Relaxed);
        self.room.bytes.fetch_sub(size, Relaxed);
    }
}

impl Drop for Outbox {
    /// What still waits goes with it.
    fn drop(&mut self) {
        let left = *self.bytes.get_mut();
        self.room.bytes.fetch_sub(left, Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn message(topic: &str) -> Message {
        Message {
            topic: topic.into(),
            payload: Bytes::from_static(b"12345"),
            qos: Qos::AtLeastOnce,
            retain: false,
            props: Arc::default(),
            expires: None,
            subscriptions: Vec::new(),
        }
    }

    #[test]
    fn every_limit_refuses_and_room_comes_back() {
        let one = message("a").size();
        let room = Room::new(3 * one);
        let (few, mut queue) = Outbox::new(1, 2, 99 * one, Arc::clone(&room));
        assert!(few.offer(message("a")) && few.offer(message("a")));
        assert!(!few.offer(message("a")), "in number");
        let (small, _queue) = Outbox::new(2, 99, one, Arc::clone(&room));
        assert!(small.offer(message("a")));
        assert!(!small.offer(message("a")), "in bytes");
        let (other, _queue) = Outbox::new(3, 99, 99 * one, Arc::clone(&room));
        assert!(!other.offer(message("a")), "in bytes of all");
        few.done(&queue.try_recv().unwrap());
        assert!(other.offer(message("a")));
        drop(small);
        assert!(other.offer(message("a")));
        drop((few, other));
        assert_eq!(room.bytes.load(Relaxed), 0);
    }

    #[test]
    fn a_desired_state_is_due_once_however_full_the_queue_is() {
        let room = Room::new(0);
        let (outbox, _queue) = Outbox::new(1, 1, 0, Arc::clone(&room));
        assert!(!outbox.offer(message("a")), "there is room for nothing");
        let device = TwinId::new("d:1").unwrap();
        let due = |retain, qos| Due {
            device: device.clone(),
            qos,
            retain,
            identifier: None,
        };
        outbox.tell(due(true, Qos::AtLeastOnce));
        for _ in 0..5_000 {
            outbox.tell(due(false, Qos::AtLeastOnce));
        }
        let told = outbox.take_due().unwrap().message("rw", Bytes::new());
        assert_eq!((&*told.topic, told.retain), ("twin/rw/d:1/desired", true));
        assert!(outbox.take_due().is_none());
        outbox.hold(&told);
        assert!(room.bytes.load(Relaxed) > 0);
        outbox.done(&told);
        assert_eq!(room.bytes.load(Relaxed), 0);
        outbox.set_away(true);
        outbox.tell(due(false, Qos::AtMostOnce));
        assert!(outbox.take_due().is_none(), "nothing of QoS 0 waits");
    }

    #[test]
    fn nothing_of_qos_0_waits_for_one_who_is_away() {
        let (outbox, _queue) = Outbox::new(1, 9, 9_999, Room::new(9_999));
        outbox.set_away(true);
        let mut once = message("a");
        once.qos = Qos::AtMostOnce;
        assert!(!outbox.offer(once.clone()));
        assert!(outbox.offer(message("a")));
        outbox.set_away(false);
        assert!(outbox.offer(once));
    }
}
