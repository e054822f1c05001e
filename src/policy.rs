//! Permissions of each role. The first page for an audit.
//!
//! | role     | does                                      | never                                       |
//! |----------|-------------------------------------------|---------------------------------------------|
//! | parent   | binds, then drops; accepts, dials, hands sockets out | reads a byte from a peer, opens a file |
//! | resolver | forks lookups, which ask DNS and NSS      | writes a file, accepts a connection         |
//! | logger   | writes the outputs                        | has a network socket                        |
//! | zygote   | forks workers                             | opens a file, has a network socket          |
//! | worker   | forwards one session                      | opens, connects, binds, forks, executes     |
//! | converter | parses saved records (`--read`)          | opens, connects, binds, forks, executes     |
//!
//! A worker holds three streams on `/dev/null`, its channel, the two sockets, at most two pipes and an epoll instance;
//! between two Unix sockets also the descriptors that it is about to pass on, at most 253 in each direction.
//! All of them run as the same unprivileged user, without capabilities, groups or core dumps, with
//! `no_new_privs`, not dumpable, each under its own filter below. A call that is not in the table kills
//! the process; where the C library survives an error, the call has one ([`Role::refused`]).

use std::io;

use nix::libc;
use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use privsep::confine::Root;
use privsep::seccomp::{Allowed, Filter, Is, Refused, Violation};
use privsep::{allow, refuse, sys};

/// A process of the program. Workers have the zygote's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Parent,
    Resolver,
    Logger,
    Zygote,
    Converter,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::Parent, Role::Resolver, Role::Logger, Role::Zygote, Role::Converter];

    pub const fn name(self) -> &'static str {
        match self {
            Role::Parent => "parent",
            Role::Resolver => "resolver",
            Role::Logger => "logger",
            Role::Zygote => "zygote",
            Role::Converter => "converter",
        }
    }

    /// Root directory after a start with root's privileges. Without them, only Landlock restricts files.
    pub const fn root(self) -> Root {
        match self {
            Role::Zygote | Role::Converter => Root::Nothing,
            // The parent removes the sockets it made, the resolver reads /etc, the logger reopens outputs.
            Role::Parent | Role::Resolver | Role::Logger => Root::Keep,
        }
    }

    /// Resource limits in addition to the core size, which is 0 for all roles.
    pub const fn limits(self) -> &'static [(Resource, u64)] {
        match self {
            // Not RLIMIT_NOFILE: it also bounds the number of the user's descriptors in flight between processes. A
            // worker lowers its own limit.
            Role::Zygote => &[(Resource::RLIMIT_FSIZE, 0), (Resource::RLIMIT_AS, WORKER_MEMORY)],
            // More than one message can carry: the kernel closes those that do not fit, and may wait for a peer then
            // (`SO_LINGER`).
            Role::Resolver => &[(Resource::RLIMIT_NOFILE, 320), (Resource::RLIMIT_FSIZE, 0)],
            Role::Converter => &[(Resource::RLIMIT_FSIZE, 0), (Resource::RLIMIT_AS, CONVERTER_MEMORY)],
            // A channel and files per session: the parent has set the limit.
            Role::Parent | Role::Logger => &[],
        }
    }

    /// Signal on the death of the parent, in addition to the end of its channel.
    pub const fn parent_death_signal(self) -> Signal {
        match self {
            // The logger replaces it, once it serves, by a signal upon which it writes the recorded data.
            Role::Parent | Role::Resolver | Role::Logger | Role::Zygote | Role::Converter => Signal::SIGKILL,
        }
    }

    /// Runs under `SCHED_BATCH`: neither records nor spare workers are latency-critical. A worker, which is, leaves it.
    pub const fn batch_scheduling(self) -> bool {
        match self {
            Role::Logger | Role::Zygote => true,
            Role::Parent | Role::Resolver | Role::Converter => false,
        }
    }

    /// Access to the file system and the network that Landlock leaves, in words; the rules are in the role's set-up,
    /// with the directories of that start.
    pub const fn reach(self) -> &'static str {
        match self {
            Role::Parent => {
                "removes files in the directories of its sockets and of its PID file; TCP to anywhere, no bind"
            }
            Role::Resolver => {
                "reads beneath /etc /usr /lib /lib64 /run /var/run; TCP to port 53, no bind; from Linux 7.1 on, Unix \
                 sockets of NSS daemons alone"
            }
            Role::Logger => {
                "makes and writes files in the directories of outputs that make files later, and removes them in those \
                 of outputs in parts; no TCP"
            }
            Role::Zygote | Role::Converter => "no file, no TCP",
        }
    }

    /// The tables of the role's filter.
    pub const fn allowed(self) -> &'static [&'static [Allowed]] {
        match self {
            Role::Parent => &[RUNTIME, MEMORY, CHANNEL, ARRIVALS, PARENT],
            Role::Resolver => &[RUNTIME, MEMORY, CHANNEL, STREAMS, RESOLVER],
            Role::Logger => &[RUNTIME, MEMORY, CHANNEL, ARRIVALS, THREADS, LOGGER],
            Role::Zygote => &[RUNTIME, MEMORY, CHANNEL, ARRIVALS, STREAMS, ZYGOTE, WORKER],
            Role::Converter => &[RUNTIME, MEMORY, CHANNEL, STREAMS, CONVERTER],
        }
    }

    /// Calls that libc makes and whose failure it handles.
    pub const fn refused(self) -> &'static [Refused] {
        match self {
            Role::Resolver => RESOLVER_REFUSED,
            Role::Zygote => ZYGOTE_REFUSED,
            Role::Parent | Role::Logger | Role::Converter => &[],
        }
    }

    pub fn filter(self, extras: &[Extra], violation: Violation) -> io::Result<Filter> {
        let extras = extras.iter().map(|extra| extra.allowed());
        let tables: Vec<_> = self.allowed().iter().copied().chain(extras).collect();
        Filter::new(&tables, self.refused(), violation)
    }
}

