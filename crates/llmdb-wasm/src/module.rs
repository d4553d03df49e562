//! Module: what a caller holds, and what the module says of itself.
//!
//! Invariants
//! 1. Clones share the compiled code, across threads; instances and reducers stay on theirs.

use wasmparser::ExternalKind;

use crate::batch::Record;
use crate::check::Shape;
use crate::compiled::{Loaded, ModuleHash};
use crate::error::Result;
use crate::guest::Role;
use crate::instance::Instance;
use crate::reducer::{Reducer, Reduction};
use crate::stage::Stage;
#[cfg(unix)]
use crate::window::{Window, WindowStage};

/// A module that is ready to run. Cheap to clone, shared by threads.
#[derive(Debug, Clone)]
pub struct Module {
    pub(crate) loaded: Loaded,
}

impl Module {
    /// What errors call this module: the name it was compiled under, else its hash prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.loaded.name
    }

    /// The hash of the module's binary form.
    #[must_use]
    pub fn hash(&self) -> ModuleHash {
        self.loaded.compiled.hash
    }

    /// What the module exports, how much memory it may take, and its size.
    #[must_use]
    pub fn describe(&self) -> Description {
        let shape = &self.loaded.compiled.shape;
        let export = |(name, kind, index): &(String, ExternalKind, u32)| Export {
            name: name.clone(),
            what: describe_export(shape, *kind, *index),
        };
        Description {
            hash: self.hash(),
            byte_count: self.loaded.compiled.byte_count,
            imports: Vec::new(),
            exports: shape.exports.iter().map(export).collect(),
            memory_pages: shape.memory,
            table_elements: shape.table_maxima.iter().sum(),
            reducers: reducers(shape),
            maps: suffixed(shape, "_map"),
            filters: suffixed(shape, "_filter"),
        }
    }

    /// A fresh instance, for calls outside the batch ABI. Runs the module's start function, if it has one.
    ///
    /// # Errors
    /// A trap or the fuel limit in the start function, a data segment outside the memory.
    pub fn instantiate(&self) -> Result<Instance> {
        Instance::new(self.loaded.clone())
    }

    /// A reduction by the exports `function`, `function_state_size` and `function_finish`.
    ///
    /// # Errors
    /// An export that is missing or has another type than the ABI says, and what
    /// [`instantiate`](Self::instantiate) may give.
    pub fn reducer(&self, function: &str) -> Result<Reducer> {
        Reducer::new(&self.loaded, function)
    }

    /// A map by the export `NAME_map`, where `name` is `NAME`.
    ///
    /// # Errors
    /// As [`reducer`](Self::reducer), and what the guest declares of its input if that makes no sense.
    pub fn map(&self, name: &str) -> Result<Stage> {
        Stage::new(&self.loaded, name, Role::Map)
    }

    /// A map over pages of a file, which the guest reads where they are. It can read every byte of the window: only for
    /// functions that are trusted with that.
    ///
    /// # Errors
    /// As [`map`](Self::map); a function that does not declare pages; [`Error::Engine`](crate::Error::Engine) where the
    /// range cannot be mapped.
    #[cfg(unix)]
    pub fn map_trusted(&self, name: &str, window: &Window) -> Result<WindowStage> {
        WindowStage::new(&self.loaded, name, window)
    }

    /// A filter by the export `NAME_filter`, where `name` is `NAME`.
    ///
    /// ```
    /// use llmdb_wasm::{Rows, Runtime, guests};
    /// let module = Runtime::default().compile_named("pages", guests::PAGES.as_bytes())?;
    /// let numbers = [7u64, 8, 10].map(u64::to_le_bytes).concat();
    /// let output = module.filter("key_is_even")?.rows(Rows::new(&numbers, 8).expect("three rows"))?;
    /// assert_eq!(output.kept().collect::<Vec<_>>(), [1, 2]);
    /// # Ok::<(), llmdb_wasm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn filter(&self, name: &str) -> Result<Stage> {
        Stage::new(&self.loaded, name, Role::Filter)
    }

    /// Reduces `records` to the bytes that the guest answers.
    ///
    /// ```
    /// use llmdb_wasm::{Limits, Record, Runtime, guests};
    /// let module = Runtime::new(Limits::default()).compile(guests::COUNT.as_bytes())?;
    /// let records = [Record::new(b"a", b"1"), Record::new(b"b", b"2")];
    /// let reduction = module.reduce("count", records)?;
    /// assert_eq!(reduction.output, 2u64.to_le_bytes());
    /// assert!(reduction.stats.fuel_used > 0);
    /// # Ok::<(), llmdb_wasm::Error>(())
    /// ```
    ///
    /// # Errors
    /// Any error of a guest ends the reduction.
    pub fn reduce<'r>(
        &self,
        function: &str,
        records: impl IntoIterator<Item = Record<'r>>,
    ) -> Result<Reduction> {
        let mut reducer = self.reducer(function)?;
        for record in records {
            reducer.push(record)?;
        }
        let output = reducer.finish()?;
        Ok(Reduction { output, stats: reducer.stats() })
    }
}

/// What a module says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// Hash of the binary form.
    pub hash: ModuleHash,
    /// Bytes of the binary form.
    pub byte_count: usize,
    /// Imports. Empty as long as guests are offered none: a module that has any is refused.
    pub imports: Vec<String>,
    /// Exports, in the module's order.
    pub exports: Vec<Export>,
    /// Smallest and largest size of the memory in pages of 64 KiB, after the limits; none without a memory.
    pub memory_pages: Option<(u64, u64)>,
    /// Elements of all tables at their largest.
    pub table_elements: u64,
    /// Names that [`Module::reducer`] takes, as far as export names tell.
    pub reducers: Vec<String>,
    /// Names that [`Module::map`] takes, as far as export names tell.
    pub maps: Vec<String>,
    /// Names that [`Module::filter`] takes, as far as export names tell.
    pub filters: Vec<String>,
}

/// One export of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Its kind, and for a function its type: `function (i32, i64) -> i32`.
    pub what: String,
}

fn describe_export(shape: &Shape, kind: ExternalKind, index: u32) -> String {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => match shape.function_type(index) {
            Some(ty) => format!("function {} -> {}", list(ty.params()), list(ty.results())),
            None => "function".to_owned(),
        },
        ExternalKind::Table => "table".to_owned(),
        ExternalKind::Memory => "memory".to_owned(),
        ExternalKind::Global => "global".to_owned(),
        ExternalKind::Tag => "tag".to_owned(),
    }
}

fn list(types: &[wasmparser::ValType]) -> String {
    let types = types.iter().map(ToString::to_string).collect::<Vec<_>>();
    format!("({})", types.join(", "))
}

fn reducers(shape: &Shape) -> Vec<String> {
    let has = |name: String| shape.exports.iter().any(|(export, ..)| *export == name);
    let names = shape.exports.iter().map(|(name, ..)| name);
    names.filter(|name| has(format!("{name}_finish")) && has(format!("{name}_state_size"))).cloned().collect()
}

fn suffixed(shape: &Shape, suffix: &str) -> Vec<String> {
    shape.exports.iter().filter_map(|(name, ..)| Some(name.strip_suffix(suffix)?.to_owned())).collect()
}
