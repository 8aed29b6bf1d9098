//! Vector tiles (Mapbox Vector Tile 1 and 2): the features of one layer.
//!
//! # Invariants
//! - Everything is bounded by the bytes of the tile: nothing is reserved that they could not fill.
//! - A layer whose structure is broken is an error with its place; so is a feature whose tags lead nowhere.
//! - Coordinates are those of the tile's grid, y downward.

use std::sync::Arc;

use super::super::{Cell, ShapeKind as Kind};

/// Grid of a tile that names none.
const EXTENT: u32 = 4096;
/// Largest grid that is read.
const MAX_EXTENT: u32 = 1 << 16;
/// How far from the tile a coordinate may be, in grids: more than any buffer.
const MAX_OVERHANG: i64 = 64;

/// A feature of a tile.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    /// 0 where it has none.
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// By name.
    pub(super) values: Vec<(Arc<str>, Cell)>,
    /// Points, lines or rings.
    pub(super) parts: Vec<Vec<(i32, i32)>>,
}

/// A layer of a tile.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Layer {
    pub(super) extent: u32,
    pub(super) pieces: Vec<Piece>,
    /// Features of no known kind, which the format allows.
    pub(super) unknown: u64,
}

/// The layer of a name in a tile, if the tile has it.
pub(super) fn layer(tile: &[u8], name: &str) -> Result<Option<Layer>, String> {
    let mut fields = Fields(tile);
    let mut found = None;
    while let Some((number, field)) = fields.next()? {
        if number != 3 {
            continue;
        }
        let bytes = field.bytes()?;
        if layer_name(bytes)? == name.as_bytes() {
            if found.is_some() {
                return Err(format!("the tile has two layers called {name}"));
            }
            found = Some(read_layer(bytes)?);
        }
    }
    Ok(found)
}

fn layer_name(layer: &[u8]) -> Result<&[u8], String> {
    let mut fields = Fields(layer);
    while let Some((number, field)) = fields.next()? {
        if number == 1 {
            return field.bytes();
        }
    }
    Err("a layer has no name".to_owned())
}

fn read_layer(bytes: &[u8]) -> Result<Layer, String> {
    let (mut extent, mut version) = (EXTENT, 1);
    let mut keys: Vec<Arc<str>> = Vec::new();
    let mut values = Vec::new();
    let mut features = Vec::new();
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match number {
            2 => features.push(field.bytes()?),
            3 => keys.push(text(field.bytes()?)?.into()),
            4 => values.push(value(field.bytes()?)?),
            5 => extent = u32::try_from(field.integer()?).unwrap_or(0),
            15 => version = field.integer()?,
            _ => {}
        }
    }
    if !(1..=2).contains(&version) {
        return Err(format!("a layer of version {version} is not known"));
    }
    if !(1..=MAX_EXTENT).contains(&extent) {
        return Err(format!(
            "a layer's grid of {extent} is not from 1 to {MAX_EXTENT}"
        ));
    }
    let (mut pieces, mut unknown) = (Vec::with_capacity(features.len()), 0);
    for feature in features {
        match read_feature(feature, &keys, &values, extent)? {
            Some(piece) => pieces.push(piece),
            None => unknown += 1,
        }
    }
    Ok(Layer {
        extent,
        pieces,
        unknown,
    })
}

