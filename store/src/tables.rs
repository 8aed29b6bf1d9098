//! Tables of the ontology, as SurrealQL definitions.
//!
//! # Invariants
//! - The same ontology gives the same text, so a changed text is a changed ontology. The text that
//!   was run last is kept in the store, so an unchanged one is not run again.
//! - Definitions only add and replace; data is never removed by them. A table or field that the
//!   ontology no longer has stays until its data is moved.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ontology::{ClassId, Ontology, Property, RelationshipKind, Schema};
use surrealdb::types::{RecordId, Value, Variables};
use twin_core::store::StoreError;

use crate::database::{Database, OpenError, variables};

/// The lanes: who may write, and the next offset.
pub(crate) const LANE: &str = "_lane";
/// Packed structural changes: the first table of them.
pub(crate) const CHANGE: &str = "_change";
/// Packed readings: the first table of them.
pub(crate) const JOURNAL: &str = "_journal";
/// Answers kept for idempotency keys.
pub(crate) const RECEIPT: &str = "_receipt";
/// Messages that were refused, in as many places as are kept.
pub(crate) const DEAD_LETTER: &str = "_dead_letter";
/// Where a twin's earlier life ended: it was deleted, and readings below the offset are of then.
pub(crate) const ENDED: &str = "_ended";
/// Heads of the segments of history.
pub(crate) const SEGMENT: &str = "_segment";
/// How far history was brought.
pub(crate) const WATERMARK: &str = "_watermark";
/// What was registered: for now the definitions that were run.
pub(crate) const NAME: &str = "_name";

/// Fields of a twin's row that are not properties.
pub(crate) const TWIN_FIELDS: [&str; 5] = ["id", "geometry", "shape", "cell", "revision"];
/// Fields of a relationship's row that are not properties.
pub(crate) const EDGE_FIELDS: [&str; 3] = ["id", "in", "out"];

/// Most bytes of a name of the model that becomes a table or a field.
const MAX_NAME_BYTES: usize = 512;

/// The definitions of an ontology's tables.
pub(crate) fn definitions(ontology: &Ontology) -> Result<String, OpenError> {
    let mut text = String::new();
    for table in [
        LANE,
        CHANGE,
        JOURNAL,
        RECEIPT,
        DEAD_LETTER,
        ENDED,
        SEGMENT,
        WATERMARK,
        NAME,
    ] {
        line(
            &mut text,
            format_args!("DEFINE TABLE OVERWRITE `{table}` SCHEMALESS PERMISSIONS NONE;"),
        );
    }
    for class in ontology.classes() {
        let table = &*class.name;
        check_name("class", table, &[])?;
        line(
            &mut text,
            format_args!(
                "DEFINE TABLE OVERWRITE `{table}` TYPE NORMAL SCHEMAFULL PERMISSIONS NONE;"
            ),
        );
        for (field, kind) in [
            ("geometry", "option<geometry>"),
            ("shape", "option<bytes>"),
            ("cell", "option<string>"),
            ("revision", "string"),
        ] {
            line(
                &mut text,
                format_args!("DEFINE FIELD OVERWRITE `{field}` ON `{table}` TYPE {kind};"),
            );
        }
        line(
            &mut text,
            format_args!("DEFINE INDEX IF NOT EXISTS `cell` ON `{table}` FIELDS cell;"),
        );
        properties(&mut text, table, &class.properties, &TWIN_FIELDS)?;
    }
    for kind in ontology.relationships() {
        let table = &*kind.name;
        check_name("relationship", table, &[])?;
        if ontology.class_named(table).is_some() {
            return Err(OpenError::Name {
                what: format!("relationship `{table}`"),
                reason: "a class has the same name",
            });
        }
        let sources = names(ontology, kind.sources.iter().copied());
        let targets = names(ontology, targets(ontology, kind));
        line(
            &mut text,
            format_args!(
                "DEFINE TABLE OVERWRITE `{table}` TYPE RELATION IN {sources} OUT {targets} ENFORCED \
                 SCHEMAFULL PERMISSIONS NONE;"
            ),
        );
        properties(&mut text, table, &kind.properties, &EDGE_FIELDS)?;
    }
    Ok(text)
}

