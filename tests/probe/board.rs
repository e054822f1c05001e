//! Shared memory through which processes of the probe report results: a confined process has no other way.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::raw;

/// More than any plan needs.
const CELLS: usize = 4096;

#[repr(C)]
struct ResultTable {
    next: AtomicUsize,
    cells: [Cell; CELLS],
}

#[repr(C)]
struct Cell {
    pid: AtomicI32,
    /// One of the codes below, or a signal number.
    outcome: AtomicI32,
}

const UNTRIED: i32 = 0;
const CAME_BACK: i32 = 1000;
const AS_HOPED: i32 = 1001;
const OTHERWISE: i32 = 1002;
const EXITED: i32 = 1003;

/// Result reported by the process that made the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The call returned, with any result.
    CameBack,
    /// The attempt ended as the trial expects.
    AsHoped,
    Otherwise,
}

/// Result as seen by the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Untried,
    Told(Outcome),
    Exited,
    Killed(Signal),
    /// The process reported nothing; the test looks for its death elsewhere.
    Unknown(Pid),
}

pub(crate) struct SharedResults(&'static ResultTable);

impl SharedResults {
    pub(crate) fn create(path: &Path) -> SharedResults {
        let file = std::fs::File::create_new(path).expect("a board");
        file.set_len(size_of::<ResultTable>() as u64).expect("its size");
        SharedResults::open(path)
    }

    pub(crate) fn open(path: &Path) -> SharedResults {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("the board");
        SharedResults(raw::share(&file))
    }

    /// Takes the next trial, each of which is handed out once.
    pub(crate) fn next(&self, of: usize) -> Option<usize> {
        Some(self.0.next.fetch_add(1, SeqCst)).filter(|index| *index < of)
    }

    pub(crate) fn began(&self, index: usize) {
        self.0.cells[index].pid.store(Pid::this().as_raw(), SeqCst);
    }

    pub(crate) fn came_back(&self, index: usize, outcome: Outcome) {
        let code = match outcome {
            Outcome::CameBack => CAME_BACK,
            Outcome::AsHoped => AS_HOPED,
            Outcome::Otherwise => OTHERWISE,
        };
        self.0.cells[index].outcome.store(code, SeqCst);
    }

    /// Waits for a child that has made an attempt.
    pub(crate) fn ended(&self, index: usize, child: Pid) {
        let cell = &self.0.cells[index];
        cell.pid.store(child.as_raw(), SeqCst);
        match waitpid(child, None) {
            Ok(WaitStatus::Signaled(_, signal, _)) => cell.outcome.store(signal as i32, SeqCst),
            Ok(WaitStatus::Exited(..)) => {
                let _ = cell.outcome.compare_exchange(UNTRIED, EXITED, SeqCst, SeqCst);
            }
            _ => {}
        }
    }

    pub(crate) fn verdict(&self, index: usize) -> Verdict {
        let cell = &self.0.cells[index];
        match (cell.outcome.load(SeqCst), cell.pid.load(SeqCst)) {
            (CAME_BACK, _) => Verdict::Told(Outcome::CameBack),
            (AS_HOPED, _) => Verdict::Told(Outcome::AsHoped),
            (OTHERWISE, _) => Verdict::Told(Outcome::Otherwise),
            (EXITED, _) => Verdict::Exited,
            (UNTRIED, 0) => Verdict::Untried,
            (UNTRIED, pid) => Verdict::Unknown(Pid::from_raw(pid)),
            (signal, _) => Verdict::Killed(Signal::try_from(signal).expect("a signal")),
        }
    }
}

// The size is a multiple of a cell's, so that there is no padding.
const _: () = assert!(size_of::<ResultTable>() == size_of::<usize>() + CELLS * size_of::<Cell>());
