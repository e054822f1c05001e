//! Calls that each role may make: the second list, written by hand from the needs, not from `src/policy.rs`.
//!
//! Numbers in arguments are the kernel's own, spelled out, because a wrong constant in the table would be
//! wrong here as well.

use nix::libc;

use tcpreen::nsswitch;
use tcpreen::policy::Extra;

/// A system call on the list.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) number: i64,
    pub(crate) rule: Rule,
}

/// The first arguments of a call; the others are -1: an invalid descriptor, address and set of flags.
type Arguments = &'static [i64];

#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// With any arguments.
    Always,
    /// Fails with this error; the process survives.
    Refused(i32),
    /// Fails with these arguments; the call has other entries for those that pass.
    Otherwise(i32, &'static [Arguments]),
    /// Permitted with the first arguments, fatal with the second.
    When(&'static [Arguments], &'static [Arguments]),
}

macro_rules! always {
    ($($name:ident)*) => {
        &[$(Entry { name: stringify!($name), number: libc::$name, rule: Rule::Always }),*]
    };
}

macro_rules! when {
    ($($name:ident passes [$([$($good:expr),+]),*] dies [$([$($bad:expr),+]),*])*) => {
        &[$(Entry {
            name: stringify!($name),
            number: libc::$name,
            rule: Rule::When(&[$(&[$($good),+]),*], &[$(&[$($bad),+]),*]),
        }),*]
    };
}

macro_rules! refused {
    ($($name:ident $errno:ident)*) => {
        &[$(Entry { name: stringify!($name), number: libc::$name, rule: Rule::Refused(libc::$errno) }),*]
    };
}

macro_rules! otherwise {
    ($($name:ident $errno:ident [$([$($bad:expr),+]),*])*) => {
        &[$(Entry {
            name: stringify!($name),
            number: libc::$name,
            rule: Rule::Otherwise(libc::$errno, &[$(&[$($bad),+]),*]),
        }),*]
    };
}

/// Returns the tables that make up a role's list. A worker has its zygote's.
pub(crate) fn of(role: &str) -> Vec<Entry> {
    let own: &[&[Entry]] = match role {
        "parent" => &[PARENT, PARENT_WHEN, ALONE, ITSELF],
        "resolver" if nsswitch::asks_a_daemon() => {
            &[RESOLVER, STREAMS, RESOLVER_WHEN, ALONE, RESOLVER_OTHERWISE, RESOLVER_REFUSED, NSS_DAEMONS]
        }
        "resolver" => {
            &[RESOLVER, STREAMS, RESOLVER_WHEN, ALONE, RESOLVER_OTHERWISE, RESOLVER_REFUSED, NO_NSS_DAEMONS]
        }
        "logger" => &[THREADS, THREADS_WHEN, LOGGER, ARRIVALS, NO_CONNECTION, ITSELF],
        "zygote" | "worker" => {
            &[ZYGOTE, ZYGOTE_WHEN, STREAMS, ALONE, ARRIVALS, NO_CONNECTION, ZYGOTE_REFUSED]
        }
        "converter" => &[CONVERTER, STREAMS, ALONE, NO_CONNECTION, ITSELF],
        _ => panic!("no role {role}"),
    };
    [EVERYBODY, EVERYBODY_WHEN, PROBE].iter().chain(own).flat_map(|table| table.iter().copied()).collect()
}

/// Returns the additions for an optional permission.
pub(crate) fn of_extra(extra: Extra) -> &'static [Entry] {
    match extra {
        Extra::NssDaemons => NSS_DAEMONS,
        Extra::Descriptors => DESCRIPTORS,
        Extra::Background => BACKGROUND,
        Extra::SocketFiles => SOCKET_FILES,
        Extra::PidFile => PID_FILE,
        Extra::Packets => PACKETS,
        Extra::SessionFiles => SESSION_FILES,
        Extra::Rotation => ROTATION,
        Extra::Parts => PARTS,
        Extra::WaitingPipe => WAITING_PIPE,
        Extra::Sync => SYNC,
        Extra::Metrics => METRICS,
        Extra::TerminalWidth => TERMINAL_WIDTH,
        Extra::Syslog => SYSLOG,
        Extra::TcpInfo => TCP_INFO,
    }
}

