//! Fuel: the meter's count against a naive one that counts before every single instruction.

use crate::fuzzing::naive;
use crate::meter::{ENGINE_CALL_FUEL, metered};
use crate::rewrite::BodyWriter;
use crate::{Error, Instance, Limits, Runtime, Value};

fn instance(source: &str, writer: BodyWriter) -> Instance {
    let module = Runtime::default().compile_inner(None, source.as_bytes(), writer).expect("compiles");
    module.instantiate().expect("instantiates")
}

/// Runs `run` with the arguments 0 to 8, metered and naively counted: same results, same count. Returns the
/// fuel of the last.
fn check(source: &str) -> u64 {
    let (mut ours, mut theirs) = (instance(source, metered), instance(source, naive));
    assert_eq!(ours.fuel_total(), theirs.fuel_total(), "start function");
    for argument in 0..=8 {
        let left = ours.call("run", &[Value::I32(argument)]);
        let right = theirs.call("run", &[Value::I32(argument)]);
        assert_eq!(left, right, "results for {argument}");
        assert!(left.is_ok(), "{left:?}");
        assert_eq!(ours.fuel_used(), theirs.fuel_used(), "fuel for {argument} in {source}");
    }
    ours.fuel_used()
}

#[test]
fn straight_code_costs_its_length() {
    let fuel =
        check("(module (func (export \"run\") (param i32) (result i32) local.get 0 i32.const 1 i32.add))");
    assert_eq!(fuel, 4, "three instructions and the end");
}

#[test]
fn an_empty_function_costs_its_end() {
    assert_eq!(check("(module (func (export \"run\") (param i32)))"), 1);
}

#[test]
fn if_and_else_cost_the_arm_taken() {
    check(
        r#"(module (func (export "run") (param i32) (result i32)
        (if (result i32) (i32.gt_u (local.get 0) (i32.const 3))
          (then (i32.mul (local.get 0) (i32.const 7)))
          (else (nop) (nop) (local.get 0)))
        (if (i32.eqz (local.get 0)) (then (nop) (nop) (nop)))))"#,
    );
}

#[test]
fn loops_cost_each_turn() {
    check(
        r#"(module (func (export "run") (param $n i32) (result i32) (local $sum i32) (local $i i32)
        (loop $outer
          (local.set $i (local.get $n))
          (block $skip
            (br_if $skip (i32.eqz (local.get $n)))
            (loop $inner
              (local.set $sum (i32.add (local.get $sum) (local.get $i)))
              (local.set $i (i32.sub (local.get $i) (i32.const 1)))
              (br_if $inner (local.get $i)))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br $outer)))
        (local.get $sum)))"#,
    );
}

#[test]
fn branch_tables_cost_the_way_taken() {
    check(
        r#"(module (func (export "run") (param i32) (result i32) (local $x i32)
        (block $c (block $b (block $a
          (br_table $a $b $c $a (local.get 0)))
          (local.set $x (i32.const 10)) (nop))
          (local.set $x (i32.add (local.get $x) (i32.const 100))))
        (i32.add (local.get $x) (i32.const 1))))"#,
    );
}

#[test]
fn branch_tables_to_the_function_itself_are_returns() {
    check(
        r#"(module (func $f (param i32) (result i32)
          (block $inner (result i32)
            (br_table $inner 1 $inner 1 (i32.mul (local.get 0) (i32.const 3)) (local.get 0)))
          (i32.const 1000) (i32.add))
        (func (export "run") (param i32) (result i32) (call $f (local.get 0)) (nop)))"#,
    );
}

#[test]
fn early_returns_and_branches_out_cost_what_ran() {
    check(
        r#"(module
        (func $a (param i32) (result i32)
          (block (block (loop
            (if (i32.gt_u (local.get 0) (i32.const 4)) (then (return (i32.const 77))))
            (br_if 1 (i32.eq (local.get 0) (i32.const 2)))
            (drop (br_if 3 (i32.const 55) (i32.eq (local.get 0) (i32.const 3)))))))
          (i32.const 11))
        (func $b (param i32)
          (br_if 0 (local.get 0))
          (nop) (nop))
        (func (export "run") (param i32) (result i32)
          (call $b (local.get 0))
          (call $a (local.get 0))))"#,
    );
}

#[test]
fn code_that_cannot_be_reached_costs_nothing() {
    check(
        r#"(module (func (export "run") (param i32) (result i32)
        (block $out (result i32)
          (br $out (local.get 0))
          (nop) (loop (nop) (br 0)) (if (then (nop)) (else (unreachable))) (unreachable))
        (return) (i32.const 1) (drop)))"#,
    );
}

