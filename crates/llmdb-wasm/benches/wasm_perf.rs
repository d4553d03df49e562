//! What guests cost: pages a second beside a native loop, metering, calls, compiling and loading.
//!
//! `cargo bench -p llmdb-wasm --features fuzzing --bench wasm_perf`; `WASM_PERF_MB` sets the size of the large file, 512
//! by default, `WASM_PERF_ONLY` one part: `maps`, `metering`, `calls` or `compiling`. Every answer is held against what Rust computes. Figures are the best of several rounds, by processor time; two-thread
//! figures need two idle cores.

#![expect(unsafe_code, reason = "the file is read through a map, as a database's pages are")]

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use llmdb_wasm::fuzzing::{time_batch_calls, time_engine_calls, unmetered};
use llmdb_wasm::twins::{MAPS, large_module, pages};
use llmdb_wasm::{ArtifactCache, Limits, Module, Parallel, Rows, Runtime, Value, Window, guests};

const PAGE_SIZE: usize = 4096;
/// A core's second cache holds it, with the guest's copy.
const SMALL_PAGES: usize = 64;
const ROUNDS: usize = 7;

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let is_test = !std::env::args().any(|argument| argument == "--bench");
    let resident = resident_kib();
    println!("resident before any call: {resident} KiB");
    assert!(is_test || resident <= 5_000, "a program that calls nothing must stay within 5 MB");
    let megabytes = std::env::var("WASM_PERF_MB").ok().and_then(|text| text.parse().ok());
    let megabytes = if is_test { 4 } else { megabytes.unwrap_or(512) };
    let only = std::env::var("WASM_PERF_ONLY").unwrap_or_default();
    let is_wanted = |part: &str| only.is_empty() || only == part;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = directory.path().join("pages");
    let map = make_file(&path, megabytes);
    let module = Runtime::default().compile_named("pages", guests::PAGES.as_bytes()).expect("compiles");
    println!("pages of {PAGE_SIZE} bytes, metered; M pages/s, and the share of the native loop");
    for size in [map.len(), 8 << 20, 1 << 20] {
        let Some(bytes) = map.get(..size) else { continue };
        if is_wanted("maps") {
            maps(&module, bytes, &path);
        }
    }
    if is_wanted("metering") {
        metering(&module, &map[..SMALL_PAGES * PAGE_SIZE]);
    }
    if is_wanted("calls") {
        calls(&module, if is_test { 1_000 } else { 1_000_000 });
    }
    if is_wanted("compiling") {
        compiling(directory.path());
    }
}

/// Resident memory of this process in KiB; 0 where the system does not tell.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

fn make_file(path: &Path, megabytes: usize) -> memmap2::Mmap {
    let mut file = File::create_new(path).expect("a file");
    let part = pages(1024);
    for _ in 0..megabytes / 4 {
        file.write_all(&part).expect("room");
    }
    file.sync_all().expect("room");
    let file = File::open(path).expect("a file");
    // SAFETY: the file was just made in a directory of our own, and nobody changes it.
    unsafe { memmap2::Mmap::map(&file) }.expect("a map")
}

/// What this thread has had of a processor, so that others on the machine count less.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is one `timespec`, and the clock exists wherever this benchmark runs.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The best time of some rounds, by this thread's processor time.
fn best(mut work: impl FnMut()) -> Duration {
    let mut time = |_| {
        let started = thread_time();
        work();
        thread_time() - started
    };
    (0..ROUNDS).map(&mut time).min().unwrap_or_default()
}

/// The same by the clock on the wall, for work of several threads.
fn best_of_wall(mut work: impl FnMut()) -> Duration {
    let mut time = |_| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    (0..ROUNDS).map(&mut time).min().unwrap_or_default()
}

fn rate(pages: usize, time: Duration) -> f64 {
    pages as f64 / time.as_secs_f64() / 1e6
}

fn maps(module: &Module, bytes: &[u8], path: &Path) {
    let rows = Rows::new(bytes, PAGE_SIZE).expect("whole pages");
    let repeats = ((64 << 20) / bytes.len()).clamp(1, 64);
    println!("{} MiB", bytes.len() >> 20);
    for (name, native) in &MAPS {
        let mut expected = Vec::new();
        let native_time = best(|| {
            for _ in 0..repeats {
                expected.clear();
                bytes.chunks_exact(PAGE_SIZE).for_each(|page| native(page, &mut expected));
                black_box(&expected);
            }
        });
        let mut stage = module.map(name).expect("a map");
        let mut output = stage.output();
        let time = best(|| {
            for _ in 0..repeats {
                output.clear();
                stage.rows_into(rows, &mut output, || false).expect("a map");
            }
        });
        assert_eq!(output.bytes(), expected, "{name}");
        let mut parallel_bytes = Vec::new();
        let parallel_time = best_of_wall(|| {
            for _ in 0..repeats {
                parallel_bytes.clear();
                let parallel = Parallel::new(2).map(module, name, rows, |part| {
                    parallel_bytes.extend_from_slice(part.output.bytes());
                    ControlFlow::Continue(())
                });
                parallel.expect("a map");
            }
        });
        assert_eq!(parallel_bytes, expected, "{name}");
        let pages = rows.len() * repeats;
        let [native, one, two] = [native_time, time, parallel_time].map(|time| rate(pages, time));
        let window =
            window_time(module, name, path, bytes.len(), repeats, &expected).map(|time| rate(pages, time));
        let window =
            window.map_or(String::new(), |rate| format!("   window {rate:7.2} ({:.2})", rate / native));
        println!(
            "  {name:16} native {native:7.2}   copied {one:7.2} ({:.2}), two threads {two:7.2}{window}",
            one / native
        );
    }
}

