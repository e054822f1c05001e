//! Connects to a peer without blocking, through its addresses as in RFC 8305: the next attempt starts while the last
//! is still pending, and the first established connection is used.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockFlag, SockProtocol, connect, socket};

use crate::messages::Address;
use crate::parent::net::own_listeners::OwnListeners;
use crate::parent::net::socket;
use crate::parent::net::socket::{
    SocketOptions, family_of, keep_urgent_bytes, local_of, peer_of, pending_error, prepare_packets,
    with_sockaddr,
};
use crate::reason::reason;

/// Delay between the starts of two attempts ("Connection Attempt Delay" of RFC 8305, section 5).
const NEXT_ATTEMPT: Duration = Duration::from_millis(250);

/// First delay before another attempt at an address with a temporary shortage; doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(5);

/// Longest delay between two attempts at such an address.
const LONGEST_RETRY: Duration = Duration::from_millis(100);

/// Settings of all connection attempts of a run.
pub(in crate::parent) struct DialOptions {
    /// `--connect-timeout`
    pub(in crate::parent) timeout: Duration,
    pub(in crate::parent) sockets: SocketOptions,
    pub(in crate::parent) own: OwnListeners,
}

/// Connection attempts to all addresses of one peer.
pub(in crate::parent) struct Dial {
    addresses: Rc<[Address]>,
    options: Rc<DialOptions>,
    /// Index of the address that is started next.
    next: usize,
    /// Earliest start of the next address while other attempts are pending.
    next_start: Instant,
    attempts: Vec<Attempt>,
    refusals: Vec<(Address, Refusal)>,
    deadline: Instant,
}

struct Attempt {
    address: Address,
    state: AttemptState,
    /// Delay before the next retry.
    retry: Duration,
}

enum AttemptState {
    Connecting(OwnedFd),
    /// Retried at this time: the queue of a Unix server was full, or descriptors ran out.
    Paused(Instant),
}

/// Reason for which an address is not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::parent) enum Refusal {
    System(Errno),
    /// An own listener has the address: the connection would lead back to the bridge.
    OwnListener,
}

impl Refusal {
    pub(in crate::parent) fn reason(self) -> String {
        match self {
            Refusal::System(errno @ Errno::EPROTOTYPE) => {
                format!("{}: -p unix is for streams, -p unix-seqpacket for packets", reason(errno as i32))
            }
            Refusal::System(errno) => reason(errno as i32),
            Refusal::OwnListener => "this program listens there itself".into(),
        }
    }
}

/// An established connection.
pub(in crate::parent) struct Connection {
    pub(in crate::parent) socket: OwnedFd,
    pub(in crate::parent) address: Address,
    /// The peer has reset it since, which the socket reports only once: what reads it later sees an end.
    pub(in crate::parent) is_reset: bool,
}

/// Result of one pass over a [`Dial`].
pub(in crate::parent) enum DialProgress {
    Waiting,
    Connected(Connection),
    /// No address is reached: each address with its reason.
    Failed(Vec<(Address, Refusal)>),
}

/// Result of an attempt.
enum AttemptResult {
    Pending,
    Connected(Connection),
    Refused(Refusal),
}

impl Dial {
    pub(in crate::parent) fn new(addresses: Rc<[Address]>, options: Rc<DialOptions>) -> Dial {
        let now = Instant::now();
        let deadline = now + options.timeout;
        Dial {
            addresses,
            options,
            next: 0,
            next_start: now,
            attempts: Vec::new(),
            refusals: Vec::new(),
            deadline,
        }
    }

    /// The address that is tried first.
    pub(in crate::parent) fn target(&self) -> Option<&Address> {
        self.addresses.first()
    }

    /// The sockets that poll as writable when an attempt has a result.
    pub(in crate::parent) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.attempts.iter().filter_map(|attempt| match &attempt.state {
            AttemptState::Connecting(socket) => Some(socket.as_fd()),
            AttemptState::Paused(_) => None,
        })
    }

    /// Time of the next pass if no socket becomes writable.
    pub(in crate::parent) fn wake(&self) -> Instant {
        let next = (self.next < self.addresses.len()).then_some(self.next_start);
        let retries = self.attempts.iter().filter_map(|attempt| match attempt.state {
            AttemptState::Paused(until) => Some(until),
            AttemptState::Connecting(_) => None,
        });
        next.into_iter().chain(retries).fold(self.deadline, Instant::min)
    }

    /// Advances all attempts as far as possible now.
    pub(in crate::parent) fn advance(&mut self) -> DialProgress {
        let now = Instant::now();
        loop {
            if let Some(connection) = self.examine_all(now) {
                return DialProgress::Connected(connection);
            }
            if !self.start_next(now) {
                break;
            }
        }
        if self.attempts.is_empty() {
            return DialProgress::Failed(std::mem::take(&mut self.refusals));
        }
        if now >= self.deadline {
            return self.give_up();
        }
        DialProgress::Waiting
    }

    /// Checks every attempt; the first established connection is used, and the others are closed unused with `self`.
    fn examine_all(&mut self, now: Instant) -> Option<Connection> {
        for mut attempt in std::mem::take(&mut self.attempts) {
            match attempt.examine(&self.options, now) {
                AttemptResult::Pending => self.attempts.push(attempt),
                AttemptResult::Connected(connection) => {
                    let Connection { socket, address, .. } = &connection;
                    socket::set_tcp_options(socket, address, self.options.sockets.keepalive);
                    return Some(connection);
                }
                AttemptResult::Refused(refusal) => {
                    self.refusals.push((attempt.address, refusal));
                    self.next_start = now;
                }
            }
        }
        None
    }

    /// Starts an attempt at the next address if its time has come; returns `true` if one was started.
    fn start_next(&mut self, now: Instant) -> bool {
        let Some(address) = self.addresses.get(self.next) else { return false };
        if now < self.next_start && !self.attempts.is_empty() {
            return false;
        }
        self.next += 1;
        self.next_start = now + NEXT_ATTEMPT;
        let state = AttemptState::Paused(now);
        self.attempts.push(Attempt { address: address.clone(), state, retry: FIRST_RETRY });
        true
    }

    /// The timeout has expired: pending and unstarted addresses count as not reached in time.
    fn give_up(&mut self) -> DialProgress {
        let late = self.attempts.drain(..).map(|attempt| attempt.address);
        let late = late.chain(self.addresses[self.next..].iter().cloned());
        self.refusals.extend(late.map(|address| (address, Refusal::System(Errno::ETIMEDOUT))));
        DialProgress::Failed(std::mem::take(&mut self.refusals))
    }
}

