//! Damage of every kind to data file and log: flipped bits, stale and swapped pages, cut files, files that
//! are something else. What is read is right or an error; `check` names the page.

#[path = "support/history.rs"]
mod history;
#[path = "support/layout.rs"]
mod layout;

use history::{Model, Rng, change, small, state_of};
use layout::{Use, pages_in_use};
use llmdb_pager::Error as PagerError;
use llmdb_pager::sim::{SimDisk, SimOptions};
use llmdb_wal::{Error, Store, StoreOptions};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const DB: &str = "/d.llmdb";
const LOG: &str = "/d.llmdb-wal";
const PAGE: usize = 4096;

fn disk() -> SimDisk {
    SimDisk::with_options(SimOptions { file_capacity: 2 << 20, ..SimOptions::default() })
}

fn open(disk: &SimDisk) -> Result<Store, Error> {
    small(StoreOptions::new().storage(Arc::new(disk.clone()))).create(false).open(DB)
}

/// A database of some seeded commits, closed; the file, and what is in it.
fn database(seed: u64, commits: usize) -> (Vec<u8>, Model) {
    let disk = disk();
    let (file, model) = grow(&disk, seed, commits, Model::new());
    assert_eq!(disk.files(), [PathBuf::from(DB)], "a closed database is one file");
    (file, model)
}

/// Adds commits to the database on a disk, and closes it.
fn grow(disk: &SimDisk, seed: u64, commits: usize, mut model: Model) -> (Vec<u8>, Model) {
    let store = small(StoreOptions::new().storage(Arc::new(disk.clone()))).open(DB).unwrap();
    let mut rng = Rng(seed);
    for _ in 0..commits {
        change(&store, &mut rng, &mut model).unwrap().commit().unwrap();
    }
    store.close().unwrap();
    (disk.read_file(DB).unwrap(), model)
}

/// What a damaged file does when it is opened, checked and read.
#[derive(Debug, PartialEq)]
enum Seen {
    /// Opening failed, with this text.
    Refused(String),
    /// The check named these pages.
    Damaged(Vec<u64>),
    Nothing,
}

/// Opens, reads everything and checks. Reads give the right value or an error, or this panics.
fn look(disk: &SimDisk, right: &Model, label: &str) -> Seen {
    let store = match open(disk) {
        Ok(store) => store,
        Err(error) => return Seen::Refused(error.to_string()),
    };
    read_each(&store, right, label);
    let report =
        store.check(&mut |_, _| {}).unwrap_or_else(|error| panic!("{label}: the check stopped: {error}"));
    assert_eq!(report.leaked_pages, 0, "{label}");
    if report.damage.is_empty() {
        assert_eq!(&state_of(&store).unwrap().1, right, "{label}: a check found nothing");
        return Seen::Nothing;
    }
    Seen::Damaged(report.damage.iter().map(|damage| damage.page.0).collect())
}

fn read_each(store: &Store, right: &Model, label: &str) {
    let reader = store.begin_read().unwrap();
    for (name, records) in right {
        let Ok(tree) = reader.tree(name) else { continue };
        let Some(tree) = tree else { panic!("{label}: tree {name} has gone without an error") };
        for (key, value) in records {
            if let Ok(found) = tree.get(key) {
                assert_eq!(found, Some(value.as_slice()), "{label}: a wrong value");
            }
        }
        let scanned: Result<BTreeMap<_, _>, _> =
            tree.iter().map(|record| record.map(|(key, value)| (key, value.to_vec()))).collect();
        if let Ok(scanned) = scanned {
            assert_eq!(&scanned, records, "{label}: a wrong scan");
        }
    }
}

/// Whether what was seen names the page, or for a large value's page the first of it.
fn names(seen: &Seen, page: u64, what: Option<&Use>) -> bool {
    let named = match what {
        Some(Use::Large { start, .. }) => *start,
        _ => page,
    };
    match seen {
        Seen::Refused(text) => text.contains(&format!("page {named} ")) || text.contains("meta pages"),
        Seen::Damaged(pages) => pages.contains(&named),
        Seen::Nothing => false,
    }
}

