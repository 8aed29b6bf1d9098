//! The listeners: bounded, loopback only or with certificates, and drained when they stop.
//!
//! # Invariants
//! - Only a listener that asks every client for a certificate is bound beyond loopback.
//! - [`Server::run`] returns when every connection has ended, or `drain_timeout` has passed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::Qos;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::connection::Connection;
use super::outbox::{Message, desired_topic};
use super::rate::Rate;
use super::session::{Key, Sessions};
use super::speaker::Speaker;
use super::tls::{Acceptor, Tls, TlsError};
use super::topic::{RuleError, Rules, valid_topic};
use super::will::Will;
use super::wire::ConnectRefusal;
use crate::counters::{Closed, Counters};
use crate::limits::Config;
use crate::recorder::Recorder;
use crate::socket::Stream;
use crate::time::now_micros;

/// Streams that another service brought and that wait to be served.
const WAITING_STREAMS: usize = 64;
/// Connections beyond `max_connections` that are told so at their CONNECT; more are closed at the
/// door.
const REFUSED_AT_ONCE: u64 = 64;
/// How often kept sessions and wills are looked at for their time.
const SWEEP: Duration = Duration::from_secs(1);
/// How long the listener rests after the system refused a connection.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Not a loopback address.
    #[error(
        "MQTT on {0} would be open to the network without TLS: bind a loopback address such as \
         127.0.0.1:1883"
    )]
    NotLoopback(SocketAddr),
    /// Not a loopback address, and clients need not say who they are.
    #[error(
        "MQTT over TLS on {0} would let anyone publish for any device: name a client CA, so that \
         devices show certificates, or bind a loopback address such as 127.0.0.1:8883"
    )]
    Nameless(SocketAddr),
    /// A certificate or a key cannot be used.
    #[error("MQTT over TLS: {0}")]
    Tls(#[from] TlsError),
    /// The address cannot be had.
    #[error(
        "MQTT cannot listen on {addr}: {error}; choose another address, or port 0 for any free one"
    )]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The configuration contradicts itself.
    #[error(transparent)]
    Rules(#[from] RuleError),
}

/// What every connection shares.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) rules: Rules,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) shutdown: CancellationToken,
    /// Payload bytes of all connections that wait for the twin.
    pub(crate) waiting_bytes: AtomicUsize,
}

/// A listener whose connections begin with a TLS handshake.
struct TlsListener {
    listener: TcpListener,
    local: SocketAddr,
    acceptor: Acceptor,
    /// Places for handshakes under way.
    handshakes: Arc<Semaphore>,
}

/// An MQTT server, bound and not yet running.
pub struct Server {
    listener: TcpListener,
    local: SocketAddr,
    tls: Option<TlsListener>,
    door: Door,
    entering: mpsc::Receiver<Box<dyn Stream>>,
    shared: Arc<Shared>,
}

