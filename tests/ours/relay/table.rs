//! One table of cases: each script is played over a direct connection and through the bridge, over TCP and Unix
//! sockets, recorded and spliced, with client and server in either part; the peers must observe the same.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, setsockopt, socket, sockopt,
};
use nix::unistd::Pid;

use crate::ours::relay::script::Stage;
use crate::ours::relay::script::is_early;
use crate::ours::relay::script::is_prefix;
use crate::ours::relay::script::seed;
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::{until, within};

/// End of a session in the record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order: no line says otherwise.
    Order,
    /// The connection to this peer was reset, or closed before everything was read.
    Lost(char),
    /// It depends on the moment.
    Either,
}

/// Where a case has a meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Both,
    Tcp,
    Unix,
    /// Unix sockets of packets.
    Packets,
}

use End::{Either, Lost, Order};
use On::{Both, Packets, Tcp, Unix};

/// Name, script, end, sockets.
#[rustfmt::skip]
const CASES: &[(&str, &str, End, On)] = &[
    ("question and answer", "a.send 10; b.get 10; b.send 20; a.get 20; a.close; b.rest; b.close", Order, Both),
    ("half-close", "a.send 10; a.finish; b.rest; b.send 20; b.close; a.rest", Order, Both),
    ("answer long after a half-close", "a.finish; b.rest; b.bytes 50; a.get 50; b.close; a.rest", Order, Both),
    ("simultaneous close", "a.send 10; b.send 20; a.finish; b.finish; a.rest; b.rest", Order, Both),
    ("close without a word", "a.close; b.rest; b.close", Order, Both),
    ("reset before data", "b.sees 0; a.reset; b.rest; b.fails", Lost('a'), Tcp),
    ("reset between data", "a.send 10; b.get 10; b.send 20; a.get 20; a.reset; b.rest; b.fails", Lost('a'), Tcp),
    ("reset behind data", "a.send 1000; b.sees 1000; a.reset; b.rest; b.fails", Lost('a'), Tcp),
    ("reset after a half-close", "b.finish; a.rest; a.reset; b.fails", Lost('a'), Tcp),
    ("reset after the other half-closed", "a.send 5; a.finish; b.rest; b.reset; a.rest", Lost('b'), Tcp),
    ("close with unread input", "b.send 1000; a.sees 1000; a.send 10; b.sees 10; a.close; b.rest", Lost('a'), Both),
    ("close with unread input and no word", "b.send 1000; a.sees 1000; a.close; b.rest", Lost('a'), Both),
    ("early answer", "a.push 64000000; b.get 1000; b.send 413; b.close; a.rest; a.fails", Lost('b'), Both),
    ("early answer, nothing read", "a.push 64000000; b.send 413; b.close; a.rest; a.fails", Lost('b'), Both),
    ("early answer, then a half-close", "a.push 64000000; b.send 413; b.finish; a.rest; b.all; a.finish; b.rest", Order, Both),
    ("last words while the other pushes", "b.push 64000000; a.get 1000; a.send 6; a.close; b.rest; b.fails", Lost('a'), Both),
    ("last words in large", "a.push 64000000; b.send 60000; b.close; a.rest", Lost('b'), Both),
    ("writing to a closed peer", "a.send 5; b.get 5; a.close; b.rest; b.fails", Either, Both),
    ("never read, then closed", "a.push 64000000; a.finish; b.close; a.ending", Lost('b'), Both),
    ("read after the other closed", "a.stream 300000; b.all; a.close; b.rest; b.close", Order, Both),
    ("read late, after the other closed", "a.send 50000; a.close; b.all; b.rest; b.close", Order, Both),
    ("pending data at hang-up", "b.finish; a.rest; a.send 50000; a.close; b.all; b.rest", Order, Both),
    ("one-byte writes", "a.bytes 100; b.get 100; b.bytes 100; a.get 100; a.close; b.rest; b.close", Order, Both),
    ("large writes", "a.stream 5000000; b.get 5000000; b.stream 5000000; a.get 5000000; a.finish; b.rest; b.finish; a.rest", Order, Both),
    ("large writes at the same time", "a.stream 5000000; b.stream 5000000; b.get 5000000; a.get 5000000; a.finish; b.rest; b.finish; a.rest", Order, Both),
    ("zero window", "a.push 64000000; b.pause 3000; b.all; b.send 10; a.get 10; a.finish; b.rest; b.close; a.rest", Order, Both),
    ("both stalled", "a.push 64000000; b.push 64000000; b.all; a.all; a.finish; b.rest; b.finish; a.rest", Order, Both),
    ("an urgent byte", "a.send 10; a.urgent 1; a.send 10; b.marks 21; a.close; b.rest; b.close", Order, Tcp),
    ("an urgent byte first", "a.urgent 1; b.marks 1; a.send 5; b.get 5; a.close; b.rest; b.close", Order, Tcp),
    ("an urgent byte last", "a.send 5; a.urgent 1; a.close; b.marks 6; b.rest; b.close", Order, Tcp),
    ("two urgent bytes", "a.urgent 1; a.send 1; a.urgent 1; a.send 1; b.sees 4; b.marks 4; a.close; b.rest; b.close", Order, Tcp),
    ("IAC IP IAC DM twice", "a.send 3; a.urgent 1; a.send 3; a.urgent 1; b.sees 8; b.marks 8; a.close; b.rest; b.close", Order, Tcp),
    ("many urgent bytes", "a.urgent 1; a.urgent 1; a.urgent 1; a.urgent 1; a.urgent 1; a.send 1; b.sees 6; b.marks 6; a.close; b.rest; b.close", Order, Tcp),
    ("urgent in bulk", "a.stream 300000; b.get 300000; a.send 3000; a.urgent 3000; a.send 20000; a.urgent 1; a.send 50; b.sees 26051; b.marks 26051; a.close; b.rest; b.close", Order, Tcp),
    ("reset behind an urgent byte", "a.send 5; a.urgent 1; b.sees 6; a.reset; b.rest", Lost('a'), Tcp),
    ("a peer that reads no more", "a.deaf; b.fails; a.send 10; b.get 10; a.close; b.rest", Lost('a'), Unix),
    ("a peer that reads no more and speaks on", "a.deaf; b.fails; a.stream 3000000; b.get 3000000; a.finish; b.rest", Lost('a'), Unix),
    ("a descriptor", "a.pass 1; b.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors both ways", "a.pass 3; b.catch 5; b.pass 2; a.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("as many descriptors as there can be", "a.pass 253; b.catch 5; a.pass 253; b.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors read in parts", "a.pass 2; b.sees 5; b.catch 1; b.catch 4; a.close; b.rest; b.close", Order, Unix),
    ("descriptors behind bytes", "a.send 10; a.pass 1; b.sees 15; b.catch 10; b.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors between bytes", "a.send 10; a.pass 1; a.send 7; a.pass 2; a.send 3; b.sees 30; b.catch 99; b.catch 99; b.catch 99; a.close; b.rest; b.close", Order, Unix),
    ("descriptors behind much", "a.send 50000; a.pass 1; b.sees 50005; b.catch 49999; b.catch 1; b.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors with much", "a.tow 100000; b.sees 100000; b.catch 10; b.get 99990; a.close; b.rest; b.close", Order, Unix),
    ("descriptors at the end", "a.send 5; a.pass 1; a.close; b.sees 10; b.catch 5; b.catch 5; b.rest; b.close", Order, Unix),
    ("descriptors that are not received", "a.pass 2; b.get 5; b.pass 1; a.get 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors and input that was not read", "b.send 1000; a.sees 1000; a.pass 1; b.sees 5; a.close; b.catch 5; b.rest", Lost('a'), Unix),
    ("many descriptors to a peer that does not read", "a.pass 253; a.pass 253; b.pause 300; b.catch 5; b.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("messages", "a.send 10; a.send 20; a.send 1; b.messages 3; b.send 5; b.send 6; a.messages 2; a.close; b.messages 1; b.close", Order, Packets),
    ("empty messages", "a.empty; a.send 5; a.empty; a.empty; b.messages 4; a.close; b.messages 1; b.close", Order, Packets),
    ("nothing but empty messages", "a.empty; b.messages 1; b.empty; a.messages 1; a.close; b.messages 1; b.close", Order, Packets),
    ("large messages", "a.send 212000; b.messages 1; b.send 100000; b.send 200000; a.messages 2; a.close; b.messages 1; b.close", Order, Packets),
    ("many messages", "a.bytes 100; b.messages 100; b.bytes 100; a.messages 100; a.close; b.messages 1; b.close", Order, Packets),
    ("messages, half-closed", "a.send 10; a.finish; b.messages 2; b.send 20; b.close; a.messages 2", Order, Packets),
    ("messages before a close", "a.send 10; a.empty; a.send 20; a.close; b.messages 4; b.close", Order, Packets),
    ("messages that are cut by the receiver", "a.send 100; a.send 50; b.sees 150; b.catch 10; b.catch 10; a.close; b.close", Either, Packets),
    ("messages to a peer that reads late", "a.send 60000; a.send 60000; a.send 60000; b.pause 300; b.messages 3; a.close; b.messages 1; b.close", Order, Packets),
    ("messages with descriptors", "a.pass 3; a.tow 0; a.pass 253; a.send 7; b.messages 4; b.pass 1; a.messages 1; a.close; b.messages 1; b.close", Order, Packets),
    ("messages to a closed peer", "a.send 5; b.messages 1; a.close; b.messages 1; b.fails", Either, Packets),
];

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

fn packet_listener(place: &Path) -> UnixListener {
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

/// Ours.
pub struct Bridge {
    running: Running,
    place: Place,
    records: Scratch,
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
        Bridge { running, place, records }
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
        let record = fs::read(&path).ok()?;
        let record = String::from_utf8_lossy(&record).into_owned();
        record.ends_with("End of transmission.\n").then(|| {
            fs::remove_file(&path).expect("a file");
            record
        })
    }

    /// Processor time of all processes. Workers, which are children of the zygote, count when they have ended.
    fn processor_time(&self) -> Duration {
        let stay = ["parent", "logger", "zygote"].map(|role| self.running.role(role));
        stay.iter().map(|&pid| proc::cpu(pid) + proc::cpu_of_children(pid)).sum()
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
        let stay = ["parent", "logger", "zygote"].map(|role| self.running.role(role));
        stay.map(|pid| (pid, proc::descriptors(pid).len())).to_vec()
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
        (Order, None) | (Either, _) => true,
        (Lost(letter), Some(why)) => why.ends_with(&format!(" by the {}.", side(letter))),
        _ => false,
    };
    if !right {
        return Some(format!("the record says {ended:?}"));
    }
    let of = |marker: &str| -> Vec<u8> {
        let lines = record.lines().map(|line| line.strip_prefix("(OOB)").unwrap_or(line));
        lines.filter_map(|line| line.strip_prefix(marker)).flat_map(str::bytes).collect()
    };
    let recorded = [of("<<< "), of(">>> ")];
    (0..2).filter(|_| bytes).find_map(|side| {
        let enough = recorded[side].len() as u64 >= received[1 - side];
        (!enough || !is_prefix(seed(side), &recorded[side]))
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

/// A script with its parts given out.
pub struct Case {
    pub name: String,
    pub script: String,
    pub end: End,
    /// `a` is the server.
    pub swapped: bool,
}

/// The table, with client and server in either part.
pub fn cases(family: Family) -> Vec<Case> {
    let only = std::env::var("RELAY_CASE").unwrap_or_default();
    let fits = |on: On| match family {
        Family::Tcp => matches!(on, Both | Tcp),
        Family::Unix => matches!(on, Both | Unix),
        Family::Packets => on == Packets,
    };
    let cases = CASES.iter().filter(|case| fits(case.3) && case.0.contains(&only));
    let both = cases.flat_map(|case| [(case, false), (case, true)]);
    both.map(|(&(name, script, end, _), swapped)| {
        let name = format!("{name}, {} is the server", if swapped { 'a' } else { 'b' });
        Case { name, script: script.to_owned(), end, swapped }
    })
    .collect()
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
