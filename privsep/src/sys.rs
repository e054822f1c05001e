//! Operating system interface: all `unsafe` code, behind functions that are safe to call.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Range, RangeInclusive};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use nix::unistd::{ForkResult, Pid};

// Links the unwinder from the archive, which the linker finds before the standard library requests the shared one.
// Otherwise every forked worker would inherit, and unmap, the five mappings of a library that is never called,
// because a panic aborts.
#[cfg(target_env = "gnu")]
#[link(name = "gcc_eh")]
unsafe extern "C" {}

/// Maximum number of descriptors in one message.
pub const MAX_FDS: usize = 2;

/// `SIOCATMARK` of asm-generic/sockios.h, which the libc crate lacks.
pub const SIOCATMARK: libc::c_ulong = 0x8905;

/// `SIOCOUTQ` of linux/sockios.h, which the libc crate lacks; it has the number of the terminals' `TIOCOUTQ`.
pub const SIOCOUTQ: libc::c_ulong = 0x5411;

/// `SO_PASSRIGHTS` of asm-generic/socket.h (Linux 6.16), which the libc crate has for one architecture only.
pub const SO_PASSRIGHTS: libc::c_int = 83;

/// Address length with which `connect` can only dissolve an association: the family `AF_UNSPEC` and nothing
/// else. Addresses of every other family are longer, so the kernel refuses them at this length.
pub const DISSOLVE: usize = size_of::<libc::sa_family_t>();

/// Size of the control buffer for [`MAX_FDS`] descriptors, in words aligned as `cmsghdr` requires.
const CONTROL_WORDS: usize = 4;

/// Size of the control buffer for the maximum number of descriptors that the kernel accepts in one message
/// (`SCM_MAX_FD`). Descriptors that do not fit are closed by the kernel in the receiving thread, which may
/// block on their peer.
const CONTROL_WORDS_MOST: usize = (16 + MOST_RIGHTS * size_of::<RawFd>()).div_ceil(8);

/// Size of the control data of a time stamp: a header and two words.
const STAMP_WORDS: usize = 4;

/// Maximum number of descriptors that the kernel accepts in one message (`SCM_MAX_FD`).
pub const MOST_RIGHTS: usize = 253;

/// A descriptor received from another process. Unless it is accepted, it is closed without blocking.
///
/// The last close of a TCP socket blocks on its peer where `SO_LINGER` is set. A dissolved connection has
/// nothing left to wait for.
#[derive(Debug)]
pub struct ForeignFd(Option<OwnedFd>);

impl ForeignFd {
    /// Accepts the descriptor as an ordinary one, whose close may block.
    pub fn accept(mut self) -> io::Result<OwnedFd> {
        self.0.take().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl From<OwnedFd> for ForeignFd {
    fn from(fd: OwnedFd) -> ForeignFd {
        ForeignFd(Some(fd))
    }
}

impl AsFd for ForeignFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Some(fd) => fd.as_fd(),
            None => unreachable!("only `accept` and `drop` take it, and both consume"),
        }
    }
}

impl Drop for ForeignFd {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take() {
            let _ = dissolve(fd.as_fd());
        }
    }
}

/// Descriptors of one message, in order.
pub type Fds = [Option<ForeignFd>; MAX_FDS];

/// Result of one `recvmsg`.
pub struct Received {
    /// Length of the message; 0 is the end of the channel.
    pub bytes: usize,
    pub fds: Fds,
    /// False if bytes or descriptors did not fit, or the control data was not of the expected kind.
    pub intact: bool,
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Receives one message with its descriptors, from a process that may be hostile.
///
/// Every descriptor that the kernel installed is owned before the message is examined: whatever the sender
/// tried, none leaks, and closing them does not block.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Received> {
    receive_into(socket, buffer, &mut [const { MaybeUninit::uninit() }; CONTROL_WORDS_MOST], flags)
}

/// Same as [`receive`], for messages of the parent, with less memory: a worker pays for each stack page that
/// it touches.
pub fn receive_from_parent(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: libc::c_int,
) -> io::Result<Received> {
    receive_into(socket, buffer, &mut [const { MaybeUninit::uninit() }; CONTROL_WORDS], flags)
}

