//! Why a command ended early, with the exit code that says so to programs.

use std::process::ExitCode;

use crate::config::ConfigError;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    report: miette::Report,
}

impl Failure {
    /// Something that could not be done.
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self {
            code: 1,
            report: miette::Report::msg(reason.into()),
        }
    }

    /// Bad usage or configuration.
    pub(crate) fn usage(reason: impl Into<String>) -> Self {
        Self {
            code: 2,
            report: miette::Report::msg(reason.into()),
        }
    }

    /// A twin that does not answer.
    pub(crate) fn unreachable(reason: impl Into<String>) -> Self {
        Self {
            code: 4,
            report: miette::Report::msg(reason.into()),
        }
    }

    /// A diagnostic of bad data or configuration, with its place and help.
    pub(crate) fn diagnostic(code: u8, diagnostic: impl Into<miette::Report>) -> Self {
        Self {
            code,
            report: diagnostic.into(),
        }
    }

    pub(crate) fn report(&self) -> &miette::Report {
        &self.report
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<twin_core::store::StoreError> for Failure {
    fn from(error: twin_core::store::StoreError) -> Self {
        Self::failed(error.to_string())
    }
}
