//! A nation in plain maps: what commits and readings mean, written down without any care for speed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ontology::Value;

use super::step::{Expected, Op, Record};
use super::structure::{Refused, Structure, Told, Trial, Want, at_the_door};

/// A reading.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) value: Value,
    pub(super) arrived: i64,
    pub(super) offset: u64,
}

/// An answer that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) position: u64,
    pub(super) changes: u64,
    pub(super) repeated: bool,
}

pub(super) type Series = (u8, &'static str);

/// An answer under an idempotency key.
#[derive(Debug, Clone)]
struct Kept {
    hash: u64,
    at: i64,
    answer: Answer,
}

/// Offsets that a group of requests covers while it is gathered.
#[derive(Debug, Default)]
struct Gathering {
    told: Vec<Told>,
    readings: Vec<(Series, i64, Value, Told)>,
    /// Requests that are answered with the group's last position.
    waiting: Vec<usize>,
    keys: Vec<(u8, u8)>,
}

/// Keys of idempotency live a day.
const KEY_LIFE_US: i64 = 24 * 3_600 * 1_000_000;
/// Readings may be so far ahead.
const AHEAD_US: i64 = 5 * 60 * 1_000_000;

#[derive(Debug, Default)]
pub(super) struct Nation {
    pub(super) structure: Structure,
    pub(super) series: BTreeMap<Series, BTreeMap<i64, Said>>,
    pub(super) latest: BTreeMap<Series, (i64, Said)>,
    /// What happened from offset `log_first` on.
    pub(super) log: VecDeque<Told>,
    pub(super) log_first: u64,
    pub(super) changes: u64,
    pub(super) readings: u64,
    pub(super) duplicates: u64,
    keys: BTreeMap<(u8, u8), Kept>,
    last_arrival: Option<i64>,
    group: Gathering,
    /// Twins that there were when the requests of this group were asked.
    asked: BTreeMap<u8, &'static str>,
    pub(super) answers: Vec<Result<Answer, Refused>>,
    together: u64,
    pub(super) now: i64,
}

/// The value of a reading; a salt of 0 fits no telemetry.
pub(super) fn reading(telemetry: &str, salt: u8, number: u8) -> Value {
    let n = (i64::from(salt) * 7 + i64::from(number) * 3) % 400;
    match telemetry {
        _ if salt == 0 => Value::Bool(true),
        "status" => Value::Text(["on", "off", "fault"][n as usize % 3].into()),
        _ => Value::Double(n as f64 / 8.0),
    }
}

impl Nation {
    /// The first free offset.
    pub(super) fn next(&self) -> u64 {
        self.log_first + self.log.len() as u64
    }

    /// Requests from here on are asked together.
    pub(super) fn begin(&mut self) {
        self.answers.clear();
        let beings = self.structure.beings.iter();
        self.asked = beings.map(|(twin, being)| (*twin, being.class)).collect();
    }

    /// What an operation of a commit that is asked now expects.
    pub(super) fn want(&self, op: &Op) -> Option<Want> {
        let (Op::Put { twin, expect, .. }
        | Op::Delete { twin, expect, .. }
        | Op::Relate {
            source: twin,
            expect,
            ..
        }
        | Op::Unrelate {
            source: twin,
            expect,
            ..
        }) = op;
        match expect {
            Expected::Nothing => None,
            Expected::Absent => Some(Want::Absent),
            // Where nobody can say it, nothing is expected.
            Expected::Current => Some(Want::Revision(self.structure.beings.get(twin)?.revision?)),
            Expected::Other => Some(Want::Revision(u64::MAX >> 1)),
        }
    }

    /// The first `count` things from an offset on.
    pub(super) fn told(&self, from: u64, count: usize) -> impl Iterator<Item = &Told> {
        let skipped = (from - self.log_first) as usize;
        self.log.iter().skip(skipped).take(count)
    }

    /// Learns in which order relationships went that went together.
    pub(super) fn learn(&mut self, revisions: &BTreeMap<u8, u64>) {
        for (twin, revision) in revisions {
            if let Some(being) = self.structure.beings.get_mut(twin) {
                being.revision.get_or_insert(*revision);
            }
        }
    }

    /// Forgets what happened before the last so many things.
    pub(super) fn forget(&mut self, keep: usize) {
        while self.log.len() > keep {
            self.log.pop_front();
            self.log_first += 1;
        }
    }

    pub(super) fn commit(&mut self, who: u8, ops: &[Op], key: Option<(u8, u64)>) {
        if let Some(refused) = ops.iter().find_map(|op| at_the_door(op).err()) {
            self.answers.push(Err(refused));
            return;
        }
        let deletes = ops.iter().any(|op| matches!(op, Op::Delete { .. }));
        if deletes && !self.group.readings.is_empty() {
            self.finish();
        }
        if let Some((key, hash)) = key
            && let Some(kept) = self.keys.get(&(who, key))
            && self.now - kept.at <= KEY_LIFE_US
        {
            if kept.hash != hash {
                self.answers.push(Err("Conflict"));
                return;
            }
            let answer = Answer {
                repeated: true,
                ..kept.answer.clone()
            };
            // Its position is known once the group that did it is.
            if self.group.keys.contains(&(who, key)) {
                self.group.waiting.push(self.answers.len());
            }
            self.answers.push(Ok(answer));
            return;
        }
        let mut trial = Trial {
            structure: self.structure.clone(),
            told: Vec::new(),
            first: self.next() + self.group.told.len() as u64,
            who,
            at: self.now,
            together: self.together,
            gone: BTreeSet::new(),
        };
        let wants: Vec<_> = ops.iter().map(|op| self.want(op)).collect();
        for (op, want) in ops.iter().zip(wants) {
            if let Err(refused) = trial.apply(op, want) {
                self.answers.push(Err(refused));
                return;
            }
        }
        self.together = trial.together;
        self.structure = trial.structure;
        for twin in trial.gone {
            self.series.retain(|(of, _), _| *of != twin);
            self.latest.retain(|(of, _), _| *of != twin);
        }
        let answer = Answer {
            position: 0,
            changes: trial.told.len() as u64,
            repeated: false,
        };
        self.group.told.extend(trial.told);
        if let Some((key, hash)) = key {
            let at = self.now;
            let answer = answer.clone();
            self.keys.insert((who, key), Kept { hash, at, answer });
            self.group.keys.push((who, key));
        }
        self.group.waiting.push(self.answers.len());
        self.answers.push(Ok(answer));
    }

    /// When its readings were measured; `None` is time of arrival.
    pub(super) fn times(&self, record: &Record) -> Vec<Option<i64>> {
        const GRID_US: i64 = 10_000_000;
        let first = record
            .ago
            .map(|ago| (self.now - ago).div_euclid(GRID_US) * GRID_US);
        let times =
            (0..i64::from(record.count)).map(|i| first.map(|first| first + i * record.every));
        times.collect()
    }

    pub(super) fn record(&mut self, record: &Record) {
        let mut readings = Vec::new();
        for (number, ts) in (0..).zip(self.times(record)) {
            let twin = record.twins[number as usize % 2];
            let refused = match self.asked.get(&twin) {
                None => Some("NotFound"),
                Some(&class) if class != "HealthFacility" || record.telemetry == "pm10" => {
                    Some("UnknownName")
                }
                Some(_) if record.salt == 0 => Some("Invalid"),
                Some(_) if ts.is_some_and(|ts| ts > self.now + AHEAD_US) => Some("Invalid"),
                Some(_) => None,
            };
            if let Some(refused) = refused {
                self.answers.push(Err(refused));
                return;
            }
            let ts = ts.unwrap_or_else(|| {
                let next = self
                    .last_arrival
                    .map_or(self.now, |last| self.now.max(last + 1));
                self.last_arrival = Some(next);
                next
            });
            let value = reading(record.telemetry, record.salt, number);
            readings.push(((twin, record.telemetry), ts, value));
        }
        let is = |twin: &u8| self.structure.beings.get(twin).map(|being| being.class);
        if readings
            .iter()
            .any(|((twin, _), ..)| is(twin) != Some("HealthFacility"))
        {
            self.answers.push(Err("NotFound"));
            return;
        }
        let changes = readings.len() as u64;
        for (series, ts, value) in readings {
            let (twin, telemetry) = series;
            let told = Told {
                at: self.now,
                text: format!(
                    "device:t{:02} read {twin} {telemetry} {} at {ts}",
                    record.twins[0],
                    value.to_json()
                ),
                together: None,
                source: 0,
            };
            self.group.readings.push((series, ts, value, told));
        }
        self.group.waiting.push(self.answers.len());
        self.answers.push(Ok(Answer {
            position: 0,
            changes,
            repeated: false,
        }));
    }

    /// Ends a group: its readings are numbered after its changes, and all of it gets one position.
    pub(super) fn finish(&mut self) {
        let group = std::mem::take(&mut self.group);
        self.changes += group.told.len() as u64;
        self.readings += group.readings.len() as u64;
        self.log.extend(group.told);
        for (series, ts, value, told) in group.readings {
            let said = Said {
                value,
                arrived: self.now,
                offset: self.next(),
            };
            self.log.push_back(told);
            let newest = self.latest.get(&series).map(|(ts, _)| *ts);
            if newest.is_none_or(|newest| newest <= ts) {
                self.duplicates += u64::from(newest == Some(ts));
                self.latest.insert(series, (ts, said.clone()));
            }
            self.series.entry(series).or_default().insert(ts, said);
        }
        let position = self.next();
        for waiting in group.waiting {
            if let Ok(answer) = &mut self.answers[waiting] {
                answer.position = position;
            }
        }
        for key in group.keys {
            if let Some(kept) = self.keys.get_mut(&key) {
                kept.answer.position = position;
            }
        }
    }

    /// A process that begins anew counts anew.
    pub(super) fn restarted(&mut self) {
        self.last_arrival = None;
        (self.changes, self.readings, self.duplicates) = (0, 0, 0);
    }
}
