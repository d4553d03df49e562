//! What is asked, and what it must reach.

use crate::workload::Phase;
use crate::workload::bar::{Bar, Of};
use std::time::Duration;

/// Rows of a long scan.
pub(super) const LONG: usize = 1_000;
/// Rows of a short scan.
pub(super) const SHORT: usize = 100;
/// Commits between the two states of a difference.
pub(super) const APART: u32 = 10;
/// Keys whose timelines are summed up.
pub(super) const SUMMED: usize = 50;

const DEPTHS: [u64; 5] = [1, 10, 100, 1_000, 10_000];
const SHARES: [u32; 4] = [0, 50, 90, 100];

/// A phase: what is done in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// All changes are told.
    Load,
    /// The same puts in the same transactions into a plain tree or table of the same engine, where the newest value stays.
    PlainLoad,
    /// The newest values from that plain tree, which grew as the history did.
    PlainGet,
    /// The newest values from a plain tree that was loaded at once, in the order of its keys.
    DenseGet,
    /// What is in force now.
    Latest,
    /// What was known so many changes of each key ago.
    Depth(u64),
    /// What was known when so much of a hundredth of history was told.
    Share(u32),
    /// Any instant as of any commit.
    Any,
    /// Each of many random questions by itself: the worst of them.
    Worst,
    /// Pages that a question touches.
    Pages,
    /// Records of the plain tree that grew, in order.
    PlainScan,
    /// Records of the plain tree that was loaded at once, in order.
    DenseScan,
    /// Keys in force now.
    LatestScan,
    /// Keys in force at any instant as of a share of history.
    PastScan(u32),
    /// The same, of few keys.
    ShortScan(u32),
    /// Everything in force as of half of history.
    Everything,
    /// A key's timeline as known now.
    Timeline,
    /// A key's timeline as known then.
    PastTimeline,
    /// All that was believed about a key at an instant.
    History,
    /// Keys that changed between two commits.
    Difference,
    /// Timelines of a range of keys, summed up.
    Sums,
    /// Where two timelines meet.
    Meetings,
}

impl Ask {
    /// All questions about a history of so many versions.
    pub(super) fn all(versions: u64) -> Vec<Self> {
        let mut all = vec![Self::Load, Self::PlainLoad, Self::PlainGet, Self::DenseGet, Self::Latest];
        all.extend(DEPTHS.into_iter().filter(|&depth| depth < versions).map(Self::Depth));
        all.extend(SHARES.map(Self::Share));
        all.extend([Self::Any, Self::Worst, Self::Pages]);
        all.extend([Self::PlainScan, Self::DenseScan, Self::LatestScan]);
        all.extend([90, 50, 10].map(Self::PastScan));
        all.extend([Self::ShortScan(50), Self::Everything, Self::Timeline, Self::PastTimeline]);
        all.extend([Self::History, Self::Difference, Self::Sums, Self::Meetings]);
        all
    }

    /// Those that the mix of changes can matter to.
    pub(super) fn some() -> Vec<Self> {
        let mut some = vec![Self::Load, Self::PlainLoad, Self::PlainGet, Self::Latest, Self::Depth(10)];
        some.extend([Self::Any, Self::Pages, Self::PlainScan, Self::LatestScan, Self::PastScan(50)]);
        some.extend([Self::ShortScan(50), Self::Timeline, Self::PastTimeline, Self::History]);
        some.push(Self::Difference);
        some
    }

    fn in_words(self) -> String {
        match self {
            Self::Load => "all changes told".to_owned(),
            Self::PlainLoad => "all changes put into a plain tree".to_owned(),
            Self::PlainGet => "plain get of the newest value".to_owned(),
            Self::DenseGet => "plain get of the newest value, loaded at once".to_owned(),
            Self::Latest => "get, now".to_owned(),
            Self::Depth(depth) => format!("get, known {depth} versions ago"),
            Self::Share(percent) => format!("get, any valid time, known at {percent} % of history"),
            Self::Any => "get, any valid time, known at any commit".to_owned(),
            Self::Worst => "random questions one by one".to_owned(),
            Self::Pages => "pages of the first question after an open".to_owned(),
            Self::PlainScan => format!("plain scans of {LONG}"),
            Self::DenseScan => format!("plain scans of {LONG}, loaded at once"),
            Self::LatestScan => format!("scans of {LONG}, now"),
            Self::PastScan(percent) => {
                format!("scans of {LONG}, any valid time, known at {percent} % of history")
            }
            Self::ShortScan(percent) => {
                format!("scans of {SHORT}, any valid time, known at {percent} % of history")
            }
            Self::Everything => "all keys, any valid time, known at half of history".to_owned(),
            Self::Timeline => "timeline of a key, known now".to_owned(),
            Self::PastTimeline => "timeline of a key, known at any commit".to_owned(),
            Self::History => "history of an instant of a key".to_owned(),
            Self::Difference => format!("keys that {APART} commits changed"),
            Self::Sums => format!("sums over the timelines of {SUMMED} keys"),
            Self::Meetings => "join of two timelines".to_owned(),
        }
    }

