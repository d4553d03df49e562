//! Guests that mean harm: each ends in an error of that call, quickly, and the runtime serves on.

#![cfg(feature = "wat")]

use std::time::{Duration, Instant};

use llmdb_wasm::{Error, Limits, Record, Result, Runtime, Trap, Value, guests};

/// No hostile guest may hold its caller longer. A debug build on a busy machine; the fuel itself lasts 10 to 200 ms.
const PATIENCE: Duration = Duration::from_secs(20);

/// Compiles and instantiates `source`, and calls `run` without arguments.
fn attack(runtime: &Runtime, source: &[u8]) -> Result<Vec<Value>> {
    runtime.compile_named("hostile", source)?.instantiate()?.call("run", &[])
}

/// `source` ends in an error that `expected` accepts, names the module, and leaves the runtime in order.
fn check(source: impl AsRef<[u8]>, expected: impl Fn(&Error) -> bool) {
    check_with(&Runtime::default(), source, expected);
}

fn check_with(runtime: &Runtime, source: impl AsRef<[u8]>, expected: impl Fn(&Error) -> bool) {
    let started = Instant::now();
    let error = attack(runtime, source.as_ref()).expect_err("a hostile module");
    assert!(started.elapsed() < PATIENCE, "{error} took {:?}", started.elapsed());
    assert!(expected(&error), "unexpected: {error:?}");
    assert!(error.to_string().contains("module hostile"), "{error}");
    serves_on(runtime);
}

fn serves_on(runtime: &Runtime) {
    let module = runtime.compile(guests::COUNT.as_bytes()).expect("the runtime serves on");
    let reduction = module.reduce("count", [Record::new(b"k", b"v"); 3]).expect("the runtime serves on");
    assert_eq!(reduction.output, 3u64.to_le_bytes());
}

fn out_of_fuel(error: &Error) -> bool {
    matches!(error, Error::OutOfFuel { .. })
}

fn invalid(error: &Error) -> bool {
    matches!(error, Error::InvalidModule { .. })
}

fn not_allowed(error: &Error) -> bool {
    matches!(error, Error::FeatureNotAllowed { .. })
}

fn memory_limit(error: &Error) -> bool {
    matches!(error, Error::MemoryLimit { .. })
}

fn too_large(error: &Error) -> bool {
    matches!(error, Error::TooLarge { .. })
}

fn reserved(error: &Error) -> bool {
    matches!(error, Error::ReservedName { .. })
}

fn abi(error: &Error) -> bool {
    matches!(error, Error::Abi { .. })
}

fn out_of_bounds(error: &Error) -> bool {
    matches!(error, Error::OutOfBounds { .. })
}

fn run(body: &str) -> String {
    format!("(module (memory 1) (func (export \"run\") {body}))")
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    check(run("(loop (br 0))"), out_of_fuel);
}

#[test]
fn an_endless_loop_of_calls_runs_out_of_fuel() {
    check("(module (func $f) (func (export \"run\") (loop (call $f) (br 0))))", out_of_fuel);
}

#[test]
fn an_endless_loop_by_branch_table_runs_out_of_fuel() {
    check(run("(loop (br_table 0 0 0 (i32.const 1)))"), out_of_fuel);
}

#[test]
fn deep_recursion_ends_in_a_stack_overflow() {
    let is = |error: &Error| matches!(error, Error::Trap { trap: Trap::StackOverflow, .. });
    check("(module (func $f (export \"run\") (call $f)))", is);
    let indirect = r#"(module (type $t (func)) (table funcref (elem $f))
        (func $f (export "run") (call_indirect (type $t) (i32.const 0))))"#;
    check(indirect, is);
}

