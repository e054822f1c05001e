//! Attacks from a compromised role that take more than one system call.

use std::net::Ipv4Addr;
use std::panic::catch_unwind;

use nix::libc;

use super::assignment;
use super::raw::{self, call};
use super::trial::{BUGS, Expected, NUMBERS_DIE, UNSEEN};

type Attack = (&'static str, &'static str, fn() -> bool, Expected);

pub(crate) fn of(role: &str) -> Vec<Attack> {
    let own: &[Attack] = if role == "worker" { WORKER } else { &[] };
    let sealed: &[Attack] = if raw::has_mseal() { SEALED } else { &[] };
    OF_ALL.iter().chain(sealed).chain(own).copied().collect()
}

/// Crashes and attacks that apply to every role.
const OF_ALL: &[Attack] = &[
    (BUGS, "a panic", panics, Expected::Crashes),
    (BUGS, "an abort", || std::process::abort(), Expected::Crashes),
    (BUGS, "a stack overflow", || raw::overflow(0) > 0, Expected::Crashes),
    (NUMBERS_DIE, "uretprobe by hand", || call(UNSEEN[0], [u64::MAX; 6]).is_err(), Expected::InVain),
    (NUMBERS_DIE, "uprobe by hand", || call(UNSEEN[1], [u64::MAX; 6]).is_err(), Expected::InVain),
    (BUGS, "no memory", || vec![1u8; std::hint::black_box(1 << 46)].len() > 1, Expected::Crashes),
];

const MEMORY: &str = "its memory stays what it is";

/// From Linux 6.10 on. The filters allow both calls, for the heap.
const SEALED: &[Attack] = &[
    (MEMORY, "a constant becomes writable", constant_becomes_writable, Expected::Holds),
    (MEMORY, "code gives way to data", code_gives_way, Expected::Holds),
];

const CONNECTS: &str = "a worker makes no connection";
const MEDDLES: &str = "a worker affects no other process";
const GROWS: &str = "a worker gains no resources";

const WORKER: &[Attack] = &[
    (CONNECTS, "sendto with an address", || sends_to(0), Expected::Killed),
    (CONNECTS, "sendto by TCP Fast Open", || sends_to(libc::MSG_FASTOPEN), Expected::Killed),
    (CONNECTS, "sendmsg by TCP Fast Open", || sends_message(libc::MSG_FASTOPEN), Expected::Killed),
    // The filter cannot inspect the address. It must have no effect: the test listens there.
    (CONNECTS, "sendmsg with an address", || sends_message(0), Expected::Holds),
    (CONNECTS, "sendmsg to a socket with a name", sends_to_a_name, Expected::Holds),
    (MEDDLES, "abort of the zygote", aborts_the_zygote, Expected::Holds),
    (GROWS, "a process", forks, Expected::Holds),
    (GROWS, "higher limits", raises_limits, Expected::Holds),
    (GROWS, "the machine's memory", takes_memory, Expected::Holds),
    (GROWS, "a descriptor more than its session needs", has_its_session_alone, Expected::Holds),
    (GROWS, "a call through the vsyscall page", calls_vsyscall, Expected::Fails),
];

/// This binary unwinds, as tests do; tcpreen aborts after the same message.
fn panics() -> bool {
    let _ = catch_unwind(|| panic!("on trial"));
    std::process::abort()
}

const PAGE: u64 = 4096;

fn is_sealed(number: i64, arguments: [u64; 6]) -> bool {
    call(number, arguments).is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}

fn constant_becomes_writable() -> bool {
    let page = MEMORY.as_ptr() as u64 / PAGE * PAGE;
    is_sealed(libc::SYS_mprotect, [page, PAGE, (libc::PROT_READ | libc::PROT_WRITE) as u64, 0, 0, 0])
}

/// A new page in the place of code that is never called here.
fn code_gives_way() -> bool {
    let page = crate::harness::run as *const () as u64 / PAGE * PAGE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    is_sealed(libc::SYS_mmap, [page, PAGE, protection as u64, flags as u64, u64::MAX, 0])
}

/// Includes every descriptor of a worker.
const DESCRIPTORS: std::ops::Range<u64> = 3..16;

/// Address of a listener of the test that must get no connection.
fn forbidden() -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: assignment::current().port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    }
}

