//! A sheet: a file of an output that is being written.

use std::fs::File;
use std::io::{self, Write};
use std::time::Instant;

use super::batch::{Batch, What};
use super::format::SessionFormat;
use super::home::Home;
use super::rotation::{Hitch, Rotation};
use super::writer::News;

/// Formatted text is written when there is this much of it, and at the end of every batch.
pub(super) const FLUSH: usize = 1 << 20;

/// What went wrong with an output, and which one.
pub(super) struct Trouble {
    pub(super) output: String,
    pub(super) error: io::Error,
}

pub(super) struct Sheet {
    pub(super) file: File,
    /// For the operator.
    name: String,
    /// Of a file that is finished in parts.
    pub(super) rotation: Option<Rotation>,
    /// What the operator has not been told yet.
    hitches: Vec<News>,
    /// Nothing more can be written.
    lost: bool,
}

impl Sheet {
    pub(super) fn new(file: File, name: String) -> Sheet {
        Sheet { file, name, rotation: None, hitches: Vec::new(), lost: false }
    }

    /// A file that is finished in parts.
    pub(super) fn in_parts(file: File, name: String, rotation: Rotation) -> Sheet {
        Sheet { rotation: Some(rotation), ..Sheet::new(file, name) }
    }

    /// Adds to `text` what happened, as `format` shows it; writes when that is enough.
    pub(super) fn add(
        &mut self,
        format: &mut SessionFormat,
        batch: &Batch,
        what: &What,
        text: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        let start = text.len();
        let rest = show(format, batch, what, text);
        self.make_room(text, start, rest.len())?;
        if !rest.is_empty() {
            self.write(text)?;
            return self.put(rest);
        }
        if text.len() < FLUSH { Ok(()) } else { self.write(text) }
    }

    /// Writes the text, which is empty then.
    pub(super) fn write(&mut self, text: &mut Vec<u8>) -> Result<(), Trouble> {
        let result = self.put(text);
        text.clear();
        result
    }

    /// Goes on in the file that has its name now; if there is none to be had, in the one that it has.
    pub(super) fn reopen(&mut self, home: &Home) -> Result<(), Trouble> {
        self.file = home.open().map_err(|error| self.trouble(error))?;
        if let Some(rotation) = &mut self.rotation {
            rotation.reopened(&self.file);
        }
        Ok(())
    }

    /// When [`Sheet::turn_in_time`] has something to do although nothing is recorded.
    pub(super) fn due(&self) -> Option<Instant> {
        self.rotation.as_ref().filter(|_| !self.lost)?.due()
    }

    /// Finishes a part whose time is over.
    pub(super) fn turn_in_time(&mut self) -> Result<(), Trouble> {
        let is_time = self.rotation.as_mut().is_some_and(Rotation::is_time);
        if is_time { self.turn() } else { Ok(()) }
    }

    /// What did not work since it was last asked, and has not stopped us.
    pub(super) fn hitches(&mut self) -> impl Iterator<Item = News> {
        self.hitches.drain(..)
    }

    /// Finishes the part that the record, which begins at `start` of the text and has a `rest` behind it, would
    /// make too large. No record is in two parts.
    fn make_room(&mut self, text: &mut Vec<u8>, start: usize, rest: usize) -> Result<(), Trouble> {
        let Some(rotation) = &mut self.rotation else { return Ok(()) };
        if !rotation.is_full(&self.file, start, text.len() - start + rest) {
            return Ok(());
        }
        let record = text.split_off(start);
        let result = self.write(text).and_then(|()| self.turn());
        text.extend_from_slice(&record);
        result
    }

    fn turn(&mut self) -> Result<(), Trouble> {
        let Some(rotation) = self.rotation.as_mut().filter(|_| !self.lost) else { return Ok(()) };
        let (file, hitch) = rotation.turn(&self.file).map_err(|error| {
            self.lost = true;
            Trouble { output: self.name.clone(), error }
        })?;
        if let Some(file) = file {
            self.file = file;
        }
        self.hitches.extend(hitch.map(|hitch| match hitch {
            Hitch::Kept(error) => News::Kept(self.trouble(error)),
            Hitch::Stays(output, error) => News::Stays(Trouble { output, error }),
        }));
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let result = if self.lost { Ok(()) } else { write_all(&mut self.file, bytes) };
        if let Some(rotation) = &mut self.rotation {
            rotation.wrote(bytes.len());
        }
        result.map_err(|error| {
            self.lost = true;
            self.trouble(error)
        })
    }

    fn trouble(&self, error: io::Error) -> Trouble {
        Trouble { output: self.name.clone(), error }
    }
}

/// Appends what happened to `text`; what comes back is to be written behind it as it is.
fn show<'a>(format: &mut SessionFormat, batch: &'a Batch, what: &What, text: &mut Vec<u8>) -> &'a [u8] {
    match what {
        What::Begin { client, server, .. } => {
            format.begin((&client.node, &client.service), (&server.node, &server.service), text);
        }
        What::Data { from, urgent, start, end } => {
            return format.piece(*from, *urgent, batch.payload(*start, *end), text);
        }
        What::Passed { from, bytes } => format.passed(*from, *bytes, text),
        What::Ended { from, total } => format.ended(*from, *total, text),
        What::Note(note) => format.note(note, text),
        What::Close => format.close(text),
        // No session's.
        What::Reopen => {}
    }
    b""
}

/// Writes everything, also where somebody made the file non-blocking: stdout is often shared.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::Error::other("cannot be written")),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_writable(file)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_writable(file: &File) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
