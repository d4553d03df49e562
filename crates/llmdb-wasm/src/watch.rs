//! Watch: one thread of the process that ends calls whose time is up.
//!
//! ```text
//!   call      slot: RUNNING, next number      wakes the thread if it sleeps      ...      slot: idle
//!   thread    every 5 ms: has a slot run the same call since its limit?  mark it EXPIRED and ruin its fuel
//!             nothing called for a second: say so, look once more a tick later, sleep until woken
//! ```
//!
//! Invariants
//! 1. A call pays a plain write and a read at its begin and one atomic exchange at its end for being watched; it takes
//!    no lock and makes no fence.
//! 2. A call that is marked ends in an error, even if it was just about to succeed; its instance is of no more use.
//! 3. What ruins the fuel runs under the lock of its slot, and not after `retire`.
//! 4. The thread starts with the first instance, never before.
//!
//! Not here: how ruin stops a guest (`raw::vm`, `meter`).

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How often the thread looks. A call is first seen, and found too long, each up to one of these late.
const TICK: Duration = Duration::from_millis(5);
/// Looks without any call, after which the thread sleeps.
const IDLE_TICKS_MAX: u32 = 200;

/// Set while a call runs.
const RUNNING: u64 = 1;
/// Set when the call that runs was ended.
const EXPIRED: u64 = 2;
/// Added for each call.
const NEXT_CALL: u64 = 4;

static WATCH: Watch =
    Watch { asleep: AtomicBool::new(false), entries: Mutex::new(Vec::new()), thread: OnceLock::new() };

struct Watch {
    asleep: AtomicBool,
    entries: Mutex<Vec<Entry>>,
    thread: OnceLock<Option<Thread>>,
}

/// A slot, and the state that it has had since an instant.
struct Entry {
    slot: Weak<Slot>,
    state: u64,
    since: Instant,
}

/// What empties the fuel of a running call, from another thread.
pub(crate) type Ruin = Box<dyn Fn() + Send>;

