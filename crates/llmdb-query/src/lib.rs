//! Values, questions and streaming answers over bitemporal collections.
//!
//! ```text
//!   Question ──ask()──> Answer::Fact(..)          one belief or none
//!                       Answer::Rows(Rows)        a row at a time, bounded memory
//!   Value  <──encode/decode──>  bytes of a belief (one tag byte, then the payload)
//! ```
//!
//! Reading order: [`value`] (what a belief holds), [`question`] (what can be asked), [`answer`] (what
//! comes back), [`exec`] (how), and with the feature `wasm` `reduce` and `functions` (user functions
//! over a scan).
//!
//! Invariants
//! 1. A question is honoured or refused: no part of it is dropped.
//! 2. One question reads one snapshot.
//! 3. Rows stream: memory does not grow with the number of rows of a scan.
//!
//! Not here: text forms (JSON lines, SQL), files and terminals.

pub mod answer;
pub mod error;
pub mod exec;
#[cfg(feature = "wasm")]
pub mod functions;
pub mod question;
#[cfg(feature = "wasm")]
pub mod reduce;
pub mod value;

pub use answer::{Answer, ChangeRow, DiffRow, Fact, Row, Rows};
pub use error::Error;
pub use exec::ask;
#[cfg(feature = "wasm")]
pub use functions::{FactScan, filter, map};
pub use llmdb_temporal as temporal;
pub use question::{KeyRange, Question};
#[cfg(feature = "wasm")]
pub use reduce::{Reduced, reduce};
pub use value::Value;
