//! Which machine a run was on.
//!
//! Not here: what its storage can do (`probe`).

use crate::disk;
use crate::results::Machine;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The machine, with the file system that holds `folder`.
pub fn describe(folder: &Path) -> Machine {
    let cpu = cpu_name();
    let cores = cores();
    let memory_bytes = disk::memory_bytes().unwrap_or(0);
    let filesystem = filesystem_of(folder).unwrap_or_else(|| "unknown".to_owned());
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let class = class_of(&cpu, cores, memory_bytes, &filesystem);
    let counts_flushes = disk::device_counts(folder).is_some_and(|counts| counts.flushes.is_some());
    Machine {
        cpu,
        cores,
        memory_bytes,
        kernel,
        filesystem,
        class,
        probe: None,
        probe_spread: None,
        counts_flushes,
    }
}

/// Processors that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Machines of one class are alike enough for their runs to be compared: same processor, cores, memory to
/// the GB, and file system.
fn class_of(cpu: &str, cores: usize, memory_bytes: u64, filesystem: &str) -> String {
    let words: Vec<String> = cpu
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let gigabytes = (memory_bytes + (1 << 29)) >> 30;
    format!("{}-{cores}c-{gigabytes}g-{filesystem}", words.join("-"))
}

fn cpu_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), str::to_owned)
}

/// The type of the mount with the longest path that holds `folder`.
fn filesystem_of(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(at, _)| folder.starts_with(at))
        .max_by_key(|(at, _)| at.len())
        .map(|(_, kind)| kind.to_owned())
}

/// The commit of the work tree that the program is run in, and whether it has changes.
pub fn commit() -> (String, bool) {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|text| !text.is_empty());
    (commit, dirty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_stable_and_has_no_blanks() {
        let class = class_of("Intel(R) Xeon(R) CPU @ 2.80GHz", 2, 25_000_000_000, "ext4");
        assert_eq!(class, "intel-r-xeon-r-cpu-2-80ghz-2c-23g-ext4");
        let machine = describe(Path::new("/"));
        assert!(machine.cores >= 1 && machine.memory_bytes > 0);
        assert_eq!(machine.class, describe(Path::new("/")).class);
    }
}
