//! Files as people have them: well-formed, broken and cut.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{ArrayRef, BinaryArray, Int64Array, StringArray};
use proptest::prelude::*;
use twin_core::space::Shape;

use super::*;

struct Written {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn write(name: &str, bytes: &[u8]) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Written { _dir: dir, path }
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn wanted(columns: &[&str], geometry: bool) -> Wanted {
    Wanted {
        columns: columns.iter().map(|c| Arc::from(*c)).collect(),
        geometry,
    }
}

/// Every item until the end, or those before the error and the error.
pub(super) fn drain(mut reader: Reader) -> (Vec<Item>, Option<FileError>) {
    let mut items = Vec::new();
    loop {
        match reader.next_item() {
            Ok(Some(item)) => items.push(item),
            Ok(None) => {
                assert_eq!(reader.next_item(), Ok(None), "the end is final");
                return (items, None);
            }
            Err(error) => {
                assert_eq!(reader.next_item(), Ok(None), "an error is the end");
                return (items, Some(error));
            }
        }
    }
}

/// Features, refusals and remarks.
pub(super) fn sort(items: Vec<Item>) -> (Vec<Feature>, Vec<String>, Vec<String>) {
    let (mut features, mut refused, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
    for item in items {
        match item {
            Item::Feature(feature) => features.push(feature),
            Item::Refused { reason, .. } => refused.push(reason),
            Item::Remark { reason, .. } => remarks.push(reason),
        }
    }
    (features, refused, remarks)
}

/// All that is read of a file, and the error that ended it.
pub(super) fn read_all(
    path: &Path,
    options: &Options,
    columns: &[&str],
) -> (Vec<Feature>, Vec<String>, Vec<String>, Option<FileError>) {
    let format = Format::of_path(path).unwrap();
    let (items, error) = match Reader::open_with(path, format, options, &wanted(columns, true)) {
        Ok(reader) => drain(reader),
        Err(error) => (Vec::new(), Some(error)),
    };
    let (features, refused, remarks) = sort(items);
    (features, refused, remarks, error)
}

pub(super) fn shape(feature: &Feature) -> Shape {
    match &feature.geometry {
        Some(RawGeometry::Wkb(bytes)) => Shape::from_wkb(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn read(name: &str, bytes: &[u8], wanted: &Wanted) -> (Vec<Item>, Option<FileError>) {
    let file = write(name, bytes);
    match Reader::open(&file.path, Format::of_path(&file.path).unwrap(), wanted) {
        Ok(reader) => drain(reader),
        Err(error) => (Vec::new(), Some(error)),
    }
}

fn feature(item: &Item) -> &Feature {
    match item {
        Item::Feature(feature) => feature,
        Item::Refused { place, reason } => panic!("{place}: {reason}"),
        Item::Remark { reason, .. } => panic!("{reason}"),
    }
}

fn refusal(item: &Item) -> (Place, &str) {
    match item {
        Item::Refused { place, reason } => (*place, reason),
        other => panic!("not refused: {other:?}"),
    }
}

fn get<'f>(feature: &'f Feature, column: &str) -> &'f Cell {
    &feature.values[column]
}

fn fails(name: &str, bytes: &[u8], reason: &str) {
    let (_, error) = read(name, bytes, &Wanted::default());
    let error = error
        .unwrap_or_else(|| panic!("{name} was read"))
        .to_string();
    assert!(error.contains(reason), "{error}");
}

const COLLECTION: &str = r#"{"type": "FeatureCollection", "name": "t", "features": [
  {"type": "Feature", "id": 7, "properties": {"name": "A \"quoted\" }] name", "n": 1, "x": 1.5,
     "ok": true, "none": null, "list": [1, {"a": "]"}]}, "geometry": {"type": "Point", "coordinates": [30.1, -1.9]}},
  {"type": "Feature", "properties": null, "geometry": null}
], "bbox": [0, 0, 1, 1]}"#;

#[test]
fn a_collection_is_read_feature_by_feature() {
    let (items, error) = read("a.geojson", COLLECTION.as_bytes(), &Wanted::default());
    assert_eq!(error, None);
    assert_eq!(items.len(), 2);
    let first = feature(&items[0]);
    assert_eq!(
        first.place,
        Place {
            feature: 1,
            line: Some(2)
        }
    );
    assert_eq!(
        *get(first, "name"),
        Cell::Text("A \"quoted\" }] name".into())
    );
    assert_eq!(*get(first, "n"), Cell::Int(1));
    assert_eq!(*get(first, "x"), Cell::Float(1.5));
    assert_eq!(*get(first, "ok"), Cell::Bool(true));
    assert_eq!(*get(first, "none"), Cell::Null);
    assert_eq!(*get(first, "$id"), Cell::Int(7));
    assert!(matches!(get(first, "list"), Cell::Json(_)));
    assert!(matches!(&first.geometry, Some(RawGeometry::GeoJson(text)) if text.contains("Point")));
    let second = feature(&items[1]);
    assert_eq!(
        second.place,
        Place {
            feature: 2,
            line: Some(4)
        }
    );
    assert!(second.values.is_empty() && second.geometry.is_none());
}

#[test]
fn a_gzip_of_a_collection_reads_the_same() {
    let plain = read("a.geojson", COLLECTION.as_bytes(), &Wanted::default());
    let inflated = read(
        "a.geojson.gz",
        &gz(COLLECTION.as_bytes()),
        &Wanted::default(),
    );
    assert_eq!(plain, inflated);
}

#[test]
fn a_collection_cut_anywhere_is_an_error_with_help() {
    for cut in 0..COLLECTION.len() {
        let (items, error) = read(
            "a.geojson",
            &COLLECTION.as_bytes()[..cut],
            &Wanted::default(),
        );
        let error = error.unwrap_or_else(|| panic!("cut at {cut}: {} items", items.len()));
        assert!(!error.help.is_empty(), "cut at {cut}: {error}");
    }
}

#[test]
fn a_feature_of_wrong_structure_is_refused_alone() {
    let text = r#"{"type":"FeatureCollection","features":[
        {"type":"Feature","properties":[1],"geometry":null},
        {"type":"Point","coordinates":[1,2]},
        {"properties":{}},
        5,
        {"type":"Feature","properties":{"n":1},"geometry":null}]}"#;
    let (items, error) = read("a.geojson", text.as_bytes(), &Wanted::default());
    assert_eq!(error, None);
    let reasons: Vec<_> = items[..4].iter().map(|item| refusal(item).1).collect();
    assert!(
        reasons[0].contains("properties are not an object"),
        "{reasons:?}"
    );
    assert!(reasons[1].contains("type is `Point`"), "{reasons:?}");
    assert!(reasons[2].contains("has no type"), "{reasons:?}");
    assert!(reasons[3].contains("not a GeoJSON feature"), "{reasons:?}");
    assert_eq!(
        feature(&items[4]).place,
        Place {
            feature: 5,
            line: Some(6)
        }
    );
}

