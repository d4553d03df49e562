//! Leaving nothing in the pages of trees but what they hold.
//!
//! Records that go leave their bytes in holes of a leaf, and separators keep the beginning of a key that may be gone. Here all
//! trees are walked in order; a page with anything in its holes or in its free space is built anew, and separators are cut
//! back to what tells the keys on both sides apart.
//!
//! ```text
//!     leaf        separator s           leaf         next separator n
//!   ... ada-1  |  ada-2 lovelace  |  ada-3 ...           with ada-2 lovelace gone, s becomes ada-2
//! ```
//!
//! A separator keeps as many bytes as it shares with the last key before it and one more, but no fewer than it shares with its
//! neighbours. So the prefixes of all pages stay as they are, and no page needs more room. What it keeps are bytes of keys
//! that are there, but for one; more only where those end in zeros.
//!
//! Invariants
//! 1. No tree changes what it holds, nor its shape.
//! 2. After a walk that came to its end no page of a tree has a byte that is not zero where nothing stands.
//!
//! Not here: pages that are free (`llmdb_pager`), the log (`llmdb_wal`).

use crate::database::WriteTxn;
use crate::edit;
use crate::error::Error;
use crate::forest::{self, TreeId};
use crate::node::branch::{self, Branch};
use crate::node::leaf::{self, Leaf};
use crate::source::{Node, Source};
use crate::tree::TreeRoot;
use crate::value::{LargeRef, Stored};
use llmdb_pager::{PageSource as _, Ref};

/// Where a walk over all trees goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TidyFrom {
    tree: u32,
    key: Vec<u8>,
}

/// What [`WriteTxn::tidy`] did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tidied {
    /// Pages that held something beside their records or children.
    pub pages: u64,
    /// Bytes behind large values that were not zero.
    pub bytes_behind: u64,
    /// Where the walk goes on; `None` at its end.
    pub next: Option<TidyFrom>,
}

/// A page to be built anew.
struct Untidy {
    /// A key that leads to it.
    key: Vec<u8>,
    level: u8,
    /// A branch's.
    separators: Vec<Vec<u8>>,
}

/// A walk in the order of keys.
struct Walk<'t> {
    source: Source<'t>,
    /// Leaves that hold keys below this are passed over.
    from: &'t [u8],
    pages_max: u64,
    found: Vec<Untidy>,
    larges: Vec<LargeRef>,
    /// The last key so far, and the last separator.
    last_key: Vec<u8>,
    last_separator: Option<Vec<u8>>,
    /// The beginning of the leaf where it stopped.
    stopped: Option<Vec<u8>>,
}

impl WriteTxn {
    /// Walks over all trees from `from` on and builds pages anew that hold anything beside their records or children, at most
    /// about so many; with `change` unset only counts. What stands behind large values is overwritten at once, which needs
    /// no commit. Nothing that a tree holds changes.
    ///
    /// Cost: every page of every tree is read.
    ///
    /// ```
    /// use llmdb_btree::{Database, TidyFrom};
    /// use llmdb_pager::PagerOptions;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let db = Database::create(PagerOptions::new(), folder.path().join("trees.llmdb"))?;
    /// let mut txn = db.begin_write()?;
    /// let tree = txn.create_tree("people")?;
    /// txn.insert(tree, b"ada", b"Paris")?;
    /// txn.insert(tree, b"bob", b"Rome")?;
    /// txn.remove(tree, b"ada")?;
    /// let tidied = txn.tidy(&TidyFrom::default(), u64::MAX, true)?;
    /// assert_eq!((tidied.pages, tidied.next), (1, None));
    /// assert_eq!(txn.tidy(&TidyFrom::default(), u64::MAX, false)?.pages, 0);
    /// txn.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A damaged page; [`Error::Failed`]; what writing pages can meet.
    pub fn tidy(&mut self, from: &TidyFrom, pages_max: u64, change: bool) -> Result<Tidied, Error> {
        self.check_failed()?;
        let mut trees = vec![TreeId::NAMES];
        for record in self.tree(TreeId::NAMES)?.iter() {
            trees.push(forest::named(record?.1)?);
        }
        trees.sort_unstable();
        let mut tidied = Tidied::default();
        for tree in trees.into_iter().filter(|tree| tree.number() >= from.tree) {
            let key = if tree.number() == from.tree { &from.key[..] } else { &[] };
            let left = pages_max.saturating_sub(tidied.pages).max(1);
            let (untidy, larges, stopped) = self.untidy(tree, key, left)?;
            for large in larges {
                let run = large.run(self.pager.page_size());
                let found = self.pager.wipe_behind(run, large.len, false)?;
                if change && found > 0 {
                    // Only behind a value that is there: else what is overwritten may be another page's.
                    Source::Write(&self.pager).large(large)?;
                    self.pager.wipe_behind(run, large.len, true)?;
                }
                tidied.bytes_behind += found;
            }
            tidied.pages += untidy.len() as u64;
            if change {
                for page in untidy {
                    self.rebuild(tree, &page)?;
                }
            }
            let next = |key| TidyFrom { tree: tree.number(), key };
            tidied.next = stopped.map(next);
            if tidied.next.is_some() {
                return Ok(tidied);
            }
        }
        Ok(tidied)
    }

