//! Vector tiles: a dense one, one that counts a million points, and how many go out in a second.
//!
//! Nobody stands beside: SurrealDB draws no tiles.

use std::f64::consts::PI;
use std::sync::Arc;
use std::time::Duration;

use graphql_api::{Options, Service};
use ontology::Value;
use serde_json::json;
use twin_core::space::Shape;
use twin_core::{Operation, Put, Twin};

use super::figure;
use super::measure::{loops, timed};
use super::points::MILLION;
use super::synthetic::{self, BATCH, Random, Recipe, THING, commit, thing_id};
use super::web::Web;
use super::{Bench, stage};
use crate::failure::Failure;

/// The tile of zoom 6 in which all made-up points lie.
const COUNTED: (u8, u32, u32) = (6, 37, 32);
/// A tile of zoom 14 in the capital, with as many buildings as the densest quarters of cities.
const DENSE: (u8, u32, u32) = (14, 9_560, 8_280);
const BUILDINGS: u64 = 5_000;
/// A square of so many tiles of zoom 17 lies in it, with some 80 buildings each.
const PARTS: u32 = 8;
/// Walls of a building.
const WALLS: usize = 8;
const SEED: u64 = 13;

/// All of them.
pub(crate) async fn all(bench: &Bench) -> Result<(), Failure> {
    if bench.wants(&figure::TILE_MILLION) {
        let twin = stage::unstored(bench).await?;
        let recipe = Recipe {
            properties: false,
            links: false,
            point: true,
        };
        synthetic::load(&twin, MILLION, recipe).await?;
        let service = service(&twin)?;
        let (bytes, times) = draw(bench, &service, COUNTED).await?;
        let data = format!("{bytes} bytes before compression, in process");
        bench.show(&figure::TILE_MILLION, &data, &times, &[]);
        twin.close().await;
    }
    if bench.wants_any(&[&figure::TILE_BUILDINGS, &figure::TILE_RATE]) {
        let twin = stage::unstored(bench).await?;
        build(&twin).await?;
        let service = service(&twin)?;
        if bench.wants(&figure::TILE_BUILDINGS) {
            let (bytes, times) = draw(bench, &service, DENSE).await?;
            let data = format!(
                "{WALLS} walls and 7 properties each, {bytes} bytes before compression, in process"
            );
            bench.show(&figure::TILE_BUILDINGS, &data, &times, &[]);
        }
        if bench.wants(&figure::TILE_RATE) {
            let web = Web::serve(service).await?;
            let mut rates = Vec::new();
            for _ in 0..bench.runs {
                rates.push(rate(&web, bench.run_for).await?);
            }
            let data = "zoom 17, one client over one kept connection, without compression";
            bench.show(&figure::TILE_RATE, data, &rates, &[]);
            web.close();
        }
        twin.close().await;
    }
    Ok(())
}

fn service(twin: &Twin) -> Result<Service, Failure> {
    Service::new(twin.clone(), Options::default())
        .map_err(|error| Failure::failed(format!("the API's schema: {error}")))
}

/// How large a tile is, and the seconds that drawing it takes, of each run.
async fn draw(
    bench: &Bench,
    service: &Service,
    (z, x, y): (u8, u32, u32),
) -> Result<(usize, Vec<f64>), Failure> {
    /// Less than this is no answer to what is asked here.
    const LEAST_BYTES: usize = 1_000;
    let first = service
        .tile(THING, z, x, y)
        .await
        .map_err(Failure::failed)?;
    if first.len() < LEAST_BYTES {
        return Err(Failure::failed(format!("a tile of {} bytes", first.len())));
    }
    let mut times = Vec::new();
    for _ in 0..bench.runs {
        let service = service.clone();
        let done = loops(1, bench.run_for, move |_, _| {
            let service = service.clone();
            async move {
                let drawn = service.tile(THING, z, x, y).await;
                drawn.map(drop).map_err(Failure::failed)
            }
        });
        times.push(done.await?.quantile(0.5));
    }
    Ok((first.len(), times))
}

/// Tiles a second, of different parts of the dense one.
async fn rate(web: &Web, run_for: Duration) -> Result<f64, Failure> {
    let client = web.client();
    let (_, x, y) = DENSE;
    let mut random = Random::new(SEED);
    let asked = tokio::task::spawn_blocking(move || {
        timed(run_for, || {
            let mut part = |first: u32| first * PARTS + random.below(PARTS.into()) as u32;
            let (x, y) = (part(x), part(y));
            client
                .get(&format!("/tiles/{THING}/17/{x}/{y}.mvt"))
                .map(drop)
        })
    });
    let done = asked
        .await
        .map_err(|error| Failure::failed(format!("the client ended: {error}")))?;
    Ok(done?.rate())
}

/// Builds so many buildings in the dense tile.
async fn build(twin: &Twin) -> Result<(), Failure> {
    for first in (0..BUILDINGS).step_by(BATCH as usize) {
        let numbers = first..BUILDINGS.min(first + BATCH);
        let operations = numbers.map(building).collect::<Result<Vec<_>, _>>()?;
        let receipt = twin.commit(commit(operations)).await;
        receipt.map_err(|refusal| Failure::failed(refusal.to_string()))?;
    }
    Ok(())
}

fn building(number: u64) -> Result<Operation, Failure> {
    let mut random = Random::new(SEED ^ number);
    let (z, x, y) = DENSE;
    let across = f64::from(1_u32 << z);
    let degrees = 360.0 / across;
    let lon = (f64::from(x) + random.share()) * degrees - 180.0;
    let south = (f64::from(y) + random.share()) / across;
    let lat = (PI * (1.0 - 2.0 * south)).sinh().atan().to_degrees();
    // Some ten metres.
    let size = degrees / 300.0 * (0.5 + random.share());
    let corner = |wall: usize| {
        let angle = (wall % WALLS) as f64 / WALLS as f64 * 2.0 * PI;
        [lon + size * angle.cos(), lat + size * angle.sin()]
    };
    let ring: Vec<[f64; 2]> = (0..=WALLS).map(corner).collect();
    let shape = Shape::from_geojson(&json!({"type": "Polygon", "coordinates": [ring]}));
    let shape = shape.map_err(|error| Failure::failed(error.to_string()))?;
    let set = [
        ("name", Value::Text(format!("Building {number}").into())),
        ("code", Value::Text(format!("B-{number:06}").into())),
        (
            "kind",
            Value::Text(["house", "shop", "school"][random.below(3) as usize].into()),
        ),
        (
            "height",
            Value::Double((random.share() * 300.0).round() / 10.0),
        ),
        (
            "width",
            Value::Double((random.share() * 100.0).round() / 10.0),
        ),
        ("floors", Value::Int(random.below(12).cast_signed())),
        ("active", Value::Bool(random.below(2) == 1)),
    ];
    Ok(Operation::Upsert(Put {
        id: thing_id(number)?,
        class: THING.into(),
        set: set.map(|(name, value)| (name.into(), Some(value))).into(),
        geometry: Some(Some(Arc::new(shape))),
        expect: None,
    }))
}
