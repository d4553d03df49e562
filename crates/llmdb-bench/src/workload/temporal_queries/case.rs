//! One engine being told and asked.

use super::ask::{APART, Ask, LONG, SHORT, SUMMED};
use super::loading::make;
use super::questions::{Answer, Question, draw};
use super::story::{Scale, Story, key};
use crate::engine::past::{Past, PastReader, Point};
use crate::engine::{Engine, OpenOptions, Reader};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::Figure;
use crate::workload::read_path::sum_of;
use crate::workload::{Bench, Case, Counted, Done, Span};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Questions of a phase are asked for so long before it is measured, but not for more than four of its rounds.
const WARM_UP: Duration = Duration::from_millis(150);
/// Gets that are timed as one.
const BLOCK: usize = 500;
/// How often each of the random questions is asked; the quickest counts, as what else the machine does is not the engine's.
const PASSES: usize = 5;
/// Questions whose pages are counted, each after an open of its own.
const OPENS: usize = 24;

pub(super) struct PastCase {
    pub(super) scale: Scale,
    pub(super) asks: Vec<Ask>,
    story: Arc<OnceLock<Shared>>,
    bytes: u64,
    pub(super) past: Option<Box<dyn Past>>,
    /// The newest values, put as they were told.
    pub(super) plain: Option<Box<dyn Engine>>,
    /// The newest values, loaded at once.
    pub(super) dense: Option<Box<dyn Engine>>,
    /// What stands for each commit.
    pub(super) stamps: Vec<i64>,
    /// Rounds so far: each begins at another question.
    rounds: usize,
    /// The phase whose questions were asked before.
    warmed: Option<usize>,
}

/// What all engines of a plan share.
pub(super) struct Shared {
    pub(super) story: Story,
    questions: Vec<OnceLock<Vec<Question>>>,
}

impl PastCase {
    pub(super) fn new(scale: Scale, asks: Vec<Ask>, story: Arc<OnceLock<Shared>>, bytes: u64) -> Self {
        Self {
            scale,
            asks,
            story,
            bytes,
            past: None,
            plain: None,
            dense: None,
            stamps: Vec::new(),
            rounds: 0,
            warmed: None,
        }
    }

    pub(super) fn shared(&self, bench: &Bench<'_>) -> &Shared {
        self.story.get_or_init(|| Shared {
            story: Story::new(self.scale, bench.seed),
            questions: self.asks.iter().map(|_| OnceLock::new()).collect(),
        })
    }

    /// What a phase asks.
    fn questions(&self, bench: &Bench<'_>, phase: usize) -> &[Question] {
        let shared = self.shared(bench);
        shared.questions[phase].get_or_init(|| draw(&shared.story, self.asks[phase], bench.seed))
    }

    pub(super) fn past(&self) -> Result<&dyn Past> {
        self.past.as_deref().ok_or_else(not_set_up)
    }

    fn open(&self, bench: &Bench<'_>) -> Result<Box<dyn Past>> {
        let options = OpenOptions { durability: bench.durability, bytes_max: self.bytes };
        bench.kind.open_past(&bench.folder.join("past"), &options)
    }

    /// Where a question asks.
    fn point(&self, question: &Question) -> Point {
        let known = question.commit.and_then(|commit| self.stamps.get(commit as usize)).copied();
        Point { valid: question.valid, known }
    }

    /// Gets in blocks that are timed as a whole.
    fn gets(&self, ask: Ask, questions: &[Question], span: Span<'_>) -> Result<Done> {
        let plain = self.plain_of(ask)?;
        let mut recorder = Recorder::new(span.started);
        let (mut now, mut next) = (Instant::now(), self.rounds * 1_237 % questions.len());
        while span.goes_on(now) {
            let block = &questions[next..questions.len().min(next + BLOCK)];
            next = if next + BLOCK >= questions.len() { 0 } else { next + BLOCK };
            if let Some(plain) = plain {
                plain.read(&mut |txn| block.iter().try_for_each(|question| plain_get(txn, question)))?;
            } else {
                let get = |reader: &mut dyn PastReader, question: &Question| {
                    let found = reader.get(&key(question.key), self.point(question))?;
                    right(Answer::one(found.map(sum_of)), question)
                };
                self.past()?
                    .read(&mut |reader| block.iter().try_for_each(|question| get(reader, question)))?;
            }
            let begin = std::mem::replace(&mut now, Instant::now());
            recorder.record_many(begin, now, block.len() as u64);
        }
        Ok(Done::reading(recorder))
    }

