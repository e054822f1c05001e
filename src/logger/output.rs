//! One `-o`: where it goes and how it is opened.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::Uid;

use super::batch::{Batch, Event, What};
use super::format::SessionFormat;
use super::home::Home;
use super::series::Series;
use super::sheet::{Sheet, Trouble};
use super::template::{Name, Template};
use crate::format::{Format, Need};
use crate::messages::{OutputTarget, Problem, Sharing};
use crate::policy::{Extra, PRIVATE};

/// An output that makes sense, and is not open yet: whatever an earlier one would truncate is still there
/// when a later one turns out to make none.
pub(super) struct Plan {
    to: To,
    format: Format,
    /// As typed, for the operator.
    name: String,
}

enum To {
    Stdout,
    File(Vec<u8>),
    Series(Template),
}

/// An open output.
pub(super) enum Output {
    /// One file for all sessions.
    OneFile(OneFile),
    /// Files of its own for each session.
    Series(Series),
}

pub(super) struct OneFile {
    sheet: Sheet,
    format: Format,
    /// A person reads along: nothing that a terminal would obey.
    terminal: bool,
    sessions: HashMap<u64, SessionFormat>,
    /// Of a file that may be rotated; stdout, a pipe or a device has none.
    home: Option<Home>,
}

impl Plan {
    pub(super) fn new(target: OutputTarget, format: Format) -> Result<Plan, Problem> {
        let (to, name) = match target {
            OutputTarget::Stdout => (To::Stdout, "standard output".to_owned()),
            OutputTarget::File(typed) => {
                let name = typed.escape_ascii().to_string();
                let to = match Name::parse(&typed) {
                    Ok(Name::Plain(path)) => To::File(path),
                    Ok(Name::Template(template)) => To::Series(template),
                    Err(mistake) => return Err(Problem::Template { reason: format!("{name}: {mistake}") }),
                };
                (to, name)
            }
        };
        Ok(Plan { to, format, name })
    }

    /// With `reopening`, files are to be opened again later on.
    pub(super) fn open(self, reopening: bool) -> Result<Output, Problem> {
        let Plan { to, format, name } = self;
        let one_file = |(file, home)| Output::OneFile(OneFile::new(file, name.clone(), format, home));
        let opened = match to {
            To::Stdout => io::stdout().as_fd().try_clone_to_owned().map(|file| one_file((file.into(), None))),
            To::File(path) => create(path, format, reopening).map(one_file),
            To::Series(template) => {
                Series::open(template, format, mode(format)).map(Output::Series).map_err(io::Error::from)
            }
        };
        opened.map_err(|error| Problem::Output {
            errno: error.raw_os_error().unwrap_or(0),
            name: name.clone().into_bytes(),
        })
    }
}

impl Output {
    /// What it wants to know of the traffic.
    pub(super) fn need(&self) -> Need {
        match self {
            Output::OneFile(one) => one.format.need(),
            Output::Series(series) => series.need(),
        }
    }

    /// Where files are made later on.
    pub(super) fn directories(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Output::OneFile(file) => file.home.iter().flat_map(Home::directories).collect(),
            Output::Series(series) => vec![series.as_fd()],
        }
    }

    /// What it takes to make files later on.
    pub(super) fn extra(&self) -> Option<Extra> {
        match self {
            Output::OneFile(file) => file.home.as_ref().map(|_| Extra::Rotation),
            Output::Series(_) => Some(Extra::SessionFiles),
        }
    }

    /// Writes a batch. `text` is room for it, empty before and after. Of what fails, the first is returned;
    /// files that could not be opened again, and go on as they are, are no failure and go to `kept`.
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        sharing: Sharing,
        text: &mut Vec<u8>,
        kept: impl FnMut(Trouble),
    ) -> Result<(), Trouble> {
        match self {
            Output::OneFile(file) => file.write(batch, sharing, text, kept),
            // Every session has files of its own, and the next one new ones.
            Output::Series(series) => series.write(batch, text),
        }
    }
}

impl OneFile {
    fn new(file: File, name: String, format: Format, home: Option<Home>) -> OneFile {
        let terminal = nix::unistd::isatty(&file).unwrap_or(false);
        OneFile { sheet: Sheet::new(file, name), format, terminal, sessions: HashMap::new(), home }
    }

    fn write(
        &mut self,
        batch: &Batch,
        sharing: Sharing,
        text: &mut Vec<u8>,
        mut kept: impl FnMut(Trouble),
    ) -> Result<(), Trouble> {
        let mut result = Ok(());
        for Event { session, what } in &batch.events {
            if let What::Begin { .. } = what {
                let label = (sharing == Sharing::Labelled).then_some(*session);
                self.sessions.insert(*session, SessionFormat::new(self.format, label, self.terminal));
            }
            if let (What::Reopen, Some(home)) = (what, &self.home) {
                // What came before it belongs into the old file.
                result = result.and(self.sheet.write(text));
                if let Err(trouble) = self.sheet.reopen(home) {
                    kept(trouble);
                }
            }
            if let Some(format) = self.sessions.get_mut(session) {
                result = result.and(self.sheet.add(format, batch, what, text));
            }
            if let What::Close = what {
                self.sessions.remove(session);
            }
        }
        result.and(self.sheet.write(text))
    }
}

/// Before the umask.
fn mode(format: Format) -> Mode {
    Mode::from_bits_truncate(if format == Format::Password { PRIVATE } else { 0o666 })
}

/// Opens a file for appending from its start, as the manual promises. Appending, so that a rotation that
/// copies and truncates leaves no hole.
fn create(path: Vec<u8>, format: Format, reopening: bool) -> io::Result<(File, Option<Home>)> {
    let path = PathBuf::from(std::ffi::OsString::from_vec(path));
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_APPEND | OFlag::O_NOCTTY;
    let file = File::from(open(&path, flags | OFlag::O_CLOEXEC, mode(format))?);
    let found = file.metadata()?;
    // Secrets in a file that was there before and that others may read; a device keeps its mode.
    if format == Format::Password && found.is_file() && found.uid() == Uid::effective().as_raw() {
        file.set_permissions(Permissions::from_mode(PRIVATE))?;
    }
    let rotated = reopening && found.is_file();
    let home = rotated.then(|| Home::of(&path, mode(format))).transpose()?;
    Ok((file, home))
}
