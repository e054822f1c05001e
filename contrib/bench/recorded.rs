//! One session, one direction, every byte recorded in a file. The time includes the completion of the record,
//! so that a program that records asynchronously has to catch up.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::context::BenchContext;
use crate::peers::{Contender, Program};
use crate::report::{Column, Target, Verdict, table};
use crate::rounds::{self, Results};
use crate::{Result, load, tree};

const THROUGHPUT: usize = 0;
const COST: usize = 1;

const PATIENCE: Duration = Duration::from_secs(60);

/// Criterion for a complete record.
#[derive(Clone, Copy)]
pub(crate) enum Complete {
    /// tcpreen ends its records after the session: with this text, in the last event.
    Ends(&'static str),
    /// Records of others contain the bytes, the last of which may still be buffered.
    AllBytes,
}

/// How the text formats of both tcpreens end.
pub(crate) const END_LINE: Complete = Complete::Ends("End of transmission.");

/// The last event of a record is no longer than this.
const TAIL: u64 = 2048;

/// A program with its records.
pub(crate) struct Row {
    pub(crate) contender: Contender,
    /// Its records: prefixes of file names.
    pub(crate) files: Vec<&'static str>,
    pub(crate) complete: Complete,
    /// Number of bytes to send: the size of the record differs by a factor of a million.
    pub(crate) total: u64,
    /// Index of our row to compare with.
    pub(crate) beside: usize,
}

/// Formats of both tcpreens in the order of their rows, with the MiB to send and the target against the
/// original.
const FORMATS: [(&str, u64, f64); 5] =
    [("raw", 256, 2.0), ("C", 128, 4.0), ("strip", 128, 4.0), ("hex", 64, 4.0), ("count", 512, 1.5)];
const RAW: usize = 0;
const C: usize = 1;
const HEX: usize = 3;
const THREE: usize = 5;
const FIRST: usize = 6;

pub(crate) fn measure(context: &BenchContext) -> Result<Vec<Verdict>> {
    let rows = rows(context);
    let results = rounds::run(&context.options, "recorded", rows.len(), |at| {
        record(context, &rows[at], &context.payload)
    });

    let labels: Vec<_> = rows.iter().map(|row| row.contender.label.clone()).collect();
    table(
        "Bulk, recorded into a file",
        &labels,
        &results,
        &[
            Column::new("MiB", 0, |at| Some((rows[at].total >> 20) as f64)),
            Column::new("MB/s", 0, |at| results.figure(at, THROUGHPUT)),
            Column::new("CPU s/GB", 2, |at| results.figure(at, COST)),
            Column::new("MB/s, ours ÷ it", 2, |at| results.ratio(rows[at].beside, at, THROUGHPUT)),
            Column::new("CPU, ours ÷ it", 2, |at| results.ratio(rows[at].beside, at, COST)),
        ],
    );
    println!("\nTime and CPU until the record is complete. Programs are compared within one format.");
    Ok(verdicts(&rows, &results))
}

fn rows(context: &BenchContext) -> Vec<Row> {
    let total = |mib: u64| context.options.scaled(mib << 20);
    let mut rows = Vec::new();
    for program in [Program::Ours, Program::Original] {
        for (beside, (format, mib, _)) in FORMATS.into_iter().enumerate() {
            let contender = Contender::new(program, &format!("-q -f {format} -o DIR/{format}"));
            rows.push(Row { contender, files: vec![format], complete: END_LINE, total: total(mib), beside });
        }
        if program == Program::Ours {
            rows.extend(own_rows(total));
        }
    }
    for (program, options) in [
        (Program::Socat, "-b 262144 -r DIR/raw -R DIR/answers"),
        (Program::Simpleproxy, "-t DIR/raw"),
        (Program::Sslsplit, "-L DIR/raw"),
    ] {
        rows.push(Row {
            contender: Contender::new(program, options),
            files: vec!["raw"],
            complete: Complete::AllBytes,
            total: total(FORMATS[RAW].1),
            beside: RAW,
        });
    }
    rows.retain(|row| context.programs.has(row.contender.program));
    rows
}

/// What only our program does: several outputs at once, and bytes that wait for their record.
fn own_rows(total: impl Fn(u64) -> u64) -> Vec<Row> {
    let row = |options: &str, files: &[&'static str], format: usize, beside| Row {
        contender: Contender::new(Program::Ours, options),
        files: files.to_vec(),
        complete: END_LINE,
        total: total(FORMATS[format].1),
        beside,
    };
    vec![
        row("-q -f raw -o DIR/raw -f C -o DIR/C -f hex -o DIR/hex", &["raw", "C", "hex"], HEX, THREE),
        row("-q --record-first -f raw -o DIR/raw", &["raw"], RAW, RAW),
        row("-q --record-first=sync -f raw -o DIR/raw", &["raw"], RAW, RAW),
    ]
}

/// Throughput, and processor time per GB.
pub(crate) fn record(context: &BenchContext, row: &Row, payload: &[u8]) -> Result<Vec<f64>> {
    record_in(context, row, payload, context.run_dir()?.path())
}

/// Likewise, in a directory that keeps the record.
pub(crate) fn record_in(context: &BenchContext, row: &Row, payload: &[u8], dir: &Path) -> Result<Vec<f64>> {
    let server = load::listen()?;
    let bridge = row.contender.start(&context.programs, server.local_addr()?.port(), dir)?;
    let (client, server) = load::session(bridge.port, &server)?;
    let cpu = tree::cpu_seconds()?;
    let start = Instant::now();
    load::pour(&client, &server, payload, row.total)?;
    if let Complete::Ends(_) = row.complete {
        drop((client, server));
        await_records(dir, row)?;
    } else {
        await_records(dir, row)?;
        drop((client, server));
    }
    let elapsed = start.elapsed();
    let cpu = tree::cpu_seconds()? - cpu;
    Ok(vec![row.total as f64 / 1e6 / elapsed.as_secs_f64(), cpu / (row.total as f64 / 1e9)])
}

fn await_records(dir: &Path, row: &Row) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for name in &row.files {
        while !is_complete(dir, name, row).unwrap_or(false) {
            if Instant::now() > deadline {
                return Err(format!("the record `{name}` isn't complete after {PATIENCE:?}").into());
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}

fn is_complete(dir: &Path, name: &str, row: &Row) -> Result<bool> {
    let file = File::open(file_of(dir, name)?)?;
    let len = file.metadata()?.len();
    match row.complete {
        Complete::AllBytes => Ok(len + (64 << 10) >= row.total),
        Complete::Ends(end) => {
            let mut tail = [0; TAIL as usize];
            let n = file.read_at(&mut tail, len.saturating_sub(TAIL))?;
            Ok(String::from_utf8_lossy(&tail[..n]).contains(end))
        }
    }
}

/// The file of a record: with the given name, or with the original's suffix of address and port.
fn file_of(dir: &Path, name: &str) -> Result<PathBuf> {
    let suffixed = format!("{name}-");
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() == name || entry.file_name().to_string_lossy().starts_with(&suffixed) {
            return Ok(entry.path());
        }
    }
    Err("no record yet".into())
}

fn verdicts(rows: &[Row], results: &Results) -> Vec<Verdict> {
    let against = |program, beside| {
        let other = rows.iter().position(|row| row.contender.program == program && row.beside == beside)?;
        results.ratio(beside, other, THROUGHPUT)
    };
    let mut verdicts: Vec<_> = FORMATS
        .into_iter()
        .enumerate()
        .map(|(beside, (format, _, target))| {
            let work = format!("bulk, `-f {format} -o`, throughput");
            let measured = against(Program::Original, beside);
            Verdict::new(&work, Program::Original.name(), measured, Target::Least(target))
        })
        .collect();
    verdicts.push(Verdict::new(
        "bulk, `-f raw -o`, throughput",
        "socat `-b 262144 -r -R`",
        against(Program::Socat, RAW),
        Target::Least(1.0),
    ));
    verdicts.push(Verdict::new(
        "bulk, `--record-first -f raw -o`, throughput",
        "our own without the option",
        results.ratio(FIRST, RAW, THROUGHPUT),
        Target::Least(0.4),
    ));
    verdicts.push(Verdict::new(
        "three outputs at once (raw, C, hex)",
        "our own slowest of the three",
        results.median(|round| {
            Some(round.get(THREE, THROUGHPUT)? / round.best(&[RAW, C, HEX], THROUGHPUT, f64::min)?)
        }),
        Target::Least(0.8),
    ));
    verdicts
}
