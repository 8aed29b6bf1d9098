//! One property of one class: a typed, persistent array by row.
//!
//! # Invariants
//! - Doubles are finite, so NaN stands for "absent".

use std::sync::Arc;

use ontology::{Schema, Value};

use super::vector::Vector;

/// A typed array by row; absent values take a row too.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    Bool(Vector<Option<bool>>),
    Int(Vector<Option<i64>>),
    Double(Vector<f64>),
    Text(Vector<Option<Arc<str>>>),
    Other(Vector<Option<Value>>),
}

/// A value where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Double(f64),
    /// A text.
    Text(&'a str),
    /// A value of any other kind.
    Other(&'a Value),
}

impl Column {
    pub(crate) fn new(schema: &Schema) -> Self {
        match schema {
            Schema::Boolean => Self::Bool(Vector::new()),
            Schema::Integer { .. } | Schema::Long => Self::Int(Vector::new()),
            Schema::Double => Self::Double(Vector::new()),
            Schema::String => Self::Text(Vector::new()),
            _ => Self::Other(Vector::new()),
        }
    }

    pub(crate) fn get(&self, row: u32) -> Option<Value> {
        let row = row as usize;
        match self {
            Self::Bool(values) => values[row].map(Value::Bool),
            Self::Int(values) => values[row].map(Value::Int),
            Self::Double(values) => Some(values[row]).filter(|v| !v.is_nan()).map(Value::Double),
            Self::Text(values) => values[row].clone().map(Value::Text),
            Self::Other(values) => values[row].clone(),
        }
    }

    /// What [`Column::get`] answers, without a copy of it.
    pub(crate) fn get_ref(&self, row: u32) -> Option<ValueRef<'_>> {
        let row = row as usize;
        match self {
            Self::Bool(values) => values[row].map(ValueRef::Bool),
            Self::Int(values) => values[row].map(ValueRef::Int),
            Self::Double(values) => Some(values[row])
                .filter(|v| !v.is_nan())
                .map(ValueRef::Double),
            Self::Text(values) => values[row].as_deref().map(ValueRef::Text),
            Self::Other(values) => values[row].as_ref().map(ValueRef::Other),
        }
    }

    /// Sets a row, or appends one if `row` is the length.
    ///
    /// The door checked that the value fits the schema the column was made for.
    pub(crate) fn set(&mut self, row: u32, value: Option<&Value>) {
        fn put<T: Clone + Default>(values: &mut Vector<T>, row: u32, value: T) {
            if row as usize == values.len() {
                values.push_back(value);
            } else {
                values.set(row as usize, value);
            }
        }
        match (self, value) {
            (Self::Bool(values), Some(Value::Bool(v))) => put(values, row, Some(*v)),
            (Self::Bool(values), _) => put(values, row, None),
            (Self::Int(values), Some(Value::Int(v))) => put(values, row, Some(*v)),
            (Self::Int(values), _) => put(values, row, None),
            (Self::Double(values), Some(Value::Double(v))) => put(values, row, *v),
            (Self::Double(values), _) => put(values, row, f64::NAN),
            (Self::Text(values), Some(Value::Text(v))) => put(values, row, Some(Arc::clone(v))),
            (Self::Text(values), _) => put(values, row, None),
            (Self::Other(values), v) => put(values, row, v.cloned()),
        }
    }
}
