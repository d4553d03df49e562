//! Guest: the host's side of the ABI that maps, filters and reductions share.
//!
//! ```text
//!   new      llmdb_abi_version() is 1 or 2,  NAME_input() where there is one
//!   give     gather; llmdb_alloc if the buffer is too small; write. The caller then calls
//!   account  what a call took decides how many items the next one gets
//! ```
//!
//! Invariants
//! 1. Signatures are checked before the guest is instantiated, all that it answers before it is used.
//! 2. A batch is sized so that at the fuel per item seen last, a call uses half of its fuel.
//! 3. After any error of the guest every later call is an error.

use std::time::{Duration, Instant};

use wasmparser::{ExternalKind, ValType};

use crate::batch::{HEADER_SIZE, Record, RecordBatch};
use crate::check::Shape;
use crate::compiled::Loaded;
use crate::error::{Error, Result};
use crate::input::{COLUMN_SIZE, DECLARATION_SIZE, Declaration, Input, columns_size};
use crate::instance::{Instance, Value};
#[cfg(unix)]
use crate::raw::window::{FileRange, WINDOW_START, with_window};
use crate::rows::Rows;

/// The version of the ABI that this host speaks; it runs guests of version 1 too.
pub const ABI_VERSION: i32 = 2;
const ABI_VERSION_FIRST: i32 = 1;

const VERSION: &str = "llmdb_abi_version";
/// The guest's allocator.
pub(crate) const ALLOC: &str = "llmdb_alloc";
/// Items in the first batch, when nothing is known of the guest's appetite.
const FIRST_BATCH_ITEMS: usize = 64;
/// What `llmdb_alloc` answers must be a multiple of this.
const ALIGNMENT: u64 = 8;
/// The smallest buffer to ask for.
const BUFFER_BYTES_MIN: usize = 64 << 10;
// The header alone must fit the smallest buffer.
const _: () = assert!(HEADER_SIZE < BUFFER_BYTES_MIN);

/// What a function of a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Map,
    Filter,
    Reduce,
}

impl Role {
    /// The export that takes batches.
    pub(crate) fn export(self, name: &str) -> String {
        match self {
            Self::Map => format!("{name}_map"),
            Self::Filter => format!("{name}_filter"),
            Self::Reduce => name.to_owned(),
        }
    }
}

/// What a function of a guest has taken so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Records, rows or pages that the guest has seen.
    pub records: u64,
    /// Batches they came in.
    pub batches: u64,
    /// Fuel of all calls, those for memory included.
    pub fuel_used: u64,
    /// Wall time inside the guest, with the copying of its batches in and out.
    pub guest_time: Duration,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.batches += other.batches;
        self.fuel_used += other.fuel_used;
        self.guest_time += other.guest_time;
    }
}

/// A batch inside the guest: what the guest is called with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub(crate) pointer: u64,
    /// Bytes of records, count of rows.
    pub(crate) size: usize,
    /// Items in it.
    pub(crate) count: usize,
    started: Instant,
}

/// A region that the guest allocated.
#[derive(Debug, Clone, Copy, Default)]
struct Region {
    pointer: u64,
    size: usize,
}

/// One function of one instance, that batches go to.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) instance: Instance,
    /// The export that takes batches; errors name it.
    pub(crate) function: String,
    pub(crate) declaration: Declaration,
    batch: RecordBatch,
    buffer: Region,
    output: Region,
    /// Items at which a batch is closed, and their most.
    target: usize,
    count_max: usize,
    items: u64,
    batches: u64,
}

impl Guest {
    pub(crate) fn new(module: &Loaded, name: &str, role: Role) -> Result<Self> {
        check_exports(module, name, role)?;
        Self::of_instance(Instance::new(module.clone())?, module, name, role)
    }

