//! `GET /log`: what happened after a position, by the line, as it comes.

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{Extensions, HeaderMap, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use twin_core::{FollowEnd, Position};

use super::NDJSON;
use super::guard::{refused, retry_later};
use crate::error::{Code, Fault};
use crate::limits::MAX_LOG_READERS;
use crate::log::{Log, Piece};
use crate::service::Service;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    after: Option<String>,
    until: Option<Until>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Until {
    Now,
}

/// Says of a response that it comes to an end by itself.
#[derive(Clone, Copy)]
struct Finite;

/// Whether an answer may be compressed: lines of one that goes on would wait in the compressor.
pub(super) fn is_finite(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<Finite>().is_some()
}

/// Tells what happened, line by line.
pub(super) async fn get(
    State(service): State<Service>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let (after, finite) = match wanted.map(|Query(wanted)| wanted) {
        Ok(Wanted { after, until }) => match after.as_deref().map(str::parse::<Position>) {
            None => (Position::default(), until.is_some()),
            Some(Ok(after)) => (after, until.is_some()),
            Some(Err(error)) => {
                let message = format!("`after`: {error}");
                return refused(StatusCode::BAD_REQUEST, &Fault::invalid(message));
            }
        },
        Err(rejection) => {
            let message = format!(
                "{}: `after=POSITION` and `until=now` are all that may be asked",
                rejection.body_text()
            );
            return refused(StatusCode::BAD_REQUEST, &Fault::invalid(message));
        }
    };
    let Ok(place) = service.inner.log_readers.clone().try_acquire_owned() else {
        service.inner.metrics.refused();
        let message = format!(
            "{MAX_LOG_READERS} readers of /log are there, and no more are taken \
             (MAX_LOG_READERS): try again later"
        );
        return retry_later(&Fault::new(Code::Unavailable, message));
    };
    let pieces = match Log::start(service, &after, finite, place).await {
        Ok(pieces) => pieces,
        Err(end) => return unfollowable(&end),
    };
    let lines = stream::try_unfold(pieces, async |mut pieces| match pieces.recv().await {
        Some(Piece::Lines(lines)) => Ok(Some((lines, pieces))),
        Some(Piece::End) => Ok::<Option<(Bytes, _)>, io::Error>(None),
        // The connection breaks off too, so nobody takes this for the end.
        None => Err(io::Error::other("the log was cut")),
    });
    let mut response = ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response();
    if finite {
        response.extensions_mut().insert(Finite);
    }
    response
}

/// Why nothing can be told from a position on.
fn unfollowable(end: &FollowEnd) -> Response {
    let (status, fault) = match end {
        FollowEnd::Ahead { .. } => {
            let fault = Fault::invalid(format!("`after`: {end}"));
            (StatusCode::BAD_REQUEST, fault)
        }
        FollowEnd::Gap { .. } => {
            let fault = Fault::new(Code::NotFound, format!("GAP: {end}"));
            (StatusCode::GONE, fault)
        }
        FollowEnd::Reset { .. } => {
            let fault = Fault::new(Code::Conflict, format!("RESET: {end}"));
            (StatusCode::CONFLICT, fault)
        }
        other => return retry_later(&Fault::new(Code::Unavailable, other.to_string())),
    };
    refused(status, &fault)
}
