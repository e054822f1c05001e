//! The interface of all output formats.

use std::sync::Arc;

use super::Zone;
use super::event::{Event, Time};
use crate::messages::{Appearance, Color};
use crate::pattern::Pattern;

/// Encodes the events of one output, in one file after the other. Pure: no descriptor, no clock.
pub(crate) trait Encoder: Send {
    /// Begins a file. What a reader that has only this file must know of the open sessions is repeated in it.
    fn begin_file(&mut self, file: &FileStart, out: &mut Vec<u8>);

    /// Appends an event to `out`. `payload` belongs to `Data`; it is empty if only the length is known. Returns the
    /// last part of the payload, which the caller writes after `out` without a copy.
    fn event<'a>(&mut self, event: &Event, payload: &'a [u8], out: &mut Vec<u8>) -> &'a [u8];

    /// Sets whether the last encoded event is written to the next file, because it did not fit into this one.
    fn carry(&mut self, _carries: bool) {}

    /// Ends the file. If the rotation then fails, more may follow in it.
    fn end_file(&mut self, out: &mut Vec<u8>);

    /// Sets the width of the terminal, if there is one. Called before every batch.
    fn resize(&mut self, _columns: Option<u16>) {}
}

/// Properties of a file that begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStart {
    /// Number of the file in its output, from 1.
    pub(crate) part: u64,
    pub(crate) time: Time,
}

/// Intended use of an output's files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Purpose {
    /// Concurrent sessions share a file, so that each line has the number of its session.
    pub(crate) labelled: bool,
    /// The output is a terminal: control characters of peers are escaped.
    pub(crate) terminal: bool,
    /// Lines are coloured.
    pub(crate) color: bool,
    /// `--max-shown`: maximum number of bytes of a piece that `view` shows; `None` for no limit.
    pub(crate) max_shown: Option<u64>,
    /// Time zone of times that are not in UTC.
    pub(crate) zone: Arc<Zone>,
    /// `--match`, which `view` marks in colour.
    pub(crate) pattern: Option<Arc<Pattern>>,
}

/// Settings that all outputs share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setting {
    pub(crate) appearance: Appearance,
    pub(crate) zone: Arc<Zone>,
    pub(crate) pattern: Option<Arc<Pattern>>,
}

impl Purpose {
    /// Default of `--max-shown` on a terminal.
    const MAX_SHOWN: u64 = 1024;

    /// Combines the properties of an output with the settings of the command line.
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
