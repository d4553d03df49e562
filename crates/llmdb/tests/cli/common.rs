//! The built binary, run on databases that vanish after the test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

/// A directory with a database that does not exist yet.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.path("test.llmdb")
    }

    /// Runs `llmdb COMMAND DB ARGUMENTS...`.
    pub(crate) fn run(&self, command: &str, arguments: &[&str]) -> Ran {
        self.run_with(command, arguments, b"")
    }

    /// The same, with standard input.
    pub(crate) fn run_with(&self, command: &str, arguments: &[&str], input: &[u8]) -> Ran {
        let mut llmdb = llmdb();
        llmdb.arg(command).arg(self.db()).args(arguments);
        feed(&mut llmdb, input)
    }

    /// Applies lines that must be right.
    pub(crate) fn apply(&self, lines: &str) -> Vec<Json> {
        let ran = self.run_with("apply", &[], lines.as_bytes());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.lines()
    }

    /// Asks questions that must be right, with times in microseconds.
    pub(crate) fn ask(&self, lines: &str) -> Vec<Json> {
        let ran = self.run_with("ask", &["--times", "micros"], lines.as_bytes());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.lines()
    }
}

impl Ran {
    /// Standard output as JSON lines.
    pub(crate) fn lines(&self) -> Vec<Json> {
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{self:?}"));
        self.out.lines().map(parse).collect()
    }

    /// Standard output as one line of JSON.
    pub(crate) fn json(&self) -> Json {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "{self:?}");
        lines.remove(0)
    }
}

pub(crate) fn llmdb() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmdb"));
    command.env("RUST_BACKTRACE", "0");
    command
}

/// Runs a command with standard input.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that ends early closes its input; what it printed says whether that was right.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    ran(output)
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().into()
}
