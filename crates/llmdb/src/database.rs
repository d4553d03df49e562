//! Open a database, read from it, write to it.
//!
//! Invariants
//! 1. A [`ReadTxn`] sees one state of the database, whatever is committed meanwhile.
//! 2. A [`WriteTxn`] that is dropped changes nothing; one that is committed is durable.
//! 3. Values are tagged (`llmdb_query::Value`): what one interface wrote, another can read.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use llmdb_query::{Answer, Fact, Question, Value};
use llmdb_temporal::{
    CommitNumber, CommitStamp, CommitTime, Known, Period, Receipt, Temporal, TemporalRead, TemporalWrite,
    ValidTime,
};
use llmdb_wal::store::StoreOptions;
use llmdb_wal::{BackupOptions, BackupReport, RestoreReport, Wiped};

use crate::Error;

type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How a database is opened: a builder, with defaults that suit most.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let db = llmdb::Options::new().page_size(8192).open(dir.path().join("agent.llmdb"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
pub struct Options {
    store: StoreOptions,
    clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self { store: StoreOptions::new(), clock: Arc::new(system_clock) }
    }
}

impl Options {
    /// The defaults: create when missing, pages of 4 KiB, the system's clock.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a missing file is created. Default true.
    #[must_use]
    pub fn create(mut self, yes: bool) -> Self {
        self.store = self.store.create(yes);
        self
    }

    /// Opens an existing database for reading only, beside others who do: nothing is written, not even a lock
    /// file. Refused while somebody has it open for writing, and where it was not closed cleanly.
    #[must_use]
    pub fn read_only(mut self, yes: bool) -> Self {
        self.store = self.store.read_only(yes);
        self
    }

    /// Bytes of a page when the file is created: a power of two from 4,096 to 65,536.
    #[must_use]
    pub fn page_size(mut self, bytes: usize) -> Self {
        self.store = self.store.page_size(bytes);
        self
    }

    /// Who holds the lock, in words, for the message that others get.
    #[must_use]
    pub fn owner(mut self, command: &str) -> Self {
        self.store = self.store.owner(command);
        self
    }

    /// The clock of commits and of [`Database::now`], in microseconds since 1970.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the database at `path`.
    ///
    /// # Errors
    /// When the file is not a database of this version, is damaged, or is owned by another process; the
    /// message says which, and nothing is changed.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Database, Error> {
        let store = self.store.clock(Arc::clone(&self.clock)).open(path)?;
        Ok(Database { temporal: Temporal::open(store)?, clock: self.clock })
    }

    /// Makes a new database at `path` of backups: a full one, then any number of which each was made since the
    /// one before it. Every page is checked before the file has its name. It is another database with the same
    /// content; its own backups begin with a full one. `progress` is told of pages written and checked.
    ///
    /// # Errors
    /// When something is at `path`, when a backup is damaged, cut off or does not follow on the one before it, or
    /// when writing fails; then there is nothing at `path`.
    pub fn restore(
        self,
        path: impl AsRef<Path>,
        backups: &mut [&mut dyn Read],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<RestoreReport, Error> {
        Ok(llmdb_wal::restore(self.store, path, backups, progress)?)
    }
}

/// A database: one file, opened by one process. Clones share it; it closes with the last of them.
#[derive(Clone)]
pub struct Database {
    temporal: Temporal,
    clock: Clock,
}

impl Database {
    /// Opens the database at `path`, and creates it when it is missing.
    ///
    /// # Errors
    /// As of [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Options::new().open(path)
    }

    /// A snapshot of now.
    ///
    /// # Errors
    /// When an earlier failure of the disk has closed the database.
    pub fn begin_read(&self) -> Result<ReadTxn, Error> {
        Ok(ReadTxn { read: self.temporal.begin_read()? })
    }

    /// A transaction; waits for the one writer before it.
    ///
    /// # Errors
    /// When an earlier failure of the disk has closed the database.
    pub fn begin_write(&self) -> Result<WriteTxn, Error> {
        Ok(WriteTxn { write: self.temporal.begin_write()? })
    }

    /// This instant of the world, by the database's clock.
    pub fn now(&self) -> ValidTime {
        let micros = (self.clock)().clamp(i64::MIN + 1, i64::MAX - 1);
        ValidTime::from_micros(micros).unwrap_or(ValidTime::POS_INF)
    }

    /// The layer below: collections of bytes, for callers that bring their own values.
    pub fn temporal(&self) -> &Temporal {
        &self.temporal
    }

    /// Writes a backup of what is committed now to a new file, while reading and writing go on: all of it, or only
    /// what was written since an earlier backup. The file has its name when it is whole and durable. `progress` is
    /// told of pages: how many are done, and of how many as far as that is known.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let db = llmdb::Database::open(dir.path().join("agent.llmdb"))?;
    /// let mut write = db.begin_write()?;
    /// write.put("main", "home", llmdb::Period::ALL, llmdb::json!("Oslo"))?;
    /// write.commit()?;
    /// let backup = dir.path().join("agent.backup");
    /// db.backup_to(&backup, llmdb::BackupOptions::new(), &mut |_, _| {})?;
    ///
    /// let copy = dir.path().join("copy.llmdb");
    /// let mut file = std::fs::File::open(&backup)?;
    /// llmdb::Options::new().restore(&copy, &mut [&mut file], &mut |_, _| {})?;
    /// let copy = llmdb::Options::new().read_only(true).open(&copy)?;
    /// assert!(copy.begin_read()?.get("main", "home", copy.now(), llmdb::Known::Latest)?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Where a wipe is owed ([`Database::wipe_owed`]), bytes of what was erased may stand in the backup, too: wipe first.
    ///
    /// # Errors
    /// When the file exists, when the earlier backup is not of this database, when damage is found or writing
    /// fails; then the file is not there.
    pub fn backup_to(
        &self,
        path: impl AsRef<Path>,
        options: BackupOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BackupReport, Error> {
        Ok(self.temporal.store().backup_to(path, options, progress)?)
    }

    /// The newest commit with an erasure whose bytes may still stand in the files; `None` where [`Database::wipe`] has
    /// nothing to do for one.
    ///
    /// # Errors
    /// When damage is found.
    pub fn wipe_owed(&self) -> Result<Option<CommitNumber>, Error> {
        Ok(self.temporal.wipe_owed()?)
    }

    /// Overwrites the bytes of everything that was erased ([`WriteTxn::erase`]), in the data file and in the log, so that
    /// neither they nor backups made afterwards hold any. A snapshot that was open before keeps what it sees: then
    /// [`Wiped::is_complete`] says no, and another call is needed once it is closed. A crash on the way is made up for by
    /// the next call.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let db = llmdb::Database::open(dir.path().join("agent.llmdb"))?;
    /// let mut write = db.begin_write()?;
    /// write.put("main", "home of Ada", llmdb::Period::ALL, llmdb::json!("Paris"))?;
    /// write.commit()?;
    /// let mut write = db.begin_write()?;
    /// assert!(write.erase("main", "home of Ada", "asked for on 3 March")?);
    /// write.commit()?;
    /// assert!(db.wipe()?.is_complete() && db.wipe_owed()?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When damage is found, the disk is full, or the storage fails; it is still owed then.
    pub fn wipe(&self) -> Result<Wiped, Error> {
        Ok(self.temporal.wipe()?)
    }

    /// Writes everything into the data file and lets go of it.
    ///
    /// # Errors
    /// When that fails; what was committed is in the log and comes back at the next open.
    pub fn close(self) -> Result<(), Error> {
        let store = self.temporal.store().clone();
        drop(self.temporal);
        Ok(store.close()?)
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

/// One state of the database.
pub struct ReadTxn {
    read: TemporalRead,
}

impl ReadTxn {
    /// What is believed about `key` at one instant of the world, as known at `known`.
    ///
    /// # Errors
    /// When damage is found.
    pub fn get(
        &self,
        collection: &str,
        key: impl AsRef<[u8]>,
        valid_at: ValidTime,
        known: Known,
    ) -> Result<Option<Fact>, Error> {
        let found = self.read.get(collection, key.as_ref(), valid_at, known)?;
        Ok(found.map(Fact::from_version).transpose()?)
    }

    /// Answers any question, with at most `limit` rows.
    ///
    /// # Errors
    /// When damage is found; what turns up later comes out of the rows.
    pub fn ask<'t>(&'t self, question: &'t Question, limit: Option<u64>) -> Result<Answer<'t>, Error> {
        Ok(llmdb_query::ask(&self.read, question, limit)?)
    }

    /// The names of the collections.
    ///
    /// # Errors
    /// When damage is found.
    pub fn collections(&self) -> Result<Vec<String>, Error> {
        Ok(self.read.collections()?)
    }

    /// The newest commit of this state; `None` when there is none.
    pub fn newest(&self) -> Option<CommitStamp> {
        self.read.newest()
    }

    /// The layer below: collections of bytes.
    pub fn temporal(&self) -> &TemporalRead {
        &self.read
    }
}

/// A transaction. Dropping it rolls back.
pub struct WriteTxn {
    write: TemporalWrite,
}

impl WriteTxn {
    /// The time that this commit will have.
    pub fn time(&self) -> CommitTime {
        self.write.time()
    }

    /// The number that this commit will have.
    pub fn number(&self) -> CommitNumber {
        self.write.number()
    }

    /// Sets the time of this commit, instead of the clock's; call it first. Where it is that of the newest commit, this one
    /// comes a microsecond behind it. The time that it will have.
    ///
    /// # Errors
    /// When `wanted` lies before the newest commit (`LLMDB-T14`), or so late that soon no later time would be left
    /// (`LLMDB-T15`); the transaction stays usable, with the time it had.
    pub fn set_time(&mut self, wanted: CommitTime) -> Result<CommitTime, Error> {
        Ok(self.write.set_time(wanted)?)
    }

    /// From this commit on, `key` is `value` during `period`.
    ///
    /// # Errors
    /// When the key or collection cannot be stored, or the storage fails.
    pub fn put(
        &mut self,
        collection: &str,
        key: impl AsRef<[u8]>,
        period: Period,
        value: impl Into<Value>,
    ) -> Result<(), Error> {
        Ok(self.write.put(collection, key.as_ref(), period, &value.into().encode())?)
    }

    /// Like [`put`](Self::put), only where a value is in force.
    ///
    /// # Errors
    /// As of [`put`](Self::put).
    pub fn update(
        &mut self,
        collection: &str,
        key: impl AsRef<[u8]>,
        period: Period,
        value: impl Into<Value>,
    ) -> Result<(), Error> {
        Ok(self.write.update(collection, key.as_ref(), period, &value.into().encode())?)
    }

    /// Like [`put`](Self::put), refused when a value is in force anywhere in `period`.
    ///
    /// # Errors
    /// On such an overlap, which leaves the transaction usable; and as of [`put`](Self::put).
    pub fn insert(
        &mut self,
        collection: &str,
        key: impl AsRef<[u8]>,
        period: Period,
        value: impl Into<Value>,
    ) -> Result<(), Error> {
        Ok(self.write.insert(collection, key.as_ref(), period, &value.into().encode())?)
    }

    /// From this commit on, `key` has no value during `period`.
    ///
    /// # Errors
    /// As of [`put`](Self::put).
    pub fn delete(&mut self, collection: &str, key: impl AsRef<[u8]>, period: Period) -> Result<(), Error> {
        Ok(self.write.delete(collection, key.as_ref(), period)?)
    }

    /// Takes a key out of all of time, as if it had never been: the one operation that changes the past. What stays is a
    /// record of when and why, not of what. Whether there was anything. Once it is committed, [`Database::wipe`] overwrites
    /// its bytes.
    ///
    /// # Errors
    /// As of [`put`](Self::put); when the reason has more than 64 KiB.
    pub fn erase(&mut self, collection: &str, key: impl AsRef<[u8]>, reason: &str) -> Result<bool, Error> {
        Ok(self.write.erase(collection, key.as_ref(), reason)?)
    }

    /// Lets history go that is older than the newest commit not later than `before`, which can still be asked about;
    /// questions as of an earlier one are errors ever after. Answers that commit, which may be later where more was let go
    /// before; `None` where all history is kept.
    ///
    /// # Errors
    /// When damage is found or the storage fails.
    pub fn retain(&mut self, before: CommitTime) -> Result<Option<CommitStamp>, Error> {
        Ok(self.write.retain(before)?)
    }

    /// Makes it durable. Readers that begin afterwards see it.
    ///
    /// # Errors
    /// When the storage fails; then nothing of it is kept.
    pub fn commit(self) -> Result<Receipt, Error> {
        Ok(self.write.commit()?)
    }
}

fn system_clock() -> i64 {
    let micros = |d: std::time::Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn handles_and_snapshots_can_be_shared_among_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Database>();
        shared::<ReadTxn>();
    }

    #[test]
    fn a_snapshot_does_not_see_what_is_committed_after_it_and_a_dropped_transaction_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let db = Options::new().clock(Arc::new(|| 50)).open(directory.path().join("test.llmdb")).unwrap();
        assert_eq!(db.now().micros(), 50);
        let empty = db.begin_read().unwrap();
        let mut write = db.begin_write().unwrap();
        write.put("main", "k", Period::ALL, json!(1)).unwrap();
        assert_eq!(write.commit().unwrap().at.micros(), 50);
        let mut write = db.begin_write().unwrap();
        assert_eq!((write.time().micros(), write.number().get()), (51, 1));
        write.delete("main", "k", Period::ALL).unwrap();
        drop(write);
        let read = db.begin_read().unwrap();
        let value =
            |read: &ReadTxn| read.get("main", "k", db.now(), Known::Latest).unwrap().map(|fact| fact.value);
        assert_eq!((value(&empty), value(&read)), (None, Some(json!(1).into())));
        assert_eq!((empty.newest(), read.newest().map(|stamp| stamp.commit.get())), (None, Some(0)));
        assert_eq!(read.collections().unwrap(), ["main"]);
        db.close().unwrap();
    }

    #[test]
    fn an_insert_that_is_refused_leaves_its_transaction_usable() {
        let directory = tempfile::tempdir().unwrap();
        let db = Database::open(directory.path().join("test.llmdb")).unwrap();
        let mut write = db.begin_write().unwrap();
        write.insert("main", "k", Period::ALL, json!(1)).unwrap();
        let refused = write.insert("main", "k", Period::ALL, json!(2)).unwrap_err();
        assert_eq!(refused.code(), "LLMDB-T07");
        write.update("main", "k", Period::ALL, Value::Raw(vec![7])).unwrap();
        write.commit().unwrap();
        let read = db.begin_read().unwrap();
        let fact = read.get("main", "k", db.now(), Known::Latest).unwrap().unwrap();
        assert_eq!(fact.value.as_bytes(), Some(&[7][..]));
    }
}