/// Permissions that a role has only in runs that need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Logger: an output has files of its own for each session.
    SessionFiles,
    /// Logger: a file is reopened when logs are rotated.
    Rotation,
    /// Logger: files are finished in parts, and old parts are removed.
    Parts,
    /// Logger: an output is a FIFO that had no reader at the start.
    WaitingPipe,
    /// Logger: `--record-first=sync`.
    Sync,
    /// Logger: `--metrics`.
    Metrics,
    /// Logger: an output is a terminal, whose width determines the lines.
    TerminalWidth,
    /// Logger: notices go to syslog.
    Syslog,
    /// Worker: an output shows the system's data about the connections.
    TcpInfo,
    /// Resolver: a module of `/etc/nsswitch.conf` asks a daemon.
    NssDaemons,
    /// Zygote: both peers are on Unix sockets, over which descriptors can pass.
    Descriptors,
    /// Parent: a process waits in the foreground until it listens.
    Background,
    /// Parent: `--pidfile`.
    PidFile,
    /// Parent: a listening Unix socket has a file.
    SocketFiles,
    /// Parent: `-p unix-seqpacket`.
    Packets,
}

impl Extra {
    pub const fn allowed(self) -> &'static [Allowed] {
        match self {
            Extra::SessionFiles => SESSION_FILES,
            Extra::Rotation => ROTATION,
            Extra::Parts => PARTS,
            Extra::WaitingPipe => WAITING,
            Extra::TerminalWidth => TERMINAL_WIDTH,
            Extra::Sync => SYNC,
            Extra::Metrics => METRICS,
            Extra::Syslog => SYSLOG,
            Extra::TcpInfo => TCP_INFO,
            Extra::NssDaemons => NSS_DAEMONS,
            Extra::Descriptors => DESCRIPTORS,
            Extra::Background => BACKGROUND,
            Extra::SocketFiles => SOCKET_FILES,
            Extra::PidFile => PID_FILE,
            Extra::Packets => PACKETS,
        }
    }
}

/// Flags for a session's file: new, never an existing file, never through a link.
pub const NEW_FILE: i32 = libc::O_WRONLY
    | libc::O_CREAT
    | libc::O_EXCL
    | libc::O_NOFOLLOW
    | libc::O_APPEND
    | libc::O_NOCTTY
    | libc::O_CLOEXEC
    // Some libcs add this flag by themselves.
    | libc::O_LARGEFILE;

/// Flags for a file after its rotation: existing contents stay, and a pipe without a reader is an error.
pub const ROTATED_FILE: i32 = libc::O_WRONLY
    | libc::O_CREAT
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_NOCTTY
    | libc::O_CLOEXEC
    | libc::O_LARGEFILE;

/// Flags for a FIFO that is tried repeatedly until it has a reader, through a name in `/proc`, which is a
/// link.
pub const WAITING_PIPE: i32 =
    libc::O_WRONLY | libc::O_APPEND | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_LARGEFILE;

/// Flags of the lock on an output's file.
const LOCK: i32 = libc::LOCK_EX | libc::LOCK_NB;

/// Mode of a file, before the umask.
pub(crate) const PUBLIC: u32 = 0o666;

/// Set-uid, set-gid and sticky: the kernel uses only these and the permission bits of a mode.
const SET_ID_BITS: u32 = 0o7000;

/// Mode of a file with secrets.
pub const PRIVATE: u32 = 0o600;

/// Maximum number of descriptors of a worker.
pub const WORKER_DESCRIPTORS: u64 = 16;

/// Maximum number of descriptors of a worker between two Unix sockets: in addition, those of one message in each
/// direction. More are received only after these have been passed on and closed.
pub const LOCAL_WORKER_DESCRIPTORS: u64 = WORKER_DESCRIPTORS + 2 * privsep::sys::MOST_RIGHTS as u64;

