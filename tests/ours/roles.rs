//! Confinement of every process, read from the system while a client is connected.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::unistd::{Gid, Pid, Uid};

use crate::support::peer::{Peer, Server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::until;
use crate::support::{Bridged, bridge, low_port, nobody, place_of_our_own, proc};

type Roles = BTreeMap<String, Vec<Pid>>;

#[track_caller]
fn every_role_is_there(roles: &Roles) {
    let names: Vec<&str> = roles.keys().map(String::as_str).collect();
    assert_eq!(names, ["logger", "parent", "resolver", "worker", "zygote"]);
}

/// Checks every thread of every process.
#[track_caller]
fn each_thread(roles: &Roles, check: impl Fn(&str, &proc::Status)) {
    for (role, pids) in roles {
        for pid in pids {
            let threads = proc::threads(*pid);
            assert!(!threads.is_empty(), "{role} {pid} is gone");
            threads.iter().for_each(|thread| check(role, thread));
        }
    }
}

#[track_caller]
fn is_confined(roles: &Roles) {
    every_role_is_there(roles);
    each_thread(roles, |role, thread| {
        assert_eq!(thread.get("Seccomp"), "2", "{role} runs under a filter");
        assert_eq!(thread.get("NoNewPrivs"), "1", "{role}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(thread.get(set), "0000000000000000", "{set} of {role}");
        }
        assert_eq!(thread.get("Seccomp_filters"), filters_of(role), "filters of {role}");
    });
}

/// One filter that kills, and one for each error; ENOANO answers the role's own probe.
fn filters_of(role: &str) -> &'static str {
    match role {
        "parent" | "logger" => "2",
        // ENOANO, EPERM, ENOSYS, EAGAIN, EACCES, EAFNOSUPPORT, ENOPROTOOPT, ENOTTY, EINVAL
        "resolver" => "10",
        _ => "2",
    }
}

/// Only if it existed and had to be cleared.
#[track_caller]
fn has_no_capability_to_gain(roles: &Roles) {
    each_thread(roles, |role, thread| assert_eq!(thread.get("CapBnd"), "0000000000000000", "{role}"));
}

#[track_caller]
fn is_account(roles: &Roles, (uid, gid): (Uid, Gid)) {
    each_thread(roles, |role, thread| {
        assert_eq!(thread.ids("Uid"), [uid.as_raw(); 4], "users of {role}");
        assert_eq!(thread.ids("Gid"), [gid.as_raw(); 4], "groups of {role}");
        assert_eq!(thread.get("Groups"), "", "more groups of {role}");
    });
}

/// Connects a client that sends nothing.
fn with_a_silent_client(tcpreen: &Running, server: &Server) -> (Peer, Peer) {
    let client = tcpreen.connect();
    (client, server.accept())
}

#[test]
fn once_it_listens_no_process_of_root_is_root() {
    if !needs(&[Need::Root]) {
        return;
    }
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).start();
    let roles = tcpreen.all_roles();
    is_confined(&roles);
    has_no_capability_to_gain(&roles);
    each_thread(&roles, |role, thread| {
        assert!(!thread.ids("Uid").contains(&0), "{role} is root");
        assert!(!thread.ids("Gid").contains(&0), "{role} is in the group of root");
        assert_eq!(thread.get("Groups"), "", "{role}");
    });
}

#[test]
fn started_by_root_every_process_becomes_the_user_named() {
    if !needs(&[Need::Root]) {
        return;
    }
    let Bridged { client, server, tcpreen } = bridge(|it| it.args(["-u", "nobody"]));
    let roles = tcpreen.all_roles();
    is_confined(&roles);
    is_account(&roles, nobody());
    drop((client, server));
}

#[test]
fn started_through_sudo_every_process_becomes_its_caller() {
    if !needs(&[Need::Root]) {
        return;
    }
    let caller = (Uid::from_raw(4711), Gid::from_raw(4712));
    let Bridged { client, server, tcpreen } = bridge(|it| it.env("SUDO_UID", "4711").env("SUDO_GID", "4712"));
    let roles = tcpreen.all_roles();
    is_confined(&roles);
    is_account(&roles, caller);
    drop((client, server));
}

