use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use futures_util::FutureExt as _;
use graphql_api::{Options, router};
use serde_json::{Value, json};
use tower::Service as _;

use crate::world::World;

pub(crate) async fn send(world: &World, request: Request<Body>) -> Response<Body> {
    router(world.service.clone()).call(request).await.unwrap()
}

pub(crate) async fn bytes(response: Response<Body>) -> Vec<u8> {
    let bytes = axum::body::to_bytes(response.into_body(), 16 << 20).await;
    bytes.unwrap().to_vec()
}

pub(crate) async fn text(response: Response<Body>) -> String {
    String::from_utf8(bytes(response).await).unwrap()
}

pub(crate) fn header<'r>(response: &'r Response<Body>, name: &str) -> &'r str {
    response.headers()[name].to_str().unwrap()
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path)
        .header("host", "localhost:4123")
        .body(Body::empty())
        .unwrap()
}

/// What [`get`] asks for, with one header more.
pub(crate) fn get_with(path: &str, name: &'static str, value: &str) -> Request<Body> {
    let mut request = get(path);
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// Each address is refused with its status, its code and a message that has its part.
pub(crate) async fn refuses(world: &World, cases: &[(&str, u16, &str, &str)]) {
    for &(path, status, code, part) in cases {
        let answer = send(world, get(path)).await;
        assert_eq!(answer.status(), status, "{path}");
        let body: Value = serde_json::from_str(&text(answer).await).unwrap();
        let error = &body["errors"][0];
        assert_eq!(error["extensions"]["code"], code, "{path}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(part), "{path}: {message}");
    }
}

/// What `/metrics` says.
pub(crate) async fn metrics(world: &World) -> String {
    text(send(world, get("/metrics")).await).await
}

fn post() -> axum::http::request::Builder {
    Request::post("/graphql")
        .header("host", "127.0.0.1:8080")
        .header("content-type", "application/json")
}

fn ask(query: &str) -> Request<Body> {
    let body = json!({ "query": query });
    post().body(Body::from(body.to_string())).unwrap()
}

#[tokio::test]
async fn a_query_is_answered_in_both_media_types() {
    let world = World::small().await;
    let answer = send(&world, ask("{ position }")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        answer.headers()["content-type"],
        "application/json; charset=utf-8"
    );
    let json: Value = serde_json::from_str(&text(answer).await).unwrap();
    assert!(json["data"]["position"].is_string());
    for (query, plain, new) in [
        ("{ position }", 200, 200),
        ("{ twin(id: \"?\") { id } }", 200, 200),
        ("{ nothing }", 200, 400),
    ] {
        assert_eq!(send(&world, ask(query)).await.status(), plain, "{query}");
        let mut request = ask(query);
        let accept = "application/graphql-response+json, application/json;q=0.9";
        request
            .headers_mut()
            .insert("accept", accept.parse().unwrap());
        let answer = send(&world, request).await;
        assert_eq!(answer.status(), new, "{query}");
        let content = answer.headers()["content-type"].to_str().unwrap();
        assert!(content.starts_with("application/graphql-response+json"));
    }
}

#[tokio::test]
async fn only_this_machine_is_answered() {
    let world = World::small().await;
    for (host, origin, status) in [
        ("localhost", None, 200),
        ("[::1]:8080", Some("http://127.0.0.1:3000"), 200),
        ("twin.example.com", None, 421),
        ("localhost", Some("https://example.com"), 403),
        ("localhost", Some("null"), 403),
    ] {
        let mut request = ask("{ position }");
        request.headers_mut().insert("host", host.parse().unwrap());
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", origin.parse().unwrap());
        }
        let answer = send(&world, request).await;
        assert_eq!(answer.status(), status, "{host} {origin:?}");
        let allowed = answer.headers().get("access-control-allow-origin");
        assert_eq!(allowed.is_some(), status == 200 && origin.is_some());
    }
    let nameless = Request::get("/healthz").body(Body::empty()).unwrap();
    assert_eq!(send(&world, nameless).await.status(), 421);
}

#[tokio::test]
async fn what_is_no_request_is_refused_clearly() {
    let world = World::small().await;
    let body = |content: &str, body: String| {
        Request::post("/graphql")
            .header("host", "localhost")
            .header("content-type", content)
            .body(Body::from(body))
            .unwrap()
    };
    let json_type = "application/json";
    for (request, status, part) in [
        (body("text/plain", "{}".to_owned()), 415, "application/json"),
        (
            body(json_type, "[{\"query\": \"{ position }\"}]".to_owned()),
            400,
            "by itself",
        ),
        (body(json_type, "{\"query\": ".to_owned()), 400, "JSON"),
        (body(json_type, "{}".to_owned()), 400, "no `query`"),
        (body(json_type, " ".repeat(2 << 20)), 413, "MAX_BODY_BYTES"),
    ] {
        let answer = send(&world, request).await;
        assert_eq!(answer.status(), status);
        let json: Value = serde_json::from_str(&text(answer).await).unwrap();
        assert!(json["errors"][0]["extensions"]["code"].is_string());
        assert!(
            json["errors"][0]["message"]
                .as_str()
                .unwrap()
                .contains(part),
            "{json:#}"
        );
    }
    let asked = send(&world, get("/graphql?query=%7Bposition%7D")).await;
    assert_eq!(asked.status(), 405);
}

#[tokio::test]
async fn an_answer_waits_for_the_position_it_is_given() {
    let world = World::small().await;
    let here = world.twin.view().position().to_string();
    let mut request = ask("{ position }");
    request
        .headers_mut()
        .insert("twin-after", here.parse().unwrap());
    assert_eq!(send(&world, request).await.status(), 200);
    let mut request = ask("{ position }");
    request
        .headers_mut()
        .insert("twin-after", "main:999999".parse().unwrap());
    let answer = send(&world, request).await;
    assert_eq!(answer.status(), 504);
    assert!(text(answer).await.contains("\"TIMEOUT\""));
    let mut request = ask("{ position }");
    request
        .headers_mut()
        .insert("twin-after", "nonsense".parse().unwrap());
    assert_eq!(send(&world, request).await.status(), 400);
}

/// Work that nobody waits for any more still takes its place until it is done.
#[test]
fn a_request_keeps_its_place_as_long_as_it_is_worked_on() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::small().await;
        // The only thread for long work is taken, so the question waits for it.
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let other = tokio::task::spawn_blocking(move || wait.recv());
        let nearest = "{ nearest(class: \"Clinic\", to: {lon: 30, lat: -2}) { metres } }";
        let mut answer = Box::pin(send(&world, ask(nearest)));
        while !metrics(&world).await.contains("twin_http_working 1") {
            assert!(futures_util::poll!(&mut answer).is_pending());
        }
        drop(answer);
        assert!(metrics(&world).await.contains("twin_http_working 1"));
        done.send(()).unwrap();
        other.await.unwrap().unwrap();
        // After it, and it is the last.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert!(metrics(&world).await.contains("twin_http_working 0"));
    });
}