/// What the thread sees of one instance.
pub(crate) struct Slot {
    /// `RUNNING`, `EXPIRED`, and above them the number of the call.
    state: AtomicU64,
    /// How long a call may take.
    limit: Duration,
    ruin: Mutex<Option<Ruin>>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Slot {
    /// A slot that is watched from now on; none where the thread cannot be started.
    pub(crate) fn new(limit: Duration, ruin: Ruin) -> Option<Arc<Self>> {
        let slot = Arc::new(Self { state: AtomicU64::new(0), limit, ruin: Mutex::new(Some(ruin)) });
        WATCH.thread.get_or_init(start).as_ref()?;
        let entry = Entry { slot: Arc::downgrade(&slot), state: 0, since: Instant::now() };
        WATCH.entries().push(entry);
        // Those of instances that are gone are removed when the thread looks, so it has to.
        if WATCH.asleep.load(Ordering::SeqCst) {
            WATCH.wake();
        }
        Some(slot)
    }

    /// To be called just before a call, by the thread that makes it.
    pub(crate) fn begin(&self) {
        let calls = self.state.load(Ordering::Relaxed) & !(RUNNING | EXPIRED);
        self.state.store(calls.wrapping_add(NEXT_CALL) | RUNNING, Ordering::Release);
        // The processor may read this before others see the store above, by the nanoseconds that a store takes to leave
        // its core. The thread that falls asleep waits a tick between its word and its last look, so it sees every call
        // that did not see its word. A fence here would give the same and cost as much as the rest of being watched.
        compiler_fence(Ordering::SeqCst);
        if WATCH.asleep.load(Ordering::Relaxed) {
            WATCH.wake();
        }
    }

    /// To be called just after it. Whether the call was ended for its time.
    pub(crate) fn end(&self) -> bool {
        // Only `expire` changes the state meanwhile, and only by its mark, which this takes.
        let calls = self.state.load(Ordering::Relaxed) & !(RUNNING | EXPIRED);
        self.state.swap(calls, Ordering::AcqRel) & EXPIRED != 0
    }

    /// Nothing is ruined after this.
    pub(crate) fn retire(&self) {
        self.ruin.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Ends the call that had `state`, if it still runs. To be repeated while it does: a guest that is taking fuel
    /// at this moment may write over the ruin.
    fn expire(&self, state: u64) {
        let ruin = self.ruin.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, to) = (state & !EXPIRED, state | EXPIRED);
        let marked = self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        if let (Some(ruin), true) = (&*ruin, marked.is_ok() || marked == Err(to)) {
            ruin();
        }
    }
}

impl Watch {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn wake(&self) {
        if let Some(Some(thread)) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self) {
        let mut idle_ticks = 0;
        loop {
            idle_ticks = if self.look(Instant::now()) { 0 } else { idle_ticks + 1 };
            if idle_ticks < IDLE_TICKS_MAX {
                std::thread::sleep(TICK);
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            // Why, stands in `Slot::begin`.
            std::thread::sleep(TICK);
            if !self.look(Instant::now()) {
                std::thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
            idle_ticks = 0;
        }
    }

    /// Looks at every slot. Whether any was called since the last look.
    fn look(&self, now: Instant) -> bool {
        let mut is_busy = false;
        self.entries().retain_mut(|entry| {
            let Some(slot) = entry.slot.upgrade() else { return false };
            let state = slot.state.load(Ordering::SeqCst);
            if state & !EXPIRED != entry.state & !EXPIRED {
                (entry.state, entry.since) = (state, now);
                is_busy = true;
            } else if state & RUNNING != 0 {
                is_busy = true;
                if now.duration_since(entry.since) >= slot.limit {
                    slot.expire(state);
                }
            }
            true
        });
        is_busy
    }
}

fn start() -> Option<Thread> {
    let thread = std::thread::Builder::new().name("llmdb-wasm-watch".to_owned()).spawn(|| WATCH.run());
    Some(thread.ok()?.thread().clone())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    fn counting(limit: Duration) -> (Arc<Slot>, Arc<AtomicU32>) {
        let ruined = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&ruined);
        let ruin = Box::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        (Slot::new(limit, ruin).expect("a thread"), ruined)
    }

    fn wait_for(what: impl Fn() -> bool) {
        let started = Instant::now();
        while !what() {
            assert!(started.elapsed() < Duration::from_secs(60), "it never happened");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_call_over_its_time_is_ruined_again_and_again_until_it_ends() {
        let (slot, ruined) = counting(Duration::from_millis(20));
        slot.begin();
        wait_for(|| ruined.load(Ordering::SeqCst) > 3);
        assert!(slot.end());
        slot.begin();
        assert!(!slot.end(), "the next call starts anew");
    }

    #[test]
    fn calls_within_their_time_are_left_alone() {
        let (slot, ruined) = counting(Duration::from_secs(600));
        for _ in 0..100_000 {
            slot.begin();
            assert!(!slot.end());
        }
        assert_eq!(ruined.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_call_after_the_thread_fell_asleep_is_watched() {
        let (slot, ruined) = counting(Duration::from_millis(1));
        slot.begin();
        wait_for(|| ruined.load(Ordering::SeqCst) > 0);
        slot.end();
        // Other tests may keep it awake; then this only waits.
        std::thread::sleep(TICK * (IDLE_TICKS_MAX + 50));
        let before = ruined.load(Ordering::SeqCst);
        slot.begin();
        wait_for(|| ruined.load(Ordering::SeqCst) > before);
        assert!(slot.end());
    }

    #[test]
    fn nothing_is_ruined_after_retirement() {
        let (slot, ruined) = counting(Duration::ZERO);
        slot.begin();
        slot.retire();
        let before = ruined.load(Ordering::SeqCst);
        std::thread::sleep(TICK * 10);
        assert_eq!(ruined.load(Ordering::SeqCst), before);
        slot.end();
    }
}
