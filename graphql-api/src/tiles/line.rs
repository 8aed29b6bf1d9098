//! Lines with fewer vertices.

use super::grid::Spot;

/// A line that leaves out vertices and stays within `tolerance` of each of them (Ramer, Douglas and
/// Peucker). Its ends stay, so lines that meet at their ends still do.
pub(crate) fn simplified(line: Vec<Spot>, tolerance: f64) -> Vec<Spot> {
    if line.len() < 3 {
        return line;
    }
    let mut keep = vec![false; line.len()];
    keep[0] = true;
    keep[line.len() - 1] = true;
    let mut spans = vec![(0, line.len() - 1)];
    while let Some((first, last)) = spans.pop() {
        let mut farthest = (tolerance, None);
        for at in first + 1..last {
            let distance = distance(line[at], line[first], line[last]);
            if distance > farthest.0 {
                farthest = (distance, Some(at));
            }
        }
        if let (_, Some(at)) = farthest {
            keep[at] = true;
            spans.push((first, at));
            spans.push((at, last));
        }
    }
    let kept = line.into_iter().zip(keep).filter(|(_, keep)| *keep);
    kept.map(|(spot, _)| spot).collect()
}

/// Units from a position to a segment.
fn distance(p: Spot, a: Spot, b: Spot) -> f64 {
    let (way, to) = ([b[0] - a[0], b[1] - a[1]], [p[0] - a[0], p[1] - a[1]]);
    let length = way[0] * way[0] + way[1] * way[1];
    let share = if length > 0.0 {
        ((to[0] * way[0] + to[1] * way[1]) / length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (to[0] - share * way[0]).hypot(to[1] - share * way[1])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_simplified_line_keeps_its_ends_and_stays_near_every_vertex(
            line in prop::collection::vec((0.0..100.0_f64, 0.0..100.0_f64), 2..60),
            tolerance in 0.0..20.0_f64,
        ) {
            let line: Vec<Spot> = line.into_iter().map(|(x, y)| [x, y]).collect();
            let simple = simplified(line.clone(), tolerance);
            prop_assert_eq!(simple.first(), line.first());
            prop_assert_eq!(simple.last(), line.last());
            for at in &line {
                let near = simple.windows(2).map(|pair| distance(*at, pair[0], pair[1]));
                prop_assert!(near.fold(f64::INFINITY, f64::min) <= tolerance + 1e-9);
            }
        }
    }
}
