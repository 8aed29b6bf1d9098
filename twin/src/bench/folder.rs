//! A folder of our own that is gone afterwards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::Failure;
use crate::output;

/// Times that removing is tried: an engine that is just ending may still make a file.
const TRIES: usize = 20;
const BETWEEN: Duration = Duration::from_millis(100);

/// Removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Beside the configured folder, so on the same disk: a temporary folder may be in memory,
    /// where a sync costs nothing.
    pub(crate) fn beside(dir: &Path) -> Result<Self, Failure> {
        let name = format!(".twin-bench-{}", std::process::id());
        let path = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.join(name),
            _ => PathBuf::from(name),
        };
        let failed = |error| {
            Failure::usage(format!(
                "folder {}: {error}; name another place with --dir",
                path.display()
            ))
        };
        std::fs::create_dir_all(&path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        Ok(Self(path))
    }

    /// A place in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let mut last = None;
        for _ in 0..TRIES {
            match std::fs::remove_dir_all(&self.0) {
                Ok(()) => return,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
                Err(error) => last = Some(error),
            }
            std::thread::sleep(BETWEEN);
        }
        if let Some(error) = last {
            output::note(&format!("{} is left behind: {error}", self.0.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_removed_with_what_is_in_it() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::beside(&place.path().join("twin")).unwrap();
        std::fs::create_dir(folder.join("deep")).unwrap();
        std::fs::write(folder.join("deep").join("file"), "x").unwrap();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
        drop(folder);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
