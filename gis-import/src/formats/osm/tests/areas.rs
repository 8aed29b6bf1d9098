//! Areas from lines, beside a count of squares that needs no thought.
//!
//! A shape is a set of squares of a grid; what bounds it are the sides that one square of two has. However
//! these are cut into ways, the area must hold exactly those squares, and be valid.

use std::collections::BTreeMap;

use proptest::prelude::*;
use twin_core::space::{Point, Shape};

use super::super::element::At;
use super::super::rings::{Fault, Line, Rings, assemble};

const SIDE: usize = 6;

fn at(x: usize, y: usize) -> At {
    At {
        lon: x as i32 * 100,
        lat: y as i32 * 100,
    }
}

fn line(way: i64, points: Vec<At>) -> Line {
    Line {
        way,
        inner: false,
        points,
    }
}

fn has(squares: &[bool], x: i32, y: i32) -> bool {
    let inside = |n: i32| usize::try_from(n).ok().filter(|n| *n < SIDE);
    match (inside(x), inside(y)) {
        (Some(x), Some(y)) => squares[y * SIDE + x],
        _ => false,
    }
}

/// The sides between a square that is in the shape and one that is not.
fn sides(squares: &[bool]) -> Vec<(At, At)> {
    let mut sides = Vec::new();
    for y in 0..=SIDE {
        for x in 0..=SIDE {
            let (i, j) = (x as i32, y as i32);
            if x < SIDE && has(squares, i, j) != has(squares, i, j - 1) {
                sides.push((at(x, y), at(x + 1, y)));
            }
            if y < SIDE && has(squares, i, j) != has(squares, i - 1, j) {
                sides.push((at(x, y), at(x, y + 1)));
            }
        }
    }
    sides
}

/// Sides put together to ways as chance will have it, each going either way.
fn ways(mut sides: Vec<(At, At)>, chances: &[u8]) -> Vec<Line> {
    let mut chances = chances.iter().copied().cycle();
    let mut chance = move || usize::from(chances.next().unwrap_or(0));
    let mut lines = Vec::new();
    while !sides.is_empty() {
        let (a, b) = sides.swap_remove(chance() % sides.len());
        let mut points = if chance() % 2 == 0 {
            vec![a, b]
        } else {
            vec![b, a]
        };
        while chance() % 4 > 0 {
            let end = points[points.len() - 1];
            let Some(next) = sides.iter().position(|(a, b)| *a == end || *b == end) else {
                break;
            };
            let (a, b) = sides.swap_remove(next);
            points.push(if a == end { b } else { a });
        }
        lines.push(line(lines.len() as i64, points));
    }
    lines
}

fn wkb(areas: &[Rings]) -> Vec<u8> {
    super::super::shape::polygons(areas)
}

fn check(squares: &[bool], lines: &[Line]) -> Result<Vec<Rings>, TestCaseError> {
    let areas = assemble(lines, true).map_err(|fault| TestCaseError::fail(format!("{fault:?}")))?;
    let shape = Shape::from_wkb(&wkb(&areas));
    let shape = shape.map_err(|error| TestCaseError::fail(format!("{error}: {areas:?}")))?;
    for y in 0..SIDE {
        for x in 0..SIDE {
            let middle = |n: usize| (n as f64 * 100.0 + 50.0) / 1e7;
            let point = Point::new(middle(x), middle(y)).unwrap();
            let inside = squares[y * SIDE + x];
            prop_assert_eq!(shape.contains(point), inside, "{} {}: {:?}", x, y, areas);
        }
    }
    Ok(areas)
}

/// Pieces of a shape that hang together by whole sides: as many polygons.
fn pieces(squares: &[bool]) -> usize {
    let mut open = squares.to_vec();
    let mut count = 0;
    while let Some(start) = open.iter().position(|open| *open) {
        count += 1;
        let mut next = vec![start];
        while let Some(square) = next.pop() {
            if !std::mem::replace(&mut open[square], false) {
                continue;
            }
            let (x, y) = ((square % SIDE) as i32, (square / SIDE) as i32);
            for (i, j) in [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)] {
                if has(&open, i, j) {
                    next.push(j as usize * SIDE + i as usize);
                }
            }
        }
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_area_cut_into_ways_comes_back(
        squares in proptest::collection::vec(any::<bool>(), SIDE * SIDE),
        first in proptest::collection::vec(any::<u8>(), 1..64),
        second in proptest::collection::vec(any::<u8>(), 1..64),
    ) {
        let sides = sides(&squares);
        if sides.is_empty() {
            prop_assert_eq!(assemble(&[], true), Err(Fault::Nothing));
            return Ok(());
        }
        let areas = check(&squares, &ways(sides.clone(), &first))?;
        prop_assert_eq!(areas.len(), pieces(&squares));
        // However it is cut, the bytes are the same.
        let again = check(&squares, &ways(sides.clone(), &second))?;
        prop_assert_eq!(wkb(&areas), wkb(&again));
        // Each square as a way of its own: what two have in common bounds nothing.
        let mut around = Vec::new();
        for (number, _) in squares.iter().enumerate().filter(|(_, inside)| **inside) {
            let (x, y) = (number % SIDE, number / SIDE);
            let corners = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1), (x, y)];
            around.push(line(number as i64, corners.map(|(x, y)| at(x, y)).to_vec()));
        }
        prop_assert_eq!(wkb(&areas), wkb(&check(&squares, &around)?));
    }

    #[test]
    fn a_side_that_is_missing_is_told(
        squares in proptest::collection::vec(any::<bool>(), SIDE * SIDE),
        chances in proptest::collection::vec(any::<u8>(), 1..64),
        gone in any::<prop::sample::Index>(),
    ) {
        let mut sides = sides(&squares);
        prop_assume!(!sides.is_empty());
        sides.swap_remove(gone.index(sides.len()));
        let open = assemble(&ways(sides, &chances), true);
        prop_assert!(matches!(open, Err(Fault::Open(_))), "{open:?}");
    }
}

