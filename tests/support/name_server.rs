//! A name server for a test in its own namespaces: PTR and A records, a log of the questions, and faults.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::wait::until;

/// Address of the name server, for `/etc/resolv.conf`.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

const A: u16 = 1;
const CNAME: u16 = 5;
const PTR: u16 = 12;

/// Names by address and addresses by name; empty by default.
#[derive(Clone, Default)]
pub struct Zone {
    names: BTreeMap<String, String>,
    addresses: BTreeMap<String, Ipv4Addr>,
}

impl Zone {
    /// Maps `address` to `name`.
    pub fn called(mut self, address: Ipv4Addr, name: &str) -> Self {
        let [a, b, c, d] = address.octets();
        self.names.insert(format!("{d}.{c}.{b}.{a}.in-addr.arpa"), name.into());
        self
    }

    /// Maps `name` to `address`.
    pub fn at(mut self, name: &str, address: Ipv4Addr) -> Self {
        self.addresses.insert(name.into(), address);
        self
    }

    fn answer(&self, question: &Question) -> Option<Vec<u8>> {
        match question.kind {
            A => self.addresses.get(&question.name).map(|address| address.octets().to_vec()),
            PTR => self.names.get(&question.name).map(|name| in_labels(name)),
            _ => None,
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.addresses.contains_key(name)
    }
}

struct Question {
    name: String,
    kind: u16,
    /// The raw question, to be repeated in the answer.
    bytes: Vec<u8>,
}

impl Question {
    /// Parses the only question of a query.
    fn parse(query: &[u8]) -> Option<Question> {
        let body = query.get(12..)?;
        let mut labels = Vec::new();
        let mut at = 0;
        loop {
            let length = usize::from(*body.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(body.get(at..at + length)?).to_ascii_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]);
        Some(Question { name: labels.join("."), kind, bytes: body.get(..at + 4)?.to_vec() })
    }
}

fn in_labels(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[label.len() as u8], label.as_bytes()].concat();
    name.split('.').flat_map(label).chain([0]).collect()
}

