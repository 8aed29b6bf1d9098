//! What of a line or a ring lies within a square around a tile.
//!
//! # Invariants
//! - A clipped line is the part of the line in the square, in as many pieces as it has there; it is
//!   cut segment by segment (Liang and Barsky).
//! - A clipped ring bounds the part of its inside that lies in the square, by the even-odd rule: it
//!   is cut by one side after another (Sutherland and Hodgman), so where the part falls apart, its
//!   pieces are joined by ways along the square's sides that lead forth and back. Rings of one
//!   area keep their holes that way too, as what two of them share counts twice.
//!   [`mend`](super::mend) takes such ways out.
//! - A segment that two rings share is cut in the same points, whichever way each runs.

use super::grid::Spot;
use crate::mend::At;

/// The square `low..=high` both ways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Square {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

impl Square {
    pub(crate) fn has(&self, at: Wide) -> bool {
        let inside = self.low..=self.high;
        inside.contains(&at[0]) && inside.contains(&at[1])
    }

    /// The pieces of a line in the square.
    pub(crate) fn line(&self, line: &[Spot], pieces: &mut Vec<Vec<Spot>>) {
        let mut piece: Vec<Spot> = Vec::new();
        for pair in line.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let Some((from, to)) = self.segment(a, b) else {
                flush(&mut piece, pieces);
                continue;
            };
            if piece.last() != Some(&from) {
                flush(&mut piece, pieces);
                piece.push(from);
            }
            piece.push(to);
            if to != b {
                flush(&mut piece, pieces);
            }
        }
        flush(&mut piece, pieces);
    }

    /// The part of a segment in the square. Ends that are inside are given as they are.
    fn segment(&self, a: Spot, b: Spot) -> Option<(Spot, Spot)> {
        let (low, high) = (self.low as f64, self.high as f64);
        let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
        for axis in [0, 1] {
            let way = b[axis] - a[axis];
            for (distance, way) in [(a[axis] - low, way), (high - a[axis], -way)] {
                // `distance` is how far inside the start is, and `way` how much further the end.
                if way == 0.0 {
                    if distance < 0.0 {
                        return None;
                    }
                } else if way > 0.0 {
                    enter = enter.max(-distance / way);
                } else {
                    leave = leave.min(distance / -way);
                }
            }
        }
        if enter > leave {
            return None;
        }
        let at = |share: f64| {
            [0, 1].map(|axis| (a[axis] + share * (b[axis] - a[axis])).clamp(low, high))
        };
        let from = if enter > 0.0 { at(enter) } else { a };
        let to = if leave < 1.0 { at(leave) } else { b };
        Some((from, to))
    }

    /// Cuts a ring, which does not repeat its first vertex.
    pub(crate) fn ring(&self, ring: &[Wide]) -> Vec<At> {
        let mut cut = ring.to_vec();
        for axis in [0, 1] {
            cut = half(&cut, axis, |at| at >= self.low, self.low);
            cut = half(&cut, axis, |at| at <= self.high, self.high);
        }
        // The square's sides fit.
        cut.into_iter().map(|at| at.map(|at| at as i32)).collect()
    }
}

/// A position in units that may be far away.
pub(crate) type Wide = [i64; 2];

fn flush(piece: &mut Vec<Spot>, pieces: &mut Vec<Vec<Spot>>) {
    let piece = std::mem::take(piece);
    if piece.len() > 1 {
        pieces.push(piece);
    }
}

/// What of a ring lies on the inner side of a line along the other axis.
fn half(ring: &[Wide], axis: usize, inside: impl Fn(i64) -> bool, side: i64) -> Vec<Wide> {
    let Some(&last) = ring.last() else {
        return Vec::new();
    };
    let mut kept = Vec::with_capacity(ring.len() + 4);
    let mut before = last;
    for &at in ring {
        let (was, is) = (inside(before[axis]), inside(at[axis]));
        if was != is {
            kept.push(crossing(before, at, axis, side));
        }
        if is {
            kept.push(at);
        }
        before = at;
    }
    kept
}

/// Where a segment meets a line along the other axis, rounded. The ends are taken in one order, so
/// that a neighbour's segment, which runs the other way, gives the same.
fn crossing(a: Wide, b: Wide, axis: usize, side: i64) -> Wide {
    let (a, b) = if a <= b { (a, b) } else { (b, a) };
    let other = 1 - axis;
    // Differences of positions are whole numbers that doubles hold.
    let share = (side - a[axis]) as f64 / (b[axis] - a[axis]) as f64;
    let met = a[other] + (share * (b[other] - a[other]) as f64).round() as i64;
    let mut at = [side; 2];
    at[other] = met;
    at
}
