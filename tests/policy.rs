//! The tables of `src/policy.rs`, as shown by `--print-policy`, compared with the calls that the roles make.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::payload::Payload;
use crate::support::peer::echo_server;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;
use crate::support::{nobody, unix};

/// Names of calls by role; the zygote and its workers share a table.
type Calls = BTreeMap<String, BTreeSet<String>>;

/// One line of a role's table.
struct Row<'a> {
    name: &'a str,
    /// The line, identical for all roles that share a table.
    line: &'a str,
    seldom: bool,
}

#[track_caller]
fn printed(arguments: &[&str]) -> String {
    page_of(Tcpreen::to(9).args(arguments))
}

#[track_caller]
fn page_of(tcpreen: Tcpreen) -> String {
    let outcome = tcpreen.args(["--print-policy"]).run();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert_eq!(outcome.stderr, "", "nothing is started");
    outcome.stdout()
}

/// Rows of each role in the printed policy.
fn rows(page: &str) -> BTreeMap<&str, Vec<Row<'_>>> {
    let mut rows: BTreeMap<&str, Vec<Row<'_>>> = BTreeMap::new();
    let mut role = "";
    for line in page.lines().skip(2).filter(|line| !line.is_empty()) {
        match line.strip_prefix("  ") {
            None => role = line.split([',', ' ']).next().expect("a word"),
            Some(row) if is_call(row) => {
                let name = row.split(['(', ' ']).next().expect("a word");
                rows.entry(role).or_default().push(Row {
                    name,
                    line: row,
                    seldom: row.ends_with(" [seldom]"),
                });
            }
            Some(_) => {}
        }
    }
    rows
}

fn is_call(row: &str) -> bool {
    let heads = ["user ", "capabilities ", "limits ", "memory ", "root ", "Landlock "];
    let mut words = row.split(' ');
    let refused = !words.next().is_some_and(|name| name.contains('(')) && words.next() == Some("=");
    !refused && !heads.iter().any(|head| row.starts_with(head))
}

#[test]
fn the_policy_is_printed_for_this_very_start() {
    if !needs(&[Need::Ours, Need::Root]) {
        return;
    }
    let plain = printed(&["-u", "nobody"]);
    let (uid, gid) = nobody();
    for part in [
        &format!("  user          {uid}, group {gid}, no other groups\n"),
        "\nparent\n",
        "\nresolver, and every lookup, which it forks\n",
        "\nlogger\n",
        "\nzygote, and every worker, which it forks\n",
        "  memory        never executable once writable",
        "  root          an empty directory, in which nothing can be made\n",
        "in workers RLIMIT_NPROC 0, RLIMIT_NOFILE 16\n",
        "  tgkill(0 = its own pid, 2 = 0x6) ",
    ] {
        assert!(plain.contains(part), "{part:?} in {plain}");
    }
    let names = |page: &str, role: &str| -> BTreeSet<String> {
        rows(page)[role].iter().map(|row| row.name.to_owned()).collect()
    };
    assert!(!names(&plain, "logger").contains("openat"), "no file is to be made");
    let series = printed(&["-o", "/tmp/never-made-%n"]);
    assert!(names(&series, "logger").contains("openat"), "{series}");
    assert!(!Path::new("/tmp/never-made-%n").exists());
    assert!(printed(&["--sandbox=log"]).contains("is done, and logged"));
}

/// Runs the program under strace, which writes to `file`.
fn watched(tcpreen: Tcpreen, file: &Path) -> Tcpreen {
    let strace = format!("exec strace -f -qq -s 16 -o {}", file.display());
    tcpreen.by_shell(&format!("{strace} \"$0\" \"$@\""), "")
}

/// Calls of each role once it was confined.
fn calls(trace: &str) -> Calls {
    let lines: Vec<(&str, &str)> =
        trace.lines().filter_map(|line| line.split_once(' ')).map(|(pid, rest)| (pid, rest.trim())).collect();
    let mut born: BTreeMap<&str, &str> = BTreeMap::new();
    let mut roles: BTreeMap<&str, &str> = BTreeMap::new();
    let mut locked: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, (pid, line)) in lines.iter().enumerate() {
        let is = |call: &str| line.starts_with(call) || line.starts_with(&format!("<... {call}"));
        if is("clone") || is("fork") || is("vfork") {
            let child = line.rsplit_once("= ").map_or("", |(_, child)| child);
            if !child.is_empty() && child.bytes().all(|digit| digit.is_ascii_digit()) {
                born.insert(child, pid);
            }
        }
        if line.starts_with("execveat(")
            && let Some((_, rest)) = line.split_once("\"[")
        {
            roles.insert(pid, rest.split(']').next().unwrap_or_default());
        }
        if line.starts_with("seccomp(SECCOMP_SET_MODE_FILTER") {
            locked.insert(pid, at);
        }
    }
    let mut seen = Calls::new();
    for (at, (pid, line)) in lines.iter().enumerate() {
        let mut ancestors = std::iter::successors(Some(*pid), |pid| born.get(pid).copied());
        let leader = ancestors.find(|pid| locked.contains_key(pid));
        let Some((leader, name)) = leader.zip(line.split_once('(').map(|(name, _)| name)) else { continue };
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if at > locked[leader] && is_name && name != "seccomp" {
            let role = roles.get(leader).copied().unwrap_or("parent");
            seen.entry(role.to_owned()).or_default().insert(name.to_owned());
        }
    }
    seen
}

