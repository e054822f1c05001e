//! One `-o`: where it goes and how it is opened.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Instant;

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::Uid;

use super::batch::{Batch, Event, What};
use super::format::SessionFormat;
use super::home::Home;
use super::parts::{FileId, Parts};
use super::rotation::Rotation;
use super::series::Series;
use super::sheet::{Sheet, Trouble};
use super::template::{Name, Template};
use super::writer::News;
use crate::format::{Format, Need};
use crate::messages::{self, Hangup, OutputTarget, Problem, Sharing};
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

/// When files give way to new ones.
pub(super) struct Renewal {
    pub(super) hangup: Hangup,
    pub(super) rotation: messages::Rotation,
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
                let name = crate::reason::shown_name(&typed);
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

    pub(super) fn open(self, renewal: &Renewal) -> Result<Output, Problem> {
        let Plan { to, format, name } = self;
        let one_file = |opened| Output::OneFile(OneFile::new(opened, name.clone(), format));
        let opened = match to {
            To::Stdout => {
                io::stdout().as_fd().try_clone_to_owned().map(|file| one_file(Opened::plain(file.into())))
            }
            To::File(path) => create(path, format, renewal).map(one_file),
            To::Series(template) => {
                Series::open(template, format, mode(format)).map(Output::Series).map_err(io::Error::from)
            }
        };
        opened.map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) if renewal.rotation.is_wanted() => Problem::Template {
                reason: format!("{name}: a symbolic link has no parts; name the file that it leads to"),
            },
            errno => Problem::Output { errno: errno.unwrap_or(0), name: name.clone().into_bytes() },
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
            Output::OneFile(file) => {
                file.home.iter().flat_map(Home::directories).chain(self.directory_of_parts()).collect()
            }
            Output::Series(series) => vec![series.as_fd()],
        }
    }

    /// Where files are removed later on.
    pub(super) fn directory_of_parts(&self) -> Option<BorrowedFd<'_>> {
        self.rotation().map(Rotation::directory)
    }

    /// What it takes to make files later on.
    pub(super) fn extras(&self) -> impl Iterator<Item = Extra> {
        let (rotated, own) = match self {
            Output::OneFile(file) => (file.home.is_some(), false),
            Output::Series(_) => (false, true),
        };
        let extras = [
            (Extra::SessionFiles, own),
            (Extra::Rotation, rotated),
            (Extra::Parts, self.rotation().is_some()),
        ];
        extras.into_iter().filter_map(|(extra, needed)| needed.then_some(extra))
    }

    fn rotation(&self) -> Option<&Rotation> {
        match self {
            Output::OneFile(file) => file.sheet.rotation.as_ref(),
            Output::Series(_) => None,
        }
    }

    /// The one file, where there is one.
    pub(super) fn id(&self) -> Option<FileId> {
        match self {
            Output::OneFile(file) => FileId::of(&file.sheet.file).ok(),
            Output::Series(_) => None,
        }
    }

    /// Other outputs are no parts of this one.
    pub(super) fn spare(&mut self, others: &[FileId]) {
        if let Output::OneFile(OneFile { sheet: Sheet { rotation: Some(rotation), .. }, .. }) = self {
            rotation.spare(others);
        }
    }

    /// When there is something to do although nothing is recorded.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Output::OneFile(file) => file.sheet.due(),
            Output::Series(_) => None,
        }
    }

    /// Does what is due.
    pub(super) fn turn_in_time(&mut self, news: impl FnMut(News)) -> Result<(), Trouble> {
        match self {
            Output::OneFile(file) => {
                let result = file.sheet.turn_in_time();
                file.sheet.hitches().for_each(news);
                result
            }
            Output::Series(_) => Ok(()),
        }
    }

    /// Writes a batch. `text` is room for it, empty before and after. Of what fails, the first is returned;
    /// what is no failure of the output, such as a file that could not be opened again, is `news`.
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        sharing: Sharing,
        text: &mut Vec<u8>,
        news: impl FnMut(News),
    ) -> Result<(), Trouble> {
        match self {
            Output::OneFile(file) => file.write(batch, sharing, text, news),
            // Every session has files of its own, and the next one new ones.
            Output::Series(series) => series.write(batch, text),
        }
    }
}

