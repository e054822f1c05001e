//! The outputs on a command line: each `-o` with the `-f` and `--only` before it, and the display.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::Path;

use super::Line;
use super::usage::{shown, usage};
use super::values::decimal;
use crate::config::{OutputOption, Target, Verbosity};
use crate::exit::{Failure, Status};
use crate::format::{Finds, Format};
use crate::messages::{Side, View};

impl Line {
    /// Every `-o` with the options before it; the display, if there is one, comes first.
    pub(super) fn outputs(
        &self,
        verbosity: Verbosity,
        daemon: bool,
        bridges: bool,
    ) -> Result<Vec<OutputOption>, Failure> {
        let formats = self.formats();
        let sides = self.placed::<Option<Side>>("only");
        let mut outputs: Vec<OutputOption> = Vec::new();
        for (index, target) in self.placed::<Target>("output") {
            let target = self.target(target, daemon)?;
            refuse_twice(&target, &outputs)?;
            let format = before(&formats, index).unwrap_or(self.shown_unasked(&target));
            let only = before(&sides, index).flatten();
            outputs.push(OutputOption { target, view: self.view(format, only)? });
        }
        let to_stdout = outputs.iter().any(|output| output.target == Target::Stdout);
        // A conversion needs no display in addition to its outputs.
        let is_shown = verbosity > Verbosity::Quiet && (bridges || outputs.is_empty());
        if is_shown && !to_stdout && !self.circumstances.stdout_is_a_peers {
            let is_wanted = !outputs.is_empty() || verbosity >= Verbosity::Verbose || !bridges;
            let unasked = if is_wanted { self.shown_unasked(&Target::Stdout) } else { Format::Null };
            // In addition to outputs, the display is for reading: a binary format is skipped.
            let is_for_display = |format: &Format| outputs.is_empty() || !format.is_binary();
            let asked = formats.last().map(|&(_, format)| format).filter(is_for_display);
            let format = asked.unwrap_or(unasked);
            let only = sides.last().and_then(|&(_, side)| side);
            outputs.insert(0, OutputOption { target: Target::Stdout, view: self.view(format, only)? });
        }
        Ok(outputs)
    }

    fn view(&self, format: Format, only: Option<Side>) -> Result<View, Failure> {
        if format.has_secrets() && only == Some(Side::Server) {
            return Err(usage("--only=server: what password shows, the client has said.".to_owned()));
        }
        Ok(View { format, only, time: self.value("time") })
    }

    /// Every `-f` with its position; `--password` applies to each of them.
    fn formats(&self) -> Vec<(usize, Format)> {
        let finds = self.value("password").unwrap_or(Finds::Logins);
        let formats = self.placed::<Format>("format").into_iter();
        let meant = |format: Format| if format.has_secrets() { Format::Password(finds) } else { format };
        formats.map(|(at, format)| (at, meant(format))).collect()
    }

    /// Format of data if no `-f` selects one.
    fn shown_unasked(&self, target: &Target) -> Format {
        match target {
            Target::Stdout if self.circumstances.stdout_is_a_terminal => Format::View,
            _ => Format::C,
        }
    }

    /// Meaning of an output's name in this start.
    fn target(&self, typed: Target, daemon: bool) -> Result<Target, Failure> {
        let (target, name) = match typed {
            Target::File(path) => match descriptor(&path) {
                None if daemon => return Ok(in_background(path)),
                None => return Ok(Target::File(path)),
                Some(number) => (self.descriptor(number, &path)?, shown(&path)),
            },
            stream => (stream, "-".to_owned()),
        };
        let streams = [
            (Target::Stdout, "standard output", self.circumstances.stdout_is_a_peers),
            (Target::Descriptor(2), "standard error", self.circumstances.stderr_is_a_peers),
        ];
        for (stream, what, is_a_peers) in streams {
            if target == stream && daemon {
                return Err(usage(format!("{name}: a daemon has no {what}.")));
            }
            if target == stream && is_a_peers {
                return Err(usage(format!("{name}: {what} is somebody's connection.")));
            }
        }
        Ok(target)
    }

