//! Peers that vanish: a link that is cut sends nothing. The end comes from the system's own probes and time-outs
//! (`ETIMEDOUT`), is recorded, and is passed on to the other peer.

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use serde_json::Value;

use crate::support::namespace::{in_a_world_of_its_own, run};
use crate::support::peer::{Peer, Server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::until;

const NEAR: &str = "10.9.8.7";
const FAR: &str = "10.9.8.9";
const FAR_PORT: u16 = 4000;
const FAR_HARDWARE: &str = "02:00:00:00:00:09";

/// The other end of the link: a network of its own, entered by one thread.
struct FarHost {
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

impl FarHost {
    /// Plays `test` with a far host at the end of a link.
    fn with(test: impl FnOnce(&FarHost) + Send) {
        in_a_world_of_its_own(|| {
            let (jobs, orders) = mpsc::channel::<Job>();
            let (ready, thread_id) = mpsc::channel();
            thread::scope(|scope| {
                scope.spawn(move || {
                    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network");
                    ready.send(nix::unistd::gettid()).expect("the test is there");
                    orders.into_iter().for_each(|job| job());
                });
                let far = thread_id.recv().expect("a thread").to_string();
                run("ip", &["link", "add", "near", "type", "veth", "peer", "name", "far"]);
                run("ip", &["link", "set", "far", "netns", &far]);
                run("ip", &["addr", "add", &format!("{NEAR}/24"), "dev", "near"]);
                run("ip", &["link", "set", "near", "up"]);
                let host = FarHost { jobs };
                host.run(|| {
                    run("ip", &["addr", "add", &format!("{FAR}/24"), "dev", "far"]);
                    run("ip", &["link", "set", "far", "address", FAR_HARDWARE, "up"]);
                });
                test(&host);
            });
        });
    }

    /// Runs something there, and waits for its result.
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = move || done.send(job()).expect("the test waits");
        self.jobs.send(Box::new(job)).expect("the thread is there");
        result.recv().expect("a result")
    }

    fn vanish(&self) {
        self.run(|| run("ip", &["link", "set", "far", "down"]));
    }

    /// Takes what is sent to it, and answers nothing.
    fn fall_silent(&self) {
        run("ip", &["neigh", "replace", FAR, "lladdr", FAR_HARDWARE, "dev", "near", "nud", "permanent"]);
        self.run(|| run("ip", &["addr", "flush", "dev", "far"]));
    }
}

/// A bridge that records to a file.
fn recording(tcpreen: Tcpreen, scratch: &Scratch, options: &[&str]) -> Running {
    let text = tcpreen.sessions(1).args(options).args(["-q"]).format("C").output(scratch.path("record"));
    text.format("json").output(scratch.path("lines")).spawn()
}

/// A session whose client is far away.
fn far_client(host: &FarHost, scratch: &Scratch, options: &[&str]) -> (Peer, Peer, Running) {
    let server = Server::listen();
    let bridge = Tcpreen::to(server.port()).listen_on(NEAR).local_port(4001);
    let bridge = recording(bridge, scratch, options);
    let connect = || TcpStream::connect((NEAR, 4001)).ok();
    let client = Peer::over(host.run(move || until("the bridge", connect)));
    (client, server.accept(), bridge)
}

/// A session whose server is far away.
fn far_server(host: &FarHost, scratch: &Scratch, options: &[&str]) -> (Peer, Peer, Running) {
    let listener = host.run(|| TcpListener::bind((FAR, FAR_PORT)).expect("a port"));
    let bridge = recording(Tcpreen::to(FAR_PORT).host(FAR).local_port(4001), scratch, options);
    let client = until("the bridge", || TcpStream::connect(("127.0.0.1", 4001)).ok());
    (Peer::over(client), Server::over(listener).accept(), bridge)
}

/// The session ends because `side` vanished; the other peer sees a reset.
fn expect_no_answer(mut other: Peer, bridge: Running, scratch: &Scratch, side: &str) {
    other.expect_reset();
    bridge.finish();
    let record = scratch.record("record");
    assert!(record.contains(&format!("Session ended: no answer from the {side}.\n")), "{record}");
    let end = ended(scratch);
    assert_eq!((&end["state"], &end["errno"]), (&"no_answer".into(), &110.into()), "{end}");
}

/// The end of the session, in json.
fn ended(scratch: &Scratch) -> Value {
    let lines = scratch.record("lines");
    serde_json::from_str(lines.lines().last().expect("an end")).expect("JSON")
}

const NEEDS: [Need; 3] = [Need::Root, Need::Program("ip"), Need::World];

#[test]
fn a_silent_peer_that_vanished_is_found_by_probes() {
    if !needs(&NEEDS) {
        return;
    }
    let keepalive = ["--keepalive", "1s"];
    FarHost::with(|host| {
        let scratch = Scratch::new();
        let (mut client, mut server, bridge) = far_client(host, &scratch, &keepalive);
        client.send("hello");
        server.expect("hello");
        host.vanish();
        expect_no_answer(server, bridge, &scratch, "client");
    });
    FarHost::with(|host| {
        let scratch = Scratch::new();
        let (mut client, mut server, bridge) = far_server(host, &scratch, &keepalive);
        client.send("hello");
        server.expect("hello");
        host.vanish();
        expect_no_answer(client, bridge, &scratch, "server");
    });
}

#[test]
fn a_vanished_peer_that_is_sent_something_is_found_by_retransmission() {
    if !needs(&NEEDS) {
        return;
    }
    FarHost::with(|host| {
        std::fs::write("/proc/sys/net/ipv4/tcp_retries2", "3").expect("a setting");
        let scratch = Scratch::new();
        let (mut client, mut server, bridge) = far_client(host, &scratch, &[]);
        client.send("hello");
        server.expect("hello");
        host.fall_silent();
        server.send("too late");
        expect_no_answer(server, bridge, &scratch, "client");
        let end = ended(&scratch);
        assert!(end["client_retransmissions"].as_u64() >= Some(3), "{end}");
        assert_eq!(end["server_retransmissions"], 0, "{end}");
    });
}
