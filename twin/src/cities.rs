//! `seeds/cities.toml`: cities that the demo can add, and the mappings that they are read by.

use std::path::PathBuf;
use std::sync::Arc;

use gis_import::Mapping;
use serde::Deserialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::import::Given;
use crate::nation::Nation;
use crate::{import, output};

/// What `seeds/cities.toml` holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cities {
    /// Mappings of cities that name none, in order.
    sets: Vec<String>,
    city: Vec<City>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct City {
    name: String,
    title: String,
    /// Its file, below the data folder.
    file: PathBuf,
    /// Its mappings, in order.
    sets: Option<Vec<String>>,
    /// The coordinate system of its file, which does not say it.
    crs: Option<String>,
    /// Whose its data are, where its mappings cannot know.
    origin: Option<CityOrigin>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct CityOrigin {
    source: String,
    licence: String,
    attribution: String,
}

/// Cities to be imported; their files are there.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    cities: Vec<Found>,
}

/// A city whose file is there.
#[derive(Debug, PartialEq)]
struct Found {
    title: String,
    file: PathBuf,
    sets: Vec<String>,
    crs: Option<String>,
    origin: Option<CityOrigin>,
}

/// The cities of these names, or why not all of them can be had.
pub(crate) fn chosen(config: &Config, names: &[String]) -> Result<Chosen, Failure> {
    if names.is_empty() {
        return Ok(Chosen::default());
    }
    let path = config.twin.seeds.join("cities.toml");
    let unreadable = |reason: String| Failure::usage(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
    let known: Cities = toml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let mut cities = Vec::with_capacity(names.len());
    for name in names {
        let city = city(&known.city, name)?;
        cities.push(Found {
            title: city.title.clone(),
            file: file(config, city)?,
            sets: city.sets.clone().unwrap_or_else(|| known.sets.clone()),
            crs: city.crs.clone(),
            origin: city.origin.clone(),
        });
    }
    cities.dedup();
    Ok(Chosen { cities })
}

fn city<'c>(known: &'c [City], name: &str) -> Result<&'c City, Failure> {
    let found = known.iter().find(|city| city.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|city| &*city.name).collect();
        let near = ontology::closest(name, names.iter().copied());
        let near = near.map(|near| format!("; did you mean `{near}`?"));
        Failure::usage(format!(
            "there is no city `{name}`{}; there are: {}",
            near.unwrap_or_default(),
            names.join(", ")
        ))
    })
}

fn file(config: &Config, city: &City) -> Result<PathBuf, Failure> {
    let path = config.twin.data.join(&city.file);
    if path.is_file() {
        return Ok(path);
    }
    let datasets = config.twin.seeds.join("datasets.toml");
    Err(Failure::usage(format!(
        "there is no {}, which the city {} is read from: fetch it as {} says, or name the data \
         folder that has it with --data or TWIN_DATA",
        path.display(),
        city.name,
        datasets.display()
    )))
}

impl Chosen {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.cities.is_empty()
    }

    /// Imports them; answers whom to name.
    pub(crate) async fn import(&self, nation: &Nation) -> Result<Vec<String>, Failure> {
        let mut attribution = Vec::new();
        for Found {
            title,
            file,
            sets,
            crs,
            origin,
        } in &self.cities
        {
            output::note(&format!("{title}:"));
            let given = Given {
                file: Some(file),
                crs: crs.as_deref(),
            };
            let mappings = import::mappings(&nation.config, &nation.ontology, sets, given)?;
            for mapping in mappings {
                let mapping = match origin {
                    None => mapping,
                    Some(origin) => Arc::new(Mapping::clone(&mapping).of_origin(
                        &origin.source,
                        &origin.licence,
                        &origin.attribution,
                    )),
                };
                let line = format!("{title}: {} ({})", mapping.attribution, mapping.licence);
                if !attribution.contains(&line) {
                    attribution.push(line);
                }
                let report = import::set(nation, mapping).await?;
                import::show(&report);
            }
        }
        Ok(attribution)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(data: &str) -> Config {
        let mut config = Config::default();
        config.twin.seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
        config.twin.data = data.into();
        config
    }

    fn refusal(data: &str, name: &str) -> String {
        let chosen = chosen(&config(data), &[name.to_owned()]);
        chosen.map_or_else(|failure| failure.report().to_string(), |_| String::new())
    }

    #[test]
    fn a_city_that_is_none_is_told_with_those_there_are() {
        let told = refusal("nowhere", "monako");
        for text in [
            "no city `monako`",
            "did you mean `monaco`?",
            "andorra, ",
            "helsinki",
        ] {
            assert!(told.contains(text), "{told}");
        }
    }

    #[test]
    fn a_city_without_its_file_says_which_is_missing() {
        let told = refusal("nowhere", "monaco");
        for text in ["monaco-latest.osm.pbf", "datasets.toml", "TWIN_DATA"] {
            assert!(told.contains(text), "{told}");
        }
        assert!(chosen(&config("nowhere"), &[]).is_ok_and(|none| none.is_empty()));
    }
}
