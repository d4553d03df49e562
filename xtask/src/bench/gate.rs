//! The gate: `llmdb-gate` built from this checkout and from its base, and the one told to judge the other.
//!
//! Invariants
//! 1. The base is built in a worktree of its own below the build folder, which is removed again; this checkout
//!    is not touched.
//! 2. A base without a gate is compared with nothing, and that is said, here and in the comment.
//!
//! Not here: counting, timing and judging (`crates/llmdb-bench/src/gate`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{RESULTS, target_folder};
use crate::failure::{Failed, Result};
use crate::shell;

/// The file whose presence shows that a commit has a gate.
const GATE_SOURCE: &str = "crates/llmdb-bench/src/bin/llmdb-gate.rs";

/// The mark of the gate's comments, as in `llmdb_bench::gate::comment`.
const MARK: &str = "<!-- llmdb-bench-gate -->";

const VALGRIND_MISSING: &str = "\
valgrind is missing, and instructions cannot be counted without it: install it (Debian and Ubuntu: apt-get install \
valgrind; Fedora: dnf install valgrind; Arch: pacman -S valgrind), or pass --without-instructions";

/// What the gate was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) base: Option<String>,
    pub(super) rounds: Option<u32>,
    pub(super) with_instructions: bool,
}

/// Builds both programs and lets the new one compare.
pub(super) fn run(root: &Path, options: &Options) -> Result<String> {
    check_valgrind(options.with_instructions)?;
    let results = root.join(RESULTS);
    fs::create_dir_all(&results).map_err(|error| Failed::io("create", &results, &error))?;
    let base = match chosen_base(root, options.base.as_deref())? {
        Base::Commit(commit) => commit,
        Base::Nothing(why) => return nothing_compared(&results, &why),
    };
    let folder = target_folder(root).join("bench-gate");
    fs::create_dir_all(&folder).map_err(|error| Failed::io("create", &folder, &error))?;
    let base_program = build_base(root, &base)?;
    let new_program = build_here(root)?;
    let messages = folder.join("messages");
    let log = git(root, &["log", "--format=%B", &format!("{base}..HEAD")])?;
    fs::write(&messages, log).map_err(|error| Failed::io("write", &messages, &error))?;

    let mut command = Command::new(new_program);
    command.current_dir(root).arg("compare").arg("--base").arg(base_program);
    command.args(["--base-name", &base, "--new-name", &name_of_this(root)?]);
    command.arg("--folder").arg(&folder).arg("--messages").arg(&messages);
    command.arg("--comment").arg(results.join("comment.md")).arg("--json").arg(results.join("gate.json"));
    pass_on(&mut command, options.rounds, options.with_instructions);
    shell::run(&mut command).map_err(|error| {
        Failed::new(format!(
            "the gate did not pass ({error}); what became worse stands above and in {RESULTS}/comment.md"
        ))
    })?;
    Ok(format!("no worse than {base}; see {RESULTS}/comment.md"))
}

/// Puts the gate of this checkout on trial.
pub(super) fn self_test(
    root: &Path,
    times: u32,
    rounds: Option<u32>,
    with_instructions: bool,
) -> Result<String> {
    check_valgrind(with_instructions)?;
    let program = build_here(root)?;
    let mut command = Command::new(program);
    command.current_dir(root).args(["self-test", &times.to_string()]);
    command.arg("--folder").arg(target_folder(root).join("bench-gate-trial"));
    pass_on(&mut command, rounds, with_instructions);
    shell::run(&mut command)?;
    Ok(format!("{times} of {times} gates right, for the same build and for each planted slowdown"))
}

fn pass_on(command: &mut Command, rounds: Option<u32>, with_instructions: bool) {
    if let Some(rounds) = rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    if !with_instructions {
        command.arg("--without-instructions");
    }
}

