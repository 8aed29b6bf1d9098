//! Pieces of a feature, cut by the borders of tiles, put together again.
//!
//! # Invariants
//! - Of each piece counts what lies in its own tile; what a tile repeats of its neighbours (its buffer)
//!   is left out, so nothing is there twice and nothing twice as long.
//! - Lines go on across a border where an end on one side is met by one on the other, within
//!   [`TOLERANCE`] steps of the grid: each tile rounds for itself.
//! - Areas are united on a grid finer than that of the tiles.
//! - The same pieces in the same order give the same feature.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use i_overlay::core::fill_rule::FillRule;
use i_overlay::core::overlay::{IntOverlayOptions, Overlay, ShapeType};
use i_overlay::core::overlay_rule::OverlayRule;
use i_overlay::core::solver::Solver;
use i_overlay::i_float::int::point::IntPoint;

/// Steps of the grid by which two ends at a border may differ and still be one.
const TOLERANCE: f64 = 2.5;
/// How many ends near another are looked at: more lie there only where lines were made to.
const MAX_NEAR: usize = 16;
/// Steps into which a step of the grid is divided for areas.
const FINER: i64 = 16;
/// Largest coordinate that areas are united at.
const MAX_UNITED: i64 = 1 << 30;

/// A position in steps of the grid of the whole zoom, y downward.
pub(super) type Position = (f64, f64);

/// What lies in one tile of a feature.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drawn {
    /// Column and row of the tile.
    pub(super) tile: (u32, u32),
    /// Points, lines or rings, from the corner of the tile.
    pub(super) parts: Vec<Vec<(i32, i32)>>,
}

/// Which tiles there are, and their grid.
pub(super) struct Grid {
    pub(super) extent: u32,
    pub(super) tiles: HashSet<(u32, u32)>,
}

impl Grid {
    fn side(&self) -> f64 {
        f64::from(self.extent)
    }

    fn corner(&self, tile: (u32, u32)) -> Position {
        (
            f64::from(tile.0) * self.side(),
            f64::from(tile.1) * self.side(),
        )
    }

    fn has(&self, tile: (u32, u32), east: u32, south: u32) -> bool {
        let neighbour = (tile.0.saturating_add(east), tile.1.saturating_add(south));
        self.tiles.contains(&neighbour)
    }
}

/// The distinct points that lie in their own tile.
pub(super) fn points(grid: &Grid, pieces: &[Drawn]) -> Vec<Position> {
    let side = grid.extent as i32;
    let mut seen = HashSet::new();
    let mut points = Vec::new();
    for piece in pieces {
        let (left, top) = grid.corner(piece.tile);
        // A point on the last line of a tile is on the first of its neighbour, where there is one.
        let right = side + i32::from(!grid.has(piece.tile, 1, 0));
        let bottom = side + i32::from(!grid.has(piece.tile, 0, 1));
        for &(x, y) in piece.parts.iter().flatten() {
            if (0..right).contains(&x) && (0..bottom).contains(&y) {
                let at = (left + f64::from(x), top + f64::from(y));
                if seen.insert((at.0.to_bits(), at.1.to_bits())) {
                    points.push(at);
                }
            }
        }
    }
    points
}

/// A line within one tile.
struct Chain {
    tile: (u32, u32),
    points: Vec<Position>,
}

/// The lines of the pieces, each as long as it goes.
pub(super) fn lines(grid: &Grid, pieces: &[Drawn]) -> Vec<Vec<Position>> {
    let mut chains = Vec::new();
    for piece in pieces {
        for part in &piece.parts {
            clip(grid, piece.tile, part, &mut chains);
        }
    }
    let partners = partners(grid, &chains);
    follow(&chains, &partners)
}

/// The stretches of a line that lie in its tile.
fn clip(grid: &Grid, tile: (u32, u32), line: &[(i32, i32)], chains: &mut Vec<Chain>) {
    let side = grid.side();
    let (left, top) = grid.corner(tile);
    let mut points: Vec<Position> = Vec::new();
    let mut end = |points: &mut Vec<Position>| {
        if points.len() > 1 {
            let points = std::mem::take(points);
            let points = points.iter().map(|(x, y)| (left + x, top + y)).collect();
            chains.push(Chain { tile, points });
        } else {
            points.clear();
        }
    };
    for pair in line.windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|(x, y)| (f64::from(x), f64::from(y)));
        let Some((from, to)) = within(a, b, side).filter(|(from, to)| from != to) else {
            if a != b {
                end(&mut points);
            }
            continue;
        };
        // A stretch along the last line of a tile is the neighbour's, where there is one.
        let along = |at: fn(Position) -> f64| at(from) == side && at(to) == side;
        let theirs =
            along(|p| p.0) && grid.has(tile, 1, 0) || along(|p| p.1) && grid.has(tile, 0, 1);
        if theirs {
            end(&mut points);
            continue;
        }
        if points.last() != Some(&from) {
            end(&mut points);
            points.push(from);
        }
        points.push(to);
    }
    end(&mut points);
}

