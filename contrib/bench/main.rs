//! `cargo bench`: our bridge and its peers, side by side, on the loopback of this machine.
//!
//! All programs take turns within each round and every ratio is taken inside a round, so that a machine that is
//! slow for a minute is slow for all of them. The first round is thrown away: it pays for memory and caches that
//! nobody has touched before. What is printed is Markdown.
//!
//!     cargo bench --bench peers -- [--quick] [--rounds N] [--only NAME]...
//!
//! `TCPREEN_UNDER_TEST` names another binary to measure in the place of the one just built. Peers that are not
//! installed are left out and named.

mod bridge;
mod bulk;
mod chat;
mod connections;
mod crowd;
mod lines;
mod load;
mod memory;
mod mixed;
mod options;
mod peers;
mod pingpong;
mod recorded;
mod report;
mod requests;
mod rounds;
mod signals;
mod start;
mod tree;
mod workshop;

use std::process::ExitCode;

use options::Options;
use report::Verdict;
use workshop::Workshop;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

type Measurement = fn(&Workshop) -> Result<Vec<Verdict>>;

/// What can be measured: the name for `--only`, and how. The crowd comes last, for it raises a limit of ours that
/// every program started later would inherit.
const MEASUREMENTS: [(&str, Measurement); 10] = [
    ("bulk", bulk::measure),
    ("recorded", recorded::measure),
    ("pingpong", pingpong::measure),
    ("requests", requests::measure),
    ("lines", lines::measure),
    ("mixed", mixed::measure),
    ("connections", connections::measure),
    ("memory", memory::measure),
    ("start", start::measure),
    ("crowd", crowd::measure),
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether all measurements could be made. A program that fails is a SKIP below its table, a target that is missed
/// stands in the last one: neither makes the figures of the others wrong.
fn run() -> Result<bool> {
    let names = MEASUREMENTS.map(|(name, _)| name);
    let Some(options) = Options::from_args(std::env::args().skip(1), &names)? else {
        return Ok(true);
    };
    let workshop = Workshop::open(options)?;
    signals::end_bridges_with_us(workshop.path())?;
    report::header(&workshop);

    let mut verdicts = Vec::new();
    let mut complete = true;
    for (name, measure) in MEASUREMENTS {
        if !workshop.options.wants(name) {
            continue;
        }
        match measure(&workshop) {
            Ok(more) => verdicts.extend(more),
            Err(error) => {
                complete = false;
                println!("\n**{name} could not be measured:** {error}");
            }
        }
    }
    report::verdicts(&verdicts);
    Ok(complete)
}
