//! Values of single options, with 1.4.4's errors for invalid ones.

use std::ffi::{OsStr, OsString};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use privsep::seccomp::Violation;

use super::outputs::descriptor;
use super::usage::{shown, usage};
use crate::config::{Family, Keepalive, RecordInput, Target};
use crate::exit::Failure;
use crate::format::{Finds, Format, TimeForm};
use crate::messages::{Color, Pace, Side, Taken};
use crate::pattern::Pattern;

/// Maximum of `-F`: each session is a process, and Linux has no more (`PID_MAX_LIMIT`).
const MOST_AT_ONCE: u32 = 4 << 20;
/// Maximum time-out of poll(2), about 24 days.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);
/// Longest idle time of TCP's keep-alive in seconds (`MAX_TCP_KEEPIDLE` of the kernel).
const LONGEST_KEEPALIVE: u32 = 32767;
/// Maximum length of a domain name, or of an IPv6 address with the name of an interface.
const LONGEST_HOST: usize = 255;

/// Maximum length of a mask, which must fit into one message.
const LONGEST_MASK: usize = 4096;

/// Maximum number of session numbers in `--session`, which must fit into one message.
const MOST_SESSIONS: usize = 256;

/// Every protocol name with its family; `--help` lists the first name of each family. Case-sensitive, as in 1.4.4.
pub(super) const PROTOCOLS: [(&str, Family); 10] = [
    ("tcp", Family::Ipv4),
    ("tcpip", Family::Ipv4),
    ("tcp4", Family::Ipv4),
    ("tcpip4", Family::Ipv4),
    ("tcp6", Family::Ipv6),
    ("tcpip6", Family::Ipv6),
    ("unix", Family::Unix),
    ("local", Family::Unix),
    ("file", Family::Unix),
    ("unix-seqpacket", Family::UnixPackets),
];

/// Protocol names that `--help`, the errors and the completions list.
pub(super) fn protocol_names() -> Vec<&'static str> {
    let main = |(index, (name, family)): (usize, &(&'static str, Family))| {
        (index == 0 || PROTOCOLS[index - 1].1 != *family).then_some(*name)
    };
    PROTOCOLS.iter().enumerate().filter_map(main).collect()
}

/// Format names that `--help`, the errors and the completions list.
pub(super) fn format_names() -> Vec<&'static str> {
    Format::ALL.map(|format| format.names()[0]).to_vec()
}

/// `-f`
pub(super) fn format(text: OsString) -> Result<Format, Failure> {
    text.to_str().and_then(Format::by_name).ok_or_else(|| {
        usage(format!(
            "{}: Unrecognized log format.\nLog formats are: {}",
            shown(&text),
            format_names().join(" ")
        ))
    })
}

/// `--time`
pub(super) fn time_form(text: OsString) -> Result<TimeForm, Failure> {
    let form = TimeForm::ALL.into_iter().find(|form| text.to_str() == Some(form.name()));
    form.ok_or_else(|| {
        let forms = TimeForm::ALL.map(TimeForm::name).join(", ");
        usage(format!("{}: invalid form of times ({forms}).", shown(&text)))
    })
}

/// `--only`; `None` is both sides.
pub(super) fn side(text: OsString) -> Result<Option<Side>, Failure> {
    match text.to_str() {
        Some("client") => Ok(Some(Side::Client)),
        Some("server") => Ok(Some(Side::Server)),
        Some("both") => Ok(None),
        _ => Err(usage(format!("{}: invalid direction (client, server or both).", shown(&text)))),
    }
}

/// `-p`: the server's family, then the client's.
pub(super) fn protocol(text: OsString) -> Result<(Family, Family), Failure> {
    let by_name = |name: &str| PROTOCOLS.iter().find(|known| known.0 == name).map(|known| known.1);
    let families = text.to_str().and_then(|text| match text.split_once('/') {
        Some((server, client)) => by_name(server).zip(by_name(client)),
        None => by_name(text).map(|both| (both, both)),
    });
    let has_packets = |family| family == Family::UnixPackets;
    if let Some((server, client)) = families
        && has_packets(server) != has_packets(client)
    {
        let text = shown(&text);
        return Err(usage(format!("{text}: unix-seqpacket has to be the protocol of both sides.")));
    }
    families.ok_or_else(|| {
        usage(format!(
            "{}: unknown or unsupported protocol(s).\nProtocols are: {}",
            shown(&text),
            protocol_names().join(" ")
        ))
    })
}

/// `-o`: `-` is stdout; any other text is a file name.
pub(super) fn target(text: OsString) -> Result<Target, Failure> {
    match text.as_encoded_bytes() {
        b"-" => Ok(Target::Stdout),
        b"" => Err(usage("'': no file name.".to_owned())),
        _ => Ok(Target::File(text)),
    }
}