/// The part of an edge in the square from 0 to `side`; ends on its border are exactly on it.
fn within(a: Position, b: Position, side: f64) -> Option<(Position, Position)> {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
    for (step, room) in [(-dx, a.0), (dx, side - a.0), (-dy, a.1), (dy, side - a.1)] {
        if step == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if step < 0.0 {
            enter = enter.max(room / step);
        } else {
            leave = leave.min(room / step);
        }
    }
    if enter > leave {
        return None;
    }
    let at = |t: f64| {
        let snap = |value: f64| {
            // Rounding must not leave an end beside the border that it was cut at.
            let value = value.clamp(0.0, side);
            let near = value.round();
            if (value - near).abs() < 1e-9 {
                near
            } else {
                value
            }
        };
        (snap(a.0 + dx * t), snap(a.1 + dy * t))
    };
    let from = if enter == 0.0 { a } else { at(enter) };
    let to = if leave == 1.0 { b } else { at(leave) };
    Some((from, to))
}

/// An end of a chain: its number, and whether it is the last point.
type End = (usize, bool);

/// Which end goes on in which.
fn partners(grid: &Grid, chains: &[Chain]) -> BTreeMap<End, End> {
    let side = grid.side();
    let on_border = |(x, y): Position| x % side == 0.0 || y % side == 0.0;
    let mut ends: Vec<(End, Position)> = Vec::new();
    for (number, chain) in chains.iter().enumerate() {
        for (last, point) in [(false, chain.points.first()), (true, chain.points.last())] {
            ends.extend(
                point
                    .filter(|p| on_border(**p))
                    .map(|p| ((number, last), *p)),
            );
        }
    }
    let cell = |value: f64| (value / TOLERANCE).floor() as i64;
    let mut cells: BTreeMap<(i64, i64), Vec<usize>> = BTreeMap::new();
    for (number, (_, at)) in ends.iter().enumerate() {
        cells
            .entry((cell(at.0), cell(at.1)))
            .or_default()
            .push(number);
    }
    let mut near = Vec::new();
    for (number, (end, at)) in ends.iter().enumerate() {
        let (column, row) = (cell(at.0), cell(at.1));
        let around = (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (column + dx, row + dy)));
        let others = around.filter_map(|cell| cells.get(&cell)).flatten();
        let mut found = 0;
        for other in others.copied().filter(|other| *other > number) {
            let (other_end, other_at) = &ends[other];
            let apart = (at.0 - other_at.0).hypot(at.1 - other_at.1);
            let across = chains[end.0].tile != chains[other_end.0].tile;
            if across && apart <= TOLERANCE && found < MAX_NEAR {
                near.push((apart, number, other));
                found += 1;
            }
        }
    }
    near.sort_by(|a, b| {
        a.0.total_cmp(&b.0)
            .then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    });
    let mut partners = BTreeMap::new();
    for (_, one, other) in near {
        let (one, other) = (ends[one].0, ends[other].0);
        // A chain does not end in itself by being short.
        if !partners.contains_key(&one) && !partners.contains_key(&other) && one.0 != other.0 {
            partners.insert(one, other);
            partners.insert(other, one);
        }
    }
    partners
}

