//! The files of a checkout: what there is to look at, without what tools leave behind.
//!
//! Invariants
//! 1. Paths are relative to the root, use `/`, and come in sorted order, so findings do too.
//! 2. Build output, fuzz corpora and git's own files are never listed.
//!
//! Not here: what the files must look like (`tidy`).

use std::path::{Path, PathBuf};

use crate::failure::{Failed, Result};

/// Folders that hold nothing a person wrote, by name.
const SKIPPED_FOLDERS: &[&str] = &[".git", "target", "corpus", "artifacts", "node_modules", "bench-results"];

/// The listed files of one checkout.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    files: Vec<String>,
}

impl Tree {
    /// Lists the files below `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            list(root, &folder, &mut folders, &mut files)?;
        }
        files.sort();
        Ok(Self { root: root.to_path_buf(), files })
    }

    /// The checkout's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Every listed file.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// The listed files whose name ends like this.
    pub(crate) fn ending(&self, suffix: &str) -> impl Iterator<Item = &str> {
        self.files().filter(move |path| path.ends_with(suffix))
    }

    /// Rust files of our packages: library, program, tests, benches and fuzz targets alike.
    pub(crate) fn rust_files(&self) -> impl Iterator<Item = &str> {
        self.ending(".rs").filter(|path| path.starts_with("crates/") || path.starts_with("xtask/"))
    }

    /// Rust files below a package's `src/`: `crates/NAME/src/..` and `xtask/src/..`.
    pub(crate) fn module_files(&self) -> impl Iterator<Item = &str> {
        self.rust_files().filter(|path| source_folder(path).is_some())
    }

    /// Manifests of our packages; the workspace's own is not among them.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &str> {
        self.ending("/Cargo.toml").filter(|path| path.starts_with("crates/") || path.starts_with("xtask/"))
    }

    /// Whether a file is listed.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.binary_search_by(|file| file.as_str().cmp(path)).is_ok()
    }

    /// A file's text; bytes that are no UTF-8 are replaced.
    pub(crate) fn text(&self, path: &str) -> Result<String> {
        let full = self.root.join(path);
        let bytes = std::fs::read(&full).map_err(|error| Failed::io("read", &full, &error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The `src` folder that a path of a package lies in, if it does: `crates/llmdb-wal/src` or `xtask/src`.
pub(crate) fn source_folder(path: &str) -> Option<&str> {
    let (package_depth, folder_end) = if path.starts_with("xtask/src/") {
        (1, "xtask/src".len())
    } else {
        let mut parts = path.split('/');
        let (crates, name, src) = (parts.next()?, parts.next()?, parts.next()?);
        if crates != "crates" || src != "src" {
            return None;
        }
        (2, crates.len() + name.len() + src.len() + 2)
    };
    (path.split('/').count() > package_depth + 1).then(|| &path[..folder_end])
}

fn list(root: &Path, folder: &Path, folders: &mut Vec<PathBuf>, files: &mut Vec<String>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|error| Failed::io("list", folder, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Failed::io("list", folder, &error))?;
        let kind = entry.file_type().map_err(|error| Failed::io("look at", &entry.path(), &error))?;
        if kind.is_dir() {
            if !SKIPPED_FOLDERS.iter().any(|skipped| entry.file_name() == *skipped) {
                folders.push(entry.path());
            }
        } else if kind.is_file()
            && let Ok(relative) = entry.path().strip_prefix(root)
        {
            files.push(relative.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Small checkouts to try rules on.

    use super::*;

    /// A folder with the given files that goes away with this value.
    pub(crate) struct Fixture {
        _folder: tempfile::TempDir,
        pub(crate) tree: Tree,
    }

    /// Writes `files` (path, text) into a new folder and lists it.
    pub(crate) fn checkout(files: &[(&str, &str)]) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let full = folder.path().join(path);
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(full, text).unwrap();
        }
        let tree = Tree::read(folder.path()).unwrap();
        Fixture { _folder: folder, tree }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_output_is_not_listed_and_the_rest_is_sorted() {
        let fixture = fixture::checkout(&[
            ("target/debug/x.rs", ""),
            ("crates/b/src/lib.rs", ""),
            ("crates/a/fuzz/target/y.rs", ""),
            ("crates/a/fuzz/fuzz_targets/z.rs", ""),
            (".github/workflows/ci.yml", ""),
        ]);
        let files: Vec<_> = fixture.tree.files().collect();
        let expected = [".github/workflows/ci.yml", "crates/a/fuzz/fuzz_targets/z.rs", "crates/b/src/lib.rs"];
        assert_eq!(files, expected);
        assert!(fixture.tree.has("crates/b/src/lib.rs") && !fixture.tree.has("crates/b"));
        assert_eq!(fixture.tree.module_files().collect::<Vec<_>>(), ["crates/b/src/lib.rs"]);
    }

    #[test]
    fn only_files_below_src_belong_to_a_source_folder() {
        assert_eq!(source_folder("crates/a/src/lib.rs"), Some("crates/a/src"));
        assert_eq!(source_folder("crates/a/src/b/mod.rs"), Some("crates/a/src"));
        assert_eq!(source_folder("xtask/src/main.rs"), Some("xtask/src"));
        for other in ["crates/a/tests/x.rs", "crates/a/build.rs", "src/lib.rs", "crates/a/fuzz/src/x.rs"] {
            assert_eq!(source_folder(other), None, "{other}");
        }
    }
}
