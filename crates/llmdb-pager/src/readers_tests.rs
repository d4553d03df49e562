//! The reader table by itself. In a file of its own: the model of the table includes `readers.rs` as it is.

use crate::atomic::SEGMENT;
use crate::readers::{Numbered, Owner, Pinned, Readers, close};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
