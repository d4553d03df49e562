//! Engines of the past answer what a list of changes does, also after they were opened again.

use super::*;
use crate::engine::{EngineKind, OpenOptions, all};
use crate::results::Durability;
use crate::rng::Rng;
use std::collections::BTreeSet;

const KEYS: u64 = 5;
/// Instants that are asked about: 0 and those below.
const INSTANTS: i64 = 30;

/// A change as it was told, and which commit made it.
#[derive(Clone, Debug)]
struct Told {
    commit: usize,
    key: u64,
    from: i64,
    to: i64,
    value: Vec<u8>,
}

/// The list of changes, which is the model.
#[derive(Default)]
struct Model {
    told: Vec<Told>,
    stamps: Vec<i64>,
}

fn key(number: u64) -> [u8; 4] {
    (number as u32 * 1_000 + 7).to_be_bytes()
}

impl Model {
    /// Changes of one commit: some keys, each once.
    fn draw(&self, dice: &mut Rng) -> Vec<Told> {
        let keys: BTreeSet<u64> = (0..1 + dice.below(KEYS)).map(|_| dice.below(KEYS)).collect();
        let mut change = |(at, key): (usize, u64)| {
            let from = dice.below(INSTANTS as u64) as i64;
            let to = if dice.below(3) == 0 { OPEN } else { from + 1 + dice.below(9) as i64 };
            let value = format!("value {} of {key}", self.told.len() + at).into_bytes();
            Told { commit: self.stamps.len(), key, from, to, value }
        };
        keys.into_iter().enumerate().map(&mut change).collect()
    }

    fn tell(&mut self, past: &dyn Past, changes: Vec<Told>) {
        let stamp = past.write(&mut |txn| {
            changes.iter().try_for_each(|told| txn.put(&key(told.key), told.from, told.to, &told.value))
        });
        self.stamps.push(stamp.unwrap());
        self.told.extend(changes);
    }

    fn of(&self, key: u64, commit: usize) -> impl DoubleEndedIterator<Item = &Told> {
        self.told.iter().filter(move |told| told.key == key && told.commit <= commit)
    }

    fn believed(&self, key: u64, at: i64, commit: usize) -> Option<&[u8]> {
        let mut newest_first = self.of(key, commit).rev();
        newest_first.find(|told| told.from <= at && at < told.to).map(|told| told.value.as_slice())
    }

    /// Holds every question against the list, as of each commit and as of now.
    fn check(&self, reader: &mut dyn PastReader, name: &str) {
        let last = self.stamps.len() - 1;
        let commits = (0..=last).map(|commit| (commit, Some(self.stamps[commit])));
        for (commit, known) in commits.chain([(last, None)]) {
            for at in 0..INSTANTS {
                let point = Point { valid: at, known };
                let told =
                    |key: u64| format!("{name}: key {key} at {at}, known at commit {commit} ({known:?})");
                let mut rows = Vec::new();
                for number in 0..KEYS {
                    let wanted = self.believed(number, at, commit);
                    assert_eq!(reader.get(&key(number), point).unwrap(), wanted, "{}", told(number));
                    rows.extend(wanted.map(|value| (key(number).to_vec(), value.to_vec())));
                }
                // From a key that is not there, so that the first is left out; all of them, and two.
                rows.retain(|row| row.0 != key(0));
                for limit in [0, 2, usize::MAX] {
                    let mut found = Vec::new();
                    let count = reader.scan(&8_u32.to_be_bytes(), limit, point, &mut |key, value| {
                        found.push((key.to_vec(), value.to_vec()));
                        Ok(())
                    });
                    let wanted = &rows[..rows.len().min(limit)];
                    assert_eq!((count.unwrap(), &found[..]), (wanted.len(), wanted), "{}", told(1));
                }
            }
            for number in 0..KEYS {
                let window = (3, INSTANTS - 3);
                let mut found = vec![None; INSTANTS as usize];
                let mut end = window.0;
                let timeline = reader.timeline(&key(number), window, known, &mut |from, to, value| {
                    assert!(
                        end <= from && from < to && to <= window.1,
                        "{name}: {from} to {to} behind {end}"
                    );
                    end = to;
                    (from..to).for_each(|at| found[at as usize] = Some(value.to_vec()));
                    Ok(())
                });
                timeline.unwrap();
                for at in window.0..window.1 {
                    let wanted = self.believed(number, at, commit);
                    assert_eq!(found[at as usize].as_deref(), wanted, "{name}: timeline of {number} at {at}");
                }
            }
        }
        for (number, at) in (0..KEYS).flat_map(|number| (0..INSTANTS).map(move |at| (number, at))) {
            let mut found = Vec::new();
            let history = reader.history(&key(number), at, &mut |value| {
                found.push(value.to_vec());
                Ok(())
            });
            history.unwrap();
            found.dedup();
            let covering = self.of(number, last).filter(|told| told.from <= at && at < told.to);
            let wanted: Vec<_> = covering.map(|told| told.value.clone()).collect();
            assert_eq!(found, wanted, "{name}: history of {number} at {at}");
        }
        for (from, to) in (0..last).flat_map(|from| (from + 1..=last).map(move |to| (from, to))) {
            let changed = self.told.iter().filter(|told| from < told.commit && told.commit <= to);
            let wanted = changed.map(|told| told.key).collect::<BTreeSet<_>>().len();
            let found = reader.changed_keys(self.stamps[from], self.stamps[to]).unwrap();
            assert_eq!(found, wanted as u64, "{name}: changed from {from} to {to}");
        }
    }
}

