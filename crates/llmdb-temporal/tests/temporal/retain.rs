//! Letting history go: what is kept stays as it was, what is not is refused, and what may go goes.

use std::ops::Bound::Unbounded;

use llmdb_temporal::{CommitNumber, Error, Known, Period, TemporalRead, Version};
use proptest::test_runner::{Config, TestRunner};

use crate::oracle::Oracle;
use crate::script::{COLLECTIONS, KEYS, Transaction, play, script};
use crate::support::{BLOCK_SIZES, Bench, at, cases, time};

/// Sets the mark at a commit, in a transaction of its own that the model knows of.
fn retain(bench: &Bench, oracle: &mut Oracle, mark: i64) {
    let mut tx = bench.db().begin_write().unwrap();
    oracle.times.push(tx.time().micros());
    let found = tx.retain(time(oracle.times[mark as usize])).unwrap();
    assert_eq!(found, (mark > 0).then(|| oracle.stamp(mark)));
    tx.commit().unwrap();
}

/// The rectangles of the model that stood at the mark or later, as they are told of.
fn kept(oracle: &Oracle, collection: &str, key: &[u8], mark: i64) -> Vec<Version> {
    let mut rows = oracle.versions(collection, key);
    let mark = CommitNumber::new(mark as u64);
    rows.retain(|row| row.known_to.is_none_or(|to| to.commit > mark));
    for row in &mut rows {
        row.known_from = row.known_from.max(oracle.stamp(mark.get() as i64));
    }
    rows.sort_by_key(|row| (row.known_from, row.valid));
    rows
}

/// A key of which nothing is left at the mark or later is forgotten, and no other.
fn compare_forgotten(bench: &Bench, oracle: &Oracle, mark: i64) {
    let read = bench.db().begin_read().unwrap();
    for name in COLLECTIONS {
        let Some(collection) = read.collection(name).unwrap() else { continue };
        let filter = read.filter(name).unwrap();
        for key in KEYS {
            let is_left = !kept(oracle, name, key, mark).is_empty();
            assert_eq!(collection.was_ever(key).unwrap(), is_left, "{key:?} from {mark} on");
            assert!(!is_left || filter.may_exist(key));
            assert!(filter.may_have_history(key) || !collection.has_history(key).unwrap());
        }
    }
}

fn compare(read: &TemporalRead, oracle: &Oracle, mark: i64) {
    assert_eq!(read.kept_from().unwrap(), (mark > 0).then(|| oracle.stamp(mark)));
    for collection in COLLECTIONS {
        if read.collection(collection).unwrap().is_none() {
            continue;
        }
        for key in KEYS {
            let rows = kept(oracle, collection, key, mark);
            assert_eq!(read.versions(collection, key).unwrap(), rows, "{key:?} from {mark} on");
            for instant in oracle.instants(collection, key) {
                let wanted: Vec<_> = rows.iter().filter(|row| row.valid.contains(instant)).cloned().collect();
                assert_eq!(read.history(collection, key, instant).unwrap(), wanted);
                for commit in -1..=oracle.newest() {
                    let known = Known::Commit(commit);
                    let found = read.get(collection, key, instant, known);
                    let value = read.get_value(collection, key, instant, known);
                    if mark > 0 && commit < mark {
                        assert!(
                            matches!(&found, Err(Error::NotKept { .. })),
                            "{commit} of {mark}: {found:?}"
                        );
                        let names_it = |named: &Option<Vec<u8>>| named.as_deref() == Some(key);
                        assert!(matches!(&value, Err(Error::NotKept { key, .. }) if names_it(key)));
                        continue;
                    }
                    let number = CommitNumber::new(commit.max(0) as u64);
                    let stood = |row: &&Version| {
                        row.known_from.commit <= number && row.known_to.is_none_or(|to| number < to.commit)
                    };
                    let wanted = rows.iter().filter(stood).find(|row| row.valid.contains(instant));
                    let wanted = wanted.filter(|_| commit >= 0);
                    assert_eq!(found.unwrap().as_ref(), wanted, "{key:?} at {instant} known {commit}");
                    assert_eq!(value.unwrap().as_deref(), wanted.map(|row| &row.value[..]));
                }
            }
        }
        compare_between_commits(read, oracle, collection, mark);
    }
    let report = read.check(&mut |_, _| {}).unwrap();
    assert!(report.operations <= oracle.ops.len() as u64);
}

