//! Who may ask: without TLS and authentication, only programs and pages of this machine.
//!
//! A page of another site can make a browser send requests here (and, by rebinding its name, read
//! the answers): its Host or Origin gives it away.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::Fault;
use crate::limits::{MAX_BODY_BYTES, REQUEST_TIMEOUT};
use crate::service::{Room, Service, no_room, too_slow};

/// Refuses a body by the length it announces, before anything of it is read or waited for.
pub(super) async fn announced_length(request: Request, next: Next) -> Response {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        let message = format!("the body is larger than {MAX_BODY_BYTES} bytes (MAX_BODY_BYTES)");
        return refused(StatusCode::PAYLOAD_TOO_LARGE, &Fault::too_costly(message));
    }
    next.run(request).await
}

/// Refuses requests whose Host or Origin is not this machine's.
pub(super) async fn loopback_only(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Response {
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned());
    match check(authority.as_deref(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err((status, message)) => {
            service.inner.metrics.refused();
            (status, message).into_response()
        }
    }
}

fn check(authority: Option<&str>, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    let host = match authority {
        Some(authority) => authority,
        None => headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or(""),
    };
    if !is_loopback(host) {
        let message = format!(
            "Host `{host}` is refused: without TLS and authentication this service answers to \
             localhost, 127.0.0.1 and [::1] only.\n"
        );
        return Err((StatusCode::MISDIRECTED_REQUEST, message));
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or("");
    let own = ["http://", "https://"]
        .iter()
        .any(|scheme| origin.strip_prefix(scheme).is_some_and(is_loopback));
    if own {
        return Ok(());
    }
    let message = format!(
        "Origin `{origin}` is refused: only pages of this machine may ask, without TLS and \
         authentication.\n"
    );
    Err((StatusCode::FORBIDDEN, message))
}

/// Whether a host, with or without a port, is this machine by name or number.
fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => return false,
        },
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    let bracketed = authority.starts_with('[');
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => !bracketed && ip.is_loopback(),
        Ok(IpAddr::V6(ip)) => bracketed && ip.is_loopback(),
        Err(_) => !bracketed && host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    }
}

/// Lets pages of this machine read the answers; the guard around it let no other through.
pub(super) async fn cross_origin(request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let asks = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    if let Some(origin) = origin {
        let fixed = HeaderValue::from_static;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            fixed("content-type, twin-after"),
        );
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, fixed("GET, POST"));
        headers.append(header::VARY, fixed("origin"));
    }
    response
}

/// Bounds the requests that are worked on at once. The place goes with the request, so that work
/// which outlives its answer keeps it.
pub(super) async fn room(
    State(service): State<Service>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(room) = service.room().await {
        request.extensions_mut().insert(Room::clone(&room));
        let response = next.run(request).await;
        drop(room);
        return response;
    }
    retry_later(&no_room())
}

/// Bounds the time of a whole request.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    within(REQUEST_TIMEOUT, next.run(request)).await
}

async fn within(patience: Duration, response: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(patience, response).await {
        Ok(response) => response,
        Err(_elapsed) => refused(StatusCode::GATEWAY_TIMEOUT, &too_slow()),
    }
}

/// An answer of the door itself, in the form of GraphQL's errors.
pub(super) fn refused(status: StatusCode, fault: &Fault) -> Response {
    let error = serde_json::json!({
        "message": fault.message, "extensions": {"code": fault.code.as_str()}
    });
    (status, axum::Json(serde_json::json!({"errors": [error]}))).into_response()
}

/// A refusal of what may be asked again in a second.
pub(super) fn retry_later(fault: &Fault) -> Response {
    let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, fault);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_takes_too_long_gets_an_error_with_its_code() {
        let answer = within(Duration::ZERO, std::future::pending()).await;
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        let body = axum::body::to_bytes(answer.into_body(), 1 << 10).await;
        let body: serde_json::Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!(body["errors"][0]["extensions"]["code"], "TIMEOUT");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for own in [
            "localhost",
            "localhost:8080",
            "LOCALHOST:1",
            "127.0.0.1",
            "127.8.9.1:80",
            "[::1]",
            "[::1]:8080",
        ] {
            assert!(is_loopback(own), "{own}");
        }
        for other in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "10.0.0.1:80",
            "[::2]",
            "::1",
            "[::1",
            "[localhost]",
            "localhost:x",
            "user@localhost",
            "0.0.0.0",
            "2130706433",
            "localhost:80:80",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
