//! `twin demo`: a small but real nation, imported and served.

use std::process::ExitCode;

use gis_import::Population;
use serde::Deserialize;

use crate::cities::{self, Chosen};
use crate::config::Config;
use crate::failure::Failure;
use crate::import::Given;
use crate::nation::Nation;
use crate::reload::Source;
use crate::serve::{self, Doors, Stop};
use crate::{import, output};

/// `seeds/demo.toml`: what is imported, in order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    data: Vec<String>,
    facts: Vec<String>,
    persons: u32,
}

/// `twin demo`.
pub(crate) async fn run(
    config: Config,
    source: Source,
    cities: &[String],
    json: bool,
) -> Result<ExitCode, Failure> {
    let cities = cities::chosen(&config, cities)?;
    let doors = Doors::bind(&config).await?;
    let stop = Stop::on_signal()?;
    let nation = Nation::open(config).await?;
    let importing = fill(&nation, &cities);
    let attribution = tokio::select! {
        filled = importing => filled,
        () = stop.clone().wait() => {
            output::note("interrupted; the next start goes on with the import");
            nation.close().await?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    match attribution {
        Ok((attribution, next)) => {
            serve::serve(nation, source, doors, stop, json, attribution, &next).await
        }
        Err(failure) => {
            // What matters is why the nation could not be filled.
            drop(nation.close().await);
            Err(failure)
        }
    }
}

/// Imports what the plan names; answers the attribution of it and where to go next.
async fn fill(nation: &Nation, cities: &Chosen) -> Result<(Vec<String>, Vec<String>), Failure> {
    let plan = plan(nation)?;
    let has_data = nation.config.data().is_some();
    let sets = if has_data { &plan.data } else { &plan.facts };
    if !has_data {
        output::note(&format!(
            "There is no data folder {}: showing the small facts of {}.\nFor all of Rwanda, fetch \
             the sets of {} and name their folder with --data or TWIN_DATA.",
            nation.config.twin.data.display(),
            nation.config.twin.seeds.join("rwanda").display(),
            nation.config.twin.seeds.join("datasets.toml").display(),
        ));
    }
    let mut attribution = Vec::new();
    for set in sets {
        let mapping = import::mapping(&nation.config, &nation.ontology, set, Given::default())?;
        let line = format!("{}: {}", mapping.title, mapping.attribution);
        if !mapping.attribution.is_empty() && !attribution.contains(&line) {
            attribution.push(line);
        }
        let report = import::set(nation, mapping).await?;
        import::show(&report);
    }
    let bar = output::progress("synthetic-population");
    let population = Population {
        persons: plan.persons,
        ..Population::default()
    };
    let people = gis_import::populate(&nation.twin, population, import::advance(bar.clone())).await;
    bar.finish_and_clear();
    import::show(&people.map_err(|failure| Failure::diagnostic(1, failure))?);
    attribution.push(format!(
        "{} persons are synthetic, made up by this program",
        plan.persons
    ));
    attribution.extend(cities.import(nation).await?);
    let mut next = vec![
        "\nTry in the GraphQL console:".to_owned(),
        "  { healthFacilities(space: {radius: {center: {lon: 30.06, lat: -1.95}, metres: 10000}}) { totalCount } }".to_owned(),
        "  { containing(point: {lon: 30.06, lat: -1.95}, class: \"AdministrativeArea\") { id label } }".to_owned(),
    ];
    if !cities.is_empty() {
        next.push(
            "  { buildings(first: 5) { totalCount edges { node { label height heightSource } } } }"
                .to_owned(),
        );
    }
    Ok((attribution, next))
}

fn plan(nation: &Nation) -> Result<Plan, Failure> {
    let path = nation.config.twin.seeds.join("demo.toml");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}
