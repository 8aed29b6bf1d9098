//! Speaking HTTP to a twin, and reading what it says.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::Twin;

/// How long one request may take before the test calls it hung.
const REQUEST_WITHIN: Duration = Duration::from_mins(1);
/// The largest answer that a test reads.
const ANSWER_MAX_BYTES: u64 = 64 << 20;
/// The codes that an error may carry.
const CODES: [&str; 12] = [
    "INVALID_INPUT",
    "UNKNOWN_NAME",
    "NOT_FOUND",
    "CONFLICT",
    "VIOLATION",
    "FORBIDDEN",
    "UNAUTHENTICATED",
    "TOO_COSTLY",
    "LIMITED",
    "UNAVAILABLE",
    "TIMEOUT",
    "INTERNAL",
];

/// What a GraphQL request was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Value,
}

impl Answer {
    /// The data of an answer without errors.
    #[track_caller]
    pub fn data(&self) -> &Value {
        assert!(
            self.status == 200 && self.body.get("errors").is_none(),
            "refused with status {}: {}",
            self.status,
            self.body
        );
        &self.body["data"]
    }

    /// The first error's code and message, of an answer that must have one, with a code from the
    /// closed list.
    #[track_caller]
    pub fn error(&self) -> (&str, &str) {
        let error = &self.body["errors"][0];
        let code = error["extensions"]["code"].as_str().unwrap_or("none");
        assert!(
            CODES.contains(&code),
            "an error without a code of the closed list: status {}, {}",
            self.status,
            self.body
        );
        (code, error["message"].as_str().unwrap_or_default())
    }

    /// Whether the first error suggests `name`, in its text or beside it.
    pub fn suggests(&self, name: &str) -> bool {
        let error = &self.body["errors"][0];
        strings(error).iter().any(|text| text.contains(name))
    }

    /// The instant that this answer speaks of.
    #[track_caller]
    pub fn position(&self) -> String {
        self.body["extensions"]["position"]
            .as_str()
            .unwrap_or_else(|| panic!("an answer without extensions.position: {}", self.body))
            .to_owned()
    }
}

/// A page of a connection.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Ids in the order given.
    pub ids: Vec<String>,
    /// The nodes.
    pub nodes: Vec<Value>,
    /// `totalCount`, where asked for.
    pub total: Option<u64>,
    /// Where the next page starts, where there is one.
    pub next: Option<String>,
}

/// Reads `edges { node { id … } } pageInfo { hasNextPage endCursor } totalCount`.
#[track_caller]
pub fn rows(connection: &Value) -> Rows {
    let edges = connection["edges"]
        .as_array()
        .unwrap_or_else(|| panic!("not a connection: {connection}"));
    let nodes: Vec<Value> = edges.iter().map(|edge| edge["node"].clone()).collect();
    let info = &connection["pageInfo"];
    Rows {
        ids: nodes
            .iter()
            .map(|node| node["id"].as_str().unwrap_or_default().to_owned())
            .collect(),
        nodes,
        total: connection["totalCount"].as_u64(),
        next: info["hasNextPage"]
            .as_bool()
            .unwrap_or(false)
            .then(|| info["endCursor"].as_str().unwrap_or_default().to_owned()),
    }
}

/// Every text anywhere in `value`.
pub fn strings(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(text) => BTreeSet::from([text.clone()]),
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => BTreeSet::new(),
    }
}

/// What came for a `GET`, whatever it is.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// HTTP status.
    pub status: u16,
    /// Names of headers, in small letters, and their values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Fetched {
    /// A header's value, empty where it was not sent.
    pub fn header(&self, name: &str) -> &str {
        let header = self.headers.iter().find(|(other, _)| other == name);
        header.map_or("", |(_, value)| value)
    }

    /// The first error's code and message, of an answer that must have one.
    #[track_caller]
    pub fn error(&self) -> (String, String) {
        let body = serde_json::from_slice(&self.bytes);
        let body = body.unwrap_or_else(|error| panic!("{}, no JSON: {error}", self.status));
        let answer = Answer {
            status: self.status,
            body,
        };
        let (code, message) = answer.error();
        (code.to_owned(), message.to_owned())
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(REQUEST_WITHIN))
        .build()
        .new_agent()
}

