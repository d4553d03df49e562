//! Reports of a run: what a reader gets to see of a [`RunReport`](crate::results::RunReport).
//!
//! In reading order: [`words`] numbers and settings in words; [`contest`] engines side by side; [`targets`] met,
//! missed, not measurable; [`latency`] histograms; [`compare`] against an earlier run; then the forms:
//! [`terminal`], [`markdown`], [`plot`] and [`html`]; [`folder`] writes them all.
//!
//! Invariants
//! 1. Every form shows the machine, each engine's settings, and whether its commits are durable.
//! 2. A result with an error shows the error and none of its figures.
//!
//! Not here: measuring (`workload`, `runner`), and the gate's comment (`gate`).

pub mod compare;
pub mod contest;
pub mod folder;
pub mod html;
pub mod latency;
pub mod markdown;
pub mod plot;
pub mod targets;
pub mod terminal;
pub mod words;
