//! The compiled ontology: what every other room asks about classes, properties and relationships.
//!
//! # Invariants
//! - `classes[i].id == ClassId(i)`; classes are sorted by name, so the same packs give the same ids.
//! - A class's `properties`, `telemetry` and `relationships` hold inherited members too, sorted by
//!   name; the index of a property in that list is its column in the live twin.
//! - `ancestors` and `descendants` are transitive, sorted by id and do not hold the class itself.
//! - Ids are valid within one compiled `Ontology` only; nothing durable may hold them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::schema::Schema;

/// Index of a class in [`Ontology::classes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);

/// Index of a relationship name in [`Ontology::relationships`].
///
/// A relationship name is one relation table, whatever classes declare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationshipId(pub u32);

/// A compiled set of packs. Immutable; shared as `Arc<Ontology>`.
#[derive(Debug)]
pub struct Ontology {
    pub(crate) classes: Vec<Class>,
    pub(crate) by_name: BTreeMap<Arc<str>, ClassId>,
    pub(crate) relationships: Vec<RelationshipKind>,
    pub(crate) relationship_by_name: BTreeMap<Arc<str>, RelationshipId>,
}

/// A DTDL interface as a class of twins.
#[derive(Debug, Clone)]
pub struct Class {
    /// Its index.
    pub id: ClassId,
    /// API and table name: the last DTMI segment (`HealthFacility`).
    pub name: Arc<str>,
    /// The interface's DTMI.
    pub dtmi: Arc<str>,
    /// Display name of the model, else the name.
    pub label: Arc<str>,
    /// Description of the model; empty only if the model gives none.
    pub description: Arc<str>,
    /// English plural in camelCase, the name of the API's list field (`healthFacilities`).
    pub plural: Arc<str>,
    /// Pack that declares it (`health`).
    pub pack: Arc<str>,
    /// Direct parents (`extends`).
    pub parents: Vec<ClassId>,
    /// All parents, transitively.
    pub ancestors: Vec<ClassId>,
    /// All subclasses, transitively.
    pub descendants: Vec<ClassId>,
    /// Own and inherited properties, by name.
    pub properties: Vec<Property>,
    /// Own and inherited telemetry, by name.
    pub telemetry: Vec<Telemetry>,
    /// Own and inherited relationships, by name.
    pub relationships: Vec<Relationship>,
}

/// Structure: a value that belongs to the twin and changes by commits.
#[derive(Debug, Clone)]
pub struct Property {
    /// Name in model, API and table (camelCase; a reserved name has `_` appended).
    pub name: Arc<str>,
    /// Display name of the model, else the name.
    pub label: Arc<str>,
    /// Description of the model.
    pub description: Arc<str>,
    /// What values it takes.
    pub schema: Schema,
    /// Unit of the model (`metre`), where it has one.
    pub unit: Option<Arc<str>>,
    /// Whether a value says something about a person; such values are stored in an envelope.
    pub personal: bool,
    /// Whether the model says that it may be set: of a device, what it is told as desired.
    pub writable: bool,
    /// Class that declares it.
    pub declared_by: ClassId,
}

/// A stream of readings of a twin.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Name in model, API and payloads.
    pub name: Arc<str>,
    /// Display name of the model, else the name.
    pub label: Arc<str>,
    /// Description of the model.
    pub description: Arc<str>,
    /// What values it takes.
    pub schema: Schema,
    /// Unit of the model, where it has one.
    pub unit: Option<Arc<str>>,
    /// Class that declares it.
    pub declared_by: ClassId,
}

/// A relationship as one class may have it.
#[derive(Debug, Clone)]
pub struct Relationship {
    /// Its name's index.
    pub id: RelationshipId,
    /// Name in model, API and relation table (`locatedIn`).
    pub name: Arc<str>,
    /// Display name of the model, else the name.
    pub label: Arc<str>,
    /// Description of the model.
    pub description: Arc<str>,
    /// Class that targets must be, subclasses included; `None` allows any.
    pub target: Option<ClassId>,
    /// Largest number of targets of one source; `None` is unbounded.
    pub max: Option<u32>,
    /// Properties of the relationship itself, by name.
    pub properties: Vec<Property>,
    /// Class that declares it.
    pub declared_by: ClassId,
}

/// A relationship name: what the relation table of that name may hold.
#[derive(Debug, Clone)]
pub struct RelationshipKind {
    /// Its index.
    pub id: RelationshipId,
    /// Name of the relation table.
    pub name: Arc<str>,
    /// Classes that declare or inherit it, sorted.
    pub sources: Vec<ClassId>,
    /// Properties that any declaration gives it, by name.
    pub properties: Vec<Property>,
}

impl Ontology {
    /// All classes, sorted by name.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The class of an id of this ontology.
    pub fn class(&self, id: ClassId) -> &Class {
        &self.classes[id.0 as usize]
    }

    /// The class of a name, if there is one.
    pub fn class_named(&self, name: &str) -> Option<&Class> {
        self.by_name.get(name).map(|id| self.class(*id))
    }

    /// All relationship names, sorted.
    pub fn relationships(&self) -> &[RelationshipKind] {
        &self.relationships
    }

    /// The relationship name of an id of this ontology.
    pub fn relationship(&self, id: RelationshipId) -> &RelationshipKind {
        &self.relationships[id.0 as usize]
    }

    /// The relationship of a name, if any class has one of it.
    pub fn relationship_named(&self, name: &str) -> Option<&RelationshipKind> {
        self.relationship_by_name
            .get(name)
            .map(|id| self.relationship(*id))
    }

    /// The class and its subclasses, the class first.
    pub fn with_descendants(&self, id: ClassId) -> impl Iterator<Item = ClassId> + '_ {
        std::iter::once(id).chain(self.class(id).descendants.iter().copied())
    }

    /// Whether `class` is `ancestor` or one of its subclasses.
    pub fn is_a(&self, class: ClassId, ancestor: ClassId) -> bool {
        class == ancestor || self.class(class).ancestors.binary_search(&ancestor).is_ok()
    }
}

impl Class {
    /// Column of a property by name.
    pub fn property_index(&self, name: &str) -> Option<usize> {
        self.properties
            .binary_search_by(|p| (*p.name).cmp(name))
            .ok()
    }

    /// A property by name.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.property_index(name).map(|i| &self.properties[i])
    }

    /// Index of a telemetry by name.
    pub fn telemetry_index(&self, name: &str) -> Option<usize> {
        self.telemetry
            .binary_search_by(|t| (*t.name).cmp(name))
            .ok()
    }

    /// A relationship by name.
    pub fn relationship(&self, name: &str) -> Option<&Relationship> {
        self.relationships
            .binary_search_by(|r| (*r.name).cmp(name))
            .ok()
            .map(|i| &self.relationships[i])
    }

    /// A relationship by its name's id.
    pub fn relationship_by_id(&self, id: RelationshipId) -> Option<&Relationship> {
        self.relationships.iter().find(|r| r.id == id)
    }
}
