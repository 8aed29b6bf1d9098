//! Mapbox Vector Tile 2.1, written: one layer of one tile as protocol buffers.
//!
//! # Invariants
//! - What is written follows <https://github.com/mapbox/vector-tile-spec/tree/master/2.1>: the
//!   version is 2, every key and every value of the layer stands there once, and a feature has each
//!   key at most once and at least one position.
//! - The same calls give the same bytes.
//!
//! Only what a tile needs of protocol buffers is here: whole numbers as varints (signed ones of
//! geometry in zigzag), fixed 64 bits, and lengths before what they measure.

use std::hash::{BuildHasher as _, RandomState};

use super::grid::EXTENT;
use crate::mend::{At, Polygon};

// Fields of the messages, each with its wire type in the low bits.
const TILE_LAYER: u8 = 3 << 3 | LENGTH;
const LAYER_NAME: u8 = 1 << 3 | LENGTH;
const LAYER_FEATURE: u8 = 2 << 3 | LENGTH;
const LAYER_KEY: u8 = 3 << 3 | LENGTH;
const LAYER_VALUE: u8 = 4 << 3 | LENGTH;
const LAYER_EXTENT: u8 = 5 << 3 | VARINT;
const LAYER_VERSION: u8 = 15 << 3 | VARINT;
const FEATURE_ID: u8 = 1 << 3 | VARINT;
const FEATURE_TAGS: u8 = 2 << 3 | LENGTH;
const FEATURE_TYPE: u8 = 3 << 3 | VARINT;
const FEATURE_GEOMETRY: u8 = 4 << 3 | LENGTH;
const VALUE_TEXT: u8 = 1 << 3 | LENGTH;
const VALUE_DOUBLE: u8 = 3 << 3 | FIXED_64;
const VALUE_UINT: u8 = 5 << 3 | VARINT;
const VALUE_SINT: u8 = 6 << 3 | VARINT;
const VALUE_BOOL: u8 = 7 << 3 | VARINT;
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;

// Commands of a geometry.
const MOVE_TO: u32 = 1;
const LINE_TO: u32 = 2;
const CLOSE_PATH: u32 = 7;

/// Most bytes of a number of 32 bits.
const MAX_STEP_BYTES: usize = 5;

/// Bytes that a layer takes beside its features, keys and values.
const FRAME_BYTES: usize = 64;

/// What a feature is drawn as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Points = 1,
    Lines = 2,
    Areas = 3,
}

/// A value of a feature.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tag<'v> {
    Text(&'v str),
    Double(f64),
    Int(i64),
    Bool(bool),
}

/// Place of a key in the layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(u32);

