//! Beings and what relates them, and what a commit does to them: the model's rules, and no more.

use std::collections::{BTreeMap, BTreeSet};

use ontology::Value;

use super::step::{Move, Op};

/// What is said of a twin.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Being {
    pub(super) class: &'static str,
    pub(super) properties: BTreeMap<&'static str, Value>,
    pub(super) place: Option<u8>,
    /// `None` while it is open which of several relationships that went together went last.
    pub(super) revision: Option<u64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) at: i64,
    pub(super) text: String,
    /// Relationships that one operation removed together, in any order: its number.
    pub(super) together: Option<u64>,
    /// Source of such a relationship.
    pub(super) source: u8,
}

/// Names of refusals, as the twin names them.
pub(super) type Refused = &'static str;

/// Source, name and target: `(name, source, target)`.
pub(super) type Relation = (&'static str, u8, u8);

/// Beings and what relates them.
#[derive(Debug, Clone, Default)]
pub(super) struct Structure {
    pub(super) beings: BTreeMap<u8, Being>,
    pub(super) relations: BTreeMap<Relation, Option<i32>>,
}

/// Whether a class of the test's ontology has a property.
pub(super) fn has_property(class: &str, name: &str) -> bool {
    match class {
        "Area" => name == "name",
        "Village" => ["name", "population"].contains(&name),
        _ => name != "population" && name != "colour",
    }
}

/// The value of a number; `None` is none.
pub(super) fn value(name: &str, number: u8) -> Option<Value> {
    let n = i64::from(number);
    if number == 9 {
        return Some(Value::Date(1)); // Fits no property there is.
    }
    (number > 0).then(|| match name {
        "population" | "beds" => Value::Int(n * 100),
        "budget" => Value::Int(9_007_199_254_740_993 + n),
        "height" => Value::Double(n as f64 / 10.0),
        "open" => Value::Bool(n % 2 == 0),
        "tags" => {
            Value::List(vec![Value::Text("a".into()), Value::Text(n.to_string().into())].into())
        }
        _ => Value::Text(format!("{name} {n}").into()),
    })
}

impl Being {
    pub(super) fn text(&self) -> String {
        let properties = self.properties.iter();
        let properties: Vec<_> = properties
            .map(|(name, value)| format!("{name}={}", value.to_json()))
            .collect();
        format!("{} {properties:?} at {:?}", self.class, self.place)
    }
}

/// What a commit says that it expects.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want {
    Absent,
    Revision(u64),
}

/// A commit applied to a copy.
pub(super) struct Trial {
    pub(super) structure: Structure,
    pub(super) told: Vec<Told>,
    pub(super) first: u64,
    pub(super) who: u8,
    pub(super) at: i64,
    pub(super) together: u64,
    /// Twins whose series end.
    pub(super) gone: BTreeSet<u8>,
}

impl Trial {
    fn tell(&mut self, text: &str) {
        self.told.push(Told {
            at: self.at,
            text: format!("user:{} {text}", self.who),
            together: None,
            source: 0,
        });
    }

    fn next_revision(&self) -> u64 {
        self.first + self.told.len() as u64 + 1
    }

    fn expect(&self, twin: u8, want: Option<Want>) -> Result<(), Refused> {
        match (want, self.structure.beings.get(&twin)) {
            (None, _) | (Some(Want::Absent), None) => Ok(()),
            (Some(Want::Revision(wanted)), Some(being)) if being.revision == Some(wanted) => Ok(()),
            _ => Err("Conflict"),
        }
    }

    fn being(&self, twin: u8) -> Result<&Being, Refused> {
        self.structure.beings.get(&twin).ok_or("NotFound")
    }

