//! Reading dead letters back.
//!
//! The newest so many are kept, each at the place of its number, so a range of numbers is a list of
//! record ids and needs no scan.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ontology::{Schema, Value as Typed};
use surrealdb::types::{Array, Object, RecordId, Value};
use twin_core::store::{KeptLetter, StoreError};
use twin_core::{DeadLetter, MAX_DEAD_LETTERS};

use crate::database::{damaged, offset_key, variables};
use crate::load::integer;
use crate::surreal::SurrealStore;
use crate::tables::DEAD_LETTER;
use crate::values::from_stored;

impl SurrealStore {
    pub(crate) async fn letters(
        &self,
        lane: &str,
        before: u64,
        limit: usize,
    ) -> Result<Vec<KeptLetter>, StoreError> {
        let next = self.next_letter.load(Ordering::Relaxed);
        let end = before.min(next);
        let oldest = next.saturating_sub(MAX_DEAD_LETTERS);
        let start = end.saturating_sub(limit as u64).max(oldest);
        let places = (start..end).map(|number| {
            let place = offset_key(lane, &[number % MAX_DEAD_LETTERS]);
            Value::RecordId(RecordId::new(DEAD_LETTER, place))
        });
        let places: Vec<_> = places.collect();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let vars = variables([("places", Value::Array(Array::from(places)))]);
        let found = self
            .database
            .run("SELECT * FROM $places", vars)
            .await?
            .pop();
        let Some(Value::Array(rows)) = found else {
            return Ok(Vec::new());
        };
        let mut letters = Vec::new();
        for row in rows {
            let Value::Object(row) = row else { continue };
            let letter = read_letter(row)?;
            // Its place may have been given to a newer one meanwhile.
            if (start..end).contains(&letter.number) {
                letters.push(letter);
            }
        }
        letters.sort_unstable_by_key(|letter| std::cmp::Reverse(letter.number));
        Ok(letters)
    }
}

fn read_letter(mut row: Object) -> Result<KeptLetter, StoreError> {
    let number = integer(DEAD_LETTER, &row, "number")?.cast_unsigned();
    let wrong = |field: &str| {
        let what = format!("letter {number}, whose `{field}` is missing or of another kind");
        damaged(DEAD_LETTER, what)
    };
    let at = row.remove("at").ok_or_else(|| wrong("at"))?;
    let Ok(Typed::DateTime(at)) = from_stored(&Schema::DateTime, at) else {
        return Err(wrong("at"));
    };
    let size = integer(DEAD_LETTER, &row, "size")?.cast_unsigned();
    let payload = match row.remove("payload") {
        Some(Value::String(text)) => text.into_bytes(),
        Some(Value::Bytes(bytes)) => bytes.to_vec(),
        _ => return Err(wrong("payload")),
    };
    let mut text = |field: &str| match row.remove(field) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(wrong(field)),
    };
    Ok(KeptLetter {
        number,
        letter: DeadLetter {
            at,
            client: Arc::from(text("client")?),
            topic: Arc::from(text("topic")?),
            payload: payload.into(),
            size,
            reason: Arc::from(text("reason")?),
            detail: text("detail")?,
        },
    })
}
