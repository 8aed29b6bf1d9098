//! Where a property's value comes from, checked against the property's schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use ontology::{Schema, Value};
use toml::de::{DeTable, DeValue};

use super::item::{Item, json, kind};
use super::read::Reader;
use super::{Column, ValueFrom};

/// What is said of a column besides its name.
const COLUMN_KEYS: [&str; 4] = ["factor", "map", "range", "unit"];

impl Reader<'_> {
    pub(super) fn value_from(&mut self, item: Item<'_>, schema: &Schema) -> Option<ValueFrom> {
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
        self.only(
            table,
            &[
                "column", "factor", "map", "range", "template", "unit", "value",
            ],
            "a value",
        );
        let given: Vec<&str> = ["column", "template", "value"]
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
            ["column"] => self.column(table, schema).map(ValueFrom::Column),
            _ => {
                let help = format!(
                    "exactly one of value, template and column; {} with column",
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
            let mut map = BTreeMap::new();
            for (text, item) in self.table(item)? {
                let value = self.constant(item, schema)?;
                map.insert(Arc::from(&**text.get_ref()), value);
            }
            column.map = Some(map);
        }
        for key in ["factor", "range", "unit"] {
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
            column.units = self.texts(item);
        }
        Some(column)
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
