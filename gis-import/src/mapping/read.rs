//! TOML into a checked mapping: names against the ontology, constants against their schemas.

use std::ops::Range;
use std::path::{Component, Path};
use std::sync::Arc;

use ontology::{Class, Ontology, Schema, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::FILE_KEYS;
use super::item::{Item, did_you_mean};
use super::problem::Problems;
use super::{
    Condition, Extent, GeometryFrom, Mapping, MappingError, Per, Root, Rule, Setting, SourceFile,
    Target, Template, ValueFrom, When,
};
use crate::formats::{FORMAT_NAMES, Format};

/// Properties that say where a twin's facts come from and on what terms.
pub(super) const SOURCE_PROPERTY: &str = "source";
pub(super) const LICENCE_PROPERTY: &str = "licence";

pub(super) fn read(file: &str, text: &str, ontology: &Ontology) -> Result<Mapping, MappingError> {
    let mut problems = Problems::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        problems.add(
            error.span().unwrap_or(0..0),
            error.message().to_owned(),
            None,
        );
    }
    if !problems.is_empty() {
        // What stands around broken syntax may be anything: its other problems would mislead.
        return Err(problems.into_error());
    }
    let stem = Path::new(file)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or(file);
    let mut reader = Reader { problems, ontology };
    let mapping = reader.mapping(stem, table.get_ref());
    if reader.problems.is_empty() {
        Ok(mapping)
    } else {
        Err(reader.problems.into_error())
    }
}

pub(super) struct Reader<'o> {
    pub(super) problems: Problems,
    pub(super) ontology: &'o Ontology,
}

impl<'o> Reader<'o> {
    fn mapping(&mut self, set: &str, table: &DeTable<'_>) -> Mapping {
        let known = [
            "title",
            "source",
            "licence",
            "attribution",
            "null",
            "file",
            "twin",
        ];
        self.only(table, &known, "a mapping");
        let whole = 0..0;
        let mut needed = |key: &str| {
            let found = self.needed(table, key, &whole, "a mapping");
            found
                .and_then(|value| self.text(value))
                .unwrap_or_else(|| "".into())
        };
        let (title, source) = (needed("title"), needed("source"));
        let (licence, attribution) = (needed("licence"), needed("attribution"));
        let nulls = table
            .get("null")
            .map(|value| self.texts(value))
            .unwrap_or_default();
        let mut files = Vec::new();
        for (table, span) in self.tables(table, "file") {
            files.extend(self.file(table, &span));
        }
        let mut rules = Vec::new();
        for (table, span) in self.tables(table, "twin") {
            let origin = [(SOURCE_PROPERTY, &*source), (LICENCE_PROPERTY, &*licence)];
            rules.extend(self.rule(table, &span, origin));
        }
        self.check_within(&rules, table);
        Mapping {
            set: set.into(),
            title,
            source,
            licence,
            attribution,
            files,
            rules,
            nulls,
            positions: None,
        }
    }

