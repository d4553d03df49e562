//! Maps, filters and reductions over rows and records, against what plain Rust computes.

#![cfg(feature = "wat")]

use std::ops::ControlFlow;

use llmdb_wasm::{
    Cancel, Error, Input, Limits, Module, Parallel, Record, Result, Rows, Runtime, Stage, guests,
};
use proptest::prelude::*;

const PAGE_SIZE: usize = 4096;

fn pages_module() -> Module {
    Runtime::default().compile_named("pages", guests::PAGES.as_bytes()).expect("compiles")
}

fn rows(bytes: &[u8], size: usize) -> Rows<'_> {
    Rows::new(bytes, size).expect("whole rows")
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word))
}

fn sum(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0, u64::wrapping_add)
}

fn pick(page: &[u8]) -> u64 {
    let records = page.chunks_exact(64).filter(|record| record[0] < 26);
    sum(records.filter_map(|record| words(record).nth(1)))
}

/// Splitmix64.
fn random_bytes(mut seed: u64, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

fn map_words(stage: &mut Stage, rows: Rows<'_>) -> Vec<u64> {
    words(stage.rows(rows).expect("a map").bytes()).collect()
}

#[test]
fn maps_of_pages_compute_what_rust_does() {
    let (module, bytes) = (pages_module(), random_bytes(1, 200 * PAGE_SIZE));
    let native = |function: fn(&[u8]) -> u64| bytes.chunks_exact(PAGE_SIZE).map(function).collect::<Vec<_>>();
    let pages = rows(&bytes, PAGE_SIZE);
    for (name, function) in [
        ("page_sum", (|page| sum(words(page))) as fn(&[u8]) -> u64),
        ("page_sum_scalar", |page| sum(words(page))),
        ("page_pick", pick),
        ("key32", |page| sum(words(&page[..32]))),
        ("page_key", |page| sum(words(&page[..32]))),
    ] {
        assert_eq!(map_words(&mut module.map(name).unwrap(), pages), native(function), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn columns_of_any_rows_are_gathered_rightly(seed: u64, count in 0usize..300, row_size in 32usize..100) {
        let (module, bytes) = (pages_module(), random_bytes(seed, count * row_size));
        let (all, chunks) = (rows(&bytes, row_size), || bytes.chunks_exact(row_size));
        let keys = chunks().map(|row| sum(words(&row[..32]))).collect::<Vec<_>>();
        prop_assert_eq!(map_words(&mut module.map("key32").unwrap(), all), keys);
        let even = chunks().enumerate().filter(|(_, row)| row[0] % 2 == 0).map(|(at, _)| at).collect::<Vec<_>>();
        let kept = module.filter("key_is_even").unwrap().rows(all).unwrap();
        prop_assert_eq!(kept.len(), count);
        prop_assert_eq!(kept.kept().collect::<Vec<_>>(), even);
        let mut totals = module.reducer("totals").unwrap();
        totals.rows(all).unwrap();
        let native = [sum(chunks().map(|row| words(row).next().unwrap())),
            sum(chunks().map(|row| words(&row[16..]).next().unwrap()))];
        prop_assert_eq!(words(&totals.finish().unwrap()).collect::<Vec<_>>(), native);
    }

    #[test]
    fn threads_and_chunks_change_nothing(
        seed: u64, count in 0usize..400, threads in 1usize..4, chunk in 1usize..90, ahead in 1usize..6,
    ) {
        let (module, bytes) = (pages_module(), random_bytes(seed, count * 64));
        let all = rows(&bytes, 64);
        let alone = map_words(&mut module.map("key32").unwrap(), all);
        let mut together = Vec::new();
        let parallel = Parallel::new(threads).chunk_rows(chunk).chunks_ahead(ahead);
        let stats = parallel.map(&module, "key32", all, |part| {
            assert_eq!((part.first, part.total), (together.len(), count));
            together.extend(words(part.output.bytes()));
            assert_eq!(part.done, together.len());
            ControlFlow::Continue(())
        });
        prop_assert_eq!(together, alone);
        prop_assert_eq!(stats.unwrap().records, count as u64);
    }

    #[test]
    fn records_are_given_with_the_declared_fields_only(
        list in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<u16>(), any::<i64>()), 0..300),
        bits in 1u8..16,
    ) {
        let module = Runtime::default().compile_named("echo", echo(bits).as_bytes()).unwrap();
        let values = list.iter().map(|(_, length, _)| vec![*length as u8; usize::from(*length % 50)]).collect::<Vec<_>>();
        let records = || list.iter().zip(&values).map(|((key, _, time), value)| Record {
            valid_from: *time, known_to: *time, ..Record::new(key, value)
        });
        let output = module.map("echo").unwrap().records(records()).unwrap();
        prop_assert_eq!(output.len(), list.len());
        for (answer, record) in output.iter().zip(records()) {
            let has = |bit: u8| bits & (1 << bit) != 0;
            let valid_from = if has(2) { record.valid_from } else { i64::MIN };
            let mut expected = valid_from.to_le_bytes().to_vec();
            if has(3) {
                expected.extend_from_slice(&record.known_to.to_le_bytes());
            }
            expected.extend_from_slice(if has(0) { record.key } else { b"" });
            expected.extend_from_slice(if has(1) { record.value } else { b"" });
            prop_assert_eq!(answer, &expected[..]);
        }
    }
}

const PRELUDE: &str = r#"(memory (export "memory") 64)
    (global $free (mut i32) (i32.const 2097152))
    (func (export "llmdb_alloc") (param i32) (result i32) (global.get $free)
      (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 0)) (i32.const 15)) (i32.const -16))))"#;

