//! Process state as the kernel reports it in `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Pid, getpgid};

fn file(pid: Pid, name: &str) -> PathBuf {
    format!("/proc/{pid}/{name}").into()
}

/// The fields of `/proc/PID/status` or of one thread's.
#[derive(Debug)]
pub struct Status(BTreeMap<String, String>);

impl Status {
    fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Status(fields.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
    }

    #[track_caller]
    pub fn get(&self, field: &str) -> &str {
        self.0.get(field).unwrap_or_else(|| panic!("no {field} in /proc/PID/status"))
    }

    /// The real, effective, saved and file system id of `Uid` or `Gid`.
    #[track_caller]
    pub fn ids(&self, field: &str) -> Vec<u32> {
        self.get(field).split_whitespace().map(|id| id.parse().expect("a number")).collect()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let kilobytes = self.0.get("VmRSS").and_then(|size| size.split_whitespace().next());
        kilobytes.map_or(0, |number| number.parse::<u64>().expect("a number") * 1024)
    }
}

/// Status of a process; `None` if there is no such process.
pub fn status(pid: Pid) -> Option<Status> {
    fs::read_to_string(file(pid, "status")).ok().map(|text| Status::parse(&text))
}

/// The status of every thread.
pub fn threads(pid: Pid) -> Vec<Status> {
    let Ok(entries) = fs::read_dir(file(pid, "task")) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path().join("status"));
    paths.filter_map(|path| fs::read_to_string(path).ok()).map(|text| Status::parse(&text)).collect()
}

/// Checks that the process is neither gone nor a zombie.
pub fn is_alive(pid: Pid) -> bool {
    state(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// Checks that a signal has stopped the process.
pub fn is_stopped(pid: Pid) -> bool {
    state(pid).is_some_and(|(state, _)| state == 'T')
}

/// Checks that the process waits for an event.
pub fn is_asleep(pid: Pid) -> bool {
    state(pid).is_some_and(|(state, _)| state == 'S')
}

/// Open descriptors as links of `/proc/PID/fd`.
pub fn descriptors(pid: Pid) -> BTreeMap<i32, String> {
    let Ok(entries) = fs::read_dir(file(pid, "fd")) else { return BTreeMap::new() };
    let entries = entries.flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
    });
    entries.collect()
}

/// `socket:[N]` of every TCP socket over IPv4 on this machine.
pub fn tcp_sockets() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let inodes = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9));
    inodes.map(|inode| format!("socket:[{inode}]")).collect()
}

/// The whole command line, words separated by spaces.
pub fn command_line(pid: Pid) -> String {
    let words = fs::read(file(pid, "cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ")
}

/// The role of a process that shows none in square brackets.
pub const PARENT: &str = "parent";

/// Name of the role as `ps` shows it; `None` for a process that is ending, which has no command line any more.
pub fn role(pid: Pid) -> Option<String> {
    let title = Some(command_line(pid)).filter(|title| !title.is_empty())?;
    let bracketed = title.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    Some(bracketed.map_or(PARENT, |(role, _)| role).to_owned())
}

/// All descendants of `pid`, children first.
pub fn descendants(pid: Pid) -> Vec<Pid> {
    let mut family = vec![pid];
    extend_by_descendants(&mut family, &parents());
    family.split_off(1)
}

/// Adds the descendants of the first, then those of the second, and so on.
fn extend_by_descendants(family: &mut Vec<Pid>, parents: &[(Pid, Pid)]) {
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        let children = parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child);
        family.extend(children);
        next += 1;
    }
}

/// All processes of one program, and their children.
pub fn of_program(program: &Path) -> Vec<Pid> {
    let text = program.to_string_lossy();
    let is_it = |pid: &Pid| {
        // A process that is not dumpable shows its program to root only, but its command line to all users.
        let command = fs::read(file(*pid, "cmdline")).unwrap_or_default();
        fs::read_link(file(*pid, "exe")).is_ok_and(|exe| exe == program)
            || String::from_utf8_lossy(&command).contains(&*text)
    };
    let mut found: Vec<Pid> = processes().filter(is_it).collect();
    extend_by_descendants(&mut found, &parents());
    found.sort();
    found.dedup();
    found
}

/// All running processes of these process groups.
pub fn of_groups(groups: &BTreeSet<Pid>) -> Vec<Pid> {
    let belongs = |pid: &Pid| getpgid(Some(*pid)).is_ok_and(|group| groups.contains(&group));
    processes().filter(|pid| belongs(pid) && is_alive(*pid)).collect()
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

/// State and parent of a process: fields 3 and 4 of `/proc/PID/stat`. A search for descendants reads them for every
/// process of the machine, and `status` takes several times as long.
fn state(pid: Pid) -> Option<(char, Pid)> {
    let mut stat = [0; 128];
    let length = File::open(file(pid, "stat")).and_then(|mut stat_file| stat_file.read(&mut stat)).ok()?;
    // The name may contain parentheses and bytes that are not UTF-8.
    let stat = String::from_utf8_lossy(&stat[..length]);
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, Pid::from_raw(fields.next()?.parse().ok()?)))
}

/// Every process with its parent.
fn parents() -> Vec<(Pid, Pid)> {
    processes().filter_map(|pid| Some((pid, state(pid)?.1))).collect()
}

/// Soft and hard limit of core dumps.
pub fn core_limit(pid: Pid) -> String {
    limit(pid, "Max core file size")
}

/// Soft and hard limit, by the name in `/proc/PID/limits`.
pub fn limit(pid: Pid, name: &str) -> String {
    let limits = fs::read_to_string(file(pid, "limits")).expect("/proc/PID/limits");
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Owner of `/proc/PID/fd`: root if the process is not dumpable.
pub fn owner(pid: Pid) -> u32 {
    fs::metadata(file(pid, "fd")).expect("/proc/PID/fd").uid()
}

/// Processor time used by the process.
pub fn cpu(pid: Pid) -> Duration {
    ticks(pid, 14)
}

/// Processor time of the children that a process has waited for, user and system.
pub fn cpu_of_children(pid: Pid) -> Duration {
    ticks(pid, 16)
}

/// The sum of two fields of `/proc/PID/stat` that count hundredths of a second, the first of which has this number
/// in proc(5).
fn ticks(pid: Pid, first: usize) -> Duration {
    Duration::from_millis(10 * (numbers(pid, first)[0] + numbers(pid, first)[1]))
}

/// Policy of scheduling, as `sched_setscheduler(2)` takes it.
pub fn scheduling(pid: Pid) -> u64 {
    numbers(pid, 41)[0]
}

/// Numbers in `/proc/PID/stat` from the field with this number in proc(5) on.
fn numbers(pid: Pid, first: usize) -> Vec<u64> {
    let stat = fs::read_to_string(file(pid, "stat")).expect("/proc/PID/stat");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    // The name is field 2.
    fields.split_whitespace().skip(first - 3).map_while(|number| number.parse().ok()).collect()
}

/// Flags with which a process has a file open, if it has.
pub fn open_flags(pid: Pid, path: &Path) -> Option<i32> {
    let (number, _) = descriptors(pid).into_iter().find(|(_, target)| Path::new(target) == path)?;
    let info = fs::read_to_string(file(pid, "fdinfo").join(number.to_string())).ok()?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(flags.trim(), 8).ok()
}