    fn file(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Option<SourceFile> {
        self.only(table, &FILE_KEYS, "a file");
        if let Some(item) = table.get("in")
            && item.get_ref().as_str() == Some("given")
        {
            return self.given_file(table, span);
        }
        let item = self.needed(table, "name", span, "a file")?;
        let name = self.text(item)?;
        let inside = Path::new(&*name)
            .components()
            .all(|c| matches!(c, Component::Normal(_)));
        if !inside || name.is_empty() {
            let help = "a path below the folder, without `..`".to_owned();
            self.problems
                .add(item.span(), format!("`{name}` is no such path"), Some(help));
        }
        let root = match table.get("in") {
            None => Some(Root::Data),
            Some(item) => match &*self.text(item)? {
                "data" => Some(Root::Data),
                "seeds" => Some(Root::Seeds),
                other => {
                    let help = Some("`data`, `seeds` or `given`".to_owned());
                    self.problems
                        .add(item.span(), format!("there is no folder `{other}`"), help);
                    None
                }
            },
        };
        let (given, format, reason) = if let Some(item) = table.get("format") {
            let given = self.text(item)?;
            let reason = format!("there is no format `{given}`");
            (item, Format::named(&given), reason)
        } else {
            let reason = format!("the ending of `{name}` tells no format");
            (item, Format::of_path(Path::new(&*name)), reason)
        };
        if format.is_none() {
            let help = format!("say `format`, one of {}", FORMAT_NAMES.join(", "));
            self.problems.add(given.span(), reason, Some(help));
        }
        let options = self.options(table, format);
        Some(SourceFile {
            root: root?,
            name,
            format: format?,
            options: options?,
        })
    }

    /// A file that whoever imports names.
    fn given_file(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Option<SourceFile> {
        if let Some(item) = table.get("name") {
            let reason = "a file that is given has no name yet";
            self.problems.add(item.span(), reason, None);
        }
        let item = self.needed(table, "format", span, "a file that is given")?;
        let name = self.text(item)?;
        let format = Format::named(&name);
        if format.is_none() {
            let help = format!("one of {}", FORMAT_NAMES.join(", "));
            let reason = format!("there is no format `{name}`");
            self.problems.add(item.span(), reason, Some(help));
        }
        let options = self.options(table, format);
        Some(SourceFile {
            root: Root::Given,
            name: "".into(),
            format: format?,
            options: options?,
        })
    }

    /// The rules of one table: one for each class that its `class` names.
    fn rule(
        &mut self,
        table: &DeTable<'_>,
        span: &Range<usize>,
        origin: [(&str, &str); 2],
    ) -> Vec<Rule> {
        self.only(
            table,
            &["class", "geometry", "id", "per", "relate", "set", "when"],
            "a rule",
        );
        let per = table
            .get("per")
            .map_or(Some(Per::Feature), |item| match &*self.text(item)? {
                "feature" => Some(Per::Feature),
                "value" => Some(Per::Value),
                "set" => Some(Per::Set),
                "known" => Some(Per::Known),
                other => {
                    let help = Some("`feature`, `value`, `set` or `known`".to_owned());
                    self.problems
                        .add(item.span(), format!("there is no `per` of `{other}`"), help);
                    None
                }
            });
        let id_item = self.needed(table, "id", span, "a rule");
        let id = id_item.and_then(|item| self.template(item));
        if let (Some(item), Some(id), Some(per)) = (id_item, &id, per) {
            self.check_id(item, id, per);
        }
        if let (Some(Per::Known), Some(item)) = (per, table.get("set")) {
            let help = "set it in the set that makes the twin".to_owned();
            let reason = "a rule for twins that are there already sets nothing";
            self.problems.add(item.span(), reason, Some(help));
        }
        let when = self.when(table);
        let geometry = table.get("geometry").and_then(|item| self.geometry(item));
        let class_item = self.needed(table, "class", span, "a rule");
        let classes = class_item
            .map(|item| self.classes(item))
            .unwrap_or_default();
        let mut rules = Vec::new();
        for (class, condition) in classes {
            // Problems of the shared parts are the same for each class: those of one are enough.
            if !rules.is_empty() && !self.problems.is_empty() {
                break;
            }
            let mut set = self.settings(table, class);
            for (name, text) in origin {
                if per != Some(Per::Known)
                    && let Some(property) = class.property(name)
                    && property.schema == Schema::String
                    && !set.iter().any(|setting| *setting.property == *name)
                {
                    set.push(Setting {
                        property: Arc::clone(&property.name),
                        schema: property.schema.clone(),
                        from: ValueFrom::Constant(Value::Text(text.into())),
                    });
                }
            }
            let mut relates = Vec::new();
            for (table, span) in self.tables(table, "relate") {
                relates.extend(self.relate(table, &span, class, geometry.is_some()));
            }
            if let (Some(per), Some(id)) = (per, &id) {
                rules.push(Rule {
                    class: class.id,
                    class_name: Arc::clone(&class.name),
                    per,
                    when: when.clone().and(condition),
                    id: id.clone(),
                    geometry: geometry.clone(),
                    set,
                    relates,
                });
            }
        }
        rules
    }

    /// The class of a name, or the classes by a column's texts, each with its condition.
    fn classes(&mut self, item: Item<'_>) -> Vec<(&'o Class, Option<Condition>)> {
        let DeValue::Table(table) = item.get_ref() else {
            return self
                .class(item)
                .map(|class| (class, None))
                .into_iter()
                .collect();
        };
        self.only(table, &["column", "map"], "a class");
        let column = self.needed(table, "column", &item.span(), "a class");
        let column = column.and_then(|item| self.text(item));
        let map = self.needed(table, "map", &item.span(), "a class");
        let map = map.and_then(|item| self.table(item));
        let (Some(column), Some(map)) = (column, map) else {
            return Vec::new();
        };
        let mut classes = Vec::new();
        for (text, item) in map {
            if let Some(class) = self.class(item) {
                let (column, texts) = (Arc::clone(&column), vec![Arc::from(&**text.get_ref())]);
                classes.push((
                    class,
                    Some(Condition {
                        column,
                        texts,
                        is: true,
                    }),
                ));
            }
        }
        classes
    }

    fn check_id(&mut self, item: Item<'_>, id: &Template, per: Per) {
        let has_columns = id.columns().next().is_some();
        if per == Per::Feature && !has_columns {
            let help = "name a column, `rw:x:{code}`, or say per = \"value\" or \"set\"".to_owned();
            self.problems.add(
                item.span(),
                "every feature would have the same id",
                Some(help),
            );
        }
        if per == Per::Set && has_columns {
            let help = "per = \"value\" makes one twin for each distinct id".to_owned();
            self.problems
                .add(item.span(), "a twin of the set has no columns", Some(help));
        }
        if let Ok(sample) = id.fill(|_| Some("x".to_owned()))
            && let Err(error) = twin_core::TwinId::new(&sample)
        {
            self.problems.add(item.span(), error.to_string(), None);
        }
    }

    fn settings(&mut self, table: &DeTable<'_>, class: &Class) -> Vec<Setting> {
        let Some(item) = table.get("set") else {
            return Vec::new();
        };
        let Some(table) = self.table(item) else {
            return Vec::new();
        };
        let mut set = Vec::new();
        for (key, item) in table {
            let Some(property) = class.property(key.get_ref()) else {
                let names = class.properties.iter().map(|p| &*p.name);
                let reason = format!("{} has no property `{}`", class.name, key.get_ref());
                let help = did_you_mean(key.get_ref(), names);
                self.problems.add(key.span(), reason, help);
                continue;
            };
            if let Some(from) = self.value_from(item, &property.schema) {
                let (property, schema) = (Arc::clone(&property.name), property.schema.clone());
                set.push(Setting {
                    property,
                    schema,
                    from,
                });
            }
        }
        self.check_which(&set, table);
        // The order of a file is a matter of taste; that of a commit should not depend on it.
        set.sort_by(|a, b| a.property.cmp(&b.property));
        set
    }

    /// What goes by another property's alternatives has a value for each.
    fn check_which(&mut self, set: &[Setting], table: &DeTable<'_>) {
        for setting in set {
            let ValueFrom::Which { property, values } = &setting.from else {
                continue;
            };
            let other = set.iter().find(|other| other.property == *property);
            let alternatives = match other.map(|other| &other.from) {
                Some(ValueFrom::First(alternatives)) => alternatives.len(),
                _ => 0,
            };
            if alternatives != values.len() {
                let span = table.get(&*setting.property).map_or(0..0, Spanned::span);
                let reason = format!(
                    "`{property}` is set from a list of {alternatives}, and there are {} values",
                    values.len()
                );
                let help = "one value for each place that its value may come from, in order";
                self.problems.add(span, reason, Some(help.to_owned()));
            }
        }
    }

    fn geometry(&mut self, item: Item<'_>) -> Option<GeometryFrom> {
        match item.get_ref() {
            DeValue::String(text) if *text == "feature" => Some(GeometryFrom::Feature(None)),
            DeValue::Table(table) if table.contains_key("feature") => {
                self.only(table, &["feature"], "a feature's own geometry");
                let extent = match &*self.text(table.get("feature")?)? {
                    "point" => Extent::Point,
                    "line" => Extent::Line,
                    "area" => Extent::Area,
                    "footprint" => Extent::Footprint,
                    other => {
                        let help = Some("`point`, `line`, `area` or `footprint`".to_owned());
                        let reason = format!("there is no kind of geometry `{other}`");
                        self.problems.add(item.span(), reason, help);
                        return None;
                    }
                };
                Some(GeometryFrom::Feature(Some(extent)))
            }
            DeValue::Table(table) => {
                self.only(table, &["lat", "lon"], "a geometry");
                let lon = self.needed(table, "lon", &item.span(), "a geometry");
                let lon = lon.and_then(|item| self.text(item));
                let lat = self.needed(table, "lat", &item.span(), "a geometry");
                let lat = lat.and_then(|item| self.text(item));
                Some(GeometryFrom::Columns {
                    lon: lon?,
                    lat: lat?,
                })
            }
            _ => {
                let help = "\"feature\", { feature = \"area\" }, or { lon = \"column\", lat = \"column\" }";
                let help = help.to_owned();
                self.problems
                    .add(item.span(), "this is no source of geometry", Some(help));
                None
            }
        }
    }

    /// The conditions of something, always met where there are none.
    pub(super) fn when(&mut self, table: &DeTable<'_>) -> When {
        let Some(item) = table.get("when") else {
            return When::default();
        };
        match item.get_ref() {
            DeValue::Array(any) => When(any.iter().map(|all| self.conditions(all)).collect()),
            _ => When(vec![self.conditions(item)]),
        }
    }

    fn conditions(&mut self, item: Item<'_>) -> Vec<Condition> {
        let mut conditions = Vec::new();
        let Some(table) = self.table(item) else {
            return conditions;
        };
        for (column, item) in table {
            let column = Arc::from(&**column.get_ref());
            let (texts, is) = match item.get_ref() {
                DeValue::Table(table) => {
                    self.only(table, &["not"], "a condition");
                    let not = self.needed(table, "not", &item.span(), "a condition");
                    (not.map(|item| self.texts(item)).unwrap_or_default(), false)
                }
                _ => (self.texts(item), true),
            };
            conditions.push(Condition { column, texts, is });
        }
        conditions
    }

    /// A class that the set itself makes may not be complete when it is looked into.
    fn check_within(&mut self, rules: &[Rule], table: &DeTable<'_>) {
        for rule in rules {
            for relate in &rule.relates {
                let looked_for = match &relate.target {
                    Target::Id(_) | Target::From(_) => continue,
                    Target::Within { class, class_name } => vec![(*class, class_name)],
                    Target::Named {
                        class,
                        class_name,
                        near,
                        ..
                    } => {
                        let areas = near.iter().map(|(area, name)| (*area, name));
                        areas.chain([(*class, class_name)]).collect()
                    }
                };
                for (class, name) in looked_for {
                    let makes = |other: &Rule| {
                        other.per != Per::Known && self.ontology.is_a(other.class, class)
                    };
                    if rules.iter().any(makes) {
                        let span = table.get("twin").map_or(0..0, Spanned::span);
                        let help = "import it from a set of its own, first".to_owned();
                        let reason =
                            format!("a relationship looks for what this set makes: {name}");
                        self.problems.add(span, reason, Some(help));
                    }
                }
            }
        }
    }

    pub(super) fn class(&mut self, item: Item<'_>) -> Option<&'o Class> {
        let name = self.text(item)?;
        let ontology = self.ontology;
        let class = ontology.class_named(&name);
        if class.is_none() {
            let help = did_you_mean(&name, ontology.classes().iter().map(|c| &*c.name));
            self.problems
                .add(item.span(), format!("there is no class `{name}`"), help);
        }
        class
    }
}