#[test]
fn calls_and_recursion_cost_the_callee() {
    check(
        r#"(module
        (func $fib (param i32) (result i32)
          (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
            (then (local.get 0))
            (else (i32.add
              (call $fib (i32.sub (local.get 0) (i32.const 1)))
              (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
        (func (export "run") (param i32) (result i32) (call $fib (local.get 0)) (call $fib (i32.const 3)) (drop)))"#,
    );
}

#[test]
fn indirect_calls_cost_the_callee() {
    check(
        r#"(module
        (type $t (func (param i32) (result i32)))
        (table funcref (elem $one $two $three))
        (func $one (param i32) (result i32) (local.get 0))
        (func $two (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
        (func $three (param i32) (result i32) (nop) (nop) (i32.const 9))
        (func (export "run") (param i32) (result i32)
          (call_indirect (type $t) (local.get 0) (i32.rem_u (local.get 0) (i32.const 3)))))"#,
    );
}

#[test]
fn several_results_pass_through() {
    check(
        r#"(module
        (func $divide (param i32 i32) (result i32 i32 i64)
          (if (i32.eqz (local.get 0)) (then (return (i32.const 1) (i32.const 2) (i64.const 3))))
          (br_if 0 (i32.const 4) (i32.const 5) (i64.const 6) (i32.eq (local.get 0) (i32.const 7)))
          (drop) (drop) (drop)
          (i32.div_u (local.get 0) (local.get 1)) (i32.rem_u (local.get 0) (local.get 1)) (i64.const 8))
        (func (export "run") (param i32) (result i32 i32 i64)
          (call $divide (local.get 0) (i32.const 3))))"#,
    );
}

#[test]
fn loops_with_parameters_cost_each_turn() {
    check(
        r#"(module (func (export "run") (param i32) (result i32) (local $left i32)
        (local.set $left (local.get 0))
        (i32.const 1)
        (loop $l (param i32) (result i32)
          (i32.const 3) (i32.mul)
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $l (i32.gt_s (local.get $left) (i32.const 0))))))"#,
    );
}

#[test]
fn memory_floats_and_vectors_cost_one_each() {
    check(
        r#"(module (memory 1) (global $g (mut f64) (f64.const 0.5))
        (func (export "run") (param i32) (result f64)
          (i32.store (i32.const 8) (local.get 0))
          (v128.store (i32.const 32) (i32x4.splat (i32.load (i32.const 8))))
          (global.set $g (f64.add (global.get $g) (f64.convert_i32_u (i32.load offset=4 (i32.const 32)))))
          (select (global.get $g) (f64.sqrt (global.get $g)) (local.get 0))))"#,
    );
}

#[test]
fn a_start_function_is_counted() {
    let source = r#"(module (global $g (mut i32) (i32.const 0)) (start $s)
        (func $s (loop (global.set $g (i32.add (global.get $g) (i32.const 1)))
          (br_if 0 (i32.lt_u (global.get $g) (i32.const 10)))))
        (func (export "run") (param i32) (result i32) (global.get $g)))"#;
    check(source);
    assert!(instance(source, metered).fuel_total() > 80);
}

#[test]
fn fuel_ends_exactly_where_the_count_says() {
    let source = r#"(module (func (export "run") (param $n i32) (result i32)
        (loop (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) (local.get $n)))"#;
    let needed = {
        let mut instance = instance(source, metered);
        instance.call("run", &[Value::I32(1000)]).unwrap();
        instance.fuel_used()
    };
    let with = |fuel| {
        let runtime = Runtime::new(Limits::default().max_fuel(fuel));
        let mut instance = runtime.compile(source.as_bytes()).unwrap().instantiate().unwrap();
        (instance.call("run", &[Value::I32(1000)]), instance.fuel_used())
    };
    assert_eq!(with(needed), (Ok(vec![Value::I32(0)]), needed));
    let (result, used) = with(needed - 1);
    assert!(matches!(result, Err(Error::OutOfFuel { limit, .. }) if limit == needed - 1), "{result:?}");
    assert_eq!(used, needed - 1);
}

/// Fuel of a call of `run` beyond the count of its instructions.
fn surcharge(source: &str, argument: i32) -> u64 {
    let (mut ours, mut theirs) = (instance(source, metered), instance(source, naive));
    let left = ours.call("run", &[Value::I32(argument)]);
    assert_eq!(left, theirs.call("run", &[Value::I32(argument)]));
    assert!(left.is_ok(), "{left:?}");
    ours.fuel_used() - theirs.fuel_used()
}