/// Through a window; none for a function that wants columns.
fn window_time(
    module: &Module,
    name: &str,
    path: &Path,
    length: usize,
    repeats: usize,
    expected: &[u8],
) -> Option<Duration> {
    let window = Window::new(File::open(path).expect("a file"), 0, length as u64).expect("fits");
    let mut stage = module.map_trusted(name, &window).ok()?;
    let mut output = stage.pages(0..0).expect("a map");
    let time = best(|| {
        for _ in 0..repeats {
            output.clear();
            stage.pages_into(0..stage.page_count(), &mut output).expect("a map");
        }
    });
    assert_eq!(output.bytes(), expected, "{name}");
    Some(time)
}

/// The same calls on the same bytes inside the guest, metered and not.
fn metering(module: &Module, bytes: &[u8]) {
    println!("metering, {SMALL_PAGES} pages in the guest's memory; ns a page, of `key32` a row");
    let plain = unmetered(&Runtime::default(), guests::PAGES.as_bytes()).expect("compiles");
    for (name, native) in &MAPS {
        // `key32` reads rows of 32 bytes, of which a page holds 128.
        let row_size = if *name == "key32" { 32 } else { PAGE_SIZE };
        let mut expected = Vec::new();
        bytes.chunks_exact(row_size).for_each(|row| native(row, &mut expected));
        let count = bytes.len() / row_size;
        let times = [&plain, module].map(|module| {
            let mut instance = module.instantiate().expect("an instance");
            let mut alloc = |length: usize| {
                let length = Value::I32(i32::try_from(length).expect("small"));
                match instance.call("llmdb_alloc", &[length]).expect("room")[..] {
                    [Value::I32(pointer)] => pointer,
                    _ => panic!("not a pointer"),
                }
            };
            let (input, output) = (alloc(bytes.len()), alloc(expected.len()));
            instance.write("bench", input as u64, bytes).expect("room");
            let arguments = [input, count as i32, output].map(Value::I32);
            let export = format!("{name}_map");
            let repeats = 1_000;
            let time = best(|| {
                for _ in 0..repeats {
                    instance.call(&export, &arguments).expect("a call");
                }
            });
            let found = instance.read("bench", output as u64, expected.len() as u64).expect("in memory");
            assert_eq!(found, expected, "{name}");
            time.as_secs_f64() * 1e9 / (repeats * count) as f64
        });
        let [plain, metered] = times;
        println!(
            "  {name:16} without {plain:7.2}   with {metered:7.2}   {:+.1} %",
            (metered / plain - 1.0) * 100.0
        );
    }
}

fn calls(module: &Module, count: u32) {
    // Short rounds in turn, so that some of them are not interrupted: these are timed by the clock on the wall.
    let short = count / 50;
    let [mut whole, mut engine] = [Duration::MAX; 2];
    for _ in 0..ROUNDS * 50 {
        whole = whole.min(time_batch_calls(module, "key32", short).expect("calls"));
        engine = engine.min(time_engine_calls(module, "key32", short).expect("calls"));
    }
    let [whole, engine] = [whole, engine].map(|time| time.as_secs_f64() * 1e9 / f64::from(short));
    println!("a batch call without items: {whole:.1} ns, of which the engine takes {engine:.1} ns");
    let mut instance = module.instantiate().expect("an instance");
    let time =
        best(|| (0..count).for_each(|_| drop(instance.call("llmdb_abi_version", &[]).expect("a call"))));
    println!("a call by name: {:.1} ns", time.as_secs_f64() * 1e9 / f64::from(count));
    let time = best(|| (0..100).for_each(|_| drop(module.instantiate().expect("an instance"))));
    println!("an instance made and dropped: {:.1} us", time.as_secs_f64() * 1e4);
    let time = best(|| (0..100).for_each(|_| drop(module.map("key32").expect("a map"))));
    println!("a map made and dropped: {:.1} us", time.as_secs_f64() * 1e4);
}

fn compiling(directory: &Path) {
    let bytes = wat::parse_str(large_module()).expect("valid");
    println!("a module of {} KB", bytes.len() / 1000);
    let answer = |module: &Module| {
        let mut instance = module.instantiate().expect("an instance");
        instance.call("f7", &[Value::I32(12_345)]).expect("a call")
    };
    let path = directory.join("artifacts");
    let runtime = || {
        let artifacts = ArtifactCache::open(&path).expect("a directory");
        Runtime::new(Limits::default()).with_artifacts(artifacts)
    };
    let plain = || Runtime::default().compile(&bytes).expect("compiles");
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let time = best_of_wall(|| expected = answer(&plain()));
    println!("  compiled, first call: {:.2} ms", time.as_secs_f64() * 1e3);
    runtime().compile(&bytes).expect("compiles");
    let time = best_of_wall(|| {
        let runtime = runtime();
        found = answer(&runtime.compile(&bytes).expect("loads"));
        assert_eq!(runtime.compilations(), 0, "it was loaded");
    });
    assert_eq!(found, expected);
    println!("  loaded from disk, first call: {:.2} ms", time.as_secs_f64() * 1e3);
    let runtime = runtime();
    runtime.compile(&bytes).expect("loads");
    let time = best(|| found = answer(&runtime.compile(&bytes).expect("cached")));
    assert_eq!(found, expected);
    println!("  in memory, first call: {:.3} ms", time.as_secs_f64() * 1e3);
}
