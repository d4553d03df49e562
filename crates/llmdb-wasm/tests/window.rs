//! Functions that read a file where it is: the values, and what hostile ones and a truncated file come to.

#![cfg(all(feature = "wat", unix))]

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::ops::ControlFlow;

use llmdb_wasm::{Cancel, Error, Module, Parallel, Result, Runtime, Trap, Window, WindowStage, guests};

const PAGE_SIZE: usize = 4096;
const PAGE_COUNT: usize = 2000;

/// A file of pages, of which each word is told by its place.
fn file() -> File {
    let mut file = tempfile::tempfile().unwrap();
    let words = (0..PAGE_COUNT as u64 * 512).map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let bytes = words.flat_map(u64::to_le_bytes).collect::<Vec<_>>();
    file.write_all(&bytes).unwrap();
    file
}

fn contents(file: &File) -> Vec<u8> {
    let (mut file, mut bytes) = (file, Vec::new());
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn window(file: &File) -> Window {
    let length = file.metadata().unwrap().len();
    Window::new(file.try_clone().unwrap(), 0, length).expect("neither empty nor too large")
}

fn pages_module() -> Module {
    Runtime::default().compile_named("pages", guests::PAGES.as_bytes()).unwrap()
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

fn sums(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(PAGE_SIZE).map(|page| words(page).into_iter().fold(0, u64::wrapping_add)).collect()
}

#[test]
fn pages_are_read_where_they_are() {
    let file = file();
    let expected = sums(&contents(&file));
    for name in ["page_sum", "page_sum_scalar"] {
        let mut stage = pages_module().map_trusted(name, &window(&file)).unwrap();
        assert_eq!(stage.page_count(), PAGE_COUNT as u64);
        let output = stage.pages(0..PAGE_COUNT as u64).unwrap();
        assert_eq!(words(output.bytes()), expected, "{name}");
        assert_eq!(stage.stats().batches, 3, "64 pages, then 1,024 at a time");
        assert_eq!(words(stage.pages(17..90).unwrap().bytes()), expected[17..90]);
        assert!(stage.pages(5..5).unwrap().is_empty());
    }
}

#[test]
fn a_window_can_begin_anywhere_in_the_file() {
    let file = file();
    let expected = sums(&contents(&file));
    let (offset, length) = (300 * PAGE_SIZE as u64, 77 * PAGE_SIZE as u64 + 100);
    let window = Window::new(file, offset, length).unwrap();
    let mut stage = pages_module().map_trusted("page_sum", &window).unwrap();
    assert_eq!(stage.page_count(), 77);
    assert_eq!(words(stage.pages(0..77).unwrap().bytes()), expected[300..377]);
}

#[test]
fn what_is_written_to_the_file_is_seen() {
    let mut file = file();
    let mut stage = pages_module().map_trusted("page_sum", &window(&file)).unwrap();
    let before = words(stage.pages(3..5).unwrap().bytes());
    file.seek(std::io::SeekFrom::Start(4 * PAGE_SIZE as u64)).unwrap();
    file.write_all(&[0; PAGE_SIZE]).unwrap();
    assert_eq!(words(stage.pages(3..5).unwrap().bytes()), [before[0], 0]);
}

#[test]
fn requests_that_do_not_fit_change_nothing() {
    let file = file();
    let module = pages_module();
    let mut stage = module.map_trusted("page_sum", &window(&file)).unwrap();
    for pages in [0..PAGE_COUNT as u64 + 1, u64::MAX - 1..u64::MAX] {
        assert!(matches!(stage.pages(pages), Err(Error::Input { .. })));
    }
    assert!(stage.pages(0..1).is_ok());
    assert!(
        matches!(module.map_trusted("key32", &window(&file)), Err(Error::Input { .. })),
        "it wants columns"
    );
    assert!(Window::new(file.try_clone().unwrap(), 0, 0).is_none());
    assert!(Window::new(file.try_clone().unwrap(), 0, Window::BYTES_MAX + 1).is_none());
    let unaligned = Window::new(file, 5, 4096).unwrap();
    assert!(matches!(module.map_trusted("page_sum", &unaligned), Err(Error::Engine { .. })));
}

/// A guest that declares pages, with this body for its map: locals 0 the batch, 1 the count, 2 the output.
fn hostile_source(width: u32, body: &str, fields: &str) -> String {
    format!(
        r#"(module (memory (export "memory") 4) (data $d "abcdefgh")
        (data (i32.const 16) "\03\00\00\00\{width:02x}\00\00\00\00\10\00\00\00\00\00\00") {fields}
        (func (export "llmdb_abi_version") (result i32) (i32.const 2))
        (func (export "llmdb_alloc") (param i32) (result i32) (i32.const 65536))
        (func (export "f_input") (result i32) (i32.const 16))
        (func (export "f_map") (param i32 i32 i32) (result i64) {body} (i64.const 0)))"#
    )
}

fn open(source: &str, file: &File) -> Result<WindowStage> {
    let module = Runtime::default().compile_named("hostile", source.as_bytes())?;
    module.map_trusted("f", &window(file))
}

fn hostile(width: u32, body: &str, fields: &str) -> Result<WindowStage> {
    open(&hostile_source(width, body, fields), &file())
}

/// The answer for the first page, as a word.
fn answer(body: &str) -> Result<u64> {
    hostile(8, body, "")?.pages(0..1).map(|output| words(output.bytes())[0])
}

#[test]
fn writes_to_the_window_trap_and_leave_the_file_alone() {
    let file = file();
    let before = contents(&file);
    for body in [
        "(i32.store8 (local.get 0) (i32.const 1))",
        "(i64.store offset=4088 (local.get 0) (i64.const 1))",
        "(v128.store (local.get 0) (v128.const i64x2 1 2))",
        "(memory.fill (local.get 0) (i32.const 1) (i32.const 10))",
        "(memory.fill (local.get 0) (i32.const 1) (i32.const 3000000))",
        "(memory.copy (local.get 0) (i32.const 0) (i32.const 10))",
        "(memory.copy (local.get 0) (i32.add (local.get 0) (i32.const 4096)) (i32.const 2000000))",
        "(memory.init $d (local.get 0) (i32.const 0) (i32.const 8))",
    ] {
        let error = answer(body).unwrap_err();
        assert!(matches!(error, Error::Trap { trap: Trap::MemoryOutOfBounds, .. }), "{body}: {error}");
        assert!(error.to_string().contains("module hostile, function f_map"), "{error}");
    }
    assert_eq!(contents(&file), before);
    assert!(pages_module().map_trusted("page_sum", &window(&file)).unwrap().pages(0..9).is_ok());
}

#[test]
fn reads_beside_memory_and_window_trap() {
    let end = (1u64 << 30) + (PAGE_COUNT * PAGE_SIZE) as u64;
    for address in [4 * 65_536, 64 << 20, (1 << 30) - 8, end, end + 65_536, 0xffff_fff8] {
        let body = format!("(i64.store (local.get 2) (i64.load (i32.const {address})))");
        let error = answer(&body).unwrap_err();
        assert!(matches!(error, Error::Trap { trap: Trap::MemoryOutOfBounds, .. }), "{address}: {error}");
    }
    let body = "(i64.store (local.get 2) (i64.load offset=0xffffffff (i32.const -1)))";
    assert!(matches!(answer(body), Err(Error::Trap { .. })));
    let copy = format!("(memory.copy (i32.const 1024) (i32.const {}) (i32.const 16))", end - 8);
    assert!(matches!(answer(&copy), Err(Error::Trap { .. })));
}

#[test]
fn the_last_bytes_of_memory_and_window_can_be_read() {
    let file = contents(&file());
    let last = words(&file[file.len() - 8..])[0];
    let end = (1u64 << 30) + (PAGE_COUNT * PAGE_SIZE) as u64 - 8;
    assert_eq!(answer(&format!("(i64.store (local.get 2) (i64.load (i32.const {end})))")), Ok(last));
    assert_eq!(answer("(i64.store (local.get 2) (i64.load (i32.const 262136)))"), Ok(0));
    // Out of the window a guest can copy.
    let copy = "(memory.copy (local.get 2) (i32.add (local.get 0) (i32.const 8)) (i32.const 8))";
    assert_eq!(answer(copy), Ok(words(&file)[1]));
}

#[test]
fn memory_size_and_growth_know_the_own_part_only() {
    let size = "(i64.store (local.get 2) (i64.extend_i32_u (memory.size)))";
    assert_eq!(answer(size), Ok(4));
    let grow =
        |by: &str| format!("(i64.store (local.get 2) (i64.extend_i32_s (memory.grow (i32.const {by}))))");
    assert_eq!(answer(&grow("2")), Ok(4));
    assert_eq!(answer(&grow("1021")), Ok(u64::MAX), "beyond the limit of 64 MiB");
    assert_eq!(answer(&grow("-1")), Ok(u64::MAX));
    let use_it = "(drop (memory.grow (i32.const 1))) (i64.store (i32.const 327672) (i64.const 5))
        (i64.store (local.get 2) (i64.load (i32.const 327672)))";
    assert_eq!(answer(use_it), Ok(5));
}

#[test]
fn data_outside_the_own_part_is_refused() {
    for start in [4 * 65_536 - 4, 64 << 20, 1 << 30, (1 << 30) + 4096] {
        let field = format!("(data (i32.const {start}) \"01234567\")");
        let error = hostile(8, "", &field).expect_err("data beside the memory");
        assert!(matches!(error, Error::Trap { .. }), "{start}: {error}");
    }
}

#[test]
fn answers_in_the_window_are_outside_the_memory() {
    // Answers of any length: pointer 1 GiB, length 12.
    let mut stage = hostile(0, "(return (i64.const 0xc40000000))", "").unwrap();
    assert!(matches!(stage.pages(0..2), Err(Error::OutOfBounds { memory: 262_144, .. })));
}

#[test]
fn a_file_cut_short_ends_the_call_and_not_the_process() {
    let file = file();
    let expected = sums(&contents(&file));
    let mut stage = pages_module().map_trusted("page_sum", &window(&file)).unwrap();
    stage.pages(0..PAGE_COUNT as u64).unwrap();
    file.set_len(100 * PAGE_SIZE as u64).unwrap();
    assert_eq!(words(stage.pages(0..100).unwrap().bytes()), expected[..100]);
    let error = stage.pages(90..110).unwrap_err();
    assert!(matches!(error, Error::Trap { trap: Trap::MemoryOutOfBounds, .. }), "{error}");
    assert_eq!(stage.pages(0..1).unwrap_err().code(), "LLMDB-W12");
    // Again, by a bulk instruction, and on several threads at once.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cut = self::file();
                let copy =
                    "(memory.copy (i32.const 1024) (i32.add (local.get 0) (i32.const 4096)) (i32.const 64))";
                let mut stage = open(&hostile_source(8, copy, ""), &cut).unwrap();
                cut.set_len(4096).unwrap();
                assert!(matches!(stage.pages(0..1), Err(Error::Trap { .. })));
            });
        }
    });
    let mut stage = pages_module().map_trusted("page_sum", &window(&file)).unwrap();
    assert_eq!(words(stage.pages(0..100).unwrap().bytes()), expected[..100]);
}

