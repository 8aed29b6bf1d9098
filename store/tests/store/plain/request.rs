//! Steps as requests to the twin.

use ontology::Value;
use twin_core::{Expect, Operation, Principal, Put, Reading, Readings};

use super::nation::reading;
use super::step::{Move, Op, Record};
use super::structure::{Want, value};
use super::world::{at, name, place};
use crate::model::id;

/// The operation, with what is expected.
pub(super) fn operation(op: &Op, want: Option<Want>) -> Operation {
    let expect = want.map(|want| match want {
        Want::Absent => Expect::Absent,
        Want::Revision(revision) => Expect::Revision(at(revision)),
    });
    match op {
        Op::Put {
            twin,
            class,
            set,
            to,
            must_exist,
            ..
        } => {
            let set = set
                .iter()
                .map(|(name, number)| ((*name).into(), value(name, *number)));
            let put = Put {
                id: id(&name(*twin)),
                class: (*class).into(),
                set: set.collect(),
                geometry: match to {
                    Move::Stay => None,
                    Move::To(number) => Some(Some(place(*number))),
                    Move::Nowhere => Some(None),
                },
                expect,
            };
            match must_exist {
                true => Operation::Patch(put),
                false => Operation::Upsert(put),
            }
        }
        Op::Delete { twin, detach, .. } => Operation::Delete {
            id: id(&name(*twin)),
            expect,
            detach: *detach,
        },
        Op::Relate {
            source,
            name: kind,
            target,
            since,
            replace,
            ..
        } => {
            let since = since.map(|day| (day > 0).then_some(Value::Date(day)));
            Operation::Relate {
                source: id(&name(*source)),
                name: (*kind).into(),
                target: id(&name(*target)),
                set: since
                    .map(|since| ("since".into(), since))
                    .into_iter()
                    .collect(),
                expect,
                replace: *replace,
            }
        }
        Op::Unrelate {
            source,
            name: kind,
            target,
            ..
        } => Operation::Unrelate {
            source: id(&name(*source)),
            name: (*kind).into(),
            target: id(&name(*target)),
            expect,
        },
    }
}

/// The readings of a call, measured at these times.
pub(super) fn readings(record: &Record, times: &[Option<i64>]) -> Readings {
    let readings = (0..).zip(times).map(|(number, ts)| Reading {
        twin: id(&name(record.twins[usize::from(number % 2)])),
        telemetry: record.telemetry.into(),
        ts: *ts,
        value: reading(record.telemetry, record.salt, number),
    });
    Readings {
        principal: Principal::device(&id(&name(record.twins[0]))),
        readings: readings.collect(),
    }
}
