//! Modules: named modules kept in a map of bytes, as a database is one.
//!
//! ```text
//! key              value (little-endian)
//! "code/" hash     the module, binary
//! "name/" name     OFFSET  SIZE  DESCRIPTION
//!                       0     1  version of this layout: 1
//!                       1     1  1 where the module is disabled, else 0
//!                       2    32  hash of the module
//!                      34     8  bytes of the module
//!                      42     8  fuel that its calls have used, as far as `add_fuel` was told
//! ```
//!
//! Invariants
//! 1. Nothing is kept that does not compile under the runtime it is put with.
//! 2. What is kept is held against its hash before it is compiled: damage is an error, not another module.
//! 3. Code that no name refers to any more is removed with its last name.
//!
//! Not here: where the map is; compiled code, which is never kept in a database.

use std::collections::BTreeMap;

use crate::compiled::ModuleHash;
use crate::error::{Error, Result};
use crate::module::{Description, Module};
use crate::runtime::Runtime;

const CODE_PREFIX: &[u8] = b"code/";
const NAME_PREFIX: &[u8] = b"name/";
const LAYOUT_VERSION: u8 = 1;
const ENTRY_SIZE: usize = 50;
/// Bytes of a name.
const NAME_SIZE_MAX: usize = 255;

/// What a map of bytes answers: its own error, if it fails.
pub type MapResult<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A map from bytes to bytes in the order of its keys: a tree of a database, or one in memory.
pub trait ByteMap {
    /// The value of `key`.
    ///
    /// # Errors
    /// The map's own.
    fn get(&self, key: &[u8]) -> MapResult<Option<Vec<u8>>>;

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// The map's own.
    fn put(&mut self, key: &[u8], value: &[u8]) -> MapResult<()>;

    /// Removes `key`, if it is there.
    ///
    /// # Errors
    /// The map's own.
    fn remove(&mut self, key: &[u8]) -> MapResult<()>;

    /// The keys that begin with `prefix`, in order.
    ///
    /// # Errors
    /// The map's own.
    fn keys(&self, prefix: &[u8]) -> MapResult<Vec<Vec<u8>>>;
}

impl ByteMap for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&self, key: &[u8]) -> MapResult<Option<Vec<u8>>> {
        Ok(self.get(key).cloned())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> MapResult<()> {
        self.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> MapResult<()> {
        self.remove(key);
        Ok(())
    }

    fn keys(&self, prefix: &[u8]) -> MapResult<Vec<Vec<u8>>> {
        let from = self.range(prefix.to_vec()..);
        Ok(from.map(|(key, _)| key.clone()).take_while(|key| key.starts_with(prefix)).collect())
    }
}

impl<M: ByteMap> ByteMap for &mut M {
    fn get(&self, key: &[u8]) -> MapResult<Option<Vec<u8>>> {
        (**self).get(key)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> MapResult<()> {
        (**self).put(key, value)
    }

    fn remove(&mut self, key: &[u8]) -> MapResult<()> {
        (**self).remove(key)
    }

    fn keys(&self, prefix: &[u8]) -> MapResult<Vec<Vec<u8>>> {
        (**self).keys(prefix)
    }
}

/// Named modules in a map of bytes.
///
/// ```
/// use std::collections::BTreeMap;
/// use llmdb_wasm::{Modules, Runtime, guests};
///
/// let runtime = Runtime::default();
/// let mut modules = Modules::new(BTreeMap::new());
/// let hash = modules.put(&runtime, "pages", guests::PAGES.as_bytes())?;
/// assert_eq!(modules.list()?[0].name, "pages");
/// let by_name = modules.load(&runtime, "pages")?;
/// let by_hash = modules.load(&runtime, &hash.to_string())?;
/// assert_eq!(by_name.hash(), by_hash.hash());
/// assert!(by_name.describe().maps.contains(&"key32".to_owned()));
/// modules.set_disabled("pages", true)?;
/// assert_eq!(modules.load(&runtime, "pages").unwrap_err().code(), "LLMDB-W20");
/// # Ok::<(), llmdb_wasm::Error>(())
/// ```
#[derive(Debug)]
pub struct Modules<M> {
    map: M,
}

/// One named module.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredModule {
    /// Its name.
    pub name: String,
    /// The hash of its binary form.
    pub hash: ModuleHash,
    /// Bytes of its binary form.
    pub byte_count: u64,
    /// Whether calls of it are refused.
    pub is_disabled: bool,
    /// Fuel that its calls have used.
    pub fuel_seen: u64,
}

impl<M: ByteMap> Modules<M> {
    /// The modules that `map` keeps. A map of its own, or one whose other keys begin neither with `code/` nor `name/`.
    pub fn new(map: M) -> Self {
        Self { map }
    }

