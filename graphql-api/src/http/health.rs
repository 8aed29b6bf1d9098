//! Whether the twin lives and writes, and what it counted.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::service::Service;

/// The process answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The twin takes writes; 503 with the reason if it does not.
pub(super) async fn ready(State(service): State<Service>) -> Response {
    match service.inner.twin.stopped() {
        None => "ready\n".into_response(),
        Some(reason) => {
            let message = format!("the twin does not write: {reason}\n");
            (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
        }
    }
}

/// Metrics for Prometheus.
pub(super) async fn metrics(State(service): State<Service>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match service.inner.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics could not be written\n",
            )
                .into_response()
        }
    }
}
