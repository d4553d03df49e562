//! `wasm`: modules kept in the database, and their functions over its facts.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use llmdb::lines::{answer, key};
use llmdb::wasm::{ArtifactCache, Limits, Runtime, Stats, StoredModule};
use llmdb::{Error, Fact, FactScan, KeyRange, ReadTxn, Row, ValidTime, json};
use serde_json::Value as Json;

use super::whole::print_to;
use super::{open, open_to_read};
use crate::args::{
    Format, KeyBytes, Output, Wasm, WasmForm as Form, WasmKind as Kind, WasmModule, WasmName, WasmPut,
    WasmRun, Whole,
};
use crate::exit::{DONE, Failure};
use crate::output;

pub(crate) fn wasm(args: &Wasm) -> Result<u8, Failure> {
    match args {
        Wasm::Put(args) => put(args),
        Wasm::List(args) => list(args),
        Wasm::Describe(args) => describe(args),
        Wasm::Disable(args) => set_disabled(args, true),
        Wasm::Enable(args) => set_disabled(args, false),
        Wasm::Remove(args) => remove(args),
        Wasm::Run(args) => run(args),
    }
}

fn put(args: &WasmPut) -> Result<u8, Failure> {
    let source = source(&args.file)?;
    let runtime = Runtime::default();
    // What cannot run must not make a database.
    runtime.compile_named(&args.name, &source).map_err(Error::from)?;
    let db = open(&args.db, "wasm put", true)?;
    let hash = db.modules(&runtime).put(&args.name, &source)?;
    let figures = json!({ "name": args.name, "hash": hash.to_string() });
    print(&figures, &args.output)?;
    db.close()?;
    Ok(DONE)
}

/// One byte more than a module may have is enough to be refused, so no more is read.
fn source(path: &Path) -> Result<Vec<u8>, Failure> {
    const MOST: u64 = (8 << 20) + 1;
    let mut bytes = Vec::new();
    let read = match path {
        path if path == Path::new("-") => io::stdin().lock().take(MOST).read_to_end(&mut bytes),
        path => File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes)),
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::Refused(format!("cannot read the module {}: {error}", path.display()))),
    }
}

fn list(args: &Whole) -> Result<u8, Failure> {
    let db = open_to_read(&args.db, "wasm list")?;
    let modules = db.modules(&Runtime::default()).list()?;
    let mut out = io::stdout().lock();
    if output::format(&args.output) == Format::Json {
        for module in &modules {
            writeln!(out, "{}", entry(module))?;
        }
    } else if modules.is_empty() {
        writeln!(out, "there are no modules")?;
    } else {
        let mut table = output::table(&["name", "hash", "bytes", "state", "fuel seen"]);
        for module in &modules {
            let state = if module.is_disabled { "disabled" } else { "enabled" };
            let [bytes, fuel] = [module.byte_count, module.fuel_seen].map(|number| number.to_string());
            table.add_row([&module.name, &module.hash.to_string(), &bytes, state, &fuel]);
        }
        writeln!(out, "{table}")?;
    }
    db.close()?;
    Ok(DONE)
}

fn entry(module: &StoredModule) -> Json {
    json!({
        "name": module.name,
        "hash": module.hash.to_string(),
        "bytes": module.byte_count,
        "disabled": module.is_disabled,
        "fuel_seen": module.fuel_seen,
    })
}

fn describe(args: &WasmModule) -> Result<u8, Failure> {
    let db = open_to_read(&args.db, "wasm describe")?;
    let runtime = Runtime::default();
    let (module, description) = db.modules(&runtime).describe(&args.module)?;
    let exports = description.exports.iter().map(|export| format!("{}: {}", export.name, export.what));
    let mut figures = entry(&module);
    figures["maps"] = description.maps.clone().into();
    figures["filters"] = description.filters.clone().into();
    figures["reductions"] = description.reducers.clone().into();
    figures["memory_pages"] = description.memory_pages.map_or(Json::Null, |(from, to)| json!([from, to]));
    figures["table_elements"] = description.table_elements.into();
    figures["imports"] = description.imports.clone().into();
    figures["exports"] = exports.collect::<Vec<_>>().into();
    print(&figures, &args.output)?;
    db.close()?;
    Ok(DONE)
}

fn set_disabled(args: &WasmName, is_disabled: bool) -> Result<u8, Failure> {
    let db = open(&args.db, "wasm", false)?;
    db.modules(&Runtime::default()).set_disabled(&args.name, is_disabled)?;
    db.close()?;
    Ok(DONE)
}

fn remove(args: &WasmName) -> Result<u8, Failure> {
    let db = open(&args.db, "wasm remove", false)?;
    db.modules(&Runtime::default()).remove(&args.name)?;
    db.close()?;
    Ok(DONE)
}

