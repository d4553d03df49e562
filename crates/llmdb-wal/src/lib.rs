//! A write-ahead log, and durable transactions over B+trees.
