//! `VictoriaMetrics` beside the twin: the same readings through its import API, the same questions
//! through its query API.
//!
//! # Invariants
//! - The process ends with its value, and by its id.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use twin_core::history::HOUR_US;

use super::super::measure::{cpu_seconds, peak_bytes};
use super::super::synthetic::LEVEL;
use super::super::web::{agent, body};
use super::fleet::{Fleet, MINUTES_A_DAY};
use super::questions::{Cells, Day, Hours, Month, Points, Source, span};
use super::{Place, disk};
use crate::failure::Failure;

const PROGRAM: &str = "victoria-metrics";
/// Minutes of all devices in one request.
const MINUTES: u32 = 60;
/// Requests that are made up while another is sent.
const AHEAD: usize = 2;
/// Longest time until it can be asked, and between two looks.
const START: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);
/// Longest time of one request.
const PATIENCE: Duration = Duration::from_mins(10);

/// Whether it is installed.
pub(super) fn installed() -> bool {
    let tried = Command::new(PROGRAM)
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok()
}

/// A running `VictoriaMetrics` on a folder of its own.
pub(super) struct Victoria<'a> {
    child: Child,
    url: String,
    folder: PathBuf,
    agent: ureq::Agent,
    places: &'a [Place],
    days: u32,
}

/// What importing took.
pub(super) struct Took {
    pub(super) readings: u64,
    pub(super) elapsed: Duration,
    /// Of it in making the readings up and writing them as text, on another thread.
    pub(super) making: Duration,
    /// Seconds of processor time of its process.
    pub(super) cpu: f64,
}

