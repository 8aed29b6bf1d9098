//! The seam to async-graphql: it parses, validates and introspects; answers are made by `exec`.
//!
//! # Invariants
//! - A [`Document`] exists only if its text is within the limits, parses, and is valid for the
//!   schema. Validity does not depend on variables: those are checked when a request is planned.
//! - An input object names each of its fields once. The parser keeps the last of several, so this is
//!   looked at in the text.
//! - Texts are bounded before they are parsed, and fragments are counted before anything walks
//!   them expanded, so no text costs more than its limits allow.
//! - The frame resolves introspection only: its `execute` step is cut short for everything else.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::async_trait::async_trait;
use async_graphql::dynamic::Schema;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute};
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Pos, Positioned, Request, Response};

use crate::error::{Fault, nearest};
use crate::limits::{
    MAX_ALIASES, MAX_DEPTH, MAX_FRAGMENTS, MAX_INTROSPECTION_LISTS, MAX_INTROSPECTIONS,
    MAX_NESTING, MAX_QUERY_BYTES, MAX_REMEMBERED_BYTES, MAX_REMEMBERED_QUERIES, MAX_SELECTIONS,
    MAX_TOKENS, MAX_WORD_BYTES, PARSED_BYTES,
};

/// A parsed and valid query text.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) text: Box<str>,
    pub(crate) parsed: ExecutableDocument,
}

/// Marks a request whose resolving is left to us.
struct OnlyValidate;

/// Cuts the frame's `execute` step short for requests marked [`OnlyValidate`].
pub(crate) struct FrameExtension;

impl ExtensionFactory for FrameExtension {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Extension for FrameExtension {
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        if ctx.data_opt::<OnlyValidate>().is_some() {
            return Response::default();
        }
        next.run(ctx, operation_name).await
    }
}

/// Adds the close name that validation leaves out for fields of input types.
fn suggest_input(mut fault: Fault, sdl: &str) -> Fault {
    let quoted: Vec<&str> = fault.message.split('"').collect();
    let [.., before, field, of, kind, _] = quoted[..] else {
        return fault;
    };
    if fault.suggestion.is_some() || !before.ends_with("unknown field ") || of != " of type " {
        return fault;
    }
    let known = sdl
        .split_once(&format!("\ninput {kind} {{\n"))
        .and_then(|(_, rest)| rest.split_once("\n}"))
        .map_or("", |(fields, _)| fields);
    let names = known
        .lines()
        .filter_map(|line| line.trim_start().split_once(':'))
        .map(|(name, _)| name);
    if let Some(near) = nearest(field, names) {
        fault.suggestion = Some(near.to_owned());
        fault.message = format!("{}; did you mean `{near}`?", fault.message);
    }
    fault
}

/// The frame around one schema.
#[derive(Debug)]
pub(crate) struct Frame {
    schema: Schema,
    /// Made once: some hundred kilobytes for a large ontology.
    sdl: String,
    remembered: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    documents: HashMap<Box<str>, Arc<Document>>,
    bytes: usize,
}

impl Frame {
    pub(crate) fn new(schema: Schema) -> Self {
        Self {
            sdl: schema.sdl(),
            schema,
            remembered: Mutex::default(),
        }
    }

    pub(crate) fn sdl(&self) -> &str {
        &self.sdl
    }

    /// The valid document of a query text, from memory if it was asked before.
    pub(crate) async fn document(&self, text: &str) -> Result<Arc<Document>, Vec<Fault>> {
        if let Some(known) = self.remembered().documents.get(text) {
            return Ok(Arc::clone(known));
        }
        scan(text).map_err(|fault| vec![fault])?;
        let parsed = async_graphql::parser::parse_query(text)
            .map_err(|error| vec![Fault::from(async_graphql::ServerError::from(error))])?;
        measure(&parsed).map_err(|fault| vec![fault])?;
        for operation in operations(&parsed) {
            let mut request = Request::new("").data(OnlyValidate);
            if let Some(name) = operation {
                request = request.operation_name(name);
            }
            request.set_parsed_query(parsed.clone());
            let answer = self.schema.execute(request).await;
            if !answer.errors.is_empty() {
                let faults = answer.errors.into_iter().map(Fault::from);
                let suggest = |fault| suggest_input(fault, &self.sdl);
                let mut faults: Vec<_> = faults.map(suggest).collect();
                // The frame says everything about a subscription twice.
                faults.dedup();
                return Err(faults);
            }
        }
        let document = Arc::new(Document {
            text: text.into(),
            parsed,
        });
        self.remember(Arc::clone(&document));
        Ok(document)
    }

