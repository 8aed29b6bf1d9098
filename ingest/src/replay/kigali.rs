//! Hourly PM2.5 as the United States' embassies publish it: local time, 12-hour clock, -999 for
//! nothing.
//!
//! # Invariants
//! - Only rows that the source calls valid, in micrograms per cubic metre, become readings; every
//!   other row is counted.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flate2::read::MultiGzDecoder;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// Id of the station that the readings of Kigali belong to.
pub const KIGALI_STATION: &str = "rw:station:kigali-us-embassy";

/// Hours that Kigali is ahead of UTC, all year.
const KIGALI_OFFSET: Offset = Offset::constant(2);
/// How the source writes local time.
const LOCAL_TIME: &str = "%Y-%m-%d %I:%M %p";
/// What stands where nothing was measured.
const MISSING: f64 = -999.0;
/// The unit of the model.
const UNIT: &str = "UG/M3";
/// The columns that are read.
const COLUMNS: [&str; 4] = ["Date (LT)", "Raw Conc.", "Conc. Unit", "QC Name"];

/// One measured hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Air {
    /// Microseconds since 1970.
    pub ts: i64,
    /// Micrograms per cubic metre.
    pub pm25: f64,
}

/// Rows that became no readings.
#[derive(Debug, Clone, Default)]
pub struct Skipped(Arc<AtomicU64>);

impl Skipped {
    /// How many, so far.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Why the readings cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file cannot be opened.
    #[error("{}: {error}; point --data or TWIN_DATA at the folder that holds it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A row cannot be read.
    #[error("{}: {error}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// What is wrong and in which row.
        error: csv::Error,
    },
    /// The file has other columns.
    #[error("{}: no column `{column}`; expected the hourly file of an embassy's monitor", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
    },
    /// A time or a value is none.
    #[error("{} line {line}: `{text}` is no {what}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// What stands there.
        text: String,
        /// What should.
        what: &'static str,
    },
}

/// The measured hours of a file, gzipped if its name says so, and a count of the rows skipped.
pub fn read_air(
    path: &Path,
) -> Result<
    (
        impl Iterator<Item = Result<Air, SourceError>> + use<>,
        Skipped,
    ),
    SourceError,
> {
    let file = File::open(path).map_err(|error| SourceError::Open {
        path: path.into(),
        error,
    })?;
    let gzipped = path.extension().is_some_and(|extension| extension == "gz");
    let bytes: Box<dyn Read + Send> = if gzipped {
        Box::new(MultiGzDecoder::new(BufReader::new(file)))
    } else {
        Box::new(BufReader::new(file))
    };
    let path = path.to_owned();
    let mut rows = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let header = rows.headers().map_err(|error| SourceError::Row {
        path: path.clone(),
        error,
    })?;
    let mut columns = [0; COLUMNS.len()];
    for (index, column) in columns.iter_mut().zip(COLUMNS) {
        *index = header
            .iter()
            .position(|name| name.trim_start_matches('\u{feff}') == column)
            .ok_or_else(|| SourceError::Column {
                path: path.clone(),
                column,
            })?;
    }
    let skipped = Skipped::default();
    let counted = skipped.clone();
    let hours = rows.into_records().filter_map(move |row| {
        let air = match row {
            Ok(row) => air(&path, &row, columns).transpose(),
            Err(error) => Some(Err(SourceError::Row {
                path: path.clone(),
                error,
            })),
        };
        if air.is_none() {
            counted.0.fetch_add(1, Relaxed);
        }
        air
    });
    Ok((hours, skipped))
}

/// The measurement of a row; `None` for one that is not valid.
fn air(
    path: &Path,
    row: &csv::StringRecord,
    [time, value, unit, quality]: [usize; COLUMNS.len()],
) -> Result<Option<Air>, SourceError> {
    let cell = |column| row.get(column).unwrap_or_default();
    let wrong = |column, what| SourceError::Cell {
        path: path.into(),
        line: row.position().map_or(0, csv::Position::line),
        text: cell(column).chars().take(40).collect(),
        what,
    };
    if cell(quality) != "Valid" || cell(unit) != UNIT {
        return Ok(None);
    }
    let pm25: f64 = cell(value)
        .parse()
        .map_err(|_not_one| wrong(value, "number"))?;
    if pm25 <= MISSING || !pm25.is_finite() {
        return Ok(None);
    }
    let local =
        DateTime::strptime(LOCAL_TIME, cell(time)).map_err(|_not_one| wrong(time, "local time"))?;
    let ts = KIGALI_OFFSET
        .to_timestamp(local)
        .map_err(|_out_of_range| wrong(time, "time of the calendar"))?;
    Ok(Some(Air {
        ts: ts.as_microsecond(),
        pm25,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const HEADER: &str = "Site,Parameter,Date (LT),Year,Month,Day,Hour,NowCast Conc.,AQI,AQI Category,Raw Conc.,Conc. Unit,Duration,QC Name\n";

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::with_suffix(".csv.gz").unwrap();
        let mut gzip = flate2::write::GzEncoder::new(&mut file, flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap();
        file
    }

    fn row(time: &str, value: &str, quality: &str) -> String {
        format!(
            "Kigali,PM2.5 - Principal,{time},2022,02,14,13,-999.0,-999,N/A,{value},UG/M3,1 Hr,{quality}\n"
        )
    }

    #[test]
    fn valid_hours_are_read_in_utc_and_the_others_counted() {
        let text = [
            HEADER.to_owned(),
            row("2022-02-14 01:00 PM", "28.9", "Valid"),
            row("2022-02-15 12:00 AM", "-3.0", "Valid"),
            row("2022-02-15 12:00 PM", "-999.0", "Valid"),
            row("2022-02-15 01:00 PM", "10.0", "Suspect"),
        ]
        .concat();
        let file = file(&text);
        let (hours, skipped) = read_air(file.path()).unwrap();
        let hours: Vec<_> = hours.map(Result::unwrap).collect();
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        assert_eq!(
            hours,
            [
                Air {
                    ts: at("2022-02-14T11:00:00Z"),
                    pm25: 28.9
                },
                Air {
                    ts: at("2022-02-14T22:00:00Z"),
                    pm25: -3.0
                },
            ]
        );
        assert_eq!(skipped.count(), 2);
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let text = [HEADER.to_owned(), row("2022-02-14 25:00 PM", "1", "Valid")].concat();
        let (mut hours, _) = read_air(file(&text).path()).unwrap();
        let error = hours.next().unwrap().unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("25:00"),
            "{error}"
        );
        let error = read_air(file("a,b\n1,2\n").path())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("Date (LT)"), "{error}");
        let error = read_air(Path::new("/nowhere.csv.gz"))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("TWIN_DATA"), "{error}");
    }
}
