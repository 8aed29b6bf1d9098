//! Payloads into readings: the canonical JSON form, a list of them (a pack), and the flat form.
//!
//! # Invariants
//! - A payload is whole: all of its readings or none; a pack with one bad message is refused.
//! - No input panics; depth is checked before anything is parsed, counts while it is.
//! - Numbers are read from their text: times exactly, doubles correctly rounded.
//! - The canonical form and the flat form of the same facts give the same readings.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use ontology::{Schema, Telemetry, Value};
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use twin_core::{Reading, TwinId};

use crate::counters::Reason;
use crate::limits::PayloadLimits;
use crate::recorder::DeviceKind;
use crate::time::{Arrivals, parse_epoch_seconds, parse_rfc3339};

/// Seconds of a day.
const DAY_SECS: u64 = 86_400;

/// The version of the canonical form that is read here.
const SCHEMA_VERSION: &str = "1";
/// Members of the canonical form.
const CANONICAL: [&str; 4] = ["schema_version", "ts", "values", "location"];
/// Longest name that a suggestion is looked for.
const MAX_SUGGEST_BYTES: usize = 64;
/// Longest piece of a payload that is quoted in a reason.
const QUOTED_CHARS: usize = 60;
/// Name of the telemetry that moves a twin.
const LOCATION: &str = "location";

/// Why a payload is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The kind, for counters.
    pub(crate) reason: Reason,
    /// What exactly, for the dead letter.
    pub(crate) detail: String,
}

impl Refused {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    fn at(mut self, index: Option<usize>) -> Self {
        if let Some(index) = index {
            self.detail = format!("message {index} of the pack: {}", self.detail);
        }
        self
    }
}

/// Appends the readings of a payload, or leaves `readings` as they were and says why.
pub(crate) fn decode(
    payload: &[u8],
    device: &TwinId,
    kind: &DeviceKind,
    limits: &PayloadLimits,
    arrivals: &mut Arrivals,
    now: i64,
    readings: &mut Vec<Reading>,
) -> Result<(), Refused> {
    let before = readings.len();
    let decoded = decode_into(payload, device, kind, limits, arrivals, now, readings);
    if decoded.is_err() {
        readings.truncate(before);
    }
    decoded
}

fn decode_into(
    payload: &[u8],
    device: &TwinId,
    kind: &DeviceKind,
    limits: &PayloadLimits,
    arrivals: &mut Arrivals,
    now: i64,
    readings: &mut Vec<Reading>,
) -> Result<(), Refused> {
    check_depth(payload, limits.max_depth)?;
    let text = std::str::from_utf8(payload)
        .map_err(|error| Refused::new(Reason::MalformedJson, format!("not UTF-8: {error}")))?;
    let mut message = |text: &str, index: Option<usize>| {
        decode_message(text, device, kind, limits, arrivals, now, readings)
            .map_err(|refused| refused.at(index))
    };
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'[') => {
            let pack = parse_list(text, limits.max_messages)?;
            if pack.is_empty() {
                return Err(Refused::new(Reason::WrongShape, "an empty pack"));
            }
            for (index, raw) in pack.into_iter().enumerate() {
                message(raw.get(), Some(index))?;
            }
            Ok(())
        }
        _ => message(text, None),
    }
}

fn decode_message(
    text: &str,
    device: &TwinId,
    kind: &DeviceKind,
    limits: &PayloadLimits,
    arrivals: &mut Arrivals,
    now: i64,
    readings: &mut Vec<Reading>,
) -> Result<(), Refused> {
    let members = parse_members(text, limits.max_values)?;
    let canonical = members
        .iter()
        .any(|(name, _)| matches!(&**name, "values" | "schema_version"));
    let mut ts = None;
    let mut location = None;
    let mut values = Vec::new();
    if canonical {
        for (name, raw) in members {
            match &*name {
                "schema_version" => check_version(raw)?,
                "ts" => ts = parse_ts(raw)?,
                "values" => {
                    values = parse_members(raw.get(), limits.max_values).map_err(|refused| {
                        Refused::new(refused.reason, format!("`values`: {}", refused.detail))
                    })?;
                }
                LOCATION => location = Some(raw),
                other => {
                    let hint = hint(nearest(other, CANONICAL.into_iter()));
                    let detail = format!(
                        "`{}` is no member of the canonical form{hint}",
                        quoted(other)
                    );
                    return Err(Refused::new(Reason::WrongShape, detail));
                }
            }
        }
    } else {
        for (name, raw) in members {
            match &*name {
                "ts" => ts = parse_ts(raw)?,
                LOCATION => location = Some(raw),
                "machine_id" => check_machine(raw, device)?,
                // They address a gateway's tree; here the topic says where the message belongs.
                "tenant_id" | "site_id" => {
                    parse_text(&name, raw)?;
                }
                _ => values.push((name, raw)),
            }
        }
    }
    let location = location.filter(|raw| raw.get() != "null");
    if values.is_empty() && location.is_none() {
        let detail = "no values: expected {\"ts\": .., \"values\": {name: value}}";
        return Err(Refused::new(Reason::WrongShape, detail));
    }
    let ts = match ts {
        Some(ts) => check_time(ts, now, limits)?,
        None => arrivals.next(now),
    };
    for (name, raw) in values {
        let telemetry = find(kind, &name)?;
        let value = parse_value(telemetry, raw)?;
        readings.push(reading(device, telemetry, ts, value));
    }
    if let Some(raw) = location {
        let telemetry = find(kind, LOCATION)?;
        let value = parse_location(telemetry, raw)?;
        readings.push(reading(device, telemetry, ts, value));
    }
    Ok(())
}