fn receive_into(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    control: &mut [MaybeUninit<u64>],
    flags: libc::c_int,
) -> io::Result<Received> {
    let mut fds: Fds = [const { None }; MAX_FDS];
    let (mut count, mut fits) = (0, true);
    let raw = receive_each(socket, &mut [part_of(buffer)], control, flags, |fd| {
        let fd = ForeignFd::from(fd);
        match fds.get_mut(count) {
            Some(slot) => *slot = Some(fd),
            None => fits = false,
        }
        count += 1;
    })?;
    let whole = raw.flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) == 0;
    Ok(Received { bytes: raw.bytes, fds, intact: whole && fits && !raw.has_others })
}

fn part_of(buffer: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }
}

/// Result of a `recvmsg`, besides its descriptors.
struct RawReceived {
    bytes: usize,
    /// `msg_flags`
    flags: libc::c_int,
    /// There was other control data than descriptors.
    has_others: bool,
}

/// Receives one message. Each descriptor is owned before other data is examined.
fn receive_each(
    socket: BorrowedFd<'_>,
    parts: &mut [libc::iovec],
    control: &mut [MaybeUninit<u64>],
    flags: libc::c_int,
    mut each: impl FnMut(OwnedFd),
) -> io::Result<RawReceived> {
    // SAFETY: msghdr is plain data for which zero is valid on every platform.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len() as _;
    if !control.is_empty() {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(control) as _;
    }
    // SAFETY: header points at live buffers of the lengths it states, for the time of the call, or at memory that the
    // kernel cannot write; it writes the control buffer before it sets msg_controllen.
    let bytes = check_size(unsafe {
        libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags | libc::MSG_CMSG_CLOEXEC)
    })?;
    let mut has_others = false;
    // SAFETY: the kernel filled header and control; the CMSG_ functions walk within msg_controllen.
    let mut cmsg = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !cmsg.is_null() {
        // SAFETY: cmsg came from CMSG_FIRSTHDR or CMSG_NXTHDR and is not null.
        let (level, kind, length, data) = unsafe {
            ((*cmsg).cmsg_level, (*cmsg).cmsg_type, (*cmsg).cmsg_len as usize, libc::CMSG_DATA(cmsg))
        };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: CMSG_LEN only computes.
            let payload = length.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
            for index in 0..payload / size_of::<RawFd>() {
                // SAFETY: the kernel wrote that many descriptors there, and this process alone owns them.
                each(unsafe { OwnedFd::from_raw_fd(data.cast::<RawFd>().add(index).read_unaligned()) });
            }
        } else {
            has_others = true;
        }
        // SAFETY: as above.
        cmsg = unsafe { libc::CMSG_NXTHDR(&raw const header, cmsg) };
    }
    Ok(RawReceived { bytes, flags: header.msg_flags, has_others })
}

/// Bytes of a Unix socket with the descriptors that came with them. The descriptors are not checked: they are for
/// another process.
#[derive(Debug)]
pub struct Rights {
    pub bytes: usize,
    pub fds: Vec<OwnedFd>,
    /// More descriptors arrived than fit; the kernel has closed the others.
    pub is_cut: bool,
    /// A message was longer than the buffer.
    pub is_too_long: bool,
    /// Other control data than descriptors arrived: with `SO_TIMESTAMP`, every message has some, and the end of the
    /// stream has none.
    pub is_stamped: bool,
}

