//! What the tests of this room share.

use std::sync::Arc;

use ontology::{ClassId, GeometryKind, Schema, Telemetry};
use twin_core::TwinId;

use crate::recorder::DeviceKind;

/// The station that tests publish for.
pub(crate) const STATION: &str = "rw:station:kigali";

pub(crate) fn station() -> TwinId {
    TwinId::new(STATION).unwrap()
}

/// A kind of device with telemetry of several schemas.
pub(crate) fn kind() -> Arc<DeviceKind> {
    let telemetry = [
        (
            "count",
            Schema::Integer {
                min: i64::from(i32::MIN),
                max: i64::from(i32::MAX),
            },
        ),
        ("location", Schema::Geometry(GeometryKind::Point)),
        ("note", Schema::String),
        ("pm25", Schema::Double),
        ("status", Schema::String),
    ]
    .map(|(name, schema)| Telemetry {
        name: name.into(),
        label: name.into(),
        description: "".into(),
        schema,
        unit: None,
        declared_by: ClassId(0),
    });
    Arc::new(DeviceKind {
        class: "AirQualityStation".into(),
        telemetry: telemetry.into(),
    })
}
