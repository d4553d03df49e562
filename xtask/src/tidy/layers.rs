//! The layering: which of our crates may depend on which, held against `cargo metadata`.
//!
//! Invariants
//! 1. Edges go strictly downward: a crate depends only on the crates listed for it. Its tests may use any
//!    crate that stands before it in the list, so no circle can form there either.
//! 2. WebAssembly machinery is reached only through `llmdb-wasm`.
//! 3. Nothing that the storage crates compile, however far down, belongs to WebAssembly or to a server.
//!
//! Not here: the same for modules inside one crate (`cycles`).

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::{Finding, manifests};
use crate::failure::{Failed, Result};
use crate::shell;
use crate::tree::Tree;

/// Our crates from the lowest up, and what each may depend on (DESIGN, "The layers").
const LAYERS: &[(&str, &[&str])] = &[
    ("llmdb-pager", &[]),
    ("llmdb-btree", &["llmdb-pager"]),
    ("llmdb-wal", &["llmdb-btree", "llmdb-pager"]),
    ("llmdb-temporal", &["llmdb-wal", "llmdb-btree", "llmdb-pager"]),
    ("llmdb-wasm", &["llmdb-pager"]),
    ("llmdb-query", &["llmdb-temporal", "llmdb-wasm", "llmdb-wal", "llmdb-btree", "llmdb-pager"]),
    ("llmdb", &["llmdb-query", "llmdb-temporal", "llmdb-wasm", "llmdb-wal", "llmdb-btree", "llmdb-pager"]),
    (
        "llmdb-bench",
        &["llmdb", "llmdb-query", "llmdb-temporal", "llmdb-wasm", "llmdb-wal", "llmdb-btree", "llmdb-pager"],
    ),
    ("xtask", &[]),
];

/// Packages, with all whose name continues theirs after a `-`, that only one of our crates may name.
const OWNED: &[(&str, &str)] = &[
    ("wasmer", "llmdb-wasm"),
    ("wasmparser", "llmdb-wasm"),
    ("wasm-encoder", "llmdb-wasm"),
    // The peer that our sandbox is measured against.
    ("wasmtime", "llmdb-bench"),
    ("cranelift", "llmdb-wasm"),
];

/// Crates whose whole build must stay free of the packages below.
const SLIM: &[&str] = &["llmdb-pager", "llmdb-btree", "llmdb-wal", "llmdb-temporal"];

/// What must stay out of them, with all whose name continues these after a `-`.
const KEPT_OUT: &[&str] =
    &["wasmer", "wasmparser", "wasmtime", "cranelift", "tokio", "hyper", "axum", "tower", "rustls"];

const RULE: &str = "layers";

/// Edges that the lists above do not allow.
pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let arguments = ["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let printed = shell::output(&mut shell::cargo(tree.root(), arguments))?;
    let metadata = serde_json::from_str(&printed)
        .map_err(|error| Failed::new(format!("cargo metadata printed no JSON that can be read: {error}")))?;
    let graph = Graph::new(&metadata, tree);
    let mut findings = graph.edges_upward();
    findings.extend(graph.borrowed_machinery());
    findings.extend(graph.heavy_builds());
    Ok(findings)
}

