//! What must be refused, and how clearly: each case with its error and nothing broken after it.
//!
//! # Invariants
//! - A refusal says what is wrong and how to mend it; tests look for the name of the thing.
//! - After every refused request the same twin still answers.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use serde_json::json;
use tests::{Checks, Refusal, Start, Twin, until};

/// Bad usage or configuration.
const USAGE: Option<i32> = Some(2);

#[track_caller]
fn says(refusal: &Refusal, words: &[&str]) {
    let text = refusal.text.to_lowercase();
    for word in words {
        assert!(
            text.contains(&word.to_lowercase()),
            "does not say {word:?}:\n{}",
            refusal.text
        );
    }
    assert!(!text.contains("panicked"), "panicked:\n{}", refusal.text);
}

fn alive(twin: &Twin) {
    assert_eq!(twin.get("/healthz").0, 200, "it no longer answers");
}

#[test]
fn bad_requests_get_clear_errors() {
    let mut twin = Start::serve().ready();
    let mut checks = Checks::new();
    let http = twin.http().to_owned();

    checks.check("a foreign Host header is refused", || {
        let request = |host: &str| {
            twin.raw(&format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            ))
        };
        assert_eq!(request(&http), Some(200), "our own address is welcome");
        let foreign = request("twin.example.com");
        assert!(matches!(foreign, Some(403 | 421)), "{foreign:?}");
        let disguised = request(&format!("{http}.example.com"));
        assert!(matches!(disguised, Some(400 | 403 | 421)), "{disguised:?}");
    });

    checks.check("a foreign Origin header is refused", || {
        let status = twin.raw(&format!(
            "POST /graphql HTTP/1.1\r\nHost: {http}\r\nOrigin: https://example.com\r\n\
             Content-Type: application/json\r\nContent-Length: 26\r\nConnection: close\r\n\r\n\
             {{\"query\":\"{{ position }}\"}} "
        ));
        assert!(matches!(status, Some(403 | 421)), "{status:?}");
    });

    checks.check("a malformed query is refused with its place", || {
        let answer = twin.graphql("{ villages(first: { edges }", json!({}));
        assert_eq!(answer.error().0, "INVALID_INPUT", "{}", answer.body);
        assert!(
            answer.body["errors"][0]["locations"][0]["line"].is_u64(),
            "{}",
            answer.body
        );
    });

    checks.check("an unknown field is refused with a suggestion", || {
        let answer = twin.graphql(
            "{ villages(first: 1) { edges { node { populaton } } } }",
            json!({}),
        );
        assert_eq!(answer.error().0, "UNKNOWN_NAME", "{}", answer.body);
        assert!(
            answer.suggests("population"),
            "no suggestion: {}",
            answer.body
        );
    });

    checks.check(
        "an unknown property in a condition is refused with a suggestion",
        || {
            let query = "{ villages(first: 1, where: { populaton: { gt: 5 } }) { totalCount } }";
            let answer = twin.graphql(query, json!({}));
            answer.error();
            assert!(
                answer.suggests("population"),
                "no suggestion: {}",
                answer.body
            );
        },
    );

    checks.check("a condition of the wrong type is refused", || {
        let query =
            "{ villages(first: 1, where: { population: { gt: \"many\" } }) { totalCount } }";
        assert_eq!(twin.graphql(query, json!({})).error().0, "INVALID_INPUT");
    });

    checks.check("a page larger than the limit is refused", || {
        let answer = twin.graphql("{ villages(first: 1001) { totalCount } }", json!({}));
        let (code, message) = answer.error();
        assert!(
            matches!(code, "INVALID_INPUT" | "LIMITED" | "TOO_COSTLY"),
            "{}",
            answer.body
        );
        assert!(
            message.contains("1000") || message.contains("1,000"),
            "names no limit: {message}"
        );
    });

    checks.check("a cursor that nobody gave out is refused", || {
        let answer = twin.graphql(
            "{ villages(after: \"mischief\") { totalCount } }",
            json!({}),
        );
        assert_eq!(answer.error().0, "INVALID_INPUT", "{}", answer.body);
    });

    checks.check("a point outside the world is refused", || {
        let query = "{ containing(point: { lon: 230.0, lat: -1.9 }) { id } }";
        assert_eq!(twin.graphql(query, json!({})).error().0, "INVALID_INPUT");
    });

    checks.check("two kinds of space at once are refused", || {
        let query =
            "{ villages(space: { box: [29, -3, 31, -1], cells: [\"851\"] }) { totalCount } }";
        assert_eq!(twin.graphql(query, json!({})).error().0, "INVALID_INPUT");
    });

    checks.check("a query of absurd depth is refused, not obeyed", || {
        let deep = format!(
            "{{ twin(id: \"x\") {{ {}id{} }} }}",
            "related { edges { node { ".repeat(60),
            " } } }".repeat(60)
        );
        let answer = twin.graphql(&deep, json!({}));
        assert!(matches!(
            answer.error().0,
            "TOO_COSTLY" | "LIMITED" | "INVALID_INPUT"
        ));
    });

    checks.check("a body that is not JSON is refused", || {
        let (status, _) = twin.post("/graphql", "application/json", "{ not json");
        assert!((400..500).contains(&status), "{status}");
    });

    checks.check("an oversized body is refused", || {
        // Refused by what it announces: nothing of it is read.
        let status = twin.raw(&format!(
            "POST /graphql HTTP/1.1\r\nHost: {http}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            40 << 20
        ));
        assert!(matches!(status, Some(400 | 413)), "{status:?}");
    });

    checks.check("SurrealQL that writes is refused", || {
        let (status, _) = twin.post("/surql", "text/plain", "CREATE District:x SET name = 'x'");
        assert!((400..500).contains(&status), "{status}");
        let (status, _) = twin.post("/surql", "text/plain", "REMOVE TABLE Village");
        assert!((400..500).contains(&status), "{status}");
    });

    checks.check("after all of that it answers as before", || {
        alive(&twin);
        twin.graphql("{ position }", json!({})).data();
    });
    checks.check("and ends cleanly", || {
        twin.interrupt();
    });
    checks.finish();
}

