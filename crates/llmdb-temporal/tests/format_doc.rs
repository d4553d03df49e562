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
    ("temporal/operation", include_str!("../src/ops.rs")),
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
    let example = "61 00 ff 62 00 01 80 00 00 00 00 00 00 01";
    assert!(DOC.contains(&format!("`{example}`")));
    let bytes: Vec<u8> = example.split(' ').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    let history = history();
    let now = tree(&history, "temporal/1/now/0");
    assert!(now.iter().any(|(key, _)| *key == bytes), "{now:?}");
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
    let expected = ["catalog", "commits", "now/0", "now/1", "ops", "past/0", "past/1", "times"];
    assert_eq!(names, expected.map(|name| format!("temporal/1/{name}")));

    let catalog = tree(&history, "temporal/1/catalog");
    assert_eq!(catalog, [(b"prices".to_vec(), vec![0; 4]), (b"z".to_vec(), vec![1, 0, 0, 0])]);
    // The store counts commits from 1, collections from 0.
    let commits = [(big(0), little(-9)), (big(1), little(500))];
    assert_eq!(tree(&history, "temporal/1/commits"), commits);
    let times = [(time(-9), little(0)), (time(500), little(1))];
    assert_eq!(tree(&history, "temporal/1/times"), times);
    assert_eq!(history.store().begin_read().unwrap().seq(), 2);

    // Commit 0 put "one" from 1 on; commit 1 put "two" in [3, 7).
    let key = b"a\x00\xffb\x00\x01";
    let value = |since, asserted, value: &[u8]| [&[1][..], &little(since), &little(asserted), value].concat();
    let now = [
        ([&key[..], &time(1)].concat(), value(0, 0, b"one")),
        ([&key[..], &time(3)].concat(), value(1, 1, b"two")),
        ([&key[..], &time(7)].concat(), value(1, 0, b"one")),
    ];
    assert_eq!(tree(&history, "temporal/1/now/0"), now);
    assert_eq!(tree(&history, "temporal/1/past/0"), Records::new());

    // Commit 0 put "" always; commit 1 ended it at 5.
    let key = b"k\x00\x01";
    let now = [
        ([&key[..], &[0; 8]].concat(), value(0, 0, b"")),
        ([&key[..], &time(5)].concat(), [&[0][..], &little(1)].concat()),
    ];
    assert_eq!(tree(&history, "temporal/1/now/1"), now);
}

#[test]
fn a_dead_break_point_decodes_by_hand() {
    let history = open();
    put(&history, 1, "c", b"k", Period::since(at(10)), b"old");
    put(&history, 2, "c", b"k", Period::since(at(10)), b"new");
    let dead = [(
        [&b"k\x00\x01"[..], &time(10), &big(1)].concat(),
        [&[1][..], &little(0), &little(0), b"old"].concat(),
    )];
    assert_eq!(tree(&history, "temporal/1/past/0"), dead);
    let live =
        [([&b"k\x00\x01"[..], &time(10)].concat(), [&[1][..], &little(1), &little(1), b"new"].concat())];
    assert_eq!(tree(&history, "temporal/1/now/0"), live);
    let read = history.begin_read().unwrap();
    let then = read.get("c", b"k", at(11), Known::Commit(0)).unwrap().unwrap();
    assert_eq!(then.value, b"old");
}

#[test]
fn the_recorded_operations_decode_by_hand() {
    let history = history();
    let recorded = |commit, place| [big(commit), big(place)].concat();
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
    assert_eq!(tree(&history, "temporal/1/ops"), expected);
}

#[test]
fn what_was_believed_is_found_in_the_trees_by_the_documented_rule() {
    let history = open();
    let mut random = 1_u64;
    let mut below = |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % end
    };
    for commit in 0..80 {
        let mut txn = history.begin_write().unwrap();
        let from = below(12) as i64;
        let period = Period::new(at(from), at(from + 1 + below(6) as i64)).unwrap();
        match below(3) {
            0 => txn.delete("c", b"k", period).unwrap(),
            _ => txn.put("c", b"k", period, &[commit]).unwrap(),
        }
        txn.commit().unwrap();
    }
    let [now, past] = ["temporal/1/now/0", "temporal/1/past/0"].map(|name| tree(&history, name));
    assert!(past.len() > 40, "{}", past.len());
    let read = history.begin_read().unwrap();
    for commit in 0..80 {
        for instant in -1..20 {
            let found = read.get("c", b"k", at(instant), Known::Commit(commit)).unwrap();
            let expected = believed(&now, &past, instant, commit as u64);
            assert_eq!(found.map(|version| version.value), expected, "at {instant}, as of {commit}");
        }
    }
}

/// What was believed at an instant as of a commit, about the only key of a collection.
fn believed(now: &Records, past: &Records, instant: i64, commit: u64) -> Option<Vec<u8>> {
    let word = |bytes: &[u8], at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let since = |record: &[u8]| word(record, 1).swap_bytes();
    let living = now.iter().filter(|(_, record)| since(record) <= commit);
    let dead =
        past.iter().filter(|(key, record)| since(record) <= commit && commit < word(key, key.len() - 8));
    let standing = living.map(|(key, record)| (key, record, key.len() - 8));
    let standing = standing.chain(dead.map(|(key, record)| (key, record, key.len() - 16)));
    let found = standing
        .map(|(key, record, time_at)| (word(key, time_at) ^ (1 << 63), record))
        .filter(|(at, _)| *at as i64 <= instant)
        .max_by_key(|(at, _)| *at as i64);
    found.filter(|(_, record)| record[0] == 1).map(|(_, record)| record[17..].to_vec())
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
    txn.set_time(CommitTime::from_micros(-9).unwrap());
    txn.put("prices", b"a\0b", Period::since(at(1)), b"one").unwrap();
    txn.insert("z", b"k", Period::ALL, b"").unwrap();
    txn.commit().unwrap();
    let mut txn = history.begin_write().unwrap();
    txn.set_time(CommitTime::from_micros(500).unwrap());
    txn.update("prices", b"a\0b", Period::new(at(3), at(7)).unwrap(), b"two").unwrap();
    txn.delete("z", b"k", Period::since(at(5))).unwrap();
    txn.commit().unwrap();
    history
}

fn put(history: &Temporal, time: i64, collection: &str, key: &[u8], period: Period, value: &[u8]) {
    let mut txn = history.begin_write().unwrap();
    txn.set_time(CommitTime::from_micros(time).unwrap());
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
