//! A dry run says exactly what an import would do, and does nothing.

use super::*;
use crate::{Difference, dry_run};

/// The report of a dry run and what it told.
async fn tried(twin: &Twin, sets: &[&Set]) -> (Vec<Report>, Vec<Difference>) {
    let (mut reports, mut told) = (Vec::new(), Vec::new());
    let mut trial = twin.trial();
    for set in sets {
        let mapping = Arc::clone(&set.mapping);
        let tell = |difference: &Difference| told.push(difference.clone());
        let report = dry_run(&mut trial, mapping, &set.folders(), |_| {}, tell).await;
        reports.push(report.unwrap_or_else(|error| panic!("{error}")));
    }
    (reports, told)
}

/// The counts that a dry run and an import have to agree on.
fn counts(report: &Report) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        report.read,
        report.skipped,
        report.classes.clone(),
        (report.related, report.already_related, report.changes),
        (
            report.refused.by_kind.clone(),
            report.warnings.by_kind.clone(),
        ),
    )
}

#[tokio::test]
async fn differences_are_told_with_old_and_new_and_nothing_is_written() {
    let (twin, store) = with_store().await;
    let first = [square(1, 0.0, "10"), square(2, 1.0, "30")];
    Set::new("v.geojson", collection(&first), VILLAGES)
        .run(&twin)
        .await;
    // Nothing reaches the store from here on: a commit would fail and stop the twin.
    store.fail(Some(Fault::Engine));
    let position = twin.view().position();
    let moved = square(2, 1.5, "30");
    let set = Set::new(
        "v.geojson",
        collection(&[square(1, 0.0, "11"), moved, square(3, 2.0, "5")]),
        VILLAGES,
    );
    let (reports, told) = tried(&twin, &[&set]).await;
    let report = &reports[0];
    assert!(report.dry_run);
    assert_eq!(
        (
            report.created,
            report.updated,
            report.unchanged,
            report.changes
        ),
        (1, 2, 0, 3),
        "{report}"
    );
    assert!(
        report
            .to_string()
            .starts_with("dry run of test: 3 read, 1 created"),
        "{report}"
    );
    let lines: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "~ rw:village:1: population 10 -> 11",
            "~ rw:village:2: geometry \"Polygon of 5 vertices around [1.5, 0.5]\" -> \
             \"Polygon of 5 vertices around [2, 0.5]\"",
            "+ rw:village:3",
        ]
    );
    let json = told[0].to_json();
    assert_eq!(json["change"], "updated");
    assert_eq!(json["class"], "Village");
    assert_eq!(
        json["properties"]["population"],
        serde_json::json!({"old": 10, "new": 11})
    );
    assert_eq!(told[2].to_json()["properties"]["name"], "V3");
    assert_eq!(twin.view().position(), position);
    assert!(twin.view().find("rw:village:3").is_none());
    assert!(twin.stopped().is_none(), "something was written");
}

#[tokio::test]
async fn a_dry_run_counts_what_the_import_then_does() {
    let twin = with_villages().await;
    let bad = square(4, 3.0, "1").replace("[4,1],[3,1]", "[3,1],[4,1]");
    let villages = Set::new(
        "v.geojson",
        collection(&[
            square(1, 0.0, "11"),
            square(2, 1.0, "30"),
            bad,
            square(5, 4.0, "\"x\""),
        ]),
        VILLAGES,
    );
    // The second set looks for a village that only the first one makes.
    let posts = Set::new(
        "f.csv",
        "name,type,owner,dozens,x,y\nA,Post,Public,1,0.5,0.5\nB,Centre,CBO,2,4.5,0.5\n\
         C,Post,CBO,,9,9\nD,Clinic,CBO,1,0.5,0.5\n",
        POSTS,
    );
    let (dry, told) = tried(&twin, &[&villages, &posts]).await;
    let wet = [villages.run(&twin).await, posts.run(&twin).await];
    for (dry, wet) in dry.iter().zip(&wet) {
        assert_eq!(counts(dry), counts(wet), "{dry}\n{wet}");
    }
    let changes: u64 = wet.iter().map(|report| report.changes).sum();
    assert_eq!(told.len() as u64, changes);
    let related = told.iter().map(ToString::to_string);
    let related: Vec<String> = related.filter(|line| line.contains("locatedIn")).collect();
    assert_eq!(
        related,
        [
            "+ rw:facility:a locatedIn rw:village:1",
            "+ rw:facility:b locatedIn rw:village:5",
        ]
    );
    let (again, told) = tried(&twin, &[&villages, &posts]).await;
    assert!(told.is_empty(), "{told:?}");
    assert!(again.iter().all(|report| report.changes == 0));
}

#[tokio::test]
async fn a_relationship_that_moves_is_two_differences() {
    let twin = with_villages().await;
    let at = |x: &str| {
        let text = format!("name,type,owner,dozens,x,y\nA,Post,,1,{x},0.5\n");
        Set::new("f.csv", text, POSTS)
    };
    at("0.5").run(&twin).await;
    let (_, told) = tried(&twin, &[&at("1.5")]).await;
    let lines: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "~ rw:facility:a: geometry \"Point [0.5, 0.5]\" -> \"Point [1.5, 0.5]\"",
            "- rw:facility:a locatedIn rw:village:1",
            "+ rw:facility:a locatedIn rw:village:2",
        ]
    );
}

#[tokio::test]
async fn what_an_import_would_be_refused_for_is_refused_in_a_dry_run() {
    let twin = with_villages().await;
    let set = Set::new(
        "s.csv",
        "id\n1\n2\n",
        "[[twin]]\nclass = \"Sector\"\nid = \"rw:village:{id}\"\n",
    );
    let (dry, told) = tried(&twin, &[&set]).await;
    assert_eq!((dry[0].refused.count, told.len()), (2, 0), "{}", dry[0]);
    let reason = "`rw:village:1` is a Village, not a Sector";
    assert!(dry[0].to_string().contains(reason), "{}", dry[0]);
    assert_eq!(counts(&dry[0]), counts(&set.run(&twin).await));
}

#[tokio::test]
async fn an_import_that_was_cut_off_goes_on_with_what_is_missing() {
    let features: Vec<_> = (0..100).map(|n| square(n, f64::from(n), "1")).collect();
    let whole = collection(&features);
    let whole_twin = twin().await;
    let set = Set::new("v.geojson", &whole, VILLAGES);
    set.run(&whole_twin).await;

    let twin = twin().await;
    let cut = Set::new("v.geojson", &whole.as_bytes()[..whole.len() / 2], VILLAGES);
    let failure = import(&twin, Arc::clone(&cut.mapping), &cut.folders(), |_| {})
        .await
        .unwrap_err();
    let done = failure.report.created;
    assert!(done > 0 && done < 100, "{failure}");
    let before = twin.view();
    let report = set.run(&twin).await;
    assert_eq!(
        (report.unchanged, report.created, report.changes),
        (done, 100 - done, 100 - done),
        "{report}"
    );
    // What was done before the cut was not done again: its revisions stand, and the sum is the same.
    let view = twin.view();
    for village in before.scan(before.ontology().class_named("Village").unwrap().id, None) {
        let id = before.id(village);
        let now = view.twin(id).unwrap();
        assert_eq!(before.revision(village), view.revision(now), "{id}");
    }
    assert_eq!(view.position(), whole_twin.view().position());
}
