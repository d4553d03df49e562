//! The command line, and its help.
//!
//! Not here: what the commands do (`commands`, `demo`).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use llmdb::lines::{Times, key, time};
use llmdb::{CommitTime, Known, Period, ValidTime};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for ask: every question was answered
  1  get: nothing is in force; erase: there was nothing; check: damage, or what
     must not be there, was found; ask: a question failed; demo: an answer was
     not the expected one
  2  the input or the surroundings are at fault, and nothing was half-applied:
     a bad argument or line, a database that another process owns, a directory
     that cannot be written, a full disk, a file that the demo did not make
  3  the database cannot be opened or read: it is missing, empty, truncated,
     damaged, or not one of this version
  4  any other failure of reading or writing

Times are RFC 3339 with an offset (2023-03-27T09:00:00Z) or whole microseconds
since 1970. Keys are text, or base64:... for any bytes. Output is a table on a
terminal and JSON elsewhere (demo: text); --format decides otherwise.";

/// An embedded, single-file database that never forgets what it knew.
#[derive(Debug, Parser)]
#[command(name = "llmdb", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load real data and watch the database answer "what did we believe, when, about when?"
    #[command(after_help = "\
Loads 32 releases of the IANA time zone database into a file of its own, and
asks it about a call in Beirut on 2023-03-27. A file that the demo did not make
is never touched; its own file is made anew.

Examples:
  llmdb demo
  llmdb demo --path /tmp/zones.llmdb --format json")]
    Demo(Demo),
    /// Apply operations, given as JSON lines, to a database
    #[command(after_help = "\
One line is one operation; lines in a row with the same \"commit\" (else the same
\"tx\") are one transaction. Each is answered when it is durable. The first bad
line ends the run: its transaction is refused whole, earlier ones stay.
See docs/json-lines.md.

Examples:
  llmdb apply agent.llmdb facts.jsonl
  echo '{\"op\":\"put\",\"key\":\"home\",\"value\":\"Oslo\"}' | llmdb apply agent.llmdb")]
    Apply(Stream),
    /// Answer questions, given as JSON lines, from a database
    #[command(after_help = "\
One line is one question: get, scan, timeline, history, versions, diff or
changes. Answers come in order and repeat the \"id\". See docs/json-lines.md.

Examples:
  echo '{\"id\":1,\"op\":\"get\",\"key\":\"home\"}' | llmdb ask agent.llmdb
  llmdb ask agent.llmdb questions.jsonl --times micros")]
    Ask(Stream),
    /// Show what is believed about a key
    #[command(after_help = "\
Examples:
  llmdb get agent.llmdb home
  llmdb get agent.llmdb home --valid-at 2023-03-27T09:00:00Z
  llmdb get agent.llmdb home --known-at 2023-03-25T00:00:00Z
  llmdb get agent.llmdb home --at-commit 3 --format json")]
    Get(Get),
    /// Record that a key has a value
    #[command(after_help = "\
What was believed before stays in the history.

Examples:
  llmdb put agent.llmdb home '\"Oslo\"'
  llmdb put agent.llmdb home '{\"city\":\"Oslo\"}' --valid-from 2023-01-01T00:00:00Z
  llmdb put agent.llmdb report - < report.json")]
    Put(Put),
    /// Record that a key has no value
    #[command(after_help = "\
What was believed before stays in the history.

Examples:
  llmdb delete agent.llmdb home
  llmdb delete agent.llmdb home --valid-from 2023-01-01T00:00:00Z \\
    --valid-to 2023-02-01T00:00:00Z")]
    Delete(Delete),
    /// Take a key out of all of time, and its bytes out of the files
    #[command(after_help = "\
Nothing of the key is in any answer any more, as of whatever time, and its bytes
are overwritten in the data file and the log; backups made afterwards hold none.
Backups and copies made before are yours to delete. That something was erased
stays, when and why: the reason should not say what.

