//! `POST /graphql` and `POST /surql`.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use twin_core::Position;

use crate::error::{Code, Fault};
use crate::exec::{self, Answer};
use crate::limits::{MAX_BODY_BYTES, MAX_SURQL_BYTES};
use crate::service::{Question, Room, Service};

/// The header that names a position which the answer has to hold.
const AFTER: &str = "twin-after";
const JSON: &str = "application/json; charset=utf-8";
const GRAPHQL_JSON: &str = "application/graphql-response+json; charset=utf-8";

#[derive(Deserialize)]
struct Body {
    query: Option<String>,
    #[serde(rename = "operationName")]
    operation_name: Option<String>,
    variables: Option<Map<String, Json>>,
}

/// Answers a GraphQL request.
pub(super) async fn post(
    State(service): State<Service>,
    Extension(room): Extension<Room>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let kind = Kind::accepted(&headers);
    match question(&headers, body) {
        Ok(mut question) => {
            question.room = Some(room);
            kind.respond(service.answer(question).await)
        }
        Err((status, fault)) => {
            service
                .inner
                .metrics
                .answered(&[fault.code], std::time::Duration::ZERO);
            let position = service.inner.twin.view().position();
            kind.with_status(status, exec::refusal(vec![fault], &position))
        }
    }
}

fn question(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Question, (StatusCode, Fault)> {
    let bad = |message: String| (StatusCode::BAD_REQUEST, Fault::invalid(message));
    let said = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    };
    let content = said(header::CONTENT_TYPE.as_str())
        .split(';')
        .next()
        .unwrap_or("")
        .trim();
    // Any other kind could come from a form of a page elsewhere, without asking first.
    if !content.eq_ignore_ascii_case("application/json") {
        let message =
            "send JSON with `content-type: application/json`: {\"query\": \"{ position }\"}";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, Fault::invalid(message)));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message =
                format!("the body is larger than {MAX_BODY_BYTES} bytes (MAX_BODY_BYTES)");
            (StatusCode::PAYLOAD_TOO_LARGE, Fault::too_costly(message))
        }
        status => (status, Fault::invalid(rejection.body_text())),
    })?;
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(bad(
            "lists of requests are not taken: send each by itself".to_owned()
        ));
    }
    let body: Body = serde_json::from_slice(&body).map_err(|error| {
        bad(format!(
            "the body is not a GraphQL request in JSON: {error}"
        ))
    })?;
    let query = body
        .query
        .ok_or_else(|| bad("the body has no `query`".to_owned()))?;
    let after = match headers.get(AFTER) {
        None => None,
        Some(value) => {
            let text = value.to_str().unwrap_or("");
            let position = text.parse::<Position>();
            Some(position.map_err(|error| bad(format!("header Twin-After: {error}")))?)
        }
    };
    let variables = body.variables.unwrap_or_default();
    Ok(Question {
        query,
        operation: body.operation_name,
        variables,
        after,
        room: None,
    })
}

/// The media type of an answer, and what its status means there.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A refused request is well answered, too: 200.
    Json,
    /// A refused request is a client error: 400.
    GraphqlJson,
}

impl Kind {
    /// The new type only for who asks for it by name.
    fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok());
        if accept.is_some_and(|accept| accept.contains("application/graphql-response+json")) {
            Self::GraphqlJson
        } else {
            Self::Json
        }
    }

    fn respond(self, answer: Answer) -> Response {
        let status = match (answer.refused, answer.codes.first()) {
            (true, Some(Code::Timeout)) => StatusCode::GATEWAY_TIMEOUT,
            (true, Some(Code::Internal)) => StatusCode::INTERNAL_SERVER_ERROR,
            (true, _) if self == Self::GraphqlJson => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        self.with_status(status, answer)
    }

    fn with_status(self, status: StatusCode, answer: Answer) -> Response {
        let content = if self == Self::Json {
            JSON
        } else {
            GRAPHQL_JSON
        };
        (status, [(header::CONTENT_TYPE, content)], answer.body).into_response()
    }
}

/// The schema in GraphQL's own language.
pub(super) async fn sdl(State(service): State<Service>) -> Response {
    let content = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (content, service.sdl().to_owned()).into_response()
}

/// Runs a read-only SurrealQL text.
pub(super) async fn surql(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Result<String, axum::extract::rejection::StringRejection>,
) -> Response {
    let said = |status: StatusCode, text: String| (status, text).into_response();
    let Some(surql) = service.inner.options.surql.clone() else {
        return said(
            StatusCode::NOT_FOUND,
            "this twin offers no SurrealQL\n".to_owned(),
        );
    };
    // A form of another page can send text/plain without asking, but names its Origin: the guard.
    let text = match body {
        Ok(text) => text,
        Err(rejection) => return said(rejection.status(), format!("{}\n", rejection.body_text())),
    };
    let content = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if content.is_some_and(|content| content.starts_with("application/json")) {
        let message = "send the SurrealQL text itself, not JSON\n".to_owned();
        return said(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    }
    if text.len() > MAX_SURQL_BYTES {
        let message =
            format!("the text is larger than {MAX_SURQL_BYTES} bytes (MAX_SURQL_BYTES)\n");
        return said(StatusCode::PAYLOAD_TOO_LARGE, message);
    }
    match surql(text).await {
        Ok(results) => axum::Json(results).into_response(),
        Err(reason) => said(StatusCode::BAD_REQUEST, format!("{reason}\n")),
    }
}
