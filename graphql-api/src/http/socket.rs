//! `/graphql/ws`: queries, mutations and subscriptions over one socket, by the protocol
//! graphql-transport-ws.
//!
//! # Invariants
//! - One task a socket. An event is asked of its subscription only once everything before it was
//!   sent, so a client that reads slowly holds its own subscriptions back and nothing else.
//! - An answer keeps its request's place until it was sent or the socket ended, so that answers
//!   which wait for slow clients are bounded, too.
//! - A socket ends with the close code that the protocol names, and with 1001 when the twin closes.

use std::collections::HashMap;
use std::future::pending;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::{AbortHandle, Abortable, Aborted, BoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::guard::refused;
use crate::changes::Changes;
use crate::error::{Code, Fault};
use crate::exec::{self, Answer, write_json};
use crate::limits::{
    CLOSE_PATIENCE, INIT_PATIENCE, MAX_BODY_BYTES, MAX_OPERATION_ID_BYTES,
    MAX_OPERATIONS_PER_SOCKET, MAX_SOCKETS, PING_EVERY, REQUEST_TIMEOUT, SEND_PATIENCE,
};
use crate::service::{Question, Reply, Room, Service, closes, no_room, too_slow};

const PROTOCOL: &str = "graphql-transport-ws";
/// The close code of a message that is too large.
const TOO_LARGE: u16 = 1009;

/// Opens a socket.
pub(super) async fn upgrade(
    State(service): State<Service>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([PROTOCOL]),
        Err(rejection) => return rejection.into_response(),
    };
    if upgrade.selected_protocol().is_none() {
        let message = format!("open the socket with the subprotocol {PROTOCOL}");
        return refused(StatusCode::BAD_REQUEST, &Fault::invalid(message));
    }
    let Ok(place) = service.inner.sockets.clone().try_acquire_owned() else {
        service.inner.metrics.refused();
        let message = format!(
            "{MAX_SOCKETS} sockets are open, and no more are taken (MAX_SOCKETS): close one, or \
             try again later"
        );
        let fault = Fault::new(Code::Unavailable, message);
        return refused(StatusCode::SERVICE_UNAVAILABLE, &fault);
    };
    upgrade
        .max_message_size(MAX_BODY_BYTES)
        .max_frame_size(MAX_BODY_BYTES)
        .on_upgrade(move |socket| serve(socket, service, place))
}

async fn serve(socket: WebSocket, service: Service, place: OwnedSemaphorePermit) {
    let mut session = Session {
        closing: service.inner.closing.subscribe(),
        service,
        socket,
        acknowledged: false,
        heard: true,
        operations: HashMap::new(),
        steps: FuturesUnordered::new(),
    };
    if let Err(End::Close(code, reason)) = session.run().await {
        session.close(code, &reason).await;
    }
    drop(place);
}

/// Why a socket ends.
enum End {
    /// The client is gone.
    Gone,
    /// With a code and a reason that the client is told.
    Close(u16, String),
}

/// What came of waiting for one operation.
enum Step {
    /// With its place among the requests.
    Reply(Reply, Option<Room>),
    /// An event, its failure, or the end.
    Event(Box<Changes>, Option<Result<Vec<u8>, Fault>>),
}

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    ConnectionInit,
    Ping,
    Pong,
    Subscribe { id: String, payload: Payload },
    Complete { id: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    query: String,
    operation_name: Option<String>,
    variables: Option<Map<String, Json>>,
}

struct Session {
    service: Service,
    socket: WebSocket,
    closing: watch::Receiver<bool>,
    acknowledged: bool,
    /// Whether anything was heard since the last ping.
    heard: bool,
    /// What is under way, by the client's ids.
    operations: HashMap<String, AbortHandle>,
    steps: FuturesUnordered<BoxFuture<'static, (String, Result<Step, Aborted>)>>,
}

