//! How many a second: a bucket that refills with time and holds one second's worth.

/// A limit of things a second.
#[derive(Debug)]
pub(crate) struct Rate {
    per_sec: u32,
    /// Millionths of a thing that may come now.
    left: u64,
    /// When that was counted, microseconds.
    at: i64,
}

const MILLION: u64 = 1_000_000;

impl Rate {
    pub(crate) fn new(per_sec: u32) -> Self {
        Self {
            per_sec,
            left: u64::from(per_sec) * MILLION,
            at: i64::MIN,
        }
    }

    /// Whether another may come at this time, microseconds; if so, it is counted. A clock that goes
    /// back gives nothing and takes nothing.
    pub(crate) fn take(&mut self, now: i64) -> bool {
        let elapsed = u64::try_from(now.saturating_sub(self.at)).unwrap_or(0);
        self.at = now;
        let gained = elapsed.min(MILLION) * u64::from(self.per_sec);
        self.left = (self.left + gained).min(u64::from(self.per_sec) * MILLION);
        let taken = self.left >= MILLION;
        if taken {
            self.left -= MILLION;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_may_come_at_once_and_then_as_time_passes() {
        let mut rate = Rate::new(2);
        let taken = |rate: &mut Rate, now| (0..9).take_while(|_| rate.take(now)).count();
        assert_eq!(taken(&mut rate, 1_000_000), 2);
        assert_eq!(taken(&mut rate, 1_400_000), 0);
        assert_eq!(taken(&mut rate, 1_500_000), 1);
        assert_eq!(taken(&mut rate, 100), 0, "the clock went back");
        assert_eq!(taken(&mut rate, i64::MAX), 2);
    }
}
