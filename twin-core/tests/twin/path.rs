//! Shortest paths and filtered traversals against searches that try everything.

use std::collections::BTreeSet;

use ontology::Value;
use proptest::prelude::*;
use twin_core::{Direction, Link, Operation, PathError, Step, View, Way, shortest_path, traverse};

use crate::world::{World, id, relate, station};

/// Relationships as (source, name, target, weight).
type Edges = Vec<(u8, bool, u8, Option<i64>)>;

fn name(feeds: bool) -> &'static str {
    if feeds { "feeds" } else { "monitors" }
}

fn twin(n: u8) -> String {
    format!("s{n}")
}

async fn world(twins: u8, edges: &Edges) -> World {
    let world = World::new().await;
    // Made in another order than that of their ids, so that rows say nothing about ids.
    let mut operations: Vec<_> = (0..twins)
        .map(|n| station(&twin((n * 5 + 3) % twins), 30.0, -2.0))
        .collect();
    for (source, feeds, target, weight) in edges {
        let Operation::Relate {
            source,
            name,
            target,
            expect,
            replace,
            ..
        } = relate(&twin(*source), name(*feeds), &twin(*target))
        else {
            unreachable!("it relates");
        };
        let set = weight.map(|weight| {
            if *feeds {
                ("metres".into(), Some(Value::Double(weight as f64)))
            } else {
                ("since".into(), Some(Value::Int(weight)))
            }
        });
        operations.push(Operation::Relate {
            source,
            name,
            target,
            set: set.into_iter().collect(),
            expect,
            replace,
        });
    }
    world.commit(operations).await.unwrap();
    world
}

fn ways(view: &View, weighted: bool) -> Vec<Way> {
    ["feeds", "monitors"]
        .map(|name| Way {
            relationship: view.ontology().relationship_named(name).unwrap().id,
            weight: weighted.then_some(0),
        })
        .to_vec()
}

/// A path as the model knows it: each step's twin, relationship and whether it is taken backwards.
type Steps = Vec<(u8, bool, bool)>;

/// Looks for every path that meets no twin twice.
struct Search<'a> {
    edges: &'a Edges,
    weighted: bool,
    direction: Option<Direction>,
    end: u8,
    met: BTreeSet<u8>,
    /// Each with its total.
    found: Vec<(i64, Steps)>,
}

impl Search<'_> {
    fn go(&mut self, here: u8, total: i64, steps: &Steps) {
        if here == self.end {
            self.found.push((total, steps.clone()));
            return;
        }
        for (source, feeds, target, weight) in self.edges {
            let weight = if self.weighted { *weight } else { Some(1) };
            let Some(weight) = weight else { continue };
            for (back, from, to) in [(false, source, target), (true, target, source)] {
                let usable = match self.direction {
                    None => true,
                    Some(Direction::Out) => !back,
                    Some(Direction::In) => back,
                };
                if usable && *from == here && self.met.insert(*to) {
                    // Compared in this order: the twin it comes from, the name, the way.
                    let step = (here, !*feeds, back);
                    let steps = [steps.as_slice(), &[step]].concat();
                    self.go(*to, total + weight, &steps);
                    self.met.remove(to);
                }
            }
        }
    }
}

