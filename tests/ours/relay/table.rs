//! Plays the table of cases: each script is played over a direct connection and through the bridge, over TCP and Unix
//! sockets, recorded and spliced, with client and server in either part; the peers must observe the same.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, setsockopt, socket,
    socketpair, sockopt,
};
use nix::unistd::Pid;

use super::cases::{Case, End, cases};
use super::pattern::is_piece;
use super::script::{Stage, is_early, seed};
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::{until, within};

/// Over what a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Tcp,
    Unix,
    Packets,
}

pub enum Listener {
    Tcp(TcpListener),
    /// Of streams or packets.
    Unix(UnixListener),
}

impl Listener {
    pub fn new(family: Family, scratch: &Scratch) -> Listener {
        match family {
            Family::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
                setsockopt(&listener, sockopt::OobInline, &true).expect("SO_OOBINLINE");
                listener.set_nonblocking(true).expect("O_NONBLOCK");
                Listener::Tcp(listener)
            }
            Family::Unix | Family::Packets => {
                let place = scratch.path("server");
                let listener = match family {
                    Family::Packets => packet_listener(&place),
                    _ => UnixListener::bind(&place).expect("a path"),
                };
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
                fs::set_permissions(scratch.path("server"), mode).expect("chmod");
                listener.set_nonblocking(true).expect("O_NONBLOCK");
                Listener::Unix(listener)
            }
        }
    }

    pub fn accept(&self) -> OwnedFd {
        until("a connection to the server", || self.accept_now())
    }

    /// `None` while there is no connection.
    pub fn accept_now(&self) -> Option<OwnedFd> {
        let accepted = match self {
            Listener::Tcp(listener) => listener.accept().map(|(peer, _)| {
                peer.set_nonblocking(false).expect("O_NONBLOCK");
                OwnedFd::from(peer)
            }),
            Listener::Unix(listener) => listener.accept().map(|(peer, _)| {
                peer.set_nonblocking(false).expect("O_NONBLOCK");
                OwnedFd::from(peer)
            }),
        };
        match accepted {
            Ok(peer) => Some(peer),
            Err(error) if is_early(error.kind()) => None,
            Err(error) => panic!("accept: {error}"),
        }
    }

    /// Where a client reaches it without a bridge.
    pub fn place(&self, family: Family, scratch: &Scratch) -> Place {
        match self {
            Listener::Tcp(listener) => Place::Tcp(listener.local_addr().expect("an address")),
            Listener::Unix(_) if family == Family::Packets => Place::Packets(scratch.path("server")),
            Listener::Unix(_) => Place::Unix(scratch.path("server")),
        }
    }
}

fn packet_socket() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a socket")
}

/// Two sockets without a bridge between them.
pub fn packet_pair() -> [OwnedFd; 2] {
    let flags = SockFlag::SOCK_CLOEXEC;
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("a pair");
    [pair.0, pair.1]
}

pub fn packet_listener(place: &Path) -> UnixListener {
    let socket = packet_socket();
    bind(socket.as_raw_fd(), &UnixAddr::new(place).expect("a path")).expect("a path");
    listen(&socket, Backlog::MAXCONN).expect("a listener");
    socket.into()
}

/// Where clients connect to.
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Packets(PathBuf),
}

impl Place {
    pub fn connect(&self) -> OwnedFd {
        until("a connection", || {
            let connected = match self {
                Place::Tcp(address) => TcpStream::connect(address).map(OwnedFd::from),
                Place::Unix(path) => UnixStream::connect(path).map(OwnedFd::from),
                Place::Packets(path) => {
                    let (client, address) = (packet_socket(), UnixAddr::new(path).expect("a path"));
                    let connected = connect(client.as_raw_fd(), &address).map_err(std::io::Error::from);
                    connected.map(|()| client)
                }
            };
            match connected {
                Ok(client) => Some(client),
                Err(error) if is_early(error.kind()) => None,
                Err(error) => panic!("connect: {error}"),
            }
        })
    }
}

/// Last line of a complete record.
const LAST_LINE: &str = "End of transmission.\n";

/// Ours.
pub struct Bridge {
    running: Running,
    place: Place,
    records: Scratch,
    /// The processes that stay, once one of them was asked for.
    stay: OnceCell<[Pid; 3]>,
}

