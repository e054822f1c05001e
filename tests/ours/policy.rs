//! The tables of `src/policy.rs`, as shown by `--print-policy`, compared with the calls that the roles make.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use nix::pty::openpty;

use crate::compat::names;
use crate::support::nobody;
use crate::support::peer::echo_server;
use crate::support::scratch::Scratch;
use crate::support::sessions::{self, PARTS, Wrap};
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;

/// Calls by role, each a name with the arguments; the zygote and its workers, which share a table, together.
type Calls = BTreeMap<String, BTreeSet<Call>>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    name: String,
    arguments: Vec<u64>,
}

/// One line of a role's table.
struct Row<'a> {
    name: &'a str,
    /// The line, identical for all roles that share a table.
    line: &'a str,
    mark: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Seen in the runs of this test.
    Everyday,
    /// For a case that its reason names.
    Seldom,
    /// Answered with an error.
    Refused,
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
            Some(line) => rows.entry(role).or_default().extend(row(line)),
        }
    }
    rows
}

/// `None` for a line that is about something other than a call.
fn row(line: &str) -> Option<Row<'_>> {
    let heads = ["user ", "capabilities ", "limits ", "memory ", "root ", "Landlock "];
    let name = line.split(['(', ' ']).next()?;
    let is_refused = line[name.len()..].starts_with(" = ");
    let mark = match () {
        () if is_refused => Mark::Refused,
        () if line.ends_with(" [seldom]") => Mark::Seldom,
        () => Mark::Everyday,
    };
    (!heads.iter().any(|head| line.starts_with(head))).then_some(Row { name, line, mark })
}

#[test]
fn the_policy_is_printed_for_this_very_start() {
    if !needs(&[Need::Root]) {
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
        let rows = rows(page).remove(role).expect("a table").into_iter();
        rows.filter(|row| row.mark != Mark::Refused).map(|row| row.name.to_owned()).collect()
    };
    assert!(!names(&plain, "logger").contains("openat"), "no file is to be made");
    let series = printed(&["-o", "/tmp/never-made-%n"]);
    assert!(names(&series, "logger").contains("openat"), "{series}");
    assert!(!Path::new("/tmp/never-made-%n").exists());
    assert!(printed(&["--sandbox=log"]).contains("is done, and logged"));
}

/// Of the kernel, the page says what a start finds.
#[test]
fn the_policy_names_the_restrictions_that_a_start_reads_back() {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).args(["-v", "-v"]).start();
    let found = tcpreen.stderr_line("parent: uid");
    let page = printed(&[]);
    let kernel = page.lines().nth(1).expect("a second line");
    for wall in ["MDWE on", "mseal on"] {
        assert_eq!(kernel.contains(wall), found.contains(wall), "{found}: {kernel}");
    }
    let landlock = found.split("Landlock ").nth(1).and_then(|rest| rest.split(';').next()).expect("a status");
    assert!(kernel.contains(&format!("Landlock {landlock}.")), "{found}: {kernel}");
}

/// Runs the program under strace, which writes to `file`.
fn watched(tcpreen: Tcpreen, file: &Path) -> Tcpreen {
    // Numbers as the filter sees them, except for the calls that identify the roles.
    let strace = format!(
        "exec strace -f -qq -s 16 -e 'raw=!execveat,seccomp,clone,clone3,fork,vfork' -o {}",
        file.display()
    );
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
        let Some((leader, call)) = leader.zip(parse_call(line)) else { continue };
        if at > locked[leader] && call.name != "seccomp" {
            let role = roles.get(leader).copied().unwrap_or("parent");
            seen.entry(role.to_owned()).or_default().insert(call);
        }
    }
    seen
}

/// `sendto(0x5, 0x7ffd1, 0x4, 0x4000, 0, 0) = 0x4`; the arguments that are no numbers are left out.
fn parse_call(line: &str) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let end = rest.find([')', '<']).unwrap_or(rest.len());
    let arguments = rest[..end].split(',').map_while(|text| number(text.trim())).collect();
    Some(Call { name: name.to_owned(), arguments })
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl Call {
    /// Returns true if the row allows this call: `socket(0 = 0x1, 2 & 0x7 = 0)`. Conditions on what strace
    /// spells out, and on the process id, hold.
    fn is_of(&self, row: &Row<'_>) -> bool {
        let conditions = row.line.split_once(')').and_then(|(head, _)| head.split_once('('));
        let conditions = conditions.map_or("", |(_, conditions)| conditions);
        self.name == row.name && conditions.split(", ").all(|condition| self.meets(condition))
    }

    fn meets(&self, condition: &str) -> bool {
        let words: Vec<&str> = condition.split(' ').collect();
        let given = |index: &str| self.arguments.get(index.parse::<usize>().ok()?).copied();
        match words[..] {
            // An int is compared by its low half, and sizes are small.
            [index, "=", value] => match (given(index), number(value)) {
                (Some(given), Some(value)) => given as u32 == value as u32,
                _ => true,
            },
            [index, "&", bits, "=", "0"] => match (given(index), number(bits)) {
                (Some(given), Some(bits)) => given & bits == 0,
                _ => true,
            },
            _ => true,
        }
    }
}

