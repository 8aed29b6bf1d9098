//! A synthetic population: persons who do not exist, living in places that do.
//!
//! # Invariants
//! - Person `n` of a seed is the same whatever the size of the population, and depends only on the
//!   seed and the places with their population.
//! - Every person is marked `synthetic` and has no name.
//!
//! Homes are drawn by the population of the finest kind of area there is, villages if any (all
//! alike where no population is known). Ages are the smaller of two even draws from 0 to 89, which
//! falls evenly with age as in a young country; sexes are even. Both are simple assumptions, good
//! for trying things out and no statistics.

use std::sync::Arc;

use futures_util::stream;
use ontology::{Class, Value};
use serde_json::Value as Json;
use twin_core::{Put, Twin, TwinId, View};

use crate::batch::Target;
use crate::build::{Built, Link, Unit};
use crate::error::{Failure, ImportError};
use crate::load::{Progress, load};
use crate::mapping::Per;
use crate::report::Report;

/// Persons of a population unless another number is asked for.
pub const DEFAULT_PERSONS: u32 = 10_000;
/// Most persons of a population.
pub const MAX_PERSONS: u32 = 10_000_000;
/// Most places that people live in.
pub const MAX_HOMES: usize = 5_000_000;

/// Classes that people may live in, the finest first.
const HOMES: [&str; 5] = ["Village", "Cell", "Sector", "District", "Province"];
/// The year in which the ages are true: fixed, so that the same seed gives the same persons later.
const REFERENCE_YEAR: u64 = 2022;
/// Ages are below this.
const AGES: u64 = 90;
/// Persons of one chunk.
const CHUNK: u32 = 500;

/// A population to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Population {
    /// How many persons; at most [`MAX_PERSONS`] are made.
    pub persons: u32,
    /// What chance draws from.
    pub seed: u64,
}

impl Default for Population {
    fn default() -> Self {
        Self {
            persons: DEFAULT_PERSONS,
            seed: 1,
        }
    }
}

