//! Pieces of TOML: texts, tables and templates, each with a problem where it is something else.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Template;
use super::read::Reader;

/// A TOML value with its place.
pub(super) type Item<'t> = &'t Spanned<DeValue<'t>>;

impl Reader<'_> {
    pub(super) fn template(&mut self, item: Item<'_>) -> Option<Template> {
        let text = self.text(item)?;
        match Template::parse(&text) {
            Ok(template) => Some(template),
            Err(reason) => {
                self.problems.add(item.span(), reason, None);
                None
            }
        }
    }

    pub(super) fn needed<'t>(
        &mut self,
        table: &'t DeTable<'_>,
        key: &str,
        span: &Range<usize>,
        what: &str,
    ) -> Option<&'t Spanned<DeValue<'t>>> {
        let found = table.get(key);
        if found.is_none() {
            self.problems
                .add(span.clone(), format!("{what} needs `{key}`"), None);
        }
        found
    }

    pub(super) fn text(&mut self, item: Item<'_>) -> Option<Arc<str>> {
        if let DeValue::String(text) = item.get_ref() {
            return Some(Arc::from(&**text));
        }
        self.problems.add(
            item.span(),
            format!("expected a text, found {}", kind(item)),
            None,
        );
        None
    }

    /// One text or number, or a list of them, as texts.
    pub(super) fn texts(&mut self, item: Item<'_>) -> Vec<Arc<str>> {
        match item.get_ref() {
            DeValue::String(text) => vec![Arc::from(&**text)],
            DeValue::Integer(number) => vec![Arc::from(number.as_str())],
            DeValue::Float(number) => vec![Arc::from(number.as_str())],
            DeValue::Boolean(value) => vec![Arc::from(value.to_string())],
            DeValue::Array(items) => {
                let mut texts = Vec::new();
                for item in &**items {
                    if item.get_ref().is_array() {
                        self.problems
                            .add(item.span(), "a list in a list is no text", None);
                    } else {
                        texts.extend(self.texts(item));
                    }
                }
                texts
            }
            _ => {
                let reason = format!("expected a text or a list of texts, found {}", kind(item));
                self.problems.add(item.span(), reason, None);
                Vec::new()
            }
        }
    }

    pub(super) fn table<'t>(&mut self, item: &'t Spanned<DeValue<'t>>) -> Option<&'t DeTable<'t>> {
        let table = item.get_ref().as_table();
        if table.is_none() {
            self.problems.add(
                item.span(),
                format!("expected a table, found {}", kind(item)),
                None,
            );
        }
        table
    }

    /// The tables of `[[key]]`; none is a problem only where the mapping cannot do without.
    pub(super) fn tables<'t>(
        &mut self,
        table: &'t DeTable<'_>,
        key: &str,
    ) -> Vec<(&'t DeTable<'t>, Range<usize>)> {
        let Some(item) = table.get(key) else {
            if key != "relate" {
                let help = Some(format!("add one: `[[{key}]]`"));
                self.problems
                    .add(0..0, format!("there is no `[[{key}]]`"), help);
            }
            return Vec::new();
        };
        let tables: Option<Vec<_>> = item.get_ref().as_array().and_then(|items| {
            items
                .iter()
                .map(|item| Some((item.get_ref().as_table()?, item.span())))
                .collect()
        });
        tables.unwrap_or_else(|| {
            let reason = format!("`{key}` is a list of tables");
            self.problems
                .add(item.span(), reason, Some(format!("write `[[{key}]]`")));
            Vec::new()
        })
    }

    pub(super) fn only(&mut self, table: &DeTable<'_>, known: &[&str], what: &str) {
        for key in table.keys() {
            let name = key.get_ref();
            if !known.contains(&&**name) {
                let help = did_you_mean(name, known.iter().copied())
                    .unwrap_or_else(|| format!("known keys are {}", known.join(", ")));
                let reason = format!("{what} has no key `{name}`");
                self.problems.add(key.span(), reason, Some(help));
            }
        }
    }
}

pub(super) fn did_you_mean<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    ontology::closest(name, known).map(|close| format!("did you mean `{close}`?"))
}

pub(super) fn kind(item: Item<'_>) -> &'static str {
    match item.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The JSON of a TOML value; `None` for dates and numbers that JSON does not have.
pub(super) fn json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => serde_json::Value::from(&**text),
        DeValue::Integer(number) => {
            serde_json::Value::from(i64::from_str_radix(number.as_str(), number.radix()).ok()?)
        }
        DeValue::Float(number) => {
            let number = serde_json::Number::from_f64(number.as_str().parse().ok()?)?;
            serde_json::Value::Number(number)
        }
        DeValue::Boolean(value) => serde_json::Value::from(*value),
        DeValue::Array(items) => items
            .iter()
            .map(|item| json(item.get_ref()))
            .collect::<Option<Vec<_>>>()?
            .into(),
        DeValue::Table(table) => {
            let mut object = serde_json::Map::new();
            for (key, item) in table {
                object.insert(key.get_ref().to_string(), json(item.get_ref())?);
            }
            serde_json::Value::Object(object)
        }
        DeValue::Datetime(_) => return None,
    })
}
