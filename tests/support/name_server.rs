//! A name server of a test's own, for a world of its own: it knows PTR and A records, and who asked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::wait::until;

/// Where it is, for `/etc/resolv.conf`.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

const A: u16 = 1;
const PTR: u16 = 12;

/// Names by address and addresses by name, or nothing at all.
#[derive(Clone, Default)]
pub struct Zone {
    names: BTreeMap<String, String>,
    addresses: BTreeMap<String, Ipv4Addr>,
}

impl Zone {
    /// Says that `address` is called `name`.
    pub fn called(mut self, address: Ipv4Addr, name: &str) -> Self {
        let [a, b, c, d] = address.octets();
        self.names.insert(format!("{d}.{c}.{b}.{a}.in-addr.arpa"), name.into());
        self
    }

    /// Says that `name` is at `address`.
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
    /// As it came, to be repeated in the answer.
    bytes: Vec<u8>,
}

impl Question {
    /// The only question of a query.
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

/// The server at work; dropping it frees its port.
pub struct NameServer {
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Answers from `zone`.
    pub fn answering(zone: Zone) -> Self {
        NameServer::start(Some(zone))
    }

    /// Takes every question and answers none.
    pub fn silent() -> Self {
        NameServer::start(None)
    }

    fn start(zone: Option<Zone>) -> Self {
        // A process that another test is starting may hold the last one's socket for a moment.
        let socket = until("the port of name servers", || UdpSocket::bind((ADDRESS, 53)).ok());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let thread = thread::spawn(move || {
            let mut query = [0; 512];
            // Nothing at all is the word to stop.
            while let Ok((length @ 1.., client)) = socket.recv_from(&mut query) {
                let query = &query[..length];
                let name = Question::parse(query).map_or_else(|| "?".into(), |question| question.name);
                heard.lock().expect("no panic").push(name);
                if let Some(response) = zone.as_ref().and_then(|zone| response(query, zone)) {
                    let _ = socket.send_to(&response, client);
                }
            }
        });
        NameServer { asked, thread: Some(thread) }
    }

    /// The names it was asked about so far.
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
