//! Packs as they lie in a folder: `pack.toml` and DTDL documents.
//!
//! # Invariants
//! - Sources come in the order of pack and file name, whatever the file system's order.
//! - Files read and their sizes are bounded.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Ontology;
use crate::diagnostics::{Origin, Placed, Problems, did_you_mean};

/// Largest DTDL document or `pack.toml`.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Most documents of one folder of packs.
const MAX_FILES: usize = 100_000;
/// Deepest folder inside a pack.
const MAX_FOLDER_DEPTH: usize = 16;
/// Name of the file that makes a folder a pack.
const PACK_FILE: &str = "pack.toml";

/// What a `pack.toml` says.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Name, as in folder and API (`health`).
    pub name: Arc<str>,
    /// Version of the pack.
    pub version: Option<Arc<str>>,
    /// What it is for.
    pub description: Option<Arc<str>>,
    /// Licence of the models.
    pub license: Option<Arc<str>>,
    /// Where the models come from.
    pub source: Option<Arc<str>>,
    pub(crate) depends: Vec<Placed>,
    /// (class, plural) pairs.
    pub(crate) plural: Vec<(Placed, Placed)>,
    /// `Class.property` entries.
    pub(crate) personal: Vec<Placed>,
    pub(crate) origin: Origin,
}

/// One DTDL document of a pack.
#[derive(Debug, Clone)]
pub struct Source {
    /// Pack it belongs to.
    pub pack: Arc<Pack>,
    /// File name for problems.
    pub file: String,
    /// The JSON text.
    pub text: String,
}

const KEYS: &[&str] = &[
    "name",
    "version",
    "description",
    "license",
    "source",
    "depends",
    "plural",
    "personal",
];

impl Pack {
    /// A pack without a `pack.toml`, for models that come from elsewhere.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            version: None,
            description: None,
            license: None,
            source: None,
            depends: Vec::new(),
            plural: Vec::new(),
            personal: Vec::new(),
            origin: Origin {
                file: PACK_FILE.into(),
                text: "".into(),
            },
        }
    }

    /// A pack from the text of its `pack.toml`.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let origin = Origin {
            file: file.into(),
            text: text.into(),
        };
        let mut problems = Problems::default();
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                problems.error(
                    &origin,
                    span,
                    format!("not valid TOML: {}", error.message()),
                    None,
                );
                return Err(problems);
            }
        };
        let mut pack = Self {
            origin: origin.clone(),
            ..Self::named("")
        };
        for (key, value) in table.get_ref() {
            let name: &str = key.get_ref();
            match name {
                "name" => {
                    pack.name = text_of(&origin, name, value, &mut problems).unwrap_or_default();
                }
                "version" => pack.version = text_of(&origin, name, value, &mut problems),
                "description" => pack.description = text_of(&origin, name, value, &mut problems),
                "license" => pack.license = text_of(&origin, name, value, &mut problems),
                "source" => pack.source = text_of(&origin, name, value, &mut problems),
                "depends" => pack.depends = texts_of(&origin, name, value, &mut problems),
                "personal" => pack.personal = texts_of(&origin, name, value, &mut problems),
                "plural" => match value.get_ref() {
                    DeValue::Table(plurals) => {
                        for (class, plural) in plurals {
                            let placed = Placed {
                                text: (&**class.get_ref()).into(),
                                span: class.span(),
                            };
                            if let Some(text) = text_of(&origin, "plural", plural, &mut problems) {
                                pack.plural.push((
                                    placed,
                                    Placed {
                                        text,
                                        span: plural.span(),
                                    },
                                ));
                            }
                        }
                    }
                    _ => problems.error(
                        &origin,
                        value.span(),
                        "`plural` is a table of class names",
                        None,
                    ),
                },
                _ => problems.error(
                    &origin,
                    key.span(),
                    format!("`{name}` is not a key of a pack"),
                    did_you_mean(name, KEYS.iter().copied())
                        .or_else(|| Some(format!("the keys are {}", KEYS.join(", ")))),
                ),
            }
        }
        if problems.errors() == 0 && !is_pack_name(&pack.name) {
            let span = table.get_ref().get("name").map_or(0..0, Spanned::span);
            let help = "give `name` lower-case letters, digits and hyphens, a letter first: name = \"health\"";
            problems.error(
                &origin,
                span,
                "the pack has no usable name",
                Some(help.to_owned()),
            );
        }
        if problems.errors() == 0 {
            Ok(pack)
        } else {
            Err(problems)
        }
    }
}

