//! Readers that hold what newer commits have replaced: who is told of them, and how they end.
//!
//! Invariants
//! 1. An ended snapshot answers every further read with an error. What was borrowed from it before stays as
//!    it is: its pages are used again only when it is dropped.
//!
//! Not here: how old a state is (`aging`), which pages wait for whom (`writer`).

use crate::aging::OldReader;
use crate::readers::Owner as _;
use crate::snapshot::{Core, State};
use std::time::Instant;

fn old(state: &State) -> Option<OldReader> {
    state.aging.age().map(|age| OldReader { commit: state.commit, age })
}

/// Tells of the oldest reader where it is slow, and ends those that are over the limit. The writer calls it
/// when it looks for pages to use again; `told` is when it last told.
pub(crate) fn look(core: &Core, told: &mut Option<Instant>) {
    let rules = &core.reader_rules;
    if rules.tell.is_none() && rules.limit.is_none() {
        return;
    }
    if let Some(limit) = rules.limit {
        core.readers().held(|state| {
            if state.aging.age().is_some_and(|age| age > limit) {
                state.aging.end();
            }
        });
    }
    if let Some((after, tell)) = &rules.tell
        && told.is_none_or(|told| told.elapsed() >= *after)
        && let Some(oldest) = oldest(core)
        && oldest.age >= *after
    {
        *told = Some(Instant::now());
        tell(oldest);
    }
}

/// The oldest snapshot that is held though a newer commit has taken its place.
pub(crate) fn oldest(core: &Core) -> Option<OldReader> {
    core.readers().held(old).into_iter().flatten().next()
}
