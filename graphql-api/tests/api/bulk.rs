//! `POST /bulk`, line by line.

use std::convert::Infallible;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{Request, Response, StatusCode};
use futures_util::{StreamExt as _, stream};
use graphql_api::limits::{MAX_BULK_GROUP_LINES, MAX_BULK_LINE_BYTES, MAX_BULKS};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use twin_core::memory::Fault;

use crate::http::{metrics, send, text};
use crate::socket::listen;
use crate::world::{World, area, relate};

fn to(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header("host", "localhost")
        .body(body.into())
        .unwrap()
}

/// Results of a body, its summary last.
async fn bulk(world: &World, body: impl Into<Body>) -> Vec<Json> {
    let response = send(world, to("/bulk", body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let content = response.headers()["content-type"].to_str().unwrap();
    assert!(content.starts_with("application/x-ndjson"), "{content}");
    parsed(&text(response).await)
}

fn parsed(lines: &str) -> Vec<Json> {
    assert!(lines.ends_with('\n'), "{lines}");
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers write `json!` in place"
)]
fn upsert(id: &str, set: Json) -> String {
    json!({"upsert": {"class": "Clinic", "id": id, "set": set}}).to_string()
}

fn related(source: &str, target: &str) -> String {
    json!({"relate": {"source": source, "relationship": "serves", "target": target}}).to_string()
}

/// Lines as a client sends them that waits for results between them.
fn talking() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, mut receiver) = mpsc::channel(1);
    let pieces = stream::poll_fn(move |context| receiver.poll_recv(context));
    (sender, Body::from_stream(pieces.map(Ok::<_, Infallible>)))
}

async fn next(results: &mut BodyDataStream) -> Vec<Json> {
    let chunk = results.next().await.unwrap().unwrap();
    parsed(std::str::from_utf8(&chunk).unwrap())
}

#[tokio::test]
async fn every_line_has_its_result_and_a_bad_one_does_not_refuse_its_neighbours() {
    let world = World::small().await;
    let lines = [
        upsert("n:1", json!({"name": "New", "beds": 3})),
        "{\"upsert\": ".to_owned(),
        upsert("n:2", json!({"bedz": 3})),
        upsert("n:3", json!({"beds": "many"})),
        String::new(),
        related("n:1", "nobody"),
        related("n:1", "v:1"),
        json!({"delete": {"id": "v:2"}}).to_string(),
        json!({"patch": {"class": "Clinic", "id": "n:9", "set": {}}}).to_string(),
        json!({"upsert": {}, "delete": {}}).to_string(),
        "[]".to_owned(),
        format!("{}\r", json!({"delete": {"id": "c:3"}})),
        upsert("n:4", json!({"name": "Last"})),
    ];
    let results = bulk(&world, lines.join("\n")).await;
    let (summary, results) = results.split_last().unwrap();
    let position = world.twin.view().position().to_string();
    assert_eq!(
        *summary,
        json!({"summary": {"lines": 12, "done": 4, "refused": 8, "position": position}})
    );
    let expected = [
        (1, None),
        (2, Some(("INVALID_INPUT", "not JSON"))),
        (3, Some(("UNKNOWN_NAME", "did you mean `beds`"))),
        (4, Some(("INVALID_INPUT", "operation.upsert.set.beds"))),
        (6, Some(("NOT_FOUND", "no twin `nobody`"))),
        (7, None),
        (8, Some(("VIOLATION", "detach"))),
        (9, Some(("NOT_FOUND", "n:9"))),
        (10, Some(("INVALID_INPUT", "exactly one of"))),
        (11, Some(("INVALID_INPUT", "an object"))),
        (12, None),
        (13, None),
    ];
    assert_eq!(results.len(), expected.len());
    for (result, (line, problem)) in results.iter().zip(expected) {
        assert_eq!(result["line"], line, "{result}");
        assert_eq!(result["ok"], problem.is_none(), "{result}");
        match problem {
            None => assert_eq!(result["position"], position, "{result}"),
            Some((code, part)) => {
                assert_eq!(result["code"], code, "{result}");
                let message = result["message"].as_str().unwrap();
                assert!(message.contains(part), "{result}");
            }
        }
    }
    assert_eq!(results[2]["suggestion"], "beds");
    let view = world.twin.view();
    assert!(view.find("c:3").is_none() && view.find("n:3").is_none());
    let data = world
        .data("{ twin(id: \"n:1\") { label related { edges { node { id } } } } }")
        .await;
    assert_eq!(
        data["twin"],
        json!({"label": "New", "related": {"edges": [{"node": {"id": "v:1"}}]}})
    );
    // All good ones of the small body were one transaction.
    assert_eq!(world.store.commits(), 3);
}