    /// The map.
    pub fn into_map(self) -> M {
        self.map
    }

    /// Keeps a module, binary or text, under `name`; in the place of what had that name, enabled, its fuel at zero.
    ///
    /// # Errors
    /// What [`Runtime::compile`] finds wrong with it; a name that is empty, longer than 255 bytes, or 64 hex digits,
    /// which would be a hash; the map's own errors.
    pub fn put(&mut self, runtime: &Runtime, name: &str, source: &[u8]) -> Result<ModuleHash> {
        if name.is_empty() || name.len() > NAME_SIZE_MAX || hash_of_text(name).is_some() {
            let reason = format!("a name has 1 to {NAME_SIZE_MAX} bytes and does not look like a hash");
            return Err(Error::Store { module: name.to_owned(), reason });
        }
        let (module, bytes) = runtime.compile_for_store(name, source)?;
        let hash = module.hash();
        let before = self.entry(name)?;
        self.map.put(&code_key(&hash), &bytes).map_err(|error| failed(name, &*error))?;
        let byte_count = bytes.len() as u64;
        self.write(&StoredModule {
            name: name.to_owned(),
            hash,
            byte_count,
            is_disabled: false,
            fuel_seen: 0,
        })?;
        if let Some(before) = before {
            self.remove_unused_code(name, &before.hash)?;
        }
        Ok(hash)
    }

    /// All modules, in the order of their names.
    ///
    /// # Errors
    /// Damage, and the map's own errors.
    pub fn list(&self) -> Result<Vec<StoredModule>> {
        let keys = self.map.keys(NAME_PREFIX).map_err(|error| failed("list", &*error))?;
        let mut modules = Vec::new();
        for key in keys {
            let name = String::from_utf8_lossy(key.get(NAME_PREFIX.len()..).unwrap_or_default()).into_owned();
            modules.extend(self.entry(&name)?);
        }
        Ok(modules)
    }

    /// Compiles the module that `name_or_hash` (64 hex digits) calls, or takes it from the runtime's cache.
    ///
    /// # Errors
    /// [`Error::NoModule`]; [`Error::Disabled`], also where a hash is given that only disabled names have; damage;
    /// what [`Runtime::compile`] finds wrong under this runtime's limits; the map's own errors.
    pub fn load(&self, runtime: &Runtime, name_or_hash: &str) -> Result<Module> {
        let entry = self.find(name_or_hash)?;
        if entry.is_disabled {
            return Err(Error::Disabled { module: entry.name });
        }
        self.compiled(runtime, name_or_hash, &entry)
    }

    fn compiled(&self, runtime: &Runtime, name_or_hash: &str, entry: &StoredModule) -> Result<Module> {
        let key = code_key(&entry.hash);
        let bytes = self.map.get(&key).map_err(|error| failed(name_or_hash, &*error))?;
        let bytes = bytes.ok_or_else(|| damaged(name_or_hash, "its code is gone"))?;
        if ModuleHash::of(&bytes) != entry.hash {
            return Err(damaged(name_or_hash, "its code does not have the hash that it is kept under"));
        }
        runtime.compile_named(&entry.name, &bytes)
    }

    /// What a module exports, how much memory it may take, its size, and the fuel seen. Disabled ones are described too.
    ///
    /// # Errors
    /// As [`load`](Self::load), but for those that are disabled.
    pub fn describe(&self, runtime: &Runtime, name_or_hash: &str) -> Result<(StoredModule, Description)> {
        let entry = self.find(name_or_hash)?;
        let description = self.compiled(runtime, name_or_hash, &entry)?.describe();
        Ok((entry, description))
    }

    /// Refuses, or takes again, calls of the module.
    ///
    /// # Errors
    /// [`Error::NoModule`], damage, and the map's own errors.
    pub fn set_disabled(&mut self, name: &str, is_disabled: bool) -> Result<()> {
        let entry = self.named(name)?;
        self.write(&StoredModule { is_disabled, ..entry })
    }

    /// Notes fuel that calls have used; the sum stays at the greatest number rather than overflow.
    ///
    /// # Errors
    /// [`Error::NoModule`], damage, and the map's own errors.
    pub fn add_fuel(&mut self, name: &str, fuel: u64) -> Result<()> {
        let entry = self.named(name)?;
        let fuel_seen = entry.fuel_seen.saturating_add(fuel);
        self.write(&StoredModule { fuel_seen, ..entry })
    }

