//! The demo's screen.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::figures::Figures;
use super::past::Past;
use super::questions::Check;
#[cfg(feature = "wasm")]
use super::reduction::Reduction;
use super::story::{BEIRUT, Belief, CALL};

/// Everything that is shown.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) statement_count: usize,
    pub(crate) commits: u64,
    pub(crate) load_time: Duration,
    pub(crate) beliefs: Vec<Belief>,
    pub(crate) past: Past,
    #[cfg(feature = "wasm")]
    pub(crate) reduction: Reduction,
    pub(crate) figures: Figures,
    pub(crate) check: Check,
}

impl Report {
    /// Whether every answer was the expected one.
    pub(crate) fn all_right(&self) -> bool {
        self.check.right == self.check.of && self.figures.wrong == 0
    }

    /// For people.
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "llmdb demo: what did we believe, when, about when?\n")?;
        self.print_data(out)?;
        self.print_story(out)?;
        self.print_past(out)?;
        #[cfg(feature = "wasm")]
        print_reduction(&self.reduction, out)?;
        self.print_figures(out)?;
        let Check { right, of } = self.check;
        writeln!(out, "check  {right} of {of} reference questions answered as expected\n")?;
        self.print_next(out)
    }

    /// For programs.
    pub(crate) fn print_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let figures = &self.figures;
        let report = json!({
            "path": self.path,
            "size_bytes": self.size,
            "statements": self.statement_count,
            "zones": figures.zone_count,
            "commits": self.commits,
            "load_ms": millis(self.load_time),
            "call": CALL,
            "beliefs": self.beliefs.iter().map(belief_json).collect::<Vec<_>>(),
            "past": {
                "corrections": self.past.corrections.len(),
                "zones": self.past.zone_count(),
                "beirut_hours": self.past.beirut_hours(),
            },
            "wasm": self.reduction_json(),
            "reads": {
                "count": figures.read_count,
                "latest_us": figures.micros_each(figures.latest),
                "as_of_us": figures.micros_each(figures.as_of),
                "scan_ms": millis(figures.scan),
                "wrong": figures.wrong,
            },
            "check": {"right": self.check.right, "of": self.check.of},
        });
        writeln!(out, "{report}")
    }

    fn print_data(&self, out: &mut dyn Write) -> io::Result<()> {
        let (statements, zones) = (grouped(self.statement_count as u64), self.figures.zone_count);
        writeln!(out, "data   IANA time zones, 32 releases from 2020a to 2026f, public domain:")?;
        writeln!(out, "       {statements} statements about {zones} zones")?;
        let megabytes = self.size as f64 / 1e6;
        let (commits, time) = (self.commits, millis(self.load_time));
        writeln!(
            out,
            "load   {commits} commits, one for each release that changed something, in {time:.0} ms:"
        )?;
        writeln!(out, "       {}, {megabytes:.1} MB\n", self.path)
    }

    fn print_story(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "A call is booked for 2023-03-27 09:00 UTC. What time is that in Beirut?\n")?;
        writeln!(out, "       known on     newest then   local time           said by")?;
        for belief in &self.beliefs {
            let known_on = belief.known_on.unwrap_or("today");
            let Belief { local_time, offset, abbr, newest, said_by, what_happened, .. } = belief;
            let line = format!(
                "       {known_on:<10}   {newest:<11}   {local_time}  {offset} {abbr:<4}  {said_by}   {what_happened}"
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out)
    }

    fn print_past(&self, out: &mut dyn Write) -> io::Result<()> {
        let (count, zones, hours) =
            (self.past.corrections.len(), self.past.zone_count(), self.past.beirut_hours().round());
        writeln!(out, "past   {count} corrections rewrote time that had already gone by, in {zones} zones")?;
        writeln!(out, "       (Beirut: {hours} hours, until 2023c came out)")
    }

    fn print_figures(&self, out: &mut dyn Write) -> io::Result<()> {
        let figures = &self.figures;
        let (latest, as_of) = (figures.micros_each(figures.latest), figures.micros_each(figures.as_of));
        let (count, scan) = (grouped(figures.read_count as u64), millis(figures.scan));
        writeln!(out, "reads  {latest:.1} µs each for the latest, {as_of:.1} µs AS OF a random release")?;
        writeln!(out, "       ({count} of each), {scan:.1} ms to scan all zones;")?;
        if cfg!(debug_assertions) {
            writeln!(out, "       (a debug build: with --release they are shorter)")?;
        }
        match figures.wrong {
            0 => writeln!(out, "       each equals a naive search through the statements"),
            wrong => writeln!(out, "       {wrong} DIFFER from a naive search through the statements"),
        }
    }

    fn print_next(&self, out: &mut dyn Write) -> io::Result<()> {
        let path = &self.path;
        let next = [
            format!("llmdb history {path} {BEIRUT} --valid-at {CALL}"),
            format!("llmdb get {path} {BEIRUT} --valid-at {CALL} --known-at 2023-03-25T00:00:00Z"),
            format!("llmdb timeline {path} {BEIRUT} --known-at 2023-03-25T00:00:00Z"),
            format!("echo '{{\"op\":\"diff\",\"from_commit\":16,\"to_commit\":17}}' | llmdb ask {path}"),
            format!("llmdb check {path}"),
        ];
        for (index, command) in next.iter().enumerate() {
            writeln!(out, "{}{command}", if index == 0 { "next   " } else { "       " })?;
        }
        let program =
            std::env::current_exe().map_or_else(|_| "this program".into(), |exe| exe.display().to_string());
        writeln!(out, "       (llmdb is {program}; llmdb --help shows the rest)")
    }

    #[cfg(feature = "wasm")]
    fn reduction_json(&self) -> Json {
        let Reduction { count, least, greatest, sum, fuel, compile_time, run_time } = &self.reduction;
        json!({
            "count": count, "min_s": least, "max_s": greatest, "sum_s": sum,
            "fuel": fuel, "compile_ms": millis(*compile_time), "run_ms": millis(*run_time),
        })
    }

    #[cfg(not(feature = "wasm"))]
    fn reduction_json(&self) -> Json {
        Json::Null
    }
}

#[cfg(feature = "wasm")]
fn print_reduction(reduction: &Reduction, out: &mut dyn Write) -> io::Result<()> {
    use super::story::offset;
    let Reduction { count, least, greatest, sum, fuel, compile_time, run_time } = reduction;
    let average = if *count == 0 { 0 } else { sum / count };
    let (least, greatest, average) = (offset(*least), offset(*greatest), offset(average));
    let (fuel, compile, run) = (grouped(*fuel), millis(*compile_time), millis(*run_time));
    writeln!(
        out,
        "wasm   a WebAssembly function over all {count} zones, today: from {least} to {greatest}, mean {average}"
    )?;
    writeln!(out, "       {fuel} units of fuel, {run:.1} ms with the scan (compiled in {compile:.0} ms)")
}

fn belief_json(belief: &Belief) -> Json {
    json!({
        "known_on": belief.known_on.unwrap_or("today"),
        "local_time": belief.local_time,
        "offset": belief.offset,
        "abbr": belief.abbr,
        "newest_release": belief.newest,
        "said_by": belief.said_by,
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// 4015 as 4,015.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
