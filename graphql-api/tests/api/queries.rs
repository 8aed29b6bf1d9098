use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_twin_shows_every_kind_of_value() {
    let world = World::small().await;
    let data = world
        .data(
            r#"{ twin(id: "c:1") { __typename id class label revision geometry
                 ... on Clinic { beds rating budget opened tags level synthetic
                   address { __typename street number }
                   locatedIn { id population } } } }"#,
        )
        .await;
    let revision = data["twin"]["revision"].clone();
    assert!(revision.as_str().unwrap().starts_with("main:"));
    assert_eq!(
        data["twin"],
        json!({"__typename": "Clinic", "id": "c:1", "class": "Clinic", "label": "Kigali A",
            "revision": revision, "geometry": {"type": "Point", "coordinates": [29.5, -2.0]},
            "beds": 12, "rating": 4.5, "budget": "9007199254740993", "opened": "2001-02-03",
            "tags": ["night", "lab"], "level": "HIGH", "synthetic": null,
            "address": {"__typename": "ClinicAddress", "street": "KN 4 Ave", "number": 8},
            "locatedIn": {"id": "v:1", "population": 100}})
    );
}

#[tokio::test]
async fn a_missing_twin_is_null_without_an_error() {
    let world = World::small().await;
    assert_eq!(
        world.data("{ twin(id: \"nobody\") { id } }").await,
        json!({"twin": null})
    );
}

#[tokio::test]
async fn keys_come_in_the_order_of_the_query_with_fragments_merged() {
    let world = World::small().await;
    let text = world
        .text_with(
            r"query Q($no: Boolean!) {
                 z: position
                 b: clinics(first: 1) { edges { node { id ...F } } }
                 a: clinics(first: 1) { edges { node { name @skip(if: $no) } } }
                 b: clinics(first: 1) { edges { node { beds } } pageInfo { hasNextPage } }
                 __typename
               }
               fragment F on AnyThing { name ... on Clinic { id level } ... on Village { population } }",
            json!({"no": true}),
        )
        .await;
    let data = text.split(",\"extensions\"").next().unwrap();
    let position = world.twin.view().position();
    assert_eq!(
        data,
        format!(
            r#"{{"data":{{"z":"{position}","b":{{"edges":[{{"node":{{"id":"c:1","name":"Kigali A","level":"HIGH","beds":12}}}}],"pageInfo":{{"hasNextPage":true}}}},"a":{{"edges":[{{"node":{{}}}}]}},"__typename":"Query"}}"#
        )
    );
}

#[tokio::test]
async fn texts_are_escaped() {
    let world = World::small().await;
    let data = world.data("{ twin(id: \"c:2\") { label } }").await;
    assert_eq!(data["twin"]["label"], "Kibuye \"B\"");
}

#[tokio::test]
async fn the_answer_names_its_instant() {
    let world = World::small().await;
    let answer = world.ask("{ position }").await;
    assert_eq!(answer["extensions"]["position"], answer["data"]["position"]);
    assert_eq!(
        answer["data"]["position"],
        world.twin.view().position().to_string()
    );
}

#[tokio::test]
async fn a_reading_has_value_unit_and_times() {
    let world = World::small().await;
    let data = world
        .data("{ stations { edges { node { heat { __typename value unit ts } near { id label } } } } }")
        .await;
    assert_eq!(
        data["stations"]["edges"][0]["node"],
        json!({"heat": {"__typename": "Reading", "value": 21.5, "unit": "degreeCelsius",
            "ts": "2023-11-14T22:13:20.125Z"}, "near": {"id": "c:1", "label": "Kigali A"}})
    );
}

