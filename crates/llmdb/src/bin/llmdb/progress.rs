//! Progress of long work: on standard error, and only on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that disappears when it is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Progress in bytes of input; `total` where it is known.
    pub(crate) fn bytes(what: &'static str, total: Option<u64>) -> Self {
        Self::new(what, total, "{msg} {bar:30} {bytes}/{total_bytes} {eta}", "{msg} {spinner} {bytes}")
    }

    /// Progress in things that are counted.
    pub(crate) fn count(what: &'static str) -> Self {
        Self::new(what, Some(0), "{msg} {bar:30} {pos}/{len} {eta}", "{msg} {spinner} {pos}")
    }

    /// Progress of which the end is not known.
    pub(crate) fn unknown(what: &'static str) -> Self {
        Self::new(what, None, "", "{msg} {spinner} {pos}")
    }

    /// So much is done.
    pub(crate) fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// So much is done, of so much.
    pub(crate) fn at_of(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    fn new(what: &'static str, total: Option<u64>, known: &str, unknown: &str) -> Self {
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = if total.is_some() { known } else { unknown };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_message(what);
        Self(bar)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
