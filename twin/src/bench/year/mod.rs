//! A year of minute readings: what recording, keeping and asking costs, beside `VictoriaMetrics` with
//! the same readings and the same questions. Only where it is asked for: it takes long.

mod disk;
mod doors;
mod fleet;
mod questions;
mod recorded;
mod victoria;

use clap::Args;
use twin_core::TwinId;
use twin_core::space::{CellIndex, Point, Resolution};

use self::doors::{Http, View};
use self::fleet::{Fleet, MINUTES_A_DAY};
use self::questions::{Answers, Questions, SERIES};
use self::recorded::Recorded;
use self::victoria::Victoria;
use super::Bench;
use super::figure::{self, Figure};
use super::measure::peak_bytes;
use super::synthetic::{self, Random};
use crate::failure::Failure;
use crate::output;

/// Words that ask for it begin so.
pub(super) const WORD: &str = "year";
const SEED: u64 = 525_600;
/// Cells by which the newest values are asked for.
const RESOLUTION: Resolution = Resolution::Five;

/// How much a year is.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Size {
    /// Days of minute readings for `--only year`; 365 is the whole
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    days: u32,
    /// Sensors for `--only year`
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    devices: u32,
    /// Minutes that they gather before they send, for `--only year`
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = pack)]
    pack: u32,
}

fn pack(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(pack @ 1..=60) if MINUTES_A_DAY.is_multiple_of(pack) => Ok(pack),
        _ => Err("give minutes, at most 60, of which a day is a multiple: 1, 5, 15".to_owned()),
    }
}

/// A sensor and where it stands.
struct Place {
    id: TwinId,
    point: Point,
    cell: CellIndex,
}

fn place(number: u32) -> Result<Place, Failure> {
    let point = Random::new(SEED ^ u64::from(number)).point(0.0)?;
    Ok(Place {
        id: synthetic::id(&format!("bench:sensor:{number}"))?,
        point,
        cell: point.cell(RESOLUTION),
    })
}

/// All of it.
pub(super) async fn all(bench: &Bench, size: Size) -> Result<(), Failure> {
    let Size { days, devices, .. } = size;
    let fleet = Fleet::load(&bench.config.twin.data, devices, SEED)?;
    let places = (0..devices).map(place).collect::<Result<Vec<_>, _>>()?;
    let questions = Questions::new(&fleet, &places, days);
    let twin = ours(bench, &fleet, &places, &questions, size).await?;
    let peer = if victoria::installed() {
        Some(theirs(bench, &fleet, &places, &questions, days).await?)
    } else {
        output::note(
            "VictoriaMetrics is not installed, so nothing stands beside these: apt-get install \
             victoria-metrics",
        );
        None
    };
    show(bench, size, &questions, &twin, peer.as_ref());
    Ok(())
}

/// What a side reached, in seconds and bytes.
struct Side {
    readings: u64,
    elapsed: f64,
    making: f64,
    /// Processor time of recording, of the twin's side with its generator.
    cpu: f64,
    bytes: u64,
    http: Answers,
    peak: u64,
}

/// What only the twin was measured for.
struct Twin {
    side: Side,
    view: Answers,
    settling: f64,
    /// Bytes of the folder before the twin was opened again.
    before: u64,
    blocks: recorded::Blocks,
    dropped: u64,
    /// Bytes of the folder when the readings were gone, and seconds until then; `None` where their disk
    /// did not come back.
    after: u64,
    back: Option<f64>,
}

async fn ours(
    bench: &Bench,
    fleet: &Fleet,
    places: &[Place],
    questions: &Questions<'_>,
    size: Size,
) -> Result<Twin, Failure> {
    let recorded = Recorded::open(bench, places).await?;
    let took = recorded.record(fleet, places, size).await?;
    let (before, _) = recorded.quiet().await?;
    let recorded = recorded.reopen().await?;
    let (bytes, _) = recorded.quiet().await?;
    let blocks = recorded.blocks().await?;
    let view = View {
        twin: &recorded.twin,
        places,
    };
    let view = questions.ask(&view).await?;
    let door = Http::open(&recorded.twin, places).await?;
    let http = questions.ask(&door).await?;
    door.close();
    let peak = peak_bytes("self")?;
    let dropped = recorded.retain_sums(size.days).await?;
    // Half of the readings' blocks, because what the engine keeps beside them comes and goes.
    let wanted = bytes.saturating_sub(blocks.days / 2);
    let (after, back) = recorded.shrunk(wanted).await?;
    recorded.close().await?;
    Ok(Twin {
        side: Side {
            readings: took.readings,
            elapsed: took.elapsed.as_secs_f64(),
            making: took.making.as_secs_f64(),
            cpu: took.cpu,
            bytes,
            http,
            peak,
        },
        view,
        settling: took.settling.as_secs_f64(),
        before,
        blocks,
        dropped,
        after,
        back: back.map(|back| back.as_secs_f64()),
    })
}

async fn theirs(
    bench: &Bench,
    fleet: &Fleet,
    places: &[Place],
    questions: &Questions<'_>,
    days: u32,
) -> Result<Side, Failure> {
    let victoria = Victoria::start(bench.folder.join("victoria"), places, days).await?;
    let took = tokio::task::block_in_place(|| victoria.import(fleet, days))?;
    let bytes = victoria.quiet().await?;
    let http = questions.ask(&victoria).await?;
    Ok(Side {
        readings: took.readings,
        elapsed: took.elapsed.as_secs_f64(),
        making: took.making.as_secs_f64(),
        cpu: took.cpu,
        bytes,
        http,
        peak: victoria.peak_bytes()?,
    })
}

