//! One file of an output, open for writing: encodes events, and writes the text (`write_all`).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::logger::output::directory::on_disk;
use crate::logger::output::fifo::WaitingFifo;
use crate::logger::output::reopen::ReopenPath;
use crate::logger::output::report::{OutputError, OutputEvent};
use crate::logger::output::rotation::{Rotation, RotationEvent};
use crate::messages::Taken;
use crate::record::{Encoder, Event, FileStart, Time};

/// Number of bytes of formatted text from which the text is written; it is also written at the end of every batch.
pub(in crate::logger) const FLUSH: usize = 1 << 20;

/// Destination of the encoded text.
pub(in crate::logger) enum FileSink {
    Open(File),
    /// A FIFO that no process reads yet. No session begins before one does.
    Waiting(WaitingFifo),
}

impl FileSink {
    pub(in crate::logger) fn is_terminal(&self) -> bool {
        match self {
            FileSink::Open(file) => nix::unistd::isatty(file).unwrap_or(false),
            FileSink::Waiting(_) => false,
        }
    }
}

pub(in crate::logger) struct LogFile {
    sink: FileSink,
    encoder: Box<dyn Encoder>,
    /// Number of files begun.
    part: u64,
    /// The terminal's width determines the lines.
    follows_width: bool,
    /// Name for messages to the operator.
    name: String,
    /// Rotation schedule of a file that is finished in parts.
    pub(in crate::logger) rotation: Option<Rotation>,
    /// Events that have not been reported yet.
    rotation_events: Vec<OutputEvent>,
    /// A write has failed: nothing more is written.
    lost: bool,
    taken: Taken,
    /// Written data may not be on the disk yet.
    dirty: bool,
}

impl LogFile {
    pub(in crate::logger) fn new(sink: FileSink, name: String, encoder: Box<dyn Encoder>) -> LogFile {
        LogFile {
            sink,
            encoder,
            part: 0,
            follows_width: false,
            name,
            rotation: None,
            rotation_events: Vec::new(),
            lost: false,
            taken: Taken::Written,
            dirty: false,
        }
    }

    pub(in crate::logger) fn taken(self, taken: Taken) -> LogFile {
        LogFile { taken, ..self }
    }

    /// Makes lines fit the terminal from now on.
    pub(in crate::logger) fn follow_width(self) -> LogFile {
        LogFile { follows_width: true, ..self }
    }

    pub(in crate::logger) fn follows_width(&self) -> bool {
        self.follows_width
    }

    /// Reads the width of the terminal, which may change at any time.
    pub(in crate::logger) fn measure(&mut self) {
        if let (true, FileSink::Open(file)) = (self.follows_width, &self.sink) {
            self.encoder.resize(privsep::sys::terminal_columns(file.as_fd()));
        }
    }

    /// The open file; `None` for a FIFO without a reader.
    pub(in crate::logger) fn file(&self) -> Option<&File> {
        match &self.sink {
            FileSink::Open(file) => Some(file),
            FileSink::Waiting(_) => None,
        }
    }

    /// A FIFO without a reader, with its name.
    pub(in crate::logger) fn waiting(&self) -> Option<(&str, BorrowedFd<'_>)> {
        match &self.sink {
            FileSink::Open(_) => None,
            FileSink::Waiting(pipe) => Some((&self.name, pipe.as_fd())),
        }
    }

    /// Writes the beginning of a file that the format requires.
    pub(in crate::logger) fn begin_file(&mut self) -> Result<(), OutputError> {
        if let FileSink::Waiting(_) = self.sink {
            return Ok(());
        }
        self.part += 1;
        let mut head = Vec::new();
        self.encoder.begin_file(&FileStart { part: self.part, time: Time::now() }, &mut head);
        if let Some(rotation) = &mut self.rotation {
            rotation.begins_with(head.len());
        }
        self.put(&head)
    }

    /// Writes the end of a file that the format requires.
    pub(in crate::logger) fn end_file(&mut self) -> Result<(), OutputError> {
        let mut tail = Vec::new();
        if self.part > 0 {
            self.encoder.end_file(&mut tail);
        }
        self.put(&tail)
    }

    /// Encodes an event at the end of `text`; writes the text if there is enough of it.
    pub(in crate::logger) fn add(
        &mut self,
        event: &Event,
        payload: &[u8],
        text: &mut Vec<u8>,
    ) -> Result<(), OutputError> {
        let start = text.len();
        let rest = self.encoder.event(event, payload, text);
        self.make_room(text, start, rest.len())?;
        if !rest.is_empty() {
            self.write(text)?;
            return self.put(rest);
        }
        if text.len() < FLUSH { Ok(()) } else { self.write(text) }
    }

