//! The reader table: who reads which published state. Beginning and ending a snapshot is one
//! compare-and-swap each on a cache line that, as a rule, no other thread touches.
//!
//! A reader announces a number that is at most the newest commit's ("settling"), takes the newest state,
//! and then says which one it took ("settled"). The writer publishes first and looks at the table later:
//! whatever the order of the two, a state that a reader may hold is seen as held.
//!
//! Invariants
//! 1. `floor` is never above the number of the state that `newest` points to, and neither falls.
//! 2. A state is dropped only when a look at the table, begun after a newer one was published, found no
//!    slot that settled on its number and none that settles at or below it.
//! 3. A clone stands behind what it is made of, in the order of a look, or is made while no look is under
//!    way: a look that finds the one gone already has yet to come to the other.
//! 4. Each slot that is not closed keeps one strong count of its owner, so what a reader holds outlives
//!    every handle without a counter that readers share. Closing takes the counts of idle slots back at
//!    once, and those of busy ones when they end.
//!
//! Not here: what a state is (`snapshot`), and what may be used again (`writer`). Orders of the steps are tried
//! by `tests/loom_readers.rs`.
#![expect(unsafe_code, reason = "a slot of the table, and no counter, keeps a state and its owner alive")]

// A door, so that the model can put its own atomics behind it, and a small table.
use crate::atomic::{
    Arc, AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, SEGMENT, SEGMENTS_MAX,
    thread_local, yield_now,
};
use std::cell::Cell;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{OnceLock, PoisonError};

/// A slot that nobody uses. Its owner's count is there.
const IDLE: u64 = 0;
/// A slot of a table whose handles are gone. Its owner's count is not there.
const CLOSED: u64 = 1;
/// In use; the number above may still rise.
const SETTLING: u64 = 2;
/// In use by a reader of exactly this number.
const SETTLED: u64 = 3;
/// In use, and to be closed when it ends.
const CLOSING: u64 = 4;
const TAG_BITS: u32 = 3;

/// What a slot in use says.
fn busy(number: u64, tag: u64) -> u64 {
    number << TAG_BITS | tag
}

/// What has a rising number.
pub(crate) trait Numbered {
    fn number(&self) -> u64;
}

/// What has a reader table.
pub(crate) trait Owner: Sized {
    type State: Numbered;

    fn readers(&self) -> &Readers<Self::State>;
}

/// One reader's place, on a cache line of its own.
#[repr(align(64))]
struct Slot {
    word: AtomicU64,
}

/// The table, and the states that it protects.
pub(crate) struct Readers<S> {
    newest: AtomicPtr<S>,
    floor: AtomicU64,
    segments: Box<[OnceLock<Box<[Slot; SEGMENT]>>; SEGMENTS_MAX]>,
    segment_count: AtomicUsize,
    /// Spreads threads over the table.
    next_hint: AtomicUsize,
    is_closing: AtomicBool,
    /// Held to make segments and to close; says nothing by itself.
    growth: Mutex<()>,
    /// States that somebody may hold, oldest first; the last is the newest. Only the writer and reports
    /// look here.
    states: Mutex<Vec<Arc<S>>>,
}

thread_local! {
    /// Where this thread looks for an idle slot first.
    static HINT: Cell<usize> = const { Cell::new(usize::MAX) };
}

impl<S: Numbered> Readers<S> {
    pub(crate) fn new(first: Arc<S>) -> Self {
        Self {
            newest: AtomicPtr::new(Arc::as_ptr(&first).cast_mut()),
            floor: AtomicU64::new(first.number()),
            segments: Box::new([const { OnceLock::new() }; SEGMENTS_MAX]),
            segment_count: AtomicUsize::new(0),
            next_hint: AtomicUsize::new(0),
            is_closing: AtomicBool::new(false),
            growth: Mutex::new(()),
            states: Mutex::new(vec![first]),
        }
    }

    fn states(&self) -> MutexGuard<'_, Vec<Arc<S>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest state.
    pub(crate) fn newest(&self) -> Arc<S> {
        self.states().last().expect("there is always a newest state").clone()
    }

