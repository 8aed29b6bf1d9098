//! Closed loops: each worker does the next thing when the last one is done, until time is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use tokio::task::JoinSet;

use crate::failure::Failure;

/// Most times kept of one worker; later ones are counted only.
const MAX_TIMES: usize = 4_000_000;

/// SurrealDB's inserts beside each other, when loading in bulk.
pub(crate) const WRITERS: usize = 2;

/// What became of a loop.
#[derive(Debug)]
pub(crate) struct Done {
    /// Things done.
    count: u64,
    elapsed: Duration,
    /// Nanoseconds of each, sorted.
    each: Vec<u64>,
}

impl Done {
    /// Things a second.
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }

    /// Seconds that the given share of all things did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let rank = (self.each.len() as f64 * share).ceil() as usize;
        let nanos = self.each.get(rank.saturating_sub(1));
        nanos.map_or(0.0, |nanos| *nanos as f64 / 1e9)
    }
}

/// Runs `workers` loops beside each other; `work` is told the worker and its turn. Every worker
/// has at least one turn.
pub(crate) async fn loops<F, W>(workers: usize, run_for: Duration, work: F) -> Result<Done, Failure>
where
    F: Fn(usize, u64) -> W + Send + Sync + 'static,
    W: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let work = Arc::new(work);
    let begun = Instant::now();
    // Dropped early, as by an interruption, the set ends its tasks.
    let mut tasks = JoinSet::new();
    for worker in 0..workers {
        let work = Arc::clone(&work);
        tasks.spawn(async move {
            let (mut each, mut count) = (Vec::new(), 0);
            let mut before = Instant::now();
            for turn in 0.. {
                work(worker, turn).await?;
                let now = Instant::now();
                count += 1;
                if each.len() < MAX_TIMES {
                    each.push(nanos(now - before));
                }
                before = now;
                if now - begun >= run_for {
                    break;
                }
            }
            Ok::<_, Failure>((each, count))
        });
    }
    let (mut each, mut count) = (Vec::new(), 0);
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.map_err(|error| Failure::failed(format!("a worker ended: {error}")))?;
        let (times, counted) = ended?;
        each.extend(times);
        count += counted;
    }
    let elapsed = begun.elapsed();
    each.sort_unstable();
    Ok(Done {
        count,
        elapsed,
        each,
    })
}

/// Runs one loop on this thread, which may block.
pub(crate) fn timed(
    run_for: Duration,
    mut work: impl FnMut() -> Result<(), Failure>,
) -> Result<Done, Failure> {
    let begun = Instant::now();
    let (mut each, mut count, mut before) = (Vec::new(), 0, begun);
    while before - begun < run_for || count == 0 {
        work()?;
        let now = Instant::now();
        count += 1;
        if each.len() < MAX_TIMES {
            each.push(nanos(now - before));
        }
        before = now;
    }
    let elapsed = begun.elapsed();
    each.sort_unstable();
    Ok(Done {
        count,
        elapsed,
        each,
    })
}

/// Runs jobs on the runtime's threads, [`WRITERS`] at a time.
pub(crate) async fn spread<J>(jobs: impl Iterator<Item = J>) -> Result<(), Failure>
where
    J: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let running = stream::iter(jobs).map(tokio::spawn);
    let mut running = running.buffer_unordered(WRITERS);
    while let Some(ended) = running.next().await {
        ended.map_err(|error| Failure::failed(format!("a writer ended: {error}")))??;
    }
    Ok(())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes of memory that this process holds.
pub(crate) fn resident_bytes() -> Result<u64, Failure> {
    status_bytes("self", "VmRSS:")
}

/// Most bytes of memory that a process ever held; `self` is this one.
pub(crate) fn peak_bytes(process: &str) -> Result<u64, Failure> {
    status_bytes(process, "VmHWM:")
}

/// Seconds of processor time that a process took so far, its system calls included.
pub(crate) fn cpu_seconds(process: &str) -> Result<f64, Failure> {
    /// Linux counts it in hundredths of a second on every machine that it shows them on.
    const TICKS: f64 = 100.0;
    let path = format!("/proc/{process}/stat");
    let failed = |why: String| Failure::failed(format!("{path}: {why}"));
    let stat = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    // The name stands in brackets and may hold anything; after it come state and numbers.
    let numbers = stat.rsplit_once(')').map(|(_, rest)| rest);
    let mut times = numbers.into_iter().flat_map(str::split_whitespace).skip(11);
    let mut next = || times.next().and_then(|time| time.parse::<f64>().ok());
    match (next(), next()) {
        (Some(user), Some(system)) => Ok((user + system) / TICKS),
        _ => Err(failed("no times".to_owned())),
    }
}

fn status_bytes(process: &str, name: &str) -> Result<u64, Failure> {
    let path = format!("/proc/{process}/status");
    let failed = |why: String| Failure::failed(format!("{path}: {why}"));
    let status = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10)
        .ok_or_else(|| failed(format!("no {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_worker_has_a_turn_and_a_failure_ends_the_loop() {
        let done = loops(3, Duration::ZERO, |_, _| async { Ok(()) })
            .await
            .unwrap();
        assert_eq!(done.count, 3);
        assert!(done.rate() > 0.0 && done.quantile(0.5) >= 0.0);
        let failed = loops(3, Duration::from_mins(10), |worker, _| async move {
            if worker == 1 {
                return Err(Failure::failed("no"));
            }
            tokio::task::yield_now().await;
            Ok(())
        });
        assert!(failed.await.is_err());
    }

    #[test]
    fn a_process_holds_no_more_than_its_peak() {
        assert!(resident_bytes().unwrap() <= peak_bytes("self").unwrap());
        assert!(peak_bytes("none").is_err());
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = cpu_seconds("self").unwrap();
        let mut sum = 0_u64;
        // Other tests' work counts too, so this ends; by itself it needs some hundredths of a second.
        while cpu_seconds("self").unwrap() <= before {
            sum = (0..1_000_000).fold(sum, |sum, i| sum.wrapping_mul(31) ^ i);
        }
        assert!(std::hint::black_box(sum) != 1);
        assert!(cpu_seconds("none").is_err());
    }
}
