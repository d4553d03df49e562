//! The six core workloads: which operations, in which shares, on which records.
//!
//! ```text
//! A  update heavy        read 50 %, update 50 %             zipfian
//! B  read mostly         read 95 %, update 5 %              zipfian
//! C  read only           read 100 %                         zipfian
//! D  read latest         read 95 %, insert 5 %              latest
//! E  short ranges        scan 95 % of 1 to 100, insert 5 %  zipfian
//! F  read-modify-write   read 50 %, read-modify-write 50 %  zipfian
//! ```
//!
//! Invariants
//! 1. A record is asked for only after its insert was acknowledged.

use super::generators::{Latest, ScrambledZipfian, uniform};
use crate::error::{Error, Result};
use crate::rng::Rng;

/// Fields of a record.
pub const FIELD_COUNT: usize = 10;
/// Bytes of a field.
pub const FIELD_SIZE: usize = 100;
/// The longest scan.
pub const SCAN_LENGTH_MAX: u64 = 100;

/// What is done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads all fields.
    Read,
    /// Writes one field.
    Update,
    /// Writes a new record.
    Insert,
    /// Reads records from one on.
    Scan,
    /// Reads all fields and writes one.
    ReadModifyWrite,
}

impl Kind {
    /// YCSB's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Scan => "scan",
            Self::ReadModifyWrite => "readmodifywrite",
        }
    }
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What is done.
    pub kind: Kind,
    /// On which record, by its number.
    pub number: u64,
    /// A scan's length; 0 for others.
    pub length: u64,
}

/// How records are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Scrambled zipfian.
    Zipfian,
    /// The newest most often.
    Latest,
}

/// A core workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// 'a' to 'f'.
    pub letter: char,
    /// YCSB's name for it.
    pub name: &'static str,
    /// How records are asked for.
    pub request: Request,
    /// Shares, which add up to 1.
    pub shares: &'static [(Kind, f64)],
}

/// All six.
pub const MIXES: [Mix; 6] = [
    mix('a', "update heavy", Request::Zipfian, &[(Kind::Read, 0.5), (Kind::Update, 0.5)]),
    mix('b', "read mostly", Request::Zipfian, &[(Kind::Read, 0.95), (Kind::Update, 0.05)]),
    mix('c', "read only", Request::Zipfian, &[(Kind::Read, 1.0)]),
    mix('d', "read latest", Request::Latest, &[(Kind::Read, 0.95), (Kind::Insert, 0.05)]),
    mix('e', "short ranges", Request::Zipfian, &[(Kind::Scan, 0.95), (Kind::Insert, 0.05)]),
    mix('f', "read-modify-write", Request::Zipfian, &[(Kind::Read, 0.5), (Kind::ReadModifyWrite, 0.5)]),
];

const fn mix(letter: char, name: &'static str, request: Request, shares: &'static [(Kind, f64)]) -> Mix {
    Mix { letter, name, request, shares }
}

impl Mix {
    /// By letter, of either case.
    ///
    /// # Errors
    /// [`Error::UnknownWorkload`].
    pub fn of(letter: &str) -> Result<Self> {
        let wanted = letter.to_ascii_lowercase();
        MIXES.into_iter().find(|mix| wanted == mix.letter.to_string()).ok_or_else(|| Error::UnknownWorkload {
            name: letter.to_owned(),
            known: "a, b, c, d, e, f".to_owned(),
        })
    }

    /// The share of an operation.
    pub fn share(&self, kind: Kind) -> f64 {
        self.shares.iter().filter(|(known, _)| *known == kind).map(|(_, share)| share).sum()
    }

    /// How many key numbers the chooser draws from, as YCSB reckons it: room for twice the inserts that are
    /// to be expected.
    pub fn keyspace(&self, records: u64, operations: u64) -> u64 {
        records + (operations as f64 * self.share(Kind::Insert) * 2.0) as u64 + 1
    }
}

