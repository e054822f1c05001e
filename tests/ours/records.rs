//! `json` and `pcapng` through real sessions of all kinds, read by the programs that people read them with.

pub(crate) mod conversions;
pub(crate) mod endings;
pub(crate) mod schema;
pub(crate) mod tls;
pub(crate) mod tools;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::support::peer::{Peer, Refusing, Server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::terminal::terminal;
use crate::support::{Bridged, bridge};

/// The objects of a record, each of which has to be a line of its own.
#[track_caller]
fn objects(record: impl AsRef<[u8]>) -> Vec<Value> {
    let text = str::from_utf8(record.as_ref()).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[track_caller]
fn read(path: &Path) -> Vec<Value> {
    objects(fs::read(path).expect("a record"))
}

fn events(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["event"].as_str().expect("an event")).collect()
}

fn of<'a>(objects: &'a [Value], event: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["event"] == event).collect()
}

/// Data sent by a side, from the data events, whose positions must have no gaps.
#[track_caller]
fn sent(objects: &[Value], sender: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for data in of(objects, "data").into_iter().filter(|data| data["sender"] == sender) {
        assert_eq!(data["position"], bytes.len(), "{data}");
        let base64 = data["base64"].as_str().expect("a string");
        let piece = match base64 {
            "" => data["text"].as_str().expect("a string").as_bytes().to_vec(),
            base64 => decoded(base64),
        };
        assert_eq!(data["bytes"], piece.len(), "{data}");
        bytes.extend(piece);
    }
    bytes
}

