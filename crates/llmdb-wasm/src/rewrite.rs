//! Rewrite: the module anew, metered and clamped, before the compiler sees it.
//!
//! ```text
//!   original                         rewritten
//!   types, functions                 the same, types for functions of many results appended, and the helpers of `bulk`
//!   tables, memory                   maxima clamped to the limits
//!   globals                          + two mutable i64, the fuel and its reserve, which `raw::vm` finds by being last
//!   start                            gone: exported as `llmdb:start`, called by the host with fuel
//!   code                             each body through `meter`
//!   elements, data                   the same
//!   custom sections                  gone
//! ```
//!
//! Invariants
//! 1. The original was validated, with no imports. Otherwise guest code could name the index that the fuel
//!    global is going to have, and refuel itself.
//! 2. No index of the original changes: everything new is appended.
//!
//! Not here: what a body looks like afterwards (`meter`).

use std::convert::Infallible;

use wasm_encoder::reencode::{Error as ReencodeError, Reencode, RoundtripReencoder};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, MemorySection, Module, TableSection,
    TypeSection, ValType,
};
use wasmparser::{FunctionBody, Parser, Payload};

use crate::bulk;
use crate::check::Shape;

/// Changes with the text of everything that decides what a module becomes, so that code which an older build wrote
/// is told by it. Against mistakes, not against malice.
pub(crate) const REWRITE_VERSION: u64 = {
    let hash = fnv(0xcbf2_9ce4_8422_2325, include_bytes!("rewrite.rs"));
    let hash = fnv(hash, include_bytes!("meter.rs"));
    let hash = fnv(hash, include_bytes!("runs.rs"));
    let hash = fnv(hash, include_bytes!("bulk.rs"));
    let hash = fnv(hash, include_bytes!("check.rs"));
    fnv(hash, include_bytes!("engine.rs"))
};

/// FNV-1a.
const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// The start function's export.
pub(crate) const START_EXPORT: &str = "llmdb:start";

pub(crate) type RewriteError = ReencodeError<Infallible>;