    /// What the frame answers to an introspection operation.
    pub(crate) async fn introspect(
        &self,
        document: &Document,
        operation: Option<&str>,
        variables: serde_json::Value,
    ) -> Response {
        let variables = async_graphql::Variables::from_json(variables);
        let mut request = Request::new("").variables(variables);
        if let Some(name) = operation {
            request = request.operation_name(name);
        }
        request.set_parsed_query(document.parsed.clone());
        self.schema.execute(request).await
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, document: Arc<Document>) {
        let mut remembered = self.remembered();
        let bytes = document.text.len() * PARSED_BYTES;
        if bytes > MAX_REMEMBERED_BYTES / 8 {
            return; // Hardly ever asked again, and it would push many others out.
        }
        // Apps ask few different texts; a flood of others starts over rather than being ranked.
        if remembered.documents.len() == MAX_REMEMBERED_QUERIES
            || remembered.bytes + bytes > MAX_REMEMBERED_BYTES
        {
            *remembered = Remembered::default();
        }
        let earlier = remembered.documents.insert(document.text.clone(), document);
        if earlier.is_none() {
            remembered.bytes += bytes;
        }
    }
}

/// One operation is enough to validate: the rules look at the whole document, whichever is chosen.
fn operations(document: &ExecutableDocument) -> impl Iterator<Item = Option<&str>> {
    document
        .operations
        .iter()
        .map(|(name, _)| name.map(async_graphql::Name::as_str))
        .take(1)
}

/// The operation a request means.
pub(crate) fn operation<'d>(
    document: &'d ExecutableDocument,
    name: Option<&str>,
) -> Result<&'d Positioned<OperationDefinition>, Fault> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => operation,
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations
            .values()
            .next()
            .ok_or_else(|| Fault::invalid("the query has no operation"))?,
        (DocumentOperations::Multiple(_), None) => {
            return Err(Fault::invalid(
                "the query has several operations: say which as `operationName`",
            ));
        }
        (DocumentOperations::Single(_), Some(name)) => {
            return Err(Fault::unknown("operation", name, []));
        }
        (DocumentOperations::Multiple(operations), Some(name)) => {
            operations.get(name).ok_or_else(|| {
                Fault::unknown(
                    "operation",
                    name,
                    operations.keys().map(async_graphql::Name::as_str),
                )
            })?
        }
    };
    Ok(operation)
}

/// An open bracket of a query's text.
enum Bracket<'t> {
    Arguments,
    /// With the fields it has so far.
    Object(HashSet<&'t str>),
    Other,
}

/// What a token may mean to the one after it.
enum Token {
    Colon,
    /// A name, unless a value is due; where it begins.
    Word(usize),
    Other,
}

/// The fields of input objects, known by the colon after each.
fn field<'t>(
    text: &'t str,
    object: &mut HashSet<&'t str>,
    before: &Token,
    colon: usize,
) -> Result<(), Fault> {
    let Token::Word(start) = *before else {
        let message = "a `:` in an input object has no name before it";
        return Err(Fault::invalid(message).at(place(text, colon)));
    };
    let bytes = text.as_bytes().get(start..colon).unwrap_or_default();
    let length = bytes.iter().take_while(|byte| is_word(**byte)).count();
    let name = text.get(start..start + length).unwrap_or_default();
    if object.insert(name) {
        return Ok(());
    }
    let message = format!("the input object has the field `{name}` twice: leave one out");
    Err(Fault::invalid(message).at(place(text, start)))
}

/// Line and column of a byte.
fn place(text: &str, byte: usize) -> Pos {
    let before = text.get(..byte).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    Pos {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    }
}