    /// Removes a name, and the code with its last name.
    ///
    /// # Errors
    /// [`Error::NoModule`], damage, and the map's own errors.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let entry = self.named(name)?;
        self.map.remove(&name_key(name)).map_err(|error| failed(name, &*error))?;
        self.remove_unused_code(name, &entry.hash)
    }

    fn remove_unused_code(&mut self, name: &str, hash: &ModuleHash) -> Result<()> {
        if self.list()?.iter().any(|other| other.hash == *hash) {
            return Ok(());
        }
        self.map.remove(&code_key(hash)).map_err(|error| failed(name, &*error))
    }

    fn find(&self, name_or_hash: &str) -> Result<StoredModule> {
        let Some(hash) = hash_of_text(name_or_hash) else { return self.named(name_or_hash) };
        let mut modules = self.list()?;
        modules.retain(|module| module.hash == hash);
        modules.sort_by_key(|module| module.is_disabled);
        modules.into_iter().next().ok_or_else(|| Error::NoModule { module: name_or_hash.to_owned() })
    }

    fn named(&self, name: &str) -> Result<StoredModule> {
        self.entry(name)?.ok_or_else(|| Error::NoModule { module: name.to_owned() })
    }

    fn entry(&self, name: &str) -> Result<Option<StoredModule>> {
        let value = self.map.get(&name_key(name)).map_err(|error| failed(name, &*error))?;
        let Some(value) = value else { return Ok(None) };
        decode(name, &value).map(Some).ok_or_else(|| damaged(name, "its entry is not one of this version"))
    }

    fn write(&mut self, entry: &StoredModule) -> Result<()> {
        self.map.put(&name_key(&entry.name), &encode(entry)).map_err(|error| failed(&entry.name, &*error))
    }
}

fn encode(entry: &StoredModule) -> Vec<u8> {
    let mut value = vec![LAYOUT_VERSION, u8::from(entry.is_disabled)];
    value.extend_from_slice(entry.hash.as_bytes());
    value.extend_from_slice(&entry.byte_count.to_le_bytes());
    value.extend_from_slice(&entry.fuel_seen.to_le_bytes());
    debug_assert_eq!(value.len(), ENTRY_SIZE);
    value
}

fn decode(name: &str, value: &[u8]) -> Option<StoredModule> {
    let value = <&[u8; ENTRY_SIZE]>::try_from(value).ok()?;
    let (&[version, disabled], rest) = value.split_first_chunk()?;
    let (hash, rest) = rest.split_first_chunk()?;
    let (byte_count, rest) = rest.split_first_chunk()?;
    let (fuel_seen, _) = rest.split_first_chunk()?;
    (version == LAYOUT_VERSION && disabled <= 1).then(|| StoredModule {
        name: name.to_owned(),
        hash: ModuleHash::from_bytes(*hash),
        byte_count: u64::from_le_bytes(*byte_count),
        is_disabled: disabled == 1,
        fuel_seen: u64::from_le_bytes(*fuel_seen),
    })
}

fn code_key(hash: &ModuleHash) -> Vec<u8> {
    [CODE_PREFIX, hash.as_bytes()].concat()
}

fn name_key(name: &str) -> Vec<u8> {
    [NAME_PREFIX, name.as_bytes()].concat()
}

fn hash_of_text(text: &str) -> Option<ModuleHash> {
    let mut bytes = [0; 32];
    let digits = text.as_bytes().as_chunks::<2>().0;
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(digits) {
        let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
        *byte = digit(*high) << 4 | digit(*low);
    }
    Some(ModuleHash::from_bytes(bytes))
}

fn damaged(module: &str, reason: &str) -> Error {
    Error::Store { module: module.to_owned(), reason: format!("{reason}: put it again") }
}

fn failed(module: &str, error: &(dyn std::error::Error + Send + Sync)) -> Error {
    Error::Store { module: module.to_owned(), reason: error.to_string() }
}

#[cfg(all(test, feature = "wat"))]
mod tests {
    use super::*;
    use crate::{Limits, guests};

    type Map = BTreeMap<Vec<u8>, Vec<u8>>;

    fn with_two_names() -> (Runtime, Modules<Map>) {
        let (runtime, mut modules) = (Runtime::default(), Modules::new(Map::new()));
        modules.put(&runtime, "a", guests::COUNT.as_bytes()).expect("fits");
        modules.put(&runtime, "b", guests::COUNT.as_bytes()).expect("fits");
        (runtime, modules)
    }

