//! Nothing of one guest is left for the next, and many short-lived guests leave no trace in the process.

#![cfg(feature = "wat")]

use llmdb_wasm::{Instance, Module, Runtime, Value, guests};

/// Mebibytes that a guest with secrets fills.
const MEBIBYTES: i32 = 6;

/// Keeps secrets wherever a guest can keep something, and looks for what others have left.
const KEEPER: &str = r#"(module
    (memory (export "memory") 2)
    (table $t 8 64 funcref)
    (global $mutable (mut i64) (i64.const 1))
    (global $vector (mut v128) (v128.const i64x2 2 3))
    (global $reference (mut funcref) (ref.null func))
    (data $passive "passive")
    (data (i32.const 100) "active")
    (elem $passive_elements funcref (ref.func $secret))
    (elem declare func $secret)
    (func $secret (export "secret") (result i32) (i32.const 77))
    (func (export "hide") (param $mebibytes i32)
        (drop (memory.grow (i32.mul (local.get 0) (i32.const 16))))
        (memory.fill (i32.const 0) (i32.const 0x5a) (i32.shl (memory.size) (i32.const 16)))
        (global.set $mutable (i64.const 0x5a5a))
        (global.set $vector (v128.const i64x2 0x5a5a 0x5a5a))
        (global.set $reference (ref.func $secret))
        (drop (table.grow $t (ref.func $secret) (i32.const 8)))
        (table.fill $t (i32.const 0) (ref.func $secret) (table.size $t))
        (data.drop $passive)
        (elem.drop $passive_elements))
    ;; 0 where all is as it is at first, else which place holds something.
    (func (export "look") (param $mebibytes i32) (result i32) (local $at i32)
        (if (i32.ne (memory.size) (i32.const 2)) (then (return (i32.const 1))))
        (if (i64.ne (global.get $mutable) (i64.const 1)) (then (return (i32.const 2))))
        (if (i64.ne (i64x2.extract_lane 0 (global.get $vector)) (i64.const 2)) (then (return (i32.const 3))))
        (if (i32.eqz (ref.is_null (global.get $reference))) (then (return (i32.const 4))))
        (if (i32.ne (table.size $t) (i32.const 8)) (then (return (i32.const 5))))
        (loop $entries
            (if (i32.eqz (ref.is_null (table.get $t (local.get $at)))) (then (return (i32.const 6))))
            (br_if $entries (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 8))))
        ;; Both trap if the segments are gone.
        (memory.init $passive (i32.const 8) (i32.const 0) (i32.const 7))
        (table.init $t $passive_elements (i32.const 0) (i32.const 0) (i32.const 1))
        (memory.fill (i32.const 8) (i32.const 0) (i32.const 7))
        (if (i32.ne (i32.load (i32.const 100)) (i32.const 0x69746361)) (then (return (i32.const 7))))
        (i64.store (i32.const 100) (i64.const 0))
        (if (i32.lt_s (memory.grow (i32.mul (local.get 0) (i32.const 16))) (i32.const 0))
            (then (return (i32.const 8))))
        (local.set $at (i32.const 0))
        (loop $words
            (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (return (i32.const 9))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $words (i32.lt_u (local.get $at) (i32.shl (memory.size) (i32.const 16)))))
        (i32.const 0)))"#;

/// Another module, with no data and another size.
const STRANGER: &str = r#"(module (memory 1) (func (export "look") (param i32) (result i32) (local $at i32)
    (drop (memory.grow (i32.mul (local.get 0) (i32.const 16))))
    (loop $words
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (return (i32.const 9))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $words (i32.lt_u (local.get $at) (i32.shl (memory.size) (i32.const 16)))))
    (i32.const 0)))"#;

fn compile(source: &str) -> Module {
    Runtime::default().compile(source.as_bytes()).expect("compiles")
}

fn hide(module: &Module, mebibytes: i32) -> Instance {
    let mut instance = module.instantiate().expect("an instance");
    instance.call("hide", &[Value::I32(mebibytes)]).expect("room");
    instance
}

