//! Lists against a plain model: which twins, in which order, over any pages.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{World, id, put};
use twin_core::Operation;

#[derive(Clone, Debug)]
struct Row {
    id: String,
    beds: Option<i64>,
    rating: Option<f64>,
    name: Option<String>,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        0..60_u32,
        prop::option::of(0..6_i64),
        prop::option::of(prop::sample::select(vec![-1.5, 0.0, 0.25, 7.0, 1e12])),
        prop::option::of(prop::sample::select(vec!["", "a", "ab", "b", "Ü"])),
    );
    prop::collection::btree_map(0..60_u32, row, 0..25).prop_map(|rows| {
        let row = |(id, (_, beds, rating, name)): (u32, (_, _, _, Option<&str>))| Row {
            id: format!("c:{id}"),
            beds,
            rating,
            name: name.map(str::to_owned),
        };
        rows.into_iter().map(row).collect()
    })
}

/// What a condition means, given its number and text.
type Holds = fn(&Row, i64, &str) -> bool;

/// A condition, and what it means.
fn condition() -> impl Strategy<Value = (Value, Holds, i64, String)> {
    let kinds: Vec<(&str, Holds)> = vec![
        ("none", |_, _, _| true),
        ("gt", |row, n, _| row.beds.is_some_and(|beds| beds > n)),
        ("lte", |row, n, _| row.beds.is_some_and(|beds| beds <= n)),
        ("ne", |row, n, _| row.beds != Some(n)),
        ("null", |row, _, _| row.beds.is_none()),
        ("starts", |row, _, text| {
            row.name.as_ref().is_some_and(|name| name.starts_with(text))
        }),
        ("or", |row, n, text| {
            row.beds == Some(n) || row.name.as_deref() == Some(text)
        }),
        ("not", |row, n, _| {
            row.beds != Some(n) || row.rating.is_none()
        }),
    ];
    (
        prop::sample::select(kinds),
        0..6_i64,
        prop::sample::select(vec!["", "a", "b"]),
    )
        .prop_map(|((kind, holds), n, text)| {
            let json = match kind {
                "gt" => json!({"beds": {"gt": n}}),
                "lte" => json!({"beds": {"lte": n}}),
                "ne" => json!({"beds": {"ne": n}}),
                "null" => json!({"beds": {"isNull": true}}),
                "starts" => json!({"name": {"startsWith": text}}),
                "or" => json!({"or": [{"beds": {"eq": n}}, {"name": {"eq": text}}]}),
                "not" => json!({"not": {"beds": {"eq": n}, "rating": {"isNull": false}}}),
                _ => json!({}),
            };
            (json, holds, n, text.to_owned())
        })
}

fn sorted(mut rows: Vec<Row>, order: &[(&str, bool)]) -> Vec<String> {
    fn absent_last<T: PartialOrd>(a: Option<T>, b: Option<T>, down: bool) -> std::cmp::Ordering {
        match (a, b) {
            (None, None) => std::cmp::Ordering::Equal,
            (None, _) => std::cmp::Ordering::Greater,
            (_, None) => std::cmp::Ordering::Less,
            (Some(a), Some(b)) if down => b.partial_cmp(&a).unwrap(),
            (Some(a), Some(b)) => a.partial_cmp(&b).unwrap(),
        }
    }
    rows.sort_by(|a, b| {
        for (key, down) in order {
            let found = match *key {
                "beds" => absent_last(a.beds, b.beds, *down),
                "rating" => absent_last(a.rating, b.rating, *down),
                _ => absent_last(a.name.as_ref(), b.name.as_ref(), *down),
            };
            if found.is_ne() {
                return found;
            }
        }
        a.id.cmp(&b.id)
    });
    rows.into_iter().map(|row| row.id).collect()
}

async fn filled(rows: &[Row]) -> World {
    let world = World::empty().await;
    let operations = rows.iter().map(|row| {
        let mut set = json!({});
        if let Some(beds) = row.beds {
            set["beds"] = json!(beds);
        }
        if let Some(rating) = row.rating {
            set["rating"] = json!(rating);
        }
        if let Some(name) = &row.name {
            set["name"] = json!(name);
        }
        Operation::Upsert(put(&row.id, "Clinic", set, None))
    });
    let operations: Vec<_> = operations.collect();
    if !operations.is_empty() {
        world.commit(operations).await;
    }
    world
}