/// Receives bytes and at most [`MOST_RIGHTS`] descriptors.
pub fn receive_rights(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Rights> {
    let mut fds = Vec::new();
    let mut control = [const { MaybeUninit::uninit() }; CONTROL_WORDS_MOST + STAMP_WORDS];
    let parts = &mut [part_of(buffer)];
    let raw = receive_each(socket, parts, &mut control, libc::MSG_DONTWAIT, |fd| fds.push(fd))?;
    Ok(Rights {
        bytes: raw.bytes,
        fds,
        is_cut: raw.flags & libc::MSG_CTRUNC != 0,
        is_too_long: raw.flags & libc::MSG_TRUNC != 0,
        is_stamped: raw.has_others,
    })
}

/// Receives bytes without descriptors, which the kernel closes; also returns whether there were any.
pub fn receive_without_rights(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    let raw = receive_each(socket, &mut [part_of(buffer)], &mut [], libc::MSG_DONTWAIT, drop)?;
    Ok((raw.bytes, raw.flags & libc::MSG_CTRUNC != 0))
}

/// Returns the number of bytes that can be received from a Unix stream before those that have descriptors: 0 if the
/// first have some, and at the end of the stream. At most the size of `room`, which is overwritten.
///
/// The kernel returns bytes of several messages at once, up to the end of the first that has descriptors, and does
/// not report where that message begins. But it copies message by message, and no part of a message whose copy fails:
/// with memory for all bytes but the last, it returns those before the message that the last one belongs to.
pub fn bytes_before_rights(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    let seen = receive_each(socket, &mut [part_of(room)], &mut [], flags, drop)?;
    if seen.flags & libc::MSG_CTRUNC == 0 || seen.bytes == 0 {
        return Ok(seen.bytes);
    }
    let nowhere = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 1 };
    let parts = &mut [part_of(&mut room[..seen.bytes - 1]), nowhere];
    match receive_each(socket, parts, &mut [], flags, drop) {
        Ok(before) => Ok(before.bytes),
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Sends bytes with descriptors, which are attached to the first byte; returns the number of bytes sent.
pub fn send_rights(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[OwnedFd], urgent: bool) -> io::Result<usize> {
    assert!(fds.len() <= MOST_RIGHTS, "a message carries at most {MOST_RIGHTS} descriptors");
    let mut control = [0u64; CONTROL_WORDS_MOST];
    let numbers = fds.iter().map(AsRawFd::as_raw_fd);
    let urgency = if urgent { libc::MSG_OOB } else { 0 };
    send_each(socket, bytes, numbers, &mut control, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | urgency)
}

/// Sends one message with descriptors.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: libc::c_int,
) -> io::Result<()> {
    assert!(fds.len() <= MAX_FDS, "a message carries at most {MAX_FDS} descriptors");
    let mut control = [0u64; CONTROL_WORDS];
    let numbers = fds.iter().map(AsRawFd::as_raw_fd);
    let sent = send_each(socket, bytes, numbers, &mut control, flags | libc::MSG_NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Sends one message. `control` has room for the header and `fds`.
fn send_each(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: impl ExactSizeIterator<Item = RawFd>,
    control: &mut [u64],
    flags: libc::c_int,
) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data for which zero is valid.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if fds.len() > 0 {
        let length = fds.len() * size_of::<RawFd>();
        // SAFETY: CMSG_SPACE only computes.
        let space = unsafe { libc::CMSG_SPACE(length as u32) } as usize;
        assert!(space <= size_of_val(control), "room for the descriptors");
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = space as _;
        // SAFETY: control is large enough for one header and its descriptors, as asserted, and aligned.
        unsafe {
            let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
            (*cmsg).cmsg_level = libc::SOL_SOCKET;
            (*cmsg).cmsg_type = libc::SCM_RIGHTS;
            (*cmsg).cmsg_len = libc::CMSG_LEN(length as u32) as _;
            let data = libc::CMSG_DATA(cmsg).cast::<RawFd>();
            for (index, fd) in fds.enumerate() {
                data.add(index).write_unaligned(fd);
            }
        }
    }
    // SAFETY: header points at live buffers for the time of the call.
    check_size(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) })
}

/// Kind of file behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Socket,
    Regular,
    /// A file in memory that has no name: `memfd_create(2)`, or removed.
    Memory,
    Directory,
    Pipe,
    /// A character or block device.
    Device,
    /// An object of the kernel without a file, such as an eventfd.
    Anonymous,
}

