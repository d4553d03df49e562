//! Power cuts: which of the pending changes a machine finds.
//!
//! The pending changes are listed as units: per file its length and its sectors, then the changes of names.
//! An outcome is a choice per unit: 0 for the durable version, n for the n-th pending one.
//!
//! Invariants
//! 1. A plan lists the units in the order in which [`build`] consumes the choices.
//! 2. An image depends on the disk's state and the seed alone.

use super::inode::{FileOutcome, Inode, SECTOR_SIZE, Torn};
use super::names::{InodeId, NameMap, Names};
use super::rng::Rng;
use super::state::State;
use std::collections::{BTreeMap, BTreeSet};

/// The most outcomes that are enumerated.
const OUTCOME_COUNT_MAX: usize = 1 << 12;

/// What persists of the pending changes in a power cut. With all but the first two a sector of the last
/// write may be torn besides, and a range that the file had not durably grown to may hold garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashPolicy {
    /// Nothing: the durable state as it is.
    Nothing,
    /// Everything in its newest version.
    Everything,
    /// Each sector, length and name by itself in any version.
    Random,
    /// The changes up to some moment, in the order in which they were made.
    Prefix,
    /// All but one.
    AllButOne,
    /// One alone.
    OnlyOne,
    /// All of one file, nothing of the others.
    OneFile,
    /// Lengths, and mostly names, but no content.
    SizeWithoutData,
    /// Content, and mostly names, but no lengths.
    DataWithoutSize,
}

impl CrashPolicy {
    /// All policies.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Everything,
        Self::Random,
        Self::Prefix,
        Self::AllButOne,
        Self::OnlyOne,
        Self::OneFile,
        Self::SizeWithoutData,
        Self::DataWithoutSize,
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Len(InodeId),
    Sector(InodeId, usize),
    Name,
}

#[derive(Debug)]
struct Unit {
    target: Target,
    /// The choice of the newest version.
    newest: usize,
}

#[derive(Debug, Default)]
struct Plan {
    units: Vec<Unit>,
    /// Each pending version by its sequence, with its unit.
    events: Vec<(u64, usize)>,
}

impl Plan {
    fn of(state: &State) -> Self {
        let mut plan = Self::default();
        for (&id, inode) in &state.inodes {
            if inode.pending_len_count() > 0 {
                plan.add(Target::Len(id), inode.len_sequences());
            }
            for (sector, sequences) in inode.pending_sectors() {
                plan.add(Target::Sector(id, sector), sequences);
            }
        }
        for sequence in state.names.pending_sequences() {
            plan.add(Target::Name, [sequence]);
        }
        plan
    }

    fn add(&mut self, target: Target, sequences: impl IntoIterator<Item = u64>) {
        let before = self.events.len();
        let index = self.units.len();
        self.events.extend(sequences.into_iter().map(|sequence| (sequence, index)));
        self.units.push(Unit { target, newest: self.events.len() - before });
    }

    fn choose(mut self, policy: CrashPolicy, rng: &mut Rng) -> Vec<usize> {
        if policy == CrashPolicy::Prefix {
            return self.choose_prefix(rng);
        }
        let chosen = rng.below(self.units.len() as u64) as usize;
        let file = self.units.get(chosen).and_then(|unit| unit.target.file());
        let units = self.units.drain(..).enumerate();
        units.map(|(index, unit)| unit.choose(policy, index == chosen, file, rng)).collect()
    }

    fn choose_prefix(mut self, rng: &mut Rng) -> Vec<usize> {
        self.events.sort_unstable();
        let kept = rng.below(self.events.len() as u64 + 1) as usize;
        let mut choices = vec![0; self.units.len()];
        self.events[..kept].iter().for_each(|&(_, unit)| choices[unit] += 1);
        choices
    }
}

