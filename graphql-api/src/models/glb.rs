//! Binary glTF 2.0: a head, a chunk of JSON and a chunk of numbers.
//!
//! # Invariants
//! - Every number of the second chunk is little-endian and at a multiple of four bytes.
//! - There is a primitive and a material for each kind of surface that has a triangle, and nothing that is
//!   not used.

use serde_json::{Value, json};
use twin_core::space::{Position, Surface};

use super::Mesh;

const MAGIC: u32 = 0x4654_6c67;
const VERSION: u32 = 2;
const JSON_CHUNK: u32 = 0x4e4f_534a;
const BIN_CHUNK: u32 = 0x004e_4942;
/// Types of numbers and uses of buffers, as glTF counts them.
const FLOAT: u32 = 5126;
const UNSIGNED_INT: u32 = 5125;
const VERTICES: u32 = 34962;
const INDICES: u32 = 34963;

/// Colours of surfaces: red, green, blue from 0 to 1, linear.
fn colour(surface: Surface) -> [f64; 3] {
    match surface {
        Surface::Ground => [0.35, 0.32, 0.28],
        Surface::Wall => [0.80, 0.77, 0.70],
        Surface::Roof => [0.55, 0.22, 0.16],
        Surface::Other => [0.62, 0.62, 0.62],
    }
}

/// The views, accessors and bytes of numbers, as they come.
#[derive(Default)]
struct Numbers {
    bytes: Vec<u8>,
    views: Vec<Value>,
    accessors: Vec<Value>,
}

impl Numbers {
    /// Adds what was written since `start` as a view with one accessor; answers its number.
    fn close(&mut self, start: usize, target: u32, mut accessor: Value) -> usize {
        self.views.push(json!({
            "buffer": 0,
            "byteOffset": start,
            "byteLength": self.bytes.len() - start,
            "target": target,
        }));
        accessor["bufferView"] = (self.views.len() - 1).into();
        self.accessors.push(accessor);
        self.accessors.len() - 1
    }

    fn vectors(&mut self, vectors: &[[f32; 3]], bounded: bool) -> usize {
        let start = self.bytes.len();
        let mut least = [f32::INFINITY; 3];
        let mut greatest = [f32::NEG_INFINITY; 3];
        for vector in vectors {
            for axis in 0..3 {
                least[axis] = least[axis].min(vector[axis]);
                greatest[axis] = greatest[axis].max(vector[axis]);
                self.bytes.extend_from_slice(&vector[axis].to_le_bytes());
            }
        }
        let mut accessor = json!({
            "componentType": FLOAT, "count": vectors.len(), "type": "VEC3",
        });
        if bounded {
            accessor["min"] = least.map(f64::from).to_vec().into();
            accessor["max"] = greatest.map(f64::from).to_vec().into();
        }
        self.close(start, VERTICES, accessor)
    }

    fn corners(&mut self, corners: &[u32]) -> usize {
        let start = self.bytes.len();
        for corner in corners {
            self.bytes.extend_from_slice(&corner.to_le_bytes());
        }
        let accessor = json!({
            "componentType": UNSIGNED_INT, "count": corners.len(), "type": "SCALAR",
        });
        self.close(start, INDICES, accessor)
    }
}

pub(super) fn write(
    id: &str,
    class: &str,
    [lon, lat, height]: Position,
    meshes: &[(Surface, Mesh)],
) -> Vec<u8> {
    let mut numbers = Numbers::default();
    let (mut primitives, mut materials) = (Vec::new(), Vec::new());
    for (surface, mesh) in meshes.iter().filter(|(_, mesh)| !mesh.corners.is_empty()) {
        let positions = numbers.vectors(&mesh.positions, true);
        let normals = numbers.vectors(&mesh.normals, false);
        let corners = numbers.corners(&mesh.corners);
        primitives.push(json!({
            "attributes": {"POSITION": positions, "NORMAL": normals},
            "indices": corners,
            "material": materials.len(),
            "extras": {"surface": surface.name()},
        }));
        let [red, green, blue] = colour(*surface);
        materials.push(json!({
            "name": surface.name(),
            "doubleSided": true,
            "pbrMetallicRoughness": {
                "baseColorFactor": [red, green, blue, 1.0],
                "metallicFactor": 0.0,
                "roughnessFactor": 1.0,
            },
        }));
    }
    let model = json!({
        "asset": {"version": "2.0", "generator": "twin"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{
            "name": id,
            "mesh": 0,
            "extras": {
                "id": id,
                "class": class,
                "origin": {"lon": lon, "lat": lat, "height": height},
            },
        }],
        "meshes": [{"primitives": primitives}],
        "materials": materials,
        "accessors": numbers.accessors,
        "bufferViews": numbers.views,
        "buffers": [{"byteLength": numbers.bytes.len()}],
    });
    let mut text = model.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(4), b' ');
    let bytes = numbers.bytes;
    let total = 12 + 8 + text.len() + 8 + bytes.len();
    let mut out = Vec::with_capacity(total);
    // Lengths are bounded by MAX_MODEL_CORNERS, far below what four bytes can say.
    for number in [MAGIC, VERSION, total as u32, text.len() as u32, JSON_CHUNK] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&text);
    for number in [bytes.len() as u32, BIN_CHUNK] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&bytes);
    out
}
