//! Blocks of sealed history: what goes in comes out, in few bytes, and damage is found.

use std::sync::Arc;

use ontology::Value;
use proptest::prelude::*;
use store::codec::{
    BLOCK_ROWS, Block, Entry, Filler, LastingReading, Row, SERIES_ROWS, SealedReading, SeriesName,
    decode_index, decode_latest, encode_index,
};
use twin_core::history::Bucket;

use crate::codec::{crc32, twin_id, value};
use crate::model;

fn series() -> impl Strategy<Value = SeriesName> {
    (twin_id(), 0_u64..2, 0..2_usize).prop_map(|(twin, life, telemetry)| SeriesName {
        class: "Station".into(),
        telemetry: ["pm25", "status"][telemetry].into(),
        twin: twin.as_str().into(),
        life,
    })
}

fn reading() -> impl Strategy<Value = SealedReading> {
    let value = prop_oneof![
        3 => (-1e3..1e3_f64).prop_map(Value::Double),
        1 => (-180.0..180.0_f64, -90.0..90.0_f64).prop_map(|(lon, lat)| {
            let json = serde_json::json!({"type": "Point", "coordinates": [lon, lat]});
            Value::Geometry(Arc::new(json))
        }),
        2 => value(),
    ];
    (any::<i64>(), any::<i64>(), any::<u64>(), value).prop_map(|(ts, arrived, offset, value)| {
        SealedReading {
            ts,
            arrived,
            offset,
            value,
        }
    })
}

fn rows() -> impl Strategy<Value = Vec<(SeriesName, SealedReading)>> {
    let run = (series(), prop::collection::vec(reading(), 1..30));
    prop::collection::vec(run, 1..8).prop_map(|mut runs| {
        runs.sort_by(|a, b| a.0.cmp(&b.0));
        runs.dedup_by(|a, b| a.0 == b.0);
        let rows = runs.into_iter().flat_map(|(series, mut rows)| {
            rows.sort_by_key(|row| row.ts);
            rows.into_iter().map(move |row| (series.clone(), row))
        });
        rows.collect()
    })
}

fn blocks<R: Row>(rows: impl IntoIterator<Item = (SeriesName, R)>) -> Vec<Block<R>> {
    let mut filler = Filler::default();
    let mut blocks = Vec::new();
    for (series, row) in rows {
        blocks.extend(filler.push(&series, row));
    }
    blocks.extend(filler.finish());
    blocks
}

fn unpacked<R: Row + Clone>(blocks: &[Block<R>]) -> Vec<(SeriesName, R)> {
    let mut rows = Vec::new();
    for block in blocks {
        let block = Block::<R>::decode(&block.encode().unwrap()).unwrap();
        for (series, run) in block.series() {
            assert_eq!(block.of(&series.twin, series.life).len(), run.len());
            rows.extend(run.iter().map(|row| (series.clone(), row.clone())));
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_come_back_as_they_went_in(rows in rows()) {
        prop_assert_eq!(&unpacked(&blocks(rows.clone())), &rows);
        let lasting = rows.into_iter().map(|(series, row)| (series, LastingReading::from(row)));
        let lasting: Vec<_> = lasting.collect();
        prop_assert_eq!(&unpacked(&blocks(lasting.clone())), &lasting);
    }

    #[test]
    fn an_index_comes_back_and_finds_its_series(rows in rows()) {
        let blocks = blocks(rows.clone());
        let entries: Vec<_> = blocks.iter().map(|block| Entry::of(block).unwrap()).collect();
        prop_assert_eq!(&decode_index(&encode_index(&entries)).unwrap(), &entries);
        for (block, entry) in blocks.iter().zip(&entries) {
            for (series, _) in block.series() {
                prop_assert!(entry.may_hold(&series.twin, &series.telemetry));
            }
        }
    }

    #[test]
    fn no_bytes_panic_even_under_a_right_checksum(
        rows in rows(),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let blocks = blocks(rows);
        let entries: Vec<_> = blocks.iter().filter_map(Entry::of).collect();
        let packed = blocks.iter().filter_map(Block::encode).chain([encode_index(&entries)]);
        for bytes in packed {
            let mut body = bytes[..bytes.len() - 4].to_vec();
            for (at, byte) in &noise {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            for format in [None, Some(0x31), Some(0x32), Some(0x33), Some(0x34), Some(0x35)] {
                let mut body = body.clone();
                if let Some(format) = format {
                    body[0] = format;
                }
                let sum = crc32(&body);
                body.extend_from_slice(&sum.to_le_bytes());
                // Whatever comes, it is an answer or an error.
                drop(Block::<SealedReading>::decode(&body));
                drop(Block::<LastingReading>::decode(&body));
                drop(Block::<Bucket>::decode(&body));
                drop(decode_index(&body));
                drop(decode_latest(&body, &model::ontology()));
            }
        }
    }
}

/// Readings of many stations a minute, as air monitors give them: steps of a tenth, some noise.
fn stations(count: usize, minutes: i64) -> Vec<(SeriesName, SealedReading)> {
    let mut noise = 1_u64;
    let mut rows = Vec::new();
    for station in 0..count {
        let series = SeriesName {
            class: "Station".into(),
            telemetry: "pm25".into(),
            twin: format!("rw:station:{station:05}").into(),
            life: 0,
        };
        for minute in 0..minutes {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            let wave = 300.0 + 100.0 * (minute as f64 / 200.0).sin();
            let ts = minute * 60_000_000;
            let reading = SealedReading {
                ts,
                arrived: ts + 40_000 + (noise % 20_000) as i64,
                offset: (minute as u64) * count as u64 + station as u64,
                value: Value::Double((wave + (noise % 16) as f64).round() / 10.0),
            };
            rows.push((series.clone(), reading));
        }
    }
    rows
}

#[test]
fn a_reading_for_good_takes_less_than_a_byte_and_a_half() {
    let rows = stations(20, 1_440);
    let lasting = rows
        .iter()
        .cloned()
        .map(|(series, row)| (series, LastingReading::from(row)));
    let blocks = blocks(lasting);
    // A day of each, by itself.
    assert_eq!(blocks.len(), 20);
    let bytes: usize = blocks
        .iter()
        .map(|block| block.encode().unwrap().len())
        .sum();
    let each = bytes as f64 / rows.len() as f64;
    assert!(each < 1.5, "{each}");
}

#[test]
fn small_series_share_a_block_until_it_is_large_enough() {
    for (count, minutes) in [(30, 100), (3, 5_000)] {
        let rows = stations(count, minutes);
        let blocks = blocks(rows.iter().cloned());
        let read: Vec<_> = blocks.iter().flat_map(|block| block.rows.clone()).collect();
        let written: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
        assert_eq!(read, written);
        for (block, next) in blocks.iter().zip(&blocks[1..]) {
            let rows = block.rows.len();
            let goes_on =
                block.runs.last().map(|run| &run.0) == next.runs.first().map(|run| &run.0);
            let begins = block.runs.last().map_or(0, |(_, last)| rows - last);
            assert!(begins < SERIES_ROWS, "{begins}");
            assert!(if goes_on {
                rows == BLOCK_ROWS
            } else {
                rows >= SERIES_ROWS
            });
        }
    }
}

#[test]
fn an_empty_block_is_none() {
    assert!(Block::<Bucket>::default().encode().is_none());
    assert!(Entry::of(&Block::<Bucket>::default()).is_none());
}
