//! Compiled: code in memory under the hash of its source, and how its holders share it.
//!
//! Invariants
//! 1. A `Compiled` exists only for bytes that passed `check` and went through `rewrite`, now or when the artifact
//!    was made that it comes from.
//! 2. The code is dropped before the engine that owns its pages.

use std::fmt;
use std::sync::Arc;

use crate::check::Shape;
use crate::limits::Limits;

/// The BLAKE3 hash of a module's binary form: its identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleHash([u8; 32]);

impl ModuleHash {
    /// The hash of a module in its binary form.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash with these 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve hex digits, enough for people.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for ModuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModuleHash({self})")
    }
}

/// Compiled code with what instances need to know of it.
pub(crate) struct Compiled {
    // Field order is drop order: the code must go before the engine that owns its pages.
    pub(crate) code: wasmer::Module,
    pub(crate) engine: wasmer::Engine,
    pub(crate) hash: ModuleHash,
    pub(crate) shape: Shape,
    pub(crate) byte_count: usize,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// Compiled code, what errors call it, and the limits it runs under.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) compiled: Arc<Compiled>,
    pub(crate) name: Arc<str>,
    pub(crate) limits: Arc<Limits>,
}
