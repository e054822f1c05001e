//! Values of options, ports and hosts.

use super::*;
use crate::cli::values;

#[test]
fn outputs_and_their_formats() {
    use Format::{C, Count, Hex, Null, Raw, Strip};
    for (line, outputs) in [
        ("", vec![stdout(Null)]),
        ("-v", vec![stdout(C)]),
        ("-q", vec![]),
        ("-q -v", vec![stdout(Null)]),
        ("-f hex", vec![stdout(Hex)]),
        ("-f hex -f raw", vec![stdout(Raw)]),
        ("-v -f null", vec![stdout(Null)]),
        ("-q -f hex", vec![]),
        ("-o a", vec![stdout(C), file("a", C)]),
        ("-q -o a", vec![file("a", C)]),
        ("-o a -f hex", vec![stdout(Hex), file("a", C)]),
        ("-f hex -f raw -o a -o b", vec![stdout(Raw), file("a", Raw), file("b", Raw)]),
        ("-f hex -o a -f C -o b", vec![stdout(C), file("a", Hex), file("b", C)]),
        ("-fhex -oa -fcount", vec![stdout(Count), file("a", Hex)]),
        ("-o -", vec![stdout(C)]),
        ("-v -o - -f raw", vec![stdout(C)]),
        ("-q -f raw -o -", vec![stdout(Raw)]),
        ("-o a -f strip -o -", vec![file("a", C), stdout(Strip)]),
        ("-o ./-", vec![stdout(C), file("./-", C)]),
        ("-d", vec![]),
        ("-d -f hex", vec![]),
        ("-d -o a -o ./b -o /c", vec![file("/a", C), file("/./b", C), file("/c", C)]),
    ] {
        assert_eq!(config(&format!("{line} 80")).outputs, outputs, "{line}");
    }
}

#[test]
fn every_name_of_a_format_and_of_a_protocol() {
    for format in Format::ALL {
        for name in format.names() {
            assert_eq!(config(&format!("-f {name} 80")).outputs, [stdout(format)], "{name}");
        }
    }
    for (name, family) in values::PROTOCOLS {
        let config = config(&format!("-p {name} 80 81"));
        assert_eq!((config.server.family, config.client.family), (family, family), "{name}");
    }
    assert_eq!(values::protocol_names(), ["tcp", "tcp6", "unix", "unix-seqpacket"]);
}

#[test]
fn limits() {
    for (line, value) in [
        ("0", 0),
        ("010", 10),
        ("1k", 1024),
        ("1K", 1024),
        ("3M", 3 << 20),
        ("2G", 2 << 30),
        ("0k", 0),
        ("100000000000", 100_000_000_000),
        ("18446744073709551615", u64::MAX),
    ] {
        assert_eq!(config(&format!("-b {line} 80")).bytes, Some(value), "{line}");
    }
    assert_eq!(error("-m 0 80"), "0: invalid number (or capacity exceeded).");
    assert_eq!(config("-m 2147483648 80").sessions, Some(1 << 31));
    assert_eq!(config("-c 80 81").sessions, Some(1));
    assert_eq!(config("-c -m 3 80 81").sessions, Some(3));
    assert_eq!(config("-F 4194304 80").at_once, 4_194_304);
    assert_eq!(config("-d 80").at_once, 64);
    assert_eq!(config("-d -F 2 80").at_once, 2);
    assert_eq!(config("-F 2 -d 80").at_once, 2);
}

#[test]
fn durations() {
    for (text, millis) in [
        ("500ms", 500),
        ("5", 5_000),
        ("5s", 5_000),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("596h", 2_145_600_000),
        ("2147483647ms", 2_147_483_647),
    ] {
        let config = config(&format!("--connect-timeout {text} --idle-timeout {text} 80"));
        assert_eq!(config.connect_timeout, Duration::from_millis(millis), "{text}");
        assert_eq!(config.idle_timeout, Some(Duration::from_millis(millis)), "{text}");
    }
    let rule = "invalid duration (like 500ms, 5s, 2m, 1h; up to 24 days).";
    for text in
        ["''", "0", "0ms", "s", "-1", "+1", "1.5s", "1d", "1S", "1 s", "597h", "99999999999999999999", "5é"]
    {
        for option in ["--connect-timeout", "--idle-timeout"] {
            let args = vec![option.into(), if text == "''" { "".into() } else { text.into() }, "80".into()];
            assert_eq!(error_of(args).text, format!("{text}: {rule}{TRY}"));
        }
    }
}