impl Bridge {
    pub fn start(
        family: Family,
        format: &str,
        listener: &Listener,
        scratch: &Scratch,
        options: &[&str],
    ) -> Bridge {
        let records = Scratch::new();
        let with = |it: Tcpreen| {
            it.at_once(8).args(["-q"]).args(options).format(format).output(records.path("record-%n"))
        };
        let (running, place) = match listener {
            Listener::Tcp(server) => {
                let running = with(Tcpreen::to(server.local_addr().expect("an address").port())).start();
                let place = SocketAddr::from((Ipv4Addr::LOCALHOST, running.port()));
                (running, Place::Tcp(place))
            }
            Listener::Unix(_) => {
                let (server, clients) = (scratch.path("server"), scratch.path("clients"));
                let (protocol, place) = match family {
                    Family::Packets => ("unix-seqpacket", Place::Packets(clients.clone())),
                    _ => ("unix", Place::Unix(clients.clone())),
                };
                let it = Tcpreen::to(server.display()).args(["-p", protocol]).host("").listen_on("");
                let running = with(it.local_port(clients.display())).spawn();
                (running, place)
            }
        };
        Bridge { running, place, records, stay: OnceCell::new() }
    }

    pub fn connect(&self) -> OwnedFd {
        self.place.connect()
    }

    /// Sends a signal once the session has a worker: before that there is nothing to record.
    pub fn signal(&self, signal: Signal) {
        // The standard streams, the channel and two sockets.
        let is_busy = |pid: &Pid| proc::descriptors(*pid).len() >= 6;
        until("a worker with its session", || {
            self.running.roles().remove("worker")?.iter().any(is_busy).then_some(())
        });
        self.running.signal(signal);
    }

    /// The record of the one session there was, when it is complete.
    pub fn record(&self, limit: Duration) -> String {
        within(limit, "the end of the record", || self.complete_record())
    }

    /// As [`Self::record`], where it may not come.
    pub fn record_within(&self, limit: Duration) -> Option<String> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(record) = self.complete_record() {
                return Some(record);
            }
            thread::sleep(Duration::from_millis(2));
        }
        None
    }

    fn complete_record(&self) -> Option<String> {
        let mut records = fs::read_dir(self.records.path("")).expect("a directory").flatten();
        let path = records.next()?.path();
        // The record of a session that pushes has megabytes: it is read when its last line is there.
        let mut record = File::open(&path).ok()?;
        let mut last = [0; LAST_LINE.len()];
        record.seek(SeekFrom::End(-(LAST_LINE.len() as i64))).ok()?;
        record.read_exact(&mut last).ok()?;
        (last == LAST_LINE.as_bytes()).then(|| {
            let record = fs::read(&path).expect("a file");
            fs::remove_file(&path).expect("a file");
            String::from_utf8_lossy(&record).into_owned()
        })
    }

    /// Processor time of all processes. Workers, which are children of the zygote, count when they have ended.
    fn processor_time(&self) -> Duration {
        self.stay().iter().map(|&pid| proc::cpu(pid) + proc::cpu_of_children(pid)).sum()
    }

    /// Waits for the end of a case's worker, with which its descriptors are closed, and for the parent to have no more
    /// than before. Returns the processor time.
    fn settle(&self, name: &str, before: &[(Pid, usize)]) -> Duration {
        // Idle workers are ordered by twos: two descriptors more or less are no leak.
        let is_as_before =
            |now: &[(Pid, usize)]| now.iter().zip(before).all(|(now, before)| now.1 <= before.1 + 2);
        until(&format!("every descriptor to be closed after {name}"), || {
            is_as_before(&self.descriptors()).then_some(())
        });
        until(&format!("the end of the worker of {name}"), || {
            let workers = self.running.roles().remove("worker").unwrap_or_default();
            workers.iter().all(|pid| proc::descriptors(*pid).len() < 6).then_some(())
        });
        self.processor_time()
    }

    /// Descriptors of each process that stays.
    fn descriptors(&self) -> Vec<(Pid, usize)> {
        self.stay().map(|pid| (pid, proc::descriptors(pid).len())).to_vec()
    }

    /// Parent, logger and zygote.
    fn stay(&self) -> [Pid; 3] {
        *self.stay.get_or_init(|| ["parent", "logger", "zygote"].map(|role| self.running.role(role)))
    }
}

