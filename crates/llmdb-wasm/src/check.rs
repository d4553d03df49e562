//! Check: is this module one that we would run, and what shape has it?
//!
//! Invariants
//! 1. Nothing is rewritten or compiled that did not pass here.
//! 2. The validator's feature set is spelled out; a newer wasmparser cannot widen it by its defaults.
//! 3. Memory plus all tables, at their clamped maxima, fit the memory limit.
//!
//! Not here: what the ABI asks of exports (`reducer`).

use wasmparser::{
    ExternalKind, FuncType, FunctionBody, Operator, Parser, Payload, TypeRef, Validator, WasmFeatures,
};

use crate::error::{Error, Result};
use crate::limits::{Limits, TABLE_ELEMENT_BYTES, WASM_PAGE};

/// Export names that begin so belong to the host.
pub(crate) const RESERVED_PREFIX: &str = "llmdb:";

/// Blocks inside blocks. Compilers' output was seen to reach 278, an interpreter's switch.
const BLOCK_DEPTH_MAX: u64 = 2_000;
/// Loops inside loops. Compilers' output was seen to reach 7.
const LOOP_DEPTH_MAX: u64 = 64;

/// Parameters or results of a type: a call of two bytes would move a thousand of them.
const SIGNATURE_MAX: u64 = 100;

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
    /// Whether bodies fill or copy memory; not told of modules that were checked before.
    pub(crate) has_bulk: bool,
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
    walk(module, bytes, limits, false)
}

/// The shape of `bytes`, which passed [`check`] before under the same limits: function bodies are not looked into.
pub(crate) fn shape_of_checked(module: &str, bytes: &[u8], limits: &Limits) -> Result<Shape> {
    walk(module, bytes, limits, true)
}

fn walk(module: &str, bytes: &[u8], limits: &Limits, is_checked: bool) -> Result<Shape> {
    let mut walk = Walk { module, limits, is_checked, shape: Shape::default(), tables: Vec::new() };
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

/// What makes a function expensive to compile. The compiler's work grows with the square of the branches (calls
/// are among them: the meter tests after each) and of the nesting, and with locals times branches; without a cap
/// on these a few hundred kilobytes can hold it for minutes.
#[derive(Default)]
struct Complexity {
    locals: u64,
    branches: u64,
    block_depth: u64,
    loop_depth: u64,
    has_bulk: bool,
}

impl Complexity {
    fn of(body: &FunctionBody<'_>) -> wasmparser::Result<Self> {
        let mut complexity = Self::default();
        for group in body.get_locals_reader()? {
            complexity.locals += u64::from(group?.0);
        }
        // One entry for each open block: the loops that are open with it.
        let mut open = Vec::new();
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let operator = operators.read()?;
            complexity.branches += branches(&operator);
            complexity.has_bulk |=
                matches!(operator, Operator::MemoryFill { .. } | Operator::MemoryCopy { .. });
            let loop_depth = open.last().copied().unwrap_or(0);
            match operator {
                Operator::Block { .. } | Operator::If { .. } => open.push(loop_depth),
                Operator::Loop { .. } => open.push(loop_depth + 1),
                Operator::End => drop(open.pop()),
                _ => {}
            }
            complexity.block_depth = complexity.block_depth.max(open.len() as u64);
            complexity.loop_depth = complexity.loop_depth.max(open.last().copied().unwrap_or(0));
        }
        Ok(complexity)
    }
}

fn branches(operator: &Operator<'_>) -> u64 {
    match operator {
        Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::Else => 1,
        Operator::Br { .. }
        | Operator::BrIf { .. }
        | Operator::Call { .. }
        | Operator::CallIndirect { .. } => 1,
        Operator::BrTable { targets } => u64::from(targets.len()) + 1,
        _ => 0,
    }
}

struct Walk<'a> {
    module: &'a str,
    limits: &'a Limits,
    /// The module passed before: bodies may be skipped.
    is_checked: bool,
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
                    let ty = ty.map_err(bad)?;
                    let longest = ty.params().len().max(ty.results().len()) as u64;
                    within(module, "the parameters or results of a type", longest, SIGNATURE_MAX)?;
                    self.shape.types.push(ty);
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
            Payload::CodeSectionEntry(body) if !self.is_checked => self.body(&body)?,
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

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        let (module, limits) = (self.module, self.limits);
        let size = body.as_bytes().len() as u64;
        within(module, "a function in bytes", size, limits.function_bytes as u64)?;
        let complexity = Complexity::of(body).map_err(|error| invalid(module, &error))?;
        self.shape.has_bulk |= complexity.has_bulk;
        within(module, "the locals of a function", complexity.locals, u64::from(limits.local_count))?;
        within(module, "the nesting of blocks", complexity.block_depth, BLOCK_DEPTH_MAX)?;
        within(module, "the nesting of loops", complexity.loop_depth, LOOP_DEPTH_MAX)?;
        let branch_limit = u64::from(limits.branch_count);
        within(module, "the branches of a function", complexity.branches, branch_limit)?;
        let product = (complexity.locals + 1).saturating_mul(complexity.branches);
        within(module, "locals times branches of a function", product, limits.function_complexity)
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
