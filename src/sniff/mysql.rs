//! MySQL and MariaDB: the server greets first; the client's answer contains the user, and a hash or, with
//! `mysql_clear_password`, the password.

use super::conversation::{Conversation, Switch};
use super::frames::{Cursor, Frame, Frames, Measure};
use super::lines::{Cutting, LinePiece};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const MYSQL: Protocol = Protocol::Named("MySQL");

/// Capabilities of a client.
const WITH_DATABASE: u32 = 0x08;
const PROTOCOL_41: u32 = 0x200;
const TLS: u32 = 0x800;
const SECURE: u32 = 0x8000;
const PLUGIN: u32 = 0x8_0000;
const LENGTHS: u32 = 0x20_0000;

/// First bytes of the server's packets.
const OK: u8 = 0;
const SWITCH: u8 = 0xfe;
const ERROR: u8 = 0xff;

const CLEAR: &[u8] = b"mysql_clear_password";

#[derive(Clone, Copy, PartialEq, Eq)]
enum MysqlStage {
    Greeting,
    Response,
    LoginVerdict,
    Commands,
}

pub(super) struct MySql {
    client: Frames,
    server: Frames,
    stage: MysqlStage,
    user: Vec<u8>,
    plugin: Vec<u8>,
    /// The credentials of the client's answer.
    found: Option<Credentials>,
    encrypted: bool,
}

impl Default for MySql {
    fn default() -> Self {
        MySql {
            client: Frames::new(4),
            server: Frames::new(4),
            stage: MysqlStage::Greeting,
            user: Vec::new(),
            plugin: b"mysql_native_password".to_vec(),
            found: None,
            encrypted: false,
        }
    }
}

/// Checks for the start of a server's stream: a packet of about 80 bytes with number 0 and version 10.
pub(super) fn is_greeting(prefix: &[u8]) -> Option<bool> {
    const HEAD: [fn(u8) -> bool; 6] = [
        |length| length >= 30,
        |length| length == 0,
        |length| length == 0,
        |number| number == 0,
        |protocol| protocol == 10,
        |version| version.is_ascii_digit(),
    ];
    let fits = prefix.iter().zip(HEAD).all(|(&byte, fits)| fits(byte));
    if fits { (prefix.len() >= HEAD.len()).then_some(true) } else { Some(false) }
}

fn measure(head: &[u8]) -> Measure {
    let [low, middle, high, _] = *head else { return Measure::Foreign };
    Measure::Body(u64::from(u32::from_le_bytes([low, middle, high, 0])))
}

impl Conversation for MySql {
    fn start(&self) -> [Cutting; 2] {
        [self.client.start(), self.server.start()]
    }

    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let frame = match self.client.read(item, measure) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        match self.stage {
            MysqlStage::Response if frame.is_cut() => {
                logins.too_long(MYSQL, "a login", frame.length(), out);
                self.stage = MysqlStage::Commands;
            }
            MysqlStage::Response => self.response(&frame),
            MysqlStage::LoginVerdict if self.plugin == CLEAR => {
                let password = frame.body.strip_suffix(b"\0").unwrap_or(frame.body);
                self.found = Some(Credentials::password(&self.user, password).cut(frame.is_cut()));
            }
            MysqlStage::Greeting | MysqlStage::LoginVerdict | MysqlStage::Commands => {}
        }
        if self.encrypted { Cutting::Ignore } else { self.client.after(frame.rest) }
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let frame = match self.server.read(item, measure) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        match (self.stage, frame.body.first()) {
            (MysqlStage::Greeting, Some(&ERROR)) => self.stage = MysqlStage::Commands,
            (MysqlStage::Greeting, _) => self.stage = MysqlStage::Response,
            (MysqlStage::LoginVerdict, Some(&SWITCH)) => {
                if let Some(plugin) = Cursor(&frame.body[1..]).c_string() {
                    self.plugin = plugin.to_vec();
                    self.found = Some(Credentials::scheme(&self.user, plugin));
                }
            }
            (MysqlStage::LoginVerdict, Some(&OK)) => self.decided(LoginVerdict::Accepted, b"", logins, out),
            (MysqlStage::LoginVerdict, Some(&ERROR)) => {
                let code = frame.body.get(1..3).map(|code| u16::from_le_bytes([code[0], code[1]]));
                let code = code.unwrap_or_default().to_string();
                self.decided(LoginVerdict::Refused, code.as_bytes(), logins, out);
            }
            _ => {}
        }
        self.server.after(frame.rest)
    }

    fn gives_way(&mut self) -> Option<Switch> {
        self.encrypted.then_some(Switch::Opaque)
    }
}

