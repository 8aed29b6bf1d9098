//! What a query may cost, from its text, its variables and the model alone.
//!
//! # Invariants
//! - A query's nodes are at least the twins that its answer can hold: each list counts as many
//!   twins as its `first` and the model allow, and what is asked of each of them again.
//! - Values of arguments are counted wherever they are used, before any of them is copied.

use std::collections::HashMap;

use async_graphql::parser::types::{OperationDefinition, OperationType, Selection, SelectionSet};
use serde_json::Value as Json;
use twin_core::View;

use super::aggregate::most_groups;
use super::root::DEFAULT_NEAREST;
use super::search::DEFAULT_FOUND;
use super::select::{Ask, json_weight, weight};
use crate::api::{Api, TwinType};
use crate::error::Fault;
use crate::limits::{
    DEFAULT_PAGE, INLINE_WORK, MAX_ARGUMENT_VALUES, MAX_NODES, MAX_PAGE, MAX_PATH_TWINS,
};

/// Areas that commonly hold one point: country, province, district, sector, cell, village, and
/// some more.
const USUAL_AREAS: u64 = 10;

/// What a query costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Twins that the answer can hold.
    pub(crate) nodes: u64,
    /// Twins and vertices that may be looked at beside those.
    pub(crate) scanned: u64,
    /// Values in arguments.
    pub(crate) values: u64,
    /// Whether the store is asked, for history or dead letters.
    pub(crate) history: bool,
}

impl Cost {
    /// Whether it is little enough to be done on the network's threads.
    pub(crate) fn is_small(&self) -> bool {
        let Self {
            nodes,
            scanned,
            values,
            history,
        } = self;
        let work = nodes.saturating_add(*scanned).saturating_add(*values);
        !history && work <= INLINE_WORK
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Root,
    Twins(TwinType),
    Connection(TwinType),
    Edge(TwinType),
    /// What a search of space or of names found: a twin and how it fits.
    Near,
    Path,
    /// With how many keys each group has.
    Groups(u64),
    Keys,
    Letters,
    Reading,
    History,
    Leaf,
}

/// The cost of an operation; an error if it is too much.
pub(crate) fn of(
    api: &Api,
    ask: Ask<'_>,
    view: &View,
    operation: &OperationDefinition,
) -> Result<Cost, Fault> {
    let variables = ask.variables.iter();
    let mut walk = Walk {
        api,
        ask,
        view,
        variables: variables
            .map(|(name, value)| (name.as_str(), json_weight(value)))
            .collect(),
        scanned: 0,
        values: 0,
        history: false,
    };
    let place = if operation.ty == OperationType::Query {
        Place::Root
    } else {
        // What is written answers with receipts, what is followed with one change at a time.
        Place::Leaf
    };
    let nodes = walk.set(&operation.selection_set.node, place);
    let Walk {
        scanned,
        values,
        history,
        ..
    } = walk;
    if values > MAX_ARGUMENT_VALUES {
        return Err(Fault::too_costly(format!(
            "the arguments hold {values} values with variables counted wherever they are used, and \
             {MAX_ARGUMENT_VALUES} are allowed (MAX_ARGUMENT_VALUES): ask in parts"
        )));
    }
    if nodes > MAX_NODES {
        return Err(Fault::too_costly(format!(
            "the answer could hold {nodes} twins and readings by its `first` arguments, and {MAX_NODES} are allowed (MAX_NODES): \
             ask for smaller pages of nested lists, or in steps"
        )));
    }
    Ok(Cost {
        nodes,
        scanned,
        values,
        history,
    })
}

struct Walk<'a> {
    api: &'a Api,
    ask: Ask<'a>,
    view: &'a View,
    /// Values that each variable holds.
    variables: HashMap<&'a str, u64>,
    scanned: u64,
    values: u64,
    history: bool,
}

