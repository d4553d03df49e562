//! What the runner refuses, checks and reports.

use super::*;
use crate::engine::wrong::{Fault, Wrong};

fn tiny(workloads: &[&str]) -> RunOptions {
    RunOptions {
        profile: "tiny".to_owned(),
        workloads: workloads.iter().map(|&name| name.to_owned()).collect(),
        sizes: Sizes::tiny(),
        probe: false,
        ..RunOptions::quick()
    }
}

fn run(options: RunOptions) -> RunReport {
    Run::new(options).unwrap().execute(&mut |_| {}).unwrap()
}

#[test]
fn micro_and_ycsb_stand_on_every_engine() {
    let report = run(tiny(&["micro", "ycsb"]));
    for result in report.results.iter().filter(|result| !result.is_not_offered()) {
        assert_eq!(result.error, None, "{}", result.key());
        assert!(result.verified.is_ok() && result.verified.count > 0, "{}", result.key());
        assert!(!result.figures.is_empty() && result.latency.is_some(), "{}", result.key());
        assert!(result.figures.iter().all(|figure| figure.value.is_finite()), "{}", result.key());
    }
    let durable: Vec<_> = report
        .results
        .iter()
        .filter(|result| result.workload == "write_throughput" && result.durable.is_durable())
        .filter(|result| result.engine.starts_with("llmdb") && result.error.is_none())
        .collect();
    assert!(!durable.is_empty());
    assert!(durable.iter().all(|result| result.verified.flushes.is_some_and(|flushes| flushes > 0)));
}

#[test]
fn the_read_path_s_bars_are_held_or_say_why_not() {
    let report = run(tiny(&["read_path"]));
    for result in report.results.iter().filter(|result| !result.is_not_offered()) {
        assert_eq!(result.error, None, "{}", result.key());
        assert!(result.verified.is_ok() && result.verified.count == 3_000, "{}", result.key());
    }
    let of_gets: Vec<_> = report
        .results
        .iter()
        .filter(|result| result.engine == "llmdb" && result.parameters.contains_key("threads"))
        .collect();
    assert_eq!(of_gets.len(), 8);
    let has_peers = report.results.iter().any(|result| result.engine == "lmdb");
    for result in of_gets.iter().filter(|result| !result.parameters["read"].starts_with("begin")) {
        let rate = |name: &str| ["gets_ratio", "ranges_ratio", "rows_ratio"].contains(&name);
        let held = result.figures.iter().find(|figure| rate(&figure.name));
        assert_eq!(held.is_some(), has_peers, "{}", result.key());
        assert_eq!(result.unmeasurable.is_empty(), has_peers, "{}", result.key());
    }
}

#[test]
fn the_commit_path_s_bars_are_held_or_say_why_not() {
    let report = run(RunOptions { probe: true, ..tiny(&["commit_path"]) });
    let standing = || report.results.iter().filter(|result| !result.is_not_offered());
    for result in standing() {
        assert_eq!(result.error, None, "{}", result.key());
        assert!(result.verified.is_ok() && result.verified.count > 0, "{}", result.key());
        assert_eq!(result.probe.is_some(), result.durable.is_durable(), "{}", result.key());
    }
    let has_peers = report.results.iter().any(|result| result.engine == "lmdb");
    let ours = |parameter: &str, value: &str| {
        let mut found = standing().filter(|result| result.engine == "llmdb" && result.durable.is_durable());
        let found = found.find(|result| result.parameters.get(parameter).is_some_and(|its| its == value));
        found.unwrap_or_else(|| panic!("no result with {parameter} {value}"))
    };
    for (parameter, value, target) in [
        ("threads", "1", "commit_p50_to_storage"),
        ("threads", "1", "flushes_per_commit"),
        ("threads", "64", "commits_ratio"),
        ("run", "long, with checkpoints", "commit_p999_to_p50"),
        ("fill", "sorted records", "user_data_to_storage"),
        ("writers", "0, then 1", "gets_kept"),
    ] {
        let figure = ours(parameter, value).figure(target);
        assert!(figure.is_some_and(|figure| figure.target.is_some()), "{parameter} {value}: {target}");
    }
    for (parameter, value, bars) in [
        ("threads", "8", &["commits_ratio"][..]),
        ("threads", "32", &["commits_ratio"]),
        ("fill", "batches over a growing set", &["user_data_ratio", "write_amplification_ratio"]),
    ] {
        let result = ours(parameter, value);
        // Where the device counts nothing there is no amplification.
        for bar in bars.iter().filter(|bar| {
            !has_peers || result.figure("write_amplification").is_some() || !bar.starts_with("write")
        }) {
            assert_eq!(result.figure(bar).is_some(), has_peers, "{parameter} {value}: {bar}");
        }
        assert_eq!(result.unmeasurable.is_empty(), has_peers, "{parameter} {value}");
    }
}

