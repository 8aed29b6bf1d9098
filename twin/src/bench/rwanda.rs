//! Villages: importing them, finding the one that holds a point, starting again with them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use graphql_api::{Options, Service};
use serde_json::Map;
use store::peer::Peer;
use twin_core::space::Point;
use twin_core::{Direction, EdgeState, TwinState, View};

use super::figure::{self, Figure};
use super::measure::{WRITERS, loops, spread};
use super::queries::ask;
use super::synthetic::BATCH;
use super::{Bench, bulk, stage};
use crate::failure::Failure;
use crate::nation::Nation;
use crate::{import, output};

/// The mapping of the administrative areas, where there is data.
const SET: &str = "rwanda-administration";
/// The class that points are looked up in.
const VILLAGE: &str = "Village";
/// Different points, asked in turn.
const POINTS: usize = 1_000;
/// Most vertices of one of SurrealDB's inserts, which the engine holds in memory.
const INSERT_VERTICES: usize = 100_000;

/// Made-up villages: a grid of so many squares, in so many columns.
const VILLAGES: usize = 14_814;
const COLUMNS: usize = 122;
/// Vertices along each side of a square.
const SIDE: usize = 12;
const CORNER: [f64; 2] = [28.9, -2.8];
const STEP: f64 = 0.0144;

/// All of it.
pub(crate) async fn all(bench: &Bench) -> Result<(), Failure> {
    let figures = [
        &figure::IMPORT,
        &figure::IMPORT_TIME,
        &figure::VILLAGE,
        &figure::VILLAGE_GRAPHQL,
        &figure::RESTART_NATION,
    ];
    if !bench.wants_any(&figures) {
        return Ok(());
    }
    let mut config = bench.config.clone();
    config.twin.dir = bench.folder.join("nation");
    let real = config.twin.data.is_dir();
    let mut set = SET.to_owned();
    if !real {
        config.twin.data = bench.folder.join("data");
        set = write_grid(&config.twin.data)?;
        output::note(
            "There is no data folder: villages are made up. Name one with --data or TWIN_DATA.",
        );
    }
    let nation = Nation::open(config).await?;
    let peer = stage::peer(bench, "nation-alone", &nation).await?;
    let what = load(bench, &nation, &peer, &set).await?;
    villages(bench, &nation, &peer, &what).await?;
    if !bench.wants(&figure::RESTART_NATION) {
        nation.close().await?;
        return Ok(peer.close().await?);
    }
    restart(bench, nation, peer, &what).await
}

/// Imports into both sides; says what that was.
async fn load(
    bench: &Bench,
    nation: &Nation,
    peer: &Arc<Peer>,
    set: &str,
) -> Result<String, Failure> {
    let mapping = import::mapping(
        &nation.config,
        &nation.ontology,
        set,
        import::Given::default(),
    )?;
    let begun = Instant::now();
    let report = import::set(nation, mapping).await?;
    let ours = begun.elapsed().as_secs_f64();
    if report.refused.count > 0 {
        import::show(&report);
        return Err(Failure::failed("the import was refused in parts"));
    }
    let view = nation.twin.view();
    let (twins, edges) = states(&view);
    let vertices: usize = twins.iter().map(vertices).sum();
    let rows = (twins.len() + edges.len()) as f64;
    let what = format!(
        "{} areas, {vertices} vertices, {} relationships",
        twins.len(),
        edges.len()
    );
    let begun = Instant::now();
    insert(peer, twins, edges).await?;
    let alone = begun.elapsed().as_secs_f64();
    let data = format!(
        "{what}; read, checked, mapped, related and durable; SurrealDB: INSERTs of at most {BATCH} \
         rows from memory, {WRITERS} at a time, no file read; one run"
    );
    bench.show(&figure::IMPORT, &data, &[rows / ours], &[rows / alone]);
    bench.show(&figure::IMPORT_TIME, "the same", &[ours], &[alone]);
    Ok(what)
}

fn vertices(twin: &TwinState) -> usize {
    twin.geometry.as_ref().map_or(0, |shape| shape.vertices())
}

