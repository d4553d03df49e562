//! Errors: what was wrong with which module, in which function, and why.
//!
//! Invariants
//! 1. Each variant has one stable code, `LLMDB-W01` and up; a code is never reused.
//! 2. Nothing a guest does is a panic of the host: it ends in one of these.

use std::path::PathBuf;
use std::time::Duration;

/// What this crate returns on success, or its [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a module was refused or a call ended.
///
/// `module` is the caller's name for it where one was given, else the first twelve hex digits of its hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a valid core module, or the text does not parse.
    #[error("module {module} is not valid WebAssembly: {reason}")]
    InvalidModule {
        /// Name or hash prefix of the module.
        module: String,
        /// What the validator found, with its offset.
        reason: String,
    },
    /// Valid WebAssembly, but with a proposal that is switched off here.
    #[error("module {module} uses a WebAssembly feature that is not allowed here: {reason}")]
    FeatureNotAllowed {
        /// Name or hash prefix of the module.
        module: String,
        /// The feature, in the validator's words.
        reason: String,
    },
    /// The module asks for an import. Guests are offered none.
    #[error(
        "module {module} imports {kind} `{import_module}`.`{import_field}`: guests get no imports, link it without"
    )]
    ImportRefused {
        /// Name or hash prefix of the module.
        module: String,
        /// The import's module name.
        import_module: String,
        /// The import's field name.
        import_field: String,
        /// Function, memory, table, global or tag.
        kind: &'static str,
    },
    /// The module, or a part of it, is larger than the limits allow.
    #[error("module {module} is too large: {what} is {size}, the limit is {limit}")]
    TooLarge {
        /// Name or hash prefix of the module.
        module: String,
        /// What was measured.
        what: &'static str,
        /// What was found.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The module's memory or tables cannot fit the memory limit.
    #[error("module {module} asks for {asked} bytes of {what}, the limit is {limit} bytes")]
    MemoryLimit {
        /// Name or hash prefix of the module.
        module: String,
        /// Memory, or tables.
        what: &'static str,
        /// Bytes asked for at the least.
        asked: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A call used up its fuel.
    #[error("module {module}, function {function}: out of fuel: one call has {limit}")]
    OutOfFuel {
        /// Name or hash prefix of the module.
        module: String,
        /// The export that was called.
        function: String,
        /// The fuel that the call was given.
        limit: u64,
    },
    /// A call trapped.
    #[error("module {module}, function {function}: trap: {trap}")]
    Trap {
        /// Name or hash prefix of the module.
        module: String,
        /// The export that was called.
        function: String,
        /// Which trap.
        trap: Trap,
    },
    /// An export that the ABI asks for is missing, has the wrong type, or answered nonsense.
    #[error("module {module}, function {function}: {reason} (see docs/wasm-abi.md)")]
    Abi {
        /// Name or hash prefix of the module.
        module: String,
        /// The export in question.
        function: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A guest handed out a range that is not inside its memory.
    #[error(
        "module {module}, function {function}: {length} bytes at {pointer} are outside its memory of {memory} bytes"
    )]
    OutOfBounds {
        /// Name or hash prefix of the module.
        module: String,
        /// The export that gave the range.
        function: String,
        /// Start of the range.
        pointer: u64,
        /// Its length.
        length: u64,
        /// Size of the guest's memory.
        memory: u64,
    },
    /// The module exports a name that begins with `llmdb:`, which is kept for the host.
    #[error("module {module} exports `{name}`: names that begin with `llmdb:` are reserved, rename it")]
    ReservedName {
        /// Name or hash prefix of the module.
        module: String,
        /// The export.
        name: String,
    },
    /// The guest itself refused the batch.
    #[error("module {module}, function {function}: the guest gave up with its own code {code}")]
    GuestRefused {
        /// Name or hash prefix of the module.
        module: String,
        /// The export that was called.
        function: String,
        /// The code that it returned; its meaning is the guest's.
        code: i64,
    },
    /// The instance failed before, or has finished; make a new one.
    #[error("module {module}, function {function}: no longer usable: {cause}")]
    Dead {
        /// Name or hash prefix of the module.
        module: String,
        /// The export that was called.
        function: String,
        /// What ended it.
        cause: String,
    },
    /// The wall-clock limit of a compilation, a call or a reduction passed.
    #[error("module {module}, function {function}: ended after {elapsed:?}, the limit is {limit:?}")]
    Deadline {
        /// Name or hash prefix of the module.
        module: String,
        /// The export that was called, or `compilation`.
        function: String,
        /// The time used, at least.
        elapsed: Duration,
        /// The time allowed.
        limit: Duration,
    },
    /// The engine refused a module that passed validation, or failed in itself.
    #[error("module {module}: the engine failed: {reason}")]
    Engine {
        /// Name or hash prefix of the module.
        module: String,
        /// What the engine said.
        reason: String,
    },
    /// A record is too large for any batch.
    #[error("a record of {size} bytes cannot be given to a guest, the limit is {limit} bytes")]
    RecordTooLarge {
        /// Bytes of key and value.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// What a caller gave does not fit what the guest declared.
    #[error("module {module}, function {function}: cannot take this input: {reason}")]
    Input {
        /// Name or hash prefix of the module.
        module: String,
        /// The function.
        function: String,
        /// What does not fit.
        reason: String,
    },
    /// The directory of compiled modules cannot be used.
    #[error("compiled modules cannot be kept in {}: {reason}", path.display())]
    ArtifactCache {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller asked for the end.
    #[error("module {module}, function {function}: cancelled")]
    Cancelled {
        /// Name or hash prefix of the module.
        module: String,
        /// The function.
        function: String,
    },
    /// The map that modules are kept in failed, or what it keeps is damaged or cannot be kept.
    #[error("module {module}, kept in the database: {reason}")]
    Store {
        /// Name or hash that was asked for.
        module: String,
        /// What is wrong.
        reason: String,
    },
    /// The module's calls are refused.
    #[error("module {module} is disabled: enable it first")]
    Disabled {
        /// The name.
        module: String,
    },
    /// There is no such module.
    #[error("there is no module {module}: list those that there are")]
    NoModule {
        /// Name or hash that was asked for.
        module: String,
    },
}

impl Error {
    /// The stable code of this error, for programs to match on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidModule { .. } => "LLMDB-W01",
            Self::FeatureNotAllowed { .. } => "LLMDB-W02",
            Self::ImportRefused { .. } => "LLMDB-W03",
            Self::TooLarge { .. } => "LLMDB-W04",
            Self::MemoryLimit { .. } => "LLMDB-W05",
            Self::OutOfFuel { .. } => "LLMDB-W06",
            Self::Trap { .. } => "LLMDB-W07",
            Self::Abi { .. } => "LLMDB-W08",
            Self::OutOfBounds { .. } => "LLMDB-W09",
            Self::ReservedName { .. } => "LLMDB-W10",
            Self::GuestRefused { .. } => "LLMDB-W11",
            Self::Dead { .. } => "LLMDB-W12",
            Self::Deadline { .. } => "LLMDB-W13",
            Self::Engine { .. } => "LLMDB-W14",
            Self::RecordTooLarge { .. } => "LLMDB-W15",
            Self::Input { .. } => "LLMDB-W16",
            Self::ArtifactCache { .. } => "LLMDB-W17",
            Self::Cancelled { .. } => "LLMDB-W18",
            Self::Store { .. } => "LLMDB-W19",
            Self::Disabled { .. } => "LLMDB-W20",
            Self::NoModule { .. } => "LLMDB-W21",
        }
    }
}

/// The traps of WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trap {
    /// An `unreachable` instruction was executed.
    #[error("`unreachable` was executed")]
    Unreachable,
    /// A load, store or bulk operation outside the memory.
    #[error("memory access out of bounds")]
    MemoryOutOfBounds,
    /// An access outside a table.
    #[error("table access out of bounds")]
    TableOutOfBounds,
    /// An indirect call through an empty table entry.
    #[error("indirect call through an empty table entry")]
    NullCall,
    /// An indirect call with another signature than the callee's.
    #[error("indirect call with the wrong signature")]
    SignatureMismatch,
    /// An integer division by zero.
    #[error("integer division by zero")]
    DivisionByZero,
    /// An integer overflow, in a division or a conversion.
    #[error("integer overflow")]
    IntegerOverflow,
    /// A float without an integer value was converted to an integer.
    #[error("conversion of a float that is no integer")]
    BadConversion,
    /// The call stack is full.
    #[error("call stack exhausted")]
    StackOverflow,
    /// Any other trap of the engine.
    #[error("the engine stopped the call")]
    Other,
}
