//! The benchmarks of LLMDB.
fn main() {}
