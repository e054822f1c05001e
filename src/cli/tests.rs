mod completions;
mod errors;
mod examples;
mod reading;
mod spelling;
mod values;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use privsep::seccomp::Violation;
use proptest::prelude::*;

use super::{Action, StartupContext, command, parse};
use crate::config::{
    Approach, Config, Endpoint, Family, Keepalive, OutputOption, Port, RecordInput, Target, Task, Verbosity,
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
fn the_standard_output_is_given_once() {
    for line in ["-o - -o - 80", "-o - -f hex -o /dev/stdout 80", "-o /dev/fd/1 -o - 80"] {
        assert_eq!(error(line), "-: the standard output is given for two outputs.", "{line}");
    }
    assert_eq!(config("-o - -o x 80").outputs.len(), 2);
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
    assert_eq!(remarks("80 8080", true), ["Only connections are shown: add -v to see the data."]);
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
    assert_eq!(error("--inetd -d 80"), "-d: cannot be used with --inetd: the client is already connected.");
}

#[test]
fn a_socket_that_was_handed_over_needs_no_path() {
    let circumstances = StartupContext { has_sockets: true, ..StartupContext::default() };
    let args = [OsString::from("tcpreen")].into_iter().chain(words("-p unix /run/server"));
    let Ok(Action::Run(config)) = parse(args, circumstances) else { panic!("a line that makes sense") };
    assert_eq!((config.client.family, &config.client.port), (Family::Any, &Port::Dynamic));
}

fn bytes(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
