//! What is known of history without reading it: segments, the tables they stand in, and what a lane
//! is made of.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use surrealdb::types::{Array, Bytes, Object, RecordId, RecordIdKey, Value};
use twin_core::store::StoreError;

use crate::database::{damaged, int};
use crate::load::integer;
use crate::tables::SEGMENT;

/// Tables of history of one kind cover at most so many months back, which is as far as readings are
/// taken where nothing else is set; what is older shares one.
const MONTHS: i64 = 120;

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Level {
    /// Readings of one day of arrival, with arrival and offset.
    Recent,
    /// Readings of one day.
    Day,
    /// Sums of minutes of one day.
    Minutes,
    /// Sums of hours of one day.
    Hours,
}

impl Level {
    pub(super) const ALL: [Self; 4] = [Self::Recent, Self::Day, Self::Minutes, Self::Hours];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Day => "day",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
        }
    }

    /// The table of a day, for readings of a class that has its own, with a number from the second
    /// on.
    pub(super) fn table(self, day: i64, today: i64, class: &str, number: u64) -> String {
        let date = |day: i64| {
            let days = i32::try_from(day).unwrap_or_default();
            ontology::Value::Date(days).to_json()
        };
        let date = date(day);
        let date = date.as_str().unwrap_or_default().replace('-', "_");
        let month = date.get(..7).unwrap_or("old");
        let year = date.get(..4).unwrap_or("old");
        let ancient = day < today - MONTHS * 31;
        let span = match self {
            Self::Recent => &date,
            _ if ancient => "old",
            Self::Day | Self::Minutes => month,
            Self::Hours => year,
        };
        let number = match number {
            0 => String::new(),
            number => format!("_{number}"),
        };
        match class {
            "" => format!("_{}_{span}{number}", self.name()),
            class => format!("_{}_{span}{number}_{class}", self.name()),
        }
    }
}

/// What tells the segments apart that are one but for their size.
pub(super) const SPLIT: u64 = 1 << 32;

/// Which segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) level: Level,
    /// Day of arrival of a recent one, else the day of its readings; counted from 1970-01-01.
    pub(super) day: i64,
    /// Offset of the first reading that was sealed into it, raised above the parts of days that were
    /// settled before: later parts count, also where a clock was set back.
    pub(super) part: u64,
    /// How often it was merged; for segments of a day, which of several tables. [`SPLIT`] is added
    /// for each further segment of what would be too large as one.
    pub(super) tier: u64,
}

impl Place {
    pub(super) fn key(self, lane: &str, block: Option<u64>) -> RecordIdKey {
        let mut key = vec![Value::String(lane.to_owned())];
        if block.is_none() {
            key.push(Value::String(self.level.name().to_owned()));
        }
        key.push(Value::Number(self.day.into()));
        key.push(int(self.part));
        key.push(int(self.tier));
        key.extend(block.map(int));
        RecordIdKey::Array(Array::from(key))
    }
}

/// What is known of a segment without reading it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    pub(super) place: Place,
    pub(super) table: Arc<str>,
    /// Class whose readings stand in it, if the class has tables of its own.
    pub(super) class: Arc<str>,
    /// First offset after those that were sealed into it.
    pub(super) next: u64,
    pub(super) blocks: u64,
    pub(super) rows: u64,
    /// Times of the first and the last row, microseconds since 1970.
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Head {
    pub(super) fn row(&self, lane: &str, index: Vec<u8>) -> Value {
        let mut row = Object::new();
        let id = RecordId::new(SEGMENT, self.place.key(lane, None));
        row.insert("id", Value::RecordId(id));
        row.insert("table", self.table.to_string());
        row.insert("class", self.class.to_string());
        row.insert("next", int(self.next));
        row.insert("blocks", int(self.blocks));
        row.insert("rows", int(self.rows));
        row.insert("from", self.from);
        row.insert("to", self.to);
        row.insert("index", Value::Bytes(Bytes::from(index)));
        Value::Object(row)
    }

    pub(super) fn read(row: &Object) -> Result<Self, StoreError> {
        let wrong = |what: &str| damaged(SEGMENT, format!("a row whose {what}"));
        let Some(Value::RecordId(RecordId {
            key: RecordIdKey::Array(key),
            ..
        })) = row.get("id")
        else {
            return Err(wrong("id is no list"));
        };
        let number = |value: &Value| match value {
            Value::Number(number) => number.to_int(),
            _ => None,
        };
        let [_, Value::String(level), day, part, tier] = &key[..] else {
            return Err(wrong("id is not [lane, level, day, part, tier]"));
        };
        let level = Level::ALL.into_iter().find(|known| known.name() == *level);
        let (Some(level), Some(day), Some(part), Some(tier)) =
            (level, number(day), number(part), number(tier))
        else {
            return Err(wrong("id is not [lane, level, day, part, tier]"));
        };
        let text = |field: &str| match row.get(field) {
            Some(Value::String(text)) => Ok(Arc::from(text.as_str())),
            _ => Err(wrong(&format!("`{field}` is no text"))),
        };
        let unsigned = |field| integer(SEGMENT, row, field).map(i64::cast_unsigned);
        Ok(Self {
            place: Place {
                level,
                day,
                part: part.cast_unsigned(),
                tier: tier.cast_unsigned(),
            },
            table: text("table")?,
            class: text("class")?,
            next: unsigned("next")?,
            blocks: unsigned("blocks")?,
            rows: unsigned("rows")?,
            from: integer(SEGMENT, row, "from")?,
            to: integer(SEGMENT, row, "to")?,
        })
    }
}

/// What a lane's history is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct LaneHistory {
    /// Everything below this offset was sealed.
    pub(super) sealed: u64,
    /// The newest readings were kept up to this offset, by the writer of an epoch.
    pub(super) kept: u64,
    pub(super) latest: Option<u64>,
    pub(super) heads: BTreeMap<Place, Arc<Head>>,
    /// Segments that were named and whose rows are gone, though no step removed them.
    pub(super) lost: u64,
}

impl LaneHistory {
    pub(super) fn of(&self, level: Level) -> impl Iterator<Item = &Arc<Head>> {
        let at = |day| Place {
            level,
            day,
            part: 0,
            tier: 0,
        };
        let first = Bound::Included(at(i64::MIN));
        self.heads
            .range((first, Bound::Unbounded))
            .map(|(_, head)| head)
            .take_while(move |head| head.place.level == level)
    }

    /// A part above those of all days so far.
    pub(super) fn next_part(&self) -> u64 {
        let lasting = self.heads.values();
        let lasting = lasting.filter(|head| head.place.level != Level::Recent);
        lasting.map(|head| head.place.part + 1).max().unwrap_or(0)
    }

    /// Segments of a level whose days lie within `first..=last`, earlier days and parts first.
    pub(super) fn days(
        &self,
        level: Level,
        first: i64,
        last: i64,
    ) -> impl Iterator<Item = &Arc<Head>> {
        let from = Place {
            level,
            day: first,
            part: 0,
            tier: 0,
        };
        self.heads
            .range(from..)
            .map(|(_, head)| head)
            .take_while(move |head| head.place.level == level && head.place.day <= last)
    }
}