/// Without the power to give them up, an ordinary user keeps them; root's are given up.
#[test]
fn only_an_ordinary_user_keeps_supplementary_groups() {
    if !needs(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o755);
    for (user, kept) in [("--reuid 4711 --regid 4712", "4 5"), ("", "")] {
        let setpriv = format!("exec setpriv {user} --groups 4,5 \"$0\" \"$@\"");
        let Bridged { client, server, tcpreen } =
            bridge(|it| it.binary(program.clone()).by_shell(&setpriv, ""));
        each_thread(&tcpreen.all_roles(), |role, thread| {
            assert_eq!(thread.get("Groups"), kept, "{role} after {user:?}");
        });
        drop((client, server));
    }
}

/// No process makes a directory for this: one that is empty and stays so is there already.
#[test]
fn the_zygote_of_root_sees_an_empty_directory_instead_of_the_file_system() {
    if !needs(&[Need::Root]) {
        return;
    }
    let Bridged { client, server, tcpreen } = bridge(|it| it);
    let zygote = tcpreen.role("zygote");
    let link = format!("/proc/{zygote}/root");
    let place = fs::read_link(&link).expect("its root directory");
    assert!(
        place.starts_with("/proc") && place.ends_with("fdinfo") || place == Path::new("/var/empty"),
        "{}",
        place.display()
    );
    let entries = fs::read_dir(format!("{link}/.")).map(Iterator::count);
    assert!(matches!(entries, Ok(0) | Err(_)), "{entries:?}");
    for role in ["parent", "logger", "resolver"] {
        let root = fs::read_link(format!("/proc/{}/root", tcpreen.role(role)));
        assert_eq!(root.expect("its root directory"), Path::new("/"), "{role}");
    }
    drop((client, server));
}

#[test]
fn a_port_of_root_is_served_without_root() {
    if !needs(&[Need::Root]) {
        return;
    }
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).listen_at(low_port()).args(["-u", "nobody"]).start();
    is_account(&tcpreen.all_roles(), nobody());
    let (mut client, mut server) = with_a_silent_client(&tcpreen, &server);
    is_confined(&tcpreen.all_roles());
    is_account(&tcpreen.all_roles(), nobody());
    client.send("question");
    server.expect("question");
}

#[test]
fn started_as_nobody_every_process_is_confined() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o755);
    let Bridged { client, server, tcpreen } = bridge(|it| it.binary(program).account(nobody()));
    let roles = tcpreen.all_roles();
    is_confined(&roles);
    is_account(&roles, nobody());
    drop((client, server));
}

#[test]
fn started_by_the_current_user_every_process_is_confined() {
    let Bridged { client, server, tcpreen } = bridge(|it| it);
    is_confined(&tcpreen.all_roles());
    drop((client, server));
}

#[test]
fn a_set_uid_start_gives_up_root_for_good() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o4755);
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).binary(program).account(nobody()).listen_at(low_port()).start();
    let (client, server) = with_a_silent_client(&tcpreen, &server);
    let roles = tcpreen.all_roles();
    is_confined(&roles);
    is_account(&roles, nobody());
    drop((client, server));
}

#[test]
fn a_set_uid_start_whose_output_is_closed_serves() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o4755);
    let server = Server::listen();
    let place = place_of_our_own();
    let tcpreen = Tcpreen::to(server.port()).binary(program).account(nobody()).args(["-v"]).sessions(1);
    let tcpreen = tcpreen.listen_at(place).by_shell("", "1>&-").spawn();
    let mut client = until("a connection", || Peer::try_connect(place));
    let mut server = server.accept();
    client.send("words");
    server.expect("words");
    drop((client, server));
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
}

/// Checks for three streams on `/dev/null`, client and server, and the channel.
#[track_caller]
fn holds_its_session_and_nothing_else(worker: Pid) {
    let descriptors = proc::descriptors(worker);
    let (streams, others): (Vec<_>, Vec<_>) = descriptors.iter().partition(|(number, _)| **number <= 2);
    assert!(streams.iter().all(|(_, target)| *target == "/dev/null"), "{descriptors:?}");
    assert_eq!(streams.len(), 3, "{descriptors:?}");
    let tcp = proc::tcp_sockets();
    let (sockets, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|(_, target)| tcp.contains(*target));
    assert_eq!(sockets.len(), 2, "client and server: {descriptors:?}");
    assert_eq!(others.len(), 1, "the channel: {descriptors:?}");
    assert!(others[0].1.starts_with("socket:"), "{descriptors:?}");
}

