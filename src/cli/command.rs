//! The options, in the order of `--help`: their syntax, not their meaning.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, Command};

use super::values;
use crate::exit::Failure;

/// The program's name in messages, also used if the caller passes none.
pub(super) const NAME: &str = "tcpreen";

/// One option.
struct Opt {
    short: Option<char>,
    /// The long names; the first is also the id.
    long: &'static [&'static str],
    takes: Takes,
    help: &'static str,
}

/// Arguments of an option.
enum Takes {
    Nothing,
    /// No value; the option excludes all others and the ports.
    Alone,
    /// No value, but position and number of occurrences matter.
    Position,
    /// A value; the last occurrence counts.
    Value(&'static str, fn() -> ValueParser),
    /// An optional value after an equals sign, and its default; the last occurrence counts.
    Optional(&'static str, &'static str, fn() -> ValueParser),
    /// A value; all occurrences count.
    Values(&'static str, fn() -> ValueParser),
    Help,
    Version,
}

use Takes::{Alone, Nothing, Position, Value, Values};

/// Options that 1.4.4 lacks: long only, with the abbreviations that 1.4.4 leaves free.
const NEW: [&str; 32] = [
    "tls-keys",
    "match",
    "metrics",
    "time",
    "replay",
    "pace",
    "mask",
    "wait",
    "diff",
    "password",
    "read",
    "session",
    "append",
    "record-first",
    "only",
    "connect-timeout",
    "idle-timeout",
    "drain-timeout",
    "keepalive",
    "max-per-client",
    "rotate-size",
    "rotate-time",
    "rotate-count",
    "inetd",
    "pidfile",
    "syslog",
    "demo",
    "sandbox",
    "require-sandbox",
    "print-policy",
    "color",
    "max-shown",
];

static GROUPS: [(&str, &[Opt]); 5] = [
    ("Endpoints", &WHERE),
    ("Outputs and display", &SHOWN),
    ("Limits", &HOW_MUCH),
    ("Saved records", &SAVED),
    ("Other", &OTHER),
];

static WHERE: [Opt; 5] = [
    opt(
        'a',
        &["accept", "bind"],
        Value("ADDR", || parser(values::host)),
        "listening address [default: any IPv4]",
    ),
    opt('s', &["server"], Value("HOST", || parser(values::host)), "the server's host [default: this one]"),
    opt(
        'p',
        &["protocol"],
        Value("PROTO", || parser(values::protocol)),
        "protocol of both sides, or SERVER/CLIENT",
    ),
    opt('c', &["connect"], Nothing, "connect to the client at -a ADDR, LOCALPORT"),
    opt('l', &["listen"], Nothing, "wait for the server to connect to SERVERPORT"),
];

static SHOWN: [Opt; 13] = [
    opt(
        'f',
        &["format"],
        Values("FORMAT", || parser(values::format)),
        "format of the outputs (-o) that follow",
    ),
    opt(
        'o',
        &["output"],
        Values("FILE", || parser(values::target)),
        "write the sessions to FILE; - is stdout",
    ),
    Opt {
        short: None,
        long: &["only"],
        takes: Values("SIDE", || parser(values::side)),
        help: "record only SIDE in the -o that follow",
    },
    Opt {
        short: None,
        long: &["match"],
        takes: Value("REGEX", || parser(values::matching)),
        help: "only sessions in which one side matches",
    },
    Opt {
        short: None,
        long: &["time"],
        takes: Value("FORM", || parser(values::time_form)),
        help: "times: clock, date, iso, unix, start or delta",
    },
    Opt { short: None, long: &["append"], takes: Nothing, help: "append to FILE instead of emptying it" },
    Opt {
        short: None,
        long: &["record-first"],
        takes: Takes::Optional("HOW", "write", || parser(values::record_first)),
        help: "record before forwarding; sync: on the disk",
    },
    Opt {
        short: None,
        long: &["password"],
        takes: Value("WHAT", || parser(values::finds)),
        help: "-f password: logins, or all secrets",
    },
    Opt {
        short: None,
        long: &["color"],
        takes: Value("WHEN", || parser(values::color)),
        help: "in colour: auto, always or never [default: auto]",
    },
    Opt {
        short: None,
        long: &["max-shown"],
        takes: Value("BYTES", || parser(values::max_shown)),
        help: "view: show BYTES of a piece (k, M, G), or all",
    },
    opt('n', &["numeric"], Nothing, "numbers instead of host and service names"),
    opt('q', &["quiet"], Position, "show nothing, only write the outputs"),
    opt('v', &["verbose"], Position, "show the data; twice: also details"),
];

static HOW_MUCH: [Opt; 11] = [
    opt(
        'b',
        &["bytes"],
        Value("BYTES", || parser(values::bytes)),
        "end a session after BYTES bytes (k, M, G)",
    ),
    opt(
        'F',
        &["fork"],
        Value("N", || parser(values::at_once)),
        "sessions at a time [default: 1, with -d 64]",
    ),
    Opt {
        short: None,
        long: &["max-per-client"],
        takes: Value("N", || parser(values::at_once)),
        help: "concurrent sessions of one client address",
    },
    opt('m', &["maxconn", "max"], Value("N", || parser(values::sessions)), "end after N sessions"),
    timeout(&["connect-timeout"], "give up connecting after TIME [default: 30s]"),
    timeout(&["idle-timeout"], "end a session after TIME without data"),
    timeout(&["drain-timeout"], "at the end, leave sessions TIME to finish"),
    Opt {
        short: None,
        long: &["keepalive"],
        takes: Value("TIME", || parser(values::keepalive)),
        help: "probe silent peers every TIME; 0: never",
    },
    Opt {
        short: None,
        long: &["rotate-size"],
        takes: Value("SIZE", || parser(values::part)),
        help: "go on in a new FILE at SIZE (k, M, G)",
    },
    timeout(&["rotate-time"], "go on in a new FILE every TIME"),
    Opt {
        short: None,
        long: &["rotate-count"],
        takes: Value("N", || parser(values::parts)),
        help: "keep N old parts: FILE.1 ... [default: all]",
    },
];

static SAVED: [Opt; 8] = [
    Opt {
        short: None,
        long: &["read"],
        takes: Values("FILE", || parser(values::input)),
        help: "read FILE... (json, pcapng) instead of bridging",
    },
    Opt {
        short: None,
        long: &["session"],
        takes: Value("N,...", || parser(values::session_numbers)),
        help: "only these sessions of the record",
    },
    Opt {
        short: None,
        long: &["tls-keys"],
        takes: Value("FILE", || parser(values::input)),
        help: "add TLS secrets to pcapng (SSLKEYLOGFILE)",
    },
    Opt {
        short: None,
        long: &["replay"],
        takes: Value("PEER", || parser(values::played_side)),
        help: "play client or server of a record",
    },
    Opt {
        short: None,
        long: &["pace"],
        takes: Value("PACE", || parser(values::pace)),
        help: "pace of a replay: turns, time or fast",
    },
    Opt {
        short: None,
        long: &["mask"],
        takes: Values("REGEX", || parser(values::mask)),
        help: "ignore differences that match REGEX",
    },
    timeout(&["wait"], "wait TIME for recorded data [default: 3s]"),
    Opt { short: None, long: &["diff"], takes: Nothing, help: "compare the sessions of two records" },
];

static OTHER: [Opt; 12] = [
    opt('d', &["daemon"], Nothing, "run in the background, quiet, with syslog"),
    Opt {
        short: None,
        long: &["inetd"],
        takes: Nothing,
        help: "started by inetd: descriptor 0 is the client",
    },
    Opt {
        short: None,
        long: &["pidfile"],
        takes: Value("FILE", || parser(values::path)),
        help: "write the process id to FILE while running",
    },
    Opt {
        short: None,
        long: &["metrics"],
        takes: Value("FILE", || parser(values::path)),
        help: "write metrics to FILE (OpenMetrics)",
    },
    Opt { short: None, long: &["syslog"], takes: Nothing, help: "send notices to syslog instead of stderr" },
    opt('u', &["user"], Value("USER", || parser(values::user)), "become this user after binding (root only)"),
    Opt {
        short: None,
        long: &["sandbox"],
        takes: Value("MODE", || parser(values::sandbox)),
        help: "action on a forbidden system call: kill or log",
    },
    Opt {
        short: None,
        long: &["require-sandbox"],
        takes: Value("LEVEL", || parser(values::require_sandbox)),
        help: "full: exit unless the sandbox is complete",
    },
    Opt { short: None, long: &["print-policy"], takes: Nothing, help: "print the sandbox policy and exit" },
    Opt { short: None, long: &["demo"], takes: Alone, help: "run a session between built-in peers" },
    opt('h', &["help"], Takes::Help, "print this help and exit"),
    opt('V', &["version"], Takes::Version, "print version and licence and exit"),
];

const fn opt(short: char, long: &'static [&'static str], takes: Takes, help: &'static str) -> Opt {
    Opt { short: Some(short), long, takes, help }
}

/// Option with a duration: `500ms`, `5s`, `2m`, `1h`, or seconds.
const fn timeout(long: &'static [&'static str], help: &'static str) -> Opt {
    Opt { short: None, long, takes: Value("TIME", || parser(values::duration)), help }
}

