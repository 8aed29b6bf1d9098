//! Random commits against a plain model: after every step the live twin, the store's copy after a
//! restart and the model say the same.

use std::collections::{BTreeMap, BTreeSet};

use ontology::Value;
use proptest::prelude::*;
use twin_core::{Direction, Operation, TwinId};

use crate::world::{World, area, delete, id, put, relate, unrelate};

#[derive(Debug, Clone)]
enum Step {
    Area(u8, i64),
    Village(u8, i64),
    Clear(u8),
    Delete(u8, bool),
    Relate(u8, u8),
    Unrelate(u8, u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let twin = 0..12_u8;
    prop_oneof![
        4 => (twin.clone(), 0..5_i64).prop_map(|(t, p)| Step::Area(t, p)),
        3 => (twin.clone(), 0..5_i64).prop_map(|(t, p)| Step::Village(t, p)),
        1 => twin.clone().prop_map(Step::Clear),
        2 => (twin.clone(), any::<bool>()).prop_map(|(t, d)| Step::Delete(t, d)),
        4 => (twin.clone(), 0..12_u8).prop_map(|(s, t)| Step::Relate(s, t)),
        1 => (twin, 0..12_u8).prop_map(|(s, t)| Step::Unrelate(s, t)),
        1 => Just(Step::Restart),
    ]
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    twins: BTreeMap<TwinId, (&'static str, Option<i64>)>,
    part_of: BTreeSet<(TwinId, TwinId)>,
}

fn name(n: u8) -> String {
    format!("t{n}")
}

impl Model {
    /// Applies a step; false if it is refused.
    fn apply(&mut self, step: &Step) -> bool {
        let mut put = |twin: u8, class, population| {
            let twin = id(&name(twin));
            if self.twins.get(&twin).is_some_and(|(is, _)| *is != class) {
                return false;
            }
            self.twins.insert(twin, (class, population));
            true
        };
        match step {
            Step::Area(twin, population) => put(*twin, "Area", Some(*population)),
            Step::Village(twin, population) => put(*twin, "Village", Some(*population)),
            Step::Clear(twin) => match self.twins.get_mut(&id(&name(*twin))) {
                Some((class, population)) if *class == "Area" => {
                    *population = None;
                    true
                }
                _ => false,
            },
            Step::Delete(twin, detach) => {
                let twin = id(&name(*twin));
                let touched = self.part_of.iter().any(|(s, t)| *s == twin || *t == twin);
                if !self.twins.contains_key(&twin) || (touched && !detach) {
                    return false;
                }
                self.twins.remove(&twin);
                self.part_of.retain(|(s, t)| *s != twin && *t != twin);
                true
            }
            Step::Relate(source, target) => {
                let (source, target) = (id(&name(*source)), id(&name(*target)));
                let both = self.twins.contains_key(&source) && self.twins.contains_key(&target);
                let full = self
                    .part_of
                    .iter()
                    .any(|(s, t)| *s == source && *t != target);
                if !both || full {
                    return false;
                }
                self.part_of.insert((source, target));
                true
            }
            Step::Unrelate(source, target) => {
                let (source, target) = (id(&name(*source)), id(&name(*target)));
                let both = self.twins.contains_key(&source) && self.twins.contains_key(&target);
                both && {
                    self.part_of.remove(&(source, target));
                    true
                }
            }
            Step::Restart => true,
        }
    }
}

fn operation(step: &Step) -> Option<Operation> {
    Some(match step {
        Step::Area(twin, population) => area(&name(*twin), *population),
        Step::Village(twin, population) => Operation::Upsert(put(
            &name(*twin),
            "Village",
            &[("population", Value::Int(*population))],
        )),
        Step::Clear(twin) => {
            let mut put = put(&name(*twin), "Area", &[]);
            put.set = vec![("population".into(), None)];
            Operation::Patch(put)
        }
        Step::Delete(twin, detach) => delete(&name(*twin), *detach),
        Step::Relate(source, target) => relate(&name(*source), "partOf", &name(*target)),
        Step::Unrelate(source, target) => unrelate(&name(*source), "partOf", &name(*target)),
        Step::Restart => return None,
    })
}

/// What the live twin says, in the model's terms, read through both directions of every edge.
fn read(world: &World) -> Model {
    let view = world.twin.view();
    let area = view.ontology().class_named("Area").unwrap().id;
    let part_of = view.ontology().relationship_named("partOf").unwrap().id;
    let mut model = Model::default();
    let mut back = BTreeSet::new();
    let mut previous: Option<TwinId> = None;
    for twin in view.scan(area, None) {
        let this = view.id(twin).clone();
        assert!(previous.is_none_or(|p| p < this), "a scan goes by id");
        previous = Some(this.clone());
        let class = if &*view.class(twin).name == "Area" {
            "Area"
        } else {
            "Village"
        };
        let population = match view.value_named(twin, "population") {
            Some(Value::Int(n)) => Some(n),
            None => None,
            other => panic!("{other:?}"),
        };
        for target in view.related(twin, part_of, Direction::Out) {
            model
                .part_of
                .insert((this.clone(), view.id(target).clone()));
        }
        for source in view.related(twin, part_of, Direction::In) {
            back.insert((view.id(source).clone(), this.clone()));
        }
        model.twins.insert(this, (class, population));
    }
    assert_eq!(model.part_of, back, "both directions hold the same pairs");
    assert_eq!(view.len(), model.twins.len());
    assert_eq!(view.count_relationships(part_of), model.part_of.len());
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_twin_does_what_a_plain_model_does(
        commits in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            let mut model = Model::default();
            for steps in commits {
                let mut attempt = model.clone();
                let fits = steps.iter().all(|step| attempt.apply(step));
                let operations = steps.iter().filter_map(operation).collect();
                let answer = world.commit(operations).await;
                assert_eq!(answer.is_ok(), fits, "{steps:?}: {answer:?}");
                if fits {
                    model = attempt;
                }
                if steps.iter().any(|step| matches!(step, Step::Restart)) {
                    world.restart().await;
                }
                assert_eq!(read(&world), model, "{steps:?}");
            }
            world.restart().await;
            assert_eq!(read(&world), model);
        });
    }
}
