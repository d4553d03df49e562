//! Artifacts on disk: what is ours is loaded and runs alike, all else is compiled anew.

#![cfg(all(feature = "wat", unix))]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use llmdb_wasm::{ArtifactCache, Limits, Module, Result, Rows, Runtime, guests};

fn runtime(directory: &Path, limits: Limits) -> Runtime {
    Runtime::new(limits).with_artifacts(ArtifactCache::open(directory).expect("a directory of ours"))
}

fn compile(directory: &Path) -> (Module, u64) {
    let runtime = runtime(directory, Limits::default());
    let module = runtime.compile_named("pages", guests::PAGES.as_bytes()).expect("compiles");
    (module, runtime.compilations())
}

/// Bytes and fuel of a map.
fn run(module: &Module) -> Result<(Vec<u8>, u64)> {
    let bytes = (0..=255).cycle().take(500 * 32).collect::<Vec<u8>>();
    let mut stage = module.map("key32")?;
    let output = stage.rows(Rows::new(&bytes, 32).expect("whole rows"))?;
    Ok((output.bytes().to_vec(), stage.stats().fuel_used))
}

fn artifact(directory: &Path) -> PathBuf {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut artifacts = paths.filter(|path| path.extension().is_some_and(|e| e == "artifact"));
    let artifact = artifacts.next().expect("an artifact");
    assert_eq!(artifacts.next(), None, "one artifact");
    artifact
}

struct Cache(tempfile::TempDir);

impl Cache {
    /// With the artifact of `pages`.
    fn new() -> Self {
        let cache = Self(tempfile::tempdir().unwrap());
        assert_eq!(compile(&cache.path()).1, 1);
        cache
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("deep").join("wasm")
    }
}

#[test]
fn a_later_runtime_compiles_nothing_and_computes_the_same() {
    let cache = Cache::new();
    let (compiled, _) = compile(tempfile::tempdir().unwrap().path().join("other").as_path());
    let (loaded, compilations) = compile(&cache.path());
    assert_eq!(compilations, 0);
    assert_eq!(run(&loaded), run(&compiled));
    assert_eq!(loaded.describe(), compiled.describe());
    let mut instance = loaded.instantiate().unwrap();
    instance.set_max_fuel(3);
    assert_eq!(instance.call("llmdb_abi_version", &[]).map(|v| v.len()), Ok(1));
    instance.set_max_fuel(1);
    assert_eq!(instance.call("llmdb_abi_version", &[]).unwrap_err().code(), "LLMDB-W06");
}

#[test]
fn damage_anywhere_is_compiled_anew_and_mended() {
    let cache = Cache::new();
    let expected = run(&compile(&cache.path()).0);
    let path = artifact(&cache.path());
    let whole = fs::read(&path).unwrap();
    let lengths = [0, 1, 79, 80, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_vec());
    let flips =
        (0..40).map(|i| whole.len() * i / 40).chain([whole.len() - 1, whole.len() - 40, whole.len() - 70]);
    let flips = flips.map(|at| {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        damaged
    });
    for damaged in lengths.into_iter().chain(flips).chain([[&whole[..], b"more"].concat(), vec![0; 200]]) {
        fs::write(&path, damaged).unwrap();
        let (module, compilations) = compile(&cache.path());
        assert_eq!(compilations, 1);
        assert_eq!(run(&module), expected);
        assert_eq!(compile(&cache.path()).1, 0, "it was mended");
    }
}

#[test]
fn artifacts_of_another_secret_are_foreign() {
    let (ours, theirs) = (Cache::new(), Cache::new());
    fs::copy(artifact(&theirs.path()), artifact(&ours.path())).unwrap();
    assert_eq!(compile(&ours.path()).1, 1);
}