/// A layer as it grows.
#[derive(Debug)]
pub(crate) struct Writer {
    name: String,
    features: Vec<u8>,
    keys: Vec<u8>,
    key_names: Vec<String>,
    values: Values,
    // Of the feature that is being written.
    tags: Vec<u8>,
    geometry: Vec<u8>,
    pen: At,
    scratch: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            features: Vec::new(),
            keys: Vec::new(),
            key_names: Vec::new(),
            values: Values::default(),
            tags: Vec::new(),
            geometry: Vec::new(),
            pen: [0; 2],
            scratch: Vec::new(),
        }
    }

    /// The key of a name.
    pub(crate) fn key(&mut self, name: &str) -> Key {
        let known = self.key_names.iter().position(|known| known == name);
        let place = known.unwrap_or_else(|| {
            self.keys.push(LAYER_KEY);
            put_bytes(&mut self.keys, name.as_bytes());
            self.key_names.push(name.to_owned());
            self.key_names.len() - 1
        });
        Key(place as u32)
    }

    /// Gives the feature that is being written a value.
    pub(crate) fn tag(&mut self, key: Key, tag: Tag<'_>) {
        let value = &mut self.scratch;
        value.clear();
        match tag {
            Tag::Text(text) => {
                value.push(VALUE_TEXT);
                put_bytes(value, text.as_bytes());
            }
            Tag::Double(number) => {
                value.push(VALUE_DOUBLE);
                value.extend_from_slice(&number.to_le_bytes());
            }
            Tag::Int(number) => {
                if let Ok(number) = u64::try_from(number) {
                    value.push(VALUE_UINT);
                    put(value, number);
                } else {
                    value.push(VALUE_SINT);
                    put(value, (number << 1 ^ number >> 63).cast_unsigned());
                }
            }
            Tag::Bool(is) => {
                value.push(VALUE_BOOL);
                put(value, u64::from(is));
            }
        }
        let place = self.values.place(&self.scratch);
        put(&mut self.tags, u64::from(key.0));
        put(&mut self.tags, u64::from(place));
    }

    /// Draws points, at least one.
    pub(crate) fn points(&mut self, points: &[At]) {
        self.command(MOVE_TO, points.len());
        self.steps(points);
    }

    /// Draws a line of at least two positions.
    pub(crate) fn line(&mut self, line: &[At]) {
        self.path(line);
    }

    /// Draws an area.
    pub(crate) fn polygon(&mut self, polygon: &Polygon) {
        for ring in polygon {
            self.path(ring);
            self.command(CLOSE_PATH, 1);
        }
    }

    fn path(&mut self, path: &[At]) {
        let Some((&first, rest)) = path.split_first() else {
            return;
        };
        self.command(MOVE_TO, 1);
        self.steps(&[first]);
        self.command(LINE_TO, rest.len());
        self.steps(rest);
    }

    fn command(&mut self, command: u32, count: usize) {
        put(&mut self.geometry, u64::from(command) | (count as u64) << 3);
    }

    fn steps(&mut self, path: &[At]) {
        let mut end = self.geometry.len();
        // Room for all at once: most of a tile are these numbers.
        self.geometry
            .resize(end + path.len() * 2 * MAX_STEP_BYTES, 0);
        for &at in path {
            for axis in [0, 1] {
                let way = at[axis] - self.pen[axis];
                end = put_step(
                    &mut self.geometry,
                    end,
                    (way << 1 ^ way >> 31).cast_unsigned(),
                );
            }
            self.pen = at;
        }
        self.geometry.truncate(end);
    }

    /// Whether anything of the feature that is being written was drawn.
    pub(crate) fn has_drawn(&self) -> bool {
        !self.geometry.is_empty()
    }

    /// Ends the feature that was being written; it is left out if nothing was drawn.
    pub(crate) fn end(&mut self, id: u64, kind: Kind) {
        if self.has_drawn() {
            let length = 1
                + varint_len(id)
                + 2
                + if self.tags.is_empty() {
                    0
                } else {
                    1 + varint_len(self.tags.len() as u64) + self.tags.len()
                }
                + 1
                + varint_len(self.geometry.len() as u64)
                + self.geometry.len();
            let out = &mut self.features;
            out.push(LAYER_FEATURE);
            put(out, length as u64);
            out.push(FEATURE_ID);
            put(out, id);
            if !self.tags.is_empty() {
                out.push(FEATURE_TAGS);
                put_bytes(out, &self.tags);
            }
            out.push(FEATURE_TYPE);
            out.push(kind as u8);
            out.push(FEATURE_GEOMETRY);
            put_bytes(out, &self.geometry);
        }
        self.tags.clear();
        self.geometry.clear();
        self.pen = [0; 2];
    }

    /// How large the tile is by now.
    pub(crate) fn bytes(&self) -> usize {
        self.features.len() + self.keys.len() + self.values.bytes.len() + FRAME_BYTES
    }

    /// The tile; of a layer without features one without layers, which is no bytes at all.
    pub(crate) fn tile(self) -> Vec<u8> {
        if self.features.is_empty() {
            return Vec::new();
        }
        let mut head = Vec::new();
        head.push(LAYER_NAME);
        put_bytes(&mut head, self.name.as_bytes());
        let mut tail = vec![LAYER_EXTENT];
        put(&mut tail, EXTENT.cast_unsigned());
        tail.extend_from_slice(&[LAYER_VERSION, 2]);
        let parts = [&head, &self.features, &self.keys, &self.values.bytes, &tail];
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut tile = Vec::with_capacity(length + 6);
        tile.push(TILE_LAYER);
        put(&mut tile, length as u64);
        for part in parts {
            tile.extend_from_slice(part);
        }
        tile
    }
}

