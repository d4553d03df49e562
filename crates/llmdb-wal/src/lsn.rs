//! Log sequence numbers.

/// A place in the log: bytes since its beginning, over all rounds of the ring.
pub type Lsn = u64;
