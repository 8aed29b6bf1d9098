//! A program that nobody here wrote is asked the same: geopandas for areas, pyproj for distances.
//!
//! # Invariants
//! - Both sides read the published files on their own; they share nothing but the question.
//! - No tolerance: one difference fails.

use tests::{Start, agrees, data, oracle};

#[test]
fn geopandas_agrees_on_points_radii_and_conditions() {
    let Some(data) = data() else {
        println!("skipped: TWIN_DATA names no source data to ask geopandas about");
        return;
    };
    let twin = Start::demo().data(&data).ready();
    agrees(
        oracle("geopandas_check.py")
            .arg("--data")
            .arg(&data)
            .arg("--url")
            .arg(format!("http://{}/graphql", twin.http())),
    );
}
