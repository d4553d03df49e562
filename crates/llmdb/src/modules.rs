//! Functions in WebAssembly that are kept in the database, under names.
//!
//! ```text
//!   tree wasm/1/modules     "code/" hash -> the module      "name/" name -> its entry     (llmdb_wasm::Modules)
//! ```
//!
//! Invariants
//! 1. A change is one transaction of the store, durable when it returns; it takes a commit number, as every
//!    transaction does, and is no part of any collection's history.
//! 2. What is kept are the bytes that were put, in binary form. Machine code is never kept in a database.
//! 3. Nothing is compiled while the one writer is held: a module is compiled before its transaction begins.
//!
//! Not here: what a module may be and do (`llmdb-wasm`), scans (`llmdb-query`).

use std::cell::RefCell;
use std::ops::Bound::{Included, Unbounded};

use llmdb_wal::{Tree, TreeId};
use llmdb_wasm::{ByteMap, Description, MapResult, Module, ModuleHash, Modules, Runtime, StoredModule};

use crate::{Database, Error};

/// The tree that modules are kept in.
const TREE: &str = "wasm/1/modules";

impl Database {
    /// The modules kept in this database; `runtime` compiles them, under its limits, and remembers what it compiled.
    ///
    /// ```
    /// use llmdb::wasm::{Runtime, guests};
    /// use llmdb::{Database, KeyRange, Known, Period, json};
    /// # let dir = tempfile::tempdir()?;
    /// let db = Database::open(dir.path().join("agent.llmdb"))?;
    /// let runtime = Runtime::default();
    /// db.modules(&runtime).put("count", guests::COUNT.as_bytes())?;
    ///
    /// let mut write = db.begin_write()?;
    /// write.put("main", "home of Ada", Period::ALL, json!("Oslo"))?;
    /// write.commit()?;
    /// let module = db.modules(&runtime).load("count")?;
    /// let read = db.begin_read()?;
    /// let reduced = llmdb::reduce(
    ///     read.temporal(), "main", &KeyRange::ALL, db.now(), Known::Latest, &module, "count",
    /// )?;
    /// assert_eq!(reduced.output, 1u64.to_le_bytes());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn modules<'d>(&'d self, runtime: &'d Runtime) -> StoredModules<'d> {
        StoredModules { db: self, runtime }
    }
}

/// The modules kept in a database: see [`Database::modules`].
#[derive(Debug, Clone, Copy)]
pub struct StoredModules<'d> {
    db: &'d Database,
    runtime: &'d Runtime,
}

