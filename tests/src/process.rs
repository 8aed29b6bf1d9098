//! The life of one `twin` process.

use std::{
    env, fs,
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Finished, Foreign};

/// Loading the whole nation on a busy machine takes up to two minutes; beyond this it hangs.
const READY_WITHIN: Duration = Duration::from_mins(5);
/// An interrupted twin drains and goes.
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// A command that reads or writes a test's folder.
const DONE_WITHIN: Duration = Duration::from_mins(2);
/// A command that must be refused is refused at once.
const REFUSED_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks at something that has no event.
pub(crate) const POLL_EVERY: Duration = Duration::from_millis(20);
/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(2);
/// How much of a log a failing test shows.
const LOG_LINES: usize = 60;

/// The folder of this workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests live one folder below the workspace")
        .to_path_buf()
}

/// Id of the station of a number, once [`register_stations`] registered it.
pub fn station(number: usize) -> String {
    format!("test:station:{number}")
}

/// Registers so many air quality stations in the twin of a folder, by an import as an operator does.
#[track_caller]
pub fn register_stations(dir: &Path, count: usize) {
    register_stations_by(|start| start.dir(dir), count);
}

/// Registers so many stations by an import that is started in a way of one's own.
#[track_caller]
pub fn register_stations_by(start: impl FnOnce(Start) -> Start, count: usize) {
    let files = tempfile::tempdir().expect("a temporary folder can be made");
    let rows: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    fs::write(
        files.path().join("stations.csv"),
        format!("number\n{}\n", rows.join("\n")),
    )
    .expect("a table can be written");
    let mapping = files.path().join("stations.toml");
    fs::write(&mapping, STATIONS).expect("a mapping can be written");
    let import = Start::bare("import").arg(&mapping).data(files.path());
    let done = start(import).finished();
    assert_eq!(done.code, Some(0), "{}", done.err);
}

/// The mapping of [`register_stations`].
const STATIONS: &str = r#"
title = "Stations of a test"
source = "a test"
licence = "CC0-1.0"
attribution = "nobody"
[[file]]
name = "stations.csv"
[[twin]]
class = "AirQualityStation"
id = "test:station:{number}"
[twin.set]
name = "number"
"#;

/// The folder of source data (`TWIN_DATA`), where this machine has one.
pub fn data() -> Option<PathBuf> {
    let folder = PathBuf::from(env::var_os("TWIN_DATA")?);
    let folder = if folder.is_relative() {
        root().join(folder)
    } else {
        folder
    };
    assert!(
        folder.is_dir(),
        "TWIN_DATA names {}, which is no folder",
        folder.display()
    );
    Some(folder)
}

/// The binary under test: `TWIN_BIN`, else the one beside the test's own build.
fn binary() -> PathBuf {
    if let Some(path) = env::var_os("TWIN_BIN") {
        return PathBuf::from(path);
    }
    let test = env::current_exe().expect("a running test has a path");
    let path = test
        .parent()
        .and_then(Path::parent)
        .expect("a test lies in target/PROFILE/deps")
        .join("twin");
    assert!(
        path.is_file(),
        "{} is missing: run make build first",
        path.display()
    );
    path
}

/// How to start a twin.
#[derive(Debug)]
pub struct Start {
    command: Command,
    temp: TempDir,
    dir: PathBuf,
}

impl Start {
    fn new(word: &str) -> Self {
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let mut command = Command::new(binary());
        command
            .arg(word)
            .current_dir(root())
            .env_remove("TWIN_DATA")
            .stdin(Stdio::null());
        Self {
            command,
            dir: temp.path().join("twin"),
            temp,
        }
    }

    /// `twin demo`, in a fresh folder, on any free ports.
    pub fn demo() -> Self {
        Self::new("demo").ports("127.0.0.1:0", "127.0.0.1:0")
    }

    /// `twin serve`, in a fresh folder, on any free ports.
    pub fn serve() -> Self {
        Self::new("serve").ports("127.0.0.1:0", "127.0.0.1:0")
    }

    /// `twin serve` without addresses, for a test that gives them.
    pub fn bare(word: &str) -> Self {
        Self::new(word)
    }

    fn ports(self, http: &str, mqtt: &str) -> Self {
        self.arg("--json")
            .arg("--http")
            .arg(http)
            .arg("--mqtt")
            .arg(mqtt)
    }

    /// Another argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Source data.
    #[must_use]
    pub fn data(self, folder: &Path) -> Self {
        self.arg("--data").arg(folder)
    }

    /// An existing folder in place of a fresh one.
    #[must_use]
    pub fn dir(mut self, folder: &Path) -> Self {
        self.dir = folder.to_path_buf();
        self
    }

    /// Starts and waits until it can be used.
    #[track_caller]
    pub fn ready(self) -> Twin {
        let mut twin = self.started();
        twin.wait_ready();
        twin
    }

