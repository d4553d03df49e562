//! What a write transaction offers besides single records.

pub(crate) mod bulk;
mod range;
