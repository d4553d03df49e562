//! Artifact: machine code that an earlier run of this very build wrote, back to a module.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmer::{Engine, Module};

/// Bytes of which somebody has shown that `Module::serialize` wrote them for this machine and this build.
pub(crate) struct Authentic(Vec<u8>);

impl Authentic {
    /// Takes the bytes out of `sealed` if `seal` finds them to be ours.
    ///
    /// The promise, which `artifacts` keeps: `seal` answers bytes only if they carry the authenticator of a key that
    /// nobody but this user has, over the engine's version, settings and CPU features too.
    pub(crate) fn open(sealed: Vec<u8>, seal: &crate::seal::Seal) -> Option<Self> {
        seal.open(sealed).map(Self)
    }

    /// The module; none where the engine refuses it after all.
    pub(crate) fn load(self, engine: &Engine) -> Option<Module> {
        // SAFETY: `open` is the only way to a value of this type, and it has checked the seal: these are the bytes
        // that `Module::serialize` answered in a process of the same user, for the same engine and CPU.
        let load = || unsafe { Module::deserialize_unchecked(engine, self.0) };
        catch_unwind(AssertUnwindSafe(load)).ok()?.ok()
    }
}
