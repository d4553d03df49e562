//! Spilling: a transaction larger than memory writes pages of its own to the file before it commits.
//!
//! They go to free pages, without a flush, and the references to them become references to the file. Nothing
//! durable and no snapshot reaches those pages before the commit, so a crash or a rollback leaves nothing
//! behind; and a spilled page that is changed again is copied into a frame, its place free at once.
//!
//! Invariants
//! 1. Only frames that this transaction made are spilled, and none that refers to a frame that stays.
//! 2. References below the given roots are the only ones to what is spilled.
//! 3. Each spill for want of memory frees about half of the transaction's frames, or puts the next one off: the walk over
//!    all of them is paid for by as many new ones.
//!
//! Not here: who calls it, which must be between two changes of the trees (`llmdb-btree`).

use crate::error::Error;
use crate::page::{PageNumber, Ref, seal, set_birth, set_reference};
use crate::rows::RowWriter;
use crate::snapshot::{Core, PageSource as _};
use crate::space::Run;
use crate::write_txn::WriteTxn;

/// So many frames, those changed last, stay where finished pages are spilled: the edge on which a transaction works.
const FRAMES_KEPT: usize = 64;

/// Above the pages of a root.
const NO_PARENT: u32 = u32::MAX;

/// A frame of the transaction, in the order of the trees: parents before children.
struct Own {
    index: u32,
    /// Its parent's place in the list, and where the reference stands in it; or the root's number.
    parent: u32,
    slot: u32,
    /// Levels of own frames below it.
    height: u8,
    /// Refers to a frame that stays in memory.
    is_tied: bool,
}

impl WriteTxn {
    /// Whether it holds so many pages in memory that it should [`WriteTxn::spill`].
    pub fn is_over_budget(&self) -> bool {
        self.own_frames() >= self.spill_at
    }

    /// Keeps all pages in memory, for recovery: until it ends a log may lead to pages that look free.
    pub fn hold_in_memory(&mut self) {
        self.spill_at = usize::MAX;
    }

    /// Whether a page may be read that is only good for a better shape: not where all stays in memory for recovery,
    /// which somebody waits for, and the page was never looked at, so that the device may have to be waited for.
    pub fn is_worth_reading(&self, at: Ref) -> bool {
        self.spill_at != usize::MAX || at.is_dirty() || self.core.verified.contains(at.number())
    }

    /// How often pages were spilled. Where it has changed, references to dirty pages that were kept aside
    /// lead elsewhere.
    pub fn spill_count(&self) -> u64 {
        self.spill_count
    }

    /// Writes about half of this transaction's pages below `roots` to free pages of the file, those first
    /// that were not changed for longest, and leaves in `roots` where they begin now. All references to
    /// pages of this transaction must stand below `roots`.
    ///
    /// # Errors
    /// [`Error::DiskFull`], after which the transaction is as before; an I/O error, which ends all writing.
    pub fn spill(&mut self, roots: &mut [Ref]) -> Result<(), Error> {
        self.spill_all_but(self.frame_limit() / 2, roots)
    }

    /// As [`WriteTxn::spill`], however few pages there are, but for those that were changed last: so that a transaction
    /// which the commit will write as a whole, and which leaves finished pages behind, is on its way to the device while
    /// it goes on.
    ///
    /// # Errors
    /// As [`WriteTxn::spill`].
    pub fn spill_finished(&mut self, roots: &mut [Ref]) -> Result<(), Error> {
        if self.may_write_ahead() { self.spill_all_but(FRAMES_KEPT, roots) } else { Ok(()) }
    }

    fn spill_all_but(&mut self, keep: usize, roots: &mut [Ref]) -> Result<(), Error> {
        let core = self.core.clone();
        let mut own = self.own_pages(roots)?;
        let limit = self.frame_limit();
        let chosen = choose(&mut own, keep, &self.writer_ref().touched);
        if !chosen.is_empty() {
            self.writer().reclaim_if_worth(&core)?;
            let before = self.writer_ref().space.page_count();
            let homes = self.writer().allocate_pages(&core, chosen.len() as u64)?;
            let written = self.widen_view().and_then(|()| {
                self.write_chosen(&core, &own, &chosen, &homes, roots).map_err(|error| core.poison(error))
            });
            if let Err(error) = written {
                self.put_back(&own, &chosen, roots);
                self.writer().give_back_pages(&core, &homes, before)?;
                return Err(error);
            }
            self.spare(chosen.iter().map(|place| own[*place as usize].index));
            for run in homes {
                (run.start.0..run.end()).for_each(|page| self.spilled.insert(PageNumber(page)));
            }
            self.spill_count += 1;
        }
        // What cannot be spilled must not make the next change look for it again.
        self.spill_at = limit.max(self.own_frames() + limit / 2);
        Ok(())
    }