#[test]
fn recursion_with_large_frames_ends_in_a_stack_overflow() {
    let locals = "i64 ".repeat(1_000);
    let sum =
        (0..1_000).map(|at| format!("(local.set {at} (i64.load (i32.const {at})))")).collect::<String>();
    let used =
        (0..1_000).map(|at| format!("(i64.store (i32.const {at}) (local.get {at}))")).collect::<String>();
    let source =
        format!("(module (memory 1) (func $f (export \"run\") (local {locals}) {sum} (call $f) {used}))");
    check(source, |error| matches!(error, Error::Trap { trap: Trap::StackOverflow, .. }));
}

#[test]
fn wide_recursion_runs_out_of_fuel() {
    let source = r#"(module (func $f (param i32)
          (if (local.get 0) (then
            (call $f (i32.sub (local.get 0) (i32.const 1)))
            (call $f (i32.sub (local.get 0) (i32.const 1))))))
        (func (export "run") (call $f (i32.const 60))))"#;
    check(source, out_of_fuel);
}

#[test]
fn each_trap_is_named() {
    for (body, expected) in [
        ("(unreachable)", Trap::Unreachable),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", Trap::DivisionByZero),
        ("(drop (i64.rem_u (i64.const 1) (i64.const 0)))", Trap::DivisionByZero),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", Trap::IntegerOverflow),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", Trap::BadConversion),
        ("(drop (i32.trunc_f64_u (f64.const 1e300)))", Trap::IntegerOverflow),
        ("(drop (i32.load (i32.const 0xfffffffc)))", Trap::MemoryOutOfBounds),
        ("(drop (i64.load offset=0xffffffff (i32.const 0xffffffff)))", Trap::MemoryOutOfBounds),
        ("(i64.store (i32.const 65529) (i64.const 1))", Trap::MemoryOutOfBounds),
        ("(memory.fill (i32.const 65000) (i32.const 1) (i32.const 1000))", Trap::MemoryOutOfBounds),
        ("(memory.copy (i32.const 0) (i32.const 65000) (i32.const 1000))", Trap::MemoryOutOfBounds),
        ("(v128.store (i32.const -16) (v128.const i64x2 1 2))", Trap::MemoryOutOfBounds),
    ] {
        check(run(body), |error| matches!(error, Error::Trap { trap, .. } if *trap == expected));
    }
}

#[test]
fn bad_indirect_calls_trap() {
    let module = |index: i32| {
        format!(
            r#"(module (type $t (func)) (table 3 funcref) (elem (i32.const 0) $other)
            (func $other (result i64) (i64.const 1))
            (func (export "run") (call_indirect (type $t) (i32.const {index}))))"#
        )
    };
    check(module(0), |e| matches!(e, Error::Trap { trap: Trap::SignatureMismatch, .. }));
    check(module(1), |e| matches!(e, Error::Trap { trap: Trap::NullCall, .. }));
    check(module(9), |e| matches!(e, Error::Trap { trap: Trap::TableOutOfBounds, .. }));
}

#[test]
fn segments_outside_memory_or_table_are_errors() {
    let is = |error: &Error| matches!(error, Error::Trap { .. });
    check("(module (memory 1) (data (i32.const 65530) \"0123456789\") (func (export \"run\")))", is);
    let table = "(module (table 1 funcref) (elem (i32.const 5) $f) (func $f (export \"run\")))";
    check(table, is);
}

#[test]
fn four_gibibytes_of_memory_are_refused_before_instantiation() {
    let four_gib = "(module (memory 65536) (func (export \"run\")))";
    let error = Runtime::default().compile(four_gib.as_bytes()).unwrap_err();
    assert_eq!(error.code(), "LLMDB-W05");
    assert!(error.to_string().contains("4294967296 bytes of memory"), "{error}");
    check(four_gib, memory_limit);
    check("(module (memory 1025) (func (export \"run\")))", memory_limit);
}

#[test]
fn the_whole_memory_limit_can_be_used_and_no_more() {
    let source = r#"(module (memory 1024) (func (export "run") (result i32) (memory.grow (i32.const 1))))"#;
    let result = attack(&Runtime::default(), source.as_bytes());
    assert_eq!(result, Ok(vec![Value::I32(-1)]));
}