/// Bounds a text before it is parsed: the parser descends as deep as brackets nest.
fn scan(text: &str) -> Result<(), Fault> {
    if text.len() > MAX_QUERY_BYTES {
        let message = format!(
            "the query has {} bytes, and {MAX_QUERY_BYTES} are allowed (MAX_QUERY_BYTES): move values into variables",
            text.len()
        );
        return Err(Fault::too_costly(message));
    }
    let bytes = text.as_bytes();
    let (mut i, mut tokens, mut arguments) = (0, 0, 0_usize);
    let mut open = Vec::new();
    let mut last = Token::Other;
    while let Some(&byte) = bytes.get(i) {
        i += 1;
        let mut token = Token::Other;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => continue,
            // A byte order mark is a space, too.
            0xef if bytes.get(i..i + 2) == Some(&[0xbb, 0xbf]) => {
                i += 2;
                continue;
            }
            b'#' => {
                while bytes.get(i).is_some_and(|b| !matches!(b, b'\n' | b'\r')) {
                    i += 1;
                }
                continue;
            }
            b'"' => i = after_text(bytes, i),
            b'(' => {
                arguments += 1;
                open.push(Bracket::Arguments);
            }
            // Among arguments nothing is selected.
            b'{' if arguments > 0 => open.push(Bracket::Object(HashSet::new())),
            b'{' | b'[' => open.push(Bracket::Other),
            b'}' | b']' | b')' => {
                if let Some(Bracket::Arguments) = open.pop() {
                    arguments -= 1;
                }
            }
            b':' => {
                if let Some(Bracket::Object(fields)) = open.last_mut() {
                    field(text, fields, &last, i - 1)?;
                }
                token = Token::Colon;
            }
            _ if is_word(byte) => {
                let start = i;
                // The parser takes `a:trueb:1` for two fields, so what is a value is never a name.
                if !matches!(last, Token::Colon) {
                    token = Token::Word(i - 1);
                }
                while bytes.get(i).is_some_and(|b| is_word(*b)) {
                    i += 1;
                }
                if i - start > MAX_WORD_BYTES {
                    return Err(Fault::too_costly(format!(
                        "the query has a name or number of more than {MAX_WORD_BYTES} bytes (MAX_WORD_BYTES)"
                    )));
                }
            }
            _ => {}
        }
        last = token;
        tokens += 1;
        if open.len() > MAX_NESTING {
            return Err(Fault::too_costly(format!(
                "the query nests deeper than {MAX_NESTING} brackets (MAX_NESTING): ask in steps"
            )));
        }
        if tokens > MAX_TOKENS {
            return Err(Fault::too_costly(format!(
                "the query has more than {MAX_TOKENS} tokens (MAX_TOKENS): move values into variables, or ask in parts"
            )));
        }
    }
    Ok(())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+')
}

/// Where a text literal ends whose first quote is before `i`.
fn after_text(bytes: &[u8], mut i: usize) -> usize {
    let block = bytes.get(i..i + 2) == Some(b"\"\"");
    if block {
        i += 2;
    }
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'\\' if !block => i += 2,
            // A block escapes its end and nothing else.
            b'\\' if bytes.get(i + 1..i + 4) == Some(b"\"\"\"") => i += 4,
            b'"' if !block => return i + 1,
            b'"' if bytes.get(i..i + 3) == Some(b"\"\"\"") => return i + 3,
            b'\n' if !block => return i,
            _ => i += 1,
        }
    }
    i
}

/// What a selection set amounts to with its fragments expanded.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    fields: usize,
    aliases: usize,
    depth: usize,
    /// Nested lists of introspection.
    lists: usize,
    /// Fields that are the frame's.
    introspections: usize,
}

impl Size {
    fn beside(self, other: Self) -> Self {
        Self {
            fields: self.fields.saturating_add(other.fields),
            aliases: self.aliases.saturating_add(other.aliases),
            depth: self.depth.max(other.depth),
            lists: self.lists.max(other.lists),
            introspections: self.introspections.saturating_add(other.introspections),
        }
    }
}

