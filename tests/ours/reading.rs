//! `--read`: saved records, through the processes that parse, format and write them.

mod damaged;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::scratch::Scratch;
use crate::support::tcpreen::{Outcome, Tcpreen};

/// The beginning of an event.
fn head(event: &str, session: u64, nanoseconds: u64) -> String {
    format!(
        r#"{{"time":"2025-11-26T10:22:27.{nanoseconds:09}Z","event":"{event}","run":"m4k2zq","session":{session},"elapsed":0.0"#
    )
}

/// The keys of start and end.
const PEERS: &str = concat!(
    r#""client_ip":"203.0.113.9","client_port":40210,"client_unix":"","client_name":"","#,
    r#""client_local":"192.0.2.1:7000","server_ip":"2001:db8::6","server_port":6379,"server_unix":"","#,
    r#""server_name":"cache.example","server_local":"[2001:db8::1]:51122","connect":0.000412"#
);

pub fn start(session: u64) -> String {
    let head = head("start", session, 412_000);
    let rest = r#""client_bytes":0,"server_bytes":0,"state":"open","conn_state":"S1","errno":0,"message":"""#;
    format!("{head},{PEERS},{rest}}}\n")
}

pub fn data(session: u64, at: u64, sender: &str, position: u64, text: &str) -> String {
    let (head, bytes) = (head("data", session, at), text.len());
    let rest = format!(r#""position":{position},"bytes":{bytes},"urgent":false,"text":"{text}","base64":"""#);
    format!("{head},\"sender\":\"{sender}\",{rest}}}\n")
}

pub fn eof(session: u64, at: u64, sender: &str, bytes: u64) -> String {
    format!("{},\"sender\":\"{sender}\",\"bytes\":{bytes}}}\n", head("eof", session, at))
}

pub fn end(session: u64, at: u64, totals: [u64; 2]) -> String {
    let rest = format!(
        r#""client_bytes":{},"server_bytes":{},"state":"done","conn_state":"SF","errno":0,"message":"""#,
        totals[0], totals[1]
    );
    format!("{},{PEERS},{rest}}}\n", head("end", session, at))
}

/// Two sessions at the same time.
fn two_sessions() -> String {
    [
        start(1),
        start(2),
        data(1, 500_000, "client", 0, "ping"),
        data(2, 600_000, "client", 0, "other"),
        data(1, 700_000, "server", 0, "pong"),
        eof(1, 800_000, "client", 4),
        eof(1, 900_000, "server", 4),
        end(1, 900_000, [4, 4]),
        end(2, 950_000, [5, 0]),
    ]
    .concat()
}

pub fn written(scratch: &Scratch, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = scratch.path(name);
    fs::write(&path, contents).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
    path
}

/// Output without the notice about the target user.
pub fn told(outcome: &Outcome) -> String {
    outcome.stderr.split_inclusive('\n').filter(|line| !line.starts_with("Started as root")).collect()
}

const FRAME: &str = "Connection from: 203.0.113.9 port 40210\nConnection to: cache.example port 6379\n\
                     Transmission follows...\n";

#[test]
fn a_session_of_a_record_is_shown_as_it_was() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", two_sessions());
    let outcome = Tcpreen::reading([&record]).args(["--session", "1"]).run();
    assert_eq!((outcome.code(), told(&outcome).as_str()), (0, ""));
    let rest = "<<< ping\n>>> pong\nEnd of input: 4 bytes received.\nEnd of output: 4 bytes sent.\n\
                End of transmission.\n";
    assert_eq!(outcome.stdout(), format!("{FRAME}{rest}"));
}

#[test]
fn sessions_of_a_record_are_labelled_in_the_order_of_their_events() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", two_sessions());
    let outcome = Tcpreen::reading([&record]).run();
    assert_eq!((outcome.code(), told(&outcome).as_str()), (0, ""));
    let shown = outcome.stdout();
    let data: Vec<&str> =
        shown.lines().filter(|line| line.contains("<<< ") || line.contains(">>> ")).collect();
    assert_eq!(data, ["[1] <<< ping", "[2] <<< other", "[1] >>> pong"]);
}

#[test]
fn outputs_of_a_record_are_those_of_a_session() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", two_sessions());
    let outcome = Tcpreen::reading([&record])
        .args(["--only=client", "-f", "raw", "-o"])
        .args([scratch.path("%n-%a-%p"), "-f".into(), "count".into(), "-o".into(), scratch.path("counted")])
        .run();
    assert_eq!((outcome.code(), outcome.stdout(), told(&outcome)), (0, String::new(), String::new()));
    assert_eq!(scratch.record("1-203.0.113.9-40210"), "ping");
    assert_eq!(scratch.record("2-203.0.113.9-40210"), "other");
    assert!(scratch.record("counted").contains("[2] <<< 5 bytes\n"));
}