    /// TPC-BiH's class of the question.
    fn class(self) -> Option<&'static str> {
        match self {
            Self::Depth(_) | Self::Share(_) | Self::PastScan(_) | Self::ShortScan(_) | Self::Everything => {
                Some("T")
            }
            Self::Timeline | Self::History => Some("K"),
            Self::Difference | Self::Sums | Self::Meetings => Some("R"),
            Self::Any | Self::Worst | Self::PastTimeline => Some("B"),
            _ => None,
        }
    }

    /// The name of its rate.
    pub(super) fn rate(self) -> &'static str {
        match self {
            Self::Load | Self::PlainLoad => "puts",
            Self::PlainScan | Self::DenseScan | Self::LatestScan | Self::PastScan(_) | Self::Everything => {
                "rows"
            }
            Self::ShortScan(_) => "scans",
            Self::Timeline | Self::PastTimeline => "timelines",
            Self::History => "histories",
            Self::Difference => "differences",
            Self::Sums => "sums",
            Self::Meetings => "joins",
            _ => "gets",
        }
    }

    /// Whether it is done once, however long it takes.
    fn once(self) -> bool {
        matches!(self, Self::Load | Self::PlainLoad | Self::Worst | Self::Pages)
    }

    /// The phase, among all.
    pub(super) fn phase(self, all: &[Self], time: Duration) -> Phase {
        let mut parameters = vec![("read".to_owned(), self.in_words())];
        parameters.extend(self.class().map(|class| ("class".to_owned(), class.to_owned())));
        Phase {
            parameters: parameters.into_iter().collect(),
            once: self.once(),
            longer: 1,
            share: Some(time),
            bars: self.bars(all),
        }
    }

    /// What it must reach.
    fn bars(self, all: &[Self]) -> Vec<Bar> {
        let own = |figure, times, other: Self, called| {
            let at = all.iter().position(|ask| *ask == other)?;
            Some(Bar::new(figure, times, Of::Own).in_phase(at, called))
        };
        let latest = || own("get_ns", 1.5, Self::Latest, "get now").map(|bar| bar.named("to_latest"));
        let peers = || {
            let over = |times, name, called| Bar::new("gets", times, Of::Engine(name)).named(called);
            [over(1.0, "lmdb", "gets_to_lmdb"), over(3.0, "sqlite", "gets_to_sqlite")]
        };
        let mut bars = Vec::new();
        match self {
            Self::Latest => {
                let plain = own("get_ns", 1.3, Self::PlainGet, "plain get");
                bars.extend(plain.map(|bar| bar.named("to_plain")));
            }
            Self::Depth(depth) => {
                bars.extend(latest());
                let shallow = own("get_ns", 1.2, Self::Depth(10), "get 10 versions ago");
                bars.extend(shallow.filter(|_| depth == 10_000).map(|bar| bar.named("to_depth_10")));
                bars.extend(peers());
            }
            Self::Share(_) | Self::Any => {
                bars.extend(latest());
                bars.extend(peers());
            }
            Self::LatestScan => {
                bars.extend(own("rows", 0.8, Self::PlainScan, "plain scan").map(|bar| bar.named("to_plain")));
            }
            Self::PastScan(_) => {
                bars.extend(own("rows", 0.5, Self::LatestScan, "scan now").map(|bar| bar.named("to_latest")));
            }
            Self::ShortScan(_) => bars.push(Bar::new("scans", 4.0, Of::Best)),
            _ => {}
        }
        bars
    }
}
