//! Schools, early childhood centres and offices of the Eastern Province: their counts, where they are
//! and what brings them water.
//!
//! # Invariants
//! - Counts are those of the published file, by SQL; which grounds hold which was counted beside it with
//!   shapely, whose middle of one centre at a fence lies outside (760).
#![expect(
    clippy::print_stdout,
    reason = "a figure that the log of a test run keeps"
)]

use serde_json::{Value, json};
use tests::{Checks, Start, Twin, counted, data, import, kinds, says, unchanged};

/// What the sets stand on.
const BEFORE: [&str; 4] = [
    "rwanda-administration",
    "rwanda-institutions",
    "rwanda-water-schemes",
    "rwanda-water-scheme-points",
];
/// The sets, in order.
const SETS: [&str; 3] = [
    "rwanda-schools",
    "rwanda-early-childhood-centres",
    "rwanda-offices",
];
const SCHOOLS: u64 = 1_179;
const CAMPUSES: u64 = 7;
const CENTRES: u64 = 1_466;
/// Centres at schools, and those of them that lie in the grounds of one.
const AT_SCHOOLS: u64 = 943;
const IN_SCHOOLS: u64 = 761;
const OFFICES: u64 = 606;
/// One office has no geometry.
const OFFICES_PLACED: u64 = 605;
/// Those connected to a scheme that is there, set by set, and to one that is not.
const SUPPLIED: [u64; 3] = [262, 219, 57];
const ORPHANS: [u64; 3] = [111, 116, 20];

fn reports(checks: &mut Checks, reports: &[Value]) {
    checks.check("every school and campus is there, in its village", || {
        let all = SCHOOLS + CAMPUSES;
        says(&reports[0], SETS[0], [all, all, all + SUPPLIED[0], 0]);
        assert_eq!(reports[0]["classes"]["School"]["created"], SCHOOLS);
    });
    checks.check(
        "numbers in the wrong column and unknown schemes are told",
        || {
            let range = "a number out of the mapping's range";
            let scheme = "a relationship that cannot be";
            kinds(
                &reports[0],
                "warnings",
                &[(range, 11), (scheme, ORPHANS[0])],
            );
            kinds(&reports[1], "warnings", &[(range, 5), (scheme, ORPHANS[1])]);
            kinds(&reports[2], "warnings", &[(scheme, ORPHANS[2])]);
        },
    );
    checks.check("centres at schools are part of them, or told", || {
        let related = CENTRES + IN_SCHOOLS + SUPPLIED[1];
        says(&reports[1], SETS[1], [CENTRES, CENTRES, related, 0]);
        let told = ("in no area of the kind", AT_SCHOOLS - IN_SCHOOLS);
        kinds(&reports[1], "warnings", &[told]);
    });
    checks.check("an office without geometry is there and told", || {
        let related = OFFICES_PLACED + SUPPLIED[2];
        says(&reports[2], SETS[2], [OFFICES, OFFICES, related, 0]);
        kinds(
            &reports[2],
            "warnings",
            &[("no geometry", 1), ("no position", 1)],
        );
    });
}

