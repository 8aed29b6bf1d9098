//! Models over HTTP: what is answered, what is kept, and what is refused.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::json;
use twin_core::Operation;
use twin_core::space::{Shape, Solid, Surface};

use crate::http::{bytes, get, get_with, header, refuses, send};
use crate::world::{World, put};

/// A clinic whose roof is all that is known of its solid.
fn roofed(height: f64) -> Operation {
    let ring = [
        [29.5, -2.0],
        [29.6, -2.0],
        [29.6, -1.9],
        [29.5, -1.9],
        [29.5, -2.0],
    ];
    let area = json!({"type": "Polygon", "coordinates": [ring]});
    let roof = ring.map(|[lon, lat]| [lon, lat, height]).to_vec();
    let solid = Solid::new([(Surface::Roof, vec![roof])]).unwrap();
    let shape = Shape::from_geojson(&area)
        .unwrap()
        .with_solid(solid)
        .unwrap();
    let mut put = put("c:1", "Clinic", json!({}), None);
    put.geometry = Some(Some(Arc::new(shape)));
    Operation::Upsert(put)
}

#[tokio::test]
async fn a_model_is_kept_until_its_twin_changes() {
    let world = World::small().await;
    world.commit(vec![roofed(1_500.0)]).await;
    let path = "/models/c:1.glb";
    let first = send(&world, get(path)).await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(header(&first, "content-type"), "model/gltf-binary");
    assert_eq!(header(&first, "cache-control"), "no-cache");
    let tag = header(&first, "etag").to_owned();
    assert!(tag.starts_with("W/\"main:"), "{tag}");
    let model = bytes(first).await;
    assert_eq!(&model[..4], b"glTF");
    let same = send(&world, get_with(path, "if-none-match", &tag)).await;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    assert!(bytes(same).await.is_empty());
    // Another twin of the class is another model.
    world
        .data("mutation { upsertClinic(input: {id: \"c:2\", beds: 7}) { changes } }")
        .await;
    let same = send(&world, get_with(path, "if-none-match", &tag)).await;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    world.commit(vec![roofed(1_510.0)]).await;
    let other = send(&world, get_with(path, "if-none-match", &tag)).await;
    assert_eq!(other.status(), StatusCode::OK);
    assert_ne!(bytes(other).await, model);
}

#[tokio::test]
async fn a_change_of_properties_keeps_the_solid_and_one_of_geometry_does_not() {
    let world = World::small().await;
    world.commit(vec![roofed(1_500.0)]).await;
    world
        .data("mutation { upsertClinic(input: {id: \"c:1\", beds: 7}) { changes } }")
        .await;
    assert_eq!(
        send(&world, get("/models/c:1.glb")).await.status(),
        StatusCode::OK
    );
    // What the store keeps is all that a start knows; from now on it is the one that may write.
    let world = World::over(world.store.clone()).await;
    assert_eq!(
        send(&world, get("/models/c:1.glb")).await.status(),
        StatusCode::OK
    );
    let point = "{type: \"Point\", coordinates: [29.5, -2.0]}";
    world
        .data(&format!(
            "mutation {{ upsertClinic(input: {{id: \"c:1\", geometry: {point}}}) {{ changes }} }}"
        ))
        .await;
    assert_eq!(
        send(&world, get("/models/c:1.glb")).await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn what_has_no_model_is_told_why() {
    let world = World::small().await;
    let cases = [
        (
            "/models/c:1.glb",
            404,
            "NOT_FOUND",
            "the Clinic `c:1` has no solid",
        ),
        (
            "/models/s:1.glb",
            404,
            "NOT_FOUND",
            "the Station `s:1` has no solid",
        ),
        (
            "/models/c:9.glb",
            404,
            "NOT_FOUND",
            "there is no twin `c:9`",
        ),
        ("/models/%20.glb", 404, "NOT_FOUND", "there is no twin ` `"),
        (
            "/models/c:1.glb?at=now",
            400,
            "INVALID_INPUT",
            "`at` is not offered yet",
        ),
        ("/models/c:1.glb?a=1", 404, "UNKNOWN_NAME", "argument `a`"),
    ];
    refuses(&world, &cases).await;
    // Whoever would take any model is told as well.
    let any = send(&world, get_with("/models/c:1.glb", "if-none-match", "*")).await;
    assert_eq!(any.status(), StatusCode::NOT_FOUND);
    let other = send(&world, get("/models/c:1.gltf")).await;
    assert_eq!(other.status(), StatusCode::NOT_FOUND);
}
