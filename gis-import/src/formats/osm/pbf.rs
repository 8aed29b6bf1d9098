//! OSM PBF: blobs of protocol buffers, one after another.
//!
//! # Invariants
//! - One blob is held at a time, of at most [`MAX_BLOB_BYTES`] before and after it is inflated, and
//!   its objects, at most [`MAX_BLOCK_OBJECTS`].
//! - A file that ends within a blob, or whose blobs contradict themselves (arrays of unequal length,
//!   strings that are not there, differences out of range, bytes left over), is an error: nothing is
//!   left out without a word. A file cut exactly between two blobs cannot be told from a whole one.
//!
//! Decoded here and not by a crate: those at hand end an array with the shorter one, and an object's
//! tags at the first that is not UTF-8, and take a cut length for the end of the file.

use std::collections::VecDeque;
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::ZlibDecoder;

use super::element::{At, Body, Element, INNER, Keep, Kind, MAX_MEMBERS, MAX_TAGS, Member, Tags};
use super::wire::{Damage, Deltas, Fields, Packed, signed};
use crate::formats::FileError;
use crate::formats::input::Input;

/// Most bytes of the header of a blob; the format's own limit.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Most bytes of a blob, packed or inflated; the format's own limit.
pub const MAX_BLOB_BYTES: usize = 32 << 20;
/// Most objects of one blob; writers put 8,000 into one.
pub const MAX_BLOCK_OBJECTS: usize = 1 << 20;

/// What a file may ask its readers to understand.
const UNDERSTOOD: [&str; 2] = ["OsmSchema-V0.6", "DenseNodes"];
const HISTORY: &str = "HistoricalInformation";
/// Nanodegrees in one unit of a position.
const UNIT_NANOS: i64 = 100;
/// Nanodegrees of a coordinate where the file does not say.
const GRANULARITY: i64 = 100;

const AGAIN: &str = "fetch the file again";

/// A file being read.
#[derive(Debug)]
pub(super) struct Pbf {
    input: Input,
    keep: Keep,
    /// Blobs begun.
    blobs: u64,
    block: VecDeque<Element>,
    /// The blob as it stands in the file, and inflated; kept for their space.
    packed: Vec<u8>,
    inflated: Vec<u8>,
}

/// What the header of a blob says.
struct BlobHeader {
    kind: BlobKind,
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlobKind {
    Header,
    Data,
    /// To be passed over, as the format says.
    Other,
}

impl Pbf {
    pub(super) fn new(input: Input, keep: Keep) -> Self {
        Self {
            input,
            keep,
            blobs: 0,
            block: VecDeque::new(),
            packed: Vec::new(),
            inflated: Vec::new(),
        }
    }

    /// The next object; `None` at the end of the file.
    pub(super) fn element(&mut self) -> Result<Option<Element>, FileError> {
        loop {
            if let Some(element) = self.block.pop_front() {
                return Ok(Some(element));
            }
            let Some(kind) = self.blob()? else {
                if self.blobs == 0 {
                    return Err(self.damaged("the file is empty"));
                }
                return Ok(None);
            };
            let first = self.blobs == 1;
            let decoded = match kind {
                BlobKind::Header => check_header(&self.inflated),
                _ if first => Err("it does not begin with an OSMHeader".to_owned()),
                BlobKind::Data => decode(&self.inflated, self.keep, &mut self.block),
                BlobKind::Other => Ok(()),
            };
            decoded.map_err(|damage| self.damaged(&damage))?;
        }
    }

    fn error(&self, reason: String, help: &str) -> FileError {
        let at = format!("blob {}", self.blobs);
        FileError::new(self.input.path(), at, reason, help)
    }

    fn damaged(&self, damage: &str) -> FileError {
        let help = if damage.contains(HISTORY) {
            "make an extract of one moment, for example with `osmium time-filter`"
        } else {
            AGAIN
        };
        self.error(format!("this cannot be read as OSM PBF: {damage}"), help)
    }

    /// Fills `out` with the next bytes of the file.
    fn exactly(&mut self, bytes: usize, what: &str) -> Result<(), FileError> {
        self.packed.clear();
        let limit = bytes as u64;
        // What is not there is not allocated either.
        let read = Read::take(&mut self.input, limit).read_to_end(&mut self.packed);
        match read {
            Ok(read) if read == bytes => Ok(()),
            Ok(read) => Err(self.error(
                format!("the file is cut off: it ends after {read} of {bytes} bytes of {what}"),
                AGAIN,
            )),
            Err(error) => Err(self.input.failure(&error)),
        }
    }