/// A map of records to: valid from, known to (where declared), key, value.
fn echo(bits: u8) -> String {
    let known = if bits & 8 == 0 {
        ""
    } else {
        r#"(i64.store (local.get $to) (i64.load offset=40 (local.get $entry)))
           (local.set $to (i32.add (local.get $to) (i32.const 8)))"#
    };
    format!(
        r#"(module {PRELUDE}
        (data (i32.const 16) "\01\00\00\00\00\00\00\00\{bits:02x}\00\00\00\00\00\00\00")
        (func (export "llmdb_abi_version") (result i32) (i32.const 2))
        (func (export "echo_input") (result i32) (i32.const 16))
        (func (export "echo_map") (param $batch i32) (param $size i32) (param $out i32) (result i64)
          (local $count i32) (local $step i32) (local $entry i32) (local $i i32) (local $to i32) (local $from i32)
          (local.set $count (i32.load (local.get $batch)))
          (local.set $step (i32.load offset=4 (local.get $batch)))
          (local.set $entry (i32.add (local.get $batch) (i32.const 16)))
          ;; ends from 4096 on, bytes after them
          (local.set $from (i32.add (i32.const 4096) (i32.shl (local.get $count) (i32.const 2))))
          (local.set $to (local.get $from))
          (loop $next
            (i64.store (local.get $to) (i64.load offset=16 (local.get $entry)))
            (local.set $to (i32.add (local.get $to) (i32.const 8)))
            {known}
            (memory.copy (local.get $to)
              (i32.add (local.get $batch) (i32.load (local.get $entry))) (i32.load offset=4 (local.get $entry)))
            (local.set $to (i32.add (local.get $to) (i32.load offset=4 (local.get $entry))))
            (memory.copy (local.get $to)
              (i32.add (local.get $batch) (i32.load offset=8 (local.get $entry))) (i32.load offset=12 (local.get $entry)))
            (local.set $to (i32.add (local.get $to) (i32.load offset=12 (local.get $entry))))
            (i32.store (i32.add (i32.const 4096) (i32.shl (local.get $i) (i32.const 2)))
              (i32.sub (local.get $to) (local.get $from)))
            (local.set $entry (i32.add (local.get $entry) (local.get $step)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.ne (local.get $i) (local.get $count))))
          (i64.or (i64.const 4096)
            (i64.shl (i64.extend_i32_u (i32.sub (local.get $to) (i32.const 4096))) (i64.const 32)))))"#
    )
}

/// A module with one function `f` of the given declaration and body.
fn guest(version: i32, declaration: [u32; 6], exports: &str) -> Result<Module> {
    let bytes = declaration.iter().flat_map(|word| word.to_le_bytes());
    let data = bytes.map(|byte| format!("\\{byte:02x}")).collect::<String>();
    let source = format!(
        r#"(module {PRELUDE} (data (i32.const 16) "{data}")
        (func (export "llmdb_abi_version") (result i32) (i32.const {version}))
        (func (export "f_input") (result i32) (i32.const 16)) {exports})"#
    );
    Runtime::default().compile_named("hostile", source.as_bytes())
}

fn map_body(body: &str) -> String {
    format!(r#"(func (export "f_map") (param i32 i32 i32) (result i64) {body})"#)
}

const COLUMN_8: [u32; 6] = [2, 8, 1, 0, 0, 8];

fn fails(stage: Result<Stage>, code: &str) -> String {
    let error = stage.and_then(|mut stage| stage.rows(rows(&[7; 800], 8))).expect_err("a hostile guest");
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains("module hostile, function f"), "{error}");
    error.to_string()
}

