//! The reader table in the orders of its steps that the memory model allows: `src/readers.rs` as it is, with
//! small segments.
//!
//! A state that the writer has dropped is written to here ([`Life`]); so a reader that still holds it, or whose
//! last look is not ordered before the drop, is a data race, which the model reports. The same holds for the
//! owner. The model counts what keeps an owner, and reports what is never given back.
//!
//! The model takes sequentially consistent accesses for weaker ones. Here each such access reads the latest
//! value, as one order of all of them demands, and passes on no more than an acquiring load or a releasing
//! store does (`mod atomic`). So a `SeqCst` load of the table that is weakened is found; a store or an exchange
//! of which only the `SeqCst` is taken away is not, nor is a reader's stale look at the number of the newest
//! state, for the model never lets a store wait behind a later load.

/// The module that `readers.rs` takes its atomics from.
mod atomic {
    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
    pub(crate) use loom::thread::yield_now;
    pub(crate) use model_local as thread_local;
    pub(crate) use std::sync::atomic::Ordering;

    pub(crate) const SEGMENT: usize = 2;
    pub(crate) const SEGMENTS_MAX: usize = 2;

    /// A thread's own in the model, whose values are made when they are first used.
    macro_rules! model_local {
        ($(#[$attribute:meta])* static $name:ident: $type:ty = const $value:block;) => {
            loom::thread_local! {
                $(#[$attribute])*
                static $name: $type = $value
            }
        };
    }
    pub(crate) use model_local;

    /// An atomic with a door of its own for `SeqCst`; `$same` is any value.
    macro_rules! atomic {
        ($name:ident $(<$param:ident>)?, $value:ty, $same:expr) => {
            pub(crate) struct $name $(<$param>)? (loom::sync::atomic::$name $(<$param>)?);

            impl $(<$param>)? $name $(<$param>)? {
                pub(crate) fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    match order {
                        // Comparing reads the latest value; what it may store is what was there.
                        Ordering::SeqCst => {
                            let found = self.0.compare_exchange(
                                $same,
                                $same,
                                Ordering::Acquire,
                                Ordering::Acquire,
                            );
                            found.unwrap_or_else(|found| found)
                        }
                        order => self.0.load(order),
                    }
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    match order {
                        Ordering::SeqCst => {
                            self.0.swap(value, Ordering::Release);
                        }
                        order => self.0.store(value, order),
                    }
                }
            }

            impl $(<$param>)? std::fmt::Debug for $name $(<$param>)? {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str(stringify!($name))
                }
            }
        };
    }

    atomic!(AtomicBool, bool, false);
    atomic!(AtomicU64, u64, 0);
    atomic!(AtomicUsize, usize, 0);
    atomic!(AtomicPtr<T>, *mut T, std::ptr::null_mut());

    impl AtomicU64 {
        pub(crate) fn compare_exchange(
            &self,
            from: u64,
            to: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.0.compare_exchange(from, to, success, failure)
        }
    }

    impl AtomicUsize {
        pub(crate) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_add(value, order)
        }
    }
}

#[path = "../src/readers.rs"]
#[expect(dead_code, reason = "reports and the writer's old snapshots are not part of the model")]
mod readers;

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use readers::{Numbered, Owner, Pinned, Readers, close};

/// Looked at by whoever may look, written to by whoever ends it.
#[derive(Default)]
struct Life(UnsafeCell<()>);

impl Life {
    /// A data race, unless this is ordered before the end.
    fn look(&self) {
        self.0.with(|_| ());
    }

    /// A data race, unless all looks are ordered before this.
    fn end(&self) {
        self.0.with_mut(|_| ());
    }
}

struct State {
    number: u64,
    life: Life,
}

impl Numbered for State {
    fn number(&self) -> u64 {
        self.number
    }
}

struct Table {
    readers: Readers<State>,
    /// Outlives the table, so that a table that ended too early is a finding and not a crash.
    life: std::sync::Arc<Life>,
}

impl Owner for Table {
    type State = State;

    fn readers(&self) -> &Readers<State> {
        &self.readers
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.life.end();
    }
}

