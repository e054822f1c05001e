//! Hostile name servers, and lookups that die: each only costs names.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use crate::compat::names::CLIENT;
use crate::compat::names::ELSEWHERE;
use crate::compat::names::NAMED;
use crate::compat::names::PLACE;
use crate::compat::names::bridge_with_names;
use crate::compat::names::client;
use crate::compat::names::ping;
use crate::compat::names::with_names_of_our_own;
use crate::compat::names::without_hosts;
use crate::support::name_server::{NameServer, Trick, Zone};
use crate::support::peer::{Peer, echo_server};
use crate::support::proc;
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::{until, within};

fn zone() -> Zone {
    Zone::default().called(CLIENT, "friend.example").at("friend.example", CLIENT)
}

/// Checks that sessions continue and that no process was lost.
#[track_caller]
pub(crate) fn expect_unharmed(tcpreen: Running, what: &str) {
    let mut client = client();
    ping(&mut client);
    let stderr = tcpreen.stderr();
    assert!(!stderr.contains("lookup") && !stderr.contains("resolver"), "{what}: {stderr}");
    assert!(proc::is_alive(tcpreen.role("resolver")), "{what}");
}

/// Name of the first client in the record.
fn shown(tcpreen: &Running) -> String {
    let stdout = tcpreen.stdout_with("Connection from: ");
    let line = stdout
        .lines()
        .find_map(|line| line.split_once("Connection from: ").map(|(_, from)| from))
        .expect("a line");
    line.rsplit_once(" port ").expect("a port").0.to_owned()
}

#[test]
fn hostile_name_server_answers_cost_at_most_a_name() {
    // Several at a time, each in its own namespaces: they wait for the time-outs of the C library.
    for tricks in Trick::ALL.chunks(4) {
        thread::scope(|scope| tricks.iter().for_each(|trick| drop(scope.spawn(|| try_one(*trick)))));
    }
}

fn try_one(trick: Trick) {
    let number = CLIENT.to_string();
    with_names_of_our_own(|| {
        let _server = NameServer::hostile(zone(), trick);
        let echo = echo_server();
        let tcpreen = bridge_with_names(echo.port, |it| it.at_once(9).format("null"));
        let start = Instant::now();
        let mut client = client();
        ping(&mut client);
        let shown = shown(&tcpreen);
        assert!(start.elapsed() < 2 * NAMED, "{trick:?}: {:?}", start.elapsed());
        let expected = match trick {
            Trick::Truncates | Trick::Dribbles | Trick::Floods => "friend.example",
            _ => &number,
        };
        assert!(shown == expected || matches!(trick, Trick::Late | Trick::Floods), "{trick:?}: {shown}");
        expect_unharmed(tcpreen, &format!("{trick:?}"));
    });
}

#[test]
fn a_truncated_answer_is_followed_up_by_tcp_at_the_start() {
    for trick in [Trick::Truncates, Trick::Floods] {
        without_hosts(|| {
            let _server = NameServer::hostile(Zone::default().at("server.example", ELSEWHERE), trick);
            let tcpreen = Tcpreen::to(9).host("server.example").start();
            assert!(tcpreen.stderr().contains("Listening on"), "{}", tcpreen.stderr());
        });
    }
}

/// A client from an arbitrary loopback address.
fn client_from(address: Ipv4Addr) -> Peer {
    let socket =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let [a, b, c, d] = address.octets();
    bind(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0)).expect("bind");
    let [a, b, c, d] = PLACE.0.octets();
    connect(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, PLACE.1)).expect("connect");
    Peer::over(socket.into())
}

