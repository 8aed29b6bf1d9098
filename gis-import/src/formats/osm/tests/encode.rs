//! Writers of both encodings, plain and without mercy: what a reader is tried with.

use std::fmt::Write as _;
use std::io::Write as _;

/// What is written, in the file's order.
#[derive(Debug, Clone)]
pub(super) struct Object {
    kind: &'static str,
    id: i64,
    /// In tenths of a degree.
    at: (i64, i64),
    nodes: Vec<i64>,
    /// Ways and their roles.
    pub(super) members: Vec<(i64, &'static str)>,
    pub(super) tags: Vec<(&'static str, &'static str)>,
}

impl Object {
    pub(super) fn is(&self, kind: &str, id: i64) -> bool {
        self.kind == kind && self.id == id
    }
}

type TagList<'a> = &'a [(&'static str, &'static str)];

fn object(kind: &'static str, id: i64, tags: TagList<'_>) -> Object {
    Object {
        kind,
        id,
        at: (0, 0),
        nodes: Vec::new(),
        members: Vec::new(),
        tags: tags.to_vec(),
    }
}

pub(super) fn node(id: i64, at: (i64, i64), tags: TagList<'_>) -> Object {
    Object {
        at,
        ..object("node", id, tags)
    }
}

pub(super) fn way(id: i64, nodes: &[i64], tags: TagList<'_>) -> Object {
    Object {
        nodes: nodes.to_vec(),
        ..object("way", id, tags)
    }
}

pub(super) fn relation(id: i64, members: &[(i64, &'static str)], tags: TagList<'_>) -> Object {
    Object {
        members: members.to_vec(),
        ..object("relation", id, tags)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&#34;")
}

pub(super) fn xml(objects: &[Object]) -> Vec<u8> {
    let mut out = "<?xml version='1.0' encoding='UTF-8'?>\n<osm version=\"0.6\">\n".to_owned();
    out.push_str(" <bounds minlat=\"0\" minlon=\"0\" maxlat=\"1\" maxlon=\"1\"/>\n");
    for Object {
        kind,
        id,
        at,
        nodes,
        members,
        tags,
    } in objects
    {
        write!(out, " <{kind} id=\"{id}\"").unwrap();
        if *kind == "node" {
            let degrees = |tenths: i64| tenths as f64 / 10.0;
            write!(out, " lon=\"{}\" lat='{}'", degrees(at.0), degrees(at.1)).unwrap();
        }
        out.push_str(">\n");
        for node in nodes {
            writeln!(out, "  <nd ref=\"{node}\"/>").unwrap();
        }
        for (way, role) in members {
            writeln!(
                out,
                "  <member type=\"way\" ref=\"{way}\" role=\"{role}\"/>"
            )
            .unwrap();
        }
        for (key, value) in tags {
            writeln!(out, "  <tag k=\"{key}\" v=\"{}\"></tag>", escaped(value)).unwrap();
        }
        writeln!(out, " </{kind}>").unwrap();
    }
    out.push_str("</osm>\n");
    out.into_bytes()
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn number(field: u64, value: u64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(value, out);
}

pub(super) fn bytes(field: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn packed(field: u64, values: impl IntoIterator<Item = u64>, out: &mut Vec<u8>) {
    let mut all = Vec::new();
    values.into_iter().for_each(|value| varint(value, &mut all));
    bytes(field, &all, out);
}

fn deltas(field: u64, values: impl IntoIterator<Item = i64>, out: &mut Vec<u8>) {
    let mut last = 0;
    let each = values.into_iter().map(|value| {
        let delta = zigzag(value - last);
        last = value;
        delta
    });
    packed(field, each, out);
}

/// A blob of a type, packed with zlib or not.
pub(super) fn blob(kind: &str, content: &[u8], zlib: bool) -> Vec<u8> {
    let mut blob = Vec::new();
    if zlib {
        number(2, content.len() as u64, &mut blob);
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(content).unwrap();
        bytes(3, &packer.finish().unwrap(), &mut blob);
    } else {
        bytes(1, content, &mut blob);
    }
    framed(kind, &blob)
}

fn framed(kind: &str, blob: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    bytes(1, kind.as_bytes(), &mut header);
    number(3, blob.len() as u64, &mut header);
    let mut out = u32::try_from(header.len()).unwrap().to_be_bytes().to_vec();
    out.extend(header);
    out.extend(blob);
    out
}

fn header(features: &[&str]) -> Vec<u8> {
    let mut header = Vec::new();
    for feature in features {
        bytes(4, feature.as_bytes(), &mut header);
    }
    bytes(16, b"a test", &mut header);
    blob("OSMHeader", &header, false)
}

fn start() -> Vec<u8> {
    header(&["OsmSchema-V0.6", "DenseNodes"])
}

#[derive(Default)]
struct Table(Vec<&'static str>);

impl Table {
    fn index(&mut self, text: &'static str) -> u64 {
        let known = self.0.iter().position(|known| *known == text);
        known.unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        }) as u64
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.0
            .iter()
            .for_each(|text| bytes(1, text.as_bytes(), &mut out));
        out
    }
}

/// A block of one object after the other, each in a group of its own but for nodes that are dense.
fn block(objects: &[Object], dense: bool) -> Vec<u8> {
    const UNITS: i64 = 1_000_000;
    let mut table = Table(vec![""]);
    let mut groups = Vec::new();
    let nodes: Vec<&Object> = objects
        .iter()
        .filter(|o| dense && o.kind == "node")
        .collect();
    if !nodes.is_empty() {
        let mut all = Vec::new();
        deltas(1, nodes.iter().map(|node| node.id), &mut all);
        deltas(8, nodes.iter().map(|node| node.at.1 * UNITS), &mut all);
        deltas(9, nodes.iter().map(|node| node.at.0 * UNITS), &mut all);
        let mut tags = Vec::new();
        for node in &nodes {
            for (key, value) in &node.tags {
                tags.extend([table.index(key), table.index(value)]);
            }
            tags.push(0);
        }
        packed(10, tags, &mut all);
        let mut group = Vec::new();
        bytes(2, &all, &mut group);
        bytes(2, &group, &mut groups);
    }
    for object in objects {
        if dense && object.kind == "node" {
            continue;
        }
        let mut one = Vec::new();
        let keys: Vec<u64> = object
            .tags
            .iter()
            .map(|(key, _)| table.index(key))
            .collect();
        let values: Vec<u64> = object
            .tags
            .iter()
            .map(|(_, value)| table.index(value))
            .collect();
        packed(2, keys, &mut one);
        packed(3, values, &mut one);
        let field = match object.kind {
            "node" => {
                number(1, zigzag(object.id), &mut one);
                number(8, zigzag(object.at.1 * UNITS), &mut one);
                number(9, zigzag(object.at.0 * UNITS), &mut one);
                1
            }
            "way" => {
                number(1, object.id.cast_unsigned(), &mut one);
                deltas(8, object.nodes.iter().copied(), &mut one);
                3
            }
            _ => {
                number(1, object.id.cast_unsigned(), &mut one);
                let roles: Vec<u64> = object
                    .members
                    .iter()
                    .map(|(_, role)| table.index(role))
                    .collect();
                packed(8, roles, &mut one);
                deltas(9, object.members.iter().map(|(way, _)| *way), &mut one);
                packed(10, object.members.iter().map(|_| 1), &mut one);
                4
            }
        };
        let mut group = Vec::new();
        bytes(field, &one, &mut group);
        bytes(2, &group, &mut groups);
    }
    let mut block = Vec::new();
    bytes(1, &table.write(), &mut block);
    block.extend(groups);
    block
}

/// Packed blobs of a few objects each, nodes dense.
pub(super) fn pbf(objects: &[Object]) -> Vec<u8> {
    let mut out = start();
    for objects in objects.chunks(7) {
        out.extend(blob("Index", b"to be passed over", false));
        out.extend(blob("OSMData", &block(objects, true), true));
    }
    out
}

/// One blob that is not packed, nodes each by itself.
pub(super) fn pbf_plain(objects: &[Object]) -> Vec<u8> {
    let mut out = start();
    out.extend(blob("OSMData", &block(objects, false), false));
    out
}

/// Where blobs end.
pub(super) fn blob_ends(file: &[u8]) -> Vec<usize> {
    let (mut at, mut ends) = (0, Vec::new());
    while at < file.len() {
        let length = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        let header = &file[at + 4..at + 4 + length];
        // The size is the last field of a header, and small here.
        let size = header.iter().rposition(|byte| *byte == 3 << 3).unwrap();
        let (mut bytes, mut shift) = (0_usize, 0);
        for byte in &header[size + 1..] {
            bytes |= usize::from(byte & 0x7f) << shift;
            shift += 7;
        }
        at += 4 + length + bytes;
        ends.push(at);
    }
    ends
}

/// Files that are wrong in one way each, and what is said of it.
pub(super) fn hostile() -> Vec<(Vec<u8>, &'static str)> {
    let data = |block: &[u8]| [start(), blob("OSMData", block, true)].concat();
    let in_group = |field: u64, one: &[u8]| {
        let (mut group, mut block) = (Vec::new(), Vec::new());
        bytes(1, &Table(vec!["", "a"]).write(), &mut block);
        bytes(field, one, &mut group);
        bytes(2, &group, &mut block);
        block
    };
    let dense = |ids: &[i64], lons: &[i64], tags: &[u64]| {
        let mut one = Vec::new();
        deltas(1, ids.iter().copied(), &mut one);
        deltas(8, ids.iter().copied(), &mut one);
        deltas(9, lons.iter().copied(), &mut one);
        packed(10, tags.iter().copied(), &mut one);
        in_group(2, &one)
    };
    let way = |keys: &[u64], values: &[u64], refs: &[u64]| {
        let mut one = Vec::new();
        number(1, 5, &mut one);
        packed(2, keys.iter().copied(), &mut one);
        packed(3, values.iter().copied(), &mut one);
        packed(8, refs.iter().copied(), &mut one);
        in_group(3, &one)
    };
    let relation = |roles: &[u64], ids: &[i64], kinds: &[u64]| {
        let mut one = Vec::new();
        number(1, 5, &mut one);
        packed(8, roles.iter().copied(), &mut one);
        deltas(9, ids.iter().copied(), &mut one);
        packed(10, kinds.iter().copied(), &mut one);
        in_group(4, &one)
    };
    let mut latin = Vec::new();
    bytes(
        1,
        &{
            let mut table = Vec::new();
            bytes(1, b"caf\xe9", &mut table);
            table
        },
        &mut latin,
    );
    let mut bomb = Vec::new();
    number(2, 1 << 40, &mut bomb);
    bytes(3, b"x", &mut bomb);
    let mut liar = Vec::new();
    number(2, 3, &mut liar);
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&[0; 1000]).unwrap();
    bytes(3, &packer.finish().unwrap(), &mut liar);
    let mut zstd = Vec::new();
    bytes(7, b"x", &mut zstd);
    let mut huge = Vec::new();
    bytes(1, b"OSMData", &mut huge);
    number(3, u64::MAX, &mut huge);
    let huge = [start(), (huge.len() as u32).to_be_bytes().to_vec(), huge].concat();
    vec![
        (vec![0, 0, 0xff, 0xff, 1, 2, 3], "cut off"),
        (vec![0, 1, 0, 1, 1, 2, 3], "neither"),
        (
            blob("OSMData", b"", true),
            "does not begin with an OSMHeader",
        ),
        (header(&["HistoricalInformation"]), "versions of the past"),
        (
            header(&["Sort.Backwards"]),
            "`Sort.Backwards`, which is not known",
        ),
        (huge, "more than the format's limit"),
        (
            [start(), framed("OSMData", &bomb)].concat(),
            "more than the format's limit",
        ),
        (
            [start(), framed("OSMData", &liar)].concat(),
            "inflates to other than that",
        ),
        ([start(), framed("OSMData", &zstd)].concat(), "Zstandard"),
        ([start(), framed("OSMData", b"")].concat(), "holds no data"),
        (data(&latin), "not UTF-8"),
        (data(&dense(&[1, 2], &[1], &[])), "unequal number"),
        (data(&dense(&[1], &[1, 2], &[])), "unequal number"),
        (
            data(&dense(&[1], &[1], &[1, 1, 0, 1, 1, 0])),
            "tags of more nodes",
        ),
        (data(&dense(&[1, 2], &[1, 2], &[1, 1, 0])), "end too early"),
        (data(&dense(&[1], &[1], &[1])), "end too early"),
        (
            data(&dense(&[1], &[1], &[1, 9, 0])),
            "text 9 is not among the 2",
        ),
        (data(&way(&[1], &[], &[])), "more keys than values"),
        (data(&way(&[1], &[7], &[])), "text 7 is not among"),
        (
            data(&way(&[], &[], &[u64::MAX - 1, u64::MAX - 1])),
            "leads out of 64 bits",
        ),
        (
            data(&relation(&[1], &[4, 5], &[1, 1])),
            "unequal numbers of members",
        ),
        (data(&relation(&[1], &[4], &[3])), "unknown kind 3"),
        (data(&relation(&[8], &[4], &[1])), "text 8 is not among"),
        (data(&in_group(3, &[])), "a way has no id"),
        (data(&in_group(1, &[])), "lacks its id or position"),
        (data(&[0x0a, 0xff, 0x01]), "a field of 255 bytes"),
    ]
}