/// SOL_SOCKET, SO_TYPE: the type of a received descriptor. Not SO_ERROR, SO_PEERCRED.
const ARRIVALS: &[Entry] = when![
    SYS_getsockopt passes [[-1, 1, 3]] dies [[-1, 1, 4], [-1, 6, 3], [-1, 1, 17]]
];

const NO_CONNECTION: &[Entry] = when![
    // sockaddr_in, sockaddr_in6, sockaddr_un; more than the family; none
    SYS_connect passes [] dies [[-1, -1, 16], [-1, -1, 28], [-1, -1, 110], [-1, -1, 3], [-1, -1, 0]]
];

/// With what a process finds out that its filter is on.
const PROBE: &[Entry] = refused!(SYS_getpgid ENOANO);

const EVERYBODY: &[Entry] = always![
    SYS_exit_group SYS_restart_syscall SYS_rt_sigreturn SYS_rt_sigaction SYS_rt_sigprocmask SYS_sigaltstack
    SYS_gettid SYS_getpid SYS_clock_gettime SYS_getrandom
    SYS_close SYS_write SYS_poll SYS_ppoll SYS_recvmsg SYS_shutdown
    SYS_brk SYS_munmap SYS_mremap SYS_madvise
];

const EVERYBODY_WHEN: &[Entry] = when![
    SYS_prctl
        // PR_GET_SECCOMP; not PR_SET_SECCOMP, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE
        passes [[21]] dies [[22, 2], [4, 1], [38, 1], [65, 0]]
    SYS_connect
        // The family alone, which AF_UNSPEC needs
        passes [[-1, -1, 2]]
        dies []
    SYS_fcntl
        passes [[-1, 1]]
        // F_DUPFD, F_GETFL, F_SETOWN, F_SETSIG, F_SETLEASE, F_NOTIFY
        dies [[-1, 0], [-1, 3], [-1, 8], [-1, 10], [-1, 1024], [-1, 1026]]
    SYS_futex
        passes [[-1, 129]]
        // FUTEX_FD, _CMP_REQUEUE, _LOCK_PI, _TRYLOCK_PI, _CMP_REQUEUE_PI, private and not
        dies [[-1, 2], [-1, 132], [-1, 6], [-1, 134], [-1, 136], [-1, 12], [-1, 140]]
    SYS_mmap
        passes [[0, 4096, 3, 0x22, -1, 0]]
        // PROT_EXEC, also with bits that the kernel does not see; a file
        dies [[0, 4096, 4, 0x22, -1, 0], [0, 4096, 7, 0x22, -1, 0], [0, 4096, 0x1_0000_0005, 0x22, -1, 0],
              [0, 4096, 3, 0x22, 0, 0], [0, 4096, 1, 1, 3, 0]]
    SYS_mprotect
        passes [[-1, 4096, 0], [-1, 4096, 3]]
        dies [[-1, 4096, 4], [-1, 4096, 5], [-1, 4096, 7], [-1, 4096, 0x1_0000_0004]]
    SYS_sendmsg
        passes [[-1, -1, 0], [-1, -1, 0x4040]]
        dies [[-1, -1, 0x2000_0000], [-1, -1, 0x2000_4040]]
];

/// Bytes to connected sockets and from them.
const STREAMS: &[Entry] = &[
    Entry { name: "SYS_recvfrom", number: libc::SYS_recvfrom, rule: Rule::Always },
    Entry {
        name: "SYS_sendto",
        number: libc::SYS_sendto,
        // MSG_NOSIGNAL; MSG_FASTOPEN with it and without, an address
        rule: Rule::When(
            &[&[-1, -1, 1, 0x4000, 0, 0]],
            &[
                &[-1, -1, 1, 0x2000_0000, 0, 0],
                &[-1, -1, 1, 0x2000_4000, 0, 0],
                &[-1, -1, 1, 0, 4096, 16],
                &[-1, -1, 1, 0, 0x1_0000_0000, 16],
            ],
        ),
    },
];