#[test]
fn an_artifact_of_one_module_does_not_pass_for_another() {
    let cache = Cache::new();
    let path = artifact(&cache.path());
    let other = tempfile::tempdir().unwrap();
    let other = other.path().join("wasm");
    fs::create_dir(&other).unwrap();
    fs::set_permissions(&other, Permissions::from_mode(0o700)).unwrap();
    fs::copy(cache.path().join("secret"), other.join("secret")).unwrap();
    let count = |directory: &Path| {
        let runtime = runtime(directory, Limits::default());
        let module = runtime.compile(guests::COUNT.as_bytes()).unwrap();
        assert_eq!(module.reduce("count", []).unwrap().output, [0; 8]);
        runtime.compilations()
    };
    assert_eq!(count(&other), 1);
    fs::copy(path, artifact(&other)).unwrap();
    assert_eq!(count(&other), 1);
}

#[test]
fn other_limits_have_artifacts_of_their_own() {
    let cache = Cache::new();
    let strict = runtime(&cache.path(), Limits::default().memory_bytes(1 << 20));
    let module = strict.compile(guests::PAGES.as_bytes()).unwrap();
    assert_eq!(strict.compilations(), 1);
    assert_eq!(module.describe().memory_pages, Some((1, 16)));
    let small = runtime(&cache.path(), Limits::default().module_bytes(100));
    assert_eq!(small.compile(guests::PAGES.as_bytes()).unwrap_err().code(), "LLMDB-W04");
    // What a call may take is no part of the code.
    let poor = runtime(&cache.path(), Limits::default().max_fuel(1000));
    poor.compile(guests::PAGES.as_bytes()).unwrap();
    assert_eq!(poor.compilations(), 0);
}

#[test]
fn directories_and_files_that_others_may_use_are_refused() {
    let cache = Cache::new();
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(&cache.path(), 0o750);
    let error = ArtifactCache::open(cache.path()).unwrap_err();
    assert_eq!(error.code(), "LLMDB-W17");
    assert!(error.to_string().contains("others may use it (mode 750)"), "{error}");
    mode(&cache.path(), 0o700);
    mode(&artifact(&cache.path()), 0o622);
    assert_eq!(compile(&cache.path()).1, 1, "the artifact was open to others");
    assert_eq!(compile(&cache.path()).1, 0, "its successor is not");
    mode(&cache.path().join("secret"), 0o644);
    assert_eq!(ArtifactCache::open(cache.path()).unwrap_err().code(), "LLMDB-W17");
}

#[test]
fn links_are_not_followed() {
    let (cache, elsewhere) = (Cache::new(), tempfile::tempdir().unwrap());
    let (path, moved) = (artifact(&cache.path()), elsewhere.path().join("moved"));
    fs::rename(&path, &moved).unwrap();
    symlink(&moved, &path).unwrap();
    assert_eq!(compile(&cache.path()).1, 1);
    let link = elsewhere.path().join("link");
    symlink(cache.path(), &link).unwrap();
    assert_eq!(ArtifactCache::open(&link).unwrap_err().code(), "LLMDB-W17");
}

#[test]
fn a_secret_of_another_size_is_refused() {
    let cache = Cache::new();
    for size in [0, 31, 33] {
        fs::write(cache.path().join("secret"), vec![1; size]).unwrap();
        assert_eq!(ArtifactCache::open(cache.path()).unwrap_err().code(), "LLMDB-W17", "{size}");
    }
}

#[test]
fn a_directory_that_cannot_be_written_does_not_keep_modules_from_running() {
    let cache = Cache::new();
    let runtime = runtime(&cache.path(), Limits::default());
    fs::remove_dir_all(cache.path()).unwrap();
    let module = runtime.compile(guests::PAGES.as_bytes()).unwrap();
    assert!(run(&module).is_ok());
}

#[test]
fn threads_that_want_one_module_compile_it_once() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime(&directory.path().join("wasm"), Limits::default());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| run(&runtime.compile(guests::PAGES.as_bytes()).unwrap()).unwrap());
        }
    });
    assert_eq!(runtime.compilations(), 1);
}

#[test]
fn many_processes_can_open_one_directory_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wasm");
    std::thread::scope(|scope| {
        let opened = || ArtifactCache::open(&path).map(|_| ());
        let threads = (0..8).map(|_| scope.spawn(opened)).collect::<Vec<_>>();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
    });
}