#[tokio::test]
async fn lines_are_written_by_whoever_asks_on_this_machine() {
    let world = World::small().await;
    let from = world.twin.view().position();
    bulk(&world, upsert("n:1", json!({}))).await;
    let mut follower = world.twin.follow(&from).unwrap();
    let group = follower.next().await.unwrap();
    assert_eq!(group.changes[0].principal.as_str(), "app:local");
}

#[tokio::test]
async fn what_is_no_text_or_too_long_is_refused_alone() {
    let world = World::empty().await;
    let mut body = upsert("n:1", json!({})).into_bytes();
    body.extend(b"\n{\"upsert\": \"\xff\xfe\"}\n");
    body.extend(vec![b' '; MAX_BULK_LINE_BYTES]);
    body.extend(b"{}\n");
    body.extend(upsert("n:2", json!({})).into_bytes());
    let results = bulk(&world, body).await;
    let told: Vec<_> = results
        .iter()
        .map(|result| (result["line"].as_u64(), result["code"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Some(1), None),
            (Some(2), Some("INVALID_INPUT")),
            (Some(3), Some("LIMITED")),
            (Some(4), None),
            (None, None)
        ]
    );
    assert!(results[1]["message"].as_str().unwrap().contains("byte 13"));
    assert!(
        results[2]["message"]
            .as_str()
            .unwrap()
            .contains("MAX_BULK_LINE_BYTES")
    );
    assert_eq!(world.twin.view().len(), 2);
}

