//! A program that nobody here wrote is asked the same: geopandas for areas, pyproj for distances.
//!
//! # Invariants
//! - Both sides read the published files on their own; they share nothing but the question.
//! - No tolerance: one difference fails.

use std::{env, process::Command};

use tests::{Start, data, root};

#[test]
fn geopandas_agrees_on_points_radii_and_conditions() {
    let Some(data) = data() else {
        println!("skipped: TWIN_DATA names no source data to ask geopandas about");
        return;
    };
    let Some(python) = env::var_os("TWIN_PYTHON") else {
        panic!("TWIN_PYTHON is not set: run the tests through make test, which brings geopandas");
    };
    let twin = Start::demo().data(&data).ready();
    let output = Command::new(python)
        .arg(root().join("tests/oracle/geopandas_check.py"))
        .arg("--data")
        .arg(&data)
        .arg("--url")
        .arg(format!("http://{}/graphql", twin.http()))
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
