//! Stage: a map or a filter, rows or records in, one answer for each out.
//!
//! ```text
//!   NAME_map(batch, size, output) = 0             answers of the declared width, at `output`
//!                                 = pointer | length << 32     of any length: their ends, then their bytes
//!   NAME_filter(batch, size, output) = 0          one byte for each item at `output`, 0 or 1
//! ```
//!
//! Invariants
//! 1. What a stage adds to an output has exactly one answer for each item that it was given.
//! 2. After any error of the guest every later call is an error.
//!
//! Not here: how batches get into the guest (`guest`); several threads (`parallel`).

use crate::batch::Record;
use crate::compiled::Loaded;
use crate::error::Result;
use crate::guest::{Given, Guest, Role, Stats, argument};
use crate::input::Input;
use crate::output::Output;
use crate::raw::vm::Map;
use crate::rows::Rows;

/// A map or a filter of a guest, in an instance of its own. Bound to its thread.
///
/// ```
/// use llmdb_wasm::{Rows, Runtime, guests};
/// let module = Runtime::default().compile_named("pages", guests::PAGES.as_bytes())?;
/// let mut map = module.map("key32")?;
/// let pages = vec![1u8; 3 * 4096];
/// let output = map.rows(Rows::new(&pages, 4096).expect("three pages"))?;
/// // Four words of 0x0101.. added: 0x0404..
/// assert_eq!(output.iter().collect::<Vec<_>>(), [[4; 8]; 3]);
/// # Ok::<(), llmdb_wasm::Error>(())
/// ```
pub struct Stage {
    guest: Guest,
    role: Role,
    callee: Map,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("guest", &self.guest).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Stage {
    pub(crate) fn new(module: &Loaded, name: &str, role: Role) -> Result<Self> {
        let guest = Guest::new(module, name, role)?;
        let callee = guest.instance.find_map(&guest.function)?;
        Ok(Self { guest, role, callee })
    }

    /// What the guest says it reads.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.guest.declaration.input
    }

    /// Fuel for each call from now on, instead of what the limits say.
    pub fn set_max_fuel(&mut self, fuel: u64) {
        self.guest.instance.set_max_fuel(fuel);
    }

    /// What it has taken so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.guest.stats()
    }

    /// An empty output for this stage's answers.
    #[must_use]
    pub fn output(&self) -> Output {
        match self.role {
            Role::Filter => Output::new(1),
            _ => Output::new(self.guest.declaration.width as usize),
        }
    }

    /// The answers to `rows`.
    ///
    /// # Errors
    /// Whatever the guest does wrong, after which the stage is of no more use; rows that do not fit what the guest
    /// declares, which change nothing.
    pub fn rows(&mut self, rows: Rows<'_>) -> Result<Output> {
        let mut output = self.output();
        self.rows_into(rows, &mut output, || false)?;
        Ok(output)
    }

    /// As [`rows`](Self::rows), added to `output`, which [`output`](Self::output) made. Before each batch `is_over`
    /// is asked whether to end with [`Error::Cancelled`](crate::Error::Cancelled); the stage can go on after that.
    ///
    /// # Errors
    /// As [`rows`](Self::rows), and [`Error::Cancelled`](crate::Error::Cancelled). The output then holds the answers of the
    /// batches before.
    pub fn rows_into(
        &mut self,
        rows: Rows<'_>,
        output: &mut Output,
        mut is_over: impl FnMut() -> bool,
    ) -> Result<()> {
        self.guest.check_rows(rows)?;
        let mut at = 0;
        while at < rows.len() {
            if is_over() {
                return Err(self.guest.cancelled());
            }
            let part = rows.part(at, self.guest.target());
            let (callee, role) = (&self.callee, self.role);
            self.guest.or_dead(|guest| {
                let given = guest.give_rows(part)?;
                call(guest, callee, role, given, output)
            })?;
            at += part.len();
        }
        Ok(())
    }

    /// The answers to `records`.
    ///
    /// # Errors
    /// As [`rows`](Self::rows), and a record too large for the guest's memory.
    pub fn records<'r>(&mut self, records: impl IntoIterator<Item = Record<'r>>) -> Result<Output> {
        let mut output = self.output();
        let (callee, role) = (&self.callee, self.role);
        let mut give = |guest: &mut Guest| {
            guest.or_dead(|guest| {
                let given = guest.give_records()?;
                call(guest, callee, role, given, &mut output)
            })
        };
        for record in records {
            self.guest.push(record, &mut give)?;
        }
        if self.guest.has_records() {
            give(&mut self.guest)?;
        }
        Ok(output)
    }
}

/// Calls the guest with a batch and takes its answers.
pub(crate) fn call(
    guest: &mut Guest,
    callee: &Map,
    role: Role,
    given: Given,
    output: &mut Output,
) -> Result<()> {
    let width = if role == Role::Filter { 1 } else { guest.declaration.width as usize };
    let pointer = if width == 0 { 0 } else { guest.output_for(width * given.count)? };
    let arguments = [argument(given.pointer), argument(given.size as u64), argument(pointer)];
    let answer = guest.instance.map(callee, &guest.function, arguments)?;
    if answer < 0 {
        return Err(guest.refused(&guest.function, answer));
    }
    let answer = answer.cast_unsigned();
    match width {
        0 => take_any(guest, given, answer, output)?,
        _ if answer != 0 => {
            let reason = format!("it answered {answer}, with answers of {width} bytes it must be 0");
            return Err(guest.instance.abi_error(&guest.function, reason));
        }
        _ => {
            let size = (width * given.count) as u64;
            output.extend_fixed(guest.instance.range(&guest.function, pointer, size)?);
        }
    }
    if role == Role::Filter {
        check_filtered(guest, given, output)?;
    }
    guest.account(given)
}

fn take_any(guest: &Guest, given: Given, packed: u64, output: &mut Output) -> Result<()> {
    let function = &guest.function;
    let answers = guest.instance.range(function, packed & u64::from(u32::MAX), packed >> 32)?;
    output.extend(given.count, answers).ok_or_else(|| {
        let reason =
            format!("its {} bytes are not the ends and bytes of {} answers", answers.len(), given.count);
        guest.instance.abi_error(function, reason)
    })
}

fn check_filtered(guest: &Guest, given: Given, output: &Output) -> Result<()> {
    let (_, last) = output.bytes().split_at(output.bytes().len() - given.count);
    match last.iter().find(|byte| **byte > 1) {
        None => Ok(()),
        Some(byte) => {
            let reason = format!("it answered {byte} for an item, a filter answers 0 or 1");
            Err(guest.instance.abi_error(&guest.function, reason))
        }
    }
}
