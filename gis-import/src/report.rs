//! What an import did: counts, and every refusal and warning with its place and reason.
//!
//! # Invariants
//! - `read == skipped + refused features + features imported`; nothing that was read is not counted.
//! - Refusals and warnings are counted fully, by reason; only the first [`MAX_LISTED`] of each are
//!   kept one by one, and of reasons the first [`MAX_REASONS`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

/// Most refusals, and most warnings, listed one by one.
pub const MAX_LISTED: usize = 1_000;
/// Most different reasons counted apart; what comes after counts as `other`.
pub const MAX_REASONS: usize = 200;

/// A refusal or warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Where in the source: `feature 12 (line 13)`.
    pub place: String,
    /// Id of the twin, where it got that far.
    pub twin: Option<Arc<str>>,
    /// What is counted together: the reason without what differs from feature to feature.
    pub kind: &'static str,
    /// The whole reason.
    pub reason: String,
}

/// Refusals or warnings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Notes {
    /// All of them.
    pub count: u64,
    /// How many of each kind.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// The first ones.
    pub listed: Vec<Note>,
}

/// Twins by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// They were not there before.
    pub created: u64,
    /// They were there and changed, relationships included.
    pub updated: u64,
    /// They already were so.
    pub unchanged: u64,
}

/// What an import did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the set.
    pub set: Arc<str>,
    /// Whether nothing was written: the counts say what an import would do.
    pub dry_run: bool,
    /// The file that was read, empty where the set comes from none.
    pub file: String,
    /// Features read.
    pub read: u64,
    /// Features that no rule of the mapping is for.
    pub skipped: u64,
    /// Twins that were not there before.
    pub created: u64,
    /// Twins that were there and changed, relationships included.
    pub updated: u64,
    /// Twins that already were so.
    pub unchanged: u64,
    /// The same by class.
    pub classes: BTreeMap<Arc<str>, Counts>,
    /// Relationships asked for and there now.
    pub related: u64,
    /// Those of them that were there before.
    pub already_related: u64,
    /// Changes that the twin recorded; 0 where everything already was so.
    pub changes: u64,
    /// Features and relationships that were refused.
    pub refused: Notes,
    /// Values and relationships that were left out of features that were taken.
    pub warnings: Notes,
    /// How long it took.
    #[serde(rename = "elapsed_ms", serialize_with = "millis")]
    pub elapsed: Duration,
}

fn millis<S: serde::Serializer>(elapsed: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(elapsed.as_millis() as u64)
}

impl Notes {
    pub(crate) fn add(&mut self, note: Note) {
        self.count += 1;
        let known = self.by_kind.len() < MAX_REASONS || self.by_kind.contains_key(note.kind);
        *self
            .by_kind
            .entry(if known { note.kind } else { "other" })
            .or_default() += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(note);
        }
    }
}

impl Report {
    /// The report as JSON, for programs.
    pub fn to_json(&self) -> serde_json::Value {
        // Only numbers, texts and maps with text keys: this cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    pub(crate) fn count(&mut self, class: Arc<str>, counts: Counts) {
        let Counts {
            created,
            updated,
            unchanged,
        } = counts;
        let sum = self.classes.entry(class).or_default();
        sum.created += created;
        sum.updated += updated;
        sum.unchanged += unchanged;
        self.created += created;
        self.updated += updated;
        self.unchanged += unchanged;
    }

    /// Twins that are there now: created, updated or unchanged.
    pub fn twins(&self) -> u64 {
        self.created + self.updated + self.unchanged
    }
}

/// Refusals, and warnings, that the text form lists one by one.
pub const LISTED_IN_TEXT: usize = 5;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            f.write_str("dry run of ")?;
        }
        write!(
            f,
            "{}: {} read, {} created, {} updated, {} unchanged, {} relationships",
            self.set, self.read, self.created, self.updated, self.unchanged, self.related
        )?;
        if self.already_related > 0 {
            write!(f, " ({} there already)", self.already_related)?;
        }
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        write!(f, ", {} refused", self.refused.count)?;
        if self.warnings.count > 0 {
            write!(f, ", {} warnings", self.warnings.count)?;
        }
        write!(f, " in {:.1} s", self.elapsed.as_secs_f64())?;
        if self.changes == 0 {
            f.write_str("; nothing changed")?;
        }
        for (what, notes) in [("refused", &self.refused), ("warning", &self.warnings)] {
            for (kind, count) in &notes.by_kind {
                write!(f, "\n  {what}: {count} x {kind}")?;
            }
            for Note {
                place,
                twin,
                kind: _,
                reason,
            } in notes.listed.iter().take(LISTED_IN_TEXT)
            {
                write!(f, "\n    {place}")?;
                if let Some(twin) = twin {
                    write!(f, ", {twin}")?;
                }
                write!(f, ": {reason}")?;
            }
            let more = notes.count.saturating_sub(LISTED_IN_TEXT as u64);
            if more > 0 {
                write!(f, "\n    and {more} more")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_though_not_everything_is_listed() {
        let mut report = Report {
            set: "s".into(),
            ..Report::default()
        };
        for n in 0..MAX_LISTED + 10 {
            report.refused.add(Note {
                place: format!("feature {n}"),
                twin: None,
                kind: "no id",
                reason: "column `id` has no value".to_owned(),
            });
        }
        assert_eq!(report.refused.count, MAX_LISTED as u64 + 10);
        assert_eq!(report.refused.by_kind["no id"], report.refused.count);
        assert_eq!(report.refused.listed.len(), MAX_LISTED);
        let text = report.to_string();
        assert!(
            text.contains("1010 x no id") && text.contains("and 1005 more"),
            "{text}"
        );
        assert_eq!(report.to_json()["refused"]["count"], 1010);
    }
}
