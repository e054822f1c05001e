//! One direction of a session: from one peer's socket to the other's.
//!
//! A flow reads only when it has passed on all it read before, so a peer that does not read stops the
//! peer that sends, and memory is bounded by one buffer.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use privsep::{sys, wire};

use crate::format::Need;
use crate::messages::{Record, Side, WorkersEnd};

/// A read that brings this much says that the flow is bulk, for which a pipe pays.
const BULK: usize = 64 * 1024;

/// The size of that pipe.
const PIPE: i32 = 1 << 20;

/// With `-b`, as in 1.4.4, a session ends on a boundary of at most this many bytes.
const LIMITED_READ: usize = 16 * 1024;

/// Memory for one record. It is made in the zygote and never touched there, so that a worker pays only
/// for what it uses.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// How long a record may be: what the channel can hold.
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

/// What a flow could do just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Moved,
    /// The sender has nothing more for now, or the receiver takes no more for now.
    Blocked,
    /// The sending side sent its last byte, and the receiving side has been told.
    Ended,
    /// This side's connection is gone.
    Reset(Side),
}

/// Where bytes are that have been read but not yet passed on.
enum Held {
    Nothing,
    Buffer { buffer: Buffer, start: usize, end: usize, urgent: bool },
    Pipe(usize),
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// One direction.
pub(super) struct Flow {
    pub(super) from: Side,
    held: Held,
    pipe: Option<Pipe>,
    need: Need,
    /// A pipe is worth having, and possible.
    may_splice: bool,
    limited: bool,
    pub(super) total: u64,
    pub(super) ended: bool,
    /// The logger knows that it has.
    pub(super) reported: bool,
}

/// What a flow works with: the two sockets and the way to the logger.
pub(super) struct Ends<'a> {
    pub(super) source: BorrowedFd<'a>,
    pub(super) sink: BorrowedFd<'a>,
    pub(super) channel: &'a WorkersEnd,
}

impl Flow {
    pub(super) fn new(from: Side, need: Need, limited: bool) -> Flow {
        Flow {
            from,
            held: Held::Nothing,
            pipe: None,
            need,
            may_splice: need < Need::Bytes && !limited,
            limited,
            total: 0,
            ended: false,
            reported: false,
        }
    }