#[test]
fn asked_to_end_twice_it_ends_at_once() {
    let mut twin = Start::serve().ready();
    // An answer under way that never ends by itself: its request never does.
    let mut request = TcpStream::connect(twin.http()).unwrap();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        twin.http()
    );
    request.write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(&request).read_line(&mut line).unwrap();
    assert!(line.contains("100 Continue"), "{line}");
    twin.signal("TERM");
    let said = |word: &str| twin.log().contains(word).then_some(());
    until("it says that it drains", Duration::from_mins(1), || {
        said("draining")
    });
    assert!(twin.running(), "{}", twin.log());
    twin.signal("TERM");
    assert_eq!(twin.ended("asked twice"), Some(1));
    assert!(twin.log().contains("twice"), "{}", twin.log());
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refusal = Start::bare("serve")
        .arg("--http")
        .arg(&address)
        .arg("--mqtt")
        .arg("127.0.0.1:0")
        .refused();
    assert_ne!(refusal.code, Some(0), "{}", refusal.text);
    says(&refusal, &[&address]);
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let first = Start::serve().ready();
    let refusal = Start::serve().dir(first.dir()).refused();
    assert_ne!(refusal.code, Some(0), "{}", refusal.text);
    says(&refusal, &[&first.dir().display().to_string()]);
    alive(&first);
}

#[test]
fn a_remote_bind_without_tls_is_refused() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refusal = Start::bare("serve")
            .arg("--http")
            .arg(address)
            .arg("--mqtt")
            .arg("127.0.0.1:0")
            .refused();
        assert_eq!(refusal.code, USAGE, "{}", refusal.text);
        says(&refusal, &["TLS"]);
    }
    let refusal = Start::bare("serve")
        .arg("--http")
        .arg("127.0.0.1:0")
        .arg("--mqtt")
        .arg("0.0.0.0:0")
        .refused();
    assert_eq!(refusal.code, USAGE, "{}", refusal.text);
    says(&refusal, &["TLS"]);
}

#[test]
fn an_unknown_flag_or_command_is_refused_with_a_suggestion() {
    let refusal = Start::serve().arg("--htpp").arg("127.0.0.1:0").refused();
    assert_eq!(refusal.code, USAGE, "{}", refusal.text);
    says(&refusal, &["--http"]);
}

#[test]
fn an_unknown_configuration_key_is_refused_with_a_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twin.toml");
    std::fs::write(&file, "[http]\nlitsen = \"127.0.0.1:0\"\n").unwrap();
    let refusal = Start::serve().arg("--config").arg(&file).refused();
    assert_eq!(refusal.code, USAGE, "{}", refusal.text);
    says(&refusal, &["litsen", "listen"]);
}