    /// Questions whose answers have many values, a snapshot each.
    fn wide(&self, ask: Ask, questions: &[Question], span: Span<'_>) -> Result<Done> {
        let plain = self.plain_of(ask)?;
        let mut recorder = Recorder::new(span.started);
        let (mut now, mut next) = (Instant::now(), self.rounds * 17 % questions.len());
        while span.goes_on(now) {
            let question = &questions[next];
            next = (next + 1) % questions.len();
            let mut answer = Answer::default();
            if let Some(plain) = plain {
                plain.read(&mut |txn| {
                    txn.scan(&key(question.key), LONG, &mut |_, value| {
                        answer.add(sum_of(value));
                        Ok(())
                    })
                    .map(|_| ())
                })?;
            } else {
                self.past()?.read(&mut |reader| {
                    answer = self.ask(ask, reader, question)?;
                    Ok(())
                })?;
            }
            let begin = std::mem::replace(&mut now, Instant::now());
            right(answer, question)?;
            recorder.record_many(begin, now, if ask.rate() == "rows" { answer.count } else { 1 });
        }
        Ok(Done::reading(recorder))
    }

    fn ask(&self, ask: Ask, reader: &mut dyn PastReader, question: &Question) -> Result<Answer> {
        let mut answer = Answer::default();
        let (at, bytes) = (self.point(question), key(question.key));
        match ask {
            Ask::LatestScan | Ask::PastScan(_) | Ask::ShortScan(_) | Ask::Everything => {
                let (from, limit) = match ask {
                    Ask::Everything => (&[0][..], usize::MAX),
                    Ask::ShortScan(_) => (&bytes[..], SHORT),
                    _ => (&bytes[..], LONG),
                };
                reader.scan(from, limit, at, &mut |_, value| {
                    answer.add(sum_of(value));
                    Ok(())
                })?;
            }
            Ask::Timeline | Ask::PastTimeline => {
                reader.timeline(&bytes, question.window, at.known, &mut |from, to, value| {
                    answer.add_piece(from, to, sum_of(value));
                    Ok(())
                })?;
            }
            Ask::History => {
                let mut last = None;
                reader.history(&bytes, question.valid, &mut |value| {
                    let sum = sum_of(value);
                    // A belief may come in several pieces that follow each other.
                    if last.replace(sum) != Some(sum) {
                        answer.add_piece(0, 0, sum);
                    }
                    Ok(())
                })?;
            }
            Ask::Difference => {
                let from = question.commit.unwrap_or(0) as usize;
                let to = (from + APART as usize).min(self.stamps.len() - 1);
                answer.count = reader.changed_keys(self.stamps[from], self.stamps[to])?;
            }
            Ask::Sums => {
                let mut keys = Vec::with_capacity(SUMMED);
                // Every key has a value from its first change on.
                let now = Point { valid: i64::from(u32::MAX), known: None };
                reader.scan(&bytes, SUMMED, now, &mut |key, _| {
                    keys.push(key.to_vec());
                    Ok(())
                })?;
                for key in keys {
                    reader.timeline(&key, question.window, at.known, &mut |from, to, value| {
                        answer.add((to - from) as u64 ^ sum_of(value));
                        Ok(())
                    })?;
                }
            }
            Ask::Meetings => {
                let (count, sum) = reader.meetings(&bytes, &key(question.other), question.window)?;
                answer = Answer { count, sum };
            }
            _ => {}
        }
        Ok(answer)
    }