/// Everything that a view holds, as rows.
fn states(view: &View) -> (Vec<TwinState>, Vec<EdgeState>) {
    let ontology = view.ontology();
    let (mut twins, mut edges) = (Vec::new(), Vec::new());
    for class in ontology.classes() {
        let own = view
            .scan(class.id, None)
            .filter(|twin| view.class_id(*twin) == class.id);
        for twin in own {
            let id = view.id(twin).clone();
            for relationship in &class.relationships {
                for target in view.related(twin, relationship.id, Direction::Out) {
                    let values = view.relationship(relationship.id, twin, target);
                    edges.push(EdgeState {
                        relationship: relationship.id,
                        source: id.clone(),
                        source_class: class.id,
                        target: view.id(target).clone(),
                        target_class: view.class_id(target),
                        values: values.cloned().unwrap_or_else(|| Vec::new().into()),
                    });
                }
            }
            let values = (0..class.properties.len()).map(|column| view.value(twin, column));
            twins.push(TwinState {
                id,
                class: class.id,
                values: values.collect(),
                geometry: view.shape(twin).cloned(),
                revision: 1,
            });
        }
    }
    (twins, edges)
}

async fn insert(
    peer: &Arc<Peer>,
    twins: Vec<TwinState>,
    edges: Vec<EdgeState>,
) -> Result<(), Failure> {
    let mut batches = vec![Vec::new()];
    let mut held = 0;
    for twin in twins {
        held += vertices(&twin);
        if let Some(last) = batches.last_mut() {
            last.push(twin);
            if last.len() as u64 == BATCH || held >= INSERT_VERTICES {
                batches.push(Vec::new());
                held = 0;
            }
        }
    }
    let inserts = batches.into_iter().map(|batch| {
        let peer = Arc::clone(peer);
        async move { Ok(peer.insert(&batch).await?) }
    });
    spread(inserts).await?;
    // Relationships are enforced, so twins come first.
    let batches: Vec<_> = edges.chunks(BATCH as usize).map(<[_]>::to_vec).collect();
    let relates = batches.into_iter().map(|batch| {
        let peer = Arc::clone(peer);
        async move { Ok(peer.relate(&batch).await?) }
    });
    spread(relates).await
}

