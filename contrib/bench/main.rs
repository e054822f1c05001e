//! `cargo bench`: our bridge and its peers, side by side, on the loopback of this machine.
//!
//! All programs run in turn within each round, and every ratio is computed within a round, so that a slow
//! minute of the machine affects all of them. The first round is discarded: it fills memory and caches. The
//! output is Markdown.
//!
//!     cargo bench --bench peers -- [--quick] [--rounds N] [--only NAME]...
//!
//! `TCPREEN_UNDER_TEST` selects another binary than the one just built. Peers that are not installed are
//! listed and skipped.

mod bridge;
mod bulk;
mod chat;
mod connections;
mod context;
mod crowd;
mod formats;
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

use std::process::ExitCode;

use context::BenchContext;
use options::Options;
use report::Verdict;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

type Measurement = fn(&BenchContext) -> Result<Vec<Verdict>>;

/// The measurements, with their names for `--only`. The crowd comes last, because it raises a limit that
/// every program started later would inherit.
const MEASUREMENTS: [(&str, Measurement); 11] = [
    ("bulk", bulk::measure),
    ("recorded", recorded::measure),
    ("formats", formats::measure),
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

/// Returns whether all measurements could be made. A failed program is a SKIP below its table, and a missed
/// target is listed in the last table; neither invalidates the other figures.
fn run() -> Result<bool> {
    let names = MEASUREMENTS.map(|(name, _)| name);
    let Some(options) = Options::from_args(std::env::args().skip(1), &names)? else {
        return Ok(true);
    };
    let context = BenchContext::open(options)?;
    signals::end_bridges_with_us(context.path())?;
    report::header(&context);

    let mut verdicts = Vec::new();
    let mut complete = true;
    for (name, measure) in MEASUREMENTS {
        if !context.options.wants(name) {
            continue;
        }
        match measure(&context) {
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