/// Flips one bit, looks, and flips it back. What is in use must be named; what is not must not matter.
fn flip(disk: &SimDisk, in_use: &BTreeMap<u64, Use>, right: &Model, byte: u64, bit: u8) -> bool {
    let (page, offset) = (byte / PAGE as u64, (byte % PAGE as u64) as usize);
    let what = in_use.get(&page);
    let label = format!("bit {bit} of byte {byte} (page {page}, {what:?}, at {offset})");
    assert!(disk.flip_bit(DB, byte, bit));
    let seen = look(disk, right, &label);
    assert!(disk.flip_bit(DB, byte, bit));
    let matters = match what {
        None => false,
        Some(Use::Large { used, .. }) => offset < *used,
        Some(_) => true,
    };
    if matters {
        assert!(names(&seen, page, what), "{label}: {seen:?}");
    } else {
        assert_eq!(seen, Seen::Nothing, "{label}");
    }
    matters
}

#[test]
fn a_flipped_bit_in_any_page_in_use_is_named() {
    let (file, right) = database(1, 120);
    let in_use = pages_in_use(&file);
    let kinds = |wanted: fn(&Use) -> bool| in_use.values().filter(|what| wanted(what)).count();
    assert!(right.values().map(BTreeMap::len).sum::<usize>() > 200);
    assert!(kinds(|what| matches!(what, Use::Large { .. })) > 4 && kinds(|what| *what == Use::Tree) > 10);
    assert!(kinds(|what| *what == Use::Space) > 0);
    let disk = disk();
    disk.write_file(DB, &file);
    let mut rng = Rng(7);
    let (mut found, mut unused) = (0, 0);
    for page in 0..(file.len() / PAGE) as u64 {
        for _ in 0..6 {
            let (byte, bit) = (page * PAGE as u64 + rng.below(PAGE as u64), rng.below(8) as u8);
            if flip(&disk, &in_use, &right, byte, bit) { found += 1 } else { unused += 1 }
        }
    }
    println!("{found} flips in use found, {unused} in unused bytes without effect");
    assert!(found > 200 && unused > 20, "{found} {unused}");
    assert!(disk.read_file(DB).unwrap() == file, "nothing but the flips was written");
}

#[test]
fn a_flipped_bit_in_every_byte_of_a_small_database_is_found() {
    let (file, right) = database(3, 3);
    let in_use = pages_in_use(&file);
    let used_end = (in_use.keys().max().unwrap() + 2) * PAGE as u64;
    assert!(used_end <= 18 * PAGE as u64, "{used_end}");
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (file, right, in_use) = (&file, &right, &in_use);
            scope.spawn(move || {
                let disk = disk();
                disk.write_file(DB, file);
                let mut rng = Rng(half);
                for byte in (half..used_end.min(file.len() as u64)).step_by(2) {
                    flip(&disk, in_use, right, byte, rng.below(8) as u8);
                }
            });
        }
    });
}

#[test]
fn a_stale_copy_of_a_page_is_found() {
    let disk = disk();
    let (old, model) = grow(&disk, 5, 60, Model::new());
    let (new, right) = grow(&disk, 6, 60, model);
    let in_use = pages_in_use(&new);
    let mut stale = 0;
    for (page, what) in &in_use {
        let range = *page as usize * PAGE..(*page as usize + 1) * PAGE;
        let Some(before) = old.get(range.clone()).filter(|before| **before != new[range.clone()]) else {
            continue;
        };
        if *what == Use::Meta {
            continue;
        }
        disk.damage_bytes(DB, range.start as u64, before);
        let seen = look(&disk, &right, &format!("stale page {page} ({what:?})"));
        disk.damage_bytes(DB, range.start as u64, &new[range]);
        assert!(names(&seen, *page, Some(what)), "stale page {page} ({what:?}): {seen:?}");
        stale += 1;
    }
    println!("{stale} stale pages found");
    assert!(stale > 10, "{stale}");
}

#[test]
fn a_stale_copy_of_the_meta_is_not_believed() {
    let disk = disk();
    let (old, model) = grow(&disk, 5, 40, Model::new());
    let (new, right) = grow(&disk, 6, 40, model);
    for slot in 0..2 {
        let range = slot * PAGE..(slot + 1) * PAGE;
        disk.damage_bytes(DB, range.start as u64, &old[range.clone()]);
        look(&disk, &right, &format!("stale meta {slot}"));
        disk.damage_bytes(DB, range.start as u64, &new[range]);
    }
    assert_eq!(look(&disk, &right, "as it was"), Seen::Nothing);
}

#[test]
fn a_stale_copy_of_the_meta_is_named() {
    let disk = disk();
    let (old, model) = grow(&disk, 5, 40, Model::new());
    let (_, right) = grow(&disk, 6, 40, model);
    for slot in 0..2u64 {
        let kept = disk.read_file(DB).unwrap();
        disk.damage_bytes(DB, slot * PAGE as u64, &old[slot as usize * PAGE..][..PAGE]);
        let seen = look(&disk, &right, &format!("stale meta {slot}"));
        assert!(names(&seen, slot, None), "stale meta {slot}: {seen:?}");
        disk.write_file(DB, kept);
    }
}

