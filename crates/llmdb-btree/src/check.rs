//! Checking trees: what the pager's check asks of each page, and what every tree must be as a whole.
//!
//! Invariants
//! 1. Each page is looked at once, in any order: a page gets from the one above the bounds of its keys, so
//!    that keys within their bounds rise from leaf to leaf and are where a search looks for them.
//! 2. A tree's records are counted as its leaves come by.

use crate::database::{Database, ReadTxn};
use crate::error::Error;
use crate::forest;
use crate::node::branch::Branch;
use crate::node::leaf::Leaf;
use crate::node::{BRANCH, FOREST, LEAF};
use crate::value::Stored;
use llmdb_pager::{Below, CheckReport, Damage, ExtentUse, Page, PageNumber, Pager, Progress};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Checks all pages of `pager` as pages of trees, and, where they are sound, every tree's count of records.
///
/// # Errors
/// Only what stops the check itself; damage is in the report.
pub fn check(pager: &Pager, progress: Progress<'_>) -> Result<CheckReport, Error> {
    let trees = Trees::counting();
    let mut report = pager.check(&|page, place| trees.visit(page, place), progress)?;
    if report.damage.is_empty() {
        for count in trees.miscounted() {
            report.damage.push(Damage { page: PageNumber(0), what: count.flaw(count.name(pager)) });
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

/// What is known of all trees while pages come by.
pub(crate) struct Trees {
    /// Where every page comes by once.
    counts: Option<Mutex<Vec<Arc<Count>>>>,
}

/// How many records a tree should have, and how many were found.
pub(crate) struct Count {
    tree: u64,
    expected: u64,
    found: AtomicU64,
}

impl Count {
    /// What is wrong with the tree of this name, if it is known.
    pub(crate) fn flaw(&self, name: Option<String>) -> String {
        let found = self.found.load(Ordering::Relaxed);
        let name = name.map_or_else(|| format!("number {}", self.tree), |name| format!("{name:?}"));
        format!("tree {name}: {found} records are there, but {} are counted", self.expected)
    }

    /// The tree's name now, which may have been checked under another one.
    fn name(&self, pager: &Pager) -> Option<String> {
        let txn = ReadTxn::of(pager.snapshot());
        let names = txn.tree_names().ok()?;
        names.into_iter().find(
            |name| matches!(txn.number_of(name), Ok(Some(tree)) if u64::from(tree.number()) == self.tree),
        )
    }
}

/// A page's place: the page above it, and which of its references leads here.
pub(crate) struct Place {
    above: Arc<Above>,
    slot: usize,
}

/// A page that refers to others, with what it got from the one above.
struct Above {
    bytes: Box<[u8]>,
    /// Keys below it are at least this.
    low: Option<Vec<u8>>,
    /// Keys below it are less than this.
    high: Option<Vec<u8>>,
    /// The tree; none above the trees' roots.
    tree: Option<Arc<Count>>,
    /// Forest pages: the number of the first tree below.
    base: u64,
}

/// What a place says of the page that stands there.
#[derive(Default)]
struct Bounds {
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
    tree: Option<Arc<Count>>,
    base: u64,
}

impl Trees {
    /// For pages that come by in part, or more than once: nothing is counted.
    pub(crate) fn new() -> Self {
        Self { counts: None }
    }

    /// For all pages, each once.
    pub(crate) fn counting() -> Self {
        Self { counts: Some(Mutex::default()) }
    }

    /// The trees that have other numbers of records than are counted, once all pages came by.
    pub(crate) fn miscounted(&self) -> Vec<Arc<Count>> {
        let counts = self.counts.iter();
        counts
            .flat_map(|counts| counts.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .filter(|count| count.expected != count.found.load(Ordering::Relaxed))
            .collect()
    }

    /// What is below a page, and what is wrong with it at its place.
    pub(crate) fn visit(&self, page: Page<'_>, place: Option<&Place>) -> Below<Place> {
        let mut below = Below::default();
        if !fits(page, place.map(|place| Page::new(&place.above.bytes))) {
            below.flaws.push(format!(
                "a page of kind {} and level {} does not belong here",
                page.kind().0,
                page.level()
            ));
            return below;
        }
        let bounds = place.map(|place| self.bounds(place)).unwrap_or_default();
        match page.kind() {
            LEAF => leaf(page, &bounds, &mut below),
            BRANCH => branch(Branch::new(page), &bounds, &mut below),
            _ => {}
        }
        if page.kind() != LEAF {
            below.is_last = page.kind() == BRANCH && page.level() == 1;
            let narrowed =
                if page.kind() == BRANCH { bounds.within(Branch::new(page).prefix()) } else { bounds };
            let Bounds { low, high, tree, base } = narrowed;
            let above = Arc::new(Above { bytes: page.bytes().into(), low, high, tree, base });
            let place = |slot| Place { above: above.clone(), slot };
            below.places = (0..page.ref_count()).map(place).collect();
            if page.kind() == FOREST && page.level() == 0 {
                self.enter_empty(page, base);
            }
        }
        below
    }

    fn bounds(&self, place: &Place) -> Bounds {
        let (above, slot) = (&*place.above, place.slot);
        let page = Page::new(&above.bytes);
        if page.kind() == FOREST {
            let base = above.base + slot as u64 * forest::width(above.bytes.len(), page.level());
            let tree = (page.level() == 0).then(|| self.enter(base, forest::stat(page, slot).len));
            return Bounds { tree, base, ..Bounds::default() };
        }
        let branch = Branch::new(page);
        Bounds {
            low: if slot > 0 { Some(branch.separator(slot - 1)) } else { above.low.clone() },
            high: if slot < branch.separators() { Some(branch.separator(slot)) } else { above.high.clone() },
            tree: above.tree.clone(),
            base: 0,
        }
    }

    fn enter(&self, tree: u64, expected: u64) -> Arc<Count> {
        let count = Arc::new(Count { tree, expected, found: AtomicU64::new(0) });
        if let Some(counts) = &self.counts {
            counts.lock().unwrap_or_else(PoisonError::into_inner).push(count.clone());
        }
        count
    }

    /// Trees without a page: they should have no record.
    fn enter_empty(&self, page: Page<'_>, base: u64) {
        for slot in (0..page.ref_count()).filter(|slot| page.reference(*slot).is_null()) {
            let stat = forest::stat(page, slot);
            if stat.form != 0 {
                self.enter(base + slot as u64, stat.len);
            }
        }
    }
}

fn leaf(page: Page<'_>, bounds: &Bounds, below: &mut Below<Place>) {
    let leaf = Leaf::new(page);
    if let Some(tree) = &bounds.tree {
        tree.found.fetch_add(leaf.len() as u64, Ordering::Relaxed);
    }
    if leaf.len() > 0 {
        let key = |index| [leaf.prefix(), leaf.suffix(index)].concat();
        below.flaws.extend(bounds.flaw(&key(0), &key(leaf.len() - 1)));
    }
    below.extents = extents(page);
}

/// The large values that a leaf refers to.
pub(crate) fn extents(leaf: Page<'_>) -> Vec<ExtentUse> {
    let page_size = leaf.bytes().len();
    let leaf = Leaf::new(leaf);
    (0..leaf.len())
        .filter_map(|index| match leaf.value(index) {
            Stored::Inline(_) => None,
            Stored::Large(large) => Some(ExtentUse {
                run: large.run(page_size),
                len: large.len,
                born: large.born,
                intact: Box::new(move |bytes| large.is_intact(bytes)),
            }),
        })
        .collect()
}

fn branch(branch: Branch<'_>, bounds: &Bounds, below: &mut Below<Place>) {
    if branch.separators() > 0 {
        let (first, last) = (branch.separator(0), branch.separator(branch.separators() - 1));
        below.flaws.extend(bounds.flaw(&first, &last));
    }
}

impl Bounds {
    /// The bounds of keys that besides begin with a branch's prefix: its search takes that for granted.
    fn within(mut self, prefix: &[u8]) -> Self {
        if self.low.as_deref().is_none_or(|low| low < prefix) {
            self.low = Some(prefix.to_vec());
        }
        let behind = prefix.iter().rposition(|byte| *byte != u8::MAX).map(|last| {
            let mut behind = prefix[..=last].to_vec();
            behind[last] += 1;
            behind
        });
        if behind.is_some() && (self.high.is_none() || self.high > behind) {
            self.high = behind;
        }
        self
    }

    /// Whether rising keys from `first` to `last` are out of place.
    fn flaw(&self, first: &[u8], last: &[u8]) -> Option<String> {
        let stray = if self.low.as_deref().is_some_and(|low| first < low) {
            first
        } else if self.high.as_deref().is_some_and(|high| last >= high) {
            last
        } else {
            return None;
        };
        Some(format!("key {:?} stands where no search finds it", String::from_utf8_lossy(stray)))
    }
}

/// Whether a page of this kind and level may stand below `above`.
fn fits(page: Page<'_>, above: Option<Page<'_>>) -> bool {
    match above {
        None => page.kind() == FOREST,
        Some(above) if above.kind() == FOREST && above.level() > 0 => {
            page.kind() == FOREST && page.level() + 1 == above.level()
        }
        Some(above) if above.kind() == FOREST => page.kind() == LEAF || page.kind() == BRANCH,
        Some(above) => page.kind() != FOREST && page.level() + 1 == above.level(),
    }
}
