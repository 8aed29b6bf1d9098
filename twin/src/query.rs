//! `twin query`: GraphQL or SurrealQL, of a folder or of a running twin.

use std::io::Read as _;
use std::process::ExitCode;

use graphql_api::{Options, Service};
use serde_json::{Map, Value};
use store::Limits;

use crate::config::Config;
use crate::failure::Failure;
use crate::nation::{self, Nation};
use crate::{output, serve};

/// Longest text read from standard input.
const MAX_TEXT: u64 = 1 << 20;

/// `twin query`.
pub(crate) async fn run(
    config: Config,
    text: &str,
    surql: bool,
    url: Option<&str>,
) -> Result<ExitCode, Failure> {
    let text = if text == "-" {
        read_stdin()?
    } else {
        text.to_owned()
    };
    if let Some(url) = url {
        return ask(url.to_owned(), text, surql).await;
    }
    if surql {
        let ontology = nation::ontology(&config.twin.seeds)?;
        let store = nation::store(&config, &ontology).await?;
        let answer = store.query(&text, &Map::new(), Limits::default()).await;
        store.close().await?;
        let answer = answer.map_err(|error| Failure::failed(error.to_string()))?;
        output::line(&Value::Array(answer).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let nation = Nation::open(config).await?;
    let service = Service::new(nation.twin.clone(), Options::default())
        .map_err(|error| Failure::failed(format!("the API's schema: {error}")));
    let answer = match service {
        Ok(service) => Ok(service.query(&text, Map::new()).await),
        Err(failure) => Err(failure),
    };
    nation.close().await?;
    Ok(print(&answer?))
}

/// A GraphQL text and its variables.
pub(crate) type Question = (String, Map<String, Value>);

/// Hands the answers to GraphQL questions over, one after another: of a running twin if `url` names one,
/// else of a folder.
pub(crate) async fn graphql(
    config: Config,
    url: Option<&str>,
    questions: Vec<Question>,
    mut each: impl FnMut(Value),
) -> Result<(), Failure> {
    let read = |body: Vec<u8>| {
        serde_json::from_slice(&body)
            .map_err(|error| Failure::failed(format!("the answer is not JSON: {error}")))
    };
    if let Some(url) = url {
        for (text, variables) in questions {
            let question = serde_json::json!({"query": text, "variables": variables});
            let (_, body) = post(url.to_owned(), "graphql", Sent::Json(question)).await?;
            each(read(body)?);
        }
        return Ok(());
    }
    let nation = Nation::open(config).await?;
    let service = serve::retry(&nation).and_then(|retry| {
        let options = Options {
            retry: Some(retry),
            ..Options::default()
        };
        Service::new(nation.twin.clone(), options)
            .map_err(|error| Failure::failed(format!("the API's schema: {error}")))
    });
    let mut failed = None;
    match service {
        Ok(service) => {
            for (text, variables) in questions {
                match read(service.query(&text, variables).await) {
                    Ok(answer) => each(answer),
                    Err(failure) => failed = failed.or(Some(failure)),
                }
            }
        }
        Err(failure) => failed = Some(failure),
    }
    nation.close().await?;
    failed.map_or(Ok(()), Err)
}

/// What is sent to a running twin.
enum Sent {
    Text(String),
    Json(Value),
}

/// Asks a running twin; whether it says that all went well, and its answer.
async fn post(url: String, path: &'static str, sent: Sent) -> Result<(bool, Vec<u8>), Failure> {
    let asked = tokio::task::spawn_blocking(move || {
        let base = url.trim_end_matches('/');
        let base = if base.contains("://") {
            base.to_owned()
        } else {
            format!("http://{base}")
        };
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let request = agent.post(format!("{base}/{path}"));
        let answered = match sent {
            Sent::Text(text) => request.send(&text),
            Sent::Json(json) => request.send_json(json),
        };
        let unreachable = |error: ureq::Error| {
            Failure::unreachable(format!(
                "{base} does not answer: {error}; is `twin serve` running?"
            ))
        };
        let mut answer = answered.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.body_mut().read_to_vec().map_err(unreachable)?;
        Ok::<_, Failure>((status.is_success(), body))
    });
    asked
        .await
        .map_err(|error| Failure::failed(format!("the request ended: {error}")))?
}

/// Asks a running twin and prints its answer.
async fn ask(url: String, text: String, surql: bool) -> Result<ExitCode, Failure> {
    let (path, sent) = if surql {
        ("surql", Sent::Text(text))
    } else {
        ("graphql", Sent::Json(serde_json::json!({ "query": text })))
    };
    let (ok, body) = post(url, path, sent).await?;
    let code = print(&body);
    Ok(if ok { code } else { ExitCode::FAILURE })
}

/// Prints an answer; one with errors and without data is a failure.
fn print(body: &[u8]) -> ExitCode {
    let text = String::from_utf8_lossy(body);
    output::line(text.trim_end());
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let failed = answer.get("errors").is_some() && answer.get("data").is_none_or(Value::is_null);
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin()
        .take(MAX_TEXT + 1)
        .read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    if text.len() as u64 > MAX_TEXT {
        return Err(Failure::usage(format!(
            "the query is longer than {MAX_TEXT} bytes"
        )));
    }
    Ok(text)
}
