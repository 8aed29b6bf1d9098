//! Dead letters: listed, inspected and taken in again.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use graphql_api::{Options, RetryFn};
use serde_json::{Value as Json, json};
use twin_core::{DeadLetter, Receipt, Refusal};

use crate::world::World;

fn letter(n: usize, payload: &[u8]) -> DeadLetter {
    DeadLetter {
        at: 1_700_000_000_000_000 + n as i64,
        client: "gate \"1\"".into(),
        topic: format!("twin/rw/s:{n}/telemetry").into(),
        payload: payload.to_vec().into(),
        size: payload.len() as u64,
        reason: if n.is_multiple_of(60) {
            "unknown_device"
        } else {
            "wrong_type"
        }
        .into(),
        detail: "expected a number".to_owned(),
    }
}

async fn with(options: Options, letters: usize) -> World {
    let world = World::with(options).await;
    for n in 0..letters {
        let payload = format!("{{\"n\": {n}}}");
        let buried = world.twin.bury(letter(n, payload.as_bytes())).await;
        buried.unwrap();
    }
    world
}

fn ids(data: &Json) -> Vec<String> {
    let edges = data["deadLetters"]["edges"].as_array().unwrap();
    let id = |edge: &Json| edge["node"]["id"].as_str().unwrap().to_owned();
    edges.iter().map(id).collect()
}

#[tokio::test]
async fn dead_letters_are_listed_newest_first_by_pages_and_by_reason() {
    let world = with(Options::default(), 130).await;
    let ask = async |arguments: &str| {
        world
            .data(&format!(
                "{{ deadLetters({arguments}) {{ __typename edges {{ cursor node {{ id reason }} }} \
                 pageInfo {{ hasNextPage hasPreviousPage endCursor }} }} }}"
            ))
            .await
    };
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = ask(&format!("first: 60{after}")).await;
        found.extend(ids(&page));
        let info = &page["deadLetters"]["pageInfo"];
        assert_eq!(info["hasPreviousPage"], !after.is_empty());
        after = format!(", after: {}", info["endCursor"]);
        if info["hasNextPage"] == false {
            break;
        }
    }
    let all: Vec<_> = (0..130).rev().map(|n| n.to_string()).collect();
    assert_eq!(found, all);
    let some = ask("reason: \"unknown_device\", first: 2").await;
    assert_eq!(ids(&some), ["120", "60"]);
    assert_eq!(some["deadLetters"]["pageInfo"]["hasNextPage"], true);
    let rest = ask("reason: \"unknown_device\", after: \"60\"").await;
    assert_eq!(ids(&rest), ["0"]);
    assert_eq!(rest["deadLetters"]["pageInfo"]["hasNextPage"], false);
    assert_eq!(ids(&ask("reason: \"none\"").await), [] as [&str; 0]);
    for (arguments, part) in [("after: \"x\"", "not a cursor"), ("first: 101", "100")] {
        let query = format!("{{ deadLetters({arguments}) {{ __typename }} }}");
        let (_, message) = world.error(&query).await;
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn a_dead_letter_shows_what_came_and_why_it_was_refused() {
    let world = with(Options::default(), 1).await;
    world.twin.bury(letter(1, b"\xff\xfe")).await.unwrap();
    let ask = async |id: &str| {
        let parts = "id at client topic reason detail size payload payloadBase64";
        let data = world
            .data(&format!("{{ deadLetter(id: \"{id}\") {{ {parts} }} }}"))
            .await;
        data["deadLetter"].clone()
    };
    assert_eq!(
        ask("0").await,
        json!({"id": "0", "at": "2023-11-14T22:13:20Z", "client": "gate \"1\"",
            "topic": "twin/rw/s:0/telemetry", "reason": "unknown_device",
            "detail": "expected a number", "size": 8, "payload": "{\"n\": 0}",
            "payloadBase64": "eyJuIjogMH0"})
    );
    let bytes = ask("1").await;
    assert_eq!(bytes["payload"], Json::Null);
    assert_eq!(bytes["payloadBase64"], "__4");
    assert_eq!(ask("2").await, Json::Null);
    let (code, message) = world.error("{ deadLetter(id: \"x\") { id } }").await;
    assert_eq!(code, "INVALID_INPUT");
    assert!(message.contains("`id`"), "{message}");
}

#[tokio::test]
async fn a_dead_letter_is_handed_to_whoever_takes_it_in_again() {
    let taken: Arc<Mutex<Vec<DeadLetter>>> = Arc::default();
    let seen = Arc::clone(&taken);
    let retry: RetryFn = Arc::new(move |letter| {
        let refused = letter.reason == "unknown_device".into();
        seen.lock().unwrap().push(letter);
        async move {
            if refused {
                return Err(Refusal::Invalid {
                    at: "unknown_device".to_owned(),
                    reason: "register it".to_owned(),
                });
            }
            Ok(Receipt {
                position: "main:7".parse().unwrap(),
                changes: 1,
                repeated: false,
            })
        }
        .boxed()
    });
    let options = Options {
        retry: Some(retry),
        ..Options::default()
    };
    let world = with(options, 2).await;
    let retry =
        |id: &str| format!("mutation {{ retryDeadLetter(id: \"{id}\") {{ position changes }} }}");
    assert_eq!(
        world.data(&retry("1")).await["retryDeadLetter"],
        json!({"position": "main:7", "changes": 1})
    );
    assert_eq!(*taken.lock().unwrap(), [letter(1, b"{\"n\": 1}")]);
    for (id, code, part) in [
        ("0", "INVALID_INPUT", "register it"),
        ("2", "NOT_FOUND", "no dead letter `2`"),
        ("x", "INVALID_INPUT", "`id`"),
    ] {
        let (got, message) = world.error(&retry(id)).await;
        assert_eq!(got, code, "{message}");
        assert!(message.contains(part), "{message}");
    }
    let world = with(Options::default(), 1).await;
    let (code, _) = world.error(&retry("0")).await;
    assert_eq!(code, "UNAVAILABLE");
}
