//! All twins of one class: ids, revisions, columns, shapes, latest readings and their index.
//!
//! # Invariants
//! - Every per-row array has the same length; a row is live or in `free`, never both.
//! - `order` holds the live rows by id; `space` holds a row exactly if its shape is known.
//! - A row's shape is where its newest `location` reading put it, else its own geometry.

use std::sync::Arc;

use imbl::OrdMap;
use ontology::{Class, GeometryKind, Schema, Value};

use super::column::{Column, ValueRef};
use super::vector::Vector;
use crate::change::{TwinState, Values};
use crate::id::TwinId;
use crate::space::{Point, Shape, SpaceIndex};

/// Name of the telemetry that moves its twin.
const LOCATION: &str = "location";

/// The newest reading of a twin's telemetry.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// When it was measured, microseconds since 1970.
    pub ts: i64,
    /// When it arrived, microseconds since 1970.
    pub arrived: i64,
    /// Its offset in the lane.
    pub offset: u64,
    /// The value.
    pub value: Value,
}

/// The rows of one class.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    order: OrdMap<TwinId, u32>,
    ids: Vector<Option<TwinId>>,
    revisions: Vector<u64>,
    columns: Vec<Column>,
    shapes: Vector<Option<Arc<Shape>>>,
    /// Where readings moved twins to; stays empty for classes without a location.
    moved: Vector<Option<Arc<Shape>>>,
    latest: Vec<Vector<Option<Latest>>>,
    location: Option<usize>,
    space: SpaceIndex<u32>,
    free: Vector<u32>,
}

