//! The store on the real file system: locks, killed processes, threads, folders that cannot be written, and
//! a disk that is really full.

use llmdb_pager::Error as PagerError;
use llmdb_wal::{Error, Store, StoreOptions};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Set for a process that a test started: the database that it writes until it is killed.
const CHILD_DB: &str = "LLMDB_TEST_CHILD_DB";
const KILLS: u32 = 30;
const KEYS: u64 = 50;

fn options() -> StoreOptions {
    StoreOptions::new().checkpoint_bytes(96 << 10).log_capacity(512 << 10).owner("the killed writer")
}

/// The value that commit `seq` writes to its key; some are large.
fn value_of(seq: u64) -> Vec<u8> {
    let len = if seq.is_multiple_of(11) { 9_000 } else { seq * 37 % 700 };
    [&seq.to_le_bytes()[..], &vec![seq as u8; len as usize]].concat()
}

/// What is there after commit `seq`: each key's newest value.
fn state_after(seq: u64) -> BTreeMap<u64, Vec<u8>> {
    (seq.saturating_sub(KEYS) + 1..=seq).map(|seq| (seq % KEYS, value_of(seq))).collect()
}

fn write_until_killed(path: &Path) -> Result<(), Error> {
    let store = options().open(path)?;
    loop {
        let mut txn = store.begin_write()?;
        let seq = txn.seq();
        let tree = txn.create_tree("t")?;
        txn.insert(tree, &(seq % KEYS).to_be_bytes(), &value_of(seq))?;
        assert_eq!(txn.commit()?.seq, seq);
        let mut out = std::io::stdout().lock();
        // A full line in one call, after the commit: what the parent reads was acknowledged.
        if writeln!(out, "acknowledged {seq}").and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
    }
}

