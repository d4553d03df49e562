//! What guests cost: pages a second beside a native loop, metering, calls, compiling and loading.
//!
//! `cargo bench -p llmdb-wasm --features fuzzing --bench wasm_perf`; `WASM_PERF_MB` sets the size of the large file, 512
//! by default. Every answer is held against what Rust computes. Figures are the best of several rounds; two-thread
//! figures need two idle cores.

#![expect(unsafe_code, reason = "the file is read through a map, as a database's pages are")]

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use llmdb_wasm::fuzzing::{time_batch_calls, unmetered};
use llmdb_wasm::{ArtifactCache, Limits, Module, Parallel, Rows, Runtime, Value, Window, guests};

const PAGE_SIZE: usize = 4096;
/// A core's second cache holds it, with the guest's copy.
const SMALL_PAGES: usize = 64;
const ROUNDS: usize = 7;

type Native = fn(&[u8]) -> u64;

/// Name, native twin.
const MAPS: &[(&str, Native)] =
    &[("key32", key32), ("page_sum", page_sum), ("page_sum_scalar", page_sum), ("page_pick", page_pick)];

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

fn key32(page: &[u8]) -> u64 {
    (0..4).fold(0, |sum: u64, at| sum.wrapping_add(word(&page[at * 8..])))
}

fn page_sum(page: &[u8]) -> u64 {
    page.as_chunks().0.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

fn page_pick(page: &[u8]) -> u64 {
    let mut sum = 0u64;
    for record in page.chunks_exact(64) {
        // As the guest does it: a branch.
        if black_box(record[0]) < 26 {
            sum = sum.wrapping_add(word(&record[8..]));
        }
    }
    sum
}

fn main() {
    println!("resident before any call: {}", resident());
    // `cargo test --benches` only wants to know that it runs.
    let is_test = !std::env::args().any(|argument| argument == "--bench");
    let megabytes = std::env::var("WASM_PERF_MB").ok().and_then(|text| text.parse().ok());
    let megabytes = if is_test { 4 } else { megabytes.unwrap_or(512) };
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = directory.path().join("pages");
    let map = make_file(&path, megabytes);
    let module = Runtime::default().compile_named("pages", guests::PAGES.as_bytes()).expect("compiles");
    println!("pages of {PAGE_SIZE} bytes, metered; M pages/s, and the share of the native loop");
    for size in [map.len(), 8 << 20, 1 << 20] {
        let Some(bytes) = map.get(..size) else { continue };
        maps(&module, bytes, &path);
    }
    metering(&module, &map[..SMALL_PAGES * PAGE_SIZE]);
    calls(&module, if is_test { 1_000 } else { 1_000_000 });
    compiling(directory.path());
}

/// Resident memory of this process, where the system tells.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or("unknown".to_owned(), |size| size.trim().to_owned())
}

fn make_file(path: &Path, megabytes: usize) -> memmap2::Mmap {
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path).expect("a file"));
    let mut state = 1u64;
    for _ in 0..megabytes << 17 {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).expect("room");
    }
    let file = file.into_inner().expect("room");
    let file = File::open(path).inspect(|_| file.sync_all().expect("room")).expect("a file");
    // SAFETY: the file was just made in a directory of our own, and nobody changes it.
    unsafe { memmap2::Mmap::map(&file) }.expect("a map")
}

/// The best time of some rounds.
fn best(mut work: impl FnMut()) -> Duration {
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
    for (name, native) in MAPS {
        let mut expected = Vec::new();
        let native_time = best(|| {
            for _ in 0..repeats {
                expected.clear();
                expected.extend(bytes.chunks_exact(PAGE_SIZE).map(native));
                black_box(&expected);
            }
        });
        let expected = expected.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
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
        let parallel_time = best(|| {
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
    println!("metering, {SMALL_PAGES} pages in the guest's memory; ns a page");
    let plain = unmetered(&Runtime::default(), guests::PAGES.as_bytes()).expect("compiles");
    for (name, native) in MAPS {
        let native_bytes =
            bytes.chunks_exact(PAGE_SIZE).map(native).flat_map(u64::to_le_bytes).collect::<Vec<_>>();
        // Of `key32` a page holds 128.
        let keys = bytes
            .chunks_exact(32)
            .take(SMALL_PAGES)
            .map(key32)
            .flat_map(u64::to_le_bytes)
            .collect::<Vec<_>>();
        let expected = if *name == "key32" { keys } else { native_bytes };
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
            let arguments = [input, SMALL_PAGES as i32, output].map(Value::I32);
            let export = format!("{name}_map");
            let repeats = if *name == "key32" { 20_000 } else { 2_000 };
            let time = best(|| {
                for _ in 0..repeats {
                    instance.call(&export, &arguments).expect("a call");
                }
            });
            let found = instance.read("bench", output as u64, expected.len() as u64).expect("in memory");
            assert_eq!(found, expected, "{name}");
            time.as_secs_f64() * 1e9 / (repeats * SMALL_PAGES) as f64
        });
        let [plain, metered] = times;
        println!(
            "  {name:16} without {plain:7.2}   with {metered:7.2}   {:+.1} %",
            (metered / plain - 1.0) * 100.0
        );
    }
}

fn calls(module: &Module, count: u32) {
    let time = (0..ROUNDS).map(|_| time_batch_calls(module, "key32", count).expect("calls")).min();
    println!(
        "a batch call without items: {:.1} ns",
        time.unwrap_or_default().as_secs_f64() * 1e9 / f64::from(count)
    );
    let mut instance = module.instantiate().expect("an instance");
    let time =
        best(|| (0..count / 10).for_each(|_| drop(instance.call("llmdb_abi_version", &[]).expect("a call"))));
    println!("a call by name: {:.1} ns", time.as_secs_f64() * 1e9 / f64::from(count / 10));
    let time = best(|| (0..100).for_each(|_| drop(module.instantiate().expect("an instance"))));
    println!("an instance made and dropped: {:.1} us", time.as_secs_f64() * 1e4);
    let time = best(|| (0..100).for_each(|_| drop(module.map("key32").expect("a map"))));
    println!("a map made and dropped: {:.1} us", time.as_secs_f64() * 1e4);
}

/// A module of some 100 KB: functions that compute with their arguments, with branches and loops.
fn large_module() -> Vec<u8> {
    let function = |index: usize| {
        let steps = (0..18)
            .map(|step| {
                let number = index * 31 + step * 7 + 1;
                format!(
                    "(local.set 1 (i32.add (i32.mul (local.get 1) (i32.const {number})) (i32.xor (local.get 0) (i32.const {step}))))
                     (if (i32.lt_u (local.get 1) (i32.const {number})) (then (local.set 0 (i32.rotl (local.get 0) (i32.const 3)))))"
                )
            })
            .collect::<String>();
        format!(
            "(func $f{index} (export \"f{index}\") (param i32) (result i32) (local i32)
             (loop {steps} (br_if 0 (i32.and (local.tee 0 (i32.shr_u (local.get 0) (i32.const 1))) (i32.const 0xff))))
             (local.get 1))"
        )
    };
    let functions = (0..220).map(function).collect::<String>();
    wat::parse_str(format!("(module (memory (export \"memory\") 1) {functions})")).expect("valid")
}

fn compiling(directory: &Path) {
    let bytes = large_module();
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
    let time = best(|| expected = answer(&plain()));
    println!("  compiled, first call: {:.2} ms", time.as_secs_f64() * 1e3);
    runtime().compile(&bytes).expect("compiles");
    let time = best(|| {
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
