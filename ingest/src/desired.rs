//! What a device is told as desired: the writable properties of its twin, as they stand.
//!
//! Nothing of it is stored: it is the twin's own state, so it is the same after a restart.
//!
//! # Invariants
//! - After every change of a device's writable properties its subscribers are told a state that is
//!   that one or a later one.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ontology::{ClassId, Ontology};
use serde_json::{Map, Value as Json, json};
use twin_core::{Event, FollowEnd, Follower, Group, Position, Twin, TwinId, TwinRef, View};

/// Version of the payload's form.
const SCHEMA_VERSION: u32 = 1;
/// How long is waited before changes are followed again that could not be.
const AGAIN: Duration = Duration::from_secs(1);

/// Told the devices whose desired state may be another now.
pub type Tell = Box<dyn Fn(&TwinId) + Send + Sync>;

/// The desired state of a twin as JSON: `schema_version`, `revision`, `values` by name. What is not
/// set is left out, and so is personal data.
pub(crate) fn payload(view: &View, twin: TwinRef) -> Bytes {
    let class = view.class(twin);
    let told = class.properties.iter().enumerate();
    let told = told.filter(|(_, property)| property.writable && !property.personal);
    let values: Map<String, Json> = told
        .filter_map(|(column, property)| {
            let value = view.value(twin, column)?;
            Some((property.name.to_string(), value.to_json()))
        })
        .collect();
    let desired = json!({
        "schema_version": SCHEMA_VERSION,
        "revision": view.revision(twin).to_string(),
        "values": values,
    });
    desired.to_string().into()
}

/// Tells which twins of a class changed after a position, until the twin stops.
pub(crate) async fn watch(twin: Twin, mut from: Position, device: ClassId, tell: Tell) {
    loop {
        let end = match twin.follow(&from) {
            Ok(follower) => follow(follower, &twin, device, &tell).await,
            Err(end) => end,
        };
        if matches!(end, FollowEnd::Stopped(_)) {
            return;
        }
        tracing::warn!(%end, "changes of devices were not followed; all devices are told anew");
        tokio::time::sleep(AGAIN).await;
        let view = twin.view();
        from = view.position();
        for device in view.scan(device, None) {
            tell(view.id(device));
        }
    }
}

async fn follow(mut follower: Follower, twin: &Twin, device: ClassId, tell: &Tell) -> FollowEnd {
    loop {
        let from = follower.offset();
        match follower.next().await {
            Ok(group) => {
                for device in changed(&group, from, twin.view().ontology(), device) {
                    tell(device);
                }
            }
            Err(end) => return end,
        }
    }
}

/// Devices whose desired state changed in a group, each once.
fn changed<'g>(
    group: &'g Group,
    from: u64,
    ontology: &Ontology,
    device: ClassId,
) -> BTreeSet<&'g TwinId> {
    let is_device = |class| ontology.is_a(class, device);
    let changes = group.changes.iter().filter(|change| change.offset >= from);
    let devices = changes.filter_map(|change| match &change.event {
        Event::Created(state) | Event::Deleted(state) => {
            is_device(state.class).then_some(&state.id)
        }
        Event::Updated { before, after } if is_device(after.class) => {
            let properties = ontology.class(after.class).properties.iter();
            let mut values = properties.zip(before.values.iter().zip(after.values.iter()));
            values
                .any(|(property, (before, after))| property.writable && before != after)
                .then_some(&after.id)
        }
        _ => None,
    });
    devices.collect()
}
