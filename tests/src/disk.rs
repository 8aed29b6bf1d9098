//! A disk that forgets and fails: runs a twin over `tests/shim/disk.c`, then makes of its folder what
//! a power cut could have left.
//!
//! # Invariants
//! - What was synced stays: a file's bytes up to its last sync, a folder's names as of its last sync.
//! - All else is drawn anew at each cut among what POSIX permits. Bytes after the last sync are gone,
//!   torn anywhere, whole, or whole but for pages that read as zeros. Changes of a folder's names
//!   (new, renamed, removed) since its last sync are undone, or done in their order up to any of them.
//! - A failed sync loses: bytes after the sync before it are never synced again.
//! - What the model does not know fails the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;

use crate::{Random, Start, root};

/// Calls that the shim counts and lets fail, in its order.
const OPERATIONS: [&str; 9] = [
    "open", "write", "sync", "allocate", "truncate", "rename", "unlink", "link", "mkdir",
];
/// Kinds of files that it tells apart, in its order.
const KINDS: [&str; 11] = [
    "folder",
    "log of writes",
    "manifest",
    "table",
    "blob",
    "CURRENT",
    "temporary",
    "OPTIONS",
    "LOG",
    "LOCK",
    "other",
];
/// Words of the control file before the counts.
const WORDS: [&str; 8] = [
    "armed",
    "operation",
    "kind",
    "pass",
    "times",
    "error",
    "met",
    "failed",
];
const CONTROL_BYTES: usize = 8 * (WORDS.len() + OPERATIONS.len() * KINDS.len());
/// Bytes that a disk writes whole.
const PAGE: u64 = 4096;

/// A call to the system on one kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    operation: usize,
    kind: usize,
}

impl Site {
    /// The site of these names.
    pub fn named(operation: &str, kind: &str) -> Self {
        let place = |names: &[&str], name| names.iter().position(|known| *known == name);
        Self {
            operation: place(&OPERATIONS, operation).expect("a known operation"),
            kind: place(&KINDS, kind).expect("a known kind"),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", OPERATIONS[self.operation], KINDS[self.kind])
    }
}

/// What happens at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// `EIO`.
    Io,
    /// `ENOSPC`.
    NoSpace,
    /// The process is killed before the call.
    Kill,
}

/// A trouble to come.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Where.
    pub site: Site,
    /// So many calls pass before.
    pub pass: u64,
    /// So many fail then.
    pub times: u64,
    /// How.
    pub trouble: Trouble,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let often = if self.times == 1 {
            "once"
        } else {
            "from then on"
        };
        write!(
            f,
            "{:?} at {}, after {}, {often}",
            self.trouble, self.site, self.pass
        )
    }
}

/// What cuts took.
#[derive(Debug, Default, Clone, Copy)]
pub struct Cut {
    /// Cuts.
    pub cuts: u64,
    /// Files that had bytes that were not synced.
    pub files: u64,
    /// Bytes that are gone or read as zeros.
    pub bytes: u64,
    /// Changes of names that were undone.
    pub names: u64,
}

impl Cut {
    /// Adds those of another.
    pub const fn add(&mut self, other: Self) {
        self.cuts += other.cuts;
        self.files += other.files;
        self.bytes += other.bytes;
        self.names += other.names;
    }
}

/// Folders by their inode: their names, and the inodes of these.
type Folders = BTreeMap<u64, BTreeMap<String, u64>>;

/// A change of a folder's names.
#[derive(Debug)]
enum Change {
    Put(String, u64),
    Move(String, String),
    Remove(String),
}

impl Change {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Put(name, inode) => {
                names.insert(name, inode);
            }
            Self::Move(from, to) => {
                let inode = names.remove(&from).expect("what was renamed was there");
                names.insert(to, inode);
            }
            Self::Remove(name) => {
                names.remove(&name).expect("what was removed was there");
            }
        }
    }
}

/// So often the clock leaps, and so far: receipts of commits, which live a day, must outlive one leap.
const LEAP_EVERY_SECS: u64 = 10;
const LEAP_SECS: u64 = 20 * 3_600;

/// A folder on a disk that forgets what was not synced.
#[derive(Debug)]
pub struct Disk {
    base: TempDir,
    /// From when on its clock leaps.
    begun: SystemTime,
    random: Random,
    control: File,
    /// What was durable when the notes began.
    folders: Folders,
    lengths: BTreeMap<u64, u64>,
}

impl Disk {
    /// An empty one; what its cuts leave is drawn from the seed.
    #[track_caller]
    pub fn new(seed: u64) -> Self {
        let base = tempfile::tempdir().expect("a temporary folder can be made");
        for part in ["root", "kept", "state"] {
            fs::create_dir(base.path().join(part)).expect("a folder can be made");
        }
        let shim = base.path().join("disk.so");
        let built = Command::new("clang")
            .args([
                "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o",
            ])
            .arg(&shim)
            .arg(root().join("tests/shim/disk.c"))
            .output()
            .expect("clang runs; tools/setup.sh build brings it");
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let path = base.path().join("state/control");
        fs::write(&path, [0; CONTROL_BYTES]).expect("a file can be written");
        let control = File::options().read(true).write(true).open(path);
        let mut disk = Self {
            base,
            begun: SystemTime::now(),
            random: Random::new(seed),
            control: control.expect("a file that was just written can be opened"),
            folders: Folders::new(),
            lengths: BTreeMap::new(),
        };
        disk.begin();
        disk
    }

