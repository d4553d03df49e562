//! Rust files: length, unsafe code, unfinished code; and hosts that no text file may name.
//!
//! Invariants
//! 1. Words inside comments and strings are not code, except for the hosts, which count everywhere.
//! 2. A file stands in `UNSAFE_FILES` only while it exists and holds unsafe code.
//!
//! Not here: what clippy already holds (a `# Safety` on public unsafe functions, for one).

use super::Finding;
use crate::failure::Result;
use crate::rust_text::{Token, blank, tokens};
use crate::tree::Tree;

/// The only files with unsafe code.
const UNSAFE_FILES: &[&str] = &[
    // A peer whose opening is unsafe by its own contract.
    "crates/llmdb-bench/src/engine/heed.rs",
    "crates/llmdb-btree/src/node/lanes.rs",
    "crates/llmdb-pager/src/raw.rs",
    "crates/llmdb-pager/src/readers.rs",
    "crates/llmdb-pager/src/sim/buffer.rs",
    "crates/llmdb-pager/src/storage/disk.rs",
    "crates/llmdb-pager/src/storage/map.rs",
    "crates/llmdb-pager/src/verified.rs",
    "crates/llmdb-pager/tests/sim_map.rs",
    "crates/llmdb-pager/tests/support/smoke.rs",
    // Its file is read through a map.
    "crates/llmdb-wasm/benches/wasm_perf.rs",
    // Runs inside guests, and exports what the ABI names.
    "crates/llmdb-wasm/guest/src/lib.rs",
    "crates/llmdb-wasm/src/raw/artifact.rs",
    "crates/llmdb-wasm/src/raw/memory.rs",
    "crates/llmdb-wasm/src/raw/reserve.rs",
    "crates/llmdb-wasm/src/raw/vm.rs",
    "crates/llmdb-wasm/src/raw/window.rs",
];

/// Longest Rust file, tests included.
const LINES_MAX: usize = 900;

/// How far above unsafe code its `SAFETY:` may stand.
const SAFETY_LINES_ABOVE: usize = 8;

/// Macros of unfinished code.
const UNFINISHED: &[&str] = &["todo", "unimplemented"];

/// Hosts of package registries, in two parts so that this file does not name them.
const HOSTS: &[(&str, &str)] = &[
    ("crates", ".io"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("registry.npmjs", ".org"),
    ("registry.yarnpkg", ".com"),
    ("proxy.golang", ".org"),
    ("rubygems", ".org"),
    ("deb.debian", ".org"),
    ("archive.ubuntu", ".com"),
    ("ghcr", ".io"),
    ("registry-1.docker", ".io"),
];

/// Files that people write by hand: endings, besides the scripts in `.ci/`.
const TEXT_ENDINGS: &[&str] = &[".rs", ".toml", ".md", ".yml", ".yaml", ".sh", ".py", ".wat"];

/// All findings about files of source text.
pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in tree.rust_files() {
        let text = tree.text(path)?;
        let blanked = blank(&text);
        let tokens = tokens(&blanked);
        findings.extend(too_long(path, &text));
        findings.extend(unfinished(path, &tokens));
        findings.extend(unsafe_code(path, &text, &tokens));
    }
    findings.extend(stale_entries(tree));
    for path in tree.files().filter(|path| is_text(path)) {
        findings.extend(named_hosts(path, &tree.text(path)?));
    }
    Ok(findings)
}

fn too_long(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let advice = format!("{lines} lines, more than {LINES_MAX}: split the file by what it holds");
    (lines > LINES_MAX).then(|| Finding::new(path, LINES_MAX + 1, "length", advice))
}

