//! `GET /models/{id}.glb`: the solid of a twin as binary glTF.
//!
//! # Invariants
//! - A model shows the twin as it is when the request comes. Clients may keep it and have to ask each time
//!   whether it is still the same; its `ETag` is another as soon as the twin changed.

use std::thread;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use tokio::sync::oneshot;
use twin_core::{TwinRef, View};

use super::kept::{Pairs, Tag, arguments, only, refusal};
use super::page::not_found;
use crate::error::{Code, Fault};
use crate::limits::MODEL_STACK_BYTES;
use crate::models::{self, RULES};
use crate::service::{Room, Service, ended_badly};

const GLB: &str = "model/gltf-binary";

/// A model.
pub(super) async fn model(
    State(service): State<Service>,
    Extension(room): Extension<Room>,
    Path(file): Path<String>,
    pairs: Pairs,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Some(id) = file.strip_suffix(".glb") else {
        return not_found(uri).await;
    };
    let view = service.inner.twin.view();
    let asked = arguments(pairs).and_then(|pairs| only(&pairs, &[]));
    let twin = match asked.and_then(|()| models::find(&view, id)) {
        Ok(twin) => twin,
        Err(fault) => return refusal(&fault),
    };
    let tag = Tag::new(&view.revision(twin), RULES);
    if let Some(same) = tag.same(&headers) {
        return same;
    }
    match drawn(view, twin, room).await {
        Ok(bytes) => tag.answer(GLB, bytes),
        Err(fault) => refusal(&fault),
    }
}

/// Draws a model; a place among the requests goes with the work.
async fn drawn(view: View, twin: TwinRef, room: Room) -> Result<Vec<u8>, Fault> {
    let (told, drawn) = oneshot::channel();
    let work = move || {
        let _room = room;
        // Whoever waited for it may have gone.
        drop(told.send(models::model(&view, twin)));
    };
    // A thread of its own, because the stacks of the runtime's are too small for it.
    let thread = thread::Builder::new().name("model".to_owned());
    if let Err(error) = thread.stack_size(MODEL_STACK_BYTES).spawn(work) {
        let message = format!("no thread could be started for the model: {error}");
        return Err(Fault::new(Code::Unavailable, message));
    }
    drawn.await.map_err(|error| ended_badly(&error)).flatten()
}
