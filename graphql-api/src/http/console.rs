//! The query console at `GET /graphql`: GraphiQL, served by us so that it works offline.
//!
//! Its scripts and styles come from the folder that `npm ci` fills for `console/package.json`.
//! Without that folder the page says how to get them, and everything else works.

use std::path::Path;

use axum::extract::{Path as Named, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use twin_core::View;

use super::page::{CSS, JAVASCRIPT, built, escaped, host};
use crate::service::Service;

/// Files of the assets folder: the name in our address, the place in the folder, the kind.
const ASSETS: [(&str, &str, &str); 4] = [
    ("react.js", "react/umd/react.production.min.js", JAVASCRIPT),
    (
        "react-dom.js",
        "react-dom/umd/react-dom.production.min.js",
        JAVASCRIPT,
    ),
    ("graphiql.js", "graphiql/graphiql.min.js", JAVASCRIPT),
    ("graphiql.css", "graphiql/graphiql.min.css", CSS),
];

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ask the twin</title>
<link rel="stylesheet" href="/graphql/console/graphiql.css">
<style>html, body, #graphiql { height: 100%; margin: 0 }</style>
</head>
<body>
<div id="graphiql">Loading…</div>
<script src="/graphql/console/react.js"></script>
<script src="/graphql/console/react-dom.js"></script>
<script src="/graphql/console/graphiql.js"></script>
<script src="/graphql/console/start.js"></script>
</body>
</html>
"#;

/// Ours, so that the page needs no script of its own and the content policy can refuse any.
const START: &str = r#""use strict";
const asks = (question, options) => {
  const operations = ((options && options.documentAST) || { definitions: [] }).definitions.filter(
    (definition) => definition.kind === "OperationDefinition"
      && (!question.operationName || (definition.name && definition.name.value === question.operationName)));
  return operations.some((operation) => operation.operation === "subscription");
};
// One socket for each subscription: its end ends the socket, and the other way round.
async function* follow(question) {
  const address = new URL("/graphql/ws", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address, "graphql-transport-ws");
  const heard = [];
  let wake = () => {};
  const hear = (message) => { heard.push(message); wake(); };
  socket.onopen = () => socket.send(JSON.stringify({ type: "connection_init" }));
  socket.onmessage = (event) => hear(JSON.parse(event.data));
  socket.onclose = (event) => hear({ type: "closed", reason: `${event.code} ${event.reason}` });
  try {
    for (;;) {
      while (heard.length === 0) await new Promise((resolve) => { wake = resolve; });
      const message = heard.shift();
      if (message.type === "connection_ack") {
        socket.send(JSON.stringify({ type: "subscribe", id: "1", payload: question }));
      } else if (message.type === "next") {
        yield message.payload;
      } else if (message.type === "error") {
        yield { errors: message.payload };
        return;
      } else if (message.type === "closed") {
        yield { errors: [{ message: `the socket was closed: ${message.reason}` }] };
        return;
      } else if (message.type === "complete") {
        return;
      }
    }
  } finally {
    socket.close();
  }
}
const ask = async (question, options) => {
  if (asks(question, options)) return follow(question);
  const headers = { "content-type": "application/json", ...(options && options.headers) };
  const answer = await fetch("/graphql", { method: "POST", headers, body: JSON.stringify(question) });
  return answer.json();
};
// A link may bring a query of its own, as the map's do: /graphql#query=…
const shared = new URLSearchParams(location.hash.slice(1)).get("query");
if (shared) tabs.unshift({ query: shared });
ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, { fetcher: ask, query: shared || undefined, defaultTabs: tabs, defaultEditorToolsVisibility: false })
);
"#;

#[derive(Deserialize)]
pub(super) struct Asked {
    query: Option<String>,
}

/// The console's page.
pub(super) async fn page(
    State(service): State<Service>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    if asked.query.is_some() {
        let message = "send queries with POST and `content-type: application/json`: GET only shows the console\n";
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            [(header::ALLOW, "POST")],
            message,
        )
            .into_response();
    }
    match &service.inner.options.assets {
        Some(folder)
            if ASSETS
                .iter()
                .all(|(_, file, _)| folder.join(file).is_file()) =>
        {
            Html(PAGE).into_response()
        }
        folder => Html(without_assets(folder.as_deref(), &host(&headers))).into_response(),
    }
}