fn compare_between_commits(read: &TemporalRead, oracle: &Oracle, collection: &str, mark: i64) {
    for from in mark.max(0)..=oracle.newest() {
        let known = Known::Commit(from);
        let found = read.diff(collection, known, Known::Latest, (Unbounded, Unbounded)).unwrap();
        let keys = oracle.keys(collection);
        let wanted: Vec<_> =
            keys.iter().flat_map(|key| oracle.diff(collection, key, from, oracle.newest())).collect();
        assert_eq!(found.collect::<Result<Vec<_>, _>>().unwrap(), wanted);
        let found = read.changes(Some(collection), known, Known::Latest).unwrap();
        let wanted = oracle.changes(Some(collection), from, oracle.newest());
        assert_eq!(found.collect::<Result<Vec<_>, _>>().unwrap(), wanted);
    }
    if mark > 0 {
        let before = Known::Commit(mark - 1);
        assert!(matches!(read.changes(None, before, Known::Latest), Err(Error::NotKept { .. })));
        let diff = read.diff(collection, Known::Latest, before, (Unbounded, Unbounded));
        assert!(matches!(diff.map(|_| ()), Err(Error::NotKept { .. })));
        let scan = read.scan(collection, Unbounded, Unbounded, at(0), before);
        assert!(matches!(scan.map(|_| ()), Err(Error::NotKept { .. })));
        assert!(matches!(
            read.timeline(collection, KEYS[0], Period::ALL, before),
            Err(Error::NotKept { .. })
        ));
    }
}