#[test]
fn runs_that_number_their_sessions_alike_have_files_of_their_own() {
    let scratch = Scratch::new();
    let second = two_sessions().replace("m4k2zq", "n5l3ar").replace("ping", "gong");
    let record = written(&scratch, "record", two_sessions() + &second);
    let outcome =
        Tcpreen::reading([&record]).args(["--only=client", "-f", "raw"]).output(scratch.path("%n")).run();
    assert_eq!((outcome.code(), told(&outcome).as_str()), (0, ""));
    for (name, sent) in [("1", "ping"), ("2", "other"), ("1-1", "gong"), ("2-1", "other")] {
        assert_eq!(scratch.record(name), sent, "{name}");
    }
}

#[test]
fn parts_and_standard_input_are_one_record() {
    let scratch = Scratch::new();
    let whole = two_sessions();
    let middle = whole.match_indices('\n').nth(3).expect("lines").0 + 1;
    let first = written(&scratch, "first", &whole[..middle]);
    let second = written(&scratch, "second", &whole[middle..]);
    let expected = Tcpreen::reading([written(&scratch, "whole", &whole)]).run().stdout();
    let input = fs::File::open(&second).expect("a file");
    let outcome = Tcpreen::reading([first.as_os_str(), "-".as_ref()]).stdin(input).run();
    assert_eq!((outcome.code(), told(&outcome).as_str()), (0, ""));
    assert_eq!(outcome.stdout(), expected);
}

/// A FIFO that anyone may write to.
fn fifo(scratch: &Scratch, name: &str) -> PathBuf {
    let path = scratch.path(name);
    mkfifo(&path, Mode::empty()).expect("mkfifo");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("chmod");
    path
}

#[test]
fn a_fifo_without_a_writer_is_named_and_delays_no_signal() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", two_sessions());
    let [parts, keys] = ["parts", "keys"].map(|name| fifo(&scratch, name));
    let with_keys = || {
        let it = Tcpreen::reading([&record]).args(["--tls-keys".as_ref(), keys.as_os_str()]);
        it.args(["-f", "C", "-o", "-"]).format("pcapng").output(scratch.path("packets"))
    };
    let expected = Tcpreen::reading([&record]).run().stdout();
    for (waits_for, start) in
        [(&parts, &(|| Tcpreen::reading([&parts])) as &dyn Fn() -> Tcpreen), (&keys, &with_keys)]
    {
        let waiting = format!("waiting for a writer of {}", waits_for.display());
        let tcpreen = start().spawn();
        tcpreen.stderr_line(&waiting);
        tcpreen.role("converter");
        tcpreen.signal(Signal::SIGTERM);
        assert_eq!(tcpreen.finish().code(), 143);
        let tcpreen = start().spawn();
        tcpreen.stderr_line(&waiting);
        let lines = if waits_for == &parts { two_sessions() } else { "# nothing\n".into() };
        fs::File::options()
            .write(true)
            .open(waits_for)
            .and_then(|mut it| it.write_all(lines.as_bytes()))
            .expect("a FIFO");
        let outcome = tcpreen.finish();
        assert_eq!(outcome.stdout(), expected, "{}", outcome.stderr);
        assert_eq!(outcome.code(), if waits_for == &parts { 0 } else { 65 }, "{}", outcome.stderr);
    }
}

#[test]
fn an_output_that_is_a_fifo_without_a_reader_gets_the_whole_record() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", two_sessions());
    let pipe = fifo(&scratch, "pipe");
    let expected = Tcpreen::reading([&record]).run().stdout();
    let tcpreen = Tcpreen::reading([&record]).output(&pipe).spawn();
    tcpreen.stderr_line(&format!("waiting for a reader of {}", pipe.display()));
    assert_eq!(fs::read_to_string(&pipe).expect("the record"), expected);
    assert_eq!(tcpreen.finish().code(), 0);
    // A signal does not wait for a reader.
    let tcpreen = Tcpreen::reading([&record]).output(&pipe).spawn();
    tcpreen.stderr_line("waiting for a reader");
    tcpreen.signal(Signal::SIGTERM);
    assert_eq!(tcpreen.finish().code(), 143);
}

