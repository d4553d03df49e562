//! An open file of the simulated disk: how its operations go, fail and are cut.

use super::disk::SimDisk;
use super::fault::{FaultKind, SyncFailure};
use super::inode::{BLOCK_SIZE, Fate, Inode, sectors_of};
use super::names::InodeId;
use super::state::{Call, InFlight, State, Verdict, eio, enospc};
use super::trace::Op;
use crate::storage::{File, Map, Share, write_all_at};
use rustix::io::Errno;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// A handle; the file lives while it is open, whatever becomes of its name.
#[derive(Debug)]
pub(super) struct SimFile {
    disk: SimDisk,
    inode: InodeId,
    path: Arc<Path>,
    writable: bool,
    /// Whether this handle has locked the file.
    locked: AtomicBool,
}

impl SimFile {
    /// A handle that was counted in the inode already.
    pub(super) fn new(disk: SimDisk, inode: InodeId, path: Arc<Path>, writable: bool) -> Self {
        Self { disk, inode, path, writable, locked: AtomicBool::new(false) }
    }

    fn call(&self, op: Op) -> Call {
        Call::new(op, Arc::clone(&self.path))
    }

    fn writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(Errno::BADF.into()) }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if self.locked.load(Ordering::Relaxed) {
            state.unshare(self.inode);
        }
        state.file(self.inode).open_count -= 1;
        state.reap(self.inode);
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.powered()?;
        Ok(state.file(self.inode).len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let call = self.call(Op::Read).at(offset, buf.len() as u64);
        self.disk.state().run(call, |state, verdict| state.read(self.inode, buf, offset, verdict))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.writable()?;
        self.disk.tell_watch(&self.path, offset, buf)?;
        let call = Call { data: xxh3_64(buf), ..self.call(Op::Write).at(offset, buf.len() as u64) };
        self.disk.state().run(call, |state, verdict| state.write(self.inode, buf, offset, verdict))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk
            .state()
            .run(self.call(Op::Sync), |state, verdict| Ok((state.sync(self.inode, None, verdict)?, 0)))
    }

    fn write_durable_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        write_all_at(self, buf, offset)?;
        let range = offset as usize..offset as usize + buf.len();
        self.disk
            .state()
            .run(self.call(Op::Sync), |state, verdict| Ok((state.sync(self.inode, Some(range), verdict)?, 0)))
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.writable()?;
        let call = self.call(Op::Allocate).at(offset, len);
        self.disk
            .state()
            .run(call, |state, verdict| Ok((state.allocate(self.inode, offset, len, verdict)?, 0)))
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.writable()?;
        let call = self.call(Op::Punch).at(offset, len);
        self.disk.state().run(call, |state, verdict| Ok((state.punch(self.inode, offset, len, verdict)?, 0)))
    }

    fn holes(&self, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let mut state = self.disk.state();
        state.powered()?;
        Ok(state.file(self.inode).holes(range))
    }

    fn allocated(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.powered()?;
        Ok((state.file(self.inode).blocks().count() * BLOCK_SIZE) as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        let call = self.call(Op::SetLen).at(0, len);
        self.disk.state().run(call, |state, verdict| Ok((state.set_len(self.inode, len, verdict)?, 0)))
    }

    fn lock(&self, share: Share) -> io::Result<bool> {
        let mut state = self.disk.state();
        state.powered()?;
        let taken = state.share(self.inode, share);
        self.locked.fetch_or(taken, Ordering::Relaxed);
        Ok(taken)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        let call = self.call(Op::Map).at(0, len);
        self.disk.state().run(call, |state, verdict| Ok((state.map(self.inode, len, verdict)?, 0)))
    }
}

