//! Records of the journal: readings as they arrived.
//!
//! A table of the record's series (twin, class, telemetry) comes first, so a reader of one series
//! skips a record that does not hold it without looking at its readings.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ontology::{Ontology, Value};
use twin_core::store::Series;
use twin_core::{Group, Principal, Recorded, TwinId};

use super::block::SealedReading;
use super::bytes::{NameReader, NameWriter, Reader, Writer};
use super::{CodecError, Header, MAX_RECORD_BYTES, Packed, value};

/// First byte of a record of readings.
pub(super) const FORMAT: u8 = 0x21;

/// Readings of one group as they were kept.
#[derive(Debug)]
pub struct JournalRecord {
    /// Whose and where.
    pub header: Header,
    /// The readings, in order of offsets; absent where the ontology no longer has their class or
    /// telemetry.
    pub readings: Vec<Option<Recorded>>,
    /// What the ontology no longer has: classes, and telemetry as `Class.telemetry`.
    pub missing: BTreeSet<String>,
    /// Who recorded them: runs of readings by one principal.
    pub recorders: Vec<(Principal, u32)>,
}

/// Times of a record's readings, microseconds since 1970, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Earliest.
    pub first: i64,
    /// Latest.
    pub last: i64,
}

/// Packs a group's readings, in as few records as their sizes allow.
pub fn encode_readings(group: &Group, ontology: &Ontology) -> Vec<Packed> {
    let mut records = Vec::new();
    let mut readings = group.readings.as_slice();
    let mut runs = Runs {
        left: &group.recorders,
        taken: 0,
    };
    let mut first = group.first_reading();
    while !readings.is_empty() {
        let mut bytes = 0;
        let fits = readings.iter().take_while(|reading| {
            bytes += bound(reading);
            bytes <= MAX_RECORD_BYTES
        });
        let count = fits.count().max(1);
        let (now, later) = readings.split_at(count);
        let header = Header {
            group_first: group.first,
            group_next: group.next,
            first,
            count: count as u64,
            epoch: group.epoch,
            at: group.at,
        };
        records.push(Packed {
            first,
            bytes: encode(&header, now, &runs.take(count), ontology),
        });
        first = header.next();
        readings = later;
    }
    records
}

/// Upper bound of the bytes of one reading: its series is counted as if it were new.
fn bound(reading: &Recorded) -> usize {
    const FIXED: usize = 256;
    FIXED + value::bound(&reading.value)
}

/// Hands out runs of recorders for so many readings at a time.
struct Runs<'a> {
    left: &'a [(Principal, u32)],
    taken: u32,
}

impl<'a> Runs<'a> {
    fn take(&mut self, mut count: usize) -> Vec<(&'a Principal, u32)> {
        let mut runs = Vec::new();
        while let Some((principal, length)) = self.left.first()
            && count > 0
        {
            let rest = length - self.taken;
            let now = rest.min(u32::try_from(count).unwrap_or(u32::MAX));
            if now > 0 {
                runs.push((principal, now));
            }
            count -= now as usize;
            self.taken += now;
            if self.taken == *length {
                self.left = &self.left[1..];
                self.taken = 0;
            }
        }
        runs
    }
}

fn encode(
    header: &Header,
    readings: &[Recorded],
    runs: &[(&Principal, u32)],
    ontology: &Ontology,
) -> Vec<u8> {
    let mut to = Writer::default();
    let mut names = NameWriter::default();
    header.write(FORMAT, &mut to);

    let earliest = readings.iter().map(|r| r.ts).min().unwrap_or(0);
    let latest = readings.iter().map(|r| r.ts).max().unwrap_or(0);
    to.signed(earliest);
    // As a wrapped difference: times may lie at both ends of 64 bits.
    to.unsigned(latest.wrapping_sub(earliest).cast_unsigned());

    let mut known = HashMap::new();
    let mut series = Vec::new();
    let indices: Vec<u64> = readings
        .iter()
        .map(|reading| {
            *known
                .entry((&reading.twin, reading.class, reading.telemetry))
                .or_insert_with(|| {
                    series.push(reading);
                    series.len() as u64 - 1
                })
        })
        .collect();
    to.unsigned(series.len() as u64);
    for reading in series {
        let class = ontology.class(reading.class);
        names.write(reading.twin.as_str(), &mut to);
        names.write(&class.name, &mut to);
        names.write(&class.telemetry[reading.telemetry as usize].name, &mut to);
    }

    to.unsigned(runs.len() as u64);
    for (principal, length) in runs {
        names.write(principal.as_str(), &mut to);
        to.unsigned(u64::from(*length));
    }

    let mut before = earliest;
    for (reading, index) in readings.iter().zip(indices) {
        to.unsigned(index);
        to.signed(reading.ts.wrapping_sub(before));
        before = reading.ts;
        value::write(&reading.value, &mut to);
    }
    to.seal()
}

/// A record up to its readings.
struct Opened<'a> {
    header: Header,
    span: Span,
    /// Twin, class and telemetry by name.
    series: Vec<SeriesParts>,
    recorders: Vec<(Principal, u32)>,
    from: Reader<'a>,
}

