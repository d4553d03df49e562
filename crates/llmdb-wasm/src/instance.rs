//! Instance: one guest with its memory, and metered calls into it.
//!
//! Invariants
//! 1. Every call, the start function's included, begins with a full tank, ends by fuel or by the clock, and leaves
//!    its use in `fuel_used`.
//! 2. After an error of a call the instance refuses all others: its memory may be half-written.
//! 3. Ranges are checked against the memory as it is at that moment; a guest's pointer is never trusted.
//!
//! Not here: what a guest's exports mean (`guest`); how a call is ended by the clock (`watch`).

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use wasmer::sys::vm::TrapCode;
use wasmer::{Extern, Function, InstantiationError, Memory, RuntimeError};

use crate::compiled::Loaded;
use crate::engine::failed;
use crate::error::{Error, Result, Trap};
use crate::raw::vm::{Ended, Map, Step, Vm};
use crate::rewrite::START_EXPORT;

/// A number that goes into a guest or comes out.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A 32-bit integer; its sign is the reader's business.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
}

/// A guest with memory of its own. Bound to its thread; make one for each.
pub struct Instance {
    // Field order is drop order: the instance goes before the code.
    vm: Vm,
    memory: Option<Memory>,
    module: Loaded,
    fuel_limit: u64,
    /// The same, as the meter counts it.
    budget: i64,
    fuel_last: u64,
    fuel_total: u64,
    elapsed: Duration,
    dead: Option<Error>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("module", &self.module.name).finish_non_exhaustive()
    }
}

impl Instance {
    pub(crate) fn new(module: Loaded) -> Result<Self> {
        let (compiled, limits) = (&module.compiled, &module.limits);
        let vm =
            Vm::new(&compiled.engine, &compiled.code, limits.call_time).map_err(|error| match *error {
                InstantiationError::Start(error) => trapped(&module, "instantiation", &error),
                other => failed(&module.name, &other),
            })?;
        let vm = vm.ok_or_else(|| failed(&module.name, "no fuel in the code, or no thread to watch it"))?;
        let memory = vm.exports().iter().memories().next().map(|(_, memory)| memory.clone());
        let (fuel_limit, budget) = (limits.fuel, limits.instructions(limits.fuel));
        let (fuel_last, fuel_total, elapsed, dead) = (0, 0, Duration::ZERO, None);
        let mut instance =
            Self { vm, memory, module, fuel_limit, budget, fuel_last, fuel_total, elapsed, dead };
        if instance.module.compiled.shape.start.is_some() {
            instance.call_export(START_EXPORT, "start", &[])?;
        }
        Ok(instance)
    }

    /// Calls an exported function.
    ///
    /// # Errors
    /// A missing export, arguments of another type, a trap, the fuel limit; and [`Error::Dead`] after any error
    /// of an earlier call.
    pub fn call(&mut self, function: &str, arguments: &[Value]) -> Result<Vec<Value>> {
        let arguments = arguments.iter().map(|value| value.into_engine()).collect::<Vec<_>>();
        let results = self.call_export(function, function, &arguments)?;
        results.iter().map(|value| self.result(function, value)).collect()
    }