impl Unit {
    fn choose(&self, policy: CrashPolicy, chosen: bool, file: Option<InodeId>, rng: &mut Rng) -> usize {
        let newest = self.newest;
        let older = |rng: &mut Rng| rng.below(newest as u64) as usize;
        let is_name = self.target == Target::Name;
        let is_len = matches!(self.target, Target::Len(_));
        match policy {
            CrashPolicy::Nothing | CrashPolicy::Prefix => 0,
            CrashPolicy::Everything => newest,
            CrashPolicy::Random if rng.coin() => 0,
            CrashPolicy::Random => 1 + older(rng),
            CrashPolicy::AllButOne if chosen => older(rng),
            CrashPolicy::AllButOne => newest,
            CrashPolicy::OnlyOne if chosen => 1 + older(rng),
            CrashPolicy::OnlyOne => 0,
            CrashPolicy::OneFile if is_name => usize::from(rng.coin()),
            CrashPolicy::OneFile => {
                if self.target.file() == file {
                    newest
                } else {
                    0
                }
            }
            CrashPolicy::SizeWithoutData | CrashPolicy::DataWithoutSize if is_name => {
                usize::from(!rng.one_in(4))
            }
            CrashPolicy::SizeWithoutData => {
                if is_len {
                    newest
                } else {
                    0
                }
            }
            CrashPolicy::DataWithoutSize => {
                if is_len {
                    0
                } else {
                    newest
                }
            }
        }
    }
}

impl Target {
    fn file(self) -> Option<InodeId> {
        match self {
            Self::Len(id) | Self::Sector(id, _) => Some(id),
            Self::Name => None,
        }
    }
}

/// How many units are pending.
pub(super) fn pending_count(state: &State) -> usize {
    Plan::of(state).units.len()
}

/// An image by a policy, or by one that the seed chooses.
pub(super) fn image(state: &State, policy: Option<CrashPolicy>, seed: u64) -> State {
    let mut rng = Rng::new(seed);
    let rotated = CrashPolicy::ALL[rng.below(CrashPolicy::ALL.len() as u64) as usize];
    let policy = policy.unwrap_or(rotated);
    let choices = Plan::of(state).choose(policy, &mut rng);
    let damaged = !matches!(policy, CrashPolicy::Nothing | CrashPolicy::Everything);
    let torn = if damaged { tear(state, &mut rng) } else { None };
    let garbage = (damaged && rng.one_in(4)).then(|| Rng::new(rng.next()));
    build(state, &choices, torn, garbage.as_ref(), rng.next())
}

/// Tears one sector of the last write, every other time.
fn tear(state: &State, rng: &mut Rng) -> Option<(InodeId, Torn)> {
    let write = state.in_flight.as_ref().filter(|_| rng.coin())?;
    let inode = state.inodes.get(&write.inode)?;
    let pending = inode.pending_sectors().map(|(sector, _)| sector);
    let torn: Vec<usize> = pending.filter(|sector| write.sectors.contains(sector)).collect();
    let sector = *torn.get(rng.below(torn.len() as u64) as usize)?;
    let cut = 1 + rng.below(SECTOR_SIZE as u64 - 1) as usize;
    Some((write.inode, Torn { sector, cut, tail_first: rng.coin() }))
}

/// Makes the disk of an outcome.
fn build(
    state: &State,
    choices: &[usize],
    torn: Option<(InodeId, Torn)>,
    garbage: Option<&Rng>,
    seed: u64,
) -> State {
    let (mut rest, names) = choices.split_at(choices.len() - state.names.pending_sequences().len());
    let names = state.names.image(names.iter().map(|&choice| choice > 0));
    let named: BTreeSet<InodeId> = names.values().copied().collect();
    let mut inodes = BTreeMap::new();
    for (&id, inode) in &state.inodes {
        let (len, sectors) = take_choices(inode, &mut rest);
        if named.contains(&id) {
            let torn = torn.filter(|(torn, _)| *torn == id).map(|(_, torn)| torn);
            let outcome = FileOutcome { len, sectors, torn, garbage: garbage.cloned() };
            inodes.insert(id, inode.image(&outcome));
        }
    }
    state.image(seed, inodes, Names::durable(names))
}

/// Takes a file's choices, of its length and its sectors, from the front.
fn take_choices<'a>(inode: &Inode, choices: &mut &'a [usize]) -> (usize, &'a [usize]) {
    let (lens, rest) = choices.split_at(usize::from(inode.pending_len_count() > 0));
    let (sectors, rest) = rest.split_at(inode.pending_sectors().count());
    *choices = rest;
    (lens.first().copied().unwrap_or(0), sectors)
}