fn open(bytes: &[u8]) -> Result<Opened<'_>, CodecError> {
    let mut from = Reader::open(bytes)?;
    let mut names = NameReader::default();
    let header = Header::read(FORMAT, &mut from)?;
    let first = from.signed()?;
    let last = first.wrapping_add(from.unsigned()?.cast_signed());
    let mut series = Vec::new();
    for _ in 0..from.count()? {
        let mut name = || names.read(&mut from);
        series.push([name()?, name()?, name()?]);
    }
    let mut recorders = Vec::new();
    let mut recorded = 0_u64;
    for _ in 0..from.count()? {
        let principal = Principal::new(&names.read(&mut from)?);
        let principal = principal.ok().ok_or_else(|| from.wrong("no principal"))?;
        let length = u32::try_from(from.unsigned()?).ok();
        let length = length.ok_or_else(|| from.wrong("a run beyond 32 bits"))?;
        recorded += u64::from(length);
        recorders.push((principal, length));
    }
    if recorded != header.count {
        return Err(from.wrong("runs of recorders that are not as many as the readings"));
    }
    Ok(Opened {
        header,
        span: Span { first, last },
        series,
        recorders,
        from,
    })
}

impl Opened<'_> {
    /// Every reading with the index of its series, in order.
    fn readings(
        mut self,
        mut each: impl FnMut(usize, i64, Value) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        let mut ts = self.span.first;
        for _ in 0..self.header.count {
            let series = usize::try_from(self.from.unsigned()?).unwrap_or(usize::MAX);
            if series >= self.series.len() {
                return Err(self.from.wrong("a series that the record does not name"));
            }
            ts = ts.wrapping_add(self.from.signed()?);
            each(series, ts, value::read(&mut self.from)?)?;
        }
        self.from.finish()
    }
}

/// Unpacks a record of readings against today's ontology.
///
/// Readings that it cannot explain are left out, not refused: a model that loses a telemetry must
/// not cost the nation its twin.
pub fn decode_readings(bytes: &[u8], ontology: &Ontology) -> Result<JournalRecord, CodecError> {
    let mut opened = open(bytes)?;
    let mut missing = BTreeSet::new();
    let mut series = Vec::with_capacity(opened.series.len());
    for [twin, class, telemetry] in &opened.series {
        let id = TwinId::new(twin);
        let id = id
            .ok()
            .ok_or_else(|| opened.from.wrong("a text that is no twin id"))?;
        let found = ontology.class_named(class);
        let index = found.and_then(|class| class.telemetry_index(telemetry));
        match (found, index) {
            (Some(found), Some(index)) => series.push(Some((id, found.id, index as u32))),
            (None, _) => {
                missing.insert(class.to_string());
                series.push(None);
            }
            (Some(_), None) => {
                missing.insert(format!("{class}.{telemetry}"));
                series.push(None);
            }
        }
    }
    let header = opened.header;
    let recorders = std::mem::take(&mut opened.recorders);
    let mut readings = Vec::new();
    opened.readings(|index, ts, value| {
        readings.push(
            series[index]
                .clone()
                .map(|(twin, class, telemetry)| Recorded {
                    twin,
                    class,
                    telemetry,
                    ts,
                    value,
                }),
        );
        Ok(())
    })?;
    Ok(JournalRecord {
        header,
        readings,
        missing,
        recorders,
    })
}

/// Names a series of a record: twin, class and telemetry.
pub type SeriesParts = [Arc<str>; 3];

/// Hands over a record's readings as they were written, each with the index of its series; the
/// series are told first.
///
/// Names are as they were written, so this needs no ontology.
pub(crate) fn read_all<S>(
    bytes: &[u8],
    state: &mut S,
    series: impl FnOnce(&mut S, &[SeriesParts], &Header, Span),
    mut each: impl FnMut(&mut S, usize, SealedReading),
) -> Result<Header, CodecError> {
    let opened = open(bytes)?;
    let header = opened.header;
    series(state, &opened.series, &header, opened.span);
    let mut offset = header.first;
    opened.readings(|index, ts, value| {
        let reading = SealedReading {
            ts,
            arrived: header.at,
            offset,
            value,
        };
        each(state, index, reading);
        offset += 1;
        Ok(())
    })?;
    Ok(header)
}

/// Hands over a record's readings of one series, in order of offsets, as far as its times and
/// offsets ask for them.
///
/// Names are compared as they were written, so this needs no ontology.
pub fn read_series(
    bytes: &[u8],
    wanted: &Series<'_>,
    mut each: impl FnMut(SealedReading),
) -> Result<(), CodecError> {
    let opened = open(bytes)?;
    if opened.span.last < wanted.ts.start || opened.span.first >= wanted.ts.end {
        return Ok(());
    }
    let arrived = opened.header.at;
    let mut offset = opened.header.first;
    let named = |[twin, _, telemetry]: &SeriesParts| {
        **twin == *wanted.twin.as_str() && **telemetry == *wanted.telemetry
    };
    let Some(index) = opened.series.iter().position(named) else {
        return Ok(());
    };
    opened.readings(|series, ts, value| {
        if series == index && wanted.ts.contains(&ts) && offset < wanted.before {
            each(SealedReading {
                ts,
                arrived,
                offset,
                value,
            });
        }
        offset += 1;
        Ok(())
    })
}
