//! The interface of all output formats.

use std::sync::Arc;

use super::Zone;
use super::event::{Event, Time};
use crate::messages::{Appearance, Color};
use crate::pattern::Pattern;

/// Encodes the events of one output, in one file after the other. Pure: no descriptor, no clock.
pub(crate) trait Encoder: Send {
    /// A file begins. Sessions that are still open go on in it, and what a reader of this file alone has to know of
    /// them is repeated here.
    fn begin_file(&mut self, file: &FileStart, out: &mut Vec<u8>);

    /// Appends an event to `out`. `payload` is that of `Data`, empty where only the length is known. What is returned
    /// is the last part of the payload: it is to be written after `out`, as it is, and saves a copy.
    fn event<'a>(&mut self, event: &Event, payload: &'a [u8], out: &mut Vec<u8>) -> &'a [u8];

    /// Until this is called again, the last event belongs into the next file, although it has been encoded: it did not
    /// fit into this one.
    fn carry(&mut self, _carries: bool) {}

    /// The file ends. More may follow in it all the same, where a rotation fails.
    fn end_file(&mut self, out: &mut Vec<u8>);

    /// The file is a terminal of this width, if it tells one. Asked for before every batch.
    fn resize(&mut self, _columns: Option<u16>) {}
}

/// The beginning of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStart {
    /// Counts the files of an output from 1.
    pub(crate) part: u64,
    pub(crate) time: Time,
}

/// Kind of reader of an output's files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Purpose {
    /// Several sessions at a time share a file: lines carry the number of theirs.
    pub(crate) labelled: bool,
    /// On a terminal, which must not obey what peers send.
    pub(crate) terminal: bool,
    /// With colours.
    pub(crate) color: bool,
    /// `--max-shown`: bytes of a piece that `view` shows; `None` is all of them.
    pub(crate) max_shown: Option<u64>,
    /// Of the times that people read.
    pub(crate) zone: Arc<Zone>,
    /// `--match`: marked by `view`, in colour.
    pub(crate) pattern: Option<Arc<Pattern>>,
}

/// What all outputs have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setting {
    pub(crate) appearance: Appearance,
    pub(crate) zone: Arc<Zone>,
    pub(crate) pattern: Option<Arc<Pattern>>,
}

impl Purpose {
    /// Where `--max-shown` says nothing, on a terminal.
    const MAX_SHOWN: u64 = 1024;

    /// What the command line makes of an output.
    pub(crate) fn new(labelled: bool, terminal: bool, setting: &Setting) -> Purpose {
        let appearance = setting.appearance;
        let color = match appearance.color {
            Color::Always => true,
            Color::Never => false,
            Color::OnTerminals => terminal,
        };
        let max_shown = appearance.max_shown.or(terminal.then_some(Purpose::MAX_SHOWN));
        let (zone, pattern) = (Arc::clone(&setting.zone), setting.pattern.clone());
        Purpose { labelled, terminal, color, max_shown, zone, pattern }
    }
}