fn response(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let question = Question::parse(query)?;
    let answer = zone.answer(&question);
    let no_such_name = u8::from(!zone.knows(&question.name)) * 3;
    let mut bytes = query.get(..2)?.to_vec();
    bytes.extend([0x81, 0x80 | no_such_name, 0, 1, 0, u8::from(answer.is_some()), 0, 0, 0, 0]);
    bytes.extend(&question.bytes);
    if let Some(data) = answer {
        bytes.extend([0xC0, 12]);
        bytes.extend(question.kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    Some(bytes)
}

/// Produces the answer to a query, if there is one.
type Answering = Box<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send>;

/// Faults of a hostile name server, over UDP unless stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// Truncates every UDP answer and gives the answer by TCP.
    Truncates,
    /// Same, byte by byte.
    Dribbles,
    /// Same, with thousands of records, as in a zone transfer: the maximum that a message holds.
    Floods,
    /// Truncates every answer, accepts the TCP connection, and does not answer.
    Hangs,
    /// Same, but answers names of its zone correctly.
    HangsForOthers,
    /// Truncates the answer by TCP, too.
    TruncatesTwice,
    /// Closes the TCP connection in the middle of the answer.
    BreaksOff,
    /// Has no TCP port.
    RefusesTcp,
    /// Answers with an alias of the name itself.
    Loops,
    /// Answers a question that was not asked.
    WrongId,
    Garbage,
    /// Answers after the client's first time-out.
    Late,
    Refuses,
}

impl Trick {
    pub const ALL: [Trick; 12] = [
        Trick::Truncates,
        Trick::Dribbles,
        Trick::Floods,
        Trick::Hangs,
        Trick::TruncatesTwice,
        Trick::BreaksOff,
        Trick::RefusesTcp,
        Trick::Loops,
        Trick::WrongId,
        Trick::Garbage,
        Trick::Late,
        Trick::Refuses,
    ];

    /// Applies the fault to a correct answer.
    fn by_udp(self, query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
        let question = Question::parse(query)?;
        let mut honest = response(query, zone)?;
        match self {
            Trick::HangsForOthers if zone.knows(&question.name) => return Some(honest),
            Trick::Loops => return Some(answers(query, &question, CNAME, &[in_labels(&question.name)])),
            Trick::WrongId => honest[0] ^= 1,
            Trick::Garbage => honest[2..].fill(0xff),
            Trick::Late => thread::sleep(Duration::from_millis(1200)),
            // The flag QR, the response code 5 (refused), and no records.
            Trick::Refuses => return Some(head(query, &question, [0x81, 0x85], 0)),
            _ => return Some(head(query, &question, [0x83, 0x80], 0)),
        }
        Some(honest)
    }

    fn by_tcp(self, query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
        let question = Question::parse(query)?;
        match (self, zone.answer(&question)) {
            (Trick::Floods, Some(data)) => {
                let most = (usize::from(u16::MAX) - 512) / (data.len() + 12);
                Some(answers(query, &question, question.kind, &vec![data; most]))
            }
            (Trick::TruncatesTwice, _) => Some(head(query, &question, [0x83, 0x80], 0)),
            _ => response(query, zone),
        }
    }
}

fn head(query: &[u8], question: &Question, flags: [u8; 2], records: u16) -> Vec<u8> {
    let [high, low] = records.to_be_bytes();
    [&query[..2], &flags, &[0, 1, high, low, 0, 0, 0, 0], &question.bytes].concat()
}

fn answers(query: &[u8], question: &Question, kind: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = head(query, question, [0x81, 0x80], records.len() as u16);
    for data in records {
        bytes.extend([0xC0, 12]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

/// Serves one TCP client until it closes the connection.
fn serve_tcp(mut client: TcpStream, trick: Trick, zone: &Zone) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        client.read_exact(&mut length)?;
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        client.read_exact(&mut query)?;
        if matches!(trick, Trick::Hangs | Trick::HangsForOthers) {
            // Reads until the client closes the connection.
            return client.read(&mut length).map(drop);
        }
        let Some(answer) = trick.by_tcp(&query, zone) else { return Ok(()) };
        let answer = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
        match trick {
            Trick::Dribbles => answer.iter().try_for_each(|byte| client.write_all(&[*byte]))?,
            Trick::BreaksOff => return client.write_all(&answer[..answer.len() / 2]),
            _ => client.write_all(&answer)?,
        }
    }
}

/// A running server; dropping it frees its port.
pub struct NameServer {
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Answers from `zone`.
    pub fn answering(zone: Zone) -> Self {
        NameServer::start(Some(Box::new(move |query| response(query, &zone))))
    }

    /// Answers from `zone`, with a fault.
    pub fn hostile(zone: Zone, trick: Trick) -> Self {
        if trick != Trick::RefusesTcp {
            // The listener stays until the test's namespace is removed.
            let listener = TcpListener::bind((ADDRESS, 53)).expect("the port of name servers");
            let zone = zone.clone();
            thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    let zone = zone.clone();
                    thread::spawn(move || serve_tcp(client, trick, &zone));
                }
            });
        }
        NameServer::start(Some(Box::new(move |query| trick.by_udp(query, &zone))))
    }

    /// Receives every question and answers none.
    pub fn silent() -> Self {
        NameServer::start(None)
    }

    fn start(answer: Option<Answering>) -> Self {
        // A process that another test is starting may hold the previous socket for a moment.
        let socket = until("the port of name servers", || UdpSocket::bind((ADDRESS, 53)).ok());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let thread = thread::spawn(move || {
            let mut query = [0; 512];
            // An empty datagram stops the server.
            while let Ok((length @ 1.., client)) = socket.recv_from(&mut query) {
                let query = &query[..length];
                let name = Question::parse(query).map_or_else(|| "?".into(), |question| question.name);
                heard.lock().expect("no panic").push(name);
                if let Some(response) = answer.as_ref().and_then(|answer| answer(query)) {
                    let _ = socket.send_to(&response, client);
                }
            }
        });
        NameServer { asked, thread: Some(thread) }
    }

    /// Names queried up to now.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let word = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.send_to(&[], (ADDRESS, 53)));
        if let (Ok(_), Some(thread)) = (word, self.thread.take()) {
            let _ = thread.join();
        }
    }
}
