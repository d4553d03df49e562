//! Changing a tree inside a write transaction: pages are copied on the way down, once a transaction.
//!
//! Invariants
//! 1. After every step each page of the path is the transaction's own and its parent refers to it, so a
//!    failure leaves a whole tree.
//! 2. A record that is not there costs no copy.

mod bulk;
mod children;
mod finger;
mod insert;
mod pack;
mod path;
mod range;
mod remove;
mod spread;
mod tidy;

pub(crate) use bulk::{Finished, edge, open_edge};
pub(crate) use finger::Finger;
pub(crate) use insert::{change, insert};
pub(crate) use range::{KeyRange, remove_range};
pub(crate) use remove::{Removed, remove};
pub(crate) use tidy::rebuild;