Examples:
  llmdb erase agent.llmdb \"home of Ada\" --reason \"asked for on 3 March\"
  llmdb check agent.llmdb --prove-erased --key \"home of Ada\"")]
    Erase(Erase),
    /// Let history go that is older than a time
    #[command(after_help = "\
What was believed at the newest commit not later than that time, and ever since,
can still be asked for; questions as of before are errors. What is true now is
not touched.

Example:
  llmdb retain agent.llmdb --before 2023-01-01T00:00:00Z")]
    Retain(Retain),
    /// Show what was believed about one instant of the world, when
    #[command(after_help = "\
Examples:
  llmdb history demo.llmdb tz:Asia/Beirut --valid-at 2023-03-27T09:00:00Z
  llmdb history agent.llmdb home --known-at 2023-03-25T00:00:00Z")]
    History(History),
    /// Show what is believed about a key over valid time
    #[command(after_help = "\
Examples:
  llmdb timeline demo.llmdb tz:Asia/Beirut
  llmdb timeline demo.llmdb tz:Asia/Beirut --known-at 2023-03-25T00:00:00Z
  llmdb timeline demo.llmdb tz:Asia/Beirut --valid-from 2023-01-01T00:00:00Z \\
    --valid-to 2024-01-01T00:00:00Z --clamp")]
    Timeline(Timeline),
    /// Show sizes and counts
    #[command(after_help = "Example:\n  llmdb stat agent.llmdb --format json")]
    Stat(Whole),
    /// Read every page that is in use and verify it
    #[command(after_help = "\
With --prove-erased it also says whether bytes of anything erased are still to be
overwritten, and what was erased when and why. It asks all collections for the
given keys, and looks for keys and values, byte by byte, in the data file, the
log, and the files given with --also, such as backups. Something found is told of
with its place, and the exit code is 1. What stands there may be another key's:
then it was not erased. Not looked at: what the device keeps of
blocks that were overwritten or given back, and memory that was swapped out.

Examples:
  llmdb check agent.llmdb && echo sound
  llmdb check agent.llmdb --prove-erased --key \"home of Ada\" \\
    --value '\"Rue de Rivoli 12\"' --also monday.backup")]
    Check(Check),
    /// Copy the database to a file, while others go on using it or not
    #[command(after_help = "\
A backup holds what was committed when it began. With --since it holds only what
was written after an earlier one, and is restored behind it; EARLIER is that
backup's file, or the commit that it ended with. TO must not exist; it is there
when it is whole. - writes to standard output, the report to standard error.

Examples:
  llmdb backup agent.llmdb monday.backup
  llmdb backup agent.llmdb tuesday.backup --since monday.backup
  llmdb backup agent.llmdb - | ssh elsewhere 'cat > agent.backup'")]
    Backup(Backup),
    /// Keep functions in WebAssembly in the database, and run them over its facts
    #[cfg(feature = "wasm")]
    #[command(subcommand, after_help = "Example:\n  llmdb wasm --help\n  llmdb wasm run --help")]
    Wasm(Wasm),
    /// Make a database of backups
    #[command(after_help = "\
A full backup first, then those that were made since, each behind the one before
it. Every page is read and verified before the database is there, and TO must
not exist. It is another database with the same content: its own backups begin
with a full one.

Examples:
  llmdb restore agent.llmdb monday.backup
  llmdb restore agent.llmdb monday.backup tuesday.backup wednesday.backup")]
    Restore(Restore),
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The database
    pub(crate) db: PathBuf,
    /// The file to make; - is standard output
    pub(crate) to: PathBuf,
    /// Leave out what was written up to an earlier backup
    #[arg(long, value_name = "EARLIER")]
    pub(crate) since: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The database to make
    pub(crate) to: PathBuf,
    /// The backups, the full one first; - is standard input
    #[arg(required = true)]
    pub(crate) from: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[cfg(feature = "wasm")]