fn unfinished(path: &str, tokens: &[Token<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for window in tokens.windows(3) {
        let [first, second, third] = [window[0].text, window[1].text, window[2].text];
        if UNFINISHED.contains(&first) && second == "!" {
            let advice = format!("finish this: `{first}!` must not be committed");
            findings.push(Finding::new(path, window[0].line, "unfinished", advice));
        }
        if [first, second, third] == ["#", "[", "ignore"] {
            let advice = "run this test or delete it: a test that is ignored proves nothing";
            findings.push(Finding::new(path, window[0].line, "unfinished", advice));
        }
    }
    findings
}

fn unsafe_code(path: &str, text: &str, tokens: &[Token<'_>]) -> Vec<Finding> {
    let lines: Vec<_> = text.lines().collect();
    let places: Vec<_> = tokens.iter().enumerate().filter(|(_, token)| token.text == "unsafe").collect();
    let listed = UNSAFE_FILES.contains(&path);
    let mut findings = Vec::new();
    match places.first() {
        Some((_, first)) if !listed => {
            let advice = "unsafe code belongs in the files of UNSAFE_FILES (xtask/src/tidy/source.rs): \
                          use their safe face, or add this file there with the reviewers' consent";
            findings.push(Finding::new(path, first.line, "unsafe", advice));
        }
        None if listed => {
            let advice = "no unsafe code here any more: take the file out of UNSAFE_FILES in \
                          xtask/src/tidy/source.rs";
            findings.push(Finding::new(path, 1, "unsafe", advice));
        }
        _ => {}
    }
    for (at, token) in places {
        let next = |ahead: usize| tokens.get(at + ahead).map(|token| token.text);
        let is_pointer_type = next(1) == Some("fn") && next(2) == Some("(");
        if !is_pointer_type && !has_reason(&lines, token.line, next(1) == Some("fn")) {
            let advice = format!(
                "say why this is sound: a comment `// SAFETY: ..` (a `# Safety` section for an unsafe fn) \
                 at most {SAFETY_LINES_ABOVE} lines above"
            );
            findings.push(Finding::new(path, token.line, "unsafe", advice));
        }
    }
    findings
}

/// Listed files that are gone. Asked only of the checkout that this list belongs to.
fn stale_entries(tree: &Tree) -> Vec<Finding> {
    const HERE: &str = "xtask/src/tidy/source.rs";
    let gone = UNSAFE_FILES.iter().filter(|path| tree.has(HERE) && !tree.has(path));
    gone.map(|path| Finding::new(HERE, 1, "unsafe", format!("{path} is gone: take it out of UNSAFE_FILES")))
        .collect()
}

fn has_reason(lines: &[&str], line: usize, is_function: bool) -> bool {
    let comment_of = |line: &str| line.find("//").map(|at| line[at..].to_owned());
    lines[line.saturating_sub(SAFETY_LINES_ABOVE + 1)..line]
        .iter()
        .filter_map(|line| comment_of(line))
        .any(|comment| comment.contains("SAFETY:") || (is_function && comment.contains("# Safety")))
}

fn is_text(path: &str) -> bool {
    path.starts_with(".ci/") || TEXT_ENDINGS.iter().any(|ending| path.ends_with(ending))
}

fn named_hosts(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        if HOSTS.iter().any(|(name, ending)| lower.contains(&format!("{name}{ending}"))) {
            let advice = "do not name a package registry's host: say `the registry`, or leave it to cargo";
            findings.push(Finding::new(path, index + 1, "hosts", advice));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::fixture::checkout;

    const LISTED: &str = UNSAFE_FILES[0];
    const OTHER: &str = "crates/llmdb/src/lib.rs";

    fn found(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        let fixture = checkout(&[(path, text)]);
        check(&fixture.tree).unwrap().into_iter().map(|finding| (finding.line, finding.rule)).collect()
    }

    #[test]
    fn a_file_may_have_as_many_lines_as_the_limit_and_no_more() {
        assert_eq!(found(OTHER, &"\n".repeat(LINES_MAX)), []);
        assert_eq!(found(OTHER, &"\n".repeat(LINES_MAX + 1)), [(LINES_MAX + 1, "length")]);
    }

    #[test]
    fn unfinished_code_is_found_and_talk_of_it_is_not() {
        assert_eq!(found(OTHER, "fn a() {\n todo!()\n}"), [(2, "unfinished")]);
        assert_eq!(found(OTHER, "fn a() { unimplemented!(\"x\") }"), [(1, "unfinished")]);
        assert_eq!(found(OTHER, "#[test]\n#[ignore = \"slow\"]\nfn a() {}"), [(2, "unfinished")]);
        assert_eq!(found(OTHER, "// todo!()\nconst A: &str = \"#[ignore] todo!()\"; fn todo() {}"), []);
    }

    #[test]
    fn unsafe_code_is_kept_to_the_listed_files() {
        let text = "// SAFETY: checked above.\nunsafe { go() }\n";
        assert_eq!(found(LISTED, text), []);
        assert_eq!(found(OTHER, text), [(2, "unsafe")]);
        assert_eq!(found(OTHER, "#![expect(unsafe_code, reason = \"unsafe\")] // unsafe"), []);
    }

    #[test]
    fn a_listed_file_without_unsafe_code_is_found() {
        assert_eq!(found(LISTED, "fn safe() {}\n"), [(1, "unsafe")]);
    }

    #[test]
    fn listed_files_that_are_gone_are_found_in_the_list() {
        let gone = found("xtask/src/tidy/source.rs", "//! Doc.\n");
        assert_eq!(gone, vec![(1, "unsafe"); UNSAFE_FILES.len()]);
    }

    #[test]
    fn each_piece_of_unsafe_code_says_why_it_is_sound() {
        let far = format!("// SAFETY: too far.\n{}unsafe {{ go() }}\n", "\n".repeat(SAFETY_LINES_ABOVE));
        let near = format!("// SAFETY: near.\n{}unsafe {{ go() }}\n", "\n".repeat(SAFETY_LINES_ABOVE - 1));
        assert_eq!(found(LISTED, &far), [(10, "unsafe")]);
        assert_eq!(found(LISTED, &near), []);
        assert_eq!(found(LISTED, "unsafe impl Send for A {}\n"), [(1, "unsafe")]);
        assert_eq!(found(LISTED, "let s = \"SAFETY:\";\nunsafe { go() }\n"), [(2, "unsafe")]);
        assert_eq!(found(LISTED, "/// # Safety\n/// Mind it.\npub unsafe fn go() {}\n"), []);
        assert_eq!(found(LISTED, "/// Mind it.\npub unsafe fn go() {}\n"), [(2, "unsafe")]);
        assert_eq!(found(LISTED, "/// # Safety\nunsafe impl Send for A {}\n"), [(2, "unsafe")]);
        assert_eq!(found(LISTED, "type F = unsafe fn(u8);\n"), []);
    }

    #[test]
    fn a_registry_host_is_found_in_any_text_file() {
        for (name, ending) in HOSTS {
            let text = format!("one\n// see https://{name}{ending}/x\n");
            for path in [OTHER, "README.md", ".ci/run", ".github/workflows/ci.yml", "deny.toml"] {
                assert_eq!(found(path, &text), [(2, "hosts")], "{path} {name}");
            }
            assert_eq!(found("data/advisories.json", &text), [], "{name}");
        }
        assert_eq!(found("README.md", "crates, io"), []);
    }
}
