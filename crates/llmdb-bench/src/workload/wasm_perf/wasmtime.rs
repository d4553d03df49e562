//! wasmtime beside our sandbox: the same guests, the same batches, in the same run.
//!
//! Its own fuel meters them: 1 for most instructions, none for `nop`, `drop`, `block` and `loop`, 1 for each byte of a fill
//! or copy; counted in a variable of the function, and looked at where functions and loops begin. So it bounds what our
//! fuel bounds, with other numbers. No clock watches a call, as one does ours; NaNs are canonical, as ours are.
//!
//! Invariants
//! 1. Every answer is held against the loop in Rust, outside of the time that counts.
//! 2. What the host does for a call is done here too: gather or copy, set fuel, call, read the fuel, copy the answers.
//!
//! Not here: loading compiled code from disk, which wasmtime offers as unsafe code only.

use super::costs::{Repeated, repeat, runtime_binary};
use super::{PAGE_SIZE, only_ours};
use crate::error::{Error, Result};
use crate::measure::Measured;
use crate::results::{Durability, Figure};
use crate::workload::{Bench, Case, Counted, Phase, Plan, named};
use llmdb_wasm::twins::{self, Twin};
use llmdb_wasm::{Runtime, guests};
use std::time::{Duration, Instant};
use wasmtime::{Config, Engine, Instance, Memory, Module, Store, TypedFunc};

/// Fuel of a call, as our guests have it.
const FUEL: u64 = 25_000_000;
/// Calls that are timed together.
const CALLS: u32 = 5_000;
/// Instances, and passes, that are timed together.
const PASSES: u32 = 50;
/// Pages of one call that is metered: they lie in a core's caches.
const METERED_PAGES: usize = 32;

/// One phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A map, the bytes of each page that it gets, and the pages of a call.
    Pages(&'static str, usize, usize),
    Call,
    Instance,
    Meter(&'static str),
    Compile,
}

const PARTS: [Part; 9] = [
    Part::Pages("key32", 32, 1024),
    Part::Pages("page_sum", PAGE_SIZE, 64),
    Part::Pages("page_pick", PAGE_SIZE, 64),
    Part::Pages("downsample", PAGE_SIZE, 64),
    Part::Call,
    Part::Instance,
    Part::Meter("page_sum"),
    Part::Meter("page_pick"),
    Part::Compile,
];

impl Part {
    fn in_words(self) -> String {
        match self {
            Self::Pages(map, _, _) => format!("{map}, given by the host"),
            Self::Call => "a batch call of a guest that is there".to_owned(),
            Self::Instance => "a guest made and dropped".to_owned(),
            Self::Meter(map) => format!("its meter in {map}"),
            Self::Compile => "a module of 127 KB compiled, its first call".to_owned(),
        }
    }
}

/// The plan, on so many bytes of pages, which are in `place`.
pub(super) fn plan(bytes: u64, place: &str) -> Plan {
    let phase = |part: &Part| Phase::of([("peer", "wasmtime".to_owned()), ("part", part.in_words())]);
    Plan {
        parameters: named([
            ("measures", "wasmtime".to_owned()),
            ("pages_in", place.to_owned()),
            ("bytes", bytes.to_string()),
        ]),
        durability: Durability::None,
        disk_bytes: 0,
        one_at_a_time: true,
        memory_bytes: bytes * 2,
        phases: PARTS.iter().map(phase).collect(),
        make: Box::new(move || Box::new(PeerCase { bytes, made: None, checked: 0 })),
    }
}

/// Code that is metered, and the same that is not.
struct Made {
    pages: Vec<u8>,
    metered: Module,
    plain: Module,
    large: Vec<u8>,
    /// What the large module answers.
    answer: i32,
}

struct PeerCase {
    bytes: u64,
    made: Option<Made>,
    /// Answers that were right.
    checked: u64,
}

/// A guest with buffers for a batch and its answers.
struct Guest {
    store: Store<()>,
    memory: Memory,
    function: TypedFunc<(i32, i32, i32), i64>,
    input: usize,
    output: usize,
    is_metered: bool,
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: wasmtime::Error) -> Error {
    Error::WrongAnswer(format!("wasmtime: {error:#}"))
}

fn wrong(what: &str) -> Error {
    Error::WrongAnswer(format!("wasmtime, {what}: not what Rust computes"))
}

fn engine(is_metered: bool) -> Result<Engine> {
    let mut config = Config::new();
    config.consume_fuel(is_metered).cranelift_nan_canonicalization(true);
    Engine::new(&config).map_err(failed)
}

impl Guest {
    fn new(module: &Module, map: &str, is_metered: bool, input: usize, output: usize) -> Result<Self> {
        let mut store = Store::new(module.engine(), ());
        if is_metered {
            store.set_fuel(FUEL).map_err(failed)?;
        }
        let instance = Instance::new(&mut store, module, &[]).map_err(failed)?;
        let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| wrong("memory"))?;
        let function = instance.get_typed_func(&mut store, &format!("{map}_map")).map_err(failed)?;
        let alloc: TypedFunc<i32, i32> =
            instance.get_typed_func(&mut store, "llmdb_alloc").map_err(failed)?;
        let mut buffer =
            |size: usize| alloc.call(&mut store, size as i32).map(|at| at as usize).map_err(failed);
        let (input, output) = (buffer(input)?, buffer(output)?);
        Ok(Self { store, memory, function, input, output, is_metered })
    }

    /// One call: its fuel set and read, as our host does it.
    fn call(&mut self, count: usize) -> Result<u64> {
        if self.is_metered {
            self.store.set_fuel(FUEL).map_err(failed)?;
        }
        let arguments = (self.input as i32, count as i32, self.output as i32);
        match self.function.call(&mut self.store, arguments).map_err(failed)? {
            0 if self.is_metered => Ok(FUEL - self.store.get_fuel().map_err(failed)?),
            0 => Ok(0),
            _ => Err(wrong("a call")),
        }
    }

    fn place(&mut self, size: usize) -> Result<&mut [u8]> {
        let start = self.input;
        self.memory.data_mut(&mut self.store).get_mut(start..start + size).ok_or_else(|| wrong("a buffer"))
    }

    fn answers(&self, size: usize) -> Result<&[u8]> {
        self.memory.data(&self.store).get(self.output..self.output + size).ok_or_else(|| wrong("answers"))
    }
}

