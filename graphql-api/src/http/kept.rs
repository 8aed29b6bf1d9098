//! Answers that clients may keep: their tags, the arguments of their addresses, and refusals of them.
//!
//! # Invariants
//! - Whoever keeps an answer has to ask each time whether it is still the same.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use twin_core::Position;

use super::guard::refused;
use crate::error::{Code, Fault};

/// Drawn anew by each process: another twin that is served at the same address may have come to the same position with
/// other data.
static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0_u8));

/// Kept, but asked about each time.
pub(super) const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// Arguments of an address.
pub(super) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

pub(super) fn arguments(pairs: Pairs) -> Result<Vec<(String, String)>, Fault> {
    match pairs {
        Ok(Query(pairs)) => Ok(pairs),
        Err(rejection) => Err(Fault::invalid(rejection.body_text())),
    }
}

/// Refuses arguments that are not among the known, or are there twice.
pub(super) fn only(pairs: &[(String, String)], known: &[&str]) -> Result<(), Fault> {
    for (place, (name, _)) in pairs.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            return Err(Fault::argument(name, known));
        }
        if pairs[..place].iter().any(|(other, _)| other == name) {
            return Err(Fault::invalid(format!("`{name}` is given twice")));
        }
    }
    Ok(())
}

/// What says whether an answer is still the same. Weak, because it may be sent compressed or not.
#[derive(Debug)]
pub(super) struct Tag(String);

impl Tag {
    /// Of what changed last at a position, and is made by the rules of a number.
    pub(super) fn new(changed: &Position, rules: u32) -> Self {
        Self(format!("W/\"{changed}.{rules}.{:x}\"", *PROCESS))
    }

    /// The answer to whoever keeps the same.
    pub(super) fn same(&self, headers: &HeaderMap) -> Option<Response> {
        let known = headers.get(header::IF_NONE_MATCH)?;
        let fixed = [(header::CACHE_CONTROL, ASK_AGAIN)];
        let tag = [(header::ETAG, self.0.as_str())];
        self.is_in(known)
            .then(|| (StatusCode::NOT_MODIFIED, fixed, tag).into_response())
    }

    /// The answer to all others.
    pub(super) fn answer(self, kind: &'static str, bytes: Vec<u8>) -> Response {
        let fixed = [
            (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
            (header::CACHE_CONTROL, ASK_AGAIN),
        ];
        (fixed, [(header::ETAG, self.0)], bytes).into_response()
    }

    /// Whether a header names it, as strong or weak.
    fn is_in(&self, header: &HeaderValue) -> bool {
        let plain = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
        let mut listed = header.to_str().unwrap_or("").split(',').map(str::trim);
        let wanted = plain(&self.0);
        listed.any(|other| other == "*" || plain(other) == wanted)
    }
}

pub(super) fn refusal(fault: &Fault) -> Response {
    let status = match fault.code {
        Code::UnknownName | Code::NotFound => StatusCode::NOT_FOUND,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    refused(status, fault)
}
