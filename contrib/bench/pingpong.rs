//! 16 bytes in each direction, repeatedly: latency added by a bridge.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Instant;

use crate::chat::Latencies;
use crate::context::BenchContext;
use crate::peers::{Contender, Program};
use crate::report::{Column, Target, Verdict, table};
use crate::requests::tails;
use crate::rounds;
use crate::{Result, load};

const P50: usize = 0;
const P99: usize = 1;
const MEAN: usize = 2;
const P999: usize = 3;
const MAX: usize = 4;

const DIRECT: usize = 0;
const RECORDING: usize = 2;
const PACKETS: usize = 3;

pub(crate) fn measure(context: &BenchContext) -> Result<Vec<Verdict>> {
    let contenders = context.programs.present(vec![
        Contender::new(Program::Direct, ""),
        Contender::new(Program::Ours, "-q -f null"),
        Contender::new(Program::Ours, "-q -f raw -o DIR/raw"),
        Contender::new(Program::Ours, "-q -f pcapng -o DIR/pcapng"),
        Contender::new(Program::Original, "-q -f null"),
        Contender::new(Program::Original, "-q -f raw -o DIR/raw"),
        Contender::new(Program::Socat, ""),
        Contender::new(Program::Haproxy, ""),
        Contender::new(Program::Rinetd, ""),
        Contender::new(Program::Simpleproxy, ""),
        Contender::new(Program::Sslsplit, "").label("sslsplit `tcp`"),
    ]);
    let trips = usize::try_from(context.options.scaled(8000))?;
    let results = rounds::run(&context.options, "pingpong", contenders.len(), |at| {
        let dir = context.run_dir()?;
        let server = load::listen()?;
        let bridge = contenders[at].start(&context.programs, server.local_addr()?.port(), dir.path())?;
        let (client, server) = load::session(bridge.port, &server)?;
        let times = thread::scope(|scope| {
            // It ends with the connection, in whatever way.
            scope.spawn(|| load::echo(&server));
            let times = round_trips(&client, trips / 10).and_then(|_| round_trips(&client, trips));
            client.shutdown(Shutdown::Both)?;
            times
        })?;
        let latencies = Latencies::new(times, 0.0);
        let [mean, p50, p99, p999, max] = tails(&latencies);
        Ok(vec![p50, p99, mean, p999, max])
    });

    let added = |at| results.median(|round| Some(round.get(at, P50)? - round.get(DIRECT, P50)?));
    // If both sides of the fraction are close to zero, it has no meaning.
    let ours_to = |at: usize| {
        results.median(|round| {
            let direct = round.get(DIRECT, P50)?;
            Some((round.get(RECORDING, P50)? - direct) / (round.get(at, P50)? - direct))
        })
    };
    let labels: Vec<_> = contenders.iter().map(|contender| contender.label.clone()).collect();
    table(
        &format!("Ping-pong of 16 bytes ({trips} round trips)"),
        &labels,
        &results,
        &[
            Column::new("mean µs", 1, |at| results.figure(at, MEAN)),
            Column::new("p50", 1, |at| results.figure(at, P50)),
            Column::new("p99", 1, |at| results.figure(at, P99)),
            Column::new("p99.9", 1, |at| results.figure(at, P999)),
            Column::new("max", 0, |at| results.figure(at, MAX)),
            Column::new("p50 added µs", 1, |at| if at == DIRECT { None } else { added(at) }),
            Column::new("added, ours recording ÷ it", 2, |at| if at == DIRECT { None } else { ours_to(at) }),
        ],
    );
    let haproxy = contenders.iter().position(|contender| contender.program == Program::Haproxy);
    Ok(vec![
        Verdict::new(
            "ping-pong, recording `raw`, p50 added over direct",
            "haproxy, not recording",
            haproxy.and_then(ours_to),
            Target::Most(1.0),
        ),
        Verdict::new(
            "ping-pong, recording `pcapng`, p50",
            "our own `raw`",
            results.ratio(PACKETS, RECORDING, P50),
            Target::Most(1.05),
        ),
    ])
}

/// Times of round trips, in microseconds.
fn round_trips(mut client: &TcpStream, trips: usize) -> Result<Vec<f64>> {
    let mut message = *b"sixteen bytes...";
    let mut times = Vec::with_capacity(trips);
    for _ in 0..trips {
        let start = Instant::now();
        client.write_all(&message)?;
        client.read_exact(&mut message)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}
