//! MQTT over WebSocket at `/mqtt`: binary messages as a stream of bytes, whose boundaries mean
//! nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::{Sink as _, Stream as _};
use ingest::Door;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The subprotocol, as the standard names it.
const PROTOCOL: &str = "mqtt";
/// Longest message that is taken, bytes; a longer one ends the connection. It need not hold a whole
/// MQTT packet.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Longest message that is sent, bytes.
const SENT_BYTES: usize = 64 << 10;

/// The route to an MQTT server.
pub(crate) fn route(door: Door) -> Router {
    Router::new().route("/mqtt", get(upgrade)).with_state(door)
}

async fn upgrade(
    State(door): State<Door>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([PROTOCOL]),
        Err(rejection) => return rejection.into_response(),
    };
    if upgrade.selected_protocol().is_none() {
        let message = format!("open the socket with the subprotocol {PROTOCOL}\n");
        return (StatusCode::BAD_REQUEST, message).into_response();
    }
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .on_upgrade(move |socket| async move {
            let unread = Bytes::new();
            door.enter(ByteStream { socket, unread }).await;
        })
}

/// The binary messages of a socket as a stream of bytes.
struct ByteStream {
    socket: WebSocket,
    /// What is left of the message that came last.
    unread: Bytes,
}

impl AsyncRead for ByteStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                // Answered by the socket itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    let error = "MQTT comes in binary messages";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let count = self.unread.len().min(into.remaining());
        into.put_slice(&self.unread.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(io::Error::other)?;
        let count = bytes.len().min(SENT_BYTES);
        let message = Message::Binary(Bytes::copy_from_slice(&bytes[..count]));
        socket.start_send(message).map_err(io::Error::other)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = Pin::new(&mut self.socket);
        socket.poll_flush(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = Pin::new(&mut self.socket);
        socket.poll_close(cx).map_err(io::Error::other)
    }
}
