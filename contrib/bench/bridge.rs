//! A running bridge, or a direct connection for comparison.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::{Result, signals, tree};

const PATIENCE: Duration = Duration::from_secs(10);

/// Only one of these exists at a time (see `tree`).
pub(crate) struct Bridge {
    child: Option<Child>,
    /// Port for clients.
    pub(crate) port: u16,
}

impl Bridge {
    /// No bridge: the limit of the machine and the load generator.
    pub(crate) fn direct(port: u16) -> Self {
        Self { child: None, port }
    }

    /// Starts it and waits until it listens; its output goes into a file of the run's directory.
    pub(crate) fn start(mut command: Command, port: u16, dir: &Path) -> Result<Self> {
        let stderr = dir.join("stderr");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&stderr)?);
        let mut bridge = Self::adopt(signals::spawn(&mut command)?, port);
        let said = || fs::read_to_string(&stderr).unwrap_or_default().trim().replace('\n', "; ");
        let deadline = Instant::now() + PATIENCE;
        while !tree::listening(port) {
            if let Some(status) = bridge.exited()? {
                return Err(format!("ended at its start ({status}): {}", said()).into());
            }
            if Instant::now() > deadline {
                return Err(format!("doesn't listen after {PATIENCE:?}: {}", said()).into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(bridge)
    }

    /// Takes over the end of a program that was started elsewhere.
    pub(crate) fn adopt(child: Child, port: u16) -> Self {
        Self { child: Some(child), port }
    }

    pub(crate) fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    fn exited(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?,
            None => None,
        })
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // Not for a process that has been waited for: its id may have been reused.
        if matches!(child.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
            let deadline = Instant::now() + PATIENCE;
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        // Orphans: workers that a bridge leaves behind.
        loop {
            let orphans = tree::children();
            if orphans.is_empty() {
                return;
            }
            for orphan in orphans {
                let _ = kill(orphan, Signal::SIGKILL);
                let _ = waitpid(orphan, None);
            }
        }
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
