//! CityJSON 1.1 and 2.0: a document of city objects, or `CityJSONSeq`, which has a feature on each line.
//!
//! A feature is a city object. Its columns are its attributes, and beside them `$id`; `$type`; `$parent`, the
//! first of its parents, groups aside where there are several; `$lod` and `$geometry`, level of detail and type
//! of the geometry that was taken; `$ground` and `$height`, its lowest height and how far its highest is above
//! that, in metres; and `$from`: `own`, or `parts` where the object has no geometry and its children's footprints
//! were united.
//!
//! Of several geometries the one with the finest level of detail is taken that can be used, of equal ones a closed
//! solid, and faults of all of them are told. Faces become a footprint (an area at the height of the lowest
//! vertex) and, where they rise above each other, the solid on it.
//!
//! # Invariants
//! - A document is held whole, because its vertices may stand behind its objects: at most
//!   [`MAX_DOCUMENT_BYTES`]. Of `CityJSONSeq` the head and one line are.
//! - A document of broken JSON gives no feature. A line of it is refused, and the next one is read.
//! - Vertices stay whole numbers until they are put in place: what meets in the file meets afterwards.
//! - Without a coordinate system nothing is put anywhere.
//!
//! Appearances (colours, textures) are left out, and that is said. Members of objects beside their attributes,
//! such as addresses and what extensions add, are not looked at.

mod footprint;
mod geometry;
mod object;
mod scene;
mod semantics;
#[cfg(test)]
mod tests;
mod wire;
mod write;

use std::collections::VecDeque;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use super::crs::{Crs, HOW_TO_GIVE};
use super::error::FileError;
use super::input::Input;
use super::json_scan::Scanner;
use super::{Item, MAX_FEATURE_BYTES, Options, Place, Wanted};
use geometry::Templates;
use scene::Scene;
use wire::{Document, Head, Transform};

pub use geometry::MAX_PLACED_CORNERS;
pub use object::MAX_GEOMETRIES;
pub use scene::MAX_CHILD_BYTES;
pub use wire::{MAX_CORNERS, MAX_DOCUMENT_VERTICES, MAX_OBJECTS, MAX_TEMPLATES};

/// Most bytes of a document, inflated.
pub const MAX_DOCUMENT_BYTES: u64 = 512 << 20;
/// Versions that are read, by how they begin.
const VERSIONS: [&str; 2] = ["1.1", "2.0"];
const MEND_JSON: &str = "mend the JSON here, or fetch the file again";

/// A file of city objects being read.
#[derive(Debug)]
pub struct CityJsonReader {
    path: PathBuf,
    /// `CityJSONSeq`, behind its head.
    lines: Option<Scanner>,
    transform: Transform,
    /// `None` where nobody asks for geometry.
    crs: Option<Crs>,
    templates: Templates,
    scene: Scene,
    told: VecDeque<Item>,
    appearance_told: bool,
    count: u64,
    done: bool,
}

impl CityJsonReader {
    pub(super) fn open(path: &Path, options: &Options, wanted: &Wanted) -> Result<Self, FileError> {
        let mut reader = Self {
            path: path.to_owned(),
            lines: None,
            transform: Transform {
                scale: [1.0; 3],
                translate: [0.0; 3],
            },
            crs: None,
            templates: Templates::default(),
            scene: Scene::default(),
            told: VecDeque::new(),
            appearance_told: false,
            count: 0,
            done: false,
        };
        let mut line = 1;
        let text = if by_lines(path) {
            let mut scanner = Scanner::new(Input::open(path)?);
            scanner.start()?;
            if scanner.peek()?.is_none() {
                return Err(scanner.error("the file is empty", "fetch it again"));
            }
            line = scanner.line();
            let mut head = Vec::new();
            scanner.capture_line(&mut head, MAX_FEATURE_BYTES)?;
            reader.lines = Some(scanner);
            head
        } else {
            document(path)?
        };
        reader.head(text, line, options, wanted)?;
        Ok(reader)
    }

    pub(super) fn expected(&self) -> Option<u64> {
        self.lines.is_none().then_some(self.scene.count() as u64)
    }

