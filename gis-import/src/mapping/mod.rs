//! What a file means: a declarative mapping from features to twins and relationships.
//!
//! A mapping is one TOML file, `seeds/mappings/<set>.toml`:
//!
//! ```toml
//! title = "Health facilities"
//! source = "WHO/KEMRI list 2019"         # goes into each twin's `source`, where its class has one
//! licence = "CC-BY-4.0"
//! attribution = "WHO, KEMRI"
//! null = ["-999"]                        # texts that mean: no value; an empty text always does
//!
//! [[file]]                               # the first one that exists is read
//! in = "data"                            # the data folder, or "seeds", or "given" (without a name:
//!                                        # whoever imports names the file)
//! name = "rwanda/facilities.csv.gz"
//! format = "csv"                         # only where the ending does not tell
//! layer = "pipeline"                     # in files of several layers
//! crs = "EPSG:32736"                     # instead of what the file says, or does not say; for columns too.
//!                                        # `--crs` of an import stands above it
//! encoding = "ISO-8859-1"                # of a shapefile without .cpg
//! zoom = 14                              # of tiles; else the highest
//! join = ["pipe_id"]                     # columns by which pieces in several tiles are one feature
//! shape = "line"                         # of tiles: what has become another shape in them is refused
//!
//! [[twin]]                               # every rule whose conditions hold makes a twin
//! class = { column = "type", map = { Hospital = "Hospital", Post = "HealthPost" } } # or a name
//! when = { country = ["RW", "Rwanda"], name = { not = "" } } # all of it; of a list of such tables any
//! id = "rw:facility:{name|slug}"         # or {code|id}: as it is, without what an id cannot have
//! geometry = { lon = "Long", lat = "Lat" }   # or "feature", or { feature = "area" }: no point or line; or
//!                                        # { feature = "footprint" }: an area alone, without heights and solid
//! [twin.set]
//! name = "name"                          # a column
//! country = { value = "Rwanda" }         # a constant
//! code = { template = "RW-{id}" }
//! height = { column = "feet", factor = 0.3048 }
//! ownership = { column = "owner", map = { Public = "public" } }
//! builtIn = { column = "year", range = [1900, 2030] } # another number is left out and told
//! power = { column = "power", unit = ["kW", "kilowatt"] } # a unit that may follow the number
//! depth = { column = "depth", unit = { m = 1, ft = 0.3048, in = 0.0254 }, comma = true } # several, each
//!                                        # with its factor, as in `6 ft 2 in`; 12,5 is 12.5
//! speed = { column = "speed", words = { walking = 5 }, null = ["none"] } # texts that are a value, or none
//! use = { column = "use", map = { Public = "public" }, other = "other" } # any text the map lacks
//! rise = [                               # the first that has a value; a text alone is a column
//!   { column = "rise", range = [1, 900] },
//!   { column = "floors", plus = "attics", factor = 3 }, # with the number of another column, if any
//!   { value = 3, when = { type = "Post" } },
//! ]
//! riseFrom = { which = "rise", values = ["measured", "floors", "default"] } # by which one had it
//! [[twin.relate]]
//! relationship = "locatedIn"
//! within = "Village"                     # or target = "rw:village:{village}", or from = "…", or
//! # named = { class = "Village", column = "villages", separator = ",", near = ["Cell", "Sector"] }
//! when = { street = { not = "" } }       # where it does not hold, none is asked for
//! optional = true                        # a warning instead of a refusal where it cannot be
//!
//! [[twin]]
//! per = "value"                          # one twin for each distinct id, not one a feature; "set": one
//! class = "Institution"
//! id = "rw:institution:{owner|slug}"
//!
//! [[twin]]
//! per = "known"                          # makes none: relates the one that an earlier set made
//! class = "HealthFacility"
//! id = "rw:facility:{parent|slug}"
//! ```
//!
//! `named` relates to each twin that the column names: the only one of the class whose `name` is that,
//! whatever its case, and that is part (`partOf`, at any depth) of the first area which holds the
//! geometry; where that has none of the name, of the next area. A name that is nobody's or several
//! twins' is a refusal, or a warning where the relationship is optional.
//!
//! # Invariants
//! - A [`Mapping`] exists only if all its names are known to the ontology and all its constants fit.
//! - All problems of a mapping are found at once, each with its place.
//! - Of one feature all twins are made or none.

mod file;
mod item;
mod problem;
mod read;
mod relate;
mod template;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ontology::{ClassId, Ontology, Schema, Value};