/// `--pidfile`
pub(super) fn path(text: OsString) -> Result<PathBuf, Failure> {
    if text.is_empty() { Err(usage("'': no file name.".to_owned())) } else { Ok(text.into()) }
}

/// `--read`
pub(super) fn input(text: OsString) -> Result<RecordInput, Failure> {
    match text.as_encoded_bytes() {
        b"" => Err(usage("'': no file to read.".to_owned())),
        b"-" => Ok(RecordInput::Stdin),
        [b'-', b'-', ..] => {
            let name = shown(&text);
            Err(usage(format!(
                "{name}: an option, where a record belongs (a file of that name is ./{name})."
            )))
        }
        _ => Ok(match descriptor(&text) {
            Some(0) => RecordInput::Stdin,
            Some(number) => RecordInput::Descriptor(number),
            None => RecordInput::File(text),
        }),
    }
}

/// `--replay`
pub(super) fn played_side(text: OsString) -> Result<Side, Failure> {
    match text.to_str() {
        Some("client") => Ok(Side::Client),
        Some("server") => Ok(Side::Server),
        _ => Err(usage(format!("{}: --replay plays client or server.", shown(&text)))),
    }
}

/// `--pace`
pub(super) fn pace(text: OsString) -> Result<Pace, Failure> {
    match text.to_str() {
        Some("turns") => Ok(Pace::Turns),
        Some("time") => Ok(Pace::Time),
        Some("fast") => Ok(Pace::Fast),
        _ => Err(usage(format!("{}: --pace is turns, time or fast.", shown(&text)))),
    }
}

/// `--match`
pub(super) fn matching(text: OsString) -> Result<String, Failure> {
    let Ok(text) = text.into_string() else {
        return Err(usage("--match: the expression is no UTF-8; bytes are written \\xFF.".to_owned()));
    };
    match Pattern::new(&text) {
        Ok(_) => Ok(text),
        Err(reason) => Err(usage(format!("--match {}: {reason}.", shown(text.as_ref())))),
    }
}

/// `--mask`; compiled in the converter.
pub(super) fn mask(text: OsString) -> Result<String, Failure> {
    match text.into_string() {
        Ok(mask) if (1..=LONGEST_MASK).contains(&mask.len()) => Ok(mask),
        Ok(mask) => Err(usage(format!("--mask: {} bytes are not between 1 and {LONGEST_MASK}.", mask.len()))),
        Err(text) => Err(usage(format!("{}: --mask is no UTF-8.", shown(&text)))),
    }
}

/// `--session`
pub(super) fn session_numbers(text: OsString) -> Result<Vec<u64>, Failure> {
    let numbers = text.to_str().and_then(|text| text.split(',').map(decimal).collect::<Option<Vec<u64>>>());
    match numbers.filter(|numbers| !numbers.contains(&0)) {
        None => Err(usage(format!("{}: invalid session numbers.", shown(&text)))),
        Some(numbers) if numbers.len() > MOST_SESSIONS => {
            let text = format!("--session: {} numbers are more than {MOST_SESSIONS}.", numbers.len());
            Err(usage(text))
        }
        Some(numbers) => Ok(numbers),
    }
}

/// `-b`
pub(super) fn bytes(text: OsString) -> Result<u64, Failure> {
    let size = |text: &str| {
        let unit: u64 = match text.bytes().last()? {
            b'k' | b'K' => 1 << 10,
            b'M' => 1 << 20,
            b'G' => 1 << 30,
            _ => return decimal(text),
        };
        decimal::<u64>(&text[..text.len() - 1])?.checked_mul(unit)
    };
    text.to_str().and_then(size).ok_or_else(|| bad_number(&text))
}

/// `--rotate-size`
pub(super) fn part(text: OsString) -> Result<u64, Failure> {
    match bytes(text.clone())? {
        0 => Err(bad_number(&text)),
        size => Ok(size),
    }
}

/// `--rotate-count`
pub(super) fn parts(text: OsString) -> Result<u32, Failure> {
    text.to_str().and_then(decimal).filter(|count| *count > 0).ok_or_else(|| bad_number(&text))
}

/// `--color`, before the environment is applied.
pub(super) fn color(text: OsString) -> Result<Color, Failure> {
    match text.to_str() {
        Some("auto") => Ok(Color::OnTerminals),
        Some("always") => Ok(Color::Always),
        Some("never") => Ok(Color::Never),
        _ => Err(usage(format!("{}: invalid colour (auto, always or never).", shown(&text)))),
    }
}

/// `--max-shown`. Rejects 0, which could mean nothing or everything.
pub(super) fn max_shown(text: OsString) -> Result<u64, Failure> {
    if text == "all" { Ok(u64::MAX) } else { part(text) }
}

/// `-F`
pub(super) fn at_once(text: OsString) -> Result<u32, Failure> {
    let count = text.to_str().and_then(decimal).filter(|count| (1..=MOST_AT_ONCE).contains(count));
    count.ok_or_else(|| bad_number(&text))
}