fn reading(device: &TwinId, telemetry: &Telemetry, ts: i64, value: Value) -> Reading {
    Reading {
        twin: device.clone(),
        telemetry: telemetry.name.clone(),
        ts: Some(ts),
        value,
    }
}

fn find<'k>(kind: &'k DeviceKind, name: &str) -> Result<&'k Telemetry, Refused> {
    kind.telemetry(name).ok_or_else(|| {
        let hint = hint(nearest(
            name,
            kind.telemetry.iter().map(|telemetry| &*telemetry.name),
        ));
        let detail = format!("{} has no telemetry `{}`{hint}", kind.class, quoted(name));
        Refused::new(Reason::UnknownName, detail)
    })
}

/// Nesting deeper than the limit, seen before any parser sees the text.
fn check_depth(payload: &[u8], limit: usize) -> Result<(), Refused> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for &byte in payload {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    let detail = format!("nested deeper than {limit} levels (max_depth)");
                    return Err(Refused::new(Reason::TooDeep, detail));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn parse_ts(raw: &RawValue) -> Result<Option<i64>, Refused> {
    let text = raw.get();
    let parsed = match text.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'"') => parse_rfc3339(&parse_text("ts", raw)?),
        Some(b'-' | b'0'..=b'9') => parse_epoch_seconds(text),
        _ => Err("expected epoch seconds or RFC 3339".to_owned()),
    };
    parsed
        .map(Some)
        .map_err(|why| Refused::new(Reason::WrongTime, format!("`ts`: {why}")))
}

/// A time at most `max_ahead` after now, and at most `max_behind` before.
fn check_time(ts: i64, now: i64, limits: &PayloadLimits) -> Result<i64, Refused> {
    let beyond = Duration::from_micros(ts.abs_diff(now));
    if ts > now && beyond > limits.max_ahead {
        let detail = format!(
            "`ts` is {} s ahead of this server's clock, more than {} s (twin.max_ahead_secs): set \
             the device's clock, and send seconds of UTC",
            beyond.as_micros().div_ceil(1_000_000),
            limits.max_ahead.as_secs()
        );
        return Err(Refused::new(Reason::FutureTime, detail));
    }
    if ts < now && beyond > limits.max_behind {
        let detail = format!(
            "`ts` is {} days behind this server's clock, more than {} (twin.max_behind_days): set \
             the device's clock, which may have begun anew in 1970 for want of a battery, and send \
             seconds of UTC",
            beyond.as_secs() / DAY_SECS,
            limits.max_behind.as_secs() / DAY_SECS
        );
        return Err(Refused::new(Reason::PastTime, detail));
    }
    Ok(ts)
}

fn check_version(raw: &RawValue) -> Result<(), Refused> {
    if raw.get() == SCHEMA_VERSION {
        return Ok(());
    }
    let detail = format!(
        "`schema_version` {} is not read here, only {SCHEMA_VERSION}",
        quoted(raw.get())
    );
    Err(Refused::new(Reason::WrongShape, detail))
}

/// The machine has to be the topic's device: its id, or the last part of it.
fn check_machine(raw: &RawValue, device: &TwinId) -> Result<(), Refused> {
    let machine = parse_text("machine_id", raw)?;
    let id = device.as_str();
    let last = id.rsplit_once(':').map_or(id, |(_, last)| last);
    if machine == id || machine == last {
        return Ok(());
    }
    let detail = format!(
        "`machine_id` is `{}`, but the topic's device is `{id}`",
        quoted(&machine)
    );
    Err(Refused::new(Reason::ForeignDevice, detail))
}

fn parse_text<'a>(name: &str, raw: &'a RawValue) -> Result<Cow<'a, str>, Refused> {
    serde_json::from_str::<Text<'a>>(raw.get())
        .map(|text| text.0)
        .map_err(|_not_text| {
            Refused::new(
                Reason::WrongType,
                format!("`{name}`: expected a text, found {}", quoted(raw.get())),
            )
        })
}

