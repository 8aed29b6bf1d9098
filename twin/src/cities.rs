//! `seeds/cities.toml`: cities that the demo can add, and the mappings that all of them are read by.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::nation::Nation;
use crate::{import, output};

/// What `seeds/cities.toml` holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cities {
    /// Mappings, in order.
    sets: Vec<String>,
    city: Vec<City>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct City {
    name: String,
    title: String,
    /// Its extract, below the data folder.
    file: PathBuf,
}

/// Cities to be imported; their files are there.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    sets: Vec<String>,
    /// Title and file of each.
    cities: Vec<(String, PathBuf)>,
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
        cities.push((city.title.clone(), file(config, city)?));
    }
    cities.dedup();
    Ok(Chosen {
        sets: known.sets,
        cities,
    })
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
        for (title, file) in &self.cities {
            output::note(&format!("{title}:"));
            let file: Option<&Path> = Some(file);
            let mappings = import::mappings(&nation.config, &nation.ontology, &self.sets, file)?;
            for mapping in mappings {
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
