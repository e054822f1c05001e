//! Connect, one byte in each direction, reset: the cost of an empty session. Without sslsplit, which
//! sometimes loses a first byte that comes while the server is still being connected.

use std::io::{Read, Write};
use std::time::Instant;

use crate::context::BenchContext;
use crate::load::{self, EchoServer};
use crate::peers::{Contender, Program};
use crate::report::{Column, Target, Verdict, table};
use crate::rounds;
use crate::{Result, tree};

/// Our rows: without times in the record, and with them.
const OURS: usize = 0;
const WITH_TIME: usize = 1;

const RATE: usize = 0;
const COST: usize = 1;

pub(crate) fn measure(context: &BenchContext) -> Result<Vec<Verdict>> {
    let contenders = context.programs.present(vec![
        Contender::new(Program::Ours, "-q -F 64 -f null -o DIR/null"),
        Contender::new(Program::Ours, "-q -F 64 --time=clock -f null -o DIR/null"),
        Contender::new(Program::Direct, ""),
        Contender::new(Program::Original, "-q -F 16 -f null"),
        // A file for each connection: it has no other mode.
        Contender::new(Program::Original, "-q -F 16 -f null -o DIR/null"),
        Contender::new(Program::Socat, "").many().label("socat `fork`"),
        Contender::new(Program::Haproxy, ""),
        Contender::new(Program::Rinetd, ""),
        Contender::new(Program::Simpleproxy, ""),
    ]);
    let sessions = context.options.scaled(1600);
    let results = rounds::run(&context.options, "connections", contenders.len(), |at| {
        let dir = context.run_dir()?;
        let server = EchoServer::start()?;
        let bridge = contenders[at].start(&context.programs, server.port, dir.path())?;
        for _ in 0..sessions / 20 {
            visit(bridge.port)?;
        }
        let cpu = tree::cpu_seconds()?;
        let start = Instant::now();
        for _ in 0..sessions {
            visit(bridge.port)?;
        }
        let elapsed = start.elapsed().as_secs_f64();
        let cpu = tree::cpu_seconds()? - cpu;
        Ok(vec![sessions as f64 / elapsed, cpu * 1e6 / sessions as f64])
    });

    let bridged = |at: usize| (contenders[at].program != Program::Direct).then_some(());
    let labels: Vec<_> = contenders.iter().map(|contender| contender.label.clone()).collect();
    table(
        &format!("Connect, one byte, reset: {sessions} sessions, one after the other"),
        &labels,
        &results,
        &[
            Column::new("per second", 0, |at| results.figure(at, RATE)),
            Column::new("CPU µs each", 0, |at| bridged(at).and(results.figure(at, COST))),
            Column::new("per second, ours ÷ it", 2, |at| results.ratio(OURS, at, RATE)),
            Column::new("CPU, ours ÷ it", 2, |at| bridged(at).and(results.ratio(OURS, at, COST))),
        ],
    );
    // Of the original's two rows the first, which is faster.
    let verdict = |program: Program, target| {
        let other = contenders.iter().position(|contender| contender.program == program);
        let measured = other.and_then(|other| results.ratio(OURS, other, RATE));
        let work = "connect + 1 byte + reset, recording `null`, per second";
        Verdict::new(work, program.name(), measured, Target::Least(target))
    };
    Ok(vec![
        verdict(Program::Simpleproxy, 1.15),
        verdict(Program::Original, 1.5),
        verdict(Program::Haproxy, 0.65),
        Verdict::new(
            "the same with `--time=clock`, per second",
            "our own without the option",
            results.ratio(WITH_TIME, OURS, RATE),
            Target::Least(0.98),
        ),
    ])
}

fn visit(port: u16) -> Result<()> {
    let mut client = load::connect(port)?;
    client.write_all(b"x")?;
    client.read_exact(&mut [0])?;
    load::reset(client)
}