#[derive(Debug, Subcommand)]
pub(crate) enum Wasm {
    /// Keep a module under a name
    #[command(after_help = "\
The module, binary or text, is checked and compiled first, and what does not run
here is refused. What had the name before is replaced. See docs/wasm-abi.md for
what a module exports.

Examples:
  llmdb wasm put agent.llmdb stats stats.wasm
  cat count.wat | llmdb wasm put agent.llmdb count -")]
    Put(WasmPut),
    /// List the modules
    #[command(after_help = "Example:\n  llmdb wasm list agent.llmdb --format json")]
    List(Whole),
    /// Show what a module exports, takes and has used
    #[command(after_help = "\
Examples:
  llmdb wasm describe agent.llmdb stats
  llmdb wasm describe agent.llmdb 5f0c... (64 digits: its hash)")]
    Describe(WasmModule),
    /// Refuse calls of a module
    #[command(after_help = "Example:\n  llmdb wasm disable agent.llmdb stats")]
    Disable(WasmName),
    /// Take calls of a module again
    #[command(after_help = "Example:\n  llmdb wasm enable agent.llmdb stats")]
    Enable(WasmName),
    /// Remove a module
    #[command(after_help = "Example:\n  llmdb wasm remove agent.llmdb stats")]
    Remove(WasmName),
    /// Run a function over the facts that are in force
    #[command(after_help = "\
The function sees each fact as a record: key, value (JSON as text), times. A map
prints an answer for each, a filter the facts it keeps, a reduction one answer.
Functions have no files, network or clock, and their work is bounded by fuel: one
for each instruction, so many for each call.

Examples:
  llmdb wasm run agent.llmdb stats map value_size --as u64
  llmdb wasm run agent.llmdb stats filter is_text --prefix notes/
  llmdb wasm run demo.llmdb offsets reduce offset_stats --collection zones --as i64")]
    Run(WasmRun),
}

