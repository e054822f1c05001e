//! Sessions of real clients with real servers, recorded, and played again with each side in turn.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::compat::clients;
use crate::ours::passwords::servers;
use crate::ours::replay::*;
use crate::support::real_server::RealServer;
use crate::support::skip::{Need, needs, skipped_because};
use crate::support::tcpreen::Running;

/// A real client, given the port of its server; it must succeed.
type Client<'a> = &'a dyn Fn(u16);

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the client starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Both records of a session: of the real peers, and of what takes its place.
struct Stage {
    scratch: Scratch,
    record: PathBuf,
    masks: Vec<&'static str>,
}

impl Stage {
    fn record(server: &RealServer, client: Client<'_>, masks: &[&'static str]) -> Stage {
        let scratch = Scratch::new();
        let record = scratch.path("record");
        let tcpreen = server.bridged(|it| it.format("json").output(&record).sessions(1));
        client(tcpreen.port());
        assert_eq!(tcpreen.finish().code(), 0);
        Stage { scratch, record, masks: masks.to_vec() }
    }

    fn masks(&self) -> impl Iterator<Item = &str> {
        self.masks.iter().flat_map(|mask| ["--mask", mask])
    }

    /// The client of the record with the real server, and the real client with the server of the record.
    fn play_both(&self, server: &RealServer, client: Client<'_>) {
        let place = server.place();
        let (host, port) = (place.ip().to_string(), place.port().to_string());
        let again = self.scratch.path("again");
        let played = ["--replay=client".as_ref(), self.record.as_os_str(), host.as_ref(), port.as_ref()];
        let it = Tcpreen::replaying(played).listen_on("").args(self.masks());
        let outcome = it.format("json").output(&again).run();
        expect_same(&outcome);
        let running: Running =
            Tcpreen::replaying(["--replay=server".as_ref(), self.record.as_os_str(), "0".as_ref()])
                .args(self.masks())
                .start();
        client(running.port());
        expect_same(&running.finish());
        // The record of the replay is one of the same session.
        let outcome = compared(&self.record, &again, &self.masks().collect::<Vec<_>>());
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    }
}

#[track_caller]
fn expect_same(outcome: &Outcome) {
    assert!(outcome.stderr.contains("session 1: the same: "), "{}", outcome.stderr);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
}

#[test]
fn a_mail_is_sent_again_and_taken_again() {
    if !needs(&[Need::PythonModule("aiosmtpd")]) {
        return;
    }
    let server = servers::smtp("alice", "secret");
    let client = |port: u16| {
        succeed(&mut servers::python(servers::SMTP_CLIENT, &[&port.to_string(), "alice", "secret", "PLAIN"]));
    };
    Stage::record(&server, &client, &[]).play_both(&server, &client);
}

#[test]
fn a_control_session_of_ftp_is_played_from_both_sides() {
    if !needs(&[Need::PythonModule("pyftpdlib")]) {
        return;
    }
    let scratch = Scratch::new();
    let server = servers::ftp(&scratch, "alice", "secret");
    let client = |port: u16| {
        succeed(&mut servers::python(servers::FTP_CLIENT, &[&port.to_string(), "alice", "secret"]));
    };
    Stage::record(&server, &client, &[]).play_both(&server, &client);
}

/// The number and the key of the server's process differ from session to session.
#[test]
fn a_query_of_postgresql_is_played_from_both_sides_with_a_mask() {
    if !needs(&[Need::Account, Need::Program("psql")]) {
        return;
    }
    let Some(bin) = clients::postgresql() else {
        return skipped_because("no PostgreSQL server is installed", "apt install postgresql");
    };
    let scratch = Scratch::new();
    let server = clients::postgres(&bin, &scratch);
    let client = |port: u16| {
        let mut psql = clients::as_nobody(Command::new("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "tester", "-d", "postgres", "-X", "-c"]);
        succeed(psql.arg("select md5(n::text) from generate_series(1, 2000) as n"));
    };
    let key = r"(?-u)K\x00\x00\x00\x0c[\x00-\xff]{8}";
    Stage::record(&server, &client, &[key]).play_both(&server, &client);
}

#[test]
fn commands_of_redis_are_played_from_both_sides() {
    if !needs(&[Need::Program("redis-server"), Need::Program("redis-cli")]) {
        return;
    }
    let server = servers::redis("secret");
    let client = |port: u16| {
        let mut client = Command::new("redis-cli");
        client.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-a", "secret", "--no-auth-warning"]);
        succeed(client.args(["set", "key", "value"]));
    };
    Stage::record(&server, &client, &[]).play_both(&server, &client);
}
