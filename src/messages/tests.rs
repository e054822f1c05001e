//! Every decoder reads its own messages back, and rejects everything else without harm.

use std::io;

use privsep::confine::{StepError, Unrestricted};
use privsep::{landlock, wire};
use proptest::prelude::*;

use super::*;

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

fn cause() -> impl Strategy<Value = CloseReason> {
    prop_oneof![
        Just(CloseReason::Done),
        side().prop_map(CloseReason::Reset),
        Just(CloseReason::Limit),
        Just(CloseReason::Idle),
        side().prop_map(CloseReason::NotReading),
        (side(), any::<i32>()).prop_map(|(side, errno)| CloseReason::Lost { side, errno }),
        Just(CloseReason::Stopped),
        any::<i32>().prop_map(|errno| CloseReason::Failed { errno }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let totals = [any::<Option<u64>>(), any::<Option<u64>>()];
    prop_oneof![
        (side(), any::<bool>(), any::<u64>()).prop_map(|(from, urgent, time)| Record::Data {
            from,
            urgent,
            time
        }),
        (side(), any::<u64>(), any::<u64>()).prop_map(|(from, bytes, time)| Record::Passed {
            from,
            bytes,
            time
        }),
        (side(), any::<u64>(), any::<u64>()).prop_map(|(from, total, time)| Record::Ended {
            from,
            total,
            time
        }),
        (cause(), totals, [tcp_info(), tcp_info()], any::<u64>())
            .prop_map(|(cause, totals, tcp, time)| Record::Closed { cause, totals, tcp, time }),
    ]
}

fn tcp_info() -> impl Strategy<Value = TcpInfo> {
    any::<(u32, u32, u32, u64)>().prop_map(|(rtt, rttvar, retransmissions, delivery_rate)| TcpInfo {
        rtt,
        rttvar,
        retransmissions,
        delivery_rate,
    })
}

proptest! {
    #[test]
    fn a_record_comes_back_from_the_room_that_is_kept_for_it(record in record()) {
        let mut head = [0; Record::MAX_HEAD];
        let used = wire::encode(&record, &mut head).expect("it fits");
        prop_assert_eq!(wire::decode::<Record>(&head[..used]).expect("it decodes"), record);
    }

    #[test]
    fn a_payload_is_left_alone(record in record(), payload in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut head = [0; Record::MAX_HEAD];
        let used = wire::encode(&record, &mut head).expect("it fits");
        let message = [&head[..used], &payload].concat();
        let (found, start) = wire::decode_head::<Record>(&message).expect("it decodes");
        prop_assert_eq!((found, &message[start..]), (record, payload.as_slice()));
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = wire::decode_head::<Record>(&bytes);
        let _ = wire::decode::<ToParent>(&bytes);
        let _ = wire::decode::<ToLogger>(&bytes);
        let _ = wire::decode::<ToResolver>(&bytes);
        let _ = wire::decode::<ToZygote>(&bytes);
        let _ = wire::decode::<ToWorker>(&bytes);
        let _ = wire::decode::<NameQuestion>(&bytes);
        let _ = wire::decode::<NameAnswer>(&bytes);
    }
}

#[test]
fn the_largest_answer_of_the_resolver_fits_in_a_message() {
    let address = Address::V6 { host: Ipv6Addr::LOCALHOST, port: u16::MAX, scope: u32::MAX };
    let mut room = [0; wire::LIMIT];
    wire::encode(&ToParent::Found(vec![address; 32]), &mut room).expect("it fits");
}

#[test]
fn what_the_zygote_and_its_workers_say_and_hear_is_short() {
    fn fits(message: impl Serialize) {
        wire::encode(&message, &mut [0; wire::SHORT]).expect("it fits");
    }
    let kept = Unrestricted { root: true, bounding_set: true, groups: true };
    let memory = privsep::memory::Memory::default();
    let sandbox_status =
        SandboxStatus { landlock: landlock::Status::None, seccomp: Violation::Kill, kept, memory };
    let step = StepError {
        step: "--require-sandbox=full",
        error: io::Error::other(sandbox_status.missing().join(", nor ")),
    };
    fits(ToParent::Failed(Problem::Confine(format!("{step} {}", "x".repeat(100)).into())));
    let sandbox = Sandbox { violation: Violation::Kill, full: true };
    let identity = Identity::Become { uid: u32::MAX, gid: u32::MAX };
    let prepare = Prepare { version: VERSION, parent: i32::MAX, identity, sandbox };
    let workers = WorkersNeed { tcp_info: true, descriptors: true };
    fits(ToZygote::Prepare { prepare, reaping: Reaping::InTurns, workers });
    fits(ToWorker::Recorded { steps: u64::MAX });
    fits(ToWorker::Session {
        need: CaptureLevel::Bytes,
        bytes: Some(u64::MAX),
        idle_ms: Some(u32::MAX),
        reset: [true; 2],
        transports: [Transport::Unix; 2],
        acknowledge: Acknowledge::Records,
    });
}

#[test]
fn a_unix_peer_without_a_name_says_so_and_one_with_a_hostile_name_is_escaped() {
    assert_eq!(Address::Unix(Vec::new()).numeric().service, "(unnamed)");
    assert_eq!(Address::Unix(b"a\nb\x1b".to_vec()).numeric().service, "a\\nb\\x1b");
}
