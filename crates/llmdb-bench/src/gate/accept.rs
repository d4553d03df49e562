//! Regressions that are meant: `bench-accept: NAME reason` in a commit message.
//!
//! Invariants
//! 1. An acceptance without a reason accepts nothing.
//! 2. Every acceptance is shown, with its reason, also one that nothing needed.

use serde::{Deserialize, Serialize};

/// How a line begins that accepts a regression.
pub const PREFIX: &str = "bench-accept:";

/// The name of the clock where a count's name could stand.
pub const WALL_CLOCK: &str = "wall_clock";

/// A regression that a commit message allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// `OPERATION` for all its counts, or `OPERATION/COUNT`.
    pub name: String,
    /// Why it is meant.
    pub reason: String,
}

impl Accept {
    /// Whether it speaks of this count of this operation.
    pub fn covers(&self, operation: &str, count: &str) -> bool {
        match self.name.split_once('/') {
            Some((its_operation, its_count)) => (its_operation, its_count) == (operation, count),
            None => self.name == operation,
        }
    }
}

/// What commit messages accept, and the lines that were meant to and say no reason.
pub fn parse(messages: &str) -> (Vec<Accept>, Vec<String>) {
    let (mut accepts, mut incomplete) = (Vec::new(), Vec::new());
    for line in messages.lines() {
        let Some(rest) = line.trim().strip_prefix(PREFIX) else { continue };
        match rest.trim().split_once(char::is_whitespace) {
            Some((name, reason)) => {
                accepts.push(Accept { name: name.to_owned(), reason: reason.trim().to_owned() });
            }
            None => incomplete.push(line.trim().to_owned()),
        }
    }
    (accepts, incomplete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_reason_accept_and_lines_without_are_named() {
        let (accepts, incomplete) = parse(
            "wal: two flushes\n\nWhy.\n  bench-accept: commit_1/flushes the folder too\nbench-accept: get\n",
        );
        assert_eq!(accepts, [Accept { name: "commit_1/flushes".into(), reason: "the folder too".into() }]);
        assert_eq!(incomplete, ["bench-accept: get"]);
    }

    #[test]
    fn an_operation_covers_all_its_counts_and_a_count_only_itself() {
        let accept = |name: &str| Accept { name: name.into(), reason: "x".into() };
        assert!(accept("get").covers("get", "pages") && accept("get").covers("get", WALL_CLOCK));
        assert!(accept("get/pages").covers("get", "pages"));
        assert!(
            !accept("get/pages").covers("get", "flushes") && !accept("get").covers("get_many_64", "pages")
        );
    }
}
