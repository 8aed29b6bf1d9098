//! Shapefiles written by the words of the specification, real ones, and broken ones.

use std::path::PathBuf;

use proptest::prelude::*;
use twin_core::space::Shape as Checked;

use super::super::tests::{data, drain, shape, sort, wanted};
use super::super::{Cell, Format, Reader};
use super::*;

/// Writes a shapefile's three parts for shapes of one kind, each given as its content.
fn parts(kind: i32, shapes: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
    let head = |bytes: usize| {
        let mut head = FILE_CODE.to_be_bytes().to_vec();
        head.resize(24, 0);
        head.extend(((bytes / 2) as i32).to_be_bytes());
        head.extend(1000_i32.to_le_bytes());
        head.extend(kind.to_le_bytes());
        head.resize(HEADER_BYTES, 0);
        head
    };
    let total: usize = shapes.iter().map(|shape| shape.len() + 8).sum();
    let (mut shp, mut shx) = (
        head(HEADER_BYTES + total),
        head(HEADER_BYTES + shapes.len() * 8),
    );
    for (number, shape) in shapes.iter().enumerate() {
        shx.extend(((shp.len() / 2) as i32).to_be_bytes());
        shx.extend(((shape.len() / 2) as i32).to_be_bytes());
        shp.extend((number as i32 + 1).to_be_bytes());
        shp.extend(((shape.len() / 2) as i32).to_be_bytes());
        shp.extend(shape);
    }
    (shp, shx)
}

fn dbf(columns: &[(&str, u8, u8)], rows: &[Vec<&[u8]>]) -> Vec<u8> {
    let width: usize = columns
        .iter()
        .map(|(_, _, length)| usize::from(*length))
        .sum();
    let mut bytes = vec![3, 100, 1, 1];
    bytes.extend((rows.len() as u32).to_le_bytes());
    bytes.extend(((33 + 32 * columns.len()) as u16).to_le_bytes());
    bytes.extend(((width + 1) as u16).to_le_bytes());
    bytes.resize(32, 0);
    for (name, kind, length) in columns {
        let mut field = name.as_bytes().to_vec();
        field.resize(11, 0);
        field.push(*kind);
        field.resize(16, 0);
        field.push(*length);
        field.resize(32, 0);
        bytes.extend(field);
    }
    bytes.push(HEADER_END);
    for row in rows {
        bytes.push(b' ');
        for (value, (_, _, length)) in row.iter().zip(columns) {
            let mut value = value.to_vec();
            value.resize(usize::from(*length), b' ');
            bytes.extend(value);
        }
    }
    bytes
}

const HEADER_END: u8 = 0x0d;
const WGS84: &str = r#"GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137,298.257223563]],PRIMEM["Greenwich",0],UNIT["Degree",0.017453292519943295]]"#;

fn point(x: f64, y: f64) -> Vec<u8> {
    let mut bytes = 1_i32.to_le_bytes().to_vec();
    bytes.extend(x.to_le_bytes());
    bytes.extend(y.to_le_bytes());
    bytes
}

fn polygon(kind: i32, rings: &[&[(f64, f64)]], heights: bool) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.resize(36, 0);
    let points: Vec<_> = rings.iter().flat_map(|ring| ring.iter()).collect();
    bytes.extend((rings.len() as i32).to_le_bytes());
    bytes.extend((points.len() as i32).to_le_bytes());
    let mut start = 0_i32;
    for ring in rings {
        bytes.extend(start.to_le_bytes());
        start += ring.len() as i32;
    }
    for (x, y) in &points {
        bytes.extend(x.to_le_bytes());
        bytes.extend(y.to_le_bytes());
    }
    if heights {
        bytes.extend([0; 16]);
        for number in 0..points.len() {
            bytes.extend((number as f64).to_le_bytes());
        }
    }
    bytes
}

