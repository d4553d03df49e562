//! libmdbx, through signet-libmdbx.

use super::{
    Engine, EngineKind, OpenOptions, ReadBody, Reader, ScanBody, TREE, WriteBody, Writer, locked_version,
};
use crate::error::{Error, Result};
use crate::results::Durability;
use signet_libmdbx::sys::Geometry;
use signet_libmdbx::tx::aliases::{RoTxUnsync, RwTxUnsync};
use signet_libmdbx::{Database, DatabaseFlags, Environment, EnvironmentFlags, Mode, SyncMode, WriteFlags};
use std::borrow::Cow;
use std::path::Path;

const NAME: &str = "libmdbx";
const MAP_SIZE_MIN: u64 = 1 << 30;
/// The file grows by as much: its makers advise against many small steps.
const GROWTH_STEP: isize = 64 << 20;

/// libmdbx.
#[derive(Debug)]
pub(super) struct Libmdbx;

impl EngineKind for Libmdbx {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        format!("signet-libmdbx {}", locked_version("signet-libmdbx"))
    }

    fn settings(&self, durability: Durability) -> String {
        let sync = match durability {
            Durability::None => "MDBX_UTTERLY_NOSYNC",
            _ => "MDBX_SYNC_DURABLE",
        };
        format!(
            "{sync}, MDBX_NOTLS, MDBX_LIFORECLAIM, no write map, unsynchronised transactions, grows by {} MB to four \
             times the data and at least 1 GiB",
            GROWTH_STEP >> 20
        )
    }

    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>> {
        let sync_mode = match options.durability {
            Durability::None => SyncMode::UtterlyNoSync,
            _ => SyncMode::Durable,
        };
        let map_size = (options.bytes_max.saturating_mul(4).max(MAP_SIZE_MIN) + 0xFFFF) & !0xFFFF;
        let mut builder = Environment::builder();
        builder
            .set_max_dbs(1)
            .set_max_readers(1_024)
            .set_flags(EnvironmentFlags {
                mode: Mode::ReadWrite { sync_mode },
                liforeclaim: true,
                ..Default::default()
            })
            .set_geometry(Geometry {
                size: Some(0..map_size as usize),
                growth_step: Some(GROWTH_STEP),
                ..Default::default()
            });
        let env = builder.open(folder).map_err(said)?;
        let txn = env.begin_rw_unsync().map_err(said)?;
        let database = txn.create_db(Some(TREE), DatabaseFlags::empty()).map_err(said)?;
        txn.commit().map_err(said)?;
        Ok(Box::new(Open { env, database }))
    }
}

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

struct Open {
    env: Environment,
    database: Database,
}

impl Engine for Open {
    fn read(&self, body: ReadBody<'_>) -> Result<()> {
        let txn = self.env.begin_ro_unsync().map_err(said)?;
        body(&mut MdbxReader { txn: &txn, database: self.database, value: Cow::Borrowed(&[]) })
    }

    fn write(&self, body: WriteBody<'_>) -> Result<()> {
        let txn = self.env.begin_rw_unsync().map_err(said)?;
        body(&mut MdbxWriter { txn: &txn, database: self.database })?;
        txn.commit().map_err(said)
    }

    fn begin_and_end_read(&self) -> Result<()> {
        std::hint::black_box(self.env.begin_ro_unsync().map_err(said)?);
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.env.sync(true).map_err(said)?;
        Ok(())
    }
}

/// A key and its value, borrowed from the map.
type Record<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

struct MdbxReader<'a> {
    txn: &'a RoTxUnsync,
    database: Database,
    /// The value that was given last; borrowed from the map.
    value: Cow<'a, [u8]>,
}

impl Reader for MdbxReader<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        let Some(value) = self.txn.get(self.database.dbi(), key).map_err(said)? else { return Ok(None) };
        self.value = value;
        Ok(Some(&self.value))
    }

    fn scan(&mut self, from: &[u8], limit: usize, each: ScanBody<'_>) -> Result<usize> {
        let mut cursor = self.txn.cursor(self.database).map_err(said)?;
        let mut record: Option<Record<'_>> = match limit {
            0 => None,
            _ => cursor.set_range(from).map_err(said)?,
        };
        let mut count = 0;
        while let Some((key, value)) = record {
            each(&key, &value)?;
            count += 1;
            record = if count < limit { cursor.next().map_err(said)? } else { None };
        }
        Ok(count)
    }
}

struct MdbxWriter<'a> {
    txn: &'a RwTxUnsync,
    database: Database,
}

impl Writer for MdbxWriter<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found: Option<Cow<'_, [u8]>> = self.txn.get(self.database.dbi(), key).map_err(said)?;
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.txn.put(self.database, key, value, WriteFlags::empty()).map_err(said)
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool> {
        self.txn.del(self.database, key, None).map_err(said)
    }
}