/// Determines the kind of file behind a descriptor, without a path and without opening a file.
pub fn file_kind(fd: BorrowedFd<'_>) -> FileKind {
    let mut found = MaybeUninit::<libc::stat>::zeroed();
    // The call itself: libc makes it another one, which takes a path.
    // SAFETY: the kernel writes one stat, of which libc has the kernel's layout on 64-bit systems.
    let result = unsafe { libc::syscall(libc::SYS_fstat, fd.as_raw_fd(), found.as_mut_ptr()) };
    // SAFETY: zero is valid for stat.
    let found = unsafe { found.assume_init() };
    match found.st_mode & libc::S_IFMT {
        _ if result != 0 => FileKind::Anonymous,
        libc::S_IFSOCK => FileKind::Socket,
        libc::S_IFREG if found.st_nlink == 0 && has_seals(fd) => FileKind::Memory,
        libc::S_IFREG | libc::S_IFLNK => FileKind::Regular,
        libc::S_IFDIR => FileKind::Directory,
        libc::S_IFIFO => FileKind::Pipe,
        libc::S_IFCHR | libc::S_IFBLK => FileKind::Device,
        _ => FileKind::Anonymous,
    }
}

/// Checks for a file of a file system in memory; only such files have seals.
fn has_seals(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: reads flags.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) >= 0 }
}

/// Takes over a descriptor that the process was started with, and none that this program already owns.
///
/// exec leaves no descriptor open that is close-on-exec, and all descriptors that this program opens are: the flag
/// separates the two kinds. The flag is set here, so that a number can be taken over once. The standard streams,
/// which belong to the whole program, are refused.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_GETFD reads a flag; it fails on a closed descriptor.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    if fd <= 2 || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a descriptor that has an owner"));
    }
    // SAFETY: sets a flag of a descriptor that is open.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the descriptor is open, and nothing owns it, as the flag shows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Checks whether an outer filter answers clone3 with EPERM. libc falls back to clone only after ENOSYS.
pub fn forbids_clone3() -> bool {
    // SAFETY: without arguments of any size nothing is made; the kernel answers EINVAL.
    let result = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<libc::c_void>(), 0) };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Takes over every descriptor that the process was started with, except the standard streams. Dropping one closes
/// it.
pub fn inherited_descriptors() -> io::Result<BTreeMap<RawFd, OwnedFd>> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    // Descriptors that have an owner, such as the listing's own, are left out.
    Ok(numbers.filter_map(|number| Some((number, inherited(number).ok()?))).collect())
}

/// Copies a descriptor to a number that is not lower than `least`; the copy is close-on-exec.
pub fn duplicate_above(fd: BorrowedFd<'_>, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl takes a number and makes a new descriptor.
    let copy = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) })?;
    // SAFETY: the kernel just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Makes descriptor `to` a copy of `from` that survives exec. Nothing may own `to`.
pub(crate) fn move_to(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    if from.as_raw_fd() == to {
        // SAFETY: clears the close-on-exec flag of an open descriptor.
        return check(unsafe { libc::fcntl(to, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: dup2 is safe for memory; used between fork and exec, where nothing owns `to` any more.
    check(unsafe { libc::dup3(from.as_raw_fd(), to, 0) }).map(drop)
}

/// Replaces those of descriptors 0, 1 and 2 that are in `streams` with copies of `null`.
///
/// Nothing owns those numbers: [`fill_standard_descriptors`] guarantees that they are always open.
pub fn replace_streams(null: BorrowedFd<'_>, streams: RangeInclusive<RawFd>) -> io::Result<()> {
    assert!(*streams.start() >= 0 && *streams.end() <= 2, "only the standard streams");
    streams.into_iter().try_for_each(|stream| move_to(null, stream))
}

/// Proof that the process has one thread. Its holder must not start another.
pub struct Alone(PhantomData<*const ()>);

impl Alone {
    /// Counts the threads. Needs `/proc`.
    pub fn check() -> io::Result<Alone> {
        match std::fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(Alone(PhantomData)),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "there is more than one thread")),
        }
    }
}

/// Forks a single-threaded process.
///
/// Makes the bare system call, without libc's handling of threads, locks and fork handlers, which touches
/// four pages of memory that would be copied for every child. In the child, libc keeps the parent's thread
/// id, which it uses in `raise` only.
pub fn fork(_alone: &Alone) -> io::Result<ForkResult> {
    fork_with(0)
}

/// Forks a child that shares root directory, working directory and umask with this process, so that changes
/// made in the child apply here.
pub(crate) fn fork_with_common_root(_alone: &Alone) -> io::Result<ForkResult> {
    fork_with(libc::CLONE_FS)
}

fn fork_with(flags: libc::c_int) -> io::Result<ForkResult> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and a stack this is fork(2), whatever the order of the other arguments, which
    // are all null; in a single-threaded process no lock can be held by a thread that does not exist in the
    // child.
    let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    Ok(match check(child as libc::c_int)? {
        0 => ForkResult::Child,
        pid => ForkResult::Parent { child: Pid::from_raw(pid) },
    })
}

