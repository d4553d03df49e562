//! One fault at every operation of a fixed history, in turn; then what a killed process, or a power cut,
//! leaves is opened again. Oracle: nothing that was acknowledged is missing, nothing half done is there, a
//! failed write or flush ends all writing until the store is opened anew.
//!
//! The oracle itself is tested: storage that skips a flush must be found out.

#[path = "support/history.rs"]
mod history;
#[path = "support/layout.rs"]
mod layout;

use history::{Model, Rng, change, small, state_of};
use llmdb_pager::Error as PagerError;
use llmdb_pager::sim::{
    CrashPolicy, Fault, FaultKind, Op, SimDisk, SimOptions, SyncFailure, TraceEntry, When,
};
use llmdb_pager::storage::{File, Lock, LockError, Map, OpenMode, Storage};
use llmdb_wal::{Error, Store, StoreOptions};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const DB: &str = "/s.llmdb";
const LOG: &str = "/s.llmdb-wal";
const BALLAST: &str = "/ballast";
const COMMITS: usize = 28;

fn options(storage: Arc<dyn Storage>) -> StoreOptions {
    small(StoreOptions::new().storage(storage))
}

fn fresh_disk(seed: u64) -> SimDisk {
    SimDisk::with_options(SimOptions { seed, file_capacity: 2 << 20, ..SimOptions::default() })
}

/// What a history did.
struct Run {
    /// The state after each commit that was tried; index 0 is the empty database.
    states: Vec<Model>,
    acknowledged: usize,
    /// The first error, if one ended the history, and the store that gave it, if there was one.
    error: Option<Error>,
    store: Option<Store>,
    /// Full disks that the history lived through.
    full: usize,
    /// A disk with a file on it that is removed when the disk is full.
    ballast: Option<SimDisk>,
}

impl Run {
    fn made_room(&mut self) {
        self.full += 1;
        if let Some(disk) = &self.ballast {
            disk.remove_file(BALLAST);
        }
    }
}

fn is_full(error: &Error) -> bool {
    matches!(error.pager(), Some(PagerError::DiskFull { .. }))
}

/// Runs a history to its end or the first error; a full disk is tried again, as its message says.
fn run(storage: Arc<dyn Storage>, seed: u64) -> Run {
    run_with(storage, seed, None)
}

fn run_with(storage: Arc<dyn Storage>, seed: u64, ballast: Option<SimDisk>) -> Run {
    let states = vec![Model::new()];
    let mut run = Run { states, acknowledged: 0, error: None, store: None, full: 0, ballast };
    let mut rng = Rng(seed);
    if let Err(error) = try_run(&storage, &mut rng, &mut run) {
        run.error = Some(error);
    }
    run
}

fn try_run(storage: &Arc<dyn Storage>, rng: &mut Rng, run: &mut Run) -> Result<(), Error> {
    let open = |run: &mut Run| match options(storage.clone()).open(DB) {
        Err(error) if is_full(&error) => {
            run.made_room();
            options(storage.clone()).open(DB)
        }
        other => other,
    };
    run.store = Some(open(run)?);
    for round in 0..COMMITS {
        let store = run.store.clone().expect("opened above");
        if round % 9 == 5 {
            retry_full(run, || store.checkpoint())?;
        } else if round % 9 == 8 {
            let closed = store.close();
            match closed {
                Err(error) if is_full(&error) => run.made_room(),
                other => other?,
            }
            run.store = None;
            run.store = Some(open(run)?);
        } else {
            drop(store);
        }
        commit_one(run, rng)?;
    }
    run.store.take().expect("opened above").close()
}

fn retry_full(run: &mut Run, mut attempt: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    match attempt() {
        Err(error) if is_full(&error) => {
            run.made_room();
            attempt()
        }
        other => other,
    }
}

