//! Clients that send requests and wait for the answers, served by one thread, like `redis-benchmark`; and a
//! single-threaded echo server.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::{Result, load};

/// Length of a request, and of its answer.
pub(crate) const MESSAGE: usize = 64;

/// Milliseconds in which at least one answer must come.
const PATIENCE: u16 = 20_000;

/// Milliseconds between the server's checks for its end.
const LOOK: u16 = 20;

/// Established sessions.
pub(crate) struct Chat {
    clients: Vec<TcpStream>,
    servers: Vec<TcpStream>,
}

/// Latencies of one run in microseconds, sorted.
pub(crate) struct Latencies {
    sorted: Vec<f64>,
    /// Seconds from the first request to the last answer.
    pub(crate) elapsed: f64,
}

impl Latencies {
    pub(crate) fn new(mut times: Vec<f64>, elapsed: f64) -> Self {
        times.sort_by(f64::total_cmp);
        Self { sorted: times, elapsed }
    }

    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let last = self.sorted.len().saturating_sub(1);
        self.sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sorted.iter().sum::<f64>() / self.sorted.len() as f64
    }
}

impl Chat {
    /// Opens sessions one after the other; their rate is measured elsewhere.
    pub(crate) fn open(port: u16, server: &TcpListener, sessions: usize) -> Result<Self> {
        let pairs = (0..sessions).map(|_| load::session(port, server)).collect::<Result<Vec<_>>>()?;
        let (clients, servers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        clients.iter().chain(&servers).try_for_each(|stream| stream.set_nonblocking(true))?;
        Ok(Self { clients, servers })
    }

    /// Sends `exchanges` times `pipeline` requests and waits for their answers, on all sessions at once.
    pub(crate) fn talk(&self, exchanges: usize, pipeline: usize) -> Result<Latencies> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let server = scope.spawn(|| echo(&self.servers, &done));
            let latencies = ask(&self.clients, exchanges, pipeline);
            done.store(true, Ordering::Relaxed);
            server.join().map_err(|_| "the server panicked")??;
            latencies
        })
    }
}

fn watch(streams: &[TcpStream]) -> Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (at, stream) in streams.iter().enumerate() {
        epoll.add(stream, EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
    }
    Ok(epoll)
}

/// Reads available data; returns 0 if there is none.
fn read(mut stream: &TcpStream, buffer: &mut [u8]) -> Result<usize> {
    match stream.read(buffer) {
        Ok(0) => Err("a session ended".into()),
        Ok(length) => Ok(length),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn echo(servers: &[TcpStream], done: &AtomicBool) -> Result<()> {
    let epoll = watch(servers)?;
    let mut events = [EpollEvent::empty(); 256];
    let mut buffer = [0; 16 * 1024];
    while !done.load(Ordering::Relaxed) {
        let ready = epoll.wait(&mut events, EpollTimeout::from(LOOK))?;
        for event in &events[..ready] {
            let mut stream = &servers[usize::try_from(event.data())?];
            let length = read(stream, &mut buffer)?;
            // Data in flight fits into the socket's buffer.
            stream.write_all(&buffer[..length])?;
        }
    }
    Ok(())
}

/// A session, seen by the client.
#[derive(Clone, Copy)]
struct Exchange {
    since: Instant,
    missing: usize,
}

fn ask(clients: &[TcpStream], exchanges: usize, pipeline: usize) -> Result<Latencies> {
    let epoll = watch(clients)?;
    let request = vec![b'q'; MESSAGE * pipeline];
    let mut buffer = vec![0; MESSAGE * pipeline];
    let mut events = [EpollEvent::empty(); 256];
    let mut times = Vec::with_capacity(exchanges);
    let start = Instant::now();
    let send = |mut client: &TcpStream| -> Result<Exchange> {
        let since = Instant::now();
        client.write_all(&request)?;
        Ok(Exchange { since, missing: request.len() })
    };
    let mut under_way = clients.iter().take(exchanges).map(send).collect::<Result<Vec<_>>>()?;
    let mut sent = under_way.len();
    while times.len() < exchanges {
        let ready = epoll.wait(&mut events, EpollTimeout::from(PATIENCE))?;
        if ready == 0 {
            return Err("no answer comes".into());
        }
        for event in &events[..ready] {
            let at = usize::try_from(event.data())?;
            under_way[at].missing -= read(&clients[at], &mut buffer)?;
            if under_way[at].missing == 0 {
                times.push(under_way[at].since.elapsed().as_secs_f64() * 1e6);
                if sent < exchanges {
                    under_way[at] = send(&clients[at])?;
                    sent += 1;
                }
            }
        }
    }
    Ok(Latencies::new(times, start.elapsed().as_secs_f64()))
}
