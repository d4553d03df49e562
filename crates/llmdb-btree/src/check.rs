//! Checking trees: what the pager's check asks of each page, then the order and count of every tree.

use crate::database::{Database, ReadTxn};
use crate::error::Error;
use crate::node::leaf::Leaf;
use crate::node::{BRANCH, FOREST, LEAF};
use crate::tree::Tree;
use crate::value::Stored;
use llmdb_pager::{CheckReport, Damage, ExtentUse, Page, PageNumber, Pager, Progress};

/// Checks all pages of `pager` as pages of trees, and, where they are sound, every tree as a whole.
///
/// # Errors
/// Only what stops the check itself; damage is in the report.
pub fn check(pager: &Pager, progress: Progress<'_>) -> Result<CheckReport, Error> {
    let page_size = pager.page_size();
    let mut report = pager.check(&mut |page, parent| visit(page, parent, page_size), progress)?;
    if report.damage.is_empty() {
        let txn = ReadTxn::of(pager.snapshot());
        for name in txn.tree_names()? {
            if let Some(tree) = txn.tree(&name)?
                && let Some(what) = flaw_of(&tree)?
            {
                report.damage.push(Damage { page: PageNumber(0), what: format!("tree {name:?}: {what}") });
            }
        }
    }
    Ok(report)
}

impl Database {
    /// As [`check`], after a [`Database::sync`].
    ///
    /// # Errors
    /// As [`check`] and [`Database::sync`].
    pub fn check(&self, progress: Progress<'_>) -> Result<CheckReport, Error> {
        self.sync()?;
        check(self.pager(), progress)
    }
}

fn visit(page: Page<'_>, parent: Option<Page<'_>>, page_size: usize) -> Result<Vec<ExtentUse>, String> {
    let fits = match parent {
        None => page.kind() == FOREST,
        Some(parent) if parent.kind() == FOREST && parent.level() > 0 => {
            page.kind() == FOREST && page.level() + 1 == parent.level()
        }
        Some(parent) if parent.kind() == FOREST => page.kind() == LEAF || page.kind() == BRANCH,
        Some(parent) => page.kind() != FOREST && page.level() + 1 == parent.level(),
    };
    if !fits {
        return Err(format!(
            "a page of kind {} and level {} does not belong here",
            page.kind().0,
            page.level()
        ));
    }
    if page.kind() != LEAF {
        return Ok(Vec::new());
    }
    let leaf = Leaf::new(page);
    Ok((0..leaf.len())
        .filter_map(|index| match leaf.value(index) {
            Stored::Inline(_) => None,
            Stored::Large(large) => Some(ExtentUse {
                run: large.run(page_size),
                len: large.len,
                intact: Box::new(move |bytes| large.is_intact(bytes)),
            }),
        })
        .collect())
}

/// Walks a tree: keys must rise from leaf to leaf, be found by a descent, and be as many as the tree says.
fn flaw_of(tree: &Tree<'_>) -> Result<Option<String>, Error> {
    let mut cursor = tree.cursor();
    let mut count = 0;
    let mut last: Vec<u8> = Vec::new();
    let mut stands = cursor.first()?;
    while stands {
        count += 1;
        if cursor.key() <= last.as_slice() {
            return Ok(Some(format!("key {:?} does not rise", String::from_utf8_lossy(cursor.key()))));
        }
        if tree.get_stored(cursor.key())?.is_none() {
            return Ok(Some(format!(
                "key {:?} stands where no search finds it",
                String::from_utf8_lossy(cursor.key())
            )));
        }
        last = cursor.key().to_vec();
        stands = cursor.next()?;
    }
    Ok((count != tree.len()).then(|| format!("{count} records are there, but {} are counted", tree.len())))
}
