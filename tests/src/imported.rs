//! Sets imported as an operator does, and what the reports say.

use std::path::Path;

use serde_json::{Value, json};

use crate::{Finished, Start, Twin};

/// Imports sets in order into the twin of a folder, or tries to; answers the lines that it wrote.
#[track_caller]
pub fn import(sets: &[&str], data: &Path, dir: &Path, dry_run: bool) -> (Finished, Vec<Value>) {
    let mut start = importing(sets).data(data);
    if dry_run {
        start = start.arg("--dry-run");
    }
    told(start.dir(dir))
}

/// Imports sets in order from one file, with more arguments, as [`import`] does from source data.
#[track_caller]
pub fn import_file(
    sets: &[&str],
    file: &Path,
    dir: &Path,
    more: &[&str],
) -> (Finished, Vec<Value>) {
    let start = importing(sets).arg("--file").arg(file);
    told(more.iter().fold(start, Start::arg).dir(dir))
}

fn importing(sets: &[&str]) -> Start {
    let start = Start::bare("import").arg("--json");
    sets.iter().fold(start, Start::arg)
}

#[track_caller]
fn told(start: Start) -> (Finished, Vec<Value>) {
    let done = start.finished();
    let lines = done.out.lines().map(serde_json::from_str);
    let lines: Result<Vec<Value>, _> = lines.collect();
    let lines = lines.unwrap_or_else(|error| panic!("{error}: {}\n{}", done.out, done.err));
    (done, lines)
}

/// A report has read, created, changed relationships and refused so many.
#[track_caller]
pub fn says(report: &Value, set: &str, counts: [u64; 4]) {
    assert_eq!(report["set"], set, "{report}");
    let of = |key: &str| report[key].as_u64().unwrap_or_default();
    let refused = report["refused"]["count"].as_u64().unwrap_or_default();
    let found = [of("read"), of("created"), of("related"), refused];
    assert_eq!(found, counts, "{set}: read, created, related, refused");
}

/// Of these kinds a report has so many; `what` is `refused` or `warnings`.
#[track_caller]
pub fn kinds(report: &Value, what: &str, kinds: &[(&str, u64)]) {
    for (kind, number) in kinds {
        assert_eq!(
            report[what]["by_kind"][kind], *number,
            "{kind}: {}",
            report[what]["by_kind"]
        );
    }
}

/// Sets that are there already were read again and changed nothing.
#[track_caller]
pub fn unchanged(reports: &[Value]) {
    for report in reports {
        assert_eq!(report["changes"], 0, "{}", report["set"]);
        assert_eq!(
            report["related"], report["already_related"],
            "{}",
            report["set"]
        );
    }
}

/// How many twins a list of the API has.
#[track_caller]
pub fn total(twin: &Twin, list: &str) -> u64 {
    let query = format!("{{ {list}(first: 1) {{ totalCount }} }}");
    let answer = twin.graphql(&query, json!({}));
    let number = answer.data()[list]["totalCount"].as_u64();
    number.unwrap_or_else(|| panic!("no number: {}", answer.body))
}

/// The number that a query of SurrealQL answers with.
#[track_caller]
pub fn counted(twin: &Twin, surql: &str) -> u64 {
    let answer = twin.surql(surql);
    let number = answer.pointer("/0/0");
    number
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no number: {answer}"))
}
