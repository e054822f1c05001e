//! Outputs and disks.

use crate::support::scratch::Scratch;
use crate::support::wait::PATIENCE;
use crate::support::{Bridged, bridge};

#[test]
fn a_full_disk_leaves_the_other_outputs_whole() {
    let scratch = Scratch::new();
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.output("/dev/full").output(scratch.path("record")));
    client.send("words");
    let forwarded = server.words_within(PATIENCE).is_some();
    client.expect_hang_up();
    assert_eq!(tcpreen.finish().code(), 74);
    let record = scratch.record("record");
    assert_eq!(record.contains("<<< words\n"), forwarded, "{record}");
    assert!(record.ends_with("End of transmission.\n"), "{record}");
}