/// Which village holds a point.
async fn villages(
    bench: &Bench,
    nation: &Nation,
    peer: &Arc<Peer>,
    what: &str,
) -> Result<(), Failure> {
    let figures: [&'static Figure; 2] = [&figure::VILLAGE, &figure::VILLAGE_GRAPHQL];
    if !bench.wants_any(&figures) {
        return Ok(());
    }
    let view = nation.twin.view();
    let class = view.ontology().class_named(VILLAGE);
    let class = class
        .ok_or_else(|| Failure::failed("the models have no Village"))?
        .id;
    let count = view.count(class);
    let every = (count / POINTS).max(1);
    let inside = view.scan(class, None).step_by(every);
    let points: Arc<[Point]> = inside
        .filter_map(|village| view.shape(village).map(|shape| shape.representative()))
        .collect();
    if points.is_empty() {
        return Err(Failure::failed("no village was imported"));
    }
    let service = Service::new(nation.twin.clone(), Options::default())
        .map_err(|error| Failure::failed(format!("the API's schema: {error}")))?;
    // Once each, so that what is prepared at first use is, and both sides say the same.
    let mut different = 0;
    for (turn, point) in points.iter().enumerate() {
        let found = view.containing(*point, Some(class));
        if turn % 50 == 0 {
            let alone = peer.containing(class, *point).await?;
            let same = alone.len() == found.len()
                && found
                    .iter()
                    .all(|twin| alone.iter().any(|id| id == view.id(*twin).as_str()));
            different += usize::from(!same);
        }
    }
    let asked = points.len().div_ceil(50);
    if different > 0 {
        output::note(&format!(
            "of {asked} points, {different} got another village from SurrealDB"
        ));
    }
    let (mut ours, mut api, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let (at, view) = (Arc::clone(&points), view.clone());
        let done = loops(1, bench.run_for, move |_, turn| {
            let found = view.containing(at[turn as usize % at.len()], Some(class));
            async move { one(found.len()) }
        });
        ours.push(done.await?.quantile(0.5));
        api.push(graphql(bench, &service, &points).await?);
        let (at, peer) = (Arc::clone(&points), Arc::clone(peer));
        let done = loops(1, bench.run_for, move |_, turn| {
            let (at, peer) = (Arc::clone(&at), Arc::clone(&peer));
            async move {
                let found = peer.containing(class, at[turn as usize % at.len()]).await?;
                one(found.len())
            }
        });
        alone.push(done.await?.quantile(0.5));
    }
    let data =
        format!("{count} villages of {what}, the view; SurrealDB: WHERE geometry CONTAINS $p");
    bench.show(figures[0], &data, &ours, &alone);
    let data = "id and label as JSON, in process; SurrealDB as above";
    bench.show(figures[1], data, &api, &alone);
    Ok(())
}

fn one(found: usize) -> Result<(), Failure> {
    if found == 0 {
        return Err(Failure::failed("a point inside a village is in none"));
    }
    Ok(())
}

async fn graphql(bench: &Bench, service: &Service, points: &Arc<[Point]>) -> Result<f64, Failure> {
    const TEXT: &str = "query($lon: Float!, $lat: Float!) { containing(point: {lon: $lon, lat: $lat}, \
        class: \"Village\") { id label } }";
    let variables = |point: Point| {
        let mut variables = Map::new();
        variables.insert("lon".to_owned(), point.lon.into());
        variables.insert("lat".to_owned(), point.lat.into());
        variables
    };
    let answer = ask(service, TEXT, variables(points[0])).await?;
    one(answer.matches("\"id\"").count())?;
    let (service, points) = (service.clone(), Arc::clone(points));
    let done = loops(1, bench.run_for, move |_, turn| {
        let service = service.clone();
        let variables = variables(points[turn as usize % points.len()]);
        async move {
            service.query(TEXT, variables).await;
            Ok(())
        }
    });
    Ok(done.await?.quantile(0.5))
}

async fn restart(
    bench: &Bench,
    mut nation: Nation,
    mut peer: Arc<Peer>,
    what: &str,
) -> Result<(), Failure> {
    let (mut ours, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let (twin, again) = bulk::reopen(bench, nation, &peer, "nation-alone").await?;
        ours.push(twin.seconds);
        alone.push(again.seconds);
        (nation, peer) = (twin.side, again.side);
    }
    let data = format!("{what}; SurrealDB: open and SELECT count() of every table");
    bench.show(&figure::RESTART_NATION, &data, &ours, &alone);
    nation.close().await?;
    Ok(peer.close().await?)
}

/// Writes a grid of villages and its mapping; answers the mapping's path.
fn write_grid(data: &Path) -> Result<String, Failure> {
    const MAPPING: &str = r#"
title = "A grid of villages"
source = "made up"
licence = "CC0-1.0"
attribution = "made up"
[[file]]
name = "villages.geojsonl"
[[twin]]
class = "Village"
id = "bench:village:{code}"
geometry = "feature"
[twin.set]
name = "name"
code = "code"
"#;
    let failed = |error| Failure::failed(format!("{}: {error}", data.display()));
    let mut text = String::new();
    for number in 0..VILLAGES {
        let [west, south] = CORNER;
        let west = west + (number % COLUMNS) as f64 * STEP;
        let south = south + (number / COLUMNS) as f64 * STEP;
        let ring: Vec<_> = (0..=4 * SIDE)
            .map(|i| {
                let along = (i % SIDE) as f64 / SIDE as f64;
                let (x, y) = match i / SIDE {
                    0 => (along, 0.0),
                    1 => (1.0, along),
                    2 => (1.0 - along, 1.0),
                    3 => (0.0, 1.0 - along),
                    _ => (0.0, 0.0),
                };
                let round = |degrees: f64| (degrees * 1e6).round() / 1e6;
                [round(west + x * STEP), round(south + y * STEP)]
            })
            .collect();
        let feature = serde_json::json!({
            "type": "Feature",
            "properties": {"code": number.to_string(), "name": format!("Village {number}")},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        });
        text += &feature.to_string();
        text.push('\n');
    }
    std::fs::create_dir_all(data).map_err(failed)?;
    std::fs::write(data.join("villages.geojsonl"), text).map_err(failed)?;
    let mapping = data.join("grid.toml");
    std::fs::write(&mapping, MAPPING).map_err(failed)?;
    Ok(mapping.display().to_string())
}
