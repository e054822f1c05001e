//! One open `-o`: encodes and writes each batch.

pub(super) mod claim;
pub(super) mod directory;
pub(super) mod fifo;
pub(super) mod log_file;
pub(super) mod opening;
pub(super) mod passed;
pub(super) mod per_session;
pub(super) mod reopen;
pub(super) mod report;
pub(super) mod rotated;
pub(super) mod rotation;
pub(super) mod template;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use super::batch::{Batch, BatchItem};
use super::metrics::Metrics;
use crate::format::CaptureLevel;
use crate::logger::output::claim::FileId;
use crate::logger::output::log_file::LogFile;
use crate::logger::output::per_session::PerSessionFiles;
use crate::logger::output::reopen::ReopenPath;
use crate::logger::output::report::{Health, OutputError, OutputEvent};
use crate::logger::output::rotation::Rotation;
use crate::messages::View;
use crate::policy::Extra;

/// An open output.
pub(super) enum Output {
    /// One file for all sessions.
    OneFile(Box<OneFile>),
    /// Files per session.
    PerSessionFiles(PerSessionFiles),
    /// `--metrics`
    Metrics(Box<Metrics>),
}

pub(super) struct OneFile {
    log_file: LogFile,
    view: View,
    /// Path at which the file is reopened after a rotation; `None` for stdout, a pipe or a device.
    reopen_path: Option<ReopenPath>,
}

impl Output {
    /// Traffic data that the output needs.
    pub(super) fn need(&self) -> CaptureLevel {
        match self {
            Output::OneFile(one) => one.view.format.need(),
            Output::PerSessionFiles(session_files) => session_files.need(),
            Output::Metrics(_) => CaptureLevel::Lengths,
        }
    }

