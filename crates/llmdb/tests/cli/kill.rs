//! SIGKILL at random moments: the database holds exactly a prefix of the transactions that includes every
//! acknowledged one.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Place, llmdb};
use serde_json::{Value as Json, json};

const KILL_COUNT: u64 = 100;
/// Kills of one database; then a new one, so that its creation is also hit.
const KILLS_OF_ONE: u64 = 10;
const OPS_OF_ONE: u64 = 5;

#[test]
fn a_hundred_kills_lose_nothing_that_was_acknowledged_and_leave_no_hole() {
    let seed =
        std::env::var("LLMDB_KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(random_seed);
    println!("LLMDB_KILL_SEED={seed}");
    let mut random = Random(seed);
    let (mut acknowledged_in_all, mut unfinished) = (0, 0);
    for round in 0..KILL_COUNT / KILLS_OF_ONE {
        let place = Place::new();
        let mut recorded = 0;
        for kill in 0..KILLS_OF_ONE {
            let acknowledged = recorded + apply_until_killed(&place, recorded, &mut random);
            let found = transactions(&place);
            assert!(
                found >= acknowledged && found <= acknowledged + 1,
                "seed {seed}, database {round}, kill {kill}: {acknowledged} acknowledged, {found} found"
            );
            acknowledged_in_all += acknowledged - recorded;
            unfinished += found - acknowledged;
            recorded = found;
        }
    }
    println!("{acknowledged_in_all} transactions acknowledged, {unfinished} more durable before they were");
    assert!(acknowledged_in_all > 0, "every kill came before the first transaction: the test shows nothing");
}

/// Feeds transactions from number `from` on, kills the command, and says how many it acknowledged.
fn apply_until_killed(place: &Place, from: u64, random: &mut Random) -> u64 {
    let mut child =
        llmdb().arg("apply").arg(place.db()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        // Ends when the command is killed.
        for number in from.. {
            if to.write_all(transaction(number).as_bytes()).is_err() {
                return;
            }
        }
    });
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = 0;
    // Some kills come while the database is opened, most while transactions pass by.
    let wanted = random.below(12);
    while acknowledged < wanted {
        assert_acknowledged(&answers.next().unwrap().unwrap(), from + acknowledged);
        acknowledged += 1;
    }
    let moment = Instant::now() + Duration::from_micros(random.below(6_000));
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    feeder.join().unwrap();
    // What was printed before the kill counts, as long as the line is whole.
    for line in answers.map_while(Result::ok) {
        if serde_json::from_str::<Json>(&line).is_ok() {
            assert_acknowledged(&line, from + acknowledged);
            acknowledged += 1;
        }
    }
    acknowledged
}

fn assert_acknowledged(line: &str, number: u64) {
    let answer: Json = serde_json::from_str(line).unwrap();
    assert_eq!((&answer["commit"], &answer["ops"]), (&json!(number), &json!(OPS_OF_ONE)), "{line}");
}

/// The lines of a transaction: each of its operations says which one it is of.
fn transaction(number: u64) -> String {
    let line = |op: u64| {
        let key = format!("key {}", (number * 7 + op * 3) % 11);
        json!({"op": "put", "key": key, "value": [number, op, "x".repeat((number % 5 * 300) as usize)],
               "valid_from": number as i64 - 3, "valid_to": number + op * 2, "commit": number, "tx": number * 10})
        .to_string()
            + "\n"
    };
    (0..OPS_OF_ONE).map(line).collect()
}

/// How many transactions the database holds. They must be the first ones, each whole.
fn transactions(place: &Place) -> u64 {
    if !place.db().exists() {
        // The kill came before the database was made.
        return 0;
    }
    let answer = place.ask("{\"op\":\"changes\"}\n{\"op\":\"scan\",\"valid_at\":0}").remove(0);
    let rows = answer["rows"].as_array().unwrap();
    for (index, row) in rows.iter().enumerate() {
        let (number, op) = (index as u64 / OPS_OF_ONE, index as u64 % OPS_OF_ONE);
        let sent: Json = serde_json::from_str(transaction(number).lines().nth(op as usize).unwrap()).unwrap();
        assert_eq!(row["commit"], json!(number), "operation {index}");
        assert_eq!((&row["key"], &row["value"]), (&sent["key"], &sent["value"]), "operation {index}");
        assert_eq!(row["valid"], json!([sent["valid_from"], sent["valid_to"]]), "operation {index}");
    }
    assert_eq!(rows.len() as u64 % OPS_OF_ONE, 0, "half a transaction");
    assert_eq!(place.run("check", &[]).code, 0);
    rows.len() as u64 / OPS_OF_ONE
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn random_seed() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64)
}
