//! What the protocol tests use: a recorder that answers when told, and a peer that speaks in bytes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ontology::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twin_core::{DeadLetter, Position, Readings, Receipt, Refusal, TwinId};

use super::*;
use crate::testing::{STATION, kind};
use crate::{Closed, Config, Counters, Known, Recorder, Tell};

/// Another registered device.
pub(super) const OTHER: &str = "rw:station:2";
/// A twin that is no device.
pub(super) const VILLAGE: &str = "rw:village:1";
/// A value that the recorder refuses.
pub(super) const CURSED: f64 = 13.0;
/// Long enough for anything that should happen.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// Long enough to notice what should not happen.
pub(super) const WHILE: Duration = Duration::from_millis(80);

pub(super) type Held = (Readings, oneshot::Sender<Result<(), Refusal>>);

/// Answers at once, or holds every call until the test answers it.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) holding: AtomicBool,
    pub(super) held: Mutex<VecDeque<Held>>,
    pub(super) recorded: Mutex<Vec<Readings>>,
    pub(super) letters: Mutex<Vec<DeadLetter>>,
}

impl Fake {
    pub(super) fn hold(&self) {
        self.holding.store(true, SeqCst);
    }

    pub(super) async fn held(&self, count: usize) -> Vec<Held> {
        tokio::time::timeout(SOON, async {
            while self.held.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
        .expect("the recorder is called");
        self.held.lock().unwrap().drain(..).collect()
    }

    pub(super) fn letters(&self) -> Vec<DeadLetter> {
        self.letters.lock().unwrap().clone()
    }

    pub(super) fn recorded(&self) -> usize {
        self.recorded
            .lock()
            .unwrap()
            .iter()
            .map(|readings| readings.readings.len())
            .sum()
    }
}

pub(super) fn cursed(readings: &Readings) -> bool {
    readings
        .readings
        .iter()
        .any(|reading| reading.value == Value::Double(CURSED))
}

pub(super) struct Handle(pub(super) Arc<Fake>);

impl Recorder for Handle {
    fn known(&self, id: &TwinId) -> Known {
        match id.as_str() {
            STATION | OTHER => Known::Device(kind()),
            VILLAGE => Known::NoDevice("Village".into()),
            _ => Known::Nothing,
        }
    }

    fn record(&self, readings: Readings) -> BoxFuture<'static, Result<Receipt, Refusal>> {
        let fake = Arc::clone(&self.0);
        Box::pin(async move {
            if fake.holding.load(SeqCst) {
                let (answer, answered) = oneshot::channel();
                fake.held
                    .lock()
                    .unwrap()
                    .push_back((readings.clone(), answer));
                answered.await.expect("the test answers")?;
            }
            if cursed(&readings) {
                return Err(Refusal::Invalid {
                    at: "pm25".into(),
                    reason: "cursed".into(),
                });
            }
            let changes = readings.readings.len() as u64;
            fake.recorded.lock().unwrap().push(readings);
            Ok(Receipt {
                position: Position::default(),
                changes,
                repeated: false,
            })
        })
    }

    fn desired(&self, _: &TwinId) -> Option<Bytes> {
        None
    }

    fn watch_desired(&self, _: Tell) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn bury(&self, letter: DeadLetter) -> BoxFuture<'static, Result<(), Refusal>> {
        self.0.letters.lock().unwrap().push(letter);
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(super) struct Rig {
    pub(super) addr: std::net::SocketAddr,
    pub(super) fake: Arc<Fake>,
    pub(super) counters: Arc<Counters>,
    pub(super) publisher: Publisher,
    pub(super) stop: CancellationToken,
    pub(super) running: JoinHandle<()>,
}

pub(super) async fn start(change: impl FnOnce(&mut Config)) -> Rig {
    let mut config = Config {
        open: vec!["demo/#".into()],
        ..Config::default()
    };
    // Times of readings are small numbers here.
    config.limits.payload.max_behind = Duration::MAX;
    change(&mut config);
    let fake = Arc::new(Fake::default());
    let any = "127.0.0.1:0".parse().unwrap();
    let recorder = Arc::new(Handle(Arc::clone(&fake)));
    let server = Server::bind(any, config, recorder).await.unwrap();
    let stop = CancellationToken::new();
    let (addr, counters, publisher) = (server.local_addr(), server.counters(), server.publisher());
    let running = tokio::spawn(server.run(stop.clone().cancelled_owned()));
    Rig {
        addr,
        fake,
        counters,
        publisher,
        stop,
        running,
    }
}

pub(super) async fn plain() -> Rig {
    start(|_| {}).await
}

impl Rig {
    pub(super) async fn peer(&self, v5: bool) -> Peer {
        Peer {
            stream: TcpStream::connect(self.addr).await.unwrap(),
            v5,
        }
    }

    pub(super) async fn connected(&self, v5: bool, client: &str) -> Peer {
        let mut peer = self.peer(v5).await;
        peer.send(&connect(v5, client, 0)).await;
        let (kind, body) = peer.packet().await;
        assert_eq!(
            (kind, body[0], body[1]),
            (0x20, 0, 0),
            "CONNACK, no session, success"
        );
        peer
    }

    pub(super) async fn closed(&self, closed: Closed, count: u64) {
        tokio::time::timeout(SOON, async {
            while self.counters.closed(closed) < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{} connections closed as {}", count, closed.name()));
    }
}

pub(super) struct Peer {
    pub(super) stream: TcpStream,
    pub(super) v5: bool,
}

impl Peer {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(super) async fn publish(&mut self, packet_id: u16, topic: &str, payload: &str) {
        let bytes = publish(self.v5, packet_id, topic, payload.as_bytes());
        self.send(&bytes).await;
    }

    /// The next packet: first byte and body.
    pub(super) async fn packet(&mut self) -> (u8, Vec<u8>) {
        tokio::time::timeout(SOON, async {
            let kind = self.stream.read_u8().await.expect("a packet");
            let (mut length, mut shift) = (0, 0);
            loop {
                let byte = self.stream.read_u8().await.unwrap();
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.unwrap();
            (kind, body)
        })
        .await
        .expect("a packet in time")
    }

    pub(super) async fn acknowledged(&mut self) -> (u16, u8) {
        let (kind, body) = self.packet().await;
        assert_eq!(kind, 0x40, "PUBACK");
        (
            u16::from_be_bytes([body[0], body[1]]),
            body.get(2).copied().unwrap_or(0),
        )
    }

    pub(super) async fn quiet(&mut self) {
        let mut byte = [0];
        let read = tokio::time::timeout(WHILE, self.stream.peek(&mut byte)).await;
        assert!(read.is_err(), "nothing should have come: {byte:x?}");
    }

    /// Expects the close; in version 5 a DISCONNECT with this reason before it.
    pub(super) async fn ends(&mut self, reason: u8) {
        if self.v5 {
            let (kind, body) = self.packet().await;
            assert_eq!(
                (kind, body.first().copied()),
                (0xe0, Some(reason)),
                "DISCONNECT"
            );
        }
        self.gone().await;
    }

    pub(super) async fn gone(&mut self) {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(SOON, self.stream.read_to_end(&mut rest)).await;
        // A reset counts as a close; a packet does not.
        read.expect("the server closes").ok();
        assert!(rest.is_empty(), "{rest:x?}");
    }
}

pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let more = u8::from(length > 0x7f) << 7;
        bytes.push((length & 0x7f) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

pub(super) fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

pub(super) fn connect_with(
    v5: bool,
    client: &str,
    keep_alive: u16,
    flags: u8,
    rest: &[u8],
) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([if v5 { 5 } else { 4 }, flags]);
    body.extend(keep_alive.to_be_bytes());
    body.extend(v5.then_some(0));
    body.extend(text(client));
    body.extend(rest);
    packet(0x10, &body)
}

pub(super) fn connect(v5: bool, client: &str, keep_alive: u16) -> Vec<u8> {
    connect_with(v5, client, keep_alive, 2, &[])
}

/// CONNECT of version 5 with properties.
pub(super) fn connect_props(client: &str, clean: bool, props: &[u8]) -> Vec<u8> {
    connect_v5(client, u8::from(clean) << 1, props, &[])
}

/// CONNECT of version 5 with flags, properties and what follows the client id.
pub(super) fn connect_v5(client: &str, flags: u8, props: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([5, flags, 0, 0, props.len() as u8]);
    body.extend(props);
    body.extend(text(client));
    body.extend(rest);
    packet(0x10, &body)
}

/// PUBLISH with these flags and properties; packet id 0 for none.
pub(super) fn publish_as(
    v5: bool,
    flags: u8,
    packet_id: u16,
    topic: &str,
    props: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = text(topic);
    if packet_id > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    if v5 {
        body.push(props.len() as u8);
        body.extend(props);
    }
    body.extend(payload);
    packet(0x30 | flags, &body)
}

/// `QoS` 1, or `QoS` 0 for packet id 0.
pub(super) fn publish(v5: bool, packet_id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if packet_id > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.extend(v5.then_some(0));
    body.extend(payload);
    packet(if packet_id > 0 { 0x32 } else { 0x30 }, &body)
}

pub(super) fn subscribe(v5: bool, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = vec![0, 9];
    body.extend(v5.then_some(0));
    for (filter, qos) in filters {
        body.extend(text(filter));
        body.push(*qos);
    }
    packet(0x82, &body)
}

pub(super) fn telemetry(device: &str) -> String {
    format!("twin/rw/{device}/telemetry")
}

pub(super) fn pm25(value: f64) -> String {
    format!(r#"{{"ts":1,"values":{{"pm25":{value}}}}}"#)
}
