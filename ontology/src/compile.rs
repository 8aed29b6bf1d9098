//! Declarations of all packs linked into one ontology: names, inheritance, relationships.
//!
//! # Invariants
//! - The result depends on the documents only, not on their order: classes are named in the order
//!   of pack and DTMI, then sorted by name.
//! - Members are linked only once `extends` is known to be complete and free of cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostics::{Origin, Placed, Problems, did_you_mean};
use crate::dtdl::{self, Declarations, Interface};
use crate::members::{Member, Members};
use crate::model::{Class, ClassId, Property, RelationshipId, RelationshipKind};
use crate::pack::{Pack, Source};
use crate::{Ontology, naming};

/// Most members of one class, inherited ones included; DTDL's own limit.
const MAX_MEMBERS: usize = 100_000;
/// Most classes of one ontology.
const MAX_CLASSES: usize = 100_000;

impl Ontology {
    /// Compiles the documents of all packs together. The second part of the answer holds the
    /// warnings.
    pub fn compile(sources: &[Source]) -> Result<(Self, Problems), Problems> {
        let mut problems = Problems::default();
        let mut declared = Declarations::default();
        for source in sources {
            // Windows tools like to put a byte order mark in front, which JSON does not allow.
            let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
            let origin = Origin {
                file: source.file.as_str().into(),
                text: text.into(),
            };
            dtdl::read_document(&source.pack, &origin, &mut declared, &mut problems);
        }
        let ontology = Linker::new(&declared, &mut problems).link(sources);
        match ontology {
            Some(ontology) if problems.errors() == 0 => Ok((ontology, problems.sorted())),
            _ => Err(problems.sorted()),
        }
    }
}

struct Linker<'d> {
    problems: &'d mut Problems,
    declared: &'d Declarations,
    /// Class name and its interface, in the order of class ids.
    named: Vec<(Arc<str>, &'d Interface)>,
    by_dtmi: BTreeMap<&'d str, ClassId>,
}

impl<'d> Linker<'d> {
    fn new(declared: &'d Declarations, problems: &'d mut Problems) -> Self {
        let mut linker = Self {
            problems,
            declared,
            named: Vec::new(),
            by_dtmi: BTreeMap::new(),
        };
        linker.name_classes();
        linker
    }

    fn name_classes(&mut self) {
        let mut interfaces: Vec<&Interface> = self.declared.interfaces.iter().collect();
        interfaces.sort_by(|a, b| (&a.pack.name, &a.id.text).cmp(&(&b.pack.name, &b.id.text)));
        if let Some(first_over) = interfaces.get(MAX_CLASSES) {
            let reason = format!("more than {MAX_CLASSES} interfaces");
            self.problems
                .error(&first_over.origin, first_over.id.span.clone(), reason, None);
            interfaces.truncate(MAX_CLASSES);
        }
        let mut taken: BTreeMap<String, &Interface> = BTreeMap::new();
        let mut paths: BTreeMap<&str, &Interface> = BTreeMap::new();
        for interface in interfaces {
            if let Some(other) = paths.insert(dtdl::path(&interface.id.text), interface) {
                // The same id twice is reported where the second one stands.
                if other.id.text != interface.id.text {
                    let reason = format!(
                        "`{}` is another version of `{}`",
                        interface.id.text, other.id.text
                    );
                    let help = "load one version of an interface at a time";
                    let span = interface.id.span.clone();
                    self.problems
                        .error(&interface.origin, span, reason, Some(help.to_owned()));
                }
                continue;
            }
            let name = self.free_name(interface, &taken);
            taken.insert(name, interface);
        }
        for (i, (name, interface)) in taken.into_iter().enumerate() {
            self.by_dtmi.insert(&interface.id.text, ClassId(i as u32));
            self.named.push((name.into(), interface));
        }
    }

