//! What questions about the past cost beside questions about now, and beside a plain tree:
//! `cargo run --release -p llmdb-temporal --example as_of -- KEYS VERSIONS CORRECTIONS [VALUE_SIZE [ROUNDS [KIND]]]`, where
//! CORRECTIONS is how many of a hundred changes are bounded ones in the past; the others go on "from now on". Every kind of
//! question takes turns with the others, seven rounds or so many; medians are printed, and the shortest rounds. All are asked of a
//! dense copy. Answers are held against the list of changes. Without rounds only the puts are measured, beside those of a
//! plain tree. With KIND only kinds of questions whose name begins so are asked, which suits `valgrind --tool=callgrind
//! --toggle-collect='*Kinds*run*'`.

use std::ops::Bound::{Included, Unbounded};
use std::time::Instant;

use llmdb_temporal::{Collection, Known, Period, Temporal, ValidTime};
use llmdb_wal::{Durability, Store, StoreOptions, Tree};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const PER_COMMIT: u64 = 1000;
const QUESTIONS: u64 = 10_000;
/// So many versions go into a plain tree, too: each changes another page, which takes its time.
const VERSIONS_MAX: u64 = 1_000_000;

/// SplitMix64, so that every run is the same.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn key(n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(n).to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

fn value(change: u64, size: usize) -> Vec<u8> {
    let mut value = vec![change as u8; size];
    value[..8].copy_from_slice(&change.to_le_bytes());
    value
}

fn at(micros: u64) -> Result<ValidTime> {
    Ok(ValidTime::from_micros(micros as i64)?)
}

#[derive(Clone, Copy)]
struct Change {
    number: u64,
    commit: u64,
    from: u64,
    to: u64,
}

struct Given {
    keys: u64,
    changes: u64,
    value_size: usize,
    /// By key, in order.
    history: Vec<Vec<Change>>,
}

impl Given {
    /// By the list of changes: who asserted what was believed.
    fn believed(&self, key: u64, at: u64, commit: u64) -> Option<u64> {
        let mut known = self.history[key as usize].iter().rev().skip_while(|change| change.commit > commit);
        known.find(|change| change.from <= at && at < change.to).map(|change| change.number)
    }
}

fn load(db: &Temporal, keys: u64, versions: u64, corrections: u64, value_size: usize) -> Result<Given> {
    let mut given =
        Given { keys, changes: keys * versions, value_size, history: vec![Vec::new(); keys as usize] };
    let mut tx = db.begin_write()?;
    let clock = Clock::start();
    for number in 0..given.changes {
        if number > 0 && number % PER_COMMIT == 0 {
            tx.commit()?;
            tx = db.begin_write()?;
        }
        let key_number = key_number(number, keys);
        let dice = mix(number ^ 1 << 50);
        let (from, to) = if number >= keys && dice % 100 < corrections {
            let from = mix(dice) % number;
            (from, from + 1 + mix(dice ^ 1) % (keys * 3))
        } else {
            (number, u64::MAX)
        };
        let period = if to == u64::MAX { Period::since(at(from)?) } else { Period::new(at(from)?, at(to)?)? };
        tx.put("c", &key(key_number), period, &value(number, value_size))?;
        let change = Change { number, commit: tx.number().get(), from, to };
        given.history[key_number as usize].push(change);
    }
    tx.commit()?;
    clock.print("put", given.changes);
    Ok(given)
}

/// All changes into a tree of their own, without times, by the keys that `key_of` makes of a key's number and a change's.
fn load_tree(store: &Store, given: &Given, name: &str, key_of: impl Fn(u64, u64) -> Vec<u8>) -> Result<()> {
    let mut txn = store.begin_write()?;
    let tree = txn.create_tree(name)?;
    let clock = Clock::start();
    for number in 0..given.changes {
        if number > 0 && number % PER_COMMIT == 0 {
            txn.commit()?;
            txn = store.begin_write()?;
        }
        let key = key_of(key_number(number, given.keys), number);
        txn.insert(tree, &key, &value(number, given.value_size))?;
    }
    txn.commit()?;
    clock.print(&format!("put into a tree, {name}"), given.changes);
    Ok(())
}