#[test]
fn declarations_that_make_no_sense_are_refused() {
    for declaration in [
        [0, 8, 1, 0, 0, 8],
        [4, 8, 1, 0, 0, 8],
        [2, 8, 0, 0, 0, 8],
        [2, 8, 17, 0, 0, 8],
        [2, 8, u32::MAX, 0, 0, 8],
        [2, 8, 1, 1, 0, 8],
        [2, 8, 1, 0, 0, 0],
        [2, 8, 1, 0, 0, 4097],
        [2, 4097, 1, 0, 0, 8],
        [3, 8, 0, 0, 0, 0],
        [3, 8, 4095, 0, 0, 0],
        [3, 8, 131_072, 0, 0, 0],
        [1, 8, 0, 0, 0, 0],
        [1, 8, 16, 0, 0, 0],
    ] {
        let module = guest(2, declaration, &map_body("(i64.const 0)")).unwrap();
        fails(module.map("f"), "LLMDB-W08");
    }
    let filter = r#"(func (export "f_filter") (param i32 i32 i32) (result i64) (i64.const 0))"#;
    fails(guest(2, COLUMN_8, filter).unwrap().filter("f"), "LLMDB-W08");
}

#[test]
fn a_declaration_outside_the_memory_is_refused() {
    let source = format!(
        r#"(module {PRELUDE} (func (export "llmdb_abi_version") (result i32) (i32.const 2))
        (func (export "f_input") (result i32) (i32.const 0x3ffff8)) {})"#,
        map_body("(i64.const 0)")
    );
    let module = Runtime::default().compile_named("hostile", source.as_bytes()).unwrap();
    fails(module.map("f"), "LLMDB-W09");
}

#[test]
fn maps_and_filters_need_version_2() {
    fails(guest(1, COLUMN_8, &map_body("(i64.const 0)")).unwrap().map("f"), "LLMDB-W08");
    fails(guest(2, COLUMN_8, "").unwrap().map("f"), "LLMDB-W08");
    let narrow = r#"(func (export "f_map") (param i32 i32 i32) (result i32) (i32.const 0))"#;
    fails(guest(2, COLUMN_8, narrow).unwrap().map("f"), "LLMDB-W08");
}

#[test]
fn answers_that_make_no_sense_are_refused() {
    let fixed = |body: &str| guest(2, COLUMN_8, &map_body(body)).unwrap().map("f");
    assert!(fixed("(i64.const 0)").unwrap().rows(rows(&[7; 800], 8)).is_ok());
    fails(fixed("(i64.const 1)"), "LLMDB-W08");
    assert!(fails(fixed("(i64.const -5)"), "LLMDB-W11").contains("-5"));
    fails(fixed("(unreachable)"), "LLMDB-W07");
    fails(fixed("(loop (br 0)) (i64.const 0)"), "LLMDB-W06");
    let any = |body: &str| guest(2, [2, 0, 1, 0, 0, 8], &map_body(body)).unwrap().map("f");
    fails(any("(i64.const 0)"), "LLMDB-W08");
    fails(any("(i64.const 0x7fffffff00000000)"), "LLMDB-W09");
    // 64 ends of zero and a byte too many is fine; an end beyond the bytes is not.
    assert!(any("(i64.const 0x10100001000)").unwrap().rows(rows(&[7; 512], 8)).is_ok());
    fails(any("(i32.store (i32.const 4096) (i32.const 2)) (i64.const 0x10100001000)"), "LLMDB-W08");
}