#[test]
fn growth_above_the_limit_answers_minus_one() {
    for pages in ["1024", "65535", "-1"] {
        let source = run(&format!("(result i32) (memory.grow (i32.const {pages}))"));
        assert_eq!(attack(&Runtime::default(), source.as_bytes()), Ok(vec![Value::I32(-1)]), "{pages}");
    }
    let source = run("(result i32) (memory.grow (i32.const 1023))");
    assert_eq!(attack(&Runtime::default(), source.as_bytes()), Ok(vec![Value::I32(1)]));
}

#[test]
fn growing_in_a_loop_runs_out_of_fuel() {
    check(run("(loop (drop (memory.grow (i32.const 1))) (br 0))"), out_of_fuel);
    check(run("(loop (drop (memory.grow (i32.const 0))) (br 0))"), out_of_fuel);
    let table = "(module (table $t 1 funcref) (func (export \"run\")
        (loop (drop (table.grow $t (ref.null func) (i32.const 9))) (br 0))))";
    check(table, out_of_fuel);
}

#[test]
fn bulk_storms_run_out_of_fuel() {
    let storm = |body: &str| {
        format!(
            r#"(module (memory 1000) (table $t 100000 funcref) (data $d "{}") (elem $e func $run)
            (func $run (export "run") (loop {body} (br 0))))"#,
            "x".repeat(5000)
        )
    };
    for body in [
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 60000000))",
        "(memory.copy (i32.const 1) (i32.const 0) (i32.const 60000000))",
        "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 5000))",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 0))",
        "(table.fill $t (i32.const 0) (ref.null func) (i32.const 100000))",
        "(table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 99999))",
        "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1))",
        "(data.drop $d)",
        "(elem.drop $e)",
    ] {
        check(storm(body), out_of_fuel);
    }
}

#[test]
fn huge_tables_are_refused() {
    check("(module (table 10000000 funcref) (func (export \"run\")))", memory_limit);
    check("(module (table 262145 funcref) (func (export \"run\")))", memory_limit);
    let many = "(table 200000 funcref)".repeat(3);
    check(format!("(module {many} (func (export \"run\")))"), memory_limit);
}

#[test]
fn tables_count_against_the_memory_limit() {
    let runtime = Runtime::new(Limits::default().memory_bytes(128 << 10));
    check_with(&runtime, "(module (memory 1) (table 9000 funcref) (func (export \"run\")))", memory_limit);
    let module = runtime.compile(b"(module (memory 1) (table 8192 8192 funcref))").unwrap();
    assert_eq!(module.describe().memory_pages, Some((1, 1)));
}

#[test]
fn every_import_is_refused_by_name() {
    for import in [
        "(import \"env\" \"clock\" (func))",
        "(import \"env\" \"clock\" (memory 1))",
        "(import \"env\" \"clock\" (table 1 funcref))",
        "(import \"env\" \"clock\" (global i64))",
    ] {
        let is = |error: &Error| {
            matches!(error, Error::ImportRefused { import_module, import_field, .. }
                if import_module == "env" && import_field == "clock")
        };
        check(format!("(module {import} (func (export \"run\")))"), is);
    }
}

#[test]
fn bytes_that_are_no_module_are_invalid() {
    for bytes in [
        &b""[..],
        b"\0",
        b"\0asm",
        b"\0asm\x02\0\0\0",
        b"\0asm\x0d\0\x01\0", // a component
        b"\x7fELF and so on",
        b"(module",
        b"(module (func (export \"run\") (i32.const 1)))",
        b"; comment",
        b"\xff\xfe(module)",
    ] {
        check(bytes, invalid);
    }
    check([b'('].repeat(100_000), invalid);
}