/// A process of one thread waits for no lock.
const ALONE: &[Entry] = when![
    SYS_futex passes [] dies [[-1, 128], [-1, 137], [-1, 265], [-1, 393]]
];

/// Abort of the process itself and of no other.
const ITSELF: &[Entry] = when![
    SYS_tgkill passes [] dies [[1, 1, 6], [0, 0, 6]]
];

const THREADS: &[Entry] = always![
    SYS_exit SYS_sched_yield SYS_clock_nanosleep SYS_rseq SYS_set_robust_list SYS_sched_getaffinity
];

const THREADS_WHEN: &[Entry] = when![
    // FUTEX_WAIT and FUTEX_WAIT_BITSET, private; the latter by the clock of the wall, shared and not private
    SYS_futex passes [[-1, 128], [-1, 137], [-1, 265]] dies [[-1, 393]]
];

const PARENT: &[Entry] = always![
    SYS_connect SYS_getpeername SYS_getsockname SYS_read SYS_waitid SYS_wait4
];

const PARENT_WHEN: &[Entry] = when![
    SYS_socket
        passes [[1, 0x80801, 0], [2, 0x80801, 0], [10, 0x80801, 0]]
        // datagrams, raw, one that is inherited, multipath TCP; netlink, packets, AF_ALG, vsock
        dies [[2, 0x80802, 0], [2, 0x80803, 0], [2, 1, 0], [2, 0x80801, 262], [1, 0x80802, 0],
              [16, 0x80803, 0], [17, 0x80803, 0], [38, 0x80805, 0], [40, 0x80801, 0]]
    SYS_setsockopt
        // TCP_NODELAY, SO_LINGER, SO_OOBINLINE, SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT
        passes [[-1, 6, 1], [-1, 1, 13], [-1, 1, 10], [-1, 1, 9], [-1, 6, 4], [-1, 6, 5], [-1, 6, 6]]
        // SO_REUSEADDR, SO_BINDTODEVICE, SO_ATTACH_FILTER, TCP_REPAIR, TCP_ULP, IP_TRANSPARENT
        dies [[-1, 1, 2], [-1, 1, 25], [-1, 1, 26], [-1, 6, 19], [-1, 6, 31], [-1, 0, 19]]
    SYS_ioctl
        passes [[-1, 0x541B]]
        // TIOCSTI, FIOSETOWN, SIOCSIFFLAGS, SIOCATMARK
        dies [[-1, 0x5412], [-1, 0x8901], [-1, 0x8914], [-1, 0x8905]]
    // SOCK_CLOEXEC and SOCK_NONBLOCK; one alone, and none
    SYS_accept4 passes [[-1, -1, -1, 0x80800]] dies [[-1, -1, -1, 0x80000], [-1, -1, -1, 0x800], [-1, -1, -1, 0]]
    // SO_ERROR, SO_TYPE; SO_PEERCRED, SO_PEERPIDFD, TCP_INFO, SO_RCVBUF
    SYS_getsockopt passes [[-1, 1, 4], [-1, 1, 3]] dies [[-1, 1, 17], [-1, 1, 77], [-1, 6, 11], [-1, 1, 8]]
    SYS_fcntl passes [] dies [[-1, 4], [-1, 1030]]
];

const CONVERTER: &[Entry] = always![SYS_read];

const BACKGROUND: &[Entry] = when![
    SYS_dup3 passes [[-1, 2, 0]] dies [[-1, 0, 0], [-1, 1, 0], [-1, 3, 0], [-1, 2, 0x80000]]
];

const SOCKET_FILES: &[Entry] = when![
    SYS_unlinkat
        passes [[-1, 0, 0]]
        // AT_REMOVEDIR
        dies [[-1, 0, 0x200]]
    SYS_newfstatat passes [[-1, 0, 0, 0]] dies []
];

