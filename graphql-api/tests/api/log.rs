//! `GET /log`, line by line.

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, Response, StatusCode};
use futures_util::StreamExt as _;
use graphql_api::limits::{MAX_LOG_CHUNK_BYTES, MAX_LOG_READERS};
use serde_json::{Value as Json, json};
use twin_core::{Operation, Principal, Reading, Readings};

use crate::http::{metrics, send, text};
use crate::socket::{Socket, listen};
use crate::world::{World, id, put, relate};

async fn get(world: &World, query: &str) -> Response<Body> {
    let request = Request::get(format!("/log{query}"))
        .header("host", "localhost")
        .body(Body::empty());
    send(world, request.unwrap()).await
}

fn parsed(lines: &str) -> Vec<Json> {
    let lines = lines.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Everything after a position, up to now.
async fn log(world: &World, after: &str) -> Vec<Json> {
    let response = get(world, &format!("?until=now{after}")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let content = response.headers()["content-type"].to_str().unwrap();
    assert!(content.starts_with("application/x-ndjson"), "{content}");
    let all = text(response).await;
    assert!(all.is_empty() || all.ends_with('\n'), "{all}");
    parsed(&all)
}

async fn error(world: &World, query: &str) -> (StatusCode, String, String) {
    let response = get(world, query).await;
    let status = response.status();
    let body: Json = serde_json::from_str(&text(response).await).unwrap();
    let error = &body["errors"][0];
    let word = |json: &Json| json.as_str().unwrap().to_owned();
    (
        status,
        word(&error["extensions"]["code"]),
        word(&error["message"]),
    )
}

/// Every kind of change.
async fn change_everything(world: &World) {
    let clinic = |set: Json| {
        let point = json!({"type": "Point", "coordinates": [30, -2]});
        Operation::Upsert(put("n:1", "Clinic", set, Some(point)))
    };
    world
        .commit(vec![
            clinic(json!({"name": "New \"A\"", "beds": 1, "budget": "9007199254740993"})),
            clinic(json!({"beds": 2, "address": {"street": "KN 4", "number": 8}})),
            relate("n:1", "serves", "v:1"),
            Operation::Relate {
                source: id("n:1"),
                name: "serves".into(),
                target: id("v:1"),
                set: vec![("share".into(), Some(ontology::Value::Double(0.75)))],
                expect: None,
                replace: false,
            },
        ])
        .await;
    let reading = |ts, value| Reading {
        twin: id("s:1"),
        telemetry: "heat".into(),
        ts: Some(ts),
        value: ontology::Value::Double(value),
    };
    let readings = Readings {
        principal: Principal::device(&id("s:1")),
        readings: vec![
            reading(1_700_000_100_000_000, 1.5),
            reading(1_700_000_200_000_000, -0.25),
        ],
    };
    world.twin.record(readings).await.unwrap();
    let deleted = Operation::Delete {
        id: id("n:1"),
        expect: None,
        detach: true,
    };
    world.commit(vec![deleted]).await;
}

const CHANGES: &str = "subscription S($after: String) { changes(after: $after) {
    position kind at principal id class
    before { id class revision geometry ... on Clinic { name synthetic beds rating budget opened tags level address { street number } }
             ... on Area { name synthetic population } ... on Village { name synthetic population } ... on Station { name synthetic } }
    after { id class revision geometry ... on Clinic { name synthetic beds rating budget opened tags level address { street number } }
            ... on Area { name synthetic population } ... on Village { name synthetic population } ... on Station { name synthetic } }
    relationship { name source target properties before }
    reading { telemetry value unit ts } } }";

/// A JSON value without members that are null.
fn without_nulls(json: Json) -> Json {
    match json {
        Json::Object(members) => {
            let members = members.into_iter().filter(|(_, member)| !member.is_null());
            Json::Object(
                members
                    .map(|(name, member)| (name, without_nulls(member)))
                    .collect(),
            )
        }
        other => other,
    }
}

