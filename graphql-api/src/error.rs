//! What can go wrong in an answer, in one closed list that apps may switch on.
//!
//! # Invariants
//! - Every error that leaves this room carries one of [`Code`]'s names as `extensions.code`.
//! - A message says what is wrong, where, and how to mend it.

use async_graphql::{Pos, ServerError};
use twin_core::{Receipt, Refusal};

/// The closed list of `extensions.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// Not well formed, or not of the type that is asked for.
    InvalidInput,
    /// A name that the model or the schema does not have.
    UnknownName,
    /// A twin that has to exist and does not.
    NotFound,
    /// The state is not what the caller expected.
    Conflict,
    /// A rule of the model would be broken.
    Violation,
    /// Not allowed for this caller.
    Forbidden,
    /// Nobody said who asks.
    Unauthenticated,
    /// The question would take more than one may take; ask for less at once.
    TooCostly,
    /// More than a limit of the twin takes.
    Limited,
    /// Cannot be done now.
    Unavailable,
    /// Took too long.
    Timeout,
    /// Our mistake.
    Internal,
}

impl Code {
    /// The name in `extensions.code`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "INVALID_INPUT",
            Self::UnknownName => "UNKNOWN_NAME",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::Violation => "VIOLATION",
            Self::Forbidden => "FORBIDDEN",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::TooCostly => "TOO_COSTLY",
            Self::Limited => "LIMITED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Timeout => "TIMEOUT",
            Self::Internal => "INTERNAL",
        }
    }
}

/// One error, before it is known where in the answer it belongs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
    /// Line and column in the query, both from 1.
    pub(crate) locations: Vec<(usize, usize)>,
    /// What fields of the same mutation did before, by their keys: it stays done.
    pub(crate) done: Vec<(String, Receipt)>,
}

impl Fault {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            suggestion: None,
            locations: Vec::new(),
            done: Vec::new(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidInput, message)
    }

    pub(crate) fn too_costly(message: impl Into<String>) -> Self {
        Self::new(Code::TooCostly, message)
    }

    /// A name that is none of `known`.
    pub(crate) fn unknown<'n>(
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        let suggestion = nearest(name, known).map(str::to_owned);
        let shown: String = name.chars().take(MAX_NAME_SHOWN).collect();
        let message = match &suggestion {
            Some(close) => format!("{what} `{shown}` is not known; did you mean `{close}`?"),
            None => format!("{what} `{shown}` is not known"),
        };
        Self {
            suggestion,
            ..Self::new(Code::UnknownName, message)
        }
    }

    /// An argument of an address that is none of `known`.
    pub(crate) fn argument(name: &str, known: &[&str]) -> Self {
        /// What addresses may ask one day, as the contract says.
        const NOT_YET: [&str; 2] = ["branch", "at"];
        if NOT_YET.contains(&name) {
            return Self::invalid(format!(
                "`{name}` is not offered yet: the answer is the twin as it is now"
            ));
        }
        Self::unknown("argument", name, known.iter().copied())
    }

    pub(crate) fn at(mut self, pos: Pos) -> Self {
        if self.locations.is_empty() {
            self.locations.push((pos.line, pos.column));
        }
        self
    }
}

/// Characters of a foreign name that an error repeats.
const MAX_NAME_SHOWN: usize = 80;

/// The closest of some names, if any is close enough to have been meant.
pub(crate) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    /// Below this similarity (0 to 1) a suggestion confuses more than it helps.
    const LIKELY: f64 = 0.8;
    if name.len() > MAX_NAME_SHOWN {
        return None;
    }
    let wanted = name.to_ascii_lowercase();
    known
        .into_iter()
        .map(|other| {
            (
                other,
                strsim::jaro_winkler(&wanted, &other.to_ascii_lowercase()),
            )
        })
        .filter(|(_, likeness)| *likeness >= LIKELY)
        .max_by(|(a, left), (b, right)| left.total_cmp(right).then_with(|| b.cmp(a)))
        .map(|(other, _)| other)
}

impl From<ServerError> for Fault {
    /// The frame's validation speaks in texts only; they are classified here and nowhere else.
    fn from(error: ServerError) -> Self {
        let unknown = [
            "Unknown field",
            "Unknown type",
            "Unknown argument",
            "Unknown directive",
        ];
        let says = |part: &str| error.message.contains(part);
        let code = if unknown.iter().any(|start| error.message.starts_with(start))
            || says("unknown field")
            || says("does not contain the value")
            || says("Unknown fragment")
            || says("Unknown operation")
        {
            Code::UnknownName
        } else {
            Code::InvalidInput
        };
        let suggestion = error
            .message
            .split_once("Did you mean \"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(name, _)| name.to_owned());
        let locations = error
            .locations
            .iter()
            .map(|pos| (pos.line, pos.column))
            .collect();
        Self {
            suggestion,
            locations,
            ..Self::new(code, error.message)
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.reason() {
            Refusal::UnknownName { .. } => Code::UnknownName,
            Refusal::Invalid { .. } => Code::InvalidInput,
            Refusal::Violation(_) => Code::Violation,
            Refusal::NotFound(_) => Code::NotFound,
            Refusal::Conflict(_) => Code::Conflict,
            Refusal::Limited { .. } => Code::Limited,
            Refusal::Unavailable(_) | Refusal::OutcomeUnknown(_) => Code::Unavailable,
            _ => Code::Internal,
        };
        let message = refusal.to_string();
        let suggestion = match refusal.reason() {
            Refusal::UnknownName { suggestion, .. } => suggestion.clone(),
            _ => None,
        };
        Self {
            suggestion,
            ..Self::new(code, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_name_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("bedz", ["beds", "name"]), Some("beds"));
        assert_eq!(
            nearest("healthfacility", ["HealthFacility"]),
            Some("HealthFacility")
        );
        assert_eq!(nearest("zzz", ["beds", "name"]), None);
    }

    #[test]
    fn texts_of_the_frame_get_codes() {
        let error = ServerError::new(
            "Unknown field \"bedz\" on type \"Clinic\". Did you mean \"beds\"?",
            Some(Pos { line: 1, column: 3 }),
        );
        let fault = Fault::from(error);
        assert_eq!(fault.code, Code::UnknownName);
        assert_eq!(fault.suggestion.as_deref(), Some("beds"));
        assert_eq!(fault.locations, [(1, 3)]);
    }
}
