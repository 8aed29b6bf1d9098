//! Models: the solid of one twin as binary glTF, which any program of three dimensions opens.
//!
//! # Invariants
//! - A model is a function of a twin's id, its class and its solid; the same give the same bytes. Knows no HTTP.
//! - Every face that has an area is there, cut into triangles that cover what it covers; each looks the way
//!   its face does.
//! - What is drawn is bounded before it is begun.
//!
//! ```text
//! longitude, latitude, height ─► metres east, north, up ─► triangles ─► one primitive a kind of surface ─► glb
//! ```

mod cut;
mod frame;
mod glb;
#[cfg(test)]
mod tests;

use twin_core::space::{Face, Solid, Surface};
use twin_core::{TwinRef, View};

use self::cut::{Cut, cut};
use self::frame::Frame;
use crate::error::{Code, Fault};
use crate::exec::Clock;
use crate::limits::{MAX_MODEL_CORNERS, MAX_MODEL_FACE_CORNERS, MAX_MODEL_METRES, MAX_MODEL_TIME};

/// Raised whenever the same solid would give other bytes.
pub(crate) const RULES: u32 = 1;

/// Triangles of one kind of surface, flat-shaded.
#[derive(Debug, Default)]
struct Mesh {
    positions: Vec<[f32; 3]>,
    /// Of unit length, one for each position.
    normals: Vec<[f32; 3]>,
    /// Three for each triangle, against the clock for whoever looks at the face.
    corners: Vec<u32>,
}

/// Characters of a foreign id that an error repeats: more than an id may have.
const MAX_ID_SHOWN: usize = 140;

/// The twin of an id, which has a solid.
pub(crate) fn find(view: &View, id: &str) -> Result<TwinRef, Fault> {
    let twin = view.find(id).ok_or_else(|| {
        let id: String = id.chars().take(MAX_ID_SHOWN).collect();
        Fault::new(Code::NotFound, format!("there is no twin `{id}`"))
    })?;
    solid(view, twin).map(|_| twin)
}

/// The model of a twin.
pub(crate) fn model(view: &View, twin: TwinRef) -> Result<Vec<u8>, Fault> {
    let solid = solid(view, twin)?;
    draw(view.id(twin).as_str(), &view.class(twin).name, solid)
}

fn solid(view: &View, twin: TwinRef) -> Result<&Solid, Fault> {
    let solid = view.shape(twin).and_then(|shape| shape.solid());
    solid.ok_or_else(|| {
        let (class, id) = (&view.class(twin).name, view.id(twin));
        let message = format!(
            "the {class} `{id}` has no solid, so there is no model of it; solids come from files of \
             three dimensions such as CityJSON, where those of a building may stand with its parts"
        );
        Fault::new(Code::NotFound, message)
    })
}

/// The model of a solid; `id` and `class` say whose.
fn draw(id: &str, class: &str, solid: &Solid) -> Result<Vec<u8>, Fault> {
    let corners: usize = solid
        .faces()
        .flat_map(|face| face.rings())
        .map(<[u32]>::len)
        .sum();
    if corners > MAX_MODEL_CORNERS {
        return Err(Fault::too_costly(format!(
            "the solid of `{id}` has {corners} corners, more than MAX_MODEL_CORNERS = {MAX_MODEL_CORNERS}"
        )));
    }
    let clock = Clock::within(MAX_MODEL_TIME);
    let frame = Frame::around(solid.positions());
    let places: Vec<[f64; 3]> = solid
        .positions()
        .iter()
        .map(|at| frame.local(*at))
        .collect();
    let far = |metres: &f64| metres.is_nan() || metres.abs() > MAX_MODEL_METRES;
    if places.iter().flatten().any(far) {
        return Err(Fault::too_costly(format!(
            "the solid of `{id}` reaches further than MAX_MODEL_METRES = {MAX_MODEL_METRES} m"
        )));
    }
    let mut meshes = Surface::ALL.map(|surface| (surface, Mesh::default()));
    for face in solid.faces() {
        let of_face: usize = face.rings().map(<[u32]>::len).sum();
        if of_face > MAX_MODEL_FACE_CORNERS {
            return Err(Fault::too_costly(format!(
                "a face of the solid of `{id}` has {of_face} corners, more than MAX_MODEL_FACE_CORNERS = {MAX_MODEL_FACE_CORNERS}"
            )));
        }
        // Asked of each face, because one alone may take long.
        clock.look();
        if !clock.tick() {
            let limit = MAX_MODEL_TIME.as_secs();
            let message = format!("the model took longer than {limit} s (MAX_MODEL_TIME)");
            return Err(Fault::new(Code::Timeout, message));
        }
        let (_, mesh) = &mut meshes[face.surface as usize];
        mesh.add(&face, &places);
    }
    if meshes.iter().all(|(_, mesh)| mesh.corners.is_empty()) {
        let message = format!("no face of the solid of `{id}` has an area that could be drawn");
        return Err(Fault::new(Code::NotFound, message));
    }
    Ok(glb::write(id, class, frame.origin(), &meshes))
}

impl Mesh {
    fn add(&mut self, face: &Face<'_>, places: &[[f64; 3]]) {
        let rings: Vec<Vec<[f64; 3]>> = face
            .rings()
            .map(|ring| ring.iter().map(|corner| places[*corner as usize]).collect())
            .collect();
        let Some(Cut {
            normal,
            places,
            triangles,
        }) = cut(&rings)
        else {
            // A line, without a direction to look in.
            return;
        };
        let first = self.positions.len() as u32;
        self.positions.extend(places.into_iter().map(y_up));
        self.normals.resize(self.positions.len(), y_up(normal));
        self.corners
            .extend(triangles.into_iter().flatten().map(|corner| first + corner));
    }
}

/// The axes of glTF: x to the east, y up, z to the south.
fn y_up([east, north, up]: [f64; 3]) -> [f32; 3] {
    [east as f32, up as f32, -north as f32]
}
