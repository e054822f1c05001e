//! Promise 14: a compromised worker records no more than its session may.

use std::fs;
use std::path::Path;

use nix::unistd::Pid;

use crate::support::hostile;
use crate::support::peer::Server;
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::until;
use tcpreen::messages::{Record, Side};

const NEEDS: [Need; 1] = [Need::Root];

/// The worker's channel to the logger: its only socket that is not a network socket.
fn channel(worker: Pid) -> i32 {
    let tcp = proc::tcp_sockets();
    let sockets = proc::descriptors(worker).into_iter();
    let mut other = sockets.filter(|(_, target)| target.starts_with("socket:") && !tcp.contains(target));
    other.next().expect("a channel").0
}

/// Sends a record in the worker's place for as long as the logger accepts it.
fn flood(tcpreen: &Running, record: &[u8]) {
    let worker = tcpreen.busy_worker();
    let stolen = hostile::steal(worker, channel(worker));
    let heard = (0..20_000).all(|_| hostile::send(&stolen, record, &[]).is_ok());
    assert!(!heard, "the logger listens for ever");
    until("the end of the worker", || (!proc::is_alive(worker)).then_some(()));
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).expect("the record").len()
}

#[test]
fn a_compromised_worker_exceeds_its_limit_by_one_piece_at_most() {
    if !needs(&NEEDS) {
        return; // Only root may speak for another process.
    }
    let head = |record: &Record| hostile::encoded(record);
    let data = Record::Data { from: Side::Client, urgent: false, time: 0 };
    let small = [head(&data).as_slice(), b"x"].concat();
    let large = [head(&data).as_slice(), &[b'x'; 100_000]].concat();
    let passed = head(&Record::Passed { from: Side::Server, bytes: 1, time: 0 });
    let nothing = head(&Record::Passed { from: Side::Server, bytes: 0, time: 0 });
    for (record, most) in [(small, 1000), (large, 1), (passed, 1000), (nothing, 0)] {
        let scratch = Scratch::new();
        let server = Server::listen();
        let tcpreen = Tcpreen::to(server.port()).args(["-b", "1000", "-f", "raw"]);
        let tcpreen =
            tcpreen.output(scratch.path("raw")).format("count").output(scratch.path("count")).start();
        let (client, accepted) = (tcpreen.connect(), server.accept());
        flood(&tcpreen, &record);
        let told = tcpreen.stderr_line("broke the protocol");
        assert!(told.contains("session 1"), "{told}");
        until("the end of the record", || {
            scratch.record("raw").ends_with("End of transmission.\n").then_some(())
        });
        let counted = scratch.record("count");
        let pieces = counted.lines().filter(|line| line.starts_with("<<< ") || line.starts_with(">>> "));
        assert!(pieces.count() <= most, "{counted}");
        assert!(size(&scratch.path("raw")) < 101_000, "{} bytes", size(&scratch.path("raw")));
        drop((client, accepted));
        // The next session is not affected.
        let (mut client, mut server) = (tcpreen.connect(), server.accept());
        client.send("words");
        server.expect("words");
        until("the next record", || scratch.record("raw").ends_with("<<< words").then_some(()));
    }
}

#[test]
fn with_parts_the_disk_is_bounded_even_for_a_worker_without_a_limit() {
    if !needs(&NEEDS) {
        return;
    }
    let scratch = Scratch::new();
    let server = Server::listen();
    let tcpreen =
        Tcpreen::to(server.port()).args(["--rotate-size", "64k", "--rotate-count", "2", "-f", "hex"]);
    let tcpreen = tcpreen.output(scratch.path("record")).start();
    let (client, accepted) = (tcpreen.connect(), server.accept());
    let worker = tcpreen.busy_worker();
    let stolen = hostile::steal(worker, channel(worker));
    let head = hostile::encoded(&Record::Data { from: Side::Server, urgent: false, time: 0 });
    let record = [head.as_slice(), &[0; 1000]].concat();
    for _ in 0..2000 {
        hostile::send(&stolen, &record, &[]).expect("a logger");
    }
    // Earlier ones are removed as soon as there are more.
    let number = |name: &str| name.strip_prefix("record.")?.parse::<u64>().ok();
    until("many parts", || {
        let mut entries = fs::read_dir(scratch.path("")).expect("entries").flatten();
        entries.find(|it| it.file_name().to_str().and_then(number).is_some_and(|number| number >= 100))
    });
    let files: Vec<u64> = fs::read_dir(scratch.path(""))
        .expect("entries")
        .flatten()
        .filter_map(|it| Some(it.metadata().ok()?.len()))
        .collect();
    assert!(files.len() <= 4 && files.iter().sum::<u64>() <= 3 * (64 << 10), "{files:?}");
    drop((client, accepted, tcpreen));
}
