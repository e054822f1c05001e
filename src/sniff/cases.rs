//! Dialogues that once gave a wrong line, or none, and their neighbours.

use super::{overheard, overheard_bytes};

const LOGIN: &str = "<USER bob\r\nPASS pw\r\n";

#[test]
fn blanks_belong_to_the_password() {
    let said = [">220 x\r\n", "<USER bob\r\nPASS  lead \r\n", ">331\r\n230\r\n"];
    assert_eq!(overheard(&said), "FTP: bob: lead  (accepted) 230\n");
    let said = [">+OK x\r\n", "<USER bob\r\nPASS  a\r\n", ">+OK\r\n+OK\r\n"];
    assert_eq!(overheard(&said), "POP3: bob: a (accepted) +OK\n");
}

#[test]
fn every_password_of_a_user_is_shown() {
    let said = [">220 x\r\n", &format!("<USER bob\r\n{}", "PASS x\r\n".repeat(12))];
    let shown = overheard(&said);
    assert_eq!(shown.lines().filter(|line| line.starts_with("FTP: bob:x")).count(), 12, "{shown}");
}

#[test]
fn codes_of_ftp() {
    for (code, verdict) in [
        ("230", " (accepted) 230"),
        ("202", " (accepted) 202"),
        ("430", " (refused) 430"),
        ("530", " (refused) 530"),
        ("332", ""),
        ("421", ""),
    ] {
        let answer = format!(">331\r\n{code} x\r\n");
        assert_eq!(overheard(&[">220 x\r\n", LOGIN, &answer]), format!("FTP: bob:pw{verdict}\n"));
    }
}

#[test]
fn an_answer_without_a_code_decides_nothing() {
    let said = [">220 x\r\n", LOGIN, ">331\r\nwelcome\r\n", "<PWD\r\n", ">230 x\r\n"];
    assert_eq!(overheard(&said), "FTP: bob:pw\n");
}

#[test]
fn accounts() {
    let said = [">220 x\r\n", LOGIN, ">331\r\n332 x\r\n", "<ACCT c0st\r\n", ">230 x\r\n"];
    assert_eq!(overheard(&said), "FTP: bob:pw\nFTP: bob (ACCT c0st) (accepted) 230\n");
}

#[test]
fn commands_are_no_base64() {
    let said = [
        ">220 x\r\n",
        "<EHLO x\r\n",
        ">250 x\r\n",
        "<AUTH LOGIN\r\n",
        ">334 VXNlcm5hbWU6\r\n",
        "<QUIT\r\n",
        ">334 UGFzc3dvcmQ6\r\n",
        "<QUIT\r\n",
        ">221 x\r\n",
    ];
    assert_eq!(overheard(&said), "");
}

#[test]
fn only_235_is_a_success_of_smtp() {
    for (code, verdict) in [("235", " (accepted) 235"), ("250", ""), ("454", ""), ("535", " (refused) 535")] {
        let answer = format!(">{code} x\r\n");
        let said = [">220 x\r\n", "<EHLO x\r\n", ">250 x\r\n", "<AUTH PLAIN AGIAYw==\r\n", &answer];
        assert_eq!(overheard(&said), format!("SMTP: b:c{verdict}\n"));
    }
}

#[test]
fn headers_may_have_blanks_and_be_folded() {
    for header in [
        "Authorization : Basic Ym9iOnB3",
        "Authorization:\r\n Basic\r\n\tYm9iOnB3",
        "AUTHORIZATION:Basic Ym9iOnB3",
    ] {
        let request = format!("<GET / HTTP/1.1\r\n{header}\r\n\r\n");
        assert_eq!(
            overheard(&[&request, ">HTTP/1.1 200 OK\r\n"]),
            "HTTP: bob:pw (accepted) 200\n",
            "{header}"
        );
    }
}

