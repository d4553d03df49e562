//! `docs/format.md` is true of data files: its tables are those of the source, and files made through the public
//! API decode by hand at the offsets that it gives.
//!
//! Only bytes are read here: no decoder of the crate is used, so a reader written from the page alone works.

use llmdb_pager::{
    Below, Kind, PageNumber, PageSource as _, Pager, PagerOptions, Run, backup, beside, meta, page,
};
use std::path::Path;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

const DOC: &str = include_str!("../../../docs/format.md");
/// The tables that this crate owns, and the files whose head they stand in.
const TABLES: &[(&str, &str)] = &[
    ("pager/meta", include_str!("../src/meta.rs")),
    ("pager/page-header", include_str!("../src/page.rs")),
    ("pager/space", include_str!("../src/space.rs")),
    ("pager/backup-header", include_str!("../src/backup/format.rs")),
    ("pager/backup-frame", include_str!("../src/backup/format.rs")),
];

#[test]
fn each_table_of_the_document_is_the_one_in_the_source() {
    for (name, source) in TABLES {
        let table = table_of(DOC, name).unwrap_or_else(|| panic!("docs/format.md has no table {name}"));
        let found = tables_in(source).contains(&table);
        assert!(found, "the table {name} in docs/format.md is not the one in the source:\n{table}");
    }
    assert_eq!(named_tables("pager/"), TABLES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn each_table_of_the_document_belongs_to_a_crate_whose_test_compares_it() {
    let owners = ["pager/", "btree/", "wal/", "temporal/", "query/", "wasm/"];
    for name in named_tables("") {
        assert!(owners.iter().any(|owner| name.starts_with(owner)), "nobody compares the table {name}");
    }
}

#[test]
fn the_documented_numbers_are_those_of_the_code() {
    for (name, value) in [
        ("format version of the data file", u64::from(meta::FORMAT_VERSION)),
        ("bytes of a meta", meta::META_SIZE as u64),
        ("bytes that the metas take", meta::META_AREA_SIZE),
        ("bytes of the owner area", meta::OWNER_AREA_SIZE as u64),
        ("smallest page size", page::PAGE_SIZE_MIN as u64),
        ("largest page size", page::PAGE_SIZE_MAX as u64),
        ("page size of a new file", page::PAGE_SIZE_DEFAULT as u64),
        ("format version of a backup", u64::from(backup::BACKUP_VERSION)),
        ("bytes of a backup's header", backup::BACKUP_HEADER_SIZE as u64),
    ] {
        assert_row(&format!("| {name} | {value} |"));
    }
    assert_row(&format!("| {} | allocation map | `llmdb-pager` |", Kind::SPACE.0));
    assert_row(&format!("| {} | index over the allocation map | `llmdb-pager` |", Kind::SPACE_INDEX.0));
    assert_eq!(meta::META_OFFSETS, [0, 4096]);
}

#[test]
fn a_new_file_decodes_by_hand() {
    for page_size in [4096, 8192, 16384, 65536] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.llmdb");
        let options = PagerOptions::new().page_size(page_size).owner_area([7; 64]);
        let pager = options.create(&path).unwrap();
        let file = std::fs::read(&path).unwrap();
        for copy in [0, 4096] {
            let meta = &file[copy..copy + 4096];
            check_meta(meta, &pager);
            assert_eq!(word(meta, 32), 1, "checkpoint");
            assert_eq!(word(meta, 40), 0, "commit");
            assert_eq!(word(meta, 48), i64::MIN as u64, "time");
            assert_eq!(word(meta, 56), 8192_u64.div_ceil(page_size as u64), "page count");
            assert_eq!((word(meta, 64), word(meta, 72)), (0, 0), "roots");
            assert_eq!(meta[80..144], [7; 64], "owner area");
            assert_eq!(word(meta, 144), file.len() as u64, "file length");
        }
        let first_page = word(&file, 56) as usize * page_size;
        assert!(file[8192..first_page].iter().all(|byte| *byte == 0), "behind the metas");
    }
}

#[test]
fn a_backup_decodes_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let pager = PagerOptions::new().create(folder.path().join("b.llmdb")).unwrap();
    let mut txn = pager.begin_write().unwrap();
    let root = txn.allocate(Kind(20), 0).unwrap();
    txn.set_root(root);
    txn.set_commit(5, -3);
    txn.commit_with_checkpoint([0; 64]).unwrap();
    let mut bytes = Vec::new();
    let visit = |_: llmdb_pager::Page<'_>| Below::default();
    pager.backup(backup::BackupOptions::new(), &mut bytes, &visit, &mut |_, _| {}).unwrap();

    let header = &bytes[..128];
    assert_eq!(&header[..8], b"LLMDBBAK");
    assert_eq!((u32_at(header, 8), u32_at(header, 12)), (1, 4096));
    assert_eq!(header[16..32], pager.identity().to_le_bytes());
    assert_eq!((word(header, 32), word(header, 40) as i64), (5, -3));
    assert_eq!(word(header, 64), pager.snapshot().root().word());
    assert!(header[72..120].iter().all(|byte| *byte == 0));
    assert_eq!(word(header, 120), xxh3_64(&header[..120]));

    let pages = &bytes[128..128 + 24 + 4096];
    assert_eq!(word(pages, 0), xxh3_64_with_seed(&pages[8..], word(header, 120)));
    assert_eq!((word(pages, 8), u32_at(pages, 16), u32_at(pages, 20)), (0, 1, 4096));
    assert_eq!(word(&pages[24..], 8) & 0xffff_ffff_ffff, pager.snapshot().root().number().0);

    let end = &bytes[128 + 24 + 4096..];
    assert_eq!(end.len(), 24 + 32);
    assert_eq!(word(end, 0), xxh3_64_with_seed(&end[8..], word(pages, 0)));
    assert_eq!((word(end, 8), u32_at(end, 16), u32_at(end, 20)), (1, 3, 32));
    assert_eq!((word(end, 24), word(end, 32)), (1, 0));
    assert_eq!(end[40..56], xxh3_128(&bytes[..bytes.len() - end.len()]).to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn pages_references_and_the_map_decode_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pages.llmdb");
    let pager = PagerOptions::new().create(&path).unwrap();
    // Two commits, so that the children are older than the page that refers to them.
    let mut txn = pager.begin_write().unwrap();
    txn.set_commit(0x1_c003, 123_456);
    let old = txn.allocate(Kind(20), 0).unwrap();
    txn.page_mut(old)[26..32].copy_from_slice(b"owner.");
    txn.page_mut(old)[4095] = 0xa5;
    txn.set_root(old);
    txn.commit_with_checkpoint([1; 64]).unwrap();
    let mut txn = pager.begin_write().unwrap();
    txn.set_commit(0x1_c004, -5);
    let old = txn.root();
    let new = txn.allocate(Kind(20), 0).unwrap();
    let top = txn.allocate(Kind(21), 1).unwrap();
    page::set_ref_count(txn.page_mut(top), 2);
    page::set_reference(txn.page_mut(top), 0, old);
    page::set_reference(txn.page_mut(top), 1, new);
    txn.set_root(top);
    txn.commit_with_checkpoint([2; 64]).unwrap();

    let file = std::fs::read(&path).unwrap();
    let meta = newest_meta(&file, &pager);
    assert_eq!((word(meta, 32), word(meta, 40)), (3, 0x1_c004), "checkpoint and commit");
    assert_eq!(word(meta, 48) as i64, -5, "time");
    assert_eq!(meta[80..144], [2; 64]);
    assert_eq!(word(meta, 144), file.len() as u64, "file length");
    let top = page_at(&file, meta, word(meta, 64));
    assert_eq!((top[14], top[15]), (21, 1), "kind and level");
    assert_eq!(word(top, 16), 0x1_c004, "birth");
    assert_eq!(half(top, 24), 2, "reference count");
    let old = page_at(&file, meta, word(top, 32));
    assert_eq!(word(top, 32) >> 48, 0x4003, "the low 15 bits of the old page's birth");
    assert_eq!((word(old, 16), &old[26..32], old[4095]), (0x1_c003, &b"owner."[..], 0xa5));
    let new = page_at(&file, meta, word(top, 40));
    assert_eq!((word(new, 16), half(new, 24)), (0x1_c004, 0));

    // The map: in use are the metas' two pages, the three above, and the map's own page.
    let map = page_at(&file, meta, word(meta, 72));
    assert_eq!((map[14], map[15], half(map, 24)), (1, 0, 0), "one region has no index");
    let mut expected: Vec<u64> = vec![0, 1, number(word(meta, 72)), number(word(meta, 64))];
    expected.extend([word(top, 32), word(top, 40)].map(number));
    expected.sort_unstable();
    let used: Vec<u64> = (0..word(meta, 56)).filter(|n| bit(map, *n)).collect();
    assert_eq!(used, expected);
}

#[test]
fn a_map_of_several_regions_decodes_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("regions.llmdb");
    let pager = PagerOptions::new().create(&path).unwrap();
    let far = Run { start: PageNumber(33_000), count: 3 };
    let mut txn = pager.begin_write().unwrap();
    txn.claim_extent(far).unwrap();
    txn.commit_with_checkpoint([0; 64]).unwrap();

    let file = std::fs::read(&path).unwrap();
    let meta = newest_meta(&file, &pager);
    assert_eq!(word(meta, 56), 33_003, "page count");
    let index = page_at(&file, meta, word(meta, 72));
    let region = (4096 - 32) * 8;
    assert_eq!((index[14], index[15], half(index, 24)), (2, 1, 2), "kind, level and reference count");
    let fan = (4096 - 32) / 12;
    let mut used = Vec::new();
    for place in 0..2 {
        let map = page_at(&file, meta, word(index, 32 + 8 * place));
        assert_eq!((map[14], map[15]), (1, 0));
        let count_at = 32 + 8 * fan + 4 * place;
        let free = u32::from_le_bytes(index[count_at..count_at + 4].try_into().unwrap());
        assert_eq!(free as usize, (0..region).filter(|n| !bit(map, *n as u64)).count(), "free below");
        used.extend((0..region as u64).filter(|n| bit(map, *n)).map(|n| place as u64 * region as u64 + n));
    }
    used.retain(|page| *page < word(meta, 56));
    let mut expected: Vec<u64> = vec![0, 1, 33_000, 33_001, 33_002];
    expected.extend([word(meta, 72), word(index, 32), word(index, 40)].map(number));
    expected.sort_unstable();
    assert_eq!(used, expected);
}

