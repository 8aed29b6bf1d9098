//! Questions of space about points: a radius and the nearest, asked of the view, of the API, and
//! of SurrealDB.

use std::sync::Arc;

use graphql_api::{Options, Service};
use serde_json::Map;
use twin_core::View;
use twin_core::space::{Point, Region, Relation};

use super::Bench;
use super::figure::{self, Figure};
use super::measure::loops;
use super::queries::ask;
use super::stage::{self, Stage, THINGS};
use super::synthetic::{self, Random, Recipe, THING, metres_for};
use crate::failure::Failure;

/// Points of the large set.
pub(crate) const MILLION: u64 = 1_000_000;
/// Points that a radius should return.
const WITHIN: f64 = 500.0;
const NEAREST: usize = 10;
/// Different questions, asked in turn.
const QUESTIONS: usize = 256;
/// Degrees that questions stay away from the edge of the points, so that none is half empty.
const INSET: f64 = 0.2;
const SEED: u64 = 11;

/// A radius and the nearest among a million points, without a store.
pub(crate) async fn million(bench: &Bench) -> Result<(), Failure> {
    let figures = [&figure::RADIUS_MILLION, &figure::NEAREST_MILLION];
    if !bench.wants_any(&figures) {
        return Ok(());
    }
    let twin = stage::unstored(bench).await?;
    let recipe = Recipe {
        properties: false,
        links: false,
        point: true,
    };
    synthetic::load(&twin, MILLION, recipe).await?;
    let asked = Asked::new(MILLION)?;
    let data = "the view; SurrealDB scans: multiply its figure for 50,000 below by 20";
    for (figure, question) in figures.into_iter().zip([within as Question, nearest]) {
        if bench.wants(figure) {
            let mut ours = Vec::new();
            for _ in 0..bench.runs {
                ours.push(view(bench, twin.view(), &asked, question).await?);
            }
            bench.show(figure, data, &ours, &[]);
        }
    }
    twin.close().await;
    Ok(())
}

