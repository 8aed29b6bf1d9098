//! Cells into values of properties: what does not fit is left out and told.

use std::sync::Arc;

use ontology::{Misfit, Schema, Value};
use twin_core::TwinId;

use super::Builder;
use crate::formats::Cell;
use crate::mapping::{Alternative, Column, Setting, ValueFrom};

/// A property beside where its value is looked for, for what a warning says.
#[derive(Clone, Copy)]
struct Wish<'a> {
    property: &'a str,
    schema: &'a Schema,
    id: &'a TwinId,
    /// Whether other places are looked into as well.
    one_of_several: bool,
}

impl Wish<'_> {
    /// What a warning begins with.
    fn without(&self, from: &str) -> String {
        if self.one_of_several {
            format!("{} not from `{from}`", self.property)
        } else {
            format!("without {}", self.property)
        }
    }
}

impl Builder<'_> {
    /// The properties of a twin, each with its value or none.
    pub(super) fn values(
        &mut self,
        settings: &[Setting],
        id: &TwinId,
    ) -> Vec<(Arc<str>, Option<Value>)> {
        let mut values = Vec::with_capacity(settings.len());
        // By which alternative a property had its value.
        let mut which: Vec<(&str, usize)> = Vec::new();
        for setting in settings {
            let Setting {
                property,
                schema,
                from,
            } = setting;
            let wish = Wish {
                property,
                schema,
                id,
                one_of_several: false,
            };
            let value = match from {
                ValueFrom::First(alternatives) => {
                    let found = self.first(alternatives, wish);
                    which.extend(found.iter().map(|(place, _)| (&**property, *place)));
                    found.map(|(_, value)| value)
                }
                ValueFrom::Which { .. } => None,
                from => self.value(from, wish),
            };
            values.push((Arc::clone(property), value));
        }
        for (setting, (_, value)) in settings.iter().zip(&mut values) {
            if let ValueFrom::Which { property, values } = &setting.from {
                let found = which.iter().find(|(other, _)| *other == &**property);
                *value = found.and_then(|(_, place)| values.get(*place).cloned());
            }
        }
        values
    }

    fn value(&mut self, from: &ValueFrom, wish: Wish<'_>) -> Option<Value> {
        match from {
            ValueFrom::Constant(value) => Some(value.clone()),
            ValueFrom::Template(template) => {
                let text = template.fill(|column| self.text(column)).ok()?;
                self.fit("a template", wish.schema.parse_text(&text), wish)
            }
            ValueFrom::Column(column) => self.column(column, wish),
            ValueFrom::First(alternatives) => self.first(alternatives, wish).map(|(_, v)| v),
            // Set once all others are.
            ValueFrom::Which { .. } => None,
        }
    }

    /// The first alternative that has a value, and its number.
    fn first(&mut self, alternatives: &[Alternative], wish: Wish<'_>) -> Option<(usize, Value)> {
        let wish = Wish {
            one_of_several: alternatives.len() > 1,
            ..wish
        };
        for (place, Alternative { when, from }) in alternatives.iter().enumerate() {
            if self.when(when)
                && let Some(value) = self.value(from, wish)
            {
                return Some((place, value));
            }
        }
        None
    }

    fn column(&mut self, column: &Column, wish: Wish<'_>) -> Option<Value> {
        let name = &*column.name;
        let text = self.text(name)?;
        if column.nulls.iter().any(|null| **null == *text) {
            return None;
        }
        if let Some(value) = column.words.get(text.as_str()) {
            return Some(value.clone());
        }
        if let Some(map) = &column.map {
            if let Some(value) = map.get(text.as_str()).or(column.other.as_ref()) {
                return Some(value.clone());
            }
            let reason = format!(
                "{}: the mapping has no value for `{text}`",
                wish.without(name)
            );
            self.warn(wish.id, "a value that the mapping does not know", reason);
            return None;
        }
        let more = self.more(column, wish);
        let cell = self.cell(name)?.clone();
        let value = self.fit(name, convert(&cell, wish.schema, column, more), wish)?;
        let number = match &value {
            Value::Int(number) => Some(*number as f64),
            Value::Double(number) => Some(*number),
            _ => None,
        };
        if let (Some(number), Some((from, to))) = (number, column.range)
            && !(from..=to).contains(&number)
        {
            let reason = format!(
                "{}: {number} is not from {from} to {to}",
                wish.without(name)
            );
            self.warn(wish.id, "a number out of the mapping's range", reason);
            return None;
        }
        Some(value)
    }

    /// The number of the column that is added to another one, where it has one.
    fn more(&mut self, column: &Column, wish: Wish<'_>) -> Option<f64> {
        let plus = column.plus.as_ref()?;
        let text = self.text(plus)?;
        let number = quantity(&text, column);
        if number.is_none() {
            let reason = format!("{} without `{plus}`: `{text}` is no number", wish.property);
            self.warn(wish.id, "a value that does not fit the model", reason);
        }
        number
    }

    fn fit(&mut self, from: &str, parsed: Result<Value, Misfit>, wish: Wish<'_>) -> Option<Value> {
        match parsed {
            Ok(value) => Some(value),
            Err(misfit) => {
                let reason = format!("{}: {}", wish.without(from), misfit.reason);
                self.warn(wish.id, "a value that does not fit the model", reason);
                None
            }
        }
    }
}

