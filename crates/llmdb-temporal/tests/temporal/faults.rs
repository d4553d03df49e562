//! Failures of the disk under an operation, and values that are larger than a page.

use llmdb_pager::sim::{Fault, FaultKind, When};
use llmdb_temporal::{Error, Known, Period};

use crate::support::{Bench, at, span};

const C: &str = "main";
const K: &[u8] = b"k";

/// Larger than any page: it is written to the data file while the transaction goes on.
fn large(byte: u8) -> Vec<u8> {
    vec![byte; 300_000]
}

#[test]
fn large_values_survive_splits_reopening_and_stay_readable_in_the_past() {
    let mut bench = Bench::new(1);
    for (period, value) in [(span(0, 100), large(1)), (span(40, 60), large(2)), (span(50, 55), large(3))] {
        let mut tx = bench.db().begin_write().unwrap();
        tx.put(C, K, period, &value).unwrap();
        tx.commit().unwrap();
    }
    bench.reopen().unwrap();
    let read = bench.db().begin_read().unwrap();
    let value =
        |instant, commit| read.get_value(C, K, at(instant), Known::Commit(commit)).unwrap().unwrap()[0];
    let found: Vec<_> =
        [10, 45, 52, 57, 70].map(|instant| [0, 1, 2].map(|commit| value(instant, commit))).into();
    assert_eq!(found, [[1, 1, 1], [1, 2, 2], [1, 2, 3], [1, 2, 2], [1, 1, 1]]);
    assert_eq!(read.timeline(C, K, Period::ALL, Known::Latest).unwrap().len(), 5);
    read.check(&mut |_, _| {}).unwrap();
}

#[test]
fn an_operation_that_fails_in_the_store_dooms_its_transaction_and_nothing_of_it_stays() {
    // Whichever disk operation fails first, the outcome is one of two: refused as a whole, or there as a whole.
    let (mut failed_early, mut failed_at_commit, mut fine) = (0, 0, 0);
    for step in 0..40 {
        let mut bench = Bench::new(step);
        let mut tx = bench.db().begin_write().unwrap();
        tx.put(C, K, span(0, 100), &large(1)).unwrap();
        tx.commit().unwrap();
        bench.disk.inject(Fault::new(FaultKind::NoSpace, When::EachFrom(bench.disk.op_count() + step)));
        let outcome = bench.db().begin_write().and_then(|mut tx| {
            if let Err(error) = tx.put(C, K, span(40, 60), &large(2)) {
                assert!(matches!(error, Error::Store(_)), "{error}");
                let again = tx.put(C, b"other", span(0, 1), b"x").unwrap_err();
                assert!(matches!(again, Error::TransactionFailed) && again.code() == "LLMDB-T08");
                assert!(matches!(tx.commit(), Err(Error::TransactionFailed)));
                failed_early += 1;
                return Err(error);
            }
            tx.commit().inspect_err(|_| failed_at_commit += 1)
        });
        bench.disk.clear_faults();
        let image = bench.disk.crash_image(step);
        bench.continue_on(image).unwrap();
        let read = bench.db().begin_read().unwrap();
        let value = read.get_value(C, K, at(50), Known::Latest).unwrap().unwrap()[0];
        match outcome {
            Ok(_) => {
                fine += 1;
                assert_eq!(value, 2, "what was acknowledged is there");
            }
            Err(_) => assert!(value == 1 || value == 2),
        }
        assert_eq!(read.newest().map(|newest| newest.commit.get()), Some(u64::from(value) - 1));
        assert_eq!(read.get_value(C, K, at(10), Known::Latest).unwrap().unwrap()[0], 1);
        read.check(&mut |_, _| {}).unwrap();
    }
    assert!(fine > 0 && failed_early + failed_at_commit > 0, "{failed_early} {failed_at_commit} {fine}");
    assert!(failed_early > 0, "a large value is written by the operation itself");
}
