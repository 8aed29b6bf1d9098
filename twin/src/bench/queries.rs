//! Questions about rows: by id, and a page of them, in process and over HTTP.

use std::sync::Arc;
use std::time::Duration;

use graphql_api::{Options, Service};
use serde_json::{Map, Value, json};

use super::Bench;
use super::figure;
use super::measure::{loops, timed};
use super::stage::{Stage, THINGS};
use super::synthetic::{Random, THING, thing_id};
use super::web::Web;
use crate::failure::Failure;

const ROWS: usize = 500;
const PAGE: &str =
    "{ things(first: 500) { edges { node { id name code height floors active } } } }";
const FIELDS: [&str; 6] = ["id", "name", "code", "height", "floors", "active"];
const BY_ID: &str =
    "query($id: ID!) { twin(id: $id) { id ... on Thing { name code height floors active } } }";
const SEED: u64 = 7;

/// All of them.
pub(crate) async fn all(bench: &Bench, stage: &Stage) -> Result<(), Failure> {
    let figures = [&figure::BY_ID, &figure::PAGE, &figure::PAGE_HTTP];
    if !bench.wants_any(&figures) {
        return Ok(());
    }
    let service = Service::new(stage.nation.twin.clone(), Options::default())
        .map_err(|error| Failure::failed(format!("the API's schema: {error}")))?;
    let first = ask(&service, PAGE, Map::new()).await?;
    let found = first.matches("\"id\"").count();
    if found != ROWS {
        return Err(Failure::failed(format!(
            "a page of {ROWS} had {found} rows"
        )));
    }
    let web = Web::serve(service.clone()).await?;
    let (mut ids, mut ids_alone) = (Vec::new(), Vec::new());
    let (mut page, mut http, mut page_alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        if bench.wants(&figure::BY_ID) {
            ids.push(by_id(bench, &service).await?);
            ids_alone.push(by_id_alone(bench, stage).await?);
        }
        if bench.wants_any(&[&figure::PAGE, &figure::PAGE_HTTP]) {
            let service = service.clone();
            let done = loops(1, bench.run_for, move |_, _| {
                let service = service.clone();
                async move {
                    service.query(PAGE, Map::new()).await;
                    Ok(())
                }
            });
            page.push(done.await?.quantile(0.5));
            http.push(pages(&web, bench.run_for).await?);
            page_alone.push(pages_alone(bench, stage).await?);
        }
    }
    let data = format!(
        "a random one of {THINGS} twins, 6 fields as JSON, one client in process (the target is \
         of two cores); SurrealDB: SELECT * OMIT geometry FROM ONLY $id"
    );
    bench.show(&figure::BY_ID, &data, &ids, &ids_alone);
    let data = format!(
        "the first {ROWS} by id as JSON, {} bytes, one client in process; SurrealDB: SELECT 6 \
         fields LIMIT {ROWS}, then JSON",
        first.len()
    );
    bench.show(&figure::PAGE, &data, &page, &page_alone);
    let data = "POST /graphql over one kept connection; SurrealDB in process, as above";
    bench.show(&figure::PAGE_HTTP, data, &http, &page_alone);
    web.close();
    Ok(())
}

/// Asks the API; an answer with errors is a failure.
pub(crate) async fn ask(
    service: &Service,
    text: &str,
    variables: Map<String, Value>,
) -> Result<String, Failure> {
    let body = service.query(text, variables).await;
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|error| Failure::failed(format!("an answer that is no JSON: {error}")))?;
    if let Some(errors) = answer.get("errors") {
        return Err(Failure::failed(format!("the API answers {errors}")));
    }
    String::from_utf8(body)
        .map_err(|error| Failure::failed(format!("an answer that is no text: {error}")))
}

async fn by_id(bench: &Bench, service: &Service) -> Result<f64, Failure> {
    let service = service.clone();
    let done = loops(1, bench.run_for, move |_, turn| {
        let service = service.clone();
        async move {
            let id = thing_id(Random::new(SEED + turn).below(THINGS))?;
            let mut variables = Map::new();
            variables.insert("id".to_owned(), id.as_str().into());
            let answer = service.query(BY_ID, variables).await;
            if answer.windows(6).any(|part| part == b"Thing ") {
                Ok(())
            } else {
                Err(Failure::failed(format!("`{id}` was not found")))
            }
        }
    });
    Ok(done.await?.quantile(0.5))
}

async fn by_id_alone(bench: &Bench, stage: &Stage) -> Result<f64, Failure> {
    let (peer, class) = (Arc::clone(&stage.peer), class(stage)?);
    let done = loops(1, bench.run_for, move |_, turn| {
        let peer = Arc::clone(&peer);
        async move {
            let id = thing_id(Random::new(SEED + turn).below(THINGS))?;
            if peer.by_id(class, &id).await? {
                Ok(())
            } else {
                Err(Failure::failed(format!("SurrealDB does not find `{id}`")))
            }
        }
    });
    Ok(done.await?.quantile(0.5))
}

async fn pages_alone(bench: &Bench, stage: &Stage) -> Result<f64, Failure> {
    let (peer, class) = (Arc::clone(&stage.peer), class(stage)?);
    let done = loops(1, bench.run_for, move |_, _| {
        let peer = Arc::clone(&peer);
        async move {
            peer.page(class, &FIELDS, ROWS).await?;
            Ok(())
        }
    });
    Ok(done.await?.quantile(0.5))
}

async fn pages(web: &Web, run_for: Duration) -> Result<f64, Failure> {
    let client = web.client();
    let query = json!({ "query": PAGE });
    let asked =
        tokio::task::spawn_blocking(move || timed(run_for, || client.post(&query).map(drop)));
    let done = asked
        .await
        .map_err(|error| Failure::failed(format!("the client ended: {error}")))?;
    Ok(done?.quantile(0.5))
}

fn class(stage: &Stage) -> Result<ontology::ClassId, Failure> {
    let class = stage.nation.ontology.class_named(THING);
    class
        .map(|class| class.id)
        .ok_or_else(|| Failure::failed("the models have no Thing"))
}
