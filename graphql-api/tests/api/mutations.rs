use graphql_api::limits::{MAX_IDEMPOTENCY_KEY_BYTES, MAX_MUTATIONS};
use serde_json::{Value as Json, json};
use twin_core::memory::Fault;

use crate::world::World;

/// The receipt of a mutation of one field that succeeds.
async fn receipt(world: &World, query: &str, variables: Json) -> Json {
    let answer = world.ask_with(query, variables).await;
    assert!(answer.get("errors").is_none(), "{query}\n{answer:#}");
    let receipt = answer["data"].as_object().unwrap().values().next();
    receipt.unwrap().clone()
}

/// The first error of a mutation that is refused.
async fn refusal(world: &World, query: &str, variables: Json) -> Json {
    let answer = world.ask_with(query, variables).await;
    assert_eq!(answer["data"], Json::Null, "{query}\n{answer:#}");
    answer["errors"][0].clone()
}

#[tokio::test]
async fn an_upsert_creates_then_changes_and_null_clears() {
    let world = World::small().await;
    let upsert = "mutation M($i: ClinicInput!) { done: upsertClinic(input: $i) { position changes repeated __typename } }";
    let input = json!({"id": "c:9", "name": "Nyagatare", "beds": 5, "budget": "9007199254740993",
        "level": "LOW", "tags": ["day"], "opened": "2020-02-29", "rating": 3,
        "address": {"street": "RN 3", "number": 1},
        "geometry": {"type": "Point", "coordinates": [30.3, -1.3]}});
    let first = receipt(&world, upsert, json!({"i": input})).await;
    assert_eq!(first["changes"], 1);
    assert_eq!(first["repeated"], false);
    assert_eq!(first["__typename"], "Receipt");
    let query = "{ twin(id: \"c:9\") { label revision geometry ... on Clinic { beds budget level tags opened rating address { street } } } }";
    let twin = world.data(query).await["twin"].clone();
    // A revision is the position right after the change, and so is this receipt.
    assert_eq!(twin["revision"], first["position"]);
    assert_eq!(
        twin,
        json!({"label": "Nyagatare", "revision": first["position"],
            "geometry": {"type": "Point", "coordinates": [30.3, -1.3]},
            "beds": 5, "budget": "9007199254740993", "level": "LOW", "tags": ["day"],
            "opened": "2020-02-29", "rating": 3.0, "address": {"street": "RN 3"}})
    );
    let again = receipt(&world, upsert, json!({"i": input})).await;
    assert_eq!(again["changes"], 0);
    let change = json!({"id": "c:9", "beds": null, "level": "HIGH", "geometry": null});
    receipt(&world, upsert, json!({"i": change})).await;
    let twin = world.data(query).await["twin"].clone();
    assert_eq!(twin["beds"], Json::Null);
    assert_eq!(twin["geometry"], Json::Null);
    assert_eq!(twin["level"], "HIGH");
    assert_eq!(twin["label"], "Nyagatare");
    // The same as literals.
    let literal = "mutation { upsertClinic(input: {id: \"c:9\", beds: 7, level: LOW, name: null}) { changes } }";
    assert_eq!(receipt(&world, literal, json!({})).await["changes"], 1);
    assert_eq!(world.data(query).await["twin"]["label"], Json::Null);
}

