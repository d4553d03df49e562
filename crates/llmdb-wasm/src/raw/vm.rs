//! Vm: one instance with its store, and the two words of fuel that host, guest and watchdog share.
//!
//! ```text
//!   left = fuel + reserve          both are globals of the rewritten module, in the instance's own context
//!   guest     works on a copy of `fuel` in a local; when that is below zero it takes a slice from `reserve`
//!   host      writes both before a call, reads both after it
//!   watchdog  overwrites `reserve` with ruin: the guest stops when its slice is used up
//! ```
//!
//! Invariants
//! 1. The pointers of a tank point into the context that the store beside it owns, and that never moves. The store
//!    is never handed out, so nobody can drop it early.
//! 2. The watchdog writes under the lock of the slot, and dropping a `Vm` empties the slot under the same lock,
//!    before the store goes.
//!
//! Not here: when a call is too long (`watch`).

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
#[cfg(any(test, feature = "fuzzing"))]
use std::time::Instant;

use wasmer::sys::vm::{
    MemoryError, MemoryStyle, TableStyle, VMCallerCheckedAnyfunc, VMConfig, VMGlobal, VMGlobalDefinition,
    VMMemory, VMMemoryDefinition, VMTable, VMTableDefinition, wasmer_call_trampoline,
};
use wasmer::sys::{BaseTunables, Tunables};
use wasmer::{
    Engine, ExportError, Exports, Function, GlobalType, Imports, InstantiationError, Memory, MemoryType,
    Module, RuntimeError, Store, TableType, TypedFunction, Value, WasmTypeList,
};
use wasmer_types::RawValue;

use crate::meter::SLICE;
use crate::watch::Slot;

/// What the watchdog writes into the reserve: no sum of it with a slice is above zero, none overflows.
const RUIN: i64 = i64::MIN / 2;

thread_local! {
    /// Where the last two globals of the instance being made on this thread lie.
    static LAST_GLOBALS: Cell<[Option<NonNull<VMGlobalDefinition>>; 2]> = const { Cell::new([None, None]) };
}

/// The usual tunables, but they tell where the last two globals are.
pub(crate) struct HostTunables(BaseTunables);

impl HostTunables {
    pub(crate) fn new() -> Self {
        Self(BaseTunables::new())
    }
}

impl Tunables for HostTunables {
    fn memory_style(&self, memory: &MemoryType) -> MemoryStyle {
        self.0.memory_style(memory)
    }

    fn table_style(&self, table: &TableType) -> TableStyle {
        self.0.table_style(table)
    }

    fn create_host_memory(&self, ty: &MemoryType, style: &MemoryStyle) -> Result<VMMemory, MemoryError> {
        self.0.create_host_memory(ty, style)
    }

    /// # Safety
    /// As the trait demands.
    unsafe fn create_vm_memory(
        &self,
        ty: &MemoryType,
        style: &MemoryStyle,
        location: NonNull<VMMemoryDefinition>,
    ) -> Result<VMMemory, MemoryError> {
        #[cfg(unix)]
        if *style == MemoryStyle::Static {
            // SAFETY: the caller's promise, passed on; the engine has just made the definition.
            return unsafe { super::memory::make(*ty, location) };
        }
        // SAFETY: the caller's promise, passed on.
        unsafe { self.0.create_vm_memory(ty, style, location) }
    }

    fn create_host_table(&self, ty: &TableType, style: &TableStyle) -> Result<VMTable, String> {
        self.0.create_host_table(ty, style)
    }

    /// # Safety
    /// As the trait demands.
    unsafe fn create_vm_table(
        &self,
        ty: &TableType,
        style: &TableStyle,
        location: NonNull<VMTableDefinition>,
    ) -> Result<VMTable, String> {
        // SAFETY: the caller's promise, passed on.
        unsafe { self.0.create_vm_table(ty, style, location) }
    }

    /// # Safety
    /// As the trait demands.
    unsafe fn create_vm_global(
        &self,
        ty: GlobalType,
        location: NonNull<VMGlobalDefinition>,
    ) -> Result<VMGlobal, String> {
        let [_, last] = LAST_GLOBALS.get();
        LAST_GLOBALS.set([last, Some(location)]);
        // SAFETY: the caller's promise, passed on.
        unsafe { self.0.create_vm_global(ty, location) }
    }

    fn vmconfig(&self) -> &VMConfig {
        &CONFIG
    }
}

/// The fuel of one instance.
#[derive(Clone, Copy)]
struct Tank {
    fuel: NonNull<i64>,
    reserve: NonNull<i64>,
}

