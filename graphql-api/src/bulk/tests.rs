//! Bodies and clients that are not waited for, with little patience.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::sync::oneshot;

use super::*;
use crate::testing::service;

fn start(service: &Service, body: Body, patience: Patience) -> mpsc::Receiver<Bytes> {
    let place = Arc::clone(&service.inner.bulks);
    let place = place.try_acquire_owned().unwrap();
    Bulk::start_with(service.clone(), body, false, place, patience)
}

/// All results; the last is the summary.
async fn all(mut results: mpsc::Receiver<Bytes>) -> Vec<Json> {
    let mut lines = Vec::new();
    while let Some(chunk) = results.recv().await {
        let text = std::str::from_utf8(&chunk).unwrap();
        lines.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    lines
}

/// Endless lines, and what tells that nobody reads them any more.
fn endless() -> (
    impl Stream<Item = Result<Bytes, Infallible>>,
    oneshot::Receiver<()>,
) {
    let (alive, gone) = oneshot::channel::<()>();
    let lines = stream::unfold((0_u64, alive), |(i, alive)| async move {
        let line = format!("{{\"upsert\": {{\"class\": \"Place\", \"id\": \"p:{i}\"}}}}\n");
        Some((Ok(line.into()), (i + 1, alive)))
    });
    (lines, gone)
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_what_it_sends_and_is_given_up() {
    let service = service().await;
    let (lines, gone) = endless();
    let patience = Patience {
        send: Duration::from_millis(1),
        ..Patience::default()
    };
    let results = start(&service, Body::from_stream(lines), patience);
    gone.await.unwrap_err();
    let done = service.inner.twin.view().len();
    assert!(
        done <= (MAX_BULK_CHUNKS_AHEAD + 1) * MAX_BULK_GROUP_LINES,
        "{done}"
    );
    let told = all(results).await;
    assert_eq!(told.len(), MAX_BULK_CHUNKS_AHEAD * MAX_BULK_GROUP_LINES);
    assert!(told.iter().all(|result| result["ok"] == true));
}

#[tokio::test]
async fn a_client_that_sends_nothing_more_is_told_and_given_up() {
    let service = service().await;
    let begun = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"\n{\"upsert\""))]);
    let body = Body::from_stream(begun.chain(stream::pending()));
    let patience = Patience {
        idle: Duration::from_millis(1),
        ..Patience::default()
    };
    let told = all(start(&service, body, patience)).await;
    let ended = &told[0]["summary"]["ended"];
    assert_eq!(ended["code"], "TIMEOUT");
    let message = ended["message"].as_str().unwrap();
    assert!(message.contains("BULK_IDLE"), "{message}");
    assert!(message.contains("in line 2"), "{message}");
}

#[tokio::test]
async fn a_body_without_an_end_is_given_up() {
    let service = service().await;
    let (lines, _gone) = endless();
    let patience = Patience {
        whole: Duration::from_millis(20),
        ..Patience::default()
    };
    let told = all(start(&service, Body::from_stream(lines), patience)).await;
    let (summary, results) = told.split_last().unwrap();
    let summary = &summary["summary"];
    let message = summary["ended"]["message"].as_str().unwrap();
    assert!(message.contains("MAX_BULK_TIME"), "{message}");
    // What was read until then is done.
    assert_eq!(summary["done"], results.len());
    assert_eq!(service.inner.twin.view().len(), results.len());
}
