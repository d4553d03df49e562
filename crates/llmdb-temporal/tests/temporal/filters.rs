//! Filters of keys deny nothing that was, however they are completed.

use llmdb_temporal::{CommitNumber, Known, Period};

use crate::support::{Bench, at, span};

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

#[test]
fn letting_history_go_leaves_filters_that_deny_nothing() {
    let bench = Bench::new(7);
    let commit = |make: &dyn Fn(&mut llmdb_temporal::TemporalWrite)| {
        let mut tx = bench.db().begin_write().unwrap();
        make(&mut tx);
        tx.commit().unwrap()
    };
    commit(&|tx| {
        tx.put("c", b"gone", Period::ALL, b"0").unwrap();
        tx.put("c", b"cut", span(0, 10), b"0").unwrap();
    });
    commit(&|tx| tx.keep_filter("c").unwrap());
    commit(&|tx| {
        tx.delete("c", b"gone", Period::ALL).unwrap();
        // This operation goes with the history, and what it did stays.
        tx.delete("c", b"cut", span(5, 10)).unwrap();
        tx.put("c", b"short", Period::ALL, b"2").unwrap();
        tx.put("c", b"late", Period::ALL, b"2").unwrap();
    });
    let mark = commit(&|tx| tx.delete("c", b"short", Period::ALL).unwrap());
    commit(&|tx| assert_eq!(tx.retain(mark.at).unwrap().unwrap().commit, mark.commit));
    let read = bench.db().begin_read().unwrap();
    let (filter, collection) = (read.filter("c").unwrap(), read.collection("c").unwrap().unwrap());
    for key in [&b"gone"[..], b"cut", b"short", b"late"] {
        assert!(filter.may_exist(key) || !collection.was_ever(key).unwrap(), "{key:?}");
        assert!(filter.may_have_history(key) || !collection.has_history(key).unwrap(), "{key:?}");
    }
    assert!(collection.has_history(b"cut").unwrap());
    let value = read.get_value("c", b"cut", at(3), Known::Commit(3)).unwrap();
    assert_eq!((value.as_deref(), mark.commit), (Some(&b"0"[..]), CommitNumber::new(3)));
    read.check(&mut |_, _| {}).unwrap();
}
