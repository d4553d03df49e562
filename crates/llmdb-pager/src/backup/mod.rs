//! Backups: the pages of one checkpoint in a stream, and a file made of such streams.
//!
//! ```text
//! Pager::backup          full          header | pages and large values ... | end
//!                        since N       the same, without what was born in the commits up to N
//! PagerOptions::restore  full, part, part ...  ──>  NAME-new  ──(every page checked)──>  NAME
//! ```
//!
//! Invariants
//! 1. A page keeps its number from the file into the backup, and from there into the restored file: so what
//!    a later backup leaves out stands where the earlier one put it.
//! 2. A page that is changed is copied with all above it. So nothing below a page is younger than the page,
//!    and one that was born before the base is left out with all below it.
//! 3. A restored file has its name only when every page of it was checked and it is durable.
//! 4. It has an identity of its own: it is another database, and no log of the first can be taken for its.
//!
//! Not here: what pages hold (the layer above says where their large values are).

mod format;
mod read;
mod restore;
mod walk;
mod write;

pub use format::{BACKUP_HEADER_SIZE, BACKUP_MAGIC, BACKUP_VERSION, BackupHeader};
pub use restore::RestoreReport;
pub use walk::{BackupOptions, BackupReport};
