//! `docs/format.md` is true of trees: its tables are those of the source, and a reader that was written from the
//! page alone finds every record of files made through the public API.

use llmdb_btree::{
    BRANCH, Database, FOREST, FORM_TREE, LARGE_REF_SIZE, LEAF, TreeId, VALUE_SIZE_MAX, WriteTxn, key_size_max,
};
use llmdb_pager::PagerOptions;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_128;

const DOC: &str = include_str!("../../../docs/format.md");
/// The tables that this crate owns, and the files whose head they stand in.
const TABLES: &[(&str, &str)] = &[
    ("btree/forest", include_str!("../src/forest.rs")),
    ("btree/leaf", include_str!("../src/node/leaf.rs")),
    ("btree/branch", include_str!("../src/node/branch.rs")),
    ("btree/large-value", include_str!("../src/value.rs")),
];

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

#[test]
fn each_table_of_the_document_is_the_one_in_the_source() {
    for (name, source) in TABLES {
        let table = table_of(DOC, name).unwrap_or_else(|| panic!("docs/format.md has no table {name}"));
        let found = tables_in(source).contains(&table);
        assert!(found, "the table {name} in docs/format.md is not the one in the source:\n{table}");
    }
    assert_eq!(named_tables("btree/"), TABLES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn the_documented_numbers_are_those_of_the_code() {
    assert_row(&format!("| {} | leaf | `llmdb-btree` |", LEAF.0));
    assert_row(&format!("| {} | branch | `llmdb-btree` |", BRANCH.0));
    assert_row(&format!("| {} | forest | `llmdb-btree` |", FOREST.0));
    assert_row(&format!("| form of an ordinary tree | {FORM_TREE} |"));
    assert_row(&format!("| longest value | {VALUE_SIZE_MAX} bytes |"));
    assert_row(&format!("| longest key | page size / 16 * 5 bytes, {} at 4 KiB |", key_size_max(4096)));
    for page_size in [4096, 8192, 16384, 32768, 65536] {
        assert_eq!(key_size_max(page_size), page_size / 16 * 5);
    }
}

#[test]
fn a_reader_written_from_the_document_finds_every_record() {
    for page_size in [4096, 16384] {
        let mut expected = BTreeMap::new();
        let file = written(page_size, &mut expected);
        let mut seen = Seen::default();
        let found = Reader::new(&file, page_size, &mut seen).database();
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, records) in &expected {
            assert_eq!(found[name], *records, "tree {name}");
        }
        // Without these the test would not have read what it is about.
        assert!(seen.branches_without_tails > 0 && seen.branches_with_tails > 0, "{seen:?}");
        assert!(
            seen.prefixes > 0 && seen.large_values > 2 && seen.levels_max > u8::from(page_size == 4096),
            "{seen:?}"
        );
    }
}

#[test]
fn a_forest_of_many_trees_decodes_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forest.llmdb");
    let db = Database::create(PagerOptions::new(), &path).unwrap();
    let mut txn = db.begin_write().unwrap();
    let mut expected = BTreeMap::new();
    for number in 0..400_u32 {
        let name = format!("tree {number}");
        let tree = txn.create_tree(&name).unwrap();
        insert(&mut txn, tree, &mut expected, &name, number.to_be_bytes().to_vec(), name.as_bytes().to_vec());
    }
    txn.drop_tree("tree 7").unwrap();
    expected.remove("tree 7");
    txn.commit().unwrap();
    let file = std::fs::read(&path).unwrap();
    let mut seen = Seen::default();
    assert_eq!(Reader::new(&file, 4096, &mut seen).database(), expected);
    assert_eq!(seen.forest_level_max, 1, "400 trees stand on three pages");
}

#[test]
fn values_go_where_the_document_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("limits.llmdb");
    let db = Database::create(PagerOptions::new(), &path).unwrap();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    // A quarter page, and key + value + 128 <= half a page.
    for (key_len, value_len, is_inline) in [
        (1, 1024, true),
        (1, 1025, false),
        (896, 1024, true),
        (897, 1024, false),
        (1280, 640, true),
        (1280, 641, false),
    ] {
        let key = vec![b'k'; key_len];
        let large = txn.insert(tree, &key, &vec![1; value_len]).unwrap();
        assert_eq!(large.is_none(), is_inline, "key {key_len}, value {value_len}");
    }
    assert!(txn.insert(tree, &[b'k'; 1281], b"").is_err());
}

fn insert(
    txn: &mut WriteTxn,
    tree: TreeId,
    model: &mut BTreeMap<String, Records>,
    name: &str,
    key: Vec<u8>,
    value: Vec<u8>,
) {
    txn.insert(tree, &key, &value).unwrap();
    model.entry(name.to_owned()).or_default().insert(key, value);
}

