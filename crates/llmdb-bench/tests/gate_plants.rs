//! The gate on trial: the same build passes against itself, and every planted slowdown is caught.

use llmdb_bench::gate::compare::{Comparison, Verdict};
use llmdb_bench::gate::counts::{FLUSHES, INSTRUCTIONS, PAGES, PAGES_WRITTEN};
use llmdb_bench::gate::operations::OPERATIONS;
use llmdb_bench::gate::plant::{Plant, VARIABLE};
use llmdb_bench::gate::program::Program;
use llmdb_bench::gate::valgrind;
use llmdb_wal::Store;
use std::path::Path;
use std::process::Command;

const GATE: &str = env!("CARGO_BIN_EXE_llmdb-gate");

fn prepare(folder: &Path, operations: &[&str], plant: Option<Plant>) -> Program {
    let operations: Vec<_> = operations.iter().map(ToString::to_string).collect();
    let image = folder.join(plant.map_or("base", Plant::name));
    Program::prepare(Path::new(GATE), &image, &operations, plant).unwrap()
}

/// Whether instructions can be counted here; says so if not.
fn has_valgrind() -> bool {
    let here = valgrind::is_here();
    if !here {
        println!("valgrind is missing: instructions are left out of this test");
    }
    here
}

fn compared(base: &Program, new: &Program, with_instructions: bool) -> Comparison {
    let (base, new) = (base.counts(with_instructions).unwrap(), new.counts(with_instructions).unwrap());
    Comparison::new(("base", &base), ("new", &new), Vec::new(), "")
}

#[test]
fn the_same_build_passes_against_itself_with_every_count_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let base = prepare(folder.path(), &[], None);
    let gate = compared(&base, &base, has_valgrind());
    assert!(gate.passes(), "{:?}", gate.failures());
    let different: Vec<_> = gate.counts.iter().filter(|row| row.verdict != Verdict::Same).collect();
    assert!(different.is_empty(), "{different:?}");
    // Nothing passes by not being counted.
    for operation in OPERATIONS {
        let counts: Vec<_> = gate.counts.iter().filter(|row| row.operation == operation.name).collect();
        let expected = 6 + usize::from(valgrind::is_here());
        assert_eq!(counts.len(), expected, "{}: {counts:?}", operation.name);
    }
    let value = |operation: &str, count: &str| {
        let row = gate.counts.iter().find(|row| row.operation == operation && row.count == count);
        row.and_then(|row| row.new).unwrap()
    };
    assert_eq!(value("commit_1", FLUSHES), 1.0, "one log flush makes a commit durable");
    assert_eq!(value("get", FLUSHES), 0.0);
    assert!(value("get", PAGES) >= 2.0 && value("scan_1000", PAGES) > value("get", PAGES));
    assert!(value("commit_1", PAGES) >= 2.0 && value("commit_1000", PAGES) > value("commit_1", PAGES));
    assert!(value("commit_1", PAGES_WRITTEN) >= 1.0 && value("get", PAGES_WRITTEN) == 0.0);
    if valgrind::is_here() {
        assert!(value("get", INSTRUCTIONS) > 100.0);
        assert!(value("get_many_64", INSTRUCTIONS) > 32.0 * value("get", INSTRUCTIONS));
    }
}

#[test]
fn every_planted_slowdown_is_caught_by_the_count_that_it_raises() {
    let with_instructions = has_valgrind();
    for plant in Plant::ALL {
        if plant.count() == INSTRUCTIONS && !with_instructions {
            println!("{}: left out, only instructions show it", plant.name());
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let base = prepare(folder.path(), &[plant.operation()], None);
        let new = prepare(folder.path(), &[plant.operation()], Some(plant));
        let gate = compared(&base, &new, with_instructions);
        let wanted = format!("{}/{}", plant.operation(), plant.count());
        assert!(gate.failures().contains(&wanted), "{}: {:?}", plant.name(), gate.failures());
    }
}

#[test]
fn a_build_with_a_wrong_answer_has_no_counts() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("base");
    let base = prepare(folder.path(), &["scan_1000"], None);
    assert!(base.counts(false).is_ok());

    let store = Store::open(image.join("plain.llmdb")).unwrap();
    let mut txn = store.begin_write().unwrap();
    let tree = txn.open_tree("gate").unwrap().unwrap();
    let keys: Vec<Vec<u8>> = {
        let reader = store.begin_read().unwrap();
        let tree = reader.tree("gate").unwrap().unwrap();
        tree.iter().step_by(100).map(|record| record.unwrap().0.to_vec()).collect()
    };
    for key in keys {
        txn.insert(tree, &key, b"another value").unwrap();
    }
    txn.commit().unwrap();
    store.close().unwrap();

    let error = base.counts(false).unwrap_err().to_string();
    assert!(error.contains("LLMDB-G03") && error.contains("has another value"), "{error}");
}

#[test]
fn wrong_names_are_answered_with_the_right_ones() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &[], None);
    let image = folder.path().join("base");
    let run = |plant: &str, arguments: &[&str]| {
        let mut command = Command::new(GATE);
        command.args(arguments).arg("--image").arg(&image).env(VARIABLE, plant);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let error = run("", &["counts", "--without-instructions", "--operation", "gets"]);
    assert!(error.contains("`gets`") && error.contains("get_many_64"), "{error}");
    let error = run("slow", &["times", "--operation", "get"]);
    assert!(error.contains("`slow`") && error.contains("read10"), "{error}");
}

#[test]
fn a_comparison_writes_its_comment_and_its_outcome_decides_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let comment = folder.path().join("results/comment.md");
    let json = folder.path().join("results/gate.json");
    let run = |plant: &str, message: &str| {
        let messages = folder.path().join("messages");
        std::fs::write(&messages, message).unwrap();
        // The base is asked without the plant: a script that takes it out of its environment.
        let base = folder.path().join("base.sh");
        std::fs::write(&base, format!("#!/bin/sh\nexec env -u {VARIABLE} '{GATE}' \"$@\"\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&base, mode).unwrap();
        let new = folder.path().join("new.sh");
        std::fs::write(&new, format!("#!/bin/sh\n{VARIABLE}={plant} exec '{GATE}' \"$@\"\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&new, mode).unwrap();
        let mut command = Command::new(GATE);
        command.args(["compare", "--without-instructions", "--rounds", "0"]);
        command.arg("--base").arg(&base).arg("--new").arg(&new);
        command.arg("--folder").arg(folder.path().join("data")).arg("--messages").arg(&messages);
        command.arg("--comment").arg(&comment).arg("--json").arg(&json);
        let output = command.output().unwrap();
        let text = std::fs::read_to_string(&comment).unwrap_or_else(|_| panic!("no comment: {output:?}"));
        let outcome: Comparison = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        assert_eq!(outcome.passes(), output.status.success());
        (output.status.code(), text)
    };
    let (code, text) = run("", "");
    assert!(code == Some(0) && text.contains("gate: passed"), "{text}");
    let (code, text) = run("flush", "");
    assert!(
        code == Some(1) && text.contains("| `commit_1/flushes` | 1 | 2 | +100.0 % | **worse** |"),
        "{text}"
    );
    let (code, text) = run("flush", "bench-accept: commit_1 the folder is flushed too");
    assert!(code == Some(0) && text.contains("worse, accepted: the folder is flushed too"), "{text}");
}