#[tokio::test]
async fn a_commit_does_all_or_none() {
    let world = World::small().await;
    let commit = "mutation M($o: [Operation!]!) { commit(operations: $o) { changes } }";
    let operations = json!([
        {"upsert": {"class": "Village", "id": "v:9", "set": {"name": "New", "population": 3}}},
        {"relate": {"source": "v:9", "relationship": "partOf", "target": "p:1"}},
        {"patch": {"class": "Clinic", "id": "c:1", "set": {"beds": 99, "rating": null}}},
        {"relate": {"source": "c:1", "relationship": "locatedIn", "target": "v:9", "replace": true}},
        {"relate": {"source": "c:1", "relationship": "serves", "target": "v:9", "properties": {"share": 0.25}}},
        {"unrelate": {"source": "c:1", "relationship": "serves", "target": "v:1"}},
        {"delete": {"id": "c:3"}},
    ]);
    receipt(&world, commit, json!({"o": operations})).await;
    let data = world
        .data(
            "{ gone: twin(id: \"c:3\") { id } c: twin(id: \"c:1\") { ... on Clinic { beds rating locatedIn { id partOf { id } }
               serves { edges { node { id } } } }
               related(relationship: \"serves\") { edges { node { id } properties } } } }",
        )
        .await;
    assert_eq!(data["gone"], Json::Null);
    let clinic = &data["c"];
    assert_eq!(clinic["beds"], 99);
    assert_eq!(clinic["rating"], Json::Null);
    assert_eq!(
        clinic["locatedIn"],
        json!({"id": "v:9", "partOf": {"id": "p:1"}})
    );
    let edges = clinic["related"]["edges"].as_array().unwrap();
    let shares: Vec<_> = edges
        .iter()
        .map(|edge| {
            (
                edge["node"]["id"].clone(),
                edge["properties"]["share"].clone(),
            )
        })
        .collect();
    assert_eq!(
        shares,
        [
            (json!("p:1"), json!(0.5)),
            (json!("v:2"), json!(0.5)),
            (json!("v:9"), json!(0.25))
        ]
    );
    let before = world.twin.view().position();
    let operations = json!([
        {"patch": {"class": "Clinic", "id": "c:1", "set": {"beds": 1}}},
        {"patch": {"class": "Clinic", "id": "nobody", "set": {"beds": 1}}},
    ]);
    let error = refusal(&world, commit, json!({"o": operations})).await;
    assert_eq!(error["extensions"]["code"], "NOT_FOUND", "{error:#}");
    assert_eq!(error["path"], json!(["commit"]));
    assert_eq!(world.twin.view().position(), before);
}

#[tokio::test]
async fn the_fields_for_one_operation_do_what_they_say() {
    let world = World::small().await;
    let changes = async |query: &str| receipt(&world, query, json!({})).await["changes"].clone();
    let relate = "mutation { relate(source: \"c:3\", relationship: \"serves\", target: \"v:1\", properties: {share: 0.5}) { changes } }";
    assert_eq!(changes(relate).await, 1);
    assert_eq!(changes(relate).await, 0);
    let unrelate = "mutation { unrelate(source: \"c:3\", relationship: \"serves\", target: \"v:1\") { changes } }";
    assert_eq!(changes(unrelate).await, 1);
    let kept = refusal(
        &world,
        "mutation { deleteTwin(id: \"v:1\") { changes } }",
        json!({}),
    )
    .await;
    assert_eq!(kept["extensions"]["code"], "VIOLATION", "{kept:#}");
    // One deletion, and partOf, locatedIn and serves of it.
    assert_eq!(
        changes("mutation { deleteTwin(id: \"v:1\", detach: true) { changes } }").await,
        4
    );
}

#[tokio::test]
async fn readings_are_recorded_all_or_none() {
    let world = World::small().await;
    let record = "mutation M($r: [ReadingInput!]!) { record(readings: $r) { changes position } }";
    let readings = json!([
        {"twin": "s:1", "telemetry": "heat", "ts": "2026-01-02T03:04:05.25Z", "value": 30},
        {"twin": "s:1", "telemetry": "heat", "ts": "2026-01-02T03:04:04Z", "value": 29.5},
    ]);
    let done = receipt(&world, record, json!({"r": readings})).await;
    assert_eq!(done["position"], world.twin.view().position().to_string());
    let heat = "{ twin(id: \"s:1\") { ... on Station { heat { value ts } } } }";
    assert_eq!(
        world.data(heat).await["twin"]["heat"],
        json!({"value": 30.0, "ts": "2026-01-02T03:04:05.25Z"})
    );
    for (reading, code, part) in [
        (
            json!({"twin": "nobody", "telemetry": "heat", "value": 1}),
            "NOT_FOUND",
            "readings[1].twin",
        ),
        (
            json!({"twin": "s:1", "telemetry": "heet", "value": 1}),
            "UNKNOWN_NAME",
            "`heat`",
        ),
        (
            json!({"twin": "s:1", "telemetry": "heat", "value": "hot"}),
            "INVALID_INPUT",
            "readings[1].value",
        ),
        (
            json!({"twin": "s:1", "telemetry": "heat", "value": 1, "ts": "noon"}),
            "INVALID_INPUT",
            "readings[1].ts",
        ),
        (
            json!({"twin": "s:1", "telemetry": "heat"}),
            "INVALID_INPUT",
            "readings[1].value",
        ),
    ] {
        let good = json!({"twin": "s:1", "telemetry": "heat", "value": 77});
        let error = refusal(&world, record, json!({"r": [good, reading]})).await;
        assert_eq!(error["extensions"]["code"], code, "{error:#}");
        assert!(
            error["message"].as_str().unwrap().contains(part),
            "{error:#}"
        );
    }
    assert_eq!(world.data(heat).await["twin"]["heat"]["value"], 30.0);
}