#[test]
fn swapped_pages_are_found() {
    let (file, right) = database(8, 100);
    let in_use: Vec<(u64, Use)> =
        pages_in_use(&file).into_iter().filter(|(_, what)| *what != Use::Meta).collect();
    let disk = disk();
    disk.write_file(DB, &file);
    let mut rng = Rng(2);
    for _ in 0..250 {
        let [one, two] = [0; 2].map(|_| in_use[rng.below(in_use.len() as u64) as usize]);
        let bytes = |page: u64| &file[page as usize * PAGE..(page as usize + 1) * PAGE];
        if bytes(one.0) == bytes(two.0) {
            continue;
        }
        disk.damage_bytes(DB, one.0 * PAGE as u64, bytes(two.0));
        disk.damage_bytes(DB, two.0 * PAGE as u64, bytes(one.0));
        let label = format!("{one:?} and {two:?} swapped");
        let seen = look(&disk, &right, &label);
        assert!(names(&seen, one.0, Some(&one.1)) || names(&seen, two.0, Some(&two.1)), "{label}: {seen:?}");
        disk.damage_bytes(DB, one.0 * PAGE as u64, bytes(one.0));
        disk.damage_bytes(DB, two.0 * PAGE as u64, bytes(two.0));
    }
    assert_eq!(look(&disk, &right, "as it was"), Seen::Nothing);
}

/// Opens a file that is no whole database: the error, after making sure that nothing has changed.
fn refused(file: &[u8]) -> PagerError {
    let disk = disk();
    disk.write_file(DB, file);
    for create in [true, false] {
        let result = small(StoreOptions::new().storage(Arc::new(disk.clone()))).create(create).open(DB);
        let Err(Error::Tree(llmdb_btree::Error::Pager(error))) = result else {
            panic!("{} bytes: {result:?}", file.len())
        };
        assert!(disk.read_file(DB).unwrap() == file, "the file is untouched");
        assert_eq!(disk.files(), [PathBuf::from(DB)], "nothing is left beside it");
        if create {
            continue;
        }
        return error;
    }
    unreachable!("the loop returns")
}

#[test]
fn what_is_no_database_is_called_by_its_name() {
    assert!(matches!(refused(b""), PagerError::EmptyFile { .. }));
    let foreign = [
        b"a".to_vec(),
        b"{\"op\":\"put\"}\n".to_vec(),
        "Notes of a meeting.\n".repeat(1000).into_bytes(),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(),
        [b"SQLite format 3\0".as_slice(), &[0; 4096]].concat(),
        vec![0; 512],
        vec![0; 8192],
        vec![0xff; 100_000],
    ];
    for bytes in foreign {
        let error = refused(&bytes);
        assert!(matches!(error, PagerError::Foreign { .. }), "{} bytes: {error}", bytes.len());
    }
}

#[test]
fn a_cut_file_is_called_truncated() {
    let (file, right) = database(9, 60);
    let needed = (llmdb_pager::page::read_u64(layout::newest_meta(&file).unwrap(), 56) as usize) * PAGE;
    let lengths = (512..needed).step_by(512).chain([8, 9, 100, 4095, 4097, 8191, 8193, needed - 1]);
    for len in lengths {
        match refused(&file[..len]) {
            PagerError::Truncated { found, expected, .. } => {
                assert_eq!(found, len as u64);
                assert!(expected > found, "{len}");
            }
            other => panic!("cut to {len} of {}: {other}", file.len()),
        }
    }
    for len in 1..8 {
        let error = refused(&file[..len]);
        assert!(matches!(error, PagerError::Truncated { .. } | PagerError::Foreign { .. }), "{len}: {error}");
    }
    let disk = disk();
    disk.write_file(DB, &file[..needed]);
    assert_eq!(look(&disk, &right, "all that is needed"), Seen::Nothing);
}

