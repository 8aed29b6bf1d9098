//! The nation can be asked: what `twin demo` holds and answers, with source data and without.
//!
//! # Invariants
//! - Counts are those of the published sets, not of our importer.
//! - Every answer is checked against another way of asking: `SurrealQL`, another argument, or the
//!   complement.
#![expect(
    clippy::print_stdout,
    reason = "a figure that the log of a test run keeps"
)]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Checks, Rows, Start, Twin, data, rows, strings};

/// Published counts of the five levels.
const LEVELS: [(&str, u64); 5] = [
    ("provinces", 5),
    ("districts", 30),
    ("sectors", 416),
    ("cells", 2_148),
    ("villages", 14_814),
];
/// The largest page.
const PAGE: u64 = 1_000;
/// Health facilities in the WHO/KEMRI list, and how many of them an importer may refuse.
const FACILITIES: u64 = 572;
const REFUSED_MAX: u64 = 20;
/// Persons invented to live in real villages.
const PERSONS: u64 = 10_000;
/// Kigali's university teaching hospital.
const HOSPITAL: (f64, f64) = (30.0604, -1.9565);

fn point() -> Value {
    json!({ "lon": HOSPITAL.0, "lat": HOSPITAL.1 })
}

#[track_caller]
fn count(twin: &Twin, list: &str, arguments: &str) -> u64 {
    let query = format!("{{ {list}(first: 1{arguments}) {{ totalCount }} }}");
    let answer = twin.graphql(&query, json!({}));
    answer.data()[list]["totalCount"]
        .as_u64()
        .unwrap_or_default()
}

/// All ids that `list` gives, page by page.
#[track_caller]
fn walk(twin: &Twin, list: &str, arguments: &str, page: u64) -> Rows {
    let query = format!(
        "query($after: String) {{ {list}(first: {page}, after: $after{arguments}) {{
           totalCount edges {{ node {{ id class label }} }} pageInfo {{ hasNextPage endCursor }} }} }}"
    );
    let mut all = Rows {
        ids: vec![],
        nodes: vec![],
        total: None,
        next: None,
    };
    loop {
        let answer = twin.graphql(&query, json!({ "after": all.next }));
        let part = rows(&answer.data()[list]);
        assert!(
            part.ids.len() as u64 <= page,
            "a page of {}",
            part.ids.len()
        );
        assert!(
            part.next.is_none() || !part.ids.is_empty(),
            "an empty page that is not the last"
        );
        all.ids.extend(part.ids);
        all.nodes.extend(part.nodes);
        all.total = part.total;
        all.next = part.next;
        if all.next.is_none() {
            return all;
        }
    }
}

fn set(ids: &[String]) -> BTreeSet<String> {
    ids.iter().cloned().collect()
}

/// The id of the only district of that name.
#[track_caller]
fn district(twin: &Twin, name: &str) -> String {
    let query = "query($name: String) { districts(where: { name: { eq: $name } }) {
                   totalCount edges { node { id } } } }";
    let answer = twin.graphql(query, json!({ "name": name }));
    let mut found = rows(&answer.data()["districts"]);
    assert_eq!(
        found.ids.len(),
        1,
        "districts called {name}: {:?}",
        found.ids
    );
    found.ids.remove(0)
}

