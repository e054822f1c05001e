mod completions;
mod examples;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use privsep::seccomp::Violation;
use proptest::prelude::*;

use super::{Action, StartupContext, command, parse};
use crate::config::{
    Approach, Config, Endpoint, Family, Keepalive, OutputOption, Port, Reading, RecordInput, Target, Task,
    Verbosity,
};
use crate::exit::{Failure, Status};
use crate::format::{Finds, Format};
use crate::messages::{Appearance, Beginning, Color, Pace, RotationPlan, Sandbox, Side, Taken, View};

const TRY: &str = "\nTry \"tcpreen --help\" for more information.";

/// Splits `line` as a shell does; `''` is an empty argument.
fn words(line: &str) -> Vec<OsString> {
    let word = |word: &str| if word == "''" { OsString::new() } else { word.into() };
    line.split_whitespace().map(word).collect()
}

fn by_root() -> StartupContext {
    StartupContext { may_select_user: true, ..StartupContext::default() }
}

fn parse_words(args: Vec<OsString>) -> Result<Action, Failure> {
    parse([OsString::from("tcpreen")].into_iter().chain(args), by_root())
}

fn config_of(args: Vec<OsString>) -> Config {
    match parse_words(args.clone()) {
        Ok(Action::Run(config)) => *config,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn config(line: &str) -> Config {
    config_of(words(line))
}

fn error_of(args: Vec<OsString>) -> Failure {
    parse_words(args.clone()).expect_err(&format!("{args:?}"))
}

/// The first line of a usage error; checks the last line, too.
fn error(line: &str) -> String {
    let failure = error_of(words(line));
    assert_eq!(failure.status, Status::Usage, "{line}");
    assert!(failure.text.ends_with(TRY), "{line}: {failure}");
    failure.text.lines().next().unwrap_or_default().to_owned()
}

fn stdout(format: Format) -> OutputOption {
    OutputOption { target: Target::Stdout, view: View { format, only: None, time: None } }
}

fn file(name: &str, format: Format) -> OutputOption {
    OutputOption { target: Target::File(name.into()), view: View { format, only: None, time: None } }
}

fn service(name: &str) -> Port {
    Port::Service(name.to_owned())
}

fn path(path: &str) -> Port {
    Port::Path(path.into())
}

#[test]
fn nothing_but_a_port() {
    let expected = Config {
        task: Task::Bridge,
        client: Endpoint { approach: Approach::Listen, family: Family::Any, host: None, port: Port::Dynamic },
        server: Endpoint {
            approach: Approach::Connect,
            family: Family::Any,
            host: None,
            port: Port::Number(80),
        },
        outputs: vec![stdout(Format::Null)],
        rotation: RotationPlan::default(),
        record_first: None,
        appearance: Appearance::default(),
        at_once: 1,
        per_client: None,
        sessions: None,
        bytes: None,
        numeric: false,
        verbosity: Verbosity::Normal,
        daemon: false,
        inetd: false,
        syslog: false,
        matching: None,
        metrics: None,
        pidfile: None,
        drain_timeout: None,
        user: None,
        sandbox: Sandbox { violation: Violation::Kill, full: false },
        print_policy: false,
        connect_timeout: Duration::from_secs(30),
        idle_timeout: None,
        keepalive: Keepalive::System,
        beginning: Beginning::Empty,
        remarks: Vec::new(),
    };
    assert_eq!(config("80"), expected);
    assert_eq!(config("80 0"), expected);
}

#[test]
fn outputs_look_as_the_line_and_the_surroundings_say() {
    let on_terminal = StartupContext { stdout_is_a_terminal: true, has_colors: true, ..by_root() };
    let parsed = |line: &str, circumstances| match parse(words(&format!("tcpreen {line}")), circumstances) {
        Ok(Action::Run(config)) => *config,
        other => panic!("{line}: {other:?}"),
    };
    for (line, color) in [
        ("80", Color::OnTerminals),
        ("--color=auto 80", Color::OnTerminals),
        ("--color always 80", Color::Always),
        ("--color=always --col never 80", Color::Never),
    ] {
        assert_eq!(parsed(line, on_terminal).appearance.color, color, "{line}");
    }
    assert_eq!(config("80").appearance.color, Color::Never);
    assert_eq!(config("--color=always 80").appearance.color, Color::Always);
    for (line, formats) in [
        ("-v 80", vec![Format::View]),
        ("80", vec![Format::Null]),
        ("-f C 80", vec![Format::C]),
        ("-o file 80", vec![Format::View, Format::C]),
        ("-o - 80", vec![Format::View]),
    ] {
        let found: Vec<Format> = parsed(line, on_terminal).outputs.iter().map(|it| it.view.format).collect();
        assert_eq!(found, formats, "{line}");
    }
    for (value, shown) in [("1", 1), ("2k", 2048), ("all", u64::MAX)] {
        assert_eq!(config(&format!("--max-shown={value} 80")).appearance.max_shown, Some(shown));
    }
    assert_eq!(error("--max-shown=0 80"), "0: invalid number (or capacity exceeded).");
    assert_eq!(error("--color=sometimes 80"), "sometimes: invalid colour (auto, always or never).");
}

#[test]
fn what_is_recorded_first() {
    assert_eq!(config("--record-first 80").record_first, Some(Taken::Written));
    assert_eq!(config("--record-first=write 80").record_first, Some(Taken::Written));
    assert_eq!(config("80 --record-first=sync --record-first=sync").record_first, Some(Taken::OnDisk));
    assert_eq!(config("--record-first=sync --record-first 80").record_first, Some(Taken::Written));
    assert_eq!(config("--rec 80 81").record_first, Some(Taken::Written), "no port is its value");
    for value in ["", "Sync", "disk", "sync,write"] {
        let refused = format!(
            "{}: invalid way to record first (write or sync).",
            if value.is_empty() { "''" } else { value }
        );
        assert_eq!(error(&format!("--record-first={value} 80")), refused);
    }
}

#[test]
fn all_secrets_are_found_if_they_are_asked_for() {
    let all = Format::Password(Finds::All);
    assert_eq!(config("-f pw --password=all 80").outputs, [stdout(all)]);
    assert_eq!(config("--password all -f pw -o x 80").outputs, [stdout(all), file("x", all)]);
    assert_eq!(
        config("-f pw --password=all --password=logins 80").outputs,
        [stdout(Format::Password(Finds::Logins))]
    );
    assert_eq!(config("-f pw --password=all 80").remarks, [""; 0]);
    assert_eq!(
        config("-f hex --password=all 80").remarks,
        ["--password affects nothing here: no output has the format password."]
    );
    assert_eq!(error("--password=everything 80"), "everything: invalid kind of secrets (logins or all).");
    assert_eq!(
        error("--only=server -f pw --password=all 80"),
        "--only=server: what password shows, the client has said."
    );
}

#[test]
fn a_person_who_sees_no_data_is_told_of_v_once() {
    let remarks = |line: &str, stdout_is_a_terminal: bool| {
        let circumstances = StartupContext { stdout_is_a_terminal, ..StartupContext::default() };
        let args = [OsString::from("tcpreen")].into_iter().chain(words(line));
        match parse(args, circumstances) {
            Ok(Action::Run(config)) => config.remarks,
            other => panic!("{line}: {other:?}"),
        }
    };
    assert_eq!(remarks("80 8080", true), ["Only who connects is shown: add -v to see the data."]);
    assert_eq!(remarks("80 8080", false), [""; 0], "no person reads it");
    for asked in ["-v 80", "-q 80", "-f null 80", "-f hex 80", "-o x 80", "-q -o x 80", "-d 80", "-o - 80"] {
        assert_eq!(remarks(asked, true), [""; 0], "{asked}");
    }
}

/// Parses as if started by inetd, with the client on all three streams.
fn by_inetd(line: &str) -> Result<Action, Failure> {
    let circumstances =
        StartupContext { stdout_is_a_peers: true, stderr_is_a_peers: true, ..StartupContext::default() };
    parse([OsString::from("tcpreen")].into_iter().chain(words(line)), circumstances)
}

#[test]
fn with_a_client_on_the_streams_nothing_is_shown() {
    let Ok(Action::Run(config)) = by_inetd("--inetd -v -v -o x 80") else {
        panic!("a line that makes sense")
    };
    assert_eq!(config.outputs, [file("x", Format::C)]);
    assert!(config.inetd && config.syslog);
}

#[test]
fn what_inetd_leaves_no_room_for() {
    for line in ["80", "--inetd -o - 80", "--inetd -c 80 81", "--inetd -d 80"] {
        let failure = by_inetd(line).expect_err(line);
        assert_eq!(failure.status, Status::Usage, "{line}");
    }
    assert_eq!(error("--inetd -d 80"), "-d: makes no sense with --inetd, where the client is there already.");
}

#[test]
fn a_socket_that_was_handed_over_needs_no_path() {
    let circumstances = StartupContext { has_sockets: true, ..StartupContext::default() };
    let args = [OsString::from("tcpreen")].into_iter().chain(words("-p unix /run/server"));
    let Ok(Action::Run(config)) = parse(args, circumstances) else { panic!("a line that makes sense") };
    assert_eq!((config.client.family, &config.client.port), (Family::Any, &Port::Dynamic));
}

/// Each pair means the same.
#[test]
fn spellings() {
    for (one, other) in [
        ("-a lo 80", "--accept lo 80"),
        ("-a lo 80", "--bind=lo 80"),
        ("-a lo 80", "-alo 80"),
        ("-a ::1 80", "-a [::1] 80"),
        ("-a * 80", "80"),
        ("-b 5 80", "--bytes 5 80"),
        ("-c 80 81", "--connect 80 81"),
        ("-d 80", "--daemon 80"),
        ("-f hex 80", "--format=hex 80"),
        ("-F 5 80", "--fork 5 80"),
        ("-l 80", "--listen 80"),
        ("-m 5 80", "--maxconn 5 80"),
        ("-m 5 80", "--max=5 80"),
        ("-n 80", "--numeric 80"),
        ("-o x 80", "--output x 80"),
        ("-p tcp 80", "--protocol tcp 80"),
        ("-q 80", "--quiet 80"),
        ("-s h 80", "--server h 80"),
        ("-u bob 80", "--user bob 80"),
        ("-v 80", "--verbose 80"),
        ("-n -v -m 1 80", "-nvm1 80"),
        ("-n -m 1 80 81", "80 -n 81 -m 1"),
        ("-n 80 81", "-n -- 80 81"),
        ("-m 3 80", "-m 1 -m 2 -m 3 80"),
        ("-a b 80", "-a a -a b 80"),
        ("-p unix x y", "-p tcp -p unix x y"),
        ("-n -c -l -d 80 81", "-nncclldd 80 81"),
        ("--connect-timeout 2m 80", "--connect-timeout 1 --connect-timeout=120s 80"),
    ] {
        assert_eq!(config(one), config(other), "{one} | {other}");
    }
}

/// Meaning of abbreviations in 1.4.4's getopt_long, except `--i` and the like.
#[test]
fn abbreviations() {
    for (short, full) in [
        ("--a lo", "-a lo"),
        ("--bi lo", "-a lo"),
        ("--by 5", "-b 5"),
        ("--c", "-c"),
        ("--con", "-c"),
        ("--conn", "-c"),
        ("--d", "-d"),
        ("--form hex", "-f hex"),
        ("--fork 5", "-F 5"),
        ("--l", "-l"),
        ("--m 5", "-m 5"),
        ("--ma=5", "-m 5"),
        ("--maxc 5", "-m 5"),
        ("--n", "-n"),
        ("--num", "-n"),
        ("--o x", "-o x"),
        ("--out x", "-o x"),
        ("--p tcp", "-p tcp"),
        ("--q", "-q"),
        ("--s h", "-s h"),
        ("--u bob", "-u bob"),
        ("--verb", "-v"),
        ("--id 5", "--idle-timeout 5"),
        ("--connect- 5", "--connect-timeout 5"),
    ] {
        assert_eq!(config(&format!("{short} 80 81")), config(&format!("{full} 80 81")), "{short}");
    }
    assert_eq!(parse_words(words("--de")), Ok(Action::Demo));
    assert!(matches!(parse_words(words("--h")), Ok(Action::Help(_))));
    assert!(matches!(parse_words(words("--vers")), Ok(Action::Version(_))));
}

#[test]
fn the_first_of_help_and_version_wins() {
    for (line, help) in [
        ("-h", true),
        ("--help", true),
        ("-V", false),
        ("--version", false),
        ("-h -V", true),
        ("-V -h", false),
        ("-qnVh", false),
        ("-h --bogus", true),
        ("-h -b 1x", true),
        ("--demo 80 -h", true),
        ("80 81 82 -h", true),
    ] {
        match parse_words(words(line)).unwrap_or_else(|failure| panic!("{line}: {failure}")) {
            Action::Help(text) => assert!(help && text.starts_with(env!("CARGO_PKG_DESCRIPTION")), "{line}"),
            Action::Version(text) => assert!(!help && text.starts_with("tcpreen "), "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    assert_eq!(error("-b 1x -h"), "1x: invalid number (or capacity exceeded).");
    assert_eq!(error("--bogus -h"), "tcpreen: unrecognized option '--bogus'");
}

#[test]
fn after_an_option_with_a_value_everything_is_its_value() {
    assert_eq!(config("-o -h 80").outputs[1], file("-h", Format::C));
    assert_eq!(config("-o -- 80").outputs[1], file("--", Format::C));
    assert_eq!(config("--output --help 80").outputs[1], file("--help", Format::C));
    assert_eq!(config("-o 80 81").server.port, Port::Number(81));
    assert_eq!(error("-m -1 80"), "-1: invalid number (or capacity exceeded).");
    for option in
        ["--rotate-size 0", "--rotate-size 1x", "--rotate-count 0 --rotate-size 1", "--rotate-count -1"]
    {
        assert!(
            error(&format!("{option} 80")).ends_with(": invalid number (or capacity exceeded)."),
            "{option}"
        );
    }
    assert_eq!(error("--rotate-count 5 80"), "tcpreen: --rotate-count needs --rotate-size or --rotate-time.");
    let rotation =
        RotationPlan { size: Some(2 << 20), every: Some(Duration::from_secs(3600)), keep: Some(7) };
    assert_eq!(config("--rotate-size 2M --rotate-time 1h --rotate-count 7 80").rotation, rotation);
}

#[test]
fn quiet_and_verbose_in_their_order() {
    use Verbosity::{Debug, Normal, Quiet, Verbose};
    for (line, verbosity) in [
        ("-q", Quiet),
        ("-v", Verbose),
        ("-vv", Debug),
        ("-vvvvv", Debug),
        ("-q -v", Normal),
        ("-v -q", Quiet),
        ("-q -v -v", Verbose),
        ("-qvvv", Debug),
        ("-vvqv", Normal),
        ("-qvqvv", Verbose),
        ("-d", Normal),
        ("-d -vv", Normal),
    ] {
        assert_eq!(config(&format!("{line} 80")).verbosity, verbosity, "{line}");
    }
}

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
        ("-f hex -o - -f raw -o -", vec![stdout(Hex), stdout(Raw)]),
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
    for (name, family) in super::values::PROTOCOLS {
        let config = config(&format!("-p {name} 80 81"));
        assert_eq!((config.server.family, config.client.family), (family, family), "{name}");
    }
    assert_eq!(super::values::protocol_names(), ["tcp", "tcp6", "unix", "unix-seqpacket"]);
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
fn usage_errors() {
    for (line, text) in [
        ("", "tcpreen: no server port specified."),
        ("-n", "tcpreen: no server port specified."),
        ("-c 80", "tcpreen: no client port specified with -c option."),
        ("80 81 82", "82: unexpected extra parameter."),
        ("example.org 80 8080", "8080: unexpected extra parameter."),
        ("-s x example.org 80 8080", "8080: unexpected extra parameter."),
        ("x:1 80 8080", "8080: unexpected extra parameter."),
        ("80 81 82 83 -n 84", "82: unexpected extra parameter."),
        ("-- 80 81 -n", "-n: unexpected extra parameter."),
        ("-f bogus 80", "bogus: Unrecognized log format."),
        ("-f HEX 80", "HEX: Unrecognized log format."),
        ("-f '' 80", "'': Unrecognized log format."),
        ("-p x 80", "x: unknown or unsupported protocol(s)."),
        ("-p TCP 80", "TCP: unknown or unsupported protocol(s)."),
        ("-p tcp/ 80", "tcp/: unknown or unsupported protocol(s)."),
        ("-p tcp/tcp/tcp 80", "tcp/tcp/tcp: unknown or unsupported protocol(s)."),
        ("-o '' 80", "'': no file name."),
        ("-o a -o - -o a 80", "a: given for two outputs."),
        ("-d -o a -o /a 80", "/a: given for two outputs."),
        ("-d -o - 80", "-: a daemon has no standard output."),
        ("-a '' 80", "'': invalid host name."),
        ("-s h:80 80", "h:80: invalid host name."),
        ("-s a/b 80", "a/b: invalid host name."),
        ("--demo 80", "tcpreen: --demo takes nothing else with it."),
        ("-v --demo", "tcpreen: --demo takes nothing else with it."),
        ("80 81 82 --demo", "tcpreen: --demo takes nothing else with it."),
        ("-x", "tcpreen: invalid option -- 'x'"),
        ("-nx", "tcpreen: invalid option -- 'x'"),
        ("-n- 80", "tcpreen: invalid option -- '-'"),
        ("-1", "tcpreen: invalid option -- '1'"),
        ("-e", "tcpreen: invalid option -- 'e'"),
        ("-é", "tcpreen: invalid option -- 'é'"),
        ("--bogus", "tcpreen: unrecognized option '--bogus'"),
        ("--bogus=1", "tcpreen: unrecognized option '--bogus=1'"),
        ("--Max=1", "tcpreen: unrecognized option '--Max=1'"),
        ("--=1", "tcpreen: unrecognized option '--=1'"),
        ("--b 1", "tcpreen: option '--b' is ambiguous; possibilities: '--bind' '--bytes'"),
        ("--fo=1", "tcpreen: option '--fo=1' is ambiguous; possibilities: '--format' '--fork'"),
        ("--ver", "tcpreen: option '--ver' is ambiguous; possibilities: '--verbose' '--version'"),
        ("--quiet=1 80", "tcpreen: option '--quiet' doesn't allow an argument"),
        ("--q=1 80", "tcpreen: option '--quiet' doesn't allow an argument"),
        ("80 -o", "tcpreen: option requires an argument -- 'o'"),
        ("80 -no", "tcpreen: option requires an argument -- 'o'"),
        ("80 --output", "tcpreen: option '--output' requires an argument"),
        ("80 --out", "tcpreen: option '--output' requires an argument"),
        ("80 --max", "tcpreen: option '--max' requires an argument"),
        ("80 --idle", "tcpreen: option '--idle-timeout' requires an argument"),
    ] {
        assert_eq!(error(line), text, "{line}");
    }
}

#[test]
fn a_host_where_the_port_belongs_gets_a_hint() {
    let hint = |line: &str| error_of(words(line)).text.contains("The server's host is example.org:80, or -s");
    assert!(hint("example.org 80 8080"));
    for line in ["80 81 82", "-s x example.org 80 8080", "x:1 80 8080", "example.org http 8080"] {
        assert!(!hint(line), "{line}");
    }
}

#[test]
fn numbers_that_are_none() {
    for number in
        ["''", "1x", "0x10", "+5", "-1", "1.5", "k", "1kk", "1 k", "-", "1é", "99999999999999999999"]
    {
        let text = if number == "''" { "" } else { number };
        for option in ["-b", "-F", "-m"] {
            let failure = error_of(vec![option.into(), text.into(), "80".into()]);
            let expected = format!("{number}: invalid number (or capacity exceeded).{TRY}");
            assert_eq!(failure.text, expected, "{option}");
        }
    }
    for line in ["-F 0 80", "-F 4194305 80", "-F 1k 80", "-m 1k 80", "-b 18446744073709551615k 80"] {
        assert!(error(line).ends_with("invalid number (or capacity exceeded)."), "{line}");
    }
}

#[test]
fn an_unknown_name_tells_the_known_ones() {
    assert_eq!(
        error_of(words("-f x 80")).text,
        format!(
            "x: Unrecognized log format.\nLog formats are: C hex count null raw password strip json pcapng view html{TRY}"
        )
    );
    assert_eq!(
        error_of(words("-p x 80")).text,
        format!("x: unknown or unsupported protocol(s).\nProtocols are: tcp tcp6 unix unix-seqpacket{TRY}")
    );
}

#[test]
fn the_program_is_called_by_its_name() {
    for (argv, name) in [
        (vec![], "tcpreen"),
        (vec![""], "tcpreen"),
        (vec!["/usr/bin/tcpreen"], "/usr/bin/tcpreen"),
        (vec!["a\u{1b}[2J\nb"], "a\\u{1b}[2J\\nb"),
    ] {
        let failure = parse(argv.into_iter().map(OsString::from), by_root()).expect_err("no port");
        assert_eq!(failure.text, format!("{name}: no server port specified.{TRY}"));
    }
}

fn bytes(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
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
fn errors_show_arguments_escaped() {
    let rest = "80";
    for (argument, shown) in [
        (&b"\xff"[..], "\\xff"),
        (b"a\xc3(", "a\\xc3("),
        (b"\x1b[31m\r\n\x07\x7f", "\\u{1b}[31m\\r\\n\\u{7}\\u{7f}"),
        ("é\u{202e}\u{85}\"'\\".as_bytes(), "é\\u{202e}\\u{85}\"'\\"),
        (&[b'x'; 201], &format!("{}...", "x".repeat(200))),
        ("é".repeat(9999).as_bytes(), &format!("{}...", "é".repeat(100))),
    ] {
        for option in ["-f", "-p", "-b", "-F", "-m", "--idle-timeout", "--"] {
            let text = error_of(vec![option.into(), bytes(argument), rest.into()]).text;
            assert!(text.starts_with(&format!("{shown}: ")), "{option}: {text}");
        }
    }
    for (argument, text) in [
        (&b"--a\xff\x1b"[..], "tcpreen: unrecognized option '--a\\xff\\u{1b}'"),
        (b"--a b=c d", "tcpreen: unrecognized option '--a b=c d'"),
        (b"--\x1b=\xff", "tcpreen: unrecognized option '--\\u{1b}=\\xff'"),
        (b"-\x1b", "tcpreen: invalid option -- '\\u{1b}'"),
        (b"-n\xff", "tcpreen: invalid option -- '\u{fffd}'"),
    ] {
        assert_eq!(error_of(vec![bytes(argument)]).text, format!("{text}{TRY}"));
    }
}

#[test]
fn a_very_long_line_is_only_long() {
    let many = |word: &str, count| std::iter::repeat_n(OsString::from(word), count);
    assert_eq!(config_of(many("-v", 100_000).chain(["80".into()]).collect()).verbosity, Verbosity::Debug);
    assert_eq!(
        config_of(many("-fhex", 100_000).chain(["80".into()]).collect()).outputs,
        [stdout(Format::Hex)]
    );
    assert_eq!(error_of(many("80", 100_000).collect()).text, format!("80: unexpected extra parameter.{TRY}"));
}

#[test]
fn help_fits_the_screen() {
    let Ok(Action::Help(help)) = parse_words(words("-h")) else { panic!() };
    assert!(help.lines().count() <= 73, "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 79), "{help}");
    assert!(
        help.ends_with(
            "Protocols: tcp tcp6 unix unix-seqpacket\nFormats: C hex count null raw password strip json pcapng view html\n"
        ),
        "{help}"
    );
    assert_eq!(parse_words(words("--help")), Ok(Action::Help(help)));
}

#[test]
fn version_tells_what_a_bug_report_needs() {
    let Ok(Action::Version(version)) = parse_words(words("-V")) else { panic!() };
    for part in [env!("CARGO_PKG_VERSION"), "MIT OR Apache-2.0", std::env::consts::ARCH] {
        assert!(version.contains(part), "{version}");
    }
}

#[test]
fn documented_names_are_visible_and_abbreviations_are_not() {
    let command = command();
    command.clone().debug_assert();
    let names: Vec<&str> =
        command.get_arguments().filter_map(|arg| arg.get_long_and_visible_aliases()).flatten().collect();
    let expected = "accept bind server protocol connect listen format output only match time append record-first password color max-shown numeric quiet verbose bytes \
                    fork max-per-client maxconn max connect-timeout idle-timeout drain-timeout keepalive rotate-size \
                    rotate-time \
                    rotate-count read session tls-keys replay pace mask wait diff daemon inetd pidfile metrics syslog user sandbox require-sandbox print-policy demo help \
                    version";
    assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    let letters: String = command.get_arguments().filter_map(|arg| arg.get_short()).collect();
    assert_eq!(letters, "aspclfonqvbFmduhV");
}

#[test]
fn the_sandbox() {
    let sandbox = |line| config(line).sandbox;
    assert_eq!(sandbox("--sandbox=log 80"), Sandbox { violation: Violation::Log, full: false });
    assert_eq!(sandbox("--sandbox log --sandbox kill 80").violation, Violation::Kill);
    assert!(sandbox("--require-sandbox full 80").full);
    assert!(!sandbox("--require-sandbox=full --require-sandbox=basic 80").full);
}

/// Words that mean something, pieces of them, and anything at all.
fn any_argument() -> impl Strategy<Value = OsString> {
    let known = prop::sample::select(
        "-a -b -c -d -f -F -l -m -n -o -p -q -s -u -v -- - --max --con --connect-timeout --fo -nvm1 -o- \
         --out=x hex raw unix tcp/unix 80 0 [::1]:80 @x unix:/x h:1 1k 5s '' -= --= -f=hex"
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    prop_oneof![
        4 => known.prop_map(|word| words(word).remove(0)),
        2 => prop::collection::vec(any::<u8>(), 0..12).prop_map(OsString::from_vec),
        1 => "--?[a-zA-Z=-]{0,12}".prop_map(OsString::from),
        1 => "-?[0-9a-zé:%@\\[\\]/]{0,9}".prop_map(OsString::from),
    ]
}

/// As `shown` promises: nothing that moves a cursor.
fn is_harmless(text: &str) -> bool {
    !text.contains(|char: char| char.is_control() && char != '\n')
}

proptest! {
    #[test]
    fn no_line_panics(args in prop::collection::vec(any_argument(), 0..9), may_select_user: bool) {
        match parse(args, StartupContext { may_select_user, ..StartupContext::default() }) {
            Ok(Action::Run(config)) => {
                prop_assert!(config.at_once > 0 && !config.connect_timeout.is_zero());
                for Endpoint { family, port, .. } in [config.server, config.client] {
                    prop_assert_eq!(family.is_unix(), matches!(port, Port::Path(_)));
                }
            }
            Ok(_) => {}
            Err(failure) => {
                prop_assert!(failure.text.ends_with(TRY), "{}", failure);
                prop_assert!(failure.text.lines().count() <= 3, "{}", failure);
                prop_assert!(is_harmless(&failure.text), "{:?}", failure);
            }
        }
    }

    #[test]
    fn whatever_is_shown_is_harmless(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let shown = super::shown(OsStr::new(&OsString::from_vec(text)));
        prop_assert!(!shown.is_empty() && is_harmless(&shown) && !shown.contains('\n'));
    }
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

fn reading(line: &str) -> Reading {
    match config(line).task {
        Task::Read(reading) => reading,
        _ => panic!("{line}: no record is read"),
    }
}

#[test]
fn every_file_of_a_record_is_read_in_its_order() {
    let files = |names: &[&str]| -> Vec<RecordInput> {
        let file =
            |name: &&str| if *name == "-" { RecordInput::Stdin } else { RecordInput::File(name.into()) };
        names.iter().map(file).collect()
    };
    for (line, names) in [
        ("--read a", &["a"][..]),
        ("--read=a b c d", &["a", "b", "c", "d"]),
        ("a --read b -f hex c -o d --read e", &["a", "b", "c", "e"]),
        ("--read - 80", &["-", "80"]),
        ("--read a -- -b", &["a", "-b"]),
    ] {
        assert_eq!(reading(line).inputs, files(names), "{line}");
    }
    assert_eq!(reading("--read a --session 3,1").sessions, [3, 1]);
    assert!(reading("--read a").sessions.is_empty());
}

#[test]
fn a_record_is_shown_unless_it_is_written_elsewhere() {
    assert_eq!(config("--read a").outputs, [stdout(Format::C)]);
    assert_eq!(config("--read a -f hex").outputs, [stdout(Format::Hex)]);
    assert_eq!(config("--read a -f hex -o b").outputs, [file("b", Format::Hex)]);
    assert_eq!(config("-q --read a").outputs, []);
}

#[test]
fn what_has_to_do_with_peers_makes_no_sense_with_a_record() {
    for option in ["-d", "-c", "-l", "-F 2", "-m 1", "--inetd", "--idle-timeout 1", "-s host"] {
        let error = error(&format!("--read a {option}"));
        assert!(error.ends_with("makes no sense with --read, which meets no peers."), "{option}: {error}");
    }
    assert_eq!(error("--tls-keys k 80"), "--tls-keys: only with --read.");
    assert_eq!(
        error("--read a --tls-keys k -f json -o b"),
        "--tls-keys: needs an output in pcapng (-f pcapng -o FILE)."
    );
    assert_eq!(error("--read - --tls-keys - -f pcapng -o b"), "-: standard input can be read once only.");
    assert_eq!(error("--diff a b --tls-keys k"), "--tls-keys: makes no sense with --diff.");
    let keys = reading("--read a --tls-keys k -f pcapng -o b").keys;
    assert_eq!(keys, Some(RecordInput::File("k".into())));
    assert_eq!(error("--session 1 80"), "--session: only with a record (--read, --replay, --diff).");
    assert_eq!(error("--read - -"), "-: standard input can be read once only.");
    assert_eq!(error("--read a --session 0"), "0: invalid session numbers.");
    assert_eq!(error("--read a --session 1,x"), "1,x: invalid session numbers.");
}

#[test]
fn a_replay_has_a_record_and_a_live_peer() {
    let Task::Replay(replay) = config("--replay=client a host 80 --mask x+ --session 3").task else {
        panic!()
    };
    assert_eq!(
        (replay.side, replay.input, replay.session),
        (Side::Client, RecordInput::File("a".into()), Some(3))
    );
    assert_eq!(
        (replay.pace, replay.wait, replay.masks),
        (Pace::Turns, Duration::from_secs(3), vec!["x+".into()])
    );
    let config_of_client = config("--replay=client a host 80");
    assert_eq!(config_of_client.server.host.as_deref(), Some("host"));
    assert_eq!((config_of_client.server.port, config_of_client.sessions), (Port::Number(80), Some(1)));
    let config_of_server = config("--replay server a 127.0.0.1:8080 --pace=time --wait 1");
    assert_eq!(config_of_server.client.host.as_deref(), Some("127.0.0.1"));
    assert_eq!(
        (config_of_server.client.approach, config_of_server.client.port),
        (Approach::Listen, Port::Number(8080))
    );
}

#[test]
fn what_is_no_replay_and_no_comparison_is_told() {
    assert_eq!(error("--replay=client a"), "--replay: needs client FILE HOST PORT, or server FILE PORT.");
    assert_eq!(
        error("--replay=server a b 80"),
        "--replay: needs client FILE HOST PORT, or server FILE PORT."
    );
    assert_eq!(error("--replay=both a 80"), "both: --replay plays client or server.");
    assert_eq!(
        error("--replay=server a 80 -d"),
        "--daemon: makes no sense with --replay, which has one session."
    );
    assert_eq!(error("--replay=server a 80 --pace=slow"), "slow: --pace is turns, time or fast.");
    assert_eq!(error("--replay=server a 80 --session 1,2"), "--session: one at a time is replayed.");
    assert_eq!(error("--diff a"), "--diff: needs two records.");
    assert_eq!(error("--diff a b -o c"), "--output: makes no sense with --diff, which writes no sessions.");
    assert_eq!(error("--diff --read a b"), "--read, --diff: one of them at a time.");
    assert_eq!(error("--mask x 80"), "--mask: only with --replay or --diff.");
}