fn is_pack_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn text_of(
    origin: &Origin,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    problems: &mut Problems,
) -> Option<Arc<str>> {
    if let DeValue::String(text) = value.get_ref() {
        return Some((&**text).into());
    }
    let found = value.get_ref().type_str();
    problems.error(
        origin,
        value.span(),
        format!("`{key}` is a string, not a {found}"),
        None,
    );
    None
}

fn texts_of(
    origin: &Origin,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    problems: &mut Problems,
) -> Vec<Placed> {
    let DeValue::Array(items) = value.get_ref() else {
        problems.error(
            origin,
            value.span(),
            format!("`{key}` is a list of strings"),
            None,
        );
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| {
            let text = text_of(origin, key, item, problems)?;
            Some(Placed {
                text,
                span: item.span(),
            })
        })
        .collect()
}

impl Ontology {
    /// Compiles every pack under `path`: each folder with a `pack.toml` and its `**/*.json`.
    /// The second part of the answer holds the warnings.
    pub fn load_dir(path: &Path) -> Result<(Self, Problems), Problems> {
        let mut problems = Problems::default();
        let sources = read_packs(path, &mut problems);
        if problems.errors() > 0 {
            return Err(problems.sorted());
        }
        Self::compile(&sources)
    }
}

fn read_packs(path: &Path, problems: &mut Problems) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut packs = 0_usize;
    for folder in children(path, problems) {
        let pack_file = folder.join(PACK_FILE);
        if !pack_file.is_file() {
            continue;
        }
        packs += 1;
        let Some(text) = read_text(&pack_file, problems) else {
            continue;
        };
        let pack = match Pack::parse(&pack_file.display().to_string(), &text) {
            Ok(pack) => Arc::new(pack),
            Err(more) => {
                problems.absorb(more);
                continue;
            }
        };
        let mut files = Vec::new();
        json_files(&folder, MAX_FOLDER_DEPTH, &mut files, problems);
        for file in files {
            if sources.len() == MAX_FILES {
                file_problem(&file, format!("more than {MAX_FILES} documents"), problems);
                return sources;
            }
            if let Some(text) = read_text(&file, problems) {
                sources.push(Source {
                    pack: Arc::clone(&pack),
                    file: file.display().to_string(),
                    text,
                });
            }
        }
    }
    if packs == 0 && problems.errors() == 0 {
        let reason = "no pack here: no folder in it holds a pack.toml";
        file_problem(path, reason.to_owned(), problems);
    }
    sources
}

fn file_problem(path: &Path, reason: String, problems: &mut Problems) {
    let origin = Origin {
        file: path.display().to_string().into(),
        text: "".into(),
    };
    problems.error(&origin, 0..0, reason, None);
}

/// Entries of a folder, sorted.
fn children(folder: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    let entries: Result<Vec<_>, _> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect());
    match entries {
        Ok(mut paths) => {
            paths.sort();
            paths
        }
        Err(error) => {
            file_problem(folder, format!("cannot be read: {error}"), problems);
            Vec::new()
        }
    }
}

fn json_files(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, problems: &mut Problems) {
    for path in children(folder, problems) {
        if path.is_dir() {
            match depth.checked_sub(1) {
                Some(depth) => json_files(&path, depth, files, problems),
                None => file_problem(
                    &path,
                    format!("nested deeper than {MAX_FOLDER_DEPTH} folders"),
                    problems,
                ),
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
}

fn read_text(path: &Path, problems: &mut Problems) -> Option<String> {
    let mut text = String::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 > MAX_FILE_BYTES => {
            file_problem(
                path,
                format!("larger than {MAX_FILE_BYTES} bytes"),
                problems,
            );
            None
        }
        Ok(_) => Some(text),
        Err(error) => {
            file_problem(path, format!("cannot be read: {error}"), problems);
            None
        }
    }
}
