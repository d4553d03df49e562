//! Slowdowns that are planted on purpose, to show that the gate sees them.
//!
//! A plant is chosen by the environment variable [`VARIABLE`] of the gate's program, and never by anything that
//! users run.

use super::Error;

/// The environment variable that names a plant.
pub const VARIABLE: &str = "LLMDB_GATE_PLANT";

/// Of so many rounds one is done twice: 10 % more work.
const EVERY: u64 = 10;

/// A planted slowdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Every tenth read is done twice.
    Read10,
    /// Every tenth commit is done twice.
    Commit10,
    /// One flush more after each commit.
    Flush,
    /// One allocation more in each read.
    Alloc,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read10, Self::Commit10, Self::Flush, Self::Alloc];

    /// The name in [`VARIABLE`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Read10 => "read10",
            Self::Commit10 => "commit10",
            Self::Flush => "flush",
            Self::Alloc => "alloc",
        }
    }

    /// An operation that shows it.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Read10 | Self::Alloc => "get",
            Self::Commit10 | Self::Flush => "commit_1",
        }
    }

    /// The count of that operation that must rise.
    pub fn count(self) -> &'static str {
        match self {
            Self::Read10 | Self::Commit10 => super::counts::INSTRUCTIONS,
            Self::Flush => super::counts::FLUSHES,
            Self::Alloc => super::counts::ALLOCATIONS,
        }
    }

    /// The plant that the environment asks for.
    ///
    /// # Errors
    /// [`Error::UnknownPlant`].
    pub fn from_environment() -> Result<Option<Self>, Error> {
        match std::env::var(VARIABLE) {
            Ok(name) if !name.is_empty() => Self::named(&name).map(Some),
            _ => Ok(None),
        }
    }

    /// The plant of a name.
    ///
    /// # Errors
    /// [`Error::UnknownPlant`].
    pub fn named(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|plant| plant.name() == name).ok_or_else(|| Error::UnknownPlant {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).to_vec(),
        })
    }

    /// What is added to a round's number for the round that is done besides it: other keys, so that it is as
    /// much work as the first.
    pub(super) const EXTRA_ROUND: u64 = 1 << 32;

    /// Whether a round of the operation is done twice.
    pub(super) fn doubles(plant: Option<Self>, operation: &str, round: u64) -> bool {
        let doubles = matches!(
            (plant, operation),
            (Some(Self::Read10), "get" | "get_many_64" | "scan_1000" | "as_of_get")
                | (Some(Self::Commit10), "commit_1" | "commit_1000")
        );
        doubles && round % EVERY == EVERY - 1
    }
}