#[test]
fn ports_of_both_sides() {
    for (text, port) in [
        ("1", Port::Number(1)),
        ("65535", Port::Number(65535)),
        ("080", Port::Number(80)),
        ("http-alt", service("http-alt")),
        ("X11", service("X11")),
        ("whois++", service("whois++")),
    ] {
        let config = config(&format!("{text} {text}"));
        assert_eq!((&config.server.port, &config.client.port), (&port, &port), "{text}");
    }
    for text in [
        "65536",
        "80 ",
        "+80",
        "-80",
        "80.",
        "0x50:",
        "''",
        "99999999999999999999",
        "a b",
        "/tmp/x",
        "é",
        "\u{1b}[m",
        "a123456789012345678901234567890123456789",
    ] {
        let place = if text == "''" { OsString::new() } else { text.into() };
        for args in [vec!["--".into(), place.clone()], vec!["--".into(), "80".into(), place]] {
            assert!(error_of(args).text.contains(": invalid port ("), "{text:?}");
        }
    }
    assert_eq!(error("0"), "0: invalid port (1 to 65535, or the name of a service).");
    assert_eq!(error("-c 80 0"), "0: invalid port (1 to 65535, or the name of a service).");
    assert_eq!(config("-l 0").server.port, Port::Dynamic);
}

#[test]
fn approaches_and_hosts() {
    let line = config("-c -l -s here -a there 80 81");
    assert_eq!((line.server.approach, line.client.approach), (Approach::Listen, Approach::Connect));
    assert_eq!(line.server.host.as_deref(), Some("here"));
    assert_eq!(line.client.host.as_deref(), Some("there"));
    assert_eq!(config("-s * 80").server.host.as_deref(), Some("*"));
    assert_eq!(config("-l -s * 80").server.host, None);
    assert_eq!(config("-p tcp6/tcp 80").client.family, Family::Ipv4);
    assert_eq!(config("-p tcp6/tcp 80").server.family, Family::Ipv6);
}

#[test]
fn hosts_in_the_port_argument() {
    for (text, host, port) in [
        ("example.org:80", "example.org", Port::Number(80)),
        ("127.0.0.1:http", "127.0.0.1", service("http")),
        ("[::1]:80", "::1", Port::Number(80)),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", Port::Number(80)),
    ] {
        for (line, side) in [(text.to_owned(), 0), (format!("80 {text}"), 1), (format!("-c 80 {text}"), 1)] {
            let config = config(&line);
            let endpoint = [config.server, config.client][side].clone();
            assert_eq!((endpoint.host.as_deref(), endpoint.port), (Some(host), port.clone()), "{line}");
        }
    }
    assert_eq!(config("80 lo:0").client.port, Port::Dynamic);
    assert_eq!(config("80 *:81").client.host, None);
    for text in [":80", "::1", "::1:80", "[::1]", "[::1:80", "[x]:80", "[::1%]:80", "a:b:80", "a/b:80"] {
        let rule = "invalid address (HOST:PORT, [IPV6]:PORT or unix:PATH).";
        assert_eq!(error(text), format!("{text}: {rule}"));
    }
    assert_eq!(error("-s a b:80"), "b:80: the address is given twice.");
    assert_eq!(error("-a a 80 b:81"), "b:81: the address is given twice.");
    assert_eq!(error("a:"), "a:: invalid port (1 to 65535, or the name of a service).");
    assert_eq!(config("-a a b:80").server.host.as_deref(), Some("b"));
}