    /// Makes `state` the newest. The one writer calls it.
    pub(crate) fn publish(&self, state: Arc<S>) {
        let number = state.number();
        let mut states = self.states();
        self.newest.store(Arc::as_ptr(&state).cast_mut(), Ordering::SeqCst);
        self.floor.store(number, Ordering::Release);
        states.push(state);
    }

    /// Drops states that nobody holds; answers the numbers of those left, oldest first, the newest one's
    /// among them. What the answer does not hold, no snapshot sees from now on.
    pub(crate) fn open_numbers(&self) -> Vec<u64> {
        self.held(|state| state.number())
    }

    /// As [`Readers::open_numbers`], with `look` at each state that is left.
    pub(crate) fn held<T>(&self, look: impl Fn(&S) -> T) -> Vec<T> {
        let mut states = self.states();
        if states.len() > 1 {
            let (settled, settling) = self.announced();
            let newest = states.len() - 1;
            let mut index = 0;
            states.retain(|state| {
                index += 1;
                let number = state.number();
                index > newest || number >= settling || settled.binary_search(&number).is_ok()
            });
        }
        states.iter().map(|state| look(state)).collect()
    }

    /// The numbers that readers have settled on, in order, and the least one that a reader settles at.
    fn announced(&self) -> (Vec<u64>, u64) {
        let (mut settled, mut settling) = (Vec::new(), u64::MAX);
        for slot in self.slots() {
            let word = slot.word.load(Ordering::SeqCst);
            match word & SETTLED {
                SETTLED => settled.push(word >> TAG_BITS),
                SETTLING => settling = settling.min(word >> TAG_BITS),
                _ => {}
            }
        }
        settled.sort_unstable();
        settled.dedup();
        (settled, settling)
    }

    /// How many snapshots are open, as far as one look tells.
    pub(crate) fn open_count(&self) -> usize {
        self.slots().filter(|slot| slot.word.load(Ordering::Relaxed) & SETTLING != 0).count()
    }

    /// How many slots there are: an upper bound of what a look at the table costs.
    pub(crate) fn slot_count(&self) -> usize {
        self.segment_count.load(Ordering::Acquire) * SEGMENT
    }

    /// All slots, those too that are made while it goes on: a clone may have gone there.
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        let is_made = |index: &usize| *index < self.segment_count.load(Ordering::SeqCst);
        let made = (0..SEGMENTS_MAX).take_while(is_made);
        made.filter_map(|index| self.segments[index].get()).flat_map(|segment| segment.iter())
    }

    fn slot(&self, index: usize) -> Option<&Slot> {
        Some(&self.segments.get(index / SEGMENT)?.get()?[index % SEGMENT])
    }
}

/// An open place in a table: its state and the table's owner live for as long as it does.
pub(crate) struct Pinned<O: Owner> {
    owner: NonNull<O>,
    state: NonNull<O::State>,
    slot: NonNull<Slot>,
    index: usize,
}

// SAFETY: a place is used through shared references to its owner and its state, which may be sent and
// shared where the owner may; the slot is atomic.
unsafe impl<O: Owner + Send + Sync> Send for Pinned<O> where O::State: Send + Sync {}
// SAFETY: as above.
unsafe impl<O: Owner + Send + Sync> Sync for Pinned<O> where O::State: Send + Sync {}

impl<O: Owner> Pinned<O> {
    /// Takes a place that holds the newest state.
    #[inline]
    pub(crate) fn newest(owner: &Arc<O>) -> Self {
        let table = owner.readers();
        let floor = table.floor.load(Ordering::Acquire);
        let (index, slot) = loop {
            if let Some(taken) = take(owner, IDLE, busy(floor, SETTLING)) {
                break taken;
            }
        };
        // After the announcement: a state that the writer lets go of in a look that missed it is older than
        // what is read here.
        let state = table.newest.load(Ordering::SeqCst);
        let state = NonNull::new(state).expect("there is always a newest state");
        // SAFETY: the announcement keeps every state from `floor` on, and this one is not below it.
        let number = unsafe { state.as_ref() }.number();
        // Nothing but a close can have touched the word since; handles exist, so none has.
        slot.word.store(busy(number, SETTLED), Ordering::Release);
        Self { owner: pointer_to(owner), state, slot: NonNull::from(slot), index }
    }