/// A folder of these files, read from its `.shp`.
fn read_parts(
    parts: &[(&str, &[u8])],
    options: &Options,
    columns: &[&str],
) -> Result<Reader, FileError> {
    let dir = tempfile::tempdir().unwrap();
    for (ending, bytes) in parts {
        std::fs::write(dir.path().join(format!("a.{ending}")), bytes).unwrap();
    }
    Reader::open_with(
        &dir.path().join("a.shp"),
        Format::Shapefile,
        options,
        &wanted(columns, true),
    )
}

fn options(crs: Option<&str>, encoding: Option<&str>, layer: Option<&str>) -> Options {
    Options {
        crs: crs.map(Into::into),
        encoding: encoding.map(Into::into),
        layer: layer.map(Into::into),
        ..Options::default()
    }
}

#[test]
fn shapes_and_rows_are_read_in_step() {
    let (shp, shx) = parts(
        1,
        &[
            point(30.0, -2.0),
            0_i32.to_le_bytes().to_vec(),
            point(31.0, -1.0),
        ],
    );
    let columns = [
        ("NAME", b'C', 10),
        ("N", b'N', 8),
        ("X", b'F', 8),
        ("OK", b'L', 1),
        ("DAY", b'D', 8),
    ];
    let table = dbf(
        &columns,
        &[
            vec![b"Kigali", b"12", b"1.5", b"T", b"20240229"],
            vec![b"", b"", b"", b"?", b""],
            vec![b"Huye", b"********", b"1e3", b"n", b"00000000"],
        ],
    );
    let files: [(&str, &[u8]); 5] = [
        ("shp", &shp),
        ("shx", &shx),
        ("dbf", &table),
        ("prj", WGS84.as_bytes()),
        ("cpg", b"UTF-8"),
    ];
    let reader = read_parts(&files, &Options::default(), &["NAME", "N"]).unwrap();
    let (items, error) = drain(reader);
    assert_eq!(error, None);
    let (features, refused, remarks) = sort(items);
    assert_eq!(
        (refused.len(), remarks.len()),
        (0, 0),
        "{refused:?} {remarks:?}"
    );
    let values: Vec<Vec<String>> = features
        .iter()
        .map(|feature| feature.values.values().map(ToString::to_string).collect())
        .collect();
    assert_eq!(values, [["12", "Kigali"], ["", ""], ["", "Huye"]]);
    assert_eq!(features[1].geometry, None);
    assert_eq!(
        shape(&features[2]).is_point().map(|p| (p.lon, p.lat)),
        Some((31.0, -1.0))
    );
    // Every column, where none is named.
    let (items, _) = drain(read_parts(&files, &Options::default(), &[]).unwrap());
    let first = sort(items).0.remove(0);
    assert_eq!(first.values["OK"], Cell::Bool(true));
    assert_eq!(first.values["DAY"], Cell::Text("2024-02-29".into()));
    assert_eq!(first.values["X"], Cell::Float(1.5));
}

#[test]
fn what_is_missing_beside_the_shapes_is_told() {
    let (shp, _) = parts(1, &[point(30.0, -2.0)]);
    let table = dbf(&[("NAME", b'C', 10)], &[vec![b"Kigali"]]);
    let bare: [(&str, &[u8]); 2] = [("shp", &shp), ("dbf", &table)];
    let error = read_parts(&bare, &Options::default(), &[]).unwrap_err();
    assert!(
        error.reason.contains("no .prj") && error.help.contains("crs = "),
        "{error}"
    );
    let reader = read_parts(&bare, &options(Some("EPSG:4326"), None, None), &["NAME"]).unwrap();
    let (features, _, remarks) = sort(drain(reader).0);
    assert_eq!(features.len(), 1);
    for part in [".prj", ".cpg", ".shx"] {
        assert!(
            remarks.iter().any(|remark| remark.contains(part)),
            "{part}: {remarks:?}"
        );
    }
    let lonely: [(&str, &[u8]); 2] = [("shp", &shp), ("prj", WGS84.as_bytes())];
    let (features, _, remarks) =
        sort(drain(read_parts(&lonely, &Options::default(), &[]).unwrap()).0);
    assert_eq!(features.len(), 1);
    assert!(
        remarks.iter().any(|remark| remark.contains(".dbf")),
        "{remarks:?}"
    );
    let error = read_parts(&lonely, &Options::default(), &["NAME"]).unwrap_err();
    assert!(error.reason.contains("no column `NAME`"), "{error}");
    // The mapping's word counts where both say something, and that is told.
    let both: [(&str, &[u8]); 2] = [("shp", &shp), ("prj", b"gibberish")];
    let error = read_parts(&both, &Options::default(), &[]).unwrap_err();
    assert!(error.reason.contains("not WKT 1"), "{error}");
    let reader = read_parts(&both, &options(Some("EPSG:4326"), None, None), &[]).unwrap();
    let (_, _, remarks) = sort(drain(reader).0);
    assert!(
        remarks
            .iter()
            .any(|remark| remark.contains("instead of what the .prj says")),
        "{remarks:?}"
    );
}

