//! The relationships that a rule asks for: by id, by what holds a shape, by names near it.

use std::collections::HashSet;
use std::sync::Arc;

use ontology::{ClassId, Value};
use twin_core::space::{Point, Shape};
use twin_core::{Direction, TwinId, TwinRef};

use super::{Builder, Fault, Link};
use crate::mapping::{Relate, Target};

/// The relationship by which areas lie in areas.
const PART_OF: &str = "partOf";
/// The property that a name in a column is compared with.
const NAME: &str = "name";

impl Builder<'_> {
    /// The relationships that a rule asks for, each or why it cannot be.
    pub(super) fn links(
        &self,
        relate: &Relate,
        id: &TwinId,
        shape: Option<&Shape>,
    ) -> Vec<Result<Link, Fault>> {
        let link = |source: TwinId, target: TwinId| Link {
            source,
            name: Arc::clone(&relate.relationship),
            target,
            optional: relate.optional,
        };
        match &relate.target {
            Target::Id(template) => {
                vec![
                    self.twin_id(template)
                        .map(|target| link(id.clone(), target)),
                ]
            }
            Target::From(template) => {
                vec![
                    self.twin_id(template)
                        .map(|source| link(source, id.clone())),
                ]
            }
            Target::Within { class, class_name } => {
                let holder = self.holder(shape, *class, class_name);
                vec![holder.map(|holder| link(id.clone(), self.view.id(holder).clone()))]
            }
            Target::Named {
                class,
                class_name,
                column,
                separator,
                near,
            } => {
                let text = self.text(column).unwrap_or_default();
                let names = text.split(&**separator).map(str::trim);
                let names = names.filter(|name| !name.is_empty());
                let find = |name| self.called(name, (*class, &**class_name), near, shape);
                names
                    .map(|name| find(name).map(|twin| link(id.clone(), self.view.id(twin).clone())))
                    .collect()
            }
        }
    }

    /// The twin of a class that holds a shape.
    fn holder(
        &self,
        shape: Option<&Shape>,
        class: ClassId,
        class_name: &str,
    ) -> Result<TwinRef, Fault> {
        let Some(shape) = shape else {
            let reason = format!("no {class_name} can hold what has no position");
            return Err(Fault::new("no position", reason));
        };
        let at: Point = shape.representative();
        // Sorted by id, and the contract gives ties to the lowest.
        let found = self.view.containing(at, Some(class));
        found.first().copied().ok_or_else(|| {
            let reason = format!("no {class_name} holds [{}, {}]", at.lon, at.lat);
            Fault::new("in no area of the kind", reason)
        })
    }

    /// The only twin of a class that is called so in the first area around a shape that has any.
    fn called(
        &self,
        name: &str,
        (class, class_name): (ClassId, &str),
        near: &[(ClassId, Arc<str>)],
        shape: Option<&Shape>,
    ) -> Result<TwinRef, Fault> {
        let wanted = name.to_lowercase();
        for (area, area_name) in near {
            let holder = self.holder(shape, *area, area_name)?;
            let mut found = self.parts(holder, class);
            found.retain(|twin| match self.view.value_named(*twin, NAME) {
                Some(Value::Text(known)) => known.trim().to_lowercase() == wanted,
                _ => false,
            });
            match found[..] {
                [] => {}
                [only] => return Ok(only),
                _ => {
                    let area = self.view.id(holder);
                    let reason = format!(
                        "{} of the class {class_name} are called `{name}` in `{area}`",
                        found.len()
                    );
                    return Err(Fault::new("a name of several", reason));
                }
            }
        }
        let areas: Vec<&str> = near.iter().map(|(_, name)| &**name).collect();
        let reason = format!(
            "no {class_name} around it is called `{name}` (looked in its {})",
            areas.join(", ")
        );
        Err(Fault::new("a name of nobody near", reason))
    }

    /// The twins of a class that are part of an area, at any depth.
    fn parts(&self, area: TwinRef, class: ClassId) -> Vec<TwinRef> {
        let ontology = self.view.ontology();
        let Some(part_of) = ontology.relationship_named(PART_OF) else {
            return Vec::new();
        };
        let (mut found, mut seen, mut open) = (Vec::new(), HashSet::from([area]), vec![area]);
        while let Some(area) = open.pop() {
            for part in self.view.related(area, part_of.id, Direction::In) {
                if !seen.insert(part) {
                    continue;
                }
                if ontology.is_a(self.view.class_id(part), class) {
                    found.push(part);
                } else {
                    open.push(part);
                }
            }
        }
        found
    }
}
