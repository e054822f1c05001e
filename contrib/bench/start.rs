//! Time from the start of a program until it reports that it listens.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::bridge::{Bridge, free_port};
use crate::context::BenchContext;
use crate::peers::{Contender, Program};
use crate::report::{Column, Target, Verdict, table};
use crate::rounds::{self, median};
use crate::{Result, load, signals};

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn measure(context: &BenchContext) -> Result<Vec<Verdict>> {
    let contenders = context.programs.present(vec![
        Contender::new(Program::Ours, "-f null"),
        Contender::new(Program::Original, "-f null"),
    ]);
    let starts = if context.options.quick { 5 } else { 20 };
    let results = rounds::run(&context.options, "start", contenders.len(), |at| {
        let times = (0..starts).map(|_| start(context, &contenders[at])).collect::<Result<_>>()?;
        Ok(vec![median(times).ok_or("no start")?])
    });

    let more = |at| results.median(|round| Some(round.get(0, 0)? - round.get(at, 0)?));
    let labels: Vec<_> = contenders.iter().map(|contender| contender.label.clone()).collect();
    table(
        &format!("Start to \"Listening on\" ({starts} starts a round)"),
        &labels,
        &results,
        &[
            Column::new("ms", 2, |at| results.figure(at, 0)),
            Column::new("ms that ours takes more", 2, more),
            Column::new("ours ÷ it", 2, |at| results.ratio(0, at, 0)),
        ],
    );
    let original = contenders.iter().position(|contender| contender.program == Program::Original);
    Ok(vec![Verdict::new(
        "start to \"Listening on\"",
        Program::Original.name(),
        original.and_then(more),
        Target::MoreMilliseconds(30.0),
    )])
}

/// In milliseconds. Measures the line, not the port: the line promises that all processes are ready.
fn start(context: &BenchContext, contender: &Contender) -> Result<f64> {
    let dir = context.run_dir()?;
    let server = load::listen()?.local_addr()?.port();
    let port = free_port()?;
    let mut command = contender.command(&context.programs, server, port, dir.path())?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());

    let start = Instant::now();
    let mut bridge = Bridge::adopt(signals::spawn(&mut command)?, port);
    let stderr = bridge.child().and_then(|child| child.stderr.take()).ok_or("no stderr")?;
    let (told, tell) = mpsc::channel();
    // Reads to the end, so that no program writes into a closed pipe.
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(|line| line.ok()) {
            if line.starts_with("Listening on") {
                let _ = told.send(Instant::now());
            }
        }
    });
    let listening = tell.recv_timeout(PATIENCE).map_err(|_| "never said \"Listening on\"")?;
    Ok((listening - start).as_secs_f64() * 1e3)
}