#[test]
fn many_windows_come_and_go() {
    let (file, module) = (file(), pages_module());
    let window = window(&file);
    for _ in 0..600 {
        let mut stage = module.map_trusted("page_sum", &window).unwrap();
        assert_eq!(stage.pages(0..2).unwrap().len(), 2);
    }
    let open = (0..300).map_while(|_| module.map_trusted("page_sum", &window).ok()).collect::<Vec<_>>();
    assert!(open.len() <= 256, "{} windows are open at once", open.len());
    assert!(open.len() > 200, "{} windows only", open.len());
    drop(open);
    assert!(module.map_trusted("page_sum", &window).is_ok());
    // Without a window the same module is what it was.
    let plain = Runtime::default().compile(guests::PAGES.as_bytes()).unwrap();
    assert!(plain.map("page_sum").is_ok());
}

#[test]
fn threads_read_a_range_of_the_window_in_order() {
    let (file, module) = (file(), pages_module());
    let (expected, window) = (sums(&contents(&file)), window(&file));
    for (threads, chunk, range) in
        [(1, 7, 0..40), (2, 64, 3..PAGE_COUNT), (3, 500, 0..PAGE_COUNT), (4, 1, 90..90)]
    {
        let mut found = Vec::new();
        let parallel = Parallel::new(threads).chunk_rows(chunk);
        let stats = parallel.map_trusted(&module, "page_sum", &window, range.clone(), |part| {
            assert_eq!((part.first, part.total), (range.start + found.len(), range.len()));
            found.extend(words(part.output.bytes()));
            assert_eq!(part.done, found.len());
            ControlFlow::Continue(())
        });
        assert_eq!(stats.unwrap().records, range.len() as u64);
        assert_eq!(found, expected[range], "{threads} threads, {chunk} pages a chunk");
    }
}

