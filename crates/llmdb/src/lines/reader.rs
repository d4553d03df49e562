//! Input, a line at a time, as it comes.
//!
//! Invariants
//! 1. A line is handed out as soon as its end has arrived: nothing waits for more input.
//! 2. Lines count from 1, blank ones included; blank ones are not handed out.

use std::io::{self, BufRead};

/// The lines of a stream.
pub(crate) struct Reader<R> {
    input: R,
    line: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, line: 0, bytes: 0, buffer: Vec::new() }
    }

    /// The next line that is not blank, with its number, without its end.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        loop {
            self.buffer.clear();
            let read = self.input.read_until(b'\n', &mut self.buffer)?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.bytes += read as u64;
            if self.line == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") {
                self.buffer.drain(..3);
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(Some((self.line, self.buffer.trim_ascii())));
            }
        }
    }

    /// How many bytes were read.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_count_but_are_skipped_and_a_last_line_needs_no_end() {
        let mut reader = Reader::new(&b"\xef\xbb\xbfa\r\n\n  \t\nb\nc"[..]);
        assert_eq!(reader.next().unwrap(), Some((1, &b"a"[..])));
        assert_eq!(reader.next().unwrap(), Some((4, &b"b"[..])));
        assert_eq!(reader.next().unwrap(), Some((5, &b"c"[..])));
        assert_eq!(reader.next().unwrap(), None);
        assert_eq!(reader.bytes(), 14);
    }
}