/// A ring of these corners.
fn ring(way: i64, corners: &[(usize, usize)]) -> Line {
    let closed = corners.iter().chain(corners.first());
    line(way, closed.map(|(x, y)| at(*x, *y)).collect())
}

fn rings(lines: &[Line]) -> Vec<usize> {
    let areas = assemble(lines, true).unwrap();
    let shape = Shape::from_wkb(&wkb(&areas));
    shape.unwrap_or_else(|error| panic!("{error}: {areas:?}"));
    areas.iter().map(Vec::len).collect()
}

#[test]
fn islands_in_lakes_in_islands_lie_in_the_smallest_ring_around_them() {
    let square = |way: i64, inset: usize| {
        let far = 20 - inset;
        ring(
            way,
            &[(inset, inset), (far, inset), (far, far), (inset, far)],
        )
    };
    let lines = [square(3, 6), square(1, 0), square(4, 8), square(2, 3)];
    assert_eq!(rings(&lines), [2, 2]);
    assert_eq!(rings(&lines[..3]), [2, 1]);
}

#[test]
fn a_hole_may_touch_its_outer_ring_and_other_holes() {
    let outer = ring(1, &[(0, 0), (5, 0), (10, 0), (10, 10), (0, 10)]);
    let touching = ring(2, &[(5, 0), (6, 3), (4, 3)]);
    let second = ring(3, &[(4, 3), (2, 8), (1, 5)]);
    assert_eq!(rings(&[outer.clone(), touching.clone()]), [2]);
    assert_eq!(
        rings(&[outer.clone(), touching.clone(), second.clone()]),
        [3]
    );
    // Two holes that share a side are one.
    let left = ring(4, &[(2, 2), (4, 2), (4, 5), (2, 5)]);
    let right = ring(5, &[(4, 2), (6, 2), (6, 5), (4, 5)]);
    assert_eq!(rings(&[outer, left, right]), [2]);
}

#[test]
fn all_corners_of_a_hole_may_lie_on_its_outer_ring() {
    // The inside falls into pieces, so these are polygons of their own.
    let outer = ring(
        1,
        &[(0, 0), (5, 0), (10, 0), (10, 5), (10, 10), (0, 10), (0, 5)],
    );
    let hole = ring(2, &[(5, 0), (10, 5), (0, 5)]);
    assert_eq!(rings(&[outer, hole]), [1, 1, 1]);
}

#[test]
fn rings_that_touch_in_a_point_stay_apart() {
    let left = ring(1, &[(0, 0), (5, 5), (0, 10)]);
    let right = ring(2, &[(10, 0), (10, 10), (5, 5)]);
    assert_eq!(rings(&[left.clone(), right.clone()]), [1, 1]);
    // As one way that crosses itself there, too.
    let bow = ring(3, &[(0, 0), (5, 5), (10, 10), (10, 0), (5, 5), (0, 10)]);
    assert_eq!(
        wkb(&assemble(&[bow], true).unwrap()),
        wkb(&assemble(&[left, right], true).unwrap())
    );
}

#[test]
fn open_ends_are_named_and_counted() {
    let mut lines = BTreeMap::new();
    for way in 0..4_i64 {
        let x = way as usize * 2;
        lines.insert(way, line(way, vec![at(x, 0), at(x, 1)]));
    }
    let lines: Vec<Line> = lines.into_values().collect();
    let Err(Fault::Open(said)) = assemble(&lines, true) else {
        panic!("closed");
    };
    assert_eq!(
        said,
        "[0, 0] of way 0, [0, 0.00001] of way 0, [0.00002, 0] of way 1 and 5 more"
    );
}
