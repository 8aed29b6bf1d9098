//! The one place that prints: answers on stdout, everything else on stderr.
#![expect(clippy::print_stderr, reason = "this is where printing is done")]

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// What is logged unless `RUST_LOG` says otherwise: SurrealDB is only heard when it fails.
const LOG: &str = "warn,surrealdb=error,surrealdb_core=error";
/// Progress is drawn so often.
const DRAWS_PER_SECOND: u8 = 10;

/// Sends logs to stderr.
pub(crate) fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new(LOG));
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .init();
}

/// A line of an answer.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that went away, as `head` does, has all it wanted.
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Lines of an answer; false where their reader went away and has all it wanted.
pub(crate) fn lines(text: &str) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("standard output: {error}"))),
    }
}

/// A line for people, beside the answer.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// Says why and ends the process, whatever still runs.
#[expect(clippy::exit, reason = "nothing may be waited for")]
pub(crate) fn end_at_once(why: &str) -> ! {
    note(why);
    std::process::exit(1)
}

/// Why a command ended early.
pub(crate) fn problem(failure: &Failure) {
    eprintln!("{:?}", failure.report());
}

/// A progress bar on a terminal; nothing elsewhere.
pub(crate) fn progress(name: &str) -> ProgressBar {
    let bar =
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
    let plain = ProgressStyle::with_template("{prefix:26} {spinner} {human_pos} {msg}");
    let bar = bar.with_style(plain.unwrap_or_else(|_template| ProgressStyle::default_bar()));
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Shows the length of a bar once it is known.
pub(crate) fn expect(bar: &ProgressBar, expected: u64) {
    if bar.length().is_none()
        && let Ok(style) =
            ProgressStyle::with_template("{prefix:26} {wide_bar} {human_pos}/{human_len} {msg}")
    {
        bar.set_length(expected);
        bar.set_style(style);
    }
}
