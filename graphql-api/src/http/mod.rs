//! The service over HTTP: routes, and what every request passes through.
//!
//! # Invariants
//! - A request whose Host or Origin is not loopback is answered by the guard alone.
//! - Bodies, time and requests at once are bounded; the bounds are in [`limits`](crate::limits).

mod bulk;
mod console;
mod graphql;
mod guard;
mod health;
mod kept;
mod log;
mod map;
mod models;
mod page;
mod socket;
mod tiles;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::limits::MAX_BODY_BYTES;
use crate::service::Service;

/// Answers smaller than this are not worth compressing.
const COMPRESS_ABOVE_BYTES: u16 = 4 << 10;

/// Media type of JSON by the line.
const NDJSON: &str = "application/x-ndjson; charset=utf-8";

/// What our own pages may load: themselves, and nothing of anyone else.
const CONTENT_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' \
    'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// All routes of a service.
pub fn router(service: Service) -> Router {
    router_with(service, Router::new())
}

/// All routes of a service and others, behind the same guard of Host and Origin.
pub fn router_with(service: Service, others: Router) -> Router {
    let fixed = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    let answered = Router::new()
        .route("/", get(page::start))
        .route("/graphql", post(graphql::post).get(console::page))
        .route("/graphql/ws", get(socket::upgrade))
        .route("/graphql/schema.graphql", get(graphql::sdl))
        .route("/graphql/console/{file}", get(console::asset))
        .route("/map", get(map::page))
        .route("/map/model.json", get(map::model))
        .route("/map/{file}", get(map::asset))
        .route("/surql", post(graphql::surql))
        .route("/models/{file}", get(models::model))
        .route("/tiles/{layer}/{z}/{x}/{file}", get(tiles::tile))
        .route("/tiles/{file}", get(tiles::layer))
        .route("/tiles.json", get(tiles::layers))
        .route("/style.json", get(tiles::style))
        // Whoever watches the service is answered however busy it is.
        .route_layer(from_fn_with_state(service.clone(), guard::room))
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .merge(others.with_state(()))
        .fallback(page::not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(guard::announced_length))
        .layer(from_fn(guard::in_time))
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESS_ABOVE_BYTES)));
    // What comes or goes by the line bounds its own bytes and time, and nothing holds it back;
    // compressed only where nobody waits for a single line.
    let log = get(log::get).layer(CompressionLayer::new().compress_when(log::is_finite));
    let streamed = Router::new()
        .route("/bulk", post(bulk::post))
        .route("/log", log);
    answered
        .merge(streamed)
        .layer(fixed(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::REFERRER_POLICY, "no-referrer"))
        .layer(fixed(header::CACHE_CONTROL, "no-store"))
        .layer(from_fn(guard::cross_origin))
        .layer(from_fn_with_state(service.clone(), guard::loopback_only))
        .with_state(service)
}
