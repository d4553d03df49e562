//! Reducer: records in batches through a guest, to one answer. The host's side of the ABI, version 1.
//!
//! ```text
//!   new      llmdb_abi_version() = 1,  NAME_state_size(),  llmdb_alloc(size): zeroed
//!   push     gather; when full: llmdb_alloc if the buffer is too small, write, NAME(batch, length, state) = 0
//!   finish   NAME_finish(state) = pointer | length << 32
//! ```
//!
//! Invariants
//! 1. Signatures are checked before the guest is instantiated, all that it answers before it is used.
//! 2. After any error of the guest every later call is an error.
//! 3. A batch is sized so that at the fuel per record seen last, a call uses half of its fuel.

use std::time::Duration;

use wasmparser::{ExternalKind, ValType};

use crate::batch::{HEADER_SIZE, Record, RecordBatch};
use crate::check::Shape;
use crate::compiled::Loaded;
use crate::error::{Error, Result};
use crate::instance::{Instance, Value};

/// The version of the ABI that this host speaks.
pub const ABI_VERSION: i32 = 1;

const VERSION: &str = "llmdb_abi_version";
const ALLOC: &str = "llmdb_alloc";
/// Records in the first batch, when nothing is known of the guest's appetite.
const FIRST_BATCH_RECORDS: usize = 64;
/// What `llmdb_alloc` answers must be a multiple of this.
const ALIGNMENT: u64 = 8;
/// The smallest batch buffer to ask for.
const BUFFER_BYTES_MIN: usize = 64 << 10;

/// A reduction in progress, in an instance of its own. Bound to its thread.
///
/// ```
/// use llmdb_wasm::{Record, Runtime, guests};
/// let module = Runtime::default().compile_named("offset_stats", guests::OFFSET_STATS.as_bytes())?;
/// let mut reducer = module.reducer("offset_stats")?;
/// reducer.push(Record::new(b"America/St_Johns", br#"{"utc_offset_s": -12600}"#))?;
/// reducer.push(Record::new(b"Asia/Beirut", br#"{"utc_offset_s":7200}"#))?;
/// let answer = reducer.finish()?;
/// let number = |i: usize| i64::from_le_bytes(answer[8 * i..8 * i + 8].try_into().unwrap());
/// assert_eq!([number(0), number(1), number(2), number(3)], [2, -12_600, 7_200, -5_400]);
/// # Ok::<(), llmdb_wasm::Error>(())
/// ```
#[derive(Debug)]
pub struct Reducer {
    instance: Instance,
    function: String,
    state: u64,
    batch: RecordBatch,
    /// Pointer and size of the guest's batch buffer.
    buffer: (u64, usize),
    /// Records at which the batch is closed.
    target: usize,
    records: u64,
    batches: u64,
    finished: bool,
}

/// The answer of a reduction and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reduction {
    /// The bytes that the guest answered.
    pub output: Vec<u8>,
    /// What it took.
    pub stats: Stats,
}

/// What a reduction has taken so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Records that the guest has seen.
    pub records: u64,
    /// Batches they came in.
    pub batches: u64,
    /// Fuel of all calls, those for memory included.
    pub fuel_used: u64,
    /// Wall time inside the guest.
    pub guest_time: Duration,
}

impl Reducer {
    pub(crate) fn new(module: &Loaded, function: &str) -> Result<Self> {
        check_exports(module, function)?;
        let instance = Instance::new(module.clone())?;
        let target = FIRST_BATCH_RECORDS.min(module.limits.batch_records);
        let (records, batches, finished) = (0, 0, false);
        let (batch, function) = (RecordBatch::new(), function.to_owned());
        let mut reducer =
            Self { instance, function, state: 0, batch, buffer: (0, 0), target, records, batches, finished };
        reducer.check_version()?;
        reducer.make_state()?;
        Ok(reducer)
    }

