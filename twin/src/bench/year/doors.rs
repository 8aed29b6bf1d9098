//! The twin's two doors to history: the view in this process, and GraphQL over HTTP.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use graphql_api::{Options, Service};
use ontology::{Schema, Value};
use serde_json::{Value as Json, json};
use twin_core::Twin;
use twin_core::history::{DAY_US, HOUR_US};

use super::super::synthetic::{LEVEL, SENSOR};
use super::super::web::{Client, Web};
use super::questions::{Cells, Day, Hours, Month, Points, SERIES, Source, span};
use super::{Place, RESOLUTION};
use crate::failure::Failure;

/// Windows of a month and one more, so that one too many would be seen.
const MONTH_HOURS: usize = 32 * 24;

/// The twin asked in this process.
pub(super) struct View<'a> {
    pub(super) twin: &'a Twin,
    pub(super) places: &'a [Place],
}

impl Source for View<'_> {
    async fn day(&self, asked: Day) -> Result<(Duration, Points), Failure> {
        let begun = Instant::now();
        let view = self.twin.view();
        let sensor = sensor(&view, &self.places[asked.device as usize])?;
        let ts = span(asked.day, 1);
        let limit = (DAY_US / 1_000_000) as usize;
        let found = self.twin.history(&view, sensor, LEVEL, ts, limit).await?;
        let took = begun.elapsed();
        let point = |past: &twin_core::store::PastReading| match past.value {
            Value::Double(value) => Ok((past.ts / 1_000, value)),
            ref other => Err(Failure::failed(format!("a level is {}", other.to_json()))),
        };
        Ok((took, found.iter().map(point).collect::<Result<_, _>>()?))
    }

    async fn month(&self, asked: &Month) -> Result<(Duration, Hours), Failure> {
        let begun = Instant::now();
        let view = self.twin.view();
        let hour = Duration::from_micros(HOUR_US.unsigned_abs());
        let mut found = Vec::with_capacity(asked.devices.len());
        for device in &asked.devices {
            let sensor = sensor(&view, &self.places[*device as usize])?;
            let ts = span(asked.first, asked.days);
            let sums = self
                .twin
                .buckets(&view, sensor, LEVEL, ts, hour, MONTH_HOURS);
            found.push((*device, sums.await?));
        }
        let took = begun.elapsed();
        let mut hours = Hours::new();
        for (device, sums) in found {
            let of_it = sums
                .iter()
                .map(|sum| ((device, sum.start / 1_000), sum.mean()));
            hours.extend(of_it);
        }
        Ok((took, hours))
    }

    async fn newest(&self) -> Result<(Duration, Cells), Failure> {
        let begun = Instant::now();
        let view = self.twin.view();
        let class = view.ontology().class_named(SENSOR);
        let class = class.ok_or_else(|| Failure::failed("the models have no Sensor"))?;
        let level = class.telemetry_index(LEVEL).unwrap_or_default();
        let mut sums = BTreeMap::new();
        for sensor in view.scan(class.id, None) {
            let (Some(shape), Some(latest)) = (view.shape(sensor), view.latest(sensor, level))
            else {
                continue;
            };
            if let (Some(point), Value::Double(value)) = (shape.is_point(), &latest.value) {
                let (count, sum) = sums.entry(point.cell(RESOLUTION)).or_insert((0_u32, 0.0));
                *count += 1;
                *sum += value;
            }
        }
        let took = begun.elapsed();
        let mean = sums.into_iter();
        let mean = mean.map(|(cell, (count, sum))| (cell.to_string(), sum / f64::from(count)));
        Ok((took, mean.collect()))
    }
}

fn sensor(view: &twin_core::View, place: &Place) -> Result<twin_core::TwinRef, Failure> {
    let found = view.twin(&place.id);
    found.ok_or_else(|| Failure::failed(format!("`{}` is not there", place.id)))
}

/// The same twin asked over HTTP.
pub(super) struct Http<'a> {
    web: Web,
    client: Client,
    places: &'a [Place],
}

impl<'a> Http<'a> {
    pub(super) async fn open(twin: &Twin, places: &'a [Place]) -> Result<Self, Failure> {
        let service = Service::new(twin.clone(), Options::default())
            .map_err(|error| Failure::failed(format!("the API's schema: {error}")))?;
        let web = Web::serve(service).await?;
        let client = web.client();
        Ok(Self {
            web,
            client,
            places,
        })
    }

    pub(super) fn close(self) {
        self.web.close();
    }

