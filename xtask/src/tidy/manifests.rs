//! Manifests: a reason above each dependency, and settings that come from the workspace.
//!
//! Invariants
//! 1. A dependency is a line (or a `[dependencies.NAME]` header) of a table of dependencies, also of one
//!    target's; the comment stands on the line directly above it.
//! 2. A fuzz package, or one that is built for guests, is a workspace of its own and so cannot inherit; its
//!    dependencies need reasons too.
//!
//! Not here: who may depend on whom (`layers`).

use super::Finding;
use crate::failure::Result;
use crate::tree::Tree;

/// Settings that a member takes from the workspace: table, the line it must hold, spaces aside.
const INHERITED: &[(&str, &str)] = &[
    ("package", "edition.workspace=true"),
    ("package", "rust-version.workspace=true"),
    ("lints", "workspace=true"),
];

/// Dependencies without a reason, and members that go their own way.
pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in tree.manifests() {
        let text = tree.text(path)?;
        findings.extend(missing_reasons(path, &text));
        if !path.contains("/fuzz/") && !path.contains("/guest/") {
            findings.extend(missing_inheritance(path, &text));
        }
    }
    Ok(findings)
}

/// The line of a manifest that declares `name`, or 1.
pub(super) fn line_of(text: &str, name: &str) -> usize {
    let declared = dependencies(text).into_iter().find(|dependency| dependency.name == name);
    declared.map_or(1, |dependency| dependency.line)
}

struct Dependency<'a> {
    name: &'a str,
    line: usize,
    has_reason: bool,
}

fn missing_reasons(path: &str, text: &str) -> Vec<Finding> {
    let bare = dependencies(text).into_iter().filter(|dependency| !dependency.has_reason);
    bare.map(|Dependency { name, line, .. }| {
        let advice =
            format!("write a comment on the line directly above `{name}` that says why it is needed");
        Finding::new(path, line, "reasons", advice)
    })
    .collect()
}

fn missing_inheritance(path: &str, text: &str) -> Vec<Finding> {
    let missing = INHERITED.iter().filter(|(table, wanted)| !holds(text, table, wanted));
    missing
        .map(|(table, wanted)| {
            let advice = format!("take it from the workspace: write `{wanted}` in [{table}]");
            Finding::new(path, 1, "workspace", advice)
        })
        .collect()
}

fn holds(text: &str, table: &str, wanted: &str) -> bool {
    let mut current = "";
    text.lines().any(|line| {
        if let Some(header) = header(line) {
            current = header;
        }
        current == table && line.replace(' ', "").split('#').next() == Some(wanted)
    })
}

fn dependencies(text: &str) -> Vec<Dependency<'_>> {
    let mut found = Vec::new();
    let mut inside = false;
    let mut open_brackets = 0;
    let mut has_reason = false;
    for (index, line) in text.lines().enumerate() {
        let mut declare = |name| found.push(Dependency { name, line: index + 1, has_reason });
        if let Some(header) = header(line).filter(|_| open_brackets == 0) {
            inside = is_dependency_table(header);
            if let Some((table, name)) = header.rsplit_once('.')
                && is_dependency_table(table)
            {
                declare(name);
            }
        } else if inside {
            if open_brackets == 0
                && let Some(name) = declared_name(line)
            {
                declare(name);
            }
            open_brackets += depth_change(line);
        }
        has_reason = line.trim_start().strip_prefix('#').is_some_and(|words| !words.trim().is_empty());
    }
    found
}

fn header(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.split(']').next()
}

fn is_dependency_table(header: &str) -> bool {
    let last = header.rsplit('.').next().unwrap_or_default();
    matches!(last, "dependencies" | "dev-dependencies" | "build-dependencies")
}

/// The `name` of `name = ..` or `name.workspace = true`.
fn declared_name(line: &str) -> Option<&str> {
    let (key, _) = line.trim().split_once('=')?;
    let name = key.trim().split('.').next()?.trim_matches('"');
    (!name.starts_with('#') && !name.is_empty()).then_some(name)
}

/// How many more brackets a line opens than it closes; its comment counts for nothing.
fn depth_change(line: &str) -> i32 {
    let code = line.split('#').next().unwrap_or_default();
    code.chars().fold(0, |depth, character| match character {
        '[' | '{' => depth + 1,
        ']' | '}' => depth - 1,
        _ => depth,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::fixture::checkout;

    const GOOD: &str = "\
[package]
name = \"a\"
edition.workspace = true
rust-version.workspace = true

[lints]
workspace = true

[dependencies]
# Why.
one.workspace = true
# Why.
two = { version = \"1\", features = [
  \"x\",
] }

[target.'cfg(unix)'.dependencies]
# Why.
three = \"1\"

# Why.
[dev-dependencies.four]
version = \"1\"
";

    fn found(manifest: &str) -> Vec<(usize, &'static str)> {
        let fixture = checkout(&[("crates/a/Cargo.toml", manifest)]);
        check(&fixture.tree).unwrap().into_iter().map(|finding| (finding.line, finding.rule)).collect()
    }

    #[test]
    fn a_manifest_with_reasons_and_workspace_settings_is_clean() {
        assert_eq!(found(GOOD), []);
    }

    #[test]
    fn each_dependency_without_a_reason_directly_above_is_found() {
        let bare = GOOD.replace("# Why.\n", "");
        assert_eq!(found(&bare), [(10, "reasons"), (11, "reasons"), (16, "reasons"), (18, "reasons")]);
        let apart = GOOD.replace("# Why.\none", "# Why.\n\none");
        assert_eq!(found(&apart), [(12, "reasons")]);
        let mute = GOOD.replace("# Why.\none", "#\none");
        assert_eq!(found(&mute), [(11, "reasons")]);
    }

    #[test]
    fn each_setting_that_is_not_taken_from_the_workspace_is_found() {
        for (from, to) in [
            ("edition.workspace = true", "edition = \"2024\""),
            ("rust-version.workspace = true", "# rust-version.workspace = true"),
            ("[lints]\nworkspace = true", "[lints]\n"),
        ] {
            assert_eq!(found(&GOOD.replace(from, to)), [(1, "workspace")], "{from}");
        }
    }

    #[test]
    fn a_fuzz_package_needs_reasons_but_inherits_nothing() {
        let text = "[package]\nedition = \"2024\"\n[dependencies]\none = \"1\"\n";
        for path in ["crates/a/fuzz/Cargo.toml", "crates/a/guest/Cargo.toml"] {
            let fixture = checkout(&[(path, text)]);
            let found: Vec<_> =
                check(&fixture.tree).unwrap().into_iter().map(|finding| finding.rule).collect();
            assert_eq!(found, ["reasons"]);
        }
    }

    #[test]
    fn a_dependency_is_found_at_its_line() {
        assert_eq!(line_of(GOOD, "two"), 13);
        assert_eq!(line_of(GOOD, "four"), 22);
        assert_eq!(line_of(GOOD, "nobody"), 1);
    }
}
