//! The files of an output whose name is a template: new ones for every session, in one directory.

use std::collections::HashMap;
use std::fs::File;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, faccessat};

use super::batch::{Batch, What};
use super::claim;
use super::format::SessionFormat;
use super::sheet::{Sheet, Sink, Trouble};
use super::template::{Facts, Template, last_resort};
use crate::format::{Format, Need};
use crate::messages::{Side, View};
use crate::policy::NEW_FILE;

/// Names tried with `-1`, `-2` and so on: enough for names that only sometimes meet, few enough that a
/// client who comes again and again does not slow the logger down.
const NUMBERED: u32 = 99;

pub(super) struct Series {
    template: Template,
    /// Held since the start: whatever becomes of its name, the files stay together.
    directory: OwnedFd,
    view: View,
    mode: Mode,
    /// What is open of each session: one page, or one for each direction.
    pages: HashMap<u64, Vec<Page>>,
    /// Session and place of the events in a batch; here for its memory.
    order: Vec<(u64, usize)>,
}

struct Page {
    format: SessionFormat,
    sheet: Sheet,
}

impl Series {
    pub(super) fn need(&self) -> Need {
        self.view.format.need()
    }

    pub(super) fn template(&self) -> &Template {
        &self.template
    }

    /// Finds out, now and not at the first client, whether files can be made.
    pub(super) fn open(template: Template, view: View, mode: Mode) -> nix::Result<Series> {
        if template.is_too_long() {
            return Err(Errno::ENAMETOOLONG);
        }
        // Not to be read: a directory that may only be written to will do.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(template.directory(), flags, Mode::empty())?;
        faccessat(&directory, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::empty())?;
        Ok(Series { template, directory, view, mode, pages: HashMap::new(), order: Vec::new() })
    }

    /// Writes a batch, a session at a time and not as it happened: one buffer and one call for each file
    /// will do, however many sessions take turns. Of what fails, the first is returned.
    pub(super) fn write(&mut self, batch: &Batch, text: &mut Vec<u8>) -> Result<(), Trouble> {
        let mut order = std::mem::take(&mut self.order);
        order.extend(batch.events.iter().enumerate().map(|(place, event)| (event.session, place)));
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
    ) -> Result<(), Trouble> {
        let what = |&(_, place): &(u64, usize)| &batch.events[place].what;
        let Some((&(session, _), first)) = places.first().map(|place| (place, what(place))) else {
            return Ok(());
        };
        let mut result = match first {
            What::Begin { facts, .. } => self.begin(facts),
            _ => Ok(()),
        };
        let close = places.iter().position(|place| matches!(what(place), What::Close));
        // What comes behind the end is nobody's.
        let shown = &places[..close.map_or(places.len(), |at| at + 1)];
        for Page { format, sheet } in self.pages.get_mut(&session).into_iter().flatten() {
            for place in shown {
                result = result.and(sheet.add(format, batch, what(place), text));
            }
            result = result.and(sheet.write(text));
        }
        if close.is_some() {
            // The files are closed here.
            self.pages.remove(&session);
        }
        result
    }

    /// Makes the files of a session.
    fn begin(&mut self, facts: &Facts) -> Result<(), Trouble> {
        let mut result = Ok(());
        for view in self.views() {
            match self.create(facts, view.unwrap_or(Side::Client)) {
                Ok(sheet) => {
                    // One session in the file: its lines need no label. A new file is no terminal.
                    let format = SessionFormat::new(self.view.format, None, false).only(*view);
                    self.pages.entry(facts.number).or_default().push(Page { format, sheet });
                }
                Err(trouble) => result = result.and(Err(trouble)),
            }
        }
        result
    }