/// Chains one after the other, as far as they go on.
fn follow(chains: &[Chain], partners: &BTreeMap<End, End>) -> Vec<Vec<Position>> {
    let mut used = vec![false; chains.len()];
    let mut lines = Vec::new();
    // First those that begin somewhere, then the rings that are left.
    let begins = |number: &usize| {
        [false, true]
            .into_iter()
            .find(|last| !partners.contains_key(&(*number, *last)))
    };
    let starts = (0..chains.len()).filter_map(|number| begins(&number).map(|last| (number, last)));
    let rings = (0..chains.len()).map(|number| (number, false));
    for (number, from_last) in starts.chain(rings) {
        if used[number] {
            continue;
        }
        let mut line: Vec<Position> = Vec::new();
        let (mut at, mut backward) = (number, from_last);
        loop {
            used[at] = true;
            let mut points = chains[at].points.clone();
            if backward {
                points.reverse();
            }
            let met = usize::from(!line.is_empty());
            if let (Some(before), Some(first)) = (line.last_mut(), points.first()) {
                // Each side rounded the place where the border was crossed.
                *before = (
                    f64::midpoint(before.0, first.0),
                    f64::midpoint(before.1, first.1),
                );
            }
            line.extend(points.into_iter().skip(met));
            match partners.get(&(at, !backward)) {
                Some((next, last)) if !used[*next] => (at, backward) = (*next, *last),
                Some((next, _)) if *next == number => {
                    // Around: the ring ends where it began.
                    if let (Some(first), Some(last)) = (line.first().copied(), line.last_mut()) {
                        *last = first;
                    }
                    break;
                }
                _ => break,
            }
        }
        lines.push(line);
    }
    lines
}

/// The areas of the pieces united: polygons of closed rings, the outer one first.
pub(super) fn areas(grid: &Grid, pieces: &[Drawn]) -> Result<Vec<Vec<Vec<Position>>>, String> {
    let work = || unite(grid, pieces);
    // The library may panic on geometry that nobody tried before.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err("its pieces cannot be united: their rings make no sense".to_owned())
    })
}

fn unite(grid: &Grid, pieces: &[Drawn]) -> Result<Vec<Vec<Vec<Position>>>, String> {
    let columns = pieces.iter().map(|piece| piece.tile.0);
    let rows = pieces.iter().map(|piece| piece.tile.1);
    let (Some(west), Some(north)) = (columns.clone().min(), rows.clone().min()) else {
        return Ok(Vec::new());
    };
    let across = columns
        .max()
        .unwrap_or(west)
        .max(rows.max().unwrap_or(north) - north + west)
        - west;
    let side = i64::from(grid.extent);
    let span = (i64::from(across) + 1) * side;
    let finer = [FINER, 4, 1]
        .into_iter()
        .find(|finer| span * finer < MAX_UNITED);
    let Some(finer) = finer else {
        return Err(
            "it reaches over more tiles than can be united: choose a lower zoom".to_owned(),
        );
    };
    let options = IntOverlayOptions {
        ogc: true,
        ..IntOverlayOptions::default()
    };
    let mut whole: Overlay<i32> = Overlay::new_custom(256, options, Solver::default());
    for piece in pieces {
        let left = i64::from(piece.tile.0 - west) * side;
        let top = i64::from(piece.tile.1 - north) * side;
        // Within bounds: a piece overhangs its tile by MAX_OVERHANG grids, which the clip below cuts.
        let place = |x: i64, y: i64| {
            let fit = |value: i64| (value * finer).clamp(-MAX_UNITED, 2 * MAX_UNITED - 1) as i32;
            IntPoint::new(fit(left + x), fit(top + y))
        };
        let mut one: Overlay<i32> = Overlay::new(64);
        for ring in &piece.parts {
            let points: Vec<_> = ring
                .iter()
                .map(|(x, y)| place(i64::from(*x), i64::from(*y)))
                .collect();
            one.add_contour(&points, ShapeType::Subject);
        }
        let tile = [
            place(0, 0),
            place(side, 0),
            place(side, side),
            place(0, side),
        ];
        one.add_contour(&tile, ShapeType::Clip);
        // Even-odd: the directions of rings in tiles are often wrong.
        let inside = one.overlay(OverlayRule::Intersect, FillRule::EvenOdd);
        for ring in inside.iter().flatten() {
            whole.add_contour(ring, ShapeType::Subject);
        }
    }
    let united = whole.overlay(OverlayRule::Subject, FillRule::NonZero);
    let (left, top) = grid.corner((west, north));
    let position = |point: &IntPoint<i32>| {
        (
            left + f64::from(point.x) / finer as f64,
            top + f64::from(point.y) / finer as f64,
        )
    };
    let closed = |ring: &Vec<IntPoint<i32>>| {
        let mut ring: Vec<Position> = ring.iter().map(position).collect();
        ring.extend(ring.first().copied());
        ring
    };
    Ok(united
        .iter()
        .map(|shape| shape.iter().map(closed).collect())
        .collect())
}

#[cfg(test)]
mod tests;
