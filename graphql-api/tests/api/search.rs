//! `search`: twins by what people call them.

use serde_json::{Value as Json, json};
use twin_core::Operation;

use crate::world::{World, area, clinic, put};

/// Ids and how each matched.
async fn found(world: &World, arguments: &str) -> Vec<(String, String)> {
    let query = format!("{{ search({arguments}) {{ matched twin {{ id }} }} }}");
    let data = world.data(&query).await;
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let rows = data["search"].as_array().unwrap();
    rows.iter()
        .map(|row| (text(&row["twin"]["id"]), text(&row["matched"])))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let pair = |(id, matched): &(&str, &str)| ((*id).to_owned(), (*matched).to_owned());
    expected.iter().map(pair).collect()
}

async fn named() -> World {
    let world = World::small().await;
    let place = |id, name| area(id, "Village", name, 1, [29.0, -3.0, 30.0, -1.0]);
    world
        .commit(vec![
            place("v:10", "Gatare Hills"),
            place("v:11", "Gatare"),
            place("v:12", "Upper Gatare"),
            place("v:13", "Nyagatare"),
            place("v:14", "École Gatàre"),
            clinic("gatare:1", json!({"beds": 1}), 29.5, -2.0),
            clinic("c:9", json!({"name": "Gatare"}), 29.5, -2.0),
        ])
        .await;
    world
}

#[tokio::test]
async fn twins_are_found_by_name_best_match_first() {
    let world = named().await;
    // Among the same, areas before others, then by label as it is written, then by id.
    let all = [
        ("v:11", "EXACT"),
        ("v:2", "EXACT"),
        ("c:9", "EXACT"),
        ("v:10", "PREFIX"),
        ("v:12", "WORDS"),
        ("v:14", "WORDS"),
        ("v:13", "PART"),
        ("gatare:1", "ID"),
    ];
    for text in ["gatare", " GATARE ", "gàtare"] {
        let found = found(&world, &format!("text: \"{text}\"")).await;
        assert_eq!(found, pairs(&all), "{text}");
    }
    let first = found(&world, "text: \"gatare\", first: 3").await;
    assert_eq!(first, pairs(&all[..3]));
    assert!(found(&world, "text: \"gatare\", first: 0").await.is_empty());
    let clinics = found(&world, "text: \"gatare\", class: \"Clinic\"").await;
    assert_eq!(clinics, pairs(&[all[2], all[7]]));
    let areas = found(&world, "text: \"hills gat\", class: \"Area\"").await;
    assert_eq!(areas, pairs(&[("v:10", "WORDS")]));
    let by_id = found(&world, "text: \"V:13\"").await;
    assert_eq!(by_id, pairs(&[("v:13", "EXACT")]));
    assert!(found(&world, "text: \"nowhere\"").await.is_empty());
}

/// Whoever types a name that a district shares with its villages means the district first, whatever
/// the classes and ids are.
#[tokio::test]
async fn of_equal_matches_the_larger_area_comes_first() {
    let world = World::empty().await;
    let place = |id, name, bounds| area(id, "Area", name, 1, bounds);
    world
        .commit(vec![
            area("a:village", "Village", "Kivu", 1, [29.0, -2.1, 29.1, -2.0]),
            place("z:district", "Kivu", [29.0, -3.0, 30.0, -2.0]),
            // A degree of longitude is shorter away from the equator.
            place("b:north", "Kivu", [29.0, 59.0, 30.0, 60.0]),
            // A better match is not beaten by size.
            place("c:lake", "Kivu lake", [28.0, -4.0, 30.0, -1.0]),
            place("d:bay", "Kivu bay", [28.5, -2.6, 28.6, -2.5]),
            clinic("a:clinic", json!({"name": "Kivu"}), 29.5, -2.5),
            clinic("b:clinic", json!({"name": "Kivu alley"}), 29.5, -2.5),
        ])
        .await;
    let all = [
        ("z:district", "EXACT"),
        ("b:north", "EXACT"),
        ("a:village", "EXACT"),
        ("a:clinic", "EXACT"),
        ("c:lake", "PREFIX"),
        ("d:bay", "PREFIX"),
        ("b:clinic", "PREFIX"),
    ];
    assert_eq!(found(&world, "text: \"kivu\"").await, pairs(&all));
    for first in 1..all.len() {
        let some = found(&world, &format!("text: \"kivu\", first: {first}")).await;
        assert_eq!(some, pairs(&all[..first]));
    }
}

