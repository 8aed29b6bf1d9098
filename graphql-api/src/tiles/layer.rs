//! What a layer is asked for: its class, and which of its values every feature carries.
//!
//! # Invariants
//! - A layer carries numbers, texts and truth values; enumerations, days and times are texts as the
//!   API writes them, and whole numbers that JavaScript cannot hold are texts too.
//! - No value that says something about a person is in a tile, whoever asks.
//! - Features are the same whatever values are asked of them.

use ontology::{Class, ClassId, Property, Schema, Telemetry, Value};
use serde_json::Value as Json;
use twin_core::{TwinRef, ValueRef, View};

use super::mvt::{Key, Tag, Writer};
use crate::api::Api;
use crate::error::{Code, Fault};
use crate::exec::{Columns, Source, source};
use crate::limits::{DEFAULT_TILE_ATTRIBUTES, MAX_TILE_ATTRIBUTES};

/// The largest whole number that a double, and so JavaScript, holds together with all before it.
const MAX_SAFE: u64 = (1 << 53) - 1;
/// Property that a class has whose twins stand up from the ground.
const HEIGHT: &str = "height";
/// What the address of a tile may ask.
const ARGUMENTS: [&str; 3] = ["attrs", "value", "whole"];

/// What the address of a tile asks, before it is known of which class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Names of values; those that a tile carries by itself if `None`.
    pub(crate) attributes: Option<Vec<String>>,
    /// The number whose mean is asked for where twins are counted by cell.
    pub(crate) value: Option<String>,
    /// Whether what stands up from the ground is cut to tiles as all else is.
    pub(crate) cut: bool,
}

/// A class as a layer of tiles.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) class: ClassId,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) value: Option<Source>,
    /// The class and its subclasses whose twins are given whole, as they stand up from the ground.
    pub(crate) tall: Vec<ClassId>,
}

/// A value of features.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    /// `Number`, `String` or `Boolean`, as TileJSON names types.
    pub(crate) kind: &'static str,
    what: What,
}

#[derive(Debug)]
enum What {
    Id,
    Class,
    Label,
    Property(Columns),
    /// The newest reading.
    Telemetry(Columns),
    /// When it was measured, milliseconds since 1970.
    Measured(Columns),
}

impl Asked {
    /// Reads the arguments of an address.
    pub(crate) fn read(pairs: &[(String, String)]) -> Result<Self, Fault> {
        let mut asked = Self::default();
        let mut whole_seen = None;
        for (name, value) in pairs {
            let twice = || Fault::invalid(format!("`{name}` is given twice"));
            match name.as_str() {
                "attrs" => {
                    let names = value.split(',').filter(|name| !name.is_empty());
                    let names: Vec<String> = names.map(str::to_owned).collect();
                    if names.len() > MAX_TILE_ATTRIBUTES {
                        return Err(Fault::too_costly(format!(
                            "`attrs` names {}, and {MAX_TILE_ATTRIBUTES} is the most \
                             (MAX_TILE_ATTRIBUTES)",
                            names.len()
                        )));
                    }
                    if asked.attributes.replace(names).is_some() {
                        return Err(twice());
                    }
                }
                "value" => {
                    if asked.value.replace(value.clone()).is_some() {
                        return Err(twice());
                    }
                }
                "whole" => {
                    let whole: bool = value.parse().map_err(|_unreadable| {
                        Fault::invalid(format!("`whole` is true or false, not `{value}`"))
                    })?;
                    if whole_seen.replace(whole).is_some() {
                        return Err(twice());
                    }
                    asked.cut = !whole;
                }
                name => return Err(Fault::argument(name, &ARGUMENTS)),
            }
        }
        Ok(asked)
    }

    /// The arguments as they stand in an address, with what leads to them.
    pub(crate) fn query(&self) -> String {
        let attributes = self.attributes.as_ref().map(|names| names.join(","));
        let whole = self.cut.then(|| false.to_string());
        let given = ARGUMENTS
            .into_iter()
            .zip([attributes, self.value.clone(), whole]);
        let given = given.filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let given: Vec<String> = given.collect();
        if given.is_empty() {
            String::new()
        } else {
            format!("?{}", given.join("&"))
        }
    }
}