    /// What a session's files show: everything, or one direction each.
    fn views(&self) -> &'static [Option<Side>] {
        match (self.template.is_one_way(), self.view.format, self.view.only) {
            (false, _, None) => &[None],
            (_, _, Some(Side::Client)) => &[Some(Side::Client)],
            (_, _, Some(Side::Server)) => &[Some(Side::Server)],
            // What is found is always the client's, and what the server says about it stands beside it.
            (true, Format::Password, None) => &[Some(Side::Client)],
            (true, _, None) => &[Some(Side::Client), Some(Side::Server)],
        }
    }

    /// Makes a file that was not there before. A name that is taken, be it by a link, gets a number.
    fn create(&self, facts: &Facts, side: Side) -> Result<Sheet, Trouble> {
        let base = self.template.expand(facts, side);
        let suffixes = iter::once(String::new())
            .chain((1..=NUMBERED).map(|number| format!("-{number}")))
            .chain(iter::once_with(|| last_resort(facts)));
        let mut reason = Errno::EEXIST;
        for suffix in suffixes {
            let name = [&base, suffix.as_bytes()].concat();
            match openat(&self.directory, name.as_slice(), OFlag::from_bits_retain(NEW_FILE), self.mode) {
                Ok(file) => {
                    let file = File::from(file);
                    // A new file: if another program was quick enough to lock it, the next name will do.
                    if claim::lock(&file).is_ok() {
                        return Ok(Sheet::new(Sink::Open(file), self.shown(&name)));
                    }
                }
                Err(Errno::EEXIST) => {}
                Err(errno) => {
                    reason = errno;
                    break;
                }
            }
        }
        Err(Trouble { output: self.shown(&base), error: reason.into() })
    }

    /// A file's name for the operator.
    fn shown(&self, name: &[u8]) -> String {
        match self.template.directory() {
            b"." => name.escape_ascii().to_string(),
            directory => [directory, name].concat().escape_ascii().to_string(),
        }
    }
}

impl AsFd for Series {
    /// The directory.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Connection from: 127.0.0.1 port 33116\nConnection to: ::1 port 80\nTransmission follows...\n";
    const ENDS: &str = "Reset\nEnd of transmission.\n";

    /// A session in the file of one side.
    fn one_way(format: Format, side: Side) -> String {
        let mut out = Vec::new();
        let mut session = SessionFormat::new(format, None, false).only(Some(side));
        session.begin(("127.0.0.1", "33116"), ("::1", "80"), &mut out);
        session.piece(Side::Client, false, b"USER a\r\nPASS b\r\n", &mut out);
        session.piece(Side::Server, false, b"230 <\r\n", &mut out);
        session.piece(Side::Server, true, b"!", &mut out);
        session.passed(Side::Client, 3, &mut out);
        session.ended(Side::Client, 19, &mut out);
        session.ended(Side::Server, 7, &mut out);
        session.note("Reset", &mut out);
        session.close(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_direction_is_its_own_and_the_frame() {
        let counted = "<<< 16 bytes\n<<< 3 bytes\nEnd of input: 19 bytes received.\n";
        assert_eq!(one_way(Format::Count, Side::Client), format!("{HEAD}{counted}{ENDS}"));
        let counted = ">>> 7 bytes\n(OOB)>>> 1 byte\nEnd of output: 7 bytes sent.\n";
        assert_eq!(one_way(Format::Count, Side::Server), format!("{HEAD}{counted}{ENDS}"));
    }

    #[test]
    fn raw_of_one_direction_is_the_bytes() {
        assert_eq!(one_way(Format::Raw, Side::Client), "USER a\r\nPASS b\r\n");
        assert_eq!(one_way(Format::Raw, Side::Server), "230 <\r\n!");
    }

    #[test]
    fn password_of_one_direction_knows_the_other() {
        let mut out = Vec::new();
        let mut both = SessionFormat::new(Format::Password, None, false);
        both.piece(Side::Client, false, b"USER a\r\nPASS b\r\n", &mut out);
        both.piece(Side::Server, false, b"230 <\r\n", &mut out);
        both.close(&mut out);
        assert!(out.windows(4).any(|found| found == b" a:b"));
        assert_eq!(one_way(Format::Password, Side::Client).as_bytes(), out);
    }
}