/// Where nobody has an outline, as in the small facts, hospitals still come before health posts.
#[tokio::test]
async fn of_equal_matches_without_an_area_the_rarer_kind_comes_first() {
    let world = World::empty().await;
    let station = |id, name| Operation::Upsert(put(id, "Station", json!({ "name": name }), None));
    world
        .commit(vec![
            clinic("a:1", json!({"name": "Kivu"}), 29.5, -2.5),
            clinic("a:2", json!({"name": "Kivu"}), 29.6, -2.5),
            clinic("a:3", json!({"name": "Rusizi"}), 29.7, -2.5),
            station("b:1", "Kivu"),
            station("b:2", "Nyabarongo"),
        ])
        .await;
    let all = [("b:1", "EXACT"), ("a:1", "EXACT"), ("a:2", "EXACT")];
    assert_eq!(found(&world, "text: \"kivu\"").await, pairs(&all));
}

#[tokio::test]
async fn the_first_found_are_the_first_of_all_found() {
    let world = World::empty().await;
    let names = ["lake", "lake side", "old lake", "lakes", "flake"];
    let twins = (0..500).map(|i| {
        let name = format!("{} {}", names[i % names.len()], i / 7);
        clinic(&format!("c:{i}"), json!({ "name": name }), 29.5, -2.0)
    });
    world.commit(twins.collect()).await;
    let all = found(&world, "text: \"lake\", first: 1000").await;
    assert_eq!(all.len(), 500);
    for first in [1, 2, 7, 49, 250, 499] {
        let some = found(&world, &format!("text: \"lake\", first: {first}")).await;
        assert_eq!(some, all[..first]);
    }
}

#[tokio::test]
async fn a_search_says_what_it_cannot_look_for() {
    let world = World::small().await;
    let long = "x".repeat(graphql_api::limits::MAX_SEARCH_BYTES + 1);
    for (arguments, code, part) in [
        ("text: \"  \"", "INVALID_INPUT", "`text` is empty"),
        (
            &*format!("text: \"{long}\""),
            "INVALID_INPUT",
            "MAX_SEARCH_BYTES",
        ),
        ("text: \"a\", first: 1001", "TOO_COSTLY", "1000"),
        ("text: \"a\", first: -1", "INVALID_INPUT", "`first`"),
        ("text: \"a\", class: \"Clinik\"", "UNKNOWN_NAME", "`Clinic`"),
    ] {
        let query = format!("{{ search({arguments}) {{ matched }} }}");
        let (said, message) = world.error(&query).await;
        assert_eq!(said, code, "{message}");
        assert!(message.contains(part), "{message}");
    }
}

/// Milliseconds are wanted; debug builds on busy machines are what runs this.
#[tokio::test]
async fn twenty_thousand_names_are_looked_through_soon() {
    let world = World::empty().await;
    for part in 0..20 {
        let twins = (0..1_000).map(|i| {
            let name = format!("Place {} of {part}", i * 7919 % 1_000);
            clinic(
                &format!("c:{part}:{i}"),
                json!({ "name": name }),
                29.5,
                -2.0,
            )
        });
        world.commit(twins.collect()).await;
    }
    let start = std::time::Instant::now();
    let hits = found(&world, "text: \"place 12\"").await;
    let taken = start.elapsed();
    assert_eq!(hits.len(), 20);
    assert!(taken < std::time::Duration::from_secs(1), "{taken:?}");
}