impl Layer {
    /// The layer of a name.
    pub(crate) fn compile(api: &Api, name: &str, asked: &Asked) -> Result<Self, Fault> {
        let known = api.ontology.classes().iter().map(|class| &*class.name);
        let class = api
            .ontology
            .class_named(name)
            .ok_or_else(|| Fault::unknown("layer", name, known))?;
        let mut attributes = vec![Attribute::own("id", What::Id)];
        match &asked.attributes {
            None => {
                attributes.push(Attribute::own("class", What::Class));
                attributes.push(Attribute::own("label", What::Label));
                let properties = class.properties.iter().filter(|p| !p.personal);
                let properties = properties.map(|p| (&*p.name, &p.schema));
                let telemetry = class.telemetry.iter().map(|t| (&*t.name, &t.schema));
                let plain = properties
                    .chain(telemetry)
                    .filter(|(_, schema)| kind(schema).is_some());
                for (name, _) in plain.take(DEFAULT_TILE_ATTRIBUTES) {
                    add(api, class, name, &mut attributes)?;
                }
            }
            Some(names) => {
                for name in names {
                    add(api, class, name, &mut attributes)?;
                }
            }
        }
        let value = match &asked.value {
            None => None,
            Some(name) => {
                if class.property(name).is_some_and(|p| p.personal) {
                    return Err(personal(class, name));
                }
                let (value, _) = source(api, class.id, "value", name)?;
                add(api, class, name, &mut attributes)?;
                Some(value)
            }
        };
        let classes = api.ontology.with_descendants(class.id);
        let tall = classes.filter(|class| {
            let height = api.class(*class).property(HEIGHT);
            !asked.cut && height.is_some_and(|property| kind(&property.schema) == Some("Number"))
        });
        Ok(Self {
            class: class.id,
            attributes,
            value,
            tall: tall.collect(),
        })
    }

    /// Adds the keys of its values to a layer.
    pub(crate) fn keys(&self, writer: &mut Writer) -> Vec<Key> {
        let names = self.attributes.iter().map(|attribute| &attribute.name);
        names.map(|name| writer.key(name)).collect()
    }

    /// Gives the feature that is being written the values of a twin.
    pub(crate) fn tag(&self, api: &Api, view: &View, twin: TwinRef, keys: &[Key], to: &mut Writer) {
        for (attribute, key) in self.attributes.iter().zip(keys) {
            attribute.tag(api, view, twin, *key, to);
        }
    }
}

impl Attribute {
    fn own(name: &str, what: What) -> Self {
        Self {
            name: name.to_owned(),
            kind: "String",
            what,
        }
    }

    fn tag(&self, api: &Api, view: &View, twin: TwinRef, key: Key, to: &mut Writer) {
        let class = view.class_id(twin);
        match &self.what {
            What::Id => to.tag(key, Tag::Text(view.id(twin).as_str())),
            What::Class => to.tag(key, Tag::Text(&api.class(class).name)),
            What::Label => {
                let column = api.label(class);
                let column = column.filter(|column| !api.class(class).properties[*column].personal);
                if let Some(value) = column.and_then(|column| view.value_ref(twin, column)) {
                    tag_ref(value, key, to);
                }
            }
            What::Property(columns) => {
                let column = columns.in_class(class);
                if let Some(value) = column.and_then(|column| view.value_ref(twin, column)) {
                    tag_ref(value, key, to);
                }
            }
            What::Telemetry(columns) => {
                let place = columns.in_class(class);
                if let Some(latest) = place.and_then(|place| view.latest(twin, place)) {
                    tag_value(&latest.value, key, to);
                }
            }
            What::Measured(columns) => {
                let place = columns.in_class(class);
                if let Some(latest) = place.and_then(|place| view.latest(twin, place)) {
                    to.tag(key, Tag::Int(latest.ts.div_euclid(1_000)));
                }
            }
        }
    }
}