/// Address space of the zygote and of each worker: the program and two buffers. A compromised worker cannot exhaust
/// the machine's memory.
const WORKER_MEMORY: u64 = 128 << 20;

/// Address space of the converter: its program, one block of input, and the sessions of a record that are open at
/// the same time.
const CONVERTER_MEMORY: u64 = 256 << 20;

const fn int(value: i32) -> Is {
    Is::Int(value as u32)
}

/// No address: the datagram goes to the socket's peer.
const NULL: Is = Is::Long(0);

/// Calls of Rust and libc in every process. `write` is here, for stderr; the logger needs no other row to write its
/// files.
const RUNTIME: &[Allowed] = allow![
    SYS_exit_group => "the end",
    SYS_prctl(0 is int(libc::PR_GET_SECCOMP)) => "is the filter on, before Ready",
    SYS_restart_syscall => seldom "the kernel itself, after a stop in a call with a time-out",
    SYS_rt_sigreturn => seldom "return from the handler of a stack overflow",
    SYS_rt_sigaction => seldom "abort: default action of SIGABRT; stack overflow handler",
    SYS_rt_sigprocmask => seldom "abort blocks signals",
    SYS_sigaltstack => "end of a thread takes its signal stack away",
    SYS_gettid => seldom "abort: id of the receiver of the signal",
    SYS_getpid => "abort: id of the receiver of the signal",
    SYS_tgkill(0 is Is::Itself, 2 is int(libc::SIGABRT)) => seldom "abort",
    SYS_futex(1 is int(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG)) => "locks of libc and of the standard library",
    SYS_clock_gettime => seldom "time, where the vDSO has none",
    SYS_fcntl(1 is int(libc::F_GETFD)) => "debug builds check descriptors as they close them",
    SYS_close => "closes descriptors",
    SYS_write => "panic messages on stderr; in the logger, outputs and notices",
    #[cfg(target_arch = "x86_64")]
    SYS_poll => "waiting",
    SYS_ppoll => seldom "waiting",
    SYS_getrandom => seldom "seeds of hash maps",
];

/// The heap. No memory can be made executable.
const MEMORY: &[Allowed] = allow![
    SYS_brk => seldom "heap",
    SYS_munmap => "heap",
    SYS_mremap => "heap",
    SYS_madvise => "heap and stacks give memory back",
    SYS_mmap(2 is Is::Without(libc::PROT_EXEC as u32), 4 is int(-1)) => seldom "heap; no file",
    SYS_mprotect(2 is Is::Without(libc::PROT_EXEC as u32)) => seldom "heap grows into reserved memory",
];

/// Messages between the roles.
const CHANNEL: &[Allowed] = allow![
    SYS_sendmsg(2 is Is::Without(libc::MSG_FASTOPEN as u32)) => "messages, with descriptors",
    SYS_recvmsg => "messages, with descriptors",
    SYS_shutdown => "the end of sending",
    // An address of this length is too short for every family.
    SYS_connect(2 is Is::Int(sys::DISSOLVE as u32))
        => "AF_UNSPEC: a reset is passed on; a descriptor that must not come is closed without waiting for its peer",
];

/// Roles that receive descriptors once they are confined.
const ARRIVALS: &[Allowed] = allow![
    SYS_getsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_TYPE)) => "is a descriptor that came what it should be",
];

/// Bytes of a session, of a lookup, and of records to the logger.
const STREAMS: &[Allowed] = allow![
    SYS_sendto(3 is Is::Without(libc::MSG_FASTOPEN as u32), 4 is NULL) => "records and bytes to connected sockets",
    SYS_recvfrom => "bytes",
];

/// Roles with threads. All threads are started before the filter is on, which permits no further ones.
const THREADS: &[Allowed] = allow![
    SYS_exit => "the end of a thread",
    SYS_sched_yield => "crossbeam yields before it sleeps",
    SYS_clock_nanosleep => "the intake coalesces small records; waiting with a deadline",
    SYS_rseq => seldom "end of a thread",
    SYS_set_robust_list => seldom "end of a thread",
    SYS_sched_getaffinity => seldom "crossbeam asks how many processors there are",
    SYS_futex(1 is int(libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG)) => "locks of the standard library",
    SYS_futex(1 is int(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG)) => seldom "the heap's lock, while another thread has it",
    SYS_futex(1 is int(libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME)) => "a thread is joined",
];

/// Type of a non-blocking stream socket, in [`PARENT`] and for its listeners.
const STREAM: Is = int(libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);

/// Type of a non-blocking packet socket.
const PACKET: Is = int(libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);

