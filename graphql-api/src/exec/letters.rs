//! `deadLetters` and `deadLetter`: what is asked of refused messages.

use super::plan::{Field, PagePart, Planner};
use super::select::Merged;
use crate::error::Fault;
use crate::limits::{DEFAULT_PAGE, MAX_LETTERS_PAGE};

/// A page of dead letters.
#[derive(Debug)]
pub(crate) struct LettersPlan<'q> {
    pub(crate) reason: Option<String>,
    pub(crate) first: usize,
    /// Only those with numbers below.
    pub(crate) before: Option<u64>,
    pub(crate) fields: Vec<Field<'q, LettersPart<'q>>>,
}

/// A field of `DeadLetterConnection`.
#[derive(Debug)]
pub(crate) enum LettersPart<'q> {
    Typename,
    Edges(Vec<Field<'q, LetterEdgePart<'q>>>),
    Page(Vec<Field<'q, PagePart>>),
}

/// A field of `DeadLetterEdge`.
#[derive(Debug)]
pub(crate) enum LetterEdgePart<'q> {
    Typename,
    Cursor,
    Node(Vec<Field<'q, LetterPart>>),
}

/// One dead letter.
#[derive(Debug)]
pub(crate) struct LetterPlan<'q> {
    pub(crate) number: u64,
    pub(crate) fields: Vec<Field<'q, LetterPart>>,
}

/// A field of `DeadLetter`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LetterPart {
    Typename,
    Id,
    At,
    Client,
    Topic,
    Reason,
    Detail,
    Size,
    Payload,
    PayloadBase64,
}

pub(crate) fn page<'q>(
    planner: Planner<'q>,
    merged: &Merged<'q>,
) -> Result<LettersPlan<'q>, Fault> {
    let ask = planner.ask;
    let first = ask.count(merged.field, "first", DEFAULT_PAGE, MAX_LETTERS_PAGE)?;
    let before = ask.text(merged.field, "after")?.map(|cursor| {
        cursor.parse().map_err(|_not_a_number| {
            let message =
                "`after`: this is not a cursor of dead letters; leave it out to start over";
            Fault::invalid(message)
        })
    });
    let fields = planner.object(&merged.sets, "DeadLetterConnection", |part| {
        match part.name() {
            "edges" => {
                let edge = |part: &Merged<'q>| match part.name() {
                    "cursor" => LetterEdgePart::Cursor,
                    "node" => LetterEdgePart::Node(parts(planner, part)),
                    _ => LetterEdgePart::Typename,
                };
                LettersPart::Edges(planner.object(&part.sets, "DeadLetterEdge", edge))
            }
            "pageInfo" => LettersPart::Page(planner.page_info(&part.sets)),
            _ => LettersPart::Typename,
        }
    });
    Ok(LettersPlan {
        reason: ask.text(merged.field, "reason")?,
        first,
        before: before.transpose()?,
        fields,
    })
}

pub(crate) fn one<'q>(planner: Planner<'q>, merged: &Merged<'q>) -> Result<LetterPlan<'q>, Fault> {
    let id = planner.ask.required_text(merged.field, "id")?;
    Ok(LetterPlan {
        number: number("id", &id)?,
        fields: parts(planner, merged),
    })
}

/// The number of a dead letter's id.
pub(crate) fn number(argument: &str, id: &str) -> Result<u64, Fault> {
    id.parse().map_err(|_not_a_number| {
        let message =
            format!("`{argument}` is the `id` of a dead letter as `deadLetters` shows it");
        Fault::invalid(message)
    })
}

fn parts<'q>(planner: Planner<'q>, merged: &Merged<'q>) -> Vec<Field<'q, LetterPart>> {
    planner.object(&merged.sets, "DeadLetter", |part| match part.name() {
        "id" => LetterPart::Id,
        "at" => LetterPart::At,
        "client" => LetterPart::Client,
        "topic" => LetterPart::Topic,
        "reason" => LetterPart::Reason,
        "detail" => LetterPart::Detail,
        "size" => LetterPart::Size,
        "payload" => LetterPart::Payload,
        "payloadBase64" => LetterPart::PayloadBase64,
        _ => LetterPart::Typename,
    })
}