    /// The slowest of all questions, each at its quickest, and how many times the mean of what is in force now.
    fn worst(&self, bench: &Bench<'_>, phase: usize) -> Result<Measured> {
        let questions = self.questions(bench, phase);
        let latest = self.asks.iter().position(|ask| *ask == Ask::Latest).unwrap_or(phase);
        let latest = self.questions(bench, latest);
        let started = Instant::now();
        let mut recorder = Recorder::new(started);
        let mut quickest = vec![u64::MAX; questions.len()];
        let mut mean_of_latest = f64::MAX;
        for _ in 0..PASSES {
            bench.stop.check()?;
            self.past()?.read(&mut |reader| {
                let begin = Instant::now();
                for question in latest {
                    let found = reader.get(&key(question.key), self.point(question))?.map(sum_of);
                    right(Answer::one(found), question)?;
                }
                let mean = begin.elapsed().as_nanos() as f64 / latest.len() as f64;
                mean_of_latest = mean_of_latest.min(mean);
                let mut now = Instant::now();
                for (question, quickest) in questions.iter().zip(&mut quickest) {
                    let found = reader.get(&key(question.key), self.point(question))?.map(sum_of);
                    let begin = std::mem::replace(&mut now, Instant::now());
                    recorder.record(begin, now);
                    *quickest = (*quickest).min((now - begin).as_nanos() as u64);
                    right(Answer::one(found), question)?;
                }
                Ok(())
            })?;
        }
        let worst = quickest.iter().max().copied().unwrap_or(0) as f64;
        let mut measured = Measured::new("get", recorder, started.elapsed());
        measured.push(Figure::lower("worst_ns", worst, "ns"));
        measured.push(Figure::lower("worst_to_latest", worst / mean_of_latest.max(1.0), "x"));
        Ok(measured)
    }

    /// Pages that are checked for the first question after an open: mean and most, now and then.
    fn pages(&mut self, bench: &Bench<'_>, phase: usize) -> Result<Measured> {
        let started = Instant::now();
        let mut recorder = Recorder::new(started);
        let mut pages: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        if self.past()?.pages_checked().is_some() {
            let latest = self.asks.iter().position(|ask| *ask == Ask::Latest).unwrap_or(phase);
            for at in 0..OPENS {
                for (name, phase) in [("now", latest), ("then", phase)] {
                    bench.stop.check()?;
                    self.past = None;
                    self.past = Some(self.open(bench)?);
                    let (past, question) = (self.past()?, &self.questions(bench, phase)[at]);
                    past.read(&mut |reader| {
                        let before = past.pages_checked().unwrap_or(0);
                        let found = reader.get(&key(question.key), self.point(question))?.map(sum_of);
                        right(Answer::one(found), question)?;
                        let touched = past.pages_checked().unwrap_or(0) - before;
                        pages.entry(name).or_default().push(touched);
                        Ok(())
                    })?;
                    recorder.count(Instant::now(), 1);
                }
            }
        }
        let mut measured = Measured::new("get", recorder, started.elapsed());
        for (name, pages) in pages {
            let mean = pages.iter().sum::<u64>() as f64 / pages.len() as f64;
            let most = pages.iter().max().copied().unwrap_or(0) as f64;
            measured.push(Figure::lower(&format!("pages_{name}"), mean, "pages"));
            measured.push(Figure::lower(&format!("pages_{name}_max"), most, "pages"));
        }
        Ok(measured)
    }
}

fn plain_get(txn: &mut dyn Reader, question: &Question) -> Result<()> {
    let found = txn.get(&key(question.key))?;
    right(Answer::one(found.map(sum_of)), question)
}

/// Holds an answer against the model's.
#[inline]
fn right(found: Answer, question: &Question) -> Result<()> {
    if found == question.answer { Ok(()) } else { Err(wrong(found, question)) }
}

#[cold]
fn wrong(found: Answer, question: &Question) -> Error {
    Error::WrongAnswer(format!("{found:?} to {question:?}"))
}

pub(super) fn not_set_up() -> Error {
    Error::WrongAnswer("the database was not set up".to_owned())
}

