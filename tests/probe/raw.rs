//! Bare system calls and shared memory: all `unsafe` code of the probe.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::unistd::ForkResult;

/// The bit of a system call number that means the x32 ABI.
pub(crate) const X32: i64 = 0x4000_0000;

/// Makes a system call with arbitrary arguments.
pub(crate) fn call(number: i64, arguments: [u64; 6]) -> io::Result<i64> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: none, if the call were allowed to do what its arguments ask for; they ask for nothing that this
    // process would survive, point nowhere, or point at memory made for the call.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Returns true if the kernel can seal memory.
pub(crate) fn has_mseal() -> bool {
    let nothing = call(libc::SYS_mseal, [0; 6]);
    !nothing.is_err_and(|error| matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)))
}

/// Forks a role that may have threads; the child has one, and does no more than a trial.
pub(crate) fn fork() -> io::Result<ForkResult> {
    // SAFETY: the C library leaves no lock of its allocator with a thread that the child lacks, as a bare clone(2) would;
    // the child takes no other lock that a thread may hold.
    Ok(unsafe { nix::unistd::fork() }?)
}

/// Makes a system call through the 32-bit entry point.
#[cfg(target_arch = "x86_64")]
pub(crate) fn int_0x80(number: u32) -> u32 {
    let result: u32;
    // SAFETY: the kernel preserves all registers but eax; ebx, the first argument, is left as it is, and the
    // attempted calls take no pointer in it.
    unsafe {
        core::arch::asm!(
            "int 0x80",
            inlateout("eax") number => result,
            in("ecx") 0, in("edx") 0, in("esi") 0, in("edi") 0,
        );
    }
    result
}

/// Calls gettimeofday through the vsyscall page, once mapped into every process at a fixed address.
#[cfg(target_arch = "x86_64")]
pub(crate) fn vsyscall() {
    // SAFETY: the kernel answers there, or kills; with a null pointer it writes nothing.
    unsafe {
        let gettimeofday: extern "C" fn(usize, usize) -> i64 =
            core::mem::transmute(0xffff_ffff_ff60_0000_usize);
        gettimeofday(0, 0);
    }
}

/// Overflows the stack.
#[inline(never)]
#[allow(unconditional_recursion)]
pub(crate) fn overflow(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    overflow(depth + 1) + page[(depth % 512) as usize]
}

/// Makes the kernel answer `errno` to a system call, or to those calls whose argument `index` is `value`.
pub(crate) fn answer(number: i64, argument: Option<(u32, u32)>, errno: i32) -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const UNLESS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut program =
        vec![step(LOAD, 0, 0), step(UNLESS, if argument.is_some() { 3 } else { 1 }, number as u32)];
    if let Some((index, value)) = argument {
        // Arguments begin at offset 16 of seccomp_data; the low half comes first.
        program.extend([step(LOAD, 0, 16 + 8 * index), step(UNLESS, 1, value)]);
    }
    program.push(step(RETURN, 0, libc::SECCOMP_RET_ERRNO | errno as u32));
    program.push(step(RETURN, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program lives through the call, which copies it. prctl, because the fault may be seccomp's.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Maps a file that begins with a `T` made of atomics only.
pub(crate) fn share<T: Sync>(file: &File) -> &'static T {
    // SAFETY: a new shared mapping of a file that is at least as long.
    let place = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<T>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(place, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    // SAFETY: it is page-aligned, zeroed or written as a `T` before, stays for ever, and is of atomics.
    unsafe { &*place.cast::<T>() }
}
