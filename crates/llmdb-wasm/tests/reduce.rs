//! Reductions that mean well: against a native model, in batches of every size, from several threads.

#![cfg(feature = "wat")]

use llmdb_wasm::{Limits, Module, Record, RecordBatch, Result, Runtime, guests};
use proptest::prelude::*;

fn offset_stats(runtime: &Runtime) -> Module {
    runtime.compile_named("offset_stats", guests::OFFSET_STATS.as_bytes()).expect("a guest of ours")
}

fn numbers(output: &[u8]) -> Vec<i64> {
    output.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn reduce(module: &Module, values: &[String]) -> Result<Vec<i64>> {
    let records = values.iter().map(|value| Record::new(b"zone", value.as_bytes()));
    module.reduce("offset_stats", records).map(|reduction| numbers(&reduction.output))
}

fn stats(value: &str) -> Vec<i64> {
    reduce(&offset_stats(&Runtime::default()), &[value.to_owned()]).unwrap()
}

#[test]
fn offsets_are_found_in_any_json_spelling() {
    for value in [
        r#"{"utc_offset_s": -12600, "abbr": "NST", "release": "2023a"}"#,
        r#"{"abbr":"NST","utc_offset_s":-12600}"#,
        "{\"utc_offset_s\" :\t\n -12600}",
        r#"{"utc_offset":1,"utc_offset_s":null,"x":{"utc_offset_s":-12600}}"#,
        r#""utc_offset_s":-12600"#,
    ] {
        assert_eq!(stats(value), [1, -12_600, -12_600, -12_600], "{value}");
    }
}

#[test]
fn values_without_an_offset_are_passed_over() {
    for value in
        ["", "{}", "null", r#"{"utc_offset_s":null}"#, r#"{"utc_offset_s"}"#, r#"{"utc_offset_s":"1"}"#]
    {
        assert_eq!(stats(value), [0, 0, 0, 0], "{value}");
    }
    assert_eq!(stats("\"utc_offset_s\""), [0, 0, 0, 0], "cut off after the name");
    assert_eq!(stats("\"utc_offset_s\":-"), [0, 0, 0, 0], "cut off after the sign");
}

#[test]
fn an_empty_reduction_answers_the_empty_state() {
    let runtime = Runtime::default();
    assert_eq!(reduce(&offset_stats(&runtime), &[]), Ok(vec![0, 0, 0, 0]));
    let count = runtime.compile(guests::COUNT.as_bytes()).unwrap().reduce("count", []).unwrap();
    assert_eq!(count.output, 0u64.to_le_bytes());
    assert_eq!((count.stats.records, count.stats.batches), (0, 0));
}

#[test]
fn records_come_in_batches_of_64_to_1024() {
    let module = Runtime::default().compile(guests::COUNT.as_bytes()).unwrap();
    let reduction =
        module.reduce("count", std::iter::repeat_n(Record::new(b"k", b"v"), 64 + 2 * 1024 + 1)).unwrap();
    assert_eq!(reduction.stats.batches, 4);
    assert_eq!(reduction.stats.records, 64 + 2 * 1024 + 1);
    assert_eq!(reduction.output, (64 + 2 * 1024 + 1u64).to_le_bytes());
}

#[test]
fn batches_shrink_to_what_the_fuel_allows() {
    // About 9,500 fuel a record: without shrinking, a batch of 64 would fit and one of 1,024 would not.
    let value = format!("{}\"utc_offset_s\":1", "x".repeat(800));
    let runtime = Runtime::new(Limits::default().max_fuel(1_000_000));
    let values = vec![value; 500];
    assert_eq!(reduce(&offset_stats(&runtime), &values), Ok(vec![500, 1, 1, 500]));
}

#[test]
fn large_records_go_alone_and_huge_ones_are_refused() {
    let module = offset_stats(&Runtime::new(Limits::default().max_fuel(u64::MAX)));
    let large = format!("{}\"utc_offset_s\":7", " ".repeat(20 << 20));
    assert_eq!(
        reduce(&module, &[large.clone(), "\"utc_offset_s\":5".to_owned(), large]),
        Ok(vec![3, 5, 7, 19])
    );
    let huge = vec![b' '; 33 << 20];
    let mut reducer = module.reducer("offset_stats").unwrap();
    assert_eq!(reducer.push(Record::new(b"k", &huge)).unwrap_err().code(), "LLMDB-W15");
    reducer.push(Record::new(b"k", b"\"utc_offset_s\":3")).unwrap();
    assert_eq!(numbers(&reducer.finish().unwrap()), [1, 3, 3, 3]);
    assert_eq!(reducer.finish().unwrap_err().code(), "LLMDB-W12", "once only");
}

#[test]
fn fuel_and_answers_are_the_same_every_time() {
    let module = offset_stats(&Runtime::default());
    let values = (0..500).map(|n| format!("{{\"utc_offset_s\": {}}}", n * 900 - 43_200)).collect::<Vec<_>>();
    let run = || {
        let records = values.iter().map(|value| Record::new(b"zone", value.as_bytes()));
        let reduction = module.reduce("offset_stats", records).unwrap();
        (reduction.output, reduction.stats.fuel_used)
    };
    assert_eq!(run(), run());
}

#[test]
fn threads_share_a_module() {
    let module = offset_stats(&Runtime::default());
    let workers = (0..4i64).map(|worker| {
        let module = module.clone();
        std::thread::spawn(move || {
            let values = vec![format!("{{\"utc_offset_s\":{worker}}}"); 300];
            assert_eq!(reduce(&module, &values), Ok(vec![300, worker, worker, 300 * worker]));
        })
    });
    workers.collect::<Vec<_>>().into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn a_module_is_compiled_once_and_the_oldest_goes_first() {
    let runtime = Runtime::new(Limits::default().cached_modules(2));
    let module = |n: u32| format!("(module (func (export \"f\") (result i32) (i32.const {n})))");
    for n in [1, 2, 1, 3] {
        runtime.compile(module(n).as_bytes()).unwrap();
    }
    assert_eq!(runtime.cached_modules(), 2);
    let hash = |n| runtime.compile(module(n).as_bytes()).unwrap().hash();
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(3));
}

#[test]
fn a_module_describes_itself() {
    let module = offset_stats(&Runtime::default());
    let description = module.describe();
    assert_eq!(description.reducers, ["offset_stats"]);
    assert_eq!(description.memory_pages, Some((1, 1024)));
    let step = description.exports.iter().find(|export| export.name == "offset_stats").unwrap();
    assert_eq!(step.what, "function (i32, i32, i32) -> (i32)");
    assert!(description.imports.is_empty());
    assert_eq!(description.hash.to_string().len(), 64);
    assert!(description.hash.to_string().starts_with(&module.hash().prefix()));
    assert_eq!(module.name(), "offset_stats");
}

#[test]
fn the_batch_layout_is_as_documented() {
    let mut batch = RecordBatch::new();
    batch.push(Record { valid_from: -5, ..Record::new(b"ab", b"cde") });
    batch.push(Record::new(b"", b"f"));
    let mut expected = Vec::new();
    let words = |expected: &mut Vec<u8>, words: &[u32]| {
        words.iter().for_each(|word| expected.extend(word.to_le_bytes()));
    };
    words(&mut expected, &[2, 32, 0, 0]);
    words(&mut expected, &[80, 2, 82, 3]);
    expected.extend([(-5i64).to_le_bytes(), i64::MAX.to_le_bytes()].concat());
    words(&mut expected, &[85, 0, 85, 1]);
    expected.extend([i64::MIN.to_le_bytes(), i64::MAX.to_le_bytes()].concat());
    expected.extend(b"abcdef");
    assert_eq!(batch.to_bytes(), expected);
    assert_eq!(batch.byte_count(), expected.len());
}

/// A value with or without an offset, and the offset.
fn value() -> impl Strategy<Value = (String, Option<i64>)> {
    prop_oneof![
        ("[a-z\"{}: ]{0,40}", -90_000i64..90_000, " {0,3}").prop_map(|(noise, number, space)| {
            (format!("{noise}\"utc_offset_s\":{space}{number},{noise}"), Some(number))
        }),
        "[a-z\"{}: 0-9]{0,40}".prop_map(|noise| (noise, None)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn offset_stats_agrees_with_a_native_model(
        values in prop::collection::vec(value(), 0..200),
        batch_records in 1usize..100,
        batch_bytes in 0usize..4000,
    ) {
        let limits = Limits::default().batch_records(batch_records).batch_bytes(batch_bytes);
        let module = offset_stats(&Runtime::new(limits));
        let offsets = values.iter().filter_map(|(_, offset)| *offset).collect::<Vec<_>>();
        let expected = [
            offsets.len() as i64,
            offsets.iter().min().copied().unwrap_or(0),
            offsets.iter().max().copied().unwrap_or(0),
            offsets.iter().sum(),
        ];
        let texts = values.into_iter().map(|(text, _)| text).collect::<Vec<_>>();
        prop_assert_eq!(reduce(&module, &texts).unwrap(), expected);
    }
}