impl<'a> Victoria<'a> {
    pub(super) async fn start(
        folder: PathBuf,
        places: &'a [Place],
        days: u32,
    ) -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format!("{PROGRAM}: {error}"));
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let address = free.local_addr().map_err(failed)?;
        drop(free);
        let child = Command::new(PROGRAM)
            .arg(format!("-storageDataPath={}", folder.display()))
            .arg(format!("-httpListenAddr={address}"))
            .args(["-retentionPeriod=100y", "-loggerLevel=ERROR"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut started = Self {
            child,
            url: format!("http://{address}"),
            folder,
            agent: agent(PATIENCE),
            places,
            days,
        };
        let begun = Instant::now();
        while started.get("/health", &[]).is_err() {
            let ended = started.child.try_wait().map_err(failed)?;
            if let Some(ended) = ended {
                return Err(Failure::failed(format!("{PROGRAM} ended: {ended}")));
            }
            if begun.elapsed() > START {
                return Err(Failure::failed(format!(
                    "{PROGRAM} does not answer at {address}"
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(started)
    }

    /// Gives it all readings, in order of time, and waits until they can be asked for.
    pub(super) fn import(&self, fleet: &Fleet, days: u32) -> Result<Took, Failure> {
        let begun = Instant::now();
        let (full, requests) = std::sync::mpsc::sync_channel::<String>(AHEAD);
        let url = format!("{}/api/v1/import", self.url);
        let places = self.places;
        let (making, readings) = std::thread::scope(|scope| {
            let maker = scope.spawn(move || {
                let (mut making, mut readings) = (Duration::ZERO, 0);
                for first in (0..days * MINUTES_A_DAY).step_by(MINUTES as usize) {
                    let from = Instant::now();
                    let (text, count) = lines(fleet, places, first..first + MINUTES);
                    readings += count;
                    making += from.elapsed();
                    // Who sends has ended and says why.
                    if full.send(text).is_err() {
                        break;
                    }
                }
                (making, readings)
            });
            for text in requests {
                body(&url, self.agent.post(&url).send(text))?;
            }
            let ended = maker.join();
            ended.map_err(|_panic| Failure::failed("the maker of readings ended badly"))
        })?;
        self.get("/internal/force_flush", &[])?;
        Ok(Took {
            readings,
            elapsed: begun.elapsed(),
            making,
            cpu: cpu_seconds(&self.child.id().to_string())?,
        })
    }

    /// The folder's bytes once it works on it no more, after everything was merged.
    pub(super) async fn quiet(&self) -> Result<u64, Failure> {
        self.get("/internal/force_merge", &[])?;
        Ok(disk::quiet(&self.folder).await?.0)
    }

    /// Most memory that it ever held.
    pub(super) fn peak_bytes(&self) -> Result<u64, Failure> {
        peak_bytes(&self.child.id().to_string())
    }

    fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Vec<u8>, Failure> {
        let url = format!("{}{path}", self.url);
        let request = parameters
            .iter()
            .fold(self.agent.get(&url), |request, (name, value)| {
                request.query(*name, *value)
            });
        tokio::task::block_in_place(|| body(&url, request.call()))
    }

    /// The series of an answer to a query, each with its labels.
    fn query(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(Duration, Vec<Json>), Failure> {
        let begun = Instant::now();
        let answer = self.get(path, parameters)?;
        let took = begun.elapsed();
        let mut answer: Json = serde_json::from_slice(&answer).map_err(|error| wrong(&error))?;
        match answer["data"]["result"].take() {
            Json::Array(result) => Ok((took, result)),
            _ => Err(wrong(&answer)),
        }
    }

    fn end(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Victoria<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, id = self.child.id(), "{PROGRAM} was not ended");
        }
    }
}

fn wrong(what: &impl std::fmt::Display) -> Failure {
    Failure::failed(format!("{PROGRAM} answers {what}"))
}

/// Seconds since 1970, as a query has them.
fn seconds(us: i64) -> String {
    format!("{}.{:03}", us / 1_000_000, us / 1_000 % 1_000)
}

/// The last millisecond before a time: a window of the query language holds its end and not its
/// beginning.
fn before(us: i64) -> String {
    seconds(us - 1_000)
}

/// Readings of some minutes as lines of JSON, one a device, and how many they are.
fn lines(fleet: &Fleet, places: &[Place], minutes: std::ops::Range<u32>) -> (String, u64) {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(places.len() * minutes.len() * 22);
    let mut count = 0;
    for (place, device) in places.iter().zip(0..) {
        let decimals = usize::from(fleet.decimals(device));
        let samples: Vec<_> = fleet.of_device(device, minutes.clone()).collect();
        if samples.is_empty() {
            continue;
        }
        count += samples.len() as u64;
        // Writing into a text cannot fail.
        let _written = write!(
            text,
            r#"{{"metric":{{"__name__":"{LEVEL}","device":"{}","cell":"{}"}},"values":["#,
            place.id, place.cell
        );
        for sample in &samples {
            decimal(&mut text, sample.steps.into(), decimals);
            text.push(',');
        }
        text.pop();
        text.push_str(r#"],"timestamps":["#);
        for sample in &samples {
            decimal(&mut text, sample.ts_ms, 0);
            text.push(',');
        }
        text.pop();
        text.push_str("]}\n");
    }
    (text, count)
}

/// Writes a number of steps with so many decimals, at most 4. Formatting floating point took half of an
/// import's time.
fn decimal(text: &mut String, steps: i64, decimals: usize) {
    let mut digits = [0; 26];
    let (mut at, mut written, mut rest) = (digits.len(), 0, steps.unsigned_abs());
    while rest > 0 || written <= decimals {
        if written == decimals && decimals > 0 {
            at -= 1;
            digits[at] = b'.';
        }
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        written += 1;
    }
    if steps < 0 {
        text.push('-');
    }
    text.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

impl Source for Victoria<'_> {
    async fn day(&self, asked: Day) -> Result<(Duration, Points), Failure> {
        let ts = span(asked.day, 1);
        let series = format!(
            "{LEVEL}{{device=\"{}\"}}",
            self.places[asked.device as usize].id
        );
        let (start, end) = (seconds(ts.start), before(ts.end));
        let parameters = [
            ("match[]", series.as_str()),
            ("start", start.as_str()),
            ("end", end.as_str()),
        ];
        let begun = Instant::now();
        let answer = self.get("/api/v1/export", &parameters)?;
        let took = begun.elapsed();
        let mut points = Points::new();
        for line in answer
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line: Json = serde_json::from_slice(line).map_err(|error| wrong(&error))?;
            let (Json::Array(times), Json::Array(values)) = (&line["timestamps"], &line["values"])
            else {
                return Err(wrong(&line));
            };
            for pair in times.iter().zip(values) {
                let (Some(ts), Some(value)) = (pair.0.as_i64(), pair.1.as_f64()) else {
                    return Err(wrong(&line));
                };
                points.push((ts, value));
            }
        }
        points.sort_by_key(|(ts, _)| *ts);
        Ok((took, points))
    }

    async fn month(&self, asked: &Month) -> Result<(Duration, Hours), Failure> {
        let ids = asked.devices.iter();
        let number: std::collections::BTreeMap<&str, u32> = ids
            .map(|device| (self.places[*device as usize].id.as_str(), *device))
            .collect();
        let names: Vec<&str> = number.keys().copied().collect();
        let query = format!(
            "avg_over_time({LEVEL}{{device=~\"{}\"}}[1h])",
            names.join("|")
        );
        let ts = span(asked.first, asked.days);
        let (start, end) = (before(ts.start + HOUR_US), before(ts.end));
        let parameters = [
            ("query", query.as_str()),
            ("start", start.as_str()),
            ("end", end.as_str()),
            ("step", "1h"),
            // Else times are moved to whole steps.
            ("nocache", "1"),
        ];
        let (took, result) = self.query("/api/v1/query_range", &parameters)?;
        let mut hours = Hours::new();
        for series in &result {
            let device = series["metric"]["device"].as_str();
            let device = device.and_then(|id| number.get(id)).copied();
            let (Some(device), Json::Array(values)) = (device, &series["values"]) else {
                return Err(wrong(series));
            };
            for pair in values {
                let (Some(at), Some(mean)) = (pair[0].as_f64(), number_of(&pair[1])) else {
                    return Err(wrong(series));
                };
                let hour = (at * 1_000.0).round() as i64 + 1 - HOUR_US / 1_000;
                hours.insert((device, hour), mean);
            }
        }
        Ok((took, hours))
    }

    async fn newest(&self) -> Result<(Duration, Cells), Failure> {
        // Wide enough for the longest gap.
        let query = format!("avg by (cell) (last_over_time({LEVEL}[12h]))");
        let at = before(span(0, self.days).end);
        let parameters = [
            ("query", query.as_str()),
            ("time", at.as_str()),
            ("nocache", "1"),
        ];
        let (took, result) = self.query("/api/v1/query", &parameters)?;
        let mut cells = Cells::new();
        for series in &result {
            let cell = series["metric"]["cell"].as_str();
            let (Some(cell), Some(mean)) = (cell, number_of(&series["value"][1])) else {
                return Err(wrong(series));
            };
            cells.insert(cell.to_owned(), mean);
        }
        Ok((took, cells))
    }
}

/// The query language answers numbers as text.
fn number_of(value: &Json) -> Option<f64> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::{fleet, place};
    use super::*;

    #[test]
    fn a_number_of_steps_is_written_with_its_decimals() {
        for (steps, decimals, text) in [
            (0, 0, "0"),
            (7, 0, "7"),
            (1_672_531_200_000, 0, "1672531200000"),
            (0, 1, "0.0"),
            (-5, 1, "-0.5"),
            (123, 2, "1.23"),
            (-1_000, 2, "-10.00"),
            (i64::MIN, 4, "-922337203685477.5808"),
        ] {
            let mut written = String::new();
            decimal(&mut written, steps, decimals);
            assert_eq!(written, text);
        }
    }

    #[test]
    fn an_hour_is_a_line_of_json_for_each_sensor_that_measured() {
        let fleet = fleet::small(3);
        let places: Vec<_> = (0..3).map(|number| place(number).unwrap()).collect();
        let (text, count) = lines(&fleet, &places, 60..120);
        let mut found = 0;
        for (line, device) in text.lines().zip(0..) {
            let line: Json = serde_json::from_str(line).unwrap();
            assert_eq!(
                line["metric"]["device"],
                places[device as usize].id.as_str()
            );
            let samples: Vec<_> = fleet.of_device(device, 60..120).collect();
            let times: Vec<_> = samples.iter().map(|sample| sample.ts_ms).collect();
            let values: Vec<_> = samples.iter().map(|sample| fleet.value(*sample)).collect();
            assert_eq!(line["timestamps"], serde_json::json!(times));
            let parsed: Vec<f64> = serde_json::from_value(line["values"].clone()).unwrap();
            assert_eq!(parsed, values);
            found += samples.len() as u64;
        }
        assert_eq!((text.lines().count(), found), (3, count));
    }

    #[test]
    fn a_window_ends_a_millisecond_before_the_next_begins() {
        assert_eq!(seconds(1_672_531_200_000_000), "1672531200.000");
        assert_eq!(before(1_672_531_200_000_000), "1672531199.999");
    }
}
