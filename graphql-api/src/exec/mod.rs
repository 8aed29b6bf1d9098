//! Execution: a validated document, its variables and one view in, the bytes of the answer out.
//!
//! # Invariants
//! - One request sees one [`View`]; `extensions.position` names it.
//! - Keys of an answer come in the order of the query's text.

mod aggregate;
mod change;
mod cost;
mod during;
mod filter;
mod group;
mod history;
mod letters;
mod meaning;
mod measure;
mod order;
mod page;
mod path;
mod plan;
mod region;
mod root;
mod run;
mod search;
mod select;
mod values;
mod variables;
mod write;

use async_graphql::Positioned;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition};
use serde_json::{Map, Value as Json, json};
use twin_core::{Position, Principal, View};

pub(crate) use self::change::{Event, Subject, Watch};
pub(crate) use self::cost::Cost;
pub(crate) use self::filter::Columns;
pub(crate) use self::history::{Aggregate, History};
pub(crate) use self::measure::{Source, Sum, source};
pub(crate) use self::page::Clock;
use self::plan::Planner;
pub(crate) use self::run::write_json;
use self::run::{Reported, Run, Step};
pub(crate) use self::search::{DEFAULT_FOUND, Matched};
use self::select::Ask;
pub(crate) use self::values::untyped;
pub(crate) use self::variables::Variables;
pub(crate) use self::write::{Deed, Done, Turn, operation};
use crate::api::Api;
use crate::error::{Code, Fault};

/// The bytes of an answer, and what it tells the metrics.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    /// Codes of its errors.
    pub(crate) codes: Vec<Code>,
    /// Whether there is no `data` at all, because the request itself was refused.
    pub(crate) refused: bool,
}

/// Coerces variables and bounds the cost: what is checked before anything is looked up.
pub(crate) fn prepare(
    api: &Api,
    view: &View,
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
    given: &mut Map<String, Json>,
) -> Result<(Variables, Cost), Fault> {
    let variables = variables::coerce(&operation.node, given)?;
    let ask = Ask {
        document,
        variables: &variables,
    };
    let cost = cost::of(api, ask, view, &operation.node)?;
    Ok((variables, cost))
}

/// Answers a query.
pub(crate) fn query(
    api: &Api,
    view: &View,
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
    variables: &Variables,
    history: Option<History>,
) -> Answer {
    // Before planning: regions and points are looked up there.
    let clock = Clock::start();
    let planner = planner(api, document, variables);
    let fields = root::plan(planner, view, &clock, &operation.node.selection_set.node);
    answer(view, planner, clock, &view.position(), |run| {
        run.history = history;
        run.query(&fields);
    })
}

fn planner<'q>(
    api: &'q Api,
    document: &'q ExecutableDocument,
    variables: &'q Variables,
) -> Planner<'q> {
    let ask = Ask {
        document,
        variables,
    };
    Planner { api, ask }
}

/// What the field of a mutation at this place in its order asks for; `None` past the last.
pub(crate) fn turn(
    api: &Api,
    view: &View,
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
    variables: &Variables,
    principal: &Principal,
    place: usize,
) -> Result<Option<Turn>, Fault> {
    let planner = planner(api, document, variables);
    let fields = write::plan(planner, &operation.node.selection_set.node)?;
    let Some(field) = fields.get(place) else {
        return Ok(None);
    };
    Ok(Some(match field.kind {
        write::Root::Typename => Turn::Typename,
        write::Root::Do { asked, .. } => Turn::Do(write::deed(planner, view, principal, asked)),
    }))
}

/// Answers a mutation whose fields were done one after another, as far as `done` goes.
pub(crate) fn mutation(
    api: &Api,
    view: &View,
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
    variables: &Variables,
    done: &[Done],
) -> Result<Answer, Fault> {
    let planner = planner(api, document, variables);
    let fields = write::plan(planner, &operation.node.selection_set.node)?;
    let here = view.position();
    Ok(answer(view, planner, Clock::start(), &here, |run| {
        run.mutation(&fields, done);
    }))
}

/// Which changes a subscription follows, and from where.
pub(crate) fn watch(
    api: &Api,
    view: &View,
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
    variables: &Variables,
) -> Result<(Watch, Position), Fault> {
    let planner = planner(api, document, variables);
    change::watch(planner, view, &operation.node.selection_set.node)
}

/// Writes events of a subscription, each as the body of an answer when it is asked for.
pub(crate) fn events<'e>(
    api: &'e Api,
    view: &'e View,
    document: &'e ExecutableDocument,
    operation: &'e Positioned<OperationDefinition>,
    variables: &'e Variables,
    events: &'e [Event<'e>],
) -> Result<impl Iterator<Item = Vec<u8>> + 'e, Fault> {
    let planner = planner(api, document, variables);
    let field = [change::plan(planner, &operation.node.selection_set.node)?];
    Ok(events.iter().map(move |event| {
        let written = answer(view, planner, Clock::start(), &event.position(), |run| {
            run.event(&field, event);
        });
        written.body
    }))
}

fn answer<'q>(
    view: &View,
    planner: Planner<'q>,
    clock: Clock,
    position: &Position,
    write: impl FnOnce(&mut Run<'_, 'q>),
) -> Answer {
    /// Grows to a page of some hundred rows without moving often.
    const FIRST_BYTES: usize = 4 << 10;
    let mut out = Vec::with_capacity(FIRST_BYTES);
    out.extend_from_slice(b"{\"data\":");
    let mut run = Run::new(view, planner, clock, out);
    write(&mut run);
    let Run {
        mut out,
        errors,
        more_errors,
        ..
    } = run;
    let codes = errors.iter().map(|error| error.fault.code).collect();
    if !errors.is_empty() {
        out.extend_from_slice(b",\"errors\":");
        write_errors(&mut out, &errors, more_errors);
    }
    finish(&mut out, position);
    Answer {
        body: out,
        codes,
        refused: false,
    }
}