impl OneFile {
    fn new(opened: Opened, name: String, format: Format) -> OneFile {
        let Opened { file, home, rotation } = opened;
        let terminal = nix::unistd::isatty(&file).unwrap_or(false);
        let sheet = match rotation {
            Some(rotation) => Sheet::in_parts(file, name, rotation),
            None => Sheet::new(file, name),
        };
        OneFile { sheet, format, terminal, sessions: HashMap::new(), home }
    }

    fn write(
        &mut self,
        batch: &Batch,
        sharing: Sharing,
        text: &mut Vec<u8>,
        mut news: impl FnMut(News),
    ) -> Result<(), Trouble> {
        let mut result = self.sheet.turn_in_time();
        for Event { session, what } in &batch.events {
            if let What::Begin { .. } = what {
                let label = (sharing == Sharing::Labelled).then_some(*session);
                self.sessions.insert(*session, SessionFormat::new(self.format, label, self.terminal));
            }
            if let (What::Reopen, Some(home)) = (what, &self.home) {
                // What came before it belongs into the old file.
                result = result.and(self.sheet.write(text));
                if let Err(trouble) = self.sheet.reopen(home) {
                    news(News::Kept(trouble));
                }
            }
            if let Some(format) = self.sessions.get_mut(session) {
                result = result.and(self.sheet.add(format, batch, what, text));
            }
            if let What::Close = what {
                self.sessions.remove(session);
            }
        }
        let result = result.and(self.sheet.write(text));
        self.sheet.hitches().for_each(news);
        result
    }
}

/// Before the umask.
fn mode(format: Format) -> Mode {
    Mode::from_bits_truncate(if format == Format::Password { PRIVATE } else { 0o666 })
}

/// A file of all sessions that has just been opened.
struct Opened {
    file: File,
    /// Of a file that is opened again when logs are rotated.
    home: Option<Home>,
    /// Of a file that is finished in parts.
    rotation: Option<Rotation>,
}

impl Opened {
    fn plain(file: File) -> Opened {
        Opened { file, home: None, rotation: None }
    }
}

/// Opens a file for appending from its start, as the manual promises. Appending, so that a rotation that
/// copies and truncates leaves no hole. What is in a file that is finished in parts becomes the first of them.
fn create(path: Vec<u8>, format: Format, renewal: &Renewal) -> io::Result<Opened> {
    let path = PathBuf::from(std::ffi::OsString::from_vec(path));
    let in_parts = renewal.rotation.is_wanted();
    // A link has no parts: they would be beside it, and the file elsewhere.
    let beginning = if in_parts { OFlag::O_NOFOLLOW } else { OFlag::O_TRUNC };
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_NOCTTY | beginning;
    let mut file = File::from(open(&path, flags | OFlag::O_CLOEXEC, mode(format))?);
    let found = file.metadata()?;
    // Secrets in a file that was there before and that others may read; a device keeps its mode.
    if format == Format::Password && found.is_file() && found.uid() == Uid::effective().as_raw() {
        file.set_permissions(Permissions::from_mode(PRIVATE))?;
    }
    if !found.is_file() {
        return Ok(Opened::plain(file));
    }
    let mut parts = in_parts.then(|| Parts::of(&path, renewal.rotation.keep)).transpose()?;
    if let Some(parts) = parts.as_mut().filter(|_| found.len() > 0) {
        file = parts.turn(&file)?.file;
    }
    let reopened = renewal.hangup == Hangup::Reopens;
    let home = reopened.then(|| Home::of(&path, mode(format))).transpose()?;
    Ok(Opened { file, home, rotation: parts.map(|parts| Rotation::new(renewal.rotation, parts)) })
}