#[tokio::test]
async fn a_line_says_what_the_subscription_says() {
    let world = World::small().await;
    change_everything(&world).await;
    let lines = log(&world, "").await;
    let kinds: std::collections::BTreeSet<_> = lines
        .iter()
        .map(|line| line["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    let mut socket = Socket::ready(listen(&world).await).await;
    socket
        .subscribe("s", CHANGES, json!({"after": "main:0"}))
        .await;
    for line in &lines {
        assert_eq!(*line, without_nulls(socket.event("s").await));
    }
    let last = lines.last().unwrap();
    assert_eq!(last["position"], world.twin.view().position().to_string());
}

#[tokio::test]
async fn every_position_resumes_right_after_itself() {
    let world = World::small().await;
    change_everything(&world).await;
    let lines = log(&world, "").await;
    for (i, line) in lines.iter().enumerate() {
        let after = format!("&after={}", line["position"].as_str().unwrap());
        assert_eq!(log(&world, &after).await, lines[i + 1..]);
    }
}

/// The next line that is not blank.
async fn next(body: &mut BodyDataStream) -> Json {
    loop {
        let chunk = body.next().await.unwrap().unwrap();
        let mut lines = parsed(std::str::from_utf8(&chunk).unwrap());
        if let Some(line) = lines.pop() {
            return line;
        }
    }
}

#[tokio::test]
async fn it_goes_on_with_what_happens() {
    let world = World::small().await;
    let after = world.twin.view().position();
    let response = get(&world, &format!("?after={after}")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body().into_data_stream();
    for beds in [1, 2] {
        let clinic = Operation::Upsert(put("n:1", "Clinic", json!({"beds": beds}), None));
        world.commit(vec![clinic]).await;
        let line = next(&mut body).await;
        assert_eq!(line["position"], world.twin.view().position().to_string());
        assert_eq!(line["after"]["beds"], beds);
    }
}

#[tokio::test]
async fn what_is_larger_than_a_chunk_comes_in_several() {
    let world = World::empty().await;
    let name = "n".repeat(1_000);
    for part in 0..3 {
        let clinics = (0..200).map(|i| {
            let id = format!("c:{part}:{i}");
            Operation::Upsert(put(&id, "Clinic", json!({"name": name}), None))
        });
        world.commit(clinics.collect()).await;
    }
    let response = get(&world, "?until=now").await;
    let mut body = response.into_body().into_data_stream();
    let (mut chunks, mut lines) = (0, Vec::new());
    while let Some(chunk) = body.next().await {
        let chunk = chunk.unwrap();
        assert!(chunk.len() < MAX_LOG_CHUNK_BYTES + 2_000, "{}", chunk.len());
        lines.extend(parsed(std::str::from_utf8(&chunk).unwrap()));
        chunks += 1;
    }
    assert!(chunks > 1);
    let offsets: Vec<_> = lines
        .iter()
        .map(|line| line["position"].as_str().unwrap())
        .collect();
    let expected: Vec<_> = (1..=600).map(|offset| format!("main:{offset}")).collect();
    assert_eq!(offsets, expected);
    assert!(metrics(&world).await.contains("twin_log_lines_total 600\n"));
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_before_anything_is_told() {
    let world = World::small().await;
    for (query, code, part) in [
        ("?after=here", "INVALID_INPUT", "after"),
        ("?after=main:99999", "INVALID_INPUT", "ahead"),
        ("?until=then", "INVALID_INPUT", "until=now"),
        ("?from=main:1", "INVALID_INPUT", "after=POSITION"),
    ] {
        let (status, refused, message) = error(&world, query).await;
        assert_eq!(
            (status, &*refused),
            (StatusCode::BAD_REQUEST, code),
            "{query}"
        );
        assert!(message.contains(part), "{query}: {message}");
    }
    let last = world.twin.view().position().offset("main");
    for (foreign, status, word) in [
        (None, StatusCode::GONE, "GAP"),
        (Some("class `Clinic`"), StatusCode::CONFLICT, "RESET"),
    ] {
        let world = World::over(world.store.clone()).await;
        world.store.forget(5, foreign);
        let (refused, _, message) = error(&world, "?after=main:1").await;
        assert_eq!(refused, status);
        assert!(message.starts_with(word), "{message}");
        if foreign.is_none() {
            assert!(message.contains("offset 5"), "{message}");
            assert_eq!(error(&world, "").await.0, status, "so is the beginning");
            let kept = log(&world, "&after=main:5").await;
            assert_eq!(kept.len() as u64, last - 5);
        }
    }
}

#[tokio::test]
async fn retention_that_passes_a_reader_on_its_way_ends_it_with_a_last_line() {
    let before = World::empty().await;
    let name = "n".repeat(1_000);
    for part in 0..15 {
        let clinics = (0..200).map(|i| {
            let id = format!("c:{part}:{i}");
            Operation::Upsert(put(&id, "Clinic", json!({"name": name}), None))
        });
        before.commit(clinics.collect()).await;
    }
    // What a twin wrote itself it has in memory, so another one has to ask the store.
    let world = World::over(before.store.clone()).await;
    let response = get(&world, "").await;
    let mut body = response.into_body().into_data_stream();
    let mut lines = String::new();
    while let Some(chunk) = body.next().await {
        lines.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        world.store.forget(2_999, None);
    }
    let lines = parsed(&lines);
    let (gap, told) = lines.split_last().unwrap();
    let position = &told.last().unwrap()["position"];
    assert!(told.len() < 2_999);
    assert_eq!((&gap["kind"], &gap["position"]), (&json!("GAP"), position));
    assert!(gap["message"].as_str().unwrap().contains("2999"), "{gap}");
}

#[tokio::test]
async fn only_so_many_may_read_at_once() {
    let world = World::small().await;
    let mut readers = Vec::new();
    for _ in 0..MAX_LOG_READERS {
        readers.push(get(&world, "").await);
    }
    let taken = format!("twin_log_readers {MAX_LOG_READERS}\n");
    assert!(metrics(&world).await.contains(&taken));
    let (status, code, message) = error(&world, "").await;
    assert_eq!(
        (status, &*code),
        (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE")
    );
    assert!(message.contains("MAX_LOG_READERS"), "{message}");
    // Whoever goes makes room.
    readers.clear();
    while !metrics(&world).await.contains("twin_log_readers 0\n") {
        tokio::task::yield_now().await;
    }
    assert!(!log(&world, "").await.is_empty());
}

#[tokio::test]
async fn only_what_comes_to_an_end_is_compressed() {
    let world = World::small().await;
    for (query, encoding) in [("?until=now", Some("gzip")), ("", None)] {
        let request = Request::get(format!("/log{query}"))
            .header("host", "localhost")
            .header("accept-encoding", "gzip")
            .body(Body::empty());
        let response = send(&world, request.unwrap()).await;
        let given = response.headers().get("content-encoding");
        assert_eq!(
            given.map(|given| given.to_str().unwrap()),
            encoding,
            "{query}"
        );
    }
}