impl Session {
    async fn run(&mut self) -> Result<(), End> {
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut late = Box::pin(sleep(INIT_PATIENCE));
        let mut closing = self.closing.clone();
        loop {
            tokio::select! {
                biased;
                () = closes(&mut closing) => return Err(twin_closes()),
                () = &mut late, if !self.acknowledged => {
                    return Err(End::Close(4408, "Connection initialisation timeout".to_owned()));
                }
                _ = pings.tick() => {
                    if !std::mem::take(&mut self.heard) {
                        return Err(End::Close(1001, "no answer to a ping".to_owned()));
                    }
                    self.send(Message::Ping(Default::default())).await?;
                }
                message = self.socket.recv() => {
                    let message = message.ok_or(End::Gone)?;
                    self.heard = true;
                    self.take(message.map_err(|error| unreadable(&error))?).await?;
                }
                Some((id, step)) = self.steps.next() => {
                    // What was aborted is no longer asked for.
                    if let Ok(step) = step {
                        self.tell(id, step).await?;
                    }
                }
            }
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), End> {
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(End::Gone),
            Message::Binary(_) => {
                return Err(End::Close(4400, "messages are texts".to_owned()));
            }
        };
        let said: Said = serde_json::from_str(&text)
            .map_err(|error| End::Close(4400, format!("not a message of {PROTOCOL}: {error}")))?;
        match said {
            Said::ConnectionInit if self.acknowledged => Err(End::Close(
                4429,
                "Too many initialisation requests".to_owned(),
            )),
            Said::ConnectionInit => {
                self.acknowledged = true;
                self.say(&json!({"type": "connection_ack"})).await
            }
            Said::Ping => self.say(&json!({"type": "pong"})).await,
            Said::Pong => Ok(()),
            Said::Complete { id } => {
                if let Some(operation) = self.operations.remove(&id) {
                    operation.abort();
                }
                Ok(())
            }
            Said::Subscribe { .. } if !self.acknowledged => {
                Err(End::Close(4401, "Unauthorized".to_owned()))
            }
            Said::Subscribe { id, payload } => self.subscribe(id, payload).await,
        }
    }

    async fn subscribe(&mut self, id: String, payload: Payload) -> Result<(), End> {
        if id.is_empty() || id.len() > MAX_OPERATION_ID_BYTES {
            let reason =
                format!("an id has 1 to {MAX_OPERATION_ID_BYTES} bytes (MAX_OPERATION_ID_BYTES)");
            return Err(End::Close(4400, reason));
        }
        if self.operations.contains_key(&id) {
            return Err(End::Close(
                4409,
                format!("Subscriber for {id} already exists"),
            ));
        }
        if self.operations.len() >= MAX_OPERATIONS_PER_SOCKET {
            let message = format!(
                "{MAX_OPERATIONS_PER_SOCKET} operations are under way on this socket, and no more \
                 are taken (MAX_OPERATIONS_PER_SOCKET): complete one, or open another socket"
            );
            return self.fail(&id, Fault::new(Code::Limited, message)).await;
        }
        let service = self.service.clone();
        let question = Question {
            query: payload.query,
            operation: payload.operation_name,
            variables: payload.variables.unwrap_or_default(),
            ..Question::default()
        };
        self.wait(id, async move {
            let (reply, room) = reply(service, question).await;
            Step::Reply(reply, room)
        });
        Ok(())
    }

    /// Goes on with an operation; what came of it is told by [`Session::tell`].
    fn wait(&mut self, id: String, step: impl Future<Output = Step> + Send + 'static) {
        let (handle, registration) = AbortHandle::new_pair();
        self.operations.insert(id.clone(), handle);
        let step = Abortable::new(step, registration);
        self.steps.push(step.map(|step| (id, step)).boxed());
    }

    async fn tell(&mut self, id: String, step: Step) -> Result<(), End> {
        let changes = match step {
            Step::Reply(Reply::Changes(changes), _) => changes,
            Step::Reply(Reply::Answer(answer), _) if answer.refused => {
                self.operations.remove(&id);
                return self.error(&id, &errors_of(&answer)).await;
            }
            Step::Reply(Reply::Answer(answer), room) => {
                self.next(&id, answer.body).await?;
                drop(room);
                return self.complete(id).await;
            }
            Step::Event(changes, Some(Ok(body))) => {
                self.next(&id, body).await?;
                changes
            }
            Step::Event(_, Some(Err(fault))) => {
                self.operations.remove(&id);
                return self.fail(&id, fault).await;
            }
            Step::Event(_, None) => return self.complete(id).await,
        };
        let mut changes = changes;
        self.wait(id, async move {
            let event = changes.next().await;
            Step::Event(changes, event)
        });
        Ok(())
    }

