//! Maps over the pages of a file: a loop in Rust, a guest that is given the pages, a guest that reads them where they are;
//! and how fast memory can be read at all.

use super::{PAGE_SIZE, failed, module, only_ours};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::workload::bar::{Bar, Of};
use crate::workload::{Bench, Case, Counted, Phase, Plan, Sizes, named};
use llmdb_wasm::twins::{self, Twin};
use llmdb_wasm::{Module, Parallel, Part, Rows, Stats, Window};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Pages that a loop in Rust takes between two looks at the clock.
const CHUNK_PAGES: usize = 16_384;

/// Where the pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the page cache, and more than the processor's caches hold.
    Memory,
    /// In the processor's caches.
    Caches,
}

/// How the pages reach what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One word of each 64 bytes, added: as fast as memory delivers.
    Limit,
    /// A loop in Rust.
    Native,
    /// The host gathers the columns that are declared, or copies pages.
    Given,
    /// The guest reads the file where it is.
    Window,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Limit => "a read of each 64 bytes in Rust",
            Self::Native => "a loop in Rust",
            Self::Given => "given by the host",
            Self::Window => "a window of the file",
        }
    }
}

/// One phase.
struct Piece {
    map: &'static str,
    way: Way,
    threads: usize,
    /// Pages of one call; 0 leaves it to the host.
    call: usize,
    /// Times the loop in Rust, which is the phase of this number.
    bar: Option<(f64, usize)>,
    /// M pages/s that must be reached from memory, and from caches.
    targets: [Option<f64>; 2],
}

const fn piece(map: &'static str, way: Way, threads: usize) -> Piece {
    Piece { map, way, threads, call: 0, bar: None, targets: [None, None] }
}

/// What [`Way::Limit`] reads.
const EACH_LINE: &str = "each line";

const PIECES: [Piece; 28] = [
    piece("key32", Way::Native, 1),
    Piece { targets: [Some(8.0), Some(100.0)], ..piece("key32", Way::Given, 1) },
    Piece { targets: [Some(40.0), None], ..piece("key32", Way::Given, 2) },
    piece("page_sum", Way::Native, 1),
    Piece { bar: Some((0.9, 3)), ..piece("page_sum", Way::Window, 1) },
    Piece { bar: Some((0.55, 3)), ..piece("page_sum", Way::Given, 1) },
    piece("page_sum_scalar", Way::Window, 1),
    piece("page_pick", Way::Native, 1),
    Piece { bar: Some((0.85, 7)), ..piece("page_pick", Way::Window, 1) },
    piece("page_pick", Way::Given, 1),
    piece("downsample", Way::Native, 1),
    piece("downsample", Way::Window, 1),
    piece("downsample", Way::Given, 1),
    piece("key32", Way::Native, 2),
    piece("page_key", Way::Window, 1),
    piece("page_key", Way::Given, 1),
    piece("page_key", Way::Window, 2),
    Piece { call: 1, ..piece("key32", Way::Given, 1) },
    Piece { call: 64, ..piece("key32", Way::Given, 1) },
    Piece { call: 1024, ..piece("key32", Way::Given, 1) },
    Piece { call: 1, ..piece("page_key", Way::Window, 1) },
    Piece { call: 64, ..piece("page_key", Way::Window, 1) },
    Piece { call: 1024, ..piece("page_key", Way::Window, 1) },
    piece("page_sum", Way::Native, 2),
    piece("page_sum", Way::Window, 2),
    piece("page_sum", Way::Given, 2),
    piece(EACH_LINE, Way::Limit, 1),
    piece(EACH_LINE, Way::Limit, 2),
];

