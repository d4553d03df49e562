//! Savepoints of a transaction over trees.
//!
//! Not here: which pages stay as they are for it (`llmdb_pager`).

use crate::database::WriteTxn;
use crate::error::Error;
use crate::forest::TreeId;
use crate::tree::TreeRoot;
use std::collections::BTreeMap;

/// A place that a transaction can go back to.
#[derive(Debug)]
pub struct Savepoint {
    pages: llmdb_pager::Savepoint,
    roots: BTreeMap<TreeId, Option<TreeRoot>>,
    next_number: TreeId,
    changed: bool,
}

impl WriteTxn {
    /// Sets a savepoint: [`WriteTxn::go_back_to`] undoes what is changed behind it. Any number may be set; going back
    /// to one forgets those behind it.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let db = llmdb_btree::Database::create(Default::default(), folder.path().join("trees.llmdb"))?;
    /// let mut txn = db.begin_write()?;
    /// let tree = txn.create_tree("fruit")?;
    /// txn.insert(tree, b"lemon", b"yellow")?;
    /// let before = txn.savepoint()?;
    /// txn.insert(tree, b"lemon", b"green")?;
    /// txn.go_back_to(&before)?;
    /// assert_eq!(txn.get(tree, b"lemon")?, Some(&b"yellow"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Failed`] after a failed change.
    pub fn savepoint(&mut self) -> Result<Savepoint, Error> {
        self.check_failed()?;
        self.finger.lift();
        Ok(Savepoint {
            pages: self.pager.savepoint(),
            roots: self.roots.clone(),
            next_number: self.next_number,
            changed: self.changed,
        })
    }

    /// Undoes what was changed behind a savepoint, a failed change too.
    ///
    /// # Errors
    /// [`Error::Savepoint`] where an earlier one was gone back to since; a damaged allocation map, which ends the
    /// transaction.
    pub fn go_back_to(&mut self, savepoint: &Savepoint) -> Result<(), Error> {
        self.finger.lift();
        match self.pager.go_back_to(&savepoint.pages) {
            Ok(true) => {}
            Ok(false) => return Err(Error::Savepoint),
            Err(error) => {
                self.failed = true;
                return Err(error.into());
            }
        }
        self.roots.clone_from(&savepoint.roots);
        self.next_number = savepoint.next_number;
        self.changed = savepoint.changed;
        self.failed = false;
        Ok(())
    }
}