/// Writes one function body anew.
pub(crate) type BodyWriter = fn(&Frame, &FunctionBody<'_>) -> Result<Function, RewriteError>;

/// What a body writer needs to know of its function.
pub(crate) struct Frame {
    /// Index of the fuel global; the reserve follows it.
    pub(crate) fuel_global: u32,
    pub(crate) parameter_count: u32,
    /// The function's results, as the type of a block.
    pub(crate) results: BlockType,
    /// Index of the helper that fills; the one that copies follows. None where the module does neither.
    pub(crate) bulk: Option<u32>,
}

impl Frame {
    /// Index of the global with the fuel that no slice has been cut from yet.
    pub(crate) fn reserve_global(&self) -> u32 {
        self.fuel_global + 1
    }
}

/// Writes the checked module `bytes` anew, with `writer` for the bodies.
pub(crate) fn rewrite(bytes: &[u8], shape: &Shape, writer: BodyWriter) -> Result<Vec<u8>, RewriteError> {
    let mut sections = Sections { result_types: vec![None; shape.types.len()], ..Sections::default() };
    for payload in Parser::new(0).parse_all(bytes) {
        sections.payload(payload?, shape, writer)?;
    }
    sections.add_host_parts(shape);
    Ok(sections.finish())
}

/// The sections of the module to be.
#[derive(Default)]
struct Sections {
    types: TypeSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    globals: GlobalSection,
    exports: ExportSection,
    elements: ElementSection,
    data_count: Option<u32>,
    code: CodeSection,
    data: DataSection,
    body_count: usize,
    /// For each type of the original: the appended type `[] -> results`, where its results need one.
    result_types: Vec<Option<u32>>,
    /// The type of the helpers, where there are any.
    bulk_type: Option<u32>,
}

impl Sections {
    fn payload(
        &mut self,
        payload: Payload<'_>,
        shape: &Shape,
        writer: BodyWriter,
    ) -> Result<(), RewriteError> {
        let plain = &mut RoundtripReencoder;
        match payload {
            Payload::TypeSection(section) => {
                plain.parse_type_section(&mut self.types, section)?;
                self.append_result_types(shape)?;
                if shape.has_bulk {
                    self.bulk_type = Some(self.types.len());
                    self.types.ty().function(bulk::PARAMETERS, []);
                }
            }
            Payload::FunctionSection(section) => {
                plain.parse_function_section(&mut self.functions, section)?;
                if let Some(index) = self.bulk_type {
                    for _fill_then_copy in 0..bulk::COUNT {
                        self.functions.function(index);
                    }
                }
            }
            Payload::TableSection(section) => {
                for (table, maximum) in section.into_iter().zip(&shape.table_maxima) {
                    let mut table = table?;
                    table.ty.maximum = Some(*maximum);
                    plain.parse_table(&mut self.tables, table)?;
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let mut memory = memory?;
                    memory.maximum = shape.memory.map(|(_, maximum)| maximum);
                    self.memories.memory(plain.memory_type(memory)?);
                }
            }
            Payload::GlobalSection(section) => plain.parse_global_section(&mut self.globals, section)?,
            Payload::ExportSection(section) => plain.parse_export_section(&mut self.exports, section)?,
            Payload::ElementSection(section) => plain.parse_element_section(&mut self.elements, section)?,
            Payload::DataCountSection { count, .. } => self.data_count = Some(count),
            Payload::DataSection(section) => plain.parse_data_section(&mut self.data, section)?,
            Payload::CodeSectionEntry(body) => {
                let frame = self.frame(shape)?;
                self.code.function(&writer(&frame, &body)?);
                self.body_count += 1;
            }
            // Imports were refused; the start is exported instead; custom sections are left behind.
            _ => {}
        }
        Ok(())
    }

    /// A block of several results needs a type of its own in the type section.
    fn append_result_types(&mut self, shape: &Shape) -> Result<(), RewriteError> {
        for (slot, ty) in self.result_types.iter_mut().zip(&shape.types) {
            if ty.results().len() > 1 {
                *slot = Some(self.types.len());
                let results = RoundtripReencoder.val_types(ty.results().to_vec())?;
                self.types.ty().function([], results);
            }
        }
        Ok(())
    }

    fn frame(&self, shape: &Shape) -> Result<Frame, RewriteError> {
        let bulk = self.bulk_type.map(|_| shape.functions.len() as u32);
        let results = BlockType::Empty;
        let mut frame = Frame { fuel_global: shape.global_count, parameter_count: 0, results, bulk };
        let type_index = shape.functions.get(self.body_count).map_or(0, |index| *index as usize);
        let Some(ty) = shape.types.get(type_index) else { return Ok(frame) };
        frame.parameter_count = ty.params().len() as u32;
        frame.results = match (ty.results(), self.result_types.get(type_index).copied().flatten()) {
            ([], _) => BlockType::Empty,
            (_, Some(appended)) => BlockType::FunctionType(appended),
            ([result, ..], None) => BlockType::Result(RoundtripReencoder.val_type(*result)?),
        };
        Ok(frame)
    }

    fn add_host_parts(&mut self, shape: &Shape) {
        let fuel = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
        if self.bulk_type.is_some() {
            let (fuel, reserve) = (shape.global_count, shape.global_count + 1);
            self.code.function(&bulk::fill(fuel, reserve)).function(&bulk::copy(fuel, reserve));
        }
        for _fuel_then_reserve in 0..2 {
            self.globals.global(fuel, &ConstExpr::i64_const(0));
        }
        if let Some(start) = shape.start {
            self.exports.export(START_EXPORT, ExportKind::Func, start);
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut module = Module::new();
        module.section(&self.types).section(&self.functions).section(&self.tables).section(&self.memories);
        module.section(&self.globals).section(&self.exports).section(&self.elements);
        if let Some(count) = self.data_count {
            module.section(&DataCountSection { count });
        }
        module.section(&self.code).section(&self.data);
        module.finish()
    }
}
