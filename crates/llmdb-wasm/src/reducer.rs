//! Reducer: records or rows in batches through a guest, to one answer.
//!
//! ```text
//!   new      NAME_state_size(),  llmdb_alloc(size): zeroed
//!   push     when a batch is full: NAME(batch, size, state) = 0
//!   finish   NAME_finish(state) = pointer | length << 32
//! ```
//!
//! Invariants
//! 1. After any error of the guest every later call is an error.
//!
//! Not here: how batches get into the guest (`guest`).

use crate::batch::Record;
use crate::compiled::Loaded;
use crate::error::{Error, Result};
use crate::guest::{ALLOC, Given, Guest, Role, Stats, argument, finish_name, pointer_value, state_size_name};
use crate::input::Input;
use crate::raw::vm::Step;
use crate::rows::Rows;

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
pub struct Reducer {
    guest: Guest,
    name: String,
    step: Step,
    state: u64,
    finished: bool,
}

impl std::fmt::Debug for Reducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reducer").field("guest", &self.guest).finish_non_exhaustive()
    }
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

impl Reducer {
    pub(crate) fn new(module: &Loaded, function: &str) -> Result<Self> {
        let mut guest = Guest::new(module, function, Role::Reduce)?;
        let step = guest.instance.find_step(function)?;
        let state = make_state(&mut guest, function)?;
        Ok(Self { guest, name: function.to_owned(), step, state, finished: false })
    }

    /// What the guest says it reads.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.guest.declaration.input
    }

    /// Adds a record; gives a full batch to the guest.
    ///
    /// # Errors
    /// Whatever the guest does wrong with a batch, after which the reducer is of no more use; a record too large
    /// for the guest's memory, or one where the guest wants rows, which change nothing.
    pub fn push(&mut self, record: Record<'_>) -> Result<()> {
        self.check_open()?;
        let (step, state) = (&self.step, self.state);
        self.guest.push(record, |guest| give_records(guest, step, state))
    }

    /// Gives rows to the guest, in batches.
    ///
    /// # Errors
    /// As [`push`](Self::push); rows that do not fit what the guest declares change nothing.
    pub fn rows(&mut self, rows: Rows<'_>) -> Result<()> {
        self.check_open()?;
        self.guest.check_rows(rows)?;
        let (step, state) = (&self.step, self.state);
        self.guest.or_dead(|guest| {
            let mut at = 0;
            while at < rows.len() {
                let part = rows.part(at, guest.target());
                let given = guest.give_rows(part)?;
                call(guest, step, state, given)?;
                at += part.len();
            }
            Ok(())
        })
    }

    /// Gives the rest to the guest and takes its answer. Once only.
    ///
    /// # Errors
    /// As [`push`](Self::push), and an answer that is not inside the guest's memory.
    pub fn finish(&mut self) -> Result<Vec<u8>> {
        self.check_open()?;
        if self.guest.has_records() {
            give_records(&mut self.guest, &self.step, self.state)?;
        }
        let name = finish_name(&self.name);
        let packed = self.guest.call_i64(&name, &[pointer_value(self.state)])?;
        self.finished = true;
        if packed < 0 {
            return Err(self.guest.refused(&name, packed));
        }
        let packed = packed.cast_unsigned();
        self.guest.instance.read(&name, packed & u64::from(u32::MAX), packed >> 32)
    }

    /// Fuel used so far, by all calls.
    #[must_use]
    pub fn fuel_used(&self) -> u64 {
        self.guest.instance.fuel_total()
    }

    /// What the reduction has taken so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.guest.stats()
    }

    fn check_open(&self) -> Result<()> {
        if !self.finished {
            return self.guest.instance.check_alive(&self.name);
        }
        Err(Error::Dead {
            module: self.guest.instance.module().name.to_string(),
            function: self.name.clone(),
            cause: "it has finished".to_owned(),
        })
    }
}

fn make_state(guest: &mut Guest, function: &str) -> Result<u64> {
    let name = state_size_name(function);
    let size = guest.call_i32(&name, &[])?.cast_unsigned();
    let limit = guest.instance.module().limits.memory_bytes;
    if u64::from(size) > limit {
        let reason = format!("a state of {size} bytes, the memory limit is {limit}");
        return Err(guest.instance.abi_error(&name, reason));
    }
    let state = guest.alloc(size as usize)?;
    guest.instance.write(ALLOC, state, &vec![0; size as usize])?;
    Ok(state)
}

fn give_records(guest: &mut Guest, step: &Step, state: u64) -> Result<()> {
    guest.or_dead(|guest| {
        let given = guest.give_records()?;
        call(guest, step, state, given)
    })
}

fn call(guest: &mut Guest, step: &Step, state: u64, given: Given) -> Result<()> {
    let arguments = [argument(given.pointer), argument(given.size as u64), argument(state)];
    let status = guest.instance.step(step, &guest.function, arguments)?;
    if status != 0 {
        return Err(guest.refused(&guest.function, i64::from(status)));
    }
    guest.account(given)
}