    /// Pages of a tree to be built anew, its large values, and where the walk stopped.
    #[expect(clippy::type_complexity, reason = "three lists that belong to one walk, taken apart at once")]
    fn untidy(
        &self,
        tree: TreeId,
        from: &[u8],
        pages_max: u64,
    ) -> Result<(Vec<Untidy>, Vec<LargeRef>, Option<Vec<u8>>), Error> {
        let root = self.root_of(tree)?.unwrap_or(TreeRoot::EMPTY).root;
        let mut walk = Walk {
            source: Source::Write(&self.pager),
            from,
            pages_max,
            found: Vec::new(),
            larges: Vec::new(),
            last_key: from.to_vec(),
            last_separator: (!from.is_empty()).then(|| from.to_vec()),
            stopped: None,
        };
        if !root.is_null() {
            walk.page(root, None, &[], None)?;
        }
        Ok((walk.found, walk.larges, walk.stopped))
    }

    fn rebuild(&mut self, tree: TreeId, page: &Untidy) -> Result<(), Error> {
        self.guard(|txn| {
            txn.finger.lift();
            txn.edit(tree, |pager, root, _| {
                edit::rebuild(pager, root, &page.key, page.level, &page.separators)
            })
        })
    }
}

impl Walk<'_> {
    /// Walks over a page whose keys lie between two fences, and over all below it.
    fn page(&mut self, at: Ref, above: Option<u8>, low: &[u8], high: Option<&[u8]>) -> Result<(), Error> {
        match self.source.node(at, above)? {
            (Node::Leaf(leaf), _) => self.leaf(leaf, low),
            (Node::Branch(branch), level) => self.branch(branch, level, low, high)?,
        }
        Ok(())
    }

    fn leaf(&mut self, leaf: Leaf<'_>, low: &[u8]) {
        if leaf::has_rests(leaf) {
            self.found.push(Untidy { key: low.to_vec(), level: 0, separators: Vec::new() });
        }
        for index in 0..leaf.len() {
            if let Stored::Large(large) = leaf.value(index) {
                self.larges.push(large);
            }
        }
        if leaf.len() > 0 {
            self.last_key = [leaf.prefix(), leaf.suffix(leaf.len() - 1)].concat();
        }
    }

    fn branch(
        &mut self,
        branch: Branch<'_>,
        level: u8,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<(), Error> {
        let whole: Vec<Vec<u8>> = (0..branch.separators()).map(|index| branch.separator(index)).collect();
        let mut cut = whole.clone();
        // Keys below the first child that is walked over belong to a walk before this one.
        let first = if self.from.is_empty() { 0 } else { branch.search(self.from) };
        for index in first..branch.children() {
            let child_low = if index > 0 { &whole[index - 1][..] } else { low };
            let child_high = child_high_of(&whole, index, high);
            if self.found.len() as u64 >= self.pages_max && child_low > self.from {
                self.stopped = Some(child_low.to_vec());
                break;
            }
            self.page(branch.child(index), Some(level), child_low, child_high)?;
            if self.stopped.is_some() {
                break;
            }
            if let Some(separator) = whole.get(index) {
                let next_high = child_high_of(&whole, index + 1, high);
                let next = self.first_fence(branch.child(index + 1), level, next_high)?;
                let kept = self.kept(separator, next.as_deref()).max(branch.prefix().len());
                cut[index].truncate(kept);
                self.last_separator = Some(separator.clone());
            }
        }
        if branch::has_rests(branch) || cut != whole {
            self.found.push(Untidy { key: low.to_vec(), level, separators: cut });
        }
        Ok(())
    }

    /// How many bytes of a separator stay: see the module.
    fn kept(&self, separator: &[u8], next: Option<&[u8]>) -> usize {
        let before = self.last_separator.as_deref().unwrap_or_default();
        let to_tell = common(&self.last_key, separator).max(common(before, separator)) + 1;
        let mut kept = to_tell.max(next.map_or(0, |next| common(separator, next))).min(separator.len());
        // One that ends in a zero takes more room than a longer one that does not.
        while kept < separator.len() && separator[kept - 1] == 0 {
            kept += 1;
        }
        kept
    }

    /// The fence above the first leaf below a page, `high` being that above the page.
    fn first_fence(&self, mut at: Ref, mut level: u8, high: Option<&[u8]>) -> Result<Option<Vec<u8>>, Error> {
        let mut fence = high.map(<[u8]>::to_vec);
        loop {
            match self.source.node(at, Some(level))? {
                (Node::Leaf(_), _) => return Ok(fence),
                (Node::Branch(branch), below) => {
                    if branch.separators() > 0 {
                        fence = Some(branch.separator(0));
                    }
                    (at, level) = (branch.child(0), below);
                }
            }
        }
    }
}

/// The fence above a child.
fn child_high_of<'a>(separators: &'a [Vec<u8>], child: usize, high: Option<&'a [u8]>) -> Option<&'a [u8]> {
    separators.get(child).map(Vec::as_slice).or(high)
}

/// How many bytes two keys share at their beginnings.
fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}