fn decoded(base64: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(base64).expect("base64")
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("the program");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Data sent by the two sides of a TCP stream, reassembled by tshark.
fn followed(path: &Path, stream: usize) -> [Vec<u8>; 2] {
    let follow = format!("follow,tcp,raw,{stream}");
    let text = run("tshark", &["-r", path.to_str().expect("UTF-8"), "-q", "-z", &follow]);
    let mut sides = [Vec::new(), Vec::new()];
    for line in text.lines().filter(|line| line.trim().bytes().all(|byte| byte.is_ascii_hexdigit())) {
        let digits = line.trim().as_bytes();
        let bytes = digits.chunks(2).map(|pair| str::from_utf8(pair).expect("digits"));
        let bytes = bytes.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal"));
        sides[usize::from(line.starts_with('\t'))].extend(bytes);
    }
    sides
}

/// Packets that match a display filter.
fn matching(path: &Path, filter: &str) -> usize {
    let path = path.to_str().expect("UTF-8");
    let check = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"];
    let args = [&["-r", path, "-Y", filter, "-T", "fields", "-e", "frame.number"], &check[..]].concat();
    run("tshark", &args).lines().count()
}

/// The objects in the comments of the packets.
fn comments(path: &Path) -> Vec<Value> {
    let path = path.to_str().expect("UTF-8");
    let args =
        ["-r", path, "-Y", "frame.comment", "-T", "fields", "-e", "frame.comment", "-E", "aggregator=\u{1}"];
    let text = run("tshark", &args).replace('\u{1}', "\n");
    // tshark escapes what it prints.
    objects(text.replace("\\\"", "\"").replace("\\\\", "\\"))
}

const WRONG: &str = "tcp.checksum.status != 1 || ip.checksum.status == 0 || _ws.malformed || \
                     tcp.analysis.lost_segment || tcp.analysis.retransmission || tcp.analysis.ack_lost_segment";

fn nanos(time: &Value) -> String {
    let time = time.as_str().expect("a time");
    assert_eq!((time.len(), &time[19..20], &time[29..]), (30, ".", "Z"), "{time}");
    time.to_owned()
}

#[test]
fn json_has_every_byte_and_when_it_came() {
    let scratch = Scratch::new();
    let record = scratch.path("record");
    let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.format("json").output(&record).sessions(1));
    let ports = (client.local_port(), server.local_port());
    let binary: Vec<u8> = (0..=255).collect();
    client.send("hé \"quoted\"\r\n");
    server.expect("hé \"quoted\"\r\n");
    server.send(&binary);
    client.expect(&binary);
    client.finish();
    server.expect_end();
    server.finish();
    client.expect_end();
    let port = tcpreen.port();
    assert_eq!(tcpreen.finish().code(), 0);
    let mode = fs::metadata(&record).expect("a record").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let all = read(&record);
    assert_eq!(events(&all)[0], "start");
    assert_eq!(events(&all)[events(&all).len() - 1], "end");
    assert_eq!(sent(&all, "client"), "hé \"quoted\"\r\n".as_bytes());
    assert_eq!(sent(&all, "server"), binary);
    let [start, end] = ["start", "end"].map(|event| of(&all, event)[0]);
    for (object, state, conn_state, bytes) in [(start, "open", "S1", [0, 0]), (end, "done", "SF", [14, 256])]
    {
        assert_eq!((&object["client_ip"], &object["client_port"]), (&"127.0.0.1".into(), &ports.0.into()));
        assert_eq!((&object["server_ip"], &object["client_name"]), (&"127.0.0.1".into(), &"".into()));
        assert_eq!(object["client_local"], format!("127.0.0.1:{port}"));
        let server_local = object["server_local"].as_str().expect("a string");
        assert!(server_local.starts_with("127.0.0.1:") && !server_local.ends_with(":0"), "{object}");
        assert_eq!((&object["state"], &object["conn_state"]), (&state.into(), &conn_state.into()));
        assert_eq!((&object["client_bytes"], &object["server_bytes"]), (&bytes[0].into(), &bytes[1].into()));
        assert!(object["connect"].is_f64() && object["elapsed"].is_f64(), "{object}");
    }
    let eofs: Vec<_> =
        of(&all, "eof").into_iter().map(|eof| (eof["sender"].clone(), eof["bytes"].clone())).collect();
    assert_eq!(eofs, [("client".into(), 14.into()), ("server".into(), 256.into())]);
    let times: Vec<String> = all.iter().map(|object| nanos(&object["time"])).collect();
    assert!(times.is_sorted(), "{times:?}");
    let seconds = Command::new("date").args(["-u", "-d", &times[0], "+%s"]).output().expect("date").stdout;
    let seconds: u64 = String::from_utf8(seconds).expect("digits").trim().parse().expect("a number");
    assert!((before..before + 600).contains(&seconds), "{times:?}");
    if needs(&[Need::Program("jq")]) {
        let line = run("jq", &["-r", "select(.event==\"end\")|.message", record.to_str().expect("UTF-8")]);
        assert_eq!(line.trim(), format!("127.0.0.1:{} to 127.0.0.1:{}", ports.0, ports.1));
    }
}

/// Every kind of end of a session, with its name in json.
#[test]
fn a_terminal_does_not_get_packets() {
    for options in [&["-f", "pcapng"][..], &["-f", "pcapng", "-o", "-"]] {
        let terminal = terminal();
        let outcome = Tcpreen::to(9).args(options).stdout(terminal.slave).run();
        assert_eq!(outcome.code(), 64, "{options:?}: {outcome:?}");
        assert!(
            outcome.stderr.contains("a terminal cannot show pcapng; write it to a file (-o FILE)"),
            "{outcome:?}"
        );
    }
}

