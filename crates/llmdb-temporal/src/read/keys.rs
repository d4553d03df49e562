//! The distinct keys of a collection in a range, one after the other, each passed over by a few steps or, where
//! it has many entries, by one seek.
//!
//! Invariants
//! 1. Keys come ascending and once, whether they have living entries, dead ones or both.
//! 2. Memory does not grow with the number of keys.

use std::ops::Bound;

use llmdb_wal::Cursor;

use super::Collection;
use crate::catalog;
use crate::encoding;
use crate::error::Error;
use crate::points::damaged;

/// Steps to the next entry that are tried before seeking: keys with few entries are passed by stepping.
const STEP_COUNT_MAX: usize = 8;

/// A walk over encoded keys.
pub(crate) struct Keys<'t> {
    number: u32,
    live: Walk<'t>,
    dead: Option<Walk<'t>>,
    /// No stored key below it is of interest any more.
    lower: Vec<u8>,
    /// The last encoded key of interest.
    upper: Bound<Vec<u8>>,
}

impl<'t> Keys<'t> {
    /// Walks the keys between two bounds; those without a living entry only if `with_dead`.
    pub(crate) fn between(
        collection: &Collection<'t>,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        with_dead: bool,
    ) -> Self {
        let lower = match from {
            Bound::Included(key) => encoding::prefix(key),
            Bound::Excluded(key) => encoding::after(&encoding::prefix(key)),
            Bound::Unbounded => vec![0],
        };
        Self {
            number: collection.number,
            live: Walk::new(collection.live.tree.cursor()),
            dead: with_dead.then(|| Walk::new(collection.dead.tree.cursor())),
            lower,
            upper: to.map(encoding::prefix),
        }
    }

    /// The next encoded key.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut least: Option<Vec<u8>> = None;
        if let Some(stored) = self.live.forward_to(&self.lower)? {
            let key = encoding::split_live(stored)
                .map_err(|what| damaged(catalog::now_tree(self.number), stored, &what.into()))?;
            least = Some(key.prefix.to_vec());
        }
        if let Some(stored) = self.dead.as_mut().map_or(Ok(None), |dead| dead.forward_to(&self.lower))? {
            let key = encoding::split_dead(stored)
                .map_err(|what| damaged(catalog::past_tree(self.number), stored, &what.into()))?;
            if least.as_ref().is_none_or(|least| key.prefix < &least[..]) {
                least = Some(key.prefix.to_vec());
            }
        }
        let least = least.filter(|prefix| match &self.upper {
            Bound::Included(upper) => prefix <= upper,
            Bound::Excluded(upper) => prefix < upper,
            Bound::Unbounded => true,
        });
        if let Some(prefix) = &least {
            self.lower = encoding::after(prefix);
        }
        Ok(least)
    }
}

/// A cursor that only goes forward.
struct Walk<'t> {
    cursor: Cursor<'t>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Entry,
    End,
}

impl<'t> Walk<'t> {
    fn new(cursor: Cursor<'t>) -> Self {
        Self { cursor, place: Place::Start }
    }

    /// The first stored key that is not below `lower`.
    fn forward_to(&mut self, lower: &[u8]) -> Result<Option<&[u8]>, Error> {
        let mut steps = 0;
        while self.place != Place::End && !(self.place == Place::Entry && self.cursor.key() >= lower) {
            let found = if self.place == Place::Start || steps == STEP_COUNT_MAX {
                self.cursor.seek(lower)?
            } else {
                self.cursor.next()?
            };
            steps += 1;
            self.place = if found { Place::Entry } else { Place::End };
        }
        Ok((self.place == Place::Entry).then(|| self.cursor.key()))
    }
}
