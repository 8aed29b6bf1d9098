//! Imports by the command line: said before they are done, done once, cut off and gone on with.
//!
//! # Invariants
//! - The tables are generated, so nothing here needs source data; what is real is in `water.rs`.
//! - Moments of a kill are told by how far the folder has grown, not by a clock.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests stop the test"
)]

use std::{fmt::Write as _, fs, path::Path, thread, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tests::{Finished, Random, Start, number};

/// Rows of the table that is killed: enough for a second of writing.
const ROWS: u64 = 60_000;
/// Kills that hit during one import.
const KILLS: u64 = 3;
/// Between two looks at the folder.
const TICK: Duration = Duration::from_millis(1);
const REFUSED: Option<i32> = Some(3);

/// A folder with a table of stations and the mapping for it.
struct Table {
    files: TempDir,
}

const MAPPING: &str = r#"
title = "Stations of a test"
source = "a test"
licence = "CC0-1.0"
attribution = "nobody"
[[file]]
name = "stations.csv"
[[twin]]
class = "AirQualityStation"
id = "test:station:{number}"
geometry = { lon = "lon", lat = "lat" }
[twin.set]
name = "name"
"#;

impl Table {
    fn new(text: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let table = Self { files };
        table.write("stations.csv", text);
        table.write("stations.toml", MAPPING);
        table
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.files.path().join(name), text).unwrap();
    }

    /// `twin import` of the table into a folder.
    fn import(&self, dir: &Path) -> Start {
        Start::bare("import")
            .arg(self.files.path().join("stations.toml"))
            .data(self.files.path())
            .dir(dir)
    }

    /// The report of an import that has to end well.
    #[track_caller]
    fn imported(&self, dir: &Path) -> Value {
        let done = self.import(dir).arg("--json").finished();
        assert_eq!(done.code, Some(0), "{}", done.err);
        lines(&done).remove(0)
    }
}

#[track_caller]
fn lines(done: &Finished) -> Vec<Value> {
    let lines = done.out.lines().map(serde_json::from_str);
    let lines: Result<Vec<_>, _> = lines.collect();
    lines.unwrap_or_else(|error| panic!("{error}: {}\n{}", done.out, done.err))
}

#[track_caller]
fn position(dir: &Path) -> String {
    let done = Start::bare("query").arg("{ position }").dir(dir).finished();
    let answer: Value = serde_json::from_str(&done.out)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", done.out, done.err));
    let position = answer["data"]["position"].as_str();
    position
        .unwrap_or_else(|| panic!("no position: {answer}"))
        .to_owned()
}

fn rows(count: u64) -> String {
    let mut text = "number,name,lon,lat\n".to_owned();
    for n in 0..count {
        let (lon, lat) = (29 + n % 1000, n / 1000);
        writeln!(text, "{n},Station {n},{}.5,-1.{lat}", lon % 60).unwrap();
    }
    text
}

/// Bytes of the files of a folder.
fn bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .sum()
}

#[test]
fn killed_in_the_middle_it_goes_on_and_does_nothing_twice() {
    let seed = number("TWIN_SEED", u64::from(std::process::id()));
    println!("TWIN_SEED={seed} repeats these kills");
    let mut random = Random::new(seed);
    let table = Table::new(&rows(ROWS));
    let folder = tempfile::tempdir().unwrap();

    let whole = folder.path().join("whole");
    let report = table.imported(&whole);
    assert_eq!(report["created"], ROWS, "{report}");
    let size = bytes(&whole) as f64;

    let dir = folder.path().join("killed");
    for kill in 0..KILLS {
        let before = bytes(&dir) as f64;
        let grown = size * random.between(0.2, 0.5);
        let mut twin = table.import(&dir).started();
        while twin.running() && (bytes(&dir) as f64) < before + grown {
            thread::sleep(TICK);
        }
        // Later ones may find little left to do, and end.
        assert!(twin.running() || kill > 0, "it ended before the first kill");
        twin.kill9();
    }

    let report = table.imported(&dir);
    let of = |key: &str| report[key].as_u64().unwrap_or_default();
    assert!(of("unchanged") > 0, "nothing was kept: {report}");
    assert_eq!(of("created") + of("unchanged"), ROWS, "{report}");
    // The rest is done and nothing else: as many changes as twins were missing, and in sum as many
    // as without the kills.
    assert_eq!(of("changes"), of("created"), "{report}");
    assert_eq!(position(&dir), position(&whole));
    let verified = Start::bare("verify").dir(&dir).finished();
    assert_eq!(verified.code, Some(0), "{}", verified.err);

    let again = table.imported(&dir);
    assert_eq!(again["unchanged"], ROWS, "{again}");
    assert_eq!(again["changes"], 0, "{again}");
    assert_eq!(position(&dir), position(&whole));
}