    /// As [`new`](Self::new), with a range of a file behind the guest's memory.
    #[cfg(unix)]
    pub(crate) fn with_window(module: &Loaded, name: &str, role: Role, range: FileRange) -> Result<Self> {
        check_exports(module, name, role)?;
        let instance = with_window(range, || Instance::new(module.clone()))?;
        let mut guest = Self::of_instance(instance, module, name, role)?;
        // Nothing is copied, so bytes are no bound.
        guest.count_max = module.limits.batch_records;
        guest.target = FIRST_BATCH_ITEMS.min(guest.count_max);
        Ok(guest)
    }

    fn of_instance(instance: Instance, module: &Loaded, name: &str, role: Role) -> Result<Self> {
        let function = role.export(name);
        let mut guest = Self {
            instance,
            function,
            declaration: Declaration::default(),
            batch: RecordBatch::new(),
            buffer: Region::default(),
            output: Region::default(),
            target: 0,
            count_max: 0,
            items: 0,
            batches: 0,
        };
        let version = guest.version()?;
        if version == ABI_VERSION_FIRST && role != Role::Reduce {
            let reason = format!("version {version} of the ABI has no maps and filters");
            return Err(guest.instance.abi_error(&guest.function, reason));
        }
        let declares = has_export(&module.compiled.shape, &input_name(name));
        if version > ABI_VERSION_FIRST && declares {
            guest.declaration = guest.read_declaration(name)?;
        }
        guest.check_declaration(name, role)?;
        if matches!(guest.declaration.input, Input::Records(fields) if fields.known) {
            guest.batch = RecordBatch::with_known();
        }
        let fitting = module.limits.batch_bytes / guest.declaration.input.item_size().max(1);
        guest.count_max = module.limits.batch_records.min(fitting).max(1);
        guest.target = FIRST_BATCH_ITEMS.min(guest.count_max);
        Ok(guest)
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            records: self.items,
            batches: self.batches,
            fuel_used: self.instance.fuel_total(),
            guest_time: self.instance.elapsed(),
        }
    }

    /// Items that the next batch of rows should have.
    pub(crate) fn target(&self) -> usize {
        self.target
    }

    /// Adds a record to the batch. First gives what is there to `give`, if this one would make it too large.
    pub(crate) fn push(
        &mut self,
        record: Record<'_>,
        mut give: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let Input::Records(fields) = self.declaration.input else {
            return Err(self.input_error("it declares rows, not records".to_owned()));
        };
        let record = record.only(fields);
        let limits = &self.instance.module().limits;
        let (size, limit) = (record.byte_count() as u64, limits.memory_bytes / 2);
        if size > limit {
            return Err(Error::RecordTooLarge { size, limit });
        }
        let is_full = self.batch.byte_count() + record.byte_count() > limits.batch_bytes;
        if is_full && !self.batch.is_empty() {
            give(self)?;
        }
        self.batch.push(record);
        if self.batch.len() >= self.target { give(self) } else { Ok(()) }
    }

    /// Whether records wait to be given.
    pub(crate) fn has_records(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Writes the records pushed into the guest.
    pub(crate) fn give_records(&mut self) -> Result<Given> {
        let started = Instant::now();
        let (size, count) = (self.batch.byte_count(), self.batch.len());
        let pointer = self.buffer_for(size)?;
        let head = self.batch.head();
        self.instance.write(ALLOC, pointer, &head)?;
        self.instance.write(ALLOC, pointer + head.len() as u64, self.batch.data())?;
        self.batch.clear();
        Ok(Given { pointer, size, count, started })
    }

    /// Whether the guest can take such rows.
    pub(crate) fn check_rows(&self, rows: Rows<'_>) -> Result<()> {
        let row_size = rows.row_size();
        match &self.declaration.input {
            Input::Records(_) => Err(self.input_error("it declares records, not rows".to_owned())),
            Input::Pages(size) if *size as usize != row_size => {
                Err(self.input_error(format!("it declares pages of {size} bytes, these have {row_size}")))
            }
            Input::Columns(columns) => {
                let ends = columns.iter().map(|column| u64::from(column.offset) + u64::from(column.width));
                match ends.max() {
                    Some(end) if end > row_size as u64 => Err(self.input_error(format!(
                        "it declares a column that ends at {end}, these rows have {row_size} bytes"
                    ))),
                    _ => Ok(()),
                }
            }
            Input::Pages(_) => Ok(()),
        }
    }

    /// Writes `rows`, which [`check_rows`](Self::check_rows) has passed, into the guest.
    pub(crate) fn give_rows(&mut self, rows: Rows<'_>) -> Result<Given> {
        let started = Instant::now();
        let size = match &self.declaration.input {
            Input::Columns(columns) => columns_size(columns, rows.len()),
            _ => rows.bytes().len(),
        };
        let pointer = self.buffer_for(size)?;
        let place = self.instance.range_mut(ALLOC, pointer, size as u64)?;
        match &self.declaration.input {
            Input::Columns(columns) => rows.gather(columns, place),
            _ => place.copy_from_slice(rows.bytes()),
        }
        Ok(Given { pointer, size: rows.len(), count: rows.len(), started })
    }

    /// Pages of the window, `offset` bytes behind its start, which are there already.
    #[cfg(unix)]
    pub(crate) fn give_window(&self, offset: u64, count: usize) -> Given {
        Given { pointer: WINDOW_START + offset, size: count, count, started: Instant::now() }
    }

    /// Where the guest is to write `size` bytes of answers.
    pub(crate) fn output_for(&mut self, size: usize) -> Result<u64> {
        self.output = self.grown(self.output, size)?;
        Ok(self.output.pointer)
    }

    /// Notes what a call took, and ends the function when its time is up.
    pub(crate) fn account(&mut self, given: Given) -> Result<()> {
        self.instance.add_elapsed(given.started.elapsed());
        let fuel_per_item = self.instance.fuel_used() / given.count.max(1) as u64 + 1;
        let affordable = self.instance.max_fuel() / 2 / fuel_per_item;
        self.target = usize::try_from(affordable).unwrap_or(usize::MAX).clamp(1, self.count_max);
        self.items += given.count as u64;
        self.batches += 1;
        let (elapsed, limit) = (self.instance.elapsed(), self.instance.module().limits.reduce_time);
        if elapsed <= limit {
            return Ok(());
        }
        let (module, function) = (self.instance.module().name.to_string(), self.function.clone());
        Err(Error::Deadline { module, function, elapsed, limit })
    }

    pub(crate) fn alloc(&mut self, size: usize) -> Result<u64> {
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

    pub(crate) fn call_i32(&mut self, function: &str, arguments: &[Value]) -> Result<i32> {
        match self.instance.call(function, arguments)?[..] {
            [Value::I32(value)] => Ok(value),
            _ => Err(self.instance.abi_error(function, "it must return one i32")),
        }
    }

    pub(crate) fn call_i64(&mut self, function: &str, arguments: &[Value]) -> Result<i64> {
        match self.instance.call(function, arguments)?[..] {
            [Value::I64(value)] => Ok(value),
            _ => Err(self.instance.abi_error(function, "it must return one i64")),
        }
    }

    pub(crate) fn refused(&self, function: &str, code: i64) -> Error {
        Error::GuestRefused {
            module: self.instance.module().name.to_string(),
            function: function.to_owned(),
            code,
        }
    }

    /// The end that the caller asked for between two batches.
    pub(crate) fn cancelled(&self) -> Error {
        let module = self.instance.module().name.to_string();
        Error::Cancelled { module, function: self.function.clone() }
    }

    /// Runs `work`; an error of it is the instance's last.
    pub(crate) fn or_dead<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outcome = work(self);
        if let Err(error) = &outcome {
            self.instance.kill(error);
        }
        outcome
    }

    pub(crate) fn input_error(&self, reason: String) -> Error {
        let module = self.instance.module().name.to_string();
        Error::Input { module, function: self.function.clone(), reason }
    }

    fn version(&mut self) -> Result<i32> {
        let version = self.call_i32(VERSION, &[])?;
        if (ABI_VERSION_FIRST..=ABI_VERSION).contains(&version) {
            return Ok(version);
        }
        let reason = format!("it says {version}, this host speaks {ABI_VERSION_FIRST} to {ABI_VERSION}");
        Err(self.instance.abi_error(VERSION, reason))
    }

    fn read_declaration(&mut self, name: &str) -> Result<Declaration> {
        let export = input_name(name);
        let pointer = u64::from(self.call_i32(&export, &[])? as u32);
        let mut head = [0; DECLARATION_SIZE as usize];
        head.copy_from_slice(self.instance.range(&export, pointer, DECLARATION_SIZE)?);
        let wrong = |guest: &Self, reason| guest.instance.abi_error(&export, reason);
        let count = Declaration::column_count(&head).map_err(|reason| wrong(self, reason))?;
        let size = u64::from(count) * COLUMN_SIZE;
        let columns = self.instance.read(&export, pointer + DECLARATION_SIZE, size)?;
        Declaration::parse(&head, &columns).map_err(|reason| wrong(self, reason))
    }

    fn check_declaration(&self, name: &str, role: Role) -> Result<()> {
        if role == Role::Map || self.declaration.width == 0 {
            return Ok(());
        }
        Err(self.instance.abi_error(&input_name(name), "only a map answers bytes for each item: declare 0"))
    }

    fn buffer_for(&mut self, size: usize) -> Result<u64> {
        self.buffer = self.grown(self.buffer, size)?;
        Ok(self.buffer.pointer)
    }

    /// A region of at least `size` bytes. The guest never gets one back, so sizes at least double: all of them
    /// together are at most twice the last.
    fn grown(&mut self, region: Region, size: usize) -> Result<Region> {
        if size <= region.size {
            return Ok(region);
        }
        let size = size.max(region.size * 2).max(BUFFER_BYTES_MIN);
        Ok(Region { pointer: self.alloc(size)?, size })
    }
}

