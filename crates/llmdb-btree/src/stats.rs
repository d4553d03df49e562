//! What a tree looks like inside: levels, pages, how full they are.

use crate::error::Error;
use crate::node::branch;
use crate::node::leaf::Leaf;
use crate::source::{Node, Source};
use crate::tree::Tree;
use crate::value::Stored;
use llmdb_pager::Ref;

/// The pages of one level of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelStats {
    /// How many pages.
    pub pages: u64,
    /// Bytes in use in them, headers included.
    pub used_bytes: u64,
    /// Records in leaves, children in branches.
    pub entries: u64,
}

/// What a tree looks like inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeStats {
    /// Bytes of a page.
    pub page_size: u64,
    /// How many records.
    pub records: u64,
    /// Bytes of all keys, before what pages share is left out.
    pub key_bytes: u64,
    /// Bytes of the values that stand in leaves.
    pub value_bytes: u64,
    /// How many values stand in pages of their own.
    pub large_values: u64,
    /// Bytes of those values.
    pub large_bytes: u64,
    /// Pages of those values.
    pub large_pages: u64,
    /// The levels from the leaves upward.
    pub levels: Vec<LevelStats>,
}

impl TreeStats {
    /// How many levels of pages.
    pub fn height(&self) -> usize {
        self.levels.len()
    }

    /// How many pages, large values' included.
    pub fn pages(&self) -> u64 {
        self.levels.iter().map(|level| level.pages).sum::<u64>() + self.large_pages
    }

    /// Which part of the leaves is in use, 0 to 1; 0 for an empty tree.
    pub fn leaf_fill(&self) -> f64 {
        let leaves = self.levels.first().copied().unwrap_or_default();
        match leaves.pages {
            0 => 0.0,
            pages => leaves.used_bytes as f64 / (pages * self.page_size) as f64,
        }
    }

    fn add_leaf(&mut self, leaf: Leaf<'_>) {
        self.records += leaf.len() as u64;
        for index in 0..leaf.len() {
            self.key_bytes += (leaf.prefix().len() + leaf.suffix(index).len()) as u64;
            match leaf.value(index) {
                Stored::Inline(value) => self.value_bytes += value.len() as u64,
                Stored::Large(large) => {
                    self.large_values += 1;
                    self.large_bytes += large.len;
                    self.large_pages += large.run(self.page_size as usize).count;
                }
            }
        }
    }

    fn add_page(&mut self, source: Source<'_>, at: Ref, above: Option<u8>) -> Result<Vec<Ref>, Error> {
        let (node, level) = source.node(at, above)?;
        let (used, entries, below) = match node {
            Node::Leaf(leaf) => {
                self.add_leaf(leaf);
                (leaf.used(), leaf.len(), Vec::new())
            }
            Node::Branch(branch) => {
                let children: Vec<Ref> = (0..branch.children()).map(|index| branch.child(index)).collect();
                (branch::used(branch), children.len(), children)
            }
        };
        if self.levels.len() <= usize::from(level) {
            self.levels.resize(usize::from(level) + 1, LevelStats::default());
        }
        let here = &mut self.levels[usize::from(level)];
        here.pages += 1;
        here.used_bytes += used as u64;
        here.entries += entries as u64;
        Ok(below)
    }
}

impl Tree<'_> {
    /// Looks at every page of the tree, but reads no large value. O(pages); [`Tree::len`] is O(1).
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let db = llmdb_btree::Database::create(Default::default(), folder.path().join("s.llmdb"))?;
    /// let mut txn = db.begin_write()?;
    /// let tree = txn.create_tree("numbers")?;
    /// txn.bulk_load(tree, (0..100_000u32).map(|n| (n.to_be_bytes(), [7; 100])))?;
    /// let stats = txn.tree(tree)?.stats()?;
    /// assert_eq!((stats.records, stats.height()), (100_000, 3));
    /// assert!(stats.leaf_fill() > 0.97);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A damaged page.
    pub fn stats(&self) -> Result<TreeStats, Error> {
        let (source, root) = self.parts();
        let mut stats = TreeStats { page_size: source.page_size() as u64, ..TreeStats::default() };
        let mut open = vec![(root.root, None)];
        while let Some((at, above)) = open.pop().filter(|(at, _)| !at.is_null()) {
            let below = stats.add_page(source, at, above)?;
            let level = source.page(at)?.level();
            open.extend(below.into_iter().map(|child| (child, Some(level))));
        }
        Ok(stats)
    }
}