#[test]
fn every_end_has_its_state() {
    let ended = |args: &[&str], play: &dyn Fn(Bridged)| {
        let scratch = Scratch::new();
        let record = scratch.path("record");
        play(bridge(|it| it.format("json").output(&record).args(args).sessions(1)));
        let all = read(&record);
        let end = of(&all, "end").last().map(|end| (*end).clone()).expect("an end");
        (end["state"].as_str().unwrap_or("").to_owned(), end["conn_state"].as_str().unwrap_or("").to_owned())
    };
    let state = |state: &str, conn: &str| (state.to_owned(), conn.to_owned());
    let reset_by_client = |Bridged { mut client, mut server, tcpreen }: Bridged| {
        client.send("x");
        server.expect("x");
        client.reset();
        server.expect_reset();
        tcpreen.finish();
    };
    assert_eq!(ended(&[], &reset_by_client), state("client_reset", "RSTO"));
    let reset_by_server = |Bridged { mut client, mut server, tcpreen }: Bridged| {
        client.send("x");
        server.expect("x");
        server.reset();
        client.expect_reset();
        tcpreen.finish();
    };
    assert_eq!(ended(&[], &reset_by_server), state("server_reset", "RSTR"));
    let until_the_end = |Bridged { mut client, mut server, tcpreen }: Bridged| {
        client.send("x");
        server.expect("x");
        tcpreen.finish();
    };
    assert_eq!(ended(&["-b", "1"], &until_the_end), state("limit", "S1"));
    assert_eq!(ended(&["--idle-timeout=200ms"], &until_the_end), state("idle", "S1"));
    let half = |Bridged { mut client, mut server, tcpreen }: Bridged| {
        client.finish();
        server.expect_end();
        tcpreen.finish();
    };
    assert_eq!(ended(&["--idle-timeout=200ms"], &half), state("idle", "S2"));
    let stopped = |Bridged { client, server, tcpreen }: Bridged| {
        tcpreen.signal(Signal::SIGTERM);
        tcpreen.finish();
        drop((client, server));
    };
    assert_eq!(ended(&[], &stopped), state("stopped", "S1"));
}

#[test]
fn the_end_of_a_lost_worker_has_what_was_recorded() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let (record, packets) = (scratch.path("record"), scratch.path("packets"));
    let outputs = |it: Tcpreen| it.format("json").output(&record).format("pcapng").output(&packets);
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| outputs(it).sessions(1));
    client.send("words");
    server.expect("words");
    kill(tcpreen.busy_worker(), Signal::SIGKILL).expect("a worker");
    drop((client, server));
    tcpreen.finish();
    let all = read(&record);
    let end = of(&all, "end")[0];
    assert_eq!((&end["state"], &end["client_bytes"]), (&"lost".into(), &5.into()), "{end}");
    let note = of(&all, "note")[0]["message"].as_str().unwrap_or("").to_owned();
    assert_eq!(note, "Session ended abnormally: signal 9 (Killed).");
    if needs(&[Need::Program("tshark")]) {
        assert_eq!(matching(&packets, "tcp.flags.fin == 1 || tcp.flags.reset == 1"), 0, "no peer did that");
        assert_eq!(comments(&packets).last().map(|end| end["state"].clone()), Some("lost".into()));
    }
}

#[test]
fn a_server_that_refuses_is_in_records_for_programs_and_in_no_text() {
    let scratch = Scratch::new();
    let [record, packets, text] = ["record", "packets", "text"].map(|name| scratch.path(name));
    let refusing = Refusing::new();
    let outputs = |it: Tcpreen| {
        it.format("json").output(&record).format("pcapng").output(&packets).format("C").output(&text)
    };
    let tcpreen = outputs(Tcpreen::to(refusing.port())).sessions(1).start();
    tcpreen.connect().expect_refusal();
    tcpreen.finish();
    assert_eq!(fs::read(&text).expect("a record"), b"");
    let all = read(&record);
    assert_eq!(events(&all), ["start", "note", "end"]);
    assert_eq!((&all[0]["state"], &all[0]["conn_state"]), (&"refused".into(), &"S0".into()));
    let end = &all[2];
    assert_eq!(
        (&end["state"], &end["conn_state"], &end["errno"]),
        (&"refused".into(), &"REJ".into(), &111.into())
    );
    assert_eq!(end["server_port"], refusing.port());
    if needs(&[Need::Program("tshark")]) {
        assert_eq!(matching(&packets, "tcp.flags.syn == 1 && tcp.flags.ack == 0"), 1);
        assert_eq!(matching(&packets, "tcp.flags.reset == 1"), 1);
        assert_eq!(matching(&packets, "tcp"), 2);
    }
}

