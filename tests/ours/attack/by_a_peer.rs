//! A peer on a Unix socket against the parent, which closes a connection without having received what is in its queue.
//! In the queue is a descriptor whose last close waits for ten minutes.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::support::hostile::Lingering;
use crate::support::peer::Refusing;
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::unix;
use crate::support::wait::{until, within};

/// Starts a bridge that refuses every client, and stops its parent.
fn stopped_bridge(scratch: &Scratch, refusing: &Refusing) -> Running {
    let it = Tcpreen::to(refusing.port()).args(["-p", "tcp/unix", "-q"]).listen_on("");
    let tcpreen = it.local_port(scratch.path("clients").display()).format("null").at_once(4).spawn();
    until("the bridge", || unix::try_connect(scratch.path("clients")));
    tcpreen.all_roles();
    kill(tcpreen.pid(), Signal::SIGSTOP).expect("kill");
    until("the parent to be stopped", || proc::is_stopped(tcpreen.pid()).then_some(()));
    tcpreen
}

#[test]
fn a_lingering_socket_in_the_queue_of_a_refused_client_delays_no_other() {
    let (scratch, refusing) = (Scratch::new(), Refusing::new());
    let tcpreen = stopped_bridge(&scratch, &refusing);
    let hostile = unix::connect_stream(scratch.path("clients"));
    let deaf = Lingering::new().hand_over(&hostile, b"take this", 1);
    let mut bystander = unix::connect_to(scratch.path("clients"));
    kill(tcpreen.pid(), Signal::SIGCONT).expect("kill");
    bystander.expect_hang_up();
    let mut next = unix::connect_to(scratch.path("clients"));
    next.expect_hang_up();
    tcpreen.signal(Signal::SIGTERM);
    let mut tcpreen = tcpreen;
    let status = tcpreen.wait_within(Duration::from_secs(20));
    assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32), "{}", tcpreen.stderr());
    drop(deaf);
}

#[test]
fn a_lingering_socket_in_the_queue_of_a_listener_does_not_put_off_the_end() {
    let (scratch, refusing) = (Scratch::new(), Refusing::new());
    let mut tcpreen = stopped_bridge(&scratch, &refusing);
    let hostile = unix::connect_stream(scratch.path("clients"));
    let deaf = Lingering::new().hand_over(&hostile, b"take this", 1);
    tcpreen.signal(Signal::SIGTERM);
    kill(tcpreen.pid(), Signal::SIGCONT).expect("kill");
    let status = tcpreen.wait_within(Duration::from_secs(20));
    assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32), "{}", tcpreen.stderr());
    within(Duration::from_secs(10), "the end of every process", || {
        tcpreen.roles().len().eq(&1).then_some(())
    });
    drop(deaf);
}

/// Sockets that no worker has taken are closed by the exit of the parent.
#[test]
fn without_a_worker_a_lingering_socket_does_not_put_off_the_end() {
    let (scratch, refusing) = (Scratch::new(), Refusing::new());
    let mut tcpreen = stopped_bridge(&scratch, &refusing);
    let hostile = unix::connect_stream(scratch.path("clients"));
    let deaf = Lingering::new().hand_over(&hostile, b"take this", 1);
    kill(tcpreen.role("zygote"), Signal::SIGSTOP).expect("kill");
    for worker in &tcpreen.all_roles()["worker"] {
        kill(*worker, Signal::SIGKILL).expect("kill");
        // Until its end it can be sent a socket, whose last close would be the parent's.
        until("the end of a worker", || (!proc::is_alive(*worker)).then_some(()));
    }
    tcpreen.signal(Signal::SIGTERM);
    kill(tcpreen.pid(), Signal::SIGCONT).expect("kill");
    let status = tcpreen.wait_within(Duration::from_secs(30));
    assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32), "{}", tcpreen.stderr());
    drop(deaf);
}
