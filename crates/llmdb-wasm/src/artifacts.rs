//! Artifacts: compiled modules on disk, so that the next process need not compile.
//!
//! ```text
//!   DIRECTORY/                 the user's, mode 0700
//!     secret                   32 random bytes, mode 0600, made once
//!     KEY.artifact             machine code and its seal, mode 0600, moved into place whole
//! ```
//!
//! Invariants
//! 1. What is loaded was sealed with the user's secret, for this module, these limits, this build and this CPU. All
//!    else (damaged, truncated, another's, older) is as if it were not there, and is compiled anew.
//! 2. Directory and files are read only if the user owns them and nobody else may open them; links are not followed.
//! 3. The bytes that were authenticated are the bytes that run: they are read once. A mapping could change after.
//! 4. Artifacts are never read from a database file.
//!
//! Not here: the seal itself (`seal`); when an artifact is looked for (`runtime`).

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::compiled::ModuleHash;
use crate::engine;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::raw::artifact::Authentic;
use crate::rewrite::REWRITE_VERSION;
use crate::seal::Seal;

const SECRET_NAME: &str = "secret";
const SECRET_SIZE: usize = 32;
const EXTENSION: &str = "artifact";
/// Larger files are not read: the largest module allowed by default makes some 50 MB.
const ARTIFACT_BYTES_MAX: u64 = 256 << 20;
/// Bytes that a directory may hold before its oldest artifacts go.
const DIRECTORY_BYTES_MAX: u64 = 1 << 30;

/// A directory of compiled modules, for a [`Runtime`](crate::Runtime) to share with later processes.
///
/// ```
/// use llmdb_wasm::{ArtifactCache, Limits, Runtime, guests};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("wasm");
/// let runtime = || Ok::<_, llmdb_wasm::Error>(
///     Runtime::new(Limits::default()).with_artifacts(ArtifactCache::open(&path)?));
/// let first = runtime()?;
/// first.compile(guests::COUNT.as_bytes())?;
/// assert_eq!(first.compilations(), 1);
/// let second = runtime()?;
/// second.compile(guests::COUNT.as_bytes())?;
/// assert_eq!(second.compilations(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ArtifactCache {
    directory: PathBuf,
    secret: [u8; SECRET_SIZE],
}

impl std::fmt::Debug for ArtifactCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the secret.
        f.debug_struct("ArtifactCache").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl ArtifactCache {
    /// Opens `directory`, and makes it if it is not there, with its parents.
    ///
    /// # Errors
    /// [`Error::ArtifactCache`] if it is not the user's alone, cannot be made or read, or its secret is damaged; and
    /// on systems that are not Unix, where owner and mode cannot be checked.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        private::make_directory(&directory).map_err(|error| refused(&directory, &error))?;
        private::check(
            &directory,
            &fs::symlink_metadata(&directory).map_err(|e| refused(&directory, &e))?,
            true,
        )?;
        let secret = secret(&directory)?;
        Ok(Self { directory, secret })
    }

    /// Opens the user's own: `$XDG_CACHE_HOME/llmdb/wasm`, else `$HOME/.cache/llmdb/wasm`.
    ///
    /// # Errors
    /// As [`open`](Self::open), and where neither variable is an absolute path.
    pub fn of_user() -> Result<Self> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        let base = base.ok_or_else(|| Error::ArtifactCache {
            path: PathBuf::new(),
            reason: "neither XDG_CACHE_HOME nor HOME names a directory; open one by its path".to_owned(),
        })?;
        Self::open(base.join("llmdb").join("wasm"))
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The artifact of a module under these limits, if there is one and it is ours.
    pub(crate) fn load(&self, hash: &ModuleHash, limits: &Limits) -> Option<Authentic> {
        let seal = self.seal(hash, limits);
        let mut file = private::open(&self.path(&seal), ARTIFACT_BYTES_MAX).ok()?;
        let mut sealed = Vec::new();
        file.read_to_end(&mut sealed).ok()?;
        Authentic::open(sealed, &seal)
    }

    /// Keeps the artifact of a module. Readers see all of it or nothing.
    pub(crate) fn store(&self, hash: &ModuleHash, limits: &Limits, artifact: Vec<u8>) -> io::Result<()> {
        let seal = self.seal(hash, limits);
        let sealed = seal.close(artifact);
        self.make_room(sealed.len() as u64)?;
        let draft = draft(&self.directory);
        let written = private::create(&draft).and_then(|mut file| file.write_all(&sealed));
        let moved = written.and_then(|()| fs::rename(&draft, self.path(&seal)));
        moved.inspect_err(|_| drop(fs::remove_file(&draft)))
    }

    fn seal(&self, hash: &ModuleHash, limits: &Limits) -> Seal {
        static BUILD: LazyLock<String> = LazyLock::new(|| {
            format!("{} {REWRITE_VERSION:016x} {}", env!("CARGO_PKG_VERSION"), engine::identity())
        });
        let settings = format!("{}\n{}", *BUILD, limits.of_compilation());
        let mut key = blake3::Hasher::new();
        key.update(hash.as_bytes()).update(settings.as_bytes());
        Seal { secret: self.secret, key: *key.finalize().as_bytes() }
    }

    fn path(&self, seal: &Seal) -> PathBuf {
        self.directory.join(ModuleHash::from_bytes(seal.key).to_string()).with_extension(EXTENSION)
    }

    /// Removes the oldest artifacts until `needed` bytes more would fit.
    fn make_room(&self, needed: u64) -> io::Result<()> {
        let mut artifacts = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                let metadata = entry.metadata()?;
                artifacts.push((metadata.modified()?, metadata.len(), path));
            }
        }
        artifacts.sort();
        let mut total = needed + artifacts.iter().map(|(_, size, _)| size).sum::<u64>();
        for (_, size, path) in artifacts {
            if total <= DIRECTORY_BYTES_MAX {
                break;
            }
            // Another process may have been first.
            drop(fs::remove_file(path));
            total -= size;
        }
        Ok(())
    }
}