const PARENT: &[Allowed] = allow![
    SYS_accept4(3 is int(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)) => "clients; servers with -l",
    SYS_socket(0 is int(libc::AF_INET), 1 is STREAM, 2 is int(0)) => "to the server; clients with -c",
    SYS_socket(0 is int(libc::AF_INET6), 1 is STREAM, 2 is int(0)) => "likewise",
    SYS_socket(0 is int(libc::AF_UNIX), 1 is STREAM, 2 is int(0)) => "likewise",
    SYS_connect => "likewise",
    SYS_getsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_ERROR)) => "how a connection attempt ended",
    SYS_setsockopt(1 is int(libc::IPPROTO_TCP), 2 is int(libc::TCP_NODELAY)) => "small writes do not wait",
    SYS_setsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_KEEPALIVE)) => "finds peers that have vanished",
    SYS_setsockopt(1 is int(libc::IPPROTO_TCP), 2 is int(libc::TCP_KEEPIDLE)) => "--keepalive",
    SYS_setsockopt(1 is int(libc::IPPROTO_TCP), 2 is int(libc::TCP_KEEPINTVL)) => "--keepalive",
    SYS_setsockopt(1 is int(libc::IPPROTO_TCP), 2 is int(libc::TCP_KEEPCNT)) => "--keepalive",
    SYS_setsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_LINGER)) => "a refusal is a reset",
    SYS_setsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_OOBINLINE)) => "urgent bytes keep their places",
    SYS_getpeername => "address of a peer",
    SYS_getsockname => "is it a connection to ourselves",
    SYS_ioctl(1 is Is::Int(libc::FIONREAD as u32)) => seldom "did a peer that disconnected send data",
    SYS_read => "signals",
    SYS_waitid => "has a role ended",
    SYS_wait4 => "how",
];

/// Landlock restricts the calls to the directories of the sockets.
const SOCKET_FILES: &[Allowed] = allow![
    SYS_unlinkat(2 is int(0)) => "our own Unix socket, at the end",
    SYS_newfstatat => "is it still our own",
];

/// Packet sockets have peers in the file system, or abstract ones.
const PACKETS: &[Allowed] = allow![
    SYS_socket(0 is int(libc::AF_UNIX), 1 is PACKET, 2 is int(0)) => seldom "to the server; clients with -c",
    SYS_setsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_TIMESTAMP))
        => seldom "each message has a time stamp: an empty one is not the end",
    SYS_setsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_SNDBUF)) => seldom "room for the longest message",
];

/// Landlock restricts the calls to the directory of the PID file.
const PID_FILE: &[Allowed] = allow![
    SYS_unlinkat(2 is int(0)) => "the file, at the end",
    SYS_newfstatat => "is it still our own",
    SYS_ftruncate => seldom "emptied, where root's directory denies its removal",
];

const LOGGER: &[Allowed] = allow![
    #[cfg(target_arch = "x86_64")]
    SYS_epoll_wait => "which session has records",
    #[cfg(not(target_arch = "x86_64"))]
    SYS_epoll_pwait => "which session has records",
    SYS_epoll_ctl => "sessions come and go",
    SYS_read => "signals",
    SYS_getppid => seldom "is the parent still there",
    #[cfg(target_arch = "x86_64")]
    SYS_alarm => seldom "the last second, when the parent is gone",
    SYS_setitimer => seldom "the same: how libc makes an alarm",
];

/// The filter cannot check in which directory a file is made: Landlock restricts it to the directories that were
/// opened at the start.
const SESSION_FILES: &[Allowed] = allow![
    SYS_openat(2 is int(NEW_FILE), 3 is Is::Int(PUBLIC)) => "a session's own file, without set-id bits",
    SYS_openat(2 is int(NEW_FILE), 3 is Is::Int(PRIVATE)) => seldom "likewise, with secrets",
    SYS_flock(1 is int(LOCK)) => "no other program writes it as well",
];

/// Landlock restricts the directories. Without `O_TRUNC`, so that no file can be emptied.
const ROTATION: &[Allowed] = allow![
    SYS_openat(2 is int(ROTATED_FILE), 3 is Is::Int(PUBLIC)) => "the new file of an output, without set-id bits",
    SYS_openat(2 is int(ROTATED_FILE), 3 is Is::Int(PRIVATE)) => seldom "likewise, with secrets",
    SYS_flock(1 is int(LOCK)) => "no other program writes it as well",
    SYS_fstat => seldom "is it a regular one, and another than before",
    SYS_newfstatat(3 is int(libc::AT_EMPTY_PATH)) => "likewise: how some libcs write fstat",
    SYS_fchmod(1 is Is::Int(PRIVATE)) => seldom "secrets are for the user alone",
];

