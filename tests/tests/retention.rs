//! What is kept of readings, and for how long: limits change while the twin runs, and what left the
//! log is still in the history.
#![expect(
    clippy::unwrap_used,
    reason = "a test outside its functions too fails by panicking"
)]

use std::{fmt::Write as _, fs, time::Duration};

use serde_json::Value;
use tests::{Finished, Foreign, Start, Twin, publisher, register_stations, station, until};

/// Anything here is done within this time, on a busy machine too.
const SOON: Duration = Duration::from_mins(1);
/// Packs that one station publishes, and readings of a pack.
const PACKS: usize = 100;
const PACK: usize = 1_000;
/// Two stations.
const STATIONS: usize = 2;
/// The time of the first reading, seconds since 1970: 2023-11-14T22:13:20Z.
const BEGIN: usize = 1_700_000_000;

/// Publishes packs of readings, one a second, whose values cannot be packed to nothing.
#[track_caller]
fn publish(twin: &Twin, number: usize) {
    let topic = format!("twin/rw/{}/telemetry", station(number));
    let mut lines = String::new();
    for pack in 0..PACKS {
        lines.push('[');
        for reading in pack * PACK..(pack + 1) * PACK {
            let comma = if reading % PACK == 0 { "" } else { "," };
            let (ts, value) = (BEGIN + reading, value(reading));
            write!(lines, "{comma}{{\"ts\":{ts},\"pm25\":{value}}}").unwrap();
        }
        lines.push_str("]\n");
    }
    let args = ["-l", "-q", "1", "-t", &topic];
    let done = Foreign::start(&mut publisher(twin.mqtt(), &args)).fed(&lines, SOON);
    assert_eq!(done.code, Some(0), "{done:?}");
}

fn value(reading: usize) -> f64 {
    ((reading * 7_919) % 100_003) as f64 / 8.0
}

fn kept(twin: &Twin) -> u64 {
    twin.metric("twin_log_kept_bytes{log=\"readings\"}")
}

/// Lines of `twin export readings`.
#[track_caller]
fn export(dir: &std::path::Path, args: &[&str]) -> Finished {
    let export = Start::bare("export").arg("readings").dir(dir);
    args.iter().fold(export, Start::arg).finished()
}

#[track_caller]
fn lines(exported: &Finished) -> Vec<Value> {
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    let lines = exported.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn limits_change_while_the_twin_runs_and_an_export_gives_what_left_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file) = (folder.path().join("twin"), folder.path().join("twin.toml"));
    register_stations(&dir, STATIONS);
    fs::write(&file, "[log]\nreadings_mib = 64\n").unwrap();
    let twin = Start::serve().arg("--config").arg(&file).dir(&dir).ready();
    (0..STATIONS).for_each(|number| publish(&twin, number));
    let before = kept(&twin);
    assert!(before > 1 << 20, "{before}");
    assert_eq!(
        twin.metric("twin_log_kept_bytes_limit{log=\"readings\"}"),
        64 << 20
    );
    assert_eq!(twin.metric("twin_log_first_offset{log=\"readings\"}"), 0);
    let said = |part: &str| until(part, SOON, || twin.log().contains(part).then_some(()));

    // A file that cannot be used changes nothing.
    fs::write(&file, "[log]\nreadings_mb = 1\n").unwrap();
    twin.signal("HUP");
    said("readings_mib");
    assert_eq!(
        twin.metric("twin_log_kept_bytes_limit{log=\"readings\"}"),
        64 << 20
    );

    // One that can does at once, and says what needs a restart.
    let text = "[log]\nreadings_mib = 1\n[history]\nsums_days = 30\n[mqtt]\nmax_sessions = 5\n";
    fs::write(&file, text).unwrap();
    twin.signal("HUP");
    said("log.readings_mib was 64 and is 1");
    said("history.sums_days was 0 and is 30");
    said("only a restart brings mqtt.max_sessions");
    assert_eq!(
        twin.metric("twin_log_kept_bytes_limit{log=\"readings\"}"),
        1 << 20
    );
    // Tables as large as the old limit allowed go one by one, as others begin after them.
    publish(&twin, 0);
    twin.signal("HUP");
    until("what was dropped", SOON, || {
        (twin.metric("twin_log_first_offset{log=\"readings\"}") > 0).then_some(())
    });
    drop(twin);

    let all = lines(&export(&dir, &[]));
    assert_eq!(all.len(), STATIONS * PACKS * PACK);
    let mut all = all.iter();
    for number in 0..STATIONS {
        for reading in 0..PACKS * PACK {
            let line = all.next().unwrap();
            assert_eq!(line["twin"], station(number), "{line}");
            assert_eq!(line["telemetry"], "pm25");
            assert_eq!(line["value"], value(reading), "{line}");
        }
    }
    // 2023-11-14T22:13:20Z and a thousand seconds.
    let (from, to) = ("2023-11-14T22:13:20Z", "2023-11-14T22:30:00Z");
    let part = export(&dir, &["--class", "Device", "--from", from, "--to", to]);
    assert_eq!(lines(&part).len(), STATIONS * 1_000);
    let part = export(&dir, &["--class", "WeatherStation"]);
    assert!(lines(&part).is_empty());

    // The log no longer goes back so far, and says so.
    let gone = export(&dir, &["--after", "main:0"]);
    assert_eq!(gone.code, Some(1), "{}", gone.err);
    assert!(gone.err.contains("no longer in the log"), "{}", gone.err);
    for (args, part) in [
        (&["--class", "Devise"][..], "Device"),
        (&["--from", "yesterday"], "--from"),
        (&["--from", to, "--to", from], "--from is not before --to"),
        (&["--after", "main:999999999"], "ahead of this twin"),
    ] {
        let refused = export(&dir, args);
        assert_eq!(refused.code, Some(2), "{}", refused.err);
        assert!(refused.err.contains(part), "{}", refused.err);
    }
}