/// A pointer or a length as an argument.
pub(crate) fn pointer_value(pointer: u64) -> Value {
    Value::I32(argument(pointer))
}

/// As [`pointer_value`], bare.
pub(crate) fn argument(pointer: u64) -> i32 {
    (pointer as u32).cast_signed()
}

pub(crate) fn input_name(name: &str) -> String {
    format!("{name}_input")
}

pub(crate) fn finish_name(name: &str) -> String {
    format!("{name}_finish")
}

pub(crate) fn state_size_name(name: &str) -> String {
    format!("{name}_state_size")
}

fn has_export(shape: &Shape, name: &str) -> bool {
    shape.exports.iter().any(|(export, ..)| export == name)
}

fn check_exports(module: &Loaded, name: &str, role: Role) -> Result<()> {
    const I32: ValType = ValType::I32;
    let shape = &module.compiled.shape;
    if !shape.exports.iter().any(|(name, kind, _)| name == "memory" && *kind == ExternalKind::Memory) {
        return Err(abi_error(module, "memory", "a memory must be exported under this name".to_owned()));
    }
    check_function(module, shape, VERSION, &[], I32)?;
    check_function(module, shape, ALLOC, &[I32], I32)?;
    if has_export(shape, &input_name(name)) {
        check_function(module, shape, &input_name(name), &[], I32)?;
    }
    let export = role.export(name);
    if role != Role::Reduce {
        return check_function(module, shape, &export, &[I32, I32, I32], ValType::I64);
    }
    check_function(module, shape, &export, &[I32, I32, I32], I32)?;
    check_function(module, shape, &state_size_name(name), &[], I32)?;
    check_function(module, shape, &finish_name(name), &[I32], ValType::I64)
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