#[test]
fn what_is_not_a_collection_in_wgs_84_says_why() {
    fails("a.geojson", b"", "empty");
    fails("a.geojson", b"PAR1....", "not a GeoJSON object");
    fails("a.geojson", b"\xff\xfe{\0", "UTF-16");
    fails(
        "a.geojson",
        br#"{"type":"Feature","geometry":null}"#,
        "not FeatureCollection",
    );
    fails(
        "a.geojson",
        br#"{"type":"FeatureCollection"}"#,
        "no `features`",
    );
    fails(
        "a.geojson",
        br#"{"type":"FeatureCollection","features":{}}"#,
        "not a list",
    );
    fails(
        "a.geojson",
        br#"{"type":"FeatureCollection","features":[]} x"#,
        "follows the end",
    );
    fails(
        "a.geojson",
        br#"{"type":"FeatureCollection","crs":{"type":"name","properties":{"name":"urn:ogc:def:crs:EPSG::99999"}},"features":[]}"#,
        "EPSG:99999",
    );
    fails(
        "a.geojson",
        b"{\"type\":\"FeatureCollection\",\"features\":[\n\n{\"type\":,}]}",
        "line 3",
    );
    // Bytes that are not UTF-8 cannot be in a JSON text.
    fails(
        "a.geojson",
        b"{\"type\":\"FeatureCollection\",\"features\":[{\"type\":\"Feat\xe9\"}]}",
        "not JSON",
    );
}