#[test]
fn the_past_s_bars_are_held_or_say_why_not() {
    let report = run(tiny(&["temporal", "time-series"]));
    let has_peers = report.results.iter().any(|result| result.engine == "lmdb");
    let engines: std::collections::BTreeSet<_> =
        report.results.iter().map(|result| result.engine.as_str()).collect();
    let mut keeping = if has_peers { vec!["llmdb", "lmdb", "sqlite"] } else { vec!["llmdb"] };
    keeping.extend(cfg!(feature = "surrealkv").then_some("surrealkv"));
    assert!(engines.iter().eq(&keeping), "{engines:?}");
    for result in &report.results {
        assert_eq!(result.error, None, "{}", result.key());
        assert!(result.verified.is_ok() && result.verified.count > 0, "{}", result.key());
        assert!(result.figures.iter().all(|figure| figure.value.is_finite()), "{}", result.key());
    }
    let ours = |read: &str, figure: &str| {
        let mut results = report.results.iter().filter(|result| result.engine == "llmdb");
        let found = results.find(|result| result.parameters["read"].starts_with(read));
        let figure = found.unwrap_or_else(|| panic!("nothing is read like {read}")).figure(figure);
        figure.is_some_and(|figure| figure.target.is_some())
    };
    for (read, figure) in [
        ("all changes told", "puts"),
        ("all changes told", "bytes_per_byte"),
        ("get, now", "to_plain"),
        ("get, known 10 versions ago", "to_latest"),
        ("get, any valid time, known at any commit", "to_latest"),
        ("random questions one by one", "worst_to_latest"),
        ("scans of 1000, now", "to_plain"),
        ("scans of 1000, any", "to_latest"),
        ("points in batches", "points"),
        ("windows of an hour", "window_us"),
        ("least, greatest and mean", "ms_per_million"),
    ] {
        assert!(ours(read, figure), "{read}: {figure}");
    }
    for (read, figure) in [("get, known 10", "gets_to_lmdb"), ("scans of 100, any", "scans_ratio")] {
        assert_eq!(ours(read, figure), has_peers, "{read}: {figure}");
    }
}

#[test]
fn keys_of_results_are_unique() {
    let report = run(tiny(&["micro", "ycsb", "commit_path", "temporal", "time-series"]));
    let mut keys: Vec<_> = report.results.iter().map(SuiteResult::key).collect();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all);
}

/// Runs a wrong engine; returns the keys of results that did not fail, and how many there were of those that `counts`.
fn missed_by(fault: Fault, workload: &str, counts: fn(&SuiteResult) -> bool) -> (Vec<String>, usize) {
    let run = Run::with_engines(tiny(&[workload]), vec![Box::new(Wrong::new(fault))]).unwrap();
    let report = run.execute(&mut |_| {}).unwrap();
    let offered = report.results.iter().filter(|result| !result.is_not_offered() && counts(result));
    let offered: Vec<&SuiteResult> = offered.collect();
    let missed = offered.iter().filter(|result| result.error.is_none() || !result.figures.is_empty());
    (missed.map(|result| result.key()).collect(), offered.len())
}

/// Workloads in which a wrong answer can be read.
const ANSWERING: [&str; 11] = [
    "read_latency",
    "write_throughput",
    "ycsb_a",
    "ycsb_c",
    "ycsb_d",
    "ycsb_e",
    "ycsb_f",
    "read_path",
    "commit_path",
    "temporal_queries",
    "time_series",
];

#[test]
fn an_engine_that_drops_keys_fails_every_run() {
    for workload in ANSWERING {
        let (missed, offered) = missed_by(Fault::DropsKeys, workload, |_| true);
        assert!(offered > 0 && missed.is_empty(), "{workload}: {missed:?}");
    }
}

#[test]
fn an_engine_that_reads_stale_values_fails_every_run() {
    for workload in ANSWERING {
        let (missed, offered) = missed_by(Fault::StaleReads, workload, |_| true);
        assert!(offered > 0 && missed.is_empty(), "{workload}: {missed:?}");
    }
}