/// Starts this very test in a process of its own.
fn start_child(test: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(CHILD_DB, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads acknowledgements until `enough` says so or the process ends; the newest.
fn acknowledged(
    child: &mut Child,
    mut enough: impl FnMut() -> bool,
) -> (u64, BufReader<std::process::ChildStdout>) {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut newest = 0;
    let mut line = String::new();
    while !enough() || newest == 0 {
        line.clear();
        if lines.read_line(&mut line).unwrap() == 0 {
            break;
        }
        newest = number_in(&line).unwrap_or(newest);
    }
    (newest, lines)
}

fn number_in(line: &str) -> Option<u64> {
    line.split("acknowledged ").nth(1)?.trim().parse().ok()
}

fn contents(store: &Store) -> (u64, BTreeMap<u64, Vec<u8>>) {
    let reader = store.begin_read().unwrap();
    let Some(tree) = reader.tree("t").unwrap() else { return (reader.seq(), BTreeMap::new()) };
    let records = tree.iter().map(|record| {
        let (key, value) = record.unwrap();
        (u64::from_be_bytes(key.try_into().unwrap()), value.to_vec())
    });
    (reader.seq(), records.collect())
}

#[test]
fn killed_writers_lose_nothing_acknowledged() {
    if let Ok(path) = std::env::var(CHILD_DB) {
        return write_until_killed(Path::new(&path)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.llmdb");
    let mut served = 0;
    for round in 0..KILLS {
        let mut child = start_child("killed_writers_lose_nothing_acknowledged", &path);
        let until = Instant::now() + Duration::from_millis(u64::from(5 + round * 7 % 60));
        let (mut newest, mut rest) = acknowledged(&mut child, || Instant::now() >= until);
        child.kill().unwrap();
        child.wait().unwrap();
        let mut line = String::new();
        while rest.read_line(&mut line).unwrap() > 0 {
            newest = number_in(&line).filter(|_| line.ends_with('\n')).unwrap_or(newest);
            line.clear();
        }
        let store = options().create(false).open(&path).unwrap();
        let (seq, found) = contents(&store);
        assert!(newest > served, "round {round}: the child did nothing");
        assert!(seq == newest || seq == newest + 1, "round {round}: {newest} acknowledged, {seq} there");
        assert_eq!(found, state_after(seq), "round {round}: the state after commit {seq}");
        served = seq;
        if round % 10 == 9 {
            let report = store.check(&mut |_, _| {}).unwrap();
            assert!(report.is_sound(), "round {round}: {report:?}");
        }
        if round % 3 == 0 {
            store.close().unwrap();
        }
    }
    println!("{KILLS} kills, {served} commits, none lost");
}

/// Processes killed while they recover what one before them left, or soon after: each time a writer is killed first.
/// 200 of 1,000 kills by `cargo xtask soak -p llmdb-wal`, a few otherwise.
#[test]
fn soak_kills_inside_recovery() {
    const NAME: &str = "soak_kills_inside_recovery";
    if let Ok(path) = std::env::var(CHILD_DB) {
        return write_until_killed(Path::new(&path)).unwrap();
    }
    let (writers, openers) = if std::env::var_os("LLMDB_SOAK").is_some() { (200, 4) } else { (4, 2) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.llmdb");
    let mut newest = 0;
    for round in 0..writers {
        for kill in 0..=openers {
            let mut child = start_child(NAME, &path);
            // The first one writes for a while; the others are killed from the first microseconds on.
            let wait = if kill == 0 { 30_000 } else { (round * 977 + kill * 3_301) % 12_000 };
            let until = Instant::now() + Duration::from_micros(wait);
            let mut lines = BufReader::new(child.stdout.take().unwrap());
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            child.kill().unwrap();
            child.wait().unwrap();
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap() > 0 {
                newest = number_in(&line).filter(|_| line.ends_with('\n')).unwrap_or(newest);
                line.clear();
            }
        }
        let store = options().open(&path).unwrap();
        let (seq, found) = contents(&store);
        assert!(seq >= newest, "round {round}: {newest} acknowledged, {seq} there");
        assert_eq!(found, state_after(seq), "round {round}: the state after commit {seq}");
        newest = seq;
    }
    println!("{} kills, {newest} commits, none lost", writers * (openers + 1));
}

#[test]
fn a_held_lock_names_its_owner() {
    if let Ok(path) = std::env::var(CHILD_DB) {
        return write_until_killed(Path::new(&path)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("locked.llmdb");
    let mut child = start_child("a_held_lock_names_its_owner", &path);
    let (newest, rest) = acknowledged(&mut child, || true);
    assert!(newest > 0);
    let error = Store::open(&path).unwrap_err();
    let Some(PagerError::Locked { owner, .. }) = error.pager() else { panic!("{error}") };
    assert!(
        owner.contains(&format!("process {}", child.id())) && owner.contains("the killed writer"),
        "{owner}"
    );
    assert!(error.to_string().contains(owner) && error.to_string().contains("locked.llmdb"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(rest);
    // The lock ended with its owner, though its file is still there.
    let store = options().open(&path).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    store.close().unwrap();
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["locked.llmdb"], "a closed database is one file");
}

/// Writes `generation` to all keys in one commit.
fn write_generation(store: &Store, generation: u64) {
    let mut txn = store.begin_write().unwrap();
    let tree = txn.create_tree("g").unwrap();
    for key in 0..40u64 {
        let len = if key == 0 { 5_000 } else { 60 };
        let value = [&generation.to_le_bytes()[..], &vec![generation as u8; len]].concat();
        txn.insert(tree, &key.to_be_bytes(), &value).unwrap();
    }
    assert_eq!(txn.commit().unwrap().seq, generation);
}

/// Whether a snapshot shows one generation in all keys: its own.
fn assert_one_generation(reader: &llmdb_wal::ReadTxn) {
    let tree = reader.tree("g").unwrap().unwrap();
    let mut count = 0;
    for record in tree.iter() {
        let (_, value) = record.unwrap();
        assert_eq!(value[..8], reader.seq().to_le_bytes());
        assert!(value[8..].iter().all(|byte| *byte == reader.seq() as u8));
        count += 1;
    }
    assert_eq!(count, 40);
}

#[test]
fn snapshots_stay_as_they_are_while_a_writer_commits_and_checkpoints() {
    const COMMITS: u64 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let store = StoreOptions::new()
        .checkpoint_bytes(128 << 10)
        .log_capacity(1 << 20)
        .open(folder.path().join("busy.llmdb"))
        .unwrap();
    write_generation(&store, 1);
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    let first = store.begin_read().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (store, done, looks) = (&store, &done, &looks);
            scope.spawn(move || {
                let mut held = store.begin_read().unwrap();
                let mut round = thread;
                while !done.load(Ordering::Relaxed) {
                    assert_one_generation(&store.begin_read().unwrap());
                    assert_one_generation(&held);
                    round += 1;
                    if round.is_multiple_of(50) {
                        held = store.begin_read().unwrap();
                    }
                    looks.fetch_add(2, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
        }
        for generation in 2..=COMMITS {
            write_generation(&store, generation);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(first.seq(), 1);
    assert_one_generation(&first);
    let stat = store.stat().unwrap();
    println!("{COMMITS} commits, {} checkpoints, {looks:?} looks", stat.pager.checkpoint);
    assert!(stat.pager.checkpoint > 50 && looks.into_inner() > 1_000, "{stat:?}");
    assert!(stat.pager.file_bytes < 4 << 20, "readers do not make the file grow: {stat:?}");
    drop(first);
    assert!(store.check(&mut |_, _| {}).unwrap().is_sound());
    store.close().unwrap();
}

#[test]
fn folders_that_cannot_hold_a_database_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no/such/folder/x.llmdb");
    let file = folder.path().join("file");
    std::fs::write(&file, b"a file").unwrap();
    for path in [missing, file.join("x.llmdb"), folder.path().to_owned()] {
        let error = Store::open(&path).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(matches!(error.pager(), Some(PagerError::Io { .. })), "{error:?}");
    }
    let error = StoreOptions::new().create(false).open(folder.path().join("none.llmdb")).unwrap_err();
    assert!(matches!(error.pager(), Some(PagerError::NotFound { .. })), "{error}");
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["file"]);
}

/// A file system of its own in memory, unmounted with the value.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where this process may not mount.
    fn new(at: &Path, what: &str) -> Option<Self> {
        std::fs::create_dir_all(at).ok()?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", what, "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        status.ok()?.success().then(|| Self(at.to_owned()))
    }

    fn make_read_only(&self) -> bool {
        let status =
            Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn fill(store: &Store, from: u64) -> (u64, Error) {
    for number in from.. {
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        let written = txn.insert(tree, &number.to_be_bytes(), &[number as u8; 700]);
        if let Err(error) = written.and_then(|()| txn.commit().map(|_| ())) {
            return (number, error);
        }
    }
    unreachable!("the disk is finite")
}

#[test]
fn a_disk_that_is_full_is_an_error_and_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(&folder.path().join("small"), "size=4m") else {
        println!("1 check skipped: this process may not mount a small file system");
        return;
    };
    let ballast = mounted.0.join("ballast");
    let second = mounted.0.join("second");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    std::fs::write(&second, vec![1; 512 << 10]).unwrap();
    let path = mounted.0.join("full.llmdb");
    let store = StoreOptions::new().log_capacity(1 << 20).checkpoint_bytes(256 << 10).open(&path).unwrap();
    let (count, error) = fill(&store, 0);
    assert!(matches!(error.pager(), Some(PagerError::DiskFull { .. })), "{error:?}");
    assert!(count > 100, "{count}");
    let read = |store: &Store, count: u64| {
        let reader = store.begin_read().unwrap();
        let tree = reader.tree("t").unwrap().unwrap();
        assert_eq!(tree.len(), count);
        for number in 0..count {
            assert_eq!(tree.get(&number.to_be_bytes()).unwrap(), Some(&[number as u8; 700][..]));
        }
    };
    read(&store, count);
    let big = |store: &Store| {
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        txn.insert(tree, b"big", &vec![1; 8 << 20])
    };
    assert!(matches!(big(&store).unwrap_err().pager(), Some(PagerError::DiskFull { .. })));
    std::fs::remove_file(&ballast).unwrap();
    let (more, error) = fill(&store, count);
    assert!(matches!(error.pager(), Some(PagerError::DiskFull { .. })), "{error:?}");
    assert!(more > count + 100, "there was room again for {} records", more - count);
    read(&store, more);
    drop(store);
    // Recovery makes durable what it serves, and may need room for that: then it says so, and loses nothing.
    if let Err(error) = StoreOptions::new().open(&path) {
        assert!(matches!(error.pager(), Some(PagerError::DiskFull { .. })), "{error:?}");
    }
    std::fs::remove_file(&second).unwrap();
    let store = StoreOptions::new().open(&path).unwrap();
    read(&store, more);
    assert!(store.check(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn a_read_only_file_system_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(&folder.path().join("ro"), "size=4m") else {
        println!("1 check skipped: this process may not mount a read-only file system");
        return;
    };
    let path = mounted.0.join("there.llmdb");
    Store::open(&path).unwrap().close().unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(mounted.make_read_only());
    for path in [path.clone(), mounted.0.join("new.llmdb")] {
        let error = Store::open(&path).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("Read-only file system") && text.contains(&path.display().to_string()),
            "{text}"
        );
    }
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn an_old_reader_is_told_of_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let told: std::sync::Arc<std::sync::Mutex<Vec<u64>>> = std::sync::Arc::default();
    let list = told.clone();
    let limit = Duration::from_millis(20);
    let store = StoreOptions::new()
        .on_slow_reader(limit, std::sync::Arc::new(move |old| list.lock().unwrap().push(old.commit)))
        .max_reader_age(limit)
        .open(folder.path().join("old.llmdb"))
        .unwrap();
    let commit = |value: u64| {
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        for key in 0..200u64 {
            txn.insert(tree, &key.to_be_bytes(), &[value as u8; 100]).unwrap();
        }
        txn.commit().unwrap();
    };
    commit(1);
    let reader = store.begin_read().unwrap();
    commit(2);
    std::thread::sleep(2 * limit);
    (3..30).for_each(commit);
    let error = reader.tree("t").unwrap_err();
    assert!(error.to_string().contains("begin a new one"), "{error}");
    assert_eq!(told.lock().unwrap().first(), Some(&reader.seq()));
    let tree = store.begin_read().unwrap();
    assert_eq!(tree.tree("t").unwrap().unwrap().get(&7u64.to_be_bytes()).unwrap(), Some(&[29u8; 100][..]));
}
