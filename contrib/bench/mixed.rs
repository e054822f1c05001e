//! One bulk transfer beside fifty sessions of requests; measures the latency of the requests.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::chat::Chat;
use crate::context::BenchContext;
use crate::peers::{Contender, Program};
use crate::report::{Column, Target, Verdict, table};
use crate::requests::tails;
use crate::rounds;
use crate::{Result, load};

const CLIENTS: usize = 50;

const RATE: usize = 0;
const MEAN: usize = 1;
const P50: usize = 2;
const P99: usize = 3;
const P999: usize = 4;
const MAX: usize = 5;
const BULK: usize = 6;

pub(crate) fn measure(context: &BenchContext) -> Result<Vec<Verdict>> {
    let contenders = context.programs.present(vec![
        Contender::new(Program::Direct, ""),
        Contender::new(Program::Ours, "-q -F 64 -f null"),
        Contender::new(Program::Ours, "-q -F 64 -f raw -o DIR/raw"),
        Contender::new(Program::Original, "-q -F 64 -f raw -o DIR/raw"),
        Contender::new(Program::Haproxy, ""),
        Contender::new(Program::Socat, "-r DIR/r -R DIR/R").many(),
    ]);
    let requests = usize::try_from(context.options.scaled(16_000))?;
    let results = rounds::run(&context.options, "mixed", contenders.len(), |at| {
        run(context, &contenders[at], requests)
    });
    let of = |at, figure| results.figure(at, figure);
    let of = &of;
    let labels: Vec<_> = contenders.iter().map(|contender| contender.label.clone()).collect();
    let times = [("mean µs", MEAN), ("p50", P50), ("p99", P99), ("p99.9", P999), ("max", MAX)];
    let mut columns = vec![Column::new("requests per second", 0, |at| results.figure(at, RATE))];
    columns.extend(times.map(|(heading, figure)| Column::new(heading, 0, move |at| of(at, figure))));
    columns.push(Column::new("bulk MB/s", 0, |at| results.figure(at, BULK)));
    table(
        &format!("One bulk transfer beside {CLIENTS} clients ({requests} requests)"),
        &labels,
        &results,
        &columns,
    );

    let place = |program: Program, format: &str| {
        contenders.iter().position(|it| it.program == program && it.label.contains(format))
    };
    let verdict = |format: &str| {
        let ours = place(Program::Ours, format).zip(place(Program::Haproxy, ""));
        let measured = ours.and_then(|(ours, haproxy)| results.ratio(ours, haproxy, P99));
        Verdict::new(&format!("chatty p99 beside bulk, `{format}`"), "haproxy", measured, Target::Most(1.5))
    };
    Ok(vec![verdict("null"), verdict("raw")])
}

fn run(context: &BenchContext, contender: &Contender, requests: usize) -> Result<Vec<f64>> {
    let dir = context.run_dir()?;
    let server = load::listen()?;
    let bridge = contender.start(&context.programs, server.local_addr()?.port(), dir.path())?;
    let chat = Chat::open(bridge.port, &server, CLIENTS)?;
    let (client, sink) = load::session(bridge.port, &server)?;
    let (latencies, bytes) = thread::scope(|scope| {
        let pouring = scope.spawn(|| pour(&client, &context.payload));
        let draining = scope.spawn(|| drain(&sink));
        let latencies = chat.talk(requests, 1);
        let _ = (client.shutdown(Shutdown::Both), sink.shutdown(Shutdown::Both));
        let _ = pouring.join();
        let bytes = draining.join().map_err(|_| "the sink panicked")?;
        Ok::<_, crate::Error>((latencies?, bytes))
    })?;
    let mut figures = vec![requests as f64 / latencies.elapsed];
    figures.extend(tails(&latencies));
    figures.push(bytes as f64 / 1e6 / latencies.elapsed);
    Ok(figures)
}

/// Until the connection is shut down.
fn pour(mut client: &TcpStream, payload: &[u8]) {
    while client.write_all(payload).is_ok() {}
}

fn drain(mut sink: &TcpStream) -> u64 {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match sink.read(&mut buffer) {
            Ok(length @ 1..) => total += length as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return total,
        }
    }
}
