//! The newest readings, in pages: a start reads these and the end of the journal.
//!
//! # Invariants
//! - The pages of one epoch are in one table; those of an epoch count once all of them were written.
//! - A page that is not written again says what still holds of its twins, or speaks of twins that
//!   are gone.

use surrealdb::types::{Array, Bytes, Object, RecordId, RecordIdKey, Value};
use twin_core::history::{KeptLatest, Tend};
use twin_core::store::{Loaded, Sink, StoreError};

use super::Step;
use crate::codec;
use crate::database::{damaged, int, variables};
use crate::surreal::SurrealStore;

/// Bytes of pages that are written in one transaction.
const WRITE_BYTES: usize = 1 << 20;

/// The table of an epoch's pages.
pub(super) fn table(lane: &str, epoch: u64) -> String {
    format!("_latest_{lane}_{epoch}")
}

/// Whether a table is one of newest readings.
pub(super) fn owns(table: &str) -> bool {
    table.starts_with("_latest_")
}

impl SurrealStore {
    /// Writes the pages that changed, and then that they are kept up to an offset.
    pub(super) async fn keep_latest(&self, tend: &Tend<'_>) -> Result<(), StoreError> {
        let history = self.lane_history(tend.lane).await?;
        if history.latest == Some(tend.epoch) && history.kept == tend.upto {
            return Ok(());
        }
        let table = table(tend.lane, tend.epoch);
        let define = format!("DEFINE TABLE IF NOT EXISTS `{table}` SCHEMALESS PERMISSIONS NONE;");
        self.fenced(tend.lane, tend.epoch, &define, variables([]))
            .await?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let mut pages = tend.latest.iter().peekable();
        while let Some(page) = pages.next() {
            let packed = codec::encode_latest(page, &self.ontology);
            bytes += packed.len();
            let key = vec![
                Value::String(self.ontology.class(page.class).name.to_string()),
                int(u64::from(page.page)),
            ];
            let mut row = Object::new();
            let id = RecordId::new(&*table, RecordIdKey::Array(Array::from(key)));
            row.insert("id", Value::RecordId(id));
            row.insert("data", Value::Bytes(Bytes::from(packed)));
            rows.push(Value::Object(row));
            if bytes < WRITE_BYTES && pages.peek().is_some() {
                continue;
            }
            bytes = 0;
            let rows = Value::Array(Array::from(std::mem::take(&mut rows)));
            let text = format!(
                "INSERT INTO `{table}` $rows ON DUPLICATE KEY UPDATE data = $input.data RETURN NONE;"
            );
            let vars = variables([("rows", rows)]);
            self.fenced(tend.lane, tend.epoch, &text, vars).await?;
        }
        if history.latest != Some(tend.epoch) && !tend.complete {
            return Ok(()); // Others count until all were written by this epoch.
        }
        let step = Step {
            kept: Some((tend.upto, tend.epoch)),
            ..Step::default()
        };
        self.step(tend.lane, tend.epoch, step).await?;
        match history.latest {
            Some(earlier) if earlier != tend.epoch => {
                let table = self::table(tend.lane, earlier);
                self.drop_table(tend.lane, tend.epoch, &table)
                    .await
                    .map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Hands the newest readings over; the offset from which the journal has to be read.
    pub(crate) async fn load_latest(
        &self,
        lane: &str,
        sink: &mut Sink<'_>,
    ) -> Result<u64, StoreError> {
        let history = self.lane_history(lane).await?;
        let Some(epoch) = history.latest else {
            return Ok(0);
        };
        let table = table(lane, epoch);
        self.rows("id, data", &table, |row| {
            let Some(Value::Bytes(bytes)) = row.get("data") else {
                return Err(damaged(&table, "a row without data"));
            };
            let (latest, foreign) = codec::decode_latest(bytes, &self.ontology)
                .map_err(|error| damaged(&table, error))?;
            for KeptLatest {
                reading,
                arrived,
                offset,
            } in latest
            {
                sink(Loaded::Reading {
                    reading,
                    arrived,
                    offset,
                })?;
            }
            if foreign > 0 {
                sink(Loaded::Foreign { readings: foreign })?;
            }
            Ok(())
        })
        .await?;
        Ok(history.kept)
    }
}