    /// Directories in which files are made later.
    pub(super) fn directories(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Output::OneFile(file) => file
                .reopen_path
                .iter()
                .flat_map(ReopenPath::directories)
                .chain(self.directory_of_parts())
                .collect(),
            Output::PerSessionFiles(session_files) => vec![session_files.as_fd()],
            Output::Metrics(metrics) => vec![metrics.directory()],
        }
    }

    /// The directory in which files are removed later.
    pub(super) fn directory_of_parts(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Output::Metrics(metrics) => Some(metrics.directory()),
            Output::OneFile(_) | Output::PerSessionFiles(_) => self.rotation().map(Rotation::directory),
        }
    }

    /// Permissions to create files later on.
    pub(super) fn extras(&self) -> impl Iterator<Item = Extra> {
        let (rotated, own, width) = match self {
            Output::OneFile(file) => (file.reopen_path.is_some(), false, file.log_file.follows_width()),
            Output::PerSessionFiles(_) => (false, true, false),
            Output::Metrics(_) => (false, false, false),
        };
        let extras = [
            (Extra::SessionFiles, own),
            (Extra::Rotation, rotated),
            (Extra::Parts, self.rotation().is_some()),
            (Extra::WaitingPipe, self.waiting().is_some()),
            (Extra::TerminalWidth, width),
            (Extra::Metrics, matches!(self, Output::Metrics(_))),
        ];
        extras.into_iter().filter_map(|(extra, needed)| needed.then_some(extra))
    }

    fn rotation(&self) -> Option<&Rotation> {
        match self {
            Output::OneFile(file) => file.log_file.rotation.as_ref(),
            Output::PerSessionFiles(_) | Output::Metrics(_) => None,
        }
    }

    /// Identity of the only file; `None` if the output has several.
    pub(super) fn id(&self) -> Option<FileId> {
        match self {
            Output::OneFile(file) => FileId::of(file.log_file.file()?).ok(),
            Output::PerSessionFiles(_) | Output::Metrics(_) => None,
        }
    }

    /// Excludes the files of other outputs from the finished parts of this one.
    pub(super) fn exclude(&mut self, others: &[FileId]) {
        if let Output::OneFile(file) = self
            && let Some(rotation) = &mut file.log_file.rotation
        {
            rotation.exclude(others);
        }
    }

    /// Time of the next [`Output::do_due`] if no batch arrives before.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Output::OneFile(file) => file.log_file.due(),
            Output::PerSessionFiles(_) => None,
            Output::Metrics(metrics) => Some(metrics.due()),
        }
    }

    /// A FIFO without a reader: its name, and the descriptor for its Landlock rule.
    pub(super) fn waiting(&self) -> Option<(&str, BorrowedFd<'_>)> {
        match self {
            Output::OneFile(file) => file.log_file.waiting(),
            Output::PerSessionFiles(_) | Output::Metrics(_) => None,
        }
    }

    /// Carries out the actions that are due: attempts to open a FIFO, rotation, metrics.
    pub(super) fn do_due(&mut self, notify: impl FnMut(OutputEvent)) -> Result<(), OutputError> {
        match self {
            Output::OneFile(file) => {
                let result = file.log_file.do_due();
                file.log_file.rotation_events().for_each(notify);
                result
            }
            Output::PerSessionFiles(_) => Ok(()),
            Output::Metrics(metrics) => {
                metrics.publish_if_due(notify);
                Ok(())
            }
        }
    }

    /// Sets the state of all writers, for an output that publishes it.
    pub(super) fn watch(&mut self, health: &Arc<Health>) {
        if let Output::Metrics(metrics) = self {
            metrics.watch(health);
        }
    }

    /// Writes the beginning of the file, before the first batch.
    pub(super) fn begin(&mut self) -> Result<(), OutputError> {
        match self {
            Output::OneFile(file) => file.log_file.begin_file(),
            Output::PerSessionFiles(_) | Output::Metrics(_) => Ok(()),
        }
    }

    /// Writes the end of the files, after the last batch.
    pub(super) fn finish(&mut self, notify: impl FnMut(OutputEvent)) -> Result<(), OutputError> {
        match self {
            Output::OneFile(file) => file.log_file.end_file(),
            Output::PerSessionFiles(session_files) => session_files.finish(),
            Output::Metrics(metrics) => {
                metrics.publish(notify);
                Ok(())
            }
        }
    }

    /// Writes a batch. `text` is a buffer, empty before and after. Returns the first error; events that are no
    /// failure of the output, such as a failed reopening, are passed to `notify`.
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        text: &mut Vec<u8>,
        notify: impl FnMut(OutputEvent),
    ) -> Result<(), OutputError> {
        match self {
            Output::OneFile(file) => file.write(batch, text, notify),
            // Not reopened: every session has files of its own, and the next session gets new ones.
            Output::PerSessionFiles(session_files) => session_files.write(batch, text),
            Output::Metrics(metrics) => {
                metrics.count(batch);
                metrics.publish_if_due(notify);
                Ok(())
            }
        }
    }
}

impl OneFile {
    pub(super) fn new(log_file: LogFile, view: View, reopen_path: Option<ReopenPath>) -> OneFile {
        OneFile { log_file, view, reopen_path }
    }

    fn write(
        &mut self,
        batch: &Batch,
        text: &mut Vec<u8>,
        mut notify: impl FnMut(OutputEvent),
    ) -> Result<(), OutputError> {
        let mut result = self.log_file.do_due();
        self.log_file.measure();
        for item in &batch.items {
            match (item, &self.reopen_path) {
                (BatchItem::Event { event, payload }, _) => {
                    result = result.and(self.log_file.add(event, batch.payload(*payload), text));
                }
                (BatchItem::Reopen, Some(reopen_path)) => {
                    // Earlier data belongs to the old file.
                    result = result.and(self.log_file.write(text)).and(self.log_file.settle());
                    if let Err(output_error) = self.log_file.reopen(reopen_path) {
                        notify(OutputEvent::KeptOldFile(output_error));
                    }
                }
                (BatchItem::Reopen, None) | (BatchItem::Open { .. }, _) => {}
            }
        }
        let result = result.and(self.log_file.write(text)).and(self.log_file.settle());
        self.log_file.rotation_events().for_each(notify);
        result
    }
}
