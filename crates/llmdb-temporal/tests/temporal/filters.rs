//! Filters of keys deny nothing that was, however they are completed.

use llmdb_temporal::Period;

use crate::support::{Bench, span};

#[test]
fn filters_deny_no_key_that_was_and_most_that_were_not() {
    let mut bench = Bench::new(5);
    let key = |number: u32| [b"key ".to_vec(), number.to_be_bytes().to_vec()].concat();
    let put = |bench: &Bench, keys: std::ops::Range<u32>, keep: bool| {
        let mut tx = bench.db().begin_write().unwrap();
        for number in keys {
            tx.put("c", &key(number), Period::ALL, b"v").unwrap();
            if number % 3 == 0 {
                tx.put("c", &key(number), span(2, 3), b"w").unwrap();
            }
        }
        if keep {
            tx.keep_filter("c").unwrap();
            tx.put("c", b"after", Period::ALL, b"").unwrap();
        }
        tx.commit().unwrap();
    };
    put(&bench, 0..2_000, false);
    let check = |bench: &Bench, count: u32| {
        let read = bench.db().begin_read().unwrap();
        let filter = read.filter("c").unwrap();
        let history = read.collection("c").unwrap().unwrap();
        for number in 0..count {
            assert!(filter.may_exist(&key(number)));
            assert!(number % 3 > 0 || filter.may_have_history(&key(number)));
            assert_eq!(history.has_history(&key(number)).unwrap(), number % 3 == 0);
        }
        let absent = (count..count + 20_000).filter(|number| filter.may_exist(&key(*number))).count();
        let unchanged = (0..count).filter(|number| number % 3 > 0 && filter.may_have_history(&key(*number)));
        println!("{count} keys: {absent} of 20,000 not denied, {} taken for changed", unchanged.count());
        assert!(absent < 20_000 / 25, "{absent}");
        read.check(&mut |_, _| {}).unwrap();
    };
    check(&bench, 2_000);
    put(&bench, 2_000..3_000, true);
    check(&bench, 3_000);
    assert!(bench.db().begin_read().unwrap().filter("c").unwrap().may_exist(b"after"));
    put(&bench, 3_000..3_500, false);
    bench.reopen().unwrap();
    check(&bench, 3_500);
    assert!(!bench.db().begin_read().unwrap().filter("none").unwrap().may_exist(b"x"));
    let stored = |bench: &Bench| {
        let read = bench.db().store().begin_read().unwrap();
        read.tree("temporal/5/filters").unwrap().unwrap().len()
    };
    assert_eq!(stored(&bench), 2);
    let mut tx = bench.db().begin_write().unwrap();
    assert!(tx.erase("c", &key(7), "a test").unwrap());
    tx.commit().unwrap();
    assert_eq!(stored(&bench), 0);
    assert!(bench.db().begin_read().unwrap().filter("c").unwrap().may_exist(&key(8)));
}

#[test]
fn a_filter_kept_in_the_first_commit_knows_the_keys_put_after_it() {
    let bench = Bench::new(6);
    let mut tx = bench.db().begin_write().unwrap();
    tx.put("c", b"before", Period::ALL, b"").unwrap();
    tx.keep_filter("c").unwrap();
    tx.put("c", b"behind", Period::ALL, b"").unwrap();
    tx.put("c", b"behind", span(1, 2), b"other").unwrap();
    assert_eq!(tx.commit().unwrap().commit.get(), 0);
    let read = bench.db().begin_read().unwrap();
    let filter = read.filter("c").unwrap();
    assert!(filter.may_exist(b"before") && filter.may_exist(b"behind"));
    assert!(filter.may_have_history(b"behind"));
    read.check(&mut |_, _| {}).unwrap();
}