    /// Takes a place that holds `state`, whose number is at most the newest one's. What that number sees must
    /// not have been used again: the writer calls it.
    pub(crate) fn of(owner: &Arc<O>, state: Arc<O::State>) -> Self {
        let table = owner.readers();
        let number = state.number();
        let pointer = NonNull::from(&*state);
        // A look at the table holds the states too: it sees the state and the announcement, or neither.
        let mut states = table.states();
        let place = states.partition_point(|other| other.number() < number);
        debug_assert!(place < states.len(), "the newest state stays last");
        states.insert(place, state);
        let (index, slot) = loop {
            if let Some(taken) = take(owner, IDLE, busy(number, SETTLED)) {
                break taken;
            }
        };
        drop(states);
        Self { owner: pointer_to(owner), state: pointer, slot: NonNull::from(slot), index }
    }

    #[inline]
    pub(crate) fn owner(&self) -> &O {
        // SAFETY: our slot is in use, so the owner's count that it keeps is still there.
        unsafe { self.owner.as_ref() }
    }

    #[inline]
    pub(crate) fn state(&self) -> &O::State {
        // SAFETY: our slot has settled on this state's number, so it is not dropped.
        unsafe { self.state.as_ref() }
    }

    #[inline]
    fn slot(&self) -> &Slot {
        // SAFETY: slots live as long as the owner, which our slot keeps.
        unsafe { self.slot.as_ref() }
    }
}

impl<O: Owner> Clone for Pinned<O> {
    fn clone(&self) -> Self {
        // SAFETY: the pointer came from an `Arc` whose count our slot keeps; the extra count is given to the
        // `Arc` made here and taken back when it is dropped.
        let owner = unsafe {
            Arc::increment_strong_count(self.owner.as_ptr());
            Arc::from_raw(self.owner.as_ptr())
        };
        let (index, slot) = match self.copied(&owner, take_behind) {
            Some(taken) => taken,
            None => {
                let _no_look = owner.readers().states();
                loop {
                    if let Some(taken) = self.copied(&owner, |owner, _, from, to| take(owner, from, to)) {
                        break taken;
                    }
                }
            }
        };
        Self { owner: self.owner, state: self.state, slot: NonNull::from(slot), index }
    }
}

impl<O: Owner> Drop for Pinned<O> {
    #[inline]
    fn drop(&mut self) {
        set_hint(self.index);
        let word = busy(self.state().number(), SETTLED);
        if self.slot().word.compare_exchange(word, IDLE, Ordering::Release, Ordering::Relaxed).is_err() {
            self.close();
        }
    }
}

impl<O: Owner> Pinned<O> {
    /// Takes a slot for a clone, by a way that is told our own place, what the slot says and what it shall say.
    #[inline]
    fn copied<'a>(
        &self,
        owner: &'a Arc<O>,
        take: impl Fn(&'a Arc<O>, usize, u64, u64) -> Option<(usize, &'a Slot)>,
    ) -> Option<(usize, &'a Slot)> {
        let word = busy(self.state().number(), SETTLED);
        if !owner.readers().is_closing.load(Ordering::SeqCst) {
            return take(owner, self.index, IDLE, word);
        }
        let taken = take(owner, self.index, CLOSED, word | CLOSING)?;
        // This slot's count had been taken back; it is given again for as long as it is in use.
        std::mem::forget(owner.clone());
        Some(taken)
    }

    #[cold]
    fn close(&mut self) {
        self.slot().word.store(CLOSED, Ordering::Release);
        // SAFETY: the close left this slot's count to whoever ends it; nothing of the owner is used after.
        unsafe { Arc::decrement_strong_count(self.owner.as_ptr()) };
    }
}

#[inline]
fn hint() -> usize {
    HINT.with(Cell::get)
}

#[inline]
fn set_hint(index: usize) {
    HINT.with(|hint| hint.set(index));
}

fn pointer_to<O>(owner: &Arc<O>) -> NonNull<O> {
    NonNull::new(Arc::as_ptr(owner).cast_mut()).expect("an Arc points somewhere")
}

