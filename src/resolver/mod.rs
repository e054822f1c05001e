//! The resolver is the only process with DNS and NSS. The parent asks it for addresses at the start, the
//! logger for names of peers. A lookup that hangs holds one thread and delays one name, never a byte.

#[cfg(fuzzing)]
#[path = "../../contrib/fuzz/inside/resolver.rs"]
pub(crate) mod fuzz;
mod lookup;

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use privsep::channel::{Channel, Incoming, Wait, no_fds};
use privsep::confine::Locked;
use privsep::landlock::{Connect, Landlock};
use privsep::role::Entry;

use crate::messages::{Find, NameAnswer, NameQuestion, ToParent, ToResolver};
use crate::policy::{self, Role};
use crate::role::{self, Trouble};

type Parent = Channel<ToParent, ToResolver>;
type Logger = Channel<NameAnswer, NameQuestion>;

/// Lookups at the same time.
const THREADS: usize = 4;

/// Questions that may wait. More are dropped: the logger shows numbers where no answer comes.
const QUEUE: usize = 64;

/// One lookup and where its answer goes.
enum Job {
    Find(Find, Arc<Parent>),
    Name(NameQuestion, Arc<Logger>),
}

/// The whole life of the resolver.
pub(crate) fn live(entry: Entry) -> Result<(), Trouble> {
    let parent: Arc<Parent> = Arc::new(entry.open(c"tcpreen-resolver")?);
    let (ToResolver::Prepare(prepare), fds) = role::first(&parent)? else { return Err(Trouble::Protocol) };
    let logger = match fds {
        [Some(socket), None] => Some(Arc::new(Logger::adopt(socket)?)),
        [None, None] => None,
        _ => return Err(Trouble::Protocol),
    };
    let dropped = role::drop_and_tell(Role::Resolver, &prepare, &parent)?;
    let places = readable_places();
    let read: Vec<_> = places.iter().map(File::as_fd).collect();
    let landlock =
        Landlock { read: &read, connect: Connect::Ports(policy::NAME_SERVERS), ..Landlock::default() };
    let fenced = role::fence(dropped, &landlock, &parent)?;
    let jobs = start_threads()?;
    let locked = role::lock_and_tell(Role::Resolver, &[], fenced, prepare.sandbox, &parent)?;
    serve(&parent, logger.as_ref(), &jobs, &locked)
}

fn readable_places() -> Vec<File> {
    let open = |path| OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    policy::NSS_FILES.into_iter().filter_map(|path| open(path).ok()).collect()
}

fn start_threads() -> Result<SyncSender<Job>, Trouble> {
    let (sender, receiver) = sync_channel(QUEUE);
    let receiver = Arc::new(Mutex::new(receiver));
    // What a thread does to come up is not in the filter: all of them are up before we lock.
    let up = Arc::new(Barrier::new(THREADS + 1));
    for _ in 0..THREADS {
        let (receiver, up) = (Arc::clone(&receiver), Arc::clone(&up));
        thread::Builder::new().name("lookup".into()).spawn(move || {
            up.wait();
            work(&receiver);
        })?;
    }
    up.wait();
    Ok(sender)
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // Who asked may be gone by the time the answer is there: then so are we, soon.
        let _ = match job {
            Ok(Job::Find(find, parent)) => parent.send(&lookup::find(&find)),
            Ok(Job::Name(question, logger)) => {
                let name = lookup::name(&question.address);
                logger.send(&NameAnswer { id: question.id, name })
            }
            Err(_) => return,
        };
    }
}

fn serve(
    parent: &Arc<Parent>,
    mut logger: Option<&Arc<Logger>>,
    jobs: &SyncSender<Job>,
    _locked: &Locked,
) -> Result<(), Trouble> {
    loop {
        let mut fds = vec![PollFd::new(parent.as_fd(), PollFlags::POLLIN)];
        fds.extend(logger.map(|logger| PollFd::new(logger.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        match parent.receive(Wait::No)? {
            Incoming::Message(ToResolver::Find(find), fds) => {
                no_fds(fds)?;
                enqueue(jobs, Job::Find(find, Arc::clone(parent)))?;
            }
            Incoming::Message(ToResolver::Prepare(_), _) => return Err(Trouble::Protocol),
            Incoming::Closed => return Ok(()),
            Incoming::Nothing => {}
        }
        if let Some(asking) = logger {
            match asking.receive(Wait::No)? {
                Incoming::Message(question, fds) => {
                    no_fds(fds)?;
                    enqueue(jobs, Job::Name(question, Arc::clone(asking)))?;
                }
                // The logger is gone; what that means is for the parent to say.
                Incoming::Closed => logger = None,
                Incoming::Nothing => {}
            }
        }
    }
}

fn enqueue(jobs: &SyncSender<Job>, job: Job) -> Result<(), Trouble> {
    match jobs.try_send(job) {
        Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
        Err(TrySendError::Disconnected(_)) => Err(Trouble::Protocol),
    }
}
