//! Looking after a file: the check beside a writer and on several threads, the scrubber, and giving free
//! room back.

use llmdb_btree::{Database, TreeId, spawn_scrubber};
use llmdb_pager::sim::{SimDisk, SimOptions};
use llmdb_pager::{PageNumber, PagerOptions, ScrubEvent, ScrubOptions};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const TREE: &str = "records";

fn path_in(folder: &Path) -> PathBuf {
    folder.join("trees.llmdb")
}

fn key(index: u64) -> Vec<u8> {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [&mixed.to_be_bytes()[..], &index.to_be_bytes()[..]].concat()
}

fn value(index: u64) -> Vec<u8> {
    let len = if index.is_multiple_of(500) { 20_000 } else { 200 };
    vec![index as u8; len]
}

/// Inserts records under random keys, one in 500 large.
fn fill(db: &Database, range: std::ops::Range<u64>) -> TreeId {
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree(TREE).unwrap();
    for index in range {
        txn.insert(tree, &key(index), &value(index)).unwrap();
    }
    txn.commit().unwrap();
    tree
}

#[test]
fn a_check_goes_on_beside_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::create(PagerOptions::new(), path_in(folder.path())).unwrap();
    let tree = fill(&db, 0..20_000);
    let (mut told, mut round) = (0, 0);
    let report = db
        .check(&mut |done, of| {
            assert!(done >= told && done <= of, "{done} of {of} after {told}");
            told = done;
            // Commits that free what is being checked, if nothing kept it.
            if round < 12 {
                let mut txn = db.begin_write().unwrap();
                for index in (round * 1_000..(round + 1) * 1_000).step_by(2) {
                    txn.remove(tree, &key(index)).unwrap();
                    txn.insert(tree, &key(100_000 + index), &value(index)).unwrap();
                }
                txn.commit().unwrap();
                round += 1;
            }
        })
        .unwrap();
    assert!(report.is_sound(), "{:?} leaked {}", report.damage, report.leaked_pages);
    assert!(round > 3, "the check told of its progress {round} times");
    let after = db.check(&mut |_, _| {}).unwrap();
    assert!(after.is_sound(), "{:?} leaked {}", after.damage, after.leaked_pages);
    fill(&db, 300_000..300_001);
    fill(&db, 300_001..300_002);
    let used = db.pager().stat().unwrap();
    assert!(used.retired_pages < used.page_count / 4, "the check lets go of what it kept: {used:?}");
}

#[test]
fn the_report_is_the_same_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(folder.path());
    let db = Database::create(PagerOptions::new(), &path).unwrap();
    fill(&db, 0..60_000);
    let count = db.pager().stat().unwrap().page_count;
    drop(db);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for page in (100..count).step_by(301) {
        file.write_all_at(b"rot", page * 4096 + 1_000).unwrap();
    }
    let db = Database::open(PagerOptions::new(), &path).unwrap();
    let report = |threads: usize| {
        let none = |_: llmdb_pager::Page<'_>, _: Option<&()>| llmdb_pager::Below::default();
        db.pager().check_on(NonZeroUsize::new(threads).unwrap(), &none, &mut |_, _| {}).unwrap()
    };
    let one = report(1);
    assert!(one.damage.len() > 5, "{:?}", one.damage);
    assert!(one.damage.is_sorted_by_key(|damage| damage.page));
    assert_eq!(one, report(2));
    assert_eq!(one, report(7));
    assert!(!db.check(&mut |_, _| {}).unwrap().is_sound());
}

/// Rate without a bound that a test would notice.
const FAST: u64 = 1 << 40;