/// glibc would wait for ever: the owners of a few addresses would block all names.
#[test]
fn lookups_that_hang_end_and_others_are_shown_by_name_again() {
    with_names_of_our_own(|| {
        let server = NameServer::hostile(zone(), Trick::HangsForOthers);
        let echo = echo_server();
        let tcpreen = bridge_with_names(echo.port, |it| it.at_once(30).format("null"));
        let _first = client();
        tcpreen.stdout_with("friend.example");
        let mut clients: Vec<Peer> =
            (1..=20).map(|last| client_from(Ipv4Addr::new(127, 0, 1, last))).collect();
        clients.iter_mut().for_each(ping);
        let lookups = || tcpreen.roles().get("lookup").map_or(0, Vec::len);
        until("all lookups that there may be", || (lookups() == 16).then_some(()));
        until("the questions", || (server.asked().len() > 16).then_some(()));
        within(Duration::from_secs(30), "their end", || (lookups() == 0).then_some(()));
        assert!(!tcpreen.stderr().contains("lookup"), "a dead name server is no news: {}", tcpreen.stderr());
        expect_unharmed(tcpreen, "after the deadline");
    });
}

#[test]
fn a_killed_lookup_is_reported_and_costs_one_name() {
    with_names_of_our_own(|| {
        let silent = NameServer::silent();
        let echo = echo_server();
        let tcpreen = bridge_with_names(echo.port, |it| it.at_once(9).format("null"));
        let mut first = client();
        ping(&mut first);
        let lookup = until("a lookup", || tcpreen.roles().get("lookup")?.first().copied());
        kill(lookup, Signal::SIGSYS).expect("kill");
        tcpreen.stderr_line(&format!("name lookup {lookup} killed by signal 31 (Bad system call)"));
        tcpreen.stderr_line(&format!("type=1326 pid={lookup} syscall=N"));
        assert_eq!(shown(&tcpreen), CLIENT.to_string());
        drop(silent);
        let _server = NameServer::answering(
            Zone::default().called(ELSEWHERE, "next.example").at("next.example", ELSEWHERE),
        );
        let mut next = client_from(ELSEWHERE);
        ping(&mut next);
        tcpreen.stdout_with("Connection from: next.example");
    });
}

#[test]
fn a_lookup_killed_at_the_start_is_an_error_with_a_remedy() {
    for (role, code, parts) in [
        ("lookup", 68, ["server.example port 9: the lookup ended without an answer (numeric", "type=1326"]),
        ("resolver", 69, ["lost the resolver (killed by signal 31", "only numeric addresses and ports work"]),
    ] {
        without_hosts(|| {
            let _silent = NameServer::silent();
            let tcpreen = Tcpreen::to(9).host("server.example").spawn();
            let victim = until(role, || {
                let roles = tcpreen.roles();
                roles.get("lookup").and_then(|_| roles.get(role)?.first().copied())
            });
            kill(victim, Signal::SIGSYS).expect("kill");
            let outcome = tcpreen.finish();
            assert_eq!(outcome.code(), code, "{outcome:?}");
            parts.into_iter().for_each(|part| assert!(outcome.stderr.contains(part), "{outcome:?}"));
        });
    }
}

/// From `/proc`: a lookup holds its channel and files of the C library, and is as confined as the resolver.
#[test]
fn a_lookup_holds_nothing_of_the_resolver_and_can_make_no_process() {
    with_names_of_our_own(|| {
        let silent = NameServer::silent();
        let echo = echo_server();
        let tcpreen = bridge_with_names(echo.port, |it| it.at_once(9));
        let mut clients = [client(), client_from(ELSEWHERE)];
        clients.iter_mut().for_each(ping);
        // A lookup of the start may still be ending before.
        until("their questions", || (silent.asked().len() >= 2).then_some(()));
        let lookups = until("two lookups", || tcpreen.roles().remove("lookup").filter(|all| all.len() == 2));
        let held = proc::descriptors(tcpreen.role("resolver"));
        for lookup in lookups {
            let status = proc::status(lookup).expect("a lookup");
            assert_eq!((status.get("Seccomp"), status.get("NoNewPrivs")), ("2", "1"));
            assert!(status.ids("Uid").iter().all(|id| *id != 0), "{status:?}");
            assert_eq!(proc::limit(lookup, "Max processes"), "0 0 processes");
            let common: Vec<_> = proc::descriptors(lookup)
                .into_values()
                .filter(|target| target.starts_with("socket:") && held.values().any(|other| other == target))
                .collect();
            assert!(common.is_empty(), "{common:?}");
        }
    });
}
