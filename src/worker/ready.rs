//! Waiting while both peers may send and nothing is held, as a session of requests and answers does all the time.
//!
//! poll(2) looks at every descriptor twice for each wait and enters and leaves three wait queues, which costs such a
//! session a tenth of its processor time. epoll keeps them. It is made late: a short session would pay more for it
//! than it saves. All other states wait with poll, so that what is registered never changes.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

/// Waits with poll before the epoll instance is made.
const WARM_UP: u32 = 16;

/// Events of a peer that may send.
pub(super) const INPUT: PollFlags = PollFlags::POLLIN.union(PollFlags::POLLPRI);

/// Events of client, server and channel.
pub(super) type Events = [PollFlags; 3];

/// Waits for input of the two peers and of the channel.
pub(super) enum InputWaiter {
    /// Number of waits so far.
    Cold(u32),
    Warm(Epoll),
    /// No epoll instance could be made: poll is used instead.
    Unavailable,
}

impl InputWaiter {
    pub(super) fn new() -> InputWaiter {
        InputWaiter::Cold(0)
    }

    /// Waits for input; `None` where the caller has to use poll. `descriptors` are client, server and channel, the
    /// same at each call. No events at all is the time-out.
    pub(super) fn wait(
        &mut self,
        descriptors: [BorrowedFd<'_>; 3],
        timeout: PollTimeout,
    ) -> Option<Result<Events, Errno>> {
        match self {
            InputWaiter::Warm(epoll) => return Some(wait(epoll, timeout)),
            InputWaiter::Cold(waits) if *waits < WARM_UP => *waits += 1,
            InputWaiter::Cold(_) => {
                *self = register(descriptors).map_or(InputWaiter::Unavailable, InputWaiter::Warm);
            }
            InputWaiter::Unavailable => {}
        }
        None
    }
}

/// The number of an event is the place of its descriptor.
fn register(descriptors: [BorrowedFd<'_>; 3]) -> Result<Epoll, Errno> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let input = EpollFlags::EPOLLIN | EpollFlags::EPOLLPRI;
    for (place, descriptor) in (0..).zip(descriptors) {
        epoll.add(descriptor, EpollEvent::new(input, place))?;
    }
    Ok(epoll)
}

fn wait(epoll: &Epoll, timeout: PollTimeout) -> Result<Events, Errno> {
    let mut found = [EpollEvent::empty(); 3];
    let count = loop {
        match epoll.wait(&mut found, timeout) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    let mut events = [PollFlags::empty(); 3];
    for event in &found[..count] {
        if let Some(events) = events.get_mut(event.data() as usize) {
            // Linux has the same bits for both.
            *events = PollFlags::from_bits_truncate(event.events().bits() as i16);
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use nix::poll::{PollFd, poll};

    use super::*;

    const NOW: PollTimeout = PollTimeout::ZERO;

    fn polled(descriptors: [BorrowedFd<'_>; 3]) -> Events {
        let mut fds = descriptors.map(|descriptor| PollFd::new(descriptor, INPUT));
        poll(&mut fds, NOW).expect("polls");
        fds.map(|fd| fd.revents().expect("known events"))
    }

    #[test]
    fn epoll_reports_what_poll_reports_in_the_same_places() {
        let pairs = [0; 3].map(|_| UnixStream::pair().expect("a pair"));
        let descriptors = [0, 1, 2].map(|place| pairs[place].0.as_fd());
        let mut waiter = InputWaiter::new();
        for _ in 0..=WARM_UP {
            assert!(waiter.wait(descriptors, NOW).is_none());
        }
        for place in [2, 0, 1] {
            let events = waiter.wait(descriptors, NOW).expect("an epoll instance").expect("waits");
            assert_eq!(events, polled(descriptors));
            (&pairs[place].1).write_all(b"x").expect("room");
        }
        pairs[1].1.shutdown(std::net::Shutdown::Both).expect("open");
        let events = waiter.wait(descriptors, NOW).expect("an epoll instance").expect("waits");
        assert_eq!(events, polled(descriptors));
        assert!(events[1].contains(PollFlags::POLLHUP | PollFlags::POLLIN), "{events:?}");
    }

    #[test]
    fn without_an_epoll_instance_poll_goes_on() {
        let file = std::fs::File::open("/dev/null").expect("a file");
        // A file that cannot be waited for stands for a system that refuses.
        let descriptors = [file.as_fd(); 3];
        let mut waiter = InputWaiter::new();
        for _ in 0..WARM_UP + 5 {
            assert!(waiter.wait(descriptors, NOW).is_none());
        }
        assert!(matches!(waiter, InputWaiter::Unavailable));
    }
}
