//! `stat` and `check`.
use crate::args::Whole;
use crate::exit::{DONE, Failure};
pub(crate) fn stat(_args: &Whole) -> Result<u8, Failure> { Ok(DONE) }
pub(crate) fn check(_args: &Whole) -> Result<u8, Failure> { Ok(DONE) }
