//! Directions and transports: `-c`, `-l`, both, and each side over IPv4, IPv6 or a Unix socket.

pub(crate) mod connecting;
pub(crate) mod internet;
pub(crate) mod listening;
pub(crate) mod socket_files;
pub(crate) mod unix;

use crate::support::peer::Peer;

/// Sends in both directions and checks the receipt.
#[track_caller]
pub(crate) fn converse(client: &mut Peer, server: &mut Peer) {
    client.send("question");
    server.expect("question");
    server.send("answer");
    client.expect("answer");
}

/// Same, to the end of the session.
#[track_caller]
pub(crate) fn converse_and_part(mut client: Peer, mut server: Peer) {
    converse(&mut client, &mut server);
    client.finish();
    server.expect_end();
    server.send("late answer");
    server.finish();
    assert_eq!(client.rest(), b"late answer");
}
