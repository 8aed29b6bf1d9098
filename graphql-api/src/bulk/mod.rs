//! `POST /bulk`: operations by the line, each with a result of its own.
//!
//! # Invariants
//! - Every line that is not blank gets exactly one result, in order; then comes a summary. Without
//!   the summary the answer was cut.
//! - A line that is refused changes nothing, and its neighbours are done without it.
//! - A result says `ok` only once its operation is durable and visible.
//! - At most [`MAX_BULK_GROUP_LINES`] lines and about [`MAX_BULK_GROUP_BYTES`] beside one line are
//!   held of what comes, and [`MAX_BULK_CHUNKS_AHEAD`] groups of results of what goes: a client that
//!   does not read stops what it sends.

mod group;
mod lines;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use twin_core::{Receipt, Trial};

use self::lines::{Line, Lines};
use crate::error::{Code, Fault};
use crate::exec::write_json;
use crate::limits::{
    BULK_IDLE, MAX_BULK_CHUNKS_AHEAD, MAX_BULK_GROUP_BYTES, MAX_BULK_GROUP_LINES, MAX_BULK_TIME,
    SEND_PATIENCE,
};
use crate::service::{Service, closes, ended_badly};

fn closed() -> End {
    let message = "the twin closes: send the lines without a result again";
    End::Ended(Fault::new(Code::Unavailable, message))
}

/// One body under way.
#[derive(Debug)]
pub(crate) struct Bulk {
    service: Service,
    body: BodyDataStream,
    lines: Lines,
    results: mpsc::Sender<Bytes>,
    closing: watch::Receiver<bool>,
    patience: Patience,
    deadline: Instant,
    /// Where nothing is to be changed: what the lines so far would have done.
    rehearsal: Option<Box<Trial>>,
    done: u64,
    refused: u64,
    /// Its place among the bodies.
    _place: OwnedSemaphorePermit,
}

/// How long a body is waited for, and its client.
#[derive(Clone, Copy, Debug)]
struct Patience {
    idle: Duration,
    whole: Duration,
    send: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            idle: BULK_IDLE,
            whole: MAX_BULK_TIME,
            send: SEND_PATIENCE,
        }
    }
}

/// Why no more lines come.
enum End {
    /// All were read.
    Whole,
    /// The client is told why, with the results so far.
    Ended(Fault),
    /// Nobody reads the results any more.
    Gone,
}

impl Bulk {
    /// Starts to work on a body; its results come through the channel, a group at a time.
    pub(crate) fn start(
        service: Service,
        body: Body,
        dry_run: bool,
        place: OwnedSemaphorePermit,
    ) -> mpsc::Receiver<Bytes> {
        Self::start_with(service, body, dry_run, place, Patience::default())
    }

    fn start_with(
        service: Service,
        body: Body,
        dry_run: bool,
        place: OwnedSemaphorePermit,
        patience: Patience,
    ) -> mpsc::Receiver<Bytes> {
        let (results, receiver) = mpsc::channel(MAX_BULK_CHUNKS_AHEAD);
        let bulk = Self {
            closing: service.inner.closing.subscribe(),
            rehearsal: dry_run.then(|| Box::new(service.inner.twin.trial())),
            service,
            body: body.into_data_stream(),
            lines: Lines::default(),
            results,
            patience,
            deadline: Instant::now() + patience.whole,
            done: 0,
            refused: 0,
            _place: place,
        };
        tokio::spawn(bulk.run());
        receiver
    }

    async fn run(mut self) {
        loop {
            let (group, mut end) = self.gather().await;
            if !group.is_empty() {
                let (results, stopped) = self.work(group).await;
                end = stopped.map(End::Ended).or(end);
                if !self.send(results).await {
                    return;
                }
            }
            match end {
                None => {}
                Some(End::Gone) => return,
                Some(End::Whole) => return self.summary(None).await,
                Some(End::Ended(fault)) => return self.summary(Some(&fault)).await,
            }
        }
    }

    /// Lines to be done together: as many as are here, up to the limits of a group.
    async fn gather(&mut self) -> (Vec<Line>, Option<End>) {
        let (mut group, mut bytes) = (Vec::new(), 0);
        loop {
            while let Some(line) = self.lines.next() {
                bytes += line.text.as_ref().map_or(0, Vec::len);
                group.push(line);
                if group.len() >= MAX_BULK_GROUP_LINES || bytes >= MAX_BULK_GROUP_BYTES {
                    return (group, None);
                }
            }
            if Instant::now() >= self.deadline {
                return (group, Some(self.late()));
            }
            // A client that never lets us wait would not be told.
            if *self.closing.borrow() {
                return (group, Some(closed()));
            }
            // What is here is done at once: the client may wait for its results.
            let piece = match self.body.next().now_or_never() {
                Some(piece) => piece,
                None if !group.is_empty() => return (group, None),
                None => match self.wait().await {
                    Ok(piece) => piece,
                    Err(end) => return (group, Some(end)),
                },
            };
            match piece {
                Some(Ok(piece)) => self.lines.feed(piece),
                Some(Err(error)) => return (group, Some(self.broken(&error))),
                None => {
                    group.extend(self.lines.last());
                    return (group, Some(End::Whole));
                }
            }
        }
    }

