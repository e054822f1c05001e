//! A stream of small writes in one direction, like a log shipper's: lines of 100 bytes, one write each.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use crate::context::BenchContext;
use crate::peers::{Contender, Program};
use crate::report::{Column, Target, Verdict, table};
use crate::rounds;
use crate::{Result, load, tree};

const LINE: usize = 100;

const THROUGHPUT: usize = 0;
const COST: usize = 1;

const RAW: usize = 1;

pub(crate) fn measure(context: &BenchContext) -> Result<Vec<Verdict>> {
    let contenders = context.programs.present(vec![
        Contender::new(Program::Direct, ""),
        Contender::new(Program::Ours, "-q -f raw -o DIR/raw"),
        Contender::new(Program::Ours, "-q -f null"),
        Contender::new(Program::Original, "-q -f raw -o DIR/raw"),
        Contender::new(Program::Socat, "-r DIR/r"),
        Contender::new(Program::Haproxy, ""),
    ]);
    let lines = context.options.scaled(400_000);
    let results =
        rounds::run(&context.options, "lines", contenders.len(), |at| run(context, &contenders[at], lines));
    let bridged = |at: usize| (contenders[at].program != Program::Direct).then_some(());
    let labels: Vec<_> = contenders.iter().map(|contender| contender.label.clone()).collect();
    table(
        &format!("Small writes one way ({lines} lines of {LINE} bytes)"),
        &labels,
        &results,
        &[
            Column::new("MB/s", 1, |at| results.figure(at, THROUGHPUT)),
            Column::new("CPU µs per line", 2, |at| bridged(at).and(results.figure(at, COST))),
            Column::new("MB/s, ours raw ÷ it", 2, |at| results.ratio(RAW, at, THROUGHPUT)),
        ],
    );
    let against = |program: Program, target| {
        let other = contenders.iter().position(|contender| contender.program == program);
        let measured = other.and_then(|other| results.ratio(RAW, other, THROUGHPUT));
        Verdict::new(
            "small writes one way, `raw`, throughput",
            program.name(),
            measured,
            Target::Least(target),
        )
    };
    Ok(vec![against(Program::Original, 1.5), against(Program::Socat, 1.0)])
}

fn run(context: &BenchContext, contender: &Contender, lines: u64) -> Result<Vec<f64>> {
    let dir = context.run_dir()?;
    let server = load::listen()?;
    let bridge = contender.start(&context.programs, server.local_addr()?.port(), dir.path())?;
    let (client, server) = load::session(bridge.port, &server)?;
    ship(&client, &server, lines / 10)?;
    let cpu = tree::cpu_seconds()?;
    let start = Instant::now();
    ship(&client, &server, lines)?;
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = tree::cpu_seconds()? - cpu;
    Ok(vec![lines as f64 * LINE as f64 / 1e6 / elapsed, cpu * 1e6 / lines as f64])
}

/// Sends lines and waits until they have arrived.
fn ship(client: &TcpStream, server: &TcpStream, lines: u64) -> Result<()> {
    let mut line = [b'.'; LINE];
    line[LINE - 1] = b'\n';
    thread::scope(|scope| {
        let sender = scope.spawn(move || -> Result<()> {
            let mut client = client;
            Ok((0..lines).try_for_each(|_| client.write_all(&line))?)
        });
        let mut server = server;
        let mut buffer = vec![0; 256 << 10];
        let mut missing = lines * LINE as u64;
        while missing > 0 {
            match server.read(&mut buffer)? {
                0 => return Err("the session ended".into()),
                length => missing = missing.saturating_sub(length as u64),
            }
        }
        sender.join().map_err(|_| "the sender panicked")?
    })
}
