//! What is measured by name, with the target it is designed for, and how it is printed.
//!
//! # Invariants
//! - A printed figure is the median of its runs, with the least and the greatest beside it.
//! - `times` says how many times better the twin is than who stands beside it, and `of target` how
//!   much of the target is reached: above 1 and 100 % is better, whatever the unit.

use serde_json::json;

use crate::config::Config;
use crate::output;

/// A unit, and with it which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things a second: more is better.
    Rate,
    /// Seconds: fewer are better.
    Seconds,
    /// Bytes: fewer are better.
    Bytes,
}

/// Something that is measured.
#[derive(Debug)]
pub(crate) struct Figure {
    /// What `--only` selects by.
    pub(crate) name: &'static str,
    /// What it says.
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    /// What the design aims at on two cores.
    pub(crate) target: Option<f64>,
}

const fn figure(
    name: &'static str,
    title: &'static str,
    unit: Unit,
    target: Option<f64>,
) -> Figure {
    Figure {
        name,
        title,
        unit,
        target,
    }
}

const MILLI: f64 = 1e-3;
const MICRO: f64 = 1e-6;
const MEBI: f64 = 1_048_576.0;

pub(crate) static MEMORY: Figure = figure("memory", "memory a twin", Unit::Bytes, Some(512.0));
pub(crate) static RADIUS_MILLION: Figure = figure(
    "radius-million",
    "radius, 500 of 1 M points",
    Unit::Seconds,
    Some(100.0 * MICRO),
);
pub(crate) static NEAREST_MILLION: Figure = figure(
    "nearest-million",
    "nearest 10 of 1 M points",
    Unit::Seconds,
    Some(20.0 * MICRO),
);
pub(crate) static SEARCH_MILLION: Figure = figure(
    "search-million",
    "search among 1 M names, few found",
    Unit::Seconds,
    Some(100.0 * MILLI),
);
pub(crate) static SEARCH_ALL: Figure = figure(
    "search-all",
    "the same, all of them found",
    Unit::Seconds,
    None,
);
pub(crate) static TILE_MILLION: Figure = figure(
    "tiles-million",
    "tile of zoom 6, 1 M points by cell",
    Unit::Seconds,
    Some(20.0 * MILLI),
);
pub(crate) static TILE_BUILDINGS: Figure = figure(
    "tiles-buildings",
    "tile of zoom 14, 5,000 buildings",
    Unit::Seconds,
    Some(5.0 * MILLI),
);
pub(crate) static TILE_RATE: Figure = figure(
    "tiles-rate",
    "tiles/s of 80 buildings over HTTP",
    Unit::Rate,
    None,
);
/// 25,000 indexed rows and 42,000 relationships a second, one row to three relationships.
pub(crate) static BULK: Figure = figure(
    "bulk",
    "bulk rows/s, relationships too",
    Unit::Rate,
    Some(4.0 / (1.0 / 25_000.0 + 3.0 / 42_000.0)),
);
pub(crate) static RESTART: Figure = figure(
    "restart",
    "restart, a twin",
    Unit::Seconds,
    Some(10.0 * MICRO),
);
pub(crate) static BY_ID: Figure = figure(
    "by-id",
    "by id, GraphQL",
    Unit::Seconds,
    Some(1.0 / 15_000.0),
);
pub(crate) static PAGE: Figure = figure(
    "page",
    "500 rows of 6 fields, GraphQL",
    Unit::Seconds,
    Some(100.0 * MICRO),
);
pub(crate) static PAGE_HTTP: Figure = figure(
    "page-http",
    "the same over HTTP",
    Unit::Seconds,
    Some(200.0 * MICRO),
);
pub(crate) static RADIUS: Figure = figure(
    "radius",
    "radius, 500 points",
    Unit::Seconds,
    Some(100.0 * MICRO),
);
pub(crate) static RADIUS_GRAPHQL: Figure =
    figure("radius-graphql", "the same, GraphQL", Unit::Seconds, None);
pub(crate) static NEAREST: Figure = figure(
    "nearest",
    "nearest 10 points",
    Unit::Seconds,
    Some(20.0 * MICRO),
);
pub(crate) static NEAREST_GRAPHQL: Figure =
    figure("nearest-graphql", "the same, GraphQL", Unit::Seconds, None);