/// All states that there will be, numbered from 1. They stay in memory for as long as the model runs, dropped
/// or not.
fn states(count: u64) -> Vec<Arc<State>> {
    (1..=count).map(|number| Arc::new(State { number, life: Life::default() })).collect()
}

fn table(first: &Arc<State>) -> Arc<Table> {
    let table = Table { readers: Readers::new(first.clone()), life: std::sync::Arc::default() };
    Arc::new(table)
}

fn look(held: &Pinned<Table>) {
    held.owner().life.look();
    held.state().life.look();
}

/// Publishes the states from the second on, with a look at the table after each; ends what it dropped.
fn write(table: &Table, states: &[Arc<State>]) {
    let mut old = vec![&states[0]];
    for state in &states[1..] {
        table.readers.publish(state.clone());
        let open = table.readers.open_numbers();
        old.retain(|old| {
            let is_open = open.contains(&old.number);
            if !is_open {
                old.life.end();
            }
            is_open
        });
        old.push(state);
    }
}

/// Runs a model with at most so many switches of thread where none is needed.
fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

/// Readers that begin, clone and end while the writer publishes and drops: whoever holds a state looks at it
/// before it is dropped, and nothing stays that nobody holds.
fn publish_against(preemptions: usize, readers: usize, published: u64, clones: bool) {
    model(preemptions, move || {
        let states = states(1 + published);
        let table = table(&states[0]);
        // The slots are there before.
        drop(Pinned::newest(&table));
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                let table = table.clone();
                thread::spawn(move || {
                    let held = Pinned::newest(&table);
                    look(&held);
                    if clones {
                        let again = held.clone();
                        drop(held);
                        look(&again);
                    }
                })
            })
            .collect();
        write(&table, &states);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(table.readers.open_numbers(), [1 + published]);
        assert_eq!(table.readers.open_count(), 0);
        close(&table);
    });
}

#[test]
fn one_reader_never_holds_a_dropped_state() {
    publish_against(4, 1, 2, false);
}

#[test]
fn a_clone_keeps_what_it_was_made_of() {
    publish_against(3, 1, 2, true);
}

#[test]
fn two_readers_never_hold_a_dropped_state() {
    publish_against(2, 2, 2, false);
}

/// A clone that goes to slots that another reader makes during a look, while what it was made of ends.
#[test]
fn a_clone_in_new_slots_keeps_what_it_was_made_of() {
    model(2, || {
        let states = states(2);
        let table = table(&states[0]);
        let first = Pinned::newest(&table);
        let held = Pinned::newest(&table);
        let theirs = table.clone();
        let grower = thread::spawn(move || look(&Pinned::newest(&theirs)));
        let cloner = thread::spawn(move || {
            let again = held.clone();
            drop(held);
            look(&again);
        });
        drop(first);
        write(&table, &states);
        grower.join().unwrap();
        cloner.join().unwrap();
        assert_eq!(table.readers.open_numbers(), [2]);
        close(&table);
    });
}

/// Handles end while snapshots end and are cloned: the owner ends once, after the last look at it, and no
/// count of it is left.
fn close_against(preemptions: usize, ends: usize, clones: usize) {
    model(preemptions, move || {
        let states = states(1);
        let table = table(&states[0]);
        let life = table.life.clone();
        let held: Vec<_> = (0..ends + clones).map(|_| Pinned::newest(&table)).collect();
        let threads: Vec<_> = held
            .into_iter()
            .enumerate()
            .map(|(index, held)| {
                thread::spawn(move || {
                    if index < clones {
                        let again = held.clone();
                        drop(held);
                        look(&again);
                    } else {
                        look(&held);
                    }
                })
            })
            .collect();
        close(&table);
        drop(table);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(std::sync::Arc::strong_count(&life), 1, "the owner has ended");
    });
}

#[test]
fn a_close_against_ends_gives_each_count_back_once() {
    close_against(4, 2, 0);
}

#[test]
fn a_close_against_a_clone_gives_each_count_back_once() {
    close_against(3, 0, 1);
}

#[test]
fn a_close_against_a_clone_and_an_end_gives_each_count_back_once() {
    close_against(2, 1, 1);
}
