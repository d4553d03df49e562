//! Hostile guests against their budget: each of many ends in an error that names module, function and reason, by
//! fuel or by the clock, no later than 50 ms after its budget; and the runtime serves on.

#![cfg(feature = "wat")]

use std::time::{Duration, Instant};

use llmdb_wasm::{Error, Limits, Record, Runtime, guests};

/// How late a call may end.
const GRACE: Duration = Duration::from_millis(50);
/// A busy machine may keep our threads waiting; a guest that is not bounded is late each time.
const ATTEMPTS: usize = 15;

/// Calls `run` of `source`: the error, and how long the call took.
fn attack(runtime: &Runtime, source: &[u8]) -> (Error, Duration) {
    let instance = runtime.compile_named("hostile", source).and_then(|module| {
        let started = Instant::now();
        module.instantiate().map_err(|error| {
            // A start function counts like a call.
            assert!(started.elapsed() < Duration::from_secs(20), "{error}");
            error
        })
    });
    match instance {
        Err(error) => (error, Duration::ZERO),
        Ok(mut instance) => {
            let started = Instant::now();
            let error = instance.call("run", &[]).expect_err("a hostile module");
            (error, started.elapsed())
        }
    }
}

fn check(runtime: &Runtime, what: &str, source: &str, codes: &[&str], budget: Duration) {
    let mut took = Duration::MAX;
    for _ in 0..ATTEMPTS {
        let (error, time) = attack(runtime, source.as_bytes());
        let text = error.to_string();
        assert!(codes.contains(&error.code()), "{what}: {text}");
        assert!(text.contains("module hostile"), "{what}: {text}");
        let is_call = matches!(error.code(), "LLMDB-W06" | "LLMDB-W07" | "LLMDB-W13");
        let names_function = ["function run", "function start", "function instantiation"];
        assert!(!is_call || names_function.iter().any(|name| text.contains(name)), "{what}: {text}");
        took = took.min(time);
        if took <= budget + GRACE {
            break;
        }
    }
    assert!(took <= budget + GRACE, "{what} took {took:?} of {budget:?}");
}

fn serves_on(runtime: &Runtime) {
    let module = runtime.compile(guests::COUNT.as_bytes()).expect("the runtime serves on");
    let reduction = module.reduce("count", [Record::new(b"k", b"v"); 3]).expect("the runtime serves on");
    assert_eq!(reduction.output, 3u64.to_le_bytes());
}

/// Bodies of `run` that never end by themselves, in a module with memory, table, globals and helpers.
const ENDLESS: &[(&str, &str)] = &[
    ("an empty loop", "(loop (br 0))"),
    ("a loop that is always taken again", "(loop (br_if 0 (i32.const 1)))"),
    ("a loop by branch table", "(loop (br_table 0 0 0 (i32.const 1)))"),
    ("a loop in a block", "(block (loop (br 0)) (br 0))"),
    ("loops in loops", "(loop (loop (loop (loop (br 3)))))"),
    ("a loop with an if", "(loop (if (i32.const 1) (then (br 1)) (else (nop))))"),
    ("a loop of calls", "(loop (call $nothing) (br 0))"),
    ("a loop of indirect calls", "(loop (call_indirect (type $t) (i32.const 0)) (br 0))"),
    (
        "divisions",
        "(loop (global.set $g (i64.div_u (i64.const -1) (i64.or (global.get $g) (i64.const 3)))) (br 0))",
    ),
    (
        "remainders",
        "(loop (global.set $g (i64.rem_s (i64.const -7) (i64.or (global.get $g) (i64.const 3)))) (br 0))",
    ),
    ("roots", "(loop (global.set $f (f64.sqrt (f64.add (global.get $f) (f64.const 2)))) (br 0))"),
    (
        "float divisions",
        "(loop (global.set $f (f64.div (f64.const 3) (f64.add (global.get $f) (f64.const 2)))) (br 0))",
    ),
    ("nearest", "(loop (global.set $f (f64.nearest (f64.add (global.get $f) (f64.const 2.5)))) (br 0))"),
    ("vector roots", "(loop (v128.store (i32.const 0) (f64x2.sqrt (v128.load (i32.const 0)))) (br 0))"),
    (
        "vector divisions",
        "(loop (v128.store (i32.const 0) (f64x2.div (v128.load (i32.const 0)) (v128.load (i32.const 16)))) (br 0))",
    ),
    ("growth by nothing", "(loop (drop (memory.grow (i32.const 0))) (br 0))"),
    ("growth by one page", "(loop (drop (memory.grow (i32.const 1))) (br 0))"),
    ("growth that fails", "(loop (drop (memory.grow (i32.const -1))) (br 0))"),
    ("table growth", "(loop (drop (table.grow $table (ref.null func) (i32.const 1))) (br 0))"),
    ("table growth that fails", "(loop (drop (table.grow $table (ref.null func) (i32.const -1))) (br 0))"),
    ("sizes", "(loop (drop (memory.size)) (drop (table.size $table)) (br 0))"),
    ("empty fills", "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 0)) (br 0))"),
    ("short fills", "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 15)) (br 0))"),
    ("long fills", "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 50000000)) (br 0))"),
    ("short copies", "(loop (memory.copy (i32.const 0) (i32.const 8) (i32.const 15)) (br 0))"),
    ("long copies", "(loop (memory.copy (i32.const 1) (i32.const 0) (i32.const 50000000)) (br 0))"),
    ("long copies backward", "(loop (memory.copy (i32.const 0) (i32.const 1) (i32.const 50000000)) (br 0))"),
    ("initialisations", "(loop (memory.init $data (i32.const 0) (i32.const 0) (i32.const 4)) (br 0))"),
    ("drops of data", "(loop (data.drop $data) (br 0))"),
    ("drops of elements", "(loop (elem.drop $elements) (br 0))"),
    ("table fills", "(loop (table.fill $table (i32.const 0) (ref.null func) (i32.const 1000)) (br 0))"),
    ("table copies", "(loop (table.copy $table $table (i32.const 1) (i32.const 0) (i32.const 999)) (br 0))"),
    (
        "table initialisations",
        "(loop (table.init $table $elements (i32.const 0) (i32.const 0) (i32.const 1)) (br 0))",
    ),
    ("table writes", "(loop (table.set $table (i32.const 1) (ref.func $nothing)) (br 0))"),
    ("wide recursion", "(call $tree (i32.const 200))"),
    (
        "strides through memory",
        "(local $at i32) (loop
            (i64.store (local.get $at) (i64.add (i64.load (local.get $at)) (i64.const 1)))
            (local.set $at (i32.and (i32.add (local.get $at) (i32.const 1052737)) (i32.const 0x1ffffff)))
            (br 0))",
    ),
    (
        "first touches of pages",
        "(local $at i32) (loop
            (i32.store8 (local.get $at) (i32.const 1))
            (local.set $at (i32.and (i32.add (local.get $at) (i32.const 4096)) (i32.const 0x1ffffff)))
            (br 0))",
    ),
];