#[test]
fn packets_are_the_streams_that_the_peers_sent() {
    if !needs(&[Need::Program("tshark")]) {
        return;
    }
    let scratch = Scratch::new();
    let record = scratch.path("record");
    let listener = Server::listen();
    let tcpreen =
        Tcpreen::to(listener.port()).format("pcapng").output(&record).sessions(3).at_once(3).start();
    let mut said = Vec::new();
    let mut pairs: Vec<(Peer, Peer)> = (0..3).map(|_| (tcpreen.connect(), listener.accept())).collect();
    for (number, (client, server)) in pairs.iter_mut().enumerate() {
        let question: Vec<u8> = (0..100_000 * number + 7).map(|at| (at * (number + 3) % 251) as u8).collect();
        let answer: Vec<u8> = (0..70_001 * number + 1).map(|at| (at / 7 % 256) as u8).collect();
        client.send(&question);
        server.expect(&question);
        server.send(&answer);
        client.expect(&answer);
        said.push([question, answer]);
    }
    for (client, server) in &mut pairs {
        client.finish();
        server.expect_end();
        server.finish();
        client.expect_end();
    }
    assert_eq!(tcpreen.finish().code(), 0);
    assert_eq!(matching(&record, WRONG), 0);
    assert_eq!(
        ["syn", "fin", "reset"].map(|flag| matching(&record, &format!("tcp.flags.{flag} == 1"))),
        [6, 6, 0]
    );
    for (stream, said) in said.iter().enumerate() {
        assert!(followed(&record, stream) == *said, "stream {stream}");
    }
    let all = comments(&record);
    assert_eq!((of(&all, "start").len(), of(&all, "end").len()), (3, 3));
}

#[test]
fn urgent_bytes_and_the_protocol_are_where_wireshark_expects_them() {
    if !needs(&[Need::Program("tshark")]) {
        return;
    }
    let scratch = Scratch::new();
    let record = scratch.path("record");
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.format("pcapng").output(&record).sessions(1));
    server.keep_urgent_inline();
    client.send("GET / HTTP/1.0\r\n\r\n");
    server.expect("GET / HTTP/1.0\r\n\r\n");
    client.send_urgent(b'!');
    server.expect("!");
    drop((client, server));
    tcpreen.finish();
    assert_eq!(matching(&record, "tcp.flags.urg == 1 && tcp.urgent_pointer == 1 && tcp.len == 1"), 1);
    assert_eq!(matching(&record, WRONG), 0);
}

