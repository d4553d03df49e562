//! When a commit is durable, and what is lost otherwise.

use std::time::Duration;

/// When a commit survives a power cut. What a database promises is chosen when it is opened, and can be chosen anew
/// for each commit ([`WriteTxn::commit_with`](super::WriteTxn::commit_with)).
///
/// | | visible | lost when the process dies | lost at a power cut | flushes |
/// | --- | --- | --- | --- | --- |
/// | `Sync` | when durable | nothing | nothing | one for all that commit at once |
/// | `Interval(t)` | at once | nothing | commits of the last `t`, and of a flush's time | one each `t` |
/// | `None` | at once | nothing | commits since the last checkpoint, `Sync` commit or [`Store::sync`](super::Store::sync) | none |
/// | `NoLog` | when durable | nothing | nothing | a checkpoint a commit |
///
/// Whatever is lost, it is the newest commits: what remains is the state after some commit, whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Flushed before the commit returns.
    #[default]
    Sync,
    /// Handed to the system before the commit returns, and flushed at most this long after, by a thread of the
    /// store's own; a millisecond is the least. The interval that the database was opened with counts, also where a commit
    /// asks for another; without one, that of the first commit that asks.
    Interval(Duration),
    /// Handed to the system before the commit returns.
    None,
    /// No log: each commit is a checkpoint. For databases that are written seldom and in large transactions.
    NoLog,
}