/// Lets streams in that another service accepted, such as a WebSocket's: they speak for programs of
/// this machine, so whoever brings one has made sure of that.
#[derive(Clone)]
pub struct Door {
    streams: mpsc::Sender<Box<dyn Stream>>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    /// Hands a stream to the server, which serves it like a connection of its own. Once the server
    /// has stopped, the stream is closed.
    pub async fn enter(&self, stream: impl Stream + 'static) {
        if self.streams.send(Box::new(stream)).await.is_err() {
            tracing::debug!("a stream came when the MQTT server had stopped");
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// Publishes to the server's subscribers: commands for devices.
#[derive(Debug, Clone)]
pub struct Publisher {
    broker: Arc<Broker>,
}

impl Publisher {
    /// Queues a message for everyone who listens now; how many do. A topic with wildcards reaches
    /// no one.
    pub fn publish(&self, topic: &str, payload: Bytes, at_least_once: bool) -> usize {
        if !valid_topic(topic) {
            return 0;
        }
        let message = Message {
            topic: topic.into(),
            payload,
            qos: if at_least_once {
                Qos::AtLeastOnce
            } else {
                Qos::AtMostOnce
            },
            retain: false,
            props: Arc::default(),
            expires: None,
            subscriptions: Vec::new(),
        };
        self.broker.publish(None, &message)
    }
}

impl Server {
    /// Listens on an address; port 0 is any free one.
    pub async fn bind(
        addr: SocketAddr,
        config: Config,
        recorder: Arc<dyn Recorder>,
    ) -> Result<Self, BindError> {
        if !addr.ip().is_loopback() {
            return Err(BindError::NotLoopback(addr));
        }
        let rules = Rules::new(&config.realm, &config.open)?;
        let (listener, local) = listen(addr).await?;
        let tls = match &config.tls {
            Some(tls) => Some(TlsListener::bind(tls, config.limits.max_handshakes).await?),
            None => None,
        };
        let (streams, entering) = mpsc::channel(WAITING_STREAMS);
        let counters = Arc::new(Counters::default());
        let limits = &config.limits;
        let broker = Arc::new(Broker::new(limits, Arc::clone(&counters)));
        let sessions = Sessions::new(
            Arc::clone(&broker),
            Arc::clone(&counters),
            limits.max_sessions,
        );
        let shared = Arc::new(Shared {
            rules,
            recorder,
            broker,
            counters,
            sessions,
            shutdown: CancellationToken::new(),
            waiting_bytes: AtomicUsize::new(0),
            config,
        });
        Ok(Self {
            listener,
            local,
            tls,
            door: Door { streams },
            entering,
            shared,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Where it listens for TLS, if it does.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|tls| tls.local)
    }

    /// Lets streams in that another service accepted.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Its counters.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Publishes to its subscribers.
    pub fn publisher(&self) -> Publisher {
        Publisher {
            broker: Arc::clone(&self.shared.broker),
        }
    }

    /// Serves until `shutdown` is ready, then drains: no new connection, nothing more read, what is
    /// in flight is answered, and each client hears that the server stops.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            listener,
            tls,
            door,
            mut entering,
            shared,
            ..
        } = self;
        let telling = tokio::spawn(tell_desired(&shared));
        let mut connections = Connections {
            rate: Rate::new(shared.config.limits.max_connections_per_sec),
            tasks: JoinSet::new(),
            shared,
        };
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = connections.tasks.join_next(), if !connections.tasks.is_empty() => {
                    report(ended);
                }
                accepted = listener.accept() => {
                    if let Some(stream) = connections.accepted(accepted).await {
                        connections.open(stream);
                    }
                }
                Some(stream) = entering.recv() => connections.open(stream),
                accepted = accept_tls(tls.as_ref()) => {
                    if let (Some(tls), Some(stream)) = (&tls, connections.accepted(accepted).await) {
                        connections.open_tls(tls, stream);
                    }
                }
                _ = sweep.tick() => {
                    let wills = connections.shared.sessions.sweep(Instant::now());
                    connections.leave(wills);
                }
            }
        }
        drop((listener, tls, door, entering));
        connections.drain().await;
        report(telling.await);
    }
}

/// Tells devices what they shall be like whenever that changes, until the server stops.
fn tell_desired(shared: &Arc<Shared>) -> impl Future<Output = ()> + use<> {
    let shutdown = shared.shutdown.clone();
    let broker = Arc::clone(&shared.broker);
    let realm = Arc::clone(&shared.config.realm);
    let changed = shared.recorder.watch_desired(Box::new(move |id| {
        broker.tell_desired(&desired_topic(&realm, id), id);
    }));
    async move {
        tokio::select! {
            () = changed => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// A task that ended otherwise than by its return hit a bug of ours.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task of the MQTT server failed");
    }
}

async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |error| BindError::Listen { addr, error };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, local))
}

/// The next connection that will begin with a handshake; never one where there is no such listener.
async fn accept_tls(tls: Option<&TlsListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match tls {
        Some(tls) => tls.listener.accept().await,
        None => std::future::pending().await,
    }
}

/// The connections of a running server.
struct Connections {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    rate: Rate,
}

impl Connections {
    /// A connection that the system gave; where it refused, that is counted and waited for.
    async fn accepted(&self, accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<TcpStream> {
        match accepted {
            Ok((stream, _)) => {
                // Acknowledgements are small and should not wait for more; a socket that cannot be
                // told so still works.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY is not set");
                }
                Some(stream)
            }
            Err(error) => {
                self.shared.counters.count_accept_error();
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
                None
            }
        }
    }

