//! Functions that run inside LLMDB, in Rust: macros for the ABI, version 2 (`docs/wasm-abi.md`).
//!
//! ```ignore
//! #![no_std]
//! llmdb_guest::guest!();
//!
//! llmdb_guest::map_columns! {
//!     /// The first word of each row, doubled.
//!     fn doubled(word: [u8; 8] at 0) -> [u8; 8] {
//!         (2 * u64::from_le_bytes(*word)).to_le_bytes()
//!     }
//! }
//! ```
//!
//! Build with cargo as a `cdylib` for `wasm32-unknown-unknown`, or by hand and without a network:
//!
//! ```text
//! rustc --edition 2024 --target wasm32-unknown-unknown -C panic=abort -O --crate-type rlib \
//!       --crate-name llmdb_guest src/lib.rs
//! rustc --edition 2024 --target wasm32-unknown-unknown -C panic=abort -O --crate-type cdylib \
//!       --extern llmdb_guest=libllmdb_guest.rlib examples/weather.rs
//! ```
//!
//! `-C target-feature=+simd128` allows vectors.
//!
//! Invariants
//! 1. What a macro's user writes is safe code; pointers of the host are touched here only.
//! 2. Memory is taken from `memory.grow` and never given back, as the ABI asks.

#![no_std]

/// The version of the ABI that these macros write.
pub const ABI_VERSION: i32 = 2;

/// Columns begin at multiples of this.
const COLUMN_ALIGNMENT: usize = 16;

/// What every guest has: its version, its allocator, and what happens on a panic (a trap). Once in each guest.
#[macro_export]
macro_rules! guest {
    () => {
        // SAFETY: the name is the ABI's; nothing else in a guest has it.
        #[unsafe(no_mangle)]
        pub extern "C" fn llmdb_abi_version() -> i32 {
            $crate::ABI_VERSION
        }

        // SAFETY: the name is the ABI's; nothing else in a guest has it.
        #[unsafe(no_mangle)]
        pub extern "C" fn llmdb_alloc(length: u32) -> u32 {
            $crate::alloc(length)
        }

        #[cfg(target_arch = "wasm32")]
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            core::arch::wasm32::unreachable()
        }
    };
}