/// A feature; `None` if its kind is not known.
fn read_feature(
    bytes: &[u8],
    keys: &[Arc<str>],
    values: &[Cell],
    extent: u32,
) -> Result<Option<Piece>, String> {
    let (mut id, mut kind) = (0, 0);
    let (mut tags, mut commands): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => id = field.integer()?,
            2 => tags = field.bytes()?,
            3 => kind = field.integer()?,
            4 => commands = field.bytes()?,
            _ => {}
        }
    }
    let kind = match kind {
        1 => Kind::Point,
        2 => Kind::Line,
        3 => Kind::Area,
        _ => return Ok(None),
    };
    let mut named = Vec::new();
    let mut tags = Fields(tags);
    while !tags.0.is_empty() {
        let (key, value) = (tags.varint()?, tags.varint()?);
        let at = |index: u64| usize::try_from(index).unwrap_or(usize::MAX);
        let (Some(key), Some(value)) = (keys.get(at(key)), values.get(at(value))) else {
            return Err("a feature's tags lead to no key or value".to_owned());
        };
        named.push((Arc::clone(key), value.clone()));
    }
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named.dedup_by(|later, earlier| later.0 == earlier.0);
    let parts = draw(commands, kind, extent)?;
    Ok(Some(Piece {
        id,
        kind,
        values: named,
        parts,
    }))
}

const MOVE_TO: u64 = 1;
const LINE_TO: u64 = 2;
const CLOSE: u64 = 7;

/// Commands of a pen into points, lines or rings.
fn draw(commands: &[u8], kind: Kind, extent: u32) -> Result<Vec<Vec<(i32, i32)>>, String> {
    let mut commands = Fields(commands);
    let mut parts: Vec<Vec<(i32, i32)>> = Vec::new();
    let (mut x, mut y) = (0_i64, 0_i64);
    let most = i64::from(extent) * MAX_OVERHANG;
    while !commands.0.is_empty() {
        let command = commands.varint()?;
        let (what, count) = (command & 7, command >> 3);
        match what {
            MOVE_TO | LINE_TO => {
                // Each takes two numbers of a byte at least.
                if count > commands.0.len() as u64 / 2 {
                    return Err("a geometry announces more points than follow".to_owned());
                }
                for _ in 0..count {
                    x = x.saturating_add(zigzag(commands.varint()?));
                    y = y.saturating_add(zigzag(commands.varint()?));
                    if x.abs() > most || y.abs() > most {
                        return Err(format!(
                            "a coordinate [{x}, {y}] is far outside of its tile"
                        ));
                    }
                    let point = (x as i32, y as i32);
                    match parts.last_mut() {
                        Some(part) if what == LINE_TO => part.push(point),
                        None if what == LINE_TO => {
                            return Err("a line begins nowhere".to_owned());
                        }
                        _ => parts.push(vec![point]),
                    }
                }
            }
            CLOSE if kind == Kind::Area => {
                if let Some(ring) = parts.last_mut()
                    && let Some(first) = ring.first().copied()
                    && ring.len() > 1
                    && ring.last() != Some(&first)
                {
                    ring.push(first);
                }
            }
            _ => {
                return Err(format!(
                    "a geometry has the command {what}, which is not known"
                ));
            }
        }
    }
    Ok(parts)
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_bad| "a text is not UTF-8".to_owned())
}

fn value(bytes: &[u8]) -> Result<Cell, String> {
    let mut cell = Cell::Null;
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        let finite = |value: f64| {
            if value.is_finite() {
                Cell::Float(value)
            } else {
                Cell::Null
            }
        };
        cell = match (number, field) {
            (1, field) => match text(field.bytes()?)? {
                "" => Cell::Null,
                text => Cell::Text(text.into()),
            },
            (2, Field::Four(bytes)) => {
                let narrow = f32::from_le_bytes(bytes);
                // Through text, so that 0.1 in 32 bits stays 0.1.
                finite(narrow.to_string().parse().unwrap_or(f64::from(narrow)))
            }
            (3, Field::Eight(bytes)) => finite(f64::from_le_bytes(bytes)),
            (4, Field::Integer(value)) => Cell::Int(value as i64),
            (5, Field::Integer(value)) => i64::try_from(value)
                // Beyond 63 bits the digits are kept as text.
                .map_or_else(|_| Cell::Text(value.to_string().into()), Cell::Int),
            (6, Field::Integer(value)) => Cell::Int(zigzag(value)),
            (7, Field::Integer(value)) => Cell::Bool(value != 0),
            (2..=7, _) => return Err("a value is of another type than it says".to_owned()),
            _ => cell,
        };
    }
    Ok(cell)
}

