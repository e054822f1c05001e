//! Spelling and order of options.

use super::*;

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