/// A file with trees of every shape, after several commits with replacements and removals.
fn written(page_size: usize, model: &mut BTreeMap<String, Records>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trees.llmdb");
    let db = Database::create(PagerOptions::new().page_size(page_size), &path).unwrap();
    for round in 0..3_u32 {
        let mut txn = db.begin_write().unwrap();
        let [short, long, large, empty] =
            ["short", "long", "large", "empty"].map(|name| txn.create_tree(name).unwrap());
        model.entry("empty".to_owned()).or_default();
        for number in 0..9_000_u32 {
            let scattered = number.wrapping_mul(2_654_435_761);
            let value = vec![round as u8; scattered as usize % 90];
            insert(&mut txn, short, model, "short", scattered.to_be_bytes().to_vec(), value);
        }
        for number in 0..3_000 {
            let key = format!("customers/{:03}/orders/{number:07}/lines/\0", number / 97);
            insert(&mut txn, long, model, "long", key.into_bytes(), vec![b'v'; number % 300]);
        }
        for len in [0, 1, page_size / 4, page_size / 4 + 1, page_size, page_size * 7 + 3] {
            let value: Vec<u8> = (0..len).map(|at| (at as u32 * 31 + round) as u8).collect();
            insert(&mut txn, large, model, "large", format!("{len:09}").into_bytes(), value);
        }
        for number in (0..9_000_u32).filter(|number| number % 3 == round) {
            let key = number.wrapping_mul(2_654_435_761).to_be_bytes();
            txn.remove(short, &key).unwrap();
            model.get_mut("short").unwrap().remove(&key[..]);
        }
        txn.insert(empty, b"gone", b"soon").unwrap();
        txn.remove(empty, b"gone").unwrap();
        txn.commit().unwrap();
    }
    std::fs::read(&path).unwrap()
}

/// What a reader came across.
#[derive(Debug, Default)]
struct Seen {
    branches_with_tails: u32,
    branches_without_tails: u32,
    prefixes: u32,
    large_values: u32,
    levels_max: u8,
    forest_level_max: u8,
}

/// A reader of whole files, written from `docs/format.md`.
struct Reader<'f> {
    file: &'f [u8],
    page_size: usize,
    seen: &'f mut Seen,
}

impl<'f> Reader<'f> {
    fn new(file: &'f [u8], page_size: usize, seen: &'f mut Seen) -> Self {
        Self { file, page_size, seen }
    }

    /// All trees by their names.
    fn database(&mut self) -> BTreeMap<String, Records> {
        // After a finished checkpoint both metas say the same.
        let root = word(self.file, 64);
        assert_eq!(root, word(self.file, 4096 + 64));
        let (names, form) = self.tree(root, 0).expect("tree 0 holds the names");
        assert_eq!(form, 1);
        let mut trees = BTreeMap::new();
        for (name, record) in names {
            let (number, form) = record.split_first_chunk::<4>().unwrap();
            assert_eq!(form, [1]);
            let number = u64::from(u32::from_le_bytes(*number));
            let (records, _) = self.tree(root, number).expect("a named tree is there");
            trees.insert(String::from_utf8(name).unwrap(), records);
        }
        trees
    }