#[test]
fn calls_and_rows_are_compared_by_their_arguments() {
    let call = parse_call("socket(0x1, 0x80801, 0) = 0x5").expect("a call");
    let row = |line| Row { name: "socket", line, mark: Mark::Everyday };
    for line in ["socket  x", "socket(0 = 0x1, 1 = 0x80801, 2 = 0x0) x (y)", "socket(1 & 0x6 = 0) x"] {
        assert!(call.is_of(&row(line)), "{line}");
    }
    for line in ["socket(0 = 0x2) x", "socket(0 = 0x1, 1 = 0x80802) x", "socket(1 & 0x1 = 0) x"] {
        assert!(!call.is_of(&row(line)), "{line}");
    }
    let unfinished = parse_call("recvfrom(0x6, 0x7f, 0x40000, 0x40, 0, 0 <unfinished ...>").expect("a call");
    assert_eq!(unfinished.arguments, [6, 0x7f, 0x40000, 0x40, 0, 0]);
    assert!(parse_call("<... read resumed> 0x1) = 1").is_none() && parse_call("+++ exited +++").is_none());
}

fn add(seen: &mut Calls, trace: &Path) {
    let text = fs::read(trace).expect("a trace");
    for (role, calls) in calls(&String::from_utf8_lossy(&text)) {
        seen.entry(role).or_default().extend(calls);
    }
}

/// Runs that between them have every optional permission, and as much traffic as there is.
fn watch_everything(scratch: &Scratch) -> Calls {
    type Run = fn(&Scratch, Wrap<'_>);
    let runs: &[(&str, Run)] = &[
        ("plain", |_, wrap| drop(sessions::plain(wrap))),
        ("bulk", |_, wrap| drop(sessions::bulk(wrap))),
        ("daemon", sessions::daemon),
        ("families", sessions::families),
        ("refusal", sessions::refusal),
        ("outputs", sessions::outputs),
        ("records", sessions::records),
        ("names", |_, wrap| names::look_everything_up(wrap)),
    ];
    let traces = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (name, run) in runs {
            let traces = &traces;
            scope.spawn(move || {
                let wrap = |tcpreen| {
                    let mut traces = traces.lock().expect("no panic");
                    let trace = scratch.path(&format!("{name}-{}", traces.len()));
                    traces.push(trace.clone());
                    watched(tcpreen, &trace)
                };
                run(scratch, &wrap);
            });
        }
    });
    let mut seen = Calls::new();
    traces.into_inner().expect("no panic").iter().for_each(|trace| add(&mut seen, trace));
    seen
}

/// Pages with every row of every table.
fn pages(scratch: &Scratch) -> Vec<String> {
    let daemon = Tcpreen::to(9).listen_on("").local_port("/s").args(["-d", "-p", "tcp/unix"]);
    let daemon =
        daemon.args(["--pidfile", "/p", "-o", "/a", "-o", "/b-%n"]).args(PARTS).args([sessions::FIRST]);
    let outputs = Tcpreen::to(9).output(scratch.path("pipe"));
    let reading = Tcpreen::reading([scratch.path("record")]);
    let mut pages: Vec<String> = [daemon, outputs, reading].map(page_of).into();
    pages.push(page_on_a_terminal());
    pages
}

fn page_on_a_terminal() -> String {
    let terminal = openpty(None, None).expect("a terminal");
    let view = Tcpreen::to(9).args(["--print-policy", "-f", "view"]);
    let running = view.stdout(terminal.slave).spawn();
    let mut page = Vec::new();
    // That the other end has been closed is an error here.
    let _ = File::from(terminal.master).read_to_end(&mut page);
    assert_eq!(running.finish().code(), 0);
    String::from_utf8(page).expect("UTF-8").replace("\r\n", "\n")
}

/// Rows of all pages, by role.
fn tables(pages: &[String]) -> BTreeMap<&str, Vec<Row<'_>>> {
    let mut tables: BTreeMap<&str, Vec<Row<'_>>> = BTreeMap::new();
    for (role, more) in pages.iter().flat_map(|page| rows(page)) {
        let table = tables.entry(role).or_default();
        for row in more {
            if table.iter().all(|known| known.line != row.line) {
                table.push(row);
            }
        }
    }
    tables
}

#[test]
fn every_row_of_a_table_is_used_or_marked() {
    if !needs(&[Need::Root, Need::Program("strace"), Need::Program("ip"), Need::World]) {
        return;
    }
    let scratch = Scratch::new();
    let seen = watch_everything(&scratch);
    let pages = pages(&scratch);
    let tables = tables(&pages);
    let is_used = |role: &str, row: &Row<'_>| seen[role].iter().any(|call| call.is_of(row));
    let mut wrong = Vec::new();
    for (role, rows) in &tables {
        for row in rows.iter().filter(|row| row.mark == Mark::Everyday) {
            let mut sharing =
                tables.iter().filter(|(_, rows)| rows.iter().any(|other| other.line == row.line));
            let used = sharing.any(|(role, _)| is_used(role, row));
            wrong.extend((!used).then(|| format!("{role}: never called: {}", row.line)));
        }
        let unknown = seen[*role].iter().filter(|call| !rows.iter().any(|row| call.is_of(row)));
        wrong.extend(unknown.map(|call| format!("{role}: {call:?} is not on the page")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
