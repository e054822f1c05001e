//! Peers that do at random what the table has in order, against a direct twin. A hundred sessions of each kind by default, 300 of
//! each kind with `TCPREEN_LONG=1`; `RELAY_SESSIONS=100000 RELAY_SEED=7` runs for hours.

use std::env;

use super::cases::{Case, End};
use super::table::{Family, play};
use crate::support::skip::long;

/// xorshift: the same seed gives the same scripts.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    /// A number of bytes: small ones and large ones are as frequent.
    fn length(&mut self, bits: u64) -> u64 {
        let bits = self.below(bits + 1);
        1 + self.below(1 << bits)
    }
}

/// A script whose outcome does not depend on the moment.
fn script(random: &mut Random, family: Family) -> (String, End) {
    let mut steps = vec!["b.pause 0".to_owned()];
    let mut finished = [false; 2];
    for _ in 0..random.below(8) {
        let from = random.below(2) as usize;
        let (x, y) = if from == 0 { ('a', 'b') } else { ('b', 'a') };
        if finished[from] {
            continue;
        }
        match random.below(8) {
            0 => steps.push(format!("{x}.bytes {}; {y}.all", random.length(6))),
            1 | 2 => steps.push(format!("{x}.send {}; {y}.all", random.length(14))),
            3 => steps.push(format!("{x}.stream {}; {y}.all", random.length(20))),
            4 if random.below(4) == 0 => steps.push(format!("{x}.push 64000000; {y}.all")),
            4 | 5 if family == Family::Tcp => {
                let (before, urgent, after) = (random.length(11), random.length(11), random.length(4));
                let all = before + urgent + after;
                steps.push(format!(
                    "{x}.send {before}; {x}.urgent {urgent}; {x}.send {after}; {y}.sees {all}; {y}.marks {all}"
                ));
            }
            4 | 5 => {
                let (before, count) = (random.length(14), random.below(4) * random.below(85));
                steps.push(format!(
                    "{x}.send {before}; {x}.pass {count}; {y}.sees {0}; {y}.catch {0}",
                    before + 5
                ));
            }
            6 => {
                steps.push(format!("{x}.finish; {y}.rest"));
                finished[from] = true;
            }
            _ => {}
        }
    }
    let end = ending(random, family, finished, &mut steps);
    (steps.join("; "), end)
}

fn ending(random: &mut Random, family: Family, finished: [bool; 2], steps: &mut Vec<String>) -> End {
    let last = random.length(13);
    match (random.below(4), finished) {
        (0, [false, false]) => {
            steps.push(format!("a.push 64000000; b.send {last}; b.close; a.rest"));
            End::Lost('b')
        }
        (1, [false, false]) => {
            steps
                .push(format!("b.send {last}; a.sees {last}; a.send {last}; b.sees {last}; a.close; b.rest"));
            End::Lost('a')
        }
        (2, [false, _]) if family == Family::Tcp => {
            steps.push(format!("a.send {last}; b.sees {last}; a.reset; b.rest"));
            End::Lost('a')
        }
        _ => {
            let open = [("a.finish; b.rest", finished[0]), ("b.finish; a.rest", finished[1])];
            steps.extend(open.into_iter().filter(|(_, done)| !done).map(|(step, _)| step.to_owned()));
            End::Order
        }
    }
}

fn play_at_random(family: Family, format: &str) {
    let number =
        |name: &str, default: u64| env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default);
    let seed = number("RELAY_SEED", 1);
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let cases = (0..number("RELAY_SESSIONS", if long() { 300 } else { 100 })).map(|at| {
        let (script, end) = script(&mut random, family);
        Case {
            name: format!("session {at} of seed {seed}: {script}"),
            script,
            end,
            swapped: random.below(2) == 0,
        }
    });
    play(family, format, cases.collect());
}

#[test]
fn over_tcp_recorded() {
    play_at_random(Family::Tcp, "C");
}

#[test]
fn over_tcp_spliced() {
    play_at_random(Family::Tcp, "count");
}

#[test]
fn over_unix_sockets() {
    play_at_random(Family::Unix, "C");
}