const PACKETS: &[Entry] = when![
    SYS_socket
        passes [[1, 0x80805, 0]]
        // of the network, as SCTP has them; without flags; netlink
        dies [[2, 0x80805, 0], [10, 0x80805, 0], [1, 5, 0], [16, 0x80805, 0]]
    SYS_setsockopt
        // SO_TIMESTAMP, SO_SNDBUF
        passes [[-1, 1, 29], [-1, 1, 7]]
        // SO_SNDBUFFORCE, SO_TIMESTAMPING
        dies [[-1, 1, 32], [-1, 1, 37]]
];

const PID_FILE: &[Entry] = when![
    SYS_unlinkat
        passes [[-1, 0, 0]]
        // AT_REMOVEDIR
        dies [[-1, 0, 0x200]]
    SYS_newfstatat passes [[-1, 0, 0, 0]] dies []
    SYS_ftruncate passes [[-1, 0]] dies []
];

const RESOLVER: &[Entry] = always![
    SYS_read SYS_pread64 SYS_readv SYS_writev SYS_lseek SYS_fstat SYS_newfstatat SYS_statx SYS_stat SYS_lstat SYS_statfs
    SYS_fstatfs SYS_access SYS_faccessat SYS_faccessat2 SYS_readlink SYS_readlinkat SYS_getcwd SYS_getdents64
    SYS_getsockname SYS_getpeername SYS_getsockopt SYS_sendmmsg SYS_uname SYS_sysinfo
    SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups SYS_getppid
    SYS_clock_nanosleep SYS_clock_getres SYS_sched_yield SYS_sched_getaffinity SYS_select SYS_pselect6
    SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_wait SYS_epoll_pwait SYS_gettimeofday SYS_wait4 SYS_timer_settime
];

const RESOLVER_WHEN: &[Entry] = when![
    SYS_openat passes [[-1, -1, 0], [-1, -1, 0x80000], [-1, -1, 0x90800]] dies []
    SYS_mmap
        // anonymous, of a file, and the code of one
        passes [[0, 4096, 3, 0x22, -1, 0], [0, 4096, 3, 2, 3, 0], [0, 4096, 5, 0x812, 3, 0]]
        dies []
    SYS_connect passes [[-1, -1, 16], [-1, -1, 28]] dies []
    SYS_socket passes [[2, 0x80802, 0], [10, 0x80802, 0], [16, 0x80003, 0]] dies []
    SYS_bind passes [[-1, -1, 12], [-1, -1, 16]] dies []
    SYS_sendto passes [[-1, -1, 1, 0, -1, 12], [-1, -1, 1, 0, -1, 16]] dies []
    SYS_setsockopt
        passes [[-1, 0, 11], [-1, 41, 25], [-1, 270, 3], [-1, 270, 11], [-1, 270, 12], [-1, 1, 7], [-1, 1, 8],
                [-1, 1, 20], [-1, 1, 21]]
        dies []
    SYS_ioctl passes [[-1, 0x541B], [-1, 0x8933], [-1, 0x8910]] dies []
    SYS_fcntl passes [[-1, 3], [-1, 4], [-1, 2], [-1, 1030]] dies []
    SYS_prctl passes [[1, 9], [15, -1], [23, 40], [38, 1]] dies []
    SYS_prlimit64 passes [[0, 7, 0], [0, 6, 0]] dies []
    SYS_clone passes [] dies []
    SYS_timer_create
        passes [[1, -1, -1]]
        // by the clock of the wall, of the processor, and those that wake the machine
        dies [[0, -1, -1], [2, -1, -1], [8, -1, -1]]
    SYS_socketpair
        passes [[1, 0x80005, 0]]
        dies [[1, 0x80002, 0], [1, 0x80001, 0], [1, 5, 0], [2, 0x80005, 0]]
];

