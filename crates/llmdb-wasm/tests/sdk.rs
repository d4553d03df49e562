//! Guests written with the macros for Rust and the header for C: as they are checked in, and built anew where the
//! compiler for them is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use llmdb_wasm::{Input, Module, Record, Rows, Runtime};

const ROW_SIZE: usize = 32;

fn guest_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guest")
}

fn compile(bytes: &[u8]) -> Module {
    Runtime::default().compile_named("guest", bytes).expect("a guest that fits")
}

struct Reading {
    time: i64,
    flags: u32,
    degrees: f64,
}

fn readings() -> Vec<Reading> {
    let reading = |i: i32| Reading {
        time: i64::from(i) * 997 - 300_000,
        flags: (i % 3) as u32,
        degrees: f64::from(i % 61) - 20.5,
    };
    (0..1500).map(reading).collect()
}

fn rows(readings: &[Reading]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for reading in readings {
        bytes.extend_from_slice(&reading.time.to_le_bytes());
        bytes.extend_from_slice(&7u32.to_le_bytes());
        bytes.extend_from_slice(&reading.flags.to_le_bytes());
        bytes.extend_from_slice(&reading.degrees.to_le_bytes());
        bytes.extend_from_slice(&[0xee; 8]);
    }
    bytes
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

fn records<'a>(keys: &'a [Vec<u8>]) -> impl Iterator<Item = Record<'a>> {
    keys.iter().enumerate().map(|(index, key)| {
        let record = Record::new(key, key.get(index % 2..).unwrap_or_default());
        if index % 5 == 0 { Record { valid_to: 77, ..record } } else { record }
    })
}

fn weather_computes_what_rust_does(module: &Module) {
    let readings = readings();
    let bytes = rows(&readings);
    let all = Rows::new(&bytes, ROW_SIZE).expect("whole rows");

    let output = module.map("fahrenheit").unwrap().rows(all).unwrap();
    let expected =
        readings.iter().map(|reading| (reading.degrees * 1.8 + 32.0).to_bits()).collect::<Vec<_>>();
    assert_eq!(words(output.bytes()), expected);

    let kept = module.filter("frost").unwrap().rows(all).unwrap().kept().collect::<Vec<_>>();
    let frosty = |(_, reading): &(usize, &Reading)| reading.flags & 1 == 1 && reading.degrees < 0.0;
    assert_eq!(kept, readings.iter().enumerate().filter(frosty).map(|(at, _)| at).collect::<Vec<_>>());
    assert!(kept.len() > 10);

    let mut checksum = module.map("checksum").unwrap();
    assert_eq!(checksum.input(), &Input::Pages(4096));
    let pages = &bytes[..bytes.len() / 4096 * 4096];
    let output = checksum.rows(Rows::new(pages, 4096).expect("whole pages")).unwrap();
    let expected = pages.chunks(4096).map(|page| words(page).into_iter().fold(0, u64::wrapping_add));
    assert_eq!(words(output.bytes()), expected.collect::<Vec<_>>());

    let mut by_hour = module.reducer("by_hour").unwrap();
    by_hour.rows(all).unwrap();
    let mut expected = vec![0u64; 48];
    for reading in &readings {
        let hour = (reading.time.rem_euclid(86_400) / 3600) as usize;
        expected[2 * hour] += 1;
        expected[2 * hour + 1] = (f64::from_bits(expected[2 * hour + 1]) + reading.degrees).to_bits();
    }
    assert_eq!(words(&by_hour.finish().unwrap()), expected);

    let keys = (0..300usize).map(|i| vec![(i % 11) as u8; i % 7]).collect::<Vec<_>>();
    let kept = module.filter("rhymes").unwrap().records(records(&keys)).unwrap().kept().collect::<Vec<_>>();
    let rhymes = |(_, record): &(usize, Record<'_>)| {
        !record.key.is_empty() && record.key.last() == record.value.first()
    };
    assert_eq!(kept, records(&keys).enumerate().filter(rhymes).map(|(at, _)| at).collect::<Vec<_>>());
    let census = words(&module.reduce("census", records(&keys)).unwrap().output);
    let byte_count = records(&keys).map(|record| record.key.len() + record.value.len()).sum::<usize>();
    assert_eq!(census, [300, byte_count as u64, 240]);
}