#[test]
fn truncated_modules_are_errors_at_every_length() {
    let runtime = Runtime::default();
    let whole = binary_with_body(b"\x01\x02\x7f\x41\x07\x21\x00\x0b");
    assert_eq!(attack(&runtime, &whole), Ok(vec![]));
    for length in 0..whole.len() {
        // A cut between sections can leave a valid module, but never one with the function.
        assert!(attack(&runtime, &whole[..length]).is_err(), "{length} bytes pass");
    }
    let code = include_bytes!("data/crc32.wasm");
    for length in (9..1000).step_by(7) {
        assert!(runtime.compile(&code[..length]).is_err(), "{length} bytes pass");
    }
    serves_on(&runtime);
}

#[test]
fn a_start_function_is_metered() {
    check("(module (start $s) (func $s (loop (br 0))) (func (export \"run\")))", out_of_fuel);
    let trap = "(module (start $s) (func $s (unreachable)) (func (export \"run\")))";
    check(trap, |error| matches!(error, Error::Trap { function, .. } if function == "start"));
}

#[test]
fn our_names_are_reserved() {
    check(
        "(module (global (export \"llmdb:fuel\") (mut i64) (i64.const 9)) (func (export \"run\")))",
        reserved,
    );
    check("(module (func (export \"llmdb:start\")) (func (export \"run\")))", reserved);
    check("(module (func (export \"llmdb:later\")) (func (export \"run\")))", reserved);
}

#[test]
fn a_guest_cannot_name_the_fuel_global() {
    check(run("(global.set 0 (i64.const 99999999))"), invalid);
    let one = "(module (global (mut i64) (i64.const 0)) (func (export \"run\")
        (loop (global.set 1 (i64.const 99999999)) (br 0))))";
    check(one, invalid);
    let decoy = "(module (global (mut i64) (i64.const 0)) (func (export \"run\")
        (loop (global.set 0 (i64.const 99999999)) (br 0))))";
    check(decoy, out_of_fuel);
}

#[test]
fn proposals_that_are_off_are_named() {
    let modules = [
        "(module (memory 1 1 shared) (func (export \"run\")))",
        "(module (memory 1 1) (func (export \"run\") (drop (i32.atomic.load (i32.const 0)))))",
        "(module (memory i64 1) (func (export \"run\")))",
        "(module (memory 1) (memory 1) (func (export \"run\")))",
        "(module (tag) (func (export \"run\") (throw 0)))",
        "(module (func (export \"run\") (return_call 0)))",
        "(module (type (struct)) (func (export \"run\")))",
        r#"(module (func (export "run") (drop (f32x4.relaxed_madd
            (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0)))))"#,
    ];
    for source in modules {
        check(source, not_allowed);
    }
}

#[test]
fn outsized_modules_are_refused() {
    let locals = "i32 ".repeat(10_001);
    check(format!("(module (func (export \"run\") (local {locals})))"), too_large);
    check(run(&"(nop)".repeat(600_000)), too_large);
    check(vec![b'('; 9 << 20], too_large);
    let few = Runtime::new(Limits::default().function_count(3));
    check_with_small(&few, &"(func)".repeat(4), too_large);
    let brief = Runtime::new(Limits::default().compile_time(Duration::ZERO));
    let error = brief.compile(guests::COUNT.as_bytes()).unwrap_err();
    assert_eq!(error.code(), "LLMDB-W13", "{error}");
}

fn check_with_small(runtime: &Runtime, fields: &str, expected: impl Fn(&Error) -> bool) {
    let error = attack(runtime, format!("(module {fields})").as_bytes()).unwrap_err();
    assert!(expected(&error), "{error:?}");
}