/// With arguments other than those above.
const RESOLVER_OTHERWISE: &[Entry] = otherwise![
    // to write, to make, to empty, O_TMPFILE
    SYS_openat EACCES [[-1, -1, 1], [-1, -1, 2], [-1, -1, 0x40], [-1, -1, 0x200], [-1, -1, 0x41_0002]]
    // to execute: of no file, shared or private; writable; with bits that the kernel does not see
    SYS_mmap EACCES [[0, 4096, 4, 0x22, -1, 0], [0, 4096, 7, 0x22, -1, 0], [0, 4096, 5, 0x21, -1, 0],
                     [0, 4096, 7, 2, 3, 0], [0, 4096, 6, 1, 3, 0], [0, 4096, 0x1_0000_0005, 0x22, -1, 0]]
    SYS_mprotect EACCES [[-1, 4096, 4], [-1, 4096, 5], [-1, 4096, 7], [-1, 4096, 0x1_0000_0004]]
    // a Unix socket with another length than a daemon's, the system bus among them
    SYS_connect EACCES [[-1, -1, 12], [-1, -1, 20], [-1, -1, 29], [-1, -1, 30], [-1, -1, 109], [-1, -1, 128]]
    // Unix datagrams and packets; packets of the network, AF_ALG, vsock, XDP; netlink to netfilter and audit
    SYS_socket EAFNOSUPPORT [[1, 2, 0], [1, 0x80802, 0], [1, 5, 0], [17, 3, 0], [38, 5, 0], [40, 1, 0], [44, 3, 0], [16, 3, 12], [16, 3, 9]]
    SYS_bind EACCES [[-1, -1, 28], [-1, -1, 110], [-1, -1, 20]]
    // TCP Fast Open; an address of IPv6 and of a Unix socket
    SYS_sendto EACCES [[-1, -1, 1, 0x2000_0000, 0, 0], [-1, -1, 1, 0, 4096, 28], [-1, -1, 1, 0, 4096, 110]]
    // SO_LINGER, SO_BINDTODEVICE, SO_ATTACH_FILTER, SO_BROADCAST, TCP_REPAIR, TCP_ULP, IP_TRANSPARENT
    SYS_setsockopt ENOPROTOOPT [[-1, 1, 13], [-1, 1, 25], [-1, 1, 26], [-1, 1, 6], [-1, 6, 19], [-1, 6, 31],
                                [-1, 0, 19], [-1, 41, 11], [-1, 270, 1]]
    // TIOCSTI, FIOSETOWN, SIOCSIFFLAGS
    SYS_ioctl ENOTTY [[-1, 0x5412], [-1, 0x8901], [-1, 0x8914]]
    // F_SETOWN, F_SETLEASE, F_SETPIPE_SZ
    SYS_fcntl EINVAL [[-1, 8], [-1, 1024], [-1, 1031]]
    // another death signal, PR_SET_DUMPABLE, _SECCOMP, _MM, PR_SET_PTRACER, _VMA
    SYS_prctl EINVAL [[1, 0], [1, 15], [4, 1], [22, 0], [35, 0], [0x5961_6D61, -1], [0x5356_4D41, 0]]
    // of another process, of memory; to set
    SYS_prlimit64 EPERM [[1, 6, 4096], [0, 7, 4096], [0, 9, 4096]]
    // a thread, vfork, a new user namespace
    SYS_clone EAGAIN [[0x003D_0F00, 0, 0, 0, 0], [0x4111, 0, 0, 0, 0], [0x1000_0011, 0, 0, 0, 0]]
];

/// If `/etc/nsswitch.conf` names a module that connects to a daemon.
const NSS_DAEMONS: &[Entry] = when![
    SYS_socket passes [[1, 1, 0], [1, 0x80001, 0], [1, 0x80801, 0]] dies []
    SYS_connect passes [[-1, -1, 110], [-1, -1, 42], [-1, -1, 23]] dies []
];

/// If it names none.
const NO_NSS_DAEMONS: &[Entry] = otherwise![
    SYS_socket EAFNOSUPPORT [[1, 1, 0], [1, 0x80001, 0], [1, 0x80801, 0]]
    SYS_connect EACCES [[-1, -1, 110], [-1, -1, 42], [-1, -1, 23]]
];