pub(crate) static COMMIT_ONE_P50: Figure = figure(
    "commit-1-p50",
    "commit p50, 1 writer",
    Unit::Seconds,
    Some(2.0 * MILLI),
);
pub(crate) static COMMIT_ONE_P99: Figure =
    figure("commit-1-p99", "commit p99, 1 writer", Unit::Seconds, None);
pub(crate) static COMMIT_MANY_RATE: Figure = figure(
    "commit-16-rate",
    "commits/s, 16 writers",
    Unit::Rate,
    Some(3_500.0),
);
pub(crate) static COMMIT_MANY_P50: Figure = figure(
    "commit-16-p50",
    "commit p50, 16 writers",
    Unit::Seconds,
    None,
);
pub(crate) static COMMIT_MANY_P99: Figure = figure(
    "commit-16-p99",
    "commit p99, 16 writers",
    Unit::Seconds,
    None,
);
pub(crate) static READINGS: Figure = figure(
    "readings",
    "readings/s, single QoS 1 messages",
    Unit::Rate,
    Some(50_000.0),
);
pub(crate) static READINGS_P99: Figure = figure(
    "readings-p99",
    "their acknowledgement, p99",
    Unit::Seconds,
    Some(40.0 * MILLI),
);
pub(crate) static AHEAD: Figure = figure(
    "ahead",
    "readings/s, 20 messages in flight",
    Unit::Rate,
    Some(200_000.0),
);
pub(crate) static AHEAD_P99: Figure = figure(
    "ahead-p99",
    "their acknowledgement, p99",
    Unit::Seconds,
    None,
);
pub(crate) static PACKS: Figure = figure(
    "packs",
    "readings/s, packs of 50, QoS 1",
    Unit::Rate,
    Some(1_000_000.0),
);
pub(crate) static PACKS_P99: Figure = figure(
    "packs-p99",
    "their acknowledgement, p99",
    Unit::Seconds,
    None,
);
pub(crate) static IMPORT: Figure = figure("import-rows", "import rows/s", Unit::Rate, None);
pub(crate) static IMPORT_TIME: Figure = figure(
    "import-time",
    "import, all of it",
    Unit::Seconds,
    Some(10.0),
);
pub(crate) static VILLAGE: Figure = figure(
    "village",
    "village of a point",
    Unit::Seconds,
    Some(5.0 * MICRO),
);
pub(crate) static VILLAGE_GRAPHQL: Figure =
    figure("village-graphql", "the same, GraphQL", Unit::Seconds, None);
pub(crate) static RESTART_NATION: Figure =
    figure("restart-nation", "restart, the nation", Unit::Seconds, None);

pub(crate) static YEAR_RECORD: Figure = figure(
    "year-record",
    "readings/s, sealed and settled",
    Unit::Rate,
    None,
);
pub(crate) static YEAR_CPU: Figure = figure(
    "year-cpu",
    "processor time of a million",
    Unit::Seconds,
    None,
);
pub(crate) static YEAR_BYTES: Figure =
    figure("year-bytes", "a reading on disk", Unit::Bytes, Some(2.0));
pub(crate) static YEAR_BLOCKS: Figure = figure(
    "year-blocks",
    "of it blocks of history",
    Unit::Bytes,
    Some(2.0),
);
pub(crate) static YEAR_DAY: Figure = figure(
    "year-day",
    "a day of one series, p50",
    Unit::Seconds,
    Some(MILLI),
);
pub(crate) static YEAR_DAY_P99: Figure = figure(
    "year-day-p99",
    "a day of one series, p99",
    Unit::Seconds,
    Some(MILLI),
);
pub(crate) static YEAR_DAY_HTTP: Figure = figure(
    "year-day-http",
    "the same over HTTP, p50",
    Unit::Seconds,
    None,
);
pub(crate) static YEAR_DAY_HTTP_P99: Figure = figure(
    "year-day-http-p99",
    "the same over HTTP, p99",
    Unit::Seconds,
    None,
);
pub(crate) static YEAR_MONTH: Figure = figure(
    "year-month",
    "a month of 100 series by hour",
    Unit::Seconds,
    None,
);
pub(crate) static YEAR_MONTH_HTTP: Figure =
    figure("year-month-http", "the same over HTTP", Unit::Seconds, None);
