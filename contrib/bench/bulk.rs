//! One session, one direction, as fast as it goes, nothing recorded.

use crate::context::BenchContext;
use crate::peers::{Contender, Program};
use crate::report::{Column, Target, Verdict, table};
use crate::rounds::{self, Results};
use crate::{Result, load, tree};

const FULL: u64 = 1 << 30;
/// The figures of a run, by place.
const THROUGHPUT: usize = 0;
const COST: usize = 1;

pub(crate) fn measure(context: &BenchContext) -> Result<Vec<Verdict>> {
    let contenders = context.programs.present(vec![
        Contender::new(Program::Ours, "-q -f null"),
        Contender::new(Program::Direct, ""),
        Contender::new(Program::Original, "-q -f null"),
        Contender::new(Program::Socat, ""),
        Contender::new(Program::Socat, "-b 262144"),
        Contender::new(Program::Haproxy, "").label("haproxy `splice-auto`, 1 thread"),
        Contender::new(Program::Rinetd, ""),
        Contender::new(Program::Simpleproxy, ""),
        Contender::new(Program::Sslsplit, "").label("sslsplit `tcp`"),
    ]);
    let total = context.options.scaled(FULL);
    let results =
        rounds::run(&context.options, "bulk", contenders.len(), |at| run(context, &contenders[at], total));

    let labels: Vec<_> = contenders.iter().map(|contender| contender.label.clone()).collect();
    let title = format!("Bulk, nothing recorded ({} MiB)", total >> 20);
    table(
        &title,
        &labels,
        &results,
        &[
            Column::new("MB/s", 0, |at| results.figure(at, THROUGHPUT)),
            Column::new("CPU s/GB", 3, |at| bridged(&contenders, at).and(results.figure(at, COST))),
            Column::new("MB/s, ours ÷ it", 2, |at| results.ratio(0, at, THROUGHPUT)),
            Column::new("CPU, ours ÷ it", 2, |at| bridged(&contenders, at).and(results.ratio(0, at, COST))),
        ],
    );
    Ok(verdicts(&contenders, &results))
}

fn run(context: &BenchContext, contender: &Contender, total: u64) -> Result<Vec<f64>> {
    let dir = context.run_dir()?;
    let server = load::listen()?;
    let bridge = contender.start(&context.programs, server.local_addr()?.port(), dir.path())?;
    let (client, server) = load::session(bridge.port, &server)?;
    // The session exists before and after, so that the cost of starts and ends is excluded and every process
    // is counted.
    let cpu = tree::cpu_seconds()?;
    let elapsed = load::pour(&client, &server, &context.payload, total)?;
    let cpu = tree::cpu_seconds()? - cpu;
    Ok(vec![total as f64 / 1e6 / elapsed.as_secs_f64(), cpu / (total as f64 / 1e9)])
}

/// A direct connection has no bridge that could cost anything.
fn bridged(contenders: &[Contender], at: usize) -> Option<()> {
    (contenders[at].program != Program::Direct).then_some(())
}

/// Compares with the best of the peers in each round.
fn verdicts(contenders: &[Contender], results: &Results) -> Vec<Verdict> {
    let peers: Vec<_> = (0..contenders.len())
        .filter(|at| !matches!(contenders[*at].program, Program::Ours | Program::Direct))
        .collect();
    let against = |figure, better| {
        results.median(|round| Some(round.get(0, figure)? / round.best(&peers, figure, better)?))
    };
    vec![
        Verdict::new(
            "bulk, nothing recorded, throughput",
            "best peer",
            against(THROUGHPUT, f64::max),
            Target::Least(1.1),
        ),
        Verdict::new("the same, CPU per GB", "best peer", against(COST, f64::min), Target::Most(0.6)),
    ]
}
