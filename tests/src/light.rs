//! Clients that cost next to nothing, for tests with a thousand of them: a device over MQTT 3.1.1 and
//! a subscription over graphql-transport-ws. Foreign clients prove the protocols; these only make
//! load and count.

use std::{
    io::{self, BufReader, Error, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

/// What comes, comes within this time, on a busy machine too.
const WITHIN: Duration = Duration::from_mins(2);
/// Largest answer to the request for a socket.
const HEAD_MAX_BYTES: usize = 8 << 10;
/// Largest frame that a test reads.
const FRAME_MAX_BYTES: u64 = 16 << 20;

fn wrong(what: impl Into<String>) -> Error {
    Error::other(what.into())
}

/// A connection of one device that publishes its readings, `QoS` 1.
#[derive(Debug)]
pub struct Device {
    stream: TcpStream,
    topic: String,
    packet: u16,
}

impl Device {
    /// Connects the device of an id, with a clean session and no keep alive.
    pub fn connect(mqtt: &str, id: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(mqtt)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WITHIN))?;
        let mut body = b"\x00\x04MQTT\x04\x02\x00\x00".to_vec();
        text(&mut body, id);
        stream.write_all(&packet(0x10, &body))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        if answer != [0x20, 2, 0, 0] {
            return Err(wrong(format!("{id} is refused: {answer:?}")));
        }
        Ok(Self {
            stream,
            topic: format!("twin/rw/{id}/telemetry"),
            packet: 0,
        })
    }

    /// Sends a payload without waiting; answers its packet id.
    pub fn send(&mut self, payload: &str) -> io::Result<u16> {
        self.packet = self.packet.checked_add(1).unwrap_or(1);
        let mut body = Vec::with_capacity(self.topic.len() + payload.len() + 4);
        text(&mut body, &self.topic);
        body.extend(self.packet.to_be_bytes());
        body.extend(payload.bytes());
        self.stream.write_all(&packet(0x32, &body))?;
        Ok(self.packet)
    }

    /// The packet id of the next acknowledgement.
    pub fn acknowledged(&mut self) -> io::Result<u16> {
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer)?;
        match answer {
            [0x40, 2, high, low] => Ok(u16::from_be_bytes([high, low])),
            other => Err(wrong(format!("no acknowledgement: {other:?}"))),
        }
    }

    /// Sends a payload and waits until it is acknowledged.
    pub fn publish(&mut self, payload: &str) -> io::Result<()> {
        let sent = self.send(payload)?;
        match self.acknowledged()? {
            id if id == sent => Ok(()),
            id => Err(wrong(format!("{id} is acknowledged, not {sent}"))),
        }
    }

    /// The same connection for a thread that reads acknowledgements.
    pub fn other_half(&self) -> io::Result<Self> {
        Ok(Self {
            stream: self.stream.try_clone()?,
            topic: self.topic.clone(),
            packet: 0,
        })
    }
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as u16).to_be_bytes());
    body.extend(text.bytes());
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut left = body.len();
    loop {
        let (low, rest) = ((left % 128) as u8, left / 128);
        packet.push(if rest > 0 { low | 0x80 } else { low });
        left = rest;
        if rest == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// A subscription on a socket of its own.
#[derive(Debug)]
pub struct Subscription {
    stream: BufReader<TcpStream>,
}

impl Subscription {
    /// Subscribes at this address.
    pub fn open(http: &str, query: &str, variables: &Value) -> io::Result<Self> {
        let mut stream = TcpStream::connect(http)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WITHIN))?;
        write!(
            stream,
            "GET /graphql/ws HTTP/1.1\r\nHost: {http}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
        )?;
        let mut subscription = Self {
            stream: BufReader::new(stream),
        };
        subscription.head()?;
        subscription.say(&json!({ "type": "connection_init" }))?;
        let first = subscription.message()?;
        if first["type"] != "connection_ack" {
            return Err(wrong(format!("not acknowledged: {first}")));
        }
        let payload = json!({ "query": query, "variables": variables });
        subscription.say(&json!({ "id": "1", "type": "subscribe", "payload": payload }))?;
        Ok(subscription)
    }

    /// The data of the next event.
    pub fn heard(&mut self) -> io::Result<Value> {
        loop {
            let mut message = self.message()?;
            match message["type"].as_str() {
                Some("next") if message["payload"]["errors"].is_null() => {
                    return Ok(message["payload"]["data"].take());
                }
                Some("ping") => self.say(&json!({ "type": "pong" }))?,
                Some("pong") => {}
                _ => return Err(wrong(format!("it ended: {message}"))),
            }
        }
    }

    fn head(&mut self) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            head.extend(byte);
            if head.len() > HEAD_MAX_BYTES {
                return Err(wrong("an endless answer"));
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if head.starts_with("HTTP/1.1 101 ") {
            return Ok(());
        }
        Err(wrong(format!("no socket: {head}")))
    }

    fn say(&mut self, message: &Value) -> io::Result<()> {
        self.frame(0x81, message.to_string().as_bytes())
    }

    /// A frame of a client is masked; the mask may be zero.
    fn frame(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut frame = vec![kind];
        match body.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            long => {
                frame.push(0xfe);
                frame.extend((long as u16).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(body);
        self.stream.get_mut().write_all(&frame)
    }

    fn message(&mut self) -> io::Result<Value> {
        let mut whole = Vec::new();
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head)?;
            let mut extended = [0; 8];
            let length = match head[1] & 0x7f {
                126 => {
                    self.stream.read_exact(&mut extended[6..])?;
                    u64::from_be_bytes(extended)
                }
                127 => {
                    self.stream.read_exact(&mut extended)?;
                    u64::from_be_bytes(extended)
                }
                short => u64::from(short),
            };
            if length > FRAME_MAX_BYTES {
                return Err(wrong(format!("a frame of {length} bytes")));
            }
            let mut body = vec![0; length as usize];
            self.stream.read_exact(&mut body)?;
            match head[0] & 0x0f {
                0x0 | 0x1 => {
                    whole.extend(body);
                    if head[0] & 0x80 > 0 {
                        return serde_json::from_slice(&whole).map_err(Error::other);
                    }
                }
                0x9 => self.frame(0x8a, &body)?,
                0xa => {}
                _ => return Err(wrong(format!("closed: {}", String::from_utf8_lossy(&body)))),
            }
        }
    }
}
