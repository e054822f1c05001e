//! `%` in the name of an output: files for each session, and no other file touched.

pub(crate) mod obstacles;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::payload::{Digest, Hasher, Payload};
use crate::support::peer::{Peer, Server, echo_server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Outcome, Running, Tcpreen};
use crate::support::wait::until;
use crate::support::{Bridged, bridge, nobody, proc};

/// Every file in the scratch directory, by name.
pub(crate) fn files(scratch: &Scratch) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(scratch.path("")).expect("the scratch directory");
    let entries = entries.map(|entry| entry.expect("an entry"));
    let read = entries.map(|entry| {
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        (name, fs::read(entry.path()).expect("a file"))
    });
    read.collect()
}

pub(crate) fn names(scratch: &Scratch) -> Vec<String> {
    files(scratch).into_keys().collect()
}

/// Sends one question and receives its echo.
pub(crate) fn ask(tcpreen: &Running, question: &str) -> Peer {
    let mut client = tcpreen.connect();
    client.send(question);
    client.expect(question);
    client
}

/// Runs one session, recorded in `name` in the scratch directory.
pub(crate) fn one_session(scratch: &Scratch, name: &str, with: impl FnOnce(Tcpreen) -> Tcpreen) -> Outcome {
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| with(it).output(scratch.path(name)).sessions(1));
    client.send("question");
    server.expect("question");
    drop((client, server));
    tcpreen.finish()
}

#[track_caller]
fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("a file").mode() & 0o7777
}

#[test]
fn sessions_at_the_same_time_have_a_file_each() {
    let scratch = Scratch::new();
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(4).sessions(4).output(scratch.path("%n.txt")).start();
    let clients: Vec<Peer> = (1..=4).map(|number| ask(&tcpreen, &format!("I am {number}"))).collect();
    let ports: Vec<u16> = clients.iter().map(Peer::local_port).collect();
    drop(clients);
    assert_eq!(tcpreen.finish().code(), 0);
    assert_eq!(names(&scratch), ["1.txt", "2.txt", "3.txt", "4.txt"]);
    for (number, port) in (1..=4).zip(ports) {
        let text = scratch.record(&format!("{number}.txt"));
        let begins = format!("Connection from: 127.0.0.1 port {port}\nConnection to: 127.0.0.1 port ");
        assert!(text.starts_with(&begins), "{text}");
        assert!(text.contains(&format!("\n<<< I am {number}\n>>> I am {number}\n")), "{text}");
        assert!(text.ends_with("End of transmission.\n"), "{text}");
        assert_eq!(text.matches("Connection from").count(), 1, "{text}");
    }
}

fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.add(bytes);
    hasher.digest()
}

#[test]
fn raw_of_each_direction_is_what_was_sent() {
    static SEED: AtomicU64 = AtomicU64::new(1000);
    const SESSIONS: u32 = 20;
    let scratch = Scratch::new();
    let random = |length| Payload::new(SEED.fetch_add(1, Ordering::Relaxed), length);
    let server = Server::listen().serve(move |peer| peer.exchange(random(700_001)));
    let output = scratch.path("%p.%d");
    let tcpreen = Tcpreen::to(server.port).format("raw").output(output).at_once(SESSIONS).start();
    let clients: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let client = tcpreen.connect();
            thread::spawn(move || (client.local_port(), client.exchange(random(300_001)).expect("traffic")))
        })
        .collect();
    let mut expected = BTreeMap::new();
    for client in clients {
        let (port, traffic) = client.join().expect("a client");
        expected.insert(format!("{port}.client"), traffic.sent);
        expected.insert(format!("{port}.server"), traffic.received);
    }
    tcpreen.signal(nix::sys::signal::Signal::SIGTERM);
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 143, "{}", outcome.stderr);
    let recorded: BTreeMap<_, _> =
        files(&scratch).into_iter().map(|(name, bytes)| (name, digest(&bytes))).collect();
    assert_eq!(recorded.len(), 2 * SESSIONS as usize);
    assert_eq!(recorded, expected);
}