/// The same on both sides of the stage.
pub(crate) async fn both(bench: &Bench, stage: &Stage) -> Result<(), Failure> {
    let asked = Asked::new(THINGS)?;
    let service = Service::new(stage.nation.twin.clone(), Options::default())
        .map_err(|error| Failure::failed(format!("the API's schema: {error}")))?;
    let radius: [&'static Figure; 2] = [&figure::RADIUS, &figure::RADIUS_GRAPHQL];
    let near: [&'static Figure; 2] = [&figure::NEAREST, &figure::NEAREST_GRAPHQL];
    for (figures, question, kind) in [
        (radius, within as Question, Kind::Within),
        (near, nearest, Kind::Nearest),
    ] {
        if !bench.wants_any(&figures) {
            continue;
        }
        let (mut ours, mut api, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.runs {
            ours.push(view(bench, stage.nation.twin.view(), &asked, question).await?);
            api.push(graphql(bench, &service, &asked, kind).await?);
            alone.push(scan(bench, stage, &asked, kind).await?);
        }
        let (what, surql) = match kind {
            Kind::Within => ("about 500 ids", "WHERE geo::distance(geometry, $p) <= $m"),
            Kind::Nearest => (
                "10 ids by geodesic distance",
                "ORDER BY geo::distance(…) LIMIT 10",
            ),
        };
        let data = format!("{what} of {THINGS} points, the view; SurrealDB: {surql}");
        bench.show(figures[0], &data, &ours, &alone);
        let data = format!("{what} as JSON, in process; SurrealDB as above");
        bench.show(figures[1], &data, &api, &alone);
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Within,
    Nearest,
}

/// Where is asked, and how far.
#[derive(Debug)]
struct Asked {
    points: Vec<Point>,
    regions: Vec<Region>,
    metres: f64,
}

impl Asked {
    fn new(all: u64) -> Result<Arc<Self>, Failure> {
        let mut random = Random::new(SEED);
        let metres = metres_for(WITHIN, all);
        let (mut points, mut regions) = (Vec::new(), Vec::new());
        for _ in 0..QUESTIONS {
            let point = random.point(INSET)?;
            let region = Region::radius(point, metres);
            regions.push(region.map_err(|error| Failure::failed(error.to_string()))?);
            points.push(point);
        }
        Ok(Arc::new(Self {
            points,
            regions,
            metres,
        }))
    }
}

/// Asks the view; answers how many were found.
type Question = fn(&View, ontology::ClassId, &Asked, usize) -> usize;

fn within(view: &View, class: ontology::ClassId, asked: &Asked, turn: usize) -> usize {
    let region = &asked.regions[turn % QUESTIONS];
    view.search(class, region, Relation::Intersects).len()
}

fn nearest(view: &View, class: ontology::ClassId, asked: &Asked, turn: usize) -> usize {
    let point = asked.points[turn % QUESTIONS];
    view.nearest(class, point, NEAREST, |_| true).len()
}

/// Whether an answer of so many could be right.
fn plausible(found: usize) -> Result<(), Failure> {
    // Around 500 by chance, or ten exactly.
    if found == NEAREST || (250..=1_000).contains(&found) {
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "a question of space found {found}"
        )))
    }
}

async fn view(
    bench: &Bench,
    view: View,
    asked: &Arc<Asked>,
    question: Question,
) -> Result<f64, Failure> {
    let class = class(&view)?;
    let asked = Arc::clone(asked);
    let done = loops(1, bench.run_for, move |_, turn| {
        let found = question(&view, class, &asked, turn as usize);
        async move { plausible(found) }
    });
    Ok(done.await?.quantile(0.5))
}

async fn graphql(
    bench: &Bench,
    service: &Service,
    asked: &Arc<Asked>,
    kind: Kind,
) -> Result<f64, Failure> {
    const WITHIN: &str = "query($lon: Float!, $lat: Float!, $metres: Float!) { things(first: 1000, \
        space: {radius: {center: {lon: $lon, lat: $lat}, metres: $metres}}) { edges { node { id } } } }";
    const NEAREST: &str = "query($lon: Float!, $lat: Float!) { nearest(class: \"Thing\", \
        to: {lon: $lon, lat: $lat}, k: 10) { metres twin { id } } }";
    let text = match kind {
        Kind::Within => WITHIN,
        Kind::Nearest => NEAREST,
    };
    let variables = move |asked: &Asked, turn: u64| {
        let point = asked.points[turn as usize % QUESTIONS];
        let mut variables = Map::new();
        variables.insert("lon".to_owned(), point.lon.into());
        variables.insert("lat".to_owned(), point.lat.into());
        if matches!(kind, Kind::Within) {
            variables.insert("metres".to_owned(), asked.metres.into());
        }
        variables
    };
    let answer = ask(service, text, variables(asked, 0)).await?;
    plausible(answer.matches("\"id\"").count())?;
    let (service, asked) = (service.clone(), Arc::clone(asked));
    let done = loops(1, bench.run_for, move |_, turn| {
        let (service, variables) = (service.clone(), variables(&asked, turn));
        async move {
            service.query(text, variables).await;
            Ok(())
        }
    });
    Ok(done.await?.quantile(0.5))
}

async fn scan(
    bench: &Bench,
    stage: &Stage,
    asked: &Arc<Asked>,
    kind: Kind,
) -> Result<f64, Failure> {
    let class = class(&stage.nation.twin.view())?;
    let (peer, asked) = (Arc::clone(&stage.peer), Arc::clone(asked));
    let done = loops(1, bench.run_for, move |_, turn| {
        let (peer, asked) = (Arc::clone(&peer), Arc::clone(&asked));
        async move {
            let point = asked.points[turn as usize % QUESTIONS];
            let found = match kind {
                Kind::Within => peer.within(class, point, asked.metres).await?,
                Kind::Nearest => peer.nearest(class, point, NEAREST).await?,
            };
            plausible(found.len())
        }
    });
    Ok(done.await?.quantile(0.5))
}

fn class(view: &View) -> Result<ontology::ClassId, Failure> {
    let class = view.ontology().class_named(THING);
    class
        .map(|class| class.id)
        .ok_or_else(|| Failure::failed("the models have no Thing"))
}