#[tokio::test]
async fn health_and_metrics_tell_the_twins_state() {
    let world = World::small().await;
    send(&world, ask("{ nothing }")).await;
    assert_eq!(send(&world, get("/healthz")).await.status(), 200);
    assert_eq!(send(&world, get("/readyz")).await.status(), 200);
    let metrics = metrics(&world).await;
    for line in [
        "twin_graphql_requests_total{code=\"UNKNOWN_NAME\"} 1",
        "twin_twins{class=\"Clinic\"} 3",
        "twin_twins{class=\"Area\"} 3",
        "twin_relationships{name=\"serves\"} 3",
        "twin_readings_total 1",
        "twin_writes 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    world.twin.close().await;
    let ready = send(&world, get("/readyz")).await;
    assert_eq!(ready.status(), 503);
    assert!(text(ready).await.contains("does not write"));
    assert_eq!(send(&world, get("/healthz")).await.status(), 200);
}

#[tokio::test]
async fn the_start_page_counts_and_links() {
    let world = World::small().await;
    let answer = send(&world, get("/")).await;
    assert!(answer.headers().contains_key("content-security-policy"));
    let page = text(answer).await;
    for part in [
        "Clinic",
        "<td class=\"n\">3</td>",
        "href=\"/graphql\"",
        "href=\"/metrics\"",
        "curl -s http://localhost:4123/graphql",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("https://"));
    assert_eq!(send(&world, get("/nowhere")).await.status(), 404);
}

#[tokio::test]
async fn the_console_is_served_from_its_folder_or_says_how_to_get_it() {
    let world = World::small().await;
    let page = text(send(&world, get("/graphql")).await).await;
    assert!(page.contains("npm ci"), "{page}");
    assert!(page.contains("http://localhost:4123/graphql"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    for file in [
        "react/umd/react.production.min.js",
        "react-dom/umd/react-dom.production.min.js",
        "graphiql/graphiql.min.js",
        "graphiql/graphiql.min.css",
    ] {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
    }
    let assets = Some(folder.path().to_owned());
    let world = World::with(Options {
        assets,
        ..Options::default()
    })
    .await;
    let page = text(send(&world, get("/graphql")).await).await;
    assert!(page.contains("/graphql/console/graphiql.js"));
    let script = send(&world, get("/graphql/console/graphiql.js")).await;
    assert!(
        script.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/javascript")
    );
    assert_eq!(text(script).await, "graphiql/graphiql.min.js");
    assert!(
        text(send(&world, get("/graphql/console/start.js")).await)
            .await
            .contains("const tabs = [")
    );
    assert_eq!(
        send(&world, get("/graphql/console/..%2F..%2Fetc%2Fpasswd"))
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn surrealql_is_answered_by_what_the_binary_gives() {
    let world = World::small().await;
    let request = |text: &str| {
        Request::post("/surql")
            .header("host", "localhost")
            .body(Body::from(text.to_owned()))
            .unwrap()
    };
    assert_eq!(send(&world, request("SELECT 1")).await.status(), 404);
    let surql: graphql_api::SurqlFn = Arc::new(|text| {
        async move {
            if text.starts_with("SELECT") {
                Ok(json!([text]))
            } else {
                Err("only SELECT".to_owned())
            }
        }
        .boxed()
    });
    let world = World::with(Options {
        surql: Some(surql),
        ..Options::default()
    })
    .await;
    let answer = send(&world, request("SELECT 1")).await;
    assert_eq!(text(answer).await, "[\"SELECT 1\"]");
    let refused = send(&world, request("DELETE x")).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(text(refused).await, "only SELECT\n");
}

#[tokio::test]
async fn large_answers_are_compressed() {
    let world = World::small().await;
    let mut request = get("/graphql/schema.graphql");
    request
        .headers_mut()
        .insert("accept-encoding", "gzip".parse().unwrap());
    let answer = send(&world, request).await;
    assert_eq!(answer.headers()["content-encoding"], "gzip");
}

#[tokio::test]
async fn the_consoles_examples_run_on_the_shipped_packs() {
    let packs = concat!(env!("CARGO_MANIFEST_DIR"), "/../seeds/ontology");
    let loaded = ontology::Ontology::load_dir(std::path::Path::new(packs));
    let (ontology, _) = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    let ontology = Arc::new(ontology);
    let store = twin_core::memory::MemoryStore::new(Arc::clone(&ontology));
    let settings = twin_core::Settings::default();
    let twin = twin_core::Twin::open(Arc::new(store.clone()), ontology, settings)
        .await
        .unwrap();
    let service = graphql_api::Service::new(twin.clone(), Options::default()).unwrap();
    let world = World {
        twin,
        service,
        store,
    };
    let district = twin_core::Put {
        id: crate::world::id("rw:district:1"),
        class: "District".into(),
        set: vec![],
        geometry: None,
        expect: None,
    };
    world
        .commit(vec![twin_core::Operation::Upsert(district)])
        .await;
    let script = text(send(&world, get("/graphql/console/start.js")).await).await;
    let tabs = script
        .strip_prefix("const tabs = ")
        .unwrap()
        .split(";\n")
        .next()
        .unwrap();
    let tabs: Vec<Value> = serde_json::from_str(tabs).unwrap();
    assert!(tabs.len() >= 7, "{tabs:#?}");
    for tab in tabs {
        world.data(tab["query"].as_str().unwrap()).await;
    }
}

#[tokio::test]
async fn the_map_is_served_from_its_folder_or_says_how_to_get_it() {
    let world = World::small().await;
    let page = text(send(&world, get("/map")).await).await;
    assert!(page.contains("node build.mjs"), "{page}");
    assert!(page.contains("no folder for it is configured"), "{page}");
    assert_eq!(send(&world, get("/map/map.js")).await.status(), 404);
    let folder = tempfile::tempdir().unwrap();
    for file in ["index.html", "map.js", "worker.mjs", "map.css", "secret"] {
        std::fs::write(folder.path().join(file), file).unwrap();
    }
    let map = Some(folder.path().to_owned());
    let options = Options {
        map,
        ..Options::default()
    };
    let world = World::with(options).await;
    let page = send(&world, get("/map")).await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self';"), "{policy}");
    assert!(policy.contains("connect-src 'self';"), "{policy}");
    assert_eq!(text(page).await, "index.html");
    for (file, kind) in [
        ("map.js", "text/javascript"),
        ("worker.mjs", "text/javascript"),
        ("map.css", "text/css"),
    ] {
        let answer = send(&world, get(&format!("/map/{file}"))).await;
        let said = answer.headers()["content-type"].to_str().unwrap();
        assert!(said.starts_with(kind), "{said}");
        assert_eq!(text(answer).await, file);
    }
    for other in ["secret", "index.html", "..%2F..%2Fetc%2Fpasswd"] {
        let answer = send(&world, get(&format!("/map/{other}"))).await;
        assert_eq!(answer.status(), 404, "{other}");
    }
}

#[tokio::test]
async fn the_maps_model_says_what_there_is_and_where() {
    let options = Options {
        attribution: vec!["© Somebody".to_owned()],
        ..Options::default()
    };
    let world = World::with(options).await;
    world.fill().await;
    let model = text(send(&world, get("/map/model.json")).await).await;
    let model: Value = serde_json::from_str(&model).unwrap();
    assert_eq!(model["position"], world.twin.view().position().to_string());
    assert_eq!(model["bounds"], json!([29.0, -3.0, 31.0, -1.0]));
    assert_eq!(model["attribution"], json!(["© Somebody"]));
    let classes = model["classes"].as_array().unwrap();
    let class = |name: &str| classes.iter().find(|class| class["name"] == name).unwrap();
    let names: Vec<_> = classes
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Area", "Clinic", "Station", "Thing", "Village"]);
    // Of exactly that class, subclasses apart.
    assert_eq!(class("Area")["count"], 1);
    assert_eq!(class("Village")["count"], 2);
    assert_eq!(class("Village")["geometry"], "area");
    assert_eq!(class("Village")["cover"], 1.0);
    assert_eq!(class("Clinic")["geometry"], "point");
    assert_eq!(class("Clinic")["pack"], "test");
    assert_eq!(class("Station")["geometry"], Value::Null);
    assert_eq!(class("Thing")["count"], 0);
    let members = class("Clinic")["properties"].as_array().unwrap();
    let member = |name: &str| members.iter().find(|m| m["name"] == name).unwrap();
    assert_eq!(member("beds")["kind"], "integer");
    assert_eq!(member("beds")["description"], "Beds");
    assert_eq!(member("rating")["kind"], "number");
    assert_eq!(member("budget")["kind"], "integer");
    assert_eq!(member("opened")["kind"], "time");
    assert_eq!(member("tags")["kind"], "list");
    assert_eq!(member("synthetic")["kind"], "truth");
    assert_eq!(
        member("level")["choices"],
        json!([{"value": "LOW", "label": "low"}, {"value": "HIGH", "label": "high"}])
    );
    assert_eq!(member("address")["fields"][1]["name"], "number");
    let heat = &class("Station")["telemetry"][0];
    assert_eq!(heat["unit"], "degreeCelsius");
    assert_eq!(class("Clinic")["relationships"][0]["name"], "locatedIn");
}
