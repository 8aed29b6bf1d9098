//! A nation in plain maps: what commits and readings mean, written down without any care for speed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ontology::Value;

use super::step::{Expected, Move, Op, Record};

/// What is said of a twin.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Being {
    pub(super) class: &'static str,
    pub(super) properties: BTreeMap<&'static str, Value>,
    pub(super) place: Option<u8>,
    /// `None` while it is open which of several relationships that went together went last.
    pub(super) revision: Option<u64>,
}

/// A reading.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) value: Value,
    pub(super) arrived: i64,
    pub(super) offset: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) at: i64,
    pub(super) text: String,
    /// Relationships that one operation removed together, in any order: its number.
    pub(super) together: Option<u64>,
    /// Source of such a relationship.
    pub(super) source: u8,
}

/// Names of refusals, as the twin names them.
pub(super) type Refused = &'static str;

/// An answer that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) position: u64,
    pub(super) changes: u64,
    pub(super) repeated: bool,
}

/// Source, name and target: `(name, source, target)`.
pub(super) type Relation = (&'static str, u8, u8);
pub(super) type Series = (u8, &'static str);

/// An answer under an idempotency key.
#[derive(Debug, Clone)]
struct Kept {
    hash: u64,
    at: i64,
    answer: Answer,
}

/// Beings and what relates them.
#[derive(Debug, Clone, Default)]
pub(super) struct Structure {
    pub(super) beings: BTreeMap<u8, Being>,
    pub(super) relations: BTreeMap<Relation, Option<i32>>,
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

/// Whether a class of the test's ontology has a property.
pub(super) fn has_property(class: &str, name: &str) -> bool {
    match class {
        "Area" => name == "name",
        "Village" => ["name", "population"].contains(&name),
        _ => name != "population" && name != "colour",
    }
}

/// The value of a number; `None` is none.
pub(super) fn value(name: &str, number: u8) -> Option<Value> {
    let n = i64::from(number);
    if number == 9 {
        return Some(Value::Date(1)); // Fits no property there is.
    }
    (number > 0).then(|| match name {
        "population" | "beds" => Value::Int(n * 100),
        "budget" => Value::Int(9_007_199_254_740_993 + n),
        "height" => Value::Double(n as f64 / 10.0),
        "open" => Value::Bool(n % 2 == 0),
        "tags" => {
            Value::List(vec![Value::Text("a".into()), Value::Text(n.to_string().into())].into())
        }
        _ => Value::Text(format!("{name} {n}").into()),
    })
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

impl Being {
    pub(super) fn text(&self) -> String {
        let properties = self.properties.iter();
        let properties: Vec<_> = properties
            .map(|(name, value)| format!("{name}={}", value.to_json()))
            .collect();
        format!("{} {properties:?} at {:?}", self.class, self.place)
    }
}

/// What a commit says that it expects.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want {
    Absent,
    Revision(u64),
}

/// A commit applied to a copy.
struct Trial {
    structure: Structure,
    told: Vec<Told>,
    first: u64,
    who: u8,
    at: i64,
    together: u64,
    /// Twins whose series end.
    gone: BTreeSet<u8>,
}

impl Trial {
    fn tell(&mut self, text: &str) {
        self.told.push(Told {
            at: self.at,
            text: format!("user:{} {text}", self.who),
            together: None,
            source: 0,
        });
    }

    fn next_revision(&self) -> u64 {
        self.first + self.told.len() as u64 + 1
    }

    fn expect(&self, twin: u8, want: Option<Want>) -> Result<(), Refused> {
        match (want, self.structure.beings.get(&twin)) {
            (None, _) | (Some(Want::Absent), None) => Ok(()),
            (Some(Want::Revision(wanted)), Some(being)) if being.revision == Some(wanted) => Ok(()),
            _ => Err("Conflict"),
        }
    }

    fn being(&self, twin: u8) -> Result<&Being, Refused> {
        self.structure.beings.get(&twin).ok_or("NotFound")
    }

    fn apply(&mut self, op: &Op, want: Option<Want>) -> Result<(), Refused> {
        match op {
            Op::Put {
                twin,
                class,
                set,
                to,
                must_exist,
                ..
            } => {
                self.expect(*twin, want)?;
                let known = self.structure.beings.get(twin).cloned();
                if known.is_none() && *must_exist {
                    return Err("NotFound");
                }
                let mut being = known.clone().unwrap_or(Being {
                    class,
                    ..Being::default()
                });
                if being.class != *class {
                    return Err("Conflict");
                }
                for (name, number) in set {
                    match value(name, *number) {
                        Some(value) => being.properties.insert(name, value),
                        None => being.properties.remove(name),
                    };
                }
                match to {
                    Move::Stay => {}
                    Move::To(place) => being.place = Some(*place),
                    Move::Nowhere => being.place = None,
                }
                if known.as_ref() != Some(&being) {
                    being.revision = Some(self.next_revision());
                    self.tell(&match known {
                        None => format!("created {twin}: {}", being.text()),
                        Some(known) => {
                            format!("updated {twin}: {} -> {}", known.text(), being.text())
                        }
                    });
                    self.structure.beings.insert(*twin, being);
                }
            }
            Op::Delete { twin, detach, .. } => {
                self.being(*twin)?;
                self.expect(*twin, want)?;
                let relations = self.structure.relations.keys();
                let touching = |(_, source, target): &&Relation| source == twin || target == twin;
                let touching: Vec<_> = relations.filter(touching).copied().collect();
                if !touching.is_empty() && !detach {
                    return Err("Violation");
                }
                self.together += 1;
                let several = touching.len() > 1;
                for relation in touching {
                    self.unrelate(relation, several);
                }
                let being = self.structure.beings.remove(twin).unwrap();
                self.gone.insert(*twin);
                self.tell(&format!("deleted {twin}: {}", being.text()));
            }
            Op::Relate {
                source,
                name,
                target,
                since,
                replace,
                ..
            } => {
                let from = self.being(*source)?.class;
                let to = self.being(*target)?.class;
                self.expect(*source, want)?;
                let has = (from == "HealthFacility") == (*name != "partOf");
                let leads = *name == "serves" || to != "HealthFacility";
                if !has || !leads {
                    return Err("Violation");
                }
                let relation = (*name, *source, *target);
                let known = self.structure.relations.get(&relation).copied();
                if known.is_none() && *name != "serves" {
                    let mut relations = self.structure.relations.keys();
                    let other = relations
                        .find(|(n, s, _)| (n, s) == (name, source))
                        .copied();
                    match other {
                        Some(_) if !replace => return Err("Violation"),
                        Some(other) => self.unrelate(other, false),
                        None => {}
                    }
                }
                let day = match since {
                    None => known.flatten(),
                    Some(0) => None,
                    Some(day) => Some(*day),
                };
                if known != Some(day) {
                    let revision = self.next_revision();
                    self.structure.beings.get_mut(source).unwrap().revision = Some(revision);
                    self.structure.relations.insert(relation, day);
                    self.tell(&match known {
                        None => format!("related {relation:?} since {day:?}"),
                        Some(known) => format!("rerelated {relation:?} {known:?} -> {day:?}"),
                    });
                }
            }
            Op::Unrelate {
                source,
                name,
                target,
                ..
            } => {
                self.being(*source)?;
                self.being(*target)?;
                self.expect(*source, want)?;
                let relation = (*name, *source, *target);
                if self.structure.relations.contains_key(&relation) {
                    self.unrelate(relation, false);
                }
            }
        }
        Ok(())
    }

    fn unrelate(&mut self, relation: Relation, several: bool) {
        let (_, source, _) = relation;
        let day = self.structure.relations.remove(&relation).unwrap();
        let revision = (!several).then(|| self.next_revision());
        self.structure.beings.get_mut(&source).unwrap().revision = revision;
        self.tell(&format!("unrelated {relation:?} since {day:?}"));
        let told = self.told.last_mut().unwrap();
        told.together = several.then_some(self.together);
        told.source = source;
    }
}

/// What is refused before anything is looked up, as names and values that do not fit.
fn at_the_door(op: &Op) -> Result<(), Refused> {
    match op {
        Op::Put { class, set, .. } => {
            let mut seen = BTreeSet::new();
            for (name, number) in set {
                if !has_property(class, name) {
                    return Err("UnknownName");
                }
                if *number == 9 || !seen.insert(name) {
                    return Err("Invalid");
                }
            }
            Ok(())
        }
        Op::Relate { name: "feeds", .. } | Op::Unrelate { name: "feeds", .. } => Err("UnknownName"),
        // Only one kind has the property.
        Op::Relate {
            name,
            since: Some(_),
            ..
        } if *name != "locatedIn" => Err("UnknownName"),
        _ => Ok(()),
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
