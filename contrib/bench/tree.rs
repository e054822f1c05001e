//! Process data in /proc, and listening ports.
//!
//! Only one bridge runs at a time, and this process is the subreaper of its orphans, so that all its
//! descendants belong to the bridge.

use std::fs;
use std::process;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::Result;

/// One line of /proc/PID/stat, as far as it matters.
struct Process {
    pid: i32,
    parent: i32,
    zombie: bool,
    /// User and system time of the process itself, in ticks.
    ticks: f64,
    /// The same of its terminated and waited-for children.
    ticks_of_children: f64,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it may contain brackets and blanks.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            zombie: *fields.first()? == "Z",
            ticks: number(11)? + number(12)?,
            ticks_of_children: number(13)? + number(14)?,
        })
    }

    /// Nanoseconds if the kernel keeps them, summed over the threads; ticks are mostly 10 ms. The threads of a
    /// process that has ended are gone, and only the ticks include them.
    fn cpu_seconds(&self, ticks_per_second: f64) -> f64 {
        let nanoseconds = if self.zombie { None } else { self.nanoseconds() };
        nanoseconds.unwrap_or(self.ticks * 1e9 / ticks_per_second) / 1e9
            + self.ticks_of_children / ticks_per_second
    }

    fn nanoseconds(&self) -> Option<f64> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).ok()?;
        let mut sum = 0.0;
        for thread in threads.flatten() {
            let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            sum += schedstat.split(' ').next()?.parse::<f64>().ok()?;
        }
        Some(sum)
    }
}

fn all() -> Vec<Process> {
    let Ok(proc) = fs::read_dir("/proc") else { return Vec::new() };
    proc.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect()
}

fn below(ancestor: i32, all: &[Process]) -> Vec<&Process> {
    let mut found: Vec<&Process> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.pid);
            found.push(process);
        }
    }
    found
}

fn ourselves() -> i32 {
    process::id().cast_signed()
}

/// CPU time of all descendants, including terminated ones that were waited for.
pub(crate) fn cpu_seconds() -> Result<f64> {
    let ticks = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let reaped = [usage.user_time(), usage.system_time()]
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .iter()
        .sum::<f64>();
    let all = all();
    let alive = below(ourselves(), &all).iter().map(|process| process.cpu_seconds(ticks)).sum::<f64>();
    Ok(reaped + alive)
}

/// Proportional set size of all descendants.
pub(crate) fn pss_kib() -> Result<f64> {
    let all = all();
    let mut sum = 0.0;
    for process in below(ourselves(), &all) {
        match fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid)) {
            Ok(rollup) => {
                let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
                let kib =
                    pss.and_then(|pss| pss.trim().strip_suffix("kB")).ok_or("smaps_rollup without Pss")?;
                sum += kib.trim().parse::<f64>()?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err("a process that isn't dumpable shows its memory to root only".into());
            }
            // A process that is ending has no memory left.
            Err(_) => {}
        }
    }
    Ok(sum)
}

/// Children of this process.
pub(crate) fn children() -> Vec<Pid> {
    let own = ourselves();
    all().iter().filter(|process| process.parent == own).map(|process| Pid::from_raw(process.pid)).collect()
}

/// Kills all descendants, and the processes that they fork meanwhile. For an immediate end.
pub(crate) fn kill_all() {
    for _ in 0..100 {
        let all = all();
        let alive: Vec<_> = below(ourselves(), &all)
            .iter()
            .filter(|process| !process.zombie)
            .map(|process| process.pid)
            .collect();
        if alive.is_empty() {
            return;
        }
        for pid in alive {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Checks for a listener on this TCP port in the kernel's tables: a connection would count as a session of
/// the bridge.
pub(crate) fn listening(port: u16) -> bool {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|table| fs::read_to_string(table).ok()).any(
        |table| {
            table.lines().any(|line| {
                let mut fields = line.split_whitespace().skip(1);
                fields.next().is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some(LISTEN)
            })
        },
    )
}