#[test]
fn texts_are_decoded_as_somebody_says_and_never_guessed() {
    let (shp, shx) = parts(1, &[point(30.0, -2.0), point(30.5, -2.0)]);
    let table = dbf(&[("NAME", b'C', 8)], &[vec![b"Caf\xe9"], vec![b"Tea"]]);
    let names = |cpg: Option<&str>, said: Option<&str>| {
        let mut files: Vec<(&str, &[u8])> = vec![
            ("shp", &shp),
            ("shx", &shx),
            ("dbf", &table),
            ("prj", WGS84.as_bytes()),
        ];
        if let Some(cpg) = cpg {
            files.push(("cpg", cpg.as_bytes()));
        }
        let reader = read_parts(&files, &options(None, said, None), &["NAME"]).unwrap();
        let (features, refused, _) = sort(drain(reader).0);
        let names: Vec<_> = features
            .iter()
            .map(|f| f.values["NAME"].to_string())
            .collect();
        (names, refused)
    };
    assert_eq!(names(Some("ISO-8859-1"), None).0, ["Caf\u{e9}", "Tea"]);
    assert_eq!(names(Some("1252\r\n"), None).0, ["Caf\u{e9}", "Tea"]);
    assert_eq!(names(None, Some("ISO-8859-1")).0, ["Caf\u{e9}", "Tea"]);
    // The mapping's word counts before the file's.
    assert_eq!(names(Some("UTF-8"), Some("latin1")).0, ["Caf\u{e9}", "Tea"]);
    for cpg in [None, Some("UTF-8"), Some("")] {
        let (names, refused) = names(cpg, None);
        assert_eq!(names, ["Tea"], "{cpg:?}");
        assert!(refused[0].contains("`NAME`: byte 4 (0xe9)"), "{refused:?}");
    }
    let files: [(&str, &[u8]); 4] = [
        ("shp", &shp),
        ("dbf", &table),
        ("prj", WGS84.as_bytes()),
        ("cpg", b"Klingon"),
    ];
    let error = read_parts(&files, &Options::default(), &[]).unwrap_err();
    assert!(
        error.reason.contains("Klingon") && error.help.contains("encoding"),
        "{error}"
    );
}

#[test]
fn a_text_cut_within_a_character_loses_only_that() {
    let (shp, _) = parts(1, &[point(30.0, -2.0)]);
    let table = dbf(&[("NAME", b'C', 4)], &[vec![b"Caf\xc3"]]);
    let files: [(&str, &[u8]); 4] = [
        ("shp", &shp),
        ("dbf", &table),
        ("prj", WGS84.as_bytes()),
        ("cpg", b"UTF-8"),
    ];
    let (features, refused, remarks) =
        sort(drain(read_parts(&files, &Options::default(), &[]).unwrap()).0);
    assert_eq!(refused.len(), 0, "{refused:?}");
    assert_eq!(features[0].values["NAME"], Cell::Text("Caf".into()));
    assert!(
        remarks
            .iter()
            .any(|remark| remark.contains("within a character")),
        "{remarks:?}"
    );
}

