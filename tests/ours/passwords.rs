//! `password` in front of real servers: the reported verdict on a login is the server's.

pub(crate) mod binary;
pub mod servers;

use std::process::{Command, Stdio};

use crate::ours::passwords::servers::python;
use crate::support::real_server::RealServer;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::{Bridged, bridge};

pub(crate) const USER: &str = "bob";
/// Some protocols escape the quote.
pub(crate) const RIGHT: &str = "s3c\"ret";
const WRONG: &str = "gue\"ss";

/// Returns the output for one session, in which `client` runs to its end, and whether the client succeeded.
#[track_caller]
fn overheard(server: &RealServer, client: impl FnOnce(u16) -> Command) -> (String, bool) {
    let place = server.place();
    let tcpreen =
        Tcpreen::to(place.port()).host(&place.ip().to_string()).format("password").sessions(1).start();
    let mut client = client(tcpreen.port());
    let client = client.stdin(Stdio::null()).output().expect("the client starts");
    (tcpreen.finish().stdout(), client.status.success())
}

/// Logs in with the right and with a wrong password. `shown` is the expected line, with the password in place
/// of `PASSWORD`; `codes` are the replies that accept and refuse.
#[track_caller]
pub(crate) fn expect_verdicts(
    server: &RealServer,
    shown: &str,
    codes: [&str; 2],
    client: impl Fn(u16, &str) -> Command,
) {
    for ((password, verdict), code) in [(RIGHT, "accepted"), (WRONG, "refused")].into_iter().zip(codes) {
        let (text, content) = overheard(server, |port| client(port, password));
        let end = format!("({verdict}) {code}");
        assert_eq!(text, format!("{} {}\n", shown.replace("PASSWORD", password), end.trim_end()));
        assert_eq!(content, password == RIGHT, "the client is content with {password}");
    }
}

/// Logs in with curl at `url`, in which `PORT` stands for the bridge's port.
fn curl(url: &str, port: u16, password: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--disable", "--noproxy", "*", "--max-time", "20"]);
    curl.args(["--user", &format!("{USER}:{password}")]);
    curl.arg(url.replace("PORT", &port.to_string()));
    curl
}

/// Same, with one authentication mechanism.
fn curl_with(mechanism: &str, url: &str, port: u16, password: &str) -> Command {
    let mut curl = curl(url, port, password);
    curl.args(["--login-options", &format!("AUTH={mechanism}")]);
    curl
}

#[test]
fn forms_and_tokens_are_found_where_they_are_asked_for() {
    let form = "user=bob&password=s3cret";
    let requests = format!(
        "POST /in HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}\
         GET / HTTP/1.1\r\nAuthorization: Bearer t0ken\r\n\r\n",
        form.len()
    );
    let found = "HTTP form: bob:s3cret\nHTTP: (Bearer):t0ken (refused) 401\n";
    for (option, expected) in [("all", found), ("logins", "")] {
        let Bridged { mut client, mut server, tcpreen } =
            bridge(|it| it.args(["--password", option]).format("password").sessions(1));
        client.send(&requests);
        server.expect(&requests);
        server.send("HTTP/1.1 302 x\r\nContent-Length: 0\r\n\r\nHTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n");
        server.finish();
        client.rest();
        drop((client, server));
        assert_eq!(tcpreen.finish().stdout(), expected);
    }
}

