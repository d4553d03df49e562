//! Runtime: from bytes to a module, through every check, at most once for the same bytes.
//!
//! Order, which matters: size, text to binary, hash, cache, artifact on disk; else validation and limits (`check`),
//! `rewrite`, compiler.
//!
//! Invariants
//! 1. No engine, thread or map exists before the first module is compiled.
//! 2. The limits of a runtime never change, so the hash alone names an entry of the cache.
//! 3. An artifact's seal says that the module passed all checks under the same limits.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::artifacts::ArtifactCache;
use crate::cache::Cache;
use crate::check::{check, invalid, shape_of_checked};
use crate::compiled::{Compiled, Loaded, ModuleHash};
use crate::engine::{self, failed};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::meter::metered;
use crate::module::Module;
use crate::rewrite::{BodyWriter, rewrite};

/// What every binary module begins with.
const MAGIC: &[u8; 4] = b"\0asm";

/// Compiles modules under one set of limits and keeps the compiled code. Cheap to clone, shared by threads.
///
/// ```
/// use llmdb_wasm::{Limits, Runtime, Value};
/// let runtime = Runtime::new(Limits::default());
/// let module = runtime.compile(br#"(module
///     (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))"#)?;
/// let mut instance = module.instantiate()?;
/// assert_eq!(instance.call("add", &[Value::I32(2), Value::I32(3)])?, [Value::I32(5)]);
/// assert_eq!(instance.fuel_used(), 4); // two reads, the addition, the end
/// # Ok::<(), llmdb_wasm::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Runtime {
    limits: Arc<Limits>,
    cache: Arc<Cache>,
    artifacts: Option<Arc<ArtifactCache>>,
    compilations: Arc<AtomicU64>,
}

impl Default for Runtime {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Runtime {
    /// A runtime with these limits. Costs nothing until something is compiled.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let cache = Arc::new(Cache::new(limits.cached_modules));
        Self { limits: Arc::new(limits), cache, artifacts: None, compilations: Arc::default() }
    }

    /// Keeps compiled code in `artifacts` too, and looks for it there.
    #[must_use]
    pub fn with_artifacts(mut self, artifacts: ArtifactCache) -> Self {
        self.artifacts = Some(Arc::new(artifacts));
        self
    }

    /// The limits of every module and call.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Compiled modules now held in memory.
    #[must_use]
    pub fn cached_modules(&self) -> usize {
        self.cache.len()
    }

    /// How often this runtime and its clones have compiled a module, instead of finding it compiled.
    #[must_use]
    pub fn compilations(&self) -> u64 {
        self.compilations.load(Ordering::Relaxed)
    }

    /// Checks and compiles a module, binary or (with the feature `wat`) text. Errors call it by its hash.
    ///
    /// # Errors
    /// Every way in which a module can be unfit: see [`Error`].
    pub fn compile(&self, module: &[u8]) -> Result<Module> {
        self.compile_inner(None, module, metered)
    }

    /// As [`compile`](Self::compile), under a name for errors to use.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_named(&self, name: &str, module: &[u8]) -> Result<Module> {
        self.compile_inner(Some(name), module, metered)
    }

    /// As [`compile_named`](Self::compile_named), with the binary form.
    pub(crate) fn compile_for_store(&self, name: &str, source: &[u8]) -> Result<(Module, Vec<u8>)> {
        let bytes = self.binary(Some(name), source)?.into_owned();
        Ok((self.compile_named(name, &bytes)?, bytes))
    }

    pub(crate) fn compile_inner(
        &self,
        name: Option<&str>,
        source: &[u8],
        body: BodyWriter,
    ) -> Result<Module> {
        let bytes = self.binary(name, source)?;
        let hash = ModuleHash::of(&bytes);
        let name = name.map_or_else(|| hash.prefix(), str::to_owned);
        let compiled = match self.cache.get(&hash) {
            Some(compiled) => compiled,
            None => self.load_or_build(&name, &bytes, hash, body)?,
        };
        let limits = Arc::clone(&self.limits);
        Ok(Module { loaded: Loaded { compiled, name: name.into(), limits } })
    }

    fn load_or_build(
        &self,
        name: &str,
        bytes: &[u8],
        hash: ModuleHash,
        body: BodyWriter,
    ) -> Result<Arc<Compiled>> {
        let _turn = self.cache.turn(hash);
        if let Some(compiled) = self.cache.get(&hash) {
            return Ok(compiled);
        }
        let compiled = match self.load(name, bytes, hash) {
            Some(compiled) => compiled,
            None => self.build(name, bytes, hash, body)?,
        };
        let compiled = Arc::new(compiled);
        self.cache.insert(Arc::clone(&compiled));
        Ok(compiled)
    }

    fn load(&self, name: &str, bytes: &[u8], hash: ModuleHash) -> Option<Compiled> {
        let artifact = self.artifacts.as_ref()?.load(&hash, &self.limits)?;
        let shape = shape_of_checked(name, bytes, &self.limits).ok()?;
        let (code, engine) = engine::load(artifact)?;
        Some(Compiled { code, engine, hash, shape, byte_count: bytes.len() })
    }

    fn build(&self, name: &str, bytes: &[u8], hash: ModuleHash, body: BodyWriter) -> Result<Compiled> {
        let shape = check(name, bytes, &self.limits)?;
        let rewritten = rewrite(bytes, &shape, body).map_err(|error| failed(name, &error))?;
        let (code, engine) = engine::compile(name, &rewritten, self.limits.compile_time)?;
        self.compilations.fetch_add(1, Ordering::Relaxed);
        if let Some(artifacts) = &self.artifacts {
            let artifact = code.serialize().map_err(|error| failed(name, &error))?;
            // A full disk must not keep the module from running.
            drop(artifacts.store(&hash, &self.limits, artifact.to_vec()));
        }
        Ok(Compiled { code, engine, hash, shape, byte_count: bytes.len() })
    }

    /// The binary form of `source`.
    fn binary<'s>(&self, name: Option<&str>, source: &'s [u8]) -> Result<Cow<'s, [u8]>> {
        let name = || name.map_or_else(|| ModuleHash::of(source).prefix(), str::to_owned);
        let limit = self.limits.module_bytes;
        if source.len() > limit {
            let (size, limit) = (source.len() as u64, limit as u64);
            return Err(Error::TooLarge { module: name(), what: "the module in bytes", size, limit });
        }
        if source.starts_with(MAGIC) || !looks_like_text(source) {
            return Ok(Cow::Borrowed(source));
        }
        text_to_binary(source).map(Cow::Owned).map_err(|reason| invalid(&name(), &reason))
    }
}

/// Text begins with a parenthesis or a comment, after white space; no binary module does.
fn looks_like_text(source: &[u8]) -> bool {
    matches!(source.trim_ascii_start().first(), Some(b'(' | b';'))
}

#[cfg(feature = "wat")]
fn text_to_binary(source: &[u8]) -> Result<Vec<u8>, String> {
    wat::parse_bytes(source).map(Cow::into_owned).map_err(|error| error.to_string())
}

#[cfg(not(feature = "wat"))]
fn text_to_binary(_source: &[u8]) -> Result<Vec<u8>, String> {
    Err("this is text, and the feature `wat` is switched off: give the binary form".to_owned())
}
