//! What is wrong with a mapping: every problem with its place and a way to mend it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode, SourceSpan};

/// One problem in one place.
#[derive(Debug, Clone)]
pub struct MappingProblem {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
    /// How to mend it, where that is known.
    pub help: Option<String>,
    span: SourceSpan,
    text: NamedSource<Arc<str>>,
}

/// All problems of a mapping, by place.
#[derive(Debug, Clone)]
pub struct MappingError {
    /// The mapping.
    pub file: String,
    /// Its problems; at least one.
    pub problems: Vec<MappingProblem>,
}

/// Gathers problems while a mapping is read.
pub(super) struct Problems {
    file: String,
    text: Arc<str>,
    found: Vec<MappingProblem>,
}

impl Problems {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.into(),
            found: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        span: Range<usize>,
        reason: impl Into<String>,
        help: Option<String>,
    ) {
        // A span outside the text could not be drawn.
        let end = span.end.min(self.text.len());
        let start = span.start.min(end);
        let before = self.text.as_bytes().get(..start).unwrap_or_default();
        self.found.push(MappingProblem {
            line: before.split(|b| *b == b'\n').count(),
            reason: reason.into(),
            help,
            span: SourceSpan::new(start.into(), end - start),
            text: NamedSource::new(&self.file, Arc::clone(&self.text)),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn into_error(mut self) -> MappingError {
        self.found.sort_by_key(|problem| problem.span.offset());
        MappingError {
            file: self.file,
            problems: self.found,
        }
    }
}

impl MappingError {
    pub(super) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        let mut problems = Problems::new(file, "");
        let help = "check the path; mappings are TOML files in UTF-8".to_owned();
        problems.add(0..0, format!("cannot be read: {error}"), Some(help));
        problems.into_error()
    }
}

impl fmt::Display for MappingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for MappingProblem {}

impl Diagnostic for MappingProblem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(
            None, self.span,
        ))))
    }
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, problems } = self;
        let plural = if problems.len() == 1 { "" } else { "s" };
        write!(
            f,
            "{} problem{plural} in the mapping {file}",
            problems.len()
        )?;
        for MappingProblem {
            line, reason, help, ..
        } in problems
        {
            write!(f, "\n{file}:{line}: {reason}")?;
            if let Some(help) = help {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for MappingError {}

impl Diagnostic for MappingError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("import::mapping"))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.problems
                .iter()
                .map(|problem| problem as &dyn Diagnostic),
        ))
    }
}
