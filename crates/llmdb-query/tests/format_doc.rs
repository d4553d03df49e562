//! `docs/format.md` is true of values: its table is that of the source, and what is stored begins with those tags.

use llmdb_query::Value;
use llmdb_query::value::{TAG_JSON, TAG_RAW};

const DOC: &str = include_str!("../../../docs/format.md");
const SOURCE: &str = include_str!("../src/value.rs");

#[test]
fn the_table_of_tags_in_the_document_is_the_one_in_the_source() {
    let marks = DOC.lines().filter(|line| line.starts_with("<!-- table: query/"));
    assert_eq!(marks.collect::<Vec<_>>(), ["<!-- table: query/value -->"]);
    let (_, table) = DOC.split_once("<!-- table: query/value -->\n```text\n").expect("the document's table");
    let (table, _) = table.split_once("\n```\n").expect("the table ends");
    let head = SOURCE.lines().map_while(|line| line.strip_prefix("//!"));
    let head: Vec<&str> = head.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    let head = head.join("\n");
    let (_, source) = head.split_once("```text\n").expect("the source's table");
    let (source, _) = source.split_once("\n```").expect("the table ends");
    assert_eq!(table, source);
}

#[test]
fn stored_values_begin_with_the_documented_tags() {
    assert_eq!(Value::Raw(vec![7, 0, 9]).encode(), [0x01, 7, 0, 9]);
    assert_eq!(Value::from(serde_json::json!({"a": [1, "b"]})).encode(), b"\x02{\"a\":[1,\"b\"]}");
    for (tag, kind) in [(TAG_RAW, "the bytes as they are"), (TAG_JSON, "JSON text without spaces, UTF-8")] {
        assert!(DOC.lines().any(|line| line == format!("{tag:#04x}  {kind}")), "{tag:#04x}");
    }
    for reserved in [0x03, 0x04, 0x05] {
        assert!(Value::decode(&[reserved, 1]).is_err(), "reserved tags are not read yet");
    }
}