impl Tank {
    /// The tank of the instance made last on this thread.
    fn of_last_instance() -> Option<Self> {
        let [fuel, reserve] = LAST_GLOBALS.replace([None, None]);
        Some(Self { fuel: fuel?.cast(), reserve: reserve?.cast() })
    }

    fn fill(self, fuel: i64) {
        let slice = fuel & (SLICE - 1);
        word(&self.fuel).store(slice, Ordering::Relaxed);
        word(&self.reserve).store(fuel - slice, Ordering::Relaxed);
    }

    fn left(self) -> i64 {
        word(&self.fuel).load(Ordering::Relaxed).saturating_add(word(&self.reserve).load(Ordering::Relaxed))
    }
}

fn word(pointer: &NonNull<i64>) -> &AtomicI64 {
    // SAFETY: the pointer is that of a global's definition, which is aligned to 16 bytes and begins with its value.
    // It lives as long as the store; tanks are used only by a `Vm`, which owns the store, and by its slot, which is
    // emptied before the store goes (invariants 1 and 2). Rust code touches the word only through this function; the
    // compiled guest reads and writes it by plain aligned instructions, which on every target of the engine are
    // single accesses.
    unsafe { AtomicI64::from_ptr(pointer.as_ptr()) }
}

/// The reserve, as the watchdog's thread holds it.
struct Reserve(NonNull<i64>);

// SAFETY: it is only written through, atomically, under the lock of its slot and while its `Vm` lives.
unsafe impl Send for Reserve {}

impl Reserve {
    fn ruin(&self) {
        word(&self.0).store(RUIN, Ordering::Relaxed);
    }
}

/// How a call ended.
pub(crate) struct Ended<T> {
    pub(crate) outcome: Result<T, RuntimeError>,
    /// Below zero: it ran out.
    pub(crate) fuel_left: i64,
    /// The watchdog ended it.
    pub(crate) is_late: bool,
}

/// A function of one instance that takes a batch, found once and called often.
pub(crate) struct Callee<R> {
    code: VMCallerCheckedAnyfunc,
    /// Whose function it is: compared by address, and kept so that no other can have the same.
    slot: Arc<Slot>,
    result: PhantomData<R>,
}

/// A batch call of the ABI that answers `i32`, and one that answers `i64`.
pub(crate) type Step = Callee<i32>;
/// As [`Step`], with a wider answer.
pub(crate) type Map = Callee<i64>;

/// A number that a [`Callee`] answers.
pub(crate) trait Answer: WasmTypeList {
    /// The number in a word that a function of this type has written.
    fn of(word: RawValue) -> Self;
}

impl Answer for i32 {
    fn of(word: RawValue) -> Self {
        // SAFETY: all of the word is initialised, and any bits are a number.
        unsafe { word.i32 }
    }
}

impl Answer for i64 {
    fn of(word: RawValue) -> Self {
        // SAFETY: all of the word is initialised, and any bits are a number.
        unsafe { word.i64 }
    }
}

/// As [`HostTunables`] say, for calls that do not ask them.
static CONFIG: VMConfig = VMConfig { wasm_stack_size: None };

/// One instance and its store. Bound to its thread.
pub(crate) struct Vm {
    // Field order is drop order: the instance goes before its store.
    instance: wasmer::Instance,
    store: Store,
    tank: Tank,
    slot: Arc<Slot>,
}