    /// Adds a record; gives a full batch to the guest.
    ///
    /// # Errors
    /// Whatever the guest does wrong with a batch, after which the reducer is of no more use; a record too large
    /// for the guest's memory, which changes nothing.
    pub fn push(&mut self, record: Record<'_>) -> Result<()> {
        self.check_open()?;
        let limits = &self.instance.module().limits;
        let (size, limit) = (record.byte_count() as u64, limits.memory_bytes / 2);
        if size > limit {
            return Err(Error::RecordTooLarge { size, limit });
        }
        let full = self.batch.byte_count() + record.byte_count() > limits.batch_bytes;
        if full && !self.batch.is_empty() {
            self.give_batch()?;
        }
        self.batch.push(record);
        if self.batch.len() >= self.target {
            self.give_batch()?;
        }
        Ok(())
    }

    /// Gives the rest to the guest and takes its answer. Once only.
    ///
    /// # Errors
    /// As [`push`](Self::push), and an answer that is not inside the guest's memory.
    pub fn finish(&mut self) -> Result<Vec<u8>> {
        self.check_open()?;
        if !self.batch.is_empty() {
            self.give_batch()?;
        }
        let name = finish_name(&self.function);
        let packed = self.call_i64(&name, &[pointer_value(self.state)])?;
        self.finished = true;
        if packed < 0 {
            return Err(self.refused(&name, packed));
        }
        let packed = packed as u64;
        self.instance.read(&name, packed & u64::from(u32::MAX), packed >> 32)
    }

    /// Fuel used so far, by all calls.
    #[must_use]
    pub fn fuel_used(&self) -> u64 {
        self.instance.fuel_total()
    }

    /// What the reduction has taken so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            records: self.records,
            batches: self.batches,
            fuel_used: self.instance.fuel_total(),
            guest_time: self.instance.elapsed(),
        }
    }

    fn check_open(&self) -> Result<()> {
        if !self.finished {
            return self.instance.check_alive(&self.function);
        }
        Err(Error::Dead {
            module: self.instance.module().name.to_string(),
            function: self.function.clone(),
            cause: "it has finished".to_owned(),
        })
    }

    fn check_version(&mut self) -> Result<()> {
        let version = self.call_i32(VERSION, &[])?;
        if version == ABI_VERSION {
            return Ok(());
        }
        Err(self.instance.abi_error(VERSION, format!("it says {version}, this host speaks {ABI_VERSION}")))
    }

    fn make_state(&mut self) -> Result<()> {
        let name = state_size_name(&self.function);
        let size = self.call_i32(&name, &[])? as u32;
        let limit = self.instance.module().limits.memory_bytes;
        if u64::from(size) > limit {
            let reason = format!("a state of {size} bytes, the memory limit is {limit}");
            return Err(self.instance.abi_error(&name, reason));
        }
        self.state = self.alloc(size as usize)?;
        self.instance.write(ALLOC, self.state, &vec![0; size as usize])
    }

    fn give_batch(&mut self) -> Result<()> {
        let given = self.try_give_batch();
        if let Err(error) = &given {
            self.instance.kill(error);
        }
        given
    }

    fn try_give_batch(&mut self) -> Result<()> {
        let length = self.batch.byte_count();
        let pointer = self.buffer_for(length)?;
        let head = self.batch.head();
        self.instance.write(ALLOC, pointer, &head)?;
        self.instance.write(ALLOC, pointer + head.len() as u64, self.batch.data())?;
        let function = self.function.clone();
        let arguments = [pointer_value(pointer), pointer_value(length as u64), pointer_value(self.state)];
        let status = self.call_i32(&function, &arguments)?;
        if status != 0 {
            return Err(self.refused(&function, i64::from(status)));
        }
        self.account();
        self.check_time()
    }

    fn account(&mut self) {
        let count = self.batch.len();
        let limits = &self.instance.module().limits;
        let fuel_per_record = self.instance.fuel_used() / count as u64 + 1;
        let affordable = limits.fuel / 2 / fuel_per_record;
        self.target = usize::try_from(affordable).unwrap_or(usize::MAX).clamp(1, limits.batch_records);
        self.records += count as u64;
        self.batches += 1;
        self.batch.clear();
    }

    fn check_time(&self) -> Result<()> {
        let (elapsed, limit) = (self.instance.elapsed(), self.instance.module().limits.reduce_time);
        if elapsed <= limit {
            return Ok(());
        }
        let (module, function) = (self.instance.module().name.to_string(), self.function.clone());
        Err(Error::Deadline { module, function, elapsed, limit })
    }

    /// A buffer of at least `length` bytes. The guest never gets one back, so sizes at least double: all of them
    /// together are at most twice the last.
    fn buffer_for(&mut self, length: usize) -> Result<u64> {
        let (pointer, size) = self.buffer;
        if length <= size {
            return Ok(pointer);
        }
        let size = length.max(size * 2).max(BUFFER_BYTES_MIN);
        let pointer = self.alloc(size)?;
        self.buffer = (pointer, size);
        Ok(pointer)
    }

    fn alloc(&mut self, size: usize) -> Result<u64> {
        let pointer = u64::from(self.call_i32(ALLOC, &[pointer_value(size as u64)])? as u32);
        if pointer == 0 {
            return Err(self.instance.abi_error(ALLOC, format!("it has no {size} bytes to give")));
        }
        if !pointer.is_multiple_of(ALIGNMENT) {
            let reason = format!("it gave {pointer}, not a multiple of {ALIGNMENT}");
            return Err(self.instance.abi_error(ALLOC, reason));
        }
        self.instance.check_range(ALLOC, pointer, size as u64)?;
        Ok(pointer)
    }

    fn refused(&self, function: &str, code: i64) -> Error {
        Error::GuestRefused {
            module: self.instance.module().name.to_string(),
            function: function.to_owned(),
            code,
        }
    }

    fn call_i32(&mut self, function: &str, arguments: &[Value]) -> Result<i32> {
        match self.instance.call(function, arguments)?[..] {
            [Value::I32(value)] => Ok(value),
            _ => Err(self.instance.abi_error(function, "it must return one i32")),
        }
    }

    fn call_i64(&mut self, function: &str, arguments: &[Value]) -> Result<i64> {
        match self.instance.call(function, arguments)?[..] {
            [Value::I64(value)] => Ok(value),
            _ => Err(self.instance.abi_error(function, "it must return one i64")),
        }
    }
}