/// Landlock restricts the directories. No file is ever replaced: an existing name stays with its file.
const PARTS: &[Allowed] = allow![
    SYS_fdatasync => "a part is complete when it is on the disk",
    SYS_fsync => "and its name, in its directory",
    SYS_fstat => seldom "identity, length and owner of a file",
    SYS_newfstatat(3 is int(libc::AT_EMPTY_PATH)) => "likewise: how some libcs write fstat",
    SYS_newfstatat(3 is int(libc::AT_SYMLINK_NOFOLLOW)) => "does the name still refer to this file",
    SYS_renameat2(4 is Is::Int(libc::RENAME_NOREPLACE)) => "renames a finished part",
    SYS_openat(2 is int(NEW_FILE), 3 is Is::Without(SET_ID_BITS)) => "the file after it, with the mode of the last one",
    SYS_flock(1 is int(LOCK)) => "no other program writes it as well",
    SYS_unlinkat(2 is int(0)) => "removes the oldest part",
];

const SYNC: &[Allowed] = allow![
    SYS_fdatasync => "a record is there when it is on the disk",
    SYS_fsync => "and the name of a new file, in its directory",
];

/// The filter cannot check in which directory a file is replaced; Landlock restricts it.
const METRICS: &[Allowed] = allow![
    SYS_openat(2 is int(NEW_FILE), 3 is Is::Int(PUBLIC)) => "the next figures, without set-id bits",
    SYS_renameat2(4 is Is::Int(0)) => "they replace the last ones as a whole",
    SYS_unlinkat(2 is int(0)) => seldom "an earlier run left its next figures behind",
];

/// Landlock restricts the open to the FIFO itself, which is held by a descriptor that cannot be written.
const WAITING: &[Allowed] = allow![
    SYS_openat(2 is int(WAITING_PIPE)) => "opens the FIFO once it has a reader",
];

/// A terminal can be resized at any time. No other request is permitted: input could be injected into the terminal
/// (`TIOCSTI`).
const TERMINAL_WIDTH: &[Allowed] = allow![
    SYS_ioctl(1 is Is::Int(libc::TIOCGWINSZ as u32)) => "view: how wide is the terminal",
];

/// Restricted to one kind of socket and to addresses as long as one of syslogd's: the filter cannot read a path, and
/// Landlock has no rule about connecting to a socket in the file system.
const SYSLOG: &[Allowed] = allow![
    SYS_socket(0 is int(libc::AF_UNIX), 1 is int(SYSLOG_SOCKET), 2 is int(0)) => seldom "syslogd was restarted",
    SYS_sendto(3 is Is::Without(libc::MSG_FASTOPEN as u32), 4 is NULL) => seldom "notices",
    SYS_connect(2 is Is::Int(address_size(SYSLOG_PATH))) => seldom "likewise",
    SYS_connect(2 is Is::Int(address_size(JOURNAL_PATH))) => seldom "likewise, where journald alone is there",
];

/// Files of NSS: configuration, libraries, and the sockets of its daemons.
pub const NSS_FILES: [&str; 6] = ["/etc", "/usr", "/lib", "/lib64", "/run", "/var/run"];

/// Directories of the sockets of NSS daemons: nscd, avahi, nslcd, winbindd, sssd, systemd-resolved.
pub(crate) const NSS_SOCKETS: [&str; 6] = [
    "/var/run/nscd",
    "/var/run/avahi-daemon",
    "/var/run/nslcd",
    "/var/run/samba/winbindd",
    "/var/lib/sss/pipes",
    "/run/systemd/resolve",
];

/// TCP ports of name servers.
pub const NAME_SERVERS: &[u16] = &[53];

/// Socket of syslogd.
pub const SYSLOG_PATH: &str = "/dev/log";

/// Socket on which journald receives syslog messages, for a root directory whose `/dev/log` does not lead there.
pub const JOURNAL_PATH: &str = "/run/systemd/journal/dev-log";

/// Size of a Unix socket's address: the family, and the path without its NUL.
const fn address_size(path: &str) -> u32 {
    (size_of::<libc::sa_family_t>() + path.len()) as u32
}

const SYSLOG_SOCKET: i32 = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

const BACKGROUND: &[Allowed] = allow![
    SYS_dup3(1 is int(libc::STDERR_FILENO), 2 is int(0)) => "/dev/null takes the place of stderr",
];

