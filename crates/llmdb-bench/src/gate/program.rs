//! Another build's gate program, asked by its command line: the contract between builds.
//!
//! Invariants
//! 1. A question is a command whose answer is one line of JSON; its meaning changes only with `PROTOCOL`.
//! 2. Each program works on databases that it made itself, so a new file format is no hindrance.

use super::Error;
use super::counts::{GateCounts, PROTOCOL, Times};
use super::plant::{self, Plant};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How much of what a failed program printed is shown.
const ERROR_TAIL: usize = 600;

/// A gate program and its databases.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    image: PathBuf,
    operations: Vec<String>,
    plant: Option<Plant>,
}

impl Program {
    /// The program at `path`; it makes its databases in `image`. Without `operations` it does all.
    ///
    /// # Errors
    /// [`Error::Program`]; [`Error::Protocol`] where it answers other questions.
    pub fn prepare(
        path: &Path,
        image: &Path,
        operations: &[String],
        plant: Option<Plant>,
    ) -> Result<Self, Error> {
        let program =
            Self { path: path.to_owned(), image: image.to_owned(), operations: operations.to_vec(), plant };
        let protocol: u32 = program.ask(&["protocol"], &[])?;
        if protocol != PROTOCOL {
            return Err(Error::Protocol { program: path.to_owned(), theirs: protocol, ours: PROTOCOL });
        }
        output(program.command().args(["prepare", "--image"]).arg(image))?;
        Ok(program)
    }

    /// The same program and databases, for fewer operations.
    #[must_use]
    pub fn only(&self, operations: &[String]) -> Self {
        Self { operations: operations.to_vec(), ..self.clone() }
    }

    /// The counts of its operations.
    ///
    /// # Errors
    /// [`Error::Program`], [`Error::Malformed`].
    pub fn counts(&self, with_instructions: bool) -> Result<GateCounts, Error> {
        self.ask(&["counts"], if with_instructions { &[] } else { &["--without-instructions"] })
    }

    /// The times of its operations.
    ///
    /// # Errors
    /// [`Error::Program`], [`Error::Malformed`].
    pub fn times(&self) -> Result<Times, Error> {
        self.ask(&["times"], &[])
    }

    fn ask<T: DeserializeOwned>(&self, question: &[&str], flags: &[&str]) -> Result<T, Error> {
        let mut command = self.command();
        command.args(question).args(flags);
        if question != ["protocol"] {
            command.arg("--image").arg(&self.image);
            for name in &self.operations {
                command.args(["--operation", name]);
            }
        }
        let printed = output(&mut command)?;
        serde_json::from_str(&printed).map_err(|error| Error::Malformed {
            origin: format!("what `{}` printed", shown(&command)),
            what: error.to_string(),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env(plant::VARIABLE, self.plant.map_or("", Plant::name));
        command
    }
}

/// What a command prints.
pub(super) fn output(command: &mut Command) -> Result<String, Error> {
    let program = PathBuf::from(command.get_program());
    let output = command.stdin(Stdio::null()).output().map_err(Error::io("starting", &program))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let skipped = stderr.chars().count().saturating_sub(ERROR_TAIL);
    Err(Error::Program {
        program: shown(command),
        status: output.status.to_string(),
        stderr: stderr.chars().skip(skipped).collect(),
    })
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
