//! Check: is this module one that we would run, and what shape has it?
//!
//! Invariants
//! 1. Nothing is rewritten or compiled that did not pass here.
//! 2. The validator's feature set is spelled out; a newer wasmparser cannot widen it by its defaults.
//! 3. Memory plus all tables, at their clamped maxima, fit the memory limit.
//!
//! Not here: what the ABI asks of exports (`reducer`).

use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef, Validator, WasmFeatures};

use crate::error::{Error, Result};
use crate::limits::{Limits, TABLE_ELEMENT_BYTES, WASM_PAGE};

/// Export names that begin so belong to the host.
pub(crate) const RESERVED_PREFIX: &str = "llmdb:";

/// WebAssembly 2.0 and extended constant expressions. So not: threads, memory64, multi-memory, relaxed SIMD,
/// exceptions, tail calls, garbage collection.
const FEATURES: WasmFeatures = WasmFeatures::FLOATS
    .union(WasmFeatures::GC_TYPES) // wasmparser's own switch for reference types as such, not the GC proposal
    .union(WasmFeatures::MUTABLE_GLOBAL)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::EXTENDED_CONST);

/// What a checked module consists of, as far as rewriting and describing need it.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    pub(crate) types: Vec<FuncType>,
    /// The type index of each function.
    pub(crate) functions: Vec<u32>,
    pub(crate) global_count: u32,
    /// Minimum and clamped maximum, in WebAssembly pages.
    pub(crate) memory: Option<(u64, u64)>,
    /// The clamped maximum of each table, in elements.
    pub(crate) table_maxima: Vec<u64>,
    pub(crate) exports: Vec<(String, ExternalKind, u32)>,
    pub(crate) start: Option<u32>,
}

impl Shape {
    pub(crate) fn function_type(&self, function_index: u32) -> Option<&FuncType> {
        let type_index = *self.functions.get(function_index as usize)?;
        self.types.get(type_index as usize)
    }
}

/// Validates `bytes` and holds them against `limits`.
pub(crate) fn check(module: &str, bytes: &[u8], limits: &Limits) -> Result<Shape> {
    within(module, "the module in bytes", bytes.len() as u64, limits.module_bytes as u64)?;
    validate(module, bytes)?;
    let mut walk = Walk { module, limits, shape: Shape::default(), tables: Vec::new() };
    for payload in Parser::new(0).parse_all(bytes) {
        walk.payload(payload.map_err(|error| invalid(module, &error))?)?;
    }
    walk.clamp()?;
    Ok(walk.shape)
}

pub(crate) fn invalid(module: &str, reason: &impl std::fmt::Display) -> Error {
    Error::InvalidModule { module: module.to_owned(), reason: reason.to_string() }
}

fn validate(module: &str, bytes: &[u8]) -> Result<()> {
    let Err(error) = Validator::new_with_features(FEATURES).validate_all(bytes) else { return Ok(()) };
    // Wrong in itself, or only too new for us? Components and the like count as invalid: we run core modules.
    let core = WasmFeatures::all().difference(WasmFeatures::COMPONENT_MODEL);
    match Validator::new_with_features(core).validate_all(bytes) {
        Ok(_) => Err(Error::FeatureNotAllowed { module: module.to_owned(), reason: error.to_string() }),
        Err(_) => Err(invalid(module, &error)),
    }
}

fn within(module: &str, what: &'static str, size: u64, limit: u64) -> Result<()> {
    if size <= limit {
        return Ok(());
    }
    Err(Error::TooLarge { module: module.to_owned(), what, size, limit })
}

struct Walk<'a> {
    module: &'a str,
    limits: &'a Limits,
    shape: Shape,
    /// Minimum and declared maximum of each table.
    tables: Vec<(u64, Option<u64>)>,
}