    fn path(&self, part: &str) -> PathBuf {
        let base = self.base.path().canonicalize();
        base.expect("the folder stays as long as the disk")
            .join(part)
    }

    /// The folder of a twin on this disk.
    pub fn dir(&self) -> PathBuf {
        self.path("root/twin")
    }

    /// Lets a twin work on this disk.
    #[must_use]
    pub fn under(&self, start: Start) -> Start {
        let env = |start: Start, name: &str, part: &str| {
            let path = self.path(part);
            start.env(name, path.to_str().expect("a temporary path is text"))
        };
        let start = env(start, "LD_PRELOAD", "disk.so");
        let start = env(start, "TWIN_DISK_ROOT", "root");
        let start = env(start, "TWIN_DISK_KEPT", "kept");
        let start = env(start, "TWIN_DISK_STATE", "state").dir(&self.dir());
        let begun = self
            .begun
            .duration_since(UNIX_EPOCH)
            .map_or(0, |begun| begun.as_secs());
        start
            .env("TWIN_CLOCK_FROM", &begun.to_string())
            .env("TWIN_CLOCK_LEAP_EVERY", &LEAP_EVERY_SECS.to_string())
            .env("TWIN_CLOCK_LEAP", &LEAP_SECS.to_string())
    }

    fn set(&self, word: &str, value: u64) {
        let place = WORDS.iter().position(|name| *name == word);
        let at = 8 * place.expect("a known word") as u64;
        let written = self.control.write_all_at(&value.to_le_bytes(), at);
        written.expect("the control file can be written");
    }

    fn get(&self, place: usize) -> u64 {
        let mut bytes = [0; 8];
        let read = self.control.read_exact_at(&mut bytes, 8 * place as u64);
        read.expect("the control file can be read");
        u64::from_le_bytes(bytes)
    }

    /// Lets calls fail from now on.
    pub fn arm(&self, fault: &Fault) {
        self.heal();
        self.set("operation", fault.site.operation as u64);
        self.set("kind", fault.site.kind as u64);
        self.set("pass", fault.pass);
        self.set("times", fault.times);
        let error = match fault.trouble {
            Trouble::Io => 5,
            Trouble::NoSpace => 28,
            Trouble::Kill => 1000,
        };
        self.set("error", error);
        self.set("met", 0);
        self.set("failed", 0);
        self.set("armed", 1);
    }

    /// Lets no call fail any more: the disk is well, or has space again.
    pub fn heal(&self) {
        self.set("armed", 0);
    }

    /// Calls that failed since [`Disk::arm`].
    pub fn failed(&self) -> u64 {
        self.get(WORDS.len() - 1)
    }

    /// How often each site was called so far, those that were.
    pub fn calls(&self) -> BTreeMap<Site, u64> {
        let sites = (0..OPERATIONS.len())
            .flat_map(|operation| (0..KINDS.len()).map(move |kind| Site { operation, kind }));
        sites
            .map(|site| {
                let place = WORDS.len() + site.operation * KINDS.len() + site.kind;
                (site, self.get(place))
            })
            .filter(|(_, calls)| *calls > 0)
            .collect()
    }

    /// Takes what is there as durable, and begins new notes.
    fn begin(&mut self) {
        self.folders.clear();
        self.lengths.clear();
        let kept = self.path("kept");
        for entry in fs::read_dir(&kept).expect("the folder of kept files can be read") {
            fs::remove_file(entry.expect("an entry can be read").path()).expect("a link can go");
        }
        let root = self.path("root");
        let taken = self.take(&root, &kept);
        taken.unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        fs::write(self.path("state/notes"), "").expect("notes can be written");
    }