#[tokio::test]
async fn what_the_caller_expects_decides() {
    let world = World::small().await;
    let upsert = "mutation M($e: String, $n: Int) { upsertClinic(input: {id: \"c:1\", beds: $n}, expect: $e) { position } }";
    let revision =
        world.data("{ twin(id: \"c:1\") { revision } }").await["twin"]["revision"].clone();
    let error = refusal(&world, upsert, json!({"e": "absent", "n": 1})).await;
    assert_eq!(error["extensions"]["code"], "CONFLICT", "{error:#}");
    receipt(&world, upsert, json!({"e": revision, "n": 1})).await;
    let error = refusal(&world, upsert, json!({"e": revision, "n": 2})).await;
    assert_eq!(error["extensions"]["code"], "CONFLICT");
    assert_eq!(error["path"], json!(["upsertClinic"]));
    let error = refusal(&world, upsert, json!({"e": "latest", "n": 2})).await;
    assert_eq!(error["extensions"]["code"], "INVALID_INPUT");
    let new = "mutation { upsertClinic(input: {id: \"c:7\"}, expect: \"absent\") { changes } }";
    assert_eq!(receipt(&world, new, json!({})).await["changes"], 1);
    let delete = "mutation M($e: String) { deleteTwin(id: \"c:7\", expect: $e) { changes } }";
    let error = refusal(&world, delete, json!({"e": revision})).await;
    assert_eq!(error["extensions"]["code"], "CONFLICT");
}