/// All outcomes, if they are few.
pub(super) fn exhaustive(state: &State) -> Option<Exhaustive> {
    let state = state.fork();
    let names = name_outcomes(&state.names)?;
    let units = Plan::of(&state).units;
    let options: Vec<Vec<usize>> = units
        .iter()
        .filter_map(|unit| match unit.target {
            Target::Len(id) => Some(distinct(unit.newest, |choice| state.inodes[&id].len_of_choice(choice))),
            Target::Sector(id, sector) => {
                let inode = &state.inodes[&id];
                Some(distinct(unit.newest, |choice| inode.shown(sector, choice, usize::MAX)))
            }
            Target::Name => None,
        })
        .collect();
    let count = options.iter().try_fold(names.len(), |count, options| count.checked_mul(options.len()))?;
    (count <= OUTCOME_COUNT_MAX).then_some(Exhaustive { state, names, options, next: 0, count })
}

/// The choices up to the newest that differ in what they show.
fn distinct<T: PartialEq>(newest: usize, shown: impl Fn(usize) -> T) -> Vec<usize> {
    let mut choices: Vec<usize> = Vec::new();
    for choice in 0..=newest {
        if choices.iter().all(|&other| shown(other) != shown(choice)) {
            choices.push(choice);
        }
    }
    choices
}

/// The choices of pending changes of names that end in different names.
fn name_outcomes(names: &Names) -> Option<Vec<(Vec<usize>, NameMap)>> {
    let count = names.pending_sequences().len();
    if 1usize.checked_shl(count as u32)? > OUTCOME_COUNT_MAX {
        return None;
    }
    let mut outcomes: Vec<(Vec<usize>, NameMap)> = Vec::new();
    for bits in 0..1usize << count {
        let choices: Vec<usize> = (0..count).map(|index| bits >> index & 1).collect();
        let map = names.image(choices.iter().map(|&choice| choice > 0));
        if outcomes.iter().all(|(_, other)| *other != map) {
            outcomes.push((choices, map));
        }
    }
    Some(outcomes)
}

/// Runs through all outcomes, leaving out those that look like an earlier one.
pub(super) struct Exhaustive {
    state: State,
    names: Vec<(Vec<usize>, NameMap)>,
    /// Per unit that is not a name, the choices that differ.
    options: Vec<Vec<usize>>,
    next: usize,
    count: usize,
}

impl Iterator for Exhaustive {
    type Item = State;

    fn next(&mut self) -> Option<State> {
        while self.next < self.count {
            let (mut digits, name) = (self.next / self.names.len(), self.next % self.names.len());
            self.next += 1;
            let picks: Vec<usize> = self
                .options
                .iter()
                .map(|options| {
                    let pick = digits % options.len();
                    digits /= options.len();
                    pick
                })
                .collect();
            if self.is_first_of_its_kind(&picks, &self.names[name].1) {
                let files = picks.iter().zip(&self.options).map(|(&pick, options)| options[pick]);
                let choices: Vec<usize> = files.chain(self.names[name].0.iter().copied()).collect();
                return Some(build(&self.state, &choices, None, None, self.next as u64));
            }
        }
        None
    }
}

impl Exhaustive {
    /// Whether no choice could be replaced by an earlier one without a difference: files without a name and
    /// sectors beyond a length are not seen.
    fn is_first_of_its_kind(&self, picks: &[usize], names: &NameMap) -> bool {
        let (mut picks, mut options) = (picks, &self.options[..]);
        self.state.inodes.iter().all(|(id, inode)| {
            let has_len = usize::from(inode.pending_len_count() > 0);
            let (own, rest) = picks.split_at(has_len + inode.pending_sectors().count());
            let (own_options, rest_options) = options.split_at(own.len());
            (picks, options) = (rest, rest_options);
            if !names.values().any(|named| named == id) {
                return own.iter().all(|&pick| pick == 0);
            }
            let len_choice = if has_len == 1 { own_options[0][own[0]] } else { 0 };
            let len = inode.len_of_choice(len_choice);
            inode.pending_sectors().zip(own.iter().zip(own_options).skip(has_len)).all(
                |((sector, _), (&pick, options))| {
                    let shown = |pick: usize| inode.shown(sector, options[pick], len);
                    (0..pick).all(|earlier| shown(earlier) != shown(pick))
                },
            )
        })
    }
}