/// What cargo says about the packages, indexed.
struct Graph<'a> {
    tree: &'a Tree,
    members: Vec<&'a Value>,
    names: BTreeMap<&'a str, &'a str>,
    /// Package id to the ids that it compiles: normal and build dependencies.
    compiled: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Value, tree: &'a Tree) -> Self {
        let packages = || array(&metadata["packages"]);
        let member_ids: Vec<_> = array(&metadata["workspace_members"]).filter_map(Value::as_str).collect();
        Self {
            tree,
            members: packages().filter(|package| member_ids.contains(&text(&package["id"]))).collect(),
            names: packages().map(|package| (text(&package["id"]), text(&package["name"]))).collect(),
            compiled: array(&metadata["resolve"]["nodes"])
                .map(|node| (text(&node["id"]), compiled_by(node)))
                .collect(),
        }
    }

    fn edges_upward(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for member in &self.members {
            let name = text(&member["name"]);
            let Some(place) = place(name) else {
                let advice = "give this crate its place in LAYERS in xtask/src/tidy/layers.rs";
                findings.push(self.finding(member, "", advice.to_owned()));
                continue;
            };
            for dependency in array(&member["dependencies"]) {
                findings.extend(self.edge_upward(member, place, dependency));
            }
        }
        findings
    }

    fn edge_upward(&self, member: &Value, place: usize, dependency: &Value) -> Option<Finding> {
        let (name, allowed) = LAYERS[place];
        let target = text(&dependency["name"]);
        let target_place = self::place(target)?;
        let for_tests = text(&dependency["kind"]) == "dev";
        // xtask drives cargo and knows none of the crates, not even in its tests.
        let is_lower = target_place < place && name != "xtask";
        if allowed.contains(&target) || (for_tests && is_lower) {
            return None;
        }
        let list = if allowed.is_empty() { "none of ours".to_owned() } else { allowed.join(", ") };
        let advice = format!("{name} must not depend on {target}; it may depend on: {list}");
        Some(self.finding(member, target, advice))
    }

    fn borrowed_machinery(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for member in &self.members {
            for dependency in array(&member["dependencies"]) {
                let (name, target) = (text(&member["name"]), text(&dependency["name"]));
                let owner = OWNED.iter().find(|(family, _)| is_of(target, family)).map(|(_, owner)| *owner);
                if let Some(owner) = owner.filter(|owner| *owner != name) {
                    let advice = format!("only {owner} may depend on {target}; go through {owner}");
                    findings.push(self.finding(member, target, advice));
                }
            }
        }
        findings
    }

    fn heavy_builds(&self) -> Vec<Finding> {
        let slim = self.members.iter().filter(|member| SLIM.contains(&text(&member["name"])));
        slim.flat_map(|member| {
            self.heavy_chains(text(&member["id"])).into_iter().map(|chain| {
                let first = chain.get(1).copied().unwrap_or_default();
                let advice = format!("the build must stay free of this, but compiles {}", chain.join(" -> "));
                self.finding(member, first, advice)
            })
        })
        .collect()
    }

    /// The shortest chain of names from `start` to each package that must be kept out.
    fn heavy_chains(&self, start: &'a str) -> Vec<Vec<&'a str>> {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::from([(start, start)]);
        let mut queue = VecDeque::from([start]);
        let mut chains = Vec::new();
        while let Some(id) = queue.pop_front() {
            if KEPT_OUT.iter().any(|family| is_of(self.name(id), family)) {
                chains.push(self.chain(&came_from, id));
                continue;
            }
            for next in self.compiled.get(id).into_iter().flatten() {
                if !came_from.contains_key(next) {
                    came_from.insert(next, id);
                    queue.push_back(next);
                }
            }
        }
        chains
    }

    fn chain(&self, came_from: &BTreeMap<&'a str, &'a str>, end: &'a str) -> Vec<&'a str> {
        let mut chain = vec![self.name(end)];
        let mut id = end;
        while let Some(before) = came_from.get(id).copied().filter(|before| *before != id) {
            chain.push(self.name(before));
            id = before;
        }
        chain.reverse();
        chain
    }

    fn name(&self, id: &str) -> &'a str {
        self.names.get(id).copied().unwrap_or_default()
    }

    /// A finding at the line of a member's manifest that declares `dependency`.
    fn finding(&self, member: &Value, dependency: &str, advice: String) -> Finding {
        let full = std::path::Path::new(text(&member["manifest_path"]));
        let relative = full.strip_prefix(self.tree.root()).unwrap_or(full).to_string_lossy().into_owned();
        let line = self.tree.text(&relative).map_or(1, |text| manifests::line_of(&text, dependency));
        Finding::new(&relative, line, RULE, advice)
    }
}

fn compiled_by(node: &Value) -> Vec<&str> {
    let is_compiled = |dependency: &&Value| {
        array(&dependency["dep_kinds"]).any(|kind| matches!(text(&kind["kind"]), "" | "build"))
    };
    array(&node["deps"]).filter(is_compiled).map(|dependency| text(&dependency["pkg"])).collect()
}

fn place(name: &str) -> Option<usize> {
    LAYERS.iter().position(|(layer, _)| *layer == name)
}

