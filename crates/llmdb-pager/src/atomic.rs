//! The atomics of what is modelled in every order of its steps, and what stands beside them there: the model
//! puts its own in their place.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
pub(crate) use std::thread::yield_now;
pub(crate) use std::thread_local;

/// Slots of the reader table are made this many at a time.
pub(crate) const SEGMENT: usize = 64;
/// Segments of the reader table: 65,536 open snapshots. One more waits until another ends.
pub(crate) const SEGMENTS_MAX: usize = 1024;