fn run(args: &WasmRun) -> Result<u8, Failure> {
    let db =
        if args.note_fuel { open(&args.db, "wasm run", false)? } else { open_to_read(&args.db, "wasm run")? };
    let runtime = runtime(args)?;
    let modules = db.modules(&runtime);
    let module = modules.load(&args.module)?;
    let valid_at = args.valid_at.map_or(Ok(db.now()), ValidTime::from_micros).map_err(Error::from)?;
    let read = db.begin_read()?;
    let keys = match &args.prefix {
        Some(prefix) => KeyRange::prefix(&prefix.0),
        None => {
            let end = |key: &Option<KeyBytes>| key.as_ref().map(|key| key.0.clone());
            KeyRange::half_open(end(&args.from), end(&args.to))
        }
    };
    let (collection, known) = (args.collection.as_str(), args.known.known());
    let scan = FactScan { collection, keys: &keys, valid_at, known };
    let mut printer = Printer::new(args);
    let stats = match args.kind {
        Kind::Reduce => reduce(&read, &scan, &module, args, &mut printer)?,
        Kind::Map => {
            let each = |fact: Fact, answer: &[u8]| printer.mapped(&fact, answer);
            llmdb::map(read.temporal(), &scan, &module, &args.function, each).map_err(Error::from)?
        }
        Kind::Filter => {
            let each = |fact: Fact| printer.kept(fact);
            llmdb::filter(read.temporal(), &scan, &module, &args.function, each).map_err(Error::from)?
        }
    };
    printer.end()?;
    drop(read);
    if args.note_fuel {
        modules.note_fuel(module.name(), stats.fuel_used)?;
    }
    db.close()?;
    Ok(DONE)
}

fn runtime(args: &WasmRun) -> Result<Runtime, Failure> {
    let limits = args.max_fuel.map_or(Limits::default(), |fuel| Limits::default().max_fuel(fuel));
    let runtime = Runtime::new(limits);
    match &args.cache {
        None => Ok(runtime),
        Some(directory) => Ok(runtime.with_artifacts(ArtifactCache::open(directory).map_err(Error::from)?)),
    }
}

fn reduce(
    read: &ReadTxn,
    scan: &FactScan<'_>,
    module: &llmdb::wasm::Module,
    args: &WasmRun,
    printer: &mut Printer<'_>,
) -> Result<Stats, Failure> {
    let FactScan { collection, keys, valid_at, known } = scan;
    let reduced = llmdb::reduce(read.temporal(), collection, keys, *valid_at, *known, module, &args.function)
        .map_err(Error::from)?;
    printer.reduced(&reduced.output, reduced.stats)?;
    Ok(reduced.stats)
}

/// Prints answers as they come: lines of JSON, or the rows of a table.
struct Printer<'a> {
    args: &'a WasmRun,
    format: Format,
    out: BufWriter<io::StdoutLock<'static>>,
    table: comfy_table::Table,
    /// Why it stopped before the end.
    failure: Option<Failure>,
}

impl<'a> Printer<'a> {
    fn new(args: &'a WasmRun) -> Self {
        let header = match args.kind {
            Kind::Filter => ["key", "value"],
            _ => ["key", "answer"],
        };
        let out = BufWriter::new(io::stdout().lock());
        let format = output::format(&args.output);
        Self { args, format, out, table: output::table(&header), failure: None }
    }

    fn mapped(&mut self, fact: &Fact, answer: &[u8]) -> ControlFlow<()> {
        let printed = self.answer(answer).and_then(|answer| self.row(fact, "answer", answer));
        self.goes_on(printed)
    }

    fn kept(&mut self, fact: Fact) -> ControlFlow<()> {
        let printed = if self.format == Format::Json {
            let row = answer::row(&Row::Fact(fact), self.args.output.times.times());
            writeln!(self.out, "{row}").map_err(Failure::from)
        } else {
            let value = answer::value(&fact.value);
            self.row(&fact, "value", value)
        };
        self.goes_on(printed)
    }

    fn reduced(&mut self, bytes: &[u8], stats: Stats) -> Result<(), Failure> {
        let answer = self.answer(bytes)?;
        let figures = json!({ "answer": answer, "facts": stats.records, "fuel": stats.fuel_used });
        Ok(print_to(&figures, self.format, &mut self.out)?)
    }

    fn row(&mut self, fact: &Fact, name: &str, value: Json) -> Result<(), Failure> {
        if self.format == Format::Json {
            let mut line = json!({ "key": key::to_json(&fact.key) });
            line[name] = value;
            return Ok(writeln!(self.out, "{line}")?);
        }
        self.table.add_row([key::to_text(&fact.key), value.to_string()]);
        Ok(())
    }

    fn answer(&self, bytes: &[u8]) -> Result<Json, Failure> {
        let wrong = |why: String| {
            let WasmRun { function, .. } = self.args;
            Failure::Refused(format!("an answer of {function} is not what --as says: {why}"))
        };
        let words = || -> Result<&[[u8; 8]], Failure> {
            let (words, rest) = bytes.as_chunks();
            if rest.is_empty() {
                Ok(words)
            } else {
                Err(wrong(format!("it has {} bytes, no multiple of 8", bytes.len())))
            }
        };
        Ok(match self.args.form {
            Form::Bytes => key::to_json(bytes),
            Form::Json => serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?,
            Form::I64 => words()?.iter().map(|word| i64::from_le_bytes(*word)).collect(),
            Form::U64 => words()?.iter().map(|word| u64::from_le_bytes(*word)).collect(),
            Form::F64 => words()?.iter().map(|word| f64::from_le_bytes(*word)).collect(),
        })
    }

    fn goes_on(&mut self, printed: Result<(), Failure>) -> ControlFlow<()> {
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failure = Some(failure);
                ControlFlow::Break(())
            }
        }
    }

    fn end(mut self) -> Result<(), Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.format == Format::Table && self.args.kind != Kind::Reduce {
            if self.table.is_empty() {
                writeln!(self.out, "nothing was found")?;
            } else {
                writeln!(self.out, "{}", self.table)?;
            }
        }
        Ok(self.out.flush()?)
    }
}

fn print(figures: &Json, output: &Output) -> io::Result<()> {
    print_to(figures, output::format(output), &mut io::stdout().lock())
}
