//! Made-up twins: the same in every run, for both sides.

use std::sync::Arc;

use ontology::{Ontology, Value};
use serde_json::json;
use twin_core::space::{Point, Shape};
use twin_core::{Commit, EdgeState, Operation, Principal, Put, Twin, TwinId, TwinState};

use crate::failure::Failure;

/// Who commits.
const PRINCIPAL: &str = "bench";
/// Twins of one commit, and rows of one of SurrealDB's inserts.
pub(crate) const BATCH: u64 = 500;
/// Commits that wait at a time.
const IN_FLIGHT: usize = 3;

/// West, south, east and north of where things stand: a box inside Rwanda.
const BOX: [f64; 4] = [29.0, -2.7, 30.8, -1.2];
/// Metres of a degree, near enough to choose a radius by.
const DEGREE: f64 = 111_000.0;

/// Things that newcomers are related to; every stage has more.
const FIRST: u64 = 1_000;

/// Name of the class of things.
pub(crate) const THING: &str = "Thing";
/// Name of the class of sensors, and of their telemetry.
pub(crate) const SENSOR: &str = "Sensor";
pub(crate) const LEVEL: &str = "level";
/// Relationships of a thing.
const LINKS: [&str; 3] = ["feeds", "near", "partOf"];

/// Writes an ontology pack: things with 8 properties and 3 relationships, and sensors.
pub(crate) fn write_models(seeds: &std::path::Path) -> Result<(), Failure> {
    let pack = seeds.join("ontology").join("bench");
    let property =
        |(name, schema): (&str, &str)| json!({"@type": "Property", "name": name, "schema": schema});
    let properties = [
        ("name", "string"),
        ("code", "string"),
        ("kind", "string"),
        ("height", "double"),
        ("width", "double"),
        ("floors", "integer"),
        ("active", "boolean"),
        ("built", "dateTime"),
    ];
    let links = LINKS
        .map(|name| json!({"@type": "Relationship", "name": name, "target": "dtmi:bench:Thing;1"}));
    let contents: Vec<_> = properties.map(property).into_iter().chain(links).collect();
    let model = |name: &str, extends: Option<&str>, contents: Vec<serde_json::Value>| {
        let mut model = json!({
            "@context": "dtmi:dtdl:context;3",
            "@id": format!("dtmi:bench:{name};1"),
            "@type": "Interface",
            "contents": contents,
        });
        if let Some(extends) = extends {
            model["extends"] = json!(format!("dtmi:bench:{extends};1"));
        }
        (format!("{name}.json"), model.to_string())
    };
    let level = json!({"@type": "Telemetry", "name": LEVEL, "schema": "double"});
    let files = [
        ("pack.toml".to_owned(), "name = \"bench\"\n".to_owned()),
        model(THING, None, contents),
        model("Device", None, Vec::new()),
        model(SENSOR, Some("Device"), vec![level]),
    ];
    let failed = |error| Failure::failed(format!("{}: {error}", pack.display()));
    std::fs::create_dir_all(&pack).map_err(failed)?;
    for (name, text) in files {
        std::fs::write(pack.join(name), text).map_err(failed)?;
    }
    Ok(())
}

/// Numbers that look random and are the same every time: `SplitMix64`.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0, below 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Somewhere where things stand, `inset` degrees away from the edge.
    pub(crate) fn point(&mut self, inset: f64) -> Result<Point, Failure> {
        let [west, south, east, north] = BOX;
        let between =
            |low: f64, high: f64, share: f64| low + inset + share * (high - low - 2.0 * inset);
        let lon = between(west, east, self.share());
        let lat = between(south, north, self.share());
        Point::new(lon, lat).map_err(|error| Failure::failed(error.to_string()))
    }
}

/// The radius within which `wanted` of `all` things stand.
pub(crate) fn metres_for(wanted: f64, all: u64) -> f64 {
    let [west, south, east, north] = BOX;
    let area = (east - west) * (north - south) * DEGREE * DEGREE;
    (wanted * area / (all as f64 * std::f64::consts::PI)).sqrt()
}

/// What a made-up thing has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    pub(crate) properties: bool,
    pub(crate) links: bool,
    pub(crate) point: bool,
}

/// Everything that a thing may have.
pub(crate) const WHOLE: Recipe = Recipe {
    properties: true,
    links: true,
    point: true,
};