#[test]
fn bulk_memory_costs_a_sixteenth_of_its_bytes() {
    let call = ENGINE_CALL_FUEL as u64;
    let fill = r#"(module (memory 16) (func (export "run") (param i32)
        (memory.fill (i32.const 0) (i32.const 7) (local.get 0))))"#;
    assert_eq!(surcharge(fill, 0), call);
    assert_eq!(surcharge(fill, 15), call);
    assert_eq!(surcharge(fill, 1 << 20), call + (1 << 16));
    let copy = r#"(module (memory 16) (func (export "run") (param i32)
        (memory.copy (i32.const 0) (i32.const 64) (local.get 0))))"#;
    assert_eq!(surcharge(copy, 800), call + 50);
    let init = r#"(module (memory 1) (data $d "0123456789abcdef0123456789abcdef") (func (export "run") (param i32)
        (memory.init $d (i32.const 0) (i32.const 0) (local.get 0)) (data.drop $d)))"#;
    assert_eq!(surcharge(init, 32), 2 * call + 2);
}

/// Fills and copies in pieces against the plain instructions: same memory, same traps, for lengths and overlaps around
/// the size of a piece.
#[test]
fn bulk_memory_in_pieces_does_what_one_instruction_does() {
    const MIB: i32 = 1 << 20;
    let source = r#"(module (memory (export "memory") 80)
        (func (export "seed") (local $at i32)
          (loop (i32.store (local.get $at) (i32.mul (local.get $at) (i32.const 0x9e3779b1)))
            (br_if 0 (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const 5242880)))))
        (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
        (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2))))"#;
    let end = 80 * 65_536;
    let modules = [metered as BodyWriter, crate::fuzzing::plain]
        .map(|writer| Runtime::default().compile_inner(None, source.as_bytes(), writer).expect("compiles"));
    let lengths = [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 7, end, end + 1];
    let starts = [0, 5, MIB + 3, end - 2 * MIB, -8];
    for length in lengths {
        for to in starts {
            let runs = [("fill", 0xab)].into_iter().chain(starts.map(|from| ("copy", from)));
            for (function, with) in runs {
                let arguments = [to, with, length].map(Value::I32);
                let outcome = modules.each_ref().map(|module| {
                    let mut instance = module.instantiate().expect("instantiates");
                    instance.call("seed", &[]).unwrap();
                    let result = instance.call(function, &arguments);
                    (result, blake3::hash(&instance.read("test", 0, end as u64).unwrap()))
                });
                assert_eq!(outcome[0], outcome[1], "{function} {arguments:?}");
            }
        }
    }
}

#[test]
fn tables_cost_their_elements() {
    let call = ENGINE_CALL_FUEL as u64;
    let fill = r#"(module (table $t 5000 funcref) (func (export "run") (param i32)
        (table.fill $t (i32.const 0) (ref.null func) (local.get 0))))"#;
    assert_eq!(surcharge(fill, 4321), call + 4321);
    let copy = r#"(module (table $t 5000 funcref) (func (export "run") (param i32)
        (table.copy $t $t (i32.const 0) (i32.const 9) (local.get 0))))"#;
    assert_eq!(surcharge(copy, 1234), call + 1234);
    let grow = r#"(module (table $t 1 funcref) (func (export "run") (param i32) (result i32)
        (table.grow $t (ref.null func) (local.get 0))))"#;
    assert_eq!(surcharge(grow, 777), call + 777);
    assert_eq!(surcharge(grow, -1), call, "growth that fails costs nothing more");
}

#[test]
fn memory_growth_costs_what_zeroing_would() {
    let call = ENGINE_CALL_FUEL as u64;
    let grow = r#"(module (memory 1) (func (export "run") (param i32) (result i32)
        (memory.grow (local.get 0))))"#;
    assert_eq!(surcharge(grow, 3), call + 3 * 4096);
    assert_eq!(surcharge(grow, 1 << 12), call, "growth that fails costs nothing more");
}

#[test]
fn an_exhausted_guest_does_not_run_the_rest_of_its_callers() {
    // Each of 1,000 frames would add 200 after its callee returns; the fuel is gone long before.
    let step = "(i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))".repeat(200);
    let source = format!(
        r#"(module (memory (export "memory") 1)
        (func $f (export "run") (param i32)
          (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))))
          {step}))"#
    );
    let runtime = Runtime::new(Limits::default().max_fuel(20_000));
    let mut instance = runtime.compile(source.as_bytes()).unwrap().instantiate().unwrap();
    let error = instance.call("run", &[Value::I32(1000)]).unwrap_err();
    assert_eq!(error.code(), "LLMDB-W06", "{error}");
    let added = u32::from_le_bytes(instance.read("run", 0, 4).unwrap().try_into().unwrap());
    assert!(added > 0 && added < 20_000 / 7 + 200, "{added} additions ran");
}