    pub(super) fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        while !self.done {
            if let Some(item) = self.told.pop_front() {
                return Ok(Some(item));
            }
            if let Some(item) = self.feature() {
                return Ok(Some(item));
            }
            let read = self.line();
            self.done = !matches!(read, Ok(true));
            read?;
        }
        Ok(None)
    }

    /// Reads the document, or the head of `CityJSONSeq`.
    fn head(
        &mut self,
        text: Vec<u8>,
        line: u64,
        options: &Options,
        wanted: &Wanted,
    ) -> Result<(), FileError> {
        let path = self.path.clone();
        let refuse =
            |at: &str, reason: String, help: &str| Err(FileError::new(&path, at, reason, help));
        let mut document: Document<'_> = match serde_json::from_slice(&text) {
            Ok(document) => document,
            Err(error) => {
                let error = greater_fault(&text, error);
                // Older versions write vertices in other ways, which would be the lesser trouble.
                if let Ok(head) = serde_json::from_slice::<Head<'_>>(&text) {
                    self.of_version(head.version.as_deref())?;
                }
                return Err(self.broken(&error, line));
            }
        };
        match document.kind.as_deref() {
            Some("CityJSON") => {}
            Some("CityJSONFeature") => {
                let help = "put the CityJSON object with the transform on the first line";
                return refuse("", "it begins with a CityJSONFeature".to_owned(), help);
            }
            other => {
                let other = other.unwrap_or_default();
                let help = "check the format of the file: CityJSON says \"type\": \"CityJSON\"";
                return refuse("", format!("its type is `{other}`, not CityJSON"), help);
            }
        }
        self.of_version(document.version.as_deref())?;
        let Some(transform) = document.transform else {
            let reason = "it has no transform, so nobody knows where its vertices are";
            let help = "every CityJSON from version 1.1 on has one: write the file anew with its scale and translate";
            return refuse("transform", reason.to_owned(), help);
        };
        let mut numbers = transform.scale.iter().chain(&transform.translate);
        if numbers.any(|number| !number.is_finite()) || transform.scale.iter().any(|s| *s < 0.0) {
            let reason = "its transform has a number that is none, or a scale below zero";
            return refuse("transform", reason.to_owned(), "fetch the file again");
        }
        if transform.scale.contains(&0.0) {
            self.told.push_back(Item::Remark {
                kind: "a scale of zero",
                reason: "a scale of its transform is 0, so vertices that differ lie in one place"
                    .to_owned(),
            });
        }
        self.transform = transform;
        let asked = ["$ground", "$height", "$geometry", "$lod", "$from"];
        if wanted.geometry || asked.iter().any(|name| wanted.columns.contains(*name)) {
            let stated = document
                .metadata
                .as_ref()
                .and_then(|known| known.system.as_deref());
            self.crs = Some(crs(&path, stated, options, &mut self.told)?);
        }
        if let Some(templates) = document.templates.take() {
            self.templates = Templates::read(templates);
        }
        self.leaves_out(&document);
        self.scene = match Scene::of(&text, document, line) {
            Ok(scene) => scene,
            Err(reason) => return refuse("vertices", reason, "fetch the file again"),
        };
        self.scene.text = text;
        Ok(())
    }

    /// Refuses a version that is not read.
    fn of_version(&self, version: Option<&str>) -> Result<(), FileError> {
        let version = version.unwrap_or_default();
        if VERSIONS.iter().any(|known| version.starts_with(known)) {
            return Ok(());
        }
        let reason = format!("its version is `{version}`");
        let help =
            "1.1 and 2.0 are read: upgrade it, for example with `cjio FILE upgrade save NEW`";
        Err(FileError::new(&self.path, "version", reason, help))
    }

    /// Says once what is not read.
    fn leaves_out(&mut self, document: &Document<'_>) {
        if document.appearance.is_some() && !self.appearance_told {
            self.appearance_told = true;
            self.told.push_back(Item::Remark {
                kind: "appearances are left out",
                reason: "colours and textures are not read".to_owned(),
            });
        }
    }

    /// Reads the next line of `CityJSONSeq`; `false` at the end.
    fn line(&mut self) -> Result<bool, FileError> {
        let Some(scanner) = &mut self.lines else {
            return Ok(false);
        };
        while scanner.take(0x1e)? {}
        if scanner.peek()?.is_none() {
            return Ok(false);
        }
        let line = scanner.line();
        let mut text = std::mem::take(&mut self.scene.text);
        scanner.capture_line(&mut text, MAX_FEATURE_BYTES)?;
        self.scene = Scene::default();
        let read = match serde_json::from_slice::<Document<'_>>(&text) {
            Err(error) => Err(told(&greater_fault(&text, error))),
            Ok(feature) if feature.kind.as_deref() != Some("CityJSONFeature") => {
                let kind = feature.kind.as_deref().unwrap_or_default();
                Err(format!("its type is `{kind}`, not CityJSONFeature"))
            }
            Ok(feature) => {
                self.leaves_out(&feature);
                Scene::of(&text, feature, line)
            }
        };
        match read {
            Ok(scene) => self.scene = scene,
            Err(reason) => {
                self.count += 1;
                let place = Place {
                    feature: self.count,
                    line: Some(line),
                };
                self.told.push_back(Item::Refused { place, reason });
            }
        }
        self.scene.text = text;
        Ok(true)
    }

    fn broken(&self, error: &serde_json::Error, line: u64) -> FileError {
        let line = line + (error.line() as u64).saturating_sub(1);
        let at = format!("line {line}, column {}", error.column());
        let mut help = MEND_JSON;
        if self.lines.is_none() && error.to_string().starts_with("trailing characters") {
            help = "a document ends with its object: name it .city.jsonl if it has one a line";
        }
        FileError::new(&self.path, at, told(error), help)
    }

    /// The next object of the document or line as a feature.
    fn feature(&mut self) -> Option<Item> {
        let next = self.scene.next_object()?;
        self.count += 1;
        let place = Place {
            feature: self.count,
            line: Some(next.line),
        };
        Some(match self.convert(&next, place) {
            Ok(feature) => Item::Feature(feature),
            Err(reason) => {
                let id: String = next.id.chars().take(128).collect();
                let reason = format!("`{id}`: {reason}");
                Item::Refused { place, reason }
            }
        })
    }
}