    /// Takes a place for a connection, if there is one, and says why it will be refused, if so.
    fn place(&mut self) -> Option<(Open, Option<ConnectRefusal>)> {
        let counters = &self.shared.counters;
        let (open, max) = (
            counters.connections(),
            self.shared.config.limits.max_connections as u64,
        );
        let unwelcome = if open >= max + REFUSED_AT_ONCE {
            counters.count_closed(Closed::TooMany);
            return None;
        } else if open >= max {
            Some(ConnectRefusal::TooMany)
        } else if !self.rate.take(now_micros()) {
            Some(ConnectRefusal::TooFast)
        } else {
            None
        };
        Some((Open::new(Arc::clone(counters)), unwelcome))
    }

    fn open<S: Stream + 'static>(&mut self, stream: S) {
        let Some((open, unwelcome)) = self.place() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let connection = Connection::new(stream, Speaker::Local, unwelcome, shared);
        self.tasks.spawn(async move {
            let closed = connection.serve().await;
            open.counters.count_closed(closed);
        });
    }

    fn open_tls(&mut self, tls: &TlsListener, stream: TcpStream) {
        let Some((open, unwelcome)) = self.place() else {
            return;
        };
        // A handshake costs much more than a refusal.
        let permit = Arc::clone(&tls.handshakes).try_acquire_owned();
        let permit = match (unwelcome, permit) {
            (None, Ok(permit)) => permit,
            (Some(ConnectRefusal::TooFast), _) => {
                open.counters.count_closed(Closed::TooFast);
                return;
            }
            _ => {
                open.counters.count_closed(Closed::TooMany);
                return;
            }
        };
        let acceptor = tls.acceptor.clone();
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let within = shared.config.limits.handshake_timeout;
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(within, acceptor.accept(stream)) => shaken,
                () = shared.shutdown.cancelled() => {
                    open.counters.count_closed(Closed::Shutdown);
                    return;
                }
            };
            drop(permit);
            let refused = match shaken {
                Ok(Ok((stream, speaker))) => {
                    let connection = Connection::new(stream, speaker, None, shared);
                    let closed = connection.serve().await;
                    open.counters.count_closed(closed);
                    return;
                }
                Ok(Err(refused)) => refused,
                Err(_elapsed) => "it took longer than handshake_timeout".to_owned(),
            };
            tracing::debug!(refused, "a TLS handshake failed");
            open.counters.count_closed(Closed::Handshake);
        });
    }

    /// Publishes wills of clients that are gone.
    fn leave(&mut self, wills: Vec<(Key, Will)>) {
        for (key, will) in wills {
            self.tasks.spawn(will.leave(key, Arc::clone(&self.shared)));
        }
    }

    /// Waits until everything has ended, and every session's will with it.
    async fn drain(mut self) {
        self.shared.shutdown.cancel();
        let limit = Instant::now() + self.shared.config.limits.drain_timeout;
        self.ended(limit).await;
        let wills = self.shared.sessions.end();
        self.leave(wills);
        self.ended(limit).await;
    }

    async fn ended(&mut self, limit: Instant) {
        let tasks = &mut self.tasks;
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                report(ended);
            }
        };
        if tokio::time::timeout_at(limit, all).await.is_err() {
            let left = self.tasks.len();
            tracing::warn!(left, "connections outlived drain_timeout and are cut");
            self.tasks.shutdown().await;
        }
    }
}

impl TlsListener {
    async fn bind(tls: &Tls, max_handshakes: usize) -> Result<Self, BindError> {
        if tls.client_ca.is_none() && !tls.listen.ip().is_loopback() {
            return Err(BindError::Nameless(tls.listen));
        }
        let acceptor = Acceptor::new(tls)?;
        let (listener, local) = listen(tls.listen).await?;
        Ok(Self {
            listener,
            local,
            acceptor,
            handshakes: Arc::new(Semaphore::new(max_handshakes)),
        })
    }
}

/// Counts a connection as open for as long as it lives, however it ends.
struct Open {
    counters: Arc<Counters>,
}

impl Open {
    fn new(counters: Arc<Counters>) -> Self {
        counters.opened();
        Self { counters }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counters.ended();
    }
}