/// By size: each file can be read by itself, and all of them together.
#[test]
fn parts_go_on_where_the_last_one_ended() {
    if !needs(&[Need::Program("tshark")]) {
        return;
    }
    let scratch = Scratch::new();
    let directory = scratch.path("logs");
    fs::create_dir(&directory).expect("mkdir");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("chmod");
    let [lines, packets] = ["lines", "packets"].map(|name| directory.join(name));
    let outputs = |it: Tcpreen| it.format("json").output(&lines).format("pcapng").output(&packets);
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| outputs(it).args(["--rotate-size", "60k"]).sessions(1));
    let mut said = Vec::new();
    for number in 0..12 {
        let piece: Vec<u8> = (0..20_000).map(|at| b'a' + ((at + number) % 26) as u8).collect();
        client.send(&piece);
        server.expect(&piece);
        said.extend(piece);
    }
    client.finish();
    server.expect_end();
    server.finish();
    client.expect_end();
    assert_eq!(tcpreen.finish().code(), 0);
    let parts = |path: &Path| {
        let numbered = (1..).map(|number| path.with_extension(number.to_string()));
        let mut parts: Vec<_> = numbered.take_while(|part| part.exists()).collect();
        parts.push(path.to_owned());
        assert!(parts.len() > 3, "{parts:?}");
        parts
    };
    let all_lines: Vec<Vec<Value>> = parts(&lines).iter().map(|part| read(part)).collect();
    for part in &all_lines[1..] {
        assert_eq!(events(part)[0], "continue");
        // The last part may have nothing but the ends.
        let next = part.iter().find(|object| object["sender"] == "client" || object["event"] == "end");
        let next = next.expect("an event of the client, or the end");
        let key = match next["event"].as_str() {
            Some("data") => "position",
            Some("eof") => "bytes",
            _ => "client_bytes",
        };
        assert_eq!(part[0]["client_bytes"], next[key]);
    }
    let together: Vec<Value> = all_lines.concat();
    assert_eq!(sent(&together, "client"), said);
    let packet_parts = parts(&packets);
    for part in &packet_parts {
        assert_eq!(matching(part, "_ws.malformed || tcp.checksum.status != 1"), 0);
    }
    assert_eq!(comments(&packet_parts[1])[0]["event"], "continue");
    let whole = scratch.path("whole");
    fs::write(
        &whole,
        packet_parts.iter().flat_map(|part| fs::read(part).expect("a part")).collect::<Vec<u8>>(),
    )
    .expect("all parts");
    assert_eq!(matching(&whole, WRONG), 0);
    assert!(followed(&whole, 0) == [said, Vec::new()]);
}

#[test]
fn added_to_a_record_stays_what_it_is() {
    let scratch = Scratch::new();
    let [lines, packets] = ["lines", "packets"].map(|name| scratch.path(name));
    for word in ["one", "two"] {
        let outputs = |it: Tcpreen| it.format("json").output(&lines).format("pcapng").output(&packets);
        let Bridged { mut client, mut server, tcpreen } =
            bridge(|it| outputs(it).args(["--append"]).sessions(1));
        client.send(word);
        client.finish();
        assert_eq!(server.rest(), word.as_bytes());
        server.finish();
        client.expect_end();
        assert_eq!(tcpreen.finish().code(), 0);
    }
    let all = read(&lines);
    let runs: Vec<_> = of(&all, "start").iter().map(|start| start["run"].clone()).collect();
    assert_eq!(runs.len(), 2);
    assert_ne!(runs[0], runs[1]);
    if needs(&[Need::Program("tshark")]) {
        assert_eq!(followed(&packets, 0)[0], b"one");
        assert_eq!(followed(&packets, 1)[0], b"two");
    }
}

/// Through a FIFO, while the session is idle: the packet is decoded by a program that reads it.
#[test]
fn a_reader_of_a_fifo_sees_a_packet_while_the_session_is_idle() {
    if !needs(&[Need::Program("tshark")]) {
        return;
    }
    let scratch = Scratch::new();
    let pipe = scratch.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::empty()).expect("mkfifo");
    fs::set_permissions(&pipe, fs::Permissions::from_mode(0o666)).expect("chmod");
    let mut viewer = Command::new("tshark");
    viewer.args(["-l", "-n", "-i", pipe.to_str().expect("UTF-8"), "-T", "fields", "-e", "tcp.payload"]);
    let viewer = viewer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut viewer = viewer.expect("tshark");
    let mut shown = BufReader::new(viewer.stdout.take().expect("a pipe")).lines();
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.format("pcapng").output(&pipe).sessions(1));
    for (words, hex) in [("first", "6669727374"), ("then", "7468656e")] {
        client.send(words);
        server.expect(words);
        // Nothing else happens until it is shown.
        let line = shown.by_ref().map(|line| line.expect("a line")).find(|line| !line.is_empty());
        assert_eq!(line.as_deref(), Some(hex));
    }
    drop((client, server));
    tcpreen.finish();
    viewer.wait().expect("tshark ends with its input");
}