    /// Reads and inflates the next blob; `None` at the end of the file.
    fn blob(&mut self) -> Result<Option<BlobKind>, FileError> {
        match self.input.fill_buf() {
            Ok([]) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(self.input.failure(&error)),
        }
        self.blobs += 1;
        self.exactly(4, "the length of a header")?;
        let length = self
            .packed
            .iter()
            .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        if length > MAX_HEADER_BYTES {
            let damage = format!(
                "a header of {length} bytes is more than the format's limit of {MAX_HEADER_BYTES}"
            );
            return Err(self.damaged(&damage));
        }
        self.exactly(length, "a header")?;
        let BlobHeader { kind, bytes } =
            blob_header(&self.packed).map_err(|damage| self.damaged(&damage))?;
        self.exactly(bytes, "a blob")?;
        if kind != BlobKind::Other {
            inflate(&self.packed, &mut self.inflated).map_err(|damage| self.damaged(&damage))?;
        }
        Ok(Some(kind))
    }
}

/// Whether a file that begins so may be OSM PBF: a short header of a blob comes first.
pub(super) fn may_be(start: &[u8]) -> bool {
    start.first() == Some(&0) && start.get(1) == Some(&0)
}

fn blob_header(bytes: &[u8]) -> Result<BlobHeader, Damage> {
    let (mut kind, mut size) = (None, None);
    let mut fields = Fields(bytes);
    while let Some((number, wire)) = fields.field()? {
        match number {
            1 => {
                kind = Some(match wire.bytes("type")? {
                    b"OSMHeader" => BlobKind::Header,
                    b"OSMData" => BlobKind::Data,
                    _ => BlobKind::Other,
                });
            }
            3 => size = Some(wire.varint("datasize")?),
            _ => {}
        }
    }
    let kind = kind.ok_or_else(|| "a blob has no type".to_owned())?;
    let size = size.ok_or_else(|| "a blob has no size".to_owned())?;
    match usize::try_from(size) {
        Ok(bytes) if bytes <= MAX_BLOB_BYTES => Ok(BlobHeader { kind, bytes }),
        _ => Err(format!(
            "a blob of {size} bytes is more than the format's limit of {MAX_BLOB_BYTES}"
        )),
    }
}

/// Fills `out` with what a blob holds.
fn inflate(blob: &[u8], out: &mut Vec<u8>) -> Result<(), Damage> {
    out.clear();
    let (mut raw, mut zlib, mut size) = (None, None, None);
    let mut fields = Fields(blob);
    while let Some((number, wire)) = fields.field()? {
        match number {
            1 => raw = Some(wire.bytes("raw")?),
            2 => size = Some(wire.varint("raw_size")?),
            3 => zlib = Some(wire.bytes("zlib_data")?),
            4..=7 => {
                let packing = ["LZMA", "bzip2", "LZ4", "Zstandard"];
                let packing = packing.get(number as usize - 4).unwrap_or(&"something");
                return Err(format!(
                    "a blob is packed with {packing}, and only zlib is read: write it again, for \
                     example with `osmium cat -f pbf,pbf_compression=zlib`"
                ));
            }
            _ => {}
        }
    }
    match (raw, zlib) {
        (Some(raw), None) => {
            out.extend_from_slice(raw);
            Ok(())
        }
        (None, Some(zlib)) => {
            let limit = MAX_BLOB_BYTES as u64;
            let wanted = size.ok_or_else(|| "a packed blob does not tell its size".to_owned())?;
            if wanted > limit {
                return Err(format!(
                    "a blob of {wanted} bytes is more than the format's limit of {limit}"
                ));
            }
            let read = ZlibDecoder::new(zlib)
                .take(wanted + 1)
                .read_to_end(out)
                .map_err(|error| format!("a blob cannot be inflated: {error}"))?;
            if read as u64 != wanted {
                return Err(format!(
                    "a blob of {wanted} bytes inflates to other than that"
                ));
            }
            Ok(())
        }
        _ => Err("a blob holds no data, or two kinds of them".to_owned()),
    }
}

/// Checks that the file asks for nothing that is not understood.
fn check_header(bytes: &[u8]) -> Result<(), Damage> {
    const REQUIRED_FEATURES: u64 = 4;
    let mut fields = Fields(bytes);
    while let Some((number, wire)) = fields.field()? {
        if number != REQUIRED_FEATURES {
            continue;
        }
        let feature = text(wire.bytes("required_features")?)?;
        if feature == HISTORY {
            return Err(format!(
                "it holds versions of the past ({HISTORY}), and only one state is read"
            ));
        }
        if !UNDERSTOOD.contains(&feature) {
            return Err(format!(
                "its readers must understand `{feature}`, which is not known here"
            ));
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, Damage> {
    std::str::from_utf8(bytes).map_err(|error| format!("a text is not UTF-8: {error}"))
}

/// What the objects of a block have in common.
struct Block<'a> {
    strings: Vec<Arc<str>>,
    granularity: i64,
    lon_offset: i64,
    lat_offset: i64,
    keep: Keep,
    out: &'a mut VecDeque<Element>,
}

fn decode(bytes: &[u8], keep: Keep, out: &mut VecDeque<Element>) -> Result<(), Damage> {
    let mut block = Block {
        strings: Vec::new(),
        granularity: GRANULARITY,
        lon_offset: 0,
        lat_offset: 0,
        keep,
        out,
    };
    let mut groups = Vec::new();
    let mut fields = Fields(bytes);
    while let Some((number, wire)) = fields.field()? {
        match number {
            1 => block.string_table(wire.bytes("stringtable")?)?,
            2 => groups.push(wire.bytes("primitivegroup")?),
            // Signed fields that are not packed as zigzag stand as 64 bits of two's complement.
            17 => block.granularity = wire.varint("granularity")?.cast_signed(),
            19 => block.lat_offset = wire.varint("lat_offset")?.cast_signed(),
            20 => block.lon_offset = wire.varint("lon_offset")?.cast_signed(),
            _ => {}
        }
    }
    groups.into_iter().try_for_each(|group| block.group(group))
}

impl Block<'_> {
    fn string_table(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let mut fields = Fields(bytes);
        while let Some((number, wire)) = fields.field()? {
            if number == 1 {
                self.strings.push(text(wire.bytes("a text")?)?.into());
            }
        }
        Ok(())
    }

    fn string(&self, index: u64) -> Result<Arc<str>, Damage> {
        let found = usize::try_from(index)
            .ok()
            .and_then(|i| self.strings.get(i));
        found.cloned().ok_or_else(|| {
            format!(
                "text {index} is not among the {} of its block",
                self.strings.len()
            )
        })
    }

    /// The position of two coordinates as they stand in the file.
    fn at(&self, lon: i64, lat: i64) -> Option<At> {
        let units = |value: i64, offset: i64| {
            let nanos = value.checked_mul(self.granularity)?.checked_add(offset)?;
            Some(nanos.checked_add(UNIT_NANOS / 2)?.div_euclid(UNIT_NANOS))
        };
        At::new(units(lon, self.lon_offset)?, units(lat, self.lat_offset)?)
    }

    fn push(&mut self, id: i64, tags: Tags, body: Body) -> Result<(), Damage> {
        if self.out.len() >= MAX_BLOCK_OBJECTS {
            return Err(format!(
                "a block has more than MAX_BLOCK_OBJECTS = {MAX_BLOCK_OBJECTS} objects"
            ));
        }
        self.out.push_back(Element {
            id,
            tags,
            body,
            line: None,
        });
        Ok(())
    }

    fn group(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let all = self.keep == Keep::All;
        let mut fields = Fields(bytes);
        while let Some((number, wire)) = fields.field()? {
            match number {
                1 if all => self.node(wire.bytes("node")?)?,
                2 if all => self.dense(wire.bytes("dense")?)?,
                3 if all => self.way(wire.bytes("way")?)?,
                4 => self.relation(wire.bytes("relation")?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn tags(&self, mut keys: Packed<'_>, mut values: Packed<'_>) -> Result<Tags, Damage> {
        let mut tags = Tags::new();
        loop {
            match (keys.unsigned()?, values.unsigned()?) {
                (Some(key), Some(value)) => self.tag(&mut tags, key, value)?,
                (None, None) => return Ok(tags),
                _ => return Err("an object has more keys than values, or fewer".to_owned()),
            }
        }
    }

    fn tag(&self, tags: &mut Tags, key: u64, value: u64) -> Result<(), Damage> {
        if tags.len() >= MAX_TAGS {
            return Err(format!("an object has more than {MAX_TAGS} tags"));
        }
        tags.push((self.string(key)?, self.string(value)?));
        Ok(())
    }

    fn node(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let (mut id, mut lon, mut lat) = (None, None, None);
        let (mut keys, mut values) = (Packed::default(), Packed::default());
        let mut fields = Fields(bytes);
        while let Some((number, wire)) = fields.field()? {
            match number {
                1 => id = Some(signed(wire.varint("id")?)),
                2 => keys.take(wire, "keys")?,
                3 => values.take(wire, "vals")?,
                8 => lat = Some(signed(wire.varint("lat")?)),
                9 => lon = Some(signed(wire.varint("lon")?)),
                _ => {}
            }
        }
        let (Some(id), Some(lon), Some(lat)) = (id, lon, lat) else {
            return Err("a node lacks its id or position".to_owned());
        };
        let (at, tags) = (self.at(lon, lat), self.tags(keys, values)?);
        self.push(id, tags, Body::Node(at))
    }

    fn dense(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let [mut ids, mut lons, mut lats] = [Deltas::default(); 3];
        let mut tags = Packed::default();
        let mut fields = Fields(bytes);
        while let Some((number, wire)) = fields.field()? {
            match number {
                1 => ids.packed.take(wire, "id")?,
                8 => lats.packed.take(wire, "lat")?,
                9 => lons.packed.take(wire, "lon")?,
                10 => tags.take(wire, "keys_vals")?,
                _ => {}
            }
        }
        // Without any tags, not even their ends are there.
        let tagged = !tags.is_empty();
        loop {
            let (id, lon, lat) = match (ids.number()?, lons.number()?, lats.number()?) {
                (Some(id), Some(lon), Some(lat)) => (id, lon, lat),
                (None, None, None) => break,
                _ => return Err("dense nodes have ids and positions of unequal number".to_owned()),
            };
            let mut own = Tags::new();
            // A node's tags end with a 0; a block without any has none at all.
            if tagged {
                let cut = || "the tags of dense nodes end too early".to_owned();
                loop {
                    let key = tags.unsigned()?.ok_or_else(cut)?;
                    if key == 0 {
                        break;
                    }
                    let value = tags.unsigned()?.ok_or_else(cut)?;
                    self.tag(&mut own, key, value)?;
                }
            }
            let at = self.at(lon, lat);
            self.push(id, own, Body::Node(at))?;
        }
        if tags.is_empty() {
            Ok(())
        } else {
            Err("dense nodes have tags of more nodes than there are".to_owned())
        }
    }

    fn way(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let mut id = None;
        let (mut keys, mut values) = (Packed::default(), Packed::default());
        let mut refs = Deltas::default();
        let mut fields = Fields(bytes);
        while let Some((number, wire)) = fields.field()? {
            match number {
                1 => id = Some(wire.varint("id")?.cast_signed()),
                2 => keys.take(wire, "keys")?,
                3 => values.take(wire, "vals")?,
                8 => refs.packed.take(wire, "refs")?,
                _ => {}
            }
        }
        let id = id.ok_or_else(|| "a way has no id".to_owned())?;
        let mut nodes = Vec::new();
        while let Some(node) = refs.number()? {
            nodes.push(node);
            check_members(nodes.len(), Kind::Way, id)?;
        }
        let tags = self.tags(keys, values)?;
        self.push(id, tags, Body::Way(nodes))
    }

    fn relation(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let mut id = None;
        let (mut keys, mut values) = (Packed::default(), Packed::default());
        let (mut roles, mut kinds) = (Packed::default(), Packed::default());
        let mut ids = Deltas::default();
        let mut fields = Fields(bytes);
        while let Some((number, wire)) = fields.field()? {
            match number {
                1 => id = Some(wire.varint("id")?.cast_signed()),
                2 => keys.take(wire, "keys")?,
                3 => values.take(wire, "vals")?,
                8 => roles.take(wire, "roles_sid")?,
                9 => ids.packed.take(wire, "memids")?,
                10 => kinds.take(wire, "types")?,
                _ => {}
            }
        }
        let id = id.ok_or_else(|| "a relation has no id".to_owned())?;
        let mut members = Vec::new();
        loop {
            match (ids.number()?, kinds.unsigned()?, roles.unsigned()?) {
                (Some(member), Some(kind), Some(role)) => members.push(Member {
                    kind: member_kind(kind)?,
                    id: member,
                    inner: *self.string(role)? == *INNER,
                }),
                (None, None, None) => break,
                _ => {
                    return Err(format!(
                        "relation {id} has unequal numbers of members and roles"
                    ));
                }
            }
            check_members(members.len(), Kind::Relation, id)?;
        }
        let tags = self.tags(keys, values)?;
        self.push(id, tags, Body::Relation(members))
    }
}

fn member_kind(number: u64) -> Result<Kind, Damage> {
    match number {
        0 => Ok(Kind::Node),
        1 => Ok(Kind::Way),
        2 => Ok(Kind::Relation),
        other => Err(format!("a member is of the unknown kind {other}")),
    }
}

fn check_members(count: usize, kind: Kind, id: i64) -> Result<(), Damage> {
    if count > MAX_MEMBERS {
        let kind = kind.word();
        return Err(format!(
            "{kind} {id} has more than MAX_MEMBERS = {MAX_MEMBERS} members"
        ));
    }
    Ok(())
}

/// Tells what a file is that is neither PBF nor XML.
pub(super) fn unknown(path: &Path, start: &[u8]) -> FileError {
    let (what, help) = match start {
        [b'B', b'Z', b'h', ..] => (
            "it is packed with bzip2",
            "unpack it with `bunzip2`, or fetch the .osm.pbf",
        ),
        [0xff, ..] => (
            "it begins as o5m does",
            "convert it with `osmium cat -o FILE.osm.pbf`",
        ),
        [] => ("it is empty", AGAIN),
        _ => (
            "it begins neither as OSM PBF nor as XML",
            "check that it is an .osm.pbf, .osm or .osm.gz",
        ),
    };
    FileError::new(path, "byte 0", what, help)
}