fn endless(body: &str) -> String {
    format!(
        r#"(module (type $t (func)) (memory 1000) (table $table 1000 100000 funcref)
        (data $data "abcd") (elem $elements func $nothing) (elem (i32.const 0) $nothing)
        (global $g (mut i64) (i64.const 9)) (global $f (mut f64) (f64.const 9))
        (func $nothing) (func $tree (param i32) (if (local.get 0) (then
            (call $tree (i32.sub (local.get 0) (i32.const 1)))
            (call $tree (i32.sub (local.get 0) (i32.const 1))))))
        (func (export "run") {body}))"#
    )
}

/// Bodies that trap, or modules that are refused.
const WRONG: &[(&str, &str, &str)] = &[
    ("unreachable", "(unreachable)", "LLMDB-W07"),
    ("division by zero", "(drop (i32.div_s (i32.const 1) (i32.const 0)))", "LLMDB-W07"),
    ("remainder by zero", "(drop (i64.rem_u (i64.const 1) (i64.const 0)))", "LLMDB-W07"),
    ("overflow", "(drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1)))", "LLMDB-W07"),
    ("conversion of a NaN", "(drop (i32.trunc_f64_s (f64.const nan)))", "LLMDB-W07"),
    ("conversion of too much", "(drop (i64.trunc_f64_u (f64.const 1e300)))", "LLMDB-W07"),
    ("a load beyond memory", "(drop (i32.load (i32.const 0x4000000)))", "LLMDB-W07"),
    ("a load at the end of all", "(drop (i64.load offset=0xffffffff (i32.const -1)))", "LLMDB-W07"),
    ("a load across the end", "(drop (i64.load (i32.const 0x3fffff9)))", "LLMDB-W07"),
    ("a store beyond memory", "(i32.store8 (i32.const 0x4000000) (i32.const 1))", "LLMDB-W07"),
    ("a vector store beyond memory", "(v128.store (i32.const -16) (v128.const i64x2 1 2))", "LLMDB-W07"),
    (
        "a fill beyond memory",
        "(memory.fill (i32.const 0x3ffff00) (i32.const 1) (i32.const 1000))",
        "LLMDB-W07",
    ),
    (
        "a copy beyond memory",
        "(memory.copy (i32.const 0) (i32.const 0x3ffff00) (i32.const 1000))",
        "LLMDB-W07",
    ),
    ("an endless fill", "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1))", "LLMDB-W06"),
    (
        "initialisation beyond data",
        "(memory.init $data (i32.const 0) (i32.const 0) (i32.const 5))",
        "LLMDB-W07",
    ),
    (
        "data after its drop",
        "(data.drop $data) (memory.init $data (i32.const 0) (i32.const 0) (i32.const 1))",
        "LLMDB-W07",
    ),
    ("a call of nothing", "(call_indirect (type $t) (i32.const 1))", "LLMDB-W07"),
    ("a call beyond the table", "(call_indirect (type $t) (i32.const 100000))", "LLMDB-W07"),
    ("a call of another type", "(call_indirect (param i32) (i32.const 1) (i32.const 0))", "LLMDB-W07"),
    ("a table read beyond it", "(drop (table.get $table (i32.const 100000)))", "LLMDB-W07"),
    (
        "a table fill beyond it",
        "(table.fill $table (i32.const 999) (ref.null func) (i32.const 2))",
        "LLMDB-W07",
    ),
    ("deep recursion", "(call $deep)", "LLMDB-W07"),
    ("the fuel by its index", "(global.set 2 (i64.const 1))", "LLMDB-W01"),
    ("the reserve by its index", "(loop (global.set 3 (i64.const 99999999)) (br 0))", "LLMDB-W01"),
    ("a stack that does not fit", "(i32.const 1)", "LLMDB-W01"),
    ("an unknown local", "(local.get 5) (drop)", "LLMDB-W01"),
    ("a branch to nowhere", "(br 9)", "LLMDB-W01"),
    ("a tail call", "(return_call $nothing)", "LLMDB-W02"),
];