fn answers(checks: &mut Checks, twin: &Twin) {
    let count = |list: &str, arguments: &str| {
        let query = format!("{{ {list}(first: 1{arguments}) {{ totalCount }} }}");
        let answer = twin.graphql(&query, json!({}));
        answer.data()[list]["totalCount"].as_u64()
    };
    checks.check("every kind can be listed", || {
        for (list, expected) in [
            ("schools", SCHOOLS),
            ("higherEducationFacilities", CAMPUSES),
            ("earlyChildhoodCentres", CENTRES),
            ("educationFacilities", SCHOOLS + CAMPUSES + CENTRES),
            ("administrativeOffices", OFFICES),
        ] {
            assert_eq!(count(list, ""), Some(expected), "{list}");
        }
    });
    checks.check("levels are those of the source", || {
        for (level, expected) in [
            ("nursery", 18),
            ("nurseryAndPrimary", 1),
            ("primary", 644),
            ("primaryAndSecondary", 3),
            ("secondary", 455),
            ("vocational", 58),
        ] {
            let level = format!(", where: {{ level: {{ eq: {level} }} }}");
            assert_eq!(count("schools", &level), Some(expected), "{level}");
        }
        let of_cells = ", where: { level: { eq: cell } }";
        assert_eq!(count("administrativeOffices", of_cells), Some(500));
    });
    checks.check("all that wait for water are one question", || {
        let dry = ", where: { waterConnected: { eq: false } }";
        assert_eq!(count("staffedFacilities", dry), Some(409 + 786 + 474));
        let unknown = ", where: { waterConnected: { isNull: true } }";
        assert_eq!(count("earlyChildhoodCentres", unknown), Some(1));
    });
    checks.check("SurrealQL counts the same supplies and parts", || {
        for (class, expected) in [
            ("School", SUPPLIED[0]),
            ("EarlyChildhoodCentre", SUPPLIED[1]),
            ("AdministrativeOffice", SUPPLIED[2]),
        ] {
            let text = format!(
                "SELECT VALUE count() FROM supplies WHERE meta::tb(out) = '{class}' GROUP ALL"
            );
            let found = counted(twin, &text);
            println!("{found} supplies of {class}");
            assert_eq!(found, expected, "{class}");
        }
        let text = "SELECT VALUE count() FROM partOf WHERE meta::tb(in) = 'EarlyChildhoodCentre' GROUP ALL";
        assert_eq!(counted(twin, text), IN_SCHOOLS);
    });
    checks.check("a school says where it is and what brings it water", || {
        let query = "{ twin(id: \"rw:school:east-484\") { label geometry ... on School {
            level learners staff waterConnected waterConnectionWorks waterRegular source licence
            locatedIn { label }
            supplied: related(relationship: \"supplies\", direction: IN) { edges { node { id class } } } } } }";
        let answer = twin.graphql(query, json!({}));
        let school = &answer.data()["twin"];
        assert_eq!(school["label"], "GS KIBIMBA", "{school}");
        assert_eq!(school["geometry"]["type"], "Polygon");
        assert_eq!(school["level"], "secondary");
        assert_eq!((&school["learners"], &school["staff"]), (&json!(1_128), &json!(46)));
        for yes in ["waterConnected", "waterConnectionWorks", "waterRegular"] {
            assert_eq!(school[yes], true, "{yes}");
        }
        assert_eq!(school["licence"], "CC-BY-4.0");
        assert!(school["locatedIn"]["label"].is_string(), "{school}");
        let scheme = &school["supplied"]["edges"][0]["node"];
        assert_eq!(scheme["id"], "rw:water-scheme:5063", "{school}");
    });
    checks.check("names of the outlines are whole", || {
        assert_eq!(
            count("schools", ", where: { name: { contains: \"François\" } }"),
            Some(1)
        );
        assert_eq!(
            count("schools", ", where: { name: { contains: \"\u{ff83}\" } }"),
            Some(0)
        );
    });
}

#[test]
fn the_schools_know_their_village_and_their_water() {
    let Some(data) = data() else {
        println!(
            "skipped: TWIN_DATA names no source data, and there are no small facts of schools"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    import(&BEFORE, &data, &dir, false);

    let mut checks = Checks::new();
    let (done, made) = import(&SETS, &data, &dir, false);
    assert_eq!(done.code, Some(0), "{}", done.err);
    for report in &made {
        println!("{} in {} ms", report["set"], report["elapsed_ms"]);
    }
    reports(&mut checks, &made);
    let twin = Start::serve().dir(&dir).ready();
    answers(&mut checks, &twin);
    let position = twin.position().to_owned();
    drop(twin);
    let (_, again) = import(&SETS, &data, &dir, false);
    checks.check("the same sets again change nothing and say so", || {
        unchanged(&again);
    });
    let twin = Start::serve().dir(&dir).ready();
    checks.check("positions stay", || assert_eq!(twin.position(), position));
    checks.finish();
}
