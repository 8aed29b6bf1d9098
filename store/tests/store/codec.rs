//! Packed records: what goes in comes out, and damage is found.

use std::collections::BTreeMap;
use std::sync::Arc;

use ontology::{Ontology, Value};
use proptest::prelude::*;
use store::codec::{
    CodecError, MAX_RECORD_BYTES, decode_changes, decode_readings, encode_changes, encode_readings,
    read_series,
};
use twin_core::store::Series;
use twin_core::{Change, EdgeState, Event, Group, Principal, Recorded, TwinId, TwinState, Values};

use crate::model;

pub(crate) fn value() -> impl Strategy<Value = Value> {
    let text = || "\\PC{0,12}".prop_map(|s| Arc::<str>::from(s.as_str()));
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>()
            .prop_filter("finite", |d| d.is_finite())
            .prop_map(Value::Double),
        text().prop_map(Value::Text),
        any::<i32>().prop_map(Value::Date),
        any::<i64>().prop_map(Value::DateTime),
        any::<i64>().prop_map(Value::Time),
        text().prop_map(Value::Duration),
        prop::collection::vec(-180.0..180.0_f64, 0..4).prop_map(|numbers| {
            let json = serde_json::json!({"type": "Point", "coordinates": numbers});
            Value::Geometry(Arc::new(json))
        }),
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| Value::List(Arc::new(v))),
            prop::collection::vec((text(), inner), 0..4).prop_map(|members| {
                Value::Object(Arc::new(members.into_iter().collect::<BTreeMap<_, _>>()))
            }),
        ]
    })
}

fn values(count: usize) -> impl Strategy<Value = Values> {
    prop::collection::vec(prop::option::weighted(0.3, value()), count..=count)
        .prop_map(Values::from)
}

pub(crate) fn twin_id() -> impl Strategy<Value = TwinId> {
    "[a-z0-9][a-z0-9:._~-]{0,20}".prop_map(|text| TwinId::new(&text).unwrap())
}

fn twin(ontology: &Arc<Ontology>, class: &str) -> impl Strategy<Value = TwinState> + use<> {
    let class = ontology.class_named(class).unwrap().clone();
    let shape = prop::option::of((-90.0..90.0_f64, -45.0..45.0_f64, 3_u32..9));
    (
        twin_id(),
        values(class.properties.len()),
        shape,
        any::<u32>(),
    )
        .prop_map(move |(id, values, shape, revision)| TwinState {
            id,
            class: class.id,
            values,
            geometry: shape.map(|(lon, lat, n)| {
                if n == 3 {
                    model::point(lon, lat)
                } else {
                    model::disc(lon, lat, n)
                }
            }),
            revision: u64::from(revision),
        })
}

fn edge(ontology: &Arc<Ontology>) -> impl Strategy<Value = EdgeState> + use<> {
    let kind = ontology.relationship_named("locatedIn").unwrap().clone();
    let source_class = ontology.class_named("HealthFacility").unwrap().id;
    let target_class = ontology.class_named("Village").unwrap().id;
    (twin_id(), twin_id(), values(kind.properties.len())).prop_map(
        move |(source, target, values)| EdgeState {
            relationship: kind.id,
            source,
            source_class,
            target,
            target_class,
            values,
        },
    )
}

fn event(ontology: &Arc<Ontology>) -> impl Strategy<Value = Event> + use<> {
    let count = ontology
        .class_named("HealthFacility")
        .unwrap()
        .properties
        .len();
    let since = ontology
        .relationship_named("locatedIn")
        .unwrap()
        .properties
        .len();
    let facility = || twin(ontology, "HealthFacility");
    prop_oneof![
        facility().prop_map(Event::Created),
        (facility(), values(count), any::<bool>(), any::<u32>()).prop_map(
            |(before, values, same, revision)| {
                let geometry = if same {
                    before.geometry.clone()
                } else {
                    Some(model::point(1.0, 2.0))
                };
                let revision = u64::from(revision);
                let after = TwinState {
                    values,
                    geometry,
                    revision,
                    ..before.clone()
                };
                Event::Updated { before, after }
            }
        ),
        twin(ontology, "Village").prop_map(Event::Deleted),
        edge(ontology).prop_map(Event::Related),
        (edge(ontology), values(since)).prop_map(|(before, values)| Event::Rerelated {
            after: EdgeState {
                values,
                ..before.clone()
            },
            before,
        }),
        edge(ontology).prop_map(Event::Unrelated),
    ]
}

fn principal() -> impl Strategy<Value = Principal> {
    prop_oneof![Just("user:ada"), Just("device:d-1"), Just("system:import")]
        .prop_map(|text| Principal::new(text).unwrap())
}