#[test]
fn rings_of_a_wrong_direction_still_make_the_polygon() {
    let outer: Vec<(f64, f64)> = vec![
        (0.0, 0.0),
        (0.0, 10.0),
        (10.0, 10.0),
        (10.0, 0.0),
        (0.0, 0.0),
    ];
    let hole: Vec<(f64, f64)> = vec![(2.0, 2.0), (4.0, 2.0), (4.0, 4.0), (2.0, 4.0), (2.0, 2.0)];
    let turned = |ring: &[(f64, f64)]| ring.iter().rev().copied().collect::<Vec<_>>();
    let mut told = Vec::new();
    for rings in [
        [outer.clone(), hole.clone()],
        [turned(&outer), hole.clone()],
        [outer.clone(), turned(&hole)],
        [turned(&outer), turned(&hole)],
    ] {
        let rings: Vec<&[(f64, f64)]> = rings.iter().map(Vec::as_slice).collect();
        let (shp, shx) = parts(5, &[polygon(5, &rings, false)]);
        let files: [(&str, &[u8]); 3] = [("shp", &shp), ("shx", &shx), ("prj", WGS84.as_bytes())];
        let (features, refused, remarks) =
            sort(drain(read_parts(&files, &Options::default(), &[]).unwrap()).0);
        assert_eq!(refused.len(), 0, "{refused:?}");
        let shape = shape(&features[0]);
        assert_eq!((shape.type_name(), shape.vertices()), ("Polygon", 10));
        assert!(shape.contains(twin_core::space::Point::new(1.0, 1.0).unwrap()));
        assert!(!shape.contains(twin_core::space::Point::new(3.0, 3.0).unwrap()));
        told.push(
            remarks
                .iter()
                .any(|remark| remark.contains("wrong direction")),
        );
    }
    assert_eq!(told, [false, true, true, true]);
}

#[test]
fn heights_stay_and_surfaces_in_space_are_refused() {
    let ring: &[(f64, f64)] = &[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)];
    let mut measured = polygon(25, &[ring], false);
    measured.extend([0; 48]);
    let (shp, shx) = parts(
        15,
        &[
            polygon(15, &[ring], true),
            measured,
            polygon(31, &[ring], true),
            polygon(77, &[ring], false),
        ],
    );
    let files: [(&str, &[u8]); 3] = [("shp", &shp), ("shx", &shx), ("prj", WGS84.as_bytes())];
    let (features, refused, _) =
        sort(drain(read_parts(&files, &Options::default(), &[]).unwrap()).0);
    assert_eq!(
        shape(&features[0]).heights(),
        Some(&[0.0, 1.0, 2.0, 3.0][..])
    );
    assert_eq!(shape(&features[1]).heights(), None);
    assert!(
        refused[0].contains("multipatch") && refused[1].contains("type 77"),
        "{refused:?}"
    );
}

#[test]
fn a_damaged_shape_is_refused_alone_where_an_index_tells_the_next() {
    let (mut shp, shx) = parts(1, &[point(1.0, 1.0), point(2.0, 2.0), point(3.0, 3.0)]);
    // The second says that it is longer than any shape.
    let second = HEADER_BYTES + 28;
    shp[second + 4..second + 8].copy_from_slice(&i32::MAX.to_be_bytes());
    // The third is of a kind that nobody knows.
    let third = second + 28;
    shp[third + 8] = 99;
    let files: [(&str, &[u8]); 3] = [("shp", &shp), ("shx", &shx), ("prj", WGS84.as_bytes())];
    let (features, refused, _) =
        sort(drain(read_parts(&files, &Options::default(), &[]).unwrap()).0);
    assert_eq!((features.len(), refused.len()), (2, 1), "{refused:?}");
    // Without an index nobody knows where the next one is.
    let (items, error) =
        drain(read_parts(&[files[0], files[2]], &Options::default(), &[]).unwrap());
    assert_eq!(sort(items).0.len(), 1);
    let error = error.unwrap();
    assert!(
        error.reason.contains("cannot be") && !error.help.is_empty(),
        "{error}"
    );
}

