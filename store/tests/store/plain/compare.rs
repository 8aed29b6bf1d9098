//! Everything that can be read of a twin, beside what the plain nation says.

use std::collections::BTreeMap;
use std::time::Duration;

use ontology::Value;
use twin_core::history::{Bucket, DAY_US, HOUR_US, MINUTE_US, number, window_start};
use twin_core::space::Shape;
use twin_core::{Direction, Refusal, View};

use super::nation::Said;
use super::step::{CLASSES, PROPERTIES, RELATIONSHIPS};
use super::structure::{Being, Structure};
use super::told::since;
use super::world::{READINGS_DAYS, World, name, place, places};

/// Name of a refusal.
pub(super) fn refused(refusal: &Refusal) -> &'static str {
    match refusal.reason() {
        Refusal::UnknownName { .. } => "UnknownName",
        Refusal::Invalid { .. } => "Invalid",
        Refusal::Violation(_) => "Violation",
        Refusal::NotFound(_) => "NotFound",
        Refusal::Conflict(_) => "Conflict",
        Refusal::Limited { .. } => "Limited",
        _ => "Unavailable",
    }
}

/// Which of the places there are.
pub(super) fn place_of(shape: &Shape) -> u8 {
    places().find(|number| *place(*number) == *shape).unwrap()
}

fn line(twin: &str, being: &Being) -> String {
    format!("{twin} {} revision {:?}", being.text(), being.revision)
}

/// What the nation says, a line each.
pub(super) fn of(structure: &Structure) -> Vec<String> {
    let beings = structure.beings.iter();
    let mut lines: Vec<_> = beings
        .map(|(twin, being)| line(&name(*twin), being))
        .collect();
    for ((kind, source, target), day) in &structure.relations {
        let (source, target) = (name(*source), name(*target));
        lines.push(format!("{source} {kind} {target} since {day:?}"));
        lines.push(format!("{target} is {kind} of {source}"));
    }
    for class in CLASSES {
        let is =
            |being: &&Being| being.class == class || (class, being.class) == ("Area", "Village");
        lines.push(format!(
            "{} {class}",
            structure.beings.values().filter(is).count()
        ));
    }
    for kind in &RELATIONSHIPS[..3] {
        let count = structure
            .relations
            .keys()
            .filter(|(name, ..)| name == kind)
            .count();
        lines.push(format!("{count} {kind}"));
    }
    lines.sort();
    lines
}

/// What an instant says, in the same lines.
pub(super) fn described(view: &View) -> Vec<String> {
    let ontology = view.ontology();
    let mut lines = Vec::new();
    let mut seen = 0;
    for class in ["Area", "HealthFacility"] {
        for twin in view.scan(ontology.class_named(class).unwrap().id, None) {
            seen += 1;
            let id = view.id(twin);
            let is = &*view.class(twin).name;
            let properties = PROPERTIES.into_iter();
            let being = Being {
                class: CLASSES.into_iter().find(|name| *name == is).unwrap(),
                properties: properties
                    .filter_map(|name| Some((name, view.value_named(twin, name)?)))
                    .collect(),
                place: view.shape(twin).map(|shape| place_of(shape)),
                revision: Some(view.revision(twin).offset("main")),
            };
            assert_eq!(view.find(id.as_str()), Some(twin));
            lines.push(line(id.as_str(), &being));
            for kind in &RELATIONSHIPS[..3] {
                let relationship = ontology.relationship_named(kind).unwrap().id;
                for target in view.related(twin, relationship, Direction::Out) {
                    let values = view.relationship(relationship, twin, target).unwrap();
                    let (day, target) = (since(values), view.id(target));
                    lines.push(format!("{id} {kind} {target} since {day:?}"));
                }
                for source in view.related(twin, relationship, Direction::In) {
                    lines.push(format!("{id} is {kind} of {}", view.id(source)));
                }
            }
        }
    }
    assert_eq!(view.len(), seen);
    for class in CLASSES {
        let count = view.count(ontology.class_named(class).unwrap().id);
        lines.push(format!("{count} {class}"));
    }
    for kind in &RELATIONSHIPS[..3] {
        let count = view.count_relationships(ontology.relationship_named(kind).unwrap().id);
        lines.push(format!("{count} {kind}"));
    }
    lines.sort();
    lines
}

/// Sums by windows.
fn sums(series: &BTreeMap<i64, Said>, from: i64, to: i64, every: i64) -> Vec<Bucket> {
    let mut sums: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for (ts, said) in series.range(from..to) {
        if let Some(value) = number(&said.value) {
            sums.entry(window_start(*ts, every))
                .or_default()
                .push(value);
        }
    }
    let sum = |(start, values): (i64, Vec<f64>)| Bucket {
        start,
        count: values.len() as u64,
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        sum: values.iter().sum(),
        last: values[values.len() - 1],
    };
    sums.into_iter().map(sum).collect()
}

