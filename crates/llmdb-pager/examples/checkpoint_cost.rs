//! What a checkpoint costs: builds a tree of dirty pages in memory, then writes it, and prints the time of
//! the second step. `checkpoint_cost FOLDER [MEGABYTES [ROUNDS]]`; counts of instructions come from running
//! it under `valgrind --tool=callgrind --toggle-collect='*commit_with_checkpoint*'`.

use llmdb_pager::page::{HEADER_SIZE, set_ref_count, set_reference};
use llmdb_pager::{Kind, PageSource as _, Pager, PagerOptions, Ref, WriteTxn};
use std::time::Instant;

const FAN: usize = 400;

/// A tree of three levels with `leaves` pages at its foot, each a little different.
fn build(txn: &mut WriteTxn, leaves: usize, mark: u8) -> Result<Ref, llmdb_pager::Error> {
    let top = txn.allocate(Kind(18), 2)?;
    for index in 0..leaves.div_ceil(FAN) {
        let branch = txn.allocate(Kind(17), 1)?;
        set_ref_count(txn.page_mut(top), index + 1);
        set_reference(txn.page_mut(top), index, branch);
        for place in 0..FAN.min(leaves - index * FAN) {
            let leaf = txn.allocate(Kind(16), 0)?;
            let bytes = &mut txn.page_mut(leaf)[HEADER_SIZE..];
            bytes.fill(mark);
            bytes[..8].copy_from_slice(&(place as u64).to_le_bytes());
            set_ref_count(txn.page_mut(branch), place + 1);
            set_reference(txn.page_mut(branch), place, leaf);
        }
    }
    Ok(top)
}

/// Takes the tree out again, so that its pages are used by a later round.
fn free(txn: &mut WriteTxn, at: Ref) -> Result<(), llmdb_pager::Error> {
    if !at.is_null() {
        let below: Vec<Ref> = txn.page(at)?.references().collect();
        for child in below {
            free(txn, child)?;
        }
        txn.free(at)?;
    }
    Ok(())
}

/// One round: the time of the checkpoint alone.
fn round(pager: &Pager, leaves: usize, mark: u8) -> Result<(), llmdb_pager::Error> {
    let mut txn = pager.begin_write()?;
    let old = txn.root();
    free(&mut txn, old)?;
    let top = build(&mut txn, leaves, mark)?;
    txn.set_root(top);
    let start = Instant::now();
    let report = txn.commit_with_checkpoint([0; 64])?;
    println!(
        "{:.1} ms, {} pages, {:.1} MB, {} writes",
        start.elapsed().as_secs_f64() * 1e3,
        report.pages_written,
        report.bytes_written as f64 / 1e6,
        report.writes
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("say in which folder to work")?;
    let megabytes: usize = arguments.next().map_or(Ok(100), |text| text.parse())?;
    let rounds: u8 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let folder = tempfile::tempdir_in(folder)?;
    let pager = PagerOptions::new().create(folder.path().join("pages.llmdb"))?;
    for mark in 1..=rounds {
        round(&pager, megabytes * 1_000_000 / pager.page_size(), mark)?;
    }
    Ok(())
}
