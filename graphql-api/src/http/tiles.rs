//! `GET /tiles/{layer}/{z}/{x}/{y}.mvt`, and what says which there are: `/tiles/{layer}.json`
//! (TileJSON), `/tiles.json` and `/style.json`.
//!
//! # Invariants
//! - A tile shows the twin as it is when the request comes. Clients may keep it and have to ask
//!   each time whether it is still the same; its `ETag` is another as soon as any twin of the
//!   layer's class or subclasses changed.
//! - A tile on which nothing is, is answered 200 with no bytes, which is a vector tile too.

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, Uri, header};
use axum::response::{IntoResponse, Response};

use super::kept::{ASK_AGAIN, Pairs, Tag, arguments, only, refusal};
use super::page::{escaped, not_found};
use crate::error::Fault;
use crate::limits::MAX_TILE_ZOOM;
use crate::service::{Room, Service, ended_badly};
use crate::tiles::{self, Asked, Layer, RULES, Theme, Tile};

const MVT: &str = "application/vnd.mapbox-vector-tile";
/// How many twins a tile leaves out.
const DROPPED: HeaderName = HeaderName::from_static("twin-tile-dropped");

/// A tile.
pub(super) async fn tile(
    State(service): State<Service>,
    Extension(room): Extension<Room>,
    Path((layer, z, x, file)): Path<(String, String, String, String)>,
    pairs: Pairs,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Some(y) = file.strip_suffix(".mvt") else {
        return not_found(uri).await;
    };
    let api = &service.inner.api;
    let asked = arguments(pairs).and_then(|pairs| Asked::read(&pairs));
    let asked = asked.and_then(|asked| Layer::compile(api, &layer, &asked));
    let (layer, tile) = match asked.and_then(|layer| Ok((layer, numbered(&z, &x, y)?))) {
        Ok(asked) => asked,
        Err(fault) => {
            service.inner.metrics.tile(Some(fault.code), None);
            return refusal(&fault);
        }
    };
    let view = service.inner.twin.view();
    let tag = Tag::new(&view.changed(layer.class), RULES);
    if let Some(same) = tag.same(&headers) {
        service.inner.metrics.tile(None, None);
        return same;
    }
    match service.draw(view, layer, tile, Some(room)).await {
        Ok(drawn) => {
            let mut answer = tag.answer(MVT, drawn.bytes);
            answer.headers_mut().insert(DROPPED, drawn.dropped.into());
            answer
        }
        Err(fault) => refusal(&fault),
    }
}

/// A layer's TileJSON.
pub(super) async fn layer(
    State(service): State<Service>,
    Extension(room): Extension<Room>,
    Path(file): Path<String>,
    pairs: Pairs,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Some(name) = file.strip_suffix(".json").map(str::to_owned) else {
        return not_found(uri).await;
    };
    let asked = match arguments(pairs).and_then(|pairs| Asked::read(&pairs)) {
        Ok(asked) => asked,
        Err(fault) => return refusal(&fault),
    };
    let base = base(&uri, &headers);
    said(service, room, move |service| {
        let inner = &service.inner;
        let layer = Layer::compile(&inner.api, &name, &asked)?;
        let lines = inner.options.attribution.iter();
        let attribution: Vec<String> = lines.map(|line| escaped(line)).collect();
        let attribution = attribution.join("; ");
        let view = inner.twin.view();
        Ok(tiles::tile_json(
            &inner.api,
            &view,
            &layer,
            &asked,
            &base,
            &attribution,
        ))
    })
    .await
}

/// All layers that have something to show.
pub(super) async fn layers(
    State(service): State<Service>,
    Extension(room): Extension<Room>,
    pairs: Pairs,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Err(fault) = arguments(pairs).and_then(|pairs| only(&pairs, &[])) {
        return refusal(&fault);
    }
    let base = base(&uri, &headers);
    said(service, room, move |service| {
        Ok(tiles::layers(
            &service.inner.api,
            &service.inner.twin.view(),
            &base,
        ))
    })
    .await
}

/// A style that shows all of them.
pub(super) async fn style(
    State(service): State<Service>,
    Extension(room): Extension<Room>,
    pairs: Pairs,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let theme = arguments(pairs).and_then(|pairs| {
        only(&pairs, &["theme"])?;
        match pairs.first() {
            None => Ok(Theme::Light),
            Some((_, name)) => {
                Theme::named(name).ok_or_else(|| Fault::unknown("theme", name, ["light", "dark"]))
            }
        }
    });
    let theme = match theme {
        Ok(theme) => theme,
        Err(fault) => return refusal(&fault),
    };
    let base = base(&uri, &headers);
    said(service, room, move |service| {
        let view = service.inner.twin.view();
        Ok(tiles::style(&service.inner.api, &view, theme, &base))
    })
    .await
}

/// Answers with JSON that is made off the network's threads.
async fn said(
    service: Service,
    room: Room,
    make: impl FnOnce(&Service) -> Result<serde_json::Value, Fault> + Send + 'static,
) -> Response {
    let made = tokio::task::spawn_blocking(move || {
        let _room = room;
        make(&service)
    });
    match made.await.map_err(|error| ended_badly(&error)).flatten() {
        Ok(json) => ([(header::CACHE_CONTROL, ASK_AGAIN)], axum::Json(json)).into_response(),
        Err(fault) => refusal(&fault),
    }
}

/// The tile of numbers as they stand in an address.
fn numbered(z: &str, x: &str, y: &str) -> Result<Tile, Fault> {
    let zoom = z.parse::<u8>().ok().filter(|zoom| *zoom <= MAX_TILE_ZOOM);
    let zoom = zoom.ok_or_else(|| {
        let zoom = shown(z);
        Fault::invalid(format!(
            "zoom `{zoom}` is no whole number from 0 to {MAX_TILE_ZOOM} (MAX_TILE_ZOOM)"
        ))
    })?;
    let last = (1_u32 << zoom) - 1;
    let number = |name: &str, text: &str| {
        let number = text.parse::<u32>().ok().filter(|number| *number <= last);
        number.ok_or_else(|| {
            let text = shown(text);
            Fault::invalid(format!(
                "{name} `{text}` is no whole number from 0 to {last}, as tiles of zoom {zoom} have"
            ))
        })
    };
    let (x, y) = (number("x", x)?, number("y", y)?);
    Tile::new(zoom, x, y).ok_or_else(|| Fault::invalid("there is no tile of that number"))
}

/// A foreign text as far as an error repeats it.
fn shown(text: &str) -> String {
    const MOST: usize = 24;
    text.chars().take(MOST).collect()
}

/// What addresses of this service begin with, as the client knows it. The guard let no other host
/// through than this machine's, by name or number.
fn base(uri: &Uri, headers: &HeaderMap) -> String {
    let named = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority = uri.authority().map(axum::http::uri::Authority::as_str);
    format!("http://{}", authority.or(named).unwrap_or("localhost"))
}
