//! Lines and areas cut into tiles without any of the code above, and put together again.

use proptest::prelude::*;

use super::*;

const EXTENT: u32 = 256;
const BUFFER: f64 = 8.0;
/// Tiles in a row, and the first of them.
const TILES: u32 = 4;
const FIRST: (u32, u32) = (100, 200);

fn grid() -> Grid {
    let all = (0..TILES).flat_map(|x| (0..TILES).map(move |y| (FIRST.0 + x, FIRST.1 + y)));
    Grid {
        extent: EXTENT,
        tiles: all.collect(),
    }
}

fn origin() -> Position {
    grid().corner(FIRST)
}

/// Where an edge crosses the lines at these places, and its ends, in order.
fn cuts(a: Position, b: Position, low: Position, high: Position) -> Vec<Position> {
    let mut at = vec![0.0, 1.0];
    for (from, to, places) in [(a.0, b.0, [low.0, high.0]), (a.1, b.1, [low.1, high.1])] {
        for place in places {
            let t = (place - from) / (to - from);
            if t > 0.0 && t < 1.0 {
                at.push(t);
            }
        }
    }
    at.sort_by(f64::total_cmp);
    at.iter()
        .map(|t| (a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t))
        .collect()
}

fn rounded((x, y): Position, corner: Position) -> (i32, i32) {
    ((x - corner.0).round() as i32, (y - corner.1).round() as i32)
}

/// A line as tiles have it: what lies in each with its buffer, rounded there.
fn cut_line(line: &[Position]) -> Vec<Drawn> {
    let grid = grid();
    let mut tiles: Vec<_> = grid.tiles.iter().copied().collect();
    tiles.sort_unstable();
    let mut pieces = Vec::new();
    for tile in tiles {
        let corner = grid.corner(tile);
        let low = (corner.0 - BUFFER, corner.1 - BUFFER);
        let high = (
            corner.0 + grid.side() + BUFFER,
            corner.1 + grid.side() + BUFFER,
        );
        let mut parts: Vec<Vec<(i32, i32)>> = Vec::new();
        let mut part: Vec<(i32, i32)> = Vec::new();
        for pair in line.windows(2) {
            for step in cuts(pair[0], pair[1], low, high).windows(2) {
                let middle = (
                    f64::midpoint(step[0].0, step[1].0),
                    f64::midpoint(step[0].1, step[1].1),
                );
                let inside =
                    low.0 < middle.0 && middle.0 < high.0 && low.1 < middle.1 && middle.1 < high.1;
                if !inside {
                    parts.push(std::mem::take(&mut part));
                    continue;
                }
                if part.is_empty() {
                    part.push(rounded(step[0], corner));
                }
                part.push(rounded(step[1], corner));
            }
        }
        parts.push(part);
        parts.retain(|part| part.len() > 1);
        if !parts.is_empty() {
            pieces.push(Drawn { tile, parts });
        }
    }
    pieces
}

/// An area as tiles have it, each side of the tile cutting away what lies beyond.
fn cut_area(rings: &[Vec<Position>]) -> Vec<Drawn> {
    let grid = grid();
    let mut tiles: Vec<_> = grid.tiles.iter().copied().collect();
    tiles.sort_unstable();
    let mut pieces = Vec::new();
    for tile in tiles {
        let corner = grid.corner(tile);
        let far = grid.side() + BUFFER;
        let mut parts = Vec::new();
        for ring in rings {
            let mut ring = ring.clone();
            // Room to each side: left, right, top, bottom.
            for side in 0..4 {
                let room = |p: Position| match side {
                    0 => p.0 - (corner.0 - BUFFER),
                    1 => corner.0 + far - p.0,
                    2 => p.1 - (corner.1 - BUFFER),
                    _ => corner.1 + far - p.1,
                };
                let mut kept = Vec::new();
                for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
                    let (from, to) = (room(*a), room(*b));
                    if from >= 0.0 {
                        kept.push(*a);
                    }
                    if (from < 0.0) != (to < 0.0) {
                        let t = from / (from - to);
                        kept.push((a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t));
                    }
                }
                ring = kept;
            }
            if ring.len() > 2 {
                parts.push(ring.iter().map(|p| rounded(*p, corner)).collect());
            }
        }
        if !parts.is_empty() {
            pieces.push(Drawn { tile, parts });
        }
    }
    pieces
}

fn length(line: &[Position]) -> f64 {
    line.windows(2)
        .map(|p| (p[1].0 - p[0].0).hypot(p[1].1 - p[0].1))
        .sum()
}

