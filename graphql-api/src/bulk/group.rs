//! The lines of a group: parsed, and done so that a bad one does not refuse its neighbours.

use serde_json::Value as Json;
use twin_core::{Commit, Operation, Receipt, Refusal, Trial};

use super::lines::Line;
use crate::error::Fault;
use crate::exec;
use crate::limits::MAX_BULK_LINE_BYTES;
use crate::service::Service;

/// A line's operation and its place in the group, or what is wrong with the line.
pub(super) type Parsed = Vec<Result<(usize, Operation), Fault>>;

/// What became of each line of a group.
pub(super) type Outcomes = Vec<Option<Result<Receipt, Fault>>>;

/// Commits what was parsed; also says why no more can be done, once the twin does not write.
///
/// An operation that is refused is left out, and the others are done without it; where they are too
/// much as a whole, their halves are done one after the other.
pub(super) async fn commit(service: &Service, parsed: Parsed) -> (Outcomes, Option<Fault>) {
    let (mut outcomes, operations) = separated(parsed);
    let mut open = vec![operations];
    let mut stopped = None;
    while let Some(mut operations) = open.pop() {
        if operations.is_empty() {
            continue;
        }
        let committed = match &stopped {
            None => {
                let commit = of(service, &operations);
                service.inner.twin.commit(commit).await
            }
            Some(_) => Err(Refusal::Unavailable(
                "it stopped before this line".to_owned(),
            )),
        };
        match committed {
            Ok(receipt) => {
                for (place, _) in operations {
                    outcomes[place] = Some(Ok(receipt.clone()));
                }
            }
            Err(Refusal::One { index, refusal, .. }) if index < operations.len() => {
                let (place, _) = operations.remove(index);
                outcomes[place] = Some(Err(Fault::from(*refusal)));
                open.push(operations);
            }
            Err(refusal) => {
                let ends = matches!(
                    refusal,
                    Refusal::Unavailable(_) | Refusal::OutcomeUnknown(_)
                );
                if operations.len() > 1 && !ends {
                    let rest = operations.split_off(operations.len() / 2);
                    open.extend([rest, operations]);
                    continue;
                }
                let fault = Fault::from(refusal);
                for (place, _) in operations {
                    outcomes[place] = Some(Err(fault.clone()));
                }
                if ends && stopped.is_none() {
                    stopped = Some(fault);
                }
            }
        }
    }
    (outcomes, stopped)
}

/// A commit of operations by whoever asks on this machine.
fn of(service: &Service, operations: &[(usize, Operation)]) -> Commit {
    let operations = operations.iter().map(|(_, operation)| operation.clone());
    Commit {
        principal: service.inner.principal.clone(),
        idempotency: None,
        operations: operations.collect(),
    }
}

/// What each line asks for.
pub(super) fn parse(service: &Service, group: Vec<Line>) -> Parsed {
    let one = |(place, line): (usize, Line)| {
        let text = line.text.map_err(|length| {
            let limit = MAX_BULK_LINE_BYTES;
            Fault::from(Refusal::Limited {
                what: "bytes of a line",
                given: length,
                limit,
                name: "MAX_BULK_LINE_BYTES",
            })
        })?;
        let text = String::from_utf8(text).map_err(|error| {
            let byte = error.utf8_error().valid_up_to() + 1;
            Fault::invalid(format!("the line is not UTF-8, from its byte {byte} on"))
        })?;
        let json: Json = serde_json::from_str(&text).map_err(|error| {
            Fault::invalid(format!(
                "the line is not JSON: {error}; write one operation, such as \
                 {{\"delete\": {{\"id\": \"…\"}}}}, on one line"
            ))
        })?;
        exec::operation(&service.inner.api, "operation", &json).map(|operation| (place, operation))
    };
    group.into_iter().enumerate().map(one).collect()
}

/// Operations in order, and room for what becomes of every line.
fn separated(parsed: Parsed) -> (Outcomes, Vec<(usize, Operation)>) {
    let mut operations = Vec::with_capacity(parsed.len());
    let outcomes = parsed.into_iter().map(|line| match line {
        Ok(operation) => {
            operations.push(operation);
            None
        }
        Err(fault) => Some(Err(fault)),
    });
    (outcomes.collect(), operations)
}

/// Takes each line through every check, as if those before it had been done.
pub(super) fn rehearse(service: &Service, trial: &mut Trial, parsed: Parsed) -> Outcomes {
    let (mut outcomes, operations) = separated(parsed);
    let position = service.inner.twin.view().position();
    for operation in operations {
        let place = operation.0;
        let commit = of(service, &[operation]);
        let changes = trial.room().and_then(|()| trial.commit(&commit));
        let changes = changes.map(|changes| changes.len() as u64);
        outcomes[place] = Some(changes.map_err(Fault::from).map(|changes| Receipt {
            position: position.clone(),
            changes,
            repeated: false,
        }));
    }
    outcomes
}
