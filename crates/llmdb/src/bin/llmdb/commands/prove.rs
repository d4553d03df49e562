//! `check --prove-erased`: whether anything of what was erased stands in the files.
//!
//! What it proves
//! 1. That no wipe is owed: the commit that erases says so in itself, and only a wipe that overwrote everything and flushed it
//!    takes that away. Then each byte that stood there before the last erasure was overwritten, or belongs to what is there.
//! 2. That none of the given byte strings stands in the data file, the log, or further files, read as they are.
//!
//! Besides it tells how many bytes stand in free room that are not zero: what was replaced since the last wipe.
//!
//! Not here: overwriting (`llmdb_wal::Store::wipe`).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use llmdb::{Database, Error, json};
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
        needles.push(needle(format!("key {}", at + 1), vec![key.0.clone(), escaped])?);
    }
    for (at, value) in args.values.iter().enumerate() {
        let mut forms = vec![value.clone().into_bytes()];
        match serde_json::from_str::<Json>(value) {
            // Without its quotes, as it stands inside other text.
            Ok(Json::String(text)) => forms = vec![text.into_bytes()],
            Ok(json) => forms.push(json.to_string().into_bytes()),
            Err(_) => {}
        }
        needles.push(needle(format!("value {}", at + 1), forms)?);
    }
    Ok(needles)
}

fn needle(what: String, mut forms: Vec<Vec<u8>>) -> Result<Needle, Failure> {
    forms.sort();
    forms.dedup();
    match forms.iter().map(Vec::len).min() {
        Some(least) if least >= NEEDLE_SIZE_MIN => Ok(Needle { what, forms }),
        _ => Err(Failure::Refused(format!(
            "{what} has fewer than {NEEDLE_SIZE_MIN} bytes, which stand in any file by chance: give more of it"
        ))),
    }
}

/// The report, and whether all is gone.
pub(super) fn prove(db: &Database, needles: &[Needle], also: &[PathBuf]) -> Result<(Json, bool), Failure> {
    let store = db.temporal().store();
    store.checkpoint().map_err(Error::from)?;
    let owed = db.wipe_owed()?;
    let rests = store.rests().map_err(Error::from)?;
    let erasures = db.begin_read()?.temporal().erasures().map_err(Error::from)?.len();
    let log = llmdb_pager::beside(store.path(), "-wal");
    let own = [store.path().to_owned(), log].into_iter().filter(|path| path.exists());
    let mut found = Vec::new();
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
        "erasures": erasures,
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