#[test]
fn a_worker_holds_its_session_and_nothing_else() {
    if !needs(&[Need::Root]) {
        return;
    }
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(["-v"]));
    client.send("question");
    server.expect("question");
    holds_its_session_and_nothing_else(tcpreen.busy_worker());
}

/// Workers are forked in pairs, and the second inherits the parent's end of the first one's channel.
#[test]
fn a_spare_worker_holds_its_channel_and_nothing_else() {
    if !needs(&[Need::Root]) {
        return;
    }
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).at_once(16).start();
    let several = || Some(tcpreen.all_roles().remove("worker")?).filter(|workers| workers.len() >= 4);
    for worker in until("workers to spare", several) {
        // A new worker is still closing descriptors.
        until("a worker with its channel alone", || {
            let beyond_streams = proc::descriptors(worker).into_keys().filter(|number| *number > 2);
            (beyond_streams.count() == 1).then_some(())
        });
    }
}

#[test]
fn a_worker_holds_nothing_else_whatever_was_inherited() {
    if !needs(&[Need::Root]) {
        return;
    }
    let files = "for n in {20..39}; do eval \"exec $n</etc/passwd\"; done";
    for closed in 0..8 {
        let close = |bit, redirection| if closed & bit != 0 { redirection } else { "" };
        let redirections = [close(1, "0<&-"), close(2, "1>&-"), close(4, "2>&-")].join(" ");
        let server = Server::listen();
        let place = place_of_our_own();
        let tcpreen = Tcpreen::to(server.port()).listen_at(place).by_shell(files, &redirections).spawn();
        let mut client = until("a connection", || Peer::try_connect(place));
        let mut server = server.accept();
        client.send("question");
        server.expect("question");
        holds_its_session_and_nothing_else(tcpreen.busy_worker());
    }
}

#[test]
fn only_parent_and_worker_hold_network_sockets() {
    if !needs(&[Need::Root]) {
        return;
    }
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it);
    client.send("question");
    server.expect("question");
    let tcp = proc::tcp_sockets();
    let busy = tcpreen.busy_worker();
    for (role, pids) in tcpreen.all_roles() {
        for pid in pids.into_iter().filter(|pid| *pid != busy) {
            let held = proc::descriptors(pid).values().filter(|target| tcp.contains(*target)).count();
            let expected = usize::from(role == "parent"); // its listener
            assert_eq!(held, expected, "{role}");
        }
    }
}

#[test]
fn a_dropped_program_leaves_no_core_and_cannot_be_traced() {
    if !needs(&[Need::Root]) {
        return;
    }
    let Bridged { client, server, tcpreen } = bridge(|it| it);
    for (role, pids) in tcpreen.all_roles() {
        for pid in pids {
            assert!(proc::core_limit(pid).starts_with("0 "), "{role}");
            assert_eq!(proc::owner(pid), 0, "/proc/{pid} of {role} belongs to root: not dumpable");
        }
    }
    drop((client, server));
}

#[test]
fn another_process_of_the_same_user_can_neither_trace_nor_read_it() {
    if !needs(&[Need::Root, Need::Program("strace"), Need::Program("setpriv")]) {
        return;
    }
    let Bridged { client, server, tcpreen } = bridge(|it| it.args(["-u", "nobody"]));
    let (uid, gid) = nobody();
    let as_nobody = |command: &[&str]| {
        let mut setpriv = std::process::Command::new("setpriv");
        setpriv.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()]);
        setpriv.args(command).env("LC_ALL", "C").output().expect("setpriv")
    };
    for (role, pids) in tcpreen.all_roles() {
        for pid in pids {
            let pid = pid.to_string();
            let traced = as_nobody(&["strace", "-qq", "-p", &pid]);
            let said = String::from_utf8_lossy(&traced.stderr).into_owned();
            assert!(said.contains("Operation not permitted"), "{role}: {said}");
            for secret in ["mem", "environ", "maps", "fd/0", "syscall"] {
                let read = as_nobody(&["cat", &format!("/proc/{pid}/{secret}")]);
                assert!(!read.status.success(), "{role} shows its {secret}");
                assert!(read.stdout.is_empty(), "{role} shows its {secret}");
            }
        }
    }
    drop((client, server));
}