/// The error of a text, or what keeps it from being JSON at all: reading ends at the first value that is not as it
/// should be, and what is broken further on is the greater trouble.
fn greater_fault(text: &[u8], error: serde_json::Error) -> serde_json::Error {
    if !error.is_data() {
        return error;
    }
    serde_json::from_slice::<IgnoredAny>(text)
        .err()
        .unwrap_or(error)
}

fn told(error: &serde_json::Error) -> String {
    if error.is_data() {
        format!("it is no CityJSON: {error}")
    } else {
        format!("it is not JSON: {error}")
    }
}

/// Whether a file's name says that each of its lines is a feature.
fn by_lines(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    name.strip_suffix(".gz").unwrap_or(&name).ends_with("jsonl")
}

/// The text of a document.
fn document(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut input = Input::open_limited(path, MAX_DOCUMENT_BYTES)?;
    let mut text = Vec::new();
    let read = input
        .by_ref()
        .take(MAX_DOCUMENT_BYTES + 1)
        .read_to_end(&mut text);
    match read {
        Err(error) => Err(input.failure(&error)),
        Ok(_) if text.len() as u64 > MAX_DOCUMENT_BYTES => Err(FileError::new(
            path,
            "",
            format!("it is more than MAX_DOCUMENT_BYTES = {MAX_DOCUMENT_BYTES} bytes"),
            "write it as CityJSONSeq, a feature a line, for example with `cjseq cat`",
        )),
        Ok(_) => {
            if text.starts_with(b"\xef\xbb\xbf") {
                text.drain(..3);
            }
            Ok(text)
        }
    }
}

/// The system that vertices are in: what is said beside the file, or what it states.
fn crs(
    path: &Path,
    stated: Option<&str>,
    options: &Options,
    told: &mut VecDeque<Item>,
) -> Result<Crs, FileError> {
    const AT: &str = "metadata.referenceSystem";
    if let Some(given) = options.crs.as_deref() {
        let given = Crs::parse(given)
            .map_err(|reason| FileError::new(path, "crs of the mapping", reason, ""))?;
        if let Some(stated) = stated
            && !Crs::parse(stated).is_ok_and(|crs| crs.to_string() == given.to_string())
        {
            let stated: String = stated.chars().take(80).collect();
            told.push_back(Item::Remark {
                kind: "another coordinate system",
                reason: format!("{given}, as was said, is used instead of the file's {stated}"),
            });
        }
        return Ok(given);
    }
    let Some(stated) = stated else {
        let reason = "it does not say its coordinate system";
        return Err(FileError::new(path, AT, reason, HOW_TO_GIVE));
    };
    Crs::parse(stated).map_err(|reason| FileError::new(path, AT, reason, ""))
}
