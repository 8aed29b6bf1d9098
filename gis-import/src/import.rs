//! A set's file through its mapping into the twin.
//!
//! # Invariants
//! - Reading, building and committing overlap; at most [`CHUNKS_WAITING`] chunks wait between
//!   reading and building and [`BUILDERS`] are built at a time, so memory does not grow with a file.
//! - The same file again changes nothing.

use std::path::Path;
use std::sync::{Arc, Mutex};

use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;
use twin_core::{Trial, Twin, View};

use crate::batch::{Target, Tried};
use crate::build::{Built, build, build_set};
use crate::difference::Difference;
use crate::error::{Failure, ImportError};
use crate::formats::{Cell, FileError, Format, Item, Options, RawGeometry, Reader, Wanted};
use crate::load::{Progress, load};
use crate::mapping::{Folders, Mapping};
use crate::report::{Note, Report};

/// Most features of one chunk.
const CHUNK_FEATURES: usize = 256;
/// Bytes of geometry at which a chunk is full.
const CHUNK_BYTES: usize = 4 << 20;
/// Chunks that wait to be built.
const CHUNKS_WAITING: usize = 2;
/// Chunks built at a time, each on a thread of its own.
const BUILDERS: usize = 2;

type Chunk = Result<Vec<Item>, FileError>;

/// Imports a set from the first of its files that exists.
///
/// # Errors
/// There is no file, it cannot be read to its end, or the twin stopped writing; what was committed
/// until then is in the failure's report. Refused features are no error: the report names them.
pub async fn import(
    twin: &Twin,
    mapping: Arc<Mapping>,
    folders: &Folders,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Report, Failure> {
    run(&Target::Twin(twin), mapping, folders, &mut progress).await
}

/// Says what an import of a set would change, and tries it on a copy of the twin: the next set that
/// is tried on it finds what this one would have made.
///
/// # Errors
/// As [`import`], except that nothing is committed.
pub async fn dry_run(
    trial: &mut Trial,
    mapping: Arc<Mapping>,
    folders: &Folders,
    mut progress: impl FnMut(Progress) + Send,
    mut tell: impl FnMut(&Difference) + Send,
) -> Result<Report, Failure> {
    let tell = &mut tell;
    let target = Target::Trial(Mutex::new(Tried { trial, tell }));
    run(&target, mapping, folders, &mut progress).await
}

async fn run(
    target: &Target<'_>,
    mapping: Arc<Mapping>,
    folders: &Folders,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, Failure> {
    let mut report = Report {
        set: Arc::clone(&mapping.set),
        dry_run: matches!(target, Target::Trial(_)),
        ..Report::default()
    };
    let Some((path, file)) = mapping.find(folders) else {
        let set = mapping.set.to_string();
        let error = if mapping.needs_file() {
            ImportError::FileNotGiven(set)
        } else {
            let tried = mapping.candidates(folders).map(|(path, _)| path).collect();
            ImportError::NoFile { set, tried }
        };
        return Err(Failure {
            error,
            report: Box::new(report),
        });
    };
    report.file = path.display().to_string();
    let (format, options) = (file.format, file.options.clone());
    let mapping = Arc::new(mapping.of_file(file));
    let reader = match open(&path, format, options, mapping.wanted()).await {
        Ok(reader) => reader,
        Err(error) => {
            return Err(Failure {
                error,
                report: Box::new(report),
            });
        }
    };
    let expected = reader.expected();
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    let reading = tokio::task::spawn_blocking(move || read(reader, &sender));
    let once = build_set(&mapping, &target.view());
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    let built = chunks
        .map(|chunk: Chunk| {
            let (mapping, view) = (Arc::clone(&mapping), target.view());
            async move {
                let items = chunk?;
                blocking(move || build_chunk(&items, &mapping, &view)).await
            }
        })
        .buffered(BUILDERS);
    let source = stream::iter(once.map(|once| Ok(vec![once]))).chain(built);
    let done = load(target, report, expected, source, progress).await;
    // The reader ends by itself: at the end of its file, or when nobody takes its chunks.
    match reading.await {
        Ok(()) => done,
        Err(error) => match (error.try_into_panic(), done) {
            (Ok(panic), _) => std::panic::resume_unwind(panic),
            (Err(_), Ok(report)) => Err(Failure {
                error: ImportError::Interrupted,
                report: Box::new(report),
            }),
            (Err(_), failed) => failed,
        },
    }
}

async fn open(
    path: &Path,
    format: Format,
    options: Options,
    wanted: Wanted,
) -> Result<Reader, ImportError> {
    let path = path.to_owned();
    blocking(move || Reader::open_with(&path, format, &options, &wanted))
        .await?
        .map_err(ImportError::File)
}

/// Runs on a thread that may block. A panic there is ours and goes on here.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ImportError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => Ok(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ImportError::Interrupted),
        },
    }
}

/// Reads chunks until the end, an error, or nobody wants more.
fn read(mut reader: Reader, to: &mpsc::Sender<Chunk>) {
    loop {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < CHUNK_FEATURES && bytes < CHUNK_BYTES {
            match reader.next_item() {
                Ok(Some(item)) => {
                    bytes += held_bytes(&item);
                    items.push(item);
                }
                end => {
                    let last = to.blocking_send(Ok(items));
                    if let (Ok(()), Err(error)) = (last, end) {
                        // Without a receiver nobody is left to tell.
                        to.blocking_send(Err(error)).ok();
                    }
                    return;
                }
            }
        }
        if to.blocking_send(Ok(items)).is_err() {
            return;
        }
    }
}

/// About how many bytes an item holds beside itself.
fn held_bytes(item: &Item) -> usize {
    match item {
        Item::Feature(feature) => {
            let geometry = match &feature.geometry {
                None | Some(RawGeometry::Lacking { .. }) => 0,
                Some(RawGeometry::Wkb(bytes) | RawGeometry::Part { wkb: bytes, .. }) => bytes.len(),
                Some(RawGeometry::GeoJson(text)) => text.len(),
            };
            let values = feature.values.values().map(Cell::held_bytes);
            geometry + values.sum::<usize>()
        }
        Item::Refused { .. } | Item::Remark { .. } => 0,
    }
}

fn build_chunk(items: &[Item], mapping: &Mapping, view: &View) -> Vec<Built> {
    let build_one = |item: &Item| match item {
        Item::Feature(feature) => build(mapping, feature, view),
        Item::Refused { place, reason } => Built::Refused(Note {
            place: place.to_string(),
            twin: None,
            kind: "not readable",
            reason: reason.clone(),
        }),
        Item::Remark { kind, reason } => Built::Remark(Note {
            place: "the file".to_owned(),
            twin: None,
            kind,
            reason: reason.clone(),
        }),
    };
    items.iter().map(build_one).collect()
}