#[test]
fn a_file_that_is_cut_anywhere_is_not_taken_for_whole() {
    let (shp, shx) = parts(1, &[point(1.0, 1.0), point(2.0, 2.0), point(3.0, 3.0)]);
    for end in HEADER_BYTES..shp.len() {
        let files: [(&str, &[u8]); 3] = [
            ("shp", &shp[..end]),
            ("prj", WGS84.as_bytes()),
            ("shx", &shx),
        ];
        for files in [&files[..], &files[..2]] {
            let (_, error) = drain(read_parts(files, &Options::default(), &[]).unwrap());
            let error = error.unwrap_or_else(|| panic!("cut at {end}"));
            assert!(!error.help.is_empty(), "{error}");
        }
    }
}

#[test]
fn rows_without_a_shape_are_told() {
    let (shp, shx) = parts(1, &[point(1.0, 1.0)]);
    let table = dbf(&[("a", b'C', 1)], &[vec![b"x"], vec![b"y"], vec![b"z"]]);
    let files: [(&str, &[u8]); 4] = [
        ("shp", &shp),
        ("shx", &shx),
        ("dbf", &table),
        ("prj", WGS84.as_bytes()),
    ];
    let (items, error) = drain(read_parts(&files, &Options::default(), &["a"]).unwrap());
    assert_eq!(error, None);
    let (features, _, told) = sort(items);
    assert_eq!(features.len(), 1);
    assert!(
        format!("{told:?}").contains("2 rows of the .dbf"),
        "{told:?}"
    );
}

#[test]
fn a_damaged_table_in_an_archive_is_noticed() {
    let (shp, shx) = parts(1, &[point(1.0, 1.0)]);
    let table = dbf(&[("a", b'C', 4)], &[vec![b"name"]]);
    let (dir, path) = zipped(&[
        ("a.shp", &shp),
        ("a.shx", &shx),
        ("a.dbf", &table),
        ("a.prj", WGS84.as_bytes()),
    ]);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|four| four == b"name").unwrap();
    bytes[at] = b'g';
    std::fs::write(&path, bytes).unwrap();
    let reader = Reader::open_with(
        &path,
        Format::Shapefile,
        &Options::default(),
        &wanted(&["a"], true),
    );
    assert!(drain(reader.unwrap()).1.is_some());
    drop(dir);
}

