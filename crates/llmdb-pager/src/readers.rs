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
//! 3. Each slot that is not closed keeps one strong count of its owner, so what a reader holds outlives
//!    every handle without a counter that readers share. Closing takes the counts of idle slots back at
//!    once, and those of busy ones when they end.
//!
//! Not here: what a state is (`snapshot`), and what may be used again (`writer`).
#![expect(unsafe_code, reason = "a slot of the table, and no counter, keeps a state and its owner alive")]

use std::cell::Cell;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Slots are made this many at a time.
const SEGMENT: usize = 64;
/// Segments of a table: 65,536 open snapshots. One more waits until another ends.
const SEGMENTS_MAX: usize = 1024;

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

/// Spreads threads over the table.
static NEXT_HINT: AtomicUsize = AtomicUsize::new(0);

impl<S: Numbered> Readers<S> {
    pub(crate) fn new(first: Arc<S>) -> Self {
        Self {
            newest: AtomicPtr::new(Arc::as_ptr(&first).cast_mut()),
            floor: AtomicU64::new(first.number()),
            segments: Box::new([const { OnceLock::new() }; SEGMENTS_MAX]),
            segment_count: AtomicUsize::new(0),
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

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        let count = self.segment_count.load(Ordering::SeqCst);
        self.segments[..count].iter().filter_map(OnceLock::get).flat_map(|segment| segment.iter())
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
        let word = busy(self.state().number(), SETTLED);
        let (index, slot) = loop {
            if !owner.readers().is_closing.load(Ordering::SeqCst) {
                if let Some(taken) = take(&owner, IDLE, word) {
                    break taken;
                }
            } else if let Some(taken) = take(&owner, CLOSED, word | CLOSING) {
                // This slot's count had been taken back; it is given again for as long as it is in use.
                std::mem::forget(owner.clone());
                break taken;
            }
        };
        Self { owner: self.owner, state: self.state, slot: NonNull::from(slot), index }
    }
}

impl<O: Owner> Drop for Pinned<O> {
    #[inline]
    fn drop(&mut self) {
        HINT.set(self.index);
        let word = busy(self.state().number(), SETTLED);
        if self.slot().word.compare_exchange(word, IDLE, Ordering::Release, Ordering::Relaxed).is_err() {
            self.close();
        }
    }
}

impl<O: Owner> Pinned<O> {
    #[cold]
    fn close(&mut self) {
        self.slot().word.store(CLOSED, Ordering::Release);
        // SAFETY: the close left this slot's count to whoever ends it; nothing of the owner is used after.
        unsafe { Arc::decrement_strong_count(self.owner.as_ptr()) };
    }
}

fn pointer_to<O>(owner: &Arc<O>) -> NonNull<O> {
    NonNull::new(Arc::as_ptr(owner).cast_mut()).expect("an Arc points somewhere")
}

/// Finds a slot that says `from`, and makes it say `to`. `None` where there was none in a table that
/// changed meanwhile: look again.
#[inline]
fn take<O: Owner>(owner: &Arc<O>, from: u64, to: u64) -> Option<(usize, &Slot)> {
    let hint = HINT.get();
    if let Some(slot) = owner.readers().slot(hint)
        && slot.word.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    {
        HINT.set(hint + 1);
        return Some((hint, slot));
    }
    take_elsewhere(owner, from, to)
}

#[cold]
fn take_elsewhere<O: Owner>(owner: &Arc<O>, from: u64, to: u64) -> Option<(usize, &Slot)> {
    let table = owner.readers();
    if HINT.get() == usize::MAX {
        HINT.set(NEXT_HINT.fetch_add(1, Ordering::Relaxed) % SEGMENT);
    }
    let (count, start) = (table.slot_count(), HINT.get());
    for step in 0..count {
        let index = (start + step) % count;
        let Some(slot) = table.slot(index) else { continue };
        if slot.word.load(Ordering::Relaxed) == from
            && slot.word.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        {
            HINT.set(index + 1);
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
        return std::thread::yield_now();
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

#[cfg(test)]
mod tests {
    use super::*;

    struct State {
        number: u64,
        dropped: Arc<AtomicU64>,
    }

    impl Numbered for State {
        fn number(&self) -> u64 {
            self.number
        }
    }

    impl Drop for State {
        fn drop(&mut self) {
            self.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Table(Readers<State>);

    impl Owner for Table {
        type State = State;

        fn readers(&self) -> &Readers<State> {
            &self.0
        }
    }

    fn table() -> (Arc<Table>, Arc<AtomicU64>) {
        let dropped = Arc::new(AtomicU64::new(0));
        let first = Arc::new(State { number: 1, dropped: dropped.clone() });
        (Arc::new(Table(Readers::new(first))), dropped)
    }

    fn publish(table: &Table, dropped: &Arc<AtomicU64>, number: u64) {
        table.0.publish(Arc::new(State { number, dropped: dropped.clone() }));
    }

    #[test]
    fn a_state_lives_while_somebody_holds_it_and_no_longer() {
        let (table, dropped) = table();
        let first = Pinned::newest(&table);
        publish(&table, &dropped, 2);
        let second = Pinned::newest(&table);
        publish(&table, &dropped, 3);
        let again = first.clone();
        assert_eq!(table.0.open_numbers(), [1, 2, 3]);
        drop(second);
        assert_eq!(table.0.open_numbers(), [1, 3]);
        drop(first);
        assert_eq!(table.0.open_numbers(), [1, 3], "a clone holds it too");
        assert_eq!(again.state().number(), 1);
        drop(again);
        assert_eq!(table.0.open_numbers(), [3]);
        assert_eq!(dropped.load(Ordering::SeqCst), 2);
        assert_eq!(table.0.open_count(), 0);
        close(&table);
    }

    #[test]
    fn more_readers_than_a_segment_has_slots() {
        let (table, dropped) = table();
        let open: Vec<_> = (0..3 * SEGMENT + 5).map(|_| Pinned::newest(&table)).collect();
        publish(&table, &dropped, 2);
        assert_eq!(table.0.open_count(), open.len());
        assert_eq!(table.0.open_numbers(), [1, 2]);
        drop(open);
        assert_eq!(table.0.open_numbers(), [2]);
        assert_eq!(table.0.slot_count(), 4 * SEGMENT);
        close(&table);
    }

    #[test]
    fn the_owner_ends_with_the_last_reader_once_it_is_closed() {
        let (table, dropped) = table();
        let weak = Arc::downgrade(&table);
        let one = Pinned::newest(&table);
        close(&table);
        drop(table);
        let two = one.clone();
        let many: Vec<_> = (0..SEGMENT + 3).map(|_| two.clone()).collect();
        drop(one);
        assert_eq!(two.state().number(), 1);
        assert!(weak.upgrade().is_some());
        drop(many);
        assert!(weak.upgrade().is_some());
        drop(two);
        assert!(weak.upgrade().is_none());
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn readers_on_other_threads_never_see_a_dropped_state() {
        let (table, dropped) = table();
        let rounds = if cfg!(miri) { 50 } else { 20_000 };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let held = Pinned::newest(&table);
                        let copy = held.clone();
                        drop(held);
                        assert!(copy.state().number >= last, "time goes on");
                        last = copy.state().number;
                    }
                });
            }
            for number in 2..rounds {
                publish(&table, &dropped, number);
                if number % 3 == 0 {
                    // How many are open depends on who runs when: a reader that was interrupted while it
                    // settles keeps all that came since.
                    table.0.open_numbers();
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(table.0.open_numbers().len(), 1);
        close(&table);
        assert_eq!(Arc::strong_count(&table), 1);
    }
}