#[test]
fn what_is_no_record_of_ours_is_named_and_nothing_is_made_of_it() {
    let scratch = Scratch::new();
    let mut capture = Vec::new();
    // A section and nothing that is a packet of ours.
    for word in [0x0A0D_0D0Au32, 28, 0x1A2B_3C4D, 1, u32::MAX, u32::MAX, 28, 3, 16, 0, 16] {
        capture.write_all(&word.to_le_bytes()).expect("memory");
    }
    for (name, contents) in [
        ("text", &b"GET / HTTP/1.0\r\n"[..]),
        ("json", b"{\"a\":1}\n"),
        ("capture", &capture),
        ("pcap", b"\xd4\xc3\xb2\xa1"),
    ] {
        let outcome = Tcpreen::reading([written(&scratch, name, contents)]).run();
        assert_eq!((outcome.code(), outcome.stdout().as_str()), (65, ""), "{name}");
        assert!(outcome.stderr.contains(&format!("{name}: not a record of tcpreen")), "{}", outcome.stderr);
    }
}

#[test]
fn records_that_cannot_be_read_are_told_of_before_an_output_is_touched() {
    let scratch = Scratch::new();
    let old = written(&scratch, "old", "precious");
    for (file, status) in [(scratch.path("missing"), 66), (scratch.path(""), 66), (old.clone(), 64)] {
        let outcome = Tcpreen::reading([&file]).output(&old).run();
        assert_eq!(outcome.code(), status, "{outcome:?}");
        assert_eq!(scratch.record("old"), "precious", "{}", outcome.stderr);
    }
    let outcome =
        Tcpreen::reading([written(&scratch, "record", two_sessions())]).args(["--session", "9"]).run();
    assert_eq!((outcome.code(), outcome.stderr.ends_with("no such session in it: 9\n")), (65, true));
}

#[test]
fn sessions_without_an_end_are_counted_in_a_notice() {
    let scratch = Scratch::new();
    let [one, two] = [1, 2].map(|number| two_sessions().lines().count() - number);
    for (lines, said) in [(one, "1 session has"), (two, "2 sessions have")] {
        let record: String = two_sessions().split_inclusive('\n').take(lines).collect();
        let record = written(&scratch, "record", record);
        let outcome = Tcpreen::reading([&record]).run();
        assert_eq!(outcome.code(), 0, "{outcome:?}");
        assert_eq!(told(&outcome), format!("{}: {said} no end in the record\n", record.display()));
        let outcome = Tcpreen::reading([&record]).args(["-q", "-o", "-"]).run();
        assert_eq!((outcome.code(), told(&outcome).as_str()), (0, ""));
        let outcome = Tcpreen::reading([&record]).args(["--session", "1"]).run();
        assert_eq!(told(&outcome).contains("1 session has no end"), said != "1 session has", "{outcome:?}");
    }
}

#[test]
fn sessions_that_a_record_does_not_have_are_listed_after_the_others_are_written() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", two_sessions());
    let name = record.display();
    let outcome = Tcpreen::reading([&record]).args(["--session", "1,99,2,98"]).run();
    assert_eq!(outcome.code(), 65, "{outcome:?}");
    assert_eq!(told(&outcome), format!("{name}: no such session in it: 99, 98\n"));
    assert_eq!(outcome.stdout(), Tcpreen::reading([&record]).run().stdout());
    let many: Vec<String> = (1..=250).map(|number| number.to_string()).collect();
    let outcome = Tcpreen::reading([&record]).args(["-q", "--session", &many.join(",")]).run();
    assert_eq!(outcome.code(), 65, "{outcome:?}");
    let said = "no such session in it: 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 238 more\n";
    assert!(told(&outcome).ends_with(said), "{outcome:?}");
    // The part that may have it cannot be read.
    let cut = written(&scratch, "cut", &two_sessions()[..900]);
    let outcome = Tcpreen::reading([&cut]).args(["--session", "1,99"]).run();
    assert!(outcome.stderr.contains("cut off") && outcome.stderr.ends_with(": 99\n"), "{outcome:?}");
}