#[test]
fn the_files_beside_a_database_have_the_documented_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("NAME");
    let pager = PagerOptions::new().owner("the test").create(&path).unwrap();
    assert_eq!(names(folder.path()), ["NAME", "NAME-lock"]);
    let lock = std::fs::read_to_string(beside(&path, "-lock")).unwrap();
    assert!(lock.contains(&std::process::id().to_string()) && lock.contains("the test"), "{lock}");
    drop(pager);
    assert_eq!(names(folder.path()), ["NAME"]);
    std::fs::write(beside(&path, "-new"), "a leftover").unwrap();
    std::fs::remove_file(&path).unwrap();
    drop(PagerOptions::new().create(&path).unwrap());
    assert_eq!(names(folder.path()), ["NAME"], "a leftover is removed by the next creation");
    for suffix in ["", "-wal", "-lock", "-new"] {
        assert!(DOC.contains(&format!("| `NAME{suffix}` |")), "NAME{suffix}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Checks what every meta of a file says, and its checksum.
fn check_meta(meta: &[u8], pager: &Pager) {
    assert_eq!(&meta[0..8], b"LLMDB\x00\x0d\x0a", "magic");
    assert_eq!(u32::from_le_bytes(meta[8..12].try_into().unwrap()), 1, "version");
    assert_eq!(u32::from_le_bytes(meta[12..16].try_into().unwrap()) as usize, pager.page_size());
    assert_eq!(u128::from_le_bytes(meta[16..32].try_into().unwrap()), pager.identity());
    assert!(meta[152..4088].iter().all(|byte| *byte == 0), "reserved bytes");
    assert_eq!(word(meta, 4088), xxh3_64(&meta[..4088]), "checksum");
}

/// The meta that counts: the one with the greater checkpoint, the first of equals.
fn newest_meta<'f>(file: &'f [u8], pager: &Pager) -> &'f [u8] {
    let copies = [&file[0..4096], &file[4096..8192]];
    copies.iter().for_each(|copy| check_meta(copy, pager));
    copies[usize::from(word(copies[1], 32) > word(copies[0], 32))]
}

/// The page of a 4 KiB file that a reference means, checked as the document says.
fn page_at<'f>(file: &'f [u8], meta: &[u8], reference: u64) -> &'f [u8] {
    assert_eq!(reference >> 63, 0, "no frame reference in a file");
    let number = number(reference);
    assert!((2..word(meta, 56)).contains(&number), "page {number}");
    let page = &file[number as usize * 4096..][..4096];
    let (low, high) = (word(meta, 16), word(meta, 24));
    let identity = low ^ high.rotate_left(29);
    let birth = word(page, 16);
    let seed = identity
        ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ birth.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(32);
    assert_eq!(word(page, 0), xxh3_64_with_seed(&page[8..], seed), "checksum of page {number}");
    assert_eq!(word(page, 8) & 0xffff_ffff_ffff, number, "page number");
    assert_eq!(reference >> 48, birth & 0x7fff, "birth in the reference");
    page
}

fn number(reference: u64) -> u64 {
    reference & 0xffff_ffff_ffff
}

fn bit(map: &[u8], page: u64) -> bool {
    map[32 + page as usize / 8] & (1 << (page % 8)) != 0
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