#[test]
fn what_is_kept_stays_as_it_was_and_goes_on() {
    let config = Config { cases: cases(120), failure_persistence: None, ..Config::default() };
    let strategy = (script(1..8), script(0..6), 0..BLOCK_SIZES.len(), proptest::arbitrary::any::<u16>());
    TestRunner::new(config)
        .run(&strategy, |(first, second, size, moment)| {
            let (mut bench, mut oracle) = (Bench::with_blocks(6, BLOCK_SIZES[size]), Oracle::default());
            let play = |bench: &mut Bench, oracle: &mut Oracle, script: &[Transaction]| {
                script.iter().for_each(|transaction| play(bench, oracle, transaction));
            };
            let mut tx = bench.db().begin_write().unwrap();
            oracle.times.push(tx.time().micros());
            tx.index_starts(COLLECTIONS[0]).unwrap();
            tx.keep_filter(COLLECTIONS[0]).unwrap();
            tx.commit().unwrap();
            play(&mut bench, &mut oracle, &first);
            let mark = i64::from(moment) % (oracle.newest() + 1);
            retain(&bench, &mut oracle, mark);
            if mark > 0 {
                compare_forgotten(&bench, &oracle, mark);
            }
            compare(&bench.db().begin_read().unwrap(), &oracle, mark);
            play(&mut bench, &mut oracle, &second);
            compare(&bench.db().begin_read().unwrap(), &oracle, mark);
            // An earlier mark changes nothing, a later one lets more go.
            let mut tx = bench.db().begin_write().unwrap();
            let again = tx.retain(time(oracle.times[0])).unwrap();
            assert_eq!(again, (mark > 0).then(|| oracle.stamp(mark)));
            drop(tx);
            let later = mark + i64::from(moment / 7) % (oracle.newest() + 1 - mark);
            retain(&bench, &mut oracle, later);
            bench.reopen().unwrap();
            if later > mark {
                compare_forgotten(&bench, &oracle, later);
            }
            compare(&bench.db().begin_read().unwrap(), &oracle, later);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn half_of_the_history_goes_with_its_blocks_and_values() {
    let bench = Bench::with_blocks(1, BLOCK_SIZES[2]);
    let len = |name: &str| {
        let txn = bench.db().store().begin_read().unwrap();
        txn.tree(name).unwrap().map_or(0, |tree| tree.len())
    };
    for number in 0..400i64 {
        let mut tx = bench.db().begin_write().unwrap();
        // One key is written anew at one instant, the other goes on.
        tx.put("c", b"anew", Period::since(at(0)), &number.to_le_bytes()).unwrap();
        tx.put("c", b"on", Period::since(at(number)), &number.to_le_bytes()).unwrap();
        tx.commit().unwrap();
    }
    let before = (len("temporal/5/ops"), len("temporal/5/past/0"));
    let mut tx = bench.db().begin_write().unwrap();
    let mark = bench.db().begin_read().unwrap().resolve(Known::Commit(200)).unwrap().unwrap();
    assert_eq!(tx.retain(mark.at).unwrap(), Some(mark));
    tx.commit().unwrap();
    let after = (len("temporal/5/ops"), len("temporal/5/past/0"));
    // All of "on" still stands; of "anew" go the values of before the mark, and the blocks of half its life.
    assert_eq!(before.0 - after.0, 200);
    assert!(before.1 - after.1 >= 30, "{before:?} {after:?}");
    let read = bench.db().begin_read().unwrap();
    read.check(&mut |_, _| {}).unwrap();
    let value = |key: &[u8], instant, commit| {
        let value = read.get_value("c", key, at(instant), Known::Commit(commit)).unwrap().unwrap();
        i64::from_le_bytes(value.as_ref().try_into().unwrap())
    };
    assert_eq!([value(b"anew", 5, 200), value(b"anew", 5, 399)], [200, 399]);
    assert_eq!([value(b"on", 5, 200), value(b"on", 5, 399), value(b"on", 390, 300)], [5, 5, 300]);
    let error = read.get("c", b"on", at(5), Known::Commit(199)).unwrap_err();
    assert_eq!(error.code(), "LLMDB-T13");
    assert!(error.to_string().contains("commit 199") && error.to_string().contains("commit 200"), "{error}");
}

#[test]
fn keys_of_which_nothing_is_left_go_with_all_that_was_of_them() {
    let bench = Bench::with_blocks(4, BLOCK_SIZES[1]);
    let lens = || {
        let txn = bench.db().store().begin_read().unwrap();
        ["ops", "now/0", "past/0", "ranges/0", "starts/0"]
            .map(|name| txn.tree(&format!("temporal/5/{name}")).unwrap().map_or(0, |tree| tree.len()))
    };
    let key = |number: u32| [b"key ".to_vec(), number.to_be_bytes().to_vec()].concat();
    // More than are removed at a time; every tenth has a history with blocks, and every hundredth stays.
    let count = 9_000_u32;
    let mut tx = bench.db().begin_write().unwrap();
    tx.index_starts("c").unwrap();
    tx.put("c", b"other", Period::ALL, b"stays").unwrap();
    tx.commit().unwrap();
    let empty = lens();
    for round in 0..8 {
        let mut tx = bench.db().begin_write().unwrap();
        for number in (0..count).filter(|number| round == 0 || number % 10 == 0) {
            let from = i64::from(number % 7) + round;
            tx.put("c", &key(number), Period::since(at(from)), &number.to_le_bytes()).unwrap();
        }
        tx.commit().unwrap();
    }
    let mut tx = bench.db().begin_write().unwrap();
    (0..count).filter(|number| number % 100 > 0).for_each(|number| {
        tx.delete("c", &key(number), Period::ALL).unwrap();
    });
    let mark = tx.commit().unwrap();
    // One is written anew behind the mark, and of another only an operation without effect is recorded.
    let mut tx = bench.db().begin_write().unwrap();
    tx.put("c", &key(1), Period::ALL, b"anew").unwrap();
    tx.update("c", &key(2), Period::ALL, b"nothing to update").unwrap();
    tx.commit().unwrap();
    let before = lens();
    let mut tx = bench.db().begin_write().unwrap();
    assert_eq!(tx.retain(mark.at).unwrap().unwrap().commit, mark.commit);
    tx.commit().unwrap();
    let after = lens();
    println!("before any {empty:?}, before {before:?}, after {after:?}");
    // 90 stay, and the one that was written anew, which was not dead any more.
    assert_eq!(after[1], empty[1] + 91);
    assert!(after[2] > 90 && after[3] > 90 && after[2] * 9 < before[2] && after[3] * 9 < before[3]);
    let read = bench.db().begin_read().unwrap();
    read.check(&mut |_, _| {}).unwrap();
    let collection = read.collection("c").unwrap().unwrap();
    assert_eq!(
        [0, 1, 2, 3, 10].map(|n| collection.was_ever(&key(n)).unwrap()),
        [true, true, false, false, false]
    );
    assert_eq!(read.versions("c", &key(1)).unwrap().len(), 1);
    assert_eq!(read.scan("c", Unbounded, Unbounded, at(50), Known::At(mark.at)).unwrap().count(), 91);
    drop(read);
    // A forgotten key begins anew.
    let mut tx = bench.db().begin_write().unwrap();
    tx.put("c", &key(10), Period::since(at(3)), b"again").unwrap();
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    assert_eq!(read.get_value("c", &key(10), at(5), Known::Latest).unwrap().as_deref(), Some(&b"again"[..]));
    assert_eq!(read.get_value("c", &key(10), at(5), Known::At(mark.at)).unwrap(), None);
    read.check(&mut |_, _| {}).unwrap();
}

#[test]
fn opening_many_versions_and_a_question_read_a_few_pages_of_them() {
    let mut bench = Bench::new(2);
    for round in 0..20u32 {
        let mut tx = bench.db().begin_write().unwrap();
        for number in 0..1_000u32 {
            let value = [number.to_le_bytes(), round.to_le_bytes()].concat().repeat(12);
            tx.put("c", &number.to_be_bytes(), Period::since(at(i64::from(round))), &value).unwrap();
        }
        tx.commit().unwrap();
    }
    bench.db().store().checkpoint().unwrap();
    bench.reopen().unwrap();
    let checked = |bench: &Bench| bench.db().store().stat().unwrap().pager.checked_pages;
    let page_count = bench.db().store().stat().unwrap().pager.page_count;
    let opened = checked(&bench);
    let read = bench.db().begin_read().unwrap();
    let found = read.get_value("c", &7u32.to_be_bytes(), at(5), Known::Commit(9)).unwrap().unwrap();
    assert_eq!(found[..8], [7u32.to_le_bytes(), 5u32.to_le_bytes()].concat());
    let asked = checked(&bench);
    println!("{page_count} pages: {opened} looked at to open, {} for a question", asked - opened);
    assert!(page_count > 600 && opened <= 10 && asked - opened <= 25, "{page_count} {opened} {asked}");
}
