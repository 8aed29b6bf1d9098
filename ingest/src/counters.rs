//! What happened, counted: plain atomics that a metrics page reads.
//!
//! # Invariants
//! - Nothing vanishes uncounted: `messages == accepted + relayed + failed + the sum of refused +
//!   in_flight` whenever no connection is in the middle of a step.
//! - Counters only grow; `connections`, `in_flight`, `sessions` and `retained` are gauges.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a message became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The payload is not JSON.
    MalformedJson,
    /// The payload is JSON, but none of the forms that carry readings.
    WrongShape,
    /// A value does not fit the schema of its telemetry.
    WrongType,
    /// A name that the device's class does not have.
    UnknownName,
    /// A time that is none, or out of range.
    WrongTime,
    /// A time further ahead of the server's clock than `max_ahead`.
    FutureTime,
    /// A time further behind it than `max_behind`.
    PastTime,
    /// The topic names no registered device, or a twin that is none.
    UnknownDevice,
    /// The payload speaks for another device than the topic.
    ForeignDevice,
    /// A topic that nothing here listens to.
    ForeignTopic,
    /// A topic longer than `max_topic_bytes`.
    TopicTooLong,
    /// A payload larger than `max_payload_bytes`.
    TooLarge,
    /// JSON nested deeper than `max_depth`.
    TooDeep,
    /// More members than `max_values`, or more messages than `max_messages`.
    TooMany,
    /// The twin refused it for another reason.
    Refused,
}

impl Reason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 15] = [
        Self::MalformedJson,
        Self::WrongShape,
        Self::WrongType,
        Self::UnknownName,
        Self::WrongTime,
        Self::FutureTime,
        Self::PastTime,
        Self::UnknownDevice,
        Self::ForeignDevice,
        Self::ForeignTopic,
        Self::TopicTooLong,
        Self::TooLarge,
        Self::TooDeep,
        Self::TooMany,
        Self::Refused,
    ];

    /// Its name in metrics and dead letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed_json",
            Self::WrongShape => "wrong_shape",
            Self::WrongType => "wrong_type",
            Self::UnknownName => "unknown_name",
            Self::WrongTime => "wrong_time",
            Self::FutureTime => "future_time",
            Self::PastTime => "past_time",
            Self::UnknownDevice => "unknown_device",
            Self::ForeignDevice => "foreign_device",
            Self::ForeignTopic => "foreign_topic",
            Self::TopicTooLong => "topic_too_long",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::TooMany => "too_many",
            Self::Refused => "refused",
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closed {
    /// The client said DISCONNECT.
    Disconnect,
    /// The client went away without one.
    Gone,
    /// Nothing was heard for one and a half keep-alive times.
    KeepAlive,
    /// A TLS handshake that failed or outlasted `handshake_timeout`, or a certificate that names no
    /// device.
    Handshake,
    /// No CONNECT within `connect_timeout`.
    ConnectTimeout,
    /// A CONNECT that is refused: client id, will, version.
    ConnectRefused,
    /// A malformed packet, or one that is not allowed there.
    Protocol,
    /// A packet larger than `max_packet_bytes`.
    PacketTooLarge,
    /// A publish with RETAIN where that is not offered.
    NotOffered,
    /// Another connection came with the same client id.
    TakenOver,
    /// A commit failed and the protocol has no other way to say so.
    CommitFailed,
    /// The peer took nothing for `write_timeout`.
    WriteStalled,
    /// New connections faster than `max_connections_per_sec`, or publishes faster than
    /// `max_messages_per_sec`.
    TooFast,
    /// More connections than `max_connections`, or handshakes than `max_handshakes`.
    TooMany,
    /// The server stopped.
    Shutdown,
}