fn reading(ontology: &Arc<Ontology>) -> impl Strategy<Value = Recorded> + use<> {
    let class = ontology.class_named("HealthFacility").unwrap().id;
    let ts = prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>(), 0..1_000_i64];
    (twin_id(), 0..2_u32, ts, value()).prop_map(move |(twin, telemetry, ts, value)| Recorded {
        twin,
        class,
        telemetry,
        ts,
        value,
    })
}

fn group() -> impl Strategy<Value = Group> {
    let ontology = model::ontology();
    let changes = prop::collection::vec((principal(), event(&ontology)), 0..6);
    let runs = prop::collection::vec(
        (principal(), prop::collection::vec(reading(&ontology), 1..5)),
        0..4,
    );
    (changes, runs, 0..u64::from(u32::MAX), any::<i64>()).prop_map(|(changes, runs, first, at)| {
        let mut group = Group {
            at,
            ..model::group(7, first)
        };
        for (principal, event) in changes {
            group.changes.push(Change {
                offset: group.next,
                principal,
                event,
            });
            group.next += 1;
        }
        for (principal, readings) in runs {
            group.next += readings.len() as u64;
            group.recorders.push((principal, readings.len() as u32));
            group.readings.extend(readings);
        }
        group
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_comes_back(group in group()) {
        let ontology = model::ontology();
        let mut changes = Vec::new();
        for packed in encode_changes(&group, &ontology) {
            let record = decode_changes(&packed.bytes, &ontology).unwrap();
            let header = record.header;
            prop_assert_eq!(header.first, packed.first);
            prop_assert_eq!((header.group_first, header.group_next), (group.first, group.next));
            prop_assert_eq!((header.epoch, header.at), (group.epoch, group.at));
            changes.extend(record.changes);
        }
        prop_assert_eq!(changes.len(), group.changes.len());
        for (a, b) in changes.iter().zip(&group.changes) {
            prop_assert_eq!((a.offset, &a.principal), (b.offset, &b.principal));
            prop_assert!(model::same_event(&a.event, &b.event), "{:?} is not {:?}", a, b);
        }
        let (mut readings, mut recorders) = (Vec::new(), Vec::new());
        for packed in encode_readings(&group, &ontology) {
            let record = decode_readings(&packed.bytes, &ontology).unwrap();
            readings.extend(record.readings.into_iter().flatten());
            recorders.extend(record.recorders);
        }
        prop_assert_eq!(readings.len(), group.readings.len());
        for (a, b) in readings.iter().zip(&group.readings) {
            prop_assert!(model::same_reading(a, b), "{:?} is not {:?}", a, b);
        }
        prop_assert_eq!(&recorders, &group.recorders);
    }

    #[test]
    fn a_series_is_found_without_the_ontology(group in group()) {
        let ontology = model::ontology();
        let Some(wanted) = group.readings.first() else { return Ok(()) };
        let telemetry = &ontology.class(wanted.class).telemetry[wanted.telemetry as usize].name;
        let mut found = Vec::new();
        for packed in encode_readings(&group, &ontology) {
            let series = Series {
                twin: &wanted.twin,
                telemetry,
                ts: i64::MIN..wanted.ts.saturating_add(1),
                before: group.next - 1,
                limit: 0,
            };
            read_series(&packed.bytes, &series, |reading| {
                found.push((reading.ts, reading.offset, reading.value));
            }).unwrap();
        }
        let expected: Vec<_> = group
            .readings
            .iter()
            .zip(group.first_reading()..group.next - 1)
            .filter(|(r, _)| (&r.twin, r.telemetry) == (&wanted.twin, wanted.telemetry))
            .filter(|(r, _)| r.ts < wanted.ts.saturating_add(1))
            .map(|(r, offset)| (r.ts, offset, r.value.clone()))
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_changed_or_cut_record_is_an_error(group in group(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let ontology = model::ontology();
        for packed in encode_changes(&group, &ontology) {
            let cut = at.index(packed.bytes.len());
            prop_assert!(decode_changes(&packed.bytes[..cut], &ontology).is_err());
            let mut flipped = packed.bytes.clone();
            flipped[cut] ^= 1 << bit;
            let found = decode_changes(&flipped, &ontology).map(|record| record.header);
            let summed = matches!(found, Err(CodecError::Checksum { .. }));
            prop_assert!(summed, "{:?}", found);
        }
        for packed in encode_readings(&group, &ontology) {
            let cut = at.index(packed.bytes.len());
            prop_assert!(decode_readings(&packed.bytes[..cut], &ontology).is_err());
        }
    }

    #[test]
    fn no_bytes_panic_even_under_a_right_checksum(
        group in group(),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        random in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let ontology = model::ontology();
        let records = encode_changes(&group, &ontology).into_iter().chain(encode_readings(&group, &ontology));
        let mut bodies: Vec<Vec<u8>> = records
            .map(|packed| {
                let mut body = packed.bytes[..packed.bytes.len() - 4].to_vec();
                for (at, byte) in &noise {
                    let at = at.index(body.len());
                    body[at] = *byte;
                }
                body
            })
            .collect();
        bodies.push(random);
        for mut body in bodies {
            let sum = crc32(&body);
            body.extend_from_slice(&sum.to_le_bytes());
            // Whatever comes, it is an answer or an error.
            drop(decode_changes(&body, &ontology));
            drop(decode_readings(&body, &ontology));
            let series = Series {
                twin: &model::id("a"),
                telemetry: "pm25",
                ts: i64::MIN..i64::MAX,
                before: u64::MAX,
                limit: 0,
            };
            drop(read_series(&body, &series, |_| {}));
        }
    }
}

/// CRC-32 bit by bit, as an oracle for the tables of the store.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0xedb8_8320
            } else {
                sum >> 1
            };
        }
    }
    !sum
}

