//! Cells into values of properties: what does not fit is left out and told.

use std::sync::Arc;

use ontology::{Schema, Value};
use twin_core::TwinId;

use super::Builder;
use crate::formats::Cell;
use crate::mapping::{Column, Setting, ValueFrom};

impl Builder<'_> {
    pub(super) fn value(&mut self, setting: &Setting, id: &TwinId) -> Option<Value> {
        let Setting {
            property,
            schema,
            from,
        } = setting;
        match from {
            ValueFrom::Constant(value) => Some(value.clone()),
            ValueFrom::Template(template) => {
                let text = template.fill(|column| self.text(column)).ok()?;
                self.fit(property, schema.parse_text(&text), id)
            }
            ValueFrom::Column(column) => self.column(column, property, schema, id),
        }
    }

    fn column(
        &mut self,
        column: &Column,
        property: &str,
        schema: &Schema,
        id: &TwinId,
    ) -> Option<Value> {
        if let Some(map) = &column.map {
            let text = self.text(&column.name)?;
            if let Some(value) = map.get(text.as_str()) {
                return Some(value.clone());
            }
            let reason = format!("without {property}: the mapping has no value for `{text}`");
            self.warn(id, "a value that the mapping does not know", reason);
            return None;
        }
        let cell = self.cell(&column.name)?.clone();
        let value = self.fit(property, convert(&cell, schema, column), id)?;
        let number = match &value {
            Value::Int(number) => Some(*number as f64),
            Value::Double(number) => Some(*number),
            _ => None,
        };
        if let (Some(number), Some((from, to))) = (number, column.range)
            && !(from..=to).contains(&number)
        {
            let reason = format!("without {property}: {number} is not from {from} to {to}");
            self.warn(id, "a number out of the mapping's range", reason);
            return None;
        }
        Some(value)
    }

    fn fit(
        &mut self,
        property: &str,
        parsed: Result<Value, ontology::Misfit>,
        id: &TwinId,
    ) -> Option<Value> {
        match parsed {
            Ok(value) => Some(value),
            Err(misfit) => {
                let reason = format!("without {property}: {}", misfit.reason);
                self.warn(id, "a value that does not fit the model", reason);
                None
            }
        }
    }
}

fn convert(cell: &Cell, schema: &Schema, column: &Column) -> Result<Value, ontology::Misfit> {
    if let Some(factor) = column.factor {
        let text = cell.to_string();
        if let Ok(number) = without_unit(&text, &column.units).parse::<f64>() {
            let scaled = number * factor;
            let whole = !matches!(schema, Schema::Double);
            return schema.parse_text(&if whole { scaled.round() } else { scaled }.to_string());
        }
    }
    match cell {
        Cell::Null => schema.parse(&serde_json::Value::Null),
        Cell::Bool(value) => schema.parse(&(*value).into()),
        Cell::Json(value) => schema.parse(value),
        // Numbers are texts to a text property: codes are often numbers in files.
        Cell::Int(_) | Cell::Float(_) | Cell::Text(_) => {
            schema.parse_text(without_unit(&cell.to_string(), &column.units))
        }
    }
}

/// What stands before the longest of the units that ends the text, in any case; else all of it.
fn without_unit<'t>(text: &'t str, units: &[Arc<str>]) -> &'t str {
    let text = text.trim();
    let ending = |unit: &Arc<str>| {
        let (number, end) = text.split_at_checked(text.len().checked_sub(unit.len())?)?;
        end.eq_ignore_ascii_case(unit).then_some(number)
    };
    let numbers = units.iter().filter_map(ending);
    numbers
        .min_by_key(|number| number.len())
        .unwrap_or(text)
        .trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_may_follow_a_number_in_any_case() {
        let units: Vec<Arc<str>> = ["m3/h", "h", "kW"].map(Arc::from).into();
        for (text, number) in [
            ("15 m3/h", "15"),
            ("15M3/H ", "15"),
            ("37KW", "37"),
            ("4", "4"),
            ("2 l/s", "2 l/s"),
            ("kW", ""),
            ("\u{e9}", "\u{e9}"),
        ] {
            assert_eq!(without_unit(text, &units), number, "{text}");
        }
    }
}