fn add(seen: &mut Calls, trace: &Path) {
    let text = fs::read(trace).expect("a trace");
    for (role, names) in calls(&String::from_utf8_lossy(&text)) {
        seen.entry(role).or_default().extend(names);
    }
}

/// Sessions of several kinds: orderly, with an urgent byte, and reset.
fn plain_sessions(trace: &Path) {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).args(["-v", "-v"]).host("localhost").sessions(4);
    let tcpreen = watched(tcpreen, trace).start();
    for _ in 0..3 {
        let mut client = tcpreen.connect();
        client.send("words");
        client.expect("words");
        client.send_urgent(b'!');
        client.finish();
        client.rest();
    }
    let mut client = tcpreen.connect();
    client.send("words");
    client.expect("words");
    client.reset();
    tcpreen.finish();
}

/// Enough bytes to be spliced through a pipe.
fn bulk(trace: &Path) {
    let echo = echo_server();
    let tcpreen = watched(Tcpreen::to(echo.port).format("null").sessions(1), trace).start();
    tcpreen.connect().exchange(Payload::new(7, 8 << 20)).expect("an echo");
    tcpreen.finish();
}

/// Options that rotate and remove files.
const PARTS: [&str; 4] = ["--rotate-size", "400", "--rotate-count", "1"];

/// Number of the last rotated file, or 0.
fn newest_part(file: &Path) -> u32 {
    let siblings = fs::read_dir(file.parent().expect("a directory")).expect("a directory");
    let parts = siblings.filter_map(|entry| {
        let path = entry.ok()?.path();
        let number = path.extension()?.to_str()?.parse().ok()?;
        (path.with_extension("") == file).then_some(number)
    });
    parts.max().unwrap_or(0)
}

/// Runs a daemon with every optional permission, whose logs are rotated.
fn daemon(scratch: &Scratch, trace: &Path) {
    let [socket, all, each] = ["socket", "all", "each-%n"].map(|name| scratch.path(name));
    let echo = echo_server();
    let pidfile = scratch.path("pid");
    let tcpreen = Tcpreen::to(echo.port).listen_on("").args(["-d", "-m", "2", "-p", "tcp/unix"]);
    let tcpreen = tcpreen.args(["--pidfile".as_ref(), pidfile.as_os_str()]).output(&all).output(&each);
    let tcpreen = tcpreen.args(PARTS);
    let running = watched(tcpreen.local_port(socket.display()), trace).spawn();
    let mut client = until("a daemon", || unix::try_connect(&socket));
    client.send("words");
    client.expect("words");
    let pid = fs::read_to_string(&pidfile).expect("a process id");
    fs::rename(&all, scratch.path("rotated")).expect("rotated");
    kill(Pid::from_raw(pid.trim().parse().expect("a number")), Signal::SIGHUP).expect("kill");
    until("the new file", || all.exists().then_some(()));
    for number in 1..=2 {
        let words = "words".repeat(100);
        client.send(&words);
        client.expect(&words);
        // A piece and its echo fill one part or two, of which only the last one stays.
        until("a part", || (newest_part(&all) >= number).then_some(()));
    }
    client.finish();
    client.rest();
    let mut client = until("another session", || unix::try_connect(&socket));
    client.finish();
    client.rest();
    running.finish();
}

#[test]
fn every_row_of_a_table_is_used_or_marked() {
    if !needs(&[Need::Ours, Need::Root, Need::Program("strace")]) {
        return;
    }
    let scratch = Scratch::new();
    let traces = ["plain", "bulk", "daemon"].map(|name| scratch.path(name));
    plain_sessions(&traces[0]);
    bulk(&traces[1]);
    daemon(&scratch, &traces[2]);
    let mut seen = Calls::new();
    traces.iter().for_each(|trace| add(&mut seen, trace));
    let tcpreen = Tcpreen::to(9).listen_on("").local_port("/s").args(["-d", "-p", "tcp/unix"]);
    let page = page_of(tcpreen.args(["--pidfile", "/p", "-o", "/a", "-o", "/b-%n"]).args(PARTS));
    let page = rows(&page);
    let mut wrong = Vec::new();
    for (role, rows) in &page {
        for row in rows.iter().filter(|row| !row.seldom) {
            let sharing = page.iter().filter(|(_, rows)| rows.iter().any(|other| other.line == row.line));
            let used = sharing.into_iter().any(|(role, _)| seen[*role].contains(row.name));
            wrong.extend((!used).then(|| format!("{role}: nobody called {}", row.name)));
        }
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
        // Called by each on purpose, and refused.
        let probe = "getpgid";
        let unknown = seen[*role].iter().filter(|name| !names.contains(name.as_str()) && *name != probe);
        wrong.extend(unknown.map(|name| format!("{role}: {name} is not on the page")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
