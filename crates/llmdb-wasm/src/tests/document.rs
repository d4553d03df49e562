//! `docs/wasm-abi.md` against the code that it describes.

use crate::input::{COLUMN_COUNT_MAX, DECLARATION_SIZE};
use crate::limits::Limits;
use crate::meter::{ENGINE_CALL_FUEL, SLICE};
use crate::{ABI_VERSION, ENTRY_SIZE, ENTRY_SIZE_KNOWN, HEADER_SIZE};

const DOCUMENT: &str = include_str!("../../../../docs/wasm-abi.md");

fn says(text: impl AsRef<str>) {
    assert!(DOCUMENT.contains(text.as_ref()), "docs/wasm-abi.md does not say: {}", text.as_ref());
}

#[test]
fn the_document_lists_every_error_code_once() {
    let source = include_str!("../error.rs");
    let codes = source.matches("\"LLMDB-W").count();
    for code in 1..=codes {
        let code = format!("| LLMDB-W{code:02} |");
        assert_eq!(DOCUMENT.matches(&code).count(), 1, "{code}");
    }
    assert_eq!(DOCUMENT.matches("| LLMDB-W").count(), codes);
}

/// Of the lines of a table; in the source all stand behind `//!`.
fn table(text: &str, head: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim_start_matches("//!").trim_start_matches(' '));
    let lines = lines.skip_while(|line| !line.starts_with(head));
    lines.take_while(|line| !line.starts_with("```")).map(str::to_owned).collect()
}

#[test]
fn the_format_s_document_has_the_table_of_modules() {
    let format = include_str!("../../../../docs/format.md");
    let documented = table(format, "key              value (little-endian)");
    assert_eq!(documented.len(), 8, "{documented:?}");
    assert_eq!(documented, table(include_str!("../modules.rs"), "key              value (little-endian)"));
    assert_eq!(format.matches("<!-- table: wasm/").count(), 1);
}

#[test]
fn the_document_states_the_numbers_of_the_code() {
    let limits = Limits::default();
    assert_eq!((limits.fuel, limits.memory_bytes, limits.module_bytes), (25_000_000, 64 << 20, 8 << 20));
    assert_eq!((limits.function_bytes, limits.local_count, limits.branch_count), (512 << 10, 10_000, 10_000));
    assert_eq!((limits.table_elements, limits.batch_bytes, limits.batch_records), (262_144, 256 << 10, 1024));
    says("25,000,000 fuel");
    says("| memory and tables together (8 bytes an element) | 64 MiB |");
    says("| module, binary or text | 8 MiB |");
    says("| 512 KiB, 10,000, 10,000; 2,000,000 |");
    says("| elements of all tables | 262,144 |");
    says("1 to 1,024; and\nat most 256 KiB");
    says(format!("The WebAssembly ABI, version {ABI_VERSION}"));
    says(format!("| {HEADER_SIZE} | count x entry size |"));
    says(format!("size of an entry: {ENTRY_SIZE}, or {ENTRY_SIZE_KNOWN} where known times"));
    says(format!("how many, 1 to {COLUMN_COUNT_MAX};"));
    says(format!("| {DECLARATION_SIZE} | 8 each |"));
    assert_eq!((limits.call_time.as_secs(), SLICE), (2, 65_536));
    says("| one call, by the clock | 2 s |");
    says("in slices of 65,536");
    #[cfg(unix)]
    assert_eq!(
        (crate::raw::window::WINDOW_START, crate::Window::BYTES_MAX),
        (1 << 30, (3 << 30) - (64 << 10))
    );
    says("from the address 1 GiB on, up to 3 GiB less 64 KiB");
    says(format!("| `data.drop`, `elem.drop` | {ENGINE_CALL_FUEL} |"));
}
