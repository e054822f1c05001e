//! Records through conversions and through the tools that copy captures: nothing is lost on any way.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::ours::records::*;
use crate::support::proc;
use crate::support::record::Sent;
use crate::support::skip;
use crate::support::tcpreen::Running;

/// Three sessions at a time, with pieces of all sizes; the record in both formats.
fn three_sessions(scratch: &Scratch, name: &str) -> [PathBuf; 2] {
    let [lines, packets] = ["lines", "packets"].map(|format| scratch.path(&format!("{name}.{format}")));
    let listener = Server::listen();
    let tcpreen =
        Tcpreen::to(listener.port()).format("json").output(&lines).format("pcapng").output(&packets);
    let tcpreen = tcpreen.sessions(3).at_once(3).start();
    let mut pairs: Vec<(Peer, Peer)> = (0..3).map(|_| (tcpreen.connect(), listener.accept())).collect();
    for (round, length) in [1, 20, 70_000, 3, 1500].into_iter().enumerate() {
        for (number, (client, server)) in pairs.iter_mut().enumerate() {
            let bytes: Vec<u8> = (0..length).map(|at| (at * (number + 2) + round) as u8).collect();
            client.send(&bytes);
            server.expect(&bytes);
            server.send("é\u{202e}\r\n\"\\");
            client.expect("é\u{202e}\r\n\"\\");
        }
    }
    pairs.pop().expect("a pair").0.reset();
    for (client, server) in &mut pairs {
        client.finish();
        server.expect_end();
        server.finish();
        client.expect_end();
    }
    drop(pairs);
    tcpreen.finish();
    [lines, packets]
}

/// A record as lines of json.
fn as_lines(scratch: &Scratch, parts: &[&Path]) -> Vec<String> {
    let output = scratch.path("as.json");
    let outcome = Tcpreen::reading(parts).format("json").output(&output).run();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    fs::read_to_string(output).expect("lines").lines().map(str::to_owned).collect()
}

/// Lines of one run.
fn of_run(lines: &[String], record: &Path) -> Vec<String> {
    let own = read(record)[0]["run"].as_str().expect("a run").to_owned();
    lines.iter().filter(|line| line.contains(&format!("\"run\":\"{own}\""))).cloned().collect()
}

fn lines_of(record: &Path) -> Vec<String> {
    fs::read_to_string(record).expect("lines").lines().map(str::to_owned).collect()
}

#[test]
fn copies_and_merged_captures_are_the_same_records() {
    if !needs(&[Need::Program("editcap"), Need::Program("mergecap")]) {
        return;
    }
    let scratch = Scratch::new();
    let [lines, packets] = three_sessions(&scratch, "one");
    let [other_lines, other_packets] = three_sessions(&scratch, "two");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let copy = scratch.path("copy");
    run("editcap", &[&text(&packets), &text(&copy)]);
    assert_eq!(as_lines(&scratch, &[&copy]), lines_of(&lines));
    let merged = scratch.path("merged");
    run("mergecap", &["-w", &text(&merged), &text(&packets), &text(&other_packets)]);
    let both = as_lines(&scratch, &[&merged]);
    for record in [&lines, &other_lines] {
        assert_eq!(of_run(&both, record), lines_of(record));
    }
    let joined = scratch.path("joined");
    fs::write(&joined, [&lines, &other_lines].map(|path| fs::read(path).expect("lines")).concat())
        .expect("cat");
    fs::set_permissions(&joined, PermissionsExt::from_mode(0o644)).expect("chmod");
    assert_eq!(as_lines(&scratch, &[&joined]), [lines_of(&lines), lines_of(&other_lines)].concat());
    assert_eq!(
        as_lines(&scratch, &[&packets, &other_lines]),
        [lines_of(&lines), lines_of(&other_lines)].concat()
    );
}