#[test]
fn a_newer_format_is_called_newer_and_left_alone() {
    let (file, right) = database(10, 20);
    for (slots, sealed) in [(0..2, true), (0..2, false), (0..1, true), (1..2, true)] {
        let mut newer = file.clone();
        for slot in slots.clone() {
            let meta = &mut newer[slot * PAGE..(slot + 1) * PAGE];
            meta[8..12].copy_from_slice(&7u32.to_le_bytes());
            if sealed {
                let checksum = layout::meta_checksum(meta);
                meta[4088..].copy_from_slice(&checksum.to_le_bytes());
            }
        }
        let error = refused(&newer);
        assert!(matches!(error, PagerError::NewerVersion { found: 7, .. }), "{slots:?} {sealed}: {error}");
    }
    // In one copy, with no checksum to vouch for it, it is rot.
    let mut rotten = file;
    rotten[8..12].copy_from_slice(&7u32.to_le_bytes());
    let disk = disk();
    disk.write_file(DB, rotten);
    assert_eq!(look(&disk, &right, "one rotten version"), Seen::Damaged(vec![0]));
}

/// A database that a process left by dying: data file, log, and the states after each of its commits.
fn left_open(seed: u64, commits: usize) -> (SimDisk, Vec<Model>) {
    let disk = disk();
    let mut states = vec![grow(&disk, seed, 10, Model::new()).1];
    let store = open(&disk).unwrap();
    let mut rng = Rng(seed);
    for _ in 0..commits {
        let mut model = states.last().unwrap().clone();
        change(&store, &mut rng, &mut model).unwrap().commit().unwrap();
        states.push(model);
    }
    let image = disk.kill_image();
    drop(store);
    (image, states)
}

/// Records of a log: where each begins in the file, how long it is, its commit.
fn records(disk: &SimDisk) -> Vec<(usize, usize, u64)> {
    let (file, log) = (disk.read_file(DB).unwrap(), disk.read_file(LOG).unwrap());
    let capacity = llmdb_pager::page::read_u64(&log, 32);
    let start = llmdb_pager::page::read_u64(layout::newest_meta(&file).unwrap(), 80);
    let mut found = Vec::new();
    let mut at = 4096 + (start % capacity) as usize;
    while let Some(header) = log.get(at..at + 56) {
        let lsn = llmdb_pager::page::read_u64(header, 8);
        let len = 56 + llmdb_pager::page::read_u32(header, 48) as usize;
        if (lsn % capacity) as usize != at - 4096 || llmdb_pager::page::read_u64(header, 40) == 0 {
            break;
        }
        found.push((at, len, llmdb_pager::page::read_u64(header, 40)));
        at = (at + len).next_multiple_of(4096);
    }
    found
}

/// Opens with a log that was changed: the number of commits that are there, of those made while it was
/// open, or the error's code. Any state must be one that was.
fn open_with_log(
    disk: &SimDisk,
    log: Option<&[u8]>,
    states: &[Model],
    label: &str,
) -> Result<usize, &'static str> {
    let image = disk.kill_image();
    match log {
        Some(log) => image.write_file(LOG, log),
        None => assert!(image.remove_file(LOG)),
    }
    let store = open(&image).map_err(|error| error.code())?;
    let (seq, state) = state_of(&store).unwrap();
    let kept = seq - 10;
    assert_eq!(state, states[kept], "{label}: a wrong state");
    let report = store.check(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{label}: {report:?}");
    Ok(kept)
}

const COMMITS: usize = 12;

#[test]
fn a_flipped_bit_in_the_log_is_never_believed() {
    let (disk, states) = left_open(4, COMMITS);
    let log = disk.read_file(LOG).unwrap();
    assert_eq!(open_with_log(&disk, Some(&log), &states, "whole"), Ok(COMMITS));
    let records = records(&disk);
    assert_eq!(records.len(), COMMITS, "{records:?}");
    let mut rng = Rng(1);
    let mut flipped = |byte: usize, label: &str| {
        let mut bad = log.clone();
        bad[byte] ^= 1 << rng.below(8);
        open_with_log(&disk, Some(&bad), &states, label)
    };
    for byte in (0..48).chain([48, 100, 4095]) {
        let expected = if byte < 48 { Err("LLMDB-L01") } else { Ok(COMMITS) };
        assert_eq!(flipped(byte, "header"), expected, "header byte {byte}");
    }
    for (index, (start, len, commit)) in records.iter().enumerate() {
        let is_last = index + 1 == records.len();
        let places = (0..56).chain((56..*len).step_by(97)).chain([len - 1]);
        for place in places {
            let label = format!("record of commit {commit}, byte {place} of {len}");
            let expected = if is_last { Ok(COMMITS - 1) } else { Err("LLMDB-L02") };
            assert_eq!(flipped(start + place, &label), expected, "{label}");
        }
        let block_end = (start + len).next_multiple_of(4096);
        for place in
            [(start + len).next_multiple_of(8), block_end - 1].into_iter().filter(|place| *place < block_end)
        {
            assert_eq!(flipped(place, "zeros"), Ok(COMMITS), "zeros behind the record of commit {commit}");
        }
    }
    for place in [log.len() - 1, log.len() - 5000] {
        assert_eq!(flipped(place, "never used"), Ok(COMMITS));
    }
}