fn look(module: &Module) -> i32 {
    let mut instance = module.instantiate().expect("an instance");
    match instance.call("look", &[Value::I32(MEBIBYTES)]).expect("nothing is gone")[..] {
        [Value::I32(found)] => found,
        _ => panic!("a number"),
    }
}

#[test]
fn the_next_guest_of_a_thread_finds_nothing_of_the_one_before() {
    let (keeper, stranger) = (compile(KEEPER), compile(STRANGER));
    assert_eq!((look(&keeper), look(&stranger)), (0, 0), "before anything is hidden");
    for mebibytes in [0, 1, MEBIBYTES] {
        for _ in 0..3 {
            drop(hide(&keeper, mebibytes));
            assert_eq!(look(&keeper), 0, "after {mebibytes} MiB");
            drop(hide(&keeper, mebibytes));
            assert_eq!(look(&stranger), 0, "after {mebibytes} MiB");
        }
        // Several at a time, in the pool at once.
        drop((0..6).map(|_| hide(&keeper, mebibytes)).collect::<Vec<_>>());
        let clean = (0..6).map(|_| (look(&keeper), look(&stranger)));
        assert!(clean.into_iter().all(|found| found == (0, 0)));
    }
}

#[test]
fn a_guest_that_failed_leaves_nothing_either() {
    let keeper = compile(KEEPER);
    let spoiled = "(call $secret) drop (unreachable)";
    let failing = compile(&KEEPER.replace("(elem.drop $passive_elements))", &format!("{spoiled})")));
    for _ in 0..3 {
        let mut instance = failing.instantiate().unwrap();
        assert!(instance.call("hide", &[Value::I32(MEBIBYTES)]).is_err());
        let mut starved = keeper.instantiate().unwrap();
        starved.set_max_fuel(30_000);
        assert!(starved.call("hide", &[Value::I32(1)]).is_err());
        drop((instance, starved));
        assert_eq!(look(&keeper), 0);
    }
}

/// Resident KiB, and mappings.
#[cfg(target_os = "linux")]
fn taken() -> (u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kib = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    (kib, std::fs::read_to_string("/proc/self/maps").expect("Linux").lines().count())
}

#[test]
#[cfg(target_os = "linux")]
fn a_thousand_calls_of_eight_threads_with_a_guest_each_leave_no_trace() {
    let module = Runtime::default().compile(guests::PAGES.as_bytes()).expect("compiles");
    let calls = |count: u64| {
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let module = &module;
                scope.spawn(move || {
                    for call in 0..count {
                        let row = [(thread * 1_000 + call).to_le_bytes(); 4].concat();
                        let mut stage = module.map("key32").unwrap();
                        let output = stage.rows(llmdb_wasm::Rows::new(&row, 32).unwrap()).unwrap();
                        assert_eq!(output.bytes(), (4 * (thread * 1_000 + call)).to_le_bytes());
                    }
                });
            }
        });
        taken()
    };
    let (kib, maps) = calls(50);
    let (kib_after, maps_after) = calls(1_000);
    // What allocators keep for threads that are gone is what may differ.
    assert!(kib_after < kib + 8 * 1024, "{kib} KiB, then {kib_after}");
    assert!(maps_after < maps + 64, "{maps} mappings, then {maps_after}");
}

#[test]
#[cfg(target_os = "linux")]
fn guests_that_are_never_called_leave_no_trace() {
    let module = Runtime::default().compile(b"(module (memory 1))").expect("compiles");
    let make = |count: usize| {
        (0..count).for_each(|_| drop(module.instantiate().unwrap()));
        taken()
    };
    // So that the watching thread has gone to sleep.
    make(2_000);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let (kib, _) = make(2_000);
    let (kib_after, _) = make(60_000);
    assert!(kib_after < kib + 2 * 1024, "{kib} KiB, then {kib_after}");
}