/// Finds a slot that says `from`, and makes it say `to`. `None` where there was none in a table that
/// changed meanwhile: look again.
#[inline]
fn take<O: Owner>(owner: &Arc<O>, from: u64, to: u64) -> Option<(usize, &Slot)> {
    let hint = hint();
    if let Some(slot) = owner.readers().slot(hint)
        && slot.word.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    {
        set_hint(hint + 1);
        return Some((hint, slot));
    }
    take_elsewhere(owner, from, to)
}

/// As [`take`], but only a slot behind place `index`, and no new ones.
#[inline]
fn take_behind<O: Owner>(owner: &Arc<O>, index: usize, from: u64, to: u64) -> Option<(usize, &Slot)> {
    let table = owner.readers();
    let hint = hint();
    let start = if hint > index { hint } else { index + 1 };
    // The hint of a thread that has none yet is beyond all slots.
    for index in (start..table.slot_count()).chain(index + 1..start.min(table.slot_count())) {
        let Some(slot) = table.slot(index) else { continue };
        if slot.word.load(Ordering::Relaxed) == from
            && slot.word.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        {
            set_hint(index + 1);
            return Some((index, slot));
        }
    }
    None
}

#[cold]
fn take_elsewhere<O: Owner>(owner: &Arc<O>, from: u64, to: u64) -> Option<(usize, &Slot)> {
    let table = owner.readers();
    if hint() == usize::MAX {
        set_hint(table.next_hint.fetch_add(1, Ordering::Relaxed) % SEGMENT);
    }
    let (count, start) = (table.slot_count(), hint());
    for step in 0..count {
        let index = (start + step) % count;
        let Some(slot) = table.slot(index) else { continue };
        if slot.word.load(Ordering::Relaxed) == from
            && slot.word.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        {
            set_hint(index + 1);
            return Some((index, slot));
        }
    }
    add_segment(owner, count);
    None
}

/// Makes more slots, unless somebody did since `seen` were there. In a full table it lets others run, for
/// one of them to end.
fn add_segment<O: Owner>(owner: &Arc<O>, seen: usize) {
    let table = owner.readers();
    let _growth = table.growth.lock().unwrap_or_else(PoisonError::into_inner);
    let count = table.segment_count.load(Ordering::SeqCst);
    if count * SEGMENT > seen {
        return;
    }
    if count == SEGMENTS_MAX {
        return yield_now();
    }
    let is_closing = table.is_closing.load(Ordering::SeqCst);
    let word = if is_closing { CLOSED } else { IDLE };
    table.segments[count]
        .get_or_init(|| Box::new(std::array::from_fn(|_| Slot { word: AtomicU64::new(word) })));
    if !is_closing {
        for _ in 0..SEGMENT {
            std::mem::forget(owner.clone());
        }
    }
    table.segment_count.store(count + 1, Ordering::SeqCst);
}

/// Lets the table end: no handle is left that could begin a snapshot. Those that are open stay whole, and
/// the owner ends with the last of them.
pub(crate) fn close<O: Owner>(owner: &Arc<O>) {
    let table = owner.readers();
    let growth = table.growth.lock().unwrap_or_else(PoisonError::into_inner);
    table.is_closing.store(true, Ordering::SeqCst);
    drop(growth);
    let mut idle = 0;
    for slot in table.slots() {
        loop {
            let word = slot.word.load(Ordering::SeqCst);
            let (next, is_idle) = match word {
                IDLE => (CLOSED, true),
                word if word == CLOSED || word & CLOSING != 0 => break,
                word => (word | CLOSING, false),
            };
            if slot.word.compare_exchange(word, next, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                idle += usize::from(is_idle);
                break;
            }
        }
    }
    for _ in 0..idle {
        // SAFETY: each idle slot kept one count of this very owner, and is closed now; `owner` itself holds
        // another, so the last one is not taken here.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(owner)) };
    }
}

impl<S> fmt::Debug for Readers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("segments", &self.segment_count).finish_non_exhaustive()
    }
}

impl<O: Owner> fmt::Debug for Pinned<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("slot", &self.index).finish_non_exhaustive()
    }
}
