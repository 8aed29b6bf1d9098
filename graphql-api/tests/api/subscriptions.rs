use graphql_api::limits::{
    MAX_BODY_BYTES, MAX_EVENTS_AHEAD, MAX_OPERATION_ID_BYTES, MAX_OPERATIONS_PER_SOCKET,
};
use serde_json::{Value as Json, json};
use twin_core::{Operation, Principal, Reading, Readings};

use crate::socket::{Heard, Socket, listen};
use crate::world::{World, id, put};

const CHANGES: &str = "subscription S($class: String, $ids: [ID!], $after: String) {
  changes(class: $class, ids: $ids, after: $after) {
    position kind at principal id class
    before { __typename id label revision geometry ... on Clinic { beds } }
    after { __typename id label revision geometry ... on Clinic { beds } }
    relationship { name source target properties before }
    reading { telemetry value unit ts arrived } } }";

async fn set(world: &World, twin: &str, beds: i64) {
    world
        .commit(vec![Operation::Upsert(put(
            twin,
            "Clinic",
            json!({"beds": beds}),
            None,
        ))])
        .await;
}

async fn heat(world: &World, value: f64) {
    let readings = vec![Reading {
        twin: id("s:1"),
        telemetry: "heat".into(),
        ts: Some(1_700_000_000_000_000),
        value: ontology::Value::Double(value),
    }];
    let principal = Principal::device(&id("s:1"));
    world
        .twin
        .record(Readings {
            principal,
            readings,
        })
        .await
        .unwrap();
}

/// Waits until a subscription is under way: it answers queries after it in the same order.
async fn subscribed(socket: &mut Socket) {
    socket.subscribe("q", "{ position }", json!({})).await;
    let answer = socket.said().await;
    assert_eq!(answer["id"], "q", "{answer:#}");
    assert_eq!(socket.said().await, json!({"type": "complete", "id": "q"}));
}