/// Into a pipe, while the session goes on.
#[test]
fn whoever_looks_on_sees_what_has_come() {
    for format in ["json", "pcapng"] {
        let listener = Server::listen();
        let tcpreen = Tcpreen::to(listener.port()).format(format).args(["-o", "-"]).sessions(1).start();
        let mut client = tcpreen.connect();
        let mut server = listener.accept();
        client.send("now");
        server.expect("now");
        tcpreen.stdout_with("now");
        drop((client, server));
        tcpreen.finish();
    }
}

#[test]
fn one_direction_is_a_gap_in_the_other() {
    let scratch = Scratch::new();
    let [lines, packets] = ["lines", "packets"].map(|name| scratch.path(name));
    let outputs = |it: Tcpreen| {
        it.args(["--only=server"]).format("json").output(&lines).format("pcapng").output(&packets)
    };
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| outputs(it).sessions(1));
    client.send("question");
    server.expect("question");
    client.finish();
    server.expect_end();
    server.send("answer");
    server.finish();
    assert_eq!(client.rest(), b"answer");
    tcpreen.finish();
    let all = read(&lines);
    assert_eq!((sent(&all, "client"), sent(&all, "server")), (Vec::new(), b"answer".to_vec()));
    assert_eq!(of(&all, "eof")[0]["bytes"], 8);
    assert_eq!(of(&all, "end")[0]["client_bytes"], 8);
    if needs(&[Need::Program("tshark")]) {
        let gap = comments(&packets).into_iter().find(|object| object["event"] == "eof").expect("a gap");
        assert_eq!((&gap["sender"], &gap["bytes"]), (&"client".into(), &8.into()));
    }
}

/// Paths that no JSON and no terminal is prepared for, and what the record has in their place.
#[test]
fn paths_of_unix_sockets_are_told_and_packets_have_addresses_for_them() {
    for (name, shown) in [
        (&b"se\"rver\x1b\xc3\xa9"[..], "se\"rver\\x1bé"),
        (b"two\nlines\\n'", "two\\x0alines\\\\n'"),
        (b"no\xff\xfetext\xc3", "no\\xff\\xfetext\\xc3"),
        ("\u{202e}txt\u{2066}\u{85}".as_bytes(), "\u{202e}txt\u{2066}\u{85}"),
    ] {
        expect_path(name, shown);
    }
}

fn expect_path(name: &[u8], shown: &str) {
    let scratch = Scratch::new();
    let [lines, packets, again] = ["lines", "packets", "again"].map(|name| scratch.path(name));
    let path = scratch.path("").join(OsStr::from_bytes(name));
    let listener = UnixListener::bind(&path).expect("bind");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("chmod");
    let tcpreen = Tcpreen::to_socket(&path).format("json").output(&lines).format("pcapng").output(&packets);
    let tcpreen = tcpreen.sessions(1).start();
    let mut client = tcpreen.connect();
    let (stream, _): (UnixStream, _) = listener.accept().expect("accept");
    let mut server = Peer::over_unix(stream);
    client.send("words");
    server.expect("words");
    drop((client, server));
    tcpreen.finish();
    let text = fs::read_to_string(&lines).expect("UTF-8");
    assert!(
        !text.contains(|c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{2069}').contains(&c))),
        "{text}"
    );
    let all = read(&lines);
    let expected = format!("{}/{shown}", path.parent().expect("a folder").display());
    for object in [of(&all, "start")[0], of(&all, "end")[0]] {
        assert_eq!((&object["server_unix"], &object["server_ip"]), (&expected.clone().into(), &"".into()));
    }
    let outcome = Tcpreen::reading([&packets]).format("json").output(&again).run();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert_eq!(fs::read_to_string(&again).expect("UTF-8"), text, "out of packets");
    if needs(&[Need::Program("tshark")]) {
        let filter = "ipv6.dst == 100::1 && ipv6.src == ::ffff:127.0.0.1 && tcp.len == 5";
        assert_eq!(matching(&packets, filter), 1);
        assert_eq!(matching(&packets, WRONG), 0);
    }
}
