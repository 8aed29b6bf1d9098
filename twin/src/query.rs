//! `twin query`: GraphQL or SurrealQL, of a folder or of a running twin.

use std::io::Read as _;
use std::process::ExitCode;

use graphql_api::{Options, Service};
use serde_json::{Map, Value};
use store::Limits;

use crate::config::Config;
use crate::failure::Failure;
use crate::nation::{self, Nation};
use crate::output;

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

/// Asks a running twin.
async fn ask(url: String, text: String, surql: bool) -> Result<ExitCode, Failure> {
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
        let answered = if surql {
            agent.post(format!("{base}/surql")).send(&text)
        } else {
            agent
                .post(format!("{base}/graphql"))
                .send_json(serde_json::json!({ "query": text }))
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
    let (ok, body) = asked
        .await
        .map_err(|error| Failure::failed(format!("the request ended: {error}")))??;
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
