//! `docs/format.md` is true of collections: its tables are those of the source, and the trees that a history left
//! behind decode by hand to what it did.

use llmdb_pager::sim::SimDisk;
use llmdb_temporal::{CommitTime, Known, Period, Temporal, ValidTime};
use llmdb_wal::StoreOptions;
use std::sync::Arc;

const DOC: &str = include_str!("../../../docs/format.md");
/// The tables that this crate owns, and the files whose head they stand in.
const TABLES: &[(&str, &str)] = &[
    ("temporal/catalog", include_str!("../src/catalog.rs")),
    ("temporal/key", include_str!("../src/encoding.rs")),
    ("temporal/entry", include_str!("../src/entry.rs")),
    ("temporal/recent", include_str!("../src/recent.rs")),
    ("temporal/block", include_str!("../src/block.rs")),
    ("temporal/ranges", include_str!("../src/ranges.rs")),
    ("temporal/fronts", include_str!("../src/fronts.rs")),
    ("temporal/starts", include_str!("../src/starts.rs")),
    ("temporal/filter", include_str!("../src/filter.rs")),
    ("temporal/operation", include_str!("../src/ops.rs")),
    ("temporal/erasure", include_str!("../src/erase.rs")),
];

type Records = Vec<(Vec<u8>, Vec<u8>)>;

