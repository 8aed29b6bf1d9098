//! What a folder takes of the disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How often a folder is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Looks that must find the same.
const STILL: u32 = 10;
/// Longest time that a folder is waited for.
const PATIENCE: Duration = Duration::from_mins(5);
/// Bytes of a block of `st_blocks`.
const BLOCK: u64 = 512;

/// Bytes that a folder takes, as `du` counts. Files that go while it counts are left out.
pub(super) fn used(folder: &Path) -> Result<u64, Failure> {
    let failed = |path: &Path, error| Failure::failed(format!("{}: {error}", path.display()));
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&folder, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed(&folder, error))?;
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => bytes += found.blocks() * BLOCK,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&entry.path(), error)),
            }
        }
    }
    Ok(bytes)
}

/// Waits until a folder stays as large as it is, or for [`PATIENCE`]. Answers its bytes, and how long
/// they took to become so.
pub(super) async fn quiet(folder: &Path) -> Result<(u64, Duration), Failure> {
    let begun = Instant::now();
    let (mut bytes, mut since, mut still) = (used(folder)?, Duration::ZERO, 0);
    while still < STILL && begun.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        let now = used(folder)?;
        if now == bytes {
            still += 1;
        } else {
            (bytes, since, still) = (now, begun.elapsed(), 0);
        }
    }
    Ok((bytes, since))
}

/// Waits until a folder takes at most so many bytes, and then until it stays so. Answers its bytes and
/// how long they took; `None` where that was longer than `patience`.
pub(super) async fn shrunk(
    folder: &Path,
    at_most: u64,
    patience: Duration,
) -> Result<(u64, Option<Duration>), Failure> {
    let begun = Instant::now();
    loop {
        let bytes = used(folder)?;
        if bytes <= at_most {
            break;
        }
        if begun.elapsed() >= patience {
            return Ok((bytes, None));
        }
        tokio::time::sleep(LOOK).await;
    }
    let reached = begun.elapsed();
    let (bytes, since) = quiet(folder).await?;
    Ok((bytes, Some(reached + since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_does_not_shrink_is_not_said_to() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), vec![1; 100_000]).unwrap();
        let kept = shrunk(place.path(), 50_000, Duration::ZERO).await.unwrap();
        assert!(kept.0 >= 100_000 && kept.1.is_none());
    }

    #[test]
    fn a_folder_takes_what_its_files_take_however_deep() {
        let place = tempfile::tempdir().unwrap();
        let empty = used(place.path()).unwrap();
        std::fs::create_dir(place.path().join("deep")).unwrap();
        std::fs::write(place.path().join("deep/file"), vec![1; 100_000]).unwrap();
        assert!(used(place.path()).unwrap() >= empty + 100_000);
        assert_eq!(used(&place.path().join("none")).unwrap(), 0);
    }
}
