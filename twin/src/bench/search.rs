//! Search among a million names: one that few have, and one that all begin with.
//!
//! Nobody stands beside: SurrealDB knows no such order.

use graphql_api::{Options, Service};
use serde_json::Map;

use super::figure::{self, Figure};
use super::measure::loops;
use super::points::MILLION;
use super::queries::ask;
use super::synthetic::{self, Recipe};
use super::{Bench, stage};
use crate::failure::Failure;

/// What is looked for, by figure, and how many of the first twenty there are.
const ASKED: [(&Figure, &str, usize); 2] = [
    (&figure::SEARCH_MILLION, "number 77777", 11),
    (&figure::SEARCH_ALL, "thing", 20),
];

/// Both.
pub(crate) async fn million(bench: &Bench) -> Result<(), Failure> {
    if !bench.wants_any(&ASKED.map(|(figure, ..)| figure)) {
        return Ok(());
    }
    let twin = stage::unstored(bench).await?;
    let recipe = Recipe {
        properties: true,
        links: false,
        point: true,
    };
    synthetic::load(&twin, MILLION, recipe).await?;
    let service = Service::new(twin.clone(), Options::default())
        .map_err(|error| Failure::failed(format!("the API's schema: {error}")))?;
    for (figure, text, wanted) in ASKED {
        if !bench.wants(figure) {
            continue;
        }
        let query = format!("{{ search(text: \"{text}\") {{ matched twin {{ id label }} }} }}");
        let answer = ask(&service, &query, Map::new()).await?;
        let found = answer.matches("\"id\"").count();
        if found != wanted {
            return Err(Failure::failed(format!(
                "`{text}` finds {found} twins and not {wanted}"
            )));
        }
        let mut times = Vec::new();
        for _ in 0..bench.runs {
            let (service, query) = (service.clone(), query.clone());
            let done = loops(1, bench.run_for, move |_, _| {
                let (service, query) = (service.clone(), query.clone());
                async move {
                    service.query(&query, Map::new()).await;
                    Ok(())
                }
            });
            times.push(done.await?.quantile(0.5));
        }
        let data = format!("`{text}`, the best {wanted} as JSON, in process");
        bench.show(figure, &data, &times, &[]);
    }
    twin.close().await;
    Ok(())
}