fn edges(twins: u8) -> impl Strategy<Value = Edges> {
    let weight = prop_oneof![1 => Just(None), 6 => (0..4_i64).prop_map(Some)];
    let edge = (0..twins, any::<bool>(), 0..twins, weight);
    prop::collection::vec(edge, 0..12).prop_map(|mut edges| {
        // Relating again would change the weight.
        edges.sort_unstable();
        edges.dedup_by_key(|(source, feeds, target, _)| (*source, *feeds, *target));
        edges
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_path_is_the_shortest_and_ties_go_to_the_lowest_id(
        edges in edges(6),
        weighted in any::<bool>(),
        direction in prop_oneof![
            Just(None),
            Just(Some(Direction::Out)),
            Just(Some(Direction::In)),
        ],
        start in 0..6_u8,
        end in 0..6_u8,
    ) {
        let world = runtime().block_on(world(6, &edges));
        let view = world.twin.view();
        let find = |n: u8| view.find(&twin(n)).unwrap();
        let ways = ways(&view, weighted);
        let found = shortest_path(&view, find(start), find(end), &ways, direction, || true).unwrap();
        let mut search = Search {
            edges: &edges,
            weighted,
            direction,
            end,
            met: BTreeSet::from([start]),
            found: Vec::new(),
        };
        search.go(start, 0, &Vec::new());
        let expected = search.found
            .into_iter()
            .min_by_key(|(total, steps)| {
                (*total, steps.len(), steps.iter().rev().copied().collect::<Vec<_>>())
            });
        let Some((total, steps)) = expected else {
            prop_assert_eq!(found, None);
            return Ok(());
        };
        let found = found.unwrap();
        prop_assert_eq!(found.total, total as f64);
        let mut twins: Vec<_> = steps.iter().map(|(from, ..)| find(*from)).collect();
        twins.push(find(end));
        prop_assert_eq!(&found.twins, &twins);
        let taken: Vec<_> = steps.iter().map(|(_, monitors, back)| (*monitors, *back)).collect();
        let links: Vec<_> = found
            .links
            .iter()
            .zip(&found.twins)
            .map(|(link, from)| {
                let name = &view.ontology().relationship(link.relationship).name;
                // A twin related to itself is on no shortest path.
                (**name == *"monitors", link.source != *from)
            })
            .collect();
        prop_assert_eq!(links, taken);
        prop_assert_eq!(found.links.iter().map(|link| link.weight).sum::<f64>(), found.total);
    }

    #[test]
    fn a_filtered_traversal_is_what_following_each_step_by_hand_finds(
        edges in edges(6),
        starts in prop::collection::btree_set(0..6_u8, 0..3),
        steps in prop::collection::vec(
            (any::<bool>(), any::<bool>(), prop::collection::btree_set(0..6_u8, 0..6)),
            0..4,
        ),
    ) {
        let world = runtime().block_on(world(6, &edges));
        let view = world.twin.view();
        let find = |n: u8| view.find(&twin(n)).unwrap();
        let asked: Vec<_> = steps
            .iter()
            .map(|(feeds, back, _)| Step {
                relationship: view.ontology().relationship_named(name(*feeds)).unwrap().id,
                direction: if *back { Direction::In } else { Direction::Out },
                class: None,
            })
            .collect();
        let kept: Vec<BTreeSet<_>> = steps
            .iter()
            .map(|(.., kept)| kept.iter().map(|n| find(*n)).collect())
            .collect();
        let from: Vec<_> = starts.iter().map(|n| find(*n)).collect();
        let keep = |place: usize, twin| kept[place].contains(&twin);
        let found = traverse(&view, &from, &asked, keep, || true).unwrap();

        let mut front = starts;
        for (feeds, back, kept) in &steps {
            front = edges
                .iter()
                .filter(|(_, named, ..)| named == feeds)
                .map(|(source, _, target, _)| if *back { (target, source) } else { (source, target) })
                .filter(|(from, to)| front.contains(from) && kept.contains(to))
                .map(|(_, to)| *to)
                .collect();
        }
        let found: Vec<_> = found.iter().map(|twin| view.id(*twin).to_string()).collect();
        prop_assert_eq!(found, front.into_iter().map(twin).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_path_from_a_twin_to_itself_is_that_twin() {
    let world = world(2, &vec![(0, true, 0, Some(5))]).await;
    let view = world.twin.view();
    let here = view.twin(&id("s0")).unwrap();
    let path = shortest_path(&view, here, here, &ways(&view, true), None, || true);
    let path = path.unwrap().unwrap();
    assert_eq!(path.twins, [here]);
    assert_eq!(path.links, [] as [Link; 0]);
    assert_eq!(path.total, 0.0);
}

#[tokio::test]
async fn a_negative_weight_is_refused_with_its_relationship() {
    let world = world(2, &vec![(0, false, 1, Some(-3))]).await;
    let view = world.twin.view();
    let ends = ["s0", "s1"].map(|twin| view.find(twin).unwrap());
    let refused = shortest_path(&view, ends[0], ends[1], &ways(&view, true), None, || true);
    let refused = refused.unwrap_err();
    assert!(matches!(refused, PathError::Negative { weight: -3.0, .. }));
    assert!(
        refused
            .to_string()
            .contains("`s0` monitors `s1` has the weight -3")
    );
    // Where nobody asks for it, it does not matter.
    let hops = shortest_path(&view, ends[0], ends[1], &ways(&view, false), None, || true);
    assert_eq!(hops.unwrap().unwrap().total, 1.0);
}

#[tokio::test]
async fn a_search_ends_when_it_is_told_to() {
    let edges = (0..20).map(|n| (n, true, n + 1, Some(1))).collect();
    let world = world(21, &edges).await;
    let view = world.twin.view();
    let ends = ["s0", "s20"].map(|twin| view.find(twin).unwrap());
    let asked = std::cell::Cell::new(0);
    let go_on = || asked.replace(asked.get() + 1) < 3;
    let ended = shortest_path(&view, ends[0], ends[1], &ways(&view, false), None, go_on);
    assert_eq!(ended, Ok(None));
    assert_eq!(asked.get(), 4);
}
