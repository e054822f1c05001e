//! The writers: a thread per output, which formats and writes. The only module that uses crossbeam.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::batch::{self, Batch, Event, Shared, What};
use super::format::SessionFormat;
use super::output::Output;
use crate::messages::Sharing;

/// Formatted text is written when there is this much of it, and at the end of every batch.
const FLUSH: usize = 1 << 20;

/// An output that can no longer be written.
pub(super) struct Trouble {
    pub(super) output: String,
    pub(super) error: io::Error,
}

/// The reader's end of all writers.
pub(super) struct Writers {
    queues: Vec<Sender<Shared>>,
    threads: Vec<JoinHandle<()>>,
    returned: Receiver<Shared>,
    /// Keeps `returned` open, and takes back what no writer needs.
    give_back: Sender<Shared>,
    troubles: Receiver<Trouble>,
    alarm: Arc<EventFd>,
}

impl Writers {
    /// Starts a thread per output.
    pub(super) fn start(outputs: Vec<Output>, sharing: Sharing) -> io::Result<Writers> {
        // Each batch is with the reader, in a queue or on its way back: no queue can ever be longer. On
        // the way back there is one copy per writer.
        let (give_back, returned) = bounded(batch::COUNT * outputs.len().max(1));
        let (report, troubles) = bounded(outputs.len());
        let alarm = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        for _ in 0..batch::COUNT {
            let _ = give_back.send(Arc::new(Batch::new()));
        }
        let mut writers =
            Writers { queues: Vec::new(), threads: Vec::new(), returned, give_back, troubles, alarm };
        // What a thread does to come up is not in the filter: all of them are up before we lock.
        let up = Arc::new(Barrier::new(outputs.len() + 1));
        for output in outputs {
            let (queue, batches) = bounded(batch::COUNT);
            let writer = Writer {
                output,
                sharing,
                formats: HashMap::new(),
                text: Vec::with_capacity(2 * FLUSH),
                report: report.clone(),
                alarm: Arc::clone(&writers.alarm),
                failed: false,
            };
            let give_back = writers.give_back.clone();
            let here = Arc::clone(&up);
            let run = move || {
                here.wait();
                writer.run(&batches, &give_back);
            };
            writers.queues.push(queue);
            writers.threads.push(thread::Builder::new().name("writer".into()).spawn(run)?);
        }
        up.wait();
        Ok(writers)
    }

    /// A batch to fill; `None` if all of them are still with the writers after `patience`.
    pub(super) fn take(&self, patience: Duration) -> Option<Batch> {
        loop {
            match self.returned.recv_timeout(patience) {
                // Only the last copy to come back is the batch itself.
                Ok(shared) => {
                    if let Ok(mut batch) = Arc::try_unwrap(shared) {
                        batch.clear();
                        return Some(batch);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Hands a batch to every writer.
    pub(super) fn give(&self, batch: Batch) {
        let batch = Arc::new(batch);
        for queue in &self.queues {
            // A writer takes batches until we close its queue, whatever becomes of its output.
            let _ = queue.send(Arc::clone(&batch));
        }
        if self.queues.is_empty() {
            let _ = self.give_back.send(batch);
        }
    }

    /// Readable when [`Writers::trouble`] has something.
    pub(super) fn alarm(&self) -> &EventFd {
        &self.alarm
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        let _ = self.alarm.read();
        self.troubles.try_recv().ok()
    }

    /// Waits until everything is written; what went wrong meanwhile is returned.
    pub(super) fn finish(self) -> Vec<Trouble> {
        drop(self.queues);
        for thread in self.threads {
            let _ = thread.join();
        }
        self.troubles.try_iter().collect()
    }
}

/// One output and its thread.
struct Writer {
    output: Output,
    sharing: Sharing,
    formats: HashMap<u64, SessionFormat>,
    text: Vec<u8>,
    report: Sender<Trouble>,
    alarm: Arc<EventFd>,
    /// Nothing more can be written; batches are still taken, so that the other outputs go on.
    failed: bool,
}

impl Writer {
    fn run(mut self, batches: &Receiver<Shared>, give_back: &Sender<Shared>) {
        for batch in batches {
            if !self.failed {
                self.write_batch(&batch);
            }
            let _ = give_back.send(batch);
        }
    }

    fn write_batch(&mut self, batch: &Batch) {
        for event in &batch.events {
            self.format(batch, event);
            if self.text.len() >= FLUSH {
                self.flush();
            }
        }
        self.flush();
    }

    fn format(&mut self, batch: &Batch, event: &Event) {
        let text = &mut self.text;
        if let What::Begin { client, server } = &event.what {
            let label = (self.sharing == Sharing::Labelled).then_some(event.session);
            let mut format = SessionFormat::new(self.output.format, label, self.output.terminal);
            format.begin((&client.node, &client.service), (&server.node, &server.service), text);
            self.formats.insert(event.session, format);
            return;
        }
        let Some(format) = self.formats.get_mut(&event.session) else { return };
        match &event.what {
            What::Begin { .. } => {}
            What::Data { from, urgent, start, end } => {
                format.piece(*from, *urgent, batch.payload(*start, *end), text);
            }
            What::Passed { from, bytes } => format.passed(*from, *bytes, text),
            What::Ended { from, total } => format.ended(*from, *total, text),
            What::Note(note) => format.note(note, text),
            What::Close => {
                format.close(text);
                self.formats.remove(&event.session);
            }
        }
    }

    fn flush(&mut self) {
        if self.text.is_empty() || self.failed {
            return;
        }
        let result = write_all(&mut self.output.file, &self.text);
        self.text.clear();
        if let Err(error) = result {
            self.failed = true;
            let _ = self.report.send(Trouble { output: self.output.name.clone(), error });
            let _ = self.alarm.write(1);
        }
    }
}

/// Writes everything, also where somebody made the file non-blocking: stdout is often shared.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
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