const RESOLVER_REFUSED: &[Entry] = refused![
    SYS_tgkill EPERM SYS_clone3 ENOSYS SYS_memfd_create ENOSYS SYS_eventfd2 ENOSYS SYS_timerfd_create ENOSYS
    SYS_signalfd4 ENOSYS SYS_inotify_init1 ENOSYS SYS_epoll_pwait2 ENOSYS SYS_pidfd_open ENOSYS SYS_openat2 ENOSYS
    SYS_membarrier ENOSYS SYS_io_uring_setup ENOSYS
];

const LOGGER: &[Entry] = always![SYS_epoll_wait SYS_epoll_ctl SYS_read SYS_getppid SYS_alarm SYS_setitimer];

const SESSION_FILES: &[Entry] = when![
    SYS_openat
        // O_WRONLY, O_CREAT, O_EXCL, O_NOCTTY, O_APPEND, O_NOFOLLOW, O_CLOEXEC
        passes [[-1, -1, 0xA05C1, 0o666], [-1, -1, 0xA05C1, 0o600]]
        // to read; without O_EXCL; without O_NOFOLLOW; to read and write; emptied; set-uid; set-gid
        dies [[-1, -1, 0, 0o666], [-1, -1, 0xA0541, 0o666], [-1, -1, 0x805C1, 0o666], [-1, -1, 0xA05C2, 0o666],
              [-1, -1, 0xA07C1, 0o666], [-1, -1, 0xA05C1, 0o4666], [-1, -1, 0xA05C1, 0o2666]]
    SYS_flock
        passes [[-1, 6]]
        // one that waits, a shared one, the end of a lock
        dies [[-1, 2], [-1, 5], [-1, 8]]
];

const SYNC: &[Entry] = always![SYS_fdatasync SYS_fsync];

const WAITING_PIPE: &[Entry] = when![
    SYS_openat
        // O_WRONLY, O_NOCTTY, O_APPEND, O_NONBLOCK, O_CLOEXEC
        passes [[-1, -1, 0x80D01]]
        // to read; to read and write; waiting; made; emptied
        dies [[-1, -1, 0], [-1, -1, 0x80D02], [-1, -1, 0x80501], [-1, -1, 0x80941], [-1, -1, 0x80F01]]
];

const TERMINAL_WIDTH: &[Entry] = when![
    SYS_ioctl
        // TIOCGWINSZ
        passes [[-1, 0x5413]]
        // TCGETS, TIOCSCTTY, TIOCSTI, TIOCSWINSZ, FIONREAD
        dies [[-1, 0x5401], [-1, 0x540E], [-1, 0x5412], [-1, 0x5414], [-1, 0x541B]]
];

const FLOCK: Entry = Entry {
    name: "SYS_flock",
    number: libc::SYS_flock,
    rule: Rule::When(&[&[-1, 6]], &[&[-1, 2], &[-1, 5], &[-1, 8]]),
};

const ROTATION: &[Entry] = &[
    FLOCK,
    Entry { name: "SYS_fstat", number: libc::SYS_fstat, rule: Rule::Always },
    Entry {
        name: "SYS_openat",
        number: libc::SYS_openat,
        // O_WRONLY, O_CREAT, O_NOCTTY, O_APPEND, O_NONBLOCK, O_CLOEXEC; not to read, not emptied, no set-id bits
        rule: Rule::When(
            &[&[-1, -1, 0x80D41, 0o666], &[-1, -1, 0x80D41, 0o600]],
            &[
                &[-1, -1, 0, 0o666],
                &[-1, -1, 0x80D42, 0o666],
                &[-1, -1, 0x80F41, 0o666],
                &[-1, -1, 0x80D41, 0o4666],
                &[-1, -1, 0x80D41, 0o2600],
            ],
        ),
    },
    Entry {
        name: "SYS_newfstatat",
        number: libc::SYS_newfstatat,
        rule: Rule::When(&[&[-1, -1, -1, 0x1000]], &[&[-1, -1, -1, 0], &[-1, -1, -1, 0x800]]),
    },
    Entry {
        name: "SYS_fchmod",
        number: libc::SYS_fchmod,
        rule: Rule::When(&[&[-1, 0o600]], &[&[-1, 0o666], &[-1, 0o4600], &[-1, 0o777]]),
    },
];

