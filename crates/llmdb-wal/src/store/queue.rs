//! A queue of batches: any number of threads hand in changes, one thread commits them, many at a time.
//!
//! ```text
//! submit, submit, submit -> bounded queue -> one transaction, a savepoint before each batch -> one flush
//!      a ticket each                                                                      tickets answered
//! ```
//!
//! Invariants
//! 1. A batch is committed whole or not at all. One whose expectations do not hold, or that fails, is undone alone.
//! 2. Batches of one thread are committed in the order in which it handed them in.
//! 3. A full queue makes who hands in wait, or tells it.
//! 4. When the queue is dropped, what was handed in is committed before.

use super::{Receipt, Store, WriteTxn};
use crate::error::Error;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use llmdb_btree::{Error as TreeError, TreeId};
use llmdb_pager::Error as PagerError;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// At most so many batches share a transaction, ...
const BATCHES_MAX: usize = 512;
/// ... and so many bytes of theirs, but for the last: batches that fit into the log by themselves shall not miss it together.
const BYTES_MAX: usize = 1 << 20;

/// Changes that are committed together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Insert(TreeId, Vec<u8>, Vec<u8>),
    Remove(TreeId, Vec<u8>),
    Expect(TreeId, Vec<u8>, Option<Vec<u8>>),
}

impl Batch {
    /// No changes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts or replaces a record.
    #[must_use]
    pub fn insert(mut self, tree: TreeId, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Insert(tree, key.into(), value.into()));
        self
    }

    /// Removes a record, if there is one.
    #[must_use]
    pub fn remove(mut self, tree: TreeId, key: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Remove(tree, key.into()));
        self
    }

    /// Goes on only where the record is as expected; `None` = there is none. Otherwise nothing of the batch is done,
    /// and its ticket answers [`Error::Conflict`].
    #[must_use]
    pub fn expect(mut self, tree: TreeId, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) -> Self {
        self.steps.push(Step::Expect(tree, key.into(), value));
        self
    }

    /// Bytes of its keys and values.
    fn size(&self) -> usize {
        let of_step = |step: &Step| match step {
            Step::Insert(_, key, value) => key.len() + value.len(),
            Step::Remove(_, key) | Step::Expect(_, key, _) => key.len(),
        };
        self.steps.iter().map(of_step).sum()
    }

    fn apply(&self, txn: &mut WriteTxn) -> Result<(), Error> {
        for step in &self.steps {
            match step {
                Step::Insert(tree, key, value) => txn.insert(*tree, key, value)?,
                Step::Remove(tree, key) => {
                    txn.remove(*tree, key)?;
                }
                Step::Expect(tree, key, value) => txn.expect(*tree, key, value.as_deref())?,
            }
        }
        Ok(())
    }
}

struct Handed {
    batch: Batch,
    answer: Sender<Result<Receipt, Arc<Error>>>,
}

/// What became of a batch, when that is known.
#[derive(Debug)]
pub struct Ticket {
    answer: Receiver<Result<Receipt, Arc<Error>>>,
}

impl Ticket {
    /// Waits until the batch is committed, as durable as the database's commits are.
    ///
    /// # Errors
    /// What kept it from being committed: [`Error::Conflict`] for one whose expectations did not hold.
    pub fn wait(self) -> Result<Receipt, Arc<Error>> {
        self.answer.recv().unwrap_or_else(|_| Err(Arc::new(Error::Closed)))
    }
}

/// A queue in front of a store. Clones share it; the last to go waits until it is empty.
#[derive(Clone, Debug)]
pub struct WriteQueue {
    inner: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    /// `None` once it ends.
    batches: Mutex<Option<Sender<Handed>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// A queue that holds at most `capacity` batches, and a thread that commits them: for programs with many
    /// threads, or tasks, that each write a little. Batches that wait share a transaction and a flush.
    ///
    /// ```
    /// use llmdb_wal::Batch;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let store = llmdb_wal::Store::open(folder.path().join("notes.llmdb"))?;
    /// let notes = store.write(|txn| txn.create_tree("notes"))?.0;
    /// let queue = store.queue(1024)?;
    /// let ticket = queue.submit(Batch::new().expect(notes, "tuesday", None).insert(notes, "tuesday", "sun"))?;
    /// assert_eq!(ticket.wait()?.seq, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn queue(&self, capacity: usize) -> Result<WriteQueue, Error> {
        let (sender, receiver) = bounded(capacity.max(1));
        let store = self.clone();
        let worker = std::thread::Builder::new()
            .name("llmdb-queue".into())
            .spawn(move || work(&store, &receiver))
            .map_err(|e| PagerError::io("starting the thread of a write queue", e))?;
        let queue = Queue { batches: Mutex::new(Some(sender)), worker: Mutex::new(Some(worker)) };
        Ok(WriteQueue { inner: Arc::new(queue) })
    }
}

impl WriteQueue {
    fn sender(&self) -> Result<Sender<Handed>, Error> {
        let batches = self.inner.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.clone().ok_or(Error::Closed)
    }

    /// Hands in a batch; waits while the queue is full.
    ///
    /// # Errors
    /// [`Error::Closed`] where the queue's thread has ended.
    pub fn submit(&self, batch: Batch) -> Result<Ticket, Error> {
        let (answer, ticket) = bounded(1);
        self.sender()?.send(Handed { batch, answer }).map_err(|_| Error::Closed)?;
        Ok(Ticket { answer: ticket })
    }

    /// Hands in a batch, or gives it back where the queue is full.
    ///
    /// # Errors
    /// [`Error::Closed`] where the queue's thread has ended.
    pub fn try_submit(&self, batch: Batch) -> Result<Result<Ticket, Batch>, Error> {
        let (answer, ticket) = bounded(1);
        match self.sender()?.try_send(Handed { batch, answer }) {
            Ok(()) => Ok(Ok(Ticket { answer: ticket })),
            Err(TrySendError::Full(handed)) => Ok(Err(handed.batch)),
            Err(TrySendError::Disconnected(_)) => Err(Error::Closed),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).take();
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            // It panics nowhere that we know of, and every ticket is answered or closed.
            let _ = worker.join();
        }
    }
}

/// Commits what is handed in until all handles are gone.
fn work(store: &Store, batches: &Receiver<Handed>) {
    while let Ok(first) = batches.recv() {
        let mut bytes = first.batch.size();
        let mut handed = vec![first];
        while handed.len() < BATCHES_MAX
            && bytes < BYTES_MAX
            && let Ok(next) = batches.try_recv()
        {
            bytes += next.batch.size();
            handed.push(next);
        }
        commit(store, handed);
    }
}

fn commit(store: &Store, handed: Vec<Handed>) {
    // Those that are told what becomes of the transaction.
    let mut done = Vec::with_capacity(handed.len());
    let mut handed = handed.into_iter();
    let result = store.begin_write().and_then(|mut txn| {
        for Handed { batch, answer } in handed.by_ref() {
            let savepoint = txn.savepoint();
            done.push(answer);
            let savepoint = savepoint?;
            if let Err(error) = batch.apply(&mut txn) {
                txn.go_back_to(&savepoint)?;
                // Its own error, and the others go on.
                let _ = done.pop().map(|answer| answer.send(Err(Arc::new(error))));
            }
        }
        if done.is_empty() { Err(Error::Tree(TreeError::Failed)) } else { txn.commit() }
    });
    done.extend(handed.map(|left| left.answer));
    // A ticket that nobody waits for takes no answer.
    let result = result.map_err(Arc::new);
    for answer in done {
        let _ = answer.send(result.clone());
    }
}