pub(crate) static YEAR_CELLS: Figure = figure(
    "year-cells",
    "newest of all by cell",
    Unit::Seconds,
    Some(50.0 * MILLI),
);
pub(crate) static YEAR_CELLS_HTTP: Figure =
    figure("year-cells-http", "the same over HTTP", Unit::Seconds, None);
pub(crate) static YEAR_RETAINED: Figure = figure(
    "year-retained",
    "disk when readings are gone",
    Unit::Bytes,
    None,
);
pub(crate) static YEAR_BACK: Figure =
    figure("year-back", "until the disk came back", Unit::Seconds, None);
pub(crate) static YEAR_MEMORY: Figure = figure("year-memory", "most memory", Unit::Bytes, None);

/// All figures, in the order of printing.
pub(crate) static ALL: [&Figure; 48] = [
    &MEMORY,
    &RADIUS_MILLION,
    &NEAREST_MILLION,
    &SEARCH_MILLION,
    &SEARCH_ALL,
    &TILE_MILLION,
    &TILE_BUILDINGS,
    &TILE_RATE,
    &BULK,
    &RESTART,
    &BY_ID,
    &PAGE,
    &PAGE_HTTP,
    &RADIUS,
    &RADIUS_GRAPHQL,
    &NEAREST,
    &NEAREST_GRAPHQL,
    &COMMIT_ONE_P50,
    &COMMIT_ONE_P99,
    &COMMIT_MANY_RATE,
    &COMMIT_MANY_P50,
    &COMMIT_MANY_P99,
    &READINGS,
    &READINGS_P99,
    &AHEAD,
    &AHEAD_P99,
    &PACKS,
    &PACKS_P99,
    &IMPORT,
    &IMPORT_TIME,
    &VILLAGE,
    &VILLAGE_GRAPHQL,
    &RESTART_NATION,
    &YEAR_RECORD,
    &YEAR_CPU,
    &YEAR_BYTES,
    &YEAR_BLOCKS,
    &YEAR_DAY,
    &YEAR_DAY_P99,
    &YEAR_DAY_HTTP,
    &YEAR_DAY_HTTP_P99,
    &YEAR_MONTH,
    &YEAR_MONTH_HTTP,
    &YEAR_CELLS,
    &YEAR_CELLS_HTTP,
    &YEAR_RETAINED,
    &YEAR_BACK,
    &YEAR_MEMORY,
];

/// Who did the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    Surreal,
    Victoria,
}

impl Beside {
    fn title(self) -> &'static str {
        match self {
            Self::Surreal => "SurrealDB alone",
            Self::Victoria => "VictoriaMetrics",
        }
    }

    /// Its name in JSON.
    fn key(self) -> &'static str {
        match self {
            Self::Surreal => "surrealdb",
            Self::Victoria => "victoriametrics",
        }
    }
}

/// How figures are printed: a table for people, a line of JSON each for programs.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) beside: Beside,
}

impl Output {
    /// Says how it is measured, above the table.
    pub(crate) fn head(&self, config: &Config, runs: u32, seconds: u32) {
        let store = &config.store;
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let (how, who) = match self.beside {
            Beside::Surreal => (
                format!(
                    "Medians of {runs} runs of {:.1} s a side (least..greatest)",
                    f64::from(seconds) / f64::from(runs)
                ),
                "Both sides",
            ),
            Beside::Victoria => ("One run".to_owned(), "The twin"),
        };
        let said = format!(
            "{how}; {cores} cores, load generators included. {who}: RocksDB, sync of every commit, \
             {} MiB block cache, {} write buffers of {} MiB.",
            store.block_cache_mib, store.write_buffers, store.write_buffer_mib,
        );
        if self.json {
            output::note(&said);
            return;
        }
        output::line(&said);
        output::line(&columns(
            "",
            "twin",
            self.beside.title(),
            "times",
            "target",
            "of target",
        ));
    }