/// Calls of glibc's resolver and NSS modules, from their sources and tested with every module that Debian packages,
/// including rare ones. The resolver itself needs few of these calls; the lookups, which inherit its filter, need the
/// others.
///
/// No file can be written, no program started, and no memory executed that is or was writable.
const RESOLVER: &[Allowed] = allow![
    SYS_openat(2 is Is::Without((libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u32))
        => "configuration files and NSS modules, to read them",
    SYS_read => "configuration files, answers",
    SYS_pread64 => seldom "NSS modules",
    SYS_readv => seldom "answers of nscd",
    SYS_writev => "a question by TCP, after an answer that was cut off",
    SYS_lseek => "configuration files",
    SYS_fstat => seldom "configuration files",
    SYS_newfstatat => "configuration files: have they changed?",
    SYS_statx => seldom "likewise",
    #[cfg(target_arch = "x86_64")]
    SYS_stat => seldom "likewise, in a C library before 2.33",
    #[cfg(target_arch = "x86_64")]
    SYS_lstat => seldom "likewise",
    SYS_statfs => seldom "NSS modules: what kind of file system is this",
    SYS_fstatfs => seldom "likewise",
    #[cfg(target_arch = "x86_64")]
    SYS_access => seldom "NSS modules: has the system IPv6",
    SYS_faccessat => seldom "likewise",
    SYS_faccessat2 => seldom "likewise",
    #[cfg(target_arch = "x86_64")]
    SYS_readlink => seldom "NSS modules",
    SYS_readlinkat => seldom "NSS modules",
    SYS_getcwd => seldom "NSS modules",
    SYS_getdents64 => seldom "NSS modules",
    SYS_mmap(2 is Is::Without(libc::PROT_EXEC as u32)) => seldom "NSS modules are loaded when they are needed",
    SYS_mmap(2 is Is::Without(libc::PROT_WRITE as u32), 3 is Is::Without(libc::MAP_ANONYMOUS as u32))
        => seldom "their code: of a file, and never writable",
    SYS_socket(0 is int(libc::AF_INET)) => "to name servers",
    SYS_socket(0 is int(libc::AF_INET6)) => "likewise",
    SYS_socket(0 is int(libc::AF_NETLINK), 2 is int(libc::NETLINK_ROUTE)) => "addresses of this host",
    SYS_connect(2 is Is::Int(size_of::<libc::sockaddr_in>() as u32)) => "to name servers",
    SYS_connect(2 is Is::Int(size_of::<libc::sockaddr_in6>() as u32)) => "likewise",
    SYS_bind(2 is Is::Int(size_of::<libc::sockaddr_nl>() as u32)) => seldom "netlink",
    SYS_bind(2 is Is::Int(size_of::<libc::sockaddr>() as u32)) => seldom "netlink, in myhostname",
    SYS_getsockname => seldom "which source address would be used",
    SYS_getpeername => seldom "NSS modules",
    SYS_getsockopt => seldom "NSS modules",
    SYS_setsockopt(1 is int(libc::IPPROTO_IP), 2 is int(libc::IP_RECVERR)) => "name servers that are not there",
    SYS_setsockopt(1 is int(libc::IPPROTO_IPV6), 2 is int(libc::IPV6_RECVERR)) => "likewise",
    SYS_setsockopt(1 is int(libc::SOL_NETLINK), 2 is int(libc::NETLINK_PKTINFO)) => seldom "myhostname",
    SYS_setsockopt(1 is int(libc::SOL_NETLINK), 2 is int(libc::NETLINK_EXT_ACK)) => seldom "likewise",
    SYS_setsockopt(1 is int(libc::SOL_NETLINK), 2 is int(libc::NETLINK_GET_STRICT_CHK)) => seldom "likewise",
    SYS_setsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_RCVBUF)) => seldom "likewise",
    SYS_setsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_SNDBUF)) => seldom "resolve",
    SYS_setsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_RCVTIMEO)) => seldom "NSS daemons that do not answer",
    SYS_setsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_SNDTIMEO)) => seldom "likewise",
    SYS_sendmmsg => seldom "two questions at a time",
    SYS_sendto(3 is Is::Without(libc::MSG_FASTOPEN as u32), 5 is Is::Int(size_of::<libc::sockaddr_nl>() as u32))
        => seldom "netlink",
    SYS_sendto(3 is Is::Without(libc::MSG_FASTOPEN as u32), 5 is Is::Int(size_of::<libc::sockaddr>() as u32))
        => seldom "netlink, in myhostname",
    SYS_ioctl(1 is Is::Int(0x541B)) => "FIONREAD: how long an answer is",
    SYS_ioctl(1 is Is::Int(0x8933)) => seldom "SIOCGIFINDEX: the number of an interface in fe80::1%eth0",
    SYS_ioctl(1 is Is::Int(0x8910)) => seldom "SIOCGIFNAME: its name, for the way back",
    SYS_fcntl(1 is int(libc::F_GETFL)) => seldom "NSS modules: does a socket block",
    SYS_fcntl(1 is int(libc::F_SETFL)) => seldom "sockets that do not block",
    SYS_fcntl(1 is int(libc::F_SETFD)) => seldom "descriptors that end with an exec",
    SYS_fcntl(1 is int(libc::F_DUPFD_CLOEXEC)) => seldom "NSS modules",
    SYS_prctl(0 is int(libc::PR_CAPBSET_READ)) => seldom "mymachines, when it is loaded",
    SYS_uname => "libraries; the name of this host",
    SYS_sysinfo => seldom "libraries",
    SYS_getuid => seldom "NSS modules",
    SYS_geteuid => seldom "NSS modules",
    SYS_getgid => seldom "NSS modules",
    SYS_getegid => seldom "NSS modules",
    SYS_getresuid => seldom "NSS modules",
    SYS_getresgid => seldom "NSS modules",
    SYS_getgroups => seldom "NSS modules",
    SYS_clock_nanosleep => seldom "NSS modules: the next attempt",
    SYS_clock_getres => seldom "libraries",
    SYS_sched_yield => seldom "libraries",
    SYS_sched_getaffinity => seldom "libraries",
    #[cfg(target_arch = "x86_64")]
    SYS_select => seldom "NSS daemons",
    SYS_pselect6 => seldom "likewise",
    SYS_epoll_create1 => seldom "NSS daemons' libraries",
    SYS_epoll_ctl => seldom "likewise",
    #[cfg(target_arch = "x86_64")]
    SYS_epoll_wait => seldom "likewise",
    SYS_epoll_pwait => seldom "likewise",
    SYS_gettimeofday => seldom "deadlines",
    SYS_prlimit64(2 is NULL) => seldom "NSS modules",
    SYS_clone(0 is Is::Long(libc::SIGCHLD as u64)) => "fork of a lookup; no thread, no namespace",
    SYS_wait4 => "which lookup ended",
    SYS_socketpair(0 is int(libc::AF_UNIX), 1 is int(libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC), 2 is int(0))
        => "a lookup's channel",
    SYS_getppid => "lookup: is the resolver still there?",
    SYS_prctl(0 is int(libc::PR_SET_PDEATHSIG), 1 is Is::Long(libc::SIGKILL as u64)) => "lookup: die with the resolver",
    SYS_prctl(0 is int(libc::PR_SET_NO_NEW_PRIVS), 1 is Is::Long(1)) => seldom "this filter, which is installed in parts",
    SYS_prctl(0 is int(libc::PR_SET_NAME)) => "lookup: its name in ps",
    SYS_prlimit64(0 is Is::Int(0), 1 is int(libc::RLIMIT_NPROC as i32)) => "lookup: never fork; a limit only falls",
    SYS_timer_create(0 is int(libc::CLOCK_MONOTONIC)) => "lookup: its deadline, at which the kernel kills it",
    SYS_timer_settime => "likewise",
];

