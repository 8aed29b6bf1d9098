//! The public DTDL conformance cases, read from the folder that `TWIN_CONFORMANCE` names (it holds
//! `dtdl/v2`, `dtdl/v3` and `dtdl/v4`). Without the variable the test says so and passes.
//!
//! A case is judged by its verdict alone. Kinds of cases whose rules this compiler does not check
//! yet are counted, and the share that agrees must not fall.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests stop the test"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ontology::{Ontology, Pack, Source};
use serde_json::Value;

/// Least share in percent of invalid and of valid cases with the right verdict, by DTDL version.
/// What is missing: names given as DTMIs, a few JSON-LD forms, self-referential schemas and the
/// schemas that no value can be carried for yet; and in v2 unknown names, which only warn.
const FLOORS: [(u8, usize, usize); 3] = [(2, 84, 91), (3, 96, 80), (4, 96, 69)];

/// Verdicts that agree, of all that were judged.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    agreed: usize,
    judged: usize,
}

impl Tally {
    fn add(&mut self, agreed: bool) {
        self.agreed += usize::from(agreed);
        self.judged += 1;
    }
}

/// Whether a runner without the rarer features (resolvers, quirks, limit extensions) can judge it:
/// undefined extensions are accepted in v2 and refused from v3 on, as is the default.
fn can_judge(case: &Value, version: u8) -> bool {
    let is_empty = |key: &str| match case.get(key) {
        None => true,
        Some(value) => value.as_array().is_some_and(Vec::is_empty),
    };
    let wanted = if version == 2 {
        "AllowUndefinedExtensions"
    } else {
        "DisallowUndefinedExtensions"
    };
    [
        "quirks",
        "resolution",
        "maxDtdlVersion",
        "acceptableLimits",
        "requiredContexts",
    ]
    .iter()
    .all(|key| is_empty(key))
        && case["options"]
            .as_array()
            .into_iter()
            .flatten()
            .all(|option| option == wanted)
}

fn accepts(case: &Value) -> Result<(), String> {
    let pack = Arc::new(Pack::named("case"));
    let sources: Vec<Source> = case["input"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(i, document)| Source {
            pack: Arc::clone(&pack),
            file: format!("{i}.json"),
            text: document.to_string(),
        })
        .collect();
    match Ontology::compile(&sources) {
        Ok(_) => Ok(()),
        Err(problems) => Err(problems.to_string()),
    }
}

fn judge(folder: &Path, version: u8, show: bool) -> BTreeMap<(String, bool), Tally> {
    let mut tallies: BTreeMap<(String, bool), Tally> = BTreeMap::new();
    let mut files: Vec<_> = std::fs::read_dir(folder.join(format!("dtdl/v{version}")))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let kind = file.file_stem().unwrap().to_string_lossy().into_owned();
        let cases: Vec<Value> =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for case in cases.iter().filter(|case| can_judge(case, version)) {
            let valid = case["valid"] == true;
            let verdict = accepts(case);
            let agreed = verdict.is_ok() == valid;
            tallies
                .entry((format!("v{version} {kind}"), valid))
                .or_default()
                .add(agreed);
            if show && !agreed {
                let why = verdict.err().unwrap_or_else(|| "accepted".to_owned());
                println!(
                    "DISAGREE v{version} {kind} {} valid={valid} {}\n   {}",
                    case["name"],
                    why.replace('\n', " | "),
                    case["input"]
                );
            }
        }
    }
    tallies
}

#[test]
fn verdicts_agree_with_the_public_conformance_cases() {
    let Some(folder) = std::env::var_os("TWIN_CONFORMANCE") else {
        println!("skipped: TWIN_CONFORMANCE names no folder with conformance cases");
        return;
    };
    let show = std::env::var_os("TWIN_CONFORMANCE_SHOW").is_some();
    for (version, least_refused, least_accepted) in FLOORS {
        let mut sums = [Tally::default(); 2];
        for ((kind, valid), tally) in judge(Path::new(&folder), version, show) {
            let verdict = if valid { "accepted" } else { "refused" };
            println!("{kind:32} {verdict:8} {} of {}", tally.agreed, tally.judged);
            let sum = &mut sums[usize::from(valid)];
            sum.agreed += tally.agreed;
            sum.judged += tally.judged;
        }
        for (tally, least) in sums.into_iter().zip([least_refused, least_accepted]) {
            assert!(tally.judged > 0, "no cases of v{version}");
            assert!(
                tally.agreed * 100 >= tally.judged * least,
                "v{version}: {tally:?}, at least {least} %"
            );
        }
    }
}