/// Whether `name` is `family` or a part of it, as `wasmer-compiler` is of `wasmer`.
fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::fixture::checkout;
    use serde_json::json;

    /// A package's name, and the name and kind of each of its dependencies.
    type Package<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

    /// Metadata of these packages; those of ours are the members.
    fn metadata(packages: &[Package<'_>]) -> Value {
        let ours = |name: &str| name.starts_with("llmdb") || name == "xtask";
        let dependencies = |list: &[(&str, Option<&str>)]| -> Vec<Value> {
            list.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect()
        };
        let edges = |list: &[(&str, Option<&str>)]| -> Vec<Value> {
            list.iter().map(|(name, kind)| json!({"pkg": name, "dep_kinds": [{"kind": kind}]})).collect()
        };
        json!({
            "packages": packages.iter().map(|(name, list)| json!({
                "id": name, "name": name, "dependencies": dependencies(list),
                "manifest_path": format!("crates/{name}/Cargo.toml"),
            })).collect::<Vec<_>>(),
            "workspace_members": packages.iter().map(|(name, _)| *name).filter(|name| ours(name)).collect::<Vec<_>>(),
            "resolve": {"nodes": packages.iter().map(|(name, list)| json!({
                "id": name, "deps": edges(list),
            })).collect::<Vec<_>>()},
        })
    }

    fn found(packages: &[Package<'_>]) -> Vec<String> {
        let metadata = metadata(packages);
        let fixture =
            checkout(&[("crates/llmdb-wal/Cargo.toml", "[dependencies]\n# Why.\nhelper = \"1\"\n")]);
        let graph = Graph::new(&metadata, &fixture.tree);
        let mut findings = graph.edges_upward();
        findings.extend(graph.borrowed_machinery());
        findings.extend(graph.heavy_builds());
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn edges_downward_are_allowed() {
        let clean = found(&[
            ("llmdb-pager", &[("memmap2", None)]),
            ("llmdb-btree", &[("llmdb-pager", None)]),
            ("llmdb-wal", &[("llmdb-btree", None), ("llmdb-pager", Some("build"))]),
            ("llmdb-wasm", &[("llmdb-pager", None), ("wasmer", None), ("llmdb-wal", Some("dev"))]),
            ("llmdb-query", &[("llmdb-wasm", None)]),
            ("llmdb-bench", &[("llmdb", None)]),
            ("xtask", &[("serde_json", None)]),
        ]);
        assert!(clean.is_empty(), "{clean:?}");
    }

    #[test]
    fn an_edge_upward_or_sideways_is_found_whatever_its_kind() {
        for (from, to, kind) in [
            ("llmdb-pager", "llmdb-btree", None),
            ("llmdb-pager", "llmdb-btree", Some("build")),
            ("llmdb-pager", "llmdb-btree", Some("dev")),
            ("llmdb-wasm", "llmdb-btree", None),
            ("llmdb-temporal", "llmdb-query", Some("dev")),
            ("xtask", "llmdb-pager", Some("dev")),
        ] {
            let found = found(&[(from, &[(to, kind)])]);
            assert_eq!(found.len(), 1, "{from} -> {to} {kind:?}: {found:?}");
            assert!(found[0].contains(&format!("{from} must not depend on {to}")), "{found:?}");
        }
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        let found = found(&[("llmdb-extra", &[])]);
        assert!(found.len() == 1 && found[0].contains("LAYERS"), "{found:?}");
    }

    #[test]
    fn wasm_machinery_is_named_by_its_owner_only() {
        for package in ["wasmer", "wasmer-compiler", "wasmparser", "wasm-encoder"] {
            let found =
                found(&[("llmdb-query", &[(package, Some("dev"))]), ("llmdb-wasm", &[(package, None)])]);
            assert!(found.len() == 1 && found[0].contains("go through llmdb-wasm"), "{package}: {found:?}");
        }
        assert!(found(&[("llmdb-query", &[("wasmerish", None)])]).is_empty());
    }

    #[test]
    fn a_server_deep_inside_the_log_is_found_with_the_way_to_it() {
        let packages: &[Package<'_>] = &[
            ("llmdb-wal", &[("helper", None)]),
            ("helper", &[("deeper", Some("build")), ("axum", Some("dev"))]),
            ("deeper", &[("tokio-util", None)]),
            ("tokio-util", &[]),
            ("axum", &[]),
        ];
        let found = found(packages);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("llmdb-wal -> helper -> deeper -> tokio-util"), "{found:?}");
        assert!(found[0].starts_with("crates/llmdb-wal/Cargo.toml:3: [layers]"), "{found:?}");
    }

    #[test]
    fn the_list_itself_goes_downward() {
        for (index, (name, allowed)) in LAYERS.iter().enumerate() {
            for below in *allowed {
                assert!(place(below).is_some_and(|place| place < index), "{name} -> {below}");
            }
        }
    }
}