/// Ends the process without running exit handlers.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: never returns, touches nothing.
    unsafe { libc::_exit(status) }
}

/// Restores the default action of SIGCHLD: where it was inherited as ignored, children cannot be waited for.
pub fn default_sigchld() -> io::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no handler is installed; SIG_DFL runs no code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    Ok(())
}

/// Checks whether a signal was ignored when this process was started.
pub fn is_ignored(signal: nix::sys::signal::Signal) -> io::Result<bool> {
    // SAFETY: sigaction is plain data for which zero is valid.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: without a new action, the call only writes the current one to `action`.
    check(unsafe { libc::sigaction(signal as libc::c_int, std::ptr::null(), &raw mut action) })?;
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// Checks whether the kernel gave the program more privileges than its caller has, by a set-uid bit or a file
/// capability. The environment is then not trusted.
pub fn is_secure_start() -> bool {
    // SAFETY: reads a number that the kernel left for the program.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Removes variables from the environment of a single-threaded process.
pub fn forget_variables(_alone: &Alone, names: &[&str]) {
    for name in names {
        // SAFETY: in a single-threaded process nothing reads the environment at the same time.
        unsafe { std::env::remove_var(name) };
    }
}

/// Opens `/dev/null` on those of 0, 1 and 2 that are closed, so that no socket ever gets one of these
/// numbers.
///
/// Rust's runtime does the same before `main`; here it is a guarantee. glibc does it, too, for a program with more
/// privileges than its caller, but with a `/dev/null` for 1 and 2 that refuses writes.
pub fn fill_standard_descriptors() -> io::Result<()> {
    for fd in 0..=2 {
        // SAFETY: reads a flag.
        let closed = unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0;
        if closed || fd > 0 && is_secure_start() && is_null_to_read(fd)? {
            // SAFETY: the path is a C string.
            let null = check(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) })?;
            if null == fd {
                // SAFETY: clears the flag of the descriptor just opened, which is kept for ever.
                check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
                continue;
            }
            // SAFETY: nothing owns `fd`.
            check(unsafe { libc::dup3(null, fd, 0) })?;
            // SAFETY: nothing else uses it.
            check(unsafe { libc::close(null) })?;
        }
    }
    Ok(())
}

/// Checks whether a descriptor is the null device opened for reading only.
fn is_null_to_read(fd: RawFd) -> io::Result<bool> {
    // SAFETY: stat is plain data for which zero is valid.
    let mut found: libc::stat = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: fstat fills it.
    check(unsafe { libc::fstat(fd, &raw mut found) })?;
    // SAFETY: reads flags.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let null = found.st_mode & libc::S_IFMT == libc::S_IFCHR && found.st_rdev == libc::makedev(1, 3);
    Ok(null && flags & libc::O_ACCMODE == libc::O_RDONLY)
}

/// Location of the process's command line in memory, for [`Title::set`].
pub struct Title {
    start: usize,
    length: usize,
}

impl Title {
    /// Finds the last argument of the command line.
    pub fn find() -> io::Result<Title> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // proc(5): arg_start and arg_end are fields 48 and 49; the name, field 2, may hold blanks.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_ascii_whitespace().collect())
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<usize>().ok());
        let last = std::env::args_os().last().map_or(0, |argument| argument.len());
        match (field(48), field(49)) {
            (Some(start), Some(end)) if start < end && last < end - start && last > 0 => {
                Ok(Title { start: end - last - 1, length: last })
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Replaces the last argument, as shown by `ps`. A longer text is cut, a shorter one padded.
    pub fn set(&self, text: &str) {
        let padded = text.bytes().chain(std::iter::repeat(b' '));
        for (offset, byte) in padded.take(self.length).enumerate() {
            // SAFETY: the kernel reports that this process's arguments are there; they are writable, end with
            // a NUL that is kept, and Rust holds no reference into them (std copies arguments out).
            unsafe { ((self.start + offset) as *mut u8).write_volatile(byte) };
        }
    }
}

/// Sets the name of the process in `/proc/PID/comm`.
pub fn set_name(name: &CStr) -> io::Result<()> {
    Ok(nix::sys::prctl::set_name(name)?)
}

/// Drops one capability from the bounding set. Returns `Ok(false)` if the kernel does not know that number.
pub fn drop_bounding(capability: u32) -> io::Result<bool> {
    // SAFETY: PR_CAPBSET_DROP takes a number.
    match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) }) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Renames a file within a directory. Fails if the new name is taken.