    /// The class name: the last segment, with more in front of it where that is taken.
    fn free_name(&mut self, interface: &Interface, taken: &BTreeMap<String, &Interface>) -> String {
        let name = naming::pascal_case(dtdl::last_segment(&interface.id.text));
        let is_free = |name: &str| !taken.contains_key(name) && !naming::is_reserved_class(name);
        if is_free(&name) {
            return name;
        }
        let span = interface.id.span.clone();
        let same_pack = taken
            .get(&name)
            .filter(|other| other.pack.name == interface.pack.name);
        let prefixed = match same_pack {
            Some(_) => {
                let path = dtdl::path(&interface.id.text);
                let segment = path.rsplit(':').nth(1).unwrap_or_default();
                format!("{}{name}", naming::pascal_case(segment))
            }
            None => format!("{}{name}", naming::pascal_case(&interface.pack.name)),
        };
        if let Some(other) = same_pack {
            let reason = format!(
                "`{name}` is already the class of `{}`; this one becomes `{prefixed}`",
                other.id.text
            );
            self.problems
                .warning(&interface.origin, span.clone(), reason, None);
        }
        if !is_free(&prefixed) {
            let reason = format!("the class names `{name}` and `{prefixed}` are both taken");
            let help = "change the last segment of the DTMI";
            self.problems
                .error(&interface.origin, span, reason, Some(help.to_owned()));
        }
        prefixed
    }

    fn link(mut self, sources: &[Source]) -> Option<Ontology> {
        let parents = self.parents();
        let order = self.in_order(&parents);
        let governance = self.governance(sources);
        let own = Members {
            problems: self.problems,
            declared: self.declared,
            named: &self.named,
            by_dtmi: &self.by_dtmi,
            parents: &parents,
        }
        .link(&governance.personal);
        let order = order?;
        self.check_depth(&parents, &order);

        let mut ancestors: Vec<BTreeSet<ClassId>> = vec![BTreeSet::new(); self.named.len()];
        let mut descendants = ancestors.clone();
        let mut members: Vec<BTreeMap<Arc<str>, Member>> = vec![BTreeMap::new(); self.named.len()];
        let mut own: Vec<_> = own.into_iter().map(Some).collect();
        for &class in &order {
            let at = class.0 as usize;
            let mut all = BTreeSet::new();
            for parent in &parents[at] {
                all.insert(*parent);
                all.extend(ancestors[parent.0 as usize].iter().copied());
            }
            for ancestor in &all {
                descendants[ancestor.0 as usize].insert(class);
            }
            ancestors[at] = all;
            let mut merged = own[at].take().unwrap_or_default();
            for parent in &parents[at] {
                self.inherit(class, &mut merged, &members[parent.0 as usize]);
            }
            members[at] = merged;
        }
        if self.problems.errors() > 0 {
            return None;
        }
        let (relationships, relationship_by_name) = self.relationship_kinds(&mut members);
        let classes = self.classes(
            parents,
            ancestors,
            descendants,
            members,
            &governance.plurals,
        );
        self.check_plurals(&classes);
        let by_name = classes
            .iter()
            .map(|class| (Arc::clone(&class.name), class.id))
            .collect();
        Some(Ontology {
            classes,
            by_name,
            relationships,
            relationship_by_name,
        })
    }

    /// Direct parents of every class.
    fn parents(&mut self) -> Vec<Vec<ClassId>> {
        let mut parents = Vec::with_capacity(self.named.len());
        for (_, interface) in &self.named {
            let mut found = Vec::new();
            for parent in &interface.extends {
                let Some(id) = self.by_dtmi.get(&*parent.text) else {
                    let help = did_you_mean(&parent.text, self.by_dtmi.keys().copied())
                        .or_else(|| Some("load the pack that defines it, too".to_owned()));
                    let reason = format!("`{}` is not defined in any loaded pack", parent.text);
                    self.problems
                        .error(&interface.origin, parent.span.clone(), reason, help);
                    continue;
                };
                let other = self.named[id.0 as usize].1.dialect.version;
                if other > interface.dialect.version {
                    let reason = format!(
                        "a DTDL v{} interface cannot extend one of v{other}",
                        interface.dialect.version
                    );
                    self.problems
                        .error(&interface.origin, parent.span.clone(), reason, None);
                }
                if !found.contains(id) {
                    found.push(*id);
                }
            }
            found.sort();
            parents.push(found);
        }
        parents
    }

