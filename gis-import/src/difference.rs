//! What an import would change, one difference at a time, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ontology::{ClassId, Ontology};
use serde::Serialize;
use serde_json::Value as Json;
use twin_core::space::Shape;
use twin_core::{EdgeState, Event, TwinState};

/// A value as it is and as it would be; null is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// As it is.
    pub old: Json,
    /// As it would be.
    pub new: Json,
}

/// One difference between the twin and a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Difference {
    /// A twin that would come to be.
    Created {
        /// Its class.
        class: Arc<str>,
        /// Its id.
        id: Arc<str>,
        /// Its properties.
        properties: BTreeMap<Arc<str>, Json>,
        /// Kind and size of its geometry, such as `Polygon of 120 vertices around [30.1, -1.9]`.
        geometry: Json,
    },
    /// A twin that would have other properties or another geometry.
    Updated {
        /// Its class.
        class: Arc<str>,
        /// Its id.
        id: Arc<str>,
        /// The properties that would change.
        properties: BTreeMap<Arc<str>, Edit>,
        /// Kind and size of the geometry, where it would change.
        #[serde(skip_serializing_if = "Option::is_none")]
        geometry: Option<Edit>,
    },
    /// A twin that would be gone.
    Deleted {
        /// Its class.
        class: Arc<str>,
        /// Its id.
        id: Arc<str>,
    },
    /// A relationship that would come to be.
    Related(Relation),
    /// A relationship that would be gone.
    Unrelated(Relation),
}

/// A relationship of a [`Difference`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Relation {
    /// Class of the source.
    pub class: Arc<str>,
    /// Where it starts.
    pub id: Arc<str>,
    /// Its name.
    pub relationship: Arc<str>,
    /// Where it ends.
    pub target: Arc<str>,
}

impl Difference {
    pub(crate) fn of(event: &Event, ontology: &Ontology) -> Self {
        let class_name = |class: ClassId| Arc::clone(&ontology.class(class).name);
        match event {
            Event::Created(state) => Self::Created {
                class: class_name(state.class),
                id: state.id.as_str().into(),
                properties: properties(state, ontology)
                    .filter(|(_, value)| !value.is_null())
                    .collect(),
                geometry: outline(state),
            },
            Event::Updated { before, after } => {
                let old = properties(before, ontology);
                let edits = old.zip(properties(after, ontology));
                let edits = edits.filter(|((_, old), (_, new))| old != new);
                let same_place = match (&before.geometry, &after.geometry) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
                    (None, None) => true,
                    _ => false,
                };
                Self::Updated {
                    class: class_name(after.class),
                    id: after.id.as_str().into(),
                    properties: edits
                        .map(|((name, old), (_, new))| (name, Edit { old, new }))
                        .collect(),
                    geometry: (!same_place).then(|| Edit {
                        old: outline(before),
                        new: outline(after),
                    }),
                }
            }
            Event::Deleted(state) => Self::Deleted {
                class: class_name(state.class),
                id: state.id.as_str().into(),
            },
            // Relationships of an import have no properties, so none can differ.
            Event::Related(edge) | Event::Rerelated { after: edge, .. } => {
                Self::Related(relation(edge, ontology))
            }
            Event::Unrelated(edge) => Self::Unrelated(relation(edge, ontology)),
        }
    }

    /// Class of the twin, or of the relationship's source.
    pub fn class(&self) -> &Arc<str> {
        match self {
            Self::Created { class, .. }
            | Self::Updated { class, .. }
            | Self::Deleted { class, .. }
            | Self::Related(Relation { class, .. })
            | Self::Unrelated(Relation { class, .. }) => class,
        }
    }

    /// The difference as one line of JSON, for programs.
    pub fn to_json(&self) -> Json {
        // Only numbers, texts and maps with text keys: this cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn properties<'a>(
    state: &'a TwinState,
    ontology: &'a Ontology,
) -> impl Iterator<Item = (Arc<str>, Json)> + 'a {
    let names = ontology.class(state.class).properties.iter();
    names.zip(state.values.iter()).map(|(property, value)| {
        let value = value.as_ref().map_or(Json::Null, ontology::Value::to_json);
        (Arc::clone(&property.name), value)
    })
}

fn relation(edge: &EdgeState, ontology: &Ontology) -> Relation {
    Relation {
        class: Arc::clone(&ontology.class(edge.source_class).name),
        id: edge.source.as_str().into(),
        relationship: Arc::clone(&ontology.relationship(edge.relationship).name),
        target: edge.target.as_str().into(),
    }
}

/// Kind and size of a geometry: an outline of thousands of vertices would hide what matters.
fn outline(state: &TwinState) -> Json {
    let text = |shape: &Arc<Shape>| {
        let (kind, at) = (shape.type_name(), shape.representative());
        if shape.is_point().is_some() {
            format!("{kind} [{}, {}]", at.lon, at.lat)
        } else {
            let vertices = shape.vertices();
            let solid = shape.solid().map_or_else(String::new, |solid| {
                format!(" with a solid of {} faces", solid.faces().count())
            });
            format!(
                "{kind} of {vertices} vertices around [{}, {}]{solid}",
                at.lon, at.lat
            )
        }
    };
    state.geometry.as_ref().map(text).into()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { id, .. } => write!(f, "+ {id}"),
            Self::Updated {
                class: _,
                id,
                properties,
                geometry,
            } => {
                write!(f, "~ {id}:")?;
                let place = geometry.iter().map(|edit| ("geometry", edit));
                let edits = properties.iter().map(|(name, edit)| (&**name, edit));
                for (index, (name, Edit { old, new })) in edits.chain(place).enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma} {name} {old} -> {new}")?;
                }
                Ok(())
            }
            Self::Deleted { id, .. } => write!(f, "- {id}"),
            Self::Related(relation) => write!(f, "+ {relation}"),
            Self::Unrelated(relation) => write!(f, "- {relation}"),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            class: _,
            id,
            relationship,
            target,
        } = self;
        write!(f, "{id} {relationship} {target}")
    }
}