impl Case for PastCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        make(&bench.folder.join("past"))?;
        self.past = Some(self.open(bench)?);
        if self.asks.iter().any(|ask| matches!(ask, Ask::DenseGet | Ask::DenseScan)) {
            self.load_dense(bench)?;
        }
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured> {
        let ask = self.asks[phase];
        // Drawn before the clock starts.
        self.questions(bench, phase);
        self.rounds += 1;
        match ask {
            Ask::Load => return self.load(bench),
            Ask::PlainLoad => return self.load_plain(bench),
            Ask::Worst => return self.worst(bench, phase),
            Ask::Pages => return self.pages(bench, phase),
            _ => {}
        }
        let questions = self.questions(bench, phase);
        let is_get = ask.rate() == "gets";
        let operation = if is_get { "get" } else { "answer" };
        let work = |span: Span<'_>| {
            if is_get { self.gets(ask, questions, span) } else { self.wide(ask, questions, span) }
        };
        if self.warmed != Some(phase) {
            // Pages are checked at their first use, and the first use of a history is no question's own cost.
            work(Span::new(Instant::now(), WARM_UP.min(budget * 4), bench.stop))?;
        }
        let mut measured = bench.threads(operation, 1, budget, |_, span| work(span))?;
        self.warmed = Some(phase);
        let rate = measured.per_second();
        measured.push(Figure::higher(ask.rate(), rate, "1/s"));
        if is_get {
            measured.push(Figure::lower("get_ns", 1e9 / rate.max(1e-9), "ns"));
        }
        Ok(measured)
    }

    fn figures(&self, bench: &Bench<'_>, phase: usize, measured: &Measured) -> Vec<Figure> {
        let mut figures = measured.sample_figures();
        if bench.kind.name() == "llmdb" && self.asks[phase] != Ask::PlainLoad {
            for figure in &mut figures {
                let (bound, text) = match figure.name.as_str() {
                    "puts" => (300_000.0, "300,000 puts a second in batches without a flush"),
                    "bytes_per_byte" => (1.6, "at most 1.6 bytes stored for a byte of key and value"),
                    "worst_to_latest" => (4.0, "the worst question takes at most 4 times the mean get now"),
                    _ => continue,
                };
                *figure = figure.clone().target(bound, text);
            }
        }
        figures
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        // From the files, not from memory.
        self.past = None;
        let past = self.open(bench)?;
        let story = &self.shared(bench).story;
        let last = story.commits() - 1;
        let mut counted = Counted::default();
        for (commit, at) in [(None, story.changes() as i64), (Some(last / 2), story.instant_of(last / 2))] {
            let expected = story.rows(story.first_key(), usize::MAX, at, commit.unwrap_or(last));
            let known = commit.map(|commit| self.stamps[commit as usize]);
            let mut found = Answer::default();
            past.read(&mut |reader| {
                reader.scan(&[0], usize::MAX, Point { valid: at, known }, &mut |_, value| {
                    found.add(sum_of(value));
                    Ok(())
                })?;
                Ok(())
            })?;
            if found.sum != expected.1 {
                return Err(Error::WrongAnswer(
                    "what all keys believe does not add up to what was told".into(),
                ));
            }
            counted.expected += expected.0 as u64;
            counted.found += found.count;
        }
        let mut newest = Answer::default();
        for number in story.keys_from(story.first_key()).filter_map(|key| story.newest(key)) {
            newest.add(story.sum(number));
        }
        for plain in [&self.plain, &self.dense].into_iter().flatten() {
            let mut found = Answer::default();
            plain.read(&mut |txn| {
                txn.scan(&[0], usize::MAX, &mut |_, value| {
                    found.add(sum_of(value));
                    Ok(())
                })
                .map(|_| ())
            })?;
            if found.sum != newest.sum {
                return Err(Error::WrongAnswer(
                    "a plain tree does not hold the newest value of every key".into(),
                ));
            }
            counted.expected += newest.count;
            counted.found += found.count;
        }
        Ok(counted)
    }
}