    /// Fuel for each call from now on, instead of what the limits say.
    ///
    /// ```
    /// use llmdb_wasm::{Error, Runtime};
    /// let module = Runtime::default().compile(b"(module (func (export \"f\") (nop) (nop)))")?;
    /// let mut instance = module.instantiate()?;
    /// instance.set_max_fuel(2);
    /// assert!(matches!(instance.call("f", &[]), Err(Error::OutOfFuel { limit: 2, .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_max_fuel(&mut self, fuel: u64) {
        self.fuel_limit = fuel;
        self.budget = self.module.limits.instructions(fuel);
    }

    /// Fuel of one call.
    #[must_use]
    pub fn max_fuel(&self) -> u64 {
        self.fuel_limit
    }

    /// Fuel used by the last call.
    #[must_use]
    pub fn fuel_used(&self) -> u64 {
        self.fuel_last
    }

    /// Fuel used by all calls, the start function's included.
    #[must_use]
    pub fn fuel_total(&self) -> u64 {
        self.fuel_total
    }

    /// Wall time spent inside the guest, the start function's included.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Bytes of the guest's own memory now; 0 where it exports none.
    #[must_use]
    pub fn memory_size(&self) -> u64 {
        self.memory.as_ref().map_or(0, |memory| self.vm.memory_size(memory))
    }

    /// A copy of a range of the guest's memory. `function` is whom to blame for a bad range.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn read(&self, function: &str, pointer: u64, length: u64) -> Result<Vec<u8>> {
        self.range(function, pointer, length).map(<[u8]>::to_vec)
    }

    /// Copies `bytes` into the guest's memory. `function` is whom to blame for a bad range.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn write(&mut self, function: &str, pointer: u64, bytes: &[u8]) -> Result<()> {
        self.range_mut(function, pointer, bytes.len() as u64)?.copy_from_slice(bytes);
        Ok(())
    }

    /// A range of the guest's memory.
    pub(crate) fn range(&self, function: &str, pointer: u64, length: u64) -> Result<&[u8]> {
        let bytes = self.memory.as_ref().map_or(&[][..], |memory| self.vm.bytes(memory));
        let range = within(bytes.len(), pointer, length);
        let found = range.and_then(|range| bytes.get(range));
        found.ok_or_else(|| self.out_of_bounds(function, pointer, length))
    }

    /// As [`range`](Self::range), to write to.
    pub(crate) fn range_mut(&mut self, function: &str, pointer: u64, length: u64) -> Result<&mut [u8]> {
        let size = self.memory_size() as usize;
        let Some(range) = within(size, pointer, length) else {
            return Err(self.out_of_bounds(function, pointer, length));
        };
        let bytes = match &self.memory {
            Some(memory) => self.vm.bytes_mut(memory),
            None => &mut [],
        };
        Ok(bytes.get_mut(range).unwrap_or_default())
    }

    /// Adds to [`elapsed`](Self::elapsed). Batch calls leave it to their callers, who look at the clock less often.
    pub(crate) fn add_elapsed(&mut self, time: Duration) {
        self.elapsed += time;
    }

    /// A batch call that answers `i32`, to be looked up once and called often.
    pub(crate) fn find_step(&self, function: &str) -> Result<Step> {
        self.vm.find(function).map_err(|error| self.abi_error(function, error.to_string()))
    }

    /// As [`find_step`](Self::find_step), for one that answers `i64`.
    pub(crate) fn find_map(&self, function: &str) -> Result<Map> {
        self.vm.find(function).map_err(|error| self.abi_error(function, error.to_string()))
    }

    pub(crate) fn step(&mut self, callee: &Step, function: &str, arguments: [i32; 3]) -> Result<i32> {
        self.check_alive(function)?;
        let ended = self.vm.batch(self.budget, callee, arguments);
        self.settle(function, ended)
    }

    pub(crate) fn map(&mut self, callee: &Map, function: &str, arguments: [i32; 3]) -> Result<i64> {
        self.check_alive(function)?;
        let ended = self.vm.batch(self.budget, callee, arguments);
        self.settle(function, ended)
    }

    /// The time of `count` calls with one budget for all, by nothing but the engine: what a call costs without us.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn engine_calls(&mut self, function: &str, count: u32) -> Result<Duration> {
        let outcome = self.vm.engine_calls(self.budget, function, count);
        outcome.map_err(|error| failed(&self.module.name, &*error))
    }

    pub(crate) fn module(&self) -> &Loaded {
        &self.module
    }

    pub(crate) fn abi_error(&self, function: &str, reason: impl Into<String>) -> Error {
        Error::Abi {
            module: self.module.name.to_string(),
            function: function.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn check_alive(&self, function: &str) -> Result<()> {
        match &self.dead {
            None => Ok(()),
            Some(cause) => Err(Error::Dead {
                module: self.module.name.to_string(),
                function: function.to_owned(),
                cause: cause.to_string(),
            }),
        }
    }

    /// Marks the instance as unusable for later calls.
    pub(crate) fn kill(&mut self, cause: &Error) {
        self.dead.get_or_insert_with(|| cause.clone());
    }

    fn call_export(
        &mut self,
        export: &str,
        function: &str,
        arguments: &[wasmer::Value],
    ) -> Result<Box<[wasmer::Value]>> {
        self.check_alive(function)?;
        let callee = self.callee(export, function, arguments)?;
        let started = Instant::now();
        let ended = self.vm.call(self.budget, &callee, arguments);
        self.add_elapsed(started.elapsed());
        self.settle(function, ended)
    }

    fn settle<T>(&mut self, function: &str, ended: Ended<T>) -> Result<T> {
        let used = self.budget - ended.fuel_left.max(0);
        self.fuel_last = used as u64 * self.module.limits.fuel_per_instruction;
        self.fuel_total += self.fuel_last;
        // The fuel can pass below zero after the last test of the call; any other test traps.
        let out_of_fuel = ended.fuel_left < 0;
        match ended.outcome {
            Ok(results) if !out_of_fuel && !ended.is_late => Ok(results),
            outcome => Err(self.failed(function, outcome.err(), out_of_fuel, ended.is_late)),
        }
    }

    /// Why a call failed; it was this instance's last.
    #[cold]
    fn failed(
        &mut self,
        function: &str,
        error: Option<RuntimeError>,
        out_of_fuel: bool,
        is_late: bool,
    ) -> Error {
        let module = &self.module;
        let (name, limit) = (module.name.to_string(), module.limits.call_time);
        let error = match error {
            _ if is_late => {
                Error::Deadline { module: name, function: function.to_owned(), elapsed: limit, limit }
            }
            Some(error) if !out_of_fuel => trapped(module, function, &error),
            _ => Error::OutOfFuel { module: name, function: function.to_owned(), limit: self.fuel_limit },
        };
        self.kill(&error);
        error
    }

    fn callee(&self, export: &str, function: &str, arguments: &[wasmer::Value]) -> Result<Function> {
        let callee = match self.vm.exports().get_extern(export) {
            Some(Extern::Function(callee)) => callee,
            Some(_) => return Err(self.abi_error(function, "this export is not a function")),
            None => return Err(self.abi_error(function, "there is no such export")),
        };
        let ty = callee.ty(self.vm.store());
        let given = arguments.iter().map(wasmer::Value::ty).collect::<Vec<_>>();
        if ty.params() != given {
            let reason = format!("it takes {:?}, the call gave {given:?}", ty.params());
            return Err(self.abi_error(function, reason));
        }
        Ok(callee.clone())
    }

    fn result(&self, function: &str, value: &wasmer::Value) -> Result<Value> {
        match value {
            wasmer::Value::I32(value) => Ok(Value::I32(*value)),
            wasmer::Value::I64(value) => Ok(Value::I64(*value)),
            wasmer::Value::F32(value) => Ok(Value::F32(*value)),
            wasmer::Value::F64(value) => Ok(Value::F64(*value)),
            _ => {
                Err(self.abi_error(function, "it returns a vector or a reference, only numbers can come out"))
            }
        }
    }

    pub(crate) fn check_range(&self, function: &str, pointer: u64, length: u64) -> Result<()> {
        match within(self.memory_size() as usize, pointer, length) {
            Some(_) => Ok(()),
            None => Err(self.out_of_bounds(function, pointer, length)),
        }
    }

    fn out_of_bounds(&self, function: &str, pointer: u64, length: u64) -> Error {
        Error::OutOfBounds {
            module: self.module.name.to_string(),
            function: function.to_owned(),
            pointer,
            length,
            memory: self.memory_size(),
        }
    }
}

impl Value {
    fn into_engine(self) -> wasmer::Value {
        match self {
            Self::I32(value) => wasmer::Value::I32(value),
            Self::I64(value) => wasmer::Value::I64(value),
            Self::F32(value) => wasmer::Value::F32(value),
            Self::F64(value) => wasmer::Value::F64(value),
        }
    }
}

/// A range of `size` bytes, if it is one.
fn within(size: usize, pointer: u64, length: u64) -> Option<Range<usize>> {
    let end = pointer.checked_add(length).filter(|end| *end <= size as u64)?;
    Some(pointer as usize..end as usize)
}

fn trapped(module: &Loaded, function: &str, error: &RuntimeError) -> Error {
    let trap = match error.clone().to_trap() {
        Some(TrapCode::UnreachableCodeReached) => Trap::Unreachable,
        Some(TrapCode::HeapAccessOutOfBounds) => Trap::MemoryOutOfBounds,
        Some(TrapCode::TableAccessOutOfBounds) => Trap::TableOutOfBounds,
        Some(TrapCode::IndirectCallToNull) => Trap::NullCall,
        Some(TrapCode::BadSignature) => Trap::SignatureMismatch,
        Some(TrapCode::IntegerDivisionByZero) => Trap::DivisionByZero,
        Some(TrapCode::IntegerOverflow) => Trap::IntegerOverflow,
        Some(TrapCode::BadConversionToInteger) => Trap::BadConversion,
        Some(TrapCode::StackOverflow) => Trap::StackOverflow,
        _ => Trap::Other,
    };
    Error::Trap { module: module.name.to_string(), function: function.to_owned(), trap }
}