/// The answer to a request that is refused as a whole.
pub(crate) fn refusal(faults: Vec<Fault>, position: &Position) -> Answer {
    let codes = faults.iter().map(|fault| fault.code).collect();
    let errors: Vec<_> = faults
        .into_iter()
        .map(|fault| Reported {
            fault,
            path: Vec::new(),
        })
        .collect();
    let mut body = b"{\"errors\":".to_vec();
    write_errors(&mut body, &errors, 0);
    finish(&mut body, position);
    Answer {
        body,
        codes,
        refused: true,
    }
}

/// What the frame answered to an introspection.
pub(crate) fn introspection(response: async_graphql::Response, position: &Position) -> Answer {
    if !response.errors.is_empty() {
        return refusal(
            response.errors.into_iter().map(Fault::from).collect(),
            position,
        );
    }
    let mut body = b"{\"data\":".to_vec();
    write_json(&mut body, &response.data);
    finish(&mut body, position);
    Answer {
        body,
        codes: Vec::new(),
        refused: false,
    }
}

fn finish(out: &mut Vec<u8>, position: &Position) {
    out.extend_from_slice(b",\"extensions\":{\"position\":");
    write_json(out, &position.to_string());
    out.extend_from_slice(b"}}");
}

fn write_errors(out: &mut Vec<u8>, errors: &[Reported<'_>], more: usize) {
    for (i, Reported { fault, path }) in errors.iter().enumerate() {
        out.push(if i == 0 { b'[' } else { b',' });
        let mut message = fault.message.clone();
        if more > 0 && i + 1 == errors.len() {
            message = format!("{message} (and {more} further errors)");
        }
        out.extend_from_slice(b"{\"message\":");
        write_json(out, &message);
        if !fault.locations.is_empty() {
            out.extend_from_slice(b",\"locations\":[");
            for (i, (line, column)) in fault.locations.iter().enumerate() {
                let comma = if i > 0 { "," } else { "" };
                let location = format!("{comma}{{\"line\":{line},\"column\":{column}}}");
                out.extend_from_slice(location.as_bytes());
            }
            out.push(b']');
        }
        if !path.is_empty() {
            out.extend_from_slice(b",\"path\":[");
            for (i, step) in path.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                match step {
                    Step::Key(key) => write_json(out, key),
                    Step::Index(index) => write_json(out, index),
                }
            }
            out.push(b']');
        }
        out.extend_from_slice(b",\"extensions\":{\"code\":");
        write_json(out, fault.code.as_str());
        if let Some(suggestion) = &fault.suggestion {
            out.extend_from_slice(b",\"suggestion\":");
            write_json(out, suggestion);
        }
        if !fault.done.is_empty() {
            let done = fault.done.iter().map(|(key, receipt)| {
                json!({
                    "path": [key],
                    "position": receipt.position.to_string(),
                    "changes": receipt.changes,
                    "repeated": receipt.repeated,
                })
            });
            out.extend_from_slice(b",\"done\":");
            write_json(out, &done.collect::<Json>());
        }
        out.extend_from_slice(b"}}");
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ontology::{Ontology, Pack, Source};
    use twin_core::memory::MemoryStore;
    use twin_core::{Settings, Twin};

    use super::*;

    const MODEL: &str = r#"{"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Place;1",
        "@type": "Interface", "contents": [
          {"@type": "Relationship", "name": "near"}]}"#;

    #[tokio::test]
    async fn every_root_field_ends_when_time_is_up() {
        let source = Source {
            pack: Arc::new(Pack::named("test")),
            file: "place.json".to_owned(),
            text: MODEL.to_owned(),
        };
        let (ontology, _) = Ontology::compile(&[source]).unwrap_or_else(|p| panic!("{p}"));
        let ontology = Arc::new(ontology);
        let store = Arc::new(MemoryStore::new(Arc::clone(&ontology)));
        let twin = Twin::open(store, Arc::clone(&ontology), Settings::default());
        let view = twin.await.unwrap().view();
        let api = Api::new(ontology);
        let variables = Variables::new();
        for field in [
            "places(space: {box: [29, -3, 31, -1]}) { totalCount }",
            "places(where: {near: {id: {eq: \"a\"}}}, orderBy: [{id: DESC}]) { totalCount }",
            "places { totalCount }",
            "nearest(class: \"Place\", to: {lon: 30, lat: -2}) { metres }",
            "containing(point: {lon: 30, lat: -2}) { id }",
            "traverse(from: [], steps: [{relationship: \"near\"}]) { totalCount }",
            "search(text: \"a\") { matched }",
            "deadLetters { edges { cursor } }",
            "aggregate(class: \"Place\", measures: [{count: true}]) { values }",
        ] {
            let query = format!("{{ {field} }}");
            let document = async_graphql::parser::parse_query(query).unwrap();
            let operation = crate::frame::operation(&document, None).unwrap();
            let set = &operation.node.selection_set.node;
            let planner = planner(&api, &document, &variables);
            // While it is planned, and while it is written.
            for planned_late in [true, false] {
                let clock = if planned_late {
                    Clock::late()
                } else {
                    Clock::start()
                };
                let fields = root::plan(planner, &view, &clock, set);
                if !planned_late && field.starts_with("containing") {
                    continue; // Its work is done when it is planned.
                }
                let late = Clock::late();
                let written = answer(&view, planner, late, &view.position(), |run| {
                    run.query(&fields);
                });
                assert_eq!(written.codes, [Code::Timeout], "{field}");
            }
        }
    }
}
