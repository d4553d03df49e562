//! The modules of a crate form no circle: what two of them need goes into a third below both.
//!
//! Invariants
//! 1. A module is a top-level module of a source root; the files below it count as part of it.
//! 2. An edge is a path that starts with `crate::` or leads there by `super::`; a name that the root re-exports
//!    counts as its home module. What only tests compile is not looked at.
//! 3. The root file itself (the front door) is in no circle.
//!
//! Not here: edges between crates (`layers`).

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::failure::Result;
use crate::rust_text::{Token, blank, tokens, without_tests};
use crate::tree::{Tree, source_folder};

/// How many circles are put up with, over all crates. It may only become smaller.
const CIRCLES_MAX: usize = 5;

/// Each circle of modules: as findings where there are more than `CIRCLES_MAX`, else as warnings.
pub(super) fn check(tree: &Tree) -> Result<(Vec<Finding>, Vec<Finding>)> {
    let circles = all_circles(tree)?;
    Ok(if circles.len() > CIRCLES_MAX { (circles, Vec::new()) } else { (Vec::new(), circles) })
}

fn all_circles(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (root, files) in source_roots(tree) {
        let edges = edges(tree, &root, &files)?;
        findings.extend(circles(&edges).iter().map(|circle| finding(circle, &edges)));
    }
    Ok(findings)
}

/// Where a module first names another: (from, to) to (file, line).
type Edges = BTreeMap<(String, String), (String, usize)>;

/// Source roots (`crates/a/src`, `crates/a/src/bin/b`) with their files, test modules left out.
fn source_roots(tree: &Tree) -> BTreeMap<String, Vec<&str>> {
    let mut roots: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for path in tree.module_files() {
        let Some(source) = source_folder(path) else { continue };
        let inner: Vec<_> = path[source.len() + 1..].split('/').collect();
        if inner.iter().any(|part| matches!(*part, "tests" | "tests.rs")) {
            continue;
        }
        let root = match inner[..] {
            ["bin", _] => continue,
            ["bin", program, ..] => format!("{source}/bin/{program}"),
            _ => source.to_owned(),
        };
        roots.entry(root).or_default().push(path);
    }
    roots
}

fn edges(tree: &Tree, root: &str, files: &[&str]) -> Result<Edges> {
    let mut codes = Vec::new();
    for path in files {
        codes.push((*path, module_path(root, path), without_tests(&blank(&tree.text(path)?))));
    }
    let mut homes: BTreeMap<String, String> = codes
        .iter()
        .filter_map(|(_, module, _)| module.first())
        .map(|top| (top.clone(), top.clone()))
        .collect();
    for (_, module, code) in &codes {
        if module.is_empty() {
            add_re_exports(&tokens(code), &mut homes);
        }
    }
    let mut edges = Edges::new();
    for (path, module, code) in &codes {
        let Some(from) = module.first() else { continue };
        for (target, line) in paths_from_root(&tokens(code), module) {
            if let Some(to) = target.first().and_then(|name| homes.get(name)).filter(|to| *to != from) {
                edges.entry((from.clone(), to.clone())).or_insert(((*path).to_owned(), line));
            }
        }
    }
    Ok(edges)
}

/// The module that a file is: `[]` for a root, `["a", "b"]` for `a/b.rs` and `a/b/mod.rs`.
fn module_path(root: &str, path: &str) -> Vec<String> {
    let inner = path[root.len() + 1..].trim_end_matches(".rs");
    let mut parts: Vec<_> = inner.split('/').map(str::to_owned).collect();
    let is_front = match parts.last().map(String::as_str) {
        Some("mod") => true,
        Some("lib" | "main") => parts.len() == 1,
        _ => false,
    };
    if is_front {
        parts.pop();
    }
    parts
}

