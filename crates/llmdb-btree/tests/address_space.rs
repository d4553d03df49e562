//! Little address space: what a database does under `ulimit -v`. The limit is a process's, so each case runs
//! this very test program again, under a shell that sets it.

use llmdb_btree::Database;
use llmdb_pager::PagerOptions;
use std::path::Path;
use std::process::{Command, Output};

/// Names the folder for the child's half of a test.
const FOLDER: &str = "LLMDB_TEST_FOLDER";
const VALUE: usize = 1 << 20;

/// Runs the child's half of `test` with so many KiB of address space.
fn under_limit(test: &str, folder: &Path, kib: u64) -> Output {
    let program = std::env::current_exe().unwrap();
    let script = format!("ulimit -v {kib} && exec \"$0\" --exact {test} --nocapture --test-threads 1");
    Command::new("sh").arg("-c").arg(script).arg(program).env(FOLDER, folder).output().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

#[test]
fn a_file_grows_out_of_its_map_and_old_snapshots_keep_theirs() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        let folder = tempfile::tempdir().unwrap();
        let output =
            under_limit("a_file_grows_out_of_its_map_and_old_snapshots_keep_theirs", folder.path(), 1 << 20);
        assert!(output.status.success(), "{}", text(&output));
        let text = text(&output);
        let maps: Vec<&str> = text.lines().filter(|line| line.contains("reserved ")).collect();
        assert!(maps.len() > 1, "the file outgrew its first map:\n{text}");
        return;
    };
    let path = Path::new(&folder).join("db");
    let db = Database::create(PagerOptions::new(), &path).unwrap();
    let limit = db.pager().stat().unwrap().address_limit;
    assert_eq!(limit, Some(1 << 30));
    let mut last = 0;
    let mut readers = Vec::new();
    for round in 0..300u32 {
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("values").unwrap();
        txn.insert(tree, &round.to_be_bytes(), &vec![round as u8; VALUE]).unwrap();
        txn.commit().unwrap();
        if round == 0 {
            readers.push(db.begin_read());
        }
        let reserved = db.pager().stat().unwrap().reserved_bytes;
        if reserved != last {
            println!("reserved {reserved} of {limit:?} for {} values", round + 1);
            last = reserved;
        }
    }
    readers.push(db.begin_read());
    for (reader, count) in readers.iter().zip([1, 300u32]) {
        let tree = reader.tree("values").unwrap().unwrap();
        assert_eq!(tree.len(), u64::from(count));
        for round in (0..count).step_by(37) {
            let value = tree.get(&round.to_be_bytes()).unwrap().unwrap();
            assert!(value.len() == VALUE && value.iter().all(|byte| *byte == round as u8));
        }
    }
}

#[test]
fn a_file_that_does_not_fit_is_an_error_that_says_what_to_do() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let db = Database::create(PagerOptions::new(), &path).unwrap();
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("values").unwrap();
        for index in 0..4 {
            txn.insert(tree, &[index], &vec![7; 64 << 20]).unwrap();
        }
        txn.commit().unwrap();
        let stat = db.pager().stat().unwrap();
        assert!(stat.address_limit.is_some() || stat.reserved_bytes >= 1 << 40, "{stat:?}");
        drop(db);
        let name = "a_file_that_does_not_fit_is_an_error_that_says_what_to_do";
        let output = under_limit(name, folder.path(), 256 << 10);
        assert!(output.status.success(), "{}", text(&output));
        return;
    };
    let path = Path::new(&folder).join("db");
    let error = Database::open(PagerOptions::new(), &path).unwrap_err();
    assert_eq!(error.code(), "LLMDB-P14");
    let text = error.to_string();
    assert!(text.contains("address space") && text.contains("ulimit -v"), "{text}");
    assert!(text.contains(&(256u64 << 20).to_string()), "it names the limit: {text}");
}