    /// The next piece of the body, or why it is not waited for any longer.
    async fn wait(&mut self) -> Result<Option<Result<Bytes, axum::Error>>, End> {
        let until = self.deadline.min(Instant::now() + self.patience.idle);
        tokio::select! {
            piece = timeout_at(until, self.body.next()) => piece.map_err(|_elapsed| {
                if until == self.deadline {
                    self.late()
                } else {
                    self.unread("nothing came for", self.patience.idle, "BULK_IDLE")
                }
            }),
            () = self.results.closed() => Err(End::Gone),
            () = closes(&mut self.closing) => Err(closed()),
        }
    }

    fn late(&self) -> End {
        self.unread(
            "the body took longer than",
            self.patience.whole,
            "MAX_BULK_TIME",
        )
    }

    /// The rest of the body is not waited for.
    fn unread(&self, what: &str, limit: Duration, name: &str) -> End {
        let begun = self.lines.begun();
        let begun = begun.map_or_else(String::new, |line| format!(", in line {line}"));
        let message = format!(
            "{what} {} s ({name}){begun}: send the lines without a result again",
            limit.as_secs()
        );
        End::Ended(Fault::new(Code::Timeout, message))
    }

    /// The body ended where it should not.
    fn broken(&self, error: &axum::Error) -> End {
        let begun = self.lines.begun();
        let place = begun.map_or_else(
            || "between two lines".to_owned(),
            |line| format!("in line {line}, which was not done"),
        );
        End::Ended(Fault::invalid(format!(
            "the body broke off {place} ({error}): send the lines without a result again"
        )))
    }

    /// Does the lines of a group and writes their results; what is said where no more can be done.
    async fn work(&mut self, group: Vec<Line>) -> (Vec<u8>, Option<Fault>) {
        let numbers: Vec<u64> = group.iter().map(|line| line.number).collect();
        let count = group.len();
        let (service, rehearsal) = (self.service.clone(), self.rehearsal.take());
        // Parsing is work, and so is a rehearsal.
        let parsed = tokio::task::spawn_blocking(move || {
            let parsed = group::parse(&service, group);
            match rehearsal {
                None => (parsed, None, None),
                Some(mut rehearsal) => {
                    let outcomes = group::rehearse(&service, &mut rehearsal, parsed);
                    (Vec::new(), Some(outcomes), Some(rehearsal))
                }
            }
        });
        let (outcomes, stopped) = match parsed.await {
            Ok((_, Some(outcomes), rehearsal)) => {
                self.rehearsal = rehearsal;
                (outcomes, None)
            }
            Ok((parsed, None, _)) => group::commit(&self.service, parsed).await,
            Err(error) => {
                let fault = ended_badly(&error);
                (vec![Some(Err(fault.clone())); count], Some(fault))
            }
        };
        let mut out = Vec::new();
        for (number, outcome) in numbers.into_iter().zip(outcomes) {
            let outcome = outcome.unwrap_or_else(|| {
                let message = "this line was passed over, which is a mistake of the twin";
                Err(Fault::new(Code::Internal, message))
            });
            match &outcome {
                Ok(_) => self.done += 1,
                Err(_) => self.refused += 1,
            }
            write_json(&mut out, &self.result(number, outcome));
            out.push(b'\n');
        }
        (out, stopped)
    }

    fn result(&self, number: u64, outcome: Result<Receipt, Fault>) -> Json {
        let mut result = json!({"line": number, "ok": outcome.is_ok()});
        match outcome {
            Ok(receipt) if self.rehearsal.is_none() => {
                result["position"] = receipt.position.to_string().into();
            }
            Ok(_) => {}
            Err(fault) => {
                result["code"] = fault.code.as_str().into();
                result["message"] = fault.message.into();
                if let Some(suggestion) = fault.suggestion {
                    result["suggestion"] = suggestion.into();
                }
            }
        }
        result
    }

    /// Hands results over; whether the client still takes them.
    async fn send(&mut self, results: Vec<u8>) -> bool {
        let sent = timeout(self.patience.send, self.results.send(results.into())).await;
        matches!(sent, Ok(Ok(())))
    }

    async fn summary(&mut self, ended: Option<&Fault>) {
        let mut summary = json!({
            "lines": self.done + self.refused,
            "done": self.done,
            "refused": self.refused,
            "position": self.service.inner.twin.view().position().to_string(),
        });
        if let Some(fault) = ended {
            summary["ended"] = json!({"code": fault.code.as_str(), "message": fault.message});
        }
        let mut line = Vec::new();
        write_json(&mut line, &json!({ "summary": summary }));
        line.push(b'\n');
        self.send(line).await;
    }
}
