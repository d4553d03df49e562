//! Fuzzing: the bodies of the fuzz targets, on stable Rust, so that tests can run them too.
//!
//! Not part of the public interface: no promise about it is made.

use crate::check::check;
use crate::compiled::ModuleHash;
use crate::limits::Limits;
use crate::meter::metered;
use crate::module::Module;
use crate::rewrite::{BodyWriter, Frame, RewriteError};
use crate::runtime::Runtime;
use crate::{Error, Trap, Value};

use std::time::{Duration, Instant};

use wasm_encoder::Instruction;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasmparser::{ExternalKind, FunctionBody, Operator, Parser, Payload};

/// Functions called for one input.
const CALLS_MAX: usize = 4;

/// Any bytes: compiled and run under small limits, metered, twice over, without meter, and with one that counts each
/// instruction by itself. Calls must agree in their results and in what they leave in memory, metered ones in fuel; and
/// where no instruction is priced by a length, the fuel must be the plain count. Panics where they do not. Returns how
/// many calls were compared with and without the meter.
pub fn module_bytes(data: &[u8]) -> usize {
    let limits = Limits::default()
        .max_fuel(20_000)
        .memory_bytes(1 << 20)
        .module_bytes(64 << 10)
        .function_bytes(8 << 10)
        .cached_modules(0)
        // By the clock two runs may differ, above all in a fuzzer that is paused meanwhile.
        .compile_time(Duration::from_secs(86_400))
        .call_time(Duration::from_secs(86_400));
    if check("fuzz", data, &limits).is_err() {
        return 0;
    }
    let first = observe(&limits, data, metered, &[]);
    let second = observe(&limits, data, metered, &[]);
    assert_eq!(first, second, "two runs of one module differ");
    let Some(calls) = first else { return 0 };
    // What ended by itself ends without a meter too; the rest might not, so it is left out.
    let ended = calls.iter().map(|call| call.end.is_some()).collect::<Vec<_>>();
    let Some(plain) = observe(&limits, data, plain, &ended) else { return 0 };
    let compared = calls.iter().zip(&plain).filter(|(_, plain)| plain.ran);
    for (metered, plain) in compared.clone() {
        assert_eq!(metered.end, plain.end, "the meter changed what a call does");
    }
    // The naive count makes functions some times as large, which the engine may refuse.
    let counted = observe(&limits, data, naive, &ended).unwrap_or_default();
    let is_plain_count = !has_priced_instructions(data);
    for (metered, counted) in calls.iter().zip(&counted).filter(|(_, counted)| counted.ran) {
        assert_eq!(metered.end, counted.end, "counting changed what a call does");
        let is_settled = metered.end.as_ref().is_some_and(|end| end.outcome.is_ok());
        let is_same = metered.fuel == counted.fuel || !is_plain_count || !is_settled;
        assert!(is_same, "{metered:?}, by single steps {counted:?}");
    }
    compared.count()
}

/// Whether a module has instructions that cost more than 1: by their length, or for what the host does.
fn has_priced_instructions(module: &[u8]) -> bool {
    let is_priced = |operator: &Operator<'_>| {
        matches!(
            operator,
            Operator::MemoryFill { .. }
                | Operator::MemoryCopy { .. }
                | Operator::MemoryInit { .. }
                | Operator::MemoryGrow { .. }
                | Operator::TableFill { .. }
                | Operator::TableCopy { .. }
                | Operator::TableInit { .. }
                | Operator::TableGrow { .. }
                | Operator::DataDrop { .. }
                | Operator::ElemDrop { .. }
        )
    };
    let bodies = Parser::new(0).parse_all(module).filter_map(|payload| match payload {
        Ok(Payload::CodeSectionEntry(body)) => body.get_operators_reader().ok(),
        _ => None,
    });
    bodies.into_iter().flatten().any(|operator| operator.is_ok_and(|operator| is_priced(&operator)))
}

/// Compiles without a meter, for the benchmark: such a module is bounded by nothing.
///
/// # Errors
/// As [`Runtime::compile`].
pub fn unmetered(runtime: &Runtime, module: &[u8]) -> crate::Result<Module> {
    runtime.compile_inner(None, module, plain)
}

/// The time of `count` batch calls of a map with no items, which the ABI does not know, by the way that batches take.
///
/// # Errors
/// As [`Module::map`], and what a call may give.
pub fn time_batch_calls(module: &Module, name: &str, count: u32) -> crate::Result<Duration> {
    let mut instance = module.instantiate()?;
    let function = format!("{name}_map");
    let callee = instance.find_map(&function)?;
    let started = Instant::now();
    for _ in 0..count {
        instance.map(&callee, &function, [0; 3])?;
    }
    Ok(started.elapsed())
}

