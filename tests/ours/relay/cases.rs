//! The table of cases. Each is played with client and server in either part.

use super::table::Family;

/// End of a session in the record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order: no line says otherwise.
    Order,
    /// The connection to this peer was reset, or closed before everything was read.
    Lost(char),
    /// It depends on the moment.
    Either,
}

/// Where a case has a meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Both,
    Tcp,
    Unix,
    /// Unix sockets of packets.
    Packets,
}

use End::{Either, Lost, Order};
use On::{Both, Packets, Tcp, Unix};

/// Name, script, end, sockets.
#[rustfmt::skip]
const CASES: &[(&str, &str, End, On)] = &[
    ("question and answer", "a.send 10; b.get 10; b.send 20; a.get 20; a.close; b.rest; b.close", Order, Both),
    ("half-close", "a.send 10; a.finish; b.rest; b.send 20; b.close; a.rest", Order, Both),
    ("answer long after a half-close", "a.finish; b.rest; b.bytes 50; a.get 50; b.close; a.rest", Order, Both),
    ("simultaneous close", "a.send 10; b.send 20; a.finish; b.finish; a.rest; b.rest", Order, Both),
    ("close without a word", "a.close; b.rest; b.close", Order, Both),
    ("reset before data", "b.sees 0; a.reset; b.rest; b.fails", Lost('a'), Tcp),
    ("reset between data", "a.send 10; b.get 10; b.send 20; a.get 20; a.reset; b.rest; b.fails", Lost('a'), Tcp),
    ("reset behind data", "a.send 1000; b.sees 1000; a.reset; b.rest; b.fails", Lost('a'), Tcp),
    ("reset after a half-close", "b.finish; a.rest; a.reset; b.fails", Lost('a'), Tcp),
    ("reset after the other half-closed", "a.send 5; a.finish; b.rest; b.reset; a.rest", Lost('b'), Tcp),
    ("close with unread input", "b.send 1000; a.sees 1000; a.send 10; b.sees 10; a.close; b.rest", Lost('a'), Both),
    ("close with unread input and no word", "b.send 1000; a.sees 1000; a.close; b.rest", Lost('a'), Both),
    ("early answer", "a.push 64000000; b.get 1000; b.send 413; b.close; a.rest; a.fails", Lost('b'), Both),
    ("early answer, nothing read", "a.push 64000000; b.send 413; b.close; a.rest; a.fails", Lost('b'), Both),
    ("early answer, then a half-close", "a.push 64000000; b.send 413; b.finish; a.rest; b.all; a.finish; b.rest", Order, Both),
    ("last words while the other pushes", "b.push 64000000; a.get 1000; a.send 6; a.close; b.rest; b.fails", Lost('a'), Both),
    ("last words in large", "a.push 64000000; b.send 60000; b.close; a.rest", Lost('b'), Both),
    ("writing to a closed peer", "a.send 5; b.get 5; a.close; b.rest; b.fails", Either, Both),
    ("never read, then closed", "a.push 64000000; a.finish; b.close; a.ending", Lost('b'), Both),
    ("read after the other closed", "a.stream 300000; b.all; a.close; b.rest; b.close", Order, Both),
    ("read late, after the other closed", "a.send 50000; a.close; b.all; b.rest; b.close", Order, Both),
    ("pending data at hang-up", "b.finish; a.rest; a.send 50000; a.close; b.all; b.rest", Order, Both),
    ("one-byte writes", "a.bytes 100; b.get 100; b.bytes 100; a.get 100; a.close; b.rest; b.close", Order, Both),
    ("large writes", "a.stream 5000000; b.get 5000000; b.stream 5000000; a.get 5000000; a.finish; b.rest; b.finish; a.rest", Order, Both),
    ("large writes at the same time", "a.stream 5000000; b.stream 5000000; b.get 5000000; a.get 5000000; a.finish; b.rest; b.finish; a.rest", Order, Both),
    ("zero window", "a.push 64000000; b.pause 3000; b.all; b.send 10; a.get 10; a.finish; b.rest; b.close; a.rest", Order, Both),
    ("both stalled", "a.push 64000000; b.push 64000000; b.all; a.all; a.finish; b.rest; b.finish; a.rest", Order, Both),
    ("an urgent byte", "a.send 10; a.urgent 1; a.send 10; b.marks 21; a.close; b.rest; b.close", Order, Both),
    ("an urgent byte first", "a.urgent 1; b.marks 1; a.send 5; b.get 5; a.close; b.rest; b.close", Order, Both),
    ("an urgent byte behind others in one call", "a.urgent 3; b.wakes; b.marks 3; a.send 2; b.get 2; a.close; b.rest; b.close", Order, Both),
    ("an urgent byte behind many in one call", "a.urgent 3001; b.wakes; b.marks 3001; a.close; b.rest; b.close", Order, Both),
    ("an urgent byte last", "a.send 5; a.urgent 1; a.close; b.marks 6; b.rest; b.close", Order, Both),
    ("two urgent bytes", "a.urgent 1; a.send 1; a.urgent 1; a.send 1; b.sees 4; b.marks 4; a.close; b.rest; b.close", Order, Tcp),
    ("IAC IP IAC DM twice", "a.send 3; a.urgent 1; a.send 3; a.urgent 1; b.sees 8; b.marks 8; a.close; b.rest; b.close", Order, Tcp),
    ("many urgent bytes", "a.urgent 1; a.urgent 1; a.urgent 1; a.urgent 1; a.urgent 1; a.send 1; b.sees 6; b.marks 6; a.close; b.rest; b.close", Order, Tcp),
    ("urgent in bulk", "a.stream 300000; b.get 300000; a.send 3000; a.urgent 3000; a.send 20000; a.urgent 1; a.send 50; b.sees 26051; b.marks 26051; a.close; b.rest; b.close", Order, Tcp),
    ("reset behind an urgent byte", "a.send 5; a.urgent 1; b.sees 6; a.reset; b.rest", Lost('a'), Tcp),
    ("a peer that reads no more", "a.deaf; b.fails; a.send 10; b.get 10; a.close; b.rest", Lost('a'), Unix),
    ("a peer that reads no more and speaks on", "a.deaf; b.fails; a.stream 3000000; b.get 3000000; a.finish; b.rest", Lost('a'), Unix),
    ("a descriptor", "a.pass 1; b.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors both ways", "a.pass 3; b.catch 5; b.pass 2; a.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("as many descriptors as there can be", "a.pass 253; b.catch 5; a.pass 253; b.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors read in parts", "a.pass 2; b.sees 5; b.catch 1; b.catch 4; a.close; b.rest; b.close", Order, Unix),
    ("descriptors behind bytes", "a.send 10; a.pass 1; b.sees 15; b.catch 10; b.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors between bytes", "a.send 10; a.pass 1; a.send 7; a.pass 2; a.send 3; b.sees 30; b.catch 99; b.catch 99; b.catch 99; a.close; b.rest; b.close", Order, Unix),
    ("descriptors behind much", "a.send 50000; a.pass 1; b.sees 50005; b.catch 49999; b.catch 1; b.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors with an urgent byte", "a.send 2; a.hail 2; a.send 2; b.sees 5; b.marks 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors that an urgent byte brings", "a.hail 2; b.wakes; b.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors with much", "a.tow 100000; b.sees 100000; b.catch 10; b.get 99990; a.close; b.rest; b.close", Order, Unix),
    ("descriptors at the end", "a.send 5; a.pass 1; a.close; b.sees 10; b.catch 5; b.catch 5; b.rest; b.close", Order, Unix),
    ("descriptors that are not received", "a.pass 2; b.get 5; b.pass 1; a.get 5; a.close; b.rest; b.close", Order, Unix),
    ("descriptors and input that was not read", "b.send 1000; a.sees 1000; a.pass 1; b.sees 5; a.close; b.catch 5; b.rest", Lost('a'), Unix),
    ("many descriptors to a peer that does not read", "a.pass 253; a.pass 253; b.pause 300; b.catch 5; b.catch 5; a.close; b.rest; b.close", Order, Unix),
    ("messages", "a.send 10; a.send 20; a.send 1; b.messages 3; b.send 5; b.send 6; a.messages 2; a.close; b.messages 1; b.close", Order, Packets),
    ("empty messages", "a.empty; a.send 5; a.empty; a.empty; b.messages 4; a.close; b.messages 1; b.close", Order, Packets),
    ("nothing but empty messages", "a.empty; b.messages 1; b.empty; a.messages 1; a.close; b.messages 1; b.close", Order, Packets),
    ("large messages", "a.send 212000; b.messages 1; b.send 100000; b.send 200000; a.messages 2; a.close; b.messages 1; b.close", Order, Packets),
    ("many messages", "a.bytes 100; b.messages 100; b.bytes 100; a.messages 100; a.close; b.messages 1; b.close", Order, Packets),
    ("messages, half-closed", "a.send 10; a.finish; b.messages 2; b.send 20; b.close; a.messages 2", Order, Packets),
    ("messages before a close", "a.send 10; a.empty; a.send 20; a.close; b.messages 4; b.close", Order, Packets),
    ("messages and a close with unread input", "b.send 100; a.sees 100; a.send 10; a.send 20; b.sees 30; a.close; b.remainder", Lost('a'), Packets),
    ("messages that are cut by the receiver", "a.send 100; a.send 50; b.sees 150; b.catch 10; b.catch 10; a.close; b.close", Either, Packets),
    ("messages to a peer that reads late", "a.send 60000; a.send 60000; a.send 60000; b.pause 300; b.messages 3; a.close; b.messages 1; b.close", Order, Packets),
    ("messages with descriptors", "a.pass 3; a.tow 0; a.pass 253; a.send 7; b.messages 4; b.pass 1; a.messages 1; a.close; b.messages 1; b.close", Order, Packets),
    ("messages to a closed peer", "a.send 5; b.messages 1; a.close; b.messages 1; b.fails", Either, Packets),
];

/// A script with its parts given out.
pub struct Case {
    pub name: String,
    pub script: String,
    pub end: End,
    /// `a` is the server.
    pub swapped: bool,
}

/// The table, with client and server in either part.
pub fn cases(family: Family) -> Vec<Case> {
    let only = std::env::var("RELAY_CASE").unwrap_or_default();
    let fits = |on: On| match family {
        Family::Tcp => matches!(on, Both | Tcp),
        Family::Unix => matches!(on, Both | Unix),
        Family::Packets => on == Packets,
    };
    let cases = CASES.iter().filter(|case| fits(case.3) && case.0.contains(&only));
    let both = cases.flat_map(|case| [(case, false), (case, true)]);
    both.map(|(&(name, script, end, _), swapped)| {
        let name = format!("{name}, {} is the server", if swapped { 'a' } else { 'b' });
        Case { name, script: script.to_owned(), end, swapped }
    })
    .collect()
}