fn parser<T: Clone + Send + Sync + 'static>(read: fn(OsString) -> Result<T, Failure>) -> ValueParser {
    ValueParser::new(OsStringValueParser::new().try_map(read))
}

/// The command line as a clap command. `parse` uses it, and so do the test that compares the options with the manual
/// and the shell completions, which must agree with it. The abbreviations are hidden aliases; every visible name is
/// documented.
pub(crate) fn command() -> Command {
    let abbreviations = abbreviations();
    let mut command = Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .override_usage(
            "tcpreen [OPTION]... SERVERPORT [LOCALPORT]\n       tcpreen --read FILE... [-f FORMAT] [-o FILE]...\n       tcpreen --replay=client FILE HOST PORT | --replay=server FILE PORT\n       tcpreen --diff FILE FILE",
        )
        .after_help(format!(
            "TIME: 500ms, 5s, 2m, 1h, or seconds\nProtocols: {}\nFormats: {}",
            values::protocol_names().join(" "),
            values::format_names().join(" ")
        ))
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .term_width(0)
        .arg(positional("SERVERPORT").required_unless_present("read").help("the server's port, HOST:PORT or unix:PATH"))
        .arg(positional("LOCALPORT").help("the clients' port or ADDR:PORT [default: any free]"))
        // Rejected by the program's own check, after all errors in options.
        .arg(positional("extra").num_args(1..).action(ArgAction::Append).hide(true));
    for (heading, options) in &GROUPS {
        for option in *options {
            let shortened = abbreviations.iter().filter(|(_, owner)| **owner == Some(option.long[0]));
            command =
                command.arg(arg(option).help_heading(*heading).aliases(shortened.map(|(name, _)| *name)));
        }
    }
    command
}