#[tokio::test]
async fn a_repeat_under_one_key_gets_the_same_receipt() {
    let world = World::small().await;
    let parts = "{ position changes repeated }";
    let literal = format!(
        "mutation {{ upsertClinic(input: {{id: \"c:8\", name: \"Eight\", beds: 8}}, idempotencyKey: \"k1\") {parts} }}"
    );
    let first = receipt(&world, &literal, json!({})).await;
    let mut expected = first.clone();
    expected["repeated"] = json!(true);
    receipt(
        &world,
        "mutation { upsertClinic(input: {id: \"c:8\", beds: 9}) { changes } }",
        json!({}),
    )
    .await;
    assert_eq!(receipt(&world, &literal, json!({})).await, expected);
    // The same meaning, said in another way: other order, other field, variables.
    let commit = format!(
        "mutation M($s: JSON) {{ commit(operations: [{{upsert: {{id: \"c:8\", set: $s, class: \"Clinic\"}}}}], idempotencyKey: \"k1\") {parts} }}"
    );
    let set = json!({"beds": 8, "name": "Eight"});
    assert_eq!(receipt(&world, &commit, json!({"s": set})).await, expected);
    let error = refusal(&world, &commit, json!({"s": {"beds": 8}})).await;
    assert_eq!(error["extensions"]["code"], "CONFLICT", "{error:#}");
    let beds = world
        .data("{ twin(id: \"c:8\") { ... on Clinic { beds } } }")
        .await;
    assert_eq!(beds["twin"]["beds"], 9);
    for (key, code) in [
        (String::new(), "INVALID_INPUT"),
        ("k".repeat(MAX_IDEMPOTENCY_KEY_BYTES + 1), "LIMITED"),
    ] {
        let query =
            "mutation M($k: String) { deleteTwin(id: \"c:8\", idempotencyKey: $k) { changes } }";
        let error = refusal(&world, query, json!({"k": key})).await;
        assert_eq!(error["extensions"]["code"], code, "{error:#}");
    }
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_changes_nothing() {
    let world = World::small().await;
    let before = world.twin.view().position();
    let dry = "mutation M($o: [Operation!]!) { commit(operations: $o, dryRun: true) { changes position repeated } }";
    let good = json!([{"upsert": {"class": "Clinic", "id": "c:9"}}, {"delete": {"id": "v:1", "detach": true}}]);
    assert_eq!(
        receipt(&world, dry, json!({"o": good})).await,
        json!({"changes": 5, "position": before.to_string(), "repeated": false})
    );
    let bad = json!([{"patch": {"class": "Clinic", "id": "nobody"}}]);
    let error = refusal(&world, dry, json!({"o": bad})).await;
    assert_eq!(error["extensions"]["code"], "NOT_FOUND");
    assert_eq!(world.twin.view().position(), before);
}

#[tokio::test]
async fn refusals_say_what_is_wrong_and_where() {
    let world = World::small().await;
    let commit = "mutation M($o: [Operation!]!) { it: commit(operations: $o) { changes } }";
    for (operation, code, part) in [
        (json!({}), "INVALID_INPUT", "exactly one of"),
        (
            json!({"upsert": {"class": "Clinic", "id": "a"}, "delete": {"id": "a"}}),
            "INVALID_INPUT",
            "exactly one of",
        ),
        (json!({"upsrt": {}}), "UNKNOWN_NAME", "`upsert`"),
        (
            json!({"upsert": {"class": "Clinik", "id": "a"}}),
            "UNKNOWN_NAME",
            "`Clinic`",
        ),
        (
            json!({"upsert": {"class": "Clinic"}}),
            "INVALID_INPUT",
            "operations[0].upsert.id",
        ),
        (
            json!({"upsert": {"class": "Clinic", "id": "no good"}}),
            "INVALID_INPUT",
            "not a twin id",
        ),
        (
            json!({"upsert": {"class": "Clinic", "id": "a", "set": {"bedz": 1}}}),
            "UNKNOWN_NAME",
            "`beds`",
        ),
        (
            json!({"upsert": {"class": "Clinic", "id": "a", "set": {"beds": "many"}}}),
            "INVALID_INPUT",
            "operations[0].upsert.set.beds",
        ),
        (
            json!({"upsert": {"class": "Clinic", "id": "a", "set": {"level": "MID"}}}),
            "INVALID_INPUT",
            "operations[0].upsert.set.level",
        ),
        (
            json!({"upsert": {"class": "Clinic", "id": "a", "set": {"address": {"number": "x"}}}}),
            "INVALID_INPUT",
            "set.address.number",
        ),
        (
            json!({"upsert": {"class": "Clinic", "id": "a", "set": {"locatedIn": "v:1"}}}),
            "INVALID_INPUT",
            "use `relate`",
        ),
        (
            json!({"upsert": {"class": "Station", "id": "a", "set": {"heat": 1}}}),
            "INVALID_INPUT",
            "use `record`",
        ),
        (
            json!({"upsert": {"class": "Clinic", "id": "a", "geometry": {"type": "Point", "coordinates": [500, 0]}}}),
            "INVALID_INPUT",
            "operations[0].upsert.geometry",
        ),
        (
            json!({"upsert": {"class": "Village", "id": "c:1"}}),
            "CONFLICT",
            "keeps its class",
        ),
        (
            json!({"relate": {"source": "c:1", "relationship": "serve", "target": "v:1"}}),
            "UNKNOWN_NAME",
            "`serves`",
        ),
        (
            json!({"relate": {"source": "c:1", "relationship": "serves", "target": "v:1", "properties": {"shear": 1}}}),
            "UNKNOWN_NAME",
            "`share`",
        ),
        (
            json!({"relate": {"source": "c:1", "relationship": "locatedIn", "target": "v:2"}}),
            "VIOLATION",
            "locatedIn",
        ),
        (
            json!({"relate": {"source": "c:1", "relationship": "locatedIn", "target": "c:2"}}),
            "VIOLATION",
            "locatedIn",
        ),
        (
            json!({"relate": {"source": "c:1", "relationship": "serves", "target": "nobody"}}),
            "NOT_FOUND",
            "nobody",
        ),
        (
            json!({"delete": {"id": "c:1", "detach": "yes"}}),
            "INVALID_INPUT",
            "detach",
        ),
    ] {
        let answer = world.ask_with(commit, json!({"o": [operation]})).await;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], code, "{operation} {answer:#}");
        assert_eq!(error["path"], json!(["it"]), "{operation}");
        assert!(
            error["message"].as_str().unwrap().contains(part),
            "{operation} {error:#}"
        );
        assert_eq!(answer["data"], Json::Null);
    }
    for (query, code) in [
        (
            "mutation { upsertClinic(input: {id: \"a\", bedz: 1}) { changes } }",
            "UNKNOWN_NAME",
        ),
        (
            "mutation { upsertClinik(input: {id: \"a\"}) { changes } }",
            "UNKNOWN_NAME",
        ),
        (
            "mutation { upsertClinic(input: {beds: 1}) { changes } }",
            "INVALID_INPUT",
        ),
        (
            "mutation { commit(operations: [{upsert: {class: \"Clinic\", id: \"a\"}, delete: {id: \"a\"}}]) { changes } }",
            "INVALID_INPUT",
        ),
        (
            "mutation { deleteTwin(id: \"nobody\") { changes } }",
            "NOT_FOUND",
        ),
    ] {
        assert_eq!(world.error(query).await.0, code, "{query}");
    }
}

