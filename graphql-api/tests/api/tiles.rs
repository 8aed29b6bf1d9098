//! Tiles over HTTP: what is answered, what is kept, and what is refused.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::http::{bytes, get, get_with, header, metrics, refuses, send, text};
use crate::world::{World, clinic};

#[tokio::test]
async fn a_tile_is_kept_until_a_twin_of_its_class_changes() {
    let world = World::small().await;
    // Holds the clinic c:1 at 29.5, -2.
    let path = "/tiles/Clinic/8/148/129.mvt";
    let first = send(&world, get(path)).await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(
        header(&first, "content-type"),
        "application/vnd.mapbox-vector-tile"
    );
    assert_eq!(header(&first, "cache-control"), "no-cache");
    assert_eq!(header(&first, "twin-tile-dropped"), "0");
    let tag = header(&first, "etag").to_owned();
    assert!(tag.starts_with("W/\"main:"), "{tag}");
    let tile = bytes(first).await;
    assert!(tile.windows(8).any(|part| part == b"Kigali A"));
    let same = send(
        &world,
        get_with(path, "if-none-match", &format!("\"other\", {tag}")),
    )
    .await;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(header(&same, "etag"), tag);
    assert!(bytes(same).await.is_empty());
    // An area is no clinic.
    world
        .data("mutation { upsertVillage(input: {id: \"v:1\", population: 7}) { changes } }")
        .await;
    let same = send(&world, get_with(path, "if-none-match", &tag)).await;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    world
        .commit(vec![clinic("c:1", json!({"name": "Kigali Z"}), 29.5, -2.0)])
        .await;
    let other = send(&world, get_with(path, "if-none-match", &tag)).await;
    assert_eq!(other.status(), StatusCode::OK);
    assert_ne!(header(&other, "etag"), tag);
    assert!(
        bytes(other)
            .await
            .windows(8)
            .any(|part| part == b"Kigali Z")
    );
}

#[tokio::test]
async fn a_tile_of_nothing_is_no_bytes_and_a_wrong_address_is_told_why() {
    let world = World::small().await;
    let empty = send(&world, get("/tiles/Clinic/8/0/0.mvt")).await;
    assert_eq!(empty.status(), StatusCode::OK);
    assert!(bytes(empty).await.is_empty());
    let cases = [
        (
            "/tiles/Clinik/8/0/0.mvt",
            404,
            "UNKNOWN_NAME",
            "did you mean `Clinic`",
        ),
        (
            "/tiles/Clinic/23/0/0.mvt",
            400,
            "INVALID_INPUT",
            "MAX_TILE_ZOOM",
        ),
        ("/tiles/Clinic/x/0/0.mvt", 400, "INVALID_INPUT", "zoom `x`"),
        ("/tiles/Clinic/2/4/0.mvt", 400, "INVALID_INPUT", "x `4`"),
        ("/tiles/Clinic/2/0/-1.mvt", 400, "INVALID_INPUT", "y `-1`"),
        (
            "/tiles/Clinic/2/0/0.mvt?attrs=bedz",
            404,
            "UNKNOWN_NAME",
            "did you mean `beds`",
        ),
        (
            "/tiles/Clinic/2/0/0.mvt?at=now",
            400,
            "INVALID_INPUT",
            "not offered yet",
        ),
        (
            "/tiles/Clinic/2/0/0.mvt?value=name",
            400,
            "INVALID_INPUT",
            "not a number",
        ),
        (
            "/tiles/Clinik.json",
            404,
            "UNKNOWN_NAME",
            "did you mean `Clinic`",
        ),
        ("/tiles.json?a=1", 404, "UNKNOWN_NAME", "argument `a`"),
        (
            "/style.json?theme=drak",
            404,
            "UNKNOWN_NAME",
            "did you mean `dark`",
        ),
        (
            "/style.json?theme=dark&theme=light",
            400,
            "INVALID_INPUT",
            "twice",
        ),
    ];
    refuses(&world, &cases).await;
    let other = send(&world, get("/tiles/Clinic/2/0/0.png")).await;
    assert_eq!(other.status(), StatusCode::NOT_FOUND);
    let metrics = metrics(&world).await;
    assert!(
        metrics.contains("twin_tile_requests_total{code=\"OK\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("twin_tile_requests_total{code=\"UNKNOWN_NAME\"} 2"));
    assert!(metrics.contains("twin_tile_seconds_count 1"));
    assert!(metrics.contains("twin_tile_dropped_total 0"));
}

#[tokio::test]
async fn what_there_is_leads_from_one_address_to_the_next() {
    let world = World::small().await;
    let json = async |path: &str| -> Value {
        let answer = send(&world, get(path)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&answer, "content-type"), "application/json");
        serde_json::from_str(&text(answer).await).unwrap()
    };
    let base = "http://localhost:4123";
    let layers = json("/tiles.json").await;
    let clinic = layers["layers"].as_array().unwrap().iter();
    let clinic = clinic
        .clone()
        .find(|layer| layer["layer"] == "Clinic")
        .unwrap();
    assert_eq!(
        (&clinic["points"], &clinic["shapes"]),
        (&json!(3), &json!(0))
    );
    assert_eq!(clinic["url"], format!("{base}/tiles/Clinic.json"));
    let said = json("/tiles/Clinic.json?attrs=beds").await;
    let tiles = format!("{base}/tiles/Clinic/{{z}}/{{x}}/{{y}}.mvt?attrs=beds");
    assert_eq!(said["tiles"], json!([tiles]));
    assert_eq!(said["vector_layers"][0]["fields"]["beds"], "Number");
    assert!(said["vector_layers"][0]["fields"].get("rating").is_none());
    let style = json("/style.json?theme=dark").await;
    assert_eq!(
        style["sources"]["Clinic"]["url"],
        format!("{base}/tiles/Clinic.json")
    );
    // A village is an area, and areas have one of their own.
    assert!(style["sources"].get("Village").is_none());
}
