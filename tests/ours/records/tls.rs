//! `--tls-keys`: a recorded session of TLS, decrypted by tshark.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::ours::records::*;
use crate::support::place_of_our_own;
use crate::support::real_server::RealServer;

const NEEDS: [Need; 2] = [Need::Program("openssl"), Need::Program("tshark")];

/// A server that answers HTTP over TLS.
pub(crate) fn https(scratch: &Scratch) -> RealServer {
    let [key, certificate] = ["key", "certificate"].map(|name| scratch.path(name).display().to_string());
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=localhost"];
    run("openssl", &[&request[..], &["-keyout", &key, "-out", &certificate]].concat());
    let place = place_of_our_own();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-www", "-quiet", "-key", &key, "-cert", &certificate]);
    RealServer::start(server.args(["-accept", &place.to_string()]), place)
}

/// Asks it for a page, and appends the secrets to a file. TLS 1.3, or another version.
pub(crate) fn get(port: u16, keys: &Path, options: &[&str]) {
    let [port, keys] = [format!("127.0.0.1:{port}"), keys.display().to_string()];
    let mut client = Command::new("openssl");
    client.args(["s_client", "-quiet", "-no_ign_eof", "-connect", &port, "-keylogfile", &keys]).args(options);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = client.spawn().expect("openssl");
    use std::io::Write;
    let mut request = client.stdin.take().expect("a pipe");
    request.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a request");
    let page = {
        use std::io::Read;
        let mut page = String::new();
        client.stdout.take().expect("a pipe").read_to_string(&mut page).expect("text");
        page
    };
    drop(request);
    client.wait().expect("openssl ends");
    assert!(page.contains("200 ok"), "{page}");
}

/// Two sessions, of TLS 1.3 and 1.2; returns the record, the secrets and the server's port.
fn two_sessions(scratch: &Scratch) -> (PathBuf, PathBuf, u16) {
    let [packets, keys] = ["packets", "keys"].map(|name| scratch.path(name));
    let server = https(scratch);
    let tcpreen = server.bridged(|it| it.format("pcapng").output(&packets).sessions(2));
    get(tcpreen.port(), &keys, &[]);
    get(tcpreen.port(), &keys, &["-tls1_2"]);
    assert_eq!(tcpreen.finish().code(), 0);
    fs::set_permissions(&keys, PermissionsExt::from_mode(0o644)).expect("chmod");
    (packets, keys, server.place().port())
}

/// Requests that tshark decrypts.
fn decrypted(packets: &Path, port: u16) -> usize {
    let decode = format!("tcp.port=={port},tls");
    let args = ["-r", packets.to_str().expect("UTF-8"), "-d", &decode, "-Y", "http.request.method == GET"];
    run("tshark", &args).lines().count()
}

fn is_random(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A capture without its last block, which has the time at which it was written.
fn packets_of(path: &Path) -> Vec<u8> {
    let mut capture = fs::read(path).expect("packets");
    let length = capture.last_chunk::<4>().expect("a block");
    capture.truncate(capture.len() - u32::from_le_bytes(*length) as usize);
    capture
}

/// Random numbers of the clients, as the secrets have them.
fn randoms(keys: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(keys);
    let words = text.split(['\n', '\0']).filter_map(|line| line.split(' ').find(|it| is_random(it)));
    let mut randoms: Vec<String> = words.map(str::to_owned).collect();
    randoms.sort();
    randoms.dedup();
    randoms
}

#[test]
fn secrets_decrypt_a_record_and_each_session_has_only_its_own() {
    if !needs(&NEEDS) {
        return;
    }
    let scratch = Scratch::new();
    let (packets, keys, port) = two_sessions(&scratch);
    assert_eq!(decrypted(&packets, port), 0, "there are no secrets yet");
    let read = |input: &Path, name: &str, options: &[&str]| {
        let output = scratch.path(name);
        let outcome = Tcpreen::reading([input]).args(options).format("pcapng").output(&output).run();
        assert_eq!((outcome.code(), outcome.stdout.as_slice()), (0, &b""[..]), "{}", outcome.stderr);
        output
    };
    let with_keys = ["--tls-keys", keys.to_str().expect("UTF-8")];
    let both = read(&packets, "both", &with_keys);
    assert_eq!((decrypted(&both, port), matching(&both, WRONG)), (2, 0));
    let log = fs::read(&keys).expect("secrets");
    assert_eq!(randoms(&fs::read(&both).expect("packets")).len(), 2);
    // Secrets that are in a record already stay in it.
    let again = read(&both, "again", &[]);
    assert!(packets_of(&again) == packets_of(&both));
    let second = read(&packets, "second", &[&with_keys[..], &["--session", "2"]].concat());
    assert_eq!(decrypted(&second, port), 1);
    let kept = randoms(&fs::read(&second).expect("packets"));
    assert_eq!(kept.len(), 1);
    assert!(randoms(&log).contains(&kept[0]));
    // A file for each session has its own.
    let each = read(&packets, "each-%n", &with_keys);
    for number in ["1", "2"] {
        let file = each.with_file_name(format!("each-{number}"));
        assert_eq!((decrypted(&file, port), randoms(&fs::read(file).expect("packets")).len()), (1, 1));
    }
}

#[test]
fn what_has_no_secrets_is_reported_and_the_record_is_converted_all_the_same() {
    if !needs(&NEEDS) {
        return;
    }
    let scratch = Scratch::new();
    let (packets, keys, _) = two_sessions(&scratch);
    let plain = scratch.path("plain");
    assert_eq!(Tcpreen::reading([&packets]).format("pcapng").output(&plain).run().code(), 0);
    let other = fs::read_to_string(&keys).expect("text");
    let other: String =
        other.lines().map(|line| format!("X {} 00\n", "0".repeat(line.len().min(64)))).collect();
    for (name, text, status, told) in [
        ("none", "GET / HTTP/1.0\n", 65, "none: no secrets of TLS in it;"),
        ("others", &other, 0, "--tls-keys: no session of the record has its secrets there\n"),
    ] {
        let (file, output) = (scratch.path(name), scratch.path("output"));
        fs::write(&file, text).expect("a file");
        fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("chmod");
        let keys = ["--tls-keys", file.to_str().expect("UTF-8")];
        let outcome = Tcpreen::reading([&packets]).args(keys).format("pcapng").output(&output).run();
        assert_eq!(outcome.code(), status, "{outcome:?}");
        assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
        assert!(packets_of(&output) == packets_of(&plain), "{name}");
    }
    let missing = ["--tls-keys", "/nowhere/keys"];
    let outcome = Tcpreen::reading([&packets]).args(missing).format("pcapng").output(&plain).run();
    assert_eq!(outcome.code(), 66, "{outcome:?}");
    assert!(outcome.stderr.contains("/nowhere/keys: No such file"), "{}", outcome.stderr);
}