#[test]
fn an_engine_that_skips_flushes_fails_every_durable_run() {
    for workload in ["write_throughput", "ycsb_a", "ycsb_d", "ycsb_f", "commit_path"] {
        let (missed, offered) =
            missed_by(Fault::SkipsFlushes, workload, |result| result.durable.is_durable());
        assert!(offered > 0 && missed.is_empty(), "{workload}: {missed:?}");
    }
}

#[test]
fn an_engine_that_panics_fails_alone() {
    let engines: Vec<Box<dyn EngineKind>> =
        vec![Box::new(Wrong::new(Fault::PanicsAtClose)), Box::new(crate::engine::Llmdb::default())];
    let report = Run::with_engines(tiny(&["ycsb_c"]), engines).unwrap().execute(&mut |_| {}).unwrap();
    let error = |name: &str| {
        let result = report.results.iter().find(|result| result.engine == name).unwrap();
        result.error.clone()
    };
    assert!(error("wrong-panics-at-close").unwrap().contains("it panicked: on purpose"));
    assert_eq!(error("llmdb"), None);
}

#[test]
fn an_interrupted_run_is_partial_and_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let options = RunOptions { folder: folder.path().to_owned(), ..tiny(&["micro"]) };
    let run = Run::new(options).unwrap();
    let stop = run.stop();
    let report = run
        .execute(&mut |progress| {
            if matches!(progress, Progress::Result(_)) {
                stop.stop();
            }
        })
        .unwrap();
    assert!(report.partial && !report.results.is_empty());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn too_little_disk_or_memory_is_said_before_the_work() {
    let mut options = tiny(&["read_latency"]);
    options.sizes.database_bytes = vec![1 << 50];
    options.sizes.database_records_max = u64::MAX;
    let Err(error) = Run::new(options) else { panic!("no disk is that large") };
    assert_eq!(error.code(), "LLMDB-M04");
    let mut options = tiny(&["ycsb_c"]);
    options.sizes.ycsb_records = 1;
    let mut plans = workload::chosen(&["ycsb_c".to_owned()]).unwrap().remove(0).plans(&options.sizes);
    plans[0].memory_bytes = u64::MAX / 2;
    let work = vec![(workload::chosen(&["ycsb_c".to_owned()]).unwrap().remove(0), plans)];
    let Err(error) = check_room(&options.folder, &work, &engine::all()) else {
        panic!("no memory is that large")
    };
    assert_eq!(error.code(), "LLMDB-M05");
}

#[test]
fn the_open_loop_keeps_its_rate() {
    let mut options = tiny(&["ycsb_c"]);
    options.engines = vec!["llmdb".to_owned()];
    options.sizes.ycsb_rate = Some(1_000.0);
    options.sizes.phase_time = Duration::from_millis(400);
    let report = run(options);
    let result = &report.results[0];
    assert_eq!(result.error, None);
    let rate = result.figure("throughput").unwrap().value;
    assert!((500.0..=1_100.0).contains(&rate), "{rate}");
    assert_eq!(result.parameters["loop"], "open, 1000/s");
}

#[test]
#[cfg(feature = "wasm")]
fn functions_in_webassembly_compute_what_rust_does_and_have_their_bars() {
    let engines: Vec<Box<dyn EngineKind>> = vec![Box::new(crate::engine::Llmdb::default())];
    let report = Run::with_engines(tiny(&["wasm_perf"]), engines).unwrap().execute(&mut |_| {}).unwrap();
    assert_eq!(report.results.len(), 13 + 13 + 7);
    for result in &report.results {
        assert_eq!(result.error, None, "{}", result.key());
        assert!(result.verified.is_ok() && result.verified.count > 0, "{}", result.key());
        assert!(result.figures.iter().all(|figure| figure.value.is_finite()), "{}", result.key());
    }
    let targets = report.results.iter().flat_map(|result| &result.figures);
    let mut targets = targets.filter(|figure| figure.target.is_some()).map(|figure| figure.name.clone());
    let (mut of_pages, mut of_costs) = (0, 0);
    targets.by_ref().for_each(|name| if name.starts_with("pages") { of_pages += 1 } else { of_costs += 1 });
    // Two rates from memory, one from caches, three bars in each; a call, two meters, two first calls.
    assert_eq!((of_pages, of_costs), (3 + 2 * 3, 5));
}
