//! What an aggregate asks of the twins of a group.
//!
//! # Invariants
//! - Whole numbers are summed exactly. Others are summed in the order they come, and what each
//!   addition loses is carried along, so that the error does not grow with their number (Neumaier).
//! - Readings of a time come summed up by the store, in doubles: whole ones are exact up to 2^53.
//! - Of no values the count is 0, and everything else is absent.

use std::sync::Arc;

use ontology::{ClassId, Schema, Value};
use serde_json::Value as Json;
use twin_core::history::Bucket;
use twin_core::{TwinRef, ValueRef, View};

use super::filter::Columns;
use super::path::is_number;
use super::select::one_member;
use super::variables::shown as shown_json;
use crate::api::{Api, Shown, shown};
use crate::error::Fault;

/// One entry of `measures`.
#[derive(Debug)]
pub(crate) struct Measure {
    kind: Kind,
    /// `None` for a count of twins.
    of: Option<Source>,
    /// Whether whole results are texts in the API (`BigInt`).
    pub(crate) wide: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Count,
    Readings,
    Sum,
    Min,
    Max,
    Mean,
}

/// Where the numbers stand.
#[derive(Debug)]
pub(crate) enum Source {
    Property(Columns),
    /// The newest readings, or those of a time.
    Telemetry {
        columns: Columns,
        name: Arc<str>,
    },
}

/// A number of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Whole(i64),
    Real(f64),
}

impl Measure {
    pub(crate) fn compile(
        api: &Api,
        class: ClassId,
        place: usize,
        json: &Json,
    ) -> Result<Self, Fault> {
        let at = format!("measures[{place}]");
        let known = ["count", "readings", "sum", "min", "max", "mean"];
        let (name, value) = one_member(&at, json, &known)?;
        let kind = match name {
            "count" => Kind::Count,
            "readings" => Kind::Readings,
            "sum" => Kind::Sum,
            "min" => Kind::Min,
            "max" => Kind::Max,
            _ => Kind::Mean,
        };
        if kind == Kind::Count {
            if value.as_bool() != Some(true) {
                let message = format!("`{at}.count` is true, not {}", shown_json(value));
                return Err(Fault::invalid(message));
            }
            return Ok(Self {
                kind,
                of: None,
                wide: false,
            });
        }
        let asked = value.as_str().ok_or_else(|| {
            let found = shown_json(value);
            Fault::invalid(format!(
                "`{at}.{name}` is the name of a number, not {found}"
            ))
        })?;
        let (of, schema) = source(api, class, &format!("{at}.{name}"), asked)?;
        Ok(Self {
            kind,
            of: Some(of),
            wide: !matches!(kind, Kind::Mean | Kind::Readings)
                && shown(&schema) == Shown::Scalar("BigInt"),
        })
    }

    /// Whether it can be asked of a time only.
    pub(crate) fn is_of_time(&self) -> bool {
        self.kind == Kind::Readings
    }

    pub(crate) fn is_of_property(&self) -> bool {
        matches!(self.of, Some(Source::Property(_)))
    }

    /// Name of the telemetry whose values it takes.
    pub(crate) fn telemetry(&self) -> Option<&Arc<str>> {
        match &self.of {
            Some(Source::Telemetry { name, .. }) => Some(name),
            _ => None,
        }
    }

    /// Takes a window of a twin's telemetry in, which is the first of that twin in the group or not.
    pub(crate) fn take_window(&self, name: &str, bucket: &Bucket, first: bool, tally: &mut Tally) {
        if self.telemetry().is_some_and(|own| **own != *name) {
            return;
        }
        match tally {
            Tally::Count(count) if self.kind == Kind::Readings => *count += bucket.count,
            Tally::Count(count) => *count += u64::from(first),
            Tally::Sum(sum) => sum.add_many(bucket.count, bucket.sum),
            Tally::Extreme(extreme) if self.kind == Kind::Min => {
                self.take_extreme(Number::Real(bucket.min), extreme);
            }
            Tally::Extreme(extreme) => self.take_extreme(Number::Real(bucket.max), extreme),
        }
    }

    fn take_extreme(&self, number: Number, extreme: &mut Option<Number>) {
        let better = |than: Number| match self.kind {
            Kind::Min => number.is_less(than),
            _ => than.is_less(number),
        };
        if extreme.is_none_or(better) {
            *extreme = Some(number);
        }
    }

    /// Where a group's values are gathered.
    pub(crate) fn tally(&self) -> Tally {
        match self.kind {
            Kind::Count | Kind::Readings => Tally::Count(0),
            Kind::Sum | Kind::Mean => Tally::Sum(Sum::default()),
            Kind::Min | Kind::Max => Tally::Extreme(None),
        }
    }

    /// Takes a twin in.
    pub(crate) fn take(&self, view: &View, twin: TwinRef, tally: &mut Tally) {
        let number = || self.of.as_ref()?.number(view, twin);
        match tally {
            Tally::Count(count) => *count += 1,
            Tally::Sum(sum) => {
                if let Some(number) = number() {
                    sum.add(number);
                }
            }
            Tally::Extreme(extreme) => {
                if let Some(number) = number() {
                    self.take_extreme(number, extreme);
                }
            }
        }
    }