/// Added only if a configured module needs it: the filter cannot read the path, and the addresses of most daemons
/// have the maximum length.
const NSS_DAEMONS: &[Allowed] = allow![
    SYS_socket(0 is int(libc::AF_UNIX), 1 is int(libc::SOCK_STREAM)) => seldom "to NSS daemons",
    SYS_socket(0 is int(libc::AF_UNIX), 1 is int(libc::SOCK_STREAM | libc::SOCK_CLOEXEC)) => seldom "likewise",
    SYS_socket(0 is int(libc::AF_UNIX), 1 is STREAM) => seldom "likewise",
    SYS_connect(2 is Is::Int(size_of::<libc::sockaddr_un>() as u32)) => seldom "nscd, avahi, sssd, winbindd",
    SYS_connect(2 is Is::Int(unix_address("/run/systemd/resolve/io.systemd.Resolve\0"))) => seldom "systemd-resolved",
    SYS_connect(2 is Is::Int(unix_address("/var/run/nslcd/socket"))) => seldom "nslcd",
];

/// Size of the address of a Unix socket; some modules count the NUL.
const fn unix_address(path: &str) -> u32 {
    (size_of::<libc::sa_family_t>() + path.len()) as u32
}

/// A lookup continues after a refused call; a lookup that is killed costs a name, and is reported.
const RESOLVER_REFUSED: &[Refused] = refuse![
    SYS_tgkill with EPERM => "abort: ends in SIGSEGV",
    SYS_clone3 with ENOSYS => "libraries that would like a thread",
    SYS_clone otherwise EAGAIN => "likewise",
    SYS_openat otherwise EACCES => "files to write",
    SYS_mmap otherwise EACCES => "memory to execute that is writable, or of no file",
    SYS_mprotect otherwise EACCES => "memory to execute",
    SYS_socket otherwise EAFNOSUPPORT => "NSS daemons that are not configured; other networks",
    SYS_connect otherwise EACCES => "Unix sockets",
    SYS_bind otherwise EACCES => "local addresses",
    SYS_sendto otherwise EACCES => "addresses of others",
    SYS_setsockopt otherwise ENOPROTOOPT => "SO_LINGER, whose close would wait; options of newer modules",
    SYS_ioctl otherwise ENOTTY => "is this a terminal",
    SYS_fcntl otherwise EINVAL => "locks",
    SYS_prctl otherwise EINVAL => "names of mappings, in newer C libraries",
    SYS_prlimit64 otherwise EPERM => "other limits",
    SYS_memfd_create with ENOSYS => "libraries",
    SYS_eventfd2 with ENOSYS => "libraries with an event loop",
    SYS_timerfd_create with ENOSYS => "likewise",
    SYS_signalfd4 with ENOSYS => "likewise",
    SYS_inotify_init1 with ENOSYS => "likewise",
    SYS_epoll_pwait2 with ENOSYS => "likewise",
    SYS_pidfd_open with ENOSYS => "newer systemd: who is at the other end",
    SYS_openat2 with ENOSYS => "newer libraries",
    SYS_membarrier with ENOSYS => "libraries with threads",
    SYS_io_uring_setup with ENOSYS => "newer libraries",
];