/// The plan of pages in one place.
pub(super) fn plan(sizes: &Sizes, place: Place) -> Plan {
    let (bytes, name) = match place {
        Place::Memory => (sizes.wasm_bytes, "memory"),
        Place::Caches => (sizes.wasm_bytes.min(4 << 20), "caches"),
    };
    let phase = |piece: &Piece| {
        let bar = piece
            .bar
            .map(|(times, of)| Bar::new("pages", times, Of::Own).in_phase(of, "pages of the loop in Rust"));
        let parameters = [
            ("map", piece.map.to_owned()),
            ("pages", piece.way.name().to_owned()),
            ("threads", piece.threads.to_string()),
            (
                "pages a call",
                if piece.call == 0 { "as many as fit".to_owned() } else { piece.call.to_string() },
            ),
        ];
        Phase { bars: bar.into_iter().collect(), ..Phase::of(parameters) }
    };
    Plan {
        parameters: named([("pages_in", name.to_owned()), ("bytes", bytes.to_string())]),
        durability: Durability::None,
        disk_bytes: bytes,
        one_at_a_time: true,
        memory_bytes: bytes * 3,
        phases: PIECES.iter().map(phase).collect(),
        make: Box::new(move || {
            Box::new(PagesCase { place, bytes, pages: Vec::new(), file: None, modules: BTreeMap::new() })
        }),
    }
}

struct PagesCase {
    place: Place,
    bytes: u64,
    /// What the file holds; the loop in Rust and the host's gathering read these.
    pages: Vec<u8>,
    file: Option<File>,
    /// By the pages of a call.
    modules: BTreeMap<usize, Module>,
}

impl PagesCase {
    fn module(&self, piece: &Piece) -> Result<&Module> {
        self.modules.get(&piece.call).ok_or_else(|| no_twin("module"))
    }

    /// One pass: its time, and its answers.
    fn pass(&self, bench: &Bench<'_>, piece: &Piece) -> Result<(Duration, Vec<u8>)> {
        let rows = Rows::new(&self.pages, PAGE_SIZE).ok_or_else(|| no_twin("rows"))?;
        match piece.way {
            Way::Limit | Way::Native => in_rust(bench, piece, &self.pages),
            Way::Given if piece.threads > 1 => self.parallel(piece, rows),
            Way::Given => {
                let mut stage = self.module(piece)?.map(piece.map).map_err(failed)?;
                let begin = Instant::now();
                let output = stage.rows(rows).map_err(failed)?;
                Ok((begin.elapsed(), output.bytes().to_vec()))
            }
            Way::Window => self.window(piece),
        }
    }

    fn parallel(&self, piece: &Piece, rows: Rows<'_>) -> Result<(Duration, Vec<u8>)> {
        let module = self.module(piece)?;
        collected(rows.len(), |sink| Parallel::new(piece.threads).map(module, piece.map, rows, sink))
    }

    fn window(&self, piece: &Piece) -> Result<(Duration, Vec<u8>)> {
        let file = self.file.as_ref().ok_or_else(|| no_twin("file"))?;
        let file = file.try_clone().map_err(|error| Error::io("opening the pages", error))?;
        let window = Window::new(file, 0, self.bytes).ok_or_else(|| no_twin("window"))?;
        let module = self.module(piece)?;
        if piece.threads > 1 {
            // Each thread's first look at a page is in its time: these threads live no longer than the map.
            let (map, count) = (piece.map, self.pages.len() / PAGE_SIZE);
            let parallel = Parallel::new(piece.threads);
            return collected(count, |sink| parallel.map_trusted(module, map, &window, 0..count, sink));
        }
        let mut stage = module.map_trusted(piece.map, &window).map_err(failed)?;
        // The window is mapped once and stays: the first look at each page is not what is measured.
        stage.pages(0..stage.page_count()).map_err(failed)?;
        let begin = Instant::now();
        let output = stage.pages(0..stage.page_count()).map_err(failed)?;
        Ok((begin.elapsed(), output.bytes().to_vec()))
    }
}