fn pointer<T>(to: &T) -> u64 {
    std::ptr::from_ref(to) as u64
}

fn sends_to(flags: i32) -> bool {
    let (address, byte) = (forbidden(), 0u8);
    for fd in DESCRIPTORS {
        let length = size_of_val(&address) as u64;
        let _ = call(libc::SYS_sendto, [fd, pointer(&byte), 1, flags as u64, pointer(&address), length]);
    }
    false
}

/// On every descriptor, before and after its connection has been shut down.
fn sends_message(flags: i32) -> bool {
    let (address, byte) = (forbidden(), 0u8);
    for fd in DESCRIPTORS {
        send_one(fd, &address, size_of_val(&address), &byte, flags);
        let _ = call(libc::SYS_shutdown, [fd, libc::SHUT_RDWR as u64, 0, 0, 0, 0]);
        send_one(fd, &address, size_of_val(&address), &byte, flags);
    }
    true
}

fn send_one<T>(fd: u64, address: &T, length: usize, byte: &u8, flags: i32) {
    let part = libc::iovec { iov_base: pointer(byte) as *mut libc::c_void, iov_len: 1 };
    let header = libc::msghdr {
        msg_name: pointer(address) as *mut libc::c_void,
        msg_namelen: length as u32,
        msg_iov: pointer(&part) as *mut libc::iovec,
        msg_iovlen: 1,
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    };
    let flags = flags | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let _ = call(libc::SYS_sendmsg, [fd, pointer(&header), flags as u64, 0, 0, 0]);
}

/// Abstract name of a datagram socket of the test.
pub(crate) fn forbidden_name(port: u16) -> String {
    format!("tcpreen-probe-{port}")
}

/// Creates the only kind of socket pair that a worker may create, and sends to a named socket.
fn sends_to_a_name() -> bool {
    let mut address = libc::sockaddr_un { sun_family: libc::AF_UNIX as u16, sun_path: [0; 108] };
    let name = forbidden_name(assignment::current().port);
    for (to, from) in address.sun_path[1..].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let mut pair = [0i32; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    let place = std::ptr::from_mut(&mut pair) as u64;
    if call(libc::SYS_socketpair, [libc::AF_UNIX as u64, kind as u64, 0, place, 0, 0]).is_err() {
        return false;
    }
    // Leaves the other end without a peer.
    let _ = call(libc::SYS_close, [pair[1] as u64, 0, 0, 0, 0, 0]);
    let length = size_of::<libc::sa_family_t>() + 1 + name.len();
    for fd in std::iter::once(pair[0] as u64).chain(DESCRIPTORS) {
        send_one(fd, &address, length, &0, 0);
    }
    true
}

/// The worker inherited the zygote's filter, which permits the zygote to abort.
fn aborts_the_zygote() -> bool {
    let zygote = nix::unistd::getppid().as_raw() as u64;
    let signal = libc::SIGABRT as u64;
    let refused = call(libc::SYS_tgkill, [zygote, zygote, signal, 0, 0, 0]);
    refused.is_err_and(|error| error.raw_os_error() == Some(libc::ENOANO))
}

fn forks() -> bool {
    let refused = call(libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]);
    refused.is_err_and(|error| error.raw_os_error() == Some(libc::EAGAIN))
}

fn raises_limits() -> bool {
    [libc::RLIMIT_NPROC, libc::RLIMIT_NOFILE].into_iter().all(|resource| {
        let more = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
        let refused = call(libc::SYS_prlimit64, [0, resource as u64, pointer(&more), 0, 0, 0]);
        refused.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
    })
}

fn takes_memory() -> bool {
    let mut taken = 0u64;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let piece = 16u64 << 20;
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    while taken < 1 << 30 && call(libc::SYS_mmap, [0, piece, protection, flags, u64::MAX, 0]).is_ok() {
        taken += piece;
    }
    taken < 200 << 20
}

/// Checks for exactly three streams, the channel, client and server.
fn has_its_session_alone() -> bool {
    let open = |fd: &u64| call(libc::SYS_fcntl, [*fd, libc::F_GETFD as u64, 0, 0, 0, 0]).is_ok();
    (0..65536).filter(open).count() == 6
}

fn calls_vsyscall() -> bool {
    raw::vsyscall();
    false
}
