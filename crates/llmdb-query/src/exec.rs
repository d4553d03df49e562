//! Answers questions over one snapshot.
//!
//! Invariants
//! 1. Filters are applied before `limit` counts, so a limit never hides a row that matches.
//! 2. `known` on a history shows it as it looked then: later rectangles are left out, and an end that
//!    was not known yet is open. As of a commit of which history was let go it is refused, as every question is.
//!
//! Not here: the storage of rectangles (`llmdb-temporal`).

use llmdb_temporal::{CommitStamp, Known, Period, TemporalRead, ValidTime, Version};

use crate::{Answer, ChangeRow, DiffRow, Error, Fact, KeyRange, Question, Row, Rows, Value};

/// Answers `question` from the snapshot `read`, with at most `limit` rows.
///
/// # Errors
/// When the layer below refuses the question or finds damage; later damage comes out of [`Rows`].
pub fn ask<'t>(
    read: &'t TemporalRead,
    question: &'t Question,
    limit: Option<u64>,
) -> Result<Answer<'t>, Error> {
    let rows = match question {
        Question::Get { collection, key, valid_at, known } => {
            let found = read.get(collection, key, *valid_at, *known)?;
            return Ok(Answer::Fact(
                found.map(|version| Fact::from_version(version).map(Box::new)).transpose()?,
            ));
        }
        Question::Scan { collection, keys, valid_at, known } => {
            scan(read, collection, keys, *valid_at, *known, limit)?
        }
        Question::Timeline { collection, key, window, clamp, known } => {
            let pieces = read.timeline(collection, key, *window, *known)?;
            let window = clamp.then_some(*window);
            facts(pieces.into_iter().map(move |piece| Ok(clamped(piece, window))), limit)
        }
        Question::History { collection, key, valid_at, known } => {
            facts(as_it_looked(read, key, read.history(collection, key, *valid_at)?, *known)?, limit)
        }
        Question::Versions { collection, key, valid_at, known } => {
            let mut versions = read.versions(collection, key)?;
            versions.retain(|version| covers(version.valid, *valid_at));
            facts(as_it_looked(read, key, versions, *known)?, limit)
        }
        Question::Diff { collection, keys, from, to, valid_at } => {
            diff(read, collection, keys, (*from, *to), *valid_at, limit)?
        }
        Question::Changes { collection, keys, after, up_to, valid_at } => {
            let changes = read.changes(collection.as_deref(), *after, *up_to)?.filter(|change| {
                change.as_ref().map_or(true, |c| keys.contains(&c.key) && covers(c.valid, *valid_at))
            });
            Rows::new(changes.map(|change| Ok(Row::Change(ChangeRow::from_change(change?)?))), limit)
        }
    };
    Ok(Answer::Rows(rows))
}

/// The facts of a key range at one instant, a row at a time.
///
/// # Errors
/// As of [`ask`].
pub fn scan<'t>(
    read: &'t TemporalRead,
    collection: &'t str,
    keys: &'t KeyRange,
    valid_at: ValidTime,
    known: Known,
    limit: Option<u64>,
) -> Result<Rows<'t>, Error> {
    if keys.is_empty() {
        read.resolve_kept(known)?;
        return Ok(none());
    }
    let (from, to) = keys.bounds();
    Ok(facts(read.scan(collection, from, to, valid_at, known)?.map(|version| Ok(version?)), limit))
}

fn diff<'t>(
    read: &'t TemporalRead,
    collection: &'t str,
    keys: &'t KeyRange,
    (from, to): (Known, Known),
    valid_at: Option<ValidTime>,
    limit: Option<u64>,
) -> Result<Rows<'t>, Error> {
    if keys.is_empty() {
        read.resolve_kept(from)?;
        read.resolve_kept(to)?;
        return Ok(none());
    }
    let rows = read
        .diff(collection, from, to, keys.bounds())?
        .filter(move |row| row.as_ref().map_or(true, |row| covers(row.valid, valid_at)))
        .map(|row| {
            let row = row?;
            Ok(Row::Difference(DiffRow {
                key: row.key,
                valid: row.valid,
                before: row.before.map(|stored| Value::decode(&stored)).transpose()?,
                after: row.after.map(|stored| Value::decode(&stored)).transpose()?,
            }))
        });
    Ok(Rows::new(rows, limit))
}

fn facts<'t>(versions: impl Iterator<Item = Result<Version, Error>> + 't, limit: Option<u64>) -> Rows<'t> {
    Rows::new(versions.map(|version| Ok(Row::Fact(Fact::from_version(version?)?))), limit)
}

fn none<'t>() -> Rows<'t> {
    Rows::new(std::iter::empty(), None)
}

/// The rectangles of a key as they looked at `known`.
fn as_it_looked(
    read: &TemporalRead,
    key: &[u8],
    versions: Vec<Version>,
    known: Known,
) -> Result<impl Iterator<Item = Result<Version, Error>> + use<>, Error> {
    let newest = read.resolve_kept(known).map_err(|error| error.of_key(key))?;
    Ok(versions.into_iter().filter_map(move |version| seen_from(version, newest?)).map(Ok))
}

fn seen_from(mut version: Version, newest: CommitStamp) -> Option<Version> {
    version.known_to = version.known_to.filter(|ended| ended.commit <= newest.commit);
    (version.known_from.commit <= newest.commit).then_some(version)
}

fn clamped(mut piece: Version, window: Option<Period>) -> Version {
    if let Some(window) = window {
        piece.valid.from = piece.valid.from.max(window.from);
        piece.valid.to = piece.valid.to.min(window.to);
    }
    piece
}

fn covers(period: Period, instant: Option<ValidTime>) -> bool {
    instant.is_none_or(|instant| period.contains(instant))
}