    /// What came out.
    pub(crate) fn result(&self, tally: &Tally) -> Result<Measured, Fault> {
        let real = |number: f64| {
            if number.is_finite() {
                return Ok(Measured::Real(number));
            }
            let message = "a sum is larger than a number can be: ask for smaller groups";
            Err(Fault::invalid(message))
        };
        match tally {
            Tally::Count(count) => Ok(Measured::Whole(i128::from(*count))),
            Tally::Extreme(Some(Number::Whole(number))) => Ok(Measured::Whole(i128::from(*number))),
            Tally::Extreme(Some(Number::Real(number))) => real(*number),
            Tally::Extreme(None) | Tally::Sum(Sum { count: 0, .. }) => Ok(Measured::Nothing),
            Tally::Sum(sum) if self.kind == Kind::Mean => real(sum.mean()),
            Tally::Sum(sum) if sum.is_whole() => Ok(Measured::Whole(sum.whole)),
            Tally::Sum(sum) => real(sum.total()),
        }
    }
}

/// The property or telemetry of a name, and its schema.
pub(crate) fn source(
    api: &Api,
    class: ClassId,
    at: &str,
    name: &str,
) -> Result<(Source, Schema), Fault> {
    let model = api.class(class);
    let (source, schema) = if let Some(property) = model.property(name) {
        let columns = Columns::of(api, class, name);
        (Source::Property(columns), &property.schema)
    } else if let Some(index) = model.telemetry_index(name) {
        let columns = Columns::of_telemetry(api, class, name);
        let telemetry = &model.telemetry[index];
        let name = Arc::clone(&telemetry.name);
        (Source::Telemetry { columns, name }, &telemetry.schema)
    } else {
        let properties = model.properties.iter().map(|p| (&*p.name, &p.schema));
        let telemetry = model.telemetry.iter().map(|t| (&*t.name, &t.schema));
        let known = properties.chain(telemetry);
        let numbers = known.filter(|(_, schema)| is_number(schema));
        let what = format!("`{at}`: number of {}", model.name);
        return Err(Fault::unknown(&what, name, numbers.map(|(name, _)| name)));
    };
    if !is_number(schema) {
        return Err(Fault::invalid(format!(
            "`{at}`: `{name}` of {} is {}, not a number",
            model.name,
            schema.name()
        )));
    }
    Ok((source, schema.clone()))
}

impl Source {
    pub(crate) fn number(&self, view: &View, twin: TwinRef) -> Option<Number> {
        let class = view.class_id(twin);
        match self {
            Self::Property(columns) => match view.value_ref(twin, columns.in_class(class)?)? {
                ValueRef::Int(number) => Some(Number::Whole(number)),
                ValueRef::Double(number) => Some(Number::Real(number)),
                _ => None,
            },
            Self::Telemetry { columns, .. } => {
                match view.latest(twin, columns.in_class(class)?)?.value {
                    Value::Int(number) => Some(Number::Whole(number)),
                    Value::Double(number) => Some(Number::Real(number)),
                    _ => None,
                }
            }
        }
    }
}

impl Number {
    /// Numbers of one measure are of one schema, so all are whole or none is.
    fn is_less(self, than: Self) -> bool {
        match (self, than) {
            (Self::Whole(a), Self::Whole(b)) => a < b,
            (a, b) => a.real() < b.real(),
        }
    }

    fn real(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Real(number) => number,
        }
    }
}

/// What was gathered of one group for one measure.
#[derive(Clone, Debug)]
pub(crate) enum Tally {
    Count(u64),
    Sum(Sum),
    Extreme(Option<Number>),
}

/// A sum as it grows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    count: u64,
    /// Of the whole numbers. Even the largest of every twin together fit.
    whole: i128,
    /// Of the others, and how many they are.
    real: f64,
    reals: u64,
    /// What rounding took from `real`.
    lost: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, number: Number) {
        self.count += 1;
        match number {
            Number::Whole(number) => self.whole += i128::from(number),
            Number::Real(number) => {
                self.reals += 1;
                let sum = self.real + number;
                self.lost += if self.real.abs() >= number.abs() {
                    (self.real - sum) + number
                } else {
                    (number - sum) + self.real
                };
                self.real = sum;
            }
        }
    }

    /// Adds the sum of so many numbers, at least one.
    fn add_many(&mut self, count: u64, sum: f64) {
        self.add(Number::Real(sum));
        self.count += count.saturating_sub(1);
    }

    fn is_whole(&self) -> bool {
        self.reals == 0
    }

    /// NaN of no numbers.
    pub(crate) fn mean(&self) -> f64 {
        self.total() / self.count as f64
    }

    fn total(&self) -> f64 {
        self.whole as f64 + (self.real + self.lost)
    }
}

/// The result of one measure of one group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Measured {
    /// No twin has a value.
    Nothing,
    Whole(i128),
    Real(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_beside_large_ones_are_not_lost() {
        let mut sum = Sum::default();
        for number in [1e100, 1.0, 1.0, -1e100] {
            sum.add(Number::Real(number));
        }
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn whole_numbers_are_summed_beyond_64_bits() {
        let mut sum = Sum::default();
        for _ in 0..4 {
            sum.add(Number::Whole(i64::MAX));
        }
        assert!(sum.is_whole());
        assert_eq!(sum.whole, 4 * i128::from(i64::MAX));
    }
}
