//! Readers that do not read, and those to whom nothing is told, with little patience.

use twin_core::{Commit, Operation, Principal, Put, TwinId};

use super::*;
use crate::testing::service;

async fn places(service: &Service, from: usize, count: usize) {
    let put = |number: usize| {
        Operation::Upsert(Put {
            id: TwinId::new(&format!("p:{number}")).unwrap(),
            class: "Place".into(),
            set: Vec::new(),
            geometry: None,
            expect: None,
        })
    };
    let commit = Commit {
        principal: Principal::system("test"),
        idempotency: None,
        operations: (from..from + count).map(put).collect(),
    };
    service.inner.twin.commit(commit).await.unwrap();
}

async fn start(service: &Service, finite: bool, patience: Patience) -> mpsc::Receiver<Piece> {
    let place = Arc::clone(&service.inner.log_readers);
    let place = place.try_acquire_owned().unwrap();
    let all = Position::default();
    let log = Log::start_with(service.clone(), &all, finite, place, patience);
    log.await.unwrap()
}

fn lines(piece: Option<Piece>) -> Bytes {
    match piece {
        Some(Piece::Lines(lines)) => lines,
        other => panic!("no lines: {other:?}"),
    }
}

fn ended(service: &Service) -> bool {
    let metrics = service.inner.metrics.text().unwrap();
    metrics.contains("twin_log_readers_ended_total 1\n") && metrics.contains("twin_log_readers 0\n")
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_ended_and_counted_and_its_body_breaks_off() {
    let service = service().await;
    // Three chunks: one is being sent, one waits, and for one there is no room.
    let lines_a_chunk = MAX_LOG_CHUNK_BYTES / 100;
    for part in 0..3 {
        places(&service, part * lines_a_chunk, lines_a_chunk).await;
    }
    let patience = Patience {
        send: Duration::from_millis(1),
        ..Patience::default()
    };
    let mut pieces = start(&service, true, patience).await;
    // Its place comes free when it was ended.
    let readers = &service.inner.log_readers;
    let all = crate::limits::MAX_LOG_READERS as u32;
    drop(readers.acquire_many(all).await.unwrap());
    assert!(ended(&service));
    let chunk = lines(pieces.recv().await);
    assert!(chunk.len() < MAX_LOG_CHUNK_BYTES + 1_000, "{}", chunk.len());
    assert!(chunk.ends_with(b"\n"));
    assert!(pieces.recv().await.is_none(), "no end that looks like one");
}

#[tokio::test]
async fn whoever_waits_gets_blank_lines_and_then_what_happens() {
    let service = service().await;
    places(&service, 0, 1).await;
    let patience = Patience {
        keep_alive: Duration::from_millis(1),
        ..Patience::default()
    };
    let mut pieces = start(&service, false, patience).await;
    assert!(lines(pieces.recv().await).starts_with(b"{\"position\":\"main:1\","));
    assert_eq!(lines(pieces.recv().await), b"\n"[..]);
    places(&service, 1, 1).await;
    let told = loop {
        let told = lines(pieces.recv().await);
        if told != b"\n"[..] {
            break told;
        }
    };
    assert!(told.starts_with(b"{\"position\":\"main:2\","));
}

#[tokio::test]
async fn a_twin_that_closes_cuts_its_readers() {
    let service = service().await;
    let mut pieces = start(&service, false, Patience::default()).await;
    service.close().await;
    assert!(pieces.recv().await.is_none());
}
