//! `search`: twins by what people call them.

use serde_json::{Value as Json, json};

use crate::world::{World, area, clinic};

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
    // Among the same, by label as it is written, then by id.
    let all = [
        ("c:9", "EXACT"),
        ("v:11", "EXACT"),
        ("v:2", "EXACT"),
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
    assert_eq!(clinics, pairs(&[all[0], all[7]]));
    let areas = found(&world, "text: \"hills gat\", class: \"Area\"").await;
    assert_eq!(areas, pairs(&[("v:10", "WORDS")]));
    let by_id = found(&world, "text: \"V:13\"").await;
    assert_eq!(by_id, pairs(&[("v:13", "EXACT")]));
    assert!(found(&world, "text: \"nowhere\"").await.is_empty());
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