/// Learns from the root's `use a::b::{C as D}` that `crate::D` lives in `a`.
fn add_re_exports(tokens: &[Token<'_>], homes: &mut BTreeMap<String, String>) {
    for (at, token) in tokens.iter().enumerate() {
        if token.text != "use" {
            continue;
        }
        let mut reader = Reader { tokens, at: at + 1, found: Vec::new() };
        reader.path(Vec::new());
        for (path, alias, _) in reader.found {
            let home = path.first().and_then(|first| homes.get(first)).cloned();
            if let (Some(home), Some(name)) = (home, alias.or_else(|| path.last().cloned())) {
                homes.entry(name).or_insert(home);
            }
        }
    }
}

/// Every path of a file's code, as it reads from the crate's root, with its line.
fn paths_from_root(tokens: &[Token<'_>], module: &[String]) -> Vec<(Vec<String>, usize)> {
    let mut reader = Reader { tokens, at: 0, found: Vec::new() };
    let mut inline: Vec<Option<String>> = Vec::new();
    while let Some(token) = reader.peek(0) {
        match token {
            "{" => inline.push(reader.opened_module()),
            "}" => drop(inline.pop()),
            "crate" | "super" | "self" if reader.peek(1) == Some("::") && !reader.is_visibility() => {
                let here: Vec<_> = module.iter().cloned().chain(inline.iter().flatten().cloned()).collect();
                reader.path(here);
                continue;
            }
            _ => {}
        }
        reader.at += 1;
    }
    reader.found.into_iter().map(|(path, _, line)| (path, line)).collect()
}

/// A path from the root, what it is renamed to, and its line.
type Found = (Vec<String>, Option<String>, usize);

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    found: Vec<Found>,
}

impl Reader<'_> {
    /// Reads a path or a tree of paths that is meant from `here`, up to its last name.
    fn path(&mut self, mut here: Vec<String>) {
        let line = self.tokens.get(self.at).map_or(1, |token| token.line);
        loop {
            match self.peek(0) {
                Some("crate") => here.clear(),
                Some("super") => drop(here.pop()),
                Some("self") => {}
                Some("{") => return self.group(&here),
                Some("*") => break,
                Some(word) if is_name(word) => here.push(word.to_owned()),
                _ => break,
            }
            self.at += 1;
            if self.peek(0) != Some("::") {
                break;
            }
            self.at += 1;
        }
        let mut alias = None;
        if self.peek(0) == Some("as") {
            alias = self.peek(1).map(str::to_owned);
            self.at += 2;
        }
        self.found.push((here, alias, line));
    }

    fn group(&mut self, here: &[String]) {
        self.at += 1;
        while let Some(token) = self.peek(0) {
            match token {
                "}" => {
                    self.at += 1;
                    return;
                }
                word if is_name(word) || word == "{" => self.path(here.to_vec()),
                _ => self.at += 1,
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<&'_ str> {
        self.tokens.get(self.at + ahead).map(|token| token.text)
    }

    fn before(&self, distance: usize) -> Option<&str> {
        self.at.checked_sub(distance).map(|at| self.tokens[at].text)
    }

    /// The name in `mod name {` when the reader stands on that brace.
    fn opened_module(&self) -> Option<String> {
        (self.before(2) == Some("mod")).then(|| self.before(1).map(str::to_owned)).flatten()
    }

    /// Whether this is the path of `pub(in crate::a)`, which says who may look, not what is needed.
    fn is_visibility(&self) -> bool {
        self.before(1) == Some("in") && self.before(2) == Some("(")
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|character: char| character.is_alphabetic() || character == '_')
}

/// Groups of modules that all reach each other.
fn circles(edges: &Edges) -> Vec<Vec<String>> {
    let modules: BTreeSet<&String> = edges.keys().flat_map(|(from, to)| [from, to]).collect();
    let reach: BTreeMap<&String, BTreeSet<&String>> =
        modules.iter().map(|module| (*module, reachable(module, edges))).collect();
    let mut done = BTreeSet::new();
    let mut circles = Vec::new();
    for module in modules {
        if reach[module].contains(module) && !done.contains(module) {
            let circle: Vec<_> =
                reach[module].iter().copied().filter(|other| reach[*other].contains(module)).collect();
            done.extend(circle.iter().copied());
            circles.push(circle.into_iter().cloned().collect());
        }
    }
    circles
}

fn reachable<'a>(start: &str, edges: &'a Edges) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut queue = vec![start];
    while let Some(module) = queue.pop() {
        for (from, to) in edges.keys() {
            if from == module && seen.insert(to) {
                queue.push(to);
            }
        }
    }
    seen
}