#[tokio::test]
async fn an_empty_body_has_a_summary() {
    let world = World::empty().await;
    let results = bulk(&world, "\n \n").await;
    assert_eq!(
        results,
        [json!({"summary": {"lines": 0, "done": 0, "refused": 0, "position": "main:0"}})]
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_done_as_far_as_its_whole_lines_go() {
    let world = World::empty().await;
    let pieces = [
        Ok(Bytes::from(
            upsert("n:1", json!({})) + "\n{\"upsert\": {\"cl",
        )),
        Err(std::io::Error::other("cut")),
    ];
    let results = bulk(&world, Body::from_stream(stream::iter(pieces))).await;
    assert_eq!(results[0]["ok"], true);
    let summary = &results[1]["summary"];
    assert_eq!(summary["done"], 1);
    assert_eq!(summary["ended"]["code"], "INVALID_INPUT");
    let message = summary["ended"]["message"].as_str().unwrap();
    assert!(message.contains("in line 2"), "{message}");
    assert_eq!(world.twin.view().len(), 1);
}

#[tokio::test]
async fn many_lines_are_done_in_groups_and_answered_in_order() {
    const LINES: usize = 20_000;
    let world = World::empty().await;
    let line = |i: usize| match i % 1000 {
        999 => related(&format!("n:{i}"), "nobody") + "\n",
        _ => upsert(&format!("n:{i}"), json!({"beds": i % 100})) + "\n",
    };
    // In pieces that end within lines.
    let body: String = (0..LINES).map(line).collect();
    let pieces = body.as_bytes().chunks(10_007);
    let pieces: Vec<_> = pieces
        .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
        .collect();
    let results = bulk(&world, Body::from_stream(stream::iter(pieces))).await;
    let (summary, results) = results.split_last().unwrap();
    assert_eq!(summary["summary"]["done"], LINES - LINES / 1000);
    assert_eq!(summary["summary"]["refused"], LINES / 1000);
    assert_eq!(results.len(), LINES);
    for (i, result) in results.iter().enumerate() {
        assert_eq!(result["line"], i + 1);
        assert_eq!(result["ok"], i % 1000 != 999, "{result}");
    }
    assert_eq!(world.twin.view().len(), LINES - LINES / 1000);
    let groups = LINES.div_ceil(MAX_BULK_GROUP_LINES) as u64;
    let commits = world.store.commits();
    assert!((groups..=2 * groups).contains(&commits), "{commits}");
}

#[tokio::test]
async fn a_line_is_answered_before_the_next_one_is_sent() {
    let world = World::empty().await;
    let (sender, body) = talking();
    let mut results = send(&world, to("/bulk", body))
        .await
        .into_body()
        .into_data_stream();
    for i in 1..=3 {
        let line = upsert(&format!("n:{i}"), json!({})) + "\n";
        sender.send(line.into()).await.unwrap();
        let result = next(&mut results).await;
        assert_eq!(result.len(), 1);
        assert_eq!(result[0]["line"], i);
        assert_eq!(world.twin.view().len(), i);
    }
    drop(sender);
    assert_eq!(next(&mut results).await[0]["summary"]["done"], 3);
    assert!(results.next().await.is_none());
}

#[tokio::test]
async fn a_rehearsal_sees_the_lines_before_and_changes_nothing() {
    let world = World::small().await;
    let before = world.twin.view().position();
    let many = 2 * MAX_BULK_GROUP_LINES;
    let mut lines: Vec<_> = (0..many)
        .map(|i| upsert(&format!("n:{i}"), json!({})))
        .collect();
    lines.push(related("n:0", &format!("n:{}", many - 1)));
    lines.push(related("n:0", "nobody"));
    let asked = to("/bulk?dryRun=true", lines.join("\n"));
    let results = parsed(&text(send(&world, asked).await).await);
    assert_eq!(results[0], json!({"line": 1, "ok": true}));
    // Clinics serve areas.
    assert_eq!(results[many]["code"], "VIOLATION", "{}", results[many]);
    assert_eq!(results[many + 1]["code"], "NOT_FOUND");
    assert_eq!(results[many + 2]["summary"]["done"], many);
    assert_eq!(world.twin.view().position(), before);
    for wrong in ["/bulk?dryRun=maybe", "/bulk?dryrun=true"] {
        let refused = send(&world, to(wrong, "")).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        assert!(text(refused).await.contains("dryRun=true"));
    }
}

#[tokio::test]
async fn lines_that_are_too_much_together_are_done_in_parts() {
    let world = World::empty().await;
    let mut operations = vec![area("p:0", "Area", "Top", 1, [29.0, -3.0, 31.0, -1.0])];
    for hub in 0..3 {
        operations.push(area(
            &format!("hub:{hub}"),
            "Area",
            "Hub",
            1,
            [29.0, -3.0, 31.0, -1.0],
        ));
        for part in 0..400 {
            let id = format!("part:{hub}:{part}");
            operations.push(area(&id, "Area", "Part", 1, [29.0, -3.0, 31.0, -1.0]));
            operations.push(relate(&id, "partOf", &format!("hub:{hub}")));
        }
    }
    world.commit(operations).await;
    let delete = |hub| json!({"delete": {"id": format!("hub:{hub}"), "detach": true}}).to_string();
    let lines: Vec<_> = (0..3).map(delete).collect();
    let results = bulk(&world, lines.join("\n")).await;
    assert_eq!(results[3]["summary"]["done"], 3, "{results:#?}");
}

#[tokio::test]
async fn once_the_twin_does_not_write_the_lines_at_hand_say_so_and_it_ends() {
    let world = World::small().await;
    world.store.fail(Some(Fault::Engine));
    let (sender, body) = talking();
    let response = send(&world, to("/bulk", body)).await;
    let lines = upsert("n:1", json!({})) + "\n" + &upsert("n:2", json!({})) + "\n";
    sender.send(lines.into()).await.unwrap();
    let results = parsed(&text(response).await);
    assert_eq!(results.len(), 3);
    for result in &results[..2] {
        assert_eq!(result["code"], "UNAVAILABLE", "{result}");
    }
    let summary = &results[2]["summary"];
    assert_eq!(summary["refused"], 2);
    assert_eq!(summary["ended"]["code"], "UNAVAILABLE");
    assert_eq!(world.twin.view().find("n:1"), None);
}

#[tokio::test]
async fn a_body_ends_when_the_service_closes() {
    let world = World::empty().await;
    let (sender, body) = talking();
    let response = send(&world, to("/bulk", body)).await;
    let line = upsert("n:1", json!({})) + "\n";
    sender.send(line.into()).await.unwrap();
    let mut results = response.into_body().into_data_stream();
    assert_eq!(next(&mut results).await[0]["ok"], true);
    world.service.close().await;
    let summary = next(&mut results).await;
    assert_eq!(summary[0]["summary"]["ended"]["code"], "UNAVAILABLE");
    assert!(results.next().await.is_none());
}

#[tokio::test]
async fn so_many_bodies_are_worked_on_and_a_client_that_goes_makes_room() {
    let world = World::empty().await;
    let mut open = Vec::new();
    for _ in 0..MAX_BULKS {
        let (sender, body) = talking();
        let response = send(&world, to("/bulk", body)).await;
        assert_eq!(response.status(), StatusCode::OK);
        open.push((sender, response));
    }
    let taken = format!("twin_bulks {MAX_BULKS}\n");
    assert!(metrics(&world).await.contains(&taken));
    let refused = send(&world, to("/bulk", "")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(text(refused).await.contains("MAX_BULKS"));
    let (_sender, response) = open.pop().unwrap();
    drop(response);
    while send(&world, to("/bulk", "")).await.status() != StatusCode::OK {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn only_this_machine_may_send_lines() {
    let world = World::empty().await;
    for (header, value, status) in [
        ("host", "twin.example.com", 421),
        ("origin", "https://example.com", 403),
        ("content-encoding", "gzip", 415),
    ] {
        let mut request = to("/bulk", upsert("n:1", json!({})));
        let headers = request.headers_mut();
        headers.insert(header, value.parse().unwrap());
        assert_eq!(send(&world, request).await.status(), status);
    }
    assert!(world.twin.view().is_empty());
    let got = Request::get("/bulk").header("host", "localhost");
    let got: Response<Body> = send(&world, got.body(Body::empty()).unwrap()).await;
    assert_eq!(got.status(), 405);
}

/// Over a real connection: results come while the body is sent, a body larger than any other
/// request may be is taken, and a connection that is cut leaves what was whole.
#[tokio::test]
async fn a_real_client_sends_and_reads_at_the_same_time() {
    let world = World::empty().await;
    let address = listen(&world).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = "POST /bulk HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    for i in 1..=3 {
        let line = upsert(&format!("n:{i}"), json!({})) + "\n";
        stream.write_all(line.as_bytes()).await.unwrap();
        let result = format!("\"line\":{i},");
        while !String::from_utf8_lossy(&heard).contains(&result) {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0);
        }
    }
    stream.write_all(b"{\"upsert\": {\"class\"").await.unwrap();
    drop(stream);
    // The place is free again once the body was given up.
    let mut places = Vec::new();
    while places.len() < MAX_BULKS {
        let (sender, body) = talking();
        let response = send(&world, to("/bulk", body)).await;
        if response.status() == StatusCode::OK {
            places.push((sender, response));
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(world.twin.view().len(), 3);
}