fn commit_one(run: &mut Run, rng: &mut Rng) -> Result<(), Error> {
    let store = run.store.clone().expect("the caller opened it");
    let before = rng.0;
    for attempt in 0.. {
        rng.0 = before;
        let mut model = run.states.last().expect("never empty").clone();
        let changed = change(&store, rng, &mut model);
        if let Err(error) = &changed
            && is_full(error)
            && attempt == 0
        {
            run.made_room();
            continue;
        }
        let txn = changed?;
        run.states.push(model);
        match txn.commit() {
            Ok(receipt) => {
                assert_eq!(receipt.seq as usize, run.states.len() - 1, "numbers are dense");
                run.acknowledged = receipt.seq as usize;
                return Ok(());
            }
            Err(error) if is_full(&error) && attempt == 0 => {
                run.states.pop();
                run.made_room();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is wrong with the store that opens from a disk; the number of its newest commit where nothing is.
fn judge(image: &SimDisk, run: &Run) -> Result<usize, String> {
    judge_at_least(image, run, run.acknowledged)
}

fn judge_at_least(image: &SimDisk, run: &Run, at_least: usize) -> Result<usize, String> {
    let store = match options(Arc::new(image.clone())).create(false).open(DB) {
        Ok(store) => store,
        Err(error) if at_least == 0 && matches!(error.pager(), Some(PagerError::NotFound { .. })) => {
            return Ok(0);
        }
        Err(error) => return Err(format!("does not open: {error}")),
    };
    let (seq, state) = state_of(&store).map_err(|error| format!("cannot be read: {error}"))?;
    if seq < at_least || seq >= run.states.len() {
        return Err(format!(
            "commit {at_least} must be there, {} were tried; {seq} are",
            run.states.len() - 1
        ));
    }
    if state != run.states[seq] {
        return Err(format!("the state is not the one after commit {seq}"));
    }
    let report = store.check(&mut |_, _| {}).map_err(|error| format!("check: {error}"))?;
    if !report.is_sound() {
        return Err(format!("{report:?}"));
    }
    Ok(seq)
}

/// Looks at what a killed process and two power cuts leave, and at a power cut after the next process.
fn judge_images(disk: &SimDisk, run: &Run, label: &str) {
    let said = |verdict: Result<usize, String>, which: &str| {
        verdict.unwrap_or_else(|what| panic!("{label}, {which}: {what}; the run ended with {:?}", run.error))
    };
    for seed in 0..3 {
        said(judge(&disk.crash_image(seed), run), &format!("power cut {seed}"));
    }
    if is_down(disk) {
        return;
    }
    let next = disk.kill_image();
    let served = said(judge(&next, run), "killed");
    for policy in [CrashPolicy::Nothing, CrashPolicy::Random] {
        let after = next.crash_image_by(policy, served as u64);
        said(judge_at_least(&after, run, served), &format!("killed, opened, then cut ({policy:?})"));
    }
}

/// Whether the file system has shut down.
fn is_down(disk: &SimDisk) -> bool {
    let probe = disk.kill_image();
    probe.write_file("/probe", b"");
    probe.open(Path::new("/probe"), OpenMode::Read).is_err()
}

/// The operations of a run without faults.
fn clean_trace(seed: u64) -> Vec<TraceEntry> {
    let disk = fresh_disk(seed);
    let run = run(Arc::new(disk.clone()), seed);
    assert!(run.error.is_none() && run.acknowledged == COMMITS, "{:?}", run.error);
    disk.trace()
}

/// Runs the history once for each operation of the given kinds, with the fault there.
fn at_each(
    seed: u64,
    kind: FaultKind,
    ops: &[Op],
    mut look: impl FnMut(&SimDisk, Run, usize, &TraceEntry),
) -> usize {
    let places: Vec<usize> = clean_trace(seed)
        .iter()
        .enumerate()
        .filter(|(_, entry)| {
            ops.contains(&entry.op) && (entry.len > 1 || !matches!(entry.op, Op::Read | Op::Write))
        })
        .map(|(index, _)| index)
        .collect();
    for &place in &places {
        let disk = fresh_disk(seed);
        disk.inject(Fault::new(kind, When::At(place as u64)));
        let run = run(Arc::new(disk.clone()), seed);
        assert_eq!(disk.stats().faults, 1, "{kind:?} at {place}: the run reaches it");
        let struck = disk.trace()[place].clone();
        look(&disk, run, place, &struck);
    }
    places.len()
}

/// After an error: reads see what was acknowledged, and writing either is refused or works as before.
/// Answers whether it is refused.
fn look_at_survivor(run: &mut Run, is_down: bool, label: &str) -> bool {
    let Some(store) = run.store.clone() else { return true };
    if let Ok((seq, state)) = state_of(&store) {
        assert!((run.acknowledged..run.states.len()).contains(&seq), "{label}: {seq} is seen");
        assert_eq!(state, run.states[seq], "{label}");
    } else {
        let closed = matches!(store.begin_read(), Err(Error::Closed));
        assert!(closed, "{label}: reads go on after a failed write");
        return true;
    }
    match store.begin_write() {
        Err(error) => {
            assert!(matches!(error.pager(), Some(PagerError::Poisoned { .. })), "{label}: {error}");
            assert!(matches!(store.checkpoint().unwrap_err().pager(), Some(PagerError::Poisoned { .. })));
            true
        }
        Ok(mut txn) => {
            let mut model = run.states[run.acknowledged].clone();
            run.states.truncate(run.acknowledged + 1);
            let tree = txn.create_tree("after").unwrap();
            txn.insert(tree, b"k", b"v").unwrap();
            model.entry("after".into()).or_default().insert(b"k".to_vec(), b"v".to_vec());
            run.states.push(model);
            match txn.commit() {
                Ok(receipt) => {
                    run.acknowledged += 1;
                    assert_eq!(receipt.seq as usize, run.acknowledged, "{label}");
                }
                Err(error) => assert!(is_down, "{label}: it let a transaction begin: {error}"),
            }
            false
        }
    }
}

/// Whether a failed operation is one after which the file's content is unknown: a write or flush of the
/// data file, or of a log that is in use (its making is not: a failed one is made anew).
fn must_poison(trace: &[TraceEntry], place: usize) -> bool {
    let entry = &trace[place];
    let made_just_now = trace[place.saturating_sub(4)..place].iter().any(|before| before.op == Op::Create);
    matches!(entry.op, Op::Write | Op::Sync)
        && (*entry.path == *Path::new(DB) || *entry.path == *Path::new(LOG) && !made_just_now)
}

fn each_failure_is_survived(kind: FaultKind, ops: &[Op], seed: u64) {
    let (mut count, mut refused, mut had_to) = (0, 0, 0);
    for seed in (0..3).map(|round| seed + round * 100) {
        count += each_failure(kind, ops, seed, &mut refused, &mut had_to);
    }
    println!("{kind:?}: {count} operations, {refused} ended writing ({had_to} had to)");
    assert!(count > 60 && had_to > 0, "{count} {refused} {had_to}");
}

fn each_failure(kind: FaultKind, ops: &[Op], seed: u64, refused: &mut usize, had_to: &mut usize) -> usize {
    at_each(seed, kind, ops, |disk, mut run, place, struck| {
        let label =
            format!("seed {seed}, {kind:?} at {place} ({:?} of {})", struck.op, struck.path.display());
        disk.clear_faults();
        if run.error.is_some() {
            let is_refused = look_at_survivor(&mut run, is_down(disk), &label);
            *refused += usize::from(is_refused);
            if must_poison(&disk.trace(), place) && run.store.is_some() {
                *had_to += 1;
                assert!(is_refused, "{label}: writing goes on");
            }
        }
        judge_images(disk, &run, &label);
    })
}

#[test]
fn failure_of_any_operation_loses_nothing_acknowledged() {
    let all = [
        Op::Open,
        Op::Create,
        Op::Rename,
        Op::Remove,
        Op::SyncDir,
        Op::Lock,
        Op::Read,
        Op::Write,
        Op::Sync,
        Op::Allocate,
        Op::SetLen,
        Op::Map,
    ];
    each_failure_is_survived(FaultKind::Fails, &all, 1);
}

#[test]
fn flushes_that_forget_lose_nothing_acknowledged() {
    each_failure_is_survived(FaultKind::SyncFails(SyncFailure::Forgets), &[Op::Sync], 2);
}

#[test]
fn flushes_that_revert_lose_nothing_acknowledged() {
    each_failure_is_survived(FaultKind::SyncFails(SyncFailure::Reverts), &[Op::Sync], 3);
}

#[test]
fn flushes_that_shut_the_file_system_down_lose_nothing_acknowledged() {
    each_failure_is_survived(FaultKind::SyncFails(SyncFailure::Shutdown), &[Op::Sync], 4);
}

#[test]
fn full_disk_at_a_write_or_flush_loses_nothing_acknowledged() {
    each_failure_is_survived(FaultKind::NoSpace, &[Op::Write, Op::Sync], 5);
}

#[test]
fn full_disk_at_a_reservation_ends_nothing() {
    let mut lived_through = 0;
    let count = at_each(6, FaultKind::NoSpace, &[Op::Allocate], |disk, run, place, struck| {
        let label = format!("full at {place} ({})", struck.path.display());
        assert!(run.error.is_none(), "{label}: {:?}", run.error);
        assert_eq!(run.acknowledged, COMMITS, "{label}");
        lived_through += run.full;
        judge_images(disk, &run, &label);
    });
    println!("full disk: {count} reservations, {lived_through} reached the caller");
    assert!(count > 3 && lived_through > 0);
}

#[test]
fn a_disk_that_is_really_full_is_survived_when_there_is_room_again() {
    let mut lived_through = 0;
    for ballast in (0..24).map(|step| step * 8192) {
        let sim =
            SimOptions { file_capacity: 2 << 20, disk_capacity: Some(700 << 10), ..SimOptions::default() };
        let disk = SimDisk::with_options(sim);
        disk.write_file(BALLAST, vec![1; 330 << 10]);
        disk.write_file("/more", vec![1; ballast]);
        let run = run_with(Arc::new(disk.clone()), 12, Some(disk.clone()));
        assert!(run.error.is_none(), "{ballast}: {:?}", run.error);
        assert_eq!(judge(&disk.crash_image(1), &run), Ok(COMMITS), "{ballast}");
        lived_through += usize::from(run.full > 0);
    }
    println!("{lived_through} of 24 histories met a full disk");
    assert!(lived_through > 5, "{lived_through}");
}

#[test]
fn short_and_interrupted_calls_are_no_errors() {
    for (kind, ops) in [(FaultKind::ShortWrite, Op::Write), (FaultKind::ShortRead, Op::Read)] {
        let count = at_each(7, kind, &[ops], |disk, run, place, _| {
            assert!(run.error.is_none(), "{kind:?} at {place}: {:?}", run.error);
            assert_eq!(judge(&disk.crash_image(1), &run), Ok(COMMITS), "{kind:?} at {place}");
        });
        assert!(count > 10, "{kind:?}: {count}");
    }
    let mut struck = 0;
    for seed in 0..12 {
        let disk = fresh_disk(seed);
        disk.inject(Fault::new(FaultKind::Interrupted, When::OneIn(16)));
        disk.inject(Fault::new(FaultKind::ShortWrite, When::OneIn(8)));
        disk.inject(Fault::new(FaultKind::ShortRead, When::OneIn(8)));
        let run = run(Arc::new(disk.clone()), seed);
        assert!(run.error.is_none(), "seed {seed}: {:?}", run.error);
        struck += disk.stats().faults;
        disk.clear_faults();
        assert_eq!(judge(&disk.crash_image(seed), &run), Ok(COMMITS), "seed {seed}");
    }
    assert!(struck > 100, "{struck}");
}

/// Whether any write to the log came after `place` and before the log's file was replaced.
fn log_went_on(trace: &[TraceEntry], place: usize) -> bool {
    trace[place + 1..]
        .iter()
        .find(|entry| {
            *entry.path == *Path::new(LOG) && matches!(entry.op, Op::Write | Op::Create | Op::Remove)
        })
        .is_some()
}

/// A device that loses or misplaces one write and says nothing. Opening or reading says so, or every value
/// is right; only the log's very last record may vanish (no later one proves that it was).
fn silent_device_faults_show(kind: FaultKind, seed: u64) {
    let (mut found, mut harmless, mut at_the_end) = (0, 0, 0);
    let mut look = |disk: &SimDisk, run: &Run, place: usize| {
        let image = disk.crash_image_by(CrashPolicy::Everything, 1);
        let struck = disk.trace()[place].clone();
        let label = format!(
            "{kind:?} at {place} ({} bytes at {} of {})",
            struck.len,
            struck.offset,
            struck.path.display()
        );
        let is_last_record = *struck.path == *Path::new(LOG) && !log_went_on(&disk.trace(), place);
        let store = match options(Arc::new(image)).create(false).open(DB) {
            Ok(store) => store,
            Err(error) => {
                let code = error.code();
                if code == "LLMDB-P01" && run.acknowledged == 0 {
                    return;
                }
                assert!(
                    ["LLMDB-P04", "LLMDB-P07", "LLMDB-P08", "LLMDB-L01", "LLMDB-L02"].contains(&code),
                    "{label}: {error}"
                );
                found += 1;
                return;
            }
        };
        let (seq, state) = match state_of(&store) {
            Ok(read) => read,
            Err(error) => {
                assert_eq!(error.code(), "LLMDB-P08", "{label}: {error}");
                found += 1;
                return;
            }
        };
        assert_eq!(state, run.states[seq], "{label}: a wrong state");
        if seq < run.acknowledged {
            assert!(is_last_record, "{label}: {seq} of {} commits are there", run.acknowledged);
            at_the_end += 1;
        }
        match store.check(&mut |_, _| {}) {
            Ok(report) if report.is_sound() => harmless += 1,
            Ok(_) => found += 1,
            // The allocation map itself, which the checkpoint before the check reads.
            Err(error) => {
                assert_eq!(error.code(), "LLMDB-P08", "{label}: {error}");
                found += 1;
            }
        }
    };
    let places: Vec<usize> = (0..)
        .zip(clean_trace(seed))
        .filter(|(_, entry)| entry.op == Op::Write)
        .map(|(place, _)| place)
        .collect();
    for place in places {
        // The power is cut right behind the commit that made the write, a few commits later, and at the end.
        for behind in [2, 12, 60, u64::MAX >> 1] {
            let disk = fresh_disk(seed);
            disk.inject(Fault::new(kind, When::At(place as u64)));
            disk.cut_power_at(place as u64 + behind);
            let run = run(Arc::new(disk.clone()), seed);
            look(&disk, &run, place);
        }
    }
    println!("{kind:?}: {found} found, {harmless} without effect, {at_the_end} took the log's last record");
    assert!(found > 20 && harmless > 0 && at_the_end > 0, "{found} {harmless} {at_the_end}");
}

#[test]
fn lost_writes_show_or_do_no_harm() {
    silent_device_faults_show(FaultKind::LostWrite, 8);
}

#[test]
fn misdirected_writes_show_or_do_no_harm() {
    silent_device_faults_show(FaultKind::MisdirectedWrite, 9);
}

/// A process that dies at any operation, one that serves what it finds, then a power cut: what was served
/// stays.
#[test]
fn what_the_next_process_serves_survives_a_power_cut() {
    for seed in [10, 11] {
        let ops = clean_trace(seed).len() as u64;
        for cut in 0..ops {
            let disk = fresh_disk(seed);
            disk.cut_power_at(cut);
            let run = run(Arc::new(disk.clone()), seed);
            let next = disk.kill_image();
            let label = format!("seed {seed}, killed at {cut} of {ops}: {:?}", disk.trace()[cut as usize]);
            let served = judge(&next, &run).unwrap_or_else(|what| panic!("{label}: {what}"));
            for policy in [CrashPolicy::Nothing, CrashPolicy::OneFile] {
                judge_at_least(&next.crash_image_by(policy, cut), &run, served)
                    .unwrap_or_else(|what| panic!("{label}, then cut ({policy:?}): {what}"));
            }
        }
    }
}

/// A write to a page that the durable meta reaches, if this is one.
fn forbidden(file: &[u8], in_use: &BTreeMap<u64, layout::Use>, offset: u64, len: usize) -> Option<String> {
    let page_size = u64::from(llmdb_pager::page::read_u32(layout::newest_meta(file)?, 12));
    (offset / page_size..(offset + len as u64).div_ceil(page_size)).find_map(|page| {
        in_use
            .get(&page)
            .filter(|what| **what != layout::Use::Meta)
            .map(|what| format!("page {page} ({what:?})"))
    })
}

#[test]
fn no_write_touches_what_the_durable_meta_reaches() {
    let (seen, largest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let broken = Arc::new(Mutex::new(Vec::new()));
    for seed in 20..40 {
        let disk = fresh_disk(seed);
        let (watched, seen, largest, broken) = (disk.clone(), seen.clone(), largest.clone(), broken.clone());
        let known = Mutex::new((u64::MAX, Vec::new(), BTreeMap::new()));
        disk.watch_writes(Arc::new(move |path, offset, bytes| {
            if path != Path::new(DB) {
                return;
            }
            let mut known = known.lock().unwrap();
            let syncs = watched.stats().syncs.get(path).copied().unwrap_or(0);
            if known.0 != syncs {
                let file = watched.crash_image_by(CrashPolicy::Nothing, 0).read_file(DB).unwrap_or_default();
                let in_use = layout::pages_in_use(&file);
                *known = (syncs, file, in_use);
            }
            seen.fetch_add(1, Ordering::Relaxed);
            largest.fetch_max(known.2.len() as u64, Ordering::Relaxed);
            if let Some(what) = forbidden(&known.1, &known.2, offset, bytes.len()) {
                broken.lock().unwrap().push(format!("seed {seed}: {what}"));
            }
        }));
        let run = run(Arc::new(disk.clone()), seed);
        assert!(run.error.is_none(), "{:?}", run.error);
    }
    assert!(broken.lock().unwrap().is_empty(), "{:?}", broken.lock().unwrap());
    assert!(
        seen.load(Ordering::Relaxed) > 200 && largest.load(Ordering::Relaxed) > 10,
        "{seen:?} {largest:?}"
    );
}

#[test]
fn the_write_watch_knows_a_forbidden_write() {
    let disk = fresh_disk(1);
    run(Arc::new(disk.clone()), 1);
    let file = disk.read_file(DB).unwrap();
    let in_use = layout::pages_in_use(&file);
    let tree = in_use.iter().find(|(_, what)| **what == layout::Use::Tree).unwrap();
    assert!(forbidden(&file, &in_use, tree.0 * 4096 + 100, 1).is_some());
    assert!(forbidden(&file, &in_use, 4096, 4096).is_none(), "a slot of the meta");
}

/// Storage that says "flushed" and does nothing, for the log or for everything else.
#[derive(Debug)]
struct Forgetful {
    disk: SimDisk,
    forgets_log: bool,
}

#[derive(Debug)]
struct ForgetfulFile(Arc<dyn File>);

impl Storage for Forgetful {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, mode)?;
        let is_log = path == Path::new(LOG);
        Ok(if is_log == self.forgets_log { Arc::new(ForgetfulFile(file)) } else { file })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn Lock>, LockError> {
        self.disk.lock(path, owner)
    }
}

impl File for ForgetfulFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        self.0.map(len)
    }
}

/// The first of some seeds whose power cut shows what the storage does, if one does.
fn first_caught(make: impl Fn(SimDisk) -> Arc<dyn Storage>) -> Option<u64> {
    (0..40).find(|seed| {
        let whole = fresh_disk(*seed);
        run(make(whole.clone()), *seed);
        let mut rng = Rng(*seed);
        let disk = fresh_disk(*seed);
        disk.cut_power_at(1 + rng.below(whole.op_count()));
        let run = run(make(disk.clone()), *seed);
        (0..8).any(|image| {
            let image = disk.crash_image(seed * 8 + image);
            catch_unwind(AssertUnwindSafe(|| judge(&image, &run))).map_or(true, |verdict| verdict.is_err())
        })
    })
}

#[test]
fn storage_that_skips_a_flush_is_found_out() {
    assert_eq!(first_caught(|disk| Arc::new(disk)), None, "honest storage passes");
    for forgets_log in [true, false] {
        let seed = first_caught(|disk| Arc::new(Forgetful { disk, forgets_log }));
        println!("forgets the log: {forgets_log}; caught at seed {seed:?}");
        assert!(seed.is_some_and(|seed| seed < 20), "forgets the log: {forgets_log}: {seed:?}");
    }
}
