//! Real clients and real servers notice nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use crate::support::peer;
use crate::support::real_server::RealServer;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs, skipped_because};
use crate::support::tcpreen::Tcpreen;
use crate::support::{nobody, place_of_our_own};

/// Returns the output of a client, which must succeed.
#[track_caller]
fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().expect("the client starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[track_caller]
pub(crate) fn text(command: &mut Command) -> String {
    String::from_utf8(output(command)).expect("text")
}

#[test]
fn curl_gets_a_file_from_an_http_server() {
    if !needs(&[Need::Program("curl"), Need::Program("python3")]) {
        return;
    }
    let scratch = Scratch::new();
    let page: Vec<u8> =
        (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(scratch.path("page.bin"), &page).expect("the page");
    let place = place_of_our_own();
    let mut server = Command::new("python3");
    server.args(["-m", "http.server", "--bind", &place.ip().to_string(), &place.port().to_string()]);
    let server = RealServer::start(server.current_dir(scratch.path("")), place);

    let tcpreen = server.bridged(|it| it.at_once(4));
    let url = format!("http://127.0.0.1:{}/page.bin", tcpreen.port());
    let curl = ["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "20"];
    for _ in 0..3 {
        assert!(output(Command::new("curl").args(curl).arg(&url)) == page, "the page is another one");
    }
}

#[test]
fn redis_answers_its_client() {
    if !needs(&[Need::Program("redis-server"), Need::Program("redis-cli")]) {
        return;
    }
    let server = redis();
    let tcpreen = server.bridged(|it| it.at_once(4));
    let redis = |args: &[&str]| {
        text(
            Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &tcpreen.port().to_string()]).args(args),
        )
    };
    assert_eq!(redis(&["SET", "greeting", "hello"]), "OK\n");
    assert_eq!(redis(&["GET", "greeting"]), "hello\n");
    let script = "for i = 1, 20000 do redis.call('RPUSH', 'list', 'item ' .. i) end return 0";
    assert_eq!(redis(&["EVAL", script, "0"]), "0\n");
    let list = redis(&["LRANGE", "list", "0", "-1"]);
    assert_eq!(list.lines().count(), 20000);
    assert_eq!(list.lines().last(), Some("item 20000"));
}

pub(crate) fn redis() -> RealServer {
    let place = place_of_our_own();
    let mut server = Command::new("redis-server");
    server.args(["--bind", &place.ip().to_string(), "--port", &place.port().to_string()]);
    RealServer::start(server.args(["--save", "", "--appendonly", "no"]).current_dir("/tmp"), place)
}

/// The directory with PostgreSQL's own programs, which is in no search path.
pub fn postgresql() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions.flatten().map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists())
}

/// PostgreSQL refuses to run as root.
pub fn as_nobody(mut command: Command) -> Command {
    if Uid::effective().is_root() {
        let (uid, gid) = nobody();
        command.uid(uid.as_raw()).gid(gid.as_raw());
    }
    command.current_dir("/").env("LC_ALL", "C");
    command
}

#[test]
fn psql_works_with_a_database() {
    if !needs(&[Need::Program("psql"), Need::Account]) {
        return;
    }
    let Some(bin) = postgresql() else {
        return skipped_because("no PostgreSQL server is installed", "apt install postgresql");
    };
    let scratch = Scratch::new();
    let server = postgres(&bin, &scratch);
    let tcpreen = server.bridged(|it| it.at_once(4));
    let psql = |sql: &str| {
        let mut psql = as_nobody(Command::new("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &tcpreen.port().to_string(), "-U", "tester", "-d", "postgres"]);
        text(psql.args(["-X", "-A", "-t", "-q", "-c", sql]))
    };
    assert_eq!(psql("select 6 * 7"), "42\n");
    psql("create table numbers as select n, md5(n::text) as digest from generate_series(1, 50000) as n");
    let copied = psql("copy (select n, digest from numbers order by n) to stdout");
    assert_eq!(copied.lines().count(), 50000);
    assert_eq!(copied.lines().last(), Some("50000\t1017bfd4673955ffee4641ad3d481b1c"));
}

pub fn postgres(bin: &std::path::Path, scratch: &Scratch) -> RealServer {
    let data = scratch.path("data");
    let mut initdb = as_nobody(Command::new(bin.join("initdb")));
    initdb.args(["-U", "tester", "-A", "trust", "--no-sync", "-D"]).arg(&data);
    output(&mut initdb);
    fs::create_dir(scratch.path("sockets")).expect("mkdir");
    fs::set_permissions(scratch.path("sockets"), PermissionsExt::from_mode(0o777)).expect("chmod");
    let place = place_of_our_own();
    let mut server = as_nobody(Command::new(bin.join("postgres")));
    server.arg("-D").arg(&data).arg("-k").arg(scratch.path("sockets"));
    server.args(["-h", &place.ip().to_string(), "-p", &place.port().to_string(), "-c", "fsync=off"]);
    RealServer::start(&mut server, place)
}

#[test]
fn a_long_interactive_session_keeps_its_order() {
    let echo = peer::echo_server();
    let tcpreen = Tcpreen::to(echo.port).start();
    let mut client = tcpreen.connect();
    for keystroke in 0..2000 {
        let typed = format!("{keystroke}\r");
        client.send(&typed);
        client.expect(&typed);
    }
}
