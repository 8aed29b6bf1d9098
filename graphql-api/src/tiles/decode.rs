//! A reader of vector tiles for tests. It knows the format from its description, not from the
//! writer, and refuses what the description does not allow.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::mend::{At, Polygon, Ring, area};

/// A feature that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Feature {
    pub(crate) id: u64,
    pub(crate) tags: BTreeMap<String, Json>,
    pub(crate) drawn: Drawn,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Drawn {
    Points(Vec<At>),
    Lines(Vec<Ring>),
    Areas(Vec<Polygon>),
}

impl Feature {
    pub(crate) fn text(&self, key: &str) -> &str {
        self.tags[key].as_str().unwrap()
    }

    pub(crate) fn polygons(&self) -> &[Polygon] {
        match &self.drawn {
            Drawn::Areas(polygons) => polygons,
            other => panic!("no area: {other:?}"),
        }
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn varint(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first().expect("a varint ends");
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return number;
            }
        }
        panic!("a varint is too long");
    }

    fn bytes(&mut self) -> &'b [u8] {
        let length = self.varint() as usize;
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    fn field(&mut self) -> Option<(u64, u64)> {
        (!self.0.is_empty()).then(|| {
            let tag = self.varint();
            (tag >> 3, tag & 7)
        })
    }
}

/// The layer of a tile, its name and its features; `None` for a tile without layers.
pub(crate) fn layer(tile: &[u8]) -> Option<(String, Vec<Feature>)> {
    let mut reader = Reader(tile);
    assert_eq!(reader.field()?, (3, 2));
    let mut layer = Reader(reader.bytes());
    assert!(reader.0.is_empty(), "one layer");
    let (mut name, mut extent, mut version) = (None, None, None);
    let (mut features, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(field) = layer.field() {
        match field {
            (1, 2) => name = Some(String::from_utf8(layer.bytes().to_vec()).unwrap()),
            (2, 2) => features.push(layer.bytes()),
            (3, 2) => keys.push(String::from_utf8(layer.bytes().to_vec()).unwrap()),
            (4, 2) => values.push(value(layer.bytes())),
            (5, 0) => extent = Some(layer.varint()),
            (15, 0) => version = Some(layer.varint()),
            other => panic!("no field of a layer: {other:?}"),
        }
    }
    assert_eq!((extent, version), (Some(4096), Some(2)));
    let unique = |texts: Vec<String>| {
        let mut sorted = texts.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), texts.len(), "{texts:?}");
    };
    unique(keys.clone());
    unique(values.iter().map(|value| format!("{value:?}")).collect());
    let features = features
        .into_iter()
        .map(|bytes| feature(bytes, &keys, &values));
    Some((name.unwrap(), features.collect()))
}

fn value(bytes: &[u8]) -> Json {
    let mut reader = Reader(bytes);
    let value = match reader.field().unwrap() {
        (1, 2) => json!(String::from_utf8(reader.bytes().to_vec()).unwrap()),
        (3, 1) => {
            let (number, rest) = reader.0.split_first_chunk().unwrap();
            reader.0 = rest;
            json!(f64::from_le_bytes(*number))
        }
        (5, 0) => json!(reader.varint()),
        (6, 0) => json!(zigzag(reader.varint())),
        (7, 0) => json!(reader.varint() == 1),
        other => panic!("no field of a value: {other:?}"),
    };
    assert!(reader.0.is_empty());
    value
}

fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn feature(bytes: &[u8], keys: &[String], values: &[Json]) -> Feature {
    let mut reader = Reader(bytes);
    let (mut id, mut tags, mut kind, mut geometry) = (None, BTreeMap::new(), None, None);
    while let Some(field) = reader.field() {
        match field {
            (1, 0) => id = Some(reader.varint()),
            (2, 2) => {
                let mut pairs = Reader(reader.bytes());
                while !pairs.0.is_empty() {
                    let key = keys[pairs.varint() as usize].clone();
                    let value = values[pairs.varint() as usize].clone();
                    assert_eq!(tags.insert(key, value), None, "a key twice");
                }
            }
            (3, 0) => kind = Some(reader.varint()),
            (4, 2) => geometry = Some(reader.bytes()),
            other => panic!("no field of a feature: {other:?}"),
        }
    }
    let drawn = drawn(kind.unwrap(), geometry.unwrap());
    Feature {
        id: id.unwrap(),
        tags,
        drawn,
    }
}

fn drawn(kind: u64, bytes: &[u8]) -> Drawn {
    let mut reader = Reader(bytes);
    let mut pen = [0_i64; 2];
    let mut paths: Vec<(Ring, bool)> = Vec::new();
    while !reader.0.is_empty() {
        let command = reader.varint();
        let count = command >> 3;
        assert!(count > 0);
        match command & 7 {
            7 => {
                assert_eq!(count, 1);
                paths.last_mut().unwrap().1 = true;
            }
            command => {
                for _ in 0..count {
                    let way = [zigzag(reader.varint()), zigzag(reader.varint())];
                    pen = [pen[0] + way[0], pen[1] + way[1]];
                    let at = pen.map(|v| i32::try_from(v).unwrap());
                    match command {
                        1 => paths.push((vec![at], false)),
                        2 => {
                            let path = paths.last_mut().unwrap();
                            assert!(!path.1, "a line goes on after it was closed");
                            assert_ne!(path.0.last(), Some(&at), "a step of no length");
                            path.0.push(at);
                        }
                        other => panic!("no command: {other}"),
                    }
                }
            }
        }
    }
    match kind {
        1 => Drawn::Points(
            paths
                .into_iter()
                .map(|(path, closed)| {
                    assert!(path.len() == 1 && !closed);
                    path[0]
                })
                .collect(),
        ),
        2 => Drawn::Lines(
            paths
                .into_iter()
                .map(|(path, closed)| {
                    assert!(path.len() > 1 && !closed);
                    path
                })
                .collect(),
        ),
        3 => {
            let mut polygons: Vec<Polygon> = Vec::new();
            for (ring, closed) in paths {
                assert!(closed && ring.len() > 2, "{ring:?}");
                let area = area(&ring);
                assert_ne!(area, 0);
                if area > 0 {
                    polygons.push(vec![ring]);
                } else {
                    polygons
                        .last_mut()
                        .expect("a hole has an outer ring")
                        .push(ring);
                }
            }
            Drawn::Areas(polygons)
        }
        other => panic!("no kind: {other}"),
    }
}
