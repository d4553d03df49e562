//! Giving memory of frames back to the system.
//!
//! Invariants
//! 1. Only memory goes back in which no frame is published (`raw`).
//!
//! Not here: when frames are free (`writer`); giving room in the file back (`trim`).

use crate::raw::SLAB_FRAMES;
use crate::snapshot::Core;
use crate::writer::Writer;

/// Memory for fewer free frames than this is kept for the next transactions.
const KEPT_FRAMES_MIN: usize = 1024;

impl Writer {
    /// Gives memory back where most frames are free, after a checkpoint for one: a quarter of it is kept for
    /// the next transactions. They were so at the last look too: who fills memory, writes it out and fills it
    /// again shall not have to take it anew each time.
    pub(crate) fn trim(&mut self, core: &Core) {
        let now = self.frame_count as usize - self.free_frames.len();
        let used = std::mem::replace(&mut self.used_peak, now);
        let kept = (self.resident / 4).max(KEPT_FRAMES_MIN);
        // A look that left free frames beside pinned ones is not worth another before many more are free.
        let fresh = self.free_frames.len().saturating_sub(self.free_at_trim);
        if self.resident <= kept || used > self.resident / 4 || fresh < KEPT_FRAMES_MIN {
            return;
        }
        // The lowest are taken first, so that the highest slabs fall free.
        self.free_frames.sort_unstable_by_key(|index| std::cmp::Reverse(*index));
        let slabs = (self.frame_count as usize).div_ceil(SLAB_FRAMES);
        let mut free = vec![0; slabs];
        self.free_frames.iter().for_each(|index| free[*index as usize / SLAB_FRAMES] += 1);
        for number in (0..slabs).rev() {
            let frames = SLAB_FRAMES.min(self.frame_count as usize - number * SLAB_FRAMES);
            if self.resident <= kept {
                break;
            }
            if free[number] == frames && core.pool.release(&mut self.key, number) {
                self.resident -= SLAB_FRAMES;
            }
        }
        self.free_at_trim = self.free_frames.len();
    }
}