#[test]
fn redis() {
    if !needs(&[Need::Program("redis-server"), Need::Program("redis-cli")]) {
        return;
    }
    let server = servers::redis(RIGHT);
    let redis = |port: u16, arguments: &[&str]| {
        let mut redis = Command::new("redis-cli");
        redis.args(["-e", "-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
        redis
    };
    expect_verdicts(&server, "Redis: :PASSWORD", ["+OK", "-WRONGPASS"], |port, password| {
        redis(port, &["AUTH", password])
    });
    expect_verdicts(&server, "Redis: default:PASSWORD", ["+OK", "-WRONGPASS"], |port, password| {
        redis(port, &["AUTH", "default", password])
    });
    expect_verdicts(&server, "Redis: default:PASSWORD", ["+OK", "-WRONGPASS"], |port, password| {
        redis(port, &["--no-auth-warning", "--user", "default", "--pass", password, "PING"])
    });
    expect_verdicts(&server, "Redis: default:PASSWORD", ["", "-WRONGPASS"], |port, password| {
        redis(port, &["HELLO", "3", "AUTH", "default", password])
    });
}

#[test]
fn http() {
    if !needs(&[Need::Program("nginx"), Need::Program("curl")]) {
        return;
    }
    let scratch = Scratch::new();
    let server = servers::http(&scratch, USER, RIGHT);
    let url = "http://127.0.0.1:PORT/";
    expect_verdicts(&server, "HTTP: bob:PASSWORD", ["200", "401"], |port, password| {
        curl(url, port, password)
    });

    // The first of two requests on one connection carries no name.
    let (shown, _) = overheard(&server, |port| {
        let mut curl = curl(url, port, RIGHT);
        curl.arg("--anyauth");
        curl
    });
    assert_eq!(shown, format!("HTTP: bob:{RIGHT} (accepted) 200\n"));
}

#[test]
fn ftp() {
    if !needs(&[Need::PythonModule("pyftpdlib"), Need::Program("curl")]) {
        return;
    }
    let scratch = Scratch::new();
    let server = servers::ftp(&scratch, USER, RIGHT);
    expect_verdicts(&server, "FTP: bob:PASSWORD", ["230", "530"], |port, password| {
        // --head needs no second connection, which would bypass the bridge.
        let mut curl = curl("ftp://127.0.0.1:PORT/", port, password);
        curl.arg("--head");
        curl
    });
    expect_verdicts(&server, "FTP: bob:PASSWORD", ["230", "530"], |port, password| {
        python(servers::FTP_CLIENT, &[&port.to_string(), USER, password])
    });
}

#[test]
fn pop3() {
    if !needs(&[
        Need::Root,
        Need::Program("dovecot"),
        Need::File("/usr/lib/dovecot/pop3", "dovecot-pop3d"),
        Need::PythonModule("poplib"),
        Need::Program("curl"),
    ]) {
        return;
    }
    let scratch = Scratch::new();
    let server = servers::mailbox(&scratch, "pop3", USER, RIGHT);
    expect_verdicts(&server, "POP3: bob:PASSWORD", ["+OK", "-ERR"], |port, password| {
        python(servers::POP3_CLIENT, &[&port.to_string(), USER, password])
    });
    for (mechanism, shown) in [
        ("PLAIN", "POP3: bob:PASSWORD"),
        ("LOGIN", "POP3: bob:PASSWORD"),
        ("CRAM-MD5", "POP3: bob (CRAM-MD5)"),
        ("+APOP", "POP3: bob (APOP)"),
    ] {
        expect_verdicts(&server, shown, ["+OK", "-ERR"], |port, password| {
            curl_with(mechanism, "pop3://127.0.0.1:PORT/", port, password)
        });
    }
}

#[test]
fn imap() {
    if !needs(&[
        Need::Root,
        Need::Program("dovecot"),
        Need::File("/usr/lib/dovecot/imap", "dovecot-imapd"),
        Need::PythonModule("imaplib"),
        Need::Program("curl"),
    ]) {
        return;
    }
    let scratch = Scratch::new();
    let server = servers::mailbox(&scratch, "imap", USER, RIGHT);
    for how in ["quoted", "literal", "plain"] {
        expect_verdicts(&server, "IMAP: bob:PASSWORD", ["OK", "NO"], |port, password| {
            python(servers::IMAP_CLIENT, &[&port.to_string(), USER, password, how])
        });
    }
    for (mechanism, shown) in [
        ("PLAIN", "IMAP: bob:PASSWORD"),
        ("LOGIN", "IMAP: bob:PASSWORD"),
        ("CRAM-MD5", "IMAP: bob (CRAM-MD5)"),
    ] {
        expect_verdicts(&server, shown, ["OK", "NO"], |port, password| {
            curl_with(mechanism, "imap://127.0.0.1:PORT/", port, password)
        });
    }
}

#[test]
fn smtp() {
    if !needs(&[Need::PythonModule("aiosmtpd"), Need::Program("curl")]) {
        return;
    }
    let server = servers::smtp(USER, RIGHT);
    for mechanism in ["PLAIN", "LOGIN"] {
        expect_verdicts(&server, "SMTP: bob:PASSWORD", ["235", "535"], |port, password| {
            let mut curl = curl_with(mechanism, "smtp://127.0.0.1:PORT/", port, password);
            // Sends an empty mail.
            curl.args(["--mail-from", "a@localhost", "--mail-rcpt", "b@localhost", "--upload-file", "-"]);
            curl
        });
        expect_verdicts(&server, "SMTP: bob:PASSWORD", ["235", "535"], |port, password| {
            python(servers::SMTP_CLIENT, &[&port.to_string(), USER, password, mechanism])
        });
    }
}
