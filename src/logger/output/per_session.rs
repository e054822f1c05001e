//! Files per session: the files of an output whose name is a template, in one directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, faccessat};

use crate::format::{CaptureLevel, Format};
use crate::logger::batch::{Batch, BatchItem};
use crate::logger::output::claim;
use crate::logger::output::directory::Directory;
use crate::logger::output::log_file::{FileSink, LogFile};
use crate::logger::output::report::OutputError;
use crate::logger::output::template::{Template, TemplateValues, last_resort};
use crate::messages::{Side, Taken, View};
use crate::policy::NEW_FILE;
use crate::record::{Event, Kind, Meeting, Purpose, SessionInfo, Setting, encoder};

/// Number of names tried with `-1`, `-2` and so on: enough for occasional collisions, few enough that a
/// client that reconnects repeatedly does not slow the logger down.
const NUMBERED: u32 = 99;

pub(in crate::logger) struct PerSessionFiles {
    template: Template,
    directory: Directory,
    view: View,
    mode: Mode,
    taken: Taken,
    setting: Setting,
    /// Open files of each session: one, or one for each direction.
    open: HashMap<u64, Vec<LogFile>>,
    /// Session and position of each event in a batch; kept here to reuse its memory.
    order: Vec<(u64, usize)>,
}

impl PerSessionFiles {
    pub(in crate::logger) fn need(&self) -> CaptureLevel {
        self.view.format.need()
    }

    pub(in crate::logger) fn template(&self) -> &Template {
        &self.template
    }

    /// Opens the directory, and checks at the start that files can be made there.
    pub(in crate::logger) fn open(
        template: Template,
        view: View,
        mode: Mode,
        taken: Taken,
        setting: Setting,
    ) -> nix::Result<PerSessionFiles> {
        if template.is_too_long() {
            return Err(Errno::ENAMETOOLONG);
        }
        let directory = Directory::hold(Path::new(OsStr::from_bytes(template.directory())), taken)?;
        faccessat(&directory, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::empty())?;
        let (open, order) = (HashMap::new(), Vec::new());
        Ok(PerSessionFiles { template, directory, view, mode, taken, setting, open, order })
    }

    /// Writes a batch, grouped by session instead of in the order of events: one buffer and one write for each file,
    /// even if many sessions alternate. Returns the first error.
    pub(in crate::logger) fn write(&mut self, batch: &Batch, text: &mut Vec<u8>) -> Result<(), OutputError> {
        let mut order = std::mem::take(&mut self.order);
        order.extend(batch.items.iter().enumerate().filter_map(|(place, item)| match item {
            BatchItem::Event { event, .. } => Some((event.session, place)),
            BatchItem::Open { session, .. } => Some((*session, place)),
            BatchItem::Reopen => None,
        }));
        order.sort_unstable();
        let mut result = Ok(());
        for places in order.chunk_by(|(one, _), (other, _)| one == other) {
            result = result.and(self.write_session(batch, places, text));
        }
        order.clear();
        self.order = order;
        result
    }

    fn write_session(
        &mut self,
        batch: &Batch,
        places: &[(u64, usize)],
        text: &mut Vec<u8>,
    ) -> Result<(), OutputError> {
        let Some(&(session, first)) = places.first() else { return Ok(()) };
        let mut result = match &batch.items[first] {
            BatchItem::Open { info, .. } => self.begin(session, info),
            BatchItem::Event { .. } | BatchItem::Reopen => Ok(()),
        };
        let happened: Vec<(&Event, &[u8])> = places
            .iter()
            .filter_map(|&(_, place)| match &batch.items[place] {
                BatchItem::Event { event, payload } => Some((event, batch.payload(*payload))),
                BatchItem::Open { .. } | BatchItem::Reopen => None,
            })
            .collect();
        let end = happened.iter().position(|(event, _)| matches!(event.kind, Kind::End(_)));
        // Events after the end belong to no session.
        let shown = &happened[..end.map_or(happened.len(), |at| at + 1)];
        for log_file in self.open.get_mut(&session).into_iter().flatten() {
            for (event, payload) in shown {
                result = result.and(log_file.add(event, payload, text));
            }
            result = result.and(log_file.write(text)).and(log_file.settle());
        }
        if end.is_some() {
            // The files are closed here.
            let log_files = self.open.remove(&session).unwrap_or_default();
            result = result.and(end_all(log_files.into_iter()));
        }
        result
    }