#[tokio::test]
async fn related_twins_are_followed_both_ways_with_cursors() {
    let world = World::small().await;
    let data = world
        .data(
            r#"{ twin(id: "c:1") { ... on Clinic {
                   serves(first: 2) { totalCount edges { cursor node { __typename id } } pageInfo { hasNextPage endCursor } }
                   related { totalCount edges { relationship direction properties node { id } } } }
                 incoming: related(direction: IN) { edges { relationship direction node { id } } }
                 villages: related(class: "Village", relationship: "serves") { edges { node { id } } } } }"#,
        )
        .await;
    let twin = &data["twin"];
    assert_eq!(twin["serves"]["totalCount"], 3);
    assert_eq!(
        twin["serves"]["edges"][0]["node"],
        json!({"__typename": "Area", "id": "p:1"})
    );
    assert_eq!(twin["serves"]["pageInfo"]["hasNextPage"], true);
    assert_eq!(twin["related"]["totalCount"], 4);
    assert_eq!(
        twin["related"]["edges"][0],
        json!({"relationship": "serves", "direction": "OUT", "properties": {"share": 0.5}, "node": {"id": "p:1"}})
    );
    // The same twin by two relationships: once for each, by name.
    assert_eq!(twin["related"]["edges"][1]["relationship"], "locatedIn");
    assert_eq!(twin["related"]["edges"][2]["relationship"], "serves");
    assert_eq!(
        twin["incoming"]["edges"],
        json!([{"relationship": "near", "direction": "IN", "node": {"id": "s:1"}}])
    );
    assert_eq!(
        twin["villages"]["edges"],
        json!([{"node": {"id": "v:1"}}, {"node": {"id": "v:2"}}])
    );
    let after = twin["serves"]["pageInfo"]["endCursor"].as_str().unwrap();
    let rest = world
        .data(&format!(
            "{{ twin(id: \"c:1\") {{ ... on Clinic {{ serves(after: \"{after}\") {{ edges {{ node {{ id }} }} pageInfo {{ hasNextPage hasPreviousPage }} }} }} }} }}"
        ))
        .await;
    assert_eq!(
        rest["twin"]["serves"],
        json!({"edges": [{"node": {"id": "v:2"}}], "pageInfo": {"hasNextPage": false, "hasPreviousPage": true}})
    );
}

#[tokio::test]
async fn questions_of_space_are_answered() {
    let world = World::small().await;
    let data = world
        .data(
            r#"{ containing(point: {lon: 30.0, lat: -2.0}) { id }
                 villages: containing(point: {lon: 29.5, lat: -2}, class: "Village") { id }
                 nearest(class: "Clinic", to: {lon: 30.61, lat: -2.1}, k: 2) { metres twin { id } } }"#,
        )
        .await;
    // A boundary counts as inside both.
    assert_eq!(
        data["containing"],
        json!([{"id": "p:1"}, {"id": "v:1"}, {"id": "v:2"}])
    );
    assert_eq!(data["villages"], json!([{"id": "v:1"}]));
    assert_eq!(data["nearest"][0]["twin"]["id"], "c:3");
    let metres = data["nearest"][0]["metres"].as_f64().unwrap();
    assert!((1_112.0..1_114.0).contains(&metres), "{metres}");
    let conditional = world
        .data(r#"{ nearest(class: "Clinic", to: {lon: 30.61, lat: -2.1}, where: {beds: {isNull: false}}) { twin { id } } }"#)
        .await;
    assert_eq!(
        conditional["nearest"],
        json!([{"twin": {"id": "c:2"}}, {"twin": {"id": "c:1"}}])
    );
    for (space, found) in [
        ("box: [29.4, -2.05, 30.55, -1.9]", vec!["c:1", "c:2"]),
        (
            "radius: {center: {lon: 30.6, lat: -2.1}, metres: 20000}",
            vec!["c:2", "c:3"],
        ),
        (
            "polygon: {type: \"Polygon\", coordinates: [[[29,-3],[30,-3],[30,-1],[29,-1],[29,-3]]]}",
            vec!["c:1"],
        ),
        ("inside: \"v:2\"", vec!["c:2", "c:3"]),
    ] {
        assert_eq!(
            world.ids(&format!("clinics(space: {{{space}}})")).await,
            found,
            "{space}"
        );
    }
    let within = world
        .ids("areas(space: {box: [28.9, -3, 30.2, -1], relation: WITHIN})")
        .await;
    assert_eq!(within, ["v:1"]);
    let meets = world
        .ids("areas(space: {box: [28.9, -3, 30.2, -1]}, where: {id: {ne: \"p:1\"}})")
        .await;
    assert_eq!(meets, ["v:1", "v:2"]);
}

#[tokio::test]
async fn paths_are_traversed_and_paged() {
    let world = World::small().await;
    let steps = "steps: [{relationship: \"partOf\", direction: IN}, {relationship: \"locatedIn\", direction: IN, class: \"Clinic\"}]";
    assert_eq!(
        world
            .ids(&format!("traverse(from: [\"p:1\"], {steps})"))
            .await,
        ["c:1", "c:2"]
    );
    let first = world
        .data(&format!("{{ traverse(from: \"p:1\", {steps}, first: 1) {{ totalCount pageInfo {{ endCursor hasNextPage }} }} }}"))
        .await;
    assert_eq!(first["traverse"]["totalCount"], 2);
    assert_eq!(first["traverse"]["pageInfo"]["hasNextPage"], true);
    let after = first["traverse"]["pageInfo"]["endCursor"].as_str().unwrap();
    let rest = world
        .ids(&format!(
            "traverse(from: [\"p:1\"], {steps}, after: \"{after}\")"
        ))
        .await;
    assert_eq!(rest, ["c:2"]);
}

