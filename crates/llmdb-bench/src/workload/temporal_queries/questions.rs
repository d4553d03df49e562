//! Questions with their right answers, drawn before anything is measured.

use super::ask::{APART, Ask, LONG, SHORT, SUMMED};
use super::story::Story;
use crate::rng::Rng;

/// Questions about single values: so few that a warm-up asks most of them.
const GETS: usize = 4_000;
/// Random questions of which the worst is looked for.
const RANDOM: usize = 10_000;
/// Questions whose answers have many values.
const WIDE: usize = 64;

/// A question.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) key: u32,
    /// The other key of a join.
    pub(super) other: u32,
    pub(super) valid: i64,
    /// `None` = now.
    pub(super) commit: Option<u32>,
    /// A window of valid time.
    pub(super) window: (i64, i64),
    /// How many values there are, and what is known of them; see [`Answer`].
    pub(super) answer: Answer,
}

/// What an answer is made of: how many, and a sum into which go all bytes of the values, and bounds with their order where there
/// are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) count: u64,
    pub(super) sum: u64,
}

impl Answer {
    pub(super) fn one(sum: Option<u64>) -> Self {
        sum.map_or(Self::default(), |sum| Self { count: 1, sum })
    }

    /// One value more, in any order.
    pub(super) fn add(&mut self, sum: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(sum);
    }

    /// A piece more: its bounds and its place count.
    pub(super) fn add_piece(&mut self, from: i64, to: i64, sum: u64) {
        let bounds = (from as u64).rotate_left(17) ^ (to as u64);
        self.sum = self.sum.rotate_left(5).wrapping_add(sum ^ bounds);
        self.count += 1;
    }
}

/// What a phase asks.
pub(super) fn draw(story: &Story, ask: Ask, seed: u64) -> Vec<Question> {
    let mut dice = Rng::stream(seed, ask.rate().len() as u64 + 7);
    let last = story.commits() - 1;
    let now = story.changes() as i64;
    let keys = story.scale.keys;
    let at_share = |percent: u32| (u64::from(last) * u64::from(percent) / 100) as u32;
    let count = match ask {
        Ask::Load => 0,
        Ask::Everything => 4,
        Ask::Timeline | Ask::PastTimeline | Ask::History | Ask::Meetings => WIDE * 4,
        Ask::PlainScan | Ask::LatestScan | Ask::PastScan(_) | Ask::ShortScan(_) => WIDE,
        Ask::Difference => 8,
        Ask::Sums => 16,
        Ask::Worst => RANDOM,
        _ => GETS,
    };
    // As long as every key takes to be changed some fifty times.
    let window_size = (keys * 50) as i64;
    let questions = (0..count).map(|at| {
        let key = dice.below(keys) as u32;
        let any = dice.below(now as u64) as i64;
        let (valid, commit) = match ask {
            Ask::Latest | Ask::PlainGet | Ask::DenseGet => (now, None),
            Ask::PlainScan | Ask::DenseScan | Ask::LatestScan => (now, None),
            Ask::Depth(depth) => {
                let commit = story.versions_ago(depth);
                let valid = if at % 2 == 0 { story.instant_of(commit) } else { any };
                (valid, Some(commit))
            }
            Ask::Share(percent) | Ask::PastScan(percent) | Ask::ShortScan(percent) => {
                (any, Some(at_share(percent)))
            }
            Ask::Everything => (any, Some(at_share(50))),
            Ask::Timeline | Ask::Meetings | Ask::History => (any, None),
            // So that there are commits behind it.
            Ask::Difference => (any, Some(dice.below(u64::from(last.saturating_sub(APART)) + 1) as u32)),
            _ => (any, Some(dice.below(u64::from(last) + 1) as u32)),
        };
        let start = (any - window_size / 2).max(0);
        let mut question = Question {
            key,
            other: dice.below(keys) as u32,
            valid,
            commit,
            window: (start, start + window_size),
            answer: Answer::default(),
        };
        question.answer = answer(story, ask, &question);
        question
    });
    questions.collect()
}

/// The right answer.
fn answer(story: &Story, ask: Ask, question: &Question) -> Answer {
    let &Question { key, other, valid, commit, window, .. } = question;
    let last = story.commits() - 1;
    let as_of = commit.unwrap_or(last);
    let mut answer = Answer::default();
    match ask {
        Ask::Load | Ask::PlainLoad => {}
        // A plain tree has the value of the newest change, whatever it is about.
        Ask::PlainGet | Ask::DenseGet => {
            answer = Answer::one(story.newest(key).map(|number| story.sum(number)))
        }
        Ask::PlainScan | Ask::DenseScan => {
            for key in story.keys_from(key).take(LONG) {
                story.newest(key).into_iter().for_each(|number| answer.add(story.sum(number)));
            }
        }
        Ask::LatestScan | Ask::PastScan(_) | Ask::ShortScan(_) | Ask::Everything => {
            let limit = match ask {
                Ask::ShortScan(_) => SHORT,
                Ask::Everything => usize::MAX,
                _ => LONG,
            };
            let from = if ask == Ask::Everything { story.first_key() } else { key };
            let (count, sum) = story.rows(from, limit, valid, as_of);
            answer = Answer { count: count as u64, sum };
        }
        Ask::Timeline | Ask::PastTimeline => {
            for (from, to, number) in story.pieces(key, window, as_of) {
                answer.add_piece(from, to, story.sum(number));
            }
        }
        Ask::History => {
            for number in story.beliefs(key, valid) {
                answer.add_piece(0, 0, story.sum(number));
            }
        }
        Ask::Difference => answer.count = story.changed_keys(as_of, (as_of + APART).min(last)),
        Ask::Sums => {
            for key in story.keys_from(key).take(SUMMED) {
                for (from, to, number) in story.pieces(key, window, as_of) {
                    answer.add((to - from) as u64 ^ story.sum(number));
                }
            }
        }
        Ask::Meetings => {
            let (one, two) = (story.pieces(key, window, last), story.pieces(other, window, last));
            for (from, to) in
                one.iter().flat_map(|one| two.iter().map(|two| (one.0.max(two.0), one.1.min(two.1))))
            {
                if from < to {
                    answer.add((to - from) as u64);
                }
            }
        }
        _ => answer = Answer::one(story.believed(key, valid, as_of).map(|number| story.sum(number))),
    }
    answer
}
