use std::fmt::Write as _;

use graphql_api::limits::{MAX_ALIASES, MAX_DEPTH};
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_failed_nullable_field_is_null_with_its_path() {
    let world = World::small().await;
    let answer = world
        .ask("{ a: twin(id: \"c:1\") { id } b: twin(id: \"no good\") { id } }")
        .await;
    assert_eq!(answer["data"], json!({"a": {"id": "c:1"}, "b": null}));
    let error = &answer["errors"][0];
    assert_eq!(error["path"], json!(["b"]));
    assert_eq!(error["locations"], json!([{"line": 1, "column": 29}]));
    assert_eq!(error["extensions"]["code"], "INVALID_INPUT");
}

#[tokio::test]
async fn a_failed_field_that_cannot_be_null_takes_what_is_around_it() {
    let world = World::small().await;
    // `serves` cannot be null, so `near` is, and its sibling and the next twin stay.
    let answer = world
        .ask(
            r"{ stations { edges { node { id
                   near { ... on Clinic { id serves(first: 1001) { totalCount } } } label } } }
                 position }",
        )
        .await;
    let station = &answer["data"]["stations"]["edges"][0]["node"];
    assert_eq!(
        *station,
        json!({"id": "s:1", "near": null, "label": "Roof"})
    );
    assert!(answer["data"]["position"].is_string());
    let path = json!(["stations", "edges", 0, "node", "near", "serves"]);
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
    assert_eq!(answer["errors"][0]["path"], path);
    assert_eq!(answer["errors"][0]["extensions"]["code"], "TOO_COSTLY");
}

#[tokio::test]
async fn a_failed_root_field_that_cannot_be_null_leaves_no_data() {
    let world = World::small().await;
    let answer = world
        .ask("{ position containing(point: {lon: 200, lat: 0}) { id } }")
        .await;
    assert_eq!(answer["data"], Value::Null);
    assert!(answer.as_object().unwrap().contains_key("data"));
    assert_eq!(answer["errors"][0]["path"], json!(["containing"]));
    assert_eq!(
        answer["extensions"]["position"],
        world.twin.view().position().to_string()
    );
}

#[tokio::test]
async fn unknown_names_come_with_a_suggestion() {
    let world = World::small().await;
    for (query, suggestion) in [
        ("{ clinics { edges { node { bedz } } } }", "beds"),
        ("{ clinics(wher: {}) { totalCount } }", "where"),
        ("{ clinics(where: {bedz: {gt: 1}}) { totalCount } }", "beds"),
        (
            "{ nearest(class: \"Clinik\", to: {lon: 30, lat: -2}) { metres } }",
            "Clinic",
        ),
        (
            "{ nearest(class: \"Clinic\", to: {lon: 30, lat: -2}, where: {bedz: {}}) { metres } }",
            "beds",
        ),
        (
            "{ nearest(class: \"Clinic\", to: {lon: 30, lat: -2}, where: {beds: {gtt: 1}}) { metres } }",
            "gt",
        ),
        (
            "{ twin(id: \"c:1\") { related(relationship: \"locatedin\") { totalCount } } }",
            "locatedIn",
        ),
        (
            "{ traverse(from: [\"c:1\"], steps: [{relationship: \"serve\"}]) { totalCount } }",
            "serves",
        ),
    ] {
        let answer = world.ask(query).await;
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "UNKNOWN_NAME", "{query}\n{answer:#}");
        assert_eq!(extensions["suggestion"], suggestion, "{query}\n{answer:#}");
    }
}

#[tokio::test]
async fn wrong_input_says_what_and_where() {
    let world = World::small().await;
    for (query, part) in [
        (
            "{ clinics(where: {beds: {gt: 1.5}}) { totalCount } }",
            "Int",
        ),
        (
            "{ clinics(where: {opened: {eq: \"yesterday\"}}) { totalCount } }",
            "where.opened.eq",
        ),
        (
            "{ clinics(where: {beds: {eq: null}}) { totalCount } }",
            "isNull",
        ),
        (
            "{ clinics(where: {beds: {between: [1]}}) { totalCount } }",
            "two values",
        ),
        ("{ clinics(first: -1) { totalCount } }", "from 0"),
        (
            "{ clinics(after: \"rubbish\") { totalCount } }",
            "not a cursor",
        ),
        ("{ clinics(space: {}) { totalCount } }", "exactly one"),
        (
            "{ clinics(space: {box: [0,0,1,1], cells: [\"8a\"]}) { totalCount } }",
            "exactly one",
        ),
        ("{ clinics(space: {cells: [\"zz\"]}) { totalCount } }", "H3"),
        ("{ clinics(space: {box: [1,2,3]}) { totalCount } }", "west"),
        (
            "{ clinics(space: {polygon: {type: \"Point\", coordinates: [1,2]}}) { totalCount } }",
            "space.polygon",
        ),
        (
            "{ clinics(space: {inside: \"c:1\"}) { totalCount } }",
            "space.inside",
        ),
        (
            "{ __schema { queryType { name } } position }",
            "request of their own",
        ),
        ("{ position", "expected"),
        ("", "expected"),
        (
            "query A { position } query B { position }",
            "several operations",
        ),
        (
            "query Q($n: Int!) { clinics(first: $n) { totalCount } }",
            "required",
        ),
    ] {
        let (code, message) = world.error(query).await;
        assert_eq!(code, "INVALID_INPUT", "{query}: {message}");
        assert!(message.contains(part), "{query}: {message}");
    }
    let (code, _) = world
        .error("{ clinics(space: {inside: \"nobody\"}) { totalCount } }")
        .await;
    assert_eq!(code, "NOT_FOUND");
    let (code, _) = world
        .error("{ traverse(from: [\"nobody\"], steps: []) { totalCount } }")
        .await;
    assert_eq!(code, "NOT_FOUND");
}

