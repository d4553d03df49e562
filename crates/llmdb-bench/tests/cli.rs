//! The program as a person uses it: what it prints, leaves behind and returns.

use serde_json::Value;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_llmdb-bench")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn list_names_workloads_engines_and_settings() {
    let output = bench(&["list"]);
    assert!(output.status.success());
    let text = text(&output.stdout);
    for part in
        ["micro / read_latency:", "ycsb / ycsb_e:", "system / recovery:", "  llmdb 0", "sync: defaults"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

/// A tiny run of a workload or suite on our engines: where its data was, and the report.
fn run_tiny(folder: &Path, workload: &str) -> (PathBuf, Value) {
    let (data, file) = (folder.join("data"), folder.join("results.json"));
    std::fs::create_dir(&data).unwrap();
    let arguments =
        ["run", "--profile", "tiny", "--engine", "llmdb", "--engine", "llmdb-no-log", "--workload"];
    let places = [workload, "--dir", data.to_str().unwrap(), "--json", file.to_str().unwrap()];
    let output = bench(&[&arguments[..], &places[..]].concat());
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    (data, json(&file))
}

#[test]
fn the_system_suite_stands_on_our_engines() {
    let folder = tempfile::tempdir().unwrap();
    let (data, report) = run_tiny(folder.path(), "system");
    assert_eq!(report["partial"], false);
    let probe = &report["machine"]["probe"];
    assert!(probe["overwrite_sync_us_p50"].as_f64().unwrap() > 0.0);
    let results = report["results"].as_array().unwrap();
    let stands = |workload: &str, figure: &str| {
        results.iter().any(|result| {
            result["workload"] == workload
                && result["error"].is_null()
                && result["verified"]["expected_count"] == result["verified"]["count"]
                && result["figures"].as_array().unwrap().iter().any(|known| known["name"] == figure)
        })
    };
    assert!(stands("recovery", "first_read_worst") && stands("recovery", "replayed_commits"));
    assert!(stands("memory", "open_takes") && stands("memory", "page_cache_hits"));
    assert!(stands("concurrency", "writer_wait_p99"));
    let power_cut =
        |result: &&Value| result["parameters"]["crash"].as_str().is_some_and(|text| text.contains("power"));
    assert!(results.iter().find(power_cut).unwrap()["error"].is_null());
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "the data is gone");
}

#[test]
fn space_and_readers_stand_on_our_engines() {
    let folder = tempfile::tempdir().unwrap();
    let (data, report) = run_tiny(folder.path(), "space_path");
    let results = report["results"].as_array().unwrap();
    for engine in ["llmdb", "llmdb-no-log"] {
        for figure in ["cost_of_readers", "growth", "dense_copy", "open_takes_large", "open_difference"] {
            let stands = results.iter().any(|result| {
                let mut figures = result["figures"].as_array().unwrap().iter();
                result["engine"] == engine
                    && result["error"].is_null()
                    && figures.any(|known| known["name"] == figure && !known["target"].is_null())
            });
            assert!(stands, "{engine}: {figure}");
        }
    }
    let watched =
        |result: &&Value| result["series"][0]["name"].as_str().is_some_and(|name| name.contains("reader"));
    assert_eq!(results.iter().filter(watched).count(), 2);
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "the data is gone");
}

#[test]
fn wrong_names_list_the_known_ones() {
    let output = bench(&["run", "--workload", "tpcc"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("read_latency, write_throughput, ycsb_a") && said.contains("LLMDB-M01"), "{said}");
    let output = bench(&["run", "--engine", "oracle"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("llmdb, llmdb-no-log"));
    let output = bench(&["ycsb", "--workload", "z", "--trace", "-"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("a, b, c, d, e, f"));
    let output = bench(&["run", "--workload", "ycsb", "--durability", "often"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("sync, interval, none, no_log, read_only"));
}

#[test]
fn too_large_a_database_is_refused_before_the_work() {
    let output = bench(&["run", "--workload", "read_latency", "--database-gb", "1000000"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("MB are free there") && said.contains("LLMDB-M04"), "{said}");
}

#[test]
fn a_trace_has_as_many_lines_as_operations() {
    let output =
        bench(&["ycsb", "--workload", "d", "--records", "1000", "--operations", "300", "--trace", "-"]);
    assert!(output.status.success());
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 300);
    assert!(lines.iter().any(|line| line["op"] == "insert") && lines.iter().all(|line| line["len"] == 0));
}

/// Ctrl-C in the middle: partial results, marked so, and no data left.
#[test]
fn an_interrupted_run_leaves_partial_results_and_no_data() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("results.json"));
    std::fs::create_dir(&data).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_llmdb-bench"))
        .args(["run", "--profile", "tiny", "--workload", "write_throughput", "--engine", "llmdb"])
        .args(["--dir", data.to_str().unwrap(), "--json", file.to_str().unwrap(), "--seconds", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while !file.exists() && begin.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(20));
    }
    // To the whole group, its children's processes included, as a terminal does.
    let interrupt = Command::new("kill").args(["-INT", "--", &format!("-{}", child.id())]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let report = json(&file);
    assert_eq!(report["partial"], true);
    assert!(!report["results"].as_array().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
}