impl Closed {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 15] = [
        Self::Disconnect,
        Self::Gone,
        Self::KeepAlive,
        Self::Handshake,
        Self::ConnectTimeout,
        Self::ConnectRefused,
        Self::Protocol,
        Self::PacketTooLarge,
        Self::NotOffered,
        Self::TakenOver,
        Self::CommitFailed,
        Self::WriteStalled,
        Self::TooFast,
        Self::TooMany,
        Self::Shutdown,
    ];

    /// Whether a client of version 5 was told that it did something wrong.
    pub(crate) fn is_told(self) -> bool {
        matches!(
            self,
            Self::Protocol | Self::PacketTooLarge | Self::NotOffered | Self::TooFast
        )
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Gone => "gone",
            Self::KeepAlive => "keep_alive",
            Self::Handshake => "handshake",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectRefused => "connect_refused",
            Self::Protocol => "protocol",
            Self::PacketTooLarge => "packet_too_large",
            Self::NotOffered => "not_offered",
            Self::TakenOver => "taken_over",
            Self::CommitFailed => "commit_failed",
            Self::WriteStalled => "write_stalled",
            Self::TooFast => "too_fast",
            Self::TooMany => "too_many_connections",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The counters of one server.
#[derive(Debug, Default)]
pub struct Counters {
    connections: AtomicU64,
    connected: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    accepted: AtomicU64,
    readings: AtomicU64,
    relayed: AtomicU64,
    failed: AtomicU64,
    in_flight: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
    expired: AtomicU64,
    sessions: AtomicU64,
    sessions_dropped: AtomicU64,
    retained: AtomicU64,
    not_retained: AtomicU64,
    accept_errors: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
    closed: [AtomicU64; Closed::ALL.len()],
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        impl Counters {
            $($(#[$doc])* pub fn $name(&self) -> u64 { self.$name.load(Relaxed) })+
        }
    };
}

counters! {
    /// Connections open now.
    connections,
    /// CONNECTs accepted.
    connected,
    /// Publishes received.
    messages,
    /// Payload bytes received.
    bytes,
    /// Publishes whose readings are durable.
    accepted,
    /// Readings that are durable.
    readings,
    /// Publishes passed on in opened namespaces.
    relayed,
    /// Publishes that could not be committed or kept; never acknowledged as done.
    failed,
    /// Publishes that wait for their commit now.
    in_flight,
    /// Messages sent to subscribers.
    delivered,
    /// Messages that a subscriber's full queue or small packet limit dropped, or that were of `QoS` 0
    /// while it was away.
    dropped,
    /// Messages that were of no use any more when their subscriber could have them.
    expired,
    /// Sessions that are kept between connections now.
    sessions,
    /// Sessions that were not kept because `max_sessions` were.
    sessions_dropped,
    /// Messages that are retained now.
    retained,
    /// Messages that were not retained because as many as may be are.
    not_retained,
    /// Connections that could not be accepted because the system refused.
    accept_errors,
}

impl Counters {
    /// Publishes that became dead letters for this reason.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].load(Relaxed)
    }

    /// Connections that ended so.
    pub fn closed(&self, closed: Closed) -> u64 {
        self.closed[closed as usize].load(Relaxed)
    }

    pub(crate) fn opened(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(crate) fn ended(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    pub(crate) fn count_closed(&self, closed: Closed) {
        self.closed[closed as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_connected(&self) {
        self.connected.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_message(&self, bytes: usize) {
        self.messages.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// The end of a message: every counted message ends exactly once.
    pub(crate) fn count_fate(&self, fate: Fate) {
        self.in_flight.fetch_sub(1, Relaxed);
        match fate {
            Fate::Accepted { readings } => {
                self.accepted.fetch_add(1, Relaxed);
                self.readings.fetch_add(readings, Relaxed);
            }
            Fate::Relayed => {
                self.relayed.fetch_add(1, Relaxed);
            }
            Fate::Dead(reason) => {
                self.refused[reason as usize].fetch_add(1, Relaxed);
            }
            Fate::Failed => {
                self.failed.fetch_add(1, Relaxed);
            }
        }
    }

    pub(crate) fn count_delivered(&self) {
        self.delivered.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_expired(&self) {
        self.expired.fetch_add(1, Relaxed);
    }

    pub(crate) fn session_kept(&self) {
        self.sessions.fetch_add(1, Relaxed);
    }

    pub(crate) fn session_taken(&self) {
        self.sessions.fetch_sub(1, Relaxed);
    }

    pub(crate) fn count_session_dropped(&self) {
        self.sessions_dropped.fetch_add(1, Relaxed);
    }

    pub(crate) fn set_retained(&self, count: usize) {
        self.retained.store(count as u64, Relaxed);
    }

    pub(crate) fn count_not_retained(&self) {
        self.not_retained.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_accept_error(&self) {
        self.accept_errors.fetch_add(1, Relaxed);
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its readings are durable.
    Accepted {
        /// How many.
        readings: u64,
    },
    /// It was passed on in an opened namespace.
    Relayed,
    /// It is kept as a dead letter.
    Dead(Reason),
    /// It could be neither committed nor kept.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let counters = Counters::default();
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
            counters.count_message(1);
            counters.count_fate(Fate::Dead(reason));
            assert_eq!(counters.refused(reason), 1);
        }
        for (i, closed) in Closed::ALL.into_iter().enumerate() {
            assert_eq!(closed as usize, i);
        }
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert_eq!(counters.in_flight(), 0);
    }
}