impl MySql {
    /// HandshakeResponse41, or the shorter one that asks for TLS.
    fn response(&mut self, frame: &Frame<'_>) {
        let Some((capabilities, rest)) = frame.body.split_first_chunk() else { return };
        let capabilities = u32::from_le_bytes(*capabilities);
        if capabilities & PROTOCOL_41 == 0 {
            self.stage = MysqlStage::Commands;
            return;
        }
        let mut cursor = Cursor(rest);
        // Largest packet, character set and a filler.
        if cursor.take(28).is_none() || (capabilities & TLS != 0 && cursor.0.is_empty()) {
            self.encrypted = true;
            return;
        }
        self.stage = MysqlStage::LoginVerdict;
        self.found = self.login(capabilities, cursor);
    }

    fn login(&mut self, capabilities: u32, mut cursor: Cursor<'_>) -> Option<Credentials> {
        self.user = cursor.c_string()?.to_vec();
        let response = match capabilities {
            flags if flags & LENGTHS != 0 && cursor.0.first() == Some(&0xfc) => {
                cursor.u8();
                let length = cursor.take(2)?;
                cursor.take(u16::from_le_bytes([length[0], length[1]]).into())?
            }
            flags if flags & (LENGTHS | SECURE) != 0 => cursor.short_string()?,
            _ => cursor.c_string()?,
        };
        if capabilities & WITH_DATABASE != 0 {
            cursor.c_string()?;
        }
        if capabilities & PLUGIN != 0
            && let Some(plugin) = cursor.c_string()
        {
            self.plugin = plugin.to_vec();
        }
        Some(if self.plugin == CLEAR {
            Credentials::password(&self.user, response.strip_suffix(b"\0").unwrap_or(response))
        } else {
            Credentials::scheme(&self.user, &self.plugin)
        })
    }

    fn decided(
        &mut self,
        verdict: LoginVerdict,
        code: &[u8],
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) {
        self.stage = MysqlStage::Commands;
        logins.prove();
        if let Some(found) = self.found.take() {
            logins.expect_tag(b"", MYSQL, found, out);
            logins.answer_all(verdict, code, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::overheard_bytes as overheard;

    fn packet(number: u8, body: &[u8]) -> Vec<u8> {
        [&[body.len() as u8, 0, 0, number], body].concat()
    }

    fn greeting() -> Vec<u8> {
        packet(0, &[b"\x0a8.0.1\0".as_slice(), &[1; 60], b"mysql_native_password\0"].concat())
    }

    fn login(plugin: &[u8], response: &[u8]) -> Vec<u8> {
        let flags = 0x0008_8208_u32.to_le_bytes();
        let body =
            [&flags[..], &[0; 28], b"bob\0", &[response.len() as u8], response, b"db\0", plugin, b"\0"];
        packet(1, &body.concat())
    }

    #[test]
    fn hashes_show_the_user() {
        let login = login(b"caching_sha2_password", &[7; 32]);
        let (ok, error) = (packet(2, b"\0\0\0\x02\0\0\0"), packet(2, b"\xff\x15\x04#28000Access denied"));
        for (answer, verdict) in [(ok, "(accepted)"), (error, "(refused) 1045")] {
            assert_eq!(
                overheard(&[(b'>', &greeting()), (b'<', &login), (b'>', &answer)]),
                format!("MySQL: bob (caching_sha2_password) {verdict}\n")
            );
        }
    }

    #[test]
    fn clear_passwords_are_shown() {
        let said = [
            (b'>', greeting()),
            (b'<', login(b"mysql_native_password", &[7; 20])),
            (b'>', packet(2, b"\xfemysql_clear_password\0")),
            (b'<', packet(3, b"s3cret\0")),
            (b'>', packet(4, b"\0\0\0\x02\0\0\0")),
        ];
        let said: Vec<_> = said.iter().map(|(side, bytes)| (*side, bytes.as_slice())).collect();
        assert_eq!(overheard(&said), "MySQL: bob:s3cret (accepted)\n");
    }

    #[test]
    fn encrypted_sessions_are_not_read() {
        let tls = packet(1, &[&0x0000_0a00_u32.to_le_bytes()[..], &[0; 28]].concat());
        assert_eq!(overheard(&[(b'>', &greeting()), (b'<', &tls), (b'<', b"\nUSER a\nPASS b\n")]), "");
        assert_eq!(overheard(&[(b'>', &greeting()), (b'<', b"\nUSER a\nPASS b\n")]), "");
    }
}