#[test]
fn lines_are_read_each_by_itself() {
    let text = "{\"type\":\"Feature\",\"properties\":{\"n\":1}}\n\n{\"type\": broken\n\u{1e}{\"type\":\"Feature\",\"properties\":{\"n\":2}}";
    let (items, error) = read("a.geojsonl", text.as_bytes(), &Wanted::default());
    assert_eq!(error, None);
    assert_eq!(items.len(), 3);
    assert_eq!(*get(feature(&items[0]), "n"), Cell::Int(1));
    let (place, reason) = refusal(&items[1]);
    assert_eq!(
        place,
        Place {
            feature: 2,
            line: Some(3)
        }
    );
    assert!(reason.contains("not JSON"), "{reason}");
    assert_eq!(*get(feature(&items[2]), "n"), Cell::Int(2));
}

#[test]
fn a_table_is_read_row_by_row() {
    let text = "\u{feff}code,name\n1,\"two\nlines\"\n2,\n3,x,y\n4,z\n";
    let (items, error) = read("a.csv", text.as_bytes(), &wanted(&["code"], false));
    assert_eq!(error, None);
    assert_eq!(*get(feature(&items[0]), "code"), Cell::Text("1".into()));
    assert_eq!(
        *get(feature(&items[0]), "name"),
        Cell::Text("two\nlines".into())
    );
    assert_eq!(*get(feature(&items[1]), "name"), Cell::Null);
    let (place, reason) = refusal(&items[2]);
    assert_eq!(
        place,
        Place {
            feature: 3,
            line: Some(5)
        }
    );
    assert!(
        reason.contains("3 fields where the header has 2"),
        "{reason}"
    );
    assert_eq!(*get(feature(&items[3]), "code"), Cell::Text("4".into()));
}

#[test]
fn a_row_in_latin_1_is_refused_with_its_line_and_byte() {
    let (items, error) = read(
        "a.csv",
        b"code,name\n1,Caf\xe9\n2,Tea\n",
        &Wanted::default(),
    );
    assert_eq!(error, None);
    let (place, reason) = refusal(&items[0]);
    assert_eq!(place.line, Some(2));
    assert!(
        reason.contains("column `name`: byte 4 (0xe9)") && reason.contains("iconv"),
        "{reason}"
    );
    assert_eq!(*get(feature(&items[1]), "name"), Cell::Text("Tea".into()));
}

#[test]
fn a_table_that_cannot_be_one_says_why() {
    fails("a.csv", b"", "empty");
    fails("a.csv", b"\xff\xfea\0,\0b\0", "UTF-16");
    fails("a.csv", b"a\0b,c\n", "not a text file");
    fails("a.csv", b"a,b,a\n", "two columns are called `a`");
    fails("a.csv", b"a,b\xe9\n", "name of column 2");
    fails("a.csv.gz", b"a,b\n1,2\n", "1f 8b");
    let (_, error) = read(
        "a.csv",
        b"name,populaton\n",
        &wanted(&["population"], false),
    );
    let error = error.unwrap().to_string();
    assert!(
        error.contains("no column `population` (did you mean `populaton`?)"),
        "{error}"
    );
    let missing = Reader::open(
        Path::new("/nowhere/a.csv"),
        Format::GeoJson,
        &Wanted::default(),
    );
    assert!(missing.unwrap_err().help.contains("check the path"));
}

#[test]
fn a_cut_gzip_of_a_table_keeps_its_rows_and_fails() {
    let mut text = "code,name\n".to_owned();
    for n in 0..20_000 {
        writeln!(text, "{n},name of {}", n * 7919 % 20_011).unwrap();
    }
    let whole = gz(text.as_bytes());
    let (items, error) = read("a.csv.gz", &whole[..whole.len() / 2], &Wanted::default());
    assert!(items.len() > 1000, "{} rows", items.len());
    assert!(error.unwrap().reason.contains("cut off"));
}