fn wrong(body: &str) -> String {
    endless(&format!("{body}) (func $deep (call $deep)"))
}

#[test]
fn sixty_hostile_modules_end_by_fuel_within_their_time() {
    let call_time = Duration::from_secs(1);
    let runtime = Runtime::new(Limits::default().call_time(call_time));
    for (what, body) in ENDLESS {
        check(&runtime, what, &endless(body), &["LLMDB-W06", "LLMDB-W13"], call_time);
    }
    for (what, body, code) in WRONG {
        check(&runtime, what, &wrong(body), &[code], call_time);
    }
    assert!(ENDLESS.len() + WRONG.len() >= 60);
    serves_on(&runtime);
}

/// With fuel without end only the clock is left.
#[test]
fn guests_with_endless_fuel_are_ended_by_the_clock() {
    let call_time = Duration::from_millis(40);
    let runtime = Runtime::new(Limits::default().max_fuel(u64::MAX).call_time(call_time));
    for (what, body) in ENDLESS {
        check(&runtime, what, &endless(body), &["LLMDB-W13"], call_time);
    }
    serves_on(&runtime);
}

#[test]
fn a_start_function_with_endless_fuel_is_ended_by_the_clock() {
    let limits = Limits::default().max_fuel(u64::MAX).call_time(Duration::from_millis(20));
    let source = "(module (start $s) (func $s (loop (br 0))))";
    let error = Runtime::new(limits).compile(source.as_bytes()).unwrap().instantiate().unwrap_err();
    assert!(matches!(error, Error::Deadline { ref function, .. } if function == "start"), "{error}");
}

#[test]
fn a_call_ended_by_the_clock_leaves_its_instance_dead_and_others_alone() {
    let limits = Limits::default().max_fuel(u64::MAX).call_time(Duration::from_millis(20));
    let source =
        r#"(module (func (export "run") (loop (br 0))) (func (export "ok") (result i32) (i32.const 1)))"#;
    let module = Runtime::new(limits).compile_named("hostile", source.as_bytes()).unwrap();
    let (mut first, mut second) = (module.instantiate().unwrap(), module.instantiate().unwrap());
    assert_eq!(first.call("run", &[]).unwrap_err().code(), "LLMDB-W13");
    assert_eq!(first.call("ok", &[]).unwrap_err().code(), "LLMDB-W12");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut third = module.instantiate().unwrap();
            for _ in 0..2_000 {
                assert!(third.call("ok", &[]).is_ok());
            }
        });
        assert!(second.call("ok", &[]).is_ok());
        assert_eq!(second.call("run", &[]).unwrap_err().code(), "LLMDB-W13");
    });
}

#[test]
fn many_guests_are_ended_by_the_clock_at_once() {
    let call_time = Duration::from_millis(60);
    let runtime = Runtime::new(Limits::default().max_fuel(u64::MAX).call_time(call_time));
    let module = runtime.compile_named("hostile", b"(module (func (export \"run\") (loop (br 0))))").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let error = module.instantiate().unwrap().call("run", &[]).unwrap_err();
                assert_eq!(error.code(), "LLMDB-W13");
            });
        }
    });
}