fn key_computes_what_rust_does(module: &Module) {
    let bytes = (0..=255).cycle().take(40 * 300).collect::<Vec<u8>>();
    let output = module.map("key_sum").unwrap().rows(Rows::new(&bytes, 40).expect("whole rows")).unwrap();
    let expected = bytes.chunks(40).map(|row| words(&row[..32]).into_iter().fold(0, u64::wrapping_add));
    assert_eq!(words(output.bytes()), expected.collect::<Vec<_>>());
    let keys = (0..300usize).map(|i| vec![1; i % 9]).collect::<Vec<_>>();
    let count = module.reduce("key_bytes", records(&keys)).unwrap().output;
    assert_eq!(words(&count), [keys.iter().map(Vec::len).sum::<usize>() as u64]);
}

#[test]
fn the_guest_in_rust_that_is_checked_in_computes_its_values() {
    weather_computes_what_rust_does(&compile(include_bytes!("../guest/built/weather.wasm")));
}

#[test]
fn the_guest_in_c_that_is_checked_in_computes_its_values() {
    key_computes_what_rust_does(&compile(include_bytes!("../guest/built/key.wasm")));
}

/// Runs a compiler; whether it succeeded. What it says goes where the test's output goes.
fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn the_guest_in_rust_is_built_anew_where_its_target_is_there() {
    const TARGET: [&str; 4] = ["--edition", "2024", "--target", "wasm32-unknown-unknown"];
    let rustc = || {
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command.args(TARGET);
        command
    };
    let libraries = rustc().args(["--print", "target-libdir"]).output();
    let libraries = libraries.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if !libraries.is_ok_and(|path| !path.is_empty() && Path::new(&path).is_dir()) {
        eprintln!("no target wasm32-unknown-unknown here: nothing built");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("libllmdb_guest.rlib");
    let built = directory.path().join("weather.wasm");
    let options = ["-C", "panic=abort", "-C", "opt-level=3", "-C", "strip=symbols", "-o"];
    let source = guest_directory().join("src/lib.rs");
    assert!(run(rustc()
        .args(["--crate-type", "rlib", "--crate-name", "llmdb_guest"])
        .args(options)
        .arg(&library)
        .arg(source)));
    let mut named = std::ffi::OsString::from("llmdb_guest=");
    named.push(&library);
    let source = guest_directory().join("examples/weather.rs");
    let mut build = rustc();
    build.args(["--crate-type", "cdylib", "--crate-name", "weather", "--extern"]).arg(named);
    assert!(run(build.args(options).arg(&built).arg(source)));
    weather_computes_what_rust_does(&compile(&std::fs::read(built).unwrap()));
}

#[test]
fn the_guest_in_c_is_built_where_its_compiler_is_there() {
    let clang = std::env::var_os("LLMDB_CLANG").unwrap_or_else(|| "clang".into());
    let directory = tempfile::tempdir().unwrap();
    let built = directory.path().join("key.wasm");
    let options =
        ["--target=wasm32", "-O3", "-nostdlib", "-mbulk-memory", "-Wall", "-Werror", "-Wl,--no-entry", "-o"];
    let source = guest_directory().join("examples/key.c");
    let output = Command::new(clang).args(options).arg(&built).arg(source).output();
    let Ok(output) = output else {
        eprintln!("no clang here: nothing built");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && (said.contains("No available targets") || said.contains("wasm-ld")) {
        eprintln!("this clang has no WebAssembly: nothing built");
        return;
    }
    assert!(output.status.success(), "{said}");
    key_computes_what_rust_does(&compile(&std::fs::read(built).unwrap()));
}