fn twin(map: &str) -> Result<Twin> {
    twins::twin(map).ok_or_else(|| wrong(map))
}

fn expected(map: &str, pages: &[u8]) -> Result<Vec<u8>> {
    let (twin, mut answers) = (twin(map)?, Vec::new());
    pages.chunks_exact(PAGE_SIZE).for_each(|page| twin(page, &mut answers));
    Ok(answers)
}

/// One pass over the pages, in batches: its time, and its answers.
fn pass(made: &Made, map: &str, taken: usize, batch: usize, width: usize) -> Result<(Duration, Vec<u8>)> {
    let mut guest = Guest::new(&made.metered, map, true, batch * taken, batch * width)?;
    let mut answers = Vec::with_capacity(made.pages.len() / PAGE_SIZE * width);
    let begin = Instant::now();
    for chunk in made.pages.chunks(batch * PAGE_SIZE) {
        let count = chunk.len() / PAGE_SIZE;
        let place = guest.place(count * taken)?;
        if taken == PAGE_SIZE {
            place.copy_from_slice(chunk);
        } else {
            for (to, page) in place.chunks_exact_mut(taken).zip(chunk.chunks_exact(PAGE_SIZE)) {
                to.copy_from_slice(&page[..taken]);
            }
        }
        guest.call(count)?;
        answers.extend_from_slice(guest.answers(count * width)?);
    }
    Ok((begin.elapsed(), answers))
}

/// The best time of some passes over pages that lie in the guest's memory.
fn metered_time(module: &Module, map: &str, is_metered: bool) -> Result<Duration> {
    let pages = twins::pages(METERED_PAGES);
    let expected = expected(map, &pages)?;
    let mut guest = Guest::new(module, map, is_metered, pages.len(), expected.len())?;
    guest.place(pages.len())?.copy_from_slice(&pages);
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        for _ in 0..PASSES {
            guest.call(METERED_PAGES)?;
        }
        best = best.min(begin.elapsed());
    }
    if guest.answers(expected.len())? != expected { Err(wrong(map)) } else { Ok(best) }
}