fn without_assets(folder: Option<&Path>, host: &str) -> String {
    let place = folder.map_or_else(
        || "no folder for them is configured".to_owned(),
        |folder| {
            format!(
                "<code>{}</code> lacks them",
                escaped(&folder.display().to_string())
            )
        },
    );
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Ask the twin</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <style>:root {{ color-scheme: light dark }} body {{ font: 16px/1.5 system-ui; max-width: 42rem; margin: 3rem auto; padding: 0 1rem }}</style>\
         <h1>Ask the twin</h1>\
         <p>The console's scripts are not here: {place}. They come from npm, once:</p>\
         <pre>cd graphql-api/console &amp;&amp; npm ci</pre>\
         <p><code>make build</code> does that too. The API works without them:</p>\
         <pre>curl -s http://{host}/graphql -H 'content-type: application/json' \\\n  -d '{{\"query\": \"{{ position }}\"}}'</pre>\
         <p><a href=\"/graphql/schema.graphql\">The schema</a> · <a href=\"/\">Start page</a></p></html>"
    )
}

/// One of the console's files.
pub(super) async fn asset(State(service): State<Service>, Named(name): Named<String>) -> Response {
    if name == "start.js" {
        let view = service.inner.twin.view();
        let tabs: Vec<_> = examples(&view)
            .into_iter()
            .map(|query| serde_json::json!({ "query": query }))
            .collect();
        let script = format!("const tabs = {};\n{START}", serde_json::Value::from(tabs));
        return ([(header::CONTENT_TYPE, JAVASCRIPT)], script).into_response();
    }
    let known = ASSETS.iter().find(|(known, _, _)| *known == name);
    let (Some((_, file, kind)), Some(folder)) = (known, &service.inner.options.assets) else {
        return (StatusCode::NOT_FOUND, "the console has no such file\n").into_response();
    };
    built(folder, file, kind, "run `npm ci` again").await
}

/// Example questions that this twin's ontology and data can answer.
pub(crate) fn examples(view: &View) -> Vec<String> {
    let class = |name: &str| view.ontology().class_named(name);
    let has = |class_name: &str, member: &str| {
        class(class_name).is_some_and(|class| {
            class.property(member).is_some() || class.relationship(member).is_some()
        })
    };
    let mut examples = Vec::new();
    let mut add = |wanted: bool, query: String| {
        if wanted {
            examples.push(query);
        }
    };
    if let Some(facility) = class("HealthFacility") {
        let (list, name) = (
            &facility.plural,
            if has("HealthFacility", "name") {
                "name"
            } else {
                "label"
            },
        );
        add(
            true,
            format!(
                "# Health facilities within 10 km of the centre of Kigali.\nquery FacilitiesNearKigali {{\n  {list}(\n    space: {{ radius: {{ center: {{ lon: 30.0619, lat: -1.9441 }}, metres: 10000 }} }}\n    first: 20\n  ) {{\n    totalCount\n    edges {{\n      node {{\n        id\n        {name}\n        geometry\n      }}\n    }}\n    pageInfo {{\n      hasNextPage\n      endCursor\n    }}\n  }}\n}}\n"
            ),
        );
    }
    add(
        class("Village").is_some(),
        "# The village that holds a point. Leave `class` out for every area that does.\nquery VillageOfAPoint {\n  containing(point: { lon: 30.0619, lat: -1.9441 }, class: \"Village\") {\n    id\n    label\n    class\n  }\n}\n".to_owned(),
    );
    if let Some(district) = class("District").filter(|_| has("District", "population")) {
        let list = &district.plural;
        add(
            true,
            format!(
                "# Districts by population, largest first.\nquery DistrictsByPopulation {{\n  {list}(orderBy: [{{ population: DESC }}], first: 30) {{\n    totalCount\n    edges {{\n      node {{\n        id\n        label\n        population\n      }}\n    }}\n  }}\n}}\n"
            ),
        );
    }
    let facility = ["Hospital", "HealthFacility"]
        .into_iter()
        .find(|name| class(name).is_some());
    if let Some(facility) = facility {
        add(
            true,
            format!(
                "# The five nearest, with geodesic metres.\nquery Nearest{facility}s {{\n  nearest(class: \"{facility}\", to: {{ lon: 30.0619, lat: -1.9441 }}, k: 5) {{\n    metres\n    twin {{\n      id\n      label\n    }}\n  }}\n}}\n"
            ),
        );
    }
    // The first district there is, so that the question has an answer whatever data was loaded.
    let district = class("District").and_then(|district| view.scan(district.id, None).next());
    if let Some(district) =
        district.filter(|_| view.ontology().relationship_named("partOf").is_some())
    {
        let id = view.id(district);
        add(
            true,
            format!(
                "# Two hops: what is part of the parts of a district.\nquery PartsOfADistrict {{\n  traverse(\n    from: [\"{id}\"]\n    steps: [\n      {{ relationship: \"partOf\", direction: IN }}\n      {{ relationship: \"partOf\", direction: IN }}\n    ]\n    first: 20\n  ) {{\n    totalCount\n    edges {{\n      node {{\n        id\n        class\n        label\n      }}\n    }}\n  }}\n}}\n"
            ),
        );
        add(
            true,
            format!(
                "# One twin and all that is related to it.\nquery OneTwin {{\n  twin(id: \"{id}\") {{\n    __typename\n    id\n    label\n    revision\n    related(direction: IN, first: 10) {{\n      totalCount\n      edges {{\n        relationship\n        node {{\n          id\n          label\n        }}\n      }}\n    }}\n  }}\n}}\n"
            ),
        );
    }
    examples.push(
        "# The instant that this answer speaks of.\nquery Position {\n  position\n}\n".to_owned(),
    );
    examples
}