    /// All frames of this transaction below `roots`.
    fn own_pages(&self, roots: &[Ref]) -> Result<Vec<Own>, Error> {
        let mut found: Vec<Own> = Vec::with_capacity(self.own_frames());
        let mut open: Vec<(Ref, u32, u32)> =
            (0..roots.len()).rev().map(|number| (roots[number], NO_PARENT, number as u32)).collect();
        while let Some((at, parent, slot)) = open.pop() {
            let Some(index) = at.frame_index() else { continue };
            if !self.is_mine(at) {
                if let Some(parent) = found.get_mut(parent as usize) {
                    parent.is_tied = true;
                }
                continue;
            }
            let page = self.page(at)?;
            let place = found.len() as u32;
            found.push(Own { index, parent, slot, height: 0, is_tied: false });
            let below = (0..page.ref_count()).rev().map(|slot| (page.reference(slot), place, slot as u32));
            open.extend(below.filter(|(below, ..)| below.is_dirty()));
        }
        for place in (0..found.len()).rev() {
            let (parent, height) = (found[place].parent, found[place].height);
            if let Some(parent) = found.get_mut(parent as usize) {
                parent.height = parent.height.max(height.saturating_add(1));
            }
        }
        Ok(found)
    }

    /// Writes the chosen pages and lets their parents refer to the file.
    fn write_chosen(
        &mut self,
        core: &Core,
        own: &[Own],
        chosen: &[u32],
        homes: &[Run],
        roots: &mut [Ref],
    ) -> Result<(), Error> {
        let commit = self.commit();
        let mut rows = RowWriter::new(core, chosen.len()).sent_early(self.sends_early());
        let numbers = homes.iter().flat_map(|run| run.start.0..run.end()).map(PageNumber);
        for (place, number) in chosen.iter().zip(numbers) {
            let page = &own[*place as usize];
            let bytes = rows.push(number, self.page(Ref::frame(page.index))?.bytes())?;
            set_birth(bytes, commit);
            seal(bytes, core.seed, number);
            self.refer(own, page, Ref::page(number, commit), roots);
        }
        rows.finish()?;
        Ok(())
    }

    /// Lets the parents refer to the frames again.
    fn put_back(&mut self, own: &[Own], chosen: &[u32], roots: &mut [Ref]) {
        for place in chosen {
            let page = &own[*place as usize];
            self.refer(own, page, Ref::frame(page.index), roots);
        }
    }

    fn refer(&mut self, own: &[Own], page: &Own, to: Ref, roots: &mut [Ref]) {
        match own.get(page.parent as usize) {
            Some(parent) => set_reference(self.frame_mut(parent.index), page.slot as usize, to),
            None => roots[page.slot as usize] = to,
        }
    }
}

/// Which pages go so that about `keep` stay: the lowest first, and of one height those that were not changed
/// for longest. In the order in which they are written.
fn choose(own: &mut [Own], keep: usize, touched: &[u32]) -> Vec<u32> {
    let mut chosen = Vec::new();
    let mut left = own.len().saturating_sub(keep);
    let top = own.iter().map(|page| page.height).max().unwrap_or(0);
    for height in 0..=top {
        let here = || (0..own.len() as u32).filter(|place| own[*place as usize].height == height);
        let mut free: Vec<u32> = here().filter(|place| !own[*place as usize].is_tied).collect();
        if free.len() > left {
            free.select_nth_unstable_by_key(left, |place| touched[own[*place as usize].index as usize]);
            free.truncate(left);
            free.sort_unstable();
        }
        let tied: Vec<u32> = here().filter(|place| free.binary_search(place).is_err()).collect();
        left -= free.len();
        chosen.append(&mut free);
        if left == 0 {
            break;
        }
        for place in tied {
            let parent = own[place as usize].parent;
            if let Some(parent) = own.get_mut(parent as usize) {
                parent.is_tied = true;
            }
        }
    }
    chosen
}