#[test]
fn two_records_in_each_others_place_are_damage() {
    let (disk, states) = left_open(4, COMMITS);
    let log = disk.read_file(LOG).unwrap();
    let records = records(&disk);
    for pair in records[..COMMITS - 1].windows(2) {
        let mut bad = log.clone();
        bad[pair[0].0..pair[0].0 + 4096].copy_from_slice(&log[pair[1].0..pair[1].0 + 4096]);
        bad[pair[1].0..pair[1].0 + 4096].copy_from_slice(&log[pair[0].0..pair[0].0 + 4096]);
        assert_eq!(open_with_log(&disk, Some(&bad), &states, "swapped"), Err("LLMDB-L02"), "{pair:?}");
    }
}

#[test]
fn a_log_that_is_missing_or_anothers_is_an_error_and_stays() {
    let (disk, states) = left_open(4, COMMITS);
    assert_eq!(open_with_log(&disk, None, &states, "missing"), Err("LLMDB-L03"));
    let (other, _) = left_open(5, COMMITS);
    let others = other.read_file(LOG).unwrap();
    assert_eq!(open_with_log(&disk, Some(&others), &states, "another's"), Err("LLMDB-L01"));
    for text in [b"".as_slice(), b"notes", &[0; 5000], &[7; 300_000]] {
        assert_eq!(open_with_log(&disk, Some(text), &states, "text"), Err("LLMDB-L01"));
    }
    let image = disk.kill_image();
    image.write_file(LOG, &others);
    let before = image.read_file(DB);
    assert!(matches!(open(&image), Err(Error::ForeignLog { .. })));
    assert!(image.read_file(DB) == before && image.read_file(LOG).unwrap() == others, "both are untouched");
    assert_eq!(image.files(), [PathBuf::from(DB), PathBuf::from(LOG)]);
}

#[test]
fn an_old_log_of_the_same_database_is_damage() {
    let disk = disk();
    let (_, model) = grow(&disk, 4, 10, Model::new());
    let store = open(&disk).unwrap();
    let mut rng = Rng(4);
    let mut states = vec![model];
    let commit = |states: &mut Vec<Model>, rng: &mut Rng| {
        let mut model = states.last().unwrap().clone();
        change(&store, rng, &mut model).unwrap().commit().unwrap();
        states.push(model);
    };
    (0..4).for_each(|_| commit(&mut states, &mut rng));
    let old_log = disk.read_file(LOG).unwrap();
    store.checkpoint().unwrap();
    (0..4).for_each(|_| commit(&mut states, &mut rng));
    let old_file = disk.read_file(DB).unwrap();
    store.checkpoint().unwrap();
    commit(&mut states, &mut rng);
    let image = disk.kill_image();
    drop(store);
    assert_eq!(open_with_log(&image, Some(&image.read_file(LOG).unwrap()), &states, "whole"), Ok(9));
    // The old data file with the new log: the log says that it continues a later one.
    image.write_file(DB, old_file);
    assert_eq!(
        open_with_log(&image, Some(&image.read_file(LOG).unwrap()), &states, "old file"),
        Err("LLMDB-L02")
    );
    // Both old: as it was then.
    assert!(open_with_log(&image, Some(&old_log), &states, "both old").is_ok_and(|kept| kept >= 4));
}

#[test]
fn a_log_of_another_length_gives_a_prefix_or_an_error() {
    let (disk, states) = left_open(4, COMMITS);
    let log = disk.read_file(LOG).unwrap();
    let longer = [log.as_slice(), &[9; 10_000]].concat();
    assert_eq!(open_with_log(&disk, Some(&longer), &states, "longer"), Ok(COMMITS));
    let records = records(&disk);
    let end = records.last().map(|(start, len, _)| start + len).unwrap();
    for len in (0..end).step_by(512).chain([47, 48, 55, 4097, end - 1, end]) {
        let whole =
            records.iter().filter(|(start, size, _)| (start + size).next_multiple_of(8) <= len).count();
        match open_with_log(&disk, Some(&log[..len]), &states, &format!("cut to {len}")) {
            Ok(kept) => assert_eq!(kept, whole, "cut to {len}"),
            Err(code) => assert!(["LLMDB-L01", "LLMDB-L02"].contains(&code), "cut to {len}: {code}"),
        }
    }
}
