//! `--password=all`: credentials that no protocol defines, in a form, in the address of a request, in a JSON
//! object, or as a token. Field names follow habits, not rules, so that this is optional.

use serde_json::{Map, Value};

use super::super::words::word;
use super::message::Header;
use crate::sniff::pending::Credentials;

/// Kind of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// `application/x-www-form-urlencoded`
    Form,
    /// `application/json`
    Json,
}

impl BodyKind {
    /// Kind of a body with this Content-Type.
    pub(super) fn of(content_type: &[u8]) -> Option<BodyKind> {
        let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        if essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            Some(BodyKind::Form)
        } else if essence.eq_ignore_ascii_case(b"application/json") {
            Some(BodyKind::Json)
        } else {
            None
        }
    }
}

/// Credentials in a complete body.
pub(super) fn in_body(kind: BodyKind, body: &[u8]) -> Option<Credentials> {
    match kind {
        BodyKind::Form => in_fields(&fields(body)),
        BodyKind::Json => match serde_json::from_slice(body).ok()? {
            Value::Object(object) => in_object(&object),
            _ => None,
        },
    }
}

/// Credentials in the address of a complete request line.
pub(super) fn in_request(line: &[u8]) -> Option<Credentials> {
    let (target, _) = word(word(line).1);
    let query = target.iter().position(|&byte| byte == b'?')?;
    let query = target[query + 1..].split(|&byte| byte == b'#').next().unwrap_or_default();
    in_fields(&fields(query))
}

/// A header that holds a token and nothing else.
pub(super) fn is_token(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] =
        [b"X-Api-Key", b"Api-Key", b"X-Auth-Token", b"X-Access-Token", b"Private-Token"];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

pub(super) fn in_header(header: &Header<'_>) -> Option<Credentials> {
    (is_token(header.name) && !header.value.is_empty()).then(|| Credentials::token(header.name, header.value))
}

/// An object, or the first one inside it, as in `{"user":{"login":"bob","password":"pw"}}`.
fn in_object(object: &Map<String, Value>) -> Option<Credentials> {
    in_fields(&of_object(object)).or_else(|| {
        let inner = object.values().filter_map(Value::as_object);
        inner.take(1).find_map(|object| in_fields(&of_object(object)))
    })
}

type FormField = (Vec<u8>, Vec<u8>);

fn of_object(object: &Map<String, Value>) -> Vec<FormField> {
    let text = |(name, value): (&String, &Value)| {
        Some((name.clone().into_bytes(), value.as_str()?.as_bytes().to_vec()))
    };
    object.iter().filter_map(text).collect()
}

/// A name and a password; without a password, a token.
fn in_fields(fields: &[FormField]) -> Option<Credentials> {
    let find = |names: &FieldNames| {
        fields.iter().find(|(name, value)| !value.is_empty() && names.include(&essence(name)))
    };
    if let Some((_, password)) = find(&PASSWORDS) {
        let user = find(&USERS).map(|(_, user)| user.as_slice()).unwrap_or_default();
        return Some(Credentials::password(user, password));
    }
    find(&KEYS).map(|(name, key)| Credentials::token(name, key))
}

/// The last part of a field's name in small letters: `login[User]` is `user`.
fn essence(name: &[u8]) -> String {
    let name = name.strip_suffix(b"]").unwrap_or(name);
    let last = name.rsplit(|byte| b"[.:".contains(byte)).next().unwrap_or_default();
    String::from_utf8_lossy(last).to_ascii_lowercase()
}

/// Names of fields, which the manual lists: parts of a name, and whole names.
struct FieldNames {
    parts: &'static [&'static str],
    whole: &'static [&'static str],
}

impl FieldNames {
    fn include(&self, name: &str) -> bool {
        self.parts.iter().any(|part| name.contains(part)) || self.whole.contains(&name)
    }
}

/// `passwd`, `password`, `passphrase`, `user_pass` and `passwort` have the part in them.
const PASSWORDS: FieldNames = FieldNames { parts: &["pass"], whole: &["pwd", "pw", "pin", "kennwort"] };
const USERS: FieldNames = FieldNames { parts: &["user", "login", "mail"], whole: &["log", "uid", "name"] };
const KEYS: FieldNames = FieldNames {
    parts: &[],
    whole: &["access_token", "api_key", "apikey", "api-key", "auth_token", "client_secret"],
};

/// `a=b&c=d`
fn fields(text: &[u8]) -> Vec<FormField> {
    let fields = text.split(|&byte| byte == b'&').filter_map(|field| {
        let equals = field.iter().position(|&byte| byte == b'=')?;
        Some((decoded(&field[..equals]), decoded(&field[equals + 1..])))
    });
    fields.collect()
}

/// `%41+` is `A `; a percent sign without two digits stands for itself.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escape = (byte == b'%').then(|| hex(after)).flatten();
        rest = if escape.is_some() { &after[2..] } else { after };
        decoded.push(escape.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    decoded
}

