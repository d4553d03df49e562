//! What a guest costs beside its work: a call, an instance, the meter, compiling, loading, finding compiled code.

use super::{PAGE_SIZE, failed, module, only_ours};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::workload::{Bench, Case, Counted, Phase, Plan, named};
use llmdb_wasm::fuzzing::{time_batch_calls, time_engine_calls, unmetered};
use llmdb_wasm::{ArtifactCache, Limits, Module, Rows, Runtime, Value, guests, twins};
use std::time::{Duration, Instant};

/// Pages of one call that is metered: they and the guest's copy lie in a core's caches.
const METERED_PAGES: usize = 32;
/// Calls that are timed together.
const CALLS: u32 = 5_000;
/// Passes that are timed together.
const PASSES: u32 = 50;

/// One phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    Call,
    EngineCall,
    Instance,
    Meter(&'static str),
    Compile,
    Load,
    Again,
}

impl Cost {
    fn in_words(self) -> String {
        match self {
            Self::Call => "a batch call of a guest that is there".to_owned(),
            Self::EngineCall => "such a call by the typed call of wasmer alone: no fuel, no clock".to_owned(),
            Self::Instance => "a map made, called with one row and dropped".to_owned(),
            Self::Meter(map) => format!("the meter in {map}"),
            Self::Compile => "a module of 127 KB compiled, its first call".to_owned(),
            Self::Load => "the same from the directory of compiled modules".to_owned(),
            Self::Again => "the same found in memory, for a second caller".to_owned(),
        }
    }
}

const COSTS: [Cost; 8] = [
    Cost::Call,
    Cost::EngineCall,
    Cost::Instance,
    Cost::Meter("page_sum"),
    Cost::Meter("page_pick"),
    Cost::Compile,
    Cost::Load,
    Cost::Again,
];

/// The plan.
pub(super) fn plan() -> Plan {
    Plan {
        parameters: named([("measures", "costs".to_owned())]),
        durability: Durability::None,
        disk_bytes: 16 << 20,
        one_at_a_time: true,
        memory_bytes: 256 << 20,
        phases: COSTS.iter().map(|cost| Phase::of([("cost", cost.in_words())])).collect(),
        make: Box::new(|| Box::new(CostsCase { made: None, checked: 0 })),
    }
}

struct Made {
    module: Module,
    plain: Module,
    large: Vec<u8>,
    /// The runtime that has compiled the large module.
    runtime: Runtime,
    /// What the large module answers.
    answer: Vec<Value>,
}

struct CostsCase {
    made: Option<Made>,
    /// Answers that were right.
    checked: u64,
}

pub(super) fn first_call(module: &Module) -> Result<Vec<Value>> {
    let mut instance = module.instantiate().map_err(failed)?;
    instance.call("f7", &[Value::I32(12_345)]).map_err(failed)
}

impl CostsCase {
    /// One value of a cost, in its figure, and the time that was measured with the operations in it.
    fn once(&self, bench: &Bench<'_>, cost: Cost) -> Result<(Figure, Duration, u32)> {
        let made = self.made.as_ref().ok_or_else(|| Error::WrongAnswer("nothing was set up".to_owned()))?;
        let each = |time: Duration, count: u32| time.as_secs_f64() / f64::from(count);
        Ok(match cost {
            Cost::Call => {
                let time = time_batch_calls(&made.module, "key32", CALLS).map_err(failed)?;
                let figure = Figure::lower("call", each(time, CALLS) * 1e9, "ns");
                (figure.target(60.0, "at most 60 ns"), time, CALLS)
            }
            Cost::EngineCall => {
                let time = time_engine_calls(&made.module, "key32", CALLS).map_err(failed)?;
                (Figure::lower("call", each(time, CALLS) * 1e9, "ns"), time, CALLS)
            }
            Cost::Instance => {
                let time = instances(&made.module)?;
                (Figure::lower("instance", each(time, PASSES) * 1e6, "us"), time, PASSES)
            }
            Cost::Meter(map) => {
                let [plain, metered] = [metered_time(&made.plain, map)?, metered_time(&made.module, map)?];
                let percent = (metered.as_secs_f64() / plain.as_secs_f64().max(1e-9) - 1.0) * 100.0;
                let at = if map == "page_sum" { 10.0 } else { 20.0 };
                let figure = Figure::lower("meter", percent, "%").target(at, &format!("at most {at} %"));
                (figure, metered, PASSES)
            }
            Cost::Compile => {
                let begin = Instant::now();
                let found = first_call(&Runtime::default().compile(&made.large).map_err(failed)?)?;
                let time = begin.elapsed();
                same(&found, made)?;
                (Figure::lower("first_call", each(time, 1) * 1e3, "ms"), time, 1)
            }
            Cost::Load => {
                let begin = Instant::now();
                let artifacts = ArtifactCache::open(bench.folder.join("compiled")).map_err(failed)?;
                let runtime = Runtime::new(Limits::default()).with_artifacts(artifacts);
                let found = first_call(&runtime.compile(&made.large).map_err(failed)?)?;
                let time = begin.elapsed();
                same(&found, made)?;
                compiled_no_more(&runtime, 0)?;
                let figure = Figure::lower("first_call", each(time, 1) * 1e3, "ms");
                (figure.target(1.0, "at most 1 ms after open"), time, 1)
            }
            Cost::Again => {
                let before = made.runtime.compilations();
                let begin = Instant::now();
                let found = first_call(&made.runtime.clone().compile(&made.large).map_err(failed)?)?;
                let time = begin.elapsed();
                same(&found, made)?;
                compiled_no_more(&made.runtime, before)?;
                let figure = Figure::lower("first_call", each(time, 1) * 1e3, "ms");
                (figure.target(1.0, "at most 1 ms, and nothing is compiled"), time, 1)
            }
        })
    }
}

