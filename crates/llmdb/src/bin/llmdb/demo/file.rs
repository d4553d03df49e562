//! Whose file it is.
//!
//! Opening a database may recover its log, so a file is looked at through a copy.
//!
//! Invariants
//! 1. A file without the demo's mark is refused before anything beside it is made, changed or removed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use llmdb::{Known, Options, ValidTime};

use super::data::{MARK, MARK_KEY};
use super::reading;
use crate::commands::open;
use crate::exit::Failure;

/// The demo's own file is far smaller, so a larger one is not worth a copy.
const SIZE_MAX: u64 = 256 << 20;
const LOG_SUFFIX: &str = "-wal";

/// Removes the file that an earlier demo made at `path`.
pub(crate) fn make_way(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(reading(error)),
        Ok(found) if !found.is_file() => return Err(foreign(path, "it is not a regular file")),
        Ok(found) if found.len() > SIZE_MAX => {
            return Err(foreign(path, "it is larger than the demo's files"));
        }
        Ok(_) => (),
    }
    let copy = Copy::of(path).map_err(reading)?;
    copy.must_bear_the_mark(path)?;
    // Takes the lock: a demo that runs elsewhere keeps its file.
    open(path, "demo", false)?.close()?;
    fs::remove_file(path).map_err(reading)?;
    match fs::remove_file(beside(path, LOG_SUFFIX)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(reading(error)),
        _ => Ok(()),
    }
}

/// A copy in a directory of its own, removed with it.
struct Copy {
    directory: PathBuf,
}

impl Copy {
    fn of(path: &Path) -> io::Result<Self> {
        let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let directory = std::env::temp_dir().join(format!("llmdb-demo-{}-{unique}", std::process::id()));
        fs::create_dir(&directory)?;
        let copy = Self { directory };
        fs::copy(path, copy.path())?;
        match fs::copy(beside(path, LOG_SUFFIX), beside(&copy.path(), LOG_SUFFIX)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(copy),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("copy.llmdb")
    }

    fn must_bear_the_mark(&self, original: &Path) -> Result<(), Failure> {
        let found = Options::new().create(false).open(self.path()).and_then(|db| {
            let any = ValidTime::from_micros(0)?;
            Ok(db.begin_read()?.get(MARK, MARK_KEY, any, Known::Latest)?.is_some())
        });
        match found {
            Ok(true) => Ok(()),
            Ok(false) => Err(foreign(original, "it is a database without the demo's mark")),
            Err(error) => {
                // The copy's name would only confuse.
                let words = error.to_string().replace(&self.path().display().to_string(), "the file");
                Err(foreign(original, &words))
            }
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // A copy that stays behind in the directory for temporary files does no harm.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn foreign(path: &Path, why: &str) -> Failure {
    Failure::Refused(format!(
        "{} was not made by the demo ({why}), so it was not touched; move it away, or choose another file with --path",
        path.display()
    ))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