/// The zygote itself. Its workers inherit this table: `RLIMIT_NPROC` 0 prevents them from forking.
const ZYGOTE: &[Allowed] = allow![
    SYS_clone(0 is Is::Long(libc::SIGCHLD as u64)) => "fork; no thread, no namespace",
    SYS_wait4 => "which worker ended",
    SYS_socketpair(0 is int(libc::AF_UNIX), 1 is int(libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC), 2 is int(0))
        => "a worker's channel; never a datagram socket, which could be aimed at anybody by sendmsg",
    SYS_setsockopt(1 is int(libc::SOL_SOCKET), 2 is int(libc::SO_SNDBUF)) => "room for large records",
    SYS_setsockopt(1 is int(libc::SOL_SOCKET), 2 is int(sys::SO_PASSRIGHTS)) => "the logger takes no descriptor of a worker",
    SYS_read => "signals",
];

/// A worker inherits the zygote's filter, in which the permitted process id is that of the zygote: if abort's signal
/// were permitted, a worker could end the zygote or another worker. libc crashes if it cannot send itself the signal.
/// The errno value is that of the probe: another value would need another filter, which each call of a session would
/// pass through.
const ZYGOTE_REFUSED: &[Refused] = refuse![
    SYS_tgkill with ENOANO => "abort: ends in SIGSEGV",
];

/// A worker with one session.
const WORKER: &[Allowed] = allow![
    SYS_getppid => "newborn: is the zygote still there?",
    SYS_prctl(0 is int(libc::PR_SET_PDEATHSIG), 1 is Is::Long(libc::SIGKILL as u64)) => "newborn: die with the zygote",
    SYS_prctl(0 is int(libc::PR_SET_NAME)) => "newborn: its name in ps",
    SYS_prlimit64(0 is Is::Int(0), 1 is int(libc::RLIMIT_NPROC as i32)) => "newborn: never fork; a limit only falls",
    SYS_prlimit64(0 is Is::Int(0), 1 is int(libc::RLIMIT_NOFILE as i32)) => "newborn: few descriptors; likewise",
    SYS_sched_setscheduler(0 is Is::Int(0), 1 is int(libc::SCHED_OTHER))
        => "newborn: the zygote's policy gives way to every process that runs",
    SYS_epoll_create1(0 is int(libc::EPOLL_CLOEXEC)) => seldom "a session of many messages: one wait costs less",
    SYS_epoll_ctl(1 is int(libc::EPOLL_CTL_ADD)) => seldom "likewise: its peers and its channel",
    #[cfg(target_arch = "x86_64")]
    SYS_epoll_wait => seldom "likewise",
    #[cfg(not(target_arch = "x86_64"))]
    SYS_epoll_pwait => seldom "likewise",
    SYS_ioctl(1 is Is::Int(privsep::sys::SIOCATMARK as u32)) => "the place of urgent data",
    SYS_ioctl(1 is Is::Int(privsep::sys::SIOCOUTQ as u32)) => "has a peer received what it was sent before a reset",
    SYS_splice => "bytes that no output wants",
    SYS_pipe2(1 is int(libc::O_CLOEXEC | libc::O_NONBLOCK)) => "splice goes through a pipe",
    SYS_fcntl(1 is int(libc::F_SETPIPE_SZ)) => "a large one",
];

/// Added if a format shows the data. The call only reads numbers about a connection.
const TCP_INFO: &[Allowed] = allow![
    SYS_getsockopt(1 is int(libc::IPPROTO_TCP), 2 is int(libc::TCP_INFO))
        => "round-trip time, retransmissions and rate of a session's connections, at its end",
];

/// A worker between two Unix sockets passes descriptors on. The record shows their kinds, but not the path of a file:
/// the system shows that only in `/proc`, which a worker cannot reach; and no other role gets these descriptors,
/// because closing one can wait for a peer. No path is an argument here.
const DESCRIPTORS: &[Allowed] = allow![
    SYS_fstat => seldom "is it a socket, a file, a pipe",
    SYS_fcntl(1 is int(libc::F_GET_SEALS)) => seldom "is it a file in memory",
];

/// Saved records, read from descriptors that the parent opened.
const CONVERTER: &[Allowed] = allow![
    SYS_read => "the record",
];