#[test]
fn threads_over_a_window_can_be_ended_and_end_by_the_first_error() {
    let (file, module, cancel) = (file(), pages_module(), Cancel::new());
    let window = window(&file);
    let mut seen = 0;
    let parallel = Parallel::new(2).chunk_rows(10).cancel(&cancel);
    let outcome = parallel.map_trusted(&module, "page_sum", &window, 0..PAGE_COUNT, |part| {
        seen += part.output.len();
        cancel.cancel();
        ControlFlow::Continue(())
    });
    assert!(matches!(outcome, Err(Error::Cancelled { .. })), "{outcome:?}");
    assert_eq!(seen, 10);
    let (mut seen, beyond) = (0, PAGE_COUNT - 15..PAGE_COUNT + 1);
    let outcome = Parallel::new(2).chunk_rows(10).map_trusted(&module, "page_sum", &window, beyond, |part| {
        seen += part.output.len();
        ControlFlow::Continue(())
    });
    assert!(outcome.unwrap_err().to_string().contains("the window has 2000"));
    assert_eq!(seen, 10, "the chunk before the one that fails");
    let outcome = Parallel::new(2).map_trusted(&module, "key32", &window, 0..10, |_| ControlFlow::Break(()));
    assert!(outcome.unwrap_err().to_string().contains("only a function that declares pages"));
}