// The header alone must fit the smallest buffer.
const _: () = assert!(HEADER_SIZE < BUFFER_BYTES_MIN);

fn pointer_value(pointer: u64) -> Value {
    Value::I32(pointer as u32 as i32)
}

fn finish_name(function: &str) -> String {
    format!("{function}_finish")
}

fn state_size_name(function: &str) -> String {
    format!("{function}_state_size")
}

fn check_exports(module: &Loaded, function: &str) -> Result<()> {
    const I32: ValType = ValType::I32;
    let shape = &module.compiled.shape;
    if !shape.exports.iter().any(|(name, kind, _)| name == "memory" && *kind == ExternalKind::Memory) {
        return Err(abi_error(module, "memory", "a memory must be exported under this name".to_owned()));
    }
    check_function(module, shape, VERSION, &[], I32)?;
    check_function(module, shape, ALLOC, &[I32], I32)?;
    check_function(module, shape, function, &[I32, I32, I32], I32)?;
    check_function(module, shape, &state_size_name(function), &[], I32)?;
    check_function(module, shape, &finish_name(function), &[I32], ValType::I64)
}

fn check_function(
    module: &Loaded,
    shape: &Shape,
    name: &str,
    parameters: &[ValType],
    result: ValType,
) -> Result<()> {
    let export = shape.exports.iter().find(|(export, ..)| export == name);
    let found = match export {
        Some((_, ExternalKind::Func | ExternalKind::FuncExact, index)) => shape.function_type(*index),
        Some(_) => return Err(abi_error(module, name, "this export is not a function".to_owned())),
        None => return Err(abi_error(module, name, "there is no such export".to_owned())),
    };
    match found {
        Some(ty) if ty.params() == parameters && ty.results() == [result] => Ok(()),
        Some(ty) => Err(abi_error(
            module,
            name,
            format!(
                "its type is {:?} -> {:?}, not {parameters:?} -> [{result:?}]",
                ty.params(),
                ty.results()
            ),
        )),
        None => Err(abi_error(module, name, "its type is unknown".to_owned())),
    }
}

fn abi_error(module: &Loaded, function: &str, reason: String) -> Error {
    Error::Abi { module: module.name.to_string(), function: function.to_owned(), reason }
}
