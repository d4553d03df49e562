//! Ordered: numbered pieces of work on several threads, their results handed over in order.
//!
//! ```text
//!   caller    tickets 0, 1, 2 ... -> threads, never more than `ahead` beyond the last result handed over
//!   threads   ticket -> work -> result, in any order
//!   caller    results wait until it is their turn -> sink
//! ```
//!
//! Invariants
//! 1. At most `ahead` results exist at a time, however slow the sink is.
//! 2. The sink sees the results in the order of their numbers; the first error in that order ends it all.
//! 3. When the call returns no thread is left.
//!
//! Not here: what the work is (`parallel`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};

/// How much, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Pieces of work.
    pub(crate) count: usize,
    pub(crate) threads: usize,
    /// Pieces begun, or done and not yet handed over, at most.
    pub(crate) ahead: usize,
}

/// Runs `work` for each number below `plan.count`, on state that `make` makes for each thread, and hands the results
/// to `sink` in order. `work` is told where to look whether everything is over. `lost` is the error for threads that
/// ended without a result.
pub(crate) fn run<S, T: Send, E: Send>(
    plan: Plan,
    make: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, &AtomicBool) -> Result<T, E> + Sync,
    sink: impl FnMut(usize, T) -> Result<(), E>,
    lost: impl FnOnce() -> E,
) -> Result<(), E> {
    let ahead = plan.ahead.max(1);
    let is_over = AtomicBool::new(false);
    let (tickets, todo) = bounded(ahead);
    let (results, done) = bounded(ahead);
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.clamp(1, plan.count.max(1)) {
            let (todo, results, is_over) = (todo.clone(), results.clone(), &is_over);
            let (make, work) = (&make, &work);
            scope.spawn(move || serve(&todo, &results, make(), |state, number| work(state, number, is_over)));
        }
        drop((todo, results));
        let outcome = hand_over(plan.count, ahead, &tickets, &done, sink, lost);
        is_over.store(true, Ordering::Relaxed);
        // Without these, threads end: no ticket comes, no result is wanted.
        drop((tickets, done));
        outcome
    })
}

fn serve<S, T, E>(
    todo: &Receiver<usize>,
    results: &Sender<(usize, Result<T, E>)>,
    mut state: S,
    mut work: impl FnMut(&mut S, usize) -> Result<T, E>,
) {
    for number in todo {
        if results.send((number, work(&mut state, number))).is_err() {
            return;
        }
    }
}

fn hand_over<T, E>(
    count: usize,
    ahead: usize,
    tickets: &Sender<usize>,
    done: &Receiver<(usize, Result<T, E>)>,
    mut sink: impl FnMut(usize, T) -> Result<(), E>,
    lost: impl FnOnce() -> E,
) -> Result<(), E> {
    let (mut next_ticket, mut next) = (0, 0);
    let mut early = BTreeMap::new();
    while next < count {
        while next_ticket < count.min(next + ahead) {
            // Never waits: no more than `ahead` tickets are out.
            if tickets.send(next_ticket).is_err() {
                return Err(lost());
            }
            next_ticket += 1;
        }
        if let Some(result) = early.remove(&next) {
            sink(next, result?)?;
            next += 1;
            continue;
        }
        match done.recv() {
            Ok((number, result)) => drop(early.insert(number, result)),
            Err(_) => return Err(lost()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn collect(plan: Plan, fails_at: Option<usize>) -> (Vec<usize>, Result<(), usize>) {
        let mut seen = Vec::new();
        let work = |state: &mut usize, number: usize, _: &AtomicBool| {
            *state += 1;
            if number % 7 == 3 {
                std::thread::sleep(Duration::from_micros(200));
            }
            if fails_at.is_some_and(|at| number >= at) { Err(number) } else { Ok(number * 10) }
        };
        let sink = |number, result| {
            assert_eq!(result, number * 10);
            seen.push(number);
            Ok(())
        };
        let outcome = run(plan, || 0, work, sink, || usize::MAX);
        (seen, outcome)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn results_come_in_order_and_the_first_error_ends_it(
            count in 0usize..80, threads in 0usize..5, ahead in 0usize..9, fails_at in 0usize..120,
        ) {
            let (seen, outcome) = collect(Plan { count, threads, ahead }, Some(fails_at));
            prop_assert_eq!(seen, (0..count.min(fails_at)).collect::<Vec<_>>());
            prop_assert_eq!(outcome, if fails_at < count { Err(fails_at) } else { Ok(()) });
        }
    }

    #[test]
    fn a_slow_sink_holds_the_threads_back() {
        let (begun, handed, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |(): &mut (), number: usize, _: &AtomicBool| {
            let ahead = begun.fetch_add(1, Ordering::SeqCst) + 1 - handed.load(Ordering::SeqCst);
            most.fetch_max(ahead, Ordering::SeqCst);
            Ok::<_, ()>(number)
        };
        let sink = |_, _| {
            std::thread::sleep(Duration::from_micros(300));
            handed.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        run(Plan { count: 200, threads: 4, ahead: 6 }, || (), work, sink, || ()).expect("no errors");
        // One more: the sink counts a result only when it has done with it.
        let most = most.into_inner();
        assert!((2..=7).contains(&most), "{most} pieces were begun ahead of the sink");
    }

    #[test]
    fn an_end_by_the_sink_is_seen_by_the_work() {
        let work = |(): &mut (), number: usize, is_over: &AtomicBool| {
            // All but the first wait for the end; without the signal this test never ends.
            while number > 0 && !is_over.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            Ok(number)
        };
        let plan = Plan { count: 50, threads: 3, ahead: 8 };
        assert_eq!(run(plan, || (), work, |_, _| Err("enough"), || "lost"), Err("enough"));
    }
}
