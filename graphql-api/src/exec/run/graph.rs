//! Writing paths and aggregates.

use async_graphql::Pos;
use ontology::Value;
use twin_core::{Link, Path};

use super::{Run, Written};
use crate::exec::aggregate::{self, AggregatePlan, AggregateRow, KeyPart, RowPart};
use crate::exec::group::{Group, Part};
use crate::exec::measure::{Measure, Measured};
use crate::exec::path::{self, LinkPart, PathPart, PathPlan};
use crate::exec::plan::{Field, Show};

impl<'q> Run<'_, 'q> {
    pub(super) fn path(&mut self, plan: &PathPlan<'q>, pos: Pos) -> Written {
        let found = path::find(self.view, plan, &self.clock);
        let found = found.map_err(|fault| self.fail(fault, pos))?;
        let Some(path) = found else {
            self.text("null");
            return Ok(());
        };
        self.object(&plan.fields, |run, field| run.path_part(&path, field))
    }

    fn path_part(&mut self, path: &Path, field: &Field<'q, PathPart<'q>>) -> Written {
        match &field.kind {
            PathPart::Typename => self.quoted("Path"),
            PathPart::Twins(twins) => {
                return self.array(&path.twins, |run, twin| run.twin(*twin, twins));
            }
            PathPart::Relationships(parts) => {
                return self.array(&path.links, |run, link| run.link(link, parts));
            }
            PathPart::Total => self.json(&path.total),
        }
        Ok(())
    }

    fn link(&mut self, link: &Link, parts: &[Field<'q, LinkPart>]) -> Written {
        let view = self.view;
        let kind = self.planner.api.ontology.relationship(link.relationship);
        self.object(parts, |run, part| {
            match part.kind {
                LinkPart::Typename => run.quoted("PathRelationship"),
                LinkPart::Name => run.quoted(&kind.name),
                LinkPart::Source => run.quoted(view.id(link.source).as_str()),
                LinkPart::Target => run.quoted(view.id(link.target).as_str()),
                LinkPart::Weight => run.json(&link.weight),
                LinkPart::Properties => {
                    let Link {
                        relationship,
                        source,
                        target,
                        ..
                    } = *link;
                    run.properties(kind, view.relationship(relationship, source, target));
                }
            }
            Ok(())
        })
    }

    pub(super) fn aggregate(&mut self, plan: &AggregatePlan<'q>, pos: Pos) -> Written {
        let rows = aggregate::rows(
            self.planner.api,
            self.view,
            plan,
            &self.clock,
            self.history.as_mut(),
        );
        let rows = rows.map_err(|fault| self.fail(fault, pos))?;
        self.array(&rows, |run, row| {
            run.object(&plan.fields, |run, field| run.row_part(plan, row, field))
        })
    }

    fn row_part(
        &mut self,
        plan: &AggregatePlan<'q>,
        row: &AggregateRow,
        field: &Field<'q, RowPart<'q>>,
    ) -> Written {
        match &field.kind {
            RowPart::Typename => self.quoted("AggregateRow"),
            RowPart::Group(fields) => {
                let keys: Vec<_> = plan.by.iter().zip(&row.group).collect();
                return self.array(&keys, |run, (group, part)| {
                    run.object(fields, |run, field| run.key(group, part, field))
                });
            }
            RowPart::Values => {
                let values: Vec<_> = plan.measures.iter().zip(&row.values).collect();
                return self.array(&values, |run, (measure, value)| {
                    run.measured(measure, **value);
                    Ok(())
                });
            }
        }
        Ok(())
    }

    fn key(&mut self, group: &Group, part: &Part, field: &Field<'q, KeyPart<'q>>) -> Written {
        let view = self.view;
        match (&field.kind, part) {
            (KeyPart::Typename, _) => self.quoted("GroupKey"),
            (KeyPart::Twin(twins), Part::Area(area)) => {
                return self.nullable(|run| run.twin(*area, twins));
            }
            (KeyPart::Twin(_), _) | (KeyPart::Value, Part::Absent) => self.text("null"),
            (KeyPart::Value, Part::Window(start)) => {
                return self.value(&Show::Plain, &Value::DateTime(*start));
            }
            (KeyPart::Value, Part::Class(class)) => {
                self.quoted(&self.planner.api.class(*class).name);
            }
            (KeyPart::Value, Part::Value(value)) => {
                let show = if group.is_wide() {
                    Show::BigInt
                } else {
                    Show::Plain
                };
                return self.value(&show, value);
            }
            (KeyPart::Value, Part::Area(area)) => self.quoted(view.id(*area).as_str()),
            (KeyPart::Value, Part::Cell(cell)) => self.quoted(&cell.to_string()),
        }
        Ok(())
    }

    fn measured(&mut self, measure: &Measure, value: Measured) {
        match value {
            Measured::Nothing => self.text("null"),
            Measured::Whole(number) if measure.wide => self.quoted(&number.to_string()),
            Measured::Whole(number) => self.text(&number.to_string()),
            Measured::Real(number) => self.json(&number),
        }
    }
}