fn parse_value(telemetry: &Telemetry, raw: &RawValue) -> Result<Value, Refused> {
    let misfit = |path: &str, reason: &str, suggestion: Option<&str>| {
        let path = if path == "." { "" } else { path };
        Refused::new(
            Reason::WrongType,
            format!("`{}{path}`: {reason}{}", telemetry.name, hint(suggestion)),
        )
    };
    // The parser's own floats may be off in the last bit; the standard library's are not.
    if matches!(telemetry.schema, Schema::Double)
        && raw
            .get()
            .starts_with(|c: char| c == '-' || c.is_ascii_digit())
    {
        return match raw.get().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Double(number)),
            _ => Err(misfit(
                ".",
                &format!("{} is beyond a double", quoted(raw.get())),
                None,
            )),
        };
    }
    let json: serde_json::Value =
        serde_json::from_str(raw.get()).map_err(|error| misfit(".", &error.to_string(), None))?;
    telemetry
        .schema
        .parse(&json)
        .map_err(|error| misfit(&error.path, &error.reason, error.suggestion.as_deref()))
}

/// A location is longitude and latitude, with a height where there is one, or a `GeoJSON` point.
fn parse_location(telemetry: &Telemetry, raw: &RawValue) -> Result<Value, Refused> {
    if !raw.get().starts_with('[') {
        return parse_value(telemetry, raw);
    }
    let wrong = |why: &str| {
        Refused::new(
            Reason::WrongType,
            format!("`location`: {why}, expected [longitude, latitude]"),
        )
    };
    let numbers: Vec<f64> =
        serde_json::from_str(raw.get()).map_err(|error| wrong(&error.to_string()))?;
    let (&[lon, lat] | &[lon, lat, _]) = numbers.as_slice() else {
        return Err(wrong(&format!("{} numbers", numbers.len())));
    };
    if !(-180.0..=180.0).contains(&lon) || !(-90.0..=90.0).contains(&lat) {
        return Err(wrong(&format!("{} is not on Earth", quoted(raw.get()))));
    }
    let point = serde_json::json!({ "type": "Point", "coordinates": numbers });
    telemetry
        .schema
        .parse(&point)
        .map_err(|error| wrong(&error.reason))
}

fn quoted(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// The closest of the names, if it is close enough to have been meant.
fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if name.len() > MAX_SUGGEST_BYTES {
        return None;
    }
    let lower = name.to_lowercase();
    names
        .map(|known| {
            (
                strsim::damerau_levenshtein(&lower, &known.to_lowercase()),
                known,
            )
        })
        .min()
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .map(|(_, known)| known)
}

type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

fn parse_members(text: &str, limit: usize) -> Result<Members<'_>, Refused> {
    bounded(
        text,
        |parser| {
            parser.deserialize_map(MembersVisitor {
                limit,
                text: PhantomData,
            })
        },
        "max_values",
    )
}

fn parse_list(text: &str, limit: usize) -> Result<Vec<&RawValue>, Refused> {
    bounded(
        text,
        |parser| {
            parser.deserialize_seq(ListVisitor {
                limit,
                text: PhantomData,
            })
        },
        "max_messages",
    )
}

/// Marks the error of a visitor that met its limit.
const OVER_LIMIT: &str = "more than the limit of ";
/// Marks the error of a visitor that met a name twice.
const TWICE: &str = "stands twice";

fn bounded<'a, T>(
    text: &'a str,
    parse: impl FnOnce(
        &mut serde_json::Deserializer<serde_json::de::StrRead<'a>>,
    ) -> serde_json::Result<T>,
    limit: &str,
) -> Result<T, Refused> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let parsed = parse(&mut parser).and_then(|parsed| parser.end().map(|()| parsed));
    parsed.map_err(|error| {
        let detail = error.to_string();
        if detail.starts_with(OVER_LIMIT) {
            return Refused::new(Reason::TooMany, format!("{detail} ({limit})"));
        }
        let reason = if error.classify() == serde_json::error::Category::Data {
            Reason::WrongShape
        } else {
            Reason::MalformedJson
        };
        Refused::new(reason, detail)
    })
}

/// A text that is borrowed where it holds no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct MembersVisitor<'a> {
    limit: usize,
    text: PhantomData<&'a str>,
}

impl<'a> Visitor<'a> for MembersVisitor<'a> {
    type Value = Members<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::new();
        while let Some(Text(name)) = map.next_key::<Text<'a>>()? {
            if members.len() == self.limit {
                return Err(over::<A::Error>(self.limit, "members"));
            }
            // Few members, so a scan beats a set.
            if members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format!("`{}` {TWICE}", quoted(&name))));
            }
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

struct ListVisitor<'a> {
    limit: usize,
    text: PhantomData<&'a str>,
}

impl<'a> Visitor<'a> for ListVisitor<'a> {
    type Value = Vec<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == self.limit {
                return Err(over::<A::Error>(self.limit, "messages"));
            }
            items.push(item);
        }
        Ok(items)
    }
}

fn over<E: de::Error>(limit: usize, what: &str) -> E {
    E::custom(format!("{OVER_LIMIT}{limit} {what}"))
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
