//! Relationships of a rule: what they lead to, checked against the ontology.

use std::ops::Range;
use std::sync::Arc;

use ontology::{Class, ClassId};
use toml::de::{DeTable, DeValue};

use super::item::{Item, did_you_mean};
use super::read::Reader;
use super::{Relate, Target};

/// Between names in a column, where the mapping does not say.
const SEPARATOR: &str = ",";
/// The property that a name is compared with.
const NAME_PROPERTY: &str = "name";

impl Reader<'_> {
    pub(super) fn relate(
        &mut self,
        table: &DeTable<'_>,
        span: &Range<usize>,
        class: &Class,
        has_geometry: bool,
    ) -> Option<Relate> {
        let keys = [
            "from",
            "named",
            "optional",
            "relationship",
            "target",
            "when",
            "within",
        ];
        self.only(table, &keys, "a relationship");
        let optional = match table.get("optional") {
            None => false,
            Some(item) => item.get_ref().as_bool().unwrap_or_else(|| {
                self.problems
                    .add(item.span(), "`optional` is true or false", None);
                false
            }),
        };
        let when = self.when(table);
        let item = self.needed(table, "relationship", span, "a relationship")?;
        let name = self.text(item)?;
        let targets: Vec<&str> = ["from", "named", "target", "within"]
            .into_iter()
            .filter(|key| table.contains_key(*key))
            .collect();
        if let ["from"] = targets[..] {
            let Some(kind) = self.ontology.relationship_named(&name) else {
                let names = self.ontology.relationships().iter().map(|kind| &*kind.name);
                let help = did_you_mean(&name, names);
                self.problems
                    .add(item.span(), format!("no class has `{name}`"), help);
                return None;
            };
            let target = Target::From(self.template(table.get("from")?)?);
            return Some(Relate {
                when,
                relationship: Arc::clone(&kind.name),
                target,
                optional,
            });
        }
        let Some(relationship) = class.relationship(&name) else {
            let names = class.relationships.iter().map(|r| &*r.name);
            let help = did_you_mean(&name, names);
            let reason = format!("{} has no relationship `{name}`", class.name);
            self.problems.add(item.span(), reason, help);
            return None;
        };
        let target = match targets[..] {
            ["target"] => Target::Id(self.template(table.get("target")?)?),
            ["within"] => {
                let item = table.get("within")?;
                self.needs_geometry(item, "within", has_geometry);
                let (class, class_name) = self.target_class(item, &name, relationship.target)?;
                Target::Within { class, class_name }
            }
            ["named"] => {
                let item = table.get("named")?;
                self.needs_geometry(item, "named", has_geometry);
                self.named(item, &name, relationship.target)?
            }
            _ => {
                let help = "the twin of an id, the one that holds the geometry, or those that a \
                            column names";
                let reason = "a relationship has one of `target`, `from`, `within` and `named`";
                self.problems
                    .add(span.clone(), reason, Some(help.to_owned()));
                return None;
            }
        };
        Some(Relate {
            when,
            relationship: Arc::clone(&relationship.name),
            target,
            optional,
        })
    }

    /// `{ class = "Village", column = "villages", separator = ",", near = ["Cell", "Sector"] }`.
    fn named(
        &mut self,
        item: Item<'_>,
        relationship: &str,
        wanted: Option<ClassId>,
    ) -> Option<Target> {
        let table = self.table(item)?;
        let what = "`named`";
        self.only(table, &["class", "column", "near", "separator"], what);
        let class_item = self.needed(table, "class", &item.span(), what);
        let column = self.needed(table, "column", &item.span(), what);
        let near_item = self.needed(table, "near", &item.span(), what);
        let (class_item, near_item) = (class_item?, near_item?);
        let (class, class_name) = self.target_class(class_item, relationship, wanted)?;
        if self.ontology.class(class).property(NAME_PROPERTY).is_none() {
            let reason = format!("{class_name} has no property `{NAME_PROPERTY}`");
            self.problems.add(class_item.span(), reason, None);
        }
        let column = self.text(column?)?;
        let separator = match table.get("separator") {
            None => SEPARATOR.into(),
            Some(item) => self.text(item)?,
        };
        let areas = match near_item.get_ref() {
            DeValue::Array(areas) => areas.iter().collect(),
            _ => vec![near_item],
        };
        let mut near = Vec::with_capacity(areas.len());
        for area in areas {
            let area = self.class(area)?;
            near.push((area.id, Arc::clone(&area.name)));
        }
        Some(Target::Named {
            class,
            class_name,
            column,
            separator,
            near,
        })
    }

    fn needs_geometry(&mut self, item: Item<'_>, key: &str, has_geometry: bool) {
        if !has_geometry {
            let help = "give the rule a geometry".to_owned();
            let reason = format!("`{key}` needs a geometry");
            self.problems.add(item.span(), reason, Some(help));
        }
    }

    /// A class that the relationship may lead to.
    fn target_class(
        &mut self,
        item: Item<'_>,
        relationship: &str,
        wanted: Option<ClassId>,
    ) -> Option<(ClassId, Arc<str>)> {
        let class = self.class(item)?;
        if let Some(wanted) = wanted
            && !self.ontology.is_a(class.id, wanted)
        {
            let wanted = &self.ontology.class(wanted).name;
            let reason = format!(
                "`{relationship}` leads to {wanted}, which {} is not",
                class.name
            );
            self.problems.add(item.span(), reason, None);
        }
        Some((class.id, Arc::clone(&class.name)))
    }
}
