//! JSON lines in, JSON lines out: the door for scripts, tests and other languages.
//!
//! ```text
//!   {"op":"put","key":..}    ──apply()──>  {"commit":n,"known_at":T,"ops":k,"refused":[]}
//!   {"op":"get","key":..}    ──ask()────>  {"id":1,"value":..,"valid":[..],"known":[..],"asserted":{..}}
//! ```
//!
//! The protocol is described in `docs/json-lines.md`, whose examples are run by a test.
//!
//! Reading order: [`time`] and [`key`] (how they are written), `fields` (one line taken apart), `op` and
//! [`apply`](apply()), `question` and [`ask`](ask()), [`answer`] (what is printed).
//!
//! Invariants
//! 1. A line is understood whole or refused: an unknown field is an error, never ignored.
//! 2. Every refusal names the line, the field where there is one, and what to do.
//!
//! Not here: arguments, tables, exit codes (the binary).

pub mod answer;
mod apply;
mod ask;
mod fields;
pub mod key;
mod op;
mod question;
mod reader;
pub mod time;

pub use crate::line_error::{Fault, LineError};
pub use apply::{Applied, apply};
pub use ask::{Asked, ask};
pub use question::{Asking, parse as parse_question};
pub use time::Times;