pub fn rename_new(directory: BorrowedFd<'_>, from: &CStr, to: &CStr) -> io::Result<()> {
    renameat2(directory, from, to, libc::RENAME_NOREPLACE)
}

/// Renames a file within a directory. Replaces a file that has the new name.
pub fn rename(directory: BorrowedFd<'_>, from: &CStr, to: &CStr) -> io::Result<()> {
    renameat2(directory, from, to, 0)
}

/// Makes the system call directly, because not every C library has a function for it.
fn renameat2(directory: BorrowedFd<'_>, from: &CStr, to: &CStr, flags: u32) -> io::Result<()> {
    let directory = directory.as_raw_fd();
    // SAFETY: both names are C strings that live for the time of the call.
    let result = unsafe {
        libc::syscall(libc::SYS_renameat2, directory, from.as_ptr(), directory, to.as_ptr(), flags)
    };
    check_size(result as isize).map(drop)
}

/// Returns the seccomp mode of this thread: 2 is a filter.
pub fn seccomp_mode() -> io::Result<i32> {
    // SAFETY: PR_GET_SECCOMP takes no argument.
    check(unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) })
}

/// Makes the kernel refuse executable memory that is or was writable, for this process and its children. Returns
/// `true` if it does, as read back; `false` before Linux 6.3.
pub(crate) fn refuse_exec_gain() -> bool {
    // The libc crate lacks it for some targets: linux/prctl.h, `PR_MDWE_REFUSE_EXEC_GAIN`.
    const REFUSE: libc::c_ulong = 1;
    // SAFETY: PR_SET_MDWE takes a number, and only restricts.
    unsafe { libc::prctl(libc::PR_SET_MDWE, REFUSE, 0, 0, 0) };
    // SAFETY: PR_GET_MDWE takes no argument.
    let found = unsafe { libc::prctl(libc::PR_GET_MDWE, 0, 0, 0, 0) };
    found >= 0 && found as libc::c_ulong & REFUSE != 0
}

/// Seals a mapping that is not writable: it can no longer be unmapped, moved or replaced, and its protection can no
/// longer be changed. Returns `true` if the mapping is sealed, as tried; `false` before Linux 6.10. `executable` is
/// its protection, which stays the same.
pub(crate) fn seal(range: &Range<usize>, executable: bool) -> bool {
    // SAFETY: sealing changes no memory.
    unsafe { libc::syscall(libc::SYS_mseal, range.start, range.len(), 0) };
    let protection = libc::PROT_READ | if executable { libc::PROT_EXEC } else { 0 };
    // SAFETY: fails if the range is sealed; otherwise the first page gets the protection that it has.
    let result = unsafe { libc::mprotect(range.start as *mut libc::c_void, 1, protection) };
    result != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Makes a call that takes a process id, with 0, which stands for this process.
pub(crate) fn probe(number: libc::c_long) -> io::Result<()> {
    // SAFETY: the one call that this is used for, getpgid, takes and returns a number.
    check_size(unsafe { libc::syscall(number, 0) } as isize).map(drop)
}

/// Checks whether the next byte of the socket is the urgent one (`sockatmark(3)`).
pub fn at_mark(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut answer: libc::c_int = 0;
    // SAFETY: SIOCATMARK writes one int.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCATMARK as _, &raw mut answer) })?;
    Ok(answer != 0)
}

/// Returns the length of the socket's send queue: bytes not acknowledged by a TCP peer, or not read by the
/// peer of a Unix socket.
pub fn outstanding(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut answer: libc::c_int = 0;
    // SAFETY: SIOCOUTQ writes one int.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCOUTQ as _, &raw mut answer) })?;
    Ok(usize::try_from(answer).unwrap_or(0))
}

/// State and measurements of a TCP connection (`TCP_INFO`). Fields that an older kernel does not have are 0.
pub fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    let socket = socket.as_raw_fd();
    // SAFETY: the kernel writes at most `length` bytes.
    check(unsafe { libc::getsockopt(socket, level, option, info.as_mut_ptr().cast(), &raw mut length) })?;
    // SAFETY: integers, for which all bytes are valid: zeros, and what the kernel wrote over them.
    Ok(unsafe { info.assume_init() })
}