/// An output is emptied when it is opened; with `--append` the program would read what it writes.
#[test]
fn what_is_read_is_no_output_under_any_name_or_descriptor() {
    let scratch = Scratch::new();
    let own = written(&scratch, "own", two_sessions());
    let keys = written(&scratch, "keys", "# nothing\n");
    let opened = || fs::File::open(&own).expect("a file");
    let appended = || fs::File::options().append(true).open(&own).expect("a file");
    let redirected = format!("9>>{}", own.display());
    let with_keys = |input: &str| Tcpreen::reading([&own]).args(["--tls-keys", input]).format("pcapng");
    let name = own.to_str().expect("a name");
    let cases = [
        (Tcpreen::reading(["-"]).stdin(opened()).output(&own), "standard input"),
        (Tcpreen::reading(["-"]).stdin(opened()).args(["--append"]).output(&own), "standard input"),
        (Tcpreen::reading([&own]).stdout(appended()), name),
        (Tcpreen::reading([&own]).stdout(appended()).output("/dev/stdout"), name),
        (Tcpreen::reading(["-"]).stdin(opened()).stdout(appended()), "standard input"),
        (Tcpreen::reading([&own]).output("/dev/fd/9").by_shell("", &redirected), name),
        (Tcpreen::reading([&own]).args(["--metrics", name]), name),
        (with_keys("-").stdin(fs::File::open(&keys).expect("a file")).output(&keys), "standard input"),
    ];
    for (tcpreen, name) in cases {
        let outcome = tcpreen.run();
        assert_eq!(outcome.code(), 64, "{outcome:?}");
        let said = format!("{name}: is read, and cannot be written at the same time.\n");
        assert!(outcome.stderr.ends_with(&said), "{outcome:?}");
        assert_eq!(scratch.record("own"), two_sessions());
    }
    // What is no regular file is no danger.
    let null = fs::File::options().write(true).open("/dev/null").expect("a device");
    assert_eq!(Tcpreen::reading(["/dev/null"]).stdout(null).run().code(), 0);
}

#[test]
fn a_descriptor_is_a_record_whatever_it_is() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", two_sessions());
    let keys = written(&scratch, "keys", "# nothing\n");
    let name = record.display();
    let expected = Tcpreen::reading([&record]).run().stdout();
    let none: [&str; 0] = [];
    let parts = format!("<(head -n 4 {name}) <(tail -n +5 {name})");
    for redirection in [format!("<(cat {name})"), parts] {
        let outcome = Tcpreen::reading(none).by_shell("", &redirection).run();
        assert_eq!((outcome.code(), outcome.stdout()), (0, expected.clone()), "{outcome:?}");
    }
    for path in ["/dev/fd/9", "/proc/self/fd/9"] {
        let outcome = Tcpreen::reading([path]).by_shell("", &format!("9<{name}")).run();
        assert_eq!((outcome.code(), outcome.stdout()), (0, expected.clone()), "{outcome:?}");
    }
    for path in ["/dev/stdin", "/dev/fd/0"] {
        let outcome = Tcpreen::reading([path]).stdin(fs::File::open(&record).expect("a file")).run();
        assert_eq!((outcome.code(), outcome.stdout()), (0, expected.clone()), "{outcome:?}");
    }
    let outcome = Tcpreen::reading([&record]).format("pcapng").output(scratch.path("packets"));
    let outcome = outcome.by_shell("", &format!("--tls-keys <(cat {})", keys.display())).run();
    assert!(outcome.stderr.contains("no secrets of TLS in it"), "{outcome:?}");
    let compared = Tcpreen::replaying(["--diff"]).listen_on("");
    let compared = compared.by_shell("", &format!("<(cat {name}) <(cat {name})")).run();
    assert_eq!(compared.code(), 0, "{compared:?}");
    for redirection in ["9>&-", "9>/dev/null"] {
        let outcome = Tcpreen::reading(["/dev/fd/9"]).by_shell("", redirection).run();
        assert_eq!(outcome.code(), 66, "{outcome:?}");
        assert!(outcome.stderr.ends_with("/dev/fd/9: Bad file descriptor\n"), "{outcome:?}");
    }
}

#[test]
fn the_policy_of_a_reading_start_is_printed() {
    let outcome = Tcpreen::reading(["never-opened"]).args(["--print-policy"]).run();
    let page = outcome.stdout();
    assert_eq!((outcome.code(), told(&outcome).as_str()), (0, ""));
    assert!(page.contains("\nconverter\n") && !page.contains("\nzygote"), "{page}");
    let converter = page.split("\nconverter\n").nth(1).expect("a section");
    assert!(converter.contains("  read ") && !converter.contains("openat"), "{converter}");
}

#[test]
fn a_conversion_gives_the_same_file_at_any_time() {
    let scratch = Scratch::new();
    let record = scratch.path("record");
    fs::write(&record, two_sessions()).expect("room");
    let convert = |name: &str| {
        let file = scratch.path(name);
        let outcome = Tcpreen::reading([&record]).format("pcapng").output(&file).run();
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        fs::read(file).expect("a file")
    };
    assert_eq!(convert("first"), convert("second"));
}