/// Adds what a name stands for in a class or one of its subclasses, unless it is there.
fn add(api: &Api, class: &Class, name: &str, to: &mut Vec<Attribute>) -> Result<(), Fault> {
    let mut push = |name: &str, kind: &'static str, what: What| {
        if to.iter().all(|attribute| attribute.name != name) {
            to.push(Attribute {
                name: name.to_owned(),
                kind,
                what,
            });
        }
    };
    let own = match name {
        "id" => Some(What::Id),
        "class" => Some(What::Class),
        "label" => Some(What::Label),
        _ => None,
    };
    if let Some(own) = own {
        push(name, "String", own);
        return Ok(());
    }
    let classes = || {
        api.ontology
            .with_descendants(class.id)
            .map(|id| api.class(id))
    };
    let properties: Vec<&Property> = classes().filter_map(|class| class.property(name)).collect();
    if properties.iter().any(|property| property.personal) {
        return Err(personal(class, name));
    }
    let refused = |schema: &Schema| {
        Fault::invalid(format!(
            "`attrs`: `{name}` of {} is {}; tiles carry numbers, texts, truth values, \
             enumerations, days and times",
            class.name,
            schema.name()
        ))
    };
    if let Some(property) = properties.first() {
        let kind = kind(&property.schema).ok_or_else(|| refused(&property.schema))?;
        push(name, kind, What::Property(Columns::of(api, class.id, name)));
        return Ok(());
    }
    let index = |class: &Class| class.telemetry_index(name);
    let found = classes().find_map(|class| Some(&class.telemetry[index(class)?]));
    let Some(Telemetry { schema, .. }) = found else {
        let names = classes().flat_map(|class| {
            let properties = class
                .properties
                .iter()
                .filter(|p| kind(&p.schema).is_some());
            let properties = properties.map(|p| &*p.name);
            properties.chain(class.telemetry.iter().map(|t| &*t.name))
        });
        let what = format!("`attrs`: property or telemetry of {}", class.name);
        return Err(Fault::unknown(&what, name, names));
    };
    let kind = kind(schema).ok_or_else(|| refused(schema))?;
    let columns = Columns::of_telemetry(api, class.id, name);
    push(name, kind, What::Telemetry(columns.clone()));
    push(&format!("{name}_ts"), "Number", What::Measured(columns));
    Ok(())
}

fn personal(class: &Class, name: &str) -> Fault {
    let message = format!(
        "`{name}` of {} says something about a person; tiles carry no such values",
        class.name
    );
    Fault::new(Code::Forbidden, message)
}

/// What values of a schema are in a tile; `None` if they are not.
fn kind(schema: &Schema) -> Option<&'static str> {
    match schema {
        Schema::Boolean => Some("Boolean"),
        Schema::Integer { .. } | Schema::Long | Schema::Double => Some("Number"),
        Schema::String | Schema::Date | Schema::DateTime | Schema::Time | Schema::Duration => {
            Some("String")
        }
        Schema::Enum(one_of) => {
            let whole = |value: &Value| matches!(value, Value::Int(_));
            let mut values = one_of.values.iter();
            let first = values.next();
            Some(match first {
                Some(first) if whole(&first.value) => "Number",
                _ => "String",
            })
        }
        Schema::Object(_) | Schema::Array(_) | Schema::Map(_) | Schema::Geometry(_) => None,
    }
}

fn tag_ref(value: ValueRef<'_>, key: Key, to: &mut Writer) {
    match value {
        ValueRef::Bool(is) => to.tag(key, Tag::Bool(is)),
        ValueRef::Int(number) if number.unsigned_abs() > MAX_SAFE => {
            to.tag(key, Tag::Text(&number.to_string()));
        }
        ValueRef::Int(number) => to.tag(key, Tag::Int(number)),
        ValueRef::Double(number) => to.tag(key, Tag::Double(number)),
        ValueRef::Text(text) => to.tag(key, Tag::Text(text)),
        ValueRef::Other(value) => tag_value(value, key, to),
    }
}

fn tag_value(value: &Value, key: Key, to: &mut Writer) {
    match value {
        Value::Bool(is) => tag_ref(ValueRef::Bool(*is), key, to),
        Value::Int(number) => tag_ref(ValueRef::Int(*number), key, to),
        Value::Double(number) => tag_ref(ValueRef::Double(*number), key, to),
        Value::Text(text) | Value::Duration(text) => to.tag(key, Tag::Text(text)),
        Value::Date(_) | Value::DateTime(_) | Value::Time(_) => {
            if let Json::String(text) = value.to_json() {
                to.tag(key, Tag::Text(&text));
            }
        }
        // Not asked for.
        Value::List(_) | Value::Object(_) | Value::Geometry(_) => {}
    }
}
