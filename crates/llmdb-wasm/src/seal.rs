//! Seal: what shows that an artifact on disk is ours, whole, and made for this machine.
//!
//! ```text
//! OFFSET        SIZE  DESCRIPTION (little-endian)
//!      0           n  the artifact
//!      n           8  magic
//!    n+8          32  what it was made for: hash of module, settings, versions, CPU features
//!   n+40           8  n
//!   n+48          32  BLAKE3 of everything before, keyed with the user's secret
//! ```
//!
//! Invariants
//! 1. Without the secret nobody can make bytes that `open` takes.
//! 2. `open` never panics, whatever it is given.

const MAGIC: &[u8; 8] = b"LLMDBWA1";
const KEY_SIZE: usize = 32;
const MAC_SIZE: usize = 32;
const HEAD_SIZE: usize = MAGIC.len() + KEY_SIZE + size_of::<u64>();
const _: () = assert!(HEAD_SIZE + MAC_SIZE == 80);

/// What an artifact is made for, and the secret of its user.
#[derive(Clone)]
pub(crate) struct Seal {
    pub(crate) secret: [u8; 32],
    pub(crate) key: [u8; KEY_SIZE],
}

impl Seal {
    /// `artifact` with the seal behind it.
    pub(crate) fn close(&self, mut artifact: Vec<u8>) -> Vec<u8> {
        let head = self.head(artifact.len());
        artifact.extend_from_slice(&head);
        let mac = blake3::keyed_hash(&self.secret, &artifact);
        artifact.extend_from_slice(mac.as_bytes());
        artifact
    }

    /// The artifact that was sealed, if this is the seal.
    pub(crate) fn open(&self, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let mac_offset = sealed.len().checked_sub(MAC_SIZE)?;
        let head_offset = mac_offset.checked_sub(HEAD_SIZE)?;
        if sealed.get(head_offset..mac_offset)? != self.head(head_offset) {
            return None;
        }
        let found = <[u8; MAC_SIZE]>::try_from(sealed.get(mac_offset..)?).ok()?;
        // Comparing hashes of this type takes the same time for all of them.
        if blake3::keyed_hash(&self.secret, sealed.get(..mac_offset)?) != blake3::Hash::from(found) {
            return None;
        }
        sealed.truncate(head_offset);
        Some(sealed)
    }

    fn head(&self, length: usize) -> [u8; HEAD_SIZE] {
        let mut head = [0; HEAD_SIZE];
        let (magic, rest) = head.split_at_mut(MAGIC.len());
        let (key, size) = rest.split_at_mut(KEY_SIZE);
        magic.copy_from_slice(MAGIC);
        key.copy_from_slice(&self.key);
        size.copy_from_slice(&(length as u64).to_le_bytes());
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        Seal { secret: [7; 32], key: [9; 32] }
    }

    #[test]
    fn what_was_sealed_opens_to_itself() {
        for artifact in [vec![], vec![1], (0..=255).collect::<Vec<u8>>()] {
            assert_eq!(seal().open(seal().close(artifact.clone())), Some(artifact));
        }
    }

    #[test]
    fn another_secret_or_key_opens_nothing() {
        let sealed = seal().close(b"code".to_vec());
        assert_eq!(Seal { secret: [8; 32], ..seal() }.open(sealed.clone()), None);
        assert_eq!(Seal { key: [8; 32], ..seal() }.open(sealed), None);
    }

    #[test]
    fn every_bit_and_every_length_counts() {
        let sealed = seal().close(b"some code".to_vec());
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal().open(damaged), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(seal().open(sealed[..length].to_vec()), None, "{length} bytes");
        }
        assert_eq!(seal().open([&sealed[..], &[0]].concat()), None);
    }
}