    pub(super) fn apply(&mut self, op: &Op, want: Option<Want>) -> Result<(), Refused> {
        match op {
            Op::Put {
                twin,
                class,
                set,
                to,
                must_exist,
                ..
            } => {
                self.expect(*twin, want)?;
                let known = self.structure.beings.get(twin).cloned();
                if known.is_none() && *must_exist {
                    return Err("NotFound");
                }
                let mut being = known.clone().unwrap_or(Being {
                    class,
                    ..Being::default()
                });
                if being.class != *class {
                    return Err("Conflict");
                }
                for (name, number) in set {
                    match value(name, *number) {
                        Some(value) => being.properties.insert(name, value),
                        None => being.properties.remove(name),
                    };
                }
                match to {
                    Move::Stay => {}
                    Move::To(place) => being.place = Some(*place),
                    Move::Nowhere => being.place = None,
                }
                if known.as_ref() != Some(&being) {
                    being.revision = Some(self.next_revision());
                    self.tell(&match known {
                        None => format!("created {twin}: {}", being.text()),
                        Some(known) => {
                            format!("updated {twin}: {} -> {}", known.text(), being.text())
                        }
                    });
                    self.structure.beings.insert(*twin, being);
                }
            }
            Op::Delete { twin, detach, .. } => {
                self.being(*twin)?;
                self.expect(*twin, want)?;
                let relations = self.structure.relations.keys();
                let touching = |(_, source, target): &&Relation| source == twin || target == twin;
                let touching: Vec<_> = relations.filter(touching).copied().collect();
                if !touching.is_empty() && !detach {
                    return Err("Violation");
                }
                self.together += 1;
                let several = touching.len() > 1;
                for relation in touching {
                    self.unrelate(relation, several);
                }
                let being = self.structure.beings.remove(twin).unwrap();
                self.gone.insert(*twin);
                self.tell(&format!("deleted {twin}: {}", being.text()));
            }
            Op::Relate {
                source,
                name,
                target,
                since,
                replace,
                ..
            } => {
                let from = self.being(*source)?.class;
                let to = self.being(*target)?.class;
                self.expect(*source, want)?;
                let has = (from == "HealthFacility") == (*name != "partOf");
                let leads = *name == "serves" || to != "HealthFacility";
                if !has || !leads {
                    return Err("Violation");
                }
                let relation = (*name, *source, *target);
                let known = self.structure.relations.get(&relation).copied();
                if known.is_none() && *name != "serves" {
                    let mut relations = self.structure.relations.keys();
                    let other = relations
                        .find(|(n, s, _)| (n, s) == (name, source))
                        .copied();
                    match other {
                        Some(_) if !replace => return Err("Violation"),
                        Some(other) => self.unrelate(other, false),
                        None => {}
                    }
                }
                let day = match since {
                    None => known.flatten(),
                    Some(0) => None,
                    Some(day) => Some(*day),
                };
                if known != Some(day) {
                    let revision = self.next_revision();
                    self.structure.beings.get_mut(source).unwrap().revision = Some(revision);
                    self.structure.relations.insert(relation, day);
                    self.tell(&match known {
                        None => format!("related {relation:?} since {day:?}"),
                        Some(known) => format!("rerelated {relation:?} {known:?} -> {day:?}"),
                    });
                }
            }
            Op::Unrelate {
                source,
                name,
                target,
                ..
            } => {
                self.being(*source)?;
                self.being(*target)?;
                self.expect(*source, want)?;
                let relation = (*name, *source, *target);
                if self.structure.relations.contains_key(&relation) {
                    self.unrelate(relation, false);
                }
            }
        }
        Ok(())
    }

    fn unrelate(&mut self, relation: Relation, several: bool) {
        let (_, source, _) = relation;
        let day = self.structure.relations.remove(&relation).unwrap();
        let revision = (!several).then(|| self.next_revision());
        self.structure.beings.get_mut(&source).unwrap().revision = revision;
        self.tell(&format!("unrelated {relation:?} since {day:?}"));
        let told = self.told.last_mut().unwrap();
        told.together = several.then_some(self.together);
        told.source = source;
    }
}

/// What is refused before anything is looked up, as names and values that do not fit.
pub(super) fn at_the_door(op: &Op) -> Result<(), Refused> {
    match op {
        Op::Put { class, set, .. } => {
            let mut seen = BTreeSet::new();
            for (name, number) in set {
                if !has_property(class, name) {
                    return Err("UnknownName");
                }
                if *number == 9 || !seen.insert(name) {
                    return Err("Invalid");
                }
            }
            Ok(())
        }
        Op::Relate { name: "feeds", .. } | Op::Unrelate { name: "feeds", .. } => Err("UnknownName"),
        // Only one kind has the property.
        Op::Relate {
            name,
            since: Some(_),
            ..
        } if *name != "locatedIn" => Err("UnknownName"),
        _ => Ok(()),
    }
}