fn first_call(module: &Module) -> Result<i32> {
    let mut store = Store::new(module.engine(), ());
    store.set_fuel(FUEL).map_err(failed)?;
    let instance = Instance::new(&mut store, module, &[]).map_err(failed)?;
    let function: TypedFunc<i32, i32> = instance.get_typed_func(&mut store, "f7").map_err(failed)?;
    function.call(&mut store, 12_345).map_err(failed)
}

impl PeerCase {
    fn made(&self) -> Result<&Made> {
        self.made.as_ref().ok_or_else(|| Error::WrongAnswer("nothing was set up".to_owned()))
    }

    /// One value of a part, in its figure, and the time that was measured with the operations in it.
    fn once(&self, part: Part) -> Result<(Figure, Duration, u32)> {
        let made = self.made()?;
        let each = |time: Duration, count: u32| time.as_secs_f64() / f64::from(count);
        Ok(match part {
            Part::Pages(map, taken, batch) => {
                let width = if map == "downsample" { 32 } else { 8 };
                let (time, answers) = pass(made, map, taken, batch, width)?;
                if answers != expected(map, &made.pages)? {
                    return Err(wrong(map));
                }
                let count = (made.pages.len() / PAGE_SIZE) as u32;
                (Figure::higher("pages", f64::from(count) / time.as_secs_f64() / 1e6, "M/s"), time, count)
            }
            Part::Call => {
                let mut guest = Guest::new(&made.metered, "key32", true, 8, 8)?;
                let begin = Instant::now();
                for _ in 0..CALLS {
                    guest.call(0)?;
                }
                let time = begin.elapsed();
                (Figure::lower("call", each(time, CALLS) * 1e9, "ns"), time, CALLS)
            }
            Part::Instance => {
                let begin = Instant::now();
                for _ in 0..PASSES {
                    let mut store = Store::new(made.metered.engine(), ());
                    store.set_fuel(FUEL).map_err(failed)?;
                    Instance::new(&mut store, &made.metered, &[]).map_err(failed)?;
                }
                let time = begin.elapsed();
                (Figure::lower("instance", each(time, PASSES) * 1e6, "us"), time, PASSES)
            }
            Part::Meter(map) => {
                let plain = metered_time(&made.plain, map, false)?;
                let metered = metered_time(&made.metered, map, true)?;
                let percent = (metered.as_secs_f64() / plain.as_secs_f64().max(1e-9) - 1.0) * 100.0;
                (Figure::lower("meter", percent, "%"), metered, PASSES)
            }
            Part::Compile => {
                let begin = Instant::now();
                let found = first_call(&Module::new(&engine(true)?, &made.large).map_err(failed)?)?;
                let time = begin.elapsed();
                if found != made.answer {
                    return Err(wrong("the large module"));
                }
                (Figure::lower("first_call", each(time, 1) * 1e3, "ms"), time, 1)
            }
        })
    }
}

impl Case for PeerCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        only_ours(bench)?;
        let runtime = Runtime::default();
        let (_, small) = runtime_binary(&runtime, guests::PAGES.as_bytes())?;
        let (ours, large) = runtime_binary(&runtime, twins::large_module().as_bytes())?;
        let compile = |is_metered| Module::new(&engine(is_metered)?, &small).map_err(failed);
        // What our sandbox says is what this one must say.
        let answer = match super::costs::first_call(&ours)?[..] {
            [llmdb_wasm::Value::I32(answer)] => answer,
            _ => return Err(wrong("the large module")),
        };
        let pages = twins::pages(self.bytes as usize / PAGE_SIZE);
        self.made = Some(Made { pages, metered: compile(true)?, plain: compile(false)?, large, answer });
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured> {
        let part = PARTS.get(phase).ok_or_else(|| Error::WrongAnswer("no such phase".to_owned()))?;
        let Repeated { recorder, total, best, times } = repeat(bench, budget, || self.once(*part))?;
        self.checked += times;
        let pages = recorder.operations();
        let mut measured = Measured::new("operation", recorder, total);
        let rate = pages as f64 / total.as_secs_f64().max(1e-9) / 1e6;
        match part {
            // All of them, as for ours.
            Part::Pages(..) => measured.push(Figure::higher("pages", rate, "M/s")),
            _ => best.into_iter().for_each(|figure| measured.push(figure)),
        }
        Ok(measured)
    }

    fn check(&mut self, _bench: &Bench<'_>) -> Result<Counted> {
        Ok(Counted { expected: self.checked, found: self.checked })
    }
}