fn same(found: &[Value], made: &Made) -> Result<()> {
    if found == made.answer {
        return Ok(());
    }
    Err(Error::WrongAnswer(format!("the large module answered {found:?}, at first {:?}", made.answer)))
}

fn compiled_no_more(runtime: &Runtime, before: u64) -> Result<()> {
    match runtime.compilations() {
        now if now == before => Ok(()),
        now => Err(Error::WrongAnswer(format!("{} modules were compiled, none had to be", now - before))),
    }
}

/// Guests made and dropped, each called once.
fn instances(module: &Module) -> Result<Duration> {
    let row = [1u8; 32];
    let rows = Rows::new(&row, 32).ok_or_else(|| Error::WrongAnswer("no row".to_owned()))?;
    let begin = Instant::now();
    for _ in 0..PASSES {
        let output = module.map("key32").and_then(|mut stage| stage.rows(rows)).map_err(failed)?;
        if output.bytes() != [4; 8] {
            return Err(Error::WrongAnswer("key32: not what Rust computes".to_owned()));
        }
    }
    Ok(begin.elapsed())
}

/// The best of some passes over pages that lie in the guest's memory.
fn metered_time(module: &Module, map: &str) -> Result<Duration> {
    let pages = twins::pages(METERED_PAGES);
    let mut expected = Vec::new();
    let twin = twins::twin(map).ok_or_else(|| Error::WrongAnswer(format!("no twin of {map}")))?;
    pages.chunks_exact(PAGE_SIZE).for_each(|page| twin(page, &mut expected));
    let mut instance = module.instantiate().map_err(failed)?;
    let mut alloc = |length: usize| match instance.call("llmdb_alloc", &[Value::I32(length as i32)]) {
        Ok(values) => match values[..] {
            [Value::I32(pointer)] => Ok(pointer),
            _ => Err(Error::WrongAnswer("the guest's allocator answered no pointer".to_owned())),
        },
        Err(error) => Err(failed(error)),
    };
    let (input, output) = (alloc(pages.len())?, alloc(expected.len())?);
    instance.write("bench", input as u64, &pages).map_err(failed)?;
    let arguments = [input, METERED_PAGES as i32, output].map(Value::I32);
    let export = format!("{map}_map");
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        for _ in 0..PASSES {
            instance.call(&export, &arguments).map_err(failed)?;
        }
        best = best.min(begin.elapsed());
    }
    let found = instance.read("bench", output as u64, expected.len() as u64).map_err(failed)?;
    if found != expected {
        return Err(Error::WrongAnswer(format!("{map}: not what Rust computes")));
    }
    Ok(best)
}

/// What repeated measuring gave.
pub(super) struct Repeated {
    pub(super) recorder: Recorder,
    /// Of all that was measured.
    pub(super) total: Duration,
    /// The least figure.
    pub(super) best: Option<Figure>,
    pub(super) times: u64,
}

/// Measures until the budget is used up: a figure, the time that was measured, and the operations in it.
pub(super) fn repeat(
    bench: &Bench<'_>,
    budget: Duration,
    once: impl Fn() -> Result<(Figure, Duration, u32)>,
) -> Result<Repeated> {
    let begin = Instant::now();
    let recorder = Recorder::new(begin);
    let mut repeated = Repeated { recorder, total: Duration::ZERO, best: None, times: 0 };
    loop {
        let (figure, time, count) = once()?;
        repeated.recorder.record_many(begin, begin + time, u64::from(count));
        repeated.total += time;
        repeated.times += 1;
        if repeated.best.as_ref().is_none_or(|best| figure.value < best.value) {
            repeated.best = Some(figure);
        }
        if begin.elapsed() >= budget || bench.stop.is_stopped() {
            return Ok(repeated);
        }
    }
}

impl Case for CostsCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        only_ours(bench)?;
        let large = twins::large_module().into_bytes();
        let artifacts = ArtifactCache::open(bench.folder.join("compiled")).map_err(failed)?;
        let runtime = Runtime::new(Limits::default()).with_artifacts(artifacts);
        let (compiled, large) = runtime_binary(&runtime, &large)?;
        let plain = unmetered(&Runtime::default(), guests::PAGES.as_bytes()).map_err(failed)?;
        self.made = Some(Made { module: module(0)?, plain, large, answer: first_call(&compiled)?, runtime });
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured> {
        let cost = COSTS.get(phase).ok_or_else(|| Error::WrongAnswer("no such phase".to_owned()))?;
        let repeated = repeat(bench, budget, || self.once(bench, *cost))?;
        self.checked += repeated.times;
        let mut measured = Measured::new("operation", repeated.recorder, repeated.total);
        repeated.best.into_iter().for_each(|figure| measured.push(figure));
        Ok(measured)
    }

    fn check(&mut self, _bench: &Bench<'_>) -> Result<Counted> {
        Ok(Counted { expected: self.checked, found: self.checked })
    }
}

/// Compiles the text, and answers the binary form: what is timed shall not parse text.
pub(super) fn runtime_binary(runtime: &Runtime, text: &[u8]) -> Result<(Module, Vec<u8>)> {
    let mut modules = llmdb_wasm::Modules::new(std::collections::BTreeMap::new());
    let hash = modules.put(runtime, "large", text).map_err(failed)?;
    let compiled = modules.load(runtime, "large").map_err(failed)?;
    let key = [&b"code/"[..], hash.as_bytes()].concat();
    let binary = modules.into_map().remove(&key).ok_or_else(|| Error::WrongAnswer("no module".to_owned()))?;
    Ok((compiled, binary))
}