fn check_valgrind(needed: bool) -> Result<()> {
    if needed && !shell::succeeds(Command::new("valgrind").arg("--version")) {
        return Err(Failed::new(VALGRIND_MISSING));
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Base {
    /// A commit with a gate, in short.
    Commit(String),
    /// Nothing to compare with, and why.
    Nothing(String),
}

fn chosen_base(root: &Path, asked: Option<&str>) -> Result<Base> {
    let rev = match asked {
        Some(rev) => rev.to_owned(),
        None if is_changed(root)? => "HEAD".to_owned(),
        None if !exists(root, "HEAD~1^{commit}") => {
            return Ok(Base::Nothing("There is no commit before this one.".to_owned()));
        }
        None => "HEAD~1".to_owned(),
    };
    if !exists(root, &format!("{rev}^{{commit}}")) {
        return Err(Failed::new(format!(
            "there is no commit `{rev}` here; in a shallow clone, fetch more of the history first"
        )));
    }
    let commit = git(root, &["rev-parse", "--short=12", &format!("{rev}^{{commit}}")])?.trim().to_owned();
    if !exists(root, &format!("{commit}:{GATE_SOURCE}")) {
        return Ok(Base::Nothing(format!("The base `{commit}` has no gate yet ({GATE_SOURCE} is missing).")));
    }
    Ok(Base::Commit(commit))
}

/// Whether the checkout has changes of listed files.
fn is_changed(root: &Path) -> Result<bool> {
    Ok(!git(root, &["status", "--porcelain", "--untracked-files=no"])?.trim().is_empty())
}

fn exists(root: &Path, object: &str) -> bool {
    shell::succeeds(Command::new("git").current_dir(root).args(["cat-file", "-e", object]))
}

fn name_of_this(root: &Path) -> Result<String> {
    let commit = git(root, &["rev-parse", "--short=12", "HEAD"])?.trim().to_owned();
    Ok(if is_changed(root)? { format!("{commit} and changes") } else { commit })
}

fn nothing_compared(results: &Path, why: &str) -> Result<String> {
    let comment = results.join("comment.md");
    let text = format!("{MARK}\n## Benchmark gate: nothing compared\n\n{why}\n");
    fs::write(&comment, text).map_err(|error| Failed::io("write", &comment, &error))?;
    Ok(format!("nothing compared. {why}"))
}

fn build_here(root: &Path) -> Result<PathBuf> {
    let target = target_folder(root);
    build(root, &target)?;
    Ok(target.join("release/llmdb-gate"))
}

fn build_base(root: &Path, commit: &str) -> Result<PathBuf> {
    let folder = target_folder(root).join("bench-base");
    let worktree = Worktree::add(root, folder.join("tree"), commit)?;
    let target = folder.join("target");
    build(&worktree.path, &target)?;
    Ok(target.join("release/llmdb-gate"))
}

fn build(checkout: &Path, target: &Path) -> Result<()> {
    let arguments = ["build", "--release", "--locked", "-p", "llmdb-bench", "--bin", "llmdb-gate"];
    let mut command = shell::cargo(checkout, arguments);
    // Says of whom a manifest is, and cargo sets it for this program: the build must not take it for its own.
    command.env_remove("CARGO_MANIFEST_DIR").env("CARGO_TARGET_DIR", target);
    shell::run(&mut command)
}

/// A checkout of another commit, removed when dropped.
struct Worktree {
    root: PathBuf,
    path: PathBuf,
}

impl Worktree {
    fn add(root: &Path, path: PathBuf, commit: &str) -> Result<Self> {
        let worktree = Self { root: root.to_owned(), path };
        worktree.remove();
        let shown = worktree.path.display().to_string();
        git(root, &["worktree", "add", "--force", "--detach", &shown, commit])?;
        Ok(worktree)
    }

    /// Removes what an earlier run may have left, too.
    fn remove(&self) {
        let shown = self.path.display().to_string();
        let mut remove = Command::new("git");
        let removed =
            shell::succeeds(remove.current_dir(&self.root).args(["worktree", "remove", "--force", &shown]));
        if !removed && self.path.exists() {
            // No worktree of this repository: `worktree add` says what is in the way if this does not help.
            let _ = fs::remove_dir_all(&self.path);
        }
        shell::succeeds(Command::new("git").current_dir(&self.root).args(["worktree", "prune"]));
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        self.remove();
    }
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    shell::output(Command::new("git").current_dir(root).args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with one commit without a gate and one with.
    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        git(root, &["init", "--quiet"]).unwrap();
        for (name, value) in [("user.name", "a"), ("user.email", "a@b"), ("commit.gpgsign", "false")] {
            git(root, &["config", name, value]).unwrap();
        }
        commit(root, "old.txt", "old");
        commit(root, GATE_SOURCE, "with a gate");
        folder
    }

    fn commit(root: &Path, path: &str, message: &str) {
        let full = root.join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(full, message).unwrap();
        git(root, &["add", "--all"]).unwrap();
        git(root, &["commit", "--quiet", "-m", message]).unwrap();
    }

    fn short(root: &Path, rev: &str) -> String {
        git(root, &["rev-parse", "--short=12", rev]).unwrap().trim().to_owned()
    }

    #[test]
    fn the_base_is_the_commit_before_or_head_where_files_are_changed() {
        let folder = repository();
        let root = folder.path();
        commit(root, "new.txt", "new");
        assert_eq!(chosen_base(root, None).unwrap(), Base::Commit(short(root, "HEAD~1")));
        fs::write(root.join("new.txt"), "changed").unwrap();
        assert_eq!(chosen_base(root, None).unwrap(), Base::Commit(short(root, "HEAD")));
        assert!(name_of_this(root).unwrap().ends_with("and changes"));
        assert_eq!(chosen_base(root, Some("HEAD~1")).unwrap(), Base::Commit(short(root, "HEAD~1")));
    }

    #[test]
    fn a_base_without_a_gate_is_compared_with_nothing_and_that_is_said() {
        let folder = repository();
        let root = folder.path();
        let Base::Nothing(why) = chosen_base(root, None).unwrap() else { panic!("it has no gate") };
        assert!(why.contains(&short(root, "HEAD~1")), "{why}");
        let note = nothing_compared(root, &why).unwrap();
        assert!(note.contains("nothing compared") && note.contains(&why), "{note}");
        let comment = fs::read_to_string(root.join("comment.md")).unwrap();
        assert!(comment.starts_with(MARK) && comment.contains(&why), "{comment}");
    }

    #[test]
    fn a_commit_that_is_not_there_is_named() {
        let folder = repository();
        let error = chosen_base(folder.path(), Some("no-such-branch")).unwrap_err().to_string();
        assert!(error.contains("`no-such-branch`") && error.contains("shallow"), "{error}");
    }

    #[test]
    fn a_worktree_holds_the_commit_and_is_removed_even_if_one_was_left_behind() {
        let folder = repository();
        let root = folder.path();
        let path = root.join("target/tree");
        std::mem::forget(Worktree::add(root, path.clone(), "HEAD").unwrap());
        let worktree = Worktree::add(root, path.clone(), "HEAD~1").unwrap();
        assert!(path.join("old.txt").exists() && !path.join(GATE_SOURCE).exists());
        drop(worktree);
        assert!(!path.exists());
        assert_eq!(git(root, &["worktree", "list"]).unwrap().lines().count(), 1);
        assert_eq!(fs::read_to_string(root.join(GATE_SOURCE)).unwrap(), "with a gate");
    }
}