impl Table {
    pub(crate) fn new(class: &Class) -> Self {
        let location = class.telemetry_index(LOCATION).filter(|i| {
            matches!(
                class.telemetry[*i].schema,
                Schema::Geometry(GeometryKind::Point)
            )
        });
        Self {
            order: OrdMap::new(),
            ids: Vector::new(),
            revisions: Vector::new(),
            columns: class
                .properties
                .iter()
                .map(|p| Column::new(&p.schema))
                .collect(),
            shapes: Vector::new(),
            moved: Vector::new(),
            latest: class.telemetry.iter().map(|_| Vector::new()).collect(),
            location,
            space: SpaceIndex::new(),
            free: Vector::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Rows, those of deleted twins too.
    pub(crate) fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Live rows in the order of their numbers.
    pub(crate) fn live_rows(&self) -> impl Iterator<Item = u32> + '_ {
        // Rows are numbered by `u32`, see `insert`.
        let rows = 0..self.ids.len() as u32;
        rows.filter(|row| matches!(self.ids.get(*row as usize), Some(Some(_))))
    }

    /// Live rows by id, from the first id after `after`.
    pub(crate) fn rows_after<'a>(
        &'a self,
        after: Option<&TwinId>,
    ) -> impl DoubleEndedIterator<Item = (&'a TwinId, u32)> + 'a {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.clone()));
        self.order
            .range((start, Bound::Unbounded))
            .map(|(id, row)| (id, *row))
    }

    #[expect(
        clippy::expect_used,
        reason = "a reference is only used with the live twin it is of"
    )]
    pub(crate) fn id(&self, row: u32) -> &TwinId {
        self.ids[row as usize].as_ref().expect("the row is live")
    }

    pub(crate) fn revision(&self, row: u32) -> u64 {
        self.revisions[row as usize]
    }

    pub(crate) fn value(&self, row: u32, column: usize) -> Option<Value> {
        self.columns[column].get(row)
    }

    pub(crate) fn value_ref(&self, row: u32, column: usize) -> Option<ValueRef<'_>> {
        self.columns[column].get_ref(row)
    }

    pub(crate) fn values(&self, row: u32) -> Values {
        self.columns.iter().map(|column| column.get(row)).collect()
    }

    /// The geometry the twin was given.
    pub(crate) fn own_shape(&self, row: u32) -> Option<&Arc<Shape>> {
        self.shapes[row as usize].as_ref()
    }

    /// Where the twin is.
    pub(crate) fn shape(&self, row: u32) -> Option<&Arc<Shape>> {
        self.moved
            .get(row as usize)
            .and_then(Option::as_ref)
            .or_else(|| self.own_shape(row))
    }

    pub(crate) fn latest(&self, row: u32, telemetry: usize) -> Option<&Latest> {
        self.latest[telemetry]
            .get(row as usize)
            .and_then(Option::as_ref)
    }

    pub(crate) fn space(&self) -> &SpaceIndex<u32> {
        &self.space
    }

    pub(crate) fn insert(&mut self, state: &TwinState) -> u32 {
        let row = self.free.pop_back().unwrap_or(self.ids.len() as u32);
        if row as usize == self.ids.len() {
            self.ids.push_back(None);
            self.revisions.push_back(0);
            self.shapes.push_back(None);
        }
        self.ids.set(row as usize, Some(state.id.clone()));
        self.revisions.set(row as usize, state.revision);
        self.order.insert(state.id.clone(), row);
        for (column, value) in self.columns.iter_mut().zip(state.values.iter()) {
            column.set(row, value.as_ref());
        }
        self.set_shape(row, state.geometry.as_ref());
        row
    }

    pub(crate) fn update(&mut self, row: u32, state: &TwinState) {
        self.revisions.set(row as usize, state.revision);
        for (i, value) in state.values.iter().enumerate() {
            if self.columns[i].get(row) != *value {
                self.columns[i].set(row, value.as_ref());
            }
        }
        let same = match (self.own_shape(row), &state.geometry) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        if !same {
            self.set_shape(row, state.geometry.as_ref());
        }
    }

    pub(crate) fn set_revision(&mut self, row: u32, revision: u64) {
        self.revisions.set(row as usize, revision);
    }

    pub(crate) fn remove(&mut self, row: u32) -> TwinId {
        let id = self.id(row).clone();
        self.unindex(row);
        for column in &mut self.columns {
            column.set(row, None);
        }
        for latest in &mut self.latest {
            if (row as usize) < latest.len() {
                latest.set(row as usize, None);
            }
        }
        if (row as usize) < self.moved.len() {
            self.moved.set(row as usize, None);
        }
        self.shapes.set(row as usize, None);
        self.ids.set(row as usize, None);
        self.order.remove(&id);
        self.free.push_back(row);
        id
    }

    /// Takes a reading in if it is not older than the newest; answers whether it repeats its time.
    pub(crate) fn read(&mut self, row: u32, telemetry: usize, reading: Latest) -> bool {
        let newest = self.latest(row, telemetry).map(|latest| latest.ts);
        let repeats = newest == Some(reading.ts);
        if newest.is_some_and(|ts| ts > reading.ts) {
            return false;
        }
        if self.location == Some(telemetry)
            && let Some(point) = point_of(&reading.value)
        {
            self.unindex(row);
            fill(&mut self.moved, row, Some(Arc::new(Shape::from(point))));
            self.index(row);
        }
        fill(&mut self.latest[telemetry], row, Some(reading));
        repeats
    }

    fn set_shape(&mut self, row: u32, shape: Option<&Arc<Shape>>) {
        self.unindex(row);
        self.shapes.set(row as usize, shape.cloned());
        self.index(row);
    }

    fn index(&mut self, row: u32) {
        if let Some(shape) = self.shape(row).cloned() {
            self.space.insert(row, &shape);
        }
    }

    fn unindex(&mut self, row: u32) {
        if let Some(shape) = self.shape(row).cloned() {
            self.space.remove(row, &shape);
        }
    }
}

/// Sets a row of an array that grows only as far as it is needed.
fn fill<T: Clone>(values: &mut Vector<Option<T>>, row: u32, value: Option<T>) {
    while values.len() <= row as usize {
        values.push_back(None);
    }
    values.set(row as usize, value);
}

fn point_of(value: &Value) -> Option<Point> {
    let Value::Geometry(json) = value else {
        return None;
    };
    let coordinates = json.get("coordinates")?.as_array()?;
    Point::new(
        coordinates.first()?.as_f64()?,
        coordinates.get(1)?.as_f64()?,
    )
    .ok()
}