    /// Prints one figure. `alone` is empty where SurrealDB has nothing to set beside it.
    pub(crate) fn row(&self, figure: &Figure, data: &str, ours: &[f64], alone: &[f64]) {
        let (twin, other) = (Spread::of(ours), Spread::of(alone));
        let better = |a: f64, b: f64| match figure.unit {
            Unit::Rate => a / b,
            Unit::Seconds | Unit::Bytes => b / a,
        };
        let (Some(twin), unit) = (twin, figure.unit) else {
            return;
        };
        let times = other.map(|other| better(twin.median, other.median));
        let reached = figure.target.map(|target| better(twin.median, target));
        if self.json {
            let side = |spread: Spread| json!({"median": spread.median, "min": spread.min, "max": spread.max});
            let unit = match unit {
                Unit::Rate => "per second",
                Unit::Seconds => "seconds",
                Unit::Bytes => "bytes",
            };
            let line = json!({
                "name": figure.name,
                "title": figure.title,
                "unit": unit,
                "data": data,
                "twin": side(twin),
                (self.beside.key()): other.map(side),
                "times": times,
                "target": figure.target,
                "of_target": reached,
            });
            output::line(&line.to_string());
            return;
        }
        let none = || "-".to_owned();
        output::line(&columns(
            figure.title,
            &twin.text(unit),
            &other.map_or_else(none, |other| other.text(unit)),
            &times.map_or_else(none, ratio),
            &figure.target.map_or_else(none, |target| text(unit, target)),
            &reached.map_or_else(none, |share| format!("{:.0} %", share * 100.0)),
        ));
        output::line(&format!("    {data}"));
    }
}

fn columns(title: &str, twin: &str, alone: &str, times: &str, target: &str, of: &str) -> String {
    format!("{title:34} {twin:>32} {alone:>32} {times:>8} {target:>11} {of:>9}")
}

/// A median and what lies around it.
#[derive(Debug, Clone, Copy)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }

    fn text(self, unit: Unit) -> String {
        let median = text(unit, self.median);
        if self.min == self.max {
            return median;
        }
        format!(
            "{median} ({}..{})",
            text(unit, self.min),
            text(unit, self.max)
        )
    }
}

fn ratio(times: f64) -> String {
    match times {
        ..10.0 => format!("{times:.2}x"),
        ..100.0 => format!("{times:.1}x"),
        _ => format!("{}x", grouped(times)),
    }
}

/// Three significant digits or so, in a unit that people read.
fn text(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Rate => grouped(value),
        Unit::Bytes if value < 100.0 => format!("{value:.2} B"),
        Unit::Bytes if value < MEBI * 10.0 => format!("{} B", grouped(value)),
        Unit::Bytes => format!("{} MiB", grouped(value / MEBI)),
        Unit::Seconds => {
            let (scaled, unit) = match value {
                ..1e-3 => (value * 1e6, "us"),
                ..1.0 => (value * 1e3, "ms"),
                _ => (value, "s"),
            };
            match scaled {
                ..10.0 => format!("{scaled:.2} {unit}"),
                ..100.0 => format!("{scaled:.1} {unit}"),
                _ => format!("{scaled:.0} {unit}"),
            }
        }
    }
}

/// A whole number with a comma at every thousand.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_between_the_least_and_the_greatest() {
        let spread = Spread::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.0, 3.0));
        assert_eq!(Spread::of(&[4.0, 1.0]).unwrap().median, 2.5);
        assert!(Spread::of(&[]).is_none());
    }

    #[test]
    fn values_are_printed_in_units_that_people_read() {
        assert_eq!(text(Unit::Rate, 1_234_567.4), "1,234,567");
        assert_eq!(text(Unit::Rate, 999.0), "999");
        assert_eq!(text(Unit::Seconds, 0.000_004_5), "4.50 us");
        assert_eq!(text(Unit::Seconds, 0.012), "12.0 ms");
        assert_eq!(text(Unit::Seconds, 123.4), "123 s");
        assert_eq!(text(Unit::Bytes, 1_512.0), "1,512 B");
        assert_eq!(text(Unit::Bytes, 1.234), "1.23 B");
        assert_eq!(text(Unit::Bytes, 100.0 * 1_048_576.0), "100 MiB");
    }

    #[test]
    fn every_figure_has_a_name_of_its_own() {
        let mut names: Vec<_> = ALL.iter().map(|figure| figure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
