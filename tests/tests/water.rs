//! Rural water works: their counts, and which villages they supply.
//!
//! # Invariants
//! - Counts are those of the published sets; what is derived from places and names was counted
//!   beside it with geopandas.
#![expect(
    clippy::print_stdout,
    reason = "a figure that the log of a test run keeps"
)]

use serde_json::{Value, json};
use tests::{Checks, Start, Twin, counted, data, import, kinds, says, unchanged};

/// What the water sets stand on.
const BEFORE: [&str; 2] = ["rwanda-administration", "rwanda-institutions"];
/// The water sets, in order.
const WATER: [&str; 7] = [
    "rwanda-water-schemes",
    "rwanda-water-scheme-points",
    "rwanda-water-taps",
    "rwanda-water-points",
    "rwanda-pumping-stations",
    "rwanda-reservoirs",
    "rwanda-water-sources",
];
/// Something was refused: a scheme stands twice in its file, and some taps cannot be placed.
const REFUSED: Option<i32> = Some(3);

fn reports(checks: &mut Checks, reports: &[Value]) {
    checks.check("schemes are the list's, with those who run them", || {
        says(&reports[0], WATER[0], [1_130, 1_130 + 78, 1_052 + 9, 0]);
        says(&reports[1], WATER[1], [1_127, 3, 1_126, 1]);
        assert_eq!(reports[1]["updated"], 1_123);
        kinds(&reports[1], "refused", &[("a duplicate id", 1)]);
    });
    checks.check(
        "villages are supplied where taps stand, and doubtful taps told",
        || {
            says(&reports[2], WATER[2], [63_529, 0, 8_397, 105]);
            assert_eq!(reports[2]["skipped"], 1_966);
            kinds(
                &reports[2],
                "refused",
                &[
                    ("a twin that is not there", 78),
                    ("in no area of the kind", 27),
                ],
            );
        },
    );
    checks.check("water points supply the villages that they name", || {
        says(&reports[3], WATER[3], [1_459, 1_459, 1_459 + 2_150, 0]);
        kinds(
            &reports[3],
            "warnings",
            &[("a name of nobody near", 779), ("a name of several", 11)],
        );
    });
    checks.check(
        "stations, reservoirs and sources are part of their schemes",
        || {
            says(&reports[4], WATER[4], [205, 205, 205 + 204, 0]);
            says(&reports[5], WATER[5], [6_695, 6_695, 6_695 + 6_694, 0]);
            says(&reports[6], WATER[6], [3_118, 3_118, 3_118 + 3_111, 0]);
            for (report, orphans) in [(4, 1), (5, 1), (6, 7)] {
                let kind = ("a relationship that cannot be", orphans);
                kinds(&reports[report], "warnings", &[kind]);
            }
        },
    );
}

fn answers(checks: &mut Checks, twin: &Twin) {
    checks.check("every kind can be listed", || {
        for (list, expected) in [
            ("waterSupplySchemes", 1_133),
            ("waterPoints", 1_459),
            ("pumpingStations", 205),
            ("reservoirs", 6_695),
            ("waterSources", 3_118),
            ("waterAssets", 1_133 + 1_459 + 205 + 6_695 + 3_118),
        ] {
            let answer = twin.graphql(
                &format!("{{ {list}(first: 1) {{ totalCount }} }}"),
                json!({}),
            );
            assert_eq!(answer.data()[list]["totalCount"], expected, "{list}");
        }
    });
    checks.check(
        "SurrealQL counts the same supplies, from schemes and points",
        || {
            for (class, expected) in [("WaterSupplyScheme", 8_397), ("WaterPoint", 2_149)] {
                let text = format!(
                    "SELECT VALUE count() FROM supplies WHERE meta::tb(in) = '{class}' GROUP ALL"
                );
                let found = counted(twin, &text);
                println!("{found} supplies of {class}");
                assert_eq!(found, expected, "{class}");
            }
        },
    );
    checks.check(
        "seven schemes lie outside the district that they are counted to",
        || {
            let text = "SELECT VALUE count() FROM WaterSupplyScheme \
                    WHERE district != NONE AND district NOT IN ->locatedIn->District.name GROUP ALL";
            assert_eq!(counted(twin, text), 7);
        },
    );
    checks.check("a scheme says what it is made of and whom it supplies", || {
        let query = "{ twin(id: \"rw:water-scheme:1011\") { label ... on WaterSupplyScheme {
            status schemeType pipeLength operator locatedIn { label }
            supplies: related(relationship: \"supplies\", first: 1) { totalCount edges { node { class } } }
            parts: related(relationship: \"partOf\", direction: IN) { edges { node { class } } } } } }";
        let answer = twin.graphql(query, json!({}));
        let scheme = &answer.data()["twin"];
        assert_eq!(scheme["label"], "Kiruhura", "{scheme}");
        assert_eq!(scheme["pipeLength"], 9_372.19, "{scheme}");
        assert_eq!(scheme["operator"], "Regie des eaux Mageragere");
        assert_eq!(scheme["supplies"]["edges"][0]["node"]["class"], "Village");
        let parts = scheme["parts"].to_string();
        for class in ["Reservoir", "WaterSource"] {
            assert!(parts.contains(class), "{class}: {scheme}");
        }
    });
    checks.check("years and heights that cannot be are left out", || {
        for (class, property) in [
            ("Reservoir", "constructionYear"),
            ("WaterSource", "elevation"),
        ] {
            let text = format!(
                "SELECT VALUE count() FROM {class} WHERE {property} != NONE
                   AND ({property} < 900 OR {property} > 4600) GROUP ALL"
            );
            let answer = twin.surql(&text);
            assert!(answer.pointer("/0/0").is_none_or(|n| *n == 0), "{answer}");
        }
    });
}

#[test]
fn the_water_works_supply_the_villages() {
    let Some(data) = data() else {
        println!("skipped: TWIN_DATA names no source data, and there are no small facts of water");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    let (done, _) = import(&BEFORE, &data, &dir, false);
    assert_eq!(done.code, Some(0), "{}", done.err);

    let mut checks = Checks::new();
    let (dry, lines) = import(&WATER, &data, &dir, true);
    assert_eq!(dry.code, REFUSED, "{}", dry.err);
    let is_report = |line: &&Value| line.get("set").is_some();
    let tried: Vec<&Value> = lines.iter().filter(is_report).collect();
    let (done, made) = import(&WATER, &data, &dir, false);
    assert_eq!(done.code, REFUSED, "{}", done.err);
    for report in &made {
        println!("{} in {} ms", report["set"], report["elapsed_ms"]);
    }
    reports(&mut checks, &made);
    checks.check("the dry run counted what the import did", || {
        assert_eq!(tried.len(), made.len());
        for (tried, made) in tried.iter().zip(&made) {
            for key in ["classes", "related", "changes", "refused", "warnings"] {
                assert_eq!(tried[key], made[key], "{key} of {}", made["set"]);
            }
        }
        let differences = lines.len() - tried.len();
        let changes: u64 = made
            .iter()
            .filter_map(|report| report["changes"].as_u64())
            .sum();
        assert_eq!(differences as u64, changes);
    });

    let twin = Start::serve().dir(&dir).ready();
    answers(&mut checks, &twin);
    let position = twin.position().to_owned();
    drop(twin);
    let (_, again) = import(&WATER, &data, &dir, false);
    checks.check("the same sets again change nothing and say so", || {
        unchanged(&again);
    });
    let twin = Start::serve().dir(&dir).ready();
    checks.check("positions stay", || assert_eq!(twin.position(), position));
    checks.finish();
}
