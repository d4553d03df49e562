//! Limits: what one guest may take of the host.
//!
//! Invariants
//! 1. Every limit has a default; none can be switched off.
//! 2. Memory and tables share one limit.

use std::time::Duration;

/// Bytes of a WebAssembly page.
pub(crate) const WASM_PAGE: u64 = 65_536;
/// Bytes counted against the memory limit for each element of a table.
pub(crate) const TABLE_ELEMENT_BYTES: u64 = 8;
/// More fuel than this could not be told from a counter that fell below zero.
const FUEL_MAX: u64 = i64::MAX as u64 / 2;

/// The limits of a [`Runtime`](crate::Runtime): a builder, with defaults that suit untrusted guests.
///
/// ```
/// use llmdb_wasm::{Limits, Runtime};
/// let runtime = Runtime::new(Limits::default().max_fuel(1_000_000).memory_bytes(4 << 20));
/// assert_eq!(runtime.limits().fuel(), 1_000_000);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    pub(crate) fuel: u64,
    pub(crate) fuel_per_instruction: u64,
    pub(crate) call_time: Duration,
    pub(crate) memory_bytes: u64,
    pub(crate) module_bytes: usize,
    pub(crate) function_bytes: usize,
    pub(crate) function_count: u32,
    pub(crate) local_count: u32,
    pub(crate) branch_count: u32,
    pub(crate) function_complexity: u64,
    pub(crate) table_elements: u32,
    pub(crate) compile_time: Duration,
    pub(crate) reduce_time: Duration,
    pub(crate) batch_records: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) cached_modules: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 25_000_000,
            fuel_per_instruction: 1,
            call_time: Duration::from_secs(2),
            memory_bytes: 64 << 20,
            module_bytes: 8 << 20,
            function_bytes: 512 << 10,
            function_count: 50_000,
            local_count: 10_000,
            branch_count: 10_000,
            function_complexity: 2_000_000,
            table_elements: 262_144,
            compile_time: Duration::from_secs(10),
            reduce_time: Duration::from_secs(300),
            batch_records: 1024,
            batch_bytes: 256 << 10,
            cached_modules: 100,
        }
    }
}

impl Limits {
    /// Fuel for each call into a guest. Default 25,000,000; an instruction costs 1.
    #[must_use]
    pub fn max_fuel(mut self, fuel: u64) -> Self {
        self.fuel = fuel.min(FUEL_MAX);
        self
    }

    /// Fuel that one instruction costs, and one step of each surcharge. Default 1, at least 1.
    #[must_use]
    pub fn fuel_per_instruction(mut self, fuel: u64) -> Self {
        self.fuel_per_instruction = fuel.clamp(1, FUEL_MAX);
        self
    }

    /// Wall time of each call into a guest, whatever its fuel. Default 2 s. A call that takes longer is ended within
    /// 50 ms, unless the machine keeps the threads of this process waiting.
    #[must_use]
    pub fn call_time(mut self, time: Duration) -> Self {
        self.call_time = time;
        self
    }

    /// Bytes of memory and tables together. Default 64 MiB, at most 4 GiB.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes.min(WASM_PAGE * WASM_PAGE);
        self
    }

    /// Bytes of a module, binary or text. Default 8 MiB.
    #[must_use]
    pub fn module_bytes(mut self, bytes: usize) -> Self {
        self.module_bytes = bytes;
        self
    }

    /// Bytes of one function's code. Default 512 KiB: it bounds what the compiler takes for one function.
    #[must_use]
    pub fn function_bytes(mut self, bytes: usize) -> Self {
        self.function_bytes = bytes;
        self
    }

    /// Functions of a module. Default 50,000.
    #[must_use]
    pub fn function_count(mut self, count: u32) -> Self {
        self.function_count = count;
        self
    }

    /// Locals of one function, without its parameters. Default 10,000.
    #[must_use]
    pub fn local_count(mut self, count: u32) -> Self {
        self.local_count = count;
        self
    }

    /// Branches of one function: blocks, loops, branches with all their targets, calls. Default 10,000; large
    /// optimised functions were seen to have 2,400.
    #[must_use]
    pub fn branch_count(mut self, count: u32) -> Self {
        self.branch_count = count;
        self
    }

    /// Locals times branches of one function. Default 2,000,000; the compiler's time grows with it, and large
    /// optimised functions were seen to have 110,000.
    #[must_use]
    pub fn function_complexity(mut self, product: u64) -> Self {
        self.function_complexity = product;
        self
    }

    /// Elements of all tables together. Default 262,144, which is 2 MiB of the memory limit.
    #[must_use]
    pub fn table_elements(mut self, count: u32) -> Self {
        self.table_elements = count;
        self
    }

    /// Wall time of one compilation, checked after each function. Default 10 s.
    #[must_use]
    pub fn compile_time(mut self, time: Duration) -> Self {
        self.compile_time = time;
        self
    }

    /// Wall time spent inside the guest by one reduction, checked after each call. Default 300 s.
    #[must_use]
    pub fn reduce_time(mut self, time: Duration) -> Self {
        self.reduce_time = time;
        self
    }

    /// Records given to a guest in one call, at most. Default 1,024, at least 1.
    #[must_use]
    pub fn batch_records(mut self, count: usize) -> Self {
        self.batch_records = count.max(1);
        self
    }

    /// Bytes after which a batch is closed. Default 256 KiB; a larger record goes alone.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Compiled modules kept in memory; the least recently used goes first. Default 100.
    #[must_use]
    pub fn cached_modules(mut self, count: usize) -> Self {
        self.cached_modules = count;
        self
    }

    /// The fuel of each call.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// What a module must fit, and what its code is made with; not what its calls may take.
    pub(crate) fn of_compilation(&self) -> String {
        format!(
            "memory {} module {} function {} functions {} locals {} branches {} complexity {} elements {}",
            self.memory_bytes,
            self.module_bytes,
            self.function_bytes,
            self.function_count,
            self.local_count,
            self.branch_count,
            self.function_complexity,
            self.table_elements,
        )
    }

    /// Fuel as the meter counts it: instructions.
    pub(crate) fn instructions(&self, fuel: u64) -> i64 {
        (fuel / self.fuel_per_instruction).min(FUEL_MAX) as i64
    }
}