fn hex(text: &[u8]) -> Option<u8> {
    let digits = text.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::super::super::{overheard, overheard_all};
    use super::{FieldNames, KEYS, PASSWORDS, USERS};

    fn post(kind: &str, body: &str) -> String {
        let length = body.len();
        format!("<POST /in HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

    fn all(said: &[&str]) -> String {
        let alone = overheard(said);
        assert_eq!(alone, "", "without --password=all");
        overheard_all(said)
    }

    #[test]
    fn forms() {
        let login = post(FORM, "csrf=1&user%5Bemail%5D=bob%40x.org&user[password]=s3%2bc+r%zz&go=");
        assert_eq!(all(&[&login, ">HTTP/1.1 302 x\r\n"]), "HTTP form: bob@x.org:s3+c r%zz\n");
        assert_eq!(all(&[&login, ">HTTP/1.1 200 OK\r\n"]), "HTTP form: bob@x.org:s3+c r%zz\n");
        assert_eq!(all(&[&login, ">HTTP/1.1 403 x\r\n"]), "HTTP form: bob@x.org:s3+c r%zz (refused) 403\n");
        assert_eq!(all(&[&post(FORM, "log=bob&pwd=x")]), "HTTP form: bob:x\n");
        assert_eq!(all(&[&post(FORM, "PASSWD=x")]), "HTTP form: :x\n");
        assert_eq!(all(&[&post(FORM, "user=bob&pass=&q=pass")]), "");
        assert_eq!(all(&[&post("text/plain", "user=bob&pass=x")]), "");
        assert_eq!(all(&["<GET /in?login=bob&password=x#password=y HTTP/1.1\r\n\r\n"]), "HTTP form: bob:x\n");
    }

    #[test]
    fn what_follows_a_form_is_read_as_ever() {
        let login = post(FORM, "user=bob&pass=x");
        let next = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nuserGET / HTTP/1.1\r\nAuthorization: Basic Ym9iOnB3\r\n\r\n";
        let said = [
            &format!("{login}{next}")[..],
            ">HTTP/1.1 204 x\r\n\r\nHTTP/1.1 204 x\r\n\r\nHTTP/1.1 401 x\r\n",
        ];
        assert_eq!(overheard_all(&said), "HTTP form: bob:x\nHTTP: bob:pw (refused) 401\n");
    }

    #[test]
    fn objects() {
        let json = |body: &str| all(&[&post("application/json", body)]);
        assert_eq!(json(r#"{"username":"bob","password":"p\u0077","remember":true}"#), "HTTP form: bob:pw\n");
        assert_eq!(json(r#"{"user":{"login":"bob","password":"pw"}}"#), "HTTP form: bob:pw\n");
        assert_eq!(json(r#"{"client_secret":"s"}"#), "HTTP form: (client_secret):s\n");
        assert_eq!(json(r#"{"password":1}"#), "");
        assert_eq!(json(r#"["password","x"]"#), "");
        assert_eq!(json("{\"password\":"), "");
    }

    /// In the order of the manual, and no others.
    #[test]
    fn names_of_fields_are_those_of_the_manual() {
        let manual = include_str!("../../../man/tcpreen.1");
        let (_, text) = manual.split_once("A field is a password if").expect("the sentence");
        let (text, _) = text.split_once("That a form is accepted").expect("its end");
        let quoted = text.lines().filter_map(|line| line.strip_prefix(".Ql "));
        let documented: Vec<&str> =
            quoted.flat_map(str::split_whitespace).filter(|word| !matches!(*word, "," | ";" | ".")).collect();
        let known =
            [PASSWORDS, USERS, KEYS].map(|FieldNames { parts, whole }| [parts, whole].concat()).concat();
        assert_eq!(documented, known);
    }

    #[test]
    fn tokens() {
        let get = |header: &str| format!("<GET / HTTP/1.1\r\n{header}\r\n\r\n");
        let bearer = get("Authorization: Bearer a.b.c");
        assert_eq!(all(&[&bearer, ">HTTP/1.1 200 OK\r\n"]), "HTTP: (Bearer):a.b.c (accepted) 200\n");
        assert_eq!(all(&[&bearer, ">HTTP/1.1 401 x\r\n"]), "HTTP: (Bearer):a.b.c (refused) 401\n");
        assert_eq!(all(&[&get("x-api-key: k\x1b")]), "HTTP: (x-api-key):k\\033\n");
        assert_eq!(all(&["<GET /?access_token=t HTTP/1.1\r\n\r\n"]), "HTTP form: (access_token):t\n");
        let digest = get("Authorization: Digest username=\"bob\"");
        assert_eq!(overheard_all(&[&digest]), "HTTP: bob (Digest)\n");
    }

    #[test]
    fn a_form_that_is_longer_than_what_is_read_is_told() {
        let long = post(FORM, &format!("user=bob&pass=x&text={}", "x".repeat(5000)));
        assert_eq!(all(&[&long]), "HTTP form: (a body of 5021 bytes is not read)\n");
    }
}
