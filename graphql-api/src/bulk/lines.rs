//! A body that comes in pieces, cut into lines.
//!
//! # Invariants
//! - Lines are counted from 1, blank ones too; a blank one is passed over.
//! - At most [`MAX_BULK_LINE_BYTES`] of a line are held beside the piece at hand; of a longer one
//!   nothing is kept but how long it is.

use bytes::{Buf as _, Bytes};

use crate::limits::MAX_BULK_LINE_BYTES;

/// One line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// Its bytes without the end; how many they are, where they are too many.
    pub(crate) text: Result<Vec<u8>, usize>,
}

/// Cuts a body into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// What came and was not looked at yet.
    piece: Bytes,
    /// The beginning of a line whose end has not come.
    held: Vec<u8>,
    /// Bytes of that line so far.
    length: usize,
    number: u64,
}

impl Lines {
    /// Takes what comes next. Everything before it has to be cut into lines.
    pub(crate) fn feed(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "a piece was passed over");
        self.piece = piece;
    }

    /// The next line that has ended; `None` if more has to come first.
    pub(crate) fn next(&mut self) -> Option<Line> {
        loop {
            let end = self.piece.iter().position(|byte| *byte == b'\n');
            let Some(end) = end else {
                let rest = std::mem::take(&mut self.piece);
                self.hold(&rest);
                return None;
            };
            let part = self.piece.split_to(end);
            self.piece.advance(1);
            self.hold(&part);
            if let Some(line) = self.end() {
                return Some(line);
            }
        }
    }

    /// The last line, which ends with the body.
    pub(crate) fn last(&mut self) -> Option<Line> {
        if self.length == 0 {
            return None;
        }
        self.end()
    }

    /// The number of a line that has begun and not ended.
    pub(crate) fn begun(&self) -> Option<u64> {
        (self.length > 0).then_some(self.number + 1)
    }

    fn hold(&mut self, part: &[u8]) {
        self.length += part.len();
        if self.length <= MAX_BULK_LINE_BYTES {
            self.held.extend_from_slice(part);
        } else {
            self.held = Vec::new();
        }
    }

    /// Ends the line; `None` if it is blank.
    fn end(&mut self) -> Option<Line> {
        let (text, length) = (std::mem::take(&mut self.held), self.length);
        self.length = 0;
        self.number += 1;
        let too_long = length > MAX_BULK_LINE_BYTES;
        if !too_long && text.trim_ascii().is_empty() {
            return None;
        }
        Some(Line {
            number: self.number,
            text: if too_long { Err(length) } else { Ok(text) },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<(u64, Result<Vec<u8>, usize>)> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in pieces {
            lines.feed(Bytes::copy_from_slice(piece));
            while let Some(line) = lines.next() {
                found.push((line.number, line.text));
            }
        }
        found.extend(lines.last().map(|line| (line.number, line.text)));
        found
    }

    proptest! {
        #[test]
        fn however_a_body_comes_in_pieces_its_lines_are_the_same(
            text in "[ab \r\n]{0,40}",
            cuts in prop::collection::vec(0..40_usize, 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|ends| &text.as_bytes()[ends[0]..ends[1]]).collect();
            let expected: Vec<_> = text
                .split('\n')
                .zip(1..)
                .filter(|(line, _)| !line.trim_ascii().is_empty())
                .map(|(line, number)| (number, Ok(line.as_bytes().to_vec())))
                .collect();
            prop_assert_eq!(cut(&pieces), expected);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept_and_the_next_one_is_whole() {
        let half = vec![b'x'; MAX_BULK_LINE_BYTES / 2 + 1];
        assert_eq!(
            cut(&[b"a\n", &half, &half, b"\nb\n"]),
            [
                (1, Ok(b"a".to_vec())),
                (2, Err(2 * half.len())),
                (3, Ok(b"b".to_vec()))
            ]
        );
        let most = vec![b'x'; MAX_BULK_LINE_BYTES];
        assert_eq!(cut(&[&most]), [(1, Ok(most.clone()))]);
    }
}