/// Modules that a compiler would chew on for minutes are refused, whatever their size in bytes.
#[test]
fn compile_bombs_are_refused() {
    let nested = |open: &str, depth: usize| format!("{}{}", open.repeat(depth), ")".repeat(depth));
    let locals = |count: usize| format!("(local {})", "i32 ".repeat(count));
    let get = |count: usize| (0..count).map(|at| format!("(drop (local.get {at}))")).collect::<String>();
    let blocks = [&[0][..], &[0x02, 0x40].repeat(100_000), &[0x0b].repeat(100_001)].concat();
    check(binary_with_body(&blocks), too_large);
    let bombs = [
        nested("(loop ", 65),
        "(loop (br_if 0 (i32.const 0)))".repeat(20_000),
        "(if (i32.const 1) (then))".repeat(20_000),
        "(call 0)".repeat(20_000),
        format!("(block (br_table {} (i32.const 0)))", "0 ".repeat(20_000)),
        locals(5_000) + &"(if (local.get 0) (then))".repeat(1_000) + &get(5_000),
    ];
    for bomb in bombs {
        check(run(&bomb), too_large);
    }
    let wide = format!("(type $t (func (param {0}) (result {0})))", "i64 ".repeat(1_000));
    check(format!("(module {wide} (func (export \"run\")))"), too_large);
}

/// What is just below the limits compiles, and in good time.
#[test]
fn the_largest_functions_allowed_compile_in_good_time() {
    let started = Instant::now();
    let nested = format!("{}{}", "(block ".repeat(900), ")".repeat(900));
    let loops = "(loop (br_if 0 (i32.const 0)))".repeat(2_000);
    let locals = format!("(local {}) {}", "i32 ".repeat(500), "(if (local.get 0) (then))".repeat(3_000));
    // A debug build on a busy machine may pass the limit on compilation by the clock.
    let patient = Runtime::new(Limits::default().compile_time(PATIENCE));
    for body in [nested, loops, locals] {
        assert_eq!(attack(&patient, run(&body).as_bytes()), Ok(vec![]));
    }
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

/// A module of one function, `run`, without parameters and results.
fn binary_with_body(body: &[u8]) -> Vec<u8> {
    let leb = |mut number: usize| {
        let mut bytes = Vec::new();
        loop {
            let low = (number & 0x7f) as u8;
            number >>= 7;
            bytes.push(if number == 0 { low } else { low | 0x80 });
            if number == 0 {
                return bytes;
            }
        }
    };
    let code = [leb(1), leb(body.len()), body.to_vec()].concat();
    let mut module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x07\x01\x03run\0\0\x0a".to_vec();
    module.extend(leb(code.len()));
    module.extend(code);
    module
}

#[test]
fn nans_are_canonical() {
    let source = r#"(module (func (export "run") (result i32 i64)
        (i32.reinterpret_f32 (f32.add (f32.const nan:0x200001) (f32.const 1)))
        (i64.reinterpret_f64 (f64.div (f64.const 0) (f64.const 0)))))"#;
    let result = attack(&Runtime::default(), source.as_bytes());
    assert_eq!(result, Ok(vec![Value::I32(0x7fc0_0000), Value::I64(0x7ff8_0000_0000_0000)]));
}

#[test]
fn instances_see_nothing_of_each_other() {
    let source = r#"(module (memory (export "memory") 1) (global $g (mut i32) (i32.const 0))
        (func (export "run") (result i32)
          (i32.add (i32.load (i32.const 0)) (global.get $g))
          (i32.store (i32.const 0) (i32.const 41)) (global.set $g (i32.const 1))))"#;
    let module = Runtime::default().compile(source.as_bytes()).unwrap();
    let (mut first, mut second) = (module.instantiate().unwrap(), module.instantiate().unwrap());
    assert_eq!(first.call("run", &[]), Ok(vec![Value::I32(0)]));
    assert_eq!(first.call("run", &[]), Ok(vec![Value::I32(42)]));
    assert_eq!(second.call("run", &[]), Ok(vec![Value::I32(0)]));
}