#[test]
fn other_formats_of_a_direction_keep_the_frame() {
    let scratch = Scratch::new();
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.format("count").output(scratch.path("%d")).sessions(1));
    client.send("four");
    server.expect("four");
    server.send("sixsix");
    client.expect("sixsix");
    drop((client, server));
    tcpreen.finish();
    assert_eq!(names(&scratch), ["client", "server"]);
    for (name, own, other) in [("client", "<<< 4 bytes\n", ">>>"), ("server", ">>> 6 bytes\n", "<<<")] {
        let text = scratch.record(name);
        assert!(text.starts_with("Connection from: 127.0.0.1 port "), "{text}");
        assert!(text.contains(own) && !text.contains(other), "{text}");
        assert!(text.ends_with("End of transmission.\n"), "{text}");
    }
}

#[test]
fn a_name_contains_peer_and_time() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let utc = |seconds: u64| {
        let output = std::process::Command::new("date")
            .args(["-u", "-d", &format!("@{seconds}"), "+%Y%m%dT%H%M%SZ"])
            .output()
            .expect("date");
        String::from_utf8(output.stdout).expect("digits").trim_end().to_owned()
    };
    let scratch = Scratch::new();
    let before = now();
    one_session(&scratch, "100%%-%t-%a-%n", |it| it);
    let possible: Vec<String> =
        (before..=now()).map(|second| format!("100%-{}-127.0.0.1-1", utc(second))).collect();
    let found = names(&scratch);
    assert!(found.len() == 1 && possible.contains(&found[0]), "{found:?} {possible:?}");
}

#[test]
fn a_percent_alone_is_one_file_for_all_sessions() {
    let scratch = Scratch::new();
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).sessions(2).output(scratch.path("50%%")).start();
    assert_eq!(names(&scratch), ["50%"], "it is there from the start");
    drop(ask(&tcpreen, "first"));
    drop(ask(&tcpreen, "second"));
    tcpreen.finish();
    let text = scratch.record("50%");
    assert!(text.contains("<<< first\n") && text.contains("<<< second\n"), "{text}");
    assert_eq!(names(&scratch), ["50%"]);
}

#[test]
fn sessions_of_the_same_name_are_numbered() {
    let scratch = Scratch::new();
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).sessions(3).output(scratch.path("from-%a")).start();
    for word in ["first", "second", "third"] {
        drop(ask(&tcpreen, word));
    }
    tcpreen.finish();
    assert_eq!(names(&scratch), ["from-127.0.0.1", "from-127.0.0.1-1", "from-127.0.0.1-2"]);
    assert!(scratch.record("from-127.0.0.1-1").contains("<<< second\n"));
}

#[test]
fn files_belong_to_the_user_named() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    assert_eq!(one_session(&scratch, "%n", |it| it.args(["-u", "nobody"])).code(), 0);
    let file = fs::metadata(scratch.path("1")).expect("a file");
    let (uid, gid) = nobody();
    assert_eq!((file.uid(), file.gid()), (uid.as_raw(), gid.as_raw()));
}

#[test]
fn outputs_follow_the_umask() {
    for (umask, expected) in [("umask 027", 0o640), ("umask 0", 0o666)] {
        let scratch = Scratch::new();
        one_session(&scratch, "%n", |it| it.by_shell(umask, ""));
        assert_eq!(mode(&scratch.path("1")), expected, "{umask}");
    }
}

#[test]
fn passwords_are_for_their_owner_and_stand_with_the_client() {
    let scratch = Scratch::new();
    one_session(&scratch, "%d", |it| it.format("password").by_shell("umask 0", ""));
    assert_eq!(names(&scratch), ["client"]);
    assert_eq!(mode(&scratch.path("client")), 0o600);
}

#[test]
fn files_are_there_from_the_beginning_of_a_session_to_its_end() {
    if !needs(&[Need::Root]) {
        return; // Only root may look into our processes.
    }
    let scratch = Scratch::new();
    let Bridged { client, server, tcpreen } = bridge(|it| it.format("raw").output(scratch.path("%n.%d")));
    let directory = scratch.path("").to_string_lossy().into_owned();
    let logger = tcpreen.role("logger");
    let open = || {
        let descriptors = proc::descriptors(logger).into_values();
        descriptors.filter(|path| path.starts_with(&directory)).collect::<Vec<_>>()
    };
    until("two files, before anything is said", || (open().len() == 2).then_some(()));
    assert_eq!(names(&scratch), ["1.client", "1.server"]);
    drop((client, server));
    until("the end of the session", || open().is_empty().then_some(()));
}