#[test]
fn a_scrub_finds_rot_in_any_page_and_large_value_and_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(folder.path());
    let db = Database::create(PagerOptions::new(), &path).unwrap();
    let tree = fill(&db, 0..20_000);
    let mut events = 0;
    let whole = db
        .scrub(ScrubOptions::new(FAST), &mut |_| {
            events += 1;
            if events == 3 {
                // Pages move while the pass goes on; it must not take that for damage.
                let mut txn = db.begin_write().unwrap();
                for index in (0..20_000).step_by(7) {
                    txn.remove(tree, &key(index)).unwrap();
                }
                txn.commit().unwrap();
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((whole.damage_count, whole.next), (0, None));
    drop(db);
    let db = Database::open(PagerOptions::new(), &path).unwrap();
    let sound = db.check(&mut |_, _| {}).unwrap();
    assert!(sound.is_sound());
    let count = db.pager().stat().unwrap().page_count;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for page in (50..count).step_by(97) {
        file.write_all_at(b"rot", page * 4096 + 1_000).unwrap();
    }
    drop(db);
    // Page by page, each time as another process: what a check finds, once each.
    let mut found = Vec::new();
    let mut next = Some(PageNumber(0));
    while let Some(from) = next {
        let db = Database::open(PagerOptions::new(), &path).unwrap();
        let report = db.scrub(ScrubOptions::new(FAST).from(from), &mut |event| match event {
            ScrubEvent::Damage(damage) => {
                found.push((damage.page, damage.what));
                ControlFlow::Continue(())
            }
            ScrubEvent::Reached { next, .. } if next > from => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        let after = report.unwrap().next;
        assert!(after.is_none_or(|after| after > from), "{after:?} after {from}");
        next = after;
    }
    found.sort();
    let db = Database::open(PagerOptions::new(), &path).unwrap();
    let mut expected: Vec<_> =
        db.check(&mut |_, _| {}).unwrap().damage.into_iter().map(|d| (d.page, d.what)).collect();
    expected.sort();
    assert!(expected.len() > 15, "{expected:?}");
    assert_eq!(found, expected);
}

#[test]
fn a_scrubber_holds_its_rate_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::create(PagerOptions::new(), path_in(folder.path())).unwrap();
    fill(&db, 0..20_000);
    let (sender, receiver) = channel();
    let options = ScrubOptions::new(2 << 20);
    let start = Instant::now();
    let scrubber = spawn_scrubber(db.pager(), options, Duration::from_secs(3600), move |event| {
        if let ScrubEvent::Reached { bytes, .. } = event {
            let _ = sender.send(bytes);
        }
    })
    .unwrap();
    let reached = receiver.iter().find(|bytes| *bytes > 1 << 20).unwrap();
    let least = (reached - (1 << 20)) as f64 / (2 << 20) as f64;
    assert!(start.elapsed().as_secs_f64() >= least, "{reached} bytes in {:?}", start.elapsed());
    let next = scrubber.stop().unwrap();
    assert!(next.is_some_and(|next| next > PageNumber(0)), "{next:?}");
    assert!(start.elapsed() < Duration::from_secs(60));
}

/// Removes records, and checkpoints until nothing keeps their pages.
fn thin_out(db: &Database, tree: TreeId, gone: impl Iterator<Item = u64>) {
    let mut txn = db.begin_write().unwrap();
    for index in gone {
        assert!(txn.remove(tree, &key(index)).unwrap());
    }
    txn.commit().unwrap();
    for extra in 0..2 {
        let mut txn = db.begin_write().unwrap();
        txn.insert(tree, b"last", &[extra]).unwrap();
        txn.commit().unwrap();
    }
}

fn holds(db: &Database, range: std::ops::Range<u64>) {
    let reader = db.begin_read();
    let tree = reader.tree(TREE).unwrap().unwrap();
    for index in range {
        assert_eq!(tree.get(&key(index)).unwrap(), Some(&value(index)[..]), "record {index}");
    }
}

#[test]
fn trim_gives_room_back_and_what_is_taken_again_has_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(folder.path());
    let db = Database::create(PagerOptions::new(), &path).unwrap();
    let tree = fill(&db, 0..60_000);
    thin_out(&db, tree, 2_000..60_000);
    let before = db.pager().stat().unwrap();
    let expected = db.pager().trimmable().unwrap();
    assert!(expected.freed_bytes > before.file_bytes / 2, "{expected:?} of {before:?}");
    assert_eq!(db.pager().trim().unwrap(), expected);
    let after = db.pager().stat().unwrap();
    assert_eq!(after.file_bytes, before.file_bytes, "the length stays");
    assert!(after.allocated_bytes + expected.freed_bytes <= before.allocated_bytes + (1 << 20), "{after:?}");
    assert_eq!(db.pager().trim().unwrap(), Default::default(), "once is enough");
    holds(&db, 0..2_000);
    assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
    drop(db);
    // The next process knows of no hole and takes the pages all the same.
    let db = Database::open(PagerOptions::new(), &path).unwrap();
    fill(&db, 2_000..30_000);
    let grown = db.pager().stat().unwrap();
    assert!(grown.file_bytes <= before.file_bytes + (1 << 20), "holes are used again: {grown:?}");
    assert!(grown.allocated_bytes > after.allocated_bytes);
    holds(&db, 0..30_000);
    assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
    drop(db);
    let cut = PagerOptions::new().cut_free_end(&path).unwrap();
    let len = std::fs::metadata(&path).unwrap().len();
    let db = Database::open(PagerOptions::new(), &path).unwrap();
    let stat = db.pager().stat().unwrap();
    assert_eq!((len, stat.page_count * 4096), (stat.file_bytes, len), "{cut} bytes were cut");
    fill(&db, 30_000..32_000);
    holds(&db, 0..32_000);
}

#[test]
fn a_disk_that_others_filled_after_a_trim_is_an_ordinary_error() {
    let disk = SimDisk::with_options(SimOptions {
        file_capacity: 32 << 20,
        disk_capacity: Some(20 << 20),
        ..SimOptions::default()
    });
    let options = || PagerOptions::new().storage(Arc::new(disk.clone()));
    let mut db = Database::create(options(), "db").unwrap();
    let tree = fill(&db, 0..30_000);
    thin_out(&db, tree, 1_000..30_000);
    let freed = db.pager().trim().unwrap().freed_bytes;
    assert!(freed > 4 << 20, "{freed}");
    for reopens in [false, true] {
        if reopens {
            drop(db);
            db = Database::open(options(), "db").unwrap();
        }
        let room = (20 << 20) - db.pager().stat().unwrap().allocated_bytes;
        disk.write_file("hog", vec![1; room as usize - (64 << 10)]);
        let mut txn = db.begin_write().unwrap();
        let full = (1_000..30_000)
            .try_for_each(|index| txn.insert(tree, &key(index), &value(index)).map(|_| ()))
            .and_then(|()| txn.commit());
        let error = full.expect_err("the disk is full").to_string();
        assert!(error.contains("the disk is full"), "{error}");
        holds(&db, 0..1_000);
        assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
        disk.remove_file("hog");
        fill(&db, 1_000..3_000);
        holds(&db, 0..3_000);
        thin_out(&db, tree, 1_000..3_000);
        db.pager().trim().unwrap();
    }
}

#[test]
fn a_power_cut_at_any_step_of_a_trim_loses_nothing() {
    let run = |cut: Option<u64>| {
        let disk = SimDisk::new(cut.unwrap_or(0));
        let options = PagerOptions::new().storage(Arc::new(disk.clone()));
        let db = Database::create(options, "db").unwrap();
        let tree = fill(&db, 0..3_000);
        thin_out(&db, tree, 100..3_000);
        let start = disk.op_count();
        if let Some(cut) = cut {
            disk.cut_power_at(cut);
        }
        let trimmed = db.pager().trim();
        assert!(trimmed.is_err() || trimmed.unwrap().runs > 0);
        if let Ok(mut txn) = db.begin_write() {
            let all = (100..400)
                .try_for_each(|index| txn.insert(tree, &key(index), &value(index)).map(|_| ()))
                .and_then(|()| txn.commit());
            assert_eq!(all.is_ok(), cut.is_none());
        }
        (disk, start)
    };
    let (whole, start) = run(None);
    assert!(whole.op_count() > start + 5, "{} steps", whole.op_count() - start);
    for cut in start..whole.op_count() {
        let (disk, _) = run(Some(cut));
        for seed in 0..4 {
            let image = disk.crash_image(seed);
            let options = PagerOptions::new().storage(Arc::new(image));
            let db = Database::open(options, "db").unwrap();
            let report = db.check(&mut |_, _| {}).unwrap();
            assert!(report.is_sound(), "cut at {cut}, seed {seed}: {report:?}");
            holds(&db, 0..100);
            fill(&db, 400..450);
        }
    }
}

#[test]
fn a_compact_copy_is_dense_whole_and_made_beside_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::create(PagerOptions::new(), path_in(folder.path())).unwrap();
    // 16-byte keys and 256-byte values, as the bar has it.
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree(TREE).unwrap();
    let gone = txn.create_tree("gone").unwrap();
    let other = txn.create_tree("other").unwrap();
    let empty = txn.create_tree("empty").unwrap();
    for index in 0..40_000u64 {
        txn.insert(tree, &key(index), &[index as u8; 256]).unwrap();
    }
    txn.insert(gone, b"x", b"y").unwrap();
    for len in [1, 100, 1_000, 5_000, 3_000_000] {
        txn.insert(other, &vec![7; len.min(1_280)], &vec![len as u8; len]).unwrap();
    }
    txn.commit().unwrap();
    let mut txn = db.begin_write().unwrap();
    assert!(txn.drop_tree("gone").unwrap());
    for index in (0..40_000).step_by(2) {
        txn.remove(tree, &key(index)).unwrap();
    }
    let commit = txn.commit().unwrap();
    let reader = db.begin_read();
    let dense = folder.path().join("dense.llmdb");
    let mut told = 0;
    let report = llmdb_btree::compact_to(&reader, PagerOptions::new(), &dense, &mut |done, of| {
        assert!(done >= told && done <= of);
        told = done;
        assert!(!dense.exists() || done == of, "it has its name at the end");
        let mut txn = db.begin_write().unwrap();
        txn.insert(tree, &key(1_000_000 + done), b"later").unwrap();
        txn.remove(tree, &key(done * 2 + 1)).unwrap();
        txn.commit().unwrap();
    })
    .unwrap();
    assert!(told > 20_000 && report.records == told, "{report:?}");
    let copy = Database::open(PagerOptions::new(), &dense).unwrap();
    assert_eq!(std::fs::metadata(&dense).unwrap().len(), report.file_bytes);
    let from = copy.begin_read();
    assert_eq!((from.seq(), from.time()), (commit, reader.time()));
    assert_eq!(from.tree_names().unwrap(), ["empty", "other", TREE]);
    let mut user_bytes = 0;
    for name in from.tree_names().unwrap() {
        let (old, new) = (reader.tree(&name).unwrap().unwrap(), from.tree(&name).unwrap().unwrap());
        assert_eq!(old.len(), new.len());
        let pairs: Vec<_> = new.iter().map(Result::unwrap).collect();
        assert!(old.iter().map(Result::unwrap).eq(pairs.iter().cloned()), "tree {name}");
        assert!(pairs.iter().all(|(key, value)| new.get(key).unwrap() == Some(*value)));
        user_bytes += pairs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    }
    let allocated = copy.pager().stat().unwrap().allocated_bytes;
    let ratio = allocated as f64 / user_bytes as f64;
    assert!(ratio <= 1.1, "{allocated} bytes on disk for {user_bytes}: {ratio:.3}");
    assert!(copy.check(&mut |_, _| {}).unwrap().is_sound());
    // The copy is a database like any other.
    let mut txn = copy.begin_write().unwrap();
    assert_eq!(txn.open_tree("empty").unwrap(), Some(empty));
    for index in 0..3_000 {
        txn.insert(tree, &key(index), b"new").unwrap();
        txn.remove(tree, &key(30_000 + index)).unwrap();
    }
    txn.commit().unwrap();
    assert!(copy.check(&mut |_, _| {}).unwrap().is_sound());
    let error = db.compact_to(PagerOptions::new(), &dense, &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
}

#[test]
fn a_compact_copy_of_any_shape_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    for (case, records) in [0, 1, 2, 14, 15, 16, 300, 5_000].into_iter().enumerate() {
        for long_keys in [false, true] {
            let name = format!("{case}-{long_keys}");
            let db = Database::create(PagerOptions::new(), folder.path().join(&name)).unwrap();
            let mut txn = db.begin_write().unwrap();
            let tree = txn.create_tree(TREE).unwrap();
            for index in 0..records {
                let mut key = key(index);
                if long_keys {
                    // A prefix that many share, and separators as long as can be.
                    key = [&vec![index as u8 / 64; 1_200][..], &key].concat();
                }
                txn.insert(tree, &key, &vec![1; (index * 37 % 900) as usize]).unwrap();
            }
            txn.commit().unwrap();
            let dense = folder.path().join(format!("{name}-dense"));
            let report = db.compact_to(PagerOptions::new(), &dense, &mut |_, _| {}).unwrap();
            assert_eq!(report.records, records + 1);
            let copy = Database::open(PagerOptions::new(), &dense).unwrap();
            let found = copy.check(&mut |_, _| {}).unwrap();
            assert!(found.is_sound(), "{name}: {found:?}");
            let (old, new) = (db.begin_read(), copy.begin_read());
            let (old, new) = (old.tree(TREE).unwrap().unwrap(), new.tree(TREE).unwrap().unwrap());
            assert!(old.iter().map(Result::unwrap).eq(new.iter().map(Result::unwrap)), "{name}");
            // Growing and shrinking it keeps it sound.
            let mut txn = copy.begin_write().unwrap();
            let keys: Vec<_> = old.iter().map(|record| record.unwrap().0).collect();
            for (index, key) in keys.iter().enumerate() {
                match index % 3 {
                    0 => assert!(txn.remove(tree, key).unwrap()),
                    1 => drop(txn.insert(tree, &[&key[..], b"!"].concat()[..key.len().min(1_270) + 1], b"x")),
                    _ => {}
                }
            }
            txn.commit().unwrap();
            let found = copy.check(&mut |_, _| {}).unwrap();
            assert!(found.is_sound(), "{name}: {found:?}");
        }
    }
}

#[test]
fn a_compact_copy_that_is_cut_off_leaves_no_file_of_its_name() {
    let run = |cut: Option<u64>| {
        let disk = SimDisk::new(cut.unwrap_or(0));
        let options = PagerOptions::new().storage(Arc::new(disk.clone()));
        let db = Database::create(options.clone(), "db").unwrap();
        fill(&db, 0..500);
        let start = disk.op_count();
        if let Some(cut) = cut {
            disk.cut_power_at(cut);
        }
        let made = db.compact_to(options, "dense", &mut |_, _| {});
        assert_eq!(made.is_ok(), cut.is_none(), "{made:?}");
        (disk, start)
    };
    let (whole, start) = run(None);
    let mut found = [0; 2];
    for cut in start..whole.op_count() {
        let (disk, _) = run(Some(cut));
        for seed in 0..3 {
            let image = disk.crash_image(seed);
            let there = image.files().iter().any(|path| path == Path::new("dense"));
            found[usize::from(there)] += 1;
            let options = PagerOptions::new().storage(Arc::new(image.clone()));
            if !there {
                let db = Database::open(options.clone(), "db").unwrap();
                holds(&db, 0..500);
                db.compact_to(options.clone(), "dense", &mut |_, _| {}).unwrap();
            }
            let copy = Database::open(options, "dense").unwrap();
            assert!(copy.check(&mut |_, _| {}).unwrap().is_sound());
            holds(&copy, 0..500);
        }
    }
    assert!(found[0] > 20 && found[1] > 0, "{found:?}");
}