#[test]
fn text_of_a_saved_record_is_the_text_of_the_session() {
    const FORMATS: [&str; 7] = ["C", "hex", "count", "strip", "raw", "view", "html"];
    let scratch = Scratch::new();
    let [lines, packets] = ["lines", "packets"].map(|name| scratch.path(name));
    let outputs = |it: Tcpreen, kind: &str| {
        FORMATS
            .iter()
            .fold(it, |it, format| it.format(format).output(scratch.path(&format!("{format}.{kind}"))))
    };
    let live = |it: Tcpreen| {
        let it = outputs(it.args(["--time=iso"]).env("TZ", "UTC"), "live");
        it.format("json").output(&lines).format("pcapng").output(&packets).sessions(1)
    };
    let Bridged { mut client, mut server, tcpreen } = bridge(live);
    client.send("GET / HTTP/1.0\r\n\r\n");
    server.expect("GET / HTTP/1.0\r\n\r\n");
    server.send([b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), (0..=255).collect()].concat());
    client.skip(19 + 256);
    client.finish();
    server.expect_end();
    server.reset();
    client.expect_reset();
    tcpreen.finish();
    for (kind, record) in [("lines", &lines), ("packets", &packets)] {
        let read = Tcpreen::reading([record]).args(["--session", "1", "--time=iso"]).env("TZ", "UTC");
        assert_eq!(outputs(read, kind).run().code(), 0);
        for format in FORMATS {
            let [live, saved] = ["live", kind].map(|kind| scratch.record_bytes(&format!("{format}.{kind}")));
            assert!(!live.is_empty(), "{format}");
            let [live, saved] = [live, saved].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            assert_eq!(saved, live, "{format} from {kind}");
        }
    }
}

/// Each end at the limit, and what passes beside the record, in packets read back.
#[test]
fn limits_and_lengths_come_back_from_packets() {
    let scratch = Scratch::new();
    for options in [["-b", "5"], ["--only", "server"], ["--only", "client"]] {
        let [lines, packets] =
            ["lines", "packets"].map(|name| scratch.path(&format!("{name}{}", options[1])));
        let outputs = |it: Tcpreen| it.args(options).format("json").output(&lines).format("pcapng");
        let Bridged { mut client, mut server, tcpreen } =
            bridge(|it| outputs(it).output(&packets).sessions(1));
        client.send("question");
        server.expect("question");
        drop((client, server));
        tcpreen.finish();
        assert_eq!(as_lines(&scratch, &[&packets]), lines_of(&lines), "{options:?}");
    }
}

/// The most memory that converter and logger have used half-way. `pipe` takes the output, so that they wait there.
fn peaks(tcpreen: Running, pipe: &Path, half: u64) -> [u64; 2] {
    let mut output = File::open(pipe).expect("the output");
    io::copy(&mut (&mut output).take(half), &mut io::sink()).expect("half of the output");
    let mut peaks = [0; 2];
    for pid in proc::descendants(tcpreen.pid()) {
        let index = match proc::role(pid).as_deref() {
            Some("converter") => 0,
            Some("logger") => 1,
            _ => continue,
        };
        peaks[index] = proc::status(pid).as_ref().map_or(0, kilobytes);
    }
    io::copy(&mut output, &mut io::sink()).expect("the rest");
    assert_eq!(tcpreen.finish().code(), 0);
    peaks
}

fn kilobytes(status: &proc::Status) -> u64 {
    let peak = status.get("VmHWM").split_whitespace().next().and_then(|number| number.parse().ok());
    peak.unwrap_or(0)
}

#[test]
fn a_long_record_needs_no_more_memory_than_a_short_one() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let long = if skip::long() { 1000 } else { 100 };
    for format in ["json", "pcapng"] {
        // The shorter one is longer than everything between converter and output.
        let peaks = [30, long].map(|megabytes| {
            let [lines, record] =
                ["lines", "record"].map(|name| scratch.path(&format!("{name}-{format}-{megabytes}")));
            Sent::write(&lines, megabytes << 20);
            if format == "pcapng" {
                let outcome = Tcpreen::reading([&lines]).format("pcapng").output(&record).run();
                assert_eq!(outcome.code(), 0, "{outcome:?}");
            } else {
                fs::rename(&lines, &record).expect("a record");
            }
            let pipe = scratch.path(&format!("pipe-{format}-{megabytes}"));
            mkfifo(&pipe, Mode::empty()).expect("mkfifo");
            fs::set_permissions(&pipe, Permissions::from_mode(0o666)).expect("chmod");
            let reading = Tcpreen::reading([&record]).args(["--session", "1", "-f", "raw"]).output(&pipe);
            peaks(reading.spawn(), &pipe, megabytes << 19)
        });
        let [short, long] = peaks;
        for (role, (short, long)) in ["converter", "logger"].iter().zip(short.into_iter().zip(long)) {
            println!("{format}: {role} {short} kB, {long} kB");
            assert!(short > 1000 && long < short + 8 * 1024, "{format}: {role} {short} kB, {long} kB");
        }
    }
}
