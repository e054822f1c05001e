//! The formats that only our program has, for text and for random bytes: recorded into a file, and made again from a
//! saved record. The payload counts, not the size of what is written.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::bridge::Bridge;
use crate::context::{BenchContext, Traffic, payload};
use crate::peers::{Contender, Program};
use crate::recorded::{self, Complete, END_LINE, Row};
use crate::report::{Column, Target, Verdict, table};
use crate::rounds::{self, Results};
use crate::{Result, signals, tree};

const THROUGHPUT: usize = 0;
const COST: usize = 1;

/// How records of sessions end that have no line of the frame.
const JSON_END: Complete = Complete::Ends(r#""event":"end""#);
const VIEW_END: Complete = Complete::Ends(", after ");
const HTML_END: Complete = Complete::Ends(r#"data-k="z""#);

/// One row of the table.
struct Work {
    label: String,
    traffic: Traffic,
    total: u64,
    kind: Kind,
}

enum Kind {
    /// A session, recorded.
    Session(Row),
    /// A program that reads the record of a session until its end. `FILE` stands for the record, `DIR` for a
    /// directory of the run.
    Reader(&'static str, &'static str),
}

const RAW: usize = 0;
const PCAPNG: usize = 1;
const SSLSPLIT: usize = 2;
const C: usize = 3;
const C_TIME: usize = 4;
const JSON_TEXT: usize = 5;
const TSHARK: usize = 6;
const JSON_RANDOM: usize = 7;
const VIEW: usize = 8;
const HTML: usize = 9;
const READ_RAW: usize = 10;

pub(crate) fn measure(context: &BenchContext) -> Result<Vec<Verdict>> {
    let works = works(context);
    let saved = Saved::make(context)?;
    let results =
        rounds::run(&context.options, "formats", works.len(), |at| run(context, &works[at], &saved));
    let labels: Vec<_> = works.iter().map(|work| work.label.clone()).collect();
    table(
        "Formats of our own, by payload",
        &labels,
        &results,
        &[
            Column::new("MiB", 0, |at| Some((works[at].total >> 20) as f64)),
            Column::new("MB/s", 0, |at| results.figure(at, THROUGHPUT)),
            Column::new("CPU s/GB", 2, |at| results.figure(at, COST)),
        ],
    );
    Ok(verdicts(&results))
}

/// In the order of their numbers above.
fn works(context: &BenchContext) -> Vec<Work> {
    let work = |label: &str, traffic, mib: u64, kind: &dyn Fn(u64) -> Kind| {
        let total = context.options.scaled(mib << 20);
        Work { label: label.to_owned(), traffic, total, kind: kind(total) }
    };
    let ours = |options: &'static str, file: &'static str, complete| {
        move |total| Kind::Session(row(Program::Ours, options, file, complete, total))
    };
    let (mixed, text, random) = (Traffic::Mixed, Traffic::Text, Traffic::Random);
    let sslsplit =
        |total| Kind::Session(row(Program::Sslsplit, "-X DIR/pcap", "pcap", Complete::AllBytes, total));
    vec![
        work("`-f raw`", mixed, 256, &ours("-q -f raw -o DIR/raw", "raw", END_LINE)),
        work("`-f pcapng`", mixed, 256, &ours("-q -f pcapng -o DIR/pcapng", "pcapng", JSON_END)),
        work("sslsplit `-X`", mixed, 256, &sslsplit),
        work("`-f C`", mixed, 128, &ours("-q -f C -o DIR/C", "C", END_LINE)),
        work("`--time=clock -f C`", mixed, 128, &ours("-q --time=clock -f C -o DIR/C", "C", END_LINE)),
        work("`-f json`, text", text, 128, &ours("-q -f json -o DIR/json", "json", JSON_END)),
        work("tshark `-T ek`, text", text, Saved::TEXT, &|_| Kind::Reader("tshark", "-n -r DIR/text -T ek")),
        work("`-f json`, random", random, 128, &ours("-q -f json -o DIR/json", "json", JSON_END)),
        work("`-f view`, text", text, 128, &ours("-q -f view -o DIR/view", "view", VIEW_END)),
        work("`-f html`, text", text, 128, &ours("-q -f html -o DIR/html", "html", HTML_END)),
        work("`--read` pcapng → raw", mixed, Saved::MIXED, &|_| {
            Kind::Reader("", "--read DIR/mixed -f raw -o DIR/raw")
        }),
        work("`--read` pcapng → json", mixed, Saved::MIXED, &|_| {
            Kind::Reader("", "--read DIR/mixed -f json -o DIR/json")
        }),
    ]
}

fn row(program: Program, options: &str, file: &'static str, complete: Complete, total: u64) -> Row {
    Row { contender: Contender::new(program, options), files: vec![file], complete, total, beside: RAW }
}

fn run(context: &BenchContext, work: &Work, saved: &Saved) -> Result<Vec<f64>> {
    match &work.kind {
        Kind::Session(row) if !context.programs.has(row.contender.program) => Err("not installed".into()),
        Kind::Session(row) => recorded::record(context, row, &payload(work.traffic)),
        Kind::Reader(program, arguments) => read(context, work, (program, arguments), saved),
    }
}

/// Records that are read again, as pcapng: made once.
struct Saved(TempDir);

impl Saved {
    /// MiB of payload.
    const TEXT: u64 = 32;
    const MIXED: u64 = 256;

    fn make(context: &BenchContext) -> Result<Self> {
        let dir = context.run_dir()?;
        for (name, options, traffic, mib) in [
            ("text", "-q -f pcapng -o DIR/text", Traffic::Text, Self::TEXT),
            ("mixed", "-q -f pcapng -o DIR/mixed", Traffic::Mixed, Self::MIXED),
        ] {
            let row = row(Program::Ours, options, name, JSON_END, context.options.scaled(mib << 20));
            recorded::record_in(context, &row, &payload(traffic), dir.path())?;
        }
        Ok(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn read(
    context: &BenchContext,
    work: &Work,
    (program, arguments): (&str, &str),
    saved: &Saved,
) -> Result<Vec<f64>> {
    let dir = saved.path();
    let program = if program.is_empty() { context.programs.ours()? } else { Path::new(program) };
    let arguments = arguments.replace("DIR", &dir.to_string_lossy());
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command.stdout(File::create(dir.join("stdout"))?).stderr(File::create(dir.join("stderr"))?);
    let cpu = tree::cpu_seconds()?;
    let start = Instant::now();
    // Its roles may end after it; they are waited for when this is dropped.
    let mut reader = Bridge::adopt(signals::spawn(&mut command)?, 0);
    let status = reader.child().ok_or("no process")?.wait()?;
    let elapsed = start.elapsed();
    if !status.success() {
        return Err(format!("{status}: {}", std::fs::read_to_string(dir.join("stderr"))?.trim()).into());
    }
    let cpu = tree::cpu_seconds()? - cpu;
    Ok(vec![work.total as f64 / 1e6 / elapsed.as_secs_f64(), cpu / (work.total as f64 / 1e9)])
}

fn verdicts(results: &Results) -> Vec<Verdict> {
    let ratio = |work: &str, against: &str, [one, other]: [usize; 2], least| {
        Verdict::new(work, against, results.ratio(one, other, THROUGHPUT), Target::Least(least))
    };
    let rate = |work: &str, at, least| {
        Verdict::new(work, "–", results.figure(at, THROUGHPUT), Target::LeastMegabytes(least))
    };
    vec![
        ratio("bulk, `-f pcapng`, throughput", "our own `raw`", [PCAPNG, RAW], 0.85),
        ratio("the same", "sslsplit `-X`", [PCAPNG, SSLSPLIT], 3.0),
        ratio("bulk, `--time=clock -f C`, throughput", "our own without the option", [C_TIME, C], 0.95),
        rate("bulk, `-f json`, text", JSON_TEXT, 300.0),
        ratio("the same, or", "tshark `-T ek` from a file", [JSON_TEXT, TSHARK], 2.0),
        ratio("bulk, `-f json`, random bytes", "our own, text", [JSON_RANDOM, JSON_TEXT], 0.5),
        ratio("the same, or", "tshark `-T ek`, text from a file", [JSON_RANDOM, TSHARK], 1.0),
        rate("bulk, `-f view`, text", VIEW, 100.0),
        rate("bulk, `-f html`, text", HTML, 100.0),
        rate("`--read`, pcapng to raw", READ_RAW, 500.0),
    ]
}
