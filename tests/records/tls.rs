//! A server and a client of TLS.

use std::process::{Command, Stdio};

use super::*;
use crate::support::place_of_our_own;
use crate::support::real_server::RealServer;

/// A server that answers HTTP over TLS.
pub(super) fn https(scratch: &Scratch) -> RealServer {
    let [key, certificate] = ["key", "certificate"].map(|name| scratch.path(name).display().to_string());
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=localhost"];
    run("openssl", &[&request[..], &["-keyout", &key, "-out", &certificate]].concat());
    let place = place_of_our_own();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-www", "-quiet", "-key", &key, "-cert", &certificate]);
    RealServer::start(server.args(["-accept", &place.to_string()]), place)
}

/// Asks it for a page, and appends the secrets to a file. TLS 1.3, or another version.
pub(super) fn get(port: u16, keys: &Path, options: &[&str]) {
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