impl Walk<'_> {
    fn set(&mut self, set: &SelectionSet, place: Place) -> u64 {
        let mut sum = 0_u64;
        for item in &set.items {
            let cost = match &item.node {
                Selection::Field(field) => self.field(&field.node, place),
                Selection::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref();
                    let place = self.narrowed(place, on.map(|on| on.node.on.node.as_str()));
                    self.set(&fragment.node.selection_set.node, place)
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node.as_str();
                    match self.ask.document.fragments.get(name) {
                        Some(fragment) => {
                            let on = fragment.node.type_condition.node.on.node.as_str();
                            let place = self.narrowed(place, Some(on));
                            self.set(&fragment.node.selection_set.node, place)
                        }
                        None => 0,
                    }
                }
            };
            sum = sum.saturating_add(cost);
        }
        sum
    }

    fn narrowed(&self, place: Place, on: Option<&str>) -> Place {
        match (place, on.and_then(|on| self.api.typed(on))) {
            (Place::Twins(_), Some(ty)) => Place::Twins(ty),
            (place, _) => place,
        }
    }

    fn field(&mut self, field: &async_graphql::parser::types::Field, place: Place) -> u64 {
        let name = field.name.node.as_str();
        let set = &field.selection_set.node;
        let weight = weight(field, &|variable| {
            self.variables.get(variable).copied().unwrap_or(1)
        });
        self.values = self.values.saturating_add(weight);
        if self.values > MAX_ARGUMENT_VALUES {
            return 0; // It is refused, so nothing more of it is copied.
        }
        let given = |name: &str, default: usize| {
            let count = self.ask.argument(field, name).and_then(|n| n.as_u64());
            count.unwrap_or(default as u64)
        };
        // These may walk far for a short answer, so they never run on the network's threads.
        let far = ["traverse", "nearest", "path", "aggregate", "search"];
        if matches!(place, Place::Root) && far.contains(&name) {
            self.scanned = self.scanned.saturating_add(INLINE_WORK + 1);
        }
        let (times, inner) = match (place, name) {
            (Place::Root, "twin") => (1, Place::Twins(TwinType::Twin)),
            (Place::Root, "nearest") => (given("k", DEFAULT_NEAREST), Place::Near),
            (Place::Root, "search") => (given("first", DEFAULT_FOUND), Place::Near),
            (Place::Root, "containing") => (USUAL_AREAS, Place::Twins(TwinType::Twin)),
            (Place::Root, "traverse") => (
                given("first", DEFAULT_PAGE),
                Place::Connection(TwinType::Twin),
            ),
            (Place::Root, "path") => (MAX_PATH_TWINS as u64, Place::Path),
            (Place::Root, "aggregate") => {
                self.history |= field.get_argument("from").is_some();
                let (groups, keys) = most_groups(self.api, self.view, self.ask, field);
                (groups, Place::Groups(keys))
            }
            (Place::Root, "deadLetters") => {
                self.history = true;
                (given("first", DEFAULT_PAGE), Place::Letters)
            }
            (Place::Root, "deadLetter") => {
                self.history = true;
                (1, Place::Letters)
            }
            (Place::Root, name) => match self.api.listed(name) {
                Some(class) => {
                    let conditional = ["where", "orderBy", "space"]
                        .iter()
                        .any(|a| field.get_argument(a).is_some());
                    if conditional {
                        let scanned = self.view.count(class) + self.vertices(field);
                        self.scanned = self.scanned.saturating_add(scanned as u64);
                    }
                    let first = given("first", DEFAULT_PAGE);
                    (first, Place::Connection(self.api.twins_of(class)))
                }
                None => return 0,
            },
            (Place::Near | Place::Keys, "twin") | (Place::Path, "twins") => {
                (1, Place::Twins(TwinType::Twin))
            }
            (Place::Groups(keys), "group") => (keys, Place::Keys),
            (Place::Connection(ty), "edges") => (1, Place::Edge(ty)),
            (Place::Edge(ty), "node") => (1, Place::Twins(ty)),
            (Place::Twins(ty), "related") => {
                let first = given("first", DEFAULT_PAGE);
                let most = self.most_related(field, ty).unwrap_or(first);
                (first.min(most), Place::Connection(TwinType::Twin))
            }
            (Place::Twins(TwinType::Any(class) | TwinType::Object(class)), name) => {
                let class = self.api.class(class);
                match class.relationship(name) {
                    _ if class.telemetry_index(name).is_some() => (1, Place::Reading),
                    Some(relationship) => {
                        let target = self.api.target(relationship.target);
                        if relationship.max == Some(1) {
                            (1, Place::Twins(target))
                        } else {
                            let first = given("first", DEFAULT_PAGE);
                            let most = relationship.max.map_or(first, u64::from);
                            (first.min(most), Place::Connection(target))
                        }
                    }
                    None => return 0,
                }
            }
            (Place::Reading, "history") => {
                self.history = true;
                (given("first", MAX_PAGE), Place::History)
            }
            _ => (0, Place::Leaf),
        };
        let each = self.set(set, inner);
        // A twin counts itself where the place is one; a connection's twins count at the list.
        let own = u64::from(matches!(
            inner,
            Place::Twins(_)
                | Place::Connection(_)
                | Place::Near
                | Place::Path
                | Place::Groups(_)
                | Place::Letters
                | Place::History
        ));
        let own = if matches!(
            (place, inner),
            (Place::Edge(_) | Place::Near | Place::Path, Place::Twins(_))
        ) {
            0
        } else {
            own
        };
        times.saturating_mul(own.saturating_add(each))
    }
    /// Most twins that the model lets `related` answer for one twin; `None` if it sets no bound.
    fn most_related(
        &self,
        field: &async_graphql::parser::types::Field,
        ty: TwinType,
    ) -> Option<u64> {
        let text = |name: &str| self.ask.text(field, name).ok().flatten();
        if text("direction").is_some_and(|direction| direction != "OUT") {
            return None;
        }
        let kind = self
            .api
            .ontology
            .relationship_named(&text("relationship")?)?;
        let mut sources = kind.sources.iter().filter(|source| match ty {
            TwinType::Twin => true,
            TwinType::Any(class) => self.api.ontology.is_a(**source, class),
            TwinType::Object(class) => **source == class,
        });
        sources.try_fold(0, |most, source| {
            let relationship = self.api.class(*source).relationship_by_id(kind.id)?;
            Some(most.max(u64::from(relationship.max?)))
        })
    }

    /// Vertices of the area that `space: {inside: …}` names.
    fn vertices(&self, field: &async_graphql::parser::types::Field) -> usize {
        let space = self.ask.argument(field, "space");
        let inside = space.as_ref().and_then(|space| space.get("inside"));
        let twin = inside
            .and_then(Json::as_str)
            .and_then(|id| self.view.find(id));
        let shape = twin.and_then(|twin| self.view.shape(twin));
        shape.map_or(0, |shape| shape.vertices())
    }
}
