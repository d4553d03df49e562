//! What a write transaction offers besides single records.

pub(crate) mod bulk;
pub(crate) mod cursor;
mod range;
mod stream;