fn parquet_bytes(geo: Option<&str>) -> Vec<u8> {
    let rows = 600;
    let wkb = |n: i64| {
        let mut bytes = vec![1, 1, 0, 0, 0];
        bytes.extend(((30 + n % 3) as f64).to_le_bytes());
        bytes.extend((-1.5f64).to_le_bytes());
        bytes
    };
    let ids: ArrayRef = Arc::new(
        (0..rows)
            .map(|n| (n != 5).then_some(n))
            .collect::<Int64Array>(),
    );
    let names: ArrayRef = Arc::new(
        (0..rows)
            .map(|n| Some(format!("n{n}")))
            .collect::<StringArray>(),
    );
    let shapes: ArrayRef = Arc::new(
        (0..rows)
            .map(|n| (n != 6).then(|| wkb(n)))
            .collect::<BinaryArray>(),
    );
    let batch = arrow::array::RecordBatch::try_from_iter([
        ("id", ids),
        ("name", names),
        ("geometry", shapes),
    ])
    .unwrap();
    let metadata = geo.map(|geo| vec![KeyValue::new("geo".to_owned(), geo.to_owned())]);
    let properties = WriterProperties::builder()
        .set_key_value_metadata(metadata)
        .set_max_row_group_row_count(Some(250))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

const GEO: &str =
    r#"{"version":"1.1.0","primary_column":"geometry","columns":{"geometry":{"encoding":"WKB"}}}"#;

#[test]
fn parquet_is_read_across_row_groups() {
    for (name, bytes) in [
        ("a.parquet", parquet_bytes(Some(GEO))),
        ("a.parquet.gz", gz(&parquet_bytes(Some(GEO)))),
    ] {
        let (items, error) = read(name, &bytes, &wanted(&["id"], true));
        assert_eq!(error, None);
        assert_eq!(items.len(), 600);
        let last = feature(&items[599]);
        assert_eq!(
            last.place,
            Place {
                feature: 600,
                line: None
            }
        );
        assert_eq!(*get(last, "id"), Cell::Int(599));
        assert!(
            !last.values.contains_key("name"),
            "only wanted columns are read"
        );
        assert!(matches!(&last.geometry, Some(RawGeometry::Wkb(bytes)) if bytes.len() == 21));
        assert_eq!(*get(feature(&items[5]), "id"), Cell::Null);
        assert_eq!(feature(&items[6]).geometry, None);
    }
}

#[test]
fn parquet_whose_geometry_is_foreign_says_why() {
    for (geo, reason) in [
        (None, "names no geometry"),
        (Some("{"), "not JSON"),
        (Some("{}"), "no primary_column"),
        (Some(r#"{"primary_column":"shape"}"#), "does not exist"),
        (
            Some(r#"{"primary_column":"geometry","columns":{"geometry":{"encoding":"point"}}}"#),
            "encoded as point",
        ),
        (
            Some(
                r#"{"primary_column":"geometry","columns":{"geometry":{"encoding":"WKB","crs":null}}}"#,
            ),
            "given as unknown",
        ),
        (
            Some(
                r#"{"primary_column":"geometry","columns":{"geometry":{"encoding":"WKB","crs":
                {"name":"WGS 84 / UTM zone 36S","id":{"authority":"ESRI","code":132736}}}}}"#,
            ),
            "UTM zone 36S",
        ),
        (
            Some(
                r#"{"primary_column":"geometry","columns":{"geometry":{"encoding":"WKB","edges":"spherical"}}}"#,
            ),
            "not planar",
        ),
    ] {
        let (_, error) = read("a.parquet", &parquet_bytes(geo), &wanted(&["id"], true));
        let error = error.unwrap().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let crs84 = r#"{"primary_column":"geometry","columns":{"geometry":{"encoding":"WKB","crs":
        {"name":"WGS 84","id":{"authority":"EPSG","code":4326}}}}}"#;
    assert_eq!(
        read("a.parquet", &parquet_bytes(Some(crs84)), &wanted(&[], true)).1,
        None
    );
    // Without a wish for geometry it is a plain table.
    assert_eq!(
        read("a.parquet", &parquet_bytes(None), &wanted(&["id"], false)).1,
        None
    );
}

