//! Writing dead letters.

use async_graphql::Pos;
use ontology::Value;
use twin_core::store::KeptLetter;

use super::{Run, Written};
use crate::error::{Code, Fault};
use crate::exec::history::History;
use crate::exec::letters::{LetterEdgePart, LetterPart, LetterPlan, LettersPart, LettersPlan};
use crate::exec::order::encode;
use crate::exec::page::Clock;
use crate::exec::plan::{Field, PagePart, Show};

impl<'q> Run<'_, 'q> {
    pub(super) fn letters(&mut self, plan: &LettersPlan<'q>, pos: Pos) -> Written {
        let found = self.stored(|history, clock| history.letters(plan, clock));
        let (page, more) = found.map_err(|fault| self.fail(fault, pos))?;
        self.object(&plan.fields, |run, field| {
            match &field.kind {
                LettersPart::Typename => run.quoted("DeadLetterConnection"),
                LettersPart::Edges(fields) => {
                    return run.array(&page, |run, kept| {
                        run.object(fields, |run, field| run.letter_edge(kept, field))
                    });
                }
                LettersPart::Page(fields) => {
                    return run.object(fields, |run, field| {
                        match field.kind {
                            PagePart::Typename => run.quoted("PageInfo"),
                            PagePart::HasNext => run.json(&more),
                            PagePart::HasPrevious => run.json(&plan.before.is_some()),
                            PagePart::Start => run.letter_cursor(page.first()),
                            PagePart::End => run.letter_cursor(page.last()),
                        }
                        Ok(())
                    });
                }
            }
            Ok(())
        })
    }

    pub(super) fn letter(&mut self, plan: &LetterPlan<'q>, pos: Pos) -> Written {
        let found = self.stored(|history, clock| history.letter(plan.number, clock));
        let Some(kept) = found.map_err(|fault| self.fail(fault, pos))? else {
            self.text("null");
            return Ok(());
        };
        self.object(&plan.fields, |run, field| run.letter_part(&kept, field))
    }

    fn stored<T>(
        &self,
        ask: impl FnOnce(&History, &Clock) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.clock.check()?;
        match &self.history {
            Some(history) => ask(history, &self.clock),
            None => Err(Fault::new(
                Code::Internal,
                "dead letters were not counted in the cost of the question",
            )),
        }
    }

    fn letter_edge(&mut self, kept: &KeptLetter, field: &Field<'q, LetterEdgePart<'q>>) -> Written {
        match &field.kind {
            LetterEdgePart::Typename => self.quoted("DeadLetterEdge"),
            LetterEdgePart::Cursor => self.letter_cursor(Some(kept)),
            LetterEdgePart::Node(fields) => {
                return self.object(fields, |run, field| run.letter_part(kept, field));
            }
        }
        Ok(())
    }

    fn letter_cursor(&mut self, kept: Option<&KeptLetter>) {
        match kept {
            Some(kept) => self.quoted(&kept.number.to_string()),
            None => self.text("null"),
        }
    }

    fn letter_part(&mut self, kept: &KeptLetter, field: &Field<'q, LetterPart>) -> Written {
        let letter = &kept.letter;
        match field.kind {
            LetterPart::Typename => self.quoted("DeadLetter"),
            LetterPart::Id => self.quoted(&kept.number.to_string()),
            LetterPart::At => return self.value(&Show::Plain, &Value::DateTime(letter.at)),
            LetterPart::Client => self.json(&*letter.client),
            LetterPart::Topic => self.json(&*letter.topic),
            LetterPart::Reason => self.json(&*letter.reason),
            LetterPart::Detail => self.json(&letter.detail),
            LetterPart::Size => self.json(&letter.size),
            LetterPart::Payload => self.json(&std::str::from_utf8(&letter.payload).ok()),
            LetterPart::PayloadBase64 => self.quoted(&encode(&letter.payload)),
        }
        Ok(())
    }
}
