//! Real clients and real servers notice nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use crate::support::peer::Server;
use crate::support::real_server::RealServer;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs, skipped_because};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::PATIENCE;
use crate::support::{nobody, place_of_our_own};

/// Returns the output of a client, which must succeed.
#[track_caller]
fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().expect("the client starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[track_caller]
fn text(command: &mut Command) -> String {
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

/// Numbers, the version of curl among them, differ from run to run.
#[test]
fn the_first_example_of_the_manual_is_what_happens() {
    if !needs(&[Need::Ours, Need::Program("curl")]) {
        return;
    }
    let manual = include_str!("../man/tcpreen.1").replace("\\-", "-").replace("\\e", "\\");
    let example =
        manual.split(".Sh EXAMPLES").nth(1).and_then(|it| it.split(".Ed").next()).expect("an example");
    let numberless = |line: &str| line.split(|it: char| it.is_ascii_digit()).collect::<String>();
    let lines = |text: &str| text.lines().map(numberless).collect::<Vec<String>>();
    let (_, shown) = example.split_once("Connection from: ").expect("a record");
    let shown = lines(&format!("Connection from: {shown}").replace("\nhello\n", "\n"));

    let server = Server::listen();
    let options = example.lines().find_map(|line| line.strip_prefix("$ tcpreen ")).expect("a command");
    let options: Vec<&str> = options.split(' ').take_while(|word| *word != "8000").collect();
    assert_eq!(options, ["-n", "-v", "-m", "1", "-a", "127.0.0.1"]);
    let tcpreen = Tcpreen::to(server.port()).args(&options[..4]).start();
    let url = format!("http://localhost:{}/", tcpreen.port());
    let curl = Command::new("curl").args(["-s", "-4", "--noproxy", "*", &url]).stdout(Stdio::piped()).spawn();
    let mut peer = server.accept();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.extend(peer.words_within(PATIENCE).expect("the request"));
    }
    peer.send("HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n");
    peer.expect_end();
    let said = curl.and_then(|curl| curl.wait_with_output()).expect("curl");
    assert_eq!(said.stdout, b"hello\n");
    drop(peer);
    let outcome = tcpreen.finish();
    assert_eq!(lines(&outcome.stdout()), shown);
    let listening = example.lines().find(|line| line.starts_with("Listening on: ")).expect("a port");
    assert_eq!(lines(&outcome.stderr).last(), lines(listening).first());
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

#[test]
fn redis_takes_many_clients_with_pipelines() {
    if !needs(&[Need::Ours, Need::Program("redis-server"), Need::Program("redis-benchmark")]) {
        return; // The original loses workers that end together, and takes a minute.
    }
    let server = redis();
    let tcpreen = server.bridged(|it| it.at_once(24));
    let port = tcpreen.port().to_string();
    let mut benchmark = Command::new("redis-benchmark");
    benchmark.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-c",
        "20",
        "-n",
        "5000",
        "-P",
        "4",
        "-t",
        "set,get",
        "-q",
    ]);
    let said = text(&mut benchmark);
    assert!(said.contains("SET") && said.contains("GET") && !said.contains("rror"), "{said}");
}

fn redis() -> RealServer {
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
    let echo = crate::support::peer::echo_server();
    let tcpreen = Tcpreen::to(echo.port).start();
    let mut client = tcpreen.connect();
    for keystroke in 0..2000 {
        let typed = format!("{keystroke}\r");
        client.send(&typed);
        client.expect(&typed);
    }
}