fn same_sums(found: &[Bucket], expected: &[Bucket], what: &str) {
    assert_eq!(
        found.len(),
        expected.len(),
        "{what}: {found:?}, not {expected:?}"
    );
    for (found, expected) in found.iter().zip(expected) {
        // Sums of sums differ in the last bits.
        let close = (found.sum - expected.sum).abs() <= 1e-9 * expected.sum.abs().max(1.0);
        let same = Bucket { sum: 0.0, ..*found }
            == Bucket {
                sum: 0.0,
                ..*expected
            };
        assert!(close && same, "{what}: {found:?}, not {expected:?}");
    }
}

/// Latest values, raw readings and sums of series; which ones, and of when, the number chooses.
pub(super) async fn series(world: &World, choice: u32) {
    /// Series that are read through at one check.
    const READ: usize = 8;
    let view = world.twin().view();
    let facility = world.ontology.class_named("HealthFacility").unwrap();
    let now = world.nation.now;
    let none = BTreeMap::new();
    let facilities = world.nation.structure.beings.iter();
    let facilities = facilities.filter(|(_, being)| being.class == "HealthFacility");
    let all: Vec<_> = facilities
        .flat_map(|(twin, _)| ["pm25", "status"].map(|telemetry| (*twin, telemetry)))
        .collect();
    for (twin, telemetry) in &all {
        let latest = world.nation.latest.get(&(*twin, *telemetry));
        let index = facility.telemetry_index(telemetry).unwrap();
        let found = view.latest(view.find(&name(*twin)).unwrap(), index);
        let found = found.map(|found| (found.ts, found.value.clone(), found.offset, found.arrived));
        let latest = latest.map(|(ts, said)| (*ts, said.value.clone(), said.offset, said.arrived));
        assert_eq!(found, latest, "latest {telemetry} of {twin}");
    }
    let begin = choice as usize % all.len().max(1);
    for (twin, telemetry) in all.iter().cycle().skip(begin).take(READ.min(all.len())) {
        let what = format!("{telemetry} of {twin}");
        let of = view.find(&name(*twin)).unwrap();
        let said = world
            .nation
            .series
            .get(&(*twin, *telemetry))
            .unwrap_or(&none);
        let read = |range, limit| world.twin().history(&view, of, telemetry, range, limit);
        let found = read(i64::MIN..i64::MAX, usize::MAX).await.unwrap();
        let expected: Vec<_> = said.iter().collect();
        let gone = expected.len().checked_sub(found.len());
        let gone =
            gone.unwrap_or_else(|| panic!("{what}: {} too many", found.len() - expected.len()));
        // Retention takes the oldest, whole days of them, and nothing that is young.
        let young = (now.div_euclid(DAY_US) - i64::from(READINGS_DAYS)) * DAY_US;
        for (ts, said) in &expected[..gone] {
            assert!(**ts < young, "{what}: {said:?} of {ts} is missing");
        }
        for (found, (ts, said)) in found.iter().zip(&expected[gone..]) {
            let second = |us: i64| us.div_euclid(1_000_000);
            let same = (found.ts, &found.value) == (**ts, &said.value)
                && (second(found.arrived) - second(said.arrived)).abs() <= 1
                && found.offset.is_none_or(|offset| offset == said.offset);
            assert!(same, "{what}: {found:?}, not {said:?} at {ts}");
        }
        let first = read(young..i64::MAX, 3).await.unwrap();
        let times: Vec<_> = first.iter().map(|past| past.ts).collect();
        let expected: Vec<_> = said.range(young..).map(|(ts, _)| *ts).take(3).collect();
        assert_eq!(times, expected, "{what}: the first of those that stay");
        // Hours stay for good, minutes as long as the readings.
        let recent = now - i64::from(choice % 5) * DAY_US - 3 * HOUR_US;
        for (from, to, every) in [
            (i64::MIN, i64::MAX, HOUR_US),
            (now - 9 * DAY_US, now - 8 * DAY_US, HOUR_US),
            (recent + 17_000_000, recent + 4 * HOUR_US, MINUTE_US),
            (recent, recent + 2 * HOUR_US + 1, 11_000_000),
        ] {
            let length = Duration::from_micros(every.cast_unsigned());
            let (twin, limit) = (world.twin(), usize::MAX);
            let found = twin
                .buckets(&view, of, telemetry, from..to, length, limit)
                .await
                .unwrap();
            let what = format!("{what} by {every} from {from}");
            same_sums(&found, &sums(said, from, to, every), &what);
        }
        let numbers = said
            .values()
            .all(|said| matches!(said.value, Value::Double(_)));
        assert!(numbers || *telemetry == "status");
    }
}