    fn to(&self) -> Side {
        match self.from {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    /// Everything read has been passed on.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.held, Held::Nothing)
    }

    /// Reads once, records, and passes on what the receiver takes at once. With `last`, the other flow has
    /// ended, so that the end of this one is the end of the session.
    pub(super) fn read(
        &mut self,
        ends: &Ends<'_>,
        pool: &mut Pool,
        urgent: bool,
        last: bool,
    ) -> io::Result<Step> {
        let step = if urgent && sys::at_mark(ends.source).unwrap_or(false) {
            self.read_urgent(ends, pool)?
        } else {
            match self.pipe {
                Some(_) => self.read_pipe(ends)?,
                None => self.read_buffer(ends, pool)?,
            }
        };
        if step == Step::Ended {
            self.end(ends, last)?;
        }
        Ok(step)
    }

    /// Passes on what is held.
    pub(super) fn write(&mut self, ends: &Ends<'_>, pool: &mut Pool) -> io::Result<Step> {
        match self.held {
            Held::Nothing => Ok(Step::Moved),
            Held::Buffer { .. } => self.write_buffer(ends, pool),
            Held::Pipe(_) => self.write_pipe(ends),
        }
    }

    fn read_buffer(&mut self, ends: &Ends<'_>, pool: &mut Pool) -> io::Result<Step> {
        // A flow reads when it holds nothing, so that there is one.
        let Some(mut buffer) = pool.take() else { return Ok(Step::Blocked) };
        let most = if self.limited { LIMITED_READ + Record::MAX_HEAD } else { buffer.record };
        let room = &mut buffer.bytes[Record::MAX_HEAD..most.min(buffer.record)];
        let received = recv(ends.source.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT);
        if let Ok(length @ 1..) = received {
            self.hold(buffer, length, false, ends)?;
            if self.may_splice && length >= BULK {
                self.open_pipe();
            }
            return self.write_buffer(ends, pool);
        }
        pool.give_back(buffer);
        received.map(|_| Step::Ended).or_else(|errno| self.read_failed(errno))
    }

    /// The urgent byte, which TCP keeps beside the stream; the stream has been read up to its place.
    fn read_urgent(&mut self, ends: &Ends<'_>, pool: &mut Pool) -> io::Result<Step> {
        let Some(mut buffer) = pool.take() else { return Ok(Step::Blocked) };
        let room = &mut buffer.bytes[Record::MAX_HEAD..=Record::MAX_HEAD];
        let received = recv(ends.source.as_raw_fd(), room, MsgFlags::MSG_OOB | MsgFlags::MSG_DONTWAIT);
        if let Ok(length @ 1..) = received {
            // splice(2) cannot pass the place of an urgent byte, recv can.
            self.pipe = None;
            self.may_splice = false;
            self.hold(buffer, length, true, ends)?;
            return self.write_buffer(ends, pool);
        }
        pool.give_back(buffer);
        match received {
            Ok(_) => Ok(Step::Blocked),
            // Taken already, or replaced by a newer one.
            Err(Errno::EINVAL) => self.read_buffer(ends, pool),
            Err(errno) => self.read_failed(errno),
        }
    }

    fn read_failed(&self, errno: Errno) -> io::Result<Step> {
        match errno {
            Errno::EAGAIN | Errno::EINTR => Ok(Step::Blocked),
            errno if is_loss(errno) => Ok(Step::Reset(self.from)),
            errno => Err(errno.into()),
        }
    }

    /// Tells the logger about the bytes at the front of the buffer, before anybody else gets them.
    fn hold(&mut self, mut buffer: Buffer, length: usize, urgent: bool, ends: &Ends<'_>) -> io::Result<()> {
        self.total += length as u64;
        let end = Record::MAX_HEAD + length;
        match self.need {
            Need::Totals => {}
            Need::Lengths => {
                report(ends.channel, &Record::Passed { from: self.from, bytes: length as u64 })?;
            }
            Need::Bytes => {
                // The head is put right before the payload, so that both are one piece of memory.
                let mut head = [0; Record::MAX_HEAD];
                let record = Record::Data { from: self.from, urgent };
                let used = wire::encode(&record, &mut head).map_err(io::Error::other)?;
                let start = Record::MAX_HEAD - used;
                buffer.bytes[start..Record::MAX_HEAD].copy_from_slice(&head[..used]);
                ends.channel.send_frame(&buffer.bytes[start..end])?;
            }
        }
        self.held = Held::Buffer { buffer, start: Record::MAX_HEAD, end, urgent };
        Ok(())
    }

    fn write_buffer(&mut self, ends: &Ends<'_>, pool: &mut Pool) -> io::Result<Step> {
        let Held::Buffer { buffer, start, end, urgent } = &mut self.held else { return Ok(Step::Moved) };
        let urgency = if *urgent { MsgFlags::MSG_OOB } else { MsgFlags::empty() };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT | urgency;
        match send(ends.sink.as_raw_fd(), &buffer.bytes[*start..*end], flags) {
            Ok(sent) => *start += sent,
            Err(errno) => return self.write_failed(errno),
        }
        if start < end {
            return Ok(Step::Blocked);
        }
        if let Held::Buffer { buffer, .. } = mem::replace(&mut self.held, Held::Nothing) {
            pool.give_back(buffer);
        }
        Ok(Step::Moved)
    }

    fn write_failed(&self, errno: Errno) -> io::Result<Step> {
        match errno {
            Errno::EAGAIN | Errno::EINTR => Ok(Step::Blocked),
            errno if is_loss(errno) => Ok(Step::Reset(self.to())),
            errno => Err(errno.into()),
        }
    }

    /// Without a pipe, or with a small one, copying is as good: so failure is no error.
    fn open_pipe(&mut self) {
        self.may_splice = false;
        let Ok((read, write)) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK) else { return };
        if fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE)).is_ok() {
            self.pipe = Some(Pipe { read, write });
        }
    }

    fn read_pipe(&mut self, ends: &Ends<'_>) -> io::Result<Step> {
        let Some(pipe) = &self.pipe else { return Ok(Step::Blocked) };
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        match splice(ends.source, None, pipe.write.as_fd(), None, PIPE as usize, flags) {
            Ok(0) => Ok(Step::Ended),
            Ok(length) => {
                self.total += length as u64;
                self.held = Held::Pipe(length);
                if self.need == Need::Lengths {
                    report(ends.channel, &Record::Passed { from: self.from, bytes: length as u64 })?;
                }
                self.write_pipe(ends)
            }
            Err(errno) => self.read_failed(errno),
        }
    }

    fn write_pipe(&mut self, ends: &Ends<'_>) -> io::Result<Step> {
        let (&Held::Pipe(length), Some(pipe)) = (&self.held, &self.pipe) else { return Ok(Step::Moved) };
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        match splice(pipe.read.as_fd(), None, ends.sink, None, length, flags) {
            Ok(sent) if sent == length => {
                self.held = Held::Nothing;
                Ok(Step::Moved)
            }
            Ok(sent) => {
                self.held = Held::Pipe(length - sent);
                Ok(Step::Blocked)
            }
            Err(errno) => self.write_failed(errno),
        }
    }

    /// End of stream: told to the logger, then passed on as a half-close. The last one is told with the end
    /// of the session, in one message.
    fn end(&mut self, ends: &Ends<'_>, last: bool) -> io::Result<()> {
        self.ended = true;
        if !last {
            report(ends.channel, &Record::Ended { from: self.from, total: self.total })?;
            self.reported = true;
        }
        // A receiver that is gone already shows itself when something is written to it.
        let _ = shutdown(ends.sink.as_raw_fd(), Shutdown::Write);
        Ok(())
    }
}

/// Sends a record that has no payload.
pub(super) fn report(channel: &WorkersEnd, record: &Record) -> io::Result<()> {
    let mut head = [0; Record::MAX_HEAD];
    let used = wire::encode(record, &mut head).map_err(io::Error::other)?;
    channel.send_frame(&head[..used])
}

/// Errors that mean that the connection is no more.
fn is_loss(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ECONNRESET
            | Errno::EPIPE
            | Errno::ECONNABORTED
            | Errno::ETIMEDOUT
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::ENETDOWN
            | Errno::ECONNREFUSED
    )
}
