//! Programs that nobody here wrote, as peers of a test.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::NamedTempFile;

use crate::{process::POLL_EVERY, root};

/// A running program, killed when dropped.
#[derive(Debug)]
pub struct Foreign {
    child: Child,
    err: NamedTempFile,
    what: String,
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

impl Foreign {
    /// Starts it; its standard input and output are pipes to the test.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let err = NamedTempFile::new().expect("a temporary file can be made");
        let log = err.reopen().expect("a temporary file can be opened");
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{what} does not start: {error}"));
        Self { child, err, what }
    }

    /// Its standard input, once.
    #[track_caller]
    pub fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("the input is taken once")
    }

    /// Its standard output, once.
    #[track_caller]
    pub fn output(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().expect("the output is taken once"))
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // Both fail only where it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Writes to it and closes its input, then waits for its end.
    #[track_caller]
    pub fn fed(mut self, text: &str, within: Duration) -> Finished {
        let mut input = self.input();
        let text = text.to_owned();
        // In a thread, because a program that writes before it read all would wait for us.
        let fed = thread::spawn(move || input.write_all(text.as_bytes()));
        let finished = self.finished(within);
        let fed = fed.join().expect("feeding does not panic");
        assert!(fed.is_ok(), "it did not read its input: {finished:?}");
        finished
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finished(mut self, within: Duration) -> Finished {
        drop(self.child.stdin.take());
        let stdout = self.child.stdout.take();
        let out = thread::spawn(move || {
            let lines = stdout.map(|out| BufReader::new(out).lines().map_while(Result::ok));
            lines
                .into_iter()
                .flatten()
                .fold(String::new(), |text, line| text + &line + "\n")
        });
        let deadline = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "{} still runs after {within:?}:\n{}",
                self.what,
                self.said()
            );
            thread::sleep(POLL_EVERY);
        };
        Finished {
            code: status.code(),
            out: out.join().expect("reading does not panic"),
            err: self.said(),
        }
    }

    /// What it wrote to standard error so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.err.path()).unwrap_or_default()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `mosquitto_pub` to the MQTT service at this address, with its words line by line as they come.
#[track_caller]
pub fn publisher(mqtt: &str, args: &[&str]) -> Command {
    mosquitto("mosquitto_pub", mqtt, args)
}

/// `mosquitto_sub` at the MQTT service at this address, with its words line by line as they come.
#[track_caller]
pub fn subscriber(mqtt: &str, args: &[&str]) -> Command {
    mosquitto("mosquitto_sub", mqtt, args)
}

#[track_caller]
fn mosquitto(program: &str, mqtt: &str, args: &[&str]) -> Command {
    let (host, port) = mqtt.rsplit_once(':').expect("an address has a port");
    let mut command = Command::new("stdbuf");
    command
        .args(["-oL", program, "-h", host, "-p", port])
        .args(args);
    command
}

/// A script of `tests/node`, with the packages that `tools/setup.sh test` brought.
#[track_caller]
pub fn node(script: &str) -> Command {
    assert!(
        env::var_os("TWIN_NODE_PEERS").is_some(),
        "TWIN_NODE_PEERS is not set: run the tests through make test, which brings graphql-ws"
    );
    let mut command = Command::new("node");
    command.arg(root().join("tests/node").join(script));
    command
}

/// A script of `tests/oracle`, with the Python that `tools/setup.sh test` brought.
#[track_caller]
pub fn oracle(script: &str) -> Command {
    let Some(python) = env::var_os("TWIN_PYTHON") else {
        panic!(
            "TWIN_PYTHON is not set: run the tests through make test, which brings {script} its packages"
        );
    };
    let mut command = Command::new(python);
    command.arg(root().join("tests/oracle").join(script));
    command
}

/// Runs an oracle, which must find no difference.
#[track_caller]
pub fn agrees(oracle: &mut Command) {
    let output = oracle.output().expect("the oracle's Python starts");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(
        output.status.success(),
        "{oracle:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Looks again and again until there is something, for what nobody announces.
#[track_caller]
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        thread::sleep(POLL_EVERY);
    }
}