fn area(ring: &[Position]) -> f64 {
    let next = ring.iter().cycle().skip(1);
    let twice: f64 = ring
        .iter()
        .zip(next)
        .map(|(a, b)| a.0 * b.1 - b.0 * a.1)
        .sum();
    (twice / 2.0).abs()
}

fn global(points: &[(f64, f64)]) -> Vec<Position> {
    let (left, top) = origin();
    points.iter().map(|(x, y)| (left + x, top + y)).collect()
}

/// Places where a line crosses borders of tiles.
fn crossings(line: &[Position]) -> Vec<Position> {
    let side = f64::from(EXTENT);
    let mut found = Vec::new();
    for pair in line.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        for (from, to) in [(a.0, b.0), (a.1, b.1)] {
            let first = (from.min(to) / side).ceil() as i64;
            let last = (from.max(to) / side).floor() as i64;
            for border in first..=last {
                let t = (border as f64 * side - from) / (to - from);
                found.push((a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t));
            }
        }
    }
    found
}

#[test]
fn a_line_over_many_tiles_is_one_again() {
    let line = global(&[(10.0, 10.0), (300.0, 40.0), (500.0, 700.0), (90.0, 900.0)]);
    let joined = lines(&grid(), &cut_line(&line));
    assert_eq!(joined.len(), 1, "{joined:?}");
    assert_eq!(
        (joined[0].first(), joined[0].last()),
        (line.first(), line.last())
    );
    assert!((length(&joined[0]) - length(&line)).abs() < 3.0);
}

#[test]
fn a_ring_over_many_tiles_is_closed_again() {
    let line = global(&[
        (200.0, 200.0),
        (600.0, 210.0),
        (590.0, 610.0),
        (190.0, 580.0),
        (200.0, 200.0),
    ]);
    let joined = lines(&grid(), &cut_line(&line));
    assert_eq!(joined.len(), 1, "{joined:?}");
    assert_eq!(joined[0].first(), joined[0].last());
    assert!((length(&joined[0]) - length(&line)).abs() < 5.0);
}

#[test]
fn a_line_along_a_border_is_there_once() {
    for line in [
        global(&[(256.0, 20.0), (256.0, 240.0)]),
        global(&[(20.0, 512.0), (900.0, 512.0)]),
        // The last border has no neighbour.
        global(&[(1024.0, 20.0), (1024.0, 240.0)]),
    ] {
        let joined = lines(&grid(), &cut_line(&line));
        let total: f64 = joined.iter().map(|line| length(line)).sum();
        assert!((total - length(&line)).abs() < 1e-6, "{joined:?}");
        assert_eq!(joined.len(), 1, "{joined:?}");
    }
}

#[test]
fn what_lies_only_in_buffers_is_nothing() {
    let piece = |parts: Vec<Vec<(i32, i32)>>| [Drawn { tile: FIRST, parts }];
    assert!(lines(&grid(), &piece(vec![vec![(-5, 10), (-2, 90)]])).is_empty());
    assert!(points(&grid(), &piece(vec![vec![(-5, 10)], vec![(256, 7)]])).is_empty());
    let ring = vec![(-7, 10), (-2, 10), (-2, 90), (-7, 10)];
    assert!(areas(&grid(), &piece(vec![ring])).unwrap().is_empty());
}

#[test]
fn a_point_in_several_tiles_is_one() {
    let at = |tile: (u32, u32), x: i32| Drawn {
        tile,
        parts: vec![vec![(x, 9)]],
    };
    let pieces = [at(FIRST, 254), at((FIRST.0 + 1, FIRST.1), -2)];
    assert_eq!(points(&grid(), &pieces), global(&[(254.0, 9.0)]));
    // On the border: it is the first of the next tile.
    let pieces = [at(FIRST, 256), at((FIRST.0 + 1, FIRST.1), 0)];
    assert_eq!(points(&grid(), &pieces), global(&[(256.0, 9.0)]));
}

#[test]
fn an_area_with_a_hole_over_many_tiles_is_one_again() {
    let outer = global(&[(50.0, 60.0), (900.0, 30.0), (950.0, 980.0), (20.0, 940.0)]);
    let hole = global(&[
        (200.0, 200.0),
        (220.0, 700.0),
        (700.0, 720.0),
        (710.0, 190.0),
    ]);
    for turned in [false, true] {
        let mut hole = hole.clone();
        if turned {
            hole.reverse();
        }
        let united = areas(&grid(), &cut_area(&[outer.clone(), hole.clone()])).unwrap();
        assert_eq!(united.len(), 1, "{united:?}");
        assert_eq!(united[0].len(), 2, "{united:?}");
        let ours = area(&united[0][0]) - area(&united[0][1]);
        let wanted = area(&outer) - area(&hole);
        assert!((ours / wanted - 1.0).abs() < 0.003, "{ours} {wanted}");
    }
}

