//! Cuts a JSON text into values without holding or understanding the whole of it.
//!
//! # Invariants
//! - `line` and `byte` always speak of the next unread byte, lines from 1, bytes from 0.
//! - A captured value is balanced in brackets and closed in strings; whether it is JSON is for the
//!   parser that gets it.
//! - A captured value is at most the limit given, whatever the file holds.

use std::io::{self, BufRead};

use super::error::FileError;
use super::input::Input;

/// Reads one JSON text from its beginning.
#[derive(Debug)]
pub(crate) struct Scanner {
    input: Input,
    byte: u64,
    line: u64,
}

impl Scanner {
    pub(crate) fn new(input: Input) -> Self {
        Self {
            input,
            byte: 0,
            line: 1,
        }
    }

    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    pub(crate) fn error(&self, reason: impl Into<String>, help: impl Into<String>) -> FileError {
        FileError::new(
            self.input.path(),
            format!("line {}, byte {}", self.line, self.byte),
            reason,
            help,
        )
    }

    pub(crate) fn cut_off(&self, inside: &str) -> FileError {
        self.error(
            format!("the file ends inside {inside}"),
            "it is cut off: fetch it again",
        )
    }

    fn fill(&mut self) -> Result<&[u8], FileError> {
        // Interrupted reads are retried; everything else ends the file.
        loop {
            match self.input.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.input.failure(&error)),
            }
        }
        let (input, line, byte) = (&mut self.input, self.line, self.byte);
        let path = input.path().to_owned();
        input.fill_buf().map_err(|error| {
            FileError::new(
                &path,
                format!("line {line}, byte {byte}"),
                error.to_string(),
                "",
            )
        })
    }

    fn consume(&mut self, amount: usize) {
        self.byte += amount as u64;
        self.input.consume(amount);
    }

    /// The next byte that is not white space, not taken; `None` at the end.
    pub(crate) fn peek(&mut self) -> Result<Option<u8>, FileError> {
        loop {
            let buffer = self.fill()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
            let end = buffer.iter().position(|b| !blank(b));
            let spaces = end.unwrap_or(buffer.len());
            let lines = line_ends(&buffer[..spaces]);
            let next = end.map(|at| buffer[at]);
            self.line += lines;
            self.consume(spaces);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// Takes the next byte that is not white space, if it is this one.
    pub(crate) fn take(&mut self, byte: u8) -> Result<bool, FileError> {
        let is = self.peek()? == Some(byte);
        if is {
            self.consume(1);
        }
        Ok(is)
    }

    /// Skips a UTF-8 byte order mark and refuses the marks of other encodings.
    pub(crate) fn start(&mut self) -> Result<(), FileError> {
        let buffer = self.fill()?;
        if buffer.starts_with(&[0xef, 0xbb, 0xbf]) {
            self.consume(3);
        } else if buffer.starts_with(&[0xff, 0xfe]) || buffer.starts_with(&[0xfe, 0xff]) {
            return Err(self.error("the text is UTF-16", "save it as UTF-8"));
        }
        Ok(())
    }

    /// Takes the rest of the line into `out`, replacing what it held.
    pub(crate) fn capture_line(
        &mut self,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), FileError> {
        out.clear();
        loop {
            let buffer = self.fill()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let end = buffer.iter().position(|b| *b == b'\n');
            let taken = end.unwrap_or(buffer.len());
            out.extend_from_slice(&buffer[..taken]);
            self.consume(taken);
            if out.len() > limit {
                return Err(self.error(
                    format!("a line is more than the limit of {limit} bytes"),
                    "split it into several features",
                ));
            }
            if end.is_some() {
                return Ok(());
            }
        }
    }

    /// Takes one value's bytes into `out`, replacing what it held.
    pub(crate) fn capture(
        &mut self,
        out: &mut Vec<u8>,
        limit: usize,
        inside: &str,
    ) -> Result<(), FileError> {
        out.clear();
        let Some(first) = self.peek()? else {
            return Err(self.cut_off(inside));
        };
        let mut state = Capture::default();
        loop {
            let buffer = self.fill()?;
            if buffer.is_empty() {
                // A number or word at the very end of a text is complete; everything else is not.
                return match first {
                    b'{' | b'[' | b'"' => Err(self.cut_off(inside)),
                    _ => Ok(()),
                };
            }
            let (taken, done) = state.feed(buffer);
            out.extend_from_slice(&buffer[..taken]);
            let lines = line_ends(&buffer[..taken]);
            self.line += lines;
            self.consume(taken);
            if out.len() > limit {
                return Err(self.error(
                    format!("{inside} is more than the limit of {limit} bytes"),
                    "split it into several features",
                ));
            }
            if done {
                if out.is_empty() {
                    return Err(self.error(
                        format!("`{}` where {inside} was expected", char::from(first)),
                        "mend the JSON",
                    ));
                }
                return Ok(());
            }
        }
    }
}

pub(super) fn line_ends(bytes: &[u8]) -> u64 {
    bytes.split(|b| *b == b'\n').skip(1).count() as u64
}

/// How far into one value the scanner is.
#[derive(Default)]
struct Capture {
    depth: u64,
    in_string: bool,
    escaped: bool,
    begun: bool,
}

impl Capture {
    /// How many bytes belong to the value, and whether it ends there.
    fn feed(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (at, byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return (at + 1, true);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            // Outside of brackets these end a number or word, and do not belong to it.
            let ends = match byte {
                b'"' | b'{' | b'[' => self.begun,
                b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => true,
                _ => false,
            };
            if self.depth == 0 && ends {
                return (at, true);
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                _ => {}
            }
            self.begun = true;
        }
        (bytes.len(), false)
    }
}
