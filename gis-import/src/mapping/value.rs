//! Where a property's value comes from, checked against the property's schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use ontology::{Schema, Value};
use toml::de::{DeTable, DeValue};

use super::item::{Item, json, kind};
use super::read::Reader;
use super::{Alternative, Column, ValueFrom};

/// What is said of a column besides its name.
const COLUMN_KEYS: [&str; 9] = [
    "comma", "factor", "map", "null", "other", "plus", "range", "unit", "words",
];
/// What only a number can have.
const NUMBER_KEYS: [&str; 5] = ["comma", "factor", "plus", "range", "unit"];
/// Where a value comes from; `values` goes with `which`.
const SOURCE_KEYS: [&str; 4] = ["column", "template", "value", "which"];

impl Reader<'_> {
    /// One source, or a list of which the first that has a value counts.
    pub(super) fn value_from(&mut self, item: Item<'_>, schema: &Schema) -> Option<ValueFrom> {
        match item.get_ref() {
            DeValue::Array(items) => {
                let alternatives = items.iter().map(|item| self.alternative(item, schema));
                // All of them, so that all problems are found.
                let alternatives: Vec<_> = alternatives.collect();
                let alternatives: Vec<_> = alternatives.into_iter().collect::<Option<_>>()?;
                if alternatives.is_empty() {
                    let help = Some("name at least one, or leave it out".to_owned());
                    self.problems
                        .add(item.span(), "a list of nothing has no value", help);
                }
                Some(ValueFrom::First(alternatives))
            }
            DeValue::Table(table) if table.contains_key("when") => {
                let only = self.alternative(item, schema)?;
                Some(ValueFrom::First(vec![only]))
            }
            _ => self.source(item, schema),
        }
    }

    fn alternative(&mut self, item: Item<'_>, schema: &Schema) -> Option<Alternative> {
        let when = match item.get_ref() {
            DeValue::Table(table) => self.when(table),
            _ => super::When::default(),
        };
        let from = self.source(item, schema)?;
        if let ValueFrom::Which { .. } = from {
            let help = Some("let it stand alone".to_owned());
            self.problems
                .add(item.span(), "`which` is no alternative", help);
            return None;
        }
        Some(Alternative { when, from })
    }

    fn source(&mut self, item: Item<'_>, schema: &Schema) -> Option<ValueFrom> {
        let table = match item.get_ref() {
            DeValue::String(column) => {
                return Some(ValueFrom::Column(Column::named(Arc::from(&**column))));
            }
            DeValue::Table(table) => table,
            _ => {
                let help = "a column's name, { value = … }, { template = … } or { column = … }";
                let reason = format!("expected where the value comes from, found {}", kind(item));
                self.problems
                    .add(item.span(), reason, Some(help.to_owned()));
                return None;
            }
        };
        let known: Vec<&str> = COLUMN_KEYS
            .into_iter()
            .chain(SOURCE_KEYS)
            .chain(["values", "when"])
            .collect();
        self.only(table, &known, "a value");
        let given: Vec<&str> = SOURCE_KEYS
            .into_iter()
            .filter(|key| table.contains_key(*key))
            .collect();
        let extra = COLUMN_KEYS.iter().any(|key| table.contains_key(*key));
        match given[..] {
            ["value"] if !extra => {
                let item = table.get("value")?;
                self.constant(item, schema).map(ValueFrom::Constant)
            }
            ["template"] if !extra => {
                let item = table.get("template")?;
                self.template(item).map(ValueFrom::Template)
            }
            ["which"] if !extra => {
                let property = self.text(table.get("which")?)?;
                let item = self.needed(table, "values", &item.span(), "`which`")?;
                let values = match item.get_ref() {
                    DeValue::Array(values) => values.iter().collect(),
                    _ => vec![item],
                };
                let values = values.into_iter().map(|item| self.constant(item, schema));
                let values = values.collect::<Option<_>>()?;
                Some(ValueFrom::Which { property, values })
            }
            ["column"] => self.column(table, schema).map(ValueFrom::Column),
            _ => {
                let help = format!(
                    "exactly one of value, template, column and which; {} with column",
                    COLUMN_KEYS.join(", ")
                );
                let reason = "it is not clear where the value comes from";
                self.problems.add(item.span(), reason, Some(help));
                None
            }
        }
    }

    fn column(&mut self, table: &DeTable<'_>, schema: &Schema) -> Option<Column> {
        let mut column = Column::named(self.text(table.get("column")?)?);
        if let Some(item) = table.get("map") {
            column.map = Some(self.values(item, schema)?);
        }
        if let Some(item) = table.get("other") {
            if column.map.is_none() {
                let help = Some("give it a `map`".to_owned());
                let reason = "`other` is for texts that a map lacks";
                self.problems.add(item.span(), reason, help);
            }
            column.other = Some(self.constant(item, schema)?);
        }
        if let Some(item) = table.get("words") {
            column.words = self.values(item, schema)?;
        }
        if let Some(item) = table.get("null") {
            column.nulls = self.texts(item);
        }
        for key in NUMBER_KEYS {
            if let Some(item) = table.get(key) {
                self.needs_number(item, key, schema)?;
            }
        }
        if let Some(item) = table.get("factor") {
            column.factor = Some(self.factor(item)?);
        }
        if let Some(item) = table.get("range") {
            column.range = Some(self.range(item)?);
        }
        if let Some(item) = table.get("unit") {
            column.units = self.units(item)?;
        }
        if let Some(item) = table.get("plus") {
            column.plus = Some(self.text(item)?);
        }
        if let Some(item) = table.get("comma") {
            column.comma = item.get_ref().as_bool().unwrap_or_else(|| {
                self.problems
                    .add(item.span(), "`comma` is true or false", None);
                false
            });
        }
        Some(column)
    }

    /// Constants by text.
    fn values(&mut self, item: Item<'_>, schema: &Schema) -> Option<BTreeMap<Arc<str>, Value>> {
        let mut values = BTreeMap::new();
        for (text, item) in self.table(item)? {
            let value = self.constant(item, schema)?;
            values.insert(Arc::from(&**text.get_ref()), value);
        }
        Some(values)
    }

    /// Units, each with a factor where they stand in a table.
    fn units(&mut self, item: Item<'_>) -> Option<Vec<(Arc<str>, f64)>> {
        let DeValue::Table(table) = item.get_ref() else {
            let same = |unit| (unit, 1.0);
            return Some(self.texts(item).into_iter().map(same).collect());
        };
        let mut units = Vec::new();
        for (unit, item) in table {
            units.push((Arc::from(&**unit.get_ref()), self.factor(item)?));
        }
        Some(units)
    }

    fn needs_number(&mut self, item: Item<'_>, key: &str, schema: &Schema) -> Option<()> {
        if matches!(
            schema,
            Schema::Double | Schema::Integer { .. } | Schema::Long
        ) {
            return Some(());
        }
        let reason = format!(
            "a {key} needs a number, and the property is {}",
            schema.name()
        );
        self.problems.add(item.span(), reason, None);
        None
    }

    fn factor(&mut self, item: Item<'_>) -> Option<f64> {
        let factor = number(item);
        if factor.is_none_or(|factor| factor == 0.0) {
            self.problems
                .add(item.span(), "a factor is a number other than 0", None);
            return None;
        }
        factor
    }

    fn range(&mut self, item: Item<'_>) -> Option<(f64, f64)> {
        let ends = item.get_ref().as_array().map(|ends| {
            let ends = ends.iter().map(number);
            ends.collect::<Vec<_>>()
        });
        if let Some([Some(from), Some(to)]) = ends.as_deref()
            && from <= to
        {
            return Some((*from, *to));
        }
        let help = "the least and the greatest number, such as [1900, 2030]".to_owned();
        self.problems
            .add(item.span(), "this is no range", Some(help));
        None
    }

    fn constant(&mut self, item: Item<'_>, schema: &Schema) -> Option<Value> {
        let Some(json) = json(item.get_ref()) else {
            let help = Some("dates and times stand as texts".to_owned());
            self.problems
                .add(item.span(), format!("{} is no value", kind(item)), help);
            return None;
        };
        match schema.parse(&json) {
            Ok(value) => Some(value),
            Err(misfit) => {
                let help = misfit
                    .suggestion
                    .as_ref()
                    .map(|s| format!("did you mean `{s}`?"));
                self.problems.add(item.span(), misfit.reason, help);
                None
            }
        }
    }
}

/// A finite number.
fn number(item: Item<'_>) -> Option<f64> {
    let number = json(item.get_ref())?.as_f64()?;
    number.is_finite().then_some(number)
}
