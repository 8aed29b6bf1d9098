//! Writing the answer: plans and one view in, JSON bytes out.
//!
//! # Invariants
//! - Everything in one answer is of one [`View`].
//! - A field that fails is `null` with an error that has its path; where it cannot be null, the
//!   nearest field around it that can is, and nothing of it stays in the bytes.
//! - The bytes are bounded, and so is the time.

mod graph;
mod letters;

use std::sync::Arc;

use async_graphql::Pos;
use ontology::{RelationshipKind, Telemetry, Value};
use twin_core::{
    EdgeState, Latest, Position, Receipt, Recorded, TwinRef, TwinState, ValueRef, Values, View,
};

use super::change::{ChangePart, EdgePart as EdgeChangePart, Event, RecordedPart, Subject};
use super::history::{Aggregate, History};
use super::order::Order;
use super::page::{self, Clock, Page, Row};
use super::plan::{
    Connection, ConnectionPart, EdgePart, Field, HistoryPlan, Member, PagePart, Part, PastPart,
    Planner, ReadingPart, RelatedPlan, Show, Twins,
};
use super::root::{ListPlan, NearPart, NearestPlan, Root};
use super::search::{self, FoundPart, SearchPlan};
use super::write::{self, Done, ReceiptPart};
use crate::error::{Code, Fault};
use crate::limits::{MAX_ANSWER_BYTES, MAX_ERRORS};

/// A part of an error's path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'q> {
    Key(&'q str),
    Index(usize),
}

/// An error and where it belongs.
#[derive(Debug)]
pub(crate) struct Reported<'q> {
    pub(crate) fault: Fault,
    pub(crate) path: Vec<Step<'q>>,
}

/// Why writing a field ended early.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// It failed and cannot be null; its error is reported.
    Bubble,
    /// The whole answer ends; its error is reported.
    Abort,
}

type Written = Result<(), Stop>;

/// An answer while it is written.
#[derive(Debug)]
pub(crate) struct Run<'v, 'q> {
    view: &'v View,
    planner: Planner<'q>,
    pub(crate) out: Vec<u8>,
    pub(crate) errors: Vec<Reported<'q>>,
    /// Errors beyond [`MAX_ERRORS`].
    pub(crate) more_errors: usize,
    path: Vec<Step<'q>>,
    clock: Clock,
    /// Where earlier readings are asked for, if any are.
    pub(crate) history: Option<History>,
}

/// How cursors of a list are made.
enum Cursors<'p, 'q> {
    Order(&'p Order),
    Related(&'p RelatedPlan<'q>, TwinRef),
}

impl<'v, 'q> Run<'v, 'q> {
    /// Writes into `out`.
    pub(crate) fn new(view: &'v View, planner: Planner<'q>, clock: Clock, out: Vec<u8>) -> Self {
        Self {
            view,
            planner,
            out,
            errors: Vec::new(),
            more_errors: 0,
            path: Vec::new(),
            clock,
            history: None,
        }
    }

    /// Writes the value of `data`.
    pub(crate) fn query(&mut self, fields: &[Field<'q, Root<'q>>]) {
        self.data(fields, Self::root);
    }

    /// Writes the value of `data` after the fields of a mutation were done.
    pub(crate) fn mutation(&mut self, fields: &[Field<'q, write::Root<'q>>], done: &[Done]) {
        let mut next = done.iter();
        self.data(fields, |run, field| {
            match (&field.kind, next.next()) {
                (write::Root::Do { receipt, .. }, Some(Done::Receipt(done))) => {
                    return run.receipt(receipt, done);
                }
                (_, Some(Done::Refused(fault))) => {
                    let receipts = fields
                        .iter()
                        .zip(done)
                        .filter_map(|(field, done)| match done {
                            Done::Receipt(receipt) => Some((field.key.to_owned(), receipt.clone())),
                            Done::Typename | Done::Refused(_) => None,
                        });
                    let fault = Fault {
                        done: receipts.collect(),
                        ..fault.clone()
                    };
                    return Err(run.fail(fault, field.pos));
                }
                (_, Some(_)) => run.quoted("Mutation"),
                // A refusal before it ended the request, so nobody sees this.
                (_, None) => run.text("null"),
            }
            Ok(())
        });
    }

