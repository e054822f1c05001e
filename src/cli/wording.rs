//! Errors in a command line, in the words of 1.4.4 and getopt.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::command;
use super::usage::{shown, usage};
use crate::exit::Failure;

/// Translates clap's error to that of getopt or of the option's value.
pub(super) fn refusal(error: &clap::Error, args: &[OsString], program: &str) -> Failure {
    let subject = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => arg.as_str(),
        _ => "",
    };
    // clap appends the name of the value for known options.
    let option = subject.split(' ').next().unwrap_or_default();
    let value = error.source().and_then(|source| source.downcast_ref::<Failure>());
    match (error.kind(), value) {
        (_, Some(failure)) => failure.clone(),
        (ErrorKind::UnknownArgument, _) => usage(format!("{program}: {}", unknown(subject, args))),
        (ErrorKind::InvalidValue, _) => usage(format!("{program}: {}", missing(option, args))),
        (ErrorKind::MissingRequiredArgument, _) => usage(format!("{program}: no server port specified.")),
        (ErrorKind::ArgumentConflict, _) => usage(format!("{program}: --demo excludes all other options.")),
        (ErrorKind::TooManyValues, _) => {
            usage(format!("{program}: option '{option}' doesn't allow an argument"))
        }
        // Not expected; clap's own text is the fallback.
        _ => usage(format!(
            "{program}: {}",
            shown(error.to_string().lines().next().unwrap_or_default().as_ref())
        )),
    }
}

/// `subject` is the option alone; the error shows the whole argument, as getopt does.
fn unknown(subject: &str, args: &[OsString]) -> String {
    let whole = args.iter().find(|arg| arg.to_string_lossy().split('=').next() == Some(subject));
    let Some((name, whole)) = subject.strip_prefix("--").zip(whole) else {
        let letter: String = subject.chars().nth(1).into_iter().collect();
        return format!("invalid option -- '{}'", shown(letter.as_ref()));
    };
    let whole = shown(whole);
    let possible: Vec<String> = command::long_names()
        .filter(|long| !name.is_empty() && long.starts_with(name))
        .map(|long| format!(" '--{long}'"))
        .collect();
    if possible.is_empty() {
        return format!("unrecognized option '{whole}'");
    }
    format!("option '{whole}' is ambiguous; possibilities:{}", possible.concat())
}

/// Only the last argument can lack its value. Its spelling shows whether the option was short or long, which clap
/// does not report.
fn missing(option: &str, args: &[OsString]) -> String {
    let typed = args.last().map(|last| last.to_string_lossy()).unwrap_or_default();
    match typed.strip_prefix("--") {
        Some(name) if command::long_names().any(|long| long == name) => {
            format!("option '{typed}' requires an argument")
        }
        Some(_) => format!("option '{option}' requires an argument"),
        None => {
            let letter: String = typed.chars().last().into_iter().collect();
            format!("option requires an argument -- '{}'", shown(letter.as_ref()))
        }
    }
}