#[test]
fn each_table_of_the_document_is_the_one_in_the_source() {
    for (name, source) in TABLES {
        let table = table_of(DOC, name).unwrap_or_else(|| panic!("docs/format.md has no table {name}"));
        let found = tables_in(source).contains(&table);
        assert!(found, "the table {name} in docs/format.md is not the one in the source:\n{table}");
    }
    assert_eq!(named_tables("temporal/"), TABLES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn the_example_of_a_stored_key_is_what_is_stored() {
    let example = "61 00 ff 62 00 01 80 00 00 00 00 00 00 01 ff ff ff ff ff ff ff ff";
    assert!(DOC.contains(&format!("`{example}`")));
    let bytes: Vec<u8> = example.split(' ').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    let history = open();
    for instant in 1..60 {
        put(&history, instant, "c", b"a\0b", Period::since(at(60 - instant)), b"v");
    }
    let starts: Vec<_> = tree(&history, "temporal/5/past/0").into_iter().map(|(key, _)| key).collect();
    assert!(starts.iter().all(|key| key.starts_with(&bytes[..6]) && key.len() == bytes.len()));
    let behind = |key: &[u8]| (key[6..14].to_vec(), key[14..].to_vec());
    assert!(starts.iter().any(|key| behind(key) == (vec![0; 8], bytes[14..].to_vec())), "{starts:?}");
    assert_eq!(time(1), bytes[6..14]);
}

#[test]
fn the_longest_key_is_the_one_in_tuning_md() {
    let tuning = include_str!("../../../docs/tuning.md");
    let row = "| key in a collection | 18 bytes less than that, and a zero byte counts twice: 1,262 bytes at 4 KiB |";
    assert!(tuning.lines().any(|line| line == row), "docs/tuning.md has no row `{row}`");
    let history = open();
    let mut txn = history.begin_write().unwrap();
    for (key, fits) in
        [(vec![b'k'; 1262], true), (vec![b'k'; 1263], false), (vec![0; 631], true), (vec![0; 632], false)]
    {
        assert_eq!(txn.put("c", &key, Period::ALL, b"").is_ok(), fits, "{} bytes", key.len());
    }
}

#[test]
fn the_trees_of_a_history_decode_by_hand() {
    let history = history();
    let names = history.store().begin_read().unwrap().tree_names().unwrap();
    let expected =
        ["catalog", "commits", "now/0", "now/1", "ops", "past/0", "past/1", "ranges/0", "ranges/1", "times"];
    assert_eq!(names, expected.map(|name| format!("temporal/5/{name}")));

    let catalog = tree(&history, "temporal/5/catalog");
    assert_eq!(catalog, [(b"prices".to_vec(), vec![0; 4]), (b"z".to_vec(), vec![1, 0, 0, 0])]);
    // The store counts commits from 1, collections from 0.
    let commits = [(big(0), little(-9)), (big(1), little(500))];
    assert_eq!(tree(&history, "temporal/5/commits"), commits);
    let times = [(time(-9), little(0)), (time(500), little(1))];
    assert_eq!(tree(&history, "temporal/5/times"), times);
    assert_eq!(history.store().begin_read().unwrap().seq(), 2);

    // Commit 0 put "one" from 1 on; commit 1 put "two" in [3, 7).
    let key = b"a\x00\xffb\x00\x01";
    let tail = |kind: u8, at: i64, since: i64, settled: i64| {
        [&[kind][..], &little(at), &little(since), &little(settled)].concat()
    };
    let belief = |asserted: i64, index: u32| [&little(asserted)[..], &index.to_le_bytes()].concat();
    let shorts =
        |numbers: &[u16]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let halves =
        |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let words = |numbers: &[i64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    const STANDS: u16 = u16::MAX;
    let columns = [shorts(&[0, 1, STANDS, STANDS, 0, 1]), halves(&[0, 0])].concat();
    let latest = [&words(&[0, 0, 1, 3])[..], &columns].concat();
    let now = [(key.to_vec(), [&tail(9, 7, 1, 1)[..], &belief(0, 0), &[2, 2], b"one", &latest].concat())];
    assert_eq!(tree(&history, "temporal/5/now/0"), now);
    assert_eq!(tree(&history, "temporal/5/past/0"), Records::new());
    assert_eq!(tree(&history, "temporal/5/ranges/0"), Records::new());

    // Commit 0 put "" always; commit 1 ended it at 5.
    let key = b"k\x00\x01";
    let columns = [shorts(&[0, STANDS, 0]), halves(&[1])].concat();
    let latest = [&[1, 2][..], &words(&[0, 0, i64::MIN]), &columns].concat();
    assert_eq!(tree(&history, "temporal/5/now/1"), [(key.to_vec(), [tail(8, 5, 1, 1), latest].concat())]);
    assert_eq!(tree(&history, "temporal/5/past/1"), Records::new());

    // Of more than seven break points, all but the last go into a block.
    for instant in 0..6 {
        put(&history, 600 + instant, "z", b"k", Period::since(at(10 + instant)), b"v");
    }
    const ALL_BITS: u32 = u32::MAX;
    let places = words(&[i64::MIN, 5, 10, 11, 12, 13, 14]);
    let head = [&[4, 0, 7, 0][..], &words(&[0, 0, 7, 0]), &places].concat();
    let columns = [
        halves(&[0, 1, 2, 3, 4, 5, 6]),
        halves(&[ALL_BITS; 7]),
        halves(&[0, ALL_BITS, 2, 3, 4, 5, 6]),
        halves(&[1, 0, 0, 0, 0, 0, 0]),
    ];
    let block = ([&key[..], &[0; 8], &[0xff; 8]].concat(), [head, columns.concat()].concat());
    assert_eq!(tree(&history, "temporal/5/past/1"), [block]);
    let record = [&tail(13, 15, 7, 7)[..], &belief(7, 0), &[0, 2], b"v", &words(&[7])].concat();
    assert_eq!(tree(&history, "temporal/5/now/1"), [(key.to_vec(), record)]);
}

#[test]
fn a_key_with_few_break_points_has_no_block_and_dead_ones_stand_beside_the_last() {
    let history = open();
    put(&history, 1, "c", b"k", Period::since(at(10)), b"old");
    let key = b"k\x00\x01".to_vec();
    let record = |kind: u8, commit: i64, value: &[u8]| {
        let times = [little(10), little(commit), little(commit), little(commit)].concat();
        [&[kind][..], &times, &[0; 4], value].concat()
    };
    assert_eq!(tree(&history, "temporal/5/now/0"), [(key.clone(), record(1, 0, b"old"))]);
    assert_eq!(tree(&history, "temporal/5/past/0"), Records::new());
    put(&history, 2, "c", b"k", Period::since(at(10)), b"new");
    let columns = [&[0, 0, 1, 0, 0, 0][..], &[0; 4]].concat();
    let latest = [&little(0)[..], &little(0), &little(10), &columns].concat();
    assert_eq!(
        tree(&history, "temporal/5/now/0"),
        [(key, record(9, 1, &[&[1, 2][..], b"new", &latest].concat()))]
    );
    assert_eq!(tree(&history, "temporal/5/past/0"), Records::new());
    let read = history.begin_read().unwrap();
    let then = read.get("c", b"k", at(11), Known::Commit(0)).unwrap().unwrap();
    assert_eq!(then.value, b"old");
}

#[test]
fn the_recorded_operations_decode_by_hand() {
    let history = history();
    let recorded = |commit: u8, place: u8| vec![0, commit, place];
    let operation = |kind: u8, collection: u32, from: i64, to: i64, key: &[u8], value: &[u8]| {
        let mut bytes = vec![kind];
        bytes.extend(collection.to_le_bytes());
        bytes.extend([from, to].map(i64::to_le_bytes).concat());
        bytes.extend((key.len() as u32).to_le_bytes());
        [&bytes, key, value].concat()
    };
    let expected = [
        (recorded(0, 0), operation(0, 0, 1, i64::MAX, b"a\0b", b"one")),
        (recorded(0, 1), operation(3, 1, i64::MIN, i64::MAX, b"k", b"")),
        (recorded(1, 0), operation(1, 0, 3, 7, b"a\0b", b"two")),
        (recorded(1, 1), operation(2, 1, 5, i64::MAX, b"k", b"")),
    ];
    assert_eq!(tree(&history, "temporal/5/ops"), expected);
}

#[test]
fn what_was_believed_is_found_in_the_trees_by_the_documented_rule() {
    let history = open();
    let mut random = 1_u64;
    let mut below = |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % end
    };
    for commit in 0..200 {
        let mut txn = history.begin_write().unwrap();
        let from = below(90) as i64;
        let period = Period::new(at(from), at(from + 1 + below(16) as i64)).unwrap();
        match below(3) {
            0 => txn.delete("c", b"k", period).unwrap(),
            _ => txn.put("c", b"k", period, &[commit]).unwrap(),
        }
        txn.commit().unwrap();
    }
    let blocks: Vec<Block> = tree(&history, "temporal/5/past/0").iter().map(block).collect();
    let open_count = blocks.iter().filter(|block| block.until == u64::MAX).count();
    assert!(open_count > 1 && blocks.len() > open_count + 1, "{open_count} of {}", blocks.len());
    let (_, record) = tree(&history, "temporal/5/now/0").pop().unwrap();
    let latest = latest_of(&record);
    let ops = tree(&history, "temporal/5/ops");
    let read = history.begin_read().unwrap();
    for commit in 0..200 {
        for instant in -1..110 {
            let found = read.get_value("c", b"k", at(instant), Known::Commit(commit)).unwrap();
            let expected = believed(&latest, &blocks, instant, commit as u64).map(|(asserted, index)| {
                let place = [0, asserted as u8, index as u8];
                let (_, record) = ops.iter().find(|(key, _)| *key == place).unwrap();
                record[26..].to_vec()
            });
            assert_eq!(found.as_deref(), expected.as_deref(), "at {instant}, as of {commit}");
        }
    }
}

/// Valid time, since, until, asserting commit, place in it.
type Point = (i64, u64, u64, u64, u32);

struct Block {
    lo: i64,
    until: u64,
    begin: u64,
    points: Vec<Point>,
}

struct Latest {
    lo: i64,
    from: u64,
    points: Vec<Point>,
}

fn block((key, record): &(Vec<u8>, Vec<u8>)) -> Block {
    let key_word = |offset: usize| u64::from_be_bytes(key[offset..offset + 8].try_into().unwrap());
    assert_eq!((record[0], record[1]), (4, 0));
    let count = usize::from(u16::from_le_bytes([record[2], record[3]]));
    let lo = (key_word(key.len() - 16) ^ (1 << 63)).cast_signed();
    let points = columns(&record[36..], count, 4, word(record, 28));
    Block { lo, until: key_word(key.len() - 8), begin: word(record, 4), points }
}

/// The latest break points in the record of a key that has blocks.
fn latest_of(record: &[u8]) -> Latest {
    let is_value = record[0] & 3 > 0;
    assert!(record[0] & 12 == 12, "blocks, and latest ones");
    let shape = &record[if is_value { 37 } else { 25 }..];
    let (count, width) = (usize::from(shape[0]), usize::from(shape[1]));
    let others = &record[record.len() - if count > 0 { 16 + count * (12 + 3 * width) } else { 8 }..];
    let mut points = Vec::new();
    if count > 0 {
        points = columns(&others[16..], count, width, word(others, 8));
    }
    if record[0] & 16 == 0 {
        let place = |record: &[u8]| u32::from_le_bytes(record[33..37].try_into().unwrap());
        let asserted = if is_value { (word(record, 25), place(record)) } else { (u64::MAX, 0) };
        points.push((word(record, 1).cast_signed(), word(record, 9), u64::MAX, asserted.0, asserted.1));
    }
    let lo = points.iter().map(|point| point.0).min().unwrap_or(i64::MAX);
    Latest { lo, from: word(others, 0), points }
}

/// Break points whose commits are so many bytes wide.
fn columns(bytes: &[u8], count: usize, width: usize, base: u64) -> Vec<Point> {
    let number = |offset: usize, width: usize| {
        let mut number = [0; 8];
        number[..width].copy_from_slice(&bytes[offset..offset + width]);
        u64::from_le_bytes(number)
    };
    let commit = |column: usize, index: usize| {
        let number = number(8 * count + width * (column * count + index), width);
        if number == u64::MAX >> (64 - 8 * width) { u64::MAX } else { base + number }
    };
    let place = |index: usize| number(8 * count + 3 * width * count + 4 * index, 4) as u32;
    let at = |index: usize| number(8 * index, 8).cast_signed();
    (0..count).map(|n| (at(n), commit(0, n), commit(1, n), commit(2, n), place(n))).collect()
}

fn word(record: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(record[offset..offset + 8].try_into().unwrap())
}

/// Which operation asserted what was believed at an instant as of a commit, about the only key of a collection.
fn believed(latest: &Latest, blocks: &[Block], mut instant: i64, commit: u64) -> Option<(u64, u32)> {
    let in_force = |points: &[Point], instant: i64| {
        let standing = points.iter().filter(|point| point.1 <= commit && commit < point.2);
        standing.filter(|point| point.0 <= instant).max_by_key(|point| point.0).copied()
    };
    let asserted = |found: Point| (found.3 != u64::MAX).then_some((found.3, found.4));
    if instant >= latest.lo && commit >= latest.from {
        if let Some(found) = in_force(&latest.points, instant) {
            return asserted(found);
        }
        instant = latest.lo.checked_sub(1)?;
    }
    loop {
        let there = blocks.iter().filter(|block| block.begin <= commit && block.lo <= instant);
        let lo = there.map(|block| block.lo).max()?;
        let block = blocks
            .iter()
            .filter(|block| block.lo == lo && block.until > commit)
            .min_by_key(|block| block.until)?;
        if let Some(found) = in_force(&block.points, instant) {
            return asserted(found);
        }
        instant = lo.checked_sub(1)?;
    }
}

/// An empty database on a disk of its own.
fn open() -> Temporal {
    let disk = Arc::new(SimDisk::new(1));
    let store = StoreOptions::new().storage(disk).log_capacity(1 << 20).open("history").unwrap();
    Temporal::open(store).unwrap()
}

/// Two commits that use each operation once.
fn history() -> Temporal {
    let history = open();
    let mut txn = history.begin_write().unwrap();
    txn.set_time(CommitTime::from_micros(-9).unwrap()).unwrap();
    txn.put("prices", b"a\0b", Period::since(at(1)), b"one").unwrap();
    txn.insert("z", b"k", Period::ALL, b"").unwrap();
    txn.commit().unwrap();
    let mut txn = history.begin_write().unwrap();
    txn.set_time(CommitTime::from_micros(500).unwrap()).unwrap();
    txn.update("prices", b"a\0b", Period::new(at(3), at(7)).unwrap(), b"two").unwrap();
    txn.delete("z", b"k", Period::since(at(5))).unwrap();
    txn.commit().unwrap();
    history
}

fn put(history: &Temporal, time: i64, collection: &str, key: &[u8], period: Period, value: &[u8]) {
    let mut txn = history.begin_write().unwrap();
    txn.set_time(CommitTime::from_micros(time).unwrap()).unwrap();
    txn.put(collection, key, period, value).unwrap();
    txn.commit().unwrap();
}

fn tree(history: &Temporal, name: &str) -> Records {
    let read = history.store().begin_read().unwrap();
    let tree = read.tree(name).unwrap().unwrap_or_else(|| panic!("there is no tree {name}"));
    tree.iter().map(|record| record.map(|(key, value)| (key, value.to_vec())).unwrap()).collect()
}

fn at(micros: i64) -> ValidTime {
    ValidTime::from_micros(micros).unwrap()
}

/// A number whose byte order is its order.
fn big(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn little(number: i64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// A time with its sign bit flipped, big-endian.
fn time(micros: i64) -> Vec<u8> {
    let mut bytes = micros.to_be_bytes().to_vec();
    bytes[0] ^= 0x80;
    bytes
}

/// The names of the document's tables that begin with `owner`.
fn named_tables(owner: &str) -> Vec<&'static str> {
    let marks = DOC.lines().filter_map(|line| line.strip_prefix("<!-- table: ")?.strip_suffix(" -->"));
    marks.filter(|name| name.starts_with(owner)).collect()
}

/// The lines of a named table of the document.
fn table_of(doc: &str, name: &str) -> Option<String> {
    let (_, rest) = doc.split_once(&format!("<!-- table: {name} -->\n```text\n"))?;
    Some(rest.split_once("\n```\n")?.0.to_owned())
}

/// The fenced tables at the head of a source file, without their comment signs.
fn tables_in(source: &str) -> Vec<String> {
    let head = source.lines().map_while(|line| line.strip_prefix("//!"));
    let head: Vec<&str> = head.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    let head = head.join("\n");
    let blocks = head.split("```text\n").skip(1);
    blocks.filter_map(|block| Some(block.split_once("\n```")?.0.to_owned())).collect()
}
