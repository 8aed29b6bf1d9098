//! What is wrong with packs: every problem with its file, place, reason and remedy.
//!
//! # Invariants
//! - A problem's span lies inside its source's text, so rendering it cannot fail.
//! - At most [`MAX_PROBLEMS`] are kept; the rest are counted.
//! - Problems are sorted by file, then place.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode, SourceSpan};

/// Problems kept of one compilation; beyond it they are only counted.
pub(crate) const MAX_PROBLEMS: usize = 1_000;

/// Whether a problem keeps the ontology from existing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The packs cannot be used.
    Error,
    /// The packs can be used; what is named does not work as its author may expect.
    Warning,
}

/// A text that problems point into.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) file: Arc<str>,
    pub(crate) text: Arc<str>,
}

/// A name or other short text with its place in its origin.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) text: Arc<str>,
    pub(crate) span: Range<usize>,
}

/// One problem in one place.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{file}:{line}:{column}: {reason}")]
pub struct Problem {
    severity: Severity,
    file: Arc<str>,
    line: usize,
    column: usize,
    reason: String,
    help: Option<String>,
    span: SourceSpan,
    source_text: NamedSource<Arc<str>>,
}

impl Problem {
    pub(crate) fn new(
        severity: Severity,
        origin: &Origin,
        span: Range<usize>,
        reason: String,
    ) -> Self {
        let text = &*origin.text;
        let start = floor_char_boundary(text, span.start);
        let end = floor_char_boundary(text, span.end).max(start);
        let before = text.get(..start).unwrap_or_default();
        Self {
            severity,
            file: Arc::clone(&origin.file),
            line: before.matches('\n').count() + 1,
            column: before
                .rsplit('\n')
                .next()
                .unwrap_or_default()
                .chars()
                .count()
                + 1,
            reason,
            help: None,
            span: SourceSpan::new(start.into(), end - start),
            source_text: NamedSource::new(&*origin.file, Arc::clone(&origin.text)),
        }
    }

    pub(crate) fn with_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Error or warning.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// File as its [`crate::Source`] names it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Column in characters, from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// What is wrong.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// How to mend it, where that is known.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source_text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(
            None, self.span,
        ))))
    }
}

/// All problems of one compilation. Empty when there are none.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    kept: Vec<Problem>,
    errors: usize,
    warnings: usize,
}

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        match problem.severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        // An error is never dropped for a warning: the first of them is why there is no ontology.
        if self.kept.len() < MAX_PROBLEMS
            || (problem.severity == Severity::Error && self.errors == 1)
        {
            self.kept.push(problem);
        }
    }

    pub(crate) fn error(
        &mut self,
        origin: &Origin,
        span: Range<usize>,
        reason: impl Into<String>,
        help: Option<String>,
    ) {
        self.push(Problem::new(Severity::Error, origin, span, reason.into()).with_help(help));
    }

    pub(crate) fn warning(
        &mut self,
        origin: &Origin,
        span: Range<usize>,
        reason: impl Into<String>,
        help: Option<String>,
    ) {
        self.push(Problem::new(Severity::Warning, origin, span, reason.into()).with_help(help));
    }

    pub(crate) fn absorb(&mut self, other: Self) {
        let Self {
            kept,
            errors,
            warnings,
        } = other;
        let (more_errors, more_warnings) = (self.errors + errors, self.warnings + warnings);
        for problem in kept {
            self.push(problem);
        }
        self.errors = more_errors;
        self.warnings = more_warnings;
    }

    pub(crate) fn sorted(mut self) -> Self {
        self.kept.sort_by(|a, b| {
            (&a.file, a.span.offset(), &a.reason).cmp(&(&b.file, b.span.offset(), &b.reason))
        });
        self
    }

    /// The problems kept, by file and place.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.kept.iter()
    }

    /// Number of errors, those not kept included.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Number of warnings, those not kept included.
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.errors + self.warnings == 0
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kept,
            errors,
            warnings,
        } = self;
        write!(
            f,
            "{errors} error{} and {warnings} warning{} in the ontology",
            plural(*errors),
            plural(*warnings)
        )?;
        for problem in kept {
            let kind = match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            write!(f, "\n{kind}: {problem}")?;
            if let Some(help) = &problem.help {
                write!(f, "\n  help: {help}")?;
            }
        }
        let left_out = errors + warnings - kept.len();
        if left_out > 0 {
            write!(f, "\n{left_out} more left out")?;
        }
        Ok(())
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl std::error::Error for Problems {}

impl Diagnostic for Problems {
    fn severity(&self) -> Option<miette::Severity> {
        Some(if self.errors > 0 {
            miette::Severity::Error
        } else {
            miette::Severity::Warning
        })
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.kept.iter().map(|problem| problem as &dyn Diagnostic),
        ))
    }
}

/// Largest edit distance at which a name counts as meant, as a share of the name's length.
const NEAR_SHARE: usize = 3;

/// The candidate closest to `name`, if one is close enough to have been meant.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / NEAR_SHARE).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit * 4)
        .filter_map(|candidate| {
            let distance = if candidate.eq_ignore_ascii_case(name) {
                0
            } else {
                strsim::damerau_levenshtein(candidate, name)
            };
            (distance <= limit).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// A help line naming the candidate closest to `name`.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    closest(name, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}
