//! The start page: what this is and where to go; and what all pages share.

use std::fmt::Write as _;
use std::path::Path;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};

use crate::service::Service;

const STYLE: &str = ":root { color-scheme: light dark; --line: #8884 } \
    body { font: 16px/1.55 system-ui, sans-serif; max-width: 52rem; margin: 3rem auto; padding: 0 1.25rem } \
    h1 { font-size: 1.9rem; margin: 0 0 .3rem } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem } \
    .places { display: flex; flex-wrap: wrap; gap: .7rem; padding: 0; list-style: none } \
    .places a { display: block; border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .9rem; text-decoration: none } \
    table { border-collapse: collapse; width: 100% } td { border-top: 1px solid var(--line); padding: .3rem .5rem; vertical-align: top } \
    td.n { text-align: right; font-variant-numeric: tabular-nums } small, .soft { opacity: .7 } \
    pre { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem }";

pub(super) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";

/// The start page.
pub(super) async fn start(State(service): State<Service>, headers: HeaderMap) -> Html<String> {
    let host = host(&headers);
    let inner = &service.inner;
    let view = inner.twin.view();
    let mut rows = String::new();
    for class in view.ontology().classes() {
        let count = view.count(class.id);
        if count > 0 {
            let (name, plural) = (escaped(&class.name), escaped(&class.plural));
            let about = escaped(&class.description);
            // Writing to a text cannot fail.
            let _infallible = write!(
                rows,
                "<tr><td>{name}<br><small>{plural}</small></td><td>{about}</td><td class=\"n\">{count}</td></tr>"
            );
        }
    }
    if rows.is_empty() {
        rows.push_str("<tr><td>Nothing yet: import data, and it shows here.</td></tr>");
    }
    let state = match inner.twin.stopped() {
        None => "It takes writes.".to_owned(),
        Some(reason) => format!("It does not take writes: {}.", escaped(&reason)),
    };
    let mut attribution = String::new();
    for line in &inner.options.attribution {
        attribution.push_str("<br>");
        attribution.push_str(&escaped(line));
    }
    let surql = if inner.options.surql.is_some() {
        format!(
            "<h2>Ask in SurrealQL</h2><pre>curl -s http://{host}/surql -d 'SELECT count() FROM Village GROUP ALL'</pre>"
        )
    } else {
        String::new()
    };
    let (twins, position) = (view.len(), view.position());
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>A national digital twin</title><style>{STYLE}</style></head><body>\
         <h1>A national digital twin</h1>\
         <p>Places, institutions, people and devices as one typed graph in space, live. \
         It holds <strong>{twins}</strong> twins at position <code>{position}</code>. {state}</p>\
         <ul class=\"places\">\
         <li><a href=\"/map\">See it <small>map, live</small></a></li>\
         <li><a href=\"/graphql\">Ask it <small>GraphiQL, with examples</small></a></li>\
         <li><a href=\"/graphql/schema.graphql\">Schema <small>GraphQL</small></a></li>\
         <li><a href=\"/tiles.json\">Map layers <small>vector tiles</small></a></li>\
         <li><a href=\"/metrics\">Metrics <small>Prometheus</small></a></li>\
         <li><a href=\"/readyz\">Ready?</a></li></ul>\
         <h2>What is in it</h2><table>{rows}</table>\
         <h2>Ask from a shell</h2>\
         <pre>curl -s http://{host}/graphql -H 'content-type: application/json' \\\n  -d '{{\"query\": \"{{ containing(point: {{lon: 30.0619, lat: -1.9441}}) {{ id class label }} }}\"}}'</pre>\
         {surql}\
         <p class=\"soft\"><small>Only programs and pages of this machine are answered. Where data is synthetic, <code>synthetic</code> says so.{attribution}</small></p>\
         </body></html>"
    ))
}

/// The address that the request was sent to, for HTML.
pub(super) fn host(headers: &HeaderMap) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    escaped(host.unwrap_or("localhost:8080"))
}

/// A file of a page that was built into a folder; `mend` says how it comes there.
pub(super) async fn built(folder: &Path, file: &str, kind: &'static str, mend: &str) -> Response {
    match tokio::fs::read(folder.join(file)).await {
        Ok(bytes) => {
            let headers = [
                (header::CONTENT_TYPE, kind),
                (header::CACHE_CONTROL, "max-age=3600"),
            ];
            (headers, bytes).into_response()
        }
        Err(error) => {
            let message = format!("{file} cannot be read: {error}; {mend}\n");
            (StatusCode::NOT_FOUND, message).into_response()
        }
    }
}

/// What a wrong address gets.
pub(super) async fn not_found(uri: Uri) -> Response {
    let message = format!(
        "there is nothing at {}; `/` says what there is\n",
        uri.path()
    );
    (StatusCode::NOT_FOUND, message).into_response()
}

/// A text for HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
