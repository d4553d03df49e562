//! The one error of this program: a sentence for the person who ran it.
//!
//! Not here: findings of `tidy`, which are results and not errors (`tidy::finding`).

use std::fmt;
use std::path::Path;

/// Why a task did not succeed, in words.
#[derive(Debug)]
pub(crate) struct Failed(String);

/// What every task returns.
pub(crate) type Result<T> = std::result::Result<T, Failed>;

impl Failed {
    /// A failure with this message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// A failure to do `what` with the file or folder at `path`.
    pub(crate) fn io(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Self(format!("cannot {what} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
