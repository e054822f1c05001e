//! One direction of a session: from one peer's socket to the other's.
//!
//! A flow reads only when it has passed on all it read before, so a peer that does not read stops the
//! peer that sends, and memory is bounded by one buffer.

use super::ends::{Ends, report, report_with};
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use privsep::wire;

use super::local::{self, LocalRead, Rights, Sent, report_undelivered};
use super::receipt::{RecordSteps, StepNumber};
use super::transport::PeerSocket;
use crate::format::CaptureLevel;
use crate::messages::{self, Record, Side};

/// A read of this size marks the flow as bulk, for which a pipe pays off.
const BULK: usize = 64 * 1024;

/// The size of that pipe.
const PIPE: i32 = 1 << 20;

/// Maximum number of bytes that are passed on in one call with the urgent byte behind them. An empty send buffer has
/// room for more.
const SMALL: usize = 4096;

/// With `-b`, as in 1.4.4, a session ends on a boundary of at most this many bytes.
const LIMITED_READ: usize = 16 * 1024;

/// Memory for one record. It is made in the zygote and never touched there, so that a worker pays only
/// for what it uses.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Maximum length of a record: the capacity of the channel.
    record: usize,
}

impl Buffer {
    pub(crate) fn new(record: usize) -> Buffer {
        Buffer { bytes: vec![0; record], record }
    }
}

/// The buffers of a session, one for each flow that may hold something at a time. A flow that holds nothing has
/// none, and the first is taken when it is there: where the peers take turns, as they mostly do, the memory of the
/// second is never touched.
pub(super) struct Pool([Option<Buffer>; 2]);

impl Pool {
    pub(super) fn new(buffers: [Buffer; 2]) -> Pool {
        Pool(buffers.map(Some))
    }

    fn take(&mut self) -> Option<Buffer> {
        self.0.iter_mut().find_map(Option::take)
    }

    fn give_back(&mut self, buffer: Buffer) {
        let [first, second] = &mut self.0;
        *if first.is_none() { first } else { second } = Some(buffer);
    }
}

/// The outcome of one attempt of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowStep {
    /// The receiver took something.
    Moved,
    /// The sender has nothing more for now, or the receiver takes no more for now.
    Blocked,
    /// The sender sent its last byte.
    Ended,
    /// The sender's connection failed; everything it sent before has been read.
    SourceFailed(Errno),
    /// The receiver takes nothing more. The sender may still send.
    SinkFailed(Errno),
}

/// The place of an urgent byte, from which recv stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UrgentByte {
    Unknown,
    Next,
    Ahead,
}

/// Bytes that have been read and not yet passed on.
enum HeldBytes {
    Nothing,
    /// `urgent`: the last byte is.
    Buffer {
        buffer: Buffer,
        start: usize,
        end: usize,
        urgent: bool,
        rights: Rights,
    },
    SplicePipe(usize),
}

struct SplicePipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// One direction.
pub(super) struct Flow {
    pub(super) from: Side,
    held: HeldBytes,
    /// Place of the held bytes in the record.
    place: StepNumber,
    pipe: Option<SplicePipe>,
    need: CaptureLevel,
    /// A pipe is worth having, and possible. It would lose the descriptors of a Unix socket.
    may_splice: bool,
    limited: bool,
    pub(super) total: u64,
    /// Nothing more will be read.
    ended: bool,
    /// The receiver takes nothing more: what is read now is recorded and dropped.
    abandoned: bool,
    /// The logger knows that it has ended.
    reported: bool,
}

impl Flow {
    pub(super) fn new(from: Side, source: &PeerSocket, need: CaptureLevel, limited: bool) -> Flow {
        Flow {
            from,
            held: HeldBytes::Nothing,
            place: StepNumber::default(),
            pipe: None,
            need,
            may_splice: need < CaptureLevel::Bytes && !limited && source.is_tcp(),
            limited,
            total: 0,
            ended: false,
            abandoned: false,
            reported: false,
        }
    }