#[test]
fn a_filter_answers_zero_or_one() {
    let filter = |body: &str| {
        let body =
            format!(r#"(func (export "f_filter") (param i32 i32 i32) (result i64) {body} (i64.const 0))"#);
        guest(2, [2, 0, 1, 0, 0, 8], &body).unwrap().filter("f")
    };
    let kept = filter("(i32.store8 offset=3 (local.get 2) (i32.const 1))").unwrap().rows(rows(&[0; 80], 8));
    assert_eq!(kept.unwrap().kept().collect::<Vec<_>>(), [3]);
    fails(filter("(i32.store8 offset=3 (local.get 2) (i32.const 2))"), "LLMDB-W08");
}

#[test]
fn rows_that_do_not_fit_change_nothing() {
    let module = pages_module();
    let mut sum = module.map("page_sum").unwrap();
    assert_eq!(sum.input(), &Input::Pages(4096));
    let error = sum.rows(rows(&[0; 8192], 8192)).unwrap_err();
    assert!(matches!(error, Error::Input { .. }), "{error}");
    assert!(matches!(sum.records([Record::new(b"", b"")]), Err(Error::Input { .. })));
    assert_eq!(map_words(&mut sum, rows(&[0; 8192], 4096)), [0, 0]);
    let mut key = module.map("key32").unwrap();
    assert!(matches!(key.rows(rows(&[0; 31], 31)), Err(Error::Input { .. })));
    assert_eq!(map_words(&mut key, rows(&[0; 32], 32)), [0]);
    let count = Runtime::default().compile(guests::COUNT.as_bytes()).unwrap();
    let mut reducer = count.reducer("count").unwrap();
    assert!(matches!(reducer.rows(rows(&[0; 8], 8)), Err(Error::Input { .. })));
    reducer.push(Record::new(b"k", b"v")).unwrap();
    assert_eq!(reducer.finish().unwrap(), 1u64.to_le_bytes());
}

#[test]
fn a_stage_is_dead_after_an_error_of_the_guest() {
    let mut stage = guest(2, COLUMN_8, &map_body("(unreachable)")).unwrap().map("f").unwrap();
    assert_eq!(stage.rows(rows(&[0; 8], 8)).unwrap_err().code(), "LLMDB-W07");
    assert_eq!(stage.rows(rows(&[0; 8], 8)).unwrap_err().code(), "LLMDB-W12");
}

#[test]
fn batches_are_sized_from_fuel() {
    let bytes = random_bytes(3, 20_000 * 32);
    let keys = rows(&bytes, 32);
    let batches = |limits: Limits| {
        let module = Runtime::new(limits).compile(guests::PAGES.as_bytes()).unwrap();
        let mut stage = module.map("key32").unwrap();
        stage.rows(keys).unwrap();
        assert_eq!(stage.stats().records, 20_000);
        stage.stats().batches
    };
    // 64 first, then 1,024 at a time.
    assert_eq!(batches(Limits::default()), 1 + (20_000u64 - 64).div_ceil(1024));
    // A key costs 25 or so: 20,000 fuel pay for some 400 in half of it.
    let small = batches(Limits::default().max_fuel(20_000));
    assert!((40..70).contains(&small), "{small} batches");
    assert_eq!(batches(Limits::default().batch_records(10)), 2_000);
    // Of whole pages 64 fill 256 KiB.
    let pages = vec![0; 640 * PAGE_SIZE];
    let mut sum = pages_module().map("page_sum").unwrap();
    sum.rows(rows(&pages, PAGE_SIZE)).unwrap();
    assert_eq!(sum.stats().batches, 10);
}

#[test]
fn fuel_can_be_set_for_a_stage_and_priced_by_instruction() {
    let bytes = [0; 64 * 32];
    let fuel = |limits: Limits| {
        let module = Runtime::new(limits).compile(guests::PAGES.as_bytes()).unwrap();
        let mut stage = module.map("key32").unwrap();
        let before = stage.stats().fuel_used;
        stage.rows(rows(&bytes, 32)).unwrap();
        stage.stats().fuel_used - before
    };
    let one = fuel(Limits::default());
    assert_eq!(fuel(Limits::default().fuel_per_instruction(3)), 3 * one);
    let mut stage = pages_module().map("key32").unwrap();
    stage.set_max_fuel(100);
    let error = stage.rows(rows(&bytes, 32)).unwrap_err();
    assert!(matches!(error, Error::OutOfFuel { limit: 100, .. }), "{error}");
    let dear = Runtime::new(Limits::default().fuel_per_instruction(1_000_000));
    let error = dear.compile(guests::PAGES.as_bytes()).unwrap().map("key32").unwrap().rows(rows(&bytes, 32));
    assert!(matches!(error, Err(Error::OutOfFuel { limit: 25_000_000, .. })), "{error:?}");
}

#[test]
fn a_parallel_map_can_be_cancelled_from_outside_and_by_its_sink() {
    let (module, bytes) = (pages_module(), random_bytes(5, 10_000 * 32));
    let all = rows(&bytes, 32);
    let cancel = Cancel::new();
    let parallel = Parallel::new(2).chunk_rows(100).cancel(&cancel);
    let mut seen = 0;
    let outcome = parallel.map(&module, "key32", all, |part| {
        seen += part.output.len();
        cancel.cancel();
        ControlFlow::Continue(())
    });
    assert!(matches!(outcome, Err(Error::Cancelled { .. })), "{outcome:?}");
    assert_eq!(seen, 100);
    let outcome = Parallel::new(2).map(&module, "key32", all, |_| ControlFlow::Break(()));
    assert!(matches!(outcome, Err(Error::Cancelled { .. })), "{outcome:?}");
    let mut stage = module.map("key32").unwrap();
    let mut output = stage.output();
    assert_eq!(stage.rows_into(all, &mut output, || true).unwrap_err().code(), "LLMDB-W18");
    assert_eq!(map_words(&mut stage, all).len(), 10_000, "the stage goes on");
}

#[test]
fn a_parallel_error_is_that_of_the_first_chunk_that_fails() {
    // Traps on the row that holds 7 or 8 in its first word; says which by its own code.
    let body = r#"(loop $next
        (if (i64.eq (i64.load (local.get 0)) (i64.const 7)) (then (return (i64.const -7))))
        (if (i64.eq (i64.load (local.get 0)) (i64.const 8)) (then (return (i64.const -8))))
        (local.set 0 (i32.add (local.get 0) (i32.const 8)))
        (br_if $next (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
      (i64.const 0)"#;
    let module = guest(2, COLUMN_8, &map_body(body)).unwrap();
    let mut numbers = vec![0u64; 1000];
    (numbers[900], numbers[500]) = (7, 8);
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    for threads in 1..4 {
        let mut seen = 0;
        let outcome = Parallel::new(threads).chunk_rows(10).map(&module, "f", rows(&bytes, 8), |part| {
            seen = part.done;
            ControlFlow::Continue(())
        });
        assert!(matches!(outcome, Err(Error::GuestRefused { code: -8, .. })), "{outcome:?}");
        assert_eq!(seen, 500);
    }
}

#[test]
fn a_time_series_is_thinned_as_rust_does_it() {
    let sample = |i: u64| {
        let number = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / 1e3 - 5_000.0;
        [(i * 1_000_000).to_le_bytes(), number.to_le_bytes()].concat()
    };
    let bytes = (0..100 * 256).flat_map(sample).collect::<Vec<_>>();
    let thinned = |page: &[u8]| {
        let numbers = || words(page).skip(1).step_by(2).map(f64::from_bits);
        let least =
            numbers().fold(f64::INFINITY, |least, number| if number < least { number } else { least });
        let most =
            numbers().fold(f64::NEG_INFINITY, |most, number| if number > most { number } else { most });
        let mean = numbers().fold(0.0, |sum, number| sum + number) / 256.0;
        [words(page).next().unwrap(), least.to_bits(), most.to_bits(), mean.to_bits()]
    };
    let output = pages_module().map("downsample").unwrap().rows(rows(&bytes, PAGE_SIZE)).unwrap();
    let expected = bytes.chunks(PAGE_SIZE).flat_map(thinned).collect::<Vec<_>>();
    assert_eq!(words(output.bytes()).collect::<Vec<_>>(), expected);
}

#[test]
fn values_of_any_length_come_back_as_they_are() {
    let module = Runtime::default().compile_named("records", guests::RECORDS.as_bytes()).unwrap();
    let values = (0..3_000usize).map(|i| random_bytes(i as u64, i * i % 997)).collect::<Vec<_>>();
    let records = || values.iter().map(|value| Record::new(b"key", value));
    let output = module.map("value").unwrap().records(records()).unwrap();
    assert!(output.iter().eq(values.iter().map(Vec::as_slice)));
    let sizes = module.map("value_size").unwrap().records(records()).unwrap();
    assert!(words(sizes.bytes()).eq(values.iter().map(|value| value.len() as u64)));
    let texts = module.filter("is_text").unwrap().records(records()).unwrap();
    let expected = values.iter().enumerate().filter(|(_, value)| value.first() == Some(&b'"'));
    assert_eq!(texts.kept().collect::<Vec<_>>(), expected.map(|(at, _)| at).collect::<Vec<_>>());
    assert!(texts.kept().count() > 3);
}

#[test]
fn many_small_calls_of_many_threads_stay_within_bounds() {
    let module = pages_module();
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let module = &module;
            scope.spawn(move || {
                let mut stage = module.map("key32").unwrap();
                for call in 0..1_000u64 {
                    let word = (thread * 1_000 + call).to_le_bytes();
                    let row = [word, word, [0; 8], [0; 8]].concat();
                    assert_eq!(map_words(&mut stage, rows(&row, 32)), [2 * (thread * 1_000 + call)]);
                }
                assert_eq!(stage.stats().batches, 1_000);
            });
        }
    });
}