/// A field of a protobuf message.
#[derive(Debug, Clone, Copy)]
enum Field<'b> {
    Integer(u64),
    Eight([u8; 8]),
    Bytes(&'b [u8]),
    Four([u8; 4]),
}

impl<'b> Field<'b> {
    fn bytes(self) -> Result<&'b [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err("a number stands where bytes must".to_owned()),
        }
    }

    fn integer(self) -> Result<u64, String> {
        match self {
            Self::Integer(value) => Ok(value),
            _ => Err("bytes stand where a number must".to_owned()),
        }
    }
}

/// A protobuf message being read.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let Some((&byte, rest)) = self.0.split_first() else {
                return Err("the tile ends inside a number".to_owned());
            };
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number has more than 64 bits".to_owned())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let Some((chunk, rest)) = self.0.split_first_chunk::<N>() else {
            return Err("the tile ends inside a value".to_owned());
        };
        self.0 = rest;
        Ok(*chunk)
    }

    fn next(&mut self) -> Result<Option<(u64, Field<'b>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Integer(self.varint()?),
            1 => Field::Eight(self.take()?),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let Some((bytes, rest)) = self.0.split_at_checked(length) else {
                    return Err("the tile ends inside a message".to_owned());
                };
                self.0 = rest;
                Field::Bytes(bytes)
            }
            5 => Field::Four(self.take()?),
            other => return Err(format!("a field has the type {other}, which is not known")),
        };
        Ok(Some((key >> 3, field)))
    }
}

#[cfg(test)]
pub(super) mod writing {
    //! Tiles for tests, written by the words of the specification alone.

    use super::{Cell, Kind};