/// What takes the parts of a parallel map.
type Collect<'a> = &'a mut dyn FnMut(Part<'_>) -> ControlFlow<()>;

/// The time of a parallel map, and its answers.
fn collected(
    count: usize,
    map: impl FnOnce(Collect<'_>) -> llmdb_wasm::Result<Stats>,
) -> Result<(Duration, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(count * 8);
    let begin = Instant::now();
    map(&mut |part| {
        bytes.extend_from_slice(part.output.bytes());
        ControlFlow::Continue(())
    })
    .map_err(failed)?;
    Ok((begin.elapsed(), bytes))
}

fn no_twin(what: &str) -> Error {
    Error::WrongAnswer(format!("no {what} was set up"))
}

/// A loop in Rust: its time, and its answers. With more threads than one each takes its share of the pages.
fn in_rust(bench: &Bench<'_>, piece: &Piece, pages: &[u8]) -> Result<(Duration, Vec<u8>)> {
    let each_line: Twin = |page, answers| {
        let line = |line: &[u8; 64]| u64::from(line[0]) | u64::from(line[63]) << 8;
        let sum = page.as_chunks().0.iter().fold(0u64, |sum, bytes| sum.wrapping_add(line(bytes)));
        answers.extend(sum.to_le_bytes());
    };
    let twin = match piece.way {
        Way::Limit => each_line,
        _ => twins::twin(piece.map).ok_or_else(|| no_twin(piece.map))?,
    };
    if piece.threads == 1 {
        return native(bench, twin, pages);
    }
    let share = (pages.len() / PAGE_SIZE).div_ceil(piece.threads) * PAGE_SIZE;
    let begin = Instant::now();
    let parts = std::thread::scope(|scope| {
        let start = |share| scope.spawn(move || native(bench, twin, share));
        let threads = pages.chunks(share).map(start).collect::<Vec<_>>();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| no_twin("thread"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    let time = begin.elapsed();
    Ok((time, parts.into_iter().flat_map(|(_, answers)| answers).collect()))
}

fn native(bench: &Bench<'_>, twin: Twin, pages: &[u8]) -> Result<(Duration, Vec<u8>)> {
    let (mut answers, mut time) = (Vec::with_capacity(pages.len() / 64), Duration::ZERO);
    for chunk in pages.chunks(CHUNK_PAGES * PAGE_SIZE) {
        bench.stop.check()?;
        let begin = Instant::now();
        chunk.chunks_exact(PAGE_SIZE).for_each(|page| twin(page, &mut answers));
        black_box(&answers);
        time += begin.elapsed();
    }
    Ok((time, answers))
}

impl Case for PagesCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        only_ours(bench)?;
        self.pages = twins::pages(self.bytes as usize / PAGE_SIZE);
        let path = bench.folder.join("pages");
        std::fs::write(&path, &self.pages).map_err(|error| Error::io("writing the pages", error))?;
        self.file = Some(File::open(&path).map_err(|error| Error::io("opening the pages", error))?);
        for Piece { call, .. } in &PIECES {
            if let Entry::Vacant(place) = self.modules.entry(*call) {
                place.insert(module(*call)?);
            }
        }
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured> {
        let piece = PIECES.get(phase).ok_or_else(|| no_twin("such phase"))?;
        let (_, expected) = in_rust(bench, &Piece { threads: 1, ..*piece }, &self.pages)?;
        let count = self.pages.len() / PAGE_SIZE;
        let begin = Instant::now();
        let (mut recorder, mut time) = (Recorder::new(begin), Duration::ZERO);
        loop {
            let (took, answers) = self.pass(bench, piece)?;
            if answers != expected {
                let (way, map) = (piece.way.name(), piece.map);
                return Err(Error::WrongAnswer(format!("{map}, {way}: not what Rust computes")));
            }
            time += took;
            recorder.record_many(begin, begin + took, count as u64);
            if begin.elapsed() >= budget || bench.stop.is_stopped() {
                break;
            }
        }
        let pages = recorder.operations();
        let mut measured = Measured::new("page", recorder, time);
        let rate = pages as f64 / time.as_secs_f64().max(1e-9) / 1e6;
        let figure = Figure::higher("pages", rate, "M/s");
        let target = piece.targets[usize::from(self.place == Place::Caches)];
        measured.push(match target {
            Some(at) => figure.target(at, &format!("at least {at} M pages/s")),
            None => figure,
        });
        Ok(measured)
    }

    fn check(&mut self, _bench: &Bench<'_>) -> Result<Counted> {
        // No guest has changed the file.
        let mut file = self.file.take().ok_or_else(|| no_twin("file"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| Error::io("reading the pages", error))?;
        let same =
            bytes.chunks(PAGE_SIZE).zip(self.pages.chunks(PAGE_SIZE)).filter(|(one, other)| one == other);
        Ok(Counted { expected: (self.pages.len() / PAGE_SIZE) as u64, found: same.count() as u64 })
    }
}
