//! `check --prove-erased`: whether anything of what was erased stands in the files.
//!
//! What it proves
//! 1. That no wipe is owed: the commit that erases says so in itself, and only a wipe that overwrote everything and flushed it
//!    takes that away. Then each byte that stood there before the last erasure was overwritten, or belongs to what is there.
//! 2. That none of the given byte strings stands in the data file, the log, or further files, read as they are.
//! 3. That no collection has a given key, nor an operation on it. The trees are asked for that: their pages leave out what
//!    neighbouring keys begin with, so the bytes of a key need not stand anywhere as a whole.
//!
//! Besides it tells how many bytes stand in free room that are not zero: what was replaced since the last wipe.
//!
//! Not here: overwriting (`llmdb_wal::Store::wipe`).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use llmdb::lines::{Times, answer};
use llmdb::{Database, Error, Known, json};
use llmdb_temporal::{Erasure, TemporalRead};
use serde_json::Value as Json;

use crate::args::Check;
use crate::exit::Failure;

/// Fewer bytes stand somewhere by chance.
const NEEDLE_SIZE_MIN: usize = 4;
/// Bytes that are read at a time.
const PIECE_SIZE: usize = 4 << 20;
/// Places that are told of for each needle and file.
const PLACES_MAX: usize = 5;

/// A byte string that must stand nowhere.
pub(super) struct Needle {
    /// What it is, and its place among the arguments; not its bytes, which reports should not repeat.
    what: String,
    forms: Vec<Vec<u8>>,
    /// The key, where it is one, that no collection may have.
    key: Option<Vec<u8>>,
}

/// What the arguments ask for.
pub(super) fn needles(args: &Check) -> Result<Vec<Needle>, Failure> {
    let mut needles = Vec::new();
    for (at, key) in args.keys.iter().enumerate() {
        // In a tree a zero byte is followed by an 0xff.
        let escaped: Vec<u8> = key
            .0
            .iter()
            .flat_map(|&byte| [byte, 0xff].into_iter().take(1 + usize::from(byte == 0)))
            .collect();
        let bytes = needle(format!("key {}", at + 1), vec![key.0.clone(), escaped])?;
        needles.push(Needle { key: Some(key.0.clone()), ..bytes });
    }
    for (at, value) in args.values.iter().enumerate() {
        needles.push(needle(format!("value {}", at + 1), forms_of_value(value))?);
    }
    Ok(needles)
}

/// How a value may stand in a file.
fn forms_of_value(value: &str) -> Vec<Vec<u8>> {
    let inside = |text: &str| {
        let text = text.trim();
        text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).as_bytes().to_vec()
    };
    match serde_json::from_str::<Json>(value) {
        // Without its quotes, as it stands inside other text: as it is, as it is stored, and as it was given.
        Ok(Json::String(text)) => {
            vec![inside(&Json::from(text.as_str()).to_string()), inside(value), text.into_bytes()]
        }
        Ok(json) => vec![value.as_bytes().to_vec(), json.to_string().into_bytes()],
        Err(_) => vec![value.as_bytes().to_vec()],
    }
}

fn needle(what: String, mut forms: Vec<Vec<u8>>) -> Result<Needle, Failure> {
    forms.sort();
    forms.dedup();
    match forms.iter().map(Vec::len).min() {
        Some(least) if least >= NEEDLE_SIZE_MIN => Ok(Needle { what, forms, key: None }),
        _ => Err(Failure::Refused(format!(
            "{what} has fewer than {NEEDLE_SIZE_MIN} bytes, which stand in any file by chance: give more of it"
        ))),
    }
}

/// The report, and whether all is gone.
pub(super) fn prove(
    db: &Database,
    needles: &[Needle],
    also: &[PathBuf],
    times: Times,
) -> Result<(Json, bool), Failure> {
    let store = db.temporal().store();
    store.checkpoint().map_err(Error::from)?;
    let owed = db.wipe_owed()?;
    let rests = store.rests().map_err(Error::from)?;
    let read = db.begin_read()?;
    let erasures = read.temporal().erasures().map_err(Error::from)?;
    let log = llmdb_pager::beside(store.path(), "-wal");
    let own = [store.path().to_owned(), log].into_iter().filter(|path| path.exists());
    let mut found = ask_trees(read.temporal(), needles)?;
    let mut files = Vec::new();
    for path in own.chain(also.iter().cloned()) {
        for (needle, at) in look(&path, needles)? {
            found.push(json!({"what": needle.what, "file": path.display().to_string(), "at": at}));
        }
        files.push(path.display().to_string());
    }
    let is_gone = found.is_empty() && owed.is_none();
    let report = json!({
        "gone": is_gone,
        "erasures": erasures.len(),
        "erased_when": erasures.iter().map(|erasure| told(erasure, times)).collect::<Vec<_>>(),
        "wipe_owed_since_commit": owed.map(llmdb::CommitNumber::get),
        "looked_for": needles.iter().map(|needle| needle.what.as_str()).collect::<Vec<_>>(),
        "files": files,
        "found": found,
        "pages_with_rests": rests.pages,
        "free_bytes_not_zero": rests.free_bytes,
        "log_bytes_not_zero": rests.log_bytes,
    });
    Ok((report, is_gone))
}

