//! Raw: the crate's only unsafe code, each piece behind a safe face.
//!
//! Invariants
//! 1. Nothing here is visible outside the crate, and no safe call of what is visible can break memory.
//! 2. Each `unsafe` states what proves it. `vm` rests on the tanks lying inside the store that is kept beside them;
//!    `reserve`, `memory` and `window` on a reservation of addresses that one memory owns; `artifact` on bytes whose origin its
//!    caller has authenticated.

pub(crate) mod artifact;
#[cfg(unix)]
mod memory;
#[cfg(unix)]
mod reserve;
pub(crate) mod vm;
#[cfg(unix)]
pub(crate) mod window;
