//! Sessions of real servers in packets: tools for captures find in them what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::compat::clients;
use crate::ours::passwords::servers;
use crate::ours::records::tls;
use crate::ours::records::*;
use crate::support::place_of_our_own;
use crate::support::real_server::RealServer;
use crate::support::skip::skipped_because;
use crate::support::tcpreen::Running;
use crate::support::wait::PATIENCE;

const NEEDS: [Need; 10] = [
    Need::Account,
    Need::Program("tshark"),
    Need::Program("mergecap"),
    Need::Program("tcpdump"),
    Need::Program("tcpflow"),
    Need::Program("redis-server"),
    Need::Program("psql"),
    Need::Program("nginx"),
    Need::Program("openssl"),
    Need::PythonModule("aiosmtpd"),
];

/// Sessions through bridges, in packets of each kind of server, and the bytes of each session and side in a file.
struct Stage<'a> {
    scratch: &'a Scratch,
    /// By the server's port in the packets: the kind, and the name of its dissector.
    kinds: BTreeMap<u16, (&'static str, &'static str)>,
}

impl Stage<'_> {
    fn outputs(&self, kind: &str, it: Tcpreen) -> Tcpreen {
        let file = |name: &str| self.scratch.path(&format!("{kind}{name}"));
        let it = it.at_once(20).format("pcapng").output(file(".pcapng"));
        let it = it.args(["--only=client"]).format("raw").output(file("-%p-client"));
        it.args(["--only=server"]).format("raw").output(file("-%p-server"))
    }

    fn bridge(&mut self, kind: &'static str, server: &RealServer, dissector: &'static str) -> Running {
        self.kinds.insert(server.place().port(), (kind, dissector));
        server.bridged(|it| self.outputs(kind, it))
    }

    /// Bytes of a session.
    fn sent(&self, session: &Session, side: &str) -> Vec<u8> {
        let (kind, _) = self.kinds[&session.server];
        fs::read(self.scratch.path(&format!("{kind}-{}-{side}", session.client))).expect("the bytes")
    }
}

/// Asks ten times, after the server's greeting if it has one.
fn ask(bridge: Running, greeting: bool, question: &str) {
    for _ in 0..10 {
        let mut client = bridge.connect();
        if greeting {
            assert!(client.words_within(PATIENCE).is_some());
        }
        client.send(question);
        client.finish();
        client.rest();
    }
    end(bridge);
}

fn end(bridge: Running) {
    bridge.signal(Signal::SIGTERM);
    bridge.finish();
}

/// On a port and on a Unix socket, which has the bridge's port in packets.
fn redis(stage: &mut Stage<'_>) {
    let (place, socket) = (place_of_our_own(), stage.scratch.path("redis.sock"));
    let mut server = Command::new("redis-server");
    server.args(["--bind", &place.ip().to_string(), "--port", &place.port().to_string()]);
    server.args(["--save", "", "--appendonly", "no", "--unixsocketperm", "777", "--unixsocket"]);
    let server = RealServer::start(server.arg(&socket).current_dir("/tmp"), place);
    ask(stage.bridge("redis", &server, "resp"), false, "SET a 7\r\nGET a\r\nINFO\r\nQUIT\r\n");
    let bridge = Tcpreen::to(socket.display()).host("").args(["-p", "unix/tcp"]);
    let bridge = stage.outputs("unix", bridge).start();
    stage.kinds.insert(bridge.port(), ("unix", "resp"));
    ask(bridge, false, "PING\r\nINFO\r\nQUIT\r\n");
}

fn mail_and_pages(stage: &mut Stage<'_>) {
    let http = servers::http(stage.scratch, "alice", "secret");
    let request = "GET / HTTP/1.0\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n";
    ask(stage.bridge("http", &http, "http"), false, request);
    let smtp = servers::smtp("alice", "secret");
    ask(stage.bridge("smtp", &smtp, "smtp"), true, "EHLO here\r\nQUIT\r\n");
    let https = tls::https(stage.scratch);
    let bridge = stage.bridge("tls", &https, "tls");
    (0..5).for_each(|_| tls::get(bridge.port(), &stage.scratch.path("keys"), &[]));
    end(bridge);
}