/// Writes random nests of blocks, loops and `if`s, with branches out of them and round.
struct Nests {
    state: u64,
    /// Of each open block whether it is a loop, outermost first.
    open: Vec<bool>,
}

impl Nests {
    fn below(&mut self, bound: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % bound
    }

    /// An `i32` on the stack that is 0 or 1; `x` is another number afterwards.
    fn bit(&mut self) -> String {
        let (factor, shift) = (self.below(1 << 20) * 2 + 1, self.below(31));
        format!(
            "(i32.and (i32.shr_u (local.tee $x (i32.add (i32.mul (local.get $x) (i32.const {factor}))
                (i32.const 12345))) (i32.const {shift})) (i32.const 1))"
        )
    }

    /// A condition under which to go to the label. Rounds are few: then no loop turns again.
    fn condition(&mut self, depth: usize) -> String {
        let bit = self.bit();
        let is_loop = self.open.iter().rev().nth(depth).copied().unwrap_or(false);
        if !is_loop {
            return bit;
        }
        format!(
            "(i32.and {bit} (i32.gt_s (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1))) (i32.const 0)))"
        )
    }

    fn body(&mut self, size: u64) -> String {
        let mut text = String::new();
        for _ in 0..=self.below(4) {
            let choice = if size == 0 { self.below(3) } else { self.below(9) };
            text += &match choice {
                0 => "(local.set $x (i32.xor (local.get $x) (i32.const 77)))".to_owned(),
                1 => {
                    let depth = self.below(self.open.len() as u64 + 1) as usize;
                    let condition = self.condition(depth);
                    // To the function's label only with its result.
                    if depth == self.open.len() {
                        format!("(if {condition} (then (return (local.get $x))))")
                    } else {
                        format!("(br_if {depth} {condition})")
                    }
                }
                2 if !self.open.is_empty() && self.below(3) == 0 => {
                    let depth = self.below(self.open.len() as u64) as usize;
                    let condition = self.condition(depth);
                    format!("(if {condition} (then (br {})))", depth + 1)
                }
                2 => "(call $callee)".to_owned(),
                3 | 4 => self.nested(false, size, "(block ", ")"),
                5 | 6 => self.nested(true, size, "(loop ", ")"),
                _ => {
                    let bit = self.bit();
                    let mut text = self.nested(false, size, &format!("(if {bit} (then "), ")");
                    if self.below(2) == 0 {
                        text += &self.nested(false, size, "(else ", ")");
                    }
                    text + ")"
                }
            };
        }
        text
    }

    fn nested(&mut self, is_loop: bool, size: u64, before: &str, after: &str) -> String {
        self.open.push(is_loop);
        let body = self.body(size - 1);
        self.open.pop();
        format!("{before}{body}{after}")
    }
}

#[test]
fn random_nests_of_blocks_cost_what_is_executed() {
    let mut different = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let mut nests = Nests { state: seed, open: Vec::new() };
        let body = nests.body(5);
        let source = format!(
            "(module (func $callee) (func (export \"run\") (param $x i32) (result i32) (local $rounds i32)
                (local.set $rounds (i32.const 50)) {body} (local.get $x)))"
        );
        different.insert(check(&source));
    }
    assert!(different.len() > 50, "{} different counts", different.len());
}

#[test]
fn what_is_certain_to_follow_is_paid_together() {
    use crate::runs::payments;
    let source = "(module (func (param i32)
        (block $left nop
            (if (local.get 0) (then nop) (else nop nop))
            nop
            (loop $round (br_if $round (local.get 0)))
            nop)
        nop
        (block (br_if 1 (local.get 0)))
        nop))";
    let bytes = wat::parse_str(source).unwrap();
    let bodies = wasmparser::Parser::new(0).parse_all(&bytes).filter_map(|payload| match payload.unwrap() {
        wasmparser::Payload::CodeSectionEntry(body) => Some(body),
        _ => None,
    });
    let paid = bodies.map(|body| payments(&body, |_| 1).unwrap()).next().unwrap();
    // Until the `if`: block nop local.get if, nop loop, nop end, nop block local.get br_if. The arms: nop else, nop nop
    // end. The loop's: local.get br_if, end. Then end, and what follows a block that was left: nop end.
    assert_eq!(paid, [12, 2, 3, 0, 2, 1, 0, 0, 1, 2, 0]);
}
