//! Engine: the only place that configures and drives wasmer's compiler.
//!
//! Invariants
//! 1. An engine compiles one module and lives as long as it: wasmer frees code memory only with its engine, so
//!    one shared engine would grow with every module ever compiled. Making one costs microseconds, and nothing
//!    is made before the first module is compiled.
//! 2. The feature set is explicit and no wider than the one in `check`; NaNs are canonical.
//! 3. A panic inside the compiler is an error of that module.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use wasmer::sys::{CpuFeature, Cranelift, EngineBuilder, Features, NativeEngineExt};
use wasmer::{CompileError, Engine};
use wasmer_types::{CompilationProgressCallback, UserAbort};

use crate::error::{Error, Result};
use crate::raw::artifact::Authentic;
use crate::raw::vm::HostTunables;

/// Compiles the rewritten module `bytes`, in an engine of its own.
pub(crate) fn compile(module: &str, bytes: &[u8], limit: Duration) -> Result<(wasmer::Module, Engine)> {
    let started = Instant::now();
    let deadline = CompilationProgressCallback::new(move |_| {
        if started.elapsed() > limit { Err(UserAbort::new("out of time")) } else { Ok(()) }
    });
    let engine = engine();
    let attempt = || engine.new_module_with_progress(bytes, deadline);
    let compiled = catch_unwind(AssertUnwindSafe(attempt))
        .map_err(|_| failed(module, "the compiler panicked on this module"))?
        .map_err(|error| match error {
            CompileError::Aborted(_) => Error::Deadline {
                module: module.to_owned(),
                function: "compilation".to_owned(),
                elapsed: started.elapsed(),
                limit,
            },
            other => failed(module, &other),
        })?;
    Ok((compiled, engine))
}

/// The module that `artifact` holds, in an engine of its own; none where the engine refuses it.
pub(crate) fn load(artifact: Authentic) -> Option<(wasmer::Module, Engine)> {
    let engine = engine();
    Some((artifact.load(&engine)?, engine))
}

/// What compiled code depends on besides the module: the engine's version, its settings, this machine.
pub(crate) fn identity() -> String {
    let version = wasmer::sys::vm::VERSION;
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    format!("wasmer {version} {arch} {os} {:?} {:?} {:?}", CpuFeature::for_host(), features(), compiler())
}

pub(crate) fn failed(module: &str, reason: &(impl std::fmt::Display + ?Sized)) -> Error {
    Error::Engine { module: module.to_owned(), reason: reason.to_string() }
}

fn engine() -> Engine {
    let mut engine = Engine::from(EngineBuilder::new(compiler()).set_features(Some(features())));
    engine.set_tunables(HostTunables::new());
    engine
}

fn compiler() -> Cranelift {
    let mut compiler = Cranelift::new();
    compiler.canonicalize_nans(true);
    compiler
}

fn features() -> Features {
    let mut features = Features::none();
    features
        .bulk_memory(true)
        .reference_types(true)
        .multi_value(true)
        .simd(true)
        .extended_const(true)
        .threads(false)
        .memory64(false)
        .multi_memory(false)
        .relaxed_simd(false)
        .tail_call(false);
    features.exceptions = false;
    features
}