    /// Everything read has been passed on.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.held, HeldBytes::Nothing)
    }

    /// Time of the next attempt to send; `None` if poll reports it.
    pub(super) fn resumes(&self) -> Option<Instant> {
        match &self.held {
            HeldBytes::Buffer { rights, .. } => rights.due(),
            HeldBytes::Nothing | HeldBytes::SplicePipe(_) => None,
        }
    }

    /// Number of descriptors that are held.
    pub(super) fn rights(&self) -> usize {
        match &self.held {
            HeldBytes::Buffer { rights, .. } => rights.count(),
            HeldBytes::Nothing | HeldBytes::SplicePipe(_) => 0,
        }
    }

    /// Checks whether the held data is not yet recorded.
    pub(super) fn awaits_record(&self, receipts: &RecordSteps) -> bool {
        !self.is_empty() && !receipts.cover(self.place)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// The total, where the logger does not have it yet.
    pub(super) fn unreported_total(&self) -> Option<u64> {
        (!self.reported).then_some(self.total)
    }

    /// Reads once, records, and passes on what the receiver takes at once.
    pub(super) fn read(&mut self, ends: &Ends<'_>, pool: &mut Pool, urgent: bool) -> io::Result<FlowStep> {
        // splice(2) does not pass the place of an urgent byte, recv does.
        match self.pipe {
            _ if urgent && ends.source.at_mark() => self.read_buffer(ends, pool, UrgentByte::Next),
            _ if urgent => self.read_buffer(ends, pool, UrgentByte::Ahead),
            Some(_) => self.read_pipe(ends, pool),
            None => self.read_buffer(ends, pool, UrgentByte::Unknown),
        }
    }

    /// Passes on what is held, once it is recorded.
    pub(super) fn write(&mut self, ends: &Ends<'_>, pool: &mut Pool) -> io::Result<FlowStep> {
        if self.abandoned {
            report_undelivered(self.from, self.drop_held(pool), ends)?;
            return Ok(FlowStep::Blocked);
        }
        if self.awaits_record(ends.receipts) {
            return Ok(FlowStep::Blocked);
        }
        match self.held {
            HeldBytes::Nothing => Ok(FlowStep::Moved),
            HeldBytes::Buffer { .. } => self.write_buffer(ends, pool),
            HeldBytes::SplicePipe(_) => Ok(self.write_pipe(ends)),
        }
    }

    /// Reads up to the urgent byte, or that alone, at its place in the stream.
    fn read_buffer(&mut self, ends: &Ends<'_>, pool: &mut Pool, urgent: UrgentByte) -> io::Result<FlowStep> {
        // A flow reads only while it holds nothing, so that a buffer is free.
        let Some(mut buffer) = pool.take() else { return Ok(FlowStep::Blocked) };
        // A message is never cut.
        let limit = if self.limited && !ends.source.has_packets() {
            LIMITED_READ
        } else {
            buffer.record - Record::MAX_HEAD
        };
        let most = if urgent == UrgentByte::Next { 1 } else { usize::MAX };
        let end = Record::MAX_HEAD + limit.min(most).min(buffer.record - Record::MAX_HEAD);
        let room = &mut buffer.bytes[Record::MAX_HEAD..end];
        let received = match ends.source.is_tcp() {
            true => ends.source.receive(room).map(LocalRead::bytes),
            false => local::receive(ends.source, ends.sink, room),
        };
        match received {
            Ok(piece) if !piece.is_end => {
                let length = piece.length;
                let is_small = urgent == UrgentByte::Ahead && (1..=SMALL).contains(&length);
                let with_mark = is_small && read_mark(ends, &mut room[length..]);
                self.hold(buffer, piece, urgent == UrgentByte::Next, ends)?;
                if with_mark {
                    self.hold_mark(ends)?;
                }
                if self.may_splice && length >= BULK {
                    self.open_pipe();
                }
                self.write(ends, pool)
            }
            other => {
                pool.give_back(buffer);
                Ok(other.map_or_else(read_failed, |_| FlowStep::Ended))
            }
        }
    }

    /// Reports the bytes at the front of the buffer to the logger, before the receiver gets them.
    fn hold(
        &mut self,
        mut buffer: Buffer,
        piece: LocalRead,
        urgent: bool,
        ends: &Ends<'_>,
    ) -> io::Result<()> {
        let LocalRead { length, rights, .. } = piece;
        self.total += length as u64;
        rights.report(self.from, ends)?;
        let end = Record::MAX_HEAD + length;
        match self.need {
            _ if length == 0 => {
                report(ends.channel, &Record::EmptyMessage { from: self.from, time: messages::now() })?;
            }
            CaptureLevel::Totals => {}
            CaptureLevel::Lengths => self.report_length(length, ends)?,
            CaptureLevel::Bytes => {
                // The head is put right before the payload, so that both are one piece of memory.
                let mut head = [0; Record::MAX_HEAD];
                let record = Record::Data { from: self.from, urgent, time: messages::now() };
                let used = wire::encode(&record, &mut head).map_err(io::Error::other)?;
                let start = Record::MAX_HEAD - used;
                buffer.bytes[start..Record::MAX_HEAD].copy_from_slice(&head[..used]);
                ends.channel.send_frame(&buffer.bytes[start..end])?;
                ends.receipts.reported();
            }
        }
        self.place = ends.receipts.last();
        self.held = HeldBytes::Buffer { buffer, start: Record::MAX_HEAD, end, urgent, rights };
        Ok(())
    }

    /// Reports the urgent byte behind the held ones, and holds it with them.
    fn hold_mark(&mut self, ends: &Ends<'_>) -> io::Result<()> {
        let HeldBytes::Buffer { buffer, end, urgent, .. } = &mut self.held else { return Ok(()) };
        let byte = buffer.bytes[*end];
        (*end, *urgent) = (*end + 1, true);
        self.total += 1;
        match self.need {
            CaptureLevel::Totals => {}
            CaptureLevel::Lengths => self.report_length(1, ends)?,
            CaptureLevel::Bytes => {
                let record = Record::Data { from: self.from, urgent: true, time: messages::now() };
                report_with(ends.channel, &record, &[byte])?;
                ends.receipts.reported();
            }
        }
        self.place = ends.receipts.last();
        Ok(())
    }

    fn report_length(&self, length: usize, ends: &Ends<'_>) -> io::Result<()> {
        report(
            ends.channel,
            &Record::Passed { from: self.from, bytes: length as u64, time: messages::now() },
        )?;
        ends.receipts.reported();
        Ok(())
    }

    fn write_buffer(&mut self, ends: &Ends<'_>, pool: &mut Pool) -> io::Result<FlowStep> {
        let HeldBytes::Buffer { buffer, start, end, urgent, rights } = &mut self.held else {
            return Ok(FlowStep::Moved);
        };
        let bytes = &buffer.bytes[*start..*end];
        let sent = match rights.is_empty() {
            true => ends.sink.send(bytes, *urgent).map_or_else(Sent::Failed, Sent::Bytes),
            false => rights.send(ends.sink, bytes, *urgent),
        };
        match sent {
            Sent::Bytes(sent) => *start += sent,
            Sent::NotYet => return Ok(FlowStep::Blocked),
            Sent::WithoutRights => {
                report_undelivered(self.from, rights.give_up(), ends)?;
                return Ok(FlowStep::Blocked);
            }
            Sent::Failed(errno) => return Ok(write_failed(errno)),
        }
        if start == end {
            self.drop_held(pool);
        }
        Ok(FlowStep::Moved)
    }

    /// Returns the number of descriptors that are lost with it.
    fn drop_held(&mut self, pool: &mut Pool) -> usize {
        match mem::replace(&mut self.held, HeldBytes::Nothing) {
            HeldBytes::Nothing => {}
            HeldBytes::Buffer { buffer, rights, .. } => {
                pool.give_back(buffer);
                return rights.count();
            }
            // With what is in it.
            HeldBytes::SplicePipe(_) => self.pipe = None,
        }
        0
    }

    /// Failure is no error: without a pipe, or with a small one, bytes are copied.
    fn open_pipe(&mut self) {
        self.may_splice = false;
        let Ok((read, write)) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK) else { return };
        if fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE)).is_ok() {
            self.pipe = Some(SplicePipe { read, write });
        }
    }

    fn read_pipe(&mut self, ends: &Ends<'_>, pool: &mut Pool) -> io::Result<FlowStep> {
        let Some(pipe) = &self.pipe else { return Ok(FlowStep::Blocked) };
        match ends.source.splice_to(pipe.write.as_fd(), PIPE as usize) {
            // splice(2) also returns 0 before an urgent byte that arrived together with the end of the stream.
            Ok(0) if ends.source.at_mark() => Ok(FlowStep::Blocked),
            Ok(0) => Ok(FlowStep::Ended),
            Ok(length) => {
                self.total += length as u64;
                self.held = HeldBytes::SplicePipe(length);
                if self.need == CaptureLevel::Lengths {
                    self.report_length(length, ends)?;
                }
                self.place = ends.receipts.last();
                self.write(ends, pool)
            }
            Err(errno) => Ok(read_failed(errno)),
        }
    }

    fn write_pipe(&mut self, ends: &Ends<'_>) -> FlowStep {
        let (&HeldBytes::SplicePipe(length), Some(pipe)) = (&self.held, &self.pipe) else {
            return FlowStep::Moved;
        };
        match ends.sink.splice_from(pipe.read.as_fd(), length) {
            Ok(sent) => {
                self.held =
                    if sent == length { HeldBytes::Nothing } else { HeldBytes::SplicePipe(length - sent) };
                FlowStep::Moved
            }
            Err(errno) => write_failed(errno),
        }
    }

    /// End of stream: reported to the logger, then passed on as a half-close. The `last` one of a session is
    /// reported with the end of the session, in one message.
    pub(super) fn end(&mut self, ends: &Ends<'_>, last: bool) -> io::Result<()> {
        self.ended = true;
        if !last {
            report(
                ends.channel,
                &Record::Ended { from: self.from, total: self.total, time: messages::now() },
            )?;
            self.reported = true;
        }
        if !self.abandoned {
            ends.sink.finish();
        }
        Ok(())
    }

    /// The sender's connection failed, and what it sent has been read.
    pub(super) fn cut(&mut self) {
        self.ended = true;
    }

    /// The receiver takes nothing more. Returns the number of descriptors that it did not get.
    pub(super) fn abandon(&mut self, pool: &mut Pool) -> usize {
        self.abandoned = true;
        self.drop_held(pool)
    }
}

/// Reads the urgent byte behind others that were read, if the receiver certainly takes both in one call: it then learns
/// with the first of them that an urgent one follows, as from the sender itself. TCP marks the last byte of each call,
/// so that a call that takes only a part would mark a wrong one.
fn read_mark(ends: &Ends<'_>, room: &mut [u8]) -> bool {
    let Some(room) = room.get_mut(..1) else { return false };
    (!ends.sink.is_tcp() || ends.sink.outstanding() == 0)
        && ends.source.at_mark()
        && local::is_plain(ends.source, room)
        && ends.source.receive(room) == Ok(1)
}

fn read_failed(errno: Errno) -> FlowStep {
    match errno {
        Errno::EAGAIN | Errno::EINTR => FlowStep::Blocked,
        errno => FlowStep::SourceFailed(errno),
    }
}

fn write_failed(errno: Errno) -> FlowStep {
    match errno {
        Errno::EAGAIN | Errno::EINTR => FlowStep::Blocked,
        errno => FlowStep::SinkFailed(errno),
    }
}
