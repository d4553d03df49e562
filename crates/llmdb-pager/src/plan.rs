//! What a checkpoint writes, decided before its first write, and how it is written.
//!
//! Invariants
//! 1. Each page is copied once, from its frame into the row that is written.
//! 2. Both copies of the meta are written, one after the other, each flushed: either may rot afterwards.
//!
//! Not here: how it is decided (`checkpoint`), and when it is written (`checkpoint`, `background`).

use crate::error::Error;
use crate::meta::{META_OFFSETS, Meta};
use crate::page::{Page, PageNumber, Ref, seal, set_reference};
use crate::rows::{RowWriter, Written};
use crate::snapshot::Core;
use crate::space::{Layout, Run, SpacePage};
use crate::storage::write_all_at;
use std::collections::BTreeSet;

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// Pages written, the allocation map's included.
    pub pages_written: u64,
    /// Bytes written, the metas' included.
    pub bytes_written: u64,
    /// Write calls.
    pub writes: u64,
}

impl CheckpointReport {
    pub(crate) fn add(&mut self, written: Written) {
        self.pages_written += written.pages;
        self.bytes_written += written.bytes;
        self.writes += written.writes;
    }
}

/// Everything decided before the first write.
pub(crate) struct Plan {
    /// The new state's top page in the file.
    pub(crate) root: Ref,
    /// The dirty pages, and where they go: in this order.
    pub(crate) frames: Vec<u32>,
    pub(crate) homes: Vec<Run>,
    pub(crate) map: Option<MapPlan>,
}

/// The allocation map's part of a plan.
pub(crate) struct MapPlan {
    pub(crate) pages: Vec<SpacePage>,
    pub(crate) layout: Layout,
    pub(crate) root: Ref,
    /// Where the parts that are written anew stood.
    pub(crate) old: BTreeSet<Run>,
}

impl Plan {
    /// The frames, and the pages where they go.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (u32, PageNumber)> {
        self.frames.iter().copied().zip(numbers(&self.homes))
    }

    /// How many pages are written.
    pub(crate) fn page_count(&self) -> usize {
        self.frames.len() + self.map.as_ref().map_or(0, |map| map.pages.len())
    }

    pub(crate) fn map(&self) -> &MapPlan {
        self.map.as_ref().expect("planned with the map")
    }

    /// How the allocation map will stand.
    pub(crate) fn layout(&self) -> &Layout {
        &self.map().layout
    }

    /// Where the parts of the map stood that are written anew.
    pub(crate) fn old_map(&self) -> &BTreeSet<Run> {
        &self.map().old
    }

    /// Adds a frame's page as it will stand in the file; `home` says where a page in a frame will stand.
    pub(crate) fn render(
        &self,
        core: &Core,
        page: Page<'_>,
        number: PageNumber,
        rows: &mut RowWriter<'_>,
        home: &dyn Fn(Ref) -> Option<Ref>,
    ) -> Result<(), Error> {
        let bytes = rows.push(number, page.bytes())?;
        for slot in 0..page.ref_count() {
            let below = page.reference(slot);
            if let Some(index) = below.frame_index() {
                set_reference(bytes, slot, home(below).ok_or_else(|| not_planned(index))?);
            }
        }
        seal(bytes, core.seed, number);
        Ok(())
    }

    /// Adds the allocation map's pages and writes what is left.
    pub(crate) fn write_map(&self, mut rows: RowWriter<'_>) -> Result<Written, Error> {
        for page in self.map.as_ref().map_or(&[][..], |map| &map.pages) {
            rows.push(page.run.start, &page.bytes)?;
        }
        rows.finish()
    }
}

pub(crate) fn not_planned(index: u32) -> Error {
    Error::damaged(PageNumber(0), "a dirty page was not planned", 0, u64::from(index))
}

/// Writes both copies of the meta, first the one that is not the newest, which stands in `newest`.
pub(crate) fn write_meta(
    core: &Core,
    newest: usize,
    meta: &Meta,
    report: &mut CheckpointReport,
) -> Result<(), Error> {
    let bytes = meta.encode();
    for slot in [1 - newest, newest] {
        write_all_at(&*core.file, &bytes, META_OFFSETS[slot])
            .map_err(|e| Error::io(core.doing("writing the meta page of"), e))?;
        report.bytes_written += bytes.len() as u64;
        report.writes += 1;
        core.flush()?;
    }
    Ok(())
}

/// The pages of runs, one after the other.
pub(crate) fn numbers(runs: &[Run]) -> impl Iterator<Item = PageNumber> {
    runs.iter().flat_map(|run| (run.start.0..run.end()).map(PageNumber))
}
