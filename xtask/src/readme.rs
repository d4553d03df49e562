//! The two commands that README.md promises, taken from it as they are printed.
//!
//! Invariants
//! 1. Only lines of blocks fenced as `sh` count: what a reader is told to type.
//! 2. A README that promises no such command is an error, never a pass.

use std::path::Path;

use crate::failure::{Failed, Result};

/// How the two commands begin, whatever follows.
const DEMO: &str = "cargo run --release -p llmdb -- demo";
const TEST: &str = "cargo test";

/// The line that shows a newcomer the demo.
pub(crate) fn demo_command(root: &Path) -> Result<String> {
    command(&read(root)?, DEMO)
}

/// The line that runs all tests.
pub(crate) fn test_command(root: &Path) -> Result<String> {
    command(&read(root)?, TEST)
}

fn read(root: &Path) -> Result<String> {
    let path = root.join("README.md");
    std::fs::read_to_string(&path).map_err(|error| Failed::io("read", &path, &error))
}

fn command(readme: &str, beginning: &str) -> Result<String> {
    let mut in_shell_block = false;
    let mut in_block = false;
    for line in readme.lines() {
        if let Some(language) = line.trim().strip_prefix("```") {
            in_shell_block = !in_block && language.trim() == "sh";
            in_block = !in_block;
        } else if in_shell_block {
            let line = line.trim().trim_start_matches("$ ");
            let line = line.split(" #").next().unwrap_or(line).trim();
            if line.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')) {
                return Ok(line.to_owned());
            }
        }
    }
    Err(Failed::new(format!("README.md has no ```sh block with a line that begins with `{beginning}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_from_shell_blocks_only() {
        let readme = "cargo test --prose\n```rust\ncargo test --rust\n```\n```sh\ncd llmdb\ncargo test --workspace   # all\n```\n";
        assert_eq!(command(readme, TEST).unwrap(), "cargo test --workspace");
    }

    #[test]
    fn a_prompt_is_no_part_of_the_command() {
        let readme = "```sh\n$ cargo run --release -p llmdb -- demo\n```\n";
        assert_eq!(command(readme, DEMO).unwrap(), DEMO);
    }

    #[test]
    fn a_readme_without_the_command_is_an_error_that_names_it() {
        for readme in ["", "```sh\ncargo tester\n```", "```\ncargo test\n```", "```sh\n```\ncargo test"] {
            let error = command(readme, TEST).unwrap_err().to_string();
            assert!(error.contains("`cargo test`"), "{readme}: {error}");
        }
    }
}