    /// Starts and waits until it can be used, or has ended, or was killed.
    #[track_caller]
    pub fn tried(self) -> Result<Twin, Refusal> {
        let mut twin = self.started();
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            match twin.lines.recv_timeout(POLL_EVERY) {
                Ok(line) => {
                    twin.is_ready(&line);
                    return Ok(twin);
                }
                Err(_) if twin.running() => {
                    assert!(Instant::now() < deadline, "neither up nor gone");
                }
                Err(_) => {
                    let status = twin.gone(GONE_WITHIN, "ended");
                    return Err(Refusal {
                        code: status.code(),
                        text: twin.log(),
                    });
                }
            }
        }
    }

    /// Starts without waiting.
    #[track_caller]
    pub fn started(mut self) -> Twin {
        let log = self.temp.path().join("log");
        // Both streams append to one file, in the order of their writing.
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log can be written");
        let mut child = self
            .command
            .arg("--dir")
            .arg(&self.dir)
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} does not start: {error}", self.command));
        let stdout = child.stdout.take().expect("stdout is piped");
        let (send, lines) = mpsc::sync_channel(1);
        let copy = log.clone();
        thread::spawn(move || {
            let mut send = Some(send);
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(mut file) = File::options().append(true).open(&copy) {
                    writeln!(file, "{line}").expect("a log can be written");
                }
                // Only the first line is awaited; later ones are log.
                if let Some(send) = send.take()
                    && send.send(line).is_err()
                {
                    return;
                }
            }
        });
        Twin {
            child: Some(child),
            lines,
            ready: Value::Null,
            dir: self.dir,
            log,
            started: Instant::now(),
            _temp: self.temp,
        }
    }

    /// Runs a command that does its work and ends.
    #[track_caller]
    pub fn finished(self) -> Finished {
        let mut command = self.command;
        command.arg("--dir").arg(&self.dir);
        Foreign::start(&mut command).finished(DONE_WITHIN)
    }

    /// Starts what must not come up: it ends by itself, without ever saying that it is ready.
    #[track_caller]
    pub fn refused(self) -> Refusal {
        let mut twin = self.started();
        let status = twin.gone(REFUSED_WITHIN, "refused");
        assert!(
            twin.lines.try_recv().is_err(),
            "it said that it was ready, then ended {status}"
        );
        Refusal {
            code: status.code(),
            text: twin.log(),
        }
    }
}

/// How a twin refused to start.
#[derive(Debug)]
pub struct Refusal {
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// All that it said.
    pub text: String,
}

/// A running twin, killed when dropped.
#[derive(Debug)]
pub struct Twin {
    child: Option<Child>,
    lines: mpsc::Receiver<String>,
    ready: Value,
    dir: PathBuf,
    log: PathBuf,
    started: Instant,
    _temp: TempDir,
}

impl Twin {
    #[track_caller]
    fn wait_ready(&mut self) {
        let line = self
            .lines
            .recv_timeout(READY_WITHIN)
            .unwrap_or_else(|why| panic!("no ready line within {READY_WITHIN:?}: {why}"));
        self.is_ready(&line);
    }

    #[track_caller]
    fn is_ready(&mut self, line: &str) {
        self.ready = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("the first line is not JSON ({error}): {line}"));
        assert_eq!(self.ready["ready"], true, "{line}");
        eprintln!(
            "ready after {:.1} s: {line}",
            self.started.elapsed().as_secs_f64()
        );
    }

    fn said(&self, key: &str) -> &str {
        self.ready[key]
            .as_str()
            .unwrap_or_else(|| panic!("the ready line has no {key}: {}", self.ready))
    }

    /// Address of its HTTP door.
    pub fn http(&self) -> &str {
        self.said("http")
    }

    /// Address of its MQTT door.
    pub fn mqtt(&self) -> &str {
        self.said("mqtt")
    }

    /// Address of its MQTT door with TLS.
    pub fn mqtts(&self) -> &str {
        self.said("mqtts")
    }

    /// Its position when it said that it was ready.
    pub fn position(&self) -> &str {
        self.said("position")
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All that it wrote so far.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        let child = self.child.as_mut().expect("only dropping takes the child");
        child.try_wait().expect("a child can be asked").is_none()
    }

    /// Its memory that is resident now, KiB.
    #[track_caller]
    pub fn resident_kib(&self) -> u64 {
        let child = self.child.as_ref().expect("only dropping takes the child");
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let size = size.and_then(|size| size.trim().parse().ok());
        size.unwrap_or_else(|| panic!("no resident size:\n{status}"))
    }

    /// Lets so much time pass, after which it must still run.
    #[track_caller]
    pub fn runs_for(&mut self, time: Duration) {
        let moment = Instant::now() + time;
        while self.running() && Instant::now() < moment {
            thread::sleep(TICK);
        }
        assert!(self.running(), "it ended by itself:\n{}", self.log());
    }

    /// Ends it with SIGKILL, as a crash would. Its folder stays as long as this value does.
    pub fn kill9(&mut self) {
        let child = self.child.as_mut().expect("only dropping takes the child");
        child.kill().expect("a running child can be killed");
        child.wait().expect("a killed child ends");
    }

    /// Sends it a signal by its name, such as `INT`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("only dropping takes the child");
        let id = child.id();
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(id.to_string())
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "kill -{name} {id} failed"
        );
    }

    /// Waits for its end; the exit code, or none where a signal ended it.
    #[track_caller]
    pub fn ended(&mut self, why: &str) -> Option<i32> {
        self.gone(GONE_WITHIN, why).code()
    }

    /// Interrupts it as Ctrl-C does; it must exit 0. Returns how long that took.
    #[track_caller]
    pub fn interrupt(&mut self) -> Duration {
        let start = Instant::now();
        self.signal("INT");
        let status = self.gone(GONE_WITHIN, "interrupted");
        assert_eq!(
            status.code(),
            Some(0),
            "an interrupted twin ended with {status}"
        );
        start.elapsed()
    }

    #[track_caller]
    fn gone(&mut self, within: Duration, why: &str) -> ExitStatus {
        let child = self.child.as_mut().expect("only dropping takes the child");
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{why}, it still runs after {within:?}"
            );
            thread::sleep(POLL_EVERY);
        }
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only where it has ended already.
            drop(child.kill());
            drop(child.wait());
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES);
            eprintln!("the twin's log, last lines:\n{}", lines[from..].join("\n"));
        }
    }
}