    /// Classes with parents before children, or `None` where `extends` goes in circles.
    fn in_order(&mut self, parents: &[Vec<ClassId>]) -> Option<Vec<ClassId>> {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
        let mut waiting: Vec<usize> = parents.iter().map(Vec::len).collect();
        for (child, parents) in parents.iter().enumerate() {
            for parent in parents {
                children[parent.0 as usize].push(child);
            }
        }
        let mut order: Vec<ClassId> = (0..parents.len())
            .filter(|i| waiting[*i] == 0)
            .map(|i| ClassId(i as u32))
            .collect();
        let mut next = 0;
        while let Some(class) = order.get(next).copied() {
            next += 1;
            for &child in &children[class.0 as usize] {
                waiting[child] -= 1;
                if waiting[child] == 0 {
                    order.push(ClassId(child as u32));
                }
            }
        }
        if order.len() == parents.len() {
            return Some(order);
        }
        let ordered: BTreeSet<ClassId> = order.into_iter().collect();
        let mut left: BTreeSet<ClassId> = (0..parents.len())
            .map(|i| ClassId(i as u32))
            .filter(|c| !ordered.contains(c))
            .collect();
        while let Some(start) = left.pop_first() {
            let mut walk = vec![start];
            while let Some(next) = walk.last().and_then(|last| {
                parents[last.0 as usize]
                    .iter()
                    .find(|p| !ordered.contains(p))
            }) {
                if let Some(at) = walk.iter().position(|seen| seen == next) {
                    self.circle(&walk[at..]);
                    break;
                }
                if !left.remove(next) {
                    break;
                }
                walk.push(*next);
            }
        }
        None
    }

    fn circle(&mut self, circle: &[ClassId]) {
        let names: Vec<&str> = circle
            .iter()
            .chain(circle.first())
            .map(|class| &*self.named[class.0 as usize].0)
            .collect();
        if let Some(first) = circle.first() {
            let interface = self.named[first.0 as usize].1;
            let reason = format!("`extends` goes in a circle: {}", names.join(" → "));
            self.problems
                .error(&interface.origin, interface.id.span.clone(), reason, None);
        }
    }

    fn check_depth(&mut self, parents: &[Vec<ClassId>], order: &[ClassId]) {
        let mut depth = vec![0_usize; parents.len()];
        for class in order {
            let at = class.0 as usize;
            depth[at] = parents[at]
                .iter()
                .map(|p| depth[p.0 as usize] + 1)
                .max()
                .unwrap_or(0);
            let interface = self.named[at].1;
            let limit = interface.dialect.limits().extends_depth;
            if depth[at] > limit {
                let reason = format!("the chain of `extends` is longer than {limit}");
                self.problems
                    .error(&interface.origin, interface.id.span.clone(), reason, None);
            }
        }
    }

    fn inherit(
        &mut self,
        class: ClassId,
        own: &mut BTreeMap<Arc<str>, Member>,
        inherited: &BTreeMap<Arc<str>, Member>,
    ) {
        let (name, interface) = &self.named[class.0 as usize];
        for (member_name, member) in inherited {
            let Some(existing) = own.get(member_name) else {
                if own.len() == MAX_MEMBERS {
                    let reason = format!("more than {MAX_MEMBERS} members with the inherited ones");
                    self.problems
                        .error(&interface.origin, interface.id.span.clone(), reason, None);
                    return;
                }
                own.insert(Arc::clone(member_name), member.clone());
                continue;
            };
            if existing.declared_by() == member.declared_by() {
                continue;
            }
            let there = &self.named[member.declared_by().0 as usize].0;
            let (span, reason) = if existing.declared_by() == class {
                let own_span = interface
                    .contents
                    .iter()
                    .find(|content| naming::member(&content.name.text) == **member_name)
                    .map_or(interface.id.span.clone(), |content| {
                        content.name.span.clone()
                    });
                (
                    own_span,
                    format!("`{member_name}` is already inherited from `{there}`"),
                )
            } else {
                let here = &self.named[existing.declared_by().0 as usize].0;
                let reason = format!(
                    "`{name}` inherits two different `{member_name}`: of `{here}` and of `{there}`"
                );
                (interface.id.span.clone(), reason)
            };
            let help = "rename one, or declare it once in a common parent";
            self.problems
                .error(&interface.origin, span, reason, Some(help.to_owned()));
        }
    }

