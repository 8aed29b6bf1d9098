//! Execution: a validated document, its variables and one view in, the bytes of the answer out.
//!
//! # Invariants
//! - One request sees one [`View`]; `extensions.position` names it.
//! - Keys of an answer come in the order of the query's text.

mod cost;
mod filter;
mod order;
mod page;
mod plan;
mod region;
mod root;
mod run;
mod select;
mod variables;

use async_graphql::Positioned;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition};
use serde_json::{Map, Value as Json};
use twin_core::{Position, View};

pub(crate) use self::cost::Cost;
use self::plan::Planner;
use self::run::{Reported, Run, Step, write_json};
use self::select::Ask;
pub(crate) use self::variables::Variables;
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
    let set = &operation.node.selection_set.node;
    let cost = cost::of(api, ask, |class| view.count(class), set)?;
    Ok((variables, cost))
}

/// Answers a query.
pub(crate) fn query(
    api: &Api,
    view: &View,
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
    variables: &Variables,
) -> Answer {
    /// Grows to a page of some hundred rows without moving often.
    const FIRST_BYTES: usize = 4 << 10;
    let planner = Planner {
        api,
        ask: Ask {
            document,
            variables,
        },
    };
    let fields = root::plan(planner, view, &operation.node.selection_set.node);
    let mut out = Vec::with_capacity(FIRST_BYTES);
    out.extend_from_slice(b"{\"data\":");
    let mut run = Run::new(view, planner, out);
    run.query(&fields);
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
    finish(&mut out, &view.position());
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
        out.extend_from_slice(b"}}");
    }
    out.push(b']');
}
