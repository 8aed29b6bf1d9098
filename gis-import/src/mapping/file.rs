//! What a mapping says of a file beside its name and format.

use std::sync::Arc;

use toml::de::DeTable;

use super::item::{Item, json};
use super::read::Reader;
use crate::formats::{Crs, Format, Options, ShapeKind, is_encoding};

/// What may be said of a file.
pub(super) const FILE_KEYS: [&str; 9] = [
    "crs", "encoding", "format", "in", "join", "layer", "name", "shape", "zoom",
];
/// Deepest zoom of tiles.
const MAX_ZOOM: u8 = 30;

impl Reader<'_> {
    /// What is said of a file; of a format that is not known nothing can be wrong with it.
    pub(super) fn options(
        &mut self,
        table: &DeTable<'_>,
        format: Option<Format>,
    ) -> Option<Options> {
        let text = |reader: &mut Self, key: &str| match table.get(key) {
            None => Some(None),
            Some(item) => reader.text(item).map(Some),
        };
        let (layer, crs) = (text(self, "layer"), text(self, "crs"));
        let (encoding, shape) = (text(self, "encoding"), text(self, "shape"));
        let mut known = true;
        let mut problem = |reader: &mut Self, key: &str, reason: String, help: Option<&str>| {
            if let Some(item) = table.get(key) {
                reader
                    .problems
                    .add(item.span(), reason, help.map(str::to_owned));
            }
            known = false;
        };
        if let Some(Some(crs)) = &crs
            && let Err(reason) = Crs::parse(crs)
        {
            problem(self, "crs", reason, None);
        }
        if let Some(Some(encoding)) = &encoding
            && !is_encoding(encoding)
        {
            let reason = format!("there is no encoding `{encoding}`");
            problem(
                self,
                "encoding",
                reason,
                Some("such as UTF-8, ISO-8859-1 or windows-1252"),
            );
        }
        let kind = shape.as_ref()?.as_deref().and_then(ShapeKind::named);
        if let Some(Some(shape)) = &shape
            && kind.is_none()
        {
            let reason = format!("there is no shape `{shape}`");
            problem(self, "shape", reason, Some("`point`, `line` or `area`"));
        }
        let zoom = table.get("zoom").map(zoom);
        if zoom == Some(None) {
            let reason = format!("a zoom is a whole number from 0 to {MAX_ZOOM}");
            problem(self, "zoom", reason, None);
        }
        let join: Vec<Arc<str>> = table
            .get("join")
            .map(|item| self.texts(item))
            .unwrap_or_default();
        let options = Options {
            layer: layer?,
            crs: crs?,
            encoding: encoding?,
            zoom: zoom.flatten(),
            join,
            shape: kind,
        };
        if let Some(key) = format.and_then(|format| options.useless(format))
            && let Some(item) = table.get(key)
        {
            let reason = format!("`{key}` means nothing to a file of this format");
            self.problems
                .add(item.span(), reason, Some("leave it out".to_owned()));
            return None;
        }
        known.then_some(options)
    }
}

fn zoom(item: Item<'_>) -> Option<u8> {
    let number = json(item.get_ref())?.as_u64()?;
    u8::try_from(number).ok().filter(|zoom| *zoom <= MAX_ZOOM)
}
