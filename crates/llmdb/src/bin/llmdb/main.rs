//! The binary `llmdb`: the database on a command line.
//!
//! Reading order: `args` (what can be said), `commands` (what is done), `demo`, `output` (what is printed),
//! `exit` (how it ends).
//!
//! Not here: the JSON-lines protocol (`llmdb::lines`).

mod args;
mod commands;
mod demo;
mod exit;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Apply(args) => commands::apply(&args),
        Command::Ask(args) => commands::ask(&args),
        Command::Get(args) => commands::get(&args),
        Command::Put(args) => commands::put(&args),
        Command::Delete(args) => commands::delete(&args),
        Command::Erase(args) => commands::erase(&args),
        Command::Retain(args) => commands::retain(&args),
        Command::History(args) => commands::history(&args),
        Command::Timeline(args) => commands::timeline(&args),
        Command::Stat(args) => commands::stat(&args),
        Command::Check(args) => commands::check(&args),
        Command::Backup(args) => commands::backup(&args),
        Command::Restore(args) => commands::restore(&args),
        #[cfg(feature = "wasm")]
        Command::Wasm(args) => commands::wasm(&args),
    };
    done.map_or_else(|failure| failure.report(), ExitCode::from)
}
