//! Command lines of the manual with real clients and servers.

use crate::compat::clients::redis;
use crate::compat::clients::text;
use std::process::{Command, Stdio};

use crate::support::peer::Server;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::PATIENCE;

/// Numbers, the version of curl among them, differ from run to run.
#[test]
fn the_first_example_of_the_manual_is_what_happens() {
    if !needs(&[Need::Program("curl")]) {
        return;
    }
    let manual = include_str!("../../man/tcpreen.1").replace("\\-", "-").replace("\\e", "\\");
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
fn redis_takes_many_clients_with_pipelines() {
    if !needs(&[Need::Program("redis-server"), Need::Program("redis-benchmark")]) {
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