/// `-m`; at least one.
pub(super) fn sessions(text: OsString) -> Result<u64, Failure> {
    text.to_str().and_then(decimal).filter(|count| *count > 0).ok_or_else(|| bad_number(&text))
}

/// Parses a number with a unit of time.
fn span(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let millis: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    decimal::<u64>(count)?.checked_mul(millis).map(Duration::from_millis)
}

/// `--connect-timeout`, `--idle-timeout` and `--rotate-time`. Rejects 0, which is ambiguous between "at once"
/// and "never".
pub(super) fn duration(text: OsString) -> Result<Duration, Failure> {
    let duration = text.to_str().and_then(span);
    duration.filter(|duration| !duration.is_zero() && *duration <= LONGEST).ok_or_else(|| {
        usage(format!("{}: invalid duration (like 500ms, 5s, 2m, 1h; up to 24 days).", shown(&text)))
    })
}

/// `--keepalive`, in seconds, the kernel's unit; 0 disables the probes.
pub(super) fn keepalive(text: OsString) -> Result<Keepalive, Failure> {
    if text.to_str().and_then(span).is_some_and(|time| time.is_zero()) {
        return Ok(Keepalive::Off);
    }
    let seconds = duration(text.clone())?.as_millis().div_ceil(1000);
    let seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds <= LONGEST_KEEPALIVE);
    let refused = || usage(format!("{}: invalid duration (0, or 1s to {LONGEST_KEEPALIVE}s).", shown(&text)));
    seconds.map(Keepalive::Every).ok_or_else(refused)
}

/// `--password`
pub(super) fn finds(text: OsString) -> Result<Finds, Failure> {
    match text.to_str() {
        Some("logins") => Ok(Finds::Logins),
        Some("all") => Ok(Finds::All),
        _ => Err(usage(format!("{}: invalid kind of secrets (logins or all).", shown(&text)))),
    }
}

/// `--record-first`
pub(super) fn record_first(text: OsString) -> Result<Taken, Failure> {
    match text.to_str() {
        Some("write") => Ok(Taken::Written),
        Some("sync") => Ok(Taken::OnDisk),
        _ => Err(usage(format!("{}: invalid way to record first (write or sync).", shown(&text)))),
    }
}

pub(super) fn sandbox(text: OsString) -> Result<Violation, Failure> {
    match text.to_str() {
        Some("kill") => Ok(Violation::Kill),
        Some("log") => Ok(Violation::Log),
        _ => Err(usage(format!("{}: invalid sandbox (kill or log).", shown(&text)))),
    }
}

/// `--require-sandbox`; `true` for `full`.
pub(super) fn require_sandbox(text: OsString) -> Result<bool, Failure> {
    match text.to_str() {
        Some("full") => Ok(true),
        Some("basic") => Ok(false),
        _ => Err(usage(format!("{}: invalid level of the sandbox (full or basic).", shown(&text)))),
    }
}

/// `-u`, with or without a group. Rejects only text that cannot be an account's name.
pub(super) fn user(text: OsString) -> Result<String, Failure> {
    let possible = |name: &str| !name.is_empty() && !name.contains([':', '/']) && is_plain(name);
    let user = text.to_str().filter(|text| match text.split_once(':') {
        Some((user, group)) => possible(user) && possible(group),
        None => possible(text),
    });
    user.map(str::to_owned).ok_or_else(|| usage(format!("{}: invalid user.", shown(&text))))
}

/// `-a` and `-s`: a host name, an address or an interface, checked further by the resolver.
pub(super) fn host(text: OsString) -> Result<String, Failure> {
    let host = text.to_str().map(|text| bracketed(text).unwrap_or(text));
    let host = host.filter(|host| is_host(host)).map(str::to_owned);
    host.ok_or_else(|| usage(format!("{}: invalid host name.", shown(&text))))
}

/// Checks whether a name may be given to the resolver.
pub(super) fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_HOST
        && is_plain(text)
        && !text.contains(['/', '[', ']'])
        && (!text.contains(':') || is_ipv6(text))
}

/// Returns the address in `[::1]`.
pub(super) fn bracketed(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']').filter(|address| is_ipv6(address))
}

/// Checks for an IPv6 address, possibly with a scope.
fn is_ipv6(text: &str) -> bool {
    let (address, scope) = text.split_once('%').unwrap_or((text, "-"));
    address.parse::<Ipv6Addr>().is_ok() && !scope.is_empty()
}

/// Checks for text without blanks and unprintable characters.
fn is_plain(text: &str) -> bool {
    !text.contains(|char: char| char.is_control() || char.is_whitespace())
}

/// Parses digits only: no sign, no blank, and 010 is ten.
pub(super) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn bad_number(text: &OsStr) -> Failure {
    usage(format!("{}: invalid number (or capacity exceeded).", shown(text)))
}
