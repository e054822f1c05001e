//! Requests and answers of 64 bytes: the most common kind of traffic. Rates, tails and costs, because a
//! median hides a pause that affects one request in a thousand.

use crate::chat::{Chat, Latencies};
use crate::context::BenchContext;
use crate::peers::{Contender, Program};
use crate::report::{Column, Target, Verdict, table};
use crate::rounds::{self, Results};
use crate::{Result, load, tree};

const RATE: usize = 0;
const MEAN: usize = 1;
const P50: usize = 2;
const P99: usize = 3;
const P999: usize = 4;
const MAX: usize = 5;
const COST: usize = 6;

/// Clients at a time, requests in one write, requests in all.
const LOADS: [(usize, usize, u64); 5] =
    [(1, 1, 12_000), (10, 1, 32_000), (50, 1, 40_000), (200, 1, 40_000), (50, 16, 160_000)];

pub(crate) fn measure(context: &BenchContext) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    for load in LOADS {
        let contenders = contenders(context);
        let (clients, pipeline, total) = load;
        let requests = usize::try_from(context.options.scaled(total))?;
        let results = rounds::run(&context.options, "requests", contenders.len(), |at| {
            run(context, &contenders[at], clients, pipeline, requests)
        });
        let title = match pipeline {
            1 => format!("Requests of {clients} clients ({requests} of 64 bytes, answers alike)"),
            _ => format!(
                "Requests of {clients} clients, {pipeline} at a time ({requests}, times of {pipeline})"
            ),
        };
        print(&title, &contenders, &results);
        if pipeline == 1 {
            verdicts.extend(judge(&contenders, &results, clients));
        }
    }
    Ok(verdicts)
}

fn contenders(context: &BenchContext) -> Vec<Contender> {
    context.programs.present(vec![
        Contender::new(Program::Direct, ""),
        Contender::new(Program::Ours, "-q -F 256 -f null"),
        Contender::new(Program::Ours, "-q -F 256 -f raw -o DIR/raw"),
        Contender::new(Program::Ours, "-q -F 256 -f C -o DIR/C"),
        Contender::new(Program::Original, "-q -F 256 -f raw -o DIR/raw"),
        Contender::new(Program::Haproxy, ""),
        Contender::new(Program::Socat, "-r DIR/r -R DIR/R").many(),
    ])
}

fn run(
    context: &BenchContext,
    contender: &Contender,
    clients: usize,
    pipeline: usize,
    requests: usize,
) -> Result<Vec<f64>> {
    let dir = context.run_dir()?;
    let server = load::listen()?;
    let bridge = contender.start(&context.programs, server.local_addr()?.port(), dir.path())?;
    let chat = Chat::open(bridge.port, &server, clients)?;
    chat.talk(requests / pipeline / 10, pipeline)?;
    let cpu = tree::cpu_seconds()?;
    let latencies = chat.talk(requests / pipeline, pipeline)?;
    let cpu = tree::cpu_seconds()? - cpu;
    let mut figures = vec![requests as f64 / latencies.elapsed];
    figures.extend(tails(&latencies));
    figures.push(cpu * 1e6 / requests as f64);
    Ok(figures)
}

/// Mean, p50, p99, p99.9 and maximum.
pub(crate) fn tails(latencies: &Latencies) -> [f64; 5] {
    let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|part| latencies.quantile(part));
    [latencies.mean(), p50, p99, p999, max]
}

fn print(title: &str, contenders: &[Contender], results: &Results) {
    let raw = place(contenders, Program::Ours, "raw");
    let of = |at, figure| results.figure(at, figure);
    let of = &of;
    let labels: Vec<_> = contenders.iter().map(|contender| contender.label.clone()).collect();
    let bridged = |at: usize| (contenders[at].program != Program::Direct).then_some(());
    let times = [("mean µs", MEAN), ("p50", P50), ("p99", P99), ("p99.9", P999), ("max", MAX)];
    let mut columns = vec![Column::new("per second", 0, |at| results.figure(at, RATE))];
    columns.extend(times.map(|(heading, figure)| Column::new(heading, 0, move |at| of(at, figure))));
    columns.push(Column::new("CPU µs each", 1, |at| bridged(at).and(results.figure(at, COST))));
    columns.push(Column::new("per second, ours raw ÷ it", 2, |at| results.ratio(raw?, at, RATE)));
    table(title, &labels, results, &columns);
}

fn place(contenders: &[Contender], program: Program, format: &str) -> Option<usize> {
    contenders.iter().position(|it| it.program == program && it.label.contains(format))
}

fn judge(contenders: &[Contender], results: &Results, clients: usize) -> Vec<Verdict> {
    let [raw, null] = ["raw", "null"].map(|format| place(contenders, Program::Ours, format));
    let original = place(contenders, Program::Original, "raw");
    let haproxy = place(contenders, Program::Haproxy, "");
    let ratio = |one: Option<usize>, other: Option<usize>, figure| results.ratio(one?, other?, figure);
    let against_original = |work: &str, figure, target| {
        let work = format!("{clients} clients, `raw`, {work}");
        Verdict::new(&work, "tcpreen 1.4.4 `raw`", ratio(raw, original, figure), target)
    };
    let mut verdicts = vec![
        against_original("requests per second", RATE, Target::Least(1.15)),
        against_original("maximum", MAX, Target::Most(1.5)),
    ];
    if clients > 1 {
        verdicts.push(against_original("p99", P99, Target::Most(1.0)));
        verdicts.push(against_original("p99.9", P999, Target::Most(1.5)));
    }
    if clients == 50 {
        verdicts.push(against_original("CPU per request", COST, Target::Most(1.1)));
    }
    if clients >= 50 {
        let work = format!("{clients} clients, `null`, requests per second");
        verdicts.push(Verdict::new(&work, "haproxy", ratio(null, haproxy, RATE), Target::Least(0.85)));
    }
    verdicts
}