/// Bounds a document with its fragments expanded, each fragment looked at once.
fn measure(document: &ExecutableDocument) -> Result<(), Fault> {
    if document.fragments.len() > MAX_FRAGMENTS {
        return Err(Fault::too_costly(format!(
            "the query has {} fragments, and {MAX_FRAGMENTS} are allowed (MAX_FRAGMENTS)",
            document.fragments.len()
        )));
    }
    let mut known = HashMap::new();
    for (_, operation) in document.operations.iter() {
        let size = measure_set(document, &operation.node.selection_set.node, &mut known, 0)?;
        let over = |what: &str, found: usize, limit: usize, name: &str| {
            Fault::too_costly(format!(
                "the query has {found} {what} with its fragments expanded, and {limit} are allowed ({name}): ask in parts"
            ))
            .at(operation.pos)
        };
        if size.fields > MAX_SELECTIONS {
            return Err(over(
                "fields",
                size.fields,
                MAX_SELECTIONS,
                "MAX_SELECTIONS",
            ));
        }
        if size.aliases > MAX_ALIASES {
            return Err(over("aliases", size.aliases, MAX_ALIASES, "MAX_ALIASES"));
        }
        if size.depth > MAX_DEPTH {
            return Err(over("levels", size.depth, MAX_DEPTH, "MAX_DEPTH"));
        }
        if size.introspections > MAX_INTROSPECTIONS {
            let (found, limit) = (size.introspections, MAX_INTROSPECTIONS);
            return Err(over("introspections", found, limit, "MAX_INTROSPECTIONS"));
        }
        if size.introspections > 0 && size.lists > MAX_INTROSPECTION_LISTS {
            let (lists, limit) = (size.lists, MAX_INTROSPECTION_LISTS);
            return Err(over(
                "nested lists",
                lists,
                limit,
                "MAX_INTROSPECTION_LISTS",
            ));
        }
    }
    // What no operation uses is refused by validation, but validation walks it first.
    // Each is bounded for itself, so their order does not matter.
    let mut fragments = document.fragments.values();
    fragments.try_for_each(|fragment| {
        measure_set(document, &fragment.node.selection_set.node, &mut known, 0).map(|_size| ())
    })
}

/// Whether a field of the query root is the frame's.
pub(crate) fn is_introspection(field: &str) -> bool {
    matches!(field, "__schema" | "__type")
}

fn measure_set<'d>(
    document: &'d ExecutableDocument,
    set: &'d SelectionSet,
    known: &mut HashMap<&'d str, Option<Size>>,
    level: usize,
) -> Result<Size, Fault> {
    if level > 2 * MAX_NESTING {
        return Err(Fault::too_costly(format!(
            "the query nests deeper than {MAX_NESTING} brackets (MAX_NESTING): ask in steps"
        )));
    }
    let level = level + 1;
    let mut size = Size::default();
    for item in &set.items {
        size = size.beside(match &item.node {
            Selection::Field(field) => {
                let field = &field.node;
                let mut inner = measure_set(document, &field.selection_set.node, known, level)?;
                inner.fields = inner.fields.saturating_add(1);
                inner.aliases += usize::from(field.alias.is_some());
                inner.depth += 1;
                inner.lists += usize::from(is_introspection_list(&field.name.node));
                inner.introspections += usize::from(is_introspection(&field.name.node));
                inner
            }
            Selection::InlineFragment(fragment) => {
                measure_set(document, &fragment.node.selection_set.node, known, level)?
            }
            Selection::FragmentSpread(spread) => {
                let name = spread.node.fragment_name.node.as_str();
                match known.get(name) {
                    Some(Some(size)) => *size,
                    Some(None) => {
                        let message = format!("fragment `{name}` spreads itself");
                        return Err(Fault::invalid(message).at(item.pos));
                    }
                    None => match document.fragments.get(name) {
                        // An unknown fragment is refused by validation.
                        None => Size::default(),
                        Some(fragment) => {
                            known.insert(name, None);
                            let set = &fragment.node.selection_set.node;
                            let inner = measure_set(document, set, known, level)?;
                            known.insert(name, Some(inner));
                            inner
                        }
                    },
                }
            }
        });
    }
    Ok(size)
}