use crate::formats::{Crs, Format, Options, Wanted};

pub use problem::{MappingError, MappingProblem};
pub use template::Template;

/// A checked mapping.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// Name of the set: the mapping's file name without `.toml`.
    pub set: Arc<str>,
    /// What the set is, for people.
    pub title: Arc<str>,
    /// Where the data come from; goes into each twin's `source`.
    pub source: Arc<str>,
    /// Licence of the data.
    pub licence: Arc<str>,
    /// Whom to name.
    pub attribution: Arc<str>,
    /// Files that hold the set, the best first.
    pub files: Vec<SourceFile>,
    /// Rules from features to twins.
    pub rules: Vec<Rule>,
    /// Texts that mean no value.
    nulls: Vec<Arc<str>>,
    /// What columns of positions are in, where that is not longitude and latitude.
    positions: Option<Crs>,
}

/// The folder a source file is looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// The data folder, which may be missing.
    Data,
    /// The seeds folder, which comes with the program.
    Seeds,
    /// None: whoever imports names the file.
    Given,
}

/// A file that may hold the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is looked for.
    pub root: Root,
    /// Its path below that folder; empty until a file that is to be given is.
    pub name: Arc<str>,
    /// Its format.
    pub format: Format,
    /// What else is said of it.
    pub options: Options,
}

/// The folders that source files are looked for in.
#[derive(Debug, Clone)]
pub struct Folders {
    /// The data folder, if there is one.
    pub data: Option<PathBuf>,
    /// The seeds folder.
    pub seeds: PathBuf,
}

/// How many twins a rule makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// One for each feature; the same id again is refused as a duplicate.
    Feature,
    /// One for each distinct id.
    Value,
    /// One, before all features.
    Set,
    /// None: the twin of the id has to be there, and is only related. A feature without it is refused.
    Known,
}

/// A rule from a feature to a twin.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Class of the twin.
    pub class: ClassId,
    /// Its name.
    pub class_name: Arc<str>,
    /// How many twins it makes.
    pub per: Per,
    /// For which features it is.
    pub when: When,
    /// The twin's id.
    pub id: Template,
    /// Where its geometry comes from; `None` leaves it alone.
    pub geometry: Option<GeometryFrom>,
    /// Its properties.
    pub set: Vec<Setting>,
    /// Its relationships.
    pub relates: Vec<Relate>,
}

/// Lists of conditions: it holds where all of any list hold, and always where there is no list.
#[derive(Debug, Clone, Default)]
pub struct When(pub Vec<Vec<Condition>>);

impl When {
    /// Whether it holds, given which conditions do.
    pub fn holds(&self, holds: impl Fn(&Condition) -> bool) -> bool {
        self.0.is_empty() || self.0.iter().any(|all| all.iter().all(&holds))
    }

    /// The same with a further condition.
    fn and(mut self, condition: Option<Condition>) -> Self {
        if let Some(condition) = condition {
            if self.0.is_empty() {
                self.0.push(Vec::new());
            }
            for all in &mut self.0 {
                all.push(condition.clone());
            }
        }
        self
    }

    /// The columns it looks at.
    fn columns(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.0
            .iter()
            .flatten()
            .map(|condition| Arc::clone(&condition.column))
    }
}

/// A condition on a column: its text is (or is not) one of these.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The column.
    pub column: Arc<str>,
    /// The texts; an empty one means no value.
    pub texts: Vec<Arc<str>>,
    /// Whether it has to be one of them.
    pub is: bool,
}

/// Where a geometry comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GeometryFrom {
    /// The feature's own, of this kind where only one makes sense.
    Feature(Option<Extent>),
    /// A point from two columns, in degrees where no coordinate system is said.
    Columns {
        /// Longitude.
        lon: Arc<str>,
        /// Latitude.
        lat: Arc<str>,
    },
}

/// A kind of geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// One position.
    Point,
    /// One line or several.
    Line,
    /// One polygon or several, with the solid on it where there is one.
    Area,
    /// One polygon or several, without heights and solid.
    Footprint,
}

/// What a property is set to.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The property.
    pub property: Arc<str>,
    /// What values it takes.
    pub schema: Schema,
    /// Where its value comes from.
    pub from: ValueFrom,
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub enum ValueFrom {
    /// The same for every twin.
    Constant(Value),
    /// A text made of columns.
    Template(Template),
    /// A column.
    Column(Column),
    /// The first of these that has a value.
    First(Vec<Alternative>),
    /// By which of another property's alternatives had its value.
    Which {
        /// The other property, of the same rule.
        property: Arc<str>,
        /// A value for each of its alternatives.
        values: Vec<Value>,
    },
}