const PARTS: &[Entry] = &[
    FLOCK,
    Entry { name: "SYS_fdatasync", number: libc::SYS_fdatasync, rule: Rule::Always },
    Entry { name: "SYS_fsync", number: libc::SYS_fsync, rule: Rule::Always },
    Entry { name: "SYS_fstat", number: libc::SYS_fstat, rule: Rule::Always },
    Entry {
        name: "SYS_newfstatat",
        number: libc::SYS_newfstatat,
        // an open file, or a name that is not followed
        rule: Rule::When(&[&[-1, -1, -1, 0x1000], &[-1, -1, -1, 0x100]], &[&[-1, -1, -1, 0]]),
    },
    Entry {
        name: "SYS_openat",
        number: libc::SYS_openat,
        rule: Rule::When(
            // any permissions; set-uid, set-gid, sticky
            &[&[-1, -1, 0xA05C1, 0o666], &[-1, -1, 0xA05C1, 0o640], &[-1, -1, 0xA05C1, 0o777]],
            &[
                &[-1, -1, 0xA0541, 0o666],
                &[-1, -1, 0x805C1, 0o666],
                &[-1, -1, 0xA05C1, 0o4644],
                &[-1, -1, 0xA05C1, 0o2644],
                &[-1, -1, 0xA05C1, 0o1644],
            ],
        ),
    },
    Entry {
        name: "SYS_renameat2",
        number: libc::SYS_renameat2,
        // RENAME_NOREPLACE; not RENAME_EXCHANGE, nor RENAME_WHITEOUT. One that replaces is of METRICS.
        rule: Rule::When(&[&[-1, -1, -1, -1, 1]], &[&[-1, -1, -1, -1, 2], &[-1, -1, -1, -1, 5]]),
    },
    Entry {
        name: "SYS_unlinkat",
        number: libc::SYS_unlinkat,
        // files, no directories
        rule: Rule::When(&[&[-1, -1, 0]], &[&[-1, -1, 0x200]]),
    },
];

const METRICS: &[Entry] = when![
    SYS_openat
        // New, never an existing file; without set-id bits
        passes [[-1, -1, 0xA05C1, 0o666]]
        dies [[-1, -1, 0xA0541, 0o666], [-1, -1, 0x805C1, 0o666], [-1, -1, 0xA05C1, 0o4644]]
    SYS_renameat2
        // RENAME_EXCHANGE, RENAME_WHITEOUT
        passes [[-1, -1, -1, -1, 0]]
        dies [[-1, -1, -1, -1, 2], [-1, -1, -1, -1, 5]]
    SYS_unlinkat
        passes [[-1, -1, 0]]
        dies [[-1, -1, 0x200]]
];

const SYSLOG: &[Entry] = when![
    SYS_socket
        passes [[1, 0x80802, 0]]
        dies [[1, 0x80801, 0], [2, 0x80802, 0], [2, 0x80801, 0], [10, 0x80802, 0], [16, 0x80802, 0]]
    SYS_sendto
        passes [[-1, -1, 1, 0x4040, 0, 0]]
        dies [[-1, -1, 1, 0x2000_0000, 0, 0], [-1, -1, 1, 0, 4096, 110]]
    SYS_connect
        passes [[-1, -1, 10], [-1, -1, 30]]
        dies [[-1, -1, 16], [-1, -1, 28], [-1, -1, 110]]
];

const ZYGOTE: &[Entry] = always![SYS_wait4 SYS_read SYS_getppid SYS_splice SYS_epoll_wait];

