//! Instance: one guest with its memory, and metered calls into it.
//!
//! Invariants
//! 1. Every call, the start function's included, begins with a full tank and leaves its use in `fuel_used`.
//! 2. After an error of a call the instance refuses all others: its memory may be half-written.
//! 3. Ranges are checked against the memory as it is at that moment; a guest's pointer is never trusted.
//!
//! Not here: what a guest's exports mean (`reducer`).

use std::fmt;
use std::time::{Duration, Instant};

use wasmer::sys::vm::TrapCode;
use wasmer::{Extern, Function, Global, Imports, InstantiationError, Memory, RuntimeError, Store};

use crate::compiled::Loaded;
use crate::engine::failed;
use crate::error::{Error, Result, Trap};
use crate::rewrite::{FUEL_EXPORT, START_EXPORT};

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
    // Field order is drop order: the instance goes before its store, the store before the code.
    exports: wasmer::Instance,
    store: Store,
    fuel: Global,
    memory: Option<Memory>,
    module: Loaded,
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
        let mut store = Store::new(module.compiled.engine.clone());
        let exports =
            wasmer::Instance::new(&mut store, &module.compiled.code, &Imports::new()).map_err(|error| {
                match error {
                    InstantiationError::Start(error) => trapped(&module, "instantiation", &error),
                    other => failed(&module.name, &other),
                }
            })?;
        let missing = |_| failed(&module.name, "the rewritten module lost its fuel");
        let fuel = exports.exports.get_global(FUEL_EXPORT).map_err(missing)?.clone();
        let memory = exports.exports.iter().memories().next().map(|(_, memory)| memory.clone());
        let (fuel_last, fuel_total, elapsed, dead) = (0, 0, Duration::ZERO, None);
        let mut instance =
            Self { exports, store, fuel, memory, module, fuel_last, fuel_total, elapsed, dead };
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

    /// Wall time spent inside the guest.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Bytes of the guest's memory now; 0 where it exports none.
    #[must_use]
    pub fn memory_size(&self) -> u64 {
        self.memory.as_ref().map_or(0, |memory| memory.view(&self.store).data_size())
    }

    /// A copy of a range of the guest's memory. `function` is whom to blame for a bad range.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn read(&self, function: &str, pointer: u64, length: u64) -> Result<Vec<u8>> {
        self.check_range(function, pointer, length)?;
        let Some(memory) = &self.memory else { return Ok(Vec::new()) };
        let view = memory.view(&self.store);
        let end = pointer + length;
        view.copy_range_to_vec(pointer..end).map_err(|_| self.out_of_bounds(function, pointer, length))
    }

    /// Copies `bytes` into the guest's memory. `function` is whom to blame for a bad range.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn write(&mut self, function: &str, pointer: u64, bytes: &[u8]) -> Result<()> {
        let length = bytes.len() as u64;
        self.check_range(function, pointer, length)?;
        let Some(memory) = &self.memory else { return Ok(()) };
        let written = memory.view(&self.store).write(pointer, bytes);
        written.map_err(|_| self.out_of_bounds(function, pointer, length))
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
        let outcome = self.run(&callee, function, arguments);
        if let Err(error) = &outcome {
            self.kill(error);
        }
        outcome
    }

    fn callee(&self, export: &str, function: &str, arguments: &[wasmer::Value]) -> Result<Function> {
        let callee = match self.exports.exports.get_extern(export) {
            Some(Extern::Function(callee)) => callee,
            Some(_) => return Err(self.abi_error(function, "this export is not a function")),
            None => return Err(self.abi_error(function, "there is no such export")),
        };
        let ty = callee.ty(&self.store);
        let given = arguments.iter().map(wasmer::Value::ty).collect::<Vec<_>>();
        if ty.params() != given {
            let reason = format!("it takes {:?}, the call gave {given:?}", ty.params());
            return Err(self.abi_error(function, reason));
        }
        Ok(callee.clone())
    }

    fn run(
        &mut self,
        callee: &Function,
        function: &str,
        arguments: &[wasmer::Value],
    ) -> Result<Box<[wasmer::Value]>> {
        let budget = self.module.limits.fuel as i64;
        self.set_fuel(budget)?;
        let started = Instant::now();
        let outcome = callee.call(&mut self.store, arguments);
        self.elapsed += started.elapsed();
        let left = self.fuel_left();
        self.fuel_last = (budget - left.max(0)) as u64;
        self.fuel_total += self.fuel_last;
        match outcome {
            // The fuel can pass below zero after the last test of the call.
            Ok(results) if left >= 0 => Ok(results),
            Ok(_) => Err(self.out_of_fuel(function)),
            Err(error) if left < 0 && is_unreachable(&error) => Err(self.out_of_fuel(function)),
            Err(error) => Err(trapped(&self.module, function, &error)),
        }
    }

    fn set_fuel(&mut self, fuel: i64) -> Result<()> {
        let set = self.fuel.set(&mut self.store, wasmer::Value::I64(fuel));
        set.map_err(|error| failed(&self.module.name, &error))
    }

    fn fuel_left(&mut self) -> i64 {
        self.fuel.get(&mut self.store).i64().unwrap_or(-1)
    }

    fn out_of_fuel(&self, function: &str) -> Error {
        Error::OutOfFuel {
            module: self.module.name.to_string(),
            function: function.to_owned(),
            limit: self.module.limits.fuel,
        }
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
        match pointer.checked_add(length) {
            Some(end) if end <= self.memory_size() => Ok(()),
            _ => Err(self.out_of_bounds(function, pointer, length)),
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

fn is_unreachable(error: &RuntimeError) -> bool {
    matches!(error.clone().to_trap(), Some(TrapCode::UnreachableCodeReached))
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
