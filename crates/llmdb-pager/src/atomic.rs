//! The atomics of what is modelled in every order of its steps: the model puts its own in their place.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