/// A twin to be, with the names and targets of its relationships.
#[derive(Debug, Clone)]
pub(crate) struct Thing {
    put: Put,
    links: Vec<(&'static str, TwinId)>,
}

/// The id of a thing.
pub(crate) fn thing_id(number: u64) -> Result<TwinId, Failure> {
    id(&format!("bench:thing:{number}"))
}

/// A checked id.
pub(crate) fn id(text: &str) -> Result<TwinId, Failure> {
    TwinId::new(text).map_err(|error| Failure::failed(error.to_string()))
}

/// The thing of a number. It is related to things of lower numbers only.
pub(crate) fn thing(number: u64, recipe: Recipe) -> Result<Thing, Failure> {
    const KINDS: [&str; 4] = ["tower", "valve", "meter", "pole"];
    const BUILT: i64 = 946_684_800_000_000;
    let mut random = Random::new(number);
    let mut set: Vec<(Arc<str>, Option<Value>)> = Vec::new();
    if recipe.properties {
        let kind = KINDS[random.below(KINDS.len() as u64) as usize];
        let days = random.below(9_000).cast_signed();
        set = [
            ("name", Value::Text(format!("Thing number {number}").into())),
            ("code", Value::Text(format!("T-{number:08}").into())),
            ("kind", Value::Text(kind.into())),
            ("height", Value::Double(random.share() * 100.0)),
            ("width", Value::Double(random.share() * 10.0)),
            ("floors", Value::Int(random.below(12).cast_signed())),
            ("active", Value::Bool(random.below(2) == 1)),
            ("built", Value::DateTime(BUILT + days * 86_400_000_000)),
        ]
        .map(|(name, value)| (name.into(), Some(value)))
        .into();
    }
    let geometry = if recipe.point {
        Some(Some(Arc::new(Shape::from(random.point(0.0)?))))
    } else {
        None
    };
    let mut links = Vec::new();
    if recipe.links && number > 0 {
        for name in LINKS {
            links.push((name, thing_id(random.below(number))?));
        }
    }
    let put = Put {
        id: thing_id(number)?,
        class: THING.into(),
        set,
        geometry,
        expect: None,
    };
    Ok(Thing { put, links })
}

/// A thing that comes after all others, related to one of the first.
pub(crate) fn newcomer(number: u64) -> Result<Thing, Failure> {
    let recipe = Recipe {
        links: false,
        ..WHOLE
    };
    let mut thing = thing(number, recipe)?;
    let first = Random::new(number).below(FIRST);
    thing.links.push((LINKS[0], thing_id(first)?));
    Ok(thing)
}

impl Thing {
    /// What the twin is asked to do.
    pub(crate) fn operations(self) -> impl Iterator<Item = Operation> {
        let source = self.put.id.clone();
        let relate = self
            .links
            .into_iter()
            .map(move |(name, target)| Operation::Relate {
                source: source.clone(),
                name: name.into(),
                target,
                set: Vec::new(),
                expect: None,
                replace: false,
            });
        std::iter::once(Operation::Upsert(self.put)).chain(relate)
    }

    /// The same as the rows that SurrealDB alone is given.
    pub(crate) fn states(
        self,
        ontology: &Ontology,
    ) -> Result<(TwinState, Vec<EdgeState>), Failure> {
        let unknown = |name: &str| Failure::failed(format!("the models have no {name}"));
        let class = ontology.class_named(THING).ok_or_else(|| unknown(THING))?;
        let mut values = vec![None; class.properties.len()];
        for (name, value) in self.put.set {
            let column = class.property_index(&name).ok_or_else(|| unknown(&name))?;
            values[column] = value;
        }
        let mut edges = Vec::with_capacity(self.links.len());
        for (name, target) in self.links {
            let kind = ontology
                .relationship_named(name)
                .ok_or_else(|| unknown(name))?;
            edges.push(EdgeState {
                relationship: kind.id,
                source: self.put.id.clone(),
                source_class: class.id,
                target,
                target_class: class.id,
                values: vec![None; kind.properties.len()].into(),
            });
        }
        let twin = TwinState {
            id: self.put.id,
            class: class.id,
            values: values.into(),
            geometry: self.put.geometry.flatten(),
            revision: 1,
        };
        Ok((twin, edges))
    }
}

/// A commit of ours.
pub(crate) fn commit(operations: Vec<Operation>) -> Commit {
    Commit {
        principal: Principal::system(PRINCIPAL),
        idempotency: None,
        operations,
    }
}

/// Commits things, [`BATCH`] of them at a time and [`IN_FLIGHT`] commits waiting. Answers how
/// many changes that were.
pub(crate) async fn load(twin: &Twin, things: u64, recipe: Recipe) -> Result<u64, Failure> {
    use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
    let batches = (0..things).step_by(BATCH as usize).map(|first| {
        let twin = twin.clone();
        async move {
            let mut operations = Vec::new();
            for number in first..things.min(first + BATCH) {
                operations.extend(thing(number, recipe)?.operations());
            }
            let receipt = twin.commit(commit(operations)).await;
            let receipt = receipt.map_err(|refusal| Failure::failed(refusal.to_string()))?;
            Ok::<_, Failure>(receipt.changes)
        }
    });
    let changes = stream::iter(batches).buffered(IN_FLIGHT);
    changes
        .try_fold(0, |sum, changes| async move { Ok(sum + changes) })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_the_same_every_time_and_fits_the_models() {
        let seeds = tempfile::tempdir().unwrap();
        write_models(seeds.path()).unwrap();
        let ontology = crate::nation::ontology(seeds.path()).unwrap();
        let states = |number| thing(number, WHOLE).unwrap().states(&ontology).unwrap();
        let ((one, links), (same, _)) = (states(7), states(7));
        assert!(one.same_as(&same));
        assert_eq!(one.values.iter().flatten().count(), 8);
        assert_eq!(links.len(), 3);
        assert!(!one.same_as(&states(8).0));
        assert!(states(0).1.is_empty());
    }

    #[test]
    fn a_radius_for_all_covers_the_box() {
        let metres = metres_for(500.0, 500);
        let area = std::f64::consts::PI * metres * metres;
        let [west, south, east, north] = BOX;
        assert!((area / DEGREE / DEGREE - (east - west) * (north - south)).abs() < 1e-6);
    }
}
