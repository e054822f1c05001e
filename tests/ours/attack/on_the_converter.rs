//! A compromised or faulty parent, and a hostile record, against the converter.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use privsep::channel::{Channel, Wait};

use crate::ours::attack::NONSENSE;
use crate::support::hostile::{self, MOST, WrongKinds};
use crate::support::role::{Role, prepare};
use crate::support::skip::{Need, needs};
use tcpreen::messages::{Flaw, FromConverter, Pace, Side, ToConverter, ToParent};

type Converter = Role<ToConverter>;
type Events = Channel<(), FromConverter>;

/// Before it is confined: the record is one part, which the test gives it.
fn prepared(parts: u32, part: impl AsFd) -> (Converter, Events) {
    let converter = Role::start("converter");
    let (events, theirs) = Events::pair().expect("a channel");
    let prepare = ToConverter::Prepare { prepare: prepare(), parts, masks: 0, plays: false, keys: false };
    converter.channel.send_with(&prepare, &[theirs.as_fd()], Wait::Yes).expect("a converter");
    for _ in 0..parts {
        converter.channel.send_with(&ToConverter::Part, &[part.as_fd()], Wait::Yes).expect("a converter");
    }
    (converter, events)
}

fn ready() -> (Converter, Events, OwnedFd) {
    let (input, writer) = std::io::pipe().expect("a pipe");
    let (converter, events) = prepared(1, input);
    converter.expect_ready();
    (converter, events, writer.into())
}

fn convert() -> ToConverter {
    ToConverter::Convert { sessions: Vec::new() }
}

#[test]
fn invalid_messages_of_the_parent_end_the_converter() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let load = ToConverter::Load {
        side: Side::Client,
        session: None,
        pace: Pace::Fast,
        wait: std::time::Duration::from_secs(1),
    };
    let malformed = hostile::malformed(&[convert(), ToConverter::Compare { sessions: vec![1] }]);
    // It plays nothing, and has all its parts.
    let late = [load, ToConverter::Play, ToConverter::Part, ToConverter::Mask("x".into())];
    let nonsense = malformed.into_iter().chain(late.iter().map(hostile::encoded)).map(|message| (message, 0));
    let convert = hostile::encoded(&convert());
    for (message, count) in nonsense.chain([1, 2, 3, MOST].map(|count| (convert.clone(), count))) {
        let (converter, _events, _writer) = ready();
        hostile::send(&converter.channel, &message, &vec![0; count]).expect("a converter");
        assert_eq!(converter.end(), NONSENSE, "{:?} with {count}", message.escape_ascii().to_string());
    }
}

#[test]
fn a_converter_accepts_only_a_channel_as_the_loggers_end() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    for (what, fd) in WrongKinds::new().iter() {
        let converter = Converter::start("converter");
        let prepare =
            ToConverter::Prepare { prepare: prepare(), parts: 0, masks: 0, plays: false, keys: false };
        converter.channel.send_with(&prepare, &[fd], Wait::Yes).expect("a converter");
        assert_eq!(converter.end(), NONSENSE, "{what}");
    }
}

/// Descriptors that are no record, and records that are damaged: each is a flaw, never a crash.
#[test]
fn whatever_the_record_is_the_converter_reports_a_flaw_and_ends_in_order() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let written = |bytes: &[u8]| -> OwnedFd {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("its contents");
        std::io::Seek::rewind(&mut file).expect("its beginning");
        file.into()
    };
    let deep = [b"{\"time\":".as_slice(), &[b'['; 100_000]].concat();
    let block =
        [&0x0A0D_0D0A_u32.to_le_bytes()[..], &u32::MAX.to_le_bytes(), &[0x4D, 0x3C, 0x2B, 0x1A]].concat();
    let records: [(&str, OwnedFd); 7] = [
        ("a directory", File::open("/").expect("a directory").into()),
        ("a device", File::open("/dev/zero").expect("a device").into()),
        ("noise", written(&[0xff; 70_000])),
        ("zeros", written(&[0; 1 << 20])),
        ("nested arrays", written(&deep)),
        ("one long line", written(&[b'{'; 3 << 20])),
        ("a block of 4 GiB", written(&block)),
    ];
    for (what, record) in records {
        let (converter, _events) = prepared(1, record);
        converter.expect_ready();
        converter.send(&convert());
        let said = converter.says();
        let is_flaw = |flaw: &Flaw| {
            matches!(flaw, Flaw::Foreign | Flaw::Cut { .. } | Flaw::Damaged { .. } | Flaw::Read { .. })
        };
        assert!(
            matches!(&said, Some((ToParent::Flaw { part: 0, flaw }, _)) if is_flaw(flaw)),
            "{what}: {said:?}"
        );
        let said = converter.says();
        assert!(matches!(said, Some((ToParent::Converted { sessions: 0, .. }, _))), "{what}: {said:?}");
        assert_eq!(converter.end(), 0, "{what}");
    }
}