    fn ask(&self, query: &str, variables: &Json) -> Result<(Duration, Json), Failure> {
        let body = json!({ "query": query, "variables": variables });
        let begun = Instant::now();
        let body = tokio::task::block_in_place(|| self.client.post(&body))?;
        let took = begun.elapsed();
        let answer: Json = serde_json::from_slice(&body)
            .map_err(|error| Failure::failed(format!("an answer that is no JSON: {error}")))?;
        match answer.get("errors") {
            Some(errors) => Err(Failure::failed(format!("the API answers {errors}"))),
            None => Ok((took, answer["data"].clone())),
        }
    }
}

fn time(us: i64) -> Json {
    Value::DateTime(us).to_json()
}

/// Milliseconds since 1970 and the value of each entry.
fn points(entries: &Json) -> Result<Points, Failure> {
    let wrong = || Failure::failed(format!("history is {entries}"));
    let point = |entry: &Json| {
        let Ok(Value::DateTime(ts)) = Schema::DateTime.parse(&entry["ts"]) else {
            return None;
        };
        Some((ts / 1_000, entry["value"].as_f64()?))
    };
    let entries = entries.as_array().ok_or_else(wrong)?;
    entries
        .iter()
        .map(|entry| point(entry).ok_or_else(wrong))
        .collect()
}

impl Source for Http<'_> {
    async fn day(&self, asked: Day) -> Result<(Duration, Points), Failure> {
        // A list has at most 1,000 entries, so a day is asked for in two halves.
        const DAY: &str = "query($id: ID!, $a: DateTime!, $b: DateTime!, $c: DateTime!) { \
            twin(id: $id) { ... on Sensor { level { a: history(from: $a, to: $b) { ts value } \
            b: history(from: $b, to: $c) { ts value } } } } }";
        let ts = span(asked.day, 1);
        let id = self.places[asked.device as usize].id.as_str();
        let noon = ts.start + DAY_US / 2;
        let variables = json!({"id": id, "a": time(ts.start), "b": time(noon), "c": time(ts.end)});
        let (took, data) = self.ask(DAY, &variables)?;
        let level = &data["twin"]["level"];
        let mut found = points(&level["a"])?;
        found.extend(points(&level["b"])?);
        Ok((took, found))
    }

    async fn month(&self, asked: &Month) -> Result<(Duration, Hours), Failure> {
        let query = format!(
            "query($ids: [ID!]!, $a: DateTime!, $b: DateTime!) {{ \
             sensors(where: {{id: {{in: $ids}}}}, first: {SERIES}) {{ edges {{ node {{ id level {{ \
             history(from: $a, to: $b, every: \"PT1H\") {{ ts value }} }} }} }} }} }}"
        );
        let ts = span(asked.first, asked.days);
        let number: BTreeMap<&str, u32> = (asked.devices.iter())
            .map(|device| (self.places[*device as usize].id.as_str(), *device))
            .collect();
        let ids: Vec<&str> = number.keys().copied().collect();
        let variables = json!({"ids": ids, "a": time(ts.start), "b": time(ts.end)});
        let (took, data) = self.ask(&query, &variables)?;
        let mut hours = Hours::new();
        for edge in data["sensors"]["edges"].as_array().into_iter().flatten() {
            let node = &edge["node"];
            let device = node["id"].as_str().and_then(|id| number.get(id));
            let device = device.ok_or_else(|| Failure::failed(format!("a sensor is {node}")))?;
            let means = points(&node["level"]["history"])?;
            hours.extend(means.into_iter().map(|(ts, mean)| ((*device, ts), mean)));
        }
        Ok((took, hours))
    }

    async fn newest(&self) -> Result<(Duration, Cells), Failure> {
        let query = format!(
            "{{ aggregate(class: \"Sensor\", by: [{{cell: {}}}], measures: [{{mean: \"level\"}}]) {{ \
             group {{ value }} values }} }}",
            u8::from(RESOLUTION)
        );
        let (took, data) = self.ask(&query, &json!({}))?;
        let mut cells = Cells::new();
        for row in data["aggregate"].as_array().into_iter().flatten() {
            let (cell, mean) = (&row["group"][0]["value"], &row["values"][0]);
            let (Some(cell), Some(mean)) = (cell.as_str(), mean.as_f64()) else {
                return Err(Failure::failed(format!("a group is {row}")));
            };
            cells.insert(cell.to_owned(), mean);
        }
        Ok((took, cells))
    }
}
