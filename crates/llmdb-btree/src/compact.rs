//! A dense copy of all trees, made from a snapshot while readers and the writer go on.
//!
//! Trees are built anew in key order, so that leaves are full and stand in the file as a scan reads them. The
//! copy keeps names and numbers of trees, the number and time of the commit, and the page size; it has an
//! identity of its own.

use crate::build::{Builder, Pages};
use crate::database::{Database, ReadTxn};
use crate::error::Error;
use crate::forest;
use crate::node::FOREST;
use crate::source::Source;
use crate::tree::Tree;
use crate::value::{LargeRef, Stored};
use llmdb_pager::page::set_reference;
use llmdb_pager::{Error as PagerError, FileBuilder, Page, PagerOptions, Progress, Ref};
use std::path::Path;

/// Records between two tellings of the progress.
const PROGRESS_STEP: u64 = 4096;

/// What a compacting copy holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Records of all trees, the names among them.
    pub records: u64,
    /// Bytes of the new file.
    pub file_bytes: u64,
}

/// Copies all trees of a snapshot into a new file, dense and durable. `options` say where files live and what
/// the new file's owner area holds; the page size is the snapshot's. `progress` is told of records. The file
/// has its name only at the end; what a failure or a crash leaves is removed by the next attempt.
///
/// # Errors
/// As [`PagerOptions::create`]; a damaged page of the snapshot, which ends the copy.
pub fn compact_to(
    reader: &ReadTxn,
    options: PagerOptions,
    path: impl AsRef<Path>,
    progress: Progress<'_>,
) -> Result<CompactReport, Error> {
    let source = reader.source();
    let options = options.page_size(source.page_size());
    let mut copy = Copy {
        source,
        pages: CopyPages {
            file: options.build(path, reader.seq(), reader.time())?,
            page: vec![0; source.page_size()],
        },
        done: 0,
        total: reader.record_count()?,
        progress,
    };
    let root = if source.root().is_null() { Ref::NULL } else { copy.forest(source.root(), None)? };
    let file_bytes = copy.pages.file.finish(root)?;
    (copy.progress)(copy.done, copy.total);
    Ok(CompactReport { records: copy.done, file_bytes })
}

impl Database {
    /// Makes a dense copy of what is committed now, as [`compact_to`].
    ///
    /// ```
    /// use llmdb_btree::Database;
    /// use llmdb_pager::PagerOptions;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let db = Database::create(PagerOptions::new(), folder.path().join("trees.llmdb"))?;
    /// let mut txn = db.begin_write()?;
    /// let fruit = txn.create_tree("fruit")?;
    /// txn.insert(fruit, b"lemon", b"yellow")?;
    /// txn.commit()?;
    ///
    /// let dense = folder.path().join("dense.llmdb");
    /// db.compact_to(PagerOptions::new(), &dense, &mut |_, _| {})?;
    /// let copy = Database::open(PagerOptions::new(), &dense)?;
    /// assert_eq!(copy.begin_read().tree("fruit")?.expect("copied").get(b"lemon")?, Some(&b"yellow"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`compact_to`].
    pub fn compact_to(
        &self,
        options: PagerOptions,
        path: impl AsRef<Path>,
        progress: Progress<'_>,
    ) -> Result<CompactReport, Error> {
        compact_to(&self.begin_read(), options, path, progress)
    }
}

struct Copy<'t, 'p> {
    source: Source<'t>,
    pages: CopyPages,
    done: u64,
    total: u64,
    progress: Progress<'p>,
}

impl Copy<'_, '_> {
    /// Copies a forest page and all below it.
    fn forest(&mut self, at: Ref, level: Option<u8>) -> Result<Ref, Error> {
        let page = forest::forest_page(self.source, at, level)?;
        let mut bytes = page.bytes().to_vec();
        for slot in 0..page.ref_count() {
            let below = page.reference(slot);
            let copied = match page.level() {
                _ if below.is_null() => Ref::NULL,
                0 => self.tree(page, slot)?,
                level => self.forest(below, Some(level - 1))?,
            };
            set_reference(&mut bytes, slot, copied);
        }
        Ok(self.pages.file.put_page(&mut bytes)?)
    }

    fn tree(&mut self, forest: Page<'_>, slot: usize) -> Result<Ref, Error> {
        debug_assert!(forest.kind() == FOREST);
        let tree = Tree::new(self.source, forest::stat(forest, slot));
        let mut builder = Builder::new(self.source.page_size(), 100);
        let mut cursor = tree.cursor();
        let mut stands = cursor.first()?;
        while let Some(stored) = cursor.stored().filter(|_| stands) {
            let stored = match stored {
                Stored::Inline(_) => stored,
                Stored::Large(large) => {
                    let run = self.pages.file.put_extent(self.source.value(stored)?)?;
                    Stored::Large(LargeRef { start: run.start, ..large })
                }
            };
            builder.push(&mut self.pages, cursor.key(), &stored)?;
            self.done += 1;
            if self.done.is_multiple_of(PROGRESS_STEP) {
                (self.progress)(self.done, self.total.max(self.done));
            }
            stands = cursor.next()?;
        }
        Ok(builder.close(&mut self.pages)?)
    }
}

/// The new file, and room for one page of it.
struct CopyPages {
    file: FileBuilder,
    page: Vec<u8>,
}

impl Pages for CopyPages {
    type Error = PagerError;

    fn put(&mut self, _is_above_dirty: bool, make: impl FnOnce(&mut [u8])) -> Result<Ref, PagerError> {
        make(&mut self.page);
        self.file.put_page(&mut self.page)
    }
}