/// One of several places where a value may come from.
#[derive(Debug, Clone)]
pub struct Alternative {
    /// For which features it is.
    pub when: When,
    /// Where the value comes from: a constant, a template or a column.
    pub from: ValueFrom,
}

/// How a column's text becomes a value.
#[derive(Debug, Clone)]
pub struct Column {
    /// The column.
    pub name: Arc<str>,
    /// A column whose number is added, where it has one.
    pub plus: Option<Arc<str>>,
    /// Texts that mean no value, besides those of the mapping.
    pub nulls: Vec<Arc<str>>,
    /// Values by the column's text, where only those are admitted.
    pub map: Option<BTreeMap<Arc<str>, Value>>,
    /// The value for every text that `map` lacks.
    pub other: Option<Value>,
    /// Values by the column's text, where others are read as they stand.
    pub words: BTreeMap<Arc<str>, Value>,
    /// A number is multiplied by this.
    pub factor: Option<f64>,
    /// Units that may follow a number, in any case, each with what one of it is in the unit of the
    /// property, before `factor`.
    pub units: Vec<(Arc<str>, f64)>,
    /// Whether a comma may stand for the decimal point.
    pub comma: bool,
    /// Least and greatest value admitted, in the unit of the property.
    pub range: Option<(f64, f64)>,
}

impl ValueFrom {
    /// Adds the columns it looks at.
    fn columns(&self, to: &mut BTreeSet<Arc<str>>) {
        match self {
            Self::Constant(_) | Self::Which { .. } => {}
            Self::Template(template) => to.extend(template.columns()),
            Self::Column(column) => {
                to.insert(Arc::clone(&column.name));
                to.extend(column.plus.clone());
            }
            Self::First(alternatives) => {
                for Alternative { when, from } in alternatives {
                    to.extend(when.columns());
                    from.columns(to);
                }
            }
        }
    }
}

impl Column {
    /// A column whose text is the value.
    fn named(name: Arc<str>) -> Self {
        Self {
            name,
            plus: None,
            nulls: Vec::new(),
            map: None,
            other: None,
            words: BTreeMap::new(),
            factor: None,
            units: Vec::new(),
            comma: false,
            range: None,
        }
    }
}

/// A relationship of the rule's twin.
#[derive(Debug, Clone)]
pub struct Relate {
    /// Where it does not hold, there is no such relationship.
    pub when: When,
    /// Name of the relationship.
    pub relationship: Arc<str>,
    /// Its target.
    pub target: Target,
    /// Whether the twin is fine without it.
    pub optional: bool,
}

/// The target of a relationship.
#[derive(Debug, Clone)]
pub enum Target {
    /// The twin of this id.
    Id(Template),
    /// The other way round: the relationship starts at the twin of this id and leads here.
    From(Template),
    /// The twin of this class whose shape holds the rule's geometry.
    Within {
        /// The class, subclasses included.
        class: ClassId,
        /// Its name.
        class_name: Arc<str>,
    },
    /// The twins that a column names, as the module's documentation says.
    Named {
        /// Their class, subclasses included.
        class: ClassId,
        /// Its name.
        class_name: Arc<str>,
        /// The column.
        column: Arc<str>,
        /// What stands between two names.
        separator: Arc<str>,
        /// Classes of areas, the first one looked into first.
        near: Vec<(ClassId, Arc<str>)>,
    },
}

impl Mapping {
    /// Reads and checks a mapping; `file` names it in problems, its stem is the set's name.
    ///
    /// # Errors
    /// All problems, each with its place.
    pub fn parse(file: &str, text: &str, ontology: &Ontology) -> Result<Self, MappingError> {
        read::read(file, text, ontology)
    }