    /// Numbers the relationship names and gathers what their tables hold.
    fn relationship_kinds(
        &mut self,
        members: &mut [BTreeMap<Arc<str>, Member>],
    ) -> (Vec<RelationshipKind>, BTreeMap<Arc<str>, RelationshipId>) {
        let mut names: BTreeMap<Arc<str>, RelationshipId> = BTreeMap::new();
        for (name, member) in members.iter().flatten() {
            if matches!(member, Member::Relationship(_)) {
                names.entry(Arc::clone(name)).or_insert(RelationshipId(0));
            }
        }
        for (i, id) in names.values_mut().enumerate() {
            *id = RelationshipId(i as u32);
        }
        let mut kinds: Vec<RelationshipKind> = names
            .iter()
            .map(|(name, id)| RelationshipKind {
                id: *id,
                name: Arc::clone(name),
                sources: Vec::new(),
                properties: Vec::new(),
            })
            .collect();
        for (class, members) in members.iter_mut().enumerate() {
            for member in members.values_mut() {
                let Member::Relationship(relationship) = member else {
                    continue;
                };
                let Some(id) = names.get(&relationship.name) else {
                    continue;
                };
                relationship.id = *id;
                let kind = &mut kinds[id.0 as usize];
                kind.sources.push(ClassId(class as u32));
                if relationship.declared_by != ClassId(class as u32) {
                    continue;
                }
                for property in &relationship.properties {
                    self.add_relation_property(kind, property);
                }
            }
        }
        (kinds, names)
    }

    /// One relation table has one type for each of its fields, whichever class declares it.
    fn add_relation_property(&mut self, kind: &mut RelationshipKind, property: &Property) {
        match kind
            .properties
            .binary_search_by(|other| other.name.cmp(&property.name))
        {
            Err(at) => kind.properties.insert(at, property.clone()),
            Ok(at) => {
                let other = &kind.properties[at];
                if other.schema != property.schema {
                    let (here, interface) = &self.named[property.declared_by.0 as usize];
                    let there = &self.named[other.declared_by.0 as usize].0;
                    let reason = format!(
                        "property `{}` of relationship `{}` is {} in `{here}` but {} in `{there}`",
                        property.name,
                        kind.name,
                        property.schema.name(),
                        other.schema.name(),
                    );
                    let help = "relationships of one name share a table: give both the same schema";
                    let span = interface.id.span.clone();
                    self.problems
                        .error(&interface.origin, span, reason, Some(help.to_owned()));
                }
            }
        }
    }

    fn classes(
        &self,
        parents: Vec<Vec<ClassId>>,
        ancestors: Vec<BTreeSet<ClassId>>,
        descendants: Vec<BTreeSet<ClassId>>,
        members: Vec<BTreeMap<Arc<str>, Member>>,
        plurals: &BTreeMap<ClassId, Arc<str>>,
    ) -> Vec<Class> {
        let links = parents.into_iter().zip(ancestors).zip(descendants);
        let mut classes = Vec::with_capacity(self.named.len());
        for (i, (((parents, ancestors), descendants), members)) in links.zip(members).enumerate() {
            let id = ClassId(i as u32);
            let (name, interface) = &self.named[i];
            let mut class = Class {
                id,
                name: Arc::clone(name),
                dtmi: Arc::clone(&interface.id.text),
                label: interface
                    .text
                    .label
                    .clone()
                    .unwrap_or_else(|| Arc::clone(name)),
                description: interface.text.description.clone().unwrap_or_default(),
                plural: plurals
                    .get(&id)
                    .cloned()
                    .unwrap_or_else(|| naming::plural(name).into()),
                pack: Arc::clone(&interface.pack.name),
                parents,
                ancestors: ancestors.into_iter().collect(),
                descendants: descendants.into_iter().collect(),
                properties: Vec::new(),
                telemetry: Vec::new(),
                relationships: Vec::new(),
            };
            for member in members.into_values() {
                match member {
                    Member::Property(property) => class.properties.push(property),
                    Member::Telemetry(telemetry) => class.telemetry.push(telemetry),
                    Member::Relationship(relationship) => class.relationships.push(relationship),
                }
            }
            classes.push(class);
        }
        classes
    }

    /// Plurals are field names of one root, so they are distinct.
    fn check_plurals(&mut self, classes: &[Class]) {
        let mut plurals: BTreeMap<&str, &Class> = BTreeMap::new();
        for class in classes {
            let interface = self.named[class.id.0 as usize].1;
            let span = interface.id.span.clone();
            let help = format!("in pack.toml, under [plural]: {} = \"...\"", class.name);
            if !naming::is_list_field(&class.plural) {
                let reason = format!(
                    "plural `{}` cannot be the name of a list field",
                    class.plural
                );
                self.problems
                    .error(&interface.origin, span.clone(), reason, Some(help.clone()));
            }
            if let Some(other) = plurals.insert(&class.plural, class) {
                let reason = format!(
                    "`{}` and `{}` have the same plural `{}`",
                    other.name, class.name, class.plural
                );
                self.problems
                    .error(&interface.origin, span.clone(), reason, Some(help));
            }
        }
    }