fn finding(circle: &[String], edges: &Edges) -> Finding {
    let inside: Vec<_> =
        edges.iter().filter(|((from, to), _)| circle.contains(from) && circle.contains(to)).collect();
    let steps: Vec<_> = inside
        .iter()
        .map(|((from, to), (path, line))| {
            format!("{from} -> {to} ({}:{line})", path.rsplit('/').next().unwrap_or(path))
        })
        .collect();
    let (path, line) = inside.first().map_or(("", 1), |(_, (path, line))| (path.as_str(), *line));
    let advice = "these modules import each other in a circle: move what they share into one below them: ";
    Finding::new(path, line, "cycles", format!("{advice}{}", steps.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::fixture::checkout;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> =
            files.iter().map(|(path, text)| (format!("crates/a/src/{path}"), *text)).collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        all_circles(&checkout(&files).tree).unwrap().iter().map(|finding| finding.message.clone()).collect()
    }

    #[test]
    fn imports_that_only_go_down_are_no_circle() {
        let clean = found(&[
            ("lib.rs", "mod high; mod low; pub use high::High; use crate::low::Low;"),
            (
                "high/mod.rs",
                "mod part; use crate::low::Low; use self::part::Part; pub(in crate::top) fn f() {}",
            ),
            ("high/part.rs", "use super::High; use crate::high::Other;"),
            ("low.rs", "// use crate::high::High;\nconst S: &str = \"crate::high::X\"; use std::fmt;"),
            ("top.rs", "use crate::high::High;"),
        ]);
        assert!(clean.is_empty(), "{clean:?}");
    }

    #[test]
    fn a_circle_is_found_however_the_path_is_written() {
        for back in [
            "use crate::high::High;",
            "use crate::{x, high::{self, High}};",
            "use super::high::High;",
            "use super::{other, high};",
            "fn f() -> crate::high::High { todo() }",
            "fn f() { super::high::go() }",
            "use crate::High;",
            "use crate::Renamed as Local;",
            "mod inner { use super::super::high::High; }",
            "mod inner { use crate::high::High; }",
        ] {
            let circles = found(&[
                ("lib.rs", "mod high; mod low; pub use high::{High, Other as Renamed};"),
                ("high.rs", "use crate::low::Low;"),
                ("low.rs", back),
            ]);
            assert_eq!(circles.len(), 1, "{back}: {circles:?}");
            assert!(circles[0].contains("high -> low (high.rs:1)"), "{back}: {circles:?}");
            assert!(circles[0].contains("low -> high (low.rs:1)"), "{back}: {circles:?}");
        }
    }

    #[test]
    fn files_below_a_module_count_as_part_of_it() {
        let circles = found(&[
            ("lib.rs", ""),
            ("a/mod.rs", ""),
            ("a/deep.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use crate::a::A;"),
        ]);
        assert_eq!(circles.len(), 1, "{circles:?}");
        let sibling =
            found(&[("lib.rs", ""), ("a/x.rs", "use super::y::Y;"), ("a/y.rs", "use super::x::X;")]);
        assert!(sibling.is_empty(), "{sibling:?}");
    }

    #[test]
    fn what_only_tests_import_is_no_circle() {
        let clean = found(&[
            ("lib.rs", ""),
            ("high.rs", "use crate::low::Low;"),
            ("low.rs", "#[cfg(test)]\nmod tests { use crate::high::High; }"),
            ("low/tests.rs", "use crate::high::High;"),
        ]);
        assert!(clean.is_empty(), "{clean:?}");
    }

    #[test]
    fn a_module_inside_a_file_is_one_level_down() {
        let clean = found(&[
            ("lib.rs", ""),
            ("high.rs", "use crate::low::Low;"),
            ("low.rs", "mod high { } mod inner { use super::high::X; fn f() { {} } }"),
        ]);
        assert!(clean.is_empty(), "{clean:?}");
    }

    #[test]
    fn one_circle_more_than_is_put_up_with_turns_all_into_findings() {
        let circle_in = |index: usize| {
            let path = |file: &str| format!("crates/c{index}/src/{file}.rs");
            [(path("a"), "use crate::b::B;"), (path("b"), "use crate::a::A;")]
        };
        for (count, expected) in [(CIRCLES_MAX, (0, CIRCLES_MAX)), (CIRCLES_MAX + 1, (CIRCLES_MAX + 1, 0))] {
            let files: Vec<_> = (0..count).flat_map(circle_in).collect();
            let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
            let (findings, warnings) = check(&checkout(&files).tree).unwrap();
            assert_eq!((findings.len(), warnings.len()), expected);
        }
    }

    #[test]
    fn each_program_is_a_root_of_its_own() {
        let circles = found(&[
            ("bin/tool/main.rs", "mod a; mod b;"),
            ("bin/tool/a.rs", "use crate::b::B;"),
            ("bin/tool/b.rs", "use crate::a::A;"),
            ("bin/single.rs", "use crate::x;"),
        ]);
        assert_eq!(circles.len(), 1, "{circles:?}");
    }
}