    fn receipt(&mut self, parts: &[Field<'q, ReceiptPart>], receipt: &Receipt) -> Written {
        self.object(parts, |run, part| {
            match part.kind {
                ReceiptPart::Typename => run.quoted("Receipt"),
                ReceiptPart::Position => run.quoted(&receipt.position.to_string()),
                ReceiptPart::Changes => run.json(&receipt.changes),
                ReceiptPart::Repeated => run.json(&receipt.repeated),
            }
            Ok(())
        })
    }

    /// Writes the value of `data` for an event of a subscription.
    pub(crate) fn event(
        &mut self,
        field: &[Field<'q, Vec<Field<'q, ChangePart<'q>>>>],
        event: &Event<'_>,
    ) {
        self.data(field, |run, field| {
            run.object(&field.kind, |run, part| run.change(event, part))
        });
    }

    fn change(&mut self, event: &Event<'_>, part: &Field<'q, ChangePart<'q>>) -> Written {
        let Event {
            lane,
            next: _,
            kind,
            origin,
            subject,
        } = event;
        match (&part.kind, subject) {
            (ChangePart::Typename, _) => self.quoted("Change"),
            (ChangePart::Position, _) => self.quoted(&event.position().to_string()),
            (ChangePart::Kind, _) => self.quoted(kind.as_str()),
            (ChangePart::At, _) => match origin {
                Some((at, _)) => self.value(&Show::Plain, &Value::DateTime(*at))?,
                None => self.text("null"),
            },
            (ChangePart::Principal, _) => match origin {
                Some((_, principal)) => self.quoted(principal.as_str()),
                None => self.text("null"),
            },
            (ChangePart::Id, subject) => match subject.twin() {
                Some((id, _)) => self.quoted(id.as_str()),
                None => self.text("null"),
            },
            (ChangePart::Class, subject) => match subject.twin() {
                Some((_, class)) => self.quoted(&self.planner.api.class(class).name),
                None => self.text("null"),
            },
            (
                ChangePart::Before(twins),
                Subject::Twin {
                    before: Some(twin), ..
                },
            )
            | (
                ChangePart::After(twins),
                Subject::Twin {
                    after: Some(twin), ..
                },
            ) => return self.nullable(|run| run.state(lane, twin, twins)),
            (ChangePart::Relationship(parts), Subject::Relationship { before, after }) => {
                return self.changed_relationship(parts, *before, *after);
            }
            (ChangePart::Reading(parts), Subject::Reading(reading)) => {
                let arrived = origin.map(|(at, _)| at);
                return self.recorded(parts, reading, arrived);
            }
            (
                ChangePart::Before(_)
                | ChangePart::After(_)
                | ChangePart::Relationship(_)
                | ChangePart::Reading(_),
                _,
            ) => self.text("null"),
        }
        Ok(())
    }

    /// A twin as a change holds it.
    fn state(&mut self, lane: &Arc<str>, twin: &TwinState, twins: &Twins<'q>) -> Written {
        let plan = twins.plan(self.planner, twin.class);
        let class = self.planner.api.class(twin.class);
        self.object(&plan, |run, field| {
            match &field.kind {
                Member::Typename | Member::Class => run.quoted(&class.name),
                Member::Id => run.quoted(twin.id.as_str()),
                Member::Revision => {
                    run.quoted(&Position::of(lane, twin.revision).to_string());
                }
                Member::Geometry => match &twin.geometry {
                    Some(shape) => shape.write_geojson(&mut run.out),
                    None => run.text("null"),
                },
                Member::Property(column, show) => match &twin.values[*column] {
                    Some(value) => run.value(show, value)?,
                    None => run.text("null"),
                },
                // Refused when the subscription began.
                Member::Null | Member::Reading(..) | Member::One(..) | Member::Related(_) => {
                    run.text("null");
                }
                Member::Failed(fault) => return Err(run.fail(fault.clone(), field.pos)),
            }
            Ok(())
        })
    }

    fn changed_relationship<'e>(
        &mut self,
        parts: &[Field<'q, EdgeChangePart>],
        before: Option<&'e EdgeState>,
        after: Option<&'e EdgeState>,
    ) -> Written {
        let Some(edge) = after.or(before) else {
            self.text("null");
            return Ok(());
        };
        let kind = self.planner.api.ontology.relationship(edge.relationship);
        self.object(parts, |run, part| {
            let values = |edge: Option<&'e EdgeState>| edge.map(|edge| &edge.values);
            match part.kind {
                EdgeChangePart::Typename => run.quoted("ChangedRelationship"),
                EdgeChangePart::Name => run.quoted(&kind.name),
                EdgeChangePart::Source => run.quoted(edge.source.as_str()),
                EdgeChangePart::Target => run.quoted(edge.target.as_str()),
                EdgeChangePart::Properties => run.properties(kind, values(after)),
                EdgeChangePart::Before => run.properties(kind, values(before)),
            }
            Ok(())
        })
    }

    fn recorded(
        &mut self,
        parts: &[Field<'q, RecordedPart>],
        reading: &Recorded,
        arrived: Option<i64>,
    ) -> Written {
        let telemetry =
            &self.planner.api.class(reading.class).telemetry[reading.telemetry as usize];
        self.object(parts, |run, part| {
            match part.kind {
                RecordedPart::Typename => run.quoted("RecordedReading"),
                RecordedPart::Telemetry => run.quoted(&telemetry.name),
                RecordedPart::Value => run.value(&Show::Plain, &reading.value)?,
                RecordedPart::Unit => run.json(&telemetry.unit.as_deref()),
                RecordedPart::Ts => run.value(&Show::Plain, &Value::DateTime(reading.ts))?,
                RecordedPart::Arrived => match arrived {
                    Some(at) => run.value(&Show::Plain, &Value::DateTime(at))?,
                    None => run.text("null"),
                },
            }
            Ok(())
        })
    }

    /// An object that is null as a whole if something in it fails and cannot be null.
    fn data<K>(
        &mut self,
        fields: &[Field<'q, K>],
        write: impl FnMut(&mut Self, &Field<'q, K>) -> Written,
    ) {
        let start = self.out.len();
        if self.object(fields, write).is_err() {
            self.out.truncate(start);
            self.text("null");
        }
    }

    fn root(&mut self, field: &Field<'q, Root<'q>>) -> Written {
        match &field.kind {
            Root::Typename => self.quoted("Query"),
            Root::Position => self.quoted(&self.view.position().to_string()),
            Root::Twin(None, _) => self.text("null"),
            Root::Twin(Some(twin), twins) => return self.nullable(|run| run.twin(*twin, twins)),
            Root::List(plan) => return self.list(plan, field.pos),
            Root::Nearest(plan) => return self.nearest(plan, field.pos),
            Root::Containing(found, twins) => {
                return self.array(found, |run, twin| run.twin(*twin, twins));
            }
            Root::Traverse(plan) => {
                let page = page::traverse(self.view, plan, &self.clock);
                let page = page.map_err(|fault| self.fail(fault, field.pos))?;
                let order = Order::default();
                return self.connection(&plan.connection, &page, &Cursors::Order(&order));
            }
            Root::Path(plan) => return self.nullable(|run| run.path(plan, field.pos)),
            Root::Letters(plan) => return self.letters(plan, field.pos),
            Root::Letter(plan) => return self.nullable(|run| run.letter(plan, field.pos)),
            Root::Aggregate(plan) => return self.aggregate(plan, field.pos),
            Root::Search(plan) => return self.search(plan, field.pos),
            Root::Failed(fault, nullable) => {
                let stop = self.fail(fault.clone(), field.pos);
                if !nullable {
                    return Err(stop);
                }
                self.text("null");
            }
        }
        Ok(())
    }

    fn list(&mut self, plan: &ListPlan<'q>, pos: Pos) -> Written {
        let page = page::list(self.planner.api, self.view, plan, &self.clock);
        let page = page.map_err(|fault| self.fail(fault, pos))?;
        self.connection(&plan.connection, &page, &Cursors::Order(&plan.order))
    }

    fn nearest(&mut self, plan: &NearestPlan<'q>, pos: Pos) -> Written {
        let found = page::nearest(self.view, plan, &self.clock);
        let found = found.map_err(|fault| self.fail(fault, pos))?;
        self.array(&found, |run, (twin, metres)| {
            run.object(&plan.fields, |run, field| {
                match &field.kind {
                    NearPart::Typename => run.quoted("Near"),
                    NearPart::Twin(twins) => return run.twin(*twin, twins),
                    NearPart::Metres => run.json(metres),
                }
                Ok(())
            })
        })
    }

    fn search(&mut self, plan: &SearchPlan<'q>, pos: Pos) -> Written {
        let found = search::search(self.planner.api, self.view, plan, &self.clock);
        let found = found.map_err(|fault| self.fail(fault, pos))?;
        self.array(&found, |run, (twin, matched)| {
            run.object(&plan.fields, |run, field| {
                match &field.kind {
                    FoundPart::Typename => run.quoted("Found"),
                    FoundPart::Twin(twins) => return run.twin(*twin, twins),
                    FoundPart::Matched => run.quoted(matched.as_str()),
                }
                Ok(())
            })
        })
    }

    fn twin(&mut self, twin: TwinRef, twins: &Twins<'q>) -> Written {
        if !self.clock.tick()
            && let Err(fault) = self.clock.check()
        {
            return Err(self.abort(fault));
        }
        let plan = twins.plan(self.planner, self.view.class_id(twin));
        self.object(&plan, |run, field| run.member(twin, field))
    }

    fn member(&mut self, twin: TwinRef, field: &Field<'q, Member<'q>>) -> Written {
        let view = self.view;
        match &field.kind {
            Member::Typename | Member::Class => self.quoted(&view.class(twin).name),
            // An id is of characters that need no escape.
            Member::Id => self.quoted(view.id(twin).as_str()),
            Member::Revision => self.quoted(&view.revision(twin).to_string()),
            Member::Null => self.text("null"),
            Member::Geometry => match view.shape(twin) {
                Some(shape) => shape.write_geojson(&mut self.out),
                None => self.text("null"),
            },
            Member::Property(column, show) => match view.value_ref(twin, *column) {
                Some(value) => self.value_ref(show, value)?,
                None => self.text("null"),
            },
            Member::Reading(telemetry, parts) => match view.latest(twin, *telemetry) {
                Some(latest) => {
                    self.reading(parts, twin, *telemetry, latest)?;
                }
                None => self.text("null"),
            },
            Member::One(relationship, twins) => {
                let related = view.related(twin, *relationship, twin_core::Direction::Out);
                // The model allows one; were there more, the lowest id is the answer.
                match related.min_by(|a, b| view.by_id(*a, *b)) {
                    Some(target) => self.nullable(|run| run.twin(target, twins))?,
                    None => self.text("null"),
                }
            }
            Member::Related(plan) => {
                let page = page::related(self.planner.api, view, twin, plan, &self.clock);
                let page = page.map_err(|fault| self.fail(fault, field.pos))?;
                self.connection(&plan.connection, &page, &Cursors::Related(plan, twin))?;
            }
            Member::Failed(fault) => return Err(self.fail(fault.clone(), field.pos)),
        }
        Ok(())
    }

    fn value(&mut self, show: &Show<'q>, value: &Value) -> Written {
        match (show, value) {
            (Show::Object(parts), Value::Object(values)) => {
                return self.object(parts, |run, part| match &part.kind {
                    Part::Typename(name) => {
                        run.quoted(name);
                        Ok(())
                    }
                    Part::Field(name, show) => {
                        if let Some(value) = values.get(name) {
                            return run.value(show, value);
                        }
                        run.text("null");
                        Ok(())
                    }
                });
            }
            (Show::List(show), Value::List(items)) => {
                return self.array(items, |run, item| run.value(show, item));
            }
            (_, Value::Bool(value)) => return self.value_ref(show, ValueRef::Bool(*value)),
            (_, Value::Int(value)) => return self.value_ref(show, ValueRef::Int(*value)),
            (_, Value::Double(value)) => return self.value_ref(show, ValueRef::Double(*value)),
            (_, Value::Text(text) | Value::Duration(text)) => {
                return self.value_ref(show, ValueRef::Text(text));
            }
            (_, other) => self.json(&other.to_json()),
        }
        Ok(())
    }

    fn value_ref(&mut self, show: &Show<'q>, value: ValueRef<'_>) -> Written {
        match (show, value) {
            (_, ValueRef::Other(value)) => return self.value(show, value),
            (Show::BigInt, ValueRef::Int(number)) => self.quoted(&number.to_string()),
            (_, ValueRef::Bool(value)) => self.text(if value { "true" } else { "false" }),
            (_, ValueRef::Int(value)) => self.json(&value),
            (_, ValueRef::Double(value)) => self.json(&value),
            (_, ValueRef::Text(text)) if is_plain(text) => self.quoted(text),
            (_, ValueRef::Text(text)) => self.json(text),
        }
        Ok(())
    }

    fn reading(
        &mut self,
        parts: &[Field<'q, ReadingPart<'q>>],
        twin: TwinRef,
        telemetry: usize,
        latest: &Latest,
    ) -> Written {
        let model = &self.view.class(twin).telemetry[telemetry];
        let instant = |micros| Value::DateTime(micros);
        self.object(parts, |run, part| {
            match &part.kind {
                ReadingPart::Typename => run.quoted("Reading"),
                ReadingPart::Value => run.value(&Show::Plain, &latest.value)?,
                ReadingPart::Unit => run.json(&model.unit.as_deref()),
                ReadingPart::Ts => run.value(&Show::Plain, &instant(latest.ts))?,
                ReadingPart::Arrived => run.value(&Show::Plain, &instant(latest.arrived))?,
                ReadingPart::History(plan) => return run.past(plan, twin, model, part.pos),
                ReadingPart::Failed(fault) => return Err(run.fail(fault.clone(), part.pos)),
            }
            Ok(())
        })
    }

    fn past(
        &mut self,
        plan: &HistoryPlan<'q>,
        twin: TwinRef,
        telemetry: &Telemetry,
        pos: Pos,
    ) -> Written {
        let found = match &mut self.history {
            Some(history) => history.readings(self.view, twin, &telemetry.name, plan, &self.clock),
            None => Err(Fault::new(
                Code::Internal,
                "history was not counted in the cost of the question",
            )),
        };
        let found = found.map_err(|fault| match fault.code {
            // There is no more of it for the twins that follow either.
            Code::TooCostly | Code::Timeout => self.abort(fault.at(pos)),
            _ => self.fail(fault, pos),
        })?;
        self.array(&found, |run, reading| {
            run.object(&plan.fields, |run, part| {
                match part.kind {
                    PastPart::Typename => run.quoted("PastReading"),
                    PastPart::Value => run.value(&Show::Plain, &reading.value)?,
                    PastPart::Unit => match plan.windows {
                        // How many there are is no length, weight or heat.
                        Some((_, Aggregate::Count)) => run.json(&()),
                        _ => run.json(&telemetry.unit.as_deref()),
                    },
                    PastPart::Ts => run.value(&Show::Plain, &Value::DateTime(reading.ts))?,
                    PastPart::Arrived => match reading.arrived {
                        Some(arrived) => run.value(&Show::Plain, &Value::DateTime(arrived))?,
                        None => run.json(&()),
                    },
                }
                Ok(())
            })
        })
    }

    fn connection(
        &mut self,
        plan: &Connection<'q>,
        page: &Page,
        cursors: &Cursors<'_, 'q>,
    ) -> Written {
        self.object(&plan.fields, |run, field| {
            match &field.kind {
                ConnectionPart::Typename => run.typename(&plan.prefix, "Connection"),
                ConnectionPart::Total => run.json(&page.total),
                ConnectionPart::Edges(fields) => {
                    return run.array(&page.rows, |run, row| {
                        run.object(fields, |run, field| run.edge(plan, *row, cursors, field))
                    });
                }
                ConnectionPart::Page(fields) => {
                    return run.object(fields, |run, field| {
                        match field.kind {
                            PagePart::Typename => run.quoted("PageInfo"),
                            PagePart::HasNext => run.json(&page.has_next),
                            PagePart::HasPrevious => run.json(&page.has_previous),
                            PagePart::Start => run.cursor(page.rows.first(), cursors),
                            PagePart::End => run.cursor(page.rows.last(), cursors),
                        }
                        Ok(())
                    });
                }
            }
            Ok(())
        })
    }

    fn edge(
        &mut self,
        plan: &Connection<'q>,
        row: Row,
        cursors: &Cursors<'_, 'q>,
        field: &Field<'q, EdgePart<'q>>,
    ) -> Written {
        match &field.kind {
            EdgePart::Typename => self.typename(&plan.prefix, "Edge"),
            EdgePart::Cursor => self.cursor(Some(&row), cursors),
            EdgePart::Node(twins) => return self.twin(row.twin, twins),
            EdgePart::Relationship => {
                let name = row
                    .via
                    .map(|via| &*self.planner.api.ontology.relationship(via).name);
                self.quoted(name.unwrap_or_default());
            }
            EdgePart::Direction => {
                if let Cursors::Related(plan, _) = cursors {
                    self.quoted(page::direction_name(plan.direction));
                } else {
                    self.text("null");
                }
            }
            EdgePart::Properties => self.relationship_properties(row, cursors),
        }
        Ok(())
    }

    fn relationship_properties(&mut self, row: Row, cursors: &Cursors<'_, 'q>) {
        let (Cursors::Related(plan, twin), Some(via)) = (cursors, row.via) else {
            return self.text("null");
        };
        let (source, target) = match plan.direction {
            twin_core::Direction::Out => (*twin, row.twin),
            twin_core::Direction::In => (row.twin, *twin),
        };
        let kind = self.planner.api.ontology.relationship(via);
        self.properties(kind, self.view.relationship(via, source, target));
    }

    /// Properties of a relationship; null if it has none.
    fn properties(&mut self, kind: &RelationshipKind, values: Option<&Values>) {
        let values = values.into_iter().flat_map(|values| values.iter());
        let mut any = false;
        for (property, value) in kind.properties.iter().zip(values) {
            let Some(value) = value else { continue };
            self.out.push(if any { b',' } else { b'{' });
            any = true;
            self.json(&*property.name);
            self.out.push(b':');
            self.json(&value.to_json());
        }
        self.text(if any { "}" } else { "null" });
    }

    fn cursor(&mut self, row: Option<&Row>, cursors: &Cursors<'_, 'q>) {
        match (row, cursors) {
            (None, _) => self.text("null"),
            (Some(row), Cursors::Order(order)) => {
                let cursor = order.cursor(&order.place(self.view, row.twin));
                self.quoted(&cursor);
            }
            (Some(row), Cursors::Related(..)) => {
                let cursor = page::related_cursor(self.planner.api, self.view, *row);
                self.quoted(&cursor);
            }
        }
    }

    /// An object of planned fields.
    fn object<K>(
        &mut self,
        fields: &[Field<'q, K>],
        mut write: impl FnMut(&mut Self, &Field<'q, K>) -> Written,
    ) -> Written {
        self.out.push(b'{');
        for (i, field) in fields.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            if self.out.len() > MAX_ANSWER_BYTES {
                let fault = Fault::too_costly(format!(
                    "the answer is larger than {MAX_ANSWER_BYTES} bytes (MAX_ANSWER_BYTES): ask for fewer twins or fields"
                ));
                return Err(self.abort(fault));
            }
            self.out.extend_from_slice(field.head.as_bytes());
            self.path.push(Step::Key(field.key));
            write(self, field)?;
            self.path.pop();
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T) -> Written,
    ) -> Written {
        self.out.push(b'[');
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            self.path.push(Step::Index(i));
            write(self, item)?;
            self.path.pop();
        }
        self.out.push(b']');
        Ok(())
    }

    /// A value that may be null: if something in it fails and bubbles, it is.
    fn nullable(&mut self, write: impl FnOnce(&mut Self) -> Written) -> Written {
        let (start, depth) = (self.out.len(), self.path.len());
        match write(self) {
            Err(Stop::Bubble) => {
                self.out.truncate(start);
                self.path.truncate(depth);
                self.text("null");
                Ok(())
            }
            other => other,
        }
    }

    fn fail(&mut self, fault: Fault, pos: Pos) -> Stop {
        self.report(fault.at(pos));
        Stop::Bubble
    }

    fn abort(&mut self, fault: Fault) -> Stop {
        self.report(fault);
        Stop::Abort
    }

    fn report(&mut self, fault: Fault) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(Reported {
                fault,
                path: self.path.clone(),
            });
        } else {
            self.more_errors += 1;
        }
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn typename(&mut self, prefix: &str, kind: &str) {
        self.out.push(b'"');
        self.text(prefix);
        self.text(kind);
        self.out.push(b'"');
    }

    /// A text of ours that needs no escape: names, ids, cursors.
    fn quoted(&mut self, text: &str) {
        debug_assert!(is_plain(text), "{text} needs an escape");
        // One growth at most, where each piece would ask for room again.
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        self.text(text);
        self.out.push(b'"');
    }

    fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        write_json(&mut self.out, value);
    }
}

/// Whether a text is the same as JSON, between its quotes.
fn is_plain(text: &str) -> bool {
    // All bytes are looked at, since that is done many at a time.
    let escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    !text.bytes().fold(false, |any, byte| any | escaped(byte))
}

/// Appends a value as JSON.
#[expect(
    clippy::expect_used,
    reason = "memory takes every byte, and our values have text keys"
)]
pub(crate) fn write_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("values of ours are JSON");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_text_is_one_that_json_writes_as_it_is() {
        for text in [
            "",
            "Kigali",
            "a\"b",
            "a\\b",
            "a\nb",
            "\u{0}",
            "\u{1f}",
            "\u{7f}",
            "Église ☃",
        ] {
            let mut written = Vec::new();
            write_json(&mut written, text);
            assert_eq!(
                is_plain(text),
                written == format!("\"{text}\"").into_bytes(),
                "{text:?}"
            );
        }
    }
}
