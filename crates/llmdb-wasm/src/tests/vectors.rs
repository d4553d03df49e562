//! Modules of others: the values they are known to compute, metered and not.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::fuzzing::plain;
use crate::meter::metered;
use crate::rewrite::BodyWriter;
use crate::{Instance, Module, Runtime, Value};

const CALLS: &str = include_str!("../../tests/data/calls.jsonl");

fn bytes(module: &str) -> &'static [u8] {
    match module {
        "crc32.wasm" => include_bytes!("../../tests/data/crc32.wasm"),
        "md5.wasm" => include_bytes!("../../tests/data/md5.wasm"),
        "xxhash.wasm" => include_bytes!("../../tests/data/xxhash.wasm"),
        other => panic!("no module {other}"),
    }
}

fn argument(number: &Json, ty: &str) -> Value {
    let number = number.as_i64().expect("a whole number");
    if ty == "i64" { Value::I64(number) } else { Value::I32(number as i32) }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// One line of the vectors in one instance.
fn play(instance: &mut Instance, line: &Json) {
    let id = &line["id"];
    let mut named = HashMap::new();
    for step in line["steps"].as_array().expect("steps") {
        let address = |place: &Json| match place.as_str() {
            Some(name) => named[name],
            None => place.as_u64().expect("an address"),
        };
        if let Some(function) = step["call"].as_str() {
            let types = |at: usize| step["arg_types"][at].as_str().unwrap_or("i32");
            let arguments = step["args"].as_array().expect("args").iter().enumerate();
            let arguments = arguments.map(|(at, number)| argument(number, types(at))).collect::<Vec<_>>();
            let results = instance.call(function, &arguments).unwrap_or_else(|error| panic!("{id}: {error}"));
            if let Some(expected) = step["expect_u32"].as_u64() {
                assert_eq!(results, [Value::I32(expected as u32 as i32)], "{id}");
            }
            if let Some(expected) = step["expect_u64"].as_str() {
                assert_eq!(results, [Value::I64(expected.parse::<u64>().unwrap() as i64)], "{id}");
            }
            if let (Some(name), [Value::I32(pointer)]) = (step["as"].as_str(), &results[..]) {
                named.insert(name.to_owned(), u64::from(*pointer as u32));
            }
        } else if let Some(hex) = step["hex"].as_str() {
            instance.write("test", address(&step["write"]), &from_hex(hex)).unwrap();
        } else {
            let length = step["length"].as_u64().expect("length");
            let found = instance.read("test", address(&step["read"]), length).unwrap();
            assert_eq!(found, from_hex(step["expect_hex"].as_str().expect("hex")), "{id}");
        }
    }
}

/// Plays every line with bodies by `writer`; returns how many and the fuel of all.
fn play_all(writer: BodyWriter) -> (usize, u64) {
    let runtime = Runtime::default();
    let (mut count, mut fuel) = (0, 0);
    for line in CALLS.lines() {
        let line = serde_json::from_str::<Json>(line).expect("a line of JSON");
        let name = line["module"].as_str().expect("module");
        let module: Module = runtime.compile_inner(Some(name), bytes(name), writer).expect(name);
        let mut instance = module.instantiate().expect(name);
        play(&mut instance, &line);
        (count, fuel) = (count + 1, fuel + instance.fuel_total());
    }
    assert_eq!(runtime.cached_modules(), 3, "each module is compiled once");
    (count, fuel)
}

#[test]
fn known_modules_compute_their_values_metered() {
    let (count, fuel) = play_all(metered);
    assert!(count > 30, "{count} lines");
    assert!(fuel > 100_000, "{fuel}");
}

#[test]
fn known_modules_compute_the_same_without_a_meter() {
    assert_eq!(play_all(plain).1, 0);
}
