//! The shape of the workspace: its arrows, its map, and what its files must not say.
//!
//! # Invariants
//! - These checks read manifests and files only; they build nothing and start nothing.
//! - A rule names the file that breaks it and how to mend it.
#![expect(
    clippy::expect_used,
    reason = "a test outside its functions too fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use serde_json::Value;
use tests::root;

/// Who may use whom among our own crates, whatever the kind of dependency.
const ARROWS: [(&str, &[&str]); 9] = [
    ("ontology", &[]),
    ("twin-core", &["ontology"]),
    ("engine", &[]),
    ("store", &["engine", "ontology", "twin-core"]),
    ("gis-import", &["ontology", "twin-core"]),
    ("ingest", &["ontology", "twin-core"]),
    ("graphql-api", &["ontology", "twin-core"]),
    (
        "twin",
        &[
            "gis-import",
            "graphql-api",
            "ingest",
            "ontology",
            "store",
            "twin-core",
        ],
    ),
    ("tests", &[]),
];

fn packages() -> Vec<Value> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    metadata["packages"]
        .as_array()
        .expect("a workspace has packages")
        .clone()
}

fn name(value: &Value) -> &str {
    value["name"]
        .as_str()
        .expect("all that cargo lists has a name")
}

fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    package["dependencies"].as_array().into_iter().flatten()
}

/// Every file that git knows or would take, as path and text; binary files are left out.
fn texts() -> Vec<(String, String)> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()
        .expect("git can be run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .split('\0')
        .filter(|path| !path.is_empty())
        // A file that was deleted but not yet committed is listed and not there.
        .filter_map(|path| Some((path.to_owned(), fs::read_to_string(root().join(path)).ok()?)))
        .collect()
}

#[test]
fn arrows_between_crates_run_one_way() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ARROWS
        .iter()
        .map(|(from, to)| (*from, to.iter().copied().collect()))
        .collect();
    let packages = packages();
    let found: BTreeSet<&str> = packages.iter().map(name).collect();
    assert_eq!(
        found,
        allowed.keys().copied().collect(),
        "a new crate gets its row in ARROWS and in ARCHITECTURE.md"
    );
    for package in &packages {
        let used: BTreeSet<&str> = dependencies(package)
            .map(name)
            .filter(|used| found.contains(used))
            .collect();
        let extra: Vec<_> = used.difference(&allowed[name(package)]).collect();
        assert!(extra.is_empty(), "{} must not use {extra:?}", name(package));
    }
}

#[test]
fn only_store_speaks_to_surrealdb_and_only_twin_uses_store() {
    for package in packages() {
        let used: Vec<&str> = dependencies(&package).map(name).collect();
        if name(&package) != "engine" {
            let surreal: Vec<_> = used
                .iter()
                .filter(|used| used.starts_with("surreal"))
                // Its values are what statements are bound to.
                .filter(|used| **used != "surrealdb" || name(&package) != "store")
                .collect();
            assert!(
                surreal.is_empty(),
                "{} must not use {surreal:?}",
                name(&package)
            );
        }
        if name(&package) != "twin" {
            assert!(
                !used.contains(&"store"),
                "{} must not use store",
                name(&package)
            );
        }
    }
}

#[test]
fn one_test_binary_beside_twin_links_surrealdb() {
    let packages = packages();
    let tested = |package: &str| -> Vec<String> {
        packages
            .iter()
            .filter(|found| name(found) == package)
            .flat_map(|found| found["targets"].as_array().into_iter().flatten())
            .filter(|target| target["test"] == true || target["doctest"] == true)
            .map(|target| format!("{} {}", target["kind"][0], name(target)))
            .collect()
    };
    let store = tested("store");
    assert!(
        store.len() <= 1,
        "each of these links SurrealDB, 105 MB and minutes: {store:?}; keep one file in \
         store/tests and set test = false and doctest = false under [lib]"
    );
    let twin = tested("twin");
    assert!(
        twin.iter().all(|target| target.contains("\"bin\"")),
        "twin's tests stand beside its code or in the crate tests: {twin:?}"
    );
}

#[test]
fn architecture_names_every_crate_and_no_other() {
    let text =
        fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let map = text
        .split("\n## ")
        .find(|section| section.starts_with("Map"))
        .expect("ARCHITECTURE.md has a section Map");
    let named: BTreeSet<&str> = map
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let packages = packages();
    assert_eq!(
        named,
        packages.iter().map(name).collect(),
        "the map's first column, against Cargo"
    );
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for package in packages() {
        let manifest = package["manifest_path"]
            .as_str()
            .expect("a package has a manifest");
        let text = fs::read_to_string(manifest).expect("a manifest can be read");
        assert!(
            text.contains("[lints]\nworkspace = true\n"),
            "{manifest} lacks [lints] workspace = true"
        );
    }
}

#[test]
fn files_speak_of_the_project_alone() {
    let home = root();
    let above = home.parent().filter(|above| above.parent().is_some());
    // Pieced together so that this file does not break its own rule.
    let mut never = vec![
        concat!("/ro", "ot/").to_owned(),
        concat!("/ho", "me/").to_owned(),
    ];
    never.extend(above.map(|above| format!("{}/", above.display())));
    let mut found = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            let numbered = ["issue ", "issue #", "issues/", "(#"].iter().any(|word| {
                lower
                    .split(word)
                    .skip(1)
                    .any(|after| after.starts_with(|c: char| c.is_ascii_digit()))
            });
            if numbered || never.iter().any(|path| line.contains(path.as_str())) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "machine paths or issue numbers:\n{}",
        found.join("\n")
    );
}
