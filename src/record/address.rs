//! Addresses as saved records have them. Each text stands for one address, so that readers get it back.

use std::fmt::Write;

use crate::messages::{Address, Name};

/// `192.0.2.1`, `fe80::1%2` with the number of an interface; nothing for a Unix socket.
pub(crate) fn ip(address: &Address) -> String {
    match address {
        Address::Unix(_) => String::new(),
        ip => ip.numeric().node,
    }
}

/// A Unix path; nothing for an IP address, and for a peer that did not bind. Characters stay as they are, but for
/// controls, bytes that are no UTF-8 (`\xNN`) and the backslash (doubled).
pub(crate) fn unix(address: &Address) -> String {
    let Address::Unix(path) = address else { return String::new() };
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\0'..='\x1f' | '\x7f' => hex(character as u8, &mut text),
                other => text.push(other),
            }
        }
        chunk.invalid().iter().for_each(|&byte| hex(byte, &mut text));
    }
    text
}

fn hex(byte: u8, text: &mut String) {
    // A String takes everything.
    let _ = write!(text, "\\x{byte:02x}");
}

/// The path that [`unix`] has made a text of; `None` for what it does not make.
pub(crate) fn unix_path(text: &str) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        path.extend_from_slice(plain.as_bytes());
        if let Some(after) = escape.strip_prefix('\\') {
            path.push(b'\\');
            rest = after;
        } else {
            let digits = escape.strip_prefix('x')?.get(..2)?;
            path.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &escape[3..];
        }
    }
    path.extend_from_slice(rest.as_bytes());
    Some(path)
}

/// `192.0.2.1:80`, `[2001:db8::1]:80`, `unix:/path`.
pub(crate) fn endpoint(address: &Address) -> String {
    match address {
        Address::V4 { host, port } => format!("{host}:{port}"),
        Address::V6 { port, .. } => format!("[{}]:{port}", ip(address)),
        Address::Unix(_) => format!("unix:{}", unix(address)),
    }
}

/// The host name of a peer, where it is known.
pub(crate) fn host_name<'a>(address: &Address, name: &'a Name) -> &'a str {
    match address {
        Address::Unix(_) => "",
        ip if ip.numeric().node == name.node => "",
        _ => &name.node,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_has_its_text() {
        let v6 = |scope| Address::V6 { host: "fe80::1".parse().unwrap(), port: 22, scope };
        let v4 = Address::V4 { host: [192, 0, 2, 1].into(), port: 80 };
        assert_eq!([ip(&v4), ip(&v6(0)), ip(&v6(3))], ["192.0.2.1", "fe80::1", "fe80::1%3"]);
        assert_eq!(endpoint(&v4), "192.0.2.1:80");
        assert_eq!(endpoint(&v6(3)), "[fe80::1%3]:22");
        let path = Address::Unix(b"/run/\xc3\xa9\n\\\xff\"".to_vec());
        assert_eq!(endpoint(&path), "unix:/run/é\\x0a\\\\\\xff\"");
        assert_eq!(endpoint(&Address::Unix(Vec::new())), "unix:");
    }

    #[test]
    fn a_name_is_one_only_where_it_is_no_number() {
        let address = Address::V4 { host: [192, 0, 2, 1].into(), port: 80 };
        let named = |node: &str| Name { node: node.into(), service: "http".into() };
        assert_eq!(host_name(&address, &named("192.0.2.1")), "");
        assert_eq!(host_name(&address, &named("www.example")), "www.example");
    }

    proptest! {
        #[test]
        fn paths_come_back(path in prop::collection::vec(any::<u8>(), 0..120)) {
            prop_assert_eq!(unix_path(&unix(&Address::Unix(path.clone()))), Some(path));
        }

        #[test]
        fn what_is_no_path_is_none(text in "(\\\\|x|[0-9a-f]|é){0,12}") {
            if let Some(path) = unix_path(&text) {
                prop_assert_eq!(unix_path(&unix(&Address::Unix(path.clone()))), Some(path));
            }
        }
    }
}