    /// Writes the text and clears it.
    pub(in crate::logger) fn write(&mut self, text: &mut Vec<u8>) -> Result<(), OutputError> {
        let result = self.put(text);
        text.clear();
        result
    }

    /// Waits until all written data is on the disk, if `--record-first=sync` requires it.
    pub(in crate::logger) fn settle(&mut self) -> Result<(), OutputError> {
        let FileSink::Open(file) = &self.sink else { return Ok(()) };
        if self.lost || self.taken == Taken::Written || !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        on_disk(file.sync_data()).map_err(|error| self.lose(error))
    }

    /// Reopens the path; keeps the old file on failure.
    pub(in crate::logger) fn reopen(&mut self, reopen_path: &ReopenPath) -> Result<(), OutputError> {
        let FileSink::Open(old) = &self.sink else { return Ok(()) };
        let Some(new) = reopen_path.open(old).map_err(|error| self.output_error(error))? else {
            return Ok(());
        };
        self.end_file()?;
        if let Some(rotation) = &mut self.rotation {
            rotation.reopened(&new);
        }
        self.sink = FileSink::Open(new);
        self.begin_file()
    }

    /// Time of the next [`LogFile::do_due`] if nothing is recorded before.
    pub(in crate::logger) fn due(&self) -> Option<Instant> {
        match &self.sink {
            _ if self.lost => None,
            FileSink::Waiting(pipe) => Some(pipe.due()),
            FileSink::Open(_) => self.rotation.as_ref()?.due(),
        }
    }

    /// Opens a FIFO that has a reader by now; finishes a part whose time is over.
    pub(in crate::logger) fn do_due(&mut self) -> Result<(), OutputError> {
        self.look_for_reader()?;
        let is_time = self.rotation.as_mut().is_some_and(Rotation::is_time);
        if is_time { self.rotate() } else { Ok(()) }
    }

    fn look_for_reader(&mut self) -> Result<(), OutputError> {
        let FileSink::Waiting(pipe) = &mut self.sink else { return Ok(()) };
        match pipe.try_open() {
            Ok(None) => {}
            Ok(Some(file)) => {
                self.sink = FileSink::Open(file);
                self.rotation_events.push(OutputEvent::Found);
                return self.begin_file();
            }
            Err(error) if !self.lost => return Err(self.lose(error)),
            Err(_) => {}
        }
        Ok(())
    }

    /// Takes the events since the last call, none of which ended the output.
    pub(in crate::logger) fn rotation_events(&mut self) -> impl Iterator<Item = OutputEvent> {
        self.rotation_events.drain(..)
    }

    /// Finishes the current part if the new record would make it too large. The record begins at `start` of the text
    /// and has a `rest` behind it. No record is in two parts.
    fn make_room(&mut self, text: &mut Vec<u8>, start: usize, rest: usize) -> Result<(), OutputError> {
        let (Some(rotation), FileSink::Open(file)) = (&mut self.rotation, &self.sink) else { return Ok(()) };
        if !rotation.is_full(file, start, text.len() - start + rest) {
            return Ok(());
        }
        let record = text.split_off(start);
        self.encoder.carry(true);
        let result = self.write(text).and_then(|()| self.rotate());
        self.encoder.carry(false);
        text.extend_from_slice(&record);
        result
    }

    fn rotate(&mut self) -> Result<(), OutputError> {
        self.end_file()?;
        let (Some(rotation), FileSink::Open(file), false) = (&mut self.rotation, &self.sink, self.lost)
        else {
            return Ok(());
        };
        let (file, unusual) = rotation.rotate(file).map_err(|error| self.lose(error))?;
        let is_new = file.is_some();
        if let Some(file) = file {
            self.sink = FileSink::Open(file);
        }
        self.rotation_events.extend(unusual.map(|unusual| match unusual {
            RotationEvent::KeptOldFile(error) => OutputEvent::KeptOldFile(self.output_error(error)),
            RotationEvent::Stays(output, error) => OutputEvent::Stays(OutputError { output, error }),
        }));
        if is_new { self.begin_file() } else { Ok(()) }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        let result = match &mut self.sink {
            _ if self.lost || bytes.is_empty() => Ok(()),
            FileSink::Open(file) => write_all(file, bytes),
            FileSink::Waiting(_) => Err(nix::errno::Errno::ENXIO.into()),
        };
        self.dirty |= !bytes.is_empty();
        if let Some(rotation) = &mut self.rotation {
            rotation.wrote(bytes.len());
        }
        result.map_err(|error| self.lose(error))
    }

    fn lose(&mut self, error: io::Error) -> OutputError {
        self.lost = true;
        self.output_error(error)
    }

    fn output_error(&self, error: io::Error) -> OutputError {
        OutputError { output: self.name.clone(), error }
    }
}

/// Writes all bytes, even if another process made the file non-blocking: stdout is often shared.
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
    match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
