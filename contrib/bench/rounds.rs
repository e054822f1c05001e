//! Rounds in which all contenders run in turn, and their evaluation.

use std::io::{IsTerminal, Write, stderr};

use crate::Result;
use crate::options::Options;

/// Figures of one contender in one round; the measurement defines their number and meaning.
type Figures = Vec<f64>;

pub(crate) struct Results {
    /// By round, then by contender; `None` for a contender that failed in that round.
    rounds: Vec<Vec<Option<Figures>>>,
    /// Failures by contender.
    failures: Vec<Vec<String>>,
}

/// One round's figures.
pub(crate) struct Round<'a>(&'a [Option<Figures>]);

impl Round<'_> {
    pub(crate) fn get(&self, contender: usize, figure: usize) -> Option<f64> {
        self.0.get(contender)?.as_ref()?.get(figure).copied()
    }

    pub(crate) fn ratio(&self, one: usize, other: usize, figure: usize) -> Option<f64> {
        Some(self.get(one, figure)? / self.get(other, figure)?)
    }

    /// The best of several, `better` being `max` or `min`.
    pub(crate) fn best(
        &self,
        contenders: &[usize],
        figure: usize,
        better: fn(f64, f64) -> f64,
    ) -> Option<f64> {
        contenders.iter().filter_map(|contender| self.get(*contender, figure)).reduce(better)
    }
}

/// Number of failures after which a contender is skipped.
const PATIENCE: usize = 3;

/// Runs all contenders in each round, by their numbers.
pub(crate) fn run(
    options: &Options,
    name: &str,
    contenders: usize,
    mut measure: impl FnMut(usize) -> Result<Figures>,
) -> Results {
    let mut results = Results { rounds: Vec::new(), failures: vec![Vec::new(); contenders] };
    for round in 0..=options.rounds {
        let mut figures = vec![None; contenders];
        for turn in 0..contenders {
            // In alternating order, so that a drift of the machine affects all contenders alike.
            let contender = if round % 2 == 0 { turn } else { contenders - 1 - turn };
            progress(format_args!("{name}: round {round} of {}, {}/{contenders}", options.rounds, turn + 1));
            if results.failures[contender].len() < PATIENCE {
                match measure(contender) {
                    Ok(measured) => figures[contender] = Some(measured),
                    Err(error) => results.failures[contender].push(error.to_string()),
                }
            }
        }
        if round > 0 {
            results.rounds.push(figures);
        }
    }
    progress(format_args!(""));
    results
}

/// Progress on a terminal; omitted in logs.
fn progress(text: std::fmt::Arguments<'_>) {
    let mut stderr = stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{text}");
    }
}

impl Results {
    pub(crate) fn failures(&self, contender: usize) -> &[String] {
        &self.failures[contender]
    }

    pub(crate) fn has(&self, contender: usize) -> bool {
        self.rounds.iter().any(|round| round[contender].is_some())
    }

    /// Median over the rounds of a value derived from one round.
    pub(crate) fn median(&self, of: impl Fn(&Round<'_>) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().filter_map(|round| of(&Round(round))).collect())
    }

    pub(crate) fn figure(&self, contender: usize, figure: usize) -> Option<f64> {
        self.median(|round| round.get(contender, figure))
    }

    pub(crate) fn ratio(&self, one: usize, other: usize, figure: usize) -> Option<f64> {
        self.median(|round| round.ratio(one, other, figure))
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => Some(values[middle]),
        _ => Some((values.get(middle.checked_sub(1)?)? + values[middle]) / 2.0),
    }
}
