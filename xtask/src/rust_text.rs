//! Rust source seen through a keyhole: enough of the lexer to tell code from comments and strings.
//!
//! Invariants
//! 1. Blanked text has the length and the line breaks of the original, so offsets and lines agree.
//! 2. A word inside a comment, a string or a character literal is never taken for code.
//!
//! Not here: what the code means (`tidy::source`, `tidy::cycles`).

/// A word or mark of code, with its line (from 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// An identifier, a keyword, `::`, or a single character.
    pub(crate) text: &'a str,
    /// The line it stands on, counted from 1.
    pub(crate) line: usize,
}

/// The source with comments, strings and character literals replaced by spaces.
pub(crate) fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        at = match end_of_text(bytes, at) {
            Some(end) => {
                wipe(&mut out[at..end]);
                end
            }
            None => at + 1,
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Blanked code without the items that only tests compile (`#[cfg(test)]`).
pub(crate) fn without_tests(blanked: &str) -> String {
    let mut out = blanked.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = blanked.get(from..).and_then(|rest| rest.find("#[cfg(test)]")) {
        let start = from + found;
        let end = end_of_item(blanked.as_bytes(), start);
        wipe(&mut out[start..end]);
        from = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Cuts blanked code into tokens.
pub(crate) fn tokens(blanked: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut characters = blanked.char_indices().peekable();
    while let Some((start, character)) = characters.next() {
        let mut end = start + character.len_utf8();
        if character == '\n' {
            line += 1;
        }
        if character.is_whitespace() {
            continue;
        }
        if is_word(character) {
            while let Some((at, next)) = characters.next_if(|(_, next)| is_word(*next)) {
                end = at + next.len_utf8();
            }
        } else if character == ':' && characters.next_if(|(_, next)| *next == ':').is_some() {
            end += 1;
        }
        tokens.push(Token { text: &blanked[start..end], line });
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Where the comment, string or character literal that starts at `at` ends; `None` where none starts.
fn end_of_text(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes[at] {
        b'/' if bytes.get(at + 1) == Some(&b'/') => Some(find(bytes, at, b'\n')),
        b'/' if bytes.get(at + 1) == Some(&b'*') => Some(end_of_block_comment(bytes, at)),
        b'"' => Some(end_of_quoted(bytes, at, b'"')),
        b'\'' => end_of_character(bytes, at),
        b'r' if at == 0 || !follows_word(bytes, at) => end_of_raw_string(bytes, at),
        _ => None,
    }
}

/// Whether the `r` at `at` ends a longer word; the prefixes `b` and `c` of a string are no word.
fn follows_word(bytes: &[u8], at: usize) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let before = bytes[at - 1];
    let prefix = (before == b'b' || before == b'c') && (at < 2 || !word(bytes[at - 2]));
    word(before) && !prefix
}

fn find(bytes: &[u8], from: usize, wanted: u8) -> usize {
    bytes[from..].iter().position(|byte| *byte == wanted).map_or(bytes.len(), |distance| from + distance)
}

fn end_of_block_comment(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn end_of_quoted(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Tells `'x'` from the lifetime `'x`.
fn end_of_character(bytes: &[u8], start: usize) -> Option<usize> {
    match *bytes.get(start + 1)? {
        b'\\' => Some(end_of_quoted(bytes, start, b'\'')),
        first => {
            let width = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            let close = start + 1 + width;
            (bytes.get(close) == Some(&b'\'')).then_some(close + 1)
        }
    }
}

fn end_of_raw_string(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut at = open + 1;
    while at < bytes.len() {
        let close = find(bytes, at, b'"');
        let tail = bytes.get(close + 1..close + 1 + hashes);
        if tail.is_some_and(|tail| tail.iter().all(|byte| *byte == b'#')) {
            return Some(close + 1 + hashes);
        }
        at = close + 1;
    }
    Some(bytes.len())
}

/// The end of the item whose attribute starts at `start`: its `;`, or the brace that closes its body.
fn end_of_item(blanked: &[u8], start: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in blanked.iter().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' if depth == 0 => return at,
            b'}' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    blanked.len()
}

fn wipe(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(&blank(source)).iter().map(|token| token.text.to_owned()).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        for hidden in [
            "// secret\n",
            "/* a /* secret */ secret */",
            "\"secret \\\" secret\"",
            "r\"secret\\\"",
            "r##\"secret \"# secret\"##",
            "br#\"secret\"#",
            "b\"secret\"",
            "//! secret \" ' secret\n",
            "\"/* secret\"",
        ] {
            let seen = words(&format!("before {hidden} after"));
            assert!(!seen.contains(&"secret".to_owned()), "{hidden}: {seen:?}");
            assert_eq!(seen.last().map(String::as_str), Some("after"), "{hidden}");
        }
    }

    #[test]
    fn character_literals_and_lifetimes_are_told_apart() {
        assert_eq!(words("f('\"', '\\'', 'é', x)"), ["f", "(", ",", ",", ",", "x", ")"]);
        assert_eq!(
            words("fn g<'a>(s: &'a str)"),
            "fn g < ' a > ( s : & ' a str )".split(' ').collect::<Vec<_>>()
        );
    }

    #[test]
    fn raw_identifiers_and_words_ending_in_r_are_code() {
        assert_eq!(words("r#type for\"x\" y"), ["r", "#", "type", "for", "y"]);
    }

    #[test]
    fn blanked_text_keeps_its_length_and_lines() {
        let source = "a /* b\nc */ \"d\ne\" 'f' // é\ng";
        let blanked = blank(source);
        assert_eq!(blanked.len(), source.len());
        assert_eq!(blanked.matches('\n').count(), source.matches('\n').count());
        let last = tokens(&blanked).pop().unwrap();
        assert_eq!((last.text, last.line), ("g", 4));
    }

    #[test]
    fn unfinished_text_runs_to_the_end_without_a_panic() {
        for source in ["\"abc", "/* abc", "r#\"abc\"", "'", "'\\", "\"\\", "r", "//"] {
            assert_eq!(blank(source).len(), source.len(), "{source}");
        }
    }

    #[test]
    fn items_for_tests_are_taken_out_and_nothing_else() {
        let code = "fn a() { { } }\n#[cfg(test)]\nmod tests { fn b() { {} } }\nfn c() {}\n#[cfg(test)] use d;\nfn e() {}";
        let kept = without_tests(code);
        for (name, expected) in
            [("fn a", true), ("fn b", false), ("fn c", true), ("use d", false), ("fn e", true)]
        {
            assert_eq!(kept.contains(name), expected, "{name}");
        }
        assert_eq!(kept.len(), code.len());
    }
}