#[test]
fn an_area_over_too_many_tiles_is_refused() {
    let far = |tile: (u32, u32)| Drawn {
        tile,
        parts: vec![vec![(0, 0), (10, 0), (10, 10), (0, 0)]],
    };
    let told = areas(&grid(), &[far((0, 0)), far((u32::MAX - 1, 0))]).unwrap_err();
    assert!(told.contains("lower zoom"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_line_keeps_its_length(
        points in prop::collection::vec((1..1023_i32, 1..1023_i32), 2..12),
    ) {
        let points: Vec<_> = points.iter().map(|(x, y)| (f64::from(*x), f64::from(*y))).collect();
        let line = global(&points);
        prop_assume!(length(&line) > 0.0);
        let joined = lines(&grid(), &cut_line(&line));
        let crossed = crossings(&line);
        let total: f64 = joined.iter().map(|line| length(line)).sum();
        // At each border each side rounds, and what crosses near a corner may vanish in a tile.
        let allowed = 4.0 * TOLERANCE * (crossed.len() as f64 + 1.0);
        prop_assert!((total - length(&line)).abs() <= allowed, "{} {}", total, length(&line));
        let apart = |a: &Position, b: &Position| (a.0 - b.0).hypot(a.1 - b.1);
        let mut places = crossed.clone();
        places.extend(&line);
        let clear = places.iter().enumerate().all(|(n, a)| {
            places.iter().skip(n + 1).all(|b| apart(a, b) > 12.0 || a == b && line.contains(a))
        });
        // Corners are where four tiles round.
        let side = f64::from(EXTENT);
        let off = |v: f64| (v / side - (v / side).round()).abs() * side;
        let corners = crossed.iter().any(|p| off(p.0) < 12.0 && off(p.1) < 12.0);
        let vertices = line.iter().any(|p| off(p.0) < 12.0 || off(p.1) < 12.0);
        let repeats = (1..line.len()).any(|n| line[..n].contains(&line[n]));
        if clear && !corners && !vertices && !repeats {
            prop_assert_eq!(joined.len(), 1, "{:?} {:?}", line, joined);
            let ends = [joined[0].first(), joined[0].last()];
            prop_assert!(ends.contains(&line.first()) && ends.contains(&line.last()));
        }
    }

    #[test]
    fn any_area_keeps_its_size_and_its_inside(
        reach in prop::collection::vec(40..500_i32, 3..24),
        ask in prop::collection::vec((1..1023_i32, 1..1023_i32), 40),
    ) {
        let turn = std::f64::consts::TAU / reach.len() as f64;
        let corner = |(n, reach): (usize, &i32)| {
            let angle = turn * n as f64;
            (512.0 + f64::from(*reach) * angle.cos(), 512.0 + f64::from(*reach) * angle.sin())
        };
        let ring = global(&reach.iter().enumerate().map(corner).collect::<Vec<_>>());
        let united = areas(&grid(), &cut_area(std::slice::from_ref(&ring))).unwrap();
        let ours: f64 = united
            .iter()
            .map(|rings| area(&rings[0]) - rings[1..].iter().map(|ring| area(ring)).sum::<f64>())
            .sum();
        let around = length(&ring) + 1.0;
        prop_assert!((ours - area(&ring)).abs() <= 1.5 * around, "{} {}", ours, area(&ring));
        let inside = |rings: &[Vec<Position>], p: Position| {
            let crossed = rings.iter().flat_map(|ring| ring.iter().zip(ring.iter().cycle().skip(1)));
            crossed.filter(|(a, b)| {
                (a.1 > p.1) != (b.1 > p.1)
                    && p.0 < (b.0 - a.0) * (p.1 - a.1) / (b.1 - a.1) + a.0
            }).count() % 2 == 1
        };
        let near = |p: Position| {
            ring.iter().zip(ring.iter().cycle().skip(1)).any(|(a, b)| {
                let (dx, dy) = (b.0 - a.0, b.1 - a.1);
                let t = ((p.0 - a.0) * dx + (p.1 - a.1) * dy) / (dx * dx + dy * dy);
                let t = t.clamp(0.0, 1.0);
                (p.0 - a.0 - t * dx).hypot(p.1 - a.1 - t * dy) < 3.0
            })
        };
        let asked: Vec<_> = ask.iter().map(|(x, y)| (f64::from(*x), f64::from(*y))).collect();
        for p in global(&asked).into_iter().filter(|p| !near(*p)) {
            let ours = united.iter().any(|rings| inside(rings, p));
            prop_assert_eq!(ours, inside(std::slice::from_ref(&ring), p), "{:?}", p);
        }
    }
}