const PAGES: &str = "query Q($w: ClinicWhere, $o: [ClinicOrder!], $n: Int, $a: String) {
    clinics(where: $w, orderBy: $o, first: $n, after: $a) {
      totalCount edges { cursor node { id } } pageInfo { hasNextPage endCursor } } }";

async fn page(world: &World, variables: &Value) -> (Vec<String>, u64, bool, Value) {
    let answer = world.ask_with(PAGES, variables.clone()).await;
    let list = &answer["data"]["clinics"];
    assert!(list.is_object(), "{answer:#}");
    let edges = list["edges"].as_array().unwrap();
    let ids = edges
        .iter()
        .map(|edge| edge["node"]["id"].as_str().unwrap().to_owned())
        .collect();
    if let Some(last) = edges.last() {
        assert_eq!(last["cursor"], list["pageInfo"]["endCursor"]);
    }
    let more = list["pageInfo"]["hasNextPage"].as_bool().unwrap();
    (
        ids,
        list["totalCount"].as_u64().unwrap(),
        more,
        list["pageInfo"]["endCursor"].clone(),
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn pages_of_any_condition_and_order_are_the_brute_force_list(
        rows in rows(),
        (conditions, holds, n, text) in condition(),
        order in prop::collection::vec(
            (prop::sample::select(vec!["beds", "rating", "name"]), any::<bool>()), 0..3),
        first in 1..8_usize,
    ) {
        runtime().block_on(async {
            let world = filled(&rows).await;
            let fitting: Vec<_> = rows.iter().filter(|row| holds(row, n, &text)).cloned().collect();
            let expected = sorted(fitting, &order);
            let order_by: Vec<_> = order
                .iter()
                .map(|(key, down)| json!({*key: if *down { "DESC" } else { "ASC" }}))
                .collect();
            let mut variables = json!({"w": conditions, "o": order_by, "n": first});
            let mut found = Vec::new();
            loop {
                let (ids, total, more, end) = page(&world, &variables).await;
                assert_eq!(total as usize, expected.len());
                assert!(ids.len() <= first);
                found.extend(ids);
                assert_eq!(more, found.len() < expected.len());
                if !more {
                    break;
                }
                variables["a"] = end;
            }
            assert_eq!(found, expected);
        });
    }
}

#[tokio::test]
async fn walking_meets_what_stays_exactly_once_while_the_data_changes() {
    for order in [json!([]), json!([{"beds": "DESC"}])] {
        let rows: Vec<_> = (100..140)
            .map(|i| Row {
                id: format!("c:{i}"),
                beds: Some(i % 7),
                rating: None,
                name: None,
            })
            .collect();
        let world = filled(&rows).await;
        let mut variables = json!({"o": order, "n": 3});
        let mut found = Vec::new();
        let mut step = 0;
        loop {
            let (ids, _, more, end) = page(&world, &variables).await;
            // Take away what the cursor stands on, and add twins before and behind it.
            if let Some(gone) = ids.last() {
                let delete = Operation::Delete {
                    id: id(gone),
                    expect: None,
                    detach: true,
                };
                world.commit(vec![delete]).await;
            }
            let new = |name: String| {
                Operation::Upsert(put(&name, "Clinic", json!({"beds": step % 7}), None))
            };
            world
                .commit(vec![new(format!("c:0{step}")), new(format!("c:9{step}"))])
                .await;
            found.extend(ids);
            step += 1;
            if !more || step > 60 {
                break;
            }
            variables["a"] = end;
        }
        let mut stayed: Vec<_> = found
            .iter()
            .filter(|id| id.starts_with("c:1"))
            .cloned()
            .collect();
        assert_eq!(
            found.len(),
            found
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .len()
        );
        stayed.sort();
        let all: Vec<_> = rows.into_iter().map(|row| row.id).collect();
        assert_eq!(stayed, all, "{order}");
    }
}