/// Makes the persons of a population, or leaves them as they are where they already are so.
///
/// # Errors
/// There is no place to live in, the ontology has no persons, or the twin stopped writing.
pub async fn populate(
    twin: &Twin,
    population: Population,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Report, Failure> {
    let report = Report {
        set: "synthetic-population".into(),
        ..Report::default()
    };
    let persons = population.persons.min(MAX_PERSONS);
    let maker = match Maker::new(&twin.view(), population.seed) {
        Ok(maker) => maker,
        Err(error) => {
            return Err(Failure {
                error,
                report: Box::new(report),
            });
        }
    };
    let chunks = (0..persons).step_by(CHUNK as usize).map(|first| {
        let numbers = first..first.saturating_add(CHUNK).min(persons);
        numbers
            .map(|number| maker.person(number + 1))
            .collect::<Result<Vec<_>, _>>()
    });
    load(
        &Target::Twin(twin),
        report,
        Some(persons.into()),
        stream::iter(chunks),
        &mut progress,
    )
    .await
}

struct Maker {
    seed: u64,
    homes: Vec<TwinId>,
    /// Sum of the weights up to each home.
    sums: Vec<u64>,
    class: Arc<str>,
    synthetic: (Arc<str>, Option<Value>),
    source: (Arc<str>, Option<Value>),
    birth_years: Vec<Value>,
    sexes: [Value; 2],
}

impl Maker {
    fn new(view: &View, seed: u64) -> Result<Self, ImportError> {
        let ontology = view.ontology();
        let class = ontology
            .class_named("Person")
            .ok_or(ImportError::Model("class Person"))?;
        let (homes, sums) = homes(view)?;
        let birth_years: Result<Vec<_>, _> = (0..AGES)
            .map(|age| value(class, "birthYear", &(REFERENCE_YEAR - age).into()))
            .collect();
        Ok(Self {
            seed,
            homes,
            sums,
            class: Arc::clone(&class.name),
            synthetic: (
                "synthetic".into(),
                Some(value(class, "synthetic", &true.into())?),
            ),
            source: (
                "source".into(),
                Some(value(
                    class,
                    "source",
                    &format!("synthetic population, seed {seed}").into(),
                )?),
            ),
            birth_years: birth_years?,
            sexes: [
                value(class, "sex", &"female".into())?,
                value(class, "sex", &"male".into())?,
            ],
        })
    }

    fn person(&self, number: u32) -> Result<Built, ImportError> {
        let mut chance = SplitMix64::of(self.seed, number.into());
        let total = self.sums.last().copied().unwrap_or_default();
        let drawn = chance.below(total);
        let home = self.sums.partition_point(|sum| *sum <= drawn);
        let age = chance.below(AGES).min(chance.below(AGES)) as usize;
        let sex = chance.below(2) as usize;
        let name = format!("rw:person:synthetic-{number:06}");
        let id = TwinId::new(&name)
            .map_err(|_long| ImportError::Model("room for the ids of persons"))?;
        let set = vec![
            ("birthYear".into(), self.birth_years.get(age).cloned()),
            ("sex".into(), self.sexes.get(sex).cloned()),
            self.source.clone(),
            self.synthetic.clone(),
        ];
        let target = self
            .homes
            .get(home)
            .cloned()
            .ok_or(ImportError::NoVillages)?;
        let link = Link {
            source: id.clone(),
            name: "residesIn".into(),
            target,
            optional: false,
        };
        let class = Arc::clone(&self.class);
        let put = Put {
            id,
            class,
            set,
            geometry: None,
            expect: None,
        };
        let unit = Unit {
            place: format!("person {number}"),
            puts: vec![(Per::Feature, put)],
            links: vec![link],
        };
        Ok(Built::Unit {
            unit,
            warnings: Vec::new(),
        })
    }
}

fn value(class: &Class, property: &str, json: &Json) -> Result<Value, ImportError> {
    let found = class
        .property(property)
        .and_then(|p| p.schema.parse(json).ok());
    found.ok_or(ImportError::Model(
        "Person with birthYear, sex, source and synthetic",
    ))
}

/// The places of the finest kind there is, by id, and the sums of their weights.
fn homes(view: &View) -> Result<(Vec<TwinId>, Vec<u64>), ImportError> {
    for name in HOMES {
        let Some(class) = view.ontology().class_named(name) else {
            continue;
        };
        let mut homes = Vec::new();
        let mut weights = Vec::new();
        for home in view.scan(class.id, None).take(MAX_HOMES) {
            homes.push(view.id(home).clone());
            weights.push(match view.value_named(home, "population") {
                Some(Value::Int(people)) => u64::try_from(people).unwrap_or_default(),
                _ => 0,
            });
        }
        if homes.is_empty() {
            continue;
        }
        let known = weights.iter().any(|weight| *weight > 0);
        let mut sum: u64 = 0;
        let sums = weights
            .into_iter()
            .map(|weight| {
                sum = sum.saturating_add(if known { weight } else { 1 });
                sum
            })
            .collect();
        return Ok((homes, sums));
    }
    Err(ImportError::NoVillages)
}

/// `SplitMix64` (Steele, Lea and Flood 2014): tiny, well distributed, the same on every machine.
struct SplitMix64(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl SplitMix64 {
    /// A stream of its own for each (seed, number).
    fn of(seed: u64, number: u64) -> Self {
        let start = Self(seed).next();
        Self(start ^ Self(number).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, 0 if that is 0. The bias of at most `bound / 2^64` is of no account.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_sequence() {
        // First outputs of the reference implementation for the seed 1234567.
        let mut chance = SplitMix64(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| chance.next()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn draws_stay_below_their_bound_and_reach_it() {
        let mut chance = SplitMix64::of(1, 2);
        let drawn: Vec<u64> = (0..1000).map(|_| chance.below(7)).collect();
        assert_eq!(drawn.iter().max(), Some(&6));
        assert_eq!(drawn.iter().min(), Some(&0));
        assert_eq!(chance.below(0), 0);
    }
}