impl StoredModules<'_> {
    /// Keeps a module, binary or text, under `name`; in the place of what had that name, enabled. Answers its hash,
    /// which calls it too, as 64 hex digits.
    ///
    /// # Errors
    /// What makes the module unfit to run; a name that is empty, longer than 255 bytes or looks like a hash; the
    /// store's errors.
    pub fn put(&self, name: &str, source: &[u8]) -> Result<ModuleHash, Error> {
        // Compiled here, so that the transaction finds it in the runtime's cache.
        self.runtime.compile_named(name, source)?;
        self.change(|modules| modules.put(self.runtime, name, source))
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// When damage is found.
    pub fn list(&self) -> Result<Vec<StoredModule>, Error> {
        self.look(|modules| modules.list())
    }

    /// The module that a name or a hash (64 hex digits) calls, compiled or found compiled.
    ///
    /// # Errors
    /// When there is none, when it is disabled, does not meet the runtime's limits, or is damaged.
    pub fn load(&self, name_or_hash: &str) -> Result<Module, Error> {
        self.look(|modules| modules.load(self.runtime, name_or_hash))
    }

    /// What a module exports, how much memory it may take, its size, and the fuel that its calls have used as far as
    /// that was [noted](Self::note_fuel). Disabled ones are described too.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn describe(&self, name_or_hash: &str) -> Result<(StoredModule, Description), Error> {
        self.look(|modules| modules.describe(self.runtime, name_or_hash))
    }

    /// Refuses calls of a module, or takes them again. Those that run go on.
    ///
    /// # Errors
    /// When no module has the name; the store's errors.
    pub fn set_disabled(&self, name: &str, is_disabled: bool) -> Result<(), Error> {
        self.change(|modules| modules.set_disabled(name, is_disabled))
    }

    /// Adds to the fuel that calls of a module have used. Not done by calls themselves, which only read.
    ///
    /// # Errors
    /// As of [`set_disabled`](Self::set_disabled).
    pub fn note_fuel(&self, name: &str, fuel: u64) -> Result<(), Error> {
        self.change(|modules| modules.add_fuel(name, fuel))
    }

    /// Removes a name, and the module with its last name.
    ///
    /// # Errors
    /// As of [`set_disabled`](Self::set_disabled).
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        self.change(|modules| modules.remove(name))
    }

    fn look<T>(
        &self,
        work: impl FnOnce(&Modules<ReadMap<'_>>) -> Result<T, llmdb_wasm::Error>,
    ) -> Result<T, Error> {
        let txn = self.db.temporal().store().begin_read()?;
        let tree = txn.tree(TREE).map_err(llmdb_wal::Error::from)?;
        let map = ReadMap { tree, failure: Failure::default() };
        let modules = Modules::new(map);
        let outcome = work(&modules);
        settle(outcome, &modules.into_map().failure)
    }

    fn change<T>(
        &self,
        work: impl FnOnce(&mut Modules<WriteMap<'_>>) -> Result<T, llmdb_wasm::Error>,
    ) -> Result<T, Error> {
        let mut txn = self.db.temporal().store().begin_write()?;
        let tree = txn.create_tree(TREE)?;
        let mut modules = Modules::new(WriteMap { txn: &mut txn, tree, failure: Failure::default() });
        let outcome = work(&mut modules);
        let done = settle(outcome, &modules.into_map().failure)?;
        txn.commit()?;
        Ok(done)
    }
}

/// What the store said, in its own type, where a map's error has only its words.
type Failure = RefCell<Option<llmdb_wal::Error>>;

fn settle<T>(outcome: Result<T, llmdb_wasm::Error>, failure: &Failure) -> Result<T, Error> {
    match failure.take() {
        Some(failure) => Err(failure.into()),
        None => Ok(outcome?),
    }
}

/// Keeps the store's error aside, and answers its words.
fn keep<T>(result: Result<T, llmdb_wal::Error>, failure: &Failure) -> MapResult<T> {
    result.map_err(|error| {
        let words = error.to_string();
        failure.replace(Some(error));
        words.into()
    })
}

fn keys(tree: Tree<'_>, prefix: &[u8]) -> Result<Vec<Vec<u8>>, llmdb_wal::Error> {
    let mut keys = Vec::new();
    for row in tree.range(Included(prefix), Unbounded) {
        let (key, _) = row?;
        if !key.starts_with(prefix) {
            break;
        }
        keys.push(key);
    }
    Ok(keys)
}

/// The tree in a snapshot; none before the first module.
struct ReadMap<'t> {
    tree: Option<Tree<'t>>,
    failure: Failure,
}

impl ByteMap for ReadMap<'_> {
    fn get(&self, key: &[u8]) -> MapResult<Option<Vec<u8>>> {
        let Some(tree) = self.tree else { return Ok(None) };
        let found = tree.get(key).map(|value| value.map(<[u8]>::to_vec));
        keep(found.map_err(Into::into), &self.failure)
    }

    fn put(&mut self, _: &[u8], _: &[u8]) -> MapResult<()> {
        Err("this is a snapshot, nothing can be written".into())
    }

    fn remove(&mut self, _: &[u8]) -> MapResult<()> {
        Err("this is a snapshot, nothing can be removed".into())
    }

    fn keys(&self, prefix: &[u8]) -> MapResult<Vec<Vec<u8>>> {
        let Some(tree) = self.tree else { return Ok(Vec::new()) };
        keep(keys(tree, prefix), &self.failure)
    }
}

/// The tree in a transaction.
struct WriteMap<'t> {
    txn: &'t mut llmdb_wal::WriteTxn,
    tree: TreeId,
    failure: Failure,
}

impl ByteMap for WriteMap<'_> {
    fn get(&self, key: &[u8]) -> MapResult<Option<Vec<u8>>> {
        keep(self.txn.get(self.tree, key).map(|value| value.map(<[u8]>::to_vec)), &self.failure)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> MapResult<()> {
        keep(self.txn.insert(self.tree, key, value), &self.failure)
    }

    fn remove(&mut self, key: &[u8]) -> MapResult<()> {
        keep(self.txn.remove(self.tree, key).map(drop), &self.failure)
    }

    fn keys(&self, prefix: &[u8]) -> MapResult<Vec<Vec<u8>>> {
        keep(self.txn.tree(self.tree).and_then(|tree| keys(tree, prefix)), &self.failure)
    }
}

