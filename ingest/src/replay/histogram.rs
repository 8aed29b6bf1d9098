//! A histogram of durations in fixed memory: sixteen steps for each doubling.

/// Steps for each doubling, as a power of two.
const STEP_BITS: u32 = 4;
const STEPS: usize = 1 << STEP_BITS;
const BUCKETS: usize = (64 - STEP_BITS as usize + 1) * STEPS;

/// Counts of values; a quantile is at most a sixteenth above the true one.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// A value that the given share of all values does not exceed; 0 where there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(i);
            }
        }
        0
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let doubling = value.ilog2() - STEP_BITS;
    let step = (value >> doubling) as usize - STEPS;
    (doubling as usize + 1) * STEPS + step
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (doubling, step) = (bucket / STEPS - 1, bucket % STEPS);
    let low = ((STEPS + step) as u64) << doubling;
    low + ((1 << doubling) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_quantile_is_close_above_the_sorted_value(
            values in prop::collection::vec(prop_oneof![0..100_u64, any::<u64>()], 1..50),
            share in 0.01..1.0_f64,
        ) {
            let mut histogram = Histogram::default();
            for value in &values {
                histogram.add(*value);
            }
            let mut sorted = values;
            sorted.sort_unstable();
            let rank = ((sorted.len() as f64 * share).ceil() as usize).max(1);
            let (exact, found) = (sorted[rank - 1], histogram.quantile(share));
            prop_assert!(found >= exact && found - exact <= exact / 16, "{found} for {exact}");
        }
    }

    #[test]
    fn of_nothing_every_quantile_is_zero() {
        assert_eq!(Histogram::default().quantile(0.99), 0);
    }
}
