//! SOCKS5 (RFC 1928) with user name and password (RFC 1929), and the tunnelled protocol.

use super::conversation::{Conversation, Switch};
use super::frames::{Cursor, Frames, Measure};
use super::lines::{Cutting, LinePiece};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const SOCKS: Protocol = Protocol::Named("SOCKS5");

pub(super) const VERSION: u8 = 5;

/// The method of user name and password, and the version of its own messages.
const PASSWORD: u8 = 2;
const LOGIN: u8 = 1;

/// Next message of a direction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SocksStage {
    Methods,
    Login,
    Request,
}

pub(super) struct Socks {
    client: Frames,
    server: Frames,
    /// Of the client, and of the server.
    stages: [SocksStage; 2],
    opened: bool,
}

impl Default for Socks {
    fn default() -> Self {
        Socks {
            client: Frames::new(2),
            server: Frames::new(2),
            stages: [SocksStage::Methods; 2],
            opened: false,
        }
    }
}

/// Checks for the start of a client's stream: a few methods, all of them assigned or private.
pub(super) fn is_opening(prefix: &[u8]) -> Option<bool> {
    match prefix {
        [_] => None,
        [_, count, ..] if *count == 0 || *count > 10 => Some(false),
        [_, count, methods @ ..] => {
            let methods = &methods[..methods.len().min((*count).into())];
            let known = methods.iter().all(|method| matches!(method, 0..=9 | 0x80..=0xfe));
            if known { (methods.len() == usize::from(*count)).then_some(true) } else { Some(false) }
        }
        [] => None,
    }
}

/// The length of an address and a port, whose first byte is in the header.
fn address(head: &[u8]) -> Measure {
    match head {
        [VERSION, _, 0, 1, _] => Measure::Body(3 + 2),
        [VERSION, _, 0, 3, length] => Measure::Body(u64::from(*length) + 2),
        [VERSION, _, 0, 4, _] => Measure::Body(15 + 2),
        _ => Measure::Foreign,
    }
}

fn of_client(stage: SocksStage) -> impl FnOnce(&[u8]) -> Measure {
    move |head| match (stage, head) {
        (SocksStage::Methods, [VERSION, count]) => Measure::Body(u64::from(*count)),
        (SocksStage::Login, [LOGIN, length]) => Measure::More(usize::from(*length) + 1),
        (SocksStage::Login, [LOGIN, _, .., length]) => Measure::Body(u64::from(*length)),
        (SocksStage::Request, head) => address(head),
        _ => Measure::Foreign,
    }
}

fn of_server(stage: SocksStage) -> impl FnOnce(&[u8]) -> Measure {
    move |head| match (stage, head) {
        (SocksStage::Methods, [VERSION, _]) | (SocksStage::Login, [LOGIN, _]) => Measure::Body(0),
        (SocksStage::Request, head) => address(head),
        _ => Measure::Foreign,
    }
}

impl Conversation for Socks {
    fn start(&self) -> [Cutting; 2] {
        [self.client.start(), self.server.start()]
    }

    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let [stage, _] = &mut self.stages;
        let frame = match self.client.read(item, of_client(*stage)) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        match *stage {
            SocksStage::Methods => {
                // A client that offers only one method may go on at once; otherwise the server's choice decides.
                *stage = if frame.body == [PASSWORD] { SocksStage::Login } else { SocksStage::Request };
            }
            SocksStage::Login => {
                *stage = SocksStage::Request;
                if let Some(user) = Cursor(&frame.head[1..]).short_string() {
                    logins.expect_tag(b"", SOCKS, Credentials::password(user, frame.body), out);
                }
            }
            // The tunnel's bytes come after the server's answer.
            SocksStage::Request => return Cutting::Ignore,
        }
        self.client.header = if *stage == SocksStage::Request { 5 } else { 2 };
        self.client.after(0)
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let [client, stage] = &mut self.stages;
        let frame = match self.server.read(item, of_server(*stage)) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        match *stage {
            SocksStage::Methods => {
                let login = frame.head[1] == PASSWORD;
                *stage = if login { SocksStage::Login } else { SocksStage::Request };
                if login {
                    logins.prove();
                    *client = SocksStage::Login;
                }
            }
            SocksStage::Login => {
                *stage = SocksStage::Request;
                let code = frame.head[1];
                let verdict = if code == 0 { LoginVerdict::Accepted } else { LoginVerdict::Refused };
                logins.answer_all(verdict, code.to_string().as_bytes(), out);
            }
            SocksStage::Request => {
                self.opened = frame.head[1] == 0;
                return Cutting::Ignore;
            }
        }
        self.server.header = if *stage == SocksStage::Request { 5 } else { 2 };
        self.server.after(0)
    }

    /// The client's next message is one of the method that the server has chosen.
    fn redirect_client(&mut self) -> Option<Cutting> {
        (self.stages == [SocksStage::Login; 2] && self.client.header != 2).then(|| {
            self.client = Frames::new(2);
            self.client.start()
        })
    }

    fn gives_way(&mut self) -> Option<Switch> {
        std::mem::take(&mut self.opened).then_some(Switch::Tunnel)
    }
}

#[cfg(test)]
mod tests {
    use super::super::overheard_bytes as overheard;

    const LOGIN: &[u8] = b"\x01\x03bob\x02pw";
    const REQUEST: &[u8] = b"\x05\x01\0\x03\x01x\0\x15";
    const OPENED: &[u8] = b"\x05\0\0\x01\x7f\0\0\x01\0\x15";

    #[test]
    fn user_and_password() {
        for methods in [&b"\x05\x01\x02"[..], b"\x05\x02\0\x02"] {
            let said: [(u8, &[u8]); 4] =
                [(b'<', methods), (b'>', b"\x05\x02"), (b'<', LOGIN), (b'>', b"\x01\0")];
            assert_eq!(overheard(&said), "SOCKS5: bob:pw (accepted) 0\n");
            let said: [(u8, &[u8]); 4] =
                [(b'<', methods), (b'>', b"\x05\x02"), (b'<', LOGIN), (b'>', b"\x01\x01")];
            assert_eq!(overheard(&said), "SOCKS5: bob:pw (refused) 1\n");
        }
    }

    #[test]
    fn tunnels_are_looked_into() {
        let ftp: [(u8, &[u8]); 3] =
            [(b'>', b"220 hi\r\n"), (b'<', b"USER a\r\nPASS b\r\n"), (b'>', b"331\r\n230\r\n")];
        let free: [(u8, &[u8]); 4] =
            [(b'<', b"\x05\x01\0"), (b'>', b"\x05\0"), (b'<', REQUEST), (b'>', OPENED)];
        assert_eq!(overheard(&[&free[..], &ftp].concat()), "FTP: a:b (accepted) 230\n");
        let closed: [(u8, &[u8]); 6] = [
            (b'<', b"\x05\x02\0\x02"),
            (b'>', b"\x05\x02"),
            (b'<', LOGIN),
            (b'>', b"\x01\0"),
            (b'<', REQUEST),
            (b'>', OPENED),
        ];
        let shown = "SOCKS5: bob:pw (accepted) 0\nFTP: a:b (accepted) 230\n";
        assert_eq!(overheard(&[&closed[..], &ftp].concat()), shown);
    }
}
