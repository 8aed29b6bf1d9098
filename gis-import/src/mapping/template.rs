//! Texts made of columns: `rw:facility:{name|slug}`, `bag:{code|id}`.
//!
//! # Invariants
//! - A template is made whole or not at all: a column without a value is an error, never a gap.

use std::sync::Arc;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Column { name: Arc<str>, filter: Filter },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    None,
    Slug,
    Id,
}

impl Template {
    /// Parses a template; the reason where it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let Some((column, after)) = after.split_once('}') else {
                return Err("a `{` is not closed; columns stand as `{column}`".to_owned());
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let (name, filter) = match column.split_once('|') {
                None => (column, Filter::None),
                Some((name, "slug")) => (name, Filter::Slug),
                Some((name, "id")) => (name, Filter::Id),
                Some((_, other)) => {
                    return Err(format!(
                        "there is no filter `{other}`; there are `slug` and `id`"
                    ));
                }
            };
            let name = name.trim();
            if name.is_empty() {
                return Err("`{}` names no column".to_owned());
            }
            parts.push(Part::Column {
                name: name.into(),
                filter,
            });
            rest = after;
        }
        if rest.contains('}') {
            return Err("a `}` has no `{` before it".to_owned());
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The columns it takes.
    pub fn columns(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Column { name, .. } => Some(Arc::clone(name)),
        })
    }

    /// The text for a feature whose columns `value` tells; the first column without a value is
    /// the error.
    pub fn fill(&self, value: impl Fn(&str) -> Option<String>) -> Result<String, Arc<str>> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Column { name, filter } => {
                    let filled = value(name).map(|value| match filter {
                        Filter::None => value,
                        Filter::Slug => slug(&value),
                        Filter::Id => id(&value),
                    });
                    match filled {
                        Some(filled) if !filled.is_empty() => text.push_str(&filled),
                        _ => return Err(Arc::clone(name)),
                    }
                }
            }
        }
        Ok(text)
    }
}

/// What an id may have stays, everything else between two such characters becomes one hyphen.
fn id(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._~:-".contains(c);
    let parts = text.split(|c| !allowed(c)).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-")
}

/// Lower-case ASCII letters and digits, everything between them as one hyphen.
fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        let c = without_accent(c);
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// The plain letter of the accented ones of French and its neighbours.
fn without_accent(c: char) -> char {
    match c {
        '\u{e0}'..='\u{e5}' => 'a',
        '\u{e7}' => 'c',
        '\u{e8}'..='\u{eb}' => 'e',
        '\u{ec}'..='\u{ef}' => 'i',
        '\u{f1}' => 'n',
        '\u{f2}'..='\u{f6}' => 'o',
        '\u{f9}'..='\u{fc}' => 'u',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, value: &str) -> Result<String, Arc<str>> {
        let value = (!value.is_empty()).then(|| value.to_owned());
        Template::parse(template).unwrap().fill(|_| value.clone())
    }

    #[test]
    fn columns_are_filled_in() {
        assert_eq!(
            fill("rw:village:{id}", "11010101").unwrap(),
            "rw:village:11010101"
        );
        assert_eq!(fill("{a}-{b}", "x").unwrap(), "x-x");
        assert_eq!(fill("constant", "").unwrap(), "constant");
    }

    #[test]
    fn a_slug_is_plain() {
        assert_eq!(
            fill("{n|slug}", "CHK/CHUK National  Hospital").unwrap(),
            "chk-chuk-national-hospital"
        );
        assert_eq!(
            fill("{n|slug}", " \u{c9}cole (no 2) ").unwrap(),
            "ecole-no-2"
        );
    }

    #[test]
    fn an_id_keeps_what_an_id_may_have() {
        for (text, id) in [
            (
                "NL.IMBAG.Pand.0503100000028341-0",
                "NL.IMBAG.Pand.0503100000028341-0",
            ),
            ("{10A31B7E-8FC2}", "10A31B7E-8FC2"),
            ("UUID_f488 (b)", "UUID_f488-b"),
        ] {
            assert_eq!(fill("city:{n|id}", text).unwrap(), format!("city:{id}"));
        }
        assert_eq!(fill("city:{n|id}", "{}").unwrap_err(), "n".into());
    }

    #[test]
    fn a_column_without_a_value_is_named() {
        assert_eq!(fill("rw:x:{code}", "").unwrap_err(), "code".into());
        assert_eq!(fill("rw:x:{code|slug}", "---").unwrap_err(), "code".into());
    }

    #[test]
    fn a_broken_template_says_how() {
        for (text, reason) in [
            ("a{b", "not closed"),
            ("a}b", "no `{`"),
            ("{}", "names no column"),
            ("{a|upper}", "no filter `upper`"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
