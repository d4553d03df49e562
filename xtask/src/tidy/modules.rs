//! Each module file says in its first line what it is for.

use super::Finding;
use crate::failure::Result;
use crate::tree::Tree;

/// Module files that do not begin with a `//!`.
pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in tree.module_files() {
        let text = tree.text(path)?;
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let says_something = first.strip_prefix("//!").is_some_and(|words| !words.trim().is_empty());
        if !says_something {
            let advice = "begin the file with `//!` and a sentence on what the module is for";
            findings.push(Finding::new(path, 1, "module-docs", advice));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::fixture::checkout;

    #[test]
    fn a_module_without_docs_is_found_and_one_with_docs_is_not() {
        let fixture = checkout(&[
            ("crates/a/src/lib.rs", "//! Good.\nfn a() {}\n"),
            ("crates/a/src/bare.rs", "fn a() {}\n//! Too late.\n"),
            ("crates/a/src/mute.rs", "//!\nfn a() {}\n"),
            ("crates/a/tests/free.rs", "fn a() {}\n"),
            ("xtask/src/main.rs", "fn main() {}\n"),
        ]);
        let found: Vec<_> = check(&fixture.tree).unwrap().into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["crates/a/src/bare.rs", "crates/a/src/mute.rs", "xtask/src/main.rs"]);
    }
}