/// Classes that a relationship may lead to, subclasses included.
fn targets(ontology: &Ontology, kind: &RelationshipKind) -> BTreeSet<ClassId> {
    let mut targets = BTreeSet::new();
    for source in &kind.sources {
        match ontology
            .class(*source)
            .relationship_by_id(kind.id)
            .map(|r| r.target)
        {
            Some(Some(target)) => targets.extend(ontology.with_descendants(target)),
            Some(None) => targets.extend(ontology.classes().iter().map(|class| class.id)),
            None => {}
        }
    }
    targets
}

fn names(ontology: &Ontology, classes: impl IntoIterator<Item = ClassId>) -> String {
    let names = classes
        .into_iter()
        .map(|class| format!("`{}`", ontology.class(class).name));
    names.collect::<Vec<_>>().join(" | ")
}

fn properties(
    text: &mut String,
    table: &str,
    properties: &[Property],
    taken: &[&str],
) -> Result<(), OpenError> {
    for property in properties {
        let field = &*property.name;
        check_name("property", field, taken)?;
        let (kind, flexible) = if property.personal {
            // An envelope: the name of a key and what it encrypts.
            ("object".to_owned(), true)
        } else {
            field_type(&property.schema)
        };
        let flexible = if flexible { " FLEXIBLE" } else { "" };
        line(
            text,
            format_args!(
                "DEFINE FIELD OVERWRITE `{field}` ON `{table}` TYPE option<{kind}>{flexible};"
            ),
        );
    }
    Ok(())
}

/// The SurrealDB type of a schema, and whether it holds objects of any fields.
fn field_type(schema: &Schema) -> (String, bool) {
    let plain = |name: &str| (name.to_owned(), false);
    match schema {
        Schema::Boolean => plain("bool"),
        Schema::Integer { .. } | Schema::Long => plain("int"),
        Schema::Double => plain("float"),
        Schema::DateTime => plain("datetime"),
        // SurrealDB has no calendar days, times of day or months in durations; their ISO texts
        // sort as they should (durations aside).
        Schema::String | Schema::Date | Schema::Time | Schema::Duration => plain("string"),
        Schema::Enum(values) => match values.values.first().map(|first| &first.value) {
            Some(ontology::Value::Int(_)) => plain("int"),
            _ => plain("string"),
        },
        Schema::Array(element) => {
            let (element, flexible) = field_type(element);
            (format!("array<{element}>"), flexible)
        }
        Schema::Object(_) | Schema::Map(_) | Schema::Geometry(_) => ("object".to_owned(), true),
    }
}

/// Names go into the text of definitions between backticks, so they must not hold one.
fn check_name(what: &str, name: &str, taken: &[&str]) -> Result<(), OpenError> {
    let refuse = |reason| {
        Err(OpenError::Name {
            what: format!("{what} `{}`", name.escape_default()),
            reason,
        })
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        return refuse("a name is letters, digits and underscores");
    }
    if name.starts_with('_') {
        return refuse("names that begin with an underscore are the store's own");
    }
    if taken.contains(&name) {
        return refuse(
            "the store keeps a field of its own under this name; rename it in the model",
        );
    }
    Ok(())
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(text, "{line}");
}

/// Runs the definitions unless they are those that were run last.
pub(crate) async fn define(database: &Database, definitions: &str) -> Result<(), StoreError> {
    let id = Value::RecordId(RecordId::new(NAME, "tables"));
    // Reading a table that was never defined is an error, so that one comes first.
    let known = database
        .run(
            &format!(
                "DEFINE TABLE IF NOT EXISTS `{NAME}` SCHEMALESS PERMISSIONS NONE; \
                 SELECT VALUE text FROM $id"
            ),
            variables([("id", id.clone())]),
        )
        .await?;
    if let Some(Value::Array(texts)) = known.last()
        && let Some(Value::String(text)) = texts.first()
        && text == definitions
    {
        return Ok(());
    }
    database.run(definitions, Variables::new()).await?;
    let vars = variables([("id", id), ("text", Value::String(definitions.to_owned()))]);
    database
        .run("UPSERT $id SET text = $text RETURN NONE", vars)
        .await
        .map(drop)
}
