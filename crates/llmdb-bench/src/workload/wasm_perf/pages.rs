//! Maps over the pages of a file: a loop in Rust, a guest that is given the pages, a guest that reads them where they are.

use super::{PAGE_SIZE, failed, module, only_ours};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::workload::bar::{Bar, Of};
use crate::workload::{Bench, Case, Counted, Phase, Plan, Sizes, named};
use llmdb_wasm::twins::{self, Twin};
use llmdb_wasm::{Module, Parallel, Rows, Window};
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
    /// Times the loop in Rust, which is the phase of this number.
    bar: Option<(f64, usize)>,
    /// M pages/s that must be reached from memory, and from caches.
    targets: [Option<f64>; 2],
}

const fn piece(map: &'static str, way: Way, threads: usize) -> Piece {
    Piece { map, way, threads, bar: None, targets: [None, None] }
}

const PIECES: [Piece; 13] = [
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
            Box::new(PagesCase { place, bytes, pages: Vec::new(), file: None, module: None })
        }),
    }
}

struct PagesCase {
    place: Place,
    bytes: u64,
    /// What the file holds; the loop in Rust and the host's gathering read these.
    pages: Vec<u8>,
    file: Option<File>,
    module: Option<Module>,
}

impl PagesCase {
    fn module(&self) -> Result<&Module> {
        self.module.as_ref().ok_or_else(|| Error::WrongAnswer("nothing was set up".to_owned()))
    }

    /// One pass: its time, and its answers.
    fn pass(&self, bench: &Bench<'_>, piece: &Piece) -> Result<(Duration, Vec<u8>)> {
        let rows = Rows::new(&self.pages, PAGE_SIZE).ok_or_else(|| no_twin("rows"))?;
        match piece.way {
            Way::Native => {
                let twin = twins::twin(piece.map).ok_or_else(|| no_twin(piece.map))?;
                native(bench, twin, &self.pages)
            }
            Way::Given if piece.threads > 1 => self.parallel(piece, rows),
            Way::Given => {
                let mut stage = self.module()?.map(piece.map).map_err(failed)?;
                let begin = Instant::now();
                let output = stage.rows(rows).map_err(failed)?;
                Ok((begin.elapsed(), output.bytes().to_vec()))
            }
            Way::Window => self.window(piece),
        }
    }

    fn parallel(&self, piece: &Piece, rows: Rows<'_>) -> Result<(Duration, Vec<u8>)> {
        let mut bytes = Vec::with_capacity(rows.len() * 8);
        let begin = Instant::now();
        let done = Parallel::new(piece.threads).map(self.module()?, piece.map, rows, |part| {
            bytes.extend_from_slice(part.output.bytes());
            ControlFlow::Continue(())
        });
        done.map_err(failed)?;
        Ok((begin.elapsed(), bytes))
    }

    fn window(&self, piece: &Piece) -> Result<(Duration, Vec<u8>)> {
        let file = self.file.as_ref().ok_or_else(|| no_twin("file"))?;
        let file = file.try_clone().map_err(|error| Error::io("opening the pages", error))?;
        let window = Window::new(file, 0, self.bytes).ok_or_else(|| no_twin("window"))?;
        let mut stage = self.module()?.map_trusted(piece.map, &window).map_err(failed)?;
        // The window is mapped once and stays: the first look at each page is not what is measured.
        stage.pages(0..stage.page_count()).map_err(failed)?;
        let begin = Instant::now();
        let output = stage.pages(0..stage.page_count()).map_err(failed)?;
        Ok((begin.elapsed(), output.bytes().to_vec()))
    }
}

fn no_twin(what: &str) -> Error {
    Error::WrongAnswer(format!("no {what} was set up"))
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
        self.module = Some(module()?);
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured> {
        let piece = PIECES.get(phase).ok_or_else(|| no_twin("such phase"))?;
        let twin = twins::twin(piece.map).ok_or_else(|| no_twin(piece.map))?;
        let (_, expected) = native(bench, twin, &self.pages)?;
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