fn check_past(kind: &dyn EngineKind, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions { durability: Durability::None, bytes_max: 1 << 20 };
    let (mut model, mut dice) = (Model::default(), Rng::stream(seed, 1));
    // Told in three opens, the first settled and the second not.
    for open in 0..3 {
        let past = kind.open_past(folder.path(), &options).unwrap();
        for _ in 0..4 {
            let changes = model.draw(&mut dice);
            model.tell(&*past, changes);
        }
        let check = |past: &dyn Past| {
            past.read(&mut |reader| {
                model.check(reader, kind.name());
                Ok(())
            })
        };
        check(&*past).unwrap();
        if open == 0 {
            past.settle().unwrap();
            check(&*past).unwrap();
        }
    }
}

#[test]
fn every_engine_of_the_past_believes_what_a_list_of_changes_does() {
    for kind in all().iter().filter(|kind| kind.keeps_past()) {
        (0..4).for_each(|seed| check_past(&**kind, seed));
    }
}

#[test]
fn a_commit_of_the_past_that_is_given_up_leaves_nothing() {
    let options = OpenOptions { durability: Durability::None, bytes_max: 1 << 20 };
    for kind in all().iter().filter(|kind| kind.keeps_past()) {
        let folder = tempfile::tempdir().unwrap();
        let past = kind.open_past(folder.path(), &options).unwrap();
        past.write(&mut |txn| txn.put(&key(1), 0, OPEN, b"kept")).unwrap();
        let refused = past.write(&mut |txn| {
            txn.put(&key(1), 0, OPEN, b"given up")?;
            Err(crate::error::Error::Interrupted)
        });
        assert!(refused.is_err());
        past.write(&mut |txn| txn.put(&key(2), 0, OPEN, b"after")).unwrap();
        let read = past.read(&mut |reader| {
            let now = Point { valid: 5, known: None };
            assert_eq!(reader.get(&key(1), now)?, Some(&b"kept"[..]), "{}", kind.name());
            assert_eq!(reader.get(&key(2), now)?, Some(&b"after"[..]), "{}", kind.name());
            Ok(())
        });
        read.unwrap();
    }
}

#[test]
fn every_engine_of_series_gives_the_newest_point_of_a_window() {
    let options = OpenOptions { durability: Durability::None, bytes_max: 1 << 20 };
    let point = |series, time, value| Measurement { series, time, value };
    for kind in all().iter().filter(|kind| kind.keeps_past()) {
        let folder = tempfile::tempdir().unwrap();
        let series = kind.open_series(folder.path(), &options).unwrap();
        series.insert(&mut [point(1, 20, 2.0), point(1, 10, 1.0), point(2, 10, 9.0)]).unwrap();
        series
            .insert(&mut [point(1, 700, 7.0), point(1, 15, 1.5), point(1, 20, 3.0), point(1, 20, 4.0)])
            .unwrap();
        series.settle().unwrap();
        let mut found = Vec::new();
        series.window(1, 10, 700, &mut |time, value| found.push((time, value))).unwrap();
        assert_eq!(found, [(10, 1.0), (15, 1.5), (20, 4.0)], "{}", kind.name());
    }
}