/// The values of a layer, each once.
#[derive(Debug, Default)]
struct Values {
    /// All of them, as they stand in the layer.
    bytes: Vec<u8>,
    /// Where each stands.
    spans: Vec<(u32, u32)>,
    /// A power of two of places by hash, at most half full.
    table: Vec<Slot>,
    /// The value that was asked for last.
    last: u32,
    /// Chosen anew for each tile, so that nobody can choose texts of one hash.
    seed: Seed,
}

/// A place of the table.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    hash: u32,
    /// One more than the place of the value in the layer; 0 where none is.
    taken: u32,
}

/// Two numbers that a hash depends on.
#[derive(Clone, Copy, Debug)]
struct Seed(u64, u64);

impl Default for Seed {
    fn default() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(0_u8), random.hash_one(1_u8) | 1)
    }
}

impl Seed {
    /// A hash of bytes, eight at a time: each is mixed in by a multiplication whose halves are folded.
    fn hash(self, bytes: &[u8]) -> u32 {
        let mix = |hash: u64, word: u64| {
            let product = u128::from(hash ^ word) * u128::from(self.1);
            product as u64 ^ (product >> 64) as u64
        };
        let mut hash = self.0 ^ bytes.len() as u64;
        let mut rest = bytes;
        while let Some((word, after)) = rest.split_first_chunk() {
            hash = mix(hash, u64::from_le_bytes(*word));
            rest = after;
        }
        // The last eight, though some of them are in already.
        let last = bytes.last_chunk().map_or_else(
            || rest.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)),
            |word| u64::from_le_bytes(*word),
        );
        mix(mix(hash, last), self.0) as u32
    }
}

impl Values {
    fn place(&mut self, value: &[u8]) -> u32 {
        // A label is the name that follows it.
        if !self.is(self.last, value) {
            self.last = self.find(value);
        }
        self.last
    }

    /// Whether a value stands in a place.
    fn is(&self, place: u32, value: &[u8]) -> bool {
        let span = self.spans.get(place as usize);
        span.is_some_and(|(start, end)| self.bytes[*start as usize..*end as usize] == *value)
    }

    fn find(&mut self, value: &[u8]) -> u32 {
        if self.table.len() <= self.spans.len() * 2 {
            self.grow();
        }
        let hash = self.seed.hash(value);
        let mut slot = self.first(hash);
        while self.table[slot].taken != 0 {
            let Slot { hash: other, taken } = self.table[slot];
            if other == hash && self.is(taken - 1, value) {
                return taken - 1;
            }
            slot = self.next(slot);
        }
        self.bytes.push(LAYER_VALUE);
        put(&mut self.bytes, value.len() as u64);
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        self.spans.push((start, self.bytes.len() as u32));
        let taken = self.spans.len() as u32;
        self.table[slot] = Slot { hash, taken };
        taken - 1
    }

    /// Where a value of a hash is looked for first.
    fn first(&self, hash: u32) -> usize {
        hash as usize & (self.table.len() - 1)
    }

    fn next(&self, slot: usize) -> usize {
        (slot + 1) & (self.table.len() - 1)
    }

    fn grow(&mut self) {
        let larger = vec![Slot::default(); (self.table.len() * 2).max(256)];
        for known in std::mem::replace(&mut self.table, larger) {
            if known.taken == 0 {
                continue;
            }
            let mut slot = self.first(known.hash);
            while self.table[slot].taken != 0 {
                slot = self.next(slot);
            }
            self.table[slot] = known;
        }
    }
}

/// Writes a varint into bytes that are there; answers where the next one comes.
fn put_step(out: &mut [u8], mut at: usize, mut number: u32) -> usize {
    if number < 1 << 14 {
        // Nearly every one, and whether it takes one byte or two nobody can foresee: so without asking.
        let two = number >= 0x80;
        out[at] = number as u8 & 0x7f | u8::from(two) << 7;
        out[at + 1] = (number >> 7) as u8;
        return at + 1 + usize::from(two);
    }
    while number >= 0x80 {
        out[at] = number as u8 | 0x80;
        number >>= 7;
        at += 1;
    }
    out[at] = number as u8;
    at + 1
}

/// Appends a varint.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}