fn post(url: &str, kind: &str, body: &str) -> Result<(u16, String), String> {
    let sent = agent().post(url).header("Content-Type", kind).send(body);
    let mut answer = sent.map_err(|error| format!("POST {url}: {error}"))?;
    let status = answer.status().as_u16();
    let text = read(answer.body_mut()).map_err(|error| format!("POST {url}: {error}"))?;
    Ok((status, text))
}

/// Asks the twin at this address through `POST /graphql`; an error where no whole answer came, as
/// from a twin that was killed.
pub fn ask(http: &str, query: &str, variables: &Value) -> Result<Answer, String> {
    let request = json!({ "query": query, "variables": variables });
    let url = format!("http://{http}/graphql");
    let (status, text) = post(&url, "application/json", &request.to_string())?;
    let body = serde_json::from_str(&text)
        .map_err(|error| format!("status {status}, not JSON ({error}): {text}"))?;
    Ok(Answer { status, body })
}

impl Twin {
    /// Asks through `POST /graphql`.
    #[track_caller]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers write json!({..}) in place"
    )]
    pub fn graphql(&self, query: &str, variables: Value) -> Answer {
        ask(self.http(), query, &variables).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs `SurrealQL` through `POST /surql`, which must answer 200 with JSON.
    #[track_caller]
    pub fn surql(&self, text: &str) -> Value {
        let (status, body) = self.post("/surql", "text/plain", text);
        assert_eq!(status, 200, "{text}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// Posts, whatever the answer.
    #[track_caller]
    pub fn post(&self, path: &str, kind: &str, body: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.http());
        post(&url, kind, body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// One figure of `/metrics`, by its line's beginning, such as `twin_readings_total`.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("/metrics has no {name}:\n{text}"));
        value
            .trim()
            .parse()
            .unwrap_or_else(|error| panic!("{name} {value}: {error}"))
    }

    /// Gets bytes, with these headers, whatever the answer.
    #[track_caller]
    pub fn fetch(&self, path: &str, headers: &[(&str, &str)]) -> Fetched {
        let url = format!("http://{}{path}", self.http());
        let mut request = agent().get(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = request
            .call()
            .unwrap_or_else(|error| panic!("GET {url}: {error}"));
        let said = answer.headers().iter();
        let said = said.map(|(name, value)| {
            let value = value.to_str().unwrap_or_default().to_owned();
            (name.as_str().to_owned(), value)
        });
        let (headers, status) = (said.collect(), answer.status().as_u16());
        let body = answer.body_mut().with_config().limit(ANSWER_MAX_BYTES);
        let bytes = body
            .read_to_vec()
            .unwrap_or_else(|error| panic!("GET {url}: {error}"));
        Fetched {
            status,
            headers,
            bytes,
        }
    }

    /// Gets, whatever the answer.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.http());
        let mut answer = agent()
            .get(&url)
            .call()
            .unwrap_or_else(|error| panic!("GET {url}: {error}"));
        let status = answer.status().as_u16();
        let text = read(answer.body_mut()).unwrap_or_else(|error| panic!("GET {url}: {error}"));
        (status, text)
    }

    /// Sends these bytes as they are and returns the status of what comes back, or none where the
    /// twin just closed: for requests that no client library would write.
    #[track_caller]
    pub fn raw(&self, request: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(self.http()).expect("the twin accepts connections");
        stream
            .set_read_timeout(Some(REQUEST_WITHIN))
            .expect("a timeout above zero");
        stream
            .write_all(request.as_bytes())
            .expect("the twin reads a short request");
        let mut answer = Vec::new();
        // A twin that closes after its answer may do so with a reset; what came before counts.
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert!(!answer.is_empty(), "no answer to {request:?}: {error}");
        }
        String::from_utf8_lossy(&answer)
            .split(' ')
            .nth(1)?
            .parse()
            .ok()
    }
}

fn read(body: &mut ureq::Body) -> Result<String, ureq::Error> {
    body.with_config().limit(ANSWER_MAX_BYTES).read_to_string()
}
