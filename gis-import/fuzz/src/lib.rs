//! What the targets share: a file that is read to its end, whatever becomes of it.

use std::fs;
use std::path::Path;

use gis_import::formats::{Format, Item, Options, RawGeometry, Reader, Wanted};
use twin_core::space::Shape;

/// Lets a reader catch panics of libraries: only what passes it ends the process, where else any panic would.
pub fn init() {
    std::panic::set_hook(Box::new(|told| eprintln!("{told}")));
}

/// Writes a file and reads it to its end or its first error; geometry is made a shape, or refused.
pub fn read_bytes(path: &Path, bytes: &[u8], format: Format, options: &Options) {
    fs::write(path, bytes).unwrap();
    read(path, format, options);
}

/// Reads a file to its end or its first error; geometry is made a shape, or refused.
pub fn read(path: &Path, format: Format, options: &Options) {
    let wanted = Wanted {
        geometry: true,
        ..Wanted::default()
    };
    let Ok(mut reader) = Reader::open_with(path, format, options, &wanted) else {
        return;
    };
    while let Ok(Some(item)) = reader.next_item() {
        let Item::Feature(feature) = item else {
            continue;
        };
        match feature.geometry {
            Some(RawGeometry::Wkb(wkb) | RawGeometry::Part { wkb, .. }) => {
                drop(Shape::from_wkb(&wkb));
            }
            Some(RawGeometry::GeoJson(text)) => {
                if let Ok(value) = serde_json::from_str(&text) {
                    drop(Shape::from_geojson(&value));
                }
            }
            Some(RawGeometry::Lacking { .. }) | None => {}
        }
    }
}