/// Every key once a round, in another order each time.
fn key_number(number: u64, keys: u64) -> u64 {
    (number % keys + mix(number / keys)) % keys
}

fn version_key(key_number: u64, commit: u64) -> [u8; 24] {
    let mut all = [0; 24];
    all[..16].copy_from_slice(&key(key_number));
    all[16..].copy_from_slice(&commit.to_be_bytes());
    all
}

/// The time of a run on the wall, and on the processor by this thread.
struct Clock {
    start: Instant,
    on_processor: Option<u64>,
}

impl Clock {
    fn start() -> Self {
        Self { on_processor: Self::on_processor(), start: Instant::now() }
    }

    fn on_processor() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split(' ').next()?.parse().ok()
    }

    fn print(&self, name: &str, count: u64) {
        let each = |nanos: f64| nanos / count as f64;
        let wall = each(self.start.elapsed().as_nanos() as f64);
        let own =
            Self::on_processor().zip(self.on_processor).map_or(0.0, |(now, then)| each((now - then) as f64));
        println!("{name:<28} {:>9.0} a second, {wall:.0} ns each, {own:.0} on the processor", 1e9 / wall);
    }
}

/// Asks questions of a kind; the sum of the bytes that were found.
type Ask<'k> = Box<dyn FnMut() -> Result<u64> + 'k>;

/// Nanoseconds for each question of a kind, medians of rounds that take turns.
struct Kinds<'k> {
    /// What the names of those begin with that are asked.
    only: String,
    kinds: Vec<(String, u64, Ask<'k>)>,
}

impl<'k> Kinds<'k> {
    fn add(&mut self, name: impl Into<String>, questions: u64, ask: impl FnMut() -> Result<u64> + 'k) {
        let name = name.into();
        if name.starts_with(&self.only) {
            self.kinds.push((name, questions, Box::new(ask)));
        }
    }