#[tokio::test]
async fn variables_are_checked_against_their_type() {
    let world = World::small().await;
    for (ty, value) in [
        ("Int", json!("1")),
        ("Int", json!(3_000_000_000_u64)),
        ("Int!", Value::Null),
    ] {
        let query = format!("query Q($n: {ty}) {{ clinics(first: $n) {{ totalCount }} }}");
        let answer = world.ask_with(&query, json!({"n": value})).await;
        assert_eq!(
            answer["errors"][0]["extensions"]["code"], "INVALID_INPUT",
            "{ty} {answer:#}"
        );
        assert!(answer.get("data").is_none());
    }
    // The text is remembered as valid by now; its variables are checked all the same.
    let query = "query Q($w: ClinicWhere) { clinics(where: $w) { totalCount } }";
    let good = world
        .ask_with(query, json!({"w": {"beds": {"gt": 1}}}))
        .await;
    assert_eq!(good["data"]["clinics"]["totalCount"], 2);
    for wrong in [
        json!(1),
        json!({"bedz": {}}),
        json!({"beds": 1}),
        json!({"beds": {"gt": "x"}}),
    ] {
        let bad = world.ask_with(query, json!({"w": wrong})).await;
        assert!(
            bad["errors"][0]["extensions"]["code"].is_string(),
            "{bad:#}"
        );
    }
}

#[tokio::test]
async fn too_much_at_once_is_refused_with_the_limit() {
    let world = World::small().await;
    let deep = "related { edges { node { ".repeat(MAX_DEPTH);
    let deep = format!(
        "{{ twin(id: \"c:1\") {{ {deep} id {} }} }}",
        "} } }".repeat(MAX_DEPTH)
    );
    let aliases: Vec<_> = (0..=MAX_ALIASES)
        .map(|i| format!("a{i}: position"))
        .collect();
    let aliases = aliases.join(" ");
    let wide = "{ areas(first: 1000) { edges { node { related(first: 1000) { totalCount edges { node { id } } } } } } }";
    for (query, limit) in [
        (deep.as_str(), "MAX_"),
        (&format!("{{ {aliases} }}"), "MAX_ALIASES"),
        (wide, "MAX_NODES"),
        (&"{".repeat(50_000), "MAX_NESTING"),
        (
            &format!("{{ position(a: {}) }}", "[".repeat(50_000)),
            "MAX_NESTING",
        ),
        (
            &format!("{{ {} }}", "position ".repeat(12_000)),
            "MAX_TOKENS",
        ),
        (&" ".repeat(1 << 18), "MAX_QUERY_BYTES"),
        ("{ clinics(first: 1001) { totalCount } }", "1000"),
    ] {
        let (code, message) = world.error(query).await;
        assert_eq!(code, "TOO_COSTLY", "{message}");
        assert!(message.contains(limit), "{limit}: {message}");
    }
}

#[tokio::test]
async fn a_relationship_costs_what_the_model_allows_of_it() {
    let world = World::small().await;
    let ask = |inner: &str| {
        format!(
            "{{ clinics(first: 1000) {{ edges {{ node {{ {inner} {{ edges {{ node {{ id }} }} }} }} }} }} }}"
        )
    };
    world
        .data(&ask("related(relationship: \"locatedIn\", first: 1000)"))
        .await;
    for many in [
        "related(relationship: \"serves\", first: 1000)",
        "related(relationship: \"locatedIn\", direction: IN, first: 1000)",
        "related(first: 1000)",
        "serves(first: 1000)",
    ] {
        let (code, message) = world.error(&ask(many)).await;
        assert_eq!(code, "TOO_COSTLY", "{many}");
        assert!(message.contains("MAX_NODES"), "{many}");
    }
}

#[tokio::test]
async fn fragments_that_multiply_are_refused_at_once() {
    let world = World::small().await;
    let started = std::time::Instant::now();
    let mut doubling = "{ ...f0 }".to_owned();
    for i in 0..60 {
        let n = i + 1;
        write!(
            doubling,
            " fragment f{i} on Query {{ ...f{n} x: position ...f{n} }}"
        )
        .unwrap();
    }
    doubling.push_str(" fragment f60 on Query { position }");
    assert_eq!(world.error(&doubling).await.0, "TOO_COSTLY");
    let cycle = "{ ...a } fragment a on Query { ...b ...b } fragment b on Query { ...a ...a }";
    assert_eq!(world.error(cycle).await.0, "INVALID_INPUT");
    let unused = "{ position } fragment a on Query { ...a }";
    assert_eq!(world.error(unused).await.0, "INVALID_INPUT");
    let introspection = "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }";
    assert_eq!(world.error(introspection).await.0, "TOO_COSTLY");
    let wrapped = introspection.replacen('{', "{ ... on Query {", 1) + " }";
    assert_eq!(world.error(&wrapped).await.0, "TOO_COSTLY");
    let many = "{ a: __schema { types { name } } b: __schema { types { name } } c: __schema { types { name } } }";
    assert_eq!(world.error(many).await.0, "TOO_COSTLY");
    let long = format!("{{ {}: position }}", "a".repeat(1_000));
    assert_eq!(world.error(&long).await.0, "TOO_COSTLY");
    assert!(started.elapsed().as_secs() < 2);
}

#[tokio::test]
async fn a_huge_in_is_refused() {
    let world = World::small().await;
    let ids: Vec<_> = (0..20_000).map(|i| json!(format!("x:{i}"))).collect();
    let query = "query Q($ids: [ID!]) { clinics(where: {id: {in: $ids}}) { totalCount } }";
    let answer = world.ask_with(query, json!({"ids": ids})).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "TOO_COSTLY");
}