#[test]
fn an_instance_is_dead_after_an_error_and_another_is_not() {
    let runtime = Runtime::default();
    let source = "(module (func (export \"run\") (unreachable)) (func (export \"ok\")))";
    let module = runtime.compile_named("hostile", source.as_bytes()).unwrap();
    let mut instance = module.instantiate().unwrap();
    assert_eq!(instance.call("ok", &[]), Ok(vec![]));
    assert!(instance.call("run", &[]).is_err());
    assert_eq!(instance.call("ok", &[]).unwrap_err().code(), "LLMDB-W12");
    assert_eq!(module.instantiate().unwrap().call("ok", &[]), Ok(vec![]));
}

#[test]
fn bad_calls_are_errors_and_harmless() {
    let source = "(module (memory (export \"memory\") 1) (global (export \"g\") i32 (i32.const 1))
        (func (export \"run\") (param i32)) (func (export \"vector\") (result v128) (v128.const i64x2 1 2)))";
    let mut instance = Runtime::default().compile(source.as_bytes()).unwrap().instantiate().unwrap();
    for (function, arguments) in
        [("absent", &[][..]), ("g", &[]), ("run", &[]), ("run", &[Value::I64(1)]), ("vector", &[])]
    {
        assert!(abi(&instance.call(function, arguments).unwrap_err()), "{function}");
    }
    assert!(out_of_bounds(&instance.read("test", 65_530, 7).unwrap_err()));
    assert!(out_of_bounds(&instance.read("test", u64::MAX, 2).unwrap_err()));
    assert!(out_of_bounds(&instance.write("test", 65_536, b"x").unwrap_err()));
    assert_eq!(instance.call("run", &[Value::I32(1)]), Ok(vec![]));
}

/// A guest of the reduce ABI with one part replaced.
struct Guest {
    memory: &'static str,
    version: &'static str,
    alloc: &'static str,
    state_size: &'static str,
    step: &'static str,
    finish: &'static str,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            memory: "(memory (export \"memory\") 4)",
            version: "(func (export \"llmdb_abi_version\") (result i32) (i32.const 1))",
            alloc: "(func (export \"llmdb_alloc\") (param i32) (result i32) (i32.const 1024))",
            state_size: "(func (export \"f_state_size\") (result i32) (i32.const 8))",
            step: "(func (export \"f\") (param i32 i32 i32) (result i32) (i32.const 0))",
            finish: "(func (export \"f_finish\") (param i32) (result i64) (i64.const 0x800000000))",
        }
    }
}

impl Guest {
    fn reduce(&self) -> Result<Vec<u8>> {
        let Self { memory, version, alloc, state_size, step, finish } = self;
        let source = format!("(module {memory} {version} {alloc} {state_size} {step} {finish})");
        let runtime = Runtime::default();
        let outcome = runtime
            .compile_named("hostile", source.as_bytes())
            .and_then(|module| module.reduce("f", [Record::new(b"key", b"value"); 100]));
        serves_on(&runtime);
        outcome.map(|reduction| reduction.output)
    }

    fn check(&self, expected: impl Fn(&Error) -> bool) {
        let error = self.reduce().expect_err("a hostile guest");
        assert!(expected(&error), "unexpected: {error:?}");
        assert!(error.to_string().contains("module hostile"), "{error}");
    }
}

#[test]
fn the_guest_that_is_then_broken_works() {
    assert_eq!(Guest::default().reduce().map(|output| output.len()), Ok(8));
}

#[test]
fn missing_or_mistyped_exports_are_abi_errors() {
    let guest = Guest::default;
    Guest { memory: "(memory 4)", ..guest() }.check(abi);
    Guest { memory: "(func (export \"memory\"))", ..guest() }.check(abi);
    Guest { version: "", ..guest() }.check(abi);
    Guest { version: "(func (export \"llmdb_abi_version\") (result i64) (i64.const 1))", ..guest() }
        .check(abi);
    Guest { version: "(func (export \"llmdb_abi_version\") (result i32) (i32.const 3))", ..guest() }
        .check(abi);
    Guest { alloc: "(global (export \"llmdb_alloc\") i32 (i32.const 1))", ..guest() }.check(abi);
    Guest { state_size: "", ..guest() }.check(abi);
    Guest { step: "(func (export \"f\") (param i32 i32) (result i32) (i32.const 0))", ..guest() }.check(abi);
    Guest { finish: "(func (export \"f_finish\") (result i64) (i64.const 0))", ..guest() }.check(abi);
}

