//! A sheet: a file of an output that is being written.

use std::fs::File;
use std::io::{self, Write};

use super::batch::{Batch, What};
use super::format::SessionFormat;
use super::home::Home;

/// Formatted text is written when there is this much of it, and at the end of every batch.
pub(super) const FLUSH: usize = 1 << 20;

/// What went wrong with an output, and which one.
pub(super) struct Trouble {
    pub(super) output: String,
    pub(super) error: io::Error,
}

pub(super) struct Sheet {
    file: File,
    /// For the operator.
    name: String,
    /// Nothing more can be written.
    lost: bool,
}

impl Sheet {
    pub(super) fn new(file: File, name: String) -> Sheet {
        Sheet { file, name, lost: false }
    }

    /// Adds to `text` what happened, as `format` shows it; writes when that is enough.
    pub(super) fn add(
        &mut self,
        format: &mut SessionFormat,
        batch: &Batch,
        what: &What,
        text: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        let rest = show(format, batch, what, text);
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
        self.file = home.open().map_err(|error| Trouble { output: self.name.clone(), error })?;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let result = if self.lost { Ok(()) } else { write_all(&mut self.file, bytes) };
        result.map_err(|error| {
            self.lost = true;
            Trouble { output: self.name.clone(), error }
        })
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
