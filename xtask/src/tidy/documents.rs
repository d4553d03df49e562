//! Documents: each is reached from the front door, and no link leads nowhere.
//!
//! Invariants
//! 1. A file below `docs/` is linked from `README.md` or `docs/architecture.md` itself.
//! 2. A relative link leads to a file or folder of the checkout, and its `#anchor` to a heading there.
//!
//! Not here: links of doc comments (`cargo doc` checks those), links to other hosts (no network).

use super::Finding;
use super::markdown::{Link, anchors, links};
use crate::failure::Result;
use crate::tree::Tree;

const README: &str = "README.md";
const ARCHITECTURE: &str = "docs/architecture.md";

/// Orphaned documents and broken links.
pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = orphans(tree)?;
    for path in tree.ending(".md") {
        for link in links(&tree.text(path)?) {
            findings.extend(broken(tree, path, &link)?);
        }
    }
    Ok(findings)
}

fn orphans(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut linked = Vec::new();
    for door in [README, ARCHITECTURE] {
        if tree.has(door) {
            linked.extend(links(&tree.text(door)?).iter().filter_map(|link| resolve(door, &link.target)));
        } else {
            let advice = "this file is missing: write it, the other documents are found through it";
            findings.push(Finding::new(door, 1, "orphans", advice));
        }
    }
    for path in tree.files().filter(|path| path.starts_with("docs/")) {
        if !linked.iter().any(|(target, _)| target == path) {
            let advice = format!("nobody finds this file: link it from {README} or {ARCHITECTURE}");
            findings.push(Finding::new(path, 1, "orphans", advice));
        }
    }
    Ok(findings)
}

fn broken(tree: &Tree, path: &str, link: &Link) -> Result<Option<Finding>> {
    let Some((target, anchor)) = resolve(path, &link.target) else { return Ok(None) };
    let advice = if target.starts_with("../") {
        format!("`{}` leads out of the checkout: nobody else has that file", link.target)
    } else if !tree.has(&target) {
        if tree.root().join(&target).is_dir() {
            return Ok(None);
        }
        format!("`{}` leads nowhere: there is no `{target}`", link.target)
    } else if anchor.is_empty() || !target.ends_with(".md") || anchors(&tree.text(&target)?).contains(&anchor)
    {
        return Ok(None);
    } else {
        format!("`{}`: `{target}` has no heading `#{anchor}`", link.target)
    };
    Ok(Some(Finding::new(path, link.line, "links", advice)))
}

/// The path and anchor that a link of `path` leads to; `None` for other hosts and mail.
fn resolve(path: &str, target: &str) -> Option<(String, String)> {
    let scheme_end = target.find(':').unwrap_or(target.len());
    let is_elsewhere =
        scheme_end < target.find(['/', '#']).unwrap_or(target.len()) || target.starts_with("//");
    if is_elsewhere {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    if file.is_empty() {
        return Some((path.to_owned(), anchor.to_owned()));
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let from_root = file.strip_prefix('/').map_or_else(|| format!("{folder}/{file}"), str::to_owned);
    let mut parts: Vec<&str> = Vec::new();
    for part in from_root.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some((parts.join("/"), anchor.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::fixture::checkout;

    const DOORS: [(&str, &str); 2] = [
        (
            README,
            "# Hello\n[a](docs/architecture.md) [b](./docs/format.md#bytes) [c](https://example.invalid/x.md)\n",
        ),
        (
            ARCHITECTURE,
            "# Map\n[a](decisions/0001.md) [b](../README.md#hello) [c](#map) [d](/docs/) [e](mailto:x@y)\n",
        ),
    ];

    fn found(extra: &[(&str, &str)]) -> Vec<String> {
        let mut files = vec![("docs/format.md", "## Bytes\n"), ("docs/decisions/0001.md", "# One\n")];
        files.extend(DOORS.iter().filter(|(door, _)| extra.iter().all(|(path, _)| path != door)));
        files.extend(extra);
        check(&checkout(&files).tree).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn documents_that_are_linked_are_clean() {
        assert_eq!(found(&[]), Vec::<String>::new());
    }

    #[test]
    fn an_orphan_is_found_even_when_another_document_links_it() {
        let found = found(&[("docs/lost.md", "x"), ("docs/format.md", "## Bytes\n[lost](lost.md)\n")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("docs/lost.md:1: [orphans]"), "{found:?}");
    }

    #[test]
    fn a_missing_front_door_is_found() {
        let fixture = checkout(&[DOORS[1], ("docs/decisions/0001.md", "")]);
        let found: Vec<_> = orphans(&fixture.tree).unwrap().iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|finding| finding.starts_with("README.md:1: [orphans]")), "{found:?}");
        let fixture = checkout(&[DOORS[0], ("docs/format.md", "")]);
        let found: Vec<_> = orphans(&fixture.tree).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("docs/architecture.md:1: [orphans]"), "{found:?}");
    }

    #[test]
    fn links_that_lead_nowhere_are_found_with_their_line() {
        for link in [
            "gone.md",
            "../gone.md",
            "/gone.md",
            "#gone",
            "lib.rs",
            "../../docs/format.md#gone",
            "../../../x",
        ] {
            let text = format!("# A\n\n[x]({link})\n");
            let found = found(&[("crates/a/README.md", &text)]);
            assert_eq!(found.len(), 1, "{link}: {found:?}");
            assert!(found[0].starts_with("crates/a/README.md:3: [links]"), "{link}: {found:?}");
        }
    }

    #[test]
    fn links_to_files_folders_and_headings_are_clean() {
        for link in
            ["src/lib.rs", "src", "../../docs/format.md#bytes", "#a", "/README.md", "https://x.invalid/a#b"]
        {
            let text = format!("# A\n\n[x]({link})\n");
            let clean = found(&[("crates/a/README.md", &text), ("crates/a/src/lib.rs", "")]);
            assert!(clean.is_empty(), "{link}: {clean:?}");
        }
    }
}