    /// Ends the files of all sessions that have not ended.
    pub(in crate::logger) fn finish(&mut self) -> Result<(), OutputError> {
        end_all(self.open.drain().flat_map(|(_, log_files)| log_files))
    }

    /// Makes the files of a session.
    fn begin(&mut self, session: u64, info: &SessionInfo) -> Result<(), OutputError> {
        if info.meeting == Meeting::Refused && !self.view.format.has_refused() {
            return Ok(());
        }
        let values = &TemplateValues::of(info);
        let mut result = Ok(());
        for view in self.views() {
            match self.create(values, *view) {
                Ok(mut log_file) => {
                    result = result.and(log_file.begin_file());
                    self.open.entry(session).or_default().push(log_file);
                }
                Err(output_error) => result = result.and(Err(output_error)),
            }
        }
        result.and_then(|()| self.settle_names(values))
    }

    fn settle_names(&self, values: &TemplateValues) -> Result<(), OutputError> {
        self.directory.settle().map_err(|error| {
            let base = self.template.expand(values, Side::Client);
            OutputError { output: self.shown(&base), error }
        })
    }

    /// Contents of a session's files: everything, or one direction each.
    fn views(&self) -> &'static [Option<Side>] {
        match (self.template.is_one_way(), self.view.format, self.view.only) {
            (false, _, None) => &[None],
            (_, _, Some(Side::Client)) => &[Some(Side::Client)],
            (_, _, Some(Side::Server)) => &[Some(Side::Server)],
            // Credentials are sent by the client, and the server's verdict is shown beside them.
            (true, Format::Password(_), None) => &[Some(Side::Client)],
            (true, _, None) => &[Some(Side::Client), Some(Side::Server)],
        }
    }

    /// Creates a new file. A name that exists, even as a link, gets a number.
    fn create(&self, values: &TemplateValues, only: Option<Side>) -> Result<LogFile, OutputError> {
        let base = self.template.expand(values, only.unwrap_or(Side::Client));
        let suffixes = iter::once(String::new())
            .chain((1..=NUMBERED).map(|number| format!("-{number}")))
            .chain(iter::once_with(|| last_resort(values)));
        let mut reason = Errno::EEXIST;
        for suffix in suffixes {
            let name = [&base, suffix.as_bytes()].concat();
            match openat(&self.directory, name.as_slice(), OFlag::from_bits_retain(NEW_FILE), self.mode) {
                Ok(file) => {
                    let file = File::from(file);
                    // If another program has locked the new file already, the next name is tried.
                    if claim::lock(&file).is_ok() {
                        // One session in the file: its lines need no label.
                        let view = View { only, ..self.view };
                        let purpose = Purpose::new(false, false, &self.setting);
                        return Ok(LogFile::new(
                            FileSink::Open(file),
                            self.shown(&name),
                            encoder(view, purpose),
                        )
                        .taken(self.taken));
                    }
                }
                Err(Errno::EEXIST) => {}
                Err(errno) => {
                    reason = errno;
                    break;
                }
            }
        }
        Err(OutputError { output: self.shown(&base), error: reason.into() })
    }

    /// Name of a file in messages to the operator.
    fn shown(&self, name: &[u8]) -> String {
        match self.template.directory() {
            b"." => name.escape_ascii().to_string(),
            directory => [directory, name].concat().escape_ascii().to_string(),
        }
    }
}

/// Writes the end of each file; returns the first error.
fn end_all(log_files: impl Iterator<Item = LogFile>) -> Result<(), OutputError> {
    let mut result = Ok(());
    for mut log_file in log_files {
        result = result.and(log_file.end_file()).and(log_file.settle());
    }
    result
}

impl AsFd for PerSessionFiles {
    /// The directory of the files.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}
