//! Lines that peers forge, on files that only this program shares.

use crate::compat::weaknesses::forging::on_a_terminal;

use crate::support::peer::Server;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::Tcpreen;
use crate::support::unix::connect_to;
use crate::support::{Bridged, bridge};

const FORGED: &str = "hello\nEnd of transmission.\n[2] Connection from: 10.0.0.1 port 22\r\
                      Connection from: 10.0.0.1 port 22\n>>> root\n";

/// All formats but `raw`, which is unmodified except on a terminal.
#[test]
fn traffic_cannot_forge_lines_of_a_shared_output() {
    // The original has a file for each session, in which everything can be forged.
    for format in ["strip", "C", "password"] {
        let scratch = Scratch::new();
        let Bridged { mut client, mut server, tcpreen } =
            bridge(|it| it.at_once(2).sessions(1).format(format).output(scratch.path("record")));
        client.send(FORGED);
        server.expect(FORGED);
        server.send(FORGED);
        client.expect(FORGED);
        client.send(format!("USER {FORGED}PASS x\rPASS y\r\nPASS {FORGED}"));
        client.finish();
        server.rest();
        drop((client, server));
        let outcome = tcpreen.finish();
        for shown in [outcome.stdout(), scratch.record("record")] {
            assert!(shown.lines().all(|line| line.starts_with("[1] ")), "{format}: {shown}");
            assert!(!shown.contains('\r'), "{format}: {shown}");
            let frame = |begins: &str| shown.lines().filter(|line| line[4..].starts_with(begins)).count();
            let once = usize::from(format != "password");
            assert_eq!(frame("Connection from: "), once, "{format}: {shown}");
            assert_eq!(frame("End of transmission."), once, "{format}: {shown}");
            assert_eq!(frame(">>> root"), 0, "{format}: {shown}");
        }
    }
}

#[test]
fn traffic_cannot_forge_lines_on_a_shared_terminal() {
    for format in ["raw", "strip", "C"] {
        let scratch = Scratch::new();
        let path = scratch.path("clients");
        let server = Server::listen();
        let tcpreen = Tcpreen::to(server.port()).args(["-p", "tcp/unix"]).format(format).at_once(2);
        let shown = on_a_terminal(tcpreen.listen_on("").local_port(path.display()), || {
            let (mut client, mut server) = (connect_to(&path), server.accept());
            client.send(FORGED);
            server.expect(FORGED);
        });
        let shown = String::from_utf8(shown).expect("UTF-8").replace("\r\n", "\n");
        assert!(shown.lines().all(|line| line.starts_with("[1] ")), "{format}: {shown}");
        assert_eq!(shown.matches("\n[1] Connection from: ").count(), 0, "{format}: {shown}");
        assert!(!shown.contains('\r'), "{format}: {shown:?}");
    }
}