/// Draws the operations of one thread.
#[derive(Clone, Debug)]
pub struct Chooser {
    mix: Mix,
    rng: Rng,
    records: Records,
}

#[derive(Clone, Debug)]
enum Records {
    Zipfian(ScrambledZipfian),
    Latest(Latest),
}

impl Chooser {
    /// For a run of `operations` on `records` records at the beginning, of which there is at least one.
    pub fn new(mix: Mix, records: u64, operations: u64, rng: Rng) -> Self {
        let records = match mix.request {
            Request::Zipfian => Records::Zipfian(ScrambledZipfian::new(mix.keyspace(records, operations))),
            Request::Latest => Records::Latest(Latest::new(records - 1)),
        };
        Self { mix, rng, records }
    }

    /// What kind of operation comes next.
    pub fn kind(&mut self) -> Kind {
        let mut drawn = self.rng.next_f64();
        for &(kind, share) in self.mix.shares {
            if drawn < share {
                return kind;
            }
            drawn -= share;
        }
        self.mix.shares[0].0
    }

    /// Which record, where `newest` is the newest acknowledged one's number.
    pub fn number(&mut self, newest: u64) -> u64 {
        loop {
            let number = match &mut self.records {
                Records::Zipfian(zipfian) => zipfian.next(&mut self.rng),
                Records::Latest(latest) => latest.next(&mut self.rng, newest),
            };
            if number <= newest {
                return number;
            }
        }
    }

    /// How long a scan is.
    pub fn scan_length(&mut self) -> u64 {
        uniform(&mut self.rng, 1, SCAN_LENGTH_MAX)
    }

    /// Which field an update writes.
    pub fn field(&mut self) -> usize {
        self.rng.below(FIELD_COUNT as u64) as usize
    }

    /// The next operation, where an insert's number is given by `insert`.
    pub fn next(&mut self, newest: u64, insert: impl FnOnce() -> u64) -> Operation {
        let kind = self.kind();
        match kind {
            Kind::Insert => Operation { kind, number: insert(), length: 0 },
            Kind::Scan => {
                let number = self.number(newest);
                Operation { kind, number, length: self.scan_length() }
            }
            _ => Operation { kind, number: self.number(newest), length: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_are_kept() {
        for mix in MIXES {
            let total: f64 = mix.shares.iter().map(|(_, share)| share).sum();
            assert!((total - 1.0).abs() < 1e-9);
            let mut chooser = Chooser::new(mix, 1_000, 20_000, Rng::new(5));
            let mut count = std::collections::BTreeMap::new();
            for _ in 0..20_000 {
                *count.entry(chooser.kind().name()).or_insert(0_u32) += 1;
            }
            for (kind, share) in mix.shares {
                let seen = f64::from(count[kind.name()]) / 20_000.0;
                assert!((seen - share).abs() < 0.02, "{} {}: {seen}", mix.letter, kind.name());
            }
        }
    }

    #[test]
    fn only_acknowledged_records_are_asked_for() {
        for mix in MIXES {
            let mut chooser = Chooser::new(mix, 100, 10_000, Rng::new(6));
            let mut newest = 99;
            for _ in 0..10_000 {
                let operation = chooser.next(newest, || newest + 1);
                match operation.kind {
                    Kind::Insert => newest = operation.number,
                    Kind::Scan => assert!((1..=100).contains(&operation.length)),
                    _ => assert!(operation.number <= newest),
                }
            }
        }
    }

    #[test]
    fn the_keyspace_is_the_chooser_s_of_the_shared_expectations() {
        assert_eq!(Mix::of("C").unwrap().keyspace(1_000, 1_000), 1_001);
        assert_eq!(Mix::of("e").unwrap().keyspace(1_000, 1_000), 1_101);
        assert!(Mix::of("g").unwrap_err().to_string().contains("a, b, c, d, e, f"));
    }
}