#[test]
fn encodings_in_capitals_hide_bodies_too() {
    let body = "Authorization: Basic YTpi\r\n";
    let post = format!(
        "<POST / HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let get = "<GET / HTTP/1.1\r\nAuthorization: Basic Ym9iOnB3\r\n\r\n";
    let answers =
        ">HTTP/1.1 200 OK\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\nHTTP/1.1 401 No\r\n";
    assert_eq!(overheard(&[&post, get, answers]), "HTTP: bob:pw (refused) 401\n");
}

#[test]
fn names_in_digests_may_be_quoted_in_any_way() {
    for (username, shown) in
        [("username=\"bo,b\"", "bo,b"), ("username = \"bob\"", "bob"), ("username=bob", "bob")]
    {
        let request = format!("<GET / HTTP/1.1\r\nAuthorization: Digest realm=\"a, b\", {username}\r\n\r\n");
        assert_eq!(overheard(&[&request]), format!("HTTP: {shown} (Digest, realm a, b)\n"));
    }
}

#[test]
fn requests_may_be_long() {
    let long = format!("<GET /{} HTTP/1.1\r\nAuthorization: Basic Ym9iOnB3\r\n\r\n", "x".repeat(9000));
    let answer = ">HTTP/1.1 204 x\r\n\r\n";
    let both = "HTTP: bob:pw (accepted) 204\n".repeat(2);
    assert_eq!(overheard(&[&long, answer, &long, answer]), both);
    let header = format!("<GET / HTTP/1.1\r\nAuthorization: Basic {}\r\n\r\n", "QUFB".repeat(2000));
    let shown = overheard(&[&header]);
    assert!(shown.starts_with("HTTP: (a header of ") && shown.ends_with(" bytes is not read)\n"), "{shown}");
}

#[test]
fn rtsp_and_sip_are_not_http() {
    let said = [
        "<DESCRIBE rtsp://x/ RTSP/1.0\r\nCSeq: 2\r\nAuthorization: Basic Ym9iOnB3\r\n\r\n",
        ">RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\n\r\n",
        "<DESCRIBE rtsp://x/ RTSP/1.0\r\nCSeq: 3\r\nAuthorization: Basic Ym9iOnB3\r\n\r\n",
        ">RTSP/1.0 200 OK\r\nCSeq: 3\r\n\r\n",
    ];
    assert_eq!(overheard(&said), "RTSP: bob:pw (refused) 401\nRTSP: bob:pw (accepted) 200\n");
    let register = |number| {
        format!(
            "<REGISTER sip:x SIP/2.0\r\nAuthorization: Digest username=\"bob\", realm=\"x\"\r\nCSeq: {number} REGISTER\r\n\r\n"
        )
    };
    let said = [
        &register(1),
        &register(2),
        ">SIP/2.0 100 Trying\r\nCSeq: 2 REGISTER\r\n\r\nSIP/2.0 200 OK\r\nCSeq: 2 REGISTER\r\nl: 3\r\n\r\nabc",
        ">SIP/2.0 401 No\r\nCSeq: 1 REGISTER\r\n\r\n",
    ];
    let shown = "SIP: bob (Digest, realm x) (accepted) 200\nSIP: bob (Digest, realm x) (refused) 401\n";
    assert_eq!(overheard(&said), shown);
    let headers = "<FOO / ICY/1.0\r\nAuthorization: Basic Ym9iOnB3\r\n\r\n";
    assert_eq!(overheard(&[headers, ">ICY 200 OK\r\n"]), "");
}

#[test]
fn binary_protocols_are_no_logins() {
    let login: &[u8] = b"\nUSER a\nPASS b\n";
    let openings: [&[u8]; 8] = [
        b"\x13BitTorrent protocol\0\0\0\n",
        b"\0\0\0\x85\xffSMB\x72\0\0\0\n",
        b"\0\0\0\xa4\xfeSMB\x40\0\0\n",
        b"\x4a\0\0\0\x0a5.5.5-10\0\n",
        b"\x85\0\0\x01\x85\xa6\x3f\n",
        b"\x1f\x8b\x08\0\n",
        b"\x03\0\0\x13\x0e\xe0\n",
        b"\x05\x0b\x03\x10\n",
    ];
    for opening in openings {
        let said = [opening, login].concat();
        assert_eq!(overheard_bytes(&[(b'<', &said)]), "", "{opening:?} of a client");
        assert_eq!(overheard_bytes(&[(b'>', &said), (b'<', login)]), "", "{opening:?} of a server");
    }
}

#[test]
fn chats_are_no_logins() {
    assert_eq!(overheard(&["<USER asked: what is it\n", ">dunno\n", "<PASS the salt please\n"]), "");
    assert_eq!(overheard(&["<USER asked: what is it\nPASS the salt please\n"]), "");
    assert_eq!(overheard(&["<hello\nUSER bob\nPASS pw\n", ">hi\n"]), "");
    assert_eq!(overheard(&["<I login now please\n", ">good for you\n"]), "");
    // A protocol that is not known, and yet a login.
    assert_eq!(overheard(&["<USER bob\n", ">OK\n", "<PASS pw\n", ">OK\n"]), "UNKNOWN: bob:pw\n");
}

/// Machine code, tables and texts of the C library, entered at many places: none of it is a login.
#[test]
fn pieces_of_programs_are_no_logins() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(5))
        .find(|path| path.contains("libc"));
    let Some(bytes) = library.and_then(|path| std::fs::read(path).ok()) else { return };
    for start in (0..bytes.len()).step_by(1021) {
        let piece = &bytes[start..bytes.len().min(start + 4 * 1021)];
        let answer = &bytes[bytes.len() - start - 1..];
        let answer = &answer[..answer.len().min(2 * 1021)];
        assert_eq!(overheard_bytes(&[(b'<', piece), (b'>', answer), (b'<', piece)]), "", "at {start}");
        assert_eq!(overheard_bytes(&[(b'>', answer), (b'<', piece), (b'>', piece)]), "", "at {start}");
    }
}
