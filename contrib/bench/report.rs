//! Output: the header, tables in Markdown, and the results for the targets.

use std::fs;
use std::thread::available_parallelism;

use nix::unistd::geteuid;

use crate::context::BenchContext;
use crate::rounds::Results;

pub(crate) fn header(context: &BenchContext) {
    let options = &context.options;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("# tcpreen beside its peers\n");
    println!(
        "{} cores · kernel {} · {} · loopback · medians of {} rounds after one thrown away{}",
        available_parallelism().map_or(0, usize::from),
        kernel.trim(),
        if geteuid().is_root() { "as root" } else { "as an ordinary user" },
        options.rounds,
        if options.quick { " · **quick: a look, not a measurement**" } else { "" },
    );
    println!(
        "\nPayload: 1 MiB repeated, the same everywhere: three parts of printable lines, one of random bytes.\n"
    );
    for (name, version) in context.programs.versions() {
        println!("- {name}: {version}");
    }
    let missing = context.programs.missing();
    if !missing.is_empty() {
        println!("- not installed, hence left out: {}", missing.join(", "));
    }
}

/// One column: its heading, its decimals, and its value for each contender.
pub(crate) struct Column<'a> {
    pub(crate) heading: &'a str,
    pub(crate) decimals: usize,
    pub(crate) value: Box<dyn Fn(usize) -> Option<f64> + 'a>,
}

impl<'a> Column<'a> {
    pub(crate) fn new(heading: &'a str, decimals: usize, value: impl Fn(usize) -> Option<f64> + 'a) -> Self {
        Self { heading, decimals, value: Box::new(value) }
    }
}

/// A row for each contender; failures below the table.
pub(crate) fn table(title: &str, labels: &[String], results: &Results, columns: &[Column<'_>]) {
    println!("\n## {title}\n");
    let headings: Vec<_> = columns.iter().map(|column| column.heading).collect();
    println!("| program | {} |\n|---|{}", headings.join(" | "), "--:|".repeat(columns.len()));
    for (contender, label) in labels.iter().enumerate() {
        if !results.has(contender) {
            continue;
        }
        let cells: Vec<_> =
            columns.iter().map(|column| number((column.value)(contender), column.decimals)).collect();
        println!("| {label} | {} |", cells.join(" | "));
    }
    for (contender, label) in labels.iter().enumerate() {
        match results.failures(contender) {
            [] => {}
            [reason, ..] if !results.has(contender) => println!("\nSKIP {label}: {reason}"),
            [reason, ..] => {
                println!("\n{label} failed {} times, e.g.: {reason}", results.failures(contender).len());
            }
        }
    }
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Target of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Ratios.
    Least(f64),
    Most(f64),
    /// A difference.
    MoreMilliseconds(f64),
    /// A rate of its own.
    LeastMegabytes(f64),
}

/// A target and its measurement.
pub(crate) struct Verdict {
    work: String,
    against: String,
    measured: Option<f64>,
    target: Target,
}

impl Verdict {
    pub(crate) fn new(work: &str, against: &str, measured: Option<f64>, target: Target) -> Self {
        Self { work: work.to_owned(), against: against.to_owned(), measured, target }
    }

    fn met(&self) -> Option<bool> {
        self.measured.map(|measured| match self.target {
            Target::Least(least) | Target::LeastMegabytes(least) => measured >= least,
            Target::Most(most) | Target::MoreMilliseconds(most) => measured <= most,
        })
    }
}

pub(crate) fn verdicts(verdicts: &[Verdict]) {
    println!("\n## Targets: ours ÷ the other, paired within each round\n");
    println!("| work | against | measured | target | |\n|---|---|--:|--:|---|");
    for verdict in verdicts {
        let (unit, sign, bound) = match verdict.target {
            Target::Least(bound) => (" ×", '≥', bound),
            Target::Most(bound) => (" ×", '≤', bound),
            Target::MoreMilliseconds(bound) => (" ms more", '≤', bound),
            Target::LeastMegabytes(bound) => (" MB/s", '≥', bound),
        };
        println!(
            "| {} | {} | {}{unit} | {sign} {bound}{unit} | {} |",
            verdict.work,
            verdict.against,
            number(verdict.measured, 2),
            match verdict.met() {
                Some(true) => "met",
                Some(false) => "**missed**",
                None => "not measured",
            },
        );
    }
}
