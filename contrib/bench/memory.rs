//! Memory of an idle session: proportional set size of all processes, with and without 64 sessions. Without
//! sslsplit, which cannot hold that number (see `connections`).

use std::thread;
use std::time::Duration;

use crate::context::BenchContext;
use crate::peers::{Contender, Program};
use crate::report::{Column, Target, Verdict, table};
use crate::rounds;
use crate::{Result, load, tree};

const SESSIONS: usize = 64;

/// A program with sessions and, if different, its command line for the measurement without sessions.
struct Row {
    contender: Contender,
    without: Option<Contender>,
}

pub(crate) fn measure(context: &BenchContext) -> Result<Vec<Verdict>> {
    let row = |contender| Row { contender, without: None };
    let mut rows = vec![
        row(Contender::new(Program::Ours, "-q -F 64 -f null")),
        // The original forks a process per session in advance and keeps it, which counts as part of a
        // session. Its memory without sessions is that with the minimum number of processes.
        Row {
            contender: Contender::new(Program::Original, "-q -F 64 -f null")
                .label("tcpreen 1.4.4, session and its preforked twin"),
            without: Some(Contender::new(Program::Original, "-q -F 1 -f null")),
        },
        row(Contender::new(Program::Original, "-q -F 64 -f null").label("tcpreen 1.4.4, session alone")),
        row(Contender::new(Program::Socat, "").many().label("socat `fork`")),
        row(Contender::new(Program::Haproxy, "")),
        row(Contender::new(Program::Rinetd, "")),
        row(Contender::new(Program::Simpleproxy, "")),
    ];
    rows.retain(|row| context.programs.has(row.contender.program));
    let results = rounds::run(&context.options, "memory", rows.len(), |at| {
        let Row { contender, without } = &rows[at];
        let without = match without {
            Some(without) => Some(pss(context, without, 0)?.0),
            None => None,
        };
        let (before, during) = pss(context, contender, SESSIONS)?;
        Ok(vec![(during - without.unwrap_or(before)) / SESSIONS as f64])
    });

    let labels: Vec<_> = rows.iter().map(|row| row.contender.label.clone()).collect();
    table(
        &format!("Memory per idle session ({SESSIONS} of them, whole process tree)"),
        &labels,
        &results,
        &[
            Column::new("KiB PSS", 1, |at| results.figure(at, 0)),
            Column::new("ours ÷ it", 2, |at| results.ratio(0, at, 0)),
        ],
    );
    let original = rows.iter().position(|row| row.contender.program == Program::Original);
    Ok(vec![Verdict::new(
        "memory per idle session",
        "tcpreen 1.4.4, session and its preforked twin",
        original.and_then(|original| results.ratio(0, original, 0)),
        Target::Most(0.7),
    )])
}

/// Before any session, and with the given number.
fn pss(context: &BenchContext, contender: &Contender, sessions: usize) -> Result<(f64, f64)> {
    let dir = context.run_dir()?;
    let server = load::listen()?;
    let bridge = contender.start(&context.programs, server.local_addr()?.port(), dir.path())?;
    let before = settled_pss()?;
    let _open: Vec<_> = (0..sessions).map(|_| load::session(bridge.port, &server)).collect::<Result<_>>()?;
    Ok((before, settled_pss()?))
}

/// A preforking program may still be forking: measures until the result is stable.
fn settled_pss() -> Result<f64> {
    let mut last = tree::pss_kib()?;
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(20));
        let now = tree::pss_kib()?;
        if (now - last).abs() < 1.0 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
