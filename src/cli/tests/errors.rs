//! Usage errors, help and version.

use super::*;

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
        ("--demo 80", "tcpreen: --demo excludes all other options."),
        ("-v --demo", "tcpreen: --demo excludes all other options."),
        ("80 81 82 --demo", "tcpreen: --demo excludes all other options."),
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

/// Valid words, pieces of them, and arbitrary text.
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

/// Checks the promise of `shown`: no character controls the terminal.
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
        let shown = crate::cli::shown(OsStr::new(&OsString::from_vec(text)));
        prop_assert!(!shown.is_empty() && is_harmless(&shown) && !shown.contains('\n'));
    }
}