fn convert(
    cell: &Cell,
    schema: &Schema,
    column: &Column,
    more: Option<f64>,
) -> Result<Value, Misfit> {
    let Column {
        factor,
        units,
        comma,
        ..
    } = column;
    if factor.is_some() || !units.is_empty() || *comma || more.is_some() {
        let text = cell.to_string();
        if let Some(number) = quantity(&text, column) {
            let scaled = (number + more.unwrap_or(0.0)) * factor.unwrap_or(1.0);
            // What was counted in other units need not be whole in those of the property.
            let rounds = factor.is_some() || units.iter().any(|(_, factor)| *factor != 1.0);
            let whole = rounds && !matches!(schema, Schema::Double);
            return schema.parse_text(&if whole { scaled.round() } else { scaled }.to_string());
        }
    }
    match cell {
        Cell::Null => schema.parse(&serde_json::Value::Null),
        Cell::Bool(value) => schema.parse(&(*value).into()),
        Cell::Json(value) => schema.parse(value),
        // Numbers are texts to a text property: codes are often numbers in files.
        Cell::Int(_) | Cell::Float(_) | Cell::Text(_) => schema.parse_text(cell.to_string().trim()),
    }
}

/// The number that a text says, in the unit of the property: `12`, `12 m`, or a sum as `6 ft 2 in`.
fn quantity(text: &str, column: &Column) -> Option<f64> {
    let Column { units, comma, .. } = column;
    let one_comma = *comma && !text.contains('.') && text.matches(',').count() == 1;
    let text = if one_comma {
        text.replace(',', ".")
    } else {
        text.to_owned()
    };
    let mut rest = text.trim();
    if let Ok(number) = rest.parse::<f64>() {
        return Some(number);
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        let (number, unit) = rest.split_at_checked(rest.len() - after.len())?;
        let number: f64 = number.parse().ok()?;
        let (length, factor) = unit_at(unit.trim_start(), units)?;
        sum += number * factor;
        rest = unit.trim_start().get(length..)?.trim_start();
    }
    Some(sum)
}

/// The longest unit that a text begins with, in any case, and its factor; nothing but a number may
/// follow it.
fn unit_at(text: &str, units: &[(Arc<str>, f64)]) -> Option<(usize, f64)> {
    let begins = |unit: &str| {
        let (start, after) = text.split_at_checked(unit.len())?;
        let ends = !after.starts_with(char::is_alphabetic);
        (start.eq_ignore_ascii_case(unit) && ends).then_some(unit.len())
    };
    let found = units
        .iter()
        .filter_map(|(unit, factor)| Some((begins(unit)?, *factor)));
    found.max_by_key(|(length, _)| *length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(units: &[(&str, f64)], comma: bool) -> Column {
        let units = units
            .iter()
            .map(|(unit, factor)| (Arc::from(*unit), *factor));
        Column {
            name: "c".into(),
            plus: None,
            nulls: Vec::new(),
            map: None,
            other: None,
            words: std::collections::BTreeMap::new(),
            factor: None,
            units: units.collect(),
            comma,
            range: None,
        }
    }

    #[test]
    fn a_unit_may_follow_a_number_in_any_case() {
        let column = column(&[("m3/h", 1.0), ("h", 1.0), ("kW", 1.0)], false);
        for (text, number) in [
            ("15 m3/h", Some(15.0)),
            ("15M3/H ", Some(15.0)),
            ("37KW", Some(37.0)),
            ("4", Some(4.0)),
            ("4,5", None),
            ("2 l/s", None),
            ("2 hours", None),
            ("kW", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(quantity(text, &column), number, "{text}");
        }
    }

    #[test]
    fn units_have_factors_and_add_up() {
        let feet = 0.3048;
        let column = column(
            &[
                ("m", 1.0),
                ("ft", feet),
                ("'", feet),
                ("\"", 0.0254),
                ("in", 0.0254),
            ],
            true,
        );
        for (text, metres) in [
            ("12", Some(12.0)),
            ("12 m", Some(12.0)),
            ("5.5m", Some(5.5)),
            ("12,5", Some(12.5)),
            ("12,5 M", Some(12.5)),
            ("-3", Some(-3.0)),
            ("39'", Some(39.0 * feet)),
            ("39 ft", Some(39.0 * feet)),
            ("39'6\"", Some(39.0 * feet + 6.0 * 0.0254)),
            ("6 ft 2 in", Some(6.0 * feet + 2.0 * 0.0254)),
            ("1,234,5", None),
            ("1.234,5", None),
            ("12 metres", None),
            ("~12", None),
            ("12-15 m", None),
            ("12;15", None),
            ("m", None),
        ] {
            assert_eq!(quantity(text, &column), metres, "{text}");
        }
    }
}
