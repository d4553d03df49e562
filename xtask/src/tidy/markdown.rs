//! The little of Markdown that tidy and ci need: fenced blocks, links, headings.
//!
//! Invariants
//! 1. Nothing inside a fence or a code span is a link or a heading.
//! 2. Anchors are made as code hosts make them: lower case, punctuation dropped, spaces to hyphens, and a
//!    number behind a repeated one.
//!
//! Not here: where links must lead (`documents`).

use std::collections::BTreeMap;

/// A link's target as it is written, and its line (from 1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) target: String,
    pub(super) line: usize,
}

/// The targets of all links and images of a document.
pub(super) fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, prose) in prose(text) {
        let prose = without_code_spans(prose);
        let mut rest = prose.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            links.push(Link { target: target(until_closed(rest)), line });
        }
        if let Some(definition) = prose.trim_start().strip_prefix('[')
            && let Some((_, written)) = definition.split_once("]: ")
        {
            links.push(Link { target: target(written), line });
        }
    }
    links
}

/// The anchors that a document offers.
pub(super) fn anchors(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = Vec::new();
    for (_, line) in prose(text) {
        if let Some(title) = heading(line) {
            let slug = slug(title);
            let repeated = seen.entry(slug.clone()).or_default();
            anchors.push(if *repeated == 0 { slug } else { format!("{slug}-{repeated}") });
            *repeated += 1;
        }
        for attribute in ["id=\"", "name=\""] {
            if let Some((_, named)) = line.split_once(attribute) {
                anchors.extend(named.split('"').next().map(str::to_owned));
            }
        }
    }
    anchors
}

/// Lines outside of fenced blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return Some((index + 1, line)),
            _ => {}
        }
        None
    })
}

fn without_code_spans(line: &str) -> String {
    line.split('`').enumerate().map(|(index, part)| if index % 2 == 0 { part } else { "" }).collect()
}

/// What stands before the parenthesis that closes a link; the target may hold pairs of its own.
fn until_closed(rest: &str) -> &str {
    let mut depth = 0;
    for (at, character) in rest.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => return &rest[..at],
            ')' => depth -= 1,
            _ => {}
        }
    }
    rest
}

/// A written target without its title and angle brackets.
fn target(written: &str) -> String {
    let written = written.trim();
    match written.strip_prefix('<').and_then(|inner| inner.split_once('>')) {
        Some((inner, _)) => inner.to_owned(),
        None => written.split_whitespace().next().unwrap_or_default().to_owned(),
    }
}

fn heading(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    ((1..=6).contains(&level) && title.starts_with(' ')).then(|| title.trim())
}

fn slug(title: &str) -> String {
    let text: String = match title.split_once("](") {
        Some((label, rest)) => format!("{}{}", label.replace('[', ""), &rest[until_closed(rest).len()..]),
        None => title.to_owned(),
    };
    let kept = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .collect::<String>();
    kept.replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(text: &str) -> Vec<String> {
        links(text).into_iter().map(|link| link.target).collect()
    }

    #[test]
    fn all_ways_to_write_a_link_are_read() {
        let text =
            "[a](one.md) and ![b](two.png \"title\") [c](<three four.md>)\n[d]: five.md\n[e](six(7).md)";
        assert_eq!(targets(text), ["one.md", "two.png", "three four.md", "five.md", "six(7).md"]);
        assert_eq!(links(text)[3].line, 2);
    }

    #[test]
    fn code_holds_no_links_and_no_headings() {
        let text =
            "```sh\n[a](one.md)\n# no\n```\n`[b](two.md)` [c](three.md)\n~~~\n```\n[d](four.md)\n~~~\n# Yes";
        assert_eq!(targets(text), ["three.md"]);
        assert_eq!(anchors(text), ["yes"]);
    }

    #[test]
    fn anchors_are_made_as_code_hosts_make_them() {
        let text = "# What it is, and isn't\n## `llmdb ask`: a-b_c\n## Limits\n### Limits\n#no\n<a id=\"here\"></a>\n## See [x](y.md)";
        let expected = ["what-it-is-and-isnt", "llmdb-ask-a-b_c", "limits", "limits-1", "here", "see-x"];
        assert_eq!(anchors(text), expected);
    }
}