#[tokio::test]
async fn mutations_of_one_request_are_done_in_turn_until_one_is_refused() {
    let world = World::small().await;
    let answer = world
        .ask(
            "mutation { __typename
               a: upsertClinic(input: {id: \"n:1\"}, expect: \"absent\") { position }
               b: relate(source: \"n:1\", relationship: \"locatedIn\", target: \"v:1\") { position } }",
        )
        .await;
    assert_eq!(answer["data"]["__typename"], "Mutation", "{answer:#}");
    assert_ne!(
        answer["data"]["a"]["position"],
        answer["data"]["b"]["position"]
    );
    assert_eq!(
        answer["extensions"]["position"],
        answer["data"]["b"]["position"]
    );
    let answer = world
        .ask(
            "mutation { __typename a: upsertClinic(input: {id: \"n:2\"}) { position }
               b: deleteTwin(id: \"nobody\") { position }
               c: upsertClinic(input: {id: \"n:3\"}) { position } }",
        )
        .await;
    assert_eq!(answer["data"], Json::Null);
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
    assert_eq!(answer["errors"][0]["path"], json!(["b"]));
    let message = answer["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("stay done"), "{message}");
    // The data is null, so the receipt stands here.
    assert_eq!(
        answer["errors"][0]["extensions"]["done"],
        json!([{"path": ["a"], "position": answer["extensions"]["position"], "changes": 1, "repeated": false}])
    );
    let data = world
        .data("{ a: twin(id: \"n:2\") { id } c: twin(id: \"n:3\") { id } }")
        .await;
    assert_eq!(data, json!({"a": {"id": "n:2"}, "c": null}));
    assert_eq!(
        answer["extensions"]["position"],
        world.twin.view().position().to_string()
    );
}

#[tokio::test]
async fn an_input_that_names_a_field_twice_is_refused() {
    let world = World::small().await;
    let before = world.twin.view().position();
    let query = "mutation { upsertClinic(input: {id: \"h:2\", id: \"h:3\"}) { position } }";
    let (code, message) = world.error(query).await;
    assert_eq!(code, "INVALID_INPUT");
    assert!(message.contains("`id`"), "{message}");
    assert_eq!(world.twin.view().position(), before);
}

#[tokio::test]
async fn a_twin_that_does_not_write_says_so() {
    let world = World::small().await;
    world.store.fail(Some(Fault::Engine));
    let upsert = "mutation { upsertClinic(input: {id: \"n:1\"}) { position } }";
    let error = refusal(&world, upsert, json!({})).await;
    assert_eq!(error["extensions"]["code"], "UNAVAILABLE");
}

#[tokio::test]
async fn arguments_are_bounded_wherever_a_variable_is_used() {
    let world = World::small().await;
    let coordinates: Vec<_> = (0..30_000)
        .map(|i| json!([29.0 + f64::from(i) / 1e5, -2.0]))
        .collect();
    let line = json!({"type": "LineString", "coordinates": coordinates});
    let once =
        "mutation M($g: Geometry) { upsertClinic(input: {id: \"n:1\", geometry: $g}) { changes } }";
    assert_eq!(
        receipt(&world, once, json!({"g": line})).await["changes"],
        1
    );
    let fields: Vec<_> = (0..8)
        .map(|i| {
            format!("m{i}: upsertClinic(input: {{id: \"n:{i}\", geometry: $g}}) {{ changes }}")
        })
        .collect();
    let many = format!("mutation M($g: Geometry) {{ {} }}", fields.join(" "));
    let answer = world.ask_with(&many, json!({"g": line})).await;
    assert_eq!(
        answer["errors"][0]["extensions"]["code"], "TOO_COSTLY",
        "{answer:#}"
    );
    assert!(
        answer["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("MAX_ARGUMENT_VALUES")
    );
    let fields: Vec<_> = (0..8)
        .map(|i| format!("q{i}: clinics(space: {{polygon: $g}}) {{ totalCount }}"))
        .collect();
    let many = format!("query Q($g: Geometry) {{ {} }}", fields.join(" "));
    let answer = world.ask_with(&many, json!({"g": line})).await;
    assert_eq!(
        answer["errors"][0]["extensions"]["code"], "TOO_COSTLY",
        "{answer:#}"
    );
    let fields: Vec<_> = (0..=MAX_MUTATIONS)
        .map(|i| format!("m{i}: deleteTwin(id: \"nobody\") {{ changes }}"))
        .collect();
    let (code, message) = world
        .error(&format!("mutation {{ {} }}", fields.join(" ")))
        .await;
    assert_eq!(code, "TOO_COSTLY");
    assert!(message.contains("MAX_MUTATIONS"));
}