/// A point of UTM zone 36S and what PROJ says of it.
const UTM: (f64, f64) = (233_923.013, 9_747_541.918);
const IN_DEGREES: (f64, f64) = (30.607_646_015_9, -2.282_053_274_7);

fn near(lon: f64, lat: f64) -> bool {
    (lon - IN_DEGREES.0).abs() < 1e-8 && (lat - IN_DEGREES.1).abs() < 1e-8
}

fn said(crs: &str) -> Options {
    Options {
        crs: Some(crs.into()),
        ..Options::default()
    }
}

#[test]
fn geojson_in_another_system_becomes_longitude_and_latitude() {
    let (x, y) = UTM;
    let crs = r#""crs":{"type":"name","properties":{"name":"urn:ogc:def:crs:EPSG::32736"}},"#;
    let features = format!(
        r#""features":[{{"type":"Feature","geometry":{{"type":"LineString","coordinates":[[{x},{y},7],[{x},{y},8]]}}}},
        {{"type":"Feature","geometry":{{"type":"GeometryCollection","geometries":[{{"type":"Point","coordinates":[{x},{y}]}}]}}}},
        {{"type":"Feature","geometry":{{"type":"Point","coordinates":[30,-2]}}}}]"#
    );
    let check = |items: &[Item]| {
        for (item, height) in items.iter().take(2).zip([true, false]) {
            let Some(RawGeometry::GeoJson(text)) = &feature(item).geometry else {
                panic!("{item:?}")
            };
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            let first = value
                .pointer("/coordinates/0")
                .or(value.pointer("/geometries/0/coordinates"));
            let first: Vec<f64> = serde_json::from_value(first.unwrap().clone()).unwrap();
            assert!(near(first[0], first[1]), "{text}");
            assert_eq!(first.get(2), height.then_some(&7.0));
        }
        assert!(
            refusal(&items[2]).1.contains("looks like degrees"),
            "{:?}",
            items[2]
        );
    };
    let text = format!(r#"{{"type":"FeatureCollection",{crs}{features}}}"#);
    let (items, error) = read("a.geojson", text.as_bytes(), &Wanted::default());
    assert_eq!(error, None);
    check(&items);
    // By the mapping's word, where the file has none.
    let text = format!(r#"{{"type":"FeatureCollection",{features}}}"#);
    let file = write("a.geojson", text.as_bytes());
    let opened = Reader::open_with(
        &file.path,
        Format::GeoJson,
        &said("EPSG:32736"),
        &Wanted::default(),
    );
    check(&drain(opened.unwrap()).0);
    // Said behind the features.
    let behind = crs.trim_end_matches(',');
    let text = format!(r#"{{"type":"FeatureCollection",{features},{behind}}}"#);
    let (items, error) = read("a.geojson", text.as_bytes(), &Wanted::default());
    assert_eq!(error, None);
    check(&items);
    // One that is not known is told before any feature is taken for what it is not.
    let text = text.replace("32736", "9999999");
    let file = write("a.geojson", text.as_bytes());
    let opened = Reader::open_with(
        &file.path,
        Format::GeoJson,
        &Options::default(),
        &Wanted::default(),
    );
    assert!(opened.is_err());
}

#[test]
fn parquet_in_another_system_becomes_longitude_and_latitude() {
    // The points of the test file as if they were metres of Web Mercator.
    let geo = GEO.replace(
        r#""encoding":"WKB""#,
        r#""encoding":"WKB","crs":{"id":{"authority":"EPSG","code":3857}}"#,
    );
    let null = GEO.replace(r#""encoding":"WKB""#, r#""encoding":"WKB","crs":null"#);
    for (geo, options) in [(geo, Options::default()), (null, said("EPSG:3857"))] {
        let file = write("a.parquet", &parquet_bytes(Some(&geo)));
        let opened = Reader::open_with(
            &file.path,
            Format::Parquet,
            &options,
            &wanted(&["id"], true),
        );
        let (items, error) = drain(opened.unwrap());
        assert_eq!(error, None);
        let Some(RawGeometry::Wkb(bytes)) = &feature(&items[0]).geometry else {
            panic!("{:?}", items[0])
        };
        let lon = f64::from_le_bytes(*bytes[5..].first_chunk().unwrap());
        assert!((lon - 30.0 / 111_319.490_793_273_58).abs() < 1e-12, "{lon}");
    }
}

#[test]
fn parquet_cut_or_damaged_never_panics() {
    let whole = parquet_bytes(Some(GEO));
    for cut in (0..whole.len()).step_by(97) {
        let (_, error) = read("a.parquet", &whole[..cut], &wanted(&["id"], true));
        assert!(error.is_some_and(|e| !e.help.is_empty()), "cut at {cut}");
    }
    for at in (4..whole.len()).step_by(61) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x5a;
        // Damage within values may go unseen; it must only not take the process down.
        let (items, _) = read("a.parquet", &damaged, &wanted(&["id"], true));
        assert!(items.len() <= 600);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_a_text_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for name in ["a.csv", "a.geojson", "a.geojsonl"] {
            read(name, &bytes, &Wanted::default());
        }
    }

    #[test]
    fn no_broken_json_makes_the_reader_panic(
        at in 0..COLLECTION.len(), with in "[\\[\\]{}\",:a0\n\\\\]{0,3}",
    ) {
        let mut bytes = COLLECTION.as_bytes().to_vec();
        bytes.splice(at..=at, with.into_bytes());
        read("a.geojson", &bytes, &Wanted::default());
    }

    #[test]
    fn every_table_comes_back_as_it_was_written(
        rows in proptest::collection::vec(proptest::collection::vec("[a-z,\"\n\u{e9} ]{0,6}", 3), 0..12),
    ) {
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record(["a", "b", "c"]).unwrap();
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let (items, error) = read("a.csv", &writer.into_inner().unwrap(), &Wanted::default());
        prop_assert_eq!(error, None);
        let back: Vec<Vec<String>> = items
            .iter()
            .map(|item| feature(item).values.values().map(ToString::to_string).collect())
            .collect();
        prop_assert_eq!(back, rows);
    }
}

/// The data folder, where there is one.
pub(super) fn data() -> Option<PathBuf> {
    std::env::var_os("TWIN_DATA")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
}

#[test]
fn the_real_files_are_read_whole() {
    let Some(data) = data() else { return };
    for (file, columns, geometry, count) in [
        (
            "rwanda/admin_boundaries_full.parquet",
            &["level", "parent_id"][..],
            true,
            17_413,
        ),
        (
            "rwanda/admin_boundaries_simplified.geojson.gz",
            &[],
            true,
            17_413,
        ),
        (
            "rwanda/health_who_kemri.csv.gz",
            &["Facility name"],
            false,
            572,
        ),
        ("world/broken/duplicate_and_null_ids.geojson", &[], true, 5),
    ] {
        let path = data.join(file);
        let format = Format::of_path(&path).unwrap();
        let (items, error) =
            drain(Reader::open(&path, format, &wanted(columns, geometry)).unwrap());
        assert_eq!(error, None);
        assert_eq!(items.len(), count, "{file}");
        assert!(
            items.iter().all(|item| matches!(item, Item::Feature(_))),
            "{file}"
        );
    }
    for file in [
        "malformed.topojson",
        "invalid_json.city.json",
        "corrupt.tif",
    ] {
        let path = data.join("world/broken").join(file);
        let opened = Reader::open(&path, Format::GeoJson, &Wanted::default());
        let error = opened.map_or_else(Some, |reader| drain(reader).1);
        assert!(error.is_some_and(|e| !e.at.is_empty()), "{file}");
    }
}