    #[test]
    fn one_code_is_kept_for_all_its_names_and_goes_with_the_last() {
        let (_, mut modules) = with_two_names();
        assert_eq!(modules.map.len(), 3);
        modules.remove("a").unwrap();
        assert_eq!(modules.map.len(), 2);
        modules.remove("b").unwrap();
        assert!(modules.map.is_empty());
        assert!(matches!(modules.remove("b"), Err(Error::NoModule { .. })));
    }

    #[test]
    fn another_module_under_the_same_name_takes_its_place() {
        let (runtime, mut modules) = with_two_names();
        modules.remove("a").unwrap();
        modules.add_fuel("b", 7).unwrap();
        let hash = modules.put(&runtime, "b", guests::OFFSET_STATS.as_bytes()).unwrap();
        let (entry, description) = modules.describe(&runtime, "b").unwrap();
        assert_eq!((entry.hash, entry.fuel_seen), (hash, 0));
        assert_eq!(entry.byte_count, description.byte_count as u64);
        assert_eq!(description.reducers, ["offset_stats"]);
        assert_eq!(modules.map.len(), 2, "the old code went");
    }

    #[test]
    fn disabled_names_are_refused_and_others_of_the_same_code_are_not() {
        let (runtime, mut modules) = with_two_names();
        modules.set_disabled("a", true).unwrap();
        assert!(matches!(modules.load(&runtime, "a"), Err(Error::Disabled { .. })));
        assert_eq!(modules.load(&runtime, "b").unwrap().name(), "b");
        let hash = modules.list().unwrap()[0].hash.to_string();
        assert!(modules.load(&runtime, &hash).is_ok());
        modules.set_disabled("b", true).unwrap();
        assert!(matches!(modules.load(&runtime, &hash), Err(Error::Disabled { .. })));
        assert!(modules.describe(&runtime, "b").unwrap().0.is_disabled);
        modules.set_disabled("a", false).unwrap();
        assert!(modules.load(&runtime, "a").is_ok());
    }

    #[test]
    fn fuel_adds_up_and_does_not_overflow() {
        let (_, mut modules) = with_two_names();
        modules.add_fuel("a", 5).unwrap();
        modules.add_fuel("a", 6).unwrap();
        assert_eq!(modules.list().unwrap()[0].fuel_seen, 11);
        modules.add_fuel("a", u64::MAX).unwrap();
        assert_eq!(modules.list().unwrap()[0].fuel_seen, u64::MAX);
    }

    #[test]
    fn what_does_not_compile_is_not_kept() {
        let mut modules = Modules::new(Map::new());
        assert!(modules.put(&Runtime::default(), "x", b"(module (func (import \"a\" \"b\")))").is_err());
        assert!(modules.put(&Runtime::default(), "", guests::COUNT.as_bytes()).is_err());
        assert!(modules.put(&Runtime::default(), &"0".repeat(64), guests::COUNT.as_bytes()).is_err());
        assert!(modules.map.is_empty());
    }

    #[test]
    fn a_stored_module_meets_the_limits_of_the_runtime_that_loads_it() {
        let (_, modules) = with_two_names();
        let strict = Runtime::new(Limits::default().module_bytes(10));
        assert_eq!(modules.load(&strict, "a").unwrap_err().code(), "LLMDB-W04");
    }

    #[test]
    fn every_damaged_byte_is_noticed_or_harmless() {
        let (runtime, modules) = with_two_names();
        let whole = modules.into_map();
        for (key, value) in &whole {
            let is_code = key.starts_with(CODE_PREFIX);
            for at in (0..value.len()).step_by(if is_code { 7 } else { 1 }) {
                let mut map = whole.clone();
                map.get_mut(key).expect("a key")[at] ^= 0x40;
                let modules = Modules::new(map);
                let loaded = modules.load(&runtime, "a");
                if is_code {
                    assert!(matches!(loaded, Err(Error::Store { .. })), "{at}: {loaded:?}");
                } else {
                    // Size and fuel are for people; the rest names other code, or is no entry.
                    let is_hers = key.ends_with(b"a") && at < 34;
                    assert_eq!(loaded.is_err(), is_hers, "{at}: {loaded:?}");
                }
            }
            let mut map = whole.clone();
            map.get_mut(key).expect("a key").pop();
            let is_ok = Modules::new(map).load(&runtime, "a").is_ok();
            assert_eq!(is_ok, key.ends_with(b"b"), "a value cut short");
        }
    }
}