fn zipped(files: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
    let (mut out, mut list) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        // Time, check sum, both sizes, length of the name.
        let mut common = vec![0; 4];
        common.extend(crc.sum().to_le_bytes());
        common.extend((bytes.len() as u32).to_le_bytes());
        common.extend((bytes.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        list.extend(b"PK\x01\x02\x14\0\x14\0\0\0\0\0");
        list.extend(&common);
        list.extend([0; 12]);
        list.extend((out.len() as u32).to_le_bytes());
        list.extend(name.as_bytes());
        out.extend(b"PK\x03\x04\x14\0\0\0\0\0");
        out.extend(&common);
        out.extend([0; 2]);
        out.extend(name.as_bytes());
        out.extend(*bytes);
    }
    let at = out.len() as u32;
    out.extend(&list);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((files.len() as u16).to_le_bytes());
    out.extend((files.len() as u16).to_le_bytes());
    out.extend((list.len() as u32).to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0; 2]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.zip");
    std::fs::write(&path, out).unwrap();
    (dir, path)
}

#[test]
fn an_archive_gives_the_shapefile_that_is_named() {
    let (one, _) = parts(1, &[point(1.0, 1.0)]);
    let (two, _) = parts(1, &[point(2.0, 2.0), point(3.0, 3.0)]);
    let files: [(&str, &[u8]); 4] = [
        ("x/one.shp", &one),
        ("x/one.prj", WGS84.as_bytes()),
        ("y/two.SHP", &two),
        ("y/two.PRJ", WGS84.as_bytes()),
    ];
    let (_dir, path) = zipped(&files);
    let open = |layer: Option<&str>| {
        Reader::open_with(
            &path,
            Format::Shapefile,
            &options(None, None, layer),
            &wanted(&[], true),
        )
    };
    let error = open(None).unwrap_err();
    assert!(error.help.contains("`x/one`, `y/two`"), "{error}");
    let error = open(Some("three")).unwrap_err();
    assert!(error.reason.contains("no shapefile `three`"), "{error}");
    for (layer, count) in [("one", 1), ("Y/TWO", 2), ("two", 2)] {
        let (features, ..) = sort(drain(open(Some(layer)).unwrap()).0);
        assert_eq!(features.len(), count, "{layer}");
    }
    for cut in [0, 1, 50, 400] {
        let bytes = std::fs::read(&path).unwrap();
        let (_dir, short) = zipped(&[]);
        std::fs::write(&short, &bytes[..cut]).unwrap();
        let error = Reader::open(&short, Format::Shapefile, &wanted(&[], true)).unwrap_err();
        assert!(error.reason.contains("no zip archive"), "{error}");
    }
    let (_dir, path) = zipped(&[("readme.txt", b"nothing")]);
    let error = Reader::open(&path, Format::Shapefile, &wanted(&[], true)).unwrap_err();
    assert!(error.reason.contains("holds no .shp"), "{error}");
    let (_dir, path) = zipped(&files[..2]);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes
        .windows(4)
        .position(|four| four == [0, 0, 39, 10])
        .unwrap();
    bytes[at + 60] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let reader = Reader::open(&path, Format::Shapefile, &wanted(&[], true)).unwrap();
    let (_, error) = drain(reader);
    assert!(error.unwrap().reason.contains("check sum"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_damage_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        which in 0..3_usize,
    ) {
        let ring: &[(f64, f64)] = &[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)];
        let (shp, shx) = parts(5, &[polygon(5, &[ring, ring], false), polygon(15, &[ring], true), point(1.0, 1.0)]);
        let table = dbf(&[("NAME", b'C', 8), ("N", b'N', 8)], &[vec![b"a", b"1"], vec![b"b", b"2"], vec![b"c", b"3"]]);
        let mut files = [shp, shx, table];
        for (at, with) in changes {
            let file = &mut files[which];
            let at = at.index(file.len());
            file[at] = with;
        }
        let length = cut.index(files[which].len());
        files[which].truncate(length.max(1));
        let given: [(&str, &[u8]); 4] =
            [("shp", &files[0]), ("shx", &files[1]), ("dbf", &files[2]), ("prj", WGS84.as_bytes())];
        if let Ok(reader) = read_parts(&given, &Options::default(), &[]) {
            drain(reader);
        }
    }
}

/// Features, refusals, remarks and what ended the file.
type Read = (Vec<Feature>, Vec<String>, Vec<String>, Option<FileError>);

/// Opens a file of the data folder, where there is one.
fn real(file: &str, options: &Options, columns: &[&str]) -> Option<Read> {
    let path = data()?.join(file);
    let format = Format::of_path(&path).unwrap();
    let reader = Reader::open_with(&path, format, options, &wanted(columns, true)).unwrap();
    let (items, error) = drain(reader);
    let (features, refused, remarks) = sort(items);
    Some((features, refused, remarks, error))
}

#[test]
fn the_real_shapefiles_are_read_whole() {
    if data().is_none() {
        return;
    }
    let nisr = "rwanda/nisr_boundaries_2006_shp.zip";
    for (file, layer, crs, column, count) in [
        (nisr, Some("District_Boundary_2006"), None, "District", 30),
        (
            nisr,
            Some("RWA_Admin3_2006_NISR"),
            Some("EPSG:4326"),
            "NOMDISTR",
            30,
        ),
        (nisr, Some("RWA_Settlements_point"), None, "TXCITY", 58),
        (
            "world/formats/naturalearth_lowres/naturalearth_lowres.shp",
            None,
            None,
            "name",
            177,
        ),
        ("world/formats/nybb_16a.zip", None, None, "BoroName", 5),
        (
            "world/formats/blockgroups_no_prj.zip",
            None,
            Some("EPSG:4269"),
            "POP1990",
            663,
        ),
    ] {
        let (features, refused, remarks, error) =
            real(file, &options(crs, None, layer), &[column]).unwrap();
        assert_eq!(error, None, "{file}");
        assert_eq!(
            (features.len(), refused.len()),
            (count, 0),
            "{file} {refused:?}"
        );
        println!("{file} {layer:?}: {remarks:?}");
        let invalid = features
            .iter()
            .filter(|feature| match &feature.geometry {
                Some(RawGeometry::Wkb(bytes)) => Checked::from_wkb(bytes).is_err(),
                _ => true,
            })
            .count();
        // As GEOS says: of the districts by NISR one is invalid.
        let expected = usize::from(layer == Some("RWA_Admin3_2006_NISR"));
        assert_eq!(invalid, expected, "{file} {layer:?}");
    }
    let (features, ..) = real(
        "world/formats/naturalearth_lowres/naturalearth_lowres.shp",
        &Options::default(),
        &["name"],
    )
    .unwrap();
    let ivory = Cell::Text("C\u{f4}te d'Ivoire".into());
    assert!(
        features
            .iter()
            .any(|feature| feature.values["name"] == ivory)
    );
}

#[test]
fn feet_of_new_york_become_degrees() {
    let Some((features, _, _, _)) = real(
        "world/formats/nybb_16a.zip",
        &Options::default(),
        &["BoroName"],
    ) else {
        return;
    };
    // By geopandas: `read_file(…).to_crs("OGC:CRS84").total_bounds`, and areas by pyproj's Geod.
    let bounds = [
        -74.255_591_363_152_13,
        40.496_115_395_170_52,
        -73.700_009_063_871_2,
        40.915_532_776_000_255,
    ];
    let areas = [
        ("Staten Island", 150_856_764.832),
        ("Queens", 282_911_618.877),
        ("Brooklyn", 179_997_802.448),
        ("Manhattan", 59_130_821.714),
        ("Bronx", 110_270_597.733),
    ];
    let mut whole = [
        f64::INFINITY,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NEG_INFINITY,
    ];
    for (feature, (name, area)) in features.iter().zip(areas) {
        let shape = shape(feature);
        let b = shape.bounds();
        whole = [
            whole[0].min(b.west),
            whole[1].min(b.south),
            whole[2].max(b.east),
            whole[3].max(b.north),
        ];
        assert_eq!(feature.values["BoroName"], Cell::Text(name.into()));
        assert!(
            (shape.area_m2() / area - 1.0).abs() < 1e-6,
            "{name}: {}",
            shape.area_m2()
        );
    }
    for (ours, theirs) in whole.iter().zip(bounds) {
        assert!((ours - theirs).abs() < 2e-8, "{whole:?}");
    }
}

#[test]
fn broken_shapefiles_are_answered_as_they_should_be() {
    if data().is_none() {
        return;
    }
    let given = options(Some("EPSG:4326"), None, None);
    let (features, refused, remarks, error) =
        real("world/broken/corrupt_too_long.shp", &given, &["test"]).unwrap();
    assert_eq!(
        (features.len(), refused.len(), error),
        (10, 0, None),
        "{refused:?}"
    );
    assert!(
        remarks
            .iter()
            .any(|remark| remark.contains("5 bytes follow")),
        "{remarks:?}"
    );
    let latin = "world/broken/latin1_missing_shx_cpg_prj.shp";
    let path = data().unwrap().join(latin);
    let error = Reader::open(&path, Format::Shapefile, &wanted(&[], true)).unwrap_err();
    assert!(
        error.reason.contains("no .prj") && error.help.contains("crs = "),
        "{error}"
    );
    let (features, refused, remarks, _) = real(latin, &given, &["Name"]).unwrap();
    assert_eq!((features.len(), refused.len()), (0, 1));
    assert!(refused[0].contains("no .cpg says"), "{refused:?}");
    assert!(
        remarks.iter().any(|remark| remark.contains(".shx")),
        "{remarks:?}"
    );
    let said = options(Some("EPSG:4326"), Some("ISO-8859-1"), None);
    let (features, ..) = real(latin, &said, &["Name"]).unwrap();
    assert_eq!(
        features[0].values["Name"],
        Cell::Text("\u{d1}and\u{fa}".into())
    );
}