#[tokio::test]
async fn conditions_select() {
    let world = World::small().await;
    for (conditions, found) in [
        ("{}", vec!["c:1", "c:2", "c:3"]),
        ("{beds: {gt: 12}}", vec!["c:2"]),
        ("{beds: {gte: 12, lt: 40}}", vec!["c:1"]),
        ("{beds: {between: [12, 40]}}", vec!["c:1", "c:2"]),
        ("{beds: {ne: 12}}", vec!["c:2", "c:3"]),
        ("{beds: {isNull: true}}", vec!["c:3"]),
        (
            "{beds: {in: [1, 12]}, name: {startsWith: \"Kig\"}}",
            vec!["c:1"],
        ),
        ("{name: {contains: \"Mus\"}}", vec!["c:3"]),
        ("{level: {eq: HIGH}}", vec!["c:1"]),
        ("{level: {in: [LOW, HIGH]}}", vec!["c:1", "c:2"]),
        ("{tags: {contains: \"lab\"}}", vec!["c:1"]),
        ("{budget: {eq: \"9007199254740993\"}}", vec!["c:1"]),
        ("{opened: {lt: \"2001-02-04\"}}", vec!["c:1"]),
        ("{address: {isNull: false}}", vec!["c:1"]),
        ("{synthetic: {eq: true}}", vec!["c:3"]),
        (
            "{or: [{beds: {eq: 12}}, {name: {eq: \"Musanze\"}}]}",
            vec!["c:1", "c:3"],
        ),
        ("{or: []}", vec![]),
        ("{not: {beds: {eq: 12}}}", vec!["c:2", "c:3"]),
        ("{locatedIn: {id: {eq: \"v:2\"}}}", vec!["c:2"]),
        (
            "{locatedIn: {id: {in: [\"v:1\", \"v:2\"]}}, beds: {gt: 20}}",
            vec!["c:2"],
        ),
        ("{locatedIn: {population: {lt: 200}}}", vec!["c:1"]),
        (
            "{locatedIn: {partOf: {name: {eq: \"North\"}}}}",
            vec!["c:1", "c:2"],
        ),
        ("{serves: {id: {eq: \"v:2\"}}}", vec!["c:1"]),
        ("{not: {locatedIn: {}}}", vec!["c:3"]),
        (
            "{id: {in: [\"c:3\", \"v:1\", \"c:1\"]}}",
            vec!["c:1", "c:3"],
        ),
        ("{id: {gt: \"c:1\", lt: \"c:3\"}}", vec!["c:2"]),
    ] {
        assert_eq!(
            world.ids(&format!("clinics(where: {conditions})")).await,
            found,
            "{conditions}"
        );
    }
}

#[tokio::test]
async fn conditions_come_in_variables_too() {
    let world = World::small().await;
    let answer = world
        .ask_with(
            "query Q($w: ClinicWhere, $n: Int = 1, $o: [ClinicOrder!]) { clinics(where: $w, first: $n, orderBy: $o) { totalCount edges { node { id } } } }",
            json!({"w": {"beds": {"isNull": false}}, "o": {"beds": "DESC"}}),
        )
        .await;
    assert_eq!(
        answer["data"]["clinics"],
        json!({"totalCount": 2, "edges": [{"node": {"id": "c:2"}}]}),
        "{answer:#}"
    );
}

#[tokio::test]
async fn lists_of_a_class_hold_its_subclasses() {
    let world = World::small().await;
    let data = world
        .data("{ areas(orderBy: [{population: DESC}]) { __typename totalCount edges { node { __typename id population } } } }")
        .await;
    assert_eq!(
        data["areas"],
        json!({"__typename": "AnyAreaConnection", "totalCount": 3, "edges": [
            {"node": {"__typename": "Area", "id": "p:1", "population": 900}},
            {"node": {"__typename": "Village", "id": "v:2", "population": 250}},
            {"node": {"__typename": "Village", "id": "v:1", "population": 100}}]})
    );
}

#[tokio::test]
async fn orders_put_absent_values_last() {
    let world = World::small().await;
    assert_eq!(
        world.ids("clinics(orderBy: [{beds: ASC}])").await,
        ["c:1", "c:2", "c:3"]
    );
    assert_eq!(
        world.ids("clinics(orderBy: [{beds: DESC}])").await,
        ["c:2", "c:1", "c:3"]
    );
    assert_eq!(
        world
            .ids("clinics(orderBy: [{synthetic: ASC}, {name: DESC}])")
            .await,
        ["c:3", "c:1", "c:2"]
    );
    assert_eq!(
        world.ids("clinics(orderBy: [{id: DESC}])").await,
        ["c:3", "c:2", "c:1"]
    );
}