#[test]
fn the_checksum_is_the_crc_32_of_the_world() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    let ontology = model::ontology();
    let mut group = model::group(1, 0);
    model::record(&mut group, &ontology, "a", "pm25", 5, Value::Double(31.4));
    let packed = &encode_readings(&group, &ontology)[0].bytes;
    let (body, sum) = packed.split_at(packed.len() - 4);
    assert_eq!(crc32(body).to_le_bytes(), sum);
}

#[test]
fn a_large_group_is_split_into_records_within_the_limit() {
    let ontology = model::ontology();
    let mut group = model::group(1, 10);
    for i in 0..40 {
        let state = model::twin(
            &ontology,
            "Village",
            &format!("v{i}"),
            serde_json::json!({}),
            Some(model::disc(1.0, 1.0, 20_000)),
            group.next,
        );
        model::add(&mut group, Event::Created(state));
    }
    let records = encode_changes(&group, &ontology);
    assert!(records.len() > 2);
    let mut next = 10;
    for packed in &records {
        assert!(packed.bytes.len() <= MAX_RECORD_BYTES);
        let record = decode_changes(&packed.bytes, &ontology).unwrap();
        assert_eq!(record.header.first, next);
        next = record.header.next();
    }
    assert_eq!(next, group.next);
}

#[test]
fn a_removed_property_or_telemetry_is_left_out_and_named() {
    let ontology = model::ontology();
    let later = model::ontology_without(&["\"beds\"", "\"pm25\""]);
    let mut group = model::group(1, 0);
    let state = model::twin(
        &ontology,
        "HealthFacility",
        "a",
        model::everything(),
        None,
        0,
    );
    model::add(&mut group, Event::Created(state));
    model::record(&mut group, &ontology, "a", "pm25", 5, Value::Double(31.4));
    let record = decode_changes(&encode_changes(&group, &ontology)[0].bytes, &later).unwrap();
    let Event::Created(state) = &record.changes[0].event else {
        panic!()
    };
    let class = later.class_named("HealthFacility").unwrap();
    let name = class.property_index("name").unwrap();
    assert!(state.values[name].is_some());
    assert_eq!(state.values.len(), class.properties.len());
    let readings = encode_readings(&group, &ontology);
    let record = decode_readings(&readings[0].bytes, &later).unwrap();
    assert_eq!(record.readings.len(), 1);
    assert!(record.readings[0].is_none());
    assert!(record.missing.contains("HealthFacility.pm25"));
}

#[test]
fn personal_values_stand_in_an_envelope_that_names_its_key() {
    let ontology = model::ontology();
    let mut group = model::group(1, 0);
    let set = serde_json::json!({"telephone": "+250"});
    let state = model::twin(&ontology, "HealthFacility", "a", set, None, 0);
    model::add(&mut group, Event::Created(state));
    let mut body = encode_changes(&group, &ontology)[0].bytes.clone();
    body.truncate(body.len() - 4);
    let at = body
        .windows(4)
        .position(|w| w == b"none")
        .expect("the key's name");
    body[at..at + 4].copy_from_slice(b"key7");
    let sum = crc32(&body);
    body.extend_from_slice(&sum.to_le_bytes());
    let error = decode_changes(&body, &ontology).unwrap_err();
    assert_eq!(error, CodecError::Key { key: "key7".into() });
}

#[test]
fn a_thousand_readings_take_about_a_dozen_bytes_each() {
    let ontology = model::ontology();
    let mut group = model::group(1, 0);
    for i in 0..1_000_i64 {
        let twin = format!("rw:sensor:{}", i % 50);
        model::record(
            &mut group,
            &ontology,
            &twin,
            "pm25",
            1_732_180_000_000_000 + i,
            Value::Double(0.1 * i as f64),
        );
    }
    let bytes: usize = encode_readings(&group, &ontology)
        .iter()
        .map(|p| p.bytes.len())
        .sum();
    assert!(bytes < 14_000, "{bytes}");
}