/// A map: chosen bytes of each row to an answer of a fixed width.
///
/// `map_columns! { fn NAME(COLUMN: [u8; WIDTH] at OFFSET, ...) -> [u8; ANSWER] { ... } }`
#[macro_export]
macro_rules! map_columns {
    ($(#[$meta:meta])* fn $name:ident($($column:ident: [u8; $width:literal] at $offset:literal),+ $(,)?)
        -> [u8; $answer:literal] $body:block) => {
        $(#[$meta])*
        fn $name($($column: &[u8; $width]),+) -> [u8; $answer] $body

        const _: () = {
            $crate::declare!(columns $name, $answer, $($offset, $width),+);

            // SAFETY: a name of the ABI, from that of a function that stands beside it, so no second one has it.
            #[unsafe(export_name = concat!(stringify!($name), "_map"))]
            extern "C" fn map(batch: *const u8, count: u32, output: *mut u8) -> i64 {
                let mut columns = $crate::Columns::new(batch, count);
                $(let $column = columns.next::<$width>();)+
                let answers = $crate::answers::<$answer>(output, count);
                for (index, answer) in answers.iter_mut().enumerate() {
                    *answer = $name($(&$column[index]),+);
                }
                0
            }
        };
    };
}

/// A filter: keeps the rows for whose chosen bytes the function is true.
///
/// `filter_columns! { fn NAME(COLUMN: [u8; WIDTH] at OFFSET, ...) -> bool { ... } }`
#[macro_export]
macro_rules! filter_columns {
    ($(#[$meta:meta])* fn $name:ident($($column:ident: [u8; $width:literal] at $offset:literal),+ $(,)?)
        -> bool $body:block) => {
        $(#[$meta])*
        fn $name($($column: &[u8; $width]),+) -> bool $body

        const _: () = {
            $crate::declare!(columns $name, 0, $($offset, $width),+);

            // SAFETY: a name of the ABI, from that of a function that stands beside it, so no second one has it.
            #[unsafe(export_name = concat!(stringify!($name), "_filter"))]
            extern "C" fn filter(batch: *const u8, count: u32, output: *mut u8) -> i64 {
                let mut columns = $crate::Columns::new(batch, count);
                $(let $column = columns.next::<$width>();)+
                let answers = $crate::answers::<1>(output, count);
                for (index, answer) in answers.iter_mut().enumerate() {
                    *answer = [u8::from($name($(&$column[index]),+))];
                }
                0
            }
        };
    };
}

/// A map: whole pages to an answer of a fixed width.
///
/// `map_pages! { fn NAME(page: [u8; SIZE]) -> [u8; ANSWER] { ... } }`
#[macro_export]
macro_rules! map_pages {
    ($(#[$meta:meta])* fn $name:ident($page:ident: [u8; $size:literal]) -> [u8; $answer:literal] $body:block) => {
        $(#[$meta])*
        fn $name($page: &[u8; $size]) -> [u8; $answer] $body

        const _: () = {
            $crate::declare!(words $name, [3, $answer, $size, 0]);

            // SAFETY: a name of the ABI, from that of a function that stands beside it, so no second one has it.
            #[unsafe(export_name = concat!(stringify!($name), "_map"))]
            extern "C" fn map(batch: *const u8, count: u32, output: *mut u8) -> i64 {
                let pages = $crate::Columns::new(batch, count).next::<$size>();
                for (page, answer) in pages.iter().zip($crate::answers::<$answer>(output, count)) {
                    *answer = $name(page);
                }
                0
            }
        };
    };
}

/// A filter: keeps the records for which the function is true. It sees key, value and valid times.
///
/// `filter_records! { fn NAME(record: Record) -> bool { ... } }`
#[macro_export]
macro_rules! filter_records {
    ($(#[$meta:meta])* fn $name:ident($record:ident: Record) -> bool $body:block) => {
        $(#[$meta])*
        fn $name($record: $crate::Record<'_>) -> bool $body

        const _: () = {
            // SAFETY: a name of the ABI, from that of a function that stands beside it, so no second one has it.
            #[unsafe(export_name = concat!(stringify!($name), "_filter"))]
            extern "C" fn filter(batch: *const u8, size: u32, output: *mut u8) -> i64 {
                let records = $crate::Records::new(batch, size);
                for (record, answer) in records.zip($crate::answers::<1>(output, records.record_count())) {
                    *answer = [u8::from($name(record))];
                }
                0
            }
        };
    };
}

/// A reduction of records to words, which begin at zero and are the answer, little-endian.
///
/// `reduce_records! { fn NAME(state: &mut [u64; N], record: Record) { ... } }`
#[macro_export]
macro_rules! reduce_records {
    ($(#[$meta:meta])* fn $name:ident($state:ident: &mut [u64; $words:literal], $record:ident: Record) $body:block) => {
        $(#[$meta])*
        fn $name($state: &mut [u64; $words], $record: $crate::Record<'_>) $body

        const _: () = {
            $crate::state!($name, $words);

            // SAFETY: a name of the ABI, from that of a function that stands beside it, so no second one has it.
            #[unsafe(export_name = stringify!($name))]
            extern "C" fn step(batch: *const u8, size: u32, state: *mut u8) -> i32 {
                let state = $crate::state::<$words>(state);
                $crate::Records::new(batch, size).for_each(|record| $name(state, record));
                0
            }
        };
    };
}

/// A reduction of chosen bytes of rows to words, which begin at zero and are the answer, little-endian.
///
/// `reduce_columns! { fn NAME(state: &mut [u64; N], COLUMN: [u8; WIDTH] at OFFSET, ...) { ... } }`
#[macro_export]
macro_rules! reduce_columns {
    ($(#[$meta:meta])* fn $name:ident($state:ident: &mut [u64; $words:literal],
        $($column:ident: [u8; $width:literal] at $offset:literal),+ $(,)?) $body:block) => {
        $(#[$meta])*
        fn $name($state: &mut [u64; $words], $($column: &[u8; $width]),+) $body

        const _: () = {
            $crate::state!($name, $words);
            $crate::declare!(columns $name, 0, $($offset, $width),+);

            // SAFETY: a name of the ABI, from that of a function that stands beside it, so no second one has it.
            #[unsafe(export_name = stringify!($name))]
            extern "C" fn step(batch: *const u8, count: u32, state: *mut u8) -> i32 {
                let state = $crate::state::<$words>(state);
                let mut columns = $crate::Columns::new(batch, count);
                $(let $column = columns.next::<$width>();)+
                for index in 0..count as usize {
                    $name(state, $(&$column[index]),+);
                }
                0
            }
        };
    };
}

/// Exports the declaration of an input.
#[doc(hidden)]
#[macro_export]
macro_rules! declare {
    (columns $name:ident, $answer:literal, $($offset:literal, $width:literal),+) => {
        $crate::declare!(words $name, [
            2, $answer, [$($offset, $width),+].len() as u32 / 2, 0, $($offset, $width),+
        ]);
    };
    (words $name:ident, [$($word:expr),+]) => {
        static DECLARATION: &[u32] = &[$($word),+];

        // SAFETY: a name of the ABI, from that of a function that stands beside it, so no second one has it.
        #[unsafe(export_name = concat!(stringify!($name), "_input"))]
        extern "C" fn input() -> *const u32 {
            DECLARATION.as_ptr()
        }
    };
}

/// Exports the size of a state of words, and the state as the answer.
#[doc(hidden)]
#[macro_export]
macro_rules! state {
    ($name:ident, $words:literal) => {
        // SAFETY: a name of the ABI, from that of a function that stands beside it, so no second one has it.
        #[unsafe(export_name = concat!(stringify!($name), "_state_size"))]
        extern "C" fn state_size() -> u32 {
            $words * 8
        }

        // SAFETY: a name of the ABI, from that of a function that stands beside it, so no second one has it.
        #[unsafe(export_name = concat!(stringify!($name), "_finish"))]
        extern "C" fn finish(state: u32) -> u64 {
            u64::from(state) | ($words * 8u64) << 32
        }
    };
}

/// One record of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Start of the period in which it is true, microseconds since 1970.
    pub valid_from: i64,
    /// Its end, not included.
    pub valid_to: i64,
}

/// The records of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    batch: &'a [u8],
    entry_size: usize,
    count: u32,
    index: usize,
}

impl Records<'_> {
    /// The batch that the host gave: `size` bytes at `batch`.
    #[must_use]
    pub fn new(batch: *const u8, size: u32) -> Self {
        // SAFETY: the host wrote `size` bytes there, which lie in memory that `alloc` gave it and nobody else has.
        let batch = unsafe { core::slice::from_raw_parts(batch, size as usize) };
        let (count, entry_size) = (number(batch, 0), number(batch, 4) as usize);
        Self { batch, entry_size, count, index: 0 }
    }

    /// Records of the batch.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.count
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.index == self.count as usize {
            return None;
        }
        let entry = &self.batch[16 + self.index * self.entry_size..];
        self.index += 1;
        let range = |offset, length| &self.batch[offset as usize..][..length as usize];
        let time = |at: usize| i64::from_le_bytes(entry[at..at + 8].try_into().unwrap_or_default());
        Some(Record {
            key: range(number(entry, 0), number(entry, 4)),
            value: range(number(entry, 8), number(entry, 12)),
            valid_from: time(16),
            valid_to: time(24),
        })
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default())
}

/// The columns of a batch, one after the other.
#[derive(Debug)]
pub struct Columns {
    batch: *const u8,
    count: usize,
    end: usize,
}

impl Columns {
    /// Those of a batch of `count` rows at `batch`.
    #[must_use]
    pub fn new(batch: *const u8, count: u32) -> Self {
        Self { batch, count: count as usize, end: 0 }
    }

    /// The next column, of the width that was declared for it.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "the width is a parameter")]
    pub fn next<'a, const WIDTH: usize>(&mut self) -> &'a [[u8; WIDTH]] {
        let start = self.end.next_multiple_of(COLUMN_ALIGNMENT);
        self.end = start + WIDTH * self.count;
        // SAFETY: the host wrote the declared columns there, in memory that `alloc` gave it, and changes nothing while
        // it waits for the call to end.
        unsafe { core::slice::from_raw_parts(self.batch.add(start).cast(), self.count) }
    }
}

/// Where `count` answers of `WIDTH` bytes go.
#[doc(hidden)]
#[must_use]
pub fn answers<'a, const WIDTH: usize>(output: *mut u8, count: u32) -> &'a mut [[u8; WIDTH]] {
    // SAFETY: the host has room for them there, in memory that `alloc` gave it for answers only.
    unsafe { core::slice::from_raw_parts_mut(output.cast(), count as usize) }
}

/// The state at `state`.
#[doc(hidden)]
#[must_use]
pub fn state<'a, const WORDS: usize>(state: *mut u8) -> &'a mut [u64; WORDS] {
    // SAFETY: the host asked `alloc` for the declared size, at a multiple of 8 or more, and gives the state to one call
    // at a time.
    unsafe { &mut *state.cast() }
}

/// Memory for the host: whole pages, never given back. 0 where there is no more.
#[doc(hidden)]
#[must_use]
pub fn alloc(length: u32) -> u32 {
    const PAGE: usize = 65_536;
    #[cfg(target_arch = "wasm32")]
    {
        let pages = (length as usize).div_ceil(PAGE).max(1);
        match core::arch::wasm32::memory_grow(0, pages) {
            usize::MAX => 0,
            before => (before * PAGE) as u32,
        }
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = (length, PAGE);
        0
    }
}
