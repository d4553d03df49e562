//! Criterion benches of the micro level.
fn main() {}