    /// What the packs' `pack.toml` say about classes and properties.
    fn governance(&mut self, sources: &[Source]) -> Governance {
        let mut packs: BTreeMap<Arc<str>, &Arc<Pack>> = BTreeMap::new();
        for source in sources {
            packs
                .entry(Arc::clone(&source.pack.name))
                .or_insert(&source.pack);
        }
        let mut governance = Governance::default();
        for pack in packs.values() {
            for needed in &pack.depends {
                if !packs.contains_key(&needed.text) {
                    let help = did_you_mean(&needed.text, packs.keys().map(|name| &**name))
                        .or_else(|| Some("load it together with this pack".to_owned()));
                    let reason = format!("pack `{}` is not there", needed.text);
                    self.problems
                        .error(&pack.origin, needed.span.clone(), reason, help);
                }
            }
            for (class, plural) in &pack.plural {
                let Some(id) = self.class_of(pack, class, &class.text) else {
                    continue;
                };
                if naming::is_list_field(&plural.text) {
                    governance.plurals.insert(id, Arc::clone(&plural.text));
                } else {
                    let reason = format!("`{}` cannot be the name of a list field", plural.text);
                    let help = "write it in camelCase, like healthFacilities";
                    self.problems.error(
                        &pack.origin,
                        plural.span.clone(),
                        reason,
                        Some(help.to_owned()),
                    );
                }
            }
            for entry in &pack.personal {
                self.personal(pack, entry, &mut governance.personal);
            }
        }
        governance
    }

    /// The class that a pack means by a name: its own before another's, since a class whose name
    /// another pack took has a longer one than its author wrote.
    fn class_of(&mut self, pack: &Pack, entry: &Placed, name: &str) -> Option<ClassId> {
        let is_own = |interface: &Interface| interface.pack.name == pack.name;
        let exact = self
            .named
            .binary_search_by(|(class, _)| (**class).cmp(name))
            .ok();
        let written = || {
            self.named.iter().position(|(_, interface)| {
                let segment = dtdl::last_segment(&interface.id.text);
                is_own(interface) && naming::pascal_case(segment) == name
            })
        };
        let found = exact
            .filter(|at| is_own(self.named[*at].1))
            .or_else(written)
            .or(exact);
        if let Some(at) = found {
            return Some(ClassId(at as u32));
        }
        let help = did_you_mean(name, self.named.iter().map(|(class, _)| &**class));
        let reason = format!("there is no class `{name}`");
        self.problems
            .error(&pack.origin, entry.span.clone(), reason, help);
        None
    }

    fn personal(
        &mut self,
        pack: &Pack,
        entry: &Placed,
        personal: &mut BTreeSet<(ClassId, Arc<str>)>,
    ) {
        let Some((class, property)) = entry.text.split_once('.') else {
            let help = "write class and property: \"Person.name\"";
            let reason = format!("`{}` names no property", entry.text);
            self.problems.error(
                &pack.origin,
                entry.span.clone(),
                reason,
                Some(help.to_owned()),
            );
            return;
        };
        let Some(id) = self.class_of(pack, entry, class) else {
            return;
        };
        let interface = self.named[id.0 as usize].1;
        let declared = interface
            .contents
            .iter()
            .filter(|content| content.is_property());
        if declared
            .clone()
            .any(|content| *content.name.text == *property)
        {
            personal.insert((id, property.into()));
            return;
        }
        let help = did_you_mean(property, declared.map(|content| &*content.name.text))
            .or_else(|| Some("an inherited property is marked where it is declared".to_owned()));
        let reason = format!("`{class}` declares no property `{property}`");
        self.problems
            .error(&pack.origin, entry.span.clone(), reason, help);
    }
}

/// What packs say beside their models.
#[derive(Default)]
struct Governance {
    plurals: BTreeMap<ClassId, Arc<str>>,
    /// (declaring class, property name in the model).
    personal: BTreeSet<(ClassId, Arc<str>)>,
}