fn refused(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::ArtifactCache { path: path.to_owned(), reason: reason.to_string() }
}

/// A file to write before it is moved to its place; no other thread or process has the same.
fn draft(directory: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // With the time: a process that died may have had our number.
    let nanos = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.subsec_nanos());
    directory.join(format!("draft-{}-{number}-{nanos}", std::process::id()))
}

/// The user's secret; makes it on first use.
fn secret(directory: &Path) -> Result<[u8; SECRET_SIZE]> {
    let path = directory.join(SECRET_NAME);
    if fs::symlink_metadata(&path).is_err() {
        make_secret(directory, &path).map_err(|error| refused(&path, &error))?;
    }
    let mut file = private::open(&path, SECRET_SIZE as u64).map_err(|error| refused(&path, &error))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| refused(&path, &error))?;
    let found = bytes.len();
    bytes.try_into().map_err(|_| {
        let reason = format!("a secret of {found} bytes, {SECRET_SIZE} are expected: remove the directory");
        refused(&path, &reason)
    })
}

/// Two processes may come here at once: the first link stands, whole.
fn make_secret(directory: &Path, path: &Path) -> io::Result<()> {
    let draft = draft(directory);
    let mut bytes = [0; SECRET_SIZE];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    private::create(&draft)?.write_all(&bytes)?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Files and directories that are the user's alone.
#[cfg(unix)]
mod private {
    use std::fs::{DirBuilder, OpenOptions};
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};

    use super::{Error, File, Metadata, Path, Result, io, refused};

    pub(super) fn make_directory(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    pub(super) fn create(path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }

    pub(super) fn open(path: &Path, size_max: u64) -> io::Result<File> {
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(no_follow).open(path)?;
        let metadata = file.metadata()?;
        check(path, &metadata, false).map_err(io::Error::other)?;
        if metadata.len() > size_max {
            return Err(io::Error::other(format!(
                "{} bytes, at most {size_max} are expected",
                metadata.len()
            )));
        }
        Ok(file)
    }

    pub(super) fn check(path: &Path, metadata: &Metadata, is_directory: bool) -> Result<(), Error> {
        let user = rustix::process::geteuid().as_raw();
        let reason = if metadata.uid() != user {
            format!("it belongs to user {}, not to user {user} who runs this: choose another", metadata.uid())
        } else if metadata.mode() & 0o077 != 0 {
            format!("others may use it (mode {:03o}): chmod go= it", metadata.mode() & 0o777)
        } else if metadata.is_dir() != is_directory || metadata.is_file() == is_directory {
            "it is neither a plain file nor a directory, as the case may be: remove it".to_owned()
        } else {
            return Ok(());
        };
        Err(refused(path, &reason))
    }
}

#[cfg(not(unix))]
mod private {
    use super::{Error, File, Metadata, Path, Result, io, refused};

    const REASON: &str = "owner and mode cannot be checked on this system, so nothing is kept on disk";

    pub(super) fn make_directory(_: &Path) -> io::Result<()> {
        Err(io::Error::other(REASON))
    }

    pub(super) fn create(_: &Path) -> io::Result<File> {
        Err(io::Error::other(REASON))
    }

    pub(super) fn open(_: &Path, _: u64) -> io::Result<File> {
        Err(io::Error::other(REASON))
    }

    pub(super) fn check(path: &Path, _: &Metadata, _: bool) -> Result<(), Error> {
        Err(refused(path, &REASON))
    }
}