fn is_introspection_list(field: &str) -> bool {
    matches!(
        field,
        "types"
            | "fields"
            | "inputFields"
            | "interfaces"
            | "possibleTypes"
            | "enumValues"
            | "args"
            | "directives"
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn deep_and_long_texts_are_refused_before_they_are_parsed() {
        assert!(scan("{ a(b: [1, {c: \"}}}\"}]) { d } } # {{{").is_ok());
        assert!(scan(&"{a".repeat(MAX_NESTING + 1)).is_err());
        assert!(scan(&"[".repeat(100_000)).is_err());
        assert!(scan(&"a ".repeat(MAX_TOKENS + 1)).is_err());
        assert!(scan(&" ".repeat(MAX_QUERY_BYTES + 1)).is_err());
    }

    #[test]
    fn brackets_in_texts_and_comments_do_not_nest() {
        let text = format!(
            "\"{}\" \"\"\"{}\"\"\" #{}\n a",
            "{".repeat(90),
            "[".repeat(90),
            "(".repeat(90)
        );
        assert!(scan(&text).is_ok());
    }

    #[test]
    fn a_block_text_ends_where_the_parser_says() {
        for text in [
            "{ a(b: \"\"\"\\\\\"\"\" [\"\"\") }",
            "{ a(b: \"\"\"\\\"\"\" [[ \\x \"\"\") }",
        ] {
            assert!(async_graphql::parser::parse_query(text).is_ok(), "{text}");
        }
        // Brackets after such a text are not inside it.
        let deep = "[".repeat(MAX_NESTING);
        let text = format!("{{ a(b: \"\"\"\\\\\"\"\"\"\"\", c: {deep}");
        assert!(scan(&text).is_err());
    }

    #[test]
    fn an_input_object_names_each_field_once() {
        for (arguments, twice) in [
            ("{a: 1, b: {a: 1}, c: [{a: 1}, {a: 2}], d: $a}", None),
            ("{a: b, c: a, d: \"a: 1\"}) { a: b a: b x(a: {a: 1}", None),
            ("{a: 1, a: 2}", Some("`a`")),
            ("{a: 1, b: 2, a#:\n\u{feff},:2}", Some("`a`")),
            ("{c: {d: [{e: 1}, {e: 2, f: 3 e: 4}]}}", Some("`e`")),
            ("{d: [1], b: \"\"\" \\\"\"\" \"\"\", d: 2}", Some("`d`")),
            ("{a: 1, b: {a: 2}, a: 3}", Some("`a`")),
            // The parser takes these for two fields.
            ("{b: 1, a:trueb: 2}", Some("`:`")),
        ] {
            for text in [
                format!("{{ f(x: {arguments}) }}"),
                format!("query Q($x: X = {arguments}) {{ f }}"),
            ] {
                match (scan(&text), twice) {
                    (Ok(()), None) => {}
                    (Err(fault), Some(part)) => {
                        assert_eq!(fault.code, crate::Code::InvalidInput);
                        assert!(fault.message.contains(part), "{text}\n{fault}");
                    }
                    (other, _) => panic!("{text}\n{other:?}"),
                }
            }
        }
        let fault = scan("{ f(x: {\n a: \"é\", a: 3}) }").unwrap_err();
        assert_eq!(fault.locations, [(2, 10)]);
    }

    #[test]
    fn fragments_that_double_each_other_are_counted_not_walked() {
        let mut text = "{ ...f0 }".to_owned();
        for i in 0..40 {
            let next = i + 1;
            write!(text, " fragment f{i} on Query {{ ...f{next} ...f{next} }}").unwrap();
        }
        text.push_str(" fragment f40 on Query { position }");
        let parsed = async_graphql::parser::parse_query(&text).unwrap();
        assert_eq!(measure(&parsed).unwrap_err().code, crate::Code::TooCostly);
    }

    #[test]
    fn fragments_that_spread_themselves_are_refused() {
        let text = "{ ...a } fragment a on Query { ...b ...b } fragment b on Query { ...a ...a }";
        let parsed = async_graphql::parser::parse_query(text).unwrap();
        assert_eq!(
            measure(&parsed).unwrap_err().code,
            crate::Code::InvalidInput
        );
    }
}
