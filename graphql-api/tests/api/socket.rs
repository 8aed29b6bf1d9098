//! A client of graphql-transport-ws, frame by frame, on a real connection.

use std::fmt::Write as _;
use std::future::IntoFuture as _;
use std::net::SocketAddr;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::world::World;

/// Serves a world on a free port.
pub(crate) async fn listen(world: &World) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = graphql_api::router(world.service.clone()).into_make_service();
    tokio::spawn(axum::serve(listener, app).into_future());
    address
}

/// What a server sends.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Said(Json),
    Ping,
    Closed(u16),
}

pub(crate) struct Socket {
    stream: TcpStream,
    /// Why the server closed it.
    pub(crate) reason: String,
}

impl Socket {
    /// Opens a socket; the head of the answer if it is refused.
    pub(crate) async fn open(
        address: SocketAddr,
        headers: &[(&str, &str)],
    ) -> Result<Self, String> {
        // A small window, so that a client that does not read is noticed soon.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let mut head = "GET /graphql/ws HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            .to_owned();
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        if answer.starts_with("HTTP/1.1 101") {
            assert!(answer.contains("sec-websocket-protocol: graphql-transport-ws"));
            let reason = String::new();
            Ok(Self { stream, reason })
        } else {
            Err(answer)
        }
    }

    /// A socket that is ready for operations.
    pub(crate) async fn ready(address: SocketAddr) -> Self {
        let mut socket = Self::new(address).await;
        socket.say(json!({"type": "connection_init"})).await;
        assert_eq!(socket.said().await, json!({"type": "connection_ack"}));
        socket
    }

    pub(crate) async fn new(address: SocketAddr) -> Self {
        let headers = [
            ("host", "localhost"),
            ("sec-websocket-protocol", "graphql-transport-ws"),
        ];
        Self::open(address, &headers).await.unwrap()
    }

    pub(crate) async fn say(&mut self, message: Json) {
        self.frame(1, message.to_string().as_bytes()).await;
    }

    /// Sends a frame, masked with zeros.
    pub(crate) async fn frame(&mut self, kind: u8, bytes: &[u8]) {
        let mut frame = vec![0x80 | kind];
        match bytes.len() {
            short @ ..126 => frame.push(0x80 | short as u8),
            long => {
                frame.push(0xfe); // Masked, and two bytes of length follow.
                frame.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(bytes);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Begins a text of so many bytes.
    pub(crate) async fn announce(&mut self, length: usize) {
        let mut frame = vec![0x81, 0xff]; // Masked, and eight bytes of length follow.
        frame.extend_from_slice(&(length as u64).to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        self.stream.write_all(&frame).await.unwrap();
    }

    pub(crate) async fn subscribe(&mut self, id: &str, query: &str, variables: Json) {
        let payload = json!({"query": query, "variables": variables});
        self.say(json!({"type": "subscribe", "id": id, "payload": payload}))
            .await;
    }

    pub(crate) async fn heard(&mut self) -> Heard {
        let kind = self.stream.read_u8().await.unwrap() & 0x0f;
        let length = match self.stream.read_u8().await.unwrap() {
            126 => u64::from(self.stream.read_u16().await.unwrap()),
            127 => self.stream.read_u64().await.unwrap(),
            short => u64::from(short),
        };
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut bytes).await.unwrap();
        match kind {
            1 => Heard::Said(serde_json::from_slice(&bytes).unwrap()),
            8 => {
                self.reason = String::from_utf8(bytes.split_off(2)).unwrap();
                Heard::Closed(u16::from_be_bytes([bytes[0], bytes[1]]))
            }
            9 => Heard::Ping,
            other => panic!("a frame of kind {other}"),
        }
    }

    pub(crate) async fn said(&mut self) -> Json {
        match self.heard().await {
            Heard::Said(message) => message,
            other => panic!("expected a message, not {other:?}"),
        }
    }

    /// The next event of an operation.
    pub(crate) async fn event(&mut self, id: &str) -> Json {
        let mut message = self.said().await;
        assert_eq!(message["type"], "next", "{message:#}");
        assert_eq!(message["id"], id, "{message:#}");
        let payload = message["payload"].take();
        assert!(payload.get("errors").is_none(), "{payload:#}");
        payload["data"]["changes"].clone()
    }
}
