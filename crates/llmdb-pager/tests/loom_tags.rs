//! The hand-over of frames between the writer and readers, in every order that the memory model allows.
//!
//! The frame's bytes are two words that must change together. Which snapshots are open is one word; the
//! reader table has its own model.

/// The module that `tag.rs` takes its atomics from.
mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../src/tag.rs"]
mod tag;

use atomic::{AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;
use tag::Tag;

/// A frame with its tag, as the pool has it.
struct Frame {
    tag: Tag,
    bytes: [AtomicU64; 2],
    /// Whether the one snapshot that the frame is in is open.
    is_open: AtomicU64,
}

impl Frame {
    fn new(is_open: bool) -> Arc<Self> {
        let bytes = [AtomicU64::new(0), AtomicU64::new(0)];
        Arc::new(Self { tag: Tag::new(), bytes, is_open: AtomicU64::new(is_open.into()) })
    }

    /// What the writer does with a frame of its own: `bytes_mut`.
    fn write(&self, content: u64) {
        assert!(!self.tag.is_published());
        self.bytes.iter().for_each(|word| word.store(content, Ordering::Relaxed));
    }

    /// What a reader does: `seen_by`, then a look at the bytes.
    fn read(&self, commit: u64) -> Option<[u64; 2]> {
        self.tag
            .is_seen_by(commit)
            .then(|| [0, 1].map(|word: usize| self.bytes[word].load(Ordering::Relaxed)))
    }

    /// Takes the frame back if the snapshot is closed; whether it was.
    fn take_back(&self) -> bool {
        let is_free = self.is_open.load(Ordering::Acquire) == 0;
        if is_free {
            assert_eq!(self.tag.born(), 5);
            assert!(self.tag.retired().is_some_and(|retired| retired > 5));
            self.tag.reset();
        }
        is_free
    }
}

/// A snapshot that is in the tag: as soon as the frame is published it sees all of it, and it keeps the frame
/// from being taken back.
#[test]
fn a_snapshot_in_the_tag_sees_the_whole_frame_until_it_closes() {
    loom::model(|| {
        let frame = Frame::new(true);
        let theirs = frame.clone();
        let reader = thread::spawn(move || {
            for _ in 0..2 {
                if let Some(bytes) = theirs.read(5) {
                    assert_eq!(bytes, [50, 50]);
                }
            }
            theirs.is_open.store(0, Ordering::Release);
        });
        frame.write(50);
        frame.tag.publish(5);
        frame.tag.retire(6);
        if frame.take_back() {
            frame.write(90);
            frame.tag.publish(9);
        }
        reader.join().unwrap();
    });
}

/// A wrong reference leads a snapshot to a frame that it never held, while that is taken back, filled anew,
/// published and retired: the tag never says yes.
#[test]
fn a_snapshot_outside_the_tag_never_sees_half_a_change() {
    loom::model(|| {
        let frame = Frame::new(false);
        frame.write(50);
        frame.tag.publish(5);
        frame.tag.retire(7);
        let theirs = frame.clone();
        // 8 was published after the frame was retired and before it is used again.
        let reader = thread::spawn(move || assert_eq!(theirs.read(8), None));
        assert!(frame.take_back());
        frame.write(90);
        frame.tag.publish(9);
        frame.tag.retire(10);
        reader.join().unwrap();
    });
}
