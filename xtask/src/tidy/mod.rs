//! `cargo xtask tidy`: the house rules that neither the compiler nor clippy holds.
//!
//! Invariants
//! 1. Each finding names a file, a line and what to do.
//! 2. Tidy changes nothing, and needs no network once the dependencies are fetched.
//! 3. What is allowed stands in one constant at the top of the rule's file.
//!
//! The rooms, in reading order:
//! - `finding`: a place and what to do there.
//! - `layers`: which crate may depend on which, and what must stay out of the lower ones.
//! - `manifests`: a reason for each dependency; settings taken from the workspace.
//! - `modules`: a `//!` on each module.
//! - `cycles`: no circle of modules inside a crate.
//! - `source`: unsafe code, unfinished code, long files, hosts that must not be named.
//! - `markdown`: the headings and links of a document.
//! - `documents`: no orphaned document, no broken link.

mod cycles;
mod documents;
mod finding;
mod layers;
mod manifests;
mod markdown;
mod modules;
mod source;

use std::path::Path;

use crate::failure::{Failed, Result};
use crate::tree::Tree;

pub(crate) use finding::Finding;

/// What `cargo xtask tidy --help` prints.
pub(crate) const HELP: &str = "\
Checks the house rules over the whole checkout; prints each finding as FILE:LINE: [rule] what to do.

Usage: cargo xtask tidy

Rules
  layers        our crates depend only downward; wasmer is reached only through llmdb-wasm; the storage
                crates need neither wasmer nor anything of a server
  reasons       a comment stands directly above each dependency of a crate
  workspace     each crate takes edition, rust-version and lints from the workspace
  module-docs   each module file begins with `//!`
  cycles        the modules of a crate import each other in no circle; as many circles as CIRCLES_MAX in
                xtask/src/tidy/cycles.rs allows are warnings
  length        no Rust file is longer than 900 lines
  unsafe        unsafe code only in the listed files, each piece under a `// SAFETY:`
  unfinished    no `todo!`, `unimplemented!` or `#[ignore]`
  hosts         no package registry is named
  orphans       each file in docs/ is linked from README.md or docs/architecture.md
  links         each relative link in a Markdown file leads somewhere, headings included

Exit code: 0 without findings, 1 with.
";

/// Checks the checkout at `root` and prints what there is to do.
pub(crate) fn run(root: &Path) -> Result<String> {
    let Report { findings, warnings } = check(root)?;
    warnings.iter().for_each(|warning| println!("warning: {warning}"));
    findings.iter().for_each(|finding| println!("{finding}"));
    if findings.is_empty() {
        Ok(format!("no findings, {} warning(s)", warnings.len()))
    } else {
        Err(Failed::new(format!("tidy: {} finding(s), listed above", findings.len())))
    }
}

/// What there is to put right, in the order of files and lines.
struct Report {
    /// What must be put right now.
    findings: Vec<Finding>,
    /// What is known and may stay for now.
    warnings: Vec<Finding>,
}

fn check(root: &Path) -> Result<Report> {
    let tree = Tree::read(root)?;
    let (mut findings, warnings) = cycles::check(&tree)?;
    findings.extend(layers::check(&tree)?);
    findings.extend(manifests::check(&tree)?);
    findings.extend(modules::check(&tree)?);
    findings.extend(source::check(&tree)?);
    findings.extend(documents::check(&tree)?);
    findings.sort();
    findings.dedup();
    Ok(Report { findings, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_checkout_is_tidy() {
        let findings = check(&crate::checkout_root()).unwrap().findings;
        let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{} finding(s):\n{}", lines.len(), lines.join("\n"));
    }
}