const ZYGOTE_WHEN: &[Entry] = when![
    SYS_clone
        passes [[17, 0, 0, 0, 0]]
        // a thread, vfork, a new user or network namespace, with the sender's files, with bits beyond an int,
        // and as libc's fork writes it
        dies [[0x003D_0F00, 0, 0, 0, 0], [0x4111, 0, 0, 0, 0], [0x1000_0011, 0, 0, 0, 0],
              [0x4000_0011, 0, 0, 0, 0], [0x0411, 0, 0, 0, 0], [0x1_0000_0011, 0, 0, 0, 0],
              [0x0120_0011, 0, 0, 0, 0]]
    SYS_socketpair
        passes [[1, 0x80005, 0]]
        // datagrams, which sendmsg could aim at anybody; streams; other families
        dies [[1, 0x80002, 0], [1, 2, 0], [1, 0x80001, 0], [1, 5, 0], [2, 0x80001, 0], [30, 0x80005, 0]]
    SYS_setsockopt
        // SO_SNDBUF, SO_PASSRIGHTS
        passes [[-1, 1, 7], [-1, 1, 83]]
        // SO_LINGER, SO_SNDBUFFORCE, SO_ATTACH_FILTER, SO_ZEROCOPY, TCP_REPAIR, TCP_FASTOPEN_CONNECT, TCP_ULP
        dies [[-1, 1, 13], [-1, 1, 32], [-1, 1, 26], [-1, 1, 60], [-1, 6, 19], [-1, 6, 30], [-1, 6, 31]]
    SYS_prctl
        passes [[1, 9], [15, -1]]
        // PR_SET_PDEATHSIG to nothing and to SIGTERM; PR_SET_DUMPABLE, _KEEPCAPS, _SECCOMP, _SECUREBITS, _MM,
        // PR_CAP_AMBIENT, PR_SET_PTRACER, PR_SET_CHILD_SUBREAPER
        dies [[1, 0], [1, 15], [4, 1], [8, 1], [22, 0], [28, 0], [35, 0], [47, 2], [0x5961_6D61, -1], [36, 1]]
    SYS_prlimit64
        passes [[0, 6, 0], [0, 7, 0]]
        // of another process; of core size, file size, address space
        dies [[1, 6, 0], [1, 7, 0], [0, 4, 0], [0, 1, 0], [0, 9, 0]]
    SYS_ioctl
        // SIOCATMARK, SIOCOUTQ
        passes [[-1, 0x8905], [-1, 0x5411]]
        // TIOCSTI, FIOSETOWN, FIOASYNC, TCSETS
        dies [[-1, 0x5412], [-1, 0x8901], [-1, 0x5452], [-1, 0x5402]]
    SYS_pipe2
        passes [[-1, 0x80800]]
        // without flags; of packets; of the kernel's notifications
        dies [[-1, 0], [-1, 0x84800], [-1, 0x80880]]
    SYS_sched_setscheduler
        // SCHED_OTHER; SCHED_FIFO, _RR, _BATCH, _IDLE, _DEADLINE; of another process
        passes [[0, 0]]
        dies [[0, 1], [0, 2], [0, 3], [0, 5], [0, 6], [1, 0]]
    SYS_epoll_create1 passes [[0x80000]] dies [[0], [1], [0x80800]]
    // EPOLL_CTL_ADD; _DEL, _MOD
    SYS_epoll_ctl passes [[-1, 1]] dies [[-1, 2], [-1, 3]]
    SYS_fcntl
        passes [[-1, 1031]]
        // F_SETFL, F_SETFD, F_DUPFD_CLOEXEC, F_ADD_SEALS
        dies [[-1, 4], [-1, 2], [-1, 1030], [-1, 1033]]
];

const TCP_INFO: &[Entry] = when![
    SYS_getsockopt
        passes [[-1, 6, 11]]
        // TCP_CONGESTION, TCP_REPAIR, TCP_CC_INFO, TCP_ULP; the same number of other levels
        dies [[-1, 6, 13], [-1, 6, 19], [-1, 6, 26], [-1, 6, 31], [-1, 0, 11], [-1, 1, 11], [-1, 41, 11]]
];

/// Between two Unix sockets: F_GET_SEALS, and no way to add seals.
const DESCRIPTORS: &[Entry] = &[
    Entry { name: "SYS_fstat", number: libc::SYS_fstat, rule: Rule::Always },
    Entry { name: "SYS_fcntl", number: libc::SYS_fcntl, rule: Rule::When(&[&[-1, 1034]], &[&[-1, 1033]]) },
];

const ZYGOTE_REFUSED: &[Entry] = refused![SYS_tgkill ENOANO];