#[cfg(test)]
mod tests {
    use llmdb_wasm::{Limits, guests};
    use tempfile::TempDir;

    use super::*;

    fn database() -> (TempDir, Database) {
        let directory = tempfile::tempdir().expect("a directory");
        let db = Database::open(directory.path().join("test.llmdb")).expect("a database");
        (directory, db)
    }

    #[test]
    fn modules_outlive_the_process_and_its_cache() {
        let (directory, db) = database();
        let runtime = Runtime::default();
        assert!(db.modules(&runtime).list().unwrap().is_empty());
        let hash = db.modules(&runtime).put("count", guests::COUNT.as_bytes()).unwrap();
        db.modules(&runtime).note_fuel("count", 70).unwrap();
        db.close().unwrap();
        let db = Database::open(directory.path().join("test.llmdb")).unwrap();
        let runtime = Runtime::default();
        let listed = db.modules(&runtime).list().unwrap();
        assert_eq!((listed.len(), listed[0].hash, listed[0].fuel_seen), (1, hash, 70));
        assert_eq!(runtime.compilations(), 0, "a list compiles nothing");
        for called in ["count", &hash.to_string()] {
            assert_eq!(db.modules(&runtime).load(called).unwrap().hash(), hash);
        }
        assert_eq!(runtime.compilations(), 1);
        db.temporal().store().check(&mut |_, _| {}).map(|report| assert!(report.is_sound())).unwrap();
    }

    #[test]
    fn disabled_and_removed_modules_cannot_be_loaded() {
        let (_directory, db) = database();
        let runtime = Runtime::default();
        let modules = db.modules(&runtime);
        modules.put("count", guests::COUNT.as_bytes()).unwrap();
        modules.set_disabled("count", true).unwrap();
        assert_eq!(modules.load("count").unwrap_err().code(), "LLMDB-W20");
        assert!(modules.describe("count").unwrap().0.is_disabled);
        modules.set_disabled("count", false).unwrap();
        assert!(modules.load("count").is_ok());
        modules.remove("count").unwrap();
        assert_eq!(modules.load("count").unwrap_err().code(), "LLMDB-W21");
        assert_eq!(modules.remove("count").unwrap_err().code(), "LLMDB-W21");
        let read = db.temporal().store().begin_read().unwrap();
        assert!(read.tree(TREE).unwrap().is_none_or(|tree| tree.is_empty()), "its code went too");
    }

    #[test]
    fn a_module_that_is_refused_changes_nothing() {
        let (_directory, db) = database();
        let runtime = Runtime::new(Limits::default());
        let modules = db.modules(&runtime);
        for (name, source, code) in [
            ("x", &b"(module (func (import \"a\" \"b\")))"[..], "LLMDB-W03"),
            ("x", b"\0asm\x01\0\0", "LLMDB-W01"),
            ("", guests::COUNT.as_bytes(), "LLMDB-W19"),
            (&"0".repeat(64), guests::COUNT.as_bytes(), "LLMDB-W19"),
        ] {
            assert_eq!(modules.put(name, source).unwrap_err().code(), code);
        }
        assert!(modules.list().unwrap().is_empty());
    }

    #[test]
    fn facts_keep_their_commit_numbers_beside_modules() {
        let (_directory, db) = database();
        let runtime = Runtime::default();
        let put = |key: &str| {
            let mut write = db.begin_write().unwrap();
            write.put("main", key, crate::Period::ALL, crate::json!(1)).unwrap();
            write.commit().unwrap().commit.get()
        };
        let first = put("a");
        db.modules(&runtime).put("count", guests::COUNT.as_bytes()).unwrap();
        let second = put("b");
        assert_eq!((first, second), (0, 2), "a module takes a number of the same sequence");
        let read = db.begin_read().unwrap();
        let at = |commit| read.get("main", "b", db.now(), crate::Known::Commit(commit)).unwrap();
        assert_eq!((at(1), at(2).is_some()), (None, true));
        assert_eq!(read.collections().unwrap(), ["main"]);
        assert_eq!(read.temporal().check(&mut |_, _| {}).unwrap().commits, 2);
    }
}
