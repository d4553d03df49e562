//! The generators draw what YCSB draws.

use super::*;
use serde_json::Value;

fn expectations() -> Value {
    serde_json::from_str(include_str!("../../../tests/data/ycsb_expectations.json")).unwrap()
}

/// Draws and counts, the hottest first: `(share, number)`.
fn shares(records: u64, draws: u64, mut draw: impl FnMut() -> u64) -> Vec<(f64, u64)> {
    let mut counts = vec![0_u64; records as usize];
    for _ in 0..draws {
        counts[draw() as usize] += 1;
    }
    let mut shares: Vec<_> = counts
        .into_iter()
        .enumerate()
        .map(|(number, count)| (count as f64 / draws as f64, number as u64))
        .collect();
    shares.sort_by(|a, b| b.0.total_cmp(&a.0));
    shares
}

fn assert_near(seen: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    let tolerance = expected * 0.03 + 0.002;
    assert!((seen - expected).abs() <= tolerance, "{what}: {seen} instead of {expected}");
}

#[test]
fn hashes_are_ycsb_s() {
    let all = expectations();
    let vectors = all["fnv_vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 13);
    for vector in vectors {
        let number = vector["key_number"].as_u64().unwrap();
        assert_eq!(fnv_hash_64(number), vector["fnvhash64"].as_u64().unwrap());
        assert_eq!(key_name(number), vector["key_name"].as_str().unwrap());
    }
}

#[test]
fn scrambled_zipfian_hits_the_expected_shares() {
    let all = expectations();
    for expected in all["expected"].as_array().unwrap() {
        let records = expected["records"].as_u64().unwrap();
        let keyspace = expected["keyspace_of_the_chooser"].as_u64().unwrap();
        let expected = &expected["scrambled_zipfian"];
        let (zipfian, mut rng) = (ScrambledZipfian::new(keyspace), Rng::new(11));
        let drawn = shares(records, 1_000_000, || {
            loop {
                let number = zipfian.next(&mut rng);
                if number < records {
                    return number;
                }
            }
        });
        assert_near(drawn[0].0, &expected["hottest_key_share"], "the hottest key");
        for (fraction, share) in expected["share_of_hottest_fraction"].as_object().unwrap() {
            let count = ((records as f64 * fraction.parse::<f64>().unwrap()) as usize).max(1);
            let seen: f64 = drawn[..count].iter().map(|(share, _)| share).sum();
            assert_near(seen, share, &format!("{records} records, the hottest {fraction}"));
        }
        let hottest: Vec<u64> = drawn[..3].iter().map(|&(_, number)| number).collect();
        let numbers = expected["ten_hottest_key_numbers"].as_array().unwrap();
        assert_eq!(hottest, numbers[..3].iter().map(|n| n.as_u64().unwrap()).collect::<Vec<_>>());
    }
}

#[test]
fn distinct_keys_in_a_thousand_draws_are_as_expected() {
    let all = expectations();
    let expected = &all["expected"][0]["scrambled_zipfian"]["expected_distinct_keys_in_draws"]["1000"];
    let (zipfian, mut rng) = (ScrambledZipfian::new(1_001), Rng::new(12));
    let mut total = 0;
    for _ in 0..20 {
        let seen: std::collections::BTreeSet<u64> = (0..1_000).map(|_| zipfian.next(&mut rng)).collect();
        total += seen.len();
    }
    let mean = f64::from(total as u32) / 20.0;
    assert!((mean - expected.as_f64().unwrap()).abs() < 10.0, "{mean}");
}

#[test]
fn latest_hits_the_expected_shares() {
    let all = expectations();
    for expected in all["expected"].as_array().unwrap() {
        let records = expected["records"].as_u64().unwrap();
        let expected = &expected["latest"];
        let (mut latest, mut rng) = (Latest::new(records - 1), Rng::new(13));
        assert!((latest.zetan() - expected["zetan"].as_f64().unwrap()).abs() < 1e-9);
        let mut newest_first = vec![0.0; records as usize];
        for _ in 0..1_000_000 {
            newest_first[(records - 1 - latest.next(&mut rng, records - 1)) as usize] += 1e-6;
        }
        assert_near(newest_first[0], &expected["newest_key_share"], "the newest key");
        for (fraction, share) in expected["share_of_newest_fraction"].as_object().unwrap() {
            let count = ((records as f64 * fraction.parse::<f64>().unwrap()) as usize).max(1);
            let seen: f64 = newest_first[..count].iter().sum();
            assert_near(seen, share, &format!("{records} records, the newest {fraction}"));
        }
    }
}

#[test]
fn growing_gives_the_sum_of_starting_large() {
    let mut grown = Zipfian::new(999);
    grown.grow(5_000);
    assert!((grown.zetan() - Zipfian::new(5_000).zetan()).abs() < 1e-9);
}

#[test]
fn uniform_lengths_reach_both_ends_evenly() {
    let mut rng = Rng::new(14);
    let mut counts = [0_u32; 101];
    for _ in 0..100_000 {
        counts[uniform(&mut rng, 1, 100) as usize] += 1;
    }
    assert_eq!(counts[0], 0);
    assert!(counts[1..].iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
}

#[test]
fn the_mixes_are_those_of_the_definitions() {
    let all: Value =
        serde_json::from_str(include_str!("../../../tests/data/ycsb_core_workloads.json")).unwrap();
    assert_eq!(all["scrambled_zipfian"]["inner_items"], SCRAMBLED_ITEMS);
    assert_eq!(all["scrambled_zipfian"]["inner_zetan"], SCRAMBLED_ZETAN);
    for mix in crate::ycsb::core::MIXES {
        let defined = &all["workloads"][mix.letter.to_string()];
        assert_eq!(defined["name"], mix.name);
        let shares = defined["proportions"].as_object().unwrap();
        assert_eq!(shares.len(), mix.shares.len());
        for (kind, share) in mix.shares {
            assert_eq!(shares[kind.name()].as_f64(), Some(*share));
        }
    }
}
