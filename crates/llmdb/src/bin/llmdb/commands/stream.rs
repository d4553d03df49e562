//! `apply` and `ask`: JSON lines from a file or a pipe.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter};
use std::path::Path;

use llmdb::{Error, lines};

use super::{open_to_read, open_to_write};
use crate::args::Stream;
use crate::exit::{DONE, Failure, INPUT, NO};
use crate::progress::Progress;

pub(crate) fn apply(args: &Stream) -> Result<u8, Failure> {
    let (input, size) = input(&args.file)?;
    let db = open_to_write(&args.db, "apply", true)?;
    let progress = Progress::bytes("applying", size);
    let mut out = io::stdout().lock();
    let done = lines::apply(&db, input, &mut out, args.times.times(), &mut |bytes| progress.at(bytes));
    drop(progress);
    if let Err(Error::Line(error)) = &done {
        eprintln!("error[{}]: {error}", error.code);
        eprintln!("The transaction of this line was refused whole; what was answered before it stays.");
        db.close()?;
        return Ok(INPUT);
    }
    done?;
    db.close()?;
    Ok(DONE)
}

pub(crate) fn ask(args: &Stream) -> Result<u8, Failure> {
    let (input, _) = input(&args.file)?;
    let db = open_to_read(&args.db, "ask")?;
    let mut out = BufWriter::new(io::stdout().lock());
    let asked = lines::ask(&db, input, &mut out, args.times.times())?;
    db.close()?;
    if asked.refused > 0 {
        eprintln!("error: {} of the lines could not be understood; their answers say why", asked.refused);
        return Ok(INPUT);
    }
    Ok(if asked.failed > 0 { NO } else { DONE })
}

/// The input, and its size where that is known.
fn input(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    match opened {
        Ok((metadata, _)) if metadata.is_dir() => {
            Err(Failure::Refused(format!("{} is a directory, not a file of JSON lines", path.display())))
        }
        Ok((metadata, file)) => {
            Ok((Box::new(BufReader::new(file)), metadata.is_file().then_some(metadata.len())))
        }
        Err(error) => Err(Failure::Refused(format!("cannot read {}: {error}", path.display()))),
    }
}