fn positional(name: &'static str) -> Arg {
    Arg::new(name).value_name(name).value_parser(OsStringValueParser::new())
}

fn arg(option: &Opt) -> Arg {
    let arg = Arg::new(option.long[0]).long(option.long[0]).help(option.help);
    let arg = arg.visible_aliases(option.long[1..].iter().copied()).short(option.short);
    // As in getopt, the argument after an option with a value is its value, even if it looks like an option.
    let value = |arg: Arg, name, parser: fn() -> ValueParser| {
        arg.value_name(name).value_parser(parser()).allow_hyphen_values(true)
    };
    match option.takes {
        Nothing => arg.action(ArgAction::SetTrue),
        Alone => arg.action(ArgAction::SetTrue).exclusive(true),
        Position => arg.action(ArgAction::Append).num_args(0).default_missing_value(""),
        Value(name, parser) => value(arg, name, parser).action(ArgAction::Set),
        Takes::Optional(name, missing, parser) => value(arg, name, parser)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value(missing)
            .action(ArgAction::Set),
        Values(name, parser) => value(arg, name, parser).action(ArgAction::Append),
        Takes::Help => arg.action(ArgAction::HelpShort),
        Takes::Version => arg.action(ArgAction::Version),
    }
}

/// Every long name, including aliases, without abbreviations.
pub(super) fn long_names() -> impl Iterator<Item = &'static str> {
    options().flat_map(|option| option.long.iter().copied())
}

fn options() -> impl Iterator<Item = &'static Opt> {
    GROUPS.iter().flat_map(|(_, options)| options.iter())
}

/// Every abbreviation with the option it stands for, or `None` where it is ambiguous.
///
/// clap can infer long options, too, but then a new option could take an abbreviation from an old one: `--con` and
/// `--d` must keep their meaning of 1.4.4. So the options of 1.4.4 get their abbreviations first, and the new ones
/// get the remaining ones.
fn abbreviations() -> BTreeMap<&'static str, Option<&'static str>> {
    let mut all = BTreeMap::new();
    for is_new in [false, true] {
        let mut these: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        for option in options().filter(|option| NEW.contains(&option.long[0]) == is_new) {
            let id = option.long[0];
            for name in option.long {
                for end in 1..name.len() {
                    let owner = these.entry(&name[..end]).or_insert(Some(id));
                    *owner = owner.filter(|owner| *owner == id);
                }
            }
        }
        for (name, owner) in these {
            all.entry(name).or_insert(owner);
        }
    }
    // A full name selects its own option, even if it begins another name: `--max`.
    for name in long_names() {
        all.remove(name);
    }
    all
}

/// Output of `--version`, with the details that a bug report needs.
pub(super) fn version() -> String {
    let env = if cfg!(target_env = "musl") {
        "-musl"
    } else if cfg!(target_env = "gnu") {
        "-gnu"
    } else {
        ""
    };
    format!(
        "{NAME} {}\n{}.\nThe successor of the tcpreen that Remi Denis-Courmont wrote, up to 1.4.4.\n\
         Licence: {}. There is no warranty.\nBuilt for {}-{}{env}, {}.\n",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_DESCRIPTION"),
        env!("CARGO_PKG_LICENSE"),
        std::env::consts::ARCH,
        std::env::consts::OS,
        if cfg!(debug_assertions) { "for debugging" } else { "optimised" },
    )
}
