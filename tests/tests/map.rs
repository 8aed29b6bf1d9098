//! The map as a person meets it: in a browser that nobody here wrote, at a twin that runs.
//!
//! # Invariants
//! - The built map names no address but what its libraries print in messages, and the browser asked
//!   none but the twin.
//! - Nothing waits for a time: only for what the page shows or says of itself.
#![expect(
    clippy::expect_used,
    reason = "a test outside its functions too fails by panicking"
)]

use std::{env, fs, io::BufRead as _, path::PathBuf, time::Duration};

use serde_json::Value;
use tests::{Foreign, Start, data, node};

/// The whole visit, on a busy machine without a graphics card.
const DONE_WITHIN: Duration = Duration::from_mins(10);

/// Texts of libraries that begin like an address and are never asked: names of XML languages, and
/// where to read about a message.
const SAID_ONLY: [&str; 7] = [
    "http://www.w3.org/",
    "https://github.com/mapbox/",
    "https://github.com/maplibre/",
    "https://github.com/d3/",
    "https://maplibre.org/",
    "https://maplibre.invalid/",
    "https://wiki.openstreetmap.org/",
];

/// The folder of the built map.
fn built() -> PathBuf {
    let folder = env::var_os("TWIN_MAP").expect(
        "TWIN_MAP is not set: run the tests through make test, which builds the map, or see \
         tools/setup.sh map",
    );
    PathBuf::from(folder)
}

#[test]
fn the_built_map_names_nobody_elses_address() {
    for file in ["index.html", "map.js", "map.css", "worker.mjs"] {
        let text = fs::read_to_string(built().join(file)).expect("the map is built");
        for scheme in ["http://", "https://", "ws://", "wss://"] {
            for rest in text.split(scheme).skip(1) {
                let rest: String = rest.chars().take(60).collect();
                let address = format!("{scheme}{rest}");
                // Without a host it is a beginning that a library compares with.
                let host = rest.starts_with(|c: char| c.is_ascii_alphanumeric());
                let said = SAID_ONLY.iter().any(|known| address.starts_with(known));
                assert!(!host || said, "{file} names {address}");
            }
        }
    }
}

#[test]
fn a_person_finds_sees_and_follows_the_nation_on_the_map() {
    assert!(
        env::var_os("TWIN_CHROMIUM").is_some(),
        "TWIN_CHROMIUM is not set: run the tests through make test, which brings chromium"
    );
    let pictures = env::var_os("TWIN_PICTURES").map(PathBuf::from);
    let temp = tempfile::tempdir().expect("a temporary folder can be made");
    let pictures = pictures.unwrap_or_else(|| temp.path().to_path_buf());
    let map = built().display().to_string();
    let dir = temp.path().join("twin");
    let start = |http: &str| {
        let demo = Start::bare("demo").arg("--json");
        let demo = demo.arg("--http").arg(http);
        let demo = demo.arg("--mqtt").arg("127.0.0.1:0");
        let demo = demo.env("TWIN_MAP", &map).dir(&dir);
        match data() {
            Some(folder) => demo.data(&folder).ready(),
            None => demo.ready(),
        }
    };
    let mut twin = start("127.0.0.1:0");
    let http = twin.http().to_owned();
    let mut command = node("map.mjs");
    command.arg(format!("http://{http}")).arg(&pictures);
    let mut visit = Foreign::start(&mut command);
    let lines = visit.output().lines().map_while(Result::ok);
    let mut seen = 0;
    for line in lines {
        let line: Value = serde_json::from_str(&line).expect("the visit writes JSON");
        match line["do"].as_str() {
            Some("kill") => twin.kill9(),
            Some("start") => twin = start(&http),
            _ => {
                println!("{} ms: {}", line["ms"], line["seen"]);
                seen += 1;
            }
        }
    }
    let done = visit.finished(DONE_WITHIN);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(seen >= 15, "only {seen} things were seen");
}