#[test]
fn unix_sockets() {
    for (line, server, client) in [
        ("-p unix 80 0", path("80"), path("0")),
        ("-p local/file a @b", path("a"), path("@b")),
        ("-p unix/tcp /run/x 80", path("/run/x"), Port::Number(80)),
        ("-p tcp/unix 80 unix:x", Port::Number(80), path("unix:x")),
        ("unix:/run/x @y", path("/run/x"), path("@y")),
        ("unix:@x unix:rel", path("@x"), path("rel")),
        ("-a ::1 unix:x", path("x"), Port::Dynamic),
    ] {
        let config = config(line);
        for endpoint in [&config.server, &config.client] {
            let is_path = matches!(endpoint.port, Port::Path(_));
            assert_eq!(is_path, endpoint.family == Family::Unix, "{line}");
        }
        assert_eq!((config.server.port, config.client.port), (server, client), "{line}");
    }
    let packets = config("-p unix-seqpacket /run/x @y");
    assert_eq!([packets.server.family, packets.client.family], [Family::UnixPackets; 2]);
    assert_eq!((packets.server.port, packets.client.port), (path("/run/x"), path("@y")));
    for line in ["-p unix-seqpacket/unix a b", "-p tcp/unix-seqpacket 80 b"] {
        assert!(error(line).contains("has to be the protocol of both sides."), "{line}");
    }
    let long = "x".repeat(107);
    assert_eq!(config(&format!("unix:{long} @{long}")).client.port, path(&format!("@{long}")));
    for text in ["unix:", "unix:@", "@", &format!("unix:x{long}"), &format!("@x{long}")] {
        assert_eq!(error(text), format!("{text}: invalid path of a Unix socket (1 to 107 bytes)."));
    }
    assert_eq!(error("-s h -p unix x y"), "h port x: A Unix socket has no address.");
    assert_eq!(error("-a h 80 unix:y"), "h port unix:y: A Unix socket has no address.");
    assert_eq!(error("-p tcp unix:x"), "unix:x: -p says another protocol.");
    assert_eq!(error("-p tcp/unix 80"), "tcpreen: no path specified for the Unix socket.");
    assert_eq!(error("-p unix '' x"), "'': invalid path of a Unix socket (1 to 107 bytes).");
}

#[test]
fn users() {
    assert_eq!(config("-u bob 80").user.as_deref(), Some("bob"));
    assert_eq!(config("-u 1001 80").user.as_deref(), Some("1001"));
    assert_eq!(config("-u bob:1001 80").user.as_deref(), Some("bob:1001"));
    for name in ["root", "0", "000", "root:adm", "0:0", "bob:0", "1000:root"] {
        assert_eq!(error(&format!("-u {name} 80")), format!("{name}: not an unprivileged user."));
    }
    assert_eq!(error("-u '' 80"), "'': invalid user.");
    for name in ["a:b:c", ":b", "a:", "a/b", ":"] {
        assert_eq!(error(&format!("-u {name} 80")), format!("{name}: invalid user."));
    }
    for user in ["bob", "root"] {
        let failure =
            parse(words(&format!("tcpreen -u {user} 80")), StartupContext::default()).expect_err("not root");
        let text = format!("{user}: only root can select an user.{TRY}");
        assert_eq!(failure, Failure::new(Status::NoPermission, text));
    }
    assert!(parse(words("tcpreen 80"), StartupContext::default()).is_ok());
}

#[test]
fn file_names_and_paths_may_be_any_bytes() {
    let outputs = config_of(vec!["-o".into(), bytes(b"a\xff\n"), "80".into()]).outputs;
    assert_eq!(outputs[1].target, Target::File(bytes(b"a\xff\n")));
    let outputs = config_of(vec![bytes(b"-o\xff"), bytes(b"--output=\xfe"), "80".into()]).outputs;
    assert_eq!(outputs[1].target, Target::File(bytes(b"\xff")));
    assert_eq!(outputs[2].target, Target::File(bytes(b"\xfe")));
    assert_eq!(config_of(vec![bytes(b"unix:\xff")]).server.port, Port::Path(bytes(b"\xff")));
}

#[test]
fn the_sandbox() {
    let sandbox = |line| config(line).sandbox;
    assert_eq!(sandbox("--sandbox=log 80"), Sandbox { violation: Violation::Log, full: false });
    assert_eq!(sandbox("--sandbox log --sandbox kill 80").violation, Violation::Kill);
    assert!(sandbox("--require-sandbox full 80").full);
    assert!(!sandbox("--require-sandbox=full --require-sandbox=basic 80").full);
}

#[test]
fn keepalive_takes_seconds_and_zero() {
    let keepalive = |text: &str| config(&format!("--keepalive {text} 80")).keepalive;
    assert_eq!(
        ["5", "5s", "1m", "500ms", "1500ms", "32767"].map(keepalive),
        [5, 5, 60, 1, 2, 32767].map(Keepalive::Every)
    );
    assert_eq!(["0", "0s", "0ms"].map(keepalive), [Keepalive::Off; 3]);
    for bad in ["", "-1", "32768", "10h", "1d", "x"] {
        let line = ["tcpreen", "--keepalive", bad, "80"].map(OsString::from);
        let failure = parse(line, StartupContext::default()).expect_err(bad);
        assert_eq!(failure.status, Status::Usage, "{bad}");
    }
}
