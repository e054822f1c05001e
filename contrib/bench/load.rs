//! The two ends of the sessions: client and server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::{Error, Result};

/// Maximum duration of any operation.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server socket whose `accept` gives up after a while.
pub(crate) fn listen() -> Result<TcpListener> {
    listen_for(PATIENCE)
}

fn listen_for(patience: Duration) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let timeout = TimeVal::new(patience.as_secs().try_into()?, patience.subsec_micros().into());
    setsockopt(&listener, sockopt::ReceiveTimeout, &timeout)?;
    Ok(listener)
}

fn prepared(stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(crate) fn connect(port: u16) -> Result<TcpStream> {
    prepared(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)
}

/// Opens a session and passes a byte, after which every process of the session exists.
pub(crate) fn session(port: u16, server: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let mut client = connect(port)?;
    let (accepted, _) = server.accept().map_err(|error| format!("no connection at the server: {error}"))?;
    let mut server = prepared(accepted)?;
    client.write_all(b"x")?;
    // A bridge that has not forwarded a single byte by then never will.
    server.set_read_timeout(Some(Duration::from_secs(3)))?;
    server.read_exact(&mut [0]).map_err(|error| format!("the first byte doesn't arrive: {error}"))?;
    server.set_read_timeout(Some(PATIENCE))?;
    Ok((client, server))
}

/// Sends `total` bytes, and returns the time until the last one has arrived.
pub(crate) fn pour(client: &TcpStream, server: &TcpStream, payload: &[u8], total: u64) -> Result<Duration> {
    let start = Instant::now();
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(client, payload, total));
        let received = drain(server, total);
        if received.is_err() {
            // Otherwise the sender would wait for its time-out.
            let _ = client.shutdown(Shutdown::Both);
        }
        let sent = sender.join().map_err(|_| "the sender panicked")?;
        received.and(sent)
    })?;
    Ok(start.elapsed())
}

fn send(mut client: &TcpStream, payload: &[u8], total: u64) -> Result<()> {
    let mut left = total;
    for chunk in payload.chunks(256 << 10).cycle() {
        let chunk = &chunk[..chunk.len().min(usize::try_from(left)?)];
        if chunk.is_empty() {
            break;
        }
        client.write_all(chunk)?;
        left -= chunk.len() as u64;
    }
    Ok(())
}

fn drain(mut server: &TcpStream, total: u64) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut got = 0;
    while got < total {
        match server.read(&mut buffer)? {
            0 => return Err(format!("the session ended after {got} of {total} bytes").into()),
            n => got += n as u64,
        }
    }
    Ok(())
}

/// Closes this connection with a reset.
pub(crate) fn reset(stream: TcpStream) -> Result<()> {
    setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(())
}

/// An echo server for many short connections.
pub(crate) struct EchoServer {
    pub(crate) port: u16,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl EchoServer {
    /// One connection per thread. There are enough threads that the next client never waits until a bridge
    /// has ended the previous session.
    pub(crate) fn start() -> Result<Self> {
        const THREADS: usize = 32;
        let listener = listen_for(Duration::from_millis(100))?;
        let port = listener.local_addr()?.port();
        let stop = Arc::new(AtomicBool::new(false));
        let serve = |listener: TcpListener, stop: Arc<AtomicBool>| {
            while !stop.load(Ordering::Relaxed) {
                if let Ok((stream, _)) = listener.accept() {
                    // The client ends the connection, mostly by a reset.
                    let _ = prepared(stream).and_then(|stream| echo(&stream));
                }
            }
        };
        let threads = (0..THREADS)
            .map(|_| {
                let (listener, stop) = (listener.try_clone()?, Arc::clone(&stop));
                Ok(thread::spawn(move || serve(listener, stop)))
            })
            .collect::<Result<_>>()?;
        Ok(Self { port, stop, threads })
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Echoes until the connection ends.
pub(crate) fn echo(mut stream: &TcpStream) -> Result<()> {
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok::<(), Error>(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}