    /// Reads and checks the mapping in a file.
    ///
    /// # Errors
    /// All problems, each with its place; a file that cannot be read is one.
    pub fn load(path: &Path, ontology: &Ontology) -> Result<Self, MappingError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&file, &text, ontology),
            Err(error) => Err(MappingError::unreadable(&file, &error)),
        }
    }

    /// The first of the set's files that exists, and what is said of it.
    pub fn find<'a>(&'a self, folders: &'a Folders) -> Option<(PathBuf, &'a SourceFile)> {
        self.candidates(folders).find(|(path, _)| path.is_file())
    }

    /// The mapping as one of its files is read: positions in columns are in the file's system.
    pub(crate) fn of_file(&self, file: &SourceFile) -> Self {
        // It was checked when the mapping was read.
        let positions = file
            .options
            .crs
            .as_deref()
            .and_then(|crs| Crs::parse(crs).ok());
        Self {
            positions: positions.filter(|crs| !crs.is_wgs84()),
            ..self.clone()
        }
    }

    /// What positions in columns are in, where that is not longitude and latitude.
    pub(crate) fn positions(&self) -> Option<&Crs> {
        self.positions.as_ref()
    }

    /// The paths where the set's files may be.
    pub fn candidates<'a>(
        &'a self,
        folders: &'a Folders,
    ) -> impl Iterator<Item = (PathBuf, &'a SourceFile)> + 'a {
        self.files.iter().filter_map(|file| {
            let folder = match file.root {
                Root::Data => folders.data.as_ref()?,
                Root::Seeds => &folders.seeds,
                Root::Given if file.name.is_empty() => return None,
                Root::Given => Path::new(""),
            };
            Some((folder.join(&*file.name), file))
        })
    }

    /// Whether no file is known until one is given.
    pub fn needs_file(&self) -> bool {
        let open = |file: &SourceFile| file.root == Root::Given && file.name.is_empty();
        self.files.iter().all(open)
    }

    /// The same set read from another file, whose format its ending tells, or else the mapping, as it does of
    /// endings that several formats have.
    /// `None` where the path is not UTF-8.
    #[must_use]
    pub fn reading(mut self, file: &Path) -> Option<Self> {
        let known = self.files.first();
        let said = known.map(|file| file.format);
        let may_be = |format: &Format| format.may_be(file);
        let format = said.filter(may_be).or(Format::of_path(file)).or(said)?;
        let options = known.map(|file| file.options.clone()).unwrap_or_default();
        self.files = vec![SourceFile {
            root: Root::Given,
            name: file.to_str()?.into(),
            format,
            options,
        }];
        Some(self)
    }

    /// The same set whose files are in this coordinate system, whatever they say.
    #[must_use]
    pub fn in_crs(mut self, crs: &str) -> Self {
        for file in &mut self.files {
            file.options.crs = Some(crs.into());
        }
        self
    }

    /// The same set of data that are somebody else's than the mapping knows.
    #[must_use]
    pub fn of_origin(mut self, source: &str, licence: &str, attribution: &str) -> Self {
        let said = [
            (read::SOURCE_PROPERTY, Arc::clone(&self.source), source),
            (read::LICENCE_PROPERTY, Arc::clone(&self.licence), licence),
        ];
        for setting in self.rules.iter_mut().flat_map(|rule| &mut rule.set) {
            for (property, before, now) in &said {
                if *setting.property == **property
                    && let ValueFrom::Constant(Value::Text(text)) = &mut setting.from
                    && **text == **before
                {
                    *text = (*now).into();
                }
            }
        }
        self.source = source.into();
        self.licence = licence.into();
        self.attribution = attribution.into();
        self
    }

    /// What the rules need of a file.
    pub fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for rule in &self.rules {
            let Rule {
                class: _,
                class_name: _,
                per: _,
                when,
                id,
                geometry,
                set,
                relates,
            } = rule;
            wanted.columns.extend(when.columns());
            wanted.columns.extend(id.columns());
            match geometry {
                None => {}
                Some(GeometryFrom::Feature(_)) => wanted.geometry = true,
                Some(GeometryFrom::Columns { lon, lat }) => {
                    wanted.columns.extend([Arc::clone(lon), Arc::clone(lat)]);
                }
            }
            for setting in set {
                setting.from.columns(&mut wanted.columns);
            }
            for relate in relates {
                wanted.columns.extend(relate.when.columns());
                match &relate.target {
                    Target::Id(template) | Target::From(template) => {
                        wanted.columns.extend(template.columns());
                    }
                    Target::Within { .. } => {}
                    Target::Named { column, .. } => {
                        wanted.columns.insert(Arc::clone(column));
                    }
                }
            }
        }
        // A feature's own id is not a column.
        wanted.columns.remove("$id");
        wanted
    }

    /// Whether a text means no value.
    pub fn is_null(&self, text: &str) -> bool {
        text.is_empty() || self.nulls.iter().any(|null| **null == *text)
    }
}