    fn take(&mut self, folder: &Path, kept: &Path) -> io::Result<u64> {
        let inode = fs::metadata(folder)?.ino();
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let about = fs::metadata(&path)?;
            let inode = if about.is_dir() {
                self.take(&path, kept)?
            } else {
                fs::hard_link(&path, kept.join(about.ino().to_string()))?;
                self.lengths.insert(about.ino(), about.len());
                about.ino()
            };
            let name = path.file_name().expect("an entry has a name");
            names.insert(name.to_string_lossy().into_owned(), inode);
        }
        self.folders.insert(inode, names);
        Ok(inode)
    }

    /// Cuts the power. No process may run on this disk.
    #[track_caller]
    pub fn cut(&mut self) -> Cut {
        let notes = fs::read_to_string(self.path("state/notes")).expect("notes can be read");
        let mut cut = Cut {
            cuts: 1,
            ..Cut::default()
        };
        self.replay(&notes, &mut cut);
        let root = self.path("root");
        let inode = fs::metadata(&root).expect("the root stays").ino();
        for entry in fs::read_dir(&root).expect("the root can be read") {
            let path = entry.expect("an entry can be read").path();
            let gone = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            gone.expect("the root can be emptied");
        }
        let kept = self.path("kept");
        let folders = std::mem::take(&mut self.folders);
        let left = self.leave(&root, &folders, inode, &kept, &mut cut);
        left.unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        self.begin();
        cut
    }

    /// Brings what is durable up to the end of the notes.
    #[track_caller]
    fn replay(&mut self, notes: &str, cut: &mut Cut) {
        let mut now = self.folders.clone();
        let mut pending: BTreeMap<u64, Vec<Change>> = BTreeMap::new();
        let mut lost = BTreeSet::new();
        let number = |text: &str| text.parse::<u64>().expect("a number");
        for line in notes.lines() {
            let words: Vec<&str> = line.split('\t').collect();
            match words[..] {
                ["file" | "folder", folder, inode, name] if !name.is_empty() => {
                    let (folder, inode) = (number(folder), number(inode));
                    if words[0] == "file" {
                        self.lengths.insert(inode, 0);
                    } else {
                        now.insert(inode, BTreeMap::new());
                        self.folders.insert(inode, BTreeMap::new());
                    }
                    now.entry(folder)
                        .or_default()
                        .insert(name.to_owned(), inode);
                    let changes = pending.entry(folder).or_default();
                    changes.push(Change::Put(name.to_owned(), inode));
                }
                ["rename", from, old, to, new] => {
                    let (from, to) = (number(from), number(to));
                    let inode = now.entry(from).or_default().remove(old);
                    let inode = inode.unwrap_or_else(|| panic!("{line}: not there"));
                    now.entry(to).or_default().insert(new.to_owned(), inode);
                    let (old, new) = (old.to_owned(), new.to_owned());
                    if from == to {
                        let changes = pending.entry(from).or_default();
                        changes.push(Change::Move(old, new));
                    } else {
                        let changes = pending.entry(from).or_default();
                        changes.push(Change::Remove(old));
                        let changes = pending.entry(to).or_default();
                        changes.push(Change::Put(new, inode));
                    }
                }
                ["remove", folder, name] => {
                    let folder = number(folder);
                    now.entry(folder).or_default().remove(name);
                    let changes = pending.entry(folder).or_default();
                    changes.push(Change::Remove(name.to_owned()));
                }
                ["names", folder] => {
                    let folder = number(folder);
                    let names = self.folders.entry(folder).or_default();
                    for change in pending.remove(&folder).unwrap_or_default() {
                        change.apply(names);
                    }
                }
                ["length", inode, length] => {
                    let (inode, length) = (number(inode), number(length));
                    let synced = self.lengths.entry(inode).or_default();
                    if !lost.contains(&inode) {
                        *synced = length.max(*synced);
                    }
                }
                ["lost", inode] => {
                    lost.insert(number(inode));
                }
                _ => panic!("the model of the disk does not know: {line}"),
            }
        }
        for (folder, changes) in pending {
            let done = match self.random.bits() % 2 {
                0 => 0,
                _ => self.random.below(changes.len() as u64 + 1) as usize,
            };
            cut.names += (changes.len() - done) as u64;
            let names = self.folders.entry(folder).or_default();
            for change in changes.into_iter().take(done) {
                change.apply(names);
            }
        }
    }

    /// Fills a folder with what is left of it.
    fn leave(
        &mut self,
        path: &Path,
        folders: &Folders,
        inode: u64,
        kept: &Path,
        cut: &mut Cut,
    ) -> io::Result<()> {
        for (name, inode) in &folders[&inode] {
            let path = path.join(name);
            if folders.contains_key(inode) {
                fs::create_dir(&path)?;
                self.leave(&path, folders, *inode, kept, cut)?;
            } else {
                fs::hard_link(kept.join(inode.to_string()), &path)?;
                let synced = self.lengths[inode];
                self.forget(&File::options().write(true).open(&path)?, synced, cut)?;
            }
        }
        Ok(())
    }

    /// Leaves of a file's bytes what was synced, and of the others what chance leaves.
    fn forget(&mut self, file: &File, synced: u64, cut: &mut Cut) -> io::Result<()> {
        let length = file.metadata()?.len();
        if length <= synced {
            return Ok(());
        }
        cut.files += 1;
        match self.random.bits() % 4 {
            0 => {
                cut.bytes += length - synced;
                file.set_len(synced)
            }
            1 => {
                let left = synced + self.random.below(length - synced);
                cut.bytes += length - left;
                file.set_len(left)
            }
            2 => {
                let mut start = synced;
                while start < length {
                    let end = length.min((start / PAGE + 1) * PAGE);
                    if self.random.bits().is_multiple_of(2) {
                        cut.bytes += end - start;
                        file.write_all_at(&vec![0; (end - start) as usize], start)?;
                    }
                    start = end;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