#[tokio::test]
async fn every_kind_of_change_is_told_with_the_state_at_it() {
    let world = World::small().await;
    let mut socket = Socket::ready(listen(&world).await).await;
    let start = world.twin.view().position();
    socket
        .subscribe("s", CHANGES, json!({"after": start.to_string()}))
        .await;
    let mut offset = start.offset("main");
    let mut at = || {
        offset += 1;
        format!("main:{offset}")
    };
    let done = world
        .ask(
            "mutation { commit(operations: [
               {upsert: {class: \"Clinic\", id: \"n:1\", set: {name: \"New\", beds: 1}, geometry: {type: \"Point\", coordinates: [30, -2]}}}
               {upsert: {class: \"Clinic\", id: \"n:1\", set: {beds: 2}}}
               {relate: {source: \"n:1\", relationship: \"serves\", target: \"v:1\", properties: {share: 0.5}}}
               {relate: {source: \"n:1\", relationship: \"serves\", target: \"v:1\", properties: {share: 0.75}}}
               {unrelate: {source: \"n:1\", relationship: \"serves\", target: \"v:1\"}}
             ]) { position } }",
        )
        .await;
    let created = socket.event("s").await;
    let first = at();
    assert_eq!(
        created,
        json!({"position": first, "kind": "CREATED", "at": created["at"], "principal": "app:local",
            "id": "n:1", "class": "Clinic", "before": null, "relationship": null, "reading": null,
            "after": {"__typename": "Clinic", "id": "n:1", "label": "New", "revision": first,
                "geometry": {"type": "Point", "coordinates": [30.0, -2.0]}, "beds": 1}})
    );
    assert!(created["at"].is_string());
    let updated = socket.event("s").await;
    assert_eq!(updated["kind"], "UPDATED");
    assert_eq!(updated["position"], at());
    assert_eq!(updated["before"], created["after"]);
    assert_eq!(updated["after"]["beds"], 2);
    assert_eq!(updated["after"]["revision"], updated["position"]);
    for (kind, properties, before) in [
        ("RELATED", json!({"share": 0.5}), Json::Null),
        ("RERELATED", json!({"share": 0.75}), json!({"share": 0.5})),
        ("UNRELATED", Json::Null, json!({"share": 0.75})),
    ] {
        let event = socket.event("s").await;
        assert_eq!(event["kind"], kind);
        assert_eq!(event["position"], at());
        assert_eq!(event["id"], "n:1");
        assert_eq!(event["class"], "Clinic");
        assert_eq!(event["after"], Json::Null);
        assert_eq!(
            event["relationship"],
            json!({"name": "serves", "source": "n:1", "target": "v:1", "properties": properties, "before": before})
        );
        if kind == "UNRELATED" {
            // A receipt is of the same positions.
            assert_eq!(event["position"], done["data"]["commit"]["position"]);
        }
    }
    heat(&world, 12.5).await;
    let event = socket.event("s").await;
    assert_eq!(event["kind"], "READING");
    assert_eq!(event["position"], at());
    assert_eq!(event["principal"], "device:s:1");
    assert_eq!(event["id"], "s:1");
    assert_eq!(
        event["reading"],
        json!({"telemetry": "heat", "value": 12.5, "unit": "degreeCelsius",
            "ts": "2023-11-14T22:13:20Z", "arrived": event["at"]})
    );
    world
        .ask("mutation { deleteTwin(id: \"n:1\") { changes } }")
        .await;
    let event = socket.event("s").await;
    assert_eq!(event["kind"], "DELETED");
    assert_eq!(event["before"]["beds"], 2);
    assert_eq!(event["after"], Json::Null);
}

#[tokio::test]
async fn a_subscription_resumes_after_any_of_its_events_without_loss() {
    let world = World::small().await;
    let address = listen(&world).await;
    let start = world.twin.view().position().to_string();
    for beds in 0..150 {
        set(&world, "c:1", beds).await;
        if beds % 10 == 0 {
            heat(&world, f64::from(beds as i32)).await;
        }
    }
    let mut socket = Socket::ready(address).await;
    socket
        .subscribe("all", CHANGES, json!({"after": start}))
        .await;
    let mut all = Vec::new();
    for _ in 0..165 {
        all.push(socket.event("all").await);
    }
    let offsets: Vec<u64> = all
        .iter()
        .map(|event| event["position"].as_str().unwrap())
        .map(|at| at.strip_prefix("main:").unwrap().parse().unwrap())
        .collect();
    assert!(
        offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{offsets:?}"
    );
    for from in [0, 80, 163] {
        let after = all[from]["position"].clone();
        socket
            .subscribe("part", CHANGES, json!({"after": after}))
            .await;
        for expected in &all[from + 1..] {
            assert_eq!(socket.event("part").await, *expected);
        }
        socket.say(json!({"type": "complete", "id": "part"})).await;
    }
    // Now live: what comes next is told to who is still there, and only once.
    set(&world, "c:2", 1).await;
    assert_eq!(socket.event("all").await["id"], "c:2");
    subscribed(&mut socket).await;
}

#[tokio::test]
async fn a_subscription_resumes_inside_a_group() {
    const CREATED: u64 = 300;
    const READINGS: u64 = 200;
    let world = World::small().await;
    let start = world.twin.view().position();
    let created = (0..CREATED).map(|i| {
        let class = ["Clinic", "Village"][i as usize % 2];
        Operation::Upsert(put(&format!("n:{i}"), class, json!({}), None))
    });
    let reading = |i| Reading {
        twin: id("s:1"),
        telemetry: "heat".into(),
        ts: Some(1_700_000_001_000_000 + i as i64),
        value: ontology::Value::Double(i as f64),
    };
    let readings = Readings {
        principal: Principal::system("test"),
        readings: (0..READINGS).map(reading).collect(),
    };
    // What waits together is written together.
    let ((), recorded) = tokio::join!(world.commit(created.collect()), world.twin.record(readings));
    recorded.unwrap();
    let group = world.twin.follow(&start).unwrap().next().await.unwrap();
    let told = (group.changes.len() as u64, group.readings.len() as u64);
    assert_eq!(told, (CREATED, READINGS));
    assert!(CREATED.min(READINGS) as usize > 2 * MAX_EVENTS_AHEAD);

    let ids = ["n:3", "n:4", "n:150", "n:299", "s:1"];
    let admits = |variables: &Json, event: &Json| {
        let class = variables.get("class");
        class.is_none_or(|class| event["class"] == *class)
            && (variables.get("ids").is_none() || ids.iter().any(|id| event["id"] == *id))
    };
    // Once from memory, and once from the store.
    let again = World::over(world.store.clone()).await;
    for world in [&world, &again] {
        let mut socket = Socket::ready(listen(world).await).await;
        let after = json!({"after": start.to_string()});
        socket.subscribe("all", CHANGES, after).await;
        let mut all = Vec::new();
        for i in 1..=CREATED + READINGS {
            all.push(socket.event("all").await);
            let position = format!("main:{}", start.offset("main") + i);
            assert_eq!(all.last().unwrap()["position"], position);
        }
        for from in [1, 63, 64, 65, 150, 299, 300, 301, 363, 364, 365, 499] {
            let rest = &all[from..];
            let watched = [
                json!({}),
                json!({"class": "Clinic"}),
                json!({"class": "Station"}),
                json!({"ids": ids}),
            ];
            for mut variables in watched {
                variables["after"] = all[from - 1]["position"].clone();
                socket.subscribe("part", CHANGES, variables.clone()).await;
                for expected in rest.iter().filter(|event| admits(&variables, event)) {
                    assert_eq!(socket.event("part").await, *expected, "{variables}");
                }
                // And nothing more.
                subscribed(&mut socket).await;
                socket.say(json!({"type": "complete", "id": "part"})).await;
            }
        }
    }
}

#[tokio::test]
async fn a_subscription_without_a_position_begins_now() {
    let world = World::small().await;
    let mut socket = Socket::ready(listen(&world).await).await;
    socket.subscribe("s", CHANGES, json!({})).await;
    subscribed(&mut socket).await;
    set(&world, "c:1", 77).await;
    assert_eq!(socket.event("s").await["after"]["beds"], 77);
}

#[tokio::test]
async fn changes_are_chosen_by_class_and_by_id() {
    let world = World::small().await;
    let mut socket = Socket::ready(listen(&world).await).await;
    let after = world.twin.view().position().to_string();
    for (name, variables) in [
        ("areas", json!({"class": "Area", "after": after})),
        ("ids", json!({"ids": ["c:2", "s:1"], "after": after})),
        (
            "both",
            json!({"class": "Clinic", "ids": ["c:2", "s:1"], "after": after}),
        ),
    ] {
        socket.subscribe(name, CHANGES, variables).await;
    }
    set(&world, "c:1", 1).await;
    world
        .commit(vec![Operation::Upsert(put(
            "v:1",
            "Village",
            json!({"population": 1}),
            None,
        ))])
        .await;
    heat(&world, 1.0).await;
    set(&world, "c:2", 2).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        let message = socket.said().await;
        let change = &message["payload"]["data"]["changes"];
        told.push((message["id"].clone(), change["id"].clone()));
    }
    told.sort_by_key(|(name, twin)| (name.to_string(), twin.to_string()));
    let expected = [
        ("areas", "v:1"),
        ("both", "c:2"),
        ("ids", "c:2"),
        ("ids", "s:1"),
    ];
    assert_eq!(
        told,
        expected.map(|(name, twin)| (json!(name), json!(twin)))
    );
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_when_subscribing() {
    let world = World::small().await;
    let mut socket = Socket::ready(listen(&world).await).await;
    let asked = |inner: &str| format!("subscription {{ changes {{ {inner} }} }}");
    for (query, code, part) in [
        (
            asked("after { related { totalCount } }"),
            "INVALID_INPUT",
            "`after.related`",
        ),
        (
            asked("before { ... on Clinic { locatedIn { id } } }"),
            "INVALID_INPUT",
            "twin(id:)",
        ),
        (
            asked("after { ... on Clinic { in: serves { totalCount } } }"),
            "INVALID_INPUT",
            "`after.in`",
        ),
        (
            asked("after { ... on Station { heat { value } } }"),
            "INVALID_INPUT",
            "`after.heat`",
        ),
        (asked("positio"), "UNKNOWN_NAME", "position"),
        (
            "subscription { changes(class: \"Clinik\") { kind } }".to_owned(),
            "UNKNOWN_NAME",
            "Clinic",
        ),
        (
            "subscription { changes(ids: [\"no good\"]) { kind } }".to_owned(),
            "INVALID_INPUT",
            "no good",
        ),
        (
            "subscription { changes(after: \"soon\") { kind } }".to_owned(),
            "INVALID_INPUT",
            "soon",
        ),
        (
            "subscription { changes(after: \"main:999\") { kind } }".to_owned(),
            "INVALID_INPUT",
            "ahead",
        ),
        (
            "subscription { changes(after: \"other:1\") { kind } }".to_owned(),
            "INVALID_INPUT",
            "ahead",
        ),
        (
            "subscription { a: changes { kind } b: changes { kind } }".to_owned(),
            "INVALID_INPUT",
            "exactly one",
        ),
        ("{ nothing }".to_owned(), "UNKNOWN_NAME", "nothing"),
    ] {
        socket.subscribe("s", &query, json!({})).await;
        let answer = socket.said().await;
        assert_eq!(answer["type"], "error", "{query}\n{answer:#}");
        assert_eq!(answer["id"], "s");
        let error = &answer["payload"][0];
        assert_eq!(error["extensions"]["code"], code, "{query}\n{answer:#}");
        assert_eq!(answer["payload"].as_array().unwrap().len(), 1, "{answer:#}");
        assert!(
            error["message"].as_str().unwrap().contains(part),
            "{query}\n{answer:#}"
        );
    }
    let (code, message) = world.error(CHANGES).await;
    assert_eq!(code, "INVALID_INPUT");
    assert!(message.contains("/graphql/ws"), "{message}");
}

#[tokio::test]
async fn queries_and_mutations_are_answered_over_the_socket() {
    let world = World::small().await;
    let mut socket = Socket::ready(listen(&world).await).await;
    let query = "query Q($id: ID!) { twin(id: $id) { label } }";
    socket.subscribe("1", query, json!({"id": "c:1"})).await;
    let answer = socket.said().await;
    assert_eq!(answer["type"], "next");
    assert_eq!(
        answer["payload"]["data"],
        json!({"twin": {"label": "Kigali A"}})
    );
    assert_eq!(socket.said().await, json!({"type": "complete", "id": "1"}));
    let mutation = "mutation { upsertClinic(input: {id: \"n:1\"}) { changes } }";
    socket.subscribe("1", mutation, json!({})).await;
    let answer = socket.said().await;
    assert_eq!(
        answer["payload"]["data"],
        json!({"upsertClinic": {"changes": 1}})
    );
    assert_eq!(socket.said().await["type"], "complete");
    // A failed field is an answer, not a refusal.
    socket
        .subscribe("1", "{ twin(id: \"no good\") { id } }", json!({}))
        .await;
    let answer = socket.said().await;
    assert_eq!(answer["type"], "next");
    assert_eq!(answer["payload"]["data"], json!({"twin": null}));
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nothing_back_and_misses_nothing() {
    let world = World::small().await;
    let address = listen(&world).await;
    let after = world.twin.view().position().to_string();
    let mut slow = Socket::ready(address).await;
    slow.subscribe("s", CHANGES, json!({"after": after})).await;
    // Far more than the buffers between it and us hold.
    let long = "x".repeat(64 << 10);
    for i in 0..400 {
        let name = format!("{i} {long}");
        world
            .commit(vec![Operation::Upsert(put(
                "c:1",
                "Clinic",
                json!({"name": name}),
                None,
            ))])
            .await;
    }
    let mut quick = Socket::ready(address).await;
    quick.subscribe("q", "{ position }", json!({})).await;
    assert_eq!(quick.said().await["type"], "next");
    for i in 0..400 {
        let event = slow.event("s").await;
        let label = event["after"]["label"].as_str().unwrap().to_owned();
        assert_eq!(label.split(' ').next().unwrap(), i.to_string());
    }
}

#[tokio::test]
async fn an_answer_keeps_its_place_until_it_was_sent_or_the_socket_ended() {
    let world = World::small().await;
    let address = listen(&world).await;
    let name = json!({"name": "x".repeat(64 << 10)});
    world
        .commit(vec![Operation::Upsert(put("c:1", "Clinic", name, None))])
        .await;
    // Far more than the buffers between it and us hold.
    let twins: Vec<_> = (0..200)
        .map(|i| format!("t{i}: twin(id: \"c:1\") {{ label }}"))
        .collect();
    let query = format!("{{ {} }}", twins.join(" "));
    let working = async |places: usize| {
        let metrics = crate::http::metrics(&world).await;
        metrics.contains(&format!("twin_http_working {places}\n"))
    };
    for (answered, reads) in [(1, true), (2, false)] {
        let mut slow = Socket::ready(address).await;
        slow.subscribe("s", &query, json!({})).await;
        let counted = format!("twin_graphql_requests_total{{code=\"OK\"}} {answered}\n");
        while !crate::http::metrics(&world).await.contains(&counted) {
            tokio::task::yield_now().await;
        }
        assert!(working(1).await);
        if reads {
            assert_eq!(slow.said().await["type"], "next");
            assert_eq!(slow.said().await["type"], "complete");
            assert!(working(0).await);
        }
        drop(slow);
        while !working(0).await {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_told_so() {
    let world = World::small().await;
    let address = listen(&world).await;
    let mut socket = Socket::ready(address).await;
    socket.announce(MAX_BODY_BYTES + 1).await;
    assert_eq!(socket.heard().await, Heard::Closed(1009));
    assert!(
        socket.reason.contains("MAX_BODY_BYTES"),
        "{}",
        socket.reason
    );
    // A text that is none.
    let mut socket = Socket::ready(address).await;
    socket.frame(1, &[0xff]).await;
    assert_eq!(socket.heard().await, Heard::Closed(4400));
    assert!(socket.reason.contains("UTF-8"), "{}", socket.reason);
}

#[tokio::test]
async fn a_gap_and_a_reset_are_told_and_end_the_subscription() {
    for (foreign, kind) in [(None, "GAP"), (Some("class `Clinic`"), "RESET")] {
        let before = World::small().await;
        // What a twin wrote itself it has in memory, so another one has to ask the store.
        let world = World::over(before.store.clone()).await;
        world.store.forget(5, foreign);
        let mut socket = Socket::ready(listen(&world).await).await;
        socket
            .subscribe("s", CHANGES, json!({"after": "main:3"}))
            .await;
        assert_eq!(
            socket.event("s").await,
            json!({"position": "main:3", "kind": kind, "at": null, "principal": null, "id": null,
                "class": null, "before": null, "after": null, "relationship": null, "reading": null})
        );
        assert_eq!(socket.said().await, json!({"type": "complete", "id": "s"}));
        socket
            .subscribe("s", CHANGES, json!({"after": "main:5"}))
            .await;
        assert_eq!(socket.event("s").await["position"], "main:6");
    }
}

#[tokio::test]
async fn a_twin_that_stopped_writing_says_so_after_the_last_event() {
    let world = World::small().await;
    let mut socket = Socket::ready(listen(&world).await).await;
    let after = world.twin.view().position().to_string();
    set(&world, "c:1", 5).await;
    world.twin.close().await;
    socket
        .subscribe("s", CHANGES, json!({"after": after}))
        .await;
    assert_eq!(socket.event("s").await["after"]["beds"], 5);
    let end = socket.said().await;
    assert_eq!(end["type"], "error", "{end:#}");
    assert_eq!(end["payload"][0]["extensions"]["code"], "UNAVAILABLE");
}

#[tokio::test]
async fn the_protocol_is_kept() {
    let world = World::small().await;
    let address = listen(&world).await;
    let init = json!({"type": "connection_init"});
    let ask = |id: &str| json!({"type": "subscribe", "id": id, "payload": {"query": "subscription { changes { kind } }"}});
    for (messages, code) in [
        (vec![ask("1")], 4401),
        (vec![init.clone(), init.clone()], 4429),
        (vec![init.clone(), ask("1"), ask("1")], 4409),
        (vec![json!({"type": "start"})], 4400),
        (vec![json!([])], 4400),
        (
            vec![init.clone(), ask(&"i".repeat(MAX_OPERATION_ID_BYTES + 1))],
            4400,
        ),
    ] {
        let mut socket = Socket::new(address).await;
        for message in &messages {
            socket.say(message.clone()).await;
        }
        let closed = loop {
            if let Heard::Closed(code) = socket.heard().await {
                break code;
            }
        };
        assert_eq!(closed, code, "{messages:?}");
    }
    let mut silent = Socket::new(address).await;
    assert_eq!(silent.heard().await, Heard::Closed(4408));
    let mut socket = Socket::new(address).await;
    socket.frame(2, b"binary").await;
    assert_eq!(socket.heard().await, Heard::Closed(4400));
    let mut socket = Socket::ready(address).await;
    socket.say(json!({"type": "ping"})).await;
    assert_eq!(socket.said().await, json!({"type": "pong"}));
    for i in 0..MAX_OPERATIONS_PER_SOCKET {
        socket.say(ask(&format!("s{i}"))).await;
    }
    socket.say(ask("more")).await;
    let refused = socket.said().await;
    assert_eq!(refused["id"], "more", "{refused:#}");
    assert_eq!(refused["payload"][0]["extensions"]["code"], "LIMITED");
    socket.say(json!({"type": "complete", "id": "s0"})).await;
    subscribed(&mut socket).await;
}

#[tokio::test]
async fn metrics_count_sockets_subscriptions_and_events() {
    let world = World::small().await;
    let mut socket = Socket::ready(listen(&world).await).await;
    socket.subscribe("s", CHANGES, json!({})).await;
    subscribed(&mut socket).await;
    set(&world, "c:1", 3).await;
    socket.event("s").await;
    let metrics = crate::http::metrics(&world).await;
    for line in [
        "twin_sockets 1",
        "twin_subscriptions 1",
        "twin_subscription_events_total 1",
        "twin_http_working 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    socket.say(json!({"type": "complete", "id": "s"})).await;
    subscribed(&mut socket).await;
    let metrics = crate::http::metrics(&world).await;
    assert!(metrics.contains("twin_subscriptions 0"), "{metrics}");
}

#[tokio::test]
async fn only_this_machine_opens_a_socket() {
    let world = World::small().await;
    let address = listen(&world).await;
    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    for (headers, status) in [
        (vec![("host", "example.com"), protocol], "421"),
        (
            vec![
                ("host", "localhost"),
                ("origin", "https://example.com"),
                protocol,
            ],
            "403",
        ),
        (vec![("host", "localhost")], "400"),
        (
            vec![
                ("host", "localhost"),
                ("sec-websocket-protocol", "graphql-ws"),
            ],
            "400",
        ),
    ] {
        let refused = Socket::open(address, &headers).await.err().unwrap();
        let said = refused.split(' ').nth(1);
        assert_eq!(said, Some(status), "{headers:?} {refused}");
    }
    let headers = [
        ("host", "localhost"),
        ("origin", "http://localhost:3000"),
        protocol,
    ];
    assert!(Socket::open(address, &headers).await.is_ok());
}

#[tokio::test]
async fn sockets_end_when_the_service_closes() {
    let world = World::small().await;
    let address = listen(&world).await;
    let mut idle = Socket::ready(address).await;
    let mut following = Socket::ready(address).await;
    following.subscribe("s", CHANGES, json!({})).await;
    subscribed(&mut following).await;
    let service = world.service.clone();
    let closing = tokio::spawn(async move { service.close().await });
    for socket in [&mut idle, &mut following] {
        assert_eq!(socket.heard().await, Heard::Closed(1001));
        socket.frame(8, &1001_u16.to_be_bytes()).await;
    }
    closing.await.unwrap();
}