#[test]
fn a_dry_run_says_what_an_import_would_change_and_writes_nothing() {
    let table = Table::new("number,name,lon,lat\n1,One,30.5,-1.5\n2,Two,30.6,-1.5\n3,,30.7,\n");
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");

    let dry = table.import(&dir).arg("--dry-run").arg("--json").finished();
    assert_eq!(dry.code, REFUSED, "{}", dry.err);
    let told = lines(&dry);
    assert_eq!(told.len(), 3, "{}", dry.out);
    assert_eq!(told[0]["change"], "created");
    assert_eq!(told[0]["id"], "test:station:1");
    assert_eq!(told[0]["properties"]["name"], "One");
    assert_eq!(told[2]["dry_run"], true);
    assert_eq!(told[2]["classes"]["AirQualityStation"]["created"], 2);
    assert_eq!(told[2]["refused"]["by_kind"]["half a position"], 1);
    assert!(!dir.exists(), "a dry run made the folder");

    let done = table.import(&dir).finished();
    assert_eq!(done.code, REFUSED, "{}", done.err);
    let stands = position(&dir);
    table.write(
        "stations.csv",
        "number,name,lon,lat\n1,Uno,30.5,-1.5\n2,Two,30.6,-1.5\n4,Four,30.8,-1.5\n",
    );
    let dry = table.import(&dir).arg("--dry-run").finished();
    assert_eq!(dry.code, Some(0), "{}", dry.err);
    for text in [
        "dry run of stations: 3 read, 1 created, 1 updated, 1 unchanged",
        "AirQualityStation: 1 created, 1 updated, 1 unchanged; 2 differences",
        "~ test:station:1: name \"One\" -> \"Uno\"",
        "+ test:station:4",
    ] {
        assert!(dry.out.contains(text), "{text}: {}", dry.out);
    }
    assert_eq!(position(&dir), stands);

    let report = table.imported(&dir);
    assert_eq!(report["classes"]["AirQualityStation"]["updated"], 1);
    let dry = table.import(&dir).arg("--dry-run").arg("--json").finished();
    assert_eq!(lines(&dry).len(), 1, "only the report: {}", dry.out);
}

#[test]
fn an_input_that_cannot_be_imported_says_what_where_and_how_to_mend_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    let case = |file: &str, content: &[u8], mapping: &str, code: i32, words: &[&str]| {
        let table = Table::new("");
        table.write(file, content);
        table.write("stations.toml", mapping);
        let done = table.import(&dir).arg("--dry-run").finished();
        assert_eq!(done.code, Some(code), "{file}: {}", done.err);
        // A person's terminal may wrap anywhere.
        let said = done.err.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = said.replace("│ ", "");
        for word in words {
            assert!(said.contains(word), "{file}: no `{word}` in {}", done.err);
        }
    };
    let feature = MAPPING.replace(r#"{ lon = "lon", lat = "lat" }"#, "\"feature\"");
    let parquet = feature.replace("stations.csv", "stations.parquet");
    let mut cut = b"PAR1".to_vec();
    cut.resize(4096, 7);
    case(
        "stations.parquet",
        &cut,
        &parquet,
        1,
        &["stations.parquet", "footer", "fetch it again"],
    );
    case(
        "stations.csv",
        b"nummber,name,lon,lat\n1,One,30,-1\n",
        MAPPING,
        1,
        &[
            "stations.csv",
            "there is no column `number`",
            "did you mean `nummber`?",
        ],
    );
    let crs = br#"{"type":"FeatureCollection","crs":{"type":"name","properties":{"name":"urn:ogc:def:crs:EPSG::999999"}},"features":[]}"#;
    case(
        "stations.geojson",
        crs,
        &feature.replace("stations.csv", "stations.geojson"),
        1,
        &["EPSG:999999", "stations.geojson"],
    );
    case(
        "stations.csv",
        b"number\n1\n",
        &MAPPING.replace("geometry =", "geometri ="),
        2,
        &[
            "stations.toml",
            "a rule has no key `geometri`",
            "did you mean `geometry`?",
        ],
    );
    assert!(!dir.exists(), "something was written");
}