fn database(stage: &mut Stage<'_>, server: &RealServer) {
    let bridge = stage.bridge("postgres", server, "pgsql");
    let port = bridge.port().to_string();
    for _ in 0..5 {
        let mut psql = clients::as_nobody(Command::new("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &port, "-U", "tester", "-d", "postgres", "-c"]);
        psql.arg("select md5(n::text) from generate_series(1, 2000) as n");
        assert!(psql.output().expect("psql").status.success());
    }
    end(bridge);
}

/// One session in packets.
struct Session {
    stream: usize,
    client: u16,
    server: u16,
}

/// The sessions of a capture, and the protocols that tshark finds in each.
fn dissected(packets: &str, stage: &Stage<'_>) -> Vec<(Session, BTreeSet<String>)> {
    let decode = |(port, (_, dissector)): (&u16, &(_, &str))| format!("-dtcp.port=={port},{dissector}");
    let mut args: Vec<String> = ["-r", packets, "-T", "fields"].map(str::to_owned).to_vec();
    let fields = ["tcp.stream", "tcp.srcport", "tcp.dstport", "frame.protocols"];
    args.extend(fields.into_iter().flat_map(|field| ["-e".to_owned(), field.to_owned()]));
    args.extend(stage.kinds.iter().map(decode));
    let text = run("tshark", &args.iter().map(String::as_str).collect::<Vec<_>>());
    let mut sessions: BTreeMap<usize, (Session, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        let port = |at: usize| words[at].parse().expect("a port");
        let stream = words[0].parse().expect("a stream");
        // The first packet is the client's.
        let session = || (Session { stream, client: port(1), server: port(2) }, BTreeSet::new());
        let (_, protocols) = sessions.entry(stream).or_insert_with(session);
        protocols.extend(words[3].split(':').map(str::to_owned));
    }
    sessions.into_values().collect()
}

/// The bytes of all streams, by their numbers, client first.
fn all_followed(packets: &str, streams: usize) -> Vec<[Vec<u8>; 2]> {
    let mut args = vec!["-r".to_owned(), packets.to_owned(), "-q".to_owned()];
    args.extend((0..streams).flat_map(|stream| ["-z".to_owned(), format!("follow,tcp,raw,{stream}")]));
    let text = run("tshark", &args.iter().map(String::as_str).collect::<Vec<_>>());
    let mut followed = vec![[Vec::new(), Vec::new()]; streams];
    let mut stream = 0;
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("Filter: tcp.stream eq ") {
            stream = number.parse().expect("a number");
        } else if line.trim().bytes().all(|byte| byte.is_ascii_hexdigit()) {
            followed[stream][usize::from(line.starts_with('\t'))].extend(unhex(line.trim()));
        }
    }
    followed
}

fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("digits"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
}

/// What tcpflow puts together, one file for each side.
fn expect_flows(packets: &str, stage: &Stage<'_>, sessions: &[(Session, BTreeSet<String>)]) {
    let flows = stage.scratch.path("flows");
    fs::create_dir(&flows).expect("mkdir");
    run("tcpflow", &["-a", "-r", packets, "-o", flows.to_str().expect("UTF-8")]);
    let files: Vec<_> = fs::read_dir(&flows).expect("flows").flatten().map(|entry| entry.path()).collect();
    let over_ip = sessions.iter().filter(|(session, _)| stage.kinds[&session.server].0 != "unix");
    for (session, _) in over_ip {
        for (side, from, to) in
            [("client", session.client, session.server), ("server", session.server, session.client)]
        {
            let [from, to] = [from, to].map(|port| format!(".{port:05}"));
            let is_it = |path: &&std::path::PathBuf| {
                let name = path.file_name().expect("a name").to_string_lossy();
                name.split_once('-').is_some_and(|(one, other)| one.ends_with(&from) && other.ends_with(&to))
            };
            let flow = files.iter().find(is_it).unwrap_or_else(|| panic!("{from} {to}: {files:?}"));
            assert!(fs::read(flow).expect("a flow") == stage.sent(session, side), "{flow:?}");
        }
    }
}

#[test]
fn fifty_sessions_of_real_servers_are_what_tools_find_in_the_packets() {
    if !needs(&NEEDS) {
        return;
    }
    let Some(bin) = clients::postgresql() else {
        return skipped_because("no PostgreSQL server is installed", "apt install postgresql");
    };
    let scratch = Scratch::new();
    let postgres = clients::postgres(&bin, &scratch);
    let mut stage = Stage { scratch: &scratch, kinds: BTreeMap::new() };
    redis(&mut stage);
    mail_and_pages(&mut stage);
    database(&mut stage, &postgres);
    let merged = scratch.path("merged");
    let packets = merged.to_str().expect("UTF-8");
    let files =
        stage.kinds.values().map(|(kind, _)| scratch.path(&format!("{kind}.pcapng")).display().to_string());
    let files: Vec<String> = files.collect();
    let merge = ["-w", packets].into_iter().chain(files.iter().map(String::as_str));
    run("mergecap", &merge.collect::<Vec<_>>());
    let sessions = dissected(packets, &stage);
    assert_eq!(sessions.len(), 50);
    assert_eq!(matching(&merged, WRONG), 0);
    let followed = all_followed(packets, sessions.len());
    for (session, protocols) in &sessions {
        let (kind, dissector) = stage.kinds[&session.server];
        assert!(protocols.contains(dissector), "{kind}: {protocols:?}");
        let [client, server] = &followed[session.stream];
        assert!(*client == stage.sent(session, "client") && !client.is_empty(), "{kind}: the client's bytes");
        assert!(*server == stage.sent(session, "server") && !server.is_empty(), "{kind}: the server's bytes");
    }
    expect_flows(packets, &stage, &sessions);
    let shown = run("tcpdump", &["-nn", "-r", packets]).lines().count();
    let counted = run("capinfos", &["-T", "-r", "-M", "-c", packets]);
    assert_eq!(counted.split_whitespace().last(), Some(shown.to_string().as_str()), "{counted}");
}