/// Dissolves the association of a socket: the peer of a TCP connection gets a reset immediately. Other kinds
/// of descriptor are not affected.
pub fn dissolve(socket: BorrowedFd<'_>) -> io::Result<()> {
    let family: libc::sa_family_t = libc::AF_UNSPEC as libc::sa_family_t;
    let address = (&raw const family).cast::<libc::sockaddr>();
    // SAFETY: the kernel reads as many bytes as `family` has.
    check(unsafe { libc::connect(socket.as_raw_fd(), address, DISSOLVE as libc::socklen_t) }).map(drop)
}

/// Makes the kernel refuse descriptors sent to this end of a channel: the sender gets `EPERM`. Returns
/// `Ok(false)` before Linux 6.16, which lacks the option.
pub fn refuse_descriptors(socket: BorrowedFd<'_>) -> io::Result<bool> {
    pass_rights(socket, 0)
}

/// Undoes [`refuse_descriptors`], for tests of the checks behind it.
pub fn allow_descriptors(socket: BorrowedFd<'_>) -> io::Result<bool> {
    pass_rights(socket, 1)
}

fn pass_rights(socket: BorrowedFd<'_>, value: libc::c_int) -> io::Result<bool> {
    let length = size_of_val(&value) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, SO_PASSRIGHTS);
    // SAFETY: the kernel reads one int.
    let result = check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length)
    });
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Executes the program file that `binary` refers to.
pub fn execute(binary: BorrowedFd<'_>, arguments: &[CString], environment: &[CString]) -> io::Error {
    match nix::unistd::execveat(binary, c"", arguments, environment, nix::fcntl::AtFlags::AT_EMPTY_PATH) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}

/// Sets `SCHED_BATCH`: the process preempts no other one when it wakes up. Children inherit the policy, see
/// [`set_default_scheduling`].
pub fn set_batch_scheduling() -> io::Result<()> {
    set_policy(libc::SCHED_BATCH)
}

/// Sets the default policy: the process may preempt others when it wakes up.
pub fn set_default_scheduling() -> io::Result<()> {
    set_policy(libc::SCHED_OTHER)
}

fn set_policy(policy: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters live for the time of the call.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) }).map(drop)
}

/// Returns the parent process id.
pub fn parent() -> Pid {
    // Uses the same libc function as `fork`: a child that is forked often maps the pages of each further function of
    // libc anew.
    // SAFETY: without arguments; it cannot fail.
    Pid::from_raw(unsafe { libc::syscall(libc::SYS_getppid) } as i32)
}

/// Accepts a connection and the address of its peer, which `accept4` still returns when the peer has reset
/// the connection and `getpeername` does not. The socket is non-blocking and close-on-exec.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SockaddrStorage>)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes of an address, for which there is room.
    let fd = check(unsafe {
        libc::accept4(listener.as_raw_fd(), address.as_mut_ptr().cast(), &raw mut length, flags)
    })?;
    // SAFETY: the kernel just made it for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the kernel wrote `length` bytes of a valid address; the rest is zero.
    let address = unsafe { SockaddrStorage::from_raw(address.as_ptr().cast(), Some(length)) };
    Ok((socket, address))
}

/// Number of bytes in the receive queue of a socket (`FIONREAD`).
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut answer: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut answer) })?;
    Ok(usize::try_from(answer).unwrap_or(0))
}

/// Width of a terminal (`TIOCGWINSZ`); `None` if the terminal does not report one, and for other files.
pub fn terminal_columns(terminal: BorrowedFd<'_>) -> Option<u16> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }).ok()?;
    Some(size.ws_col).filter(|columns| *columns > 0)
}