/// An erasure: when, and why.
fn told(erasure: &Erasure, times: Times) -> Json {
    let mut told = answer::stamp(erasure.commit.commit, erasure.commit.at, times);
    told["reason"] = erasure.reason.as_str().into();
    told
}

/// Which collections have which of the keys, or an operation on it that is still on record.
fn ask_trees(read: &TemporalRead, needles: &[Needle]) -> Result<Vec<Json>, Failure> {
    let keys: Vec<(&[u8], &str)> =
        needles.iter().filter_map(|needle| Some((needle.key.as_deref()?, needle.what.as_str()))).collect();
    let mut found = BTreeSet::new();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    for name in read.collections().map_err(Error::from)? {
        let collection = read.collection(&name).map_err(Error::from)?;
        for (key, what) in &keys {
            let was_ever = collection.as_ref().map_or(Ok(false), |collection| collection.was_ever(key));
            if was_ever.map_err(Error::from)? {
                found.insert((*what, name.clone()));
            }
        }
    }
    // One that had no effect, or came and went in one transaction, is an operation all the same.
    let kept_from = read.kept_from().map_err(Error::from)?;
    let after = kept_from.map_or(Known::Commit(-1), |mark| Known::At(mark.at));
    for change in read.changes(None, after, Known::Latest).map_err(Error::from)? {
        let change = change.map_err(Error::from)?;
        for (_, what) in keys.iter().filter(|(key, _)| *key == change.key) {
            found.insert((*what, change.collection.clone()));
        }
    }
    Ok(found.into_iter().map(|(what, collection)| json!({"what": what, "collection": collection})).collect())
}

/// Where needles stand in a file, as (needle, offset in bytes).
fn look<'n>(path: &Path, needles: &'n [Needle]) -> Result<Vec<(&'n Needle, u64)>, Failure> {
    let cannot = |error| Failure::Refused(format!("cannot read {}: {error}", path.display()));
    let mut file = File::open(path).map_err(cannot)?;
    let finders: Vec<_> = needles
        .iter()
        .flat_map(|needle| needle.forms.iter().map(move |form| (needle, memchr::memmem::Finder::new(form))))
        .collect();
    let overlap = finders.iter().map(|(_, finder)| finder.needle().len()).max().unwrap_or(1) - 1;
    let (mut bytes, mut start, mut found) = (Vec::new(), 0, Vec::new());
    loop {
        // The end of the piece before stands in front, for what lies across.
        let kept = bytes.len().min(overlap);
        bytes.drain(..bytes.len() - kept);
        let read = (&mut file).take(PIECE_SIZE as u64).read_to_end(&mut bytes).map_err(cannot)?;
        if read == 0 {
            found.sort_by_key(|(_, at)| *at);
            return Ok(found);
        }
        for (needle, finder) in &finders {
            // What ends in the part that was looked at before was told of.
            let places = finder.find_iter(&bytes).filter(|at| at + finder.needle().len() > kept);
            let known =
                found.iter().filter(|(other, _): &&(&Needle, u64)| std::ptr::eq(*other, *needle)).count();
            let places = places.take(PLACES_MAX.saturating_sub(known));
            found.extend(places.map(|at| (*needle, start - kept as u64 + at as u64)));
        }
        start += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(content: &[u8], needles: &[Needle]) -> Vec<(String, u64)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        look(file.path(), needles)
            .unwrap()
            .into_iter()
            .map(|(needle, at)| (needle.what.clone(), at))
            .collect()
    }

    #[test]
    fn a_value_is_looked_for_as_it_is_as_it_is_stored_and_as_it_was_given() {
        let forms = |value: &str| {
            let forms = forms_of_value(value).into_iter().map(|form| String::from_utf8(form).unwrap());
            forms.collect::<BTreeSet<_>>()
        };
        let set = |forms: &[&str]| forms.iter().map(|form| (*form).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(forms("no JSON"), set(&["no JSON"]));
        assert_eq!(forms(r#""plain text""#), set(&["plain text"]));
        assert_eq!(
            forms(r#" "a\"b\u000a\/\u00e9" "#),
            set(&["a\"b\n/é", r#"a\"b\n/é"#, r#"a\"b\u000a\/\u00e9"#])
        );
        assert_eq!(forms(r#"{"a": "\""}"#), set(&[r#"{"a": "\""}"#, r#"{"a":"\""}"#]));
    }

    #[test]
    fn needles_are_found_once_wherever_they_lie() {
        let needles = [
            needle("key 1".into(), vec![b"needle".to_vec()]).unwrap(),
            needle("key 2".into(), vec![b"other".to_vec(), b"longer than the other".to_vec()]).unwrap(),
        ];
        let mut content = vec![b'.'; 2 * PIECE_SIZE + 100];
        for at in [0, PIECE_SIZE - 3, 2 * PIECE_SIZE + 94] {
            content[at..at + 6].copy_from_slice(b"needle");
        }
        let found = places(&content, &needles);
        let at = |place: usize| ("key 1".to_owned(), place as u64);
        assert_eq!(found, [at(0), at(PIECE_SIZE - 3), at(2 * PIECE_SIZE + 94)]);
        assert!(places(b"", &needles).is_empty());
        assert!(needle("key 1".into(), vec![b"abc".to_vec()]).is_err());
    }
}