#[test]
fn bad_allocations_are_errors() {
    let alloc = |alloc| Guest { alloc, ..Guest::default() };
    alloc("(func (export \"llmdb_alloc\") (param i32) (result i32) (i32.const 0))").check(abi);
    alloc("(func (export \"llmdb_alloc\") (param i32) (result i32) (i32.const 1001))").check(abi);
    alloc("(func (export \"llmdb_alloc\") (param i32) (result i32) (i32.const 0xfffffff8))")
        .check(out_of_bounds);
    alloc("(func (export \"llmdb_alloc\") (param i32) (result i32) (i32.const 262136))").check(out_of_bounds);
    alloc("(func (export \"llmdb_alloc\") (param i32) (result i32) (loop (br 0)) (unreachable))")
        .check(out_of_fuel);
    Guest { state_size: "(func (export \"f_state_size\") (result i32) (i32.const -1))", ..Guest::default() }
        .check(abi);
}

#[test]
fn bad_answers_are_errors() {
    let finish = |finish| Guest { finish, ..Guest::default() };
    // 8 bytes at 262,140 of 262,144; 4 GiB at 0; 8 bytes at the end of the address space.
    finish("(func (export \"f_finish\") (param i32) (result i64) (i64.const 0x80003fffc))")
        .check(out_of_bounds);
    finish("(func (export \"f_finish\") (param i32) (result i64) (i64.const 0x7fffffff00000000))")
        .check(out_of_bounds);
    finish("(func (export \"f_finish\") (param i32) (result i64) (i64.const 0x8ffffffff))")
        .check(out_of_bounds);
    finish("(func (export \"f_finish\") (param i32) (result i64) (i64.const -7))")
        .check(|error| matches!(error, Error::GuestRefused { code: -7, .. }));
    finish("(func (export \"f_finish\") (param i32) (result i64) (loop (br 0)) (unreachable))")
        .check(out_of_fuel);
}

#[test]
fn a_guest_that_fails_in_a_batch_ends_the_reduction() {
    let step = |step| Guest { step, ..Guest::default() };
    step("(func (export \"f\") (param i32 i32 i32) (result i32) (i32.const 5))")
        .check(|error| matches!(error, Error::GuestRefused { code: 5, .. }));
    step("(func (export \"f\") (param i32 i32 i32) (result i32) (unreachable))")
        .check(|error| matches!(error, Error::Trap { function, .. } if function == "f"));
    step("(func (export \"f\") (param i32 i32 i32) (result i32) (loop (br 0)) (i32.const 0))")
        .check(out_of_fuel);
}

#[test]
fn a_reducer_is_dead_after_a_trap() {
    let guest = Guest {
        step: "(func (export \"f\") (param i32 i32 i32) (result i32) (unreachable))",
        ..Guest::default()
    };
    let Guest { memory, version, alloc, state_size, step, finish } = guest;
    let source = format!("(module {memory} {version} {alloc} {state_size} {step} {finish})");
    let module = Runtime::default().compile_named("hostile", source.as_bytes()).unwrap();
    let mut reducer = module.reducer("f").unwrap();
    let records = std::iter::repeat_n(Record::new(b"k", b"v"), 64);
    let failures = records.filter_map(|record| reducer.push(record).err()).collect::<Vec<_>>();
    assert_eq!(failures.len(), 1, "the batch fails once, when it is given");
    assert_eq!(failures[0].code(), "LLMDB-W07");
    assert_eq!(reducer.push(Record::new(b"k", b"v")).unwrap_err().code(), "LLMDB-W12");
    assert_eq!(reducer.finish().unwrap_err().code(), "LLMDB-W12");
}
