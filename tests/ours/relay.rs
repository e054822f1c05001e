//! Transparency: each case is compared with the direct connection.

pub(crate) mod cases;
pub(crate) mod causes;
pub(crate) mod descriptors;
pub(crate) mod dialling;
pub(crate) mod early;
pub(crate) mod others;
pub(crate) mod packets;
pub(crate) mod pattern;
pub(crate) mod random;
pub(crate) mod script;
pub(crate) mod states;
pub(crate) mod table;
pub(crate) mod vanished;

use crate::support::same_as_direct;

#[test]
fn an_urgent_byte_keeps_its_place_in_the_stream() {
    // The original may send it ahead of what came before.
    same_as_direct(|mut client, mut server| {
        server.keep_urgent_inline();
        for _ in 0..20 {
            client.send("before");
            client.send_urgent(b'!');
            client.send("after");
            server.expect("before!after");
        }
    });
}
