//! An MQTT client over TCP that publishes and counts what is acknowledged.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use mqtt_protocol_core::mqtt;
use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{Event, TimerKind, role};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait as _, Packet, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, ConnectReturnCode, MqttError};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{ReplayError, Report, Target};
use crate::socket::read_some;

/// Longest time to wait for an answer of the server.
const PATIENCE: Duration = Duration::from_secs(30);
/// Keep alive that is asked for, seconds.
const KEEP_ALIVE: u16 = 30;
/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 16 << 10;

pub(super) struct Client {
    stream: TcpStream,
    core: mqtt::Connection<role::Client>,
    v5: bool,
    qos: Qos,
    in_flight: usize,
    out: Vec<u8>,
    unread: Vec<u8>,
    /// When each unacknowledged publish was sent.
    waiting: HashMap<u16, Instant>,
    ping: Option<Instant>,
    heard: Instant,
    accepted: bool,
    refused: Option<String>,
    /// What the server said when it took leave.
    goodbye: Option<String>,
    begun: Instant,
    report: Report,
}

impl Client {
    pub(super) async fn connect(target: &Target, client: &str) -> Result<Self, ReplayError> {
        let unreachable = |error| ReplayError::Unreachable {
            addr: target.addr,
            error,
        };
        let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(target.addr));
        let stream = connecting
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let version = if target.v5 {
            Version::V5_0
        } else {
            Version::V3_1_1
        };
        let now = Instant::now();
        let mut this = Self {
            stream,
            core: mqtt::Connection::new(version),
            v5: target.v5,
            qos: if target.at_least_once {
                Qos::AtLeastOnce
            } else {
                Qos::AtMostOnce
            },
            in_flight: usize::from(target.in_flight.max(1)),
            out: Vec::new(),
            unread: Vec::new(),
            waiting: HashMap::new(),
            ping: None,
            heard: now,
            accepted: false,
            refused: None,
            goodbye: None,
            begun: now,
            report: Report::default(),
        };
        let packet = if target.v5 {
            v5_0::Connect::builder()
                .client_id(client)
                .and_then(|builder| builder.clean_start(true).keep_alive(KEEP_ALIVE).build())
                .map(Packet::from)
        } else {
            v3_1_1::Connect::builder()
                .client_id(client)
                .and_then(|builder| builder.clean_session(true).keep_alive(KEEP_ALIVE).build())
                .map(Packet::from)
        };
        this.send(packet)?;
        while !this.accepted {
            this.pump(None).await?;
        }
        this.begun = Instant::now();
        Ok(this)
    }

    /// Counts time from here on.
    pub(super) fn begin(&mut self, now: Instant) {
        self.begun = now;
        self.heard = now;
    }

    /// Publishes once there is room among what waits.
    pub(super) async fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        readings: u64,
    ) -> Result<(), ReplayError> {
        while !self.has_room() {
            self.pump(None).await?;
        }
        let packet_id = match self.qos {
            Qos::AtMostOnce => None,
            _ => Some(self.core.acquire_packet_id().map_err(protocol)?),
        };
        let packet = if self.v5 {
            v5_0::Publish::builder()
                .topic_name(topic)
                .and_then(|builder| {
                    let builder = builder.qos(self.qos).payload(payload).packet_id(packet_id);
                    builder.build().map(Packet::from)
                })
        } else {
            v3_1_1::Publish::builder()
                .topic_name(topic)
                .and_then(|builder| {
                    let builder = builder.qos(self.qos).payload(payload).packet_id(packet_id);
                    builder.build().map(Packet::from)
                })
        };
        self.send(packet)?;
        self.report.sent += 1;
        self.report.readings += readings;
        if let Some(packet_id) = packet_id {
            self.waiting.insert(packet_id, Instant::now());
        }
        if self.out.len() >= WRITE_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        let theirs = self.core.get_receive_maximum_vacancy_for_send();
        let acknowledged = self.qos == Qos::AtMostOnce
            || (self.waiting.len() < self.in_flight && theirs.is_none_or(|vacancy| vacancy > 0));
        acknowledged && self.out.len() < 2 * WRITE_BYTES
    }

    /// Serves the connection until an instant.
    pub(super) async fn wait_until(&mut self, due: Instant) -> Result<(), ReplayError> {
        while Instant::now() < due {
            self.pump(Some(due)).await?;
        }
        Ok(())
    }

    /// Waits for what is not acknowledged, takes leave and reports.
    pub(super) async fn finish(mut self) -> Result<Report, ReplayError> {
        while !self.waiting.is_empty() || !self.out.is_empty() {
            self.pump(None).await?;
        }
        self.report.elapsed = self.begun.elapsed();
        let packet = if self.v5 {
            v5_0::Disconnect::builder().build().map(Packet::from)
        } else {
            v3_1_1::Disconnect::builder().build().map(Packet::from)
        };
        self.send(packet)?;
        // The server closes once it has taken everything, QoS 0 too; its own trouble with the
        // goodbye changes nothing of what was acknowledged.
        let Self {
            mut stream,
            out,
            report,
            ..
        } = self;
        let goodbye = async {
            stream.write_all(&out).await?;
            stream.shutdown().await?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
        };
        match tokio::time::timeout(PATIENCE, goodbye).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the server was gone before the goodbye"),
            Err(_) => return Err(ReplayError::Silent(PATIENCE)),
        }
        Ok(report)
    }

    /// Moves bytes once: until something happened, the keep alive is due, or `until`.
    async fn pump(&mut self, until: Option<Instant>) -> Result<(), ReplayError> {
        let wrote = !self.out.is_empty();
        self.write()?;
        let now = Instant::now();
        if wrote && self.out.is_empty() && self.waiting.is_empty() && self.accepted {
            // That was something, and nothing will answer it.
            return Ok(());
        }
        let answers = !self.waiting.is_empty() || !self.accepted || !self.out.is_empty();
        if !answers {
            self.heard = now;
        }
        let patience = answers.then_some(self.heard + PATIENCE);
        let wake = [until, self.ping, patience].into_iter().flatten().min();
        let wake = wake.unwrap_or(now + PATIENCE);
        let writes = !self.out.is_empty();
        let (mut reader, writer) = self.stream.split();
        tokio::select! {
            read = read_some(&mut reader, &mut self.unread) => match read {
                Ok(0) => return Err(self.end_of_stream()),
                Ok(_) => self.take()?,
                Err(error) => return Err(self.gone(error.to_string())),
            },
            ready = writer.writable(), if writes => {
                ready.map_err(|error| self.gone(error.to_string()))?;
            }
            () = tokio::time::sleep_until(wake) => {
                let now = Instant::now();
                if patience.is_some_and(|due| now >= due) {
                    return Err(ReplayError::Silent(PATIENCE));
                }
                if self.ping.is_some_and(|due| now >= due) {
                    self.ping = None;
                    let events = self.core.notify_timer_fired(TimerKind::PingreqSend);
                    self.act(events)?;
                }
            }
        }
        Ok(())
    }

    fn end_of_stream(&mut self) -> ReplayError {
        match self.refused.take() {
            Some(refused) => ReplayError::Refused(refused),
            None => self.ended(self.goodbye.clone()),
        }
    }

    fn take(&mut self) -> Result<(), ReplayError> {
        self.heard = Instant::now();
        let bytes = std::mem::take(&mut self.unread);
        let mut cursor = Cursor::new(&bytes[..]);
        while (cursor.position() as usize) < bytes.len() {
            let events = self.core.recv(&mut cursor);
            self.act(events)?;
        }
        match self.refused.take() {
            Some(refused) => Err(ReplayError::Refused(refused)),
            None => Ok(()),
        }
    }

    fn write(&mut self) -> Result<(), ReplayError> {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(wrote) => drop(self.out.drain(..wrote)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.gone(error.to_string())),
            }
        }
        Ok(())
    }

    fn send(&mut self, packet: Result<Packet, MqttError>) -> Result<(), ReplayError> {
        let events = self.core.send(packet.map_err(protocol)?);
        self.act(events)
    }

    fn act(&mut self, events: Vec<Event>) -> Result<(), ReplayError> {
        for event in events {
            match event {
                Event::NotifyPacketReceived(packet) => self.receive(&packet),
                Event::RequestSendPacket { packet, .. } => {
                    self.out.extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::RequestTimerReset {
                    kind: TimerKind::PingreqSend,
                    duration_ms,
                } => {
                    self.ping = Some(Instant::now() + Duration::from_millis(duration_ms));
                }
                Event::RequestTimerCancel(TimerKind::PingreqSend) => self.ping = None,
                Event::NotifyError(error) => return Err(protocol(error)),
                // The server closes too; the end of the stream says so.
                Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_)
                | Event::NotifyPacketIdReleased(_)
                | Event::RequestClose => {}
            }
        }
        Ok(())
    }

    fn receive(&mut self, packet: &Packet) {
        match packet {
            Packet::V3_1_1Connack(connack) => match connack.return_code() {
                ConnectReturnCode::Accepted => self.accepted = true,
                code => self.refused = Some(code.to_string()),
            },
            Packet::V5_0Connack(connack) => match connack.reason_code() {
                ConnectReasonCode::Success => self.accepted = true,
                code => self.refused = Some(code.to_string()),
            },
            Packet::V3_1_1Puback(puback) => self.acknowledged(puback.packet_id(), true),
            Packet::V5_0Puback(puback) => {
                let done = puback.reason_code().is_none_or(|code| code.is_success());
                self.acknowledged(puback.packet_id(), done);
            }
            Packet::V5_0Disconnect(disconnect) => {
                self.goodbye = disconnect.reason_code().map(|code| code.to_string());
            }
            _ => {}
        }
    }

    fn acknowledged(&mut self, packet_id: u16, done: bool) {
        let Some(sent) = self.waiting.remove(&packet_id) else {
            return;
        };
        if done {
            self.report.acknowledged += 1;
        } else {
            self.report.failed += 1;
        }
        let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.report.latency.add(micros);
    }

    fn gone(&self, reason: String) -> ReplayError {
        self.ended(Some(reason))
    }

    fn ended(&self, reason: Option<String>) -> ReplayError {
        let Report {
            sent, acknowledged, ..
        } = self.report;
        ReplayError::Closed {
            sent,
            acknowledged,
            reason,
        }
    }
}

fn protocol(error: MqttError) -> ReplayError {
    ReplayError::Protocol(format!("{error:?}"))
}