    #[inline(never)]
    fn run(&mut self, rounds: usize) -> Result<()> {
        let mut times = vec![Vec::new(); self.kinds.len()];
        for _ in 0..=rounds {
            for (index, (_, questions, ask)) in self.kinds.iter_mut().enumerate() {
                let start = Instant::now();
                std::hint::black_box(ask()?);
                times[index].push(start.elapsed().as_nanos() as f64 / *questions as f64);
            }
        }
        for ((name, ..), times) in self.kinds.iter().zip(&mut times) {
            times.remove(0);
            times.sort_by(f64::total_cmp);
            println!("{name:<48} {:>9.0} ns, at least {:.0}", times[times.len() / 2], times[0]);
        }
        Ok(())
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

fn verify(
    collection: &Collection<'_>,
    given: &Given,
    at_commit: impl Fn(u64) -> (u64, u64, u64),
) -> Result<()> {
    for n in 0..2000 {
        let (key_number, instant, commit) = at_commit(n);
        let found = collection.get_value(&key(key_number), at(instant)?, Known::Commit(commit as i64))?;
        let wanted =
            given.believed(key_number, instant, commit).map(|number| value(number, given.value_size));
        assert_eq!(found.as_deref(), wanted.as_deref(), "key {key_number} at {instant} known {commit}");
    }
    Ok(())
}

fn ask_plain(tree: &Tree<'_>, given: &Given) -> Result<u64> {
    let mut total = 0;
    for n in 0..QUESTIONS {
        total += sum(tree.get(&key(mix(n) % given.keys))?.ok_or("the key is there")?);
    }
    Ok(total)
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut number = |usual: u64| args.next().map_or(Ok(usual), |text| text.parse::<u64>());
    let (keys, versions, corrections) = (number(20_000)?, number(20)?, number(10)?);
    let value_size = number(256)? as usize;
    let rounds = number(7)? as usize;
    let only = args.next().unwrap_or_default();
    let folder = tempfile::tempdir()?;
    let options = StoreOptions::new().dirty_bytes(1 << 30).durability(Durability::None);
    let store = options.open(folder.path().join("as_of.llmdb"))?;
    let db = Temporal::open(store.clone())?;
    let given = load(&db, keys, versions, corrections, value_size)?;
    store.checkpoint()?;
    let stored = store.stat()?.pager;
    println!("{} pages of {} bytes, {} free", stored.page_count, stored.page_size, stored.free_pages);
    let in_use = || -> Result<u64> {
        let pager = store.stat()?.pager;
        Ok((pager.page_count - pager.free_pages - pager.retired_pages) * pager.page_size as u64)
    };
    let told = (keys * versions * (16 + value_size as u64)) as f64;
    let (ours, before) = (in_use()?, "bytes in use for each of key and value");
    println!("{before:<48} {:>9.2}", ours as f64 / told);
    load_tree(&store, &given, "plain", |key_number, _| key(key_number).to_vec())?;
    store.checkpoint()?;
    let plain = in_use()?;
    if given.changes <= VERSIONS_MAX {
        // By key and commit: what a history of one time costs at least where values stand in it. Where the last version of
        // each key stands besides, it is the simple split of what is current from what was.
        load_tree(&store, &given, "versions", |key_number, number| {
            version_key(key_number, number / PER_COMMIT).to_vec()
        })?;
        store.checkpoint()?;
        println!("{:<48} {:>9.2}", "the same by key and commit", (in_use()? - plain) as f64 / told);
    }
    if rounds == 0 {
        return Ok(());
    }
    // Trees that grew one after the other lie unlike in the file; in a copy each lies in one piece.
    let copy = folder.path().join("copy.llmdb");
    store.compact_to(&copy, &mut |_, _| {})?;
    drop((db, store));
    let store = StoreOptions::new().open(copy)?;
    let db = Temporal::open(store.clone())?;

    let read = db.begin_read()?;
    let collection = read.collection("c")?.ok_or("it was made")?;
    let txn = store.begin_read()?;
    let plain = txn.tree("plain")?.ok_or("it was made")?;
    let by_commit = txn.tree("versions")?;
    let newest = read.newest().ok_or("there are commits")?.commit.get();
    let now = given.changes;
    let random = move |n: u64| (mix(n) % keys, mix(n ^ 1 << 40) % now, mix(n ^ 1 << 41) % newest);
    verify(&collection, &given, random)?;

    let ask = |place: &dyn Fn(u64) -> (u64, u64, Known)| {
        let mut total = 0;
        for n in 0..QUESTIONS {
            let (key_number, instant, known) = place(n);
            let found = collection.get_value(&key(key_number), at(instant)?, known)?;
            total += found.map_or(0, |value| sum(&value));
        }
        Ok(total)
    };
    let back = |depth: u64| (depth * keys / PER_COMMIT).min(newest);
    let count = 1000.min(keys);
    let from = |n: u64| key(mix(n) % keys);
    let mut kinds = Kinds { only, kinds: Vec::new() };
    kinds.add("plain tree get", QUESTIONS, || ask_plain(&plain, &given));
    kinds.add("latest", QUESTIONS, || ask(&|n| (mix(n) % keys, now, Known::Latest)));
    kinds.add("any valid time, latest known", QUESTIONS, || {
        ask(&|n| (mix(n) % keys, random(n).1, Known::Latest))
    });
    kinds.add("any valid and any known time", QUESTIONS, || {
        ask(&|n| {
            let (key_number, instant, commit) = random(n);
            (key_number, instant, Known::Commit(commit as i64))
        })
    });
    for depth in [1, 10, 100, 1_000, 10_000].into_iter().filter(|depth| *depth <= versions) {
        kinds.add(format!("as of {depth} versions ago, valid then"), QUESTIONS, {
            let (ask, back) = (&ask, &back);
            move || {
                let commit = newest - back(depth);
                ask(&|n| (mix(n) % keys, commit * PER_COMMIT, Known::Commit(commit as i64)))
            }
        });
        kinds.add(format!("as of {depth} versions ago, valid now"), QUESTIONS, {
            let (ask, back) = (&ask, &back);
            move || ask(&|n| (mix(n) % keys, now, Known::Commit((newest - back(depth)) as i64)))
        });
    }
    for depth in [1, 10].into_iter().filter(|depth| *depth <= versions) {
        let Some(versions) = &by_commit else { break };
        kinds.add(format!("by key and commit, {depth} versions ago"), QUESTIONS, move || {
            let (commit, mut total) = (newest - back(depth), 0);
            for n in 0..QUESTIONS {
                let place = version_key(mix(n) % keys, commit);
                let near =
                    versions.floor(&place)?.filter(|near| near.key_behind::<8>(&place[..16]).is_some());
                total += near.map_or(Ok(0), |near| near.value().map(sum))?;
            }
            Ok(total)
        });
    }
    kinds.add("plain walk, keys lent, a row", 20 * count, || {
        let mut total = 0;
        for n in 0..20 {
            let mut cursor = plain.cursor();
            let mut found = cursor.seek(&from(n))?;
            for _ in 0..count {
                if !found {
                    break;
                }
                total += u64::from(cursor.key()[0]) + sum(cursor.value()?);
                found = cursor.next()?;
            }
        }
        Ok(total)
    });
    kinds.add("plain scan, a row", 20 * count, || {
        let mut total = 0;
        for n in 0..20 {
            for row in plain.range(Included(&from(n)), Unbounded).take(count as usize) {
                total += sum(row?.1);
            }
        }
        Ok(total)
    });
    for (name, percent) in [("latest", 100), ("at 90 %", 90), ("at 50 %", 50), ("at 10 %", 10)] {
        let (collection, from) = (&collection, &from);
        kinds.add(format!("scan of versions {name}, a row"), 20 * count, move || {
            let mut total = 0;
            for n in 0..20 {
                let commit = newest * percent / 100;
                let known = if percent == 100 { Known::Latest } else { Known::Commit(commit as i64) };
                let instant = at(commit * PER_COMMIT + PER_COMMIT)?;
                for row in
                    collection.scan(Included(&from(n)), Unbounded, instant, known)?.take(count as usize)
                {
                    total += sum(&row?.value);
                }
            }
            Ok(total)
        });
    }
    for (name, percent) in [("latest", 100), ("at 90 %", 90), ("at 50 %", 50), ("at 10 %", 10)] {
        let (collection, from) = (&collection, &from);
        kinds.add(format!("walk over values {name}, keys lent, a row"), 20 * count, move || {
            let mut total = 0;
            for n in 0..20 {
                let commit = newest * percent / 100;
                let known = if percent == 100 { Known::Latest } else { Known::Commit(commit as i64) };
                let instant = at(commit * PER_COMMIT + PER_COMMIT)?;
                let mut rows = collection.scan_values(Included(&from(n)), Unbounded, instant, known)?;
                for _ in 0..count {
                    let Some((key, value)) = rows.next_row()? else { break };
                    total += u64::from(key[0]) + sum(value);
                }
            }
            Ok(total)
        });
        kinds.add(format!("scan of values {name}, a row"), 20 * count, move || {
            let mut total = 0;
            for n in 0..20 {
                let commit = newest * percent / 100;
                let known = if percent == 100 { Known::Latest } else { Known::Commit(commit as i64) };
                let instant = at(commit * PER_COMMIT + PER_COMMIT)?;
                let rows = collection.scan_values(Included(&from(n)), Unbounded, instant, known)?;
                for row in rows.take(count as usize) {
                    total += sum(row?.1);
                }
            }
            Ok(total)
        });
    }
    kinds.run(rounds)
}