    async fn next(&mut self, id: &str, body: Vec<u8>) -> Result<(), End> {
        let mut message = Vec::with_capacity(body.len() + id.len() + 40);
        message.extend_from_slice(b"{\"type\":\"next\",\"id\":");
        write_json(&mut message, id);
        message.extend_from_slice(b",\"payload\":");
        message.extend_from_slice(&body);
        // A slow client makes this wait long, and an answer may be large.
        drop(body);
        message.push(b'}');
        let text = Utf8Bytes::try_from(message)
            .map_err(|_not_text| End::Close(1011, "an answer was not a text".to_owned()))?;
        self.send(Message::Text(text)).await
    }

    async fn complete(&mut self, id: String) -> Result<(), End> {
        self.operations.remove(&id);
        self.say(&json!({"type": "complete", "id": id})).await
    }

    async fn fail(&mut self, id: &str, fault: Fault) -> Result<(), End> {
        let position = self.service.inner.twin.view().position();
        let answer = exec::refusal(vec![fault], &position);
        self.error(id, &errors_of(&answer)).await
    }

    async fn error(&mut self, id: &str, errors: &Json) -> Result<(), End> {
        self.say(&json!({"type": "error", "id": id, "payload": errors}))
            .await
    }

    async fn say(&mut self, message: &Json) -> Result<(), End> {
        self.send(Message::Text(message.to_string().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            () = closes(&mut closing) => Err(twin_closes()),
            sent = timeout(SEND_PATIENCE, self.socket.send(message)) => match sent {
                Ok(Ok(())) => {
                    // Who takes a message is there.
                    self.heard = true;
                    Ok(())
                }
                Ok(Err(_)) | Err(_) => Err(End::Gone),
            }
        }
    }

    /// Says goodbye, and waits a little for the client's.
    async fn close(&mut self, code: u16, reason: &str) {
        /// A close frame holds 125 bytes, two of them the code.
        const MAX_REASON_BYTES: usize = 123;
        let mut end = reason.len().min(MAX_REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let reason = reason.get(..end).unwrap_or_default();
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        let goodbye = async {
            if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                while let Some(Ok(_)) = self.socket.recv().await {}
                if code == TOO_LARGE {
                    // The rest of the message is never read, so to end now would reset the
                    // connection, and the client might not learn why.
                    pending::<()>().await;
                }
            }
        };
        // A client that does not answer is cut off.
        drop(timeout(CLOSE_PATIENCE, goodbye).await);
    }
}

fn twin_closes() -> End {
    End::Close(1001, "the twin closes".to_owned())
}

/// Why a socket ends whose messages cannot be read any more.
fn unreadable(error: &axum::Error) -> End {
    let text = error.to_string();
    // The kind of error is of a library that is axum's, not ours.
    if text.contains("Message too long") {
        let reason = format!("a message has more than {MAX_BODY_BYTES} bytes (MAX_BODY_BYTES)");
        return End::Close(TOO_LARGE, reason);
    }
    End::Close(4400, text)
}

/// Answers as `POST /graphql` does: with a place among the requests, and in time. The place is
/// returned, too, for whoever sends the answer.
async fn reply(service: Service, mut question: Question) -> (Reply, Option<Room>) {
    let position = || service.inner.twin.view().position();
    let Some(room) = service.room().await else {
        let answer = exec::refusal(vec![no_room()], &position());
        return (Reply::Answer(answer), None);
    };
    question.room = Some(Room::clone(&room));
    let reply = match timeout(REQUEST_TIMEOUT, service.reply(question)).await {
        Ok(reply) => reply,
        Err(_elapsed) => Reply::Answer(exec::refusal(vec![too_slow()], &position())),
    };
    (reply, Some(room))
}

/// The errors of a refused answer.
fn errors_of(answer: &Answer) -> Json {
    let body: Option<Json> = serde_json::from_slice(&answer.body).ok();
    body.and_then(|mut body| Some(body.get_mut("errors")?.take()))
        .unwrap_or_default()
}
