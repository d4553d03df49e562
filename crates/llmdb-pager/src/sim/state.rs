//! What a simulated disk is made of, and the gate that every operation passes: number, power, faults.
//!
//! Invariants
//! 1. An operation gets its number, its fault and its trace entry in one step with its effect.
//! 2. Chance is drawn from `rng` only by operations, in their order.

use super::disk::{SimOptions, WriteWatch};
use super::fault::{Fault, FaultKind, When};
use super::inode::{BLOCK_SIZE, Inode, blocks_of};
use super::names::{InodeId, Names};
use super::rng::Rng;
use super::trace::{Op, SimStats, TraceEntry};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How an operation is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    /// The power goes during it: it has some part of its effect, and its result is not seen.
    Cut,
    Fault(FaultKind),
}

/// An operation as it was asked for.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) op: Op,
    pub(super) path: Arc<Path>,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) data: u64,
}

impl Call {
    pub(super) fn new(op: Op, path: impl Into<Arc<Path>>) -> Self {
        Self { op, path: path.into(), offset: 0, len: 0, data: 0 }
    }

    pub(super) fn at(self, offset: u64, len: u64) -> Self {
        Self { offset, len, ..self }
    }
}

/// The sectors of the last write, while it is not synced.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub(super) inode: InodeId,
    pub(super) sectors: Range<usize>,
}

pub(super) struct State {
    pub(super) options: SimOptions,
    pub(super) rng: Rng,
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    pub(super) names: Names,
    pub(super) locks: BTreeMap<PathBuf, String>,
    /// Files that handles have locked: how many for reading, or 0 where one has it for itself.
    pub(super) shares: BTreeMap<InodeId, u32>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) stats: SimStats,
    pub(super) trace: Vec<TraceEntry>,
    pub(super) watch: Option<WriteWatch>,
    pub(super) cut_at: Option<u64>,
    pub(super) shut_down: bool,
    faults: Vec<Fault>,
    /// The operation at which the power went.
    power_off: Option<u64>,
    sequence: u64,
    next_inode: u64,
}

impl State {
    pub(super) fn new(options: SimOptions) -> Self {
        Self {
            rng: Rng::new(options.seed),
            options,
            inodes: BTreeMap::new(),
            names: Names::default(),
            locks: BTreeMap::new(),
            shares: BTreeMap::new(),
            in_flight: None,
            stats: SimStats::default(),
            trace: Vec::new(),
            watch: None,
            cut_at: None,
            shut_down: false,
            faults: Vec::new(),
            power_off: None,
            sequence: 0,
            next_inode: 0,
        }
    }

    /// The files as they are, pending changes included, on a disk of its own: power on, no faults, no
    /// locks, no handles.
    pub(super) fn fork(&self) -> Self {
        let files = self.inodes.iter().filter(|(id, _)| self.names.may_reach(**id));
        Self {
            inodes: files.map(|(id, inode)| (*id, inode.fork())).collect(),
            names: self.names.clone(),
            in_flight: self.in_flight.clone(),
            shut_down: self.shut_down,
            sequence: self.sequence,
            next_inode: self.next_inode,
            ..Self::new(self.options)
        }
    }

    /// A disk that holds these files durably, with options like this one's.
    pub(super) fn image(&self, seed: u64, inodes: BTreeMap<InodeId, Inode>, names: Names) -> Self {
        let options = SimOptions { seed, ..self.options };
        Self { inodes, names, next_inode: self.next_inode, ..Self::new(options) }
    }

    /// Fails when the power is off, and only then.
    pub(super) fn powered(&self) -> io::Result<()> {
        match self.power_off {
            None => Ok(()),
            Some(op) => Err(io::Error::other(format!("the simulated power is off (cut at operation {op})"))),
        }
    }

    /// Passes one operation: `body` has its effect and gives its value and how many bytes it moved.
    pub(super) fn run<T>(
        &mut self,
        call: Call,
        body: impl FnOnce(&mut Self, Verdict) -> io::Result<(T, u64)>,
    ) -> io::Result<T> {
        self.powered()?;
        let index = self.trace.len() as u64;
        let verdict = self.judge(index, &call);
        let mut result = if self.shut_down { Err(eio()) } else { body(self, verdict) };
        if verdict == Verdict::Cut {
            self.power_off = Some(index);
            result = self.powered().and(result);
        }
        let outcome = result.as_ref().map(|(_, bytes)| *bytes).map_err(io::Error::kind);
        let Call { op, path, offset, len, data } = call;
        let entry = TraceEntry { op, path, offset, len, data, outcome };
        self.stats.count(&entry);
        self.trace.push(entry);
        result.map(|(value, _)| value)
    }

    fn judge(&mut self, index: u64, call: &Call) -> Verdict {
        if self.cut_at.is_some_and(|cut| index >= cut) {
            return Verdict::Cut;
        }
        let Self { faults, rng, .. } = self;
        let strikes = |fault: &Fault| {
            fault.fits(call.op, &call.path, call.len)
                && match fault.when {
                    When::At(at) => index == at,
                    When::NextFrom(from) | When::EachFrom(from) => index >= from,
                    When::OneIn(count) => rng.one_in(u64::from(count)),
                }
        };
        let Some(place) = faults.iter().position(strikes) else { return Verdict::Go };
        let kind = faults[place].kind;
        if let When::At(_) | When::NextFrom(_) = faults[place].when {
            faults.remove(place);
        }
        self.stats.faults += 1;
        Verdict::Fault(kind)
    }

    pub(super) fn inject(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// The place of a change in the order of all.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// A new file that has no name yet.
    pub(super) fn add_inode(&mut self, bytes: &[u8]) -> InodeId {
        let id = InodeId(self.next_inode);
        self.next_inode += 1;
        self.inodes.insert(id, Inode::new(self.options.file_capacity, bytes));
        id
    }

    /// Frees a file that no handle and no name, present or possible, leads to.
    pub(super) fn reap(&mut self, id: InodeId) {
        if self.inodes.get(&id).is_some_and(|inode| inode.open_count == 0) && !self.names.may_reach(id) {
            self.inodes.remove(&id);
        }
    }

    /// Frees all such files.
    pub(super) fn reap_all(&mut self) {
        let Self { inodes, names, .. } = self;
        inodes.retain(|id, inode| inode.open_count > 0 || names.may_reach(*id));
    }

    /// How many bytes of a range the file's capacity and the disk have space for, from its start on.
    pub(super) fn fitting(&self, id: InodeId, offset: u64, len: u64) -> usize {
        let Some(inode) = self.inodes.get(&id) else { return 0 };
        let capacity = inode.capacity();
        let start = usize::try_from(offset).unwrap_or(capacity).min(capacity);
        let end = usize::try_from(offset.saturating_add(len)).unwrap_or(capacity).min(capacity);
        let Some(total) = self.options.disk_capacity else { return end - start };
        let used: usize = self.names.current().values().map(|id| self.inodes[id].blocks().count()).sum();
        let mut free = (total / BLOCK_SIZE as u64).saturating_sub(used as u64);
        for block in blocks_of(start..end) {
            if !inode.blocks().has(block) {
                if free == 0 {
                    return (block * BLOCK_SIZE).saturating_sub(start);
                }
                free -= 1;
            }
        }
        end - start
    }
}

pub(super) fn eio() -> io::Error {
    Errno::IO.into()
}

pub(super) fn enospc() -> io::Error {
    Errno::NOSPC.into()
}
