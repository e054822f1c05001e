//! What is on a page, and what is not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::messages::{Address, Name};
use crate::record::event::{ConnState, Peer};
use Side::{Client, Server};

const STARTED: u64 = 1_764_152_547_523_456_000;

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

#[test]
fn the_policy_admits_this_script_and_this_style() {
    assert_eq!((hash(STYLE).as_str(), hash(SCRIPT).as_str()), (STYLE_HASH, SCRIPT_HASH));
    assert!(!SCRIPT.contains("</") && !SCRIPT.contains("<!--") && !SCRIPT.contains("innerHTML"));
    for part in [SCRIPT, STYLE] {
        assert!(!part.contains("http") && !part.contains("url(") && !part.contains("@import"));
    }
}

fn event(after: u64, kind: Kind) -> Event {
    Event { time: Time::from_nanos(STARTED + after), session: 7, kind }
}

fn start(name: &str) -> Event {
    let peer = || Peer {
        address: Address::Unix(Vec::new()),
        local: None,
        name: Name { node: name.into(), service: "80".into() },
    };
    event(
        0,
        Kind::Start(Arc::new(SessionInfo {
            number: 7,
            run: "abcd2345".into(),
            accepted: Time::from_nanos(STARTED),
            started: Time::from_nanos(STARTED),
            peers: [peer(), peer()],
            meeting: Meeting::Both,
        })),
    )
}

/// A page with one session, without its head.
fn page(name: &str, pieces: &[(Side, &[u8])], note: &str) -> String {
    let mut encoder = HtmlEncoder::new(None);
    let mut head = Vec::new();
    encoder.begin_file(&FileStart { part: 1, time: Time::default() }, &mut head);
    let mut out = Vec::new();
    encoder.event(&start(name), b"", &mut out);
    let mut totals = [0; 2];
    for (at, (from, piece)) in (1..).zip(pieces) {
        let (position, bytes) = (totals[*from as usize], piece.len() as u64);
        totals[*from as usize] += bytes;
        let kind = Kind::Data { from: *from, position, bytes, urgent: false };
        encoder.event(&event(at, kind), piece, &mut out);
    }
    encoder.event(&event(1000, Kind::Eof { from: Client, total: totals[0] }), b"", &mut out);
    encoder.event(&event(2000, Kind::Note(note.into())), b"", &mut out);
    let (state, conn_state) = (State::ServerReset, ConnState::Rstr);
    encoder.event(
        &event(3000, Kind::End(End { state, conn_state, errno: 0, totals, tcp: Default::default() })),
        b"",
        &mut out,
    );
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn an_event_is_an_element() {
    let shown = page("a.example", &[(Client, b"a<b>\r\n"), (Server, b"\0\xff'&\"")], "Session ended: reset.");
    let expected = "\
<h2 class=\"s\" data-k=\"s\" data-s=\"abcd2345.7\" data-t=\"1764152547523.456\" data-h=\"[7] a.example:80 → a.example:80\">[7] a.example:80 → a.example:80, 2025-11-26 10:22:27.523456 UTC, connected in 0.000 ms</h2>
<div class=\"e c\" data-k=\"d\" data-s=\"abcd2345.7\" data-t=\"1764152547523.456\" data-o=\"0\" data-n=\"6\" data-b=\"YTxiPg0K\"><i>0.000000 [7] client: 6 bytes</i><div>a&lt;b&gt;
</div></div>
<div class=\"e v\" data-k=\"d\" data-s=\"abcd2345.7\" data-t=\"1764152547523.456\" data-o=\"0\" data-n=\"5\" data-b=\"AP8nJiI=\"><i>0.000000 [7] server: 5 bytes</i><div>··&#39;&amp;&quot;</div></div>
<p class=\"f c\" data-k=\"f\" data-s=\"abcd2345.7\" data-t=\"1764152547523.457\">0.000001 [7] client: end, after 6 bytes</p>
<p class=\"z bad\" data-k=\"z\" data-s=\"abcd2345.7\" data-t=\"1764152547523.459\">reset, after 0.003 ms: client 6 bytes, server 5 bytes</p>
";
    assert_eq!(shown, expected);
}

#[test]
fn bytes_that_are_missing_are_told() {
    let mut encoder = HtmlEncoder::new(None);
    let mut out = Vec::new();
    encoder.event(&start("a"), b"", &mut out);
    out.clear();
    let data = |from, position| Kind::Data { from, position, bytes: 2, urgent: false };
    encoder.event(&event(1, data(Client, 7)), b"<>", &mut out);
    encoder.event(&event(2, data(Client, 9)), b"..", &mut out);
    encoder.event(&event(3, Kind::Eof { from: Server, total: 1 }), b"", &mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    let notes: Vec<&str> = text.lines().filter(|line| line.contains("data-k=\"n\"")).collect();
    let [client, server] = notes[..] else { panic!("{text}") };
    assert!(text.starts_with(client), "before what follows it: {text}");
    assert!(client.ends_with(">client: 7 bytes are not in the record</p>"), "{client}");
    assert!(server.ends_with(">server: 1 byte is not in the record</p>"), "{server}");
}

#[test]
fn a_new_file_has_the_sessions_that_are_open() {
    let mut encoder = HtmlEncoder::new(None);
    let mut out = Vec::new();
    encoder.event(&start("a"), b"", &mut out);
    out.clear();
    encoder.begin_file(&FileStart { part: 2, time: Time::default() }, &mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.starts_with("<!DOCTYPE html>\n") && text.ends_with(", continued</h2>\n"));
}

/// Text between tags that are ours; `None` where there are others.
fn tags(page: &str) -> Option<Vec<String>> {
    let mut tags = Vec::new();
    for part in page.split('<').skip(1) {
        let (tag, text) = part.split_once('>')?;
        if text.contains(['>', '"', '\'']) {
            return None;
        }
        tags.push(tag.split(' ').next()?.to_owned());
    }
    Some(tags)
}

proptest! {
    #[test]
    fn what_peers_send_is_no_markup(
        bytes in prop::collection::vec(any::<u8>(), 1..80),
        text in "(</?[a-z]{1,6}( on[a-z]=\"[^\"]\")?>|<!--|-->|&[a-z]{1,4};|\\PC|[\u{0}-\u{1f}\"'<>&\u{202e}]){1,20}",
    ) {
        for piece in [&bytes, text.as_bytes()] {
            let note = format!("Session ended: {text}");
            let shown = page(&text, &[(Client, piece), (Server, piece)], &note);
            let expected = ["h2", "/h2", "div", "i", "/i", "div", "/div", "/div", "div", "i", "/i", "div", "/div", "/div"];
            let found = tags(&shown).expect("only tags of ours");
            prop_assert_eq!(&found[..14], &expected[..]);
            prop_assert_eq!(&found[14..], &["p", "/p", "p", "/p"][..]);
            prop_assert!(!shown.contains(|c| c != '\n' && c != '\t' && visible::is_unseen(c)));
        }
    }
}