impl Vm {
    /// An instance of `code`, which went through `rewrite`. None where that does not show, or where no
    /// thread can be had to watch it.
    pub(crate) fn new(
        engine: &Engine,
        code: &Module,
        call_time: Duration,
    ) -> Result<Option<Self>, Box<InstantiationError>> {
        let mut store = Store::new(engine.clone());
        LAST_GLOBALS.set([None, None]);
        let instance = wasmer::Instance::new(&mut store, code, &Imports::new()).map_err(Box::new)?;
        let Some(tank) = Tank::of_last_instance() else { return Ok(None) };
        let reserve = Reserve(tank.reserve);
        let Some(slot) = Slot::new(call_time, Box::new(move || reserve.ruin())) else { return Ok(None) };
        Ok(Some(Self { instance, store, tank, slot }))
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.instance.exports
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Bytes of the guest's own memory, without a window.
    pub(crate) fn memory_size(&self, memory: &Memory) -> u64 {
        memory.size(&self.store).bytes().0 as u64
    }

    /// The guest's own memory. While it is borrowed no guest of this store runs.
    pub(crate) fn bytes(&self, memory: &Memory) -> &[u8] {
        let (start, size) = self.own_part(memory);
        // SAFETY: `own_part` says what is there; it moves and shrinks never, grows only while the guest runs, and only
        // the guest writes it, which runs by calls that take this value exclusively. Threads and shared memories are
        // refused.
        unsafe { std::slice::from_raw_parts(start, size) }
    }

    /// As [`bytes`](Self::bytes), to write to.
    pub(crate) fn bytes_mut(&mut self, memory: &Memory) -> &mut [u8] {
        let (start, size) = self.own_part(memory);
        // SAFETY: as for `bytes`; the exclusive borrow of this value is the only way to the memory meanwhile.
        unsafe { std::slice::from_raw_parts_mut(start, size) }
    }

    /// Start and length of what a guest can read and write, not of a window behind it. The engine panics where the
    /// memory is of another store.
    fn own_part(&self, memory: &Memory) -> (*mut u8, usize) {
        let start = memory.view(&self.store).data_ptr();
        // A memory of no pages may have no place.
        let start = if start.is_null() { NonNull::dangling().as_ptr() } else { start };
        (start, memory.size(&self.store).bytes().0)
    }

    pub(crate) fn call(&mut self, fuel: i64, callee: &Function, arguments: &[Value]) -> Ended<Box<[Value]>> {
        self.metered(fuel, |store| callee.call(store, arguments))
    }

    /// An exported function of three `i32`, with an answer of type `R`.
    pub(crate) fn find<R: Answer>(&self, export: &str) -> Result<Callee<R>, ExportError> {
        let typed: TypedFunction<(i32, i32, i32), R> =
            self.instance.exports.get_typed_function(&self.store, export)?;
        let raw = Value::FuncRef(Some(typed.into())).as_raw(&self.store);
        // SAFETY: a reference to a function is written to this field.
        let place = unsafe { raw.funcref };
        let place = NonNull::new(std::ptr::with_exposed_provenance_mut::<VMCallerCheckedAnyfunc>(place));
        let place = place.ok_or_else(|| ExportError::Missing(export.to_owned()))?;
        // SAFETY: the engine's reference to a function is the address of this record, in the store that is borrowed.
        let code = unsafe { *place.as_ref() };
        Ok(Callee { code, slot: Arc::clone(&self.slot), result: PhantomData })
    }

    /// Calls a function of this instance with a batch.
    pub(crate) fn batch<R: Answer>(
        &mut self,
        fuel: i64,
        callee: &Callee<R>,
        arguments: [i32; 3],
    ) -> Ended<R> {
        assert!(Arc::ptr_eq(&callee.slot, &self.slot), "a function of another instance");
        self.metered(fuel, |_| {
            let mut words = arguments.map(RawValue::from);
            let code = &callee.code;
            // The engine's own typed call does this too, after it has noted in a list of the thread which store is at
            // work, for functions of the host that the guest might call: there are none.
            //
            // SAFETY: the record is that of a function of this instance, as just checked, which lives in `self.store`
            // and whose code the module keeps that `Instance` holds; it takes three `i32` and answers one number, as
            // `find` has had checked, so the trampoline reads three of the words and writes the first. The borrow is
            // exclusive: no other call runs and nobody looks at the guest's memory.
            let outcome = unsafe {
                wasmer_call_trampoline(
                    None,
                    &CONFIG,
                    code.vmctx,
                    code.call_trampoline,
                    code.func_ptr,
                    words.as_mut_ptr().cast(),
                )
            };
            outcome.map_err(RuntimeError::from)?;
            let [answer, ..] = words;
            Ok(R::of(answer))
        })
    }

    /// The time of `count` calls by the engine's own typed call, without arguments that mean anything: fuel is set once,
    /// nothing is watched.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn engine_calls(
        &mut self,
        fuel: i64,
        export: &str,
        count: u32,
    ) -> Result<Duration, Box<dyn std::error::Error>> {
        let callee: TypedFunction<(i32, i32, i32), i64> =
            self.instance.exports.get_typed_function(&self.store, export)?;
        self.tank.fill(fuel);
        let started = Instant::now();
        for _ in 0..count {
            callee.call(&mut self.store, 0, 0, 0)?;
        }
        Ok(started.elapsed())
    }

    fn metered<T>(
        &mut self,
        fuel: i64,
        call: impl FnOnce(&mut Store) -> Result<T, RuntimeError>,
    ) -> Ended<T> {
        self.tank.fill(fuel);
        self.slot.begin();
        let outcome = call(&mut self.store);
        let is_late = self.slot.end();
        Ended { outcome, fuel_left: self.tank.left(), is_late }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.slot.retire();
    }
}