impl Walk<'_> {
    fn payload(&mut self, payload: Payload<'_>) -> Result<()> {
        let module = self.module;
        let bad = |error: wasmparser::Error| invalid(module, &error);
        match payload {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    self.shape.types.push(ty.map_err(bad)?);
                }
            }
            Payload::ImportSection(section) => {
                if let Some(import) = section.into_imports().next() {
                    return Err(self.refuse_import(&import.map_err(bad)?));
                }
            }
            Payload::FunctionSection(section) => {
                let limit = u64::from(self.limits.function_count);
                within(module, "the number of functions", u64::from(section.count()), limit)?;
                for ty in section {
                    self.shape.functions.push(ty.map_err(bad)?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    let ty = table.map_err(bad)?.ty;
                    self.tables.push((ty.initial, ty.maximum));
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let ty = memory.map_err(bad)?;
                    self.shape.memory = Some((ty.initial, ty.maximum.unwrap_or(u64::MAX)));
                }
            }
            Payload::GlobalSection(section) => self.shape.global_count = section.count(),
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(bad)?;
                    self.export(export.name, export.kind, export.index)?;
                }
            }
            Payload::StartSection { func, .. } => self.shape.start = Some(func),
            Payload::CodeSectionEntry(body) => self.body(&body)?,
            _ => {}
        }
        Ok(())
    }

    fn refuse_import(&self, import: &wasmparser::Import<'_>) -> Error {
        let kind = match import.ty {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => "function",
            TypeRef::Table(_) => "table",
            TypeRef::Memory(_) => "memory",
            TypeRef::Global(_) => "global",
            TypeRef::Tag(_) => "tag",
        };
        Error::ImportRefused {
            module: self.module.to_owned(),
            import_module: import.module.to_owned(),
            import_field: import.name.to_owned(),
            kind,
        }
    }

    fn export(&mut self, name: &str, kind: ExternalKind, index: u32) -> Result<()> {
        if name.starts_with(RESERVED_PREFIX) {
            return Err(Error::ReservedName { module: self.module.to_owned(), name: name.to_owned() });
        }
        self.shape.exports.push((name.to_owned(), kind, index));
        Ok(())
    }

    fn body(&self, body: &wasmparser::FunctionBody<'_>) -> Result<()> {
        let size = body.as_bytes().len() as u64;
        within(self.module, "a function in bytes", size, self.limits.function_bytes as u64)?;
        let mut locals = 0u64;
        for group in body.get_locals_reader().map_err(|error| invalid(self.module, &error))? {
            locals += u64::from(group.map_err(|error| invalid(self.module, &error))?.0);
        }
        within(self.module, "the locals of a function", locals, u64::from(self.limits.local_count))
    }

    /// Shares the memory limit out: what memory and tables need at once, then what tables may grow by, and the
    /// rest is memory's.
    fn clamp(&mut self) -> Result<()> {
        let limit = self.limits.memory_bytes;
        let needed = self.tables.iter().map(|(minimum, _)| minimum).sum::<u64>();
        let cap = u64::from(self.limits.table_elements).min(limit / TABLE_ELEMENT_BYTES);
        self.fits("tables", needed.saturating_mul(TABLE_ELEMENT_BYTES), cap * TABLE_ELEMENT_BYTES)?;
        let left = limit - needed * TABLE_ELEMENT_BYTES;
        let memory_needed = self.shape.memory.map_or(0, |(minimum, _)| minimum * WASM_PAGE);
        self.fits("memory", memory_needed, left)?;
        let mut spare = (cap - needed).min((left - memory_needed) / TABLE_ELEMENT_BYTES);
        for &(minimum, declared) in &self.tables {
            let growth = (declared.unwrap_or(u64::MAX) - minimum).min(spare);
            spare -= growth;
            self.shape.table_maxima.push(minimum + growth);
        }
        let table_bytes = self.shape.table_maxima.iter().sum::<u64>() * TABLE_ELEMENT_BYTES;
        if let Some((_, maximum)) = &mut self.shape.memory {
            *maximum = (*maximum).min((limit - table_bytes) / WASM_PAGE);
        }
        Ok(())
    }

    fn fits(&self, what: &'static str, asked: u64, limit: u64) -> Result<()> {
        if asked <= limit {
            return Ok(());
        }
        Err(Error::MemoryLimit { module: self.module.to_owned(), what, asked, limit })
    }
}