/// The time of as many calls by the engine alone: fuel is set once, nothing is watched nor settled.
///
/// # Errors
/// As [`time_batch_calls`]. The fuel is of one call, so `count` is bounded: some hundred thousand are not too many.
pub fn time_engine_calls(module: &Module, name: &str, count: u32) -> crate::Result<Duration> {
    module.instantiate()?.engine_calls(&format!("{name}_map"), count)
}

/// Leaves bodies as they are. Only for comparison: such a module is not bounded by fuel.
pub(crate) fn plain(_frame: &Frame, body: &FunctionBody<'_>) -> Result<wasm_encoder::Function, RewriteError> {
    let mut out = RoundtripReencoder.new_function_with_parsed_locals(body)?;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        out.instruction(&RoundtripReencoder.parse_instruction(&mut operators)?);
    }
    Ok(out)
}

/// Takes 1 from the fuel global before every single instruction, and never looks at it.
pub(crate) fn naive(frame: &Frame, body: &FunctionBody<'_>) -> Result<wasm_encoder::Function, RewriteError> {
    let mut out = RoundtripReencoder.new_function_with_parsed_locals(body)?;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        out.instruction(&Instruction::GlobalGet(frame.fuel_global));
        out.instruction(&Instruction::I64Const(1));
        out.instruction(&Instruction::I64Sub);
        out.instruction(&Instruction::GlobalSet(frame.fuel_global));
        out.instruction(&RoundtripReencoder.parse_instruction(&mut operators)?);
    }
    Ok(out)
}

#[derive(Debug, PartialEq)]
struct Call {
    ran: bool,
    /// None where the call was ended by a limit.
    end: Option<End>,
    fuel: u64,
}

/// What a call leaves.
#[derive(Debug, PartialEq)]
struct End {
    /// Bits of the results, or why it trapped.
    outcome: Result<Vec<u64>, Trap>,
    /// Hash of the memory.
    memory: ModuleHash,
}

/// Calls the first exported functions with small arguments, those marked in `only` if it is not empty. None
/// where the module does not come to life.
fn observe(limits: &Limits, data: &[u8], body: BodyWriter, only: &[bool]) -> Option<Vec<Call>> {
    let runtime = Runtime::new(limits.clone());
    let module = runtime.compile_inner(None, data, body).ok()?;
    // A start function might not end without a meter, so modules with one are only run metered.
    if !only.is_empty() && module.loaded.compiled.shape.start.is_some() {
        return None;
    }
    module.instantiate().ok()?;
    let functions = callable(&module);
    let call = |(index, (name, arguments)): (usize, &(String, Vec<Value>))| {
        if only.get(index) == Some(&false) {
            return Call { ran: false, end: None, fuel: 0 };
        }
        let Ok(mut instance) = module.instantiate() else {
            return Call { ran: true, end: None, fuel: 0 };
        };
        let outcome = match instance.call(name, arguments) {
            Ok(values) => Some(Ok(values.iter().map(bits).collect())),
            Err(Error::Engine { reason, .. }) => panic!("the engine failed: {reason}"),
            // The depth of the stack depends on how large its frames are.
            Err(Error::Trap { trap, .. }) if trap != Trap::StackOverflow => Some(Err(trap)),
            Err(_) => None,
        };
        let memory = instance.range(name, 0, instance.memory_size()).expect("all of it");
        let end = outcome.map(|outcome| End { outcome, memory: ModuleHash::of(memory) });
        Call { ran: true, end, fuel: instance.fuel_used() }
    };
    Some(functions.iter().enumerate().map(call).collect())
}

fn callable(module: &Module) -> Vec<(String, Vec<Value>)> {
    let shape = &module.loaded.compiled.shape;
    let mut functions = Vec::new();
    for (name, kind, index) in &shape.exports {
        let Some(ty) = shape.function_type(*index).filter(|_| *kind == ExternalKind::Func) else { continue };
        let arguments = ty.params().iter().map(|ty| match ty {
            wasmparser::ValType::I32 => Some(Value::I32(3)),
            wasmparser::ValType::I64 => Some(Value::I64(5)),
            wasmparser::ValType::F32 => Some(Value::F32(1.5)),
            wasmparser::ValType::F64 => Some(Value::F64(-0.5)),
            _ => None,
        });
        if let Some(arguments) = arguments.collect() {
            functions.push((name.clone(), arguments));
        }
    }
    functions.truncate(CALLS_MAX);
    functions
}

fn bits(value: &Value) -> u64 {
    match value {
        Value::I32(value) => u64::from(*value as u32),
        Value::I64(value) => *value as u64,
        Value::F32(value) => u64::from(value.to_bits()),
        Value::F64(value) => value.to_bits(),
    }
}