impl State {
    /// The file behind a handle; it cannot be gone, as `reap` spares open files.
    pub(super) fn file(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).expect("an open file is kept")
    }

    fn read(
        &mut self,
        id: InodeId,
        buf: &mut [u8],
        offset: u64,
        verdict: Verdict,
    ) -> io::Result<(usize, u64)> {
        let len = self.file(id).len();
        let start = usize::try_from(offset).unwrap_or(len).min(len);
        let mut size = buf.len().min(len - start);
        match verdict {
            Verdict::Go => {}
            Verdict::Fault(FaultKind::ShortRead) => size = self.some_of(size),
            Verdict::Fault(FaultKind::Interrupted) => return Err(Errno::INTR.into()),
            Verdict::Fault(_) | Verdict::Cut => return Err(eio()),
        }
        buf[..size].copy_from_slice(&self.file(id).bytes()[start..start + size]);
        Ok((size, size as u64))
    }

    fn write(&mut self, id: InodeId, buf: &[u8], offset: u64, verdict: Verdict) -> io::Result<(usize, u64)> {
        let mut size = self.fitting(id, offset, buf.len() as u64);
        let mut fate = Fate::Kept;
        let mut failure = None;
        match verdict {
            Verdict::Fault(FaultKind::Interrupted) => return Err(Errno::INTR.into()),
            Verdict::Fault(FaultKind::NoSpace) => return Err(enospc()),
            _ if size == 0 && !buf.is_empty() => return Err(enospc()),
            Verdict::Go => {}
            Verdict::Fault(FaultKind::ShortWrite) => size = self.some_of(size),
            Verdict::Fault(FaultKind::LostWrite) => fate = Fate::Lost,
            Verdict::Fault(FaultKind::MisdirectedWrite) => fate = self.elsewhere(id, offset as usize, size),
            Verdict::Fault(_) | Verdict::Cut => {
                size = self.rng.below(size as u64 + 1) as usize;
                failure = Some(eio());
            }
        }
        if size > 0 {
            let offset = offset as usize;
            let sequence = self.next_sequence();
            self.file(id).write(offset, &buf[..size], fate, sequence);
            self.in_flight = Some(InFlight { inode: id, sectors: sectors_of(offset..offset + size) });
        }
        failure.map_or(Ok((size, size as u64)), Err)
    }

    /// Between one byte and all but one.
    fn some_of(&mut self, size: usize) -> usize {
        if size < 2 { size } else { 1 + self.rng.below(size as u64 - 1) as usize }
    }

    /// Another block of the file for a write to end up in; lost if there is none.
    fn elsewhere(&mut self, id: InodeId, offset: usize, size: usize) -> Fate {
        let len = self.file(id).len().max(offset + size);
        let others = len.div_ceil(BLOCK_SIZE) as u64 - 1;
        let own = offset / BLOCK_SIZE;
        let block = self.rng.below(others) as usize;
        let target = (block + usize::from(block >= own)) * BLOCK_SIZE + offset % BLOCK_SIZE;
        if others > 0 && target < len { Fate::Misdirected(target) } else { Fate::Lost }
    }

    /// Makes the whole file durable, or only a range.
    fn sync(&mut self, id: InodeId, range: Option<Range<usize>>, verdict: Verdict) -> io::Result<()> {
        let failure = match verdict {
            Verdict::Go => {
                match range {
                    None => self.file(id).sync(),
                    Some(range) => self.file(id).sync_range(range),
                }
                None
            }
            Verdict::Cut => return Err(eio()),
            Verdict::Fault(FaultKind::SyncFails(SyncFailure::Shutdown)) => {
                self.shut_down = true;
                return Err(eio());
            }
            Verdict::Fault(FaultKind::SyncFails(SyncFailure::Reverts)) => {
                self.file(id).revert();
                Some(eio())
            }
            Verdict::Fault(kind) => {
                let Self { inodes, rng, .. } = self;
                if let Some(inode) = inodes.get_mut(&id) {
                    inode.sync_forgets(rng);
                }
                Some(if kind == FaultKind::NoSpace { enospc() } else { eio() })
            }
        };
        self.in_flight.take_if(|write| write.inode == id);
        failure.map_or(Ok(()), Err)
    }

    fn allocate(&mut self, id: InodeId, offset: u64, len: u64, verdict: Verdict) -> io::Result<()> {
        if len == 0 {
            return Err(Errno::INVAL.into());
        }
        let mut size = self.fitting(id, offset, len);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let sequence = self.next_sequence();
        let failure = match verdict {
            Verdict::Go if size as u64 == len => None,
            Verdict::Go | Verdict::Fault(FaultKind::NoSpace) => Some(enospc()),
            Verdict::Fault(_) | Verdict::Cut => Some(eio()),
        };
        match failure {
            None => self.file(id).allocate(start..start + size, sequence),
            Some(_) => {
                size = self.rng.below(size as u64 + 1) as usize;
                if size > 0 {
                    self.file(id).allocate_in_vain(start + size, sequence);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// A hole that a failure or a cut leaves is some part of it, in whole blocks.
    fn punch(&mut self, id: InodeId, offset: u64, len: u64, verdict: Verdict) -> io::Result<()> {
        let end = offset.saturating_add(len).min(self.file(id).len() as u64) as usize;
        let start = (offset as usize).min(end);
        let blocks = start.div_ceil(BLOCK_SIZE)..(end / BLOCK_SIZE).max(start.div_ceil(BLOCK_SIZE));
        let count = match verdict {
            Verdict::Go => blocks.len(),
            Verdict::Fault(_) | Verdict::Cut => self.rng.below(blocks.len() as u64 + 1) as usize,
        };
        let sequence = self.next_sequence();
        self.file(id).punch(blocks.start..blocks.start + count, sequence);
        if verdict == Verdict::Go { Ok(()) } else { Err(eio()) }
    }

    fn set_len(&mut self, id: InodeId, len: u64, verdict: Verdict) -> io::Result<()> {
        let done = match verdict {
            Verdict::Go => true,
            Verdict::Cut => self.rng.coin(),
            Verdict::Fault(_) => false,
        };
        let capacity = self.file(id).capacity();
        let len = usize::try_from(len).ok().filter(|&len| len <= capacity).ok_or_else(enospc)?;
        if done {
            let sequence = self.next_sequence();
            self.file(id).set_len(len, sequence);
        }
        if verdict == Verdict::Go { Ok(()) } else { Err(eio()) }
    }

    fn map(&mut self, id: InodeId, len: u64, verdict: Verdict) -> io::Result<Map> {
        let room = self.options.map_limit.is_none_or(|limit| len <= limit);
        match usize::try_from(len) {
            Ok(len) if room && verdict == Verdict::Go => Ok(self.file(id).map(len)),
            _ => Err(Errno::NOMEM.into()),
        }
    }
}