    fn page(&self, reference: u64) -> &'f [u8] {
        let number = (reference & 0xffff_ffff_ffff) as usize;
        let page = &self.file[number * self.page_size..][..self.page_size];
        assert_eq!(word(page, 16) & 0x7fff, reference >> 48, "birth of page {number}");
        page
    }

    /// The records and the form of a tree by its number.
    fn tree(&mut self, forest: u64, mut number: u64) -> Option<(Records, u8)> {
        let fan = (self.page_size as u64 - 32) / 24;
        let mut page = self.page(forest);
        loop {
            assert_eq!(page[14], 18, "kind of a forest page");
            self.seen.forest_level_max = self.seen.forest_level_max.max(page[15]);
            let width = fan.pow(u32::from(page[15]));
            let slot = (number / width) as usize;
            if slot >= usize::from(half(page, 24)) {
                return None;
            }
            let reference = word(page, 32 + 8 * slot);
            if page[15] > 0 {
                (number, page) = (number % width, self.page(reference));
                continue;
            }
            let stat = 32 + 8 * fan as usize + 16 * slot;
            assert!(page[stat + 9..stat + 16].iter().all(|byte| *byte == 0), "zeros");
            let mut records = Records::new();
            if reference != 0 {
                self.node(reference, None, &mut records);
            }
            assert_eq!(records.len() as u64, word(page, stat), "record count");
            return (page[stat + 8] != 0).then_some((records, page[stat + 8]));
        }
    }

    /// Reads everything below a reference; keys lie between the bounds.
    fn node(&mut self, at: u64, level: Option<u8>, records: &mut Records) {
        let page = self.page(at);
        assert!(level.is_none_or(|level| page[15] == level), "levels fall by one");
        self.seen.levels_max = self.seen.levels_max.max(page[15]);
        match page[14] {
            16 => self.leaf(page, records),
            17 => self.branch(page, records),
            other => panic!("kind {other} in a tree"),
        }
    }

    fn leaf(&mut self, page: &'f [u8], records: &mut Records) {
        let [count, prefix_len, heap] = [26, 28, 30].map(|at| usize::from(half(page, at)));
        assert_eq!((page[15], half(page, 24)), (0, 0));
        let prefix = &page[32..32 + prefix_len];
        self.seen.prefixes += u32::from(prefix_len > 0);
        let h = 32 + prefix_len.next_multiple_of(4);
        let o = h + 4 * count.next_multiple_of(16);
        assert!(page[32 + prefix_len..h].iter().all(|byte| *byte == 0), "zeros behind the prefix");
        assert!(page[h + 4 * count..o].iter().all(|byte| *byte == 0xff), "unused heads");
        assert!(o + 2 * count + heap <= page.len(), "arrays and heap");
        for index in 0..count {
            let cell = usize::from(half(page, o + 2 * index));
            assert!(cell >= page.len() - heap, "cell {index} lies in the heap");
            let key_end = cell + 4 + usize::from(half(page, cell));
            let suffix = &page[cell + 4..key_end];
            assert_eq!(head(page, h, index), head_of(suffix), "head {index}");
            let value = match half(page, cell + 2) {
                65535 => self.large(&page[key_end..key_end + LARGE_REF_SIZE]),
                len => page[key_end..key_end + usize::from(len)].to_vec(),
            };
            let key = [prefix, suffix].concat();
            assert!(records.last_key_value().is_none_or(|(last, _)| *last < key), "keys rise");
            records.insert(key, value);
        }
    }

    fn large(&mut self, reference: &[u8]) -> Vec<u8> {
        self.seen.large_values += 1;
        let (start, len) = (word(reference, 0) as usize, word(reference, 8) as usize);
        assert!((1..=3).contains(&word(reference, 16)), "the commit that wrote it");
        let value = &self.file[start * self.page_size..][..len];
        let hash = u128::from_le_bytes(reference[24..40].try_into().unwrap());
        assert_eq!(hash, xxh3_128(value), "hash of a large value");
        value.to_vec()
    }

    fn branch(&mut self, page: &'f [u8], records: &mut Records) {
        let [children, count, prefix_len, tails] = [24, 26, 28, 30].map(|at| usize::from(half(page, at)));
        assert_eq!(children, count + 1);
        let m = page.len() / 64;
        let (summary, blocks) = (page.len() - m, count.div_ceil(16));
        let h = summary - 64 * blocks;
        let prefix = &page[h - prefix_len..h];
        let o = 32 + 8 * children;
        let separator_head = |index: usize| head(page, summary - 64 * (index / 16 + 1), index % 16);
        assert!((count..16 * blocks).all(|index| separator_head(index) == u32::MAX), "unused heads");
        for entry in 0..m / 4 {
            let first = if entry < blocks { separator_head(16 * entry) } else { u32::MAX };
            assert_eq!(head(page, summary, entry), first, "first head of block {entry}");
        }
        *if tails == 0 {
            &mut self.seen.branches_without_tails
        } else {
            &mut self.seen.branches_with_tails
        } += 1;
        for child in 0..children {
            let before = records.len();
            self.node(word(page, 32 + 8 * child), Some(page[15] - 1), records);
            let is_left = records.len() > before;
            if child == 0 || !is_left {
                continue;
            }
            // The separator before a child: above all keys on its left, and at most the child's first.
            let index = child - 1;
            let suffix = match tails {
                0 => {
                    let bytes = separator_head(index).to_be_bytes();
                    let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                    bytes[..len].to_vec()
                }
                _ => {
                    let at = usize::from(half(page, o + 2 * index));
                    let suffix = page[at + 2..at + 2 + usize::from(half(page, at))].to_vec();
                    assert_eq!(separator_head(index), head_of(&suffix), "head {index}");
                    suffix
                }
            };
            let separator = [prefix, &suffix].concat();
            let keys: Vec<&Vec<u8>> = records.keys().skip(before.saturating_sub(1)).take(2).collect();
            if let [left, right] = keys[..] {
                assert!(*left < separator && separator <= *right, "separator {index}");
            }
        }
    }
}

fn head_of(suffix: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    let len = suffix.len().min(4);
    bytes[..len].copy_from_slice(&suffix[..len]);
    u32::from_be_bytes(bytes)
}

fn head(page: &[u8], start: usize, index: usize) -> u32 {
    u32::from_le_bytes(page[start + 4 * index..start + 4 * index + 4].try_into().unwrap())
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn assert_row(row: &str) {
    assert!(DOC.lines().any(|line| line == row), "docs/format.md has no row `{row}`");
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