/// Processor time for one case in all processes: some pass 64 MB through a debug build. One that spins while a peer
/// waits takes more.
const CASE: Duration = Duration::from_secs(4);

/// Required lines of the record, beside the received bytes.
fn complaint(record: &str, end: End, swapped: bool, received: [u64; 2], bytes: bool) -> Option<String> {
    let ended = record.lines().find_map(|line| line.strip_prefix("Session ended: "));
    let side = |letter: char| if (letter == 'a') != swapped { "client" } else { "server" };
    let right = match (end, ended) {
        (End::Order, None) | (End::Either, _) => true,
        (End::Lost(letter), Some(why)) => why.ends_with(&format!(" by the {}.", side(letter))),
        _ => false,
    };
    if !right {
        return Some(format!("the record says {ended:?}"));
    }
    let of = |marker: &str| -> Vec<u8> {
        let lines = record.lines().map(|line| line.strip_prefix("(OOB)").unwrap_or(line));
        lines.filter_map(|line| line.strip_prefix(marker)).collect::<Vec<_>>().concat().into_bytes()
    };
    let recorded = [of("<<< "), of(">>> ")];
    (0..2).filter(|_| bytes).find_map(|side| {
        let enough = recorded[side].len() as u64 >= received[1 - side];
        (!enough || !is_piece(seed(side), 0, &recorded[side]))
            .then(|| format!("{} bytes recorded, {} received", recorded[side].len(), received[1 - side]))
    })
}

/// As a Unix socket can show it: a reset is passed on where there was something unread, else it is an end.
fn without_resets(observed: &[String]) -> Vec<String> {
    observed.iter().map(|it| it.replace("reset", "end")).collect()
}

/// Whether both were observed to be the same, as far as the sockets can show it.
pub fn agree(family: Family, expected: &[String], observed: &[String]) -> bool {
    match family {
        Family::Tcp => expected == observed,
        Family::Unix | Family::Packets => without_resets(expected) == without_resets(observed),
    }
}

/// Plays all cases, and reports the observations that differ.
pub fn play(family: Family, format: &str, cases: Vec<Case>) {
    let scratch = Scratch::new();
    let listener = Listener::new(family, &scratch);
    let bridge = Bridge::start(family, format, &listener, &scratch, &[]);
    let direct = listener.place(family, &scratch);
    drop(bridge.place.connect());
    drop(listener.accept());
    bridge.record(Duration::from_secs(30));
    let before = bridge.descriptors();
    let mut failed = Vec::new();
    for Case { name, script, end, swapped } in cases {
        let before_case = bridge.processor_time();
        let accept = || listener.accept();
        let expected = Stage::new(direct.connect(), &accept, swapped).play(&script);
        let mut stage = Stage::new(bridge.place.connect(), &accept, swapped);
        let observed = stage.play(&script);
        let received = stage.received();
        drop(stage);
        let record = bridge.record(Duration::from_secs(30));
        let spent = bridge.settle(&name, &before) - before_case;
        if spent > CASE {
            failed.push(format!("{name}: {spent:?} of processor time: something spins"));
        }
        if !agree(family, &expected, &observed) {
            failed.push(format!("{name}:\n  direct   {expected:?}\n  observed {observed:?}"));
        } else if let Some(complaint) = complaint(&record, end, swapped, received, format == "C") {
            failed.push(format!("{name}: {complaint}"));
        }
    }
    assert!(failed.is_empty(), "{} cases differ:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn tcp_recorded() {
    play(Family::Tcp, "C", cases(Family::Tcp));
}

#[test]
fn tcp_spliced() {
    play(Family::Tcp, "count", cases(Family::Tcp));
}

#[test]
fn unix_recorded() {
    play(Family::Unix, "C", cases(Family::Unix));
}

#[test]
fn unix_spliced() {
    play(Family::Unix, "count", cases(Family::Unix));
}

#[test]
fn packets_recorded() {
    play(Family::Packets, "C", cases(Family::Packets));
}

#[test]
fn packets_counted() {
    play(Family::Packets, "count", cases(Family::Packets));
}
