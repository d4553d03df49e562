//! Damage of a backup made to be believed: checksums of its header, frames and pages put right again.

use crate::mutate::seal_page;
use llmdb_pager::page::{read_u32, read_u64};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

const HEADER: usize = 128;
const FRAME_HEAD: usize = 24;

/// Puts all checksums right, and the numbers of the frames, as far as the lengths of frames lead.
pub(crate) fn seal_backup(bytes: &mut [u8]) {
    let Some(header) = bytes.get_mut(..HEADER) else { return };
    let page_size = read_u32(header, 12) as usize;
    let identity = read_u64(header, 16) ^ read_u64(header, 24).rotate_left(29);
    let mut chain = xxh3_64(&header[..120]);
    header[120..].copy_from_slice(&chain.to_le_bytes());
    let (mut at, mut sequence) = (HEADER, 0_u64);
    while at + FRAME_HEAD <= bytes.len() {
        let (kind, len) = (read_u32(bytes, at + 16), read_u32(bytes, at + 20) as usize);
        let hash = xxh3_128(&bytes[..at]);
        let Some(frame) = bytes.get_mut(at..at + FRAME_HEAD + len) else { return };
        let payload = &mut frame[FRAME_HEAD..];
        if kind == 1 && (4096..=65536).contains(&page_size) {
            for page in payload.chunks_exact_mut(page_size) {
                let number = read_u64(page, 8) & 0xffff_ffff_ffff;
                seal_page(page, identity, number);
            }
        }
        if kind == 3 && len == 32 {
            payload[16..].copy_from_slice(&hash.to_le_bytes());
        }
        frame[8..16].copy_from_slice(&sequence.to_le_bytes());
        chain = xxh3_64_with_seed(&frame[8..], chain);
        frame[..8].copy_from_slice(&chain.to_le_bytes());
        sequence += 1;
        at += FRAME_HEAD + len;
    }
}