impl Attempt {
    fn examine(&mut self, options: &DialOptions, now: Instant) -> AttemptResult {
        match &self.state {
            AttemptState::Paused(until) if *until > now => return AttemptResult::Pending,
            AttemptState::Paused(_) => match self.start(options) {
                Ok(socket) => self.state = AttemptState::Connecting(socket),
                Err(Refusal::System(errno)) if is_shortage(errno) => {
                    self.state = AttemptState::Paused(now + self.retry);
                    self.retry = (self.retry * 2).min(LONGEST_RETRY);
                    return AttemptResult::Pending;
                }
                Err(refusal) => return AttemptResult::Refused(refusal),
            },
            AttemptState::Connecting(_) => {}
        }
        let AttemptState::Connecting(socket) = &self.state else { return AttemptResult::Pending };
        match self.state_of(socket) {
            Ok(None) => AttemptResult::Pending,
            Ok(Some(established)) => self.accept(established, &options.own),
            Err(errno) => AttemptResult::Refused(Refusal::System(errno)),
        }
    }

    fn start(&self, options: &DialOptions) -> Result<OwnedFd, Refusal> {
        if options.own.leads_back(&self.address, None) {
            return Err(Refusal::OwnListener);
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family_of(&self.address), options.sockets.kind(), flags, None::<SockProtocol>)
            .map_err(Refusal::System)?;
        match options.sockets.packets {
            true => prepare_packets(&socket),
            false => keep_urgent_bytes(&socket),
        }
        match with_sockaddr(&self.address, |to| connect(socket.as_raw_fd(), to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
            Err(errno) => Err(Refusal::System(errno)),
        }
    }

    /// Returns the peer once the connection is established, and whether the peer has reset it since.
    fn state_of(&self, socket: &OwnedFd) -> Result<Option<(Address, bool)>, Errno> {
        // A socket that has a peer is connected; on loopback, connect(2) succeeds at once.
        let none = match peer_of(socket) {
            Ok(peer) => return Ok(Some((peer, false))),
            Err(errno) => errno,
        };
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
            return Ok(None);
        }
        match pending_error(socket) {
            // Connected between the two calls, or already closed again.
            Ok(()) => peer_of(socket).map(|peer| Some((peer, false))).map_err(|_| none),
            Err(error) => match error.raw_os_error().map_or(Errno::EIO, Errno::from_raw) {
                // Only an established connection can be reset. Data that the peer sent before can still be read.
                Errno::ECONNRESET | Errno::EPIPE => Ok(Some((self.address.clone(), true))),
                errno => Err(errno),
            },
        }
    }

    /// Accepts an established connection, unless it leads to the bridge itself.
    fn accept(&mut self, (peer, is_reset): (Address, bool), own: &OwnListeners) -> AttemptResult {
        let AttemptState::Connecting(socket) =
            std::mem::replace(&mut self.state, AttemptState::Paused(Instant::now()))
        else {
            return AttemptResult::Pending;
        };
        if peer.ip().is_none() {
            return AttemptResult::Connected(Connection { socket, address: peer, is_reset });
        }
        let local = local_of(&socket).ok();
        let refusal = if local.as_ref() == Some(&peer) {
            // A simultaneous open with itself: the port is free, and the kernel chose it as the socket's own port.
            Refusal::System(Errno::ECONNREFUSED)
        } else if own.leads_back(&peer, local.as_ref()) {
            Refusal::OwnListener
        } else {
            return AttemptResult::Connected(Connection { socket, address: peer, is_reset });
        };
        // Not closed in order: that would keep the port in TIME_WAIT, unavailable to the real server.
        socket::reset(socket);
        AttemptResult::Refused(refusal)
    }
}

/// Temporary errors: a Unix server whose queue is full, and a system short of descriptors or memory.
fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
}