    /// Selects an inherited descriptor. A program with more privileges than its caller must not use the caller's open
    /// descriptors.
    fn descriptor(&self, number: RawFd, path: &OsString) -> Result<Target, Failure> {
        let name = shown(path);
        if self.circumstances.is_secure {
            let text = format!("{name}: not for a program with a set-uid bit or a file capability.");
            return Err(Failure::new(Status::CannotCreate, text));
        }
        match number {
            0 => Err(usage(format!("{name}: standard input cannot be written."))),
            1 => Ok(Target::Stdout),
            number => Ok(Target::Descriptor(number)),
        }
    }

    /// Warnings about options in positions without effect.
    pub(super) fn remarks(&self, outputs: &[OutputOption]) -> Vec<String> {
        let typed: Vec<usize> = self.indices("output").collect();
        // The display has no `-o`.
        let has_display = outputs.len() > typed.len();
        let formats = self.formats();
        let sides = self.placed::<Option<Side>>("only");
        let formats = formats.iter().map(|&(at, format)| (at, format!("-f {}", format.names()[0])));
        let sides = sides.iter().map(|&(at, side)| (at, format!("--only={}", side_name(side))));
        let mut remarks = Vec::new();
        for options in [formats.collect::<Vec<_>>(), sides.collect()] {
            for (index, (at, option)) in options.iter().enumerate() {
                let next = options.get(index + 1).map_or(usize::MAX, |(next, _)| *next);
                let is_last = next == usize::MAX;
                let reaches = typed.iter().any(|output| (*at..next).contains(output));
                if !(reaches || is_last && has_display) {
                    remarks.push(self.remark(option, *at, is_last));
                }
            }
        }
        let has_secrets = outputs.iter().any(|output| output.view.format.has_secrets());
        if self.value::<Finds>("password").is_some() && !has_secrets {
            remarks.push("--password affects nothing here: no output has the format password.".to_owned());
        }
        remarks
    }

    fn remark(&self, option: &str, at: usize, is_last: bool) -> String {
        let names = self.typed.get_raw("output").into_iter().flatten();
        let before = self.indices("output").zip(names).filter(|(output, _)| *output < at).last();
        let place = match before {
            Some((_, name)) if is_last => {
                format!(": it does not reach -o {name}, put it before that", name = shown(name))
            }
            _ if is_last => ": there is no output that it could reach".to_owned(),
            _ => ": another one follows before the next output".to_owned(),
        };
        format!("{option} affects nothing here{place}.")
    }
}

/// Value of the last option before this position.
fn before<T: Copy>(options: &[(usize, T)], index: usize) -> Option<T> {
    options.iter().rev().find(|&&(at, _)| at < index).map(|&(_, value)| value)
}

fn side_name(side: Option<Side>) -> &'static str {
    match side {
        Some(Side::Client) => "client",
        Some(Side::Server) => "server",
        None => "both",
    }
}

/// The number in the path of an open descriptor.
pub(super) fn descriptor(path: &OsString) -> Option<RawFd> {
    let path = path.to_str()?;
    match path {
        "/dev/stdin" => Some(0),
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        path => decimal(["/dev/fd/", "/proc/self/fd/"].iter().find_map(|start| path.strip_prefix(start))?),
    }
}

/// Makes the path of an output absolute. A daemon works in `/`, to which daemon(3) and the manual relate relative
/// names.
fn in_background(path: OsString) -> Target {
    Target::File(Path::new("/").join(path).into_os_string())
}

/// Rejects two outputs in one file, which would overwrite each other. On stdout they alternate, as in 1.4.4. Other
/// names of the same file are found when it is opened.
fn refuse_twice(target: &Target, earlier: &[OutputOption]) -> Result<(), Failure> {
    match target {
        Target::File(path) if earlier.iter().any(|output| output.target == *target) => {
            Err(usage(format!("{}: given for two outputs.", shown(path))))
        }
        Target::Stdout if earlier.iter().any(|output| output.target == *target) => {
            Err(usage("-: the standard output is given for two outputs.".to_owned()))
        }
        _ => Ok(()),
    }
}