fn show(bench: &Bench, size: Size, questions: &Questions<'_>, twin: &Twin, peer: Option<&Side>) {
    let Twin { side, blocks, .. } = twin;
    let per_reading = |bytes: u64| bytes as f64 / side.readings as f64;
    let row = |figure: &'static Figure, data: &str, ours: f64, theirs: &dyn Fn(&Side) -> f64| {
        let theirs: Vec<f64> = peer.into_iter().map(theirs).collect();
        bench.show(figure, data, &[ours], &theirs);
    };
    let alone = |figure: &'static Figure, data: &str, ours: f64| {
        bench.show(figure, data, &[ours], &[]);
    };
    let data = format!(
        "{} readings: {} days of every minute of {} sensors after real series; a record of {} \
         minutes of all each, synced, sealed and settled beside it, {:.1} s of {:.1} s after the last, \
         {:.1} s to make them up; VictoriaMetrics: JSON lines of an hour a request, not synced, {:.1} s to make \
         them up beside it",
        side.readings,
        size.days,
        size.devices,
        size.pack,
        twin.settling,
        side.elapsed,
        side.making,
        peer.map_or(0.0, |peer| peer.making),
    );
    row(
        &figure::YEAR_RECORD,
        &data,
        side.readings as f64 / side.elapsed,
        &|peer| peer.readings as f64 / peer.elapsed,
    );
    let per_million = |side: &Side| side.cpu / side.readings as f64 * 1e6;
    let data = "of all cores until everything was settled; the twin: making them up too; \
                VictoriaMetrics: its process, its background work until then";
    row(&figure::YEAR_CPU, data, per_million(side), &per_million);
    let data = format!(
        "the whole folder, {} MiB after opening again ({:.2} B a reading before, with the engine's \
         log); blocks of readings are {:.2} B, of minutes {:.3} B, of hours {:.3} B; the rest is the log \
         of {} days for followers, indexes, the engine; VictoriaMetrics: after its forced merge",
        side.bytes >> 20,
        per_reading(twin.before),
        per_reading(blocks.days),
        per_reading(blocks.minutes),
        per_reading(blocks.hours),
        bench.config.log.readings_days,
    );
    row(
        &figure::YEAR_BYTES,
        &data,
        per_reading(side.bytes),
        &|peer| peer.bytes as f64 / peer.readings as f64,
    );
    let history = blocks.days + blocks.minutes + blocks.hours;
    let data = "the same without log, indexes and engine";
    alone(&figure::YEAR_BLOCKS, data, per_reading(history));
    let view = &twin.view;
    let data = "1,000 random ones, in process, one client";
    alone(&figure::YEAR_DAY, data, view.day_p50);
    alone(&figure::YEAR_DAY_P99, data, view.day_p99);
    let data =
        "over one kept connection, as JSON; GraphQL in two lists; VictoriaMetrics: /api/v1/export";
    let http = &side.http;
    row(&figure::YEAR_DAY_HTTP, data, http.day_p50, &|peer| {
        peer.http.day_p50
    });
    row(&figure::YEAR_DAY_HTTP_P99, data, http.day_p99, &|peer| {
        peer.http.day_p99
    });
    let data = format!(
        "{} series, {} days, the mean of each hour, 20 random ones, in process one series after another",
        SERIES.min(size.devices as usize),
        size.days.min(30),
    );
    alone(&figure::YEAR_MONTH, &data, view.month);
    let data = "one question over HTTP; VictoriaMetrics: avg_over_time, /api/v1/query_range";
    row(&figure::YEAR_MONTH_HTTP, data, http.month, &|peer| {
        peer.http.month
    });
    let data = format!(
        "the mean of the newest value of {} sensors by {} H3 cells, the view",
        size.devices,
        questions.cells()
    );
    alone(&figure::YEAR_CELLS, &data, view.newest);
    let data = "aggregate over HTTP; VictoriaMetrics: avg by (cell) (last_over_time), cells given as labels";
    row(&figure::YEAR_CELLS_HTTP, data, http.newest, &|peer| {
        peer.http.newest
    });
    let data = format!(
        "the folder once retention had passed every reading and kept the sums, {} tables dropped; \
         {} MiB before{}",
        twin.dropped,
        side.bytes >> 20,
        if twin.back.is_none() {
            "; the disk did NOT come back: the engine had no reason yet to rewrite its files"
        } else {
            ""
        },
    );
    alone(&figure::YEAR_RETAINED, &data, twin.after as f64);
    let data = "from dropping the tables until the folder stayed as small as it became";
    if let Some(back) = twin.back {
        alone(&figure::YEAR_BACK, data, back);
    }
    let data = "resident, the generator and its client in it; VictoriaMetrics: its process";
    row(&figure::YEAR_MEMORY, data, side.peak as f64, &|peer| {
        peer.peak as f64
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_divides_a_day() {
        assert_eq!((pack("1"), pack("5"), pack("60")), (Ok(1), Ok(5), Ok(60)));
        for text in ["0", "7", "61", "-5", "five", ""] {
            assert!(pack(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_sensor_stands_in_its_cell_every_time() {
        let (one, again) = (place(7).unwrap(), place(7).unwrap());
        assert_eq!((one.point, one.cell), (again.point, again.cell));
        assert_eq!(one.point.cell(RESOLUTION), one.cell);
        assert_ne!(one.point, place(8).unwrap().point);
    }
}
