//! Every message between the processes, as a process that has been taken over might write it.

use privsep::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{NameAnswer, NameQuestion, Record, ToLogger, ToParent, ToResolver, ToWorker, ToZygote};

pub fn fuzz(data: &[u8]) {
    decode::<ToParent>(data);
    decode::<ToResolver>(data);
    decode::<ToZygote>(data);
    decode::<ToWorker>(data);
    decode::<ToLogger>(data);
    decode::<NameQuestion>(data);
    decode::<NameAnswer>(data);
    if let Some(head) = decode::<Record>(data) {
        assert!(head <= Record::MAX_HEAD, "a head of {head} bytes");
    }
}

/// Every message has exactly one encoding; returns its length.
fn decode<T: Serialize + DeserializeOwned>(data: &[u8]) -> Option<usize> {
    let (message, used) = wire::decode_head::<T>(data).ok()?;
    assert!(used <= wire::LIMIT, "{used} bytes");
    let mut room = [0; wire::LIMIT];
    let length = wire::encode(&message, &mut room).expect("what was read can be written");
    assert_eq!(room[..length], data[..used]);
    assert_eq!(wire::decode::<T>(data).is_ok(), used == data.len(), "bytes are left over");
    Some(used)
}
