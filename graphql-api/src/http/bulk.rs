//! `POST /bulk`: a body of operations in, a result for each line out, both as they come.

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;

use super::NDJSON;
use super::guard::{refused, retry_later};
use crate::bulk::Bulk;
use crate::error::{Code, Fault};
use crate::limits::MAX_BULKS;
use crate::service::Service;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(rename = "dryRun", default)]
    dry_run: bool,
}

/// Works on a body, line by line.
pub(super) async fn post(
    State(service): State<Service>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let wanted = match wanted {
        Ok(Query(wanted)) => wanted,
        Err(rejection) => {
            let message = format!(
                "{}: `dryRun=true` or `dryRun=false` is all that may be asked",
                rejection.body_text()
            );
            return refused(StatusCode::BAD_REQUEST, &Fault::invalid(message));
        }
    };
    // A form of another page can send such a body without asking, but names its Origin: the guard.
    let plain = headers
        .get(header::CONTENT_ENCODING)
        .is_none_or(|encoding| encoding == "identity");
    if !plain {
        let message = "send the lines as they are, without Content-Encoding";
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, &Fault::invalid(message));
    }
    let Ok(place) = service.inner.bulks.clone().try_acquire_owned() else {
        service.inner.metrics.refused();
        let message = format!(
            "{MAX_BULKS} bodies are being worked on, and no more are taken (MAX_BULKS): try again \
             later"
        );
        return retry_later(&Fault::new(Code::Unavailable, message));
    };
    let mut results = Bulk::start(service, body, wanted.dry_run, place);
    let results = stream::poll_fn(move |context| {
        let next = results.poll_recv(context);
        next.map(|chunk| chunk.map(Ok::<Bytes, std::convert::Infallible>))
    });
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(results)).into_response()
}