    fn varint(mut value: u64, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    fn field(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
        varint(number << 3 | 2, out);
        varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }

    fn zig(value: i64, out: &mut Vec<u8>) {
        varint(((value << 1) ^ (value >> 63)) as u64, out);
    }

    /// A feature to write.
    pub(in super::super) struct Drawn {
        pub(in super::super) kind: Kind,
        pub(in super::super) values: Vec<(&'static str, Cell)>,
        pub(in super::super) parts: Vec<Vec<(i32, i32)>>,
    }

    pub(in super::super) fn tile(name: &str, extent: u32, features: &[Drawn]) -> Vec<u8> {
        let (mut keys, mut values): (Vec<&str>, Vec<Cell>) = (Vec::new(), Vec::new());
        let mut layer = Vec::new();
        field(1, name.as_bytes(), &mut layer);
        for feature in features {
            let mut tags = Vec::new();
            for (key, value) in &feature.values {
                let at = keys
                    .iter()
                    .position(|known| known == key)
                    .unwrap_or_else(|| {
                        keys.push(key);
                        keys.len() - 1
                    });
                varint(at as u64, &mut tags);
                let at = values
                    .iter()
                    .position(|known| known == value)
                    .unwrap_or_else(|| {
                        values.push(value.clone());
                        values.len() - 1
                    });
                varint(at as u64, &mut tags);
            }
            let mut commands = Vec::new();
            let (mut x, mut y) = (0, 0);
            let mut to = |point: &(i32, i32), out: &mut Vec<u8>| {
                zig(i64::from(point.0 - x), out);
                zig(i64::from(point.1 - y), out);
                (x, y) = *point;
            };
            if feature.kind == Kind::Point {
                varint((feature.parts.len() as u64) << 3 | 1, &mut commands);
                for part in &feature.parts {
                    to(&part[0], &mut commands);
                }
            } else {
                for part in &feature.parts {
                    let ring = feature.kind == Kind::Area;
                    let drawn = if ring {
                        &part[..part.len() - 1]
                    } else {
                        &part[..]
                    };
                    varint(1 << 3 | 1, &mut commands);
                    to(&drawn[0], &mut commands);
                    varint((drawn.len() as u64 - 1) << 3 | 2, &mut commands);
                    for point in &drawn[1..] {
                        to(point, &mut commands);
                    }
                    if ring {
                        varint(1 << 3 | 7, &mut commands);
                    }
                }
            }
            let mut message = Vec::new();
            field(2, &tags, &mut message);
            varint(3 << 3, &mut message);
            varint(feature.kind as u64 + 1, &mut message);
            field(4, &commands, &mut message);
            field(2, &message, &mut layer);
        }
        for key in keys {
            field(3, key.as_bytes(), &mut layer);
        }
        for value in values {
            let mut message = Vec::new();
            match value {
                Cell::Text(text) => field(1, text.as_bytes(), &mut message),
                Cell::Float(value) => {
                    varint(3 << 3 | 1, &mut message);
                    message.extend(value.to_le_bytes());
                }
                Cell::Int(value) => {
                    varint(6 << 3, &mut message);
                    zig(value, &mut message);
                }
                Cell::Bool(value) => {
                    varint(7 << 3, &mut message);
                    varint(u64::from(value), &mut message);
                }
                Cell::Null | Cell::Json(_) => {}
            }
            field(4, &message, &mut layer);
        }
        varint(5 << 3, &mut layer);
        varint(u64::from(extent), &mut layer);
        varint(15 << 3, &mut layer);
        varint(2, &mut layer);
        let mut tile = Vec::new();
        field(3, &layer, &mut tile);
        tile
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::writing::{Drawn, tile};
    use super::*;

    fn some() -> Vec<u8> {
        let values = vec![
            ("name", Cell::Text("x".into())),
            ("size", Cell::Int(-5)),
            ("deep", Cell::Float(0.1)),
            ("ok", Cell::Bool(true)),
        ];
        tile(
            "pipes",
            4096,
            &[
                Drawn {
                    kind: Kind::Line,
                    values: values.clone(),
                    parts: vec![vec![(0, 0), (10, -3), (4096, 4176)], vec![(5, 5), (6, 6)]],
                },
                Drawn {
                    kind: Kind::Area,
                    values,
                    parts: vec![vec![(0, 0), (10, 0), (10, 10), (0, 0)]],
                },
                Drawn {
                    kind: Kind::Point,
                    values: Vec::new(),
                    parts: vec![vec![(1, 2)], vec![(3, 4)]],
                },
            ],
        )
    }

    #[test]
    fn a_layer_comes_back_as_it_was_written() {
        let read = layer(&some(), "pipes").unwrap().unwrap();
        assert_eq!((read.extent, read.pieces.len()), (4096, 3));
        let line = &read.pieces[0];
        assert_eq!((line.id, line.kind), (0, Kind::Line));
        assert_eq!(
            line.parts,
            [vec![(0, 0), (10, -3), (4096, 4176)], vec![(5, 5), (6, 6)]]
        );
        let named: Vec<_> = line
            .values
            .iter()
            .map(|(name, cell)| (&**name, cell.clone()))
            .collect();
        assert_eq!(
            named,
            [
                ("deep", Cell::Float(0.1)),
                ("name", Cell::Text("x".into())),
                ("ok", Cell::Bool(true)),
                ("size", Cell::Int(-5)),
            ]
        );
        assert_eq!(
            read.pieces[1].parts,
            [vec![(0, 0), (10, 0), (10, 10), (0, 0)]]
        );
        assert_eq!(read.pieces[2].parts, [vec![(1, 2)], vec![(3, 4)]]);
        assert_eq!(layer(&some(), "roads"), Ok(None));
    }

    proptest! {
        #[test]
        fn a_damaged_tile_never_panics(at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = some();
            let place = at.index(bytes.len());
            bytes[place] = with;
            layer(&bytes, "pipes").ok();
            bytes.truncate(cut.index(bytes.len()));
            layer(&bytes, "pipes").ok();
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            layer(&bytes, "pipes").ok();
        }
    }
}
