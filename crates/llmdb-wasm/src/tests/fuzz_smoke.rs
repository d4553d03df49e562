//! The bodies of the fuzz targets over mutated and made modules, on stable Rust and in bounded time.

use crate::fuzzing;

/// Enough for every mutation below, and short enough for each test run.
const MUTANTS: u64 = 500;

const SEEDS: &[&str] = &[
    crate::guests::COUNT,
    r#"(module (memory 1) (func (export "f") (param i32 i64) (result i64)
        (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (i64.add (local.get 1) (i64.load (i32.const 8)))))"#,
    r#"(module (type $t (func (result i32))) (table 4 funcref) (elem (i32.const 0) $a $b) (start $s)
        (func $s (table.set 0 (i32.const 2) (ref.func $a)))
        (func $a (result i32) (i32.const 1)) (func $b (result i32) (call $a) (call $a) (i32.add))
        (func (export "f") (param i32) (result i32) (call_indirect (type $t) (local.get 0)))
        (func (export "g") (param f32 f64) (result f32 f64) (f32.sqrt (local.get 0)) (f64.neg (local.get 1))))"#,
    r#"(module (memory 1 4) (data $d "abcdef") (func (export "f") (param i32) (result i32)
        (memory.fill (i32.const 1) (i32.const 2) (local.get 0))
        (memory.init $d (i32.const 0) (i32.const 1) (local.get 0))
        (memory.grow (local.get 0)) (i32.load (i32.const 0)) (i32.add)))"#,
];

/// Splitmix64: small, and good enough to choose bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn mutant(seed: u64, bytes: &[u8]) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let at = 8 + random.below(bytes.len() - 8);
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] = bytes[8 + random.below(bytes.len() - 8)],
            _ => bytes.truncate(at.max(9)),
        }
    }
    bytes
}

#[test]
fn mutated_modules_never_break_the_host_nor_tell_the_meter() {
    let seeds = SEEDS.iter().map(|text| wat::parse_str(text).expect("a seed")).collect::<Vec<_>>();
    let seeds_compared = seeds.iter().map(|seed| fuzzing::module_bytes(seed)).sum::<usize>();
    assert!(seeds_compared >= 5, "{seeds_compared} calls of the seeds were compared");
    let mut compared = 0;
    for seed in 0..MUTANTS {
        let bytes = mutant(seed, &seeds[(seed % seeds.len() as u64) as usize]);
        let caught = std::panic::catch_unwind(|| fuzzing::module_bytes(&bytes));
        compared += caught.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(compared >= 50, "{compared} calls of mutants were compared: the mutations are too wild");
}

#[test]
fn made_modules_compute_the_same_with_and_without_the_meter() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds");
    let (mut modules, mut compared) = (0, 0);
    for entry in std::fs::read_dir(folder).expect("modules that the fuzz target `rewriter` has made") {
        let path = entry.expect("a file").path();
        let module = std::fs::read(&path).expect("a file");
        let caught = std::panic::catch_unwind(|| fuzzing::module_bytes(&module));
        let calls = caught.unwrap_or_else(|_| panic!("{}", path.display()));
        assert!(calls > 0, "{}: nothing was compared", path.display());
        (modules, compared) = (modules + 1, compared + calls);
    }
    assert!(modules >= 40 && compared >= 60, "{compared} calls of {modules} modules were compared");
}