fn ids_of(list: &Value) -> Vec<String> {
    let rows = list.as_array().into_iter().flatten();
    rows.map(|row| row["id"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn counts(checks: &mut Checks, twin: &Twin) {
    checks.check("every level has its published number of areas", || {
        for (list, expected) in LEVELS {
            assert_eq!(count(twin, list, ""), expected, "{list}");
        }
    });
    checks.check("health facilities are the list's, less few refused", || {
        let facilities = count(twin, "healthFacilities", "");
        println!("{facilities} health facilities of {FACILITIES}");
        assert!(
            (FACILITIES - REFUSED_MAX..=FACILITIES).contains(&facilities),
            "{facilities}"
        );
    });
    checks.check("ten thousand synthetic persons live here", || {
        let answer = twin.surql("SELECT VALUE count() FROM Person GROUP ALL");
        assert!(
            answer.to_string().contains(&PERSONS.to_string()),
            "{answer}"
        );
    });
    checks.check("SurrealQL counts the same villages", || {
        let answer = twin.surql("SELECT VALUE count() FROM Village GROUP ALL");
        assert!(answer.to_string().contains("14814"), "{answer}");
    });
}

fn pages(checks: &mut Checks, twin: &Twin) {
    checks.check(
        "cursors walk all villages exactly once, at any page size",
        || {
            let all = walk(twin, "villages", "", PAGE);
            assert_eq!(all.ids.len(), 14_814);
            assert_eq!(set(&all.ids).len(), 14_814, "an id came twice");
            assert_eq!(all.total, Some(14_814));
            assert!(all.nodes.iter().all(|node| node["class"] == "Village"));
            // Another page size meets other boundaries between pages.
            assert_eq!(walk(twin, "villages", "", 337).ids, all.ids);
        },
    );
    checks.check(
        "an order holds over pages, and changes nothing else",
        || {
            let by_name = walk(twin, "sectors", ", orderBy: [{ name: DESC }]", 100);
            let names: Vec<&str> = by_name
                .nodes
                .iter()
                .filter_map(|node| node["label"].as_str())
                .collect();
            assert_eq!(names.len(), 416);
            assert!(names.is_sorted_by(|a, b| a >= b), "{names:?}");
            assert_eq!(set(&by_name.ids), set(&walk(twin, "sectors", "", 100).ids));
        },
    );
    checks.check("the last page says that it is the last", || {
        let query = "{ provinces(first: 5) { edges { node { id } } pageInfo { hasNextPage } } }";
        let answer = twin.graphql(query, json!({}));
        assert_eq!(rows(&answer.data()["provinces"]).next, None);
        assert_eq!(rows(&answer.data()["provinces"]).ids.len(), 5);
    });
    checks.check(
        "a twin is found by its id, and is null where there is none",
        || {
            let id = district(twin, "Nyagatare");
            let query = "query($id: ID!) { twin(id: $id) { id class label revision geometry }
                                       none: twin(id: \"rw:nowhere\") { id } }";
            let answer = twin.graphql(query, json!({ "id": id }));
            let found = &answer.data()["twin"];
            assert_eq!(found["id"], id.as_str());
            assert_eq!(found["class"], "District");
            assert_eq!(found["label"], "Nyagatare");
            assert!(
                found["revision"]
                    .as_str()
                    .is_some_and(|revision| revision.contains(':'))
            );
            let kind = found["geometry"]["type"].as_str();
            assert!(matches!(kind, Some("Polygon" | "MultiPolygon")), "{kind:?}");
            assert!(answer.data()["none"].is_null());
        },
    );
}

fn conditions(checks: &mut Checks, twin: &Twin) {
    checks.check("a condition and its complement are the whole", || {
        let all = count(twin, "villages", "");
        let many = count(twin, "villages", ", where: { population: { gte: 800 } }");
        let few = count(twin, "villages", ", where: { population: { lt: 800 } }");
        let unknown = count(
            twin,
            "villages",
            ", where: { population: { isNull: true } }",
        );
        assert!(many > 0 && few > 0, "{many} and {few}");
        assert_eq!(many + few + unknown, all);
        let negated = count(
            twin,
            "villages",
            ", where: { not: { population: { gte: 800 } } }",
        );
        assert_eq!(
            negated,
            few + unknown,
            "not holds where the condition does not"
        );
    });
    checks.check(
        "or adds what is apart, and between includes both ends",
        || {
            let apart =
                ", where: { or: [{ population: { lt: 100 } }, { population: { gt: 2000 } }] }";
            let low = count(twin, "villages", ", where: { population: { lt: 100 } }");
            let high = count(twin, "villages", ", where: { population: { gt: 2000 } }");
            assert_eq!(count(twin, "villages", apart), low + high);
            let between = count(
                twin,
                "villages",
                ", where: { population: { between: [100, 2000] } }",
            );
            let unknown = count(
                twin,
                "villages",
                ", where: { population: { isNull: true } }",
            );
            assert_eq!(between + low + high + unknown, 14_814);
        },
    );
    checks.check("SurrealQL agrees on a condition", || {
        let answer =
            twin.surql("SELECT VALUE count() FROM Village WHERE population >= 800 GROUP ALL");
        let many = count(twin, "villages", ", where: { population: { gte: 800 } }");
        assert!(
            answer.to_string().contains(&many.to_string()),
            "{many} against {answer}"
        );
    });
    checks.check(
        "names can be asked for by their beginning and their middle",
        || {
            let found = walk(
                twin,
                "sectors",
                ", where: { name: { startsWith: \"Kig\" } }",
                100,
            );
            assert!(!found.ids.is_empty());
            let starts = |node: &Value| {
                node["label"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("Kig"))
            };
            assert!(found.nodes.iter().all(starts), "{:?}", found.nodes);
            let within = count(twin, "sectors", ", where: { name: { contains: \"gali\" } }");
            assert!(within > 0);
            let listed = ", where: { name: { in: [\"Nyagatare\", \"Gasabo\", \"Atlantis\"] } }";
            assert_eq!(count(twin, "districts", listed), 2);
        },
    );
}

fn places(checks: &mut Checks, twin: &Twin) {
    checks.check(
        "a point lies in one area of each level, each within the next",
        || {
            let query = "query($point: PointInput!) {
            all: containing(point: $point) { id class label }
            village: containing(point: $point, class: \"Village\") { id class } }";
            let answer = twin.graphql(query, json!({ "point": point() }));
            for class in ["Province", "District", "Sector", "Cell", "Village"] {
                let all = answer.data()["all"].as_array();
                let found = all
                    .into_iter()
                    .flatten()
                    .filter(|area| area["class"] == class)
                    .count();
                assert_eq!(found, 1, "{class} in {}", answer.body);
            }
            assert!(
                strings(answer.data()).contains("Nyarugenge"),
                "{}",
                answer.body
            );
            assert_eq!(
                ids_of(&answer.data()["village"]).len(),
                1,
                "{}",
                answer.body
            );
        },
    );
    checks.check("a radius and the nearest tell the same facilities", || {
        let space = "space: { radius: { center: { lon: 30.0604, lat: -1.9565 }, metres: 10000 } }";
        let near = walk(twin, "healthFacilities", &format!(", {space}"), PAGE);
        assert!(
            near.ids.len() > 10,
            "{} facilities within 10 km of Kigali's centre",
            near.ids.len()
        );
        let query = "query($point: PointInput!, $k: Int) {
            nearest(class: \"HealthFacility\", to: $point, k: $k) { twin { id } metres } }";
        let k = near.ids.len() + 1;
        let answer = twin.graphql(query, json!({ "point": point(), "k": k }));
        let found = answer.data()["nearest"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let metres: Vec<f64> = found
            .iter()
            .filter_map(|near| near["metres"].as_f64())
            .collect();
        assert_eq!(metres.len(), k);
        assert!(metres.is_sorted(), "{metres:?}");
        assert!(
            metres[k - 2] <= 10_000.0 && metres[k - 1] > 10_000.0,
            "{metres:?}"
        );
        let ids: Vec<String> = found[..k - 1]
            .iter()
            .map(|near| near["twin"]["id"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(set(&ids), set(&near.ids));
    });
    checks.check(
        "a box and the polygon of its corners hold the same villages",
        || {
            let ring = "[[30.0, -2.0], [30.2, -2.0], [30.2, -1.9], [30.0, -1.9], [30.0, -2.0]]";
            let polygon = format!("{{ type: \"Polygon\", coordinates: [{ring}] }}");
            for relation in ["INTERSECTS", "WITHIN"] {
                let boxed =
                    format!(", space: {{ box: [30.0, -2.0, 30.2, -1.9], relation: {relation} }}");
                let drawn = format!(", space: {{ polygon: {polygon}, relation: {relation} }}");
                let boxed = walk(twin, "villages", &boxed, PAGE);
                assert!(boxed.ids.len() > 50, "{relation}: {}", boxed.ids.len());
                assert_eq!(
                    set(&boxed.ids),
                    set(&walk(twin, "villages", &drawn, PAGE).ids),
                    "{relation}"
                );
            }
        },
    );
    checks.check("what is inside a district is what lies in its boundary", || {
        let id = district(twin, "Nyarugenge");
        let inside = format!(", space: {{ inside: \"{id}\" }}");
        let found = walk(twin, "healthFacilities", &inside, PAGE);
        assert!(!found.ids.is_empty());
        let query = "query($id: ID!) { twin(id: $id) { geometry } }";
        let answer = twin.graphql(query, json!({ "id": id }));
        let shape = &answer.data()["twin"]["geometry"];
        let query = "query($shape: Geometry!) { healthFacilities(first: 1000, space: { polygon: $shape }) {
                       edges { node { id } } } }";
        let answer = twin.graphql(query, json!({ "shape": shape }));
        assert_eq!(set(&rows(&answer.data()["healthFacilities"]).ids), set(&found.ids));
    });
}

fn relations(checks: &mut Checks, twin: &Twin) {
    checks.check(
        "the same traversal in SurrealQL and in the API agrees",
        || {
            let id = district(twin, "Nyagatare");
            let query = "query($id: ID!) { twin(id: $id) {
            related(relationship: \"partOf\", direction: IN, first: 1000) {
              totalCount edges { node { id class label } } } } }";
            let answer = twin.graphql(query, json!({ "id": id }));
            let ours = rows(&answer.data()["twin"]["related"]);
            assert!(ours.ids.len() > 5, "{}", answer.body);
            assert!(
                ours.nodes.iter().all(|node| node["class"] == "Sector"),
                "{}",
                answer.body
            );
            let names: BTreeSet<String> = ours
                .nodes
                .iter()
                .flat_map(|node| strings(&node["label"]))
                .collect();
            let theirs = twin.surql(&format!(
                "SELECT VALUE <-partOf<-Sector.name FROM District:⟨{id}⟩"
            ));
            let theirs = strings(&theirs);
            assert!(names.is_subset(&theirs), "{names:?} against {theirs:?}");
            // Whatever frames the answer, a sector too many would be a name too many.
            let sectors = walk(twin, "sectors", "", PAGE);
            let all: BTreeSet<String> = sectors
                .nodes
                .iter()
                .flat_map(|node| strings(&node["label"]))
                .collect();
            let named: BTreeSet<String> = theirs.intersection(&all).cloned().collect();
            assert_eq!(named, names);
        },
    );
    checks.check("from a village up to its province and back is where it began", || {
        let query = "query($point: PointInput!) { containing(point: $point, class: \"Village\") {
            id related(relationship: \"partOf\", first: 1) { edges { node { class
               related(relationship: \"partOf\", first: 1) { edges { node { class
                 related(relationship: \"partOf\", first: 1) { edges { node { class
                   related(relationship: \"partOf\", first: 1) { edges { node { class label } } } } } } } } } } } } } }";
        let answer = twin.graphql(query, json!({ "point": point() }));
        let text = answer.data().to_string();
        for class in ["Cell", "Sector", "District", "Province"] {
            assert_eq!(text.matches(&format!("\"{class}\"")).count(), 1, "{class} in {text}");
        }
        assert!(text.contains("Kigali"), "{text}");
    });
    checks.check(
        "a facility is located in the village whose boundary holds it",
        || {
            let query = "query($point: PointInput!) {
            nearest(class: \"HealthFacility\", to: $point, k: 1) { twin { id geometry
              related(relationship: \"locatedIn\") { edges { node { id class } } } } } }";
            let answer = twin.graphql(query, json!({ "point": point() }));
            let facility = &answer.data()["nearest"][0]["twin"];
            let located = rows(&facility["related"]).ids;
            let at = &facility["geometry"]["coordinates"];
            let query = "query($point: PointInput!) { containing(point: $point) { id } }";
            let answer = twin.graphql(query, json!({ "point": { "lon": at[0], "lat": at[1] } }));
            let holding = ids_of(&answer.data()["containing"]);
            assert_eq!(located.len(), 1, "{facility}");
            assert!(
                holding.contains(&located[0]),
                "{located:?} is none of {holding:?}"
            );
        },
    );
}

fn institutions(checks: &mut Checks, twin: &Twin) {
    checks.check("most facilities are operated by the Ministry of Health", || {
        let query = "{ institutions(where: { name: { eq: \"Ministry of Health\" } }) { edges { node { id
            related(relationship: \"operates\", first: 1) { totalCount } } } } }";
        let answer = twin.graphql(query, json!({}));
        let ministry = rows(&answer.data()["institutions"]);
        assert_eq!(ministry.ids.len(), 1, "{}", answer.body);
        let operated = ministry.nodes[0]["related"]["totalCount"].as_u64();
        assert!(operated.is_some_and(|operated| operated > 500), "{}", answer.body);
    });
    checks.check("every person is marked as invented and lives in a village", || {
        let query = "{ all: persons(first: 1) { totalCount }
            invented: persons(first: 50, where: { synthetic: { eq: true } }) { totalCount edges { node { id
              related(relationship: \"residesIn\") { edges { node { id class } } } } } } }";
        let answer = twin.graphql(query, json!({}));
        assert_eq!(answer.data()["all"]["totalCount"], PERSONS);
        let invented = rows(&answer.data()["invented"]);
        assert_eq!(invented.total, Some(PERSONS));
        for person in &invented.nodes {
            assert_eq!(person["related"]["edges"][0]["node"]["class"], "Village", "{person}");
        }
    });
}

/// Of areas that share a name the widest is meant; without boundaries, the rarest kind.
fn search(checks: &mut Checks, twin: &Twin) {
    checks.check("a district is the first that its name finds", || {
        let districts = walk(twin, "districts", "", 30);
        assert_eq!(districts.nodes.len(), 30);
        let query =
            "query($text: String!) { search(text: $text, first: 3) { matched twin { id } } }";
        for district in &districts.nodes {
            let answer = twin.graphql(query, json!({ "text": district["label"] }));
            let first = &answer.data()["search"][0];
            assert_eq!(first["matched"], "EXACT", "{}", answer.body);
            assert_eq!(first["twin"]["id"], district["id"], "{}", answer.body);
        }
    });
}

fn doors(checks: &mut Checks, twin: &Twin) {
    checks.check("every answer says of which instant it speaks", || {
        let answer = twin.graphql("{ position provinces { totalCount } }", json!({}));
        assert_eq!(
            answer.data()["position"].as_str(),
            Some(answer.position().as_str())
        );
        let (lane, offset) = twin.position().split_once(':').unwrap_or_default();
        assert_eq!(lane, "main");
        assert!(
            offset.parse::<u64>().is_ok_and(|offset| offset > 0),
            "{}",
            twin.position()
        );
    });
    checks.check(
        "the start page, the console, health and metrics are there",
        || {
            for path in ["/", "/graphql", "/healthz", "/readyz"] {
                let (status, body) = twin.get(path);
                assert_eq!(status, 200, "{path}: {body}");
            }
            let (status, metrics) = twin.get("/metrics");
            assert_eq!(status, 200);
            assert!(
                metrics
                    .lines()
                    .filter(|line| line.starts_with("# TYPE "))
                    .count()
                    > 5,
                "{metrics}"
            );
        },
    );
    checks.check("the console loads nothing from elsewhere", || {
        let (_, page) = twin.get("/graphql");
        for tag in ["src=\"http", "href=\"http", "src=\"//", "href=\"//"] {
            assert!(!page.contains(tag), "the page asks another server: {tag}");
        }
    });
    checks.check(
        "the schema describes itself, and every type says what it is for",
        || {
            let query = "{ __type(name: \"Village\") { description fields { name description } } }";
            let answer = twin.graphql(query, json!({}));
            let village = &answer.data()["__type"];
            assert!(
                village["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{village}"
            );
            assert!(strings(village).contains("population"), "{village}");
        },
    );
}

#[test]
fn the_nation_can_be_asked() {
    let Some(data) = data() else {
        println!(
            "skipped: TWIN_DATA names no source data; without_data_the_small_facts_stand covers the rest"
        );
        return;
    };
    let mut twin = Start::demo().data(&data).ready();
    let mut checks = Checks::new();
    counts(&mut checks, &twin);
    pages(&mut checks, &twin);
    conditions(&mut checks, &twin);
    places(&mut checks, &twin);
    relations(&mut checks, &twin);
    institutions(&mut checks, &twin);
    search(&mut checks, &twin);
    doors(&mut checks, &twin);

    let position = twin.graphql("{ position }", json!({})).position();
    checks.check("one interrupt ends it cleanly", || {
        println!("ended in {:?}", twin.interrupt());
    });
    checks.check("started again on the same data, nothing changes", || {
        let again = Start::demo().data(&data).dir(twin.dir()).ready();
        assert_eq!(again.position(), position);
        for (list, expected) in LEVELS {
            assert_eq!(count(&again, list, ""), expected, "{list}");
        }
    });
    checks.finish();
}

#[test]
fn without_data_the_small_facts_stand() {
    let folder = tempfile::tempdir().unwrap();
    let twin = Start::demo().data(&folder.path().join("none")).ready();
    let mut checks = Checks::new();
    checks.check(
        "provinces, districts and hospitals are those of seeds/rwanda",
        || {
            assert_eq!(count(&twin, "provinces", ""), 5);
            assert_eq!(count(&twin, "districts", ""), 30);
            assert_eq!(count(&twin, "healthFacilities", ""), 15);
        },
    );
    checks.check("a district knows its province", || {
        let id = district(&twin, "Nyagatare");
        let query = "query($id: ID!) { twin(id: $id) {
            related(relationship: \"partOf\") { edges { node { class label } } } } }";
        let answer = twin.graphql(query, json!({ "id": id }));
        assert!(
            strings(answer.data()).contains("Eastern Province"),
            "{}",
            answer.body
        );
    });
    search(&mut checks, &twin);
    checks.check("it says that data is missing and where to get it", || {
        let log = twin.log();
        assert!(log.contains("datasets.toml"), "{log}");
    });
    checks.finish();
}
