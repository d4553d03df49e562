//! Values that come from a reader, for those that memory does not hold.

use crate::database::{WriteTxn, check_value_len};
use crate::error::Error;
use crate::forest::TreeId;
use crate::limits::is_inline;
use crate::value::{LargeRef, Stored};
use llmdb_pager::{PageSource as _, Run};
use std::io::Read;
use xxhash_rust::xxh3::Xxh3;

/// A value is read in pieces of this many bytes.
const PIECE_SIZE: usize = 256 << 10;

impl WriteTxn {
    /// Inserts or replaces a record whose value is the next `len` bytes of `value`. A large value goes
    /// straight to the file, piece by piece: memory does not depend on `len`. The answer says where it stands,
    /// as [`WriteTxn::insert`]'s does.
    ///
    /// ```
    /// use std::io::Read as _;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = llmdb_btree::Database::create(Default::default(), folder.path().join("v.llmdb"))?;
    /// let mut txn = db.begin_write()?;
    /// let tree = txn.create_tree("films")?;
    /// txn.insert_reader(tree, b"film", 10 << 20, std::io::repeat(7))?;
    /// txn.commit()?;
    ///
    /// let reader = db.begin_read();
    /// let films = reader.tree("films")?.expect("made above");
    /// let mut value = films.value_reader(b"film")?.expect("inserted above");
    /// assert_eq!(value.len(), 10 << 20);
    /// assert_eq!(std::io::copy(&mut value, &mut std::io::sink())?, 10 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`WriteTxn::insert`]; [`Error::ValueShort`] and [`Error::ValueSource`], after which the transaction
    /// goes on unchanged.
    pub fn insert_reader(
        &mut self,
        tree: TreeId,
        key: &[u8],
        len: u64,
        mut value: impl Read,
    ) -> Result<Option<LargeRef>, Error> {
        self.check_key(key)?;
        check_value_len(len)?;
        self.check_failed()?;
        if is_inline(self.pager.page_size(), key.len(), len) {
            let mut bytes = vec![0; len as usize];
            read_piece(&mut value, &mut bytes, 0, len)?;
            self.insert_stored(tree, key, &Stored::Inline(&bytes))?;
            return Ok(None);
        }
        let run = self.pager.begin_extent(len)?;
        let hash = match self.fill(run, len, &mut value) {
            Ok(hash) => hash,
            Err(error) => {
                self.pager.abandon_extent(run)?;
                return Err(error);
            }
        };
        let large = LargeRef { start: run.start, len, born: self.pager.commit(), hash };
        self.insert_stored(tree, key, &Stored::Large(large))?;
        Ok(Some(large))
    }

    /// Writes an extent. Answers its hash.
    fn fill(&mut self, run: Run, len: u64, value: &mut impl Read) -> Result<u128, Error> {
        let mut piece = vec![0; PIECE_SIZE.min(len as usize)];
        let mut hash = Xxh3::new();
        let mut offset = 0;
        while offset < len {
            let size = (len - offset).min(PIECE_SIZE as u64) as usize;
            read_piece(value, &mut piece[..size], offset, len)?;
            hash.update(&piece[..size]);
            self.pager.fill_extent(run, offset, &piece[..size])?;
            offset += size as u64;
        }
        Ok(hash.digest128())
    }
}

/// Fills `piece`, which begins at `offset` of a value of `len` bytes.
fn read_piece(value: &mut impl Read, piece: &mut [u8], offset: u64, len: u64) -> Result<(), Error> {
    let mut done = 0;
    while done < piece.len() {
        match value.read(&mut piece[done..]) {
            Ok(0) => return Err(Error::ValueShort { expected: len, found: offset + done as u64 }),
            Ok(size) => done += size,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::ValueSource(error)),
        }
    }
    Ok(())
}
