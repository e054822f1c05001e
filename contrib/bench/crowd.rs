//! A thousand busy sessions at once, compared with a single one that moves the same number of bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::context::BenchContext;
use crate::peers::{Contender, Program};
use crate::report::{Column, Target, Verdict, table};
use crate::rounds;
use crate::{Result, load, tree};

const SESSIONS: usize = 1000;
const CHUNK: usize = 256 << 10;
/// Milliseconds in which at least one session must progress.
const PATIENCE: u16 = 30_000;

const THROUGHPUT: usize = 0;
const COST: usize = 1;

pub(crate) fn measure(context: &BenchContext) -> Result<Vec<Verdict>> {
    allow_files(SESSIONS as u64 * 2 + 200)?;
    let each = context.options.scaled(1 << 20);
    let rows: Vec<_> = [(Program::Ours, "-q -f null"), (Program::Direct, "")]
        .into_iter()
        .flat_map(|(program, options)| [(program, options, SESSIONS), (program, options, 1)])
        .map(|(program, options, sessions)| match program {
            Program::Ours => (Contender::new(program, &format!("{options} -F {sessions}")), sessions),
            _ => (Contender::new(program, options), sessions),
        })
        .collect();
    let results = rounds::run(&context.options, "crowd", rows.len(), |at| {
        let (contender, sessions) = &rows[at];
        run(context, contender, *sessions, each * (SESSIONS / sessions) as u64)
    });

    let labels: Vec<_> = rows
        .iter()
        .map(|(contender, sessions)| match sessions {
            1 => format!("{}, one session", contender.label),
            n => format!("{}, {n} sessions", contender.label),
        })
        .collect();
    let total = (each * SESSIONS as u64) >> 20;
    table(
        &format!("A crowd of sessions ({total} MiB in all)"),
        &labels,
        &results,
        &[
            Column::new("MB/s", 0, |at| results.figure(at, THROUGHPUT)),
            Column::new("CPU s/GB", 3, |at| if at < 2 { results.figure(at, COST) } else { None }),
            Column::new("MB/s, ÷ one session", 2, |at| results.ratio(at, at | 1, THROUGHPUT)),
        ],
    );
    Ok(vec![Verdict::new(
        "1,000 concurrent sessions, aggregate throughput",
        "one session of ours",
        results.ratio(0, 1, THROUGHPUT),
        Target::Least(0.8),
    )])
}

/// Both ends of all sessions belong to this process.
fn allow_files(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < needed {
        return Err(format!("{needed} open files needed, {hard} allowed").into());
    }
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard)?;
    }
    Ok(())
}

fn run(context: &BenchContext, contender: &Contender, sessions: usize, each: u64) -> Result<Vec<f64>> {
    let dir = context.run_dir()?;
    let server = load::listen()?;
    let bridge = contender.start(&context.programs, server.local_addr()?.port(), dir.path())?;
    // One at a time: the rate of connections is not measured here.
    let ends: Vec<_> = (0..sessions).map(|_| load::session(bridge.port, &server)).collect::<Result<_>>()?;
    let (clients, servers): (Vec<_>, Vec<_>) = ends.into_iter().unzip();

    let cpu = tree::cpu_seconds()?;
    let start = Instant::now();
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(&clients, &context.payload, each));
        let received = drain(&servers, each);
        let sent = sender.join().map_err(|_| "the sender panicked")?;
        received.and(sent)
    })?;
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = tree::cpu_seconds()? - cpu;
    let total = each as f64 * sessions as f64;
    Ok(vec![total / 1e6 / elapsed, cpu / (total / 1e9)])
}

fn send(clients: &[TcpStream], payload: &[u8], each: u64) -> Result<()> {
    // Each at its own position in the payload.
    drive(clients, EpollFlags::EPOLLOUT, each, |mut client, left| {
        let at = usize::try_from(left)? % (payload.len() - CHUNK);
        Ok(client.write(&payload[at..at + CHUNK.min(usize::try_from(left)?)]))
    })
}

fn drain(servers: &[TcpStream], each: u64) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    drive(servers, EpollFlags::EPOLLIN, each, |mut server, _| Ok(server.read(&mut buffer)))
}

/// Moves `each` bytes on every stream as it becomes ready; `step` gets the number of remaining bytes.
fn drive(
    streams: &[TcpStream],
    readiness: EpollFlags,
    each: u64,
    mut step: impl FnMut(&TcpStream, u64) -> Result<std::io::Result<usize>>,
) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (at, stream) in streams.iter().enumerate() {
        stream.set_nonblocking(true)?;
        epoll.add(stream, EpollEvent::new(readiness, at as u64))?;
    }
    let mut left = vec![each; streams.len()];
    let mut unfinished = streams.len();
    let mut events = vec![EpollEvent::empty(); 256];
    while unfinished > 0 {
        let ready = epoll.wait(&mut events, EpollTimeout::from(PATIENCE))?;
        if ready == 0 {
            return Err(format!("{unfinished} sessions stand still").into());
        }
        for event in &events[..ready] {
            let at = usize::try_from(event.data())?;
            match step(&streams[at], left[at])? {
                Ok(0) => return Err("a session ended early".into()),
                Ok(n) => left[at] -= n as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            if left[at] == 0 {
                epoll.delete(&streams[at])?;
                unfinished -= 1;
            }
        }
    }
    Ok(())
}