#[cfg(feature = "wasm")]
#[derive(Debug, Args)]
pub(crate) struct WasmPut {
    /// The database; made when it is missing
    pub(crate) db: PathBuf,
    /// The name, up to 255 bytes
    pub(crate) name: String,
    /// The file with the module; - is standard input
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[cfg(feature = "wasm")]
#[derive(Debug, Args)]
pub(crate) struct WasmModule {
    /// The database
    pub(crate) db: PathBuf,
    /// The module's name, or its hash
    pub(crate) module: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[cfg(feature = "wasm")]
#[derive(Debug, Args)]
pub(crate) struct WasmName {
    /// The database
    pub(crate) db: PathBuf,
    /// The module's name
    pub(crate) name: String,
}

#[cfg(feature = "wasm")]
#[derive(Debug, Args)]
pub(crate) struct WasmRun {
    /// The database
    pub(crate) db: PathBuf,
    /// The module's name, or its hash
    pub(crate) module: String,
    /// What the function is
    pub(crate) kind: WasmKind,
    /// The function's name
    pub(crate) function: String,
    /// The collection
    #[arg(long, default_value = "main")]
    pub(crate) collection: String,
    /// Only keys that start with this: text, or base64:...
    #[arg(long, value_name = "KEY", value_parser = key_bytes, conflicts_with_all = ["from", "to"])]
    pub(crate) prefix: Option<KeyBytes>,
    /// Only keys from this on
    #[arg(long, value_name = "KEY", value_parser = key_bytes)]
    pub(crate) from: Option<KeyBytes>,
    /// Only keys before this
    #[arg(long, value_name = "KEY", value_parser = key_bytes)]
    pub(crate) to: Option<KeyBytes>,
    /// The instant of the world [default: now]
    #[arg(long, value_name = "T", value_parser = micros, allow_hyphen_values = true)]
    pub(crate) valid_at: Option<i64>,
    #[command(flatten)]
    pub(crate) known: KnownArgs,
    /// What the answers of a map or reduction are made of; numbers are little-endian
    #[arg(long = "as", value_name = "FORM", default_value_t = WasmForm::Bytes, value_enum)]
    pub(crate) form: WasmForm,
    /// Fuel of each call [default: 25000000]
    #[arg(long, value_name = "N")]
    pub(crate) max_fuel: Option<u64>,
    /// Add the fuel used to what `describe` shows; opens the database for writing
    #[arg(long)]
    pub(crate) note_fuel: bool,
    /// Keep compiled code in this directory of your own, for later runs
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) cache: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[cfg(feature = "wasm")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WasmKind {
    /// An answer for each fact
    Map,
    /// Keeps facts or drops them
    Filter,
    /// One answer for all
    Reduce,
}

#[cfg(feature = "wasm")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WasmForm {
    /// Text where they are UTF-8, else base64
    Bytes,
    /// JSON text
    Json,
    /// Signed numbers of 64 bits
    I64,
    /// Unsigned numbers of 64 bits
    U64,
    /// Floats of 64 bits
    F64,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The file to make
    #[arg(long, default_value = "demo.llmdb")]
    pub(crate) path: PathBuf,
    /// How to print [default: table]
    #[arg(long)]
    pub(crate) format: Option<Format>,
}

#[derive(Debug, Args)]
pub(crate) struct Stream {
    /// The database; apply creates it when it is missing
    pub(crate) db: PathBuf,
    /// Where the lines come from; - is standard input
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) times: TimesArg,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) key: Key,
    /// The instant of the world [default: now]
    #[arg(long, value_name = "T", value_parser = micros, allow_hyphen_values = true)]
    pub(crate) valid_at: Option<i64>,
    #[command(flatten)]
    pub(crate) known: KnownArgs,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) key: Key,
    /// The value, as JSON; - reads it from standard input
    #[arg(allow_hyphen_values = true)]
    pub(crate) value: String,
    #[command(flatten)]
    pub(crate) period: PeriodArgs,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) key: Key,
    #[command(flatten)]
    pub(crate) period: PeriodArgs,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) key: Key,
    /// The instant of the world [default: now]
    #[arg(long, value_name = "T", value_parser = micros, allow_hyphen_values = true)]
    pub(crate) valid_at: Option<i64>,
    #[command(flatten)]
    pub(crate) known: KnownArgs,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Timeline {
    #[command(flatten)]
    pub(crate) key: Key,
    /// Only the piece that covers this instant of the world
    #[arg(long, value_name = "T", value_parser = micros, allow_hyphen_values = true,
          conflicts_with_all = ["valid_from", "valid_to"])]
    pub(crate) valid_at: Option<i64>,
    /// Only pieces that end after this
    #[arg(long, value_name = "T", value_parser = micros, allow_hyphen_values = true)]
    pub(crate) valid_from: Option<i64>,
    /// Only pieces that begin before this
    #[arg(long, value_name = "T", value_parser = micros, allow_hyphen_values = true)]
    pub(crate) valid_to: Option<i64>,
    /// Cut the pieces to the window
    #[arg(long)]
    pub(crate) clamp: bool,
    #[command(flatten)]
    pub(crate) known: KnownArgs,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Whole {
    /// The database
    pub(crate) db: PathBuf,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) whole: Whole,
    /// Prove that what was erased is gone from the files
    #[arg(long)]
    pub(crate) prove_erased: bool,
    /// A key that must stand nowhere: text, or base64:...; may be given several times
    #[arg(long = "key", requires = "prove_erased", value_parser = key_bytes)]
    pub(crate) keys: Vec<KeyBytes>,
    /// A value that must stand nowhere: JSON, or any text; may be given several times
    #[arg(long = "value", requires = "prove_erased", allow_hyphen_values = true)]
    pub(crate) values: Vec<String>,
    /// A further file to look into, such as a backup; may be given several times
    #[arg(long, requires = "prove_erased", value_name = "FILE")]
    pub(crate) also: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Erase {
    #[command(flatten)]
    pub(crate) key: Key,
    /// Why, for the record that stays; it should not say what
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Retain {
    /// The database
    pub(crate) db: PathBuf,
    /// The time of knowledge from which on everything is kept
    #[arg(long, value_name = "T", value_parser = commit_time, allow_hyphen_values = true)]
    pub(crate) before: CommitTime,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The database
    pub(crate) db: PathBuf,
    /// The key: text, or base64:...
    #[arg(value_parser = key_bytes)]
    pub(crate) key: KeyBytes,
    /// The collection
    #[arg(long, default_value = "main")]
    pub(crate) collection: String,
}

/// The bytes of a key. (A type of its own, since clap takes a plain `Vec` as a list of arguments.)
#[derive(Debug, Clone)]
pub(crate) struct KeyBytes(pub(crate) Vec<u8>);

#[derive(Debug, Args)]
pub(crate) struct KnownArgs {
    /// As known at this time [default: the newest commit]
    #[arg(long, value_name = "T", value_parser = commit_time, allow_hyphen_values = true, conflicts_with = "at_commit")]
    known_at: Option<CommitTime>,
    /// As known at this commit; -1 is before the first
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    at_commit: Option<i64>,
}

impl KnownArgs {
    pub(crate) fn known(&self) -> Known {
        match (self.known_at, self.at_commit) {
            (Some(at), _) => Known::At(at),
            (_, Some(commit)) => Known::Commit(commit),
            _ => Known::Latest,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PeriodArgs {
    /// From when on in the world; null is "since ever" [default: the commit]
    #[arg(long, value_name = "T", value_parser = bound, allow_hyphen_values = true)]
    valid_from: Option<Bound>,
    /// Until when in the world; null is "without end" [default: null]
    #[arg(long, value_name = "T", value_parser = bound, allow_hyphen_values = true)]
    valid_to: Option<Bound>,
}

impl PeriodArgs {
    /// The period of an operation that commits at `commit`.
    pub(crate) fn period(&self, commit: CommitTime) -> Result<Period, llmdb::Error> {
        let from = self.valid_from.unwrap_or(Bound(Some(commit.micros())));
        let to = self.valid_to.unwrap_or(Bound(None));
        Ok(period(from.0, to.0)?)
    }
}

/// A time, or an open end.
#[derive(Debug, Clone, Copy)]
struct Bound(Option<i64>);

#[derive(Debug, Args)]
pub(crate) struct TimesArg {
    /// How times are printed
    #[arg(long, value_enum, default_value_t = TimesForm::Rfc3339)]
    times: TimesForm,
}

impl TimesArg {
    pub(crate) fn times(&self) -> Times {
        match self.times {
            TimesForm::Rfc3339 => Times::Rfc3339,
            TimesForm::Micros => Times::Micros,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TimesForm {
    /// 2023-03-27T09:00:00Z
    Rfc3339,
    /// microseconds since 1970
    Micros,
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// How to print [default: table on a terminal, else json]
    #[arg(long)]
    pub(crate) format: Option<Format>,
    #[command(flatten)]
    pub(crate) times: TimesArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// A period whose ends were checked when they were read; `None` is an open end.
pub(crate) fn period(from: Option<i64>, to: Option<i64>) -> Result<Period, llmdb_temporal::Error> {
    let end = |at: Option<i64>, open| at.map_or(Ok(open), ValidTime::from_micros);
    Period::new(end(from, ValidTime::NEG_INF)?, end(to, ValidTime::POS_INF)?)
}

fn micros(text: &str) -> Result<i64, String> {
    time::parse_argument(text).map_err(|(_, message)| message)
}

fn commit_time(text: &str) -> Result<CommitTime, String> {
    CommitTime::from_micros(micros(text)?).map_err(|error| error.to_string())
}

fn bound(text: &str) -> Result<Bound, String> {
    if text == "null" { Ok(Bound(None)) } else { micros(text).map(|at| Bound(Some(at))) }
}

fn key_bytes(text: &str) -> Result<KeyBytes, String> {
    key::parse_argument(text).map(KeyBytes).map_err(|(_, message)| message)
}
